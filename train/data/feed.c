/* Device memory is one block, laid out once:
 *
 *   tables | draws (weak, strong, views of every forward) | patches of one batch, or all
 *   | rgb | strong rgb | label | truth | exclude | rows of the blur | sums
 *
 * A step's draws are made in one block of the host's and go over in one copy. In a step all is on
 * one stream, so a batch's parts are written over only when their readers are done. The loader's
 * pinned patches are what the host could overwrite too early: it keeps the last two batches, and
 * tr_feed_end waits for the step before this one. */
#include "train/data/feed.h"

#include "base/error.h"
#include "base/report.h"
#include "kernels/engine/ops.h"

#include <string.h>

enum { LOAD_PATCHES = 64 }; /* that go over at a time */

struct tr_feed {
    kn_engine *engine; /* borrowed */
    const tr_options *options;
    const ssl_plan *plan;
    const tr_source *source;
    bool resident, strong;
    kn_block arena, data; /* the engine's: a batch; the whole data set */
    size_t arena_used;
    /* Draws, as they are made and as they lie there. */
    uint8_t *draws, *draws_there;
    size_t draws_bytes, strong_at, views_at[SSL_FORWARDS_MAX];
    uint8_t *patches; /* of the ring's batch, there */
    uint64_t done;    /* mark of the last step */
    kn_images images;
    tr_batch batch;
    uint8_t *picture;
};

bool tr_feed_can(const kn_engine *engine)
{
    return kn_engine_is_device(engine) && kn_engine_ops(engine)->images_weak;
}

static int64_t pixels(int patch_px)
{
    return (int64_t)patch_px * patch_px;
}

int64_t tr_feed_data_bytes(const tr_source *source)
{
    return (int64_t)source->n_items * pixels(source->patch_px) * 4;
}

/* ---- layout -----------------------------------------------------------------------------------
 */

/* Takes n bytes of the arena; while it is not allocated, only counts them. */
static void *take(tr_feed *f, size_t n)
{
    size_t at = f->arena_used;
    f->arena_used += kn_round_up(n, 256);
    return f->arena.data ? (char *)f->arena.data + at : NULL;
}

static void lay_out_draws(tr_feed *f)
{
    size_t n = (size_t)(f->plan->n_labelled + f->plan->n_unlabelled);
    size_t at = kn_round_up(n * sizeof(kn_weak), KN_ALIGN);
    f->strong_at = at;
    at += f->strong ? kn_round_up(n * sizeof(kn_strong), KN_ALIGN) : 0;
    for (int k = 0; k < f->plan->n_forwards; k++) {
        f->views_at[k] = at;
        at += kn_round_up((size_t)ssl_forward_n(f->plan, &f->plan->forwards[k]) * sizeof(kn_view),
                          KN_ALIGN);
    }
    f->draws_bytes = at;
}

static void lay_out(tr_feed *f, int patch_px)
{
    size_t px = (size_t)pixels(patch_px);
    size_t n_l = (size_t)f->plan->n_labelled, n_u = (size_t)f->plan->n_unlabelled, n = n_l + n_u;
    f->arena_used = 0;
    lay_out_draws(f);
    f->images = (kn_images){.n = (int)n, .n_labelled = (int)n_l, .size = patch_px};
    f->images.tables = take(f, sizeof(kn_image_tables));
    f->draws_there = take(f, f->draws_bytes);
    f->patches = f->resident ? NULL : take(f, n * px * 4);
    f->images.rgb = take(f, n * px * 3);
    f->images.label = take(f, n_l * px + 1);
    f->images.truth = take(f, n_u * px + 1);
    f->images.exclude = take(f, n_u * px + 1);
    if (!f->strong)
        return;
    f->images.strong_rgb = take(f, n * px * 3);
    f->images.blurred = take(f, n * px * 3 * sizeof(float));
    f->images.sums = take(f, n * KN_GREY_PARTS * 3 * sizeof(uint32_t));
}

/* Does a forward look at strong views? */
static bool wants_strong(const ssl_plan *plan)
{
    bool wants = false;
    for (int f = 0; f < plan->n_forwards; f++)
        wants = wants || plan->forwards[f].look == SSL_STRONG;
    return wants;
}

int64_t tr_feed_memory(const ssl_plan *plan, int patch_px)
{
    tr_feed counted = {.plan = plan, .strong = wants_strong(plan)};
    lay_out(&counted, patch_px);
    return (int64_t)counted.arena_used;
}

static void point_draws(tr_feed *f)
{
    uint8_t *there = f->draws_there;
    f->images.weak = (const kn_weak *)(const void *)there;
    if (f->strong)
        f->images.strong = (const kn_strong *)(const void *)(there + f->strong_at);
}

