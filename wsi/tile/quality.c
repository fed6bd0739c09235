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
 * One pass over rows, split into planes of bytes; three rows of luma are kept for the Laplacian.
 * Plain loops say what is measured; on processors with AVX2 the same is counted 32 pixels at a
 * time, in bytes as long as they suffice. */
#include "wsi/tile/tile.h"

#include "base/rgb.h"
#include "wsi/colour/pixel.h"

#include <string.h>

enum { CHUNK = 512, ROW_MAX = 8192, SATURATION_ONE = 4096 };

/* Pixels of a row, at most CHUNK: every sum fits 32 bits. */
typedef struct {
    const uint8_t *r, *g, *b;
    int n;
} pixels;

typedef struct {
    uint32_t white, dark, pen, saturation, red, green, blue;
} counts;

/* A row of luma and its neighbours; inner pixels from … to-1 are looked at, at most CHUNK. */
typedef struct {
    const uint8_t *up, *at, *down;
    int from, to;
} luma_rows;

typedef struct {
    int32_t sum;
    uint32_t squares;
} laplacian;

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_AVX2 __builtin_cpu_supports("avx2")
#define WITH_AVX2 __attribute__((target("avx2")))

WITH_AVX2 static inline __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* Sixteen bytes as 16 bits. */
WITH_AVX2 static inline __m256i wide16(const uint8_t *p)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)p));
}

WITH_AVX2 static inline uint32_t sum_of_64(__m256i v)
{
    __m128i s = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return (uint32_t)(_mm_cvtsi128_si64(s) + _mm_extract_epi64(s, 1));
}

WITH_AVX2 static inline uint32_t sum_of_bytes(__m256i v)
{
    return sum_of_64(_mm256_sad_epu8(v, _mm256_setzero_si256()));
}

WITH_AVX2 static inline uint32_t sum_of_32(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* By how much a exceeds k, 0 where it does not. */
WITH_AVX2 static inline __m256i above(__m256i a, int k)
{
    return _mm256_subs_epu8(a, _mm256_set1_epi8((char)k));
}

WITH_AVX2 static inline __m256i below(__m256i a, int k)
{
    return _mm256_subs_epu8(_mm256_set1_epi8((char)k), a);
}

/* Not 0 where wsi_is_pen(): each of its conditions as an excess, the least of those that must hold
 * together, the largest of the three inks. */
WITH_AVX2 static inline __m256i pen_excess(__m256i r, __m256i g, __m256i b)
{
    __m256i green_red = _mm256_subs_epu8(g, r);
    __m256i green = _mm256_min_epu8(above(green_red, WSI_GREEN_OVER_RED),
                                    above(_mm256_subs_epu8(g, b), WSI_GREEN_OVER_BLUE));
    __m256i blue = _mm256_min_epu8(above(_mm256_subs_epu8(b, r), WSI_BLUE_OVER_RED),
                                   above(green_red, WSI_BLUE_GREEN_OVER_RED));
    __m256i red =
        _mm256_min_epu8(above(r, WSI_RED_OVER), _mm256_min_epu8(below(g, WSI_RED_GREEN_UNDER),
                                                                below(b, WSI_RED_BLUE_UNDER)));
    return _mm256_max_epu8(green, _mm256_max_epu8(blue, red));
}

/* Of the first eight pixels. A quotient is either whole or at least 1/255 from a whole number, so
 * rounding never carries it over one. */
WITH_AVX2 static inline __m256i saturation8(__m128i chroma, __m128i top)
{
    __m256 c = _mm256_cvtepi32_ps(_mm256_slli_epi32(_mm256_cvtepu8_epi32(chroma), 12));
    return _mm256_cvttps_epi32(_mm256_div_ps(c, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(top))));
}

