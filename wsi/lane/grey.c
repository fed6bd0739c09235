/* See grey.h. Level k of the pyramid is level k - 1 reduced by 2, floor; a directory whose size
 * does not follow that rule ends the pyramid, so that a pixel of level k is always factor · 2^k
 * level-0 pixels of the slide, counted from its corner. */
#include "wsi/lane/grey.h"

#include "base/error.h"
#include "wsi/lane/tiles.h"
#include "wsi/image/sniff.h"
#include "wsi/lane/window.h"
#include "wsi/tiff/probe.h"

#include <glib/gstdio.h>

#include <math.h>
#include <string.h>

enum { FACTOR_MAX = 256, LEVELS_MAX = 24 };
#define WINDOW_BYTES ((size_t)24 << 20) /* ninety tiles of 512: a screen at one level */

struct wsi_grey {
    wsi_tiff_layout layout;
    const wsi_tiff_level *levels[LEVELS_MAX];
    int n_levels, factor;
    int64_t slide_w, slide_h;
    wsi_tile_window *window;
    GMutex lock;     /* guards idle */
    GPtrArray *idle; /* of wsi_tiff_reader: as many as threads ever read at once */
};

static wsi_tiff_reader *take_reader(wsi_grey *grey, GError **error)
{
    g_mutex_lock(&grey->lock);
    guint n = grey->idle->len;
    wsi_tiff_reader *reader = n ? g_ptr_array_steal_index_fast(grey->idle, n - 1) : NULL;
    g_mutex_unlock(&grey->lock);
    return reader ? reader : wsi_tiff_reader_open(grey->layout.path, error);
}

static wsi_tile_outcome fill(void *user, int level, int64_t tile, uint8_t *pixels, GError **error)
{
    wsi_grey *grey = user;
    const wsi_tiff_level *at = grey->levels[level];
    wsi_tiff_reader *reader = take_reader(grey, error);
    if (!reader)
        return WSI_TILE_FAILED;
    bool sparse = false;
    bool ok = wsi_tiff_reader_grey(reader, at, tile, pixels, &sparse, error);
    if (sparse)
        memset(pixels, 0, (size_t)at->tile_w * (size_t)at->tile_h);
    g_mutex_lock(&grey->lock);
    g_ptr_array_add(grey->idle, reader);
    g_mutex_unlock(&grey->lock);
    return ok ? WSI_TILE_PIXELS : WSI_TILE_FAILED;
}

/* ---- opening ---- */
static bool divides(int64_t slide, int64_t mask, int64_t k)
{
    return mask == MAX(1, slide / k) || mask == (slide + k - 1) / k;
}

static bool settle_factor(wsi_grey *grey, GError **error)
{
    const wsi_tiff_level *base = grey->levels[0];
    for (int k = 1; k <= FACTOR_MAX && !grey->factor; k++)
        if (divides(grey->slide_w, base->w, k) && divides(grey->slide_h, base->h, k))
            grey->factor = k;
    if (grey->factor)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: it has %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                " pixels, the slide %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                "; it must be the same or that divided by a whole number up to %d",
                grey->layout.path, base->w, base->h, grey->slide_w, grey->slide_h, FACTOR_MAX);
    return false;
}

static bool find_levels(wsi_grey *grey, GError **error)
{
    for (guint i = 0; i < grey->layout.levels->len && grey->n_levels < LEVELS_MAX; i++) {
        const wsi_tiff_level *at = &g_array_index(grey->layout.levels, wsi_tiff_level, i);
        const wsi_tiff_level *last = grey->n_levels ? grey->levels[grey->n_levels - 1] : NULL;
        if (!at->grey || (last && (at->w != MAX(1, last->w / 2) || at->h != MAX(1, last->h / 2))))
            break;
        grey->levels[grey->n_levels++] = at;
    }
    if (grey->n_levels)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "%s: no tiled TIFF of one 8-bit sample a pixel", grey->layout.path);
    return false;
}

static bool probe(const char *path, GError **error)
{
    wsi_tiff_facts facts;
    wsi_file_type type;
    int64_t n_bytes;
    if (!wsi_sniff(path, &type, &n_bytes, error))
        return false;
    if (type == WSI_FILE_TIFF)
        return wsi_tiff_probe(path, n_bytes, &facts, error);
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "%s: %s, no TIFF", path,
                wsi_file_type_name(type));
    return false;
}

wsi_grey *wsi_grey_open(const char *path, int64_t slide_w, int64_t slide_h, GError **error)
{
    if (!probe(path, error))
        return NULL;
    wsi_grey *grey = g_new0(wsi_grey, 1);
    g_mutex_init(&grey->lock);
    grey->idle =
        g_ptr_array_new_with_free_func((GDestroyNotify)(void (*)(void))wsi_tiff_reader_close);
    grey->window = wsi_tile_window_create(WINDOW_BYTES);
    grey->slide_w = slide_w;
    grey->slide_h = slide_h;
    if (wsi_tiff_layout_read(&grey->layout, path, error) && find_levels(grey, error) &&
        settle_factor(grey, error))
        return grey;
    wsi_grey_close(grey);
    return NULL;
}

