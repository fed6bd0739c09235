#include "train/run/rundir.h"

#include "base/error.h"
#include "base/report.h"

#include <string.h>

static bool exists(const char *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static bool take_lock(tr_rundir *run, GError **error)
{
    g_autofree char *path = g_build_filename(run->dir, "lock", NULL);
    run->lock = qs_file_open(path, QS_FILE_UPDATE, error);
    return run->lock && qs_file_lock(run->lock, error);
}

static bool move_aside(tr_rundir *run, GError **error)
{
    if (!take_lock(run, error)) /* nobody's run is moved away under its feet */
        return false;
    for (int n = 1;; n++) {
        g_autofree char *to = g_strdup_printf("%s.old-%d", run->dir, n);
        if (exists(to))
            continue;
        if (!qs_file_rename(run->dir, to, error))
            return false;
        qs_info("--fresh: the old run is now %s", to);
        break;
    }
    qs_file_close(run->lock, NULL);
    run->lock = NULL;
    return true;
}

static char *without_slashes(const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    return g_strndup(dir, n);
}

bool tr_rundir_open(tr_rundir *run, const char *dir, bool fresh, GError **error)
{
    *run = (tr_rundir){.dir = without_slashes(dir)};
    run->state = g_build_filename(run->dir, "state.safetensors", NULL);
    run->last = g_build_filename(run->dir, "last.safetensors", NULL);
    run->best = g_build_filename(run->dir, "best.safetensors", NULL);
    run->metrics = g_build_filename(run->dir, "metrics.csv", NULL);
    run->info = g_build_filename(run->dir, "run.json", NULL);
    if (fresh && exists(run->dir) && !move_aside(run, error))
        return false;
    if (!qs_dir_create(run->dir, error) || !take_lock(run, error))
        return false;
    run->resumes = exists(run->state);
    if (!run->resumes && (exists(run->last) || exists(run->best))) {
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                    "%s: holds models but no state to go on from; give another --out, or --fresh "
                    "to move it "
                    "aside",
                    run->dir);
        return false;
    }
    return true;
}

void tr_rundir_close(tr_rundir *run)
{
    qs_file_close(run->lock, NULL);
    g_free(run->dir);
    g_free(run->state);
    g_free(run->last);
    g_free(run->best);
    g_free(run->metrics);
    g_free(run->info);
    memset(run, 0, sizeof *run);
}
