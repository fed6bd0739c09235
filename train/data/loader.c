/* One lock guards the ring's states and the sampler; pixels are worked on outside it. A slot goes
 * free → filling → ready → in use → free; batch i lives in slot i mod n_slots, so a thread takes
 * batch i only when the consumer is done with batch i - n_slots. The last `n_used` batches handed
 * out are in use: one, or two where a device may still be reading the one before. The first error
 * stops all threads and is handed to the consumer when it arrives at that batch. */
#include "train/data/loader.h"

#include "base/error.h"
#include "base/rng.h"
#include "train/data/augment.h"
#include "train/data/streams.h"

#include <string.h>

enum { SLOTS_AHEAD = 2 };

typedef struct {
    tr_batch batch;
    uint32_t *items;
    tr_augment *augment;
    tr_strong *strength;
    uint8_t *rgb, *label, *truth, *exclude;
    float *input, *strong;
    kn_block patches; /* raw: pinned */
    bool ready;
    GError *error;
} slot;

typedef struct {
    uint8_t *rgb, *label; /* one patch as read */
    float *blur;          /* of the strong view */
} scratch;

struct tr_loader {
    const tr_source *source;
    const model_spec *spec;
    int n_labelled, n_unlabelled, patch_px;
    uint64_t seed;
    bool augment;
    bool strong;
    tr_form form;
    kn_engine *engine; /* whose pinned memory the raw ring is; NULL else */
    double stain, brightness;
    tr_strong_options strength;
    tr_sampler *sampler;
    slot *slots;
    int n_slots, n_used;
    GThread **threads;
    scratch *scratches;
    int n_threads;
    GMutex lock; /* guards sampler, ready, error, next_fill, next_use, stop */
    GCond filled, freed;
    int64_t next_fill; /* next batch to be taken by a thread */
    int64_t next_use;  /* batch that tr_loader_next returns next */
    bool stop;
};

typedef struct {
    tr_loader *loader;
    int index;
} worker_args;

/* Does the plan look at strong views? */
static bool wants_strong(const ssl_plan *plan)
{
    bool wants = false;
    for (int f = 0; f < plan->n_forwards; f++)
        wants = wants || plan->forwards[f].look == SSL_STRONG;
    return wants;
}

static int64_t slot_bytes(const ssl_plan *plan, int patch_px, tr_form form)
{
    int64_t px = (int64_t)patch_px * patch_px;
    int64_t n = plan->n_labelled + plan->n_unlabelled;
    if (form != TR_FORM_READY)
        return form == TR_FORM_RAW ? n * px * 4 : 0;
    return n * px * (3 + (wants_strong(plan) ? 24 : 12)) + plan->n_labelled * px +
           2 * plan->n_unlabelled * px;
}

int64_t tr_loader_memory(const tr_options *options, const ssl_plan *plan, int patch_px,
                         tr_form form)
{
    int64_t px = (int64_t)patch_px * patch_px;
    int64_t scratch_bytes = form == TR_FORM_READY ? px * (wants_strong(plan) ? 16 : 4) : 0;
    return (options->loader_threads + SLOTS_AHEAD) * slot_bytes(plan, patch_px, form) +
           options->loader_threads * scratch_bytes;
}

/* Pixels outside the slide get 255 in `plane`. */
static void paint_padding(const tr_item *item, int size, uint8_t *plane)
{
    int w = item->valid_w > 0 ? item->valid_w : size, h = item->valid_h > 0 ? item->valid_h : size;
    for (int y = 0; y < size; y++) {
        int from = y < h ? w : 0;
        if (from < size)
            memset(plane + (ptrdiff_t)y * size + from, QS_CLASS_IGNORE, (size_t)(size - from));
    }
}

/* All that is random about image j. */
static void draw_item(const tr_loader *l, slot *s, int j)
{
    qs_rng rng;
    tr_augment_none(&s->augment[j]);
    if (l->augment) {
        qs_rng_init(&rng, l->seed,
                    qs_rng_stream_id(TR_STREAM_AUGMENT, (uint64_t)s->batch.index, (uint64_t)j));
        tr_augment_draw(&s->augment[j], &rng, l->stain, l->brightness);
    }
    if (!l->strong)
        return;
    qs_rng_init(&rng, l->seed,
                qs_rng_stream_id(TR_STREAM_STRONG, (uint64_t)s->batch.index, (uint64_t)j));
    tr_strong_draw(&s->strength[j], &rng, &l->strength);
}

bool tr_loader_read(const tr_source *source, uint32_t index, uint8_t *rgb, uint8_t *label,
                    GError **error)
{
    bool has_label = source->items[index].has_label;
    if (!source->read(source->user, index, rgb, has_label ? label : NULL, error)) {
        g_prefix_error(error, "training patch %u: ", index);
        return false;
    }
    if (!has_label)
        memset(label, QS_CLASS_IGNORE, (size_t)source->patch_px * (size_t)source->patch_px);
    return true;
}

