/* SGD with momentum and weight decay, and the teacher's moving average (E15). */
#include "kernels/ref/ref_priv.h"

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
