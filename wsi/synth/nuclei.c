/* Nuclei: what tells tumour from benign tissue, with the glands' architecture.
 *
 * Benign crypts have a ring of even, elongated nuclei at the outer border, standing on it (polarity
 * kept), sometimes a second row (regenerative change). Tumour epithelium has nuclei anywhere and
 * at any angle, of uneven size and darkness, some with a pale centre. Stroma has spindles that lie
 * with the fibres and round lymphocytes, few or, where it is inflamed, as dense as tumour: the
 * colour of a pixel says "nucleus", hardly whose. */
#include "wsi/synth/synth_priv.h"

#include "wsi/synth/math.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#define STROMA_PITCH 6.0f
#define TUMOUR_PITCH 8.3f

typedef struct {
    float x, y, cos, sin, a, b; /* a along (cos, sin) */
    float depth;                /* haematoxylin */
    float rim;                  /* 0 even, towards 1 pale in the middle */
} nucleus;

static void splat(const synth_slide *slide, synth_scratch *s, const nucleus *n)
{
    float r = n->a > n->b ? n->a : n->b, mpp = slide->mpp;
    int64_t left = (int64_t)synth_floor((n->x - r) / mpp) - s->x0,
            top = (int64_t)synth_floor((n->y - r) / mpp) - s->y0;
    int64_t span = (int64_t)(2 * r / mpp) + 2;
    int x_from = (int)CLAMP(left, 0, s->side), x_to = (int)CLAMP(left + span, 0, s->side);
    int y_from = (int)CLAMP(top, 0, s->rows), y_to = (int)CLAMP(top + span, 0, s->rows);
    float ca = n->cos / n->a, sa = n->sin / n->a, cb = n->cos / n->b, sb = n->sin / n->b;
    /* The edge falls over about 0.6 µm, or a pixel where that is more. */
    float soft = (n->a < n->b ? n->a : n->b) / (mpp > 0.6f ? mpp : 0.6f);
    for (int y = y_from; y < y_to; y++) {
        float dy = ((float)(s->y0 + y) + 0.5f) * mpp - n->y;
        size_t row = (size_t)y * (size_t)s->side;
        for (int x = x_from; x < x_to; x++) {
            float dx = ((float)(s->x0 + x) + 0.5f) * mpp - n->x;
            float qx = dx * ca + dy * sa, qy = dy * cb - dx * sb;
            float d2 = qx * qx + qy * qy;
            if (d2 >= 1)
                continue;
            float edge = (1 - d2) * soft * 0.5f;
            edge = edge > 1 ? 1 : edge;
            float chromatin = 0.72f + 0.56f * s->grain[row + (size_t)x];
            float v = n->depth * edge * (1 - n->rim + n->rim * d2) * chromatin;
            if (v > s->nucleus[row + (size_t)x])
                s->nucleus[row + (size_t)x] = v;
        }
    }
}

/* Index of the pixel that holds (x,y), or -1 outside the rectangle. */
static int64_t pixel_at(const synth_slide *slide, const synth_scratch *s, float x, float y)
{
    int64_t px = (int64_t)synth_floor(x / slide->mpp) - s->x0;
    int64_t py = (int64_t)synth_floor(y / slide->mpp) - s->y0;
    return px < 0 || py < 0 || px >= s->side || py >= s->rows ? -1 : py * s->side + px;
}

/* ---- crypts ---- */

/* One nucleus of a ring at `share` of the crypt's radius, standing on the border. */
static void ring_nucleus(const synth_slide *slide, synth_scratch *s, const synth_gland *g, int i,
                         int n, float share)
{
    uint64_t h = synth_hash(g->hash, L_RING, i, n);
    float turn = ((float)i + synth_range(h, 0, -0.2f, 0.2f)) / (float)n;
    int at = (int)(turn * SYNTH_ANGLES) & (SYNTH_ANGLES - 1);
    float radial = share + synth_range(h, 1, -0.035f, 0.035f);
    float lx = radial * g->a * slide->cosine[at], ly = radial * g->b * slide->sine[at];
    nucleus k;
    k.x = g->x + lx * g->cos - ly * g->sin;
    k.y = g->y + lx * g->sin + ly * g->cos;
    /* The plane is warped: find where this place of the ring is seen. */
    float tx = k.x, ty = k.y;
    for (int step = 0; step < 2; step++) {
        int64_t p = pixel_at(slide, s, k.x, k.y);
        if (p < 0)
            return;
        k.x = tx - SYNTH_WARP_CRYPT * s->warp_x[p];
        k.y = ty - SYNTH_WARP_CRYPT * s->warp_y[p];
    }
    int64_t p = pixel_at(slide, s, k.x, k.y);
    if (p < 0 || s->nest[p] < 1 || s->tissue[p] < 0)
        return;
    float rx = k.x - g->x, ry = k.y - g->y, length = sqrtf(rx * rx + ry * ry) + 1e-3f;
    k.cos = rx / length;
    k.sin = ry / length;
    k.a = slide->nucleus_scale * synth_range(h, 2, 3.3f, 4.5f);
    k.b = slide->nucleus_scale * synth_range(h, 3, 1.7f, 2.4f);
    k.depth = synth_range(synth_hash(g->hash, L_RING + 1, i, n), 0, 1.0f, 1.45f);
    k.rim = 0.15f;
    splat(slide, s, &k);
}

