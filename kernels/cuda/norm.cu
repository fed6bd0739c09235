/* BatchNorm + LeakyReLU + dropout on the GPU.
 *
 * A block takes tiles of whole pixels (kn_norm_tile), a thread a group of V channels of every
 * rows-th pixel of them:
 *
 *        channels      lanes = C/V threads side by side, 16 bytes each
 *      pixels  t0 t1   a tile is so many pixels that mask chunks of 128 elements never cross it
 *              t2 t3
 *
 * Statistics are sums about a pivot (the first pixel), in f32 over eight pixels, then in f64; block
 * b adds tiles b, b + grid, …, its threads are added by a tree, the blocks' sums by a second
 * kernel: one order, whatever runs when. The mask's bits are made once a tile into shared memory,
 * eight elements a Philox call, in forward and again in backward, so no mask is stored. */
#include "kernels/cuda/lang.cuh"

#define BN_EPS 1e-5
#define BN_MOMENTUM 0.1

enum { FLUSH = 8, SHARED_DOUBLES = KN_CU_BLOCK * 8 * 2 };

/* Bits of the elements [first, first + n) of the mask; first divides by 128. All threads, then a
 * barrier. */
__device__ static inline void make_mask(const kn_cu_norm &norm, uint64_t stream, int64_t first,
                                        int n, uint8_t *bits)
{
    int halves = (n + 127) / 128 * 2;
    for (int i = (int)threadIdx.x; i < halves; i += KN_CU_BLOCK) {
        int half = i % 2, chunk = i / 2;
        uint64_t counter = (uint64_t)(first / 128 + chunk) * 16 + (uint64_t)half * 8;
        uint32_t low = 0, high = 0; /* bytes of groups 0 2 4 6, and 1 3 5 7: 8 lanes each */
        for (int lane = 0; lane < 8; lane++) {
            qs_philox4 r = qs_philox(stream, counter + (uint64_t)lane, norm.layer);
            for (int k = 0; k < 4; k++) {
                low |= (uint32_t)((r.v[k] & 0xffffu) >= norm.threshold) << (8 * k + lane);
                high |= (uint32_t)((r.v[k] >> 16) >= norm.threshold) << (8 * k + lane);
            }
        }
        for (int k = 0; k < 4; k++) {
            bits[chunk * 16 + 4 * k + half] = (uint8_t)(low >> (8 * k));
            bits[chunk * 16 + 4 * k + 2 + half] = (uint8_t)(high >> (8 * k));
        }
    }
}

/* What element e of the tile is multiplied with. */
__device__ static inline float mask_at(const kn_cu_norm &norm, const uint8_t *bits, int e)
{
    return bits[e / 8] >> (e % 8) & 1 ? norm.scale : 0.0f;
}

__device__ static inline uint64_t stream_of(const kn_cu_norm &norm)
{
    return norm.stream_at ? *norm.stream_at : norm.stream;
}

/* Adds the rows' sums; row 0 of each lane then holds them. part: (rows, lanes, 2V) doubles. */
template <int V>
__device__ static inline void add_rows(double *part, const kn_norm_shape &s, int lane, int row)
{
    for (int n = s.rows; n > 1; n = (n + 1) / 2) {
        int half = (n + 1) / 2;
        __syncthreads();
        if (row < n - half)
            for (int i = 0; i < 2 * V; i++)
                part[(row * s.lanes + lane) * 2 * V + i] +=
                    part[((row + half) * s.lanes + lane) * 2 * V + i];
    }
}

