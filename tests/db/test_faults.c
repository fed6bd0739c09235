/* Every external operation fails once, and from then on: the program says so, nothing that was
 * committed is lost, and when the fault is gone the same command ends what it began. */
#include "tests/db/disk.h"
#include "tests/db/work.h"

#include "base/file.h"
#include "db/store_priv.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    disk_side side;
    bool sticky, no_shm;
    int err;
} fault_case;

static void assert_kept(const char *dir, const work_promise *promise, const char *when, int64_t k)
{
    g_autofree char *wrong = work_verify(dir, promise);
    if (wrong)
        g_error("operation %d failed, %s: %s", (int)k, when, wrong);
}

static void test_every_operation(gconstpointer data)
{
    const fault_case *c = data;
    disk_install(c->no_shm);
    int64_t k = 1, n_errors = 0;
    for (;; k++) {
        g_autofree char *dir = fix_fast_dir();
        GError *error = NULL;
        work_promise promise = {0};
        disk_fail_at(c->side, k, c->sticky, c->err);
        bool ok = work_run(dir, &promise, &error);
        bool failed = disk_has_failed();
        disk_fail_at(c->side, 0, false, 0);
        if (ok != (error == NULL))
            g_error("operation %d failed: %s", (int)k,
                    ok ? "an error and success" : "no reason given");
        g_assert_true(failed || ok);
        if (error) {
            g_assert_true(error->domain == QS_ERROR && strlen(error->message) > 10);
            n_errors++;
        }
        g_clear_error(&error);
        assert_kept(dir, &promise, "and then", k);
        ok = work_run(dir, &promise, &error);
        if (!ok)
            g_error("operation %d failed, and the next run: %s", (int)k, error->message);
        g_assert_cmpint(promise.cells[0], ==, WORK_CELLS);
        g_assert_cmpint(promise.cells[1], ==, WORK_CELLS);
        assert_kept(dir, &promise, "and was gone on with", k);
        fix_remove(dir);
        if (!failed)
            break;
    }
    disk_remove();
    g_test_message("%d operations, %d of them stop the run", (int)k - 1, (int)n_errors);
    g_assert_cmpint(k, >, 20);
    g_assert_cmpint(n_errors, >, 15);
}

/* The same handles go on after one failure: a new writer on the store that saw it. */
static void test_same_store(void)
{
    for (int side = 0; side < 2; side++) {
        g_autofree char *dir = fix_fast_dir();
        GError *error = NULL;
        disk_install(false);
        db_store *store = fix_create(dir, DB_CODEC_ZSTD);
        int64_t id = fix_put_slide(store, "one", 6), next = -1;
        db_writer *writer = db_writer_open(store, id, &next, &error);
        g_assert_no_error(error);
        g_assert_true(fix_add(store, writer, id, 0, &error));
        disk_fail_at((disk_side)side, 1, true, ENOSPC);
        g_assert_false(db_writer_commit(writer, &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_IO);
        g_clear_error(&error);
        disk_fail_at((disk_side)side, 0, false, 0);
        /* Sticky: what reached the disk is unknown, so this writer is done. */
        g_assert_false(fix_add(store, writer, id, 1, &error));
        fix_assert_fails(error, QS_ERROR_IO, "an earlier write failed");
        g_assert_false(db_writer_commit(writer, &error));
        fix_assert_fails(error, QS_ERROR_IO, "an earlier write failed");
        db_writer_close(writer);
        writer = db_writer_open(store, id, &next, &error);
        g_assert_no_error(error);
        g_assert_cmpint(next, ==, 0);
        g_assert_true(fix_add(store, writer, id, 0, &error));
        g_assert_true(db_writer_commit(writer, &error));
        db_writer_close(writer);
        g_autofree char *wrong = fix_verify(store, id, 1, NULL);
        g_assert_cmpstr(wrong, ==, NULL);
        db_store_close(store);
        disk_remove();
        fix_remove(dir);
    }
}

/* A real full disk: a small file system of its own, which only root can mount. */
static void test_full_disk(void)
{
    g_autofree char *dir = fix_dir();
    if (mount("quadslide-test", dir, "tmpfs", 0, "size=3m") != 0) {
        g_test_skip("needs root (mount of a small file system)");
        fix_remove(dir);
        return;
    }
    g_autofree char *place = g_build_filename(dir, "store", NULL);
    GError *error = NULL;
    db_store *store = fix_create(place, DB_CODEC_ZSTD);
    int64_t id = fix_put_slide(store, "big", -1), next = 0, committed = 0;
    db_writer *writer = db_writer_open(store, id, &next, &error);
    bool ok = true;
    for (int64_t cell = 0; ok && cell < 1000000; cell++) {
        ok = fix_add(store, writer, id, cell, &error) &&
             (cell % 50 != 49 || db_writer_commit(writer, &error));
        committed = ok && cell % 50 == 49 ? cell + 1 : committed;
    }
    g_assert_error(error, QS_ERROR, QS_ERROR_IO);
    g_assert_nonnull(strstr(error->message, place));
    g_clear_error(&error);
    db_writer_close(writer);
    g_assert_cmpint(committed, >, 100);
    int64_t found = 0;
    g_autofree char *wrong = fix_verify(store, id, committed, &found);
    g_assert_cmpstr(wrong, ==, NULL);
    db_store_close(store);
    /* Room is made: it goes on. */
    g_assert_cmpint(mount(NULL, dir, NULL, MS_REMOUNT, "size=12m"), ==, 0);
    store = db_store_open(place, false, &error);
    g_assert_no_error(error);
    writer = db_writer_open(store, id, &next, &error);
    g_assert_no_error(error);
    g_assert_cmpint(next, ==, found);
    g_assert_true(fix_add(store, writer, id, next, &error));
    g_assert_true(db_writer_commit(writer, &error));
    db_writer_close(writer);
    db_store_close(store);
    umount(dir);
    fix_remove(dir);
}

/* A read-only file system: readers work and no writer does. */
static void test_read_only_disk(void)
{
    g_autofree char *dir = fix_dir();
    if (mount("quadslide-test", dir, "tmpfs", 0, "size=8m") != 0) {
        g_test_skip("needs root (mount of a read-only file system)");
        fix_remove(dir);
        return;
    }
    g_autofree char *place = g_build_filename(dir, "store", NULL);
    for (int with_wal = 0; with_wal < 3; with_wal++) { /* closed; killed; killed and without -shm */
        GError *error = NULL;
        work_promise promise = {0};
        g_assert_true(work_run(place, &promise, &error));
        if (with_wal) {
            pid_t child = fork();
            if (child == 0) {
                db_store *store = db_store_open(place, false, NULL);
                bool ok = store && db_metric_add(store, 1, 2, "late", 1.0, "", 0, NULL);
                _exit(ok ? 0 : 1); /* without close: the WAL stays */
            }
            int status = 0;
            g_assert_cmpint(waitpid(child, &status, 0), ==, child);
            g_assert_cmpint(status, ==, 0);
            promise.metrics++;
        }
        g_autofree char *shm = g_build_filename(place, "index.db-shm", NULL);
        if (with_wal == 2)
            g_assert_cmpint(g_unlink(shm), ==, 0);
        g_assert_cmpint(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, "size=8m"), ==, 0);
        db_store *store = db_store_open(place, true, &error);
        g_assert_no_error(error);
        g_autofree char *wrong = fix_verify(store, 1, WORK_CELLS, NULL);
        g_assert_cmpstr(wrong, ==, NULL);
        GArray *late = db_metric_list(store, 1, "late", &error);
        g_assert_no_error(error);
        g_assert_cmpuint(late->len, ==, with_wal ? 1 : 0);
        g_array_unref(late);
        g_assert_false(db_metric_add(store, 1, 3, "no", 1.0, "", 0, &error));
        fix_assert_fails(error, QS_ERROR_ARG, "reading only");
        db_store_close(store);
        g_assert_null(db_store_open(place, false, &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_IO);
        g_clear_error(&error);
        g_assert_cmpint(mount(NULL, dir, NULL, MS_REMOUNT, "size=8m"), ==, 0);
        fix_remove(place);
    }
    umount(dir);
    fix_remove(dir);
}

static void test_unwritable(void)
{
    g_autofree char *dir = fix_dir();
    g_autofree char *file = g_build_filename(dir, "a-file", NULL),
                    *below = g_build_filename(file, "s", NULL);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    const char *places[] = {below, "/proc/quadslide-store"};
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        GError *error = NULL;
        db_store_config config;
        fix_config(&config, DB_CODEC_ZSTD);
        g_assert_null(db_store_create(places[i], &config, &error));
        fix_assert_fails(error, QS_ERROR_IO, places[i]);
        db_store_config_clear(&config);
    }
    fix_remove(dir);
}

