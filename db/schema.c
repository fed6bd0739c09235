/* The tables, as a list of migrations.
 *
 * A migration that was released is never edited: a new table or column is a new entry at the end.
 * Each runs in one transaction together with its row in `migrations` and the new user_version, so a
 * store is always at exactly one version. A store of a newer program is refused, not guessed at.
 *
 * patches.id is slide_id·2³² + cell: rows of a slide lie together in cell order, no second index is
 * needed, and the key itself refuses a cell that is stored twice. */
#include "db/store_priv.h"

#include <stdio.h>

static const char v1_tables[] =
    "CREATE TABLE store ("
    " id INTEGER PRIMARY KEY CHECK (id = 1),"
    " patch_px INTEGER NOT NULL, stride_px INTEGER NOT NULL, level0 INTEGER NOT NULL,"
    " mpp REAL NOT NULL," /* wanted; 0 with level0 */
    " codec TEXT NOT NULL CHECK (codec IN ('zstd', 'jpeg', 'copy')), jpeg_quality INTEGER NOT NULL,"
    " classes TEXT NOT NULL, grid_rules TEXT NOT NULL,"
    " created_at TEXT NOT NULL, created_by TEXT NOT NULL);"

    "CREATE TABLE slides ("
    " id INTEGER PRIMARY KEY,"
    " name TEXT NOT NULL UNIQUE, path TEXT NOT NULL UNIQUE, mask_path TEXT, truth_path TEXT,"
    " case_id TEXT, content_hash TEXT, driver TEXT, lane TEXT, mpp_origin TEXT, error TEXT,"
    " split TEXT NOT NULL CHECK (split IN ('train', 'val', 'test')),"
    " labelled INTEGER NOT NULL CHECK (labelled IN (0, 1)),"
    " state TEXT NOT NULL CHECK (state IN ('pending', 'tiling', 'done', 'failed')),"
    " w_l0 INTEGER NOT NULL, h_l0 INTEGER NOT NULL,"
    " mpp REAL NOT NULL," /* of level 0; 0 unknown */
    " level INTEGER NOT NULL, downsample REAL NOT NULL,"
    " n_cells INTEGER NOT NULL," /* -1 until known */
    " n_damaged INTEGER NOT NULL, mask_factor INTEGER NOT NULL, tissue_share REAL NOT NULL,"
    " pack_bytes INTEGER NOT NULL DEFAULT 0);" /* committed size: what lies past it is cut off */

    "CREATE TABLE patches ("
    " id INTEGER PRIMARY KEY CHECK (id = slide_id * 4294967296 + cell),"
    " slide_id INTEGER NOT NULL REFERENCES slides (id),"
    " cell INTEGER NOT NULL CHECK (cell BETWEEN 0 AND 4294967295),"
    " x_l0 INTEGER NOT NULL, y_l0 INTEGER NOT NULL, w_l0 INTEGER NOT NULL, h_l0 INTEGER NOT NULL,"
    " valid_w INTEGER NOT NULL, valid_h INTEGER NOT NULL, level INTEGER NOT NULL,"
    " mpp REAL NOT NULL," /* of the stored pixels; 0 unknown */
    " kept INTEGER NOT NULL CHECK (kept IN (0, 1)), reason TEXT NOT NULL,"
    " tissue REAL, white REAL, dark REAL, saturation REAL, blur REAL, pen REAL,"
    " has_label INTEGER NOT NULL CHECK (has_label IN (0, 1)), ignore_px INTEGER NOT NULL,"
    " px0 INTEGER NOT NULL, px1 INTEGER NOT NULL, px2 INTEGER NOT NULL, px3 INTEGER NOT NULL,"
    " px4 INTEGER NOT NULL, px5 INTEGER NOT NULL, px6 INTEGER NOT NULL, px7 INTEGER NOT NULL,"
    " px8 INTEGER NOT NULL, px9 INTEGER NOT NULL, px10 INTEGER NOT NULL, px11 INTEGER NOT NULL,"
    " px12 INTEGER NOT NULL, px13 INTEGER NOT NULL, px14 INTEGER NOT NULL, px15 INTEGER NOT NULL,"
    " format INTEGER NOT NULL," /* of the image: 0 none, 1 zstd, 2 filtered zstd, 3 jpeg */
    " offset INTEGER NOT NULL, n_bytes INTEGER NOT NULL, checksum INTEGER NOT NULL,"
    " label_offset INTEGER NOT NULL, label_n_bytes INTEGER NOT NULL,"
    " label_checksum INTEGER NOT NULL);"

    "CREATE TABLE damage ("
    " id INTEGER PRIMARY KEY, slide_id INTEGER NOT NULL REFERENCES slides (id),"
    " x_l0 INTEGER NOT NULL, y_l0 INTEGER NOT NULL, w_l0 INTEGER NOT NULL, h_l0 INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " UNIQUE (slide_id, x_l0, y_l0, w_l0, h_l0));"

    "CREATE TABLE runs ("
    " id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT, config TEXT, version TEXT,"
    " device TEXT,"
    " seed INTEGER NOT NULL, state TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT);"

    "CREATE TABLE metrics ("
    " id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES runs (id),"
    " step INTEGER NOT NULL, name TEXT NOT NULL,"
    " value REAL," /* NULL is NaN */
    " unit TEXT, slide_id INTEGER REFERENCES slides (id));"
    "CREATE INDEX metrics_by_run ON metrics (run_id, name, step);"

    /* For people with the sqlite3 shell. */
    "CREATE VIEW patch_info AS"
    " SELECT s.name AS slide, s.split, s.labelled, s.case_id, t.mpp AS mpp_wanted, p.*"
    " FROM patches p JOIN slides s ON s.id = p.slide_id JOIN store t;";

