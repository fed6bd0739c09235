/* Every op of the table: the CPU backend against the double-precision reference over odd shapes and
 * hostile values; the reference against 4-point central differences; adjoints of the linear ops.
 * The last test plants a wrong kernel, a wrong gradient and a NaN, and wants each of them reported.
 */
#include "tests/kernels/beside_case.h"
#include "tests/kernels/edge_case.h"

#include <math.h>
#include <string.h>

static kn_engine *engine_new(const char *backend, kn_conv_mode mode, const char *choices)
{
    GError *error = NULL;
    kn_engine_options options = {
        .backend = backend, .n_threads = 2, .conv = mode, .conv_choices = choices};
    kn_engine *engine = kn_engine_create(&options, &error);
    g_assert_no_error(error);
    return engine;
}

static bench_pair pair_new(kn_conv_mode mode, const char *choices)
{
    bench_pair pair = {
        .engine = engine_new("cpu", mode, choices), .ref = engine_new("ref", 0, NULL), .seed = 11};
    pair.ops = kn_engine_ops(pair.engine);
    return pair;
}

static void pair_free(bench_pair *pair)
{
    kn_engine_destroy(pair->engine);
    kn_engine_destroy(pair->ref);
}

static void want_pass(bool ok, const GString *message, const char *what, int a, int b, int c, int d,
                      fill_kind fill)
{
    if (!ok) {
        g_test_message("%s %d %d %d %d, %s: %s", what, a, b, c, d, fill_names[fill], message->str);
        g_test_fail();
    }
}

/* ---- the CPU backend against the reference
 * ---------------------------------------------------------- */

static const conv_case CONVS[] = {
    {1, 1, 1, 1, 1, 3, true, false, 0, 4},    {2, 7, 5, 3, 16, 3, false, false, 0, 4},
    {1, 33, 7, 16, 16, 3, true, false, 0, 4}, {3, 8, 8, 5, 7, 3, true, false, 0, 4},
    {2, 9, 33, 16, 2, 3, true, false, 0, 4},  {1, 7, 7, 33, 17, 3, false, false, 0, 4},
    {2, 6, 6, 64, 32, 1, true, false, 0, 4},  {1, 1, 1, 256, 128, 1, true, false, 0, 4},
    {2, 4, 4, 32, 64, 3, true, true, 0, 4},   {1, 33, 1, 3, 16, 3, true, true, 0, 4},
    {1, 16, 16, 16, 2, 3, true, true, 0, 4},  {2, 5, 7, 3, 32, 3, true, false, 0, 4},
    {2, 5, 9, 16, 16, 3, true, false, 0, 4},  {2, 5, 9, 32, 4, 3, true, false, 0, 4},
    {1, 1, 1, 16, 2, 3, true, false, 0, 4},   {2, 33, 2, 48, 3, 3, false, false, 0, 4},
};

static void test_conv(void)
{
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(CONVS); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            const conv_case *c = &CONVS[i];
            bool ok = run_conv_case(&pair, c, (fill_kind)fill, message);
            want_pass(ok, message, "conv", c->h, c->w, c->ic, c->oc, (fill_kind)fill);
        }
    pair_free(&pair);
}

static void test_conv_winograd(void)
{
    bench_pair pair = pair_new(KN_CONV_AUTO, "case:fwd:24x20=winograd,case:bwd_d:24x20=winograd,"
                                             "case:bwd_w:24x20=winograd");
    if (pair.engine->block != 16) {
        pair_free(&pair);
        g_test_skip("Winograd needs AVX-512");
        return;
    }
    /* F(4,3)'s transforms have entries up to 8: it rounds about ten times more than the direct sum.
     */
    const conv_case cases[] = {{2, 20, 24, 16, 16, 3, true, false, 16, 40},
                               {1, 20, 24, 32, 16, 3, false, false, 16, 40},
                               {2, 20, 24, 64, 32, 3, false, false, 16, 40},
                               {2, 20, 24, 32, 32, 3, true, true, 16, 40}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            const conv_case *c = &cases[i];
            bool ok = run_conv_case(&pair, c, (fill_kind)fill, message);
            want_pass(ok, message, "winograd", c->h, c->w, c->ic, c->oc, (fill_kind)fill);
        }
    pair_free(&pair);
}

/* Our own kernels, over sizes that are no multiple of their tiles and fewer than their groups of
 * them.
 */
