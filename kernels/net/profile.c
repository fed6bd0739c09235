/* The layer listing of a pass; pass_run.c keeps its clock. */
#include "kernels/net/profile.h"

#include "kernels/net/pass_priv.h"

#include "base/error.h"

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
    bool applies = node->normed && s[1].apply_with_conv; /* the NORM after it is the next step */
    /* What it takes along of a BatchNorm: its source is read, for the gradient that is written. */
    double along[KN_N_PARTS] = {0, s->sums_of >= 0 ? src : 0,
                                !applies  ? 0
                                : s->dsrc ? 2 * dst
                                          : dst};
    l->op = node->k == 3 ? "conv3x3" : "conv1x1";
    l->how = kn_engine_ops(pass->engine)->conv_describe(s->conv);
    for (int p = 0; p < KN_N_PARTS; p++) {
        l->flop[p] = parts[p] ? flop : 0;
        l->bytes[p] = parts[p] ? src + dst + weights + along[p] : 0;
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
           slice.channels *
           (double)kn_dtype_bytes(kn_pass_tensor(pass, pass->value_item, slice).dtype);
}

/* Statistics and apply; sums and apply. What a convolution takes along is counted there. */
static void norm_work(kn_layer *l, const kn_pass *pass, const kn_step *s, double src, double dst)
{
    double fwd = (s->stats_with_conv ? 0 : src) + src + dst;
    double sums = s->sums_with_next ? 0 : src + dst;
    double apply = s->apply_with_conv ? 0 : 2 * src + dst;
    move_work(l, pass, "norm", fwd + (s->pool_with_norm ? dst / 4 : 0), sums + apply);
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
    if (s->skip)
        return l;
    double src = slice_bytes(pass, s->src), dst = slice_bytes(pass, s->dst);
    switch (node->kind) {
    case KN_NODE_CONV:
        conv_work(&l, pass, s, node, src, dst);
        break;
    case KN_NODE_NORM:
        norm_work(&l, pass, s, src, dst);
        break;
    case KN_NODE_POOL:
        move_work(&l, pass, "pool",
                  s->pool_with_norm ? 0 : src + dst + (s->copy.value >= 0 ? src : 0),
                  3 * src + dst);
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

bool kn_engine_peak(kn_engine *engine, kn_peak *peak, GError **error)
{
    const kn_ops *ops = kn_engine_ops(engine);
    if (!ops->peak) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "what device %s can do is not measured: it is for checking", ops->name);
        return false;
    }
    kn_engine_team(engine);
    return ops->peak(engine, &peak->flop_s, &peak->byte_s, error);
}

double kn_peak_seconds(const kn_peak *peak, double flop, double bytes)
{
    return MAX(flop / peak->flop_s, bytes / peak->byte_s);
}
