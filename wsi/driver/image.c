/* Plain images (JPEG, PNG, striped TIFF) as slides of one level.
 *
 * Such files can only be decoded from the top, and a tiler reads them everywhere, from several
 * threads. Baseline JPEGs are decoded in strips, a window of rows at a time, as often as someone
 * goes through them (jpeg_strips_priv.h). Of all others, and of a JPEG that is read in no order at
 * all, the first read decodes the image once, a few rows at a time, into plain RGB: in memory up to
 * RAW_IN_MEMORY_MAX, beyond that in an unlinked temporary file. After that every read is a copy of
 * rows. The file is read with pread and not mapped: memory stays what was stated, and a disk error
 * is an error and no SIGBUS. */
#include "wsi/slide/driver.h"
#include "wsi/stages.h"

#include "base/error.h"
#include "base/file.h"
#include "wsi/image/jpeg_strips.h"
#include "wsi/image/raster.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STRIP_ROWS = 64, RAW_IN_MEMORY_MAX = 64 << 20, WINDOW_BYTES = 128 << 20 };

typedef struct {
    char *path;
    wsi_file_type type;
    int64_t w, h;
    int64_t decoder_bytes;
    wsi_jpeg_strips *strips; /* NULL: not a file that can be read so */
    gint out_of_order;       /* strips was given up */
    GMutex lock;             /* guards decoding; raw and failure do not change once `ready` */
    gint ready;
    GError *failure; /* why the image could not be decoded */
    uint8_t *raw;    /* (h,w,3); NULL when it lies in fd */
    int fd;          /* the temporary file; -1 */
} image_data;

static size_t raw_bytes(const image_data *data)
{
    return (size_t)data->w * (size_t)data->h * 3;
}

static bool takes(const wsi_probe *probe)
{
    return probe->type == WSI_FILE_JPEG || probe->type == WSI_FILE_PNG ||
           probe->type == WSI_FILE_TIFF;
}

/* What is converted or ignored is said, by name. */
static void report_conversions(const char *path, const wsi_raster_info *info)
{
    if (info->n_bands <= 2)
        qs_info("%s: grey image, used as RGB with three equal channels", path);
    if (info->n_bands == 2 || info->n_bands == 4)
        qs_info("%s: transparent parts lie on white", path);
    if (info->n_pages > 1)
        qs_info("%s: has %d pages, of which the first is used", path, info->n_pages);
    if (info->rotated)
        qs_info("%s: its orientation tag is ignored, so that masks match its stored pixels", path);
}

static void image_close(wsi_slide *slide)
{
    image_data *data = slide->data;
    wsi_jpeg_strips_close(data->strips);
    g_free(data->raw);
    if (data->fd >= 0)
        close(data->fd);
    g_clear_error(&data->failure);
    g_mutex_clear(&data->lock);
    g_free(data->path);
    g_free(data);
}

/* A baseline JPEG of at most three components is read in strips; how it is read is said. */
static bool open_strips(image_data *data, wsi_slide_info *info, GError **error)
{
    wsi_jpeg_header header;
    if (data->type == WSI_FILE_JPEG) {
        if (!wsi_jpeg_header_read(data->path, &header, error))
            return false;
        if (!header.progressive && (header.n_components == 1 || header.n_components == 3)) {
            data->strips = wsi_jpeg_strips_open(data->path, data->w, data->h, WINDOW_BYTES, error);
            info->lane_why = g_strdup("decoded in strips");
            return data->strips != NULL;
        }
    }
    info->lane_why = g_strdup_printf(
        "%sdecoded once, into %s", data->type == WSI_FILE_JPEG ? "a progressive JPEG: " : "",
        raw_bytes(data) > RAW_IN_MEMORY_MAX ? "a temporary file" : "memory");
    return true;
}

static bool image_open(wsi_slide *slide, const wsi_probe *probe, GError **error)
{
    if (probe->type == WSI_FILE_TIFF && probe->tiff.bits == 16) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: has 16-bit samples (%d a pixel); convert it to 8-bit RGB", probe->path,
                    probe->tiff.n_samples);
        return false;
    }
    wsi_raster *raster = wsi_raster_open(probe->path, probe->type, error);
    if (!raster)
        return false;
    const wsi_raster_info *info = wsi_raster_get_info(raster);
    report_conversions(probe->path, info);
    image_data *data = g_new0(image_data, 1);
    g_mutex_init(&data->lock);
    data->fd = -1;
    data->path = g_strdup(probe->path);
    data->type = probe->type;
    data->w = info->w;
    data->h = info->h;
    data->decoder_bytes = info->decoder_bytes;
    if (!open_strips(data, &slide->info, error)) {
        wsi_raster_close(raster);
        slide->data = data;
        image_close(slide);
        return false;
    }
    slide->info.vendor = g_strdup(info->format);
    slide->info.n_levels = 1;
    slide->info.levels[0] = (wsi_level){info->w, info->h, 1.0, 0, 0};
    slide->data = data;
    wsi_raster_close(raster);
    return true;
}

