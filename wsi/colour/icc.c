/* See icc_priv.h. The file that includes lcms2.h. OpenSlide 3.4 hands out no profiles, so they are
 * read here: from the TIFF's tag 34675 of the first directory, which is where scanners put them,
 * and from JPEG and PNG by libvips. */
#include "wsi/colour/icc.h"

#include "base/error.h"
#include "wsi/image/raster.h"
#include "wsi/tiff/probe.h"

#include <lcms2.h>

struct wsi_icc {
    cmsHTRANSFORM transform;
    char name[128];
};

static bool read_profile(const char *path, GBytes **profile, GError **error)
{
    wsi_file_type type;
    int64_t n_bytes;
    *profile = NULL;
    if (!wsi_sniff(path, &type, &n_bytes, error))
        return false;
    if (type == WSI_FILE_TIFF) {
        *profile = wsi_tiff_icc(path);
    } else if (type == WSI_FILE_JPEG || type == WSI_FILE_PNG) {
        wsi_raster *raster = wsi_raster_open(path, type, error);
        if (!raster)
            return false;
        *profile = wsi_raster_icc(raster);
        wsi_raster_close(raster);
    }
    return true;
}

static bool fail(const char *path, const char *what, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: its ICC profile %s; leave --icc out to take its colours as they are", path,
                what);
    return false;
}

static bool make_transform(wsi_icc *icc, const char *path, GBytes *bytes, GError **error)
{
    gsize n;
    const void *data = g_bytes_get_data(bytes, &n);
    cmsHPROFILE from = cmsOpenProfileFromMem(data, (cmsUInt32Number)n);
    if (!from)
        return fail(path, "is damaged", error);
    bool ok = true;
    if (cmsGetColorSpace(from) != cmsSigRgbData) {
        ok = fail(path, "is not of RGB colours", error);
    } else {
        cmsHPROFILE to = cmsCreate_sRGBProfile();
        if (cmsGetProfileInfoASCII(from, cmsInfoDescription, "en", "US", icc->name,
                                   sizeof icc->name) == 0)
            g_strlcpy(icc->name, "unnamed", sizeof icc->name);
        /* Without the cache of the last pixel a transform may be used by several threads. */
        icc->transform =
            to ? cmsCreateTransform(from, TYPE_RGB_8, to, TYPE_RGB_8,
                                    cmsGetHeaderRenderingIntent(from), cmsFLAGS_NOCACHE)
               : NULL;
        if (to)
            cmsCloseProfile(to);
        ok = icc->transform || fail(path, "cannot be turned into sRGB", error);
    }
    cmsCloseProfile(from);
    return ok;
}

bool wsi_icc_open(const char *path, wsi_icc **icc, GError **error)
{
    GBytes *bytes = NULL;
    *icc = NULL;
    if (!read_profile(path, &bytes, error))
        return false;
    if (!bytes)
        return true;
    *icc = g_new0(wsi_icc, 1);
    bool ok = make_transform(*icc, path, bytes, error);
    g_bytes_unref(bytes);
    if (!ok)
        g_clear_pointer(icc, wsi_icc_close);
    return ok;
}

void wsi_icc_close(wsi_icc *icc)
{
    if (!icc)
        return;
    if (icc->transform)
        cmsDeleteTransform(icc->transform);
    g_free(icc);
}

const char *wsi_icc_name(const wsi_icc *icc)
{
    return icc->name;
}

void wsi_icc_apply(const wsi_icc *icc, uint8_t *rgb, size_t row_bytes, int w, int h)
{
    for (int y = 0; y < h; y++) {
        uint8_t *row = rgb + (size_t)y * row_bytes;
        cmsDoTransform(icc->transform, row, row, (cmsUInt32Number)w);
    }
}
