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
        {1, 1, 1, 1, 1, 3, true, false, 0, 4},
        {2, 7, 5, 3, 16, 3, false, false, 0, 4},
        {1, 17, 19, 16, 16, 3, true, false, 0, 4},
        {2, 9, 33, 16, 2, 3, true, false, 0, 4},
        {1, 7, 7, 33, 17, 3, false, false, 0, 4},
        {2, 6, 6, 64, 32, 1, true, false, 0, 4},
        {1, 1, 1, 40, 72, 1, true, false, 0, 4},
        {1, 4, 18, 32, 40, 3, true, true, 0, 4},
        {1, 8, 16, 24, 80, 3, false, false, 0, 4},
        {1, 96, 112, 2, 3, 3, true, false, 0, 4}, /* 84 splits of the weight gradient's pixels */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++)
            if (!run_conv_case(pair, &cases[i], (fill_kind)fill, message))
                g_string_append_printf(message, " (conv case %d, %s)\n", (int)i, fill_names[fill]);
}

/* A convolution that takes BatchNorm's sums along: what it stores to the bit, and the statistics of
 * the pass that reads them again. */
enum { N_STATS = 4 };
typedef struct {
    double *y, *vectors[N_STATS];
} stats_result;

static stats_result stats_on(kn_engine *e, const kn_ops *ops, const conv_case *c, bool along,
                             const double *x, const double *w, GString *message)
{
    GError *error = NULL;
    kn_conv_spec spec = {.name = "case",
                         .n = c->n,
                         .h = c->h,
                         .w = c->w,
                         .ic = c->ic,
                         .oc = c->oc,
                         .k = c->k,
                         .src_type = e->act,
                         .dst_type = e->act};
    stats_result out = {0};
    kn_conv *conv = ops->conv_create(e, &spec, &error);
    g_assert_no_error(error);
    kn_conv_needs needs = ops->conv_needs(conv);
    g_autofree double *start = fill_new(c->oc, FILL_RANDOM, 5);
    void *v[N_STATS], *packed = memory_new(e, needs.packed_bytes),
                      *scratch = memory_new(e, needs.fwd_bytes),
                      *wt = array_new(e, w, (int64_t)c->oc * c->ic * c->k * c->k);
    for (int i = 0; i < N_STATS; i++)
        v[i] = array_new(e, start, c->oc);
    kn_norm norm = {.channels = c->oc,
                    .mean = v[0],
                    .inv_std = v[1],
                    .running_mean = v[2],
                    .running_var = v[3],
                    .slope = .01};
    test_tensor tx = test_tensor_new(e, c->n, c->h, c->w, c->ic, c->ic, 0, 0, x);
    test_tensor ty = test_tensor_new(e, c->n, c->h, c->w, c->oc, c->oc, 0, 0, NULL);
    g_assert_true(ops->conv_pack(conv, wt, NULL, packed, &error));
    if ((ops->conv_takes(conv) == KN_TAKES_STATS) != (e->act == KN_BF16 && c->k == 3))
        g_string_append(message, "takes what it should not, or does not; ");
    if (along) {
        ops->conv_fwd_stats(conv, packed, &tx.t, &ty.t, scratch, &norm, NULL);
    } else {
        g_assert_true(ops->conv_fwd(conv, packed, &tx.t, &ty.t, scratch, &error));
        ops->norm_stats(e, &ty.t, &norm);
    }
    out.y = test_tensor_read(&ty);
    for (int i = 0; i < N_STATS; i++) {
        out.vectors[i] = array_read(e, v[i], c->oc);
        memory_free(e, v[i]);
    }
    void *arrays[] = {packed, scratch, wt};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        memory_free(e, arrays[i]);
    test_tensor_free(&tx);
    test_tensor_free(&ty);
    ops->conv_destroy(conv);
    return out;
}

static void stats_result_free(stats_result *r)
{
    g_free(r->y);
    for (int i = 0; i < N_STATS; i++)
        g_free(r->vectors[i]);
}

