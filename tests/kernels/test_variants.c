/* What the methods add to the engine: feature perturbations, repetition, depth to space,
 * predictions put together, Adam (CPU against reference in every layout, adjoints, statistics), and
 * the U-Net's variants: their parameters, their gradients from every output by finite differences,
 * CPU against reference, and that a pass of fewer outputs computes the same with less. */
#include "kernels/net/net_priv.h"
#include "kernels/net/weights_priv.h"
#include "tests/kernels/net_rig.h"
#include "tests/kernels/ops_check.h"
#ifdef VARIANTS_CUDA
#include "kernels/cuda/cuda.h"
#endif

#include "base/classes.h"
#include "base/error.h"

#include <math.h>
#include <string.h>

/* The backend under test: the CPU's, or CUDA's where its emulation is linked (tests/emulation),
 * with the ops alone. */
#ifdef VARIANTS_CUDA
#define DEVICE "cuda"
#else
#define DEVICE "cpu"
#endif

typedef struct {
    kn_engine *cpu, *ref; /* cpu: the one under test */
} engines;

static kn_precision precision = KN_PRECISION_AUTO;

static kn_engine *engine_new(const char *backend)
{
    GError *error = NULL;
    kn_engine_options options = {.backend = backend, .n_threads = 2};
    if (g_str_equal(backend, "cuda"))
        options.precision = precision;
    kn_engine *engine = kn_engine_create(&options, &error);
    g_assert_no_error(error);
    return engine;
}

static engines engines_new(void)
{
    return (engines){engine_new(DEVICE), engine_new("ref")};
}

static void engines_free(engines *e)
{
    kn_engine_destroy(e->cpu);
    kn_engine_destroy(e->ref);
}

static void want(bool ok, const GString *message)
{
    if (!ok)
        g_test_message("%s", message->str);
    g_assert_true(ok);
}

/* ---- perturbations -------------------------------------------------------------------------- */

static const kn_perturb hows[] = {
    {.kind = KN_PERTURB_COPY, .stream = 7, .layer = 3},
    {.kind = KN_PERTURB_NOISE, .lo = -0.3, .hi = 0.3, .stream = 7, .layer = 3},
    {.kind = KN_PERTURB_DROPOUT, .lo = 0.3, .stream = 7, .layer = 3},
    {.kind = KN_PERTURB_DROP, .lo = 0.7, .hi = 0.9, .stream = 7, .layer = 3},
};

typedef struct {
    int n, h, w, c, whole, first, block_x, block_y;
} perturb_case;

static const perturb_case perturb_cases[] = {
    {1, 1, 1, 1, 1, 0, 0, 0},      {2, 7, 5, 3, 5, 1, 0, 0},    {3, 9, 7, 16, 32, 0, 0, 0},
    {2, 8, 6, 32, 64, 32, 16, 16}, {2, 7, 9, 64, 64, 0, 16, 0}, {1, 33, 3, 48, 96, 48, 0, 16},
};

/* Blocks of channels are the CPU's alone. */
static bool takes_blocks(const kn_engine *engine)
{
    return kn_engine_dtype(engine) != KN_F64 && !kn_engine_is_device(engine);
}

/* y and dx of one backend, read back. */
static void run_perturb(kn_engine *engine, const perturb_case *c, const kn_perturb *how,
                        const double *x, const double *dy, double **y, double **dx)
{
    bool blocks = takes_blocks(engine);
    int bx = blocks ? c->block_x : 0, by = blocks ? c->block_y : 0;
    test_tensor tx = test_tensor_new(engine, c->n, c->h, c->w, c->c, c->whole, c->first, bx, x);
    test_tensor ty = test_tensor_new(engine, c->n, c->h, c->w, c->c, c->c, 0, by, NULL);
    test_tensor tg = test_tensor_new(engine, c->n, c->h, c->w, c->c, c->c, 0, by, dy);
    test_tensor td = test_tensor_new(engine, c->n, c->h, c->w, c->c, c->whole, c->first, bx, dy);
    const kn_ops *ops = kn_engine_ops(engine);
    ops->perturb_fwd(engine, &tx.t, how, &ty.t);
    ops->perturb_bwd(engine, &tg.t, how->kind == KN_PERTURB_DROP ? &tx.t : NULL, how, &td.t);
    g_assert_true(test_tensor_rest_untouched(&td));
    *y = test_tensor_read(&ty);
    *dx = test_tensor_read(&td);
    test_tensor_free(&tx);
    test_tensor_free(&ty);
    test_tensor_free(&tg);
    test_tensor_free(&td);
}

