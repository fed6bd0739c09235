/* See job_tile.h. Two kinds of failure are kept apart: one of the slide (its row becomes FAILED
 * with the message, other slides go on) and one of the store (disk full, locked: nothing can go on,
 * and the slide keeps the state it has). What was committed stays in either case. */
#include "jobs/tile/job.h"

#include "base/error.h"
#include "base/file.h"
#include "base/report.h"
#include "wsi/annot/shapes.h"
#include "wsi/cohort/cohort.h"
#include "jobs/colour_rules.h"
#include "jobs/label_rules.h"
#include "jobs/tile/lost.h"
#include "jobs/tile/preview.h"
#include "jobs/tissue_rules.h"

#include <math.h>
#include <string.h>

/* ---- the sink ---- */
/* A patch on its way from a worker to the writer. Kept and used again: no allocation per patch. */
typedef struct {
    db_blob image, label;
} parcel;

typedef struct {
    const db_store_config *config;
    db_store *store;
    db_writer *writer;
    job_tile *job;
    const wsi_view *view;
    GMutex lock; /* guards free_parcels */
    GPtrArray *free_parcels;
} store_sink;

static void parcel_destroy(gpointer data)
{
    parcel *p = data;
    db_blob_clear(&p->image);
    db_blob_clear(&p->label);
    g_free(p);
}

static void give_back(void *user, void *work)
{
    store_sink *sink = user;
    g_mutex_lock(&sink->lock);
    g_ptr_array_add(sink->free_parcels, work);
    g_mutex_unlock(&sink->lock);
}

static parcel *take_parcel(store_sink *sink)
{
    g_mutex_lock(&sink->lock);
    guint n = sink->free_parcels->len;
    parcel *p = n ? g_ptr_array_steal_index_fast(sink->free_parcels, n - 1) : NULL;
    g_mutex_unlock(&sink->lock);
    return p ? p : g_new0(parcel, 1);
}

static bool encode(void *user, const uint8_t *rgb, const uint8_t *label, void **work,
                   GError **error)
{
    store_sink *sink = user;
    parcel *p = take_parcel(sink);
    *work = p; /* the tiler gives it back, also after an error */
    return db_encode_image(sink->config, rgb, sink->config->patch_px, &p->image, error) &&
           (!label || db_encode_label(label, sink->config->patch_px, &p->label, error));
}

/* With codec copy: the JPEG of the slide itself. */
static bool copy(void *user, const uint8_t *jpeg, size_t n, const uint8_t *label, void **work,
                 bool *taken, GError **error)
{
    store_sink *sink = user;
    parcel *p = take_parcel(sink);
    db_copy_jpeg(jpeg, n, sink->config->patch_px, &p->image, taken);
    if (!*taken) {
        give_back(sink, p);
        return true;
    }
    *work = p;
    return !label || db_encode_label(label, sink->config->patch_px, &p->label, error);
}

static void fill_patch(const store_sink *sink, const wsi_cell *cell, db_patch *patch)
{
    *patch = (db_patch){
        .cell = cell->cell,
        .x_l0 = cell->x_l0,
        .y_l0 = cell->y_l0,
        .w_l0 = cell->w_l0,
        .h_l0 = cell->h_l0,
        .valid_w = cell->valid_w,
        .valid_h = cell->valid_h,
        .level = sink->view->level,
        .mpp = sink->view->mpp,
        .kept = cell->kept,
        .tissue = cell->quality.tissue,
        .white = cell->quality.white,
        .dark = cell->quality.dark,
        .saturation = cell->quality.saturation,
        .blur = cell->quality.blur,
        .pen = cell->quality.pen,
        .has_label = cell->kept && cell->has_label,
        .ignore_px = cell->class_px[QS_CLASS_IGNORE],
    };
    g_strlcpy(patch->reason, cell->reason, sizeof patch->reason);
    for (int c = 0; c < sink->config->classes.n; c++)
        patch->class_px[c] = cell->class_px[c];
}

static void count(job_tile *job, const wsi_cell *cell)
{
    job->n_kept += cell->kept;
    job->n_copied += cell->copied;
    job->n_damaged += cell->damaged;
    job->n_tissue += !strcmp(cell->reason, "tissue");
    job->n_blank += !strcmp(cell->reason, "blank");
    if (cell->kept || !strcmp(cell->reason, "blank"))
        job->pixels += (int64_t)cell->valid_w * cell->valid_h;
}

