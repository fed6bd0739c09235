/* A convolution of the CUDA backend: three directions, each by an algorithm with a name that
 * conv_choices remembers. Own ones: "plain" (conv.cu: any shape, f32 operands) and "mma"
 * (conv_mma.cu, conv_wgrad.cu: tensor cores, bf16 operands); "cudnn:…" is a plan that was faster and right
 * (plans.c). In f32 mode every convolution is plain, so that a result can be checked to f32's last
 * digits. */
#include "kernels/cuda/plans.h"

#include "base/error.h"
#include "kernels/cuda/index.h"

#include <string.h>

struct kn_conv {
    kn_engine *engine; /* borrowed */
    kn_conv_spec spec;
    kn_cu_conv shape;
    bool mma;
    kn_cudnn_plan *plans[3]; /* by kn_cudnn_direction, owned; NULL: our own */
    char *description;
};

/* "mma", "plain" or "cudnn:NAME". Owned by the caller. */
static char *algorithm_name(const kn_conv *conv, kn_cudnn_direction direction)
{
    return conv->plans[direction]
               ? g_strconcat("cudnn:", kn_cudnn_plan_name(conv->plans[direction]), NULL)
               : g_strdup(conv->mma ? "mma" : "plain");
}

static void choose(kn_conv *conv)
{
    const kn_conv_spec *s = &conv->spec;
    bool wanted[3] = {true, s->train && s->bwd_data, s->train};
    GString *text = g_string_new(NULL);
    for (int d = 0; d < 3; d++) {
        static const char *const names[] = {"fwd", "bwd_d", "bwd_w"};
        if (!wanted[d])
            continue;
        conv->plans[d] = kn_cuda_plan_for(conv->engine, s, conv->shape, (kn_cudnn_direction)d);
        g_autofree char *name = algorithm_name(conv, (kn_cudnn_direction)d);
        g_string_append_printf(text, "%s%s=%s", text->len ? " " : "", names[d], name);
    }
    conv->description = g_string_free(text, FALSE);
}

kn_conv *kn_cuda_conv_create(kn_engine *engine, const kn_conv_spec *spec, GError **error)
{
    if ((spec->k != 1 && spec->k != 3) || spec->src_block || spec->dst_block) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: the CUDA backend has 1x1 and 3x3 convolutions on NHWC, not %dx%d",
                    spec->name, spec->k, spec->k);
        return NULL;
    }
    kn_conv *conv = g_new0(kn_conv, 1);
    conv->engine = engine;
    conv->spec = *spec;
    conv->shape = (kn_cu_conv){spec->n, spec->h, spec->w, spec->ic, spec->oc, spec->k, spec->leaky};
    conv->mma = engine->act == KN_BF16;
    choose(conv);
    return conv;
}

void kn_cuda_conv_destroy(kn_conv *conv)
{
    if (!conv)
        return;
    for (int d = 0; d < 3; d++)
        kn_cudnn_plan_destroy(conv->plans[d]);
    g_free(conv->description);
    g_free(conv);
}

const char *kn_cuda_conv_describe(const kn_conv *conv)
{
    return conv->description;
}

/* Packed: forward's weights, the data gradient's, the bias, cuDNN's weights for both. */
typedef struct {
    size_t fwd, bwd_data, bias, ohwi;
} packed_sizes;

static size_t weight_elements(const kn_conv *conv)
{
    const kn_conv_spec *s = &conv->spec;
    return (size_t)s->oc * (size_t)s->ic * (size_t)(s->k * s->k);
}

static packed_sizes packed_of(const kn_conv *conv)
{
    const kn_conv_spec *s = &conv->spec;
    int taps = s->k * s->k;
    size_t fwd = (size_t)s->oc * (size_t)s->ic * (size_t)taps * sizeof(float), bwd = fwd;
    if (conv->mma) {
        fwd = (size_t)kn_conv_packed_n((s->oc + 7) / 8 * 8, taps, s->ic) * 2;
        bwd = (size_t)kn_conv_packed_n((s->ic + 7) / 8 * 8, taps, s->oc) * 2;
    }
    return (packed_sizes){
        .fwd = kn_round_up(fwd, 256),
        .bwd_data = s->train && s->bwd_data ? kn_round_up(bwd, 256) : 0,
        .bias = kn_round_up((size_t)s->oc * sizeof(float), 256),
        .ohwi = conv->plans[KN_CUDNN_FWD] || conv->plans[KN_CUDNN_BWD_DATA]
                    ? kn_round_up(weight_elements(conv) * sizeof(uint16_t), 256)
                    : 0,
    };
}

