/* The recipe's options: how weights start, halves with statistics of their own, warm-up, clipping,
 * what predicts, and where the thresholds' average begins. With the old values nothing is another
 * bit (golden numbers and the tests of methods hold that). */
#include "tests/train/fixture.h"

#include "base/error.h"
#include "model/safetensors.h"
#include "train/loss/thresholds.h"
#include "train/plan/schedule.h"
#include "train/run/step.h"

#include <math.h>
#include <string.h>

enum { PX = 16, PIXELS = PX * PX, N = 4, HALF = 2, N_ITEMS = 14, N_LABELLED = 5 };

static void set(tr_options *o, const char *name, const char *value)
{
    GError *error = NULL;
    tr_options_set(o, name, value, &error);
    g_assert_no_error(error);
}

static void assert_problem(GError *error, const char *part)
{
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    if (!strstr(error->message, part))
        g_test_message("\"%s\" lacks \"%s\"", error->message, part);
    g_assert_nonnull(strstr(error->message, part));
    g_error_free(error);
}

/* ---- one step on given images, in double ----------------------------------------------------- */

typedef struct {
    tr_options options;
    model_spec spec;
    kn_engine *engine;
    tr_learner learner;
    tr_step *step;
    float input[N * PIXELS * 3];
    uint8_t label[HALF * PIXELS], truth[HALF * PIXELS], exclude[HALF * PIXELS];
} rig;

static void rig_images(rig *r)
{
    qs_rng rng;
    qs_rng_init(&rng, 5, 1);
    for (int i = 0; i < N * PIXELS * 3; i++) /* the halves are of other colours */
        r->input[i] = (float)qs_rng_normal(&rng) + (i < HALF * PIXELS * 3 ? 1.0F : -2.0F);
    for (int i = 0; i < HALF * PIXELS; i++) {
        r->label[i] = (uint8_t)qs_rng_below(&rng, 2);
        r->truth[i] = 255;
        r->exclude[i] = 0;
    }
}

/* A step without dropout and with a rate of 0; more options before rig_open. */
static rig *rig_new(const char *method, tr_loss loss)
{
    rig *r = g_new0(rig, 1);
    fixture_options_init(&r->options, method, loss, "none");
    r->options.no_dropout = true;
    r->options.lr = 0;
    r->options.backend = "ref";
    rig_images(r);
    return r;
}

static void rig_open(rig *r)
{
    GError *error = NULL;
    ssl_plan plan = {0};
    kn_engine_options eo = {.backend = r->options.backend, .n_threads = 1, .conv = KN_CONV_DIRECT};
    r->engine = kn_engine_create(&eo, &error);
    g_assert_no_error(error);
    model_spec_init(&r->spec, 2, 4);
    tr_options_plan(&r->options, &plan, &error);
    g_assert_no_error(error);
    tr_learner_init(&r->learner, r->engine, &r->options, &plan, &r->spec, &error);
    g_assert_no_error(error);
    r->step = tr_step_create(&r->learner, &r->options, PX, NULL, &error);
    g_assert_no_error(error);
}

static double rig_step(rig *r, int64_t it)
{
    GError *error = NULL;
    tr_step_result result;
    tr_batch batch = {.index = it,
                      .n = N,
                      .n_labelled = HALF,
                      .patch_px = PX,
                      .input = r->input,
                      .label = r->label,
                      .truth = r->truth,
                      .exclude = r->exclude};
    tr_step_run(r->step, &batch, it, 100, &result, &error);
    g_assert_no_error(error);
    return result.loss;
}

static void rig_free(rig *r)
{
    tr_step_destroy(r->step);
    tr_learner_clear(&r->learner);
    kn_engine_destroy(r->engine);
    g_free(r);
}

static float *array(const rig *r, int k, kn_array which)
{
    const kn_net *net = r->learner.nets[k];
    int64_t n = which == KN_ARRAY_BUFFERS ? kn_net_n_buffers(net) : kn_net_n_trained(net);
    float *x = g_new(float, n);
    kn_weights_get(r->learner.weights[k], which, 0, n, x);
    return x;
}

