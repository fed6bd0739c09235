/* Convolutions by cuDNN's graph API: which plans it has for a shape, and running one.
 *
 * The library is looked for when the engine opens (QS_CUDNN names it, else the system's
 * libcudnn.so.9, else the place that the build was configured with), so a program that was built
 * with its headers also runs where it is not: kn_cudnn_open then says why, and own kernels do
 * everything. A plan has a name ("e5.k2=1.k7=3": engine and knobs) under which a later run gets the
 * same one. Plans that cuDNN calls nondeterministic are never offered. One thread. */
#ifndef QS_KERNELS_CUDA_CUDNN_PLAN_H
#define QS_KERNELS_CUDA_CUDNN_PLAN_H

#include "kernels/cuda/device.h"

typedef enum { KN_CUDNN_FWD, KN_CUDNN_BWD_DATA, KN_CUDNN_BWD_WEIGHTS } kn_cudnn_direction;

/* NHWC tensors of `io`, weights and their gradient (oc,k,k,ic) of `io`; sums are f32. With
 * `bias` (f32, oc) and LeakyReLU(.01) on top, forward only, when `epilogue` is set. */
typedef struct {
    int n, h, w, ic, oc, k;
    kn_dtype io; /* KN_BF16 or KN_F32 */
    bool epilogue, leaky;
} kn_cudnn_shape;

typedef struct kn_cudnn kn_cudnn;
typedef struct kn_cudnn_plan kn_cudnn_plan;

/* On the device's stream. QS_ERROR_UNSUPPORTED: not built in, not found, too old. */
kn_cudnn *kn_cudnn_open(kn_device *device, GError **error);
/* Without a GPU: properties (JSON, as cuDNN serialises them) of the device to ask about. For tests.
 */
kn_cudnn *kn_cudnn_open_for(const char *device_json, GError **error);
void kn_cudnn_close(kn_cudnn *cudnn);        /* NULL accepted */
int kn_cudnn_version(const kn_cudnn *cudnn); /* 92800 */

/* Plans in the order of cuDNN's heuristics, at most `most`, with workspaces up to `workspace_most`
 * bytes; none is no error. Each is the caller's, for kn_cudnn_plan_destroy. */
int kn_cudnn_plans(kn_cudnn *cudnn, const kn_cudnn_shape *shape, kn_cudnn_direction direction,
                   size_t workspace_most, kn_cudnn_plan **plans, int most);
/* For tests: how many deterministic ones the heuristics offer, whether or not they can be built
 * here: those with an epilogue are compiled on the device. */
int kn_cudnn_offers(kn_cudnn *cudnn, const kn_cudnn_shape *shape, kn_cudnn_direction direction);
/* The plan of that name; NULL when this library or device does not have it. */
kn_cudnn_plan *kn_cudnn_plan_named(kn_cudnn *cudnn, const kn_cudnn_shape *shape,
                                   kn_cudnn_direction direction, const char *name);
void kn_cudnn_plan_destroy(kn_cudnn_plan *plan); /* NULL accepted */
const char *kn_cudnn_plan_name(const kn_cudnn_plan *plan);
size_t kn_cudnn_plan_workspace(const kn_cudnn_plan *plan);

/* fwd: a = x, b = weights, out = y; bwd_data: a = dy, b = weights, out = dx; bwd_weights: a = x,
 * b = dy, out = dw (overwritten). bias NULL without epilogue. */
bool kn_cudnn_run(kn_cudnn *cudnn, const kn_cudnn_plan *plan, const void *a, const void *b,
                  const void *bias, void *out, void *workspace, GError **error);

#endif
