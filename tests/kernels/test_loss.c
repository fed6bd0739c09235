/* Properties that the loss must have whatever its input, on both backends, and its gradient against
 * 4-point central differences on the reference. Golden values are test_golden's, the comparison of
 * the backends test_loss_cpu's. */
#include "base/rng.h"
#include "tests/kernels/loss_fixture.h"

#include <math.h>
#include <string.h>

#define FOR_SIDES(side)                                                                            \
    for (const lf_side *side = lf_sides(); side < lf_sides() + LF_N_SIDES; side++)

/* A random batch with labels, some of them excluded. */
typedef struct {
    int n, h, w, c;
    int64_t n_px;
    double *z, *z_ref;
    uint8_t *label, *exclude;
} batch;

static batch batch_create(int n, int h, int w, int c, double spread, uint64_t seed)
{
    batch b = {n, h, w, c, (int64_t)n * h * w, NULL, NULL, NULL, NULL};
    qs_rng rng;
    qs_rng_init(&rng, seed, 1);
    b.z = g_new(double, b.n_px *c);
    b.z_ref = g_new(double, b.n_px *c);
    b.label = g_malloc((size_t)b.n_px);
    b.exclude = g_malloc0((size_t)b.n_px);
    for (int64_t i = 0; i < b.n_px * c; i++) {
        b.z[i] = (float)(spread * qs_rng_normal(&rng));
        b.z_ref[i] = (float)(0.7 * b.z[i] + 0.7 * spread * qs_rng_normal(&rng));
    }
    for (int64_t i = 0; i < b.n_px; i++) {
        b.label[i] = qs_rng_below(&rng, 10) ? (uint8_t)qs_rng_below(&rng, (uint32_t)c) : 255;
        b.exclude[i] = qs_rng_below(&rng, 10) ? (uint8_t)qs_rng_below(&rng, 200) : 255;
    }
    return b;
}

static void batch_clear(batch *b)
{
    g_free(b->z);
    g_free(b->z_ref);
    g_free(b->label);
    g_free(b->exclude);
}

/* Quadripartition with δ = .6 or, labelled, δ = .3 and Dice. */
static lf_case case_of(const batch *b, bool labelled)
{
    lf_case c;
    lf_case_init(&c, b->n, b->h, b->w, b->c, b->z_ref, b->z);
    c.exclude = b->exclude;
    c.config.labelled = labelled;
    c.config.dice = labelled ? KN_DICE_LINEAR : KN_DICE_NONE;
    c.label = labelled ? b->label : NULL;
    for (int k = 0; k < b->c; k++)
        c.config.gamma[k] = 0.55 + 0.05 * k;
    kn_region_weights(KN_PHI_GAUSS, 3, labelled ? 0.3 : 0.6, KN_PARTITION_QUAD, labelled,
                      c.config.weights);
    return c;
}

static double largest(const double *v, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(v[i]));
    return most;
}

/* Gradients are of the size of 1/Z: compare them on the scale of the largest. */
static void check_grads(const lf_side *side, const char *what, const double *got,
                        const double *want, int64_t n)
{
    double scale = largest(want, n);
    if (lf_first_far(got, want, n, side->atol * scale, side->rtol) < 0 && scale > 0)
        return;
    g_test_message("%s: %s: gradients differ at %d of %d, scale %g", side->name, what,
                   (int)lf_first_far(got, want, n, side->atol * scale, side->rtol), (int)n, scale);
    g_test_fail();
}

static void test_grad_sums_to_zero(void)
{
    batch b = batch_create(2, 9, 13, 4, 3, 11);
    FOR_SIDES(side)
    for (int labelled = 0; labelled < 2; labelled++) {
        lf_case c = case_of(&b, labelled);
        lf_out out = lf_run(side->engine, &c);
        double most = largest(out.grad, b.n_px * b.c);
        g_assert_cmpfloat(most, >, 0);
        int hw = b.h * b.w;
        for (int64_t i = 0; i < b.n_px; i++) {
            double sum = 0;
            for (int k = 0; k < b.c; k++)
                sum += out.grad[(i / hw * b.c + k) * hw + i % hw];
            g_assert_true(fabs(sum) <= side->atol * most);
            g_assert_true(out.region[i] != KN_REGION_EXCLUDED || sum == 0);
        }
        lf_out_clear(&out);
    }
    batch_clear(&b);
}

