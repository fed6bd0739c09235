/* What is too small to be compiled several times: repetition of a few channels, parameters of
 * transposed convolutions, predictions put together, Adam. */
#include "kernels/cpu/cpu_priv.h"

#include "base/classes.h"

#include <float.h>
#include <math.h>
#include <string.h>

static inline float *pixel_at(const kn_tensor *t, int64_t i)
{
    return kn_f32(t) + i * t->ldc;
}

void kn_cpu_repeat_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    int f = y->h / x->h;
    int64_t rows = (int64_t)y->n * y->h;
    g_assert(x->block == 0 && y->block == 0);
#pragma omp parallel for schedule(static) num_threads(engine->n_threads)
    for (int64_t row = 0; row < rows; row++)
        for (int j = 0; j < y->w; j++)
            memcpy(pixel_at(y, row * y->w + j), pixel_at(x, row / f * x->w + j / f),
                   (size_t)y->c * sizeof(float));
}

void kn_cpu_repeat_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    int f = dy->h / dx->h;
    int64_t rows = (int64_t)dx->n * dx->h;
    g_assert(dx->block == 0 && dy->block == 0);
#pragma omp parallel for schedule(static) num_threads(engine->n_threads)
    for (int64_t row = 0; row < rows; row++)
        for (int j = 0; j < dx->w; j++) {
            float *sum = pixel_at(dx, row * dx->w + j);
            memset(sum, 0, (size_t)dx->c * sizeof(float));
            for (int u = 0; u < f; u++)
                for (int v = 0; v < f; v++) {
                    const float *g = pixel_at(dy, (row * f + u) * dy->w + j * f + v);
                    for (int c = 0; c < dx->c; c++)
                        sum[c] += g[c];
                }
        }
}

void kn_cpu_transposed_pack(kn_engine *engine, int ic, int oc, const void *weight, const void *bias,
                            void *weight1, void *bias1)
{
    (void)engine;
    const float *w = weight, *b = bias;
    float *w1 = weight1, *b1 = bias1;
    for (int k = 0; k < 4; k++)
        for (int o = 0; o < oc; o++) {
            b1[k * oc + o] = b[o];
            for (int c = 0; c < ic; c++)
                w1[(k * oc + o) * ic + c] = w[(c * oc + o) * 4 + k];
        }
}

void kn_cpu_transposed_unpack(kn_engine *engine, int ic, int oc, const void *dweight1,
                              const void *dbias1, void *dweight, void *dbias)
{
    (void)engine;
    const float *w1 = dweight1, *b1 = dbias1;
    float *w = dweight, *b = dbias;
    for (int k = 0; k < 4; k++)
        for (int o = 0; o < oc; o++) {
            b[o] += b1[k * oc + o];
            for (int c = 0; c < ic; c++)
                w[(c * oc + o) * 4 + k] += w1[(k * oc + o) * ic + c];
        }
}

void kn_cpu_mean_prob(kn_engine *engine, const kn_tensor *z, int k, int n, const kn_tensor *acc)
{
    int64_t pixels = kn_pixels(z);
    float share = 1.0f / (float)n;
#pragma omp parallel for schedule(static) num_threads(engine->n_threads)
    for (int64_t i = 0; i < pixels; i++) {
        const float *zi = pixel_at(z, i);
        float *a = pixel_at(acc, i), e[QS_CLASSES_MAX], top = zi[0], sum = 0;
        for (int c = 1; c < z->c; c++)
            top = fmaxf(top, zi[c]);
        for (int c = 0; c < z->c; c++)
            sum += e[c] = expf(zi[c] - top);
        for (int c = 0; c < z->c; c++) {
            float p = (k > 0 ? a[c] : 0.0f) + e[c] / sum * share;
            a[c] = k == n - 1 ? logf(fmaxf(p, FLT_MIN)) : p;
        }
    }
}

void kn_cpu_paste(kn_engine *engine, const kn_tensor *outer, const kn_tensor *inner, kn_box box,
                  const kn_tensor *dst)
{
#pragma omp parallel for schedule(static) num_threads(engine->n_threads)
    for (int i = 0; i < dst->h; i++)
        for (int j = 0; j < dst->w; j++) {
            bool in = j >= box.x0 && j < box.x1 && i >= box.y0 && i < box.y1;
            int64_t at = (int64_t)i * dst->w + j;
            const float *src = pixel_at(in ? inner : outer, at);
            float *to = pixel_at(dst, at);
            for (int c = 0; c < dst->c; c++)
                to[c] = src[c];
        }
}

void kn_cpu_relabel(kn_engine *engine, const kn_tensor *z, const uint8_t *y)
{
    int64_t pixels = kn_pixels(z);
#pragma omp parallel for schedule(static) num_threads(engine->n_threads)
    for (int64_t i = 0; i < pixels; i++) {
        float *p = pixel_at(z, i);
        int top = 0;
        for (int c = 1; c < z->c; c++)
            top = p[c] > p[top] ? c : top;
        float most = p[top];
        p[top] = p[y[i]];
        p[y[i]] = most;
    }
}

