/* The tiler: slide → grid → quality numbers → patches, handed to a sink in cell order.
 *
 * Grid in view pixels: x = 0, stride, 2·stride …; the last column and row clamped to the border
 * (so they may overlap their neighbour); an image smaller than a patch gets one padded patch,
 * padding white in the image, 255 in the label and excluded from every number. Cells are numbered
 * row-major. Worker threads read, measure and encode cells; the calling thread hands results to
 * the sink in order, so the sink needs no lock. */
#ifndef QS_WSI_TILE_H
#define QS_WSI_TILE_H

#include "wsi/annot/mask.h"
#include "wsi/slide/slide.h"
#include "wsi/stages.h"
#include "wsi/tissue/tissue.h"

typedef struct {
    int patch_px, stride_px; /* 256, 256 */
    double tissue_min;       /* keep cells with at least this tissue fraction: 0.25 */
    bool blank_rule; /* DigestPath: drop when the mean over pixels and channels is in [200,255] */
    bool no_tissue;  /* keep every cell that other rules keep; no detection */
    int n_threads;
    bool skip_damaged;        /* policy fail|skip for unreadable cells */
    double damaged_max;       /* with skip: share of cells above which the slide fails: 0.1 */
    int64_t n_damaged_before; /* damaged cells of earlier, stopped runs: they count too */
} wsi_tile_options;
void wsi_tile_options_init(wsi_tile_options *options);

typedef struct {
    int64_t n_x, n_y, n_cells;
} wsi_grid;
bool wsi_grid_init(wsi_grid *grid, const wsi_view *view, int patch_px, int stride_px,
                   GError **error);
void wsi_grid_cell(const wsi_grid *grid, const wsi_view *view, int patch_px, int stride_px,
                   int64_t cell, int64_t *x, int64_t *y, int *valid_w, int *valid_h);

/* Of cells that were not read (too little tissue, damaged) only `tissue` is known; the others are
 * NaN. */
typedef struct {
    float tissue, white, dark, saturation, blur, pen;
} wsi_quality;
/* rgb (h rows of row_bytes); only valid_w × valid_h is measured. Definitions in quality.c. */
void wsi_quality_measure(const uint8_t *rgb, size_t row_bytes, int valid_w, int valid_h,
                         wsi_quality *q, double *mean_rgb);

typedef struct {
    int64_t cell, x, y; /* view pixels */
    int64_t x_l0, y_l0, w_l0, h_l0;
    int valid_w, valid_h;
    bool kept, damaged, copied; /* copied: its JPEG was taken as it is */
    const char *reason;         /* static text, "" when kept */
    wsi_quality quality;
    int64_t class_px[256];
    bool has_label;
    void *work;     /* the worker's encoded result, from sink.encode */
    GError *damage; /* why it is damaged, owned by the tiler */
} wsi_cell;

/* Where patches go, and, with `copy`, JPEG tiles of the slide that a cell coincides with: then the
 * quality numbers of every cell are those of its picture at 1/8 scale. encode runs on worker
 * threads (one call per kept cell; `rgb` (patch,patch,3), `label` (patch,patch) or NULL; sets
 * *work). add runs on the calling thread in cell order and takes *work over through cell->work
 * (free_work is called by the tiler afterwards). */
typedef struct {
    void *user;
    bool (*encode)(void *user, const uint8_t *rgb, const uint8_t *label, void **work,
                   GError **error);
    /* (optional) As encode, for a cell whose pixels are these n bytes of JPEG. *taken false: they
     * cannot be kept as they are, and encode is called. */
    bool (*copy)(void *user, const uint8_t *jpeg, size_t n, const uint8_t *label, void **work,
                 bool *taken, GError **error);
    bool (*add)(void *user, const wsi_cell *cell, GError **error);
    void (*free_work)(void *user, void *work);
} wsi_sink;

typedef struct {
    int64_t n_kept, n_dropped, n_damaged, n_copied;
    wsi_stages stages; /* summed over threads */
} wsi_tile_report;

/* Bytes of memory that tiling this view with these options takes at most: the slide's decoder, the
 * workers' buffers, the results waiting for the sink, the tissue picture. */
int64_t wsi_tile_memory(const wsi_view *view, const wsi_tile_options *options);

/* Tiles cells first_cell … end. tissue NULL when options->no_tissue; mask may be NULL. Stops
 * between cells on qs_stop_requested (QS_ERROR_STOPPED), everything added so far stays. On any
 * error the cells before the one that failed have been added, in order. report is always filled. */
bool wsi_tile_run(const wsi_view *view, const wsi_tissue *tissue, wsi_mask *mask,
                  const wsi_tile_options *options, int64_t first_cell, const wsi_sink *sink,
                  const qs_progress *progress, wsi_tile_report *report, GError **error);

#endif
