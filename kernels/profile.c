/* The layer listing of a pass; pass_run.c keeps its clock. */
#include "kernels/profile.h"

#include "kernels/pass_priv.h"

#include <string.h>

const char *const kn_part_names[KN_N_PARTS] = {"fwd", "bwd_d", "bwd_w"};

void kn_pass_set_clock(kn_pass *pass, double (*clock)(void))
{
    pass->clock = clock;
    pass->packing_seconds = 0;
    for (guint i = 0; i < pass->net->nodes->len; i++)
        memset(pass->steps[i].seconds, 0, sizeof pass->steps[i].seconds);
}

int kn_pass_n_layers(const kn_pass *pass)
{
    return (int)pass->net->nodes->len;
}

double kn_pass_packing_seconds(const kn_pass *pass)
{
    return pass->packing_seconds;
}

static void conv_work(kn_layer *l, const kn_pass *pass, const kn_step *s, const kn_node *node,
                      double src, double dst)
{
    double n = (double)pass->options.n * l->h * l->w;
    double flop = 2 * n * l->ic * l->oc * node->k * node->k;
    double weights = (double)l->ic * l->oc * node->k * node->k *
                     (double)kn_dtype_bytes(kn_engine_dtype(pass->engine));
    bool parts[KN_N_PARTS] = {true, s->dsrc, pass->options.mode == KN_PASS_TRAIN};
    l->op = node->k == 3 ? "conv3x3" : "conv1x1";
    l->how = kn_engine_ops(pass->engine)->conv_describe(s->conv);
    for (int p = 0; p < KN_N_PARTS; p++) {
        l->flop[p] = parts[p] ? flop : 0;
        l->bytes[p] = parts[p] ? src + dst + weights : 0;
    }
}

/* Passes over memory: how often each side is read or written, forward and backward. */
static void move_work(kn_layer *l, const kn_pass *pass, const char *op, double fwd, double bwd)
{
    l->op = op;
    l->bytes[KN_PART_FWD] = fwd;
    l->bytes[KN_PART_BWD_DATA] = pass->options.mode == KN_PASS_TRAIN ? bwd : 0;
}

static double slice_bytes(const kn_pass *pass, kn_slice slice)
{
    int level = kn_net_value(pass->net, slice.value)->level;
    return (double)pass->options.n * (pass->options.h >> level) * (pass->options.w >> level) *
           slice.channels * (double)kn_dtype_bytes(kn_engine_dtype(pass->engine));
}

kn_layer kn_pass_layer(const kn_pass *pass, int i)
{
    const kn_node *node = kn_net_node(pass->net, i);
    const kn_step *s = &pass->steps[i];
    int level = kn_net_value(pass->net, node->src.value)->level;
    kn_layer l = {.name = node->name,
                  .op = "",
                  .how = "",
                  .ic = s->src.channels,
                  .oc = s->dst.channels,
                  .h = pass->options.h >> level,
                  .w = pass->options.w >> level};
    double src = slice_bytes(pass, s->src), dst = slice_bytes(pass, s->dst);
    switch (node->kind) {
    case KN_NODE_CONV:
        conv_work(&l, pass, s, node, src, dst);
        break;
    case KN_NODE_NORM: /* statistics and apply; sums and apply */
        move_work(&l, pass, "norm", s->skip ? 0 : 2 * src + dst, 4 * src + dst);
        break;
    case KN_NODE_POOL:
        move_work(&l, pass, "pool", src + dst + (s->copy.value >= 0 ? src : 0), 3 * src + dst);
        break;
    case KN_NODE_UPSAMPLE:
        move_work(&l, pass, "upsample", src + dst, src + dst);
        break;
    case KN_NODE_PERTURB: /* its gradient is added */
        move_work(&l, pass, "perturb", src + dst, 2 * src + dst);
        break;
    case KN_NODE_REPEAT:
        move_work(&l, pass, "repeat", src + dst, src + dst);
        break;
    case KN_NODE_SPREAD:
        move_work(&l, pass, "spread", src + dst, src + dst);
        break;
    }
    memcpy(l.seconds, s->seconds, sizeof l.seconds);
    return l;
}
