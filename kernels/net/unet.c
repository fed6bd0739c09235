/* The U-Net of the MetaSSL code base (SSL4MIS's networks/unet.py), module for module, so that its
 * weights are this network's weights:
 *
 *   block(cin,cout,p): conv3×3 - BN - LeakyReLU - dropout p - conv3×3 - BN - LeakyReLU
 *   encoder: five blocks with 2×2 maximum pooling between them
 *   decoder level i: conv1×1 C[i+1]→C[i], bilinear ×2, concat [skip, up], block(2C[i], C[i], 0)
 *   head: conv3×3 C[0]→classes
 *
 * and what the methods add to it (ssl-methods C.5, C.9):
 *
 *   AUX     three more decoders, "aux_decoder1" …, on features that are perturbed at all five
 * levels: noise U(-.3,.3), dropout .3, and dropping of the strongest (.7 … .9 of the maximum)
 *   SCALES  conv3×3 heads "decoder.out_conv_dp1" … on decoder levels ½, ¼, ⅛ behind noise, dropping
 * and dropout .5, their logits repeated to full size MAPPED  "mapping", a conv1×1 without bias,
 * between encoder and decoder DUAL    "decoder2", whose levels begin with a transposed conv2×2
 * ("up") in place of conv1×1 and bilinear ×2
 *
 * Parameters are listed in state_dict order: encoder, then decoder.up1 … up4, out_conv, then what
 * the variant adds. */
#include "kernels/net/net_priv.h"

#include "base/classes.h"
#include "base/error.h"

enum { LEVELS = 5, N_AUX = 3, N_SCALES = 3 };

static const kn_perturb copy = {.kind = KN_PERTURB_COPY};
static const kn_perturb aux_perturbs[N_AUX] = {
    {.kind = KN_PERTURB_NOISE, .lo = -0.3, .hi = 0.3},
    {.kind = KN_PERTURB_DROPOUT, .lo = 0.3},
    {.kind = KN_PERTURB_DROP, .lo = 0.7, .hi = 0.9},
};
/* Of the heads on levels 1, 2, 3. */
static const kn_perturb scale_perturbs[N_SCALES] = {
    {.kind = KN_PERTURB_NOISE, .lo = -0.3, .hi = 0.3},
    {.kind = KN_PERTURB_DROP, .lo = 0.7, .hi = 0.9},
    {.kind = KN_PERTURB_DROPOUT, .lo = 0.5},
};

/* What a decoder reads: the concatenation buffers, whose lower halves hold the encoder's features,
 * and the bottleneck. */
typedef struct {
    int concat[LEVELS - 1], bottleneck;
} features;

void kn_unet_spec_init(kn_unet_spec *spec, int n_classes, int width)
{
    *spec = (kn_unet_spec){.in_channels = 3,
                           .n_classes = n_classes,
                           .width = width,
                           .dropout = {0.05f, 0.1f, 0.2f, 0.3f, 0.5f}};
}

/* block(cin,cout,p) into `dst`, or into a new value when dst.value < 0; returns the value. */
static int add_block(kn_net *net, const char *module, int src, int oc, float dropout, kn_slice dst)
{
    g_autofree char *c0 = g_strconcat(module, ".conv_conv.0", NULL);
    g_autofree char *n1 = g_strconcat(module, ".conv_conv.1", NULL);
    g_autofree char *c4 = g_strconcat(module, ".conv_conv.4", NULL);
    g_autofree char *n5 = g_strconcat(module, ".conv_conv.5", NULL);
    int level = kn_net_value(net, src)->level;
    int raw = kn_net_add_conv(net, c0, src, oc, 3, true, true);
    int act = kn_net_add_value(net, n1, level, oc);
    kn_net_add_norm(net, n1, raw, kn_net_whole(net, act), dropout);
    raw = kn_net_add_conv(net, c4, act, oc, 3, true, true);
    if (dst.value < 0)
        dst = kn_net_whole(net, kn_net_add_value(net, n5, level, oc));
    kn_net_add_norm(net, n5, raw, dst, 0);
    return dst.value;
}

