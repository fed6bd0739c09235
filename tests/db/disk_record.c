/* The recorder and the faults of disk.h: a hook of base/file and a VFS around SQLite's own. */
#include "tests/db/disk_priv.h"

#include "base/file.h"

#include <glib/gstdio.h>
#include <sqlite3.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *root;
    disk_drop drop;
    GPtrArray *ops;
    bool on;
} rec;

static struct {
    int64_t count[2], fail_at[2];
    bool sticky[2], failed;
    int err[2];
} faults;

static void op_free(gpointer data)
{
    disk_op *op = data;
    g_free(op->path);
    g_free(op->path2);
    g_free(op->data);
    g_free(op);
}

/* ---- faults ------------------------------------------------------------------------------ */

void disk_fail_at(disk_side side, int64_t k, bool sticky, int err)
{
    faults.count[side] = 0;
    faults.fail_at[side] = k;
    faults.sticky[side] = sticky;
    faults.err[side] = err;
    faults.failed = false;
}

int64_t disk_count(disk_side side)
{
    return faults.count[side];
}

bool disk_has_failed(void)
{
    return faults.failed;
}

static int fault(disk_side side)
{
    int64_t count = ++faults.count[side], at = faults.fail_at[side];
    if (at == 0 || !(faults.sticky[side] ? count >= at : count == at))
        return 0;
    faults.failed = true;
    return faults.err[side];
}

/* ---- recording ----------------------------------------------------------------------------- */

/* The path below the root, or NULL when it lies elsewhere. */
static char *relative(const char *path)
{
    if (!rec.on || !path || !g_str_has_prefix(path, rec.root))
        return NULL;
    const char *rest = path + strlen(rec.root);
    if (*rest == '\0')
        return g_strdup("");
    return *rest == '/' ? g_strdup(rest + 1) : NULL;
}

static bool dropped(op_kind kind, const char *path)
{
    bool sync = kind == OP_SYNC, dir = kind == OP_DIRSYNC;
    switch (rec.drop) {
    case DISK_DROP_PACK_SYNC:
        return sync && g_str_has_suffix(path, ".pack");
    case DISK_DROP_SQLITE_SYNC:
        return sync && g_str_has_prefix(path, "index.db");
    case DISK_DROP_PACKS_DIR:
        return dir && strcmp(path, "packs") == 0;
    case DISK_DROP_STORE_DIR:
        return dir && *path == '\0';
    default:
        return false;
    }
}

static void record(op_kind kind, const char *path, const char *path2, int64_t offset,
                   const void *data, size_t n)
{
    char *below = relative(path);
    if (!below || dropped(kind, below)) {
        g_free(below);
        return;
    }
    disk_op *op = g_new0(disk_op, 1);
    op->kind = kind;
    op->path = below;
    op->path2 = relative(path2);
    op->offset = offset;
    op->n = n;
    op->data = data ? g_memdup2(data, n) : NULL;
    g_ptr_array_add(rec.ops, op);
}

static int on_file_op(void *user, qs_io_kind kind, const char *path, const char *path2,
                      int64_t offset, const void *data, size_t n)
{
    (void)user;
    int err = fault(DISK_FILES);
    if (err)
        return err;
    switch (kind) {
    case QS_IO_OPEN:
        if (!g_file_test(path, G_FILE_TEST_EXISTS))
            record(OP_CREATE, path, NULL, 0, NULL, 0);
        break;
    case QS_IO_WRITE:
        record(OP_WRITE, path, NULL, offset, data, n);
        break;
    case QS_IO_TRUNCATE:
        record(OP_TRUNCATE, path, NULL, offset, NULL, 0);
        break;
    case QS_IO_SYNC:
        record(OP_SYNC, path, NULL, 0, NULL, 0);
        break;
    case QS_IO_RENAME:
        record(OP_RENAME, path, path2, 0, NULL, 0);
        break;
    case QS_IO_DIRSYNC:
        record(OP_DIRSYNC, path, NULL, 0, NULL, 0);
        break;
    }
    return 0;
}

