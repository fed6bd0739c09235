#include "db/store_priv.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <math.h>
#include <string.h>

static const char *const codec_names[] = {"zstd", "jpeg", "copy"};
static const char *const value_255_names[] = {"auto", "binary", "ignore"};
static const char *const order_names[] = {"file", "map"}; /* of labels, by label_order_map */

void db_store_config_clear(db_store_config *config)
{
    g_clear_pointer(&config->grid_rules, g_free);
    g_clear_pointer(&config->label_map, g_free);
    g_clear_pointer(&config->colour, g_free);
}

static bool config_valid(const db_store_config *c, GError **error)
{
    if (c->patch_px < 1 || c->patch_px > 8192 || c->stride_px < 1) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "patch size %d, stride %d: a patch has 1 to 8192 pixels a side, a stride is at least 1",
            c->patch_px, c->stride_px);
        return false;
    }
    if (c->classes.n < 2 || c->classes.n > QS_CLASSES_MAX) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%d classes: 2 to %d are possible", c->classes.n,
                    QS_CLASSES_MAX);
        return false;
    }
    if (c->codec == DB_CODEC_COPY && c->colour && *c->colour) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "codec copy keeps a slide's own bytes, so its colours cannot be changed (%s); "
                    "use zstd or jpeg",
                    c->colour);
        return false;
    }
    if (c->codec != DB_CODEC_ZSTD && (c->jpeg_quality < 1 || c->jpeg_quality > 100)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "JPEG quality %d: 1 to 100 are possible",
                    c->jpeg_quality);
        return false;
    }
    if (!c->level0 && !(c->mpp > 0 && isfinite(c->mpp))) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "wanted resolution %g µm per pixel: give a positive number or take level 0 as it is",
            c->mpp);
        return false;
    }
    return true;
}

static bool config_write(db_sql *sql, const db_store_config *c, GError **error)
{
    g_autofree char *classes = qs_classes_to_text(&c->classes);
    db_query q;
    if (!db_query_init(&q, sql,
                       "INSERT OR IGNORE INTO store (id, patch_px, stride_px, level0, mpp, codec,"
                       " jpeg_quality, classes, grid_rules, label_map, label_order,"
                       " bounds_relative, mpp_tolerance, colour, value_255, created_by, created_at)"
                       " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                       " strftime('%Y-%m-%dT%H:%M:%SZ'))",
                       error))
        return false;
    db_bind_int(&q, c->patch_px);
    db_bind_int(&q, c->stride_px);
    db_bind_int(&q, c->level0);
    db_bind_double(&q, c->level0 ? 0 : c->mpp);
    db_bind_text(&q, codec_names[c->codec]);
    db_bind_int(&q, c->codec == DB_CODEC_ZSTD ? 0 : c->jpeg_quality);
    db_bind_text(&q, classes);
    db_bind_text(&q, c->grid_rules ? c->grid_rules : "");
    db_bind_text(&q, c->label_map ? c->label_map : "");
    db_bind_text(&q, order_names[c->label_order_map]);
    db_bind_int(&q, c->bounds_relative);
    db_bind_double(&q, c->mpp_tolerance);
    db_bind_text(&q, c->colour ? c->colour : "");
    db_bind_text(&q, value_255_names[c->value_255]);
    db_bind_text(&q, "quadslide " QS_VERSION);
    return db_query_run(&q, error);
}

static bool config_read(db_sql *sql, db_store_config *c, GError **error)
{
    db_query q;
    if (!db_query_init(
            &q, sql,
            "SELECT patch_px, stride_px, level0, mpp, codec, jpeg_quality, classes, grid_rules,"
            " label_map, label_order, bounds_relative, mpp_tolerance, colour, value_255 FROM store",
            error))
        return false;
    int row = db_query_step(&q, error);
    if (row < 0)
        return false;
    if (row == 0) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_FORMAT,
            "%s: the store has no configuration: its creation was interrupted; run the command "
            "that made it again",
            sql->path);
        return false;
    }
    c->patch_px = (int)db_read_int(&q);
    c->stride_px = (int)db_read_int(&q);
    c->level0 = db_read_int(&q) != 0;
    c->mpp = db_read_double(&q);
    g_autofree char *codec = db_read_text(&q);
    c->jpeg_quality = (int)db_read_int(&q);
    g_autofree char *classes = db_read_text(&q);
    c->grid_rules = db_read_text(&q);
    c->label_map = db_read_text(&q);
    c->label_order_map = !strcmp(db_peek_text(&q), order_names[true]);
    c->bounds_relative = db_read_int(&q) != 0;
    c->mpp_tolerance = db_read_double(&q);
    c->colour = db_read_text(&q);
    const char *value_255 = db_peek_text(&q);
    c->value_255 = !g_strcmp0(value_255, value_255_names[1])   ? 1
                   : !g_strcmp0(value_255, value_255_names[2]) ? 2
                                                               : 0;
    db_query_end(&q);
    size_t i = 0;
    while (i < G_N_ELEMENTS(codec_names) && g_strcmp0(codec, codec_names[i]) != 0)
        i++;
    c->codec = (db_codec)i;
    if (i == G_N_ELEMENTS(codec_names) || !classes || !c->grid_rules) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: the store's configuration is damaged (codec %s)", sql->path,
                    codec ? codec : "missing");
        return false;
    }
    return qs_classes_from_text(&c->classes, classes, error) && config_valid(c, error);
}

