/* The direct lane: tiles of a slide read with libtiff and decoded by us, where OpenSlide would do
 * no more than that, at several times its speed (its time goes into compositing).
 *
 * Whether it may be used is not a matter of belief: some tiles of every level, the first, the last
 * and random ones, are read both ways and must be equal. What the lane does not do itself it leaves
 * to OpenSlide, request by request: a sparse tile, a level that did not agree. */
#ifndef QS_WSI_LANE_PRIV_H
#define QS_WSI_LANE_PRIV_H

#include "wsi/slide/driver.h"
#include "wsi/lane/window.h"

typedef struct wsi_lane wsi_lane;

/* Reads as wsi_slide_read does, through OpenSlide. */
typedef bool (*wsi_lane_peer)(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv,
                              int h_lv, uint8_t *rgb, size_t row_bytes, GError **error);

/* For a slide that OpenSlide has opened (its info is filled). NULL when no level can be read
 * directly. *why, owned: what was compared, or why not; never NULL. */
wsi_lane *wsi_lane_open(wsi_slide *slide, wsi_lane_peer peer, char **why);
void wsi_lane_close(wsi_lane *lane); /* NULL accepted */
bool wsi_lane_serves(const wsi_lane *lane, int level);
/* The size of the tiles that wsi_lane_copy gives of a level; 0 where it gives none. */
void wsi_lane_tile_size(const wsi_lane *lane, int level, int *w, int *h);
/* The place is the rounded level-0 place of a level pixel. SPARSE: it is not, or a tile in the
 * region has no bytes: the peer must be asked (output undefined). FAILED: damaged, error has level,
 * tile and place. Thread-safe. */
wsi_tile_outcome wsi_lane_read(wsi_lane *lane, int level, int64_t x_l0, int64_t y_l0, int w_lv,
                               int h_lv, uint8_t *rgb, size_t row_bytes, GError **error);
/* The region as a tile of the file; see wsi_view_copy. Thread-safe. */
wsi_copy_outcome wsi_lane_copy(wsi_lane *lane, int level, int64_t x_l0, int64_t y_l0, int w_lv,
                               int h_lv, wsi_tile_copy *copy, GError **error);
/* Bytes of memory at most with n_threads readers. */
int64_t wsi_lane_memory(const wsi_lane *lane, int n_threads);

#endif
