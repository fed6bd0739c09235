/* A TIFF as its readers see it: the tags of every directory, and the pixels of the first. */
#ifndef QS_WSI_TIFF_CHECK_PRIV_H
#define QS_WSI_TIFF_CHECK_PRIV_H

#include "wsi/export/export.h"

enum { WSI_TIFF_DIRS_MAX = 32, WSI_TIFF_LZW = 5, WSI_TIFF_MINISBLACK = 1, WSI_TIFF_CM = 3 };

typedef struct {
    int64_t w, h;
    int tile_w, tile_h; /* 0: strips */
    int bits, samples, planar, photometric, compression, subfile, format;
    int unit; /* of the resolution; 0 without tags */
    double per_unit;
    double smin, smax; /* -1 without tags */
} wsi_tiff_dir;

typedef struct {
    bool big;
    int n_dirs, n_sub; /* in the chain; SubIFDs of the first */
    wsi_tiff_dir dirs[WSI_TIFF_DIRS_MAX], sub[WSI_TIFF_DIRS_MAX];
    char *description; /* of the first directory, owned; NULL none */
} wsi_tiff_look;

bool wsi_tiff_look_read(const char *path, wsi_tiff_look *look, GError **error);
void wsi_tiff_look_clear(wsi_tiff_look *look);
/* Pixels of the first directory (tiled, 8-bit, one sample) that differ from the job's labels; and
 * the largest label there. */
bool wsi_tiff_compare(const wsi_export_job *job, const char *path, int64_t *n_different,
                      GError **error);

#endif