static void test_weight_scale(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 12);
    FOR_SIDES(side)
    for (int labelled = 0; labelled < 2; labelled++) {
        lf_case c = case_of(&b, labelled);
        c.config.dice_eps = 0;
        lf_out one = lf_run(side->engine, &c);
        for (int r = 0; r < KN_N_REGIONS; r++)
            c.config.weights[r] *= 7.25;
        lf_out two = lf_run(side->engine, &c);
        lf_check(side, "loss of scaled weights", two.result.loss, one.result.loss);
        lf_check(side, "Z of scaled weights", two.result.z, 7.25 * one.result.z);
        check_grads(side, "scaled weights", two.grad, one.grad, b.n_px * b.c);
        lf_out_clear(&one);
        lf_out_clear(&two);
    }
    batch_clear(&b);
}

static void test_equal_weights_are_plain(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 13);
    FOR_SIDES(side)
    for (int form = KN_DICE_NONE; form <= KN_DICE_SQUARE; form++) {
        lf_case c = case_of(&b, true);
        c.config.dice = (kn_dice)form;
        kn_region_weights(KN_PHI_GAUSS, 3, 0.3, KN_PARTITION_UNIFORM, true, c.config.weights);
        lf_out quad = lf_run(side->engine, &c);
        c.z_ref = NULL;
        lf_out plain = lf_run(side->engine, &c);
        lf_check(side, "loss of equal weights", quad.result.loss, plain.result.loss);
        lf_check_array(side, "gradient of equal weights", quad.grad, plain.grad, b.n_px * b.c);
        g_assert_cmpint(plain.result.region_px[KN_REGION_US] +
                            plain.result.region_px[KN_REGION_DC] +
                            plain.result.region_px[KN_REGION_DS],
                        ==, 0);
        g_assert_cmpint(quad.result.region_px[KN_REGION_DS], >, 0);
        lf_out_clear(&quad);
        lf_out_clear(&plain);
    }
    batch_clear(&b);
}

/* CPS's cross pseudo supervision: the reference's argmax as if it were a label. */
static void test_cross_pseudo_supervision(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 14);
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, false);
        kn_region_weights(KN_PHI_GAUSS, 3, 0.6, KN_PARTITION_UNIFORM, false, c.config.weights);
        lf_out pseudo = lf_run(side->engine, &c);
        c.z_ref = NULL;
        c.label = pseudo.ref.y;
        c.config.labelled = true;
        lf_out plain = lf_run(side->engine, &c);
        lf_check(side, "cross loss", pseudo.result.loss, plain.result.loss);
        lf_check_array(side, "cross gradient", pseudo.grad, plain.grad, b.n_px * b.c);
        lf_out_clear(&pseudo);
        lf_out_clear(&plain);
    }
    batch_clear(&b);
}

/* FixMatch: CE of the pixels whose reference is as sure as τ, over all pixels that count. */
static void test_masked_ce(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 22);
    int hw = b.h * b.w;
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, false);
        static const double sure_only[KN_N_REGIONS] = {1, 0, 1, 0};
        memcpy(c.config.weights, sure_only, sizeof sure_only);
        c.config.norm = KN_CE_PIXELS;
        c.config.gamma_inclusive = true;
        lf_out first = lf_run(side->engine, &c);
        int64_t at = 0; /* τ is just a confidence that occurs */
        while (b.exclude[at] == 255)
            at++;
        for (int k = 0; k < b.c; k++)
            c.config.gamma[k] = first.conf[at];
        lf_out out = lf_run(side->engine, &c);
        double want = 0, n = 0;
        for (int64_t i = 0; i < b.n_px; i++) {
            double sum = 0;
            const double *z = b.z + i / hw * b.c * hw + i % hw;
            for (int k = 0; k < b.c; k++)
                sum += exp(z[k * hw]);
            n += b.exclude[i] != 255;
            if (b.exclude[i] != 255 && out.conf[i] >= first.conf[at])
                want += log(sum) - z[out.ref.y[i] * hw];
        }
        lf_check(side, "masked CE", out.result.loss, want / n);
        g_assert_true(out.region[at] == KN_REGION_UC || out.region[at] == KN_REGION_DC);
        c.config.gamma_inclusive = false;
        lf_out strict = lf_run(side->engine, &c);
        g_assert_true(strict.region[at] == KN_REGION_US || strict.region[at] == KN_REGION_DS);
        for (int k = 0; k < b.c; k++)
            c.config.gamma[k] = 1;
        lf_out none = lf_run(side->engine, &c);
        g_assert_true(none.result.loss == 0 && largest(none.grad, b.n_px * b.c) == 0);
        lf_out_clear(&first);
        lf_out_clear(&out);
        lf_out_clear(&strict);
        lf_out_clear(&none);
    }
    batch_clear(&b);
}

