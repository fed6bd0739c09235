/* The key file of an experiment: read, checked to the last value, and spread out into runs.
 *
 * Sections [tile], [predict] and [eval] hold options of those commands, [train] of the trainer;
 * [ablation NAME] is a table whose keys are its rows, each a set of train options. Every mistake is
 * said with file, section, key and value before anything is computed. */
#include "cli/experiment.h"

#include "cli/cli.h"

#include <string.h>

extern const cli_command cli_cmd_tile, cli_cmd_predict, cli_cmd_eval;

static const char main_group[] = "experiment", ablation_prefix[] = "ablation ";
static const char *const main_keys[] = {"name",   "cohort",     "store",   "out",   "methods",
                                        "losses", "budgets",    "seeds",   "model", "test",
                                        "jobs",   "label-pool", "threads", "steps", NULL};
static const char *const table_keys[] = {"methods", "losses", "budgets", "seeds", NULL};
/* What the experiment itself says to the trainer. */
static const char *const own_options[] = {"method", "loss",       "seed",       "out",
                                          "store",  "threads",    "fresh",      "labelled-cases",
                                          "init",   "label-seed", "label-pool", NULL};
static const char *const command_options[] = {"val-max-slides", "val-stride", NULL};

/* A method with one loss: an item of `methods`, "MT" or "SL/plain". */
typedef struct {
    const ssl_method *method;
    tr_loss loss;
} arm;

/* Everything while a file is read. */
typedef struct {
    experiment *e;
    const char *group;   /* that messages name */
    GHashTable *by_text; /* train_text → index of its run + 1 */
} reader;

/* ---- freeing -------------------------------------------------------------------------------- */

static void run_free(gpointer data)
{
    exp_run *run = data;
    g_free(run->name);
    g_free(run->dir);
    g_free(run->variant);
    g_ptr_array_unref(run->set);
    g_free(run->train_text);
    g_free(run->stage);
    g_free(run->problem);
    if (run->measures)
        g_array_unref(run->measures);
    g_free(run);
}

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

/* ---- values --------------------------------------------------------------------------------- */

static bool fail(const reader *r, const char *group, const char *key, const char *value,
                 GError **error, const char *way_out)
{
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: [%s] %s%s%s: %s", r->e->file, group, key,
                value ? "=" : "", value ? value : "", way_out);
    return false;
}

static char *get(const reader *r, const char *key)
{
    char *text = g_key_file_get_string(r->e->keys, r->group, key, NULL);
    return text ? g_strstrip(text) : NULL;
}

/* The items of a list, stripped, empty ones left out; NULL when the key is not there. */
static GStrv get_list(const reader *r, const char *key)
{
    g_auto(GStrv) raw = g_key_file_get_string_list(r->e->keys, r->group, key, NULL, NULL);
    if (!raw)
        return NULL;
    GPtrArray *items = g_ptr_array_new();
    for (int i = 0; raw[i]; i++)
        if (*g_strstrip(raw[i]))
            g_ptr_array_add(items, g_strdup(raw[i]));
    g_ptr_array_add(items, NULL);
    return (GStrv)g_ptr_array_free(items, FALSE);
}

static bool get_count(const reader *r, const char *key, int override, int *value, GError **error)
{
    g_autofree char *text = get(r, key);
    gint64 number = *value;
    if (text && !g_ascii_string_to_signed(text, 10, 1, 1024, &number, NULL))
        return fail(r, r->group, key, text, error, "a whole number from 1 to 1024 is wanted");
    *value = override > 0 ? override : (int)number;
    return true;
}

static bool known(const char *const *names, const char *name)
{
    return g_strv_contains(names, name);
}

/* Paths of the file are relative to its folder, those of the command line to where it was typed. */
static char *get_path(const reader *r, const char *key, const char *override)
{
    if (override)
        return g_strdup(override);
    g_autofree char *text = get(r, key);
    if (!text || !*text)
        return NULL;
    if (g_path_is_absolute(text))
        return g_strdup(text);
    g_autofree char *folder = g_path_get_dirname(r->e->file);
    return !strcmp(folder, ".") ? g_strdup(text) : g_build_filename(folder, text, NULL);
}