static void test_perturb(void)
{
    engines e = engines_new();
    for (size_t k = 0; k < G_N_ELEMENTS(hows); k++)
        for (size_t i = 0; i < G_N_ELEMENTS(perturb_cases); i++) {
            const perturb_case *c = &perturb_cases[i];
            int64_t n = (int64_t)c->n * c->h * c->w * c->c;
            g_autofree double *x = fill_new(n, FILL_RANDOM, 1 + i),
                              *g = fill_new(n, FILL_RANDOM, 50 + i);
            g_autofree double *y0 = NULL, *d0 = NULL, *y1 = NULL, *d1 = NULL;
            g_autoptr(GString) message = g_string_new(NULL);
            run_perturb(e.ref, c, &hows[k], x, g, &y0, &d0);
            run_perturb(e.cpu, c, &hows[k], x, g, &y1, &d1);
            want(check_close("y", y0, y1, n, tolerance_act(4, 1), 1, message), message);
            want(check_close("dx", d0, d1, n, tolerance_act(4, 1), 1, message), message);
            /* Adjoint: y = Ax, dx = g + Aᵀg. */
            double left = dot(y0, g, n), right = dot(x, d0, n) - dot(x, g, n);
            g_assert_true(fabs(left - right) <= 1e-9 * (1 + fabs(left)));
        }
    engines_free(&e);
}

#ifdef VARIANTS_CUDA
/* Activations of a GPU may be bf16: the same masks and noise, to bf16's last place. */
static void test_perturb_bf16(void)
{
    precision = KN_PRECISION_BF16;
    ops_check_act(KN_BF16);
    test_perturb();
    ops_check_act(KN_F32);
    precision = KN_PRECISION_F32;
}
#endif

/* Noise is U(-.3,.3) and the same for all images, dropout keeps .7 and the mean, dropping takes the
 * strongest pixels. */
static void test_perturb_statistics(void)
{
    kn_engine *engine = engine_new("ref");
    const perturb_case c = {2, 32, 32, 16, 16, 0, 0, 0};
    int64_t n = (int64_t)2 * 32 * 32 * 16, half = n / 2;
    g_autofree double *one = g_new(double, n), *ramp = g_new(double, n);
    for (int64_t i = 0; i < n; i++) {
        one[i] = 1;
        ramp[i] = 1.0 + (double)(i % half / 16); /* by pixel: 1 … 1024 */
    }
    double *y = NULL, *dx = NULL;
    run_perturb(engine, &c, &hows[1], one, one, &y, &dx);
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++) {
        g_assert_true(y[i] >= 0.7 && y[i] < 1.3);
        g_assert_cmpfloat(y[i], ==, y[i % half]);
        sum += y[i] - 1;
        square += (y[i] - 1) * (y[i] - 1);
    }
    g_assert_true(fabs(sum / (double)n) < 0.005 && fabs(square / (double)n - 0.03) < 0.001);
    g_free(y);
    g_free(dx);
    run_perturb(engine, &c, &hows[2], one, one, &y, &dx);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        kept += y[i] > 0;
    g_assert_true(fabs((double)kept / (double)n - 0.7) < 0.01);
    g_free(y);
    g_free(dx);
    run_perturb(engine, &c, &hows[3], ramp, one, &y, &dx);
    kept = 0;
    for (int64_t i = 0; i < half / 16; i++) {
        g_assert_true(y[i * 16] == 0 || y[i * 16] == ramp[i * 16]);
        g_assert_true(i == 0 || y[i * 16] > 0 ? kept == i : true); /* the weakest are kept */
        kept += y[i * 16] > 0;
    }
    g_assert_true(kept >= 0.69 * 1024 && kept <= 0.91 * 1024);
    g_free(y);
    g_free(dx);
    kn_engine_destroy(engine);
}

/* ---- moves ---------------------------------------------------------------------------------- */

typedef void (*move_op)(kn_engine *, const kn_tensor *, const kn_tensor *);