/* Regions by a third prediction instead of the label, target still the label. */
static void test_compare(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 23);
    g_autofree uint8_t *other = g_malloc((size_t)b.n_px);
    for (int64_t i = 0; i < b.n_px; i++)
        other[i] = (uint8_t)(i % 3);
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, true);
        c.config.compare = other;
        lf_out out = lf_run(side->engine, &c);
        for (int64_t i = 0; i < b.n_px; i++) {
            if (out.region[i] == KN_REGION_EXCLUDED)
                continue;
            bool unanimous = out.region[i] == KN_REGION_UC || out.region[i] == KN_REGION_US;
            g_assert_cmpint(unanimous, ==, out.ref.y[i] == other[i]);
        }
        for (int r = 0; r < KN_N_REGIONS; r++)
            c.config.weights[r] = 1;
        lf_out even = lf_run(side->engine, &c);
        c.z_ref = NULL;
        lf_out plain = lf_run(side->engine, &c);
        lf_check(side, "the target is the label's", even.result.loss, plain.result.loss);
        lf_out_clear(&out);
        lf_out_clear(&even);
        lf_out_clear(&plain);
    }
    batch_clear(&b);
}

static void test_gamma_extremes(void)
{
    batch b = batch_create(2, 9, 13, 3, 20, 15); /* spread 20: many confidences round to 1 */
    FOR_SIDES(side)
    for (int gamma = 0; gamma < 2; gamma++) {
        lf_case c = case_of(&b, false);
        for (int k = 0; k < b.c; k++)
            c.config.gamma[k] = gamma;
        lf_out out = lf_run(side->engine, &c);
        const int64_t *px = out.result.region_px;
        int64_t sure = px[KN_REGION_UC] + px[KN_REGION_DC];
        int64_t unsure = px[KN_REGION_US] + px[KN_REGION_DS];
        g_assert_cmpint(gamma ? sure : unsure, ==, 0);
        g_assert_cmpint(sure + unsure, >, b.n_px / 2);
        lf_out_clear(&out);
    }
    batch_clear(&b);
}

static void test_swap_touches_discrepant_only(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 16);
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, false);
        lf_out one = lf_run(side->engine, &c);
        double dc = c.config.weights[KN_REGION_DC];
        c.config.weights[KN_REGION_DC] = c.config.weights[KN_REGION_DS];
        c.config.weights[KN_REGION_DS] = dc;
        lf_out two = lf_run(side->engine, &c);
        int hw = b.h * b.w, changed = 0;
        for (int64_t i = 0; i < b.n_px * b.c; i++) {
            int region = one.region[i / hw / b.c * hw + i % hw];
            double g1 = one.grad[i] * one.result.z, g2 = two.grad[i] * two.result.z;
            if (region == KN_REGION_DC || region == KN_REGION_DS)
                changed += !lf_near(g2, g1, side->atol, side->rtol);
            else
                lf_check(side, "gradient times Z of a unanimous pixel", g2, g1);
        }
        g_assert_cmpint(changed, >, 0);
        lf_out_clear(&one);
        lf_out_clear(&two);
    }
    batch_clear(&b);
}

/* The labels of an unlabelled stream must not reach its loss: other labels, the same bits. */
static void test_unlabelled_is_blind(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 17);
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, false);
        lf_out none = lf_run(side->engine, &c);
        c.label = b.label;
        lf_out some = lf_run(side->engine, &c);
        g_assert_true(memcmp(none.grad, some.grad, sizeof(double) * (size_t)(b.n_px * b.c)) == 0);
        g_assert_true(none.result.loss == some.result.loss);
        lf_out_clear(&none);
        lf_out_clear(&some);
    }
    batch_clear(&b);
}