static const conv_case OWN[] = {
    {2, 20, 24, 16, 16, 3, false, false, 16, 40}, {1, 7, 33, 32, 16, 3, false, false, 16, 40},
    {2, 9, 70, 16, 48, 3, false, false, 16, 40},  {3, 1, 1, 16, 32, 3, false, false, 16, 40},
    {2, 33, 5, 64, 32, 3, false, false, 16, 40},  {2, 8, 3, 32, 32, 3, true, true, 16, 40},
    {1, 65, 130, 16, 16, 3, false, false, 0, 40}, {2, 9, 6, 32, 16, 3, true, true, 16, 40}};

static void check_own(bench_pair *pair, const char *what, double coefficient)
{
    for (size_t i = 0; i < G_N_ELEMENTS(OWN); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            conv_case c = OWN[i];
            c.coefficient = coefficient;
            bool ok = run_conv_case(pair, &c, (fill_kind)fill, message);
            want_pass(ok, message, what, c.h, c.w, c.ic, c.oc, (fill_kind)fill);
        }
}

static void test_conv_own(void)
{
    g_autoptr(GString) choices = g_string_new(NULL);
    static const char *const directions[] = {"fwd", "bwd_d", "bwd_w"};
    for (size_t i = 0; i < 3 * G_N_ELEMENTS(OWN); i++)
        g_string_append_printf(choices, "case:%s:%dx%d=own,", directions[i % 3], OWN[i / 3].w,
                               OWN[i / 3].h);
    bench_pair pair = pair_new(KN_CONV_AUTO, choices->str);
    if (pair.engine->block == 16)
        check_own(&pair, "own winograd", 40);
    else
        g_test_skip("our Winograd needs AVX-512");
    pair_free(&pair);
}

static void test_beside(void)
{
    g_autofree char *choices = beside_choices();
    bench_pair pair = pair_new(KN_CONV_AUTO, choices);
    for (int i = 0; i < N_BESIDE_CASES && pair.engine->block == 16; i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            const beside_case *c = &beside_cases[i];
            bool ok = run_beside_case(&pair, c, (fill_kind)fill, message);
            want_pass(ok, message, "beside", c->h, c->w, c->ic, c->oc, (fill_kind)fill);
        }
    if (pair.engine->block != 16)
        g_test_skip("our Winograd needs AVX-512");
    pair_free(&pair);
}

/* What writes 16 channels is ours with KN_CONV_DIRECT, and rounds as a direct sum does. */
static void test_conv_own_direct(void)
{
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    if (pair.engine->block == 16) {
        kn_conv_spec spec = {.name = "case",
                             .n = 1,
                             .h = 8,
                             .w = 8,
                             .ic = 32,
                             .oc = 16,
                             .k = 3,
                             .train = true,
                             .bwd_data = true,
                             .src_block = 16,
                             .dst_block = 16};
        kn_conv *conv = pair.ops->conv_create(pair.engine, &spec, NULL);
        g_assert_nonnull(conv);
        g_assert_nonnull(strstr(pair.ops->conv_describe(conv), "fwd=own_direct"));
        g_assert_null(strstr(pair.ops->conv_describe(conv), "bwd_d=own_direct"));
        g_assert_cmpuint(pair.ops->conv_takes(conv), ==, KN_TAKES_STATS);
        pair.ops->conv_destroy(conv);
        check_own(&pair, "own direct", 4);
    } else {
        g_test_skip("our direct convolution needs AVX-512");
    }
    pair_free(&pair);
}

