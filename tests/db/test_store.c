/* The store as its callers use it: configuration, slides, patches, runs, summary. */
#include "tests/db/fixture.h"

#include "db/store_priv.h"

#include <math.h>
#include <string.h>

static void fill(db_store *store, int64_t slide_id, int64_t first, int64_t end, bool finish)
{
    GError *error = NULL;
    int64_t next = -1;
    db_writer *writer = db_writer_open(store, slide_id, &next, &error);
    g_assert_no_error(error);
    g_assert_cmpint(next, ==, first);
    for (int64_t cell = first; cell < end; cell++) {
        bool ok = fix_add(store, writer, slide_id, cell, &error);
        g_assert_no_error(error);
        g_assert_true(ok);
    }
    bool ok;
    if (finish) {
        GArray *slides = db_slide_list(store, NULL);
        db_slide *slide = NULL;
        for (guint i = 0; i < slides->len; i++)
            if (g_array_index(slides, db_slide, i).id == slide_id)
                slide = &g_array_index(slides, db_slide, i);
        slide->n_cells = end;
        ok = db_writer_finish(writer, slide, &error);
        g_array_unref(slides);
    } else {
        ok = db_writer_commit(writer, &error);
    }
    g_assert_no_error(error);
    g_assert_true(ok);
    db_writer_close(writer);
}

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
    fill(store, a, 0, 1100, true); /* more than two batches */
    fill(store, b, 0, 4, false);
    fill(store, b, 4, 9, true);
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
        g_array_unref(kept);
        db_store_close(store);
    }
    fix_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/db/round-trip/zstd", GINT_TO_POINTER(DB_CODEC_ZSTD), test_round_trip);
    g_test_add_data_func("/db/round-trip/jpeg", GINT_TO_POINTER(DB_CODEC_JPEG), test_round_trip);
    return g_test_run();
}