/* partials (grid.x, channels, 2). */
template <int V>
__device__ static inline void store_partials(double *part, const kn_norm_shape &s, int lane,
                                             int row, int c0, bool in, const double *sum,
                                             const double *square, int channels, double *partials)
{
    __syncthreads(); /* what part held is done with */
    for (int i = 0; i < V && row < s.rows; i++) {
        part[(row * s.lanes + lane) * 2 * V + 2 * i] = sum[i];
        part[(row * s.lanes + lane) * 2 * V + 2 * i + 1] = square[i];
    }
    add_rows<V>(part, s, lane, row);
    if (row == 0 && in)
        for (int i = 0; i < 2 * V; i++)
            partials[((int64_t)blockIdx.x * channels + c0) * 2 + i] = part[lane * 2 * V + i];
}

template <class T, int V> __global__ void norm_stats_sums(kn_tensor x, int tile, double *partials)
{
    KN_SHARED(double, part, SHARED_DOUBLES);
    const kn_norm_shape s = kn_norm_shape_of(x.c, V);
    int64_t pixels = (int64_t)x.n * x.h * x.w;
    int lane = (int)threadIdx.x % s.lanes, row = (int)threadIdx.x / s.lanes;
    int c0 = ((int)blockIdx.y * s.lanes + lane) * V;
    bool in = row < s.rows && c0 < x.c;
    const T *data = (const T *)x.data;
    double sum[V] = {}, square[V] = {};
    float pivot[V] = {};
    if (in)
        kn_load_v<T, V>(data + c0, pivot);
    for (int64_t p0 = (int64_t)blockIdx.x * tile; p0 < pixels && in;
         p0 += (int64_t)gridDim.x * tile) {
        int64_t p1 = p0 + tile < pixels ? p0 + tile : pixels;
        for (int64_t p = p0 + row; p < p1;) {
            float a[V] = {}, b[V] = {};
            for (int k = 0; k < FLUSH && p < p1; k++, p += s.rows) {
                float v[V];
                kn_load_v<T, V>(data + p * x.ldc + c0, v);
                for (int i = 0; i < V; i++) {
                    float d = v[i] - pivot[i];
                    a[i] += d;
                    b[i] += d * d;
                }
            }
            for (int i = 0; i < V; i++) {
                sum[i] += (double)a[i];
                square[i] += (double)b[i];
            }
        }
    }
    store_partials<V>(part, s, lane, row, c0, in, sum, square, x.c, partials);
}

/* Both sums over the pairs first, first + step, … of partials, n of them, to thread 0. */
__device__ static inline void add_blocks(const double *partials, int step, int64_t first, int64_t n,
                                         double *part, double *sum, double *square)
{
    double a = 0, b = 0;
    int t = (int)threadIdx.x;
    for (int64_t i = t; i < n; i += KN_CU_BLOCK) {
        a += partials[(first + i * step) * 2];
        b += partials[(first + i * step) * 2 + 1];
    }
    part[2 * t] = a;
    part[2 * t + 1] = b;
    for (int half = KN_CU_BLOCK / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) {
            part[2 * t] += part[2 * (t + half)];
            part[2 * t + 1] += part[2 * (t + half) + 1];
        }
    }
    *sum = part[0];
    *square = part[1];
}

/* Channel c's statistics from Σ(x - pivot) and Σ(x - pivot)² of m pixels. */
__device__ static inline void set_stats(const kn_cu_norm &norm, int c, double m, double pivot,
                                        double sum, double square)
{
    double off = sum / m, var = square / m - off * off, mean = pivot + off;
    double bias = norm.conv_bias ? (double)norm.conv_bias[c] : 0;
    if (!(var > 0))
        var = var == var ? 0 : var;
    norm.mean[c] = (float)mean;
    norm.inv_std[c] = (float)(1 / sqrt(var + BN_EPS));
    if (!norm.running_mean)
        return;
    double unbiased = m > 1 ? var * m / (m - 1) : 0;
    norm.running_mean[c] =
        (float)((1 - BN_MOMENTUM) * (double)norm.running_mean[c] + BN_MOMENTUM * (mean + bias));
    norm.running_var[c] =
        (float)((1 - BN_MOMENTUM) * (double)norm.running_var[c] + BN_MOMENTUM * unbiased);
}

