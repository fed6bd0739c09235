/* The loss's passes on the CPU, in float: a template that kernels/cpu/loss_v*.c compile, each for
 * its instruction set, into one table of functions (LP_TABLE, named LP_NAME).
 *
 * Pixels are worked on in blocks of LP_BLOCK that stay in the first-level cache, planar:
 *
 *   NHWC logits ──load──► p[c][i] ──softmax──► p[c][i], y[i], rest[i] ──► region, ce, sums, dz
 *
 * Each step is a loop over i with selects instead of branches, formulas from quad_pixel.h. Two
 * classes have a softmax of their own: one of the two exponentials is exp(0) = 1, so there is one
 * to compute, and the result has the bits of the general path.
 *
 * Sums: float terms go to LP_LANES double accumulators, element i of a block to lane i mod
 * LP_LANES, and the lanes are added in order. So the order of additions is that of the source and
 * not of the compiler's vectors; with -ffp-contract=off every instruction set gives the same bits. */
#include "kernels/cpu/loss_math.h"
#include "kernels/loss_priv.h"

#include <math.h>

#define QP_REAL float
#define QP(name) qp_##name##_f32
#define QP_EXP(x) kn_expf_neg(x)
#define QP_LOG1P(x) kn_log1pf(x)
#define QP_SQRT(x) sqrtf(x)
#include "kernels/quad_pixel.h"

enum { LP_BLOCK = 256, LP_LANES = 16 };

#define LP_SIMD _Pragma("omp simd")

typedef struct {
    float p[QS_CLASSES_MAX][LP_BLOCK]; /* logits, then probabilities */
    float zmax[LP_BLOCK], rest[LP_BLOCK];
    int32_t y[LP_BLOCK];
} lp_pred;

/* ---- sums ---------------------------------------------------------------------------------- */
typedef struct {
    double lane[LP_LANES];
} lp_sum;

static inline double lp_total(const lp_sum *s)
{
    double total = 0;
    for (int l = 0; l < LP_LANES; l++)
        total += s->lane[l];
    return total;
}

/* s += v[0..n) */
static inline void lp_add(lp_sum *s, const float *v, int n)
{
    int i = 0;
    for (; i + LP_LANES <= n; i += LP_LANES)
        LP_SIMD for (int l = 0; l < LP_LANES; l++) s->lane[l] += (double)v[i + l];
    for (int l = 0; i + l < n; l++)
        s->lane[l] += (double)v[i + l];
}

static inline int lp_count(const int32_t *key, int32_t wanted, int n)
{
    int count = 0;
    LP_SIMD
    for (int i = 0; i < n; i++)
        count += key[i] == wanted;
    return count;
}

/* ---- loading ------------------------------------------------------------------------------- */
static inline void lp_load(const kn_tensor *t, int64_t first, int n, lp_pred *b)
{
    const float *src = kn_f32(t) + first * t->ldc;
    int ldc = t->ldc;
    if (ldc == 2 && t->c == 2) { /* the constant stride lets the compiler shuffle whole vectors */
        for (int i = 0; i < n; i++) {
            b->p[0][i] = src[2 * i];
            b->p[1][i] = src[2 * i + 1];
        }
        return;
    }
    for (int c = 0; c < t->c; c++)
        for (int i = 0; i < n; i++)
            b->p[c][i] = src[(int64_t)i * ldc + c];
}

static inline void lp_load_u8(const uint8_t *src, int64_t first, int n, int32_t *dst)
{
    for (int i = 0; i < n; i++)
        dst[i] = src[first + i];
}

static inline void lp_store_u8(const int32_t *src, int64_t first, int n, uint8_t *dst)
{
    for (int i = 0; i < n; i++)
        dst[first + i] = (uint8_t)src[i];
}

/* keep[i] = 0 where exclude says 255, else 1. */
static inline void lp_load_keep(const uint8_t *exclude, int64_t first, int n, int32_t *keep)
{
    for (int i = 0; i < n; i++)
        keep[i] = exclude ? exclude[first + i] != QS_CLASS_IGNORE : 1;
}

/* ---- softmax ------------------------------------------------------------------------------- */
static inline void lp_argmax_block(int n_classes, int n, lp_pred *b)
{
    for (int i = 0; i < n; i++) {
        b->zmax[i] = b->p[0][i];
        b->y[i] = 0;
    }
    for (int c = 1; c < n_classes; c++) {
        LP_SIMD
        for (int i = 0; i < n; i++) {
            int more = b->p[c][i] > b->zmax[i];
            b->zmax[i] = more ? b->p[c][i] : b->zmax[i];
            b->y[i] = more ? c : b->y[i];
        }
    }
}

