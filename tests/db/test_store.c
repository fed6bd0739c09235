/* The store as its callers use it: making and opening, slides, writing, reading, summary. */
#include "tests/db/fixture.h"

#include "base/file.h"
#include "db/store_priv.h"

#include <glib/gstdio.h>
#include <unistd.h>

static void assert_sound(db_store *store, int64_t slide_id, int64_t n_cells)
{
    int64_t found = -1;
    g_autofree char *wrong = fix_verify(store, slide_id, n_cells, &found);
    g_assert_cmpstr(wrong, ==, NULL);
    g_assert_cmpint(found, ==, n_cells);
}

static void test_round_trip(gconstpointer data)
{
    db_codec codec = (db_codec)GPOINTER_TO_INT(data);
    g_autofree char *dir = fix_dir();
    db_store *store = fix_create(dir, codec);
    int64_t a = fix_put_slide(store, "a", -1), b = fix_put_slide(store, "b", 9);
    fix_fill(store, a, 0, 1100, true); /* more than two batches */
    fix_fill(store, b, 0, 4, false);
    fix_fill(store, b, 4, 9, true);
    assert_sound(store, a, 1100);
    assert_sound(store, b, 9);
    db_store_close(store);

    GError *error = NULL;
    for (int read_only = 0; read_only < 2; read_only++) {
        store = db_store_open(dir, read_only, &error);
        g_assert_no_error(error);
        assert_sound(store, a, 1100);
        GArray *kept = db_patch_list(store, 0, true, &error);
        g_assert_cmpuint(kept->len, ==, 825 + 7);
        for (guint i = 1; i < kept->len; i++)
            g_assert_cmpint(g_array_index(kept, db_patch, i - 1).id, <,
                            g_array_index(kept, db_patch, i).id);
        g_array_unref(kept);
        db_store_close(store);
    }
    fix_remove(dir);
}

/* ---- making and opening -------------------------------------------------------------------- */

static void assert_refused(const char *dir, const db_store_config *config, int code,
                           const char *part)
{
    GError *error = NULL;
    g_assert_null(db_store_create(dir, config, &error));
    fix_assert_fails(error, code, part);
}

static void test_config(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    db_store_config c;
    fix_config(&c, DB_CODEC_JPEG);
    db_store *store = db_store_create(dir, &c, &error);
    g_assert_no_error(error);
    const db_store_config *got = db_store_get_config(store);
    g_assert_cmpint(got->patch_px, ==, FIX_PX);
    g_assert_cmpint(got->jpeg_quality, ==, 90);
    g_assert_cmpstr(got->grid_rules, ==, "tissue_min=0.25");
    g_assert_true(qs_classes_equal(&got->classes, &c.classes));
    g_assert_cmpstr(db_store_get_dir(store), ==, dir);
    db_store_close(store);
    store = db_store_create(dir, &c, &error); /* the same again is fine */
    g_assert_no_error(error);
    db_store_close(store);

    db_store_config other = c;
    other.patch_px = 32;
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "patch size 16, not 32");
    other = c;
    other.stride_px = 8;
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "stride 16, not 8");
    other = c;
    other.mpp = 1.0;
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "0.5, not 1");
    other = c;
    other.level0 = true;
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "level0");
    other = c;
    other.codec = DB_CODEC_ZSTD;
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "codec jpeg, not zstd");
    other = c;
    other.jpeg_quality = 80;
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "JPEG quality 90, not 80");
    other = c;
    qs_classes_init_binary(&other.classes, "tumour");
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "classes");
    other = c;
    char rules[] = "tissue_min=0.5";
    other.grid_rules = rules;
    assert_refused(dir, &other, QS_ERROR_MISMATCH, "tissue_min=0.25, not tissue_min=0.5");
    db_store_config_clear(&c);
    fix_remove(dir);
}

static void test_config_impossible(void)
{
    g_autofree char *parent = fix_dir();
    g_autofree char *dir = g_build_filename(parent, "s", NULL);
    db_store_config c;
    fix_config(&c, DB_CODEC_COPY);
    c.jpeg_quality = 0;
    assert_refused(dir, &c, QS_ERROR_ARG, "JPEG quality 0");
    c.codec = DB_CODEC_JPEG;
    c.jpeg_quality = 0;
    assert_refused(dir, &c, QS_ERROR_ARG, "JPEG quality 0");
    c.codec = DB_CODEC_ZSTD;
    c.mpp = 0;
    assert_refused(dir, &c, QS_ERROR_ARG, "resolution");
    c.mpp = 0.5;
    c.patch_px = 0;
    assert_refused(dir, &c, QS_ERROR_ARG, "patch size 0");
    g_assert_false(g_file_test(dir, G_FILE_TEST_EXISTS)); /* nothing was made */
    db_store_config_clear(&c);
    fix_remove(parent);
}

