/* db_store_check finds what is planted, and nothing else: each case damages a sound store in one
 * way and says which words the report must have. And the runs and metrics. */
#include "tests/db/fixture.h"

#include "base/file.h"
#include "db/store_priv.h"

#include <glib/gstdio.h>
#include <math.h>
#include <unistd.h>

/* Twelve cells of slide 1, finished; two of slide 2. Cell 0 is kept and has a label. */
static char *make_sound(void)
{
    char *dir = fix_fast_dir();
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    fix_fill(store, fix_put_slide(store, "first", 12), 0, 12, true);
    fix_fill(store, fix_put_slide(store, "second", 9), 0, 2, false);
    g_autofree char *check = fix_check(store);
    g_assert_cmpstr(check, ==, "");
    db_store_close(store);
    return dir;
}

typedef struct {
    const char *name, *sql; /* SQL that does the damage, or NULL with … */
    void (*damage)(const char *dir);
    const char *finds; /* part of the report */
} plant;

static char *pack(const char *dir)
{
    return db_pack_path(dir, 1);
}

static void flip(const char *dir)
{
    g_autofree char *path = pack(dir);
    char byte;
    GError *error = NULL;
    qs_file *file = qs_file_open(path, QS_FILE_UPDATE, &error);
    g_assert_true(qs_file_read_at(file, 10, &byte, 1, &error));
    byte ^= 4;
    g_assert_true(qs_file_write_at(file, 10, &byte, 1, &error));
    qs_file_close(file, NULL);
}

static void shorten(const char *dir)
{
    g_autofree char *path = pack(dir);
    g_assert_cmpint(truncate(path, 100), ==, 0);
}

static void lose(const char *dir)
{
    g_autofree char *path = pack(dir);
    g_assert_cmpint(g_unlink(path), ==, 0);
}

static void add_stray(const char *dir)
{
    g_autofree char *path = db_pack_path(dir, 9);
    g_assert_true(g_file_set_contents(path, "x", 1, NULL));
}

/* Zeroes the middle of the database file, past its first pages. */
static void spoil_index(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "index.db", NULL);
    static const char zeros[16384];
    GError *error = NULL;
    qs_file *file = qs_file_open(path, QS_FILE_UPDATE, &error);
    g_assert_cmpint(qs_file_size(file, &error), >, 6 * 16384);
    g_assert_true(qs_file_write_at(file, 4 * 16384, zeros, sizeof zeros, &error));
    qs_file_close(file, NULL);
}

static const plant plants[] = {
    {"byte", NULL, flip, "cell 0: image does not match its checksum"},
    {"short-pack", NULL, shorten, "has 100 bytes of"},
    {"lost-pack", NULL, lose, "is missing"},
    {"stray-pack", NULL, add_stray, "000009.pack belongs to no slide"},
    {"spoilt-index", NULL, spoil_index, "index.db"},
    {"lost-row", "DELETE FROM patches WHERE slide_id = 1 AND cell = 5", NULL, "cell 5 has no row"},
    {"lost-last-row", "DELETE FROM patches WHERE slide_id = 1 AND cell = 11", NULL,
     "11 of its 12 cells"},
    {"outside-grid", "UPDATE slides SET n_cells = 1 WHERE id = 2", NULL,
     "outside the slide's grid"},
    {"overlap", "UPDATE patches SET offset = 0 WHERE slide_id = 1 AND cell = 1", NULL, "overlaps"},
    {"outside-pack", "UPDATE patches SET offset = 1000000 WHERE id = (1 << 32) + 1", NULL,
     "lies outside"},
    {"negative", "UPDATE patches SET offset = -5 WHERE id = (1 << 32) + 1", NULL, "lies outside"},
    {"huge", "UPDATE patches SET n_bytes = 9223372036854775807 WHERE id = (1 << 32) + 1", NULL,
     "lies outside"},
    {"no-image", "UPDATE patches SET n_bytes = 0 WHERE id = (1 << 32)", NULL,
     "kept but has no image"},
    {"image-of-none", "UPDATE patches SET kept = 0 WHERE id = (1 << 32)", NULL, "not kept but has"},
    {"no-label-bytes", "UPDATE patches SET label_n_bytes = 0 WHERE id = (1 << 32)", NULL,
     "no label bytes"},
    {"label-sum", "UPDATE patches SET label_checksum = 5 WHERE id = (1 << 32)", NULL,
     "label does not match"},
    {"class", "UPDATE patches SET px3 = 1 WHERE id = (1 << 32)", NULL,
     "class that the store does not have"},
    {"pixels", "UPDATE patches SET px1 = 300 WHERE id = (1 << 32)", NULL, "more class pixels"},
    {"valid", "UPDATE patches SET valid_w = 17 WHERE id = (1 << 32)", NULL, "larger than a patch"},
    {"committed", "UPDATE slides SET pack_bytes = 10 WHERE id = 1", NULL, "lies outside"},
    {"foreign-key",
     "PRAGMA foreign_keys = OFF; INSERT INTO damage (slide_id, x_l0, y_l0, w_l0, h_l0, reason) "
     "VALUES (55, 0, 0, 1, 1, 'x')",
     NULL, "of damage belongs to no slides"},
};

