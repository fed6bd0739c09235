/* quadslide tile: slides into the patches of a store.
 *
 * Plan (every slide is opened once: cells, memory, what is broken) → say it → work → summary.
 * Slides are worked on largest first, as many at once as there are threads; the last ones get the
 * threads that have nothing else left, so one slide alone uses all of them. */
#include "cli/cli.h"
#include "cli/tile_job.h"
#include "wsi/cohort.h"

#include <math.h>
#include <string.h>

/* Code, tables and heap of the libraries, which no plan counts: measured at 60 to 90 MB. */
#define LIBRARY_BYTES ((int64_t)96 << 20)

static char *opt_store, *opt_cohort, *opt_codec, *opt_classes, *opt_damaged, *opt_split, *opt_mask;
static int opt_patch = 256, opt_stride, opt_saturation = 8, opt_quality = 90, opt_threads;
static double opt_mpp, opt_mpp_override, opt_tissue_min = 0.25, opt_damaged_max = 0.1;
static gboolean opt_level0, opt_no_tissue, opt_otsu, opt_blank, opt_labelled;

static const GOptionEntry entries[] = {
    {"store", 's', 0, G_OPTION_ARG_FILENAME, &opt_store, "The store, made when absent", "DIR"},
    {"cohort", 'c', 0, G_OPTION_ARG_FILENAME, &opt_cohort, "Tile the slides of a cohort", "FILE"},
    {"patch", 'p', 0, G_OPTION_ARG_INT, &opt_patch, "Patch side in pixels (256)", "PX"},
    {"stride", 0, 0, G_OPTION_ARG_INT, &opt_stride, "Pixels from patch to patch (the patch)", "PX"},
    {"mpp", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp, "Read at this many µm per pixel", "MPP"},
    {"level0", 0, 0, G_OPTION_ARG_NONE, &opt_level0, "Read level 0 as it is", NULL},
    {"mpp-override", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp_override,
     "µm per pixel of level 0, instead of the slides' own", "MPP"},
    {"tissue-min", 0, 0, G_OPTION_ARG_DOUBLE, &opt_tissue_min, "Keep patches with this share of tissue (0.25)",
     "SHARE"},
    {"no-tissue", 0, 0, G_OPTION_ARG_NONE, &opt_no_tissue, "Find no tissue, keep every patch", NULL},
    {"otsu", 0, 0, G_OPTION_ARG_NONE, &opt_otsu, "Saturation threshold by Otsu's method, per slide", NULL},
    {"saturation", 0, 0, G_OPTION_ARG_INT, &opt_saturation, "Tissue is above this saturation, of 255 (8)", "N"},
    {"blank-rule", 0, 0, G_OPTION_ARG_NONE, &opt_blank,
     "Also drop patches whose mean over pixels and channels is 200 to 255", NULL},
    {"codec", 0, 0, G_OPTION_ARG_STRING, &opt_codec, "zstd (lossless) or jpeg (zstd)", "NAME"},
    {"quality", 0, 0, G_OPTION_ARG_INT, &opt_quality, "JPEG quality (90)", "1-100"},
    {"classes", 0, 0, G_OPTION_ARG_STRING, &opt_classes,
     "Class table, e.g. \"background,tumour:#c80000\" (background,foreground)", "TABLE"},
    {"damaged", 0, 0, G_OPTION_ARG_STRING, &opt_damaged, "A patch that cannot be read: fail the slide, or skip it "
     "and record it (fail)", "POLICY"},
    {"damaged-max", 0, 0, G_OPTION_ARG_DOUBLE, &opt_damaged_max,
     "With skip: a slide with a larger share of damage fails (0.1)", "SHARE"},
    {"split", 0, 0, G_OPTION_ARG_STRING, &opt_split, "For SLIDE…: train, val or test (train)", "SPLIT"},
    {"labelled", 0, 0, G_OPTION_ARG_NONE, &opt_labelled, "For one SLIDE: its --mask may be trained on", NULL},
    {"mask", 0, 0, G_OPTION_ARG_FILENAME, &opt_mask, "For one SLIDE: its label mask", "FILE"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &opt_threads, "Threads (all cores)", "N"},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "Patch, stride, resolution, codec, classes and tissue rules are one per store. The same command given again\n"
    "goes on at the patch where it was stopped, and tries failed slides again.\n\n"
    "Exit status: 0 all slides, 3 some failed, 1 all failed or the store could not be written, 2 wrong usage.";

extern const cli_command cli_cmd_tile;

/* ---- options ------------------------------------------------------------------------------------------ */
static const char *find_fault(char **rest, db_split *split)
{
    if (!opt_store)
        return "give the store with --store DIR";
    if (!opt_cohort && !rest[0])
        return "name slides, or a cohort with --cohort FILE";
    if (opt_cohort && rest[0])
        return "give slides or --cohort, not both";
    if (opt_level0 == (opt_mpp != 0))
        return "give either --mpp MPP or --level0";
    if (!opt_level0 && (!(opt_mpp > 0) || !isfinite(opt_mpp)))
        return "--mpp is µm per pixel, above 0";
    if (opt_mpp_override < 0 || !isfinite(opt_mpp_override))
        return "--mpp-override is µm per pixel, above 0";
    if (!(opt_tissue_min >= 0 && opt_tissue_min <= 1))
        return "--tissue-min is a share, 0 to 1";
    if (!(opt_damaged_max >= 0 && opt_damaged_max <= 1))
        return "--damaged-max is a share, 0 to 1";
    if (opt_damaged && strcmp(opt_damaged, "fail") && strcmp(opt_damaged, "skip"))
        return "--damaged is fail or skip";
    if (opt_codec && strcmp(opt_codec, "zstd") && strcmp(opt_codec, "jpeg"))
        return "--codec is zstd or jpeg";
    if (opt_quality < 1 || opt_quality > 100)
        return "--quality is 1 to 100";
    if (opt_saturation < 0 || opt_saturation > 254)
        return "--saturation is 0 to 254";
    if (opt_threads < 0 || opt_threads > 256)
        return "--threads is 1 to 256";
    if (opt_cohort && (opt_split || opt_labelled || opt_mask))
        return "--split, --labelled and --mask are for slides on the command line; a cohort has columns for them";
    if (opt_mask && rest[1])
        return "--mask goes with one slide; write a cohort for more";
    if (opt_labelled && !opt_mask)
        return "--labelled needs --mask";
    if (!db_split_parse(opt_split ? opt_split : "train", split))
        return "--split is train, val or test";
    return NULL;
}

static bool make_config(db_store_config *config, const wsi_tissue_options *tissue, GError **error)
{
    bool jpeg = opt_codec && !strcmp(opt_codec, "jpeg");
    *config = (db_store_config){.patch_px = opt_patch,
                                .stride_px = opt_stride ? opt_stride : opt_patch,
                                .level0 = opt_level0,
                                .mpp = opt_level0 ? 0 : opt_mpp,
                                .codec = jpeg ? DB_CODEC_JPEG : DB_CODEC_ZSTD,
                                .jpeg_quality = jpeg ? opt_quality : 0};
    /* The same check as the grid's, before a store is made with what no grid takes. */
    wsi_view any = {.w = 1, .h = 1};
    wsi_grid grid;
    if (!wsi_grid_init(&grid, &any, config->patch_px, config->stride_px, error))
        return false;
    qs_classes_init_binary(&config->classes, "foreground");
    if (opt_classes && !qs_classes_from_text(&config->classes, opt_classes, error))
        return false;
    char threshold[32];
    g_snprintf(threshold, sizeof threshold, opt_otsu ? "otsu" : "%d", tissue->saturation);
    g_autofree char *rules =
        g_strdup_printf("saturation %s, picture %d, median %d, closing %d, area %d, hole %d, at least %g", threshold,
                        tissue->max_px, tissue->median_px, tissue->closing_px, tissue->min_area_px,
                        tissue->hole_area_px, opt_tissue_min);
    config->grid_rules = g_strdup_printf("tissue: %s; blank rule: %s", opt_no_tissue ? "none" : rules,
                                         opt_blank ? "yes" : "no");
    return true;
}

static void make_run(tile_run *run, const db_store_config *config)
{
    *run = (tile_run){.config = config, .mpp_override = opt_mpp_override, .progress = cli_progress()};
    g_mutex_init(&run->lock);
    wsi_tile_options_init(&run->tile);
    run->tile.patch_px = config->patch_px;
    run->tile.stride_px = config->stride_px;
    run->tile.tissue_min = opt_tissue_min;
    run->tile.blank_rule = opt_blank;
    run->tile.no_tissue = opt_no_tissue;
    run->tile.skip_damaged = opt_damaged && !strcmp(opt_damaged, "skip");
    run->tile.damaged_max = opt_damaged_max;
}

/* ---- the list of slides --------------------------------------------------------------------------------- */
static char *absolute(const char *path)
{
    return path ? g_canonicalize_filename(path, NULL) : NULL;
}

/* Paths are owned by `paths`: jobs borrow them. */
static void add_job(GArray *jobs, GPtrArray *paths, GHashTable *seen, const tile_job *from)
{
    tile_job job = *from;
    const char **texts[] = {&job.path, &job.mask_path, &job.truth_path};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        char *text = absolute(*texts[i]);
        if (text)
            g_ptr_array_add(paths, text);
        *texts[i] = text;
    }
    char *case_id = g_strdup(job.case_id ? job.case_id : "");
    g_ptr_array_add(paths, case_id);
    job.case_id = case_id;
    if (g_hash_table_add(seen, (gpointer)(uintptr_t)job.path))
        g_array_append_val(jobs, job);
    else
        qs_warn("%s: named twice, tiled once", job.path);
}

