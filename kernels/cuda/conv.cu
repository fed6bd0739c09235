/* Convolutions one thread an output: any number of channels, any mixture of f32 and bf16 tensors,
 * sums in f32 (weight gradients: f32 over 64 pixels, then f64). The f32 mode's own convolution and
 * what cuDNN's plans are checked against; conv_mma.cu and conv_wgrad.cu are the fast ones.
 *
 * Forward and data gradient are one kernel: the gradient of "same" padding with stride 1 is the
 * convolution with mirrored taps and swapped channels. */
#include "kernels/cuda/lang.cuh"

enum { RUN = 64 /* pixels summed in f32 */, PARTIALS_BYTES = 64 << 20, SPLITS_MAX = 512 };

__global__ void conv_pack(kn_cu_conv c, const float *weight, const float *bias, float *fwd,
                          float *bwd, float *bias_out)
{
    int taps = c.k * c.k;
    int64_t n = (int64_t)c.oc * c.ic * taps;
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        int tap = (int)(i % taps), ic = (int)(i / taps % c.ic), oc = (int)(i / taps / c.ic);
        fwd[((int64_t)tap * c.ic + ic) * c.oc + oc] = weight[i];
        if (bwd)
            bwd[((int64_t)(taps - 1 - tap) * c.oc + oc) * c.ic + ic] = weight[i];
    }
    for (int64_t i = KN_THREAD; i < c.oc; i += KN_THREADS)
        bias_out[i] = bias ? bias[i] : 0.0f;
}

/* packed (taps, ic, oc); c.ic, c.oc of this direction. */
__global__ void conv_plain(kn_cu_conv c, kn_tensor src, const float *packed, const float *bias,
                           kn_tensor dst)
{
    int64_t items = (int64_t)c.n * c.h * c.w * c.oc;
    int r = (c.k - 1) / 2;
    for (int64_t item = KN_THREAD; item < items; item += KN_THREADS) {
        int o = (int)(item % c.oc);
        int64_t pixel = item / c.oc;
        int x = (int)(pixel % c.w), y = (int)(pixel / c.w % c.h);
        float sum = bias ? bias[o] : 0.0f;
        for (int tap = 0; tap < c.k * c.k; tap++) {
            int dy = tap / c.k - r, dx = tap % c.k - r;
            if (y + dy < 0 || y + dy >= c.h || x + dx < 0 || x + dx >= c.w)
                continue;
            int64_t at = (pixel + (int64_t)dy * c.w + dx) * src.ldc;
            const float *w = packed + (int64_t)tap * c.ic * c.oc + o;
            for (int i = 0; i < c.ic; i++)
                sum += w[(int64_t)i * c.oc] * kn_load_any(src, at + i);
        }
        if (c.leaky && !(sum > 0))
            sum *= 0.01f;
        kn_store_any(dst, pixel * dst.ldc + o, sum);
    }
}

/* partials (grid.y, taps·oc·ic + oc): item = (tap, o, c), then the bias's gradient. */
__global__ void conv_bwd_weights(kn_cu_conv c, kn_tensor src, kn_tensor ddst, double *partials)
{
    int taps = c.k * c.k, r = (c.k - 1) / 2;
    int64_t n_w = (int64_t)taps * c.oc * c.ic, items = n_w + c.oc;
    int64_t pixels = (int64_t)c.n * c.h * c.w, each = kn_div_up(pixels, gridDim.y);
    int64_t first = blockIdx.y * each, last = first + each < pixels ? first + each : pixels;
    for (int64_t item = KN_THREAD; item < items; item += KN_THREADS) {
        bool bias = item >= n_w;
        int ic = (int)(item % c.ic), oc = (int)(bias ? item - n_w : item / c.ic % c.oc);
        int tap = bias ? 0 : (int)(item / c.ic / c.oc);
        int dy = tap / c.k - r, dx = tap % c.k - r;
        double sum = 0;
        for (int64_t p = first; p < last;) {
            float part = 0;
            for (int k = 0; k < RUN && p < last; k++, p++) {
                int x = (int)(p % c.w) + dx, y = (int)(p / c.w % c.h) + dy;
                float g = kn_load_any(ddst, p * ddst.ldc + oc);
                if (bias)
                    part += g;
                else if (y >= 0 && y < c.h && x >= 0 && x < c.w)
                    part += g * kn_load_any(src, (p + (int64_t)dy * c.w + dx) * src.ldc + ic);
            }
            sum += (double)part;
        }
        partials[blockIdx.y * items + item] = sum;
    }
}

