/* See scores.h. A class number of 0 stands for the foreground: the mean over classes 1 … n-1, which
 * for a binary mask is class 1. */
#include "cli/scores.h"

#include "base/error.h"
#include "cli/cli.h"
#include "cli/sidecar.h"
#include "wsi/slide.h"

#include <math.h>

enum { NAME_WIDTH = 32 };

static const cli_metric metric_table[] = {
    {"dsc", "DSC", "fraction", true},
    {"jaccard", "Jaccard", "fraction", true},
};

const cli_metric *cli_metrics(size_t *n)
{
    *n = G_N_ELEMENTS(metric_table);
    return metric_table;
}

double cli_dsc(const inf_counts *counts, int cls)
{
    return cls == 0 ? inf_dsc_foreground(counts) : inf_dsc(counts, cls);
}

double cli_jaccard(const inf_counts *counts, int cls)
{
    return cls == 0 ? inf_jaccard_foreground(counts) : inf_jaccard(counts, cls);
}

static bool find_classes(qs_classes *classes, const char *dir, const GArray *set, const char *text,
                         GError **error)
{
    if (text)
        return qs_classes_from_text(classes, text, error);
    for (guint i = 0; i < set->len; i++) {
        g_autofree char *note = cli_sidecar_path(dir, &g_array_index(set, cli_slide, i));
        if (cli_sidecar_classes(note, classes))
            return true;
    }
    qs_classes_init_binary(classes, "foreground");
    return true;
}

static bool score_slide(cli_score *score, const char *dir, const qs_classes *classes,
                        GError **error)
{
    const cli_slide *slide = score->slide;
    const char *truth = cli_slide_truth(slide, &score->truth_from);
    g_autofree char *pred = cli_mask_path(dir, slide);
    if (!truth) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_FORMAT,
            "%s: the cohort names neither truth nor mask for it; there is nothing to compare with",
            slide->slide);
        return false;
    }
    if (!g_file_test(pred, G_FILE_TEST_IS_REGULAR)) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO,
                    "%s: no prediction %s; make it with `quadslide predict --out %s`", slide->slide,
                    pred, dir);
        return false;
    }
    wsi_slide *s = wsi_slide_open(slide->slide, slide->mpp, error);
    if (!s)
        return false;
    const wsi_level *level0 = &wsi_slide_get_info(s)->levels[0];
    wsi_mask *mask = cli_mask_open(truth, s, classes, slide->labels, error);
    bool ok = mask && inf_eval_against(pred, mask, level0->w, level0->h, classes, &score->counts,
                                       &score->grid, error);
    wsi_mask_close(mask);
    wsi_slide_close(s);
    if (!ok)
        return false;
    score->dsc = inf_dsc_foreground(&score->counts);
    score->jaccard = inf_jaccard_foreground(&score->counts);
    return true;
}

bool cli_scores_read(cli_scores *scores, const char *dir, const GArray *set,
                     const char *classes_text, GError **error)
{
    *scores = (cli_scores){.dir = dir, .n = set->len};
    if (!find_classes(&scores->classes, dir, set, classes_text, error))
        return false;
    inf_counts_init(&scores->pooled, scores->classes.n);
    scores->items = g_new0(cli_score, set->len);
    for (guint i = 0; i < set->len; i++) {
        cli_score *score = &scores->items[i];
        GError *failure = NULL;
        score->slide = &g_array_index(set, cli_slide, i);
        score->ok = score_slide(score, dir, &scores->classes, &failure);
        if (g_error_matches(failure, QS_ERROR, QS_ERROR_STOPPED)) {
            g_propagate_error(error, failure);
            return false;
        }
        if (!score->ok) {
            cli_fail(failure);
            continue;
        }
        inf_counts_merge(&scores->pooled, &score->counts);
        scores->n_ok++;
        qs_progress_update(cli_progress(), "eval", i + 1, set->len, score->slide->name);
    }
    return true;
}

