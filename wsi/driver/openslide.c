/* Slides through OpenSlide: every vendor format that it knows.
 *
 * One handle serves all threads: OpenSlide's own cache of decoded tiles is then shared, and two
 * threads on one handle read as fast as on two (measured: 114 against 103 MP/s, patches of 256).
 * Its errors stick to the handle, whoever caused them, so:
 *   1. readers hold `lock` shared while they use the handle;
 *   2. who sees an error takes `lock` alone, opens the handle again and repeats the read;
 *   3. if that fails too, the region is damaged, not the slide; the handle is opened once more.
 * OpenSlide 3.4 with libtiff 4.5 gives garbage, and no error, for tiles that are larger than their
 * level, unless they are JPEG or JPEG 2000 (TIFFRGBAImageGet then narrows its raster, which
 * OpenSlide does not know). Such levels are left out; a slide whose level 0 is one goes to the
 * image driver.
 *
 * OpenSlide's ARGB is premultiplied; transparent pixels lie on the slide's background colour. */
#include "wsi/lane/lane.h"
#include "wsi/slide/driver.h"
#include "wsi/stages.h"

#include "base/error.h"
#include "base/rgb.h"

#include <openslide.h>

#include <math.h>
#include <string.h>

enum {
    BLOCK_PX = 1024,              /* largest side of one request to OpenSlide */
    CACHE_BYTES = 32 << 20,       /* OpenSlide 3.4's cache of decoded tiles */
    COMPRESSION_JPEG_TAG = 7,     /* TIFF 6.0, technical note 2 */
    TILE_SCRATCH_BYTES = 4 << 20, /* its decoder's working memory in a thread, generously */
};

typedef struct {
    openslide_t *handle;
    GRWLock lock; /* guards handle */
    char *path;
    wsi_lane *lane;               /* NULL: OpenSlide reads everything */
    int os_level[WSI_LEVELS_MAX]; /* OpenSlide's number of each of our levels */
} openslide_data;

/* Does OpenSlide decode this TIFF's tiles itself, without libtiff's RGBA interface? */
static bool decodes_plainly(const wsi_probe *probe)
{
    int c = probe->tiff.compression;
    return probe->type != WSI_FILE_TIFF || c == COMPRESSION_JPEG_TAG || c == 33003 || c == 33005;
}

static bool takes(const wsi_probe *probe)
{
    /* A plain JPEG or PNG is never OpenSlide's, but a JPEG may be the face of a MIRAX slide. */
    if (probe->type == WSI_FILE_PNG)
        return false;
    const wsi_tiff_facts *tiff = &probe->tiff;
    if (!decodes_plainly(probe) && tiff->tiled &&
        (tiff->w < tiff->tile_w || tiff->h < tiff->tile_h))
        return false;
    /* libtiff's RGBA interface turns each tile by the orientation tag: pixels are read as stored instead. */
    if (!decodes_plainly(probe) && tiff->orientation > 1)
        return false;
    return openslide_detect_vendor(probe->path) != NULL;
}

static double number(openslide_t *handle, const char *name)
{
    const char *text = openslide_get_property_value(handle, name);
    double value = text ? g_ascii_strtod(text, NULL) : 0;
    return isfinite(value) ? value : 0;
}

static void read_mpp(openslide_t *handle, wsi_slide_info *info)
{
    double x = number(handle, OPENSLIDE_PROPERTY_NAME_MPP_X);
    double y = number(handle, OPENSLIDE_PROPERTY_NAME_MPP_Y);
    if (!openslide_get_property_value(handle, OPENSLIDE_PROPERTY_NAME_MPP_X) &&
        !openslide_get_property_value(handle, OPENSLIDE_PROPERTY_NAME_MPP_Y))
        return;
    info->mpp_said = true;
    info->mpp_said_x = x;
    info->mpp_said_y = y;
    if (!wsi_mpp_plausible(x, y)) {
        qs_warn("%s: the file says %g x %g µm per pixel, which is not used", info->path, x, y);
        return;
    }
    info->mpp = (x + y) / 2;
    info->mpp_origin = WSI_MPP_METADATA;
}

