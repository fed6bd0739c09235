/* Predictions put together: means, pasted boxes, relabelled pixels. */
#include "kernels/ref/ref_priv.h"

#include "base/classes.h"

#include <float.h>
#include <math.h>

static void softmax(const double *z, int n, double *p)
{
    double top = z[0], sum = 0;
    for (int c = 1; c < n; c++)
        top = z[c] > top ? z[c] : top;
    for (int c = 0; c < n; c++)
        sum += p[c] = exp(z[c] - top);
    for (int c = 0; c < n; c++)
        p[c] /= sum;
}

void kn_ref_mean_prob(kn_engine *engine, const kn_tensor *z, int k, int n, const kn_tensor *acc)
{
    (void)engine;
    for (int64_t i = 0; i < kn_pixels(z); i++) {
        double p[QS_CLASSES_MAX], *a = kn_f64(acc) + i * acc->ldc;
        softmax(kn_f64(z) + i * z->ldc, z->c, p);
        for (int c = 0; c < z->c; c++) {
            a[c] = (k > 0 ? a[c] : 0) + p[c] / n;
            if (k == n - 1)
                a[c] = log(a[c] > (double)FLT_MIN ? a[c] : (double)FLT_MIN);
        }
    }
}

void kn_ref_paste(kn_engine *engine, const kn_tensor *outer, const kn_tensor *inner, kn_box box,
                  const kn_tensor *dst)
{
    (void)engine;
    for (int i = 0; i < dst->h; i++)
        for (int j = 0; j < dst->w; j++) {
            bool in = j >= box.x0 && j < box.x1 && i >= box.y0 && i < box.y1;
            for (int c = 0; c < dst->c; c++)
                ref_at(dst, 0, i, j)[c] = ref_at(in ? inner : outer, 0, i, j)[c];
        }
}

void kn_ref_relabel(kn_engine *engine, const kn_tensor *z, const uint8_t *y)
{
    (void)engine;
    for (int64_t i = 0; i < kn_pixels(z); i++) {
        double *p = kn_f64(z) + i * z->ldc;
        int top = 0;
        for (int c = 1; c < z->c; c++)
            top = p[c] > p[top] ? c : top;
        double most = p[top];
        p[top] = p[y[i]];
        p[y[i]] = most;
    }
}

void kn_ref_clear(kn_engine *engine, const kn_tensor *t)
{
    (void)engine;
    for (int64_t i = 0; i < kn_pixels(t) * t->ldc; i++)
        kn_f64(t)[i] = 0;
}
