/* Prediction of a slide: windows with overlap, probabilities blended, streamed in strips.
 *
 * Windows lie on the clamped grid (stride, last one shifted inward; smaller images padded white).
 * Only windows that touch tissue are run; outside tissue is background. Blended probabilities are
 * kept for one strip of window rows only, so memory does not grow with the slide's height. A window's
 * result does not depend on its batch: batches are always full-size passes (padded), one summation
 * order. */
#ifndef QS_INFER_PREDICT_H
#define QS_INFER_PREDICT_H

#include "model/model.h"
#include "wsi/slide.h"
#include "wsi/tissue.h"

typedef enum { INF_BLEND_GAUSSIAN, INF_BLEND_UNIFORM } inf_blend;

typedef struct {
    int window_px;   /* 0: the model's patch_px */
    int stride_px;   /* 0: 3/4 of the window */
    inf_blend blend; /* Gaussian, sigma = window/8 */
    int batch;       /* 8 */
    int n_readers;   /* reading threads: 1 */
} inf_options;
void inf_options_init(inf_options *options);

typedef struct inf_predictor inf_predictor;

/* Plans the pass for this model. bytes (NULL ok): memory of the predictor for a view width. */
inf_predictor *inf_predictor_create(kn_engine *engine, const model *m, const inf_options *options,
                                    GError **error);
void inf_predictor_destroy(inf_predictor *predictor);
int64_t inf_predictor_memory(const inf_predictor *predictor, const wsi_view *view);

/* Receives finished rows from the top: label (n_rows, w) u8; prob (n_rows, w, n_classes) f32. */
typedef bool (*inf_rows)(void *user, int64_t y, int n_rows, int64_t w, const uint8_t *label, const float *prob,
                         GError **error);

typedef struct {
    int64_t n_windows, n_run;
    double read_s, net_s, blend_s;
} inf_report;

/* tissue NULL: everything is run. Stops on qs_stop_requested. */
bool inf_predict(inf_predictor *predictor, const wsi_view *view, const wsi_tissue *tissue, inf_rows rows,
                 void *user, const qs_progress *progress, inf_report *report, GError **error);

/* Predicts straight into a pyramidal TIFF mask (profile `tiff`), and, with prob_path, a TIFF of the
 * foreground probability × 255 (1 - p(background) when there are more classes). */
bool inf_predict_to_tiff(inf_predictor *predictor, const wsi_view *view, const wsi_tissue *tissue,
                         const char *mask_path, const char *prob_path, const qs_progress *progress,
                         inf_report *report, GError **error);

#endif
