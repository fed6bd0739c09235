/* What is already there: rows of the store, folders of runs, and how a finished run gets its row.
 *
 * A run is known by the text of the options that decide its weights. An option that the text of an
 * older program does not name counts as what it is by default, so that a program which learnt new
 * options does not train everything again (what the recipe's options were before they were there is
 * known, whatever their defaults are now); one that it names and that has another value now is
 * another run. The row is written in one transaction after the last score, so a run is done or it
 * is not. */
#include "experiment/experiment.h"

#include "base/error.h"
#include "jobs/score/scores.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

static const char row_kind[] = "experiment", note_file[] = "experiment-run.txt";

/* ---- texts ---------------------------------------------------------------------------------- */

static char *value_of(char *const *lines, const char *name, size_t n)
{
    for (int i = 0; lines[i]; i++)
        if (!strncmp(lines[i], name, n) && lines[i][n] == '=')
            return lines[i] + n + 1;
    return NULL;
}

/* name=value lines of a method's defaults. */
static char *default_text(const ssl_method *method)
{
    tr_options options;
    tr_options_init(&options);
    tr_options_set_method(&options, method->name, NULL);
    return tr_options_to_text(&options, true);
}

/* Does a run of the options `was` serve as one of `is`? */
static bool same_run(const exp_run *run, const char *was)
{
    g_autofree char *defaults = default_text(run->method);
    g_auto(GStrv) was_lines = g_strsplit(was, "\n", -1);
    g_auto(GStrv) is_lines = g_strsplit(run->train_text, "\n", -1);
    g_auto(GStrv) default_lines = g_strsplit(defaults, "\n", -1);
    for (int i = 0; is_lines[i]; i++) {
        const char *equals = strchr(is_lines[i], '=');
        if (!equals)
            continue;
        size_t n = (size_t)(equals - is_lines[i]);
        const char *old = value_of(was_lines, is_lines[i], n);
        if (!old)
            old = tr_option_before(is_lines[i], n);
        if (!old)
            old = value_of(default_lines, is_lines[i], n);
        if (g_strcmp0(old, equals + 1) != 0)
            return false;
    }
    for (int i = 0; was_lines[i]; i++) {
        const char *equals = strchr(was_lines[i], '=');
        if (equals && !value_of(is_lines, was_lines[i], (size_t)(equals - was_lines[i])))
            return false;
    }
    return true;
}

/* ---- folders -------------------------------------------------------------------------------- */

static char *folder(const experiment *e, const exp_run *run, int version)
{
    g_autofree char *runs = g_build_filename(e->out, "runs", NULL);
    g_autofree char *name =
        version > 1 ? g_strdup_printf("%s~%d", run->name, version) : g_strdup(run->name);
    return g_build_filename(runs, name, NULL);
}

/* The folder of these options, or the first name that is free; *there says which. */
static char *find_folder(const experiment *e, const exp_run *run, bool *there)
{
    for (int version = 1;; version++) {
        char *dir = folder(e, run, version);
        g_autofree char *note = g_build_filename(dir, note_file, NULL);
        g_autofree char *was = NULL;
        *there = g_file_get_contents(note, &was, NULL, NULL);
        if (!*there && !g_file_test(dir, G_FILE_TEST_EXISTS))
            return dir;
        if (*there && same_run(run, was))
            return dir;
        g_free(dir);
    }
}

bool exp_claim_dir(const experiment *e, exp_run *run, GError **error)
{
    bool there;
    g_autofree char *dir = find_folder(e, run, &there);
    if (!there) {
        g_autofree char *note = g_build_filename(dir, note_file, NULL);
        if (!qs_dir_create(dir, error) ||
            !qs_file_replace(note, run->train_text, strlen(run->train_text), error))
            return false;
    }
    g_free(run->dir);
    run->dir = g_steal_pointer(&dir);
    return true;
}

