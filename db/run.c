#include "db/store_priv.h"

#include <string.h>

void db_run_clear(db_run *run)
{
    char **texts[] = {&run->kind,   &run->name,  &run->config,     &run->version,
                      &run->device, &run->state, &run->started_at, &run->ended_at};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_clear_pointer(texts[i], g_free);
}

/* Under the connection's lock. */
static bool insert_run(db_store *store, db_run *run, GError **error)
{
    db_query q;
    if (!db_query_init(
            &q, store->sql,
            "INSERT INTO runs (kind, name, config, version, device, seed, state, started_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ'))",
            error))
        return false;
    db_bind_text(&q, run->kind);
    db_bind_text(&q, run->name);
    db_bind_text(&q, run->config);
    db_bind_text(&q, run->version);
    db_bind_text(&q, run->device);
    db_bind_int(&q, run->seed);
    db_bind_text(&q, run->state ? run->state : "running");
    if (!db_query_run(&q, error))
        return false;
    run->id = sqlite3_last_insert_rowid(store->sql->handle);
    return true;
}

static bool may_insert(db_store *store, const db_run *run, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    if (run->kind && *run->kind)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: a run needs its kind", store->dir);
    return false;
}

bool db_run_begin(db_store *store, db_run *run, GError **error)
{
    if (!may_insert(store, run, error))
        return false;
    db_sql_lock(store->sql);
    bool ok = insert_run(store, run, error);
    db_sql_unlock(store->sql);
    return ok;
}

/* Under the connection's lock. */
static bool end_run(db_store *store, int64_t run_id, const char *state, GError **error)
{
    db_query q;
    bool ok = db_query_init(&q, store->sql,
                            "UPDATE runs SET state = ?, ended_at = strftime('%Y-%m-%dT%H:%M:%SZ')"
                            " WHERE id = ?",
                            error);
    if (ok) {
        db_bind_text(&q, state);
        db_bind_int(&q, run_id);
        ok = db_query_run(&q, error);
        if (ok && sqlite3_changes(store->sql->handle) != 1) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: there is no run %" G_GINT64_FORMAT,
                        store->dir, run_id);
            ok = false;
        }
    }
    return ok;
}

bool db_run_end(db_store *store, int64_t run_id, const char *state, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    db_sql_lock(store->sql);
    bool ok = end_run(store, run_id, state, error);
    db_sql_unlock(store->sql);
    return ok;
}

static void clear_run(gpointer run)
{
    db_run_clear(run);
}

GArray *db_run_list(db_store *store, GError **error)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(db_run));
    g_array_set_clear_func(list, clear_run);
    db_query q;
    int row = -1;
    db_sql_lock(store->sql);
    if (db_query_init(
            &q, store->sql,
            "SELECT id, kind, name, config, version, device, seed, state, started_at, ended_at,"
            " (SELECT count(*) FROM metrics WHERE run_id = runs.id) FROM runs ORDER BY id",
            error)) {
        while ((row = db_query_step(&q, error)) == 1) {
            db_run run = {.id = db_read_int(&q)};
            run.kind = db_read_text(&q);
            run.name = db_read_text(&q);
            run.config = db_read_text(&q);
            run.version = db_read_text(&q);
            run.device = db_read_text(&q);
            run.seed = db_read_int(&q);
            run.state = db_read_text(&q);
            run.started_at = db_read_text(&q);
            run.ended_at = db_read_text(&q);
            run.n_metrics = db_read_int(&q);
            g_array_append_val(list, run);
        }
    }
    db_sql_unlock(store->sql);
    if (row == 0)
        return list;
    g_array_unref(list);
    return NULL;
}

static bool insert_metric(db_store *store, int64_t run_id, int64_t step, const char *name,
                          double value, const char *unit, int64_t slide_id, GError **error)
{
    db_query q;
    if (!db_query_init(&q, store->sql,
                       "INSERT INTO metrics (run_id, step, name, value, unit, slide_id)"
                       " VALUES (?, ?, ?, ?, ?, nullif(?, 0))",
                       error))
        return false;
    db_bind_int(&q, run_id);
    db_bind_int(&q, step);
    db_bind_text(&q, name);
    db_bind_double(&q, value);
    db_bind_text(&q, unit);
    db_bind_int(&q, slide_id);
    return db_query_run(&q, error);
}

