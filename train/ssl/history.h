/* CEUD's memory: for every pixel of every training patch what the network said at the last sweep
 * and how often it has said the same as the time before (agreement), on labelled patches also how
 * often it was right (correctness). A sweep predicts the whole training set, without augmentation
 * and in inference mode.
 *
 * Three bytes a pixel, four on labelled patches; counters stop at 255. Classes and counters belong
 * to the training state. One thread drives it. */
#ifndef QS_TRAIN_HISTORY_H
#define QS_TRAIN_HISTORY_H

#include "train/data/augment.h"
#include "train/loss/learner.h"
#include "train/data/source.h"

typedef struct tr_history tr_history;

typedef enum { TR_HISTORY_AGREEMENT, TR_HISTORY_CORRECTNESS } tr_history_counter;

/* Bytes of the arrays. */
int64_t tr_history_memory(const tr_source *source);
/* Counters 0, no sweep done. source is borrowed. */
tr_history *tr_history_create(const tr_source *source, GError **error);
void tr_history_destroy(tr_history *history); /* NULL accepted */

/* Predicts every patch with the weights and counts. Stops on qs_stop_requested (QS_ERROR_STOPPED)
 * and on a patch that cannot be read: everything is then as it was before. pass: KN_PASS_INFER, any
 * number of images; weights fit it; input is normalised as spec says. */
bool tr_history_sweep(tr_history *history, kn_engine *engine, kn_pass *pass, kn_weights *weights,
                      const model_spec *spec, GError **error);
int64_t tr_history_n_sweeps(const tr_history *history);

/* A counter of a patch, moved as the augmentation moved the patch: count (h,w) u8. Correctness of a
 * patch without a label that a loss may see is 0. */
void tr_history_read(const tr_history *history, tr_history_counter counter, size_t item,
                     const tr_augment *augment, uint8_t *count);

/* For the training state: array 0, 1, … with its name and bytes; NULL past the last. Borrowed. */
uint8_t *tr_history_array(tr_history *history, int i, const char **name, int64_t *bytes);
void tr_history_set_sweeps(tr_history *history, int64_t n_sweeps); /* after the arrays were read */

#endif
