/* The values that a label image stores, one byte a pixel, top to bottom: what a class number is
 * before any library has made a picture of it. libvips scales 1-, 2- and 4-bit samples to 0…255 and
 * turns palette indices into colours; here 2 stays 2.
 *
 * PNG through libpng; 1- to 8-bit TIFF of one sample (palette too) through libtiff; all else
 * through wsi_raster, whose 8-bit values are the stored ones. Channels that agree are one value. */
#ifndef QS_WSI_STORED_H
#define QS_WSI_STORED_H

#include "wsi/image/sniff.h"
#include "wsi/tiff/probe.h"

typedef struct wsi_stored wsi_stored;

typedef struct {
    int64_t w, h;
    bool
        lossy; /* JPEG, in a file of its own or in a TIFF: values are near what was meant, not it */
} wsi_stored_info;

/* facts: of wsi_tiff_probe when `type` is WSI_FILE_TIFF, else ignored. QS_ERROR_UNSUPPORTED by
 * name: WhiteIsZero, several pages or channels, a lossy compression other than JPEG, 16-bit,
 * signed or floating-point samples. */
wsi_stored *wsi_stored_open(const char *path, wsi_file_type type, const wsi_tiff_facts *facts,
                            GError **error);
void wsi_stored_close(wsi_stored *stored); /* NULL accepted */
const wsi_stored_info *wsi_stored_get_info(const wsi_stored *stored);
/* Rows y … y+n-1 into values (n,w). y must rise from call to call. QS_ERROR_FORMAT with place and
 * value for a coloured pixel, and for transparency that differs from pixel to pixel. */
bool wsi_stored_read_rows(wsi_stored *stored, int64_t y, int n, uint8_t *values, GError **error);

#endif
