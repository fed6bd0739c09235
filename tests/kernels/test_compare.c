/* The comparison methods' losses: golden group E17 on both backends, gradients by 4-point central
 * differences on the reference, the f32 passes against it over odd shapes, class counts and hostile
 * values, the same bits from every instruction set and any number of threads. */
#include "base/rng.h"
#include "kernels/loss/compare_priv.h"
#include "kernels/cpu/loss_math.h"
#include "kernels/loss/loss_priv.h"
#include "tests/kernels/golden.h"
#include "tests/kernels/loss_fixture.h"

#include <math.h>
#include <string.h>

#define FOR_SIDES(side)                                                                            \
    for (const lf_side *side = lf_sides(); side < lf_sides() + LF_N_SIDES; side++)

typedef enum { KL, URPC, COSINE, ATTENTION, DCNET, RANK, SDCL, N_KINDS } kind;
static const char *const kind_names[N_KINDS] = {"kl",    "urpc", "cosine", "attention",
                                                "dcnet", "rank", "sdcl"};
static const int n_inputs[N_KINDS] = {2, 3, 2, 2, 2, 1, 1}; /* tensors */
static const int n_grads[N_KINDS] = {2, 3, 2, 1, 2, 1, 1};  /* of the first inputs */

/* One loss with all that it needs; arrays borrowed, planar. */
typedef struct {
    kind kind;
    int n, h, w, c, ldc; /* ldc 0: c */
    const double *z[3];
    const uint8_t *exclude, *label, *other, *pseudo;
    const double *agreement; /* (n,h·w) */
    const uint32_t *order;
    int64_t n_order;
    double threshold, weight[2];
    double scale;
    bool accumulate; /* onto the 7 that lf_tensor fills in */
    bool no_grad;
} call;

typedef struct {
    double loss[2];
    double *grad[3]; /* planar, owned */
} outcome;

static int64_t n_values(const call *a)
{
    return (int64_t)a->n * a->h * a->w * a->c;
}

static double run_kind(kn_engine *engine, const call *a, const kn_tensor *t,
                       const kn_tensor *const *dz, outcome *out)
{
    const kn_tensor *z[3] = {&t[0], &t[1], &t[2]};
    kn_tensor agreement = lf_tensor(engine, a->n, a->h, a->w, 1, 1), score = agreement;
    score = lf_tensor(engine, a->n, a->h, a->w, 1, 1);
    if (a->agreement)
        lf_from_planar(&agreement, a->agreement);
    switch (a->kind) {
    case KL:
        out->loss[0] =
            kn_loss_kl(engine, z[0], z[1], a->exclude, a->scale, a->accumulate, dz[0], dz[1]);
        break;
    case URPC:
        out->loss[0] = kn_loss_urpc(engine, z, 3, a->exclude, a->scale, a->accumulate, dz);
        break;
    case COSINE:
        out->loss[0] =
            kn_loss_cosine(engine, z[0], z[1], a->exclude, a->scale, a->accumulate, dz[0], dz[1]);
        break;
    case ATTENTION:
        out->loss[0] = kn_loss_attention(engine, z[0], z[1], a->scale, a->accumulate, dz[0]);
        break;
    case DCNET: {
        kn_dcnet_loss l = kn_loss_dcnet(engine, z[0], z[1], a->exclude, a->threshold, a->scale,
                                        0.5 * a->scale, a->accumulate, dz[0], dz[1]);
        out->loss[0] = l.decoupled;
        out->loss[1] = l.direct;
        break;
    }
    case RANK:
        out->loss[0] = kn_loss_rank(engine, z[0], agreement.data, a->order, a->n_order, score.data,
                                    a->scale, a->accumulate, dz[0]);
        break;
    case SDCL: {
        kn_sdcl_loss l = kn_loss_sdcl(engine, z[0], a->label, a->other, a->pseudo, a->weight,
                                      a->exclude, a->scale, 0.5 * a->scale, a->accumulate, dz[0]);
        out->loss[0] = l.mse;
        out->loss[1] = l.kl;
        break;
    }
    case N_KINDS:
        g_assert_not_reached();
    }
    lf_tensor_free(&agreement);
    lf_tensor_free(&score);
    return out->loss[0];
}

