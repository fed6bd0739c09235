/* See blend.h. What comes to the host lies together, mark first, so that one copy brings it:
 *
 *   acc (window,w,classes) | weights (window) | mark | label (chunk,w) | prob (chunk,w,classes)
 *                                               └──────── to the host ────────────────────────┘ */
#include "kernels/engine/blend.h"

#include "base/error.h"
#include "kernels/engine/engine_priv.h"

enum { MARK_BYTES = 256 };

struct kn_strip {
    kn_engine *engine; /* borrowed */
    kn_strip_spec spec;
    kn_blend at;
    kn_block memory; /* the engine's */
    kn_block host;   /* engines with memory of their own: mark, label, prob here */
    char *mark;      /* in `memory` */
};

typedef struct {
    size_t acc, weights, label, prob;
} sizes;

static sizes sizes_of(const kn_engine *engine, const kn_strip_spec *s)
{
    size_t row = (size_t)s->w * (size_t)s->n_classes;
    return (sizes){
        .acc = kn_round_up((size_t)s->window_px * row * kn_dtype_bytes(kn_engine_dtype(engine)),
                           KN_ALIGN),
        .weights = kn_round_up((size_t)s->window_px * sizeof(float), KN_ALIGN),
        .label = kn_round_up((size_t)s->chunk_rows * (size_t)s->w, KN_ALIGN),
        .prob = s->with_prob ? (size_t)s->chunk_rows * row * sizeof(float) : 0,
    };
}

int64_t kn_strip_memory(kn_engine *engine, const kn_strip_spec *spec)
{
    sizes z = sizes_of(engine, spec);
    size_t out = MARK_BYTES + z.label + z.prob;
    return (int64_t)(z.acc + z.weights + out + (kn_engine_is_device(engine) ? out : 0));
}

kn_strip *kn_strip_create(kn_engine *engine, const kn_strip_spec *spec, GError **error)
{
    sizes z = sizes_of(engine, spec);
    size_t out = MARK_BYTES + z.label + z.prob;
    g_autoptr(GError) why = NULL;
    g_autofree char *what =
        g_strdup_printf("a strip of %" G_GINT64_FORMAT " × %d pixels with %d classes", spec->w,
                        spec->window_px, spec->n_classes);
    kn_strip *s = g_new0(kn_strip, 1);
    s->engine = engine;
    s->spec = *spec;
    s->spec.weights = NULL;
    if (!kn_engine_alloc(engine, &s->memory, z.acc + z.weights + out, what, &why) ||
        (kn_engine_is_device(engine) &&
         !kn_engine_host_alloc(engine, &s->host, out, "its finished rows", &why))) {
        g_set_error(error, why->domain, why->code,
                    "%s; predict at a coarser resolution or on a machine with more memory",
                    why->message);
        kn_strip_destroy(s);
        return NULL;
    }
    char *weights = (char *)s->memory.data + z.acc;
    s->mark = weights + z.weights;
    s->at = (kn_blend){.w = spec->w,
                       .window = spec->window_px,
                       .classes = spec->n_classes,
                       .acc = s->memory.data,
                       .weights = (const float *)(const void *)weights,
                       .bad = (uint32_t *)(void *)s->mark};
    kn_engine_upload(engine, weights, spec->weights, (size_t)spec->window_px * sizeof(float));
    return s;
}

void kn_strip_destroy(kn_strip *s)
{
    if (!s)
        return;
    kn_engine_host_free(s->engine, &s->host);
    kn_engine_free(s->engine, &s->memory);
    g_free(s);
}

void kn_strip_add(kn_strip *s, const kn_tensor *z, const kn_tensor *second, int first, int n,
                  const int64_t *x, int64_t y, int n_rows)
{
    g_assert(n_rows <= s->spec.window_px && first + n <= z->n && z->c == s->spec.n_classes);
    kn_engine_team(s->engine);
    for (int done = 0; done < n; done += KN_BLEND_MAX)
        kn_engine_ops(s->engine)->blend_add(s->engine, &s->at, z, second, first + done,
                                            MIN(n - done, KN_BLEND_MAX), x + done, y, n_rows);
}

bool kn_strip_take(kn_strip *s, int64_t y, int n, const uint8_t **label, const float **prob,
                   GError **error)
{
    sizes z = sizes_of(s->engine, &s->spec);
    int slot = (int)(y % s->spec.window_px);
    char *out = s->mark, *to_prob = out + MARK_BYTES + z.label;
    g_assert(n <= s->spec.chunk_rows && slot + n <= s->spec.window_px);
    kn_engine_team(s->engine);
    kn_engine_ops(s->engine)->blend_take(s->engine, &s->at, slot, n, (uint8_t *)out + MARK_BYTES,
                                         s->spec.with_prob ? (float *)(void *)to_prob : NULL);
    if (s->host.data) {
        size_t rows = (size_t)n * (size_t)s->spec.w;
        size_t bytes =
            s->spec.with_prob ? z.label + rows * (size_t)s->spec.n_classes * sizeof(float) : rows;
        kn_engine_download(s->engine, s->host.data, out, MARK_BYTES + bytes);
        if (!kn_engine_check(s->engine, error))
            return false;
        out = s->host.data;
    }
    if (*(const uint32_t *)(const void *)out != 0) {
        g_set_error_literal(
            error, QS_ERROR, QS_ERROR_FORMAT,
            "the network's output is not a number; the model file holds damaged weights "
            "or its training diverged");
        return false;
    }
    *label = (const uint8_t *)out + MARK_BYTES;
    *prob = s->spec.with_prob ? (const float *)(const void *)(out + MARK_BYTES + z.label) : NULL;
    return true;
}
