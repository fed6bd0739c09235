/* The golden examples that touch the loss, the thresholds, the schedules and the optimiser: groups
 * E01-E16, E19 and of E17 Mean Teacher and CCVC's consistency, in the f64 reference and the f32
 * backend. Integers (regions, argmaxes, counts) are compared exactly. The other losses of E17 are
 * test_compare's. */
#include "kernels/engine/ops.h"
#include "tests/kernels/golden.h"
#include "tests/kernels/loss_fixture.h"

#include <math.h>
#include <string.h>

#define FOR_SIDES(side)                                                                            \
    for (const lf_side *side = lf_sides(); side < lf_sides() + LF_N_SIDES; side++)

static void check_codes(const lf_side *side, const char *what, const uint8_t *got,
                        const double *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int wanted = want[i] < 0 ? KN_REGION_EXCLUDED : (int)want[i];
        if (got[i] == wanted)
            continue;
        g_test_message("%s: %s[%d] is %d, want %d", side->name, what, (int)i, got[i], wanted);
        g_test_fail();
        return;
    }
}

static void set_gamma(lf_case *c, const double *gamma)
{
    memcpy(c->config.gamma, gamma, sizeof(double) * (size_t)c->c);
}

static void set_weights(lf_case *c, double delta, kn_partition partition, bool labelled)
{
    c->config.labelled = labelled;
    kn_region_weights(KN_PHI_GAUSS, 3, delta, partition, labelled, c->config.weights);
}

/* One 2×2 image with the reference of `group`'s input z_ref. */
static lf_case case_of(const char *group, const char *z, int n_classes)
{
    lf_case c;
    lf_case_init(&c, 1, 2, 2, n_classes, golden_array(group, "input", "z_ref"),
                 golden_array(group, "input", z));
    set_gamma(&c, golden_array(group, "input", "gamma"));
    return c;
}

static void labels_of(const char *group, uint8_t label[4])
{
    const double *y = golden_array(group, "input", "y_star");
    for (int i = 0; i < 4; i++)
        label[i] = (uint8_t)y[i];
}

static void test_e01(void)
{
    static const struct {
        const char *name;
        kn_phi phi;
        double beta;
    } phis[] = {{"gauss_b1", KN_PHI_GAUSS, 1},        {"gauss_b2", KN_PHI_GAUSS, 2},
                {"gauss_b3", KN_PHI_GAUSS, 3},        {"linear", KN_PHI_LINEAR, 0},
                {"reciprocal", KN_PHI_RECIPROCAL, 0}, {"cosine", KN_PHI_COSINE, 0}};
    static const double deltas[] = {0.2, 0.3, 0.5, 0.6};
    const lf_side *ref = &lf_sides()[LF_REF];
    for (size_t p = 0; p < G_N_ELEMENTS(phis); p++)
        for (size_t d = 0; d < G_N_ELEMENTS(deltas); d++) {
            g_autofree char *key = g_strdup_printf("%s_d%.1f", phis[p].name, deltas[d]);
            double w[KN_N_REGIONS];
            kn_region_weights(phis[p].phi, phis[p].beta, deltas[d], KN_PARTITION_QUAD, false, w);
            lf_check_array(ref, key, w,
                           golden_array("E01", "expected", key, "unlabelled_UC_US_DC_DS"), 4);
            kn_region_weights(phis[p].phi, phis[p].beta, deltas[d], KN_PARTITION_QUAD, true, w);
            lf_check_array(ref, key, w,
                           golden_array("E01", "expected", key, "labelled_UC_US_DC_DS"), 4);
        }
}

static void check_uqh(const char *group, int n_classes, double delta)
{
    FOR_SIDES(side)
    {
        lf_case c = case_of(group, "z_sup", n_classes);
        set_weights(&c, delta, KN_PARTITION_QUAD, false);
        lf_out out = lf_run(side->engine, &c);
        check_codes(side, "y_ref", out.ref.y, golden_array(group, "expected", "y_ref"), 4);
        check_codes(side, "region", out.region, golden_array(group, "expected", "region"), 4);
        lf_check_array(side, "conf", out.conf, golden_array(group, "expected", "conf"), 4);
        lf_check(side, "Z", out.result.z, golden_value(group, "expected", "Z"));
        lf_check(side, "loss", out.result.loss, golden_value(group, "expected", "loss"));
        lf_check_array(side, "grad", out.grad, golden_array(group, "expected", "grad_z_sup"),
                       4 * n_classes);
        lf_out_clear(&out);
    }
}

static void test_e02(void)
{
    check_uqh("E02", 2, 0.6);
}

static void test_e03(void)
{
    check_uqh("E03", 3, 0.3);
}

