/* A prediction against the truth, both as mask files, streamed in strips.
 *
 * Masks are of the slide's size divided by an integer. They meet on the grid of level 0 divided by
 * the greatest common divisor of the two factors, each pixel repeated (nearest neighbour); where
 * one size was rounded down, its last row or column is repeated to the border, so every pixel of
 * the truth counts. Memory does not grow with the height. Thread-safe. */
#ifndef QS_INFER_EVAL_H
#define QS_INFER_EVAL_H

#include "infer/score/metric.h"
#include "infer/score/surface.h"
#include "wsi/annot/mask.h"

#include <stdbool.h>

typedef struct {
    int64_t w, h;                  /* the grid on which they were compared */
    int factor;                    /* level-0 pixels per grid pixel */
    int pred_factor, truth_factor; /* of the files */
} inf_eval_grid;

/* The outlines of both masks on the grid, for distances. Pixels without truth are background in
 * both, so their borders are outlines only where a class meets them. */
typedef struct {
    inf_surface *pred, *truth; /* made by the comparison, owned */
} inf_eval_surfaces;
void inf_eval_surfaces_clear(inf_eval_surfaces *surfaces);

/* One line: "level 0 / 1: prediction (/2) ×2, truth (/1) as it is". Owned by the caller. */
char *inf_eval_grid_text(const inf_eval_grid *grid);

/* Adds to nothing: *counts is initialised here. slide_w, slide_h: level-0 size. Errors are those of
 * wsi_mask_open and wsi_mask_read_native and name the file. */
bool inf_eval_masks(const char *pred_path, const char *truth_path, int64_t slide_w, int64_t slide_h,
                    const qs_classes *classes, inf_counts *counts, inf_eval_grid *grid,
                    GError **error);
/* The same with an opened truth (borrowed). One of annotations is drawn on the prediction's grid:
 * its factor is set to the prediction's. surfaces NULL: no outlines are kept. */
bool inf_eval_against(const char *pred_path, wsi_mask *truth, int64_t slide_w, int64_t slide_h,
                      const qs_classes *classes, inf_counts *counts, inf_eval_grid *grid,
                      inf_eval_surfaces *surfaces, GError **error);

#endif