static void run_sql(const char *dir, const char *text)
{
    g_autofree char *path = g_build_filename(dir, "index.db", NULL);
    sqlite3 *db = NULL;
    char *message = NULL;
    g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
    sqlite3_exec(db, text, NULL, NULL, &message);
    g_assert_cmpstr(message, ==, NULL);
    sqlite3_close(db);
}

static void assert_not_opened(const char *dir, int code, const char *part)
{
    for (int read_only = 0; read_only < 2; read_only++) {
        GError *error = NULL;
        g_assert_null(db_store_open(dir, read_only, &error));
        fix_assert_fails(error, code, part);
    }
}

static void test_open_foreign(void)
{
    g_autofree char *dir = fix_dir(), *path = g_build_filename(dir, "index.db", NULL);
    assert_not_opened(dir, QS_ERROR_IO, "no store there");
    assert_not_opened("/nonexistent/store", QS_ERROR_IO, "/nonexistent/store");
    g_assert_true(
        g_file_set_contents(path,
                            "these are not the bytes of a database, however long they are "
                            "meant to be: at least a hundred of them",
                            -1, NULL));
    assert_not_opened(dir, QS_ERROR_FORMAT, "not a SQLite file");
    g_unlink(path);
    run_sql(dir, "PRAGMA application_id = 7; CREATE TABLE t (x)");
    assert_not_opened(dir, QS_ERROR_FORMAT, "another program");
    db_store_config c;
    fix_config(&c, DB_CODEC_ZSTD);
    assert_refused(dir, &c, QS_ERROR_FORMAT, "another program");
    g_unlink(path);
    run_sql(dir, "CREATE TABLE t (x)");
    assert_refused(dir, &c, QS_ERROR_FORMAT, "not a quadslide store");
    fix_remove(dir);
    g_assert_cmpint(g_mkdir(dir, 0777), ==, 0);
    /* An empty index is a creation that was cut short: it is not a store, and is completed. */
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    assert_not_opened(dir, QS_ERROR_FORMAT, "interrupted");
    db_store_close(fix_create(dir, DB_CODEC_ZSTD));
    db_store_config_clear(&c);
    fix_remove(dir);
}

static void test_versions(void)
{
    g_autofree char *dir = fix_dir();
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    g_autofree char *n = db_sql_text(store->sql, "SELECT count(*) FROM migrations", NULL);
    g_assert_cmpint(atoi(n), ==, db_schema_version());
    g_autofree char *page = db_sql_text(store->sql, "PRAGMA page_size", NULL);
    g_assert_cmpstr(page, ==, "16384");
    g_autofree char *journal = db_sql_text(store->sql, "PRAGMA journal_mode", NULL);
    g_assert_cmpstr(journal, ==, "wal");
    g_autofree char *sync = db_sql_text(store->sql, "PRAGMA synchronous", NULL);
    g_assert_cmpstr(sync, ==, "3");
    db_store_close(store);
    run_sql(dir, "PRAGMA user_version = 99");
    assert_not_opened(dir, QS_ERROR_UNSUPPORTED, "version 99");
    run_sql(dir, "PRAGMA user_version = 0");
    GError *error = NULL;
    g_assert_null(db_store_open(dir, true, &error));
    fix_assert_fails(error, QS_ERROR_UNSUPPORTED, "open it once for writing");
    fix_remove(dir);
}