static void test_e04(void)
{
    uint8_t label[4];
    labels_of("E04", label);
    static const char *const keys[] = {"delta_l_0.3", "delta_l_0.6"};
    FOR_SIDES(side)
    for (int k = 0; k < 2; k++) {
        lf_case c = case_of("E04", "z", 2);
        c.label = label;
        set_weights(&c, k ? 0.6 : 0.3, KN_PARTITION_QUAD, true);
        lf_out out = lf_run(side->engine, &c);
        check_codes(side, "region", out.region, golden_array("E04", "expected", keys[k], "region"),
                    4);
        lf_check(side, "Z", out.result.z, golden_value("E04", "expected", keys[k], "Z"));
        lf_check(side, "loss", out.result.loss, golden_value("E04", "expected", keys[k], "loss"));
        lf_check_array(side, "grad", out.grad, golden_array("E04", "expected", keys[k], "grad_z"),
                       8);
        lf_out_clear(&out);
    }
}

/* The Dice part alone (ce_scale 0) against loss, per-class ratios and gradient under `key`. */
static void check_dice(const lf_side *side, lf_case *c, const char *group, const char *key)
{
    c->config.ce_scale = 0;
    lf_out out = lf_run(side->engine, c);
    double ratio[QS_CLASSES_MAX];
    for (int k = 0; k < c->c; k++)
        ratio[k] = out.result.dice_n[k] / out.result.dice_d[k];
    lf_check(side, key, out.result.loss, golden_value(group, "expected", key, "loss"));
    lf_check_array(side, key, ratio, golden_array(group, "expected", key, "dice_per_class"), c->c);
    lf_check_array(side, key, out.grad, golden_array(group, "expected", key, "grad_z"), 4 * c->c);
    lf_out_clear(&out);
}

static void test_e05(void)
{
    uint8_t label[4];
    labels_of("E05", label);
    static const struct {
        const char *key;
        double delta, eps;
        kn_dice form;
    } forms[] = {{"delta_l_0.3_linear_eps0", 0.3, 0, KN_DICE_LINEAR},
                 {"delta_l_0.3_linear_eps1e-05", 0.3, 1e-5, KN_DICE_LINEAR},
                 {"delta_l_0.3_square_eps1e-05", 0.3, 1e-5, KN_DICE_SQUARE},
                 {"delta_l_0.6_linear_eps0", 0.6, 0, KN_DICE_LINEAR},
                 {"delta_l_0.6_linear_eps1e-05", 0.6, 1e-5, KN_DICE_LINEAR},
                 {"delta_l_0.6_square_eps1e-05", 0.6, 1e-5, KN_DICE_SQUARE}};
    FOR_SIDES(side)
    for (size_t f = 0; f < G_N_ELEMENTS(forms); f++) {
        lf_case c = case_of("E05", "z", 2);
        c.label = label;
        set_weights(&c, forms[f].delta, KN_PARTITION_QUAD, true);
        c.config.dice = forms[f].form;
        c.config.dice_eps = forms[f].eps;
        check_dice(side, &c, "E05", forms[f].key);
    }
}

static void test_e06(void)
{
    uint8_t label[4];
    labels_of("E06", label);
    FOR_SIDES(side)
    {
        lf_case c = case_of("E06", "z", 3);
        c.label = label;
        set_weights(&c, 0.3, KN_PARTITION_QUAD, true);
        lf_out out = lf_run(side->engine, &c);
        check_codes(side, "region", out.region, golden_array("E06", "expected", "region"), 4);
        lf_check(side, "ce", out.result.loss, golden_value("E06", "expected", "ce", "loss"));
        lf_check(side, "Z", out.result.z, golden_value("E06", "expected", "ce", "Z"));
        lf_check_array(side, "ce grad", out.grad, golden_array("E06", "expected", "ce", "grad_z"),
                       12);
        lf_out_clear(&out);

        c.config.dice = KN_DICE_LINEAR;
        out = lf_run(side->engine, &c);
        lf_check(side, "total", out.result.loss,
                 golden_value("E06", "expected", "lqh_total_eps1e-5", "loss"));
        lf_check_array(side, "total grad", out.grad,
                       golden_array("E06", "expected", "lqh_total_eps1e-5", "grad_z"), 12);
        lf_out_clear(&out);

        check_dice(side, &c, "E06", "dice_eps1e-05");
        c.config.dice_eps = 0;
        check_dice(side, &c, "E06", "dice_eps0");
    }
}

/* Pass 1 on logits log p, whose softmax is p. */
static kn_reference reference_of(const lf_side *side, const double *p, int n_classes,
                                 kn_confidence confidence, double conf[4], uint8_t y[4])
{
    double z[4 * 3];
    for (int i = 0; i < 4 * n_classes; i++)
        z[i] = log(p[i]);
    kn_tensor t = lf_tensor(side->engine, 1, 2, 2, n_classes, n_classes);
    kn_tensor conf_t = lf_tensor(side->engine, 1, 2, 2, 1, 1);
    lf_from_planar(&t, z);
    kn_reference ref = {.y = y, .conf = conf_t.data};
    kn_loss_reference(side->engine, &t, confidence, NULL, &ref);
    lf_to_planar(&conf_t, conf);
    lf_tensor_free(&t);
    lf_tensor_free(&conf_t);
    ref.conf = NULL;
    return ref;
}

