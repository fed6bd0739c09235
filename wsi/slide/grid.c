/* The grid of cells; see tile.h. */
#include "wsi/tile/tile.h"

#include "base/error.h"

/* Positions 0, stride, … along a side, the last one clamped to the border. */
static int64_t n_positions(int64_t side, int patch, int stride)
{
    return side <= patch ? 1 : (side - patch + stride - 1) / stride + 1;
}

bool wsi_grid_init(wsi_grid *grid, const wsi_view *view, int patch_px, int stride_px,
                   GError **error)
{
    if (patch_px < 8 || patch_px > 8192 || stride_px < 1 || stride_px > patch_px) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "patch of %d pixels at stride %d: a patch has 8 to 8192 pixels, a stride 1 to "
                    "the patch",
                    patch_px, stride_px);
        return false;
    }
    grid->n_x = n_positions(view->w, patch_px, stride_px);
    grid->n_y = n_positions(view->h, patch_px, stride_px);
    grid->n_cells = grid->n_x * grid->n_y;
    return true;
}

static int64_t position(int64_t i, int64_t side, int patch, int stride)
{
    return MAX(0, MIN(i * stride, side - patch));
}

void wsi_grid_cell(const wsi_grid *grid, const wsi_view *view, int patch_px, int stride_px,
                   int64_t cell, int64_t *x, int64_t *y, int *valid_w, int *valid_h)
{
    *x = position(cell % grid->n_x, view->w, patch_px, stride_px);
    *y = position(cell / grid->n_x, view->h, patch_px, stride_px);
    *valid_w = (int)MIN(patch_px, view->w - *x);
    *valid_h = (int)MIN(patch_px, view->h - *y);
}
