/* Three parts: every group of ops against the double-precision reference, in each precision of the
 * device; golden examples of the loss (E02, E03) and random losses against the reference; ten steps
 * of MT and CPS with MetaSSL beside the CPU's, and once more for the same bits. */
#include "tests/selftest/selftest.h"

#include "base/rng.h"
#include "model/safetensors.h"
#include "tests/kernels/golden.h"
#include "tests/kernels/loss_fixture.h"
#include "tests/kernels/ops_cases.h"
#include "train/run/trainer.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

enum { STEPS = 10, PX = 32, ITEMS = 12, LABELLED = 6 };

typedef struct {
    const char *device;
    selftest_say say;
    void *user;
    selftest_result *result;
} session;

static void report(session *s, const char *what, bool ok, const char *detail)
{
    g_autofree char *line =
        g_strdup_printf("%s  %s%s%s", ok ? "passed" : "FAILED", what, *detail ? ": " : "", detail);
    s->say(s->user, line);
    s->result->n_passed += ok;
    s->result->n_failed += !ok;
}

/* ---- ops
 * ----------------------------------------------------------------------------------------- */

static bool convs(const bench_pair *pair, GString *message)
{
    static const conv_case cases[] = {
        {2, 32, 32, 3, 16, 3, false, false, 0, 4},  {2, 32, 32, 16, 16, 3, false, false, 0, 4},
        {2, 17, 33, 32, 16, 3, false, false, 0, 4}, {2, 16, 16, 64, 64, 3, false, false, 0, 4},
        {2, 8, 8, 128, 256, 3, false, false, 0, 4}, {2, 16, 16, 64, 32, 1, true, false, 0, 4},
        {2, 32, 32, 16, 2, 3, true, false, 0, 4},   {2, 16, 16, 32, 32, 3, true, true, 0, 4},
        {1, 7, 9, 5, 7, 3, true, false, 0, 4}};
    bool ok = true;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++)
            ok = run_conv_case(pair, &cases[i], (fill_kind)fill, message) && ok;
    return ok;
}

static bool norms(const bench_pair *pair, GString *message)
{
    static const norm_case cases[] = {{2, 32, 32, 16, 32, 0, 0.01, 0.05, 0},
                                      {2, 16, 16, 32, 32, 0, 0.01, 0.1, 0},
                                      {2, 8, 8, 256, 256, 0, 0.01, 0.5, 0},
                                      {2, 33, 33, 16, 32, 16, 0.01, 0, 0},
                                      {2, 7, 7, 3, 5, 1, 0.01, 0.3, 0}};
    bool ok = true;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        for (int fill = 0; fill < FILL_OFFSET; fill++)
            ok = run_norm_case(pair, &cases[i], (fill_kind)fill, message) && ok;
    return ok;
}

static bool resamples(const bench_pair *pair, GString *message)
{
    static const int shapes[][4] = {{2, 16, 16, 16}, {2, 7, 5, 32}, {1, 1, 33, 3}};
    bool ok = true;
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        for (int fill = 0; fill < N_FILLS; fill++) {
            const int *t = shapes[i];
            ok = run_pool_case(pair, t[0], t[1], t[2], t[3], 0, (fill_kind)fill, message) &&
                 run_upsample_case(pair, t[0], t[1], t[2], t[3], 0, (fill_kind)fill, message) && ok;
        }
    return ok;
}

static bool arrays(const bench_pair *pair, GString *message)
{
    return run_array_case(pair, 33, message) && run_array_case(pair, 70001, message);
}

static const struct {
    const char *name;
    bool (*run)(const bench_pair *pair, GString *message);
} groups[] = {{"convolutions", convs},
              {"BatchNorm, LeakyReLU, dropout", norms},
              {"pooling, upsampling", resamples},
              {"SGD, moving average", arrays}};

static bool run_ops(session *s, kn_precision precision, const char *name, GError **error)
{
    kn_engine_options here = {.backend = s->device, .precision = precision},
                      oracle = {.backend = "ref", .n_threads = 1};
    bench_pair pair = {.seed = 3};
    pair.engine = kn_engine_create(&here, error);
    if (!pair.engine)
        return false;
    pair.ref = kn_engine_create(&oracle, error);
    if (!pair.ref) {
        kn_engine_destroy(pair.engine);
        return false;
    }
    pair.ops = kn_engine_ops(pair.engine);
    ops_check_act(pair.engine->act);
    g_autofree char *on = g_strdup_printf("device  %s", kn_engine_describe(pair.engine));
    s->say(s->user, on);
    for (size_t g = 0; g < G_N_ELEMENTS(groups); g++) {
        g_autoptr(GString) message = g_string_new(NULL);
        g_autofree char *what = g_strdup_printf("%s (%s)", groups[g].name, name);
        bool ok = groups[g].run(&pair, message);
        if (ok && !kn_engine_check(pair.engine, error))
            g_string_append(message, *error ? (*error)->message : "device error"), ok = false;
        g_clear_error(error);
        report(s, what, ok, message->str);
    }
    ops_check_act(KN_F32);
    kn_engine_destroy(pair.engine);
    kn_engine_destroy(pair.ref);
    return true;
}