void cli_scores_clear(cli_scores *scores)
{
    g_clear_pointer(&scores->items, g_free);
}

double *cli_scores_column(const cli_scores *scores, double (*metric)(const inf_counts *, int),
                          int cls)
{
    double *values = g_new(double, MAX(1, scores->n_ok));
    guint n = 0;
    for (guint i = 0; i < scores->n; i++)
        if (scores->items[i].ok)
            values[n++] = metric(&scores->items[i].counts, cls);
    return values;
}

static void print_row(const char *name, const double *values, int n)
{
    cli_print("%s%*s", name, MAX(0, NAME_WIDTH - (int)g_utf8_strlen(name, -1)), "");
    for (int i = 0; i < n; i++) {
        if (isnan(values[i]))
            cli_print("  %8s", "-");
        else
            cli_print("  %8.4f", values[i]);
    }
    cli_print("\n");
}

/* The columns: foreground DSC and Jaccard, and with more than two classes both of each class. */
static int columns(const cli_scores *scores, const inf_counts *counts, double *values)
{
    int n = 0, n_classes = scores->classes.n;
    values[n++] = cli_dsc(counts, 0);
    values[n++] = cli_jaccard(counts, 0);
    for (int c = 1; n_classes > 2 && c < n_classes; c++) {
        values[n++] = inf_dsc(counts, c);
        values[n++] = inf_jaccard(counts, c);
    }
    return n;
}

static void print_head(const cli_scores *scores)
{
    cli_print("%-*s  %8s  %8s", NAME_WIDTH, "slide", "DSC", "Jaccard");
    for (int c = 1; scores->classes.n > 2 && c < scores->classes.n; c++)
        cli_print("  %8.8s  %8s", scores->classes.items[c].name, "Jaccard");
    cli_print("\n");
}

void cli_scores_print(const cli_scores *scores)
{
    double values[2 * QS_CLASSES_MAX], means[2 * QS_CLASSES_MAX], stds[2 * QS_CLASSES_MAX];
    int n_columns = columns(scores, &scores->pooled, values);
    cli_print("%s\n", scores->dir);
    print_head(scores);
    for (guint i = 0; i < scores->n; i++) {
        if (!scores->items[i].ok) {
            cli_print("%s  failed\n", scores->items[i].slide->name);
            continue;
        }
        columns(scores, &scores->items[i].counts, values);
        print_row(scores->items[i].slide->name, values, n_columns);
    }
    if (scores->n_ok == 0)
        return;
    for (int k = 0; k < n_columns; k++) {
        g_autofree double *column = cli_scores_column(scores, k % 2 ? cli_jaccard : cli_dsc, k / 2);
        means[k] = inf_mean(column, scores->n_ok);
        stds[k] = inf_std(column, scores->n_ok);
    }
    print_row("mean", means, n_columns);
    print_row("± sample std", stds, n_columns);
    columns(scores, &scores->pooled, values);
    print_row("pooled over pixels", values, n_columns);
}

/* JSON has no NaN and no infinity: null. */
static void add_number(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    if (isfinite(value))
        json_builder_add_double_value(b, value);
    else
        json_builder_add_null_value(b);
}

