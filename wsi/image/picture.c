/* See picture.h. The file that includes vips.h for writing. */
#include "wsi/image/picture.h"

#include "base/error.h"
#include "base/file.h"
#include "wsi/image/raster.h"

#include <vips/vips.h>

#include <string.h>

/* Puts n bytes into an encoded picture. */
static void insert(uint8_t **bytes, size_t *n_bytes, size_t at, const uint8_t *add, size_t n)
{
    uint8_t *longer = g_malloc(*n_bytes + n);
    memcpy(longer, *bytes, at);
    memcpy(longer + at, add, n);
    memcpy(longer + at + n, *bytes + at, *n_bytes - at);
    g_free(*bytes);
    *bytes = longer;
    *n_bytes += n;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* CRC-32 of PNG chunks (ISO 3309), bit by bit: some forty bytes. */
static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
    }
    return ~c;
}

/* A comment right behind a JPEG's first marker, or a tEXt chunk behind a PNG's header. */
static void add_mark(bool jpeg, uint8_t **bytes, size_t *n_bytes)
{
    static const char key[] = "tEXtSoftware"; /* its NUL separates key and text */
    enum { PNG_HEADER = 8 + 25, CHUNK = 4 + sizeof key + sizeof QS_FILE_MARK - 1 + 4 };
    const size_t n_text = strlen(QS_FILE_MARK);
    uint8_t add[CHUNK];
    if (jpeg) {
        const uint8_t com[4] = {0xff, 0xfe, (uint8_t)((n_text + 2) >> 8), (uint8_t)(n_text + 2)};
        memcpy(add, com, 4);
        memcpy(add + 4, QS_FILE_MARK, n_text);
        insert(bytes, n_bytes, 2, add, 4 + n_text);
        return;
    }
    put_u32(add, (uint32_t)(CHUNK - 12));
    memcpy(add + 4, key, sizeof key);
    memcpy(add + 4 + sizeof key, QS_FILE_MARK, n_text);
    put_u32(add + CHUNK - 4, crc32_of(add + 4, CHUNK - 8));
    insert(bytes, n_bytes, PNG_HEADER, add, CHUNK);
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
    add_mark(quality > 0, bytes, n_bytes);
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
