/* quadslide train: a store's patches into a model. Connects the trainer to the store (patches,
 * runs, metrics), to the predictor (validation on whole slides) and to the person who watches. */
#include "cli/cli.h"
#include "jobs/train/snapshot.h"
#include "jobs/train/source.h"
#include "jobs/train/stain.h"
#include "jobs/train/validation.h"
#include "train/run/preset.h"

#include <math.h>
#include <string.h>

enum { SNAPSHOT_IMAGES = 4 };

typedef struct {
    const char *method, *store, *out, *preset;
    gboolean list_methods, no_validation;
    int val_max_slides, val_stride;
} own_options;

static own_options own = {.method = "MT", .val_max_slides = 8};

static const char description[] = "RUN holds best.safetensors and last.safetensors (models for "
                                  "`predict`), metrics.csv, run.json, pictures of\n"
                                  "batches in snapshots/ and state.safetensors, from which the "
                                  "same command goes on after a stop or a kill, to\n"
                                  "the same bits. Options that decide the weights must then be the "
                                  "same; --fresh starts over and moves the old run\n"
                                  "to RUN.old-1.\n\n"
                                  "Validation predicts the slides of split val whole and keeps the "
                                  "model with the best mean foreground DSC.";

extern const cli_command cli_cmd_train;

/* ---- options
 * -------------------------------------------------------------------------------------- */

/* Options of the command line, made from the trainer's table and the methods' own. */
typedef struct {
    GArray *entries;  /* of GOptionEntry */
    GPtrArray *texts; /* owns descriptions */
    GPtrArray *names; /* of the table's and methods' options, borrowed */
    char **values;    /* one a name: what was given, NULL when not */
    gboolean *flags;
} option_set;

/* help is taken over; its first letter becomes a capital, as in the other commands. */
static void add_entry(option_set *set, const char *name, char letter, GOptionArg arg, gpointer data,
                      const char *argument, char *help)
{
    if (strncmp(help, "lr", 2) != 0 && strncmp(help, "cpu", 3) != 0)
        help[0] = g_ascii_toupper(help[0]);
    GOptionEntry entry = {name, letter, 0, arg, data, help, argument};
    g_ptr_array_add(set->texts, help);
    g_array_append_val(set->entries, entry);
}

static void add_own(option_set *set)
{
    add_entry(set, "store", 's', G_OPTION_ARG_FILENAME, &own.store, "DIR",
              g_strdup("The store of patches"));
    add_entry(set, "method", 'm', G_OPTION_ARG_STRING, &own.method, "NAME",
              g_strdup("--list-methods says which there are [MT]"));
    add_entry(set, "out", 'o', G_OPTION_ARG_FILENAME, &own.out, "RUN",
              g_strdup("Folder of the run"));
    add_entry(
        set, "preset", 0, G_OPTION_ARG_STRING, &own.preset, "NAME",
        g_strdup("Options set together, before the others: paper, or released: MetaSSL as its "
                 "authors' code computes it"));
    add_entry(set, "list-methods", 0, G_OPTION_ARG_NONE, &own.list_methods, NULL,
              g_strdup("Print the methods and their options"));
    add_entry(
        set, "val-max-slides", 0, G_OPTION_ARG_INT, &own.val_max_slides, "N",
        g_strdup_printf("Validate on at most so many slides; 0: all [%d]", own.val_max_slides));
    add_entry(set, "no-validation", 0, G_OPTION_ARG_NONE, &own.no_validation, NULL,
              g_strdup("Open no slide: there is then no best.safetensors"));
    add_entry(set, "val-stride", 0, G_OPTION_ARG_INT, &own.val_stride, "PX",
              g_strdup("Window stride of validation; 0: the patch, so no overlap [0]"));
}

static char *choices_text(const tr_option *option)
{
    return g_strjoinv("|", (char **)(uintptr_t)option->values);
}

static void add_table(option_set *set, const tr_options *defaults)
{
    size_t n;
    const tr_option *table = tr_option_table(&n);
    for (size_t i = 0; i < n; i++) {
        const tr_option *o = &table[i];
        guint k = set->names->len;
        g_ptr_array_add(set->names, (gpointer)(uintptr_t)o->name);
        if (o->kind == TR_BOOL) {
            add_entry(set, o->name, 0, G_OPTION_ARG_NONE, &set->flags[k], NULL, g_strdup(o->help));
            continue;
        }
        g_autofree char *value = tr_option_text(o, defaults);
        char *argument =
            o->kind == TR_ENUM ? choices_text(o) : g_strdup(o->kind == TR_STRING ? "TEXT" : "N");
        g_ptr_array_add(set->texts, argument);
        add_entry(set, o->name, 0, G_OPTION_ARG_STRING, &set->values[k], argument,
                  *value ? g_strdup_printf("%s [%s]", o->help, value) : g_strdup(o->help));
    }
}

