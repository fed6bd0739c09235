/* Master weights and their versions, for the passes that keep packed copies of them. */
#ifndef QS_KERNELS_WEIGHTS_PRIV_H
#define QS_KERNELS_WEIGHTS_PRIV_H

#include "kernels/engine/engine_priv.h"

struct kn_weights {
    kn_engine *engine; /* borrowed */
    const kn_net *net; /* borrowed */
    kn_block block;    /* all arrays below */
    void *params, *buffers;
    void *grads, *momentum; /* NULL: not trainable */
    void *second;           /* NULL: not for Adam */
    int64_t batches_tracked;
    /* Taken from the engine's clock at each change, so no two states of any weights share one. */
    uint64_t params_version, buffers_version;
};

/* Element `offset` of an array of the engine's dtype. */
static inline void *kn_weights_at(const kn_weights *weights, void *array, int64_t offset)
{
    size_t size = kn_dtype_bytes(kn_engine_dtype(weights->engine));
    return array ? (char *)array + (size_t)offset * size : NULL;
}
void kn_weights_touch(kn_weights *weights, bool params, bool buffers);

#endif
