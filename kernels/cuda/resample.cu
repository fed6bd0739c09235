/* 2×2 maximum pooling and bilinear ×2 upsampling (align_corners) on the GPU: one thread makes V
 * channels of one output, forward as backward, so nothing is written twice. Upsampling's transpose
 * is a gather over the few outputs that touch an input (index.h). A thread of upsampling keeps its
 * column and goes down some rows, so that what depends on the column is computed once. */
#include "kernels/cuda/lang.cuh"

/* Thread → pixel of an (n,h,w) plane and first channel. */
struct place {
    int n, y, x, c;
};

template <int V> __device__ static inline place place_of(int64_t item, int h, int w, int channels)
{
    place p;
    int groups = channels / V;
    p.c = (int)(item % groups) * V;
    int64_t pixel = item / groups;
    p.x = (int)(pixel % w);
    p.y = (int)(pixel / w % h);
    p.n = (int)(pixel / w / h);
    return p;
}

template <class T> __device__ static inline T *at(const kn_tensor &t, int n, int y, int x, int c)
{
    return (T *)t.data + (((int64_t)n * t.h + y) * t.w + x) * t.ldc + c;
}

template <class T, int V> __global__ void pool_fwd(kn_tensor x, kn_tensor y, kn_tensor copy)
{
    int64_t items = (int64_t)y.n * y.h * y.w * (y.c / V);
    for (int64_t item = KN_THREAD; item < items; item += KN_THREADS) {
        place p = place_of<V>(item, y.h, y.w, y.c);
        float best[V] = {}, v[V];
        for (int k = 0; k < 4; k++) {
            int row = 2 * p.y + k / 2, col = 2 * p.x + k % 2;
            kn_load_v<T, V>(at<T>(x, p.n, row, col, p.c), v);
            if (copy.data)
                kn_store_v<T, V>(at<T>(copy, p.n, row, col, p.c), v);
            for (int i = 0; i < V; i++)
                best[i] = k == 0 || v[i] > best[i] ? v[i] : best[i];
        }
        kn_store_v<T, V>(at<T>(y, p.n, p.y, p.x, p.c), best);
    }
}

template <class T, int V> __global__ void pool_bwd(kn_tensor x, kn_tensor dy, kn_tensor dx)
{
    int64_t items = (int64_t)dy.n * dy.h * dy.w * (dy.c / V);
    for (int64_t item = KN_THREAD; item < items; item += KN_THREADS) {
        place p = place_of<V>(item, dy.h, dy.w, dy.c);
        float best[V] = {}, v[V], g[V];
        int winner[V] = {};
        kn_load_v<T, V>(at<T>(dy, p.n, p.y, p.x, p.c), g);
        for (int k = 0; k < 4; k++) {
            kn_load_v<T, V>(at<T>(x, p.n, 2 * p.y + k / 2, 2 * p.x + k % 2, p.c), v);
            for (int i = 0; i < V; i++) {
                winner[i] = k == 0 || v[i] > best[i] ? k : winner[i];
                best[i] = winner[i] == k ? v[i] : best[i];
            }
        }
        for (int k = 0; k < 4; k++) {
            T *to = at<T>(dx, p.n, 2 * p.y + k / 2, 2 * p.x + k % 2, p.c);
            kn_load_v<T, V>(to, v);
            for (int i = 0; i < V; i++)
                v[i] = winner[i] == k ? v[i] + g[i] : v[i];
            kn_store_v<T, V>(to, v);
        }
    }
}

/* Rows of one thread of upsampling. */
enum { FWD_ROWS = 4, BWD_ROWS = 2 };

/* The thread's column of t and first channel; outside t past the last. */
template <int V> __device__ static inline place column_of(const kn_tensor &t)
{
    int item = (int)KN_THREAD, groups = t.c / V;
    return place{0, 0, item / groups, item % groups * V};
}

template <class T, int V> __global__ void upsample_fwd(kn_tensor x, kn_tensor y)
{
    const place to = column_of<V>(y);
    const int bands = (y.h + FWD_ROWS - 1) / FWD_ROWS;
    int j0;
    float u, v;
    kn_up_position(to.x, x.w, &j0, &v);
    int right = j0 + 1 < x.w ? x.ldc : 0;
    for (int band = (int)blockIdx.y; band < y.n * bands && to.x < y.w; band += (int)gridDim.y) {
        int n = band / bands, first = band % bands * FWD_ROWS;
        for (int row = first; row < first + FWD_ROWS && row < y.h; row++) {
            int i0;
            kn_up_position(row, x.h, &i0, &u);
            const T *above = at<T>(x, n, i0, j0, to.c);
            const T *below = i0 + 1 < x.h ? above + (int64_t)x.w * x.ldc : above;
            float a[V], b[V], c[V], d[V];
            kn_load_v<T, V>(above, a);
            kn_load_v<T, V>(above + right, b);
            kn_load_v<T, V>(below, c);
            kn_load_v<T, V>(below + right, d);
            KN_UNROLL
            for (int i = 0; i < V; i++)
                a[i] = (1 - u) * ((1 - v) * a[i] + v * b[i]) + u * ((1 - v) * c[i] + v * d[i]);
            kn_store_v<T, V>(at<T>(y, n, row, to.x, to.c), a);
        }
    }
}