static bool get_budgets(const reader *r, GArray *budgets, GError **error)
{
    g_auto(GStrv) items = get_list(r, "budgets");
    for (int i = 0; items && items[i]; i++) {
        gint64 number = 0;
        if (strcmp(items[i], "all") != 0 &&
            !g_ascii_string_to_signed(items[i], 10, 1, 1000000, &number, NULL))
            return fail(r, r->group, "budgets", items[i], error,
                        "a number of labelled cases is wanted, or all");
        int budget = (int)number;
        g_array_append_val(budgets, budget);
    }
    return true;
}

static bool get_seeds(const reader *r, GArray *seeds, GError **error)
{
    g_auto(GStrv) items = get_list(r, "seeds");
    for (int i = 0; items && items[i]; i++) {
        guint64 seed;
        if (!g_ascii_string_to_unsigned(items[i], 10, 0, G_MAXINT64, &seed, NULL))
            return fail(r, r->group, "seeds", items[i], error, "whole numbers are wanted");
        g_array_append_val(seeds, seed);
    }
    return true;
}

static bool get_steps(const reader *r, GArray *steps, GError **error)
{
    g_auto(GStrv) items = get_list(r, "steps");
    for (int i = 0; items && items[i]; i++) {
        gint64 step;
        if (!g_ascii_string_to_signed(items[i], 10, 0, G_MAXINT64, &step, NULL))
            return fail(r, r->group, "steps", items[i], error,
                        "iterations are wanted: whole numbers");
        g_array_append_val(steps, step);
    }
    return true;
}

/* ---- methods and losses --------------------------------------------------------------------- */

static bool parse_loss(const reader *r, const char *text, tr_loss *loss, GError **error)
{
    if (!strcmp(text, "plain"))
        *loss = TR_LOSS_PLAIN;
    else if (!strcmp(text, "metassl"))
        *loss = TR_LOSS_METASSL;
    else
        return fail(r, r->group, "losses", text, error, "plain or metassl is wanted");
    return true;
}

static bool get_losses(const reader *r, const char *fallback, GArray *losses, GError **error)
{
    g_auto(GStrv) items = get_list(r, "losses");
    if (!items)
        items = g_strsplit(fallback, ";", -1);
    for (int i = 0; items[i]; i++) {
        tr_loss loss;
        if (!parse_loss(r, items[i], &loss, error))
            return false;
        g_array_append_val(losses, loss);
    }
    return true;
}

/* methods × losses; an item METHOD/LOSS has that loss only. */
static GArray *get_arms(const reader *r, const char *default_losses, GError **error)
{
    g_autoptr(GArray) losses = g_array_new(FALSE, FALSE, sizeof(tr_loss));
    g_autoptr(GArray) arms = g_array_new(FALSE, FALSE, sizeof(arm));
    if (!get_losses(r, default_losses, losses, error))
        return NULL;
    g_auto(GStrv) items = get_list(r, "methods");
    for (int i = 0; items && items[i]; i++) {
        g_auto(GStrv) parts = g_strsplit(items[i], "/", 2);
        GError *unknown = NULL;
        arm a = {.method = ssl_method_find(g_strstrip(parts[0]), &unknown)};
        if (!a.method) {
            fail(r, r->group, "methods", items[i], error, unknown->message);
            g_error_free(unknown);
            return NULL;
        }
        if (parts[1]) {
            if (!parse_loss(r, g_strstrip(parts[1]), &a.loss, error))
                return NULL;
            g_array_append_val(arms, a);
            continue;
        }
        for (guint k = 0; k < losses->len; k++) {
            a.loss = g_array_index(losses, tr_loss, k);
            g_array_append_val(arms, a);
        }
    }
    return g_steal_pointer(&arms);
}

static const char *loss_name(tr_loss loss)
{
    return loss == TR_LOSS_METASSL ? "metassl" : "plain";
}

/* ---- train options -------------------------------------------------------------------------- */

static bool method_has(const ssl_method *method, const char *name)
{
    for (int i = 0; i < ssl_method_n_options(method); i++)
        if (!strcmp(method->options[i].name, name))
            return true;
    return false;
}

static bool table_has(const char *name)
{
    size_t n;
    const tr_option *table = tr_option_table(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(table[i].name, name))
            return true;
    return false;
}

static bool any_method_has(const char *name)
{
    for (int i = 0; ssl_methods[i]; i++)
        if (method_has(ssl_methods[i], name))
            return true;
    return false;
}

