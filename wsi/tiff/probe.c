/* See tiff_probe.h. Only pixel directories that are read later are held to the checks: the first
 * one and every tiled one. Label and macro pictures, often striped and odd, are left alone, but
 * their bytes must be there: a file cut behind its slide is still a cut file.
 *
 * libtiff is given no default error handler (nothing is printed) and a cap on each allocation. */
#include "wsi/tiff/probe.h"

#include "base/error.h"
#include "wsi/tiff/entries.h"

#include <tiffio.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    SIDE_MAX = 1 << 24,       /* pixels; the largest scanners give about 2^18 */
    TILE_BYTES_MAX = 1 << 30, /* a decoded tile */
    ALLOC_MAX = 512 << 20,    /* one allocation of libtiff: tile tables of 2^25 tiles */
    DIRS_MAX = 4096,
    TAG_NDPI = 65420,
};

typedef struct {
    const char *path;
    int64_t n_bytes;
    char message[256]; /* libtiff's first error since it was cleared */
    bool short_table;  /* a table of tiles is shorter than the size of the picture needs */
} probe_state;

static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff;
    (void)module;
    probe_state *state = user;
    if (!state->message[0]) /* the first error is the cause, later ones are consequences */
        g_vsnprintf(state->message, sizeof state->message, format, args);
    return 1;
}

static int on_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff, (void)module;
    probe_state *state = user;
    char text[256];
    g_vsnprintf(text, sizeof text, format, args);
    /* libtiff fills the rest of such a table with zeros, which look like empty tiles. */
    if (strstr(text, "Incorrect count") && (strstr(text, "Offsets") || strstr(text, "ByteCounts")))
        state->short_table = true;
    if (strstr(text, "IFD looping") && !state->message[0])
        g_strlcpy(state->message, text, sizeof state->message);
    return 1;
}

