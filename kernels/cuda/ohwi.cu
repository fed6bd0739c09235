/* A gradient of weights as cuDNN makes it beside NHWC tensors, (oc,k,k,ic) of bf16, added to the
 * master's, (oc,ic,k,k) of f32. One thread an element. (The weights of that shape: mma_pack.) */
#include "kernels/cuda/lang.cuh"

__global__ void ohwi_add(int oc, int ic, int taps, const kn_bf16 *dw, float *dweight)
{
    for (int64_t i = KN_THREAD; i < (int64_t)oc * ic * taps; i += KN_THREADS)
        dweight[kn_oihw_of_ohwi(i, ic, taps)] += kn_bf16_to_f32(dw[i]);
}

void kn_cu_ohwi_add(kn_device *device, kn_cu_conv c, const void *dw, float *dweight)
{
    int64_t n = (int64_t)c.oc * c.ic * c.k * c.k;
    KN_LAUNCH(device, ohwi_add, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, c.oc, c.ic,
              c.k * c.k, (const kn_bf16 *)dw, dweight);
}
