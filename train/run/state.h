/* The training state on disk: RUN/state.safetensors. Everything that a resumed run needs to compute
 * the same bits as one that was never stopped: weights, running statistics and momentum of every
 * network, γ, the iteration (which is all of the random streams' position), the planned length, the
 * best score so far, the choice of convolution algorithms, and the options and data it belongs to.
 */
#ifndef QS_TRAIN_STATE_H
#define QS_TRAIN_STATE_H

#include "train/loss/losses.h"

/* Where a run is. */
typedef struct {
    int64_t iteration;        /* steps done */
    int64_t iterations;       /* of the schedule: as asked for, or as the hours allow */
    bool planned;             /* the hours have been planned with */
    double elapsed_s;         /* over all sessions, to this iteration */
    double val_dsc, best_dsc; /* NaN until known */
    int64_t best_iteration;   /* -1 until known */
    int64_t val_iteration;    /* last validated; -1 none */
    int64_t csv_bytes;        /* of metrics.csv that belong to this state */
    tr_window window;         /* so that the next status of a resumed run says the same */
} tr_progress;

void tr_progress_init(tr_progress *progress, int64_t iterations);

/* What a state belongs to: a resumed run must agree. Texts of "name=value" lines, owned. */
typedef struct {
    char *options; /* tr_options_to_text, those that matter */
    char *data;    /* patches, classes, normalisation */
} tr_identity;

void tr_identity_clear(tr_identity *identity);

/* Host memory for writing, planned before step 0 so that a checkpoint cannot fail for want of it.
 */
typedef struct tr_state_writer tr_state_writer;
int64_t tr_state_memory(const tr_learner *learner); /* at its most, while writing */
tr_state_writer *tr_state_writer_create(const tr_learner *learner);
void tr_state_writer_destroy(tr_state_writer *writer);
/* Atomic, with a checksum (model/safetensors.h). QS_ERROR_FORMAT, and nothing written, when a weight is not finite. */
bool tr_state_write(tr_state_writer *writer, const char *path, const tr_learner *learner,
                    const tr_progress *progress, const tr_identity *identity, GError **error);

/* The convolution choices of the state, "" when there are none; needed before the engine exists.
 * QS_ERROR_MISMATCH names the first option or fact that differs from `identity`, with both values.
 * *threads: of the engine that wrote it. Owned by the caller. */
char *tr_state_read_choices(const char *path, const tr_identity *identity, int *threads,
                            GError **error);
/* Fills learner (of the same plan) and progress, which comes as tr_progress_init has it: its
 * iterations are the most that the state may say. QS_ERROR_FORMAT when the checksum is wrong or a
 * counter impossible. */
bool tr_state_read(const char *path, tr_learner *learner, tr_progress *progress, GError **error);

#endif