static void add_methods(option_set *set)
{
    for (int m = 0; ssl_methods[m]; m++) {
        for (int i = 0; i < ssl_method_n_options(ssl_methods[m]); i++) {
            const ssl_option *o = &ssl_methods[m]->options[i];
            guint k = set->names->len;
            if (g_ptr_array_find_with_equal_func(set->names, o->name, g_str_equal, NULL))
                continue;
            g_ptr_array_add(set->names, (gpointer)(uintptr_t)o->name);
            add_entry(set, o->name, 0, G_OPTION_ARG_STRING, &set->values[k], "N",
                      g_strdup_printf("%s: %s [%.6g]", ssl_methods[m]->name, o->help, o->value));
        }
    }
}

static void option_set_init(option_set *set)
{
    size_t n;
    tr_options defaults;
    tr_options_init(&defaults);
    tr_option_table(&n);
    for (int m = 0; ssl_methods[m]; m++)
        n += (size_t)ssl_method_n_options(ssl_methods[m]);
    *set = (option_set){.entries = g_array_new(TRUE, TRUE, sizeof(GOptionEntry)),
                        .texts = g_ptr_array_new_with_free_func(g_free),
                        .names = g_ptr_array_new()};
    set->values = g_new0(char *, n);
    set->flags = g_new0(gboolean, n);
    add_own(set);
    add_table(set, &defaults);
    add_methods(set);
}

static void option_set_clear(option_set *set)
{
    g_array_unref(set->entries);
    g_ptr_array_unref(set->texts);
    for (guint i = 0; i < set->names->len; i++)
        g_free(set->values[i]);
    g_ptr_array_unref(set->names);
    g_free(set->values);
    g_free(set->flags);
}

/* options borrow the set's texts. */
static bool take_options(const option_set *set, tr_options *options, GError **error)
{
    tr_options_init(options);
    options->out_dir = own.out;
    if (!tr_options_set_method(options, own.method, error) ||
        (own.preset && !tr_options_preset(options, own.preset, error)))
        return false;
    for (guint i = 0; i < set->names->len; i++) {
        const char *text = set->values[i] ? set->values[i] : set->flags[i] ? "true" : NULL;
        if (text && !tr_options_set(options, set->names->pdata[i], text, error))
            return false;
    }
    if (!own.store) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG, "give the store with --store DIR");
        return false;
    }
    return tr_options_check(options, error);
}

static void list_methods(void)
{
    for (int m = 0; ssl_methods[m]; m++) {
        cli_print("%-8s %s%s\n", ssl_methods[m]->name, ssl_methods[m]->summary,
                  ssl_methods[m]->plain_only ? " (plain loss alone)" : "");
        if (ssl_methods[m]->paper)
            cli_print("         %s\n", ssl_methods[m]->paper);
        for (int i = 0; i < ssl_method_n_options(ssl_methods[m]); i++) {
            const ssl_option *o = &ssl_methods[m]->options[i];
            cli_print("         --%s %.6g: %s\n", o->name, o->value, o->help);
        }
    }
    cli_print("Those without \"plain loss alone\" take --loss plain or --loss metassl.\n");
}

/* ---- the session: what the trainer's callbacks work on
 * ---------------------------------------------- */
typedef struct {
    db_store *store;
    bool writable;
    job_train_source source;
    job_validation validation;
    bool empty_said; /* that validation rests on empty masks */
    model_spec spec;
    db_run row; /* texts owned; id 0: not logged */
    bool row_open;
    char *config, *device, *snapshot_dir;
    const tr_options *options;
    tr_status last;
    bool warned; /* of a metric or picture that could not be written */
} session;

/* The store may lie where nothing can be written; training works there, its rows are then not kept.
 */
static bool open_store(session *s, GError **error)
{
    GError *first = NULL;
    s->store = db_store_open(own.store, false, &first);
    s->writable = s->store != NULL;
    if (!s->store) {
        s->store = db_store_open(own.store, true, NULL);
        if (!s->store) {
            g_propagate_error(error, first);
            return false;
        }
        qs_warn("%s; runs and metrics are not recorded in the store", first->message);
        g_error_free(first);
    }
    return true;
}

/* The model's colour rules; with --stain-norm also what is done to each slide's stored patches. */
static bool open_colours(session *s, GError **error)
{
    const db_store_config *config = db_store_get_config(s->store);
    const char *stain_norm = s->options->stain_norm;
    g_autofree char *text = job_train_colour_text(config, stain_norm, error);
    wsi_colour_rules rules;
    if (!text || !wsi_colour_rules_parse(&rules, text, error))
        return false;
    if (g_strlcpy(s->spec.colour, text, sizeof s->spec.colour) >= sizeof s->spec.colour) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "colour rules \"%s\" are too long", text);
        return false;
    }
    if (!stain_norm || !*stain_norm || rules.stain.method == WSI_STAIN_NONE)
        return true;
    s->source.colours_key = g_strdup(text);
    s->source.colours =
        job_train_stains(s->store, s->writable, &rules.stain, cli_progress(), error);
    return s->source.colours != NULL;
}