static bool add(void *user, const wsi_cell *cell, GError **error)
{
    store_sink *sink = user;
    const parcel *p = cell->work;
    db_patch patch;
    fill_patch(sink, cell, &patch);
    bool ok = db_writer_add(sink->writer, &patch, p ? &p->image : NULL,
                            p && patch.has_label ? &p->label : NULL, error);
    if (ok && cell->damaged)
        ok = db_damage_add(sink->store, patch.slide_id, cell->x_l0, cell->y_l0, cell->w_l0,
                           cell->h_l0, cell->damage->message, error);
    if (ok)
        count(sink->job, cell);
    else
        sink->job->store_failed = true;
    return ok;
}

/* ---- progress over all slides ---- */
typedef struct {
    tile_run *run;
    int64_t last; /* cells of this slide that are counted */
} slide_progress;

static void on_progress(void *user, const char *stage, int64_t done, int64_t total,
                        const char *detail)
{
    (void)total;
    slide_progress *p = user;
    g_mutex_lock(&p->run->lock);
    p->run->done_cells += done - p->last;
    int64_t all = p->run->done_cells;
    g_mutex_unlock(&p->run->lock);
    p->last = done;
    qs_progress_update(p->run->progress, stage, all, p->run->n_cells, detail);
}

/* ---- one slide ---- */
typedef struct {
    wsi_slide *slide;
    wsi_view view;
    wsi_grid grid;
    wsi_tissue *tissue;
    wsi_mask *mask;
    wsi_colour *colour; /* of the view */
    char *colour_remark;
    db_slide row;
} slide_work;

/* The command line's resolution goes before the cohort's, which goes before the file's. */
static double mpp_given(const job_tile *job, const tile_run *run)
{
    return run->mpp_override > 0 ? run->mpp_override : job->mpp;
}

static bool open_view(slide_work *w, const job_tile *job, const tile_run *run, GError **error)
{
    const wsi_resolution resolution = {run->config->level0, run->config->mpp,
                                       run->config->mpp_tolerance};
    w->slide = wsi_slide_open_by(job->path, mpp_given(job, run), run->reader, error);
    return w->slide && wsi_view_init_at(&w->view, w->slide, &resolution, error) &&
           wsi_grid_init(&w->grid, &w->view, run->config->patch_px, run->config->stride_px, error);
}

void job_tile_plan(job_tile *job, const tile_run *run)
{
    slide_work w = {0};
    if (open_view(&w, job, run, &job->error)) {
        wsi_tile_options one = run->tile, two = run->tile;
        one.n_threads = 1;
        two.n_threads = 2;
        job->n_cells = w.grid.n_cells;
        job->w_l0 = wsi_slide_get_info(w.slide)->levels[0].w;
        job->h_l0 = wsi_slide_get_info(w.slide)->levels[0].h;
        job->mpp_l0 = wsi_slide_get_info(w.slide)->mpp;
        job->downsample = w.view.downsample;
        /* A writer's batch grows by doubling, and holds no more than the slide has. */
        int64_t all = w.grid.n_cells * run->config->patch_px * run->config->patch_px * 4;
        job->memory = wsi_tile_memory(&w.view, &one) +
                      2 * MIN(all, (int64_t)DB_WRITER_BATCH_BYTES) +
                      wsi_mask_memory(job->mask_path) + wsi_mask_memory(job->tissue_path);
        job->temp_bytes = wsi_slide_temp_bytes(w.slide);
        job->memory_per_thread = wsi_tile_memory(&w.view, &two) - wsi_tile_memory(&w.view, &one);
    } else {
        job->state = TILE_FAILED;
    }
    wsi_slide_close(w.slide);
}

static void fill_row(db_slide *row, const job_tile *job)
{
    g_autofree char *base = g_path_get_basename(job->path);
    char *dot = strrchr(base, '.');
    if (dot && dot != base)
        *dot = '\0';
    *row = (db_slide){.name = g_steal_pointer(&base),
                      .path = g_strdup(job->path),
                      .mask_path = g_strdup(job->mask_path),
                      .truth_path = g_strdup(job->truth_path),
                      .tissue_path = g_strdup(job->tissue_path),
                      .case_id = g_strdup(job->case_id),
                      .split = job->split,
                      .labelled = job->labelled,
                      .n_cells = -1};
}

static void add_note(GString *notes, const char *text)
{
    if (text && *text)
        g_string_append_printf(notes, "%s%s", notes->len ? "\n" : "", text);
}

