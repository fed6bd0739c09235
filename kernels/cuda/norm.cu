/* BatchNorm + LeakyReLU + dropout on the GPU.
 *
 * A block takes tiles of whole pixels (kn_norm_tile), a thread a group of V channels of every
 * rows-th pixel of them:
 *
 *        channels      lanes = C/V threads side by side, 16 bytes each
 *      pixels  t0 t1   a tile is so many pixels that mask chunks of 128 elements never cross it
 *              t2 t3
 *
 * So a thread's channels never change: what belongs to them is read once into registers, and the
 * thread has the vectors of AHEAD pixels under way. Block b takes tiles b, b + grid, ….
 *
 * Statistics are sums about a pivot (the first pixel), in f32 over a few pixels, then in f64, added
 * in one order (sums.cuh). The mask's bits are made once a tile into shared memory, eight elements
 * a Philox call, in forward and again in backward, so no mask is stored; two tiles' bits lie there
 * in turn, so that one barrier a tile is enough. */
#include "kernels/cuda/sums.cuh"

#define BN_EPS 1e-5
#define BN_MOMENTUM 0.1

/* Bits of the elements [first, first + n) of the mask; first divides by 128. Whole warps, then a
 * barrier. A thread makes 4 of a chunk's 16 calls, and a byte has bits of two threads. */
__device__ static inline void make_mask(const kn_cu_norm &norm, uint64_t stream, int64_t first,
                                        int n, uint8_t *bits)
{
    int quarters = (n + 127) / 128 * 4;
    for (int i = (int)threadIdx.x; i - (int)threadIdx.x < quarters; i += KN_CU_BLOCK) {
        int quarter = i % 4, chunk = i / 4, half = quarter / 2;
        uint64_t counter = (uint64_t)(first / 128 + chunk) * 16 + (uint64_t)quarter * 4;
        uint32_t low = 0, high = 0; /* bytes of groups 0 2 4 6, and 1 3 5 7: 8 lanes each */
        KN_UNROLL
        for (int lane = 0; lane < 4; lane++) {
            qs_philox4 r = qs_philox(stream, counter + (uint64_t)lane, norm.layer);
            for (int k = 0; k < 4; k++) {
                low |= (uint32_t)((r.v[k] & 0xffffu) >= norm.threshold) << (8 * k + lane);
                high |= (uint32_t)((r.v[k] >> 16) >= norm.threshold) << (8 * k + lane);
            }
        }
        low |= kn_shuffle_down(low, 1) << 4;
        high |= kn_shuffle_down(high, 1) << 4;
        if (quarter % 2 != 0 || i >= quarters)
            continue;
        for (int k = 0; k < 4; k++) {
            bits[chunk * 16 + 4 * k + half] = (uint8_t)(low >> (8 * k));
            bits[chunk * 16 + 4 * k + 2 + half] = (uint8_t)(high >> (8 * k));
        }
    }
}

/* Bytes of a tile's bits: a tile of V channels a thread is no larger (test_cuda_index.c). */
#define MASK_BYTES(v) (KN_CU_TILE_MAX / 8 / (v))

/* Multiplies elements e … e + V - 1 of the tile with their mask; V divides e. */
template <int V>
__device__ static inline void drop(const kn_cu_norm &norm, const uint8_t *bits, int e, float *x)
{
    int kept = bits[e / 8] >> (e % 8);
    KN_UNROLL
    for (int i = 0; i < V; i++)
        x[i] *= kept >> i & 1 ? norm.scale : 0.0f;
}

__device__ static inline uint64_t stream_of(const kn_cu_norm &norm)
{
    return norm.stream_at ? *norm.stream_at : norm.stream;
}

/* One tile's turn of a block. */
struct tile_at {
    int64_t p0;
    int here;            /* pixels */
    const uint8_t *bits; /* of its mask */
};

/* All threads: tile `number` of `tile` pixels and, where there is dropout, its mask; turns of a
 * block use the halves of bits one after the other. */
