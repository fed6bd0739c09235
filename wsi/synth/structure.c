/* Glands, tumour nests and lumens.
 *
 * All three are ellipses on jittered lattices, seen through a warp of the plane. Benign crypts:
 * round, apart, one lumen each, gently warped. Tumour nests: crowded, overlapping into sheets,
 * strongly warped, with several small lumens punched anywhere (cribriform). An ellipse belongs to
 * the tissue that its centre lies in, so outlines cut no gland in two. */
#include "wsi/synth/synth_priv.h"

#include "wsi/synth/math.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#define FAR 1e9f
/* µm by which a slow drift moves the crypts. */
#define DRIFT 55.0f
/* No nucleus reaches further than this from its centre. */
#define NUCLEUS_REACH 8.5f

synth_scratch *wsi_synth_scratch_new(float mpp)
{
    synth_scratch *s = g_new0(synth_scratch, 1);
    s->halo = (int)(NUCLEUS_REACH / mpp) + 4;
    s->side_max = SYNTH_BLOCK + 2 * s->halo;
    size_t n = (size_t)s->side_max * (size_t)s->side_max;
    float **planes[] = {&s->tissue,    &s->tumour, &s->annotation, &s->inflamed,
                        &s->glandular, &s->fibre,  &s->mucin,      &s->warp_x,
                        &s->warp_y,    &s->crypt,  &s->nest,       &s->lumen,
                        &s->nucleus,   &s->grain,  &s->h,          &s->e};
    for (size_t i = 0; i < G_N_ELEMENTS(planes); i++)
        *planes[i] = g_new(float, n);
    s->crypt_id = g_new(uint16_t, n);
    s->row = g_new(float, (size_t)s->side_max);
    int grid = s->side_max / SYNTH_WARP_PX + 3; /* the finer of the two grids */
    s->macro = g_new(float, (size_t)grid *(size_t)grid *SYNTH_N_MACRO);
    s->crypts_max = 64;
    s->crypts = g_new(synth_gland, (size_t)s->crypts_max);
    return s;
}

void wsi_synth_scratch_free(synth_scratch *s)
{
    if (!s)
        return;
    float *planes[] = {s->tissue,  s->tumour, s->annotation, s->inflamed, s->glandular, s->fibre,
                       s->mucin,   s->warp_x, s->warp_y,     s->crypt,    s->nest,      s->lumen,
                       s->nucleus, s->grain,  s->h,          s->e,        s->row,       s->macro};
    for (size_t i = 0; i < G_N_ELEMENTS(planes); i++)
        g_free(planes[i]);
    g_free(s->crypt_id);
    g_free(s->crypts);
    g_free(s);
}

/* ---- slow fields: evaluated on a grid fixed to the slide, interpolated ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Interpolates field `k` of n_fields from the grid with `step` pixels onto a plane. */
static void spread(const synth_scratch *s, const float *grid, int grid_w, int64_t gx0, int64_t gy0,
                   int step, int n_fields, int k, float *plane)
{
    for (int y = 0; y < s->rows; y++) {
        int64_t gy = floor_div(s->y0 + y, step);
        float ty = (float)(s->y0 + y - gy * step) / (float)step;
        const float *top = grid + (size_t)((gy - gy0) * grid_w) * (size_t)n_fields + k;
        const float *bottom = top + (size_t)grid_w * (size_t)n_fields;
        float *out = plane + (size_t)y * (size_t)s->side;
        for (int x = 0; x < s->side;) {
            int64_t gx = floor_div(s->x0 + x, step);
            size_t i = (size_t)(gx - gx0) * (size_t)n_fields, j = i + (size_t)n_fields;
            float a = top[i] + (bottom[i] - top[i]) * ty, b = top[j] + (bottom[j] - top[j]) * ty;
            int first = (int)(s->x0 + x - gx * step);
            int n = MIN(step - first, s->side - x);
            float slope = (b - a) / (float)step;
            for (int i2 = 0; i2 < n; i2++)
                out[x + i2] = a + slope * (float)(first + i2);
            x += n;
        }
    }
}

static void make_macro(const synth_slide *slide, synth_scratch *s)
{
    const int step = SYNTH_MACRO_PX;
    int64_t gx0 = floor_div(s->x0, step), gy0 = floor_div(s->y0, step);
    int gw = (int)(floor_div(s->x0 + s->side - 1, step) - gx0) + 2;
    int gh = (int)(floor_div(s->y0 + s->rows - 1, step) - gy0) + 2;
    for (int j = 0; j < gh; j++)
        for (int i = 0; i < gw; i++) {
            synth_macro m = wsi_synth_macro_at(slide, (float)((gx0 + i) * step) * slide->mpp,
                                               (float)((gy0 + j) * step) * slide->mpp);
            memcpy(s->macro + (size_t)(j * gw + i) * SYNTH_N_MACRO, &m, sizeof m);
        }
    float *planes[SYNTH_N_MACRO] = {s->tissue,    s->tumour, s->annotation, s->inflamed,
                                    s->glandular, s->fibre,  s->mucin};
    for (int k = 0; k < SYNTH_N_MACRO; k++)
        spread(s, s->macro, gw, gx0, gy0, step, SYNTH_N_MACRO, k, planes[k]);
}

