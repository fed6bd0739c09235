/* See picture.h. The file that includes vips.h for writing. */
#include "wsi/image/picture.h"

#include "base/error.h"
#include "base/file.h"
#include "wsi/image/raster.h"

#include <vips/vips.h>

#include <string.h>

/* A comment right behind the first marker (SOI). */
static void mark_jpeg(uint8_t **bytes, size_t *n)
{
    const size_t text = strlen(QS_FILE_MARK), add = text + 4;
    uint8_t *marked = g_malloc(*n + add);
    memcpy(marked, *bytes, 2);
    marked[2] = 0xff, marked[3] = 0xfe; /* COM */
    marked[4] = (uint8_t)((text + 2) >> 8), marked[5] = (uint8_t)(text + 2);
    memcpy(marked + 6, QS_FILE_MARK, text);
    memcpy(marked + 2 + add, *bytes + 2, *n - 2);
    g_free(*bytes);
    *bytes = marked;
    *n += add;
}

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
        vips_image_set_string(image, "png-comment-0-Software", QS_FILE_MARK);
        rc = quality ? vips_jpegsave_buffer(image, &out, n_bytes, "Q", quality, "strip", TRUE, NULL)
                     : vips_pngsave_buffer(image, &out, n_bytes, "strip", FALSE, NULL);
        g_object_unref(image);
    }
    if (rc != 0) {
        g_autofree char *text = vips_error_buffer_copy();
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "encoding a picture of %d x %d: %s", w, h,
                    g_strchomp(text));
        return false;
    }
    *bytes = out; /* libvips allocates with g_malloc */
    if (quality)
        mark_jpeg(bytes, n_bytes);
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

static VipsImage *render(const char *text, int px)
{
    g_autofree char *font = g_strdup_printf("sans %d", px);
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    g_autofree char *markup = g_markup_escape_text(valid, -1);
    VipsImage *image = NULL;
    /* 72 dots per inch: a point is a pixel; a font's line is about 4/3 of its size. */
    if (vips_text(&image, markup, "font", font, "dpi", 54, NULL) != 0)
        return NULL;
    return image;
}

bool wsi_picture_text(const char *text, int px, uint8_t **cover, int *w, int *h, int *top,
                      GError **error)
{
    if (!wsi_vips_init(error))
        return false;
    VipsImage *image = render(*text ? text : " ", px);
    size_t n = 0;
    void *pixels = image ? vips_image_write_to_memory(image, &n) : NULL;
    if (!pixels || n != (size_t)image->Xsize * (size_t)image->Ysize) {
        g_autofree char *why = vips_error_buffer_copy();
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL,
                    "text cannot be drawn (is a font installed, as fonts-dejavu-core?): %s",
                    g_strchomp(why));
        g_free(pixels);
        g_clear_object(&image);
        return false;
    }
    *cover = pixels; /* libvips allocates with g_malloc */
    *w = image->Xsize;
    *h = image->Ysize;
    *top = image->Yoffset; /* libvips cuts to the ink and says where it was in the line */
    g_object_unref(image);
    return true;
}
