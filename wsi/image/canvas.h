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
} cli_canvas;

typedef struct {
    uint8_t rgb[3];
} cli_ink;

void cli_canvas_init(cli_canvas *canvas, int w, int h, cli_ink paper);
void cli_canvas_clear(cli_canvas *canvas);
/* opacity 0 … 1 */
void cli_canvas_fill(cli_canvas *canvas, int x, int y, int w, int h, cli_ink ink, double opacity);
void cli_canvas_blend(cli_canvas *canvas, int x, int y, cli_ink ink, double opacity);
/* Diagonal stripes of 2 pixels, 8 apart. */
void cli_canvas_hatch(cli_canvas *canvas, int x, int y, int w, int h, cli_ink ink);
/* The border of a rectangle, `line` pixels wide, inside it. */
void cli_canvas_frame(cli_canvas *canvas, int x, int y, int w, int h, int line, cli_ink ink,
                      double opacity);
void cli_canvas_copy(cli_canvas *canvas, int x, int y, const uint8_t *rgb, int w, int h);
/* One line of text (UTF-8) about px high with its upper left corner at x,y; width is at most max_w,
 * the rest is cut off. Returns its width, -1 on error. */
int cli_canvas_text(cli_canvas *canvas, int x, int y, int px, int max_w, const char *text,
                    cli_ink ink, GError **error);

#endif
