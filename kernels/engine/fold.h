/* Inference folds BatchNorm with running statistics into the convolution before it:
 *   s = gamma / sqrt(running_var + eps),  w' = s·w,  b' = s·(b - running_mean) + beta. */
#ifndef QS_KERNELS_FOLD_H
#define QS_KERNELS_FOLD_H

#include "kernels/engine/tensor.h"

typedef struct {
    const void *weight, *bias;                             /* (oc, per_oc), (oc) */
    const void *gamma, *beta, *running_mean, *running_var; /* (oc) */
} kn_fold;

/* Arrays of dtype f32 or f64. weight and bias of the result may not be the arguments. */
void kn_fold_bn(kn_dtype dtype, int oc, int64_t per_oc, const kn_fold *from, void *weight,
                void *bias);

#endif