static JsonNode *read_json(const char *path, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    if (!json_parser_load_from_file(parser, path, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    JsonNode *root = json_parser_steal_root(parser);
    if (root && JSON_NODE_HOLDS_OBJECT(root))
        return root;
    if (root)
        json_node_unref(root);
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: is no JSON object", path);
    return NULL;
}

static double number_of(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_double(node) : NAN;
}

/* run.json of a run's folder; NULL where there is none yet. */
static JsonNode *read_info(const exp_run *run)
{
    g_autofree char *path = run->dir ? g_build_filename(run->dir, "run.json", NULL) : NULL;
    return path && g_file_test(path, G_FILE_TEST_EXISTS) ? read_json(path, NULL) : NULL;
}

bool exp_is_trained(const exp_run *run, int64_t *iteration)
{
    JsonNode *root = read_info(run);
    bool done = false;
    *iteration = 0;
    if (root) {
        JsonObject *info = json_node_get_object(root);
        *iteration = json_object_get_int_member_with_default(info, "iteration", 0);
        done = !strcmp(json_object_get_string_member_with_default(info, "state", ""), "done");
        json_node_unref(root);
    }
    return done;
}

/* ---- finding -------------------------------------------------------------------------------- */

/* The train and eval texts of a row's configuration. */
static bool row_texts(const db_run *row, char **train, char **eval)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    if (!row->config || !json_parser_load_from_data(parser, row->config, -1, NULL))
        return false;
    JsonNode *root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root))
        return false;
    JsonObject *object = json_node_get_object(root);
    *train = g_strdup(json_object_get_string_member_with_default(object, "train", ""));
    *eval = g_strdup(json_object_get_string_member_with_default(object, "eval", ""));
    return true;
}

/* The newest row that serves. */
static bool find_row(experiment *e, exp_run *run, const GArray *rows, GError **error)
{
    for (guint i = rows->len; i-- > 0;) {
        const db_run *row = &g_array_index(rows, db_run, i);
        g_autofree char *train = NULL, *eval = NULL;
        if (g_strcmp0(row->kind, row_kind) != 0 || g_strcmp0(row->state, "done") != 0 ||
            !row_texts(row, &train, &eval) || strcmp(eval, e->eval_text) != 0 ||
            !same_run(run, train))
            continue;
        run->measures = db_measure_list(e->store, row->id, error);
        run->state = EXP_DONE;
        run->iteration = run->iterations;
        return run->measures != NULL;
    }
    return true;
}

bool exp_find_done(experiment *e, GError **error)
{
    g_autoptr(GArray) rows = db_run_list(e->store, error);
    if (!rows)
        return false;
    for (guint i = 0; i < e->runs->len; i++) {
        exp_run *run = e->runs->pdata[i];
        bool there;
        g_autofree char *dir = find_folder(e, run, &there);
        if (there)
            run->dir = g_steal_pointer(&dir);
        exp_is_trained(run, &run->iteration);
        if (!find_row(e, run, rows, error))
            return false;
    }
    return true;
}

double exp_measure(const exp_run *run, const char *name)
{
    for (guint i = 0; run->measures && i < run->measures->len; i++) {
        const db_measure *m = &g_array_index(run->measures, db_measure, i);
        if (m->slide_id == 0 && !strcmp(m->name, name))
            return m->value;
    }
    return NAN;
}

/* ---- recording ------------------------------------------------------------------------------ */

static void measure_clear(gpointer data)
{
    db_measure *m = data;
    g_free(m->name);
    g_free(m->unit);
}

static void add_measure(GArray *list, const char *name, double value, const char *unit,
                        int64_t step, int64_t slide)
{
    if (isnan(value))
        return;
    db_measure m = {.name = g_strdup(name),
                    .unit = g_strdup(unit),
                    .step = step,
                    .slide_id = slide,
                    .value = value};
    g_array_append_val(list, m);
}

/* Validation DSC of the model that is evaluated: of the best one, or of the last iterate. */
static double validation_dsc(const exp_run *run, bool best, JsonObject *info)
{
    if (best)
        return number_of(info, "best_dsc");
    g_autofree char *path = g_build_filename(run->dir, "metrics.csv", NULL);
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NAN;
    static const char name[] = ",val_dsc,";
    const char *last = g_strrstr(text, name);
    return last ? g_ascii_strtod(last + strlen(name), NULL) : NAN;
}

static bool add_training(const experiment *e, const exp_run *run, GArray *list, GError **error)
{
    g_autofree char *path = g_build_filename(run->dir, "run.json", NULL);
    JsonNode *root = read_json(path, error);
    if (!root)
        return false;
    JsonObject *info = json_node_get_object(root);
    int64_t step = json_object_get_int_member_with_default(info, "iteration", 0);
    int64_t at =
        e->best ? json_object_get_int_member_with_default(info, "best_iteration", step) : step;
    add_measure(list, "iterations", (double)step, "", step, 0);
    add_measure(list, "model_iteration", (double)at, "", step, 0);
    add_measure(list, "train_s", number_of(info, "elapsed_s"), "s", step, 0);
    add_measure(list, "val_dsc", validation_dsc(run, e->best, info), "fraction", at, 0);
    json_node_unref(root);
    return true;
}