/* n updates from γ0 against the golden rows under `key`. */
static void check_gamma(const lf_side *side, const kn_reference *ref, int n_classes, double gamma0,
                        double a, kn_absent absent, const char *key)
{
    int64_t n;
    const double *want = golden_numbers(&n, "E07", "expected", key, NULL);
    double gamma[3] = {gamma0, gamma0, gamma0};
    for (int64_t row = 0; row < n / n_classes; row++) {
        kn_gamma_update(gamma, n_classes, ref, a, absent);
        lf_check_array(side, key, gamma, want + row * n_classes, n_classes);
    }
}

static void test_e07(void)
{
    static const struct {
        const char *p, *n_key, *gamma_key; /* of each a */
        int n_classes;
    } preds[] = {{"p_ref_E02", "n_E02", "E02_from0.5_anew%g", 2},
                 {"p_ref_E03", "n_E03", "E03_from0.5_anew%g", 3},
                 {"p_ref_absent", "n_absent", "absent_keep_anew%g_3steps", 3}};
    static const double as[] = {0.99, 0.5, 0.01};
    FOR_SIDES(side)
    for (size_t i = 0; i < G_N_ELEMENTS(preds); i++) {
        double conf[4];
        uint8_t y[4];
        kn_reference ref = reference_of(side, golden_array("E07", "input", preds[i].p),
                                        preds[i].n_classes, KN_CONF_MAX, conf, y);
        const double *count = golden_array("E07", "expected", preds[i].n_key);
        for (int k = 0; k < preds[i].n_classes; k++)
            g_assert_cmpint(ref.count[k], ==, (int64_t)count[k]);
        for (size_t a = 0; a < G_N_ELEMENTS(as); a++) {
            char key[64];
            const char *at = strchr(preds[i].gamma_key, '%');
            g_snprintf(key, sizeof key, "%.*s%g%s", (int)(at - preds[i].gamma_key),
                       preds[i].gamma_key, as[a], at + 2);
            check_gamma(side, &ref, preds[i].n_classes, 0.5, as[a], KN_ABSENT_KEEP, key);
        }
        if (i == 2)
            check_gamma(side, &ref, 3, 0.9, 0.5, KN_ABSENT_RELEASED,
                        "released_rule_anew0.5_init0.9_3steps");
    }
}

static void test_e08(void)
{
    FOR_SIDES(side)
    for (int by_image = 0; by_image < 2; by_image++) {
        lf_case c = case_of("E08", "z_sup", 2);
        c.n = 2;
        c.config.z_scope = by_image ? KN_Z_IMAGE : KN_Z_BATCH;
        set_weights(&c, 0.6, KN_PARTITION_QUAD, false);
        lf_out out = lf_run(side->engine, &c);
        check_codes(side, "region", out.region, golden_array("E08", "expected", "region"), 8);
        lf_check(side, "Z", out.result.z, golden_value("E08", "expected", "Z_batch"));
        lf_check(side, "loss", out.result.loss,
                 golden_value("E08", "expected", by_image ? "loss_per_image" : "loss_batch"));
        lf_check_array(side, "grad", out.grad,
                       golden_array("E08", "expected", by_image ? "grad_per_image" : "grad_batch"),
                       16);
        const double *mean = golden_array("E08", "expected", "O_c");
        const double *count = golden_array("E08", "expected", "n_c");
        for (int k = 0; k < 2; k++) {
            g_assert_cmpint(out.ref.count[k], ==, (int64_t)count[k]);
            lf_check(side, "O", out.ref.sum_conf[k] / (double)out.ref.count[k], mean[k]);
        }
        lf_out_clear(&out);
    }
}

static void test_e10(void)
{
    static const struct {
        const char *key;
        kn_partition partition;
    } kinds[] = {{"conf_bh", KN_PARTITION_CONF_BH},
                 {"cons_bh", KN_PARTITION_CONS_BH},
                 {"uniform", KN_PARTITION_UNIFORM}};
    FOR_SIDES(side)
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
        lf_case c = case_of("E02", "z_sup", 2);
        set_weights(&c, 0.6, kinds[k].partition, false);
        lf_out out = lf_run(side->engine, &c);
        double w[4];
        for (int i = 0; i < 4; i++)
            w[i] = c.config.weights[out.region[i]];
        lf_check_array(side, kinds[k].key, w,
                       golden_array("E10", "expected", kinds[k].key, "weight"), 4);
        lf_check(side, "Z", out.result.z, golden_value("E10", "expected", kinds[k].key, "Z"));
        lf_check(side, "loss", out.result.loss,
                 golden_value("E10", "expected", kinds[k].key, "loss"));
        lf_check_array(side, "grad", out.grad,
                       golden_array("E10", "expected", kinds[k].key, "grad_z_sup"), 8);
        lf_out_clear(&out);
    }
}

