/* See tile.h. Workers take cells in order, the calling thread gives results to the sink in order:
 *
 *      next ──► workers: tissue? read, measure, label, encode ──► ring ──► caller: sink.add
 *
 * Invariants, under `lock`:
 *   1. added <= next <= added + n_ring: slot cell % n_ring belongs to one cell at a time;
 *   2. a slot is written by its worker until done, by the caller after that;
 *   3. once `stop` is set no worker takes another cell.
 * The ring is as long as RING_BYTES allows, so that workers go on while the sink syncs to disk. */
#include "wsi/slide/driver.h"
#include "wsi/tile/tile.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum { RING_BYTES = 48 << 20, RING_MAX = 512, THREADS_MAX = 256, LEVEL_PX_MAX = 1 << 20 };

typedef struct {
    wsi_cell cell;
    GError *fatal; /* ends the run when the caller gets here */
    bool done;
} slot;

typedef struct {
    const wsi_view *view;
    const wsi_tissue *tissue;
    wsi_mask *mask;
    const wsi_tile_options *options;
    const wsi_sink *sink;
    wsi_grid grid;
    GMutex lock;
    GCond room, ready; /* a slot became free; the slot that the caller waits for is done */
    int64_t next, added;
    bool stop;
    slot *ring;
    int n_ring;
    wsi_stages stages;
} tiler;

void wsi_tile_options_init(wsi_tile_options *options)
{
    *options = (wsi_tile_options){
        .patch_px = 256, .stride_px = 256, .tissue_min = 0.25, .n_threads = 1, .damaged_max = 0.1};
}

static int64_t patch_bytes(const wsi_tile_options *options)
{
    return (int64_t)options->patch_px * options->patch_px * 4; /* image and label */
}

/* Never longer than the grid: small images do not pay for large ones. */
static int ring_length(const wsi_tile_options *options, const wsi_grid *grid)
{
    int64_t fits = RING_BYTES / patch_bytes(options);
    return (int)MIN(CLAMP(fits, 2 * options->n_threads, RING_MAX), MAX(1, grid->n_cells));
}

int64_t wsi_tile_memory(const wsi_view *view, const wsi_tile_options *options)
{
    int n = options->n_threads;
    int64_t patch = patch_bytes(options), pixels = patch / 4;
    /* Resampling keeps a strip of the level and sums of 8 bytes a channel. */
    int64_t worker = patch + (view->level_scale == 1 ? 0 : (int64_t)LEVEL_PX_MAX * 3 + pixels * 24);
    /* Detection holds picture, mask, one sum or queue entry a pixel, and is over before tiling. */
    const wsi_level *base = &wsi_slide_get_info(view->slide)->levels[0];
    int64_t picture = MIN((int64_t)2048 * 2048, base->w * base->h);
    int64_t tissue = options->no_tissue ? 0 : picture * 10;
    wsi_grid grid;
    if (!wsi_grid_init(&grid, view, options->patch_px, options->stride_px, NULL))
        return 0; /* wsi_tile_run will say why */
    int64_t ring = ring_length(options, &grid) * (patch + (int64_t)sizeof(slot));
    return wsi_slide_memory(view->slide, n) + n * worker + MAX(tissue, ring);
}

/* ---- one cell ---- */
static void place(const tiler *t, wsi_cell *cell)
{
    double downsample = t->view->downsample;
    const wsi_level *base = &wsi_slide_get_info(t->view->slide)->levels[0];
    wsi_grid_cell(&t->grid, t->view, t->options->patch_px, t->options->stride_px, cell->cell,
                  &cell->x, &cell->y, &cell->valid_w, &cell->valid_h);
    cell->x_l0 = llround((double)cell->x * downsample);
    cell->y_l0 = llround((double)cell->y * downsample);
    cell->w_l0 = MIN(llround((double)(cell->x + cell->valid_w) * downsample), base->w) - cell->x_l0;
    cell->h_l0 = MIN(llround((double)(cell->y + cell->valid_h) * downsample), base->h) - cell->y_l0;
}

