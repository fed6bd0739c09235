/* Rebuilds what a power cut may leave from the log of disk.h. */
#include "tests/db/disk_priv.h"

#include <glib/gstdio.h>

#include <string.h>
#include <unistd.h>

static const char *const op_names[] = {"create", "write",  "cut",         "sync",
                                       "rename", "delete", "folder sync", "mark"};

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
    KEEP_ALL,  /* a kill, no power cut */
    KEEP_LAST, /* only the last unsynced write of each file */
    KEEP_ALL_BUT_FIRST,
    KEEP_TORN,      /* the last write of each file stops in the middle */
    KEEP_SECTORS_A, /* any subset of sectors, any number of folder entries */
    KEEP_SECTORS_B,
    KEEP_INDEX,    /* the database's unsynced writes, not the packs' */
    KEEP_PACKS,    /* and the other way round */
    KEEP_WAL,      /* the log's or journal's, not the database file's nor the packs' */
    KEEP_MAIN,     /* the database file's only */
    KEEP_NO_ENTRY, /* all writes, no unsynced folder entry */
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

static void keep_write(GByteArray *content, const disk_op *op, keep_rule rule, bool first,
                       bool last, GRand *rand)
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
    g_autofree char *packs =
        g_build_filename(dir, "packs", NULL); /* made before the first record */
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
            keep_write(content, g_ptr_array_index(file->pending, i), rule, i == 1, i == n - 1,
                       rand);
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
        const disk_op *op = cut ? g_ptr_array_index(disk_log(), cut - 1) : NULL;
        report->first_bad = g_strdup_printf("cut after %u of %u (%s %s), %s: %s", cut,
                                            disk_log()->len, op ? op_names[op->kind] : "nothing",
                                            op ? op->path : "", keep_names[rule], wrong);
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
    for (guint cut = 0; cut <= disk_log()->len && !(stop_at_bad && report->n_bad); cut++) {
        if (cut > 0) {
            disk_op *op = g_ptr_array_index(disk_log(), cut - 1);
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
