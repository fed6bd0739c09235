/* --config: a key file whose sections are commands and whose keys are their options.
 *
 * Keys become "--key=value" placed before the user's own arguments: GOption lets the last one win,
 * so the command line does. Booleans are written true or false; a list option is a key with
 * values separated by `;`. */
#include "cli/cli_priv.h"

#include <string.h>

static const GOptionEntry *find_entry(const GOptionEntry *entries, const char *key)
{
    for (const GOptionEntry *e = entries; e && e->long_name; e++)
        if (!strcmp(e->long_name, key))
            return e;
    return NULL;
}

static bool is_flag(const GOptionEntry *entry)
{
    return entry->arg == G_OPTION_ARG_NONE ||
           (entry->arg == G_OPTION_ARG_CALLBACK && (entry->flags & G_OPTION_FLAG_NO_ARG));
}

static bool add_key(GKeyFile *file, const char *path, const char *section, const char *key,
                    const GOptionEntry *entries, GPtrArray *out, GError **error)
{
    const GOptionEntry *entry = find_entry(entries, key);
    if (!entry) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: [%s] %s: there is no such option; `quadslide %s --help` lists them", path,
                    section, key, section);
        return false;
    }
    if (is_flag(entry)) {
        GError *bad = NULL;
        gboolean on = g_key_file_get_boolean(file, section, key, &bad);
        if (bad) {
            g_error_free(bad);
            g_autofree char *text = g_key_file_get_value(file, section, key, NULL);
            g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: [%s] %s=%s: write true or false", path,
                        section, key, text);
            return false;
        }
        if (on)
            g_ptr_array_add(out, g_strdup_printf("--%s", key));
        return true;
    }
    if (entry->arg == G_OPTION_ARG_STRING_ARRAY || entry->arg == G_OPTION_ARG_FILENAME_ARRAY) {
        g_auto(GStrv) values = g_key_file_get_string_list(file, section, key, NULL, NULL);
        for (int i = 0; values && values[i]; i++)
            g_ptr_array_add(out, g_strdup_printf("--%s=%s", key, values[i]));
        return true;
    }
    g_autofree char *value = g_key_file_get_string(file, section, key, error);
    if (!value) {
        g_prefix_error(error, "%s: [%s] %s: ", path, section, key);
        return false;
    }
    g_ptr_array_add(out, g_strdup_printf("--%s=%s", key, value));
    return true;
}

bool cli_config_merge(const char *path, const char *command, const GOptionEntry *entries, int *argc,
                      char ***argv, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, error)) {
        g_prefix_error(error, "%s: ", path);
        return false;
    }
    GPtrArray *out = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(out, g_strdup((*argv)[0]));
    bool ok = true;
    if (g_key_file_has_group(file, command)) {
        g_auto(GStrv) keys = g_key_file_get_keys(file, command, NULL, NULL);
        for (int i = 0; ok && keys[i]; i++)
            ok = add_key(file, path, command, keys[i], entries, out, error);
    }
    for (int i = 1; ok && i < *argc; i++)
        g_ptr_array_add(out, g_strdup((*argv)[i]));
    if (!ok) {
        g_ptr_array_free(out, TRUE);
        return false;
    }
    *argc = (int)out->len;
    g_ptr_array_add(out, NULL);
    g_strfreev(*argv);
    *argv = (char **)g_ptr_array_free(out, FALSE);
    return true;
}

bool cli_config_check(const char *path, GKeyFile *file, const char *section,
                      const GOptionEntry *entries, GError **error)
{
    g_auto(GStrv) keys = g_key_file_get_keys(file, section, NULL, NULL);
    for (int i = 0; keys && keys[i]; i++) {
        g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(args, g_strdup(section));
        if (!add_key(file, path, section, keys[i], entries, args, error))
            return false;
        g_ptr_array_add(args, NULL);
        g_auto(GStrv) argv = (GStrv)g_ptr_array_free(g_steal_pointer(&args), FALSE);
        g_autoptr(GOptionContext) context = g_option_context_new(NULL);
        g_option_context_add_main_entries(context, entries, NULL);
        GError *bad = NULL;
        if (g_option_context_parse_strv(context, &argv, &bad))
            continue;
        g_autofree char *value = g_key_file_get_value(file, section, keys[i], NULL);
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: [%s] %s=%s: %s", path, section, keys[i],
                    value, bad->message);
        g_error_free(bad);
        return false;
    }
    return true;
}
