/* Layers as bytes, which the browser colours by a table: labels stay labels, whatever is drawn.
 *
 * All planes of a slide lie on one grid: level k has pixels of 2^k level-0 pixels, counted from the
 * slide's corner. A tile is VW_TILE_PX pixels a side with one more on each side, so that outlines
 * can be drawn across tiles. 255 is outside the slide, or not known. label truth annot  class
 * tissue  0, 1 prob unc           × 255                       error diff  shares, compare.h cells
 * why a cell is as it is (vw_cell_reason) + 8 for every other one */
#ifndef QS_VIEW_PLANE_H
#define QS_VIEW_PLANE_H

#include "view/open.h"

enum { VW_PLANE_SIDE = VW_TILE_PX + 2 };

typedef enum {
    VW_CELL_NONE,
    VW_CELL_TISSUE,
    VW_CELL_BLANK,
    VW_CELL_DAMAGED,
    VW_CELL_KEPT
} vw_cell_reason;
vw_cell_reason vw_cell_reason_of(const db_patch *cell);
/* The last cell of the list that holds the level-0 place, kept ones before others; NULL none. */
const db_patch *vw_cell_at(const GArray *cells, double x_l0, double y_l0);

/* Pixels of level `level` of a plane: (h,w) bytes. */
bool vw_plane_read(vw_open *open, vw_plane plane, int model, int level, int64_t x, int64_t y, int w,
                   int h, uint8_t *dst, GError **error);
/* Tile x, y: VW_PLANE_SIDE² bytes. QS_ERROR_ARG for a tile that is not there. */
bool vw_plane_tile(vw_open *open, vw_plane plane, int model, int level, int64_t x, int64_t y,
                   uint8_t *dst, GError **error);

#endif
