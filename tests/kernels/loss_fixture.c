#include "tests/kernels/loss_fixture.h"

#include "kernels/engine/engine_priv.h"

#include <math.h>
#include <string.h>

#ifdef LF_CUDA /* the same tests of the CUDA backend: tests/emulation/CMakeLists.txt */
#include "kernels/cuda/cuda.h"
#define F32_BACKEND "cuda"
#else
#define F32_BACKEND "cpu"
#endif

static lf_side sides[LF_N_SIDES] = {
    [LF_REF] = {"ref", NULL, 1e-12, 1e-12},
    [LF_CPU] = {F32_BACKEND, NULL, 2e-6, 2e-6}, /* what f32 costs on the golden examples */
};

const lf_side *lf_sides(void)
{
#ifdef LF_CUDA
    kn_cuda_register();
#endif
    for (int i = 0; i < LF_N_SIDES; i++) {
        if (sides[i].engine)
            continue;
        g_autoptr(GError) error = NULL;
        kn_engine_options options = {.backend = sides[i].name, .n_threads = 2};
        sides[i].engine = kn_engine_create(&options, &error);
        if (!sides[i].engine)
            g_error("no %s engine: %s", sides[i].name, error->message);
    }
    return sides;
}

void lf_close(void)
{
    for (int i = 0; i < LF_N_SIDES; i++)
        kn_engine_destroy(g_steal_pointer(&sides[i].engine));
}

/* ---- memory that host and engine both see: pinned on a GPU, the heap else ----------------------
 */

typedef struct {
    kn_engine *engine;
    kn_block block;
} shared;

static GHashTable *shared_blocks; /* pointer → shared */

void *lf_alloc(kn_engine *engine, size_t bytes)
{
    if (!kn_engine_is_device(engine))
        return g_malloc(bytes);
    if (!shared_blocks)
        shared_blocks = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    shared *s = g_new0(shared, 1);
    g_autoptr(GError) error = NULL;
    s->engine = engine;
    if (!kn_engine_host_alloc(engine, &s->block, MAX(bytes, 1), "a test", &error))
        g_error("%s", error->message);
    g_hash_table_insert(shared_blocks, s->block.data, s);
    return s->block.data;
}

void lf_free(void *p)
{
    shared *s = shared_blocks && p ? g_hash_table_lookup(shared_blocks, p) : NULL;
    if (!s) {
        g_free(p);
        return;
    }
    kn_engine_host_free(s->engine, &s->block);
    g_hash_table_remove(shared_blocks, p);
}

/* n bytes where the engine sees them; `own` says what to free. */
static const uint8_t *seen(kn_engine *engine, const uint8_t *bytes, int64_t n, void **own)
{
    *own = NULL;
    if (!bytes || !kn_engine_is_device(engine))
        return bytes;
    *own = lf_alloc(engine, (size_t)n);
    memcpy(*own, bytes, (size_t)n);
    return *own;
}

kn_tensor lf_tensor(kn_engine *engine, int n, int h, int w, int c, int ldc)
{
    kn_tensor t = {.dtype = kn_engine_dtype(engine), .n = n, .h = h, .w = w, .c = c, .ldc = ldc};
    size_t elements = (size_t)n * (size_t)h * (size_t)w * (size_t)ldc;
    t.data = lf_alloc(engine, elements * kn_dtype_bytes(t.dtype));
    for (int64_t i = 0; i < kn_pixels(&t); i++)
        for (int k = 0; k < ldc; k++)
            lf_set(&t, i, k, 7);
    return t;
}

void lf_tensor_free(kn_tensor *t)
{
    lf_free(g_steal_pointer(&t->data));
}

double lf_get(const kn_tensor *t, int64_t pixel, int c)
{
    int64_t at = pixel * t->ldc + c;
    return t->dtype == KN_F64 ? kn_f64(t)[at] : (double)kn_f32(t)[at];
}

void lf_set(const kn_tensor *t, int64_t pixel, int c, double value)
{
    int64_t at = pixel * t->ldc + c;
    if (t->dtype == KN_F64)
        kn_f64(t)[at] = value;
    else
        kn_f32(t)[at] = (float)value;
}

void lf_from_planar(const kn_tensor *t, const double *planar)
{
    int64_t hw = (int64_t)t->h * t->w;
    for (int64_t i = 0; i < kn_pixels(t); i++)
        for (int c = 0; c < t->c; c++)
            lf_set(t, i, c, planar[(i / hw * t->c + c) * hw + i % hw]);
}

void lf_to_planar(const kn_tensor *t, double *planar)
{
    int64_t hw = (int64_t)t->h * t->w;
    for (int64_t i = 0; i < kn_pixels(t); i++)
        for (int c = 0; c < t->c; c++)
            planar[(i / hw * t->c + c) * hw + i % hw] = lf_get(t, i, c);
}

