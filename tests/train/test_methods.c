/* What the methods declare: plans that hold together, and one step's loss and gradients against the
 * golden examples (E02, E04, E05, E09, E14, E17), on both backends. The logits are given, so no
 * network is in the way. */
#include "base/error.h"
#include "tests/kernels/golden.h"
#include "train/loss/losses.h"

#include <math.h>
#include <string.h>

enum { SIDE = 2, PIXELS = SIDE * SIDE, CLASSES = 2, IMAGE = PIXELS * CLASSES };

static const char *const backends[] = {"ref", "cpu"};

/* One step on given logits: forward f sees one image of 2 × 2 per half. */
typedef struct {
    kn_engine *engine;
    bool f64;
    tr_options options;
    tr_learner learner;
    tr_losses *losses;
    double logits64[SSL_FORWARDS_MAX][2 * IMAGE], grads64[SSL_FORWARDS_MAX][2 * IMAGE];
    float logits32[SSL_FORWARDS_MAX][2 * IMAGE], grads32[SSL_FORWARDS_MAX][2 * IMAGE];
    kn_tensor logits[SSL_FORWARDS_MAX], grads[SSL_FORWARDS_MAX];
    uint8_t label[PIXELS], truth[PIXELS], exclude[PIXELS];
    tr_step_result result;
} bench;

static void bench_init(bench *b, const char *backend, const char *method, tr_loss loss)
{
    memset(b, 0, sizeof *b);
    GError *error = NULL;
    kn_engine_options eo = {.backend = backend, .n_threads = 1, .conv = KN_CONV_DIRECT};
    b->engine = kn_engine_create(&eo, &error);
    g_assert_no_error(error);
    b->f64 = kn_engine_dtype(b->engine) == KN_F64;
    tr_options_init(&b->options);
    g_assert_true(tr_options_set_method(&b->options, method, &error));
    b->options.loss = loss;
    b->options.batch_labelled = b->options.batch_unlabelled = 1;
    b->options.threshold = KN_THRESHOLD_FIXED;
    b->learner = (tr_learner){.engine = b->engine, .n_classes = CLASSES};
    memset(b->truth, 255, sizeof b->truth);
}

/* Makes the plan; a batch of one image in each half that the method wants (SL's two labelled become
 * one). */
static void bench_plan(bench *b)
{
    GError *error = NULL;
    ssl_config config = tr_options_config(&b->options);
    const ssl_method *method = ssl_method_find(b->options.method, &error);
    method->plan(&config, &b->learner.plan);
    g_assert_true(ssl_plan_check(&b->learner.plan, &error));
    if (b->learner.plan.n_unlabelled == 0)
        b->learner.plan.n_labelled = 1;
    for (int g = 0; g < b->learner.plan.n_gammas; g++)
        b->learner.slot[g] = g;
    b->losses = tr_losses_create(&b->learner, &b->options, SIDE, &error);
    g_assert_no_error(error);
}

/* Logits of one image in [C][P] order as image `at` of forward f. */
static void bench_set(bench *b, int f, int at, const double *z)
{
    for (int p = 0; p < PIXELS; p++) {
        for (int c = 0; c < CLASSES; c++) {
            double v = z[c * PIXELS + p];
            b->logits64[f][at * IMAGE + p * CLASSES + c] = v;
            b->logits32[f][at * IMAGE + p * CLASSES + c] = (float)v;
        }
    }
}

static void bench_label(bench *b, const double *y)
{
    for (int p = 0; p < PIXELS; p++)
        b->label[p] = (uint8_t)y[p];
}

