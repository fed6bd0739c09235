/* Several programs on one store, and programs that die: kill -9 at random moments of a writer,
 * locks between two writers, several programs that log at once. */
#include "tests/db/fixture.h"

#include "db/store_priv.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILL_CELLS = 240 };

/* A child reports what was committed through a pipe: the count, after every commit that returned.
 */
G_GNUC_NORETURN static void write_forever(const char *dir, int64_t slide_id, int report)
{
    db_store *store = db_store_open(dir, false, NULL);
    int64_t next = 0;
    db_writer *writer = store ? db_writer_open(store, slide_id, &next, NULL) : NULL;
    if (!writer)
        _exit(2);
    for (int64_t cell = next; cell < KILL_CELLS; cell++) {
        if (!fix_add(store, writer, slide_id, cell, NULL))
            _exit(3);
        if (cell % 4 == 3) {
            int32_t committed = (int32_t)cell + 1;
            if (!db_writer_commit(writer, NULL) || write(report, &committed, sizeof committed) < 0)
                _exit(4);
        }
    }
    db_slide slide;
    g_autofree char *name = g_strdup_printf("slide %d", (int)slide_id);
    fix_slide(&slide, name, KILL_CELLS);
    slide.id = slide_id;
    bool ok = db_writer_finish(writer, &slide, NULL);
    db_writer_close(writer);
    db_store_close(store);
    _exit(ok ? 0 : 5);
}

/* Starts the writer, kills it after `wait_us`; returns the last count it reported, and whether it
 * ended by itself. */
static int run_and_kill(const char *dir, int64_t slide_id, gulong wait_us, bool *ended)
{
    int ends[2];
    g_assert_cmpint(pipe(ends), ==, 0);
    pid_t child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        close(ends[0]);
        write_forever(dir, slide_id, ends[1]);
    }
    close(ends[1]);
    g_usleep(wait_us);
    kill(child, SIGKILL);
    int status = 0;
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    *ended = WIFEXITED(status);
    if (WIFEXITED(status))
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    int32_t committed = 0, value;
    while (read(ends[0], &value, sizeof value) == (ssize_t)sizeof value)
        committed = value;
    close(ends[0]);
    return committed;
}

typedef struct {
    int kills, inside, beyond; /* inside a slide; between a commit and its report */
} kill_count;

/* Writes one slide to its end through as many kills as it takes. */
static void kill_through(const char *dir, int64_t slide_id, kill_count *n)
{
    GError *error = NULL;
    int promised = 0, longest_us = 3000; /* grows, so that a slow machine gets through too */
    for (bool ended = false; !ended; longest_us += 2000) {
        gulong wait_us = (gulong)g_test_rand_int_range(200, longest_us);
        int committed = run_and_kill(dir, slide_id, wait_us, &ended);
        promised = ended ? KILL_CELLS : MAX(promised, committed);
        n->kills += !ended;
        db_store *store = db_store_open(dir, n->kills % 2 == 0, &error); /* readers see the same */
        g_assert_no_error(error);
        int64_t found = 0;
        g_autofree char *wrong = fix_verify(store, slide_id, promised, &found);
        g_assert_cmpstr(wrong, ==, NULL);
        n->inside += found > 0 && found < KILL_CELLS;
        n->beyond += found > promised;
        promised = (int)found;
        db_store_close(store);
    }
    int64_t next = 0;
    db_store *store = db_store_open(dir, false, &error);
    db_writer *writer = db_writer_open(store, slide_id, &next, &error);
    g_assert_no_error(error);
    g_assert_cmpint(next, ==, KILL_CELLS);
    db_writer_close(writer);
    db_store_close(store);
}

/* A fast disk gets a slide done between few kills, a slow one between many: slides go on until
 * there were enough of them. */
static void test_kill(void)
{
    g_autofree char *dir = fix_dir();
    kill_count n = {0};
    for (int64_t slide = 1; n.kills < 60 || n.inside < 20; slide++) {
        g_autofree char *name = g_strdup_printf("slide %d", (int)slide);
        db_store *store = fix_create(dir, DB_CODEC_ZSTD);
        g_assert_cmpint(fix_put_slide(store, name, KILL_CELLS), ==, slide);
        db_store_close(store);
        kill_through(dir, slide, &n);
        g_assert_cmpint(slide, <, 500);
    }
    g_test_message("%d kills, %d of them inside a slide, %d between a commit and its report",
                   n.kills, n.inside, n.beyond);
    fix_remove(dir);
}

/* A child that holds something until its stdin closes; the parent waits until it does hold it. */
typedef struct {
    pid_t pid;
    int go;
} holder;

static holder hold(const char *dir, bool (*take)(db_store *store))
{
    int ready[2], go[2];
    char byte = 0;
    g_assert_cmpint(pipe(ready), ==, 0);
    g_assert_cmpint(pipe(go), ==, 0);
    pid_t child = fork();
    if (child == 0) {
        close(ready[0]);
        close(go[1]);
        db_store *store = db_store_open(dir, false, NULL);
        if (!store || !take(store) || write(ready[1], "x", 1) != 1)
            _exit(1);
        _exit(read(go[0], &byte, 1) >= 0 ? 0 : 1);
    }
    close(ready[1]);
    close(go[0]);
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    close(ready[0]);
    return (holder){child, go[1]};
}

static void let_go(holder h)
{
    int status = 0;
    close(h.go);
    g_assert_cmpint(waitpid(h.pid, &status, 0), ==, h.pid);
    g_assert_cmpint(status, ==, 0);
}

static bool take_pack(db_store *store)
{
    int64_t next = 0;
    return db_writer_open(store, 1, &next, NULL) != NULL;
}

