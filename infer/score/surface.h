/* Distances between the outlines of two masks, on masks of any size.
 *
 * The surface of a class is its pixels that have a 4-neighbour of another class or outside the
 * picture: the mask minus its erosion by the cross with a border of zeros (medpy's, ssl-methods E).
 * Only surface pixels are kept, so memory grows with the outlines and not with the picture, and the
 * nearest pixel of the other outline is found exactly, in a k-d tree.
 *
 * Distances are Euclidean, between pixel centres, times the pixel's size. The rule for empty masks:
 * absent from both, distances are 0 and the boundary F1 is 1; absent from one, distances are the
 * picture's diagonal, the boundary F1 is 0, and one_empty says so. */
#ifndef QS_INFER_SURFACE_H
#define QS_INFER_SURFACE_H

#include "base/classes.h"

#include <stdbool.h>
#include <stddef.h>

#define INF_SURFACE_RULE                                                                           \
    "a class absent from both masks has distances of 0 and a boundary F1 of 1; absent from one, "  \
    "the picture's diagonal and 0"

/* Points of one mask; more are refused, 8 bytes each and 17 more while they are compared. */
enum { INF_SURFACE_MAX = 1 << 26 };

typedef struct inf_surface inf_surface;

/* A picture of w × h pixels with n_classes classes. */
inf_surface *inf_surface_create(int n_classes, int64_t w, int64_t h);
void inf_surface_destroy(inf_surface *surface); /* NULL accepted */
/* The next row of labels, w of them, from the top; values that are no class count as background.
 * QS_ERROR_MEMORY when the outline has more than INF_SURFACE_MAX points. */
bool inf_surface_add_row(inf_surface *surface, const uint8_t *label, GError **error);
/* Points of a class, after the last row. */
size_t inf_surface_points(const inf_surface *surface, int cls);
/* Bytes that a comparison of the two takes, with their points. */
int64_t inf_surface_memory(const inf_surface *a, const inf_surface *b);

typedef struct {
    double hd95;        /* medpy: 95th percentile of both directions pooled, linear interpolation */
    double hd95_pymic;  /* PyMIC: larger of the two directions' sorted[int(0.95 n)] */
    double assd;        /* mean of the two directions' mean distances */
    double boundary_f1; /* harmonic mean of the shares of both outlines within the tolerance */
    bool one_empty;
} inf_distances;

/* Of class cls, after the last row of both. px_size: units a pixel; tolerance in units. Orders the
 * points anew; what is measured does not depend on their order. */
bool inf_surface_compare(inf_surface *a, inf_surface *b, int cls, double px_size, double tolerance,
                         inf_distances *distances, GError **error);

#endif
