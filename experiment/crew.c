/* Runs the trainings of an experiment: each is `quadslide train`, then `predict` and `eval`, as
 * commands of their own. So a run of an experiment is what the same commands give by hand, takes
 * its memory with it when it ends, and goes on from its checkpoint after any kill.
 *
 * One thread a job starts commands and waits for them. A child is asked to stop when this program
 * is (or dies); what it writes goes to log.txt of the run's folder. */
#include "experiment/experiment.h"

#include "base/error.h"
#include "base/report.h"
#include "jobs/exit.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POLL_US = 100000, BUSY_WAIT_S = 120 };

typedef struct {
    experiment *e;
    GMutex lock;      /* guards next, the states of runs, the store's rows and `finished` */
    GPtrArray *order; /* of exp_run, borrowed: all of the first seed, then of the next … */
    guint next;       /* in order */
    int n_threads;    /* of each run */
    bool stopped;
    void (*finished)(experiment *e);
    const qs_progress *progress;
} crew;

/* ---- children ------------------------------------------------------------------------------- */

/* Between fork and exec: only what may be called there. The child stops, as for Ctrl-C, when the
 * thread that waits for it is gone. */
static void child_setup(gpointer user)
{
    (void)user;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGINT, SIG_IGN); /* of the terminal: this program passes the wish on */
}

static bool wait_for(GPid pid, int *status)
{
    bool told = false;
    while (true) {
        pid_t done = waitpid(pid, status, WNOHANG);
        if (done == pid)
            return true;
        if (done < 0 && errno != EINTR)
            return false;
        if (qs_stop_requested() && !told) {
            kill(pid, SIGTERM);
            told = true;
        }
        g_usleep(POLL_US);
    }
}

/* The last line that a command left in its log, without "quadslide train: ". */
static char *last_line(const char *path)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return g_strdup("");
    g_strchomp(text);
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    const char *colon = g_str_has_prefix(line, "quadslide ") ? strstr(line, ": ") : NULL;
    return g_utf8_make_valid(colon ? colon + 2 : line, -1);
}

static bool judge(int status, const char *command, const char *log, bool partly_is_fine,
                  GError **error)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == JOB_EXIT_DONE || (code == JOB_EXIT_PARTLY && partly_is_fine))
        return true;
    if (!qs_stop_check(error))
        return false;
    g_autofree char *line = last_line(log);
    if (code < 0)
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "%s: ended by signal %d (log: %s)", command,
                    WIFSIGNALED(status) ? WTERMSIG(status) : 0, log);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "%s: %s (log: %s)", command, line, log);
    return false;
}

/* Runs this program with these arguments, its words going to `log`. */
static bool run_command(GPtrArray *args, const char *log, bool partly_is_fine, GError **error)
{
    int fd = g_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) {
        qs_set_error_errno(error, errno, "%s: cannot be written", log);
        return false;
    }
    GPid pid;
    int status = 0;
    g_ptr_array_add(args, NULL);
    const char *command = args->pdata[1];
    bool ok = qs_stop_check(error) &&
              g_spawn_async_with_fds(NULL, (char **)args->pdata, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                                     child_setup, NULL, &pid, -1, fd, fd, error);
    close(fd);
    if (!ok)
        return false;
    if (!wait_for(pid, &status)) {
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "%s: waitpid: %s", command,
                    g_strerror(errno));
        return false;
    }
    return judge(status, command, log, partly_is_fine, error);
}

static GPtrArray *arguments(const char *command)
{
    GPtrArray *args = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(args, g_strdup("/proc/self/exe"));
    g_ptr_array_add(args, g_strdup(command));
    return args;
}

static void add(GPtrArray *args, const char *name, const char *value)
{
    g_ptr_array_add(args, g_strdup_printf("--%s=%s", name, value));
}

static void add_number(GPtrArray *args, const char *name, int64_t value)
{
    g_ptr_array_add(args, g_strdup_printf("--%s=%" G_GINT64_FORMAT, name, value));
}

