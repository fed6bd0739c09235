/* A plain image file (JPEG, PNG, TIFF) read once from top to bottom through libvips, with memory
 * for a few rows. The file that includes vips.h for reading.
 *
 * The loader is chosen by the file's first bytes and given the path as it is, so names with
 * brackets, colons or spaces, which libvips' own file names would take for options, work.
 * A raster is used by one thread at a time. */
#ifndef QS_WSI_RASTER_H
#define QS_WSI_RASTER_H

#include "wsi/image/sniff.h"

#include <stddef.h>

typedef struct wsi_raster wsi_raster;

typedef struct {
    int64_t w, h;
    int n_bands;  /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha; 8 bits each */
    int n_pages;  /* of which the first is read */
    bool rotated; /* EXIF orientation asks for a turn, which is not made: masks match raw pixels */
    const char *format;    /* "jpeg", "png", "tiff" */
    int64_t decoder_bytes; /* memory the decoder needs beyond rows: a progressive or interlaced
                              file's */
} wsi_raster_info;

/* Starts libvips once: no untrusted loaders, no operation cache, one thread. QS_ERROR_INTERNAL. */
bool wsi_vips_init(GError **error);

/* QS_ERROR_UNSUPPORTED names what cannot be used: 16-bit, float, CMYK, Lab, a progressive JPEG
 * whose coefficients would need more than 4 GiB. */
wsi_raster *wsi_raster_open(const char *path, wsi_file_type type, GError **error);
void wsi_raster_close(wsi_raster *raster);
const wsi_raster_info *wsi_raster_get_info(const wsi_raster *raster);
/* The ICC profile in the file; NULL when there is none. Owned by the caller. */
GBytes *wsi_raster_icc(const wsi_raster *raster);
/* Rows y … y+n-1 into dst, packed (w × n_bands bytes a row). y must rise from call to call. */
bool wsi_raster_read_rows(wsi_raster *raster, int64_t y, int n, uint8_t *dst, GError **error);

#endif