/* An unlinked file of n bytes whose space is taken now: a full disk is known before the work. */
static int temp_file(const image_data *data, size_t n, GError **error)
{
    const char *dir = g_get_tmp_dir();
    int64_t n_free = qs_disk_free(dir);
    if (n_free >= 0 && (uint64_t)n_free < n) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO,
                    "%s: decoding needs %zu MiB in %s, which has %" G_GINT64_FORMAT
                    " MiB free; make room or set TMPDIR",
                    data->path, n >> 20, dir, n_free >> 20);
        return -1;
    }
    g_autofree char *name = g_build_filename(dir, "quadslide-image-XXXXXX", NULL);
    int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);
    int err = errno;
    if (fd >= 0) {
        unlink(name);
        err = posix_fallocate(fd, 0, (off_t)n);
        if (err == 0)
            return fd;
        close(fd);
    }
    qs_set_error_errno(error, err, "%s: decoding needs a temporary file of %zu MiB in %s (TMPDIR)",
                       data->path, n >> 20, dir);
    return -1;
}

static bool make_room(image_data *data, GError **error)
{
    size_t n = raw_bytes(data);
    if (n > RAW_IN_MEMORY_MAX) {
        data->fd = temp_file(data, n, error);
        if (data->fd >= 0)
            qs_debug("%s: decoded into a temporary file of %zu MiB in %s", data->path, n >> 20,
                     g_get_tmp_dir());
        return data->fd >= 0;
    }
    data->raw = g_try_malloc(n);
    if (!data->raw)
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY, "%s: no memory for %zu MiB of decoded pixels",
                    data->path, n >> 20);
    return data->raw != NULL;
}

static bool put_rows(image_data *data, int64_t y, int n_rows, const uint8_t *rgb, GError **error)
{
    size_t row = (size_t)data->w * 3, n = row * (size_t)n_rows, done = 0;
    if (data->raw) {
        memcpy(data->raw + (size_t)y * row, rgb, n);
        return true;
    }
    while (done < n) {
        ssize_t k = pwrite(data->fd, rgb + done, n - done, (off_t)((size_t)y * row + done));
        if (k > 0)
            done += (size_t)k;
        else if (k == 0 || errno != EINTR) {
            qs_set_error_errno(error, k == 0 ? ENOSPC : errno,
                               "%s: writing its decoded pixels in %s", data->path, g_get_tmp_dir());
            return false;
        }
    }
    return true;
}

static bool get_pixels(const image_data *data, int64_t x, int64_t y, size_t n_px, uint8_t *rgb,
                       GError **error)
{
    size_t at = ((size_t)y * (size_t)data->w + (size_t)x) * 3, n = n_px * 3, done = 0;
    if (data->raw) {
        memcpy(rgb, data->raw + at, n);
        return true;
    }
    while (done < n) {
        ssize_t k = pread(data->fd, rgb + done, n - done, (off_t)(at + done));
        if (k > 0)
            done += (size_t)k;
        else if (k == 0 || errno != EINTR) {
            qs_set_error_errno(error, k == 0 ? EIO : errno, "%s: reading its decoded pixels back",
                               data->path);
            return false;
        }
    }
    return true;
}

static void row_to_rgb(const uint8_t *src, int n_bands, int64_t w, uint8_t *rgb)
{
    if (n_bands == 3) {
        memcpy(rgb, src, (size_t)w * 3);
        return;
    }
    for (int64_t i = 0; i < w; i++) {
        const uint8_t *p = src + i * n_bands;
        unsigned alpha = n_bands == 2 ? p[1] : n_bands == 4 ? p[3] : 255;
        for (int k = 0; k < 3; k++) {
            unsigned c = n_bands <= 2 ? p[0] : p[k];
            rgb[3 * i + k] = (uint8_t)((c * alpha + 255 * (255 - alpha) + 127) / 255);
        }
    }
}

static bool decode(image_data *data, GError **error)
{
    wsi_raster *raster = wsi_raster_open(data->path, data->type, error);
    if (!raster)
        return false;
    const wsi_raster_info *info = wsi_raster_get_info(raster);
    bool ok = info->w == data->w && info->h == data->h;
    if (!ok)
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH, "%s: changed while it was open",
                    data->path);
    size_t row_bytes = (size_t)info->w * (size_t)info->n_bands, rgb_bytes = (size_t)info->w * 3;
    uint8_t *strip = g_malloc(row_bytes * STRIP_ROWS), *rgb = g_malloc(rgb_bytes * STRIP_ROWS);
    ok = ok && make_room(data, error);
    for (int64_t y = 0; ok && y < data->h; y += STRIP_ROWS) {
        int n = (int)MIN(STRIP_ROWS, data->h - y);
        ok = wsi_raster_read_rows(raster, y, n, strip, error);
        for (int r = 0; ok && r < n; r++)
            row_to_rgb(strip + (size_t)r * row_bytes, info->n_bands, data->w,
                       rgb + (size_t)r * rgb_bytes);
        ok = ok && put_rows(data, y, n, rgb, error);
    }
    g_free(strip);
    g_free(rgb);
    wsi_raster_close(raster);
    return ok;
}

