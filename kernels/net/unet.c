/* The U-Net of the MetaSSL code base (SSL4MIS's networks/unet.py), module for module, so that its
 * weights are this network's weights:
 *
 *   block(cin,cout,p): conv3×3 - BN - LeakyReLU - dropout p - conv3×3 - BN - LeakyReLU
 *   encoder: five blocks with 2×2 maximum pooling between them
 *   decoder level i: conv1×1 C[i+1]→C[i], bilinear ×2, concat [skip, up], block(2C[i], C[i], 0)
 *   head: conv3×3 C[0]→classes
 *
 * Parameters are listed in state_dict order: encoder, then decoder.up1 … up4, then out_conv. */
#include "kernels/net/net_priv.h"

#include "base/classes.h"
#include "base/error.h"

enum { LEVELS = 5 };

void kn_unet_spec_init(kn_unet_spec *spec, int n_classes, int width)
{
    *spec = (kn_unet_spec){.in_channels = 3,
                           .n_classes = n_classes,
                           .width = width,
                           .dropout = {0.05f, 0.1f, 0.2f, 0.3f, 0.5f}};
}

static const char *intern(kn_net *net, const char *a, const char *b)
{
    g_autofree char *text = g_strconcat(a, b, NULL);
    return g_string_chunk_insert_const(net->names, text);
}

static int add_value(kn_net *net, const char *name, int level, int channels)
{
    kn_value value = {g_string_chunk_insert_const(net->names, name), level, channels};
    g_array_append_val(net->values, value);
    return (int)net->values->len - 1;
}

static kn_slice whole(const kn_net *net, int value)
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

/* dst = conv(src); the destination is a new value. */
static int add_conv(kn_net *net, const char *module, int src, int oc, int k, bool normed)
{
    const kn_value *from = kn_net_value(net, src);
    int ic = from->channels, level = from->level;
    int64_t fan_in = (int64_t)ic * k * k;
    kn_param weight = {.n_dims = 4, .shape = {oc, ic, k, k}, .fan_in = fan_in};
    kn_param bias = {.n_dims = 1, .shape = {oc}, .fan_in = fan_in};
    int first = add_param(net, module, ".weight", KN_PARAM, weight);
    add_param(net, module, ".bias", KN_PARAM, bias);
    int dst = add_value(net, module, level, oc);
    kn_node node = {.kind = KN_NODE_CONV,
                    .name = intern(net, module, ""),
                    .src = whole(net, src),
                    .dst = whole(net, dst),
                    .param = first,
                    .k = k,
                    .normed = normed};
    g_array_append_val(net->nodes, node);
    return dst;
}

static void add_norm(kn_net *net, const char *module, int src, kn_slice dst, float dropout)
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
                    .src = whole(net, src),
                    .dst = dst,
                    .param = first,
                    .dropout = dropout,
                    .norm_index = index};
    g_array_append_val(net->nodes, node);
}

/* block(cin,cout,p) into `dst`, or into a new value when dst.value < 0; returns the value. */
static int add_block(kn_net *net, const char *module, int src, int oc, float dropout, kn_slice dst)
{
    g_autofree char *c0 = g_strconcat(module, ".conv_conv.0", NULL);
    g_autofree char *n1 = g_strconcat(module, ".conv_conv.1", NULL);
    g_autofree char *c4 = g_strconcat(module, ".conv_conv.4", NULL);
    g_autofree char *n5 = g_strconcat(module, ".conv_conv.5", NULL);
    int level = kn_net_value(net, src)->level;
    int raw = add_conv(net, c0, src, oc, 3, true);
    int act = add_value(net, n1, level, oc);
    add_norm(net, n1, raw, whole(net, act), dropout);
    raw = add_conv(net, c4, act, oc, 3, true);
    if (dst.value < 0)
        dst = whole(net, add_value(net, n5, level, oc));
    add_norm(net, n5, raw, dst, 0);
    return dst.value;
}

static void add_move(kn_net *net, kn_node_kind kind, const char *name, kn_slice src, kn_slice dst)
{
    kn_node node = {
        .kind = kind, .name = intern(net, name, ""), .src = src, .dst = dst, .param = -1};
    g_array_append_val(net->nodes, node);
}

static void build(kn_net *net)
{
    const kn_unet_spec *s = &net->spec;
    const kn_slice fresh = {-1, 0, 0};
    int concat[LEVELS - 1], at = net->input;
    for (int level = 0; level < LEVELS; level++) {
        int c = s->width << level;
        g_autofree char *module = level == 0
                                      ? g_strdup("encoder.in_conv")
                                      : g_strdup_printf("encoder.down%d.maxpool_conv.1", level);
        if (level > 0) {
            g_autofree char *pool = g_strdup_printf("encoder.down%d.maxpool_conv.0", level);
            int pooled = add_value(net, pool, level, c / 2);
            add_move(net, KN_NODE_POOL, pool, (kn_slice){concat[level - 1], 0, c / 2},
                     whole(net, pooled));
            at = pooled;
        }
        kn_slice dst = fresh;
        if (level < LEVELS - 1) {
            g_autofree char *name = g_strdup_printf("concat%d", level);
            concat[level] = add_value(net, name, level, 2 * c);
            dst = (kn_slice){concat[level], 0, c};
        }
        at = add_block(net, module, at, c, s->dropout[level], dst);
    }
    for (int up = 1; up < LEVELS; up++) {
        int level = LEVELS - 1 - up, c = s->width << level;
        g_autofree char *module = g_strdup_printf("decoder.up%d", up);
        g_autofree char *reduce = g_strconcat(module, ".conv1x1", NULL);
        g_autofree char *name = g_strconcat(module, ".up", NULL);
        g_autofree char *block = g_strconcat(module, ".conv", NULL);
        int reduced = add_conv(net, reduce, at, c, 1, false);
        add_move(net, KN_NODE_UPSAMPLE, name, whole(net, reduced), (kn_slice){concat[level], c, c});
        at = add_block(net, block, concat[level], c, 0, fresh);
    }
    net->logits = add_conv(net, "decoder.out_conv", at, s->n_classes, 3, false);
}

kn_net *kn_net_create_unet(const kn_unet_spec *spec, GError **error)
{
    if (spec->in_channels < 1 || spec->in_channels > 16 || spec->n_classes < 2 ||
        spec->n_classes > QS_CLASSES_MAX || spec->width < 1 || spec->width > 64) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "U-Net with %d input channels, %d classes, width %d: want 1 to 16, 2 to %d, 1 to 64",
            spec->in_channels, spec->n_classes, spec->width, QS_CLASSES_MAX);
        return NULL;
    }
    for (int i = 0; i < LEVELS; i++)
        if (!(spec->dropout[i] >= 0 && spec->dropout[i] < 1)) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                        "dropout %g of encoder level %d: want 0 to below 1",
                        (double)spec->dropout[i], i);
            return NULL;
        }
    kn_net *net = g_new0(kn_net, 1);
    net->spec = *spec;
    net->params = g_array_new(FALSE, TRUE, sizeof(kn_param));
    net->values = g_array_new(FALSE, TRUE, sizeof(kn_value));
    net->nodes = g_array_new(FALSE, TRUE, sizeof(kn_node));
    net->names = g_string_chunk_new(4096);
    net->input = add_value(net, "input", 0, spec->in_channels);
    build(net);
    return net;
}

void kn_net_destroy(kn_net *net)
{
    if (!net)
        return;
    g_array_free(net->params, TRUE);
    g_array_free(net->values, TRUE);
    g_array_free(net->nodes, TRUE);
    g_string_chunk_free(net->names);
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
