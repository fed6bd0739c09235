/* bfloat16, the upper half of an f32, rounded to nearest even. Valid as C17 and CUDA. */
#ifndef QS_KERNELS_BF16_H
#define QS_KERNELS_BF16_H

#include "base/philox.h" /* QS_DEVICE */

#include <stdint.h>
#include <string.h>

typedef struct {
    uint16_t bits;
} kn_bf16;

QS_DEVICE float kn_bf16_to_f32(kn_bf16 x)
{
    uint32_t u = (uint32_t)x.bits << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* NaN stays NaN (quiet), infinity stays infinity, what is past the largest bf16 becomes infinity.
 */
QS_DEVICE kn_bf16 kn_bf16_from_f32(float f)
{
    kn_bf16 out;
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(f));
#else
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        out.bits = 0x7fff; /* as the GPU's instruction */
    else
        out.bits = (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
    return out;
}

#endif