static outcome run(kn_engine *engine, const call *a)
{
    kn_tensor t[3] = {{0}}, d[3] = {{0}};
    const kn_tensor *dz[3] = {0};
    outcome out = {{0}, {0}};
    int ldc = a->ldc ? a->ldc : a->c;
    for (int i = 0; i < n_inputs[a->kind]; i++) {
        t[i] = lf_tensor(engine, a->n, a->h, a->w, a->c, ldc);
        d[i] = lf_tensor(engine, a->n, a->h, a->w, a->c, ldc);
        lf_from_planar(&t[i], a->z[i]);
        dz[i] = i < n_grads[a->kind] && !a->no_grad ? &d[i] : NULL;
    }
    run_kind(engine, a, t, dz, &out);
    for (int i = 0; i < n_inputs[a->kind]; i++) {
        if (dz[i]) {
            out.grad[i] = g_new(double, n_values(a));
            lf_to_planar(&d[i], out.grad[i]);
            for (int64_t px = 0; px < kn_pixels(&d[i]); px++)
                for (int k = a->c; k < ldc; k++)
                    g_assert_true(lf_get(&d[i], px, k) == 7); /* padding is not ours to write */
        }
        lf_tensor_free(&t[i]);
        lf_tensor_free(&d[i]);
    }
    return out;
}

static void outcome_clear(outcome *out)
{
    for (int i = 0; i < 3; i++)
        g_free(out->grad[i]);
}

static double largest(const double *v, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(v[i]));
    return most;
}

/* ---- golden ---------------------------------------------------------------------------------- */
static call golden_call(kind k)
{
    call a = {.kind = k, .n = 1, .h = 2, .w = 2, .c = 2, .scale = 1, .weight = {1, 0.5}};
    a.z[0] = golden_array("E17", "input", "z_a");
    a.z[1] = golden_array("E17", "input", "z_b");
    return a;
}

static void test_golden_kl(void)
{
    const char *key = "rdrop_sym_kl_class_axis_pixel_mean";
    FOR_SIDES(side)
    {
        call a = golden_call(KL);
        outcome out = run(side->engine, &a);
        lf_check(side, key, out.loss[0], golden_value("E17", "expected", key, "loss"));
        lf_check_array(side, key, out.grad[0], golden_array("E17", "expected", key, "grad_z1"), 8);
        lf_check_array(side, key, out.grad[1], golden_array("E17", "expected", key, "grad_z2"), 8);
        outcome_clear(&out);
    }
}

static void test_golden_uamt(void)
{
    const char *key = "uamt_T2_H0.62";
    static const char *const its[] = {"0", "15000", "30000"};
    for (int i = 0; i < 3; i++)
        lf_check(&lf_sides()[LF_REF], "H",
                 kn_uamt_threshold(2, g_ascii_strtod(its[i], NULL), 30000),
                 golden_value("E15", "expected", "uamt_threshold_C2", its[i]));
    FOR_SIDES(side)
    {
        kn_tensor t[5]; /* two teacher passes, student, mean, gradient */
        for (int i = 0; i < 5; i++)
            t[i] = lf_tensor(side->engine, 1, 2, 2, 2, 2);
        kn_tensor u = lf_tensor(side->engine, 1, 2, 2, 1, 1);
        uint8_t unsure[4];
        double grad[8], entropy[4];
        lf_from_planar(&t[0], golden_array("E17", "input", "z_a"));
        lf_from_planar(&t[1], golden_array("E17", "expected", key, "z_teacher_pass2"));
        lf_from_planar(&t[2], golden_array("E17", "input", "z_b"));
        kn_prob_add(side->engine, &t[0], 0.5, false, &t[3]);
        kn_prob_add(side->engine, &t[1], 0.5, true, &t[3]);
        int64_t sure = kn_uncertainty(side->engine, &t[3], NULL, 0.62, unsure, u.data);
        lf_to_planar(&u, entropy);
        lf_check_array(side, "U", entropy, golden_array("E17", "expected", key, "uncertainty"), 4);
        const double *mask = golden_array("E17", "expected", key, "mask");
        int64_t want = 0;
        for (int i = 0; i < 4; i++) {
            g_assert_cmpint(unsure[i], ==, mask[i] > 0 ? 0 : 255);
            want += mask[i] > 0;
        }
        g_assert_cmpint(sure, ==, want);
        double loss = kn_loss_mse(side->engine, &t[2], &t[0], unsure, 1, false, &t[4]);
        lf_to_planar(&t[4], grad);
        lf_check(side, key, loss, golden_value("E17", "expected", key, "loss"));
        lf_check_array(side, key, grad, golden_array("E17", "expected", key, "grad_z_student"), 8);
        static const uint8_t first_out[4] = {255, 0, 0, 0};
        g_assert_cmpint(kn_uncertainty(side->engine, &t[3], first_out, 99, unsure, NULL), ==, 3);
        g_assert_true(unsure[0] == 255 && unsure[1] == 0);
        for (int i = 0; i < 5; i++)
            lf_tensor_free(&t[i]);
        lf_tensor_free(&u);
    }
}