/* prob = softmax of n logits; false when one is not finite. */
static bool softmax(const float *z, int n, float *prob)
{
    float top = z[0], sum = 0;
    bool finite = isfinite(z[0]);
    for (int c = 1; c < n; c++) {
        top = z[c] > top ? z[c] : top;
        finite = finite && isfinite(z[c]);
    }
    for (int c = 0; c < n; c++) {
        prob[c] = expf(z[c] - top);
        sum += prob[c];
    }
    for (int c = 0; c < n; c++)
        prob[c] /= sum;
    return finite;
}

/* Row i of image k, to acc's pixels from x on. */
static bool blend_row(const kn_blend *b, const kn_tensor *z, const kn_tensor *second, int k, int i,
                      int64_t x, float *acc)
{
    int nc = b->classes;
    int64_t row = ((int64_t)k * b->window + i) * b->window;
    bool finite = true;
    for (int j = 0; j < b->window && x + j < b->w; j++) {
        float p[QS_CLASSES_MAX], other[QS_CLASSES_MAX], *a = acc + (x + j) * nc;
        float weight = b->weights[i] * b->weights[j];
        finite = softmax(pixel_at(z, row + j), nc, p) && finite;
        if (second) {
            finite = softmax(pixel_at(second, row + j), nc, other) && finite;
            for (int c = 0; c < nc; c++)
                p[c] = 0.5f * (p[c] + other[c]);
        }
        for (int c = 0; c < nc; c++)
            a[c] += weight * p[c];
    }
    return finite;
}

void kn_cpu_blend_add(kn_engine *engine, const kn_blend *b, const kn_tensor *z,
                      const kn_tensor *second, int first, int n, const int64_t *x, int64_t y,
                      int n_rows)
{
    int n_bad = 0;
    g_assert(z->block == 0 && (!second || second->block == 0));
#pragma omp parallel for schedule(static) reduction(+ : n_bad) num_threads(engine->n_threads)
    for (int i = 0; i < n_rows; i++) {
        float *acc = (float *)b->acc + (y + i) % b->window * b->w * b->classes;
        for (int k = 0; k < n; k++)
            n_bad += !blend_row(b, z, second, first + k, i, x[k], acc);
    }
    if (n_bad > 0)
        *b->bad = 1;
}

void kn_cpu_blend_take(kn_engine *engine, const kn_blend *b, int slot, int n, uint8_t *label,
                       float *prob)
{
    int nc = b->classes;
#pragma omp parallel for schedule(static) num_threads(engine->n_threads)
    for (int64_t i = 0; i < n * b->w; i++) {
        float *acc = (float *)b->acc + (slot * b->w + i) * nc, sum = 0;
        int best = 0;
        for (int c = 0; c < nc; c++) {
            sum += acc[c];
            best = acc[c] > acc[best] ? c : best;
        }
        label[i] = (uint8_t)best;
        for (int c = 0; prob && c < nc; c++)
            prob[i * nc + c] = sum > 0 ? acc[c] / sum : c == 0 ? 1.0f : acc[c];
        memset(acc, 0, (size_t)nc * sizeof(float));
    }
}

void kn_cpu_clear(kn_engine *engine, const kn_tensor *t)
{
    (void)engine;
    memset(t->data, 0, (size_t)kn_pixels(t) * (size_t)t->ldc * sizeof(float));
}

void kn_cpu_adam(kn_engine *engine, void *theta, const void *grad, void *mean, void *square,
                 int64_t n, double lr, double wd, int64_t t)
{
    const float *grads = grad;
    float *w = theta, *m = mean, *v = square;
    float b1 = (float)KN_ADAM_BETA1, b2 = (float)KN_ADAM_BETA2, decay = (float)wd;
    float c1 = (float)(1 - KN_ADAM_BETA1), c2 = (float)(1 - KN_ADAM_BETA2);
    float step = (float)(lr / (1 - pow(KN_ADAM_BETA1, (double)t)));
    float root = (float)(1 / sqrt(1 - pow(KN_ADAM_BETA2, (double)t)));
#pragma omp parallel for simd schedule(static) num_threads(engine->n_threads)
    for (int64_t i = 0; i < n; i++) {
        float g = grads[i] + decay * w[i];
        m[i] = b1 * m[i] + c1 * g;
        v[i] = b2 * v[i] + c2 * g * g;
        w[i] -= step * m[i] / (sqrtf(v[i]) * root + (float)KN_ADAM_EPS);
    }
}

void kn_cpu_copy(kn_engine *engine, void *to, const void *from, int64_t n)
{
    (void)engine;
    memcpy(to, from, (size_t)n * sizeof(float));
}
