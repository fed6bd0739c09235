/* See tile_plan.h. Every figure says where it comes from: counted (patches of the grid, memory),
 * measured (in the store that is given: share of patches kept, bytes a patch, speed of its last
 * run) or stated (the constants below). Tissue is not looked for, so without a store patches and
 * bytes are the most there can be. */
#include "jobs/tile/plan.h"

#include "base/file.h"
#include "base/report.h"
#include "base/text.h"
#include "jobs/run_times.h"
#include "jobs/tile/crew.h"
#include "wsi/annot/mask.h"

#include <json-glib/json-glib.h>

#include <math.h>
#include <string.h>

/* Measured on H&E slides, docs/benchmarks.md: three bytes at 2.0 to 2.5 times; JPEG at quality 90.
 */
static const double ZSTD_BYTES_PX = 1.4, JPEG_BYTES_PX = 0.35;
/* The lower of what OpenSlide reads in a thread; the direct lane is faster. */
static const double MP_S_THREAD = 20;

static void fail(job_tile *job, GError *error)
{
    job->state = TILE_FAILED;
    g_clear_error(&job->error);
    job->error = error;
}

static void check_mask(job_tile *job, const tile_run *run)
{
    const char *const masks[] = {job->mask_path, job->truth_path, job->tissue_path};
    GError *error = NULL;
    for (size_t i = 0; job->state != TILE_FAILED && i < G_N_ELEMENTS(masks); i++)
        if (masks[i] && !wsi_mask_check_header(masks[i], job->w_l0, job->h_l0, &error)) {
            g_prefix_error(&error, "the mask of %s: ", job->path);
            fail(job, error);
        }
    if (job->state != TILE_FAILED && !job_tile_check_annotation(job, run, &error))
        fail(job, error);
}

/* ---- what the store has measured ---------------------------------------------------------------
 */
static bool last_rate(db_store *store, double *rate)
{
    GArray *runs = db_run_list(store, NULL);
    bool found = false;
    for (guint i = runs ? runs->len : 0; i-- > 0 && !found;) {
        const db_run *run = &g_array_index(runs, db_run, i);
        job_run_times times;
        bool known;
        if (strcmp(run->kind, "tile") || !job_run_times_load(store, run->id, &times, &known, NULL))
            continue;
        found = known && times.wall_s > 1 && times.megapixels > 0;
        if (found)
            *rate = times.megapixels / times.wall_s;
    }
    g_clear_pointer(&runs, g_array_unref);
    return found;
}

static void ask_store(db_store *store, job_estimate *e, double *bytes_patch)
{
    GError *error = NULL;
    db_summary sum;
    if (!db_store_summarise(store, &sum, &error)) {
        qs_warn("nothing is taken from the store: %s", error->message);
        g_error_free(error);
        return;
    }
    int64_t cells = 0, kept = 0, bytes = 0;
    for (int i = 0; i <= DB_SPLIT_TEST; i++) {
        cells += sum.splits[i].n_cells;
        kept += sum.splits[i].n_kept;
        bytes += sum.splits[i].n_bytes;
    }
    if (kept > 0) {
        e->kept_share = (double)kept / (double)cells;
        e->kept_from = "measured in the store";
        *bytes_patch = (double)bytes / (double)kept;
        e->bytes_from = "measured in the store";
    }
    if (e->rate <= 0 && last_rate(store, &e->rate))
        e->rate_from = "measured in the store's last run";
}

/* ---- estimating --------------------------------------------------------------------------------
 */
static int64_t file_bytes(GArray *jobs)
{
    int64_t sum = 0;
    for (guint i = 0; i < jobs->len; i++) {
        const job_tile *job = &g_array_index(jobs, job_tile, i);
        qs_file *file =
            job->state == TILE_FAILED ? NULL : qs_file_open(job->path, QS_FILE_READ, NULL);
        sum += file ? MAX(0, qs_file_size(file, NULL)) : 0;
        qs_file_close(file, NULL);
    }
    return sum;
}

