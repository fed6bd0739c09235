#include "tests/db/disk.h"

#include "base/file.h"

#include <glib/gstdio.h>
#include <sqlite3.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef enum { OP_CREATE, OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_RENAME, OP_DELETE, OP_DIRSYNC, OP_MARK } op_kind;
static const char *const op_names[] = {"create", "write", "cut", "sync", "rename", "delete", "folder sync",
                                       "mark"};

typedef struct {
    op_kind kind;
    char *path, *path2; /* relative to the root; "" is the root */
    int64_t offset;     /* of a write; size of a cut; value of a mark */
    size_t n;
    uint8_t *data;
} disk_op;

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

static void record(op_kind kind, const char *path, const char *path2, int64_t offset, const void *data,
                   size_t n)
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

static int on_file_op(void *user, qs_io_kind kind, const char *path, const char *path2, int64_t offset,
                      const void *data, size_t n)
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
    return fault(DISK_SQLITE) ? SQLITE_IOERR_READ : real_of(file)->pMethods->xRead(real_of(file), data, n, offset);
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
    return fault(DISK_SQLITE) ? SQLITE_IOERR_FSTAT : real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int shim_lock(sqlite3_file *file, int level)
{
    return fault(DISK_SQLITE) ? SQLITE_IOERR_LOCK : real_of(file)->pMethods->xLock(real_of(file), level);
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
    return fault(DISK_SQLITE) ? SQLITE_IOERR_SHMMAP
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
static sqlite3_io_methods shim_methods = {
    2,           shim_close,     shim_read,     shim_write,   shim_truncate, shim_sync,
    shim_size,   shim_lock,      shim_unlock,   shim_reserved, shim_control, shim_sector,
    shim_features, shim_shm_map, shim_shm_lock, shim_shm_barrier, shim_shm_unmap, NULL, NULL};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
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
    int rc = real_vfs->xSetSystemCall(real_vfs, "openDirectory", (sqlite3_syscall_ptr)shim_open_directory);
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

/* ---- replay -------------------------------------------------------------------------------- */

typedef struct {
    GByteArray *synced; /* content that survives */
    GPtrArray *pending; /* of disk_op, borrowed: since the last sync */
} inode;

typedef struct {
    GHashTable *now, *synced; /* path → inode: entries as programs see them; as they survive */
    GPtrArray *pending;       /* of disk_op, borrowed: entry changes since their folder's sync */
    GPtrArray *inodes;
} machine;

static void inode_free(gpointer data)
{
    inode *i = data;
    g_byte_array_unref(i->synced);
    g_ptr_array_unref(i->pending);
    g_free(i);
}

/* Applies one entry change (create, rename, delete) to a table of entries. */
static void apply_entry(GHashTable *entries, const disk_op *op, inode *created)
{
    if (op->kind == OP_CREATE) {
        g_hash_table_insert(entries, g_strdup(op->path), created);
    } else if (op->kind == OP_RENAME) {
        inode *moved = g_hash_table_lookup(entries, op->path);
        g_hash_table_remove(entries, op->path);
        if (moved)
            g_hash_table_insert(entries, g_strdup(op->path2), moved);
    } else {
        g_hash_table_remove(entries, op->path);
    }
}

/* The inode that a pending create made; found by the op, since names are used again. */
static inode *created_by(const machine *m, const disk_op *op)
{
    for (guint i = 0; i < m->inodes->len; i++) {
        inode *node = g_ptr_array_index(m->inodes, i);
        if (g_ptr_array_index(node->pending, 0) == op)
            return node;
    }
    return NULL;
}

static char *folder_of(const char *path)
{
    char *slash = strrchr(path, '/');
    return slash ? g_strndup(path, (gsize)(slash - path)) : g_strdup("");
}

static void resize(GByteArray *content, size_t n)
{
    size_t old = content->len;
    g_byte_array_set_size(content, (guint)n);
    if (n > old)
        memset(content->data + old, 0, n - old);
}

/* Applies a write (its part [from, to)) or a cut to a content. */
static void apply_data(GByteArray *content, const disk_op *op, size_t from, size_t to)
{
    if (op->kind == OP_TRUNCATE) {
        resize(content, (size_t)op->offset);
    } else if (op->kind == OP_WRITE && to > from) {
        size_t end = (size_t)op->offset + to;
        if (content->len < end)
            resize(content, end);
        memcpy(content->data + op->offset + from, op->data + from, to - from);
    }
}

static void machine_step(machine *m, disk_op *op)
{
    inode *node = g_hash_table_lookup(m->now, op->path);
    switch (op->kind) {
    case OP_CREATE:
        node = g_new0(inode, 1);
        node->synced = g_byte_array_new();
        node->pending = g_ptr_array_new();
        g_ptr_array_add(node->pending, op); /* its birth, always first; changes no content */
        g_ptr_array_add(m->inodes, node);
        apply_entry(m->now, op, node);
        g_ptr_array_add(m->pending, op);
        break;
    case OP_RENAME:
    case OP_DELETE:
        apply_entry(m->now, op, NULL);
        g_ptr_array_add(m->pending, op);
        break;
    case OP_WRITE:
    case OP_TRUNCATE:
        g_assert_nonnull(node);
        g_ptr_array_add(node->pending, op);
        break;
    case OP_SYNC:
        g_assert_nonnull(node);
        for (guint i = 1; i < node->pending->len; i++) {
            const disk_op *p = g_ptr_array_index(node->pending, i);
            apply_data(node->synced, p, 0, p->n);
        }
        g_ptr_array_set_size(node->pending, 1);
        break;
    case OP_DIRSYNC:
        for (guint i = 0; i < m->pending->len;) {
            const disk_op *p = g_ptr_array_index(m->pending, i);
            g_autofree char *folder = folder_of(p->path);
            if (strcmp(folder, op->path) != 0) {
                i++;
                continue;
            }
            apply_entry(m->synced, p, created_by(m, p));
            g_ptr_array_remove_index(m->pending, i);
        }
        break;
    case OP_MARK:
        break;
    }
}

typedef enum {
    KEEP_NONE,
    KEEP_ALL,       /* a kill, no power cut */
    KEEP_LAST,      /* only the last unsynced write of each file */
    KEEP_ALL_BUT_FIRST,
    KEEP_TORN,      /* the last write of each file stops in the middle */
    KEEP_SECTORS_A, /* any subset of sectors, any number of folder entries */
    KEEP_SECTORS_B,
    KEEP_INDEX,     /* the database's unsynced writes, not the packs' */
    KEEP_PACKS,     /* and the other way round */
    KEEP_WAL,       /* the log's or journal's, not the database file's nor the packs' */
    KEEP_MAIN,      /* the database file's only */
    KEEP_NO_ENTRY,  /* all writes, no unsynced folder entry */
    N_KEEP
} keep_rule;
static const char *const keep_names[] = {"nothing unsynced kept",
                                         "everything kept",
                                         "only the last write of each file kept",
                                         "all but the first write of each file kept",
                                         "the last write of each file torn",
                                         "random sectors kept",
                                         "other random sectors kept",
                                         "the packs' unsynced writes lost",
                                         "the index's unsynced writes lost",
                                         "only the log's unsynced writes kept",
                                         "only the database file's unsynced writes kept",
                                         "unsynced folder entries lost"};

static bool keeps_file(keep_rule rule, const char *path)
{
    bool pack = g_str_has_suffix(path, ".pack"), main_file = strcmp(path, "index.db") == 0;
    switch (rule) {
    case KEEP_NONE:
        return false;
    case KEEP_INDEX:
        return !pack;
    case KEEP_PACKS:
        return pack;
    case KEEP_WAL:
        return !pack && !main_file;
    case KEEP_MAIN:
        return main_file;
    default:
        return true;
    }
}

static void keep_write(GByteArray *content, const disk_op *op, keep_rule rule, bool first, bool last,
                       GRand *rand)
{
    if ((rule == KEEP_LAST && !last) || (rule == KEEP_ALL_BUT_FIRST && first))
        return;
    if (rule == KEEP_TORN && last && op->kind == OP_WRITE) {
        apply_data(content, op, 0, op->n / 2 / 512 * 512 + (op->n < 1024 ? op->n / 2 : 0));
        return;
    }
    if (rule != KEEP_SECTORS_A && rule != KEEP_SECTORS_B) {
        apply_data(content, op, 0, op->n);
        return;
    }
    if (op->kind == OP_TRUNCATE) {
        if (g_rand_boolean(rand))
            apply_data(content, op, 0, 0);
        return;
    }
    for (size_t from = 0; from < op->n;) {
        size_t to = MIN(op->n, from + 512 - ((size_t)op->offset + from) % 512);
        if (g_rand_boolean(rand))
            apply_data(content, op, from, to);
        from = to;
    }
}

/* Writes one possible state below `dir` (emptied) and returns its fingerprint. */
static char *lay_out(const machine *m, const char *dir, keep_rule rule, guint32 seed)
{
    GRand *rand = g_rand_new_with_seed(seed);
    g_autofree char *packs = g_build_filename(dir, "packs", NULL); /* made before the first record */
    g_mkdir_with_parents(packs, 0777);
    GHashTable *entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GHashTableIter it;
    gpointer path, node;
    g_hash_table_iter_init(&it, m->synced);
    while (g_hash_table_iter_next(&it, &path, &node))
        g_hash_table_insert(entries, g_strdup(path), node);
    guint n_entries = rule == KEEP_NONE || rule == KEEP_NO_ENTRY ? 0 : m->pending->len;
    if (rule == KEEP_SECTORS_A || rule == KEEP_SECTORS_B)
        n_entries = (guint)g_rand_int_range(rand, 0, (gint32)m->pending->len + 1);
    for (guint i = 0; i < n_entries; i++) {
        const disk_op *op = g_ptr_array_index(m->pending, i);
        apply_entry(entries, op, created_by(m, op));
    }
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA1);
    GList *paths = g_list_sort(g_hash_table_get_keys(entries), (GCompareFunc)strcmp);
    for (GList *p = paths; p; p = p->next) {
        const inode *file = g_hash_table_lookup(entries, p->data);
        GByteArray *content = g_byte_array_new();
        g_byte_array_append(content, file->synced->data, file->synced->len);
        guint n = file->pending->len;
        for (guint i = 1; i < n && keeps_file(rule, p->data); i++)
            keep_write(content, g_ptr_array_index(file->pending, i), rule, i == 1, i == n - 1, rand);
        g_autofree char *target = g_build_filename(dir, p->data, NULL);
        g_autofree char *folder = g_path_get_dirname(target);
        g_mkdir_with_parents(folder, 0777);
        gboolean ok = g_file_set_contents_full(target, (const char *)content->data, content->len,
                                               G_FILE_SET_CONTENTS_NONE, 0666, NULL);
        g_assert_true(ok);
        g_checksum_update(sum, p->data, -1);
        g_checksum_update(sum, content->data, content->len);
        g_byte_array_unref(content);
    }
    char *print = g_strdup(g_checksum_get_string(sum));
    g_checksum_free(sum);
    g_list_free(paths);
    g_hash_table_destroy(entries);
    g_rand_free(rand);
    return print;
}

