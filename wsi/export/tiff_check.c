#include "wsi/export/tiff_check_priv.h"

#include "base/error.h"
#include "wsi/export/export_priv.h"
#include "wsi/tiff/io.h"

#include <stdio.h>
#include <string.h>

#define ALLOC_MAX ((tmsize_t)256 << 20)

static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
    G_GNUC_PRINTF(4, 0);
static int on_error(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff, (void)module;
    GString *message = user;
    if (message->len == 0)
        g_string_append_vprintf(message, format, args);
    return 1;
}

static int on_warning(TIFF *tiff, void *user, const char *module, const char *format, va_list args)
{
    (void)tiff, (void)user, (void)module, (void)format, (void)args;
    return 1;
}

/* Opens quietly; `message` collects libtiff's first error while the TIFF is open. */
static TIFF *open_tiff(const char *path, GString *message, GError **error)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, ALLOC_MAX);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, message);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, NULL);
    TIFF *tiff = TIFFOpenExt(path, "rm", options);
    TIFFOpenOptionsFree(options);
    if (!tiff)
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: is no readable TIFF: %s", path,
                    message->str);
    return tiff;
}

static void look_at(TIFF *tiff, wsi_tiff_dir *dir)
{
    uint32_t w = 0, h = 0, tile_w = 0, tile_h = 0, subfile = 0;
    uint16_t bits = 1, samples = 1, planar = 1, photometric = 0, compression = 1, format = 1,
             unit = 0;
    float per_unit = 0;
    double smin = -1, smax = -1;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &w);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &h);
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tile_w);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &tile_h);
    TIFFGetField(tiff, TIFFTAG_SUBFILETYPE, &subfile);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
    TIFFGetField(tiff, TIFFTAG_COMPRESSION, &compression);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    if (!TIFFGetField(tiff, TIFFTAG_XRESOLUTION, &per_unit) ||
        !TIFFGetField(tiff, TIFFTAG_RESOLUTIONUNIT, &unit))
        unit = 0;
    if (!TIFFGetField(tiff, TIFFTAG_SMINSAMPLEVALUE, &smin) ||
        !TIFFGetField(tiff, TIFFTAG_SMAXSAMPLEVALUE, &smax))
        smin = smax = -1;
    *dir = (wsi_tiff_dir){w,
                          h,
                          (int)tile_w,
                          (int)tile_h,
                          bits,
                          samples,
                          planar,
                          photometric,
                          compression,
                          (int)subfile,
                          format,
                          unit,
                          unit ? (double)per_unit : 0,
                          smin,
                          smax};
}

bool wsi_tiff_look_read(const char *path, wsi_tiff_look *look, GError **error)
{
    memset(look, 0, sizeof *look);
    g_autoptr(GString) message = g_string_new(NULL);
    TIFF *tiff = open_tiff(path, message, error);
    if (!tiff)
        return false;
    uint64_t sub_offset[WSI_TIFF_DIRS_MAX], *offsets = NULL;
    uint16_t n_sub = 0;
    char *text = NULL;
    look->big = TIFFIsBigTIFF(tiff);
    if (TIFFGetField(tiff, TIFFTAG_IMAGEDESCRIPTION, &text))
        look->description = g_strdup(text);
    if (TIFFGetField(tiff, TIFFTAG_SUBIFD, &n_sub, &offsets)) {
        n_sub = MIN(n_sub, WSI_TIFF_DIRS_MAX);
        memcpy(sub_offset, offsets, n_sub * sizeof *offsets);
    }
    do
        look_at(tiff, &look->dirs[look->n_dirs++]);
    while (look->n_dirs < WSI_TIFF_DIRS_MAX && !TIFFLastDirectory(tiff) && TIFFReadDirectory(tiff));
    for (; look->n_sub < n_sub && TIFFSetSubDirectory(tiff, sub_offset[look->n_sub]); look->n_sub++)
        look_at(tiff, &look->sub[look->n_sub]);
    TIFFClose(tiff);
    if (message->len == 0)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: %s", path, message->str);
    wsi_tiff_look_clear(look);
    return false;
}

void wsi_tiff_look_clear(wsi_tiff_look *look)
{
    g_clear_pointer(&look->description, g_free);
}

/* Puts a row of tiles into `rows` (tile_h × w). */
static bool read_band(TIFF *tiff, const wsi_tiff_dir *dir, int64_t y, uint8_t *tile, uint8_t *rows)
{
    int64_t n = MIN(dir->tile_h, dir->h - y);
    for (int64_t x = 0; x < dir->w; x += dir->tile_w) {
        uint32_t number = TIFFComputeTile(tiff, (uint32_t)x, (uint32_t)y, 0, 0);
        if (TIFFReadEncodedTile(tiff, number, tile, (tmsize_t)dir->tile_w * dir->tile_h) < 0)
            return false;
        size_t bytes = (size_t)MIN(dir->tile_w, dir->w - x);
        for (int64_t r = 0; r < n; r++)
            memcpy(rows + r * dir->w + x, tile + r * dir->tile_w, bytes);
    }
    return true;
}

static bool compare_bands(const wsi_export_job *job, TIFF *tiff, const wsi_tiff_dir *dir,
                          int64_t *n_different, GError **error)
{
    size_t w = (size_t)dir->w, bytes = w * (size_t)dir->tile_h;
    g_autofree uint8_t *tile = g_malloc((size_t)dir->tile_w * (size_t)dir->tile_h);
    g_autofree uint8_t *have = g_malloc(bytes), *meant = g_malloc(bytes);
    for (int64_t y = 0; y < dir->h; y += dir->tile_h) {
        int n = (int)MIN(dir->tile_h, dir->h - y);
        if (!read_band(tiff, dir, y, tile, have)) {
            g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                        "row %" G_GINT64_FORMAT ": TIFFReadEncodedTile failed", y);
            return false;
        }
        if (!qs_stop_check(error) || !wsi_export_read(job, y, n, meant, error))
            return false;
        if (memcmp(have, meant, w * (size_t)n) != 0)
            for (size_t i = 0; i < w * (size_t)n; i++)
                *n_different += have[i] != meant[i];
    }
    return true;
}

bool wsi_tiff_compare(const wsi_export_job *job, const char *path, int64_t *n_different,
                      GError **error)
{
    g_autoptr(GString) message = g_string_new(NULL);
    TIFF *tiff = open_tiff(path, message, error);
    if (!tiff)
        return false;
    wsi_tiff_dir dir;
    look_at(tiff, &dir);
    *n_different = 0;
    bool ok = true;
    if (dir.w != job->labels.w || dir.h != job->labels.h || dir.tile_w < 1 || dir.bits != 8 ||
        dir.samples != 1)
        *n_different =
            job->labels.w * job->labels.h; /* nothing of it is right; the tags' findings say why */
    else
        ok = compare_bands(job, tiff, &dir, n_different, error);
    TIFFClose(tiff);
    if (!ok)
        g_prefix_error(error, "%s: ", path);
    return ok;
}
