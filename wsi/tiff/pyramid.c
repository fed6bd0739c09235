/* The streaming pyramid writer.
 *
 *   rows ─► level 0 band ──full──► tiles ─► spool 0 ┐
 *             │ pairs of rows                        │ finish: raw tiles copied in level order
 *             ▼                                      ├────────────────────────────► path.part ─►
 * path level 1 band ──full──► tiles ─► spool 1 ┘ ▼ … A band is one row of tiles. A TIFF's
 * directories must follow each other while the levels fill at the same time, so each level's
 * compressed tiles go to a spool of its own (a TIFF file, unlinked at once) and are copied without
 * recompression at the end. Only then is the size known, which decides between classic TIFF and
 * BigTIFF.
 *
 * Invariants: 1. level k+1 is floor(level k / 2), at least 1. 2. Tile edges replicate the last row
 * and column. 3. Memory is two times tile_px rows of level 0. 4. `path` is complete or untouched.
 */
#include "wsi/tiff/pyramid.h"

#include "base/error.h"
#include "wsi/tiff/io.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { LEVELS_MAX = 24 };
/* Classic TIFF ends at 4 GiB; the rest is room for directories. */
#define CLASSIC_BYTES_MAX ((int64_t)3500 * 1000 * 1000)

typedef struct {
    int64_t w, h, rows; /* rows received */
    int band_rows;      /* rows in the band now */
    uint8_t *band;      /* tile_px × w × samples */
    wsi_tiff_io spool;
    int64_t bytes; /* compressed bytes of all its tiles */
} level;

struct wsi_tiffw {
    wsi_tiffw_options options; /* description points to the next line's */
    char *description, *path, *part;
    int samples, n_levels;
    level levels[LEVELS_MAX];
    uint8_t *tile, *reduced; /* one tile; one row for every level, end to end */
    bool failed;
};

static bool check_options(const char *path, const wsi_tiffw_options *o, GError **error)
{
    const char *text = o->description;
    bool size_ok = o->w > 0 && o->h > 0 && o->w <= G_MAXINT32 && o->h <= G_MAXINT32;
    bool tile_ok = o->tile_px >= 16 && o->tile_px <= 4096 && o->tile_px % 16 == 0;
    bool text_ok =
        !text || (!strstr(text, "xml") && !strstr(text, "XML") && !strstr(text, "DICOM"));
    if (!size_ok)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                    " pixels cannot be written as TIFF",
                    path, o->w, o->h);
    else if (!tile_ok)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: tiles of %d pixels; the side must be a multiple of 16 up to 4096", path,
                    o->tile_px);
    else if (!(o->mpp >= 0 && o->mpp < 1e6))
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: %g um per pixel is no resolution", path,
                    o->mpp);
    else if (o->min_level_px < 1)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: smallest level of %d pixels", path,
                    o->min_level_px);
    else if (o->profile == WSI_TIFFW_MASK && (o->max_label < 0 || o->max_label > 255))
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: largest label %d is not in 0..255", path,
                    o->max_label);
    else if (o->profile == WSI_TIFFW_RGB_JPEG && (o->jpeg_quality < 1 || o->jpeg_quality > 100))
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: JPEG quality %d is not in 1..100", path,
                    o->jpeg_quality);
    else if (!text_ok)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: description '%s' contains xml or DICOM, which viewers take for their own",
                    path, text);
    else
        return true;
    return false;
}

static bool is_rgb(const wsi_tiffw *w)
{
    return w->options.profile == WSI_TIFFW_RGB_JPEG;
}

