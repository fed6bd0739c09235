/* One training step, run from a method's declaration.
 *
 *   inputs → all forwards → references (softmax, argmax, confidence) → γ → partitions and losses
 *   → gradients of the logits → backward → SGD → moving averages
 *
 * (order of ssl-methods A.11). Passes and buffers are planned and allocated at creation; a step
 * allocates nothing. One thread drives it. */
#ifndef QS_TRAIN_STEP_H
#define QS_TRAIN_STEP_H

#include "train/learner.h"
#include "train/loader.h"
#include "train/trainer.h"

typedef struct tr_step tr_step;

/* What a step found. */
typedef struct {
    double loss;         /* Σ weight·term */
    double sup, unsup;   /* Σ of the labelled terms, of the unlabelled without their weight over time */
    double lr, lambda;
    /* Pixels and Σ w·CE of quadripartite terms, and how often the reference was right: [0] labelled half,
     * [1] unlabelled half. */
    int64_t region_px[2][KN_N_REGIONS], region_right[2][KN_N_REGIONS], truth_px[2][KN_N_REGIONS];
    double region_loss[2][KN_N_REGIONS];
} tr_step_result;

/* Bytes that the step's passes and buffers will take; -1 on error. */
int64_t tr_step_memory(const tr_learner *learner, const tr_options *options, int patch_px, GError **error);
/* learner and options are borrowed. */
tr_step *tr_step_create(tr_learner *learner, const tr_options *options, int patch_px, GError **error);
void tr_step_destroy(tr_step *step); /* NULL accepted */
/* Runs step `it` of `total` on a batch. QS_ERROR_FORMAT when the loss is not finite: weights and γ
 * must then be thrown away. */
bool tr_step_run(tr_step *step, const tr_batch *batch, int64_t it, int64_t total, tr_step_result *result,
                 GError **error);
/* The last step's batch as the loss saw it. Borrowed until the next step. */
void tr_step_snapshot(tr_step *step, const tr_batch *batch, int64_t it, tr_snapshot *snapshot);

#endif
