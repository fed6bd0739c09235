/* Stain normalisation: an image's stains estimated, and moved to those of a reference.
 *
 * Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009.
 *   Optical density OD = −ln((I + 1) / 240). Of pixels with OD ≥ 0.15 in every channel, the plane
 * of the two largest eigenvectors of the covariance; in it the directions at the 1st and 99th
 *   percentile of the angle are the stains, haematoxylin the one that absorbs more red.
 *   Concentrations by least squares, their 99th percentiles as strengths. Normalised:
 *   I' = 240 exp(−(reference stains · diag(reference strength / strength) · concentrations)).
 * Reinhard et al., "Color transfer between images", IEEE CG&A 2001.
 *   RGB (I + 1, so that black has a logarithm) → LMS → ln → lαβ; mean and standard deviation of
 * each channel are those of the reference afterwards. The unit of the logarithm does not matter.
 *
 * Parameters are estimated in doubles from a sample of pixels, and a transform is applied from
 * tables in integers (stain_apply.c), so it gives the same bytes everywhere. */
#ifndef QS_WSI_STAIN_H
#define QS_WSI_STAIN_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { WSI_STAIN_NONE, WSI_STAIN_MACENKO, WSI_STAIN_REINHARD } wsi_stain_method;

/* macenko: haematoxylin's OD of R,G,B, eosin's, strength of each: 8 numbers.
 * reinhard: means of l,α,β, their standard deviations: 6 numbers. */
typedef struct {
    wsi_stain_method method;
    double v[8];
} wsi_stain;

const char *wsi_stain_name(wsi_stain_method method); /* "none", "macenko", "reinhard" */
bool wsi_stain_parse(const char *name, wsi_stain_method *method);
int wsi_stain_n_values(wsi_stain_method method);
/* The usual references: Macenko's own; for Reinhard the one of HistomicsTK (a region of
 * TCGA-A2-A3XS-DX1, Amgad et al., Bioinformatics 2019). */
void wsi_stain_default(wsi_stain_method method, wsi_stain *stain);

/* ---- a sample of tissue pixels ---------------------------------------------------------------
 * At most so many of each window, evenly spaced; what is pale, nearly black or pen is left out. */
enum { WSI_STAIN_WINDOWS = 64, WSI_STAIN_WINDOW_PX = 4096, WSI_STAIN_PX_MIN = 1000 };
typedef struct {
    uint8_t *rgb; /* (n,3), owned */
    size_t n, capacity;
} wsi_stain_sample;
void wsi_stain_sample_add(wsi_stain_sample *sample, const uint8_t *rgb, size_t row_bytes, int w,
                          int h);
void wsi_stain_sample_clear(wsi_stain_sample *sample);

/* rgb (n,3). QS_ERROR_FORMAT when there are too few pixels, or when they have no two stains. */
bool wsi_stain_estimate(wsi_stain_method method, const uint8_t *rgb, size_t n, wsi_stain *stain,
                        GError **error);

/* ---- applying --------------------------------------------------------------------------------
 * Immutable after creation, thread-safe. */
typedef struct wsi_stain_map wsi_stain_map;
/* Both of one method, not NONE. QS_ERROR_FORMAT when `from` cannot be inverted. */
wsi_stain_map *wsi_stain_map_create(const wsi_stain *from, const wsi_stain *to, GError **error);
void wsi_stain_map_destroy(wsi_stain_map *map); /* NULL accepted */
/* In place. */
void wsi_stain_map_apply(const wsi_stain_map *map, uint8_t *rgb, size_t row_bytes, int w, int h);
/* The definition, in doubles, not rounded and not cut off: what the tests compare with. */
void wsi_stain_map_exact(const wsi_stain_map *map, const uint8_t rgb[3], double out[3]);

#endif
