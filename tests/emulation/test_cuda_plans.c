/* How convolutions come to be cuDNN's: the choice by a clock of the test's own; the wiring by a
 * made-up cuDNN (cudnn_fake.h) on the emulated device, whose wrong plans must not be taken. */
#include "base/report.h"
#include "kernels/cuda/choose.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cuda_priv.h"
#include "tests/emulation/cudnn_fake.h"
#include "tests/kernels/ops_check.h"

#include <math.h>
#include <string.h>

/* ---- the choice ----------------------------------------------------------------------------- */

typedef struct {
    double times[KN_CANDIDATES_MAX];
    bool wrong[KN_CANDIDATES_MAX];
    double late; /* what the clock gives candidate 1 in the first round, 0 its time */
    int timed[KN_CANDIDATES_MAX], checked[KN_CANDIDATES_MAX];
} made_up;

static double time_of(void *user, int i)
{
    made_up *m = user;
    return m->timed[i]++ == 0 && i == 1 && m->late > 0 ? m->late : m->times[i];
}

static bool right(void *user, int i)
{
    made_up *m = user;
    m->checked[i]++;
    return !m->wrong[i];
}

static int chosen(made_up *m, int n)
{
    kn_choice choice = {.n = n, .user = m, .time = time_of, .right = right};
    return kn_choose(&choice);
}

static void test_choose(void)
{
    made_up fast = {.times = {10, 9, 5, 7}};
    g_assert_cmpint(chosen(&fast, 4), ==, 2);
    g_assert_cmpint(fast.checked[2], ==, 1);
    g_assert_cmpint(fast.checked[0] + fast.checked[1] + fast.checked[3], ==, 0);
    made_up wrong = {.times = {10, 9, 5, 7}, .wrong = {false, false, true, true}};
    g_assert_cmpint(chosen(&wrong, 4), ==, 1);
    made_up none = {.times = {10, 9, 5, 7}, .wrong = {false, true, true, true}};
    g_assert_cmpint(chosen(&none, 4), ==, 0);
    made_up noise = {.times = {10, 9.8, 11, 10}};
    g_assert_cmpint(chosen(&noise, 4), ==, 0);
    made_up failing = {.times = {10, -1, NAN, 9}};
    g_assert_cmpint(chosen(&failing, 4), ==, 3);
    g_assert_cmpint(failing.timed[1], ==, 1); /* not tried again */
    g_assert_cmpint(failing.timed[2], ==, 1);
    made_up busy = {.times = {10, 5, 9}, .late = 1000}; /* one bad round of five */
    g_assert_cmpint(chosen(&busy, 3), ==, 1);
    made_up own_fails = {.times = {-1, 20, 30}};
    g_assert_cmpint(chosen(&own_fails, 3), ==, 1);
    made_up alone = {.times = {3}};
    g_assert_cmpint(chosen(&alone, 1), ==, 0);
}

static void test_agrees(void)
{
    float want[4] = {1, -2, 0, 3}, got[4] = {1, -2, 0, 3};
    g_assert_true(kn_agrees(got, want, 4, 0, 0));
    got[1] = -2.01f;
    g_assert_false(kn_agrees(got, want, 4, 1e-3, 1e-3));
    g_assert_true(kn_agrees(got, want, 4, 1e-2, 0));
    got[1] = -2;
    got[2] = 0.01f; /* root mean square 1.87 */
    g_assert_false(kn_agrees(got, want, 4, 1, 1e-3));
    g_assert_true(kn_agrees(got, want, 4, 0, 1e-2));
    got[2] = NAN;
    g_assert_false(kn_agrees(got, want, 4, 1e9, 1e9));
    want[2] = NAN;
    got[2] = 0;
    g_assert_false(kn_agrees(got, want, 4, 1, 1));
}

/* ---- the wiring ----------------------------------------------------------------------------- */

typedef struct {
    int n, h, w, ic, oc, k;
    bool bias, leaky;
} shape;

typedef struct {
    float *y, *dx, *dw, *db;
    char *how, *choices;
    int runs; /* of plans, after the choice */
} outcome;

