/* Running a pass: nodes in order forward, in reverse order backward. Nothing is allocated. */
#include "kernels/engine/fold.h"
#include "kernels/net/pass_priv.h"

#include "base/error.h"

static double start_of(const kn_pass *pass)
{
    return pass->clock ? pass->clock() : 0;
}

static void took(kn_pass *pass, int node, kn_part part, double start)
{
    if (pass->clock)
        pass->steps[node].seconds[part] += pass->clock() - start;
}

static void *param_at(const kn_weights *weights, int index, void *array)
{
    return kn_weights_at(weights, array, kn_net_param(weights->net, index)->offset);
}

/* Bias of a convolution in `array`, NULL where it has none. */
static void *bias_at(const kn_weights *weights, const kn_node *node, void *array)
{
    return node->no_bias ? NULL : param_at(weights, node->param + 1, array);
}

/* Weights and bias of a convolution as they are packed: rearranged where it is transposed, with its
 * BatchNorm folded in for inference; both in the pass's one place for that, until the next call. */
static kn_pack_item pack_item(kn_pass *pass, int i, const kn_weights *weights)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    const kn_node *node = kn_net_node(pass->net, i);
    const kn_param *w = kn_net_param(pass->net, node->param);
    size_t w_bytes = (size_t)w->n * kn_dtype_bytes(ops->dtype);
    kn_pack_item item = {s->conv, param_at(weights, node->param, weights->params),
                         bias_at(weights, node, weights->params), kn_pass_at(pass, s->packed)};
    if (node->transposed) {
        char *weight1 = kn_pass_at(pass, pass->folded), *bias1 = weight1 + w_bytes;
        ops->transposed_pack(pass->engine, s->src.channels, s->dst.channels / 4, item.weight,
                             item.bias, weight1, bias1);
        item.weight = weight1;
        item.bias = bias1;
    }
    if (s->fold_norm >= 0) {
        int norm = kn_net_node(pass->net, s->fold_norm)->param, oc = (int)w->shape[0];
        kn_fold from = {item.weight,
                        item.bias,
                        param_at(weights, norm, weights->params),
                        param_at(weights, norm + 1, weights->params),
                        param_at(weights, norm + 2, weights->buffers),
                        param_at(weights, norm + 3, weights->buffers)};
        char *folded = kn_pass_at(pass, pass->folded), *folded_bias = folded + w_bytes;
        if (ops->fold)
            ops->fold(pass->engine, oc, w->n / oc, &from, folded, folded_bias);
        else
            kn_fold_bn(ops->dtype, oc, w->n / oc, &from, folded, folded_bias);
        item.weight = folded;
        item.bias = folded_bias;
    }
    return item;
}

static bool pack_some(kn_pass *pass, const kn_pack_item *items, int n, GError **error)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    if (ops->conv_pack_all && n > 0)
        return ops->conv_pack_all(pass->engine, items, n, error);
    for (int i = 0; i < n; i++)
        if (!ops->conv_pack(items[i].conv, items[i].weight, items[i].bias, items[i].packed, error))
            return false;
    return true;
}

/* The packed copies of the convolutions' weights, made again when the master weights changed. Those
 * that are the master's own wait for each other, to be packed in one go. */
static bool pack(kn_pass *pass, const kn_weights *weights, GError **error)
{
    bool folding = pass->options.mode == KN_PASS_INFER;
    if (pass->packed_params == weights->params_version &&
        (!folding || pass->packed_buffers == weights->buffers_version))
        return true;
    kn_pack_item items[KN_PACK_MAX];
    int n = 0;
    for (int i = 0; i < (int)pass->net->nodes->len; i++) {
        const kn_step *s = &pass->steps[i];
        if (!s->conv)
            continue;
        kn_pack_item item = pack_item(pass, i, weights);
        if (kn_net_node(pass->net, i)->transposed || s->fold_norm >= 0) {
            if (!pack_some(pass, &item, 1, error))
                return false;
            continue;
        }
        items[n++] = item;
        if (n == KN_PACK_MAX) {
            if (!pack_some(pass, items, n, error))
                return false;
            n = 0;
        }
    }
    if (!pack_some(pass, items, n, error))
        return false;
    pass->packed_params = weights->params_version;
    pass->packed_buffers = weights->buffers_version;
    return true;
}