/* ---- losses
 * -------------------------------------------------------------------------------------- */

static bool near_all(const double *got, const double *want, int64_t n)
{
    return lf_first_far(got, want, n, 2e-6, 2e-6) < 0;
}

/* Golden group of four pixels: confidence, regions, Z, loss, gradient. */
static void run_golden(session *s, kn_engine *engine, const char *group, int n_classes,
                       double delta)
{
    lf_case c;
    lf_case_init(&c, 1, 2, 2, n_classes, golden_array(group, "input", "z_ref"),
                 golden_array(group, "input", "z_sup"));
    const double *gamma = golden_array(group, "input", "gamma");
    memcpy(c.config.gamma, gamma, (size_t)n_classes * sizeof *gamma);
    kn_region_weights(KN_PHI_GAUSS, 3, delta, KN_PARTITION_QUAD, false, c.config.weights);
    lf_out out = lf_run(engine, &c);
    bool ok = near_all(out.conf, golden_array(group, "expected", "conf"), 4);
    for (int i = 0; i < 4; i++)
        ok = ok && out.region[i] == golden_array(group, "expected", "region")[i];
    double z = golden_value(group, "expected", "Z"), loss = golden_value(group, "expected", "loss");
    ok = ok && near_all(&out.result.z, &z, 1) && near_all(&out.result.loss, &loss, 1) &&
         near_all(out.grad, golden_array(group, "expected", "grad_z_sup"), 4 * n_classes);
    lf_out_clear(&out);
    g_autofree char *what = g_strdup_printf("golden example %s", group);
    report(s, what, ok, "");
}

/* A batch of random logits: loss and gradient beside the reference's. */
static void run_random_loss(session *s, kn_engine *engine, kn_engine *oracle, int n_classes)
{
    enum { N = 2, SIDE = 33 };
    int64_t px = (int64_t)N * SIDE * SIDE, n = px * n_classes;
    g_autofree double *z_ref = fill_new(n, FILL_RANDOM, 1), *z = fill_new(n, FILL_RANDOM, 2);
    g_autofree uint8_t *label = g_malloc((gsize)px);
    lf_case c;
    for (int64_t i = 0; i < px; i++)
        label[i] = (uint8_t)(i % 11 == 0 ? 255 : i % n_classes);
    lf_case_init(&c, N, SIDE, SIDE, n_classes, z_ref, z);
    c.config.labelled = true;
    c.config.dice = KN_DICE_LINEAR;
    c.label = label;
    kn_region_weights(KN_PHI_GAUSS, 3, 0.3, KN_PARTITION_QUAD, true, c.config.weights);
    lf_out got = lf_run(engine, &c), want = lf_run(oracle, &c);
    int64_t far = lf_first_far(got.grad, want.grad, n, 1e-8, 1e-4);
    bool ok = lf_near(got.result.loss, want.result.loss, 1e-5, 1e-5) && far < 0;
    g_autofree char *what = g_strdup_printf("MetaSSL's loss, %d classes", n_classes);
    g_autofree char *detail =
        g_strdup_printf("%.7g, reference %.7g", got.result.loss, want.result.loss);
    report(s, what, ok, detail);
    lf_out_clear(&got);
    lf_out_clear(&want);
}

static bool run_losses(session *s, GError **error)
{
    kn_engine_options here = {.backend = s->device}, ref = {.backend = "ref", .n_threads = 1};
    kn_engine *engine = kn_engine_create(&here, error);
    kn_engine *oracle = engine ? kn_engine_create(&ref, error) : NULL;
    if (oracle) {
        run_golden(s, engine, "E02", 2, 0.6);
        run_golden(s, engine, "E03", 3, 0.3);
        run_random_loss(s, engine, oracle, 2);
        run_random_loss(s, engine, oracle, 5);
    }
    kn_engine_destroy(engine);
    kn_engine_destroy(oracle);
    return oracle != NULL;
}

/* ---- training
 * ------------------------------------------------------------------------------------ */

/* A bright disc on noise; a pure function of the item. */
static bool read_item(void *user, size_t item, uint8_t *rgb, uint8_t *label, GError **error)
{
    (void)user;
    (void)error;
    qs_rng rng;
    qs_rng_init(&rng, 8, item);
    int cx = (int)qs_rng_below(&rng, PX), cy = (int)qs_rng_below(&rng, PX);
    for (int i = 0; i < PX * PX; i++) {
        int dx = i % PX - cx, dy = i / PX - cy;
        bool in = dx * dx + dy * dy < PX * PX / 9;
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)((in ? 90 : 160) + 20 * c + (int)qs_rng_below(&rng, 40));
        if (label)
            label[i] = in;
    }
    return true;
}