static void bench_run(bench *b, int64_t it, int64_t total)
{
    tr_prediction of[SSL_FORWARDS_MAX] = {0};
    for (int f = 0; f < b->learner.plan.n_forwards; f++) {
        kn_tensor t = {.dtype = b->f64 ? KN_F64 : KN_F32,
                       .n = ssl_forward_n(&b->learner.plan, &b->learner.plan.forwards[f]),
                       .h = SIDE,
                       .w = SIDE,
                       .c = CLASSES,
                       .ldc = CLASSES};
        b->logits[f] = b->grads[f] = t;
        b->logits[f].data = b->f64 ? (void *)b->logits64[f] : (void *)b->logits32[f];
        b->grads[f].data = b->f64 ? (void *)b->grads64[f] : (void *)b->grads32[f];
        of[f].z[0] = &b->logits[f];
        of[f].dz[0] = &b->grads[f];
    }
    tr_batch batch = {.n = ssl_half_n(&b->learner.plan, SSL_BOTH),
                      .n_labelled = b->learner.plan.n_labelled,
                      .patch_px = SIDE,
                      .label = b->label,
                      .truth = b->truth,
                      .exclude = b->exclude};
    memset(&b->result, 0, sizeof b->result);
    tr_losses_run(b->losses, &batch, of, it, total, &b->result);
}

static void bench_clear(bench *b)
{
    tr_losses_destroy(b->losses);
    kn_engine_destroy(b->engine);
}

static void assert_near(const bench *b, double is, double wanted)
{
    double tolerance = b->f64 ? 1e-12 : 2e-6;
    if (!(fabs(is - wanted) <= tolerance + tolerance * fabs(wanted)))
        g_test_message("%.12g, wanted %.12g", is, wanted);
    g_assert_true(fabs(is - wanted) <= tolerance + tolerance * fabs(wanted));
}

/* Gradient of image `at` of forward f against scale × golden [C][P]. */
static void assert_gradient(const bench *b, int f, int at, const double *wanted, double scale)
{
    for (int p = 0; p < PIXELS; p++) {
        for (int c = 0; c < CLASSES; c++) {
            int i = at * IMAGE + p * CLASSES + c;
            assert_near(b, b->f64 ? b->grads64[f][i] : (double)b->grads32[f][i],
                        scale * wanted[c * PIXELS + p]);
        }
    }
}

static double golden(const char *group, const char *key)
{
    return golden_value(group, "expected", key);
}

/* ---- plans ---------------------------------------------------------------------------------- */

static void test_plans(void)
{
    for (int m = 0; ssl_methods[m]; m++) {
        for (int ablation = 0; ablation < 4; ablation++) {
            double values[SSL_OPTIONS_MAX] = {0};
            for (int i = 0; i < ssl_method_n_options(ssl_methods[m]); i++)
                values[i] = ssl_methods[m]->options[i].value;
            ssl_plan plan = {0};
            ssl_config config = {.lqh = ablation & 1,
                                 .uqh = ablation & 2,
                                 .batch_labelled = 3,
                                 .batch_unlabelled = 2,
                                 .values = values};
            GError *error = NULL;
            ssl_methods[m]->plan(&config, &plan);
            g_assert_true(ssl_plan_check(&plan, &error));
            bool pairs = g_str_equal(ssl_methods[m]->name, "BCP") || /* as many of both */
                         g_str_equal(ssl_methods[m]->name, "SDCL");
            g_assert_cmpint(plan.n_labelled + plan.n_unlabelled, ==, pairs ? 4 : 5);
            for (int t = 0; t < plan.n_terms; t++) {
                g_assert_cmpint(plan.terms[t].kind == SSL_LQH, ==,
                                plan.terms[t].kind != SSL_SUP && plan.terms[t].kind != SSL_OWN &&
                                    ssl_term_on(&plan.terms[t]) == SSL_LABELLED);
                g_assert_true(config.lqh || plan.terms[t].kind != SSL_LQH);
                g_assert_true(config.uqh || plan.terms[t].kind != SSL_UQH);
            }
        }
    }
}