static bool run_stats_case(const bench_pair *pair, const conv_case *c, fill_kind fill,
                           GString *message)
{
    static const char *const names[] = {"mean", "inv_std", "running_mean", "running_var"};
    int64_t pixels = (int64_t)c->n * c->h * c->w;
    g_autofree double *x = fill_new(pixels * c->ic, fill, pair->seed);
    g_autofree double *w =
        fill_new((int64_t)c->oc * c->ic * c->k * c->k, FILL_RANDOM, pair->seed + 2);
    bool takes = pair->engine->act == KN_BF16 && c->k == 3;
    stats_result want = stats_on(pair->engine, pair->ops, c, false, x, w, message);
    stats_result got = stats_on(pair->engine, pair->ops, c, takes, x, w, message);
    bool ok = memcmp(want.y, got.y, (size_t)(pixels * c->oc) * sizeof(double)) == 0;
    if (!ok)
        g_string_append(message, "not what the convolution alone stores; ");
    for (int i = 0; ok && i < N_STATS; i++)
        ok = check_close(names[i], want.vectors[i], got.vectors[i], c->oc, tolerance(16, 1), 0,
                         message);
    stats_result_free(&want);
    stats_result_free(&got);
    return ok;
}

static void stats(const bench_pair *pair, GString *message)
{
    static const conv_case cases[] = {
        {1, 1, 1, 1, 1, 3, false, false, 0, 4},     {2, 7, 5, 3, 16, 3, false, false, 0, 4},
        {1, 17, 19, 16, 32, 3, false, false, 0, 4}, {3, 9, 33, 8, 24, 3, false, false, 0, 4},
        {1, 7, 7, 33, 17, 3, false, false, 0, 4},   {1, 11, 18, 32, 72, 3, false, false, 0, 4},
        {2, 8, 16, 24, 130, 3, false, false, 0, 4}, {1, 6, 6, 16, 16, 1, false, false, 0, 4},
        {1, 160, 256, 1, 5, 3, false, false, 0, 4}, /* 320 tiles: more than threads of a block */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++)
            if (!run_stats_case(pair, &cases[i], (fill_kind)fill, message))
                g_string_append_printf(message, " (stats case %d, %s)\n", (int)i, fill_names[fill]);
}

/* So many tiles that a block has several, one after the other: with one and with several turns of
 * input channels, and blocks of 16, 32 and 64 outputs; edges inside. */
static void test_many_tiles(void)
{
    static const conv_case cases[] = {{1, 46, 95, 16, 16, 3, false, false, 0, 4},
                                      {2, 38, 45, 24, 24, 3, false, false, 0, 4},
                                      {1, 29, 59, 17, 40, 3, false, false, 0, 4},
                                      {1, 29, 59, 16, 40, 3, false, false, 0, 4},
                                      {1, 29, 59, 8, 40, 1, true, false, 0, 4}};
    g_autoptr(GString) message = g_string_new(NULL);
    bench_pair pair = pair_new(KN_PRECISION_BF16);
    ops_check_act(pair.engine->act);
    kn_emu_set_order(2, 5);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        if (!run_conv_case(&pair, &cases[i], FILL_RANDOM, message) ||
            (cases[i].k == 3 && !run_stats_case(&pair, &cases[i], FILL_RANDOM, message)))
            g_string_append_printf(message, " (case %d of many tiles)\n", (int)i);
    kn_emu_set_order(0, 0);
    ops_check_act(KN_F32);
    pair_free(&pair);
    g_assert_cmpstr(message->str, ==, "");
}

/* SGD and a teacher's moving average in one pass: every bit as in two. */
static void sgd_emas(const bench_pair *pair, GString *message)
{
    static const int64_t lengths[] = {1, 33, 1000, 70001};
    kn_engine *e = pair->engine;
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        int64_t n = lengths[i];
        size_t bytes = (size_t)n * sizeof(float);
        void *v[2][4]; /* θ, gradient, momentum, teacher */
        for (int a = 0; a < 4; a++) {
            g_autofree double *x = fill_new(n, FILL_RANDOM, pair->seed + (uint64_t)a);
            v[0][a] = array_new(e, x, n);
            v[1][a] = array_new(e, x, n);
        }
        for (int step = 0; step < 2; step++) {
            pair->ops->sgd(e, v[0][0], v[0][1], v[0][2], n, 0.01, 0.9, 1e-4);
            pair->ops->ema(e, v[0][3], v[0][0], n, 0.97);
            pair->ops->sgd_ema(e, v[1][0], v[1][1], v[1][2], v[1][3], n, 0.01, 0.9, 1e-4, 0.97);
        }
        for (int a = 0; a < 4; a++) {
            g_autofree char *want = g_malloc(bytes), *got = g_malloc(bytes);
            kn_engine_download(e, want, v[0][a], bytes);
            kn_engine_download(e, got, v[1][a], bytes);
            if (memcmp(want, got, bytes) != 0)
                g_string_append_printf(message, " (sgd and ema of %d, array %d)\n", (int)n, a);
            memory_free(e, v[0][a]);
            memory_free(e, v[1][a]);
        }
    }
}

