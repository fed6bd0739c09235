/* The loader: batches read, augmented and normalised ahead of the step by GLib threads, in a ring
 * of a few batches that is allocated once.
 *
 * Batch i is a pure function of (options, seed, i): threads change when it is ready, never what is
 * in it. What a labelled loss may see is in `label`, and only there: labels of the unlabelled half
 * lie in `truth`, which serves region accuracy alone (of held-back patches also --weights auto).
 * tr_loader_next is for one thread.
 *
 * A batch is ready for the step, or raw, for a device to augment (train/data/feed.h): patches as they
 * are stored in memory that it copies from fast, or, where it has them all, the draws alone. */
#ifndef QS_TRAIN_LOADER_H
#define QS_TRAIN_LOADER_H

#include "model/model.h"
#include "train/data/augment.h"
#include "train/data/strong.h"
#include "train/plan/options.h"
#include "train/data/sampler.h"

typedef struct tr_loader tr_loader;

typedef enum {
    TR_FORM_READY, /* augmented and normalised, in the host's memory */
    TR_FORM_RAW,   /* patch_rgb, patch_label and the draws */
    TR_FORM_DRAWS, /* the draws alone */
    TR_FORM_THERE, /* made by tr_feed: rgb and label planes are where the engine computes */
} tr_form;

typedef struct tr_batch {
    int64_t index;
    int n, n_labelled, patch_px;
    int n_held; /* of the unlabelled half, first in it: held-back labelled patches, see sampler.h */
    tr_form form;
    const uint32_t *items;     /* (n) numbers in the source */
    const tr_augment *augment; /* (n) what was done to each, or is to be */
    const tr_strong *strength; /* (n) the same of strong views; NULL where there are none */
    const uint8_t *patch_rgb, *patch_label; /* raw: (n,h,w,3), (n,h,w) as stored */
    const uint8_t *rgb;                     /* (n,h,w,3) augmented */
    const float *input;                     /* (n,h,w,3) normalised */
    const float *strong;    /* the same, strongly augmented; NULL where no forward looks at it */
    const uint8_t *label;   /* (n_labelled,h,w), 255 outside the slide */
    const uint8_t *truth;   /* (n - n_labelled,h,w), 255 where unknown */
    const uint8_t *exclude; /* (n - n_labelled,h,w), 255 outside the slide, else 0 */
    struct tr_feed *feed;   /* of TR_FORM_THERE */
} tr_batch;

/* Bytes that a loader holds. */
int64_t tr_loader_memory(const tr_options *options, const ssl_plan *plan, int patch_px,
                         tr_form form);
/* Starts reading at batch `first`. source, plan and spec are borrowed. */
tr_loader *tr_loader_create(const tr_options *options, const ssl_plan *plan,
                            const tr_source *source, const model_spec *spec, int64_t first,
                            GError **error);
/* The same in another form. Raw: patches lie in `engine`'s pinned memory, and a batch stays valid
 * until the call after the next, so that the device may lag one behind. */
tr_loader *tr_loader_create_form(const tr_options *options, const ssl_plan *plan,
                                 const tr_source *source, const model_spec *spec, tr_form form,
                                 kn_engine *engine, int64_t first, GError **error);
/* One patch as it is stored, label 255 where it has none; the error names it. Thread-safe. */
bool tr_loader_read(const tr_source *source, uint32_t index, uint8_t *rgb, uint8_t *label,
                    GError **error);
/* Stops the threads. NULL accepted. */
void tr_loader_destroy(tr_loader *loader);
/* The next batch, valid until the next call. NULL with the reader's error. */
const tr_batch *tr_loader_next(tr_loader *loader, GError **error);
const tr_sampler *tr_loader_sampler(const tr_loader *loader);

#endif
