/* A slide that somebody looks at: the slide, the levels in which it is served, and its layers, each
 * opened when it is first asked for. Thread-safe after opening. */
#ifndef QS_VIEW_OPEN_H
#define QS_VIEW_OPEN_H

#include "view/compare.h"
#include "view/route.h"
#include "view/shown.h"

/* A picture of the slide at one resolution, cut into tiles from its corner. */
typedef struct {
    double downsample;
    int64_t w, h;
    int tile_w, tile_h;
} vw_level;

enum { VW_LEVELS_MAX = 64, VW_TILE_PX = 256 };

/* Something opened at its first use; a failure is kept and told to everyone. */
typedef struct {
    GMutex lock;
    bool tried;
    GError *error;
    vw_labels labels;
    wsi_grey *map;
    wsi_tissue *tissue;
    GArray *cells; /* of db_patch */
    vw_blocks blocks;
} vw_layer;

typedef struct {
    const vw_shown *shown;
    const vw_slide *row;
    wsi_slide *slide;
    int64_t w, h; /* level 0 */
    vw_level levels[VW_LEVELS_MAX];
    int n_levels;
    int n_plane_levels; /* planes have pixels of 2^k level-0 pixels, k < n_plane_levels */
    int64_t memory;     /* bytes at most, of all that may be opened for it */
    vw_layer layers[VW_PLANES][VW_MODELS_MAX];
    GMutex overview_lock; /* guards overview while it is made */
    uint8_t *overview;    /* of slides without small levels: the whole in small */
    int64_t overview_w, overview_h;
    double overview_step;
} vw_open;

vw_open *vw_open_slide(const vw_shown *shown, guint i, GError **error);
void vw_open_close(vw_open *open); /* NULL accepted */

/* Is there such a layer at all: was the file or the store named? */
bool vw_open_has(const vw_open *open, vw_plane plane, int model);
/* The layer, opened; NULL with a message when it cannot be, and then always. */
vw_layer *vw_open_layer(vw_open *open, vw_plane plane, int model, GError **error);
/* QS_ERROR_ARG: it has no such layer. */
void vw_open_fail_absent(const vw_open *open, vw_plane plane, int model, GError **error);
/* A copy of an error that is kept. */
void vw_error_copy(const GError *from, GError **error);

#endif
