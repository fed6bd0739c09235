/* Files whose loss matters: positioned writes, syncs, locks and atomic replacement.
 *
 * Every durable byte of the program that is not SQLite's goes through here (packs, checkpoints,
 * masks, CSV logs), so that tests can record the order of writes and syncs, replay it cut at any
 * point, and make the k-th call fail. A qs_file is used by one thread at a time. */
#ifndef QS_BASE_FILE_H
#define QS_BASE_FILE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Stands in every file that is written for people or viewers, so that it is known as ours whatever it is
 * called (jobs/outputs.h): TIFF Software, PNG text, JPEG comment, HTML generator, XML comment, JSON member. */
#define QS_FILE_MARK "quadslide " QS_VERSION

typedef struct qs_file qs_file;

typedef enum {
    QS_FILE_READ,   /* must exist */
    QS_FILE_UPDATE, /* read and write, created when absent, kept when present */
    QS_FILE_CREATE, /* read and write, emptied when present */
    QS_FILE_NEW,    /* read and write, must not be there, not even as a link */
} qs_file_mode;

qs_file *qs_file_open(const char *path, qs_file_mode mode, GError **error);
/* Takes the exclusive lock (open file description lock); QS_ERROR_BUSY when another holds it. */
bool qs_file_lock(qs_file *file, GError **error);
int64_t qs_file_size(qs_file *file, GError **error); /* -1 on error */
bool qs_file_write_at(qs_file *file, int64_t offset, const void *data, size_t n, GError **error);
/* Reads exactly n bytes; QS_ERROR_FORMAT names the file and offset when it is shorter.
 * Thread-safe on one handle. */
bool qs_file_read_at(qs_file *file, int64_t offset, void *data, size_t n, GError **error);
bool qs_file_truncate(qs_file *file, int64_t size, GError **error);
bool qs_file_sync(qs_file *file, GError **error);
/* NULL is accepted. False when close itself reports a write error. */
bool qs_file_close(qs_file *file, GError **error);

/* A name beside `path` that is nobody's, for what becomes `path` by renaming: hidden, with the process
 * and random digits in it, at most 255 bytes. Open it with QS_FILE_NEW. What a killed process left under
 * such a name for this `path` is removed. Owned by the caller. */
char *qs_file_part_name(const char *path);

/* The path that a name of qs_file_part_name stands for, as messages say it; other paths as they are. Owned by
 * the caller. */
char *qs_file_shown(const char *path);

/* A lock on the making of `path`, a hidden file beside it: two processes never make it at once.
 * QS_ERROR_BUSY when another does. Held until unlocked; it goes away with it, and with the process. */
qs_file *qs_output_lock(const char *path, GError **error);
void qs_output_unlock(qs_file *lock); /* NULL accepted */

/* Writes `path` whole or not at all: temporary file beside it, sync, rename, sync of the folder.
 * On error `path` keeps its old content and no temporary file stays. */
bool qs_file_replace(const char *path, const void *data, size_t n, GError **error);
bool qs_file_rename(const char *from, const char *to, GError **error); /* and syncs the folder */
bool qs_dir_sync(const char *dir, GError **error);
bool qs_dir_create(const char *dir, GError **error); /* with parents; fine when present */

/* Content hash of a whole file: 32 hex digits of XXH3-128. NULL on error. Owned by the caller. */
char *qs_file_hash(const char *path, GError **error);

/* Bytes free on the file system that holds `path` (or its nearest existing parent); -1 unknown. */
int64_t qs_disk_free(const char *path);

typedef enum {
    QS_IO_OPEN,
    QS_IO_WRITE,
    QS_IO_TRUNCATE,
    QS_IO_SYNC,
    QS_IO_RENAME,
    QS_IO_DIRSYNC
} qs_io_kind;

/* Test hook, called before each operation. Returns 0 to let it pass or an errno to make it fail.
 * `path2` is the target of a rename. NULL hook: none. */
typedef int (*qs_io_hook)(void *user, qs_io_kind kind, const char *path, const char *path2,
                          int64_t offset, const void *data, size_t n);
void qs_io_set_hook(qs_io_hook hook, void *user);

#endif
