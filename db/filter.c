/* Green, red − green and blue − green as planes, each row minus the row above (mod 256).
 *
 * Stained tissue varies together in the three channels, so the two differences are small numbers;
 * the vertical difference removes the slow part. Both directions work on whole rows without a
 * dependence along the row, so the compiler vectorises them.
 *
 * Why this one: 64 H&E patches of 256² (an Aperio slide at 20x, gland images), zstd level 1, one
 * core, encode / decode in MB of pixels a second (bench/db prints it for the store's own codecs):
 *
 *   as they are                 ratio 1.15   680 / 1840    ratio × encode rate  780
 *   planes with differences           1.25   547 / 1130                         680
 *   … minus the row above             1.50   561 / 1325                         844   this file
 *   … minus the left pixel            1.45   497 /  919                         721
 *   … minus both                      1.60   460 /  910                         736
 *   … minus JPEG-LS's median          1.63   176 /  169                         286
 * Levels 2 and 3 of zstd gain nothing on any of them. The filter was chosen at level 1; what the
 * codec uses on it now, and why, is at IMAGE_LEVEL in codec.c. */
#include "db/filter.h"

#include "base/rgb.h"

#include <stddef.h>
#include <string.h>

enum { SIDE_MAX = 8192 }; /* of a patch; the grid's limit */

/* row -= above, and above = what row was: one pass while both are in the nearest cache. */
static void subtract_above(uint8_t *row, uint8_t *above, size_t n)
{
    for (size_t x = 0; x < n; x++) {
        uint8_t is = row[x];
        row[x] = (uint8_t)(is - above[x]);
        above[x] = is;
    }
}

static void subtract_green(uint8_t *row, const uint8_t *green, size_t n)
{
    for (size_t x = 0; x < n; x++)
        row[x] = (uint8_t)(row[x] - green[x]);
}

void db_filter_fwd(const uint8_t *rgb, int size_px, uint8_t *planes)
{
    uint8_t above[3][SIDE_MAX];
    size_t n = (size_t)size_px, plane = n * n;
    for (int c = 0; c < 3; c++)
        memset(above[c], 0, n);
    for (size_t y = 0; y < n; y++) {
        uint8_t *g = planes + n * y, *r = g + plane, *b = r + plane;
        qs_rgb_split(rgb + 3 * n * y, n, r, g, b);
        subtract_green(r, g, n);
        subtract_green(b, g, n);
        subtract_above(g, above[0], n);
        subtract_above(r, above[1], n);
        subtract_above(b, above[2], n);
    }
}

void db_filter_bwd(uint8_t *planes, int size_px, uint8_t *rgb)
{
    size_t n = (size_t)size_px, plane = n * n;
    for (size_t c = 0; c < 3; c++)
        for (size_t y = 1; y < n; y++) {
            uint8_t *row = planes + c * plane + n * y;
            const uint8_t *above = row - n;
            for (size_t x = 0; x < n; x++)
                row[x] = (uint8_t)(row[x] + above[x]);
        }
    for (size_t y = 0; y < n; y++) {
        const uint8_t *g = planes + n * y;
        uint8_t *r = planes + plane + n * y, *b = planes + 2 * plane + n * y;
        for (size_t x = 0; x < n; x++)
            r[x] = (uint8_t)(r[x] + g[x]);
        for (size_t x = 0; x < n; x++)
            b[x] = (uint8_t)(b[x] + g[x]);
        qs_rgb_join(r, g, b, n, rgb + 3 * n * y);
    }
}
