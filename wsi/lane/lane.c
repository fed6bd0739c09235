/* See lane_priv.h. A thread takes a reader (libtiff handle and decoder) from the lane's pool for
 * one tile and puts it back: no two threads ever share one, and there are as many as threads. */
#include "wsi/lane/lane.h"

#include "base/error.h"
#include "wsi/lane/jpeg_priv.h"
#include "wsi/lane/compare_priv.h"
#include "wsi/stages.h"
#include "wsi/lane/tiles.h"

#include <math.h>
#include <string.h>

enum {
    WINDOW_BYTES_MIN = 8 << 20,
    WINDOW_BYTES_MAX = 128 << 20, /* two rows of 256-pixel tiles of 87,000 pixels */
    READER_BYTES = 2 << 20,       /* decoder, an encoded tile, libtiff; without the tile tables */
    TABLE_BYTES = 16,             /* offset and size of a tile in a handle */
};

typedef struct {
    wsi_tiff_reader *tiff;
    wsi_jpeg_decoder *jpeg;
} lane_reader;

struct wsi_lane {
    const wsi_slide_info *info; /* borrowed */
    wsi_tiff_layout layout;
    const wsi_tiff_level *levels[WSI_LEVELS_MAX]; /* by level of the slide; NULL: not served */
    wsi_tile_window *window;
    size_t window_bytes;
    GMutex lock;     /* guards readers */
    GPtrArray *idle; /* of lane_reader */
};

/* ---- readers ---- */
static void reader_destroy(gpointer data)
{
    lane_reader *reader = data;
    wsi_tiff_reader_close(reader->tiff);
    wsi_jpeg_decoder_destroy(reader->jpeg);
    g_free(reader);
}

static lane_reader *take_reader(wsi_lane *lane, GError **error)
{
    g_mutex_lock(&lane->lock);
    guint n = lane->idle->len;
    lane_reader *reader = n ? g_ptr_array_steal_index_fast(lane->idle, n - 1) : NULL;
    g_mutex_unlock(&lane->lock);
    if (reader)
        return reader;
    reader = g_new0(lane_reader, 1);
    reader->tiff = wsi_tiff_reader_open(lane->layout.path, error);
    reader->jpeg = wsi_jpeg_decoder_create();
    if (reader->tiff && reader->jpeg)
        return reader;
    if (reader->tiff)
        g_set_error_literal(error, QS_ERROR, QS_ERROR_INTERNAL, "jpeg_create_decompress failed");
    reader_destroy(reader);
    return NULL;
}

static void put_reader(wsi_lane *lane, lane_reader *reader)
{
    g_mutex_lock(&lane->lock);
    g_ptr_array_add(lane->idle, reader);
    g_mutex_unlock(&lane->lock);
}

/* ---- one tile ---- */
/* A tile's own bytes: data NULL with an error, n 0 where the tile is not there. Returns the time
 * after reading. */
static int64_t fetch_jpeg(lane_reader *reader, const wsi_tiff_level *level, int64_t tile,
                          wsi_jpeg_bits *bits, GError **error)
{
    int64_t then = wsi_stages_now();
    *bits = (wsi_jpeg_bits){
        .tables = level->tables, .n_tables = level->n_tables, .ycbcr = level->ycbcr};
    bits->data = wsi_tiff_reader_raw(reader->tiff, level, tile, &bits->n, error);
    return wsi_stages_add(WSI_STAGE_READ, then);
}

static wsi_tile_outcome decode_jpeg(lane_reader *reader, const wsi_tiff_level *level, int64_t tile,
                                    uint8_t *rgb, GError **error)
{
    wsi_jpeg_bits bits;
    int64_t then = fetch_jpeg(reader, level, tile, &bits, error);
    if (!bits.data)
        return WSI_TILE_FAILED;
    if (bits.n == 0)
        return WSI_TILE_SPARSE;
    bool ok = wsi_jpeg_decode(reader->jpeg, &bits, level->tile_w, level->tile_h, 1, rgb,
                              (size_t)level->tile_w * 3, error);
    wsi_stages_add(WSI_STAGE_DECODE, then);
    return ok ? WSI_TILE_PIXELS : WSI_TILE_FAILED;
}

