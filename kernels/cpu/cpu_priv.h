/* The CPU backend: convolutions by oneDNN, everything else by our own vectorised passes, which are
 * compiled once per instruction set (passes_v1.c, _v3.c, _v4.c) and chosen when an engine opens.
 *
 * In f32; or, where the processor has instructions for it, with activations and the operands of
 * convolutions in bf16 (passes_bf16.c). Parameters, sums, statistics and the edges of a pass stay
 * f32. */
#ifndef QS_KERNELS_CPU_PRIV_H
#define QS_KERNELS_CPU_PRIV_H

#include "kernels/engine/bf16.h"
#include "kernels/cpu/onednn.h"

enum { KN_HEAD_MAX = 4, KN_HEAD_INPUTS = 64 };

/* What our Winograd does for the BatchNorm beside it while pixels are in registers. */
typedef enum {
    KN_BESIDE_NOTHING,
    KN_BESIDE_STATS, /* statistics of what it writes */
    KN_BESIDE_SUMS,  /* what it writes is the gradient of norm's result: made dz, and summed */
    KN_BESIDE_APPLY, /* weight gradient: dy is made from with->dy first, and written (winograd.inc)
                      */
} kn_beside_kind;

typedef struct {
    kn_beside_kind kind;
    const kn_norm *norm;   /* its mask is kept (norm->mask) where it has dropout */
    const kn_tensor *x;    /* SUMS, APPLY: norm's source */
    const kn_tensor *dy;   /* APPLY: the gradient of norm's result, or dz; may be the dy written */
    const kn_norm *before; /* with STATS, APPLY: the convolution's source is this one's, and its
                            * result is convolved; NULL: the source itself */
} kn_beside;

