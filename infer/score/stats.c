/* Mean, sample standard deviation and the paired two-sided t-test.
 *
 * Student's distribution function comes from the regularised incomplete beta function,
 *     p(two-sided) = I_x(dof/2, 1/2),  x = dof / (dof + t²),
 * (Abramowitz & Stegun 26.7.1), and that from its continued fraction (26.5.8) by the modified
 * Lentz method, used on the side where it converges fast. Good to about 1e-13 for the degrees of
 * freedom that a cohort has; tests hold it to 1e-10. */
#include "infer/score/metric.h"

#include <float.h>
#include <math.h>

enum { LENTZ_MAX_STEPS = 10000 };

/* The continued fraction of I_x(a,b), for x < (a+1)/(a+b+2). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = DBL_MIN / DBL_EPSILON;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double value = d;
    for (int m = 1; m <= LENTZ_MAX_STEPS; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double term[2] = {even, odd}, step = 1;
        for (int k = 0; k < 2; k++) {
            d = 1 + term[k] * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + term[k] / c;
            c = fabs(c) < tiny ? tiny : c;
            step = c * d;
            value *= step;
        }
        if (fabs(step - 1) <= DBL_EPSILON)
            break;
    }
    return value;
}

/* I_x(a,b) given both x and y = 1 - x, so that neither loses digits near an end. */
static double incomplete_beta(double a, double b, double x, double y)
{
    if (x <= 0)
        return 0;
    if (y <= 0)
        return 1;
    int sign; /* lgamma_r, because lgamma writes a global */
    double log_front =
        lgamma_r(a + b, &sign) - lgamma_r(a, &sign) - lgamma_r(b, &sign) + a * log(x) + b * log(y);
    double front = exp(log_front);
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, y) / b;
}

double inf_student_p(double t, double dof)
{
    if (!(dof > 0) || isnan(t))
        return NAN;
    if (isinf(t))
        return 0;
    double t2 = t * t;
    return incomplete_beta(dof / 2, 0.5, dof / (dof + t2), t2 / (dof + t2));
}

double inf_mean(const double *x, size_t n)
{
    if (n == 0)
        return NAN;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

double inf_std(const double *x, size_t n)
{
    if (n < 2)
        return NAN;
    double mean = inf_mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sqrt(sum / (double)(n - 1));
}

void inf_ttest_paired(const double *a, const double *b, size_t n, inf_ttest *result)
{
    *result = (inf_ttest){.n = n, .mean_diff = NAN, .std_diff = NAN, .t = NAN, .p = NAN};
    if (n == 0)
        return;
    g_autofree double *diff = g_new(double, n);
    for (size_t i = 0; i < n; i++)
        diff[i] = a[i] - b[i];
    result->mean_diff = inf_mean(diff, n);
    if (n < 2)
        return;
    result->std_diff = inf_std(diff, n);
    result->dof = (int)n - 1;
    /* All differences equal: t is infinite, or undefined (0/0, left NaN) when they are all 0. */
    result->t = result->mean_diff / (result->std_diff / sqrt((double)n));
    result->p = inf_student_p(result->t, result->dof);
}
