/* Mixed images: which images of the batch each image of a forward is made of, and where. A pure
 * function of (seed, iteration), so every forward, label plane and reference that is mixed the same
 * way agrees. */
#ifndef QS_TRAIN_MIX_H
#define QS_TRAIN_MIX_H

#include "kernels/engine/ops.h"
#include "train/data/loader.h"

/* Image i of the forward at step `it`. */
kn_view tr_view_of(const ssl_plan *plan, const tr_options *options, const ssl_forward *forward,
                   int patch_px, int64_t it, int i);

/* Fills image i of the planes. held (n_unlabelled,h,w): truth of the held-back images, 255 in the
 * others. */
void tr_planes_fill(const kn_planes *planes, const tr_batch *batch, const uint8_t *held,
                    const kn_view *view, int i);

#endif