static bool ensure_decoded(image_data *data, GError **error)
{
    if (!g_atomic_int_get(&data->ready)) {
        g_mutex_lock(&data->lock);
        if (!data->ready) {
            int64_t then = wsi_stages_now();
            decode(data, &data->failure);
            wsi_stages_add(WSI_STAGE_DECODE, then);
            g_atomic_int_set(&data->ready, 1);
        }
        g_mutex_unlock(&data->lock);
    }
    if (data->failure)
        g_propagate_error(error, g_error_copy(data->failure));
    return data->failure == NULL;
}

static wsi_strips_outcome read_strips(image_data *data, int64_t x, int64_t y, int w, int h,
                                      uint8_t *rgb, size_t row_bytes, GError **error)
{
    int64_t x0 = CLAMP(x, 0, data->w), x1 = CLAMP(x + w, 0, data->w);
    int64_t y0 = CLAMP(y, 0, data->h), y1 = CLAMP(y + h, 0, data->h);
    if (x1 - x0 < w || y1 - y0 < h)
        for (int r = 0; r < h; r++)
            memset(rgb + (size_t)r * row_bytes, 255, (size_t)w * 3);
    if (x1 <= x0 || y1 <= y0)
        return WSI_STRIPS_READ;
    return wsi_jpeg_strips_read(data->strips, x0, y0, (int)(x1 - x0), (int)(y1 - y0),
                                rgb + (size_t)(y0 - y) * row_bytes + (size_t)(x0 - x) * 3,
                                row_bytes, error);
}

static void give_up_strips(image_data *data)
{
    if (!g_atomic_int_compare_and_exchange(&data->out_of_order, 0, 1))
        return;
    wsi_jpeg_strips_give_up(data->strips);
    qs_info("%s: is read out of order; it is decoded once, into %zu MiB of %s", data->path,
            raw_bytes(data) >> 20,
            raw_bytes(data) > RAW_IN_MEMORY_MAX ? "a temporary file" : "memory");
}

static bool image_read(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv, int h_lv,
                       uint8_t *rgb, size_t row_bytes, GError **error)
{
    (void)level;
    image_data *data = slide->data;
    if (data->strips && !g_atomic_int_get(&data->out_of_order)) {
        wsi_strips_outcome outcome =
            read_strips(data, x_l0, y_l0, w_lv, h_lv, rgb, row_bytes, error);
        if (outcome != WSI_STRIPS_OUT_OF_ORDER)
            return outcome == WSI_STRIPS_READ;
        give_up_strips(data);
    }
    if (!ensure_decoded(data, error))
        return false;
    int64_t x0 = CLAMP(x_l0, 0, data->w), x1 = CLAMP(x_l0 + w_lv, 0, data->w);
    for (int r = 0; r < h_lv; r++) {
        uint8_t *row = rgb + (size_t)r * row_bytes;
        int64_t y = y_l0 + r;
        bool inside = y >= 0 && y < data->h && x1 > x0;
        if (!inside || x1 - x0 < w_lv)
            memset(row, 255, (size_t)w_lv * 3);
        if (inside && !get_pixels(data, x0, y, (size_t)(x1 - x0), row + (x0 - x_l0) * 3, error))
            return false;
    }
    return true;
}

static int64_t image_memory(const wsi_slide *slide, int n_threads)
{
    (void)n_threads;
    const image_data *data = slide->data;
    size_t n = raw_bytes(data);
    if (data->strips)
        return (int64_t)MIN(n, (size_t)WINDOW_BYTES) + data->decoder_bytes +
               data->w * 3 * STRIP_ROWS;
    return (n > RAW_IN_MEMORY_MAX ? 0 : (int64_t)n) + data->decoder_bytes +
           data->w * 7 * STRIP_ROWS * 2;
}

static int64_t image_temp_bytes(const wsi_slide *slide)
{
    const image_data *data = slide->data;
    size_t n = data->strips ? 0 : raw_bytes(data);
    return n > RAW_IN_MEMORY_MAX ? (int64_t)n : 0;
}

const wsi_driver wsi_driver_image = {
    .name = "image",
    .takes = takes,
    .open = image_open,
    .close = image_close,
    .read = image_read,
    .memory = image_memory,
    .temp_bytes = image_temp_bytes,
};