static void send_tables(tr_feed *f, const model_spec *spec)
{
    g_autofree kn_image_tables *t = g_new0(kn_image_tables, 1);
    tr_augment_densities(t->density);
    tr_augment_limits(t->limit);
    for (int v = 0; v < 256; v++) {
        uint8_t pixel[3] = {(uint8_t)v, (uint8_t)v, (uint8_t)v};
        float of[3];
        model_normalise(spec, pixel, 1, of);
        for (int c = 0; c < 3; c++)
            t->input[c][v] = of[c];
    }
    kn_engine_upload(f->engine, (void *)(uintptr_t)f->images.tables, t, sizeof *t);
}

tr_feed *tr_feed_create(kn_engine *engine, const tr_options *options, const ssl_plan *plan,
                        const tr_source *source, const model_spec *spec, bool resident,
                        GError **error)
{
    tr_feed *f = g_new0(tr_feed, 1);
    *f = (tr_feed){.engine = engine,
                   .options = options,
                   .plan = plan,
                   .source = source,
                   .resident = resident,
                   .strong = wants_strong(plan)};
    lay_out(f, source->patch_px);
    size_t data = resident ? (size_t)tr_feed_data_bytes(source) : 0;
    if (!kn_engine_alloc(engine, &f->arena, f->arena_used, "the batch", error) ||
        (data > 0 && !kn_engine_alloc(engine, &f->data, data, "the data set", error))) {
        tr_feed_destroy(f);
        return NULL;
    }
    lay_out(f, source->patch_px);
    point_draws(f);
    f->draws = g_malloc0(f->draws_bytes);
    f->picture = g_malloc((gsize)f->images.n * (gsize)pixels(source->patch_px) * 3);
    size_t of_rgb = source->n_items * (size_t)pixels(source->patch_px) * 3;
    if (resident) {
        f->images.patch_rgb = f->data.data;
        f->images.patch_label = (const uint8_t *)f->data.data + of_rgb;
    } else {
        f->images.patch_rgb = f->patches;
        f->images.patch_label =
            f->patches + (size_t)f->images.n * (size_t)pixels(source->patch_px) * 3;
    }
    send_tables(f, spec);
    return f;
}

void tr_feed_destroy(tr_feed *f)
{
    if (!f)
        return;
    if (f->arena.data)
        kn_engine_free(f->engine, &f->arena);
    if (f->data.data)
        kn_engine_free(f->engine, &f->data);
    g_free(f->draws);
    g_free(f->picture);
    g_free(f);
}

tr_form tr_feed_form(const tr_feed *f)
{
    return f->resident ? TR_FORM_DRAWS : TR_FORM_RAW;
}

/* ---- the whole data set -----------------------------------------------------------------------
 */

/* Patches first … first+n-1 into the block: all rgb, then all labels. The first error is kept. */
static bool read_some(const tr_feed *f, size_t first, int n, kn_block *block, GError **error)
{
    size_t px = (size_t)pixels(f->source->patch_px);
    uint8_t *rgb = block->data, *label = rgb + (size_t)LOAD_PATCHES * px * 3;
    GError *failed = NULL;
#pragma omp parallel for schedule(dynamic) num_threads(kn_engine_threads(f->engine))
    for (int i = 0; i < n; i++) {
        GError *own = NULL;
        if (tr_loader_read(f->source, (uint32_t)(first + (size_t)i), rgb + (size_t)i * px * 3,
                           label + (size_t)i * px, &own))
            continue;
#pragma omp critical(tr_feed_failed)
        if (!failed)
            failed = g_steal_pointer(&own);
        g_clear_error(&own);
    }
    if (!failed)
        return true;
    g_propagate_error(error, failed);
    return false;
}

static void send_some(tr_feed *f, size_t first, int n, const kn_block *block)
{
    size_t px = (size_t)pixels(f->source->patch_px);
    const uint8_t *rgb = block->data;
    kn_engine_upload(f->engine, (uint8_t *)f->data.data + first * px * 3, rgb, (size_t)n * px * 3);
    kn_engine_upload(f->engine, (uint8_t *)(uintptr_t)f->images.patch_label + first * px,
                     rgb + (size_t)LOAD_PATCHES * px * 3, (size_t)n * px);
}

static bool stop_wanted(GError **error)
{
    if (!qs_stop_requested())
        return false;
    g_set_error_literal(error, QS_ERROR, QS_ERROR_STOPPED,
                        "stopped while the patches were brought to the GPU; nothing was changed, "
                        "the same command begins again");
    return true;
}

/* Two blocks in turn: one is read into while the other is on its way. */
static bool load(tr_feed *f, kn_block blocks[2],
                 void (*progress)(void *user, size_t done, size_t total), void *user,
                 GError **error)
{
    size_t total = f->source->n_items;
    uint64_t sent[2] = {0, 0};
    for (size_t first = 0, k = 0; first < total; first += LOAD_PATCHES, k ^= 1) {
        int n = (int)MIN((size_t)LOAD_PATCHES, total - first);
        kn_engine_await(f->engine, sent[k]);
        if (stop_wanted(error) || !read_some(f, first, n, &blocks[k], error))
            return false;
        send_some(f, first, n, &blocks[k]);
        sent[k] = kn_engine_mark(f->engine);
        if (progress)
            progress(user, first + (size_t)n, total);
    }
    return kn_engine_check(f->engine, error);
}

