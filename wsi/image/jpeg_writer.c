/* libjpeg reports fatal errors by a callback that must not return, so every call into it stands
 * behind a setjmp of its own; what happened is kept in `message`. */
#include "wsi/image/jpeg_writer.h"

#include "base/error.h"
#include "base/file.h"

#include <setjmp.h>
#include <stdio.h>
#include <unistd.h>

#include <jpeglib.h>

enum { BUFFER_BYTES = 1 << 16 };

struct wsi_jpegw {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr out;
    jmp_buf escape;
    GError *failure;
    char *path, *part;
    qs_file *file;
    int64_t bytes;
    uint8_t buffer[BUFFER_BYTES];
};

static void on_fatal(j_common_ptr common)
{
    wsi_jpegw *w = common->client_data;
    char text[JMSG_LENGTH_MAX];
    common->err->format_message(common, text);
    if (!w->failure)
        w->failure = g_error_new(QS_ERROR, QS_ERROR_INTERNAL, "%s: libjpeg: %s", w->path, text);
    longjmp(w->escape, 1);
}

static void on_message(j_common_ptr common)
{
    (void)common; /* warnings of a compressor concern nobody */
}

static void out_init(j_compress_ptr jpeg)
{
    wsi_jpegw *w = jpeg->client_data;
    w->out.next_output_byte = w->buffer;
    w->out.free_in_buffer = BUFFER_BYTES;
}

static void put(wsi_jpegw *w, size_t n)
{
    if (!qs_file_write_at(w->file, w->bytes, w->buffer, n, &w->failure))
        longjmp(w->escape, 1);
    w->bytes += (int64_t)n;
}

static boolean out_flush(j_compress_ptr jpeg)
{
    put(jpeg->client_data, BUFFER_BYTES);
    out_init(jpeg);
    return TRUE;
}

static void out_end(j_compress_ptr jpeg)
{
    wsi_jpegw *w = jpeg->client_data;
    put(w, BUFFER_BYTES - w->out.free_in_buffer);
}

static bool start(wsi_jpegw *w, int64_t width, int64_t height, int samples, int quality)
{
    w->jpeg.err = jpeg_std_error(&w->errors);
    w->errors.error_exit = on_fatal;
    w->errors.output_message = on_message;
    w->jpeg.client_data = w;
    if (setjmp(w->escape))
        return false;
    jpeg_create_compress(&w->jpeg);
    w->out = (struct jpeg_destination_mgr){.init_destination = out_init,
                                           .empty_output_buffer = out_flush,
                                           .term_destination = out_end};
    w->jpeg.dest = &w->out;
    w->jpeg.image_width = (JDIMENSION)width;
    w->jpeg.image_height = (JDIMENSION)height;
    w->jpeg.input_components = samples;
    w->jpeg.in_color_space = samples == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&w->jpeg);
    jpeg_set_quality(&w->jpeg, quality, TRUE);
    jpeg_start_compress(&w->jpeg, TRUE);
    return true;
}

wsi_jpegw *wsi_jpegw_open(const char *path, int64_t width, int64_t height, int samples, int quality,
                          GError **error)
{
    if (width < 1 || height < 1 || width > JPEG_MAX_DIMENSION || height > JPEG_MAX_DIMENSION) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                    " pixels; a JPEG has 1 to %ld a side",
                    path, width, height, (long)JPEG_MAX_DIMENSION);
        return NULL;
    }
    wsi_jpegw *w = g_new0(wsi_jpegw, 1);
    w->path = g_strdup(path);
    w->part = qs_file_part_name(path);
    w->file = qs_file_open(w->part, QS_FILE_NEW, error);
    bool ok = w->file && start(w, width, height, samples, quality);
    if (ok)
        return w;
    if (w->failure)
        g_propagate_error(error, g_steal_pointer(&w->failure));
    wsi_jpegw_abort(w);
    return NULL;
}

bool wsi_jpegw_write_rows(wsi_jpegw *w, const uint8_t *rows, size_t row_bytes, int64_t n_rows,
                          GError **error)
{
    if (!w->failure && !setjmp(w->escape)) {
        for (int64_t y = 0; y < n_rows; y++) {
            /* libjpeg's row type is not const but the compressor only reads. */
            union {
                const uint8_t *in;
                JSAMPROW row;
            } at = {.in = rows + (size_t)y * row_bytes};
            jpeg_write_scanlines(&w->jpeg, &at.row, 1);
        }
        return true;
    }
    g_propagate_error(error, g_error_copy(w->failure));
    return false;
}

static bool end(wsi_jpegw *w)
{
    if (w->failure || setjmp(w->escape))
        return false;
    jpeg_finish_compress(&w->jpeg);
    return true;
}

bool wsi_jpegw_finish(wsi_jpegw *w, GError **error)
{
    bool ok = end(w);
    if (!ok)
        g_propagate_error(error, g_steal_pointer(&w->failure));
    ok = ok && qs_file_sync(w->file, error);
    ok = qs_file_close(g_steal_pointer(&w->file), ok ? error : NULL) && ok;
    ok = ok && qs_file_rename(w->part, w->path, error);
    wsi_jpegw_abort(w);
    return ok;
}

void wsi_jpegw_abort(wsi_jpegw *w)
{
    if (!w)
        return;
    jpeg_destroy_compress(&w->jpeg);
    qs_file_close(w->file, NULL);
    unlink(w->part); /* gone already when it was renamed */
    g_clear_error(&w->failure);
    g_free(w->path);
    g_free(w->part);
    g_free(w);
}
