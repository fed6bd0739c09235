/* A network as data: parameters in PyTorch's order, values (tensors) and nodes (operations) in the
 * order of the forward pass. Batch and patch size come with the pass; a value says only its level
 * (its height is h >> level) and its channels. A node's source or destination may be a slice of a
 * value: that is how a skip connection lands in its concatenation buffer without a copy.
 * Convolutions see whole values only (oneDNN is fast on nothing else). */
#ifndef QS_KERNELS_NET_PRIV_H
#define QS_KERNELS_NET_PRIV_H

#include "kernels/engine.h"

typedef enum { KN_NODE_CONV, KN_NODE_NORM, KN_NODE_POOL, KN_NODE_UPSAMPLE } kn_node_kind;

typedef struct {
    const char *name; /* borrowed from the net's strings */
    int level, channels;
} kn_value;

typedef struct {
    int value, first, channels;
} kn_slice;

typedef struct {
    kn_node_kind kind;
    const char
        *name; /* module name, borrowed from the net's strings; CONV and NORM have parameters */
    kn_slice src, dst;
    int param;      /* CONV: weight, +1 bias. NORM: weight, +1 bias, +2 running mean, +3 variance */
    int k;          /* CONV: 3 or 1 */
    bool normed;    /* CONV: the next node is the NORM of its output */
    float dropout;  /* NORM */
    int norm_index; /* NORM: counts them; names the dropout mask */
} kn_node;

struct kn_net {
    kn_unet_spec spec;
    GArray *params;      /* kn_param */
    GArray *values;      /* kn_value */
    GArray *nodes;       /* kn_node */
    GStringChunk *names; /* every string above */
    int64_t n_trained, n_buffers;
    int input, logits; /* values */
};

static inline const kn_value *kn_net_value(const kn_net *net, int i)
{
    return &g_array_index(net->values, kn_value, i);
}
static inline const kn_node *kn_net_node(const kn_net *net, int i)
{
    return &g_array_index(net->nodes, kn_node, i);
}
/* Does the slice cover its whole value? */
static inline bool kn_slice_whole(const kn_net *net, kn_slice s)
{
    return s.channels == kn_net_value(net, s.value)->channels;
}

#endif
