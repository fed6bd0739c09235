/* Metrics against hand-made cases and golden example E18; the t-test against closed forms of
 * Student's distribution and values computed to 17 digits with mpmath 1.2.1 (betainc, 40 digits).
 */
#include "base/rng.h"
#include "infer/score/metric.h"

#include <json-glib/json-glib.h>

#include <math.h>
#include <string.h>

/* NaN never passes. */
static void check_near(double got, double want, double tol, const char *what)
{
    if (fabs(got - want) <= tol)
        return;
    g_test_message("%s: got %.17g, want %.17g, tolerance %g", what, got, want, tol);
    g_test_fail();
}

static JsonObject *golden_case(JsonParser *parser, const char *name)
{
    GError *error = NULL;
    const char *root = g_getenv("QS_SOURCE_DIR");
    g_autofree char *path =
        g_build_filename(root ? root : ".", "tests", "golden", "metassl_golden.json", NULL);
    json_parser_load_from_file(parser, path, &error);
    g_assert_no_error(error);
    JsonObject *top = json_node_get_object(json_parser_get_root(parser));
    JsonArray *cases = json_object_get_array_member(top, "cases");
    for (guint i = 0; i < json_array_get_length(cases); i++) {
        JsonObject *item = json_array_get_object_element(cases, i);
        if (!strcmp(json_object_get_string_member(item, "name"), name))
            return item;
    }
    g_error("%s: no case %s", path, name);
}

static size_t read_mask(JsonObject *input, const char *name, uint8_t *mask)
{
    size_t n = 0;
    JsonArray *rows = json_object_get_array_member(input, name);
    for (guint y = 0; y < json_array_get_length(rows); y++) {
        JsonArray *row = json_array_get_array_element(rows, y);
        for (guint x = 0; x < json_array_get_length(row); x++)
            mask[n++] = (uint8_t)json_array_get_int_element(row, x);
    }
    return n;
}

static size_t read_doubles(JsonObject *object, const char *name, double *out)
{
    JsonArray *items = json_object_get_array_member(object, name);
    for (guint i = 0; i < json_array_get_length(items); i++)
        out[i] = json_array_get_double_element(items, i);
    return json_array_get_length(items);
}

static void test_golden_e18(void)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *e18 = golden_case(parser, "E18_metrics");
    JsonObject *input = json_object_get_object_member(e18, "input");
    JsonObject *want = json_object_get_object_member(e18, "expected");
    uint8_t seg[25], gt[25];
    g_assert_cmpuint(read_mask(input, "seg", seg), ==, 25);
    g_assert_cmpuint(read_mask(input, "gt", gt), ==, 25);
    inf_counts counts;
    inf_counts_init(&counts, 2);
    inf_counts_add(&counts, seg, gt, 25);
    JsonObject *pair = json_object_get_object_member(want, "seg_vs_gt");
    check_near(inf_dsc_foreground(&counts), json_object_get_double_member(pair, "dsc"), 1e-12,
               "dsc");
    check_near(inf_jaccard_foreground(&counts), json_object_get_double_member(pair, "jaccard"),
               1e-12, "jaccard");

    JsonObject *t = json_object_get_object_member(want, "ttest_example");
    double a[8], b[8];
    size_t n = read_doubles(t, "a", a);
    g_assert_cmpuint(read_doubles(t, "b", b), ==, n);
    inf_ttest result;
    inf_ttest_paired(a, b, n, &result);
    check_near(result.mean_diff, json_object_get_double_member(t, "mean_diff"), 1e-12, "mean_diff");
    check_near(result.std_diff, json_object_get_double_member(t, "sd_diff_ddof1"), 1e-12,
               "sd_diff");
    check_near(result.t, json_object_get_double_member(t, "t"), 1e-9, "t");
    g_assert_cmpint(result.dof, ==, json_object_get_int_member(t, "dof"));
}

/* A 3-class case counted by hand; the ignored pixel belongs to no count, a prediction that is no
 * class is a miss of the true class. */
