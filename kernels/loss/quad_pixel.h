/* The arithmetic of one pixel of MetaSSL's loss: softmax and argmax, the confidence measures, the
 * region, cross-entropy, Dice and the gradients of all of them to the logits. Every backend takes
 * its formulas from here: the reference in double, the CPU passes in float inside vectorised
 * loops, CUDA kernels one thread a pixel. So there is one place where a formula can be wrong.
 *
 * A template, valid as C17 and CUDA: include it once for each precision after defining
 *   QP_REAL              float or double
 *   QP(name)             the name with that precision's suffix
 *   QP_EXP(x)            exp for x <= 0, 0 for -inf, NaN for NaN
 *   QP_LOG1P(x)          log(1+x) for 0 <= x < QS_CLASSES_MAX
 *   QP_SQRT(x)
 * and it undefines them again. Without QP_REAL it brings what has no precision.
 *
 * Rules that every user relies on:
 *  1. argmax takes the lowest class of a tie and never a NaN, so it is always a valid class.
 *  2. Nothing branches on a value, only selects: loops over pixels vectorise.
 *  3. `rest` is the sum of exp(z_c - z_y) over c != y, y the argmax, so that 1 + rest is the
 *     softmax's denominator and log1p(rest) keeps its digits on confident pixels.
 * Equation numbers are those of the MetaSSL paper. */
#include "base/philox.h" /* QS_DEVICE */
#include "kernels/loss/quad.h"

#ifndef QS_KERNELS_QUAD_PIXEL_H
#define QS_KERNELS_QUAD_PIXEL_H

/* Eqs. (1)-(4): same = the reference agrees with what it is compared to. Precision has no part. */
QS_DEVICE int qp_region(int same, int confident)
{
    return (same ? 0 : 2) + (confident ? 0 : 1);
}

#endif

#ifdef QP_REAL

/* Lowest class of the largest of z[0..n_classes-1]. */
QS_DEVICE int QP(argmax)(const QP_REAL *z, int n_classes)
{
    int y = 0;
    for (int c = 1; c < n_classes; c++)
        y = z[c] > z[y] ? c : y;
    return y;
}

/* p = softmax(z); y is argmax z. Returns rest. p may be z. */
QS_DEVICE QP_REAL QP(softmax)(const QP_REAL *z, int n_classes, int y, QP_REAL *p)
{
    QP_REAL zmax = z[y], rest = 0;
    for (int c = 0; c < n_classes; c++) {
        p[c] = QP_EXP(z[c] - zmax);
        rest += c == y ? (QP_REAL)0 : p[c];
    }
    QP_REAL scale = (QP_REAL)1 / ((QP_REAL)1 + rest);
    for (int c = 0; c < n_classes; c++)
        p[c] *= scale;
    return rest;
}

/* What one class adds to a confidence measure about 1/C: |p - 1/C|, or its square. */
QS_DEVICE QP_REAL QP(conf_term)(kn_confidence kind, QP_REAL p, QP_REAL inv_c)
{
    QP_REAL d = p - inv_c;
    QP_REAL abs_d = d < 0 ? -d : d;
    return kind == KN_CONF_MAD ? abs_d : d * d;
}

/* The measure from the sum of its terms. */
QS_DEVICE QP_REAL QP(conf_finish)(kn_confidence kind, QP_REAL sum, QP_REAL inv_c)
{
    QP_REAL mean = sum * inv_c;
    return kind == KN_CONF_STD ? QP_SQRT(mean) : mean;
}

/* Confidence of a prediction: its largest probability, or its spread about 1/C over the C classes
 * (population): mean |p - 1/C|, mean (p - 1/C)², the root of that. */
QS_DEVICE QP_REAL QP(confidence)(kn_confidence kind, const QP_REAL *p, int n_classes, int y)
{
    QP_REAL inv_c = (QP_REAL)1 / (QP_REAL)n_classes, sum = 0;
    if (kind == KN_CONF_MAX)
        return p[y];
    for (int c = 0; c < n_classes; c++)
        sum += QP(conf_term)(kind, p[c], inv_c);
    return QP(conf_finish)(kind, sum, inv_c);
}

/* -log softmax(z)[target], through log-sum-exp; zmax is the largest logit. */
QS_DEVICE QP_REAL QP(cross_entropy)(QP_REAL zmax, QP_REAL z_target, QP_REAL rest)
{
    return (zmax - z_target) + QP_LOG1P(rest);
}

/* One class of dCE/dz, eqs. (5), (7): w_over_z·(p - t). */
QS_DEVICE QP_REAL QP(ce_grad)(QP_REAL w_over_z, QP_REAL p, int is_target)
{
    return w_over_z * (p - (is_target ? (QP_REAL)1 : (QP_REAL)0));
}

/* One class of dDice/dp, eq. (8): -(w/C)·(2tD - N)/D², squared denominator -(w/C)·(2tD - 2pN)/D²,
 * from the per-class constants a = -2/(C·D) and b = N/(C·D²). */
QS_DEVICE QP_REAL QP(dice_grad_p)(kn_dice form, QP_REAL w, QP_REAL a, QP_REAL b, QP_REAL p,
                                  int is_target)
{
    QP_REAL of_pred = form == KN_DICE_SQUARE ? (QP_REAL)2 * p * b : b;
    return w * (of_pred + (is_target ? a : (QP_REAL)0));
}

/* Through the softmax: dz_k = p_k·(g_k - Σ_c g_c·p_c), `dot` being that sum. */
QS_DEVICE QP_REAL QP(softmax_grad)(QP_REAL p, QP_REAL g, QP_REAL dot)
{
    return p * (g - dot);
}

#undef QP_REAL
#undef QP
#undef QP_EXP
#undef QP_LOG1P
#undef QP_SQRT

#endif