/* An image without weight is 0 of the mean over images; the batch of the other one alone. */
static void test_empty_image(void)
{
    batch b = batch_create(2, 5, 7, 2, 2, 18);
    memset(b.exclude, 255, 35);
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, false);
        c.config.z_scope = KN_Z_IMAGE;
        lf_out both = lf_run(side->engine, &c);
        c.n = 1;
        c.z += 70;
        c.z_ref += 70;
        c.exclude += 35;
        lf_out alone = lf_run(side->engine, &c);
        lf_check(side, "half of the image's loss", both.result.loss, alone.result.loss / 2);
        g_assert_true(both.z_image[0] == 0 && largest(both.grad, 70) == 0);
        c.config.z_scope = KN_Z_BATCH;
        lf_out batch_z = lf_run(side->engine, &c);
        lf_check(side, "one image, either Z", batch_z.result.loss, alone.result.loss);
        lf_out_clear(&both);
        lf_out_clear(&alone);
        lf_out_clear(&batch_z);
    }
    batch_clear(&b);
}

static void test_nothing_left(void)
{
    batch b = batch_create(1, 5, 7, 3, 2, 19);
    memset(b.label, 255, 35);
    FOR_SIDES(side)
    for (int eps = 0; eps < 2; eps++) {
        lf_case c = case_of(&b, true);
        c.config.dice_eps = eps * 1e-5;
        lf_out out = lf_run(side->engine, &c);
        g_assert_true(out.result.loss == 0 && out.result.dice == 0 && out.result.z == 0);
        for (int64_t i = 0; i < b.n_px * b.c; i++)
            g_assert_true(out.grad[i] == 0);
        lf_out_clear(&out);
    }
    batch_clear(&b);
}

/* A diverged network: NaN comes out, y stays a class, nothing is read out of bounds. */
static void test_nan_and_infinity(void)
{
    static const double bad[] = {NAN, INFINITY};
    FOR_SIDES(side)
    for (int i = 0; i < 2; i++)
        for (int n_classes = 2; n_classes < 4; n_classes++) {
            batch b = batch_create(1, 5, 7, n_classes, 2, 20);
            memset(b.exclude, 0, (size_t)b.n_px);
            b.z[3] = b.z_ref[5] = bad[i];
            lf_case c = case_of(&b, false);
            lf_out out = lf_run(side->engine, &c);
            g_assert_false(isfinite(out.result.loss));
            for (int64_t px = 0; px < b.n_px; px++)
                g_assert_cmpint(out.ref.y[px], <, n_classes);
            double gamma[3] = {0.5, 0.5, 0.5};
            kn_gamma_update(gamma, n_classes, &out.ref, 0.5, KN_ABSENT_KEEP);
            g_assert_true(isnan(gamma[0]) || isnan(gamma[1]) || isnan(gamma[2]));
            lf_out_clear(&out);
            batch_clear(&b);
        }
}

static void test_truth(void)
{
    batch b = batch_create(2, 9, 13, 3, 2, 21);
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, false);
        c.truth = b.label;
        lf_out out = lf_run(side->engine, &c);
        int64_t right[KN_N_REGIONS] = {0}, truth[KN_N_REGIONS] = {0}, px[KN_N_REGIONS] = {0};
        for (int64_t i = 0; i < b.n_px; i++) {
            g_assert_cmpint(out.region[i] == KN_REGION_EXCLUDED, ==, b.exclude[i] == 255);
            if (b.exclude[i] == 255)
                continue;
            px[out.region[i]]++;
            truth[out.region[i]] += b.label[i] != 255;
            right[out.region[i]] += b.label[i] == out.ref.y[i];
        }
        for (int r = 0; r < KN_N_REGIONS; r++) {
            g_assert_cmpint(out.result.region_px[r], ==, px[r]);
            g_assert_cmpint(out.result.truth_px[r], ==, truth[r]);
            g_assert_cmpint(out.result.region_right[r], ==, right[r]);
        }
        lf_out_clear(&out);
    }
    batch_clear(&b);
}

/* ---- finite differences -------------------------------------------------------------------- */
typedef double (*loss_of_z)(const void *data, const double *z, uint8_t *region);

