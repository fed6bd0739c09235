/* What a run asks of `quadslide train`: as arguments, for this machine's runs and for another's. */
#include "experiment/experiment.h"

#include "base/error.h"

#include <string.h>

/* A flag of `train` is given or not; everything else has a value. */
static bool is_flag(const char *name)
{
    size_t n;
    const tr_option *table = tr_option_table(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(table[i].name, name))
            return table[i].kind == TR_BOOL;
    return false;
}

static bool method_takes(const ssl_method *method, const char *name)
{
    size_t n;
    const tr_option *table = tr_option_table(&n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(table[i].name, name))
            return true;
    for (int i = 0; i < ssl_method_n_options(method); i++)
        if (!strcmp(method->options[i].name, name))
            return true;
    return !strncmp(name, "val-", 4);
}

static void add_set(GPtrArray *args, const exp_run *run)
{
    for (guint i = 0; i < run->set->len; i++) {
        const char *text = run->set->pdata[i], *equals = strchr(text, '=');
        g_autofree char *name = g_strndup(text, (gsize)(equals - text));
        if (!method_takes(run->method, name))
            continue;
        if (!is_flag(name))
            g_ptr_array_add(args, g_strdup_printf("--%s=%s", name, equals + 1));
        else if (!strcmp(equals + 1, "true"))
            g_ptr_array_add(args, g_strdup_printf("--%s", name));
    }
}

GPtrArray *exp_train_arguments(const experiment *e, const exp_run *run)
{
    GPtrArray *args = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *pool = g_key_file_get_string(e->keys, "experiment", "label-pool", NULL);
    bool meta = run->loss == TR_LOSS_METASSL;
    g_ptr_array_add(args, g_strdup_printf("--method=%s", run->method->name));
    g_ptr_array_add(args, g_strdup_printf("--loss=%s", meta ? "metassl" : "plain"));
    g_ptr_array_add(args, g_strdup_printf("--seed=%" G_GUINT64_FORMAT, run->seed));
    add_set(args, run);
    if (run->budget > 0) {
        g_ptr_array_add(args, g_strdup_printf("--labelled-cases=%d", run->budget));
        g_ptr_array_add(args, g_strdup_printf("--label-seed=%" G_GUINT64_FORMAT, run->seed));
    }
    if (pool && strstr(run->train_text, "label-pool=masked"))
        g_ptr_array_add(args, g_strdup_printf("--label-pool=%s", pool));
    return args;
}

char *exp_commands(experiment *e, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < e->runs->len; i++) {
        exp_run *run = e->runs->pdata[i];
        int64_t iteration;
        if (run->state == EXP_DONE)
            continue;
        if (!exp_claim_dir(e, run, error))
            return NULL;
        if (exp_is_trained(run, &iteration))
            continue;
        g_autoptr(GPtrArray) args = exp_train_arguments(e, run);
        g_autofree char *name = g_path_get_basename(run->dir);
        g_string_append(text, name);
        for (guint k = 0; k < args->len; k++)
            g_string_append_printf(text, "\t%s", (const char *)args->pdata[k]);
        g_string_append_c(text, '\n');
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}
