#include "wsi/image/raster.h"

#include "base/error.h"
#include "base/report.h"
#include "wsi/tiff/probe.h"

#include <vips/vips.h>

#include <string.h>

static const int64_t DECODER_BYTES_MAX = (int64_t)4 << 30;

struct wsi_raster {
    char *path;
    VipsImage *image;
    VipsRegion *region;
    wsi_raster_info info;
};

static void on_vips_log(const gchar *domain, GLogLevelFlags level, const gchar *text, gpointer user)
{
    (void)domain, (void)level, (void)user;
    qs_debug("libvips: %s", text);
}

static gpointer start_vips(gpointer user)
{
    (void)user;
    g_log_set_handler("VIPS", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_INFO | G_LOG_LEVEL_DEBUG,
                      on_vips_log, NULL);
    wsi_tiff_silence();
    if (VIPS_INIT("quadslide") != 0)
        return NULL;
    wsi_tiff_silence(); /* libvips has set a handler that logs warnings; its one for errors is kept
                         */
    vips_block_untrusted_set(TRUE);
    vips_concurrency_set(1); /* our own threads read different slides or patches already */
    vips_cache_set_max(0);
    return GINT_TO_POINTER(1);
}

bool wsi_vips_init(GError **error)
{
    static GOnce once = G_ONCE_INIT;
    if (g_once(&once, start_vips, NULL))
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "vips_init failed: %s", vips_error_buffer());
    return false;
}

/* libvips keeps one error text for all threads; it is taken and emptied here. */
static bool vips_fail(const char *path, const char *what, GError **error)
{
    g_autofree char *text = vips_error_buffer_copy();
    g_strchomp(text);
    g_strdelimit(text, "\n", ';');
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: %s: %s", path, what,
                *text ? text : "libvips");
    return false;
}

static VipsImage *load(const char *path, wsi_file_type type, GError **error)
{
    VipsImage *image = NULL;
    int rc = -1;
    vips_error_clear(); /* what damaged slides may have left there through libtiff's handler */
    if (type == WSI_FILE_JPEG)
        /* libjpeg only warns of destroyed data and goes on with grey: that must not pass as a
         * picture. */
        rc = vips_jpegload(path, &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                           VIPS_FAIL_ON_WARNING, NULL);
    else if (type == WSI_FILE_PNG)
        rc = vips_pngload(path, &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                          VIPS_FAIL_ON_ERROR, NULL);
    else
        rc = vips_tiffload(path, &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                           VIPS_FAIL_ON_ERROR, NULL);
    if (rc != 0)
        vips_fail(path, "damaged or unreadable image", error);
    return rc == 0 ? image : NULL;
}

static bool refuse(const char *path, const char *what, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "%s: %s; convert it to 8-bit RGB", path,
                what);
    return false;
}

/* 8-bit grey, RGB, with or without alpha, and nothing else. */
static bool check_pixels(const char *path, VipsImage *image, GError **error)
{
    VipsBandFormat format = vips_image_get_format(image);
    VipsInterpretation colours = vips_image_guess_interpretation(image);
    int n_bands = vips_image_get_bands(image);
    if (format == VIPS_FORMAT_USHORT || format == VIPS_FORMAT_SHORT)
        return refuse(path, "has 16-bit samples", error);
    if (format != VIPS_FORMAT_UCHAR)
        return refuse(path, "has samples that are not 8-bit", error);
    if (colours == VIPS_INTERPRETATION_CMYK)
        return refuse(path, "is CMYK", error);
    if (colours == VIPS_INTERPRETATION_LAB || colours == VIPS_INTERPRETATION_LABQ)
        return refuse(path, "is in Lab colours", error);
    if (n_bands < 1 || n_bands > 4)
        return refuse(path, "has more than four channels", error);
    return true;
}

static void read_header(wsi_raster *raster)
{
    VipsImage *image = raster->image;
    wsi_raster_info *info = &raster->info;
    info->w = vips_image_get_width(image);
    info->h = vips_image_get_height(image);
    info->n_bands = vips_image_get_bands(image);
    info->n_pages = vips_image_get_n_pages(image);
    info->rotated = vips_image_get_orientation(image) > 1;
    int interlaced = 0;
    if (vips_image_get_typeof(image, "interlaced"))
        vips_image_get_int(image, "interlaced", &interlaced);
    if (interlaced)
        info->decoder_bytes = info->w * info->h * info->n_bands;
}

/* Before libvips starts on a progressive JPEG: its coefficients are all held at once. */
static bool check_progressive(wsi_raster *raster, GError **error)
{
    wsi_jpeg_header header;
    if (!wsi_jpeg_header_read(raster->path, &header, error))
        return false;
    if (header.bits != 8) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: JPEG with %d bits a sample; convert it "
                    "to 8-bit",
                    raster->path, header.bits);
        return false;
    }
    if (!header.progressive)
        return true;
    raster->info.decoder_bytes = header.coefficient_bytes;
    if (header.coefficient_bytes > DECODER_BYTES_MAX) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: progressive JPEG of %d x %d pixels needs %" G_GINT64_FORMAT
                    " MiB at once to decode; convert it to baseline (jpegtran) or to TIFF",
                    raster->path, header.w, header.h, header.coefficient_bytes >> 20);
        return false;
    }
    return true;
}

wsi_raster *wsi_raster_open(const char *path, wsi_file_type type, GError **error)
{
    if (!wsi_vips_init(error))
        return NULL;
    wsi_raster *raster = g_new0(wsi_raster, 1);
    raster->path = g_strdup(path);
    raster->info.format = type == WSI_FILE_JPEG ? "jpeg" : type == WSI_FILE_PNG ? "png" : "tiff";
    if (type == WSI_FILE_JPEG && !check_progressive(raster, error))
        goto fail;
    int64_t decoder_bytes = raster->info.decoder_bytes;
    raster->image = load(path, type, error);
    if (!raster->image || !check_pixels(path, raster->image, error))
        goto fail;
    read_header(raster);
    raster->info.decoder_bytes = MAX(decoder_bytes, raster->info.decoder_bytes);
    raster->region = vips_region_new(raster->image);
    return raster;
fail:
    wsi_raster_close(raster);
    return NULL;
}

void wsi_raster_close(wsi_raster *raster)
{
    if (!raster)
        return;
    if (raster->region)
        g_object_unref(raster->region);
    if (raster->image)
        g_object_unref(raster->image);
    g_free(raster->path);
    g_free(raster);
}

const wsi_raster_info *wsi_raster_get_info(const wsi_raster *raster)
{
    return &raster->info;
}

bool wsi_raster_read_rows(wsi_raster *raster, int64_t y, int n, uint8_t *dst, GError **error)
{
    VipsRect rect = {0, (int)y, (int)raster->info.w, n};
    if (vips_region_prepare(raster->region, &rect) != 0)
        return vips_fail(raster->path, "damaged image (if it looks right, save it anew)", error);
    size_t row_bytes = (size_t)raster->info.w * (size_t)raster->info.n_bands;
    for (int r = 0; r < n; r++)
        memcpy(dst + (size_t)r * row_bytes, VIPS_REGION_ADDR(raster->region, 0, (int)y + r),
               row_bytes);
    return true;
}

GBytes *wsi_raster_icc(const wsi_raster *raster)
{
    const void *data = NULL;
    size_t n = 0;
    if (vips_image_get_typeof(raster->image, VIPS_META_ICC_NAME) == 0 ||
        vips_image_get_blob(raster->image, VIPS_META_ICC_NAME, &data, &n) != 0 || n == 0)
        return NULL;
    return g_bytes_new(data, n);
}