static bool differs(const char *dir, const char *what, const char *has, const char *wanted,
                    GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: the store was made with %s %s, not %s; one store has one: use that value or "
                "another folder",
                dir, what, has, wanted);
    return false;
}

static bool config_agree(const char *dir, const db_store_config *has, const db_store_config *want,
                         GError **error)
{
    const struct {
        const char *name;
        int has, want;
    } ints[] = {
        {"patch size", has->patch_px, want->patch_px},
        {"stride", has->stride_px, want->stride_px},
        {"level0", has->level0, want->level0},
        {"bounds-relative annotations", has->bounds_relative, want->bounds_relative},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(ints); i++) {
        g_autofree char *a = g_strdup_printf("%d", ints[i].has),
                        *b = g_strdup_printf("%d", ints[i].want);
        if (ints[i].has != ints[i].want)
            return differs(dir, ints[i].name, a, b, error);
    }
    if (!has->level0 && !(fabs(has->mpp - want->mpp) <= 1e-9)) {
        g_autofree char *a = g_strdup_printf("%.9g", has->mpp),
                        *b = g_strdup_printf("%.9g", want->mpp);
        return differs(dir, "resolution (µm per pixel)", a, b, error);
    }
    if (has->codec != want->codec)
        return differs(dir, "codec", codec_names[has->codec], codec_names[want->codec], error);
    if (has->codec != DB_CODEC_ZSTD && has->jpeg_quality != want->jpeg_quality) {
        g_autofree char *a = g_strdup_printf("%d", has->jpeg_quality);
        g_autofree char *b = g_strdup_printf("%d", want->jpeg_quality);
        return differs(dir, "JPEG quality", a, b, error);
    }
    if (!qs_classes_equal(&has->classes, &want->classes)) {
        g_autofree char *a = qs_classes_to_text(&has->classes),
                        *b = qs_classes_to_text(&want->classes);
        return differs(dir, "classes", a, b, error);
    }
    if (!(fabs(has->mpp_tolerance - want->mpp_tolerance) <= 1e-9)) {
        g_autofree char *a = g_strdup_printf("%g", has->mpp_tolerance);
        g_autofree char *b = g_strdup_printf("%g", want->mpp_tolerance);
        return differs(dir, "resolution tolerance", a, b, error);
    }
    const struct {
        const char *name, *has, *want;
    } texts[] = {
        {"tiling rules", has->grid_rules, want->grid_rules},
        {"label map", has->label_map, want->label_map},
        {"meaning of 255", value_255_names[has->value_255], value_255_names[want->value_255]},
        {"label order", order_names[has->label_order_map], order_names[want->label_order_map]},
        {"colour rules", has->colour, want->colour},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        const char *a = texts[i].has ? texts[i].has : "", *b = texts[i].want ? texts[i].want : "";
        if (strcmp(a, b) != 0)
            return differs(dir, texts[i].name, *a ? a : "(none)", *b ? b : "(none)", error);
    }
    return true;
}

/* Looks at the file's own header before SQLite touches it: opening sets the journal mode, which
 * must not happen to a database that is someone else's. 0 is a store whose first commit is still in
 * the WAL. With a journal beside it the file may be half written, and SQLite will undo that first.
 */
