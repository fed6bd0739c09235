/* Validation on whole slides: predict, stitch, compare with the truth, mean of the foreground DSC.
 */
#ifndef QS_JOBS_TRAIN_VALIDATION_H
#define QS_JOBS_TRAIN_VALIDATION_H

#include "db/store.h"
#include "infer/predict/predict.h"
#include "wsi/colour/colour.h"
#include "wsi/annot/mask.h"

typedef struct {
    char *path;
    wsi_slide *slide;
    wsi_view view;
    wsi_tissue *tissue;
    wsi_colour *colour; /* the view's */
    wsi_mask *mask;
    double dsc; /* of the last validation */
} job_val_slide;

typedef struct {
    GPtrArray *slides; /* of job_val_slide */
    const qs_classes *classes;
    inf_predictor *predictor;
    uint8_t *truth; /* rows of one strip */
    size_t truth_capacity;
} job_validation;

/* Opens the slides of split val that have a truth or a mask, at most max_slides (0: all, in the
 * store's order; below 0: none), finds their tissue and gives them the model's colour rules. No slide at all is no
 * error: there is no validation then.
 */
bool job_validation_open(job_validation *v, db_store *store, int max_slides, const char *colour,
                         GError **error);
void job_validation_close(job_validation *v);
/* Plans the predictor: windows without overlap (stride_px 0) or as asked for. *bytes: its memory.
 */
bool job_validation_prepare(job_validation *v, const model *m, kn_engine *engine, int stride_px,
                            int64_t *bytes, GError **error);
/* Frees the predictor, before its engine goes. */
void job_validation_release(job_validation *v);
/* Mean over the slides of the foreground DSC; NaN when no mask of them has a foreground pixel, since
 * the rule for empty masks would then be all that it says. */
bool job_validation_run(job_validation *v, const qs_progress *progress, double *dsc,
                        GError **error);

#endif
