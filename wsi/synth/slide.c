/* One synthetic slide's parameters, drawn from (seed, slide).
 *
 * Tissue is a ragged patch that covers 55-80 % of the slide; tumour is a union of a few large
 * regions and some small islands, roughened by noise, whose outline is moved until it takes a
 * drawn share (15-36 %) of the tissue. Both levels are found as quantiles on a coarse grid, so the
 * shares hold for any size. Stain vectors start from Macenko et al. (ISBI 2009) and Ruifrok &
 * Johnston (2001) and vary by slide, as does nearly everything else: what is common to all slides
 * is how benign and malignant tissue are built. */
#include "wsi/synth/synth_priv.h"

#include "wsi/synth/math.h"

#include <math.h>
#include <stdlib.h>

enum { GRID = 128 }; /* points a side for the quantiles */

/* A short stream of parameters of one slide. */
typedef struct {
    uint64_t key;
    int32_t n;
} draw;

static float next(draw *d, float lo, float hi)
{
    return synth_range(synth_hash(d->key, L_PARAM, d->n++, 0), 1, lo, hi);
}

/* exp(x) by its series; |x| <= 1. */
static double series_exp(double x)
{
    double term = 1, sum = 1;
    for (int i = 1; i < 20; i++) {
        term = term * x / i;
        sum += term;
    }
    return sum;
}

static void fill_angles(synth_slide *s)
{
    /* One step's sine and cosine by their series, then rotation. */
    double x = 6.283185307179586 / SYNTH_ANGLES, x2 = x * x;
    double s1 = x * (1 - x2 / 6 * (1 - x2 / 20)), c1 = 1 - x2 / 2 * (1 - x2 / 12 * (1 - x2 / 30));
    double c = 1, sn = 0;
    for (int i = 0; i < SYNTH_ANGLES; i++) {
        s->cosine[i] = (float)c;
        s->sine[i] = (float)sn;
        double turned = c * c1 - sn * s1;
        sn = c * s1 + sn * c1;
        c = turned;
    }
}

void wsi_synth_fill_transfer(synth_slide *s)
{
    for (int c = 0; c < 3; c++) {
        double step = series_exp(-1.0 / 1024 * (double)s->contrast[c]), value = 1;
        for (int i = 0; i < SYNTH_TRANSFER; i++) {
            s->transfer[c][i] = (uint8_t)(s->white[c] * value + 0.5);
            value *= step;
        }
    }
}

static void draw_stain(synth_slide *s, draw *d)
{
    static const float HAEMATOXYLIN[3] = {0.61f, 0.70f, 0.35f}, EOSIN[3] = {0.17f, 0.82f, 0.50f};
    float brightness = next(d, 222, 250);
    for (int c = 0; c < 3; c++) {
        s->haematoxylin[c] = HAEMATOXYLIN[c] + next(d, -0.09f, 0.09f);
        s->eosin[c] = EOSIN[c] + next(d, -0.09f, 0.09f);
        s->white[c] = synth_clamp(brightness + next(d, -7, 7), 200, 254);
    }
    s->gain_h = next(d, 0.72f, 1.3f);
    s->gain_e = next(d, 0.65f, 1.35f);
    float side = next(d, 0, 0.42f), far = side * next(d, 0.1f, 0.55f); /* sigma 0 to about 1.1 px */
    float sum = 1 + 2 * side + 2 * far;
    s->blur[0] = 1 / sum;
    s->blur[1] = side / sum;
    s->blur[2] = far / sum;
    s->vignette = next(d, 0, 0.04f);
    s->sensor_noise = next(d, 1.5f, 5);
    for (int c = 0; c < 3; c++)
        s->contrast[c] = 1;
    wsi_synth_fill_transfer(s);
}