static kn_norm norm_of(const kn_pass *pass, int i, const kn_weights *weights)
{
    const kn_node *node = kn_net_node(pass->net, i);
    const kn_node *conv = kn_net_node(pass->net, i - 1); /* a NORM follows its convolution */
    bool folds_bias = kn_engine_ops(pass->engine)->folds_bias;
    char *stats = kn_pass_at(pass, pass->steps[i].stats);
    int c = node->src.channels;
    return (kn_norm){
        .channels = c,
        .gamma = param_at(weights, node->param, weights->params),
        .beta = param_at(weights, node->param + 1, weights->params),
        .dgamma = param_at(weights, node->param, weights->grads),
        .dbeta = param_at(weights, node->param + 1, weights->grads),
        .running_mean = param_at(weights, node->param + 2, weights->buffers),
        .running_var = param_at(weights, node->param + 3, weights->buffers),
        .conv_bias = folds_bias ? param_at(weights, conv->param + 1, weights->params) : NULL,
        .mean = stats,
        .inv_std = stats + (size_t)c * kn_dtype_bytes(kn_engine_dtype(pass->engine)),
        .slope = KN_LEAKY_SLOPE,
        .dropout = pass->options.no_dropout ? 0 : (double)node->dropout,
        .stream = pass->dropout_stream,
        .layer = (uint64_t)node->norm_index,
        .mask = kn_pass_at(pass, pass->steps[i].mask),
        .sums = kn_pass_at(pass, pass->steps[i].sums),
        .is_dz = pass->steps[i].sums_with_next,
    };
}

/* The BatchNorm whose result convolution i makes for itself; empty where there is none. */
static kn_norm before_of(const kn_pass *pass, int i, const kn_weights *weights)
{
    int before = pass->steps[i].before;
    return before >= 0 ? norm_of(pass, before, weights) : (kn_norm){0};
}

static kn_perturb perturb_of(const kn_pass *pass, int i)
{
    kn_perturb how = kn_net_node(pass->net, i)->perturb;
    how.stream = pass->dropout_stream;
    if (pass->options.no_dropout)
        how.kind = KN_PERTURB_COPY;
    return how;
}

static bool node_fwd(kn_pass *pass, int i, const kn_weights *weights, GError **error)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    kn_tensor src = kn_pass_tensor(pass, pass->value_item, kn_pass_source(pass, i));
    kn_tensor dst = kn_pass_tensor(pass, pass->value_item, s->dst);
    switch (kn_net_node(pass->net, i)->kind) {
    case KN_NODE_CONV: {
        const void *packed = kn_pass_at(pass, s->packed);
        void *scratch = kn_pass_at(pass, s->scratch_fwd);
        if (!kn_net_node(pass->net, i)->normed || !pass->steps[i + 1].stats_with_conv)
            return ops->conv_fwd(s->conv, packed, &src, &dst, scratch, error);
        kn_norm norm = norm_of(pass, i + 1, weights), before = before_of(pass, i, weights);
        ops->conv_fwd_stats(s->conv, packed, &src, &dst, scratch, &norm,
                            s->before >= 0 ? &before : NULL);
        return true;
    }
    case KN_NODE_NORM: {
        kn_norm norm = norm_of(pass, i, weights);
        if (!s->stats_with_conv)
            ops->norm_stats(pass->engine, &src, &norm);
        if (s->pool_with_norm) {
            kn_tensor pooled = kn_pass_tensor(pass, pass->value_item, s[1].dst);
            ops->norm_apply_pool(pass->engine, &src, &norm, &dst, &pooled);
        } else if (!s->made_by_reader) {
            ops->norm_apply(pass->engine, &src, &norm, &dst);
        }
        return true;
    }
    case KN_NODE_POOL: {
        if (s->pool_with_norm) /* it went along with the BatchNorm before it */
            return true;
        kn_tensor copy = {0};
        if (s->copy.value >= 0)
            copy = kn_pass_tensor(pass, pass->value_item, s->copy);
        ops->pool_fwd(pass->engine, &src, &dst, copy.data ? &copy : NULL);
        return true;
    }
    case KN_NODE_UPSAMPLE:
        ops->upsample_fwd(pass->engine, &src, &dst);
        return true;
    case KN_NODE_PERTURB: {
        kn_perturb how = perturb_of(pass, i);
        ops->perturb_fwd(pass->engine, &src, &how, &dst);
        return true;
    }
    case KN_NODE_REPEAT:
        ops->repeat_fwd(pass->engine, &src, &dst);
        return true;
    case KN_NODE_SPREAD:
        ops->spread_fwd(pass->engine, &src, &dst);
        return true;
    }
    return true;
}

