/* A file's own colours to sRGB, through Little CMS. Immutable after creation, thread-safe. */
#ifndef QS_WSI_ICC_PRIV_H
#define QS_WSI_ICC_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wsi_icc wsi_icc;

/* The profile in an image or TIFF; *icc NULL when there is none. The rendering intent is the one
 * that the profile asks for. QS_ERROR_FORMAT when the profile is damaged or is not of RGB. */
bool wsi_icc_open(const char *path, wsi_icc **icc, GError **error);
void wsi_icc_close(wsi_icc *icc);             /* NULL accepted */
const char *wsi_icc_name(const wsi_icc *icc); /* the profile's own description */
void wsi_icc_apply(const wsi_icc *icc, uint8_t *rgb, size_t row_bytes, int w, int h);

#endif