static bool read_patch(const tiler *t, wsi_cell *cell, uint8_t *rgb, GError **error)
{
    size_t row_bytes = (size_t)t->options->patch_px * 3;
    if (cell->valid_w < t->options->patch_px || cell->valid_h < t->options->patch_px)
        memset(rgb, 255, row_bytes * (size_t)t->options->patch_px);
    wsi_stages before = *wsi_stages_of_thread();
    int64_t then = wsi_stages_now();
    bool ok = wsi_view_read(t->view, cell->x, cell->y, cell->valid_w, cell->valid_h, rgb, row_bytes,
                            error);
    /* Drivers count reading and decoding; what is left was spent on getting from there to here. */
    wsi_stages_add_rest(WSI_STAGE_RESAMPLE, then, &before);
    return ok;
}

static bool read_label(const tiler *t, wsi_cell *cell, uint8_t *label, GError **error)
{
    size_t patch = (size_t)t->options->patch_px;
    memset(label, QS_CLASS_IGNORE, patch * patch);
    if (!wsi_mask_read_counts(t->mask, t->view, cell->x, cell->y, cell->valid_w, cell->valid_h,
                              label, patch, cell->class_px, error))
        return false;
    cell->has_label = true;
    return true;
}

static bool is_blank(const double *mean_rgb)
{
    double mean = (mean_rgb[0] + mean_rgb[1] + mean_rgb[2]) / 3;
    return mean >= 200 && mean <= 255;
}

/* A worker's memory. */
typedef struct {
    uint8_t *rgb, *label; /* (patch,patch,3), (patch,patch) */
    uint8_t *eighth;      /* of rgb; NULL when the sink copies nothing */
    wsi_tile_copy copy;
} workspace;

/* Averages of 8 × 8 pixels, as a JPEG decoded at 1/8 scale has them; border blocks of what there
 * is. */
static void reduce_by_8(const uint8_t *rgb, size_t row_bytes, int w, int h, uint8_t *out)
{
    for (int y = 0; y < h; y += 8)
        for (int x = 0; x < w; x += 8) {
            uint32_t sum[3] = {0}, n = 0;
            for (int yy = y; yy < MIN(y + 8, h); yy++)
                for (int xx = x; xx < MIN(x + 8, w); xx++, n++)
                    for (int k = 0; k < 3; k++)
                        sum[k] += rgb[(size_t)yy * row_bytes + (size_t)xx * 3 + (size_t)k];
            for (int k = 0; k < 3; k++)
                *out++ = (uint8_t)((sum[k] + n / 2) / n);
        }
}

static void measure(const tiler *t, wsi_cell *cell, const workspace *space, double *mean_rgb)
{
    int64_t then = wsi_stages_now();
    float tissue = cell->quality.tissue;
    int w = cell->valid_w, h = cell->valid_h;
    size_t row_bytes = (size_t)t->options->patch_px * 3;
    const uint8_t *rgb = space->rgb;
    if (space->eighth) {
        int w8 = (w + 7) / 8, h8 = (h + 7) / 8;
        if (!cell->copied)
            reduce_by_8(space->rgb, row_bytes, w, h, space->eighth);
        rgb = cell->copied ? space->copy.eighth : space->eighth;
        w = w8;
        h = h8;
        row_bytes = (size_t)w8 * 3;
    }
    wsi_quality_measure(rgb, row_bytes, w, h, &cell->quality, mean_rgb);
    cell->quality.tissue = tissue;
    wsi_stages_add(WSI_STAGE_MEASURE, then);
}

/* The cell's pixels in rgb, or its JPEG in copy. False when it is damaged. */
static bool fetch(const tiler *t, wsi_cell *cell, workspace *space)
{
    int px = t->options->patch_px;
    wsi_copy_outcome outcome = WSI_COPY_NOT_A_TILE;
    if (t->sink->copy && cell->valid_w == px && cell->valid_h == px)
        outcome = wsi_view_copy(t->view, cell->x, cell->y, px, px, &space->copy, &cell->damage);
    cell->copied = outcome == WSI_COPY_DONE;
    return outcome == WSI_COPY_DONE ||
           (outcome == WSI_COPY_NOT_A_TILE && read_patch(t, cell, space->rgb, &cell->damage));
}

