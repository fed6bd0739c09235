/* The key file of an experiment: read, checked to the last value, and spread out into tables of
 * runs.
 *
 * Sections [tile], [predict] and [eval] hold options of those commands, [train] of the trainer;
 * [ablation NAME] is a table whose keys are its rows, each a set of train options. Every mistake is
 * said with file, section, key and value before anything is computed. */
#include "base/error.h"
#include "experiment/read.h"

#include <string.h>

static const char ablation_prefix[] = "ablation ";
static const char *const main_keys[] = {"name",   "cohort",     "store",   "out",   "methods",
                                        "losses", "budgets",    "seeds",   "model", "test",
                                        "jobs",   "label-pool", "threads", "steps", NULL};
static const char *const table_keys[] = {"methods", "losses", "budgets", "seeds", NULL};

/* ---- freeing -------------------------------------------------------------------------------- */

static void table_free(gpointer data)
{
    exp_table *table = data;
    for (guint i = 0; i < table->rows->len; i++) {
        g_free(g_array_index(table->rows, exp_row, i).label);
        g_free(g_array_index(table->rows, exp_row, i).runs);
    }
    g_array_unref(table->rows);
    g_array_unref(table->budgets);
    g_array_unref(table->seeds);
    g_free(table->name);
    g_free(table);
}

void exp_free(experiment *e)
{
    if (!e)
        return;
    db_store_close(e->store);
    g_ptr_array_unref(e->tables);
    g_ptr_array_unref(e->runs);
    g_key_file_unref(e->keys);
    g_array_unref(e->steps);
    char *texts[] = {e->file,   e->name,       e->out,      e->store_dir,
                     e->cohort, e->test_split, e->eval_text};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    g_free(e);
}

/* ---- tables --------------------------------------------------------------------------------- */

static exp_table *new_table(exp_reader *r, const char *name, const exp_table *like, GError **error)
{
    exp_table *table = g_new0(exp_table, 1);
    *table = (exp_table){.name = g_strdup(name),
                         .budgets = g_array_new(FALSE, FALSE, sizeof(int)),
                         .seeds = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
                         .rows = g_array_new(FALSE, FALSE, sizeof(exp_row))};
    g_ptr_array_add(r->e->tables, table);
    if (!exp_get_budgets(r, table->budgets, error) || !exp_get_seeds(r, table->seeds, error))
        return NULL;
    if (table->budgets->len == 0 && like)
        g_array_append_vals(table->budgets, like->budgets->data, like->budgets->len);
    if (table->seeds->len == 0 && like)
        g_array_append_vals(table->seeds, like->seeds->data, like->seeds->len);
    static const int all = 0;
    static const uint64_t seed = 1337;
    if (table->budgets->len == 0)
        g_array_append_val(table->budgets, all);
    if (table->seeds->len == 0)
        g_array_append_val(table->seeds, seed);
    return table;
}

/* The row of the same method with its own loss, among those before. */
static int plain_row(const GArray *arms, guint i)
{
    const exp_arm *a = &g_array_index(arms, exp_arm, i);
    for (guint k = 0; k < arms->len; k++) {
        const exp_arm *other = &g_array_index(arms, exp_arm, k);
        if (a->loss == TR_LOSS_METASSL && other->loss == TR_LOSS_PLAIN &&
            other->method == a->method)
            return (int)k;
    }
    return -1;
}

static bool read_main(exp_reader *r, const GPtrArray *section, GError **error)
{
    r->group = exp_main_group;
    exp_table *table = new_table(r, "methods", NULL, error);
    if (!table)
        return false;
    g_autoptr(GArray) arms = exp_get_arms(r, "plain;metassl", error);
    if (!arms)
        return false;
    for (guint i = 0; i < arms->len; i++) {
        const exp_arm *a = &g_array_index(arms, exp_arm, i);
        if (!exp_add_row(r, table, a, exp_arm_label(a), plain_row(arms, i), NULL, section, NULL,
                         error))
            return false;
    }
    return true;
}

/* Rows of one arm: its variants, each tested against the first. */
static bool add_variants(exp_reader *r, exp_table *table, const exp_arm *a, bool name_arm,
                         GStrv keys, const GPtrArray *section, GError **error)
{
    int base = -1;
    for (int i = 0; keys[i]; i++) {
        if (exp_known(table_keys, keys[i]))
            continue;
        g_autoptr(GPtrArray) options = exp_variant_options(r, keys[i], error);
        if (!options)
            return false;
        g_autofree char *variant = g_strdup_printf("%s.%s", table->name, keys[i]);
        g_autofree char *who = exp_arm_label(a);
        char *label = name_arm ? g_strdup_printf("%s, %s", who, keys[i]) : g_strdup(keys[i]);
        if (!exp_add_row(r, table, a, label, base, variant, section, options, error))
            return false;
        if (base < 0)
            base = (int)table->rows->len - 1;
    }
    return true;
}

