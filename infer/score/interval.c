/* Intervals of a mean over slides that come in cases, and a case's slides as one value.
 *
 * Slides of a case are alike, so a case counts once: the variance is the delete-one-case jackknife
 *     v = (G - 1)/G · Σ_g (m_(g) - m)²,   m_(g): the mean over slides without case g,
 * (Efron and Stein 1981; for clusters Bell and McCaffrey 2002, CR3) and the interval is m ± t · √v with
 * Student's t of G - 1 degrees of freedom. A percentile bootstrap over slides is too narrow here: it covers
 * 80 % of the time with four slides. tests/infer holds this one to 93 to 97 % for 4 to 40 cases of 1 to 3
 * slides. Fewer than four cases carry no interval. */
#include "infer/score/metric.h"

#include <math.h>

size_t inf_count_cases(const int *cases, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;
        while (j < i && cases[j] != cases[i])
            j++;
        count += j == i;
    }
    return count;
}

/* t with P(|T| >= t) = 1 - level, by halving. */
static double student_quantile(double level, double dof)
{
    double low = 0, high = 1e4;
    for (int i = 0; i < 200; i++) {
        double t = (low + high) / 2;
        if (inf_student_p(t, dof) > 1 - level)
            low = t;
        else
            high = t;
    }
    return (low + high) / 2;
}

void inf_interval_mean(const double *x, const int *cases, size_t n, double level, double *low,
                       double *high)
{
    size_t n_cases = inf_count_cases(cases, n);
    *low = *high = NAN;
    if (n_cases < INF_CASES_MIN)
        return;
    double sum = 0, spread = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double own = 0;
        size_t n_own = 0;
        bool first = true;
        for (size_t j = 0; j < n; j++)
            if (cases[j] == cases[i]) {
                first = first && j >= i;
                own += x[j];
                n_own++;
            }
        if (!first || n_own == n)
            continue;
        double without = (sum - own) / (double)(n - n_own);
        spread += (without - mean) * (without - mean);
    }
    double g = (double)n_cases;
    double half = student_quantile(level, g - 1) * sqrt((g - 1) / g * spread);
    *low = mean - half;
    *high = mean + half;
}

size_t inf_case_means(const double *x, const int *cases, size_t n, double *means)
{
    size_t n_cases = 0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        size_t n_own = 0;
        bool first = true;
        for (size_t j = 0; j < n; j++)
            if (cases[j] == cases[i]) {
                first = first && j >= i;
                sum += x[j];
                n_own++;
            }
        if (first)
            means[n_cases++] = sum / (double)n_own;
    }
    return n_cases;
}