static void test_counts(void)
{
    const uint8_t truth[] = {0, 0, 1, 1, 1, 2, 2, 255, 2};
    const uint8_t pred[] = {0, 1, 1, 1, 2, 2, 0, 1, 255};
    inf_counts counts, half, all;
    inf_counts_init(&counts, 3);
    inf_counts_add(&counts, pred, truth, 9);
    const int64_t tp[] = {1, 2, 1}, fp[] = {1, 1, 1}, fn[] = {1, 1, 2};
    for (int c = 0; c < 3; c++) {
        g_assert_cmpint(counts.tp[c], ==, tp[c]);
        g_assert_cmpint(counts.fp[c], ==, fp[c]);
        g_assert_cmpint(counts.fn[c], ==, fn[c]);
    }
    g_assert_cmpint(counts.n_px, ==, 9);
    g_assert_cmpint(counts.n_ignored, ==, 1);
    check_near(inf_dsc(&counts, 1), 4.0 / 6, 1e-15, "dsc 1");
    check_near(inf_jaccard(&counts, 2), 1.0 / 4, 1e-15, "jaccard 2");
    check_near(inf_dsc_foreground(&counts), (4.0 / 6 + 2.0 / 5) / 2, 1e-15, "dsc foreground");

    inf_counts_init(&half, 3);
    inf_counts_init(&all, 3);
    inf_counts_add(&all, pred, truth, 4);
    inf_counts_add(&half, pred + 4, truth + 4, 5);
    inf_counts_merge(&all, &half);
    g_assert_cmpmem(&all, sizeof all, &counts, sizeof counts);
}

static void test_empty_rule(void)
{
    const uint8_t zero[4] = {0}, some[4] = {0, 1, 0, 0};
    inf_counts counts;
    inf_counts_init(&counts, 2);
    inf_counts_add(&counts, zero, zero, 4);
    check_near(inf_dsc_foreground(&counts), 1, 0, "both empty");
    check_near(inf_jaccard_foreground(&counts), 1, 0, "both empty");
    inf_counts_init(&counts, 2);
    inf_counts_add(&counts, zero, some, 4);
    check_near(inf_dsc_foreground(&counts), 0, 0, "prediction empty");
    inf_counts_init(&counts, 2);
    inf_counts_add(&counts, some, zero, 4);
    check_near(inf_dsc_foreground(&counts), 0, 0, "truth empty");
    check_near(inf_jaccard_foreground(&counts), 0, 0, "truth empty");
}

static void test_student_values(void)
{
    const struct {
        double t, dof, p;
    } cases[] = {
        {1.5, 3.0, 0.23058386524482305},      {2.331086, 4.0, 0.080156680325882708},
        {-2.57, 5.0, 0.050035316862067172},   {0.01, 7.0, 0.99230031764362177},
        {12.0, 9.0, 7.699886222985652e-7},    {2.093, 19.0, 0.05000237894282798},
        {0.5, 19.0, 0.62281649128644172},     {4.5, 29.0, 0.00010153488806485563},
        {1.98, 99.0, 0.050479475974652311},   {1.962, 1000.0, 0.05003952437245728},
        {30.0, 84.0, 1.1785553702918117e-46}, {0.7, 1.5, 0.57643824088268662},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *what = g_strdup_printf("p(t=%g, dof=%g)", cases[i].t, cases[i].dof);
        double p = inf_student_p(cases[i].t, cases[i].dof);
        check_near(p, cases[i].p, 1e-10 * cases[i].p, what);
        check_near(inf_student_p(-cases[i].t, cases[i].dof), p, 0, "symmetry");
    }
}

/* Closed forms for 1, 2 and 4 degrees of freedom, over eight decades of t. */
static void test_student_closed(void)
{
    for (double t = 1e-4; t < 1e4; t *= 1.7) {
        double u = t / sqrt(4 + t * t), s = t / sqrt(2 + t * t);
        check_near(inf_student_p(t, 1), 2 / G_PI * atan(1 / t), 1e-11, "dof 1");
        check_near(inf_student_p(t, 2), 1 - s, 1e-11, "dof 2");
        check_near(inf_student_p(t, 4), 1 - 1.5 * (u - u * u * u / 3), 1e-11, "dof 4");
    }
    check_near(inf_student_p(0, 7), 1, 0, "t 0");
    check_near(inf_student_p(INFINITY, 7), 0, 0, "t infinite");
    g_assert_true(isnan(inf_student_p(NAN, 7)));
    g_assert_true(isnan(inf_student_p(1, 0)));
}

/* ---- Wilcoxon ------------------------------------------------------------------------------- */

/* p by the definition: every pattern of signs. */
static double wilcoxon_by_patterns(const double *d, size_t n)
{
    double rank[12], w = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        double below = 0, equal = 0;
        for (size_t j = 0; j < n; j++) {
            below += fabs(d[j]) < fabs(d[i]);
            equal += fabs(d[j]) == fabs(d[i]);
        }
        rank[i] = below + (equal + 1) / 2;
        all += rank[i];
        w += d[i] > 0 ? rank[i] : 0;
    }
    w = fmin(w, all - w);
    size_t as_far = 0;
    for (size_t pattern = 0; pattern < (size_t)1 << n; pattern++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += pattern >> i & 1 ? rank[i] : 0;
        as_far += fmin(sum, all - sum) <= w;
    }
    return fmin(1, (double)as_far / (double)((size_t)1 << n));
}

