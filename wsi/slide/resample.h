/* Area-average reduction of RGB in integer arithmetic: the average of the source pixels under an
 * output pixel, partial ones by their covered share (in 1/1024). Sums are exact, so the result of a
 * pixel depends on its place alone and not on how requests are cut. */
#ifndef QS_WSI_RESAMPLE_H
#define QS_WSI_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

/* The source pixels of one output pixel along one axis. */
typedef struct {
    int64_t first;
    int32_t n;
    uint16_t w_first, w_last; /* weights in 1/1024; pixels between have 1024 */
    uint32_t total;
} wsi_span;

enum { WSI_SCALE_MAX = 16000 }; /* source pixels per output pixel: a row's sum must fit 32 bits */

/* Output pixel `index` of a reduction by `scale` (1 … WSI_SCALE_MAX) of `limit` source pixels. */
void wsi_span_init(wsi_span *span, int64_t index, double scale, int64_t limit);
/* Weight of source pixel k in the span: 0 when it is not in it. */
uint32_t wsi_span_weight(const wsi_span *span, int64_t k);
/* sums (n_out,3): for each output pixel the weighted sum of src (RGB, first pixel is src_x). */
void wsi_row_sums(const wsi_span *spans, int n_out, const uint8_t *src, int64_t src_x,
                  uint32_t *sums);

#endif