/* One move of one backend, read back. */
static double *run_move(kn_engine *engine, move_op op, const int src[5], const int dst[5],
                        const double *x)
{
    bool blocks = takes_blocks(engine);
    test_tensor a =
        test_tensor_new(engine, src[0], src[1], src[2], src[3], src[3], 0, blocks ? src[4] : 0, x);
    test_tensor b = test_tensor_new(engine, dst[0], dst[1], dst[2], dst[3], 2 * dst[3], dst[3],
                                    blocks ? dst[4] : 0, NULL);
    op(engine, &a.t, &b.t);
    double *out = test_tensor_read(&b);
    g_assert_true(test_tensor_rest_untouched(&b));
    test_tensor_free(&a);
    test_tensor_free(&b);
    return out;
}

static void check_move(engines *e, bool spread, const int small[5], const int large[5])
{
    const kn_ops *cpu = kn_engine_ops(e->cpu), *ref = kn_engine_ops(e->ref);
    int64_t n_small = (int64_t)small[0] * small[1] * small[2] * small[3],
            n_large = (int64_t)large[0] * large[1] * large[2] * large[3];
    g_autofree double *x = fill_new(n_small, FILL_RANDOM, 3),
                      *g = fill_new(n_large, FILL_RANDOM, 4);
    move_op fwd[2] = {spread ? ref->spread_fwd : ref->repeat_fwd,
                      spread ? cpu->spread_fwd : cpu->repeat_fwd};
    move_op bwd[2] = {spread ? ref->spread_bwd : ref->repeat_bwd,
                      spread ? cpu->spread_bwd : cpu->repeat_bwd};
    g_autofree double *y0 = run_move(e->ref, fwd[0], small, large, x),
                      *y1 = run_move(e->cpu, fwd[1], small, large, x),
                      *d0 = run_move(e->ref, bwd[0], large, small, g),
                      *d1 = run_move(e->cpu, bwd[1], large, small, g);
    g_autoptr(GString) message = g_string_new(NULL);
    want(check_close("y", y0, y1, n_large, 0, 1, message), message);
    want(check_close("dx", d0, d1, n_small, tolerance(4, 64), 1, message), message);
    double left = dot(y0, g, n_large), right = dot(x, d0, n_small);
    g_assert_true(fabs(left - right) <= 1e-9 * (1 + fabs(left)));
}

static void test_moves(void)
{
    engines e = engines_new();
    check_move(&e, false, (int[]){2, 3, 5, 2, 0}, (int[]){2, 6, 10, 2, 0});
    check_move(&e, false, (int[]){1, 4, 2, 3, 0}, (int[]){1, 32, 16, 3, 0});
    check_move(&e, true, (int[]){1, 1, 1, 4, 0}, (int[]){1, 2, 2, 1, 0});
    check_move(&e, true, (int[]){2, 3, 5, 20, 0}, (int[]){2, 6, 10, 5, 0});
    check_move(&e, true, (int[]){2, 3, 5, 64, 16}, (int[]){2, 6, 10, 16, 16});
    check_move(&e, true, (int[]){2, 4, 3, 128, 0}, (int[]){2, 8, 6, 32, 16});
    check_move(&e, true, (int[]){1, 4, 3, 128, 16}, (int[]){1, 8, 6, 32, 0});
    engines_free(&e);
}

/* y(2i+u, 2j+v, o) = b[o] + Σ_c w[c,o,u,v] x(i,j,c): the rearranged parameters say the same. */
static void test_transposed(void)
{
    enum { IC = 3, OC = 5 };
    engines e = engines_new();
    kn_engine *both[2] = {e.ref, e.cpu};
    g_autofree double *w = fill_new(IC * OC * 4, FILL_RANDOM, 1), *b = fill_new(OC, FILL_RANDOM, 2);
    for (int k = 0; k < 2; k++) {
        const kn_ops *ops = kn_engine_ops(both[k]);
        g_autofree double *zero = g_new0(double, 4 * IC * OC);
        void *aw = array_new(both[k], w, IC * OC * 4), *ab = array_new(both[k], b, OC);
        void *w1 = array_new(both[k], zero, 4 * IC * OC), *b1 = array_new(both[k], zero, 4 * OC);
        ops->transposed_pack(both[k], IC, OC, aw, ab, w1, b1);
        g_autofree double *got = array_read(both[k], w1, 4 * IC * OC),
                          *got_b = array_read(both[k], b1, 4 * OC);
        for (int o = 0; o < OC; o++)
            for (int uv = 0; uv < 4; uv++) {
                g_assert_cmpfloat(got_b[uv * OC + o], ==, b[o]);
                for (int c = 0; c < IC; c++)
                    g_assert_cmpfloat(got[(uv * OC + o) * IC + c], ==, w[(c * OC + o) * 4 + uv]);
            }
        /* Back: twice the weights, and the sum of four biases on top of one. */
        ops->transposed_unpack(both[k], IC, OC, w1, b1, aw, ab);
        g_autofree double *twice = array_read(both[k], aw, IC * OC * 4),
                          *five = array_read(both[k], ab, OC);
        for (int i = 0; i < IC * OC * 4; i++)
            g_assert_cmpfloat(twice[i], ==, 2 * w[i]);
        for (int o = 0; o < OC; o++)
            g_assert_cmpfloat_with_epsilon(five[o], 5 * b[o], 1e-5);
        void *arrays[] = {aw, ab, w1, b1};
        for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
            memory_free(both[k], arrays[i]);
    }
    engines_free(&e);
}