static size_t workspace_of(const kn_conv *conv, kn_cudnn_direction direction)
{
    const kn_cudnn_plan *plan = conv->plans[direction];
    return plan ? kn_round_up(kn_cudnn_plan_workspace(plan), 256) : 0;
}

kn_conv_needs kn_cuda_conv_needs(const kn_conv *conv)
{
    packed_sizes p = packed_of(conv);
    kn_conv_needs needs = {.packed_bytes = p.fwd + p.bwd_data + p.bias + p.ohwi,
                           .fwd_bytes = kn_cuda_conv_takes(conv) & KN_TAKES_STATS
                                            ? kn_cu_mma_stats_bytes(conv->shape)
                                            : workspace_of(conv, KN_CUDNN_FWD),
                           .bwd_data_bytes = workspace_of(conv, KN_CUDNN_BWD_DATA)};
    if (conv->plans[KN_CUDNN_BWD_WEIGHTS])
        needs.bwd_weights_bytes = workspace_of(conv, KN_CUDNN_BWD_WEIGHTS) +
                                  kn_round_up(weight_elements(conv) * sizeof(uint16_t), 256) +
                                  kn_cu_bias_grad_bytes(conv->spec.oc);
    else if (conv->spec.train)
        needs.bwd_weights_bytes = conv->mma ? kn_cu_mma_bwd_weights_bytes(conv->shape)
                                            : kn_cu_conv_bwd_weights_bytes(conv->shape);
    return needs;
}

static kn_device *device_of(const kn_conv *conv)
{
    return kn_cuda_of(conv->engine)->device;
}

static bool run_plan(const kn_conv *conv, kn_cudnn_direction direction, const void *a,
                     const void *b, const void *bias, void *out, void *workspace, GError **error)
{
    return kn_cudnn_run(kn_cuda_of(conv->engine)->cudnn, conv->plans[direction], a, b, bias, out,
                        workspace, error);
}

static kn_cu_pack_item pack_item(const kn_pack_item *item)
{
    const kn_conv *conv = item->conv;
    packed_sizes p = packed_of(conv);
    char *fwd = item->packed, *bwd = fwd + p.fwd, *to_bias = bwd + p.bwd_data;
    return (kn_cu_pack_item){.weight = item->weight,
                             .bias = item->bias,
                             .fwd = fwd,
                             .bwd = p.bwd_data ? bwd : NULL,
                             .ohwi = p.ohwi ? to_bias + p.bias : NULL,
                             .bias_out = (float *)(void *)to_bias,
                             .oc = conv->spec.oc,
                             .ic = conv->spec.ic,
                             .taps = conv->spec.k * conv->spec.k};
}

bool kn_cuda_conv_pack(kn_conv *conv, const void *weight, const void *bias, void *packed,
                       GError **error)
{
    kn_pack_item item = {conv, weight, bias, packed};
    if (conv->mma)
        return kn_cuda_conv_pack_all(conv->engine, &item, 1, error);
    packed_sizes p = packed_of(conv);
    char *fwd = packed, *bwd = fwd + p.fwd, *to_bias = bwd + p.bwd_data;
    kn_cu_conv_pack(device_of(conv), conv->shape, weight, bias, (float *)(void *)fwd,
                    p.bwd_data ? (float *)(void *)bwd : NULL, (float *)(void *)to_bias);
    return true;
}

/* An engine's convolutions are all of one kind. */
bool kn_cuda_conv_pack_all(kn_engine *engine, const kn_pack_item *items, int n, GError **error)
{
    G_STATIC_ASSERT((int)KN_PACK_MAX == (int)KN_CU_PACK_MAX);
    kn_cu_pack pack;
    memset(&pack, 0, sizeof pack); /* compared as bytes (program.h) */
    pack.n = n;
    for (int i = 0; i < n; i++) {
        if (!items[i].conv->mma) {
            if (!kn_cuda_conv_pack(items[i].conv, items[i].weight, items[i].bias, items[i].packed,
                                   error))
                return false;
            continue;
        }
        pack.items[i] = pack_item(&items[i]);
    }
    if (n > 0 && items[0].conv->mma)
        kn_cu_mma_pack(kn_cuda_of(engine)->device, pack);
    return true;
}

