/* libtiff over base/file: every byte libtiff writes goes through qs_file, so faults can be injected
 * and errors carry the file and the operating system's reason. Used by the writer alone. */
#ifndef QS_WSI_TIFF_IO_PRIV_H
#define QS_WSI_TIFF_IO_PRIV_H

#include "base/file.h"

#include <tiffio.h>

typedef struct {
    qs_file *file; /* owned */
    char *path;
    int64_t pos, size;
    bool discard;  /* being thrown away: writes go nowhere */
    GError *error; /* the first failure, from the file or from libtiff */
    TIFF *tif;
} wsi_tiff_io;

/* Creates `path`, which must not be there, and starts a TIFF in it, BigTIFF when `big`. */
bool wsi_tiff_io_create(wsi_tiff_io *io, const char *path, bool big, GError **error);
/* Moves the first failure to *error; `what` is the libtiff call that reported it. */
void wsi_tiff_io_fail(wsi_tiff_io *io, const char *what, GError **error);
/* Closes the TIFF and the file: whole and synced when `sync`, else as a thing thrown away. Zeroes
 * *io. A zeroed io is accepted. */
bool wsi_tiff_io_close(wsi_tiff_io *io, bool sync, GError **error);

#endif
