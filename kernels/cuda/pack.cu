/* Weights in the order that convolutions want them: ours for the tensor cores, both ways, and
 * cuDNN's beside NHWC tensors, (oc,k,k,ic); and a gradient of that order back to the master's. */
#include "kernels/cuda/lang.cuh"

/* Element i of an item: of fwd, then bwd, then ohwi, then the bias. */
QS_DEVICE int64_t fwd_elements(const kn_cu_pack_item &c)
{
    return kn_conv_packed_n((c.oc + 7) / 8 * 8, c.taps, c.ic);
}
QS_DEVICE int64_t bwd_elements(const kn_cu_pack_item &c)
{
    return c.bwd ? kn_conv_packed_n((c.ic + 7) / 8 * 8, c.taps, c.oc) : 0;
}
QS_DEVICE int64_t ohwi_elements(const kn_cu_pack_item &c)
{
    return c.ohwi ? (int64_t)c.oc * c.ic * c.taps : 0;
}

/* What lies at element `at` of fwd, or of bwd: there outputs are the convolution's inputs and the
 * taps are mirrored. */
__device__ static inline float packed_weight(const kn_cu_pack_item &c, uint32_t at, bool back)
{
    uint32_t padded = (uint32_t)((back ? c.ic : c.oc) + 7) / 8 * 8, row = at / KN_CONV_KC;
    uint32_t turn_tap = row / padded, turn = turn_tap / (uint32_t)c.taps;
    int out = (int)(row - turn_tap * padded), tap = (int)turn_tap - (int)turn * c.taps;
    int in = (int)(turn * KN_CONV_KC + at % KN_CONV_KC);
    int o = back ? in : out, ic = back ? out : in;
    int from = back ? c.taps - 1 - tap : tap;
    return o < c.oc && ic < c.ic ? c.weight[(o * c.ic + ic) * c.taps + from] : 0.0f;
}

/* One thread an element of all items, which lie one after the other: n of them. */
__global__ void mma_pack(kn_cu_pack pack, int64_t n)
{
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        int low = 0, high = pack.n - 1;
        while (low < high) {
            int middle = (low + high + 1) / 2;
            if (pack.items[middle].first <= i)
                low = middle;
            else
                high = middle - 1;
        }
        const kn_cu_pack_item &c = pack.items[low];
        int64_t at = i - c.first, n_fwd = fwd_elements(c), n_bwd = bwd_elements(c);
        int64_t n_ohwi = ohwi_elements(c);
        if (at < n_fwd)
            kn_store((kn_bf16 *)c.fwd + at, packed_weight(c, (uint32_t)at, false));
        else if ((at -= n_fwd) < n_bwd)
            kn_store((kn_bf16 *)c.bwd + at, packed_weight(c, (uint32_t)at, true));
        else if ((at -= n_bwd) < n_ohwi)
            kn_store((kn_bf16 *)c.ohwi + at, c.weight[kn_oihw_of_ohwi(at, c.ic, c.taps)]);
        else
            c.bias_out[at - n_ohwi] = c.bias ? c.bias[at - n_ohwi] : 0.0f;
    }
}

/* dweight (oc,ic,k,k) += dw (oc,k,k,ic) of bf16; one thread an element. */
__global__ void ohwi_add(int oc, int ic, int taps, const kn_bf16 *dw, float *dweight)
{
    for (int64_t i = KN_THREAD; i < (int64_t)oc * ic * taps; i += KN_THREADS)
        dweight[kn_oihw_of_ohwi(i, ic, taps)] += kn_bf16_to_f32(dw[i]);
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

void kn_cu_mma_pack(kn_device *device, kn_cu_pack pack)
{
    int64_t n = 0;
    for (int k = 0; k < pack.n; k++) {
        kn_cu_pack_item *c = &pack.items[k];
        c->first = n;
        n += fwd_elements(*c) + bwd_elements(*c) + ohwi_elements(*c) + c->oc;
    }
    KN_LAUNCH(device, mma_pack, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, pack, n);
}

void kn_cu_ohwi_add(kn_device *device, kn_cu_conv c, const void *dw, float *dweight)
{
    int64_t n = (int64_t)c.oc * c.ic * c.k * c.k;
    KN_LAUNCH(device, ohwi_add, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, c.oc, c.ic,
              c.k * c.k, (const kn_bf16 *)dw, dweight);
}
