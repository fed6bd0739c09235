/* Multiply-adds that depend on nothing but registers, for a roofline: chains of tensor core
 * products (bf16) or of fused multiply-adds (f32). Each thread writes what it came to, so nothing
 * can be left out; the tests know the value. */
#include "kernels/cuda/lang.cuh"

enum { THREADS = 256, CHAINS = 8 };

/* Every chain adds 16 products of ones a turn: 16·turns. */
__global__ void __launch_bounds__(THREADS) peak_mma(float *out, int turns)
{
    const uint32_t ones = 0x3f803f80u; /* two of bf16 */
    const uint32_t a[4] = {ones, ones, ones, ones}, b[2] = {ones, ones};
    float acc[CHAINS][4] = {};
    for (int t = 0; t < turns; t++)
        KN_UNROLL
    for (int c = 0; c < CHAINS; c++)
        kn_mma_bf16(acc[c], a, b);
    float sum = 0;
    for (int c = 0; c < CHAINS; c++)
        for (int r = 0; r < 4; r++)
            sum += acc[c][r];
    out[KN_THREAD] = sum / (4 * CHAINS);
}

/* x = x·factor + term, with factor and term ones: turns, too. */
__global__ void __launch_bounds__(THREADS) peak_fma(float *out, int turns, float factor, float term)
{
    float x[CHAINS] = {};
    for (int t = 0; t < turns; t++)
        KN_UNROLL
    for (int c = 0; c < CHAINS; c++)
        x[c] = fmaf(x[c], factor, term);
    float sum = 0;
    for (int c = 0; c < CHAINS; c++)
        sum += x[c];
    out[KN_THREAD] = sum / CHAINS;
}

double kn_cu_peak(kn_device *device, float *out, int blocks, int turns, int tensor_cores)
{
    if (tensor_cores) {
        KN_LAUNCH(device, peak_mma, blocks, THREADS, out, turns);
        return 2.0 * 16 * 8 * 16 * CHAINS * turns * (THREADS / 32) * blocks;
    }
    KN_LAUNCH(device, peak_fma, blocks, THREADS, out, turns, 1.0f, 1.0f);
    return 2.0 * CHAINS * turns * THREADS * blocks;
}

size_t kn_cu_peak_bytes(int blocks)
{
    return (size_t)blocks * THREADS * sizeof(float);
}
