/* Box-Muller on Philox blocks: one block gives two pairs of normal numbers, so a 256² batch of
 * 12 costs 0.6 M blocks. */
#include "train/noise.h"

#include "base/philox.h"

#include <math.h>
#include <stddef.h>

static void normals4(uint64_t seed, uint64_t stream, uint64_t block, float out[4])
{
    qs_philox4 r = qs_philox(seed, block, stream);
    for (int k = 0; k < 4; k += 2) {
        float radius = sqrtf(-2.0f * logf(1.0f - qs_u32_to_unit_f32(r.v[k])));
        float angle = 6.28318530718f * qs_u32_to_unit_f32(r.v[k + 1]);
        out[k] = radius * cosf(angle);
        out[k + 1] = radius * sinf(angle);
    }
}

static float clipped(float x, float limit)
{
    return x < -limit ? -limit : x > limit ? limit : x;
}

/* One row: n dense elements from element `at` of src. */
static void fill_row(const kn_tensor *dst, ptrdiff_t pixel, const float *src, uint64_t at,
                     double sigma, uint64_t seed, uint64_t stream)
{
    float s = (float)sigma, normal[4] = {0};
    uint64_t block = UINT64_MAX;
    for (int x = 0; x < dst->w; x++) {
        for (int c = 0; c < dst->c; c++, at++) {
            float v = src[at];
            if (sigma > 0) {
                if (at / 4 != block) {
                    block = at / 4;
                    normals4(seed, stream, block, normal);
                }
                v += clipped(s * normal[at % 4], 2 * s);
            }
            ptrdiff_t to = (pixel + x) * dst->ldc + c;
            if (dst->dtype == KN_F64)
                kn_f64(dst)[to] = (double)v;
            else
                kn_f32(dst)[to] = v;
        }
    }
}

void tr_input_fill(const kn_tensor *dst, const float *src, int first, double sigma, uint64_t seed,
                   uint64_t stream)
{
    int rows = dst->n * dst->h;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        ptrdiff_t pixel = (ptrdiff_t)r * dst->w;
        uint64_t at = ((uint64_t)first * (uint64_t)dst->h * (uint64_t)dst->w + (uint64_t)pixel) *
                      (uint64_t)dst->c;
        fill_row(dst, pixel, src, at, sigma, seed, stream);
    }
}
