/* Predictions blended in the GPU's memory (infer/predict/stitch.h has the strip).
 *
 * One thread a pixel of a window. Windows of one call may overlap, so a pixel of the strip belongs
 * to the first window that covers it, and that window's thread adds all of them, in order:
 *
 *      window 0  ├───────────┤            threads of 0 add 0 and 1 here ┐
 *      window 1          ├───────────┤                            ├──┴──┤
 *
 * So no element is written by two threads, and a pixel's sum has the order of the windows and no
 * other. A logit that is not finite sets a mark: whoever sets it writes the same. */
#include "kernels/cuda/lang.cuh"

#include <float.h>

/* Largest logit and Σ exp(z - top), in order of the classes; false when one is not finite. */
__device__ static inline bool softmax_of(const float *z, int classes, float *top, float *sum)
{
    float t = z[0], s = 0;
    bool finite = true;
    for (int c = 0; c < classes; c++) {
        t = z[c] > t ? z[c] : t;
        finite = finite && z[c] >= -FLT_MAX && z[c] <= FLT_MAX;
    }
    for (int c = 0; c < classes; c++)
        s += expf(z[c] - t);
    *top = t;
    *sum = s;
    return finite;
}

/* Pixel (i, j) of image k, times its weight, to acc (classes). */
__device__ static inline void add_pixel(const kn_cu_blend &b, const kn_tensor &z,
                                        const kn_tensor &second, int k, int i, int j, float *acc)
{
    int64_t pixel = ((int64_t)k * b.window + i) * b.window + j;
    const float *p = (const float *)z.data + pixel * z.ldc, *q = nullptr;
    float weight = b.weights[i] * b.weights[j], top, sum, top2 = 0, sum2 = 1;
    bool finite = softmax_of(p, b.classes, &top, &sum);
    if (second.data) {
        q = (const float *)second.data + pixel * second.ldc;
        finite = softmax_of(q, b.classes, &top2, &sum2) && finite;
    }
    for (int c = 0; c < b.classes; c++) {
        float prob = expf(p[c] - top) / sum;
        if (q)
            prob = 0.5f * (prob + expf(q[c] - top2) / sum2);
        acc[c] += weight * prob;
    }
    if (!finite)
        *b.bad = 1;
}

/* grid.y: windows; grid.x: their pixels. */
__global__ void blend_add(kn_cu_blend b, kn_tensor z, kn_tensor second, kn_cu_places at, int n_rows)
{
    int first = (int)blockIdx.y;
    for (int64_t item = KN_THREAD; item < (int64_t)n_rows * b.window; item += KN_THREADS) {
        int i = (int)(item / b.window);
        int64_t x = at.x[first] + item % b.window;
        bool mine = x < b.w;
        for (int k = 0; k < first; k++)
            mine = mine && !(x >= at.x[k] && x < at.x[k] + b.window);
        if (!mine)
            continue;
        float *acc = b.acc + ((at.y + i) % b.window * b.w + x) * b.classes;
        for (int k = first; k < at.n; k++)
            if (x >= at.x[k] && x < at.x[k] + b.window)
                add_pixel(b, z, second, k, i, (int)(x - at.x[k]), acc);
    }
}

__global__ void blend_take(kn_cu_blend b, int slot, int n, uint8_t *label, float *prob)
{
    for (int64_t i = KN_THREAD; i < n * b.w; i += KN_THREADS) {
        float *acc = b.acc + (slot * b.w + i) * b.classes, sum = 0, most = acc[0];
        int best = 0;
        for (int c = 0; c < b.classes; c++) {
            sum += acc[c];
            best = acc[c] > most ? c : best;
            most = acc[c] > most ? acc[c] : most;
        }
        label[i] = (uint8_t)best;
        for (int c = 0; c < b.classes; c++) {
            if (prob)
                prob[i * b.classes + c] = sum > 0 ? acc[c] / sum : c == 0 ? 1.0f : acc[c];
            acc[c] = 0;
        }
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

void kn_cu_blend_add(kn_device *device, kn_cu_blend blend, kn_tensor z, kn_tensor second,
                     kn_cu_places places, int n_rows)
{
    int grid = kn_grid((int64_t)n_rows * blend.window, KN_CU_BLOCK, 1 << 20);
    KN_LAUNCH(device, blend_add, KN_GRID(grid, places.n), KN_CU_BLOCK, blend, z, second, places,
              n_rows);
}

void kn_cu_blend_take(kn_device *device, kn_cu_blend blend, int slot, int n, uint8_t *label,
                      float *prob)
{
    KN_LAUNCH(device, blend_take, kn_grid(n * blend.w, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, blend,
              slot, n, label, prob);
}
