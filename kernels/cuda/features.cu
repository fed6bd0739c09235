/* Feature perturbations (CCT, URPC), repetition, depth to space, and predictions put together, as
 * ops.h defines them: one thread an element or a pixel, backward as a gather. The maximum that
 * KN_PERTURB_DROP needs is taken by one block an image. */
#include "kernels/cuda/lang.cuh"

#include <float.h>

enum { COPY, NOISE, DROPOUT, DROP }; /* kn_perturb_kind */
enum { BLOCK = 256 };

__device__ static inline float uniform(const kn_cu_perturb &how, uint32_t word)
{
    return how.lo + (how.hi - how.lo) * qs_u32_to_unit_f32(word);
}

__device__ static inline uint64_t stream_of(const kn_cu_perturb &how)
{
    return how.stream_at ? *how.stream_at : how.stream;
}

__device__ static inline float attention(const kn_tensor &x, int64_t pixel)
{
    float sum = 0;
    for (int c = 0; c < x.c; c++)
        sum += kn_load_any(x, pixel * x.ldc + c);
    return sum / (float)x.c;
}

/* limits[n] = r · the largest attention of image n: below it a pixel is kept. */
__global__ void drop_limits(kn_tensor x, kn_cu_perturb how, float *limits)
{
    KN_SHARED(float, part, BLOCK);
    int64_t pixels = (int64_t)x.h * x.w, first = (int64_t)blockIdx.x * pixels;
    int t = (int)threadIdx.x;
    float most = attention(x, first);
    for (int64_t i = t; i < pixels; i += BLOCK) {
        float a = attention(x, first + i);
        most = a > most ? a : most;
    }
    part[t] = most;
    for (int n = BLOCK / 2; n > 0; n /= 2) {
        __syncthreads();
        if (t < n && part[t + n] > part[t])
            part[t] = part[t + n];
    }
    if (t == 0)
        limits[blockIdx.x] = uniform(how, qs_philox(stream_of(how), 0, how.layer).v[0]) * part[0];
}

/* What element e (of the whole tensor, dense) of an image of `image` elements is multiplied with.
 */
__device__ static inline float factor(const kn_cu_perturb &how, int64_t e, int64_t image)
{
    uint64_t stream = stream_of(how);
    if (how.kind == NOISE) {
        int64_t in = e % image;
        int within = (int)(in % 64);
        qs_philox4 r = qs_philox(stream, (uint64_t)(in / 64 * 16 + within % 16), how.layer);
        return 1 + uniform(how, r.v[within / 16]);
    }
    if (how.kind == DROPOUT) {
        int within = (int)(e % 128), word = within / 32;
        qs_philox4 r = qs_philox(stream, (uint64_t)(e / 128 * 16 + within % 16), how.layer);
        uint32_t bits = within % 32 / 16 ? r.v[word] >> 16 : r.v[word] & 0xffffu;
        return bits >= how.threshold ? how.scale : 0.0f;
    }
    return 1;
}

/* y = x·factor; accumulate: y += . `of` is what DROP's attention is taken of. */
__global__ void perturb(kn_tensor x, kn_tensor of, kn_cu_perturb how, const float *limits,
                        kn_tensor y, bool accumulate)
{
    int64_t plane = (int64_t)x.h * x.w, n = (int64_t)x.n * plane * x.c;
    for (int64_t e = KN_THREAD; e < n; e += KN_THREADS) {
        int64_t pixel = e / x.c;
        int c = (int)(e % x.c);
        float f = how.kind == DROP ? (attention(of, pixel) < limits[pixel / plane] ? 1.0f : 0.0f)
                                   : factor(how, e, plane * x.c);
        float v = kn_load_any(x, pixel * x.ldc + c) * f;
        int64_t to = pixel * y.ldc + c;
        kn_store_any(y, to, accumulate ? kn_load_any(y, to) + v : v);
    }
}

/* Pixel (n,i,j) of a tensor. */
__device__ static inline int64_t pixel_at(const kn_tensor &t, int64_t n, int i, int j)
{
    return (n * t.h + i) * t.w + j;
}

