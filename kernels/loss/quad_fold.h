/* The end of MetaSSL's loss: from the sums of a batch to its value, the factors of its gradient and
 * the next thresholds. The host does this in kernels/loss/loss.c and kernels/loss/schedule.c, a GPU in
 * kernels/cuda/fold.cu, and both take every line from here, in double and in this order, so both
 * get the same bits: nothing is to be contracted to a multiply-add, on either.
 *
 * Valid as C17 and CUDA. Equation numbers are those of the MetaSSL paper. */
#ifndef QS_KERNELS_QUAD_FOLD_H
#define QS_KERNELS_QUAD_FOLD_H

#include "base/philox.h" /* QS_DEVICE */
#include "kernels/loss/loss_priv.h"

#include <math.h>

/* ---- pass 2 -------------------------------------------------------------------------------- */

/* Σw of so many pixels of each region. */
QS_DEVICE double qf_weight_sum(const double *weights, const int64_t *px)
{
    double z = 0;
    for (int r = 0; r < KN_N_REGIONS; r++)
        z += weights[r] * (double)px[r];
    return z;
}

/* An image's own mean CE. */
QS_DEVICE double qf_image_ce(const double *weights, const int64_t *px, const double *ce, double z)
{
    double sum = 0;
    for (int r = 0; r < KN_N_REGIONS; r++)
        sum += px[r] ? weights[r] * ce[r] : 0;
    return z > 0 ? sum / z : 0;
}

/* Eq. (8). Without weight the loss is 0, not the 1 - ε/ε of the formula or its 0/0. */
QS_DEVICE void qf_finish_dice(const kn_quad_config *config, const kn_quad_sums *s, int n_classes,
                              kn_quad_result *result)
{
    double ratios = 0;
    for (int c = 0; c < n_classes; c++) {
        double n = 2.0 * s->inter[c] + config->dice_eps;
        double d = s->target[c] + s->pred[c] + config->dice_eps;
        result->dice_n[c] = n;
        result->dice_d[c] = d;
        ratios += d == 0 ? 1.0 : n / d; /* d = 0 needs ε = 0: the limit of ε/ε */
    }
    if (result->z > 0)
        result->dice = 1.0 - ratios / n_classes;
}

/* Factors of a pixel's CE and of its gradient: by region, and for UC's background. KN_CE_Z and
 * KN_CE_PIXELS divide by one number more: qf_ce_divisor. */
QS_DEVICE void qf_ce_factors(const kn_quad_config *config, const int64_t *px, int64_t uc_background,
                             double *factor, double *of_background)
{
    bool means = config->norm == KN_CE_REGION_MEAN;
    for (int r = 0; r < KN_N_REGIONS; r++)
        factor[r] = config->weights[r] / (means ? (double)px[r] + 1 : 1);
    *of_background = factor[KN_REGION_UC];
    if (!means || config->uc == KN_UC_WHOLE)
        return;
    double w = config->weights[KN_REGION_UC];
    double mean_background = w / ((double)uc_background + 1);
    factor[KN_REGION_UC] = w / ((double)(px[KN_REGION_UC] - uc_background) + 1);
    *of_background = mean_background;
    if (config->uc == KN_UC_RELEASED) {
        factor[KN_REGION_UC] = 0;
        *of_background = 2 * mean_background;
    }
}

QS_DEVICE double qf_ce_divisor(const kn_quad_config *config, const kn_quad_result *result)
{
    double n = 0;
    for (int r = 0; r < KN_N_REGIONS; r++)
        n += (double)result->region_px[r];
    if (config->norm == KN_CE_Z)
        return result->z;
    return config->norm == KN_CE_PIXELS ? n : 1;
}

/* What image i's CE gradient is multiplied with. z_image NULL: the batch has one divisor. */
QS_DEVICE double qf_image_scale(const double *z_image, int i, int n_images, double divisor,
                                double scale)
{
    double by = z_image ? z_image[i] * n_images : divisor;
    return by > 0 ? scale / by : 0.0;
}

QS_DEVICE void qf_finish_ce(const kn_quad_config *config, const kn_quad_sums *s,
                            double ce_of_images, int n_images, kn_quad_result *result)
{
    double factor[KN_N_REGIONS], of_background, sum = 0;
    qf_ce_factors(config, s->px, s->uc_background_px, factor, &of_background);
    for (int r = 0; r < KN_N_REGIONS; r++) {
        double background = r == KN_REGION_UC ? s->uc_background_ce : 0;
        if (s->px[r])
            result->region_loss[r] =
                factor[r] * (s->ce[r] - background) + of_background * background;
        sum += result->region_loss[r];
    }
    double divisor = qf_ce_divisor(config, result);
    if (config->z_scope == KN_Z_IMAGE)
        result->ce = ce_of_images / n_images;
    else if (divisor > 0)
        result->ce = sum / divisor;
}