static void test_e11(void)
{
    static const char *const names[] = {"max", "mad", "var", "std"};
    FOR_SIDES(side)
    for (int i = 0; i < 8; i++) {
        int n_classes = i < 4 ? 2 : 3;
        g_autofree char *key = g_strdup_printf("C%d_%s", n_classes, names[i % 4]);
        double conf[4];
        uint8_t y[4];
        kn_reference ref =
            reference_of(side, golden_array(n_classes == 2 ? "E02" : "E03", "expected", "p_ref"),
                         n_classes, (kn_confidence)(i % 4), conf, y);
        const double *mean = golden_array("E11", "expected", key, "O_c");
        const double *above = golden_array("E11", "expected", key, "confident_with_gamma_eq_O");
        lf_check_array(side, key, conf, golden_array("E11", "expected", key, "conf"), 4);
        for (int c = 0; c < n_classes; c++)
            lf_check(side, key, ref.sum_conf[c] / (double)ref.count[c], mean[c]);
        for (int px = 0; px < 4; px++) /* a class of one pixel has conf = O: not decided in f32 */
            if (fabs(conf[px] - mean[y[px]]) > 1e-6)
                g_assert_cmpint(conf[px] > mean[y[px]], ==, (int)above[px]);
    }
}

static void test_e12(void)
{
    FOR_SIDES(side)
    {
        lf_case c;
        lf_case_init(&c, 1, 2, 2, 2, golden_array("E12", "input", "z_ref_tie"),
                     golden_array("E12", "input", "z_sup_tie"));
        set_gamma(&c, golden_array("E12", "input", "gamma_tie"));
        set_weights(&c, 0.6, KN_PARTITION_QUAD, false);
        lf_out out = lf_run(side->engine, &c);
        check_codes(side, "tie_region", out.region, golden_array("E12", "expected", "tie_region"),
                    4);
        check_codes(side, "tie_y_ref", out.ref.y, golden_array("E12", "expected", "tie_y_ref"), 4);
        lf_check_array(side, "tie_conf", out.conf, golden_array("E12", "expected", "tie_conf"), 4);
        lf_check(side, "tie_loss", out.result.loss, golden_value("E12", "expected", "tie_loss"));
        lf_check_array(side, "tie_grad", out.grad, golden_array("E12", "expected", "tie_grad"), 8);
        lf_out_clear(&out);

        static const uint8_t masked[4] = {0, 255, 0, 255}, all[4] = {255, 255, 255, 255};
        c = case_of("E02", "z_sup", 2);
        set_weights(&c, 0.6, KN_PARTITION_QUAD, false);
        c.exclude = masked;
        out = lf_run(side->engine, &c);
        check_codes(side, "mask_region", out.region,
                    golden_array("E12", "expected", "mask_region_on_E02"), 4);
        lf_check(side, "mask_Z", out.result.z, golden_value("E12", "expected", "mask_Z"));
        lf_check(side, "mask_loss", out.result.loss, golden_value("E12", "expected", "mask_loss"));
        lf_check_array(side, "mask_grad", out.grad, golden_array("E12", "expected", "mask_grad"),
                       8);
        lf_out_clear(&out);

        c.exclude = all;
        out = lf_run(side->engine, &c);
        g_assert_true(out.result.loss == 0 && out.result.z == 0);
        lf_check_array(side, "empty_grad", out.grad, golden_array("E12", "expected", "empty_grad"),
                       8);
        lf_out_clear(&out);
    }
}

/* One direction of CPS: `z` supervised with `z_ref` as its reference. */
static lf_out cps_term(const lf_side *side, const char *z_ref, const char *z, const char *gamma,
                       const uint8_t *label, double lambda)
{
    lf_case c;
    lf_case_init(&c, 1, 2, 2, 2, golden_array("E09", "input", z_ref),
                 golden_array("E09", "input", z));
    set_gamma(&c, golden_array("E09", "input", gamma));
    c.label = label;
    set_weights(&c, label ? 0.3 : 0.6, KN_PARTITION_QUAD, label != NULL);
    c.config.dice = label ? KN_DICE_LINEAR : KN_DICE_NONE;
    c.scale = lambda;
    return lf_run(side->engine, &c);
}

