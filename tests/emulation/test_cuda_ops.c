/* Every op of the CUDA backend against the double-precision reference, in f32 and in bf16, with the
 * kernels' threads and blocks run forward, backward and shuffled; whatever the order, the bits are
 * the same. Built against the emulation here; against the GPU by `quadslide selftest`. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cuda_priv.h"
#include "tests/kernels/ops_cases.h"

#include <math.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
enum { N_ORDERS = 1 }; /* fibers are slow there; the optimised build runs all */
#else
enum { N_ORDERS = 3 };
#endif

typedef void (*with_pair)(const bench_pair *pair, GString *message);

static bench_pair pair_new(kn_precision precision)
{
    GError *error = NULL;
    kn_engine_options cuda = {.backend = "cuda", .n_threads = 1, .precision = precision};
    kn_engine_options ref = {.backend = "ref", .n_threads = 1};
    bench_pair pair = {.seed = 11};
    pair.engine = kn_engine_create(&cuda, &error);
    g_assert_no_error(error);
    pair.ref = kn_engine_create(&ref, &error);
    g_assert_no_error(error);
    pair.ops = kn_engine_ops(pair.engine);
    ops_check_act(pair.engine->act);
    return pair;
}

static void pair_free(bench_pair *pair)
{
    kn_engine_destroy(pair->engine);
    kn_engine_destroy(pair->ref);
    ops_check_act(KN_F32);
}

static void in_all_ways(with_pair run)
{
    for (int order = 0; order < N_ORDERS; order++)
        for (int p = KN_PRECISION_F32; p <= KN_PRECISION_BF16; p++) {
            g_autoptr(GString) message = g_string_new(NULL);
            bench_pair pair = pair_new((kn_precision)p);
            kn_emu_set_order(order, 5);
            run(&pair, message);
            if (message->len > 0) {
                g_test_message("%s, order %d: %s", p == KN_PRECISION_F32 ? "f32" : "bf16", order,
                               message->str);
                g_test_fail();
            }
            pair_free(&pair);
        }
    kn_emu_set_order(0, 0);
}

static void convs(const bench_pair *pair, GString *message)
{
    static const conv_case cases[] = {
        {1, 1, 1, 1, 1, 3, true, false, 0, 4},     {2, 7, 5, 3, 16, 3, false, false, 0, 4},
        {1, 17, 19, 16, 16, 3, true, false, 0, 4}, {2, 9, 33, 16, 2, 3, true, false, 0, 4},
        {1, 7, 7, 33, 17, 3, false, false, 0, 4},  {2, 6, 6, 64, 32, 1, true, false, 0, 4},
        {1, 1, 1, 40, 72, 1, true, false, 0, 4},   {1, 4, 18, 32, 40, 3, true, true, 0, 4},
        {1, 8, 16, 24, 80, 3, false, false, 0, 4},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++)
            if (!run_conv_case(pair, &cases[i], (fill_kind)fill, message))
                g_string_append_printf(message, " (conv case %d, %s)\n", (int)i, fill_names[fill]);
}