bool db_metric_add(db_store *store, int64_t run_id, int64_t step, const char *name, double value,
                   const char *unit, int64_t slide_id, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    db_sql_lock(store->sql);
    bool ok = insert_metric(store, run_id, step, name, value, unit, slide_id, error);
    db_sql_unlock(store->sql);
    return ok;
}

bool db_metric_add_many(db_store *store, int64_t run_id, int64_t step, const char *const *names,
                        const double *values, const char *const *units, size_t n, GError **error)
{
    if (!db_store_need_write(store, error))
        return false;
    db_sql_lock(store->sql);
    bool begun = db_sql_begin(store->sql, error), ok = begun;
    for (size_t i = 0; ok && i < n; i++)
        ok = insert_metric(store, run_id, step, names[i], values[i], units ? units[i] : NULL, 0,
                           error);
    if (ok)
        ok = db_sql_commit(store->sql, error);
    else if (begun)
        db_sql_rollback(store->sql);
    db_sql_unlock(store->sql);
    return ok;
}

GArray *db_metric_list(db_store *store, int64_t run_id, const char *name, GError **error)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(db_metric));
    db_query q;
    int row = -1;
    db_sql_lock(store->sql);
    if (db_query_init(
            &q, store->sql,
            "SELECT step, value, coalesce(slide_id, 0) FROM metrics WHERE run_id = ? AND name = ?"
            " ORDER BY step, id",
            error)) {
        db_bind_int(&q, run_id);
        db_bind_text(&q, name);
        while ((row = db_query_step(&q, error)) == 1) {
            db_metric metric = {.step = db_read_int(&q)};
            metric.value = db_read_double(&q);
            metric.slide_id = db_read_int(&q);
            g_array_append_val(list, metric);
        }
    }
    db_sql_unlock(store->sql);
    if (row == 0)
        return list;
    g_array_unref(list);
    return NULL;
}

bool db_run_record(db_store *store, db_run *run, const db_measure *measures, size_t n,
                   GError **error)
{
    if (!may_insert(store, run, error))
        return false;
    db_sql_lock(store->sql);
    bool begun = db_sql_begin(store->sql, error);
    bool ok = begun && insert_run(store, run, error) &&
              end_run(store, run->id, run->state ? run->state : "done", error);
    for (size_t i = 0; ok && i < n; i++)
        ok = insert_metric(store, run->id, measures[i].step, measures[i].name, measures[i].value,
                           measures[i].unit, measures[i].slide_id, error);
    if (ok)
        ok = db_sql_commit(store->sql, error);
    else if (begun)
        db_sql_rollback(store->sql);
    db_sql_unlock(store->sql);
    return ok;
}

static void clear_measure(gpointer data)
{
    db_measure *measure = data;
    g_free(measure->name);
    g_free(measure->unit);
}

GArray *db_measure_list(db_store *store, int64_t run_id, GError **error)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(db_measure));
    g_array_set_clear_func(list, clear_measure);
    db_query q;
    int row = -1;
    db_sql_lock(store->sql);
    if (db_query_init(&q, store->sql,
                      "SELECT name, unit, step, coalesce(slide_id, 0), value FROM metrics"
                      " WHERE run_id = ? ORDER BY id",
                      error)) {
        db_bind_int(&q, run_id);
        while ((row = db_query_step(&q, error)) == 1) {
            db_measure measure = {.name = db_read_text(&q)};
            measure.unit = db_read_text(&q);
            measure.step = db_read_int(&q);
            measure.slide_id = db_read_int(&q);
            measure.value = db_read_double(&q);
            g_array_append_val(list, measure);
        }
    }
    db_sql_unlock(store->sql);
    if (row == 0)
        return list;
    g_array_unref(list);
    return NULL;
}