static void test_e09(void)
{
    static const struct {
        const char *z_ref, *z, *gamma, *region, *loss, *grad;
        bool labelled;
    } terms[] = {
        {"z1_unl", "z2_unl", "gamma1_unl", "region_unl_ref1", "uqh_net2", "grad_z2_unl", false},
        {"z2_unl", "z1_unl", "gamma2_unl", "region_unl_ref2", "uqh_net1", "grad_z1_unl", false},
        {"z2_lab", "z1_lab", "gamma2_lab", "region_lab_net1", "lqh_net1", "grad_z1_lab", true},
        {"z1_lab", "z2_lab", "gamma1_lab", "region_lab_net2", "lqh_net2", "grad_z2_lab", true},
    };
    uint8_t label[4];
    labels_of("E09", label);
    FOR_SIDES(side)
    {
        double total = 0;
        for (size_t t = 0; t < G_N_ELEMENTS(terms); t++) {
            double lambda = terms[t].labelled ? 1 : golden_value("E09", "input", "lam");
            lf_out out = cps_term(side, terms[t].z_ref, terms[t].z, terms[t].gamma,
                                  terms[t].labelled ? label : NULL, lambda);
            check_codes(side, terms[t].region, out.region,
                        golden_array("E09", "expected", terms[t].region), 4);
            lf_check(side, terms[t].loss, out.result.loss,
                     golden_value("E09", "expected", terms[t].loss));
            lf_check_array(side, terms[t].grad, out.grad,
                           golden_array("E09", "expected", terms[t].grad), 8);
            total += lambda * out.result.loss;
            lf_out_clear(&out);
        }
        lf_check(side, "total", total, golden_value("E09", "expected", "total"));
    }
}

/* MetaSSL on a mixed image: each term sees its part of the pixels, the gradients add up. */
static void test_e13(void)
{
    static const char *const z_refs[2] = {"z_teacher_unl", "z_teacher_lab"};
    const double *outer = golden_array("E13", "input", "mask_outer");
    const double *y = golden_array("E13", "input", "label");
    uint8_t label[4], exclude[2][4];
    for (int i = 0; i < 4; i++) {
        label[i] = (uint8_t)y[i];
        exclude[0][i] = outer[i] > 0 ? 0 : 255;
        exclude[1][i] = outer[i] > 0 ? 255 : 0;
    }
    FOR_SIDES(side)
    {
        double total = 0, grad[8] = {0};
        for (int labelled = 0; labelled < 2; labelled++) {
            lf_case c;
            lf_case_init(&c, 1, 2, 2, 2, golden_array("E13", "input", z_refs[labelled]),
                         golden_array("E13", "input", "z_student_mixed"));
            set_gamma(&c, golden_array("E13", "input", "gamma"));
            set_weights(&c, labelled ? 0.3 : 0.6, KN_PARTITION_QUAD, labelled);
            c.label = label;
            c.exclude = exclude[labelled];
            c.config.dice = labelled ? KN_DICE_LINEAR : KN_DICE_NONE;
            c.scale = labelled ? 1 : 0.1;
            lf_out out = lf_run(side->engine, &c);
            check_codes(side, "region", out.region,
                        golden_array("E13", "expected", labelled ? "region_lab" : "region_unl"), 4);
            lf_check(side, "term", out.result.loss,
                     golden_value("E13", "expected", labelled ? "lqh" : "uqh"));
            total += c.scale * out.result.loss;
            for (int i = 0; i < 8; i++)
                grad[i] += out.grad[i];
            lf_out_clear(&out);
        }
        lf_check(side, "meta_total", total, golden_value("E13", "expected", "meta_total"));
        lf_check_array(side, "meta_grad", grad, golden_array("E13", "expected", "meta_grad"), 8);
    }
}

/* Plain BCP on a mixed image: each part on its own, CE a mean over the part, Dice of squares. */
static void test_e13_plain(void)
{
    const double *outer = golden_array("E13", "input", "mask_outer");
    const double *y[2] = {golden_array("E13", "input", "pseudo_label"),
                          golden_array("E13", "input", "label")};
    static const double part_weight[2] = {0.5, 1}; /* unlabelled, labelled */
    FOR_SIDES(side)
    {
        double ce = 0, dice = 0, grad[8] = {0};
        for (int inner = 0; inner < 2; inner++) {
            uint8_t label[4], exclude[4];
            for (int i = 0; i < 4; i++) {
                label[i] = (uint8_t)y[inner][i];
                exclude[i] = (outer[i] > 0) == inner ? 255 : 0;
            }
            lf_case c;
            lf_case_init(&c, 1, 2, 2, 2, NULL, golden_array("E13", "input", "z_student_mixed"));
            c.label = label;
            c.exclude = exclude;
            c.config.labelled = true;
            c.config.dice = KN_DICE_SQUARE;
            c.config.dice_eps = 1e-10;
            c.config.ce_scale = c.config.dice_scale = 0.5;
            c.scale = part_weight[inner];
            lf_out out = lf_run(side->engine, &c);
            ce += part_weight[inner] * out.result.ce;
            dice += part_weight[inner] * out.result.dice;
            for (int i = 0; i < 8; i++)
                grad[i] += out.grad[i];
            lf_out_clear(&out);
        }
        lf_check(side, "plain_ce", ce, golden_value("E13", "expected", "plain_ce"));
        lf_check(side, "plain_dice", dice, golden_value("E13", "expected", "plain_dice"));
        lf_check(side, "plain_total", (ce + dice) / 2,
                 golden_value("E13", "expected", "plain_total"));
        lf_check_array(side, "plain_grad", grad, golden_array("E13", "expected", "plain_grad"), 8);
    }
}

