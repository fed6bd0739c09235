/* Mixed images and strong views: BCP's mixed image against golden example E13 in both backends
 * (each golden pixel several times, so that the box of a step can be square), the planes of a
 * CutMix view, holes that nobody learns from, BCP's largest components, and the photometric
 * changes; whole losses by finite differences with the reference predictions held fixed. */
#include "tests/kernels/golden.h"
#include "train/loss/losses.h"
#include "train/data/mix.h"
#include "train/data/noise.h"
#include "train/ssl/components.h"

#include <math.h>
#include <string.h>

enum { SIDE = 4, PX = SIDE * SIDE, CLASSES = 2, N = 2, FORWARD = N * PX * CLASSES };

static const char e13[] = "E13_bcp_mixed";

typedef struct {
    tr_learner learner;
    tr_options options;
    double z64[SSL_FORWARDS_MAX][FORWARD], g64[SSL_FORWARDS_MAX][FORWARD];
    float z32[SSL_FORWARDS_MAX][FORWARD], g32[SSL_FORWARDS_MAX][FORWARD];
    kn_tensor z[SSL_FORWARDS_MAX], g[SSL_FORWARDS_MAX];
    tr_prediction of[SSL_FORWARDS_MAX];
    uint8_t label[N * PX], exclude[N * PX], truth[N * PX];
} example;

/* The golden pixel that stands at `at` of the mixed image: outer ones 0 and 1, inner ones 2 and 3.
 */
static int golden_pixel(kn_box box, int at)
{
    int x = at % SIDE, y = at / SIDE;
    bool in = x >= box.x0 && x < box.x1 && y >= box.y0 && y < box.y1;
    return (in ? 2 : 0) + x % 2;
}

static void make_plan(example *e, const char *backend, tr_loss loss)
{
    GError *error = NULL;
    kn_engine_options eo = {.backend = backend, .n_threads = 1, .conv = KN_CONV_DIRECT};
    memset(e, 0, sizeof *e);
    tr_options_init(&e->options);
    g_assert_true(tr_options_set_method(&e->options, "BCP", &error));
    g_assert_true(tr_options_set(&e->options, "bcp-pretrain", "0", &error));
    g_assert_true(tr_options_set(&e->options, "bcp-box", "0.5", &error));
    g_assert_true(tr_options_set(&e->options, "threshold", "fixed", &error));
    e->options.loss = loss;
    e->options.batch_labelled = e->options.batch_unlabelled = 2;
    e->learner =
        (tr_learner){.engine = kn_engine_create(&eo, &error), .n_classes = CLASSES, .stage = 1};
    ssl_config config = tr_options_config(&e->options);
    ssl_method_find("BCP", NULL)->plan(&config, &e->learner.plan);
    g_assert_true(ssl_plan_check(&e->learner.plan, &error));
    for (int g = 0; g < e->learner.plan.n_gammas; g++) {
        e->learner.slot[g] = g;
        memcpy(e->learner.gamma[g], golden_array(e13, "input", "gamma"), CLASSES * sizeof(double));
    }
}

static void fill(example *e)
{
    const ssl_plan *plan = &e->learner.plan;
    const double *student = golden_array(e13, "input", "z_student_mixed");
    const double *unl = golden_array(e13, "input", "z_teacher_unl");
    const double *lab = golden_array(e13, "input", "z_teacher_lab");
    bool f64 = kn_engine_dtype(e->learner.engine) == KN_F64;
    for (int f = 0; f < plan->n_forwards; f++) {
        const ssl_forward *forward = &plan->forwards[f];
        kn_box box = tr_view_of(plan, &e->options, forward, SIDE, 0, 0).box;
        for (int i = 0; i < PX * CLASSES; i++) {
            int p = golden_pixel(box, i / CLASSES), c = i % CLASSES;
            const double *from = forward->grad ? student : p < 2 ? unl : lab;
            e->z64[f][i] = from[c * 4 + p];
            e->z32[f][i] = (float)e->z64[f][i];
        }
        e->z[f] = (kn_tensor){.dtype = f64 ? KN_F64 : KN_F32,
                              .n = ssl_forward_n(plan, forward),
                              .h = SIDE,
                              .w = SIDE,
                              .c = CLASSES,
                              .ldc = CLASSES};
        e->g[f] = e->z[f];
        e->z[f].data = f64 ? (void *)e->z64[f] : (void *)e->z32[f];
        e->g[f].data = f64 ? (void *)e->g64[f] : (void *)e->g32[f];
        e->of[f] = (tr_prediction){.z = {&e->z[f]}, .dz = {&e->g[f]}};
    }
}