static inline void lp_softmax_2(int n, lp_pred *b)
{
    LP_SIMD
    for (int i = 0; i < n; i++) {
        float z0 = b->p[0][i], z1 = b->p[1][i];
        int more = z1 > z0;
        float zmax = more ? z1 : z0, zmin = more ? z0 : z1;
        float rest = kn_expf_neg(zmin - zmax), scale = 1.0f / (1.0f + rest);
        /* the general path's exp(zmax - zmax): 1, or NaN at infinity */
        float big = (1.0f + (zmax - zmax)) * scale, little = rest * scale;
        b->p[0][i] = more ? little : big;
        b->p[1][i] = more ? big : little;
        b->zmax[i] = zmax;
        b->rest[i] = rest;
        b->y[i] = more;
    }
}

static inline void lp_softmax_n(int n_classes, int n, lp_pred *b)
{
    lp_argmax_block(n_classes, n, b);
    for (int i = 0; i < n; i++)
        b->rest[i] = 0;
    for (int c = 0; c < n_classes; c++) {
        LP_SIMD
        for (int i = 0; i < n; i++) {
            float e = kn_expf_neg(b->p[c][i] - b->zmax[i]);
            b->p[c][i] = e;
            b->rest[i] += b->y[i] == c ? 0.0f : e;
        }
    }
    float scale[LP_BLOCK];
    for (int i = 0; i < n; i++)
        scale[i] = 1.0f / (1.0f + b->rest[i]);
    for (int c = 0; c < n_classes; c++) {
        LP_SIMD
        for (int i = 0; i < n; i++)
            b->p[c][i] *= scale[i];
    }
}

static inline void lp_softmax_block(int n_classes, int n, lp_pred *b)
{
    if (n_classes == 2)
        lp_softmax_2(n, b);
    else
        lp_softmax_n(n_classes, n, b);
}

/* ---- pass 1 -------------------------------------------------------------------------------- */
static inline void lp_confidence(kn_confidence kind, int n_classes, int n, const lp_pred *b,
                                 float *conf)
{
    float inv_c = 1.0f / (float)n_classes;
    for (int i = 0; i < n; i++)
        conf[i] = 0;
    for (int c = 0; c < n_classes; c++) {
        if (kind == KN_CONF_MAX) {
            LP_SIMD
            for (int i = 0; i < n; i++)
                conf[i] = b->y[i] == c ? b->p[c][i] : conf[i];
        } else {
            LP_SIMD
            for (int i = 0; i < n; i++)
                conf[i] += qp_conf_term_f32(kind, b->p[c][i], inv_c);
        }
    }
    if (kind == KN_CONF_MAX)
        return;
    LP_SIMD
    for (int i = 0; i < n; i++)
        conf[i] = qp_conf_finish_f32(kind, conf[i], inv_c);
}

static void lp_reference(const kn_ref_args *args, int64_t first, int n_px, kn_ref_sums *sums)
{
    int n_classes = args->z->c;
    lp_pred b;
    int32_t keep[LP_BLOCK], key[LP_BLOCK];
    float term[LP_BLOCK];
    lp_sum conf_sum[QS_CLASSES_MAX] = {0};
    for (int at = 0; at < n_px; at += LP_BLOCK) {
        int n = MIN(LP_BLOCK, n_px - at);
        float *conf = (float *)args->conf + first + at;
        lp_load(args->z, first + at, n, &b);
        lp_softmax_block(n_classes, n, &b);
        lp_confidence(args->confidence, n_classes, n, &b, conf);
        lp_store_u8(b.y, first + at, n, args->y);
        lp_load_keep(args->exclude, first + at, n, keep);
        for (int i = 0; i < n; i++)
            key[i] = keep[i] ? b.y[i] : -1;
        for (int c = 0; c < n_classes; c++) {
            LP_SIMD
            for (int i = 0; i < n; i++)
                term[i] = key[i] == c ? conf[i] : 0.0f;
            lp_add(&conf_sum[c], term, n);
            sums->count[c] += lp_count(key, c, n);
        }
    }
    for (int c = 0; c < n_classes; c++)
        sums->conf[c] += lp_total(&conf_sum[c]);
}