static void test_e14(void)
{
    uint8_t label[4];
    labels_of("E14", label);
    static const struct {
        kn_dice form;
        double factor;
        const char *dice, *sum, *grad;
    } kinds[] = {{KN_DICE_SQUARE, 0.5, "dice_square", "half_sum", "grad_half_sum"},
                 {KN_DICE_LINEAR, 1, "dice_linear", "paper_sum", "grad_paper_sum"}};
    FOR_SIDES(side)
    for (int k = 0; k < 2; k++) {
        lf_case c;
        lf_case_init(&c, 1, 2, 2, 2, NULL, golden_array("E14", "input", "z"));
        c.label = label;
        c.config.labelled = true;
        c.config.dice = kinds[k].form;
        c.config.ce_scale = c.config.dice_scale = kinds[k].factor;
        lf_out out = lf_run(side->engine, &c);
        lf_check(side, "ce", out.result.ce, golden_value("E14", "expected", "ce"));
        lf_check(side, "dice", out.result.dice, golden_value("E14", "expected", kinds[k].dice));
        lf_check(side, "sum", out.result.loss, golden_value("E14", "expected", kinds[k].sum));
        lf_check_array(side, "grad", out.grad, golden_array("E14", "expected", kinds[k].grad), 8);
        g_assert_cmpint(out.result.region_px[KN_REGION_UC], ==, 4);
        lf_out_clear(&out);
    }
}

/* Every entry of the object under `key`: its name is the iteration. */
static void check_schedule(const char *key, double (*schedule)(double))
{
    const lf_side *ref = &lf_sides()[LF_REF];
    g_auto(GStrv) its = golden_keys("E15", "expected", key, NULL);
    g_assert_cmpint(g_strv_length(its), >, 2);
    for (int i = 0; its[i]; i++)
        lf_check(ref, key, schedule(g_ascii_strtod(its[i], NULL)),
                 golden_value("E15", "expected", key, its[i]));
}

static double paper(double t)
{
    return kn_lambda_paper(0.1, t, 600);
}

static double released(double it)
{
    return kn_lambda_released(0.1, (int64_t)it);
}

static double poly(double it)
{
    return kn_poly_lr(0.01, 0.9, (int64_t)it, 30000);
}

static void check_ema(const lf_side *side, const kn_ops *ops)
{
    static const double students[] = {1, 2, 4, 3};
    const double *want = golden_array("E15", "expected", "ema_warm_teacher0=5_students_1_2_4_3");
    kn_tensor teacher = lf_tensor(side->engine, 1, 1, 1, 1, 1);
    kn_tensor student = lf_tensor(side->engine, 1, 1, 1, 1, 1);
    lf_set(&teacher, 0, 0, 5);
    for (int it = 0; it < 4; it++) {
        lf_set(&student, 0, 0, students[it]);
        ops->ema(side->engine, teacher.data, student.data, 1, kn_ema_alpha(0.99, it));
        g_assert_true(kn_engine_check(side->engine, NULL));
        lf_check(side, "ema", lf_get(&teacher, 0, 0), want[it]);
    }
    lf_tensor_free(&teacher);
    lf_tensor_free(&student);
}

static void check_sgd(const lf_side *side, const kn_ops *ops)
{
    static const double grads[] = {0.5, -0.2, 0.1};
    const double *want =
        golden_array("E15", "expected", "sgd_m0.9_wd1e-4_lr0.01_theta0=1_grads_.5_-.2_.1");
    kn_tensor theta = lf_tensor(side->engine, 1, 1, 1, 1, 1);
    kn_tensor grad = lf_tensor(side->engine, 1, 1, 1, 1, 1);
    kn_tensor momentum = lf_tensor(side->engine, 1, 1, 1, 1, 1);
    lf_set(&theta, 0, 0, 1);
    lf_set(&momentum, 0, 0, 0);
    for (int i = 0; i < 3; i++) {
        lf_set(&grad, 0, 0, grads[i]);
        ops->sgd(side->engine, theta.data, grad.data, momentum.data, 1, 0.01, 0.9, 1e-4);
        g_assert_true(kn_engine_check(side->engine, NULL));
        lf_check(side, "sgd", lf_get(&theta, 0, 0), want[i]);
    }
    lf_tensor_free(&theta);
    lf_tensor_free(&grad);
    lf_tensor_free(&momentum);
}