/* Several convolutions packed in one go: every byte as one by one, the padding too. */
static void packs(const bench_pair *pair, GString *message)
{
    static const int shapes[][3] = {{3, 16, 3}, {16, 2, 3}, {33, 17, 1}, {24, 40, 3}, {1, 1, 3}};
    enum { N = G_N_ELEMENTS(shapes) };
    kn_engine *e = pair->engine;
    kn_pack_item one[N], all[N];
    size_t bytes[N];
    for (int i = 0; i < N; i++) {
        const int *s = shapes[i];
        int64_t n = (int64_t)s[0] * s[1] * s[2] * s[2];
        g_autofree double *w = fill_new(n, FILL_RANDOM, pair->seed + (uint64_t)i);
        kn_conv_spec spec = {.name = "case",
                             .n = 1,
                             .h = 4,
                             .w = 4,
                             .ic = s[0],
                             .oc = s[1],
                             .k = s[2],
                             .train = i != 3,
                             .bwd_data = i != 3,
                             .src_type = e->act,
                             .dst_type = e->act};
        kn_conv *conv = pair->ops->conv_create(e, &spec, NULL);
        bytes[i] = pair->ops->conv_needs(conv).packed_bytes;
        one[i] = (kn_pack_item){conv, array_new(e, w, n), i % 2 ? array_new(e, w, s[1]) : NULL,
                                memory_new(e, bytes[i])};
        all[i] = one[i];
        all[i].packed = memory_new(e, bytes[i]);
        pair->ops->conv_pack(conv, one[i].weight, one[i].bias, one[i].packed, NULL);
    }
    pair->ops->conv_pack_all(e, all, N, NULL);
    for (int i = 0; i < N; i++) {
        g_autofree char *want = g_malloc(bytes[i]), *got = g_malloc(bytes[i]);
        kn_engine_download(e, want, one[i].packed, bytes[i]);
        kn_engine_download(e, got, all[i].packed, bytes[i]);
        if (memcmp(want, got, bytes[i]) != 0)
            g_string_append_printf(message, " (pack case %d)\n", i);
        memory_free(e, one[i].packed);
        memory_free(e, all[i].packed);
        memory_free(e, (void *)(uintptr_t)one[i].weight);
        if (one[i].bias)
            memory_free(e, (void *)(uintptr_t)one[i].bias);
        pair->ops->conv_destroy(one[i].conv);
    }
}

static void norms(const bench_pair *pair, GString *message)
{
    static const norm_case cases[] = {
        {1, 1, 1, 1, 1, 0, 0.01, 0, 0},
        {1, 1, 1, 16, 16, 0, 0.01, 0.5, 0},
        {2, 7, 7, 3, 5, 1, 0.01, 0.3, 0},
        {1, 33, 7, 17, 17, 0, 0.01, 0.1, 0},
        {3, 8, 9, 16, 32, 0, 0.01, 0.05, 0},
        {2, 33, 33, 32, 64, 32, 0.01, 0, 0},
        {2, 5, 7, 256, 256, 0, 0.01, 0.5, 0},
        {2, 49, 24, 16, 16, 0, 0.01, 0.2, 0}, /* 5 tiles: blocks go round */
        {2, 9, 9, 40, 40, 0, 1, 0, 0},
        {1, 3, 3, 300, 300, 0, 0.01, 0.3, 0},
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

static void test_stats(void)
{
    in_all_ways(stats);
}

static void test_sgd_ema(void)
{
    in_all_ways(sgd_emas);
}

static void test_pack(void)
{
    in_all_ways(packs);
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
    g_test_add_func("/cuda/conv-stats", test_stats);
    g_test_add_func("/cuda/conv-many-tiles", test_many_tiles);
    g_test_add_func("/cuda/pack", test_pack);
    g_test_add_func("/cuda/sgd-ema", test_sgd_ema);
    g_test_add_func("/cuda/norm", test_norm);
    g_test_add_func("/cuda/resample", test_resample);
    g_test_add_func("/cuda/arrays", test_arrays);
    g_test_add_func("/cuda/peak", test_peak);
    return g_test_run();
}
