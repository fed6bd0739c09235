/* The exact area of what is on top, in one pixel.
 *
 * A row of pixels is walked from the left. What has been passed is remembered as toggles: shape s
 * changes between inside and outside at height y of the pixel's left side. (An edge from y0 to y1
 * toggles at both; edges of a closed ring cancel.) A pixel with edges in it is cut into slabs at
 * every height where an edge begins, ends or meets another; within a slab the edges do not cross,
 * so the area between two neighbours is a trapezoid, and which shape is on top there is known. This
 * is exact for any overlap, hole and self-crossing, which accumulated signed areas (the method of
 * font rasterisers) are only for one simple ring. */
#ifndef QS_WSI_ANNOT_PIXEL_PRIV_H
#define QS_WSI_ANNOT_PIXEL_PRIV_H

#include "base/classes.h"

/* Slots of a coverage: the classes, then "ignore". */
enum { WSI_COVER_IGNORE = QS_CLASSES_MAX, WSI_COVER_SLOTS = QS_CLASSES_MAX + 1 };

/* A shape as painted; its number is its height in the pile. */
typedef struct {
    int slot;  /* what it paints */
    int layer; /* its group */
    bool erase;
} wsi_paint;

/* A piece of an edge inside one pixel, view pixels, y0 < y1. */
typedef struct {
    int64_t px;
    double x0, y0, x1, y1;
    guint paint;
} wsi_piece;

typedef struct {
    const wsi_paint *paints;           /* borrowed */
    GArray *toggles;                   /* of {paint, y}, sorted */
    GArray *heights, *active, *inside; /* scratch */
    double row;                        /* y of the row's upper side */
    guint n_partial; /* toggles below the upper side: the state differs along the pixel's height */
} wsi_pixel_state;

void wsi_pixel_state_init(wsi_pixel_state *state, const wsi_paint *paints);
void wsi_pixel_state_clear(wsi_pixel_state *state);
void wsi_pixel_row_begin(wsi_pixel_state *state, double row);
/* An edge from y0 to y1, within the row, has been passed. */
void wsi_pixel_pass(wsi_pixel_state *state, guint paint, double y0, double y1);
/* cover[WSI_COVER_SLOTS]: shares of pixel px, sum 1; slot 0 also has what nothing covers. */
void wsi_pixel_cover(wsi_pixel_state *state, int64_t px, const wsi_piece *pieces, guint n,
                     double *cover);

#endif