/* Everything of the second mixed image is unknown: the first is all that counts. */
static tr_step_result run(example *e, int *p)
{
    GError *error = NULL;
    const ssl_plan *plan = &e->learner.plan;
    const double *label = golden_array(e13, "input", "label");
    for (*p = 0; plan->forwards[*p].mix != SSL_MIX_CROSS || !plan->forwards[*p].grad;)
        ++*p;
    kn_box box = tr_view_of(plan, &e->options, &plan->forwards[*p], SIDE, 0, 0).box;
    memset(e->label + PX, 255, PX);
    memset(e->exclude + PX, 255, PX);
    memset(e->truth, 255, sizeof e->truth);
    for (int i = 0; i < PX; i++)
        e->label[i] = (uint8_t)label[golden_pixel(box, i)];
    fill(e);
    tr_batch batch = {.n = 4,
                      .n_labelled = 2,
                      .patch_px = SIDE,
                      .label = e->label,
                      .truth = e->truth,
                      .exclude = e->exclude};
    tr_losses *losses = tr_losses_create(&e->learner, &e->options, SIDE, &error);
    g_assert_no_error(error);
    tr_step_result result = {0};
    tr_losses_run(losses, &batch, e->of, 0, 10, &result);
    tr_losses_destroy(losses);
    return result;
}

static void check(const char *backend, tr_loss loss, const char *total, const char *grad)
{
    example *e = g_new(example, 1);
    int p;
    make_plan(e, backend, loss);
    if (loss == TR_LOSS_PLAIN) {
        e->options.sup = TR_SUP_SSL4MIS;
        e->options.dice_eps = 1e-10;
    } else {
        e->options.dice_eps = 2e-5; /* every labelled pixel is there twice */
        for (int t = 0; t < e->learner.plan.n_terms; t++)
            if (e->learner.plan.terms[t].kind == SSL_UQH)
                e->learner.plan.terms[t].scale = 0.1;
    }
    tr_step_result result = run(e, &p);
    bool f64 = kn_engine_dtype(e->learner.engine) == KN_F64;
    double tolerance = f64 ? 1e-9 : 2e-6;
    g_test_message("%.12g", result.loss);
    g_assert_true(fabs(result.loss - golden_value(e13, "expected", total)) <= tolerance);
    const double *wanted = golden_array(e13, "expected", grad);
    kn_box box =
        tr_view_of(&e->learner.plan, &e->options, &e->learner.plan.forwards[p], SIDE, 0, 0).box;
    for (int i = 0; i < 2 * PX * CLASSES; i++) {
        double is = f64 ? e->g64[p][i] : (double)e->g32[p][i], want = 0;
        int px = golden_pixel(box, i / CLASSES % PX);
        if (i < PX * CLASSES)
            want = wanted[i % CLASSES * 4 + px] / (px < 2 ? 6 : 2);
        g_assert_true(fabs(is - want) <= tolerance);
    }
    kn_engine_destroy(e->learner.engine);
    g_free(e);
}

static void test_bcp(gconstpointer backend)
{
    check(backend, TR_LOSS_PLAIN, "plain_total", "plain_grad");
    check(backend, TR_LOSS_METASSL, "meta_total", "meta_grad");
}