/* Remarks that nobody should have to search a terminal's history for. */
static char *make_notes(const slide_work *w, const job_tile *job, const tile_run *run)
{
    const wsi_slide_info *info = wsi_slide_get_info(w->slide);
    GString *notes = g_string_new(NULL);
    bool given = info->mpp_origin == WSI_MPP_OVERRIDE;
    double said_x = info->mpp_said_x, said_y = info->mpp_said_y;
    if (info->mpp_said && (given || !(info->mpp > 0)) &&
        (fabs(said_x / info->mpp - 1) > WSI_MPP_TOLERANCE ||
         fabs(said_y / info->mpp - 1) > WSI_MPP_TOLERANCE)) {
        g_autofree char *text = g_strdup_printf(
            "the file says %.6g x %.6g µm per pixel; %s", said_x, said_y,
            given ? "the given resolution was used" : "which cannot be, and was not used");
        add_note(notes, text);
    }
    if (run->mpp_override > 0 && job->mpp > 0 && run->mpp_override != job->mpp) {
        g_autofree char *text =
            g_strdup_printf("the cohort says %.6g µm per pixel; --mpp-override %.6g was used",
                            job->mpp, run->mpp_override);
        add_note(notes, text);
    }
    g_autofree char *remarks = w->mask ? wsi_mask_remarks(w->mask) : NULL;
    add_note(notes, remarks);
    add_note(notes, w->colour_remark);
    add_note(notes, info->levels_why);
    return g_string_free(notes, notes->len == 0);
}

/* What the opened slide adds to its row. */
static void describe_row(slide_work *w, const job_tile *job, const tile_run *run)
{
    const wsi_slide_info *info = wsi_slide_get_info(w->slide);
    db_slide *row = &w->row;
    g_free(row->driver);
    g_free(row->lane);
    g_free(row->mpp_origin);
    row->driver = g_strdup_printf("%s/%s", info->driver, info->vendor ? info->vendor : "unknown");
    row->lane = info->lane_why ? g_strdup_printf("%s (%s)", info->lane, info->lane_why)
                               : g_strdup(info->lane);
    row->mpp_origin = g_strdup(wsi_mpp_origin_name(info->mpp_origin));
    row->w_l0 = info->levels[0].w;
    row->h_l0 = info->levels[0].h;
    row->mpp = info->mpp;
    row->mpp_file = info->mpp_said ? info->mpp_said_x : 0;
    g_free(row->notes);
    row->notes = make_notes(w, job, run);
    row->level = w->view.level;
    row->downsample = w->view.downsample;
    row->n_cells = w->grid.n_cells;
    row->tissue_share = w->tissue ? w->tissue->share : 1;
    row->mask_factor = w->mask ? wsi_mask_get_info(w->mask)->factor : 0;
}

/* A labelled slide on which nothing is painted trains as background: that is said, and where every
 * outline lies outside the slide, refused. */
static bool paints_something(const wsi_mask *mask, const job_tile *job, GError **error)
{
    bool outside;
    g_autofree char *nothing = wsi_mask_paints_nothing(mask, &outside);
    if (!nothing)
        return true;
    if (job->labelled && outside) {
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH, "%s: labelled, but its %s %s", job->path,
                    job->mask_path, nothing);
        return false;
    }
    qs_warn("%s: %s%s %s", job->path, job->labelled ? "labelled, but its " : "its ", job->mask_path,
            nothing);
    return true;
}

bool job_tile_check_annotation(const job_tile *job, const tile_run *run, GError **error)
{
    if (!job->mask_path || !wsi_annotations_sniff(job->mask_path))
        return true;
    slide_work w = {0};
    bool ok = open_view(&w, job, run, error);
    if (ok) {
        w.mask = job_mask_open_stored(job->mask_path, w.slide, run->config, error);
        ok = w.mask && paints_something(w.mask, job, error);
    }
    wsi_mask_close(w.mask);
    wsi_slide_close(w.slide);
    return ok;
}

static bool open_rest(slide_work *w, const job_tile *job, const tile_run *run, GError **error)
{
    if (!run->tile.no_tissue &&
        !(w->tissue = job_tissue_open(w->slide, job->tissue_path, run->config->bounds_relative,
                                      &run->tissue, error)))
        return false;
    const wsi_colour_windows windows = {run->config->patch_px, run->config->patch_px, w->tissue,
                                        run->tile.tissue_min};
    if (!job_colour_open(&w->view, run->config->colour, &windows, &w->colour, &w->row.colour,
                         &w->colour_remark, error))
        return false;
    if (!job->mask_path)
        return true;
    w->mask = job_mask_open_stored(job->mask_path, w->slide, run->config, error);
    if (!w->mask)
        g_prefix_error(error, "the mask of %s: ", job->path);
    return w->mask != NULL && paints_something(w->mask, job, error);
}

