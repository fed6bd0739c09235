/* Percentile bootstrap of a mean: slides are drawn with replacement, the interval is between the
 * quantiles of the means. Seeded, so that the same scores give the same interval everywhere. */
#include "infer/score/metric.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double share)
{
    double at = share * (double)(n - 1);
    size_t i = (size_t)at, j = i + 1 < n ? i + 1 : i;
    return sorted[i] + (at - (double)i) * (sorted[j] - sorted[i]);
}

void inf_bootstrap_mean(const double *x, size_t n, double level, uint64_t seed, double *low,
                        double *high)
{
    *low = *high = NAN;
    if (n < 2)
        return;
    g_autofree double *means = g_new(double, INF_BOOTSTRAP_DRAWS);
    qs_rng rng;
    qs_rng_init(&rng, seed, qs_rng_stream_id(0x626f6f74, n, 0)); /* "boot" */
    for (int k = 0; k < INF_BOOTSTRAP_DRAWS; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += x[qs_rng_below(&rng, (uint32_t)n)];
        means[k] = sum / (double)n;
        if (isnan(means[k]))
            return;
    }
    qsort(means, INF_BOOTSTRAP_DRAWS, sizeof *means, by_size);
    *low = quantile(means, INF_BOOTSTRAP_DRAWS, (1 - level) / 2);
    *high = quantile(means, INF_BOOTSTRAP_DRAWS, (1 + level) / 2);
}