WITH_AVX2 static inline __m256i saturation32(__m256i chroma, __m256i top)
{
    __m128i c0 = _mm256_castsi256_si128(chroma), c1 = _mm256_extracti128_si256(chroma, 1);
    __m128i t0 = _mm256_castsi256_si128(top), t1 = _mm256_extracti128_si256(top, 1);
    __m256i low = _mm256_add_epi32(saturation8(c0, t0),
                                   saturation8(_mm_srli_si128(c0, 8), _mm_srli_si128(t0, 8)));
    __m256i high = _mm256_add_epi32(saturation8(c1, t1),
                                    saturation8(_mm_srli_si128(c1, 8), _mm_srli_si128(t1, 8)));
    return _mm256_add_epi32(low, high);
}

WITH_AVX2 static inline __m256i luma16(__m256i r, __m256i g, __m256i b)
{
    __m256i y = _mm256_add_epi16(_mm256_mullo_epi16(r, _mm256_set1_epi16(77)),
                                 _mm256_mullo_epi16(g, _mm256_set1_epi16(150)));
    y = _mm256_add_epi16(y, _mm256_mullo_epi16(b, _mm256_set1_epi16(29)));
    return _mm256_srli_epi16(_mm256_add_epi16(y, _mm256_set1_epi16(128)), 8);
}

WITH_AVX2 static inline __m256i luma32(__m256i r, __m256i g, __m256i b)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i low = luma16(_mm256_unpacklo_epi8(r, zero), _mm256_unpacklo_epi8(g, zero),
                         _mm256_unpacklo_epi8(b, zero));
    __m256i high = luma16(_mm256_unpackhi_epi8(r, zero), _mm256_unpackhi_epi8(g, zero),
                          _mm256_unpackhi_epi8(b, zero));
    return _mm256_packus_epi16(low, high);
}

/* As many groups of 32 pixels as there are; returns how many pixels. */
WITH_AVX2 static int measure_groups(pixels p, counts *c, uint8_t *luma)
{
    const __m256i zero = _mm256_setzero_si256(), one = _mm256_set1_epi8(1);
    __m256i white = zero, dark = zero, clean = zero, saturation = zero; /* the first three: bytes */
    __m256i red = zero, green = zero, blue = zero;
    int i = 0;
    for (; i + 32 <= p.n; i += 32) {
        __m256i r = load32(p.r + i), g = load32(p.g + i), b = load32(p.b + i);
        __m256i hi = _mm256_max_epu8(r, _mm256_max_epu8(g, b));
        __m256i lo = _mm256_min_epu8(r, _mm256_min_epu8(g, b));
        white = _mm256_sub_epi8(white, _mm256_cmpeq_epi8(below(lo, WSI_WHITE_MIN), zero));
        dark = _mm256_sub_epi8(dark, _mm256_cmpeq_epi8(above(hi, WSI_DARK_MAX), zero));
        clean = _mm256_sub_epi8(clean, _mm256_cmpeq_epi8(pen_excess(r, g, b), zero));
        red = _mm256_add_epi64(red, _mm256_sad_epu8(r, zero));
        green = _mm256_add_epi64(green, _mm256_sad_epu8(g, zero));
        blue = _mm256_add_epi64(blue, _mm256_sad_epu8(b, zero));
        __m256i s = saturation32(_mm256_sub_epi8(hi, lo), _mm256_max_epu8(hi, one));
        saturation = _mm256_add_epi32(saturation, s);
        _mm256_storeu_si256((void *)(luma + i), luma32(r, g, b));
    }
    *c = (counts){.white = sum_of_bytes(white),
                  .dark = sum_of_bytes(dark),
                  .pen = (uint32_t)i - sum_of_bytes(clean),
                  .saturation = sum_of_32(saturation),
                  .red = sum_of_64(red),
                  .green = sum_of_64(green),
                  .blue = sum_of_64(blue)};
    return i;
}

