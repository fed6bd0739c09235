/* Label rows in, outlines along pixel edges out: exact, streamed, of any number of classes.
 *
 * Regions are 4-connected pixels of one label (0 is no region); their holes are what an 8-connected
 * walk cannot leave. Each region is given out once, when its last row has passed, with its outer
 * ring and all its holes, so memory holds open regions only. Coordinates are pixel corners (0,0 is
 * the upper left corner of the plane), a ring has a vertex at each turn and does not repeat its
 * first; seen on a screen outer rings run clockwise, holes counter-clockwise. No ring passes through
 * a point twice: one that would is several, which touch there (wsi/export/simple.h), so polygons are
 * valid by OGC's rules. Not thread-safe. */
#ifndef QS_WSI_TRACE_H
#define QS_WSI_TRACE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int32_t x, y;
} wsi_vertex;

typedef struct {
    uint8_t label;
    int64_t area_px;          /* pixels of the region, without its holes */
    double prob_sum;          /* over these pixels, of the rows' prob values */
    int n_rings;              /* the outer one first */
    const int64_t *ring_n;    /* (n_rings) vertices */
    const int64_t *ring_area; /* (n_rings) pixels enclosed, > 0 */
    const wsi_vertex *points; /* ring after ring */
} wsi_region;

/* The region is borrowed until the return. False stops the tracing with *error. */
typedef bool (*wsi_region_fn)(void *user, const wsi_region *region, GError **error);

typedef struct wsi_tracer wsi_tracer;

/* w < 2^31 columns. */
wsi_tracer *wsi_tracer_create(int64_t w, wsi_region_fn fn, void *user);
/* The next row from the top: w labels, w probabilities or NULL. */
bool wsi_tracer_row(wsi_tracer *tracer, const uint8_t *label, const uint8_t *prob, GError **error);
/* Below the last row. Every region has been given out then. */
bool wsi_tracer_finish(wsi_tracer *tracer, GError **error);
void wsi_tracer_destroy(wsi_tracer *tracer); /* NULL accepted */
/* Most vertices that were held at once. */
int64_t wsi_tracer_peak(const wsi_tracer *tracer);

#endif