static bool take_index(db_store *store)
{
    return db_sql_begin(store->sql, NULL);
}

static void test_pack_lock(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    int64_t next = 0;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    fix_put_slide(store, "one", 8);
    fix_put_slide(store, "two", 8);
    holder h = hold(dir, take_pack);
    g_assert_null(db_writer_open(store, 1, &next, &error));
    fix_assert_fails(error, QS_ERROR_BUSY, "000001.pack");
    db_writer *other = db_writer_open(store, 2, &next, &error);
    g_assert_no_error(error);
    /* Within one program too. */
    g_assert_null(db_writer_open(store, 2, &next, &error));
    fix_assert_fails(error, QS_ERROR_BUSY, "000002.pack");
    let_go(h);
    db_writer *writer = db_writer_open(store, 1, &next, &error);
    g_assert_no_error(error);
    db_writer_close(writer);
    db_writer_close(other);
    db_store_close(store);
    fix_remove(dir);
}

static void test_index_lock(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    int64_t next = 0;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    fix_put_slide(store, "one", 8);
    holder h = hold(dir, take_index);
    db_store_set_busy_timeout(store, 50);
    db_writer *writer = db_writer_open(store, 1, &next, &error);
    g_assert_no_error(error);
    g_assert_true(fix_add(store, writer, 1, 0, &error));
    g_assert_false(db_writer_commit(writer, &error));
    fix_assert_fails(error, QS_ERROR_BUSY, "another program is writing");
    db_writer_close(writer);
    /* Readers are not stopped. */
    db_store *reader = db_store_open(dir, true, &error);
    g_assert_no_error(error);
    g_autofree char *check = fix_check(reader);
    g_assert_cmpstr(check, ==, "");
    db_store_close(reader);
    let_go(h);
    writer = db_writer_open(store, 1, &next, &error);
    g_assert_no_error(error);
    g_assert_cmpint(next, ==, 0);
    g_assert_true(fix_add(store, writer, 1, 0, &error));
    g_assert_true(db_writer_commit(writer, &error));
    db_writer_close(writer);
    db_store_close(store);
    fix_remove(dir);
}

G_GNUC_NORETURN static void log_some(const char *dir, int who)
{
    db_store *store = db_store_open(dir, false, NULL);
    g_autofree char *name = g_strdup_printf("logger %d", who);
    db_run run = {.kind = g_strdup("train"), .name = g_strdup(name)};
    bool ok = store && db_run_begin(store, &run, NULL);
    const char *names[] = {"a", "b"};
    for (int step = 0; ok && step < 40; step++) {
        const double values[] = {step, who};
        ok = db_metric_add(store, run.id, step, "loss", who + step, "", 0, NULL) &&
             db_metric_add_many(store, run.id, step, names, values, NULL, 2, NULL);
    }
    ok = ok && db_run_end(store, run.id, "done", NULL);
    db_run_clear(&run);
    db_store_close(store);
    _exit(ok ? 0 : 1);
}

static void test_loggers(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    enum { N = 4 };
    db_store_close(fix_create(dir, DB_CODEC_ZSTD));
    pid_t children[N];
    for (int i = 0; i < N; i++)
        if ((children[i] = fork()) == 0)
            log_some(dir, i);
    for (int i = 0; i < N; i++) {
        int status = 0;
        g_assert_cmpint(waitpid(children[i], &status, 0), ==, children[i]);
        g_assert_cmpint(status, ==, 0);
    }
    db_store *store = db_store_open(dir, true, &error);
    g_assert_no_error(error);
    GArray *runs = db_run_list(store, &error);
    g_assert_cmpuint(runs->len, ==, N);
    for (guint i = 0; i < runs->len; i++) {
        const db_run *run = &g_array_index(runs, db_run, i);
        int who = run->name[strlen(run->name) - 1] - '0';
        g_assert_cmpstr(run->state, ==, "done");
        g_assert_cmpint(run->n_metrics, ==, 120);
        GArray *loss = db_metric_list(store, run->id, "loss", &error);
        g_assert_cmpuint(loss->len, ==, 40);
        for (guint k = 0; k < loss->len; k++)
            g_assert_cmpint((int)g_array_index(loss, db_metric, k).value, ==, who + (int)k);
        g_array_unref(loss);
    }
    g_array_unref(runs);
    db_store_close(store);
    fix_remove(dir);
}

/* Two programs that create the same store at once get the same store. */
static void test_create_race(void)
{
    for (int round = 0; round < 10; round++) {
        g_autofree char *dir = fix_dir();
        pid_t children[3];
        for (int i = 0; i < 3; i++)
            if ((children[i] = fork()) == 0) {
                db_store_config config;
                fix_config(&config, DB_CODEC_ZSTD);
                _exit(db_store_create(dir, &config, NULL) ? 0 : 1);
            }
        for (int i = 0; i < 3; i++) {
            int status = 0;
            g_assert_cmpint(waitpid(children[i], &status, 0), ==, children[i]);
            g_assert_cmpint(status, ==, 0);
        }
        db_store *store = fix_create(dir, DB_CODEC_ZSTD);
        g_autofree char *check = fix_check(store);
        g_assert_cmpstr(check, ==, "");
        db_store_close(store);
        fix_remove(dir);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/db/processes/kill", test_kill);
    g_test_add_func("/db/processes/pack-lock", test_pack_lock);
    g_test_add_func("/db/processes/index-lock", test_index_lock);
    g_test_add_func("/db/processes/loggers", test_loggers);
    g_test_add_func("/db/processes/create-race", test_create_race);
    return g_test_run();
}