static void read_properties(openslide_t *handle, wsi_slide_info *info)
{
    info->vendor = g_strdup(openslide_get_property_value(handle, OPENSLIDE_PROPERTY_NAME_VENDOR));
    info->objective = number(handle, OPENSLIDE_PROPERTY_NAME_OBJECTIVE_POWER);
    const char *colour =
        openslide_get_property_value(handle, OPENSLIDE_PROPERTY_NAME_BACKGROUND_COLOR);
    if (colour) {
        guint64 rgb = g_ascii_strtoull(colour, NULL, 16);
        for (int k = 0; k < 3; k++)
            info->background[k] = (uint8_t)(rgb >> (16 - 8 * k));
    }
    info->bounds_x = (int64_t)number(handle, OPENSLIDE_PROPERTY_NAME_BOUNDS_X);
    info->bounds_y = (int64_t)number(handle, OPENSLIDE_PROPERTY_NAME_BOUNDS_Y);
    info->bounds_w = (int64_t)number(handle, OPENSLIDE_PROPERTY_NAME_BOUNDS_WIDTH);
    info->bounds_h = (int64_t)number(handle, OPENSLIDE_PROPERTY_NAME_BOUNDS_HEIGHT);
    read_mpp(handle, info);
}

static bool tile_fits(openslide_t *handle, int i, const wsi_level *level)
{
    char name[64];
    g_snprintf(name, sizeof name, "openslide.level[%d].tile-width", i);
    double tile_w = number(handle, name);
    g_snprintf(name, sizeof name, "openslide.level[%d].tile-height", i);
    double tile_h = number(handle, name);
    return tile_w <= (double)level->w && tile_h <= (double)level->h;
}

/* Is there a downsample of which both sides of the level are the slide's, to a pixel? OpenSlide says the
 * mean of both sides' ratios, which is another place for a level that is padded to whole tiles. */
static bool sides_agree(const wsi_level *full, const wsi_level *level)
{
    double from_x = (double)full->w / ((double)level->w + 1),
           from_y = (double)full->h / ((double)level->h + 1);
    double to_x = level->w > 1 ? (double)full->w / ((double)level->w - 1) : INFINITY;
    double to_y = level->h > 1 ? (double)full->h / ((double)level->h - 1) : INFINITY;
    return MAX(from_x, from_y) <= MIN(to_x, to_y);
}

static void leave_out(wsi_slide_info *info, int i, const wsi_level *level)
{
    GString *why = g_string_new(info->levels_why);
    g_string_append_printf(
        why,
        "%slevel %d of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
        " is left out: the slide is %.4f times as wide and %.4f times as high (padded to whole tiles?)",
        why->len ? "; " : "", i, level->w, level->h, (double)info->levels[0].w / (double)level->w,
        (double)info->levels[0].h / (double)level->h);
    g_free(info->levels_why);
    info->levels_why = g_string_free(why, FALSE);
}

static void read_levels(openslide_t *handle, const wsi_probe *probe, wsi_slide_info *info,
                        int *os_level)
{
    int n = openslide_get_level_count(handle);
    for (int i = 0; i < n && info->n_levels < WSI_LEVELS_MAX; i++) {
        wsi_level level = {.downsample = i ? openslide_get_level_downsample(handle, i) : 1.0};
        openslide_get_level_dimensions(handle, i, &level.w, &level.h);
        if (i > 0 && !decodes_plainly(probe) && !tile_fits(handle, i, &level)) {
            qs_debug("%s: level %d is smaller than its tiles and left out", info->path, i);
            continue;
        }
        if (i > 0 && !sides_agree(&info->levels[0], &level)) {
            leave_out(info, i, &level);
            continue;
        }
        os_level[info->n_levels] = i;
        info->levels[info->n_levels++] = level;
    }
}

