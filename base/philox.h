/* Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3" (SC 2011): 128 counter bits and a 64-bit key give 128 random bits, with no state.
 * So any element of any mask can be made again, anywhere, in any order: dropout in backward, an
 * augmentation after a resume, a synthetic pixel on another machine.
 * This header is valid C17 and CUDA. */
#ifndef QS_BASE_PHILOX_H
#define QS_BASE_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define QS_DEVICE __host__ __device__ static inline
#else
#define QS_DEVICE static inline
#endif

typedef struct {
    uint32_t v[4];
} qs_philox4;

QS_DEVICE qs_philox4 qs_philox(uint64_t key, uint64_t counter_lo, uint64_t counter_hi)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)counter_lo, c1 = (uint32_t)(counter_lo >> 32);
    uint32_t c2 = (uint32_t)counter_hi, c3 = (uint32_t)(counter_hi >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    qs_philox4 out = {{c0, c1, c2, c3}};
    return out;
}

/* [0,1) with 24 bits, exactly representable in f32. */
QS_DEVICE float qs_u32_to_unit_f32(uint32_t x)
{
    return (float)(x >> 8) * (1.0f / 16777216.0f);
}

#endif
