/* y[n,i,j,o] = b[o] + sum_{u,v,c} w[o,c,u,v] · x[n, i+u-r, j+v-r, c],  r = (k-1)/2, zero outside.
 */
#include "kernels/ref/ref_priv.h"

#include <string.h>

struct kn_conv {
    kn_conv_spec spec;
};

kn_conv *kn_ref_conv_create(kn_engine *engine, const kn_conv_spec *spec, GError **error)
{
    (void)engine;
    (void)error;
    kn_conv *conv = g_new0(kn_conv, 1);
    conv->spec = *spec;
    return conv;
}

void kn_ref_conv_destroy(kn_conv *conv)
{
    g_free(conv);
}

static int64_t weight_count(const kn_conv_spec *s)
{
    return (int64_t)s->oc * s->ic * s->k * s->k;
}

kn_conv_needs kn_ref_conv_needs(const kn_conv *conv)
{
    const kn_conv_spec *s = &conv->spec;
    return (kn_conv_needs){.packed_bytes = (size_t)(weight_count(s) + s->oc) * sizeof(double)};
}

const char *kn_ref_conv_describe(const kn_conv *conv)
{
    (void)conv;
    return "fwd=naive bwd_d=naive bwd_w=naive";
}

bool kn_ref_conv_pack(kn_conv *conv, const void *weight, const void *bias, void *packed,
                      GError **error)
{
    (void)error;
    const kn_conv_spec *s = &conv->spec;
    double *w = packed, *b = w + weight_count(s);
    memcpy(w, weight, (size_t)weight_count(s) * sizeof(double));
    for (int o = 0; o < s->oc; o++)
        b[o] = bias ? ((const double *)bias)[o] : 0;
    return true;
}

static bool inside(const kn_conv_spec *s, int y, int x)
{
    return y >= 0 && y < s->h && x >= 0 && x < s->w;
}

bool kn_ref_conv_fwd(kn_conv *conv, const void *packed, const kn_tensor *src, const kn_tensor *dst,
                     void *scratch, GError **error)
{
    (void)scratch;
    (void)error;
    const kn_conv_spec *s = &conv->spec;
    const double *w = packed, *b = w + weight_count(s);
    int r = (s->k - 1) / 2;
    for (int n = 0; n < s->n; n++)
        for (int i = 0; i < s->h; i++)
            for (int j = 0; j < s->w; j++)
                for (int o = 0; o < s->oc; o++) {
                    double sum = b[o];
                    for (int u = 0; u < s->k; u++)
                        for (int v = 0; v < s->k; v++) {
                            if (!inside(s, i + u - r, j + v - r))
                                continue;
                            const double *x = ref_at(src, n, i + u - r, j + v - r);
                            for (int c = 0; c < s->ic; c++)
                                sum += w[((o * s->ic + c) * s->k + u) * s->k + v] * x[c];
                        }
                    if (s->leaky && !(sum > 0))
                        sum *= KN_LEAKY_SLOPE;
                    ref_at(dst, n, i, j)[o] = sum;
                }
    return true;
}

bool kn_ref_conv_bwd_data(kn_conv *conv, const void *packed, const kn_tensor *ddst,
                          const kn_tensor *dsrc, void *scratch, GError **error)
{
    (void)scratch;
    (void)error;
    const kn_conv_spec *s = &conv->spec;
    const double *w = packed;
    int r = (s->k - 1) / 2;
    for (int n = 0; n < s->n; n++)
        for (int i = 0; i < s->h; i++)
            for (int j = 0; j < s->w; j++)
                for (int c = 0; c < s->ic; c++) {
                    double sum = 0;
                    for (int u = 0; u < s->k; u++)
                        for (int v = 0; v < s->k; v++) {
                            if (!inside(s, i - u + r, j - v + r))
                                continue;
                            const double *g = ref_at(ddst, n, i - u + r, j - v + r);
                            for (int o = 0; o < s->oc; o++)
                                sum += w[((o * s->ic + c) * s->k + u) * s->k + v] * g[o];
                        }
                    ref_at(dsrc, n, i, j)[c] = sum;
                }
    return true;
}

bool kn_ref_conv_bwd_weights(kn_conv *conv, const kn_tensor *src, const kn_tensor *ddst,
                             void *dweight, void *dbias, void *scratch, GError **error)
{
    (void)scratch;
    (void)error;
    const kn_conv_spec *s = &conv->spec;
    double *dw = dweight, *db = dbias;
    int r = (s->k - 1) / 2;
    for (int n = 0; n < s->n; n++)
        for (int i = 0; i < s->h; i++)
            for (int j = 0; j < s->w; j++) {
                const double *g = ref_at(ddst, n, i, j);
                for (int o = 0; o < s->oc && db; o++)
                    db[o] += g[o];
                for (int u = 0; u < s->k; u++)
                    for (int v = 0; v < s->k; v++) {
                        if (!inside(s, i + u - r, j + v - r))
                            continue;
                        const double *x = ref_at(src, n, i + u - r, j + v - r);
                        for (int o = 0; o < s->oc; o++)
                            for (int c = 0; c < s->ic; c++)
                                dw[((o * s->ic + c) * s->k + u) * s->k + v] += g[o] * x[c];
                    }
            }
    return true;
}
