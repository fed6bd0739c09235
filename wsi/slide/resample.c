#include "wsi/slide/resample.h"

#include <glib.h>

#include <math.h>

enum { ONE = 1024 };

void wsi_span_init(wsi_span *span, int64_t index, double scale, int64_t limit)
{
    double lo = (double)index * scale, hi = (double)(index + 1) * scale;
    int64_t first = MIN((int64_t)floor(lo), limit - 1);
    int64_t last = MIN((int64_t)ceil(hi) - 1, limit - 1);
    last = MAX(last, first);
    span->first = first;
    span->n = (int32_t)(last - first + 1);
    double w_first = MIN((double)(first + 1), hi) - MAX(lo, (double)first);
    double w_last = MIN(hi, (double)(last + 1)) - (double)last;
    /* A pixel touched by less than half a thousandth has weight 0, but never the only one. */
    span->w_first = (uint16_t)CLAMP(lround(w_first * ONE), span->n == 1 ? 1 : 0, ONE);
    span->w_last = (uint16_t)CLAMP(lround(w_last * ONE), 0, ONE);
    span->total = span->w_first;
    if (span->n > 1)
        span->total += (uint32_t)(span->n - 2) * ONE + span->w_last;
}

uint32_t wsi_span_weight(const wsi_span *span, int64_t k)
{
    if (k < span->first || k >= span->first + span->n)
        return 0;
    return k == span->first ? span->w_first : k == span->first + span->n - 1 ? span->w_last : ONE;
}

void wsi_row_sums(const wsi_span *spans, int n_out, const uint8_t *src, int64_t src_x,
                  uint32_t *sums)
{
    for (int i = 0; i < n_out; i++) {
        const wsi_span *span = &spans[i];
        const uint8_t *p = src + (span->first - src_x) * 3;
        uint32_t r = 0, g = 0, b = 0;
        for (int k = 1; k < span->n - 1; k++) {
            r += p[3 * k];
            g += p[3 * k + 1];
            b += p[3 * k + 2];
        }
        const uint8_t *q = p + 3 * (span->n - 1);
        uint32_t w_last = span->n > 1 ? span->w_last : 0;
        sums[3 * i] = r * ONE + p[0] * (uint32_t)span->w_first + q[0] * w_last;
        sums[3 * i + 1] = g * ONE + p[1] * (uint32_t)span->w_first + q[1] * w_last;
        sums[3 * i + 2] = b * ONE + p[2] * (uint32_t)span->w_first + q[2] * w_last;
    }
}