/* Two heads, as the example has it. */
static void test_golden_urpc(void)
{
    const char *key = "urpc_two_scales_grad_through_mean";
    FOR_SIDES(side)
    {
        kn_tensor t[2], d[2];
        double grad[8];
        for (int i = 0; i < 2; i++) {
            t[i] = lf_tensor(side->engine, 1, 2, 2, 2, 2);
            d[i] = lf_tensor(side->engine, 1, 2, 2, 2, 2);
            lf_from_planar(&t[i], golden_array("E17", "input", i ? "z_b" : "z_a"));
        }
        const kn_tensor *z[2] = {&t[0], &t[1]}, *dz[2] = {&d[0], &d[1]};
        lf_check(side, key, kn_loss_urpc(side->engine, z, 2, NULL, 1, false, dz),
                 golden_value("E17", "expected", key, "loss"));
        for (int i = 0; i < 2; i++) {
            lf_to_planar(&d[i], grad);
            lf_check_array(side, key, grad,
                           golden_array("E17", "expected", key, i ? "grad_z2" : "grad_z1"), 8);
            lf_tensor_free(&t[i]);
            lf_tensor_free(&d[i]);
        }
    }
}

static void test_golden_features(void)
{
    FOR_SIDES(side)
    {
        call a = golden_call(COSINE);
        a.z[0] = golden_array("E17", "expected", "ccvc", "feature1");
        a.z[1] = golden_array("E17", "expected", "ccvc", "feature2");
        outcome out = run(side->engine, &a);
        lf_check(side, "discrepancy", out.loss[0],
                 golden_value("E17", "expected", "ccvc", "discrepancy"));
        lf_check_array(side, "df1", out.grad[0], golden_array("E17", "expected", "ccvc", "grad_f1"),
                       8);
        lf_check_array(side, "df2", out.grad[1], golden_array("E17", "expected", "ccvc", "grad_f2"),
                       8);
        outcome_clear(&out);
        a.kind = ATTENTION;
        a.z[0] = golden_array("E17", "expected", "dcnet", "feat_student");
        a.z[1] = golden_array("E17", "expected", "dcnet", "feat_teacher");
        out = run(side->engine, &a);
        lf_check(side, "attention", out.loss[0],
                 golden_value("E17", "expected", "dcnet", "attention_loss"));
        lf_check_array(side, "attention grad", out.grad[0],
                       golden_array("E17", "expected", "dcnet", "grad_feat_student"), 8);
        outcome_clear(&out);
    }
}

static void test_golden_dcnet(void)
{
    const double *means = golden_array("E17", "expected", "dcnet", "mean_max");
    double mu = kn_dcnet_threshold(golden_value("E17", "expected", "dcnet", "threshold_prev"),
                                   golden_value("E17", "expected", "dcnet", "progress"), means[0],
                                   means[1], 0.25, 0.95);
    lf_check(&lf_sides()[LF_REF], "threshold", mu,
             golden_value("E17", "expected", "dcnet", "threshold"));
    g_assert_true(kn_dcnet_threshold(0.5, 1, 0.99, 0.98, 0.25, 0.95) == 0.95);
    g_assert_true(kn_dcnet_threshold(0.5, 1, 0.2, 0.98, 0.25, 0.95) == 0.25);
    FOR_SIDES(side)
    for (int direct = 0; direct < 2; direct++) { /* one term's gradient, then both */
        call a = golden_call(DCNET);
        a.threshold = mu;
        kn_tensor t[4]; /* z1, z2, gradients */
        for (int i = 0; i < 4; i++)
            t[i] = lf_tensor(side->engine, 1, 2, 2, 2, 2);
        lf_from_planar(&t[0], a.z[0]);
        lf_from_planar(&t[1], a.z[1]);
        kn_dcnet_loss l = kn_loss_dcnet(side->engine, &t[0], &t[1], NULL, mu, !direct, direct,
                                        false, &t[2], &t[3]);
        lf_check(side, "dc", l.decoupled, golden_value("E17", "expected", "dcnet", "dc_loss"));
        lf_check(side, "cer", l.direct, golden_value("E17", "expected", "dcnet", "cer_loss"));
        for (int i = 0; i < 2; i++) {
            double grad[8];
            const char *keys[2][2] = {{"grad_dc_z1", "grad_dc_z2"}, {"grad_cer_z1", "grad_cer_z2"}};
            lf_to_planar(&t[2 + i], grad);
            lf_check_array(side, keys[direct][i], grad,
                           golden_array("E17", "expected", "dcnet", keys[direct][i]), 8);
        }
        for (int i = 0; i < 4; i++)
            lf_tensor_free(&t[i]);
    }
}

