#include "db/sql.h"

#include <math.h>

static void finalize(gpointer stmt)
{
    sqlite3_finalize(stmt);
}

db_sql *db_sql_open(const char *path, const char *uri, int flags, const char *vfs, GError **error)
{
    db_sql *sql = g_new0(db_sql, 1);
    g_rec_mutex_init(&sql->lock);
    sql->path = g_strdup(path);
    sql->statements = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, finalize);
    /* Our lock serialises, so SQLite's own mutexes would be paid for nothing. */
    int rc = sqlite3_open_v2(uri ? uri : path, &sql->handle,
                             flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, vfs);
    if (rc == SQLITE_OK)
        rc = sqlite3_extended_result_codes(sql->handle, 1);
    if (rc == SQLITE_OK)
        return sql;
    db_sql_set_error(sql, rc, "be opened", error);
    db_sql_close(sql);
    return NULL;
}

void db_sql_close(db_sql *sql)
{
    if (!sql)
        return;
    g_hash_table_destroy(sql->statements);
    sqlite3_close_v2(sql->handle);
    g_rec_mutex_clear(&sql->lock);
    g_free(sql->path);
    g_free(sql);
}

void db_sql_lock(db_sql *sql)
{
    g_rec_mutex_lock(&sql->lock);
}

void db_sql_unlock(db_sql *sql)
{
    g_rec_mutex_unlock(&sql->lock);
}

void db_sql_set_error(db_sql *sql, int rc, const char *doing, GError **error)
{
    const char *text = sql->handle ? sqlite3_errmsg(sql->handle) : sqlite3_errstr(rc);
    int code = QS_ERROR_INTERNAL;
    const char *hint = "";
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        code = QS_ERROR_BUSY;
        hint = "; another program is writing to the store: wait for it or stop it";
        break;
    case SQLITE_FULL:
        code = QS_ERROR_IO;
        hint = "; make room on the disk and run the same command again";
        break;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        code = QS_ERROR_IO;
        break;
    case SQLITE_READONLY:
        code = QS_ERROR_IO;
        hint = "; the store can be read here but not written";
        break;
    case SQLITE_PROTOCOL:
        code = QS_ERROR_IO;
        hint = "; file locks do not work here: put the store on a local disk";
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        code = QS_ERROR_FORMAT;
        break;
    case SQLITE_CONSTRAINT:
        code = QS_ERROR_MISMATCH;
        break;
    default:
        break;
    }
    int system_errno = sql->handle ? sqlite3_system_errno(sql->handle) : 0;
    if (code == QS_ERROR_IO && *qs_errno_way_out(system_errno))
        hint = qs_errno_way_out(system_errno);
    bool say_errno = code == QS_ERROR_IO && system_errno != 0;
    g_set_error(error, QS_ERROR, code, "%s: cannot %s: %s%s%s (SQLite %d)%s", sql->path, doing,
                text, say_errno ? ": " : "", say_errno ? g_strerror(system_errno) : "", rc, hint);
}

bool db_sql_exec(db_sql *sql, const char *text, GError **error)
{
    int rc = sqlite3_exec(sql->handle, text, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return true;
    g_autofree char *doing = g_strdup_printf("run \"%.60s\"", text);
    db_sql_set_error(sql, rc, doing, error);
    return false;
}

char *db_sql_text(db_sql *sql, const char *text, GError **error)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(sql->handle, text, -1, &stmt, NULL);
    char *value = NULL;
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            value = g_strdup((const char *)sqlite3_column_text(stmt, 0));
            rc = SQLITE_DONE;
        }
    }
    if (rc != SQLITE_DONE) {
        g_autofree char *doing = g_strdup_printf("run \"%.60s\"", text);
        db_sql_set_error(sql, rc, doing, error);
    }
    sqlite3_finalize(stmt);
    return value;
}

bool db_sql_begin(db_sql *sql, GError **error)
{
    return db_sql_exec(sql, "BEGIN IMMEDIATE", error);
}

bool db_sql_commit(db_sql *sql, GError **error)
{
    int rc = sqlite3_exec(sql->handle, "COMMIT", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return true;
    db_sql_set_error(sql, rc, "commit", error);
    db_sql_rollback(sql);
    return false;
}

void db_sql_rollback(db_sql *sql)
{
    if (!sqlite3_get_autocommit(sql->handle))
        sqlite3_exec(sql->handle, "ROLLBACK", NULL, NULL, NULL);
}

bool db_query_init(db_query *query, db_sql *sql, const char *text, GError **error)
{
    *query = (db_query){.sql = sql, .i = 1};
    query->stmt = g_hash_table_lookup(sql->statements, text);
    if (query->stmt)
        return true;
    int rc =
        sqlite3_prepare_v3(sql->handle, text, -1, SQLITE_PREPARE_PERSISTENT, &query->stmt, NULL);
    if (rc != SQLITE_OK) {
        g_autofree char *doing = g_strdup_printf("prepare \"%.60s\"", text);
        db_sql_set_error(sql, rc, doing, error);
        return false;
    }
    /* Keyed by SQLite's own copy of the text, which lives as long as the statement. */
    union {
        const char *text;
        char *key;
    } own = {.text = sqlite3_sql(query->stmt)};
    g_hash_table_insert(sql->statements, own.key, query->stmt);
    return true;
}

static void bound(db_query *query, int rc)
{
    query->i++;
    if (rc != SQLITE_OK && query->rc == SQLITE_OK)
        query->rc = rc;
}

void db_bind_int(db_query *query, int64_t value)
{
    bound(query, sqlite3_bind_int64(query->stmt, query->i, value));
}

void db_bind_double(db_query *query, double value)
{
    bound(query, sqlite3_bind_double(query->stmt, query->i, value));
}

void db_bind_text(db_query *query, const char *value)
{
    bound(query, sqlite3_bind_text(query->stmt, query->i, value, -1, SQLITE_STATIC));
}

void db_query_end(db_query *query)
{
    if (!query->stmt)
        return;
    sqlite3_reset(query->stmt);
    sqlite3_clear_bindings(query->stmt);
}

int db_query_step(db_query *query, GError **error)
{
    int rc = query->rc;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(query->stmt);
    query->i = 0;
    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE) {
        g_autofree char *doing = g_strdup_printf("run \"%.60s\"", sqlite3_sql(query->stmt));
        db_sql_set_error(query->sql, rc, doing, error);
    }
    db_query_end(query);
    return rc == SQLITE_DONE ? 0 : -1;
}

bool db_query_run(db_query *query, GError **error)
{
    int row = db_query_step(query, error);
    if (row == 1)
        db_query_end(query);
    return row >= 0;
}

int64_t db_read_int(db_query *query)
{
    return sqlite3_column_int64(query->stmt, query->i++);
}

double db_read_double(db_query *query)
{
    int i = query->i++;
    return sqlite3_column_type(query->stmt, i) == SQLITE_NULL
               ? (double)NAN
               : sqlite3_column_double(query->stmt, i);
}

char *db_read_text(db_query *query)
{
    return g_strdup((const char *)sqlite3_column_text(query->stmt, query->i++));
}

const char *db_peek_text(db_query *query)
{
    const char *text = (const char *)sqlite3_column_text(query->stmt, query->i++);
    return text ? text : "";
}
