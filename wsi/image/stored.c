/* See stored.h: refusals by name, and pixels of several channels as one value. */
#include "wsi/image/stored_priv.h"

#include "base/error.h"
#include "wsi/image/raster.h"

enum { TIFF_JPEG = 7, TIFF_PALETTE = 3, TIFF_WHITE_IS_ZERO = 0 };

struct wsi_stored {
    char *path;
    wsi_stored_info info;
    wsi_stored_source source;
    int alpha;      /* of the first pixel, 0 or 1 after: -1 not yet known */
    uint8_t *strip; /* rows of several channels */
    size_t strip_bytes;
};

static bool refuse(const char *path, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static bool refuse(const char *path, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "%s: %s", path, what);
    return false;
}

/* Compressions that change values, beside JPEG: Aperio's JPEG 2000, old JPEG, JPEG XR, WebP,
 * JPEG XL, and JPEG 2000 and LERC, which may. */
static bool is_lossy(int compression)
{
    static const int lossy[] = {6, 33003, 33005, 34712, 34887, 22610, 34892, 50001, 50002};
    for (size_t i = 0; i < G_N_ELEMENTS(lossy); i++)
        if (lossy[i] == compression)
            return true;
    return false;
}

static bool check_tiff(const char *path, const wsi_tiff_facts *f, GError **error)
{
    if (f->is_float || f->bits > 8 || f->is_signed)
        return refuse(
            path, error,
            "has %d-bit %s samples; a mask has unsigned samples of at most 8 bits, save it so",
            f->bits,
            f->is_float    ? "floating-point"
            : f->is_signed ? "signed"
                           : "unsigned");
    if (is_lossy(f->compression))
        return refuse(
            path, error,
            "is compressed by %s, which may change class numbers; save the mask as PNG or "
            "as TIFF with LZW or deflate",
            f->compression_name);
    if (f->n_same > 1)
        return refuse(
            path, error,
            "has %d pages of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " pixels; a mask is one "
            "picture of class numbers: merge the pages (a class a page: page k where it is set becomes k)",
            f->n_same, f->w, f->h);
    if (f->photometric == TIFF_WHITE_IS_ZERO)
        return refuse(
            path, error,
            "is WhiteIsZero (Photometric 0), where 255 may be meant as black or as white; save the "
            "mask as BlackIsZero, 0 being background");
    if (f->n_extra > 0 && f->extra != 1 && f->extra != 2)
        return refuse(
            path, error,
            "has %d channels; a mask has one, of class numbers: merge them (channel k where it "
            "is set becomes k)",
            f->n_samples);
    if (f->bits != 8 && (f->n_samples != 1 || (f->bits != 1 && f->bits != 2 && f->bits != 4)))
        return refuse(path, error,
                      "has %d channels of %d bits; save the mask with one channel of 8 bits",
                      f->n_samples, f->bits);
    return true;
}

/* ---- through libvips ---- */
static bool raster_read(void *data, int64_t y, int n, uint8_t *dst, GError **error)
{
    return wsi_raster_read_rows(data, y, n, dst, error);
}

static void raster_close(void *data)
{
    wsi_raster_close(data);
}

static bool raster_open(wsi_stored_source *source, const char *path, wsi_file_type type,
                        GError **error)
{
    wsi_raster *raster = wsi_raster_open(path, type, error);
    if (!raster)
        return false;
    const wsi_raster_info *info = wsi_raster_get_info(raster);
    *source =
        (wsi_stored_source){raster, raster_read, raster_close, info->w, info->h, info->n_bands};
    return true;
}

static bool open_source(wsi_stored *s, wsi_file_type type, const wsi_tiff_facts *facts,
                        GError **error)
{
    if (type == WSI_FILE_PNG)
        return wsi_stored_png_open(&s->source, s->path, error);
    if (type != WSI_FILE_TIFF)
        return raster_open(&s->source, s->path, type, error);
    if (!check_tiff(s->path, facts, error))
        return false;
    bool own = facts->n_samples == 1 && (facts->bits < 8 || facts->photometric == TIFF_PALETTE);
    return own ? wsi_stored_tiff_open(&s->source, s->path, facts, error)
               : raster_open(&s->source, s->path, type, error);
}

wsi_stored *wsi_stored_open(const char *path, wsi_file_type type, const wsi_tiff_facts *facts,
                            GError **error)
{
    wsi_stored *s = g_new0(wsi_stored, 1);
    s->path = g_strdup(path);
    s->alpha = -1;
    if (!open_source(s, type, facts, error)) {
        wsi_stored_close(s);
        return NULL;
    }
    bool jpeg = type == WSI_FILE_JPEG || (type == WSI_FILE_TIFF && facts->compression == TIFF_JPEG);
    s->info = (wsi_stored_info){s->source.w, s->source.h, jpeg};
    return s;
}

void wsi_stored_close(wsi_stored *s)
{
    if (!s)
        return;
    if (s->source.close)
        s->source.close(s->source.data);
    g_free(s->strip);
    g_free(s->path);
    g_free(s);
}

const wsi_stored_info *wsi_stored_get_info(const wsi_stored *s)
{
    return &s->info;
}

/* ---- pixels of several channels ---- */
/* Transparency that is the same everywhere says nothing; else nobody knows what a pixel under it
 * is. */
static bool same_alpha(wsi_stored *s, int alpha, int64_t x, int64_t y, GError **error)
{
    if (s->alpha < 0)
        s->alpha = alpha;
    if (alpha == s->alpha)
        return true;
    g_set_error(
        error, QS_ERROR, QS_ERROR_FORMAT,
        "%s: its transparency differs from pixel to pixel (%d at 0,0, %d at %" G_GINT64_FORMAT
        ",%" G_GINT64_FORMAT "); save the mask without an alpha channel",
        s->path, s->alpha, alpha, x, y);
    return false;
}

static bool reduce(wsi_stored *s, const uint8_t *p, int64_t x, int64_t y, uint8_t *value,
                   GError **error)
{
    int n = s->source.n_bands;
    bool colour = n >= 3, lossy = s->info.lossy;
    *value = colour && lossy ? (uint8_t)((p[0] + p[1] + p[2]) / 3) : p[0];
    if (colour && !lossy && (p[0] != p[1] || p[1] != p[2])) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: a coloured mask (pixel %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT
                    " is %d,%d,%d); save it with one "
                    "channel of class numbers",
                    s->path, x, y, p[0], p[1], p[2]);
        return false;
    }
    return n == 1 || n == 3 || same_alpha(s, p[n - 1], x, y, error);
}

bool wsi_stored_read_rows(wsi_stored *s, int64_t y, int n, uint8_t *values, GError **error)
{
    const wsi_stored_source *source = &s->source;
    if (source->n_bands == 1)
        return source->read(source->data, y, n, values, error);
    size_t row_bytes = (size_t)source->w * (size_t)source->n_bands, bytes = row_bytes * (size_t)n;
    if (bytes > s->strip_bytes) {
        s->strip = g_realloc(s->strip, bytes);
        s->strip_bytes = bytes;
    }
    if (!source->read(source->data, y, n, s->strip, error))
        return false;
    for (int r = 0; r < n; r++)
        for (int64_t x = 0; x < source->w; x++)
            if (!reduce(s, s->strip + (size_t)r * row_bytes + (size_t)x * (size_t)source->n_bands,
                        x, y + r, &values[(size_t)r * (size_t)source->w + (size_t)x], error))
                return false;
    return true;
}