static bool session_open(session *s, GError **error)
{
    const job_label_budget budget = job_label_budget_of(s->options);
    if (!open_store(s, error) ||
        !job_train_source_open(&s->source, s->store, &budget, s->options->where, error) ||
        (!s->options->allow_empty_class && !job_train_source_check_classes(&s->source, error)))
        return false;
    const db_store_config *config = db_store_get_config(s->store);
    s->spec = (model_spec){.classes = config->classes,
                           .level0 = config->level0,
                           .mpp = config->mpp,
                           .mpp_tolerance = config->mpp_tolerance,
                           .patch_px = config->patch_px};
    if (config->level0 && s->source.patches->len > 0)
        s->spec.mpp = g_array_index(s->source.patches, db_patch, 0).mpp;
    if (!open_colours(s, error) ||
        !job_validation_open(&s->validation, s->store, own.no_validation ? -1 : own.val_max_slides,
                             s->spec.colour, error))
        return false;
    if (!job_train_normalisation(&s->source, s->writable, s->spec.mean, s->spec.std, cli_progress(),
                                 error))
        return false;
    s->snapshot_dir = g_build_filename(own.out, "snapshots", NULL);
    cli_progress_end();
    cli_print("%zu training patches of %" G_GINT64_FORMAT " slides (%" G_GINT64_FORMAT
              " labelled), %u validation slides\n",
              s->source.source.n_items, s->source.n_train_slides, s->source.n_labelled_slides,
              s->validation.slides->len);
    if (s->source.n_left_out > 0)
        cli_print("%" G_GINT64_FORMAT " patches are left out by --where \"%s\"\n",
                  s->source.n_left_out, s->options->where);
    if (s->validation.slides->len == 0 && !own.no_validation)
        qs_warn("no slide of split val has a mask: nothing is validated, and best.safetensors is "
                "not written");
    return true;
}

static void session_close(session *s)
{
    job_validation_close(&s->validation);
    job_train_source_close(&s->source);
    db_store_close(s->store);
    g_free(s->config);
    g_free(s->device);
    g_free(s->snapshot_dir);
}

/* A problem with what is only kept for people does not end a training of hours: it is said once. */
static void warn_once(session *s, GError *error)
{
    if (!s->warned)
        qs_warn("%s (training goes on; this is said once)", error->message);
    s->warned = true;
    g_error_free(error);
}

/* The options, and which slides were learnt from. */
static char *options_json(const tr_options *options, const char *labelled_names)
{
    g_autofree char *names = qs_json_escape(labelled_names);
    g_autofree char *text = tr_options_to_text(options, false);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *json = g_string_new("{");
    for (int i = 0; lines[i] && *lines[i]; i++) {
        char *equals = strchr(lines[i], '=');
        *equals = 0;
        g_autofree char *value = qs_json_escape(equals + 1);
        g_string_append_printf(json, "%s\"%s\":\"%s\"", i ? "," : "", lines[i], value);
    }
    g_string_append_printf(json, ",\"labelled_slides\":\"%s\"}", names);
    return g_string_free(json, FALSE);
}

static void begin_row(session *s)
{
    static char kind[] = "train", version[] = "quadslide " QS_VERSION, state[] = "running";
    GError *error = NULL;
    s->config = options_json(s->options, s->source.labelled_names->str);
    s->row = (db_run){.kind = kind,
                      .name = (char *)(uintptr_t)own.out,
                      .config = s->config,
                      .version = version,
                      .device = s->device,
                      .seed = (int64_t)s->options->seed,
                      .state = state};
    s->row_open = s->writable && db_run_begin(s->store, &s->row, &error);
    if (error)
        warn_once(s, error);
}

static bool on_prepare(void *user, const model *m, kn_engine *engine, int64_t *bytes,
                       GError **error)
{
    session *s = user;
    s->device = g_strdup(kn_engine_describe(engine));
    cli_print("device %s\n", s->device);
    begin_row(s);
    return s->validation.slides->len == 0 ||
           job_validation_prepare(&s->validation, m, engine, own.val_stride, bytes, error);
}

static void on_loading(void *user, size_t done, size_t total)
{
    (void)user;
    qs_progress_update(cli_progress(), "patches to the GPU", (int64_t)done, (int64_t)total, "");
    if (done == total)
        cli_progress_end();
}