static void test_norm(void)
{
    static const norm_case cases[] = {
        {1, 1, 1, 1, 1, 0, 0.01, 0, 0},       {1, 1, 1, 16, 16, 0, 0.01, 0.5, 0},
        {2, 7, 7, 3, 5, 1, 0.01, 0.3, 0},     {1, 33, 7, 17, 17, 0, 0.01, 0.1, 0},
        {3, 8, 9, 16, 32, 0, 0.01, 0.05, 0},  {2, 33, 33, 32, 64, 32, 0.01, 0, 0},
        {2, 5, 7, 256, 256, 0, 0.01, 0.5, 0}, {2, 6, 8, 64, 64, 0, 0.01, 0.2, 16},
        {2, 7, 5, 32, 64, 32, 0.01, 0.3, 16}, {1, 12, 33, 16, 32, 0, 0.01, 0.05, 16},
        {2, 9, 9, 40, 40, 0, 1, 0, 0},
    };
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            norm_case c = cases[i];
            /* One digit in a thousand of z is lost there: its sign, so the slope, could be either.
             */
            if (fill == FILL_OFFSET)
                c.slope = 1;
            bool ok = run_norm_case(&pair, &c, (fill_kind)fill, message);
            want_pass(ok, message, "norm", c.h, c.w, c.c, c.block, (fill_kind)fill);
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
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            norm_case c = cases[i];
            c.block = pair.engine->block ? c.block : 0;
            bool ok = run_stem_case(&pair, &c, (fill_kind)fill, message);
            want_pass(ok, message, "stem", c.h, c.w, c.c, c.block, (fill_kind)fill);
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
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            norm_case c = cases[i].c;
            c.block = pair.engine->block ? c.block : 0;
            bool ok = run_head_case(&pair, &c, cases[i].classes, (fill_kind)fill, message);
            want_pass(ok, message, "head", c.h, c.w, c.c, c.block, (fill_kind)fill);
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
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            g_autoptr(GString) message = g_string_new(NULL);
            norm_case c = cases[i];
            if (fill == FILL_OFFSET) /* as above */
                c.slope = 1;
            bool ok = run_norm_pool_case(&pair, &c, (fill_kind)fill, message);
            want_pass(ok, message, "norm and pool", c.h, c.w, c.c, c.block, (fill_kind)fill);
        }
    pair_free(&pair);
}

static void test_resample(void)
{
    static const int shapes[][5] = {/* n h w c block */
                                    {1, 1, 1, 1, 0},   {2, 7, 1, 3, 0},  {1, 33, 7, 16, 0},
                                    {2, 5, 70, 17, 0}, {3, 4, 4, 64, 0}, {2, 7, 33, 16, 16},
                                    {1, 2, 2, 48, 16}, {1, 1, 7, 32, 16}};
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            const int *s = shapes[i];
            g_autoptr(GString) message = g_string_new(NULL);
            bool pool =
                run_pool_case(&pair, s[0], s[1], s[2], s[3], s[4], (fill_kind)fill, message);
            want_pass(pool, message, "pool", s[1], s[2], s[3], s[4], (fill_kind)fill);
            bool up =
                run_upsample_case(&pair, s[0], s[1], s[2], s[3], s[4], (fill_kind)fill, message);
            want_pass(up, message, "upsample", s[1], s[2], s[3], s[4], (fill_kind)fill);
        }
    pair_free(&pair);
}

static void test_arrays(void)
{
    static const int64_t lengths[] = {1, 7, 33, 1000, 70001};
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autoptr(GString) message = g_string_new(NULL);
        want_pass(run_array_case(&pair, lengths[i], message), message, "arrays", (int)lengths[i], 0,
                  0, 0, 0);
    }
    pair_free(&pair);
}

/* ---- the reference against finite differences
 * ------------------------------------------------------- */

/* f(x + t·d) for the scalar <weights, op(x)>. */
typedef double (*scalar_function)(void *user, double t);

static double central_difference(scalar_function f, void *user, double h)
{
    return (8 * (f(user, h) - f(user, -h)) - (f(user, 2 * h) - f(user, -2 * h))) / (12 * h);
}

typedef struct {
    kn_engine *ref;
    const kn_ops *ops;
    norm_case c;
    double *x, *gamma, *beta;    /* the point */
    double *dx, *dgamma, *dbeta; /* the direction */
    double *w;                   /* weights of the outputs */
} norm_problem;

/* y of BatchNorm + LeakyReLU + dropout at the point moved by t; gradient of <w,y> when grad is
 * given. */
