/* MetaSSL's switches as a run has them: presets; the released preset's loss of a step against its
 * formulas written down once more; threshold rules whose state survives a stop; options that do not
 * go together. */
#include "base/error.h"
#include "base/rng.h"
#include "base/report.h"
#include "tests/train/fixture.h"
#include "train/loss/losses.h"
#include "train/run/preset.h"

#include <math.h>
#include <string.h>

enum { PX = 16, N_ITEMS = 12, N_LABELLED = 5 };

/* ---- presets --------------------------------------------------------------------------------- */
static void test_presets(void)
{
    for (int i = 0; tr_presets[i].name; i++) {
        GError *error = NULL;
        tr_options o;
        tr_options_init(&o);
        o.out_dir = "run";
        g_assert_true(tr_options_preset(&o, tr_presets[i].name, &error));
        g_assert_true(tr_options_check(&o, &error));
        g_assert_no_error(error);
        g_autofree char *text = tr_options_to_text(&o, true);
        for (const char *const *s = tr_presets[i].settings; s[0]; s += 2) {
            g_autofree char *line = g_strdup_printf("\n%s=%s\n", s[0], s[1]);
            g_assert_nonnull(strstr(text, line));
        }
    }
    GError *error = NULL;
    tr_options o;
    tr_options_init(&o);
    g_assert_false(tr_options_preset(&o, "best", &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_assert_nonnull(strstr(error->message, "released"));
    g_error_free(error);
}

static void test_do_not_go_together(void)
{
    static const struct {
        const char *a, *a_value, *b, *b_value, *message;
    } pairs[] = {
        {"threshold", "flexmatch", "confidence", "var", "--confidence max"},
        {"threshold", "freematch", "confidence", "std", "--confidence max"},
        {"norm-mode", "region-mean", "z-scope", "image", "--z-scope"},
        {"norm-mode", "paper-z", "uc", "split", "--norm-mode"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        GError *error = NULL;
        tr_options o;
        tr_options_init(&o);
        o.out_dir = "run";
        g_assert_true(tr_options_set(&o, pairs[i].a, pairs[i].a_value, &error));
        g_assert_true(tr_options_set(&o, pairs[i].b, pairs[i].b_value, &error));
        g_assert_false(tr_options_check(&o, &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
        g_assert_nonnull(strstr(error->message, pairs[i].message));
        g_error_free(error);
    }
}

/* ---- the released preset's loss -------------------------------------------------------------- */
enum { SIDE = 6, PIXELS = SIDE * SIDE, CLASSES = 3 };

/* Two networks' logits of a labelled and an unlabelled image, [net][image][pixel][class]. */
typedef struct {
    double z[2][2][PIXELS][CLASSES];
    uint8_t label[PIXELS];
} example;

typedef struct {
    double p[CLASSES];
    int y;
} pixel;

static pixel predict(const double *z)
{
    pixel r = {{0}, 0};
    double sum = 0;
    for (int c = 0; c < CLASSES; c++)
        sum += exp(z[c]);
    for (int c = 0; c < CLASSES; c++) {
        r.p[c] = exp(z[c]) / sum;
        r.y = r.p[c] > r.p[r.y] ? c : r.y;
    }
    return r;
}

/* γ after one batch of network `net` on image `image`, from 0.9. */
static void released_gamma(const example *e, int net, int image, double gamma[CLASSES])
{
    double sum[CLASSES] = {0}, n[CLASSES] = {0};
    for (int i = 0; i < PIXELS; i++) {
        pixel r = predict(e->z[net][image][i]);
        sum[r.y] += r.p[r.y];
        n[r.y] += 1;
    }
    for (int c = 0; c < CLASSES; c++)
        gamma[c] = 0.5 * sum[c] / (n[c] + 1) + 0.5 * 0.9;
}

/* Σ over five regions of w·Σ CE/(n+1); the foreground's mask selects the background. */
static double released_term(const example *e, int net, bool labelled)
{
    int image = labelled ? 0 : 1, sure_of = labelled ? net : 1 - net;
    double delta = labelled ? 0.3 : 0.6, gamma[CLASSES], sum[5] = {0}, n[5] = {0}, total = 0;
    released_gamma(e, sure_of, image, gamma);
    for (int i = 0; i < PIXELS; i++) {
        pixel own = predict(e->z[net][image][i]), other = predict(e->z[1 - net][image][i]);
        pixel sure = labelled ? own : other;
        int target = labelled ? e->label[i] : other.y;
        bool confident = sure.p[sure.y] > gamma[sure.y];
        int region = (own.y == other.y ? 0 : 2) + (confident ? 0 : 1);
        if (region == 0 && target != 0)
            continue;
        sum[region] -= log(own.p[target]);
        n[region] += 1;
    }
    for (int r = 0; r < 4; r++)
        total += (r == 0 ? 2 : 1) * exp(-pow(r * delta, 3)) * sum[r] / (n[r] + 1);
    return total;
}

/* ½(CE + Dice of squares). */
static double half_sum(const example *e, int net)
{
    double ce = 0, inter[CLASSES] = {0}, size[CLASSES] = {0}, dice = 1;
    for (int i = 0; i < PIXELS; i++) {
        pixel r = predict(e->z[net][0][i]);
        ce -= log(r.p[e->label[i]]) / PIXELS;
        inter[e->label[i]] += 2 * r.p[e->label[i]];
        size[e->label[i]] += 1;
        for (int c = 0; c < CLASSES; c++)
            size[c] += r.p[c] * r.p[c];
    }
    for (int c = 0; c < CLASSES; c++)
        dice -= (inter[c] + 1e-5) / (size[c] + 1e-5) / CLASSES;
    return (ce + dice) / 2;
}

static void example_init(example *e)
{
    qs_rng rng;
    qs_rng_init(&rng, 3, 4);
    for (int i = 0; i < 2 * PIXELS * CLASSES; i++) {
        double z = 2 * qs_rng_normal(&rng);
        (&e->z[0][0][0][0])[i] = z;
        (&e->z[1][0][0][0])[i] = 0.7 * z + qs_rng_normal(&rng);
    }
    for (int i = 0; i < PIXELS; i++)
        e->label[i] = (uint8_t)qs_rng_below(&rng, CLASSES);
}

static tr_step_result run_losses(tr_learner *learner, tr_options *o, const example *e, int64_t it)
{
    GError *error = NULL;
    example grads, copy = *e;
    uint8_t truth[PIXELS], exclude[PIXELS] = {0};
    memset(truth, 255, sizeof truth);
    tr_losses *losses = tr_losses_create(learner, o, SIDE, &error);
    g_assert_no_error(error);
    kn_tensor z[2], dz[2];
    const tr_prediction of[SSL_FORWARDS_MAX] = {{.z = {&z[0]}, .dz = {&dz[0]}},
                                                {.z = {&z[1]}, .dz = {&dz[1]}}};
    for (int f = 0; f < 2; f++) {
        z[f] = dz[f] = (kn_tensor){
            .dtype = KN_F64, .n = 2, .h = SIDE, .w = SIDE, .c = CLASSES, .ldc = CLASSES};
        z[f].data = copy.z[f];
        dz[f].data = grads.z[f];
    }
    tr_batch batch = {.n = 2,
                      .n_labelled = 1,
                      .patch_px = SIDE,
                      .label = e->label,
                      .truth = truth,
                      .exclude = exclude};
    tr_step_result result = {0};
    tr_losses_run(losses, &batch, of, it, 60000, &result);
    tr_losses_destroy(losses);
    return result;
}

static void test_released(void)
{
    GError *error = NULL;
    kn_engine_options eo = {.backend = "ref", .n_threads = 1, .conv = KN_CONV_DIRECT};
    kn_engine *engine = kn_engine_create(&eo, &error);
    g_assert_no_error(error);
    example e;
    example_init(&e);
    tr_options o;
    tr_options_init(&o);
    g_assert_true(tr_options_set_method(&o, "CPS", &error));
    g_assert_true(tr_options_preset(&o, "released", &error));
    o.batch_labelled = o.batch_unlabelled = 1;
    tr_learner learner = {.engine = engine, .n_classes = CLASSES};
    ssl_config config = tr_options_config(&o);
    ssl_method_find("CPS", NULL)->plan(&config, &learner.plan);
    g_assert_true(ssl_plan_check(&learner.plan, &error));
    for (int g = 0; g < learner.plan.n_gammas; g++) {
        learner.slot[g] = g;
        for (int c = 0; c < CLASSES; c++)
            learner.gamma[g][c] = o.gamma0;
    }
    tr_step_result r = run_losses(&learner, &o, &e, 15000);
    double lambda = 0.1 * exp(-5 * 0.25), sup = 0, unsup = 0, added = 0;
    for (int net = 0; net < 2; net++) {
        sup += half_sum(&e, net);
        added += 85 * released_term(&e, net, true);
        unsup += 50 * released_term(&e, net, false);
    }
    g_assert_cmpfloat_with_epsilon(r.unsup, unsup, 1e-9);
    g_assert_cmpfloat_with_epsilon(r.sup, sup + added, 1e-9);
    g_assert_cmpfloat_with_epsilon(r.loss, sup + lambda * (added + unsup), 1e-9);
    kn_engine_destroy(engine);
}

/* ---- threshold rules over a stop ------------------------------------------------------------- */
static void stop_at_first(void *user, const tr_status *status)
{
    (void)user;
    if (status->iteration == 4)
        qs_stop_request();
}

static void set(tr_options *o, const char *const *settings)
{
    GError *error = NULL;
    for (; settings[0]; settings += 2) {
        tr_options_set(o, settings[0], settings[1], &error);
        g_assert_no_error(error);
    }
}

static void test_resume(gconstpointer data)
{
    GError *error = NULL;
    char *dir = fixture_dir();
    g_autofree char *whole = g_build_filename(dir, "whole", NULL);
    g_autofree char *parts = g_build_filename(dir, "parts", NULL);
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, "MT", TR_LOSS_METASSL, whole);
    set(&o, data);
    fixture_train(&o, &s, NULL);
    o.out_dir = parts;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    tr_callbacks stopper = {.status = stop_at_first};
    g_assert_false(tr_run(&o, &s.source, &spec, &stopper, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    qs_stop_clear();
    fixture_train(&o, &s, NULL);
    g_autofree char *a = g_build_filename(whole, "state.safetensors", NULL);
    g_autofree char *b = g_build_filename(parts, "state.safetensors", NULL);
    fixture_assert_same(a, b, ".params");
    fixture_assert_same(a, b, "gamma");
    fixture_assert_same(a, b, "gamma_state");
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/switches/presets", test_presets);
    g_test_add_func("/switches/do-not-go-together", test_do_not_go_together);
    g_test_add_func("/switches/released", test_released);
    static const char *const flexmatch[] = {"threshold", "flexmatch", NULL};
    static const char *const freematch[] = {"threshold", "freematch", NULL};
    static const char *const means[] = {"norm-mode", "region-mean", "uc", "split", "lqh-form",
                                        "add",       "lqh-scale",   "2",  NULL};
    static const char *const fixed[] = {"threshold", "fixed", "gamma0", "0.9", NULL};
    g_test_add_data_func("/switches/resume/flexmatch", flexmatch, test_resume);
    g_test_add_data_func("/switches/resume/freematch", freematch, test_resume);
    g_test_add_data_func("/switches/resume/region-mean", means, test_resume);
    g_test_add_data_func("/switches/resume/fixed", fixed, test_resume);
    return g_test_run();
}