void disk_record(const char *root, disk_drop drop)
{
    disk_forget();
    rec.root = g_strdup(root);
    rec.drop = drop;
    rec.ops = g_ptr_array_new_with_free_func(op_free);
    rec.on = true;
}

void disk_stop(void)
{
    rec.on = false;
}

void disk_mark(int64_t value)
{
    if (rec.on)
        record(OP_MARK, rec.root, NULL, value, NULL, 0);
}

int64_t disk_n_ops(void)
{
    return rec.ops ? rec.ops->len : 0;
}

const GPtrArray *disk_log(void)
{
    return rec.ops;
}

void disk_forget(void)
{
    rec.on = false;
    g_clear_pointer(&rec.root, g_free);
    g_clear_pointer(&rec.ops, g_ptr_array_unref);
}

/* ---- the wrapping VFS ------------------------------------------------------------------------ */

typedef struct {
    sqlite3_file base;
    char *path; /* NULL for temporary files */
    sqlite3_file *real;
} shim_file;

static sqlite3_vfs *real_vfs;
static sqlite3_vfs shim_vfs;
static sqlite3_syscall_ptr real_open_directory;

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((shim_file *)(void *)file)->real;
}

static const char *path_of(sqlite3_file *file)
{
    return ((shim_file *)(void *)file)->path;
}

static int shim_close(sqlite3_file *file)
{
    shim_file *f = (shim_file *)(void *)file;
    int rc = f->real->pMethods ? f->real->pMethods->xClose(f->real) : SQLITE_OK;
    g_free(f->path);
    f->path = NULL;
    return rc;
}

static int shim_read(sqlite3_file *file, void *data, int n, sqlite3_int64 offset)
{
    return fault(DISK_SQLITE) ? SQLITE_IOERR_READ
                              : real_of(file)->pMethods->xRead(real_of(file), data, n, offset);
}

static int shim_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
    int err = fault(DISK_SQLITE);
    if (err)
        return err == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    int rc = real_of(file)->pMethods->xWrite(real_of(file), data, n, offset);
    if (rc == SQLITE_OK)
        record(OP_WRITE, path_of(file), NULL, offset, data, (size_t)n);
    return rc;
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (fault(DISK_SQLITE))
        return SQLITE_IOERR_TRUNCATE;
    int rc = real_of(file)->pMethods->xTruncate(real_of(file), size);
    if (rc == SQLITE_OK)
        record(OP_TRUNCATE, path_of(file), NULL, size, NULL, 0);
    return rc;
}