/* ---- predictions put together -----------------------------------------------------------------
 */

static void test_mean_prob(void)
{
    enum { N = 3, PX = 35, C = 4 };
    engines e = engines_new();
    kn_engine *both[2] = {e.ref, e.cpu};
    double *z[N], wanted[PX * C] = {0};
    for (int k = 0; k < N; k++) {
        z[k] = fill_new(PX * C, k == 2 ? FILL_HUGE : FILL_RANDOM, 10 + (uint64_t)k);
        for (int p = 0; p < PX; p++) {
            double sum = 0, top = -INFINITY;
            for (int c = 0; c < C; c++)
                top = MAX(top, z[k][p * C + c]);
            for (int c = 0; c < C; c++)
                sum += exp(z[k][p * C + c] - top);
            for (int c = 0; c < C; c++)
                wanted[p * C + c] += exp(z[k][p * C + c] - top) / sum / N;
        }
    }
    for (int b = 0; b < 2; b++) {
        test_tensor acc = test_tensor_new(both[b], 1, 5, 7, C, C, 0, 0, NULL);
        for (int k = 0; k < N; k++) {
            test_tensor t = test_tensor_new(both[b], 1, 5, 7, C, C, 0, 0, z[k]);
            kn_engine_ops(both[b])->mean_prob(both[b], &t.t, k, N, &acc.t);
            test_tensor_free(&t);
        }
        g_autofree double *got = test_tensor_read(&acc);
        for (int i = 0; i < PX * C; i++)
            g_assert_true(fabs(exp(got[i]) - wanted[i]) <= 1e-6);
        test_tensor_free(&acc);
    }
    for (int k = 0; k < N; k++)
        g_free(z[k]);
    engines_free(&e);
}

static void test_paste(void)
{
    engines e = engines_new();
    kn_engine *both[2] = {e.ref, e.cpu};
    static const kn_box boxes[] = {{0, 0, 0, 0}, {1, 2, 4, 5}, {0, 0, 7, 5}, {6, 0, 7, 5}};
    g_autofree double *a = fill_new(35 * 2, FILL_RANDOM, 1), *b = fill_new(35 * 2, FILL_RANDOM, 2);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < G_N_ELEMENTS(boxes); i++) {
            test_tensor ta = test_tensor_new(both[k], 1, 5, 7, 2, 2, 0, 0, a);
            test_tensor tb = test_tensor_new(both[k], 1, 5, 7, 2, 2, 0, 0, b);
            test_tensor td = test_tensor_new(both[k], 1, 5, 7, 2, 4, 1, 0, NULL);
            const kn_ops *ops = kn_engine_ops(both[k]);
            ops->paste(both[k], &ta.t, &tb.t, boxes[i], &td.t);
            ops->paste(both[k], &ta.t, &tb.t, boxes[i], &ta.t); /* over the outer image */
            g_autofree double *d = test_tensor_read(&td), *over = test_tensor_read(&ta);
            for (int p = 0; p < 35; p++) {
                int x = p % 7, y = p / 7;
                bool in =
                    x >= boxes[i].x0 && x < boxes[i].x1 && y >= boxes[i].y0 && y < boxes[i].y1;
                for (int c = 0; c < 2; c++) {
                    g_assert_cmpfloat(d[p * 2 + c], ==, in ? b[p * 2 + c] : a[p * 2 + c]);
                    g_assert_cmpfloat(over[p * 2 + c], ==, d[p * 2 + c]);
                }
            }
            g_assert_true(test_tensor_rest_untouched(&td));
            test_tensor_free(&ta);
            test_tensor_free(&tb);
            test_tensor_free(&td);
        }
    engines_free(&e);
}

