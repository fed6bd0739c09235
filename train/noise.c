/* Box-Muller on Philox blocks: one block gives two pairs of normal numbers, so a 256² batch of
 * 12 costs 0.6 M blocks. */
#include "train/noise.h"

#include "base/philox.h"

#include <math.h>
#include <stdbool.h>
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

static bool is_in(kn_box box, int x, int y)
{
    return x >= box.x0 && x < box.x1 && y >= box.y0 && y < box.y1;
}

/* Row y of one image. */
static void fill_row(const kn_tensor *dst, ptrdiff_t pixel, const tr_image *image, int y,
                     double sigma, uint64_t seed, uint64_t stream)
{
    float s = (float)sigma, normal[4] = {0};
    uint64_t block = UINT64_MAX, row = (uint64_t)y * (uint64_t)dst->w * (uint64_t)dst->c;
    uint64_t first = image->at * (uint64_t)dst->h * (uint64_t)dst->w * (uint64_t)dst->c + row;
    for (int x = 0; x < dst->w; x++) {
        const float *src = is_in(image->box, x, y) ? image->inner : image->src;
        bool blank = is_in(image->hole, x, y);
        for (int c = 0; c < dst->c; c++) {
            uint64_t k = (uint64_t)x * (uint64_t)dst->c + (uint64_t)c, at = first + k;
            float v = blank ? 0 : src[row + k];
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

void tr_input_fill(const kn_tensor *dst, const tr_image *images, double sigma, uint64_t seed,
                   uint64_t stream)
{
    int rows = dst->n * dst->h;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++)
        fill_row(dst, (ptrdiff_t)r * dst->w, &images[r / dst->h], r % dst->h, sigma, seed, stream);
}