/* Is it an option that a key file may set? */
static bool check_option_name(const reader *r, const char *group, const char *key, const char *name,
                              GError **error)
{
    if (known(own_options, name))
        return fail(r, group, key, NULL, error,
                    "the experiment sets method, loss, seed, labels, folders and threads of its "
                    "runs itself; see [experiment]");
    if (table_has(name) || any_method_has(name) || known(command_options, name))
        return true;
    return fail(r, group, key, NULL, error,
                "there is no such option; `quadslide train --help` lists them");
}

/* The options of [train] as "name=value". */
static GPtrArray *train_section(reader *r, GError **error)
{
    GPtrArray *set = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) keys = g_key_file_get_keys(r->e->keys, "train", NULL, NULL);
    for (int i = 0; keys && keys[i]; i++) {
        g_autofree char *value = g_key_file_get_string(r->e->keys, "train", keys[i], NULL);
        if (!check_option_name(r, "train", keys[i], keys[i], error)) {
            g_ptr_array_unref(set);
            return NULL;
        }
        g_ptr_array_add(set, g_strdup_printf("%s=%s", keys[i], g_strstrip(value)));
    }
    return set;
}

/* "name=value; name=value; flag" of a row of an ablation. */
static GPtrArray *variant_options(const reader *r, const char *key, GError **error)
{
    g_autoptr(GPtrArray) set = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) items = get_list(r, key);
    for (int i = 0; items && items[i]; i++) {
        char *equals = strchr(items[i], '=');
        g_autofree char *name =
            equals ? g_strndup(items[i], (gsize)(equals - items[i])) : g_strdup(items[i]);
        if (!check_option_name(r, r->group, key, g_strstrip(name), error)) {
            g_prefix_error(error, "\"%s\": ", items[i]);
            return NULL;
        }
        g_ptr_array_add(set, equals ? g_strdup_printf("%s=%s", name, g_strstrip(equals + 1))
                                    : g_strdup_printf("%s=true", name));
    }
    return g_steal_pointer(&set);
}

/* Sets what the trainer knows; options of other methods only where [train] named them for those. */
static bool set_options(const reader *r, tr_options *options, const exp_run *run, guint n_section,
                        GError **error)
{
    for (guint i = 0; i < run->set->len; i++) {
        const char *text = run->set->pdata[i], *equals = strchr(text, '=');
        g_autofree char *name = g_strndup(text, (gsize)(equals - text));
        GError *bad = NULL;
        if (known(command_options, name))
            continue;
        if (i < n_section && !table_has(name) && !method_has(run->method, name))
            continue;
        if (tr_options_set(options, name, equals + 1, &bad))
            continue;
        fail(r, i < n_section ? "train" : r->group, i < n_section ? name : run->variant,
             i < n_section ? equals + 1 : text, error, bad->message);
        g_error_free(bad);
        return false;
    }
    return true;
}

/* ---- runs ----------------------------------------------------------------------------------- */

/* Passes over one patch that a step makes: a backward pass costs about two forward ones. */
static double step_cost(const ssl_plan *plan)
{
    double cost = 0;
    for (int f = 0; f < plan->n_forwards; f++) {
        const ssl_forward *forward = &plan->forwards[f];
        int n = ((unsigned)forward->half & SSL_LABELLED ? plan->n_labelled : 0) +
                ((unsigned)forward->half & SSL_UNLABELLED ? plan->n_unlabelled : 0);
        cost += n * (forward->grad ? 3.0 : 1.0);
    }
    return cost;
}

static char *run_name(const exp_run *run)
{
    GString *name = g_string_new(NULL);
    g_string_append_printf(name, "%s-%s", run->method->name, loss_name(run->loss));
    if (run->budget > 0)
        g_string_append_printf(name, "-b%d", run->budget);
    g_string_append_printf(name, "-s%" G_GUINT64_FORMAT, run->seed);
    if (run->variant)
        g_string_append_printf(name, "-%s", run->variant);
    for (char *p = name->str; *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr("-+._", *p))
            *p = '_';
    return g_string_free(name, FALSE);
}