bool kn_cuda_conv_fwd(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                      void *scratch, GError **error)
{
    packed_sizes p = packed_of(conv);
    const char *fwd = packed;
    const float *bias =
        conv->spec.bias ? (const float *)(const void *)(fwd + p.fwd + p.bwd_data) : NULL;
    if (conv->plans[KN_CUDNN_FWD])
        return run_plan(conv, KN_CUDNN_FWD, src->data, fwd + p.fwd + p.bwd_data + p.bias, bias,
                        dst->data, scratch, error);
    if (conv->mma)
        kn_cu_mma_fwd(device_of(conv), conv->shape, *src, fwd, bias, *dst);
    else
        kn_cu_conv_fwd(device_of(conv), conv->shape, *src, (const float *)(const void *)fwd, bias,
                       *dst);
    return true;
}

/* Sums beside a cuDNN plan, or in the f32 mode that is for checking, are a pass of their own. */
unsigned kn_cuda_conv_takes(const kn_conv *conv)
{
    const kn_conv_spec *s = &conv->spec;
    bool stats = conv->mma && !conv->plans[KN_CUDNN_FWD] && s->k == 3 && !s->bias && !s->leaky &&
                 s->dst_type == KN_BF16;
    return stats ? KN_TAKES_STATS : 0;
}

void kn_cuda_conv_fwd_stats(kn_conv *conv, const void *packed, const kn_tensor *src,
                            const kn_tensor *dst, void *scratch, const kn_norm *norm,
                            const kn_norm *before)
{
    (void)before; /* not taken */
    kn_cu_mma_fwd_stats(device_of(conv), conv->shape, *src, packed, *dst, kn_cuda_norm_of(norm),
                        scratch);
}

bool kn_cuda_conv_bwd_data(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                           const kn_tensor *dsrc, void *scratch, GError **error)
{
    packed_sizes p = packed_of(conv);
    const char *bwd = (const char *)packed + p.fwd;
    if (conv->plans[KN_CUDNN_BWD_DATA])
        return run_plan(conv, KN_CUDNN_BWD_DATA, ddst->data, bwd + p.bwd_data + p.bias, NULL,
                        dsrc->data, scratch, error);
    if (conv->mma)
        kn_cu_mma_bwd_data(device_of(conv), conv->shape, *ddst, bwd, *dsrc);
    else
        kn_cu_conv_bwd_data(device_of(conv), conv->shape, *ddst, (const float *)(const void *)bwd,
                            *dsrc);
    return true;
}

/* cuDNN's gradient is a whole one, of bf16: it is added to what is there. */
static bool planned_bwd_weights(const kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                                float *dweight, float *dbias, void *scratch, GError **error)
{
    char *dw = (char *)scratch + workspace_of(conv, KN_CUDNN_BWD_WEIGHTS);
    char *rest = dw + kn_round_up(weight_elements(conv) * sizeof(uint16_t), 256);
    if (!run_plan(conv, KN_CUDNN_BWD_WEIGHTS, src->data, ddst->data, NULL, dw, scratch, error))
        return false;
    kn_cu_ohwi_add(device_of(conv), conv->shape, dw, dweight);
    if (dbias)
        kn_cu_bias_grad(device_of(conv), *ddst, dbias, rest);
    return true;
}

bool kn_cuda_conv_bwd_weights(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                              void *dweight, void *dbias, void *scratch, GError **error)
{
    float *db = conv->spec.bias ? dbias : NULL;
    if (conv->plans[KN_CUDNN_BWD_WEIGHTS])
        return planned_bwd_weights(conv, src, ddst, dweight, db, scratch, error);
    if (conv->mma)
        kn_cu_mma_bwd_weights(device_of(conv), conv->shape, *src, *ddst, dweight, db, scratch);
    else
        kn_cu_conv_bwd_weights(device_of(conv), conv->shape, *src, *ddst, dweight, db, scratch);
    return true;
}