void wsi_grey_close(wsi_grey *grey)
{
    if (!grey)
        return;
    wsi_tile_window_destroy(grey->window);
    g_ptr_array_unref(grey->idle);
    g_mutex_clear(&grey->lock);
    wsi_tiff_layout_clear(&grey->layout);
    g_free(grey);
}

int wsi_grey_factor(const wsi_grey *grey)
{
    return grey->factor;
}

void wsi_grey_size(const wsi_grey *grey, int64_t *w, int64_t *h)
{
    *w = grey->levels[0]->w;
    *h = grey->levels[0]->h;
}

/* ---- reading ---- */
static bool read_level(wsi_grey *grey, int level, int64_t x, int64_t y, int w, int h, uint8_t *dst,
                       size_t row_bytes, GError **error)
{
    const wsi_tiff_level *at = grey->levels[level];
    int64_t x0 = CLAMP(x, 0, at->w), x1 = CLAMP(x + w, 0, at->w);
    int64_t y0 = CLAMP(y, 0, at->h), y1 = CLAMP(y + h, 0, at->h);
    if (x1 - x0 < w || y1 - y0 < h)
        for (int r = 0; r < h; r++)
            memset(dst + (size_t)r * row_bytes, 255, (size_t)w);
    if (x1 <= x0 || y1 <= y0)
        return true;
    wsi_tile_rows rows = {y0 / at->tile_h, (y1 - 1) / at->tile_h};
    for (int64_t ty = rows.first_row; ty <= rows.last_row; ty++)
        for (int64_t tx = x0 / at->tile_w; tx <= (x1 - 1) / at->tile_w; tx++) {
            const uint8_t *pixels = NULL;
            wsi_tile_outcome outcome;
            wsi_tile_key key = {level, ty * at->n_x + tx, ty,
                                (size_t)at->tile_w * (size_t)at->tile_h};
            wsi_window_tile *tile = wsi_tile_window_take(grey->window, &key, &rows, fill, grey,
                                                         &pixels, &outcome, error);
            if (!tile) {
                g_prefix_error(error,
                               "%s: level %d, tile %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT ": ",
                               grey->layout.path, level, tx, ty);
                return false;
            }
            int64_t left = tx * at->tile_w, top = ty * at->tile_h;
            int64_t from = MAX(x0, left), to = MIN(x1, left + at->tile_w);
            for (int64_t row = MAX(y0, top); row < MIN(y1, top + at->tile_h); row++)
                memcpy(dst + (size_t)(row - y) * row_bytes + (from - x),
                       pixels + (row - top) * at->tile_w + (from - left), (size_t)(to - from));
            wsi_tile_window_give_back(grey->window, tile);
        }
    return true;
}

bool wsi_grey_read(wsi_grey *grey, int64_t x, int64_t y, int w, int h, uint8_t *dst,
                   size_t row_bytes, GError **error)
{
    return read_level(grey, 0, x, y, w, h, dst, row_bytes, error);
}

/* The pixel of a level under the centre of pixel i of the grid; -1 outside the slide. */
static int64_t under(double step, int64_t i, int64_t slide, double pixel, int64_t n)
{
    double at = ((double)i + 0.5) * step;
    if (at < 0 || at >= (double)slide)
        return -1;
    return MIN((int64_t)(at / pixel), n - 1);
}

bool wsi_grey_sample(wsi_grey *grey, double step, int64_t x, int64_t y, int w, int h, uint8_t *dst,
                     size_t row_bytes, GError **error)
{
    int level = 0;
    /* Half a grid's pixel at most: a level's pixels hold the value of their corner, not of their
     * middle, and that must not be seen. */
    while (level + 1 < grey->n_levels && ldexp(grey->factor, level + 1) <= step / 2)
        level++;
    double pixel = ldexp(grey->factor, level);
    const wsi_tiff_level *at = grey->levels[level];
    g_autofree int64_t *columns = g_new(int64_t, (size_t)w);
    int64_t first = -1, last = -1;
    for (int i = 0; i < w; i++) {
        columns[i] = under(step, x + i, grey->slide_w, pixel, at->w);
        first = first < 0 ? columns[i] : first;
        last = MAX(last, columns[i]);
    }
    size_t n = first < 0 ? 0 : (size_t)(last - first + 1);
    g_autofree uint8_t *row = g_malloc(n + 1);
    int64_t in_row = -1;
    for (int r = 0; r < h; r++) {
        uint8_t *out = dst + (size_t)r * row_bytes;
        int64_t from = n ? under(step, y + r, grey->slide_h, pixel, at->h) : -1;
        memset(out, 255, (size_t)w);
        if (from < 0)
            continue;
        if (from != in_row && !read_level(grey, level, first, from, (int)n, 1, row, n, error))
            return false;
        in_row = from;
        for (int i = 0; i < w; i++)
            if (columns[i] >= 0)
                out[i] = row[columns[i] - first];
    }
    return true;
}