/* dweight (oc,ic,taps) and dbias (oc) += the partials, in the order of the splits. */
__global__ void conv_add_partials(kn_cu_conv c, int splits, const double *partials, float *dweight,
                                  float *dbias)
{
    int taps = c.k * c.k;
    int64_t n_w = (int64_t)taps * c.oc * c.ic, items = n_w + c.oc;
    for (int64_t item = KN_THREAD; item < items; item += KN_THREADS) {
        double sum = 0;
        for (int s = 0; s < splits; s++)
            sum += partials[s * items + item];
        int ic = (int)(item % c.ic), oc = (int)(item / c.ic % c.oc);
        int tap = (int)(item / c.ic / c.oc);
        if (item < n_w)
            dweight[((int64_t)oc * c.ic + ic) * taps + tap] += (float)sum;
        else if (dbias)
            dbias[item - n_w] += (float)sum;
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static int splits_of(const kn_cu_conv &c)
{
    int64_t items = (int64_t)c.k * c.k * c.oc * c.ic + c.oc;
    int64_t most = PARTIALS_BYTES / ((int64_t)sizeof(double) * items);
    most = most < 1 ? 1 : most > SPLITS_MAX ? (int64_t)SPLITS_MAX : most;
    return kn_grid((int64_t)c.n * c.h * c.w, 4 * RUN, most);
}

void kn_cu_conv_pack(kn_device *device, kn_cu_conv c, const float *weight, const float *bias,
                     float *fwd, float *bwd, float *bias_out)
{
    int64_t n = (int64_t)c.oc * c.ic * c.k * c.k;
    KN_LAUNCH(device, conv_pack, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, c, weight, bias,
              fwd, bwd, bias_out);
}

void kn_cu_conv_fwd(kn_device *device, kn_cu_conv c, kn_tensor src, const float *packed,
                    const float *bias, kn_tensor dst)
{
    int64_t n = (int64_t)c.n * c.h * c.w * c.oc;
    KN_LAUNCH(device, conv_plain, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, c, src, packed,
              bias, dst);
}

void kn_cu_conv_bwd_data(kn_device *device, kn_cu_conv c, kn_tensor ddst, const float *packed,
                         kn_tensor dsrc)
{
    kn_cu_conv back = c;
    back.ic = c.oc;
    back.oc = c.ic;
    back.leaky = 0;
    kn_cu_conv_fwd(device, back, ddst, packed, NULL, dsrc);
}

size_t kn_cu_conv_bwd_weights_bytes(kn_cu_conv c)
{
    size_t items = (size_t)c.k * (size_t)c.k * (size_t)c.oc * (size_t)c.ic + (size_t)c.oc;
    return (size_t)splits_of(c) * items * sizeof(double);
}

void kn_cu_conv_bwd_weights(kn_device *device, kn_cu_conv c, kn_tensor src, kn_tensor ddst,
                            float *dweight, float *dbias, void *scratch)
{
    int splits = splits_of(c);
    int64_t items = (int64_t)c.k * c.k * c.oc * c.ic + c.oc;
    int grid = kn_grid(items, KN_CU_BLOCK, 1 << 20);
    KN_LAUNCH(device, conv_bwd_weights, KN_GRID(grid, splits), KN_CU_BLOCK, c, src, ddst,
              (double *)scratch);
    KN_LAUNCH(device, conv_add_partials, grid, KN_CU_BLOCK, c, splits, (const double *)scratch,
              dweight, dbias);
}