static double stated_bytes(GArray *jobs, const tile_run *run, const job_estimate *e,
                           const char **from)
{
    double px = (double)run->config->patch_px * run->config->patch_px * (double)e->n_cells;
    switch (run->config->codec) {
    case DB_CODEC_JPEG:
        *from = "stated: 0.35 a pixel, JPEG at quality 90";
        return px * JPEG_BYTES_PX;
    case DB_CODEC_COPY:
        *from = "the slides' own size";
        return (double)file_bytes(jobs);
    default:
        *from = "stated: 1.4 a pixel, lossless";
        return px * ZSTD_BYTES_PX;
    }
}

static job_estimate estimate_all(GArray *jobs, tile_run *run, GPtrArray *order,
                                 const tile_plan_options *o)
{
    job_estimate e = {
        .n_cells = 0, .kept_share = 1, .rate = o->rate, .rate_from = "given by --rate"};
    double px = (double)run->config->patch_px * run->config->patch_px, bytes_patch = 0;
    for (guint i = 0; i < jobs->len; i++) {
        job_tile *job = &g_array_index(jobs, job_tile, i);
        check_mask(job, run);
        e.n_failed += job->state == TILE_FAILED;
        e.n_cells += job->state == TILE_FAILED ? 0 : job->n_cells;
    }
    job_crew_needs(order, o->n_threads, &e.memory, &e.temp);
    e.kept_from = run->tile.no_tissue ? "every patch is kept" : "at most: tissue is not looked for";
    if (run->store)
        ask_store(run->store, &e, &bytes_patch);
    e.megapixels = (double)e.n_cells * e.kept_share * px * 1e-6;
    e.bytes = bytes_patch > 0 ? bytes_patch * e.kept_share * (double)e.n_cells
                              : stated_bytes(jobs, run, &e, &e.bytes_from);
    if (e.rate <= 0) {
        e.rate = MP_S_THREAD * o->n_threads;
        e.rate_from = "stated: 20 MP/s a thread, through OpenSlide";
    }
    e.seconds = e.megapixels / e.rate;
    e.n_free = o->store ? qs_disk_free(o->store) : -1;
    return e;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void member(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, value);
}

static void member_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void member_text(JsonBuilder *b, const char *name, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, valid);
}

static void json_slides(JsonBuilder *b, GArray *jobs)
{
    json_builder_set_member_name(b, "slides");
    json_builder_begin_array(b);
    for (guint i = 0; i < jobs->len; i++) {
        const job_tile *job = &g_array_index(jobs, job_tile, i);
        json_builder_begin_object(b);
        member_text(b, "path", job->path);
        if (job->state == TILE_FAILED) {
            member_text(b, "fails", job->error->message);
        } else {
            member_int(b, "width", job->w_l0);
            member_int(b, "height", job->h_l0);
            member(b, "mpp", job->mpp_l0);
            member(b, "downsample", job->downsample);
            member_int(b, "cells", job->n_cells);
        }
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

char *job_plan_json(GArray *jobs, const job_estimate *e)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    json_builder_begin_object(b);
    member_int(b, "cells", e->n_cells);
    member_int(b, "patches", llround((double)e->n_cells * e->kept_share));
    member_text(b, "patches_from", e->kept_from);
    member_int(b, "bytes", llround(e->bytes));
    member_text(b, "bytes_from", e->bytes_from);
    member_int(b, "bytes_free", e->n_free);
    member_int(b, "memory_bytes", e->memory);
    member_int(b, "temporary_bytes", e->temp);
    member(b, "minutes", e->seconds / 60);
    member(b, "megapixels_per_second", e->rate);
    member_text(b, "rate_from", e->rate_from);
    member_int(b, "slides_that_fail", e->n_failed);
    json_slides(b, jobs);
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    return json_to_string(root, TRUE);
}

bool job_plan_run(GArray *jobs, tile_run *run, const tile_plan_options *options, job_estimate *e,
                  GError **error)
{
    g_autoptr(GPtrArray) order = g_ptr_array_new();
    if (!job_crew_plan(jobs, run, order))
        return qs_stop_check(error);
    *e = estimate_all(jobs, run, order, options);
    return true;
}