static void draw_morphology(synth_slide *s, draw *d)
{
    s->crypt_pitch = next(d, 66, 88);
    s->crypt_mucin = next(d, 0.1f, 0.75f);
    s->nest_pitch = next(d, 52, 70);
    s->nest_lumens = next(d, 0.35f, 0.8f);
    s->nucleus_scale = next(d, 0.9f, 1.12f);
    s->inflamed_level = next(d, -0.12f, 0.18f);
    s->glandular_level = next(d, -0.1f, 0.28f);
    int angle = (int)next(d, 0, SYNTH_ANGLES);
    s->fibre_cos = s->cosine[angle];
    s->fibre_sin = s->sine[angle];
}

static void draw_pen(synth_slide *s, draw *d)
{
    static const float INKS[4][3] = {
        {0.20f, 0.28f, 0.72f}, {0.15f, 0.15f, 0.17f}, {0.15f, 0.55f, 0.30f}, {0.75f, 0.16f, 0.20f}};
    s->pen = next(d, 0, 1) < 0.3f;
    int ink = (int)next(d, 0, 4);
    for (int c = 0; c < 3; c++)
        s->pen_ink[c] = INKS[ink][c];
    float least = s->w < s->h ? s->w : s->h;
    s->pen_width = next(d, 0.006f, 0.014f) * least;
    s->n_pen = 8 + (int)next(d, 0, SYNTH_PEN_MAX - 8);
    int angle = (int)next(d, 0, SYNTH_ANGLES);
    float radius = next(d, 0.40f, 0.47f);
    for (int i = 0; i < s->n_pen; i++) {
        int at = (angle + i * 20) % SYNTH_ANGLES;
        float wobble = 1 + 0.06f * synth_noise(s->key, L_PEN, (float)i * 0.4f, 0);
        s->pen_x[i] = s->w * (0.5f + radius * wobble * s->cosine[at]);
        s->pen_y[i] = s->h * (0.5f + radius * wobble * s->sine[at]);
    }
}

/* ---- regions ---- */

static float tissue_raw(const synth_slide *s, float x, float y)
{
    float nx = 2 * x / s->w - 1, ny = 2 * y / s->h - 1;
    float scale = (s->w < s->h ? s->w : s->h) / 3;
    float d = sqrtf(sqrtf(nx * nx * nx * nx + ny * ny * ny * ny));
    return 1 - d + 0.55f * synth_fbm(s->key, L_TISSUE, x / scale, y / scale) +
           0.035f * synth_fbm(s->key, L_TISSUE_EDGE, x / 70, y / 70);
}

/* Signed distance to the union of blobs, roughened; without the level. */
static float tumour_raw(const synth_slide *s, float x, float y, bool annotated)
{
    float best = -1e6f;
    for (int i = 0; i < s->n_blobs; i++) {
        const synth_blob *b = &s->blobs[i];
        if (annotated && b->dropped)
            continue;
        float dx = x - b->x, dy = y - b->y;
        float in = b->r - sqrtf(dx * dx + dy * dy);
        best = in > best ? in : best;
    }
    return best + 80 * synth_fbm(s->key, L_TUMOUR, x / 190, y / 190) +
           14 * synth_fbm(s->key, L_TUMOUR_FINE, x / 45, y / 45);
}

synth_macro wsi_synth_macro_at(const synth_slide *s, float x, float y)
{
    synth_macro m;
    m.tissue = tissue_raw(s, x, y) - s->tissue_level;
    if (s->n_blobs > 0) {
        m.tumour = tumour_raw(s, x, y, false) - s->tumour_level;
        m.annotation = tumour_raw(s, x, y, true) - s->tumour_level + s->annotation_bias +
                       s->annotation_wobble * synth_fbm(s->key, L_ANNOTATION, x / 110, y / 110);
    } else {
        m.tumour = m.annotation = -1e6f;
    }
    m.inflamed = synth_fbm(s->key, L_INFLAMED, x / 210, y / 210);
    m.glandular = synth_fbm(s->key, L_GLANDULAR, x / 420, y / 420) + s->glandular_level;
    m.fibre = 70 * synth_fbm(s->key, L_FIBRE, x / 170, y / 170);
    m.mucin = synth_noise(s->key, L_MUCIN, x / 160, y / 160);
    return m;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The value that `share` of the n values exceed. */
static float upper_quantile(float *values, int n, float share)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    int at = (int)((float)n * (1 - share));
    return values[at < 0 ? 0 : at >= n ? n - 1 : at];
}

