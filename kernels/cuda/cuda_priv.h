/* What the backend's C files share: the state of an engine on a GPU. */
#ifndef QS_KERNELS_CUDA_CUDA_PRIV_H
#define QS_KERNELS_CUDA_CUDA_PRIV_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/loss.h"

typedef struct {
    kn_device *device;      /* owned */
    struct kn_cudnn *cudnn; /* owned; NULL: own kernels do every convolution */
    bool graphs;            /* steps as graphs (program.h); not with QS_DISABLE=graph */
    double *partials;       /* owned, on the GPU: kn_cu_partials_bytes(KN_CHANNELS_MAX) */
    /* loss.c, owned: sums of a batch; those and the count that a later pass reads; numbers of calls
     * that wait. And where the last pass has put its sums. */
    kn_block loss, kept, count, numbers;
    kn_cu_sums last;
} kn_cuda;

static inline kn_cuda *kn_cuda_of(const kn_engine *engine)
{
    return engine->state;
}

extern const kn_device_loss kn_cuda_loss;

/* conv.c: as in ops.h. */
kn_conv *kn_cuda_conv_create(kn_engine *engine, const kn_conv_spec *spec, GError **error);
void kn_cuda_conv_destroy(kn_conv *conv);
kn_conv_needs kn_cuda_conv_needs(const kn_conv *conv);
const char *kn_cuda_conv_describe(const kn_conv *conv);
bool kn_cuda_conv_pack(kn_conv *conv, const void *weight, const void *bias, void *packed,
                       GError **error);
bool kn_cuda_conv_pack_all(kn_engine *engine, const kn_pack_item *items, int n, GError **error);
bool kn_cuda_conv_fwd(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                      void *scratch, GError **error);
bool kn_cuda_conv_bwd_data(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                           const kn_tensor *dsrc, void *scratch, GError **error);
bool kn_cuda_conv_bwd_weights(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                              void *dweight, void *dbias, void *scratch, GError **error);

unsigned kn_cuda_conv_takes(const kn_conv *conv);
void kn_cuda_conv_fwd_stats(kn_conv *conv, const void *packed, const kn_tensor *src,
                            const kn_tensor *dst, void *scratch, const kn_norm *norm,
                            const kn_norm *before);

/* backend.c: as the kernels take it. */
kn_cu_norm kn_cuda_norm_of(const kn_norm *norm);

/* peak.c: as in ops.h. */
bool kn_cuda_peak(kn_engine *engine, double *flop_s, double *byte_s, GError **error);

#endif