static double norm_scalar(norm_problem *p, double t, double **grad)
{
    int64_t n = (int64_t)p->c.n * p->c.h * p->c.w * p->c.c;
    int c = p->c.c;
    g_autofree double *x = g_new(double, n), *gamma = g_new(double, c), *beta = g_new(double, c);
    g_autofree double *buffers = g_new0(double, 6 * c);
    for (int64_t i = 0; i < n; i++)
        x[i] = p->x[i] + t * p->dx[i];
    for (int i = 0; i < c; i++) {
        gamma[i] = p->gamma[i] + t * p->dgamma[i];
        beta[i] = p->beta[i] + t * p->dbeta[i];
    }
    kn_norm norm = {.channels = c,
                    .gamma = gamma,
                    .beta = beta,
                    .mean = buffers,
                    .inv_std = buffers + c,
                    .running_mean = buffers + 2 * c,
                    .running_var = buffers + 3 * c,
                    .dgamma = buffers + 4 * c,
                    .dbeta = buffers + 5 * c,
                    .slope = p->c.slope,
                    .dropout = p->c.dropout,
                    .stream = 5,
                    .layer = 1};
    test_tensor tx = test_tensor_new(p->ref, p->c.n, p->c.h, p->c.w, c, c, 0, 0, x);
    test_tensor ty = test_tensor_new(p->ref, p->c.n, p->c.h, p->c.w, c, c, 0, 0, p->w);
    p->ops->norm_stats(p->ref, &tx.t, &norm);
    if (grad) {
        p->ops->norm_bwd(p->ref, &ty.t, &tx.t, &norm, &ty.t);
        grad[0] = test_tensor_read(&ty);
        grad[1] = g_memdup2(norm.dgamma, (gsize)c * sizeof(double));
        grad[2] = g_memdup2(norm.dbeta, (gsize)c * sizeof(double));
    }
    p->ops->norm_apply(p->ref, &tx.t, &norm, &ty.t);
    g_autofree double *y = test_tensor_read(&ty);
    double value = dot(y, p->w, n);
    test_tensor_free(&tx);
    test_tensor_free(&ty);
    return value;
}

static double norm_at(void *user, double t)
{
    return norm_scalar(user, t, NULL);
}

/* |numeric - analytic| <= 1e-7 of their size. */
static bool gradient_agrees(double numeric, double analytic)
{
    return fabs(numeric - analytic) <= 1e-7 * (1 + fabs(analytic));
}

static bool norm_gradient_case(kn_engine *ref, const kn_ops *ops)
{
    norm_problem p = {.ref = ref, .ops = ops, .c = {2, 3, 5, 4, 4, 0, 0.01, 0.3, 0}};
    int64_t n = (int64_t)p.c.n * p.c.h * p.c.w * p.c.c;
    double **arrays[] = {&p.x, &p.dx, &p.w, &p.gamma, &p.dgamma, &p.beta, &p.dbeta}, *grad[3];
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        *arrays[i] = fill_new(i < 3 ? n : p.c.c, FILL_RANDOM, 40 + i);
    norm_scalar(&p, 0, grad);
    double analytic =
        dot(grad[0], p.dx, n) + dot(grad[1], p.dgamma, p.c.c) + dot(grad[2], p.dbeta, p.c.c);
    double numeric = central_difference(norm_at, &p, 1e-4);
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        g_free(*arrays[i]);
    for (int i = 0; i < 3; i++)
        g_free(grad[i]);
    return gradient_agrees(numeric, analytic);
}

static void test_norm_gradient(void)
{
    kn_engine *ref = engine_new("ref", 0, NULL);
    g_assert_true(norm_gradient_case(ref, kn_engine_ops(ref)));
    kn_engine_destroy(ref);
}

/* The maximum is linear where no two values are close: <w, pool(x + t d)> against <bwd(w), d>. */
static void test_pool_gradient(void)
{
    kn_engine *ref = engine_new("ref", 0, NULL);
    const kn_ops *ops = kn_engine_ops(ref);
    enum { H = 3, W = 5, C = 4, N = H * W * C };
    g_autofree double *x = fill_new(4 * N, FILL_RANDOM, 1), *d = fill_new(4 * N, FILL_RANDOM, 2);
    g_autofree double *w = fill_new(N, FILL_RANDOM, 3), *zero = fill_new(4 * N, FILL_ZERO, 4);
    double value[2];
    for (int s = 0; s < 2; s++) {
        g_autofree double *moved = g_new(double, 4 * N);
        for (int i = 0; i < 4 * N; i++)
            moved[i] = x[i] + (s ? 1e-7 : -1e-7) * d[i];
        test_tensor tx = test_tensor_new(ref, 1, 2 * H, 2 * W, C, C, 0, 0, moved);
        test_tensor ty = test_tensor_new(ref, 1, H, W, C, C, 0, 0, NULL);
        ops->pool_fwd(ref, &tx.t, &ty.t, NULL);
        g_autofree double *y = test_tensor_read(&ty);
        value[s] = dot(y, w, N);
        test_tensor_free(&tx);
        test_tensor_free(&ty);
    }
    test_tensor tx = test_tensor_new(ref, 1, 2 * H, 2 * W, C, C, 0, 0, x);
    test_tensor tw = test_tensor_new(ref, 1, H, W, C, C, 0, 0, w);
    test_tensor tdx = test_tensor_new(ref, 1, 2 * H, 2 * W, C, C, 0, 0, zero);
    ops->pool_bwd(ref, &tx.t, &tw.t, &tdx.t);
    g_autofree double *dx = test_tensor_read(&tdx);
    g_assert_true(fabs((value[1] - value[0]) / 2e-7 - dot(dx, d, 4 * N)) <= 1e-6);
    test_tensor_free(&tx);
    test_tensor_free(&tw);
    test_tensor_free(&tdx);
    kn_engine_destroy(ref);
}

