/* See tile.h. A slide without small levels (a plain image, a one-level .svs) gets an overview of
 * the whole, made once: a tile far out would else read all of level 0 again. What of it cannot be
 * read is hatched. */
#include "view/tile.h"

#include "base/error.h"
#include "base/report.h"
#include "wsi/image/jpeg_memory.h"

#include <math.h>
#include <string.h>

enum {
    QUALITY = 85,
    OVERVIEW_PX = 4 << 20, /* pixels of an overview, at most: 12 MiB */
    REDUCE_MAX = 8, /* a level's pixels read for one of a tile, a side, without an overview */
    PART_PX = 256,
    HATCH_PX = 8,
};

/* ---- the overview ---------------------------------------------------------------------------- */
static void hatch(uint8_t *rgb, size_t row_bytes, int w, int h)
{
    for (int r = 0; r < h; r++)
        for (int i = 0; i < w; i++)
            memset(rgb + (size_t)r * row_bytes + (size_t)i * 3, (r + i) % HATCH_PX < 3 ? 90 : 200,
                   3);
}

static bool make_overview(vw_open *open, GError **error)
{
    double step = open->levels[0].downsample;
    while ((double)open->w / step * ((double)open->h / step) > OVERVIEW_PX)
        step *= 2;
    wsi_view view;
    if (!wsi_view_init_reduced(&view, open->slide, step, error))
        return false;
    size_t row = (size_t)view.w * 3;
    uint8_t *rgb = g_malloc(row * (size_t)view.h);
    for (int64_t y = 0; y < view.h; y += PART_PX)
        for (int64_t x = 0; x < view.w; x += PART_PX) {
            int w = (int)MIN(PART_PX, view.w - x), h = (int)MIN(PART_PX, view.h - y);
            uint8_t *at = rgb + (size_t)y * row + (size_t)x * 3;
            if (!qs_stop_check(error)) {
                g_free(rgb);
                return false;
            }
            if (!wsi_view_read(&view, x, y, w, h, at, row, NULL))
                hatch(at, row, w, h);
        }
    open->overview = rgb;
    open->overview_w = view.w;
    open->overview_h = view.h;
    open->overview_step = view.downsample;
    return true;
}

static bool has_overview(vw_open *open, GError **error)
{
    g_mutex_lock(&open->overview_lock);
    bool ok = open->overview || make_overview(open, error);
    g_mutex_unlock(&open->overview_lock);
    return ok;
}

/* Pixels of `step` level-0 pixels from the overview: means of those whose centres lie in each. */
static void reduce_overview(const vw_open *open, double step, int64_t x, int64_t y, int w, int h,
                            uint8_t *rgb, size_t row_bytes)
{
    double k = step / open->overview_step;
    for (int r = 0; r < h; r++)
        for (int i = 0; i < w; i++) {
            int64_t x0 = (int64_t)((double)(x + i) * k), x1 = (int64_t)((double)(x + i + 1) * k);
            int64_t y0 = (int64_t)((double)(y + r) * k), y1 = (int64_t)((double)(y + r + 1) * k);
            x1 = MIN(MAX(x1, x0 + 1), open->overview_w);
            y1 = MIN(MAX(y1, y0 + 1), open->overview_h);
            uint8_t *out = rgb + (size_t)r * row_bytes + (size_t)i * 3;
            int64_t n = MAX(0, x1 - x0) * MAX(0, y1 - y0), sum[3] = {0};
            for (int64_t v = y0; v < y1; v++)
                for (int64_t u = x0; u < x1; u++)
                    for (int c = 0; c < 3; c++)
                        sum[c] += open->overview[(v * open->overview_w + u) * 3 + c];
            for (int c = 0; c < 3; c++)
                out[c] = n ? (uint8_t)((sum[c] + n / 2) / n)
                           : wsi_slide_get_info(open->slide)->background[c];
        }
}

/* ---- pixels ---------------------------------------------------------------------------------- */
static bool wants_overview(const vw_open *open, const wsi_view *view)
{
    double area = (double)open->w / view->downsample * ((double)open->h / view->downsample);
    return view->level_scale > REDUCE_MAX && area <= OVERVIEW_PX;
}

static bool read_pixels(vw_open *open, double downsample, int64_t x, int64_t y, int w, int h,
                        uint8_t *rgb, size_t row_bytes, GError **error)
{
    wsi_view view;
    if (!wsi_view_init_reduced(&view, open->slide, downsample, error))
        return false;
    if (!wants_overview(open, &view))
        return wsi_view_read(&view, x, y, w, h, rgb, row_bytes, error);
    if (!has_overview(open, error))
        return false;
    reduce_overview(open, downsample, x, y, w, h, rgb, row_bytes);
    return true;
}

/* A native tile as it lies in the file. *bytes NULL, and true, when there is none of that kind. */
static bool copy_tile(vw_open *open, const vw_level *at, int64_t x, int64_t y, GBytes **bytes,
                      GError **error)
{
    wsi_view view;
    wsi_tile_copy copy = {0};
    if (!wsi_view_init_reduced(&view, open->slide, at->downsample, error))
        return false;
    wsi_copy_outcome outcome = wsi_view_copy(&view, x, y, at->tile_w, at->tile_h, &copy, error);
    if (outcome == WSI_COPY_DONE)
        *bytes = g_bytes_new(copy.jpeg, copy.n);
    wsi_tile_copy_clear(&copy);
    return outcome != WSI_COPY_DAMAGED;
}

GBytes *vw_tile(vw_open *open, int level, int64_t x, int64_t y, GError **error)
{
    const vw_level *at = level < open->n_levels ? &open->levels[level] : NULL;
    if (!at || x * at->tile_w >= at->w || y * at->tile_h >= at->h) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: level %d has no tile %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT,
                    open->row->name, level, x, y);
        return NULL;
    }
    GBytes *bytes = NULL;
    if (!copy_tile(open, at, x * at->tile_w, y * at->tile_h, &bytes, error))
        return NULL;
    if (bytes)
        return bytes;
    size_t row = (size_t)at->tile_w * 3;
    g_autofree uint8_t *rgb = g_malloc(row * (size_t)at->tile_h);
    if (!read_pixels(open, at->downsample, x * at->tile_w, y * at->tile_h, at->tile_w, at->tile_h,
                     rgb, row, error))
        return NULL;
    return wsi_jpeg_encode(rgb, row, at->tile_w, at->tile_h, QUALITY, error);
}

GBytes *vw_thumb(vw_open *open, GError **error)
{
    double step = MAX(1, (double)MAX(open->w, open->h) / VW_TILE_PX);
    int w = (int)MAX(1, (double)open->w / step), h = (int)MAX(1, (double)open->h / step);
    size_t row = (size_t)w * 3;
    g_autofree uint8_t *rgb = g_malloc(row * (size_t)h);
    if (!read_pixels(open, step, 0, 0, w, h, rgb, row, error))
        return NULL;
    return wsi_jpeg_encode(rgb, row, w, h, QUALITY, error);
}
