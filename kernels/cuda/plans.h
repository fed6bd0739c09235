/* Which convolutions cuDNN does: see plans.c. */
#ifndef QS_KERNELS_CUDA_PLANS_H
#define QS_KERNELS_CUDA_PLANS_H

#include "kernels/cuda/cuda_priv.h"
#include "kernels/cuda/cudnn_plan.h"

/* The plan for a direction of a convolution, the caller's; NULL: our own kernels do it. Timed and
 * checked here, unless the engine's choices (kn_engine_conv_choices) name it already, and then
 * checked only. Allocates while it tries; own kernels are taken where there is no room. */
kn_cudnn_plan *kn_cuda_plan_for(kn_engine *engine, const kn_conv_spec *spec, kn_cu_conv shape,
                                kn_cudnn_direction direction);

#endif
