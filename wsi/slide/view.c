/* A slide at one resolution; see slide.h. A request is clipped to the view, the rest is background.
 * Read as it is, it is one read of the level. Resampled, it is done in blocks: strips of source
 * rows are read, reduced along x, and added with their weights to the one or two output rows that
 * each source row lies under. */
#include "wsi/colour/colour.h"
#include "wsi/slide/resample.h"
#include "wsi/slide/driver.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK_SOURCE_W = 2048,     /* source pixels a block is wide, at least one output pixel */
    BLOCK_OUT_PX = 1 << 16,    /* output pixels of a block: bounds the sums */
    STRIP_SOURCE_PX = 1 << 20, /* source pixels read at once */
};

static const double SAME_LEVEL = 1e-3; /* of wsi_view_init_reduced: half a pixel of 500 */

/* The level to read for `downsample`: the coarsest that is not coarser by more than the tolerance.
 */
static int choose_level(const wsi_slide_info *info, double downsample, double tolerance)
{
    int best = 0;
    for (int i = 1; i < info->n_levels; i++)
        if (info->levels[i].downsample <= downsample * (1 + tolerance) &&
            info->levels[i].downsample >= info->levels[best].downsample)
            best = i;
    return best;
}

static bool init_downsample(wsi_view *view, wsi_slide *slide, double downsample, double tolerance,
                            GError **error)
{
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    int at = choose_level(info, downsample, tolerance);
    const wsi_level *level = &info->levels[at];
    *view = (wsi_view){.slide = slide, .level = at};
    if (fabs(level->downsample / downsample - 1) <= tolerance) {
        view->w = level->w;
        view->h = level->h;
        view->downsample = level->downsample;
        view->level_scale = 1;
    } else {
        view->w = MAX(1, (int64_t)floor((double)info->levels[0].w / downsample));
        view->h = MAX(1, (int64_t)floor((double)info->levels[0].h / downsample));
        view->downsample = downsample;
        view->level_scale = downsample / level->downsample;
    }
    view->mpp = info->mpp * view->downsample;
    if (view->level_scale <= WSI_SCALE_MAX)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "%s: a reduction of level %d by %.0f is asked for; at most %d is possible",
                info->path, at, view->level_scale, WSI_SCALE_MAX);
    return false;
}

static void fail_unknown(const wsi_slide_info *info, double mpp_wanted, GError **error)
{
    g_autofree char *said =
        info->mpp_said ? g_strdup_printf(" (the file says %.4g x %.4g µm per pixel, which cannot "
                                         "be a slide's)",
                                         info->mpp_said_x, info->mpp_said_y)
                       : g_strdup("");
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "%s: its resolution is unknown%s, so %.4g µm per pixel cannot be read; give it "
                "with --mpp-override or the cohort's mpp column, or use --level0",
                info->path, said, mpp_wanted);
}

bool wsi_view_init_at(wsi_view *view, wsi_slide *slide, const wsi_resolution *resolution,
                      GError **error)
{
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    double wanted = resolution->mpp, tolerance = resolution->tolerance;
    if (!(tolerance >= 0 && tolerance < 1)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "a resolution's tolerance is a share of 0 to 1, not %g", tolerance);
        return false;
    }
    if (resolution->level0)
        return init_downsample(view, slide, 1, tolerance, error);
    if (!(wanted > 0) || !isfinite(wanted)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%g µm per pixel cannot be a resolution",
                    wanted);
        return false;
    }
    if (!(info->mpp > 0)) {
        fail_unknown(info, wanted, error);
        return false;
    }
    double downsample = wanted / info->mpp;
    if (downsample < 1 - tolerance) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: %.4g µm per pixel is finer than its level 0 (%.4g, %s) and pixels are not "
                    "invented; "
                    "use --mpp %.4g or coarser, or --level0",
                    info->path, wanted, info->mpp, wsi_mpp_origin_name(info->mpp_origin),
                    info->mpp);
        return false;
    }
    return init_downsample(view, slide, MAX(1, downsample), tolerance, error);
}