/* The example is on scores: two classes with logits log(s/(1-s)), 0 have them. */
static void test_golden_rank(void)
{
    static const uint32_t order[4] = {0, 1, 2, 3};
    const double *score = golden_array("E17", "expected", "ceud_rank_shift1", "score");
    const double *want = golden_array("E17", "expected", "ceud_rank_shift1", "grad_score");
    double z[8] = {0};
    for (int i = 0; i < 4; i++)
        z[i] = log(score[i] / (1 - score[i]));
    FOR_SIDES(side)
    {
        call a = golden_call(RANK);
        a.z[0] = z;
        a.order = order;
        a.n_order = 4;
        a.agreement = golden_array("E17", "expected", "ceud_rank_shift1", "consistency");
        outcome out = run(side->engine, &a);
        lf_check(side, "rank", out.loss[0],
                 golden_value("E17", "expected", "ceud_rank_shift1", "loss"));
        for (int i = 0; i < 4; i++) { /* ds/dz0 = s(1-s) */
            lf_check(side, "rank grad", out.grad[0][i], want[i] * score[i] * (1 - score[i]));
            lf_check(side, "rank grad", out.grad[0][4 + i], -want[i] * score[i] * (1 - score[i]));
        }
        outcome_clear(&out);
    }
}

static void test_golden_sdcl(void)
{
    const double *y = golden_array("E17", "expected", "sdcl_correction", "label");
    const double *other = golden_array("E02", "expected", "y_sup");
    uint8_t label[4], y_other[4];
    for (int i = 0; i < 4; i++) {
        label[i] = (uint8_t)y[i];
        y_other[i] = (uint8_t)other[i];
    }
    FOR_SIDES(side)
    for (int kl = 0; kl < 2; kl++) {
        static const double weight[2] = {1, 0.5};
        double grad[8];
        kn_tensor z = lf_tensor(side->engine, 1, 2, 2, 2, 2);
        kn_tensor dz = lf_tensor(side->engine, 1, 2, 2, 2, 2);
        lf_from_planar(&z, golden_array("E17", "input", "z_a"));
        kn_sdcl_loss l =
            kn_loss_sdcl(side->engine, &z, label, y_other, NULL, weight, NULL, !kl, kl, false, &dz);
        lf_to_planar(&dz, grad);
        lf_check(side, "mse", l.mse, golden_value("E17", "expected", "sdcl_correction", "mse"));
        lf_check(side, "kl", l.kl, golden_value("E17", "expected", "sdcl_correction", "kl"));
        lf_check_array(
            side, "grad", grad,
            golden_array("E17", "expected", "sdcl_correction", kl ? "grad_kl" : "grad_mse"), 8);
        lf_tensor_free(&z);
        lf_tensor_free(&dz);
    }
}

/* ---- random cases ---------------------------------------------------------------------------- */
typedef struct {
    call call;
    double *z[3], *agreement;
    uint8_t *bytes[4];
    uint32_t *order;
} random_case;

/* Logits that are floats, no two of a pixel nearer than `apart`, so that argmaxes are the same in
 * both precisions and under small moves. */
static void fill_logits(double *z, const call *a, double spread, double apart, qs_rng *rng)
{
    int64_t hw = (int64_t)a->h * a->w;
    for (int64_t i = 0; i < n_values(a); i++) {
        double x = spread * qs_rng_normal(rng);
        if (apart > 0)
            x = 4 * apart * round(x / (4 * apart)) + apart * (double)(i / hw % a->c) / a->c * 2;
        z[i] = (float)x;
    }
}

