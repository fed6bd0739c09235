/* A look at a TIFF's directories before anything reads pixels: is the file whole, can its
 * compression be read, does it have a plausible shape, what resolution do its tags state.
 * The only file that includes tiffio.h for reading; it decodes no pixel. */
#ifndef QS_WSI_TIFF_PROBE_H
#define QS_WSI_TIFF_PROBE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int n_dirs;
    int64_t w, h; /* of the first directory, like all that follows */
    int bits, n_samples;
    bool tiled;
    int64_t tile_w, tile_h; /* 0 when striped */
    bool is_float, is_signed;
    int photometric; /* the tag: 0 WhiteIsZero, 1 BlackIsZero, 2 RGB, 3 palette, 6 YCbCr … */
    bool separate;   /* a plane a sample, not pixel by pixel */
    int n_extra,
        extra; /* samples beyond the photometric's, what the first is: 0 unspecified, 1 and 2 alpha */
    int orientation; /* the tag of the first or of a tiled directory, the first that is not 1 (as stored) */
    bool label_mask; /* its description is one that our own label masks have */
    int n_same; /* directories of this size and these samples that are no reduced picture */
    int compression;
    const char *compression_name; /* static */
    bool ndpi;           /* Hamamatsu: offsets may need 64 bits that the file does not have */
    double mpp_x, mpp_y; /* from the resolution tags; 0 without a physical unit */
} wsi_tiff_facts;

/* Errors (QS_ERROR_FORMAT unless said), each with the value: header cut short, a directory or a
 * tile past the end of the file (truncated), a directory loop, zero or absurd dimensions;
 * QS_ERROR_UNSUPPORTED: a compression that no reader here has. */
bool wsi_tiff_probe(const char *path, int64_t n_bytes, wsi_tiff_facts *facts, GError **error);

/* Is the Software tag, or the description that version 0.1.0 gave its masks, quadslide's? */
bool wsi_tiff_is_ours(const char *path);

/* The ICC profile of the first directory; NULL when there is none. Owned by the caller. */
GBytes *wsi_tiff_icc(const char *path);

/* Tiles without bytes of the tiled directory of w × h pixels, neighbours joined; pixels of it. */
typedef struct {
    int64_t x, y, w, h;
} wsi_tiff_gap;
/* Array of wsi_tiff_gap from the top, owned; empty when there is no such directory. */
GArray *wsi_tiff_gaps(const char *path, int64_t w, int64_t h, GError **error);

/* OpenSlide and libvips read through libtiff's global handlers, which print. Takes the default
 * error handler away once (libvips may then set its own) and the warning handler at every call. */
void wsi_tiff_silence(void);

#endif
