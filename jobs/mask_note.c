/* See sidecar.h. */
#include "jobs/mask_note.h"

#include "base/file.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>

#include <string.h>

static int64_t file_bytes(const char *path)
{
    GStatBuf st;
    return path && g_stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static void add_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

static void add_double(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_double_value(b, value);
}

static void add_string(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

bool job_mask_note_write(const char *path, const job_mask_note *note, GError **error)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autofree char *classes = qs_classes_to_text(note->classes);
    json_builder_begin_object(b);
    add_string(b, "key", note->key);
    add_string(b, "slide", note->slide);
    add_string(b, "model", note->model);
    add_string(b, "colour", note->colour ? note->colour : "");
    add_string(b, "classes", classes);
    add_int(b, "mask_bytes", file_bytes(note->mask));
    add_int(b, "prob_bytes", file_bytes(note->prob));
    add_int(b, "factor", note->grid.factor);
    add_int(b, "width", note->grid.w);
    add_int(b, "height", note->grid.h);
    add_double(b, "mpp", note->grid.mpp);
    add_int(b, "window", note->options->window_px);
    add_int(b, "stride", note->options->stride_px);
    add_string(b, "blend", inf_blend_name(note->options->blend));
    add_int(b, "windows", note->report.n_windows);
    add_int(b, "windows_run", note->report.n_run);
    add_double(b, "seconds", note->seconds);
    add_double(b, "read_seconds", note->report.read_s);
    add_double(b, "network_seconds", note->report.net_s);
    add_double(b, "blend_seconds", note->report.blend_s);
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    g_autofree char *text = json_to_string(root, TRUE);
    return qs_file_replace(path, text, strlen(text), error);
}

/* The note's object, valid as long as the parser; NULL when there is no readable note. */
static JsonObject *load(JsonParser *parser, const char *path)
{
    if (!json_parser_load_from_file(parser, path, NULL))
        return NULL;
    JsonNode *root = json_parser_get_root(parser);
    return root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
}

bool job_mask_note_matches(const char *path, const char *key, const char *mask, const char *prob)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *note = load(parser, path);
    if (!note || g_strcmp0(json_object_get_string_member_with_default(note, "key", ""), key))
        return false;
    int64_t mask_bytes = file_bytes(mask), prob_bytes = file_bytes(prob);
    return mask_bytes > 0 &&
           mask_bytes == json_object_get_int_member_with_default(note, "mask_bytes", -1) &&
           (!prob || (prob_bytes > 0 && prob_bytes == json_object_get_int_member_with_default(
                                                          note, "prob_bytes", -1)));
}

bool job_mask_note_classes(const char *path, qs_classes *classes)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *note = load(parser, path);
    const char *text =
        note ? json_object_get_string_member_with_default(note, "classes", NULL) : NULL;
    return text && qs_classes_from_text(classes, text, NULL);
}