static bool fail(const probe_state *state, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
static bool fail(const probe_state *state, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: %s", state->path, what);
    return false;
}

/* The first directory's offset, straight from the header, so that a cut file is called that. */
static bool check_header(const probe_state *state, GError **error)
{
    uint8_t p[16] = {0};
    FILE *file = fopen(state->path, "rbe");
    size_t n = file ? fread(p, 1, sizeof p, file) : 0;
    if (file)
        fclose(file);
    bool big_endian = p[0] == 'M', big_tiff = (big_endian ? p[3] : p[2]) == 43;
    size_t n_header = big_tiff ? 16 : 8;
    if (n < n_header)
        return fail(state, error, "truncated: a TIFF header has %zu bytes, the file %zu", n_header,
                    n);
    const uint8_t *at = p + (big_tiff ? 8 : 4);
    int n_offset = big_tiff ? 8 : 4;
    uint64_t offset = 0;
    for (int i = 0; i < n_offset; i++)
        offset |= (uint64_t)at[i] << 8 * (big_endian ? n_offset - 1 - i : i);
    if (offset < n_header)
        return fail(state, error,
                    "has no directory (first offset %" G_GUINT64_FORMAT
                    "); its writer was stopped before the end, copy it again",
                    offset);
    if (offset >= (uint64_t)state->n_bytes)
        return fail(state, error,
                    "truncated: the first directory is at byte %" G_GUINT64_FORMAT
                    ", the file ends at %" G_GINT64_FORMAT "; copy it again",
                    offset, state->n_bytes);
    return true;
}

static const char *compression_name(int compression)
{
    static const struct {
        int id;
        const char *name;
    } names[] = {
        {COMPRESSION_NONE, "none"},
        {COMPRESSION_CCITTRLE, "CCITT RLE"},
        {COMPRESSION_CCITTFAX3, "CCITT fax 3"},
        {COMPRESSION_CCITTFAX4, "CCITT fax 4"},
        {COMPRESSION_LZW, "LZW"},
        {COMPRESSION_OJPEG, "old-style JPEG"},
        {COMPRESSION_JPEG, "JPEG"},
        {COMPRESSION_ADOBE_DEFLATE, "deflate"},
        {COMPRESSION_DEFLATE, "deflate"},
        {COMPRESSION_PACKBITS, "PackBits"},
        {COMPRESSION_JBIG, "JBIG"},
        {34712, "JPEG 2000"},
        {34887, "LERC"},
        {COMPRESSION_LZMA, "LZMA"},
        {COMPRESSION_ZSTD, "zstd"},
        {COMPRESSION_WEBP, "WebP"},
        {33003, "JPEG 2000 (Aperio YCbCr)"},
        {33005, "JPEG 2000 (Aperio RGB)"},
        {22610, "JPEG XR (Zeiss/Ventana)"},
        {50002, "JPEG XL"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (names[i].id == compression)
            return names[i].name;
    return "unknown";
}

static bool check_compression(const probe_state *state, int compression, int dir, GError **error)
{
    if (compression == 33003 || compression == 33005) /* OpenSlide decodes these itself */
        return true;
    if (compression >= 0 && compression <= 65535 && TIFFIsCODECConfigured((uint16_t)compression))
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "%s: unsupported compression %d (%s) in directory %d; convert the file to JPEG or "
                "deflate tiles",
                state->path, compression, compression_name(compression), dir);
    return false;
}

/* Every tile or strip must end inside the file. Zero bytes means an empty tile (Aperio, Philips).
 */
static bool check_extent(const probe_state *state, TIFF *tiff, int dir, GError **error)
{
    bool tiled = TIFFIsTiled(tiff);
    if (state->short_table)
        return fail(state, error,
                    "directory %d has fewer %s than its size needs: damaged, copy it again", dir,
                    tiled ? "tiles" : "strips");
    uint32_t n = tiled ? TIFFNumberOfTiles(tiff) : TIFFNumberOfStrips(tiff);
    uint64_t *offsets = NULL, *sizes = NULL;
    if (!TIFFGetField(tiff, tiled ? TIFFTAG_TILEOFFSETS : TIFFTAG_STRIPOFFSETS, &offsets) ||
        !offsets ||
        !TIFFGetField(tiff, tiled ? TIFFTAG_TILEBYTECOUNTS : TIFFTAG_STRIPBYTECOUNTS, &sizes) ||
        !sizes)
        return fail(state, error, "directory %d has no table of its %s%s%s", dir,
                    tiled ? "tiles" : "strips", state->message[0] ? ": " : "", state->message);
    uint64_t n_bytes = (uint64_t)state->n_bytes;
    int64_t n_past = 0, first = -1;
    for (uint32_t i = 0; i < n; i++)
        if (sizes[i] > 0 && (offsets[i] > n_bytes || sizes[i] > n_bytes - offsets[i])) {
            n_past++;
            if (first < 0)
                first = i;
        }
    if (n_past == 0)
        return true;
    return fail(state, error,
                "truncated: %" G_GINT64_FORMAT
                " of %u %s of directory %d lie past the end of the file "
                "(number %" G_GINT64_FORMAT " needs bytes %" G_GUINT64_FORMAT
                " to %" G_GUINT64_FORMAT ", the file has %" G_GINT64_FORMAT "); copy it again",
                n_past, n, tiled ? "tiles" : "strips", dir, first, offsets[first],
                offsets[first] + sizes[first], state->n_bytes);
}

static bool check_shape(const probe_state *state, TIFF *tiff, int dir, uint32_t w, uint32_t h,
                        GError **error)
{
    if (w == 0 || h == 0 || w > SIDE_MAX || h > SIDE_MAX)
        return fail(state, error, "directory %d says %u x %u pixels; 1 to %d a side are possible",
                    dir, w, h, SIDE_MAX);
    if (!TIFFIsTiled(tiff))
        return true;
    uint32_t tile_w = 0, tile_h = 0;
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_w);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_h);
    uint64_t bytes = TIFFTileSize64(tiff);
    if (tile_w == 0 || tile_h == 0 || bytes == 0 || bytes > TILE_BYTES_MAX)
        return fail(state, error,
                    "directory %d has tiles of %u x %u pixels, %" G_GUINT64_FORMAT
                    " bytes; the limit is %d bytes",
                    dir, tile_w, tile_h, bytes, TILE_BYTES_MAX);
    return true;
}