static void outcome_clear(outcome *o)
{
    g_free(o->y);
    g_free(o->dx);
    g_free(o->dw);
    g_free(o->db);
    g_free(o->how);
    g_free(o->choices);
}

static kn_engine *engine_new(kn_conv_mode mode, const char *choices)
{
    GError *error = NULL;
    kn_engine_options o = {.backend = "cuda",
                           .n_threads = 1,
                           .precision = KN_PRECISION_BF16,
                           .conv = mode,
                           .conv_choices = choices};
    kn_engine *engine = kn_engine_create(&o, &error);
    g_assert_no_error(error);
    return engine;
}

static float *floats(double *values, int64_t n) /* values: taken */
{
    float *f = g_new(float, (gsize)n);
    for (int64_t i = 0; i < n; i++)
        f[i] = (float)values[i];
    g_free(values);
    return f;
}

/* All directions of one convolution. Gradients accumulate: they start at the weights themselves. */
static outcome run(const shape *s, kn_conv_mode mode, const char *choices)
{
    GError *error = NULL;
    kn_engine *engine = engine_new(mode, choices);
    const kn_ops *ops = kn_engine_ops(engine);
    kn_conv_spec spec = {.name = "layer",
                         .n = s->n,
                         .h = s->h,
                         .w = s->w,
                         .ic = s->ic,
                         .oc = s->oc,
                         .k = s->k,
                         .bias = s->bias,
                         .leaky = s->leaky,
                         .train = !s->leaky,
                         .bwd_data = !s->leaky,
                         .src_type = KN_BF16,
                         .dst_type = KN_BF16};
    int64_t px = (int64_t)s->n * s->h * s->w, n_w = (int64_t)s->oc * s->ic * s->k * s->k;
    int64_t held = kn_engine_bytes(engine);
    kn_conv *conv = ops->conv_create(engine, &spec, &error);
    g_assert_no_error(error);
    g_assert_cmpint(kn_engine_bytes(engine), ==, held); /* what was tried with is given back */
    outcome out = {.how = g_strdup(ops->conv_describe(conv)),
                   .choices = kn_engine_conv_choices(engine),
                   .runs = -fake_runs};
    g_autofree double *x = fill_new(px * s->ic, FILL_RANDOM, 1);
    g_autofree double *dy = fill_new(px * s->oc, FILL_RANDOM, 2);
    g_autofree double *w = fill_new(n_w, FILL_RANDOM, 3), *b = fill_new(s->oc, FILL_RANDOM, 4);
    kn_conv_needs needs = ops->conv_needs(conv);
    void *packed = memory_new(engine, needs.packed_bytes),
         *scratch = memory_new(
             engine, MAX(needs.fwd_bytes, MAX(needs.bwd_data_bytes, needs.bwd_weights_bytes)));
    void *wt = array_new(engine, w, n_w), *bt = array_new(engine, b, s->oc);
    void *dw = array_new(engine, w, n_w), *db = array_new(engine, b, s->oc);
    test_tensor tx = test_tensor_new(engine, s->n, s->h, s->w, s->ic, s->ic, 0, 0, x);
    test_tensor ty = test_tensor_new(engine, s->n, s->h, s->w, s->oc, s->oc, 0, 0, NULL);
    test_tensor tdy = test_tensor_new(engine, s->n, s->h, s->w, s->oc, s->oc, 0, 0, dy);
    test_tensor tdx = test_tensor_new(engine, s->n, s->h, s->w, s->ic, s->ic, 0, 0, NULL);
    bool ok = ops->conv_pack(conv, wt, s->bias ? bt : NULL, packed, &error) &&
              ops->conv_fwd(conv, packed, &tx.t, &ty.t, scratch, &error) &&
              (s->leaky || (ops->conv_bwd_data(conv, packed, &tdy.t, &tdx.t, scratch, &error) &&
                            ops->conv_bwd_weights(conv, &tx.t, &tdy.t, dw, s->bias ? db : NULL,
                                                  scratch, &error)));
    g_assert_no_error(error);
    g_assert_true(ok && kn_engine_check(engine, &error));
    out.y = floats(test_tensor_read(&ty), px * s->oc);
    if (!s->leaky) {
        out.dx = floats(test_tensor_read(&tdx), px * s->ic);
        out.dw = floats(array_read(engine, dw, n_w), n_w);
        out.db = floats(array_read(engine, db, s->oc), s->oc);
    }
    out.runs += fake_runs;
    ops->conv_destroy(conv);
    void *arrays[] = {packed, scratch, wt, bt, dw, db};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        memory_free(engine, arrays[i]);
    test_tensor_free(&tx);
    test_tensor_free(&ty);
    test_tensor_free(&tdy);
    test_tensor_free(&tdx);
    kn_engine_destroy(engine);
    g_assert_cmpint(fake_alive, ==, 0);
    return out;
}

