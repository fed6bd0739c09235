/* See scores.h. A class number of 0 stands for the foreground: the mean over classes 1 … n-1, which
 * for a binary mask is class 1. */
#include "jobs/score/scores.h"

#include "base/error.h"
#include "base/report.h"
#include "base/text.h"
#include "jobs/mask_note.h"
#include "wsi/slide/slide.h"

#include <math.h>
#include <string.h>

enum { NAME_WIDTH = 32, BOOTSTRAP_SEED = 1, LARGE_BYTES = 256 << 20 };

static const job_metric metric_table[JOB_N_METRICS] = {
    [JOB_DSC] = {"dsc", "DSC", "fraction", true},
    [JOB_JACCARD] = {"jaccard", "Jaccard", "fraction", true},
    [JOB_HD95] = {"hd95", "HD95", "distance", false},
    [JOB_HD95_PYMIC] = {"hd95_pymic", "HD95max", "distance", false},
    [JOB_ASSD] = {"assd", "ASSD", "distance", false},
    [JOB_SENSITIVITY] = {"sensitivity", "sensit.", "fraction", true},
    [JOB_PRECISION] = {"precision", "precis.", "fraction", true},
    [JOB_BOUNDARY_F1] = {"boundary_f1", "bound.F1", "fraction", true},
};

const job_metric *job_metrics(size_t *n)
{
    *n = JOB_N_METRICS;
    return metric_table;
}

void job_score_options_init(job_score_options *options)
{
    *options = (job_score_options){.distances = true, .tolerance = 5};
}

static bool needs_outlines(job_metric_id metric)
{
    return metric == JOB_HD95 || metric == JOB_HD95_PYMIC || metric == JOB_ASSD ||
           metric == JOB_BOUNDARY_F1;
}

/* What of the counts alone; NaN for a metric that needs outlines. */
static double of_counts(const inf_counts *counts, job_metric_id metric, int cls)
{
    switch (metric) {
    case JOB_DSC:
        return inf_dsc(counts, cls);
    case JOB_JACCARD:
        return inf_jaccard(counts, cls);
    case JOB_SENSITIVITY:
        return inf_sensitivity(counts, cls);
    case JOB_PRECISION:
        return inf_precision(counts, cls);
    default:
        return NAN;
    }
}

static double pooled_value(const inf_counts *counts, job_metric_id metric, int cls)
{
    if (cls > 0)
        return of_counts(counts, metric, cls);
    double sum = 0;
    for (int c = 1; c < counts->n_classes; c++)
        sum += of_counts(counts, metric, c);
    return sum / (counts->n_classes - 1);
}

static bool find_classes(qs_classes *classes, const char *dir, const GArray *set, const char *text,
                         GError **error)
{
    if (text)
        return qs_classes_from_text(classes, text, error);
    for (guint i = 0; i < set->len; i++) {
        g_autofree char *note = job_mask_note_path(dir, &g_array_index(set, job_slide, i));
        if (job_mask_note_classes(note, classes))
            return true;
    }
    qs_classes_init_binary(classes, "foreground");
    return true;
}

/* Outlines to distances, class by class. */
static bool measure(const job_scores *scores, job_score *score, inf_eval_surfaces *surfaces,
                    double px_size, GError **error)
{
    int64_t bytes = inf_surface_memory(surfaces->pred, surfaces->truth);
    if (bytes > LARGE_BYTES) {
        g_autofree char *text = qs_format_bytes(bytes);
        qs_info("%s: %s for the distances between its outlines", score->slide->name, text);
    }
    for (int c = 1; c < scores->classes.n; c++) {
        inf_distances d;
        if (!inf_surface_compare(surfaces->pred, surfaces->truth, c, px_size, scores->tolerance, &d,
                                 error))
            return false;
        score->values[JOB_HD95][c] = d.hd95;
        score->values[JOB_HD95_PYMIC][c] = d.hd95_pymic;
        score->values[JOB_ASSD][c] = d.assd;
        score->values[JOB_BOUNDARY_F1][c] = d.boundary_f1;
        score->n_one_empty += d.one_empty;
    }
    return true;
}

