/* exp and log1p in float for the loss's inner loops: without branches, calls or tables, so that a
 * loop over them vectorises, and without anything that depends on the vector width, so that every
 * instruction set gives the same bits. Polynomials are minimax fits (Lawson's iteration on
 * Chebyshev nodes, weighted for relative error), coefficients rounded to float.
 *
 * Bounds, over every float of the range (tests/kernels/test_loss_cpu.c sweeps them):
 *   kn_expf_neg  x in [-87.33, 0]: relative error <= 1e-7. Below: 0. NaN: NaN.
 *   kn_log1pf    x in [0, 16]:     relative error <= 1e-7. NaN: NaN.
 *   kn_logf      x positive, normal: error <= 1e-7·max(|log x|, 1). NaN: NaN. */
#ifndef QS_KERNELS_CPU_LOSS_MATH_H
#define QS_KERNELS_CPU_LOSS_MATH_H

#include <stdint.h>
#include <string.h>

static inline float kn_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t kn_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* exp(x), x <= 0: x = k·ln2 + r, |r| <= ln2/2, exp(r) = 1 + r + r²·P(r). */
static inline float kn_expf_neg(float x)
{
    const float round =
        12582912.0f; /* 1.5·2^23: adding it leaves the nearest integer in the low bits */
    const float ln2_hi = 0.693359375f,
                ln2_lo = -2.12194440e-4f;      /* 10 bits + the rest: k·ln2_hi is exact */
    float clamped = x < -87.33f ? -87.33f : x; /* a NaN passes */
    float t = clamped * 1.44269504f + round;
    float k = t - round;
    float r = (clamped - k * ln2_hi) - k * ln2_lo;
    float p = 1.3946176e-3f + r * 1.9918525e-4f;
    p = 8.3332639e-3f + r * p;
    p = 4.1666269e-2f + r * p;
    p = 1.66666672e-1f + r * p;
    p = 0.5f + r * p;
    p = 1.0f + (r + r * r * p);
    float scale =
        kn_bits_f32((kn_f32_bits(t) - 0x4B400000u + 127u) << 23); /* 2^k, k in [-126, 0] */
    return x < -87.33f ? 0.0f : p * scale;
}

/* log(u) + lost, u a positive normal number: u = 2^k·m, m in [√½, √2), f = m-1, log m = f - f²/2 +
 * f³·Q(f). */
static inline float kn_logf_plus(float u, float lost)
{
    int32_t bits = (int32_t)(kn_f32_bits(u) - 0x3F3504F3u); /* √½ */
    float k = (float)(bits >> 23);
    float f = kn_bits_f32(((uint32_t)bits & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
    float q = 1.1893512e-1f + f * (-1.1694335e-1f + f * 6.7575701e-2f);
    q = -1.2403083e-1f + f * q;
    q = 1.4218554e-1f + f * q;
    q = -1.6668090e-1f + f * q;
    q = 2.0002167e-1f + f * q;
    q = -2.5000009e-1f + f * q;
    q = 3.3333310e-1f + f * q;
    float f2 = f * f;
    float tail = f2 * (f * q - 0.5f) + (lost + k * -2.12194440e-4f);
    return k * 0.693359375f + (f + tail);
}

/* log(x), x a positive normal number. */
static inline float kn_logf(float x)
{
    return kn_logf_plus(x, x - x); /* 0, or NaN for NaN */
}

/* log(1+x), 0 <= x <= 16; what rounding took from 1+x comes back as its derivative. */
static inline float kn_log1pf(float x)
{
    float u = 1.0f + x;
    return kn_logf_plus(u, (x - (u - 1.0f)) / u);
}

#endif
