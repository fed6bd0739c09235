/* quadslide view: a local web page of slides and of what the commands made of them. Here it is put
 * together: what is shown, how masks and tissue are read, the server, the browser. */
#include "cli/cli.h"
#include "cli/options.h"
#include "base/file.h"
#include "jobs/mask_note.h"
#include "jobs/slide_set.h"
#include "jobs/tissue_rules.h"
#include "view/http.h"

#include <glib/gstdio.h>

#include <fcntl.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

extern const cli_command cli_cmd_view;

static char *opt_cohort, *opt_split, *opt_store, *opt_classes, *opt_label_map, *opt_label_order,
    *opt_annotate;
static char **opt_pred, **opt_run;
static int opt_port, opt_threads;
static double opt_mpp_override;
static gboolean opt_bounds, opt_no_browser;

static const GOptionEntry entries[] = {
    {"cohort", 'c', 0, G_OPTION_ARG_FILENAME, &opt_cohort, "Show the slides of a cohort", "FILE"},
    {"split", 0, 0, G_OPTION_ARG_STRING, &opt_split, "train, val, test or all (all)", "SPLIT"},
    {"store", 's', 0, G_OPTION_ARG_FILENAME, &opt_store,
     "Show the patch grid of a store; its classes and rules are used", "DIR"},
    {"pred", 'p', 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_pred,
     "A folder of predicted masks and its name; up to 6", "NAME=DIR"},
    {"annotate", 'a', 0, G_OPTION_ARG_FILENAME, &opt_annotate,
     "Draw outlines; they and the next round's cohort go into this folder", "DIR"},
    {"run", 'r', 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_run,
     "A training, running or ended, and its name", "NAME=RUN"},
    {"classes", 0, 0, G_OPTION_ARG_STRING, &opt_classes,
     "Class table (of the store, or noted beside the predictions)", "TABLE"},
    {"label-map", 0, 0, G_OPTION_ARG_STRING, &opt_label_map, CLI_LABEL_MAP_HELP, "MAP"},
    {"label-order", 0, 0, G_OPTION_ARG_STRING, &opt_label_order, CLI_LABEL_ORDER_HELP, "ORDER"},
    {"bounds-relative", 0, 0, G_OPTION_ARG_NONE, &opt_bounds, CLI_BOUNDS_HELP, NULL},
    {"mpp-override", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp_override,
     "µm per pixel of the slides on the command line, instead of their own", "MPP"},
    {"port", 0, 0, G_OPTION_ARG_INT, &opt_port, "Port on 127.0.0.1 (a free one)", "N"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &opt_threads, "Threads that compute (all cores)", "N"},
    {"no-browser", 0, 0, G_OPTION_ARG_NONE, &opt_no_browser, "Only print the address", NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "The page is served on this computer alone, to whoever has its address; only --annotate writes anything. "
    "From afar:\n"
    "  ssh -L PORT:127.0.0.1:PORT machine, with --port PORT there, and the address it prints.\n"
    "Press ? on the page for its keys. Ctrl-C ends it.";

/* What the callbacks of vw_shown need. */
typedef struct {
    job_labels labels;
    db_store *store;
    job_tissue_rules tissue;
    const qs_classes *classes;
} rules;

static wsi_mask *open_mask(void *user, const char *path, const wsi_slide *slide, GError **error)
{
    const rules *r = user;
    return r->store && !opt_label_map
               ? job_mask_open_stored(path, slide, db_store_get_config(r->store), error)
               : job_mask_open(path, slide, r->classes, &r->labels, error);
}

static wsi_tissue *open_tissue(void *user, const char *path, wsi_slide *slide, GError **error)
{
    const rules *r = user;
    return job_tissue_open(slide, path, r->labels.bounds_relative, &r->tissue.options, error);
}

/* ---- what is shown --------------------------------------------------------------------------- */
static bool add_slides(vw_shown *shown, char *const *slides, GError **error)
{
    if (!opt_cohort && !slides[0])
        return true; /* trainings alone */
    g_autoptr(GArray) set =
        job_slide_set_read(opt_cohort, opt_split ? opt_split : "all", slides, error);
    for (guint i = 0; set && i < set->len; i++) {
        const job_slide *from = &g_array_index(set, job_slide, i);
        vw_slide slide = {.name = g_strdup(from->name),
                          .path = g_strdup(from->slide),
                          .case_id = g_strdup(from->case_id),
                          .split = g_strdup(from->split),
                          .annot = g_strdup(from->mask),
                          .truth = g_strdup(from->truth),
                          .tissue = g_strdup(from->tissue),
                          .labelled = from->labelled,
                          .mpp = opt_mpp_override > 0 ? opt_mpp_override : from->mpp};
        g_array_append_val(shown->slides, slide);
    }
    return set != NULL;
}

/* NAME=DIR of an option; a bare DIR is named by its last part. */
static bool add_named(GArray *items, const char *option, char *const *texts, GError **error)
{
    for (int i = 0; texts && texts[i]; i++) {
        const char *equals = strchr(texts[i], '=');
        const char *dir = equals ? equals + 1 : texts[i];
        if (!g_file_test(dir, G_FILE_TEST_IS_DIR)) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s %s: there is no folder %s", option,
                        texts[i], dir);
            return false;
        }
        vw_model item = {.name = equals ? g_strndup(texts[i], (gsize)(equals - texts[i]))
                                        : g_path_get_basename(dir),
                         .dir = g_strdup(dir)};
        g_array_append_val(items, item);
    }
    return true;
}

