#include "wsi/annot/label_map.h"

#include "base/error.h"

#include <string.h>

typedef struct {
    char *name; /* case-folded; NULL is the wildcard */
    int label;
} entry;

struct wsi_label_map {
    GArray *entries; /* of entry */
    bool ordered;
};

static void clear_entry(gpointer p)
{
    g_free(((entry *)p)->name);
}

static wsi_label_map *new_map(void)
{
    wsi_label_map *map = g_new0(wsi_label_map, 1);
    map->entries = g_array_new(FALSE, TRUE, sizeof(entry));
    g_array_set_clear_func(map->entries, clear_entry);
    return map;
}

static int class_by_name(const qs_classes *classes, const char *name)
{
    g_autofree char *wanted = g_utf8_casefold(name, -1);
    for (int i = 0; i < classes->n; i++) {
        g_autofree char *have = g_utf8_casefold(classes->items[i].name, -1);
        if (!strcmp(wanted, have))
            return i;
    }
    return WSI_LABEL_UNKNOWN;
}

static int parse_value(const char *text, const qs_classes *classes)
{
    if (!g_ascii_strcasecmp(text, "ignore"))
        return QS_CLASS_IGNORE;
    if (!g_ascii_strcasecmp(text, "skip"))
        return WSI_LABEL_SKIP;
    int by_name = class_by_name(classes, text);
    if (by_name >= 0)
        return by_name;
    guint64 number;
    if (!g_ascii_string_to_unsigned(text, 10, 0, QS_CLASS_IGNORE, &number, NULL))
        return !g_ascii_strcasecmp(text, "background") ? 0 : WSI_LABEL_UNKNOWN;
    return number < (guint64)classes->n || number == QS_CLASS_IGNORE ? (int)number
                                                                     : WSI_LABEL_UNKNOWN;
}

static bool fail(const char *text, const char *part, const char *why, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "label map \"%s\": \"%s\" %s; write it as Tumor=1,Stroma=2,*=ignore", text, part,
                why);
    return false;
}

/* One NAME=VALUE, `p` to `end`, backslashes still in it. */
static bool add_entry(wsi_label_map *map, const char *text, const char *p, const char *end,
                      const qs_classes *classes, GError **error)
{
    g_autofree char *part = g_strndup(p, (gsize)(end - p));
    g_autoptr(GString) name = g_string_new(NULL);
    bool escaped = false;
    for (; p < end && *p != '='; p++) {
        if (*p == '\\' && p + 1 < end) {
            escaped = true;
            p++;
        }
        g_string_append_c(name, *p);
    }
    if (p == end)
        return fail(text, part, "has no \"=\"", error);
    g_autofree char *value = g_strstrip(g_strndup(p + 1, (gsize)(end - p - 1)));
    g_strstrip(name->str);
    entry e = {.label = parse_value(value, classes)};
    if (e.label == WSI_LABEL_UNKNOWN) {
        g_autofree char *known = qs_classes_to_text(classes);
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "label map \"%s\": \"%s\" is no class of the table (%s); a value is one of its numbers "
            "or names, ignore, or skip",
            text, value, known);
        return false;
    }
    e.name = !escaped && !strcmp(name->str, "*") ? NULL : g_utf8_casefold(name->str, -1);
    for (guint i = 0; i < map->entries->len; i++)
        if (!g_strcmp0(g_array_index(map->entries, entry, i).name, e.name)) {
            g_free(e.name);
            return fail(text, part, "names a label for the second time", error);
        }
    g_array_append_val(map->entries, e);
    return true;
}

wsi_label_map *wsi_label_map_create(const char *text, const qs_classes *classes, GError **error)
{
    wsi_label_map *map = new_map();
    if (!text) {
        for (int i = 0; i < classes->n; i++) {
            entry e = {g_utf8_casefold(classes->items[i].name, -1), i};
            g_array_append_val(map->entries, e);
        }
        return map;
    }
    bool ok = g_utf8_validate(text, -1, NULL) || fail("?", "?", "is not UTF-8", error);
    for (const char *p = text; ok && *p;) {
        const char *end = p;
        while (*end && *end != ',')
            end += *end == '\\' && end[1] ? 2 : 1;
        ok = add_entry(map, text, p, end, classes, error);
        p = *end ? end + 1 : end;
    }
    if (ok && map->entries->len == 0)
        ok = fail(text, "", "has no entry", error);
    if (!ok)
        g_clear_pointer(&map, wsi_label_map_destroy);
    return map;
}

void wsi_label_map_destroy(wsi_label_map *map)
{
    if (!map)
        return;
    g_array_unref(map->entries);
    g_free(map);
}

int wsi_label_map_find(const wsi_label_map *map, const char *name, int *rank)
{
    g_autofree char *wanted = g_utf8_casefold(name, -1);
    g_strstrip(wanted);
    int wildcard = -1;
    for (guint i = 0; i < map->entries->len; i++) {
        const entry *e = &g_array_index(map->entries, entry, i);
        if (!e->name) {
            wildcard = (int)i;
        } else if (!strcmp(e->name, wanted)) {
            *rank = (int)i;
            return e->label;
        }
    }
    *rank = wildcard;
    return wildcard < 0 ? WSI_LABEL_UNKNOWN : g_array_index(map->entries, entry, wildcard).label;
}

void wsi_label_map_set_ordered(wsi_label_map *map, bool ordered)
{
    map->ordered = ordered;
}

bool wsi_label_map_is_ordered(const wsi_label_map *map)
{
    return map->ordered;
}