/* As our own kernels: bf16's rounding apart. */
static void assert_same(const shape *s, const outcome *a, const outcome *b)
{
    int64_t px = (int64_t)s->n * s->h * s->w, n_w = (int64_t)s->oc * s->ic * s->k * s->k;
    g_assert_true(kn_agrees(a->y, b->y, px * s->oc, 1.0 / 128, 1e-3));
    if (s->leaky)
        return;
    g_assert_true(kn_agrees(a->dx, b->dx, px * s->ic, 1.0 / 128, 1e-3));
    g_assert_true(kn_agrees(a->dw, b->dw, n_w, 1.0 / 128, 4e-3));
    g_assert_true(kn_agrees(a->db, b->db, s->oc, 1e-5, 1e-5));
}

static const shape TRAIN = {2, 12, 20, 16, 24, 3, false, false};
static const shape BIASED = {1, 9, 16, 24, 8, 1, true, false};
static const shape INFER = {1, 16, 17, 16, 16, 3, true, true};

static void test_right_plans(void)
{
    const shape *shapes[] = {&TRAIN, &BIASED, &INFER};
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        fake_offered = 0;
        outcome own = run(shapes[i], KN_CONV_AUTO, NULL);
        g_assert_null(strstr(own.how, "cudnn"));
        g_assert_cmpint(own.runs, ==, 0);
        fake_offered = 1u << FAKE_RIGHT | 1u << FAKE_SLOW | 1u << FAKE_NOTHING | 1u << FAKE_NAN |
                       1u << FAKE_FAILS;
        outcome got = run(shapes[i], KN_CONV_AUTO, NULL);
        bool train = !shapes[i]->leaky;
        g_assert_cmpstr(got.how, ==,
                        train ? "fwd=cudnn:e1.k2=1 bwd_d=cudnn:e1.k2=1 bwd_w=cudnn:e1.k2=1"
                              : "fwd=cudnn:e1.k2=1");
        g_assert_cmpint(got.runs, ==, train ? 3 : 1);
        assert_same(shapes[i], &got, &own);
        /* The choice as a later run gets it: the same plans, without trying others. */
        int before = fake_runs;
        outcome again = run(shapes[i], KN_CONV_AUTO, got.choices);
        g_assert_cmpstr(again.how, ==, got.how);
        g_assert_cmpint(fake_runs - before, ==, train ? 6 : 2); /* each checked, each run */
        g_assert_cmpmem(again.y, 4, got.y, 4);
        outcome_clear(&own);
        outcome_clear(&got);
        outcome_clear(&again);
    }
}

static void test_wrong_plans(void)
{
    static const unsigned offers[] = {1u << FAKE_NOTHING, 1u << FAKE_NAN, 1u << FAKE_FAILS,
                                      1u << FAKE_NO_SLOPE,
                                      1u << FAKE_NOTHING | 1u << FAKE_NAN | 1u << FAKE_NO_SLOPE};
    for (size_t i = 0; i < G_N_ELEMENTS(offers); i++) {
        fake_offered = offers[i];
        outcome got = run(&INFER, KN_CONV_AUTO, NULL);
        g_assert_cmpstr(got.how, ==, "fwd=mma");
        g_assert_nonnull(strstr(got.choices, "layer:fwd:1x16x17:leaky=mma"));
        outcome_clear(&got);
    }
    fake_offered = 1u << FAKE_SLOW; /* right, but ours is faster */
    outcome slow = run(&TRAIN, KN_CONV_AUTO, NULL);
    g_assert_cmpstr(slow.how, ==, "fwd=mma bwd_d=mma bwd_w=mma");
    outcome_clear(&slow);
}