/* Every metric of every class, and their means as class 0. */
static bool fill_values(const job_scores *scores, job_score *score, inf_eval_surfaces *surfaces,
                        double mpp, GError **error)
{
    int n = scores->classes.n;
    for (int m = 0; m < JOB_N_METRICS; m++)
        for (int c = 1; c < n; c++)
            score->values[m][c] = of_counts(&score->counts, (job_metric_id)m, c);
    double px_size = score->grid.factor * (strcmp(scores->unit, "px") == 0 ? 1 : mpp);
    if (surfaces && !measure(scores, score, surfaces, px_size, error))
        return false;
    for (int m = 0; m < JOB_N_METRICS; m++) {
        score->values[m][0] = 0;
        for (int c = 1; c < n; c++)
            score->values[m][0] += score->values[m][c] / (n - 1);
    }
    score->dsc = score->values[JOB_DSC][0] = inf_dsc_foreground(&score->counts);
    score->jaccard = score->values[JOB_JACCARD][0] = inf_jaccard_foreground(&score->counts);
    return true;
}

static bool score_slide(const job_scores *scores, job_score *score, bool annotation, GError **error)
{
    const job_slide *slide = score->slide;
    const char *dir = scores->dir;
    const qs_classes *classes = &scores->classes;
    const char *truth = job_slide_truth(slide, &score->truth_from);
    if (annotation) {
        truth = slide->mask;
        score->truth_from = "mask";
    }
    g_autofree char *pred = job_mask_path(dir, slide);
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
    if (!job_mask_is_of(dir, slide, error))
        return false;
    wsi_slide *s = wsi_slide_open(slide->slide, slide->mpp, error);
    if (!s)
        return false;
    const wsi_level *level0 = &wsi_slide_get_info(s)->levels[0];
    double mpp = wsi_slide_get_info(s)->mpp;
    inf_eval_surfaces surfaces = {0};
    wsi_mask *mask = job_mask_open(truth, s, classes, slide->labels, error);
    bool ok = mask && inf_eval_against(pred, mask, level0->w, level0->h, classes, &score->counts,
                                       &score->grid, scores->distances ? &surfaces : NULL, error);
    wsi_mask_close(mask);
    wsi_slide_close(s);
    ok = ok && fill_values(scores, score, scores->distances ? &surfaces : NULL, mpp, error);
    inf_eval_surfaces_clear(&surfaces);
    return ok;
}

/* µm where every slide that can be opened knows its resolution. */
static const char *find_unit(const GArray *set, const job_score_options *options)
{
    bool um = options->distances && !options->pixels;
    for (guint i = 0; um && i < set->len; i++) {
        const job_slide *slide = &g_array_index(set, job_slide, i);
        wsi_slide *s = wsi_slide_open(slide->slide, slide->mpp, NULL);
        um = !s || wsi_slide_get_info(s)->mpp > 0;
        wsi_slide_close(s);
    }
    return um ? "µm" : "px";
}

bool job_scores_read(job_scores *scores, const char *dir, const GArray *set,
                     const job_score_options *options, const qs_progress *progress, GError **error)
{
    *scores = (job_scores){.dir = dir,
                           .n = set->len,
                           .distances = options->distances,
                           .tolerance = options->tolerance,
                           .unit = find_unit(set, options)};
    if (!find_classes(&scores->classes, dir, set, options->classes, error))
        return false;
    inf_counts_init(&scores->pooled, scores->classes.n);
    scores->items = g_new0(job_score, set->len);
    for (guint i = 0; i < set->len; i++) {
        job_score *score = &scores->items[i];
        GError *failure = NULL;
        score->slide = &g_array_index(set, job_slide, i);
        score->ok = score_slide(scores, score, options->annotation, &failure);
        if (g_error_matches(failure, QS_ERROR, QS_ERROR_STOPPED)) {
            g_propagate_error(error, failure);
            return false;
        }
        if (!score->ok) {
            score->error = failure;
            continue;
        }
        inf_counts_merge(&scores->pooled, &score->counts);
        scores->n_ok++;
        qs_progress_update(progress, "eval", i + 1, set->len, score->slide->name);
    }
    return true;
}

void job_scores_clear(job_scores *scores)
{
    for (guint i = 0; scores->items && i < scores->n; i++)
        g_clear_error(&scores->items[i].error);
    g_clear_pointer(&scores->items, g_free);
}

double *job_scores_column(const job_scores *scores, job_metric_id metric, int cls)
{
    double *values = g_new(double, MAX(1, scores->n_ok));
    guint n = 0;
    for (guint i = 0; i < scores->n; i++)
        if (scores->items[i].ok)
            values[n++] = scores->items[i].values[metric][cls];
    return values;
}

/* ---- text ----------------------------------------------------------------------------------- */

/* What the table has: every metric of the foreground, and with more than two classes DSC and
 * Jaccard of each. */
typedef struct {
    job_metric_id metric;
    int cls;
} column;