/* Tags of one directory; the same for a spool and for the final file. */
static bool set_tags(const wsi_tiffw *w, TIFF *tif, int k)
{
    const wsi_tiffw_options *o = &w->options;
    const level *lv = &w->levels[k];
    bool ok = TIFFSetField(tif, TIFFTAG_SUBFILETYPE, k > 0 ? FILETYPE_REDUCEDIMAGE : 0) &&
              TIFFSetField(tif, TIFFTAG_IMAGEWIDTH, (uint32_t)lv->w) &&
              TIFFSetField(tif, TIFFTAG_IMAGELENGTH, (uint32_t)lv->h) &&
              TIFFSetField(tif, TIFFTAG_BITSPERSAMPLE, 8) &&
              TIFFSetField(tif, TIFFTAG_SAMPLESPERPIXEL, w->samples) &&
              TIFFSetField(tif, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) &&
              TIFFSetField(tif, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT) &&
              TIFFSetField(tif, TIFFTAG_TILEWIDTH, (uint32_t)o->tile_px) &&
              TIFFSetField(tif, TIFFTAG_TILELENGTH, (uint32_t)o->tile_px);
    if (ok && is_rgb(w)) {
        float reference[6] = {0, 255, 128, 255, 128, 255};
        ok = TIFFSetField(tif, TIFFTAG_COMPRESSION, COMPRESSION_JPEG) &&
             TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_YCBCR) &&
             TIFFSetField(tif, TIFFTAG_YCBCRSUBSAMPLING, 2, 2) &&
             TIFFSetField(tif, TIFFTAG_REFERENCEBLACKWHITE, reference);
    } else if (ok) {
        double largest = o->profile == WSI_TIFFW_MASK ? o->max_label : 255;
        ok = TIFFSetField(tif, TIFFTAG_SAMPLEFORMAT, SAMPLEFORMAT_UINT) &&
             TIFFSetField(tif, TIFFTAG_COMPRESSION, COMPRESSION_LZW) &&
             TIFFSetField(tif, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK) &&
             TIFFSetField(tif, TIFFTAG_SMINSAMPLEVALUE, 0.0) &&
             TIFFSetField(tif, TIFFTAG_SMAXSAMPLEVALUE, largest);
    }
    if (ok && o->mpp > 0) {
        double per_cm = 10000 / (o->mpp * (double)((int64_t)1 << k));
        ok = TIFFSetField(tif, TIFFTAG_RESOLUTIONUNIT, RESUNIT_CENTIMETER) &&
             TIFFSetField(tif, TIFFTAG_XRESOLUTION, per_cm) &&
             TIFFSetField(tif, TIFFTAG_YRESOLUTION, per_cm);
    }
    if (ok && k == 0 && o->description)
        ok = TIFFSetField(tif, TIFFTAG_IMAGEDESCRIPTION, o->description);
    if (ok && k == 0 && o->profile == WSI_TIFFW_MASK)
        ok = TIFFSetField(tif, TIFFTAG_SOFTWARE, QS_FILE_MARK);
    return ok;
}

static bool open_spool(wsi_tiffw *w, int k, GError **error)
{
    wsi_tiff_io *spool = &w->levels[k].spool;
    g_autofree char *name = g_strdup_printf("%s.level%d", w->part, k);
    bool made = wsi_tiff_io_create(spool, name, true, error);
    unlink(name); /* made or half made: nobody else needs the name */
    if (!made)
        return false;
    bool ok = set_tags(w, spool->tif, k);
    if (ok && is_rgb(w))
        ok = TIFFSetField(spool->tif, TIFFTAG_JPEGQUALITY, w->options.jpeg_quality) &&
             TIFFSetField(spool->tif, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    if (!ok)
        wsi_tiff_io_fail(spool, "TIFFSetField", error);
    return ok;
}

static bool open_levels(wsi_tiffw *w, GError **error)
{
    const wsi_tiffw_options *o = &w->options;
    int64_t lw = o->w, lh = o->h;
    size_t row = 0;
    do {
        w->levels[w->n_levels] = (level){.w = lw, .h = lh};
        w->n_levels++;
        row += (size_t)lw;
        bool last = MAX(lw, lh) <= o->min_level_px && w->n_levels >= 2;
        if (last)
            break;
        lw = MAX(lw / 2, 1);
        lh = MAX(lh / 2, 1);
    } while (w->n_levels < LEVELS_MAX);
    size_t bytes = row * (size_t)w->samples;
    size_t tile = (size_t)o->tile_px * (size_t)o->tile_px * (size_t)w->samples;
    w->reduced = g_try_malloc(bytes);
    w->tile = g_try_malloc(tile);
    bool ok = w->reduced && w->tile;
    for (int k = 0; ok && k < w->n_levels; k++) {
        level *lv = &w->levels[k];
        lv->band = g_try_malloc_n((size_t)lv->w * (size_t)w->samples, (size_t)o->tile_px);
        ok = lv->band != NULL;
    }
    if (!ok) {
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY, "%s: no memory for %zu bytes of tile rows",
                    w->path, bytes * (size_t)o->tile_px);
        return false;
    }
    for (int k = 0; ok && k < w->n_levels; k++)
        ok = open_spool(w, k, error);
    return ok;
}