static void test_e15(void)
{
    static const int64_t its[] = {0, 1, 9, 98, 99, 100};
    const double *alpha = golden_array("E15", "expected", "ema_alpha_at_it_0_1_9_98_99_100");
    check_schedule("lambda_paper", paper);
    check_schedule("lambda_released_iter", released);
    check_schedule("poly_lr_0.01_p0.9_T30000", poly);
    for (size_t i = 0; i < G_N_ELEMENTS(its); i++)
        lf_check(&lf_sides()[LF_REF], "alpha", kn_ema_alpha(0.99, its[i]), alpha[i]);
    FOR_SIDES(side)
    {
        const kn_ops *ops = kn_engine_ops(side->engine);
        check_ema(side, ops);
        check_sgd(side, ops);
    }
}

static void test_e16_flexmatch(void)
{
    static const struct {
        const char *key;
        int64_t above[3];
    } cases[] = {{"flexmatch_counts_700_120_0_of_1000", {700, 120, 0}},
                 {"flexmatch_counts_100_20_0_of_1000_warmup", {100, 20, 0}}};
    const lf_side *ref = &lf_sides()[LF_REF];
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        double gamma[3] = {0}, share[3] = {0};
        kn_reference r = {.count = {800, 150, 50}};
        memcpy(r.above, cases[i].above, sizeof cases[i].above);
        kn_flexmatch_update(gamma, share, 3, &r, 0.95, 0);
        lf_check_array(ref, cases[i].key, gamma,
                       golden_array("E16", "expected", cases[i].key, "gamma_convex_tau0_95"), 3);
        kn_flexmatch_update(gamma, share, 3, &r, 0.95, 0.99); /* a batch like the average */
        lf_check_array(ref, "the same batch again", gamma,
                       golden_array("E16", "expected", cases[i].key, "gamma_convex_tau0_95"), 3);
    }
}

/* Two batches of the softmax of E03's reference, through pass 1. */
static void test_e16_freematch(void)
{
    const double *p = golden_array("E16", "input", "p");
    const double *rows = golden_array("E16", "expected", "freematch_m0.999_two_updates_on_E03_ref");
    double z[12];
    for (int i = 0; i < 12; i++)
        z[i] = log(p[i]);
    FOR_SIDES(side)
    {
        double conf[4], level = 1.0 / 3, p_model[3] = {1.0 / 3, 1.0 / 3, 1.0 / 3}, gamma[3] = {0};
        uint8_t y[4];
        kn_tensor t = lf_tensor(side->engine, 1, 2, 2, 3, 3);
        kn_tensor conf_t = lf_tensor(side->engine, 1, 2, 2, 1, 1);
        lf_from_planar(&t, z);
        kn_reference r = {.y = y, .conf = conf_t.data, .with_prob = true, .above_tau = 0.5};
        kn_loss_reference(side->engine, &t, KN_CONF_MAX, NULL, &r);
        lf_to_planar(&conf_t, conf);
        int64_t above[3] = {0};
        for (int i = 0; i < 4; i++)
            above[y[i]] += conf[i] > 0.5;
        g_assert_true(memcmp(above, r.above, sizeof above) == 0 && above[0] + above[1] == 2);
        for (int it = 0; it < 2; it++) {
            kn_freematch_update(gamma, &level, p_model, 3, &r, 0.999);
            const double *want = rows + 7 * it; /* tau, p_model, gamma */
            lf_check(side, "tau", level, want[0]);
            lf_check_array(side, "p_model", p_model, want + 1, 3);
            lf_check_array(side, "gamma", gamma, want + 4, 3);
        }
        lf_tensor_free(&t);
        lf_tensor_free(&conf_t);
    }
}

/* The released code's unlabelled term on E08's batch: region means, UC in two. */
static void test_e19(void)
{
    static const struct {
        const char *key;
        kn_uc uc;
    } kinds[] = {{"foreground_mask_fixed", KN_UC_SPLIT},
                 {"as_released_fg_mask_is_background", KN_UC_RELEASED}};
    FOR_SIDES(side)
    for (int k = 0; k < 2; k++) {
        lf_side scaled = *side; /* the values are 50 times those of the other groups */
        scaled.atol *= 10;
        lf_case c = case_of("E19", "z_sup", 2);
        c.n = 2;
        set_weights(&c, 0.6, KN_PARTITION_QUAD, false);
        for (int r = 0; r < KN_N_REGIONS; r++)
            c.config.weights[r] *= 50;
        c.config.norm = KN_CE_REGION_MEAN;
        c.config.uc = kinds[k].uc;
        lf_out out = lf_run(side->engine, &c);
        lf_check(&scaled, kinds[k].key, out.result.loss,
                 golden_value("E19", "expected", kinds[k].key, "loss"));
        lf_check_array(&scaled, kinds[k].key, out.grad,
                       golden_array("E19", "expected", kinds[k].key, "grad_z_sup"), 16);
        double parts = 0;
        for (int r = 0; r < KN_N_REGIONS; r++)
            parts += out.result.region_loss[r];
        lf_check(&scaled, "the regions' parts", parts, out.result.loss);
        g_assert_cmpint(out.result.uc_background_px, ==, 2);
        lf_out_clear(&out);
    }
}