/* The running statistics of the student are those of two calls in turn, the labelled images first:
 * r ← 0.9·r + 0.1·m for either. Joint ones are others. */
static void test_split_statistics(void)
{
    for (int joint = 0; joint < 2; joint++) {
        rig *r = rig_new("MT", TR_LOSS_PLAIN);
        set(&r->options, "bn", joint ? "joint" : "split");
        rig_open(r);
        GError *error = NULL;
        kn_weights *by_hand =
            kn_weights_create(r->engine, r->learner.nets[0], KN_OPTIMISER_NONE, &error);
        kn_weights_copy(by_hand, r->learner.weights[0]);
        kn_pass_options po = {
            .mode = KN_PASS_NOGRAD, .n = HALF, .h = PX, .w = PX, .no_dropout = true};
        kn_pass *pass = kn_pass_create(r->engine, r->learner.nets[0], &po, &error);
        g_assert_no_error(error);
        for (int half = 0; half < 2; half++) {
            double *to = kn_pass_input(pass)->data;
            for (int i = 0; i < HALF * PIXELS * 3; i++)
                to[i] = (double)r->input[half * HALF * PIXELS * 3 + i];
            g_assert_true(kn_pass_forward(pass, by_hand, 0, &error));
        }
        rig_step(r, 0);
        g_autofree float *is = array(r, 0, KN_ARRAY_BUFFERS);
        int64_t n = kn_net_n_buffers(r->learner.nets[0]);
        g_autofree float *wanted = g_new(float, n);
        kn_weights_get(by_hand, KN_ARRAY_BUFFERS, 0, n, wanted);
        g_assert_cmpint(memcmp(is, wanted, (size_t)n * sizeof(float)) == 0, ==, !joint);
        kn_pass_destroy(pass);
        kn_weights_destroy(by_hand);
        rig_free(r);
    }
}

/* d loss / d θ of the split step against differences, where both halves and λ have a say. */
static void test_split_gradient(void)
{
    rig *r = rig_new("MT", TR_LOSS_PLAIN);
    r->options.lambda_max = 5;
    set(&r->options, "bn", "split");
    rig_open(r);
    g_assert_cmpint(r->learner.plan.n_forwards, ==, 3); /* student twice, teacher */
    g_autofree float *start = array(r, 0, KN_ARRAY_PARAMS);
    int64_t n = kn_net_n_trained(r->learner.nets[0]);
    float *other = g_memdup2(start, (size_t)n * sizeof(float)); /* the teacher is another network */
    for (int64_t i = 0; i < n; i++)
        other[i] *= i % 2 ? 1.2F : 0.8F;
    kn_weights_set(r->learner.weights[1], KN_ARRAY_PARAMS, 0, n, other);
    rig_step(r, 90);
    g_autofree float *grads = array(r, 0, KN_ARRAY_GRADS);
    int n_seen = 0;
    for (int k = 0; k < 40; k++) {
        int64_t at = k < 20 ? k * 23 + 1 : n - 1 - (k - 20) * 17; /* first and last layers */
        double loss[2];
        const float h = 1.0F / (1 << 20);
        for (int side = 0; side < 2; side++) {
            float moved = start[at] + (side ? h : -h);
            kn_weights_set(r->learner.weights[0], KN_ARRAY_PARAMS, 0, n, start);
            kn_weights_set(r->learner.weights[0], KN_ARRAY_PARAMS, at, 1, &moved);
            kn_weights_set(r->learner.weights[1], KN_ARRAY_PARAMS, 0, n, other);
            loss[side] = rig_step(r, 90);
        }
        double wide = (double)(float)(start[at] + h) - (double)(float)(start[at] - h);
        double wanted = (loss[1] - loss[0]) / wide, is = (double)grads[at];
        if (fabs(is - wanted) > 1e-3 * (fabs(wanted) + 0.003))
            g_test_message("parameter %d: %g, wanted %g", (int)at, is, wanted);
        g_assert_true(fabs(is - wanted) <= 1e-3 * (fabs(wanted) + 0.003));
        n_seen += fabs(wanted) > 1e-3;
    }
    g_assert_cmpint(n_seen, >, 10);
    g_free(other);
    rig_free(r);
}

