/* See open.h. Levels are those of the file, with reductions by 2 put between ones that are more
 * than STEP_MAX apart and above the last, until the whole slide is a tile. */
#include "view/open.h"

#include "base/error.h"

#include <glib/gstdio.h>

#include <math.h>
#include <string.h>

static const double STEP_MAX = 2.5;
#define GREY_BYTES ((int64_t)26 << 20) /* a window of wsi_grey and its handles */

static void add_level(vw_open *open, double downsample, const wsi_level *native)
{
    vw_level *at = &open->levels[open->n_levels++];
    *at = (vw_level){.downsample = downsample,
                     .w = native ? native->w : MAX(1, (int64_t)((double)open->w / downsample)),
                     .h = native ? native->h : MAX(1, (int64_t)((double)open->h / downsample)),
                     .tile_w = native && native->tile_w ? native->tile_w : VW_TILE_PX,
                     .tile_h = native && native->tile_h ? native->tile_h : VW_TILE_PX};
}

static void plan_levels(vw_open *open)
{
    const wsi_slide_info *info = wsi_slide_get_info(open->slide);
    open->w = info->levels[0].w;
    open->h = info->levels[0].h;
    double last = 1;
    for (int i = 0; i < info->n_levels; i++) {
        const wsi_level *native = &info->levels[i];
        if (i > 0 && native->downsample <= last * 1.01)
            continue;
        while (native->downsample / last > STEP_MAX && open->n_levels < VW_LEVELS_MAX / 2)
            add_level(open, last *= 2, NULL);
        add_level(open, last = native->downsample, native);
    }
    double side = (double)MAX(open->w, open->h);
    while (side / last > VW_TILE_PX && open->n_levels < VW_LEVELS_MAX)
        add_level(open, last *= 2, NULL);
    open->n_plane_levels = 1;
    while (ldexp(1, open->n_plane_levels - 1) * VW_TILE_PX < side)
        open->n_plane_levels++;
}

static bool is_there(const char *path)
{
    return path && g_file_test(path, G_FILE_TEST_EXISTS);
}

bool vw_open_has(const vw_open *open, vw_plane plane, int model)
{
    const vw_shown *shown = open->shown;
    const vw_model *m = vw_shown_model(shown, (guint)model);
    bool has_truth = open->row->truth || open->row->annot;
    g_autofree char *unc = m ? vw_shown_map_path(m, "unc", open->row) : NULL;
    g_autofree char *prob = m ? vw_shown_map_path(m, "prob", open->row) : NULL;
    switch (plane) {
    case VW_PLANE_LABEL:
        return m != NULL;
    case VW_PLANE_PROB:
        return is_there(prob);
    case VW_PLANE_UNC:
        return is_there(unc);
    case VW_PLANE_ERROR:
        return m != NULL && has_truth;
    case VW_PLANE_DIFF:
        return m != NULL && model > 0;
    case VW_PLANE_TRUTH:
        return model == 0 && has_truth;
    case VW_PLANE_ANNOT:
        return model == 0 && open->row->annot && open->row->truth;
    case VW_PLANE_TISSUE:
        return model == 0 && shown->open_tissue;
    case VW_PLANE_CELLS:
        return model == 0 && shown->store;
    case VW_PLANES:
    default:
        return false;
    }
}

/* ---- layers ---------------------------------------------------------------------------------- */
static bool open_mask(vw_open *open, const char *path, vw_labels *labels, GError **error)
{
    wsi_mask *mask = open->shown->open_mask(open->shown->user, path, open->slide, error);
    if (mask)
        vw_labels_init(labels, NULL, mask, open->slide);
    return mask != NULL;
}

static bool open_prediction(vw_open *open, const vw_model *model, vw_labels *labels, GError **error)
{
    g_autofree char *path = vw_shown_mask_path(model, open->row);
    GError *why = NULL;
    wsi_grey *grey = wsi_grey_open(path, open->w, open->h, &why);
    if (grey) {
        vw_labels_init(labels, grey, NULL, open->slide);
        return true;
    }
    if (g_error_matches(why, QS_ERROR, QS_ERROR_UNSUPPORTED)) {
        g_error_free(why);
        return open_mask(open, path, labels, error);
    }
    g_propagate_error(error, why);
    return false;
}

static bool open_map(vw_open *open, const vw_model *model, const char *what, wsi_grey **map,
                     GError **error)
{
    g_autofree char *path = vw_shown_map_path(model, what, open->row);
    *map = wsi_grey_open(path, open->w, open->h, error);
    return *map != NULL;
}

static int by_path(GArray *slides, const char *path)
{
    g_autofree char *wanted = g_canonicalize_filename(path, NULL);
    for (guint i = 0; i < slides->len; i++) {
        g_autofree char *had =
            g_canonicalize_filename(g_array_index(slides, db_slide, i).path, NULL);
        if (!strcmp(had, wanted))
            return (int)i;
    }
    return -1;
}