static void note_mask(job_tile *job, const wsi_mask *mask)
{
    job->has_mask = mask != NULL;
    if (!mask)
        return;
    job->mask_kind = wsi_mask_get_info(mask)->kind;
    job->mask_factor = wsi_mask_get_info(mask)->factor;
}

static void warn_no_patches(const slide_work *w, const job_tile *job, const tile_run *run)
{
    if (!w->tissue) {
        qs_warn("%s: no patch was kept: %" G_GINT64_FORMAT " blank, %" G_GINT64_FORMAT " damaged",
                job->path, job->n_blank, job->n_damaged);
        return;
    }
    if (w->tissue->threshold < 0) {
        qs_warn("%s: no patch was kept: %s marks %.2f %% of the slide, and no cell has %.0f %% of "
                "it; see --tissue-min",
                job->path, job->tissue_path, 100 * w->tissue->share, 100 * run->tile.tissue_min);
        return;
    }
    qs_warn("%s: no patch was kept: %.2f %% of the slide is tissue (saturation above %d of 255; "
            "%.0f %% nearly "
            "white, %.0f %% nearly black, %.0f %% pen), and no cell has %.0f %% of it%s",
            job->path, 100 * w->tissue->share, w->tissue->threshold, 100 * w->tissue->white_share,
            100 * w->tissue->dark_share, 100 * w->tissue->pen_share, 100 * run->tile.tissue_min,
            w->tissue->dark_share > 0.5
                ? "; is it a fluorescence slide? --no-tissue keeps every cell"
                : "; see --otsu, --saturation, --tissue-min, --no-tissue");
}

/* How many damaged cells of this slide earlier runs stored. */
static bool count_before(const tile_run *run, int64_t slide_id, int64_t *n_damaged, int64_t *n_kept,
                         GError **error)
{
    GArray *rows = db_patch_list(run->store, slide_id, false, error);
    if (!rows)
        return false;
    *n_damaged = *n_kept = 0;
    for (guint i = 0; i < rows->len; i++) {
        const db_patch *patch = &g_array_index(rows, db_patch, i);
        *n_damaged += !strcmp(patch->reason, "damaged");
        *n_kept += patch->kept;
    }
    g_array_unref(rows);
    return true;
}

static bool tile_cells(slide_work *w, job_tile *job, tile_run *run, db_writer *writer,
                       int64_t first, int n_threads, GError **error)
{
    wsi_tile_options options = run->tile;
    int64_t kept_before = 0;
    options.n_threads = n_threads;
    if (first > 0 &&
        !count_before(run, w->row.id, &options.n_damaged_before, &kept_before, error)) {
        job->store_failed = true;
        return false;
    }
    store_sink sink = {run->config, run->store, writer, job, &w->view, {0}, NULL};
    g_mutex_init(&sink.lock);
    sink.free_parcels = g_ptr_array_new_with_free_func(parcel_destroy);
    wsi_sink door = {.user = &sink,
                     .encode = encode,
                     .copy = run->config->codec == DB_CODEC_COPY ? copy : NULL,
                     .add = add,
                     .free_work = give_back};
    slide_progress mine = {run, 0};
    qs_progress progress = {on_progress, &mine};
    on_progress(&mine, "tile", first, 0, NULL);
    bool ok = wsi_tile_run(&w->view, w->tissue, w->mask, &options, first, &door, &progress,
                           &job->report, error);
    g_ptr_array_unref(sink.free_parcels);
    g_mutex_clear(&sink.lock);
    w->row.n_damaged = options.n_damaged_before + job->n_damaged;
    if (ok && kept_before + job->n_kept == 0)
        warn_no_patches(w, job, run);
    return ok;
}

/* Labels that fall away with dropped patches are counted; a slide on which a class loses all of them
 * would train as background where it was drawn, and fails. */
