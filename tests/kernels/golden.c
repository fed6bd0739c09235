#include "tests/kernels/golden.h"

#include <json-glib/json-glib.h>
#include <math.h>
#include <stdarg.h>

#ifdef GOLDEN_EMBEDDED
extern const char golden_data[]; /* the file, in the selftest's program */
#endif

static JsonParser *parser;
static GPtrArray *kept; /* GArray of double */

static void open_once(void)
{
    if (parser)
        return;
    const char *root = g_getenv("QS_SOURCE_DIR");
    g_autofree char *path =
        g_build_filename(root ? root : ".", "tests", "golden", "metassl_golden.json", NULL);
    g_autoptr(GError) error = NULL;
    parser = json_parser_new();
    kept = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref);
#ifdef GOLDEN_EMBEDDED
    if (!json_parser_load_from_data(parser, golden_data, -1, &error))
#else
    if (!json_parser_load_from_file(parser, path, &error))
#endif
        g_error("%s", error->message);
}

void golden_close(void)
{
    g_clear_object(&parser);
    g_clear_pointer(&kept, g_ptr_array_unref);
}

static JsonObject *find_group(const char *group)
{
    JsonObject *root = json_node_get_object(json_parser_get_root(parser));
    JsonArray *cases = json_object_get_array_member(root, "cases");
    for (guint i = 0; i < json_array_get_length(cases); i++) {
        JsonObject *c = json_array_get_object_element(cases, i);
        if (g_str_has_prefix(json_object_get_string_member(c, "name"), group))
            return c;
    }
    g_error("no golden group %s", group);
}

static JsonNode *find(const char *group, va_list keys)
{
    open_once();
    JsonNode *node = NULL;
    JsonObject *object = find_group(group);
    for (const char *key = va_arg(keys, const char *); key; key = va_arg(keys, const char *)) {
        node = object ? json_object_get_member(object, key) : NULL;
        if (!node)
            g_error("golden group %s has no %s", group, key);
        object = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    }
    return node;
}

static void flatten(JsonNode *node, GArray *out)
{
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        JsonArray *array = json_node_get_array(node);
        for (guint i = 0; i < json_array_get_length(array); i++)
            flatten(json_array_get_element(array, i), out);
        return;
    }
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        JsonObject *object = json_node_get_object(node);
        g_autoptr(GList) members = json_object_get_members(object); /* in the file's order */
        for (GList *m = members; m; m = m->next)
            flatten(json_object_get_member(object, m->data), out);
        return;
    }
    double value = JSON_NODE_HOLDS_NULL(node) ? NAN : json_node_get_double(node);
    g_array_append_val(out, value);
}

const double *golden_numbers(int64_t *n, const char *group, ...)
{
    va_list keys;
    va_start(keys, group);
    JsonNode *node = find(group, keys);
    va_end(keys);
    GArray *out = g_array_new(FALSE, FALSE, sizeof(double));
    flatten(node, out);
    g_ptr_array_add(kept, out);
    if (n)
        *n = out->len;
    return (const double *)(const void *)out->data;
}

char **golden_keys(const char *group, ...)
{
    va_list keys;
    va_start(keys, group);
    JsonNode *node = find(group, keys);
    va_end(keys);
    GStrvBuilder *names = g_strv_builder_new();
    g_autoptr(GList) members = json_object_get_members(json_node_get_object(node));
    for (GList *m = members; m; m = m->next)
        g_strv_builder_add(names, m->data);
    char **out = g_strv_builder_end(names);
    g_strv_builder_unref(names);
    return out;
}
