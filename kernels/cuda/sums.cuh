/* Sums over pixels, channel by channel, in one order whatever runs when.
 *
 * A thread has V channels of every rows-th pixel (kn_norm_shape) and adds a few pixels in f32, then
 * those in f64 to its own places in shared memory, which spares 4·V registers. A block's threads
 * are added in two rounds; each block writes one pair, and a second kernel, one block a channel,
 * adds the blocks' pairs. Threads that read or add at once touch different banks. */
#ifndef QS_KERNELS_CUDA_SUMS_H
#define QS_KERNELS_CUDA_SUMS_H

#include "kernels/cuda/lang.cuh"

enum {
    AHEAD = 4,      /* pixels a thread has under way: a batch */
    FEW_BATCHES = 2 /* that are added in f32 */
};

/* Doubles of shared memory for n sums a thread. */
#define KN_SUMS_DOUBLES(n) ((n) * (KN_CU_BLOCK + 15))

/* Where a thread stands: its first channel, its row of pixels; in: it has both. */
struct kn_stand {
    int lanes, rows, lane, row, c0;
    bool in;
};

template <int V> __device__ static inline kn_stand kn_stand_of(int channels)
{
    const kn_norm_shape s = kn_norm_shape_of(channels, V);
    kn_stand at = {s.lanes, s.rows, (int)threadIdx.x % s.lanes, (int)threadIdx.x / s.lanes, 0, 0};
    at.c0 = ((int)blockIdx.y * s.lanes + at.lane) * V;
    at.in = at.row < s.rows && at.c0 < channels;
    return at;
}

/* Pixels p, p + rows, … of `here` pixels; data: the thread's channels of the first. Zeros past the
 * end. */
template <class T, int V>
__device__ static inline void kn_load_ahead(const T *data, int ldc, int p, int rows, int here,
                                            kn_raw<T, V> *out)
{
    const T *from = data + p * ldc;
    int step = rows * ldc;
    KN_UNROLL
    for (int k = 0; k < AHEAD; k++) {
        out[k] = {};
        if (p + k * rows < here)
            out[k] = *(const kn_raw<T, V> *)(from + k * step);
    }
}

/* part: n sums a thread, sum i of thread t at i·stride + t. The threads that add up rows are
 * neighbours in (i, lane): by this stride their places are neighbours too, counted in the 16 pairs
 * of banks. */
__device__ static inline int kn_sums_stride(const kn_stand &at)
{
    return KN_CU_BLOCK + at.lanes % 16;
}

template <int N> __device__ static inline void kn_sums_clear(double *part, const kn_stand &at)
{
    for (int i = 0; i < N; i++)
        part[i * kn_sums_stride(at) + (int)threadIdx.x] = 0;
}

/* Adds the thread's f32 sums to its places and starts them anew. */
template <int N>
__device__ static inline void kn_sums_add(double *part, const kn_stand &at, float few[N])
{
    KN_UNROLL
    for (int i = 0; i < N; i++) {
        part[i * kn_sums_stride(at) + (int)threadIdx.x] += (double)few[i];
        few[i] = 0;
    }
}

/* The block's sums i < N of each channel to partials (channels, grid.x, N/V): sums i, i + V, … are
 * of channel c0 + i. In the first round a thread adds every groups-th row of one sum to the first
 * of them, in the second the groups. */
template <int V, int N>
__device__ static inline void kn_sums_store(double *part, const kn_stand &at, int channels,
                                            double *partials)
{
    int t = (int)threadIdx.x, stride = kn_sums_stride(at), sums = N * at.lanes;
    int groups = sums > KN_CU_BLOCK / 2 ? 1 : KN_CU_BLOCK / sums < 8 ? KN_CU_BLOCK / sums : 8;
    __syncthreads();
    for (int k = t; k < sums * groups; k += KN_CU_BLOCK) {
        int o = k % sums, group = k / sums;
        double *column = part + o / at.lanes * stride + o % at.lanes, sum = 0;
        for (int r = group; r < at.rows; r += groups)
            sum += column[r * at.lanes];
        column[group * at.lanes] = sum;
    }
    __syncthreads();
    for (int o = t; o < sums; o += KN_CU_BLOCK) {
        int i = o / at.lanes, lane = o % at.lanes;
        int c = ((int)blockIdx.y * at.lanes + lane) * V + i % V;
        double sum = 0;
        for (int group = 0; group < groups; group++)
            sum += part[i * stride + group * at.lanes + lane];
        if (c < channels)
            partials[((int64_t)c * gridDim.x + blockIdx.x) * (N / V) + i / V] = sum;
    }
}

/* Sums of n groups of M doubles that lie one after the other; all threads of a block of at most
 * KN_ADDERS, which all get them. part: M·KN_ADDERS doubles of shared memory. */
enum { KN_ADDERS = 1024 };
template <int M>
__device__ static inline void kn_add_pairs(const double *from, int64_t n, double *part, double *sum)
{
    int t = (int)threadIdx.x, threads = (int)blockDim.x;
    const kn_vec<double, M> *pairs = (const kn_vec<double, M> *)from;
    double mine[M] = {};
    for (int64_t i = t; i < n; i += AHEAD * threads) {
        kn_vec<double, M> v[AHEAD];
        KN_UNROLL
        for (int k = 0; k < AHEAD; k++) {
            v[k] = {};
            if (i + k * threads < n)
                v[k] = pairs[i + k * threads];
        }
        KN_UNROLL
        for (int k = 0; k < AHEAD; k++)
            for (int m = 0; m < M; m++)
                mine[m] += v[k].v[m];
    }
    for (int m = 0; m < M; m++)
        part[m * threads + t] = mine[m];
    for (int half = threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half)
            for (int m = 0; m < M; m++)
                part[m * threads + t] += part[m * threads + t + half];
    }
    __syncthreads();
    for (int m = 0; m < M; m++)
        sum[m] = part[m * threads];
}

/* Threads of a block for kn_add_pairs. */
static inline int kn_adders(int64_t n)
{
    return n <= KN_ADDERS ? (int)KN_CU_BLOCK : (int)KN_ADDERS;
}

#endif
