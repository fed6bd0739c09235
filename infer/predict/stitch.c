/* See stitch.h for the layout and the invariants. */
#include "infer/predict/stitch.h"

#include "kernels/engine/blend.h"

#include <math.h>

enum { CHUNK_ROWS = 64 }; /* rows handed out at once */

struct inf_stitch {
    inf_stitch_spec spec;
    int64_t top; /* first row not handed out yet */
    kn_strip *strip;
};

int64_t inf_axis_n(int64_t length, int window_px, int stride_px)
{
    if (length <= window_px)
        return 1;
    return (length - window_px + stride_px - 1) / stride_px + 1;
}

int64_t inf_axis_at(int64_t length, int window_px, int stride_px, int64_t i)
{
    return MAX(0, MIN(i * stride_px, length - window_px));
}

void inf_blend_weights(inf_blend blend, int window_px, float *weights)
{
    double sigma = window_px / 8.0, centre = (window_px - 1) / 2.0;
    for (int i = 0; i < window_px; i++) {
        double d = (i - centre) / sigma;
        weights[i] = blend == INF_BLEND_GAUSSIAN ? (float)exp(-0.5 * d * d) : 1.0f;
    }
}

static kn_strip_spec strip_of(const inf_stitch_spec *s)
{
    return (kn_strip_spec){.w = s->w,
                           .window_px = s->window_px,
                           .n_classes = s->n_classes,
                           .chunk_rows = MIN(CHUNK_ROWS, s->window_px),
                           .with_prob = s->with_prob};
}

int64_t inf_stitch_memory(const inf_stitch_spec *spec)
{
    kn_strip_spec strip = strip_of(spec);
    return kn_strip_memory(spec->engine, &strip);
}

inf_stitch *inf_stitch_create(const inf_stitch_spec *spec, GError **error)
{
    kn_strip_spec strip = strip_of(spec);
    g_autofree float *weights = g_new(float, spec->window_px);
    inf_blend_weights(spec->blend, spec->window_px, weights);
    strip.weights = weights;
    kn_strip *made = kn_strip_create(spec->engine, &strip, error);
    if (!made)
        return NULL;
    inf_stitch *s = g_new0(inf_stitch, 1);
    *s = (inf_stitch){.spec = *spec, .strip = made};
    return s;
}

void inf_stitch_destroy(inf_stitch *s)
{
    if (!s)
        return;
    kn_strip_destroy(s->strip);
    g_free(s);
}

/* Hands out rows top … end-1. */
static bool flush(inf_stitch *s, int64_t end, GError **error)
{
    int window = s->spec.window_px;
    while (s->top < end) {
        int64_t slot = s->top % window;
        int n = (int)MIN(end - s->top, MIN(CHUNK_ROWS, window - slot));
        const uint8_t *label;
        const float *prob;
        if (!kn_strip_take(s->strip, s->top, n, &label, &prob, error) ||
            !s->spec.rows(s->spec.user, s->top, n, s->spec.w, label, prob, error))
            return false;
        s->top += n;
    }
    return true;
}

bool inf_stitch_add(inf_stitch *s, const inf_logits *logits, int first, int n, const int64_t *x,
                    int64_t y, GError **error)
{
    g_assert(y >= s->top && y < s->spec.h);
    for (int k = 0; k < n; k++)
        g_assert(x[k] >= 0 && x[k] < s->spec.w);
    if (!flush(s, y, error))
        return false;
    kn_strip_add(s->strip, logits->z, logits->second, first, n, x, y,
                 (int)MIN(s->spec.window_px, s->spec.h - y));
    return true;
}

bool inf_stitch_finish(inf_stitch *s, GError **error)
{
    return flush(s, s->spec.h, error);
}