static bool list_jobs(GArray *jobs, GPtrArray *paths, char **rest, db_split split, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (int i = 0; rest[i]; i++) {
        tile_job job = {.path = rest[i], .mask_path = opt_mask, .split = split, .labelled = opt_labelled};
        add_job(jobs, paths, seen, &job);
    }
    if (!opt_cohort)
        return true;
    wsi_cohort *cohort = wsi_cohort_read(opt_cohort, error);
    if (!cohort)
        return false;
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = &g_array_index(cohort->rows, wsi_cohort_row, i);
        tile_job job = {.path = row->slide,
                        .mask_path = row->mask,
                        .truth_path = row->truth,
                        .case_id = row->case_id,
                        .labelled = row->labelled,
                        .mpp = row->mpp};
        if (db_split_parse(wsi_split_name(row->split), &job.split))
            add_job(jobs, paths, seen, &job);
    }
    wsi_cohort_destroy(cohort);
    if (jobs->len > 0)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: lists no slide", opt_cohort);
    return false;
}

/* What the store has of these slides already. */
static bool match_store(GArray *jobs, db_store *store, GError **error)
{
    GArray *rows = db_slide_list(store, error);
    if (!rows)
        return false;
    for (guint i = 0; i < jobs->len; i++) {
        tile_job *job = &g_array_index(jobs, tile_job, i);
        for (guint k = 0; k < rows->len && !job->known; k++) {
            const db_slide *row = &g_array_index(rows, db_slide, k);
            if (strcmp(row->path, job->path) != 0 ||
                (row->state != DB_SLIDE_DONE && row->state != DB_SLIDE_TILING))
                continue;
            job->known = true;
            job->known_mask = g_strdup(row->mask_path);
        }
    }
    g_array_unref(rows);
    return true;
}

