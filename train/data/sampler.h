/* Two-stream sampling: which items make batch i, as a pure function of (seed, i).
 *
 * Labelled: each epoch is one permutation of the pool, and its incomplete tail is dropped; a pool
 * smaller than the batch repeats instead (an endless stream of permutations), so that a handful of
 * outlined patches is enough to train. Unlabelled: an endless stream of permutations. Where the
 * plan holds labelled rows back (held_share of them, at least one and never all), those are in no
 * labelled half; n_held images of each unlabelled half are taken from them, an endless stream too.
 * Not thread-safe: it keeps the permutations of the epochs last asked for. */
#ifndef QS_TRAIN_SAMPLER_H
#define QS_TRAIN_SAMPLER_H

#include "train/data/source.h"
#include "train/plan/method.h"

typedef struct tr_sampler tr_sampler;

/* The unlabelled pool is the rows that are not marked labelled. QS_ERROR_ARG when a stream that the
 * plan wants has no rows. Allocates all it needs. */
tr_sampler *tr_sampler_create(const tr_source *source, const ssl_plan *plan, uint64_t seed,
                              GError **error);
void tr_sampler_destroy(tr_sampler *sampler);
/* items: n_labelled + n_unlabelled item numbers, labelled first; of the unlabelled those held back
 * first, tr_sampler_n_held of them. */
void tr_sampler_batch(tr_sampler *sampler, int64_t i, uint32_t *items);
size_t tr_sampler_n_labelled(const tr_sampler *sampler);
size_t tr_sampler_n_unlabelled(const tr_sampler *sampler);
/* Held-back rows; and how many a batch has: the plan's n_held, 0 where there are none. */
size_t tr_sampler_n_held_back(const tr_sampler *sampler);
int tr_sampler_n_held(const tr_sampler *sampler);

#endif
