/* What the files of the store share, and the few seams its tests use. */
#ifndef QS_DB_STORE_PRIV_H
#define QS_DB_STORE_PRIV_H

#include "db/sql.h"
#include "db/store.h"

/* ---- the store -------------------------------------------------------------------------- */
typedef struct db_packs db_packs;

struct db_store {
    char *dir;
    db_sql *sql;
    db_packs *packs; /* open pack files of readers */
    db_store_config config;
    bool read_only;
};

/* How long a program waits for another's transaction before QS_ERROR_BUSY. */
enum { DB_BUSY_TIMEOUT_MS = 10000 };
void db_store_set_busy_timeout(db_store *store, int ms); /* tests wait less */

/* QS_ERROR_ARG when the store was opened for reading. */
bool db_store_need_write(const db_store *store, GError **error);

/* ---- schema.c --------------------------------------------------------------------------- */
enum { DB_APPLICATION_ID = 0x51534c44 }; /* "QSLD" */
/* Brings the database to the newest version, all of it in one transaction. An empty database
 * becomes a store only with `create`. */
bool db_schema_migrate(db_sql *sql, bool create, GError **error);
/* For readers: true when it is a store of the version this program writes; else says what it is. */
bool db_schema_check(db_sql *sql, GError **error);
int db_schema_version(void); /* that this program writes */

/* ---- medium.c --------------------------------------------------------------------------- */
/* Name of a file system where SQLite's shared-memory WAL cannot be trusted; NULL for others. */
const char *db_medium_without_wal(int64_t magic);
/* How a reader opens index.db without changing it. */
typedef enum {
    DB_READ_LIVE,      /* as any WAL reader: a writer may be there or come */
    DB_READ_IMMUTABLE, /* nobody can write here and there is nothing in a WAL: no locks, no WAL */
    DB_READ_HEAP_WAL,  /* nobody can write here, a WAL without its -shm holds the newest rows */
} db_read_mode;
db_read_mode db_medium_read_mode(bool dir_writable, bool has_wal, bool has_shm);
/* Opens index.db of `dir` for writing (created when `create`), sets journal, page size and syncs.
 */
db_sql *db_medium_open_write(const char *dir, bool create, GError **error);
db_sql *db_medium_open_read(const char *dir, GError **error);

/* ---- pack.c ----------------------------------------------------------------------------- */
/* DIR/packs/000017.pack; freed by the caller. */
char *db_pack_path(const char *dir, int64_t slide_id);
db_packs *db_packs_create(const char *dir);
void db_packs_destroy(db_packs *packs);
/* Reads exactly n bytes of a slide's pack. Thread-safe, allocates nothing. */
bool db_packs_read(db_packs *packs, int64_t slide_id, int64_t offset, void *data, size_t n,
                   GError **error);

/* ---- codec.c ---------------------------------------------------------------------------- */
/* How the pixels of a row are encoded: the number is in the database, so it never changes meaning.
 */
enum {
    DB_FORMAT_NONE = 0,       /* no pixels */
    DB_FORMAT_ZSTD = 1,       /* interleaved RGB, zstd */
    DB_FORMAT_ZSTD_DELTA = 2, /* filter.h, then zstd */
    DB_FORMAT_JPEG = 3,       /* baseline JPEG */
    DB_FORMAT_JPEG_COPY = 4,  /* a tile of the slide as it was, made to stand alone: JPEG */
};
int db_format_of(const db_store_config *config);
bool db_format_decode_image(int format, const uint8_t *data, size_t n, int size_px, uint8_t *rgb,
                            GError **error);
bool db_format_decode_label(const uint8_t *data, size_t n, int size_px, uint8_t *label,
                            GError **error);
/* Most bytes that one image or label of this size can take, encoded. */
size_t db_format_bound(int size_px);
uint64_t db_checksum(const void *data, size_t n); /* XXH3-64 */
/* This thread's scratch of at least n bytes, kept for its next call. */
uint8_t *db_thread_scratch(size_t n);

/* ---- patch.c, slide.c, damage.c ----------------------------------------------------------- */
#define DB_CELLS_PER_SLIDE ((int64_t)1 << 32)
/* A patch's key: rows lie in (slide, cell) order and one cell cannot be there twice. */
static inline int64_t db_patch_key(int64_t slide_id, int64_t cell)
{
    return slide_id * DB_CELLS_PER_SLIDE + cell;
}
/* The lock is held and a transaction is open. */
bool db_patch_insert(db_store *store, const db_patch *patch, GError **error);
/* All columns of a slide by id, with this state; the lock is held. */
bool db_slide_write(db_store *store, const db_slide *slide, db_slide_state state, GError **error);

#endif
