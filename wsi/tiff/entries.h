/* A look at what a TIFF's directory entries say, before libraries believe it. */
#ifndef QS_WSI_TIFF_ENTRIES_PRIV_H
#define QS_WSI_TIFF_ENTRIES_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Walks the chain of directories (classic and BigTIFF, either byte order). QS_ERROR_FORMAT names
 * tag, directory and count of an entry that cannot be. A chain that leaves the file or loops is
 * left to whoever reads the directories. */
bool wsi_tiff_check_entries(const char *path, int64_t n_bytes, GError **error);

#endif
