/* Mixed images: which images of the batch each image of a forward is made of, and where. A pure
 * function of (seed, iteration), so every forward, label plane and reference that is mixed the same
 * way agrees. */
#ifndef QS_TRAIN_MIX_H
#define QS_TRAIN_MIX_H

#include "kernels/ops.h"
#include "train/loader.h"

typedef struct {
    int outer, inner; /* images of the batch; inner only where the box is not empty */
    kn_box box;
    kn_box hole; /* cutout: blank, and excluded */
} tr_view;

/* Image i of the forward at step `it`. */
tr_view tr_view_of(const ssl_plan *plan, const tr_options *options, const ssl_forward *forward,
                   int patch_px, int64_t it, int i);

/* What the loss may see of mixed images. (n,h,w) each, borrowed. */
typedef struct {
    uint8_t *label;         /* 255 where the pixel is not labelled */
    uint8_t *exclude;       /* 255 where the pixel is not unlabelled, or outside its slide */
    uint8_t *truth;         /* of labelled and unlabelled pixels, 255 where unknown */
    uint8_t *held;          /* of pixels of held-back images, 255 elsewhere */
    uint8_t *outer, *inner; /* 255 outside that part */
} tr_planes;

/* Fills image i of the planes. held (n_unlabelled,h,w): truth of the held-back images, 255 in the
 * others. */
void tr_planes_fill(const tr_planes *planes, const tr_batch *batch, const uint8_t *held,
                    const tr_view *view, int i);

#endif