static void assert_refused(const ssl_plan *plan, const char *part)
{
    GError *error = NULL;
    g_assert_false(ssl_plan_check(plan, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_INTERNAL);
    if (!strstr(error->message, part))
        g_test_message("\"%s\" lacks \"%s\"", error->message, part);
    g_assert_nonnull(strstr(error->message, part));
    g_error_free(error);
}

static void test_bad_plans(void)
{
    double values[SSL_OPTIONS_MAX] = {0};
    ssl_config config = {
        .lqh = true, .uqh = true, .batch_labelled = 1, .batch_unlabelled = 1, .values = values};
    ssl_plan good = {0}, bad;
    ssl_method_find("mt", NULL)->plan(&config, &good);
    bad = good;
    bad.terms[0].p = bad.terms[0].ref;
    assert_refused(&bad, "no forward with gradient");
    bad = good;
    bad.forwards[1].half = SSL_UNLABELLED;
    assert_refused(&bad, "reference did not see");
    bad = good;
    bad.terms[1].gamma = bad.terms[0].gamma;
    assert_refused(&bad, "no slot of that half");
    bad = good;
    bad.terms[1].ref = 7;
    assert_refused(&bad, "no other forward");
    bad = good;
    bad.forwards[0].net = 1;
    assert_refused(&bad, "not trained");
    bad = good;
    bad.nets[0].copy_of = 1;
    assert_refused(&bad, "copy");
    bad = good;
    bad.n_unlabelled = 0;
    assert_refused(&bad, "empty");
    bad = good;
    bad.emas[0].teacher = 3;
    assert_refused(&bad, "moving average");
    bad = good;
    bad.model_net = 9;
    assert_refused(&bad, "model");
}

/* ---- one step
 * ------------------------------------------------------------------------------------ */

static const double *input(const char *group, const char *key)
{
    return golden_array(group, "input", key);
}

static const char e02[] = "E02_uqh_ce_C2", e04[] = "E04_lqh_ce_C2", e05[] = "E05_lqh_dice_C2",
                  e09[] = "E09_cps_total", e14[] = "E14_sl_plain", e17[] = "E17_comparison_losses";

static const double *first_key(const char *group, const char *a, const char *b)
{
    return golden_numbers(NULL, group, "expected", a, b, NULL);
}

static void test_cps_metassl(gconstpointer backend)
{
    bench b;
    bench_init(&b, backend, "CPS", TR_LOSS_METASSL);
    bench_plan(&b);
    bench_set(&b, 0, 0, input(e09, "z1_lab"));
    bench_set(&b, 0, 1, input(e09, "z1_unl"));
    bench_set(&b, 1, 0, input(e09, "z2_lab"));
    bench_set(&b, 1, 1, input(e09, "z2_unl"));
    bench_label(&b, input(e09, "y_star"));
    for (int g = 0; g < b.learner.plan.n_gammas; g++) {
        const ssl_gamma *slot = &b.learner.plan.gammas[g];
        g_autofree char *key = g_strdup_printf("gamma%c_%s", slot->role[3],
                                               slot->half == SSL_LABELLED ? "lab" : "unl");
        memcpy(b.learner.gamma[g], input(e09, key), CLASSES * sizeof(double));
    }
    bench_run(&b, 10, 10); /* t = T: λ = lambda-max = 0.1 */
    assert_near(&b, b.result.loss, golden(e09, "total"));
    assert_near(&b, b.result.sup, golden(e09, "lqh_net1") + golden(e09, "lqh_net2"));
    assert_near(&b, b.result.unsup, golden(e09, "uqh_net1") + golden(e09, "uqh_net2"));
    assert_gradient(&b, 0, 0, golden_array(e09, "expected", "grad_z1_lab"), 1);
    assert_gradient(&b, 0, 1, golden_array(e09, "expected", "grad_z1_unl"), 1);
    assert_gradient(&b, 1, 0, golden_array(e09, "expected", "grad_z2_lab"), 1);
    assert_gradient(&b, 1, 1, golden_array(e09, "expected", "grad_z2_unl"), 1);
    /* Regions of both unlabelled terms: [0,1,2,3] and [0,0,2,2]; of both labelled: [0,0,0,0],
     * [0,1,2,2]. */
    const int64_t unlabelled[] = {3, 1, 3, 1}, labelled[] = {5, 1, 2, 0};
    for (int r = 0; r < KN_N_REGIONS; r++) {
        g_assert_cmpint(b.result.region_px[1][r], ==, unlabelled[r]);
        g_assert_cmpint(b.result.region_px[0][r], ==, labelled[r]);
    }
    bench_clear(&b);
}

/* Labelled: E04 + E05 with δl = .3; unlabelled: E02. */
static void set_meta_example(bench *b, int student, int teacher)
{
    bench_set(b, student, 0, input(e04, "z"));
    bench_set(b, student, 1, input(e02, "z_sup"));
    bench_set(b, teacher, 0, input(e02, "z_ref"));
    bench_set(b, teacher, 1, input(e02, "z_ref"));
    bench_label(b, golden_array(e04, "input", "y_star"));
    for (int g = 0; g < b->learner.plan.n_gammas; g++)
        b->learner.gamma[g][0] = b->learner.gamma[g][1] = 0.75;
}

static void test_mt_metassl(gconstpointer backend)
{
    bench b;
    bench_init(&b, backend, "MT", TR_LOSS_METASSL);
    bench_plan(&b);
    set_meta_example(&b, 0, 1);
    bench_run(&b, 5, 10); /* λ = .1·exp(-5/4) */
    double lambda = 0.1 * exp(-1.25);
    double lqh = first_key(e04, "delta_l_0.3", "loss")[0] +
                 first_key(e05, "delta_l_0.3_linear_eps1e-05", "loss")[0];
    assert_near(&b, b.result.sup, lqh);
    assert_near(&b, b.result.unsup, golden(e02, "loss"));
    assert_near(&b, b.result.loss, lqh + lambda * golden(e02, "loss"));
    assert_gradient(&b, 0, 1, golden_array(e02, "expected", "grad_z_sup"), lambda);
    bench_clear(&b);
}

static void test_mt_plain(gconstpointer backend)
{
    bench b;
    bench_init(&b, backend, "MT", TR_LOSS_PLAIN);
    b.options.lambda_max = 2;
    bench_plan(&b);
    g_assert_cmpint(b.learner.plan.forwards[1].half, ==, SSL_UNLABELLED);
    set_meta_example(&b, 0, 1);
    bench_set(&b, 1, 0, input(e02, "z_ref")); /* the teacher saw the unlabelled half alone */
    bench_set(&b, 0, 0, input(e14, "z"));
    bench_label(&b, input(e14, "y_star"));
    bench_run(&b, 30, 30);
    double mse = first_key(e17, "mt_mse_mean_over_all_elements", "loss")[0];
    assert_near(&b, b.result.sup, golden(e14, "paper_sum"));
    assert_near(&b, b.result.loss, golden(e14, "paper_sum") + 2 * mse);
    assert_gradient(&b, 0, 0, golden_array(e14, "expected", "grad_paper_sum"), 1);
    assert_gradient(&b, 0, 1, first_key(e17, "mt_mse_mean_over_all_elements", "grad_z_student"), 2);
    bench_run(&b, 1, 60); /* the first 1/30: no consistency, and no gradient from it */
    assert_near(&b, b.result.loss, golden(e14, "paper_sum"));
    const double zero[IMAGE] = {0};
    assert_gradient(&b, 0, 1, zero, 1);
    bench_clear(&b);
}

static double cross_entropy(const double *z, const double *z_ref)
{
    double sum = 0;
    for (int p = 0; p < PIXELS; p++) {
        int y = z_ref[PIXELS + p] > z_ref[p];
        sum += log(exp(z[p]) + exp(z[PIXELS + p])) - z[y * PIXELS + p];
    }
    return sum / PIXELS;
}

static void test_cps_plain(gconstpointer backend)
{
    bench b;
    bench_init(&b, backend, "CPS", TR_LOSS_PLAIN);
    b.options.sup = TR_SUP_SSL4MIS;
    bench_plan(&b);
    for (int f = 0; f < 2; f++)
        bench_set(&b, f, 0, input(e14, "z"));
    const double *z1 = input(e02, "z_ref"), *z2 = input(e02, "z_sup");
    bench_set(&b, 0, 1, z1);
    bench_set(&b, 1, 1, z2);
    bench_label(&b, input(e14, "y_star"));
    bench_run(&b, 10, 10);
    double half = golden(e14, "half_sum"), cross = cross_entropy(z1, z2) + cross_entropy(z2, z1);
    assert_near(&b, b.result.sup, 2 * half);
    assert_near(&b, b.result.loss, 2 * half + 0.1 * cross);
    assert_gradient(&b, 0, 0, golden_array(e14, "expected", "grad_half_sum"), 1);
    assert_gradient(&b, 1, 0, golden_array(e14, "expected", "grad_half_sum"), 1);
    bench_clear(&b);
}

static void test_sl(gconstpointer backend)
{
    for (int meta = 0; meta < 2; meta++) {
        bench b;
        bench_init(&b, backend, meta ? "FullSup" : "SL", meta ? TR_LOSS_METASSL : TR_LOSS_PLAIN);
        bench_plan(&b);
        g_assert_cmpint(b.learner.plan.n_forwards, ==, meta ? 2 : 1);
        bench_set(&b, 0, 0, input(e04, "z"));
        bench_set(&b, 1, 0, input(e02, "z_ref"));
        bench_label(&b, input(e14, "y_star"));
        b.learner.gamma[0][0] = b.learner.gamma[0][1] = 0.75;
        bench_run(&b, 0, 10);
        double lqh = first_key(e04, "delta_l_0.3", "loss")[0] +
                     first_key(e05, "delta_l_0.3_linear_eps1e-05", "loss")[0];
        assert_near(&b, b.result.loss, meta ? lqh : golden(e14, "paper_sum"));
        bench_clear(&b);
    }
}

/* γ of a batch is updated before its partition, each slot by its own reference: E07. */
static void test_gamma(gconstpointer backend)
{
    bench b;
    bench_init(&b, backend, "MT", TR_LOSS_METASSL);
    b.options.threshold = KN_THRESHOLD_ADAPTIVE;
    bench_plan(&b);
    set_meta_example(&b, 0, 1);
    for (int g = 0; g < 2; g++)
        b.learner.gamma[g][0] = b.learner.gamma[g][1] = 0.5;
    bench_run(&b, 5, 10);
    const double *wanted = golden_array("E07_gamma_update", "expected", "E02_from0.5_anew0.01");
    for (int g = 0; g < 2; g++)
        for (int c = 0; c < CLASSES; c++)
            assert_near(&b, b.learner.gamma[g][c], wanted[c]);
    b.exclude[0] = b.exclude[3] = 255; /* the pixels of class 0 are excluded: its γ stays */
    double before = b.learner.gamma[1][0];
    bench_run(&b, 5, 10);
    g_assert_cmpfloat(b.learner.gamma[1][0], ==, before);
    g_assert_cmpint(b.result.region_px[1][0] + b.result.region_px[1][1] + b.result.region_px[1][2] +
                        b.result.region_px[1][3],
                    ==, 2);
    bench_clear(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/methods/plans", test_plans);
    g_test_add_func("/methods/bad-plans", test_bad_plans);
    static const struct {
        const char *name;
        GTestDataFunc run;
    } steps[] = {
        {"cps-metassl", test_cps_metassl},
        {"cps-plain", test_cps_plain},
        {"mt-metassl", test_mt_metassl},
        {"mt-plain", test_mt_plain},
        {"sl", test_sl},
        {"gamma", test_gamma},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(backends); k++) {
            g_autofree char *name = g_strdup_printf("/methods/%s/%s", steps[i].name, backends[k]);
            g_test_add_data_func(name, backends[k], steps[i].run);
        }
    }
    int status = g_test_run();
    golden_close();
    return status;
}