static bool open_cells(vw_open *open, GArray **cells, GError **error)
{
    g_autoptr(GArray) slides = db_slide_list(open->shown->store, error);
    if (!slides)
        return false;
    int at = by_path(slides, open->row->path);
    if (at < 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: the store %s has no patches of this slide",
                    open->row->path, db_store_get_dir(open->shown->store));
        return false;
    }
    *cells =
        db_patch_list(open->shown->store, g_array_index(slides, db_slide, at).id, false, error);
    return *cells != NULL;
}

/* The blocks of a comparison: both sides are layers of their own. */
static bool open_blocks(vw_open *open, vw_plane plane, int model, vw_blocks *blocks, GError **error)
{
    vw_layer *pred = vw_open_layer(open, VW_PLANE_LABEL, model, error);
    vw_layer *other =
        pred ? vw_open_layer(open, plane == VW_PLANE_DIFF ? VW_PLANE_LABEL : VW_PLANE_TRUTH, 0,
                             error)
             : NULL;
    return other && vw_blocks_make(blocks, &pred->labels, &other->labels, error);
}

static bool open_layer(vw_open *open, vw_plane plane, int model, vw_layer *layer, GError **error)
{
    const vw_model *m = vw_shown_model(open->shown, (guint)model);
    switch (plane) {
    case VW_PLANE_LABEL:
        return open_prediction(open, m, &layer->labels, error);
    case VW_PLANE_PROB:
        return open_map(open, m, "prob", &layer->map, error);
    case VW_PLANE_UNC:
        return open_map(open, m, "unc", &layer->map, error);
    case VW_PLANE_TRUTH:
        return open_mask(open, open->row->truth ? open->row->truth : open->row->annot,
                         &layer->labels, error);
    case VW_PLANE_ANNOT:
        return open_mask(open, open->row->annot, &layer->labels, error);
    case VW_PLANE_TISSUE:
        layer->tissue =
            open->shown->open_tissue(open->shown->user, open->row->tissue, open->slide, error);
        return layer->tissue != NULL;
    case VW_PLANE_CELLS:
        return open_cells(open, &layer->cells, error);
    case VW_PLANE_ERROR:
    case VW_PLANE_DIFF:
        return open_blocks(open, plane, model, &layer->blocks, error);
    case VW_PLANES:
    default:
        return false;
    }
}

void vw_error_copy(const GError *from, GError **error)
{
    if (error)
        *error = g_error_copy(from);
}

void vw_open_fail_absent(const vw_open *open, vw_plane plane, int model, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s has no layer %s %d", open->row->name,
                vw_plane_name(plane), model);
}

vw_layer *vw_open_layer(vw_open *open, vw_plane plane, int model, GError **error)
{
    if (!vw_open_has(open, plane, model)) {
        vw_open_fail_absent(open, plane, model, error);
        return NULL;
    }
    vw_layer *layer = &open->layers[plane][model];
    g_mutex_lock(&layer->lock);
    if (!layer->tried) {
        layer->tried = true;
        if (!open_layer(open, plane, model, layer, &layer->error) && !layer->error)
            layer->error = g_error_new_literal(QS_ERROR, QS_ERROR_INTERNAL, "no reason was given");
    }
    if (layer->error)
        vw_error_copy(layer->error, error);
    bool ok = !layer->error;
    g_mutex_unlock(&layer->lock);
    return ok ? layer : NULL;
}

/* ---- opening --------------------------------------------------------------------------------- */
static int64_t plan_memory(const vw_open *open)
{
    const vw_slide *row = open->row;
    int64_t bytes = wsi_slide_memory(open->slide, open->shown->n_threads);
    for (guint m = 0; m < open->shown->models->len; m++)
        bytes += GREY_BYTES * (vw_open_has(open, VW_PLANE_PROB, (int)m) ? 2 : 1);
    return bytes + wsi_mask_memory(row->truth) + wsi_mask_memory(row->annot);
}

vw_open *vw_open_slide(const vw_shown *shown, guint i, GError **error)
{
    const vw_slide *row = vw_shown_slide(shown, i);
    wsi_slide *slide = wsi_slide_open(row->path, row->mpp, error);
    if (!slide)
        return NULL;
    vw_open *open = g_new0(vw_open, 1);
    open->shown = shown;
    open->row = row;
    open->slide = slide;
    g_mutex_init(&open->overview_lock);
    for (int p = 0; p < VW_PLANES; p++)
        for (int m = 0; m < VW_MODELS_MAX; m++)
            g_mutex_init(&open->layers[p][m].lock);
    plan_levels(open);
    open->memory = plan_memory(open);
    return open;
}

static void layer_clear(vw_layer *layer)
{
    vw_labels_clear(&layer->labels);
    wsi_grey_close(layer->map);
    wsi_tissue_destroy(layer->tissue);
    g_clear_pointer(&layer->cells, g_array_unref);
    vw_blocks_clear(&layer->blocks);
    g_clear_error(&layer->error);
    g_mutex_clear(&layer->lock);
}

void vw_open_close(vw_open *open)
{
    if (!open)
        return;
    for (int p = 0; p < VW_PLANES; p++)
        for (int m = 0; m < VW_MODELS_MAX; m++)
            layer_clear(&open->layers[p][m]);
    wsi_slide_close(open->slide);
    g_mutex_clear(&open->overview_lock);
    g_free(open->overview);
    g_free(open);
}
