/* Images into a forward's input, with noise where the method wants it. */
#ifndef QS_TRAIN_NOISE_H
#define QS_TRAIN_NOISE_H

#include "kernels/tensor.h"

/* Writes images first … first+dst->n-1 of src (…,h,w,dst->c dense f32) to dst (f32 or f64), plus
 * clip(sigma·N(0,1), ±2·sigma); sigma 0: none. The noise of an element is a function of (seed,
 * stream, its place in src), whatever the threads. In the caller's OpenMP team. */
void tr_input_fill(const kn_tensor *dst, const float *src, int first, double sigma, uint64_t seed,
                   uint64_t stream);

#endif
