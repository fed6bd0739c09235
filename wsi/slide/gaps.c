#include "wsi/slide/gaps.h"

#include "wsi/slide/driver.h"

#include <math.h>
#include <string.h>

GArray *wsi_slide_gaps(const wsi_slide *slide, int level, GError **error)
{
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    const wsi_level *at = &info->levels[level], *base = &info->levels[0];
    GArray *gaps = g_array_new(FALSE, FALSE, sizeof(wsi_gap));
    wsi_file_type type;
    int64_t n_bytes;
    if (!wsi_sniff(info->path, &type, &n_bytes, error)) {
        g_array_unref(gaps);
        return NULL;
    }
    if (type != WSI_FILE_TIFF)
        return gaps;
    GArray *holes = wsi_tiff_gaps(info->path, at->w, at->h, error);
    if (!holes) {
        g_array_unref(gaps);
        return NULL;
    }
    bool filled = g_strcmp0(info->vendor, "aperio") == 0 && level > 0;
    for (guint i = 0; i < holes->len; i++) {
        const wsi_tiff_gap *h = &g_array_index(holes, wsi_tiff_gap, i);
        wsi_gap gap = {.x_l0 = llround((double)h->x * at->downsample),
                       .y_l0 = llround((double)h->y * at->downsample),
                       .filled = filled};
        gap.w_l0 = MIN(llround((double)(h->x + h->w) * at->downsample), base->w) - gap.x_l0;
        gap.h_l0 = MIN(llround((double)(h->y + h->h) * at->downsample), base->h) - gap.y_l0;
        g_array_append_val(gaps, gap);
    }
    g_array_unref(holes);
    return gaps;
}
