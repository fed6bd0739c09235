/* CEUD's ranking term on a batch: counters of the history for the batch's pixels, scaled to [0,1]
 * over the batch, and a random order of the pixels that count, in which each is compared with the
 * one before it (kernels/loss/compare.h). It works in memory that is given to it. */
#ifndef QS_TRAIN_RANK_H
#define QS_TRAIN_RANK_H

#include "train/ssl/history.h"
#include "train/data/loader.h"

typedef struct {
    kn_engine *engine;
    uint32_t *order; /* (n,h,w) */
    int64_t n_order;
    void *agreement, *score; /* (n,h,w) engine dtype */
    /* What the host fills: the same places where the engine has no memory of its own. */
    uint32_t *host_order;
    void *host_agreement;
    uint8_t *count; /* (n,h,w) */
} tr_rank;

/* Of memory for so many pixels; real_bytes of the engine's dtype. */
size_t tr_rank_bytes(int64_t pixels, size_t real_bytes);
/* memory, of the engine, is borrowed and aligned as kn_block_alloc does it; so is staging, as many
 * bytes of the host's that the engine can copy from (kn_engine_host_alloc), NULL where memory is
 * the host's. */
void tr_rank_init(tr_rank *rank, kn_engine *engine, void *memory, void *staging, int64_t pixels);

/* Of the batch's first n images the pixels that count (no label 255, not excluded), in an order
 * that `stream` names, and their counters: agreement (n,h,w), (k - min)/(max - min), 0 where all
 * are equal. Of the batch items, augment, label and exclude are looked at, on the host. With
 * staging its bytes belong to the engine until a later mark has passed. */
void tr_rank_prepare(tr_rank *rank, const tr_history *history, tr_history_counter counter,
                     const tr_batch *batch, int n, uint64_t seed, uint64_t stream);
/* The loss on z, dz: the logits of just those images; added to *value, which is the engine's. */
void tr_rank_loss(tr_rank *rank, const kn_tensor *z, double scale, bool accumulate,
                  const kn_tensor *dz, double *value);

#endif