static int shim_sync(sqlite3_file *file, int flags)
{
    if (fault(DISK_SQLITE))
        return SQLITE_IOERR_FSYNC;
    int rc = real_of(file)->pMethods->xSync(real_of(file), flags);
    if (rc == SQLITE_OK)
        record(OP_SYNC, path_of(file), NULL, 0, NULL, 0);
    return rc;
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return fault(DISK_SQLITE) ? SQLITE_IOERR_FSTAT
                              : real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int shim_lock(sqlite3_file *file, int level)
{
    return fault(DISK_SQLITE) ? SQLITE_IOERR_LOCK
                              : real_of(file)->pMethods->xLock(real_of(file), level);
}

static int shim_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int shim_reserved(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int shim_control(sqlite3_file *file, int op, void *arg)
{
    /* The size hint would let SQLite grow the file behind the recorder's back. */
    if (op == SQLITE_FCNTL_SIZE_HINT)
        return SQLITE_OK;
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int shim_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int shim_features(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int shim_shm_map(sqlite3_file *file, int page, int n, int extend, void volatile **out)
{
    return fault(DISK_SQLITE)
               ? SQLITE_IOERR_SHMMAP
               : real_of(file)->pMethods->xShmMap(real_of(file), page, n, extend, out);
}

static int shim_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void shim_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int shim_shm_unmap(sqlite3_file *file, int drop)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), drop);
}

/* Version 2 has shared memory but no memory-mapped pages, version 1 has neither. */
static sqlite3_io_methods shim_methods = {2,
                                          shim_close,
                                          shim_read,
                                          shim_write,
                                          shim_truncate,
                                          shim_sync,
                                          shim_size,
                                          shim_lock,
                                          shim_unlock,
                                          shim_reserved,
                                          shim_control,
                                          shim_sector,
                                          shim_features,
                                          shim_shm_map,
                                          shim_shm_lock,
                                          shim_shm_barrier,
                                          shim_shm_unmap,
                                          NULL,
                                          NULL};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *out_flags)
{
    (void)vfs;
    shim_file *f = (shim_file *)(void *)file;
    memset(f, 0, sizeof *f);
    if (fault(DISK_SQLITE))
        return SQLITE_CANTOPEN;
    f->real = (sqlite3_file *)(void *)(f + 1);
    memset(f->real, 0, (size_t)real_vfs->szOsFile);
    bool there = name && g_file_test(name, G_FILE_TEST_EXISTS);
    int rc = real_vfs->xOpen(real_vfs, name, f->real, flags, out_flags);
    if (rc != SQLITE_OK) {
        if (f->real->pMethods)
            f->real->pMethods->xClose(f->real);
        return rc;
    }
    f->base.pMethods = &shim_methods;
    f->path = g_strdup(name);
    if (name && !there)
        record(OP_CREATE, name, NULL, 0, NULL, 0);
    return SQLITE_OK;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    (void)vfs;
    if (fault(DISK_SQLITE))
        return SQLITE_IOERR_DELETE;
    bool there = g_file_test(name, G_FILE_TEST_EXISTS);
    /* Before the real call, whose folder sync is recorded as it happens. */
    if (there)
        record(OP_DELETE, name, NULL, 0, NULL, 0);
    return real_vfs->xDelete(real_vfs, name, sync_dir);
}

static int shim_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs;
    return fault(DISK_SQLITE) ? SQLITE_IOERR_ACCESS : real_vfs->xAccess(real_vfs, name, flags, out);
}

static int shim_full_path(sqlite3_vfs *vfs, const char *name, int n, char *out)
{
    (void)vfs;
    return real_vfs->xFullPathname(real_vfs, name, n, out);
}

/* SQLite opens a folder only to sync it. */
static int shim_open_directory(const char *name, int *fd)
{
    g_autofree char *dir = g_path_get_dirname(name);
    record(OP_DIRSYNC, dir, NULL, 0, NULL, 0);
    return ((int (*)(const char *, int *))real_open_directory)(name, fd);
}

void disk_install(bool no_shm)
{
    g_assert_null(real_vfs);
    sqlite3_initialize();
    real_vfs = sqlite3_vfs_find(NULL);
    shim_vfs = *real_vfs;
    shim_vfs.zName = "quadslide-recorder";
    shim_vfs.pNext = NULL;
    shim_vfs.szOsFile = (int)sizeof(shim_file) + real_vfs->szOsFile;
    shim_vfs.xOpen = shim_open;
    shim_vfs.xDelete = shim_delete;
    shim_vfs.xAccess = shim_access;
    shim_vfs.xFullPathname = shim_full_path;
    shim_methods.iVersion = no_shm ? 1 : 2;
    real_open_directory = real_vfs->xGetSystemCall(real_vfs, "openDirectory");
    int rc = real_vfs->xSetSystemCall(real_vfs, "openDirectory",
                                      (sqlite3_syscall_ptr)shim_open_directory);
    g_assert_cmpint(rc, ==, SQLITE_OK);
    rc = sqlite3_vfs_register(&shim_vfs, 1);
    g_assert_cmpint(rc, ==, SQLITE_OK);
    qs_io_set_hook(on_file_op, NULL);
}

void disk_remove(void)
{
    qs_io_set_hook(NULL, NULL);
    sqlite3_vfs_unregister(&shim_vfs);
    sqlite3_vfs_register(real_vfs, 1);
    real_vfs->xSetSystemCall(real_vfs, "openDirectory", NULL);
    real_vfs = NULL;
    disk_fail_at(DISK_FILES, 0, false, 0);
    disk_fail_at(DISK_SQLITE, 0, false, 0);
}