/* A store of version 1 opens, with its columns of later versions at their defaults. */
static void test_version_1(void)
{
    g_autofree char *dir = fix_dir();
    db_store_close(fix_create(dir, DB_CODEC_ZSTD));
    run_sql(dir,
            "ALTER TABLE store DROP COLUMN label_map; ALTER TABLE store DROP COLUMN label_order;"
            "ALTER TABLE store DROP COLUMN bounds_relative;"
            "ALTER TABLE store DROP COLUMN mpp_tolerance; ALTER TABLE store DROP COLUMN colour;"
            "ALTER TABLE store DROP COLUMN value_255;"
            "ALTER TABLE slides DROP COLUMN mask_hash; ALTER TABLE slides DROP COLUMN tissue_path;"
            "ALTER TABLE slides DROP COLUMN tissue_hash; ALTER TABLE slides DROP COLUMN mpp_file;"
            "ALTER TABLE slides DROP COLUMN colour; ALTER TABLE slides DROP COLUMN notes;"
                 "ALTER TABLE slides DROP COLUMN stains;"
            "ALTER TABLE damage DROP COLUMN kind;"
            "DELETE FROM migrations WHERE version > 1; PRAGMA user_version = 1");
    GError *error = NULL;
    db_store *store = db_store_open(dir, false, &error);
    g_assert_no_error(error);
    const db_store_config *got = db_store_get_config(store);
    g_assert_cmpstr(got->label_map, ==, "");
    g_assert_cmpstr(got->colour, ==, "");
    g_assert_cmpfloat_with_epsilon(got->mpp_tolerance, 0.02, 1e-12);
    g_assert_false(got->label_order_map);
    GArray *slides = db_slide_list(store, &error);
    g_assert_no_error(error);
    g_array_unref(slides);
    db_store_close(store);
    fix_remove(dir);
}

/* ---- slides ---------------------------------------------------------------------------------- */

