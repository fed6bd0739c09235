/* Schedules of the training recipe (golden group E15) and of methods, and φ with its region weights
 * (eq. 6). */
#include "kernels/loss/compare_fold.h"
#include "kernels/loss/quad_fold.h"

#include <math.h>

double kn_phi_value(kn_phi phi, double beta, double u)
{
    switch (phi) {
    case KN_PHI_LINEAR:
        return fmax(0.0, 1.0 - u / 2.0);
    case KN_PHI_RECIPROCAL:
        return 1.0 / (1.0 + u);
    case KN_PHI_COSINE:
        return 0.5 * cos(u) + 0.5;
    case KN_PHI_GAUSS:
        break;
    }
    return exp(-pow(u, beta));
}

void kn_region_weights(kn_phi phi, double beta, double delta, kn_partition partition, bool labelled,
                       double weights[KN_N_REGIONS])
{
    double v[KN_N_REGIONS]; /* φ(kδ) */
    for (int k = 0; k < KN_N_REGIONS; k++)
        v[k] = kn_phi_value(phi, beta, k * delta);
    /* which v each region UC US DC DS takes */
    static const int of_partition[][KN_N_REGIONS] = {
        [KN_PARTITION_QUAD] = {0, 1, 2, 3},
        [KN_PARTITION_CONF_BH] = {0, 1, 0, 1},
        [KN_PARTITION_CONS_BH] = {0, 0, 1, 1},
        [KN_PARTITION_UNIFORM] = {0, 0, 0, 0},
    };
    static const int labelled_quad[KN_N_REGIONS] = {0, 1, 3, 2};
    const int *k =
        partition == KN_PARTITION_QUAD && labelled ? labelled_quad : of_partition[partition];
    for (int r = 0; r < KN_N_REGIONS; r++)
        weights[r] = v[k[r]];
}

double kn_gamma_start(kn_confidence confidence, int n_classes)
{
    double mean = 1.0 / n_classes, rest = 0.5 / (n_classes - 1);
    double big = 0.5 - mean, small = rest - mean; /* (n-1) times */
    double mad = (fabs(big) + (n_classes - 1) * fabs(small)) / n_classes;
    double var = (big * big + (n_classes - 1) * small * small) / n_classes;
    switch (confidence) {
    case KN_CONF_MAX:
        return 0.5;
    case KN_CONF_MAD:
        return mad;
    case KN_CONF_VAR:
        return var;
    case KN_CONF_STD:
        break;
    }
    return sqrt(var);
}

void kn_gamma_update(double *gamma, int n_classes, const kn_reference *ref, double a,
                     kn_absent absent)
{
    qf_adaptive(gamma, n_classes, ref->sum_conf, ref->count, a, absent);
}

void kn_flexmatch_update(double *gamma, double *share, int n_classes, const kn_reference *ref,
                         double tau, double ema)
{
    qf_flexmatch(gamma, share, n_classes, ref->count, ref->above, tau, ema);
}

void kn_freematch_update(double *gamma, double *level, double *p_model, int n_classes,
                         const kn_reference *ref, double m)
{
    qf_freematch(gamma, level, p_model, n_classes, ref->sum_conf, ref->sum_prob, ref->count, m);
}

/* Rises from exp(-5) to 1 as x goes from 0 to 1: the Gaussian warm-up of the SSL literature. */
static double warm_up(double x)
{
    x = fmin(fmax(x, 0.0), 1.0);
    return exp(-5.0 * (1.0 - x) * (1.0 - x));
}

double kn_uamt_threshold(int n_classes, double t, double t_max)
{
    return (0.75 + 0.25 * warm_up(t_max > 0 ? t / t_max : 1.0)) * log(n_classes);
}

double kn_dcnet_threshold(double mu, double r, double mean1, double mean2, double low, double high)
{
    return cf_dcnet_threshold(mu, r, mean1, mean2, low, high);
}

double kn_lambda_paper(double max, double t, double t_max)
{
    return max * warm_up(t_max > 0 ? t / t_max : 1.0);
}

double kn_lambda_released(double max, int64_t it)
{
    return max * warm_up((double)(it / 150) / 200.0);
}

double kn_poly_lr(double lr0, double power, int64_t it, int64_t it_max)
{
    double left = it_max > 0 ? 1.0 - (double)it / (double)it_max : 0.0;
    return left > 0 ? lr0 * pow(left, power) : 0.0;
}

double kn_ema_alpha(double alpha_max, int64_t it)
{
    return fmin(1.0 - 1.0 / ((double)it + 1.0), alpha_max);
}