static guint columns(const job_scores *scores, column *out)
{
    guint n = 0;
    for (int m = 0; m < JOB_N_METRICS; m++)
        if (scores->distances || !needs_outlines((job_metric_id)m))
            out[n++] = (column){.metric = (job_metric_id)m};
    for (int c = 1; scores->classes.n > 2 && c < scores->classes.n; c++)
        for (int m = JOB_DSC; m <= JOB_JACCARD; m++)
            out[n++] = (column){.metric = (job_metric_id)m, .cls = c};
    return n;
}

static void text_row(GString *text, const char *name, const column *cols, const double *values,
                     guint n)
{
    g_string_append_printf(text, "%s%*s", name, MAX(0, NAME_WIDTH - (int)g_utf8_strlen(name, -1)),
                           "");
    for (guint i = 0; i < n; i++) {
        bool fraction = strcmp(metric_table[cols[i].metric].unit, "fraction") == 0;
        if (isnan(values[i]))
            g_string_append_printf(text, "  %8s", "-");
        else
            g_string_append_printf(text, "  %8.*f", fraction ? 4 : 2, values[i]);
    }
    g_string_append_printf(text, "\n");
}

static void text_head(GString *text, const job_scores *scores, const column *cols, guint n)
{
    g_string_append_printf(text, "%-*s", NAME_WIDTH, "slide");
    for (guint i = 0; i < n; i++) {
        bool of_class = cols[i].cls > 0 && cols[i].metric == JOB_DSC;
        g_string_append_printf(text, "  %8.8s",
                               of_class ? scores->classes.items[cols[i].cls].name
                                        : metric_table[cols[i].metric].label);
    }
    g_string_append_printf(text, "\n");
}

static void text_summary(GString *text, const job_scores *scores, const column *cols, guint n)
{
    double rows[5][JOB_N_METRICS + 2 * QS_CLASSES_MAX];
    static const char *const names[5] = {"mean", "± sample std", "95 % of the mean from",
                                         "95 % of the mean to", "pooled over pixels"};
    for (guint k = 0; k < n; k++) {
        g_autofree double *x = job_scores_column(scores, cols[k].metric, cols[k].cls);
        rows[0][k] = inf_mean(x, scores->n_ok);
        rows[1][k] = inf_std(x, scores->n_ok);
        inf_bootstrap_mean(x, scores->n_ok, 0.95, BOOTSTRAP_SEED, &rows[2][k], &rows[3][k]);
        rows[4][k] = pooled_value(&scores->pooled, cols[k].metric, cols[k].cls);
    }
    for (int r = 0; r < 5; r++)
        text_row(text, names[r], cols, rows[r], n);
}

char *job_scores_text(const job_scores *scores)
{
    GString *text = g_string_new(NULL);
    column cols[JOB_N_METRICS + 2 * QS_CLASSES_MAX];
    double values[JOB_N_METRICS + 2 * QS_CLASSES_MAX];
    guint n = columns(scores, cols);
    g_string_append_printf(text, "%s\n", scores->dir);
    text_head(text, scores, cols, n);
    for (guint i = 0; i < scores->n; i++) {
        const job_score *score = &scores->items[i];
        if (!score->ok) {
            g_string_append_printf(text, "%s  failed\n", score->slide->name);
            continue;
        }
        for (guint k = 0; k < n; k++)
            values[k] = score->values[cols[k].metric][cols[k].cls];
        text_row(text, score->slide->name, cols, values, n);
    }
    if (scores->n_ok > 0)
        text_summary(text, scores, cols, n);
    return g_string_free(text, FALSE);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

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

/* Mean, deviation and interval of every metric of a class. */
static void add_summary(JsonBuilder *b, const job_scores *scores, int cls)
{
    for (int m = 0; m < JOB_N_METRICS; m++) {
        if (!scores->distances && needs_outlines((job_metric_id)m))
            continue;
        g_autofree double *x = job_scores_column(scores, (job_metric_id)m, cls);
        double low, high;
        inf_bootstrap_mean(x, scores->n_ok, 0.95, BOOTSTRAP_SEED, &low, &high);
        const struct {
            const char *suffix;
            double value;
        } parts[] = {{"mean", inf_mean(x, scores->n_ok)},
                     {"std", inf_std(x, scores->n_ok)},
                     {"ci95_low", low},
                     {"ci95_high", high},
                     {"pooled", scores->n_ok > 0
                                    ? pooled_value(&scores->pooled, (job_metric_id)m, cls)
                                    : NAN}};
        for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
            g_autofree char *name = g_strdup_printf("%s_%s", metric_table[m].key, parts[i].suffix);
            if (i + 1 < G_N_ELEMENTS(parts) || !needs_outlines((job_metric_id)m))
                add_number(b, name, parts[i].value);
        }
    }
}