/* CutMix: what is inside the box is the next image's, labels of the labelled half apart. */
static void test_planes(void)
{
    tr_options o;
    tr_options_init(&o);
    o.cutmix = 1;
    ssl_plan plan = {.n_labelled = 1, .n_unlabelled = 2};
    ssl_forward forward = {.half = SSL_BOTH, .mix = SSL_MIX_CUT};
    kn_view plain = tr_view_of(&plan, &o, &forward, SIDE, 3, 0);
    g_assert_cmpint(plain.box.x1, ==, 0);
    kn_view view = tr_view_of(&plan, &o, &forward, SIDE, 3, 2), again;
    g_assert_cmpint(view.outer, ==, 2);
    g_assert_cmpint(view.inner, ==, 1);
    g_assert_cmpint(view.box.x1, >, view.box.x0);
    forward.half = SSL_UNLABELLED; /* the same image, whatever the forward saw beside it */
    again = tr_view_of(&plan, &o, &forward, SIDE, 3, 1);
    g_assert_cmpmem(&view, sizeof view, &again, sizeof again);
    uint8_t truth[2 * PX], exclude[2 * PX], held[2 * PX], label[PX] = {0}, out[6][3 * PX];
    for (int i = 0; i < PX; i++) {
        truth[i] = exclude[i] = held[i] = 10;
        truth[PX + i] = exclude[PX + i] = held[PX + i] = 20;
    }
    tr_batch batch = {.n = 3,
                      .n_labelled = 1,
                      .patch_px = SIDE,
                      .label = label,
                      .truth = truth,
                      .exclude = exclude};
    kn_planes planes = {out[0], out[1], out[2], out[3], out[4], out[5]};
    tr_planes_fill(&planes, &batch, held, &view, 2);
    for (int i = 0; i < PX; i++) {
        int at = 2 * PX + i, in = golden_pixel(view.box, i) >= 2;
        g_assert_cmpint(planes.label[at], ==, 255);
        g_assert_cmpint(planes.exclude[at], ==, in ? 10 : 20);
        g_assert_cmpint(planes.truth[at], ==, in ? 10 : 20);
        g_assert_cmpint(planes.held[at], ==, in ? 10 : 20);
        g_assert_cmpint(planes.outer[at], ==, in ? 255 : 0);
        g_assert_cmpint(planes.inner[at], ==, in ? 0 : 255);
    }
}

/* Nothing at zero strength; hue and saturation leave grey alone; a third of a turn moves R to G. */
static void test_strong(void)
{
    enum { S = 16, BYTES = S * S * 3 };
    uint8_t rgb[BYTES], was[BYTES];
    float scratch[BYTES];
    qs_rng rng;
    qs_rng_init(&rng, 5, 6);
    for (int i = 0; i < BYTES; i++)
        was[i] = rgb[i] = (uint8_t)qs_rng_below(&rng, 256);
    tr_strong_options none = {.jitter_p = 1, .stain_p = 0, .blur_p = 1, .noise_p = 1};
    tr_strong s;
    tr_strong_draw(&s, &rng, &none);
    tr_strong_apply(&s, rgb, S, scratch);
    g_assert_cmpmem(rgb, BYTES, was, BYTES);
    double m[3][3], offset[3];
    s = (tr_strong){.brightness = 1.2, .contrast = 0.5, .saturation = 1.7, .hue = 0.04};
    tr_strong_matrix(&s, 100, m, offset);
    for (int i = 0; i < 3; i++) /* grey 80: 0.5·1.2·80 + 0.5·1.2·100 */
        g_assert_cmpfloat_with_epsilon(80 * (m[i][0] + m[i][1] + m[i][2]) + offset[i], 108, 1e-9);
    s = (tr_strong){.brightness = 1, .contrast = 1, .saturation = 1, .hue = 1.0 / 3};
    tr_strong_matrix(&s, 100, m, offset);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            g_assert_cmpfloat_with_epsilon(m[i][j], i == (j + 1) % 3 ? 1 : 0, 1e-9);
    memset(rgb, 128, sizeof rgb);
    s = (tr_strong){.blur = true, .blur_sigma = 1.5}; /* keeps what is flat */
    tr_strong_apply(&s, rgb, S, scratch);
    for (int i = 0; i < BYTES; i++)
        g_assert_cmpint(rgb[i], ==, 128);
    s = (tr_strong){.noise = true, .noise_sigma = 0.05, .noise_seed = 9};
    tr_strong_apply(&s, rgb, S, scratch);
    double sum = 0, square = 0;
    for (int i = 0; i < BYTES; i++) {
        sum += rgb[i] - 128.0;
        square += (rgb[i] - 128.0) * (rgb[i] - 128.0);
    }
    g_assert_true(fabs(sum / BYTES) < 2);
    g_assert_true(fabs(sqrt(square / BYTES) - 12.75) < 1.5);
}

/* ---- whole losses by finite differences --------------------------------------------------------
 */

typedef struct {
    tr_learner learner;
    tr_options options;
    tr_losses *losses;
    double z[SSL_FORWARDS_MAX][4][2 * FORWARD], g[SSL_FORWARDS_MAX][4][2 * FORWARD];
    kn_tensor tz[SSL_FORWARDS_MAX][4], tg[SSL_FORWARDS_MAX][4];
    tr_prediction of[SSL_FORWARDS_MAX];
    uint8_t label[2 * N * PX], exclude[N * PX], truth[N * PX]; /* SL's batch is all labelled */
    int64_t it;                                                /* of 10 */
} whole;