/* <Ax, y> = <x, Aᵀy> = <dw, w>: convolution and upsampling, on both backends. */
static bool adjoint_case(kn_engine *e, const kn_ops *ops, double tol)
{
    enum { H = 7, W = 9, I = 16, O = 5 };
    GError *error = NULL;
    kn_conv_spec spec = {.name = "adjoint",
                         .n = 2,
                         .h = H,
                         .w = W,
                         .ic = I,
                         .oc = O,
                         .k = 3,
                         .train = true,
                         .bwd_data = true};
    kn_conv *conv = ops->conv_create(e, &spec, &error);
    g_assert_no_error(error);
    int64_t nx = 2 * H * W * I, ny = 2 * H * W * O, nw = O * I * 9;
    kn_conv_needs needs = ops->conv_needs(conv);
    void *packed = g_aligned_alloc0(1, needs.packed_bytes + 1, KN_ALIGN);
    void *scratch = g_aligned_alloc0(
        1, MAX(needs.fwd_bytes, MAX(needs.bwd_data_bytes, needs.bwd_weights_bytes)) + 1, KN_ALIGN);
    g_autofree double *x = fill_new(nx, FILL_RANDOM, 1), *y = fill_new(ny, FILL_RANDOM, 2);
    g_autofree double *w = fill_new(nw, FILL_RANDOM, 3), *zero = fill_new(nw, FILL_ZERO, 4);
    void *wt = array_new(e, w, nw), *dw = array_new(e, zero, nw);
    test_tensor tx = test_tensor_new(e, 2, H, W, I, I, 0, 0, x),
                ty = test_tensor_new(e, 2, H, W, O, O, 0, 0, y);
    test_tensor ax = test_tensor_new(e, 2, H, W, O, O, 0, 0, NULL),
                aty = test_tensor_new(e, 2, H, W, I, I, 0, 0, NULL);
    bool ok = ops->conv_pack(conv, wt, NULL, packed, NULL) &&
              ops->conv_fwd(conv, packed, &tx.t, &ax.t, scratch, NULL) &&
              ops->conv_bwd_data(conv, packed, &ty.t, &aty.t, scratch, NULL) &&
              ops->conv_bwd_weights(conv, &tx.t, &ty.t, dw, NULL, scratch, NULL);
    g_autofree double *axv = test_tensor_read(&ax), *atyv = test_tensor_read(&aty),
                      *dwv = array_read(e, dw, nw);
    double forward = dot(axv, y, ny), data = dot(x, atyv, nx), weights = dot(dwv, w, nw);
    ok = ok && fabs(forward - data) <= tol * sqrt((double)ny) &&
         fabs(forward - weights) <= tol * sqrt((double)ny);
    test_tensor *tensors[] = {&tx, &ty, &ax, &aty};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
    g_aligned_free(packed);
    g_aligned_free(scratch);
    memory_free(e, wt);
    memory_free(e, dw);
    ops->conv_destroy(conv);
    return ok;
}