static wsi_tile_outcome fill(void *user, int level, int64_t tile, uint8_t *rgb, GError **error)
{
    wsi_lane *lane = user;
    const wsi_tiff_level *at = lane->levels[level];
    lane_reader *reader = take_reader(lane, error);
    if (!reader)
        return WSI_TILE_FAILED;
    wsi_tile_outcome outcome;
    if (at->jpeg) {
        outcome = decode_jpeg(reader, at, tile, rgb, error);
    } else {
        bool sparse = false;
        int64_t then = wsi_stages_now();
        bool ok = wsi_tiff_reader_pixels(reader->tiff, at, tile, rgb, &sparse, error);
        wsi_stages_add(WSI_STAGE_DECODE, then); /* libtiff reads and decompresses in one call */
        outcome = !ok ? WSI_TILE_FAILED : sparse ? WSI_TILE_SPARSE : WSI_TILE_PIXELS;
    }
    put_reader(lane, reader);
    return outcome;
}

/* ---- regions ---- */
typedef struct {
    int64_t x0, y0, x1, y1; /* level pixels, inside the level */
} region;

static void fill_background(const wsi_lane *lane, int w, int h, uint8_t *rgb, size_t row_bytes)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            memcpy(rgb + (size_t)y * row_bytes + (size_t)x * 3, lane->info->background, 3);
}

/* Puts the part of tile (tx,ty) that lies in `part` into rgb, whose first pixel is (x,y). */
static wsi_tile_outcome copy_tile(wsi_lane *lane, int level, int64_t tx, int64_t ty,
                                  const wsi_tile_rows *rows, const region *part, int64_t x,
                                  int64_t y, uint8_t *rgb, size_t row_bytes, GError **error)
{
    const wsi_tiff_level *at = lane->levels[level];
    size_t pitch = (size_t)at->tile_w * 3;
    wsi_tile_key key = {level, ty * at->n_x + tx, ty, pitch * (size_t)at->tile_h};
    const uint8_t *pixels;
    wsi_tile_outcome outcome;
    wsi_window_tile *tile =
        wsi_tile_window_take(lane->window, &key, rows, fill, lane, &pixels, &outcome, error);
    if (!tile)
        return outcome;
    int64_t left = tx * at->tile_w, top = ty * at->tile_h;
    int64_t x0 = MAX(part->x0, left), x1 = MIN(part->x1, left + at->tile_w);
    int64_t y0 = MAX(part->y0, top), y1 = MIN(part->y1, top + at->tile_h);
    for (int64_t row = y0; row < y1; row++)
        memcpy(rgb + (size_t)(row - y) * row_bytes + (size_t)(x0 - x) * 3,
               pixels + (size_t)(row - top) * pitch + (size_t)(x0 - left) * 3,
               (size_t)(x1 - x0) * 3);
    wsi_tile_window_give_back(lane->window, tile);
    return WSI_TILE_PIXELS;
}

/* The level pixel that a level-0 coordinate stands for. False when it lies between two. */
static bool to_level(int64_t at_l0, double downsample, int64_t *at_lv)
{
    *at_lv = llround((double)at_l0 / downsample);
    return llround((double)*at_lv * downsample) == at_l0;
}

static void fail(const wsi_lane *lane, int level, const int64_t tile[2], const int64_t place_l0[2],
                 int w, int h, GError **error)
{
    const wsi_tiff_level *at = lane->levels[level];
    double downsample = lane->info->levels[level].downsample;
    g_prefix_error(
        error,
        "%s: level %d cannot be read at level-0 pixel %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT
        " (%d x %d): tile %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT " at %.0f,%.0f: ",
        lane->info->path, level, place_l0[0], place_l0[1], w, h, tile[0], tile[1],
        (double)(tile[0] * at->tile_w) * downsample, (double)(tile[1] * at->tile_h) * downsample);
}

wsi_tile_outcome wsi_lane_read(wsi_lane *lane, int level, int64_t x_l0, int64_t y_l0, int w_lv,
                               int h_lv, uint8_t *rgb, size_t row_bytes, GError **error)
{
    const wsi_level *shape = &lane->info->levels[level];
    const wsi_tiff_level *at = lane->levels[level];
    int64_t x, y;
    if (!to_level(x_l0, shape->downsample, &x) || !to_level(y_l0, shape->downsample, &y))
        return WSI_TILE_SPARSE;
    region part = {CLAMP(x, 0, shape->w), CLAMP(y, 0, shape->h), CLAMP(x + w_lv, 0, shape->w),
                   CLAMP(y + h_lv, 0, shape->h)};
    if (part.x1 - part.x0 < w_lv || part.y1 - part.y0 < h_lv)
        fill_background(lane, w_lv, h_lv, rgb, row_bytes);
    if (part.x1 <= part.x0 || part.y1 <= part.y0)
        return WSI_TILE_PIXELS;
    wsi_tile_rows rows = {part.y0 / at->tile_h, (part.y1 - 1) / at->tile_h};
    for (int64_t ty = rows.first_row; ty <= rows.last_row; ty++)
        for (int64_t tx = part.x0 / at->tile_w; tx <= (part.x1 - 1) / at->tile_w; tx++) {
            wsi_tile_outcome outcome =
                copy_tile(lane, level, tx, ty, &rows, &part, x, y, rgb, row_bytes, error);
            if (outcome == WSI_TILE_FAILED)
                fail(lane, level, (int64_t[]){tx, ty}, (int64_t[]){x_l0, y_l0}, w_lv, h_lv, error);
            if (outcome != WSI_TILE_PIXELS)
                return outcome;
        }
    return WSI_TILE_PIXELS;
}

