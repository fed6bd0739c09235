/* Overlap metrics and the statistics over slides. Plain values, no state, thread-safe.
 * The empty-mask rule: a class absent from both masks scores 1, absent from one of them 0. */
#ifndef QS_INFER_METRIC_H
#define QS_INFER_METRIC_H

#include "base/classes.h"

#include <stdbool.h>
#include <stddef.h>

#define INF_EMPTY_RULE "a class absent from both masks scores 1, absent from one of them 0"

typedef struct {
    int n_classes;
    int64_t tp[QS_CLASSES_MAX], fp[QS_CLASSES_MAX], fn[QS_CLASSES_MAX]; /* per class */
    int64_t n_px, n_ignored; /* pixels seen; of these, without truth */
} inf_counts;

void inf_counts_init(inf_counts *counts, int n_classes);
/* n pixels. truth 255 (or any value that is no class) is ignored; a prediction that is no class is
 * a miss of the true one. */
void inf_counts_add(inf_counts *counts, const uint8_t *pred, const uint8_t *truth, size_t n);
void inf_counts_merge(inf_counts *counts, const inf_counts *other);
double inf_dsc(const inf_counts *counts, int cls);         /* 2TP / (2TP+FP+FN) */
double inf_jaccard(const inf_counts *counts, int cls);     /* TP / (TP+FP+FN) */
double inf_sensitivity(const inf_counts *counts, int cls); /* TP / (TP+FN) */
double inf_precision(const inf_counts *counts, int cls);   /* TP / (TP+FP) */
/* Mean over classes 1..n-1. */
double inf_dsc_foreground(const inf_counts *counts);
double inf_jaccard_foreground(const inf_counts *counts);

double inf_mean(const double *x, size_t n); /* NaN for n = 0 */
double inf_std(const double *x, size_t n);  /* sample, n-1; NaN for n < 2 */

typedef struct {
    size_t n;
    double mean_diff, std_diff, t,
        p;   /* two-sided; NaN where undefined (n < 2, all differences 0) */
    int dof; /* n - 1 */
} inf_ttest;
/* Of a[i] - b[i]. Equal non-zero differences give t = ±infinity, p = 0. */
void inf_ttest_paired(const double *a, const double *b, size_t n, inf_ttest *result);
typedef struct {
    size_t n, n_used; /* pairs; those that differ */
    double w;         /* the smaller sum of signed ranks */
    double p;         /* two-sided; NaN where undefined (no pair differs) */
    bool exact;       /* else the normal approximation */
} inf_wilcoxon;
/* Wilcoxon's signed-rank test of a[i] - b[i]. */
void inf_wilcoxon_paired(const double *a, const double *b, size_t n, inf_wilcoxon *result);

enum { INF_CASES_MIN = 4 }; /* fewer carry no interval */
/* Different values of cases[n]; slides of one case have the same number. */
size_t inf_count_cases(const int *cases, size_t n);
/* Interval of the mean of x (n) at `level`, as 0.95, by case (interval.c); NaN for fewer than
 * INF_CASES_MIN cases, and where a value is NaN. */
void inf_interval_mean(const double *x, const int *cases, size_t n, double level, double *low,
                       double *high);
/* means (n): the mean over each case's slides, in the order of their first slides. Returns how many. */
size_t inf_case_means(const double *x, const int *cases, size_t n, double *means);

/* P(|T| >= |t|) of Student's distribution, to 1e-10; NaN for dof <= 0. */
double inf_student_p(double t, double dof);

#endif
