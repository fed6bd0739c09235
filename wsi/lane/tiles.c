/* See tiff_tiles_priv.h. The file was probed before (tiff_probe.h): its chain ends, its shapes are
 * sane and every tile lies inside the file. What is checked again here is what would be dangerous
 * if the file changed since. */
#include "wsi/lane/tiles.h"

#include "base/error.h"

#include <tiffio.h>

#include <stdarg.h>

#define ALLOC_MAX ((tmsize_t)512 << 20) /* as the probe's: tile tables */

enum {
    TILE_SIDE_MAX = 4096,    /* a larger tile is decoded by OpenSlide */
    RAW_BYTES_MAX = 64 << 20 /* an encoded tile; one of TILE_SIDE_MAX² RGB is 48 MiB */
};

struct wsi_tiff_reader {
    char *path;
    TIFF *tiff;
    int dir; /* the current directory */
    uint8_t *raw;
    size_t capacity;
    char message[256]; /* libtiff's first error of the call */
};

static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
    G_GNUC_PRINTF(4, 0);
static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff, (void)module;
    wsi_tiff_reader *reader = user;
    if (!reader->message[0])
        g_vsnprintf(reader->message, sizeof reader->message, format, args);
    return 1;
}

static int on_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff, (void)user, (void)module, (void)format, (void)args;
    return 1; /* the probe has heard them all */
}

static bool fail(const wsi_tiff_reader *reader, const char *call, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s%s%s", call, reader->message[0] ? ": " : "",
                reader->message);
    return false;
}

wsi_tiff_reader *wsi_tiff_reader_open(const char *path, GError **error)
{
    wsi_tiff_reader *reader = g_new0(wsi_tiff_reader, 1);
    reader->path = g_strdup(path);
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, ALLOC_MAX);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, reader);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, reader);
    /* m: no memory map: a file that shrinks gives an error and no SIGBUS. */
    reader->tiff = TIFFOpenExt(path, "rm", options);
    TIFFOpenOptionsFree(options);
    if (reader->tiff)
        return reader;
    fail(reader, "TIFFOpenExt", error);
    g_prefix_error(error, "%s: ", path);
    wsi_tiff_reader_close(reader);
    return NULL;
}

void wsi_tiff_reader_close(wsi_tiff_reader *reader)
{
    if (!reader)
        return;
    if (reader->tiff)
        TIFFClose(reader->tiff);
    g_free(reader->raw);
    g_free(reader->path);
    g_free(reader);
}

/* ---- the layout ---- */
static const char *name_of(int compression)
{
    switch (compression) {
    case COMPRESSION_NONE:
        return "none";
    case COMPRESSION_LZW:
        return "LZW";
    case COMPRESSION_ADOBE_DEFLATE:
    case COMPRESSION_DEFLATE:
        return "deflate";
    case COMPRESSION_JPEG:
        return "JPEG";
    case 33003:
    case 33005:
    case 34712:
        return "JPEG 2000";
    default:
        return "other";
    }
}

/* Why OpenSlide does more for these tiles than decode them, or why it is no slower at it. */
static const char *unfit(TIFF *tiff, const wsi_tiff_level *level, int compression)
{
    uint16_t bits = 1, samples = 1, planar = PLANARCONFIG_CONTIG, format = SAMPLEFORMAT_UINT;
    uint16_t photometric = PHOTOMETRIC_MINISBLACK, orientation = ORIENTATION_TOPLEFT;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
    TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
    if (!g_strcmp0(level->compression, "JPEG 2000"))
        return "its tiles are JPEG 2000, whose decoding takes nearly all of OpenSlide's time";
    if (!g_strcmp0(level->compression, "other"))
        return "its compression is none that is read directly";
    if (bits != 8 || samples != 3 || format != SAMPLEFORMAT_UINT)
        return "its pixels are not three 8-bit samples";
    if (planar != PLANARCONFIG_CONTIG)
        return "its colours lie in separate planes";
    if (orientation != ORIENTATION_TOPLEFT)
        return "its pictures are turned";
    if (photometric != PHOTOMETRIC_RGB &&
        !(compression == COMPRESSION_JPEG && photometric == PHOTOMETRIC_YCBCR))
        return "its colours are neither RGB nor JPEG's YCbCr";
    if (level->tile_w > TILE_SIDE_MAX || level->tile_h > TILE_SIDE_MAX)
        return "its tiles are larger than 4096 pixels a side";
    return NULL;
}

static bool is_grey(TIFF *tiff, const wsi_tiff_level *level)
{
    uint16_t bits = 1, samples = 1, format = SAMPLEFORMAT_UINT, photometric = PHOTOMETRIC_SEPARATED;
    uint16_t orientation = ORIENTATION_TOPLEFT;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
    TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
    return bits == 8 && samples == 1 && format == SAMPLEFORMAT_UINT &&
           photometric == PHOTOMETRIC_MINISBLACK && orientation == ORIENTATION_TOPLEFT &&
           level->tile_w <= TILE_SIDE_MAX && level->tile_h <= TILE_SIDE_MAX;
}

