/* A tiled TIFF of one 8-bit sample as a pyramid of bytes: label masks and probabilities as this
 * program writes them, read anywhere without decoding the rest. Decoded tiles are kept in a bounded
 * window. Thread-safe after opening. */
#ifndef QS_WSI_GREY_H
#define QS_WSI_GREY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct wsi_grey wsi_grey;

/* QS_ERROR_UNSUPPORTED for what is no such TIFF, QS_ERROR_MISMATCH with both sizes when level 0 is
 * not the slide's size divided by a whole number (floor or ceil). */
wsi_grey *wsi_grey_open(const char *path, int64_t slide_w, int64_t slide_h, GError **error);
void wsi_grey_close(wsi_grey *grey);       /* NULL accepted */
int wsi_grey_factor(const wsi_grey *grey); /* slide size / size of level 0 */
void wsi_grey_size(const wsi_grey *grey, int64_t *w, int64_t *h);
/* Level-0 pixels of the file: (h,w) bytes, row_bytes apart; 255 outside. */
bool wsi_grey_read(wsi_grey *grey, int64_t x, int64_t y, int w, int h, uint8_t *dst,
                   size_t row_bytes, GError **error);
/* The same on a grid whose pixels are `step` level-0 pixels of the slide: the value at each pixel's
 * centre, from the coarsest level of half the grid's pixels or finer. 255 outside the slide. */
bool wsi_grey_sample(wsi_grey *grey, double step, int64_t x, int64_t y, int w, int h, uint8_t *dst,
                     size_t row_bytes, GError **error);

#endif
