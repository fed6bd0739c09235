/* quadslide report: one HTML page to look at, of predictions, their errors and their training.
 *
 * Self-contained: style, charts (SVG) and pictures (data URIs) are in the file, nothing is loaded.
 * The scores are computed here from the masks that are shown, so page and numbers cannot disagree.
 */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/print_scores.h"
#include "jobs/outputs.h"
#include "report/report.h"
#include "base/file.h"

#include <string.h>

extern const cli_command cli_cmd_report;

static char *opt_cohort, *opt_split, *opt_out, *opt_title, *opt_classes;
static char *opt_label_map, *opt_label_order;
static gboolean opt_bounds, opt_binary_255, opt_ignore_255;
static char **opt_pred, **opt_run;
static int opt_max_slides;

static const GOptionEntry entries[] = {
    {"cohort", 'c', 0, G_OPTION_ARG_FILENAME, &opt_cohort, "The cohort", "FILE"},
    {"split", 0, 0, G_OPTION_ARG_STRING, &opt_split, "train, val, test or all (test)", "SPLIT"},
    {"pred", 'p', 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_pred,
     "A folder of predicted masks and its name; up to 6", "NAME=DIR"},
    {"run", 'r', 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_run,
     "A training run; with the name of a --pred it shares its colour", "NAME=RUN"},
    {"classes", 0, 0, G_OPTION_ARG_STRING, &opt_classes,
     "Class table (noted beside the predictions)", "TABLE"},
    {"max-slides", 0, 0, G_OPTION_ARG_INT, &opt_max_slides,
     "Slides to show; the table counts all (12)", "N"},
    {"title", 0, 0, G_OPTION_ARG_STRING, &opt_title, "Heading of the page", "TEXT"},
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &opt_out, "The page", "FILE"},
    {"label-map", 0, 0, G_OPTION_ARG_STRING, &opt_label_map, CLI_LABEL_MAP_HELP, "MAP"},
    {"label-order", 0, 0, G_OPTION_ARG_STRING, &opt_label_order, CLI_LABEL_ORDER_HELP, "ORDER"},
    {"binary-255", 0, 0, G_OPTION_ARG_NONE, &opt_binary_255, CLI_BINARY_255_HELP, NULL},
    {"ignore-255", 0, 0, G_OPTION_ARG_NONE, &opt_ignore_255, CLI_IGNORE_255_HELP, NULL},
    {"bounds-relative", 0, 0, G_OPTION_ARG_NONE, &opt_bounds, CLI_BOUNDS_HELP, NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "RUN…: folders of `train`, of `experiment`, or stores: their "
    "training on one page. Or a cohort's slides\n"
    "as models saw them: the first --pred is what the others are compared with. A slide "
    "without truth is shown without errors.";

/* NAME=PATH; a bare PATH is named by its last part. */
static GArray *parse_named(char **texts)
{
    GArray *items = g_array_new(FALSE, TRUE, sizeof(rep_named));
    g_array_set_clear_func(items, rep_named_clear);
    for (int i = 0; texts && texts[i]; i++) {
        const char *equals = strchr(texts[i], '=');
        rep_named item = {.index = i};
        item.name = equals ? g_strndup(texts[i], (gsize)(equals - texts[i]))
                           : g_path_get_basename(texts[i]);
        item.path = g_strdup(equals ? equals + 1 : texts[i]);
        g_array_append_val(items, item);
    }
    return items;
}

/* A run wears the colour of the prediction of its name, others take the next free ones. */
static void colour_runs(GArray *run, const GArray *pred)
{
    int next = (int)pred->len;
    for (guint i = 0; i < run->len; i++) {
        rep_named *item = &g_array_index(run, rep_named, i);
        item->index = -1;
        for (guint m = 0; m < pred->len; m++)
            if (!strcmp(item->name, g_array_index(pred, rep_named, m).name))
                item->index = g_array_index(pred, rep_named, m).index;
        if (item->index < 0)
            item->index = next++ % REPORT_MODELS_MAX;
    }
}

static void add_head(GString *page, const report *r)
{
    g_autoptr(GString) lede = g_string_new(NULL);
    g_string_append_printf(lede, "%u %s of the %s split of %s, seen by %u %s.", r->set->len,
                           r->set->len == 1 ? "slide" : "slides", r->split, r->cohort, r->pred->len,
                           r->pred->len == 1 ? "model" : "models");
    rep_open(page, r->title, lede->str);
}

static void add_foot(GString *page)
{
    rep_close(page,
              "DSC = 2TP/(2TP+FP+FN), Jaccard = TP/(TP+FP+FN), over all pixels of a slide; "
              "with several classes the mean over the foreground classes. Rule: " INF_EMPTY_RULE
              ".");
}

static int write_page(report *r)
{
    GError *error = NULL;
    g_autoptr(GString) page = g_string_new(NULL);
    bool ok = true;
    r->progress = cli_progress();
    guint n_missing = 0;
    job_score_options options;
    job_score_options_init(&options);
    options.classes = opt_classes;
    r->scores = g_new0(job_scores, r->pred->len);
    for (guint m = 0; ok && m < r->pred->len; m++) {
        ok = job_scores_read(&r->scores[m], g_array_index(r->pred, rep_named, m).path, r->set,
                             &options, cli_progress(), &error);
        cli_print_unscored(&r->scores[m]);
        n_missing += ok ? r->scores[m].n - r->scores[m].n_ok : 0;
    }
    if (ok) {
        add_head(page, r);
        rep_scores(page, r);
        ok = rep_slides(page, r, &error) && rep_runs(page, r, &error);
        add_foot(page);
    }
    ok = ok && qs_file_replace(opt_out, page->str, page->len, &error);
    for (guint m = 0; m < r->pred->len; m++)
        job_scores_clear(&r->scores[m]);
    g_free(r->scores);
    if (!ok)
        return cli_fail(error);
    g_autofree char *bytes = qs_format_bytes((int64_t)page->len);
    cli_print("%s: %u slides, %u models, %s\n", opt_out, r->set->len, r->pred->len, bytes);
    return n_missing ? CLI_PARTLY : CLI_DONE;
}

/* `report RUN…`: of training runs alone, with neither slides nor predictions. */
static int write_runs(char *const *paths)
{
    GError *error = NULL;
    if (!job_output_check(opt_out, NULL, paths[0], NULL, &error))
        return cli_fail(error);
    GArray *runs = rep_find_runs(paths, &error);
    if (!runs)
        return cli_fail(error);
    g_autoptr(GString) page = g_string_new(NULL);
    g_autofree char *lede =
        g_strdup_printf("%u training %s.", runs->len, runs->len == 1 ? "run" : "runs");
    rep_open(page, opt_title ? opt_title : "Training runs", lede);
    bool ok = rep_run_page(page, runs, &error);
    rep_close(page, "Validation DSC is the mean foreground DSC over the validation slides.");
    ok = ok && qs_file_replace(opt_out, page->str, page->len, &error);
    guint n = runs->len;
    g_array_free(runs, TRUE);
    if (!ok)
        return cli_fail(error);
    g_autofree char *bytes = qs_format_bytes((int64_t)page->len);
    cli_print("%s: %u %s, %s\n", opt_out, n, n == 1 ? "run" : "runs", bytes);
    return CLI_DONE;
}

static int run_report(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_report, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status == -1 ? CLI_DONE : status;
    if (rest[0] && (opt_cohort || opt_pred || opt_run))
        return cli_usage("%s: give runs, or --cohort with --pred and --run, not both", rest[0]);
    if (rest[0] && opt_out)
        return write_runs(rest);
    if (!opt_cohort || !opt_pred || !opt_out)
        return cli_usage("give RUN… or --cohort FILE and --pred NAME=DIR, and --out page.html");
    if (g_strv_length(opt_pred) > REPORT_MODELS_MAX)
        return cli_usage("at most %d predictions fit on a page", REPORT_MODELS_MAX);
    if (opt_max_slides < 0)
        return cli_usage("--max-slides %d: give 1 or more", opt_max_slides);
    GError *error = NULL;
    report r = {.cohort = opt_cohort,
                .split = opt_split ? opt_split : "test",
                .title = opt_title ? opt_title : "What the models found",
                .max_slides = opt_max_slides ? opt_max_slides : 12};
    job_labels labels;
    if (!job_labels_init(&labels, opt_label_map, opt_label_order, opt_bounds, NULL, &error) ||
        !job_labels_set_255(&labels, opt_binary_255, opt_ignore_255, &error))
        return cli_fail(error);
    r.set = job_slide_set_read(opt_cohort, r.split, NULL, &error);
    if (!r.set) {
        job_labels_clear(&labels);
        return cli_fail(error);
    }
    job_slide_set_labels(r.set, &labels);
    r.pred = parse_named(opt_pred);
    r.run = parse_named(opt_run);
    colour_runs(r.run, r.pred);
    status = job_output_check(opt_out, r.set, opt_cohort, NULL, &error) ? write_page(&r)
                                                                        : cli_fail(error);
    g_array_free(r.set, TRUE);
    g_array_free(r.pred, TRUE);
    g_array_free(r.run, TRUE);
    job_labels_clear(&labels);
    return status;
}

const cli_command cli_cmd_report = {
    .name = "report",
    .arguments = "RUN… | --cohort C --pred NAME=DIR … [--run NAME=RUN …]  --out page.html",
    .summary = "one HTML page: slides, predictions, errors, curves, scores; or runs",
    .run = run_report,
};
