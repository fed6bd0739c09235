/* Prediction of a slide: windows with overlap, probabilities blended, streamed in strips.
 *
 * Windows lie on the clamped grid of the view (stride, last one shifted inward; smaller images
 * padded with white). Only windows that touch tissue are run; what no window covers is background
 * with probability 1. Blended probabilities are kept for one strip of window rows only, in the
 * memory where the engine computes, so memory does not grow with the slide's height (but for the
 * list of windows, 4 bytes each).
 *
 * The result does not depend on batch size, reader threads or engine threads: the network always
 * sees passes of INF_PASS_N windows, INF_PASS_DEVICE_N on a GPU (the last one padded), direct
 * convolutions do not mix images and sum in one order, and windows are blended in grid order. An
 * engine that chooses its convolutions by timing (KN_CONV_AUTO) may choose others in the next run,
 * and then differs in the last bits. */
#ifndef QS_INFER_PREDICT_H
#define QS_INFER_PREDICT_H

#include "model/model.h"
#include "wsi/slide/slide.h"
#include "wsi/tissue/tissue.h"

/* Four windows keep a CPU's caches warm; a GPU needs more to fill its multiprocessors. */
enum { INF_PASS_N = 4, INF_PASS_DEVICE_N = 16 };

typedef enum { INF_BLEND_GAUSSIAN, INF_BLEND_UNIFORM } inf_blend;
const char *inf_blend_name(inf_blend blend); /* "gaussian", "uniform" */
bool inf_blend_parse(const char *name, inf_blend *blend);

typedef struct {
    int window_px; /* 0: the model's patch_px (256 where the model does not say); divisible by 16 */
    int stride_px; /* 0: 3/4 of the window; 1 … window_px */
    inf_blend blend; /* Gaussian, sigma = window/8 */
    int batch;       /* 8: windows read ahead while as many are computed */
    int n_readers;   /* reading threads: 1 */
} inf_options;
void inf_options_init(inf_options *options);

/* Owns its pass; the engine and the model are borrowed and must outlive it. One thread. */
typedef struct inf_predictor inf_predictor;

/* Plans the pass for this model. QS_ERROR_ARG names the option that cannot be used. */
inf_predictor *inf_predictor_create(kn_engine *engine, const model *m, const inf_options *options,
                                    GError **error);
void inf_predictor_destroy(inf_predictor *predictor); /* NULL accepted */
/* The options as they are used: no zeros left. */
const inf_options *inf_predictor_options(const inf_predictor *predictor);
/* Bytes that predicting this view takes at most: pass, windows read ahead, strip, rows of the mask
 * (weights, slide reader's own caches and the TIFF writer apart). */
int64_t inf_predictor_memory(const inf_predictor *predictor, const wsi_view *view);

/* Receives finished rows from the top: label (n_rows, w) u8; prob (n_rows, w, n_classes) f32, NULL
 * where labels only were asked for. */
typedef bool (*inf_rows)(void *user, int64_t y, int n_rows, int64_t w, const uint8_t *label,
                         const float *prob, GError **error);

typedef struct {
    int64_t n_windows, n_run;      /* of the grid; of these, run */
    double read_s, net_s, blend_s; /* read_s is summed over readers and overlaps the others */
} inf_report;

/* tissue NULL: everything is run. labels_only: rows are not given probabilities. Stops on
 * qs_stop_requested (QS_ERROR_STOPPED). report may be NULL. */
bool inf_predict(inf_predictor *predictor, const wsi_view *view, const wsi_tissue *tissue,
                 bool labels_only, inf_rows rows, void *user, const qs_progress *progress,
                 inf_report *report, GError **error);

/* The grid of a slide's mask: level 0 divided by the integer nearest to the view's downsample. */
typedef struct {
    int factor;
    int64_t w, h; /* floor(level-0 size / factor), at least 1 */
    double mpp;   /* of mask pixels; 0 unknown */
} inf_mask_grid;
void inf_mask_grid_init(inf_mask_grid *grid, const wsi_view *view);

/* Predicts straight into a pyramidal TIFF mask (profile `tiff`) and, with prob_path, a TIFF of the
 * foreground probability × 255, rounded (1 - p(background)). Where the view's pixels are not those
 * of the mask's grid (downsample no integer), each mask pixel takes the view pixel that its centre
 * lies in. Both files appear whole or not at all. */
bool inf_predict_to_tiff(inf_predictor *predictor, const wsi_view *view, const wsi_tissue *tissue,
                         const char *mask_path, const char *prob_path, const qs_progress *progress,
                         inf_report *report, GError **error);

#endif
