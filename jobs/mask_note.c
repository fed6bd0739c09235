/* See sidecar.h. */
#include "jobs/mask_note.h"

#include "base/error.h"
#include "base/file.h"

#include <glib/gstdio.h>
#include <json-glib/json-glib.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* What a slide is without reading it. */
typedef struct {
    char *path; /* owned, without links */
    int64_t n_bytes, time_ns;
} identity;

static bool identify(const char *slide, identity *id, GError **error)
{
    struct stat st;
    char *real = realpath(slide, NULL); /* malloc's */
    if (!real || stat(real, &st) != 0) {
        qs_set_error_errno(error, errno, "%s: cannot be read", slide);
        free(real);
        return false;
    }
    *id = (identity){g_strdup(real), st.st_size,
                     (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    free(real);
    return true;
}

bool job_mask_note_write(const char *path, const job_mask_note *note, GError **error)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autofree char *classes = qs_classes_to_text(note->classes);
    identity id;
    g_autofree char *hash = qs_file_hash(note->slide, error);
    if (!hash || !identify(note->slide, &id, error))
        return false;
    json_builder_begin_object(b);
    add_string(b, "program", QS_FILE_MARK);
    add_string(b, "key", note->key);
    add_string(b, "slide", note->slide);
    add_string(b, "slide_path", id.path);
    add_int(b, "slide_bytes", id.n_bytes);
    add_int(b, "slide_time_ns", id.time_ns);
    add_string(b, "slide_hash", hash);
    g_free(id.path);
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

static const char *text_of(JsonObject *note, const char *name)
{
    return json_object_get_string_member_with_default(note, name, "");
}

/* A note of 0.1.0 has no hash: its key begins with the slide's size and time. */
static bool old_note_is_of(JsonObject *note, const char *slide)
{
    GStatBuf st;
    if (g_stat(slide, &st) != 0)
        return false;
    g_autofree char *said =
        g_strdup_printf("; slide %" G_GINT64_FORMAT " bytes of %" G_GINT64_FORMAT ";",
                        (int64_t)st.st_size, (int64_t)st.st_mtime);
    g_autofree char *there = realpath(text_of(note, "slide"), NULL), *here = realpath(slide, NULL);
    return strstr(text_of(note, "key"), said) && (!there || !g_strcmp0(there, here));
}

static bool is_same_slide(JsonObject *note, const char *slide, GError **error)
{
    const char *hash = text_of(note, "slide_hash");
    if (!*hash)
        return old_note_is_of(note, slide);
    identity id;
    if (!identify(slide, &id, error))
        return false;
    bool same = !strcmp(id.path, text_of(note, "slide_path")) &&
                id.n_bytes == json_object_get_int_member_with_default(note, "slide_bytes", -1) &&
                id.time_ns == json_object_get_int_member_with_default(note, "slide_time_ns", -1);
    g_free(id.path);
    if (same)
        return true;
    g_autofree char *now = qs_file_hash(slide, error);
    return now && !strcmp(now, hash);
}

bool job_mask_note_is_of(const char *path, const char *slide, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *note = load(parser, path);
    GError *local = NULL;
    if (!note || is_same_slide(note, slide, &local))
        return true;
    if (local)
        g_propagate_error(error, local);
    else
        g_set_error(
            error, QS_ERROR, QS_ERROR_MISMATCH,
            "%s: by its note %s the mask there is another slide's, made of %s; name the folder of this "
            "slide's masks",
            slide, path, text_of(note, "slide"));
    return false;
}

bool job_mask_is_of(const char *dir, const job_slide *slide, GError **error)
{
    g_autofree char *note = job_mask_note_path(dir, slide);
    if (g_file_test(note, G_FILE_TEST_EXISTS))
        return job_mask_note_is_of(note, slide->slide, error);
    g_autofree char *prefix = g_strconcat(slide->name, "~", NULL);
    GDir *d = g_dir_open(dir, 0, NULL);
    g_autofree char *other = NULL;
    for (const char *name; d && !other && (name = g_dir_read_name(d));)
        if (g_str_has_prefix(name, prefix) && g_str_has_suffix(name, ".tif"))
            other = g_strdup(name);
    g_clear_pointer(&d, g_dir_close);
    if (other)
        g_set_error(
            error, QS_ERROR, QS_ERROR_MISMATCH,
            "%s: %s holds masks of several slides of that name (%s.tif, %s) without notes that say whose "
            "they are; predict again, or give each slide's mask its own name",
            slide->slide, dir, slide->name, other);
    return !other;
}

bool job_mask_note_classes(const char *path, qs_classes *classes)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *note = load(parser, path);
    const char *text =
        note ? json_object_get_string_member_with_default(note, "classes", NULL) : NULL;
    return text && qs_classes_from_text(classes, text, NULL);
}
