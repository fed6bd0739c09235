/* Outlines into class areas, window by window. Immutable after creation, thread-safe. */
#ifndef QS_WSI_ANNOT_RASTER_PRIV_H
#define QS_WSI_ANNOT_RASTER_PRIV_H

#include "wsi/annot/pixel_priv.h"
#include "wsi/annot/shapes.h"

typedef struct wsi_annot_raster wsi_annot_raster;

/* shapes[i] of the set is painted by paints[i], i < n, from the bottom of the pile to its top;
 * those that erase come last. Both are copied; the set is borrowed. */
wsi_annot_raster *wsi_annot_raster_create(const wsi_annotations *set, const guint *shapes,
                                          const wsi_paint *paints, guint n);
void wsi_annot_raster_destroy(wsi_annot_raster *raster); /* NULL accepted */

/* Called for runs of pixels of a row, left to right, top to bottom: n pixels from x, each covered
 * so. */
typedef void (*wsi_cover_fn)(void *user, int64_t x, int64_t y, int64_t n, const double *cover);
/* The window in pixels of a plane in which a pixel is `downsample` level-0 pixels. */
void wsi_annot_raster_run(const wsi_annot_raster *raster, double downsample, int64_t x, int64_t y,
                          int w, int h, wsi_cover_fn fn, void *user);

#endif