/* What unlabelled images look like moves nothing of the supervised gradient when split; joint, it
 * does. */
static void test_halves_apart(void)
{
    for (int joint = 0; joint < 2; joint++) {
        float *grads[2];
        int64_t n = 0;
        for (int other = 0; other < 2; other++) {
            rig *r = rig_new("CPS", TR_LOSS_PLAIN);
            r->options.lambda_max = 0;
            set(&r->options, "bn", joint ? "joint" : "split");
            for (int i = HALF * PIXELS * 3; other && i < N * PIXELS * 3; i++)
                r->input[i] = 3 - 2 * r->input[i];
            rig_open(r);
            rig_step(r, 50);
            n = kn_net_n_trained(r->learner.nets[0]);
            grads[other] = array(r, 0, KN_ARRAY_GRADS);
            rig_free(r);
        }
        bool same = memcmp(grads[0], grads[1], (size_t)n * sizeof(float)) == 0;
        g_assert_cmpint(same, ==, !joint);
        g_free(grads[0]);
        g_free(grads[1]);
    }
}

/* A gradient longer than --clip moves the weights by rate × clip, a shorter one as it is. */
static void test_clip(void)
{
    for (int longer = 0; longer < 2; longer++) {
        rig *r = rig_new("SL", TR_LOSS_PLAIN);
        r->options.batch_unlabelled = 0;
        r->options.lr = 1;
        r->options.lr_power = r->options.momentum = r->options.weight_decay = 0;
        r->options.clip = longer ? 1e-3 : 1e3;
        rig_open(r);
        g_autofree float *before = array(r, 0, KN_ARRAY_PARAMS);
        rig_step(r, 0);
        g_autofree float *after = array(r, 0, KN_ARRAY_PARAMS), *g = array(r, 0, KN_ARRAY_GRADS);
        double moved = 0, gradient = 0;
        for (int64_t i = 0; i < kn_net_n_trained(r->learner.nets[0]); i++) {
            moved += pow((double)after[i] - (double)before[i], 2);
            gradient += pow((double)g[i], 2);
        }
        g_assert_cmpfloat_with_epsilon(sqrt(moved), sqrt(gradient), 1e-5);
        if (longer)
            g_assert_cmpfloat_with_epsilon(sqrt(moved), 1e-3, 1e-5);
        else
            g_assert_cmpfloat(sqrt(moved), >, 0.1);
        rig_free(r);
    }
}

/* What predicts is a·old + (1 - a)·new of parameters and running statistics, and a = 0 at first. */
static void test_average(void)
{
    rig *r = rig_new("CPS", TR_LOSS_METASSL);
    r->options.lr = 0.1;
    set(&r->options, "eval-weights", "ema");
    set(&r->options, "eval-ema", "0.3");
    set(&r->options, "cps-mean", "1");
    rig_open(r);
    const ssl_plan *plan = &r->learner.plan;
    g_assert_cmpint(plan->model_average, ==, 2);
    g_assert_cmpint(plan->pair_average, ==, 3);
    static const kn_array which[] = {KN_ARRAY_PARAMS, KN_ARRAY_BUFFERS};
    for (int a = 0; a < 2; a++) {
        float *was[2], *is[2], *net[2];
        rig_step(r, 0);
        for (int k = 0; k < 2; k++)
            was[k] = array(r, 2 + k, which[a]);
        rig_step(r, 60);
        for (int k = 0; k < 2; k++) {
            is[k] = array(r, 2 + k, which[a]);
            net[k] = array(r, k, which[a]);
            for (int i = 0; i < 500; i += 7)
                g_assert_cmpfloat_with_epsilon(is[k][i], 0.3F * was[k][i] + 0.7F * net[k][i],
                                               1e-6F * (1 + fabsf(is[k][i])));
            g_assert_cmpfloat(fabsf(is[k][3] - net[k][3]), >, 0);
            g_free(was[k]);
            g_free(is[k]);
            g_free(net[k]);
        }
    }
    rig_free(r);
}

/* ---- weights at the start, schedules ----------------------------------------------------------
 */

