/* Scores of a folder of predictions over a cohort, and their JSON. */
#ifndef QS_CLI_SCORES_H
#define QS_CLI_SCORES_H

#include "cli/slide_set.h"
#include "infer/eval.h"

#include <json-glib/json-glib.h>

typedef struct {
    const cli_slide *slide; /* borrowed */
    const char *truth_from; /* "truth" or "mask" */
    bool ok;                /* false: could not be scored, and why was said */
    inf_counts counts;
    inf_eval_grid grid;
    double dsc, jaccard; /* foreground */
} cli_score;

typedef struct {
    const char *dir; /* borrowed */
    qs_classes classes;
    cli_score *items;
    guint n, n_ok;
    inf_counts pooled;
} cli_scores;

/* A number that a slide is scored by, under its name in JSON. */
typedef struct {
    const char *key, *label; /* "dsc", "DSC" */
    const char *unit;
    bool higher_is_better;
} cli_metric;
const cli_metric *cli_metrics(size_t *n);

/* Scores every slide of the set; failures are printed through cli_fail, each by name. False only on
 * a stop request or when the class table cannot be had. `classes_text` NULL: the table noted beside
 * the predictions, else background/foreground. */
bool cli_scores_read(cli_scores *scores, const char *dir, const GArray *set,
                     const char *classes_text, GError **error);
void cli_scores_clear(cli_scores *scores);
/* One metric of every scored slide, in order; n_ok values, owned by the caller. */
double *cli_scores_column(const cli_scores *scores, double (*metric)(const inf_counts *, int),
                          int cls);
/* Foreground: cls 0 of these two. */
double cli_dsc(const inf_counts *counts, int cls);
double cli_jaccard(const inf_counts *counts, int cls);

void cli_scores_print(const cli_scores *scores);
/* Adds an object: pred, slides, mean, pooled, classes. */
void cli_scores_to_json(const cli_scores *scores, JsonBuilder *builder);

/* Where both are ok, metric of a against metric of b. */
void cli_scores_ttest(const cli_scores *a, const cli_scores *b,
                      double (*metric)(const inf_counts *, int), inf_ttest *result);
void cli_ttest_to_json(const inf_ttest *test, JsonBuilder *builder);

#endif