/* ---- plan and work --------------------------------------------------------------------------------------- */
static gint by_cells(gconstpointer a, gconstpointer b)
{
    int64_t na = (*(tile_job *const *)a)->n_cells, nb = (*(tile_job *const *)b)->n_cells;
    return na < nb ? 1 : na > nb ? -1 : 0;
}

static gint by_memory(gconstpointer a, gconstpointer b)
{
    int64_t na = (*(tile_job *const *)a)->memory, nb = (*(tile_job *const *)b)->memory;
    return na < nb ? 1 : na > nb ? -1 : 0;
}

/* The n_threads hungriest slides at once, each with its share of the threads. */
static void peak_needs(GPtrArray *order, int n_threads, int64_t *memory, int64_t *temp)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(order, NULL, NULL);
    g_ptr_array_sort(sorted, by_memory);
    int64_t per_thread = 0, largest_temp = 0;
    *memory = LIBRARY_BYTES;
    for (guint i = 0; i < sorted->len; i++) {
        const tile_job *job = sorted->pdata[i];
        if ((int)i < n_threads)
            *memory += job->memory;
        per_thread = MAX(per_thread, job->memory_per_thread);
        largest_temp = MAX(largest_temp, job->temp_bytes);
    }
    *memory += per_thread * (n_threads - 1);
    *temp = largest_temp * MIN(n_threads, (int)sorted->len);
}

