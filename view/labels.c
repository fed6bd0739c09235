/* See labels.h. */
#include "view/labels.h"

#include <math.h>

void vw_labels_init(vw_labels *labels, wsi_grey *grey, wsi_mask *mask, const wsi_slide *slide)
{
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    *labels = (vw_labels){
        .grey = grey, .mask = mask, .slide_w = info->levels[0].w, .slide_h = info->levels[0].h};
    if (grey) {
        labels->factor = wsi_grey_factor(grey);
        wsi_grey_size(grey, &labels->w, &labels->h);
    } else {
        const wsi_mask_info *m = wsi_mask_get_info(mask);
        labels->factor = m->factor;
        labels->w = m->w;
        labels->h = m->h;
    }
}

void vw_labels_clear(vw_labels *labels)
{
    wsi_grey_close(labels->grey);
    wsi_mask_close(labels->mask);
    *labels = (vw_labels){0};
}

bool vw_labels_read(vw_labels *labels, double step, int64_t x, int64_t y, int w, int h,
                    uint8_t *dst, size_t row_bytes, GError **error)
{
    if (labels->grey)
        return wsi_grey_sample(labels->grey, step, x, y, w, h, dst, row_bytes, error);
    const wsi_view view = {.w = (int64_t)ceil((double)labels->slide_w / step),
                           .h = (int64_t)ceil((double)labels->slide_h / step),
                           .downsample = step};
    return wsi_mask_read(labels->mask, &view, x, y, w, h, dst, row_bytes, error);
}
