/* A baseline JPEG file read from top to bottom in strips, again and again if need be.
 *
 * Only the rows of a sliding window are in memory: readers who go down the picture a few patch rows
 * at a time, as tiler, predictor and thumbnail do, get every row from one pass, and the picture is
 * never whole, in memory or on disk. Who asks for rows above the window makes decoding start anew;
 * who does so all the time is told that this is the wrong way to read.
 * (Progressive files cannot be read so: libjpeg holds all their coefficients.) */
#ifndef QS_WSI_JPEG_STRIPS_PRIV_H
#define QS_WSI_JPEG_STRIPS_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wsi_jpeg_strips wsi_jpeg_strips;

typedef enum { WSI_STRIPS_READ, WSI_STRIPS_DAMAGED, WSI_STRIPS_OUT_OF_ORDER } wsi_strips_outcome;

/* w, h: of the header; window_bytes bounds the rows that are kept. Errors: QS_ERROR_IO. */
wsi_jpeg_strips *wsi_jpeg_strips_open(const char *path, int64_t w, int64_t h, size_t window_bytes,
                                      GError **error);
void wsi_jpeg_strips_close(wsi_jpeg_strips *strips); /* NULL accepted */
/* Pixels x … x+w-1 of rows y … y+h-1, all inside the picture. DAMAGED: error says from which row
 * on; rows above can be read. OUT_OF_ORDER: the file was decoded several times over already and
 * would have to be once more; nothing was read. Thread-safe. */
wsi_strips_outcome wsi_jpeg_strips_read(wsi_jpeg_strips *strips, int64_t x, int64_t y, int w, int h,
                                        uint8_t *rgb, size_t row_bytes, GError **error);
/* Frees the window; every read is OUT_OF_ORDER from then on. Thread-safe. */
void wsi_jpeg_strips_give_up(wsi_jpeg_strips *strips);

#endif