/* The store's id of a slide that was scored. */
static int64_t slide_id(const GArray *slides, const char *path)
{
    g_autofree char *wanted = g_canonicalize_filename(path, NULL);
    for (guint i = 0; i < slides->len; i++) {
        const db_slide *slide = &g_array_index(slides, db_slide, i);
        g_autofree char *is = g_canonicalize_filename(slide->path, NULL);
        if (!strcmp(wanted, is))
            return slide->id;
    }
    return 0;
}

/* Every number of every scored slide of an evaluation, under PREFIX_name. */
static bool add_scores(const char *path, const char *prefix, const GArray *slides, GArray *list,
                       GError **error)
{
    JsonNode *root = read_json(path, error);
    if (!root)
        return false;
    JsonObject *result = json_object_get_object_member(json_node_get_object(root), "result");
    JsonArray *scored = result ? json_object_get_array_member(result, "slides") : NULL;
    const char *unit =
        result ? json_object_get_string_member_with_default(result, "distance_unit", "px") : "px";
    bool ok = true;
    for (guint i = 0; ok && scored && i < json_array_get_length(scored); i++) {
        JsonObject *slide = json_array_get_object_element(scored, i);
        const char *file = json_object_get_string_member_with_default(slide, "slide", "");
        int64_t id = slide_id(slides, file);
        if (id == 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                        "%s: is in %s but not in the store; tile it into the store too", file,
                        path);
            ok = false;
        }
        size_t n;
        const job_metric *metrics = job_metrics(&n);
        for (size_t k = 0; ok && k < n; k++) {
            g_autofree char *name = g_strdup_printf("%s_%s", prefix, metrics[k].key);
            add_measure(list, name, number_of(slide, metrics[k].key),
                        strcmp(metrics[k].unit, "distance") == 0 ? unit : metrics[k].unit, 0, id);
        }
    }
    json_node_unref(root);
    return ok;
}

static char *config_json(const experiment *e, const exp_run *run)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autofree char *dir = g_canonicalize_filename(run->dir, NULL);
    const char *const texts[][2] = {{"experiment", e->name},
                                    {"run", run->name},
                                    {"dir", dir},
                                    {"method", run->method->name},
                                    {"loss", run->loss == TR_LOSS_METASSL ? "metassl" : "plain"},
                                    {"variant", run->variant ? run->variant : ""},
                                    {"train", run->train_text},
                                    {"eval", e->eval_text}};
    json_builder_begin_object(b);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        json_builder_set_member_name(b, texts[i][0]);
        json_builder_add_string_value(b, texts[i][1]);
    }
    json_builder_set_member_name(b, "labelled_cases");
    json_builder_add_int_value(b, run->budget);
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    return json_to_string(root, FALSE);
}

bool exp_record(experiment *e, exp_run *run, GError **error)
{
    g_autoptr(GArray) slides = db_slide_list(e->store, error);
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(db_measure));
    g_array_set_clear_func(list, measure_clear);
    static const char *const files[][2] = {{"test.json", "test"},
                                           {"test-annotation.json", "test_annotation"},
                                           {"labelled.json", "labelled"},
                                           {"labelled-annotation.json", "labelled_annotation"}};
    if (!slides || !add_training(e, run, list, error))
        return false;
    for (size_t i = 0; i < (e->noisy ? G_N_ELEMENTS(files) : 1); i++) {
        g_autofree char *scores = g_build_filename(run->dir, files[i][0], NULL);
        if (!add_scores(scores, files[i][1], slides, list, error))
            return false;
    }
    g_autofree char *config = config_json(e, run);
    g_autofree char *name = g_strdup_printf("%s/%s", e->name, run->name);
    db_run row = {.kind = (char *)(uintptr_t)row_kind,
                  .name = name,
                  .config = config,
                  .version = (char *)(uintptr_t) "quadslide " QS_VERSION,
                  .device = (char *)(uintptr_t) "",
                  .seed = (int64_t)run->seed,
                  .state = (char *)(uintptr_t) "done"};
    if (!db_run_record(e->store, &row, &g_array_index(list, db_measure, 0), list->len, error))
        return false;
    run->measures = g_steal_pointer(&list);
    return true;
}