static void test_relabel(void)
{
    engines e = engines_new();
    kn_engine *both[2] = {e.ref, e.cpu};
    const double z[] = {1, 5, 3, /**/ 1, 5, 3, /**/ 2, 2, 0};
    const uint8_t y[] = {1, 0, 2};
    const double wanted[] = {1, 5, 3, /**/ 5, 1, 3, /**/ 0, 2, 2};
    for (int k = 0; k < 2; k++) {
        test_tensor t = test_tensor_new(both[k], 1, 1, 3, 3, 3, 0, 0, z);
        uint8_t *labels = memory_new(both[k], sizeof y);
        kn_engine_upload(both[k], labels, y, sizeof y);
        kn_engine_ops(both[k])->relabel(both[k], &t.t, labels);
        memory_free(both[k], labels);
        g_autofree double *got = test_tensor_read(&t);
        for (int i = 0; i < 9; i++)
            g_assert_cmpfloat(got[i], ==, wanted[i]);
        kn_engine_ops(both[k])->clear(both[k], &t.t);
        g_free(got);
        got = test_tensor_read(&t);
        for (int i = 0; i < 9; i++)
            g_assert_cmpfloat(got[i], ==, 0);
        test_tensor_free(&t);
    }
    engines_free(&e);
}

/* Against numbers of torch.optim.Adam (lr .01, weight decay .1; gradients .5, -.2, .1). */
static void test_adam(void)
{
    static const double grads[] = {0.5, -0.2, 0.1},
                        wanted[] = {0.9900000001666667, 0.984628324547652, 0.978698330708523};
    engines e = engines_new();
    kn_engine *both[2] = {e.ref, e.cpu};
    for (int k = 0; k < 2; k++) {
        const double one = 1, zero = 0;
        void *w = array_new(both[k], &one, 1), *m = array_new(both[k], &zero, 1);
        void *v = array_new(both[k], &zero, 1);
        for (int t = 0; t < 3; t++) {
            void *g = array_new(both[k], &grads[t], 1);
            kn_engine_ops(both[k])->adam(both[k], w, g, m, v, 1, 0.01, 0.1, t + 1);
            memory_free(both[k], g);
            g_autofree double *got = array_read(both[k], w, 1);
            g_test_message("%.12g", got[0]);
            g_assert_cmpfloat_with_epsilon(got[0], wanted[t], 2e-7);
        }
        memory_free(both[k], w);
        memory_free(both[k], m);
        memory_free(both[k], v);
    }
    engines_free(&e);
}

/* Arrays longer than a grid, each element with a history of its own, beside the reference. */
static void test_adam_arrays(void)
{
    enum { N = 70001, STEPS = 3 };
    engines e = engines_new();
    kn_engine *both[2] = {e.ref, e.cpu};
    double *theta[2];
    for (int k = 0; k < 2; k++) {
        g_autofree double *start = fill_new(N, FILL_RANDOM, 1), *zero = g_new0(double, N);
        void *w = array_new(both[k], start, N);
        void *m = array_new(both[k], zero, N), *v = array_new(both[k], zero, N);
        for (int t = 1; t <= STEPS; t++) {
            g_autofree double *values = fill_new(N, FILL_RANDOM, 1 + (uint64_t)t);
            void *g = array_new(both[k], values, N);
            kn_engine_ops(both[k])->adam(both[k], w, g, m, v, N, 0.01, 1e-4, t);
            memory_free(both[k], g);
        }
        theta[k] = array_read(both[k], w, N);
        memory_free(both[k], w);
        memory_free(both[k], m);
        memory_free(both[k], v);
    }
    g_autoptr(GString) message = g_string_new(NULL);
    want(check_close("theta", theta[0], theta[1], N, tolerance(16, 1), 1, message), message);
    g_free(theta[0]);
    g_free(theta[1]);
    engines_free(&e);
}

/* ---- variants of the network
 * ---------------------------------------------------------------------
 */

typedef struct {
    const char *name;
    kn_unet_variant variant;
    bool features;
    int64_t n_trained; /* at width 16, two classes */
    int n_outputs;
} variant_case;

