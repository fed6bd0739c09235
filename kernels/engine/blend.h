/* Blending of predictions where the engine computes: a strip of weighted sums of probabilities, as
 * many rows as a window has, in the engine's memory. Only finished rows come to the host.
 *
 *   logits of a pass ──► kn_strip_add: softmax · weight, added     (engine's memory)
 *                        kn_strip_take: sums → probabilities, labels ──► host, rows forgotten
 *
 * A pixel's sum is taken in the order of the calls and of the windows in each, so its bits depend
 * on neither threads nor how windows are grouped. f32 sums (ref: f64). infer/predict/stitch.h says which
 * rows lie where and when one is finished. One thread. */
#ifndef QS_KERNELS_BLEND_H
#define QS_KERNELS_BLEND_H

#include "kernels/engine/engine.h"

typedef struct kn_strip kn_strip;

typedef struct {
    int64_t w;            /* pixels of a row */
    int window_px;        /* rows of the strip; windows are square */
    int n_classes;        /* 2..QS_CLASSES_MAX */
    int chunk_rows;       /* kn_strip_take gives at most so many */
    bool with_prob;       /* probabilities are wanted, not labels alone */
    const float *weights; /* (window_px), > 0; the weight of pixel (i,j) is the product of two;
                           * copied */
} kn_strip_spec;

/* Zero sums. QS_ERROR_MEMORY names the size. The engine is borrowed and must outlive it. */
kn_strip *kn_strip_create(kn_engine *engine, const kn_strip_spec *spec, GError **error);
void kn_strip_destroy(kn_strip *strip); /* NULL accepted */
/* Bytes of one, on the engine's account and on the host's together. */
int64_t kn_strip_memory(kn_engine *engine, const kn_strip_spec *spec);
/* z, second (or NULL): logits in the engine's memory, images of (window,window,classes); those of
 * first … first+n-1 are added with their top left pixels at (x[k], y). What lies right of the strip
 * or below n_rows rows is dropped. The mean of both where there are two. Waits for nothing. */
void kn_strip_add(kn_strip *strip, const kn_tensor *z, const kn_tensor *second, int first, int n,
                  const int64_t *x, int64_t y, int n_rows);
/* Rows y … y+n-1 of the plane, n <= chunk_rows, none past the strip's end (y % window + n <=
 * window): label (n,w), prob (n,w,classes) or NULL without with_prob, both borrowed until the next
 * call; ties to the lowest class; where no window was, class 0 with probability 1. Their place is
 * free (0) again. Waits. QS_ERROR_FORMAT when a logit so far was not finite. */
bool kn_strip_take(kn_strip *strip, int64_t y, int n, const uint8_t **label, const float **prob,
                   GError **error);

#endif
