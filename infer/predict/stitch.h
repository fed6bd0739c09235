/* Blending of overlapping windows into one plane of probabilities, a strip at a time.
 *
 * Windows come in row-major order of the clamped grid; a window row closes everything above it:
 *
 *        ┌──────────── w ────────────┐
 *   top →├────┬────┬────┬────┬────┬──┤   finished above: handed to `rows`, forgotten
 *        │ the open strip:           │   in the engine's memory (kernels/engine/blend.h)
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

#include "infer/predict/windows.h"

/* ---- the clamped grid along one axis ---------------------------------------------------------
 * 0, stride, 2·stride … and a last window moved inward so that it ends at the border; one window
 * at 0 when the length is not above the window. */
int64_t inf_axis_n(int64_t length, int window_px, int stride_px);
int64_t inf_axis_at(int64_t length, int window_px, int stride_px, int64_t i);

/* One axis of the blending weights, window_px values > 0; a window's weight is the product of two.
 * Gaussian: exp(-d²/2σ²), σ = window/8, d from the window's centre. */
void inf_blend_weights(inf_blend blend, int window_px, float *weights);

typedef struct inf_stitch inf_stitch;

typedef struct {
    kn_engine *engine; /* where the strip is; borrowed */
    int64_t w, h;
    int window_px, n_classes;
    inf_blend blend;
    bool with_prob; /* rows get probabilities, not labels alone */
    inf_rows rows;
    void *user;
} inf_stitch_spec;

/* NULL with QS_ERROR_MEMORY when the strip cannot be had. */
inf_stitch *inf_stitch_create(const inf_stitch_spec *spec, GError **error);
void inf_stitch_destroy(inf_stitch *stitch);
int64_t inf_stitch_memory(const inf_stitch_spec *spec);
/* Images first … first+n-1 of the logits, windows of one row of the grid with their top left pixels
 * at (x[k], y); what lies outside the plane is dropped. y must not fall. Hands out the rows above
 * y. QS_ERROR_FORMAT when a logit of rows handed out is not finite. */
bool inf_stitch_add(inf_stitch *stitch, const inf_logits *logits, int first, int n,
                    const int64_t *x, int64_t y, GError **error);
/* Hands out the rest. */
bool inf_stitch_finish(inf_stitch *stitch, GError **error);

#endif
