/* Pictures for people: PNG and JPEG out, small pictures of slides in. Through libvips. Thread-safe.
 */
#ifndef QS_WSI_PICTURE_H
#define QS_WSI_PICTURE_H

#include "wsi/slide/slide.h"

/* rgb (h,w,3) u8. Atomic. */
bool wsi_picture_write_png(const char *path, const uint8_t *rgb, int w, int h, GError **error);
/* Encoded bytes, owned by the caller (g_free). quality 0: PNG, else JPEG. */
bool wsi_picture_encode(const uint8_t *rgb, int w, int h, int quality, uint8_t **bytes,
                        size_t *n_bytes, GError **error);
/* One line of text (UTF-8, invalid bytes replaced) in the system's sans-serif font, px pixels from
 * line to line. cover (h,w) u8 is the share of ink, owned by the caller; its first row belongs
 * `top` pixels below the line's upper side. QS_ERROR_INTERNAL when there is no font. */
bool wsi_picture_text(const char *text, int px, uint8_t **cover, int *w, int *h, int *top,
                      GError **error);

#endif