static char *settings_path(const experiment *e)
{
    return g_build_filename(e->out, "experiment.ini", NULL);
}

/* ---- one run -------------------------------------------------------------------------------- */

static char *in_dir(const exp_run *run, const char *name)
{
    return g_build_filename(run->dir, name, NULL);
}

static bool train(const crew *c, const exp_run *run, const char *log, GError **error)
{
    g_autoptr(GPtrArray) args = arguments("train");
    g_autofree char *steps = in_dir(run, "train.jsonl");
    g_autoptr(GPtrArray) own = exp_train_arguments(c->e, run);
    g_ptr_array_add(args, g_strdup("--quiet"));
    add(args, "log-json", steps);
    add(args, "store", c->e->store_dir);
    add(args, "out", run->dir);
    add_number(args, "threads", c->n_threads);
    for (guint i = 0; i < own->len; i++)
        g_ptr_array_add(args, g_strdup(own->pdata[i]));
    return run_command(args, log, false, error);
}

/* Which slides a run is scored on: of the experiment's cohort, or those it learnt from. */
typedef struct {
    const char *cohort, *split, *masks;
} slides_of_run;

static bool predict(const crew *c, const exp_run *run, const slides_of_run *on, const char *log,
                    GError **error)
{
    g_autoptr(GPtrArray) args = arguments("predict");
    g_autofree char *settings = settings_path(c->e);
    g_autofree char *model = in_dir(run, c->e->best ? "best.safetensors" : "last.safetensors");
    g_autofree char *masks = in_dir(run, on->masks);
    if (!g_file_test(model, G_FILE_TEST_EXISTS)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s is not there: without validation slides there is no best model; set "
                    "[experiment] model=last",
                    model);
        return false;
    }
    g_ptr_array_add(args, g_strdup("--quiet"));
    add(args, "config", settings);
    add(args, "model", model);
    add(args, "cohort", on->cohort);
    add(args, "split", on->split);
    add(args, "out", masks);
    add_number(args, "threads", c->n_threads);
    return run_command(args, log, true, error);
}

/* annotation: against the noisy masks though the truth is known. */
static bool score(const crew *c, const exp_run *run, const slides_of_run *on, const char *file,
                  bool annotation, const char *log, GError **error)
{
    g_autoptr(GPtrArray) args = arguments("eval");
    g_autofree char *settings = settings_path(c->e);
    g_autofree char *masks = in_dir(run, on->masks);
    g_autofree char *out = in_dir(run, file);
    g_ptr_array_add(args, g_strdup("--quiet"));
    add(args, "config", settings);
    add(args, "cohort", on->cohort);
    add(args, "split", on->split);
    add(args, "pred", masks);
    add(args, "out", out);
    if (annotation)
        g_ptr_array_add(args, g_strdup("--annotation"));
    return run_command(args, log, true, error);
}

/* Waits while another process holds the folder: a child of an experiment that was killed writes its
 * checkpoint and goes. */
static bool wait_for_lock(const exp_run *run, GError **error)
{
    g_autofree char *path = in_dir(run, "lock");
    for (int waited = 0;; waited++) {
        GError *busy = NULL;
        qs_file *file = qs_file_open(path, QS_FILE_UPDATE, &busy);
        bool free_now = file && qs_file_lock(file, &busy);
        qs_file_close(file, NULL);
        if (free_now)
            return true;
        if (!g_error_matches(busy, QS_ERROR, QS_ERROR_BUSY) || waited >= BUSY_WAIT_S) {
            g_propagate_error(error, busy);
            return false;
        }
        g_error_free(busy);
        if (!qs_stop_check(error))
            return false;
        g_usleep(G_USEC_PER_SEC);
    }
}

static void set_stage(crew *c, exp_run *run, const char *stage)
{
    g_mutex_lock(&c->lock);
    g_free(run->stage);
    run->stage = g_strdup(stage);
    g_mutex_unlock(&c->lock);
}

