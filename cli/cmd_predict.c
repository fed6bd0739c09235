/* quadslide predict: slides in, pyramidal TIFF masks out.
 *
 * Every slide is opened and planned before the first is predicted, so that a damaged file and the
 * memory of the widest one are known at the start. A slide that fails is reported and the others go
 * on. Masks appear whole or not at all; one that is there with a note of the same key is skipped,
 * so the same command after a stop goes on where it was. */
#include "cli/cli.h"
#include "cli/options.h"
#include "jobs/colour_rules.h"
#include "jobs/mask_note.h"
#include "jobs/outputs.h"
#include "jobs/slide_set.h"
#include "jobs/tissue_rules.h"
#include "base/error.h"
#include "base/file.h"
#include "infer/predict/predict.h"

#include <glib/gstdio.h>

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>

extern const cli_command cli_cmd_predict;

/* What our own plan does not count: code and tables of the libraries, the allocator's slack.
 * Measured at up to 90 MB on pyramids and on JPEGs of 60 megapixels. */
#define LIBRARY_BYTES ((int64_t)160 << 20)

static char *opt_model, *opt_cohort, *opt_split, *opt_out, *opt_blend, *opt_conv, *opt_reader;
static char *opt_device, *opt_precision;
static int opt_stride, opt_window, opt_batch, opt_threads, opt_readers;
static double opt_mpp, opt_mpp_override;
static wsi_reader reader; /* of --reader */
static gboolean opt_level0, opt_prob, opt_bounds, opt_force;
static job_tissue_options tissue_options; /* the defaults, then what was asked for */

