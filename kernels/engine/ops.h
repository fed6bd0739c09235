/* The table of operations that a backend fills. ref/ is naive, in double precision and right; it
 * is the oracle. cpu/ is f32. Tensors are in the backend's dtype (kn_ops.dtype), NHWC; where a
 * prototype says "slice", ldc > c is allowed, else the tensor is dense (ldc == c).
 * ref/ takes NHWC only; cpu/ takes blocks of 16 too.
 *
 * Conventions: activation gradients overwrite, parameter gradients accumulate (+=), unless said
 * otherwise. void * arrays are of the backend's dtype. Nothing here allocates but conv_create.
 * One thread calls; inside, the engine's OpenMP team works. Reductions have a fixed order given
 * the thread count. */
#ifndef QS_KERNELS_OPS_H
#define QS_KERNELS_OPS_H

#include "kernels/engine/augment.h"
#include "kernels/engine/engine.h"
#include "kernels/engine/fold.h"

/* ---- convolution: stride 1, "same" zero padding --------------------------------------------- */
typedef struct {
    const char
        *name; /* of the layer, for errors and conv_choices; borrowed for the object's life */
    int n, h, w;
    int ic, oc;
    int k;                    /* 3 or 1 */
    bool bias;                /* forward adds it, bwd_weights makes its gradient */
    bool train;               /* backward wanted */
    bool bwd_data;            /* with train: the gradient of the source is wanted too */
    bool leaky;               /* LeakyReLU(.01) on the output (inference) */
    int src_block, dst_block; /* layout of the two tensors, as kn_tensor.block */
    kn_dtype src_type, dst_type;
} kn_conv_spec;

typedef struct kn_conv kn_conv; /* a backend's prepared convolution */

typedef struct {
    size_t packed_bytes; /* the backend's own copy of the weights, owned by the pass */
    size_t fwd_bytes, bwd_data_bytes, bwd_weights_bytes; /* scratch of each call */
} kn_conv_needs;

enum { KN_PACK_MAX = 32 }; /* convolutions of one conv_pack_all */
typedef struct {
    kn_conv *conv;
    const void *weight, *bias; /* as conv_pack */
    void *packed;
} kn_pack_item;

/* ---- BatchNorm + LeakyReLU + dropout: one block --------------------------------------------- */
/* Dropout's mask: element e = pixel·C + c of the tensor belongs to chunk e/128. Counter 16·chunk +
 * l (l = 0..15) of Philox with key `stream` and high counter `layer` gives four words; word k holds
 * in its low half element 32k + l, in its high half 32k + 16 + l. An element is kept when its 16
 * bits are >= kn_dropout_threshold(p), and is then scaled by 1/(1-p') with p' the p that 16 bits
 * can say. So any element's mask can be made again, in any order, sixteen lanes at a time. */
typedef struct {
    int channels;
    const void *gamma, *beta;         /* (C) */
    void *dgamma, *dbeta;             /* (C), accumulated by bwd; NULL: no backward */
    void *running_mean, *running_var; /* (C), updated by stats */
    const void *conv_bias;            /* (C) added to the mean in running_mean: the bias of a
                                       * convolution that left it out; NULL: none */
    void *mean, *inv_std;             /* (C) of the batch: written by stats, read by the rest */
    double slope;                     /* .01; 1: no activation */
    double dropout;                   /* 0: none */
    uint64_t stream, layer;           /* name the mask */
    double *sums; /* (2,C) Σ dz, Σ dz·(x-mean): from norm_bwd_sums to norm_bwd_apply */
    bool is_dz;   /* the dy that norm_bwd_apply gets is dz already: mask and slope are in it */
    void *mask;   /* norm_mask_bytes: apply keeps the mask there for bwd; NULL: made again */
    const uint64_t *stream_at; /* cuda: where the device finds `stream` when it runs; NULL:
                                * above */
} kn_norm;

#define KN_BN_EPS 1e-5
#define KN_BN_MOMENTUM 0.1 /* running = .9 running + .1 batch, variance unbiased (n-1) */
#define KN_LEAKY_SLOPE 0.01

uint32_t kn_dropout_threshold(double p); /* 0..65535 */
double kn_dropout_scale(double p);       /* 1 / (1 - threshold/65536) */

