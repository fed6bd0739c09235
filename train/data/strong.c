#include "train/data/strong.h"

#include "kernels/engine/augment_pixel.h"

#include <glib.h>
#include <math.h>
#include <string.h>

static const double GREY[3] = {KN_GREY_R, KN_GREY_G, KN_GREY_B};

void tr_strong_draw(tr_strong *s, qs_rng *rng, const tr_strong_options *o)
{
    *s = (tr_strong){0};
    s->jitter = qs_rng_unit(rng) < o->jitter_p;
    s->brightness = qs_rng_range(rng, 1 - o->brightness, 1 + o->brightness);
    s->contrast = qs_rng_range(rng, 1 - o->contrast, 1 + o->contrast);
    s->saturation = qs_rng_range(rng, 1 - o->saturation, 1 + o->saturation);
    s->hue = qs_rng_range(rng, -o->hue, o->hue);
    s->stain = qs_rng_unit(rng) < o->stain_p;
    tr_augment_draw(&s->colour, rng, o->stain, 0);
    s->blur = qs_rng_unit(rng) < o->blur_p;
    s->blur_sigma = qs_rng_range(rng, MIN(0.1, o->blur_max), o->blur_max);
    s->noise = qs_rng_unit(rng) < o->noise_p;
    s->noise_sigma = qs_rng_range(rng, 0, o->noise_max);
    s->noise_seed = qs_rng_u64(rng);
}

static void multiply(double a[3][3], double b[3][3])
{
    double out[3][3] = {{0}};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 3; k++)
                out[i][j] += b[i][k] * a[k][j];
    memcpy(a, out, sizeof out);
}

void tr_strong_matrix(const tr_strong *s, double mean_grey, double m[3][3], double offset[3])
{
    double saturate[3][3], turn[3][3];
    double c = cos(2 * G_PI * s->hue), d = sin(2 * G_PI * s->hue) / sqrt(3), e = (1 - c) / 3;
    double shift = (1 - s->contrast) * s->brightness * mean_grey;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            m[i][j] = i == j ? s->brightness * s->contrast : 0;
            saturate[i][j] = (i == j ? s->saturation : 0) + (1 - s->saturation) * GREY[j];
            /* Rodrigues about (1,1,1)/√3 */
            turn[i][j] = i == j ? c + e : (j == (i + 2) % 3 ? e + d : e - d);
        }
    multiply(m, saturate);
    multiply(m, turn);
    for (int i = 0; i < 3; i++) /* saturation and turn leave grey as it is */
        offset[i] = shift;
}

static void jitter(const tr_strong *s, uint8_t *rgb, int64_t n)
{
    int64_t sum[3] = {0, 0, 0}; /* whole numbers: the mean is the same in any order */
    double m[3][3], offset[3];
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            sum[c] += rgb[3 * i + c];
    tr_strong_matrix(s, kn_mean_grey(sum[0], sum[1], sum[2], n), m, offset);
    float f[3][3], o[3];
    for (int i = 0; i < 3; i++) {
        o[i] = (float)offset[i];
        for (int j = 0; j < 3; j++)
            f[i][j] = (float)m[i][j];
    }
    for (int64_t i = 0; i < n; i++, rgb += 3) {
        float r = rgb[0], g = rgb[1], b = rgb[2];
        for (int k = 0; k < 3; k++)
            rgb[k] = kn_to_byte(kn_affine(f[k], o[k], r, g, b));
    }
}

/* Weights of offsets -radius … radius, which sum to 1. */
static int gaussian(double sigma, float *weights)
{
    int radius = CLAMP((int)ceil(3 * sigma), 1, KN_BLUR_RADIUS_MAX);
    double sum = 0;
    for (int k = -radius; k <= radius; k++)
        sum += exp(-0.5 * k * k / (sigma * sigma));
    for (int k = -radius; k <= radius; k++)
        weights[k + radius] = (float)(exp(-0.5 * k * k / (sigma * sigma)) / sum);
    return radius;
}

/* Along rows into the scratch, then along columns back; the border is repeated. */
static void blur(double sigma, uint8_t *rgb, int size, float *scratch)
{
    float weights[2 * KN_BLUR_RADIUS_MAX + 1];
    int radius = gaussian(sigma, weights), row = 3 * size;
    memset(scratch, 0, (size_t)size * (size_t)row * sizeof(float));
    for (int y = 0; y < size; y++)
        for (int k = -radius; k <= radius; k++) {
            const uint8_t *src = rgb + (ptrdiff_t)y * row;
            float *to = scratch + (ptrdiff_t)y * row, w = weights[k + radius];
            for (int x = 0; x < size; x++) {
                int from = CLAMP(x + k, 0, size - 1);
                for (int c = 0; c < 3; c++)
                    to[3 * x + c] += w * src[3 * from + c];
            }
        }
    for (int y = 0; y < size; y++)
        for (int i = 0; i < row; i++) {
            float sum = 0;
            for (int k = -radius; k <= radius; k++)
                sum +=
                    weights[k + radius] * scratch[(ptrdiff_t)CLAMP(y + k, 0, size - 1) * row + i];
            rgb[(ptrdiff_t)y * row + i] = kn_to_byte(sum);
        }
}

/* One block of normal numbers is for four bytes. */
static void add_noise(double sigma, uint64_t seed, uint8_t *rgb, int64_t n)
{
    float s = (float)(255 * sigma);
    for (int64_t i = 0; i < n; i += 4) {
        float normal[4];
        kn_normals4(seed, (uint64_t)(i / 4), 0, normal);
        for (int k = 0; k < 4 && i + k < n; k++)
            rgb[i + k] = kn_to_byte((float)rgb[i + k] + s * normal[k]);
    }
}

void tr_strong_apply(const tr_strong *s, uint8_t *rgb, int size, float *scratch)
{
    int64_t n = (int64_t)size * size;
    if (s->jitter)
        jitter(s, rgb, n);
    if (s->stain)
        tr_augment_colour(&s->colour, rgb, n);
    if (s->blur && s->blur_sigma > 0)
        blur(s->blur_sigma, rgb, size, scratch);
    if (s->noise && s->noise_sigma > 0)
        add_noise(s->noise_sigma, s->noise_seed, rgb, 3 * n);
}

void tr_strong_pack(const tr_strong *s, kn_strong *to)
{
    double m[3][3], offset[3];
    *to = (kn_strong){.jitter = s->jitter, .stain = s->stain && s->colour.jitter};
    tr_strong_matrix(s, 0, m, offset);
    for (int i = 0; i < 9; i++)
        to->map[i / 3][i % 3] = (float)m[i / 3][i % 3];
    to->shift = (1 - s->contrast) * s->brightness;
    tr_augment_rows(&s->colour, to->colour, to->offset);
    if (s->blur && s->blur_sigma > 0)
        to->radius = gaussian(s->blur_sigma, to->weights);
    to->noise = s->noise && s->noise_sigma > 0;
    to->noise_scale = (float)(255 * s->noise_sigma);
    to->noise_seed = s->noise_seed;
}
