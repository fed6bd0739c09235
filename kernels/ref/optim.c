/* SGD with momentum and weight decay, Adam, and the teacher's moving average (E15). */
#include "kernels/ref/ref_priv.h"

#include <math.h>
#include <string.h>

void kn_ref_sgd(kn_engine *engine, void *theta, const void *grad, void *momentum, int64_t n,
                double lr, double m, double wd)
{
    (void)engine;
    double *w = theta, *v = momentum;
    const double *g = grad;
    for (int64_t i = 0; i < n; i++) {
        v[i] = m * v[i] + g[i] + wd * w[i];
        w[i] -= lr * v[i];
    }
}

void kn_ref_adam(kn_engine *engine, void *theta, const void *grad, void *mean, void *square,
                 int64_t n, double lr, double wd, int64_t t)
{
    (void)engine;
    double *w = theta, *m = mean, *v = square;
    const double *grads = grad;
    for (int64_t i = 0; i < n; i++) {
        double g = grads[i] + wd * w[i];
        m[i] = KN_ADAM_BETA1 * m[i] + (1 - KN_ADAM_BETA1) * g;
        v[i] = KN_ADAM_BETA2 * v[i] + (1 - KN_ADAM_BETA2) * g * g;
        double m_hat = m[i] / (1 - pow(KN_ADAM_BETA1, (double)t));
        double v_hat = v[i] / (1 - pow(KN_ADAM_BETA2, (double)t));
        w[i] -= lr * m_hat / (sqrt(v_hat) + KN_ADAM_EPS);
    }
}

void kn_ref_ema(kn_engine *engine, void *teacher, const void *student, int64_t n, double alpha)
{
    (void)engine;
    double *t = teacher;
    const double *s = student;
    for (int64_t i = 0; i < n; i++)
        t[i] = alpha * t[i] + (1 - alpha) * s[i];
}

void kn_ref_zero(kn_engine *engine, void *x, int64_t n)
{
    (void)engine;
    for (int64_t i = 0; i < n; i++)
        ((double *)x)[i] = 0;
}

void kn_ref_copy(kn_engine *engine, void *to, const void *from, int64_t n)
{
    (void)engine;
    memcpy(to, from, (size_t)n * sizeof(double));
}
