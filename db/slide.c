#include "db/store_priv.h"

#include <string.h>

static const char *const split_names[] = {"train", "val", "test"};
static const char *const state_names[] = {"pending", "tiling", "done", "failed"};

const char *db_split_name(db_split split)
{
    return split_names[split];
}

bool db_split_parse(const char *name, db_split *split)
{
    for (size_t i = 0; i < G_N_ELEMENTS(split_names); i++)
        if (g_strcmp0(name, split_names[i]) == 0) {
            *split = (db_split)i;
            return true;
        }
    return false;
}

const char *db_slide_state_name(db_slide_state state)
{
    return state_names[state];
}

static db_slide_state state_parse(const char *name)
{
    size_t i = 0;
    while (i + 1 < G_N_ELEMENTS(state_names) && g_strcmp0(name, state_names[i]) != 0)
        i++;
    return (db_slide_state)i;
}

void db_slide_clear(db_slide *slide)
{
    char **texts[] = {
        &slide->name,        &slide->path,         &slide->mask_path, &slide->truth_path,
        &slide->case_id,     &slide->content_hash, &slide->driver,    &slide->lane,
        &slide->mpp_origin,  &slide->error,        &slide->mask_hash, &slide->tissue_path,
        &slide->tissue_hash, &slide->colour,       &slide->notes,     &slide->stains};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_clear_pointer(texts[i], g_free);
}

/* The columns in the order of bind_slide and read_slide. */
#define SLIDE_COLUMNS                                                                              \
    "name, path, mask_path, truth_path, case_id, content_hash, driver, lane, mpp_origin, error, "  \
    "split,"                                                                                       \
    " labelled, state, w_l0, h_l0, mpp, level, downsample, n_cells, n_damaged, mask_factor, "      \
    "tissue_share, mask_hash, tissue_path, tissue_hash, colour, notes, stains, "                   \
    "mpp_file"
/* 29 of them. */
#define SLIDE_MARKS                                                                                \
    "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"

static void bind_slide(db_query *q, const db_slide *s, db_slide_state state)
{
    const char *texts[] = {s->name,         s->path,   s->mask_path, s->truth_path, s->case_id,
                           s->content_hash, s->driver, s->lane,      s->mpp_origin, s->error};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        db_bind_text(q, texts[i]);
    db_bind_text(q, split_names[s->split]);
    db_bind_int(q, s->labelled);
    db_bind_text(q, state_names[state]);
    db_bind_int(q, s->w_l0);
    db_bind_int(q, s->h_l0);
    db_bind_double(q, s->mpp);
    db_bind_int(q, s->level);
    db_bind_double(q, s->downsample);
    db_bind_int(q, s->n_cells);
    db_bind_int(q, s->n_damaged);
    db_bind_int(q, s->mask_factor);
    db_bind_double(q, s->tissue_share);
    const char *more[] = {s->mask_hash, s->tissue_path, s->tissue_hash,
                          s->colour,    s->notes,       s->stains};
    for (size_t i = 0; i < G_N_ELEMENTS(more); i++)
        db_bind_text(q, more[i]);
    db_bind_double(q, s->mpp_file);
}

static void read_slide(db_query *q, db_slide *s)
{
    memset(s, 0, sizeof *s);
    s->id = db_read_int(q);
    char **texts[] = {&s->name,         &s->path,   &s->mask_path, &s->truth_path, &s->case_id,
                      &s->content_hash, &s->driver, &s->lane,      &s->mpp_origin, &s->error};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        *texts[i] = db_read_text(q);
    g_autofree char *split = db_read_text(q);
    db_split_parse(split, &s->split); /* the schema's CHECK admits no other */
    s->labelled = db_read_int(q) != 0;
    g_autofree char *state = db_read_text(q);
    s->state = state_parse(state);
    s->w_l0 = db_read_int(q);
    s->h_l0 = db_read_int(q);
    s->mpp = db_read_double(q);
    s->level = (int)db_read_int(q);
    s->downsample = db_read_double(q);
    s->n_cells = db_read_int(q);
    s->n_damaged = db_read_int(q);
    s->mask_factor = (int)db_read_int(q);
    s->tissue_share = db_read_double(q);
    char **more[] = {&s->mask_hash, &s->tissue_path, &s->tissue_hash,
                     &s->colour,    &s->notes,       &s->stains};
    for (size_t i = 0; i < G_N_ELEMENTS(more); i++)
        *more[i] = db_read_text(q);
    s->mpp_file = db_read_double(q);
}

static bool slide_valid(const db_slide *s, GError **error)
{
    if (s->name && *s->name && s->path && *s->path && (unsigned)s->split <= DB_SPLIT_TEST &&
        (unsigned)s->state <= DB_SLIDE_FAILED)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "slide row of \"%s\": name, path, split and state must be given",
                s->path ? s->path : "(no path)");
    return false;
}

bool db_slide_write(db_store *store, const db_slide *slide, db_slide_state state, GError **error)
{
    db_query q;
    if (!slide_valid(slide, error) ||
        !db_query_init(&q, store->sql,
                       "UPDATE slides SET (" SLIDE_COLUMNS ") = (" SLIDE_MARKS ") WHERE id = ?",
                       error))
        return false;
    bind_slide(&q, slide, state);
    db_bind_int(&q, slide->id);
    if (!db_query_run(&q, error))
        return false;
    if (sqlite3_changes(store->sql->handle) == 1)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: there is no slide %" G_GINT64_FORMAT,
                store->dir, slide->id);
    return false;
}