static random_case random_create(kind k, int n, int h, int w, int c, double spread, double apart,
                                 uint64_t seed)
{
    random_case r = {.call = {.kind = k,
                              .n = n,
                              .h = h,
                              .w = w,
                              .c = c,
                              .scale = 1,
                              .threshold = 0.4,
                              .weight = {1, 0.5}}};
    call *a = &r.call;
    int64_t n_px = (int64_t)n * h * w;
    qs_rng rng;
    qs_rng_init(&rng, seed, (uint64_t)k);
    for (int i = 0; i < n_inputs[k]; i++) {
        a->z[i] = r.z[i] = g_new(double, n_values(a));
        fill_logits(r.z[i], a, spread, apart, &rng);
    }
    for (int i = 0; i < 4; i++)
        r.bytes[i] = g_malloc((size_t)n_px);
    r.agreement = g_new(double, n_px);
    r.order = g_new(uint32_t, n_px);
    for (int64_t i = 0; i < n_px; i++) {
        r.bytes[0][i] = qs_rng_below(&rng, 8) ? (uint8_t)qs_rng_below(&rng, 200) : 255;
        r.bytes[1][i] = qs_rng_below(&rng, 8) ? (uint8_t)qs_rng_below(&rng, (uint32_t)c) : 255;
        r.bytes[2][i] = (uint8_t)qs_rng_below(&rng, (uint32_t)c);
        r.bytes[3][i] = (uint8_t)qs_rng_below(&rng, 2);
        r.agreement[i] = (float)qs_rng_below(&rng, 5) / 4;
        r.order[i] = (uint32_t)i;
    }
    for (int64_t i = n_px - 1; i > 0; i--) {
        int64_t j = qs_rng_below(&rng, (uint32_t)i + 1);
        uint32_t was = r.order[i];
        r.order[i] = r.order[j];
        r.order[j] = was;
    }
    a->exclude = k == ATTENTION || k == RANK ? NULL : r.bytes[0];
    a->label = r.bytes[1];
    a->other = r.bytes[2];
    a->pseudo = r.bytes[3];
    a->agreement = r.agreement;
    a->order = r.order;
    a->n_order = n_px - n_px / 5;
    return r;
}

static void random_clear(random_case *r)
{
    for (int i = 0; i < 3; i++)
        g_free(r->z[i]);
    for (int i = 0; i < 4; i++)
        g_free(r->bytes[i]);
    g_free(r->agreement);
    g_free(r->order);
}

/* ---- finite differences ---------------------------------------------------------------------- */
static void sharp(const double *z, int64_t hw, int c, double *h)
{
    double sum = 0;
    for (int k = 0; k < c; k++)
        sum += exp(2 * z[k * hw]);
    for (int k = 0; k < c; k++)
        h[k] = exp(2 * z[k * hw]) / sum;
}

static void probabilities(const double *z, int64_t hw, int c, double *p)
{
    double sum = 0;
    for (int k = 0; k < c; k++)
        sum += exp(z[k * hw]);
    for (int k = 0; k < c; k++)
        p[k] = exp(z[k * hw]) / sum;
}

/* DCNet with its targets and masks from `frozen`, written down a second time: what the gradient is
 * the gradient of. */
static double frozen_dcnet(const call *live, const call *frozen)
{
    int64_t hw = (int64_t)live->h * live->w, counted = 0;
    int c = live->c;
    double dc = 0, cer = 0;
    for (int64_t i = 0; i < live->n * hw; i++) {
        double p[2][5], sure[2][5], h[2][5];
        int64_t at = i / hw * c * hw + i % hw;
        if (live->exclude[i] == 255)
            continue;
        counted++;
        for (int s = 0; s < 2; s++) {
            probabilities(frozen->z[s] + at, hw, c, p[s]);
            sharp(frozen->z[s] + at, hw, c, sure[s]);
            sharp(live->z[s] + at, hw, c, h[s]);
        }
        for (int s = 0; s < 2; s++) {
            int target = 0;
            double best = 0, sum = 0, u[5];
            for (int k = 0; k < c; k++) {
                bool high = p[0][k] > live->threshold && p[1][k] > live->threshold;
                double t = high ? p[1 - s][k] : 0, d = h[s][k] - sure[1 - s][k];
                target = t > best ? k : target;
                best = fmax(best, t);
                u[k] = high ? live->z[s][at + k * hw] : 0;
                sum += exp(u[k]);
                dc += !high && p[1 - s][k] > p[s][k] ? d * d : 0;
            }
            cer += log(sum) - u[target];
        }
    }
    return live->scale * (dc / (double)(counted * c) + 0.5 * cer / (double)counted);
}

