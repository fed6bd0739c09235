/* Slides in, pixels out. One driver per kind of file (OpenSlide, plain image through libvips),
 * a const struct in the registry wsi/driver/registry.c. Regions are opaque 8-bit RGB: transparent pixels
 * are composited on the slide's background colour.
 *
 * Location is in level-0 pixels, size in pixels of the level (OpenSlide's convention). A
 * wsi_slide is thread-safe for reading. After a read error the driver reopens its handle, so one
 * damaged tile does not spoil the slide. */
#ifndef QS_WSI_SLIDE_H
#define QS_WSI_SLIDE_H

#include "base/report.h"

enum { WSI_LEVELS_MAX = 32 };

typedef struct wsi_slide wsi_slide;

typedef enum {
    WSI_MPP_UNKNOWN,
    WSI_MPP_METADATA,
    WSI_MPP_TIFF_TAGS,
    WSI_MPP_OVERRIDE
} wsi_mpp_origin;
const char *wsi_mpp_origin_name(wsi_mpp_origin origin);

typedef struct {
    int64_t w, h;
    double downsample; /* level-0 pixels per pixel, need not be an integer */
    int tile_w, tile_h; /* of the file's tiles, where the direct lane copies them; else 0 */
} wsi_level;

/* Who reads the pixels of slides that OpenSlide opens. */
typedef enum {
    WSI_READER_AUTO,      /* tiles directly where that is equal to OpenSlide, else OpenSlide */
    WSI_READER_OPENSLIDE, /* OpenSlide */
    WSI_READER_DIRECT,    /* tiles directly; a slide where that cannot be is refused */
} wsi_reader;
bool wsi_reader_parse(const char *name, wsi_reader *reader); /* "auto" "openslide" "direct" */
const char *wsi_reader_name(wsi_reader reader);

typedef struct {
    char *path;
    const char *driver; /* "openslide", "image" */
    const char *lane;   /* how pixels are read: "direct", "openslide", "image" */
    char *lane_why;     /* what chose the lane: what was compared, or why it is not direct */
    char *vendor;       /* OpenSlide's vendor or the image's format */
    wsi_level levels[WSI_LEVELS_MAX];
    int n_levels;
    char *levels_why; /* levels that are not used, and why; NULL none */
    double mpp;       /* level 0; 0 unknown */
    wsi_mpp_origin mpp_origin;
    bool mpp_said;                 /* the file itself says something about its resolution: */
    double mpp_said_x, mpp_said_y; /* right or wrong */
    double objective;              /* 0 unknown */
    uint8_t background[3];
    int64_t bounds_x, bounds_y, bounds_w, bounds_h; /* openslide.bounds-*; whole canvas when none */
} wsi_slide_info;

/* mpp_override <= 0: none. One that contradicts the metadata is used and reported (qs_warn).
 * Errors name the file and say what it is instead: empty, a directory, text, unsupported
 * compression, 16-bit, truncated (TIFF offsets past the end of the file are found here). */
wsi_slide *wsi_slide_open(const char *path, double mpp_override, GError **error);
/* The same with a say in who reads the pixels; wsi_slide_open is WSI_READER_AUTO.
 * QS_ERROR_UNSUPPORTED when WSI_READER_DIRECT cannot be. Plain images have one reader only. */
wsi_slide *wsi_slide_open_by(const char *path, double mpp_override, wsi_reader reader,
                             GError **error);
void wsi_slide_close(wsi_slide *slide);
const wsi_slide_info *wsi_slide_get_info(const wsi_slide *slide);
/* Bytes that reading it takes in the system's folder for temporary files (TMPDIR); 0 for most. */
int64_t wsi_slide_temp_bytes(const wsi_slide *slide);
/* Bytes of memory that reading takes at most with n_threads readers: decoders, caches, windows. */
int64_t wsi_slide_memory(const wsi_slide *slide, int n_threads);
/* rgb: h_lv rows of row_bytes bytes. Parts outside the slide are background. On error the output is
 * undefined and the message names level and place. */
bool wsi_slide_read(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv, int h_lv,
                    uint8_t *rgb, size_t row_bytes, GError **error);

/* A native tile of a slide as a JPEG that stands alone, no coefficient touched. Memory is kept from
 * call to call; start from zeros. */
typedef struct {
    uint8_t *jpeg; /* owned */
    size_t n, capacity;
    uint8_t *eighth; /* (eighth_h, eighth_w, 3), owned: the tile decoded at 1/8 scale */
    size_t eighth_capacity;
    int eighth_w, eighth_h;
} wsi_tile_copy;
void wsi_tile_copy_clear(wsi_tile_copy *copy);

typedef enum { WSI_COPY_DONE, WSI_COPY_NOT_A_TILE, WSI_COPY_DAMAGED } wsi_copy_outcome;

/* ---- a slide at one resolution --------------------------------------------------------------
 * The tiler, the thumbnail and the predictor all see a slide through a view: a plane of w × h
 * pixels of size downsample (level-0 pixels, any double >= 1). Reads the nearest finer level and
 * resamples by area averaging when its downsample differs by more than the tolerance. */
typedef struct {
    wsi_slide *slide; /* borrowed */
    int64_t w, h; /* view pixels: the level's own size when it is read as it is, else floor(level-0
                     size / downsample), at least 1 */
    double downsample;
    int level;
    double level_scale; /* pixels of `level` per view pixel; exactly 1 when read as it is */
    double mpp;         /* of view pixels; 0 unknown */
    const struct wsi_colour
        *colour; /* borrowed: what is done to colours (colour.h); NULL nothing */
} wsi_view;

#define WSI_MPP_TOLERANCE 0.02
typedef struct {
    bool level0;      /* level 0 as it is; mpp is then not looked at */
    double mpp;       /* wanted µm per pixel, > 0 */
    double tolerance; /* share by which a level may differ from mpp and is still read as it is */
} wsi_resolution;

/* QS_ERROR_ARG when the slide's mpp is unknown (the message says: pass --mpp-override or the cohort
 * column, or --level0) or when mpp is finer than level 0 by more than the tolerance (upsampling
 * refused). */
bool wsi_view_init_at(wsi_view *view, wsi_slide *slide, const wsi_resolution *resolution,
                      GError **error);
/* The same with WSI_MPP_TOLERANCE. */
bool wsi_view_init(wsi_view *view, wsi_slide *slide, bool level0, double mpp_wanted,
                   GError **error);
/* Of this many level-0 pixels per pixel, >= 1; a level that differs by less than a thousandth is
 * read as it is. QS_ERROR_ARG for a reduction that is too large. */
bool wsi_view_init_reduced(wsi_view *view, wsi_slide *slide, double downsample, GError **error);
/* A view that fits in max_px × max_px, for thumbnails and tissue. */
bool wsi_view_init_fit(wsi_view *view, wsi_slide *slide, int max_px, GError **error);
/* Thread-safe. Parts outside the view are background. */
bool wsi_view_read(const wsi_view *view, int64_t x, int64_t y, int w, int h, uint8_t *rgb,
                   size_t row_bytes, GError **error);
/* The JPEG of the view's w × h pixels at x,y when they are read as they are, colours too, and are
 * just one whole JPEG tile of the file, read by the direct lane. Thread-safe on different copies.
 */
wsi_copy_outcome wsi_view_copy(const wsi_view *view, int64_t x, int64_t y, int w, int h,
                               wsi_tile_copy *copy, GError **error);

#endif