/* ---- tiles as they are ---- */
static uint8_t *reserve(uint8_t **data, size_t *capacity, size_t n)
{
    if (*capacity < n) {
        g_free(*data);
        *data = g_malloc(n);
        *capacity = n;
    }
    return *data;
}

/* The whole tile that the region is, or -1. */
static int64_t whole_tile(const wsi_lane *lane, int level, int64_t x_l0, int64_t y_l0, int w, int h)
{
    const wsi_level *shape = &lane->info->levels[level];
    const wsi_tiff_level *at = lane->levels[level];
    int64_t x, y;
    if (!at || !at->jpeg || w != at->tile_w || h != at->tile_h ||
        !to_level(x_l0, shape->downsample, &x) || !to_level(y_l0, shape->downsample, &y) || x < 0 ||
        y < 0 || x % w != 0 || y % h != 0 || x + w > shape->w || y + h > shape->h)
        return -1;
    return y / h * at->n_x + x / w;
}

static wsi_copy_outcome copy_jpeg(lane_reader *reader, const wsi_tiff_level *level, int64_t tile,
                                  wsi_tile_copy *copy, GError **error)
{
    wsi_jpeg_bits bits;
    int64_t then = fetch_jpeg(reader, level, tile, &bits, error);
    if (!bits.data)
        return WSI_COPY_DAMAGED;
    if (bits.n == 0)
        return WSI_COPY_NOT_A_TILE;
    copy->eighth_w = (level->tile_w + 7) / 8;
    copy->eighth_h = (level->tile_h + 7) / 8;
    size_t row = (size_t)copy->eighth_w * 3;
    reserve(&copy->eighth, &copy->eighth_capacity, row * (size_t)copy->eighth_h);
    reserve(&copy->jpeg, &copy->capacity, wsi_jpeg_splice_bound(&bits));
    copy->n = wsi_jpeg_splice(&bits, copy->jpeg, error);
    /* Scaled decoding still goes through every code of the stream: damage is found. */
    bool ok = copy->n > 0 && wsi_jpeg_decode(reader->jpeg, &bits, level->tile_w, level->tile_h, 8,
                                             copy->eighth, row, error);
    wsi_stages_add(WSI_STAGE_DECODE, then);
    return ok ? WSI_COPY_DONE : WSI_COPY_DAMAGED;
}

wsi_copy_outcome wsi_lane_copy(wsi_lane *lane, int level, int64_t x_l0, int64_t y_l0, int w_lv,
                               int h_lv, wsi_tile_copy *copy, GError **error)
{
    int64_t tile = whole_tile(lane, level, x_l0, y_l0, w_lv, h_lv);
    if (tile < 0)
        return WSI_COPY_NOT_A_TILE;
    const wsi_tiff_level *at = lane->levels[level];
    wsi_copy_outcome outcome = WSI_COPY_DAMAGED;
    lane_reader *reader = take_reader(lane, error);
    if (reader) {
        outcome = copy_jpeg(reader, at, tile, copy, error);
        put_reader(lane, reader);
    }
    if (outcome == WSI_COPY_DAMAGED)
        fail(lane, level, (int64_t[]){tile % at->n_x, tile / at->n_x}, (int64_t[]){x_l0, y_l0},
             w_lv, h_lv, error);
    return outcome;
}

/* ---- opening ---- */
/* OpenSlide composes other vendors' tiles: they overlap, are moved or have parts of their own. */
static bool plain_vendor(const char *vendor)
{
    static const char *const plain[] = {"generic-tiff", "aperio", "philips", NULL};
    return vendor && g_strv_contains(plain, vendor);
}

/* The directory whose tiles are this level's; Philips pads levels to whole tiles. */
static const wsi_tiff_level *match(const wsi_tiff_layout *layout, const wsi_level *level,
                                   const char *vendor)
{
    bool padded = !g_strcmp0(vendor, "philips");
    for (guint i = 0; i < layout->levels->len; i++) {
        const wsi_tiff_level *t = &g_array_index(layout->levels, wsi_tiff_level, i);
        int64_t more_w = t->w - level->w, more_h = t->h - level->h;
        if (more_w == 0 && more_h == 0)
            return t;
        if (padded && more_w >= 0 && more_h >= 0 && more_w < t->tile_w && more_h < t->tile_h)
            return t;
    }
    return NULL;
}