__global__ void repeat_fwd(kn_tensor x, kn_tensor y)
{
    int64_t n = (int64_t)y.n * y.h * y.w * y.c;
    int f = y.h / x.h;
    for (int64_t e = KN_THREAD; e < n; e += KN_THREADS) {
        int64_t pixel = e / y.c;
        int c = (int)(e % y.c), j = (int)(pixel % y.w), i = (int)(pixel / y.w % y.h);
        int64_t from = pixel_at(x, pixel / y.w / y.h, i / f, j / f);
        kn_store_any(y, pixel * y.ldc + c, kn_load_any(x, from * x.ldc + c));
    }
}

__global__ void repeat_bwd(kn_tensor dy, kn_tensor dx)
{
    int64_t n = (int64_t)dx.n * dx.h * dx.w * dx.c;
    int f = dy.h / dx.h;
    for (int64_t e = KN_THREAD; e < n; e += KN_THREADS) {
        int64_t pixel = e / dx.c;
        int c = (int)(e % dx.c), j = (int)(pixel % dx.w), i = (int)(pixel / dx.w % dx.h);
        float sum = 0;
        for (int u = 0; u < f; u++)
            for (int v = 0; v < f; v++)
                sum += kn_load_any(
                    dy, pixel_at(dy, pixel / dx.w / dx.h, i * f + u, j * f + v) * dy.ldc + c);
        kn_store_any(dx, pixel * dx.ldc + c, sum);
    }
}

/* fine(2i+u, 2j+v, k) = coarse(i, j, (2u+v)·C + k), or the other way. */
__global__ void spread(kn_tensor coarse, kn_tensor fine, bool back)
{
    int64_t n = (int64_t)fine.n * fine.h * fine.w * fine.c;
    for (int64_t e = KN_THREAD; e < n; e += KN_THREADS) {
        int64_t pixel = e / fine.c;
        int c = (int)(e % fine.c), j = (int)(pixel % fine.w), i = (int)(pixel / fine.w % fine.h);
        int64_t at = pixel * fine.ldc + c;
        int64_t in = pixel_at(coarse, pixel / fine.w / fine.h, i / 2, j / 2) * coarse.ldc +
                     (2 * (i % 2) + j % 2) * fine.c + c;
        if (back)
            kn_store_any(coarse, in, kn_load_any(fine, at));
        else
            kn_store_any(fine, at, kn_load_any(coarse, in));
    }
}

__global__ void transposed_pack(int ic, int oc, const float *weight, const float *bias,
                                float *weight1, float *bias1)
{
    int64_t n = (int64_t)4 * oc * ic;
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        int c = (int)(i % ic), o = (int)(i / ic % oc), k = (int)(i / ic / oc);
        weight1[i] = weight[((int64_t)c * oc + o) * 4 + k];
        if (c == 0)
            bias1[k * oc + o] = bias[o];
    }
}

__global__ void transposed_unpack(int ic, int oc, const float *dweight1, const float *dbias1,
                                  float *dweight, float *dbias)
{
    int64_t n = (int64_t)4 * oc * ic;
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        int k = (int)(i % 4), o = (int)(i / 4 % oc), c = (int)(i / 4 / oc);
        dweight[i] += dweight1[((int64_t)k * oc + o) * ic + c];
    }
    for (int64_t o = KN_THREAD; o < oc; o += KN_THREADS)
        dbias[o] += dbias1[o] + dbias1[oc + o] + dbias1[2 * oc + o] + dbias1[3 * oc + o];
}

/* ---- predictions
 * --------------------------------------------------------------------------------- */

__global__ void mean_prob(kn_tensor z, int k, int n, kn_tensor acc)
{
    int64_t pixels = (int64_t)z.n * z.h * z.w;
    for (int64_t i = KN_THREAD; i < pixels; i += KN_THREADS) {
        const float *p = (const float *)z.data + i * z.ldc;
        float *a = (float *)acc.data + i * acc.ldc, top = p[0], sum = 0;
        for (int c = 1; c < z.c; c++)
            top = p[c] > top ? p[c] : top;
        for (int c = 0; c < z.c; c++)
            sum += expf(p[c] - top);
        for (int c = 0; c < z.c; c++) {
            float v = (k > 0 ? a[c] : 0.0f) + expf(p[c] - top) / sum / (float)n;
            a[c] = k == n - 1 ? logf(v > FLT_MIN ? v : FLT_MIN) : v;
        }
    }
}

