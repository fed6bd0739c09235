/* A pass: one network, one batch and patch size, one mode. pass.c plans and creates it, pass_run.c
 * runs it. Pointers are found at each run from the plan's offsets, because the shared scratch may
 * have moved when a later pass made it grow. */
#ifndef QS_KERNELS_PASS_PRIV_H
#define QS_KERNELS_PASS_PRIV_H

#include "kernels/net/net_priv.h"
#include "kernels/net/plan.h"
#include "kernels/net/profile.h"
#include "kernels/net/weights_priv.h"

/* What a pass keeps for one node of its network. */
typedef struct {
    kn_conv *conv;     /* CONV: owned */
    kn_slice src, dst; /* the node's, redirected in inference */
    kn_slice copy; /* POOL in inference: the skip's place in the concatenation; value -1: none */
    bool skip;     /* NORM folded away; a node that no wanted output needs */
    bool dsrc;     /* the gradient of src is wanted */
    int fold_norm; /* CONV in inference: the NORM node folded in, -1 none */
    int packed, stats; /* plan items: packed weights; mean and inv_std. -1: none */
    int mask;          /* plan item: the dropout mask as norm_apply keeps it. -1: none */
    int sums;          /* plan item: NORM's sums from one half of backward to the other. -1: none */
    /* What others take along (ops.h). NORM: its statistics come with the convolution before it, its
     * backward's sums with the convolution or pooling after it, the rest of its backward with the
     * convolution before. */
    bool stats_with_conv, sums_with_next, apply_with_conv;
    bool pool_with_norm; /* NORM: the POOL after it goes along with its apply. POOL: so it does */
    /* NORM: its result is made by the one convolution that reads it, each time, and has no place.
     */
    bool made_by_reader;
    int before;  /* CONV: the NORM whose result it makes for itself. -1: none */
    int sums_of; /* CONV, POOL: the NORM whose sums come with its bwd_data. -1: none */
    int scratch_fwd, scratch_bwd_data, scratch_bwd_weights;
    double seconds[KN_N_PARTS]; /* while the pass has a clock */
    int rearranged; /* plan item, CONV transposed: gradients as of a 1×1 convolution; -1 */
} kn_step;

struct kn_pass {
    kn_engine *engine; /* borrowed */
    const kn_net *net; /* borrowed */
    kn_pass_options options;
    kn_dtype act; /* of what lies between input and outputs */
    kn_plan plan;
    kn_block arena;  /* private items */
    kn_step *steps;  /* one a node */
    int *value_item; /* plan item of each value, -1: not in this mode */
    int *grad_item;  /* plan item of each value's gradient, -1 none */
    int *blocks;     /* layout of each value and its gradient, as kn_tensor.block */
    int folded;      /* plan item: one layer's folded or rearranged weights and bias */
    uint64_t packed_params, packed_buffers; /* versions in the packed copies, 0 none */
    uint64_t dropout_stream;
    bool forward_done;
    double (*clock)(void); /* profile.h; NULL: not timed */
    double packing_seconds;
    kn_tensor input, outputs[KN_OUTPUTS_MAX], doutputs[KN_OUTPUTS_MAX]; /* of those wanted */
    /* Engines with memory of their own: the host's side of the input and, in INFER, of the outputs.
     */
    kn_block staging;
};

static inline bool kn_pass_wants(const kn_pass *pass, int output)
{
    return output < pass->net->n_outputs && (pass->options.outputs >> output) & 1u;
}

void *kn_pass_at(const kn_pass *pass, int item);
/* The input to the device and, in INFER, the logits back (which waits); nothing on the CPU. */
void kn_pass_upload(kn_pass *pass);
bool kn_pass_download(kn_pass *pass, GError **error);
kn_tensor kn_pass_tensor(const kn_pass *pass, const int *items, kn_slice slice);
/* What a node reads: its source, or that of the BatchNorm whose result it makes for itself. */
kn_slice kn_pass_source(const kn_pass *pass, int node);

#endif