static int add_concat(kn_net *net, const char *of, int level)
{
    g_autofree char *name = g_strdup_printf("%sconcat%d", of, level);
    return kn_net_add_value(net, name, level, 2 * (net->spec.width << level));
}

static features add_encoder(kn_net *net)
{
    const kn_unet_spec *s = &net->spec;
    features f;
    int at = net->input;
    for (int level = 0; level < LEVELS; level++) {
        int c = s->width << level;
        g_autofree char *module = level == 0
                                      ? g_strdup("encoder.in_conv")
                                      : g_strdup_printf("encoder.down%d.maxpool_conv.1", level);
        if (level > 0) {
            g_autofree char *pool = g_strdup_printf("encoder.down%d.maxpool_conv.0", level);
            int pooled = kn_net_add_value(net, pool, level, c / 2);
            kn_net_add_move(net, KN_NODE_POOL, pool, (kn_slice){f.concat[level - 1], 0, c / 2},
                            kn_net_whole(net, pooled));
            at = pooled;
        }
        kn_slice dst = {-1, 0, 0};
        if (level < LEVELS - 1) {
            f.concat[level] = add_concat(net, "", level);
            dst = (kn_slice){f.concat[level], 0, c};
        }
        at = add_block(net, module, at, c, s->dropout[level], dst);
    }
    f.bottleneck = at;
    return f;
}

/* A dense copy as an output; before the node that reads the value last. */
static void add_tap(kn_net *net, const char *name, kn_slice src, int *tap)
{
    *tap = kn_net_add_value(net, name, kn_net_value(net, src.value)->level, src.channels);
    kn_net_add_perturb(net, name, copy, src, kn_net_whole(net, *tap));
}

/* A head on a decoder's level, behind its perturbation; *head is the value at full size. */
static void add_scale(kn_net *net, int level, int src, int *head)
{
    g_autofree char *module = g_strdup_printf("decoder.out_conv_dp%d", level);
    g_autofree char *moved = g_strconcat(module, ".perturbed", NULL);
    g_autofree char *full = g_strconcat(module, ".full", NULL);
    int perturbed = kn_net_add_value(net, moved, level, kn_net_value(net, src)->channels);
    kn_net_add_perturb(net, moved, scale_perturbs[level - 1], kn_net_whole(net, src),
                       kn_net_whole(net, perturbed));
    int small = kn_net_add_conv(net, module, perturbed, net->spec.n_classes, 3, false, true);
    g_array_index(net->values, kn_value, small).nhwc = true;
    *head = kn_net_add_value(net, full, 0, net->spec.n_classes);
    kn_net_add_move(net, KN_NODE_REPEAT, full, kn_net_whole(net, small), kn_net_whole(net, *head));
}

/* One level up from `at` into the upper half of the concatenation buffer. */
static void add_up(kn_net *net, const char *module, int at, kn_slice dst, bool transposed)
{
    g_autofree char *name = g_strconcat(module, ".up", NULL);
    if (transposed) {
        kn_net_add_transposed(net, name, at, dst);
        return;
    }
    g_autofree char *reduce = g_strconcat(module, ".conv1x1", NULL);
    int reduced = kn_net_add_conv(net, reduce, at, dst.channels, 1, false, true);
    kn_net_add_move(net, KN_NODE_UPSAMPLE, name, kn_net_whole(net, reduced), dst);
}

/* Returns the logits. heads (of levels 1..3) and taps (of levels 0..3): values; NULL: none. */
static int add_decoder(kn_net *net, const char *prefix, const features *f, bool transposed,
                       int *heads, int *taps)
{
    int at = f->bottleneck;
    for (int level = LEVELS - 2; level >= 0; level--) {
        int c = net->spec.width << level;
        g_autofree char *module = g_strdup_printf("%s.up%d", prefix, LEVELS - 1 - level);
        g_autofree char *block = g_strconcat(module, ".conv", NULL);
        g_autofree char *tap = g_strconcat(module, ".feature", NULL);
        add_up(net, module, at, (kn_slice){f->concat[level], c, c}, transposed);
        at = add_block(net, block, f->concat[level], c, 0, (kn_slice){-1, 0, 0});
        if (heads && level > 0)
            add_scale(net, level, at, &heads[level - 1]);
        if (taps)
            add_tap(net, tap, kn_net_whole(net, at), &taps[level]);
    }
    g_autofree char *head = g_strconcat(prefix, ".out_conv", NULL);
    return kn_net_add_conv(net, head, at, net->spec.n_classes, 3, false, true);
}