void lf_case_init(lf_case *c, int n, int h, int w, int n_classes, const double *z_ref,
                  const double *z)
{
    memset(c, 0, sizeof *c);
    c->n = n;
    c->h = h;
    c->w = w;
    c->c = n_classes;
    c->z_ref = z_ref;
    c->z = z;
    c->config.dice_eps = 1e-5;
    c->config.ce_scale = c->config.dice_scale = c->scale = 1;
    for (int r = 0; r < KN_N_REGIONS; r++)
        c->config.weights[r] = 1;
    for (int k = 0; k < QS_CLASSES_MAX; k++)
        c->config.gamma[k] = 0.75;
}

static void run_reference(kn_engine *engine, const lf_case *c, lf_out *out)
{
    int64_t n_px = (int64_t)c->n * c->h * c->w;
    kn_tensor zr = lf_tensor(engine, c->n, c->h, c->w, c->c, c->ldc ? c->ldc : c->c);
    kn_tensor conf = lf_tensor(engine, c->n, c->h, c->w, 1, 1);
    lf_from_planar(&zr, c->z_ref);
    out->ref.y = lf_alloc(engine, (size_t)n_px);
    out->ref.conf = conf.data;
    kn_loss_reference(engine, &zr, c->confidence, c->exclude, &out->ref);
    out->conf = g_new(double, n_px);
    lf_to_planar(&conf, out->conf);
    lf_tensor_free(&zr);
}

lf_out lf_run(kn_engine *engine, const lf_case *given)
{
    lf_out out = {0};
    lf_case copy = *given, *c = &copy;
    int64_t n_px = (int64_t)c->n * c->h * c->w;
    void *own[4];
    copy.label = seen(engine, given->label, n_px, &own[0]);
    copy.exclude = seen(engine, given->exclude, n_px, &own[1]);
    copy.truth = seen(engine, given->truth, n_px, &own[2]);
    copy.config.compare = seen(engine, given->config.compare, n_px, &own[3]);
    int ldc = c->ldc ? c->ldc : c->c;
    if (c->z_ref)
        run_reference(engine, c, &out);
    const kn_reference *ref = c->z_ref ? &out.ref : NULL;
    kn_tensor z = lf_tensor(engine, c->n, c->h, c->w, c->c, ldc);
    kn_tensor dz = lf_tensor(engine, c->n, c->h, c->w, c->c, ldc);
    lf_from_planar(&z, c->z);
    out.region = lf_alloc(engine, (size_t)n_px);
    out.z_image = g_new0(double, c->n);
    out.grad = g_new(double, n_px * c->c);
    kn_loss_partition(engine, &z, c->label, c->exclude, ref, c->truth, &c->config, out.region,
                      out.z_image, &out.result);
    kn_loss_gradient(engine, &z, c->label, ref, out.region, out.z_image, &c->config, &out.result,
                     c->scale, false, &dz);
    g_autoptr(GError) error = NULL;
    if (!kn_engine_check(engine, &error))
        g_error("%s", error->message);
    for (size_t i = 0; i < G_N_ELEMENTS(own); i++)
        lf_free(own[i]);
    lf_to_planar(&dz, out.grad);
    for (int64_t i = 0; i < n_px; i++)
        for (int k = c->c; k < ldc; k++)
            g_assert_true(lf_get(&dz, i, k) == 7); /* padding is not the loss's to write */
    lf_free(g_steal_pointer(&out.ref.conf));
    lf_tensor_free(&z);
    lf_tensor_free(&dz);
    return out;
}

void lf_out_clear(lf_out *out)
{
    lf_free(out->ref.y);
    g_free(out->conf);
    lf_free(out->region);
    g_free(out->grad);
    g_free(out->z_image);
    memset(out, 0, sizeof *out);
}

bool lf_near(double got, double want, double atol, double rtol)
{
    if (isinf(want))
        return got == want;
    return fabs(got - want) <= atol + rtol * fabs(want);
}

int64_t lf_first_far(const double *got, const double *want, int64_t n, double atol, double rtol)
{
    for (int64_t i = 0; i < n; i++)
        if (!lf_near(got[i], want[i], atol, rtol))
            return i;
    return -1;
}

void lf_check(const lf_side *side, const char *what, double got, double want)
{
    lf_check_array(side, what, &got, &want, 1);
}

void lf_check_array(const lf_side *side, const char *what, const double *got, const double *want,
                    int64_t n)
{
    int64_t far = lf_first_far(got, want, n, side->atol, side->rtol);
    if (far < 0)
        return;
    g_test_message("%s: %s[%" G_GINT64_FORMAT "] is %.17g, want %.17g", side->name, what, far,
                   got[far], want[far]);
    g_test_fail();
}
