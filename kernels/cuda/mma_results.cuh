/* What a warp of conv_mma.cu does with the results of a tile, which it has in registers: bias and
 * LeakyReLU, sums for BatchNorm, storing. acc: rows, n-tiles, a fragment (index.h). */
#ifndef QS_KERNELS_CUDA_MMA_RESULTS_H
#define QS_KERNELS_CUDA_MMA_RESULTS_H

#include "kernels/cuda/mma.cuh"

enum { ROWS = 2 /* of a warp */ };

/* What of a tile's results is inside the image. */
typedef struct {
    int n, y0, x0, o0;
} tile_place;

/* A thread's sums of its results in one channel and of their squares, each as dst holds it (bf16),
 * about its first one. A thread has 2·NT channels: lane%4·2 and the next of each n-tile. */
typedef struct {
    float pivot, sum, square;
} channel_sums;

__device__ static inline bool is_inside(const kn_cu_conv &c, const tile_place &at, int m, int half)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    return at.y0 + warp * ROWS + m < c.h && at.x0 + lane / 4 + half * 8 < c.w;
}

/* Pixels of a tile that this thread has and the image too. */
__device__ static inline int pixels_of(const kn_cu_conv &c, const tile_place &at)
{
    int n = 0;
    KN_UNROLL
    for (int m = 0; m < ROWS; m++)
        n += is_inside(c, at, m, 0) + is_inside(c, at, m, 1);
    return n;
}

/* Adds a tile's results in the thread's channel i. */
template <int NT>
__device__ static inline void add_channel(channel_sums *s, int i, const kn_cu_conv &c,
                                          const float acc[ROWS][NT][4], const tile_place &at,
                                          bool first)
{
    KN_UNROLL
    for (int k = 0; k < 2 * ROWS; k++) {
        float v = kn_bf16_to_f32(kn_bf16_from_f32(acc[k / 2][i / 2][k % 2 * 2 + i % 2]));
        if (first && k == 0)
            s->pivot = v;
        float d = is_inside(c, at, k / 2, k % 2) ? v - s->pivot : 0.0f;
        s->sum += d;
        s->square += d * d;
    }
}

/* A warp's sums in its threads' channel i, about 0 in f64, to `room` (warps, NT·8, 2). */
template <int NT>
__device__ static inline void put_channel(const channel_sums &s, int i, int pixels, double *room)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    double pivot = (double)s.pivot, sum = (double)s.sum, n = (double)pixels;
    double square = (double)s.square + 2 * pivot * sum + n * pivot * pivot;
    sum += n * pivot;
    KN_UNROLL
    for (int by = 16; by >= 4; by /= 2) {
        sum += kn_shuffle_down(sum, by);
        square += kn_shuffle_down(square, by);
    }
    if (lane < 4) {
        double *to = room + (warp * NT * 8 + i / 2 * 8 + lane * 2 + i % 2) * 2;
        to[0] = sum;
        to[1] = square;
    }
}

/* The warps' sums, in order, to row `at` of partials (oc, rows, 2). */
template <int NT>
__device__ static inline void store_row(const kn_cu_conv &c, int o0, const double *room, int64_t at,
                                        int64_t rows, double *partials)
{
    int t = (int)threadIdx.x;
    __syncthreads(); /* all warps' sums are there */
    if (t >= NT * 8 || o0 + t >= c.oc)
        return;
    double sum = 0, square = 0;
    for (int w = 0; w < WARPS; w++) {
        sum += room[(w * NT * 8 + t) * 2];
        square += room[(w * NT * 8 + t) * 2 + 1];
    }
    double *to = partials + ((o0 + t) * rows + at) * 2;
    to[0] = sum;
    to[1] = square;
}

template <int NT>
__device__ static inline void add_bias(const kn_cu_conv &c, const float *bias, int o0,
                                       float acc[ROWS][NT][4])
{
    int lane = (int)threadIdx.x % 32;
    KN_UNROLL
    for (int nt = 0; nt < NT; nt++)
        KN_UNROLL
    for (int r = 0; r < 4; r++) {
        int o = o0 + nt * 8 + lane % 4 * 2 + r % 2;
        float b = bias && o < c.oc ? bias[o] : 0.0f;
        KN_UNROLL
        for (int m = 0; m < ROWS; m++) {
            float v = acc[m][nt][r] + b;
            acc[m][nt][r] = c.leaky && !(v > 0) ? 0.01f * v : v;
        }
    }
}

/* Two outputs side by side. `pair`: they may be stored as one. */
__device__ static inline void store2(const kn_tensor &t, int64_t at, float a, float b, bool second,
                                     bool pair)
{
    const float both[2] = {a, b};
    if (pair && second && t.dtype == KN_BF16) {
        kn_store_v<kn_bf16, 2>((kn_bf16 *)t.data + at, both);
    } else if (pair && second) {
        kn_store_v<float, 2>((float *)t.data + at, both);
    } else {
        for (int i = 0; i < (second ? 2 : 1); i++) {
            if (t.dtype == KN_BF16)
                kn_store((kn_bf16 *)t.data + at + i, both[i]);
            else
                kn_store((float *)t.data + at + i, both[i]);
        }
    }
}

