/* See plane.h. */
#include "view/plane.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

/* ---- the patch grid -------------------------------------------------------------------------- */
vw_cell_reason vw_cell_reason_of(const db_patch *cell)
{
    if (cell->kept)
        return VW_CELL_KEPT;
    return !strcmp(cell->reason, "damaged") ? VW_CELL_DAMAGED
           : !strcmp(cell->reason, "blank") ? VW_CELL_BLANK
                                            : VW_CELL_TISSUE;
}

const db_patch *vw_cell_at(const GArray *cells, double x_l0, double y_l0)
{
    const db_patch *found = NULL;
    for (guint i = 0; i < cells->len; i++) {
        const db_patch *c = &g_array_index(cells, db_patch, i);
        bool inside = x_l0 >= (double)c->x_l0 && x_l0 < (double)(c->x_l0 + c->w_l0) &&
                      y_l0 >= (double)c->y_l0 && y_l0 < (double)(c->y_l0 + c->h_l0);
        if (inside && (!found || vw_cell_reason_of(c) >= vw_cell_reason_of(found)))
            found = c;
    }
    return found;
}

/* Pixels whose centres lie in [from, from + n): first and last + 1, in the window. */
static void span(int64_t from, int64_t n, double step, int64_t origin, int limit, int *a, int *b)
{
    *a = (int)CLAMP((int64_t)ceil((double)from / step - 0.5) - origin, 0, limit);
    *b = (int)CLAMP((int64_t)ceil((double)(from + n) / step - 0.5) - origin, 0, limit);
}

/* Kept cells lie over damaged ones, these over blank ones, as in `tile --preview`. */
static void paint_cells(const GArray *cells, double step, int64_t x, int64_t y, int w, int h,
                        uint8_t *dst)
{
    memset(dst, VW_CELL_NONE, (size_t)w * (size_t)h);
    for (int turn = VW_CELL_TISSUE; turn <= VW_CELL_KEPT; turn++)
        for (guint i = 0; i < cells->len; i++) {
            const db_patch *c = &g_array_index(cells, db_patch, i);
            int x0, x1, y0, y1;
            if (vw_cell_reason_of(c) != (vw_cell_reason)turn)
                continue;
            span(c->x_l0, c->w_l0, step, x, w, &x0, &x1);
            span(c->y_l0, c->h_l0, step, y, h, &y0, &y1);
            int64_t across = c->w_l0 ? c->x_l0 / c->w_l0 : 0,
                    down = c->h_l0 ? c->y_l0 / c->h_l0 : 0;
            int value = turn + 8 * (int)((across + down) & 1);
            for (int r = y0; r < y1 && x1 > x0; r++)
                memset(dst + (size_t)r * (size_t)w + x0, value, (size_t)(x1 - x0));
        }
}

static void paint_tissue(const wsi_tissue *t, double step, int64_t x, int64_t y, int w, int h,
                         uint8_t *dst)
{
    for (int r = 0; r < h; r++) {
        int64_t ty = (int64_t)(((double)(y + r) + 0.5) * step / t->downsample_y);
        const uint8_t *row = t->mask + CLAMP(ty, 0, t->h - 1) * t->w;
        for (int i = 0; i < w; i++) {
            int64_t tx = (int64_t)(((double)(x + i) + 0.5) * step / t->downsample_x);
            dst[(size_t)r * (size_t)w + (size_t)i] = row[CLAMP(tx, 0, t->w - 1)];
        }
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */
static bool compare(vw_open *open, vw_plane plane, int model, double step, int64_t x, int64_t y,
                    int w, int h, uint8_t *dst, GError **error)
{
    if (!vw_open_has(open, plane, model)) {
        vw_open_fail_absent(open, plane, model, error);
        return false;
    }
    vw_plane against = plane == VW_PLANE_DIFF ? VW_PLANE_LABEL : VW_PLANE_TRUTH;
    vw_layer *pred = vw_open_layer(open, VW_PLANE_LABEL, model, error);
    vw_layer *other = pred ? vw_open_layer(open, against, 0, error) : NULL;
    if (!other)
        return false;
    vw_layer *summary = NULL;
    if (step > (double)VW_COMPARE_DIRECT * pred->labels.factor) {
        summary = vw_open_layer(open, plane, model, error);
        if (!summary)
            return false;
    }
    return vw_compare_read(&pred->labels, &other->labels, summary ? &summary->blocks : NULL, step,
                           x, y, w, h, dst, (size_t)w, error);
}

bool vw_plane_read(vw_open *open, vw_plane plane, int model, int level, int64_t x, int64_t y, int w,
                   int h, uint8_t *dst, GError **error)
{
    double step = ldexp(1, level);
    if (plane == VW_PLANE_ERROR || plane == VW_PLANE_DIFF)
        return compare(open, plane, model, step, x, y, w, h, dst, error);
    vw_layer *layer = vw_open_layer(open, plane, model, error);
    if (!layer)
        return false;
    if (layer->map)
        return wsi_grey_sample(layer->map, step, x, y, w, h, dst, (size_t)w, error);
    if (plane == VW_PLANE_TISSUE)
        paint_tissue(layer->tissue, step, x, y, w, h, dst);
    else if (plane == VW_PLANE_CELLS)
        paint_cells(layer->cells, step, x, y, w, h, dst);
    else
        return vw_labels_read(&layer->labels, step, x, y, w, h, dst, (size_t)w, error);
    return true;
}

static void blank_outside(const vw_open *open, double step, int64_t x, int64_t y, uint8_t *dst)
{
    for (int r = 0; r < VW_PLANE_SIDE; r++)
        for (int i = 0; i < VW_PLANE_SIDE; i++)
            if (x + i < 0 || y + r < 0 || (double)(x + i) * step >= (double)open->w ||
                (double)(y + r) * step >= (double)open->h)
                dst[r * VW_PLANE_SIDE + i] = 255;
}

bool vw_plane_tile(vw_open *open, vw_plane plane, int model, int level, int64_t x, int64_t y,
                   uint8_t *dst, GError **error)
{
    double side = level < open->n_plane_levels ? ldexp(VW_TILE_PX, level) : 0;
    if (!(side > 0) || (double)x * side >= (double)open->w || (double)y * side >= (double)open->h) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: level %d of its planes has no tile %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT,
                    open->row->name, level, x, y);
        return false;
    }
    int64_t x0 = x * VW_TILE_PX - 1, y0 = y * VW_TILE_PX - 1;
    if (!vw_plane_read(open, plane, model, level, x0, y0, VW_PLANE_SIDE, VW_PLANE_SIDE, dst, error))
        return false;
    blank_outside(open, ldexp(1, level), x0, y0, dst);
    return true;
}