/* µm per pixel from a resolution tag; 0 without a physical unit. */
static double tag_mpp(TIFF *tiff, uint32_t tag)
{
    uint16_t unit = RESUNIT_INCH;
    float per_unit = 0;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_RESOLUTIONUNIT, &unit);
    if (!TIFFGetField(tiff, tag, &per_unit) || !(per_unit > 0) || !isfinite(per_unit))
        return 0;
    return unit == RESUNIT_CENTIMETER ? 10000.0 / per_unit
           : unit == RESUNIT_INCH     ? 25400.0 / per_unit
                                      : 0;
}

static int orientation_of(TIFF *tiff)
{
    uint16_t orientation = ORIENTATION_TOPLEFT;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
    return orientation;
}

static void first_directory(TIFF *tiff, wsi_tiff_facts *facts)
{
    uint32_t w = 0, h = 0;
    uint16_t bits = 1, samples = 1, compression = 1, format = SAMPLEFORMAT_UINT;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &w);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &h);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    facts->w = w;
    facts->h = h;
    facts->bits = bits;
    facts->n_samples = samples;
    facts->is_float = format == SAMPLEFORMAT_IEEEFP;
    facts->is_signed = format == SAMPLEFORMAT_INT;
    uint16_t photometric = samples >= 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK;
    uint16_t planar = PLANARCONFIG_CONTIG, n_extra = 0, *extra = NULL;
    TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    if (!TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &n_extra, &extra))
        n_extra = 0;
    int n_colours = photometric == PHOTOMETRIC_RGB || photometric == PHOTOMETRIC_YCBCR ? 3 : 1;
    facts->photometric = photometric;
    facts->separate = planar == PLANARCONFIG_SEPARATE && samples > 1;
    facts->n_extra =
        MAX((int)n_extra, photometric <= PHOTOMETRIC_PALETTE ? samples - n_colours : 0);
    facts->extra = n_extra > 0 && extra ? extra[0] : EXTRASAMPLE_UNSPECIFIED;
    facts->orientation = orientation_of(tiff);
    char *description = NULL;
    facts->label_mask = TIFFGetField(tiff, TIFFTAG_IMAGEDESCRIPTION, &description) &&
                        g_str_has_prefix(description, "quadslide label mask");
    facts->compression = compression;
    facts->compression_name = compression_name(compression);
    facts->tiled = TIFFIsTiled(tiff);
    uint32_t tile_w = 0, tile_h = 0;
    if (facts->tiled) {
        TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_w);
        TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_h);
    }
    facts->tile_w = tile_w;
    facts->tile_h = tile_h;
    facts->mpp_x = tag_mpp(tiff, TIFFTAG_XRESOLUTION);
    facts->mpp_y = tag_mpp(tiff, TIFFTAG_YRESOLUTION);
    facts->ndpi = TIFFFindField(tiff, TAG_NDPI, TIFF_ANY) != NULL;
}

/* Another picture of the first one's size and kind, that does not call itself a reduced one or a mask. */
static bool is_same_size(TIFF *tiff, const wsi_tiff_facts *facts)
{
    uint32_t w = 0, h = 0, subfile = 0;
    uint16_t bits = 1, samples = 1;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &w);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &h);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SUBFILETYPE, &subfile);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    return w == facts->w && h == facts->h && bits == facts->bits && samples == facts->n_samples &&
           !(subfile & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK));
}

