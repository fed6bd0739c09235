/* Every op of the CPU backend with tensors of bf16 against the double-precision reference, which
 * gets the same rounded values; and who may ask for bf16. */
#include "tests/kernels/beside_case.h"
#include "tests/kernels/edge_case.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static kn_engine *engine_new(const char *backend, kn_precision precision, const char *choices,
                             GError **error)
{
    kn_engine_options options = {.backend = backend,
                                 .n_threads = 2,
                                 .conv = choices ? KN_CONV_AUTO : KN_CONV_DIRECT,
                                 .conv_choices = choices,
                                 .precision = precision};
    return kn_engine_create(&options, error);
}

/* False, and the test is skipped, where the processor has no bf16. */
static bool pair_new(bench_pair *pair, const char *choices)
{
    g_autoptr(GError) lacks = NULL, error = NULL;
    *pair =
        (bench_pair){.seed = 11, .engine = engine_new("cpu", KN_PRECISION_BF16, choices, &lacks)};
    if (g_error_matches(lacks, QS_ERROR, QS_ERROR_UNSUPPORTED)) {
        g_test_skip("bf16 needs AVX-512 BF16");
        return false;
    }
    g_assert_no_error(lacks);
    g_assert_cmpint(pair->engine->act, ==, KN_BF16);
    pair->ref = engine_new("ref", KN_PRECISION_AUTO, NULL, &error);
    g_assert_no_error(error);
    pair->ops = kn_engine_ops(pair->engine);
    ops_check_act(KN_BF16);
    return true;
}

static void pair_free(bench_pair *pair)
{
    kn_engine_destroy(pair->engine);
    kn_engine_destroy(pair->ref);
    ops_check_act(KN_F32);
}

static void want_pass(bool ok, const GString *message, const char *what, size_t i, int fill)
{
    if (!ok) {
        g_test_message("%s case %zu, %s: %s", what, i, fill_names[fill], message->str);
        g_test_fail();
    }
}

/* What networks have: images of f32, logits of f32, 16 channels and more between, in both layouts.
 */
static void test_conv(void)
{
    static const struct {
        conv_case c;
        conv_edge edge;
    } cases[] = {
        {{2, 7, 5, 3, 16, 3, false, false, 0, 4}, EDGE_SRC},
        {{1, 33, 7, 3, 32, 3, true, true, 0, 4}, EDGE_SRC},
        {{2, 9, 33, 16, 2, 3, true, false, 0, 4}, EDGE_DST},
        {{1, 16, 16, 32, 4, 3, true, true, 0, 4}, EDGE_DST},
        {{2, 5, 9, 16, 7, 3, true, false, 0, 4}, EDGE_DST},
        {{1, 33, 7, 16, 16, 3, true, false, 0, 4}, EDGE_NONE},
        {{2, 20, 24, 32, 16, 3, false, false, 16, 4}, EDGE_NONE},
        {{2, 8, 3, 32, 64, 3, true, true, 16, 4}, EDGE_NONE},
        {{1, 6, 6, 64, 32, 1, true, false, 16, 4}, EDGE_NONE},
        {{2, 6, 6, 64, 32, 1, true, false, 0, 4}, EDGE_NONE},
        {{1, 1, 1, 256, 128, 3, false, false, 16, 4}, EDGE_NONE},
    };
    bench_pair pair;
    if (!pair_new(&pair, NULL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(
                run_conv_edge_case(&pair, &cases[i].c, cases[i].edge, (fill_kind)fill, message),
                message, "conv", i, fill);
        }
    pair_free(&pair);
}

/* Our own Winograd, over sizes that are no multiple of its tiles. */
static void test_conv_own(void)
{
    static const conv_case cases[] = {
        {2, 20, 24, 16, 16, 3, false, false, 16, 40}, {1, 7, 33, 32, 16, 3, false, false, 16, 40},
        {2, 9, 70, 16, 48, 3, false, false, 16, 40},  {3, 1, 1, 16, 32, 3, false, false, 16, 40},
        {2, 33, 5, 64, 32, 3, false, false, 16, 40},  {2, 8, 3, 32, 32, 3, true, true, 16, 40}};
    static const char *const directions[] = {"fwd", "bwd_d", "bwd_w"};
    g_autoptr(GString) choices = g_string_new(NULL);
    for (size_t i = 0; i < 3 * G_N_ELEMENTS(cases); i++)
        g_string_append_printf(choices, "case:%s:%dx%d=own,", directions[i % 3], cases[i / 3].w,
                               cases[i / 3].h);
    bench_pair pair;
    if (!pair_new(&pair, choices->str))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(run_conv_case(&pair, &cases[i], (fill_kind)fill, message), message,
                      "own conv", i, fill);
        }
    pair_free(&pair);
}