/* The passes of one instruction set and type of tensors. Arguments as in ops.h. */
typedef struct {
    const char *name; /* "x86-64-v4" … */
    void (*norm_stats)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm);
    void (*norm_apply)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                       const kn_tensor *y);
    void (*norm_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                     const kn_norm *norm, const kn_tensor *dx);
    void (*norm_bwd_sums)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                          const kn_norm *norm);
    void (*norm_bwd_apply)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                           const kn_norm *norm, const kn_tensor *dx);
    void (*pool_fwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *y,
                     const kn_tensor *copy);
    void (*pool_bwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy,
                     const kn_tensor *dx);
    void (*norm_apply_pool)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                            const kn_tensor *y, const kn_tensor *pooled);
    void (*pool_bwd_sums)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                          const kn_tensor *dy, const kn_tensor *dx);
    void (*upsample_fwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
    void (*upsample_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);
    void (*perturb_fwd)(kn_engine *engine, const kn_tensor *x, const kn_perturb *how,
                        const kn_tensor *y);
    void (*perturb_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                        const kn_perturb *how, const kn_tensor *dx);
    void (*spread_fwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
    void (*spread_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);
    /* Of f32 tables only: */
    void (*sgd)(float *theta, const float *grad, float *momentum, int64_t n, float lr, float m,
                float wd);
    void (*ema)(float *teacher, const float *student, int64_t n, float alpha);
    void (*add)(float *sum, const float *x, int64_t n); /* sum += x */
    void (*leaky)(float *x, int64_t n, float slope);    /* in place */
    /* Of the bf16 table only: */
    void (*widen)(const kn_bf16 *from, float *to, int64_t n);
    void (*narrow)(const float *from, kn_bf16 *to, int64_t n);
    /* 3×3 convolution of dense NHWC into at most KN_HEAD_MAX channels; x->c divides by 16 and is at
     * most KN_HEAD_INPUTS. y and dy are f32. w (oc,9,ic); dw (oc,ic,3,3) += ; db (oc) += or NULL.
     */
    void (*head_fwd)(kn_engine *engine, const kn_tensor *x, const float *w, const float *bias,
                     const kn_tensor *y);
    void (*head_bwd_weights)(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy, float *dw,
                             float *db);
    /* Winograd of our own (winograd.inc): 3×3, both sides blocks of 16 channels. All NULL where
     * vectors are shorter than 16 floats. */
    size_t (*wino_scratch_bytes)(int ic, int oc, int w, bool weights); /* a thread's */
    /* weight (oc,ic,3,3) to u, 36·ic·oc floats; backward: for the gradient of the source. */
    void (*wino_pack)(const float *weight, int oc, int ic, bool backward, float *u);
    /* bias (y->c) or NULL; LeakyReLU of that slope, 1: none. */
    void (*wino_conv)(kn_engine *engine, const kn_tensor *x, const float *u, const float *bias,
                      float slope, const kn_tensor *y, void *scratch, const kn_beside *with);
    void (*wino_bwd_weights)(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy, float *dw,
                             void *scratch, const kn_beside *with); /* dw (oc,ic,3,3) += */
    /* The same two directly (direct.inc): 9·ic·oc floats of weights, no scratch. */
    void (*direct_pack)(const float *weight, int oc, int ic, bool backward, float *packed);
    void (*direct_conv)(kn_engine *engine, const kn_tensor *x, const float *w, const float *bias,
                        float slope, const kn_tensor *y, void *scratch, const kn_beside *with);
    /* Weight gradient of a 3×3 convolution of NHWC images of f32 and 3 channels (stem.inc) into
     * dy->c of them, which divides by 16 and is at most stem_outputs_max. With KN_BESIDE_APPLY dy
     * is not written and may have no data. dw (oc,3,3,3) += . NULL as above. */
    void (*stem_bwd_weights)(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy, float *dw,
                             const kn_beside *with);
    int stem_outputs_max;
    /* The head's gradient of its source, as head_fwd (head_data.inc). NULL as above. */
    void (*head_bwd_data)(kn_engine *engine, const kn_tensor *dy, const float *w,
                          const kn_tensor *dx, const kn_beside *with);
} kn_passes;

extern const kn_passes kn_passes_v1;
#ifdef __x86_64__
extern const kn_passes kn_passes_v3, kn_passes_v4, kn_passes_bf16;
#endif

typedef struct {
    kn_dnnl *dnnl;
    const kn_passes *passes; /* of f32 tensors */
    const kn_passes *bf16;   /* of bf16 tensors; NULL: this engine has none */
} kn_cpu;

static inline kn_cpu *kn_cpu_of(const kn_engine *engine)
{
    return engine->state;
}

/* The passes for tensors of such a type. */
static inline const kn_passes *kn_cpu_typed_passes(const kn_engine *engine, kn_dtype dtype)
{
    const kn_cpu *cpu = kn_cpu_of(engine);
    return dtype == KN_BF16 ? cpu->bf16 : cpu->passes;
}

static inline const kn_passes *kn_cpu_passes(const kn_engine *engine, const kn_tensor *t)
{
    return kn_cpu_typed_passes(engine, t->dtype);
}

kn_conv *kn_cpu_conv_create(kn_engine *engine, const kn_conv_spec *spec, GError **error);
void kn_cpu_conv_destroy(kn_conv *conv);
kn_conv_needs kn_cpu_conv_needs(const kn_conv *conv);
const char *kn_cpu_conv_describe(const kn_conv *conv);
bool kn_cpu_conv_pack(kn_conv *conv, const void *weight, const void *bias, void *packed,
                      GError **error);
bool kn_cpu_conv_fwd(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                     void *scratch, GError **error);
bool kn_cpu_conv_bwd_data(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                          const kn_tensor *dsrc, void *scratch, GError **error);
unsigned kn_cpu_conv_takes(const kn_conv *conv);
void kn_cpu_conv_fwd_stats(kn_conv *conv, const void *packed, const kn_tensor *src,
                           const kn_tensor *dst, void *scratch, const kn_norm *norm,
                           const kn_norm *before);
void kn_cpu_conv_bwd_data_sums(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                               const kn_tensor *dsrc, void *scratch, const kn_norm *norm,
                               const kn_tensor *x);
void kn_cpu_conv_bwd_weights_apply(kn_conv *conv, const kn_tensor *src, const kn_tensor *dy,
                                   const kn_tensor *x, const kn_norm *norm, const kn_tensor *ddst,
                                   void *dweight, void *scratch, const kn_norm *before);
bool kn_cpu_conv_bwd_weights(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                             void *dweight, void *dbias, void *scratch, GError **error);

bool kn_cpu_peak(kn_engine *engine, double *flop_s, double *byte_s, GError **error);
void kn_cpu_repeat_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
void kn_cpu_repeat_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);
void kn_cpu_transposed_pack(kn_engine *engine, int ic, int oc, const void *weight, const void *bias,
                            void *weight1, void *bias1);
void kn_cpu_transposed_unpack(kn_engine *engine, int ic, int oc, const void *dweight1,
                              const void *dbias1, void *dweight, void *dbias);
void kn_cpu_mean_prob(kn_engine *engine, const kn_tensor *z, int k, int n, const kn_tensor *acc);
void kn_cpu_paste(kn_engine *engine, const kn_tensor *outer, const kn_tensor *inner, kn_box box,
                  const kn_tensor *dst);
void kn_cpu_relabel(kn_engine *engine, const kn_tensor *z, const uint8_t *y);
void kn_cpu_blend_add(kn_engine *engine, const kn_blend *blend, const kn_tensor *z,
                      const kn_tensor *second, int first, int n, const int64_t *x, int64_t y,
                      int n_rows);
void kn_cpu_blend_take(kn_engine *engine, const kn_blend *blend, int slot, int n, uint8_t *label,
                       float *prob);
void kn_cpu_clear(kn_engine *engine, const kn_tensor *t);
void kn_cpu_adam(kn_engine *engine, void *theta, const void *grad, void *mean, void *square,
                 int64_t n, double lr, double wd, int64_t t);
void kn_cpu_copy(kn_engine *engine, void *to, const void *from, int64_t n);

#endif