static const GOptionEntry entries[] = {
    {"model", 'm', 0, G_OPTION_ARG_FILENAME, &opt_model, "The trained model (safetensors)", "FILE"},
    {"cohort", 'c', 0, G_OPTION_ARG_FILENAME, &opt_cohort, "Predict the slides of a cohort",
     "FILE"},
    {"split", 0, 0, G_OPTION_ARG_STRING, &opt_split, "train, val, test or all (test)", "SPLIT"},
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &opt_out, "Folder of the masks", "DIR"},
    {"stride", 0, 0, G_OPTION_ARG_INT, &opt_stride,
     "Pixels from window to window (3/4 of the window)", "PX"},
    {"window", 0, 0, G_OPTION_ARG_INT, &opt_window,
     "Window side, a multiple of 16 (the model's patch)", "PX"},
    {"blend", 0, 0, G_OPTION_ARG_STRING, &opt_blend, "gaussian (sigma = window/8) or uniform",
     "HOW"},
    {"batch", 0, 0, G_OPTION_ARG_INT, &opt_batch, "Windows read ahead (8)", "N"},
    {"prob", 0, 0, G_OPTION_ARG_NONE, &opt_prob, "Also write DIR/prob/NAME.tif, probability × 255",
     NULL},
    {"device", 0, 0, G_OPTION_ARG_STRING, &opt_device,
     "cpu, or cuda where the program was built with it (cpu)", "NAME"},
    {"precision", 0, 0, G_OPTION_ARG_STRING, &opt_precision,
     "f32, bf16, or auto: bf16 on cuda, else f32 (auto)", "TYPE"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &opt_threads, "Threads of the network (all cores)", "N"},
    {"readers", 0, 0, G_OPTION_ARG_INT, &opt_readers, "Threads that read the slide (1)", "N"},
    {"reader", 0, 0, G_OPTION_ARG_STRING, &opt_reader, CLI_READER_HELP, "NAME"},
    {"conv", 0, 0, G_OPTION_ARG_STRING, &opt_conv,
     "direct (same bits on every run) or auto (fastest by timing)", "HOW"},
    {"no-tissue", 0, 0, G_OPTION_ARG_NONE, &tissue_options.none, "Run every window, find no tissue",
     NULL},
    CLI_TISSUE_ENTRIES(tissue_options),
    {"bounds-relative", 0, 0, G_OPTION_ARG_NONE, &opt_bounds, CLI_BOUNDS_HELP, NULL},
    {"mpp-override", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp_override,
     "µm per pixel of level 0, instead of the slide's own", "MPP"},
    {"mpp", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp,
     "Predict at this resolution instead of the model's", "MPP"},
    {"level0", 0, 0, G_OPTION_ARG_NONE, &opt_level0, "Predict level 0 as it is", NULL},
    {"force", 'f', 0, G_OPTION_ARG_NONE, &opt_force, "Make masks again that are already there",
     NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "Each slide gives DIR/NAME.tif: labels 0 … k, tiled pyramid, LZW, of the slide's level-0 size "
    "divided by an\n"
    "integer (the one nearest to the resolution of the model). What no window with tissue covers "
    "is background. Tissue is\n"
    "looked for as tile does it, with the same options, or is what a cohort's column tissue says.\n"
    "DIR/NAME.json says how the mask was made; with the same model and options it is not made "
    "again.\n"
    "The result depends on neither --batch nor --threads.\n\n"
    "Exit status: 0 all slides, 3 some failed, 1 all failed, 2 wrong usage.";

/* What is the same for all slides of a run. */
typedef struct {
    kn_engine *engine;
    model m;
    inf_predictor *predictor;
    char *model_hash;
    bool level0;
    double mpp;
} run;

typedef enum { SLIDE_TODO, SLIDE_THERE, SLIDE_DONE, SLIDE_FAILED } slide_state;

static bool parse_arguments(inf_options *options, kn_engine_options *engine, char **rest,
                            GError **error)
{
    inf_options_init(options);
    options->window_px = opt_window;
    options->stride_px = opt_stride;
    options->batch = opt_batch ? opt_batch : options->batch;
    options->n_readers = opt_readers ? opt_readers : options->n_readers;
    *engine = (kn_engine_options){.backend = opt_device ? opt_device : "cpu",
                                  .n_threads = opt_threads,
                                  .conv = KN_CONV_DIRECT};
    const char *fault = NULL;
    if (!opt_model)
        fault = "give the trained model with --model FILE";
    else if (!opt_out)
        fault = "give the folder of the masks with --out DIR";
    else if (!opt_cohort && !rest[0])
        fault = "name slides, or a cohort with --cohort FILE";
    else if (opt_cohort && rest[0])
        fault = "give slides or --cohort, not both";
    else if (opt_split && !opt_cohort)
        fault = "--split goes with --cohort";
    else if (opt_blend && !inf_blend_parse(opt_blend, &options->blend))
        fault = "--blend is gaussian or uniform";
    else if (opt_conv && strcmp(opt_conv, "direct") && strcmp(opt_conv, "auto"))
        fault = "--conv is direct or auto";
    else if (opt_precision && !kn_precision_parse(opt_precision, &engine->precision))
        fault = "--precision is auto, f32 or bf16";
    else if (opt_reader && !wsi_reader_parse(opt_reader, &reader))
        fault = "--reader is auto, openslide or direct";
    else if (opt_threads < 0)
        fault = "--threads is 1 or more";
    else if (opt_mpp < 0 || opt_mpp_override < 0 || !isfinite(opt_mpp) ||
             !isfinite(opt_mpp_override))
        fault = "--mpp and --mpp-override are µm per pixel, above 0";
    else if (opt_level0 && opt_mpp > 0)
        fault = "give --level0 or --mpp, not both";
    else if (tissue_options.mask && opt_cohort)
        fault = "--tissue-mask is for a slide on the command line; a cohort has a column for it";
    else if (tissue_options.mask && rest[1])
        fault = "--tissue-mask goes with one slide; write a cohort for more";
    else
        fault = job_tissue_options_take(&tissue_options);
    if (fault) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG, fault);
        return false;
    }
    if (opt_conv && !strcmp(opt_conv, "auto"))
        engine->conv = KN_CONV_AUTO;
    return true;
}

static bool run_open(run *r, const inf_options *options, const kn_engine_options *engine,
                     GError **error)
{
    r->model_hash = qs_file_hash(opt_model, error);
    if (!r->model_hash)
        return false;
    r->engine = kn_engine_create(engine, error);
    if (!r->engine || !model_load(&r->m, opt_model, r->engine, false, error))
        return false;
    r->level0 = opt_level0 || (opt_mpp <= 0 && r->m.spec.level0);
    r->mpp = opt_mpp > 0 ? opt_mpp : r->m.spec.mpp;
    if (!r->level0 && !(r->mpp > 0)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s does not say at which resolution it was trained; pass --mpp or --level0",
                    opt_model);
        return false;
    }
    r->predictor = inf_predictor_create(r->engine, &r->m, options, error);
    return r->predictor != NULL;
}