/* What the gradient of input `i` is the gradient of. */
static double value_of(const call *live, const call *frozen)
{
    if (live->kind == DCNET)
        return frozen_dcnet(live, frozen);
    call a = *live;
    a.no_grad = true;
    outcome out = run(lf_sides()[LF_REF].engine, &a);
    if (live->kind == COSINE)
        return 0.5 * out.loss[0];
    return out.loss[0] + (live->kind == SDCL ? 0.5 * out.loss[1] : 0);
}

static double worst_difference(const random_case *r, const outcome *out)
{
    static const double step[] = {1, -1, 2, -2}, factor[] = {8, -8, -1, 1};
    const call *frozen = &r->call;
    bool feature = frozen->kind == COSINE || frozen->kind == ATTENTION; /* curved near 0 */
    const double h = feature ? 2e-4 : 1e-3;
    double worst = 0;
    for (int input = 0; input < n_grads[frozen->kind]; input++) {
        g_autofree double *moved =
            g_memdup2(r->z[input], sizeof(double) * (size_t)n_values(frozen));
        call live = *frozen;
        live.z[input] = moved;
        for (int64_t i = 0; i < n_values(frozen); i++) {
            double sum = 0;
            for (int k = 0; k < 4; k++) {
                moved[i] = r->z[input][i] + step[k] * h;
                sum += factor[k] * value_of(&live, frozen);
            }
            moved[i] = r->z[input][i];
            double error = fabs(sum / (12 * h) - out->grad[input][i]);
            worst = error <= worst ? worst : error; /* a NaN stays */
        }
    }
    return worst / largest(out->grad[0], n_values(frozen));
}

static void test_finite_differences(void)
{
    for (int k = 0; k < N_KINDS; k++)
        for (int c = 2; c <= 5; c++) {
            random_case r =
                random_create((kind)k, 2, 3, 3, c, 1.2, k == COSINE ? 0 : 0.02, 50 + (uint64_t)c);
            outcome out = run(lf_sides()[LF_REF].engine, &r.call);
            double worst = worst_difference(&r, &out);
            g_test_message("%s, %d classes: %.2g", kind_names[k], c, worst);
            g_assert_true(worst <= 1e-9);
            g_assert_true(out.loss[0] > 0 && largest(out.grad[0], n_values(&r.call)) > 0);
            out.grad[0][4] += 1e-3 * largest(out.grad[0], n_values(&r.call)); /* must be seen */
            g_assert_false(worst_difference(&r, &out) <= 1e-9);
            outcome_clear(&out);
            random_clear(&r);
        }
}

/* ---- CPU against the reference --------------------------------------------------------------- */
static void check_against_reference(random_case *r, double spread)
{
    outcome ref = run(lf_sides()[LF_REF].engine, &r->call);
    outcome cpu = run(lf_sides()[LF_CPU].engine, &r->call);
    const double tol = 1e-5; /* f32 sums over a few hundred terms of cancelling differences */
    for (int l = 0; l < 2; l++)
        if (!lf_near(cpu.loss[l], ref.loss[l], tol, tol)) {
            g_test_message("%s (%d,%d,%d,%d) spread %g: loss %d is %.9g, want %.9g",
                           kind_names[r->call.kind], r->call.n, r->call.h, r->call.w, r->call.c,
                           spread, l, cpu.loss[l], ref.loss[l]);
            g_test_fail();
        }
    for (int i = 0; i < n_grads[r->call.kind]; i++) {
        int64_t n = n_values(&r->call);
        double scale = largest(ref.grad[i], n);
        /* where all cancels, a pixel's terms (1/pixels) leave their rounding */
        double floor_of = 1e-2 * r->call.c / (double)n;
        int64_t far = lf_first_far(cpu.grad[i], ref.grad[i], n, tol * fmax(scale, floor_of), tol);
        if (far >= 0) {
            g_test_message("%s (%d,%d,%d,%d) spread %g: gradient %d [%d] is %.9g, want %.9g of %g",
                           kind_names[r->call.kind], r->call.n, r->call.h, r->call.w, r->call.c,
                           spread, i, (int)far, cpu.grad[i][far], ref.grad[i][far], scale);
            g_test_fail();
        }
    }
    outcome_clear(&ref);
    outcome_clear(&cpu);
}

