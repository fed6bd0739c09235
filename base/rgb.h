/* Interleaved RGB taken apart and put together, sixteen pixels at a time where the processor can
 * (SSSE3), plainly elsewhere: what a compiler makes of a stride of three bytes is several times
 * slower, and every pixel of a slide passes here. */
#ifndef QS_BASE_RGB_H
#define QS_BASE_RGB_H

#include <stddef.h>
#include <stdint.h>

/* rgb (n,3) → r, g, b (n) each. Must not overlap. */
void qs_rgb_split(const uint8_t *rgb, size_t n, uint8_t *r, uint8_t *g, uint8_t *b);
/* r, g, b (n) each → rgb (n,3). Must not overlap. */
void qs_rgb_join(const uint8_t *r, const uint8_t *g, const uint8_t *b, size_t n, uint8_t *rgb);
/* 0xAARRGGBB → rgb (n,3), the alpha dropped; stops before the first group of pixels that are not
 * all opaque. Returns how many were done. */
size_t qs_rgb_from_opaque_argb(const uint32_t *argb, size_t n, uint8_t *rgb);

#endif