static void test_beside(void)
{
    g_autofree char *choices = beside_choices();
    bench_pair pair;
    if (!pair_new(&pair, choices))
        return;
    for (int i = 0; i < N_BESIDE_CASES; i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(run_beside_case(&pair, &beside_cases[i], (fill_kind)fill, message), message,
                      "beside", (size_t)i, fill);
        }
    pair_free(&pair);
}

static void test_norm(void)
{
    static const norm_case cases[] = {
        {1, 1, 1, 16, 16, 0, 0.01, 0.5, 0},   {2, 7, 7, 3, 5, 1, 0.01, 0.3, 0},
        {1, 33, 7, 17, 17, 0, 0.01, 0.1, 0},  {3, 8, 9, 16, 32, 0, 0.01, 0.05, 0},
        {2, 33, 33, 32, 64, 32, 0.01, 0, 0},  {2, 6, 8, 64, 64, 0, 0.01, 0.2, 16},
        {2, 7, 5, 32, 64, 32, 0.01, 0.3, 16}, {1, 12, 33, 16, 32, 0, 0.01, 0.05, 16},
        {2, 9, 9, 40, 40, 0, 1, 0, 0},
    };
    bench_pair pair;
    if (!pair_new(&pair, NULL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) { /* 1000 ± 1 has three values in bf16 */
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(run_norm_case(&pair, &cases[i], (fill_kind)fill, message), message, "norm", i,
                      fill);
        }
    pair_free(&pair);
}

static void test_stem(void)
{
    static const norm_case cases[] = {
        {2, 7, 5, 16, 16, 0, 1, 0, 0},         {1, 33, 7, 16, 16, 0, 0.01, 0.05, 0},
        {2, 3, 300, 32, 32, 0, 0.01, 0.3, 16}, {1, 5, 2, 48, 48, 0, 0.01, 0, 16},
        {1, 4, 9, 32, 32, 0, 1, 0, 0},         {2, 6, 257, 16, 32, 16, 0.01, 0, 16},
    };
    bench_pair pair;
    if (!pair_new(&pair, NULL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(run_stem_case(&pair, &cases[i], (fill_kind)fill, message), message, "stem", i,
                      fill);
        }
    pair_free(&pair);
}

static void test_head_sums(void)
{
    static const struct {
        norm_case c;
        int classes;
    } cases[] = {
        {{2, 7, 5, 16, 16, 0, 0.01, 0, 0}, 2}, {{1, 33, 130, 16, 16, 0, 0.01, 0.05, 16}, 2},
        {{2, 3, 9, 32, 32, 0, 0.01, 0, 0}, 3}, {{1, 5, 300, 32, 32, 0, 1, 0.3, 0}, 4},
        {{2, 4, 2, 64, 64, 0, 0.01, 0, 0}, 1}, {{3, 6, 1, 48, 48, 0, 0.01, 0.2, 0}, 2},
    };
    bench_pair pair;
    if (!pair_new(&pair, NULL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(run_head_case(&pair, &cases[i].c, cases[i].classes, (fill_kind)fill, message),
                      message, "head", i, fill);
        }
    pair_free(&pair);
}

static void test_norm_pool(void)
{
    static const norm_case cases[] = {
        {1, 1, 1, 16, 16, 0, 0.01, 0, 0},   {2, 7, 3, 5, 9, 1, 0.01, 0, 0},
        {2, 5, 70, 17, 17, 0, 0.01, 0, 0},  {1, 3, 140, 16, 32, 0, 0.01, 0, 16},
        {2, 9, 9, 32, 64, 32, 0.01, 0, 16}, {3, 4, 5, 48, 96, 0, 1, 0, 16},
        {1, 33, 7, 16, 32, 16, 0.01, 0, 0},
    };
    bench_pair pair;
    if (!pair_new(&pair, NULL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(run_norm_pool_case(&pair, &cases[i], (fill_kind)fill, message), message,
                      "norm and pool", i, fill);
        }
    pair_free(&pair);
}

static void test_resample(void)
{
    static const int shapes[][5] = {/* n h w c block */
                                    {1, 1, 1, 1, 0},   {2, 7, 1, 3, 0},  {1, 33, 7, 16, 0},
                                    {2, 5, 70, 17, 0}, {3, 4, 4, 64, 0}, {2, 7, 33, 16, 16},
                                    {1, 2, 2, 48, 16}, {1, 1, 7, 32, 16}};
    bench_pair pair;
    if (!pair_new(&pair, NULL))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            const int *s = shapes[i];
            g_autoptr(GString) message = g_string_new(NULL);
            want_pass(
                run_pool_case(&pair, s[0], s[1], s[2], s[3], s[4], (fill_kind)fill, message) &&
                    run_upsample_case(&pair, s[0], s[1], s[2], s[3], s[4], (fill_kind)fill,
                                      message),
                message, "resample", i, fill);
        }
    pair_free(&pair);
}

/* A comparison that cannot fail would be worth nothing: another rounding must be seen. */
static void norm_apply_truncated(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                                 const kn_tensor *y)
{
    kn_engine_ops(engine)->norm_apply(engine, x, norm, y);
    for (int64_t i = 0; i < kn_pixels(y) * y->ldc; i++)
        ((uint16_t *)y->data)[i] &= 0xfff8u;
}

static void test_planted(void)
{
    bench_pair pair;
    if (!pair_new(&pair, NULL))
        return;
    kn_ops planted = *pair.ops;
    planted.norm_apply = norm_apply_truncated;
    pair.ops = &planted;
    const norm_case c = {3, 8, 9, 16, 16, 0, 0.01, 0, 0};
    g_autoptr(GString) message = g_string_new(NULL);
    g_assert_false(run_norm_case(&pair, &c, FILL_RANDOM, message));
    pair_free(&pair);
}

/* Refused, and the way out said, where it would only be slow. */
static void test_refused(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(engine_new("ref", KN_PRECISION_BF16, NULL, &error));
    g_assert_nonnull(strstr(error->message, "it computes in f64"));
    g_clear_error(&error);
    g_setenv("QS_DISABLE", "bf16", TRUE);
    g_assert_null(engine_new("cpu", KN_PRECISION_BF16, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "use precision f32"));
    g_unsetenv("QS_DISABLE");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops-bf16/conv", test_conv);
    g_test_add_func("/ops-bf16/conv-own", test_conv_own);
    g_test_add_func("/ops-bf16/beside", test_beside);
    g_test_add_func("/ops-bf16/norm", test_norm);
    g_test_add_func("/ops-bf16/stem", test_stem);
    g_test_add_func("/ops-bf16/head-sums", test_head_sums);
    g_test_add_func("/ops-bf16/norm-pool", test_norm_pool);
    g_test_add_func("/ops-bf16/resample", test_resample);
    g_test_add_func("/ops-bf16/planted", test_planted);
    g_test_add_func("/ops-bf16/refused", test_refused);
    return g_test_run();
}
