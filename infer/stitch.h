/* Blending of overlapping windows into one plane of probabilities, a strip at a time.
 *
 * Windows come in row-major order of the clamped grid; a window row closes everything above it:
 *
 *        ┌──────────── w ────────────┐
 *   top →├────┬────┬────┬────┬────┬──┤   finished above: handed to `rows`, forgotten
 *        │ the open strip:           │
 *        │ window_px rows of sums    │   a ring of rows, so nothing is moved
 *        └────┴────┴────┴────┴────┴──┘
 *
 * Invariants
 *  1. acc[row][x][c] = Σ over windows of weight(pixel in window) · p(c), added in window order, so
 *     the bits depend on the windows alone and not on batches, readers or threads.
 *  2. Probabilities of one pixel sum to 1, so Σ_c acc is the sum of weights and needs no plane of
 *     its own.
 *  3. Σ_c acc = 0 means "no window was run here": background with probability 1.
 * Used by one thread. */
#ifndef QS_INFER_STITCH_H
#define QS_INFER_STITCH_H

#include "infer/predict.h"

/* ---- the clamped grid along one axis ---------------------------------------------------------
 * 0, stride, 2·stride … and a last window moved inward so that it ends at the border; one window
 * at 0 when the length is not above the window. */
int64_t inf_axis_n(int64_t length, int window_px, int stride_px);
int64_t inf_axis_at(int64_t length, int window_px, int stride_px, int64_t i);

/* One axis of the blending weights, window_px values > 0; a window's weight is the product of two.
 * Gaussian: exp(-d²/2σ²), σ = window/8, d from the window's centre. */
void inf_blend_weights(inf_blend blend, int window_px, float *weights);

typedef struct inf_stitch inf_stitch;

/* NULL with QS_ERROR_MEMORY when the strip cannot be had. */
inf_stitch *inf_stitch_create(int64_t w, int64_t h, int window_px, int n_classes, inf_blend blend,
                              inf_rows rows, void *user, GError **error);
void inf_stitch_destroy(inf_stitch *stitch);
int64_t inf_stitch_memory(int64_t w, int window_px, int n_classes);
/* prob (window,window,n_classes) f32, of a window whose top left pixel is (x, y); what lies outside
 * the plane is dropped. y must not fall. Hands out the rows above y. */
bool inf_stitch_add(inf_stitch *stitch, int64_t x, int64_t y, const float *prob, GError **error);
/* Hands out the rest. */
bool inf_stitch_finish(inf_stitch *stitch, GError **error);

#endif