static void test_slides(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    db_slide s;
    for (int i = 0; i < 3; i++) { /* three files of one base name */
        fix_slide(&s, "case", -1);
        g_free(s.path);
        s.path = g_strdup_printf("/%d/case.svs", i);
        g_assert_true(db_slide_put(store, &s, &error));
        g_assert_cmpint(s.id, ==, i + 1);
        g_assert_cmpstr(s.name, ==, i == 0 ? "case" : i == 1 ? "case~2" : "case~3");
        g_assert_cmpint(s.state, ==, DB_SLIDE_PENDING);
        db_slide_clear(&s);
    }
    fix_slide(&s, "anything", -1);
    g_free(s.path);
    s.path = g_strdup("/1/case.svs");
    s.split = DB_SPLIT_VAL;
    s.labelled = false;
    s.mask_path = g_strdup("/1/mask.png");
    g_assert_true(db_slide_put(store, &s, &error));
    g_assert_cmpint(s.id, ==, 2);
    g_assert_cmpstr(s.name, ==, "case~2");
    s.state = DB_SLIDE_FAILED;
    s.error = g_strdup("damaged");
    s.n_cells = 12;
    s.n_damaged = 3;
    s.mask_factor = 2;
    g_assert_true(db_slide_update(store, &s, &error));
    GArray *list = db_slide_list(store, &error);
    g_assert_cmpuint(list->len, ==, 3);
    const db_slide *got = &g_array_index(list, db_slide, 1);
    g_assert_cmpstr(got->mask_path, ==, "/1/mask.png");
    g_assert_cmpstr(got->error, ==, "damaged");
    g_assert_cmpstr(got->truth_path, ==, NULL);
    g_assert_cmpstr(got->case_id, ==, "case of anything");
    g_assert_cmpint(got->split, ==, DB_SPLIT_VAL);
    g_assert_false(got->labelled);
    g_assert_cmpint(got->state, ==, DB_SLIDE_FAILED);
    g_assert_cmpint(got->n_cells, ==, 12);
    g_assert_cmpint(got->n_damaged, ==, 3);
    g_assert_cmpint(got->mask_factor, ==, 2);
    g_assert_true(got->downsample >= 2.0 && got->downsample <= 2.0);
    g_array_unref(list);
    s.id = 99;
    g_assert_false(db_slide_update(store, &s, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "no slide 99");
    g_clear_pointer(&s.path, g_free);
    g_assert_false(db_slide_put(store, &s, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "path");
    db_slide_clear(&s);
    db_store_close(store);
    fix_remove(dir);
}

static void test_slide_replaced(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    db_slide s;
    for (int with_patches = 0; with_patches < 2; with_patches++) {
        int64_t id = fix_put_slide(store, "s", 4);
        if (with_patches)
            fix_fill(store, id, 0, 4, false);
        fix_slide(&s, "s", 4);
        g_free(s.content_hash);
        s.content_hash = g_strdup_printf("ffff%d", with_patches);
        bool ok = db_slide_put(store, &s, &error);
        g_assert_true(ok == !with_patches);
        if (with_patches)
            fix_assert_fails(error, QS_ERROR_MISMATCH, "replaced");
        else /* without patches the new content is simply what it is; put the old one back */
            fix_put_slide(store, "s", 4);
        db_slide_clear(&s);
    }
    db_split split;
    g_assert_true(db_split_parse("val", &split) && split == DB_SPLIT_VAL);
    g_assert_false(db_split_parse("validation", &split));
    db_store_close(store);
    fix_remove(dir);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static void test_writer_refuses(void)
{
    g_autofree char *dir = fix_dir(), *packs = g_build_filename(dir, "packs", NULL);
    GError *error = NULL;
    int64_t next = 0;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    g_assert_null(db_writer_open(store, 5, &next, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "no slide 5");
    GDir *open = g_dir_open(packs, 0, NULL);
    g_assert_null(g_dir_read_name(open)); /* a wrong id leaves no pack */
    g_dir_close(open);
    int64_t id = fix_put_slide(store, "s", 10);
    db_writer *w = db_writer_open(store, id, &next, &error);
    g_assert_true(fix_add(store, w, id, 0, &error));
    g_assert_false(fix_add(store, w, id, 0, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "rising");
    db_patch p = {.cell = 1, .kept = true};
    g_assert_false(db_writer_add(w, &p, NULL, NULL, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "image");
    uint8_t bytes[4] = {1, 2, 3, 4};
    db_blob blob = {.data = bytes, .n = 4, .capacity = 4};
    g_assert_false(db_writer_add(w, &p, &blob, &blob, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "label");
    p.kept = false;
    g_assert_false(db_writer_add(w, &p, NULL, NULL, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "reason");
    db_slide wrong = {.id = id + 1};
    g_assert_false(db_writer_finish(w, &wrong, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "was given slide");
    g_assert_true(fix_add(store, w, id, 1, &error)); /* refusals broke nothing */
    g_assert_true(db_writer_commit(w, &error));
    db_writer_close(w);
    assert_sound(store, id, 2);
    db_store_close(store);
    fix_remove(dir);
}

static int64_t count_rows(const char *dir)
{
    db_store *store = db_store_open(dir, true, NULL);
    GArray *list = db_patch_list(store, 0, false, NULL);
    int64_t n = list->len;
    g_array_unref(list);
    db_store_close(store);
    return n;
}

/* Batches commit by themselves; a writer that is closed loses its open batch and no more. */
static void test_batches(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    int64_t next = 0;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    int64_t id = fix_put_slide(store, "s", -1);
    db_writer *w = db_writer_open(store, id, &next, &error);
    for (int cell = 0; cell < DB_WRITER_BATCH + 10; cell++) {
        g_assert_true(fix_add(store, w, id, cell, &error));
        if (cell == DB_WRITER_BATCH - 2)
            g_assert_cmpint(count_rows(dir), ==, 0);
    }
    g_assert_cmpint(count_rows(dir), ==, DB_WRITER_BATCH);
    GArray *slides = db_slide_list(store, &error);
    g_assert_cmpint(g_array_index(slides, db_slide, 0).state, ==, DB_SLIDE_TILING);
    g_array_unref(slides);
    db_writer_close(w);
    fix_fill(store, id, DB_WRITER_BATCH, DB_WRITER_BATCH + 3, true);
    slides = db_slide_list(store, &error);
    g_assert_cmpint(g_array_index(slides, db_slide, 0).state, ==, DB_SLIDE_DONE);
    g_array_unref(slides);
    assert_sound(store, id, DB_WRITER_BATCH + 3);
    db_store_close(store);
    fix_remove(dir);
}

/* What lies past the committed end goes; what lies before it and is gone is reported. */
static void test_pack_ends(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    int64_t next = 0;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    int64_t id = fix_put_slide(store, "s", 10);
    fix_fill(store, id, 0, 5, false);
    g_autofree char *path = db_pack_path(dir, id);
    qs_file *pack = qs_file_open(path, QS_FILE_UPDATE, &error);
    int64_t size = qs_file_size(pack, &error);
    g_assert_true(qs_file_write_at(pack, size, "stray", 5, &error));
    db_writer *w = db_writer_open(store, id, &next, &error);
    g_assert_no_error(error);
    g_assert_cmpint(qs_file_size(pack, &error), ==, size);
    db_writer_close(w);
    g_assert_true(qs_file_truncate(pack, size - 1, &error));
    g_assert_null(db_writer_open(store, id, &next, &error));
    fix_assert_fails(error, QS_ERROR_FORMAT, "shortened");
    g_assert_cmpint(qs_file_size(pack, &error), ==, size - 1); /* and it was not touched */
    qs_file_close(pack, NULL);
    db_store_close(store);
    fix_remove(dir);
}

static void test_read_only_refuses(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    int64_t next;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    fix_put_slide(store, "s", 4);
    db_store_close(store);
    store = db_store_open(dir, true, &error);
    db_slide s;
    fix_slide(&s, "t", 1);
    g_assert_false(db_slide_put(store, &s, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "reading only");
    g_assert_false(db_slide_update(store, &s, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "reading only");
    g_assert_null(db_writer_open(store, 1, &next, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "reading only");
    g_assert_false(db_damage_add(store, 1, 0, 0, 1, 1, "x", &error));
    fix_assert_fails(error, QS_ERROR_ARG, "reading only");
    db_slide_clear(&s);
    db_store_close(store);
    g_assert_cmpint(db_medium_read_mode(true, true, true), ==, DB_READ_LIVE);
    g_assert_cmpint(db_medium_read_mode(true, false, false), ==, DB_READ_LIVE);
    g_assert_cmpint(db_medium_read_mode(false, false, true), ==, DB_READ_IMMUTABLE);
    g_assert_cmpint(db_medium_read_mode(false, true, true), ==, DB_READ_LIVE);
    g_assert_cmpint(db_medium_read_mode(false, true, false), ==, DB_READ_HEAP_WAL);
    fix_remove(dir);
}

static void test_summary(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    int64_t a = fix_put_slide(store, "a", 12);
    fix_put_slide(store, "b", 3);
    fix_fill(store, a, 0, 12, true);
    db_summary sum;
    g_assert_true(db_store_summarise(store, &sum, &error));
    const db_split_summary *train = &sum.splits[DB_SPLIT_TRAIN];
    g_assert_cmpint(train->n_slides, ==, 2);
    g_assert_cmpint(train->n_state[DB_SLIDE_DONE], ==, 1);
    g_assert_cmpint(train->n_state[DB_SLIDE_PENDING], ==, 1);
    g_assert_cmpint(train->n_labelled, ==, 2);
    g_assert_cmpint(train->n_cells, ==, 12);
    g_assert_cmpint(train->n_kept, ==, 9);
    g_assert_cmpint(train->n_with_label, ==, 6); /* of 0 … 11: not 3, 7, 11 and not 2, 5, 8 */
    g_assert_cmpint(train->n_labelled_patches, ==, 9);
    GArray *list = db_patch_list(store, a, false, &error);
    int64_t bytes = 0, px1 = 0;
    for (guint i = 0; i < list->len; i++) {
        bytes += g_array_index(list, db_patch, i).n_bytes +
                 g_array_index(list, db_patch, i).label_n_bytes;
        px1 += g_array_index(list, db_patch, i).class_px[1];
    }
    g_array_unref(list);
    g_assert_cmpint(train->n_bytes, ==, bytes);
    g_assert_cmpint(train->class_px[1], ==, px1);
    g_assert_cmpint(px1, >, 0);
    g_assert_cmpint(sum.splits[DB_SPLIT_TEST].n_slides, ==, 0);
    db_store_close(store);
    fix_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/db/round-trip/zstd", GINT_TO_POINTER(DB_CODEC_ZSTD), test_round_trip);
    g_test_add_data_func("/db/round-trip/jpeg", GINT_TO_POINTER(DB_CODEC_JPEG), test_round_trip);
    g_test_add_func("/db/config/agree", test_config);
    g_test_add_func("/db/config/impossible", test_config_impossible);
    g_test_add_func("/db/open/foreign", test_open_foreign);
    g_test_add_func("/db/open/versions", test_versions);
    g_test_add_func("/store/version-1", test_version_1);
    g_test_add_func("/db/slides", test_slides);
    g_test_add_func("/db/slides/replaced", test_slide_replaced);
    g_test_add_func("/db/writer/refuses", test_writer_refuses);
    g_test_add_func("/db/writer/batches", test_batches);
    g_test_add_func("/db/writer/pack-ends", test_pack_ends);
    g_test_add_func("/db/read-only", test_read_only_refuses);
    g_test_add_func("/db/summary", test_summary);
    return g_test_run();
}