static bool read_ablation(exp_reader *r, const char *group, const GPtrArray *section,
                          GError **error)
{
    r->group = group;
    const char *name = group + strlen(ablation_prefix);
    exp_table *table = new_table(r, name, r->e->tables->pdata[0], error);
    if (!table)
        return false;
    g_autoptr(GArray) arms = exp_get_arms(r, "metassl", error);
    if (!arms)
        return false;
    if (arms->len == 0)
        return exp_fail(r, group, "methods", NULL, error, "name the methods of this table");
    g_auto(GStrv) keys = g_key_file_get_keys(r->e->keys, group, NULL, NULL);
    for (guint i = 0; i < arms->len; i++)
        if (!add_variants(r, table, &g_array_index(arms, exp_arm, i), arms->len > 1, keys, section,
                          error))
            return false;
    if (table->rows->len == 0)
        return exp_fail(r, group, "(rows)", NULL, error,
                        "give its rows, one a key: NAME=option=value; option=value");
    return true;
}

static bool read_tables(exp_reader *r, GError **error)
{
    g_autoptr(GPtrArray) section = exp_train_section(r, error);
    if (!section || !read_main(r, section, error))
        return false;
    g_auto(GStrv) groups = g_key_file_get_groups(r->e->keys, NULL);
    for (int i = 0; groups[i]; i++)
        if (g_str_has_prefix(groups[i], ablation_prefix) &&
            !read_ablation(r, groups[i], section, error))
            return false;
    if (r->e->runs->len > 0)
        return true;
    return exp_fail(r, exp_main_group, "methods", NULL, error,
                    "name methods, as methods=SL;MT, or give an [ablation NAME]");
}

/* ---- the file ------------------------------------------------------------------------------- */

static bool check_groups(const exp_reader *r, GError **error)
{
    static const char *const groups[] = {"experiment", "tile", "train", "predict", "eval", NULL};
    g_auto(GStrv) there = g_key_file_get_groups(r->e->keys, NULL);
    for (int i = 0; there[i]; i++) {
        if (exp_known(groups, there[i]) || g_str_has_prefix(there[i], ablation_prefix))
            continue;
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: [%s]: there is no such section; there are [experiment], [tile], [train], "
                    "[predict], [eval] and [ablation NAME]",
                    r->e->file, there[i]);
        return false;
    }
    g_auto(GStrv) keys = g_key_file_get_keys(r->e->keys, exp_main_group, NULL, NULL);
    for (int i = 0; keys && keys[i]; i++) {
        if (exp_known(main_keys, keys[i]))
            continue;
        g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)main_keys);
        g_autofree char *way = g_strdup_printf("there is no such key; there are %s", all);
        return exp_fail(r, exp_main_group, keys[i], NULL, error, way);
    }
    return true;
}

/* Options of the commands that the experiment runs, and those that it gives them itself. */
static bool check_commands(const exp_reader *r, exp_section_check check, GError **error)
{
    static const struct {
        const char *name;
        const char *own[8];
    } commands[] = {
        {"tile", {"store", "cohort", "threads", NULL}},
        {"predict", {"model", "cohort", "split", "out", "threads", "force", "prob", NULL}},
        {"eval", {"cohort", "split", "pred", "against", "out", "require-dsc", NULL}}};
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        const char *name = commands[i].name;
        for (int k = 0; commands[i].own[k]; k++)
            if (g_key_file_has_key(r->e->keys, name, commands[i].own[k], NULL))
                return exp_fail(r, name, commands[i].own[k], NULL, error,
                                "the experiment sets this itself");
        if (check && !check(r->e->file, r->e->keys, name, error))
            return false;
    }
    return true;
}

/* "train.iterations=500" of the command line. */
static bool apply_sets(experiment *e, char **sets, GError **error)
{
    for (int i = 0; sets && sets[i]; i++) {
        const char *equals = strchr(sets[i], '=');
        const char *dot = equals ? g_strrstr_len(sets[i], equals - sets[i], ".") : NULL;
        if (!dot || dot == sets[i]) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--set %s: SECTION.KEY=VALUE is wanted",
                        sets[i]);
            return false;
        }
        g_autofree char *group = g_strndup(sets[i], (gsize)(dot - sets[i]));
        g_autofree char *key = g_strndup(dot + 1, (gsize)(equals - dot - 1));
        g_key_file_set_string(e->keys, group, key, equals + 1);
    }
    return true;
}

