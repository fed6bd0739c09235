/* See rgb.h. Sixteen pixels are three registers of 16 bytes; byte i of channel c is byte 3i + c of
 * the 48. Each output register gathers its bytes from up to three inputs by shuffles whose other
 * lanes are zero, and ORs them. */
#include "base/rgb.h"

#if defined(__x86_64__)
#include <tmmintrin.h>
#define HAVE_SSSE3 __builtin_cpu_supports("ssse3")
#else
#define HAVE_SSSE3 0
#endif

enum { GROUP = 16 };

#if defined(__x86_64__)
#define WITH_SSSE3 __attribute__((target("ssse3")))
#define Z (-128) /* a shuffle's index for a zero byte */

WITH_SSSE3 static inline __m128i or3(__m128i a, __m128i b, __m128i c)
{
    return _mm_or_si128(_mm_or_si128(a, b), c);
}

/* The loads and stores below are unaligned ones: any address will do. */
WITH_SSSE3 static inline __m128i load(const void *p)
{
    return _mm_loadu_si128(p);
}

WITH_SSSE3 static inline void store(void *p, __m128i v)
{
    _mm_storeu_si128(p, v);
}

WITH_SSSE3 static size_t split_groups(const uint8_t *rgb, size_t n, uint8_t *r, uint8_t *g,
                                      uint8_t *b)
{
    const __m128i r0 = _mm_setr_epi8(0, 3, 6, 9, 12, 15, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z),
                  r1 = _mm_setr_epi8(Z, Z, Z, Z, Z, Z, 2, 5, 8, 11, 14, Z, Z, Z, Z, Z),
                  r2 = _mm_setr_epi8(Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, 1, 4, 7, 10, 13),
                  g0 = _mm_setr_epi8(1, 4, 7, 10, 13, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z),
                  g1 = _mm_setr_epi8(Z, Z, Z, Z, Z, 0, 3, 6, 9, 12, 15, Z, Z, Z, Z, Z),
                  g2 = _mm_setr_epi8(Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, 2, 5, 8, 11, 14),
                  b0 = _mm_setr_epi8(2, 5, 8, 11, 14, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z),
                  b1 = _mm_setr_epi8(Z, Z, Z, Z, Z, 1, 4, 7, 10, 13, Z, Z, Z, Z, Z, Z),
                  b2 = _mm_setr_epi8(Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, 0, 3, 6, 9, 12, 15);
    size_t i = 0;
    for (; i + GROUP <= n; i += GROUP) {
        const uint8_t *p = rgb + 3 * i;
        __m128i x = load(p), y = load(p + 16), z = load(p + 32);
        store(r + i,
              or3(_mm_shuffle_epi8(x, r0), _mm_shuffle_epi8(y, r1), _mm_shuffle_epi8(z, r2)));
        store(g + i,
              or3(_mm_shuffle_epi8(x, g0), _mm_shuffle_epi8(y, g1), _mm_shuffle_epi8(z, g2)));
        store(b + i,
              or3(_mm_shuffle_epi8(x, b0), _mm_shuffle_epi8(y, b1), _mm_shuffle_epi8(z, b2)));
    }
    return i;
}

