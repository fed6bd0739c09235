/* Where the store lies decides how SQLite may work there.
 *
 *   local disk          WAL: writers do not stop readers, one sync a commit
 *   network, FUSE, 9p   DELETE journal: WAL needs memory shared by all programs that use the file,
 *                       which does not exist between two machines
 *   read-only           no lock and no WAL file can be made, so none is asked for
 *
 * synchronous=EXTRA everywhere: what db_writer_commit reported must survive a power cut. In WAL
 * that is the same as FULL, one sync of the WAL a commit; NORMAL would leave the last commits in
 * the page cache. With a DELETE journal FULL is not enough: the journal's removal is the commit,
 * and only EXTRA syncs the folder after it; without that an old journal comes back after the power
 * cut and rolls back a commit that was reported. A batch of patches shares one sync, so it costs
 * little.
 *
 * The page size is 16 kB (16.0 against 8.9 thousand rows a second at 4 kB) and must be set before
 * the file has its first page. */
#include "db/store_priv.h"

#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

const char *db_medium_without_wal(int64_t magic)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } known[] = {
        {0x6969, "NFS"},      {0x517B, "SMB"},       {0xFF534D42, "CIFS"},
        {0xFE534D42, "SMB2"}, {0x65735546, "FUSE"},  {0x01021997, "9p"},
        {0x5346414F, "AFS"},  {0x6B414653, "AFS"},   {0x0BD00BD0, "Lustre"},
        {0x47504653, "GPFS"}, {0x00C36400, "Ceph"},  {0x19830326, "BeeGFS"},
        {0x01161970, "GFS2"}, {0x7461636F, "OCFS2"}, {0x786F4256, "VirtualBox share"},
        {0x73757245, "Coda"}, {0x564C, "NCP"},       {0xBACBACBC, "VMware share"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i].magic == (uint32_t)magic)
            return known[i].name;
    return NULL;
}

db_read_mode db_medium_read_mode(bool dir_writable, bool has_wal, bool has_shm)
{
    if (dir_writable)
        return DB_READ_LIVE;
    if (!has_wal)
        return DB_READ_IMMUTABLE;
    /* SQLite maps an existing -shm read-only, or rebuilds it in memory when nobody holds it. */
    return has_shm ? DB_READ_LIVE : DB_READ_HEAP_WAL;
}

/* PRAGMA journal_mode answers with the mode that is now in force. */
static bool set_journal(db_sql *sql, const char *mode, bool *done, GError **error)
{
    g_autofree char *text = g_strdup_printf("PRAGMA journal_mode = %s", mode);
    GError *local = NULL;
    g_autofree char *now = db_sql_text(sql, text, &local);
    if (local) {
        g_propagate_error(error, local);
        return false;
    }
    *done = now && g_ascii_strcasecmp(now, mode) == 0;
    return true;
}

/* A store made in WAL and moved to where WAL cannot work: in exclusive mode SQLite keeps the WAL's
 * index in memory of its own, which is enough to fold the WAL in and leave WAL for good. */
static bool leave_wal(db_sql *sql, const char *why, GError **error)
{
    bool done = false;
    GError *local = NULL;
    if (db_sql_exec(sql, "PRAGMA locking_mode = EXCLUSIVE", &local) &&
        set_journal(sql, "delete", &done, &local) && done &&
        db_sql_exec(sql, "PRAGMA locking_mode = NORMAL; SELECT count(*) FROM sqlite_schema",
                    &local))
        return true;
    if (local)
        g_propagate_prefixed_error(error, local,
                                   "WAL cannot be used here (%s) and cannot be left: ", why);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_BUSY,
                    "%s: WAL cannot be used here (%s), and another program holds the store in WAL",
                    sql->path, why);
    return false;
}

static bool choose_journal(db_sql *sql, const char *dir, GError **error)
{
    struct statfs fs;
    const char *why = statfs(dir, &fs) == 0 ? db_medium_without_wal((int64_t)fs.f_type) : NULL;
    if (!why) {
        bool done = false;
        GError *local = NULL;
        if (set_journal(sql, "wal", &done, &local) && done)
            return true;
        /* Without shared memory SQLite keeps the old mode, or cannot open a file that is in WAL. */
        if (local && !g_error_matches(local, QS_ERROR, QS_ERROR_IO)) {
            g_propagate_error(error, local);
            return false;
        }
        g_clear_error(&local);
        why = "no shared memory";
    }
    if (!leave_wal(sql, why, error))
        return false;
    qs_info("%s: %s: using a rollback journal instead of WAL", sql->path, why);
    return true;
}

db_sql *db_medium_open_write(const char *dir, bool create, GError **error)
{
    g_autofree char *path = g_build_filename(dir, "index.db", NULL);
    int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
    db_sql *sql = db_sql_open(path, NULL, flags, NULL, error);
    if (!sql)
        return NULL;
    sqlite3_busy_timeout(sql->handle, DB_BUSY_TIMEOUT_MS);
    /* SQLite falls back to reading by itself; a writer wants to know now. */
    if (sqlite3_db_readonly(sql->handle, "main") == 1) {
        qs_set_error_errno(error, access(path, W_OK) == 0 ? EROFS : errno,
                           "%s: the store cannot be written here, only read", path);
        db_sql_close(sql);
        return NULL;
    }
    if (db_sql_exec(sql, "PRAGMA page_size = 16384", error) && choose_journal(sql, dir, error) &&
        db_sql_exec(sql,
                    "PRAGMA synchronous = EXTRA; PRAGMA foreign_keys = ON;"
                    "PRAGMA cache_size = -16384; PRAGMA journal_size_limit = 67108864",
                    error))
        return sql;
    db_sql_close(sql);
    return NULL;
}

static bool has_bytes(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0;
}

db_sql *db_medium_open_read(const char *dir, GError **error)
{
    g_autofree char *path = g_build_filename(dir, "index.db", NULL);
    if (access(path, R_OK) != 0) {
        qs_set_error_errno(error, errno, "%s: cannot be read", path);
        return NULL;
    }
    db_sql *sql = NULL;
    bool writable = access(dir, W_OK) == 0 && access(path, W_OK) == 0;
    db_read_mode mode = db_medium_read_mode(writable, has_bytes(dir, "index.db-wal"),
                                            has_bytes(dir, "index.db-shm"));
    if (mode == DB_READ_IMMUTABLE) {
        g_autofree char *absolute = g_canonicalize_filename(path, NULL);
        g_autofree char *escaped = g_uri_escape_string(absolute, "/", FALSE);
        g_autofree char *uri = g_strdup_printf("file:%s?immutable=1", escaped);
        sql = db_sql_open(path, uri, SQLITE_OPEN_READONLY, NULL, error);
    } else {
        sql = db_sql_open(path, NULL, SQLITE_OPEN_READONLY,
                          mode == DB_READ_HEAP_WAL ? "unix-none" : NULL, error);
    }
    if (!sql)
        return NULL;
    sqlite3_busy_timeout(sql->handle, DB_BUSY_TIMEOUT_MS);
    /* The last to close must not fold the WAL in: readers never write. */
    sqlite3_db_config(sql->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if ((mode != DB_READ_HEAP_WAL || db_sql_exec(sql, "PRAGMA locking_mode = EXCLUSIVE", error)) &&
        db_sql_exec(sql, "PRAGMA query_only = ON; PRAGMA cache_size = -16384", error))
        return sql;
    db_sql_close(sql);
    return NULL;
}
