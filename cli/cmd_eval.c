/* quadslide eval: predictions against the truth, slide by slide.
 *
 * The paired t-test of --against compares the same slides under two models; unpaired comparison
 * would drown any difference in the spread between slides. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/print_scores.h"
#include "jobs/outputs.h"
#include "jobs/score/scores.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

extern const cli_command cli_cmd_eval;

static char *opt_cohort, *opt_split, *opt_pred, *opt_against, *opt_out, *opt_classes;
static char *opt_label_map, *opt_label_order;
static gboolean opt_bounds, opt_binary_255, opt_ignore_255, opt_no_distances, opt_pixels,
    opt_annotation;
static double opt_require_dsc = -1, opt_tolerance = 5;

static const GOptionEntry entries[] = {
    {"cohort", 'c', 0, G_OPTION_ARG_FILENAME, &opt_cohort, "The cohort", "FILE"},
    {"split", 0, 0, G_OPTION_ARG_STRING, &opt_split, "train, val, test or all (test)", "SPLIT"},
    {"pred", 'p', 0, G_OPTION_ARG_FILENAME, &opt_pred, "Folder of predicted masks, NAME.tif",
     "DIR"},
    {"against", 0, 0, G_OPTION_ARG_FILENAME, &opt_against, "Another folder, for paired tests",
     "DIR"},
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &opt_out, "Write everything as JSON", "FILE"},
    {"classes", 0, 0, G_OPTION_ARG_STRING, &opt_classes,
     "Class table, as background:#000000,tumour:#c80000 (noted beside the predictions)", "TABLE"},
    {"require-dsc", 0, 0, G_OPTION_ARG_DOUBLE, &opt_require_dsc,
     "Fail when the mean DSC of --pred is below", "X"},
    {"no-distances", 0, 0, G_OPTION_ARG_NONE, &opt_no_distances,
     "No HD95, ASSD and boundary F1: overlap alone", NULL},
    {"tolerance", 0, 0, G_OPTION_ARG_DOUBLE, &opt_tolerance,
     "Of the boundary F1, in µm, or pixels where those are the unit (5)", "X"},
    {"pixels", 0, 0, G_OPTION_ARG_NONE, &opt_pixels, "Distances in level-0 pixels, not µm", NULL},
    {"annotation", 0, 0, G_OPTION_ARG_NONE, &opt_annotation,
     "Compare with column mask even where there is a truth", NULL},
    {"label-map", 0, 0, G_OPTION_ARG_STRING, &opt_label_map, CLI_LABEL_MAP_HELP, "MAP"},
    {"label-order", 0, 0, G_OPTION_ARG_STRING, &opt_label_order, CLI_LABEL_ORDER_HELP, "ORDER"},
    {"binary-255", 0, 0, G_OPTION_ARG_NONE, &opt_binary_255, CLI_BINARY_255_HELP, NULL},
    {"ignore-255", 0, 0, G_OPTION_ARG_NONE, &opt_ignore_255, CLI_IGNORE_255_HELP, NULL},
    {"bounds-relative", 0, 0, G_OPTION_ARG_NONE, &opt_bounds, CLI_BOUNDS_HELP, NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "Foreground DSC = 2TP/(2TP+FP+FN) and Jaccard = TP/(TP+FP+FN) of each slide, over all its "
    "pixels (255 in the\n"
    "truth is ignored); with more than two classes also each class, and foreground is the mean "
    "over them.\n"
    "Distances between outlines: HD95 (95th percentile of both directions pooled, as medpy), "
    "HD95max "
    "(larger of the\n"
    "two, as PyMIC), ASSD (mean of the two mean distances), boundary F1 within --tolerance; in µm "
    "where every slide has\n"
    "a resolution. docs/evaluation.md has the formulas.\n"
    "Rule for empty masks: " INF_EMPTY_RULE ";\n" INF_SURFACE_RULE ".\n"
    "The truth is the cohort's truth column where it is given, else its mask. Masks whose sizes "
    "differ by an\n"
    "integer factor meet on the grid of their greatest common divisor.\n\n"
    "Exit status: 0 all slides scored, 3 some not, 1 none or the DSC that was required is missed, "
    "2 wrong usage.";

static void print_comparison(const job_metric *metric, const job_comparison *test)
{
    const inf_ttest *t = &test->t;
    int decimals = strcmp(metric->unit, "fraction") == 0 ? 4 : 2;
    if (isnan(t->p)) {
        cli_print("  %-8s mean difference %+.*f over %zu slides; no t-test (%s)\n", metric->label,
                  decimals, t->mean_diff, t->n,
                  t->n < 2 ? "needs two slides" : "the differences are all 0");
        return;
    }
    cli_print("  %-8s mean difference %+.*f ± %.*f, t = %.4f, %d degrees of freedom, p = %.4g; "
              "Wilcoxon W = %g of %zu, p = %.4g (%s)\n",
              metric->label, decimals, t->mean_diff, decimals, t->std_diff, t->t, t->dof, t->p,
              test->w.w, test->w.n_used, test->w.p, test->w.exact ? "exact" : "normal");
}

static void add_grids(GHashTable *grids, const job_scores *scores)
{
    for (guint i = 0; i < scores->n; i++)
        if (scores->items[i].ok)
            g_hash_table_add(grids, inf_eval_grid_text(&scores->items[i].grid));
}

static void print_notes(const job_scores *scores, const job_scores *against)
{
    guint n_truth = 0, n_mask = 0, n_one_empty = 0;
    g_autoptr(GHashTable) grids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < scores->n; i++) {
        const job_score *score = &scores->items[i];
        if (!score->ok)
            continue;
        n_truth += !strcmp(score->truth_from, "truth");
        n_mask += !strcmp(score->truth_from, "mask");
        n_one_empty += score->n_one_empty > 0;
    }
    add_grids(grids, scores);
    if (against)
        add_grids(grids, against);
    cli_print("truth: column truth for %u slides, column mask for %u\n", n_truth, n_mask);
    GHashTableIter iter;
    gpointer text;
    g_hash_table_iter_init(&iter, grids);
    while (g_hash_table_iter_next(&iter, &text, NULL))
        cli_print("grid: %s\n", (char *)text);
    if (scores->distances)
        cli_print("distances in %s; boundary F1 within %g %s; rule: %s\n", scores->unit,
                  scores->tolerance, scores->unit, INF_SURFACE_RULE);
    if (scores->distances && n_one_empty > 0)
        cli_print("the diagonal stands for %u slides that have a class in one mask only\n",
                  n_one_empty);
    cli_print("rule: %s; mean, std and 95 %% interval (bootstrap) over slides\n", INF_EMPTY_RULE);
}

/* Metrics that were not measured have no test. */
static bool measured(const job_scores *scores, job_metric_id metric)
{
    for (guint i = 0; i < scores->n; i++)
        if (scores->items[i].ok && !isnan(scores->items[i].values[metric][0]))
            return true;
    return false;
}

