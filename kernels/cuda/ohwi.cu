/* Weights as cuDNN wants them beside NHWC tensors, (oc,k,k,ic) of bf16, from the master's
 * (oc,ic,k,k) of f32; and a gradient of that shape added to the master's. One thread an element. */
#include "kernels/cuda/lang.cuh"

__global__ void ohwi_pack(int oc, int ic, int taps, const float *weight, kn_bf16 *to)
{
    for (int64_t i = KN_THREAD; i < (int64_t)oc * ic * taps; i += KN_THREADS)
        to[i] = kn_bf16_from_f32(weight[kn_oihw_of_ohwi(i, ic, taps)]);
}

__global__ void ohwi_add(int oc, int ic, int taps, const kn_bf16 *dw, float *dweight)
{
    for (int64_t i = KN_THREAD; i < (int64_t)oc * ic * taps; i += KN_THREADS)
        dweight[kn_oihw_of_ohwi(i, ic, taps)] += kn_bf16_to_f32(dw[i]);
}

void kn_cu_ohwi_pack(kn_device *device, kn_cu_conv c, const float *weight, void *to)
{
    int64_t n = (int64_t)c.oc * c.ic * c.k * c.k;
    KN_LAUNCH(device, ohwi_pack, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, c.oc, c.ic,
              c.k * c.k, weight, (kn_bf16 *)to);
}

void kn_cu_ohwi_add(kn_device *device, kn_cu_conv c, const void *dw, float *dweight)
{
    int64_t n = (int64_t)c.oc * c.ic * c.k * c.k;
    KN_LAUNCH(device, ohwi_add, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, c.oc, c.ic,
              c.k * c.k, (const kn_bf16 *)dw, dweight);
}