static bool upsample_adjoint_case(kn_engine *e, const kn_ops *ops, int h, int w, double tol)
{
    enum { C = 16 };
    int64_t n = (int64_t)h * w * C;
    g_autofree double *x = fill_new(n, FILL_RANDOM, 1), *y = fill_new(4 * n, FILL_RANDOM, 2);
    test_tensor tx = test_tensor_new(e, 1, h, w, C, C, 0, 0, x),
                ty = test_tensor_new(e, 1, 2 * h, 2 * w, C, C, 0, 0, y);
    test_tensor ux = test_tensor_new(e, 1, 2 * h, 2 * w, C, C, 0, 0, NULL),
                uty = test_tensor_new(e, 1, h, w, C, C, 0, 0, NULL);
    ops->upsample_fwd(e, &tx.t, &ux.t);
    ops->upsample_bwd(e, &ty.t, &uty.t);
    g_autofree double *uxv = test_tensor_read(&ux), *utyv = test_tensor_read(&uty);
    bool ok = fabs(dot(uxv, y, 4 * n) - dot(x, utyv, n)) <= tol * sqrt((double)(4 * n));
    test_tensor *tensors[] = {&tx, &ty, &ux, &uty};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
    return ok;
}

static void test_adjoint(void)
{
    static const int sizes[][2] = {{1, 1}, {1, 2}, {2, 3}, {3, 7}, {33, 65}, {100, 2}};
    kn_engine *engines[2] = {engine_new("ref", 0, NULL), engine_new("cpu", KN_CONV_DIRECT, NULL)};
    for (int i = 0; i < 2; i++) {
        const kn_ops *ops = kn_engine_ops(engines[i]);
        double tol = i == 0 ? 1e-11 : tolerance(16, 144);
        g_assert_true(adjoint_case(engines[i], ops, tol));
        for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++)
            g_assert_true(upsample_adjoint_case(engines[i], ops, sizes[s][0], sizes[s][1], tol));
        kn_engine_destroy(engines[i]);
    }
}

/* Values worked out by hand: align_corners on 1×2 -> 2×4 gives thirds. */
static void test_upsample_values(void)
{
    kn_engine *ref = engine_new("ref", 0, NULL);
    const double x[2] = {0, 3}, want[8] = {0, 1, 2, 3, 0, 1, 2, 3};
    test_tensor tx = test_tensor_new(ref, 1, 1, 2, 1, 1, 0, 0, x),
                ty = test_tensor_new(ref, 1, 2, 4, 1, 1, 0, 0, NULL);
    kn_engine_ops(ref)->upsample_fwd(ref, &tx.t, &ty.t);
    g_autofree double *y = test_tensor_read(&ty);
    for (int i = 0; i < 8; i++)
        g_assert_cmpfloat_with_epsilon(y[i], want[i], 1e-12);
    test_tensor_free(&tx);
    test_tensor_free(&ty);
    kn_engine_destroy(ref);
}

/* About p of the elements are dropped, the rest scaled so that the mean stays; another stream,
 * other elements. */
static void test_dropout_rate(void)
{
    enum { C = 16, SIDE = 64, N = SIDE * SIDE * C };
    kn_engine *cpu = engine_new("cpu", KN_CONV_DIRECT, NULL);
    g_autofree double *ones = g_new(double, N);
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    int agree = 0;
    g_autofree double *previous = NULL;
    for (uint64_t stream = 1; stream <= 2; stream++) {
        float gamma[C], zero[C] = {0};
        for (int i = 0; i < C; i++)
            gamma[i] = 1;
        kn_norm norm = {.channels = C,
                        .gamma = gamma,
                        .beta = zero,
                        .mean = zero,
                        .inv_std = gamma,
                        .slope = 0.01,
                        .dropout = 0.3,
                        .stream = stream};
        test_tensor t = test_tensor_new(cpu, 1, SIDE, SIDE, C, C, 0, 0, ones);
        kn_engine_ops(cpu)->norm_apply(cpu, &t.t, &norm, &t.t);
        double *y = test_tensor_read(&t), dropped = 0;
        for (int i = 0; i < N; i++) {
            dropped += y[i] == 0;
            agree += previous && y[i] == previous[i];
        }
        /* five standard deviations of a binomial */
        g_assert_cmpfloat_with_epsilon(dropped / N, 0.3, 5 * sqrt(0.3 * 0.7 / N));
        g_assert_cmpfloat_with_epsilon(dot(y, ones, N) / N, 1, 5 * sqrt(0.3 / 0.7 / N));
        g_free(previous);
        previous = y;
        test_tensor_free(&t);
    }
    g_assert_cmpfloat_with_epsilon((double)agree / N, 0.3 * 0.3 + 0.7 * 0.7, 0.01);
    kn_engine_destroy(cpu);
}