/* Gives the cell to the sink as its JPEG, or else as pixels. */
static bool hand_over(const tiler *t, wsi_cell *cell, workspace *space, GError **error)
{
    const uint8_t *label = t->mask ? space->label : NULL;
    int64_t then = wsi_stages_now();
    bool taken = false, ok = true;
    if (cell->copied)
        ok = t->sink->copy(t->sink->user, space->copy.jpeg, space->copy.n, label, &cell->work,
                           &taken, error);
    wsi_stages_add(WSI_STAGE_ENCODE, then);
    if (!ok || taken)
        return ok;
    if (cell->copied && !read_patch(t, cell, space->rgb, error)) {
        g_prefix_error(error, "damaged slide: ");
        return false;
    }
    cell->copied = false;
    then = wsi_stages_now();
    ok = t->sink->encode(t->sink->user, space->rgb, label, &cell->work, error);
    wsi_stages_add(WSI_STAGE_ENCODE, then);
    return ok;
}

/* False only when the run must end; a damaged cell that may be skipped is a result. */
static bool process(const tiler *t, wsi_cell *cell, workspace *space, GError **error)
{
    place(t, cell);
    cell->quality = (wsi_quality){1, NAN, NAN, NAN, NAN, NAN};
    if (t->tissue) {
        cell->quality.tissue =
            (float)wsi_tissue_fraction(t->tissue, (double)cell->x_l0, (double)cell->y_l0,
                                       (double)cell->w_l0, (double)cell->h_l0);
        if (cell->quality.tissue < t->options->tissue_min) {
            cell->reason = "tissue";
            return true;
        }
    }
    if (!fetch(t, cell, space)) {
        cell->damaged = true;
        cell->reason = "damaged";
        if (t->options->skip_damaged)
            return true;
        g_propagate_prefixed_error(error, g_steal_pointer(&cell->damage), "damaged slide: ");
        return false;
    }
    double mean_rgb[3];
    measure(t, cell, space, mean_rgb);
    if (t->options->blank_rule && is_blank(mean_rgb)) {
        cell->reason = "blank";
        cell->copied = false;
        return true;
    }
    int64_t then = wsi_stages_now();
    if (t->mask && !read_label(t, cell, space->label, error))
        return false;
    if (t->mask)
        wsi_stages_add(WSI_STAGE_LABEL, then);
    cell->kept = true;
    return hand_over(t, cell, space, error);
}

/* ---- workers ---- */
/* The slot of the next cell, or NULL when there is none left to take. */
static slot *take(tiler *t)
{
    slot *mine = NULL;
    g_mutex_lock(&t->lock);
    while (!t->stop && t->next < t->grid.n_cells && t->next >= t->added + t->n_ring)
        g_cond_wait(&t->room, &t->lock);
    if (!t->stop && t->next < t->grid.n_cells) {
        mine = &t->ring[t->next % t->n_ring];
        memset(mine, 0, sizeof *mine);
        mine->cell.cell = t->next++;
        mine->cell.reason = "";
    }
    g_mutex_unlock(&t->lock);
    return mine;
}

static gpointer work(gpointer user)
{
    tiler *t = user;
    size_t n = (size_t)t->options->patch_px * (size_t)t->options->patch_px;
    workspace space = {.rgb = g_malloc(n * 3), .label = g_malloc(n)};
    if (t->sink->copy)
        space.eighth = g_malloc(n); /* more than an eighth either way, rounded up, needs */
    wsi_stages before = *wsi_stages_of_thread();
    for (slot *mine; (mine = take(t));) {
        process(t, &mine->cell, &space, &mine->fatal);
        g_mutex_lock(&t->lock);
        mine->done = true;
        if (mine->cell.cell == t->added)
            g_cond_signal(&t->ready);
        g_mutex_unlock(&t->lock);
    }
    g_mutex_lock(&t->lock);
    wsi_stages_sum(&t->stages, &before, wsi_stages_of_thread());
    g_mutex_unlock(&t->lock);
    wsi_tile_copy_clear(&space.copy);
    g_free(space.rgb);
    g_free(space.label);
    g_free(space.eighth);
    return NULL;
}

/* ---- the calling thread ---- */
static slot *wait_for_next(tiler *t)
{
    slot *at = &t->ring[t->added % t->n_ring];
    g_mutex_lock(&t->lock);
    while (!(at->done && at->cell.cell == t->added))
        g_cond_wait(&t->ready, &t->lock);
    g_mutex_unlock(&t->lock);
    return at;
}

static void release(tiler *t, slot *at)
{
    if (at->cell.work)
        t->sink->free_work(t->sink->user, at->cell.work);
    at->cell.work = NULL;
    g_clear_error(&at->cell.damage);
    g_clear_error(&at->fatal);
    at->done = false;
}