static void empty_dir(const char *dir)
{
    GDir *open = g_dir_open(dir, 0, NULL);
    const char *name;
    while (open && (name = g_dir_read_name(open))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
            empty_dir(path);
            g_rmdir(path);
        } else {
            g_unlink(path);
        }
    }
    if (open)
        g_dir_close(open);
}

static void try_state(const machine *m, const char *dir, guint cut, keep_rule rule, int64_t mark,
                      GHashTable *seen, disk_verify verify, void *user, disk_report *report)
{
    empty_dir(dir);
    char *print = lay_out(m, dir, rule, cut * 2 + (rule == KEEP_SECTORS_B));
    g_autofree char *key = g_strdup_printf("%s %d", print, (int)mark);
    g_free(print);
    if (!g_hash_table_add(seen, g_steal_pointer(&key)))
        return;
    report->n_states++;
    char *wrong = verify(user, dir, mark);
    if (!wrong)
        return;
    report->n_bad++;
    if (!report->first_bad) {
        const disk_op *op = cut ? g_ptr_array_index(rec.ops, cut - 1) : NULL;
        report->first_bad =
            g_strdup_printf("cut after %u of %u (%s %s), %s: %s", cut, rec.ops->len,
                            op ? op_names[op->kind] : "nothing", op ? op->path : "", keep_names[rule], wrong);
    }
    g_free(wrong);
}