static void add_string(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void add_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void add_pair(JsonBuilder *b, const cli_scores *scores, int cls)
{
    g_autofree double *dsc = cli_scores_column(scores, cli_dsc, cls);
    g_autofree double *jaccard = cli_scores_column(scores, cli_jaccard, cls);
    add_number(b, "dsc_mean", inf_mean(dsc, scores->n_ok));
    add_number(b, "dsc_std", inf_std(dsc, scores->n_ok));
    add_number(b, "jaccard_mean", inf_mean(jaccard, scores->n_ok));
    add_number(b, "jaccard_std", inf_std(jaccard, scores->n_ok));
    bool any = scores->n_ok > 0;
    add_number(b, "dsc_pooled", any ? cli_dsc(&scores->pooled, cls) : NAN);
    add_number(b, "jaccard_pooled", any ? cli_jaccard(&scores->pooled, cls) : NAN);
}

static void add_class_counts(JsonBuilder *b, const cli_scores *scores, const inf_counts *counts)
{
    json_builder_set_member_name(b, "classes");
    json_builder_begin_array(b);
    for (int c = 1; c < scores->classes.n; c++) {
        json_builder_begin_object(b);
        add_int(b, "class", c);
        add_string(b, "name", scores->classes.items[c].name);
        add_number(b, "dsc", inf_dsc(counts, c));
        add_number(b, "jaccard", inf_jaccard(counts, c));
        add_int(b, "tp", counts->tp[c]);
        add_int(b, "fp", counts->fp[c]);
        add_int(b, "fn", counts->fn[c]);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void add_slide(JsonBuilder *b, const cli_scores *scores, const cli_score *score)
{
    const char *from;
    json_builder_begin_object(b);
    add_string(b, "name", score->slide->name);
    add_string(b, "slide", score->slide->slide);
    add_string(b, "case", score->slide->case_id);
    const char *truth = cli_slide_truth(score->slide, &from);
    if (truth) {
        add_string(b, "truth", truth);
        add_string(b, "truth_from", from);
    }
    add_string(b, "state", score->ok ? "scored" : "failed");
    if (score->ok) {
        g_autofree char *grid = inf_eval_grid_text(&score->grid);
        add_string(b, "grid", grid);
        add_int(b, "pixels", score->counts.n_px);
        add_int(b, "ignored", score->counts.n_ignored);
        add_number(b, "dsc", score->dsc);
        add_number(b, "jaccard", score->jaccard);
        add_class_counts(b, scores, &score->counts);
    }
    json_builder_end_object(b);
}

void cli_scores_to_json(const cli_scores *scores, JsonBuilder *b)
{
    json_builder_begin_object(b);
    add_string(b, "pred", scores->dir);
    add_int(b, "n_slides", scores->n);
    add_int(b, "n_scored", scores->n_ok);
    json_builder_set_member_name(b, "foreground");
    json_builder_begin_object(b);
    add_pair(b, scores, 0);
    json_builder_end_object(b);
    json_builder_set_member_name(b, "classes");
    json_builder_begin_array(b);
    for (int c = 1; c < scores->classes.n; c++) {
        json_builder_begin_object(b);
        add_int(b, "class", c);
        add_string(b, "name", scores->classes.items[c].name);
        add_pair(b, scores, c);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_set_member_name(b, "slides");
    json_builder_begin_array(b);
    for (guint i = 0; i < scores->n; i++)
        add_slide(b, scores, &scores->items[i]);
    json_builder_end_array(b);
    json_builder_end_object(b);
}

void cli_scores_ttest(const cli_scores *a, const cli_scores *b,
                      double (*metric)(const inf_counts *, int), inf_ttest *result)
{
    g_autofree double *x = g_new(double, MAX(1, a->n)), *y = g_new(double, MAX(1, a->n));
    size_t n = 0;
    for (guint i = 0; i < a->n; i++) {
        if (!a->items[i].ok || !b->items[i].ok)
            continue;
        x[n] = metric(&a->items[i].counts, 0);
        y[n++] = metric(&b->items[i].counts, 0);
    }
    inf_ttest_paired(x, y, n, result);
}

void cli_ttest_to_json(const inf_ttest *test, JsonBuilder *b)
{
    json_builder_begin_object(b);
    add_int(b, "n", (int64_t)test->n);
    add_number(b, "mean_difference", test->mean_diff);
    add_number(b, "std_difference", test->std_diff);
    add_number(b, "t", test->t);
    add_int(b, "dof", test->dof);
    add_number(b, "p_two_sided", test->p);
    json_builder_end_object(b);
}