static void count(const wsi_cell *cell, wsi_tile_report *report)
{
    report->n_kept += cell->kept;
    report->n_damaged += cell->damaged;
    report->n_copied += cell->copied;
    report->n_dropped += !cell->kept && !cell->damaged;
}

static bool check_damage(const tiler *t, const wsi_tile_report *report, GError **error)
{
    int64_t n = report->n_damaged + t->options->n_damaged_before;
    if ((double)n <= t->options->damaged_max * (double)t->grid.n_cells)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: %" G_GINT64_FORMAT " of its %" G_GINT64_FORMAT
                " cells are damaged, more than the allowed share of %g; copy the slide again",
                wsi_slide_get_info(t->view->slide)->path, n, t->grid.n_cells,
                t->options->damaged_max);
    return false;
}

static bool deliver(tiler *t, const qs_progress *progress, wsi_tile_report *report, GError **error)
{
    bool ok = true;
    while (ok && t->added < t->grid.n_cells) {
        if (!qs_stop_check(error))
            return false;
        slot *at = wait_for_next(t);
        if (at->fatal) {
            g_propagate_error(error, g_steal_pointer(&at->fatal));
            return false;
        }
        int64_t then = wsi_stages_now();
        ok = t->sink->add(t->sink->user, &at->cell, error);
        report->stages.ns[WSI_STAGE_WRITE] += wsi_stages_now() - then;
        if (ok) {
            count(&at->cell, report);
            ok = !at->cell.damaged || check_damage(t, report, error);
        }
        release(t, at);
        g_mutex_lock(&t->lock);
        t->added++;
        g_cond_signal(&t->room);
        g_mutex_unlock(&t->lock);
        qs_progress_update(progress, "tile", t->added, t->grid.n_cells, NULL);
    }
    return ok;
}

static bool check_options(const wsi_tile_options *o, const wsi_tissue *tissue, const wsi_grid *grid,
                          int64_t first_cell, GError **error)
{
    if (o->n_threads < 1 || o->n_threads > THREADS_MAX || !(o->tissue_min >= 0) ||
        !(o->tissue_min <= 1) || !(o->damaged_max >= 0) || first_cell < 0 ||
        first_cell > grid->n_cells) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "tiling with %d threads (1 to %d), tissue share %g (0 to 1), damaged share %g, "
                    "from cell %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT,
                    o->n_threads, THREADS_MAX, o->tissue_min, o->damaged_max, first_cell,
                    grid->n_cells);
        return false;
    }
    g_assert(o->no_tissue == (tissue == NULL));
    return true;
}

bool wsi_tile_run(const wsi_view *view, const wsi_tissue *tissue, wsi_mask *mask,
                  const wsi_tile_options *options, int64_t first_cell, const wsi_sink *sink,
                  const qs_progress *progress, wsi_tile_report *report, GError **error)
{
    memset(report, 0, sizeof *report);
    tiler t = {.view = view, .tissue = tissue, .mask = mask, .options = options, .sink = sink};
    if (!wsi_grid_init(&t.grid, view, options->patch_px, options->stride_px, error) ||
        !check_options(options, tissue, &t.grid, first_cell, error))
        return false;
    t.next = t.added = first_cell;
    t.n_ring = ring_length(options, &t.grid);
    t.ring = g_new0(slot, (size_t)t.n_ring);
    g_mutex_init(&t.lock);
    g_cond_init(&t.room);
    g_cond_init(&t.ready);
    GThread **threads = g_new0(GThread *, (size_t)options->n_threads);
    bool ok = true;
    for (int i = 0; ok && i < options->n_threads; i++)
        ok = (threads[i] = g_thread_try_new("tile", work, &t, error)) != NULL;
    ok = ok && deliver(&t, progress, report, error);
    g_mutex_lock(&t.lock);
    t.stop = true;
    g_cond_broadcast(&t.room);
    g_mutex_unlock(&t.lock);
    for (int i = 0; i < options->n_threads; i++)
        if (threads[i])
            g_thread_join(threads[i]);
    for (int i = 0; i < t.n_ring; i++)
        release(&t, &t.ring[i]);
    wsi_stages none = {{0}};
    wsi_stages_sum(&report->stages, &none, &t.stages);
    g_free(threads);
    g_free(t.ring);
    g_cond_clear(&t.room);
    g_cond_clear(&t.ready);
    g_mutex_clear(&t.lock);
    return ok;
}