/* ---- pass 2 -------------------------------------------------------------------------------- */
typedef struct {
    int32_t target[LP_BLOCK], ref_y[LP_BLOCK], region[LP_BLOCK];
    float z_target[LP_BLOCK], w[LP_BLOCK], ce[LP_BLOCK], term[LP_BLOCK];
} lp_quad;

typedef struct {
    lp_sum ce[KN_N_REGIONS];
    lp_sum inter[QS_CLASSES_MAX], target[QS_CLASSES_MAX], pred[QS_CLASSES_MAX];
} lp_quad_sum;

static inline void lp_pick_target(int n_classes, int n, const lp_pred *b, lp_quad *q)
{
    for (int i = 0; i < n; i++)
        q->z_target[i] = 0;
    for (int c = 0; c < n_classes; c++) {
        LP_SIMD
        for (int i = 0; i < n; i++)
            q->z_target[i] = q->target[i] == c ? b->p[c][i] : q->z_target[i];
    }
}

/* Regions of a block, excluded ones as KN_REGION_EXCLUDED, and their weights, 0 where excluded. */
static inline void lp_regions(const kn_quad_args *args, int64_t first, int n, const lp_pred *b,
                              lp_quad *q)
{
    const kn_quad_config *config = args->config;
    int n_classes = args->z->c;
    int32_t keep[LP_BLOCK];
    float gamma[LP_BLOCK], weights[KN_N_REGIONS];
    const float *conf = args->ref_conf ? (const float *)args->ref_conf + first : gamma;
    const int32_t *compared = config->labelled ? q->target : b->y;
    int has_ref = args->ref_y != NULL;
    lp_load_keep(args->exclude, first, n, keep);
    for (int i = 0; i < n; i++)
        gamma[i] = 0;
    for (int c = 0; c < n_classes; c++) {
        float gamma_c = (float)config->gamma[c];
        LP_SIMD
        for (int i = 0; i < n; i++)
            gamma[i] = q->ref_y[i] == c ? gamma_c : gamma[i];
    }
    for (int r = 0; r < KN_N_REGIONS; r++)
        weights[r] = (float)config->weights[r];
    LP_SIMD
    for (int i = 0; i < n; i++) {
        int found = qp_region(q->ref_y[i] == compared[i], conf[i] > gamma[i]);
        int region = has_ref ? found : KN_REGION_UC;
        int in = keep[i] & (q->target[i] < n_classes);
        float w = region == KN_REGION_UC   ? weights[KN_REGION_UC]
                  : region == KN_REGION_US ? weights[KN_REGION_US]
                  : region == KN_REGION_DC ? weights[KN_REGION_DC]
                                           : weights[KN_REGION_DS];
        q->region[i] = in ? region : KN_REGION_EXCLUDED;
        q->w[i] = in ? w : 0.0f;
    }
}

static inline void lp_dice_sums(kn_dice form, int n_classes, int n, const lp_pred *b, lp_quad *q,
                                lp_quad_sum *s)
{
    for (int c = 0; c < n_classes; c++) {
        const float *p = b->p[c];
        float *term = q->term;
        LP_SIMD
        for (int i = 0; i < n; i++)
            term[i] = q->target[i] == c ? q->w[i] * p[i] : 0.0f;
        lp_add(&s->inter[c], term, n);
        LP_SIMD
        for (int i = 0; i < n; i++)
            term[i] = q->target[i] == c ? q->w[i] : 0.0f;
        lp_add(&s->target[c], term, n);
        LP_SIMD
        for (int i = 0; i < n; i++) {
            float wp = form == KN_DICE_SQUARE ? q->w[i] * p[i] * p[i] : q->w[i] * p[i];
            term[i] = q->region[i] == KN_REGION_EXCLUDED ? 0.0f : wp;
        }
        lp_add(&s->pred[c], term, n);
    }
}

static void lp_count_truth(const kn_quad_args *args, int64_t first, int n, const lp_quad *q,
                           kn_quad_sums *sums)
{
    for (int i = 0; i < n; i++) {
        int truth = args->truth[first + i], region = q->region[i];
        if (region == KN_REGION_EXCLUDED || truth >= args->z->c)
            continue;
        sums->truth[region]++;
        sums->right[region] += truth == q->ref_y[i];
    }
}