static void test_wilcoxon_patterns(void)
{
    static const double zero[12] = {0};
    static const double cases[][8] = {{.02, .02, .04, -.01, .05, 0, 0, 0},
                                      {1, 2, 3, 4, 5, 6, 7, 8},
                                      {1, -1, 1, -1, 2, -2, 3, 3},
                                      {-3, 1, 1, 1, 2, 2, 5, 0},
                                      {7, 0, 0, 0, 0, 0, 0, 0}};
    for (size_t k = 0; k < G_N_ELEMENTS(cases); k++) {
        double d[8];
        size_t n = 0;
        for (size_t i = 0; i < 8; i++)
            if (cases[k][i] != 0)
                d[n++] = cases[k][i];
        inf_wilcoxon r, back;
        inf_wilcoxon_paired(cases[k], zero, 8, &r);
        inf_wilcoxon_paired(zero, cases[k], 8, &back);
        g_assert_cmpuint(r.n_used, ==, n);
        g_assert_true(r.exact);
        check_near(r.p, wilcoxon_by_patterns(d, n), 1e-12, "p");
        check_near(back.p, r.p, 0, "p the other way round");
    }
}

/* scipy 1.17.1, stats.wilcoxon: its example of the heights of maize (Wilcoxon's test of Darwin's
 * data), exact; and 60 rounded normal numbers with ties and zeros, method="asymptotic". */
static void test_wilcoxon_scipy(void)
{
    static const double maize[] = {6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75};
    static const double many[60] = {2.3,  -2.3, .7,  -.3,  -.2, .1,  -1.7, .1,  -.6, 3.6,  .5,  -.1,
                                    0,    -.4,  -.8, -.1,  .8,  .1,  1.3,  .1,  .3,  1.8,  .8,  -.2,
                                    .1,   .8,   2.2, 0,    .1,  1.3, -.6,  0,   1.2, .9,   .4,  1.0,
                                    -2.5, 1.3,  -.7, -1.4, .6,  1.0, -.1,  -.8, .3,  .2,   1.7, 1.0,
                                    .5,   1.4,  .1,  -.6,  .9,  .9,  .1,   -.5, .5,  -2.2, 1.0, .8};
    static const double zero[60] = {0};
    inf_wilcoxon r;
    inf_wilcoxon_paired(maize, zero, G_N_ELEMENTS(maize), &r);
    check_near(r.w, 24, 0, "W");
    check_near(r.p, 0.041259765625, 1e-14, "exact p");
    inf_wilcoxon_paired(many, zero, 60, &r);
    g_assert_false(r.exact);
    g_assert_cmpuint(r.n_used, ==, 57);
    check_near(r.w, 530, 0, "W");
    check_near(r.p, 0.01834338557904841, 1e-14, "p of the approximation");
    inf_wilcoxon_paired(zero, zero, 5, &r);
    g_assert_true(isnan(r.p) && r.n_used == 0);
    inf_wilcoxon_paired(zero, zero, 0, &r);
    g_assert_true(isnan(r.p));
}

/* By hand: cases {1,1}, {2}, {3}, {4,4} of means 6, 2, 4, 4: m = 26/6; without each case 3.5, 4.8, 4.4, 4.5. */
static void test_interval(void)
{
    static const double x[] = {7, 5, 2, 4, 3, 5};
    static const int cases[] = {1, 1, 2, 3, 4, 4};
    double low, high, m = 26.0 / 6, v = 0, means[6];
    const double without[] = {3.5, 4.8, 4.4, 4.5};
    for (int g = 0; g < 4; g++)
        v += 0.75 * (without[g] - m) * (without[g] - m);
    inf_interval_mean(x, cases, 6, 0.95, &low, &high);
    check_near(low, m - 3.182446305284263 * sqrt(v), 1e-9, "low"); /* t of 3 degrees of freedom */
    check_near(high, m + 3.182446305284263 * sqrt(v), 1e-9, "high");
    g_assert_cmpuint(inf_count_cases(cases, 6), ==, 4);
    g_assert_cmpuint(inf_case_means(x, cases, 6, means), ==, 4);
    check_near(means[0], 6, 0, "first case");
    check_near(means[3], 4, 0, "last case");
    inf_interval_mean(x, cases, 4, 0.95, &low, &high); /* three cases */
    g_assert_true(isnan(low) && isnan(high));
}