static double quad_loss(const void *data, const double *z, uint8_t *region)
{
    lf_case c = *(const lf_case *)data;
    c.z = z;
    lf_out out = lf_run(lf_sides()[LF_REF].engine, &c);
    double loss = out.result.loss;
    memcpy(region, out.region, (size_t)(c.n * c.h * c.w));
    lf_out_clear(&out);
    return loss;
}

/* Largest |difference quotient - grad| over largest |grad|; the partition must not move. */
static double worst_difference(loss_of_z loss, const void *data, const double *z,
                               const double *grad, int64_t n, int64_t n_px)
{
    static const double step[] = {1, -1, 2, -2}, factor[] = {8, -8, -1, 1};
    const double h = 1e-3; /* error h⁴/30·f⁗ ~ 1e-13, rounding 1e-16/h ~ 1e-13 */
    g_autofree double *moved = g_memdup2(z, sizeof(double) * (size_t)n);
    g_autofree uint8_t *region = g_malloc0((size_t)n_px), *first = g_malloc0((size_t)n_px);
    loss(data, z, first);
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < 4; k++) {
            moved[i] = z[i] + step[k] * h;
            sum += factor[k] * loss(data, moved, region);
            g_assert_true(memcmp(region, first, (size_t)n_px) == 0);
        }
        moved[i] = z[i];
        double error = fabs(sum / (12 * h) - grad[i]);
        worst = error <= worst ? worst : error; /* a NaN stays */
    }
    return worst / largest(grad, n);
}

static void test_finite_differences(void)
{
    for (int kind = 0; kind < 24; kind++) {
        bool labelled = kind & 1;
        batch b = batch_create(2, 3, 3, 2 + kind % 3, 1.5, 100 + (uint64_t)kind);
        int64_t n = b.n_px * b.c;
        for (int64_t i = 0; i < n;
             i++) /* no two logits of a pixel nearer than 5e-3: y cannot move */
            b.z[i] = 0.05 * round(b.z[i] / 0.05) + 0.01 * (double)(i / 9 % b.c);
        lf_case c = case_of(&b, labelled);
        c.config.dice = labelled ? (kind & 2 ? KN_DICE_LINEAR : KN_DICE_SQUARE) : KN_DICE_NONE;
        c.config.z_scope = kind & 4 && kind < 12 ? KN_Z_IMAGE : KN_Z_BATCH;
        c.config.norm = kind < 12 ? KN_CE_Z : kind & 8 ? KN_CE_PIXELS : KN_CE_REGION_MEAN;
        c.config.uc = (kn_uc)(kind % 3);
        c.config.ce_scale = 0.8;
        c.config.dice_scale = 0.6;
        lf_out out = lf_run(lf_sides()[LF_REF].engine, &c);
        double worst = worst_difference(quad_loss, &c, b.z, out.grad, n, b.n_px);
        g_test_message("kind %d: %.2g", kind, worst);
        g_assert_true(worst <= 1e-9);

        out.grad[n / 2] += 1e-3 * largest(out.grad, n); /* a planted error must be seen */
        g_assert_true(worst_difference(quad_loss, &c, b.z, out.grad, n, b.n_px) > 1e-9);
        out.grad[0] = NAN;
        g_assert_false(worst_difference(quad_loss, &c, b.z, out.grad, n, b.n_px) <= 1e-9);
        lf_out_clear(&out);
        batch_clear(&b);
    }
}

/* ---- Mean Teacher's consistency ------------------------------------------------------------ */
typedef struct {
    const lf_side *side;
    const batch *b;
    const uint8_t *exclude;
    double scale;
    bool accumulate;
    double *grad; /* NULL: loss alone */
} mse_call;

static double mse_loss(const void *data, const double *z, uint8_t *region)
{
    const mse_call *m = data;
    const batch *b = m->b;
    kn_tensor zt = lf_tensor(m->side->engine, b->n, b->h, b->w, b->c, b->c + 1);
    kn_tensor zr = lf_tensor(m->side->engine, b->n, b->h, b->w, b->c, b->c);
    kn_tensor dz = lf_tensor(m->side->engine, b->n, b->h, b->w, b->c, b->c);
    lf_from_planar(&zt, z);
    lf_from_planar(&zr, b->z_ref);
    double loss = kn_loss_mse(m->side->engine, &zt, &zr, m->exclude, m->scale, m->accumulate,
                              m->grad ? &dz : NULL);
    if (m->grad)
        lf_to_planar(&dz, m->grad);
    if (region)
        memset(region, 0, (size_t)b->n_px);
    lf_tensor_free(&zt);
    lf_tensor_free(&zr);
    lf_tensor_free(&dz);
    return loss;
}

