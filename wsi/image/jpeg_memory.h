/* A picture as a JPEG in memory, for tiles that are sent and not kept: baseline, 4:2:0.
 * Thread-safe. */
#ifndef QS_WSI_JPEG_MEMORY_H
#define QS_WSI_JPEG_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* rgb (h,w,3), row_bytes apart; sides up to 65500. NULL with QS_ERROR_INTERNAL. */
GBytes *wsi_jpeg_encode(const uint8_t *rgb, size_t row_bytes, int w, int h, int quality,
                        GError **error);

#endif