static const variant_case variants[] = {
    {"plain", KN_UNET_PLAIN, false, 1813762, 1},
    {"plain-features", KN_UNET_PLAIN, true, 1813762, 2},
    {"aux", KN_UNET_AUX, false, 3712792, 4},
    {"scales", KN_UNET_SCALES, false, 1813762 + 578 + 1154 + 2306, 4},
    {"mapped", KN_UNET_MAPPED, true, 1813762 + 256 * 256, 2},
    {"dual", KN_UNET_DUAL, true, 1813762 + 1944322 - 1180752, 10},
};

static kn_net *variant_net(const variant_case *v, int width)
{
    GError *error = NULL;
    kn_unet_spec spec;
    kn_unet_spec_init(&spec, 2, width);
    spec.variant = v->variant;
    spec.features = v->features;
    kn_net *net = kn_net_create_unet(&spec, &error);
    g_assert_no_error(error);
    return net;
}

static void test_variant_parameters(void)
{
    kn_net *plain = variant_net(&variants[0], 16);
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
        kn_net *net = variant_net(&variants[i], 16);
        g_assert_cmpint(kn_net_n_trained(net), ==, variants[i].n_trained);
        g_assert_cmpint(kn_net_n_outputs(net), ==, variants[i].n_outputs);
        /* What a model is made of has the plain U-Net's names (and the mapping). */
        int n_model = 0;
        for (int k = 0; k < kn_net_n_params(net); k++)
            n_model += kn_net_param_in_model(net, k);
        bool mapped = variants[i].variant == KN_UNET_MAPPED;
        g_assert_cmpint(n_model, ==, kn_net_n_params(plain) + mapped);
        for (int k = 0; k < 60; k++)
            g_assert_cmpstr(kn_net_param(net, k)->name, ==, kn_net_param(plain, k)->name);
        kn_net_destroy(net);
    }
    kn_net_destroy(plain);
}

static rig rig_new(const char *backend, const variant_case *v, int width, kn_pass_options options)
{
    return rig_of(engine_new(backend), variant_net(v, width), options);
}

static int64_t output_n(const rig *r, int o)
{
    const kn_tensor *t = kn_pass_output(r->pass, o);
    return kn_pixels(t) * t->c;
}

/* Forward on random images; with backward from random gradients at all outputs. */
static void run_on(rig *r, bool backward, uint64_t images)
{
    GError *error = NULL;
    const kn_tensor *in = kn_pass_input(r->pass);
    g_autofree double *x = fill_new(kn_pixels(in) * 3, FILL_RANDOM, images);
    put_all(in, x);
    kn_pass_forward(r->pass, r->weights, 9, &error);
    g_assert_no_error(error);
    for (int o = 0; backward && o < r->n_outputs; o++) {
        g_autofree double *w = fill_new(output_n(r, o), FILL_RANDOM, 20 + (uint64_t)o);
        put_all(kn_pass_doutput(r->pass, o), w);
    }
    if (backward)
        kn_pass_backward(r->pass, r->weights, &error);
    g_assert_no_error(error);
}

static void run(rig *r, bool backward)
{
    run_on(r, backward, 1);
}

static double weighted_outputs(rig *r, const double *theta, const double *direction, double t)
{
    double *params = r->weights->params, sum = 0;
    for (int64_t i = 0; i < kn_net_n_trained(r->net); i++)
        params[i] = theta[i] + t * direction[i];
    kn_weights_touch(r->weights, true, false);
    run(r, false);
    for (int o = 0; o < r->n_outputs; o++) {
        g_autofree double *w = fill_new(output_n(r, o), FILL_RANDOM, 20 + (uint64_t)o);
        g_autofree double *y = get_all(kn_pass_output(r->pass, o));
        sum += dot(y, w, output_n(r, o));
    }
    return sum;
}

/* Of the sum of all outputs, weighted at random, along random directions. Where features are
 * dropped many pixels share one value and meet LeakyReLU's kink together, so the step is smaller
 * than that of test_net. */