template <class T>
__global__ void norm_stats_finish(kn_tensor x, kn_cu_norm norm, int blocks, const double *partials)
{
    KN_SHARED(double, part, KN_CU_BLOCK * 2);
    double sum, square;
    add_blocks(partials, x.c, (int)blockIdx.x, blocks, part, &sum, &square);
    int c = (int)blockIdx.x;
    if (threadIdx.x == 0)
        set_stats(norm, c, (double)((int64_t)x.n * x.h * x.w),
                  (double)kn_load((const T *)x.data + c), sum, square);
}

__global__ void norm_stats_of_tiles(kn_cu_norm norm, int64_t pixels, int64_t tiles,
                                    const double *partials)
{
    KN_SHARED(double, part, KN_CU_BLOCK * 2);
    double sum, square;
    add_blocks(partials, 1, (int64_t)blockIdx.x * tiles, tiles, part, &sum, &square);
    if (threadIdx.x == 0)
        set_stats(norm, (int)blockIdx.x, (double)pixels, 0, sum, square);
}

template <class T, int V>
__global__ void norm_apply(kn_tensor x, kn_cu_norm norm, kn_tensor y, int tile)
{
    KN_SHARED(uint8_t, bits, KN_CU_TILE_MAX / 8);
    int64_t pixels = (int64_t)x.n * x.h * x.w, p0 = (int64_t)blockIdx.x * tile;
    int here = (int)(pixels - p0 < tile ? pixels - p0 : tile);
    int n = here * x.c;
    if (norm.threshold) {
        make_mask(norm, stream_of(norm), p0 * x.c, n, bits);
        __syncthreads();
    }
    for (int e = (int)threadIdx.x * V; e < n; e += KN_CU_BLOCK * V) {
        int pixel = e / x.c, c = e % x.c;
        float v[V];
        kn_load_v<T, V>((const T *)x.data + (p0 + pixel) * x.ldc + c, v);
        for (int i = 0; i < V; i++) {
            float z = norm.gamma[c + i] * ((v[i] - norm.mean[c + i]) * norm.inv_std[c + i]) +
                      norm.beta[c + i];
            v[i] = z > 0 ? z : norm.slope * z;
            if (norm.threshold)
                v[i] *= mask_at(norm, bits, e + i);
        }
        kn_store_v<T, V>((T *)y.data + (p0 + pixel) * y.ldc + c, v);
    }
}

/* dz and x-hat of V elements; e: their place in the tile. */
template <class T, int V>
__device__ static inline void load_dz(const kn_tensor &dy, const kn_tensor &x,
                                      const kn_cu_norm &norm, int64_t pixel, int c,
                                      const uint8_t *bits, int e, float *dz, float *xhat)
{
    kn_load_v<T, V>((const T *)dy.data + pixel * dy.ldc + c, dz);
    kn_load_v<T, V>((const T *)x.data + pixel * x.ldc + c, xhat);
    for (int i = 0; i < V; i++) {
        xhat[i] = (xhat[i] - norm.mean[c + i]) * norm.inv_std[c + i];
        float z = norm.gamma[c + i] * xhat[i] + norm.beta[c + i];
        dz[i] *= z > 0 ? 1.0f : norm.slope;
        if (norm.threshold)
            dz[i] *= mask_at(norm, bits, e + i);
    }
}