/* Which levels could be read; why not, static, when there is none. */
static const char *match_levels(wsi_lane *lane)
{
    const char *why = "no directory has the size of a level";
    bool any = false;
    for (int i = 0; i < lane->info->n_levels; i++) {
        const wsi_tiff_level *t = match(&lane->layout, &lane->info->levels[i], lane->info->vendor);
        if (!t)
            continue;
        if (!t->unfit)
            lane->levels[i] = t;
        else if (i == 0)
            why = t->unfit;
        any |= !t->unfit;
    }
    return any && lane->levels[0] ? NULL : why;
}

static size_t window_bytes(const wsi_lane *lane)
{
    size_t widest = 0;
    for (int i = 0; i < lane->info->n_levels; i++) {
        const wsi_tiff_level *t = lane->levels[i];
        if (t)
            widest = MAX(widest, (size_t)t->n_x * (size_t)t->tile_w * (size_t)t->tile_h * 3);
    }
    return CLAMP(2 * widest, (size_t)WINDOW_BYTES_MIN, (size_t)WINDOW_BYTES_MAX);
}

/* Compares; levels that differ are not served. Level 0 decides about the lane. */
static bool check_levels(wsi_lane *lane, wsi_slide *slide, wsi_lane_peer peer, char **why)
{
    int n_tiles = 0, n_levels = 0;
    for (int i = 0; i < lane->info->n_levels; i++) {
        if (!lane->levels[i])
            continue;
        int n = 0;
        char *difference = wsi_lane_compare(lane, slide, peer, i, lane->levels[i], &n);
        if (difference) {
            lane->levels[i] = NULL;
            qs_debug("%s: %s", lane->info->path, difference);
            if (i == 0) {
                *why = difference;
                return false;
            }
            g_free(difference);
        }
        n_tiles += n;
        n_levels += lane->levels[i] != NULL;
    }
    *why = g_strdup_printf("%d tiles of %d levels are equal to OpenSlide's", n_tiles, n_levels);
    return true;
}

wsi_lane *wsi_lane_open(wsi_slide *slide, wsi_lane_peer peer, char **why)
{
    const wsi_slide_info *info = &slide->info;
    if (!plain_vendor(info->vendor)) {
        *why = g_strdup_printf("OpenSlide does more than decode tiles of format %s",
                               info->vendor ? info->vendor : "unknown");
        return NULL;
    }
    wsi_lane *lane = g_new0(wsi_lane, 1);
    g_mutex_init(&lane->lock);
    lane->idle = g_ptr_array_new_with_free_func(reader_destroy);
    lane->info = info;
    GError *error = NULL;
    if (!wsi_tiff_layout_read(&lane->layout, info->path, &error)) {
        *why = g_strdup(error->message);
        g_error_free(error);
        goto fail;
    }
    const char *reason = match_levels(lane);
    if (reason) {
        *why = g_strdup(reason);
        goto fail;
    }
    lane->window_bytes = window_bytes(lane);
    lane->window = wsi_tile_window_create(lane->window_bytes);
    if (check_levels(lane, slide, peer, why))
        return lane;
fail:
    wsi_lane_close(lane);
    return NULL;
}

void wsi_lane_close(wsi_lane *lane)
{
    if (!lane)
        return;
    g_ptr_array_unref(lane->idle);
    wsi_tile_window_destroy(lane->window);
    wsi_tiff_layout_clear(&lane->layout);
    g_mutex_clear(&lane->lock);
    g_free(lane);
}

bool wsi_lane_serves(const wsi_lane *lane, int level)
{
    return lane->levels[level] != NULL;
}

void wsi_lane_tile_size(const wsi_lane *lane, int level, int *w, int *h)
{
    const wsi_tiff_level *at = lane->levels[level];
    *w = at && at->jpeg ? at->tile_w : 0;
    *h = at && at->jpeg ? at->tile_h : 0;
}

int64_t wsi_lane_memory(const wsi_lane *lane, int n_threads)
{
    int64_t tables = 0, tile = 0;
    for (int i = 0; i < lane->info->n_levels; i++) {
        const wsi_tiff_level *t = lane->levels[i];
        if (!t)
            continue;
        tables = MAX(tables, t->n_x * t->n_y * TABLE_BYTES);
        tile = MAX(tile, (int64_t)t->tile_w * t->tile_h * 3);
    }
    return (int64_t)lane->window_bytes + n_threads * (READER_BYTES + tables + 2 * tile);
}
