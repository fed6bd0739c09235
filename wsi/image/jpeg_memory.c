/* See jpeg_memory.h. libjpeg's own memory destination grows its buffer by doubling; it is malloc'ed
 * and handed on with free, so nothing is copied. */
#include "wsi/image/jpeg_memory.h"

#include "base/error.h"
#include "wsi/image/jpeg_errors.h"

#include <stdlib.h>

typedef struct {
    struct jpeg_compress_struct jpeg;
    wsi_jpeg_errors errors;
    unsigned char *bytes;
    unsigned long n;
} encoder;

static bool encode(encoder *e, const uint8_t *rgb, size_t row_bytes, int w, int h, int quality)
{
    if (setjmp(e->errors.escape))
        return false;
    jpeg_create_compress(&e->jpeg);
    jpeg_mem_dest(&e->jpeg, &e->bytes, &e->n);
    e->jpeg.image_width = (JDIMENSION)w;
    e->jpeg.image_height = (JDIMENSION)h;
    e->jpeg.input_components = 3;
    e->jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&e->jpeg);
    jpeg_set_quality(&e->jpeg, quality, TRUE);
    e->jpeg.dct_method = JDCT_ISLOW;
    jpeg_start_compress(&e->jpeg, TRUE);
    for (int y = 0; y < h; y++) {
        /* libjpeg's rows are not const; it does not write to them. */
        JSAMPROW row = (JSAMPROW)(guintptr)(rgb + (size_t)y * row_bytes);
        jpeg_write_scanlines(&e->jpeg, &row, 1);
    }
    jpeg_finish_compress(&e->jpeg);
    return true;
}

GBytes *wsi_jpeg_encode(const uint8_t *rgb, size_t row_bytes, int w, int h, int quality,
                        GError **error)
{
    g_autofree encoder *e = g_new0(encoder, 1);
    e->jpeg.err = wsi_jpeg_errors_init(&e->errors);
    bool ok = encode(e, rgb, row_bytes, w, h, quality);
    jpeg_destroy_compress(&e->jpeg);
    if (ok)
        return g_bytes_new_with_free_func(e->bytes, e->n, free, e->bytes);
    free(e->bytes);
    g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "a JPEG of %d x %d pixels: libjpeg: %s", w, h,
                e->errors.message);
    return NULL;
}