/* The encoder's features again, each through a perturbation, for another decoder. */
static features add_perturbed(kn_net *net, const char *prefix, const features *f, kn_perturb how)
{
    features out;
    for (int level = 0; level < LEVELS; level++) {
        int c = net->spec.width << level;
        g_autofree char *name = g_strdup_printf("%s.feature%d", prefix, level);
        g_autofree char *of = g_strconcat(prefix, ".", NULL);
        kn_slice src = {f->bottleneck, 0, c}, dst;
        if (level < LEVELS - 1) {
            src.value = f->concat[level];
            dst = (kn_slice){out.concat[level] = add_concat(net, of, level), 0, c};
        } else {
            dst = kn_net_whole(net, out.bottleneck = kn_net_add_value(net, name, level, c));
        }
        kn_net_add_perturb(net, name, how, src, dst);
    }
    return out;
}

static void build_aux(kn_net *net, const features *f)
{
    features perturbed[N_AUX];
    char prefix[16];
    for (int k = 0; k < N_AUX; k++) {
        g_snprintf(prefix, sizeof prefix, "aux_decoder%d", k + 1);
        perturbed[k] = add_perturbed(net, prefix, f, aux_perturbs[k]);
    }
    kn_net_add_output(net, add_decoder(net, "decoder", f, false, NULL, NULL));
    for (int k = 0; k < N_AUX; k++) {
        g_snprintf(prefix, sizeof prefix, "aux_decoder%d", k + 1);
        kn_net_add_output(net, add_decoder(net, prefix, &perturbed[k], false, NULL, NULL));
    }
}

static void build_dual(kn_net *net, const features *f)
{
    int of_encoder[LEVELS - 1], of_decoder[LEVELS - 1];
    bool taps = net->spec.features;
    for (int level = 0; taps && level < LEVELS - 1; level++) {
        g_autofree char *name = g_strdup_printf("encoder.feature%d", level);
        add_tap(net, name, (kn_slice){f->concat[level], 0, net->spec.width << level},
                &of_encoder[level]);
    }
    features second = add_perturbed(net, "decoder2", f, copy);
    kn_net_add_output(net, add_decoder(net, "decoder", f, false, NULL, NULL));
    kn_net_add_output(net,
                      add_decoder(net, "decoder2", &second, true, NULL, taps ? of_decoder : NULL));
    for (int level = 0; taps && level < LEVELS - 1; level++)
        kn_net_add_output(net, of_encoder[level]);
    for (int level = 0; taps && level < LEVELS - 1; level++)
        kn_net_add_output(net, of_decoder[level]);
}

static void build(kn_net *net)
{
    features f = add_encoder(net);
    kn_unet_variant variant = net->spec.variant;
    int heads[N_SCALES], tap = -1;
    if (variant == KN_UNET_MAPPED)
        f.bottleneck = kn_net_add_conv(net, "mapping", f.bottleneck,
                                       net->spec.width << (LEVELS - 1), 1, false, false);
    if (variant == KN_UNET_AUX) {
        build_aux(net, &f);
    } else if (variant == KN_UNET_DUAL) {
        build_dual(net, &f);
    } else {
        if (net->spec.features && variant != KN_UNET_SCALES)
            add_tap(net, "bottleneck", kn_net_whole(net, f.bottleneck), &tap);
        bool scales = variant == KN_UNET_SCALES;
        kn_net_add_output(net, add_decoder(net, "decoder", &f, false, scales ? heads : NULL, NULL));
        for (int k = 0; scales && k < N_SCALES; k++)
            kn_net_add_output(net, heads[k]);
        if (tap >= 0)
            kn_net_add_output(net, tap);
    }
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
    net->input = kn_net_add_value(net, "input", 0, spec->in_channels);
    g_array_index(net->values, kn_value, net->input).nhwc = true;
    build(net);
    kn_net_finish(net);
    return net;
}