void disk_replay(disk_verify verify, void *user, bool stop_at_bad, disk_report *report)
{
    *report = (disk_report){0};
    disk_stop();
    const char *fast = g_access("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir();
    g_autofree char *dir = g_build_filename(fast, "qs-replay-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(dir));
    machine m = {.now = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                 .synced = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                 .pending = g_ptr_array_new(),
                 .inodes = g_ptr_array_new_with_free_func(inode_free)};
    GHashTable *seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    int64_t mark = -1;
    for (guint cut = 0; cut <= rec.ops->len && !(stop_at_bad && report->n_bad); cut++) {
        if (cut > 0) {
            disk_op *op = g_ptr_array_index(rec.ops, cut - 1);
            machine_step(&m, op);
            if (op->kind == OP_MARK)
                mark = op->offset;
        }
        for (int rule = 0; rule < N_KEEP && !(stop_at_bad && report->n_bad); rule++)
            try_state(&m, dir, cut, (keep_rule)rule, mark, seen, verify, user, report);
    }
    empty_dir(dir);
    g_rmdir(dir);
    g_hash_table_destroy(seen);
    g_hash_table_destroy(m.now);
    g_hash_table_destroy(m.synced);
    g_ptr_array_unref(m.pending);
    g_ptr_array_unref(m.inodes);
}