/* Settles the run's texts. A method that learns from every label has no budget. */
static bool settle(reader *r, exp_run *run, guint n_section, GError **error)
{
    tr_options options;
    tr_options_init(&options);
    if (!tr_options_set_method(&options, run->method->name, error) ||
        !set_options(r, &options, run, n_section, error))
        return false;
    options.loss = run->loss;
    options.seed = run->seed;
    options.out_dir = "out";
    GError *bad = NULL;
    if (!tr_options_check(&options, &bad)) {
        fail(r, "train", run->method->name, NULL, error, bad->message);
        g_error_free(bad);
        return false;
    }
    ssl_config config = tr_options_config(&options);
    ssl_plan plan = {0};
    run->method->plan(&config, &plan);
    if (plan.pool == SSL_POOL_ALL)
        run->budget = 0;
    g_autofree char *pool = g_key_file_get_string(r->e->keys, main_group, "label-pool", NULL);
    options.labelled_cases = run->budget;
    if (run->budget > 0)
        options.label_seed = (int64_t)run->seed;
    if (pool && plan.pool != SSL_POOL_ALL && !tr_options_set(&options, "label-pool", pool, &bad)) {
        fail(r, main_group, "label-pool", pool, error, bad->message);
        g_error_free(bad);
        return false;
    }
    run->iterations = options.iterations;
    run->cost = step_cost(&plan) * (double)options.iterations;
    run->train_text = tr_options_to_text(&options, true);
    run->name = run_name(run);
    return true;
}

/* The run of these settings, made when there is none yet. -1 on error. */
static int add_run(reader *r, const arm *a, int budget, uint64_t seed, const char *variant,
                   const GPtrArray *section, const GPtrArray *options, GError **error)
{
    exp_run *run = g_new0(exp_run, 1);
    *run = (exp_run){.method = a->method, .loss = a->loss, .budget = budget, .seed = seed};
    run->variant = g_strdup(variant);
    run->set = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < section->len; i++)
        g_ptr_array_add(run->set, g_strdup(section->pdata[i]));
    for (guint i = 0; options && i < options->len; i++)
        g_ptr_array_add(run->set, g_strdup(options->pdata[i]));
    if (!settle(r, run, section->len, error)) {
        run_free(run);
        return -1;
    }
    guint there = GPOINTER_TO_UINT(g_hash_table_lookup(r->by_text, run->train_text));
    if (there > 0) {
        run_free(run);
        return (int)there - 1;
    }
    g_ptr_array_add(r->e->runs, run);
    g_hash_table_insert(r->by_text, run->train_text, GUINT_TO_POINTER(r->e->runs->len));
    return (int)r->e->runs->len - 1;
}

static bool add_row(reader *r, exp_table *table, const arm *a, char *label, int base,
                    const char *variant, const GPtrArray *section, const GPtrArray *options,
                    GError **error)
{
    guint n_seeds = table->seeds->len, n_budgets = table->budgets->len;
    exp_row row = {.label = label, .base = base, .runs = g_new0(guint, n_seeds * n_budgets)};
    g_array_append_val(table->rows, row);
    for (guint b = 0; b < n_budgets; b++) {
        for (guint s = 0; s < n_seeds; s++) {
            int index =
                add_run(r, a, g_array_index(table->budgets, int, b),
                        g_array_index(table->seeds, uint64_t, s), variant, section, options, error);
            if (index < 0)
                return false;
            row.runs[b * n_seeds + s] = (guint)index;
        }
    }
    return true;
}

static char *arm_label(const arm *a)
{
    return g_strconcat(a->method->name, a->loss == TR_LOSS_METASSL ? " + MetaSSL" : "", NULL);
}

/* ---- tables --------------------------------------------------------------------------------- */

static exp_table *new_table(reader *r, const char *name, const exp_table *like, GError **error)
{
    exp_table *table = g_new0(exp_table, 1);
    *table = (exp_table){.name = g_strdup(name),
                         .budgets = g_array_new(FALSE, FALSE, sizeof(int)),
                         .seeds = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
                         .rows = g_array_new(FALSE, FALSE, sizeof(exp_row))};
    g_ptr_array_add(r->e->tables, table);
    if (!get_budgets(r, table->budgets, error) || !get_seeds(r, table->seeds, error))
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
    const arm *a = &g_array_index(arms, arm, i);
    for (guint k = 0; k < arms->len; k++) {
        const arm *other = &g_array_index(arms, arm, k);
        if (a->loss == TR_LOSS_METASSL && other->loss == TR_LOSS_PLAIN &&
            other->method == a->method)
            return (int)k;
    }
    return -1;
}