/* ---- the harness proves itself
 * ---------------------------------------------------------------------- */

static const kn_ops *honest;

static void pool_wrong_corner(kn_engine *e, const kn_tensor *x, const kn_tensor *y,
                              const kn_tensor *copy)
{
    honest->pool_fwd(e, x, y, copy);
    kn_f32(y)[(kn_pixels(y) - 1) * y->c] += 1e-3f; /* one element of the last pixel */
}

static void norm_bwd_without_mean(kn_engine *e, const kn_tensor *dy, const kn_tensor *x,
                                  const kn_norm *norm, const kn_tensor *dx)
{
    honest->norm_bwd(e, dy, x, norm, dx);
    for (int64_t i = 0; i < kn_pixels(dx) * dx->c; i++) {
        if (dx->dtype == KN_F64)
            kn_f64(dx)[i] *= 1.001;
        else
            kn_f32(dx)[i] *= 1.001f;
    }
}

static void upsample_nan(kn_engine *e, const kn_tensor *x, const kn_tensor *y)
{
    honest->upsample_fwd(e, x, y);
    kn_f32(y)[0] = NAN;
}

static bool conv_fwd_shifted(kn_conv *conv, const void *packed, const kn_tensor *src,
                             const kn_tensor *dst, void *scratch, GError **error)
{
    bool ok = honest->conv_fwd(conv, packed, src, dst, scratch, error);
    kn_f32(dst)[0] *= 1.0005f;
    return ok;
}

static void test_planted_faults(void)
{
    bench_pair pair = pair_new(KN_CONV_DIRECT, NULL);
    honest = pair.ops;
    kn_ops planted = *pair.ops;
    planted.pool_fwd = pool_wrong_corner;
    planted.norm_bwd = norm_bwd_without_mean;
    planted.upsample_fwd = upsample_nan;
    planted.conv_fwd = conv_fwd_shifted;
    const norm_case norm = {2, 7, 7, 16, 16, 0, 0.01, 0.3, 0};
    const conv_case conv = {1, 7, 7, 16, 16, 3, true, false, 0, 4};
    for (int turn = 0; turn < 2; turn++) {
        g_autoptr(GString) message = g_string_new(NULL);
        bool want = turn == 0;
        pair.ops = turn ? &planted : honest;
        g_assert_cmpint(run_pool_case(&pair, 1, 7, 7, 16, 0, FILL_RANDOM, message), ==, want);
        g_assert_cmpint(run_norm_case(&pair, &norm, FILL_RANDOM, message), ==, want);
        g_assert_cmpint(run_upsample_case(&pair, 1, 7, 7, 16, 0, FILL_RANDOM, message), ==, want);
        g_assert_cmpint(run_conv_case(&pair, &conv, FILL_RANDOM, message), ==, want);
        g_assert_cmpint(message->len == 0, ==, want);
    }
    honest = kn_engine_ops(pair.ref);
    planted = *honest;
    g_assert_true(norm_gradient_case(pair.ref, &planted));
    planted.norm_bwd = norm_bwd_without_mean;
    g_assert_false(norm_gradient_case(pair.ref, &planted));
    pair_free(&pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ops/conv", test_conv);
    g_test_add_func("/ops/conv/winograd", test_conv_winograd);
    g_test_add_func("/ops/conv/own", test_conv_own);
    g_test_add_func("/ops/beside", test_beside);
    g_test_add_func("/ops/conv/own-direct", test_conv_own_direct);
    g_test_add_func("/ops/norm", test_norm);
    g_test_add_func("/ops/stem", test_stem);
    g_test_add_func("/ops/head-sums", test_head_sums);
    g_test_add_func("/ops/norm-pool", test_norm_pool);
    g_test_add_func("/ops/resample", test_resample);
    g_test_add_func("/ops/arrays", test_arrays);
    g_test_add_func("/ops/gradient/norm", test_norm_gradient);
    g_test_add_func("/ops/gradient/pool", test_pool_gradient);
    g_test_add_func("/ops/adjoint", test_adjoint);
    g_test_add_func("/ops/upsample-values", test_upsample_values);
    g_test_add_func("/ops/dropout-rate", test_dropout_rate);
    g_test_add_func("/ops/planted-faults", test_planted_faults);
    return g_test_run();
}
