/* Pages about training: the frame that every page has, where runs are found, and their table. */
#include "report/report.h"

#include "base/error.h"
#include "base/file.h"
#include "db/store.h"
#include "base/text.h"

#include <json-glib/json-glib.h>

#include <math.h>
#include <string.h>

void rep_open(GString *page, const char *title, const char *lede)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *date = g_date_time_format(now, "%e %B %Y");
    g_string_append(page,
                    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                    "<meta name=\"generator\" content=\"" QS_FILE_MARK "\">\n<title>");
    rep_text(page, title);
    g_string_append(page, "</title>\n<style>\n");
    rep_style(page);
    g_string_append(
        page,
        "</style></head>\n<body><main>\n<header><p class=\"eyebrow\">quadslide report</p>\n<h1>");
    rep_text(page, title);
    g_string_append(page, "</h1>\n<p class=\"lede\">");
    rep_text(page, lede);
    g_string_append_printf(page, " %s.</p></header>\n", g_strstrip(date));
}

void rep_close(GString *page, const char *note)
{
    g_string_append(page, "<footer><p>");
    rep_text(page, note);
    g_string_append(page,
                    "</p><p>Made by quadslide " QS_VERSION ". Nothing on this page is loaded from "
                    "elsewhere.</p></footer>\n</main></body></html>\n");
}

void rep_named_clear(gpointer data)
{
    rep_named *item = data;
    g_free(item->name);
    g_free(item->path);
}

/* ---- finding -------------------------------------------------------------------------------- */

static bool has(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void add_run(GArray *runs, const char *dir)
{
    for (guint i = 0; i < runs->len; i++)
        if (!strcmp(g_array_index(runs, rep_named, i).path, dir))
            return;
    rep_named run = {.name = g_path_get_basename(dir), .path = g_strdup(dir)};
    g_array_append_val(runs, run);
}

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_experiment(GArray *runs, const char *path)
{
    g_autofree char *dir_path = g_build_filename(path, "runs", NULL);
    g_autoptr(GDir) dir = g_dir_open(dir_path, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (const char *name; dir && (name = g_dir_read_name(dir));)
        g_ptr_array_add(names, g_build_filename(dir_path, name, NULL));
    g_ptr_array_sort(names, by_text);
    for (guint i = 0; i < names->len; i++)
        if (has(names->pdata[i], "metrics.csv"))
            add_run(runs, names->pdata[i]);
}

/* A store knows the folders of its trainings as they were named then. */
static bool add_store(GArray *runs, const char *path, GError **error)
{
    db_store *store = db_store_open(path, true, error);
    g_autoptr(GArray) rows = store ? db_run_list(store, error) : NULL;
    for (guint i = 0; rows && i < rows->len; i++) {
        const db_run *row = &g_array_index(rows, db_run, i);
        if (!g_strcmp0(row->kind, "train") && row->name && has(row->name, "metrics.csv"))
            add_run(runs, row->name);
    }
    db_store_close(store);
    return rows != NULL;
}

GArray *rep_find_runs(char *const *paths, GError **error)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, TRUE, sizeof(rep_named));
    g_array_set_clear_func(runs, rep_named_clear);
    for (; *paths; paths++) {
        guint before = runs->len;
        if (has(*paths, "metrics.csv"))
            add_run(runs, *paths);
        else if (has(*paths, "runs"))
            add_experiment(runs, *paths);
        else if (has(*paths, "index.db") && !add_store(runs, *paths, error))
            return NULL;
        if (runs->len > before || has(*paths, "metrics.csv"))
            continue;
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: no training run is there: neither metrics.csv, nor runs/ of an "
                    "experiment, nor a store whose runs are where they were",
                    *paths);
        return NULL;
    }
    return g_steal_pointer(&runs);
}

/* ---- the table ------------------------------------------------------------------------------ */

/* What run.json says; texts owned. */
typedef struct {
    char *method, *loss, *seed, *state;
    int64_t iteration, best_iteration;
    double best_dsc, seconds, test_dsc;
} run_facts;

static char *option(JsonObject *info, const char *name)
{
    JsonNode *node = json_object_get_member(info, "options");
    if (!node || !JSON_NODE_HOLDS_OBJECT(node))
        return g_strdup("");
    return g_strdup(
        json_object_get_string_member_with_default(json_node_get_object(node), name, ""));
}

static double number(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;
    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_double(node) : NAN;
}

/* *object NULL where there is no such file; one that is no JSON object is an error. */
static bool load(JsonParser *parser, const char *dir, const char *name, JsonObject **object,
                 GError **error)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(GError) why = NULL;
    *object = NULL;
    if (!has(dir, name))
        return true;
    bool ok = json_parser_load_from_file(parser, path, &why);
    JsonNode *root = ok ? json_parser_get_root(parser) : NULL;
    if (root && JSON_NODE_HOLDS_OBJECT(root))
        *object = json_node_get_object(root);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: %s; leave the run out, or delete the file", path,
                    why ? why->message : "no JSON object");
    return *object != NULL;
}

