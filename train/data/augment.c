/* Stain jitter in optical density (Ruifrok and Johnston 2001; the jitter of Tellez et al. 2018):
 * od = -ln((v+1)/256) per channel, stains s = od·M⁻¹ with the rows of M the unit densities of
 * haematoxylin, eosin and DAB, each stain scaled and shifted, back with M. That is one affine map
 * of the three densities, and a brightness factor is a shift of all of them, so a pixel costs nine
 * multiplications and three exponentials. */
#include "train/data/augment.h"

#include "kernels/engine/augment_pixel.h"

#include <math.h>
#include <string.h>

static const double stains[3][3] = {{.65, .70, .29}, {.07, .99, .11}, {.27, .57, .78}};

static void invert(const double m[3][3], double out[3][3])
{
    double det = 0;
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) {
            int r0 = (j + 1) % 3, r1 = (j + 2) % 3, c0 = (i + 1) % 3, c1 = (i + 2) % 3;
            out[i][j] =
                m[r0][c0] * m[r1][c1] - m[r0][c1] * m[r1][c0]; /* cyclic: the sign is in it */
        }
    }
    for (int j = 0; j < 3; j++)
        det += m[0][j] * out[j][0];
    for (int i = 0; i < 9; i++)
        out[i / 3][i % 3] /= det;
}

void tr_augment_none(tr_augment *a)
{
    *a = (tr_augment){.colour = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
}

void tr_augment_draw(tr_augment *a, qs_rng *rng, double theta, double brightness)
{
    tr_augment_none(a);
    a->flip_x = qs_rng_below(rng, 2) != 0;
    a->flip_y = qs_rng_below(rng, 2) != 0;
    a->quarter_turns = (int)qs_rng_below(rng, 4);
    a->jitter = theta > 0 || brightness > 0;
    double inverse[3][3], scale[3], shift[3];
    invert(stains, inverse);
    for (int s = 0; s < 3; s++) {
        scale[s] = qs_rng_range(rng, 1 - theta, 1 + theta);
        shift[s] = qs_rng_range(rng, -theta, theta);
    }
    double darker = -log(qs_rng_range(rng, 1 - brightness, 1 + brightness));
    for (int j = 0; j < 3; j++) {
        double offset = darker;
        for (int i = 0; i < 3; i++) {
            double sum = 0;
            for (int s = 0; s < 3; s++)
                sum += inverse[i][s] * scale[s] * stains[s][j];
            a->colour[i][j] = (float)sum;
            offset += shift[i] * stains[i][j];
        }
        a->offset[j] = (float)offset;
    }
}

void tr_augment_origin(const tr_augment *a, int size, int x, int y, int *src_x, int *src_y)
{
    int last = size - 1;
    for (int k = 0; k < a->quarter_turns;
         k++) { /* undo one clockwise turn: (x,y) was at (y, last-x) */
        int t = x;
        x = y;
        y = last - t;
    }
    *src_x = a->flip_x ? last - x : x;
    *src_y = a->flip_y ? last - y : y;
}

void tr_augment_geometry(const tr_augment *a, const uint8_t *src, int size, int n_bytes,
                         uint8_t *dst)
{
    /* The map is affine with coefficients -1, 0, 1: three points give it. */
    int x0, y0, x1, y1, x2, y2;
    tr_augment_origin(a, size, 0, 0, &x0, &y0);
    tr_augment_origin(a, size, 1, 0, &x1, &y1);
    tr_augment_origin(a, size, 0, 1, &x2, &y2);
    ptrdiff_t step_x = ((ptrdiff_t)(y1 - y0) * size + (x1 - x0)) * n_bytes;
    ptrdiff_t step_y = ((ptrdiff_t)(y2 - y0) * size + (x2 - x0)) * n_bytes;
    const uint8_t *row = src + ((ptrdiff_t)y0 * size + x0) * n_bytes;
    for (int y = 0; y < size; y++, row += step_y) {
        const uint8_t *p = row;
        if (step_x == n_bytes) {
            memcpy(dst, p, (size_t)size * (size_t)n_bytes);
            dst += (ptrdiff_t)size * n_bytes;
            continue;
        }
        for (int x = 0; x < size; x++, p += step_x)
            for (int b = 0; b < n_bytes; b++)
                *dst++ = p[b];
    }
}

void tr_augment_weak(const tr_augment *a, int size, kn_weak *w)
{
    int x[3], y[3]; /* the map is affine with coefficients -1, 0, 1: three points give it */
    tr_augment_origin(a, size, 0, 0, &x[0], &y[0]);
    tr_augment_origin(a, size, 1, 0, &x[1], &y[1]);
    tr_augment_origin(a, size, 0, 1, &x[2], &y[2]);
    w->first = y[0] * size + x[0];
    w->step_x = (y[1] - y[0]) * size + (x[1] - x[0]);
    w->step_y = (y[2] - y[0]) * size + (x[2] - x[0]);
    w->jitter = a->jitter;
    tr_augment_rows(a, w->colour, w->offset);
}

void tr_augment_rows(const tr_augment *a, float rows[3][3], float offset[3])
{
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < 3; i++)
            rows[j][i] = a->colour[i][j];
        offset[j] = a->offset[j];
    }
}

void tr_augment_densities(float density[256])
{
    for (int v = 0; v < 256; v++)
        density[v] = -logf((float)(v + 1) / 256.0f);
}

/* Floats in their order as integers, and back. */
static float float_of(int32_t order)
{
    int32_t bits = order < 0 ? (int32_t)(INT32_MIN - order) : order;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void tr_augment_limits(float limit[256])
{
    /* Densities of ±64: bytes 255 and 0. kn_byte_of_density never rises. */
    const int32_t order_of_64 = 0x42800000;
    for (int k = 0; k < 255; k++) {
        int64_t above = -order_of_64, at_most = order_of_64;
        while (at_most - above > 1) {
            int64_t middle = above + (at_most - above) / 2;
            if (kn_byte_of_density(float_of((int32_t)middle)) <= k)
                at_most = middle;
            else
                above = middle;
        }
        limit[k] = float_of((int32_t)at_most);
    }
    limit[255] = -INFINITY;
}

void tr_augment_colour(const tr_augment *a, uint8_t *rgb, int64_t n)
{
    if (!a->jitter)
        return;
    float od[256], rows[3][3], offset[3];
    tr_augment_densities(od);
    tr_augment_rows(a, rows, offset);
    for (int64_t i = 0; i < n; i++, rgb += 3) {
        float r = od[rgb[0]], g = od[rgb[1]], b = od[rgb[2]];
        for (int j = 0; j < 3; j++)
            rgb[j] = kn_byte_of_density(kn_affine(rows[j], offset[j], r, g, b));
    }
}
