#include "tests/kernels/ops_check.h"

#include <float.h>
#include <math.h>
#include <string.h>

const char *const fill_names[N_FILLS] = {"random", "zero", "huge", "offset"};
static const double SENTINEL = 12345.0;

double *fill_new(int64_t n, fill_kind kind, uint64_t seed)
{
    double *x = g_new0(double, n);
    qs_rng rng;
    qs_rng_init(&rng, seed, 1);
    for (int64_t i = 0; i < n && kind != FILL_ZERO; i++)
        x[i] =
            qs_rng_normal(&rng) * (kind == FILL_HUGE ? 1e15 : 1) + (kind == FILL_OFFSET ? 1000 : 0);
    fill_round_f32(x, n);
    return x;
}

void fill_round_f32(double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)x[i];
}

static double get(const kn_tensor *t, int64_t i)
{
    return t->dtype == KN_F64 ? kn_f64(t)[i] : (double)kn_f32(t)[i];
}

static void put(const kn_tensor *t, int64_t i, double x)
{
    if (t->dtype == KN_F64)
        kn_f64(t)[i] = x;
    else
        kn_f32(t)[i] = (float)x;
}

/* Index from the buffer's start of channel `c` of the whole buffer. */
static int64_t index_of(const test_tensor *x, int64_t pixel, int c)
{
    int64_t hw = (int64_t)x->t.h * x->t.w;
    if (!x->t.block)
        return pixel * x->whole + c;
    return pixel / hw * hw * x->whole + c / 16 * hw * 16 + pixel % hw * 16 + c % 16;
}

test_tensor test_tensor_new(const kn_engine *engine, int n, int h, int w, int c, int whole,
                            int first, int block, const double *src)
{
    kn_dtype dtype = kn_engine_dtype(engine);
    size_t size = kn_dtype_bytes(dtype), count = (size_t)n * (size_t)h * (size_t)w * (size_t)whole;
    test_tensor x = {.whole = whole, .first = first};
    x.memory = g_aligned_alloc0(count, size, KN_ALIGN);
    x.t = (kn_tensor){.dtype = dtype, .n = n, .h = h, .w = w, .c = c, .ldc = whole, .block = block};
    x.t.data = x.memory;
    for (int64_t i = 0; i < (int64_t)count; i++)
        put(&x.t, i, SENTINEL);
    for (int64_t p = 0; src && p < kn_pixels(&x.t); p++)
        for (int k = 0; k < c; k++)
            put(&x.t, index_of(&x, p, first + k), src[p * c + k]);
    x.t.data = (char *)x.memory + (size_t)index_of(&x, 0, first) * size;
    return x;
}

void test_tensor_free(test_tensor *t)
{
    g_aligned_free(t->memory);
    t->memory = NULL;
}

double *test_tensor_read(const test_tensor *t)
{
    kn_tensor whole = t->t;
    whole.data = t->memory;
    double *out = g_new(double, kn_pixels(&whole) * t->t.c);
    for (int64_t p = 0; p < kn_pixels(&whole); p++)
        for (int k = 0; k < t->t.c; k++)
            out[p * t->t.c + k] = get(&whole, index_of(t, p, t->first + k));
    return out;
}

bool test_tensor_rest_untouched(const test_tensor *t)
{
    kn_tensor whole = t->t;
    whole.data = t->memory;
    for (int64_t p = 0; p < kn_pixels(&whole); p++)
        for (int k = 0; k < t->whole; k++) {
            bool inside = k >= t->first && k < t->first + t->t.c;
            if (!inside && !(get(&whole, index_of(t, p, k)) == SENTINEL))
                return false;
        }
    return true;
}

void *array_new(const kn_engine *engine, const double *src, int64_t n)
{
    bool f64 = kn_engine_dtype(engine) == KN_F64;
    void *out = g_malloc0((gsize)MAX(n, 1) * (f64 ? 8 : 4));
    for (int64_t i = 0; i < n; i++) {
        if (f64)
            ((double *)out)[i] = src[i];
        else
            ((float *)out)[i] = (float)src[i];
    }
    return out;
}

double *array_read(const kn_engine *engine, const void *src, int64_t n)
{
    bool f64 = kn_engine_dtype(engine) == KN_F64;
    double *out = g_new(double, n);
    for (int64_t i = 0; i < n; i++)
        out[i] = f64 ? ((const double *)src)[i] : (double)((const float *)src)[i];
    return out;
}

double tolerance(double coefficient, double reduction)
{
    return coefficient * (double)FLT_EPSILON * sqrt(MAX(reduction, 1));
}

bool check_close(const char *what, const double *want, const double *got, int64_t n, double tol,
                 double floor, GString *message)
{
    double scale = floor;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(want[i]) || !isfinite(got[i])) {
            g_string_append_printf(message, "%s[%ld]: wanted %g, got %g; ", what, (long)i, want[i],
                                   got[i]);
            return false;
        }
        scale = MAX(scale, fabs(want[i]));
    }
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tol * scale)) {
            g_string_append_printf(message,
                                   "%s[%ld]: wanted %.9g, got %.9g, tolerance %.3g of %.3g; ", what,
                                   (long)i, want[i], got[i], tol, scale);
            return false;
        }
    return true;
}

double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}