static bool read_paths(exp_reader *r, const exp_overrides *o, GError **error)
{
    experiment *e = r->e;
    r->group = exp_main_group;
    e->name = exp_get(r, "name");
    if (!e->name || !*e->name) {
        g_free(e->name);
        e->name = g_path_get_basename(e->file);
        char *dot = strrchr(e->name, '.');
        if (dot && dot != e->name)
            *dot = 0;
    }
    e->out = exp_get_path(r, "out", o->out);
    e->cohort = exp_get_path(r, "cohort", o->cohort);
    e->store_dir = exp_get_path(r, "store", o->store);
    if (!e->out)
        return exp_fail(r, exp_main_group, "out", NULL, error,
                        "give the folder of the results, or --out");
    if (!e->store_dir && !e->cohort)
        return exp_fail(r, exp_main_group, "cohort", NULL, error,
                        "give a cohort that is tiled, or a store of patches");
    if (!e->store_dir)
        e->store_dir = g_build_filename(e->out, "store", NULL);
    return true;
}

static bool read_main_values(exp_reader *r, const exp_overrides *o, GError **error)
{
    experiment *e = r->e;
    g_autofree char *model = exp_get(r, "model");
    e->test_split = exp_get(r, "test");
    if (!e->test_split)
        e->test_split = g_strdup("test");
    e->best = !model || !strcmp(model, "best");
    if (!e->best && strcmp(model, "last") != 0)
        return exp_fail(r, exp_main_group, "model", model, error, "best or last is wanted");
    db_split split;
    if (!db_split_parse(e->test_split, &split))
        return exp_fail(r, exp_main_group, "test", e->test_split, error,
                        "the split to score is test, val or train");
    e->jobs = 1;
    e->threads = (int)g_get_num_processors();
    return exp_get_steps(r, e->steps, error) &&
           exp_get_count(r, "jobs", o->jobs, &e->jobs, error) &&
           exp_get_count(r, "threads", o->threads, &e->threads, error);
}

/* All that decides scores, given the weights. */
static char *make_eval_text(const experiment *e)
{
    static const char *const groups[] = {"predict", "eval"};
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "scores=2\nmodel=%s\ntest=%s\n", e->best ? "best" : "last",
                           e->test_split);
    if (e->best)
        for (int i = 0; exp_command_options[i]; i++) {
            g_autofree char *value =
                g_key_file_get_string(e->keys, "train", exp_command_options[i], NULL);
            g_string_append_printf(text, "%s=%s\n", exp_command_options[i], value ? value : "");
        }
    if (e->best) {
        g_autofree char *every = g_key_file_get_string(e->keys, "train", "val-every", NULL);
        g_string_append_printf(text, "val-every=%s\n", every ? every : "");
    }
    for (size_t g = 0; g < G_N_ELEMENTS(groups); g++) {
        g_auto(GStrv) keys = g_key_file_get_keys(e->keys, groups[g], NULL, NULL);
        for (int i = 0; keys && keys[i]; i++) {
            g_autofree char *value = g_key_file_get_string(e->keys, groups[g], keys[i], NULL);
            g_string_append_printf(text, "%s.%s=%s\n", groups[g], keys[i], value);
        }
    }
    return g_string_free(text, FALSE);
}

experiment *exp_load(const char *file, const exp_overrides *overrides, exp_section_check check,
                     GError **error)
{
    experiment *e = g_new0(experiment, 1);
    *e = (experiment){.file = g_strdup(file),
                      .keys = g_key_file_new(),
                      .steps = g_array_new(FALSE, FALSE, sizeof(int64_t)),
                      .tables = g_ptr_array_new_with_free_func(table_free),
                      .runs = g_ptr_array_new_with_free_func(exp_run_free)};
    exp_reader r = {.e = e, .by_text = g_hash_table_new(g_str_hash, g_str_equal)};
    bool ok = g_key_file_load_from_file(e->keys, file, G_KEY_FILE_NONE, error);
    if (!ok)
        g_prefix_error(error, "%s: ", file);
    ok = ok && apply_sets(e, overrides->set, error) && check_groups(&r, error) &&
         read_paths(&r, overrides, error) && read_main_values(&r, overrides, error) &&
         check_commands(&r, check, error) && read_tables(&r, error);
    g_hash_table_destroy(r.by_text);
    if (!ok) {
        exp_free(e);
        return NULL;
    }
    e->eval_text = make_eval_text(e);
    return e;
}