static void test_variant_gradient(gconstpointer user)
{
    const variant_case *v = user;
    kn_pass_options options = {
        .mode = KN_PASS_TRAIN, .n = 2, .h = 16, .w = 32, .outputs = UINT32_MAX};
    rig r = rig_new("ref", v, 2, options);
    int64_t n = kn_net_n_trained(r.net);
    g_autofree double *theta = g_memdup2(r.weights->params, (gsize)n * sizeof(double));
    run(&r, true);
    g_autofree double *grad = g_memdup2(r.weights->grads, (gsize)n * sizeof(double));
    for (uint64_t seed = 0; seed < 3; seed++) {
        g_autofree double *d = fill_new(n, FILL_RANDOM, 100 + seed);
        const double h = 1e-7;
        double f[4], steps[4] = {-2 * h, -h, h, 2 * h};
        for (int i = 0; i < 4; i++)
            f[i] = weighted_outputs(&r, theta, d, steps[i]);
        double numeric = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h), analytic = dot(grad, d, n);
        g_test_message("numeric %.10g analytic %.10g", numeric, analytic);
        g_assert_true(fabs(numeric - analytic) <= 1e-5 * (1 + fabs(analytic)));
        g_assert_false(fabs(numeric - 1.001 * analytic) <= 1e-5 * (1 + fabs(analytic)));
    }
    rig_free(&r);
}

static double *gradient_of(const rig *r)
{
    int64_t n = kn_net_n_trained(r->net);
    g_autofree float *x = g_new(float, n);
    kn_weights_get(r->weights, KN_ARRAY_GRADS, 0, n, x);
    double *out = g_new(double, n);
    for (int64_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    return out;
}

/* |got - want| over |want|. */
static double distance(const double *got, const double *want, int64_t n)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(error / size);
}

/* Outputs are held to 1e-5; returns how far the gradient is off. */
static double backends_differ(rig *cpu, rig *ref, uint64_t images)
{
    kn_weights_zero_grads(cpu->weights);
    kn_weights_zero_grads(ref->weights);
    run_on(ref, true, images);
    run_on(cpu, true, images);
    for (int o = 0; o < ref->n_outputs; o++) {
        g_autofree double *want = get_all(kn_pass_output(ref->pass, o)),
                          *got = get_all(kn_pass_output(cpu->pass, o));
        double off = distance(got, want, output_n(ref, o));
        g_test_message("images %d output %d: %g", (int)images, o, off);
        g_assert_true(off <= 1e-5);
    }
    g_autofree double *want = gradient_of(ref), *got = gradient_of(cpu);
    double off = distance(got, want, kn_net_n_trained(ref->net));
    g_test_message("images %d gradient: %g", (int)images, off);
    return off;
}

/* By norms: test_net.c says why. An activation that lies at LeakyReLU's kink falls on either side
 * of it by rounding, and with eight pixels at the bottleneck that is up to a hundredth of the
 * gradient. It does so for one set of images, a wrong gradient for all: where the first set is off,
 * the next two must agree. */
static void test_variant_backends(gconstpointer user)
{
    const variant_case *v = user;
    kn_pass_options options = {
        .mode = KN_PASS_TRAIN, .n = 2, .h = 32, .w = 32, .outputs = UINT32_MAX};
    for (int width = 16; width <= 32; width += 16) {
        rig cpu = rig_new("cpu", v, width, options), ref = rig_new("ref", v, width, options);
        if (!(backends_differ(&cpu, &ref, 1) <= 1e-3)) {
            g_assert_true(backends_differ(&cpu, &ref, 2) <= 1e-3);
            g_assert_true(backends_differ(&cpu, &ref, 3) <= 1e-3);
        }
        rig_free(&cpu);
        rig_free(&ref);
    }
}

/* Output 0 alone: the same bits, less memory; inference knows nothing of the rest. */
static void test_variant_outputs(gconstpointer user)
{
    const variant_case *v = user;
    GError *error = NULL;
    static const kn_pass_mode modes[] = {KN_PASS_NOGRAD, KN_PASS_INFER};
    for (size_t m = 0; m < G_N_ELEMENTS(modes); m++) {
        kn_pass_options one = {.mode = modes[m], .n = 1, .h = 32, .w = 32}, all = one;
        all.outputs = UINT32_MAX;
        if (modes[m] == KN_PASS_INFER)
            all.outputs = 1;
        rig a = rig_new("cpu", v, 16, one), b = rig_new("cpu", v, 16, all);
        run(&a, false);
        run(&b, false);
        g_autofree double *ya = get_all(kn_pass_logits(a.pass)),
                          *yb = get_all(kn_pass_logits(b.pass));
        g_assert_cmpmem(ya, (size_t)output_n(&a, 0) * sizeof(double), yb,
                        (size_t)output_n(&a, 0) * sizeof(double));
        int64_t less = kn_pass_memory(a.engine, a.net, &one, &error),
                more = kn_pass_memory(a.engine, a.net, &all, &error);
        g_assert_no_error(error);
        g_assert_true(less <= more);
        if (v->n_outputs > 1)
            g_assert_null(kn_pass_output(a.pass, 1));
        rig_free(&a);
        rig_free(&b);
    }
}

