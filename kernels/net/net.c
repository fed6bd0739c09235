/* Building a network and asking it: values, nodes and parameters in the order of their adding. */
#include "kernels/net/net_priv.h"

#include <string.h>

/* High counters of perturbations, apart from those of BatchNorm's dropout. */
enum { PERTURB_LAYERS = 4096 };

static const char *intern(kn_net *net, const char *a, const char *b)
{
    g_autofree char *text = g_strconcat(a, b, NULL);
    return g_string_chunk_insert_const(net->names, text);
}

/* ---- building ------------------------------------------------------------------------------ */
int kn_net_add_value(kn_net *net, const char *name, int level, int channels)
{
    kn_value value = {.name = g_string_chunk_insert_const(net->names, name),
                      .level = level,
                      .channels = channels};
    g_array_append_val(net->values, value);
    return (int)net->values->len - 1;
}

kn_slice kn_net_whole(const kn_net *net, int value)
{
    return (kn_slice){value, 0, kn_net_value(net, value)->channels};
}

static int add_param(kn_net *net, const char *module, const char *leaf, kn_param_kind kind,
                     kn_param shape)
{
    kn_param p = shape;
    p.name = intern(net, module, leaf);
    p.kind = kind;
    p.n = 1;
    for (int i = 0; i < p.n_dims; i++)
        p.n *= p.shape[i];
    int64_t *total = kind == KN_PARAM ? &net->n_trained : &net->n_buffers;
    p.offset = *total;
    *total += p.n;
    g_array_append_val(net->params, p);
    return (int)net->params->len - 1;
}

int kn_net_add_conv(kn_net *net, const char *module, int src, int oc, int k, bool normed, bool bias)
{
    const kn_value *from = kn_net_value(net, src);
    int ic = from->channels, level = from->level;
    int64_t fan_in = (int64_t)ic * k * k;
    kn_param weight = {.n_dims = 4, .shape = {oc, ic, k, k}, .fan_in = fan_in};
    kn_param shift = {.n_dims = 1, .shape = {oc}, .fan_in = fan_in};
    int first = add_param(net, module, ".weight", KN_PARAM, weight);
    if (bias)
        add_param(net, module, ".bias", KN_PARAM, shift);
    int dst = kn_net_add_value(net, module, level, oc);
    kn_node node = {.kind = KN_NODE_CONV,
                    .name = intern(net, module, ""),
                    .src = kn_net_whole(net, src),
                    .dst = kn_net_whole(net, dst),
                    .param = first,
                    .k = k,
                    .normed = normed,
                    .no_bias = !bias};
    g_array_append_val(net->nodes, node);
    return dst;
}

void kn_net_add_transposed(kn_net *net, const char *module, int src, kn_slice dst)
{
    const kn_value *from = kn_net_value(net, src);
    int ic = from->channels, level = from->level, oc = dst.channels;
    /* PyTorch takes the fan-in of a transposed convolution from its second dimension. */
    int64_t fan_in = (int64_t)oc * 4;
    kn_param weight = {.n_dims = 4, .shape = {ic, oc, 2, 2}, .fan_in = fan_in};
    kn_param bias = {.n_dims = 1, .shape = {oc}, .fan_in = fan_in};
    int first = add_param(net, module, ".weight", KN_PARAM, weight);
    add_param(net, module, ".bias", KN_PARAM, bias);
    int flat = kn_net_add_value(net, module, level, 4 * oc);
    kn_node node = {.kind = KN_NODE_CONV,
                    .name = intern(net, module, ""),
                    .src = kn_net_whole(net, src),
                    .dst = kn_net_whole(net, flat),
                    .param = first,
                    .k = 1,
                    .transposed = true};
    g_array_append_val(net->nodes, node);
    kn_net_add_move(net, KN_NODE_SPREAD, module, kn_net_whole(net, flat), dst);
}

void kn_net_add_norm(kn_net *net, const char *module, int src, kn_slice dst, float dropout)
{
    kn_param c = {.n_dims = 1, .shape = {kn_net_value(net, src)->channels}};
    int first = add_param(net, module, ".weight", KN_PARAM, c);
    add_param(net, module, ".bias", KN_PARAM, c);
    add_param(net, module, ".running_mean", KN_BUFFER, c);
    add_param(net, module, ".running_var", KN_BUFFER, c);
    int index = 0;
    for (guint i = 0; i < net->nodes->len; i++)
        index += kn_net_node(net, (int)i)->kind == KN_NODE_NORM;
    kn_node node = {.kind = KN_NODE_NORM,
                    .name = intern(net, module, ""),
                    .src = kn_net_whole(net, src),
                    .dst = dst,
                    .param = first,
                    .dropout = dropout,
                    .norm_index = index};
    g_array_append_val(net->nodes, node);
}

