/* A ring that passes through a point twice, as rings that touch themselves, each of which passes
 * through every point once. Only such rings make polygons that are valid by OGC 06-103r4
 * (6.1.11.1): the pocket that an outer ring pinches off becomes a hole that touches it in that
 * point, and a hole whose parts meet in a corner becomes several. Not thread-safe. */
#ifndef QS_WSI_SIMPLE_H
#define QS_WSI_SIMPLE_H

#include "wsi/export/trace.h"

typedef struct wsi_simple wsi_simple;

wsi_simple *wsi_simple_create(void);
void wsi_simple_destroy(wsi_simple *simple); /* NULL accepted */
/* Splits ring (n). points: wsi_vertex of all parts, one after another; ring_n, ring_area:
 * int64_t of each part, the area signed as the ring's own direction gives it (clockwise on a
 * screen: positive). All three are appended to. Returns the number of parts, at least 1. */
int wsi_simple_split(wsi_simple *simple, const wsi_vertex *ring, int64_t n, GArray *points,
                     GArray *ring_n, GArray *ring_area);

#endif