static bool check_directory(const probe_state *state, TIFF *tiff, int dir,
                            const wsi_tiff_facts *facts, GError **error)
{
    uint32_t w = 0, h = 0;
    uint16_t compression = COMPRESSION_NONE;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &w);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &h);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    if (dir == 0 || TIFFIsTiled(tiff))
        if (!check_shape(state, tiff, dir, w, h, error) ||
            !check_compression(state, compression, dir, error))
            return false;
    /* Past 4 GiB an NDPI's 32-bit offsets have lost their upper half. */
    if (facts->ndpi && state->n_bytes > (int64_t)G_MAXUINT32)
        return true;
    return check_extent(state, tiff, dir, error);
}

static TIFF *open_quietly(probe_state *state)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options)
        return NULL;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, ALLOC_MAX);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, state);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, state);
    /* m: no memory map, so that a file that shrinks gives an error and no SIGBUS; c: strips as they
     * are. */
    TIFF *tiff = TIFFOpenExt(state->path, "rmc", options);
    TIFFOpenOptionsFree(options);
    return tiff;
}

static gpointer silence_errors(gpointer user)
{
    (void)user;
    TIFFSetErrorHandler(NULL);
    return NULL;
}

void wsi_tiff_silence(void)
{
    static GOnce once = G_ONCE_INIT;
    g_once(&once, silence_errors, NULL);
    TIFFSetWarningHandler(NULL);
}

bool wsi_tiff_probe(const char *path, int64_t n_bytes, wsi_tiff_facts *facts, GError **error)
{
    memset(facts, 0, sizeof *facts);
    wsi_tiff_silence();
    probe_state state = {.path = path, .n_bytes = n_bytes};
    if (!check_header(&state, error) || !wsi_tiff_check_entries(path, n_bytes, error))
        return false;
    TIFF *tiff = open_quietly(&state);
    if (!tiff)
        return fail(&state, error, "truncated or damaged TIFF: %s",
                    state.message[0] ? state.message : "the first directory cannot be read");
    first_directory(tiff, facts);
    bool ok = true;
    int dir = 0;
    do {
        ok = check_directory(&state, tiff, dir, facts, error);
        facts->n_same += ok && is_same_size(tiff, facts);
        if (ok && facts->orientation == ORIENTATION_TOPLEFT && TIFFIsTiled(tiff))
            facts->orientation = orientation_of(tiff);
        dir++;
        state.message[0] = '\0';
        /* The chain of such a file means nothing to libtiff either. */
        if (facts->ndpi && n_bytes > (int64_t)G_MAXUINT32)
            break;
    } while (ok && dir < DIRS_MAX && !TIFFLastDirectory(tiff) && TIFFReadDirectory(tiff));
    facts->n_dirs = dir;
    if (ok && state.message[0])
        ok = fail(&state, error, "truncated or damaged TIFF at directory %d: %s", dir,
                  state.message);
    if (ok && dir == DIRS_MAX)
        ok = fail(&state, error, "more than %d directories: a damaged chain", DIRS_MAX);
    TIFFClose(tiff);
    return ok;
}

/* ---- tiles without bytes ----------------------------------------------------------------------
 */
/* One row of tiles: runs of gaps, each joined to the one above when both have the same columns. */
static void add_row(GArray *gaps, guint *above, const uint64_t *sizes, uint32_t n_x, int64_t y,
                    const wsi_tiff_gap *tile)
{
    guint first_new = gaps->len, lowest = gaps->len;
    for (uint32_t x = 0; x < n_x; x++) {
        uint32_t end = x;
        while (end < n_x && sizes[end] == 0)
            end++;
        if (end == x)
            continue;
        wsi_tiff_gap gap = {(int64_t)x * tile->w, y, (int64_t)(end - x) * tile->w, tile->h};
        for (guint i = *above; i < first_new; i++) {
            wsi_tiff_gap *up = &g_array_index(gaps, wsi_tiff_gap, i);
            if (up->x == gap.x && up->w == gap.w && up->y + up->h == y) {
                up->h += tile->h;
                lowest = MIN(lowest, i);
                gap.w = 0;
                break;
            }
        }
        if (gap.w > 0)
            g_array_append_val(gaps, gap);
        x = end;
    }
    *above = lowest;
}