WITH_SSSE3 static size_t join_groups(const uint8_t *r, const uint8_t *g, const uint8_t *b, size_t n,
                                     uint8_t *rgb)
{
    const __m128i x0 = _mm_setr_epi8(0, Z, Z, 1, Z, Z, 2, Z, Z, 3, Z, Z, 4, Z, Z, 5),
                  x1 = _mm_setr_epi8(Z, 0, Z, Z, 1, Z, Z, 2, Z, Z, 3, Z, Z, 4, Z, Z),
                  x2 = _mm_setr_epi8(Z, Z, 0, Z, Z, 1, Z, Z, 2, Z, Z, 3, Z, Z, 4, Z),
                  y0 = _mm_setr_epi8(Z, Z, 6, Z, Z, 7, Z, Z, 8, Z, Z, 9, Z, Z, 10, Z),
                  y1 = _mm_setr_epi8(5, Z, Z, 6, Z, Z, 7, Z, Z, 8, Z, Z, 9, Z, Z, 10),
                  y2 = _mm_setr_epi8(Z, 5, Z, Z, 6, Z, Z, 7, Z, Z, 8, Z, Z, 9, Z, Z),
                  z0 = _mm_setr_epi8(Z, 11, Z, Z, 12, Z, Z, 13, Z, Z, 14, Z, Z, 15, Z, Z),
                  z1 = _mm_setr_epi8(Z, Z, 11, Z, Z, 12, Z, Z, 13, Z, Z, 14, Z, Z, 15, Z),
                  z2 = _mm_setr_epi8(10, Z, Z, 11, Z, Z, 12, Z, Z, 13, Z, Z, 14, Z, Z, 15);
    size_t i = 0;
    for (; i + GROUP <= n; i += GROUP) {
        uint8_t *p = rgb + 3 * i;
        __m128i red = load(r + i), green = load(g + i), blue = load(b + i);
        store(p, or3(_mm_shuffle_epi8(red, x0), _mm_shuffle_epi8(green, x1),
                     _mm_shuffle_epi8(blue, x2)));
        store(p + 16, or3(_mm_shuffle_epi8(red, y0), _mm_shuffle_epi8(green, y1),
                          _mm_shuffle_epi8(blue, y2)));
        store(p + 32, or3(_mm_shuffle_epi8(red, z0), _mm_shuffle_epi8(green, z1),
                          _mm_shuffle_epi8(blue, z2)));
    }
    return i;
}

/* Four pixels are B G R A … in memory: twelve bytes of each register are kept. */
WITH_SSSE3 static size_t argb_groups(const uint32_t *argb, size_t n, uint8_t *rgb)
{
    const __m128i keep = _mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, Z, Z, Z, Z);
    const __m128i alpha = _mm_set1_epi32((int)0xff000000u);
    size_t i = 0;
    for (; i + GROUP <= n; i += GROUP) {
        const uint32_t *p = argb + i;
        __m128i a = load(p), b = load(p + 4), c = load(p + 8), d = load(p + 12);
        __m128i all = _mm_and_si128(_mm_and_si128(a, b), _mm_and_si128(c, d));
        all = _mm_cmpeq_epi32(_mm_and_si128(all, alpha), alpha);
        if (_mm_movemask_epi8(all) != 0xffff)
            break;
        a = _mm_shuffle_epi8(a, keep);
        b = _mm_shuffle_epi8(b, keep);
        c = _mm_shuffle_epi8(c, keep);
        d = _mm_shuffle_epi8(d, keep);
        uint8_t *q = rgb + 3 * i;
        store(q, _mm_or_si128(a, _mm_slli_si128(b, 12)));
        store(q + 16, _mm_or_si128(_mm_srli_si128(b, 4), _mm_slli_si128(c, 8)));
        store(q + 32, _mm_or_si128(_mm_srli_si128(c, 8), _mm_slli_si128(d, 4)));
    }
    return i;
}
#else
#define split_groups(rgb, n, r, g, b) ((size_t)0)
#define join_groups(r, g, b, n, rgb) ((size_t)0)
#define argb_groups(argb, n, rgb) ((size_t)0)
#endif

void qs_rgb_split(const uint8_t *rgb, size_t n, uint8_t *r, uint8_t *g, uint8_t *b)
{
    for (size_t i = HAVE_SSSE3 ? split_groups(rgb, n, r, g, b) : 0; i < n; i++) {
        r[i] = rgb[3 * i];
        g[i] = rgb[3 * i + 1];
        b[i] = rgb[3 * i + 2];
    }
}

void qs_rgb_join(const uint8_t *r, const uint8_t *g, const uint8_t *b, size_t n, uint8_t *rgb)
{
    for (size_t i = HAVE_SSSE3 ? join_groups(r, g, b, n, rgb) : 0; i < n; i++) {
        rgb[3 * i] = r[i];
        rgb[3 * i + 1] = g[i];
        rgb[3 * i + 2] = b[i];
    }
}

size_t qs_rgb_from_opaque_argb(const uint32_t *argb, size_t n, uint8_t *rgb)
{
    if (HAVE_SSSE3 && n >= GROUP)
        return argb_groups(argb, n, rgb);
    size_t i = 0;
    for (; i < n && argb[i] >> 24 == 255; i++) {
        rgb[3 * i] = (uint8_t)(argb[i] >> 16);
        rgb[3 * i + 1] = (uint8_t)(argb[i] >> 8);
        rgb[3 * i + 2] = (uint8_t)argb[i];
    }
    return i;
}