static void test_against_reference(void)
{
    static const int shapes[][4] = {{1, 1, 1, 2},  {2, 7, 33, 2},  {1, 16, 16, 3},
                                    {3, 33, 7, 5}, {1, 97, 93, 2}, {1, 31, 17, 4}};
    static const double spreads[] = {3, 0, 300, 1e4};
    for (int k = 0; k < N_KINDS; k++)
        for (size_t s = 0; s < G_N_ELEMENTS(shapes); s++)
            for (size_t v = 0; v < G_N_ELEMENTS(spreads); v++) {
                const int *x = shapes[s];
                random_case r = random_create((kind)k, x[0], x[1], x[2], x[3], spreads[v],
                                              spreads[v] / 64, 70 + s);
                r.call.ldc = s % 2 ? x[3] : x[3] + 3;
                check_against_reference(&r, spreads[v]);
                r.call.exclude = NULL;
                check_against_reference(&r, spreads[v]);
                random_clear(&r);
            }
}

/* Nothing counts: no loss, no gradient, whatever is in the excluded pixels. */
static void test_nothing_left(void)
{
    FOR_SIDES(side)
    for (int k = 0; k < N_KINDS; k++) {
        if (k == ATTENTION)
            continue; /* has no pixels to leave out */
        random_case r = random_create((kind)k, 1, 5, 7, 3, 2, 0.02, 80);
        memset(r.bytes[0], 255, 35);
        r.call.n_order = 0;
        outcome out = run(side->engine, &r.call);
        g_assert_true(out.loss[0] == 0 && out.loss[1] == 0);
        for (int i = 0; i < n_grads[k]; i++)
            for (int64_t v = 0; v < n_values(&r.call); v++)
                g_assert_true(out.grad[i][v] == 0);
        outcome_clear(&out);
        random_clear(&r);
    }
}

/* Gradients accumulate onto what is there, scaled; a NaN comes out. */
static void test_accumulate_and_nan(void)
{
    FOR_SIDES(side)
    for (int k = 0; k < N_KINDS; k++) {
        random_case r = random_create((kind)k, 2, 5, 7, 3, 2, 0.02, 90);
        outcome once = run(side->engine, &r.call);
        r.call.accumulate = true;
        r.call.scale = -2;
        outcome onto = run(side->engine, &r.call);
        for (int i = 0; i < n_grads[k]; i++)
            for (int64_t v = 0; v < n_values(&r.call); v++)
                g_assert_true(
                    lf_near(onto.grad[i][v], 7 - 2 * once.grad[i][v], 7 * side->atol, side->rtol));
        r.call.exclude = NULL;
        r.call.other = r.call.label; /* D is then where z differs from the label */
        for (int64_t v = 0; v < n_values(&r.call); v++)
            r.z[0][v] = NAN;
        outcome nan = run(side->engine, &r.call);
        g_assert_true(isnan(nan.loss[0]));
        outcome_clear(&once);
        outcome_clear(&onto);
        outcome_clear(&nan);
        random_clear(&r);
    }
}

/* ---- the same bits --------------------------------------------------------------------------- */
static void check_same(const outcome *a, const outcome *b, const call *c)
{
    g_assert_true(memcmp(a->loss, b->loss, sizeof a->loss) == 0);
    for (int i = 0; i < n_grads[c->kind]; i++)
        g_assert_true(memcmp(a->grad[i], b->grad[i], sizeof(double) * (size_t)n_values(c)) == 0);
}

static void test_thread_counts(void)
{
    static const int counts[] = {1, 2, 5};
    for (int k = 0; k < N_KINDS; k++) {
        random_case r = random_create((kind)k, 3, 131, 127, 2, 2, 0.02, 91);
        outcome first = {{0}, {0}};
        for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
            g_autoptr(GError) error = NULL;
            kn_engine_options options = {.backend = "cpu", .n_threads = counts[i]};
            kn_engine *engine = kn_engine_create(&options, &error);
            g_assert_no_error(error);
            outcome out = run(engine, &r.call);
            kn_engine_destroy(engine);
            if (i > 0) {
                check_same(&first, &out, &r.call);
                outcome_clear(&out);
            } else {
                first = out;
            }
        }
        outcome_clear(&first);
        random_clear(&r);
    }
}