static JsonObject *member(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;
    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static bool facts_read(run_facts *f, const rep_named *run, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(JsonParser) scores = json_parser_new();
    JsonObject *info, *test;
    *f = (run_facts){.best_dsc = NAN, .seconds = NAN};
    if (!load(parser, run->path, "run.json", &info, error) ||
        !load(scores, run->path, "test.json", &test, error))
        return false;
    if (info) {
        f->method = option(info, "method");
        f->loss = option(info, "loss");
        f->seed = option(info, "seed");
        f->state = g_strdup(json_object_get_string_member_with_default(info, "state", ""));
        f->iteration = json_object_get_int_member_with_default(info, "iteration", 0);
        f->best_iteration = json_object_get_int_member_with_default(info, "best_iteration", 0);
        f->best_dsc = number(info, "best_dsc");
        f->seconds = number(info, "elapsed_s");
    }
    f->test_dsc = number(member(member(test, "result"), "foreground"), "dsc_mean");
    return true;
}

static void facts_clear(run_facts *f)
{
    g_free(f->method);
    g_free(f->loss);
    g_free(f->seed);
    g_free(f->state);
}

static void add_cell(GString *page, const char *text)
{
    g_string_append(page, "<td>");
    rep_text(page, text && *text ? text : "–");
    g_string_append(page, "</td>");
}

static void add_number(GString *page, double value)
{
    g_autofree char *text = isnan(value) ? NULL : g_strdup_printf("%.3f", value);
    add_cell(page, text);
}

static void add_row(GString *page, const rep_named *run, const run_facts *f)
{
    g_string_append_printf(
        page, "<tr><td><span class=\"chip\" style=\"background:var(--m%d)\"></span>", run->index);
    rep_text(page, run->name);
    g_string_append(page, "</td>");
    add_cell(page, f->method);
    add_cell(page, f->loss);
    add_cell(page, f->seed);
    g_autofree char *steps = g_strdup_printf("%" G_GINT64_FORMAT, f->iteration);
    add_cell(page, steps);
    add_cell(page, f->state);
    add_number(page, f->best_dsc);
    g_autofree char *at = g_strdup_printf("%" G_GINT64_FORMAT, f->best_iteration);
    add_cell(page, isnan(f->best_dsc) ? NULL : at);
    add_number(page, f->test_dsc);
    g_autofree char *time = isnan(f->seconds) ? NULL : qs_format_seconds(f->seconds);
    add_cell(page, time);
    g_string_append(page, "</tr>\n");
}

/* The runs of one method, whose colours begin anew. */
static GArray *of_method(const GArray *runs, const run_facts *facts, const char *method)
{
    GArray *some = g_array_new(FALSE, TRUE, sizeof(rep_named));
    for (guint i = 0; i < runs->len; i++)
        if (!g_strcmp0(facts[i].method, method))
            g_array_append_vals(some, &g_array_index(runs, rep_named, i), 1);
    return some;
}

static void colour(GArray *runs, const run_facts *facts)
{
    for (guint i = 0; i < runs->len; i++) {
        rep_named *run = &g_array_index(runs, rep_named, i);
        int before = 0;
        for (guint k = 0; k < i; k++)
            before += !g_strcmp0(facts[k].method, facts[i].method);
        run->index = before % REPORT_MODELS_MAX;
    }
}

static void add_table(GString *page, const GArray *runs, const run_facts *facts)
{
    g_string_append(
        page,
        "<section aria-label=\"Runs\"><h2>Runs</h2>\n<div class=\"wide\"><table><thead>"
        "<tr><th scope=\"col\">Run</th><th scope=\"col\">Method</th><th scope=\"col\">Loss</th><th scope=\"col\">Seed</th><th scope=\"col\">Iterations</th>"
        "<th scope=\"col\">State</th><th scope=\"col\">Validation DSC, best</th><th scope=\"col\">at</th><th scope=\"col\">Test DSC</th>"
        "<th scope=\"col\">Time</th></tr></thead><tbody>\n");
    for (guint i = 0; i < runs->len; i++)
        add_row(page, &g_array_index(runs, rep_named, i), &facts[i]);
    g_string_append(page, "</tbody></table></div></section>\n");
}

bool rep_run_page(GString *page, const GArray *runs_in, GError **error)
{
    g_autofree run_facts *facts = g_new0(run_facts, MAX(1, runs_in->len));
    g_autoptr(GArray) runs = g_array_new(FALSE, TRUE, sizeof(rep_named));
    g_array_append_vals(runs, runs_in->data, runs_in->len);
    bool ok = true;
    for (guint i = 0; ok && i < runs->len; i++)
        ok = facts_read(&facts[i], &g_array_index(runs, rep_named, i), error);
    colour(runs, facts);
    if (ok)
        add_table(page, runs, facts);
    for (guint i = 0; ok && i < runs->len; i++) {
        bool first = true;
        for (guint k = 0; k < i; k++)
            first = first && g_strcmp0(facts[k].method, facts[i].method) != 0;
        if (!first)
            continue;
        g_autoptr(GArray) some = of_method(runs, facts, facts[i].method);
        g_string_append(page, "<section><h2>");
        rep_text(page, facts[i].method && *facts[i].method ? facts[i].method : "Training");
        g_string_append(page, "</h2>\n");
        ok = rep_charts(page, some, NULL, error);
        g_string_append(page, "</section>\n");
    }
    for (guint i = 0; i < runs->len; i++)
        facts_clear(&facts[i]);
    return ok;
}