/* As many groups of 16 pixels as there are; returns where it stopped. */
WITH_AVX2 static int laplacian_groups(luma_rows l, laplacian *of)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256(), squares = sum;
    int i = l.from;
    for (; i + 16 <= l.to; i += 16) {
        __m256i v = _mm256_slli_epi16(wide16(l.at + i), 2);
        v = _mm256_sub_epi16(v, _mm256_add_epi16(wide16(l.at + i - 1), wide16(l.at + i + 1)));
        v = _mm256_sub_epi16(v, _mm256_add_epi16(wide16(l.up + i), wide16(l.down + i)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(v, one));
        squares = _mm256_add_epi32(squares, _mm256_madd_epi16(v, v));
    }
    *of = (laplacian){(int32_t)sum_of_32(sum), sum_of_32(squares)};
    return i;
}
#else
#define HAVE_AVX2 0
#define measure_groups(p, c, luma) 0
#define laplacian_groups(l, of) ((l).from)
#endif

/* luma (n) is written. */
static counts measure_chunk(pixels p, uint8_t *luma)
{
    counts c = {0};
    for (int i = HAVE_AVX2 ? measure_groups(p, &c, luma) : 0; i < p.n; i++) {
        int r = p.r[i], g = p.g[i], b = p.b[i];
        int hi = wsi_max3(r, g, b), chroma = hi - wsi_min3(r, g, b);
        c.white += wsi_is_white(r, g, b);
        c.dark += wsi_is_dark(r, g, b);
        c.pen += wsi_is_pen(r, g, b);
        c.red += (uint32_t)r;
        c.green += (uint32_t)g;
        c.blue += (uint32_t)b;
        c.saturation += (uint32_t)(chroma * SATURATION_ONE / MAX(hi, 1));
        luma[i] = (uint8_t)((77 * r + 150 * g + 29 * b + 128) >> 8);
    }
    return c;
}

static laplacian laplacian_chunk(luma_rows l)
{
    laplacian of = {0};
    for (int i = HAVE_AVX2 ? laplacian_groups(l, &of) : l.from; i < l.to; i++) {
        int v = 4 * l.at[i] - l.at[i - 1] - l.at[i + 1] - l.up[i] - l.down[i];
        of.sum += v;
        of.squares += (uint32_t)(v * v);
    }
    return of;
}

/* Adds the Laplacian of inner pixels 1 … n-2 of the middle row. */
static void laplacian_row(luma_rows row, int n, int64_t *sum, uint64_t *squares)
{
    for (row.from = 1; row.from < n - 1; row.from = row.to) {
        row.to = MIN(row.from + CHUNK, n - 1);
        laplacian of = laplacian_chunk(row);
        *sum += of.sum;
        *squares += of.squares;
    }
}

void wsi_quality_measure(const uint8_t *rgb, size_t row_bytes, int valid_w, int valid_h,
                         wsi_quality *q, double *mean_rgb)
{
    g_assert(valid_w >= 1 && valid_w <= ROW_MAX && valid_h >= 1);
    uint8_t luma[3][ROW_MAX], r[CHUNK], g[CHUNK], b[CHUNK];
    uint64_t white = 0, dark = 0, pen = 0, saturation = 0, sum_rgb[3] = {0}, squares = 0;
    int64_t sum = 0;
    for (int y = 0; y < valid_h; y++) {
        const uint8_t *row = rgb + (size_t)y * row_bytes;
        for (int x = 0; x < valid_w; x += CHUNK) {
            int n = MIN(CHUNK, valid_w - x);
            qs_rgb_split(row + 3 * x, (size_t)n, r, g, b);
            counts c = measure_chunk((pixels){r, g, b, n}, luma[y % 3] + x);
            white += c.white;
            dark += c.dark;
            pen += c.pen;
            saturation += c.saturation;
            sum_rgb[0] += c.red;
            sum_rgb[1] += c.green;
            sum_rgb[2] += c.blue;
        }
        if (y >= 2)
            laplacian_row((luma_rows){luma[(y - 2) % 3], luma[(y - 1) % 3], luma[y % 3], 0, 0},
                          valid_w, &sum, &squares);
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
