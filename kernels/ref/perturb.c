/* Feature perturbations, repetition and depth to space, forward and transpose, each from its
 * definition in ops.h. */
#include "kernels/ref/ref_priv.h"

#include "base/philox.h"

static double uniform(const kn_perturb *how, uint32_t word)
{
    return how->lo + (how->hi - how->lo) * (double)qs_u32_to_unit_f32(word);
}

static double noise_factor(const kn_perturb *how, int64_t e)
{
    int within = (int)(e % 64);
    qs_philox4 r = qs_philox(how->stream, (uint64_t)(e / 64 * 16 + within % 16), how->layer);
    return 1 + uniform(how, r.v[within / 16]);
}

static double attention(const kn_tensor *x, int n, int i, int j)
{
    double sum = 0;
    for (int c = 0; c < x->c; c++)
        sum += ref_at(x, n, i, j)[c];
    return sum / x->c;
}

/* Below which a pixel of image n is kept. */
static double drop_limit(const kn_tensor *x, const kn_perturb *how, int n)
{
    double most = attention(x, n, 0, 0);
    for (int i = 0; i < x->h; i++)
        for (int j = 0; j < x->w; j++)
            most = attention(x, n, i, j) > most ? attention(x, n, i, j) : most;
    return uniform(how, qs_philox(how->stream, 0, how->layer).v[0]) * most;
}

/* What element (n,i,j,c) of t's shape is multiplied with. */
static double factor(const kn_perturb *how, const kn_tensor *t, const kn_tensor *x, double limit,
                     int n, int i, int j, int c)
{
    int64_t pixel = (int64_t)i * t->w + j;
    switch (how->kind) {
    case KN_PERTURB_COPY:
        break;
    case KN_PERTURB_NOISE:
        return noise_factor(how, pixel * t->c + c);
    case KN_PERTURB_DROPOUT:
        return kn_ref_dropout_factor(how->stream, how->layer, how->lo,
                                     ((int64_t)n * t->h * t->w + pixel) * t->c + c);
    case KN_PERTURB_DROP:
        return attention(x, n, i, j) < limit ? 1 : 0;
    }
    return 1;
}

void kn_ref_perturb_fwd(kn_engine *engine, const kn_tensor *x, const kn_perturb *how,
                        const kn_tensor *y)
{
    (void)engine;
    for (int n = 0; n < x->n; n++) {
        double limit = how->kind == KN_PERTURB_DROP ? drop_limit(x, how, n) : 0;
        for (int i = 0; i < x->h; i++)
            for (int j = 0; j < x->w; j++)
                for (int c = 0; c < x->c; c++)
                    ref_at(y, n, i, j)[c] =
                        ref_at(x, n, i, j)[c] * factor(how, x, x, limit, n, i, j, c);
    }
}

void kn_ref_perturb_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                        const kn_perturb *how, const kn_tensor *dx)
{
    (void)engine;
    for (int n = 0; n < dy->n; n++) {
        double limit = how->kind == KN_PERTURB_DROP ? drop_limit(x, how, n) : 0;
        for (int i = 0; i < dy->h; i++)
            for (int j = 0; j < dy->w; j++)
                for (int c = 0; c < dy->c; c++)
                    ref_at(dx, n, i, j)[c] +=
                        ref_at(dy, n, i, j)[c] * factor(how, dy, x, limit, n, i, j, c);
    }
}

void kn_ref_repeat_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    (void)engine;
    int f = y->h / x->h;
    for (int n = 0; n < y->n; n++)
        for (int i = 0; i < y->h; i++)
            for (int j = 0; j < y->w; j++)
                for (int c = 0; c < y->c; c++)
                    ref_at(y, n, i, j)[c] = ref_at(x, n, i / f, j / f)[c];
}

void kn_ref_repeat_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    (void)engine;
    int f = dy->h / dx->h;
    for (int64_t i = 0; i < kn_pixels(dx); i++)
        for (int c = 0; c < dx->c; c++)
            kn_f64(dx)[i * dx->ldc + c] = 0;
    for (int n = 0; n < dy->n; n++)
        for (int i = 0; i < dy->h; i++)
            for (int j = 0; j < dy->w; j++)
                for (int c = 0; c < dy->c; c++)
                    ref_at(dx, n, i / f, j / f)[c] += ref_at(dy, n, i, j)[c];
}

void kn_ref_spread_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    (void)engine;
    for (int n = 0; n < y->n; n++)
        for (int i = 0; i < y->h; i++)
            for (int j = 0; j < y->w; j++)
                for (int c = 0; c < y->c; c++)
                    ref_at(y, n, i, j)[c] =
                        ref_at(x, n, i / 2, j / 2)[(2 * (i % 2) + j % 2) * y->c + c];
}

void kn_ref_spread_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    (void)engine;
    for (int n = 0; n < dy->n; n++)
        for (int i = 0; i < dy->h; i++)
            for (int j = 0; j < dy->w; j++)
                for (int c = 0; c < dy->c; c++)
                    ref_at(dx, n, i / 2, j / 2)[(2 * (i % 2) + j % 2) * dy->c + c] =
                        ref_at(dy, n, i, j)[c];
}

void kn_ref_transposed_pack(kn_engine *engine, int ic, int oc, const void *weight, const void *bias,
                            void *weight1, void *bias1)
{
    (void)engine;
    for (int k = 0; k < 4; k++)
        for (int o = 0; o < oc; o++) {
            ((double *)bias1)[k * oc + o] = ((const double *)bias)[o];
            for (int c = 0; c < ic; c++)
                ((double *)weight1)[(k * oc + o) * ic + c] =
                    ((const double *)weight)[(c * oc + o) * 4 + k];
        }
}

void kn_ref_transposed_unpack(kn_engine *engine, int ic, int oc, const void *dweight1,
                              const void *dbias1, void *dweight, void *dbias)
{
    (void)engine;
    for (int k = 0; k < 4; k++)
        for (int o = 0; o < oc; o++) {
            ((double *)dbias)[o] += ((const double *)dbias1)[k * oc + o];
            for (int c = 0; c < ic; c++)
                ((double *)dweight)[(c * oc + o) * 4 + k] +=
                    ((const double *)dweight1)[(k * oc + o) * ic + c];
        }
}