/* Of the command line, else the store's, else those noted beside a prediction, else binary. */
static bool find_classes(vw_shown *shown, GError **error)
{
    if (opt_classes)
        return qs_classes_from_text(&shown->classes, opt_classes, error);
    if (shown->store) {
        shown->classes = db_store_get_config(shown->store)->classes;
        return true;
    }
    for (guint m = 0; m < shown->models->len; m++)
        for (guint i = 0; i < shown->slides->len; i++) {
            g_autofree char *file = g_strconcat(vw_shown_slide(shown, i)->name, ".json", NULL);
            g_autofree char *note = g_build_filename(vw_shown_model(shown, m)->dir, file, NULL);
            if (job_mask_note_classes(note, &shown->classes))
                return true;
        }
    return true;
}

static bool fill(vw_shown *shown, rules *r, char *const *slides, GError **error)
{
    if (opt_store && !(r->store = db_store_open(opt_store, true, error)))
        return false;
    shown->store = r->store;
    shown->n_threads = opt_threads > 0 ? opt_threads : (int)g_get_num_processors();
    if (!add_slides(shown, slides, error) || !add_named(shown->models, "--pred", opt_pred, error) ||
        !add_named(shown->runs, "--run", opt_run, error) || !find_classes(shown, error))
        return false;
    if (!job_labels_init(&r->labels, opt_label_map, opt_label_order, opt_bounds, &shown->classes,
                         error))
        return false;
    job_tissue_rules_init(&r->tissue);
    if (r->store)
        job_tissue_rules_of_store(&r->tissue, db_store_get_config(r->store));
    r->classes = &shown->classes;
    shown->user = r;
    shown->open_mask = open_mask;
    shown->open_tissue = open_tissue;
    return true;
}

/* ---- the browser ----------------------------------------------------------------------------- */
/* The address reaches the browser in a file that only the user can read: other users see the
 * arguments of processes. Returns the file, to be removed; NULL when no browser was started. */