/* The strong view of image j, from its weak one. */
static void fill_strong(const tr_loader *l, slot *s, scratch *t, int j, const uint8_t *rgb)
{
    size_t px = (size_t)l->patch_px * (size_t)l->patch_px;
    memcpy(t->rgb, rgb, px * 3);
    tr_strong_apply(&s->strength[j], t->rgb, l->patch_px, t->blur);
    model_normalise(l->spec, t->rgb, (int64_t)px, s->strong + (size_t)j * px * 3);
}

static bool fill_item(tr_loader *l, slot *s, scratch *t, int j, GError **error)
{
    int size = l->patch_px;
    size_t px = (size_t)size * (size_t)size;
    uint32_t index = s->items[j];
    const tr_item *item = &l->source->items[index];
    const tr_augment *a = &s->augment[j];
    bool labelled = j < l->n_labelled;
    draw_item(l, s, j);
    if (l->form == TR_FORM_DRAWS)
        return true;
    if (l->form == TR_FORM_RAW) {
        uint8_t *rgb = s->patches.data, *label = rgb + (size_t)s->batch.n * px * 3;
        return tr_loader_read(l->source, index, rgb + (size_t)j * px * 3, label + (size_t)j * px,
                              error);
    }
    if (!tr_loader_read(l->source, index, t->rgb, t->label, error))
        return false;
    size_t u = (size_t)(j - l->n_labelled);
    uint8_t *rgb = s->rgb + (size_t)j * px * 3;
    tr_augment_geometry(a, t->rgb, size, 3, rgb);
    tr_augment_colour(a, rgb, (int64_t)px);
    paint_padding(item, size, t->label);
    tr_augment_geometry(a, t->label, size, 1,
                        labelled ? s->label + (size_t)j * px : s->truth + u * px);
    if (!labelled) {
        memset(t->label, 0, px);
        paint_padding(item, size, t->label);
        tr_augment_geometry(a, t->label, size, 1, s->exclude + u * px);
    }
    model_normalise(l->spec, rgb, (int64_t)px, s->input + (size_t)j * px * 3);
    if (l->strong)
        fill_strong(l, s, t, j, rgb);
    return true;
}

static gpointer worker(gpointer user)
{
    worker_args *args = user;
    tr_loader *l = args->loader;
    scratch *t = &l->scratches[args->index];
    g_free(args);
    g_mutex_lock(&l->lock);
    while (!l->stop) {
        int64_t i = l->next_fill;
        if (i >= l->next_use - l->n_used + l->n_slots) { /* those before next_use are in use */
            g_cond_wait(&l->freed, &l->lock);
            continue;
        }
        l->next_fill++;
        slot *s = &l->slots[i % l->n_slots];
        s->batch.index = i;
        tr_sampler_batch(l->sampler, i, s->items);
        g_mutex_unlock(&l->lock);
        GError *error = NULL;
        bool ok = true;
        for (int j = 0; ok && j < s->batch.n; j++)
            ok = fill_item(l, s, t, j, &error);
        g_mutex_lock(&l->lock);
        s->error = error;
        s->ready = true;
        l->stop = l->stop || !ok;
        g_cond_broadcast(&l->filled);
        g_cond_broadcast(&l->freed);
    }
    g_mutex_unlock(&l->lock);
    return NULL;
}

static bool slot_init(slot *s, const tr_loader *l, GError **error)
{
    size_t px = (size_t)l->patch_px * (size_t)l->patch_px;
    size_t n = (size_t)(l->n_labelled + l->n_unlabelled);
    s->items = g_new(uint32_t, n);
    s->augment = g_new0(tr_augment, n);
    s->strength = l->strong ? g_new0(tr_strong, n) : NULL;
    s->batch = (tr_batch){.n = (int)n,
                          .n_labelled = l->n_labelled,
                          .n_held = tr_sampler_n_held(l->sampler),
                          .patch_px = l->patch_px,
                          .form = l->form,
                          .items = s->items,
                          .augment = s->augment,
                          .strength = s->strength};
    if (l->form == TR_FORM_RAW) {
        if (!kn_engine_host_alloc(l->engine, &s->patches, n * px * 4, "a batch of patches", error))
            return false;
        s->batch.patch_rgb = s->patches.data;
        s->batch.patch_label = s->batch.patch_rgb + n * px * 3;
    }
    if (l->form != TR_FORM_READY)
        return true;
    s->batch.rgb = s->rgb = g_malloc(n * px * 3);
    s->batch.input = s->input = g_malloc(n * px * 3 * sizeof(float));
    s->batch.strong = s->strong = l->strong ? g_malloc(n * px * 3 * sizeof(float)) : NULL;
    s->batch.label = s->label = g_malloc((size_t)l->n_labelled * px + 1);
    s->batch.truth = s->truth = g_malloc((size_t)l->n_unlabelled * px + 1);
    s->batch.exclude = s->exclude = g_malloc((size_t)l->n_unlabelled * px + 1);
    return true;
}