/* Deviation of the weights of a convolution of network k, times the square root of its fan-in. */
static double spread(const rig *r, int k)
{
    const kn_net *net = r->learner.nets[k];
    for (int i = 0; i < kn_net_n_params(net); i++) {
        const kn_param *p = kn_net_param(net, i);
        if (p->n_dims < 4 || p->shape[0] != 2 * p->shape[1] || p->n < 2000)
            continue;
        g_autofree float *x = g_new(float, p->n);
        kn_weights_get(r->learner.weights[k], KN_ARRAY_PARAMS, p->offset, p->n, x);
        double sum = 0;
        for (int64_t j = 0; j < p->n; j++)
            sum += (double)x[j] * (double)x[j];
        return sqrt(sum / (double)p->n * (double)p->fan_in);
    }
    g_assert_not_reached();
}

static void test_start(void)
{
    rig *r = rig_new("CPS", TR_LOSS_PLAIN);
    set(&r->options, "init-weights", "he,xavier");
    set(&r->options, "eval-weights", "ema");
    rig_open(r);
    g_assert_cmpfloat_with_epsilon(spread(r, 0), sqrt(2), 0.08);
    g_assert_cmpfloat_with_epsilon(spread(r, 1), sqrt(2.0 / 3), 0.05); /* fan-out is twice fan-in */
    g_autofree float *first = array(r, 0, KN_ARRAY_PARAMS), *average = array(r, 2, KN_ARRAY_PARAMS);
    g_assert_cmpmem(first, 4000, average, 4000); /* a copy starts as its original */
    rig_free(r);
    r = rig_new("CPS", TR_LOSS_PLAIN);
    set(&r->options, "init-weights", "pytorch");
    rig_open(r);
    g_assert_cmpfloat_with_epsilon(spread(r, 0), sqrt(1.0 / 3), 0.02);
    rig_free(r);
}

/* SL with as many labelled patches a step as the other methods, or a batch of them. */
static void test_whole_batch(void)
{
    for (int whole = 0; whole < 2; whole++) {
        tr_options o;
        ssl_plan plan = {0};
        GError *error = NULL;
        fixture_options_init(&o, whole ? "FullSup" : "SL", TR_LOSS_PLAIN, "out");
        set(&o, "whole-batch", whole ? "1" : "0");
        g_assert_true(tr_options_plan(&o, &plan, &error));
        g_assert_cmpint(plan.n_labelled, ==, whole ? 4 : 2);
        g_assert_cmpint(plan.n_unlabelled, ==, 0);
    }
}

static void test_schedules(void)
{
    tr_options o;
    tr_options_init(&o);
    o.lr = 1;
    o.lr_power = 1;
    o.warmup = 0.1;
    g_assert_cmpfloat_with_epsilon(tr_schedule_lr(&o, 0, 100), 0.1, 1e-12);
    g_assert_cmpfloat_with_epsilon(tr_schedule_lr(&o, 4, 100), 0.96 * 0.5, 1e-12);
    g_assert_cmpfloat_with_epsilon(tr_schedule_lr(&o, 9, 100), 0.91, 1e-12);
    g_assert_cmpfloat_with_epsilon(tr_schedule_lr(&o, 50, 100), 0.5, 1e-12);
    o.warmup = 0;
    g_assert_cmpfloat_with_epsilon(tr_schedule_lr(&o, 0, 100), 1, 1e-12);
    o.gamma_a = 0.01;
    set(&o, "gamma-start", "gamma0");
    g_assert_cmpfloat(tr_thresholds_rule(&o, 0).a, ==, 0.01);
    set(&o, "gamma-start", "mean");
    g_assert_cmpfloat(tr_thresholds_rule(&o, 0).a, ==, 1);
    g_assert_cmpfloat(tr_thresholds_rule(&o, 3).a, ==, 0.25);
    g_assert_cmpfloat(tr_thresholds_rule(&o, 500).a, ==, 0.01);
}

/* ---- runs --------------------------------------------------------------------------------------
 */

/* Can the method's halves be parted? Those that cannot say so. */
static bool parts(const char *method)
{
    static const char *const whole[] = {"BCP", "SDCL", "CCVC", "DCNet", "CEUD"};
    for (size_t i = 0; i < G_N_ELEMENTS(whole); i++)
        if (g_str_equal(whole[i], method))
            return false;
    return true;
}