static void test_plant(gconstpointer data)
{
    const plant *p = data;
    g_autofree char *dir = make_sound();
    if (p->damage) {
        p->damage(dir);
    } else {
        g_autofree char *path = g_build_filename(dir, "index.db", NULL);
        sqlite3 *db = NULL;
        g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
        g_assert_cmpint(sqlite3_exec(db, p->sql, NULL, NULL, NULL), ==, SQLITE_OK);
        g_assert_cmpint(sqlite3_total_changes(db), >=, 1);
        sqlite3_close(db);
    }
    GError *error = NULL;
    db_store *store = db_store_open(dir, true, &error);
    g_assert_no_error(error);
    g_autofree char *check = fix_check(store);
    if (!strstr(check, p->finds))
        g_error("the report has no \"%s\": %s", p->finds, check);
    db_store_close(store);
    fix_remove(dir);
}

static void test_counts(void)
{
    g_autofree char *dir = make_sound();
    GError *error = NULL;
    db_check_report report;
    db_store *store = db_store_open(dir, true, &error);
    g_assert_true(db_store_check(store, NULL, &report, &error));
    g_assert_cmpint(report.n_slides, ==, 2);
    g_assert_cmpint(report.n_patches, ==, 14);
    g_assert_cmpint(report.n_blobs, ==, 9 + 6 + 2 + 2); /* images and labels of both slides */
    db_check_report_clear(&report);
    qs_stop_request();
    g_assert_false(db_store_check(store, NULL, &report, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    db_check_report_clear(&report);
    qs_stop_clear();
    db_store_close(store);
    fix_remove(dir);
}

/* A lost disk does not fill the memory with its report. */
static void test_many(void)
{
    g_autofree char *dir = fix_fast_dir();
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    fix_fill(store, fix_put_slide(store, "s", 1600), 0, 1600, true);
    g_assert_true(db_sql_exec(store->sql, "UPDATE patches SET checksum = 1", NULL));
    GError *error = NULL;
    db_check_report report;
    g_assert_true(db_store_check(store, NULL, &report, &error));
    g_assert_cmpuint(report.problems->len, ==, 1001);
    g_assert_nonnull(strstr(g_ptr_array_index(report.problems, 1000), "only the first 1000"));
    db_check_report_clear(&report);
    db_store_close(store);
    fix_remove(dir);
}

/* Kinds, order and places come back; a place given again changes its kind. */
static void test_ledger(db_store *store, int64_t slide)
{
    GError *error = NULL;
    char no_bytes[] = "no bytes", level[] = "of level 1";
    const db_damage rows[] = {{slide, 8, 9, 3, 4, DB_DAMAGE_MISSING, no_bytes},
                              {slide, 0, 0, 3, 4, DB_DAMAGE_FILLED, level},
                              {slide, 1, 2, 3, 4, DB_DAMAGE_MISSING, no_bytes}};
    g_assert_true(db_damage_add_many(store, rows, G_N_ELEMENTS(rows), &error));
    GArray *list = db_damage_list(store, slide, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(list->len, ==, 3);
    const db_damage *d = &g_array_index(list, db_damage, 0);
    g_assert_cmpint(d[0].kind, ==, DB_DAMAGE_FILLED);
    g_assert_cmpstr(d[0].reason, ==, "of level 1");
    g_assert_true(d[1].y_l0 == 2 && d[1].kind == DB_DAMAGE_MISSING);
    g_assert_true(d[2].x_l0 == 8 && d[2].y_l0 == 9 && d[2].w_l0 == 3 && d[2].h_l0 == 4);
    g_array_unref(list);
    list = db_damage_list(store, slide + 1, &error);
    g_assert_cmpuint(list->len, ==, 0);
    g_array_unref(list);
    const db_damage nowhere = {77, 0, 0, 1, 1, DB_DAMAGE_DAMAGED, no_bytes};
    g_assert_false(db_damage_add_many(store, &nowhere, 1, &error));
    g_clear_error(&error);
    list = db_damage_list(store, 0, &error);
    g_assert_cmpuint(list->len, ==, 3);
    g_array_unref(list);
}

static void test_runs(void)
{
    g_autofree char *dir = fix_fast_dir();
    GError *error = NULL;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    int64_t slide = fix_put_slide(store, "s", 4);
    db_run run = {.kind = g_strdup("train"),
                  .name = g_strdup("run 1"),
                  .config = g_strdup("{\"a\": 1}"),
                  .version = g_strdup("0"),
                  .device = g_strdup("cpu"),
                  .seed = INT64_MIN};
    g_assert_true(db_run_begin(store, &run, &error));
    g_assert_cmpint(run.id, ==, 1);
    g_assert_true(db_metric_add(store, 1, 5, "loss", NAN, "", 0, &error));
    g_assert_true(db_metric_add(store, 1, 4, "loss", 0.1, "", 0, &error));
    g_assert_true(db_metric_add(store, 1, 6, "loss", -INFINITY, "", slide, &error));
    GArray *loss = db_metric_list(store, 1, "loss", &error);
    g_assert_cmpuint(loss->len, ==, 3);
    const db_metric *m = &g_array_index(loss, db_metric, 0);
    g_assert_true(m[0].step == 4 && m[0].value >= 0.1 && m[0].value <= 0.1 && m[0].slide_id == 0);
    g_assert_true(m[1].step == 5 && isnan(m[1].value));
    g_assert_true(m[2].step == 6 && isinf(m[2].value) && m[2].slide_id == slide);
    g_array_unref(loss);
    g_assert_false(db_metric_add(store, 9, 1, "loss", 1, "", 0, &error)); /* no such run */
    fix_assert_fails(error, QS_ERROR_MISMATCH, "FOREIGN KEY");
    const char *names[] = {"a", NULL};
    const double values[] = {1, 2};
    g_assert_false(
        db_metric_add_many(store, 1, 7, names, values, NULL, 2, &error)); /* all or none */
    fix_assert_fails(error, QS_ERROR_MISMATCH, "NOT NULL");
    GArray *none = db_metric_list(store, 1, "a", &error);
    g_assert_cmpuint(none->len, ==, 0);
    g_array_unref(none);
    g_assert_true(db_run_end(store, 1, "stopped", &error));
    g_assert_false(db_run_end(store, 2, "done", &error));
    fix_assert_fails(error, QS_ERROR_ARG, "no run 2");
    GArray *runs = db_run_list(store, &error);
    g_assert_cmpuint(runs->len, ==, 1);
    const db_run *got = &g_array_index(runs, db_run, 0);
    g_assert_cmpstr(got->config, ==, "{\"a\": 1}");
    g_assert_cmpstr(got->state, ==, "stopped");
    g_assert_true(got->seed == INT64_MIN);
    g_assert_cmpint(got->n_metrics, ==, 3);
    g_assert_cmpuint(strlen(got->started_at), ==, strlen("2000-01-01T00:00:00Z"));
    g_array_unref(runs);
    g_clear_pointer(&run.kind, g_free);
    g_assert_false(db_run_begin(store, &run, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "kind");
    db_run_clear(&run);
    /* The same damage met again after a resume is one row. */
    for (int i = 0; i < 2; i++)
        g_assert_true(db_damage_add(store, slide, 1, 2, 3, 4, i ? "second" : "first", &error));
    g_autofree char *n =
        db_sql_text(store->sql, "SELECT count(*) || max(reason) FROM damage", &error);
    g_assert_cmpstr(n, ==, "1second");
    test_ledger(store, slide);
    db_store_close(store);
    fix_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(plants); i++) {
        g_autofree char *path = g_strdup_printf("/db/check/finds/%s", plants[i].name);
        g_test_add_data_func(path, &plants[i], test_plant);
    }
    g_test_add_func("/db/check/counts", test_counts);
    g_test_add_func("/db/check/many", test_many);
    g_test_add_func("/db/runs", test_runs);
    return g_test_run();
}