/* A choice that cannot be had here, or that is wrong here: said, and made again. */
static void on_log(void *user, qs_log_level level, const char *text)
{
    if (level == QS_LOG_WARNING)
        g_string_append_printf(user, "%s\n", text);
}

static void test_known(void)
{
    g_autoptr(GString) said = g_string_new(NULL);
    qs_log_set_handler(on_log, said);
    fake_offered = 1u << FAKE_RIGHT | 1u << FAKE_NAN;
    outcome gone = run(&INFER, KN_CONV_AUTO, "layer:fwd:1x16x17:leaky=cudnn:e9.k1=2");
    g_assert_nonnull(strstr(said->str, "layer: the run had cuDNN's plan e9.k1=2"));
    g_assert_cmpstr(gone.how, ==, "fwd=cudnn:e1.k2=1");
    g_string_truncate(said, 0);
    outcome wrong = run(&INFER, KN_CONV_AUTO, "layer:fwd:1x16x17:leaky=cudnn:e5");
    g_assert_nonnull(strstr(said->str, "e5"));
    g_assert_cmpstr(wrong.how, ==, "fwd=cudnn:e1.k2=1");
    g_string_truncate(said, 0);
    outcome own = run(&INFER, KN_CONV_AUTO, "layer:fwd:1x16x17:leaky=mma");
    g_assert_cmpstr(own.how, ==, "fwd=mma");
    outcome other = run(&INFER, KN_CONV_AUTO, "layer:fwd:1x16x17:leaky=own_wino_4x3"); /* the CPU's */
    g_assert_cmpstr(other.how, ==, "fwd=cudnn:e1.k2=1");
    g_assert_cmpstr(said->str, ==, "");
    fake_absent = true;
    outcome absent = run(&INFER, KN_CONV_AUTO, "layer:fwd:1x16x17:leaky=cudnn:e1.k2=1");
    g_assert_nonnull(strstr(said->str, "e1.k2=1"));
    g_assert_cmpstr(absent.how, ==, "fwd=mma");
    fake_absent = false;
    qs_log_set_handler(NULL, NULL);
    outcome_clear(&gone);
    outcome_clear(&wrong);
    outcome_clear(&own);
    outcome_clear(&other);
    outcome_clear(&absent);
}

/* Where it is not asked: the reference mode, f32 edges, odd channels, QS_DISABLE. */
static void test_not_asked(void)
{
    static const shape odd = {1, 8, 8, 12, 16, 3, false, false};
    fake_offered = 1u << FAKE_RIGHT;
    outcome direct = run(&TRAIN, KN_CONV_DIRECT, NULL), channels = run(&odd, KN_CONV_AUTO, NULL);
    g_assert_cmpstr(direct.how, ==, "fwd=mma bwd_d=mma bwd_w=mma");
    g_assert_cmpstr(channels.how, ==, "fwd=mma bwd_d=mma bwd_w=mma");
    g_setenv("QS_DISABLE", "cudnn", TRUE);
    outcome disabled = run(&TRAIN, KN_CONV_AUTO, NULL);
    g_unsetenv("QS_DISABLE");
    g_assert_cmpstr(disabled.how, ==, "fwd=mma bwd_d=mma bwd_w=mma");
    outcome_clear(&direct);
    outcome_clear(&channels);
    outcome_clear(&disabled);
    kn_engine *engine = engine_new(KN_CONV_AUTO, NULL);
    g_assert_nonnull(strstr(kn_engine_describe(engine), "bf16, cuDNN 9.12.3"));
    kn_engine_destroy(engine);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kn_cuda_register();
    ops_check_act(KN_BF16);
    g_test_add_func("/cuda-plans/choose", test_choose);
    g_test_add_func("/cuda-plans/agrees", test_agrees);
    g_test_add_func("/cuda-plans/right", test_right_plans);
    g_test_add_func("/cuda-plans/wrong", test_wrong_plans);
    g_test_add_func("/cuda-plans/known", test_known);
    g_test_add_func("/cuda-plans/not-asked", test_not_asked);
    return g_test_run();
}
