/* The reference backend: naive loops in double precision, one thread, nothing clever. It is the
 * oracle, so every function is written from the definition and shares no arithmetic with cpu/. */
#ifndef QS_KERNELS_REF_PRIV_H
#define QS_KERNELS_REF_PRIV_H

#include "kernels/engine/engine_priv.h"

static inline double *ref_at(const kn_tensor *t, int n, int y, int x)
{
    return kn_f64(t) + (((int64_t)n * t->h + y) * t->w + x) * t->ldc;
}

kn_conv *kn_ref_conv_create(kn_engine *engine, const kn_conv_spec *spec, GError **error);
void kn_ref_conv_destroy(kn_conv *conv);
kn_conv_needs kn_ref_conv_needs(const kn_conv *conv);
const char *kn_ref_conv_describe(const kn_conv *conv);
bool kn_ref_conv_pack(kn_conv *conv, const void *weight, const void *bias, void *packed,
                      GError **error);
bool kn_ref_conv_fwd(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                     void *scratch, GError **error);
bool kn_ref_conv_bwd_data(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                          const kn_tensor *dsrc, void *scratch, GError **error);
bool kn_ref_conv_bwd_weights(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                             void *dweight, void *dbias, void *scratch, GError **error);

void kn_ref_norm_stats(kn_engine *engine, const kn_tensor *x, const kn_norm *norm);
void kn_ref_norm_apply(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                       const kn_tensor *y);
void kn_ref_norm_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                     const kn_norm *norm, const kn_tensor *dx);

void kn_ref_pool_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y,
                     const kn_tensor *copy);
void kn_ref_pool_bwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy,
                     const kn_tensor *dx);
void kn_ref_upsample_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
void kn_ref_upsample_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);

/* 0 or 1/(1-p'): element e of the mask that ops.h describes. */
double kn_ref_dropout_factor(uint64_t stream, uint64_t layer, double p, int64_t e);

void kn_ref_perturb_fwd(kn_engine *engine, const kn_tensor *x, const kn_perturb *how,
                        const kn_tensor *y);
void kn_ref_perturb_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                        const kn_perturb *how, const kn_tensor *dx);
void kn_ref_repeat_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
void kn_ref_repeat_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);
void kn_ref_spread_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
void kn_ref_spread_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);
void kn_ref_transposed_pack(kn_engine *engine, int ic, int oc, const void *weight, const void *bias,
                            void *weight1, void *bias1);
void kn_ref_transposed_unpack(kn_engine *engine, int ic, int oc, const void *dweight1,
                              const void *dbias1, void *dweight, void *dbias);

void kn_ref_mean_prob(kn_engine *engine, const kn_tensor *z, int k, int n, const kn_tensor *acc);
void kn_ref_paste(kn_engine *engine, const kn_tensor *outer, const kn_tensor *inner, kn_box box,
                  const kn_tensor *dst);
void kn_ref_relabel(kn_engine *engine, const kn_tensor *z, const uint8_t *y);
void kn_ref_blend_add(kn_engine *engine, const kn_blend *blend, const kn_tensor *z,
                      const kn_tensor *second, int first, int n, const int64_t *x, int64_t y,
                      int n_rows);
void kn_ref_blend_take(kn_engine *engine, const kn_blend *blend, int slot, int n, uint8_t *label,
                       float *prob);
void kn_ref_clear(kn_engine *engine, const kn_tensor *t);

void kn_ref_adam(kn_engine *engine, void *theta, const void *grad, void *mean, void *square,
                 int64_t n, double lr, double wd, int64_t t);
void kn_ref_sgd(kn_engine *engine, void *theta, const void *grad, void *momentum, int64_t n,
                double lr, double m, double wd);
void kn_ref_ema(kn_engine *engine, void *teacher, const void *student, int64_t n, double alpha);
void kn_ref_zero(kn_engine *engine, void *x, int64_t n);
void kn_ref_copy(kn_engine *engine, void *to, const void *from, int64_t n);

#endif