static void add_values(JsonBuilder *b, const job_scores *scores, const job_score *score, int cls)
{
    for (int m = 0; m < JOB_N_METRICS; m++)
        if (scores->distances || !needs_outlines((job_metric_id)m))
            add_number(b, metric_table[m].key, score->values[m][cls]);
}

static void add_classes(JsonBuilder *b, const job_scores *scores, const job_score *score)
{
    const inf_counts *counts = &score->counts;
    json_builder_set_member_name(b, "classes");
    json_builder_begin_array(b);
    for (int c = 1; c < scores->classes.n; c++) {
        json_builder_begin_object(b);
        add_int(b, "class", c);
        add_string(b, "name", scores->classes.items[c].name);
        add_values(b, scores, score, c);
        add_int(b, "tp", counts->tp[c]);
        add_int(b, "fp", counts->fp[c]);
        add_int(b, "fn", counts->fn[c]);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void add_slide(JsonBuilder *b, const job_scores *scores, const job_score *score)
{
    json_builder_begin_object(b);
    add_string(b, "name", score->slide->name);
    add_string(b, "slide", score->slide->slide);
    add_string(b, "case", score->slide->case_id);
    const char *from = score->truth_from;
    if (from) {
        const char *truth = strcmp(from, "truth") == 0 ? score->slide->truth : score->slide->mask;
        add_string(b, "truth", truth ? truth : "");
        add_string(b, "truth_from", from);
    }
    add_string(b, "state", score->ok ? "scored" : "failed");
    if (score->ok) {
        g_autofree char *grid = inf_eval_grid_text(&score->grid);
        add_string(b, "grid", grid);
        add_int(b, "pixels", score->counts.n_px);
        add_int(b, "ignored", score->counts.n_ignored);
        add_values(b, scores, score, 0);
        add_int(b, "classes_in_one_mask_only", score->n_one_empty);
        add_classes(b, scores, score);
    }
    json_builder_end_object(b);
}

void job_scores_to_json(const job_scores *scores, JsonBuilder *b)
{
    json_builder_begin_object(b);
    add_string(b, "pred", scores->dir);
    add_int(b, "n_slides", scores->n);
    add_int(b, "n_scored", scores->n_ok);
    add_string(b, "distance_unit", scores->unit);
    add_number(b, "boundary_tolerance", scores->tolerance);
    json_builder_set_member_name(b, "foreground");
    json_builder_begin_object(b);
    add_summary(b, scores, 0);
    json_builder_end_object(b);
    json_builder_set_member_name(b, "classes");
    json_builder_begin_array(b);
    for (int c = 1; c < scores->classes.n; c++) {
        json_builder_begin_object(b);
        add_int(b, "class", c);
        add_string(b, "name", scores->classes.items[c].name);
        add_summary(b, scores, c);
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

void job_scores_compare(const job_scores *a, const job_scores *b, job_metric_id metric,
                        job_comparison *result)
{
    g_autofree double *x = g_new(double, MAX(1, a->n)), *y = g_new(double, MAX(1, a->n));
    size_t n = 0;
    for (guint i = 0; i < a->n; i++) {
        if (!a->items[i].ok || !b->items[i].ok)
            continue;
        x[n] = a->items[i].values[metric][0];
        y[n++] = b->items[i].values[metric][0];
    }
    inf_ttest_paired(x, y, n, &result->t);
    inf_wilcoxon_paired(x, y, n, &result->w);
}

void job_comparison_to_json(const job_comparison *test, JsonBuilder *b)
{
    json_builder_begin_object(b);
    add_int(b, "n", (int64_t)test->t.n);
    add_number(b, "mean_difference", test->t.mean_diff);
    add_number(b, "std_difference", test->t.std_diff);
    add_number(b, "t", test->t.t);
    add_int(b, "dof", test->t.dof);
    add_number(b, "p_two_sided", test->t.p);
    add_number(b, "wilcoxon_w", test->w.w);
    add_int(b, "wilcoxon_n_used", (int64_t)test->w.n_used);
    add_number(b, "wilcoxon_p_two_sided", test->w.p);
    add_string(b, "wilcoxon_distribution", test->w.exact ? "exact" : "normal");
    json_builder_end_object(b);
}
