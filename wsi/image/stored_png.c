/* Stored values of a PNG through libpng, the only file that includes it: palette indices and
 * samples of 1, 2 and 4 bits as they are. Row by row; an interlaced file is decoded whole, since
 * its rows come in seven turns. */
#include "wsi/image/stored_priv.h"

#include "base/error.h"

#include <png.h>

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 160 };
/* An interlaced mask is held whole. */
static const int64_t INTERLACED_BYTES_MAX = (int64_t)4 << 30;

typedef struct {
    char *path;
    FILE *file;
    png_structp png;
    png_infop info;
    int64_t w, h, next; /* next: the row that libpng gives next */
    size_t row_bytes;
    uint8_t *whole; /* (h,row_bytes) of an interlaced file */
    char message[MESSAGE_BYTES];
    jmp_buf jump;
} png_data;

static void on_error(png_structp png, png_const_charp text)
{
    png_data *d = png_get_error_ptr(png);
    g_strlcpy(d->message, text, sizeof d->message);
    longjmp(d->jump, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

static void png_close(void *data)
{
    png_data *d = data;
    if (d->png)
        png_destroy_read_struct(&d->png, &d->info, NULL);
    if (d->file)
        fclose(d->file);
    g_free(d->whole);
    g_free(d->path);
    g_free(d);
}

static bool fail(png_data *d, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: damaged or unreadable PNG: %s", d->path,
                d->message);
    return false;
}

/* Everything that may jump; false with the message set. */
static bool begin(png_data *d, wsi_stored_source *source)
{
    if (setjmp(d->jump))
        return false;
    png_init_io(d->png, d->file);
    png_read_info(d->png, d->info);
    png_set_packing(d->png); /* 1, 2 and 4 bits: a byte each, not scaled */
    bool interlaced = png_get_interlace_type(d->png, d->info) != PNG_INTERLACE_NONE;
    if (interlaced)
        png_set_interlace_handling(d->png);
    png_read_update_info(d->png, d->info);
    d->w = png_get_image_width(d->png, d->info);
    d->h = png_get_image_height(d->png, d->info);
    d->row_bytes = png_get_rowbytes(d->png, d->info);
    if (interlaced) {
        if ((int64_t)d->row_bytes * d->h > INTERLACED_BYTES_MAX)
            png_error(d->png,
                      "interlaced, and too large to be held at once; save it without interlacing");
        d->whole = g_try_malloc((size_t)d->h * d->row_bytes);
        if (!d->whole)
            png_error(d->png, "no memory for an interlaced picture");
        g_autofree png_bytep *rows = g_new(png_bytep, (size_t)d->h);
        for (int64_t y = 0; y < d->h; y++)
            rows[y] = d->whole + (size_t)y * d->row_bytes;
        png_read_image(d->png, rows);
    }
    *source = (wsi_stored_source){
        .data = d, .w = d->w, .h = d->h, .n_bands = png_get_channels(d->png, d->info)};
    return true;
}

static bool read_row(png_data *d, uint8_t *dst)
{
    if (setjmp(d->jump))
        return false;
    png_read_row(d->png, dst, NULL);
    d->next++;
    return true;
}

/* The last rows say whether the file is whole: its end is read too. */
static bool read_end(png_data *d)
{
    if (setjmp(d->jump))
        return false;
    png_read_end(d->png, NULL);
    return true;
}

static bool png_read(void *data, int64_t y, int n, uint8_t *dst, GError **error)
{
    png_data *d = data;
    if (d->whole) {
        memcpy(dst, d->whole + (size_t)y * d->row_bytes, (size_t)n * d->row_bytes);
        return true;
    }
    g_autofree uint8_t *skipped = d->next < y ? g_malloc(d->row_bytes) : NULL;
    while (d->next < y)
        if (!read_row(d, skipped))
            return fail(d, error);
    for (int r = 0; r < n; r++)
        if (!read_row(d, dst + (size_t)r * d->row_bytes))
            return fail(d, error);
    return d->next < d->h || read_end(d) || fail(d, error);
}

bool wsi_stored_png_open(wsi_stored_source *source, const char *path, GError **error)
{
    png_data *d = g_new0(png_data, 1);
    d->path = g_strdup(path);
    d->file = fopen(path, "rbe");
    if (!d->file) {
        qs_set_error_errno(error, errno, "%s: cannot be opened", path);
        png_close(d);
        return false;
    }
    d->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, d, on_error, on_warning);
    d->info = d->png ? png_create_info_struct(d->png) : NULL;
    bool ok = d->info != NULL && begin(d, source);
    if (!ok)
        fail(d, error);
    else if (png_get_bit_depth(d->png, d->info) > 8) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: has 16-bit samples; a mask has samples of at most 8 bits, save it so",
                    path);
        ok = false;
    }
    if (!ok) {
        png_close(d);
        return false;
    }
    source->read = png_read;
    source->close = png_close;
    return true;
}