static wsi_tiff_level describe(TIFF *tiff, int dir)
{
    uint32_t w = 0, h = 0, tile_w = 0, tile_h = 0, n_tables = 0;
    uint16_t compression = COMPRESSION_NONE, photometric = 0, chroma_w = 1, chroma_h = 1;
    void *tables = NULL;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &w);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &h);
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_w);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_h);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
    if (compression == COMPRESSION_JPEG) {
        TIFFGetField(tiff, TIFFTAG_JPEGTABLES, &n_tables, &tables);
        TIFFGetFieldDefaulted(tiff, TIFFTAG_YCBCRSUBSAMPLING, &chroma_w, &chroma_h);
    }
    wsi_tiff_level level = {.dir = dir,
                            .w = w,
                            .h = h,
                            .tile_w = (int)MIN(tile_w, (uint32_t)G_MAXINT),
                            .tile_h = (int)MIN(tile_h, (uint32_t)G_MAXINT),
                            .jpeg = compression == COMPRESSION_JPEG,
                            .ycbcr = photometric == PHOTOMETRIC_YCBCR,
                            .chroma_w = chroma_w,
                            .chroma_h = chroma_h,
                            .compression = name_of(compression)};
    if (tables && n_tables > 0) {
        level.tables = g_memdup2(tables, n_tables);
        level.n_tables = n_tables;
    }
    level.n_x = tile_w ? (level.w + level.tile_w - 1) / level.tile_w : 0;
    level.n_y = tile_h ? (level.h + level.tile_h - 1) / level.tile_h : 0;
    level.grey = level.n_x && level.n_y && is_grey(tiff, &level);
    level.unfit = level.n_x && level.n_y ? unfit(tiff, &level, compression) : "it has empty tiles";
    return level;
}

static void clear_level(gpointer data)
{
    g_free(((wsi_tiff_level *)data)->tables);
}

bool wsi_tiff_layout_read(wsi_tiff_layout *layout, const char *path, GError **error)
{
    wsi_tiff_reader *reader = wsi_tiff_reader_open(path, error);
    if (!reader)
        return false;
    layout->path = g_strdup(path);
    layout->levels = g_array_new(FALSE, FALSE, sizeof(wsi_tiff_level));
    g_array_set_clear_func(layout->levels, clear_level);
    for (int dir = 0;; dir++) {
        if (TIFFIsTiled(reader->tiff)) {
            wsi_tiff_level level = describe(reader->tiff, dir);
            g_array_append_val(layout->levels, level);
        }
        if (TIFFLastDirectory(reader->tiff) || !TIFFReadDirectory(reader->tiff))
            break;
    }
    bool ok = reader->message[0] == '\0';
    if (!ok) {
        fail(reader, "TIFFReadDirectory", error);
        g_prefix_error(error, "%s: ", path);
        wsi_tiff_layout_clear(layout);
    }
    wsi_tiff_reader_close(reader);
    return ok;
}

void wsi_tiff_layout_clear(wsi_tiff_layout *layout)
{
    if (layout->levels)
        g_array_unref(layout->levels);
    g_free(layout->path);
    *layout = (wsi_tiff_layout){0};
}

/* ---- tiles ---- */
/* Goes to the tile's directory; *n its bytes in the file. */
static bool find_tile(wsi_tiff_reader *reader, const wsi_tiff_level *level, int64_t tile, size_t *n,
                      GError **error)
{
    reader->message[0] = '\0';
    if (reader->dir != level->dir) {
        if (!TIFFSetDirectory(reader->tiff, (tdir_t)level->dir)) {
            reader->dir = -1;
            return fail(reader, "TIFFSetDirectory", error);
        }
        reader->dir = level->dir;
    }
    int failed = 0;
    uint64_t bytes = TIFFGetStrileByteCountWithErr(reader->tiff, (uint32_t)tile, &failed);
    if (failed)
        return fail(reader, "TIFFGetStrileByteCount", error);
    if (bytes > RAW_BYTES_MAX) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "a tile of %" G_GUINT64_FORMAT " bytes, more than %d", bytes, RAW_BYTES_MAX);
        return false;
    }
    *n = (size_t)bytes;
    return true;
}

const uint8_t *wsi_tiff_reader_raw(wsi_tiff_reader *reader, const wsi_tiff_level *level,
                                   int64_t tile, size_t *n, GError **error)
{
    if (!find_tile(reader, level, tile, n, error))
        return NULL;
    if (!reader->raw || reader->capacity < *n) {
        g_free(reader->raw);
        reader->capacity = MAX(*n + *n / 2, (size_t)1 << 16);
        reader->raw = g_malloc(reader->capacity);
    }
    if (*n == 0)
        return reader->raw;
    if (TIFFReadRawTile(reader->tiff, (uint32_t)tile, reader->raw, (tmsize_t)*n) == (tmsize_t)*n)
        return reader->raw;
    fail(reader, "TIFFReadRawTile", error);
    return NULL;
}

static bool read_decoded(wsi_tiff_reader *reader, const wsi_tiff_level *level, int64_t tile,
                         int n_samples, uint8_t *pixels, bool *sparse, GError **error)
{
    size_t n = 0;
    if (!find_tile(reader, level, tile, &n, error))
        return false;
    *sparse = n == 0;
    tmsize_t want = (tmsize_t)level->tile_w * level->tile_h * n_samples;
    if (*sparse || TIFFReadEncodedTile(reader->tiff, (uint32_t)tile, pixels, want) == want)
        return true;
    return fail(reader, "TIFFReadEncodedTile", error);
}

bool wsi_tiff_reader_pixels(wsi_tiff_reader *reader, const wsi_tiff_level *level, int64_t tile,
                            uint8_t *rgb, bool *sparse, GError **error)
{
    return read_decoded(reader, level, tile, 3, rgb, sparse, error);
}

bool wsi_tiff_reader_grey(wsi_tiff_reader *reader, const wsi_tiff_level *level, int64_t tile,
                          uint8_t *grey, bool *sparse, GError **error)
{
    return read_decoded(reader, level, tile, 1, grey, sparse, error);
}
