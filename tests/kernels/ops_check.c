#include "tests/kernels/ops_check.h"

#include "kernels/engine/bf16.h"

#include <float.h>
#include <math.h>
#include <string.h>

const char *const fill_names[N_FILLS] = {"random", "zero", "huge", "offset"};
static const double SENTINEL = 12345.0;
static kn_dtype act = KN_F32;

double *fill_new(int64_t n, fill_kind kind, uint64_t seed)
{
    double *x = g_new0(double, n);
    qs_rng rng;
    qs_rng_init(&rng, seed, 1);
    for (int64_t i = 0; i < n && kind != FILL_ZERO; i++)
        x[i] =
            qs_rng_normal(&rng) * (kind == FILL_HUGE ? 1e15 : 1) + (kind == FILL_OFFSET ? 1000 : 0);
    fill_round(x, n);
    return x;
}

void fill_round(double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = act == KN_BF16 ? (double)kn_bf16_to_f32(kn_bf16_from_f32((float)x[i]))
                              : (double)(float)x[i];
}

/* Element i of a buffer on the host. */
static double get(kn_dtype dtype, const void *data, int64_t i)
{
    if (dtype == KN_F64)
        return ((const double *)data)[i];
    return dtype == KN_BF16 ? (double)kn_bf16_to_f32(((const kn_bf16 *)data)[i])
                            : (double)((const float *)data)[i];
}

static void put(kn_dtype dtype, void *data, int64_t i, double x)
{
    if (dtype == KN_F64)
        ((double *)data)[i] = x;
    else if (dtype == KN_BF16)
        ((kn_bf16 *)data)[i] = kn_bf16_from_f32((float)x);
    else
        ((float *)data)[i] = (float)x;
}

/* ---- memory of the engine -------------------------------------------------------------------- */

void *memory_new(kn_engine *engine, size_t bytes)
{
    if (!kn_engine_is_device(engine))
        return g_aligned_alloc0(1, MAX(bytes, 1), KN_ALIGN);
    kn_block block;
    GError *error = NULL;
    engine->backend->memory->alloc(engine, &block, MAX(bytes, 1), "a test", &error);
    g_assert_no_error(error);
    return block.data;
}

void memory_free(kn_engine *engine, void *memory)
{
    kn_block block = {memory, 1};
    if (kn_engine_is_device(engine))
        engine->backend->memory->free(engine, &block);
    else
        g_aligned_free(memory);
}

/* Elements of the whole buffer. */
static int64_t count_of(const test_tensor *x)
{
    return kn_pixels(&x->t) * x->whole;
}

static void *buffer_of(const test_tensor *x)
{
    size_t bytes = (size_t)count_of(x) * kn_dtype_bytes(x->t.dtype);
    void *copy = g_malloc(bytes);
    kn_engine_download(x->engine, copy, x->memory, bytes);
    return copy;
}

/* Index from the buffer's start of channel `c` of the whole buffer. */
static int64_t index_of(const test_tensor *x, int64_t pixel, int c)
{
    int64_t hw = (int64_t)x->t.h * x->t.w;
    if (!x->t.block)
        return pixel * x->whole + c;
    return pixel / hw * hw * x->whole + c / 16 * hw * 16 + pixel % hw * 16 + c % 16;
}

test_tensor test_tensor_typed(kn_engine *engine, kn_dtype dtype, int n, int h, int w, int c,
                              int whole, int first, int block, const double *src)
{
    size_t size = kn_dtype_bytes(dtype), count = (size_t)n * (size_t)h * (size_t)w * (size_t)whole;
    test_tensor x = {.engine = engine, .whole = whole, .first = first};
    x.t = (kn_tensor){.dtype = dtype, .n = n, .h = h, .w = w, .c = c, .ldc = whole, .block = block};
    g_autofree void *values = g_malloc0(count * size);
    for (int64_t i = 0; i < (int64_t)count; i++)
        put(dtype, values, i, SENTINEL);
    for (int64_t p = 0; src && p < kn_pixels(&x.t); p++)
        for (int k = 0; k < c; k++)
            put(dtype, values, index_of(&x, p, first + k), src[p * c + k]);
    x.memory = memory_new(engine, count * size);
    kn_engine_upload(engine, x.memory, values, count * size);
    x.t.data = (char *)x.memory + (size_t)index_of(&x, 0, first) * size;
    return x;
}

test_tensor test_tensor_new(kn_engine *engine, int n, int h, int w, int c, int whole, int first,
                            int block, const double *src)
{
    return test_tensor_typed(engine, engine->act, n, h, w, c, whole, first, block, src);
}

void test_tensor_free(test_tensor *t)
{
    memory_free(t->engine, t->memory);
    t->memory = NULL;
}

double *test_tensor_read(const test_tensor *t)
{
    g_autofree void *values = buffer_of(t);
    double *out = g_new(double, kn_pixels(&t->t) * t->t.c);
    for (int64_t p = 0; p < kn_pixels(&t->t); p++)
        for (int k = 0; k < t->t.c; k++)
            out[p * t->t.c + k] = get(t->t.dtype, values, index_of(t, p, t->first + k));
    return out;
}

bool test_tensor_rest_untouched(const test_tensor *t)
{
    g_autofree void *values = buffer_of(t);
    double sentinel[1];
    put(t->t.dtype, sentinel, 0, SENTINEL); /* as it can be held */
    for (int64_t p = 0; p < kn_pixels(&t->t); p++)
        for (int k = 0; k < t->whole; k++) {
            bool inside = k >= t->first && k < t->first + t->t.c;
            double is = get(t->t.dtype, values, index_of(t, p, k));
            if (!inside && !(is == get(t->t.dtype, sentinel, 0)))
                return false;
        }
    return true;
}

void *array_new(kn_engine *engine, const double *src, int64_t n)
{
    kn_dtype dtype = kn_engine_dtype(engine);
    size_t bytes = (size_t)MAX(n, 1) * kn_dtype_bytes(dtype);
    g_autofree void *values = g_malloc0(bytes);
    for (int64_t i = 0; i < n; i++)
        put(dtype, values, i, src[i]);
    void *out = memory_new(engine, bytes);
    kn_engine_upload(engine, out, values, bytes);
    return out;
}

double *array_read(kn_engine *engine, const void *src, int64_t n)
{
    kn_dtype dtype = kn_engine_dtype(engine);
    g_autofree void *values = g_malloc((gsize)n * kn_dtype_bytes(dtype));
    kn_engine_download(engine, values, src, (size_t)n * kn_dtype_bytes(dtype));
    double *out = g_new(double, n);
    for (int64_t i = 0; i < n; i++)
        out[i] = get(dtype, values, i);
    return out;
}

void ops_check_act(kn_dtype type)
{
    act = type;
}

/* Half a unit in the last place of a bf16, relative to the largest value of its binade. */
double tolerance_act(double coefficient, double reduction)
{
    return (act == KN_BF16 ? 1.0 / 256 : 0) + tolerance(coefficient, reduction);
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
