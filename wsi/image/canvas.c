/* See canvas.h. */
#include "wsi/image/canvas.h"

#include "wsi/image/picture.h"

#include <math.h>
#include <string.h>

void wsi_canvas_init(wsi_canvas *canvas, int w, int h, cli_ink paper)
{
    *canvas = (wsi_canvas){g_malloc((size_t)w * (size_t)h * 3), w, h};
    for (size_t i = 0; i < (size_t)w * (size_t)h; i++)
        memcpy(canvas->rgb + 3 * i, paper.rgb, 3);
}

void wsi_canvas_clear(wsi_canvas *canvas)
{
    g_clear_pointer(&canvas->rgb, g_free);
}

void wsi_canvas_blend(wsi_canvas *canvas, int x, int y, cli_ink ink, double opacity)
{
    if (x < 0 || y < 0 || x >= canvas->w || y >= canvas->h)
        return;
    uint8_t *p = canvas->rgb + ((size_t)y * (size_t)canvas->w + (size_t)x) * 3;
    for (int k = 0; k < 3; k++)
        p[k] = (uint8_t)lround((1 - opacity) * p[k] + opacity * ink.rgb[k]);
}

void wsi_canvas_fill(wsi_canvas *canvas, int x, int y, int w, int h, cli_ink ink, double opacity)
{
    for (int r = MAX(0, y); r < MIN(canvas->h, y + h); r++)
        for (int i = MAX(0, x); i < MIN(canvas->w, x + w); i++)
            wsi_canvas_blend(canvas, i, r, ink, opacity);
}

void wsi_canvas_hatch(wsi_canvas *canvas, int x, int y, int w, int h, cli_ink ink)
{
    for (int r = MAX(0, y); r < MIN(canvas->h, y + h); r++)
        for (int i = MAX(0, x); i < MIN(canvas->w, x + w); i++)
            if ((i + r) % 8 < 2)
                wsi_canvas_blend(canvas, i, r, ink, 1);
}

void wsi_canvas_frame(wsi_canvas *canvas, int x, int y, int w, int h, int line, cli_ink ink,
                      double opacity)
{
    wsi_canvas_fill(canvas, x, y, w, line, ink, opacity);
    wsi_canvas_fill(canvas, x, y + h - line, w, line, ink, opacity);
    wsi_canvas_fill(canvas, x, y + line, line, h - 2 * line, ink, opacity);
    wsi_canvas_fill(canvas, x + w - line, y + line, line, h - 2 * line, ink, opacity);
}

void wsi_canvas_copy(wsi_canvas *canvas, int x, int y, const uint8_t *rgb, int w, int h)
{
    g_assert(x >= 0 && y >= 0 && x + w <= canvas->w && y + h <= canvas->h);
    for (int r = 0; r < h; r++)
        memcpy(canvas->rgb + ((size_t)(y + r) * (size_t)canvas->w + (size_t)x) * 3,
               rgb + (size_t)r * (size_t)w * 3, (size_t)w * 3);
}

int wsi_canvas_text(wsi_canvas *canvas, int x, int y, int px, int max_w, const char *text,
                    cli_ink ink, GError **error)
{
    uint8_t *cover;
    int w, h, top;
    if (!wsi_picture_text(text, px, &cover, &w, &h, &top, error))
        return -1;
    for (int r = 0; r < h; r++)
        for (int i = 0; i < MIN(w, max_w); i++)
            wsi_canvas_blend(canvas, x + i, y + top + r, ink,
                             cover[(size_t)r * (size_t)w + i] / 255.0);
    g_free(cover);
    return MIN(w, max_w);
}