static void start_threads(tr_loader *l)
{
    size_t px = (size_t)l->patch_px * (size_t)l->patch_px;
    for (int i = 0; i < l->n_threads; i++) {
        if (l->form == TR_FORM_READY)
            l->scratches[i] = (scratch){.rgb = g_malloc(px * 3), .label = g_malloc(px)};
        if (l->form == TR_FORM_READY && l->strong)
            l->scratches[i].blur = g_malloc(px * 3 * sizeof(float));
        worker_args *args = g_new(worker_args, 1);
        *args = (worker_args){.loader = l, .index = i};
        l->threads[i] = g_thread_new("loader", worker, args);
    }
}

tr_loader *tr_loader_create(const tr_options *options, const ssl_plan *plan,
                            const tr_source *source, const model_spec *spec, int64_t first,
                            GError **error)
{
    return tr_loader_create_form(options, plan, source, spec, TR_FORM_READY, NULL, first, error);
}

tr_loader *tr_loader_create_form(const tr_options *options, const ssl_plan *plan,
                                 const tr_source *source, const model_spec *spec, tr_form form,
                                 kn_engine *engine, int64_t first, GError **error)
{
    tr_sampler *sampler = tr_sampler_create(source, plan, options->seed, error);
    if (!sampler)
        return NULL;
    tr_loader *l = g_new0(tr_loader, 1);
    l->source = source;
    l->spec = spec;
    l->n_labelled = plan->n_labelled;
    l->n_unlabelled = plan->n_unlabelled;
    l->patch_px = source->patch_px;
    l->seed = options->seed;
    l->augment = options->augment;
    l->strong = wants_strong(plan);
    l->strength = options->strong;
    l->form = form;
    l->engine = engine;
    l->n_used = form == TR_FORM_RAW ? 2 : 1;
    l->stain = options->jitter_stain;
    l->brightness = options->jitter_brightness;
    l->sampler = sampler;
    l->n_threads = options->loader_threads;
    l->n_slots = l->n_threads + SLOTS_AHEAD;
    l->next_fill = l->next_use = first;
    g_mutex_init(&l->lock);
    g_cond_init(&l->filled);
    g_cond_init(&l->freed);
    l->slots = g_new0(slot, (gsize)l->n_slots);
    l->scratches = g_new0(scratch, (gsize)l->n_threads);
    l->threads = g_new0(GThread *, (gsize)l->n_threads);
    for (int i = 0; i < l->n_slots; i++)
        if (!slot_init(&l->slots[i], l, error)) {
            l->n_threads = 0; /* none has been started */
            tr_loader_destroy(l);
            return NULL;
        }
    start_threads(l);
    return l;
}

void tr_loader_destroy(tr_loader *l)
{
    if (!l)
        return;
    g_mutex_lock(&l->lock);
    l->stop = true;
    g_cond_broadcast(&l->freed);
    g_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++) {
        g_thread_join(l->threads[i]);
        g_free(l->scratches[i].rgb);
        g_free(l->scratches[i].label);
        g_free(l->scratches[i].blur);
    }
    for (int i = 0; i < l->n_slots; i++) {
        slot *s = &l->slots[i];
        g_free(s->items);
        g_free(s->augment);
        g_free(s->strength);
        if (s->patches.data)
            kn_engine_host_free(l->engine, &s->patches);
        g_free(s->rgb);
        g_free(s->input);
        g_free(s->strong);
        g_free(s->label);
        g_free(s->truth);
        g_free(s->exclude);
        g_clear_error(&s->error);
    }
    g_free(l->slots);
    g_free(l->scratches);
    g_free(l->threads);
    tr_sampler_destroy(l->sampler);
    g_mutex_clear(&l->lock);
    g_cond_clear(&l->filled);
    g_cond_clear(&l->freed);
    g_free(l);
}

const tr_batch *tr_loader_next(tr_loader *l, GError **error)
{
    g_mutex_lock(&l->lock);
    int64_t i = l->next_use++;
    if (i >= l->n_used)
        l->slots[(i - l->n_used) % l->n_slots].ready = false;
    g_cond_broadcast(&l->freed);
    slot *s = &l->slots[i % l->n_slots];
    while (!s->ready)
        g_cond_wait(&l->filled, &l->lock);
    GError *failed = g_steal_pointer(&s->error);
    g_mutex_unlock(&l->lock);
    if (failed) {
        g_propagate_error(error, failed);
        return NULL;
    }
    return &s->batch;
}

const tr_sampler *tr_loader_sampler(const tr_loader *loader)
{
    return loader->sampler;
}