/* Every method with every option of the recipe: a run that was stopped ends with the same bits. */
static void test_resume(gconstpointer data)
{
    const ssl_method *method = data;
    char *dir = fixture_dir();
    g_autofree char *whole = g_build_filename(dir, "whole", NULL);
    g_autofree char *cut = g_build_filename(dir, "cut", NULL);
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, method->name, method->plain_only ? TR_LOSS_PLAIN : TR_LOSS_METASSL,
                         whole);
    o.iterations = 4;
    o.width = 8;
    o.save_every = 4;
    set(&o, "init-weights", "he,xavier");
    set(&o, "bn", parts(method->name) ? "split" : "joint");
    set(&o, "warmup", "0.5");
    set(&o, "clip", "0.5");
    set(&o, "eval-weights", "ema");
    set(&o, "gamma-start", "mean");
    fixture_train(&o, &s, NULL);
    o.out_dir = cut;
    fixture_train_until(&o, &s, 2);
    fixture_train(&o, &s, NULL);
    static const char *const files[] = {"state.safetensors", "last.safetensors"};
    for (int f = 0; f < 2; f++) {
        g_autofree char *a = g_build_filename(whole, files[f], NULL);
        g_autofree char *b = g_build_filename(cut, files[f], NULL);
        fixture_assert_same(a, b, f ? "" : ".params");
        if (!f) {
            fixture_assert_same(a, b, ".buffers");
            fixture_assert_same(a, b, "gamma");
        }
    }
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

/* One tensor of two files that may hold others too. */
static void assert_same_tensor(const char *path_a, const char *path_b, const char *name)
{
    g_autoptr(st_file) a = st_open(path_a, NULL);
    g_autoptr(st_file) b = st_open(path_b, NULL);
    g_assert_true(a && b);
    const st_tensor *x = st_find(a, name), *y = st_find(b, name);
    g_assert_true(x && y && x->dtype == ST_F32);
    size_t bytes = (size_t)st_elements(x) * sizeof(float);
    g_assert_cmpmem(x->data, bytes, y->data, (size_t)st_elements(y) * sizeof(float));
}

/* The average predicts and changes nothing of what is learnt. */
static void test_average_is_the_model(void)
{
    char *dir = fixture_dir();
    g_autofree char *last = g_build_filename(dir, "last", NULL);
    g_autofree char *ema = g_build_filename(dir, "ema", NULL);
    g_autofree char *teacher = g_build_filename(dir, "teacher", NULL);
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, "MT", TR_LOSS_METASSL, last);
    o.iterations = 4;
    set(&o, "eval-weights", "last");
    fixture_train(&o, &s, NULL);
    o.out_dir = ema;
    set(&o, "eval-weights", "ema");
    fixture_train(&o, &s, NULL);
    o.out_dir = teacher;
    set(&o, "eval-weights", "teacher");
    fixture_train(&o, &s, NULL);
    const char *const dirs[] = {last, ema, teacher};
    char *state[3], *net[3];
    for (int i = 0; i < 3; i++) {
        state[i] = g_build_filename(dirs[i], "state.safetensors", NULL);
        net[i] = g_build_filename(dirs[i], "last.safetensors", NULL);
    }
    assert_same_tensor(state[0], state[1], "net0.params");
    assert_same_tensor(state[0], state[2], "net1.params");
    g_assert_false(fixture_same(net[0], net[1], "in_conv.conv_conv.0.weight"));
    g_assert_false(fixture_same(net[0], net[2], "in_conv.conv_conv.0.weight"));
    for (int i = 0; i < 3; i++) {
        g_free(state[i]);
        g_free(net[i]);
    }
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

