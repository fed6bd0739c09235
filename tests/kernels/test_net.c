/* The whole network: its parameters, its gradient on the reference by finite differences, the CPU
 * backend against the reference, determinism, the memory plan, inference against the same
 * arithmetic written out. With ONEDNN_MAX_CPU_ISA set it runs again for lesser machines; no chosen
 * convolution may be a reference implementation on any of them. */
#include "kernels/net/pass_priv.h"
#include "tests/kernels/net_rig.h"
#include "tests/kernels/ops_check.h"

#include "base/error.h"

#include <malloc.h>
#include <math.h>
#include <string.h>

static kn_net *net_new(int width, int classes)
{
    GError *error = NULL;
    kn_unet_spec spec;
    kn_unet_spec_init(&spec, classes, width);
    kn_net *net = kn_net_create_unet(&spec, &error);
    g_assert_no_error(error);
    return net;
}

static rig rig_new(const char *backend, kn_conv_mode conv, int width, kn_pass_options options)
{
    GError *error = NULL;
    kn_engine_options engine_options = {.backend = backend, .n_threads = 2, .conv = conv};
    kn_engine *engine = kn_engine_create(&engine_options, &error);
    g_assert_no_error(error);
    return rig_of(engine, net_new(width, 2), options);
}

static double *get_array(const rig *r, kn_array array)
{
    int64_t n = array == KN_ARRAY_BUFFERS ? kn_net_n_buffers(r->net) : kn_net_n_trained(r->net);
    g_autofree float *x = g_new(float, n);
    kn_weights_get(r->weights, array, 0, n, x);
    double *out = g_new(double, n);
    for (int64_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    return out;
}

static void forward(const rig *r, uint64_t stream)
{
    GError *error = NULL;
    kn_pass_forward(r->pass, r->weights, stream, &error);
    g_assert_no_error(error);
}

/* Forward, dlogits = w, backward. */
static void both(const rig *r, uint64_t stream, const double *w)
{
    GError *error = NULL;
    forward(r, stream);
    put_all(kn_pass_dlogits(r->pass), w);
    kn_pass_backward(r->pass, r->weights, &error);
    g_assert_no_error(error);
}

/* ---- the network as data
 * ----------------------------------------------------------------------------- */

static void test_parameters(void)
{
    kn_net *net = net_new(16, 2);
    g_assert_cmpint(kn_net_n_trained(net), ==, 1813762);
    g_assert_cmpint(kn_net_n_buffers(net), ==, 2944);
    /* 23 convolutions of two tensors, 18 BatchNorms of four */
    g_assert_cmpint(kn_net_n_params(net), ==, 23 * 2 + 18 * 4);
    static const struct {
        int index;
        const char *name;
    } names[] = {{0, "encoder.in_conv.conv_conv.0.weight"},
                 {2, "encoder.in_conv.conv_conv.1.weight"},
                 {4, "encoder.in_conv.conv_conv.1.running_mean"},
                 {6, "encoder.in_conv.conv_conv.4.weight"},
                 {12, "encoder.down1.maxpool_conv.1.conv_conv.0.weight"},
                 {60, "decoder.up1.conv1x1.weight"},
                 {62, "decoder.up1.conv.conv_conv.0.weight"},
                 {116, "decoder.out_conv.weight"},
                 {117, "decoder.out_conv.bias"}};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        g_assert_cmpstr(kn_net_param(net, names[i].index)->name, ==, names[i].name);
    int64_t next[2] = {0, 0};
    for (int i = 0; i < kn_net_n_params(net); i++) {
        const kn_param *p = kn_net_param(net, i);
        g_assert_cmpint(p->offset, ==, next[p->kind]);
        next[p->kind] += p->n;
    }
    kn_net_destroy(net);
    net = net_new(32, 2);
    g_assert_cmpint(kn_net_n_buffers(net), ==, 5888);
    kn_net_destroy(net);
}

static void test_bad_arguments(void)
{
    GError *error = NULL;
    kn_unet_spec spec;
    kn_unet_spec_init(&spec, 1, 16);
    g_assert_null(kn_net_create_unet(&spec, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    kn_engine_options none = {.backend = "abacus"};
    g_assert_null(kn_engine_create(&none, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    kn_engine_options damaged = {.backend = "cpu", .n_threads = 1, .conv_choices = "layer"};
    g_assert_null(kn_engine_create(&damaged, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    rig r = rig_new("cpu", KN_CONV_DIRECT, 16,
                    (kn_pass_options){.mode = KN_PASS_NOGRAD, .n = 1, .h = 16, .w = 16});
    kn_pass_options odd = {.mode = KN_PASS_TRAIN, .n = 1, .h = 24, .w = 16};
    g_assert_null(kn_pass_create(r.engine, r.net, &odd, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    g_assert_false(kn_pass_backward(r.pass, r.weights, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    rig_free(&r);
}

/* ---- the gradient of the whole network
 * ---------------------------------------------------------------- */

static double moved_loss(const rig *r, const double *theta, const double *direction, double t,
                         const double *w)
{
    double *params = r->weights->params;
    for (int64_t i = 0; i < kn_net_n_trained(r->net); i++)
        params[i] = theta[i] + t * direction[i];
    kn_weights_touch(r->weights, true, false);
    forward(r, 9);
    g_autofree double *y = get_all(kn_pass_logits(r->pass));
    return dot(y, w, kn_pixels(kn_pass_logits(r->pass)) * 2);
}

/* Along random directions. A direction crosses kinks of LeakyReLU and pooling; with a step of 1e-6
 * few pixels meet one, and those that do weigh 1e-6. */
static void test_gradient(void)
{
    kn_pass_options options = {.mode = KN_PASS_TRAIN, .n = 2, .h = 16, .w = 32};
    rig r = rig_new("ref", KN_CONV_DIRECT, 2, options);
    int64_t n = kn_net_n_trained(r.net), pixels = kn_pixels(kn_pass_input(r.pass));
    g_autofree double *x = fill_new(pixels * 3, FILL_RANDOM, 1),
                      *w = fill_new(pixels * 2, FILL_RANDOM, 2);
    g_autofree double *theta = g_memdup2(r.weights->params, (gsize)n * sizeof(double));
    put_all(kn_pass_input(r.pass), x);
    both(&r, 9, w);
    g_autofree double *grad = g_memdup2(r.weights->grads, (gsize)n * sizeof(double));
    for (uint64_t seed = 0; seed < 5; seed++) {
        g_autofree double *d = fill_new(n, FILL_RANDOM, 100 + seed);
        const double h = 1e-6;
        double f[4], steps[4] = {-2 * h, -h, h, 2 * h};
        for (int i = 0; i < 4; i++)
            f[i] = moved_loss(&r, theta, d, steps[i], w);
        double numeric = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h), analytic = dot(grad, d, n);
        g_test_message("numeric %.10g analytic %.10g", numeric, analytic);
        g_assert_true(fabs(numeric - analytic) <= 1e-5 * (1 + fabs(analytic)));
        g_assert_false(fabs(numeric - 1.001 * analytic) <=
                       1e-5 * (1 + fabs(analytic))); /* it can fail */
    }
    rig_free(&r);
}

/* ---- CPU against reference
 * ------------------------------------------------------------------------------ */

/* By the norm of the difference: where a value is zero but for rounding, the two backends may take
 * different sides of LeakyReLU's kink or different winners of a pooling window, and such a pixel's
 * part of the gradient differs. A few in a hundred thousand do, ten times more with Winograd's
 * rounding. The 1e-6 is for biases before BatchNorm, whose gradient is zero. */
static bool check_gradient(const char *name, const double *want, const double *got, int64_t n,
                           double limit, GString *message)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    bool ok = sqrt(error) <= limit * sqrt(size) + 1e-6;
    if (!ok)
        g_string_append_printf(message, "%s: |got - want| = %g, |want| = %g; ", name, sqrt(error),
                               sqrt(size));
    return ok;
}

static void compare_with_reference(kn_conv_mode conv, kn_pass_mode mode, int width,
                                   double coefficient)
{
    kn_pass_options options = {.mode = mode, .n = 2, .h = 32, .w = 48};
    rig cpu = rig_new("cpu", conv, width, options), ref = rig_new("ref", 0, width, options);
    int64_t pixels = kn_pixels(kn_pass_input(cpu.pass)), n = kn_net_n_trained(cpu.net);
    g_autofree double *x = fill_new(pixels * 3, FILL_RANDOM, 1),
                      *w = fill_new(pixels * 2, FILL_RANDOM, 2);
    rig *rigs[2] = {&ref, &cpu};
    double *logits[2], *grads[2] = {NULL, NULL}, *buffers[2];
    for (int i = 0; i < 2; i++) {
        put_all(kn_pass_input(rigs[i]->pass), x);
        if (mode == KN_PASS_TRAIN) {
            both(rigs[i], 5, w);
            grads[i] = get_array(rigs[i], KN_ARRAY_GRADS);
        } else {
            forward(rigs[i], 5);
        }
        logits[i] = get_all(kn_pass_logits(rigs[i]->pass));
        buffers[i] = get_array(rigs[i], KN_ARRAY_BUFFERS);
    }
    /* About 20 layers of rounding, each of a sum of up to 2304 terms. */
    g_autoptr(GString) message = g_string_new(NULL);
    bool ok = check_close("logits", logits[0], logits[1], pixels * 2, tolerance(coefficient, 2304),
                          1, message) &&
              check_close("buffers", buffers[0], buffers[1], kn_net_n_buffers(cpu.net),
                          tolerance(coefficient, 2304), 1, message);
    for (int i = 0; ok && grads[0] && i < kn_net_n_params(cpu.net); i++) {
        const kn_param *p = kn_net_param(cpu.net, i);
        if (p->kind == KN_PARAM)
            ok = check_gradient(p->name, grads[0] + p->offset, grads[1] + p->offset, p->n,
                                conv == KN_CONV_AUTO ? 3e-2 : 5e-3, message);
    }
    g_assert_cmpint(n, ==, kn_net_n_trained(ref.net));
    g_assert_cmpstr(message->str, ==, "");
    for (int i = 0; i < 2; i++) {
        g_free(logits[i]);
        g_free(grads[i]);
        g_free(buffers[i]);
        rig_free(rigs[i]);
    }
}

static void test_against_reference(void)
{
    compare_with_reference(KN_CONV_DIRECT, KN_PASS_TRAIN, 16, 2);
    compare_with_reference(KN_CONV_DIRECT, KN_PASS_NOGRAD, 16, 2);
    compare_with_reference(KN_CONV_DIRECT, KN_PASS_INFER, 16, 2);
    compare_with_reference(KN_CONV_DIRECT, KN_PASS_TRAIN, 3, 2); /* no multiple of anything */
}

static void test_against_reference_auto(void)
{
    compare_with_reference(KN_CONV_AUTO, KN_PASS_TRAIN, 16,
                           20); /* Winograd rounds ten times more */
    compare_with_reference(KN_CONV_AUTO, KN_PASS_INFER, 16, 20);
    compare_with_reference(KN_CONV_AUTO, KN_PASS_TRAIN, 32, 20);
    compare_with_reference(KN_CONV_AUTO, KN_PASS_INFER, 32, 20);
}

/* Inference is the training arithmetic with running statistics: a network whose running statistics
 * are set to the batch's gives, without dropout, the same logits both ways. */
static void test_infer_folds(void)
{
    kn_pass_options train = {.mode = KN_PASS_NOGRAD, .n = 2, .h = 32, .w = 32, .no_dropout = true};
    rig r = rig_new("ref", KN_CONV_DIRECT, 2, train);
    int64_t pixels = kn_pixels(kn_pass_input(r.pass));
    g_autofree double *x = fill_new(pixels * 3, FILL_RANDOM, 1);
    put_all(kn_pass_input(r.pass), x);
    for (int i = 0; i < 400; i++) /* .9^400 of the start is left: nothing */
        forward(&r, 1);
    g_autofree double *want = get_all(kn_pass_logits(r.pass));
    GError *error = NULL;
    kn_pass_options infer = {.mode = KN_PASS_INFER, .n = 2, .h = 32, .w = 32};
    kn_pass *pass = kn_pass_create(r.engine, r.net, &infer, &error);
    g_assert_no_error(error);
    put_all(kn_pass_input(pass), x);
    /* Running variances are unbiased: of n pixels, n/(n-1) of what the batch was divided by. */
    for (int i = 0; i < kn_net_n_params(r.net); i++) {
        const kn_param *p = kn_net_param(r.net, i);
        if (!g_str_has_suffix(p->name, "running_var"))
            continue;
        double m = 0;
        for (guint k = 0; k < r.net->nodes->len; k++) {
            const kn_node *node = kn_net_node(r.net, (int)k);
            if (node->kind == KN_NODE_NORM && node->param + 3 == i) {
                int level = kn_net_value(r.net, node->src.value)->level;
                m = 2.0 * (32 >> level) * (32 >> level);
            }
        }
        for (int64_t c = 0; c < p->n; c++)
            ((double *)r.weights->buffers)[p->offset + c] *= (m - 1) / m;
    }
    kn_weights_touch(r.weights, false, true);
    kn_pass_forward(pass, r.weights, 0, &error);
    g_assert_no_error(error);
    g_autofree double *exact = get_all(kn_pass_logits(pass));
    g_autoptr(GString) message = g_string_new(NULL);
    check_close("logits", want, exact, pixels * 2, 1e-9, 1, message);
    g_assert_cmpstr(message->str, ==, "");
    kn_pass_destroy(pass);
    rig_free(&r);
}

/* ---- determinism, memory, plan
 * --------------------------------------------------------------------------- */

static void three_steps(const rig *r)
{
    int64_t pixels = kn_pixels(kn_pass_input(r->pass));
    g_autofree double *x = fill_new(pixels * 3, FILL_RANDOM, 1),
                      *w = fill_new(pixels * 2, FILL_RANDOM, 2);
    put_all(kn_pass_input(r->pass), x);
    for (uint64_t i = 0; i < 3; i++) {
        kn_weights_zero_grads(r->weights);
        both(r, i, w);
        kn_sgd_step(r->weights, 1e-3, 0.9, 1e-4);
    }
}

static void test_deterministic(void)
{
    kn_pass_options options = {.mode = KN_PASS_TRAIN, .n = 3, .h = 32, .w = 32};
    rig a = rig_new("cpu", KN_CONV_AUTO, 16, options);
    three_steps(&a);
    g_autofree char *choices = kn_engine_conv_choices(a.engine);
    GError *error = NULL;
    kn_engine_options engine_options = {
        .backend = "cpu", .n_threads = 2, .conv = KN_CONV_AUTO, .conv_choices = choices};
    rig b = {.engine = kn_engine_create(&engine_options, &error), .net = net_new(16, 2)};
    b.weights = kn_weights_create(b.engine, b.net, true, &error);
    kn_weights_init(b.weights, 3);
    b.pass = kn_pass_create(b.engine, b.net, &options, &error);
    g_assert_no_error(error);
    three_steps(&b);
    g_autofree char *again = kn_engine_conv_choices(b.engine);
    g_assert_cmpstr(choices, ==, again);
    size_t params = (size_t)kn_net_n_trained(a.net) * 4,
           buffers = (size_t)kn_net_n_buffers(a.net) * 4;
    g_assert_cmpmem(a.weights->params, params, b.weights->params, params);
    g_assert_cmpmem(a.weights->momentum, params, b.weights->momentum, params);
    g_assert_cmpmem(a.weights->buffers, buffers, b.weights->buffers, buffers);
    g_assert_cmpint(kn_weights_batches_tracked(a.weights), ==, 3);
    rig_free(&a);
    rig_free(&b);
}

/* Two training passes alive between forward and backward, and a teacher's forward in between, give
 * what each gives alone: the shared scratch carries nothing across. */
static void test_shared_scratch(void)
{
    kn_pass_options train = {.mode = KN_PASS_TRAIN, .n = 2, .h = 32, .w = 32};
    kn_pass_options teacher = {.mode = KN_PASS_NOGRAD, .n = 4, .h = 64, .w = 64};
    rig alone = rig_new("cpu", KN_CONV_DIRECT, 16, train),
        shared = rig_new("cpu", KN_CONV_DIRECT, 16, train);
    GError *error = NULL;
    int64_t pixels = kn_pixels(kn_pass_input(alone.pass));
    g_autofree double *x = fill_new(pixels * 3, FILL_RANDOM, 1),
                      *w = fill_new(pixels * 2, FILL_RANDOM, 2);
    put_all(kn_pass_input(alone.pass), x);
    both(&alone, 5, w);
    kn_pass *second = kn_pass_create(shared.engine, shared.net, &train, &error);
    kn_pass *third =
        kn_pass_create(shared.engine, shared.net, &teacher, &error); /* scratch grows, moves */
    kn_weights *other = kn_weights_create(shared.engine, shared.net, true, &error);
    g_assert_no_error(error);
    kn_weights_init(other, 8);
    put_all(kn_pass_input(shared.pass), x);
    put_all(kn_pass_input(second), x);
    forward(&shared, 5);
    g_assert_true(kn_pass_forward(second, other, 6, &error));
    g_assert_true(kn_pass_forward(third, other, 7, &error));
    put_all(kn_pass_dlogits(second), w);
    put_all(kn_pass_dlogits(shared.pass), w);
    g_assert_true(kn_pass_backward(shared.pass, shared.weights, &error));
    g_assert_true(kn_pass_backward(second, other, &error));
    size_t params = (size_t)kn_net_n_trained(alone.net) * 4;
    g_assert_cmpmem(alone.weights->grads, params, shared.weights->grads, params);
    kn_pass_destroy(second);
    kn_pass_destroy(third);
    kn_weights_destroy(other);
    rig_free(&alone);
    rig_free(&shared);
}

static void test_accounts(void)
{
    GError *error = NULL;
    rig r = rig_new("cpu", KN_CONV_DIRECT, 16,
                    (kn_pass_options){.mode = KN_PASS_NOGRAD, .n = 1, .h = 16, .w = 16});
    kn_pass_options options = {.mode = KN_PASS_TRAIN, .n = 2, .h = 64, .w = 64};
    int64_t before = kn_engine_bytes(r.engine);
    int64_t want = kn_pass_memory(r.engine, r.net, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpint(kn_engine_bytes(r.engine), ==, before);
    kn_pass *pass = kn_pass_create(r.engine, r.net, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpint(kn_engine_bytes(r.engine), ==, before + want);
    kn_pass_destroy(pass);
    /* What cannot be had is refused with the bytes, and the engine goes on. */
    options = (kn_pass_options){.mode = KN_PASS_TRAIN, .n = 30000, .h = 256, .w = 256};
    g_assert_null(kn_pass_create(r.engine, r.net, &options, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_MEMORY);
    g_assert_nonnull(strstr(error->message, "bytes"));
    g_clear_error(&error);
    forward(&r, 1);
    rig_free(&r);
}

/* The heap in use is the same before and after 16 steps. oneDNN and the OpenMP team make a small
 * thing of their own now and then, late, so a window that grew is followed by another; what grows
 * with the steps grows in every one of the six. */
static void test_heap(void)
{
    kn_pass_options options = {.mode = KN_PASS_TRAIN, .n = 1, .h = 32, .w = 32};
    rig r = rig_new("cpu", KN_CONV_AUTO, 16, options);
    size_t before = 0, after = 1;
    g_autofree double *w = fill_new(32 * 32 * 2, FILL_RANDOM, 2);
    for (uint64_t i = 0; i < 4 + 6 * 16 && before != after; i++) {
        both(&r, i, w);
        kn_sgd_step(r.weights, 1e-3, 0.9, 1e-4);
        if (i % 16 == 3) {
            before = after;
            after = mallinfo2().uordblks;
        }
    }
    g_assert_cmpint(before, ==, after);
    rig_free(&r);
}

/* No two items alive at the same time overlap; the planner is given a hard case by hand. */
static void test_plan(void)
{
    kn_plan plan;
    kn_plan_init(&plan);
    qs_rng rng;
    qs_rng_init(&rng, 4, 4);
    for (int i = 0; i < 200; i++) {
        int first = (int)qs_rng_below(&rng, 50), last = first + (int)qs_rng_below(&rng, 10);
        kn_plan_add(&plan, "item", qs_rng_below(&rng, 1000), first, last, qs_rng_below(&rng, 2));
    }
    kn_plan_layout(&plan);
    for (int i = 0; i < 200; i++)
        for (int j = 0; j < i; j++) {
            const kn_plan_item *a = kn_plan_at(&plan, i), *b = kn_plan_at(&plan, j);
            bool together = a->shared == b->shared && a->first <= b->last && b->first <= a->last;
            bool overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
            g_assert_false(together && overlap);
        }
    kn_plan_clear(&plan);
}

static void test_implementations(void)
{
    static const int widths[] = {16, 32};
    for (size_t i = 0; i < G_N_ELEMENTS(widths); i++)
        for (int mode = KN_PASS_TRAIN; mode <= KN_PASS_INFER; mode++) {
            int side = widths[i] == 16 ? 256 : 64;
            kn_pass_options options = {.mode = (kn_pass_mode)mode, .n = 1, .h = side, .w = side};
            rig r = rig_new("cpu", KN_CONV_DIRECT, widths[i], options);
            for (guint k = 0; k < r.net->nodes->len; k++) {
                const kn_step *s = &r.pass->steps[k];
                if (!s->conv)
                    continue;
                const char *text = kn_engine_ops(r.engine)->conv_describe(s->conv);
                if (mode == KN_PASS_TRAIN)
                    g_test_message("%d->%d: %s", s->src.channels, s->dst.channels, text);
                g_assert_null(strstr(text, "ref"));
            }
            rig_free(&r);
        }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net/parameters", test_parameters);
    g_test_add_func("/net/bad-arguments", test_bad_arguments);
    g_test_add_func("/net/gradient", test_gradient);
    g_test_add_func("/net/against-reference", test_against_reference);
    g_test_add_func("/net/against-reference-auto", test_against_reference_auto);
    g_test_add_func("/net/infer-folds", test_infer_folds);
    g_test_add_func("/net/deterministic", test_deterministic);
    g_test_add_func("/net/shared-scratch", test_shared_scratch);
    g_test_add_func("/net/accounts", test_accounts);
    g_test_add_func("/net/heap", test_heap);
    g_test_add_func("/net/plan", test_plan);
    g_test_add_func("/net/implementations", test_implementations);
    return g_test_run();
}