static void run_close(run *r)
{
    inf_predictor_destroy(r->predictor);
    model_clear(&r->m);
    kn_engine_destroy(r->engine);
    g_free(r->model_hash);
}

static const char *tissue_mask_of(const job_slide *slide)
{
    return tissue_options.mask ? tissue_options.mask : slide->tissue;
}

/* False where the slide's tissue mask is not there. */
static bool has_tissue_mask(const job_slide *slide, GError **error)
{
    const char *path = tissue_mask_of(slide);
    if (tissue_options.none || !path || g_access(path, R_OK) == 0)
        return true;
    qs_set_error_errno(error, errno, "the tissue mask of %s (leave it out to look for tissue): %s",
                       slide->slide, path);
    return false;
}

/* "no"; "yes" by the defaults; else the rules, or path, size and time of a mask of the user's. */
static char *tissue_key(const job_slide *slide)
{
    const char *path = tissue_mask_of(slide);
    job_tissue_rules defaults;
    job_tissue_rules_init(&defaults);
    if (tissue_options.none)
        return g_strdup("no");
    if (path) {
        GStatBuf st = {0};
        g_stat(path, &st);
        return g_strdup_printf("by %s, %" G_GINT64_FORMAT " bytes of %" G_GINT64_FORMAT "%s", path,
                               (int64_t)st.st_size, (int64_t)st.st_mtime,
                               opt_bounds ? ", by the bounds" : "");
    }
    g_autofree char *usual = job_tissue_rules_text(&defaults);
    char *asked = job_tissue_rules_text(&tissue_options.rules);
    if (strcmp(usual, asked))
        return asked;
    g_free(asked);
    return g_strdup("yes");
}

/* Everything that decides the bytes of the mask. */
static char *make_key(const run *r, const job_slide *slide)
{
    const inf_options *o = inf_predictor_options(r->predictor);
    GStatBuf st = {0};
    g_stat(slide->slide, &st);
    bool cpu = !opt_device || !strcmp(opt_device, "cpu");
    bool narrow = opt_precision && !strcmp(opt_precision, "bf16");
    g_autofree char *tissue = tissue_key(slide);
    return g_strdup_printf(
        "model %s; slide %" G_GINT64_FORMAT " bytes of %" G_GINT64_FORMAT
        "; %s %.6g; mpp of slide %.6g; window %d; stride %d; %s; tissue %s; conv %s%s%s%s%s%s",
        r->model_hash, (int64_t)st.st_size, (int64_t)st.st_mtime, r->level0 ? "level 0" : "mpp",
        r->level0 ? 0 : r->mpp, opt_mpp_override > 0 ? opt_mpp_override : slide->mpp, o->window_px,
        o->stride_px, inf_blend_name(o->blend), tissue, opt_conv ? opt_conv : "direct",
        cpu && narrow ? "; bf16" : "", reader == WSI_READER_AUTO ? "" : "; reader ",
        reader == WSI_READER_AUTO ? "" : wsi_reader_name(reader), cpu ? "" : "; on ",
        cpu ? "" : kn_engine_describe(r->engine));
}

static wsi_slide *open_view(const run *r, const job_slide *slide, wsi_view *view, GError **error)
{
    wsi_slide *s = wsi_slide_open_by(
        slide->slide, opt_mpp_override > 0 ? opt_mpp_override : slide->mpp, reader, error);
    const wsi_resolution resolution = {r->level0, r->mpp, r->m.spec.mpp_tolerance};
    if (s && !wsi_view_init_at(view, s, &resolution, error)) {
        wsi_slide_close(s);
        return NULL;
    }
    return s;
}

/* The low-resolution picture, its filters, and two rows of 512-pixel tiles for each file written.
 */
static int64_t side_bytes(const wsi_view *view)
{
    int64_t side = tissue_options.rules.options.max_px;
    inf_mask_grid grid;
    inf_mask_grid_init(&grid, view);
    int64_t picture = tissue_options.none ? 0 : side * side * 12;
    return picture + (opt_prob ? 2 : 1) * 2 * 512 * grid.w;
}

