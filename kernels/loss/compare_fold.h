/* The end of the comparison methods' losses: from sums to values and to the factors of gradients.
 * For kernels/loss/compare.c and kernels/cuda/, as quad_fold.h is for MetaSSL's: in double, one order.
 * Valid as C17 and CUDA. */
#ifndef QS_KERNELS_COMPARE_FOLD_H
#define QS_KERNELS_COMPARE_FOLD_H

#include "base/philox.h" /* QS_DEVICE */
#include "kernels/loss/compare_priv.h"

#include <math.h>

/* factor / n, 0 for nothing. */
QS_DEVICE double cf_per(double factor, double n)
{
    return n > 0 ? factor / n : 0;
}

/* CCVC. sum: Σ cos over n pixels. */
QS_DEVICE double cf_cosine(double sum, double n)
{
    return n > 0 ? 1 + sum / n : 0;
}

/* URPC's loss from its sums, and what the gradient pass needs. For head s, with n pixels, C
 * classes, S heads: M = Σqe/(nC), D = Σe/n + 1e-8, ℓ = M/D + Σv/n, and
 *   dℓ/dq = e/(nC·D)   dℓ/de = q/(nC·D) - M/(n·D²)   dℓ/dv = 1/n - e·dℓ/de */
QS_DEVICE double cf_urpc(const double *sums, double n, int n_scales, int n_classes, double scale,
                         kn_urpc_factors *to)
{
    double loss = 0, share = scale / n_scales;
    if (!(n > 0))
        return 0;
    for (int s = 0; s < n_scales; s++) {
        double m = sums[3 * s] / (n * n_classes), d = sums[3 * s + 1] / n + 1e-8;
        loss += (m / d + sums[3 * s + 2] / n) / n_scales;
        to->q[s] = share / (n * n_classes * d);
        to->e[s] = share * m / (n * d * d);
    }
    to->v = share / n;
    return loss;
}

/* DCNet's attention: the lengths of an image's two maps from attention_sums. */
QS_DEVICE void cf_attention(const double *sums, kn_attention_args *args)
{
    double norm = fmax(sqrt(sums[0]), 1e-12), norm_ref = fmax(sqrt(sums[1]), 1e-12);
    args->inv_norm = 1 / norm;
    args->inv_norm_ref = 1 / norm_ref;
    args->dot = 2 * (sums[0] / norm / norm - sums[2] / norm / norm_ref);
    if (isnan(sums[0]) || isnan(sums[1]))
        args->inv_norm = args->inv_norm_ref = NAN; /* fmax takes a NaN away */
}

QS_DEVICE double cf_mean_confidence(const kn_ref_sums *s, int n_classes)
{
    double sum = 0, n = 0;
    for (int c = 0; c < n_classes; c++) {
        sum += s->conf[c];
        n += (double)s->count[c];
    }
    return n > 0 ? sum / n : 1.0 / n_classes;
}

/* compare.h: kn_dcnet_threshold. */
QS_DEVICE double cf_dcnet_threshold(double mu, double r, double mean1, double mean2, double low,
                                    double high)
{
    double next = fmin((1 - r) * mu + r * mean1, (1 - r) * mu + r * mean2);
    return fmin(fmax(next, low), high);
}

/* compare.h: kn_dcnet_move_at. */
QS_DEVICE void cf_dcnet_move(const kn_dcnet_rule *rule, int n_classes, const kn_ref_sums *s1,
                             const kn_ref_sums *s2, kn_dcnet_state *state)
{
    double mean1 = cf_mean_confidence(s1, n_classes), mean2 = cf_mean_confidence(s2, n_classes);
    double start = 1.0 / n_classes;
    state->mu = cf_dcnet_threshold(state->mu > 0 ? state->mu : start, rule->r, mean1, mean2,
                                   fmax(rule->low, start), rule->high);
    state->all_sure = mean1 >= rule->high && mean2 >= rule->high;
    state->direct = state->all_sure > 0 ? -1 : state->mu;
}

/* compare.h: kn_sdcl_labels_at, of a pixel. */
QS_DEVICE void cf_sdcl_label(uint8_t known, uint8_t exclude, uint8_t *label, uint8_t *pseudo)
{
    bool is = known != QS_CLASS_IGNORE;
    *pseudo = !is;
    if (is)
        *label = known;
    else if (exclude == QS_CLASS_IGNORE)
        *label = QS_CLASS_IGNORE;
}

/* What a device adds to a value after a pass: factor[k]·… of sums k. */
QS_DEVICE double cf_value(const kn_compare_end *end, const double *sums, double n)
{
    kn_urpc_factors none;
    double a = 0, b = 0;
    if (end->kind == KN_END_COSINE)
        a = cf_cosine(sums[0], n);
    else if (end->kind == KN_END_URPC)
        a = cf_urpc(sums, n, end->n_scales, end->n_classes, 0, &none);
    else if (end->kind == KN_END_SDCL) {
        a = cf_per(sums[0], sums[2]);
        b = cf_per(sums[1], sums[3]);
    } else {
        a = cf_per(sums[0], n * end->by[0]);
        b = end->factor[1] != 0 ? cf_per(sums[1], n * end->by[1]) : 0;
    }
    if (end->factor[0] == 0)
        return end->factor[1] * b;
    return end->factor[1] == 0 ? end->factor[0] * a : end->factor[0] * a + end->factor[1] * b;
}

#endif
