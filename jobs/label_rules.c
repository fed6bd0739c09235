/* See labels.h. */
#include "jobs/label_rules.h"

#include "base/error.h"

#include <string.h>

/* A line of a key file as an entry of a label map: a comma in a name needs no backslash there. */
static void append_line(GString *map, const char *line)
{
    if (map->len)
        g_string_append_c(map, ',');
    for (const char *p = line; *p; p++) {
        if (*p == '\\' && p[1]) {
            g_string_append_c(map, *p++);
        } else if (*p == ',') {
            g_string_append_c(map, '\\');
        }
        g_string_append_c(map, *p);
    }
}

static char *read_key_file(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    GError *local = NULL;
    if (!g_file_get_contents(path, &text, NULL, &local)) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "label map: %s", local->message);
        g_error_free(local);
        return NULL;
    }
    const char *from = g_str_has_prefix(text, "\xef\xbb\xbf") ? text + 3 : text;
    g_auto(GStrv) lines = g_strsplit(from, "\n", -1);
    GString *map = g_string_new(NULL);
    for (int i = 0; lines[i]; i++) {
        const char *line = g_strstrip(lines[i]);
        if (*line && *line != '#')
            append_line(map, line);
    }
    return g_string_free(map, FALSE);
}

static bool check_map(const job_labels *labels, const char *option, const qs_classes *classes,
                      GError **error)
{
    wsi_label_map *map = wsi_label_map_create(labels->map, classes, error);
    if (!map)
        g_prefix_error(error, "--label-map %s: ", option ? option : "");
    wsi_label_map_destroy(map);
    return map != NULL;
}

bool job_labels_init(job_labels *labels, const char *map, const char *order, bool bounds_relative,
                     const qs_classes *classes, GError **error)
{
    *labels = (job_labels){.bounds_relative = bounds_relative};
    bool ok = true;
    if (order && strcmp(order, "file") != 0 && strcmp(order, "map") != 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--label-order %s: file or map is wanted",
                    order);
        ok = false;
    }
    labels->map_order = order && !strcmp(order, "map");
    if (ok && map && g_file_test(map, G_FILE_TEST_IS_REGULAR))
        ok = (labels->map = read_key_file(map, error)) != NULL;
    else
        labels->map = g_strdup(map);
    ok = ok && (!classes || check_map(labels, map, classes, error));
    if (!ok)
        job_labels_clear(labels);
    return ok;
}

bool job_labels_set_255(job_labels *labels, bool binary, bool ignore, GError **error)
{
    labels->value_255 = binary ? WSI_255_BINARY : ignore ? WSI_255_IGNORE : WSI_255_AUTO;
    if (binary && ignore)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "--binary-255 and --ignore-255 say opposite things");
    return !(binary && ignore);
}

void job_labels_clear(job_labels *labels)
{
    g_clear_pointer(&labels->map, g_free);
    *labels = (job_labels){0};
}

wsi_mask *job_mask_open(const char *path, const wsi_slide *slide, const qs_classes *classes,
                        const job_labels *labels, GError **error)
{
    static const job_labels none = {0};
    const job_labels *l = labels ? labels : &none;
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    const char *text = l->map && *l->map ? l->map : NULL;
    wsi_label_map *map = wsi_label_map_create(text, classes, error);
    if (!map)
        return NULL;
    wsi_label_map_set_ordered(map, l->map_order);
    wsi_mask_options options = {.labels = map, .value_255 = l->value_255};
    if (l->bounds_relative) {
        options.x_l0 = (double)info->bounds_x;
        options.y_l0 = (double)info->bounds_y;
    }
    wsi_mask *mask =
        wsi_mask_open_with(path, info->levels[0].w, info->levels[0].h, classes, &options, error);
    wsi_label_map_destroy(map);
    return mask;
}

wsi_mask *job_mask_open_stored(const char *path, const wsi_slide *slide,
                               const db_store_config *config, GError **error)
{
    const job_labels labels = {config->label_map, config->label_order_map, config->bounds_relative,
                               (wsi_mask_255)config->value_255};
    return job_mask_open(path, slide, &config->classes, &labels, error);
}