/* Opens every slide to come: failures are found now, and the memory is stated for the largest. */
static void plan(const run *r, const GArray *set, slide_state *states)
{
    int64_t worst = 0, n_todo = 0, n_there = 0;
    for (guint i = 0; i < set->len; i++) {
        const job_slide *slide = &g_array_index(set, job_slide, i);
        g_autofree char *key = make_key(r, slide);
        g_autofree char *note = job_mask_note_path(opt_out, slide);
        g_autofree char *mask = job_mask_path(opt_out, slide);
        g_autofree char *prob = opt_prob ? job_prob_path(opt_out, slide) : NULL;
        GError *stranger = NULL;
        if (!job_mask_note_is_of(note, slide->slide, &stranger)) {
            cli_fail(stranger);
            states[i] = SLIDE_FAILED;
            continue;
        }
        if (!opt_force && job_mask_note_matches(note, key, mask, prob)) {
            states[i] = SLIDE_THERE;
            n_there++;
            continue;
        }
        wsi_view view;
        GError *error = NULL;
        wsi_slide *s = has_tissue_mask(slide, &error) ? open_view(r, slide, &view, &error) : NULL;
        if (!s) {
            cli_fail(error);
            states[i] = SLIDE_FAILED;
            continue;
        }
        int64_t needs = inf_predictor_memory(r->predictor, &view) + side_bytes(&view) +
                        wsi_mask_memory(tissue_mask_of(slide)) +
                        wsi_slide_memory(s, inf_predictor_options(r->predictor)->n_readers);
        worst = MAX(worst, needs);
        n_todo++;
        wsi_slide_close(s);
    }
    if (n_there)
        qs_info("%" G_GINT64_FORMAT
                " masks are already there and are kept (--force makes them again)",
                n_there);
    if (n_todo) {
        g_autofree char *all = qs_format_bytes(worst + kn_engine_bytes(r->engine) + LIBRARY_BYTES);
        g_autofree char *ours = qs_format_bytes(worst);
        g_autofree char *net = qs_format_bytes(kn_engine_bytes(r->engine));
        qs_info("%" G_GINT64_FORMAT
                " slides to predict; memory at most %s (network %s, windows, strip and "
                "writer %s, libraries and their caches the rest)",
                n_todo, all, net, ours);
    }
}

static bool predict_locked(run *r, const job_slide *slide, const char *mask, GError **error)
{
    g_autofree char *prob = opt_prob ? job_prob_path(opt_out, slide) : NULL;
    g_autofree char *note_path = job_mask_note_path(opt_out, slide);
    g_autofree char *key = make_key(r, slide);
    int64_t start = g_get_monotonic_time();
    wsi_view view;
    wsi_slide *s = open_view(r, slide, &view, error);
    if (!s)
        return false;
    wsi_tissue *tissue = NULL;
    bool ok = true;
    if (!tissue_options.none) {
        tissue = job_tissue_open(s, tissue_mask_of(slide), opt_bounds,
                                 &tissue_options.rules.options, error);
        ok = tissue != NULL;
    }
    wsi_colour *colour = NULL;
    g_autofree char *changed = NULL;
    int patch = r->m.spec.patch_px > 0 ? r->m.spec.patch_px : 256;
    const wsi_colour_windows windows = {patch, patch, tissue, tissue_options.rules.at_least};
    ok = ok && job_colour_open(&view, r->m.spec.colour, &windows, &colour, &changed, NULL, error);
    job_mask_note note = {.key = key,
                          .colour = changed,
                          .slide = slide->slide,
                          .mask = mask,
                          .prob = prob,
                          .model = opt_model,
                          .classes = &r->m.spec.classes,
                          .options = inf_predictor_options(r->predictor)};
    inf_mask_grid_init(&note.grid, &view);
    ok = ok && inf_predict_to_tiff(r->predictor, &view, tissue, mask, prob, cli_progress(),
                                   &note.report, error);
    note.seconds = (double)(g_get_monotonic_time() - start) * 1e-6;
    ok = ok && job_mask_note_write(note_path, &note, error);
    cli_progress_end();
    if (ok) {
        g_autofree char *took = qs_format_seconds(note.seconds);
        cli_print("%s: %" G_GINT64_FORMAT " × %" G_GINT64_FORMAT " (slide / %d), %" G_GINT64_FORMAT
                  " of %" G_GINT64_FORMAT " windows, %s%s\n",
                  mask, note.grid.w, note.grid.h, note.grid.factor, note.report.n_run,
                  note.report.n_windows, took,
                  note.report.n_run == 0 ? "; no tissue was found: all background" : "");
    }
    wsi_colour_close(colour);
    wsi_tissue_destroy(tissue);
    wsi_slide_close(s);
    return ok;
}

