/* A training process that is killed, a disk that refuses, a heap that must not grow. */
#include "tests/train/fixture.h"

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "model/safetensors.h"
#include "train/run/step.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PX = 16, N_ITEMS = 14, N_LABELLED = 5, ITERATIONS = 40, N_KILLS = 8 };

static const char *program;

static bool on_validate(void *user, const model *m, kn_engine *engine, int64_t iteration,
                        double *dsc, GError **error)
{
    (void)user, (void)m, (void)engine, (void)error;
    *dsc = 0.5 + 0.4 * sin((double)iteration); /* goes up and down, so the best is not the last */
    return true;
}

static void kill_options(tr_options *o, const char *method, const char *dir)
{
    fixture_options_init(o, method, TR_LOSS_METASSL, dir);
    o->n_threads = 1;
    o->iterations = ITERATIONS;
    o->val_every = 5;
    o->save_every = 4;
}

/* The child: trains in DIR, resuming what is there. */
static int child(const char *method, const char *dir)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    kill_options(&o, method, dir);
    model_spec spec;
    fixture_spec_init(&spec, PX);
    tr_callbacks callbacks = {.validate = on_validate};
    GError *error = NULL;
    bool ok = tr_run(&o, &s.source, &spec, &callbacks, &error);
    if (!ok)
        g_printerr("%s\n", error->message);
    g_clear_error(&error);
    fixture_source_clear(&s);
    return ok ? 0 : 1;
}

static GPid spawn(const char *method, const char *dir)
{
    const char *argv[] = {program, "--train", method, dir, NULL};
    GPid pid = 0;
    GError *error = NULL;
    g_spawn_async(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid,
                  &error);
    g_assert_no_error(error);
    return pid;
}

static int wait_for(GPid pid)
{
    int status = 0;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return status;
}

static void assert_same_runs(const char *a, const char *b)
{
    static const char *const files[] = {"last.safetensors", "best.safetensors"};
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *fa = g_build_filename(a, files[i], NULL),
                        *fb = g_build_filename(b, files[i], NULL);
        fixture_assert_same(fa, fb, "");
    }
    g_autofree char *sa = g_build_filename(a, "state.safetensors", NULL),
                    *sb = g_build_filename(b, "state.safetensors", NULL);
    static const char *const parts[] = {".params", ".buffers", ".momentum", "gamma"};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
        fixture_assert_same(sa, sb, parts[i]);
}

/* Every "iteration,name" once. */
static void assert_no_duplicates(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "metrics.csv", NULL), *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    int n_val = 0;
    for (int i = 0; lines[i] && *lines[i]; i++) {
        n_val += strstr(lines[i], ",val_dsc,") != NULL;
        char *second = strchr(lines[i], ',');
        g_assert_nonnull(second);
        second = strchr(second + 1, ',');
        g_assert_nonnull(second);
        *second = 0;
        g_assert_true(g_hash_table_add(seen, lines[i]));
    }
    g_assert_cmpint(n_val, ==, ITERATIONS / 5);
}

/* Whatever is under its name is whole. */
static void assert_whole(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return;
    GError *error = NULL;
    st_file *file = st_open(path, &error);
    g_assert_no_error(error);
    st_close(file);
}

static void test_kill(gconstpointer method)
{
    char *dir = fixture_dir();
    g_autofree char *whole = g_build_filename(dir, "whole", NULL),
                    *killed = g_build_filename(dir, "killed", NULL);
    int64_t start = g_get_monotonic_time();
    g_assert_cmpint(wait_for(spawn(method, whole)), ==, 0);
    double whole_us = (double)(g_get_monotonic_time() - start);
    qs_rng rng;
    uint64_t seed = g_test_rand_int();
    g_test_message("seed of the moments %" G_GUINT64_FORMAT, (guint64)seed);
    qs_rng_init(&rng, seed, 1);
    int n_killed = 0;
    for (int i = 0; i < N_KILLS; i++) {
        GPid pid = spawn(method, killed);
        g_usleep((gulong)(whole_us * qs_rng_range(&rng, 0.05, 0.4)));
        kill(pid, SIGKILL);
        int status = wait_for(pid);
        if (WIFSIGNALED(status))
            n_killed++;
        else
            g_assert_cmpint(status, ==, 0);
        assert_whole(killed, "state.safetensors");
        assert_whole(killed, "last.safetensors");
        assert_whole(killed, "best.safetensors");
    }
    g_test_message("%d of %d were killed before they were done", n_killed, N_KILLS);
    g_assert_cmpint(n_killed, >, 0);
    g_assert_cmpint(wait_for(spawn(method, killed)), ==, 0);
    assert_same_runs(whole, killed);
    assert_no_duplicates(killed);
    fixture_dir_remove(dir);
}

/* ---- faults -----------------------------------------------------------------------------------
 */

typedef struct {
    int n, fail_at; /* calls so far; the one that fails, 0 none */
} fault;