/* Two slides of one case are alike, and scores have a tail to the left, as DSCs have. */
static double simulated_coverage(int n_cases, double tail)
{
    enum { RUNS = 3000, SLIDES_MAX = 120 };
    qs_rng rng;
    qs_rng_init(&rng, 11, qs_rng_stream_id(0x636f7665, (uint64_t)n_cases, 0));
    double x[SLIDES_MAX], truth = -tail;
    int cases[SLIDES_MAX], n_covered = 0;
    for (int run = 0; run < RUNS; run++) {
        size_t n = 0;
        for (int c = 0; c < n_cases; c++) {
            double z = qs_rng_normal(&rng), own = z - tail * z * z;
            int n_slides = 1 + (int)qs_rng_below(&rng, 3);
            for (int s = 0; s < n_slides; s++) {
                x[n] = own + 0.5 * qs_rng_normal(&rng);
                cases[n++] = c;
            }
        }
        double low, high;
        inf_interval_mean(x, cases, n, 0.95, &low, &high);
        n_covered += low <= truth && truth <= high;
    }
    return (double)n_covered / RUNS;
}

/* 3,000 cohorts each: a standard error of 0.4 %. Half a second. */
static void test_coverage(void)
{
    static const int n_cases[] = {4, 6, 8, 12, 20, 40};
    for (size_t i = 0; i < G_N_ELEMENTS(n_cases); i++) {
        double share = simulated_coverage(n_cases[i], 0.1);
        g_test_message("%d cases of 1 to 3 slides: the interval holds the mean in %.1f %%",
                       n_cases[i], 100 * share);
        g_assert_cmpfloat(share, >=, 0.93);
        g_assert_cmpfloat(share, <=, 0.97);
    }
}

/* Sensitivity and precision, by hand; both obey the empty rule. */
static void test_shares(void)
{
    const uint8_t truth[] = {0, 0, 1, 1, 1, 1, 2, 0}, pred[] = {1, 0, 1, 1, 1, 0, 0, 0};
    inf_counts counts;
    inf_counts_init(&counts, 4);
    inf_counts_add(&counts, pred, truth, 8);
    check_near(inf_sensitivity(&counts, 1), 0.75, 0, "sensitivity");
    check_near(inf_precision(&counts, 1), 0.75, 0, "precision");
    check_near(inf_sensitivity(&counts, 2) + inf_precision(&counts, 2), 0, 0, "absent from one");
    check_near(inf_sensitivity(&counts, 3) + inf_precision(&counts, 3), 2, 0, "absent from both");
}

static void test_undefined(void)
{
    const double x[] = {0.5, 0.75}, shifted[] = {0.25, 0.5};
    g_assert_true(isnan(inf_mean(x, 0)));
    g_assert_true(isnan(inf_std(x, 1)));
    check_near(inf_std(x, 2), 0.25 / sqrt(2), 1e-15, "std");
    inf_ttest r;
    inf_ttest_paired(x, x, 0, &r);
    g_assert_true(isnan(r.t) && isnan(r.p) && isnan(r.mean_diff));
    inf_ttest_paired(x, shifted, 1, &r);
    g_assert_true(isnan(r.t) && isnan(r.p));
    check_near(r.mean_diff, 0.25, 0, "mean of one");
    inf_ttest_paired(x, x, 2, &r);
    g_assert_true(isnan(r.t) && isnan(r.p));
    inf_ttest_paired(x, shifted, 2, &r);
    g_assert_true(isinf(r.t) && r.t > 0);
    check_near(r.p, 0, 0, "equal differences");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/infer/metric/golden-e18", test_golden_e18);
    g_test_add_func("/infer/metric/counts", test_counts);
    g_test_add_func("/infer/metric/empty-rule", test_empty_rule);
    g_test_add_func("/infer/stats/student-values", test_student_values);
    g_test_add_func("/infer/stats/student-closed-forms", test_student_closed);
    g_test_add_func("/infer/stats/undefined", test_undefined);
    g_test_add_func("/infer/stats/wilcoxon-patterns", test_wilcoxon_patterns);
    g_test_add_func("/infer/stats/wilcoxon-scipy", test_wilcoxon_scipy);
    g_test_add_func("/infer/stats/interval", test_interval);
    g_test_add_func("/infer/stats/coverage", test_coverage);
    g_test_add_func("/infer/metric/shares", test_shares);
    return g_test_run();
}