static bool predict_slide(run *r, const job_slide *slide, GError **error)
{
    g_autofree char *mask = job_mask_path(opt_out, slide);
    qs_file *lock = qs_output_lock(mask, error);
    bool ok = lock && predict_locked(r, slide, mask, error);
    qs_output_unlock(lock);
    return ok;
}

static int finish(const slide_state *states, guint n)
{
    guint n_failed = 0;
    for (guint i = 0; i < n; i++)
        n_failed += states[i] == SLIDE_FAILED;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        g_autofree char *peak = qs_format_bytes((int64_t)usage.ru_maxrss * 1024);
        qs_info("peak memory %s", peak);
    }
    cli_log_json("predict", "\"slides\":%u,\"failed\":%u", n, n_failed);
    if (n_failed)
        cli_print("%u of %u slides failed\n", n_failed, n);
    return n_failed == 0 ? CLI_DONE : n_failed < n ? CLI_PARTLY : CLI_FAILED;
}

static int predict_all(run *r, const GArray *set)
{
    g_autofree slide_state *states = g_new0(slide_state, set->len);
    plan(r, set, states);
    for (guint i = 0; i < set->len; i++) {
        if (states[i] != SLIDE_TODO)
            continue;
        GError *error = NULL;
        if (predict_slide(r, &g_array_index(set, job_slide, i), &error)) {
            states[i] = SLIDE_DONE;
            continue;
        }
        bool stopped = g_error_matches(error, QS_ERROR, QS_ERROR_STOPPED);
        cli_fail(error);
        states[i] = SLIDE_FAILED;
        if (stopped)
            return CLI_FAILED;
    }
    return finish(states, set->len);
}

/* No mask, probability or note over a slide of the run, its masks, the model, or somebody's file. */
static bool check_outputs(const GArray *set, GError **error)
{
    job_outputs *outputs = job_outputs_create();
    job_outputs_input(outputs, opt_model);
    job_outputs_input(outputs, opt_cohort);
    job_outputs_input(outputs, tissue_options.mask);
    job_outputs_input_set(outputs, set);
    bool ok = true;
    for (guint i = 0; ok && i < set->len; i++) {
        const job_slide *slide = &g_array_index(set, job_slide, i);
        g_autofree char *mask = job_mask_path(opt_out, slide),
                        *note = job_mask_note_path(opt_out, slide);
        g_autofree char *prob = job_prob_path(opt_out, slide);
        ok = job_outputs_check(outputs, note, error) &&
             (job_is_wreck(mask, note) || job_outputs_check(outputs, mask, error)) &&
             (!opt_prob || job_outputs_check(outputs, prob, error));
    }
    job_outputs_destroy(outputs);
    return ok;
}

static int run_predict(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    job_tissue_options_init(&tissue_options);
    int status = cli_parse(&cli_cmd_predict, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status == -1 ? CLI_DONE : status;
    GError *error = NULL;
    inf_options options;
    kn_engine_options engine;
    if (!parse_arguments(&options, &engine, rest, &error))
        return cli_fail(error);
    g_autoptr(GArray) set =
        job_slide_set_read(opt_cohort, opt_split ? opt_split : "test", rest, &error);
    if (!set)
        return cli_fail(error);
    g_autofree char *prob_dir = g_build_filename(opt_out, opt_prob ? "prob" : "", NULL);
    run r = {0};
    if (!check_outputs(set, &error))
        return cli_fail(error);
    if (qs_dir_create(prob_dir, &error) && run_open(&r, &options, &engine, &error))
        status = predict_all(&r, set);
    else
        status = cli_fail(error);
    run_close(&r);
    return status;
}

const cli_command cli_cmd_predict = {
    .name = "predict",
    .arguments = "--model FILE SLIDE… | --cohort C --split test  --out DIR",
    .summary = "slides into masks: one pyramidal TIFF per slide",
    .run = run_predict,
    .computes = true,
    .entries = entries,
};
