/* CEUD's ranking term on a batch: counters of the history for the batch's pixels, scaled to [0,1]
 * over the batch, and a random order of the pixels that count, in which each is compared with the
 * one before it (kernels/compare.h). Everything is allocated at creation. */
#ifndef QS_TRAIN_RANK_H
#define QS_TRAIN_RANK_H

#include "train/history.h"
#include "train/loader.h"

typedef struct tr_rank tr_rank;

/* Images of the batch from `first` on. */
typedef struct {
    int first, n;
} tr_rank_images;

int64_t tr_rank_memory(const kn_engine *engine, int n_images, int patch_px);
tr_rank *tr_rank_create(kn_engine *engine, int n_images, int patch_px, GError **error);
void tr_rank_destroy(tr_rank *rank); /* NULL accepted */

/* The pixels of these images that count (no label 255, not excluded), in an order that `stream`
 * names, and their counters: agreement (n,h,w) of the engine's dtype, (k - min)/(max - min), 0
 * where all are equal. Of the batch items, augment, label and exclude are looked at. */
void tr_rank_prepare(tr_rank *rank, const tr_history *history, tr_history_counter counter,
                     const tr_batch *batch, tr_rank_images images, uint64_t seed, uint64_t stream);
/* The loss on z, dz: the logits of just those images. */
double tr_rank_loss(tr_rank *rank, const kn_tensor *z, double scale, bool accumulate,
                    const kn_tensor *dz);
/* What prepare made, for tests. */
const uint32_t *tr_rank_order(const tr_rank *rank, int64_t *n);
const void *tr_rank_agreement(const tr_rank *rank);

#endif
