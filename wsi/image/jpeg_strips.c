/* See jpeg_strips_priv.h. The window is a ring of rows: row y lies in slot y % n_slots, rows
 * top … next-1 are there, next is the row that libjpeg gives next. All under one lock: decoding is
 * one stream, and copying a patch out takes a hundredth of decoding it. */
#include "wsi/image/jpeg_strips.h"

#include "base/error.h"
#include "wsi/image/jpeg_errors.h"
#include "wsi/stages.h"

#include <errno.h>
#include <string.h>

enum {
    PASSES_MAX = 8, /* times that the picture may be decoded before the order is called wrong */
    ROWS_MIN = 16,
    ROWS_AT_ONCE = 16
};

struct wsi_jpeg_strips {
    char *path;
    FILE *file;
    int64_t w, h;
    GMutex lock; /* guards all that follows */
    struct jpeg_decompress_struct jpeg;
    wsi_jpeg_errors errors;
    bool started, given_up;
    uint8_t *ring; /* (n_slots,w,3), made at the first read */
    int64_t n_slots, top, next;
    int64_t n_decoded; /* rows in all */
    int64_t bad_row;   /* first row that cannot be had; h when all can, as far as is known */
    char *bad_text;
};

wsi_jpeg_strips *wsi_jpeg_strips_open(const char *path, int64_t w, int64_t h, size_t window_bytes,
                                      GError **error)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        qs_set_error_errno(error, errno, "%s: cannot be opened", path);
        return NULL;
    }
    wsi_jpeg_strips *s = g_new0(wsi_jpeg_strips, 1);
    s->path = g_strdup(path);
    s->file = file;
    s->w = w;
    s->h = s->bad_row = h;
    g_mutex_init(&s->lock);
    s->n_slots = CLAMP((int64_t)(window_bytes / ((size_t)w * 3)), MIN(ROWS_MIN, h), h);
    return s;
}

static void stop(wsi_jpeg_strips *s)
{
    if (s->started && !setjmp(s->errors.escape))
        jpeg_destroy_decompress(&s->jpeg);
    s->started = false;
}

void wsi_jpeg_strips_close(wsi_jpeg_strips *s)
{
    if (!s)
        return;
    stop(s);
    fclose(s->file);
    g_mutex_clear(&s->lock);
    g_free(s->ring);
    g_free(s->bad_text);
    g_free(s->path);
    g_free(s);
}

void wsi_jpeg_strips_give_up(wsi_jpeg_strips *s)
{
    g_mutex_lock(&s->lock);
    stop(s);
    g_clear_pointer(&s->ring, g_free);
    s->given_up = true;
    g_mutex_unlock(&s->lock);
}

/* False, with the reason in errors.message, when the stream cannot be followed from its head. */
static bool start(wsi_jpeg_strips *s)
{
    stop(s);
    s->top = s->next = 0;
    s->jpeg.err = wsi_jpeg_errors_init(&s->errors);
    if (setjmp(s->errors.escape))
        return false;
    jpeg_create_decompress(&s->jpeg);
    s->started = true;
    rewind(s->file);
    jpeg_stdio_src(&s->jpeg, s->file);
    jpeg_read_header(&s->jpeg, TRUE);
    if (s->jpeg.image_width != (JDIMENSION)s->w || s->jpeg.image_height != (JDIMENSION)s->h) {
        g_strlcpy(s->errors.message, "changed while it was open", sizeof s->errors.message);
        return false;
    }
    s->jpeg.out_color_space = JCS_RGB;
    jpeg_start_decompress(&s->jpeg);
    return true;
}

/* Decodes a few rows into the ring; older ones fall out of it. */
static bool advance(wsi_jpeg_strips *s)
{
    if (setjmp(s->errors.escape))
        return false;
    JSAMPROW rows[ROWS_AT_ONCE];
    int64_t n = MIN(MIN(ROWS_AT_ONCE, s->n_slots), s->h - s->next);
    for (int64_t i = 0; i < n; i++)
        rows[i] = s->ring + (size_t)((s->next + i) % s->n_slots) * (size_t)s->w * 3;
    s->top = MAX(s->top, s->next + n - s->n_slots); /* what is overwritten is gone */
    JDIMENSION got = jpeg_read_scanlines(&s->jpeg, rows, (JDIMENSION)n);
    if (s->errors.damaged || got == 0)
        return false;
    s->next += got;
    s->n_decoded += got;
    return true;
}

static void note_damage(wsi_jpeg_strips *s)
{
    s->bad_row = s->next;
    g_free(s->bad_text);
    s->bad_text = ferror(s->file)
                      ? g_strdup_printf("reading the file failed: %s", g_strerror(errno))
                      : g_strdup_printf("JPEG: %s", s->errors.message);
    clearerr(s->file);
    stop(s);
}

/* Brings row y into the ring, which is next or above it. */
static wsi_strips_outcome reach(wsi_jpeg_strips *s, int64_t y)
{
    if (y >= s->bad_row)
        return WSI_STRIPS_DAMAGED;
    if (y >= s->top && y < s->next)
        return WSI_STRIPS_READ;
    bool anew = !s->started || y < s->top;
    if (anew && s->n_decoded > PASSES_MAX * s->h)
        return WSI_STRIPS_OUT_OF_ORDER;
    if (anew && !start(s)) {
        note_damage(s);
        return WSI_STRIPS_DAMAGED;
    }
    while (s->next <= y)
        if (!advance(s)) {
            note_damage(s);
            return WSI_STRIPS_DAMAGED;
        }
    return WSI_STRIPS_READ;
}

wsi_strips_outcome wsi_jpeg_strips_read(wsi_jpeg_strips *s, int64_t x, int64_t y, int w, int h,
                                        uint8_t *rgb, size_t row_bytes, GError **error)
{
    wsi_strips_outcome outcome = WSI_STRIPS_READ;
    g_mutex_lock(&s->lock);
    if (s->given_up)
        outcome = WSI_STRIPS_OUT_OF_ORDER;
    else if (!s->ring)
        s->ring = g_malloc((size_t)s->n_slots * (size_t)s->w * 3);
    for (int row = 0; row < h && outcome == WSI_STRIPS_READ; row++) {
        if (y + row < s->top || y + row >= s->next) {
            int64_t then = wsi_stages_now();
            outcome = reach(s, y + row);
            wsi_stages_add(WSI_STAGE_DECODE, then);
        }
        if (outcome == WSI_STRIPS_READ)
            memcpy(rgb + (size_t)row * row_bytes,
                   s->ring + ((size_t)((y + row) % s->n_slots) * (size_t)s->w + (size_t)x) * 3,
                   (size_t)w * 3);
    }
    if (outcome == WSI_STRIPS_DAMAGED)
        g_set_error(
            error, QS_ERROR, QS_ERROR_FORMAT,
            "%s: damaged image (if it looks right, save it anew): from row %" G_GINT64_FORMAT
            " on: %s",
            s->path, s->bad_row, s->bad_text);
    g_mutex_unlock(&s->lock);
    return outcome;
}
