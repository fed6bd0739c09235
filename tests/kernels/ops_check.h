/* Tools of the op tests: tensors from plain arrays in any layout, comparison with a tolerance,
 * random and hostile fillings. All values go through doubles. A comparison passes when err <= tol
 * for every element, so NaN never passes. */
#ifndef QS_TESTS_KERNELS_OPS_CHECK_H
#define QS_TESTS_KERNELS_OPS_CHECK_H

#include "base/rng.h"
#include "kernels/engine/engine_priv.h"

typedef enum { FILL_RANDOM, FILL_ZERO, FILL_HUGE, FILL_OFFSET, N_FILLS } fill_kind;
extern const char *const fill_names[N_FILLS];

/* n values: normal(0,1); zero; normal(0,1e15); normal(1000,1). Owned by the caller. */
double *fill_new(int64_t n, fill_kind kind, uint64_t seed);
/* As the activations' type and back, so that both backends get the same numbers. */
void fill_round(double *x, int64_t n);

/* What the activations of the engine under test lose on the way: both sides get values that it can
 * hold, and tolerance_act allows for the rounding of results. KN_F32 at the start of a program. */
void ops_check_act(kn_dtype act);
double tolerance_act(double coefficient, double reduction);

/* Zeroed memory of the engine; freed by memory_free. */
void *memory_new(kn_engine *engine, size_t bytes);
void memory_free(kn_engine *engine, void *memory);

typedef struct {
    kn_engine *engine; /* borrowed */
    kn_tensor t;
    void *memory; /* owned */
    int whole;    /* channels of the buffer; those outside the slice hold a sentinel */
    int first;
} test_tensor;

/* A slice of c channels at channel `first` of a buffer of `whole` channels. block as kn_tensor.
 * src (n,h,w,c) doubles in NHWC, NULL: sentinels everywhere. */
test_tensor test_tensor_new(kn_engine *engine, int n, int h, int w, int c, int whole, int first,
                            int block, const double *src);
/* Of another type than the engine's activations. */
test_tensor test_tensor_typed(kn_engine *engine, kn_dtype dtype, int n, int h, int w, int c,
                              int whole, int first, int block, const double *src);
void test_tensor_free(test_tensor *t);
double *test_tensor_read(const test_tensor *t); /* owned by the caller */
/* Are the channels outside the slice as they were? */
bool test_tensor_rest_untouched(const test_tensor *t);

/* An array of the engine's dtype, for memory_free; its values, for g_free. */
void *array_new(kn_engine *engine, const double *src, int64_t n);
double *array_read(kn_engine *engine, const void *src, int64_t n);

/* One table of tolerances: coefficient · eps(f32) · sqrt(terms of the reduction) · scale, the scale
 * being the largest magnitude that was wanted. */
double tolerance(double coefficient, double reduction);
/* True when |got - want| <= tol · max|want| (or tol·floor, when all that is wanted is about zero)
 * for all; else message says the first bad index. */
bool check_close(const char *what, const double *want, const double *got, int64_t n, double tol,
                 double floor, GString *message);

double dot(const double *a, const double *b, int64_t n);

#endif
