/* The arithmetic of augmentation, pixel by pixel: one place for the loader's threads (train/) and
 * for the GPU's kernels. Valid as C17 and CUDA. Sums and products are to stay as they are written:
 * whoever includes this compiles without contraction to FMA (-ffp-contract=off, --fmad=false), and
 * then everything but kn_normals4 has the same bits everywhere. kn_normals4 takes its logarithm,
 * sine and cosine from the platform: their last places may differ, and with them one grey level of
 * a noisy byte that lies between two. */
#ifndef QS_KERNELS_AUGMENT_PIXEL_H
#define QS_KERNELS_AUGMENT_PIXEL_H

#include "base/philox.h" /* QS_DEVICE */
#include "kernels/engine/augment.h"

#include <math.h>

/* Grey of R, G, B (ITU-R BT.601). */
#define KN_GREY_R 0.299
#define KN_GREY_G 0.587
#define KN_GREY_B 0.114

/* Is (x,y) in the box? */
QS_DEVICE int kn_in_box(kn_box box, int x, int y)
{
    return x >= box.x0 && x < box.x1 && y >= box.y0 && y < box.y1;
}

/* Rounded and cut to 0 … 255. */
QS_DEVICE uint8_t kn_to_byte(float v)
{
    return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : (int)(v + 0.5f));
}

/* One component of an affine map of three. */
QS_DEVICE float kn_affine(const float row[3], float offset, float r, float g, float b)
{
    return r * row[0] + g * row[1] + b * row[2] + offset;
}

/* The byte of an optical density. */
QS_DEVICE uint8_t kn_byte_of_density(float density)
{
    return kn_to_byte(256.0f * expf(-density) - 1.0f);
}

/* The same from the table's limits, whatever the platform's expf: it only says where to look. */
QS_DEVICE uint8_t kn_byte_by_limits(const float *limit, float density)
{
    int k = kn_byte_of_density(density);
    while (k < 255 && density < limit[k])
        k++;
    while (k > 0 && density >= limit[k - 1])
        k--;
    return (uint8_t)k;
}

/* Mean grey of n pixels from the sums of their channels. */
QS_DEVICE double kn_mean_grey(int64_t r, int64_t g, int64_t b, int64_t n)
{
    return (KN_GREY_R * (double)r + KN_GREY_G * (double)g + KN_GREY_B * (double)b) / (double)n;
}

/* Four normal numbers, Box-Muller on one block of Philox. */
QS_DEVICE void kn_normals4(uint64_t seed, uint64_t block, uint64_t stream, float out[4])
{
    qs_philox4 r = qs_philox(seed, block, stream);
    for (int k = 0; k < 4; k += 2) {
        float radius = sqrtf(-2.0f * logf(1.0f - qs_u32_to_unit_f32(r.v[k])));
        float angle = 6.28318530718f * qs_u32_to_unit_f32(r.v[k + 1]);
        out[k] = radius * cosf(angle);
        out[k + 1] = radius * sinf(angle);
    }
}

/* Noise on a normalised input, cut at two sigma. */
QS_DEVICE float kn_input_noise(float sigma, float normal)
{
    float x = sigma * normal, limit = 2 * sigma;
    return x < -limit ? -limit : x > limit ? limit : x;
}

#endif
