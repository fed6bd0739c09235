#include "base/rng.h"

#include "base/philox.h"

#include <math.h>

static uint64_t mix(uint64_t x)
{
    /* splitmix64's finaliser (Steele, Lea, Flood 2014). */
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t qs_rng_stream_id(uint64_t a, uint64_t b, uint64_t c)
{
    return mix(mix(mix(a) ^ b) ^ c);
}

void qs_rng_init(qs_rng *rng, uint64_t seed, uint64_t stream)
{
    *rng = (qs_rng){.key = seed, .stream = stream, .pos = 0};
}

uint32_t qs_rng_u32(qs_rng *rng)
{
    qs_philox4 block = qs_philox(rng->key, rng->pos / 4, rng->stream);
    return block.v[rng->pos++ % 4];
}

uint64_t qs_rng_u64(qs_rng *rng)
{
    uint64_t hi = qs_rng_u32(rng);
    return hi << 32 | qs_rng_u32(rng);
}

double qs_rng_unit(qs_rng *rng)
{
    return (double)(qs_rng_u64(rng) >> 11) * 0x1p-53;
}

double qs_rng_range(qs_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * qs_rng_unit(rng);
}

uint32_t qs_rng_below(qs_rng *rng, uint32_t n)
{
    uint32_t floor_bias = (uint32_t)(-n) % n; /* Lemire's rejection bound: 2^32 mod n */
    for (;;) {
        uint64_t m = (uint64_t)qs_rng_u32(rng) * n;
        if ((uint32_t)m >= floor_bias)
            return (uint32_t)(m >> 32);
    }
}

double qs_rng_normal(qs_rng *rng)
{
    double u = 1.0 - qs_rng_unit(rng), v = qs_rng_unit(rng);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void qs_rng_shuffle_u32(qs_rng *rng, uint32_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        uint32_t j = qs_rng_below(rng, (uint32_t)i), t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
