/* What a slide says but does not have: tiles without bytes (sparse TIFFs of Aperio, Philips and
 * others). They are no errors, and what a reader shows there is no tissue that was scanned: the
 * ledger has them. */
#ifndef QS_WSI_GAPS_H
#define QS_WSI_GAPS_H

#include "wsi/slide/slide.h"

typedef struct {
    int64_t x_l0, y_l0, w_l0, h_l0; /* level-0 pixels */
    bool filled; /* the reader shows another level's pixels there (Aperio), not the background */
} wsi_gap;

/* Of one level, neighbours joined, from the top; from the file's directories, no pixel is read.
 * Empty for files that are no TIFF. Array of wsi_gap, owned; NULL on error. */
GArray *wsi_slide_gaps(const wsi_slide *slide, int level, GError **error);

#endif
