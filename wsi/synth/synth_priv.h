/* The inside of the slide generator: one slide's parameters, and rendering any rectangle of it.
 *
 *   site.c             what slides of one laboratory have in common
 *   synth_slide.c      what a slide is: stain, regions of tissue and tumour, all calibrated
 *   synth_structure.c  glands and tumour nests: which pixel is in which
 *   synth_nuclei.c     nuclei: where they lie and their haematoxylin
 *   synth_paint.c      stroma, cytoplasm, optics, stain to RGB, pen
 *
 * Lengths are in µm unless the name says px. Every value is a pure function of (seed, slide, x, y):
 * a rectangle renders to the same bytes whatever rectangle it is cut from, on any number of
 * threads. */
#ifndef QS_WSI_SYNTH_PRIV_H
#define QS_WSI_SYNTH_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SYNTH_BLOBS_MAX = 12,
    SYNTH_PEN_MAX = 24,
    SYNTH_TRANSFER = 4096, /* entries, 1024 a unit of optical density (base e) */
    SYNTH_TEXTURE = 256,   /* side of the noise texture, periodic */
    SYNTH_ANGLES = 1024,
    SYNTH_BLOCK = 256,   /* pixels a side rendered at once */
    SYNTH_MACRO_PX = 16, /* spacing of the grid on which slow fields are evaluated */
    SYNTH_WARP_PX = 8,
};

/* µm by which the warp moves the edges of benign crypts, and of nests and lumens. */
#define SYNTH_WARP_CRYPT 3.5f
#define SYNTH_WARP_NEST 12.0f

/* Layers of the hash: one per independent use. fbm takes three in a row. */
enum {
    L_PARAM = 1,
    L_TISSUE = 16,
    L_TISSUE_EDGE = 20,
    L_TUMOUR = 24,
    L_TUMOUR_FINE = 28,
    L_ANNOTATION = 32,
    L_INFLAMED = 36,
    L_GLANDULAR = 40,
    L_FIBRE = 44,
    L_WARP_X = 48,
    L_WARP_Y = 52,
    L_MUCIN = 56,
    L_CRYPT = 60,
    L_NEST = 64,
    L_LUMEN = 68,
    L_RING = 72,
    L_TUMOUR_NUCLEUS = 76,
    L_STROMA_NUCLEUS = 80,
    L_TEXTURE = 84,
    L_PEN = 88,
    L_DRIFT = 92,
    L_SITE = 96,
};

/* Slow fields at a point. tissue > 0 inside tissue; tumour about the signed distance to the outline
 * (> 0 inside), annotation the same for the noisy outline; others about [-1,1]. */
typedef struct {
    float tissue, tumour, annotation, inflamed, glandular, fibre, mucin;
} synth_macro;
enum { SYNTH_N_MACRO = sizeof(synth_macro) / sizeof(float) };

typedef struct {
    float x, y, r;
    bool dropped; /* missing from the noisy annotation */
} synth_blob;

typedef struct {
    uint64_t key;
    int64_t w_px, h_px;
    float mpp, w, h;
    /* regions */
    float tissue_level, tumour_level;
    synth_blob blobs[SYNTH_BLOBS_MAX];
    int n_blobs; /* 0: no tumour */
    float annotation_bias, annotation_wobble;
    /* morphology */
    float crypt_pitch, crypt_mucin, nest_pitch, nest_lumens, nucleus_scale, inflamed_level,
        glandular_level;
    float fibre_cos, fibre_sin;
    /* optics */
    float haematoxylin[3], eosin[3], white[3], gain_h, gain_e, blur[3], vignette, sensor_noise;
    float contrast[3]; /* the scanner's: densities are multiplied by it */
    uint8_t transfer[3][SYNTH_TRANSFER];
    /* pen */
    bool pen;
    float pen_x[SYNTH_PEN_MAX], pen_y[SYNTH_PEN_MAX], pen_width, pen_ink[3];
    int n_pen;
    /* shared tables */
    uint8_t texture[SYNTH_TEXTURE * SYNTH_TEXTURE];
    float cosine[SYNTH_ANGLES], sine[SYNTH_ANGLES];
} synth_slide;

/* tumour false: a slide without any. noise: annotation noise, 0 exact. */
void wsi_synth_slide_init(synth_slide *slide, uint64_t seed, uint32_t index, int64_t w_px,
                          int64_t h_px, double mpp, double noise, bool tumour);
/* From stain density to grey value, of white and contrast. */
void wsi_synth_fill_transfer(synth_slide *slide);
synth_macro wsi_synth_macro_at(const synth_slide *slide, float x, float y);

/* One gland, nest or lumen: an ellipse in warped coordinates. */
typedef struct {
    float x, y, cos, sin, a, b; /* centre, orientation, semi-axes */
    float lumen, mucin;         /* crypts: lumen radius as a share of the gland's; goblet share */
    uint64_t hash;
} synth_gland;

/* Work arrays of one thread: a block with its halo. Row-major, `side` pixels a row. */
typedef struct {
    int side_max;
    int halo, side, rows; /* px; side and rows include the halo on both sides */
    int64_t x0, y0;       /* level-0 pixel of the array's corner */
    float *macro;         /* a grid of slow fields, then of the warp */
    float *tissue, *tumour, *annotation, *inflamed, *glandular, *fibre, *mucin; /* per pixel */
    float *warp_x, *warp_y;      /* per pixel, about [-1,1] */
    float *crypt, *nest, *lumen; /* squared elliptic radius of the nearest; large when far */
    uint16_t *crypt_id;          /* index in crypts, valid where crypt is not large */
    float *nucleus, *grain, *h, *e, *row;
    synth_gland *crypts;
    int n_crypts, crypts_max;
} synth_scratch;

synth_scratch *wsi_synth_scratch_new(float mpp);
void wsi_synth_scratch_free(synth_scratch *scratch); /* NULL accepted */

/* Fields, warp, crypts, nests and lumens of the scratch's rectangle. */
void wsi_synth_structure(const synth_slide *slide, synth_scratch *s);
/* Haematoxylin of all nuclei into s->nucleus (cleared first); needs grain and structure. */
void wsi_synth_nuclei(const synth_slide *slide, synth_scratch *s);
/* Periodic noise texture at (u,v) in its own pixels, in [0,1]. */
float wsi_synth_texture_at(const synth_slide *slide, float u, float v);

/* Renders w × h <= SYNTH_BLOCK² pixels at level-0 pixel (x,y). rgb has 3 bytes a pixel; truth and
 * annotation (may be NULL) one byte, 0 or 1. */
void wsi_synth_render(const synth_slide *slide, synth_scratch *scratch, int64_t x, int64_t y, int w,
                      int h, uint8_t *rgb, size_t rgb_bytes, uint8_t *truth, uint8_t *annotation,
                      size_t label_bytes);

#endif