static bool on_validate(void *user, const model *m, kn_engine *engine, int64_t iteration,
                        double *dsc, GError **error)
{
    session *s = user;
    (void)m;
    (void)engine;
    if (!job_validation_run(&s->validation, cli_progress(), dsc, error))
        return false;
    if (isnan(*dsc)) {
        if (!s->empty_said)
            qs_warn("no mask of the %u validation slides has foreground: a DSC would rest on empty "
                    "masks alone, none is given, and best.safetensors is not written",
                    s->validation.slides->len);
        s->empty_said = true;
        return true;
    }
    cli_log_json("validation", "\"iteration\":%" G_GINT64_FORMAT ",\"dsc\":%.6f", iteration, *dsc);
    return true;
}

static void on_release(void *user)
{
    job_validation_release(&((session *)user)->validation);
}

static char *status_text(const tr_status *t)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "loss %.4f", t->loss);
    if (!isnan(t->region_share[0]))
        g_string_append_printf(text, "  UC %.1f US %.1f DC %.1f DS %.1f %%",
                               100 * t->region_share[0], 100 * t->region_share[1],
                               100 * t->region_share[2], 100 * t->region_share[3]);
    if (!isnan(t->val_dsc))
        g_string_append_printf(text, "  val DSC %.4f (best %.4f)", t->val_dsc, t->best_dsc);
    g_string_append_printf(text, "  %.1f patches/s", t->patches_per_s);
    return g_string_free(text, FALSE);
}

static void on_status(void *user, const tr_status *status)
{
    session *s = user;
    s->last = *status;
    g_autofree char *text = status_text(status);
    qs_progress_update(cli_progress(), "train", status->iteration, status->iterations, text);
    cli_log_json("train",
                 "\"iteration\":%" G_GINT64_FORMAT ",\"iterations\":%" G_GINT64_FORMAT
                 ",\"loss\":%.6g,\"patches_per_s\":%.4g,\"eta_s\":%.1f",
                 status->iteration, status->iterations, status->loss, status->patches_per_s,
                 status->eta_s);
}

static bool on_metrics(void *user, int64_t iteration, const char *const *names,
                       const double *values, const char *const *units, size_t n, GError **error)
{
    session *s = user;
    (void)error;
    GError *failed = NULL;
    if (s->row_open &&
        !db_metric_add_many(s->store, s->row.id, iteration, names, values, units, n, &failed))
        warn_once(s, failed);
    return true;
}

static void on_snapshot(void *user, const tr_snapshot *snapshot)
{
    session *s = user;
    GError *error = NULL;
    if (!job_train_snapshot_write(snapshot, &s->spec.classes, SNAPSHOT_IMAGES, s->snapshot_dir,
                                  &error))
        warn_once(s, error);
}

static bool train(session *s, GError **error)
{
    tr_callbacks callbacks = {.user = s,
                              .prepare = on_prepare,
                              .loading = on_loading,
                              .validate = s->validation.slides->len > 0 ? on_validate : NULL,
                              .release = on_release,
                              .status = on_status,
                              .metrics = on_metrics,
                              .snapshot = on_snapshot};
    GError *failed = NULL;
    bool ok = tr_run(s->options, &s->source.source, &s->spec, &callbacks, &failed);
    bool stop = g_error_matches(failed, QS_ERROR, QS_ERROR_STOPPED);
    GError *unrecorded = NULL;
    if (s->row_open && !db_run_end(s->store, s->row.id,
                                   ok     ? "done"
                                   : stop ? "stopped"
                                          : "failed",
                                   &unrecorded))
        warn_once(s, unrecorded);
    cli_progress_end();
    if (!ok)
        g_propagate_error(error, failed);
    return ok;
}

static int run_with(const option_set *set)
{
    tr_options options;
    GError *error = NULL;
    session s = {.options = &options};
    bool ok = take_options(set, &options, &error) && session_open(&s, &error) && train(&s, &error);
    if (ok && s.validation.slides->len > 0 && s.last.iterations > 0 && !isnan(s.last.val_dsc))
        cli_print("done: %s/best.safetensors (validation DSC %.4f), %s/last.safetensors (%.4f)\n",
                  own.out, s.last.best_dsc, own.out, s.last.val_dsc);
    else if (ok)
        cli_print("done: %s/last.safetensors\n", own.out);
    session_close(&s);
    return ok ? CLI_DONE : cli_fail(error);
}

static int run(int argc, char **argv)
{
    option_set set;
    option_set_init(&set);
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_train, (const GOptionEntry *)(void *)set.entries->data,
                           description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        status = status < 0 ? CLI_DONE : status;
    else if (own.list_methods)
        list_methods();
    else if (rest[0])
        status = cli_usage("\"%s\" is no option", rest[0]);
    else
        status = run_with(&set);
    option_set_clear(&set);
    return status;
}

const cli_command cli_cmd_train = {
    .name = "train",
    .arguments = "--store S --method M [--loss metassl] --out RUN",
    .summary = "patches into a model, with few labels",
    .run = run,
    .computes = true,
};