static bool train(const char *device, kn_precision precision, const char *method, const char *dir,
                  GError **error)
{
    tr_item items[ITEMS] = {{0}};
    for (int i = 0; i < ITEMS; i++)
        items[i] = (tr_item){.slide_id = i, .labelled = i < LABELLED, .has_label = true};
    tr_source source = {.patch_px = PX, .n_items = ITEMS, .items = items, .read = read_item};
    model_spec spec = {.mean = {.6, .7, .8}, .std = {.2, .2, .2}, .level0 = true, .patch_px = PX};
    tr_options o;
    qs_classes_init_binary(&spec.classes, "disc");
    tr_options_init(&o);
    if (!tr_options_set_method(&o, method, error))
        return false;
    o.loss = TR_LOSS_METASSL;
    o.out_dir = dir;
    o.backend = device;
    o.precision = precision;
    o.conv = KN_CONV_DIRECT;
    o.batch_labelled = o.batch_unlabelled = 2;
    o.iterations = STEPS;
    o.lr = 5e-4; /* so that rounding has no time to grow */
    return tr_run(&o, &source, &spec, NULL, error);
}

/* The largest difference of two models, each tensor's relative to its own largest; NaN counts. */
static double difference(const char *dir_a, const char *dir_b)
{
    g_autofree char *pa = g_build_filename(dir_a, "last.safetensors", NULL);
    g_autofree char *pb = g_build_filename(dir_b, "last.safetensors", NULL);
    g_autoptr(st_file) a = st_open(pa, NULL);
    g_autoptr(st_file) b = st_open(pb, NULL);
    double worst = a && b && st_n(a) > 0 ? 0 : NAN;
    for (size_t i = 0; a && b && i < st_n(a); i++) {
        const st_tensor *x = st_get(a, i), *y = st_find(b, x->name);
        double most = 1e-3, apart = 0;
        for (int64_t k = 0; y && x->dtype == ST_F32 && k < st_elements(x); k++) {
            double u = (double)((const float *)x->data)[k], v = (double)((const float *)y->data)[k];
            most = fmax(most, fabs(u));
            apart = fabs(u - v) <= apart ? apart : fabs(u - v);
        }
        worst = apart / most <= worst ? worst : apart / most;
    }
    return worst;
}

static void remove_dir(char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    for (const char *name; d && (name = g_dir_read_name(d));) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_remove(path);
    }
    if (d)
        g_dir_close(d);
    g_rmdir(dir);
    g_free(dir);
}

static void run_training(session *s, const char *method, kn_precision precision, const char *name,
                         double tolerance)
{
    char *dirs[3];
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < 3; i++)
        dirs[i] = g_dir_make_tmp("quadslide-selftest-XXXXXX", NULL);
    bool ok = dirs[0] && dirs[1] && dirs[2] &&
              train("cpu", KN_PRECISION_F32, method, dirs[0], &error) &&
              train(s->device, precision, method, dirs[1], &error) &&
              train(s->device, precision, method, dirs[2], &error);
    double off = ok ? difference(dirs[0], dirs[1]) : NAN;
    double again = ok ? difference(dirs[1], dirs[2]) : NAN;
    g_autofree char *what = g_strdup_printf("ten steps of %s + MetaSSL (%s)", method, name);
    g_autofree char *detail =
        ok ? g_strdup_printf("%.2g from the CPU's f32 (at most %.2g), %s", off, tolerance,
                             again == 0 ? "the same bits again" : "OTHER BITS the second time")
           : g_strdup(error ? error->message : "no temporary folder");
    report(s, what, ok && off <= tolerance && again == 0, detail);
    for (int i = 0; i < 3; i++)
        if (dirs[i])
            remove_dir(dirs[i]);
}

bool selftest_run(const char *device, selftest_say say, void *user, selftest_result *result,
                  GError **error)
{
    session s = {device, say, user, result};
    bool cuda = g_str_equal(device, "cuda");
    *result = (selftest_result){0, 0};
    if (!run_ops(&s, KN_PRECISION_F32, "f32", error) ||
        (cuda && !run_ops(&s, KN_PRECISION_BF16, "bf16", error)) || !run_losses(&s, error))
        return false;
    run_training(&s, "MT", KN_PRECISION_F32, "f32", 2e-3);
    run_training(&s, "CPS", KN_PRECISION_F32, "f32", 2e-3);
    if (cuda)
        run_training(&s, "MT", KN_PRECISION_BF16, "bf16", 0.3);
    golden_close();
    return true;
}
