/* A streaming writer of tiled pyramidal TIFF that every reader of our field opens.
 *
 * Rows come in from the top, any number at a time; tiles of each level are compressed as soon as
 * they are complete, into unlinked temporary files beside the output, and copied behind each other
 * at the end. So memory is about two rows of tiles, whatever the height, and the disk holds the
 * compressed pixels twice for a moment. The file appears under its name only when it is whole
 * (temporary name of its own, sync, rename).
 * Profile WSI_TIFFW_MASK is profile `tiff` of the masks: LZW, 8-bit grey, MINISBLACK, chain of
 * top-level directories, each level floor(previous/2), nearest reduction, SMin/SMaxSampleValue.
 * Profile WSI_TIFFW_GREY: the same with averaging (probabilities). Profile WSI_TIFFW_RGB_JPEG:
 * 4:2:0 YCbCr JPEG tiles, averaging, for synthetic slides; the bytes depend on input and
 * libjpeg-turbo version only. Not thread-safe. */
#ifndef QS_WSI_TIFFW_H
#define QS_WSI_TIFFW_H

#include "base/report.h"

typedef struct wsi_tiffw wsi_tiffw;

typedef enum { WSI_TIFFW_MASK, WSI_TIFFW_GREY, WSI_TIFFW_RGB_JPEG } wsi_tiffw_profile;

typedef struct {
    wsi_tiffw_profile profile;
    int64_t w, h;
    double mpp;       /* 0: no resolution tags */
    int tile_px;      /* 512 for masks, 256 for slides; multiple of 16 */
    int min_level_px; /* levels until the longest side is <= this: 1024; at least two levels */
    int jpeg_quality; /* RGB_JPEG */
    int max_label;    /* MASK: SMaxSampleValue */
    int64_t classic_bytes_max; /* BigTIFF above this many compressed bytes; 0: 3.5 GB */
    const char *description;   /* ImageDescription; without "xml" or "DICOM"; NULL none */
} wsi_tiffw_options;

/* The largest power-of-two tile, at most `largest`, that is no larger than any level of a w × h
 * picture: OpenSlide 3.4 with libtiff 4.5 returns rubbish for a level smaller than its tiles that
 * is not JPEG. At least 16. */
int wsi_tiffw_fit_tile(int64_t w, int64_t h, int min_level_px, int largest);

wsi_tiffw *wsi_tiffw_open(const char *path, const wsi_tiffw_options *options, GError **error);
/* n_rows × w × (1 or 3) bytes, row_bytes apart. */
bool wsi_tiffw_write_rows(wsi_tiffw *writer, const uint8_t *rows, size_t row_bytes, int64_t n_rows,
                          GError **error);
/* All rows must have come. Writes the directories, syncs, renames. Frees the writer. */
bool wsi_tiffw_finish(wsi_tiffw *writer, GError **error);
/* Gives up and removes the temporary file. NULL accepted. */
void wsi_tiffw_abort(wsi_tiffw *writer);

#endif