template <int V>
__device__ static inline tile_at open_tile(const kn_tensor &x, const kn_cu_norm &norm,
                                           uint64_t stream, int number, int turn, int tile,
                                           uint8_t *bits)
{
    int64_t p0 = (int64_t)number * tile, left = (int64_t)x.n * x.h * x.w - p0;
    tile_at at = {p0, (int)(left < tile ? left : tile), bits + turn % 2 * MASK_BYTES(V)};
    if (norm.threshold) {
        make_mask(norm, stream, p0 * x.c, at.here * x.c, bits + turn % 2 * MASK_BYTES(V));
        __syncthreads();
    }
    return at;
}

QS_DEVICE int tiles_in(const kn_tensor &x, int tile)
{
    return (int)kn_div_up((int64_t)x.n * x.h * x.w, tile);
}

/* What belongs to a thread's channels; scale = gamma·inv_std. */
template <int V> struct channel_values {
    float mean[V], scale[V], beta[V], gamma[V], inv_std[V];
};

template <int V>
__device__ static inline channel_values<V> values_of(const kn_cu_norm &norm, const kn_stand &at)
{
    channel_values<V> v = {};
    KN_UNROLL
    for (int i = 0; i < V && at.in; i++) {
        v.mean[i] = norm.mean[at.c0 + i];
        v.gamma[i] = norm.gamma[at.c0 + i];
        v.inv_std[i] = norm.inv_std[at.c0 + i];
        v.scale[i] = v.gamma[i] * v.inv_std[i];
        v.beta[i] = norm.beta[at.c0 + i];
    }
    return v;
}

/* z of off = x - mean: for f32 rounded as x-hat's, for bf16 by what needs fewer registers. */
template <class T, int V>
__device__ static inline float z_of(const channel_values<V> &c, int i, float off)
{
    return (sizeof(T) == 2 ? c.scale[i] * off : c.gamma[i] * (off * c.inv_std[i])) + c.beta[i];
}

template <class T, int V>
__global__ void __launch_bounds__(KN_CU_BLOCK, 3)
    norm_stats_sums(kn_tensor x, int tile, double *partials)
{
    KN_SHARED(double, part, KN_SUMS_DOUBLES(2 * V));
    const kn_stand at = kn_stand_of<V>(x.c);
    int64_t pixels = (int64_t)x.n * x.h * x.w;
    float pivot[V] = {}, few[2 * V] = {};
    if (at.in)
        kn_load_v<T, V>((const T *)x.data + at.c0, pivot);
    kn_sums_clear<2 * V>(part, at);
    int batch = 0;
    for (int64_t p0 = (int64_t)blockIdx.x * tile; p0 < pixels && at.in;
         p0 += (int64_t)gridDim.x * tile) {
        int here = (int)(pixels - p0 < tile ? pixels - p0 : tile);
        const T *data = (const T *)x.data + p0 * x.ldc + at.c0;
        for (int p = at.row; p < here; p += AHEAD * at.rows) {
            kn_raw<T, V> loaded[AHEAD];
            kn_load_ahead<T, V>(data, x.ldc, p, at.rows, here, loaded);
            KN_UNROLL
            for (int k = 0; k < AHEAD; k++) {
                float v[V];
                kn_widen(loaded[k], v);
                KN_UNROLL
                for (int i = 0; i < V && p + k * at.rows < here; i++) {
                    float d = v[i] - pivot[i];
                    few[i] += d;
                    few[V + i] += d * d;
                }
            }
            if (++batch % FEW_BATCHES == 0)
                kn_sums_add<2 * V>(part, at, few);
        }
    }
    kn_sums_add<2 * V>(part, at, few);
    kn_sums_store<V, 2 * V>(part, at, x.c, partials);
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
    KN_SHARED(double, part, 2 * KN_ADDERS);
    double sums[2];
    int c = (int)blockIdx.x;
    kn_add_pairs<2>(partials + (int64_t)c * blocks * 2, blocks, part, sums);
    if (threadIdx.x == 0)
        set_stats(norm, c, (double)((int64_t)x.n * x.h * x.w),
                  (double)kn_load((const T *)x.data + c), sums[0], sums[1]);
}

