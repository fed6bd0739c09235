/* What the processor can do, for a roofline: multiply-adds that depend on nothing but registers,
 * and bytes that go past every cache. Vectors are as wide as the backend's passes have them; bf16
 * is AVX-512's dot product of pairs. Each loop is run some times in the engine's team, and the best
 * run counts, since other programs can only slow one down: of arithmetic each thread's own best. */
#include "kernels/cpu/cpu_priv.h"

#include "base/error.h"

#include <omp.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum {
    CHAINS = 12, /* more than latency × units (4 × 2) and fewer than registers (16 with AVX2) */
    TURNS = 1 << 18, /* half a millisecond: shorter than a turn of the scheduler */
    ROUNDS = 40,
    COPIES = 7,
    COPY_BYTES = 32 << 20, /* each thread's source, and its destination */
};

/* x = x·m + a stays finite: it goes to a/(1-m). `sink` keeps the result alive. */
static const float FACTOR = 0.999f, TERM = 0.001f;

/* Multiplications and additions of one call. */
typedef double (*flop_loop)(int64_t turns, volatile float *sink);

#define FMA_LOOP(name, vl, attribute)                                                              \
    attribute static double name(int64_t turns, volatile float *sink)                              \
    {                                                                                              \
        typedef float vec __attribute__((vector_size(4 * (vl))));                                  \
        vec x[CHAINS], m = {0}, a = {0};                                                           \
        m += *sink + FACTOR;                                                                       \
        a += *sink + TERM;                                                                         \
        for (int c = 0; c < CHAINS; c++)                                                           \
            x[c] = a * (float)c;                                                                   \
        for (int64_t t = 0; t < turns; t++)                                                        \
            for (int c = 0; c < CHAINS; c++)                                                       \
                x[c] = x[c] * m + a;                                                               \
        for (int c = 1; c < CHAINS; c++)                                                           \
            x[0] += x[c];                                                                          \
        *sink = x[0][0] * 0;                                                                       \
        return 2.0 * (vl)*CHAINS * (double)turns;                                                  \
    }

FMA_LOOP(flop_v1, 4, )
#ifdef __x86_64__
FMA_LOOP(flop_v3, 8, __attribute__((target("avx2,fma"))))
FMA_LOOP(flop_v4, 16, __attribute__((target("avx512f"))))

__attribute__((target("avx512f,avx512bf16"))) static double flop_bf16(int64_t turns,
                                                                      volatile float *sink)
{
    __m512 x[CHAINS];
    __m512bh m = _mm512_cvtne2ps_pbh(_mm512_set1_ps(*sink), _mm512_set1_ps(*sink + 1e-6f));
    for (int c = 0; c < CHAINS; c++)
        x[c] = _mm512_set1_ps(*sink);
    for (int64_t t = 0; t < turns; t++)
        for (int c = 0; c < CHAINS; c++)
            x[c] = _mm512_dpbf16_ps(x[c], m, m);
    for (int c = 1; c < CHAINS; c++)
        x[0] = _mm512_add_ps(x[0], x[c]);
    *sink = _mm512_reduce_add_ps(x[0]) * 0;
    return 4.0 * 16 * CHAINS * (double)turns; /* a pair: two multiplications, two additions */
}
#endif

static flop_loop loop_of(const kn_engine *engine)
{
#ifdef __x86_64__
    const kn_passes *passes = kn_cpu_of(engine)->passes;
    if (engine->precision == KN_PRECISION_BF16 && __builtin_cpu_supports("avx512bf16"))
        return flop_bf16;
    if (passes == &kn_passes_v4)
        return flop_v4;
    if (passes == &kn_passes_v3)
        return flop_v3;
#endif
    return flop_v1;
}

static double best_flop_s(const kn_engine *engine)
{
    flop_loop loop = loop_of(engine);
    double sum = 0;
#pragma omp parallel reduction(+ : sum) num_threads(engine->n_threads)
    {
        volatile float sink = 0;
        double best = 0;
        for (int r = 0; r < ROUNDS; r++) {
            double start = omp_get_wtime(), flop = loop(TURNS, &sink);
            double rate = flop / (omp_get_wtime() - start);
            best = MAX(best, rate);
        }
        sum += best;
    }
    return sum;
}

/* Copying, each thread its own part; what is read and what is written counts. memcpy of so much
 * writes past the cache, so nothing is read to be overwritten. */
static double best_byte_s(const kn_engine *engine, char *memory)
{
    double best = 0;
    for (int r = -1; r < COPIES; r++) { /* the first touches the pages */
        double start = omp_get_wtime();
#pragma omp parallel num_threads(engine->n_threads)
        {
            char *mine = memory + (size_t)omp_get_thread_num() * 2 * COPY_BYTES;
            memcpy(mine + (r & 1 ? 0 : COPY_BYTES), mine + (r & 1 ? COPY_BYTES : 0), COPY_BYTES);
        }
        double rate = 2.0 * COPY_BYTES * engine->n_threads / (omp_get_wtime() - start);
        if (r >= 0)
            best = MAX(best, rate);
    }
    return best;
}

bool kn_cpu_peak(kn_engine *engine, double *flop_s, double *byte_s, GError **error)
{
    kn_block memory = {0};
    if (!kn_engine_alloc(engine, &memory, (size_t)engine->n_threads * 2 * COPY_BYTES,
                         "measuring the memory's rate", error))
        return false;
    *flop_s = best_flop_s(engine);
    *byte_s = best_byte_s(engine, memory.data);
    kn_engine_free(engine, &memory);
    return true;
}