static int fail_kth(void *user, qs_io_kind kind, const char *path, const char *path2,
                    int64_t offset, const void *data, size_t n)
{
    (void)kind, (void)path, (void)path2, (void)offset, (void)data, (void)n;
    fault *f = user;
    return ++f->n == f->fail_at ? ENOSPC : 0;
}

static bool train_with(const char *dir, fault *f, GError **error)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    kill_options(&o, "MT", dir);
    o.iterations = 6;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    tr_callbacks callbacks = {.validate = on_validate};
    qs_io_set_hook(fail_kth, f);
    bool ok = tr_run(&o, &s.source, &spec, &callbacks, error);
    qs_io_set_hook(NULL, NULL);
    fixture_source_clear(&s);
    return ok;
}

/* A full disk at any call ends the run with an error that says so, and the same command then goes
 * on to the bits of a run that met none. */
static void test_full_disk(void)
{
    char *dir = fixture_dir();
    g_autofree char *whole = g_build_filename(dir, "whole", NULL);
    GError *error = NULL;
    fault count = {0};
    g_assert_true(train_with(whole, &count, &error));
    g_assert_cmpint(count.n, >, 20);
    int stride = count.n / 14;
    for (int k = 1; k <= count.n; k += stride) {
        g_autofree char *name = g_strdup_printf("run%d", k),
                        *run = g_build_filename(dir, name, NULL);
        fault f = {.fail_at = k}, none = {0};
        g_assert_false(train_with(run, &f, &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_IO);
        g_assert_nonnull(strstr(error->message, "No space left"));
        g_clear_error(&error);
        if (!train_with(run, &none, &error))
            g_test_message("after call %d failed: %s", k, error->message);
        g_assert_no_error(error);
        assert_same_runs(whole, run);
    }
    fixture_dir_remove(dir);
}

/* ---- memory
 * -------------------------------------------------------------------------------------- */

static size_t heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* A step allocates nothing that stays, and takes the memory that was stated. */
static void test_memory(gconstpointer method)
{
    fixture_source s;
    fixture_source_init(&s, 32, N_ITEMS, N_LABELLED);
    model_spec spec;
    fixture_spec_init(&spec, 32);
    tr_options o;
    fixture_options_init(&o, method, TR_LOSS_METASSL, "unused");
    kn_unet_spec_init(&spec.net, 2, o.width);
    GError *error = NULL;
    kn_engine_options eo = {.backend = "cpu", .n_threads = 2, .conv = KN_CONV_DIRECT};
    kn_engine *engine = kn_engine_create(&eo, &error);
    g_assert_no_error(error);
    ssl_plan plan = {0};
    ssl_config config = tr_options_config(&o);
    ssl_method_find(method, NULL)->plan(&config, &plan);
    tr_learner learner;
    g_assert_true(tr_learner_init(&learner, engine, &o, &plan, &spec, &error));
    int64_t before = kn_engine_bytes(engine), stated = tr_step_memory(&learner, &o, 32, &error);
    g_assert_cmpint(kn_engine_bytes(engine), ==, before); /* planning takes none */
    tr_step *step = tr_step_create(&learner, &o, 32, NULL, &error);
    g_assert_no_error(error);
    int64_t taken = kn_engine_bytes(engine) - before; /* the losses' own block is among it */
    g_test_message("stated %" G_GINT64_FORMAT ", taken %" G_GINT64_FORMAT, stated, taken);
    g_assert_cmpint(taken, <=, stated);
    g_assert_cmpint(stated - taken, <=, stated / 20); /* what passes share is stated once */
    tr_loader *loader = tr_loader_create(&o, &plan, &s.source, &spec, 0, &error);
    tr_step_result result;
    size_t settled = 0;
    for (int it = 0; it < 12; it++) {
        const tr_batch *batch = tr_loader_next(loader, &error);
        g_assert_true(tr_step_run(step, batch, it, 100, &result, &error));
        if (it == 3)
            settled = heap_in_use();
    }
    /* oneDNN and OpenMP may keep a few small things; a leak of ours would be images. */
    g_assert_cmpuint(heap_in_use(), <=, settled + 4096);
    g_assert_cmpint(kn_engine_bytes(engine) - before, ==, taken);
    tr_loader_destroy(loader);
    tr_step_destroy(step);
    tr_learner_clear(&learner);
    kn_engine_destroy(engine);
    fixture_source_clear(&s);
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--train"))
        return child(argv[2], argv[3]);
    program = argv[0];
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/train/kill/MT", "MT", test_kill);
    g_test_add_data_func("/train/kill/CPS", "CPS", test_kill);
    g_test_add_func("/train/full-disk", test_full_disk);
    g_test_add_data_func("/train/memory/MT", "MT", test_memory);
    g_test_add_data_func("/train/memory/CPS", "CPS", test_memory);
    g_test_add_data_func("/train/memory/SL", "SL", test_memory);
    return g_test_run();
}