static void lp_partition_block(const kn_quad_args *args, int64_t first, int n, lp_quad_sum *s,
                               kn_quad_sums *sums)
{
    int n_classes = args->z->c;
    lp_pred b;
    lp_quad q;
    if (args->ref_y)
        lp_load_u8(args->ref_y, first, n, q.ref_y);
    else
        memset(q.ref_y, 0, sizeof q.ref_y);
    if (args->label)
        lp_load_u8(args->label, first, n, q.target);
    else
        memcpy(q.target, q.ref_y, sizeof q.target);
    lp_load(args->z, first, n, &b);
    lp_pick_target(n_classes, n, &b, &q);
    lp_softmax_block(n_classes, n, &b);
    lp_regions(args, first, n, &b, &q);
    lp_store_u8(q.region, first, n, args->region);
    LP_SIMD
    for (int i = 0; i < n; i++)
        q.ce[i] = qp_cross_entropy_f32(b.zmax[i], q.z_target[i], b.rest[i]);
    for (int r = 0; r < KN_N_REGIONS; r++) {
        int count = lp_count(q.region, r, n);
        if (count == 0)
            continue;
        LP_SIMD
        for (int i = 0; i < n; i++)
            q.term[i] = q.region[i] == r ? q.ce[i] : 0.0f;
        lp_add(&s->ce[r], q.term, n);
        sums->px[r] += count;
    }
    if (args->config->dice != KN_DICE_NONE)
        lp_dice_sums(args->config->dice, n_classes, n, &b, &q, s);
    if (args->truth)
        lp_count_truth(args, first, n, &q, sums);
}

static void lp_partition(const kn_quad_args *args, int64_t first, int n_px, kn_quad_sums *sums)
{
    lp_quad_sum s;
    memset(&s, 0, sizeof s);
    for (int at = 0; at < n_px; at += LP_BLOCK)
        lp_partition_block(args, first + at, MIN(LP_BLOCK, n_px - at), &s, sums);
    for (int r = 0; r < KN_N_REGIONS; r++)
        sums->ce[r] += lp_total(&s.ce[r]);
    for (int c = 0; c < args->z->c; c++) {
        sums->inter[c] += lp_total(&s.inter[c]);
        sums->target[c] += lp_total(&s.target[c]);
        sums->pred[c] += lp_total(&s.pred[c]);
    }
}

/* ---- pass 3 -------------------------------------------------------------------------------- */
static inline void lp_store_grad(const kn_tensor *dz, int64_t first, int n, bool accumulate,
                                 float (*grad)[LP_BLOCK])
{
    float *dst = kn_f32(dz) + first * dz->ldc;
    int ldc = dz->ldc;
    if (ldc == 2 && dz->c == 2 && !accumulate) {
        for (int i = 0; i < n; i++) {
            dst[2 * i] = grad[0][i];
            dst[2 * i + 1] = grad[1][i];
        }
        return;
    }
    for (int c = 0; c < dz->c; c++)
        for (int i = 0; i < n; i++) {
            float *at = &dst[(int64_t)i * ldc + c];
            *at = accumulate ? *at + grad[c][i] : grad[c][i];
        }
}

static inline void lp_gradient_block(const kn_grad_args *args, int64_t first, int n,
                                     const float *w_ce, const float *w_dice)
{
    int n_classes = args->z->c;
    kn_dice form = args->dice;
    lp_pred b;
    int32_t target[LP_BLOCK], region[LP_BLOCK];
    float wc[LP_BLOCK], wd[LP_BLOCK], dot[LP_BLOCK];
    lp_load(args->z, first, n, &b);
    lp_softmax_block(n_classes, n, &b);
    lp_load_u8(args->target, first, n, target);
    lp_load_u8(args->region, first, n, region);
    LP_SIMD
    for (int i = 0; i < n; i++) {
        int r = region[i];
        wc[i] = r == 0 ? w_ce[0] : r == 1 ? w_ce[1] : r == 2 ? w_ce[2] : r == 3 ? w_ce[3] : 0.0f;
        wd[i] = r == 0   ? w_dice[0]
                : r == 1 ? w_dice[1]
                : r == 2 ? w_dice[2]
                : r == 3 ? w_dice[3]
                         : 0.0f;
        dot[i] = 0;
    }
    for (int c = 0; c < n_classes && form != KN_DICE_NONE; c++) {
        float a = (float)args->dice_a[c], bb = (float)args->dice_b[c];
        LP_SIMD
        for (int i = 0; i < n; i++)
            dot[i] += qp_dice_grad_p_f32(form, wd[i], a, bb, b.p[c][i], target[i] == c) * b.p[c][i];
    }
    for (int c = 0; c < n_classes; c++) {
        float a = (float)args->dice_a[c], bb = (float)args->dice_b[c];
        LP_SIMD
        for (int i = 0; i < n; i++) {
            float p = b.p[c][i];
            float g = qp_dice_grad_p_f32(form, wd[i], a, bb, p, target[i] == c);
            float dz = qp_ce_grad_f32(wc[i], p, target[i] == c) + qp_softmax_grad_f32(p, g, dot[i]);
            b.p[c][i] = region[i] == KN_REGION_EXCLUDED ? 0.0f : dz;
        }
    }
    lp_store_grad(args->dz, first, n, args->accumulate, b.p);
}