static void norms(const bench_pair *pair, GString *message)
{
    static const norm_case cases[] = {
        {1, 1, 1, 1, 1, 0, 0.01, 0, 0},       {1, 1, 1, 16, 16, 0, 0.01, 0.5, 0},
        {2, 7, 7, 3, 5, 1, 0.01, 0.3, 0},     {1, 33, 7, 17, 17, 0, 0.01, 0.1, 0},
        {3, 8, 9, 16, 32, 0, 0.01, 0.05, 0},  {2, 33, 33, 32, 64, 32, 0.01, 0, 0},
        {2, 5, 7, 256, 256, 0, 0.01, 0.5, 0}, {2, 24, 24, 16, 16, 0, 0.01, 0.2, 0},
        {2, 9, 9, 40, 40, 0, 1, 0, 0},        {1, 3, 3, 300, 300, 0, 0.01, 0.3, 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            norm_case c = cases[i];
            if (fill == FILL_OFFSET)
                c.slope = 1; /* as test_ops.c: there the sign is lost */
            if (fill == FILL_OFFSET && pair->engine->act == KN_BF16)
                continue; /* 1000 ± 1 has three values in bf16 */
            if (!run_norm_case(pair, &c, (fill_kind)fill, message))
                g_string_append_printf(message, " (norm case %d, %s)\n", (int)i, fill_names[fill]);
        }
}

static void resamples(const bench_pair *pair, GString *message)
{
    static const int shapes[][4] = {/* n h w c */
                                    {1, 1, 1, 1},   {2, 7, 1, 3},  {1, 33, 7, 16},
                                    {2, 5, 40, 17}, {3, 4, 4, 64}, {1, 2, 2, 12}};
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            const int *s = shapes[i];
            if (!run_pool_case(pair, s[0], s[1], s[2], s[3], 0, (fill_kind)fill, message) ||
                !run_upsample_case(pair, s[0], s[1], s[2], s[3], 0, (fill_kind)fill, message))
                g_string_append_printf(message, " (resample case %d, %s)\n", (int)i,
                                       fill_names[fill]);
        }
}

static void arrays(const bench_pair *pair, GString *message)
{
    static const int64_t lengths[] = {1, 7, 33, 1000, 70001};
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++)
        run_array_case(pair, lengths[i], message);
}

static void test_conv(void)
{
    in_all_ways(convs);
}

static void test_norm(void)
{
    in_all_ways(norms);
}

static void test_resample(void)
{
    in_all_ways(resamples);
}

static void test_arrays(void)
{
    in_all_ways(arrays);
}

/* The roofline's loops do all the work that they are credited with, in either precision. */
static void test_peak(void)
{
    enum { BLOCKS = 2, TURNS = 3, N = BLOCKS * 256 };
    for (int p = KN_PRECISION_F32; p <= KN_PRECISION_BF16; p++) {
        GError *error = NULL;
        bench_pair pair = pair_new((kn_precision)p);
        kn_device *device = kn_cuda_of(pair.engine)->device;
        bool tensor_cores = p == KN_PRECISION_BF16;
        kn_block out = {0};
        float got[N];
        g_assert_cmpuint(kn_cu_peak_bytes(BLOCKS), ==, sizeof got);
        g_assert_true(kn_engine_alloc(pair.engine, &out, sizeof got, "test", &error));
        double flop = kn_cu_peak(device, out.data, BLOCKS, TURNS, tensor_cores);
        kn_engine_download(pair.engine, got, out.data, sizeof got);
        for (int i = 0; i < N; i++)
            g_assert_cmpfloat(got[i], ==, tensor_cores ? 16 * TURNS : TURNS);
        /* each thread: 8 chains of 2 FLOP a turn; each warp: 8 products of 16 × 8 × 16 */
        double want = tensor_cores ? 2.0 * N / 32 * 8 * 2048 * TURNS : 2.0 * N * 8 * TURNS;
        g_assert_cmpfloat(flop, ==, want);
        kn_engine_free(pair.engine, &out);
        double flop_s = -1, byte_s = -1;
        int64_t held = kn_engine_bytes(pair.engine);
        g_assert_true(pair.ops->peak(pair.engine, &flop_s, &byte_s, &error));
        g_assert_no_error(error);
        g_assert_true(flop_s > 0 && flop_s < INFINITY && byte_s > 0 && byte_s < INFINITY);
        g_assert_cmpint(kn_engine_bytes(pair.engine), ==, held);
        pair_free(&pair);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kn_cuda_register();
    g_test_add_func("/cuda/conv", test_conv);
    g_test_add_func("/cuda/norm", test_norm);
    g_test_add_func("/cuda/resample", test_resample);
    g_test_add_func("/cuda/arrays", test_arrays);
    g_test_add_func("/cuda/peak", test_peak);
    return g_test_run();
}