static bool check_weights(const kn_pass *pass, const kn_weights *weights, GError **error)
{
    if (weights->engine == pass->engine && weights->net == pass->net)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "the pass and the weights are of different engines or networks");
    return false;
}

bool kn_pass_forward(kn_pass *pass, kn_weights *weights, uint64_t dropout_stream, GError **error)
{
    if (!check_weights(pass, weights, error))
        return false;
    kn_engine_team(pass->engine);
    pass->dropout_stream = dropout_stream;
    pass->forward_done = false;
    double start = start_of(pass);
    if (!pack(pass, weights, error))
        return false;
    kn_pass_upload(pass);
    pass->packing_seconds += start_of(pass) - start;
    for (int i = 0; i < (int)pass->net->nodes->len; i++) {
        if (pass->steps[i].skip)
            continue;
        start = start_of(pass);
        if (!node_fwd(pass, i, weights, error)) {
            g_prefix_error(error, "%s: ", kn_net_node(pass->net, i)->name);
            return false;
        }
        took(pass, i, KN_PART_FWD, start);
    }
    if (pass->options.mode != KN_PASS_INFER) {
        weights->batches_tracked++;
        kn_weights_touch(weights, false, true);
    }
    pass->forward_done = true;
    return kn_pass_download(pass, error);
}

/* The gradients of a 1×1 convolution, added to those of the transposed one that it stands for. */
static bool transposed_bwd_weights(kn_pass *pass, int i, const kn_tensor *src,
                                   const kn_tensor *ddst, void *dweight, void *dbias,
                                   GError **error)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    int64_t n = kn_net_param(pass->net, kn_net_node(pass->net, i)->param)->n;
    char *flat = kn_pass_at(pass, s->rearranged);
    char *flat_bias = flat + (size_t)n * kn_dtype_bytes(ops->dtype);
    ops->zero(pass->engine, flat, n + s->dst.channels);
    if (!ops->conv_bwd_weights(s->conv, src, ddst, flat, flat_bias,
                               kn_pass_at(pass, s->scratch_bwd_weights), error))
        return false;
    ops->transposed_unpack(pass->engine, s->src.channels, s->dst.channels / 4, flat, flat_bias,
                           dweight, dbias);
    return true;
}

static bool conv_bwd_weights(kn_pass *pass, int i, kn_weights *weights, GError **error)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    const kn_node *node = kn_net_node(pass->net, i);
    kn_tensor src = kn_pass_tensor(pass, pass->value_item, kn_pass_source(pass, i));
    kn_tensor ddst = kn_pass_tensor(pass, pass->grad_item, s->dst);
    void *dweight = param_at(weights, node->param, weights->grads);
    void *dbias = bias_at(weights, node, weights->grads);
    void *scratch = kn_pass_at(pass, s->scratch_bwd_weights);
    if (node->normed && pass->steps[i + 1].apply_with_conv) {
        kn_norm norm = norm_of(pass, i + 1, weights), before = before_of(pass, i, weights);
        kn_tensor x = kn_pass_tensor(pass, pass->value_item, s->dst);
        kn_tensor dy = kn_pass_tensor(pass, pass->grad_item, pass->steps[i + 1].dst);
        ops->conv_bwd_weights_apply(s->conv, &src, &dy, &x, &norm, &ddst, dweight, scratch,
                                    s->before >= 0 ? &before : NULL);
        return true;
    }
    if (node->normed && ops->folds_bias)
        dbias = NULL;
    if (node->transposed)
        return transposed_bwd_weights(pass, i, &src, &ddst, dweight, dbias, error);
    return ops->conv_bwd_weights(s->conv, &src, &ddst, dweight, dbias, scratch, error);
}

static bool conv_bwd_data(kn_pass *pass, int i, kn_weights *weights, GError **error)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    const void *packed = kn_pass_at(pass, s->packed);
    void *scratch = kn_pass_at(pass, s->scratch_bwd_data);
    kn_tensor ddst = kn_pass_tensor(pass, pass->grad_item, s->dst);
    kn_tensor dsrc = kn_pass_tensor(pass, pass->grad_item, s->src);
    if (s->sums_of < 0)
        return ops->conv_bwd_data(s->conv, packed, &ddst, &dsrc, scratch, error);
    kn_norm norm = norm_of(pass, s->sums_of, weights);
    kn_tensor x = kn_pass_tensor(pass, pass->value_item, pass->steps[s->sums_of].src);
    ops->conv_bwd_data_sums(s->conv, packed, &ddst, &dsrc, scratch, &norm, &x);
    return true;
}

