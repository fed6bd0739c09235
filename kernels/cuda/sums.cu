/* Sums that end a convolution's weight gradient: over the splits of its pixels, and of the bias
 * over all pixels. */
#include "kernels/cuda/sums.cuh"

enum {
    BIAS_BLOCKS = 256,
    AT_ONCE = 8 /* splits that a thread loads before it adds */
};

/* dweight (n/taps, taps) += partials (splits, taps, n/taps). A block has `width` weights side by
 * side, and for each blockDim.x/width threads: thread g of them adds splits g, g + groups, …, and a
 * tree adds those.
 */
__global__ void add_splits(float *dweight, int64_t n, int taps, int splits, int width,
                           const float *partials)
{
    KN_SHARED(double, part, KN_ADDERS);
    int t = (int)threadIdx.x, group = t / width, groups = (int)blockDim.x / width;
    int64_t i = (int64_t)blockIdx.x * width + t % width;
    double sum = 0;
    for (int s = group; s < splits && i < n; s += AT_ONCE * groups) {
        float v[AT_ONCE];
        KN_UNROLL
        for (int k = 0; k < AT_ONCE; k++)
            v[k] = s + k * groups < splits ? partials[(s + k * groups) * n + i] : 0.0f;
        KN_UNROLL
        for (int k = 0; k < AT_ONCE; k++)
            sum += (double)v[k];
    }
    part[t] = sum;
    for (int half = groups / 2; half > 0; half /= 2) {
        __syncthreads();
        if (group < half)
            part[t] += part[t + half * width];
    }
    if (group == 0 && i < n) {
        int64_t of_tap = n / taps;
        dweight[i % of_tap * taps + i / of_tap] += (float)part[t];
    }
}

/* Sums of each channel over a block's pixels: partials (channels, grid.x). */
template <class T, int V>
__global__ void __launch_bounds__(KN_CU_BLOCK) bias_sums(kn_tensor ddst, int each, double *partials)
{
    KN_SHARED(double, part, KN_SUMS_DOUBLES(V));
    const kn_stand at = kn_stand_of<V>(ddst.c);
    int64_t p0 = (int64_t)blockIdx.x * each, left = (int64_t)ddst.n * ddst.h * ddst.w - p0;
    int here = (int)(left < each ? left : each), batch = 0;
    const T *data = (const T *)ddst.data + p0 * ddst.ldc + at.c0;
    float few[V] = {};
    kn_sums_clear<V>(part, at);
    for (int p = at.row; p < here && at.in; p += AHEAD * at.rows) {
        kn_raw<T, V> loaded[AHEAD];
        kn_load_ahead<T, V>(data, ddst.ldc, p, at.rows, here, loaded);
        KN_UNROLL
        for (int k = 0; k < AHEAD; k++) {
            float v[V];
            kn_widen(loaded[k], v);
            KN_UNROLL
            for (int i = 0; i < V; i++)
                few[i] += v[i];
        }
        if (++batch % FEW_BATCHES == 0)
            kn_sums_add<V>(part, at, few);
    }
    kn_sums_add<V>(part, at, few);
    kn_sums_store<V, V>(part, at, ddst.c, partials);
}

__global__ void bias_add(float *dbias, int blocks, const double *partials)
{
    KN_SHARED(double, part, KN_ADDERS);
    double sum;
    kn_add_pairs<1>(partials + (int64_t)blockIdx.x * blocks, blocks, part, &sum);
    if (threadIdx.x == 0)
        dbias[blockIdx.x] += (float)sum;
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

void kn_cu_add_splits(kn_device *device, float *dweight, int64_t n, int taps, int splits,
                      const float *partials)
{
    int block = splits > 64 ? (int)KN_ADDERS : (int)KN_CU_BLOCK, width = block;
    while (width > 32 && splits > AT_ONCE * (block / width))
        width /= 2;
    KN_LAUNCH(device, add_splits, kn_div_up(n, width), block, dweight, n, taps, splits, width,
              partials);
}

size_t kn_cu_bias_grad_bytes(int oc)
{
    return (size_t)BIAS_BLOCKS * (size_t)oc * sizeof(double);
}

template <class T, int V>
static void start_bias_grad(kn_device *device, const kn_tensor &ddst, float *dbias, double *scratch)
{
    const kn_norm_shape s = kn_norm_shape_of(ddst.c, V);
    int64_t pixels = (int64_t)ddst.n * ddst.h * ddst.w;
    int64_t each = kn_div_up(pixels, kn_grid(pixels, AHEAD * s.rows, BIAS_BLOCKS));
    int blocks = (int)kn_div_up(pixels, each);
    KN_LAUNCH(device, (bias_sums<T, V>), KN_GRID(blocks, s.groups), KN_CU_BLOCK, ddst, (int)each,
              scratch);
    KN_LAUNCH(device, bias_add, ddst.c, KN_CU_BLOCK, dbias, blocks, (const double *)scratch);
}

void kn_cu_bias_grad(kn_device *device, kn_tensor ddst, float *dbias, void *scratch)
{
    double *partials = (double *)scratch;
    if (ddst.dtype != KN_BF16)
        start_bias_grad<float, 1>(device, ddst, dbias, partials);
    else if (kn_moves_by(ddst, 8))
        start_bias_grad<kn_bf16, 8>(device, ddst, dbias, partials);
    else if (kn_moves_by(ddst, 2))
        start_bias_grad<kn_bf16, 2>(device, ddst, dbias, partials);
    else
        start_bias_grad<kn_bf16, 1>(device, ddst, dbias, partials);
}
