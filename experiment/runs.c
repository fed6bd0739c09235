/* Runs of an experiment: the options of its sections and rows, each combination settled once, so
 * that rows of the same training share a run. */
#include "experiment/read.h"

#include <string.h>

/* What the experiment itself says to the trainer. */
static const char *const own_options[] = {"method", "loss",       "seed",       "out",
                                          "store",  "threads",    "fresh",      "labelled-cases",
                                          "init",   "label-seed", "label-pool", NULL};
const char *const exp_command_options[] = {"val-max-slides", "val-stride", NULL};

void exp_run_free(gpointer data)
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
static bool check_option_name(const exp_reader *r, const char *group, const char *key,
                              const char *name, GError **error)
{
    if (exp_known(own_options, name))
        return exp_fail(
            r, group, key, NULL, error,
            "the experiment sets method, loss, seed, labels, folders and threads of its "
            "runs itself; see [experiment]");
    if (table_has(name) || any_method_has(name) || exp_known(exp_command_options, name))
        return true;
    return exp_fail(r, group, key, NULL, error,
                    "there is no such option; `quadslide train --help` lists them");
}

/* The options of [train] as "name=value". */
GPtrArray *exp_train_section(exp_reader *r, GError **error)
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
GPtrArray *exp_variant_options(const exp_reader *r, const char *key, GError **error)
{
    g_autoptr(GPtrArray) set = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) items = exp_get_list(r, key);
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
static bool set_options(const exp_reader *r, tr_options *options, const exp_run *run,
                        guint n_section, GError **error)
{
    for (guint i = 0; i < run->set->len; i++) {
        const char *text = run->set->pdata[i], *equals = strchr(text, '=');
        g_autofree char *name = g_strndup(text, (gsize)(equals - text));
        GError *bad = NULL;
        if (exp_known(exp_command_options, name))
            continue;
        if (i < n_section && !table_has(name) && !method_has(run->method, name))
            continue;
        if (tr_options_set(options, name, equals + 1, &bad))
            continue;
        exp_fail(r, i < n_section ? "train" : r->group, i < n_section ? name : run->variant,
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
    g_string_append_printf(name, "%s-%s", run->method->name, exp_loss_name(run->loss));
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
static bool settle(exp_reader *r, exp_run *run, guint n_section, GError **error)
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
        exp_fail(r, "train", run->method->name, NULL, error, bad->message);
        g_error_free(bad);
        return false;
    }
    ssl_plan plan = {0};
    if (!tr_options_plan(&options, &plan, &bad)) {
        exp_fail(r, "train", run->method->name, NULL, error, bad->message);
        g_error_free(bad);
        return false;
    }
    if (plan.pool == SSL_POOL_ALL)
        run->budget = 0;
    g_autofree char *pool = g_key_file_get_string(r->e->keys, exp_main_group, "label-pool", NULL);
    options.labelled_cases = run->budget;
    if (run->budget > 0)
        options.label_seed = (int64_t)run->seed;
    if (pool && plan.pool != SSL_POOL_ALL && !tr_options_set(&options, "label-pool", pool, &bad)) {
        exp_fail(r, exp_main_group, "label-pool", pool, error, bad->message);
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
static int add_run(exp_reader *r, const exp_arm *a, int budget, uint64_t seed, const char *variant,
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
        exp_run_free(run);
        return -1;
    }
    guint there = GPOINTER_TO_UINT(g_hash_table_lookup(r->by_text, run->train_text));
    if (there > 0) {
        exp_run_free(run);
        return (int)there - 1;
    }
    g_ptr_array_add(r->e->runs, run);
    g_hash_table_insert(r->by_text, run->train_text, GUINT_TO_POINTER(r->e->runs->len));
    return (int)r->e->runs->len - 1;
}

bool exp_add_row(exp_reader *r, exp_table *table, const exp_arm *a, char *label, int base,
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

char *exp_arm_label(const exp_arm *a)
{
    return g_strconcat(a->method->name, a->loss == TR_LOSS_METASSL ? " + MetaSSL" : "", NULL);
}
