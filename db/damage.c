#include "db/store_priv.h"

#include <string.h>

static const char *const KIND_NAMES[] = {"damaged", "missing", "filled"};

const char *db_damage_kind_name(db_damage_kind kind)
{
    return KIND_NAMES[kind];
}

static db_damage_kind parse_kind(const char *name)
{
    for (int i = 0; i < (int)G_N_ELEMENTS(KIND_NAMES); i++)
        if (!strcmp(name, KIND_NAMES[i]))
            return (db_damage_kind)i;
    return DB_DAMAGE_DAMAGED;
}

/* A region met again after a resume is the same damage. The lock is held. */
static bool insert(db_store *store, const db_damage *damage, GError **error)
{
    db_query q;
    if (!db_query_init(&q, store->sql,
                       "INSERT INTO damage (slide_id, x_l0, y_l0, w_l0, h_l0, kind, reason)"
                       " VALUES (?, ?, ?, ?, ?, ?, ?)"
                       " ON CONFLICT (slide_id, x_l0, y_l0, w_l0, h_l0) DO UPDATE SET reason ="
                       " excluded.reason, kind = excluded.kind",
                       error))
        return false;
    db_bind_int(&q, damage->slide_id);
    db_bind_int(&q, damage->x_l0);
    db_bind_int(&q, damage->y_l0);
    db_bind_int(&q, damage->w_l0);
    db_bind_int(&q, damage->h_l0);
    db_bind_text(&q, KIND_NAMES[damage->kind]);
    db_bind_text(&q, damage->reason ? damage->reason : "");
    return db_query_run(&q, error);
}

bool db_damage_add_many(db_store *store, const db_damage *damage, size_t n, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    db_sql_lock(store->sql);
    bool begun = db_sql_begin(store->sql, error), ok = begun;
    for (size_t i = 0; ok && i < n; i++)
        ok = insert(store, &damage[i], error);
    if (ok)
        ok = db_sql_commit(store->sql, error);
    else if (begun)
        db_sql_rollback(store->sql);
    db_sql_unlock(store->sql);
    return ok;
}

bool db_damage_add(db_store *store, int64_t slide_id, int64_t x_l0, int64_t y_l0, int64_t w_l0,
                   int64_t h_l0, const char *reason, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    g_autofree char *copy = g_strdup(reason);
    db_damage damage = {.slide_id = slide_id,
                        .x_l0 = x_l0,
                        .y_l0 = y_l0,
                        .w_l0 = w_l0,
                        .h_l0 = h_l0,
                        .kind = DB_DAMAGE_DAMAGED,
                        .reason = copy};
    db_sql_lock(store->sql);
    bool ok = insert(store, &damage, error);
    db_sql_unlock(store->sql);
    return ok;
}

static void clear_damage(gpointer data)
{
    g_free(((db_damage *)data)->reason);
}

GArray *db_damage_list(db_store *store, int64_t slide_id, GError **error)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(db_damage));
    g_array_set_clear_func(list, clear_damage);
    db_query q;
    int row = -1;
    db_sql_lock(store->sql);
    if (db_query_init(&q, store->sql,
                      "SELECT slide_id, x_l0, y_l0, w_l0, h_l0, kind, reason FROM damage"
                      " WHERE ?1 = 0 OR slide_id = ?1 ORDER BY slide_id, y_l0, x_l0",
                      error)) {
        db_bind_int(&q, slide_id);
        while ((row = db_query_step(&q, error)) == 1) {
            db_damage d = {.slide_id = db_read_int(&q)};
            d.x_l0 = db_read_int(&q);
            d.y_l0 = db_read_int(&q);
            d.w_l0 = db_read_int(&q);
            d.h_l0 = db_read_int(&q);
            d.kind = parse_kind(db_peek_text(&q));
            d.reason = db_read_text(&q);
            g_array_append_val(list, d);
        }
    }
    db_sql_unlock(store->sql);
    if (row == 0)
        return list;
    g_array_unref(list);
    return NULL;
}
