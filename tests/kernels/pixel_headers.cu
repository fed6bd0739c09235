/* Proof that the shared per-pixel headers are CUDA: Philox and the losses' arithmetic, in both
 * precisions, compiled as device code for every configured architecture, warnings as errors. One
 * thread a pixel, everything instantiated; nothing here is run. */
#include "base/philox.h"

#include <math.h>

#define QP_REAL float
#define QP(name) qp_##name##_f32
#define QP_EXP(x) expf(x)
#define QP_LOG1P(x) log1pf(x)
#define QP_SQRT(x) sqrtf(x)
#include "kernels/quad_pixel.h"

#define QP_REAL float
#define QP(name) qp_##name##_f32
#define QP_EXP(x) expf(x)
#define QP_LOG1P(x) log1pf(x)
#define QP_LOG(x) logf(x)
#define QP_SQRT(x) sqrtf(x)
#include "kernels/compare_pixel.h"

#define QP_REAL double
#define QP(name) qp_##name##_f64
#define QP_EXP(x) exp(x)
#define QP_LOG1P(x) log1p(x)
#define QP_SQRT(x) sqrt(x)
#include "kernels/quad_pixel.h"

#define QP_REAL double
#define QP(name) qp_##name##_f64
#define QP_EXP(x) exp(x)
#define QP_LOG1P(x) log1p(x)
#define QP_LOG(x) log(x)
#define QP_SQRT(x) sqrt(x)
#include "kernels/compare_pixel.h"

enum { N_CLASSES = 3 };

/* z, z_ref, dz (n,N_CLASSES); ce, conf (n); region (n); w, a, b as in quad_pixel.h. */
#define PIXEL_KERNEL(real, suffix)                                                                 \
    __global__ void pixel_##suffix(const real *z, const real *z_ref, const unsigned char *target,  \
                                   real gamma, real w, real a, real b, kn_confidence kind,         \
                                   kn_dice form, int n, unsigned char *region, real *ce,           \
                                   real *conf, real *dz)                                           \
    {                                                                                              \
        int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);                                      \
        if (i >= n)                                                                                \
            return;                                                                                \
        real p[N_CLASSES], g[N_CLASSES], dot = 0;                                                  \
        int y_ref = qp_argmax_##suffix(z_ref + i * N_CLASSES, N_CLASSES);                          \
        qp_softmax_##suffix(z_ref + i * N_CLASSES, N_CLASSES, y_ref, p);                           \
        conf[i] = qp_confidence_##suffix(kind, p, N_CLASSES, y_ref);                               \
        const real *zi = z + i * N_CLASSES;                                                        \
        int y = qp_argmax_##suffix(zi, N_CLASSES), t = target[i];                                  \
        real rest = qp_softmax_##suffix(zi, N_CLASSES, y, p);                                      \
        region[i] = (unsigned char)qp_region(y_ref == t, conf[i] > gamma);                         \
        ce[i] = qp_cross_entropy_##suffix(zi[y], zi[t], rest);                                     \
        for (int c = 0; c < N_CLASSES; c++) {                                                      \
            g[c] = qp_dice_grad_p_##suffix(form, w, a, b, p[c], c == t);                           \
            dot += g[c] * p[c];                                                                    \
        }                                                                                          \
        for (int c = 0; c < N_CLASSES; c++)                                                        \
            dz[i * N_CLASSES + c] = qp_ce_grad_##suffix(w, p[c], c == t) +                         \
                                    qp_softmax_grad_##suffix(p[c], g[c], dot);                     \
    }

PIXEL_KERNEL(float, f32)
PIXEL_KERNEL(double, f64)

/* z1, z2, g1, g2 (n,N_CLASSES); out (n): every function of compare_pixel.h. */
#define COMPARE_KERNEL(real, suffix)                                                               \
    __global__ void compare_##suffix(const real *z1, const real *z2, const unsigned char *target,  \
                                     real threshold, int n, real *out, real *g1, real *g2)         \
    {                                                                                              \
        int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);                                      \
        if (i >= n)                                                                                \
            return;                                                                                \
        real p1[N_CLASSES], p2[N_CLASSES], l1[N_CLASSES], l2[N_CLASSES], mean[N_CLASSES];          \
        const real *a = z1 + i * N_CLASSES, *b = z2 + i * N_CLASSES;                               \
        real *ga = g1 + i * N_CLASSES, *gb = g2 + i * N_CLASSES, q, v, slope;                      \
        int y1 = qp_argmax_##suffix(a, N_CLASSES), y2 = qp_argmax_##suffix(b, N_CLASSES);          \
        qp_log_softmax_##suffix(a, N_CLASSES, y1, qp_softmax_##suffix(a, N_CLASSES, y1, p1), l1);  \
        qp_log_softmax_##suffix(b, N_CLASSES, y2, qp_softmax_##suffix(b, N_CLASSES, y2, p2), l2);  \
        out[i] = qp_sym_kl_##suffix(p1, l1, p2, l2, N_CLASSES, ga, gb);                            \
        out[i] += qp_decoupled_##suffix(a, p1, y1, b, p2, y2, N_CLASSES, threshold, ga, gb);       \
        out[i] += qp_direct_##suffix(a, p1, p2, N_CLASSES, threshold, ga);                         \
        for (int c = 0; c < N_CLASSES; c++)                                                        \
            mean[c] = (p1[c] + p2[c]) / 2;                                                         \
        qp_urpc_head_##suffix(mean, l2, p1, l1, N_CLASSES, &q, &v);                                    \
        qp_urpc_grad_mean_##suffix(q, v, mean, l2, p1, l1, N_CLASSES, gb);                             \
        qp_urpc_grad_head_##suffix(q, v, mean, p1, N_CLASSES, gb, ga);                             \
        out[i] += qp_entropy_##suffix(mean, N_CLASSES);                                            \
        qp_sdcl_terms_##suffix(p1, l1, N_CLASSES, target[i], &q, &v);                              \
        qp_sdcl_grad_##suffix(p1, N_CLASSES, target[i], q, v, gb);                                 \
        out[i] += qp_rank_pair_##suffix(p1[0], p1[1], p2[0], p2[1], &slope) + slope;               \
    }

COMPARE_KERNEL(float, f32)
COMPARE_KERNEL(double, f64)

__global__ void philox_unit(uint64_t key, uint64_t stream, int n, float *out)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n)
        out[i] = qs_u32_to_unit_f32(qs_philox(key, (uint64_t)i, stream).v[0]);
}