/* Test slides against their annotations; the slides that were learnt from against both. */
static bool score_noise(crew *c, const exp_run *run, const slides_of_run *test, const char *log,
                        GError **error)
{
    g_autofree char *cohort = in_dir(run, "labelled.csv");
    const slides_of_run learnt = {cohort, "train", "masks-labelled"};
    return score(c, run, test, "test-annotation.json", true, log, error) &&
           exp_write_labelled(c->e, run, error) && predict(c, run, &learnt, log, error) &&
           score(c, run, &learnt, "labelled.json", false, log, error) &&
           score(c, run, &learnt, "labelled-annotation.json", true, log, error);
}

static bool work(crew *c, exp_run *run, GError **error)
{
    g_mutex_lock(&c->lock);
    bool ok = exp_claim_dir(c->e, run, error);
    g_mutex_unlock(&c->lock);
    if (!ok || !wait_for_lock(run, error))
        return false;
    g_autofree char *log = in_dir(run, "log.txt");
    int64_t iteration;
    set_stage(c, run, "train");
    if (!exp_is_trained(run, &iteration) && !train(c, run, log, error))
        return false;
    const slides_of_run test = {c->e->cohort, c->e->test_split, "masks"};
    set_stage(c, run, "predict");
    if (!predict(c, run, &test, log, error))
        return false;
    set_stage(c, run, "eval");
    if (!score(c, run, &test, "test.json", false, log, error) ||
        (c->e->noisy && !score_noise(c, run, &test, log, error)))
        return false;
    g_mutex_lock(&c->lock);
    ok = exp_record(c->e, run, error);
    g_mutex_unlock(&c->lock);
    return ok;
}

static void settle(crew *c, exp_run *run, GError *error)
{
    g_mutex_lock(&c->lock);
    g_clear_pointer(&run->stage, g_free);
    run->state = EXP_DONE;
    if (error) {
        bool stop = g_error_matches(error, QS_ERROR, QS_ERROR_STOPPED);
        run->state = stop ? EXP_STOPPED : EXP_FAILED;
        run->problem = g_strdup(error->message);
        c->stopped = c->stopped || stop;
        if (!stop)
            qs_warn("%s: %s", run->name, error->message);
        g_error_free(error);
    } else {
        run->iteration = run->iterations;
        qs_event("run", "\"name\":\"%s\",\"state\":\"done\"", run->name);
        if (c->finished)
            c->finished(c->e);
    }
    g_mutex_unlock(&c->lock);
}

static gpointer worker(gpointer user)
{
    crew *c = user;
    while (!qs_stop_requested()) {
        exp_run *run = NULL;
        g_mutex_lock(&c->lock);
        while (!run && c->next < c->order->len) {
            run = c->order->pdata[c->next++];
            run = run->state == EXP_TODO ? run : NULL;
        }
        if (run)
            run->state = EXP_RUNNING;
        g_mutex_unlock(&c->lock);
        if (!run)
            return NULL;
        GError *error = NULL;
        if (!work(c, run, &error) && !error)
            g_set_error_literal(&error, QS_ERROR, QS_ERROR_INTERNAL, "failed without a reason");
        settle(c, run, error);
    }
    return NULL;
}

/* ---- watching ------------------------------------------------------------------------------- */

/* The iteration that a running training last reported. */
static void look(exp_run *run)
{
    g_autofree char *path = in_dir(run, "train.jsonl");
    FILE *file = g_fopen(path, "r");
    if (!file)
        return;
    char tail[2048];
    size_t n = 0;
    if (fseek(file, -(long)sizeof tail + 1, SEEK_END) == 0 || fseek(file, 0, SEEK_SET) == 0)
        n = fread(tail, 1, sizeof tail - 1, file);
    fclose(file);
    tail[n] = 0;
    static const char key[] = "\"event\":\"train\",\"iteration\":";
    const char *last = g_strrstr(tail, key);
    if (last)
        run->iteration = MAX(run->iteration, g_ascii_strtoll(last + strlen(key), NULL, 10));
}

