/* quadslide tile: slides into the patches of a store: options, the list of slides, the run's row.
 * The work is jobs/tile/crew.c's (many slides) and jobs/tile/job.c's (one). */
#include "base/file.h"
#include "cli/cli.h"
#include "cli/print_tile.h"
#include "cli/options.h"
#include "jobs/outputs.h"
#include "jobs/colour_rules.h"
#include "jobs/label_rules.h"
#include "jobs/tile/crew.h"
#include "jobs/tile/plan.h"
#include "jobs/tissue_rules.h"
#include "wsi/cohort/cohort.h"

#include <math.h>
#include <string.h>

/* A 100 µm pixel is wider than any structure that is segmented: a slip of the keyboard. */
#define MPP_MAX 100.0

static char *opt_store, *opt_cohort, *opt_codec, *opt_classes, *opt_damaged, *opt_split, *opt_mask,
    *opt_reader, *opt_preview, *opt_stain;
static int opt_patch = 256, opt_stride, opt_quality = 90, opt_threads;
static job_tissue_options tissue; /* the defaults, then what was asked for */
static char *opt_label_map, *opt_label_order;
static double opt_mpp, opt_mpp_override, opt_damaged_max = 0.1;
static double opt_mpp_tolerance = WSI_MPP_TOLERANCE;
static gboolean opt_level0, opt_blank, opt_labelled, opt_bounds, opt_icc, opt_binary_255,
    opt_ignore_255, opt_allow_empty;