/* result comes zeroed. ce_of_images: Σ over images of their own mean CE. */
QS_DEVICE void qf_finish_quad(const kn_quad_config *config, const kn_quad_sums *s,
                              double ce_of_images, int n_images, int n_classes,
                              kn_quad_result *result)
{
    for (int r = 0; r < KN_N_REGIONS; r++) {
        result->region_px[r] = s->px[r];
        result->region_right[r] = s->right[r];
        result->truth_px[r] = s->truth[r];
    }
    result->uc_background_px = s->uc_background_px;
    result->z = qf_weight_sum(config->weights, s->px);
    qf_finish_ce(config, s, ce_of_images, n_images, result);
    if (config->dice != KN_DICE_NONE)
        qf_finish_dice(config, s, n_classes, result);
    result->loss = config->ce_scale * result->ce + config->dice_scale * result->dice;
}

/* ---- pass 3 -------------------------------------------------------------------------------- */

/* a and b of quad_pixel.h; 0 (no gradient) for a class without weight. */
QS_DEVICE void qf_dice_constants(const kn_quad_config *config, const kn_quad_result *result,
                                 int n_classes, int c, double *a, double *b)
{
    double n = result->dice_n[c], d = result->dice_d[c];
    *a = *b = 0;
    if (config->dice == KN_DICE_NONE || !(result->z > 0) || d == 0)
        return;
    *a = -2.0 / (n_classes * d);
    *b = n / (n_classes * d * d);
}

/* ---- thresholds, as loss.h says ------------------------------------------------------------ */

QS_DEVICE int64_t qf_pixels(const int64_t *count, int n_classes)
{
    int64_t n = 0;
    for (int c = 0; c < n_classes; c++)
        n += count[c];
    return n;
}

QS_DEVICE void qf_adaptive(double *gamma, int n_classes, const double *sum_conf,
                           const int64_t *count, double a, kn_absent absent)
{
    for (int c = 0; c < n_classes; c++) {
        if (absent == KN_ABSENT_KEEP && count[c] == 0)
            continue;
        double n = (double)count[c] + (absent == KN_ABSENT_RELEASED ? 1 : 0);
        double mean_conf = sum_conf[c] / n;
        double next = a * mean_conf + (1.0 - a) * gamma[c];
        gamma[c] = next > 1.0 ? 1.0 : next; /* not fmin: a NaN must be seen */
    }
}

QS_DEVICE void qf_flexmatch(double *gamma, double *share, int n_classes, const int64_t *count,
                            const int64_t *above, double tau, double ema)
{
    int64_t n = qf_pixels(count, n_classes);
    double most = 0, unsure = 1;
    if (n == 0)
        return;
    for (int c = 0; c < n_classes; c++) {
        share[c] = ema * share[c] + (1.0 - ema) * (double)above[c] / (double)n;
        most = fmax(most, share[c]);
        unsure -= share[c];
    }
    most = fmax(most, unsure);
    for (int c = 0; c < n_classes; c++) {
        double beta = share[c] / most;
        gamma[c] = tau * beta / (2.0 - beta);
    }
}

QS_DEVICE void qf_freematch(double *gamma, double *level, double *p_model, int n_classes,
                            const double *sum_conf, const double *sum_prob, const int64_t *count,
                            double m)
{
    int64_t n = qf_pixels(count, n_classes);
    double conf = 0, most = 0;
    if (n == 0)
        return;
    for (int c = 0; c < n_classes; c++) {
        conf += sum_conf[c];
        p_model[c] = m * p_model[c] + (1.0 - m) * sum_prob[c] / (double)n;
        most = p_model[c] > most ? p_model[c] : most;
    }
    *level = m * *level + (1.0 - m) * conf / (double)n;
    for (int c = 0; c < n_classes; c++)
        gamma[c] = *level * p_model[c] / most;
}

/* state: p_model or share of each class, then FreeMatch's level. */
QS_DEVICE void qf_gamma(const kn_gamma_rule *rule, int n_classes, const kn_ref_sums *s,
                        double *gamma, double *state)
{
    if (rule->threshold == KN_THRESHOLD_ADAPTIVE)
        qf_adaptive(gamma, n_classes, s->conf, s->count, rule->a, rule->absent);
    else if (rule->threshold == KN_THRESHOLD_FLEXMATCH)
        qf_flexmatch(gamma, state, n_classes, s->count, s->above, rule->tau, rule->ema);
    else if (rule->threshold == KN_THRESHOLD_FREEMATCH)
        qf_freematch(gamma, &state[QS_CLASSES_MAX], state, n_classes, s->conf, s->prob, s->count,
                     rule->ema);
}

#endif