/* What decides labels, resolution and colour of a whole store; what was found and used of a slide.
 */
static const char v2_masks_and_colour[] =
    "ALTER TABLE store ADD COLUMN label_map TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE store ADD COLUMN label_order TEXT NOT NULL DEFAULT 'file'"
    " CHECK (label_order IN ('file', 'map'));"
    "ALTER TABLE store ADD COLUMN bounds_relative INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE store ADD COLUMN mpp_tolerance REAL NOT NULL DEFAULT 0.02;"
    "ALTER TABLE store ADD COLUMN colour TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE slides ADD COLUMN mask_hash TEXT;"
    "ALTER TABLE slides ADD COLUMN tissue_path TEXT;"
    "ALTER TABLE slides ADD COLUMN tissue_hash TEXT;"
    "ALTER TABLE slides ADD COLUMN mpp_file REAL NOT NULL DEFAULT 0;" /* what the file says; 0 none
                                                                       */
    "ALTER TABLE slides ADD COLUMN colour TEXT;" /* how its colours were changed, with parameters */
    "ALTER TABLE slides ADD COLUMN notes TEXT;"; /* remarks for people, one a line */

/* What kind of entry of the ledger it is. */
static const char v3_damage_kind[] =
    "ALTER TABLE damage ADD COLUMN kind TEXT NOT NULL DEFAULT 'damaged'"
    " CHECK (kind IN ('damaged', 'missing', 'filled'));";

/* Stains measured on a slide's patches, for normalisation at training time. */
static const char v4_stains[] = "ALTER TABLE slides ADD COLUMN stains TEXT;";

/* What 255 means in mask images of 0 and 255 alone. */
static const char v5_value_255[] =
    "ALTER TABLE store ADD COLUMN value_255 TEXT NOT NULL DEFAULT 'auto'"
    " CHECK (value_255 IN ('auto', 'binary', 'ignore'));";

static const char *const migrations[] = {v1_tables, v2_masks_and_colour, v3_damage_kind, v4_stains,
                                         v5_value_255};

int db_schema_version(void)
{
    return (int)G_N_ELEMENTS(migrations);
}

