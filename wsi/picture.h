/* Pictures for people: PNG and JPEG out, small pictures of slides in. Through libvips. Thread-safe.
 */
#ifndef QS_WSI_PICTURE_H
#define QS_WSI_PICTURE_H

#include "wsi/slide.h"

/* rgb (h,w,3) u8. Atomic. */
bool wsi_picture_write_png(const char *path, const uint8_t *rgb, int w, int h, GError **error);
/* Encoded bytes, owned by the caller (g_free). quality 0: PNG, else JPEG. */
bool wsi_picture_encode(const uint8_t *rgb, int w, int h, int quality, uint8_t **bytes,
                        size_t *n_bytes, GError **error);

#endif