template <class T, int V>
__global__ void norm_bwd_sums(kn_tensor dy, kn_tensor x, kn_cu_norm norm, int tile,
                              double *partials)
{
    KN_SHARED(double, part, SHARED_DOUBLES);
    uint8_t *bits = (uint8_t *)part; /* the sums take its place when the tiles are done */
    const kn_norm_shape s = kn_norm_shape_of(x.c, V);
    int64_t pixels = (int64_t)x.n * x.h * x.w;
    int lane = (int)threadIdx.x % s.lanes, row = (int)threadIdx.x / s.lanes;
    int c0 = ((int)blockIdx.y * s.lanes + lane) * V;
    bool in = row < s.rows && c0 < x.c;
    double sum[V] = {}, sum_xhat[V] = {};
    for (int64_t p0 = (int64_t)blockIdx.x * tile; p0 < pixels; p0 += (int64_t)gridDim.x * tile) {
        int here = (int)(pixels - p0 < tile ? pixels - p0 : tile);
        if (norm.threshold) {
            __syncthreads(); /* the last tile's bits are done with */
            make_mask(norm, stream_of(norm), p0 * x.c, here * x.c, bits);
            __syncthreads();
        }
        for (int p = row; p < here && in;) {
            float a[V] = {}, b[V] = {};
            for (int k = 0; k < FLUSH && p < here; k++, p += s.rows) {
                float dz[V], xhat[V];
                load_dz<T, V>(dy, x, norm, p0 + p, c0, bits, p * x.c + c0, dz, xhat);
                for (int i = 0; i < V; i++) {
                    a[i] += dz[i];
                    b[i] += dz[i] * xhat[i];
                }
            }
            for (int i = 0; i < V; i++) {
                sum[i] += (double)a[i];
                sum_xhat[i] += (double)b[i];
            }
        }
    }
    store_partials<V>(part, s, lane, row, c0, in, sum, sum_xhat, x.c, partials);
}

/* means (2, channels): of dz, of dz·xhat. */
__global__ void norm_bwd_finish(kn_tensor x, kn_cu_norm norm, int blocks, const double *partials,
                                float *means)
{
    KN_SHARED(double, part, KN_CU_BLOCK * 2);
    double sum, sum_xhat;
    add_blocks(partials, x.c, (int)blockIdx.x, blocks, part, &sum, &sum_xhat);
    if (threadIdx.x != 0)
        return;
    int c = (int)blockIdx.x;
    double m = (double)((int64_t)x.n * x.h * x.w);
    if (norm.dgamma) {
        norm.dgamma[c] += (float)sum_xhat;
        norm.dbeta[c] += (float)sum;
    }
    means[c] = (float)(sum / m);
    means[x.c + c] = (float)(sum_xhat / m);
}