__global__ void norm_stats_of_tiles(kn_cu_norm norm, int64_t pixels, int64_t tiles,
                                    const double *partials)
{
    KN_SHARED(double, part, 2 * KN_ADDERS);
    double sums[2];
    kn_add_pairs<2>(partials + (int64_t)blockIdx.x * tiles * 2, tiles, part, sums);
    if (threadIdx.x == 0)
        set_stats(norm, (int)blockIdx.x, (double)pixels, 0, sums[0], sums[1]);
}

template <class T, int V>
__global__ void __launch_bounds__(KN_CU_BLOCK, 3)
    norm_apply(kn_tensor x, kn_cu_norm norm, kn_tensor y, int tile)
{
    KN_SHARED(uint8_t, bits, 2 * MASK_BYTES(V));
    const kn_stand at = kn_stand_of<V>(x.c);
    const channel_values<V> c = values_of<V>(norm, at);
    uint64_t stream = norm.threshold ? stream_of(norm) : 0;
    const int tiles = tiles_in(x, tile), step = (int)gridDim.x;
    for (int number = (int)blockIdx.x, turn = 0; number < tiles; number += step, turn++) {
        const tile_at in = open_tile<V>(x, norm, stream, number, turn, tile, bits);
        const T *from = (const T *)x.data + in.p0 * x.ldc + at.c0;
        T *to = (T *)y.data + in.p0 * y.ldc + at.c0;
        for (int p = at.row; p < in.here && at.in; p += AHEAD * at.rows) {
            kn_raw<T, V> loaded[AHEAD];
            kn_load_ahead<T, V>(from, x.ldc, p, at.rows, in.here, loaded);
            KN_UNROLL
            for (int k = 0; k < AHEAD; k++) {
                int pixel = p + k * at.rows;
                float v[V];
                kn_widen(loaded[k], v);
                KN_UNROLL
                for (int i = 0; i < V; i++) {
                    float z = z_of<T, V>(c, i, v[i] - c.mean[i]);
                    v[i] = z > 0 ? z : norm.slope * z;
                }
                if (pixel >= in.here)
                    continue;
                if (norm.threshold)
                    drop<V>(norm, in.bits, pixel * x.c + at.c0, v);
                kn_store_v<T, V>(to + pixel * y.ldc, v);
            }
        }
    }
}

/* dy becomes dz and x becomes x - mean. */
template <class T, int V>
__device__ static inline void to_dz(const kn_cu_norm &norm, const channel_values<V> &c, float *dy,
                                    float *x)
{
    KN_UNROLL
    for (int i = 0; i < V; i++) {
        x[i] -= c.mean[i];
        dy[i] *= z_of<T, V>(c, i, x[i]) > 0 ? 1.0f : norm.slope;
    }
}

