/* Sites: what a laboratory and its scanner do to every slide of theirs, on top of what varies by slide.
 *
 * Stain vectors and how deep each stain is, the sections' thickness, the scanner's white, contrast
 * and blur, its JPEG quality; and of the patients that come there the size of crypts and nests,
 * mucin, lumens and nuclei. Drawn from (seed, site). */
#include "wsi/synth/site_priv.h"

#include "wsi/synth/math.h"

/* A short stream of parameters of one site. */
typedef struct {
    uint64_t key;
    int32_t n;
} draw;

static float next(draw *d, float lo, float hi)
{
    return synth_range(synth_hash(d->key, L_SITE, d->n++, 0), 1, lo, hi);
}

static draw draw_of(uint64_t seed, int site)
{
    return (draw){.key = synth_hash(synth_hash(seed, 3, 0, 0), L_SITE, site, 1)};
}

/* The first number of the stream, so that it is known before a slide is made. */
int wsi_synth_site_quality(uint64_t seed, int site)
{
    draw d = draw_of(seed, site);
    return (int)next(&d, 40, 95);
}

static void scan(synth_slide *s, draw *d)
{
    float thickness = next(d, 0.72f, 1.4f);
    for (int c = 0; c < 3; c++) {
        s->haematoxylin[c] += next(d, -0.12f, 0.12f);
        s->eosin[c] += next(d, -0.12f, 0.12f);
        s->white[c] = synth_clamp(s->white[c] + next(d, -18, 18), 180, 254);
        s->contrast[c] = next(d, 0.8f, 1.25f);
    }
    s->gain_h *= thickness * next(d, 0.85f, 1.2f);
    s->gain_e *= thickness * next(d, 0.75f, 1.3f);
    float side = next(d, 0, 0.6f), far = 0.4f * side, sum = 1 + 2 * side + 2 * far;
    s->blur[0] = 1 / sum;
    s->blur[1] = side / sum;
    s->blur[2] = far / sum;
    wsi_synth_fill_transfer(s);
}

static void patients(synth_slide *s, draw *d)
{
    s->crypt_pitch *= next(d, 0.8f, 1.3f);
    s->nest_pitch *= next(d, 0.75f, 1.35f);
    s->crypt_mucin = synth_clamp(s->crypt_mucin + next(d, -0.3f, 0.3f), 0.02f, 0.9f);
    s->nest_lumens = synth_clamp(s->nest_lumens + next(d, -0.4f, 0.25f), 0.05f, 0.95f);
    /* Not above what a slide's own may be: blocks see no nucleus further away. */
    s->nucleus_scale = synth_clamp(s->nucleus_scale * next(d, 0.82f, 1.15f), 0.75f, 1.12f);
    s->inflamed_level += next(d, -0.1f, 0.1f);
}

void wsi_synth_site_apply(synth_slide *s, uint64_t seed, int site)
{
    draw d = draw_of(seed, site);
    d.n = 1; /* after the quality */
    scan(s, &d);
    patients(s, &d);
}