static void warp_at(const synth_slide *slide, float x, float y, float *wx, float *wy)
{
    *wx = 0.75f * synth_noise(slide->key, L_WARP_X, x / 27, y / 27) +
          0.25f * synth_noise(slide->key, L_WARP_X + 1, x / 12, y / 12);
    *wy = 0.75f * synth_noise(slide->key, L_WARP_Y, x / 27, y / 27) +
          0.25f * synth_noise(slide->key, L_WARP_Y + 1, x / 12, y / 12);
}

static void make_warp(const synth_slide *slide, synth_scratch *s)
{
    const int step = SYNTH_WARP_PX;
    int64_t gx0 = floor_div(s->x0, step), gy0 = floor_div(s->y0, step);
    int gw = (int)(floor_div(s->x0 + s->side - 1, step) - gx0) + 2;
    int gh = (int)(floor_div(s->y0 + s->rows - 1, step) - gy0) + 2;
    float *grid = s->macro; /* free again: the slow fields are spread */
    for (int j = 0; j < gh; j++)
        for (int i = 0; i < gw; i++) {
            float *at = grid + (size_t)(j * gw + i) * 2;
            warp_at(slide, (float)((gx0 + i) * step) * slide->mpp,
                    (float)((gy0 + j) * step) * slide->mpp, at, at + 1);
        }
    spread(s, grid, gw, gx0, gy0, step, 2, 0, s->warp_x);
    spread(s, grid, gw, gx0, gy0, step, 2, 1, s->warp_y);
}

/* ---- ellipses ---- */

/* Lowers `plane` to the squared elliptic radius of `g` where that is smaller (up to `reach`² of
 * it), and notes `id` there when `ids` is given. */
static void stamp(const synth_slide *slide, synth_scratch *s, const synth_gland *g, float warp,
                  float reach, float *plane, uint16_t *ids, uint16_t id)
{
    float r = (g->a > g->b ? g->a : g->b) * reach + warp, mpp = slide->mpp;
    int64_t left = (int64_t)synth_floor((g->x - r) / mpp) - s->x0,
            right = left + (int64_t)(2 * r / mpp) + 2;
    int64_t top = (int64_t)synth_floor((g->y - r) / mpp) - s->y0,
            bottom = top + (int64_t)(2 * r / mpp) + 2;
    int x_from = (int)CLAMP(left, 0, s->side), x_to = (int)CLAMP(right, 0, s->side);
    int y_from = (int)CLAMP(top, 0, s->rows), y_to = (int)CLAMP(bottom, 0, s->rows);
    float ca = g->cos / g->a, sa = g->sin / g->a, cb = g->cos / g->b, sb = g->sin / g->b;
    float reach2 = reach * reach;
    for (int y = y_from; y < y_to; y++) {
        float py = ((float)(s->y0 + y) + 0.5f) * mpp - g->y;
        size_t row = (size_t)y * (size_t)s->side;
        for (int x = x_from; x < x_to; x++) {
            float px = ((float)(s->x0 + x) + 0.5f) * mpp - g->x;
            float dx = px + warp * s->warp_x[row + (size_t)x];
            float dy = py + warp * s->warp_y[row + (size_t)x];
            float qx = dx * ca + dy * sa, qy = dy * cb - dx * sb;
            float d2 = qx * qx + qy * qy;
            if (d2 < plane[row + (size_t)x] && d2 < reach2) {
                plane[row + (size_t)x] = d2;
                if (ids)
                    ids[row + (size_t)x] = id;
            }
        }
    }
}

/* The lattice's rows bend and spread: a slow displacement of its points by up to about DRIFT. */
static void drift(const synth_slide *slide, synth_gland *g)
{
    float x = g->x / 260, y = g->y / 260;
    g->x += DRIFT * synth_noise(slide->key, L_DRIFT, x, y);
    g->y += DRIFT * synth_noise(slide->key, L_DRIFT + 1, x, y);
}

static synth_gland lattice_ellipse(const synth_slide *slide, uint32_t layer, int32_t ix, int32_t iy,
                                   float pitch, float jitter)
{
    synth_gland g = {.hash = synth_hash(slide->key, layer, ix, iy)};
    uint64_t more = synth_hash(slide->key, layer + 1, ix, iy);
    float shift = (iy & 1) ? 0.5f : 0; /* rows of a hexagonal lattice */
    g.x = ((float)ix + 0.5f + shift + synth_range(g.hash, 0, -jitter, jitter)) * pitch;
    g.y = ((float)iy + 0.5f + synth_range(g.hash, 1, -jitter, jitter)) * pitch * 0.9f;
    int angle = (int)(more & (SYNTH_ANGLES - 1));
    g.cos = slide->cosine[angle];
    g.sin = slide->sine[angle];
    return g;
}