template <class T, int V>
__global__ void __launch_bounds__(KN_CU_BLOCK, 2)
    norm_bwd_sums(kn_tensor dy, kn_tensor x, kn_cu_norm norm, int tile, double *partials)
{
    KN_SHARED(double, part, KN_SUMS_DOUBLES(2 * V));
    KN_SHARED(uint8_t, bits, 2 * MASK_BYTES(V));
    const kn_stand at = kn_stand_of<V>(x.c);
    const channel_values<V> c = values_of<V>(norm, at);
    uint64_t stream = norm.threshold ? stream_of(norm) : 0;
    float few[2 * V] = {};
    int batch = 0;
    kn_sums_clear<2 * V>(part, at);
    const int tiles = tiles_in(x, tile), step = (int)gridDim.x;
    for (int number = (int)blockIdx.x, turn = 0; number < tiles; number += step, turn++) {
        const tile_at in = open_tile<V>(x, norm, stream, number, turn, tile, bits);
        const T *grads = (const T *)dy.data + in.p0 * dy.ldc + at.c0;
        const T *values = (const T *)x.data + in.p0 * x.ldc + at.c0;
        for (int p = at.row; p < in.here && at.in; p += AHEAD * at.rows) {
            kn_raw<T, V> g[AHEAD], v[AHEAD];
            kn_load_ahead<T, V>(grads, dy.ldc, p, at.rows, in.here, g);
            kn_load_ahead<T, V>(values, x.ldc, p, at.rows, in.here, v);
            KN_UNROLL
            for (int k = 0; k < AHEAD; k++) {
                int pixel = p + k * at.rows;
                float dz[V], off[V];
                kn_widen(g[k], dz);
                kn_widen(v[k], off);
                to_dz<T, V>(norm, c, dz, off);
                if (norm.threshold && pixel < in.here)
                    drop<V>(norm, in.bits, pixel * x.c + at.c0, dz);
                KN_UNROLL
                for (int i = 0; i < V; i++) { /* past the end dz is 0 */
                    few[i] += dz[i];
                    few[V + i] += dz[i] * off[i];
                }
            }
            if (++batch % FEW_BATCHES == 0)
                kn_sums_add<2 * V>(part, at, few);
        }
    }
    kn_sums_add<2 * V>(part, at, few);
    kn_sums_store<V, 2 * V>(part, at, x.c, partials);
}

/* From the sums of dz and of dz·(x - mean). means (2, channels): of dz, of dz·x-hat / σ. */
__global__ void norm_bwd_finish(kn_tensor x, kn_cu_norm norm, int blocks, const double *partials,
                                float *means)
{
    KN_SHARED(double, part, 2 * KN_ADDERS);
    double sums[2];
    int c = (int)blockIdx.x;
    kn_add_pairs<2>(partials + (int64_t)c * blocks * 2, blocks, part, sums);
    if (threadIdx.x != 0)
        return;
    double m = (double)((int64_t)x.n * x.h * x.w), inv_std = (double)norm.inv_std[c];
    sums[1] *= inv_std;
    if (norm.dgamma) {
        norm.dgamma[c] += (float)sums[1];
        norm.dbeta[c] += (float)sums[0];
    }
    means[c] = (float)(sums[0] / m);
    means[x.c + c] = (float)(sums[1] / m * inv_std);
}

