/* A network as data: parameters in PyTorch's order, values (tensors) and nodes (operations) in the
 * order of the forward pass. Batch and patch size come with the pass; a value says only its level
 * (its height is h >> level) and its channels. A node's source or destination may be a slice of a
 * value: that is how a skip connection lands in its concatenation buffer without a copy.
 * Convolutions see whole values only (oneDNN is fast on nothing else).
 *
 * Invariant of gradients: of the nodes that read a value, the last in forward order overwrites the
 * value's gradient (convolution, upsampling, …) and is the first to run backward; all others add to
 * it (pooling, perturbation). Copies of features for other decoders therefore come before the
 * decoder that reads the feature itself. */
#ifndef QS_KERNELS_NET_PRIV_H
#define QS_KERNELS_NET_PRIV_H

#include "kernels/engine/ops.h"

typedef enum {
    KN_NODE_CONV,
    KN_NODE_NORM,
    KN_NODE_POOL,
    KN_NODE_UPSAMPLE,
    KN_NODE_PERTURB,
    KN_NODE_REPEAT,
    KN_NODE_SPREAD
} kn_node_kind;

typedef struct {
    const char *name; /* borrowed from the net's strings */
    int level, channels;
    bool nhwc; /* never in blocks: the input, heads and outputs */
} kn_value;

typedef struct {
    int value, first, channels;
} kn_slice;

typedef struct {
    kn_node_kind kind;
    const char
        *name; /* module name, borrowed from the net's strings; CONV and NORM have parameters */
    kn_slice src, dst;
    int param;    /* CONV: weight, +1 bias. NORM: weight, +1 bias, +2 running mean, +3 variance */
    int k;        /* CONV: 3 or 1 */
    bool normed;  /* CONV: the next node is the NORM of its output */
    bool no_bias; /* CONV: there is no parameter +1 */
    bool transposed;    /* CONV: its parameters are those of a 2×2 transposed convolution */
    float dropout;      /* NORM */
    int norm_index;     /* NORM: counts them; names the dropout mask */
    kn_perturb perturb; /* PERTURB: but for its stream */
} kn_node;

struct kn_net {
    kn_unet_spec spec;
    GArray *params;      /* kn_param */
    GArray *values;      /* kn_value */
    GArray *nodes;       /* kn_node */
    GStringChunk *names; /* every string above */
    int64_t n_trained, n_buffers;
    int input;                              /* value */
    int outputs[KN_OUTPUTS_MAX], n_outputs; /* values; the first is what a model predicts */
    bool *in_model;                         /* of each parameter, owned */
};

static inline const kn_value *kn_net_value(const kn_net *net, int i)
{
    return &g_array_index(net->values, kn_value, i);
}
static inline const kn_node *kn_net_node(const kn_net *net, int i)
{
    return &g_array_index(net->nodes, kn_node, i);
}
/* For builders. A node's name is its module's; parameters are listed in the order of adding. */
int kn_net_add_value(kn_net *net, const char *name, int level, int channels);
kn_slice kn_net_whole(const kn_net *net, int value);
/* dst = conv(src); the destination is a new value, which is returned. */
int kn_net_add_conv(kn_net *net, const char *module, int src, int oc, int k, bool normed,
                    bool bias);
/* 2×2 transposed convolution of stride 2 into dst, a slice one level up. */
void kn_net_add_transposed(kn_net *net, const char *module, int src, kn_slice dst);
void kn_net_add_norm(kn_net *net, const char *module, int src, kn_slice dst, float dropout);
/* A node without parameters. */
void kn_net_add_move(kn_net *net, kn_node_kind kind, const char *name, kn_slice src, kn_slice dst);
/* A perturbed copy; each such node has a stream of its own. */
void kn_net_add_perturb(kn_net *net, const char *name, kn_perturb how, kn_slice src, kn_slice dst);
void kn_net_add_output(kn_net *net, int value);
/* After the last node: finds what belongs to the model, checks the invariant of gradients. */
void kn_net_finish(kn_net *net);
/* Which nodes the outputs of a mask need. wanted: one a node. */
void kn_net_needed(const kn_net *net, uint32_t outputs, bool *wanted);
/* The name of the first value whose gradient nothing overwrites, of the nodes wanted; NULL: none.
 */
const char *kn_net_loose_gradient(const kn_net *net, const bool *wanted);

/* Does the slice cover its whole value? */
static inline bool kn_slice_whole(const kn_net *net, kn_slice s)
{
    return s.channels == kn_net_value(net, s.value)->channels;
}

#endif
