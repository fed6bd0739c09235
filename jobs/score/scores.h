/* Scores of a folder of predictions over a cohort, and their JSON. */
#ifndef QS_JOBS_SCORE_SCORES_H
#define QS_JOBS_SCORE_SCORES_H

#include "jobs/slide_set.h"
#include "base/report.h"
#include "infer/score/eval.h"

#include <json-glib/json-glib.h>

typedef enum {
    JOB_DSC,
    JOB_JACCARD,
    JOB_HD95,
    JOB_HD95_PYMIC,
    JOB_ASSD,
    JOB_SENSITIVITY,
    JOB_PRECISION,
    JOB_BOUNDARY_F1,
    JOB_N_METRICS
} job_metric_id;

/* How slides are scored. */
typedef struct {
    const char *classes; /* table; NULL: the one noted beside the predictions, else binary */
    bool distances;      /* the four that need outlines, too */
    bool pixels;         /* distances in level-0 pixels even where the resolution is known */
    double tolerance;    /* of the boundary F1, in the unit of the distances */
    bool annotation;     /* against column mask, though there may be a truth */
} job_score_options;
void job_score_options_init(job_score_options *options);

typedef struct {
    const job_slide *slide; /* borrowed */
    const char *truth_from; /* "truth" or "mask" */
    bool ok;                /* false: could not be scored */
    GError *error;          /* why not; owned */
    inf_counts counts;
    inf_eval_grid grid;
    /* Class 0 stands for the foreground, the mean over classes 1 … n-1; NaN what was not measured.
     */
    double values[JOB_N_METRICS][QS_CLASSES_MAX];
    int n_one_empty;     /* classes that only one of the masks has */
    double dsc, jaccard; /* foreground */
} job_score;

typedef struct {
    const char *dir; /* borrowed */
    qs_classes classes;
    job_score *items;
    guint n, n_ok;
    inf_counts pooled;
    bool distances;
    const char *unit; /* of distances: "µm", or "px" of level 0 where a slide has no resolution */
    double tolerance;
} job_scores;

/* A number that a slide is scored by, under its name in JSON. */
typedef struct {
    const char *key, *label; /* "dsc", "DSC" */
    const char *unit;        /* "fraction" or "distance" */
    bool higher_is_better;
} job_metric;
const job_metric *job_metrics(size_t *n);

/* Scores every slide of the set; a failed slide keeps its error. False only on a stop request or when
 * the class table cannot be had; *scores is to be cleared then too. progress (NULL none) of slides. */
bool job_scores_read(job_scores *scores, const char *dir, const GArray *set,
                     const job_score_options *options, const qs_progress *progress, GError **error);
void job_scores_clear(job_scores *scores);
/* One metric of every scored slide, in order; n_ok values, owned by the caller. */
double *job_scores_column(const job_scores *scores, job_metric_id metric, int cls);

/* The table of slides and metrics with its means, as text of several lines; owned. */
char *job_scores_text(const job_scores *scores);
/* Adds an object: pred, slides, mean, pooled, classes. */
void job_scores_to_json(const job_scores *scores, JsonBuilder *builder);

/* Both tests of one metric, over the slides that both scored; foreground. */
typedef struct {
    inf_ttest t;
    inf_wilcoxon w;
} job_comparison;
void job_scores_compare(const job_scores *a, const job_scores *b, job_metric_id metric,
                        job_comparison *result);
void job_comparison_to_json(const job_comparison *test, JsonBuilder *builder);

#endif