static bool header_acceptable(const char *path, GError **error)
{
    uint8_t head[100];
    g_autofree char *journal = g_strconcat(path, "-journal", NULL);
    if (g_file_test(journal, G_FILE_TEST_EXISTS))
        return true;
    qs_file *file = qs_file_open(path, QS_FILE_READ, error);
    if (!file)
        return false;
    int64_t size = qs_file_size(file, error);
    bool ok = size >= 0;
    if (size > 0 &&
        (size < (int64_t)sizeof head || !qs_file_read_at(file, 0, head, sizeof head, NULL) ||
         memcmp(head, "SQLite format 3", 16) != 0)) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: not a SQLite file, so no quadslide store", path);
        ok = false;
    } else if (size > 0) {
        uint32_t id = (uint32_t)head[68] << 24 | (uint32_t)head[69] << 16 |
                      (uint32_t)head[70] << 8 | head[71];
        if (id != 0 && id != DB_APPLICATION_ID) {
            g_set_error(
                error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: a SQLite file of another program (application id %u), not a quadslide store",
                path, id);
            ok = false;
        }
    }
    qs_file_close(file, NULL);
    return ok;
}

static db_store *store_new(const char *dir, db_sql *sql, bool read_only)
{
    db_store *store = g_new0(db_store, 1);
    store->dir = g_strdup(dir);
    store->sql = sql;
    store->packs = db_packs_create(dir);
    store->read_only = read_only;
    return store;
}

/* The folder, its packs/ and their entries in their parents, all on disk before the first row. */
static bool make_folders(const char *dir, GError **error)
{
    g_autofree char *packs = g_build_filename(dir, "packs", NULL);
    g_autofree char *parent = g_path_get_dirname(dir);
    return qs_dir_create(packs, error) && qs_dir_sync(dir, error) && qs_dir_sync(parent, error);
}

/* Programs that create one store at once do so in turn: the first page of the index and its change
 * to WAL are no transaction. A lock on the folder needs no file and is gone with its holder; where
 * there is none (-1), as on some network file systems, SQLite's own locks remain. */
static int lock_folder(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && flock(fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            close(fd);
            return -1;
        }
    return fd;
}

static db_store *create_locked(const char *dir, const db_store_config *config, GError **error)
{
    g_autofree char *path = g_build_filename(dir, "index.db", NULL);
    if (g_file_test(path, G_FILE_TEST_EXISTS) &&
        !(header_acceptable(path, error) && make_folders(dir, error)))
        return NULL;
    db_sql *sql = db_medium_open_write(dir, true, error);
    if (!sql)
        return NULL;
    db_store *store = store_new(dir, sql, false);
    if (db_schema_migrate(sql, true, error) && config_write(sql, config, error) &&
        qs_dir_sync(dir, error) && config_read(sql, &store->config, error) &&
        config_agree(dir, &store->config, config, error))
        return store;
    db_store_close(store);
    return NULL;
}

db_store *db_store_create(const char *dir, const db_store_config *config, GError **error)
{
    if (!config)
        return db_store_open(dir, false, error);
    g_autofree char *path = g_build_filename(dir, "index.db", NULL);
    if (!config_valid(config, error))
        return NULL;
    if (!g_file_test(path, G_FILE_TEST_EXISTS) && !make_folders(dir, error))
        return NULL;
    int lock = lock_folder(dir);
    db_store *store = create_locked(dir, config, error);
    if (lock >= 0)
        close(lock);
    return store;
}

db_store *db_store_open(const char *dir, bool read_only, GError **error)
{
    g_autofree char *path = g_build_filename(dir, "index.db", NULL);
    if (!g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO,
                    "%s: no store there (%s is missing); quadslide tile makes one", dir, path);
        return NULL;
    }
    if (!header_acceptable(path, error))
        return NULL;
    db_sql *sql =
        read_only ? db_medium_open_read(dir, error) : db_medium_open_write(dir, false, error);
    if (!sql)
        return NULL;
    db_store *store = store_new(dir, sql, read_only);
    if ((read_only ? db_schema_check(sql, error) : db_schema_migrate(sql, false, error)) &&
        config_read(sql, &store->config, error))
        return store;
    db_store_close(store);
    return NULL;
}

void db_store_close(db_store *store)
{
    if (!store)
        return;
    db_packs_destroy(store->packs);
    db_sql_close(store->sql);
    db_store_config_clear(&store->config);
    g_free(store->dir);
    g_free(store);
}

const db_store_config *db_store_get_config(const db_store *store)
{
    return &store->config;
}

const char *db_store_get_dir(const db_store *store)
{
    return store->dir;
}

void db_store_set_busy_timeout(db_store *store, int ms)
{
    sqlite3_busy_timeout(store->sql->handle, ms);
}

bool db_store_need_write(const db_store *store, GError **error)
{
    if (!store->read_only)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: the store was opened for reading only",
                store->dir);
    return false;
}