static bool check_lost(slide_work *w, const job_tile *job, const tile_run *run, db_writer *writer,
                       GError **error)
{
    const qs_classes *classes = &run->config->classes;
    job_lost lost;
    if (!w->mask || !job->labelled)
        return true;
    if (!db_writer_commit(writer, error) ||
        !job_lost_count(&lost, run->store, w->row.id, &w->view, &w->grid, w->mask, error))
        return false;
    g_autofree char *text = job_lost_text(&lost, classes);
    if (!text)
        return true;
    g_autoptr(GString) notes = g_string_new(w->row.notes);
    add_note(notes, text);
    g_free(w->row.notes);
    w->row.notes = g_strdup(notes->str);
    int whole = job_lost_whole_class(&lost, classes);
    g_strdelimit(text, "\n", ';');
    if (whole < 0 || run->allow_empty_class) {
        if (job_lost_is_much(&lost, classes))
            qs_warn("%s: %s", job->path, text);
        return true;
    }
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: of class %d (%s) no annotated pixel is in a kept patch, %" G_GINT64_FORMAT
                " are in dropped ones; keep them with --no-tissue, --tissue-min or a tissue mask, "
                "in a new store, or go on without them with --allow-empty-class",
                job->path, whole, classes->items[whole].name, lost.lost[whole]);
    return false;
}

/* Commits whatever is whole, also after a failure or a stop. */
static bool tile_into_writer(slide_work *w, job_tile *job, tile_run *run, int n_threads,
                             GError **error)
{
    int64_t first = 0;
    db_writer *writer = db_writer_open(run->store, w->row.id, &first, error);
    if (!writer) {
        job->store_failed = true;
        return false;
    }
    job->resumed_at = first;
    if (first > 0)
        qs_info("%s: goes on at cell %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT, job->path, first,
                w->grid.n_cells);
    bool ok = tile_cells(w, job, run, writer, first, n_threads, error) &&
              check_lost(w, job, run, writer, error);
    if (ok && !db_writer_finish(writer, &w->row, error)) {
        job->store_failed = true;
        ok = false;
    } else if (!ok && !job->store_failed) {
        GError *second = NULL;
        if (!db_writer_commit(writer, &second)) {
            job->store_failed = true;
            g_clear_error(error);
            g_propagate_error(error, second);
        }
    }
    db_writer_close(writer);
    return ok;
}

static double now_s(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

/* Everything between the slide's row and its last cell. */
static bool work_on(slide_work *w, job_tile *job, tile_run *run, int n_threads, GError **error)
{
    double then = now_s();
    bool ready = open_view(w, job, run, error) && open_rest(w, job, run, error);
    job->prepare_s = now_s() - then;
    if (!ready)
        return false;
    describe_row(w, job, run);
    note_mask(job, w->mask);
    w->row.state = DB_SLIDE_TILING;
    if (!db_slide_update(run->store, &w->row, error)) {
        job->store_failed = true;
        return false;
    }
    if (!job_ledger_add_gaps(run->store, w->row.id, w->slide, w->view.level, &job->gaps,
                             &job->store_failed, error))
        return false;
    if (job->gaps.n_regions > 0)
        qs_info("%s: %.1f %% of it has no bytes in the file; `status --damage` says where",
                job->path, 100 * job->gaps.share);
    return tile_into_writer(w, job, run, n_threads, error);
}

static void record_failure(slide_work *w, job_tile *job, tile_run *run)
{
    GError *error = NULL;
    w->row.state = DB_SLIDE_FAILED;
    g_free(w->row.error);
    w->row.error = g_strdup(job->error->message);
    if (!db_slide_update(run->store, &w->row, &error)) {
        job->store_failed = true;
        g_prefix_error(&job->error, "%s; and then: ", error->message);
        g_error_free(error);
    }
}

static void settle(slide_work *w, job_tile *job, tile_run *run, bool ok)
{
    if (ok) {
        job->state = TILE_DONE;
        w->row.state = DB_SLIDE_DONE;
    } else if (g_error_matches(job->error, QS_ERROR, QS_ERROR_STOPPED)) {
        job->state = TILE_STOPPED;
    } else {
        job->state = TILE_FAILED;
        if (!job->store_failed)
            record_failure(w, job, run);
    }
}

static bool check_file_unchanged(const job_tile *job, const char *what, const char *was,
                                 const char *is, const char *hash_was, const char *hash_is,
                                 GError **error)
{
    if (g_strcmp0(was, is) != 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                    "%s: its patches were stored with %s %s, now %s is given; tile into a new "
                    "store",
                    job->path, what, was ? was : "(none)", is ? is : "none");
        return false;
    }
    if (hash_was && hash_is && strcmp(hash_was, hash_is) != 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                    "%s: %s was changed since the patches of %s were stored (content %.8s…, now "
                    "%.8s…); put the old file back, or tile into a new store",
                    is, what, job->path, hash_was, hash_is);
        return false;
    }
    return true;
}

