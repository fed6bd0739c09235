#include "wsi/export/cracks.h"

#include <string.h>

/* splitmix64's finaliser (Steele, Lea, Flood 2014). */
static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static inline void add(wsi_cracks *cracks, uint8_t label, int64_t x, int64_t y)
{
    uint64_t key = (uint64_t)x << 32 ^ (uint64_t)y;
    uint64_t a = mix(key + 0x9E3779B97F4A7C15u * (label + 1u));
    cracks->sum[0] += a;
    cracks->sum[1] += mix(a ^ 0xD1B54A32D192ED03u);
    cracks->n++;
}

void wsi_cracks_add_row(wsi_cracks *cracks, const uint8_t *label, int64_t w, int64_t y)
{
    uint8_t before = 0;
    int64_t from = 0;
    for (int64_t x = 0; x <= w; x++) {
        uint8_t here = x < w ? label[x] : 0;
        if (here == before && x < w)
            continue;
        if (before) {
            cracks->area[before] += x - from;
            if (here != before)
                add(cracks, before, x, y);
        }
        if (here && here != before)
            add(cracks, here, x, y);
        before = here;
        from = x;
    }
}

void wsi_cracks_add_edge(wsi_cracks *cracks, uint8_t label, int64_t x, int64_t y0, int64_t y1)
{
    int64_t from = y0 < y1 ? y0 : y1, to = y0 < y1 ? y1 : y0;
    for (int64_t y = from; y < to; y++)
        add(cracks, label, x, y);
}

wsi_cracks wsi_cracks_less(const wsi_cracks *a, const wsi_cracks *b)
{
    wsi_cracks left = *a;
    left.sum[0] -= b->sum[0];
    left.sum[1] -= b->sum[1];
    left.n -= b->n;
    for (int k = 0; k < QS_CLASSES_MAX; k++)
        left.area[k] -= b->area[k];
    return left;
}

bool wsi_cracks_equal(const wsi_cracks *a, const wsi_cracks *b)
{
    return a->sum[0] == b->sum[0] && a->sum[1] == b->sum[1] && a->n == b->n &&
           memcmp(a->area, b->area, sizeof a->area) == 0;
}
