/* See jpeg_tile_priv.h. libjpeg reports fatal errors by a callback that must not return, so calls
 * stand behind one setjmp in decode(), which has no locals that change after it. */
#include "wsi/lane/jpeg_priv.h"

#include "base/error.h"
#include "wsi/image/jpeg_errors.h"

#include <string.h>

enum { ROWS = 16 }; /* row pointers given at a time: one row of blocks with 4:2:0 */

struct wsi_jpeg_decoder {
    struct jpeg_decompress_struct jpeg;
    wsi_jpeg_errors errors;
};

wsi_jpeg_decoder *wsi_jpeg_decoder_create(void)
{
    wsi_jpeg_decoder *d = g_new0(wsi_jpeg_decoder, 1);
    d->jpeg.err = wsi_jpeg_errors_init(&d->errors);
    if (setjmp(d->errors.escape)) {
        g_free(d);
        return NULL;
    }
    jpeg_create_decompress(&d->jpeg);
    return d;
}

void wsi_jpeg_decoder_destroy(wsi_jpeg_decoder *d)
{
    if (!d)
        return;
    if (!setjmp(d->errors.escape))
        jpeg_destroy_decompress(&d->jpeg);
    g_free(d);
}

/* False when the picture has another size than w × h; everything else jumps out. */
static bool start(wsi_jpeg_decoder *d, const wsi_jpeg_bits *bits, int w, int h, int scale)
{
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    if (bits->tables) {
        jpeg_mem_src(jpeg, bits->tables, bits->n_tables);
        jpeg_read_header(jpeg, FALSE);
    }
    jpeg_mem_src(jpeg, bits->data, bits->n);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->image_width != (JDIMENSION)w || jpeg->image_height != (JDIMENSION)h ||
        jpeg->num_components != 3) {
        g_snprintf(d->errors.message, sizeof d->errors.message,
                   "a JPEG of %u x %u pixels, %d components, where %d x %d with 3 belong",
                   jpeg->image_width, jpeg->image_height, jpeg->num_components, w, h);
        return false;
    }
    jpeg->jpeg_color_space = bits->ycbcr ? JCS_YCbCr : JCS_RGB;
    jpeg->out_color_space = JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = (unsigned)scale;
    jpeg_start_decompress(jpeg);
    return true;
}

static bool decode(wsi_jpeg_decoder *d, const wsi_jpeg_bits *bits, int w, int h, int scale,
                   uint8_t *rgb, size_t row_bytes)
{
    if (setjmp(d->errors.escape))
        return false;
    if (!start(d, bits, w, h, scale))
        return false;
    while (d->jpeg.output_scanline < d->jpeg.output_height) {
        JSAMPROW rows[ROWS];
        JDIMENSION at = d->jpeg.output_scanline, n = MIN(ROWS, d->jpeg.output_height - at);
        for (JDIMENSION i = 0; i < n; i++)
            rows[i] = rgb + (size_t)(at + i) * row_bytes;
        jpeg_read_scanlines(&d->jpeg, rows, n);
    }
    jpeg_finish_decompress(&d->jpeg);
    return !d->errors.damaged;
}

bool wsi_jpeg_decode(wsi_jpeg_decoder *d, const wsi_jpeg_bits *bits, int w, int h, int scale,
                     uint8_t *rgb, size_t row_bytes, GError **error)
{
    wsi_jpeg_errors_clear(&d->errors);
    if (decode(d, bits, w, h, scale, rgb, row_bytes))
        return true;
    if (!setjmp(d->errors.escape))
        jpeg_abort_decompress(&d->jpeg);
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "JPEG: %s", d->errors.message);
    return false;
}

/* ---- splicing ---- */
enum { SOI = 0xd8, EOI = 0xd9, SOS = 0xda, COM = 0xfe, APP0 = 0xe0, APP15 = 0xef };

size_t wsi_jpeg_splice_bound(const wsi_jpeg_bits *bits)
{
    return bits->n + bits->n_tables + 32;
}

/* Copies the segments of src up to (not with) the first SOS or EOI, without application data and
 * comments. Returns where it stopped, 0 when the segments cannot be followed. */
static size_t copy_segments(const uint8_t *src, size_t n, uint8_t **dst)
{
    size_t at = 2;
    if (n < 4 || src[0] != 0xff || src[1] != SOI)
        return 0;
    while (at + 4 <= n && src[at] == 0xff) {
        uint8_t marker = src[at + 1];
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        if (marker == SOS || marker == EOI)
            return at;
        size_t length = (size_t)src[at + 2] << 8 | src[at + 3];
        if (length < 2 || at + 2 + length > n)
            return 0;
        if (marker != COM && !(marker >= APP0 && marker <= APP15)) {
            memcpy(*dst, src + at, length + 2);
            *dst += length + 2;
        }
        at += length + 2;
    }
    return at + 2 <= n && src[at] == 0xff && src[at + 1] == EOI ? at : 0;
}

size_t wsi_jpeg_splice(const wsi_jpeg_bits *bits, uint8_t *dst, GError **error)
{
    static const uint8_t head[] = {0xff, SOI, 0xff, 0xee, 0, 14, 'A', 'd', 'o',
                                   'b',  'e', 0,    100,  0, 0,  0,   0};
    uint8_t *at = dst;
    memcpy(at, head, sizeof head);
    at += sizeof head;
    *at++ = bits->ycbcr; /* the transform: 0 none, 1 YCbCr */
    size_t tables_end = bits->tables ? copy_segments(bits->tables, bits->n_tables, &at) : 1;
    size_t scan = copy_segments(bits->data, bits->n, &at);
    if (tables_end == 0 || scan == 0 || bits->data[scan + 1] != SOS) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_FORMAT,
                            "JPEG: the headers of the stream cannot be followed");
        return 0;
    }
    memcpy(at, bits->data + scan, bits->n - scan);
    at += bits->n - scan;
    if (at[-2] != 0xff || at[-1] != EOI) {
        *at++ = 0xff;
        *at++ = EOI;
    }
    return (size_t)(at - dst);
}
