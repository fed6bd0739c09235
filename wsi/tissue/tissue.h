/* Tissue found at low resolution: saturation above a threshold (8 of 255, CLAM's) or Otsu's, after
 * a median filter (7), closing (4), dropping small parts and filling small holes. Pen-coloured
 * pixels are not tissue. Immutable after creation, thread-safe. */
#ifndef QS_WSI_TISSUE_H
#define QS_WSI_TISSUE_H

#include "wsi/annot/mask.h"

typedef struct {
    int max_px; /* longest side of the low-resolution picture: 2048 */
    bool otsu;
    int saturation;   /* 8, used when otsu is false */
    int median_px;    /* 7 */
    int closing_px;   /* 4 */
    int min_area_px;  /* 100, at low resolution */
    int hole_area_px; /* 16 */
} wsi_tissue_options;
void wsi_tissue_options_init(wsi_tissue_options *options); /* the defaults above */

typedef struct {
    int w, h;
    double downsample_x, downsample_y; /* level-0 pixels per tissue pixel */
    uint8_t *mask;                     /* (h,w) 0 or 1 */
    double share;                      /* of the picture */
    /* Why there is as much as there is: the saturation threshold used (of 255) and the shares of
     * the picture that are nearly white, nearly black and pen-coloured. */
    int threshold; /* -1: a mask of the user's, nothing was measured */
    double white_share, dark_share, pen_share;
    int n_damaged; /* blocks that could not be read: taken for tissue, so that the tiler meets them
                    */
} wsi_tissue;

wsi_tissue *wsi_tissue_find(wsi_slide *slide, const wsi_tissue_options *options, GError **error);
/* What a mask says is tissue: its labels above 0, but not 255 (ignore), read at low resolution.
 * Only max_px of the options is used. */
wsi_tissue *wsi_tissue_from_mask(wsi_slide *slide, wsi_mask *mask,
                                 const wsi_tissue_options *options, GError **error);
void wsi_tissue_destroy(wsi_tissue *tissue);
/* Fraction of the level-0 rectangle that is tissue, exact area weighting of tissue pixels. */
double wsi_tissue_fraction(const wsi_tissue *tissue, double x_l0, double y_l0, double w_l0,
                           double h_l0);

#endif