/* Straight from the fragments, two channels at a time. */
template <int NT>
__device__ static inline void store_pairs(const kn_cu_conv &c, const kn_tensor &dst, bool pair,
                                          const tile_place &at, const float acc[ROWS][NT][4])
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    KN_UNROLL
    for (int m = 0; m < ROWS; m++)
        KN_UNROLL
    for (int half = 0; half < 2; half++) {
        int y = at.y0 + warp * ROWS + m, x = at.x0 + lane / 4 + half * 8;
        int64_t pixel = ((int64_t)at.n * c.h + y) * c.w + x;
        if (y >= c.h || x >= c.w)
            continue;
        KN_UNROLL
        for (int nt = 0; nt < NT; nt++) {
            int o = at.o0 + nt * 8 + lane % 4 * 2;
            if (o < c.oc)
                store2(dst, pixel * dst.ldc + o, acc[m][nt][half * 2], acc[m][nt][half * 2 + 1],
                       o + 1 < c.oc, pair);
        }
    }
}

/* A warp's results as bf16 to its part of `room`, (warps, PIXELS, NT·8 + 8): the lanes of a
 * fragment meet 32 banks. Returns the part. */
template <int NT>
__device__ static inline kn_bf16 *stage(kn_bf16 *room, const float acc[ROWS][NT][4])
{
    enum { STRIDE = NT * 8 + 8, PIXELS = ROWS * KN_CONV_TW };
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    kn_bf16 *mine = room + warp * PIXELS * STRIDE;
    kn_sync_warp(); /* what was there has been read */
    KN_UNROLL
    for (int m = 0; m < ROWS; m++)
        KN_UNROLL
    for (int i = 0; i < 2 * NT; i++) { /* half a row of an n-tile */
        int pixel = m * KN_CONV_TW + lane / 4 + i % 2 * 8;
        kn_store_v<kn_bf16, 2>(mine + pixel * STRIDE + i / 2 * 8 + lane % 4 * 2,
                               &acc[m][i / 2][i % 2 * 2]);
    }
    kn_sync_warp();
    return mine;
}

/* A warp's staged results to dst, 16 bytes at a time. */
template <int NT>
__device__ static inline void store_staged(const kn_cu_conv &c, const kn_tensor &dst,
                                           const kn_bf16 *mine, const tile_place &at)
{
    enum { STRIDE = NT * 8 + 8 };
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    KN_UNROLL
    for (int k = 0; k < NT; k++) { /* PIXELS·NT eights, 32 at a time */
        int i = lane + k * 32, pixel = i / NT, o = i % NT * 8;
        int y = at.y0 + warp * ROWS + pixel / KN_CONV_TW, x = at.x0 + pixel % KN_CONV_TW;
        if (y < c.h && x < c.w && at.o0 + o < c.oc)
            *(kn_vec<kn_bf16, 8> *)((kn_bf16 *)dst.data +
                                    (((int64_t)at.n * c.h + y) * c.w + x) * dst.ldc + at.o0 + o) =
                *(const kn_vec<kn_bf16, 8> *)(mine + pixel * STRIDE + o);
    }
}

/* A warp's sums of 64 staged channels, a lane two of them, about 0 in f64, to `room` (warps, 64,
 * 2).
 */
__device__ static inline void sum_staged(const kn_cu_conv &c, const kn_bf16 *mine,
                                         const tile_place &at, double *room)
{
    enum { STRIDE = 64 + 8, PIXELS = ROWS * KN_CONV_TW };
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, n = 0;
    float pivot[2], sum[2] = {}, square[2] = {};
    kn_load_v<kn_bf16, 2>(mine + lane * 2, pivot);
    for (int pixel = 0; pixel < PIXELS; pixel++) {
        bool inside =
            at.y0 + warp * ROWS + pixel / KN_CONV_TW < c.h && at.x0 + pixel % KN_CONV_TW < c.w;
        float v[2];
        kn_load_v<kn_bf16, 2>(mine + pixel * STRIDE + lane * 2, v);
        n += inside;
        KN_UNROLL
        for (int i = 0; i < 2; i++) {
            float d = inside ? v[i] - pivot[i] : 0.0f;
            sum[i] += d;
            square[i] += d * d;
        }
    }
    KN_UNROLL
    for (int i = 0; i < 2; i++) {
        double p = (double)pivot[i], s = (double)sum[i],
               *to = room + (warp * 64 + lane * 2 + i) * 2;
        to[0] = s + n * p;
        to[1] = (double)square[i] + 2 * p * s + n * p * p;
    }
}

#endif