static bool check_samples(const wsi_probe *probe, GError **error)
{
    if (probe->type != WSI_FILE_TIFF || (probe->tiff.bits == 8 && !probe->tiff.is_float))
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "%s: has %d-bit%s samples (%d a pixel); convert it to 8-bit RGB", probe->path,
                probe->tiff.bits, probe->tiff.is_float ? " floating-point" : "",
                probe->tiff.n_samples);
    return false;
}

static void reopen(openslide_data *data)
{
    if (data->handle)
        openslide_close(data->handle);
    data->handle = openslide_open(data->path);
}

/* The message of the error that the read met, owned; NULL when there was none. */
static char *read_once(openslide_data *data, uint32_t *argb, int level, int64_t x, int64_t y, int w,
                       int h)
{
    if (!data->handle)
        return g_strdup("the file cannot be opened any more");
    int64_t then = wsi_stages_now();
    openslide_read_region(data->handle, argb, x, y, data->os_level[level], w, h);
    wsi_stages_add(WSI_STAGE_DECODE, then);
    return g_strdup(openslide_get_error(data->handle));
}

/* Invariants 2 and 3 of the head comment. */
static char *read_again(openslide_data *data, uint32_t *argb, int level, int64_t x, int64_t y,
                        int w, int h)
{
    g_rw_lock_writer_lock(&data->lock);
    reopen(data);
    char *what = read_once(data, argb, level, x, y, w, h);
    if (what)
        reopen(data);
    g_rw_lock_writer_unlock(&data->lock);
    return what;
}

/* Premultiplied ARGB over an opaque background. */
static void row_to_rgb(const uint32_t *argb, int w, const uint8_t *background, uint8_t *rgb)
{
    for (int i = (int)qs_rgb_from_opaque_argb(argb, (size_t)w, rgb); i < w; i++) {
        uint32_t p = argb[i];
        if (p >> 24 == 255) {
            rgb[3 * i] = (uint8_t)(p >> 16);
            rgb[3 * i + 1] = (uint8_t)(p >> 8);
            rgb[3 * i + 2] = (uint8_t)p;
            continue;
        }
        unsigned through = 255 - (p >> 24);
        for (int k = 0; k < 3; k++) {
            unsigned c = (p >> (16 - 8 * k) & 255) + (background[k] * through + 127) / 255;
            rgb[3 * i + k] = (uint8_t)MIN(c, 255);
        }
    }
}

static bool read_block(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w, int h,
                       uint8_t *rgb, size_t row_bytes, GError **error)
{
    openslide_data *data = slide->data;
    uint32_t *argb = wsi_scratch(WSI_SCRATCH_ARGB, (size_t)w * (size_t)h * 4);
    g_rw_lock_reader_lock(&data->lock);
    char *what = read_once(data, argb, level, x_l0, y_l0, w, h);
    g_rw_lock_reader_unlock(&data->lock);
    if (what) {
        g_free(what);
        what = read_again(data, argb, level, x_l0, y_l0, w, h);
    }
    if (what) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: level %d cannot be read at level-0 pixel %" G_GINT64_FORMAT
                    ",%" G_GINT64_FORMAT " (%d x %d): %s",
                    data->path, level, x_l0, y_l0, w, h, what);
        g_free(what);
        return false;
    }
    for (int y = 0; y < h; y++)
        row_to_rgb(argb + (size_t)y * (size_t)w, w, slide->info.background,
                   rgb + (size_t)y * row_bytes);
    return true;
}

/* In blocks, so that a wide request does not grow each thread's scratch memory. */
static bool read_blocks(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv, int h_lv,
                        uint8_t *rgb, size_t row_bytes, GError **error)
{
    double downsample = slide->info.levels[level].downsample;
    for (int y = 0; y < h_lv; y += BLOCK_PX)
        for (int x = 0; x < w_lv; x += BLOCK_PX)
            if (!read_block(slide, level, x_l0 + llround(x * downsample),
                            y_l0 + llround(y * downsample), MIN(BLOCK_PX, w_lv - x),
                            MIN(BLOCK_PX, h_lv - y), rgb + (size_t)y * row_bytes + (size_t)x * 3,
                            row_bytes, error))
                return false;
    return true;
}

