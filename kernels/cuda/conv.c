/* A convolution of the CUDA backend: three directions, each by an algorithm with a name that
 * conv_choices remembers. Own ones: "plain" (conv.cu: any shape, f32 operands) and "mma"
 * (conv_mma.cu: tensor cores, bf16 operands). In f32 mode every own convolution is plain, so that a
 * result can be checked to f32's last digits. */
#include "kernels/cuda/cuda_priv.h"

#include "base/error.h"
#include "kernels/cuda/index.h"

struct kn_conv {
    kn_engine *engine; /* borrowed */
    kn_conv_spec spec;
    kn_cu_conv shape;
    bool mma;
    char *description;
};

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
    const char *own = conv->mma ? "mma" : "plain";
    conv->description =
        spec->train ? g_strdup_printf("fwd=%s bwd_w=%s%s%s", own, own,
                                      spec->bwd_data ? " bwd_d=" : "", spec->bwd_data ? own : "")
                    : g_strdup_printf("fwd=%s", own);
    return conv;
}

void kn_cuda_conv_destroy(kn_conv *conv)
{
    if (!conv)
        return;
    g_free(conv->description);
    g_free(conv);
}

const char *kn_cuda_conv_describe(const kn_conv *conv)
{
    return conv->description;
}

/* Packed: forward's weights, the data gradient's, the bias. */
typedef struct {
    size_t fwd, bwd_data, bias;
} packed_sizes;

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
    };
}

kn_conv_needs kn_cuda_conv_needs(const kn_conv *conv)
{
    packed_sizes p = packed_of(conv);
    kn_conv_needs needs = {.packed_bytes = p.fwd + p.bwd_data + p.bias};
    if (conv->spec.train)
        needs.bwd_weights_bytes = conv->mma ? kn_cu_mma_bwd_weights_bytes(conv->shape)
                                            : kn_cu_conv_bwd_weights_bytes(conv->shape);
    return needs;
}

static kn_device *device_of(const kn_conv *conv)
{
    return kn_cuda_of(conv->engine)->device;
}

bool kn_cuda_conv_pack(kn_conv *conv, const void *weight, const void *bias, void *packed,
                       GError **error)
{
    (void)error;
    packed_sizes p = packed_of(conv);
    char *fwd = packed, *bwd = fwd + p.fwd, *to_bias = bwd + p.bwd_data;
    if (!conv->mma) {
        kn_cu_conv_pack(device_of(conv), conv->shape, weight, bias, (float *)(void *)fwd,
                        p.bwd_data ? (float *)(void *)bwd : NULL, (float *)(void *)to_bias);
        return true;
    }
    kn_cu_mma_pack(device_of(conv), conv->shape, weight, fwd, p.bwd_data ? bwd : NULL);
    if (bias)
        kn_device_copy(device_of(conv), to_bias, bias, (size_t)conv->spec.oc * sizeof(float));
    else
        kn_device_clear(device_of(conv), to_bias, (size_t)conv->spec.oc * sizeof(float));
    return true;
}

bool kn_cuda_conv_fwd(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                      void *scratch, GError **error)
{
    (void)scratch;
    (void)error;
    packed_sizes p = packed_of(conv);
    const char *fwd = packed;
    const float *bias =
        conv->spec.bias ? (const float *)(const void *)(fwd + p.fwd + p.bwd_data) : NULL;
    if (conv->mma)
        kn_cu_mma_fwd(device_of(conv), conv->shape, *src, fwd, bias, *dst);
    else
        kn_cu_conv_fwd(device_of(conv), conv->shape, *src, (const float *)(const void *)fwd, bias,
                       *dst);
    return true;
}

bool kn_cuda_conv_bwd_data(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                           const kn_tensor *dsrc, void *scratch, GError **error)
{
    (void)scratch;
    (void)error;
    const char *bwd = (const char *)packed + packed_of(conv).fwd;
    if (conv->mma)
        kn_cu_mma_bwd_data(device_of(conv), conv->shape, *ddst, bwd, *dsrc);
    else
        kn_cu_conv_bwd_data(device_of(conv), conv->shape, *ddst, (const float *)(const void *)bwd,
                            *dsrc);
    return true;
}

bool kn_cuda_conv_bwd_weights(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                              void *dweight, void *dbias, void *scratch, GError **error)
{
    (void)error;
    float *db = conv->spec.bias ? dbias : NULL;
    if (conv->mma)
        kn_cu_mma_bwd_weights(device_of(conv), conv->shape, *src, *ddst, dweight, db, scratch);
    else
        kn_cu_conv_bwd_weights(device_of(conv), conv->shape, *src, *ddst, dweight, db, scratch);
    return true;
}
