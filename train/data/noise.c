/* Box-Muller on Philox blocks: one block gives two pairs of normal numbers, so a 256² batch of
 * 12 costs 0.6 M blocks. */
#include "train/data/noise.h"

#include "kernels/engine/augment_pixel.h"

#include <stdbool.h>
#include <stddef.h>

/* Row y of one image. */
static void fill_row(const kn_tensor *dst, ptrdiff_t pixel, const tr_image *image, int y,
                     double sigma, uint64_t seed, uint64_t stream)
{
    float s = (float)sigma, normal[4] = {0};
    uint64_t block = UINT64_MAX, row = (uint64_t)y * (uint64_t)dst->w * (uint64_t)dst->c;
    uint64_t first = image->at * (uint64_t)dst->h * (uint64_t)dst->w * (uint64_t)dst->c + row;
    for (int x = 0; x < dst->w; x++) {
        const float *src = kn_in_box(image->box, x, y) ? image->inner : image->src;
        bool blank = kn_in_box(image->hole, x, y);
        for (int c = 0; c < dst->c; c++) {
            uint64_t k = (uint64_t)x * (uint64_t)dst->c + (uint64_t)c, at = first + k;
            float v = blank ? 0 : src[row + k];
            if (sigma > 0) {
                if (at / 4 != block) {
                    block = at / 4;
                    kn_normals4(seed, block, stream, normal);
                }
                v += kn_input_noise(s, normal[at % 4]);
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