static bool os_read(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv, int h_lv,
                    uint8_t *rgb, size_t row_bytes, GError **error)
{
    openslide_data *data = slide->data;
    if (data->lane && wsi_lane_serves(data->lane, level)) {
        wsi_tile_outcome outcome =
            wsi_lane_read(data->lane, level, x_l0, y_l0, w_lv, h_lv, rgb, row_bytes, error);
        if (outcome != WSI_TILE_SPARSE)
            return outcome == WSI_TILE_PIXELS;
    }
    return read_blocks(slide, level, x_l0, y_l0, w_lv, h_lv, rgb, row_bytes, error);
}

static void os_close(wsi_slide *slide)
{
    openslide_data *data = slide->data;
    if (data->handle)
        openslide_close(data->handle);
    wsi_lane_close(data->lane);
    g_rw_lock_clear(&data->lock);
    g_free(data->path);
    g_free(data);
}

static wsi_copy_outcome os_copy(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv,
                                int h_lv, wsi_tile_copy *copy, GError **error)
{
    openslide_data *data = slide->data;
    return data->lane ? wsi_lane_copy(data->lane, level, x_l0, y_l0, w_lv, h_lv, copy, error)
                      : WSI_COPY_NOT_A_TILE;
}

/* False when the direct lane was insisted on and cannot be. */
static bool choose_lane(wsi_slide *slide, const wsi_probe *probe, GError **error)
{
    openslide_data *data = slide->data;
    wsi_slide_info *info = &slide->info;
    if (probe->reader == WSI_READER_OPENSLIDE) {
        info->lane_why = g_strdup("asked for");
        return true;
    }
    if (probe->type == WSI_FILE_TIFF)
        data->lane = wsi_lane_open(slide, read_blocks, &info->lane_why);
    else
        info->lane_why = g_strdup("it is no TIFF");
    if (data->lane)
        info->lane = "direct";
    for (int i = 0; data->lane && i < info->n_levels; i++)
        wsi_lane_tile_size(data->lane, i, &info->levels[i].tile_w, &info->levels[i].tile_h);
    if (data->lane || probe->reader != WSI_READER_DIRECT)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "%s: its tiles cannot be read directly: %s; use --reader auto or openslide",
                probe->path, info->lane_why);
    return false;
}

static bool os_open(wsi_slide *slide, const wsi_probe *probe, GError **error)
{
    if (!check_samples(probe, error))
        return false;
    openslide_t *handle = openslide_open(probe->path);
    const char *what = handle ? openslide_get_error(handle) : "not a slide";
    if (what) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: OpenSlide cannot open it: %s",
                    probe->path, what);
        if (handle)
            openslide_close(handle);
        return false;
    }
    openslide_data *data = g_new0(openslide_data, 1);
    g_rw_lock_init(&data->lock);
    data->handle = handle;
    data->path = g_strdup(probe->path);
    read_properties(handle, &slide->info);
    read_levels(handle, probe, &slide->info, data->os_level);
    if (slide->info.levels_why)
        qs_warn("%s: %s", probe->path, slide->info.levels_why);
    slide->data = data;
    if (choose_lane(slide, probe, error))
        return true;
    os_close(slide);
    slide->data = NULL;
    return false;
}

static int64_t os_memory(const wsi_slide *slide, int n_threads)
{
    const openslide_data *data = slide->data;
    int64_t lane = data->lane ? wsi_lane_memory(data->lane, n_threads) : 0;
    return lane + CACHE_BYTES + (int64_t)n_threads * (TILE_SCRATCH_BYTES + BLOCK_PX * BLOCK_PX * 4);
}

const wsi_driver wsi_driver_openslide = {
    .name = "openslide",
    .takes = takes,
    .open = os_open,
    .close = os_close,
    .read = os_read,
    .copy = os_copy,
    .memory = os_memory,
};