static bool read_main(reader *r, const GPtrArray *section, GError **error)
{
    r->group = main_group;
    exp_table *table = new_table(r, "methods", NULL, error);
    if (!table)
        return false;
    g_autoptr(GArray) arms = get_arms(r, "plain;metassl", error);
    if (!arms)
        return false;
    for (guint i = 0; i < arms->len; i++) {
        const arm *a = &g_array_index(arms, arm, i);
        if (!add_row(r, table, a, arm_label(a), plain_row(arms, i), NULL, section, NULL, error))
            return false;
    }
    return true;
}

/* Rows of one arm: its variants, each tested against the first. */
static bool add_variants(reader *r, exp_table *table, const arm *a, bool name_arm, GStrv keys,
                         const GPtrArray *section, GError **error)
{
    int base = -1;
    for (int i = 0; keys[i]; i++) {
        if (known(table_keys, keys[i]))
            continue;
        g_autoptr(GPtrArray) options = variant_options(r, keys[i], error);
        if (!options)
            return false;
        g_autofree char *variant = g_strdup_printf("%s.%s", table->name, keys[i]);
        g_autofree char *who = arm_label(a);
        char *label = name_arm ? g_strdup_printf("%s, %s", who, keys[i]) : g_strdup(keys[i]);
        if (!add_row(r, table, a, label, base, variant, section, options, error))
            return false;
        if (base < 0)
            base = (int)table->rows->len - 1;
    }
    return true;
}

static bool read_ablation(reader *r, const char *group, const GPtrArray *section, GError **error)
{
    r->group = group;
    const char *name = group + strlen(ablation_prefix);
    exp_table *table = new_table(r, name, r->e->tables->pdata[0], error);
    if (!table)
        return false;
    g_autoptr(GArray) arms = get_arms(r, "metassl", error);
    if (!arms)
        return false;
    if (arms->len == 0)
        return fail(r, group, "methods", NULL, error, "name the methods of this table");
    g_auto(GStrv) keys = g_key_file_get_keys(r->e->keys, group, NULL, NULL);
    for (guint i = 0; i < arms->len; i++)
        if (!add_variants(r, table, &g_array_index(arms, arm, i), arms->len > 1, keys, section,
                          error))
            return false;
    if (table->rows->len == 0)
        return fail(r, group, "(rows)", NULL, error,
                    "give its rows, one a key: NAME=option=value; option=value");
    return true;
}

static bool read_tables(reader *r, GError **error)
{
    g_autoptr(GPtrArray) section = train_section(r, error);
    if (!section || !read_main(r, section, error))
        return false;
    g_auto(GStrv) groups = g_key_file_get_groups(r->e->keys, NULL);
    for (int i = 0; groups[i]; i++)
        if (g_str_has_prefix(groups[i], ablation_prefix) &&
            !read_ablation(r, groups[i], section, error))
            return false;
    if (r->e->runs->len > 0)
        return true;
    return fail(r, main_group, "methods", NULL, error,
                "name methods, as methods=SL;MT, or give an [ablation NAME]");
}

/* ---- the file ------------------------------------------------------------------------------- */

static bool check_groups(const reader *r, GError **error)
{
    static const char *const groups[] = {"experiment", "tile", "train", "predict", "eval", NULL};
    g_auto(GStrv) there = g_key_file_get_groups(r->e->keys, NULL);
    for (int i = 0; there[i]; i++) {
        if (known(groups, there[i]) || g_str_has_prefix(there[i], ablation_prefix))
            continue;
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: [%s]: there is no such section; there are [experiment], [tile], [train], "
                    "[predict], [eval] and [ablation NAME]",
                    r->e->file, there[i]);
        return false;
    }
    g_auto(GStrv) keys = g_key_file_get_keys(r->e->keys, main_group, NULL, NULL);
    for (int i = 0; keys && keys[i]; i++) {
        if (known(main_keys, keys[i]))
            continue;
        g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)main_keys);
        g_autofree char *way = g_strdup_printf("there is no such key; there are %s", all);
        return fail(r, main_group, keys[i], NULL, error, way);
    }
    return true;
}

