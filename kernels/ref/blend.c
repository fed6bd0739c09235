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

void kn_ref_blend_add(kn_engine *engine, const kn_blend *b, const kn_tensor *z,
                      const kn_tensor *second, int first, int n, const int64_t *x, int64_t y,
                      int n_rows)
{
    (void)engine;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < n_rows; i++)
            for (int j = 0; j < b->window && x[k] + j < b->w; j++) {
                double p[QS_CLASSES_MAX], other[QS_CLASSES_MAX];
                int64_t from = ((int64_t)(first + k) * b->window + i) * b->window + j;
                double *acc =
                    (double *)b->acc + ((y + i) % b->window * b->w + x[k] + j) * b->classes;
                softmax(kn_f64(z) + from * z->ldc, b->classes, p);
                if (second)
                    softmax(kn_f64(second) + from * second->ldc, b->classes, other);
                for (int c = 0; c < b->classes; c++) {
                    double mean = second ? (p[c] + other[c]) / 2 : p[c];
                    acc[c] += (double)b->weights[i] * (double)b->weights[j] * mean;
                    if (!isfinite(kn_f64(z)[from * z->ldc + c]) ||
                        (second && !isfinite(kn_f64(second)[from * second->ldc + c])))
                        *b->bad = 1;
                }
            }
}

void kn_ref_blend_take(kn_engine *engine, const kn_blend *b, int slot, int n, uint8_t *label,
                       float *prob)
{
    (void)engine;
    for (int64_t i = 0; i < n * b->w; i++) {
        double *acc = (double *)b->acc + (slot * b->w + i) * b->classes, sum = 0;
        int best = 0;
        for (int c = 0; c < b->classes; c++) {
            sum += acc[c];
            best = acc[c] > acc[best] ? c : best;
        }
        label[i] = (uint8_t)best;
        for (int c = 0; c < b->classes; c++) {
            if (prob)
                prob[i * b->classes + c] = (float)(sum > 0 ? acc[c] / sum : c == 0);
            acc[c] = 0;
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