static bool read_number(db_sql *sql, const char *pragma, int64_t *value, GError **error)
{
    GError *local = NULL;
    g_autofree char *text = db_sql_text(sql, pragma, &local);
    if (local) {
        g_propagate_error(error, local);
        return false;
    }
    *value = text ? g_ascii_strtoll(text, NULL, 10) : 0;
    return true;
}

static bool accept_known(db_sql *sql, int64_t application, int64_t version, GError **error)
{
    if (application != DB_APPLICATION_ID) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: a SQLite file, but not a quadslide store (application id %" G_GINT64_FORMAT
                    ")",
                    sql->path, application);
        return false;
    }
    if (version > db_schema_version()) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: store version %" G_GINT64_FORMAT ", this program knows up to %d; "
                    "use the newer program",
                    sql->path, version, db_schema_version());
        return false;
    }
    return true;
}

static bool apply(db_sql *sql, int version, GError **error)
{
    char stamp[160];
    snprintf(
        stamp, sizeof stamp,
        "INSERT INTO migrations VALUES (%d, strftime('%%Y-%%m-%%dT%%H:%%M:%%SZ'), 'quadslide %s');"
        "PRAGMA user_version = %d",
        version, QS_VERSION, version);
    return db_sql_exec(sql, migrations[version - 1], error) && db_sql_exec(sql, stamp, error);
}

static bool read_identity(db_sql *sql, int64_t *application, int64_t *version, GError **error)
{
    return read_number(sql, "PRAGMA application_id", application, error) &&
           read_number(sql, "PRAGMA user_version", version, error);
}

static bool refuse_empty(db_sql *sql, GError **error)
{
    g_set_error(
        error, QS_ERROR, QS_ERROR_FORMAT,
        "%s: not a quadslide store, or its creation was interrupted; run the command that made "
        "it again",
        sql->path);
    return false;
}

/* An empty database becomes a store; one with tables of someone else's does not. */
static bool mark_as_store(db_sql *sql, GError **error)
{
    int64_t n_tables = 0;
    if (!read_number(sql, "SELECT count(*) FROM sqlite_schema", &n_tables, error))
        return false;
    if (n_tables > 0)
        return accept_known(sql, 0, 0, error);
    char mark[64];
    snprintf(mark, sizeof mark, "PRAGMA application_id = %d", (int)DB_APPLICATION_ID);
    return db_sql_exec(sql, mark, error) &&
           db_sql_exec(sql,
                       "CREATE TABLE migrations (version INTEGER PRIMARY KEY,"
                       " applied_at TEXT NOT NULL, program TEXT NOT NULL)",
                       error);
}

bool db_schema_migrate(db_sql *sql, bool create, GError **error)
{
    int64_t application = 0, version = 0;
    if (!read_identity(sql, &application, &version, error))
        return false;
    if (application == DB_APPLICATION_ID && version == db_schema_version())
        return true;
    /* Looked at again inside the transaction: another program may be doing the same. */
    if (!db_sql_begin(sql, error))
        return false;
    bool ok = read_identity(sql, &application, &version, error);
    if (ok && application == 0 && version == 0)
        ok = create ? mark_as_store(sql, error) : refuse_empty(sql, error);
    else if (ok)
        ok = accept_known(sql, application, version, error);
    for (int next = (int)version + 1; ok && next <= db_schema_version(); next++)
        ok = apply(sql, next, error);
    if (ok)
        return db_sql_commit(sql, error);
    db_sql_rollback(sql);
    return false;
}

bool db_schema_check(db_sql *sql, GError **error)
{
    int64_t application = 0, version = 0;
    if (!read_identity(sql, &application, &version, error))
        return false;
    if (application == 0 && version == 0)
        return refuse_empty(sql, error);
    if (!accept_known(sql, application, version, error))
        return false;
    if (version < db_schema_version()) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: store version %" G_GINT64_FORMAT
                    " is older than %d; open it once for writing "
                    "(quadslide tile), which brings it up",
                    sql->path, version, db_schema_version());
        return false;
    }
    return true;
}