static double loss_of(whole *w)
{
    tr_batch batch = {.n = 4,
                      .n_labelled = w->learner.plan.n_labelled,
                      .patch_px = SIDE,
                      .label = w->label,
                      .truth = w->truth,
                      .exclude = w->exclude};
    tr_step_result result = {0};
    tr_losses_run(w->losses, &batch, w->of, w->it, 10, &result);
    return result.loss;
}

static void whole_init(whole *w, const char *method, tr_loss loss)
{
    GError *error = NULL;
    kn_engine_options eo = {.backend = "ref", .n_threads = 1, .conv = KN_CONV_DIRECT};
    memset(w, 0, sizeof *w);
    w->it = 9;
    tr_options_init(&w->options);
    g_assert_true(tr_options_set_method(&w->options, method, &error));
    g_assert_true(tr_options_set(&w->options, "threshold", "fixed", &error));
    w->options.loss = loss;
    w->options.strong.cutout_p = 1;
    w->options.lambda_max = 1;
    w->options.cutmix = 1;
    w->options.batch_labelled = w->options.batch_unlabelled = 2;
    w->learner = (tr_learner){.engine = kn_engine_create(&eo, &error), .n_classes = CLASSES};
    ssl_config config = tr_options_config(&w->options);
    ssl_plan *plan = &w->learner.plan;
    ssl_method_find(method, NULL)->plan(&config, plan);
    qs_rng rng;
    qs_rng_init(&rng, 3, 4);
    for (int g = 0; g < plan->n_gammas; g++) {
        w->learner.slot[g] = g;
        w->learner.gamma[g][0] = w->learner.gamma[g][1] = 0.75;
    }
    for (int i = 0; i < 2 * N * PX; i++)
        w->label[i] = (uint8_t)qs_rng_below(&rng, 2);
    w->label[5] = w->exclude[7] = 255;
    for (int f = 0; f < plan->n_forwards; f++)
        for (int o = 0; o < 4; o++) {
            w->tz[f][o] = (kn_tensor){.dtype = KN_F64,
                                      .n = ssl_forward_n(plan, &plan->forwards[f]),
                                      .h = SIDE,
                                      .w = SIDE,
                                      .c = CLASSES,
                                      .ldc = CLASSES,
                                      .data = w->z[f][o]};
            w->tg[f][o] = w->tz[f][o];
            w->tg[f][o].data = w->g[f][o];
            w->of[f].z[o] = &w->tz[f][o];
            w->of[f].dz[o] = &w->tg[f][o];
            for (int i = 0; i < 2 * FORWARD; i++)
                w->z[f][o][i] = 2 * qs_rng_normal(&rng);
        }
    w->losses = tr_losses_create(&w->learner, &w->options, SIDE, &error);
    g_assert_no_error(error);
}

/* Is the output a reference whose probabilities themselves enter a loss? It has no gradient there.
 */
static bool is_held_fixed(const ssl_plan *plan, int f, int o)
{
    bool fixed = false;
    for (int t = 0; t < plan->n_terms; t++)
        fixed = fixed || (plan->terms[t].kind == SSL_MSE && plan->terms[t].ref == f &&
                          plan->terms[t].ref_output == o);
    return fixed;
}

static void check_output(whole *w, int f, int o)
{
    double d[2 * FORWARD], analytic = 0, value[4], base[2 * FORWARD];
    const double h = 1e-5, steps[4] = {-2 * h, -h, h, 2 * h};
    int n = w->tz[f][o].n * PX * CLASSES;
    qs_rng rng;
    qs_rng_init(&rng, 8, (uint64_t)(f * 16 + o));
    loss_of(w);
    memcpy(base, w->z[f][o], sizeof base);
    for (int i = 0; i < n; i++) {
        d[i] = qs_rng_normal(&rng);
        analytic += d[i] * w->g[f][o][i];
    }
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < n; i++)
            w->z[f][o][i] = base[i] + steps[k] * d[i];
        value[k] = loss_of(w);
    }
    memcpy(w->z[f][o], base, sizeof base);
    double numeric = (8 * (value[2] - value[1]) - (value[3] - value[0])) / (12 * h);
    g_test_message("forward %d output %d: %.9g, %.9g", f, o, numeric, analytic);
    g_assert_true(fabs(numeric - analytic) <= 1e-7 * (1 + fabs(analytic)));
}

