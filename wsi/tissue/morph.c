#include "wsi/tissue/morph.h"

#include <glib.h>

#include <stdbool.h>
#include <string.h>

/* (h+1,w+1) sums over all pixels above and to the left. */
static uint32_t *integral(const uint8_t *mask, int w, int h)
{
    size_t row = (size_t)w + 1;
    uint32_t *sums = g_new0(uint32_t, row * ((size_t)h + 1));
    for (int y = 0; y < h; y++) {
        uint32_t line = 0;
        for (int x = 0; x < w; x++) {
            line += mask[(size_t)y * (size_t)w + (size_t)x];
            sums[((size_t)y + 1) * row + (size_t)x + 1] =
                sums[(size_t)y * row + (size_t)x + 1] + line;
        }
    }
    return sums;
}

typedef enum { RULE_MAJORITY, RULE_ANY, RULE_ALL } rule;

/* Each pixel from the count of ones in [x-before, x+after]² and the rule. */
static void window(uint8_t *mask, int w, int h, int before, int after, rule how)
{
    uint32_t *sums = integral(mask, w, h);
    size_t row = (size_t)w + 1;
    for (int y = 0; y < h; y++) {
        int y0 = MAX(0, y - before), y1 = MIN(h, y + after + 1);
        for (int x = 0; x < w; x++) {
            int x0 = MAX(0, x - before), x1 = MIN(w, x + after + 1);
            const uint32_t *top = sums + (size_t)y0 * row, *end = sums + (size_t)y1 * row;
            uint32_t n = end[x1] - end[x0] - top[x1] + top[x0];
            uint32_t area = (uint32_t)((x1 - x0) * (y1 - y0));
            bool on = how == RULE_ANY ? n > 0 : how == RULE_ALL ? n == area : 2 * n > area;
            mask[(size_t)y * (size_t)w + (size_t)x] = on;
        }
    }
    g_free(sums);
}

void wsi_morph_majority(uint8_t *mask, int w, int h, int size)
{
    if (size > 1)
        window(mask, w, h, size / 2, (size - 1) / 2, RULE_MAJORITY);
}

void wsi_morph_close(uint8_t *mask, int w, int h, int size)
{
    if (size <= 1)
        return;
    window(mask, w, h, size / 2, (size - 1) / 2, RULE_ANY);
    /* The reflected window, so that an even size does not shift the picture. */
    window(mask, w, h, (size - 1) / 2, size / 2, RULE_ALL);
}

typedef struct {
    uint8_t *mask, *seen;
    int32_t *queue; /* every pixel of the part, in the order found */
    int w, h;
} flood;

/* Collects the part of pixel `start`. Returns its pixels; *border when it touches the edge. */
static int32_t flood_part(flood *f, int32_t start, uint8_t value, bool corners, bool *border)
{
    int32_t n = 0;
    f->queue[n++] = start;
    f->seen[start] = 1;
    *border = false;
    for (int32_t i = 0; i < n; i++) {
        int x = f->queue[i] % f->w, y = f->queue[i] / f->w;
        if (x == 0 || y == 0 || x == f->w - 1 || y == f->h - 1)
            *border = true;
        for (int dy = -1; dy <= 1; dy++)
            for (int dx = -1; dx <= 1; dx++) {
                int nx = x + dx, ny = y + dy;
                if ((dx && dy && !corners) || nx < 0 || ny < 0 || nx >= f->w || ny >= f->h)
                    continue;
                int32_t at = ny * f->w + nx;
                if (!f->seen[at] && f->mask[at] == value) {
                    f->seen[at] = 1;
                    f->queue[n++] = at;
                }
            }
    }
    return n;
}

void wsi_morph_drop_small(uint8_t *mask, int w, int h, uint8_t value, int area)
{
    int32_t n_px = w * h;
    flood f = {mask, g_malloc0((size_t)n_px), g_new(int32_t, (size_t)n_px), w, h};
    for (int32_t start = 0; start < n_px; start++) {
        if (f.seen[start] || mask[start] != value)
            continue;
        bool border;
        int32_t n = flood_part(&f, start, value, value == 1, &border);
        if (n < area && !(value == 0 && border))
            for (int32_t i = 0; i < n; i++)
                mask[f.queue[i]] = !value;
    }
    g_free(f.seen);
    g_free(f.queue);
}