static void test_mse(void)
{
    batch b = batch_create(2, 3, 5, 3, 1.5, 31);
    int64_t n = b.n_px * b.c;
    g_autofree double *grad = g_new(double, n), *other = g_new(double, n);
    mse_call ref = {&lf_sides()[LF_REF], &b, b.exclude, 1, false, grad};
    mse_loss(&ref, b.z, NULL);
    ref.grad = NULL;
    g_assert_true(worst_difference(mse_loss, &ref, b.z, grad, n, b.n_px) <= 1e-9);
    FOR_SIDES(side)
    {
        mse_call m = {side, &b, b.exclude, 1, false, other};
        lf_check(side, "mse", mse_loss(&m, b.z, NULL), mse_loss(&ref, b.z, NULL));
        check_grads(side, "mse gradient", other, grad, n);
        m.accumulate = true; /* onto the 7 that lf_tensor fills in */
        m.scale = 0.5;
        mse_loss(&m, b.z, NULL);
        for (int64_t i = 0; i < n; i++)
            g_assert_true(lf_near(other[i], 7 + 0.5 * grad[i], 7 * side->atol, side->rtol));
    }
    memset(b.exclude, 255, (size_t)b.n_px);
    FOR_SIDES(side)
    {
        mse_call m = {side, &b, b.exclude, 1, false, other};
        g_assert_true(mse_loss(&m, b.z, NULL) == 0 && largest(other, n) == 0);
    }
    batch_clear(&b);
}

static void test_accumulate(void)
{
    batch b = batch_create(1, 5, 7, 3, 2, 41);
    FOR_SIDES(side)
    {
        lf_case c = case_of(&b, true);
        c.z_ref = NULL;
        lf_out out = lf_run(side->engine, &c);
        kn_tensor z = lf_tensor(side->engine, 1, 5, 7, 3, 4),
                  dz = lf_tensor(side->engine, 1, 5, 7, 3, 4);
        lf_from_planar(&z, b.z);
        kn_loss_gradient(side->engine, &z, b.label, NULL, out.region, NULL, &c.config, &out.result,
                         -2, true, &dz);
        g_assert_true(kn_engine_check(side->engine, NULL));
        for (int64_t i = 0; i < b.n_px; i++)
            for (int k = 0; k < 3; k++)
                g_assert_true(lf_near(lf_get(&dz, i, k), 7 - 2 * out.grad[k * 35 + i],
                                      7 * side->atol, side->rtol));
        lf_tensor_free(&z);
        lf_tensor_free(&dz);
        lf_out_clear(&out);
    }
    batch_clear(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loss/grad-sums-to-zero", test_grad_sums_to_zero);
    g_test_add_func("/loss/weight-scale", test_weight_scale);
    g_test_add_func("/loss/equal-weights-are-plain", test_equal_weights_are_plain);
    g_test_add_func("/loss/cross-pseudo-supervision", test_cross_pseudo_supervision);
    g_test_add_func("/loss/masked-ce", test_masked_ce);
    g_test_add_func("/loss/compare", test_compare);
    g_test_add_func("/loss/gamma-extremes", test_gamma_extremes);
    g_test_add_func("/loss/swap", test_swap_touches_discrepant_only);
    g_test_add_func("/loss/unlabelled-is-blind", test_unlabelled_is_blind);
    g_test_add_func("/loss/empty-image", test_empty_image);
    g_test_add_func("/loss/nothing-left", test_nothing_left);
    g_test_add_func("/loss/nan-and-infinity", test_nan_and_infinity);
    g_test_add_func("/loss/truth", test_truth);
    g_test_add_func("/loss/finite-differences", test_finite_differences);
    g_test_add_func("/loss/mse", test_mse);
    g_test_add_func("/loss/accumulate", test_accumulate);
    int status = g_test_run();
    lf_close();
    return status;
}
