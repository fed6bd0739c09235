/* What "equal" means. Both decode with libjpeg-turbo's accurate transform and smooth upsampling, or
 * decompress without loss, so pixels must be the same, without tolerance, wherever the place is a
 * whole pixel of the level: everywhere at level 0 and at integer downsamples.
 *
 * Elsewhere OpenSlide takes the level-0 place to a fraction of a level pixel and interpolates
 * between neighbours, while the lane reads the nearest whole pixel. Then each value of OpenSlide's
 * must lie between the least and the greatest of the pixel and its eight neighbours (± 2 for
 * rounding in fixed point), which another tile, another colour space or another decoder would
 * not. */
#include "wsi/lane/compare_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TILES_BASE = 6, /* compared at level 0 */
    TILES_REST = 2, /* … at other levels */
    TRIES = 48,     /* tiles looked at until enough could be compared */
    SIDE = 256,     /* of a tile this much is compared */
    BETWEEN = 2
};
static const double WHOLE = 1.0 / 1024; /* a place that near to a whole pixel is one */

/* The t-th tile to look at: first, last, then at random, the same ones at every opening. */
static int64_t pick(int t, int64_t n_tiles)
{
    if (t == 0)
        return 0;
    if (t == 1)
        return n_tiles - 1;
    uint64_t h = (uint64_t)n_tiles * 0x9e3779b97f4a7c15u + (uint64_t)t * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 29) * 0x94d049bb133111ebu;
    return (int64_t)((h ^ h >> 32) % (uint64_t)n_tiles);
}

/* Value v of OpenSlide's lies within the 3 × 3 neighbourhood of channel k at (x,y). */
static bool is_between(const uint8_t *ours, int w, int h, int x, int y, int k, int v)
{
    int lo = 255, hi = 0;
    for (int yy = MAX(0, y - 1); yy <= MIN(h - 1, y + 1); yy++)
        for (int xx = MAX(0, x - 1); xx <= MIN(w - 1, x + 1); xx++) {
            int o = ours[((size_t)yy * (size_t)w + (size_t)xx) * 3 + (size_t)k];
            lo = MIN(lo, o);
            hi = MAX(hi, o);
        }
    return v >= lo - BETWEEN && v <= hi + BETWEEN;
}

/* The largest difference that may not be; 0 when there is none. The outermost pixels of a moved
 * place have neighbours that were not read and are left out. */
static int difference(const uint8_t *ours, const uint8_t *theirs, int w, int h, bool whole)
{
    int worst = 0, edge = whole ? 0 : 1;
    for (int y = edge; y < h - edge; y++)
        for (int x = edge; x < w - edge; x++)
            for (int k = 0; k < 3; k++) {
                size_t at = ((size_t)y * (size_t)w + (size_t)x) * 3 + (size_t)k;
                int d = abs(ours[at] - theirs[at]);
                if (d > worst && (whole || !is_between(ours, w, h, x, y, k, theirs[at])))
                    worst = d;
            }
    return worst;
}

typedef enum { AGREES, DIFFERS, SAYS_NOTHING } verdict;

static verdict compare_tile(wsi_lane *lane, wsi_slide *slide, wsi_lane_peer peer, int level,
                            const wsi_tiff_level *tiles, int64_t tile, uint8_t *ours,
                            uint8_t *theirs, int *worst)
{
    const wsi_level *shape = &slide->info.levels[level];
    int64_t x = tile % tiles->n_x * tiles->tile_w, y = tile / tiles->n_x * tiles->tile_h;
    int w = (int)MIN(MIN(SIDE, tiles->tile_w), shape->w - x);
    int h = (int)MIN(MIN(SIDE, tiles->tile_h), shape->h - y);
    if (w < 1 || h < 1) /* padding of a level */
        return SAYS_NOTHING;
    int64_t x_l0 = llround((double)x * shape->downsample);
    int64_t y_l0 = llround((double)y * shape->downsample);
    bool whole = fabs((double)x_l0 / shape->downsample - (double)x) < WHOLE &&
                 fabs((double)y_l0 / shape->downsample - (double)y) < WHOLE;
    GError *error = NULL;
    size_t row = (size_t)w * 3;
    bool read =
        wsi_lane_read(lane, level, x_l0, y_l0, w, h, ours, row, &error) == WSI_TILE_PIXELS &&
        peer(slide, level, x_l0, y_l0, w, h, theirs, row, &error);
    g_clear_error(&error);
    if (!read)
        return SAYS_NOTHING;
    *worst = difference(ours, theirs, w, h, whole);
    return *worst == 0 ? AGREES : DIFFERS;
}

char *wsi_lane_compare(wsi_lane *lane, wsi_slide *slide, wsi_lane_peer peer, int level,
                       const wsi_tiff_level *tiles, int *n)
{
    g_autofree uint8_t *ours = g_malloc((size_t)SIDE * SIDE * 3);
    g_autofree uint8_t *theirs = g_malloc((size_t)SIDE * SIDE * 3);
    int64_t n_tiles = tiles->n_x * tiles->n_y;
    int wanted = (int)MIN(level == 0 ? TILES_BASE : TILES_REST, n_tiles);
    *n = 0;
    for (int t = 0; t < TRIES && *n < wanted; t++) {
        int64_t tile = pick(t, n_tiles);
        int worst = 0;
        verdict v = compare_tile(lane, slide, peer, level, tiles, tile, ours, theirs, &worst);
        if (v == DIFFERS)
            return g_strdup_printf("tile %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT
                                   " of level %d differs from OpenSlide's by up to %d of 255",
                                   tile % tiles->n_x, tile / tiles->n_x, level, worst);
        *n += v == AGREES;
    }
    return *n > 0
               ? NULL
               : g_strdup_printf("no tile of level %d could be compared with OpenSlide's", level);
}