/* What a convolution can take along of the BatchNorm beside it, sparing passes over memory. */
enum {
    KN_TAKES_STATS = 1,  /* conv_fwd_stats: norm_stats of its result */
    KN_TAKES_SUMS = 2,   /* conv_bwd_data_sums: norm_bwd_sums of the BatchNorm before it */
    KN_TAKES_APPLY = 4,  /* conv_bwd_weights_apply: norm_bwd_apply of the BatchNorm after it */
    KN_TAKES_BEFORE = 8, /* with STATS, and APPLY where it trains: the same two calls make their
                          * source from the source of the BatchNorm before it, as norm_apply does */
};

/* ---- feature perturbations (CCT, URPC) ------------------------------------------------------ */
typedef enum {
    KN_PERTURB_COPY,  /* y = x */
    KN_PERTURB_NOISE, /* y = x·(1 + u), u uniform in [lo, hi), one (h,w,c) of it for all images */
    KN_PERTURB_DROPOUT, /* each element to 0 with probability lo, the others divided by 1 - lo */
    KN_PERTURB_DROP, /* y = x where a < r·max a, else 0: a the mean over channels at a pixel, the
                      * maximum over the image, r one draw from [lo, hi) */
} kn_perturb_kind;

/* Element e = (i·w + j)·C + c of an image belongs to chunk e/64 of the noise. Counter 16·chunk + l
 * (l = 0..15) of Philox with key `stream` and high counter `layer` gives four words; word k is that
 * of element 16k + l, and u = lo + (hi - lo)·(word >> 8)/2^24. r is made likewise from word 0 of
 * counter 0. The dropout mask is that of kn_norm. */
typedef struct {
    kn_perturb_kind kind;
    double lo, hi;
    uint64_t stream, layer;
} kn_perturb;

/* ---- blending of predictions ---------------------------------------------------------------- */
/* A strip of a plane, in the engine's memory: as many rows as a window has. */
typedef struct {
    int64_t w; /* pixels of a row */
    int window, classes;
    void *acc;            /* (window,w,classes): row y of the plane lives at y % window */
    const float *weights; /* (window) f32 on every backend */
    uint32_t *bad;        /* becomes 1 when a logit is not finite */
} kn_blend;

enum { KN_BLEND_MAX = 32 }; /* windows of one call */

#define KN_ADAM_BETA1 0.9
#define KN_ADAM_BETA2 0.999
#define KN_ADAM_EPS 1e-8