static const GOptionEntry entries[] = {
    {"store", 's', 0, G_OPTION_ARG_FILENAME, &opt_store, "The store, made when absent", "DIR"},
    {"cohort", 'c', 0, G_OPTION_ARG_FILENAME, &opt_cohort, "Tile the slides of a cohort", "FILE"},
    {"patch", 'p', 0, G_OPTION_ARG_INT, &opt_patch, "Patch side in pixels (256)", "PX"},
    {"stride", 0, 0, G_OPTION_ARG_INT, &opt_stride, "Pixels from patch to patch (the patch)", "PX"},
    {"mpp", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp, "Read at this many µm per pixel", "MPP"},
    {"level0", 0, 0, G_OPTION_ARG_NONE, &opt_level0, "Read level 0 as it is", NULL},
    {"mpp-override", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp_override,
     "µm per pixel of level 0, instead of the slides' own", "MPP"},
    {"mpp-tolerance", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp_tolerance,
     "A level within this share of --mpp is read as it is, else a finer one is resampled (0.02)",
     "SHARE"},
    {"reader", 0, 0, G_OPTION_ARG_STRING, &opt_reader, CLI_READER_HELP, "NAME"},
    {"tissue-min", 0, 0, G_OPTION_ARG_DOUBLE, &tissue.rules.at_least,
     "Keep patches with this share of tissue (0.25)", "SHARE"},
    {"no-tissue", 0, 0, G_OPTION_ARG_NONE, &tissue.none, "Find no tissue, keep every patch", NULL},
    CLI_TISSUE_ENTRIES(tissue),
    {"blank-rule", 0, 0, G_OPTION_ARG_NONE, &opt_blank,
     "Also drop patches whose mean over pixels and channels is 200 to 255", NULL},
    {"icc", 0, 0, G_OPTION_ARG_NONE, &opt_icc,
     "Colours by the file's ICC profile to sRGB, where it has one", NULL},
    {"stain-norm", 0, 0, G_OPTION_ARG_STRING, &opt_stain, CLI_STAIN_HELP, "METHOD[:REFERENCE]"},
    {"codec", 0, 0, G_OPTION_ARG_STRING, &opt_codec,
     "zstd (lossless), jpeg, or copy: JPEG tiles of the slide as they are where a patch is one, "
     "else "
     "jpeg (zstd)",
     "NAME"},
    {"quality", 0, 0, G_OPTION_ARG_INT, &opt_quality,
     "JPEG quality of what is encoded as JPEG (90)", "1-100"},
    {"classes", 0, 0, G_OPTION_ARG_STRING, &opt_classes,
     "Class table, e.g. \"background,tumour:#c80000\" (background,foreground)", "TABLE"},
    {"damaged", 0, 0, G_OPTION_ARG_STRING, &opt_damaged,
     "A patch that cannot be read: fail the slide, or skip it "
     "and record it (fail)",
     "POLICY"},
    {"damaged-max", 0, 0, G_OPTION_ARG_DOUBLE, &opt_damaged_max,
     "With skip: a slide with a larger share of damage fails (0.1)", "SHARE"},
    {"split", 0, 0, G_OPTION_ARG_STRING, &opt_split, "For SLIDE…: train, val or test (train)",
     "SPLIT"},
    {"labelled", 0, 0, G_OPTION_ARG_NONE, &opt_labelled,
     "For one SLIDE: its --mask may be trained on", NULL},
    {"mask", 0, 0, G_OPTION_ARG_FILENAME, &opt_mask,
     "For one SLIDE: its label mask, an image or an annotation file", "FILE"},
    {"label-map", 0, 0, G_OPTION_ARG_STRING, &opt_label_map, CLI_LABEL_MAP_HELP, "MAP"},
    {"label-order", 0, 0, G_OPTION_ARG_STRING, &opt_label_order, CLI_LABEL_ORDER_HELP, "ORDER"},
    {"binary-255", 0, 0, G_OPTION_ARG_NONE, &opt_binary_255, CLI_BINARY_255_HELP, NULL},
    {"ignore-255", 0, 0, G_OPTION_ARG_NONE, &opt_ignore_255, CLI_IGNORE_255_HELP, NULL},
    {"allow-empty-class", 0, 0, G_OPTION_ARG_NONE, &opt_allow_empty,
     "A labelled slide may lose all annotated pixels of a class with its dropped patches", NULL},
    {"bounds-relative", 0, 0, G_OPTION_ARG_NONE, &opt_bounds, CLI_BOUNDS_HELP, NULL},
    {"preview", 0, 0, G_OPTION_ARG_FILENAME, &opt_preview,
     "Write a picture per slide of what was kept and why the rest was not, NAME.jpg", "DIR"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &opt_threads, "Threads (all cores)", "N"},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "Patch, stride, resolution, codec, classes and tissue rules are one per store. The same "
    "command given again\n"
    "goes on at the patch where it was stopped, and tries failed slides again.\n\n"
    "Exit status: 0 all slides, 3 some failed, 1 all failed or the store could not be written, 2 "
    "wrong usage.";

extern const cli_command cli_cmd_tile, cli_cmd_plan;

/* `plan` takes every option of `tile`, and these. */
static double opt_rate;
static gboolean opt_json;
static const GOptionEntry plan_entries[] = {
    {"rate", 0, 0, G_OPTION_ARG_DOUBLE, &opt_rate,
     "Megapixels a second that the run will make (measured in --store, else 20 a thread)", "MP/S"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print everything as JSON", NULL},
    G_OPTION_ENTRY_NULL};

static const char plan_description[] =
    "A dry run of `tile` with the same options, from headers and the few tiles by which --reader "
    "auto "
    "chooses:\n"
    "patches, bytes, memory and minutes, and the "
    "slides that would fail, each with its reason. Nothing is written. With --store what its "
    "finished "
    "slides and\n"
    "runs have measured is used; every figure says whether it was counted, measured or stated.\n\n"
    "Exit status: 0 all slides, 3 some would fail, 1 all would fail, 2 wrong usage.";

/* ---- options ---- */
static const char *find_fault(char **rest, db_split *split, bool planning)
{
    if (!(opt_rate >= 0) || !isfinite(opt_rate))
        return "--rate is megapixels a second, above 0";
    if (!opt_store && !planning)
        return "give the store with --store DIR";
    if (!opt_cohort && !rest[0])
        return "name slides, or a cohort with --cohort FILE";
    if (opt_cohort && rest[0])
        return "give slides or --cohort, not both";
    if (opt_level0 == (opt_mpp != 0))
        return "give either --mpp MPP or --level0";
    if (!opt_level0 && !(opt_mpp > 0 && opt_mpp <= MPP_MAX))
        return "--mpp is µm per pixel, above 0 and at most 100";
    if (!(opt_mpp_override >= 0 && opt_mpp_override <= MPP_MAX))
        return "--mpp-override is µm per pixel, above 0 and at most 100";
    if (!(opt_mpp_tolerance >= 0 && opt_mpp_tolerance <= 0.5))
        return "--mpp-tolerance is a share, 0 to 0.5";
    if (!(tissue.rules.at_least >= 0 && tissue.rules.at_least <= 1))
        return "--tissue-min is a share, 0 to 1";
    if (!(opt_damaged_max >= 0 && opt_damaged_max <= 1))
        return "--damaged-max is a share, 0 to 1";
    if (opt_damaged && strcmp(opt_damaged, "fail") && strcmp(opt_damaged, "skip"))
        return "--damaged is fail or skip";
    if (opt_codec && strcmp(opt_codec, "zstd") && strcmp(opt_codec, "jpeg") &&
        strcmp(opt_codec, "copy"))
        return "--codec is zstd, jpeg or copy";
    wsi_reader reader;
    if (opt_reader && !wsi_reader_parse(opt_reader, &reader))
        return "--reader is auto, openslide or direct";
    if (opt_quality < 1 || opt_quality > 100)
        return "--quality is 1 to 100";
    const char *tissue_fault = job_tissue_options_take(&tissue);
    if (tissue_fault)
        return tissue_fault;
    if (opt_threads < 0 || opt_threads > 256)
        return "--threads is 1 to 256";
    if (opt_cohort && (opt_split || opt_labelled || opt_mask || tissue.mask))
        return "--split, --labelled, --mask and --tissue-mask are for slides on the command line; "
               "a cohort has columns for them";
    if ((opt_mask || tissue.mask) && rest[1])
        return "--mask and --tissue-mask go with one slide; write a cohort for more";
    if (opt_labelled && !opt_mask)
        return "--labelled needs --mask";
    if (!db_split_parse(opt_split ? opt_split : "train", split))
        return "--split is train, val or test";
    return NULL;
}

static bool make_config(db_store_config *config, GError **error)
{
    bool copy = opt_codec && !strcmp(opt_codec, "copy");
    bool jpeg = opt_codec && !strcmp(opt_codec, "jpeg");
    *config = (db_store_config){.patch_px = opt_patch,
                                .stride_px = opt_stride ? opt_stride : opt_patch,
                                .level0 = opt_level0,
                                .mpp = opt_level0 ? 0 : opt_mpp,
                                .mpp_tolerance = opt_mpp_tolerance,
                                .codec = copy   ? DB_CODEC_COPY
                                         : jpeg ? DB_CODEC_JPEG
                                                : DB_CODEC_ZSTD,
                                .jpeg_quality = jpeg || copy ? opt_quality : 0};
    /* The same check as the grid's, before a store is made with what no grid takes. */
    wsi_view any = {.w = 1, .h = 1};
    wsi_grid grid;
    if (!wsi_grid_init(&grid, &any, config->patch_px, config->stride_px, error))
        return false;
    qs_classes_init_binary(&config->classes, "foreground");
    if (opt_classes && !qs_classes_from_text(&config->classes, opt_classes, error))
        return false;
    job_labels labels;
    if (!job_labels_init(&labels, opt_label_map, opt_label_order, opt_bounds, &config->classes,
                         error) ||
        !job_labels_set_255(&labels, opt_binary_255, opt_ignore_255, error))
        return false;
    config->value_255 = (int)labels.value_255;
    config->label_map = g_steal_pointer(&labels.map);
    config->label_order_map = labels.map_order;
    config->bounds_relative = labels.bounds_relative;
    config->grid_rules = job_tissue_rules_text(&tissue.rules);
    config->colour = job_colour_text(opt_icc, opt_stain, config, error);
    if (!config->colour)
        return false;
    return true;
}

static void make_run(tile_run *run, const db_store_config *config)
{
    *run =
        (tile_run){.config = config, .mpp_override = opt_mpp_override, .progress = cli_progress()};
    if (opt_reader)
        wsi_reader_parse(opt_reader, &run->reader);
    g_mutex_init(&run->lock);
    g_cond_init(&run->turned);
    wsi_tile_options_init(&run->tile);
    run->tissue = tissue.rules.options;
    run->tile.patch_px = config->patch_px;
    run->tile.stride_px = config->stride_px;
    run->tile.tissue_min = tissue.rules.at_least;
    run->tile.blank_rule = opt_blank;
    run->tile.no_tissue = tissue.none;
    run->tile.skip_damaged = opt_damaged && !strcmp(opt_damaged, "skip");
    run->tile.damaged_max = opt_damaged_max;
}

/* ---- the list of slides ---- */
static char *absolute(const char *path)
{
    return path ? g_canonicalize_filename(path, NULL) : NULL;
}

/* Paths are owned by `paths`: jobs borrow them. */
static void add_job(GArray *jobs, GPtrArray *paths, GHashTable *seen, const job_tile *from)
{
    job_tile job = *from;
    const char **texts[] = {&job.path, &job.mask_path, &job.truth_path, &job.tissue_path};
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
        job_tile job = {.path = rest[i],
                        .mask_path = opt_mask,
                        .tissue_path = tissue.mask,
                        .split = split,
                        .labelled = opt_labelled};
        add_job(jobs, paths, seen, &job);
    }
    if (!opt_cohort)
        return true;
    wsi_cohort *cohort = wsi_cohort_read(opt_cohort, error);
    if (!cohort)
        return false;
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = &g_array_index(cohort->rows, wsi_cohort_row, i);
        job_tile job = {.path = row->slide,
                        .mask_path = row->mask,
                        .truth_path = row->truth,
                        .tissue_path = row->tissue,
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
        job_tile *job = &g_array_index(jobs, job_tile, i);
        for (guint k = 0; k < rows->len && !job->known; k++) {
            const db_slide *row = &g_array_index(rows, db_slide, k);
            if (strcmp(row->path, job->path) != 0 ||
                (row->state != DB_SLIDE_DONE && row->state != DB_SLIDE_TILING))
                continue;
            job->known = true;
            job->known_mask = g_strdup(row->mask_path);
            job->known_mask_hash = g_strdup(row->mask_hash);
            job->known_tissue = g_strdup(row->tissue_path);
            job->known_tissue_hash = g_strdup(row->tissue_hash);
        }
    }
    g_array_unref(rows);
    return true;
}

/* ---- the run ---- */
static const char *run_state(int status)
{
    return status == CLI_DONE     ? "done"
           : status == CLI_PARTLY ? "done, some slides failed"
           : qs_stop_requested()  ? "stopped"
                                  : "failed";
}

/* The run's row: what was asked for. Failing to log fails nothing else. */
static int64_t begin_run(db_store *store, const db_store_config *config, int n_threads)
{
    g_autofree char *rules = qs_json_escape(config->grid_rules);
    g_autofree char *label_map = qs_json_escape(config->label_map ? config->label_map : "");
    g_autofree char *json = g_strdup_printf(
        "{\"patch\":%d,\"stride\":%d,\"level0\":%s,\"mpp\":%g,\"mpp_override\":%g,\"rules\":\"%s\","
        "\"mpp_tolerance\":%g,\"label_map\":\"%s\",\"label_order\":\"%s\",\"bounds_relative\":%s,"
        "\"colour\":\"%s\","
        "\"damaged\":\"%s\","
        "\"damaged_max\":%g,\"reader\":\"%s\",\"threads\":%d}",
        config->patch_px, config->stride_px, config->level0 ? "true" : "false", config->mpp,
        opt_mpp_override, rules, config->mpp_tolerance, label_map,
        config->label_order_map ? "map" : "file", config->bounds_relative ? "true" : "false",
        config->colour, opt_damaged ? opt_damaged : "fail", opt_damaged_max,
        opt_reader ? opt_reader : "auto", n_threads);
    g_autofree char *device = g_strdup_printf("cpu, %d threads", n_threads);
    char kind[] = "tile", version[] = "quadslide " QS_VERSION, state[] = "running";
    db_run row = {.kind = kind,
                  .name = opt_cohort ? opt_cohort : opt_store,
                  .config = json,
                  .version = version,
                  .device = device,
                  .state = state};
    GError *error = NULL;
    if (db_run_begin(store, &row, &error))
        return row.id;
    qs_warn("the run is not recorded: %s", error->message);
    g_error_free(error);
    return 0;
}

static bool make_guard(GArray *jobs, tile_run *run, GError **error)
{
    g_autofree job_guard_slide *slides = g_new0(job_guard_slide, jobs->len + 1);
    for (guint i = 0; i < jobs->len; i++) {
        const job_tile *job = &g_array_index(jobs, job_tile, i);
        slides[i] = (job_guard_slide){job->path, job->case_id, job->split};
    }
    run->guard = job_guard_create(run->store, slides, jobs->len, error);
    return run->guard != NULL;
}

static int tile(GArray *jobs, tile_run *run, int n_threads)
{
    int64_t run_id = run->run_id = begin_run(run->store, run->config, n_threads);
    job_totals totals;
    GError *error = NULL;
    int status = job_crew_run(jobs, run, n_threads, cli_print_tile_plan, &totals, &error);
    cli_print_tile_totals(&totals);
    if (error)
        cli_fail(g_steal_pointer(&error));
    if (run_id && !db_run_end(run->store, run_id, run_state(status), &error)) {
        qs_warn("the end of the run is not recorded: %s", error->message);
        g_error_free(error);
    }
    return status;
}

static int print_plan(GArray *jobs, const job_estimate *e, int n_threads)
{
    if (opt_json) {
        g_autofree char *text = job_plan_json(jobs, e);
        cli_print("%s\n", text);
    } else {
        cli_print_estimate(jobs, e, n_threads);
    }
    return e->n_failed == 0 ? CLI_DONE : e->n_failed < (int64_t)jobs->len ? CLI_PARTLY : CLI_FAILED;
}

/* The store is looked at when it is there already. */
static int plan(GArray *jobs, tile_run *run, int n_threads)
{
    const tile_plan_options options = {opt_store, opt_rate, n_threads};
    g_autofree char *index = opt_store ? g_build_filename(opt_store, "index.db", NULL) : NULL;
    GError *error = NULL;
    if (index && g_file_test(index, G_FILE_TEST_EXISTS)) {
        run->store = db_store_open(opt_store, true, &error);
        if (!run->store || !match_store(jobs, run->store, &error) ||
            !make_guard(jobs, run, &error)) {
            db_store_close(run->store);
            return cli_fail(error);
        }
    }
    job_estimate e;
    int status = CLI_FAILED;
    if (!job_plan_run(jobs, run, &options, &e, &error))
        status = cli_fail(error);
    else
        status = print_plan(jobs, &e, n_threads);
    job_guard_destroy(run->guard);
    db_store_close(run->store);
    return status;
}

/* Opens what the jobs go to and runs them, or says what that would be. */
static int run_jobs(GArray *jobs, tile_run *run, bool planning)
{
    GError *error = NULL;
    int n_threads = opt_threads ? opt_threads : (int)g_get_num_processors();
    if (planning)
        return plan(jobs, run, n_threads);
    run->store = db_store_create(opt_store, run->config, &error);
    bool ok = run->store && match_store(jobs, run->store, &error) && make_guard(jobs, run, &error);
    int status = ok ? tile(jobs, run, n_threads) : cli_fail(error);
    job_guard_destroy(run->guard);
    db_store_close(run->store);
    return status;
}

/* No preview over a slide or a mask of the run, nor over somebody's file. */
static bool check_previews(const GArray *jobs, GError **error)
{
    job_outputs *outputs = job_outputs_create();
    for (guint i = 0; i < jobs->len; i++) {
        const job_tile *job = &g_array_index(jobs, job_tile, i);
        job_outputs_input(outputs, job->path);
        job_outputs_input(outputs, job->mask_path);
        job_outputs_input(outputs, job->truth_path);
        job_outputs_input(outputs, job->tissue_path);
    }
    bool ok = true;
    for (guint i = 0; ok && i < jobs->len; i++) {
        g_autofree char *base = g_path_get_basename(g_array_index(jobs, job_tile, i).path);
        char *dot = strrchr(base, '.');
        if (dot && dot != base)
            *dot = 0;
        g_autofree char *name = g_strconcat(base, ".jpg", NULL);
        g_autofree char *path = g_build_filename(opt_preview, name, NULL);
        ok = job_outputs_check(outputs, path, error);
    }
    job_outputs_destroy(outputs);
    return ok;
}

static int run_with(const cli_command *command, const GOptionEntry *options, const char *text,
                    bool planning, int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    job_tissue_options_init(&tissue);
    int status = cli_parse(command, options, text, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    tissue.rules.blank_rule = opt_blank;
    db_split split;
    const char *fault = find_fault(rest, &split, planning);
    if (fault)
        return cli_usage("%s", fault);
    GError *error = NULL;
    db_store_config config = {0};
    tile_run run = {0};
    GArray *jobs = g_array_new(FALSE, TRUE, sizeof(job_tile));
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    bool ok = make_config(&config, &error) && list_jobs(jobs, paths, rest, split, &error) &&
              (!opt_preview || planning ||
               (check_previews(jobs, &error) && qs_dir_create(opt_preview, &error)));
    if (ok) {
        make_run(&run, &config);
        run.preview_dir = opt_preview;
        run.allow_empty_class = opt_allow_empty;
        status = run_jobs(jobs, &run, planning);
    } else {
        status = cli_fail(error);
    }
    for (guint i = 0; i < jobs->len; i++)
        job_tile_clear(&g_array_index(jobs, job_tile, i));
    g_array_unref(jobs);
    g_ptr_array_unref(paths);
    db_store_config_clear(&config);
    return status;
}

static int run_tile(int argc, char **argv)
{
    return run_with(&cli_cmd_tile, entries, description, false, argc, argv);
}

static int run_plan(int argc, char **argv)
{
    GOptionEntry all[G_N_ELEMENTS(entries) + G_N_ELEMENTS(plan_entries)];
    size_t n = G_N_ELEMENTS(entries) - 1; /* without the end */
    memcpy(all, entries, n * sizeof *all);
    memcpy(all + n, plan_entries, sizeof plan_entries);
    return run_with(&cli_cmd_plan, all, plan_description, true, argc, argv);
}

const cli_command cli_cmd_tile = {
    .name = "tile",
    .arguments = "--store S --cohort cohort.csv | SLIDE…",
    .summary = "slides into patches",
    .run = run_tile,
    .entries = entries,
};

const cli_command cli_cmd_plan = {
    .name = "plan",
    .arguments = "[--store S] --cohort cohort.csv | SLIDE…",
    .summary = "what tile would make and take, and what would fail",
    .run = run_plan,
};
