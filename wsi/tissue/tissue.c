/* Tissue at low resolution: the parameters of CLAM (Lu et al., Nature BME 2021; create_patches.py)
 * on the HSV saturation of a picture of at most max_px.
 *
 * CLAM filters the saturation with a median and then thresholds; a median is above a threshold
 * exactly when most of its window is, so we threshold first and take the majority, which is the
 * same mask and a sum over a window. With Otsu the threshold comes from the unfiltered saturation.
 * Nearly black pixels have a saturation that means nothing and are no tissue (glass edges, fill,
 * fluorescence). */
#include "wsi/tissue/tissue.h"

#include "base/error.h"
#include "wsi/colour/pixel.h"
#include "wsi/tissue/morph.h"

#include <math.h>
#include <string.h>

enum { BLOCK_PX = 256 }; /* what one damaged tile takes out of the picture at most */

void wsi_tissue_options_init(wsi_tissue_options *options)
{
    *options = (wsi_tissue_options){.max_px = 2048,
                                    .saturation = 8,
                                    .median_px = 7,
                                    .closing_px = 4,
                                    .min_area_px = 100,
                                    .hole_area_px = 16};
}

static bool check_options(const wsi_tissue_options *o, GError **error)
{
    if (o->max_px >= 16 && o->max_px <= 16384 && o->saturation >= 0 && o->saturation < 255 &&
        o->median_px >= 0 && o->closing_px >= 0 && o->median_px < o->max_px &&
        o->closing_px < o->max_px && o->min_area_px >= 0 && o->hole_area_px >= 0)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "tissue options: picture of %d pixels (16 to 16384), saturation %d (0 to 254), "
                "median %d and "
                "closing %d (0 to the picture's size), smallest area %d and hole %d (0 or more)",
                o->max_px, o->saturation, o->median_px, o->closing_px, o->min_area_px,
                o->hole_area_px);
    return false;
}

/* Otsu's threshold: the split of the histogram with the largest variance between its two parts. */
static int otsu(const int64_t *histogram)
{
    double n = 0, sum = 0, n_low = 0, sum_low = 0, best = -1;
    int threshold = 0;
    for (int i = 0; i < 256; i++) {
        n += (double)histogram[i];
        sum += (double)i * (double)histogram[i];
    }
    for (int i = 0; i < 255; i++) {
        n_low += (double)histogram[i];
        sum_low += (double)i * (double)histogram[i];
        if (n_low <= 0 || n_low >= n)
            continue;
        double d = sum_low / n_low - (sum - sum_low) / (n - n_low);
        double between = n_low * (n - n_low) * d * d;
        if (between > best) {
            best = between;
            threshold = i;
        }
    }
    return threshold;
}

/* The saturation of every pixel; 0 for pen and dark pixels, whose shares are counted. */
static void saturate(wsi_tissue *tissue, const uint8_t *rgb, int64_t *histogram)
{
    int64_t n = (int64_t)tissue->w * tissue->h, white = 0, dark = 0, pen = 0;
    for (int64_t i = 0; i < n; i++) {
        int r = rgb[3 * i], g = rgb[3 * i + 1], b = rgb[3 * i + 2];
        bool is_dark = wsi_is_dark(r, g, b), is_pen = wsi_is_pen(r, g, b) && !is_dark;
        white += wsi_is_white(r, g, b);
        dark += is_dark;
        pen += is_pen;
        tissue->mask[i] = is_dark || is_pen ? 0 : (uint8_t)wsi_saturation(r, g, b);
        histogram[tissue->mask[i]]++;
    }
    tissue->white_share = (double)white / (double)n;
    tissue->dark_share = (double)dark / (double)n;
    tissue->pen_share = (double)pen / (double)n;
}

/* A block that cannot be read is white in the picture, and remembered as damaged. */
static void mark_damaged(wsi_tissue *tissue, int x, int y, int w, int h, uint8_t *rgb,
                         uint8_t *damaged)
{
    tissue->n_damaged++;
    for (int r = y; r < y + h; r++) {
        size_t at = (size_t)r * (size_t)tissue->w + (size_t)x;
        memset(rgb + at * 3, 255, (size_t)w * 3);
        memset(damaged + at, 1, (size_t)w);
    }
}

/* The picture, block by block. An error when no block can be read. */
static bool read_picture(wsi_tissue *tissue, const wsi_view *view, uint8_t *rgb, uint8_t *damaged,
                         GError **error)
{
    GError *damage = NULL;
    int n_blocks = 0;
    for (int y = 0; y < tissue->h; y += BLOCK_PX)
        for (int x = 0; x < tissue->w; x += BLOCK_PX, n_blocks++) {
            int w = MIN(BLOCK_PX, tissue->w - x), h = MIN(BLOCK_PX, tissue->h - y);
            size_t at = (size_t)y * (size_t)tissue->w + (size_t)x;
            if (!qs_stop_check(error)) {
                g_clear_error(&damage);
                return false;
            }
            if (!wsi_view_read(view, x, y, w, h, rgb + at * 3, (size_t)tissue->w * 3,
                               damage ? NULL : &damage))
                mark_damaged(tissue, x, y, w, h, rgb, damaged);
        }
    if (tissue->n_damaged == n_blocks) {
        g_propagate_error(error, damage);
        return false;
    }
    if (damage)
        qs_warn(
            "tissue detection: %d of %d blocks cannot be read and count as tissue; the first: %s",
            tissue->n_damaged, n_blocks, damage->message);
    g_clear_error(&damage);
    return true;
}