template <class T, int V>
__global__ void __launch_bounds__(KN_CU_BLOCK, 2)
    norm_bwd_apply(kn_tensor dy, kn_tensor x, kn_cu_norm norm, kn_tensor dx, int tile,
                   const float *means)
{
    KN_SHARED(uint8_t, bits, 2 * MASK_BYTES(V));
    const kn_stand at = kn_stand_of<V>(x.c);
    const channel_values<V> c = values_of<V>(norm, at);
    uint64_t stream = norm.threshold ? stream_of(norm) : 0;
    float mean_dz[V] = {}, mean_both[V] = {};
    KN_UNROLL
    for (int i = 0; i < V && at.in; i++) {
        mean_dz[i] = means[at.c0 + i];
        mean_both[i] = means[x.c + at.c0 + i];
    }
    const int tiles = tiles_in(x, tile), step = (int)gridDim.x;
    for (int number = (int)blockIdx.x, turn = 0; number < tiles; number += step, turn++) {
        const tile_at in = open_tile<V>(x, norm, stream, number, turn, tile, bits);
        const T *grads = (const T *)dy.data + in.p0 * dy.ldc + at.c0;
        const T *values = (const T *)x.data + in.p0 * x.ldc + at.c0;
        T *to = (T *)dx.data + in.p0 * dx.ldc + at.c0;
        for (int p = at.row; p < in.here && at.in; p += AHEAD * at.rows) {
            kn_raw<T, V> g[AHEAD], v[AHEAD];
            kn_load_ahead<T, V>(grads, dy.ldc, p, at.rows, in.here, g);
            kn_load_ahead<T, V>(values, x.ldc, p, at.rows, in.here, v);
            KN_UNROLL
            for (int k = 0; k < AHEAD; k++) {
                int pixel = p + k * at.rows;
                float dz[V], off[V];
                if (pixel >= in.here)
                    continue;
                kn_widen(g[k], dz);
                kn_widen(v[k], off);
                to_dz<T, V>(norm, c, dz, off);
                if (norm.threshold)
                    drop<V>(norm, in.bits, pixel * x.c + at.c0, dz);
                KN_UNROLL
                for (int i = 0; i < V; i++)
                    dz[i] = c.scale[i] * (dz[i] - mean_dz[i] - off[i] * mean_both[i]);
                kn_store_v<T, V>(to + pixel * dx.ldc, dz);
            }
        }
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

/* Blocks for x's tiles, and for the channels that one block's threads have no room for. */
static kn_grid_size grid_of(const kn_tensor &x, int tile, int v)
{
    return KN_GRID(kn_grid(tiles_in(x, tile), 1, KN_CU_GRID_MAX), kn_norm_shape_of(x.c, v).groups);
}

size_t kn_cu_partials_bytes(int channels_max)
{
    return (size_t)(KN_CU_GRID_MAX + 1) * 2 * (size_t)channels_max * sizeof(double);
}

void kn_cu_norm_stats(kn_device *device, kn_tensor x, kn_cu_norm norm, double *partials)
{
    int tile = kn_norm_tile(x.c);
    KN_BY_TYPE(x.dtype, kn_is_wide(x), {
        kn_grid_size grid = grid_of(x, tile, V);
        KN_LAUNCH(device, (norm_stats_sums<T, V>), grid, KN_CU_BLOCK, x, tile, partials);
        KN_LAUNCH(device, (norm_stats_finish<T>), x.c, kn_adders(grid.x), x, norm, (int)grid.x,
                  partials);
    });
}

void kn_cu_norm_stats_of_tiles(kn_device *device, kn_cu_norm norm, int64_t pixels, int64_t tiles,
                               const double *partials)
{
    KN_LAUNCH(device, norm_stats_of_tiles, norm.channels, kn_adders(tiles), norm, pixels, tiles,
              partials);
}

void kn_cu_norm_apply(kn_device *device, kn_tensor x, kn_cu_norm norm, kn_tensor y)
{
    int tile = kn_norm_tile(x.c);
    KN_BY_TYPE(x.dtype, kn_is_wide(x) && kn_is_wide(y), {
        KN_LAUNCH(device, (norm_apply<T, V>), grid_of(x, tile, V), KN_CU_BLOCK, x, norm, y, tile);
    });
}

void kn_cu_norm_bwd(kn_device *device, kn_tensor dy, kn_tensor x, kn_cu_norm norm, kn_tensor dx,
                    double *partials)
{
    int tile = kn_norm_tile(x.c);
    bool wide = kn_is_wide(x) && kn_is_wide(dy) && kn_is_wide(dx);
    float *means = (float *)(partials + (size_t)KN_CU_GRID_MAX * 2 * (size_t)x.c);
    KN_BY_TYPE(x.dtype, wide, {
        kn_grid_size grid = grid_of(x, tile, V);
        KN_LAUNCH(device, (norm_bwd_sums<T, V>), grid, KN_CU_BLOCK, dy, x, norm, tile, partials);
        KN_LAUNCH(device, norm_bwd_finish, x.c, kn_adders(grid.x), x, norm, (int)grid.x, partials,
                  means);
        KN_LAUNCH(device, (norm_bwd_apply<T, V>), grid, KN_CU_BLOCK, dy, x, norm, dx, tile, means);
    });
}