typedef struct {
    const char *name;
    kn_dtype dtype;
    bool folds_bias; /* a convolution before BN leaves its bias out (BN takes it away again); its
                      * gradient is then exactly zero */

    /* Creation is the only call that allocates; it may time candidates once (KN_CONV_AUTO). */
    kn_conv *(*conv_create)(kn_engine *engine, const kn_conv_spec *spec, GError **error);
    void (*conv_destroy)(kn_conv *conv);
    kn_conv_needs (*conv_needs)(const kn_conv *conv);
    /* Names of the implementations chosen, "fwd=… bwd_d=… bwd_w=…"; borrowed from conv. */
    const char *(*conv_describe)(const kn_conv *conv);
    /* weight (oc,ic,k,k), bias (oc) or NULL into `packed`. Call when the weights changed. */
    bool (*conv_pack)(kn_conv *conv, const void *weight, const void *bias, void *packed,
                      GError **error);
    /* (optional) conv_pack of each of n <= KN_PACK_MAX, in one go; NULL: one by one. */
    bool (*conv_pack_all)(kn_engine *engine, const kn_pack_item *items, int n, GError **error);
    bool (*conv_fwd)(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                     void *scratch, GError **error);
    bool (*conv_bwd_data)(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                          const kn_tensor *dsrc, void *scratch, GError **error);
    /* dweight (oc,ic,k,k) += ; dbias (oc) += or NULL. */
    bool (*conv_bwd_weights)(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                             void *dweight, void *dbias, void *scratch, GError **error);

    /* (optional) Bytes in which norm_apply would keep the dropout mask of so many elements for
     * norm_bwd; absent or 0: backward makes it again. */
    size_t (*norm_mask_bytes)(int64_t pixels, int channels);
    /* mean and inv_std of x over all pixels (biased variance, eps 1e-5); running statistics. */
    void (*norm_stats)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm);
    /* y = dropout(leaky(gamma·(x-mean)·inv_std + beta)); y may be a slice, or x itself. */
    void (*norm_apply)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                       const kn_tensor *y);
    /* dx of the three from dy (slice) and x; dgamma, dbeta +=. dx may be dy when that is dense. */
    void (*norm_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                     const kn_norm *norm, const kn_tensor *dx);

    /* norm_bwd in two, and convolutions that take a part along: all six (optional together;
     * conv_takes and conv_fwd_stats alone where nothing else is ever taken). Without them the pass
     * runs each op for itself. norm_bwd_sums fills norm->sums and adds to
     * dgamma and dbeta; norm_bwd_apply makes dx. conv_bwd_data_sums writes dz of `norm` to dsrc (x
     * is norm's source) and its sums; conv_bwd_weights_apply first makes ddst from dy and x as
     * norm_bwd_apply does, and leaves it unwritten, even without data, where the convolution makes
     * no bwd_data. A kept mask is needed where norm has dropout. before, with KN_TAKES_BEFORE: src
     * is the source of that BatchNorm, whose result, what is convolved, is made on the way and kept
     * nowhere; its mask is. NULL: src is convolved. */
    void (*norm_bwd_sums)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                          const kn_norm *norm);
    void (*norm_bwd_apply)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                           const kn_norm *norm, const kn_tensor *dx);
    unsigned (*conv_takes)(const kn_conv *conv); /* KN_TAKES_… */
    void (*conv_fwd_stats)(kn_conv *conv, const void *packed, const kn_tensor *src,
                           const kn_tensor *dst, void *scratch, const kn_norm *norm,
                           const kn_norm *before);
    void (*conv_bwd_data_sums)(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                               const kn_tensor *dsrc, void *scratch, const kn_norm *norm,
                               const kn_tensor *x);
    void (*conv_bwd_weights_apply)(kn_conv *conv, const kn_tensor *src, const kn_tensor *dy,
                                   const kn_tensor *x, const kn_norm *norm, const kn_tensor *ddst,
                                   void *dweight, void *scratch, const kn_norm *before);

    /* 2×2 maximum, stride 2, even h and w; a tie takes the first in row order. x is a slice. copy
     * (slice, as x): x is copied there in the same pass; NULL: not. */
    void (*pool_fwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *y,
                     const kn_tensor *copy);
    /* dx (slice) += dy at each maximum of x (slice). */
    void (*pool_bwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy,
                     const kn_tensor *dx);
    /* (optional together) The two with the BatchNorm before them, which has no dropout; NULL: each
     * for itself. norm_apply to y, and pool_fwd of that. pool_bwd of norm's result, which is made
     * again from its source x, to dx (slice); then dx becomes dz and norm's sums are taken, as by
     * conv_bwd_data_sums. */
    void (*norm_apply_pool)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                            const kn_tensor *y, const kn_tensor *pooled);
    void (*pool_bwd_sums)(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                          const kn_tensor *dy, const kn_tensor *dx);
    /* Bilinear ×2, align_corners: output i takes input i·(H-1)/(2H-1). y is a slice. */
    void (*upsample_fwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
    /* The transpose, as a gather. dy is a slice. */
    void (*upsample_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);

    /* Features into features, both slices. x is needed by bwd of KN_PERTURB_DROP alone, which makes
     * its mask again; NULL else. dx (slice) += . */
    void (*perturb_fwd)(kn_engine *engine, const kn_tensor *x, const kn_perturb *how,
                        const kn_tensor *y);
    void (*perturb_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                        const kn_perturb *how, const kn_tensor *dx);
    /* Nearest ×f: y(i,j) = x(i/f, j/f); f is y's height over x's. bwd: the sum of each f × f. */
    void (*repeat_fwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
    void (*repeat_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);
    /* Depth to space: y(2i+u, 2j+v, k) = x(i, j, (2u+v)·c + k), c = y's channels. y is a slice. So
     * a 2×2 transposed convolution of stride 2 is a 1×1 convolution and this. bwd overwrites dx. */
    void (*spread_fwd)(kn_engine *engine, const kn_tensor *x, const kn_tensor *y);
    void (*spread_bwd)(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx);
    /* The parameters of such a convolution, (ic,oc,2,2) and (oc), as those of the 1×1 convolution,
     * (4·oc,ic) and (4·oc); and the gradients of the latter added to those of the former. */
    void (*transposed_pack)(kn_engine *engine, int ic, int oc, const void *weight, const void *bias,
                            void *weight1, void *bias1);
    void (*transposed_unpack)(kn_engine *engine, int ic, int oc, const void *dweight1,
                              const void *dbias1, void *dweight, void *dbias);

    /* Predictions put together; NHWC. acc = (k > 0 ? acc : 0) + softmax(z)/n for k = 0 … n-1, and
     * its logarithm after the last: softmax(acc) is then the mean of n predictions. */
    void (*mean_prob)(kn_engine *engine, const kn_tensor *z, int k, int n, const kn_tensor *acc);
    /* One image each: dst = inner in the box, outer elsewhere. dst may be outer. */
    void (*paste)(kn_engine *engine, const kn_tensor *outer, const kn_tensor *inner, kn_box box,
                  const kn_tensor *dst);
    /* Where z's largest logit is of another class than y (n,h,w) says, the two change places. */
    void (*relabel)(kn_engine *engine, const kn_tensor *z, const uint8_t *y);
    /* Images first … first+n-1 of z (n,window,window,classes), n <= KN_BLEND_MAX, with their top
     * left at (x[k], y) of the plane: weights[i]·weights[j]·softmax(z) is added to the strip, or of
     * the mean with second's softmax when that is not NULL; rows i < n_rows, columns inside the
     * strip. A pixel takes its windows in order of k. */
    void (*blend_add)(kn_engine *engine, const kn_blend *blend, const kn_tensor *z,
                      const kn_tensor *second, int first, int n, const int64_t *x, int64_t y,
                      int n_rows);
    /* Rows slot … slot+n-1 of acc divided by their sums: prob (n,w,classes) f32, NULL: not wanted,
     * and label (n,w), its argmax (ties to the lowest class); then those of acc are 0. Where the
     * sum is 0, no window was: class 0 with probability 1. */
    void (*blend_take)(kn_engine *engine, const kn_blend *blend, int slot, int n, uint8_t *label,
                       float *prob);
    /* Every element to 0, those between c and ldc too. */
    void (*clear)(kn_engine *engine, const kn_tensor *t);

    /* t: steps with this one. As kn_adam_step. */
    void (*adam)(kn_engine *engine, void *theta, const void *grad, void *mean, void *square,
                 int64_t n, double lr, double wd, int64_t t);
    /* Arrays of n elements. g = grad + wd·θ; v = m·v + g; θ -= lr·v (grad is not changed). */
    void (*sgd)(kn_engine *engine, void *theta, const void *grad, void *momentum, int64_t n,
                double lr, double m, double wd);
    /* (optional) sgd, then ema of a teacher from θ, in one pass; NULL: one after the other. */
    void (*sgd_ema)(kn_engine *engine, void *theta, const void *grad, void *momentum, void *teacher,
                    int64_t n, double lr, double m, double wd, double alpha);
    /* teacher = alpha·teacher + (1-alpha)·student */
    void (*ema)(kn_engine *engine, void *teacher, const void *student, int64_t n, double alpha);
    void (*zero)(kn_engine *engine, void *x, int64_t n);
    void (*copy)(kn_engine *engine, void *to, const void *from, int64_t n);
    /* (optional) kn_fold_bn on the engine's arrays; NULL: the host does it. */
    void (*fold)(kn_engine *engine, int oc, int64_t per_oc, const kn_fold *from, void *weight,
                 void *bias);

    /* A batch's images, made where a device has the patches (augment.h); (optional together) where
     * they are absent the loader's threads make them. Views lie on the device. */
    /* rgb, label, truth and exclude of the batch from its patches. */
    void (*images_weak)(kn_engine *engine, const kn_images *images);
    /* strong_rgb from rgb. */
    void (*images_strong)(kn_engine *engine, const kn_images *images);
    /* dst (views,h,w,3), f32 or bf16, from rgb or strong_rgb, and clip(sigma·N(0,1), ±2·sigma);
     * sigma 0: none. The noise of an element is named by (seed, stream, its place in the batch). */
    void (*images_input)(kn_engine *engine, const kn_images *images, const uint8_t *rgb,
                         const kn_view *views, double sigma, uint64_t seed, uint64_t stream,
                         const kn_tensor *dst);
    /* What a loss may see of n mixed images. */
    void (*images_mixed)(kn_engine *engine, const kn_images *images, const kn_view *views, int n,
                         const kn_planes *planes);
    /* both (n,h,w): 255 where neither half says anything, else 0. held (n-n_labelled,h,w): truth of
     * the held-back images, 255 in the others. NULL: not wanted. */
    void (*images_whole)(kn_engine *engine, const kn_images *images, uint8_t *both, uint8_t *held);

    /* (optional) What the device can do at the engine's precision, by short loops: multiplications
     * and additions a second, bytes read and written a second. For profiles; may allocate. */
    bool (*peak)(kn_engine *engine, double *flop_s, double *byte_s, GError **error);
} kn_ops;

const kn_ops *kn_engine_ops(const kn_engine *engine);

#endif
