/* Tiles of a slide as JPEGs: copied from the file where it has just such a tile, else read and
 * encoded. Thread-safe. */
#ifndef QS_VIEW_TILE_H
#define QS_VIEW_TILE_H

#include "view/open.h"

/* QS_ERROR_ARG for a tile that is not there; the slide's own error when it cannot be read. */
GBytes *vw_tile(vw_open *open, int level, int64_t x, int64_t y, GError **error);
/* The whole slide in at most 256 × 256 pixels. */
GBytes *vw_thumb(vw_open *open, GError **error);

#endif