/* An auxiliary decoder alone cannot be trained: its features' gradient would start nowhere. */
static void test_loose_outputs(void)
{
    GError *error = NULL;
    kn_engine *engine = engine_new("ref");
    kn_net *net = variant_net(&variants[2], 2);
    kn_pass_options options = {.mode = KN_PASS_TRAIN, .n = 1, .h = 16, .w = 16, .outputs = 2};
    g_assert_null(kn_pass_create(engine, net, &options, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_assert_nonnull(strstr(error->message, "take output 0"));
    g_error_free(error);
    kn_net_destroy(net);
    kn_engine_destroy(engine);
}

/* Copies of weights are copies, with their momentum. */
static void test_weights_copy(void)
{
    GError *error = NULL;
    kn_engine *engine = engine_new("cpu");
    kn_net *net = variant_net(&variants[0], 2);
    kn_weights *a = kn_weights_create(engine, net, KN_OPTIMISER_ADAM, &error),
               *b = kn_weights_create(engine, net, KN_OPTIMISER_ADAM, &error);
    kn_weights_init(a, 1);
    kn_weights_init(b, 2);
    const float mark = 0.25f;
    kn_weights_set(a, KN_ARRAY_MOMENTUM, 5, 1, &mark);
    kn_weights_set(a, KN_ARRAY_SECOND, 6, 1, &mark);
    kn_weights_copy(b, a);
    int64_t n = kn_net_n_trained(net);
    g_autofree float *x = g_new(float, n), *y = g_new(float, n);
    static const kn_array arrays[] = {KN_ARRAY_PARAMS, KN_ARRAY_MOMENTUM, KN_ARRAY_SECOND};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++) {
        kn_weights_get(a, arrays[i], 0, n, x);
        kn_weights_get(b, arrays[i], 0, n, y);
        g_assert_cmpmem(x, (size_t)n * sizeof(float), y, (size_t)n * sizeof(float));
        g_assert_true(i == 0 || x[4 + i] == mark);
    }
    kn_weights_destroy(a);
    kn_weights_destroy(b);
    kn_net_destroy(net);
    kn_engine_destroy(engine);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#ifdef VARIANTS_CUDA
    kn_cuda_register();
    precision = KN_PRECISION_F32;
#endif
    g_test_add_func("/variants/perturb", test_perturb);
    g_test_add_func("/variants/perturb-statistics", test_perturb_statistics);
    g_test_add_func("/variants/moves", test_moves);
    g_test_add_func("/variants/transposed", test_transposed);
    g_test_add_func("/variants/mean-prob", test_mean_prob);
    g_test_add_func("/variants/paste", test_paste);
    g_test_add_func("/variants/relabel", test_relabel);
    g_test_add_func("/variants/adam", test_adam);
    g_test_add_func("/variants/adam-arrays", test_adam_arrays);
#ifdef VARIANTS_CUDA
    g_test_add_func("/variants/perturb-bf16", test_perturb_bf16);
    return g_test_run();
#endif
    g_test_add_func("/variants/parameters", test_variant_parameters);
    g_test_add_func("/variants/loose-outputs", test_loose_outputs);
    g_test_add_func("/variants/weights-copy", test_weights_copy);
    static const struct {
        const char *name;
        GTestDataFunc run;
    } of_each[] = {{"gradient", test_variant_gradient},
                   {"backends", test_variant_backends},
                   {"outputs", test_variant_outputs}};
    for (size_t i = 0; i < G_N_ELEMENTS(variants); i++)
        for (size_t k = 0; k < G_N_ELEMENTS(of_each); k++) {
            g_autofree char *name =
                g_strdup_printf("/variants/%s/%s", of_each[k].name, variants[i].name);
            g_test_add_data_func(name, &variants[i], of_each[k].run);
        }
    return g_test_run();
}