__global__ void paste(kn_tensor outer, kn_tensor inner, int x0, int y0, int x1, int y1,
                      kn_tensor dst)
{
    int64_t n = (int64_t)dst.h * dst.w * dst.c;
    for (int64_t e = KN_THREAD; e < n; e += KN_THREADS) {
        int64_t pixel = e / dst.c;
        int c = (int)(e % dst.c), j = (int)(pixel % dst.w), i = (int)(pixel / dst.w);
        bool in = j >= x0 && j < x1 && i >= y0 && i < y1;
        float v =
            in ? kn_load_any(inner, pixel * inner.ldc + c) : kn_load_any(outer, pixel * outer.ldc + c);
        kn_store_any(dst, pixel * dst.ldc + c, v);
    }
}

__global__ void relabel(kn_tensor z, const uint8_t *y)
{
    int64_t pixels = (int64_t)z.n * z.h * z.w;
    for (int64_t i = KN_THREAD; i < pixels; i += KN_THREADS) {
        float *p = (float *)z.data + i * z.ldc;
        int top = 0;
        for (int c = 1; c < z.c; c++)
            top = p[c] > p[top] ? c : top;
        float most = p[top];
        p[top] = p[y[i]];
        p[y[i]] = most;
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static int grid_of(const kn_tensor &t)
{
    return kn_grid((int64_t)t.n * t.h * t.w * t.c, BLOCK, 1 << 20);
}

void kn_cu_perturb_fwd(kn_device *device, kn_tensor x, kn_cu_perturb how, kn_tensor y,
                       float *limits)
{
    if (how.kind == DROP)
        KN_LAUNCH(device, drop_limits, x.n, BLOCK, x, how, limits);
    KN_LAUNCH(device, perturb, grid_of(x), BLOCK, x, x, how, limits, y, false);
}

void kn_cu_perturb_bwd(kn_device *device, kn_tensor dy, kn_tensor x, kn_cu_perturb how,
                       kn_tensor dx, float *limits)
{
    if (how.kind == DROP)
        KN_LAUNCH(device, drop_limits, x.n, BLOCK, x, how, limits);
    KN_LAUNCH(device, perturb, grid_of(dy), BLOCK, dy, x, how, limits, dx, true);
}

void kn_cu_repeat_fwd(kn_device *device, kn_tensor x, kn_tensor y)
{
    KN_LAUNCH(device, repeat_fwd, grid_of(y), BLOCK, x, y);
}

void kn_cu_repeat_bwd(kn_device *device, kn_tensor dy, kn_tensor dx)
{
    KN_LAUNCH(device, repeat_bwd, grid_of(dx), BLOCK, dy, dx);
}

void kn_cu_spread(kn_device *device, kn_tensor coarse, kn_tensor fine, int back)
{
    KN_LAUNCH(device, spread, grid_of(fine), BLOCK, coarse, fine, back != 0);
}

void kn_cu_transposed_pack(kn_device *device, int ic, int oc, const float *weight,
                           const float *bias, float *weight1, float *bias1)
{
    KN_LAUNCH(device, transposed_pack, kn_grid((int64_t)4 * oc * ic, BLOCK, 1 << 20), BLOCK, ic, oc,
              weight, bias, weight1, bias1);
}

void kn_cu_transposed_unpack(kn_device *device, int ic, int oc, const float *dweight1,
                             const float *dbias1, float *dweight, float *dbias)
{
    KN_LAUNCH(device, transposed_unpack, kn_grid((int64_t)4 * oc * ic, BLOCK, 1 << 20), BLOCK, ic,
              oc, dweight1, dbias1, dweight, dbias);
}

void kn_cu_mean_prob(kn_device *device, kn_tensor z, int k, int n, kn_tensor acc)
{
    KN_LAUNCH(device, mean_prob, kn_grid((int64_t)z.n * z.h * z.w, BLOCK, 1 << 20), BLOCK, z, k, n,
              acc);
}

void kn_cu_paste(kn_device *device, kn_tensor outer, kn_tensor inner, int x0, int y0, int x1,
                 int y1, kn_tensor dst)
{
    KN_LAUNCH(device, paste, grid_of(dst), BLOCK, outer, inner, x0, y0, x1, y1, dst);
}

void kn_cu_relabel(kn_device *device, kn_tensor z, const uint8_t *y)
{
    KN_LAUNCH(device, relabel, kn_grid((int64_t)z.n * z.h * z.w, BLOCK, 1 << 20), BLOCK, z, y);
}
