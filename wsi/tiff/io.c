#include "wsi/tiff/io.h"

#include "base/error.h"

#include <stdarg.h>

/* libtiff allocates from sizes we gave it ourselves; this bounds a mistake. */
#define SINGLE_ALLOC_MAX ((tmsize_t)1 << 30)

static tmsize_t io_read(thandle_t handle, void *data, tmsize_t n)
{
    wsi_tiff_io *io = handle;
    int64_t left = io->size - io->pos;
    if (n > left)
        n = (tmsize_t)MAX(left, 0);
    if (n <= 0)
        return 0;
    if (!qs_file_read_at(io->file, io->pos, data, (size_t)n, io->error ? NULL : &io->error))
        return -1;
    io->pos += n;
    return n;
}

static tmsize_t io_write(thandle_t handle, void *data, tmsize_t n)
{
    wsi_tiff_io *io = handle;
    if (!io->discard &&
        !qs_file_write_at(io->file, io->pos, data, (size_t)n, io->error ? NULL : &io->error))
        return -1;
    io->pos += n;
    io->size = MAX(io->size, io->pos);
    return n;
}

static toff_t io_seek(thandle_t handle, toff_t offset, int whence)
{
    wsi_tiff_io *io = handle;
    int64_t base = whence == SEEK_CUR ? io->pos : whence == SEEK_END ? io->size : 0;
    io->pos = base + (int64_t)offset;
    return (toff_t)io->pos;
}

static int io_close(thandle_t handle)
{
    (void)handle; /* the file is closed by wsi_tiff_io_close */
    return 0;
}

static toff_t io_size(thandle_t handle)
{
    return (toff_t)((wsi_tiff_io *)handle)->size;
}

static int on_error(TIFF *tif, void *user, const char *module, const char *format, va_list args)
    G_GNUC_PRINTF(4, 0);

static int on_error(TIFF *tif, void *user, const char *module, const char *format, va_list args)
{
    (void)tif;
    wsi_tiff_io *io = user;
    if (!io->error) {
        g_autofree char *text = g_strdup_vprintf(format, args);
        io->error = g_error_new(QS_ERROR, QS_ERROR_INTERNAL, "%s: libtiff (%s): %s", io->path,
                                module ? module : "?", text);
    }
    return 1;
}

/* What libtiff only warns about in a file that we write ourselves is no concern of the user. */
static int on_warning(TIFF *tif, void *user, const char *module, const char *format, va_list args)
{
    (void)tif, (void)user, (void)module, (void)format, (void)args;
    return 1;
}

bool wsi_tiff_io_create(wsi_tiff_io *io, const char *path, bool big, GError **error)
{
    *io = (wsi_tiff_io){0};
    io->file = qs_file_open(path, QS_FILE_NEW, error);
    if (!io->file)
        return false;
    io->path = qs_file_shown(path);
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, SINGLE_ALLOC_MAX);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, io);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, io);
    io->tif = TIFFClientOpenExt(path, big ? "w8" : "w", io, io_read, io_write, io_seek, io_close,
                                io_size, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    if (io->tif)
        return true;
    wsi_tiff_io_fail(io, "TIFFClientOpenExt", error);
    wsi_tiff_io_close(io, false, NULL);
    return false;
}

void wsi_tiff_io_fail(wsi_tiff_io *io, const char *what, GError **error)
{
    if (io->error)
        g_propagate_prefixed_error(error, io->error, "%s: ", what);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "%s: %s failed", io->path, what);
    io->error = NULL;
}

bool wsi_tiff_io_close(wsi_tiff_io *io, bool sync, GError **error)
{
    bool ok = true;
    io->discard = !sync; /* closing writes the directory, which nobody will read then */
    if (io->tif)
        TIFFClose(io->tif);
    if (sync && io->error) { /* closing flushes: an error may show only there */
        wsi_tiff_io_fail(io, "TIFFClose", error);
        ok = false;
    }
    if (io->file && sync && ok)
        ok = qs_file_sync(io->file, error);
    ok = qs_file_close(io->file, ok ? error : NULL) && ok;
    g_clear_error(&io->error);
    g_free(io->path);
    *io = (wsi_tiff_io){0};
    return ok;
}