static void clean(wsi_tissue *tissue, const wsi_tissue_options *options)
{
    wsi_morph_majority(tissue->mask, tissue->w, tissue->h, options->median_px);
    wsi_morph_close(tissue->mask, tissue->w, tissue->h, options->closing_px);
    wsi_morph_drop_small(tissue->mask, tissue->w, tissue->h, 1, options->min_area_px);
    wsi_morph_drop_small(tissue->mask, tissue->w, tissue->h, 0, options->hole_area_px);
}

/* The picture's view, and an empty mask of its size. */
static wsi_tissue *new_tissue(wsi_slide *slide, const wsi_tissue_options *options, wsi_view *view,
                              GError **error)
{
    if (!check_options(options, error) || !wsi_view_init_fit(view, slide, options->max_px, error))
        return NULL;
    const wsi_level *base = &wsi_slide_get_info(slide)->levels[0];
    wsi_tissue *tissue = g_new0(wsi_tissue, 1);
    tissue->w = (int)view->w;
    tissue->h = (int)view->h;
    tissue->downsample_x = (double)base->w / (double)view->w;
    tissue->downsample_y = (double)base->h / (double)view->h;
    tissue->mask = g_malloc((size_t)tissue->w * (size_t)tissue->h);
    return tissue;
}

wsi_tissue *wsi_tissue_from_mask(wsi_slide *slide, wsi_mask *mask,
                                 const wsi_tissue_options *options, GError **error)
{
    wsi_view view;
    wsi_tissue *tissue = new_tissue(slide, options, &view, error);
    if (!tissue)
        return NULL;
    tissue->threshold = -1;
    if (!wsi_mask_read(mask, &view, 0, 0, tissue->w, tissue->h, tissue->mask, (size_t)tissue->w,
                       error)) {
        wsi_tissue_destroy(tissue);
        return NULL;
    }
    size_t n = (size_t)tissue->w * (size_t)tissue->h, n_on = 0;
    for (size_t i = 0; i < n; i++)
        n_on += tissue->mask[i] = tissue->mask[i] > 0 && tissue->mask[i] != QS_CLASS_IGNORE;
    tissue->share = (double)n_on / (double)n;
    return tissue;
}

wsi_tissue *wsi_tissue_find(wsi_slide *slide, const wsi_tissue_options *options, GError **error)
{
    wsi_view view;
    wsi_tissue *tissue = new_tissue(slide, options, &view, error);
    if (!tissue)
        return NULL;
    size_t n = (size_t)tissue->w * (size_t)tissue->h, n_on = 0;
    uint8_t *rgb = g_malloc(n * 3), *damaged = g_malloc0(n);
    int64_t histogram[256] = {0};
    bool ok = read_picture(tissue, &view, rgb, damaged, error);
    if (ok) {
        saturate(tissue, rgb, histogram);
        tissue->threshold = options->otsu ? otsu(histogram) : options->saturation;
        for (size_t i = 0; i < n; i++)
            tissue->mask[i] = tissue->mask[i] > tissue->threshold;
        clean(tissue, options);
        for (size_t i = 0; i < n; i++)
            n_on += tissue->mask[i] |= damaged[i];
        tissue->share = (double)n_on / (double)n;
    }
    g_free(rgb);
    g_free(damaged);
    if (!ok)
        g_clear_pointer(&tissue, wsi_tissue_destroy);
    return tissue;
}

void wsi_tissue_destroy(wsi_tissue *tissue)
{
    if (!tissue)
        return;
    g_free(tissue->mask);
    g_free(tissue);
}

/* The part of [i, i+1) that [lo, hi) covers. */
static double cover(int64_t i, double lo, double hi)
{
    return MAX(0, MIN((double)i + 1, hi) - MAX((double)i, lo));
}

double wsi_tissue_fraction(const wsi_tissue *tissue, double x_l0, double y_l0, double w_l0,
                           double h_l0)
{
    double x0 = MAX(0, x_l0 / tissue->downsample_x), y0 = MAX(0, y_l0 / tissue->downsample_y);
    double x1 = MIN((double)tissue->w, (x_l0 + w_l0) / tissue->downsample_x);
    double y1 = MIN((double)tissue->h, (y_l0 + h_l0) / tissue->downsample_y);
    if (!(x1 > x0) || !(y1 > y0))
        return 0;
    double area = 0;
    for (int64_t y = (int64_t)y0; y < (int64_t)ceil(y1); y++) {
        double line = 0;
        const uint8_t *row = tissue->mask + (size_t)y * (size_t)tissue->w;
        for (int64_t x = (int64_t)x0; x < (int64_t)ceil(x1); x++)
            if (row[x])
                line += cover(x, x0, x1);
        area += line * cover(y, y0, y1);
    }
    return MIN(1, area / ((x1 - x0) * (y1 - y0)));
}
