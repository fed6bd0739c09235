/* Does the direct lane give what OpenSlide gives? Asked at every opening, of a few tiles. */
#ifndef QS_WSI_LANE_CHECK_PRIV_H
#define QS_WSI_LANE_CHECK_PRIV_H

#include "wsi/lane/lane.h"
#include "wsi/lane/tiles.h"

/* Reads some tiles of the level both ways. NULL when all agree, else an owned sentence; *n is how
 * many were compared. Tiles that are sparse or damaged say nothing and others are taken. */
char *wsi_lane_compare(wsi_lane *lane, wsi_slide *slide, wsi_lane_peer peer, int level,
                       const wsi_tiff_level *tiles, int *n);

#endif
