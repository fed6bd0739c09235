/* A sliding window of decoded tiles, shared by the threads that read one slide.
 *
 * Readers go through a slide from the top, a few rows of tiles are alive at a time, and each tile
 * should be decoded once. So the window keeps what was decoded, up to a limit of bytes, and when it
 * is full gives up tiles of rows that the request at hand does not touch, the longest unused first.
 * When the rows at hand alone fill it (a very wide slide), further tiles are decoded for their
 * request and not kept: slower, and never more memory. */
#ifndef QS_WSI_TILE_WINDOW_PRIV_H
#define QS_WSI_TILE_WINDOW_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct wsi_tile_window wsi_tile_window;

typedef enum { WSI_TILE_PIXELS, WSI_TILE_SPARSE, WSI_TILE_FAILED } wsi_tile_outcome;

/* Fills rgb (n_bytes) with tile `tile` of a level. Called without the window's lock, by one thread
 * per tile at a time. */
typedef wsi_tile_outcome (*wsi_tile_fill)(void *user, int level, int64_t tile, uint8_t *rgb,
                                          GError **error);

typedef struct {
    int level;
    int64_t tile, row; /* number in the level, row of tiles */
    size_t n_bytes;    /* of its pixels */
} wsi_tile_key;

/* Rows of tiles that a request touches, of its level: they are not given up for it. */
typedef struct {
    int64_t first_row, last_row;
} wsi_tile_rows;

typedef struct wsi_window_tile wsi_window_tile; /* a tile in use */

wsi_tile_window *wsi_tile_window_create(size_t max_bytes);
void wsi_tile_window_destroy(wsi_tile_window *window); /* nothing is in use; NULL accepted */
/* The tile's pixels in *rgb, and a hold on them to be given back; NULL with *outcome SPARSE or
 * FAILED (error set). Waits for a thread that is at the same tile. Thread-safe. */
wsi_window_tile *wsi_tile_window_take(wsi_tile_window *window, const wsi_tile_key *key,
                                      const wsi_tile_rows *rows, wsi_tile_fill fill, void *user,
                                      const uint8_t **rgb, wsi_tile_outcome *outcome,
                                      GError **error);
void wsi_tile_window_give_back(wsi_tile_window *window, wsi_window_tile *tile);

#endif
