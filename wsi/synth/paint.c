/* From structure to pixels: how much haematoxylin and eosin each tissue holds, blur, the stain's
 * colours by Beer and Lambert, vignette, sensor noise and pen. */
#include "wsi/synth/synth_priv.h"

#include "wsi/synth/math.h"

#include <glib.h>
#include <math.h>
#include <string.h>

enum { BLUR_PX = 2 };

float wsi_synth_texture_at(const synth_slide *slide, float u, float v)
{
    int32_t iu = synth_floor(u), iv = synth_floor(v);
    float tu = u - (float)iu, tv = v - (float)iv;
    const int mask = SYNTH_TEXTURE - 1;
    const uint8_t *top = slide->texture + (iv & mask) * SYNTH_TEXTURE;
    const uint8_t *bottom = slide->texture + ((iv + 1) & mask) * SYNTH_TEXTURE;
    float a = top[iu & mask], b = top[(iu + 1) & mask];
    float c = bottom[iu & mask], d = bottom[(iu + 1) & mask];
    float upper = a + (b - a) * tu, lower = c + (d - c) * tu;
    return (upper + (lower - upper) * tv) * (1.0f / 255);
}

typedef struct {
    float h, e;
} stain;

/* Fibres: noise stretched along curves of constant (rotated y + slow noise). */
static stain stroma_tissue(const synth_slide *slide, const synth_scratch *s, size_t i, float x,
                           float y)
{
    float along = x * slide->fibre_cos - y * slide->fibre_sin;
    float across = x * slide->fibre_sin + y * slide->fibre_cos + s->fibre[i];
    float fine = wsi_synth_texture_at(slide, along / 17, across / 1.7f);
    float coarse = wsi_synth_texture_at(slide, along / 45 + 101, across / 6 + 53);
    float fibre = 0.6f * fine + 0.4f * coarse;
    /* Between crypts: loose, fine, without direction. */
    float propria = synth_ramp(s->glandular[i], -0.02f, 0.06f);
    float mesh = 0.5f * wsi_synth_texture_at(slide, x / 3.1f + 19, y / 3.1f + 171) +
                 0.5f * wsi_synth_texture_at(slide, x / 8.3f + 67, y / 8.3f + 5);
    fibre += (0.1f + 0.85f * mesh - fibre) * 0.75f * propria;
    float muscle = synth_ramp(-s->glandular[i], 0.1f, 0.2f);
    float infl = synth_ramp(s->inflamed[i], slide->inflamed_level, slide->inflamed_level + 0.4f);
    float loose = synth_ramp(fibre, 0.22f, 0.55f);
    stain out = {.h = 0.05f + 0.05f * fibre + 0.09f * infl + 0.05f * muscle,
                 .e = (0.12f + 0.5f * loose) * (1 - muscle) + (0.44f + 0.3f * fibre) * muscle};
    out.e *= 1 - 0.35f * infl;
    return out;
}

/* Epithelial cytoplasm: granular, emptied by vacuoles of mucin where there are any. */
static stain cytoplasm(const synth_slide *slide, float grain, float x, float y, float mucin)
{
    float vacuole = wsi_synth_texture_at(slide, x / 5.5f + 31, y / 5.5f + 77);
    float pale = synth_ramp(vacuole, 1 - mucin, 1.16f - mucin);
    stain full = {.h = 0.14f + 0.12f * grain, .e = 0.34f + 0.16f * grain};
    stain empty = {.h = 0.10f + 0.05f * grain, .e = 0.07f + 0.05f * grain};
    stain out = {.h = full.h + (empty.h - full.h) * pale, .e = full.e + (empty.e - full.e) * pale};
    return out;
}

static stain lumen_content(const synth_slide *slide, float x, float y)
{
    float debris = wsi_synth_texture_at(slide, x / 9 + 11, y / 9 + 211);
    float d = synth_ramp(debris, 0.62f, 0.9f);
    stain out = {.h = 0.02f + 0.16f * d, .e = 0.02f + 0.22f * d};
    return out;
}

static stain crypt_tissue(const synth_slide *slide, const synth_scratch *s, size_t i, float u,
                          float x, float y)
{
    const synth_gland *g = &s->crypts[s->crypt_id[i]];
    stain out = cytoplasm(slide, s->grain[i], x, y, u < 0.74f ? g->mucin : 0);
    float open = synth_ramp(g->lumen - u, -0.02f, 0.03f);
    if (open > 0) {
        stain in = lumen_content(slide, x, y);
        out.h += (in.h - out.h) * open;
        out.e += (in.e - out.e) * open;
    }
    return out;
}

static stain nest_tissue(const synth_slide *slide, const synth_scratch *s, size_t i, float x,
                         float y)
{
    float mucin = synth_clamp(0.6f * slide->crypt_mucin + 0.45f * s->mucin[i], 0, 0.8f);
    stain out = cytoplasm(slide, s->grain[i], x, y, mucin);
    float open = synth_ramp(1.1f - s->lumen[i], 0, 0.35f);
    if (open > 0) {
        stain in = lumen_content(slide, x, y);
        out.h += (in.h - out.h) * open;
        out.e += (in.e - out.e) * open;
    }
    return out;
}