bool tr_feed_load(tr_feed *f, void (*progress)(void *user, size_t done, size_t total), void *user,
                  GError **error)
{
    kn_block blocks[2] = {{NULL, 0}, {NULL, 0}};
    size_t bytes = (size_t)LOAD_PATCHES * (size_t)pixels(f->source->patch_px) * 4;
    bool ok = true;
    if (!f->resident)
        return true;
    for (int i = 0; ok && i < 2; i++)
        ok = kn_engine_host_alloc(f->engine, &blocks[i], bytes, "patches on their way", error);
    ok = ok && load(f, blocks, progress, user, error);
    for (int i = 0; i < 2; i++)
        if (blocks[i].data)
            kn_engine_host_free(f->engine, &blocks[i]);
    return ok;
}

/* ---- a batch -----------------------------------------------------------------------------------
 */

static void make_draws(tr_feed *f, const tr_batch *raw, int64_t it)
{
    kn_weak *weak = (kn_weak *)(void *)f->draws;
    kn_strong *strong = (kn_strong *)(void *)(f->draws + f->strong_at);
    int size = raw->patch_px;
    for (int j = 0; j < raw->n; j++) {
        const tr_item *item = &f->source->items[raw->items[j]];
        weak[j] = (kn_weak){.item = f->resident ? raw->items[j] : (uint32_t)j,
                            .valid_w = item->valid_w > 0 ? item->valid_w : size,
                            .valid_h = item->valid_h > 0 ? item->valid_h : size,
                            .has_label = item->has_label};
        tr_augment_weak(&raw->augment[j], size, &weak[j]);
        if (f->strong)
            tr_strong_pack(&raw->strength[j], &strong[j]);
    }
    for (int k = 0; k < f->plan->n_forwards; k++) {
        const ssl_forward *forward = &f->plan->forwards[k];
        kn_view *views = (kn_view *)(void *)(f->draws + f->views_at[k]);
        for (int i = 0; i < ssl_forward_n(f->plan, forward); i++)
            views[i] = tr_view_of(f->plan, f->options, forward, size, it, i);
    }
}

const tr_batch *tr_feed_batch(tr_feed *f, const tr_batch *raw, int64_t it)
{
    const kn_ops *ops = kn_engine_ops(f->engine);
    size_t bytes = (size_t)raw->n * (size_t)pixels(raw->patch_px) * 4;
    make_draws(f, raw, it);
    if (!f->resident)
        kn_engine_upload(f->engine, f->patches, raw->patch_rgb, bytes);
    kn_engine_upload(f->engine, f->draws_there, f->draws, f->draws_bytes);
    f->images.n_held = raw->n_held;
    ops->images_weak(f->engine, &f->images);
    if (f->strong)
        ops->images_strong(f->engine, &f->images);
    f->batch = *raw;
    f->batch.form = TR_FORM_THERE;
    f->batch.rgb = f->images.rgb;
    f->batch.label = f->images.label;
    f->batch.truth = f->images.truth;
    f->batch.exclude = f->images.exclude;
    f->batch.feed = f;
    return &f->batch;
}

static const kn_view *views_of(const tr_feed *f, int forward)
{
    return (const kn_view *)(const void *)(f->draws_there + f->views_at[forward]);
}

void tr_feed_input(tr_feed *f, int k, uint64_t stream, const kn_tensor *dst)
{
    const ssl_forward *forward = &f->plan->forwards[k];
    const uint8_t *rgb = forward->look == SSL_STRONG ? f->images.strong_rgb : f->images.rgb;
    kn_engine_ops(f->engine)->images_input(f->engine, &f->images, rgb, views_of(f, k),
                                           forward->noise, f->options->seed, stream, dst);
}

void tr_feed_mixed(tr_feed *f, int k, const kn_planes *planes)
{
    kn_engine_ops(f->engine)->images_mixed(f->engine, &f->images, views_of(f, k),
                                           ssl_forward_n(f->plan, &f->plan->forwards[k]), planes);
}

void tr_feed_whole(tr_feed *f, uint8_t *both, uint8_t *held)
{
    kn_engine_ops(f->engine)->images_whole(f->engine, &f->images, both, held);
}

void tr_feed_end(tr_feed *f)
{
    if (f->resident)
        return;
    kn_engine_await(f->engine, f->done);
    f->done = kn_engine_mark(f->engine);
}

const uint8_t *tr_feed_picture(tr_feed *f)
{
    size_t bytes = (size_t)f->images.n * (size_t)pixels(f->images.size) * 3;
    kn_engine_download(f->engine, f->picture, f->images.rgb, bytes);
    return f->picture;
}