/* Options of the commands that the experiment runs, and those that it gives them itself. */
static bool check_commands(const reader *r, GError **error)
{
    static const struct {
        const cli_command *command;
        const char *own[8];
    } commands[] = {
        {&cli_cmd_tile, {"store", "cohort", "threads", NULL}},
        {&cli_cmd_predict, {"model", "cohort", "split", "out", "threads", "force", "prob", NULL}},
        {&cli_cmd_eval, {"cohort", "split", "pred", "against", "out", "require-dsc", NULL}}};
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        const char *name = commands[i].command->name;
        for (int k = 0; commands[i].own[k]; k++)
            if (g_key_file_has_key(r->e->keys, name, commands[i].own[k], NULL))
                return fail(r, name, commands[i].own[k], NULL, error,
                            "the experiment sets this itself");
        if (!cli_config_check(r->e->file, r->e->keys, name, commands[i].command->entries, error))
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

static bool read_paths(reader *r, const exp_overrides *o, GError **error)
{
    experiment *e = r->e;
    r->group = main_group;
    e->name = get(r, "name");
    if (!e->name || !*e->name) {
        g_free(e->name);
        e->name = g_path_get_basename(e->file);
        char *dot = strrchr(e->name, '.');
        if (dot && dot != e->name)
            *dot = 0;
    }
    e->out = get_path(r, "out", o->out);
    e->cohort = get_path(r, "cohort", o->cohort);
    e->store_dir = get_path(r, "store", o->store);
    if (!e->out)
        return fail(r, main_group, "out", NULL, error, "give the folder of the results, or --out");
    if (!e->store_dir && !e->cohort)
        return fail(r, main_group, "cohort", NULL, error,
                    "give a cohort that is tiled, or a store of patches");
    if (!e->store_dir)
        e->store_dir = g_build_filename(e->out, "store", NULL);
    return true;
}

static bool read_main_values(reader *r, const exp_overrides *o, GError **error)
{
    experiment *e = r->e;
    g_autofree char *model = get(r, "model");
    e->test_split = get(r, "test");
    if (!e->test_split)
        e->test_split = g_strdup("test");
    e->best = !model || !strcmp(model, "best");
    if (!e->best && strcmp(model, "last") != 0)
        return fail(r, main_group, "model", model, error, "best or last is wanted");
    db_split split;
    if (!db_split_parse(e->test_split, &split))
        return fail(r, main_group, "test", e->test_split, error,
                    "the split to score is test, val or train");
    e->jobs = 1;
    e->threads = (int)g_get_num_processors();
    return get_steps(r, e->steps, error) && get_count(r, "jobs", o->jobs, &e->jobs, error) &&
           get_count(r, "threads", o->threads, &e->threads, error);
}

/* All that decides scores, given the weights. */
static char *make_eval_text(const experiment *e)
{
    static const char *const groups[] = {"predict", "eval"};
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "scores=2\nmodel=%s\ntest=%s\n", e->best ? "best" : "last",
                           e->test_split);
    if (e->best)
        for (int i = 0; command_options[i]; i++) {
            g_autofree char *value =
                g_key_file_get_string(e->keys, "train", command_options[i], NULL);
            g_string_append_printf(text, "%s=%s\n", command_options[i], value ? value : "");
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

experiment *exp_load(const char *file, const exp_overrides *overrides, GError **error)
{
    experiment *e = g_new0(experiment, 1);
    *e = (experiment){.file = g_strdup(file),
                      .keys = g_key_file_new(),
                      .steps = g_array_new(FALSE, FALSE, sizeof(int64_t)),
                      .tables = g_ptr_array_new_with_free_func(table_free),
                      .runs = g_ptr_array_new_with_free_func(run_free)};
    reader r = {.e = e, .by_text = g_hash_table_new(g_str_hash, g_str_equal)};
    bool ok = g_key_file_load_from_file(e->keys, file, G_KEY_FILE_NONE, error);
    if (!ok)
        g_prefix_error(error, "%s: ", file);
    ok = ok && apply_sets(e, overrides->set, error) && check_groups(&r, error) &&
         read_paths(&r, overrides, error) && read_main_values(&r, overrides, error) &&
         check_commands(&r, error) && read_tables(&r, error);
    g_hash_table_destroy(r.by_text);
    if (!ok) {
        exp_free(e);
        return NULL;
    }
    e->eval_text = make_eval_text(e);
    return e;
}
