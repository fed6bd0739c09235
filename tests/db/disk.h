/* A disk that remembers: every create, write, sync, cut, rename and delete of a store, by base/file
 * and by SQLite, in one ordered log; and a machine that rebuilds from it what a power cut may
 * leave.
 *
 * Recording: base/file reports through qs_io_set_hook, SQLite through a VFS that wraps the default
 * one (disk_install). The -shm file is left out: it is memory, and no power cut keeps it.
 *
 * Faults: the same two places can make the k-th operation fail, once or from then on.
 *
 * What a power cut may leave (disk_replay): all that was synced, and of the rest anything: none of
 * it, all of it, only the later part, half of a write, any subset of 512-byte sectors; a folder's
 * entries likewise, in order, until the folder is synced. */
#ifndef QS_TESTS_DB_DISK_H
#define QS_TESTS_DB_DISK_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { DISK_FILES, DISK_SQLITE } disk_side; /* base/file, SQLite */

/* The wrapping VFS becomes SQLite's default until disk_remove. no_shm: it offers no shared memory,
 * as file systems without it do. */
void disk_install(bool no_shm);
void disk_remove(void);

/* ---- faults ------------------------------------------------------------------------------ */
/* The k-th operation of that side (from 1) fails with this errno; sticky: all later ones too. k =
 * 0: none, and counting starts again. */
void disk_fail_at(disk_side side, int64_t k, bool sticky, int err);
int64_t disk_count(disk_side side); /* operations since */
bool disk_has_failed(void);         /* did a planned fault happen? */

/* ---- recording ----------------------------------------------------------------------------- */
/* What the recorder is told to leave out of the log, as if the program had left it out. */
typedef enum {
    DISK_DROP_NOTHING,
    DISK_DROP_PACK_SYNC,   /* sync of *.pack */
    DISK_DROP_SQLITE_SYNC, /* sync of index.db, -wal, -journal */
    DISK_DROP_PACKS_DIR,   /* sync of the folder packs/ */
    DISK_DROP_STORE_DIR,   /* sync of the store's own folder */
} disk_drop;
void disk_record(const char *root, disk_drop drop); /* everything below root from now on */
void disk_stop(void);
/* A remark in the log: what the program had reported by now. */
void disk_mark(int64_t value);
int64_t disk_n_ops(void);
void disk_forget(void); /* frees the log */

/* ---- replay -------------------------------------------------------------------------------- */
/* Called with a folder that holds one possible state, and the last mark before the cut (-1: none).
 * Returns NULL when the program copes, else what is wrong, owned. */
typedef char *(*disk_verify)(void *user, const char *dir, int64_t mark);

typedef struct {
    int64_t n_states; /* different ones that were verified */
    int64_t n_bad;
    char *first_bad; /* "cut after 17 (sync index.db-wal), only the last write kept: …"; owned */
} disk_report;
/* Every cut point times every variant; stops at the first bad state when stop_at_bad. */
void disk_replay(disk_verify verify, void *user, bool stop_at_bad, disk_report *report);

#endif