/* Every output that learns, in a step of either stage. */
static void check_whole(const char *method, tr_loss loss, int64_t it)
{
    whole *w = g_new(whole, 1);
    whole_init(w, method, loss);
    w->it = it;
    int n_moving = 0;
    for (int f = 0; f < w->learner.plan.n_forwards; f++)
        for (int o = 0; w->learner.plan.forwards[f].grad && o < 4; o++) {
            if (is_held_fixed(&w->learner.plan, f, o))
                continue;
            check_output(w, f, o);
            for (int i = 0; i < 2 * FORWARD; i++)
                n_moving += w->g[f][o][i] != 0;
        }
    g_assert_cmpint(n_moving, >, PX);
    tr_losses_destroy(w->losses);
    kn_engine_destroy(w->learner.engine);
    g_free(w);
}

static void test_differences(gconstpointer data)
{
    const ssl_method *method = ssl_method_find(data, NULL);
    for (int loss = 0; loss < (method->plain_only ? 1 : 2); loss++) {
        check_whole(data, (tr_loss)loss, 9);
        check_whole(data, (tr_loss)loss, 0); /* of BCP and SDCL the first stage */
    }
}

/* ---- holes -------------------------------------------------------------------------------------
 */

/* FixMatch's strong forward on the unlabelled half, and image i's hole there. */
static int strong_forward(const whole *w, int i, kn_view *view)
{
    const ssl_plan *plan = &w->learner.plan;
    int f = 0;
    while (plan->forwards[f].look != SSL_STRONG)
        f++;
    int first = plan->forwards[f].half == SSL_BOTH ? plan->n_labelled : 0;
    *view = tr_view_of(plan, &w->options, &plan->forwards[f], SIDE, w->it, first + i);
    return f;
}

static bool in_hole(kn_box hole, int p)
{
    int x = p % SIDE, y = p / SIDE;
    return x >= hole.x0 && x < hole.x1 && y >= hole.y0 && y < hole.y1;
}

/* What a network says in a hole moves neither the loss nor a weight; beside it, it does. */
static void test_cutout(gconstpointer data)
{
    for (int loss = 0; loss < 2; loss++) {
        whole *w = g_new(whole, 1);
        whole_init(w, data, (tr_loss)loss);
        for (int t = 0; t < w->learner.plan.n_terms; t++)
            w->learner.plan.terms[t].tau = 0; /* plain: every pixel is sure */
        tr_losses_destroy(w->losses);
        w->losses = tr_losses_create(&w->learner, &w->options, SIDE, NULL);
        double before = loss_of(w);
        for (int i = 0; i < 2; i++) {
            kn_view view;
            int f = strong_forward(w, i, &view), n_in = 0, n_heard = 0;
            int first = w->learner.plan.forwards[f].half == SSL_BOTH ? 2 : 0;
            g_assert_cmpint(view.hole.x1 - view.hole.x0, ==,
                            (int)(w->options.strong.cutout * SIDE));
            g_assert_cmpint(view.hole.x1, <=, SIDE);
            for (int p = 0; p < PX; p++) {
                double *z = &w->z[f][0][((first + i) * PX + p) * CLASSES], kept = z[0];
                double *g = &w->g[f][0][((first + i) * PX + p) * CLASSES];
                bool hole = in_hole(view.hole, p);
                n_in += hole;
                g_assert_true(!hole || (g[0] == 0 && g[1] == 0));
                z[0] += hole ? 7 : 1e-3;
                double moved = loss_of(w);
                z[0] = kept;
                g_assert_true(!hole || moved == before);
                n_heard += moved != before;
            }
            g_assert_cmpint(n_heard, >=, PX - n_in - 2);
            g_assert_cmpint(n_in, >, 0);
            g_assert_cmpint(n_in, <, PX);
        }
        tr_losses_destroy(w->losses);
        kn_engine_destroy(w->learner.engine);
        g_free(w);
    }
}