/* 1 and the number in *value, 0 no row, -1 error. */
static int find_int(db_store *store, const char *text, const char *key, int64_t *value,
                    GError **error)
{
    db_query q;
    if (!db_query_init(&q, store->sql, text, error))
        return -1;
    db_bind_text(&q, key);
    int row = db_query_step(&q, error);
    if (row == 1) {
        *value = db_read_int(&q);
        db_query_end(&q);
    }
    return row;
}

static bool insert_slide(db_store *store, db_slide *slide, GError **error)
{
    g_autofree char *base = g_strdup(slide->name);
    for (int k = 2;; k++) {
        int64_t other = 0;
        int row =
            find_int(store, "SELECT id FROM slides WHERE name = ?", slide->name, &other, error);
        if (row < 0)
            return false;
        if (row == 0)
            break;
        g_free(slide->name);
        slide->name = g_strdup_printf("%s~%d", base, k);
    }
    db_query q;
    if (!db_query_init(&q, store->sql,
                       "INSERT INTO slides (" SLIDE_COLUMNS ") VALUES (" SLIDE_MARKS ")", error))
        return false;
    slide->state = DB_SLIDE_PENDING;
    bind_slide(&q, slide, slide->state);
    if (!db_query_run(&q, error))
        return false;
    slide->id = sqlite3_last_insert_rowid(store->sql->handle);
    return true;
}

/* The slide is known by its path: takes its name and state over, refuses another content under it.
 */
static bool refresh_slide(db_store *store, int64_t id, db_slide *slide, GError **error)
{
    db_query q;
    if (!db_query_init(&q, store->sql,
                       "SELECT name, state, content_hash,"
                       " EXISTS (SELECT 1 FROM patches WHERE patches.id BETWEEN ?1 * 4294967296 AND"
                       "  ?1 * 4294967296 + 4294967295)"
                       " FROM slides WHERE id = ?1",
                       error))
        return false;
    db_bind_int(&q, id);
    int row = db_query_step(&q, error);
    if (row < 0)
        return false;
    char *name = db_read_text(&q);
    g_autofree char *state = db_read_text(&q);
    g_autofree char *hash = db_read_text(&q);
    bool has_patches = db_read_int(&q) != 0;
    db_query_end(&q);
    g_free(slide->name);
    slide->name = name;
    slide->id = id;
    slide->state = state_parse(state);
    if (hash && slide->content_hash && strcmp(hash, slide->content_hash) != 0 && has_patches) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_MISMATCH,
            "%s: the file was replaced since its patches were stored (content %.8s…, now %.8s…); "
            "put the old file back, or tile into a new store",
            slide->path, hash, slide->content_hash);
        return false;
    }
    if (!db_query_init(&q, store->sql,
                       "UPDATE slides SET split = ?, labelled = ?, case_id = ?, mask_path = ?, "
                       "content_hash = coalesce(?, content_hash) WHERE id = ?",
                       error))
        return false;
    db_bind_text(&q, split_names[slide->split]);
    db_bind_int(&q, slide->labelled);
    db_bind_text(&q, slide->case_id);
    db_bind_text(&q, slide->mask_path);
    db_bind_text(&q, slide->content_hash);
    db_bind_int(&q, id);
    return db_query_run(&q, error);
}

bool db_slide_put(db_store *store, db_slide *slide, GError **error)
{
    if (!db_store_need_write(store, error) || !slide_valid(slide, error))
        return false;
    db_sql_lock(store->sql);
    bool ok = db_sql_begin(store->sql, error);
    if (ok) {
        int64_t id = 0;
        int row = find_int(store, "SELECT id FROM slides WHERE path = ?", slide->path, &id, error);
        ok = row >= 0 && (row == 1 ? refresh_slide(store, id, slide, error)
                                   : insert_slide(store, slide, error));
        if (ok)
            ok = db_sql_commit(store->sql, error);
        else
            db_sql_rollback(store->sql);
    }
    db_sql_unlock(store->sql);
    return ok;
}

bool db_slide_update(db_store *store, const db_slide *slide, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    db_sql_lock(store->sql);
    bool ok = db_sql_begin(store->sql, error);
    if (ok && db_slide_write(store, slide, slide->state, error))
        ok = db_sql_commit(store->sql, error);
    else if (ok) {
        db_sql_rollback(store->sql);
        ok = false;
    }
    db_sql_unlock(store->sql);
    return ok;
}

static void clear_slide(gpointer slide)
{
    db_slide_clear(slide);
}

GArray *db_slide_list(db_store *store, GError **error)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(db_slide));
    g_array_set_clear_func(list, clear_slide);
    db_query q;
    db_sql_lock(store->sql);
    int row = db_query_init(&q, store->sql,
                            "SELECT id, " SLIDE_COLUMNS " FROM slides ORDER BY name", error)
                  ? 1
                  : -1;
    while (row == 1 && (row = db_query_step(&q, error)) == 1) {
        db_slide slide;
        read_slide(&q, &slide);
        g_array_append_val(list, slide);
    }
    db_sql_unlock(store->sql);
    if (row == 0)
        return list;
    g_array_unref(list);
    return NULL;
}
