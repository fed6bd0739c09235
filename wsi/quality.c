/* The quality numbers of a patch, over its valid pixels:
 *   white       share of pixels with all channels >= 220
 *   dark        share with all channels <= 45
 *   saturation  mean HSV saturation, 0 to 1
 *   blur        variance of the 4-neighbour Laplacian of luma (0..255, BT.601), inner pixels only;
 *               small is blurred; 0 for patches without inner pixels
 *   pen         share of marker-coloured pixels (colour_priv.h)
 *   tissue      not measured here: the caller sets it from the tissue mask
 * Sums are integers, so the numbers are the same on every machine and instruction set.
 *
 * One pass over rows. A row is first split into planes, then each measure is a plain loop that the
 * compiler vectorises; three rows of luma are kept for the Laplacian. */
#include "wsi/tile.h"

#include "wsi/colour_priv.h"

#include <string.h>

enum { CHUNK = 512, ROW_MAX = 8192, SATURATION_ONE = 4096 };

/* The loader cannot resolve clones before the sanitizers are up. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__) &&             \
    !defined(__SANITIZE_THREAD__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define FOR_EACH_CPU
#endif

typedef struct {
    uint32_t white, dark, pen, saturation, red, green, blue;
} counts;

/* At most CHUNK pixels: every sum fits 32 bits. luma (n) is written. */
FOR_EACH_CPU
static counts measure_chunk(const uint8_t *rgb, int n, int16_t *luma)
{
    int16_t r[CHUNK], g[CHUNK], b[CHUNK];
    for (int i = 0; i < n; i++) {
        r[i] = rgb[3 * i];
        g[i] = rgb[3 * i + 1];
        b[i] = rgb[3 * i + 2];
    }
    uint32_t red = 0, green = 0, blue = 0, white = 0, dark = 0, pen = 0, saturation = 0;
    for (int i = 0; i < n; i++) {
        red += (uint32_t)r[i];
        green += (uint32_t)g[i];
        blue += (uint32_t)b[i];
    }
    int16_t chroma[CHUNK], top[CHUNK];
    for (int i = 0; i < n; i++) {
        int16_t hi = r[i] > g[i] ? r[i] : g[i], lo = r[i] < g[i] ? r[i] : g[i];
        hi = hi > b[i] ? hi : b[i];
        lo = lo < b[i] ? lo : b[i];
        chroma[i] = (int16_t)(hi - lo);
        top[i] = hi > 1 ? hi : 1;
        white += lo >= WSI_WHITE_MIN;
        dark += hi <= WSI_DARK_MAX;
    }
    for (int i = 0; i < n; i++)
        pen += wsi_is_pen(r[i], g[i], b[i]);
    for (int i = 0; i < n; i++)
        saturation += (uint32_t)(int32_t)((float)(chroma[i] * SATURATION_ONE) / (float)top[i]);
    for (int i = 0; i < n; i++)
        luma[i] = (int16_t)((77 * r[i] + 150 * g[i] + 29 * b[i] + 128) >> 8);
    return (counts){white, dark, pen, saturation, red, green, blue};
}

/* Adds the Laplacian of inner pixels 1 … n-2 of the middle row. */
FOR_EACH_CPU
static void laplacian_row(const int16_t *up, const int16_t *at, const int16_t *down, int n,
                          int64_t *sum, uint64_t *squares)
{
    for (int from = 1; from < n - 1; from += CHUNK) {
        int to = from + CHUNK < n - 1 ? from + CHUNK : n - 1;
        int32_t s = 0;
        uint32_t q = 0;
        for (int i = from; i < to; i++) {
            int32_t v = 4 * at[i] - at[i - 1] - at[i + 1] - up[i] - down[i];
            s += v;
            q += (uint32_t)(v * v);
        }
        *sum += s;
        *squares += q;
    }
}

void wsi_quality_measure(const uint8_t *rgb, size_t row_bytes, int valid_w, int valid_h,
                         wsi_quality *q, double *mean_rgb)
{
    g_assert(valid_w >= 1 && valid_w <= ROW_MAX && valid_h >= 1);
    int16_t luma[3][ROW_MAX];
    uint64_t white = 0, dark = 0, pen = 0, saturation = 0, sum_rgb[3] = {0}, squares = 0;
    int64_t sum = 0;
    for (int y = 0; y < valid_h; y++) {
        const uint8_t *row = rgb + (size_t)y * row_bytes;
        for (int x = 0; x < valid_w; x += CHUNK) {
            counts c = measure_chunk(row + 3 * x, MIN(CHUNK, valid_w - x), luma[y % 3] + x);
            white += c.white;
            dark += c.dark;
            pen += c.pen;
            saturation += c.saturation;
            sum_rgb[0] += c.red;
            sum_rgb[1] += c.green;
            sum_rgb[2] += c.blue;
        }
        if (y >= 2)
            laplacian_row(luma[(y - 2) % 3], luma[(y - 1) % 3], luma[y % 3], valid_w, &sum,
                          &squares);
    }
    double n = (double)valid_w * valid_h, n_inner = (double)(valid_w - 2) * (valid_h - 2);
    double mean = valid_w > 2 && valid_h > 2 ? (double)sum / n_inner : 0;
    *q = (wsi_quality){
        .white = (float)((double)white / n),
        .dark = (float)((double)dark / n),
        .pen = (float)((double)pen / n),
        .saturation = (float)((double)saturation / SATURATION_ONE / n),
        .blur = valid_w > 2 && valid_h > 2 ? (float)((double)squares / n_inner - mean * mean) : 0,
    };
    for (int k = 0; mean_rgb && k < 3; k++)
        mean_rgb[k] = (double)sum_rgb[k] / n;
}
