/* Tiles of a TIFF as they lie in the file, for the direct lane: which directories have tiles that
 * OpenSlide would decode plainly, and the bytes or pixels of one tile.
 *
 * A wsi_tiff_reader is a TIFF handle of its own, used by one thread at a time; the layout is read
 * once and shared. libtiff never converts colours here: JPEG tiles are given raw, to be decoded by
 * jpeg_tile.h; tiles of other compressions are plain RGB once they are decompressed. */
#ifndef QS_WSI_TIFF_TILES_PRIV_H
#define QS_WSI_TIFF_TILES_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int dir; /* number of the directory in the chain */
    int64_t w, h;
    int tile_w, tile_h;
    int64_t n_x, n_y;       /* tiles a row, rows of tiles */
    bool jpeg;              /* else libtiff decompresses */
    bool grey;              /* one 8-bit sample, black is 0: a mask or probabilities */
    bool ycbcr;             /* JPEG: of the Photometric tag; else the tile holds RGB */
    int chroma_w, chroma_h; /* JPEG: YCbCrSubsampling, for people; 1,1 without */
    uint8_t *tables;        /* JPEGTables, owned; NULL without */
    size_t n_tables;
    const char *compression; /* static */
    const char *unfit;       /* why its tiles cannot be read plainly, static; NULL when they can */
} wsi_tiff_level;

typedef struct {
    char *path;
    GArray *levels; /* of wsi_tiff_level: every tiled directory, in the order of the chain */
} wsi_tiff_layout;

/* False when libtiff cannot open it or a directory cannot be read. */
bool wsi_tiff_layout_read(wsi_tiff_layout *layout, const char *path, GError **error);
void wsi_tiff_layout_clear(wsi_tiff_layout *layout);

typedef struct wsi_tiff_reader wsi_tiff_reader;
wsi_tiff_reader *wsi_tiff_reader_open(const char *path, GError **error);
void wsi_tiff_reader_close(wsi_tiff_reader *reader); /* NULL accepted */
/* Bytes of tile `tile` (row-major) as they are in the file, valid until the next call; *n is 0 for
 * a sparse tile. */
const uint8_t *wsi_tiff_reader_raw(wsi_tiff_reader *reader, const wsi_tiff_level *level,
                                   int64_t tile, size_t *n, GError **error);
/* A tile that is no JPEG, decompressed: rgb (tile_h,tile_w,3). *sparse when it has no bytes. */
bool wsi_tiff_reader_pixels(wsi_tiff_reader *reader, const wsi_tiff_level *level, int64_t tile,
                            uint8_t *rgb, bool *sparse, GError **error);
/* The same of a grey level: grey (tile_h,tile_w). */
bool wsi_tiff_reader_grey(wsi_tiff_reader *reader, const wsi_tiff_level *level, int64_t tile,
                          uint8_t *grey, bool *sparse, GError **error);

#endif