static void add_crypt(const synth_slide *slide, synth_scratch *s, int32_t ix, int32_t iy)
{
    synth_gland g = lattice_ellipse(slide, L_CRYPT, ix, iy, slide->crypt_pitch, 0.15f);
    drift(slide, &g);
    synth_macro m = wsi_synth_macro_at(slide, g.x, g.y);
    bool lymphoid = m.inflamed > slide->inflamed_level + 0.42f;
    if (m.tissue < 0.02f || m.tumour > -8 || m.glandular < 0 || lymphoid)
        return;
    uint64_t more = synth_hash(slide->key, L_CRYPT + 2, ix, iy);
    float r = slide->crypt_pitch * synth_range(g.hash, 2, 0.3f, 0.43f);
    float stretch = synth_range(g.hash, 3, 0.85f, 1.28f);
    g.a = r * stretch;
    g.b = r / stretch;
    g.lumen = synth_range(more, 0, 0.12f, 0.42f);
    g.mucin = synth_clamp(
        slide->crypt_mucin + 0.45f * m.mucin + synth_range(more, 1, -0.15f, 0.15f), 0, 1);
    g.hash = more;
    if (s->n_crypts == s->crypts_max) {
        s->crypts_max *= 2;
        s->crypts = g_renew(synth_gland, s->crypts, (size_t)s->crypts_max);
    }
    s->crypts[s->n_crypts] = g;
    stamp(slide, s, &g, SYNTH_WARP_CRYPT, 1.12f, s->crypt, s->crypt_id, (uint16_t)s->n_crypts);
    s->n_crypts++;
}

static void add_nest(const synth_slide *slide, synth_scratch *s, int32_t ix, int32_t iy)
{
    synth_gland g = lattice_ellipse(slide, L_NEST, ix, iy, slide->nest_pitch, 0.24f);
    if (synth_unit(g.hash, 2) > 0.96f)
        return;
    synth_macro m = wsi_synth_macro_at(slide, g.x, g.y);
    if (m.tissue < 0.02f || m.tumour < 4)
        return;
    float r = slide->nest_pitch * synth_range(g.hash, 3, 0.46f, 0.66f);
    float stretch = synth_range(synth_hash(slide->key, L_NEST + 2, ix, iy), 0, 0.8f, 1.45f);
    g.a = r * stretch;
    g.b = r / stretch;
    stamp(slide, s, &g, SYNTH_WARP_NEST, 1.12f, s->nest, NULL, 0);
}

static void add_lumen(const synth_slide *slide, synth_scratch *s, int32_t ix, int32_t iy)
{
    synth_gland g = lattice_ellipse(slide, L_LUMEN, ix, iy, 27, 0.3f);
    if (synth_unit(g.hash, 2) > slide->nest_lumens)
        return;
    synth_macro m = wsi_synth_macro_at(slide, g.x, g.y);
    if (m.tumour < -30)
        return;
    float size = synth_unit(g.hash, 3);
    float r = 3 + 8 * size * size;
    float stretch = synth_range(synth_hash(slide->key, L_LUMEN + 2, ix, iy), 0, 0.7f, 1.5f);
    g.a = r * stretch;
    g.b = r / stretch;
    stamp(slide, s, &g, SYNTH_WARP_NEST, 1.3f, s->lumen, NULL, 0);
}

typedef void (*add_fn)(const synth_slide *, synth_scratch *, int32_t, int32_t);

/* Calls `add` for every lattice point whose ellipse may reach the rectangle. */
static void visit(const synth_slide *slide, synth_scratch *s, float pitch, float reach, add_fn add)
{
    float mpp = slide->mpp, x0 = (float)s->x0 * mpp, y0 = (float)s->y0 * mpp;
    float x1 = (float)(s->x0 + s->side) * mpp, y1 = (float)(s->y0 + s->rows) * mpp;
    int32_t iy0 = synth_floor((y0 - reach) / (pitch * 0.9f)) - 1;
    int32_t iy1 = synth_floor((y1 + reach) / (pitch * 0.9f)) + 1;
    int32_t ix0 = synth_floor((x0 - reach) / pitch) - 2,
            ix1 = synth_floor((x1 + reach) / pitch) + 1;
    for (int32_t iy = iy0; iy <= iy1; iy++)
        for (int32_t ix = ix0; ix <= ix1; ix++)
            add(slide, s, ix, iy);
}

void wsi_synth_structure(const synth_slide *slide, synth_scratch *s)
{
    make_macro(slide, s);
    make_warp(slide, s);
    size_t n = (size_t)s->side * (size_t)s->rows;
    for (size_t i = 0; i < n; i++)
        s->crypt[i] = s->nest[i] = s->lumen[i] = FAR;
    s->n_crypts = 0;
    visit(slide, s, slide->crypt_pitch, 0.7f * slide->crypt_pitch + DRIFT, add_crypt);
    if (slide->n_blobs == 0)
        return;
    visit(slide, s, slide->nest_pitch, slide->nest_pitch + SYNTH_WARP_NEST, add_nest);
    visit(slide, s, 27, 24 + SYNTH_WARP_NEST, add_lumen);
}
