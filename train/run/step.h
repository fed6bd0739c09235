/* One training step, run from a method's declaration.
 *
 *   inputs → all forwards → losses (train/loss/losses.h) → backward → SGD → moving averages
 *
 * (order of ssl-methods A.11). Passes and buffers are planned and allocated at creation; a step
 * allocates nothing. One thread drives it. */
#ifndef QS_TRAIN_STEP_H
#define QS_TRAIN_STEP_H

#include "train/data/feed.h"
#include "train/loss/losses.h"

typedef struct tr_step tr_step;

/* Bytes that the step's passes and buffers will take; -1 on error. */
int64_t tr_step_memory(const tr_learner *learner, const tr_options *options, int patch_px,
                       GError **error);
/* learner, options and feed are borrowed. feed: makes the batches on the engine's device from what
 * the loader hands over raw; NULL: they come ready. */
tr_step *tr_step_create(tr_learner *learner, const tr_options *options, int patch_px, tr_feed *feed,
                        GError **error);
void tr_step_destroy(tr_step *step); /* NULL accepted */
/* Asks step `it` of `total` on a batch of the engine. A device is not waited for, but for images
 * that the host makes; of TR_LOSSES_AHEAD steps the oldest must have been collected. */
bool tr_step_start(tr_step *step, const tr_batch *batch, int64_t it, int64_t total, GError **error);
int tr_step_n_started(const tr_step *step); /* and not collected */
/* Waits for the oldest started step and says what it found. QS_ERROR_FORMAT when the loss is not
 * finite (on the CPU start says so already): weights and γ must then be thrown away. γ and the
 * method's memory are the learner's when all is collected. */
bool tr_step_collect(tr_step *step, tr_step_result *result, GError **error);
/* Both. */
bool tr_step_run(tr_step *step, const tr_batch *batch, int64_t it, int64_t total,
                 tr_step_result *result, GError **error);
/* The last step's batch as the loss saw it. Borrowed until the next step; the batch must still be
 * there. */
void tr_step_snapshot(tr_step *step, int64_t it, tr_snapshot *snapshot);

#endif