/* Every table's pass on the same pixels: sums and gradients bit for bit. */
static void test_instruction_sets(void)
{
    kn_engine *engine = lf_sides()[LF_CPU].engine;
    random_case r = random_create(DCNET, 1, 10, 100, 3, 2, 0, 92);
    kn_tensor t[2], d[2][2];
    for (int i = 0; i < 2; i++) {
        t[i] = lf_tensor(engine, 1, 10, 100, 3, 3);
        lf_from_planar(&t[i], r.z[i]);
        for (int v = 0; v < 2; v++)
            d[v][i] = lf_tensor(engine, 1, 10, 100, 3, 3);
    }
    for (int table = 1; kn_cpu_loss_ops_at(table); table++) {
        double sums[2][4][KN_COMPARE_SUMS] = {{{0}}};
        for (int v = 0; v < 2; v++) {
            const kn_compare_ops *ops = kn_cpu_loss_ops_at(v ? table : 0)->compare;
            const kn_tensor *z[2] = {&t[0], &t[1]}, *dz[2] = {&d[v][0], &d[v][1]};
            kn_kl_args kl = {.z1 = &t[0], .z2 = &t[1], .dz1 = dz[0], .dz2 = dz[1], .grad_scale = 1};
            kn_urpc_args urpc = {.z = z,
                                 .dz = dz,
                                 .n_scales = 2,
                                 .by.q = {1, 2},
                                 .by.e = {0.3, 0.4},
                                 .by.v = 0.5,
                                 .accumulate = true};
            kn_dcnet_args dcnet = {.z1 = z[0],
                                   .z2 = z[1],
                                   .dz1 = dz[0],
                                   .dz2 = dz[1],
                                   .threshold = 0.4,
                                   .decoupled_scale = 0.3,
                                   .direct_scale = 0.7,
                                   .accumulate = true};
            kn_cosine_args cosine = {.f1 = z[0],
                                     .f2 = z[1],
                                     .df1 = dz[0],
                                     .df2 = dz[1],
                                     .grad_scale = 1,
                                     .accumulate = true};
            ops->kl(&kl, 0, 1000, sums[v][0]);
            ops->urpc_sums(&urpc, 0, 1000, sums[v][1]);
            ops->urpc_grad(&urpc, 0, 1000, sums[v][1]);
            ops->dcnet(&dcnet, 0, 1000, sums[v][2]);
            ops->cosine(&cosine, 0, 1000, sums[v][3]);
        }
        g_assert_true(memcmp(sums[0], sums[1], sizeof sums[0]) == 0 && sums[0][0][0] != 0);
        for (int i = 0; i < 2; i++)
            g_assert_true(memcmp(d[0][i].data, d[1][i].data, 3000 * sizeof(float)) == 0);
    }
    for (int i = 0; i < 2; i++) {
        lf_tensor_free(&t[i]);
        for (int v = 0; v < 2; v++)
            lf_tensor_free(&d[v][i]);
    }
    random_clear(&r);
}

static void test_log(void)
{
    double worst = 0;
    for (uint32_t bits = 0x00800000u; bits < 0x7F800000u; bits += 5003) {
        double x = (double)kn_bits_f32(bits), want = log(x);
        double error = fabs((double)kn_logf((float)x) - want) / fmax(fabs(want), 1);
        worst = error <= worst ? worst : error;
    }
    g_test_message("log: %.3g", worst);
    g_assert_true(worst <= 1e-7);
    g_assert_true(kn_logf(1.0f) == 0.0f && isnan(kn_logf(NAN)));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/compare/golden-kl", test_golden_kl);
    g_test_add_func("/compare/golden-uamt", test_golden_uamt);
    g_test_add_func("/compare/golden-urpc", test_golden_urpc);
    g_test_add_func("/compare/golden-features", test_golden_features);
    g_test_add_func("/compare/golden-dcnet", test_golden_dcnet);
    g_test_add_func("/compare/golden-rank", test_golden_rank);
    g_test_add_func("/compare/golden-sdcl", test_golden_sdcl);
    g_test_add_func("/compare/finite-differences", test_finite_differences);
    g_test_add_func("/compare/against-reference", test_against_reference);
    g_test_add_func("/compare/nothing-left", test_nothing_left);
    g_test_add_func("/compare/accumulate-and-nan", test_accumulate_and_nan);
    g_test_add_func("/compare/thread-counts", test_thread_counts);
    g_test_add_func("/compare/instruction-sets", test_instruction_sets);
    g_test_add_func("/compare/log", test_log);
    int status = g_test_run();
    lf_close();
    golden_close();
    return status;
}
