/* See picture.h. The file that includes vips.h for writing. */
#include "wsi/picture.h"

#include "base/error.h"
#include "base/file.h"
#include "wsi/raster.h"

#include <vips/vips.h>

bool wsi_picture_encode(const uint8_t *rgb, int w, int h, int quality, uint8_t **bytes,
                        size_t *n_bytes, GError **error)
{
    if (w < 1 || h < 1 || quality < 0 || quality > 100) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "a picture of %d x %d at quality %d cannot be made", w, h, quality);
        return false;
    }
    if (!wsi_vips_init(error))
        return false;
    void *out = NULL;
    int rc = -1;
    VipsImage *image =
        vips_image_new_from_memory(rgb, (size_t)w * (size_t)h * 3, w, h, 3, VIPS_FORMAT_UCHAR);
    if (image) {
        image->Type = VIPS_INTERPRETATION_sRGB;
        rc = quality ? vips_jpegsave_buffer(image, &out, n_bytes, "Q", quality, "strip", TRUE, NULL)
                     : vips_pngsave_buffer(image, &out, n_bytes, "strip", TRUE, NULL);
        g_object_unref(image);
    }
    if (rc != 0) {
        g_autofree char *text = vips_error_buffer_copy();
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "encoding a picture of %d x %d: %s", w, h,
                    g_strchomp(text));
        return false;
    }
    *bytes = out; /* libvips allocates with g_malloc */
    return true;
}

bool wsi_picture_write_png(const char *path, const uint8_t *rgb, int w, int h, GError **error)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    if (!wsi_picture_encode(rgb, w, h, 0, &bytes, &n, error))
        return false;
    bool ok = qs_file_replace(path, bytes, n, error);
    g_free(bytes);
    return ok;
}
