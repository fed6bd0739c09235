/* BatchNorm, LeakyReLU and dropout, one after the other, each from its definition:
 *   xhat = (x - mean) / sqrt(var + eps),  z = gamma·xhat + beta,  a = z > 0 ? z : slope·z,  y =
 * mask·a and backward, with M pixels: dz = dy·mask·(z > 0 ? 1 : slope),  dbeta += sum dz,  dgamma
 * += sum dz·xhat, dx = gamma·inv_std·(dz - sum(dz)/M - xhat·sum(dz·xhat)/M). */
#include "kernels/ref/ref_priv.h"

#include "base/philox.h"

#include <math.h>

void kn_ref_norm_stats(kn_engine *engine, const kn_tensor *x, const kn_norm *norm)
{
    (void)engine;
    int64_t m = kn_pixels(x);
    const double *bias = norm->conv_bias;
    for (int c = 0; c < norm->channels; c++) {
        double mean = 0, var = 0;
        for (int64_t i = 0; i < m; i++)
            mean += kn_f64(x)[i * x->ldc + c];
        mean /= (double)m;
        for (int64_t i = 0; i < m; i++)
            var += pow(kn_f64(x)[i * x->ldc + c] - mean, 2);
        double unbiased = m > 1 ? var / (double)(m - 1) : 0;
        ((double *)norm->mean)[c] = mean;
        ((double *)norm->inv_std)[c] = 1 / sqrt(var / (double)m + KN_BN_EPS);
        double *rm = (double *)norm->running_mean + c, *rv = (double *)norm->running_var + c;
        *rm = (1 - KN_BN_MOMENTUM) * *rm + KN_BN_MOMENTUM * (mean + (bias ? bias[c] : 0));
        *rv = (1 - KN_BN_MOMENTUM) * *rv + KN_BN_MOMENTUM * unbiased;
    }
}

double kn_ref_dropout_factor(uint64_t stream, uint64_t layer, double p, int64_t e)
{
    int within = (int)(e % 128), word = within / 32, high = within % 32 / 16, lane = within % 16;
    qs_philox4 r = qs_philox(stream, (uint64_t)(e / 128 * 16 + lane), layer);
    uint32_t bits = high ? r.v[word] >> 16 : r.v[word] & 0xffff;
    return bits >= kn_dropout_threshold(p) ? kn_dropout_scale(p) : 0;
}

/* What element (pixel, c) is multiplied with: ops.h says how the mask is laid out. */
static double mask(const kn_norm *norm, int64_t pixel, int c)
{
    if (norm->dropout <= 0)
        return 1;
    return kn_ref_dropout_factor(norm->stream, norm->layer, norm->dropout,
                                 pixel * norm->channels + c);
}

static double xhat(const kn_tensor *x, const kn_norm *norm, int64_t pixel, int c)
{
    return (kn_f64(x)[pixel * x->ldc + c] - ((const double *)norm->mean)[c]) *
           ((const double *)norm->inv_std)[c];
}

static double activated(const kn_norm *norm, double xh, int c)
{
    return ((const double *)norm->gamma)[c] * xh + ((const double *)norm->beta)[c];
}

void kn_ref_norm_apply(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                       const kn_tensor *y)
{
    (void)engine;
    for (int64_t i = 0; i < kn_pixels(x); i++)
        for (int c = 0; c < norm->channels; c++) {
            double z = activated(norm, xhat(x, norm, i, c), c);
            kn_f64(y)[i * y->ldc + c] = (z > 0 ? z : norm->slope * z) * mask(norm, i, c);
        }
}

static double dz_at(const kn_tensor *dy, const kn_norm *norm, int64_t pixel, int c, double xh)
{
    double slope = activated(norm, xh, c) > 0 ? 1 : norm->slope;
    return kn_f64(dy)[pixel * dy->ldc + c] * mask(norm, pixel, c) * slope;
}

void kn_ref_norm_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                     const kn_norm *norm, const kn_tensor *dx)
{
    (void)engine;
    int64_t m = kn_pixels(x);
    for (int c = 0; c < norm->channels; c++) {
        double sum = 0, sum_xhat = 0;
        for (int64_t i = 0; i < m; i++) {
            double xh = xhat(x, norm, i, c), dz = dz_at(dy, norm, i, c, xh);
            sum += dz;
            sum_xhat += dz * xh;
        }
        if (norm->dgamma) {
            ((double *)norm->dgamma)[c] += sum_xhat;
            ((double *)norm->dbeta)[c] += sum;
        }
        double scale = ((const double *)norm->gamma)[c] * ((const double *)norm->inv_std)[c];
        for (int64_t i = 0; i < m; i++) {
            double xh = xhat(x, norm, i, c), dz = dz_at(dy, norm, i, c, xh);
            kn_f64(dx)[i * dx->ldc + c] = scale * (dz - (sum + xh * sum_xhat) / (double)m);
        }
    }
}
