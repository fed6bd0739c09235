/* 2×2 maximum pooling and bilinear ×2 upsampling (align_corners) on the GPU: one thread makes V
 * channels of one output, forward as backward, so nothing is written twice. Upsampling's transpose
 * is a gather over the few outputs that touch an input (index.h). */
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

template <class T, int V> __global__ void upsample_fwd(kn_tensor x, kn_tensor y)
{
    int64_t items = (int64_t)y.n * y.h * y.w * (y.c / V);
    for (int64_t item = KN_THREAD; item < items; item += KN_THREADS) {
        place p = place_of<V>(item, y.h, y.w, y.c);
        int i0, j0;
        float u, v;
        kn_up_position(p.y, x.h, &i0, &u);
        kn_up_position(p.x, x.w, &j0, &v);
        int i1 = i0 + 1 < x.h ? i0 + 1 : i0, j1 = j0 + 1 < x.w ? j0 + 1 : j0;
        float a[V], b[V], c[V], d[V];
        kn_load_v<T, V>(at<T>(x, p.n, i0, j0, p.c), a);
        kn_load_v<T, V>(at<T>(x, p.n, i0, j1, p.c), b);
        kn_load_v<T, V>(at<T>(x, p.n, i1, j0, p.c), c);
        kn_load_v<T, V>(at<T>(x, p.n, i1, j1, p.c), d);
        for (int i = 0; i < V; i++)
            a[i] = (1 - u) * ((1 - v) * a[i] + v * b[i]) + u * ((1 - v) * c[i] + v * d[i]);
        kn_store_v<T, V>(at<T>(y, p.n, p.y, p.x, p.c), a);
    }
}

template <class T, int V> __global__ void upsample_bwd(kn_tensor dy, kn_tensor dx)
{
    int64_t items = (int64_t)dx.n * dx.h * dx.w * (dx.c / V);
    for (int64_t item = KN_THREAD; item < items; item += KN_THREADS) {
        place p = place_of<V>(item, dx.h, dx.w, dx.c);
        int first_y = kn_up_first(p.y), first_x = kn_up_first(p.x);
        float wx[KN_UP_REACH], sum[V] = {};
        for (int k = 0; k < KN_UP_REACH; k++)
            wx[k] = kn_up_weight(first_x + k, p.x, dx.w);
        for (int j = 0; j < KN_UP_REACH; j++) {
            float wy = kn_up_weight(first_y + j, p.y, dx.h);
            if (wy == 0)
                continue;
            for (int k = 0; k < KN_UP_REACH; k++) {
                if (wx[k] == 0)
                    continue;
                float g[V];
                kn_load_v<T, V>(at<T>(dy, p.n, first_y + j, first_x + k, p.c), g);
                for (int i = 0; i < V; i++)
                    sum[i] += wy * wx[k] * g[i];
            }
        }
        kn_store_v<T, V>(at<T>(dx, p.n, p.y, p.x, p.c), sum);
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static bool vectors(const kn_tensor &t, int v)
{
    return !t.data || (t.c % v == 0 && t.ldc % v == 0 && (uintptr_t)t.data % 16 == 0);
}

/* One thread for V channels of each pixel of `of`; 16 bytes at a time where all tensors allow. */
#define START(kernel, of, wide, ...)                                                               \
    do {                                                                                           \
        int vec = (wide) ? ((of).dtype == KN_BF16 ? 8 : 4) : 1;                                    \
        int64_t items = (int64_t)(of).n * (of).h * (of).w * ((of).c / vec);                        \
        int grid = kn_grid(items, KN_CU_BLOCK, 1 << 20);                                           \
        if ((of).dtype == KN_BF16 && vec == 8)                                                     \
            KN_LAUNCH(device, (kernel<kn_bf16, 8>), grid, KN_CU_BLOCK, __VA_ARGS__);               \
        else if ((of).dtype == KN_BF16)                                                            \
            KN_LAUNCH(device, (kernel<kn_bf16, 1>), grid, KN_CU_BLOCK, __VA_ARGS__);               \
        else if (vec == 4)                                                                         \
            KN_LAUNCH(device, (kernel<float, 4>), grid, KN_CU_BLOCK, __VA_ARGS__);                 \
        else                                                                                       \
            KN_LAUNCH(device, (kernel<float, 1>), grid, KN_CU_BLOCK, __VA_ARGS__);                 \
    } while (0)

static int wide_of(const kn_tensor &t)
{
    return t.dtype == KN_BF16 ? 8 : 4;
}

void kn_cu_pool_fwd(kn_device *device, kn_tensor x, kn_tensor y, kn_tensor copy)
{
    int v = wide_of(x);
    START(pool_fwd, y, vectors(x, v) && vectors(y, v) && vectors(copy, v), x, y, copy);
}

void kn_cu_pool_bwd(kn_device *device, kn_tensor x, kn_tensor dy, kn_tensor dx)
{
    int v = wide_of(x);
    START(pool_bwd, dy, vectors(x, v) && vectors(dy, v) && vectors(dx, v), x, dy, dx);
}

void kn_cu_upsample_fwd(kn_device *device, kn_tensor x, kn_tensor y)
{
    int v = wide_of(x);
    START(upsample_fwd, y, vectors(x, v) && vectors(y, v), x, y);
}

void kn_cu_upsample_bwd(kn_device *device, kn_tensor dy, kn_tensor dx)
{
    int v = wide_of(dy);
    START(upsample_bwd, dx, vectors(dy, v) && vectors(dx, v), dy, dx);
}
