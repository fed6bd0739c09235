/* A sequential stream of random numbers over Philox: {key, stream, position} is its whole state,
 * so a stream can be named ("augmentation of iteration 17, image 3"), saved as three integers and
 * made again. The same on every machine: integers and exactly rounded arithmetic, no libm but
 * where said. Not thread-safe; give each thread its own stream. */
#ifndef QS_BASE_RNG_H
#define QS_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t key;    /* seed */
    uint64_t stream; /* which stream of that seed */
    uint64_t pos;    /* 32-bit words drawn so far */
} qs_rng;

/* A stream id from up to three integers (purpose, iteration, item), well mixed. */
uint64_t qs_rng_stream_id(uint64_t a, uint64_t b, uint64_t c);
void qs_rng_init(qs_rng *rng, uint64_t seed, uint64_t stream);
uint32_t qs_rng_u32(qs_rng *rng);
uint64_t qs_rng_u64(qs_rng *rng);
double qs_rng_unit(qs_rng *rng);                        /* [0,1), 53 bits */
double qs_rng_range(qs_rng *rng, double lo, double hi); /* [lo,hi) */
uint32_t qs_rng_below(qs_rng *rng, uint32_t n);         /* 0..n-1, unbiased; n > 0 */
double qs_rng_normal(qs_rng *rng);                      /* N(0,1); Box-Muller, uses libm */
void qs_rng_shuffle_u32(qs_rng *rng, uint32_t *items, size_t n);

#endif
