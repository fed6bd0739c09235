/* A plane of labels by its cracks: the vertical unit edges between a pixel of a label and a
 * neighbour of another. They and the areas say which pixels a set of outlines along pixel edges
 * encloses: in every row a label's pixels lie between its cracks, taken in pairs, and outlines that
 * overlap have more area than they enclose. So two such sets are compared in constant memory,
 * whatever the order in which their edges come: the cracks are added up as hashes (two sums of 64
 * bits; two different sets have the same sums by chance once in 2^128 times). */
#ifndef QS_WSI_CRACKS_H
#define QS_WSI_CRACKS_H

#include "base/classes.h"

#include <stdbool.h>

typedef struct {
    uint64_t sum[2];
    int64_t n;                    /* cracks */
    int64_t area[QS_CLASSES_MAX]; /* pixels of each label; 0, the background, is not counted */
} wsi_cracks;

/* A row of w labels at height y; 0 is no region. */
void wsi_cracks_add_row(wsi_cracks *cracks, const uint8_t *label, int64_t w, int64_t y);
/* An edge of an outline of a label, from (x, y0) to (x, y1), in either direction. */
void wsi_cracks_add_edge(wsi_cracks *cracks, uint8_t label, int64_t x, int64_t y0, int64_t y1);
/* a − b: what is left of a when b is taken out of it. */
wsi_cracks wsi_cracks_less(const wsi_cracks *a, const wsi_cracks *b);
bool wsi_cracks_equal(const wsi_cracks *a, const wsi_cracks *b);

#endif