/* The planes and the input of a view with a hole: excluded there, and blank. */
static void test_hole(void)
{
    tr_options o;
    tr_options_init(&o);
    o.cutmix = 1;
    o.strong.cutout_p = 1;
    o.strong.cutout = 0.5;
    ssl_plan plan = {.n_labelled = 1, .n_unlabelled = 2};
    ssl_forward forward = {.half = SSL_UNLABELLED, .mix = SSL_MIX_CUT};
    kn_view view = tr_view_of(&plan, &o, &forward, SIDE, 3, 0);
    uint8_t zero[2 * PX] = {0}, label[PX] = {0}, out[6][PX];
    tr_batch batch = {
        .n = 3, .n_labelled = 1, .patch_px = SIDE, .label = label, .truth = zero, .exclude = zero};
    kn_planes planes = {out[0], out[1], out[2], out[3], out[4], out[5]};
    tr_planes_fill(&planes, &batch, zero, &view, 0);
    float one[3 * PX], two[3 * PX], got[3 * PX];
    for (int i = 0; i < 3 * PX; i++) {
        one[i] = 1;
        two[i] = 2;
    }
    kn_tensor t = {.dtype = KN_F32, .n = 1, .h = SIDE, .w = SIDE, .c = 3, .ldc = 3, .data = got};
    tr_image image = {one, two, view.box, view.hole, 0};
    tr_input_fill(&t, &image, 0, 1, 1);
    int n_in = 0;
    for (int p = 0; p < PX; p++) {
        bool hole = in_hole(view.hole, p), boxed = in_hole(view.box, p);
        n_in += hole;
        g_assert_cmpint(planes.exclude[p], ==, hole ? 255 : 0);
        g_assert_cmpint(planes.truth[p], ==, 0);
        for (int c = 0; c < 3; c++)
            g_assert_true(got[3 * p + c] == (hole ? 0 : boxed ? 2 : 1));
    }
    g_assert_cmpint(n_in, ==, 4);
    o.strong.cutout_p = 0;
    view = tr_view_of(&plan, &o, &forward, SIDE, 3, 0);
    g_assert_cmpint(view.hole.x1, ==, 0);
}

/* ---- largest components ------------------------------------------------------------------------
 */

/* Of each class but the background the largest island, corners touching; of equal ones the first.
 */
static void test_components(void)
{
    static const struct {
        const char *is, *wanted; /* rows of 6 */
    } cases[] = {
        {"......"
         "......"
         "......",
         "......"
         "......"
         "......"},
        {"11...1"
         "1....."
         ".....1",
         "11...."
         "1....."
         "......"},
        {"1....."
         ".1...1"
         "..1..1",
         "1....."
         ".1...."
         "..1..."}, /* by corners */
        {"..1..1"
         ".1...1"
         "1....1",
         "..1..."
         ".1...."
         "1....."}, /* … of both kinds; the first */
        {"1.1..."
         "1.1..2"
         "111..2",
         "1.1..."
         "1.1..2"
         "111..2"}, /* joined below */
        {"11.2.."
         "...2.1"
         "2..2..",
         "11.2.."
         "...2.."
         "...2.."}, /* each class its own */
        {"111111"
         "122221"
         "111111",
         "111111"
         "122221"
         "111111"},
        {"1.2.1."
         "......"
         "2.1.2.",
         "1.2..."
         "......"
         "......"}, /* equal: the first of each */
    };
    for (size_t k = 0; k < G_N_ELEMENTS(cases); k++) {
        uint8_t y[2 * 18];
        for (int i = 0; i < 36; i++) /* and a second image, that the first must not reach */
            y[i] = cases[i < 18 ? k : 1].is[i % 18] == '.'
                       ? 0
                       : (uint8_t)(cases[i < 18 ? k : 1].is[i % 18] - '0');
        ssl_largest_components(y, 2, 3, 6, 3);
        for (int i = 0; i < 36; i++) {
            char wanted = cases[i < 18 ? k : 1].wanted[i % 18];
            g_assert_cmpint(y[i], ==, wanted == '.' ? 0 : wanted - '0');
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/mixing/bcp/ref", "ref", test_bcp);
    g_test_add_data_func("/mixing/bcp/cpu", "cpu", test_bcp);
    g_test_add_func("/mixing/planes", test_planes);
    g_test_add_func("/mixing/strong", test_strong);
    g_test_add_data_func("/mixing/cutout", "FixMatch", test_cutout);
    g_test_add_func("/mixing/hole", test_hole);
    g_test_add_func("/mixing/components", test_components);
    /* Not here: terms that hold another output of the same step fixed (CCVC, DCNet), or rank by a
     * history (CEUD); tests/kernels/test_compare.c and PyTorch have those. */
    static const char *const whole_of[] = {"SL",  "MT",     "FixMatch", "CCT",   "CPS",
                                           "BCP", "R-Drop", "URPC",     "UA-MT", "SDCL"};
    for (size_t i = 0; i < G_N_ELEMENTS(whole_of); i++) {
        g_autofree char *name = g_strdup_printf("/mixing/differences/%s", whole_of[i]);
        g_test_add_data_func(name, whole_of[i], test_differences);
    }
    int status = g_test_run();
    golden_close();
    return status;
}
