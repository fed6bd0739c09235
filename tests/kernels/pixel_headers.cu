/* Proof that the shared per-pixel headers are CUDA: Philox and the loss's arithmetic, in both
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

#define QP_REAL double
#define QP(name) qp_##name##_f64
#define QP_EXP(x) exp(x)
#define QP_LOG1P(x) log1p(x)
#define QP_SQRT(x) sqrt(x)
#include "kernels/quad_pixel.h"

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

__global__ void philox_unit(uint64_t key, uint64_t stream, int n, float *out)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n)
        out[i] = qs_u32_to_unit_f32(qs_philox(key, (uint64_t)i, stream).v[0]);
}