static char *start_browser(const char *address)
{
    if (opt_no_browser || !(g_getenv("DISPLAY") || g_getenv("WAYLAND_DISPLAY")))
        return NULL;
    char *path = g_build_filename(g_get_user_runtime_dir(), "quadslide-view-XXXXXX.html", NULL);
    g_mkdir_with_parents(g_get_user_runtime_dir(), 0700);
    int file = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
    g_autofree char *page = g_strdup_printf(
        "<!doctype html><meta http-equiv=\"refresh\" content=\"0;url=%s\"><p><a href=\"%s\">"
        "quadslide view</a>",
        address, address);
    bool ok = file >= 0 && write(file, page, strlen(page)) == (ssize_t)strlen(page);
    if (file >= 0)
        close(file);
    char name[] = "xdg-open";
    char *arguments[] = {name, path, NULL};
    GError *error = NULL;
    ok = ok && g_spawn_async(NULL, arguments, NULL,
                             G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL |
                                 G_SPAWN_STDERR_TO_DEV_NULL,
                             NULL, NULL, NULL, &error);
    if (error)
        qs_info("no browser was started: %s", error->message);
    g_clear_error(&error);
    if (ok)
        return path;
    if (file >= 0)
        g_unlink(path);
    g_free(path);
    return NULL;
}

static bool serve(vw_shown *shown, GError **error)
{
    vw_guard guard;
    vw_http_options options = {.port = opt_port};
    if (!vw_guard_init(&guard, error))
        return false;
    vw_drafts *drafts = opt_annotate ? vw_drafts_open(shown, opt_annotate, error) : NULL;
    if (opt_annotate && !drafts)
        return false;
    vw_service *service = vw_service_create(shown, &guard, drafts);
    vw_http *http = vw_http_start(service, &guard, &options, error);
    if (http) {
        g_autofree char *address =
            g_strdup_printf("http://127.0.0.1:%d/%s/", guard.port, guard.token);
        g_autofree char *memory = qs_format_bytes(vw_service_memory(service));
        cli_print("%u %s at %s\nmemory: at most %s of tiles and open slides. Ctrl-C ends it.\n",
                  shown->slides->len, shown->slides->len == 1 ? "slide" : "slides", address,
                  memory);
        fflush(stdout);
        char *file = start_browser(address);
        while (!qs_stop_requested())
            g_usleep(50000);
        if (file)
            g_unlink(file);
        g_free(file);
        vw_http_stop(http);
    }
    vw_service_destroy(service);
    vw_drafts_close(drafts);
    return http != NULL;
}

static const char *fault_of(char *const *rest)
{
    if (!opt_cohort && !rest[0] && !opt_run)
        return "name slides, a cohort with --cohort FILE, or trainings with --run NAME=RUN";
    if (opt_cohort && rest[0])
        return "give slides or --cohort, not both";
    if (opt_split && !opt_cohort)
        return "--split goes with --cohort";
    if (opt_pred && g_strv_length(opt_pred) > VW_MODELS_MAX)
        return "at most 6 predictions can be shown";
    if (opt_port < 0 || opt_port > 65535)
        return "--port is 1 to 65535";
    if (opt_threads < 0)
        return "--threads is 1 or more";
    if (opt_mpp_override < 0 || !isfinite(opt_mpp_override))
        return "--mpp-override is µm per pixel, above 0";
    return NULL;
}

static int run_view(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_view, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status == -1 ? CLI_DONE : status;
    const char *fault = fault_of(rest);
    if (fault)
        return cli_usage("%s", fault);
    GError *error = NULL;
    vw_shown shown;
    rules r = {0};
    vw_shown_init(&shown);
    status = fill(&shown, &r, rest, &error) && serve(&shown, &error) ? CLI_DONE : cli_fail(error);
    job_labels_clear(&r.labels);
    vw_shown_clear(&shown);
    db_store_close(r.store);
    return status;
}

const cli_command cli_cmd_view = {
    .name = "view",
    .arguments = "SLIDE… | --cohort C  [--store S] [--pred NAME=DIR …] [--run NAME=RUN …]",
    .summary = "look at slides, predictions and trainings in the browser",
    .run = run_view,
    .entries = entries,
};
