/* Which boxes touch a window: a packed R-tree (boxes sorted in strips, 16 to a node, levels above
 * made of their unions: Leutenegger et al., "STR: a simple and efficient algorithm for R-tree
 * packing", ICDE 1997). Immutable after creation, thread-safe. */
#ifndef QS_WSI_ANNOT_INDEX_PRIV_H
#define QS_WSI_ANNOT_INDEX_PRIV_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
    double x0, y0, x1, y1;
} wsi_box;

typedef struct wsi_box_index wsi_box_index;

wsi_box_index *wsi_box_index_create(const wsi_box *boxes, guint n); /* copies */
void wsi_box_index_destroy(wsi_box_index *index);                   /* NULL accepted */
/* Appends the numbers of the boxes that share area with the window or touch it, rising, to found
 * (guint). */
void wsi_box_index_find(const wsi_box_index *index, const wsi_box *window, GArray *found);

#endif
