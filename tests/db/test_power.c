/* What a power cut may leave of a store, at every point of its life.
 *
 * The life of work.h is recorded write by write; for every point between two operations, and for
 * every way in which unsynced writes may be lost, the disk is rebuilt, opened, checked, compared
 * with what had been reported as committed by then, and written on. A kill shows none of this: the
 * page cache outlives it.
 *
 * The harness proves itself: with one kind of sync left out of the record, a state must be found
 * that breaks a promise. */
#include "tests/db/disk.h"
#include "tests/db/work.h"

typedef struct {
    disk_drop drop;
    bool no_shm; /* a file system without shared memory: a rollback journal instead of WAL */
} power_case;

static char *verify(void *user, const char *dir, int64_t mark)
{
    (void)user;
    work_promise promise = work_unpack(mark);
    return work_verify(dir, &promise);
}

static void record_life(const power_case *c)
{
    GError *error = NULL;
    g_autofree char *dir = fix_dir();
    disk_install(c->no_shm);
    disk_record(dir, c->drop);
    work_promise promise = {0};
    bool ok = work_run(dir, &promise, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    g_assert_cmpint(promise.cells[0], ==, WORK_CELLS);
    g_assert_cmpint(promise.cells[1], ==, WORK_CELLS);
    disk_stop();
    disk_remove();
    g_autofree char *wrong = work_verify(dir, &promise);
    g_assert_cmpstr(wrong, ==, NULL);
    fix_remove(dir);
}

static void test_replay(gconstpointer data)
{
    const power_case *c = data;
    record_life(c);
    disk_report report;
    disk_replay(verify, NULL, c->drop != DISK_DROP_NOTHING, &report);
    g_test_message("%d operations, %d different states, %d bad%s%s", (int)disk_n_ops(),
                   (int)report.n_states, (int)report.n_bad, report.first_bad ? ": " : "",
                   report.first_bad ? report.first_bad : "");
    if (c->drop == DISK_DROP_NOTHING) {
        g_assert_cmpstr(report.first_bad, ==, NULL);
        g_assert_cmpint(report.n_states, >, disk_n_ops());
    } else {
        g_assert_cmpint(report.n_bad, >, 0);
    }
    g_free(report.first_bad);
    disk_forget();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const power_case wal = {DISK_DROP_NOTHING, false}, journal = {DISK_DROP_NOTHING, true},
                            no_pack = {DISK_DROP_PACK_SYNC, false},
                            no_sqlite = {DISK_DROP_SQLITE_SYNC, false},
                            no_packs_dir = {DISK_DROP_PACKS_DIR, false},
                            no_store_dir = {DISK_DROP_STORE_DIR, false},
                            no_pack_journal = {DISK_DROP_PACK_SYNC, true},
                            no_journal_dir = {DISK_DROP_STORE_DIR, true};
    g_test_add_data_func("/db/power/wal", &wal, test_replay);
    g_test_add_data_func("/db/power/journal", &journal, test_replay);
    g_test_add_data_func("/db/power/finds/pack-sync", &no_pack, test_replay);
    g_test_add_data_func("/db/power/finds/index-sync", &no_sqlite, test_replay);
    g_test_add_data_func("/db/power/finds/packs-folder-sync", &no_packs_dir, test_replay);
    g_test_add_data_func("/db/power/finds/store-folder-sync", &no_store_dir, test_replay);
    g_test_add_data_func("/db/power/finds/pack-sync-journal", &no_pack_journal, test_replay);
    g_test_add_data_func("/db/power/finds/journal-folder-sync", &no_journal_dir, test_replay);
    return g_test_run();
}