/* Labels and what was kept are stored: another mask later would be believed but not seen. */
static bool check_masks_unchanged(const job_tile *job, const db_slide *row, GError **error)
{
    return !job->known ||
           (check_file_unchanged(job, "mask", job->known_mask, job->mask_path, job->known_mask_hash,
                                 row->mask_hash, error) &&
            check_file_unchanged(job, "tissue mask", job->known_tissue, job->tissue_path,
                                 job->known_tissue_hash, row->tissue_hash, error));
}

/* NULL for what is no readable file: opening it says why. */
static char *hash_of(const char *path)
{
    return path && g_file_test(path, G_FILE_TEST_IS_REGULAR) ? qs_file_hash(path, NULL) : NULL;
}

/* The patches are there and right without the picture: it only warns. */
static void preview(slide_work *w, job_tile *job, tile_run *run)
{
    GError *error = NULL;
    bool ready = w->slide || (open_view(w, job, run, &error) && open_rest(w, job, run, &error));
    const tile_preview what = {.store = run->store,
                               .row = &w->row,
                               .slide = w->slide,
                               .tissue = w->tissue,
                               .mask = w->mask,
                               .tissue_min = run->tile.tissue_min};
    if (!ready || !job_preview_write(&what, run->preview_dir, &error)) {
        qs_warn("%s: no preview: %s", job->path, error->message);
        g_error_free(error);
    }
}

/* Slides enter the store in the order of work, whichever is hashed first: their names, their rows
 * and which of two equal files is the second one are the same in every run. */
static bool enter_store(slide_work *w, job_tile *job, tile_run *run)
{
    const job_guard_slide me = {job->path, job->case_id, job->split};
    g_autofree char *content = wsi_cohort_content_file(job->path);
    g_autofree char *other = strcmp(content, job->path) ? hash_of(content) : NULL;
    g_mutex_lock(&run->lock);
    while (run->turn != job->turn)
        g_cond_wait(&run->turned, &run->lock);
    g_mutex_unlock(&run->lock);
    bool ok =
        job_guard_content(run->guard, &me, other ? other : w->row.content_hash, &job->error) &&
        check_masks_unchanged(job, &w->row, &job->error);
    if (ok && !db_slide_put(run->store, &w->row, &job->error)) {
        /* A replaced file is the slide's fault, anything else the store's. */
        job->store_failed = !g_error_matches(job->error, QS_ERROR, QS_ERROR_MISMATCH);
        ok = false;
    }
    g_mutex_lock(&run->lock);
    run->turn++;
    g_cond_broadcast(&run->turned);
    g_mutex_unlock(&run->lock);
    return ok;
}

void job_tile_run(job_tile *job, tile_run *run, int n_threads)
{
    double start = now_s();
    slide_work w = {0};
    g_clear_error(&job->error); /* of the plan: it is met again */
    fill_row(&w.row, job);
    w.row.content_hash = hash_of(job->path);
    w.row.mask_hash = hash_of(job->mask_path);
    w.row.tissue_hash = hash_of(job->tissue_path);
    job->hash_s = now_s() - start;
    if (!enter_store(&w, job, run)) {
        job->state = TILE_FAILED;
    } else if (w.row.state == DB_SLIDE_DONE) {
        job->state = TILE_ALREADY;
    } else {
        settle(&w, job, run, work_on(&w, job, run, n_threads, &job->error));
    }
    if (run->preview_dir && (job->state == TILE_DONE || job->state == TILE_ALREADY ||
                             (job->state == TILE_FAILED && w.row.id > 0 && w.row.n_cells > 0)))
        preview(&w, job, run);
    wsi_mask_close(w.mask);
    wsi_colour_close(w.colour);
    g_free(w.colour_remark);
    wsi_tissue_destroy(w.tissue);
    wsi_slide_close(w.slide);
    db_slide_clear(&w.row);
    job->wall_s = now_s() - start;
}

void job_tile_clear(job_tile *job)
{
    g_clear_error(&job->error);
    g_free(job->known_mask);
    g_free(job->known_mask_hash);
    g_free(job->known_tissue);
    g_free(job->known_tissue_hash);
}
