/* See stitch.h for the layout and the invariants. */
#include "infer/stitch.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 64 }; /* rows handed out at once */

struct inf_stitch {
    int64_t w, h;
    int window, n_classes;
    inf_rows rows;
    void *user;
    int64_t top;    /* first row not handed out yet */
    int64_t bottom; /* first row that no window has touched */
    float *weights; /* (window) */
    float *acc;     /* (window, w, n_classes): row y lives at y % window */
    uint8_t *label; /* (CHUNK_ROWS, w) */
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

static size_t acc_bytes(int64_t w, int window_px, int n_classes)
{
    return (size_t)window_px * (size_t)w * (size_t)n_classes * sizeof(float);
}

int64_t inf_stitch_memory(int64_t w, int window_px, int n_classes)
{
    return (int64_t)acc_bytes(w, window_px, n_classes) + CHUNK_ROWS * w +
           window_px * (int64_t)sizeof(float);
}

inf_stitch *inf_stitch_create(int64_t w, int64_t h, int window_px, int n_classes, inf_blend blend,
                              inf_rows rows, void *user, GError **error)
{
    inf_stitch *s = g_new0(inf_stitch, 1);
    *s = (inf_stitch){
        .w = w, .h = h, .window = window_px, .n_classes = n_classes, .rows = rows, .user = user};
    size_t n_bytes = acc_bytes(w, window_px, n_classes);
    s->weights = g_new(float, window_px);
    s->acc = g_try_malloc0(n_bytes);
    s->label = g_try_malloc((size_t)CHUNK_ROWS * (size_t)w);
    if (!s->acc || !s->label) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_MEMORY,
            "a strip of %" G_GINT64_FORMAT " × %d pixels with %d classes needs %zu bytes, which "
            "cannot be had; predict at a coarser resolution or on a machine with more memory",
            w, window_px, n_classes, n_bytes);
        inf_stitch_destroy(s);
        return NULL;
    }
    inf_blend_weights(blend, window_px, s->weights);
    return s;
}

void inf_stitch_destroy(inf_stitch *s)
{
    if (!s)
        return;
    g_free(s->weights);
    g_free(s->acc);
    g_free(s->label);
    g_free(s);
}

/* Sums to probabilities in place, and their argmax (ties to the lowest class). */
static void finish_row(const inf_stitch *s, float *acc, uint8_t *label)
{
    int nc = s->n_classes;
    for (int64_t x = 0; x < s->w; x++, acc += nc) {
        float sum = 0;
        int best = 0;
        for (int c = 0; c < nc; c++) {
            sum += acc[c];
            best = acc[c] > acc[best] ? c : best;
        }
        label[x] = (uint8_t)best;
        if (sum > 0)
            for (int c = 0; c < nc; c++)
                acc[c] /= sum;
        else
            acc[0] = 1;
    }
}

/* Hands out rows top … end-1 and clears their place in the ring. */
static bool flush(inf_stitch *s, int64_t end, GError **error)
{
    size_t row = (size_t)s->w * (size_t)s->n_classes;
    while (s->top < end) {
        int64_t slot = s->top % s->window;
        int64_t n = MIN(end - s->top, MIN(CHUNK_ROWS, s->window - slot));
        float *acc = s->acc + (size_t)slot * row;
        for (int64_t i = 0; i < n; i++)
            finish_row(s, acc + (size_t)i * row, s->label + i * s->w);
        if (!s->rows(s->user, s->top, (int)n, s->w, s->label, acc, error))
            return false;
        memset(acc, 0, (size_t)n * row * sizeof(float));
        s->top += n;
    }
    return true;
}

bool inf_stitch_add(inf_stitch *s, int64_t x, int64_t y, const float *prob, GError **error)
{
    g_assert(x >= 0 && x < s->w && y >= s->top && y < s->h);
    if (!flush(s, y, error))
        return false;
    int nc = s->n_classes;
    int64_t n_rows = MIN(s->window, s->h - y), n_cols = MIN(s->window, s->w - x);
    for (int64_t i = 0; i < n_rows; i++) {
        const float *p = prob + (size_t)i * (size_t)s->window * (size_t)nc;
        float *acc =
            s->acc + ((size_t)((y + i) % s->window) * (size_t)s->w + (size_t)x) * (size_t)nc;
        float wy = s->weights[i];
        for (int64_t j = 0; j < n_cols; j++) {
            float weight = wy * s->weights[j];
            for (int c = 0; c < nc; c++)
                acc[j * nc + c] += weight * p[j * nc + c];
        }
    }
    s->bottom = MAX(s->bottom, y + n_rows);
    return true;
}

bool inf_stitch_finish(inf_stitch *s, GError **error)
{
    return flush(s, s->h, error);
}
