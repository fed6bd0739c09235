/* See describe.h. */
#include "view/describe.h"

#include "view/plane.h"

#include <glib/gstdio.h>

/* Changes when the file does: in addresses of tiles, so that the browser never shows old ones. */
static void add_version(JsonBuilder *b, const char *path)
{
    GStatBuf st;
    guint64 mix = 0;
    if (g_stat(path, &st) == 0)
        mix =
            ((guint64)st.st_mtime * 1000003U) ^ ((guint64)st.st_size * 8191U) ^ (guint64)st.st_ino;
    g_autofree char *text = g_strdup_printf("%" G_GINT64_MODIFIER "x", mix);
    vw_json_string(b, "version", text);
}

GBytes *vw_describe_shown(const vw_shown *shown, bool annotates)
{
    JsonBuilder *b = json_builder_new();
    json_builder_begin_object(b);
    vw_json_bool(b, "annotates", annotates);
    vw_json_array(b, "classes");
    for (int k = 0; k < shown->classes.n; k++) {
        const uint8_t *rgb = shown->classes.items[k].rgb;
        json_builder_begin_object(b);
        vw_json_string(b, "name", shown->classes.items[k].name);
        vw_json_array(b, "rgb");
        for (int c = 0; c < 3; c++)
            json_builder_add_int_value(b, rgb[c]);
        json_builder_end_array(b);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    vw_json_array(b, "models");
    for (guint m = 0; m < shown->models->len; m++) {
        json_builder_begin_object(b);
        vw_json_string(b, "name", vw_shown_model(shown, m)->name);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    vw_json_array(b, "runs");
    for (guint i = 0; i < shown->runs->len; i++) {
        json_builder_begin_object(b);
        vw_json_string(b, "name", vw_shown_run(shown, i)->name);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    vw_json_array(b, "slides");
    for (guint i = 0; i < shown->slides->len; i++) {
        const vw_slide *s = vw_shown_slide(shown, i);
        json_builder_begin_object(b);
        vw_json_string(b, "name", s->name);
        vw_json_string(b, "case", s->case_id);
        vw_json_string(b, "split", s->split);
        vw_json_bool(b, "labelled", s->labelled);
        vw_json_bool(b, "truth", s->truth || s->annot);
        add_version(b, s->path);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
    return vw_json_bytes(b);
}

static void add_levels(JsonBuilder *b, const vw_open *open)
{
    vw_json_array(b, "levels");
    for (int i = 0; i < open->n_levels; i++) {
        const vw_level *at = &open->levels[i];
        json_builder_begin_object(b);
        vw_json_double(b, "downsample", at->downsample);
        vw_json_int(b, "w", at->w);
        vw_json_int(b, "h", at->h);
        vw_json_int(b, "tile_w", at->tile_w);
        vw_json_int(b, "tile_h", at->tile_h);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

GBytes *vw_describe_slide(vw_open *open)
{
    const wsi_slide_info *info = wsi_slide_get_info(open->slide);
    JsonBuilder *b = json_builder_new();
    json_builder_begin_object(b);
    vw_json_string(b, "name", open->row->name);
    vw_json_int(b, "w", open->w);
    vw_json_int(b, "h", open->h);
    vw_json_double(b, "mpp", info->mpp);
    vw_json_string(b, "format", info->vendor);
    add_version(b, open->row->path);
    add_levels(b, open);
    vw_json_int(b, "plane_levels", open->n_plane_levels);
    vw_json_int(b, "plane_px", VW_TILE_PX);
    vw_json_array(b, "planes");
    for (int p = 0; p < VW_PLANES; p++)
        for (int m = 0; m < VW_MODELS_MAX; m++) {
            if (!vw_open_has(open, (vw_plane)p, m))
                continue;
            json_builder_begin_object(b);
            vw_json_string(b, "kind", vw_plane_name((vw_plane)p));
            vw_json_int(b, "model", m);
            json_builder_end_object(b);
        }
    json_builder_end_array(b);
    json_builder_end_object(b);
    return vw_json_bytes(b);
}

static void add_cell(JsonBuilder *b, const db_patch *cell)
{
    vw_json_string(b, "reason", cell->kept ? "kept" : cell->reason);
    vw_json_double(b, "share", (double)cell->tissue);
    vw_json_double(b, "white", (double)cell->white);
    vw_json_double(b, "dark", (double)cell->dark);
    vw_json_double(b, "blur", (double)cell->blur);
    vw_json_double(b, "pen", (double)cell->pen);
}

/* One layer at a place: its byte, or why it has none. */
static void add_value(JsonBuilder *b, vw_open *open, vw_plane plane, int m, int64_t x, int64_t y)
{
    uint8_t value = 255;
    GError *error = NULL;
    json_builder_begin_object(b);
    vw_json_string(b, "kind", vw_plane_name(plane));
    vw_json_int(b, "model", m);
    if (plane == VW_PLANE_CELLS) {
        vw_layer *layer = vw_open_layer(open, plane, m, &error);
        const db_patch *cell = layer ? vw_cell_at(layer->cells, (double)x, (double)y) : NULL;
        if (cell)
            add_cell(b, cell);
    } else if (vw_plane_read(open, plane, m, 0, x, y, 1, 1, &value, &error)) {
        vw_json_int(b, "value", value);
    }
    if (error)
        vw_json_string(b, "error", error->message);
    g_clear_error(&error);
    json_builder_end_object(b);
}

GBytes *vw_describe_place(vw_open *open, int64_t x_l0, int64_t y_l0)
{
    JsonBuilder *b = json_builder_new();
    json_builder_begin_object(b);
    vw_json_int(b, "x", x_l0);
    vw_json_int(b, "y", y_l0);
    vw_json_array(b, "values");
    for (int p = 0; p < VW_PLANES; p++)
        for (int m = 0; m < VW_MODELS_MAX; m++)
            if (vw_open_has(open, (vw_plane)p, m) && x_l0 < open->w && y_l0 < open->h)
                add_value(b, open, (vw_plane)p, m, x_l0, y_l0);
    json_builder_end_array(b);
    json_builder_end_object(b);
    return vw_json_bytes(b);
}
