/* Strong photometric augmentation for H&E, on top of the weak one, so that pixels stay aligned
 * (ssl-methods C.1): brightness, contrast, saturation and a small hue shift; stain (HED) jitter;
 * blur; noise. All is drawn from one named stream before any pixel is touched. Pure functions,
 * thread-safe.
 *
 * Brightness (v·b), contrast (v·c + (1-c)·mean grey of the image), saturation (v·s + (1-s)·grey)
 * and hue (a turn about the grey axis by 2π·h) are one affine map of R, G, B, clipped once at its
 * end. */
#ifndef QS_TRAIN_STRONG_H
#define QS_TRAIN_STRONG_H

#include "train/data/augment.h"

typedef struct {
    double jitter_p, brightness, contrast, saturation,
        hue;                   /* factors U(1-x,1+x); hue U(-x,x) turns */
    double stain_p, stain;     /* as tr_augment_draw's theta */
    double blur_p, blur_max;   /* sigma U(.1, max) pixels */
    double noise_p, noise_max; /* sigma U(0, max) of the full range */
    double cutout_p, cutout;   /* a square of this share of the side, excluded: train/data/mix.h */
} tr_strong_options;

typedef struct {
    bool jitter, stain, blur, noise;
    double brightness, contrast, saturation, hue;
    tr_augment colour; /* stain jitter */
    double blur_sigma, noise_sigma;
    uint64_t noise_seed;
} tr_strong;

void tr_strong_draw(tr_strong *s, qs_rng *rng, const tr_strong_options *options);
/* The affine map of brightness … hue for an image of that mean grey (0..255): v' = m·v + offset. */
void tr_strong_matrix(const tr_strong *s, double mean_grey, double m[3][3], double offset[3]);
/* The draw as a device takes it. */
void tr_strong_pack(const tr_strong *s, kn_strong *to);
/* rgb (size,size,3) in place; scratch: size·size·3 floats. */
void tr_strong_apply(const tr_strong *s, uint8_t *rgb, int size, float *scratch);

#endif