static void say_plan(GArray *jobs, const tile_run *run, GPtrArray *order, int n_threads, int n_broken)
{
    int64_t memory, temp;
    peak_needs(order, n_threads, &memory, &temp);
    g_autofree char *memory_text = cli_format_bytes(memory), *temp_text = cli_format_bytes(temp);
    cli_print("%u slides, %" G_GINT64_FORMAT " patches of %d pixels at stride %d, %d threads, at most %s of memory",
              jobs->len, run->n_cells, run->config->patch_px, run->config->stride_px, n_threads, memory_text);
    if (temp > 0)
        cli_print(" and %s of temporary files in %s", temp_text, g_get_tmp_dir());
    cli_print("\n");
    if (n_broken)
        cli_print("%d of them cannot be opened; they are recorded as failed\n", n_broken);
}

static bool plan(GArray *jobs, tile_run *run, GPtrArray *order, int n_threads)
{
    int n_broken = 0;
    for (guint i = 0; i < jobs->len && !qs_stop_requested(); i++) {
        tile_job *job = &g_array_index(jobs, tile_job, i);
        qs_progress_update(run->progress, "plan", i, jobs->len, NULL);
        tile_job_plan(job, run);
        run->n_cells += job->n_cells;
        n_broken += job->state == TILE_FAILED;
        g_ptr_array_add(order, job);
    }
    cli_progress_end();
    g_ptr_array_sort(order, by_cells);
    say_plan(jobs, run, order, n_threads, n_broken);
    return !qs_stop_requested();
}

typedef struct {
    tile_run *run;
    GPtrArray *order;
    int n_threads;
    guint next, running; /* guarded by run->lock */
    bool store_failed;
} crew;

/* The next slide and its share of the threads: those that no other slide will need. */
static tile_job *take_job(crew *c, int *n_threads)
{
    tile_job *job = NULL;
    g_mutex_lock(&c->run->lock);
    if (c->next < c->order->len && !c->store_failed && !qs_stop_requested()) {
        job = c->order->pdata[c->next++];
        c->running++;
        guint in_work = MIN((guint)c->n_threads, c->order->len - c->next + c->running);
        *n_threads = MAX(1, c->n_threads / (int)in_work);
    }
    g_mutex_unlock(&c->run->lock);
    return job;
}

static void report_job(const tile_job *job)
{
    if (job->state == TILE_FAILED && !job->store_failed) {
        qs_warn("%s", job->error->message);
        g_autofree char *path = g_strescape(job->path, NULL), *text = g_strescape(job->error->message, NULL);
        cli_log_json("slide", "\"path\":\"%s\",\"state\":\"failed\",\"text\":\"%s\"", path, text);
    } else if (job->state == TILE_DONE) {
        g_autofree char *path = g_strescape(job->path, NULL);
        cli_log_json("slide", "\"path\":\"%s\",\"state\":\"done\",\"kept\":%" G_GINT64_FORMAT
                     ",\"tissue\":%" G_GINT64_FORMAT ",\"blank\":%" G_GINT64_FORMAT ",\"damaged\":%" G_GINT64_FORMAT
                     ",\"seconds\":%.3f", path, job->n_kept, job->n_tissue, job->n_blank, job->n_damaged,
                     job->wall_s);
    }
}

static gpointer crew_work(gpointer user)
{
    crew *c = user;
    int n_threads = 1;
    for (tile_job *job; (job = take_job(c, &n_threads));) {
        tile_job_run(job, c->run, n_threads);
        report_job(job);
        g_mutex_lock(&c->run->lock);
        c->running--;
        c->store_failed |= job->store_failed;
        if (job->state == TILE_ALREADY)
            c->run->done_cells += job->n_cells;
        g_mutex_unlock(&c->run->lock);
    }
    return NULL;
}

