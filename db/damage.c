#include "db/store_priv.h"

bool db_damage_add(db_store *store, int64_t slide_id, int64_t x_l0, int64_t y_l0, int64_t w_l0,
                   int64_t h_l0, const char *reason, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    db_sql_lock(store->sql);
    db_query q;
    /* A region met again after a resume is the same damage. */
    bool ok = db_query_init(&q, store->sql,
                            "INSERT INTO damage (slide_id, x_l0, y_l0, w_l0, h_l0, reason)"
                            " VALUES (?, ?, ?, ?, ?, ?)"
                            " ON CONFLICT (slide_id, x_l0, y_l0, w_l0, h_l0) DO UPDATE SET reason ="
                            " excluded.reason",
                            error);
    if (ok) {
        db_bind_int(&q, slide_id);
        db_bind_int(&q, x_l0);
        db_bind_int(&q, y_l0);
        db_bind_int(&q, w_l0);
        db_bind_int(&q, h_l0);
        db_bind_text(&q, reason ? reason : "");
        ok = db_query_run(&q, error);
    }
    db_sql_unlock(store->sql);
    return ok;
}