int wsi_tiffw_fit_tile(int64_t w, int64_t h, int min_level_px, int largest)
{
    do { /* there are at least two levels */
        w = MAX(1, w / 2);
        h = MAX(1, h / 2);
    } while (MAX(w, h) > min_level_px);
    int side = largest;
    while (side > 16 && side > MIN(w, h))
        side /= 2;
    return side;
}

wsi_tiffw *wsi_tiffw_open(const char *path, const wsi_tiffw_options *options, GError **error)
{
    if (!check_options(path, options, error))
        return NULL;
    wsi_tiffw *w = g_new0(wsi_tiffw, 1);
    w->options = *options;
    w->description = g_strdup(options->description);
    w->options.description = w->description;
    w->path = g_strdup(path);
    w->part = qs_file_part_name(path);
    w->samples = is_rgb(w) ? 3 : 1;
    if (open_levels(w, error))
        return w;
    wsi_tiffw_abort(w);
    return NULL;
}

/* Cuts tile column `tx` out of the band, replicating its last column and row. */
static void cut_tile(const wsi_tiffw *w, const level *lv, int64_t tx)
{
    size_t side = (size_t)w->options.tile_px, s = (size_t)w->samples;
    int64_t x = tx * w->options.tile_px;
    size_t n = (size_t)MIN(lv->w - x, w->options.tile_px);
    for (size_t y = 0; y < side; y++) {
        size_t from = MIN(y, (size_t)lv->band_rows - 1);
        uint8_t *dst = w->tile + y * side * s;
        memcpy(dst, lv->band + (from * (size_t)lv->w + (size_t)x) * s, n * s);
        for (size_t i = n * s; i < side * s; i++)
            dst[i] = dst[i - s];
    }
}

static bool flush_band(wsi_tiffw *w, level *lv, GError **error)
{
    int64_t n_x = (lv->w + w->options.tile_px - 1) / w->options.tile_px;
    int64_t ty = (lv->rows - 1) / w->options.tile_px;
    tmsize_t bytes = (tmsize_t)w->options.tile_px * w->options.tile_px * w->samples;
    for (int64_t tx = 0; tx < n_x; tx++) {
        cut_tile(w, lv, tx);
        int64_t before = lv->spool.size;
        if (TIFFWriteEncodedTile(lv->spool.tif, (uint32_t)(ty * n_x + tx), w->tile, bytes) < 0) {
            wsi_tiff_io_fail(&lv->spool, "TIFFWriteEncodedTile", error);
            return false;
        }
        lv->bytes += lv->spool.size - before;
    }
    lv->band_rows = 0;
    return true;
}

/* One row of the next level from rows `a` and `b` of this one. Averages, or for labels the sample
 * next to the middle: odd levels take the lower right of four, even levels the upper left, so the
 * chain of choices stays near the centre of the block that a pixel stands for. */
static void reduce_rows(const wsi_tiffw *w, int k, const uint8_t *a, const uint8_t *b, uint8_t *dst)
{
    size_t s = (size_t)w->samples, n = (size_t)w->levels[k + 1].w;
    size_t right = w->levels[k].w > 1 ? s : 0;
    if (w->options.profile == WSI_TIFFW_MASK) {
        const uint8_t *row = k % 2 == 0 ? b + right : a;
        for (size_t x = 0; x < n; x++)
            dst[x] = row[2 * x];
        return;
    }
    for (size_t x = 0; x < n; x++)
        for (size_t c = 0; c < s; c++) {
            size_t i = 2 * x * s + c;
            dst[x * s + c] = (uint8_t)((a[i] + a[i + right] + b[i] + b[i + right] + 2) / 4);
        }
}

static bool push_row(wsi_tiffw *w, int k, const uint8_t *row, uint8_t *scratch, GError **error)
{
    level *lv = &w->levels[k];
    size_t bytes = (size_t)lv->w * (size_t)w->samples;
    uint8_t *at = lv->band + (size_t)lv->band_rows * bytes;
    memcpy(at, row, bytes);
    lv->rows++;
    lv->band_rows++;
    bool pair = lv->rows % 2 == 0 || lv->h == 1;
    if (pair && k + 1 < w->n_levels) {
        reduce_rows(w, k, lv->h == 1 ? at : at - bytes, at, scratch);
        size_t next = (size_t)w->levels[k + 1].w * (size_t)w->samples;
        if (!push_row(w, k + 1, scratch, scratch + next, error))
            return false;
    }
    bool full = lv->band_rows == w->options.tile_px || lv->rows == lv->h;
    return !full || flush_band(w, lv, error);
}