static bool write_json(const job_scores *pred, const job_scores *against, GError **error)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autofree char *classes = qs_classes_to_text(&pred->classes);
    const char *const texts[][2] = {{"program", "quadslide " QS_VERSION},
                                    {"cohort", opt_cohort},
                                    {"split", opt_split ? opt_split : "test"},
                                    {"class_table", classes},
                                    {"empty_mask_rule", INF_EMPTY_RULE "; " INF_SURFACE_RULE},
                                    {"std", "sample standard deviation over slides (n - 1)"}};
    json_builder_begin_object(b);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        json_builder_set_member_name(b, texts[i][0]);
        json_builder_add_string_value(b, texts[i][1]);
    }
    json_builder_set_member_name(b, "result");
    job_scores_to_json(pred, b);
    if (against) {
        json_builder_set_member_name(b, "against");
        job_scores_to_json(against, b);
        size_t n;
        const job_metric *metrics = job_metrics(&n);
        for (size_t m = 0; m < n; m++) {
            if (!measured(pred, (job_metric_id)m))
                continue;
            job_comparison test;
            g_autofree char *name = g_strconcat("ttest_", metrics[m].key, NULL);
            job_scores_compare(pred, against, (job_metric_id)m, &test);
            json_builder_set_member_name(b, name);
            job_comparison_to_json(&test, b);
        }
    }
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    g_autofree char *text = json_to_string(root, TRUE);
    return qs_file_replace(opt_out, text, strlen(text), error);
}