static bool collect_gaps(const probe_state *state, TIFF *tiff, int64_t w, int64_t h, GArray *gaps,
                         GError **error)
{
    uint32_t tile_w = 0, tile_h = 0;
    uint64_t *sizes = NULL;
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_w);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_h);
    if (tile_w == 0 || tile_h == 0 || !TIFFGetField(tiff, TIFFTAG_TILEBYTECOUNTS, &sizes) || !sizes)
        return fail(state, error, "its table of tiles cannot be read: %s", state->message);
    int64_t n_x = (w + tile_w - 1) / tile_w, n_y = (h + tile_h - 1) / tile_h;
    if (n_x * n_y > (int64_t)TIFFNumberOfTiles(tiff))
        return fail(state, error, "has fewer tiles than its size needs");
    const wsi_tiff_gap tile = {0, 0, tile_w, tile_h};
    guint above = 0;
    for (int64_t y = 0; y < n_y; y++)
        add_row(gaps, &above, sizes + y * n_x, (uint32_t)n_x, y * tile_h, &tile);
    for (guint i = 0; i < gaps->len; i++) { /* the last row and column reach past the picture */
        wsi_tiff_gap *gap = &g_array_index(gaps, wsi_tiff_gap, i);
        gap->w = MIN(gap->w, w - gap->x);
        gap->h = MIN(gap->h, h - gap->y);
    }
    return true;
}

GArray *wsi_tiff_gaps(const char *path, int64_t w, int64_t h, GError **error)
{
    probe_state state = {.path = path};
    wsi_tiff_silence();
    TIFF *tiff = open_quietly(&state);
    if (!tiff) {
        fail(&state, error, "truncated or damaged TIFF: %s", state.message);
        return NULL;
    }
    GArray *gaps = g_array_new(FALSE, FALSE, sizeof(wsi_tiff_gap));
    bool ok = true, found = false;
    for (int dir = 0; ok && !found && dir < DIRS_MAX; dir++) {
        uint32_t dir_w = 0, dir_h = 0;
        TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &dir_w);
        TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &dir_h);
        found = TIFFIsTiled(tiff) && dir_w == w && dir_h == h;
        ok = !found || collect_gaps(&state, tiff, w, h, gaps, error);
        if (TIFFLastDirectory(tiff) || !TIFFReadDirectory(tiff))
            break;
    }
    TIFFClose(tiff);
    if (!ok)
        g_clear_pointer(&gaps, g_array_unref);
    return gaps;
}

bool wsi_tiff_is_ours(const char *path)
{
    probe_state state = {.path = path};
    const char *software = NULL, *description = NULL;
    wsi_tiff_silence();
    TIFF *tiff = open_quietly(&state);
    bool ours = tiff && ((TIFFGetField(tiff, TIFFTAG_SOFTWARE, &software) && software &&
                          g_str_has_prefix(software, "quadslide ")) ||
                         (TIFFGetField(tiff, TIFFTAG_IMAGEDESCRIPTION, &description) &&
                          description && g_str_has_prefix(description, "quadslide ")));
    if (tiff)
        TIFFClose(tiff);
    return ours;
}

GBytes *wsi_tiff_icc(const char *path)
{
    wsi_tiff_silence();
    probe_state state = {.path = path};
    TIFF *tiff = open_quietly(&state);
    uint32_t n = 0;
    void *data = NULL;
    GBytes *profile = NULL;
    if (tiff && TIFFGetField(tiff, TIFFTAG_ICCPROFILE, &n, &data) && n > 0)
        profile = g_bytes_new(data, n);
    if (tiff)
        TIFFClose(tiff);
    return profile;
}
