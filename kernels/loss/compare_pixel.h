/* The arithmetic of one pixel of the comparison methods' losses, a template like quad_pixel.h and
 * included after it with the same macros, of which this one needs one more:
 *   QP_LOG(x)   log for normal x > 0
 * Valid as C17 and CUDA. Gradients are to the logits, for a loss of Σ over pixels without factors;
 * `g` overwrites. Derivations are beside the formulas; p = softmax z, l = log p. */
#ifndef QP_CLASSES_MAX
#define QP_CLASSES_MAX                                                                             \
    16 /* QS_CLASSES_MAX, which comes with GLib; kernels/loss/compare.c asserts it                      \
        */
#endif

#ifdef QP_REAL

/* l = log softmax(z); y is argmax z and rest quad_pixel.h's. */
QS_DEVICE void QP(log_softmax)(const QP_REAL *z, int n_classes, int y, QP_REAL rest, QP_REAL *l)
{
    QP_REAL log_sum = QP_LOG1P(rest), zmax = z[y];
    for (int c = 0; c < n_classes; c++)
        l[c] = (z[c] - zmax) - log_sum;
}

/* g to probabilities becomes g to logits, in place: p_k(g_k - Σ g·p). */
QS_DEVICE void QP(through_softmax)(const QP_REAL *p, int n_classes, QP_REAL *g)
{
    QP_REAL dot = 0;
    for (int c = 0; c < n_classes; c++)
        dot += g[c] * p[c];
    for (int c = 0; c < n_classes; c++)
        g[c] = QP(softmax_grad)(p[c], g[c], dot);
}

/* ½[KL(p1‖p2) + KL(p2‖p1)] = ½Σ d·a with d = p1-p2, a = l1-l2. To z1: dp1 gives p1(a - <p1,a>), dl1
 * gives d - p1·Σd and Σd = 0; to z2 the same with both signs turned. */
QS_DEVICE QP_REAL QP(sym_kl)(const QP_REAL *p1, const QP_REAL *l1, const QP_REAL *p2,
                             const QP_REAL *l2, int n_classes, QP_REAL *g1, QP_REAL *g2)
{
    QP_REAL sum = 0, dot1 = 0, dot2 = 0, half = (QP_REAL)0.5;
    for (int c = 0; c < n_classes; c++) {
        QP_REAL a = l1[c] - l2[c];
        sum += (p1[c] - p2[c]) * a;
        dot1 += p1[c] * a;
        dot2 += p2[c] * a;
    }
    for (int c = 0; c < n_classes; c++) {
        QP_REAL a = l1[c] - l2[c], d = p1[c] - p2[c];
        g1[c] = half * (QP(softmax_grad)(p1[c], a, dot1) + d);
        g2[c] = -half * (QP(softmax_grad)(p2[c], a, dot2) + d);
    }
    return half * sum;
}

/* -Σ p·log(p + 1e-6). */
QS_DEVICE QP_REAL QP(entropy)(const QP_REAL *p, int n_classes)
{
    QP_REAL sum = 0;
    for (int c = 0; c < n_classes; c++)
        sum -= p[c] * QP_LOG(p[c] + (QP_REAL)1e-6);
    return sum;
}

/* log of a mean of probabilities; of 0, where all have run out of exponent, 0: it is multiplied by
 * that 0. */
QS_DEVICE QP_REAL QP(log_mean)(QP_REAL mean)
{
    QP_REAL tiny = (QP_REAL)1.2e-38; /* float's smallest normal */
    return mean > tiny ? QP_LOG(mean > tiny ? mean : (QP_REAL)1) : (QP_REAL)0;
}

/* URPC, one head: q = Σ(p̄-p)², v = KL(p̄‖p) = Σ p̄(log p̄ - l); log_mean[c] = log_mean(p̄_c). */
QS_DEVICE void QP(urpc_head)(const QP_REAL *mean, const QP_REAL *log_mean, const QP_REAL *p,
                             const QP_REAL *l, int n_classes, QP_REAL *q, QP_REAL *v)
{
    *q = *v = 0;
    for (int c = 0; c < n_classes; c++) {
        QP_REAL d = mean[c] - p[c];
        *q += d * d;
        *v += mean[c] > 0 ? mean[c] * (log_mean[c] - l[c]) : (QP_REAL)0;
    }
    *v = *v < 0 ? (QP_REAL)0 : *v; /* rounding: KL >= 0 */
}

/* The loss's derivative by p̄ through one head, added to g_mean: α by q, β by v. */
QS_DEVICE void QP(urpc_grad_mean)(QP_REAL alpha, QP_REAL beta, const QP_REAL *mean,
                                  const QP_REAL *log_mean, const QP_REAL *p, const QP_REAL *l,
                                  int n_classes, QP_REAL *g_mean)
{
    for (int c = 0; c < n_classes; c++)
        g_mean[c] += alpha * 2 * (mean[c] - p[c]) + beta * (log_mean[c] - l[c]);
}

/* To the logits of a head: its share of p̄ (g_share = g_mean / heads), its p in q, its l in v:
 * dv/dz = p - p̄, since Σ p̄ = 1. */
QS_DEVICE void QP(urpc_grad_head)(QP_REAL alpha, QP_REAL beta, const QP_REAL *mean,
                                  const QP_REAL *p, int n_classes, const QP_REAL *g_share,
                                  QP_REAL *g)
{
    for (int c = 0; c < n_classes; c++)
        g[c] = g_share[c] - alpha * 2 * (mean[c] - p[c]);
    QP(through_softmax)(p, n_classes, g);
    for (int c = 0; c < n_classes; c++)
        g[c] += beta * (p[c] - mean[c]);
}