/* sum += what one row of outputs, from the first that may touch the input on, gives it. */
template <class T, int V>
__device__ static inline void add_row(const T *row, int ldc, float wy, const float *wx, float *sum)
{
    kn_raw<T, V> loaded[KN_UP_REACH];
    KN_UNROLL
    for (int k = 0; k < KN_UP_REACH; k++) {
        loaded[k] = {};
        if (wx[k] != 0)
            loaded[k] = *(const kn_raw<T, V> *)(row + k * ldc);
    }
    KN_UNROLL
    for (int k = 0; k < KN_UP_REACH; k++) {
        float g[V];
        kn_widen(loaded[k], g);
        KN_UNROLL
        for (int i = 0; i < V; i++)
            sum[i] += wy * wx[k] * g[i];
    }
}

template <class T, int V> __global__ void upsample_bwd(kn_tensor dy, kn_tensor dx)
{
    const place to = column_of<V>(dx);
    const int bands = (dx.h + BWD_ROWS - 1) / BWD_ROWS, left = kn_up_first(to.x);
    float wx[KN_UP_REACH];
    KN_UNROLL
    for (int k = 0; k < KN_UP_REACH; k++)
        wx[k] = kn_up_weight(left + k, to.x, dx.w);
    for (int band = (int)blockIdx.y; band < dx.n * bands && to.x < dx.w; band += (int)gridDim.y) {
        int n = band / bands, first = band % bands * BWD_ROWS;
        for (int row = first; row < first + BWD_ROWS && row < dx.h; row++) {
            float sum[V] = {};
            KN_UNROLL
            for (int j = 0; j < KN_UP_REACH; j++) {
                int from = kn_up_first(row) + j;
                float wy = kn_up_weight(from, row, dx.h);
                if (wy != 0)
                    add_row<T, V>(at<T>(dy, n, from, left, to.c), dy.ldc, wy, wx, sum);
            }
            kn_store_v<T, V>(at<T>(dx, n, row, to.x, to.c), sum);
        }
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

/* One thread for V channels of each pixel of t. */
static int grid_of_pixels(const kn_tensor &t, int v)
{
    return kn_grid((int64_t)t.n * t.h * t.w * (t.c / v), KN_CU_BLOCK, 1 << 20);
}

/* One thread for V channels of a column of t in each band of so many rows. */
static kn_grid_size grid_of_bands(const kn_tensor &t, int v, int rows)
{
    return KN_GRID(kn_div_up((int64_t)t.w * (t.c / v), KN_CU_BLOCK),
                   kn_grid(t.n * kn_div_up(t.h, rows), 1, 65535));
}

void kn_cu_pool_fwd(kn_device *device, kn_tensor x, kn_tensor y, kn_tensor copy)
{
    bool wide = kn_is_wide(x) && kn_is_wide(y) && (!copy.data || kn_is_wide(copy));
    KN_BY_TYPE(y.dtype, wide, {
        KN_LAUNCH(device, (pool_fwd<T, V>), grid_of_pixels(y, V), KN_CU_BLOCK, x, y, copy);
    });
}

void kn_cu_pool_bwd(kn_device *device, kn_tensor x, kn_tensor dy, kn_tensor dx)
{
    KN_BY_TYPE(dy.dtype, kn_is_wide(x) && kn_is_wide(dy) && kn_is_wide(dx), {
        KN_LAUNCH(device, (pool_bwd<T, V>), grid_of_pixels(dy, V), KN_CU_BLOCK, x, dy, dx);
    });
}

void kn_cu_upsample_fwd(kn_device *device, kn_tensor x, kn_tensor y)
{
    KN_BY_TYPE(y.dtype, kn_is_wide(x) && kn_is_wide(y), {
        KN_LAUNCH(device, (upsample_fwd<T, V>), grid_of_bands(y, V, FWD_ROWS), KN_CU_BLOCK, x, y);
    });
}

void kn_cu_upsample_bwd(kn_device *device, kn_tensor dy, kn_tensor dx)
{
    KN_BY_TYPE(dx.dtype, kn_is_wide(dy) && kn_is_wide(dx), {
        KN_LAUNCH(device, (upsample_bwd<T, V>), grid_of_bands(dx, V, BWD_ROWS), KN_CU_BLOCK, dy,
                  dx);
    });
}
