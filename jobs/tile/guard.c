/* See job_guard.h. */
#include "jobs/tile/guard.h"

#include "base/error.h"

#include <string.h>

typedef struct {
    char *path;
    db_split split;
} holder;

struct job_guard {
    GMutex lock;          /* guards contents */
    GHashTable *contents; /* hash → holder */
};

static void holder_free(gpointer data)
{
    g_free(((holder *)data)->path);
    g_free(data);
}

static void remember(job_guard *guard, const char *hash, const char *path, db_split split)
{
    holder *h = g_new0(holder, 1);
    h->path = g_strdup(path);
    h->split = split;
    g_hash_table_insert(guard->contents, g_strdup(hash), h);
}

static bool check_case(const db_slide *row, GHashTable *by_case, GError **error)
{
    const job_guard_slide *slide =
        row->case_id && *row->case_id ? g_hash_table_lookup(by_case, row->case_id) : NULL;
    if (!slide || slide->split == row->split)
        return true;
    g_set_error(
        error, QS_ERROR, QS_ERROR_MISMATCH,
        "case '%s' would be in %s with '%s', but the store has it in %s with '%s': a leak; keep a "
        "case in one split, or tile into a new store",
        row->case_id, db_split_name(slide->split), slide->path, db_split_name(row->split),
        row->path);
    return false;
}

job_guard *job_guard_create(db_store *store, const job_guard_slide *slides, size_t n,
                              GError **error)
{
    g_autoptr(GHashTable) by_path = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) by_case = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t i = 0; i < n; i++) {
        gpointer slide = (gpointer)(uintptr_t)&slides[i];
        g_hash_table_insert(by_path, (gpointer)(uintptr_t)slides[i].path, slide);
        if (slides[i].case_id && *slides[i].case_id)
            g_hash_table_insert(by_case, (gpointer)(uintptr_t)slides[i].case_id, slide);
    }
    GArray *rows = store ? db_slide_list(store, error) : NULL;
    if (store && !rows)
        return NULL;
    job_guard *guard = g_new0(job_guard, 1);
    g_mutex_init(&guard->lock);
    guard->contents = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, holder_free);
    bool ok = true;
    for (guint i = 0; ok && rows && i < rows->len; i++) {
        const db_slide *row = &g_array_index(rows, db_slide, i);
        if (g_hash_table_contains(by_path, row->path))
            continue;
        ok = check_case(row, by_case, error);
        if (row->content_hash && *row->content_hash)
            remember(guard, row->content_hash, row->path, row->split);
    }
    g_clear_pointer(&rows, g_array_unref);
    if (!ok)
        g_clear_pointer(&guard, job_guard_destroy);
    return guard;
}

bool job_guard_content(job_guard *guard, const job_guard_slide *slide, const char *hash,
                        GError **error)
{
    bool ok = true;
    if (!guard || !hash)
        return true;
    g_mutex_lock(&guard->lock);
    const holder *other = g_hash_table_lookup(guard->contents, hash);
    if (!other) {
        remember(guard, hash, slide->path, slide->split);
    } else if (strcmp(other->path, slide->path) != 0 && other->split == slide->split) {
        qs_warn("%s: has the same content as %s; both are in %s", slide->path, other->path,
                db_split_name(slide->split));
    } else if (strcmp(other->path, slide->path) != 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                    "%s (%s): has the same content as '%s' (%s): a leak; take one of them out",
                    slide->path, db_split_name(slide->split), other->path,
                    db_split_name(other->split));
        ok = false;
    }
    g_mutex_unlock(&guard->lock);
    return ok;
}

void job_guard_destroy(job_guard *guard)
{
    if (!guard)
        return;
    g_hash_table_unref(guard->contents);
    g_mutex_clear(&guard->lock);
    g_free(guard);
}
