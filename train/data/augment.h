/* Weak augmentation for H&E: flips and quarter turns, shared by image and label, then light stain
 * and brightness jitter of the image alone (ssl-methods C.1).
 *
 * All of it is drawn from one named stream before any pixel is touched, so tests can look at the
 * draw. Pure functions, thread-safe. */
#ifndef QS_TRAIN_AUGMENT_H
#define QS_TRAIN_AUGMENT_H

#include "base/rng.h"
#include "kernels/engine/augment.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool flip_x, flip_y;
    int quarter_turns; /* 0..3, clockwise, after the flips */
    bool jitter;
    float colour[3][3]; /* od' = od·colour + offset, optical density of R, G, B (row vectors) */
    float offset[3];
} tr_augment;

void tr_augment_none(tr_augment *a);
/* theta: stain channels s → s·U(1-θ,1+θ) + U(-θ,θ); brightness: factor U(1-b,1+b). */
void tr_augment_draw(tr_augment *a, qs_rng *rng, double theta, double brightness);
/* Geometry of `size` × `size` pixels of n_bytes each (1 or 3). src and dst may not overlap. */
void tr_augment_geometry(const tr_augment *a, const uint8_t *src, int size, int n_bytes,
                         uint8_t *dst);
/* Where pixel (x,y) of the result comes from. */
void tr_augment_origin(const tr_augment *a, int size, int x, int y, int *src_x, int *src_y);
/* The draw as a device takes it: geometry, jitter and colours of *w. */
void tr_augment_weak(const tr_augment *a, int size, kn_weak *w);
/* colour as rows: row j makes density j of the result. */
void tr_augment_rows(const tr_augment *a, float rows[3][3], float offset[3]);
/* The tables of kn_image_tables, from this platform's logarithm and exponential. */
void tr_augment_densities(float density[256]);
void tr_augment_limits(float limit[256]);
/* Stain and brightness jitter in place; n pixels of RGB. */
void tr_augment_colour(const tr_augment *a, uint8_t *rgb, int64_t n);

#endif