bool wsi_view_init(wsi_view *view, wsi_slide *slide, bool level0, double mpp_wanted, GError **error)
{
    const wsi_resolution resolution = {level0, mpp_wanted, WSI_MPP_TOLERANCE};
    return wsi_view_init_at(view, slide, &resolution, error);
}

bool wsi_view_init_reduced(wsi_view *view, wsi_slide *slide, double downsample, GError **error)
{
    if (!(downsample >= 1) || !isfinite(downsample)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "a reduction by %g cannot be made", downsample);
        return false;
    }
    return init_downsample(view, slide, downsample, SAME_LEVEL, error);
}

bool wsi_view_init_fit(wsi_view *view, wsi_slide *slide, int max_px, GError **error)
{
    const wsi_level *base = &wsi_slide_get_info(slide)->levels[0];
    if (max_px < 1) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "a picture of at most %d pixels cannot be made",
                    max_px);
        return false;
    }
    double downsample = (double)MAX(base->w, base->h) / max_px;
    /* A level within the tolerance may be a little larger than asked for: ask for less of it. */
    if (!init_downsample(view, slide, MAX(1, downsample), WSI_MPP_TOLERANCE, error))
        return false;
    if (MAX(view->w, view->h) <= max_px)
        return true;
    view->downsample = downsample;
    view->level_scale = downsample / wsi_slide_get_info(slide)->levels[view->level].downsample;
    if (view->level_scale < 1) {
        view->level = MAX(0, view->level - 1);
        view->level_scale = downsample / wsi_slide_get_info(slide)->levels[view->level].downsample;
    }
    view->w = MAX(1, (int64_t)floor((double)base->w / downsample));
    view->h = MAX(1, (int64_t)floor((double)base->h / downsample));
    view->mpp = wsi_slide_get_info(slide)->mpp * downsample;
    return true;
}

static void fill(uint8_t *rgb, size_t row_bytes, int w, int h, const uint8_t *colour)
{
    for (int r = 0; r < h; r++)
        for (int i = 0; i < w; i++)
            memcpy(rgb + (size_t)r * row_bytes + (size_t)i * 3, colour, 3);
}

/* One block of the reduction: output columns x … x+w-1 and rows y … y+h-1, all inside the view. */
static bool reduce_block(const wsi_view *view, int64_t x, int64_t y, int w, int h, uint8_t *rgb,
                         size_t row_bytes, GError **error)
{
    const wsi_level *level = &wsi_slide_get_info(view->slide)->levels[view->level];
    size_t n_sums = (size_t)w * 3;
    size_t spans_bytes = (size_t)(w + h) * sizeof(wsi_span), sums_bytes = n_sums * (size_t)h * 8;
    char *scratch = wsi_scratch(WSI_SCRATCH_SUMS, spans_bytes + sums_bytes + n_sums * 4);
    uint64_t *sums = (uint64_t *)(void *)scratch;
    wsi_span *columns = (wsi_span *)(void *)(scratch + sums_bytes), *rows = columns + w;
    uint32_t *row_sums = (uint32_t *)(void *)(scratch + sums_bytes + spans_bytes);
    memset(sums, 0, sums_bytes);
    for (int i = 0; i < w; i++)
        wsi_span_init(&columns[i], x + i, view->level_scale, level->w);
    for (int j = 0; j < h; j++)
        wsi_span_init(&rows[j], y + j, view->level_scale, level->h);

    int64_t sx = columns[0].first, sy = rows[0].first;
    int src_w = (int)(columns[w - 1].first + columns[w - 1].n - sx);
    int64_t sy_end = rows[h - 1].first + rows[h - 1].n;
    int strip_h = MAX(1, STRIP_SOURCE_PX / src_w), j0 = 0;
    for (; sy < sy_end; sy += strip_h) {
        int n = (int)MIN(strip_h, sy_end - sy);
        uint8_t *src = wsi_scratch(WSI_SCRATCH_LEVEL, (size_t)src_w * (size_t)n * 3);
        if (!wsi_slide_read(view->slide, view->level, llround((double)sx * level->downsample),
                            llround((double)sy * level->downsample), src_w, n, src,
                            (size_t)src_w * 3, error))
            return false;
        for (int r = 0; r < n; r++) {
            wsi_row_sums(columns, w, src + (size_t)r * (size_t)src_w * 3, sx, row_sums);
            while (j0 < h && rows[j0].first + rows[j0].n <= sy + r)
                j0++;
            for (int j = j0; j < h && rows[j].first <= sy + r; j++) {
                uint64_t weight = wsi_span_weight(&rows[j], sy + r);
                for (size_t i = 0; i < n_sums; i++)
                    sums[(size_t)j * n_sums + i] += weight * row_sums[i];
            }
        }
    }
    for (int j = 0; j < h; j++)
        for (size_t i = 0; i < n_sums; i++) {
            uint64_t total = (uint64_t)rows[j].total * columns[i / 3].total;
            rgb[(size_t)j * row_bytes + i] =
                (uint8_t)((sums[(size_t)j * n_sums + i] + total / 2) / total);
        }
    return true;
}

