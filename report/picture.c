/* Small pictures of a slide with its labels and its errors. */
#include "report/report.h"

#include "base/error.h"
#include "wsi/annot/mask.h"
#include "wsi/slide/slide.h"

#include <math.h>
#include <string.h>

enum { PICTURE_PX = 720, OUTLINE_PX = 2 };

static const uint8_t tp_rgb[3] = {0x00, 0x80, 0x60}, fp_rgb[3] = {0xD5, 0x5E, 0x00},
                     fn_rgb[3] = {0x26, 0x78, 0xC8};

/* Opens the slide and a view of it that fits the picture. */
static wsi_slide *open_fit(const job_slide *slide, wsi_view *view, GError **error)
{
    wsi_slide *s = wsi_slide_open(slide->slide, slide->mpp, error);
    if (s && !wsi_view_init_fit(view, s, PICTURE_PX, error)) {
        wsi_slide_close(s);
        return NULL;
    }
    return s;
}

uint8_t *rep_picture_labels(const rep_picture *picture, const job_slide *slide, const char *path,
                            const qs_classes *classes, GError **error)
{
    wsi_view view;
    wsi_slide *s = open_fit(slide, &view, error);
    if (!s)
        return NULL;
    uint8_t *label = NULL;
    wsi_mask *mask = job_mask_open(path, s, classes, slide->labels, error);
    if (mask) {
        label = g_malloc((size_t)picture->w * (size_t)picture->h);
        if (!wsi_mask_read(mask, &view, 0, 0, picture->w, picture->h, label, (size_t)picture->w,
                           error))
            g_clear_pointer(&label, g_free);
        wsi_mask_close(mask);
    }
    wsi_slide_close(s);
    return label;
}

bool rep_picture_read(rep_picture *picture, const job_slide *slide, const qs_classes *classes,
                      GError **error)
{
    *picture = (rep_picture){0};
    wsi_view view;
    wsi_slide *s = open_fit(slide, &view, error);
    if (!s)
        return false;
    picture->w = (int)view.w;
    picture->h = (int)view.h;
    picture->mpp = view.mpp;
    picture->rgb = g_malloc((size_t)picture->w * (size_t)picture->h * 3);
    bool ok = wsi_view_read(&view, 0, 0, picture->w, picture->h, picture->rgb,
                            (size_t)picture->w * 3, error);
    wsi_slide_close(s);
    const char *from, *truth = job_slide_truth(slide, &from);
    if (ok && truth) {
        picture->truth = rep_picture_labels(picture, slide, truth, classes, error);
        ok = picture->truth != NULL;
    }
    if (!ok)
        rep_picture_clear(picture);
    return ok;
}

void rep_picture_clear(rep_picture *picture)
{
    g_clear_pointer(&picture->rgb, g_free);
    g_clear_pointer(&picture->truth, g_free);
}

static void mix(uint8_t *dst, const uint8_t *a, const uint8_t *b, int b_percent)
{
    for (int c = 0; c < 3; c++)
        dst[c] = (uint8_t)((a[c] * (100 - b_percent) + b[c] * b_percent) / 100);
}

static bool foreground(uint8_t label)
{
    return label != 0 && label != QS_CLASS_IGNORE;
}

/* Is a pixel of another label within the outline's width? The picture's border does not count. */
static bool on_outline(const rep_picture *p, const uint8_t *label, int x, int y)
{
    uint8_t own = label[(size_t)y * (size_t)p->w + (size_t)x];
    for (int dy = -OUTLINE_PX; dy <= OUTLINE_PX; dy++) {
        for (int dx = -OUTLINE_PX; dx <= OUTLINE_PX; dx++) {
            int xx = CLAMP(x + dx, 0, p->w - 1), yy = CLAMP(y + dy, 0, p->h - 1);
            if (dx * dx + dy * dy <= OUTLINE_PX * OUTLINE_PX + 1 &&
                label[(size_t)yy * (size_t)p->w + (size_t)xx] != own)
                return true;
        }
    }
    return false;
}

void rep_paint_labels(const rep_picture *p, const uint8_t *label, const qs_classes *classes,
                      const uint8_t rgb[3], uint8_t *out)
{
    static const uint8_t white[3] = {255, 255, 255};
    for (int y = 0; y < p->h; y++) {
        for (int x = 0; x < p->w; x++) {
            size_t i = (size_t)y * (size_t)p->w + (size_t)x;
            const uint8_t *colour = classes->n > 2 && foreground(label[i]) && label[i] < classes->n
                                        ? classes->items[label[i]].rgb
                                        : rgb;
            if (!foreground(label[i]))
                mix(out + 3 * i, p->rgb + 3 * i, white, 68);
            else if (on_outline(p, label, x, y))
                memcpy(out + 3 * i, colour, 3);
            else
                mix(out + 3 * i, p->rgb + 3 * i, colour, classes->n > 2 ? 18 : 0);
        }
    }
}

/* False is hatched, missed dotted: the strong part of each pattern. */
static bool is_strong(bool missed, size_t x, size_t y)
{
    return missed ? x % 4 < 2 && y % 4 < 2 : (x + y) % 8 < 4;
}

void rep_paint_errors(const rep_picture *p, const uint8_t *label, uint8_t *out)
{
    for (size_t i = 0; i < (size_t)p->w * (size_t)p->h; i++) {
        const uint8_t *src = p->rgb + 3 * i;
        /* Rec. 601 luma, lifted so that colours read on it. */
        int luma = (299 * src[0] + 587 * src[1] + 114 * src[2]) / 1000;
        uint8_t light = (uint8_t)(110 + luma * 145 / 255);
        const uint8_t grey[3] = {light, light, light};
        uint8_t t = p->truth[i], l = label[i];
        bool ignored = t == QS_CLASS_IGNORE;
        if (ignored || (!foreground(t) && !foreground(l)))
            mix(out + 3 * i, grey, grey, 0);
        else if (t == l)
            mix(out + 3 * i, grey, tp_rgb, 60);
        else
            mix(out + 3 * i, grey, foreground(t) ? fn_rgb : fp_rgb,
                is_strong(foreground(t), i % (size_t)p->w, i / (size_t)p->w) ? 95 : 45);
    }
}
