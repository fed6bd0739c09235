/* Arithmetic of the synthetic slides: the same bits on every machine.
 *
 * Only integers, +, -, *, / and sqrt on f32/f64, which IEEE 754 rounds exactly, compiled with
 * -ffp-contract=off: no libm transcendental, no reassociation, no fused multiply-add. */
#ifndef QS_WSI_SYNTH_MATH_PRIV_H
#define QS_WSI_SYNTH_MATH_PRIV_H

#include <stdint.h>

/* 64 well-mixed bits of a lattice point: the finaliser of SplitMix64 (Steele et al., "Fast
 * splittable pseudorandom number generators", OOPSLA 2014) over key, layer and place. */
static inline uint64_t synth_hash(uint64_t key, uint32_t layer, int32_t ix, int32_t iy)
{
    uint64_t z = key ^ ((uint64_t)(uint32_t)iy << 32 | (uint32_t)ix);
    z += (uint64_t)layer * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* The k-th of the four 16-bit numbers in a hash, in [0,1). */
static inline float synth_unit(uint64_t hash, int k)
{
    return (float)(hash >> (16 * k) & 0xFFFF) * (1.0f / 65536);
}

/* …and in [lo,hi). */
static inline float synth_range(uint64_t hash, int k, float lo, float hi)
{
    return lo + (hi - lo) * synth_unit(hash, k);
}

static inline float synth_clamp(float x, float lo, float hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* 0 below lo, 1 above hi, smooth between. */
static inline float synth_ramp(float x, float lo, float hi)
{
    float t = synth_clamp((x - lo) / (hi - lo), 0, 1);
    return t * t * (3 - 2 * t);
}

static inline int32_t synth_floor(float x)
{
    int32_t i = (int32_t)x;
    return i - (x < (float)i);
}

/* Value noise in [-1,1] with lattice points at integers, C1-continuous. */
static inline float synth_noise(uint64_t key, uint32_t layer, float x, float y)
{
    int32_t ix = synth_floor(x), iy = synth_floor(y);
    float tx = x - (float)ix, ty = y - (float)iy;
    tx = tx * tx * (3 - 2 * tx);
    ty = ty * ty * (3 - 2 * ty);
    float a = synth_unit(synth_hash(key, layer, ix, iy), 0);
    float b = synth_unit(synth_hash(key, layer, ix + 1, iy), 0);
    float c = synth_unit(synth_hash(key, layer, ix, iy + 1), 0);
    float d = synth_unit(synth_hash(key, layer, ix + 1, iy + 1), 0);
    float top = a + (b - a) * tx, bottom = c + (d - c) * tx;
    return 2 * (top + (bottom - top) * ty) - 1;
}

/* Three octaves, about [-1,1]. */
static inline float synth_fbm(uint64_t key, uint32_t layer, float x, float y)
{
    return 0.57f * synth_noise(key, layer, x, y) +
           0.29f * synth_noise(key, layer + 1, 2 * x + 17, 2 * y + 31) +
           0.14f * synth_noise(key, layer + 2, 4 * x + 47, 4 * y + 73);
}

#endif
