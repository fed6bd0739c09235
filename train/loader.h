/* The loader: batches read, augmented and normalised ahead of the step by GLib threads, in a ring
 * of a few batches that is allocated once.
 *
 * Batch i is a pure function of (options, seed, i): threads change when it is ready, never what is
 * in it. What a labelled loss may see is in `label`, and only there: labels of the unlabelled half
 * lie in `truth`, which serves region accuracy alone (of held-back patches also --weights auto).
 * tr_loader_next is for one thread. */
#ifndef QS_TRAIN_LOADER_H
#define QS_TRAIN_LOADER_H

#include "model/model.h"
#include "train/augment.h"
#include "train/options.h"
#include "train/sampler.h"

typedef struct tr_loader tr_loader;

typedef struct tr_batch {
    int64_t index;
    int n, n_labelled, patch_px;
    int n_held; /* of the unlabelled half, first in it: held-back labelled patches, see sampler.h */
    const uint32_t *items;     /* (n) numbers in the source */
    const tr_augment *augment; /* (n) what was done to each */
    const uint8_t *rgb;        /* (n,h,w,3) augmented */
    const float *input;        /* (n,h,w,3) normalised */
    const float *strong;       /* the same, strongly augmented; NULL where no forward looks at it */
    const uint8_t *label;      /* (n_labelled,h,w), 255 outside the slide */
    const uint8_t *truth;      /* (n - n_labelled,h,w), 255 where unknown */
    const uint8_t *exclude;    /* (n - n_labelled,h,w), 255 outside the slide, else 0 */
} tr_batch;

/* Bytes that a loader holds. */
int64_t tr_loader_memory(const tr_options *options, const ssl_plan *plan, int patch_px);
/* Starts reading at batch `first`. source, plan and spec are borrowed. */
tr_loader *tr_loader_create(const tr_options *options, const ssl_plan *plan,
                            const tr_source *source, const model_spec *spec, int64_t first,
                            GError **error);
/* Stops the threads. NULL accepted. */
void tr_loader_destroy(tr_loader *loader);
/* The next batch, valid until the next call. NULL with the reader's error. */
const tr_batch *tr_loader_next(tr_loader *loader, GError **error);
const tr_sampler *tr_loader_sampler(const tr_loader *loader);

#endif
