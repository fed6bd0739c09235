/* A prediction against another set of labels, as shares that fit in a byte.
 *
 * A pixel of the prediction is found (both have the same foreground class), false (it has one that
 * the other has not), missed (the other has one that it has not), or nothing; of two different
 * foreground classes it is false and missed. Pixels that the other ignores do not count. A byte
 * carries the shares of a larger pixel, rounded up, so that nothing small vanishes zoomed out:
 *     bits 0-1 found in thirds, bits 2-4 false and bits 5-7 missed in sevenths.
 * 255 is outside the slide; no shares give it. */
#ifndef QS_VIEW_COMPARE_H
#define QS_VIEW_COMPARE_H

#include "view/labels.h"

/* Counts over the pixels of a cell. */
typedef struct {
    uint16_t found, false_, missed;
} vw_cell;

uint8_t vw_cell_byte(int64_t found, int64_t false_, int64_t missed, int64_t n);

/* Cells of VW_BLOCK_PX × VW_BLOCK_PX pixels of the prediction, of a whole slide. */
enum { VW_BLOCK_PX = 32 };
typedef struct {
    int64_t w, h; /* blocks */
    vw_cell *cells;
} vw_blocks;
void vw_blocks_clear(vw_blocks *blocks);
/* One pass over both; stops between rows of blocks when the program is asked to. */
bool vw_blocks_make(vw_blocks *blocks, vw_labels *pred, vw_labels *other, GError **error);

/* Bytes of pixels of `step` level-0 pixels. blocks may be NULL while step is at most
 * VW_COMPARE_DIRECT of the prediction's pixels. */
enum { VW_COMPARE_DIRECT = 16 };
bool vw_compare_read(vw_labels *pred, vw_labels *other, const vw_blocks *blocks, double step,
                     int64_t x, int64_t y, int w, int h, uint8_t *dst, size_t row_bytes,
                     GError **error);

#endif