static void work(tile_run *run, GPtrArray *order, int n_threads)
{
    crew c = {.run = run, .order = order, .n_threads = n_threads};
    int n = MIN(n_threads, (int)order->len);
    g_autofree GThread **threads = g_new0(GThread *, (size_t)n);
    for (int i = 1; i < n; i++)
        threads[i] = g_thread_try_new("slide", crew_work, &c, NULL); /* without it: fewer at once */
    crew_work(&c);
    for (int i = 1; i < n; i++)
        if (threads[i])
            g_thread_join(threads[i]);
    cli_progress_end();
}

/* ---- the end ----------------------------------------------------------------------------------------------- */
typedef struct {
    int n[TILE_STOPPED + 1], n_masks[WSI_MASK_LABELS + 1], n_small_masks;
    int64_t kept, tissue, blank, damaged, pixels;
    double hash_s, prepare_s, read_s, measure_s, encode_s, add_s;
} totals;

static totals sum_up(GArray *jobs)
{
    totals t = {0};
    for (guint i = 0; i < jobs->len; i++) {
        const tile_job *job = &g_array_index(jobs, tile_job, i);
        t.n[job->state]++;
        t.n_masks[job->mask_kind] += job->has_mask;
        t.n_small_masks += job->has_mask && job->mask_factor > 1;
        t.kept += job->n_kept;
        t.tissue += job->n_tissue;
        t.blank += job->n_blank;
        t.damaged += job->n_damaged;
        t.pixels += job->pixels;
        t.hash_s += job->hash_s;
        t.prepare_s += job->prepare_s;
        t.read_s += job->report.read_s;
        t.measure_s += job->report.measure_s;
        t.encode_s += job->report.encode_s;
        t.add_s += job->report.add_s;
    }
    return t;
}

static void print_summary(const totals *t, double wall_s)
{
    g_autofree char *wall = cli_format_seconds(wall_s);
    cli_print("slides    %d done, %d were already, %d failed, %d stopped or not begun\n", t->n[TILE_DONE],
              t->n[TILE_ALREADY], t->n[TILE_FAILED], t->n[TILE_STOPPED] + t->n[TILE_TODO]);
    cli_print("patches   %" G_GINT64_FORMAT " kept; dropped: %" G_GINT64_FORMAT " for tissue, %" G_GINT64_FORMAT
              " blank; %" G_GINT64_FORMAT " damaged\n", t->kept, t->tissue, t->blank, t->damaged);
    if (t->n_masks[0] + t->n_masks[1] + t->n_masks[2] > 0)
        cli_print("masks     %d label maps, %d binary (their values are 0 and 255), %d JPEG (binary at >= 128); %d smaller "
                  "than their slide by a whole number\n", t->n_masks[WSI_MASK_LABELS], t->n_masks[WSI_MASK_BINARY_255],
                  t->n_masks[WSI_MASK_BINARY_JPEG], t->n_small_masks);
    cli_print("time      %s, %.1f MP/s; thread seconds: hash %.1f, tissue and mask %.1f, read %.1f, measure %.1f, "
              "encode %.1f, store %.1f\n", wall, wall_s > 0 ? (double)t->pixels * 1e-6 / wall_s : 0.0, t->hash_s,
              t->prepare_s, t->read_s, t->measure_s, t->encode_s, t->add_s);
    cli_log_json("summary", "\"done\":%d,\"already\":%d,\"failed\":%d,\"kept\":%" G_GINT64_FORMAT
                 ",\"tissue\":%" G_GINT64_FORMAT ",\"blank\":%" G_GINT64_FORMAT ",\"damaged\":%" G_GINT64_FORMAT
                 ",\"seconds\":%.3f", t->n[TILE_DONE], t->n[TILE_ALREADY], t->n[TILE_FAILED], t->kept, t->tissue,
                 t->blank, t->damaged, wall_s);
}

