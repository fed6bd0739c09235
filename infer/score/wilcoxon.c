/* Wilcoxon's signed-rank test, two-sided.
 *
 * Differences of 0 are left out (Wilcoxon's own rule), equal sizes share the mean of their ranks.
 * Up to EXACT_MAX differences the distribution is exact, ties included: every rank is + or - with
 * probability ½, and the sums are counted in units of half a rank. Above that the normal
 * approximation with the variance corrected for ties, without continuity correction. */
#include "infer/score/metric.h"

#include <math.h>
#include <string.h>

enum { EXACT_MAX = 50 };

typedef struct {
    double size;
    bool positive;
    int64_t rank2; /* twice the rank */
} difference;

static int by_size(const void *a, const void *b)
{
    const difference *x = a, *y = b;
    return (x->size > y->size) - (x->size < y->size);
}

/* Ranks of sorted differences; returns Σ(t³ - t) over groups of equal ones. */
static double rank(difference *d, size_t n)
{
    double ties = 0;
    for (size_t i = 0; i < n;) {
        size_t j = i;
        while (j + 1 < n && d[j + 1].size == d[i].size)
            j++;
        double t = (double)(j - i + 1);
        ties += t * t * t - t;
        for (size_t k = i; k <= j; k++)
            d[k].rank2 = (int64_t)(i + 1 + j + 1);
        i = j + 1;
    }
    return ties;
}

/* P(sum of positive ranks, doubled, <= w2). */
static double lower_tail(const difference *d, size_t n, int64_t w2)
{
    size_t total = n * (n + 1); /* twice the sum of all ranks */
    g_autofree double *share = g_new0(double, total + 1);
    share[0] = 1;
    for (size_t i = 0; i < n; i++) {
        size_t r = (size_t)d[i].rank2;
        for (size_t s = total + 1; s-- > 0;)
            share[s] = 0.5 * share[s] + (s >= r ? 0.5 * share[s - r] : 0);
    }
    double p = 0;
    for (size_t s = 0; s <= (size_t)w2; s++)
        p += share[s];
    return p;
}

void inf_wilcoxon_paired(const double *a, const double *b, size_t n, inf_wilcoxon *result)
{
    *result = (inf_wilcoxon){.n = n, .w = NAN, .p = NAN};
    g_autofree difference *d = g_new0(difference, MAX(1, n));
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        double x = a[i] - b[i];
        if (isnan(x))
            return;
        if (x != 0)
            d[m++] = (difference){.size = fabs(x), .positive = x > 0};
    }
    result->n_used = m;
    if (m == 0)
        return;
    qsort(d, m, sizeof *d, by_size);
    double ties = rank(d, m), count = (double)m;
    int64_t plus2 = 0, all2 = (int64_t)(m * (m + 1));
    for (size_t i = 0; i < m; i++)
        plus2 += d[i].positive ? d[i].rank2 : 0;
    int64_t w2 = MIN(plus2, all2 - plus2);
    result->w = (double)w2 / 2;
    result->exact = m <= EXACT_MAX;
    if (result->exact) {
        result->p = MIN(1, 2 * lower_tail(d, m, w2));
        return;
    }
    double mean = count * (count + 1) / 4;
    double variance = count * (count + 1) * (2 * count + 1) / 24 - ties / 48;
    result->p = MIN(1, erfc(fabs(result->w - mean) / sqrt(2 * variance)));
}
