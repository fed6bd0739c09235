/* Stored values of a TIFF of one sample and 1, 2, 4 or 8 bits (palette indices among them)
 * through libtiff, strip by strip or a row of tiles at a time. The orientation tag is not looked
 * at: masks match stored pixels, as slides do. The file was probed before: its strips and tiles
 * lie inside it. */
#include "wsi/image/stored_priv.h"

#include "base/error.h"

#include <tiffio.h>

#include <stdarg.h>
#include <string.h>

#define ALLOC_MAX ((tmsize_t)512 << 20) /* as the probe's */
enum { MESSAGE_BYTES = 256 };

typedef struct {
    char *path;
    TIFF *tiff;
    int bits;
    bool tiled;
    int64_t w, h, tile_w, band_h;   /* a strip, or a row of tiles, has band_h rows */
    int64_t band;                   /* in `packed`; -1 none */
    size_t packed_bytes, row_bytes; /* of a strip or tile; of a row in it */
    uint8_t *packed;                /* a strip, or the tiles of a row one after another */
    char message[MESSAGE_BYTES];
} tiff_data;

static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
    G_GNUC_PRINTF(4, 0);
static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff, (void)module;
    tiff_data *d = user;
    if (!d->message[0])
        g_vsnprintf(d->message, sizeof d->message, format, args);
    return 1;
}

static int on_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff, (void)user, (void)module, (void)format, (void)args;
    return 1;
}

static void tiff_close(void *data)
{
    tiff_data *d = data;
    if (d->tiff)
        TIFFClose(d->tiff);
    g_free(d->packed);
    g_free(d->path);
    g_free(d);
}

static bool fail(const tiff_data *d, const char *call, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: damaged or unreadable TIFF: %s%s%s", d->path,
                call, d->message[0] ? ": " : "", d->message);
    return false;
}

static int64_t tiles_across(const tiff_data *d)
{
    return d->tiled ? (d->w + d->tile_w - 1) / d->tile_w : 1;
}

/* A strip or tile without bytes (sparse) is zeros. */
static bool decode_band(tiff_data *d, int64_t band, GError **error)
{
    int64_t n_x = tiles_across(d), rows = MIN(d->band_h, d->h - band * d->band_h);
    for (int64_t x = 0; x < n_x; x++) {
        uint32_t index = (uint32_t)(band * n_x + x);
        uint8_t *dst = d->packed + (size_t)x * d->packed_bytes;
        memset(dst, 0, d->packed_bytes);
        if (TIFFGetStrileByteCount(d->tiff, index) == 0)
            continue;
        tmsize_t wanted = (tmsize_t)(d->tiled ? d->packed_bytes : (size_t)rows * d->row_bytes);
        tmsize_t got = d->tiled ? TIFFReadEncodedTile(d->tiff, index, dst, wanted)
                                : TIFFReadEncodedStrip(d->tiff, index, dst, wanted);
        if (got < wanted || d->message[0])
            return fail(d, d->tiled ? "TIFFReadEncodedTile" : "TIFFReadEncodedStrip", error);
    }
    d->band = band;
    return true;
}

/* Samples of 1, 2 and 4 bits lie in a byte from its upper end. */
static void unpack(const uint8_t *src, int bits, int64_t n, uint8_t *dst)
{
    if (bits == 8) {
        memcpy(dst, src, (size_t)n);
        return;
    }
    int per_byte = 8 / bits, mask = (1 << bits) - 1;
    for (int64_t i = 0; i < n; i++)
        dst[i] = (uint8_t)(src[i / per_byte] >> (8 - bits * (1 + (int)(i % per_byte))) & mask);
}

static bool tiff_read(void *data, int64_t y, int n, uint8_t *dst, GError **error)
{
    tiff_data *d = data;
    for (int r = 0; r < n; r++) {
        int64_t band = (y + r) / d->band_h, row = (y + r) % d->band_h;
        if (band != d->band && !decode_band(d, band, error))
            return false;
        for (int64_t x = 0; x < tiles_across(d); x++)
            unpack(d->packed + (size_t)x * d->packed_bytes + (size_t)row * d->row_bytes, d->bits,
                   MIN(d->tile_w, d->w - x * d->tile_w),
                   dst + (size_t)r * (size_t)d->w + x * d->tile_w);
    }
    return true;
}

static void read_layout(tiff_data *d, const wsi_tiff_facts *facts)
{
    uint32_t rows = 0;
    d->tiled = facts->tiled;
    d->w = facts->w;
    d->h = facts->h;
    d->bits = facts->bits;
    TIFFGetFieldDefaulted(d->tiff, TIFFTAG_ROWSPERSTRIP, &rows);
    d->tile_w = d->tiled ? facts->tile_w : d->w;
    d->band_h = d->tiled ? facts->tile_h : CLAMP((int64_t)rows, 1, d->h);
    d->packed_bytes = (size_t)(d->tiled ? TIFFTileSize64(d->tiff) : TIFFStripSize64(d->tiff));
    d->row_bytes = (size_t)(d->tiled ? TIFFTileRowSize64(d->tiff) : TIFFScanlineSize64(d->tiff));
    d->band = -1;
}

bool wsi_stored_tiff_open(wsi_stored_source *source, const char *path, const wsi_tiff_facts *facts,
                          GError **error)
{
    tiff_data *d = g_new0(tiff_data, 1);
    d->path = g_strdup(path);
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, ALLOC_MAX);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, d);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, d);
    d->tiff =
        TIFFOpenExt(path, "rm", options); /* m: a file that shrinks gives an error, no SIGBUS */
    TIFFOpenOptionsFree(options);
    bool ok = d->tiff || fail(d, "TIFFOpenExt", error);
    if (ok) {
        read_layout(d, facts);
        size_t n = (size_t)tiles_across(d) * d->packed_bytes;
        ok = d->row_bytes * (size_t)d->band_h <= d->packed_bytes + d->row_bytes && n > 0 &&
             (d->packed = g_try_malloc(n)) != NULL;
        if (!ok)
            g_set_error(error, QS_ERROR, QS_ERROR_MEMORY,
                        "%s: no memory for %zu bytes of its pixels", path, n);
    }
    if (!ok) {
        tiff_close(d);
        return false;
    }
    *source = (wsi_stored_source){d, tiff_read, tiff_close, d->w, d->h, 1};
    return true;
}