static stain blend(stain a, stain b, float t)
{
    stain out = {.h = a.h + (b.h - a.h) * t, .e = a.e + (b.e - a.e) * t};
    return out;
}

static stain tissue_stain(const synth_slide *slide, const synth_scratch *s, size_t i, float x,
                          float y)
{
    stain out;
    float rim = 0; /* the membrane under an epithelium */
    if (s->nest[i] < 1) {
        out = nest_tissue(slide, s, i, x, y);
    } else if (s->crypt[i] < 1) {
        out = crypt_tissue(slide, s, i, sqrtf(s->crypt[i]), x, y);
    } else {
        out = stroma_tissue(slide, s, i, x, y);
        float least = s->crypt[i] < s->nest[i] ? s->crypt[i] : s->nest[i];
        rim = 1 - synth_ramp(least, 1.02f, 1.16f);
        stain membrane = {.h = 0.1f, .e = 0.6f};
        out = blend(out, membrane, 0.7f * rim);
    }
    float n = s->nucleus[i];
    if (n > 0) {
        float cover = n > 1 ? 1 : n;
        out.e *= 1 - 0.45f * cover;
        out.h = n > out.h ? n : out.h;
    }
    return out;
}

static void make_grain(const synth_slide *slide, synth_scratch *s)
{
    for (int y = 0; y < s->rows; y++) {
        float py = ((float)(s->y0 + y) + 0.5f) * slide->mpp;
        for (int x = 0; x < s->side; x++) {
            float px = ((float)(s->x0 + x) + 0.5f) * slide->mpp;
            s->grain[(size_t)y * (size_t)s->side + (size_t)x] =
                wsi_synth_texture_at(slide, px / 1.1f + 7, py / 1.1f + 129);
        }
    }
}

/* Stain of the rectangle and BLUR_PX around it. */
static void make_stain(const synth_slide *slide, synth_scratch *s)
{
    int edge = s->halo - BLUR_PX;
    for (int y = edge; y < s->rows - edge; y++) {
        float py = ((float)(s->y0 + y) + 0.5f) * slide->mpp;
        for (int x = edge; x < s->side - edge; x++) {
            size_t i = (size_t)y * (size_t)s->side + (size_t)x;
            float there = synth_ramp(s->tissue[i], -0.004f, 0.004f);
            stain v = {0};
            if (there > 0) {
                float px = ((float)(s->x0 + x) + 0.5f) * slide->mpp;
                v = tissue_stain(slide, s, i, px, py);
            }
            s->h[i] = v.h * there * slide->gain_h;
            s->e[i] = v.e * there * slide->gain_e;
        }
    }
}

/* Symmetric five-tap blur, rows then columns, in place within the halo. */
static void blur(const synth_slide *slide, synth_scratch *s, float *plane)
{
    float b0 = slide->blur[0], b1 = slide->blur[1], b2 = slide->blur[2];
    int edge = s->halo, side = s->side;
    for (int y = edge - BLUR_PX; y < s->rows - edge + BLUR_PX; y++) {
        float *p = plane + (size_t)y * (size_t)side;
        for (int x = edge; x < side - edge; x++)
            s->row[x] = b0 * p[x] + b1 * (p[x - 1] + p[x + 1]) + b2 * (p[x - 2] + p[x + 2]);
        for (int x = edge; x < side - edge; x++)
            p[x] = s->row[x];
    }
    float *out = s->nucleus; /* its values are in s->h by now */
    size_t bytes = sizeof(float) * (size_t)(side - 2 * edge);
    for (int y = edge; y < s->rows - edge; y++) {
        const float *p = plane + (size_t)y * (size_t)side;
        float *q = out + (size_t)y * (size_t)side;
        for (int x = edge; x < side - edge; x++)
            q[x] = b0 * p[x] + b1 * (p[x - side] + p[x + side]) +
                   b2 * (p[x - 2 * side] + p[x + 2 * side]);
    }
    for (int y = edge; y < s->rows - edge; y++) {
        size_t at = (size_t)y * (size_t)side + (size_t)edge;
        memcpy(plane + at, out + at, bytes);
    }
}

/* How much of the pen covers a point: 0 none, 1 all. */
static float pen_cover(const synth_slide *slide, float x, float y)
{
    float best = 1e30f;
    for (int i = 0; i + 1 < slide->n_pen; i++) {
        float ax = slide->pen_x[i], ay = slide->pen_y[i];
        float ux = slide->pen_x[i + 1] - ax, uy = slide->pen_y[i + 1] - ay;
        float t = ((x - ax) * ux + (y - ay) * uy) / (ux * ux + uy * uy + 1e-6f);
        t = synth_clamp(t, 0, 1);
        float dx = x - ax - t * ux, dy = y - ay - t * uy;
        float d2 = dx * dx + dy * dy;
        best = d2 < best ? d2 : best;
    }
    float d = sqrtf(best);
    return 1 - synth_ramp(d, 0.85f * slide->pen_width, slide->pen_width);
}

