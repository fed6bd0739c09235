/* run.json: what a run is, for people and for reports. */
#ifndef QS_TRAIN_RUNINFO_H
#define QS_TRAIN_RUNINFO_H

#include "train/loss/learner.h"
#include "train/run/state.h"

/* Facts of a run beside its options. */
typedef struct {
    const char *state; /* "running", "done", "stopped", "failed" */
    const char *device;
    const char *gpu_data; /* where the patches lay: --gpu-data, decided; NULL: no GPU */
    size_t n_labelled, n_unlabelled, n_held_back; /* patches in the two streams */
    int64_t memory_bytes;
} tr_run_facts;

/* Atomic. */
bool tr_runinfo_write(const char *path, const tr_options *options, const model_spec *spec,
                      const tr_progress *progress, const tr_run_facts *facts, GError **error);

#endif