static void lp_gradient(const kn_grad_args *args, int64_t first, int n_px, double ce_scale)
{
    float w_ce[KN_N_REGIONS], w_dice[KN_N_REGIONS];
    for (int r = 0; r < KN_N_REGIONS; r++) {
        w_ce[r] = (float)(args->weights[r] * ce_scale);
        w_dice[r] = (float)(args->weights[r] * args->dice_scale);
    }
    for (int at = 0; at < n_px; at += LP_BLOCK)
        lp_gradient_block(args, first + at, MIN(LP_BLOCK, n_px - at), w_ce, w_dice);
}

/* ---- Mean Teacher's consistency, softmax, argmax ------------------------------------------- */
static inline void lp_mse_block(const kn_mse_args *args, int64_t first, int n, lp_sum *sum)
{
    int n_classes = args->z->c;
    float grad_scale = (float)args->grad_scale;
    lp_pred b, r;
    int32_t keep[LP_BLOCK];
    float dot[LP_BLOCK], square[LP_BLOCK];
    lp_load(args->z, first, n, &b);
    lp_load(args->z_ref, first, n, &r);
    lp_softmax_block(n_classes, n, &b);
    lp_softmax_block(n_classes, n, &r);
    lp_load_keep(args->exclude, first, n, keep);
    for (int i = 0; i < n; i++)
        dot[i] = square[i] = 0;
    for (int c = 0; c < n_classes; c++) {
        LP_SIMD
        for (int i = 0; i < n; i++) {
            float d = b.p[c][i] - r.p[c][i];
            dot[i] += d * b.p[c][i];
            square[i] += keep[i] ? d * d : 0.0f;
        }
    }
    lp_add(sum, square, n);
    if (!args->dz)
        return;
    for (int c = 0; c < n_classes; c++) {
        LP_SIMD
        for (int i = 0; i < n; i++) {
            float d = b.p[c][i] - r.p[c][i];
            float g = grad_scale * qp_softmax_grad_f32(b.p[c][i], d, dot[i]);
            b.p[c][i] = keep[i] ? g : 0.0f;
        }
    }
    lp_store_grad(args->dz, first, n, args->accumulate, b.p);
}

static void lp_mse(const kn_mse_args *args, int64_t first, int n_px, double *sum)
{
    lp_sum s = {{0}};
    for (int at = 0; at < n_px; at += LP_BLOCK)
        lp_mse_block(args, first + at, MIN(LP_BLOCK, n_px - at), &s);
    *sum += lp_total(&s);
}

static void lp_softmax(const kn_tensor *z, int64_t first, int n_px, float *prob)
{
    kn_tensor dense = *z;
    dense.ldc = z->c;
    dense.data = prob;
    lp_pred b;
    for (int at = 0; at < n_px; at += LP_BLOCK) {
        int n = MIN(LP_BLOCK, n_px - at);
        lp_load(z, first + at, n, &b);
        lp_softmax_block(z->c, n, &b);
        lp_store_grad(&dense, at, n, false, b.p);
    }
}

static void lp_argmax(const kn_tensor *z, int64_t first, int n_px, uint8_t *y)
{
    lp_pred b;
    for (int at = 0; at < n_px; at += LP_BLOCK) {
        int n = MIN(LP_BLOCK, n_px - at);
        lp_load(z, first + at, n, &b);
        lp_argmax_block(z->c, n, &b);
        lp_store_u8(b.y, at, n, y);
    }
}

const kn_loss_ops LP_TABLE = {LP_NAME,     lp_reference, lp_partition, lp_gradient,
                              lp_mse, lp_softmax,   lp_argmax};
