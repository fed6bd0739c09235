/* The losses of a step: from the logits of all forwards to their gradients, as the method's terms
 * say. Separate from the passes, so that it can be held against numbers computed by hand.
 *
 * Buffers (argmax and confidence of references, regions) are allocated at creation; running
 * allocates nothing. One thread drives it; inside, the engine's team. */
#ifndef QS_TRAIN_LOSSES_H
#define QS_TRAIN_LOSSES_H

#include "train/loss/learner.h"
#include "train/data/loader.h"
#include "train/run/trainer.h"

typedef struct tr_losses tr_losses;

/* Runs that may have been started and not collected. */
enum { TR_LOSSES_AHEAD = 2 };

/* What a step found. */
typedef struct {
    double loss; /* Σ weight·term */
    double sup,
        unsup; /* Σ of the labelled terms, of the unlabelled without their weight over time */
    double lr, lambda;
    /* Pixels and Σ w·CE of quadripartite terms, and how often the reference was right: [0] labelled
     * half, [1] unlabelled half. */
    int64_t region_px[2][KN_N_REGIONS], region_right[2][KN_N_REGIONS], truth_px[2][KN_N_REGIONS];
    double region_loss[2][KN_N_REGIONS];
} tr_step_result;

/* Sums over the steps since the last status. */
typedef struct {
    int64_t n_steps;
    tr_step_result sum;
} tr_window;

/* One forward's outputs and their gradients; NULL where there are none. */
typedef struct {
    const kn_tensor *z[KN_OUTPUTS_MAX], *dz[KN_OUTPUTS_MAX];
} tr_prediction;

/* Bytes of the buffers. */
int64_t tr_losses_memory(const tr_learner *learner, const tr_options *options, int patch_px);
/* learner and options are borrowed. */
tr_losses *tr_losses_create(tr_learner *learner, const tr_options *options, int patch_px,
                            GError **error);
void tr_losses_destroy(tr_losses *losses); /* NULL accepted */

/* Step `it` of `total`. of: every forward of the plan; dz of those with gradient is overwritten.
 * Updates the learner's γ and memory. Of the batch only label, truth and exclude are looked at.
 * Adds to *result, which comes zeroed. start and collect in one, and waits. */
void tr_losses_run(tr_losses *losses, const tr_batch *batch, const tr_prediction *of, int64_t it,
                   int64_t total, tr_step_result *result);
/* The same in two: start asks it all of the engine and waits for nothing; when that is done (the
 * caller has awaited a mark that came after it), collect says what the oldest run found and brings
 * γ and memory to the learner. Until all is collected the learner's are old ones. */
void tr_losses_start(tr_losses *losses, const tr_batch *batch, const tr_prediction *of, int64_t it,
                     int64_t total);
void tr_losses_collect(tr_losses *losses, tr_step_result *result);
/* The last run's batch as the loss saw it. Borrowed until the next run. */
void tr_losses_snapshot(tr_losses *losses, const tr_batch *batch, const tr_prediction *of,
                        int64_t it, tr_snapshot *snapshot);

#endif