static void grid_point(const synth_slide *s, int i, float *x, float *y)
{
    *x = ((float)(i % GRID) + 0.5f) * s->w / GRID;
    *y = ((float)(i / GRID) + 0.5f) * s->h / GRID;
}

static void draw_blobs(synth_slide *s, draw *d, float drop)
{
    float least = s->w < s->h ? s->w : s->h;
    int n_large = 1 + (int)next(d, 0, 3), n_islands = (int)next(d, 0, 6);
    for (int i = 0; i < n_large + n_islands; i++) {
        synth_blob b = {0};
        for (int try = 0; try < 64; try++) { /* centre inside tissue */
            b.x = next(d, 0.08f, 0.92f) * s->w;
            b.y = next(d, 0.08f, 0.92f) * s->h;
            if (tissue_raw(s, b.x, b.y) - s->tissue_level > 0.06f)
                break;
        }
        bool island = i >= n_large;
        float large = next(d, 0.12f, 0.2f) * least, small = next(d, 70, 120);
        b.r = !island ? large : small < large ? small : large;
        b.dropped = island && next(d, 0, 1) < drop;
        s->blobs[s->n_blobs++] = b;
    }
}

static void calibrate(synth_slide *s, draw *d, float noise, bool tumour)
{
    float *values = malloc(sizeof(float) * GRID * GRID);
    float x, y, coverage = next(d, 0.55f, 0.8f), share = next(d, 0.15f, 0.36f);
    for (int i = 0; i < GRID * GRID; i++) {
        grid_point(s, i, &x, &y);
        values[i] = tissue_raw(s, x, y);
    }
    s->tissue_level = upper_quantile(values, GRID * GRID, coverage);
    draw_blobs(s, d, 0.35f * noise < 0.8f ? 0.35f * noise : 0.8f);
    int n = 0;
    for (int i = 0; i < GRID * GRID; i++) {
        grid_point(s, i, &x, &y);
        if (tissue_raw(s, x, y) > s->tissue_level)
            values[n++] = tumour_raw(s, x, y, false);
    }
    s->tumour_level = n > 0 ? upper_quantile(values, n, share) : 0;
    s->annotation_bias = noise * next(d, -10, 10);
    s->annotation_wobble = noise * 10;
    if (!tumour)
        s->n_blobs = 0;
    free(values);
}

void wsi_synth_slide_init(synth_slide *s, uint64_t seed, uint32_t index, int64_t w_px, int64_t h_px,
                          double mpp, double noise, bool tumour)
{
    /* The seed is mixed by itself first: slide 2 of seed 1 must not be slide 0 of seed 3. */
    uint64_t cohort_key = synth_hash(seed, 1, 0, 0);
    *s = (synth_slide){
        .key = synth_hash(cohort_key, 0, (int32_t)index, 0), .w_px = w_px, .h_px = h_px};
    s->mpp = (float)mpp;
    s->w = (float)((double)w_px * mpp);
    s->h = (float)((double)h_px * mpp);
    draw d = {.key = s->key};
    fill_angles(s);
    for (int i = 0; i < SYNTH_TEXTURE * SYNTH_TEXTURE; i++)
        s->texture[i] = (uint8_t)(synth_hash(s->key, L_TEXTURE, i, 0) >> 8);
    draw_stain(s, &d);
    draw_morphology(s, &d);
    draw_pen(s, &d);
    calibrate(s, &d, (float)noise, tumour);
}
