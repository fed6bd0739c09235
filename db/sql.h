/* The one place that knows SQLite: a connection, cached prepared statements, cursors that bind and
 * read columns in order, transactions, and SQLite's result codes as GErrors.
 *
 * A db_sql is guarded by its recursive lock: every function below but open and close expects the
 * caller to hold it (db_sql_lock). Statements belong to the connection and live until it closes. */
#ifndef QS_DB_SQL_H
#define QS_DB_SQL_H

#include "base/error.h"

#include <glib.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    sqlite3 *handle;
    char *path;
    GHashTable *statements; /* const char *sql, by content → sqlite3_stmt */
    GRecMutex lock;         /* guards handle, statements and whatever statement is running */
} db_sql;

/* Opens with sqlite3_open_v2; `vfs` NULL is the default one. `path` may be a file: URI. */
db_sql *db_sql_open(const char *path, const char *uri, int flags, const char *vfs, GError **error);
void db_sql_close(db_sql *sql); /* NULL accepted */
void db_sql_lock(db_sql *sql);
void db_sql_unlock(db_sql *sql);

/* Sets *error from SQLite's result code and message; `doing` completes "index.db: cannot …". */
void db_sql_set_error(db_sql *sql, int rc, const char *doing, GError **error);
/* Runs statements without results (schema, PRAGMA). */
bool db_sql_exec(db_sql *sql, const char *text, GError **error);
/* First column of the first row of a statement, as text; owned. NULL with *error untouched when
 * there is no row or it is NULL. */
char *db_sql_text(db_sql *sql, const char *text, GError **error);

bool db_sql_begin(db_sql *sql,
                  GError **error); /* BEGIN IMMEDIATE: waits for the writer's place here */
/* False: rolled back. */
bool db_sql_commit(db_sql *sql, GError **error);
void db_sql_rollback(db_sql *sql); /* fine outside a transaction */

/* A statement being bound and read. db_query_init takes it from the cache, ready to bind. */
typedef struct {
    db_sql *sql;
    sqlite3_stmt *stmt;
    int i;  /* next parameter (from 1), after the first step next column (from 0) */
    int rc; /* first bind that failed */
} db_query;

bool db_query_init(db_query *query, db_sql *sql, const char *text, GError **error);
void db_bind_int(db_query *query, int64_t value);
void db_bind_double(db_query *query, double value); /* NaN becomes NULL, as SQLite has it */
void db_bind_text(db_query *query,
                  const char *value); /* NULL allowed; borrowed until the next step ends */
/* 1: a row is there, 0: no more rows, -1: error. The statement is reset on 0 and -1. */
int db_query_step(db_query *query, GError **error);
/* For statements without rows: step, then reset. */
bool db_query_run(db_query *query, GError **error);
/* Drops the rest of the rows. */
void db_query_end(db_query *query);
int64_t db_read_int(db_query *query);
double db_read_double(db_query *query);    /* NULL reads as NaN */
char *db_read_text(db_query *query);       /* owned; NULL for NULL */
const char *db_peek_text(db_query *query); /* borrowed until the next step; "" for NULL */

#endif