static void test_refused(void)
{
    for (int m = 0; ssl_methods[m]; m++) {
        tr_options o;
        ssl_plan plan = {0};
        GError *error = NULL;
        fixture_options_init(&o, ssl_methods[m]->name, TR_LOSS_PLAIN, "out");
        set(&o, "bn", "split");
        bool ok = tr_options_plan(&o, &plan, &error);
        g_assert_cmpint(ok, ==, parts(ssl_methods[m]->name));
        if (!ok)
            assert_problem(error, "--bn split: the method's halves cannot be parted");
    }
    tr_options o;
    ssl_plan plan = {0};
    GError *error = NULL;
    fixture_options_init(&o, "CPS", TR_LOSS_PLAIN, "out");
    set(&o, "eval-weights", "teacher");
    g_assert_false(tr_options_plan(&o, &plan, &error));
    assert_problem(error, "CPS: --eval-weights teacher: the method has no teacher");
    static const char *const bad[][3] = {
        {"init-weights", "he,lecun", "--init-weights: he, xavier or pytorch"},
        {"init-weights", "", "--init-weights"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        fixture_options_init(&o, "CPS", TR_LOSS_PLAIN, "out");
        set(&o, bad[i][0], bad[i][1]);
        error = NULL;
        g_assert_false(tr_options_check(&o, &error));
        assert_problem(error, bad[i][2]);
    }
    fixture_options_init(&o, "CPS", TR_LOSS_PLAIN, "out");
    o.backend = "cuda";
    set(&o, "clip", "1");
    error = NULL;
    g_assert_false(tr_options_check(&o, &error));
    assert_problem(error, "--clip is not there on --device cuda");
    set(&o, "clip", "0");
    set(&o, "width", "8");
    error = NULL;
    g_assert_false(tr_options_check(&o, &error));
    assert_problem(error, "--width 8 is not there on --device cuda");
}

/* A run from before these options is known for what it did. */
static void test_older_runs(void)
{
    static const char *const new_names[] = {"init-weights", "bn",   "eval-weights", "eval-ema",
                                            "warmup",       "clip", "gamma-start"};
    tr_options o;
    tr_options_init(&o);
    set(&o, "init-weights", "pytorch");
    set(&o, "bn", "joint");
    set(&o, "eval-weights", "last");
    set(&o, "warmup", "0");
    set(&o, "clip", "0");
    set(&o, "gamma-start", "gamma0");
    g_autofree char *now = tr_options_to_text(&o, true);
    g_autoptr(GString) old = g_string_new(NULL);
    g_auto(GStrv) lines = g_strsplit(now, "\n", -1);
    int n_left_out = 0;
    for (int i = 0; lines[i]; i++) {
        bool is_new = false;
        for (size_t k = 0; k < G_N_ELEMENTS(new_names); k++) {
            size_t n = strlen(new_names[k]);
            is_new |= !strncmp(lines[i], new_names[k], n) && lines[i][n] == '=';
        }
        n_left_out += is_new;
        if (!is_new)
            g_string_append_printf(old, "%s\n", lines[i]);
    }
    g_assert_cmpint(n_left_out, ==, G_N_ELEMENTS(new_names));
    g_assert_null(tr_options_difference(old->str, now));
    set(&o, "bn", "split");
    g_autofree char *split = tr_options_to_text(&o, true);
    g_autofree char *difference = tr_options_difference(old->str, split);
    g_assert_cmpstr(difference, ==, "bn is \"split\", was \"joint\"");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/recipe/split/statistics", test_split_statistics);
    g_test_add_func("/recipe/split/gradient", test_split_gradient);
    g_test_add_func("/recipe/split/halves-apart", test_halves_apart);
    g_test_add_func("/recipe/clip", test_clip);
    g_test_add_func("/recipe/average", test_average);
    g_test_add_func("/recipe/average-is-the-model", test_average_is_the_model);
    g_test_add_func("/recipe/start", test_start);
    g_test_add_func("/recipe/whole-batch", test_whole_batch);
    g_test_add_func("/recipe/schedules", test_schedules);
    for (int m = 0; ssl_methods[m]; m++) {
        g_autofree char *name = g_strdup_printf("/recipe/resume/%s", ssl_methods[m]->name);
        g_test_add_data_func(name, ssl_methods[m], test_resume);
    }
    g_test_add_func("/recipe/refused", test_refused);
    g_test_add_func("/recipe/older-runs", test_older_runs);
    return g_test_run();
}