static bool conv_bwd(kn_pass *pass, int i, kn_weights *weights, GError **error)
{
    double start = start_of(pass);
    if (!conv_bwd_weights(pass, i, weights, error))
        return false;
    took(pass, i, KN_PART_BWD_WEIGHTS, start);
    if (!pass->steps[i].dsrc)
        return true;
    start = start_of(pass);
    if (!conv_bwd_data(pass, i, weights, error))
        return false;
    took(pass, i, KN_PART_BWD_DATA, start);
    return true;
}

/* In two halves, either of which a convolution may have taken or will take along. */
static void norm_bwd(kn_pass *pass, int i, const kn_tensor *dy, const kn_tensor *dx,
                     const kn_weights *weights)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    kn_tensor x = kn_pass_tensor(pass, pass->value_item, s->src);
    kn_norm norm = norm_of(pass, i, weights);
    if (!s->sums_with_next && !s->apply_with_conv) {
        ops->norm_bwd(pass->engine, dy, &x, &norm, dx);
        return;
    }
    if (!s->sums_with_next)
        ops->norm_bwd_sums(pass->engine, dy, &x, &norm);
    if (!s->apply_with_conv)
        ops->norm_bwd_apply(pass->engine, dy, &x, &norm, dx);
}

static void pool_bwd(kn_pass *pass, int i, const kn_tensor *dy, const kn_tensor *dx,
                     const kn_weights *weights)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    if (s->sums_of < 0) {
        kn_tensor x = kn_pass_tensor(pass, pass->value_item, s->src);
        ops->pool_bwd(pass->engine, &x, dy, dx);
        return;
    }
    kn_tensor x = kn_pass_tensor(pass, pass->value_item, pass->steps[s->sums_of].src);
    kn_norm norm = norm_of(pass, s->sums_of, weights);
    ops->pool_bwd_sums(pass->engine, &x, &norm, dy, dx);
}

static bool node_bwd(kn_pass *pass, int i, kn_weights *weights, GError **error)
{
    const kn_ops *ops = kn_engine_ops(pass->engine);
    const kn_step *s = &pass->steps[i];
    kn_node_kind kind = kn_net_node(pass->net, i)->kind;
    if (kind == KN_NODE_CONV)
        return conv_bwd(pass, i, weights, error);
    double start = start_of(pass);
    kn_tensor ddst = kn_pass_tensor(pass, pass->grad_item, s->dst);
    kn_tensor dsrc = kn_pass_tensor(pass, pass->grad_item, s->src);
    if (kind == KN_NODE_UPSAMPLE) {
        ops->upsample_bwd(pass->engine, &ddst, &dsrc);
    } else if (kind == KN_NODE_REPEAT) {
        ops->repeat_bwd(pass->engine, &ddst, &dsrc);
    } else if (kind == KN_NODE_SPREAD) {
        ops->spread_bwd(pass->engine, &ddst, &dsrc);
    } else if (kind == KN_NODE_PERTURB) {
        kn_perturb how = perturb_of(pass, i);
        kn_tensor src = {0};
        if (how.kind == KN_PERTURB_DROP)
            src = kn_pass_tensor(pass, pass->value_item, s->src);
        ops->perturb_bwd(pass->engine, &ddst, src.data ? &src : NULL, &how, &dsrc);
    } else if (kind == KN_NODE_POOL) {
        pool_bwd(pass, i, &ddst, &dsrc, weights);
    } else {
        norm_bwd(pass, i, &ddst, &dsrc, weights);
    }
    took(pass, i, KN_PART_BWD_DATA, start);
    return true;
}

bool kn_pass_backward(kn_pass *pass, kn_weights *weights, GError **error)
{
    if (!check_weights(pass, weights, error))
        return false;
    if (pass->options.mode != KN_PASS_TRAIN || !pass->forward_done || !weights->grads ||
        pass->packed_params != weights->params_version) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "backward needs a training pass, its forward with these weights unchanged since, and "
            "weights created trainable");
        return false;
    }
    kn_engine_team(pass->engine);
    for (int i = (int)pass->net->nodes->len - 1; i >= 0; i--)
        if (!pass->steps[i].skip && !node_bwd(pass, i, weights, error)) {
            g_prefix_error(error, "%s: ", kn_net_node(pass->net, i)->name);
            return false;
        }
    return true;
}