static void crypt_nuclei(const synth_slide *slide, synth_scratch *s, const synth_gland *g)
{
    /* Perimeter of an ellipse by the root mean square of its axes. */
    float perimeter = 6.2832f * sqrtf((g->a * g->a + g->b * g->b) / 2);
    int n = (int)(0.84f * perimeter / (4.7f * slide->nucleus_scale));
    for (int i = 0; i < n; i++)
        ring_nucleus(slide, s, g, i, n, 0.84f);
    if (synth_unit(g->hash, 2) < 0.3f) /* regenerative: a second row */
        for (int i = 0; i < n * 3 / 4; i++)
            ring_nucleus(slide, s, g, i, n * 3 / 4 + 1, 0.66f);
}

/* ---- lattices ---- */

static void tumour_nucleus(const synth_slide *slide, synth_scratch *s, int32_t ix, int32_t iy)
{
    uint64_t h = synth_hash(slide->key, L_TUMOUR_NUCLEUS, ix, iy);
    uint64_t more = synth_hash(slide->key, L_TUMOUR_NUCLEUS + 1, ix, iy);
    float pitch = TUMOUR_PITCH * slide->nucleus_scale;
    nucleus k = {.x = ((float)ix + 0.5f + synth_range(h, 0, -0.42f, 0.42f)) * pitch,
                 .y = ((float)iy + 0.5f + synth_range(h, 1, -0.42f, 0.42f)) * pitch};
    int64_t p = pixel_at(slide, s, k.x, k.y);
    if (p < 0 || s->nest[p] > 0.95f || s->lumen[p] < 1.5f || s->tissue[p] < 0 ||
        synth_unit(h, 2) > 0.9f)
        return;
    int angle = (int)(more & (SYNTH_ANGLES - 1));
    k.cos = slide->cosine[angle];
    k.sin = slide->sine[angle];
    float size = synth_unit(h, 3);
    float r = slide->nucleus_scale * (2.9f + 2.7f * size * size);
    float stretch = synth_range(more, 1, 1.0f, 1.5f);
    k.a = r * stretch;
    k.b = r / stretch;
    k.depth = synth_range(more, 2, 0.8f, 1.5f);
    k.rim = size > 0.5f ? synth_range(more, 3, 0.1f, 0.6f) : 0.1f;
    splat(slide, s, &k);
}

static void stroma_nucleus(const synth_slide *slide, synth_scratch *s, int32_t ix, int32_t iy)
{
    uint64_t h = synth_hash(slide->key, L_STROMA_NUCLEUS, ix, iy);
    nucleus k = {.x = ((float)ix + 0.5f + synth_range(h, 0, -0.45f, 0.45f)) * STROMA_PITCH,
                 .y = ((float)iy + 0.5f + synth_range(h, 1, -0.45f, 0.45f)) * STROMA_PITCH};
    int64_t p = pixel_at(slide, s, k.x, k.y);
    if (p < 0 || s->tissue[p] < 0.004f || s->crypt[p] < 1.1f || s->nest[p] < 1.08f)
        return;
    float infl = synth_ramp(s->inflamed[p], slide->inflamed_level, slide->inflamed_level + 0.4f);
    float propria = synth_ramp(s->glandular[p], -0.02f, 0.06f);
    if (synth_unit(h, 2) > 0.12f + 0.12f * propria + 0.6f * infl)
        return;
    uint64_t more = synth_hash(slide->key, L_STROMA_NUCLEUS + 1, ix, iy);
    k.depth = synth_range(more, 2, 1.0f, 1.55f);
    if (synth_unit(h, 3) < 0.25f + 0.35f * propria + 0.7f * infl) { /* a lymphocyte */
        k.cos = 1;
        k.sin = 0;
        k.a = slide->nucleus_scale * synth_range(more, 0, 2.2f, 3.0f);
        k.b = k.a * synth_range(more, 1, 0.85f, 1.1f);
        k.rim = 0.2f;
    } else { /* a spindle, along the fibres */
        int64_t right = p % s->side + 1 < s->side ? p + 1 : p;
        int64_t below = p + s->side < (int64_t)s->side * s->rows ? p + s->side : p;
        float gx = slide->fibre_sin + (s->fibre[right] - s->fibre[p]) / slide->mpp;
        float gy = slide->fibre_cos + (s->fibre[below] - s->fibre[p]) / slide->mpp;
        float length = sqrtf(gx * gx + gy * gy) + 1e-3f;
        k.cos = gy / length;
        k.sin = -gx / length;
        k.a = synth_range(more, 0, 4.0f, 7.0f);
        k.b = synth_range(more, 1, 1.0f, 1.6f);
        k.rim = 0;
    }
    splat(slide, s, &k);
}

typedef void (*nucleus_fn)(const synth_slide *, synth_scratch *, int32_t, int32_t);

static void visit(const synth_slide *slide, synth_scratch *s, float pitch, nucleus_fn add)
{
    float mpp = slide->mpp;
    int32_t x0 = synth_floor((float)s->x0 * mpp / pitch) - 1;
    int32_t y0 = synth_floor((float)s->y0 * mpp / pitch) - 1;
    int32_t x1 = synth_floor((float)(s->x0 + s->side) * mpp / pitch) + 1;
    int32_t y1 = synth_floor((float)(s->y0 + s->rows) * mpp / pitch) + 1;
    for (int32_t iy = y0; iy <= y1; iy++)
        for (int32_t ix = x0; ix <= x1; ix++)
            add(slide, s, ix, iy);
}

void wsi_synth_nuclei(const synth_slide *slide, synth_scratch *s)
{
    memset(s->nucleus, 0, sizeof(float) * (size_t)s->side * (size_t)s->rows);
    for (int i = 0; i < s->n_crypts; i++)
        crypt_nuclei(slide, s, &s->crypts[i]);
    if (slide->n_blobs > 0)
        visit(slide, s, TUMOUR_PITCH * slide->nucleus_scale, tumour_nucleus);
    visit(slide, s, STROMA_PITCH, stroma_nucleus);
}