static void show(crew *c)
{
    double done = 0, all = 0, iterations = 0;
    guint n_done = 0;
    g_autoptr(GString) detail = g_string_new(NULL);
    g_mutex_lock(&c->lock);
    for (guint i = 0; i < c->e->runs->len; i++) {
        exp_run *run = c->e->runs->pdata[i];
        if (run->state == EXP_RUNNING && run->dir)
            look(run);
        double share = (double)run->iteration / (double)run->iterations;
        all += run->cost;
        iterations += (double)run->iterations;
        done += run->state == EXP_DONE || run->state == EXP_FAILED ? run->cost
                                                                   : run->cost * MIN(share, 0.98);
        n_done += run->state == EXP_DONE;
        if (run->state == EXP_RUNNING)
            g_string_append_printf(detail, "  %s %s %.0f %%", run->name,
                                   run->stage ? run->stage : "", 100 * share);
    }
    g_mutex_unlock(&c->lock);
    g_autofree char *text =
        g_strdup_printf("%u of %u runs%s", n_done, c->e->runs->len, detail->str);
    qs_progress_update(c->progress, "experiment", (int64_t)(done / all * iterations),
                       (int64_t)iterations, text);
}

/* Seed by seed in the order of the tables, so that whole tables of fewer seeds come early. */
static GPtrArray *order_of(const experiment *e)
{
    GPtrArray *order = g_ptr_array_sized_new(e->runs->len);
    g_autoptr(GHashTable) taken = g_hash_table_new(NULL, NULL);
    for (guint s = 0; order->len < e->runs->len; s++) {
        for (guint t = 0; t < e->tables->len; t++) {
            const exp_table *table = e->tables->pdata[t];
            guint n = table->seeds->len, cells = table->budgets->len * n;
            for (guint r = 0; r < table->rows->len; r++) {
                const guint *runs = g_array_index(table->rows, exp_row, r).runs;
                for (guint i = s; s < n && i < cells; i += n)
                    if (g_hash_table_add(taken, e->runs->pdata[runs[i]]))
                        g_ptr_array_add(order, e->runs->pdata[runs[i]]);
            }
        }
    }
    return order;
}

bool exp_crew_run(experiment *e, void (*finished)(experiment *e), const qs_progress *progress,
                  GError **error)
{
    g_autoptr(GPtrArray) order = order_of(e);
    crew c = {.e = e,
              .order = order,
              .n_threads = MAX(1, e->threads / e->jobs),
              .finished = finished,
              .progress = progress};
    g_mutex_init(&c.lock);
    g_autofree GThread **threads = g_new0(GThread *, e->jobs);
    for (int i = 0; i < e->jobs; i++)
        threads[i] = g_thread_new("experiment", worker, &c);
    for (bool busy = true; busy;) {
        show(&c);
        g_usleep(POLL_US * 5);
        g_mutex_lock(&c.lock);
        busy = c.next < c.order->len && !qs_stop_requested();
        for (guint i = 0; i < e->runs->len; i++)
            busy = busy || ((exp_run *)e->runs->pdata[i])->state == EXP_RUNNING;
        g_mutex_unlock(&c.lock);
    }
    for (int i = 0; i < e->jobs; i++)
        g_thread_join(threads[i]);
    g_mutex_clear(&c.lock);
    return qs_stop_check(error);
}

bool exp_tile(experiment *e, GError **error)
{
    g_autoptr(GPtrArray) args = arguments("tile");
    g_autofree char *settings = settings_path(e);
    g_autofree char *log = g_build_filename(e->out, "tile.txt", NULL);
    g_ptr_array_add(args, g_strdup("--quiet"));
    add(args, "config", settings);
    add(args, "store", e->store_dir);
    add(args, "cohort", e->cohort);
    add_number(args, "threads", e->threads);
    return run_command(args, log, true, error);
}