/* The status of what was scored, after everything has been printed and written. */
static int judge(const job_scores *pred, const job_scores *against)
{
    if (pred->n_ok == 0 || (against && against->n_ok == 0))
        return CLI_FAILED;
    g_autofree double *dsc = job_scores_column(pred, JOB_DSC, 0);
    double mean = inf_mean(dsc, pred->n_ok);
    cli_log_json("eval", "\"slides\":%u,\"scored\":%u,\"dsc\":%.6f", pred->n, pred->n_ok, mean);
    if (opt_require_dsc >= 0 && !(mean >= opt_require_dsc)) {
        cli_print("mean DSC %.4f is below the required %.4f\n", mean, opt_require_dsc);
        return CLI_FAILED;
    }
    bool all = pred->n_ok == pred->n && (!against || against->n_ok == against->n);
    return all ? CLI_DONE : CLI_PARTLY;
}

static bool read_scores(job_scores *scores, const char *dir, const GArray *set,
                        const job_score_options *options, GError **error)
{
    bool ok = job_scores_read(scores, dir, set, options, cli_progress(), error);
    cli_print_unscored(scores);
    return ok;
}

static void print_scores(const job_scores *scores)
{
    g_autofree char *text = job_scores_text(scores);
    cli_print("%s", text);
}

static int eval(const GArray *set)
{
    GError *error = NULL;
    job_scores pred = {0}, against = {0};
    int status;
    job_score_options options;
    job_score_options_init(&options);
    options.classes = opt_classes;
    options.distances = !opt_no_distances;
    options.pixels = opt_pixels;
    options.tolerance = opt_tolerance;
    options.annotation = opt_annotation;
    if (!read_scores(&pred, opt_pred, set, &options, &error) ||
        (opt_against && !read_scores(&against, opt_against, set, &options, &error))) {
        status = cli_fail(error);
        goto out;
    }
    print_scores(&pred);
    if (opt_against) {
        cli_print("\n");
        print_scores(&against);
        cli_print(
            "\n%s against %s, paired two-sided t-test over slides, and Wilcoxon's signed ranks\n",
            opt_pred, opt_against);
        size_t n;
        const job_metric *metrics = job_metrics(&n);
        for (size_t m = 0; m < n; m++) {
            job_comparison test;
            if (!measured(&pred, (job_metric_id)m))
                continue;
            job_scores_compare(&pred, &against, (job_metric_id)m, &test);
            print_comparison(&metrics[m], &test);
        }
    }
    cli_print("\n");
    print_notes(&pred, opt_against ? &against : NULL);
    status = judge(&pred, opt_against ? &against : NULL);
    if (opt_out && !write_json(&pred, opt_against ? &against : NULL, &error))
        status = cli_fail(error);
out:
    job_scores_clear(&pred);
    job_scores_clear(&against);
    return status;
}

static int run_eval(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_eval, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status == -1 ? CLI_DONE : status;
    if (!opt_cohort || !opt_pred)
        return cli_usage("give --cohort FILE and --pred DIR");
    if (rest[0])
        return cli_usage("%s: eval takes no slides, it takes a cohort's split", rest[0]);
    if (!(opt_tolerance >= 0 && opt_tolerance < 1e9))
        return cli_usage("--tolerance %g: a distance of 0 or more is wanted", opt_tolerance);
    GError *error = NULL;
    job_labels labels;
    if (!job_labels_init(&labels, opt_label_map, opt_label_order, opt_bounds, NULL, &error) ||
        !job_labels_set_255(&labels, opt_binary_255, opt_ignore_255, &error))
        return cli_fail(error);
    g_autoptr(GArray) set =
        job_slide_set_read(opt_cohort, opt_split ? opt_split : "test", NULL, &error);
    if (set)
        job_slide_set_labels(set, &labels);
    if (set && opt_out && !job_output_check(opt_out, set, opt_cohort, NULL, &error))
        status = cli_fail(error);
    else
        status = set ? eval(set) : cli_fail(error);
    job_labels_clear(&labels);
    return status;
}

const cli_command cli_cmd_eval = {
    .name = "eval",
    .arguments = "--cohort C --split test --pred DIR [--against DIR2] --out metrics.json",
    .summary = "masks against the truth: DSC, Jaccard, HD95 …, paired tests",
    .run = run_eval,
    .entries = entries,
};
