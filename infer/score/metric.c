/* Overlap metrics from counts of true positives, false positives and false negatives.
 *
 * Counts are integers, so strips, slides and threads can be merged in any order without a change
 * of a bit, and the pooled value of a cohort is the value of its merged counts.
 *
 * The empty-mask rule (medpy's, ssl-methods E): a class absent from both masks scores 1, a class
 * absent from one of them scores 0. The second needs no branch: its TP is 0. */
#include "infer/score/metric.h"

#include <string.h>

void inf_counts_init(inf_counts *counts, int n_classes)
{
    memset(counts, 0, sizeof *counts);
    counts->n_classes = CLAMP(n_classes, 2, QS_CLASSES_MAX);
}

void inf_counts_add(inf_counts *counts, const uint8_t *pred, const uint8_t *truth, size_t n)
{
    /* Pairs are counted first and sorted into TP, FP and FN once a call: one increment a pixel. */
    int64_t pairs[QS_CLASSES_MAX + 1][QS_CLASSES_MAX + 1] = {{0}};
    int nc = counts->n_classes;
    for (size_t i = 0; i < n; i++) {
        int p = pred[i] < nc ? pred[i] : nc;
        int t = truth[i] < nc ? truth[i] : nc;
        pairs[p][t]++;
    }
    for (int p = 0; p <= nc; p++) {
        counts->n_ignored += pairs[p][nc];
        for (int t = 0; t < nc; t++) {
            if (p == t) {
                counts->tp[t] += pairs[p][t];
            } else {
                counts->fn[t] += pairs[p][t];
                if (p < nc)
                    counts->fp[p] += pairs[p][t];
            }
        }
    }
    counts->n_px += (int64_t)n;
}

void inf_counts_merge(inf_counts *counts, const inf_counts *other)
{
    for (int c = 0; c < counts->n_classes; c++) {
        counts->tp[c] += other->tp[c];
        counts->fp[c] += other->fp[c];
        counts->fn[c] += other->fn[c];
    }
    counts->n_px += other->n_px;
    counts->n_ignored += other->n_ignored;
}

double inf_dsc(const inf_counts *counts, int cls)
{
    double tp = (double)counts->tp[cls];
    double sum = 2 * tp + (double)counts->fp[cls] + (double)counts->fn[cls];
    return sum > 0 ? 2 * tp / sum : 1;
}

double inf_jaccard(const inf_counts *counts, int cls)
{
    double tp = (double)counts->tp[cls];
    double sum = tp + (double)counts->fp[cls] + (double)counts->fn[cls];
    return sum > 0 ? tp / sum : 1;
}

/* Absent from both masks: 1. Absent from one: TP is 0, and so is the value, whatever it divides by.
 */
static double tp_share(const inf_counts *counts, int cls, int64_t wrong)
{
    int64_t tp = counts->tp[cls];
    if (tp + counts->fp[cls] + counts->fn[cls] == 0)
        return 1;
    return tp > 0 ? (double)tp / (double)(tp + wrong) : 0;
}

double inf_sensitivity(const inf_counts *counts, int cls)
{
    return tp_share(counts, cls, counts->fn[cls]);
}

double inf_precision(const inf_counts *counts, int cls)
{
    return tp_share(counts, cls, counts->fp[cls]);
}

static double foreground(const inf_counts *counts, double (*metric)(const inf_counts *, int))
{
    double sum = 0;
    for (int c = 1; c < counts->n_classes; c++)
        sum += metric(counts, c);
    return sum / (counts->n_classes - 1);
}

double inf_dsc_foreground(const inf_counts *counts)
{
    return foreground(counts, inf_dsc);
}

double inf_jaccard_foreground(const inf_counts *counts)
{
    return foreground(counts, inf_jaccard);
}