/* Where WAL cannot work a store is made with a journal, and one in WAL is taken out of it. */
static void test_without_wal(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    work_promise promise = {0};
    g_assert_true(work_run(dir, &promise, &error));
    disk_install(true);
    db_store *store = db_store_open(dir, false, &error);
    g_assert_no_error(error);
    g_autofree char *mode = db_sql_text(store->sql, "PRAGMA journal_mode", &error);
    g_assert_cmpstr(mode, ==, "delete");
    /* Not exclusive: another connection gets in. */
    db_store *other = db_store_open(dir, false, &error);
    g_assert_no_error(error);
    g_assert_true(db_metric_add(other, 1, 9, "other", 1, "", 0, &error));
    g_assert_true(db_metric_add(store, 1, 9, "this", 1, "", 0, &error));
    db_store_close(other);
    g_autofree char *wrong = fix_verify(store, 2, WORK_CELLS, NULL);
    g_assert_cmpstr(wrong, ==, NULL);
    db_store_close(store);
    disk_remove();
    fix_remove(dir);
    g_assert_cmpstr(db_medium_without_wal(0x6969), ==, "NFS");
    g_assert_cmpstr(db_medium_without_wal((int64_t)(int32_t)0xFF534D42), ==,
                    "CIFS");                      /* sign-extended */
    g_assert_null(db_medium_without_wal(0xEF53)); /* ext4 */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const fault_case files_once = {DISK_FILES, false, false, EIO},
                            files_full = {DISK_FILES, true, false, ENOSPC},
                            sqlite_once = {DISK_SQLITE, false, false, EIO},
                            sqlite_full = {DISK_SQLITE, true, false, ENOSPC},
                            journal_once = {DISK_SQLITE, false, true, EIO};
    g_test_add_data_func("/db/faults/files/once", &files_once, test_every_operation);
    g_test_add_data_func("/db/faults/files/full", &files_full, test_every_operation);
    g_test_add_data_func("/db/faults/sqlite/once", &sqlite_once, test_every_operation);
    g_test_add_data_func("/db/faults/sqlite/full", &sqlite_full, test_every_operation);
    g_test_add_data_func("/db/faults/journal/once", &journal_once, test_every_operation);
    g_test_add_func("/db/faults/same-store", test_same_store);
    g_test_add_func("/db/faults/full-disk", test_full_disk);
    g_test_add_func("/db/faults/read-only-disk", test_read_only_disk);
    g_test_add_func("/db/faults/unwritable", test_unwritable);
    g_test_add_func("/db/faults/without-wal", test_without_wal);
    return g_test_run();
}
