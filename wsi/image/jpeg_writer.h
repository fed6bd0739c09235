/* A streaming writer of one baseline JPEG, for the big plain images that DigestPath consists of:
 * 4:2:0 colour or grey, rows from the top, memory of a few rows. The file appears under its name
 * only when whole. Not thread-safe. */
#ifndef QS_WSI_JPEGW_PRIV_H
#define QS_WSI_JPEGW_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wsi_jpegw wsi_jpegw;

/* samples 3 (RGB) or 1 (grey); sides up to 65500 pixels, JPEG's limit. */
wsi_jpegw *wsi_jpegw_open(const char *path, int64_t w, int64_t h, int samples, int quality,
                          GError **error);
bool wsi_jpegw_write_rows(wsi_jpegw *writer, const uint8_t *rows, size_t row_bytes, int64_t n_rows,
                          GError **error);
bool wsi_jpegw_finish(wsi_jpegw *writer, GError **error); /* frees the writer */
void wsi_jpegw_abort(wsi_jpegw *writer);                  /* NULL accepted */

#endif
