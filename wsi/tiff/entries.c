/* The entries of a TIFF's directories, byte by byte, before a library allocates by what they say:
 * OpenSlide takes as much memory as an entry's count asks for, and libtiff passes over entries that
 * it does not know. An entry whose values are more bytes than the whole file is a damaged one,
 * whatever its tag. */
#include "wsi/tiff/entries.h"

#include "base/error.h"
#include "base/file.h"

#include <string.h>

enum { DIRS_MAX = 4096, ENTRIES_MAX = 65535, ENTRY_BYTES_MAX = 20, PRIVATE_TAGS = 32768 };

typedef struct {
    const char *path;
    qs_file *file;
    int64_t n_bytes;
    bool big_endian, big;
} walker;

static uint64_t number(const walker *w, const uint8_t *at, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value |= (uint64_t)at[i] << 8 * (w->big_endian ? n - 1 - i : i);
    return value;
}

/* Bytes of one value (TIFF 6.0, section 2, and BigTIFF's additions); 0 for types that are not
 * known. */
static unsigned size_of(uint64_t type)
{
    static const uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8};
    return type < G_N_ELEMENTS(sizes) ? sizes[type] : 0;
}

static bool check_entry(const walker *w, const uint8_t *entry, int dir, GError **error)
{
    uint64_t tag = number(w, entry, 2), size = size_of(number(w, entry + 2, 2));
    uint64_t count = number(w, entry + 4, w->big ? 8 : 4);
    uint64_t n_bytes = (uint64_t)w->n_bytes;
    bool possible = size == 0 || count <= n_bytes / size;
    if (possible && !(tag < PRIVATE_TAGS && size && count * size > (w->big ? 8u : 4u)))
        return true;
    uint64_t from = number(w, entry + (w->big ? 12 : 8), w->big ? 8 : 4);
    if (possible && from <= n_bytes && count * size <= n_bytes - from)
        return true;
    if (possible) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_FORMAT,
            "%s: truncated: the values of tag %u of directory %d need bytes %" G_GUINT64_FORMAT
            " to %" G_GUINT64_FORMAT ", the file has %" G_GINT64_FORMAT "; copy it again",
            w->path, (unsigned)tag, dir, from, from + count * size, w->n_bytes);
        return false;
    }
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: damaged: tag %u of directory %d has %" G_GUINT64_FORMAT
                " values of %u bytes, more "
                "than the file's %" G_GINT64_FORMAT " bytes; copy it again",
                w->path, (unsigned)tag, dir, count, (unsigned)size, w->n_bytes);
    return false;
}

/* Reads what lies inside the file; what does not is the probe's to refuse, with libtiff's words. */
static bool read_some(const walker *w, uint64_t at, void *bytes, size_t n, GError **error)
{
    if (at > (uint64_t)w->n_bytes || n > (uint64_t)w->n_bytes - at)
        return false;
    return qs_file_read_at(w->file, (int64_t)at, bytes, n, error);
}

/* One directory; *next is 0 at the end of the chain and where it leaves the file. */
static bool check_directory(const walker *w, uint64_t at, int dir, uint64_t *next, GError **error)
{
    int n_head = w->big ? 8 : 2, n_entry = w->big ? 20 : 12, n_next = w->big ? 8 : 4;
    uint8_t bytes[ENTRY_BYTES_MAX];
    GError *local = NULL;
    *next = 0;
    uint64_t n = read_some(w, at, bytes, (size_t)n_head, &local) ? number(w, bytes, n_head) : 0;
    if (n > ENTRIES_MAX) /* a BigTIFF's count; libtiff refuses it */
        n = 0;
    at += (uint64_t)n_head;
    for (uint64_t i = 0; !local && i < n; i++, at += (uint64_t)n_entry) {
        if (!read_some(w, at, bytes, (size_t)n_entry, &local))
            break;
        if (!check_entry(w, bytes, dir, &local))
            break;
    }
    if (!local && n > 0 && read_some(w, at, bytes, (size_t)n_next, &local))
        *next = number(w, bytes, n_next);
    if (local)
        g_propagate_error(error, local);
    return local == NULL;
}

bool wsi_tiff_check_entries(const char *path, int64_t n_bytes, GError **error)
{
    uint8_t head[16] = {0};
    walker w = {.path = path, .n_bytes = n_bytes, .file = qs_file_open(path, QS_FILE_READ, error)};
    if (!w.file)
        return false;
    bool ok = qs_file_read_at(w.file, 0, head, (size_t)MIN(n_bytes, 16), error);
    w.big_endian = head[0] == 'M';
    w.big = number(&w, head + 2, 2) == 43;
    uint64_t at = w.big ? number(&w, head + 8, 8) : number(&w, head + 4, 4);
    /* Past 4 GiB a classic TIFF is an NDPI, whose offsets have lost their upper half. */
    bool readable = w.big || n_bytes <= (int64_t)G_MAXUINT32;
    for (int dir = 0; ok && readable && at > 0 && dir < DIRS_MAX; dir++)
        ok = check_directory(&w, at, dir, &at, error);
    qs_file_close(w.file, NULL);
    return ok;
}
