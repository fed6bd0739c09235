/* Values of an experiment's key file: text to numbers, lists, paths, methods and losses. */
#include "experiment/read.h"

#include "base/error.h"

#include <string.h>

const char exp_main_group[] = "experiment";

/* ---- values --------------------------------------------------------------------------------- */

bool exp_fail(const exp_reader *r, const char *group, const char *key, const char *value,
              GError **error, const char *way_out)
{
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: [%s] %s%s%s: %s", r->e->file, group, key,
                value ? "=" : "", value ? value : "", way_out);
    return false;
}

char *exp_get(const exp_reader *r, const char *key)
{
    char *text = g_key_file_get_string(r->e->keys, r->group, key, NULL);
    return text ? g_strstrip(text) : NULL;
}

/* The items of a list, stripped, empty ones left out; NULL when the key is not there. */
GStrv exp_get_list(const exp_reader *r, const char *key)
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

bool exp_get_count(const exp_reader *r, const char *key, int override, int *value, GError **error)
{
    g_autofree char *text = exp_get(r, key);
    gint64 number = *value;
    if (text && !g_ascii_string_to_signed(text, 10, 1, 1024, &number, NULL))
        return exp_fail(r, r->group, key, text, error, "a whole number from 1 to 1024 is wanted");
    *value = override > 0 ? override : (int)number;
    return true;
}

bool exp_known(const char *const *names, const char *name)
{
    return g_strv_contains(names, name);
}

/* Paths of the file are relative to its folder, those of the command line to where it was typed. */
char *exp_get_path(const exp_reader *r, const char *key, const char *override)
{
    if (override)
        return g_strdup(override);
    g_autofree char *text = exp_get(r, key);
    if (!text || !*text)
        return NULL;
    if (g_path_is_absolute(text))
        return g_strdup(text);
    g_autofree char *folder = g_path_get_dirname(r->e->file);
    return !strcmp(folder, ".") ? g_strdup(text) : g_build_filename(folder, text, NULL);
}

bool exp_get_budgets(const exp_reader *r, GArray *budgets, GError **error)
{
    g_auto(GStrv) items = exp_get_list(r, "budgets");
    for (int i = 0; items && items[i]; i++) {
        gint64 number = 0;
        if (strcmp(items[i], "all") != 0 &&
            !g_ascii_string_to_signed(items[i], 10, 1, 1000000, &number, NULL))
            return exp_fail(r, r->group, "budgets", items[i], error,
                            "a number of labelled cases is wanted, or all");
        int budget = (int)number;
        g_array_append_val(budgets, budget);
    }
    return true;
}

bool exp_get_seeds(const exp_reader *r, GArray *seeds, GError **error)
{
    g_auto(GStrv) items = exp_get_list(r, "seeds");
    for (int i = 0; items && items[i]; i++) {
        guint64 seed;
        if (!g_ascii_string_to_unsigned(items[i], 10, 0, G_MAXINT64, &seed, NULL))
            return exp_fail(r, r->group, "seeds", items[i], error, "whole numbers are wanted");
        g_array_append_val(seeds, seed);
    }
    return true;
}

bool exp_get_steps(const exp_reader *r, GArray *steps, GError **error)
{
    g_auto(GStrv) items = exp_get_list(r, "steps");
    for (int i = 0; items && items[i]; i++) {
        gint64 step;
        if (!g_ascii_string_to_signed(items[i], 10, 0, G_MAXINT64, &step, NULL))
            return exp_fail(r, r->group, "steps", items[i], error,
                            "iterations are wanted: whole numbers");
        g_array_append_val(steps, step);
    }
    return true;
}

/* ---- methods and losses --------------------------------------------------------------------- */

static bool parse_loss(const exp_reader *r, const char *text, tr_loss *loss, GError **error)
{
    if (!strcmp(text, "plain"))
        *loss = TR_LOSS_PLAIN;
    else if (!strcmp(text, "metassl"))
        *loss = TR_LOSS_METASSL;
    else
        return exp_fail(r, r->group, "losses", text, error, "plain or metassl is wanted");
    return true;
}

static bool get_losses(const exp_reader *r, const char *fallback, GArray *losses, GError **error)
{
    g_auto(GStrv) items = exp_get_list(r, "losses");
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
GArray *exp_get_arms(const exp_reader *r, const char *default_losses, GError **error)
{
    g_autoptr(GArray) losses = g_array_new(FALSE, FALSE, sizeof(tr_loss));
    g_autoptr(GArray) arms = g_array_new(FALSE, FALSE, sizeof(exp_arm));
    if (!get_losses(r, default_losses, losses, error))
        return NULL;
    g_auto(GStrv) items = exp_get_list(r, "methods");
    for (int i = 0; items && items[i]; i++) {
        g_auto(GStrv) parts = g_strsplit(items[i], "/", 2);
        GError *unknown = NULL;
        exp_arm a = {.method = ssl_method_find(g_strstrip(parts[0]), &unknown)};
        if (!a.method) {
            exp_fail(r, r->group, "methods", items[i], error, unknown->message);
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

const char *exp_loss_name(tr_loss loss)
{
    return loss == TR_LOSS_METASSL ? "metassl" : "plain";
}