static int exit_status(GArray *jobs, const totals *t)
{
    for (guint i = 0; i < jobs->len; i++) {
        tile_job *job = &g_array_index(jobs, tile_job, i);
        if (job->store_failed) {
            cli_fail(g_steal_pointer(&job->error));
            return CLI_FAILED;
        }
    }
    if (qs_stop_requested()) {
        GError *stopped = NULL;
        qs_stop_check(&stopped);
        cli_fail(stopped);
        return CLI_FAILED;
    }
    if (t->n[TILE_FAILED] == 0)
        return CLI_DONE;
    return t->n[TILE_DONE] + t->n[TILE_ALREADY] > 0 ? CLI_PARTLY : CLI_FAILED;
}

static const char *run_state(int status)
{
    return status == CLI_DONE ? "done" : status == CLI_PARTLY ? "done, some slides failed"
           : qs_stop_requested() ? "stopped" : "failed";
}

/* The run's row: what was asked for. Failing to log fails nothing else. */
static int64_t begin_run(db_store *store, const db_store_config *config, int n_threads)
{
    g_autofree char *rules = g_strescape(config->grid_rules, NULL);
    g_autofree char *json = g_strdup_printf(
        "{\"patch\":%d,\"stride\":%d,\"level0\":%s,\"mpp\":%g,\"mpp_override\":%g,\"rules\":\"%s\",\"damaged\":\"%s\","
        "\"damaged_max\":%g,\"threads\":%d}",
        config->patch_px, config->stride_px, config->level0 ? "true" : "false", config->mpp, opt_mpp_override, rules,
        opt_damaged ? opt_damaged : "fail", opt_damaged_max, n_threads);
    g_autofree char *device = g_strdup_printf("cpu, %d threads", n_threads);
    char kind[] = "tile", version[] = "quadslide " QS_VERSION, state[] = "running";
    db_run row = {.kind = kind, .name = opt_cohort ? opt_cohort : opt_store, .config = json, .version = version,
                  .device = device, .state = state};
    GError *error = NULL;
    if (db_run_begin(store, &row, &error))
        return row.id;
    qs_warn("the run is not recorded: %s", error->message);
    g_error_free(error);
    return 0;
}

static int tile(GArray *jobs, tile_run *run, int n_threads)
{
    g_autoptr(GPtrArray) order = g_ptr_array_new();
    int64_t start = g_get_monotonic_time(), run_id = begin_run(run->store, run->config, n_threads);
    if (plan(jobs, run, order, n_threads))
        work(run, order, n_threads);
    totals t = sum_up(jobs);
    print_summary(&t, (double)(g_get_monotonic_time() - start) * 1e-6);
    int status = exit_status(jobs, &t);
    GError *error = NULL;
    if (run_id && !db_run_end(run->store, run_id, run_state(status), &error)) {
        qs_warn("the end of the run is not recorded: %s", error->message);
        g_error_free(error);
    }
    return status;
}

static int run_tile(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_tile, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    db_split split;
    const char *fault = find_fault(rest, &split);
    if (fault)
        return cli_usage("%s", fault);
    GError *error = NULL;
    db_store_config config = {0};
    tile_run run = {0};
    wsi_tissue_options tissue;
    wsi_tissue_options_init(&tissue);
    tissue.otsu = opt_otsu;
    tissue.saturation = opt_saturation;
    GArray *jobs = g_array_new(FALSE, TRUE, sizeof(tile_job));
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    bool ok = make_config(&config, &tissue, &error) && list_jobs(jobs, paths, rest, split, &error);
    if (ok) {
        make_run(&run, &config);
        run.tissue = tissue;
        run.store = db_store_create(opt_store, &config, &error);
        ok = run.store && match_store(jobs, run.store, &error);
    }
    int n_threads = opt_threads ? opt_threads : (int)g_get_num_processors();
    status = ok ? tile(jobs, &run, n_threads) : cli_fail(error);
    db_store_close(run.store);
    for (guint i = 0; i < jobs->len; i++)
        tile_job_clear(&g_array_index(jobs, tile_job, i));
    g_array_unref(jobs);
    g_ptr_array_unref(paths);
    db_store_config_clear(&config);
    return status;
}

const cli_command cli_cmd_tile = {"tile", "--store S --cohort cohort.csv | SLIDE…", "slides into patches", run_tile};