void kn_net_add_move(kn_net *net, kn_node_kind kind, const char *name, kn_slice src, kn_slice dst)
{
    kn_node node = {
        .kind = kind, .name = intern(net, name, ""), .src = src, .dst = dst, .param = -1};
    g_array_append_val(net->nodes, node);
}

void kn_net_add_perturb(kn_net *net, const char *name, kn_perturb how, kn_slice src, kn_slice dst)
{
    how.layer = PERTURB_LAYERS;
    for (guint i = 0; i < net->nodes->len; i++)
        how.layer += kn_net_node(net, (int)i)->kind == KN_NODE_PERTURB;
    kn_net_add_move(net, KN_NODE_PERTURB, name, src, dst);
    g_array_index(net->nodes, kn_node, net->nodes->len - 1).perturb = how;
}

void kn_net_add_output(kn_net *net, int value)
{
    g_assert(net->n_outputs < KN_OUTPUTS_MAX);
    g_array_index(net->values, kn_value, value).nhwc = true;
    net->outputs[net->n_outputs++] = value;
}

void kn_net_needed(const kn_net *net, uint32_t outputs, bool *wanted)
{
    g_autofree bool *value = g_new0(bool, net->values->len);
    for (int o = 0; o < net->n_outputs; o++)
        value[net->outputs[o]] = (outputs >> o) & 1u;
    for (int i = (int)net->nodes->len - 1; i >= 0; i--) {
        const kn_node *node = kn_net_node(net, i);
        wanted[i] = value[node->dst.value];
        if (wanted[i])
            value[node->src.value] = true;
    }
}

const char *kn_net_loose_gradient(const kn_net *net, const bool *wanted)
{
    g_autofree bool *read = g_new0(bool, net->values->len);
    for (int i = (int)net->nodes->len - 1; i >= 0; i--) {
        const kn_node *node = kn_net_node(net, i);
        if (!wanted[i] || read[node->src.value])
            continue;
        read[node->src.value] = true; /* by the last of its readers */
        bool adds = node->kind == KN_NODE_POOL || node->kind == KN_NODE_PERTURB;
        if (adds || !kn_slice_whole(net, node->src))
            return kn_net_value(net, node->src.value)->name;
    }
    return NULL;
}

void kn_net_finish(kn_net *net)
{
    g_autofree bool *wanted = g_new0(bool, net->nodes->len);
    kn_net_needed(net, UINT32_MAX, wanted);
    for (guint i = 0; i < net->nodes->len; i++)
        g_assert(wanted[i]);
    g_assert(!kn_net_loose_gradient(net, wanted));
    kn_net_needed(net, 1, wanted);
    net->in_model = g_new0(bool, net->params->len);
    for (guint i = 0; i < net->nodes->len; i++) {
        const kn_node *node = kn_net_node(net, (int)i);
        int n = node->kind == KN_NODE_NORM ? 4 : node->kind != KN_NODE_CONV ? 0 : 2 - node->no_bias;
        for (int k = 0; k < n; k++)
            net->in_model[node->param + k] = wanted[i];
    }
}

/* ---- asking -------------------------------------------------------------------------------- */
void kn_net_destroy(kn_net *net)
{
    if (!net)
        return;
    g_array_free(net->params, TRUE);
    g_array_free(net->values, TRUE);
    g_array_free(net->nodes, TRUE);
    g_string_chunk_free(net->names);
    g_free(net->in_model);
    g_free(net);
}

int kn_net_n_params(const kn_net *net)
{
    return (int)net->params->len;
}

const kn_param *kn_net_param(const kn_net *net, int i)
{
    return &g_array_index(net->params, kn_param, i);
}

int64_t kn_net_n_trained(const kn_net *net)
{
    return net->n_trained;
}

int64_t kn_net_n_buffers(const kn_net *net)
{
    return net->n_buffers;
}

int kn_net_n_outputs(const kn_net *net)
{
    return net->n_outputs;
}

void kn_net_output_shape(const kn_net *net, int output, int *level, int *channels)
{
    const kn_value *value = kn_net_value(net, net->outputs[output]);
    *level = value->level;
    *channels = value->channels;
}

bool kn_net_param_in_model(const kn_net *net, int i)
{
    return net->in_model[i];
}
