/* Class labels of a slide from any file that holds them: a prediction's TIFF read where it is
 * needed, another image or outlines through wsi_mask. All are bytes on a grid of the slide.
 * Thread-safe. */
#ifndef QS_VIEW_LABELS_H
#define QS_VIEW_LABELS_H

#include "wsi/annot/mask.h"
#include "wsi/lane/grey.h"

typedef struct {
    wsi_grey *grey; /* owned; or */
    wsi_mask *mask; /* owned */
    int factor;     /* level-0 pixels per native pixel */
    int64_t w, h;   /* native pixels */
    int64_t slide_w, slide_h;
} vw_labels;

void vw_labels_clear(vw_labels *labels);
/* Takes one of the two over, the other NULL. */
void vw_labels_init(vw_labels *labels, wsi_grey *grey, wsi_mask *mask, const wsi_slide *slide);
/* Pixels of `step` level-0 pixels: (h,w) labels, 255 outside the slide and where pixels are
 * ignored. Images: the label at the pixel's centre. Outlines: the class that most of the pixel has.
 */
bool vw_labels_read(vw_labels *labels, double step, int64_t x, int64_t y, int w, int h,
                    uint8_t *dst, size_t row_bytes, GError **error);

#endif