template <class T, int V>
__global__ void norm_bwd_apply(kn_tensor dy, kn_tensor x, kn_cu_norm norm, kn_tensor dx, int tile,
                               const float *means)
{
    KN_SHARED(uint8_t, bits, KN_CU_TILE_MAX / 8);
    int64_t pixels = (int64_t)x.n * x.h * x.w, p0 = (int64_t)blockIdx.x * tile;
    int here = (int)(pixels - p0 < tile ? pixels - p0 : tile);
    int n = here * x.c;
    if (norm.threshold) {
        make_mask(norm, stream_of(norm), p0 * x.c, n, bits);
        __syncthreads();
    }
    for (int e = (int)threadIdx.x * V; e < n; e += KN_CU_BLOCK * V) {
        int64_t pixel = p0 + e / x.c;
        int c = e % x.c;
        float dz[V], xhat[V];
        load_dz<T, V>(dy, x, norm, pixel, c, bits, e, dz, xhat);
        for (int i = 0; i < V; i++)
            dz[i] = norm.gamma[c + i] * norm.inv_std[c + i] *
                    (dz[i] - means[c + i] - xhat[i] * means[x.c + c + i]);
        kn_store_v<T, V>((T *)dx.data + pixel * dx.ldc + c, dz);
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static bool vectors(const kn_tensor &t, int v)
{
    return t.c % v == 0 && t.ldc % v == 0 && (uintptr_t)t.data % 16 == 0;
}

/* Runs body with T and V: f32 or bf16; 16 bytes or one element at a time. */
#define BY_TYPE(tensor, wide, body)                                                                \
    do {                                                                                           \
        if ((tensor).dtype == KN_BF16 && (wide)) {                                                 \
            typedef kn_bf16 T;                                                                     \
            enum { V = 8 };                                                                        \
            body;                                                                                  \
        } else if ((tensor).dtype == KN_BF16) {                                                    \
            typedef kn_bf16 T;                                                                     \
            enum { V = 1 };                                                                        \
            body;                                                                                  \
        } else if (wide) {                                                                         \
            typedef float T;                                                                       \
            enum { V = 4 };                                                                        \
            body;                                                                                  \
        } else {                                                                                   \
            typedef float T;                                                                       \
            enum { V = 1 };                                                                        \
            body;                                                                                  \
        }                                                                                          \
    } while (0)

static int vec_of(const kn_tensor &t)
{
    return t.dtype == KN_BF16 ? 8 : 4;
}

static int64_t tiles_of(const kn_tensor &x, int tile)
{
    return kn_div_up((int64_t)x.n * x.h * x.w, tile);
}

size_t kn_cu_partials_bytes(int channels_max)
{
    return (size_t)(KN_CU_GRID_MAX + 1) * 2 * (size_t)channels_max * sizeof(double);
}

void kn_cu_norm_stats(kn_device *device, kn_tensor x, kn_cu_norm norm, double *partials)
{
    int tile = kn_norm_tile(x.c);
    bool wide = vectors(x, vec_of(x));
    int blocks = kn_grid(tiles_of(x, tile), 1, KN_CU_GRID_MAX);
    int groups = kn_norm_shape_of(x.c, wide ? vec_of(x) : 1).groups;
    BY_TYPE(x, wide, {
        KN_LAUNCH(device, (norm_stats_sums<T, V>), KN_GRID(blocks, groups), KN_CU_BLOCK, x, tile,
                  partials);
        KN_LAUNCH(device, (norm_stats_finish<T>), x.c, KN_CU_BLOCK, x, norm, blocks, partials);
    });
}

void kn_cu_norm_stats_of_tiles(kn_device *device, kn_cu_norm norm, int64_t pixels, int64_t tiles,
                               const double *partials)
{
    KN_LAUNCH(device, norm_stats_of_tiles, norm.channels, KN_CU_BLOCK, norm, pixels, tiles,
              partials);
}

void kn_cu_norm_apply(kn_device *device, kn_tensor x, kn_cu_norm norm, kn_tensor y)
{
    int tile = kn_norm_tile(x.c);
    bool wide = vectors(x, vec_of(x)) && vectors(y, vec_of(y));
    BY_TYPE(x, wide, {
        KN_LAUNCH(device, (norm_apply<T, V>), tiles_of(x, tile), KN_CU_BLOCK, x, norm, y, tile);
    });
}

void kn_cu_norm_bwd(kn_device *device, kn_tensor dy, kn_tensor x, kn_cu_norm norm, kn_tensor dx,
                    double *partials)
{
    int tile = kn_norm_tile(x.c);
    bool wide = vectors(x, vec_of(x)) && vectors(dy, vec_of(dy)) && vectors(dx, vec_of(dx));
    int blocks = kn_grid(tiles_of(x, tile), 1, KN_CU_GRID_MAX);
    int groups = kn_norm_shape_of(x.c, wide ? vec_of(x) : 1).groups;
    float *means = (float *)(partials + (size_t)KN_CU_GRID_MAX * 2 * (size_t)x.c);
    BY_TYPE(x, wide, {
        KN_LAUNCH(device, (norm_bwd_sums<T, V>), KN_GRID(blocks, groups), KN_CU_BLOCK, dy, x, norm,
                  tile, partials);
        KN_LAUNCH(device, norm_bwd_finish, x.c, KN_CU_BLOCK, x, norm, blocks, partials, means);
        KN_LAUNCH(device, (norm_bwd_apply<T, V>), tiles_of(x, tile), KN_CU_BLOCK, dy, x, norm, dx,
                  tile, means);
    });
}