/* softmax of z sharpened at temperature ½. */
QS_DEVICE void QP(sharpen)(const QP_REAL *z, int n_classes, int y, QP_REAL *h)
{
    for (int c = 0; c < n_classes; c++)
        h[c] = 2 * (z[c] - z[y]);
    QP(softmax)(h, n_classes, y, h);
}

/* DCNet's decoupled term, Σ over classes. high_c: both probabilities above the threshold; there,
 * and where the two are equal, nothing is learnt. The larger is the target. */
QS_DEVICE QP_REAL QP(decoupled)(const QP_REAL *z1, const QP_REAL *p1, int y1, const QP_REAL *z2,
                                const QP_REAL *p2, int y2, int n_classes, QP_REAL threshold,
                                QP_REAL *g1, QP_REAL *g2)
{
    QP_REAL h1[QP_CLASSES_MAX], h2[QP_CLASSES_MAX];
    QP_REAL sum = 0 * (p1[0] + p2[0]); /* a NaN, which no comparison below lets pass */
    QP(sharpen)(z1, n_classes, y1, h1);
    QP(sharpen)(z2, n_classes, y2, h2);
    for (int c = 0; c < n_classes; c++) {
        int high = (p1[c] > threshold) & (p2[c] > threshold);
        QP_REAL d = high ? (QP_REAL)0 : h1[c] - h2[c];
        QP_REAL to2 = p1[c] > p2[c] ? d : (QP_REAL)0, to1 = p2[c] > p1[c] ? d : (QP_REAL)0;
        sum += to1 * to1 + to2 * to2;
        g1[c] = 4 * to1; /* 2 of the square, 2 of the temperature */
        g2[c] = -4 * to2;
    }
    QP(through_softmax)(h1, n_classes, g1);
    QP(through_softmax)(h2, n_classes, g2);
    return sum;
}

/* DCNet's direct term one way: CE of z with all but the high classes at 0, to the argmax of the
 * other's high probabilities (all 0: class 0). */
QS_DEVICE QP_REAL QP(direct)(const QP_REAL *z, const QP_REAL *p, const QP_REAL *p_other,
                             int n_classes, QP_REAL threshold, QP_REAL *g)
{
    QP_REAL u[QP_CLASSES_MAX] = {0}, t[QP_CLASSES_MAX] = {0}, q[QP_CLASSES_MAX];
    for (int c = 0; c < n_classes; c++) {
        int high = (p[c] > threshold) & (p_other[c] > threshold);
        u[c] = high ? z[c] : (QP_REAL)0;
        t[c] = high ? p_other[c] : (QP_REAL)0;
    }
    int target = QP(argmax)(t, n_classes), y = QP(argmax)(u, n_classes);
    QP_REAL rest = QP(softmax)(u, n_classes, y, q);
    for (int c = 0; c < n_classes; c++) {
        int high = (p[c] > threshold) & (p_other[c] > threshold);
        g[c] = high ? QP(ce_grad)((QP_REAL)1, q[c], c == target) : (QP_REAL)0;
    }
    return QP(cross_entropy)(u[y], u[target], rest);
}

/* SDCL: mean over classes of (p - onehot)², and of -l; their gradients times the factors. */
QS_DEVICE void QP(sdcl_terms)(const QP_REAL *p, const QP_REAL *l, int n_classes, int label,
                              QP_REAL *mse, QP_REAL *kl)
{
    QP_REAL inv_c = (QP_REAL)1 / (QP_REAL)n_classes;
    *mse = *kl = 0;
    for (int c = 0; c < n_classes; c++) {
        QP_REAL d = p[c] - (c == label ? (QP_REAL)1 : (QP_REAL)0);
        *mse += inv_c * d * d;
        *kl -= inv_c * l[c];
    }
}

QS_DEVICE void QP(sdcl_grad)(const QP_REAL *p, int n_classes, int label, QP_REAL mse_factor,
                             QP_REAL kl_factor, QP_REAL *g)
{
    QP_REAL inv_c = (QP_REAL)1 / (QP_REAL)n_classes;
    for (int c = 0; c < n_classes; c++)
        g[c] = mse_factor * 2 * inv_c * (p[c] - (c == label ? (QP_REAL)1 : (QP_REAL)0));
    QP(through_softmax)(p, n_classes, g);
    for (int c = 0; c < n_classes; c++)
        g[c] += kl_factor * (p[c] - inv_c); /* Σ_c of -l_c/C */
}

/* CEUD: a pair's hinge max(0, -sign(k'-k)(s'-s) + |k'-k|); *slope is its derivative by s, by s' it
 * is the negative. */
QS_DEVICE QP_REAL QP(rank_pair)(QP_REAL s, QP_REAL k, QP_REAL s_before, QP_REAL k_before,
                                QP_REAL *slope)
{
    QP_REAL dk = k_before - k;
    QP_REAL sign = dk > 0 ? (QP_REAL)1 : dk < 0 ? (QP_REAL)-1 : (QP_REAL)0;
    QP_REAL value = sign * dk - sign * (s_before - s);
    *slope = value <= 0 ? (QP_REAL)0 : sign;
    return value <= 0 ? (QP_REAL)0 : value; /* a NaN passes */
}

#undef QP_REAL
#undef QP
#undef QP_EXP
#undef QP_LOG1P
#undef QP_LOG
#undef QP_SQRT

#endif
