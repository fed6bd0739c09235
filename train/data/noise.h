/* Images into a forward's input, with noise where the method wants it. */
#ifndef QS_TRAIN_NOISE_H
#define QS_TRAIN_NOISE_H

#include "kernels/engine/ops.h"

/* Where one image comes from: src in the box's outside, inner inside it, 0 in the hole. (h,w,c)
 * dense f32 each. */
typedef struct {
    const float *src, *inner;
    kn_box box, hole;
    uint64_t at; /* the image's number in the batch: names its noise */
} tr_image;

/* Writes images[i] to image i of dst (f32 or f64), plus clip(sigma·N(0,1), ±2·sigma); sigma 0:
 * none. The noise of an element is a function of (seed, stream, its place in the batch), whatever
 * the threads. In the caller's OpenMP team. */
void tr_input_fill(const kn_tensor *dst, const tr_image *images, double sigma, uint64_t seed,
                   uint64_t stream);

#endif
