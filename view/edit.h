/* Edits on pixels: outlines are painted at the screen's pixel size, combined there, and traced again,
 * so that the result is valid whatever was drawn: self-crossing strokes, holes, islands. */
#ifndef QS_VIEW_EDIT_H
#define QS_VIEW_EDIT_H

#include "view/json.h"
#include "view/labels.h"

enum { VW_EDIT_PX = 16 << 20, VW_EDIT_POINTS = 200000 };

typedef struct {
    double x, y; /* level-0 pixels */
} vw_point;

/* The area of a set of rings, even-odd; or, with a radius, all that is that near to a path. */
typedef struct {
    GArray *points;   /* of vw_point */
    GArray *ring_end; /* of guint, into points */
    double radius;    /* > 0: the points are a path */
} vw_area;
void vw_area_init(vw_area *area);
void vw_area_clear(vw_area *area);

/* {"op":"add"|"subtract", "step":S, "shapes":[[ring, …], …], "area":[ring, …] | "path":[point, …],
 * "radius":R}: the union of the shapes, with the area added or taken away. Pixels are S level-0
 * pixels, a pixel is in when its centre is. Answers {"shapes":[[ring, …], …]}, outer ring first,
 * along pixel edges. QS_ERROR_FORMAT for what is no such request, QS_ERROR_ARG for one that is too
 * large. w, h: the slide; what lies outside is cut off. */
GBytes *vw_edit(const char *json, gssize n, int64_t w, int64_t h, GError **error);
/* The 4-connected region of one class of the labels under a place, as the same answer and the
 * class: {"class":K,"shapes":[…]}. QS_ERROR_ARG where there is background. */
GBytes *vw_accept(vw_labels *labels, int64_t x_l0, int64_t y_l0, GError **error);

#endif