/* CCVC's consistency: weight ω where the argmaxes differ and the reference is confident, over all
 * pixels, each network once the reference of the other. */
static void test_e17_ccvc(void)
{
    static const char *const z[2] = {"z_a", "z_b"}, *const grads[2] = {"grad_z1", "grad_z2"};
    FOR_SIDES(side)
    {
        double loss = 0;
        for (int ref = 0; ref < 2; ref++) {
            lf_case c;
            lf_case_init(&c, 1, 2, 2, 2, golden_array("E17", "input", z[ref]),
                         golden_array("E17", "input", z[1 - ref]));
            for (int k = 0; k < 2; k++)
                c.config.gamma[k] = golden_value("E17", "expected", "ccvc", "conf_thr");
            c.config.weights[KN_REGION_DC] = golden_value("E17", "expected", "ccvc", "w_c");
            c.config.norm = KN_CE_PIXELS;
            c.scale = 0.5;
            lf_out out = lf_run(side->engine, &c);
            loss += 0.5 * out.result.loss;
            lf_check_array(side, grads[1 - ref], out.grad,
                           golden_array("E17", "expected", "ccvc", grads[1 - ref]), 8);
            const double *conflict =
                golden_array("E17", "expected", "ccvc", ref ? "conflict_mask2" : "conflict_mask1");
            for (int i = 0; i < 4; i++)
                g_assert_cmpint(out.region[i] == KN_REGION_DC, ==, (int)conflict[i]);
            lf_out_clear(&out);
        }
        lf_check(side, "consistency", loss, golden_value("E17", "expected", "ccvc", "consistency"));
    }
}

static void test_e17(void)
{
    const char *key = "mt_mse_mean_over_all_elements";
    FOR_SIDES(side)
    {
        kn_tensor t[3]; /* teacher, student, gradient */
        for (int i = 0; i < 3; i++)
            t[i] = lf_tensor(side->engine, 1, 2, 2, 2, 2);
        lf_from_planar(&t[0], golden_array("E17", "input", "z_a"));
        lf_from_planar(&t[1], golden_array("E17", "input", "z_b"));
        double loss = kn_loss_mse(side->engine, &t[1], &t[0], NULL, 1, false, &t[2]);
        double grad[8];
        lf_to_planar(&t[2], grad);
        lf_check(side, "mse", loss, golden_value("E17", "expected", key, "loss"));
        lf_check_array(side, "mse grad", grad,
                       golden_array("E17", "expected", key, "grad_z_student"), 8);
        for (int i = 0; i < 3; i++)
            lf_tensor_free(&t[i]);
    }
}

/* The comparison must be able to fail: a planted error and a NaN are found, where they are. */
static void test_can_fail(void)
{
    const double *want = golden_array("E02", "expected", "grad_z_sup");
    double got[8];
    FOR_SIDES(side)
    {
        memcpy(got, want, sizeof got);
        g_assert_cmpint(lf_first_far(got, want, 8, side->atol, side->rtol), ==, -1);
        got[5] += 10 * side->atol;
        g_assert_cmpint(lf_first_far(got, want, 8, side->atol, side->rtol), ==, 5);
        got[3] = NAN;
        g_assert_cmpint(lf_first_far(got, want, 8, side->atol, side->rtol), ==, 3);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/golden/can-fail", test_can_fail);
    g_test_add_func("/golden/E01-weights", test_e01);
    g_test_add_func("/golden/E02-uqh-C2", test_e02);
    g_test_add_func("/golden/E03-uqh-C3", test_e03);
    g_test_add_func("/golden/E04-lqh-ce", test_e04);
    g_test_add_func("/golden/E05-lqh-dice", test_e05);
    g_test_add_func("/golden/E06-absent-class", test_e06);
    g_test_add_func("/golden/E07-gamma", test_e07);
    g_test_add_func("/golden/E08-z-scope", test_e08);
    g_test_add_func("/golden/E09-cps", test_e09);
    g_test_add_func("/golden/E10-bisections", test_e10);
    g_test_add_func("/golden/E11-confidence", test_e11);
    g_test_add_func("/golden/E12-ties-masks", test_e12);
    g_test_add_func("/golden/E13-mixed", test_e13);
    g_test_add_func("/golden/E13-plain", test_e13_plain);
    g_test_add_func("/golden/E14-plain", test_e14);
    g_test_add_func("/golden/E15-schedules", test_e15);
    g_test_add_func("/golden/E16-flexmatch", test_e16_flexmatch);
    g_test_add_func("/golden/E16-freematch", test_e16_freematch);
    g_test_add_func("/golden/E17-mean-teacher", test_e17);
    g_test_add_func("/golden/E17-ccvc-consistency", test_e17_ccvc);
    g_test_add_func("/golden/E19-released", test_e19);
    int status = g_test_run();
    lf_close();
    golden_close();
    return status;
}