static bool pen_near(const synth_slide *slide, float x0, float y0, float x1, float y1)
{
    float cx = (x0 + x1) / 2, cy = (y0 + y1) / 2, reach = (x1 - x0) / 2 + (y1 - y0) / 2;
    for (int i = 0; slide->pen && i + 1 < slide->n_pen; i++) {
        float mx = (slide->pen_x[i] + slide->pen_x[i + 1]) / 2 - cx;
        float my = (slide->pen_y[i] + slide->pen_y[i + 1]) / 2 - cy;
        float ux = slide->pen_x[i + 1] - slide->pen_x[i],
              uy = slide->pen_y[i + 1] - slide->pen_y[i];
        float far = reach + slide->pen_width + sqrtf(ux * ux + uy * uy) / 2;
        if (mx * mx + my * my < far * far)
            return true;
    }
    return false;
}

static void pixel(const synth_slide *slide, float h, float e, float light, const float ink[3],
                  uint32_t noise, uint8_t *rgb)
{
    for (int c = 0; c < 3; c++) {
        float density = h * slide->haematoxylin[c] + e * slide->eosin[c];
        int at = (int)(density * 1024);
        at = at < 0 ? 0 : at >= SYNTH_TRANSFER ? SYNTH_TRANSFER - 1 : at;
        float jitter =
            ((float)(noise >> (10 * c) & 1023) * (1.0f / 1024) - 0.5f) * slide->sensor_noise;
        float v = (float)slide->transfer[c][at] * light * ink[c] + jitter + 0.5f;
        rgb[c] = (uint8_t)synth_clamp(v, 0, 255);
    }
}

static uint32_t pixel_noise(uint64_t key, int64_t x, int64_t y)
{
    uint32_t z = (uint32_t)key ^ (uint32_t)x * 0x9E3779B1u ^ (uint32_t)y * 0x85EBCA77u;
    z = (z ^ z >> 15) * 0x2C1B3C6Du;
    z = (z ^ z >> 12) * 0x297A2D39u;
    return z ^ z >> 15;
}

static void develop(const synth_slide *slide, const synth_scratch *s, int w, int h, uint8_t *rgb,
                    size_t rgb_bytes)
{
    float mpp = slide->mpp, x0 = (float)(s->x0 + s->halo) * mpp,
          y0 = (float)(s->y0 + s->halo) * mpp;
    bool pen = pen_near(slide, x0, y0, x0 + (float)w * mpp, y0 + (float)h * mpp);
    for (int y = 0; y < h; y++) {
        int64_t ay = s->y0 + s->halo + y;
        float py = ((float)ay + 0.5f) * mpp, ny = 2 * py / slide->h - 1;
        for (int x = 0; x < w; x++) {
            int64_t ax = s->x0 + s->halo + x;
            float px = ((float)ax + 0.5f) * mpp, nx = 2 * px / slide->w - 1;
            size_t i = (size_t)(y + s->halo) * (size_t)s->side + (size_t)(x + s->halo);
            float light = 1 - slide->vignette * (nx * nx + ny * ny) / 2;
            float ink[3] = {1, 1, 1};
            float cover = pen ? pen_cover(slide, px, py) : 0;
            if (cover > 0) {
                float streak = 0.8f + 0.2f * wsi_synth_texture_at(slide, px / 40, py / 6);
                for (int c = 0; c < 3; c++)
                    ink[c] = 1 - cover * streak * (1 - slide->pen_ink[c]);
            }
            pixel(slide, s->h[i], s->e[i], light, ink, pixel_noise(slide->key, ax, ay),
                  rgb + (size_t)y * rgb_bytes + (size_t)x * 3);
        }
    }
}

static void label(const synth_scratch *s, const float *field, int w, int h, uint8_t *out,
                  size_t out_bytes)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            size_t i = (size_t)(y + s->halo) * (size_t)s->side + (size_t)(x + s->halo);
            out[(size_t)y * out_bytes + (size_t)x] = s->tissue[i] > 0 && field[i] > 0;
        }
}

void wsi_synth_render(const synth_slide *slide, synth_scratch *s, int64_t x, int64_t y, int w,
                      int h, uint8_t *rgb, size_t rgb_bytes, uint8_t *truth, uint8_t *annotation,
                      size_t label_bytes)
{
    s->x0 = x - s->halo;
    s->y0 = y - s->halo;
    s->side = w + 2 * s->halo;
    s->rows = h + 2 * s->halo;
    wsi_synth_structure(slide, s);
    make_grain(slide, s);
    wsi_synth_nuclei(slide, s);
    make_stain(slide, s);
    blur(slide, s, s->h);
    blur(slide, s, s->e);
    develop(slide, s, w, h, rgb, rgb_bytes);
    if (truth)
        label(s, s->tumour, w, h, truth, label_bytes);
    if (annotation)
        label(s, s->annotation, w, h, annotation, label_bytes);
}
