/* Scores of a folder of predictions over a cohort, and their JSON. */
#ifndef QS_CLI_SCORES_H
#define QS_CLI_SCORES_H

#include "jobs/slide_set.h"
#include "infer/score/eval.h"

#include <json-glib/json-glib.h>

typedef enum {
    CLI_DSC,
    CLI_JACCARD,
    CLI_HD95,
    CLI_HD95_PYMIC,
    CLI_ASSD,
    CLI_SENSITIVITY,
    CLI_PRECISION,
    CLI_BOUNDARY_F1,
    CLI_N_METRICS
} cli_metric_id;

/* How slides are scored. */
typedef struct {
    const char *classes; /* table; NULL: the one noted beside the predictions, else binary */
    bool distances;      /* the four that need outlines, too */
    bool pixels;         /* distances in level-0 pixels even where the resolution is known */
    double tolerance;    /* of the boundary F1, in the unit of the distances */
    bool annotation;     /* against column mask, though there may be a truth */
} cli_score_options;
void cli_score_options_init(cli_score_options *options);

typedef struct {
    const cli_slide *slide; /* borrowed */
    const char *truth_from; /* "truth" or "mask" */
    bool ok;                /* false: could not be scored, and why was said */
    inf_counts counts;
    inf_eval_grid grid;
    /* Class 0 stands for the foreground, the mean over classes 1 … n-1; NaN what was not measured.
     */
    double values[CLI_N_METRICS][QS_CLASSES_MAX];
    int n_one_empty;     /* classes that only one of the masks has */
    double dsc, jaccard; /* foreground */
} cli_score;

typedef struct {
    const char *dir; /* borrowed */
    qs_classes classes;
    cli_score *items;
    guint n, n_ok;
    inf_counts pooled;
    bool distances;
    const char *unit; /* of distances: "µm", or "px" of level 0 where a slide has no resolution */
    double tolerance;
} cli_scores;

/* A number that a slide is scored by, under its name in JSON. */
typedef struct {
    const char *key, *label; /* "dsc", "DSC" */
    const char *unit;        /* "fraction" or "distance" */
    bool higher_is_better;
} cli_metric;
const cli_metric *cli_metrics(size_t *n);

/* Scores every slide of the set; failures are printed through cli_fail, each by name. False only on
 * a stop request or when the class table cannot be had. */
bool cli_scores_read(cli_scores *scores, const char *dir, const GArray *set,
                     const cli_score_options *options, GError **error);
void cli_scores_clear(cli_scores *scores);
/* One metric of every scored slide, in order; n_ok values, owned by the caller. */
double *cli_scores_column(const cli_scores *scores, cli_metric_id metric, int cls);

void cli_scores_print(const cli_scores *scores);
/* Adds an object: pred, slides, mean, pooled, classes. */
void cli_scores_to_json(const cli_scores *scores, JsonBuilder *builder);

/* Both tests of one metric, over the slides that both scored; foreground. */
typedef struct {
    inf_ttest t;
    inf_wilcoxon w;
} cli_comparison;
void cli_scores_compare(const cli_scores *a, const cli_scores *b, cli_metric_id metric,
                        cli_comparison *result);
void cli_comparison_to_json(const cli_comparison *test, JsonBuilder *builder);

#endif