static bool read_inside(const wsi_view *view, int64_t x, int64_t y, int w, int h, uint8_t *rgb,
                        size_t row_bytes, GError **error)
{
    if (view->level_scale == 1)
        return wsi_slide_read(view->slide, view->level, llround((double)x * view->downsample),
                              llround((double)y * view->downsample), w, h, rgb, row_bytes, error);
    int block_w = MIN(w, MAX(1, (int)(BLOCK_SOURCE_W / view->level_scale)));
    int block_h = MIN(h, MAX(1, BLOCK_OUT_PX / block_w));
    for (int by = 0; by < h; by += block_h)
        for (int bx = 0; bx < w; bx += block_w)
            if (!reduce_block(view, x + bx, y + by, MIN(block_w, w - bx), MIN(block_h, h - by),
                              rgb + (size_t)by * row_bytes + (size_t)bx * 3, row_bytes, error))
                return false;
    return true;
}

bool wsi_view_read(const wsi_view *view, int64_t x, int64_t y, int w, int h, uint8_t *rgb,
                   size_t row_bytes, GError **error)
{
    g_assert(w > 0 && h > 0);
    int64_t x0 = CLAMP(x, 0, view->w), x1 = CLAMP(x + w, 0, view->w);
    int64_t y0 = CLAMP(y, 0, view->h), y1 = CLAMP(y + h, 0, view->h);
    if (x1 - x0 < w || y1 - y0 < h)
        fill(rgb, row_bytes, w, h, wsi_slide_get_info(view->slide)->background);
    if (x1 <= x0 || y1 <= y0)
        return true;
    uint8_t *inside = rgb + (size_t)(y0 - y) * row_bytes + (size_t)(x0 - x) * 3;
    int inside_w = (int)(x1 - x0), inside_h = (int)(y1 - y0);
    if (!read_inside(view, x0, y0, inside_w, inside_h, inside, row_bytes, error))
        return false;
    if (view->colour)
        wsi_colour_apply(view->colour, inside, row_bytes, inside_w, inside_h);
    return true;
}

/* Whatever wsi_view_read does to the pixels of a level must be refused here. */
wsi_copy_outcome wsi_view_copy(const wsi_view *view, int64_t x, int64_t y, int w, int h,
                               wsi_tile_copy *copy, GError **error)
{
    const wsi_driver *driver = view->slide->driver;
    if (view->level_scale != 1 || view->colour || !driver->copy)
        return WSI_COPY_NOT_A_TILE;
    return driver->copy(view->slide, view->level, llround((double)x * view->downsample),
                        llround((double)y * view->downsample), w, h, copy, error);
}