bool wsi_tiffw_write_rows(wsi_tiffw *w, const uint8_t *rows, size_t row_bytes, int64_t n_rows,
                          GError **error)
{
    level *base = &w->levels[0];
    if (w->failed || n_rows > base->h - base->rows) {
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "%s: %s", w->path,
                    w->failed ? "written to after an error" : "more rows than its height");
        w->failed = true;
        return false;
    }
    for (int64_t y = 0; y < n_rows && !w->failed; y++)
        w->failed = !push_row(w, 0, rows + (size_t)y * row_bytes, w->reduced, error);
    return !w->failed;
}

/* Copies the compressed tiles of level k behind what is in `out`, and its directory. */
static bool copy_level(wsi_tiffw *w, int k, wsi_tiff_io *out, GError **error)
{
    wsi_tiff_io *spool = &w->levels[k].spool;
    const char *call = "TIFFSetField";
    bool ok = set_tags(w, out->tif, k);
    if (ok && is_rgb(w)) {
        uint32_t n_tables = 0;
        void *tables = NULL;
        ok = TIFFGetField(spool->tif, TIFFTAG_JPEGTABLES, &n_tables, &tables) &&
             TIFFSetField(out->tif, TIFFTAG_JPEGTABLES, n_tables, tables);
    }
    tmsize_t room = 0;
    g_autofree uint8_t *raw = NULL;
    uint32_t n_tiles = TIFFNumberOfTiles(spool->tif);
    for (uint32_t t = 0; ok && t < n_tiles; t++) {
        tmsize_t n = (tmsize_t)TIFFGetStrileByteCount(spool->tif, t);
        if (n > room) {
            room = 2 * n;
            g_free(raw);
            raw = g_malloc((size_t)room);
        }
        if (TIFFReadRawTile(spool->tif, t, raw, n) != n) {
            wsi_tiff_io_fail(spool, "TIFFReadRawTile", error);
            return false;
        }
        call = "TIFFWriteRawTile";
        ok = TIFFWriteRawTile(out->tif, t, raw, n) == n;
    }
    if (ok) {
        call = "TIFFWriteDirectory";
        ok = TIFFWriteDirectory(out->tif);
    }
    if (!ok)
        wsi_tiff_io_fail(out, call, error);
    return ok;
}

bool wsi_tiffw_finish(wsi_tiffw *w, GError **error)
{
    int64_t bytes = 0, n_tiles = 0;
    wsi_tiff_io out = {0};
    bool ok = !w->failed && w->levels[0].rows == w->levels[0].h;
    if (!ok)
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL,
                    "%s: finished after %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " rows", w->path,
                    w->levels[0].rows, w->levels[0].h);
    for (int k = 0; ok && k < w->n_levels; k++) {
        bytes += w->levels[k].bytes;
        n_tiles += TIFFNumberOfTiles(w->levels[k].spool.tif);
    }
    int64_t limit =
        w->options.classic_bytes_max > 0 ? w->options.classic_bytes_max : CLASSIC_BYTES_MAX;
    ok = ok && wsi_tiff_io_create(&out, w->part, bytes + 8 * n_tiles > limit, error);
    for (int k = 0; ok && k < w->n_levels; k++)
        ok = copy_level(w, k, &out, error);
    ok = wsi_tiff_io_close(&out, ok, ok ? error : NULL) && ok;
    ok = ok && qs_file_rename(w->part, w->path, error);
    wsi_tiffw_abort(w);
    return ok;
}

void wsi_tiffw_abort(wsi_tiffw *w)
{
    if (!w)
        return;
    for (int k = 0; k < w->n_levels; k++) {
        wsi_tiff_io_close(&w->levels[k].spool, false, NULL);
        g_free(w->levels[k].band);
    }
    unlink(w->part); /* gone already when it was renamed */
    g_free(w->reduced);
    g_free(w->tile);
    g_free(w->description);
    g_free(w->path);
    g_free(w->part);
    g_free(w);
}
