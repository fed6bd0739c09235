/* A picture for people, drawn into: washes, lines, text. RGB, 8 bits. What lies outside is cut off.
 */
#ifndef QS_CLI_CANVAS_H
#define QS_CLI_CANVAS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint8_t *rgb; /* (h,w,3), owned */
    int w, h;
} wsi_canvas;

typedef struct {
    uint8_t rgb[3];
} cli_ink;

void wsi_canvas_init(wsi_canvas *canvas, int w, int h, cli_ink paper);
void wsi_canvas_clear(wsi_canvas *canvas);
/* opacity 0 … 1 */
void wsi_canvas_fill(wsi_canvas *canvas, int x, int y, int w, int h, cli_ink ink, double opacity);
void wsi_canvas_blend(wsi_canvas *canvas, int x, int y, cli_ink ink, double opacity);
/* Diagonal stripes of 2 pixels, 8 apart. */
void wsi_canvas_hatch(wsi_canvas *canvas, int x, int y, int w, int h, cli_ink ink);
/* The border of a rectangle, `line` pixels wide, inside it. */
void wsi_canvas_frame(wsi_canvas *canvas, int x, int y, int w, int h, int line, cli_ink ink,
                      double opacity);
void wsi_canvas_copy(wsi_canvas *canvas, int x, int y, const uint8_t *rgb, int w, int h);
/* One line of text (UTF-8) about px high with its upper left corner at x,y; width is at most max_w,
 * the rest is cut off. Returns its width, -1 on error. */
int wsi_canvas_text(wsi_canvas *canvas, int x, int y, int px, int max_w, const char *text,
                    cli_ink ink, GError **error);

#endif
