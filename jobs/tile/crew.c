/* See crew.h. Slides are worked on largest first, as many at once as there are threads; the
 * last ones get the threads that have nothing else left, so one slide alone uses all of them. */
#include "jobs/tile/crew.h"

#include "base/report.h"
#include "base/text.h"
#include "jobs/run_times.h"

#include <string.h>

/* Code, tables and heap of the libraries, which no plan counts: measured at 60 to 90 MB. */
#define LIBRARY_BYTES ((int64_t)96 << 20)

static gint by_cells(gconstpointer a, gconstpointer b)
{
    int64_t na = (*(job_tile *const *)a)->n_cells, nb = (*(job_tile *const *)b)->n_cells;
    return na < nb ? 1 : na > nb ? -1 : 0;
}

static gint by_memory(gconstpointer a, gconstpointer b)
{
    int64_t na = (*(job_tile *const *)a)->memory, nb = (*(job_tile *const *)b)->memory;
    return na < nb ? 1 : na > nb ? -1 : 0;
}

/* The n_threads hungriest slides at once, each with its share of the threads. */
void job_crew_needs(GPtrArray *order, int n_threads, int64_t *memory, int64_t *temp)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(order, NULL, NULL);
    g_ptr_array_sort(sorted, by_memory);
    int64_t per_thread = 0, largest_temp = 0;
    *memory = LIBRARY_BYTES;
    for (guint i = 0; i < sorted->len; i++) {
        const job_tile *job = sorted->pdata[i];
        if ((int)i < n_threads)
            *memory += job->memory;
        per_thread = MAX(per_thread, job->memory_per_thread);
        largest_temp = MAX(largest_temp, job->temp_bytes);
    }
    *memory += per_thread * (n_threads - 1);
    *temp = largest_temp * MIN(n_threads, (int)sorted->len);
}

bool job_crew_plan(GArray *jobs, tile_run *run, GPtrArray *order)
{
    for (guint i = 0; i < jobs->len && !qs_stop_requested(); i++) {
        job_tile *job = &g_array_index(jobs, job_tile, i);
        qs_progress_update(run->progress, "plan", i, jobs->len, NULL);
        job_tile_plan(job, run);
        run->n_cells += job->n_cells;
        g_ptr_array_add(order, job);
    }
    g_ptr_array_sort(order, by_cells);
    for (guint i = 0; i < order->len; i++)
        ((job_tile *)order->pdata[i])->turn = i;
    return !qs_stop_requested();
}

typedef struct {
    tile_run *run;
    GPtrArray *order;
    int n_threads;
    guint next, running; /* guarded by run->lock */
    bool store_failed;
} crew;

/* The next slide and its share of the threads: those that no other slide will need. */
static job_tile *take_job(crew *c, int *n_threads)
{
    job_tile *job = NULL;
    g_mutex_lock(&c->run->lock);
    if (c->next < c->order->len && !c->store_failed && !qs_stop_requested()) {
        job = c->order->pdata[c->next++];
        c->running++;
        guint in_work = MIN((guint)c->n_threads, c->order->len - c->next + c->running);
        *n_threads = MAX(1, c->n_threads / (int)in_work);
    }
    g_mutex_unlock(&c->run->lock);
    return job;
}

static void report_job(const job_tile *job)
{
    if (job->state == TILE_FAILED && !job->store_failed) {
        qs_warn("%s", job->error->message);
        g_autofree char *path = qs_json_escape(job->path),
                        *text = qs_json_escape(job->error->message);
        qs_event("slide", "\"path\":\"%s\",\"state\":\"failed\",\"text\":\"%s\"", path, text);
    } else if (job->state == TILE_DONE) {
        g_autofree char *path = qs_json_escape(job->path);
        qs_event("slide",
                 "\"path\":\"%s\",\"state\":\"done\",\"kept\":%" G_GINT64_FORMAT
                 ",\"tissue\":%" G_GINT64_FORMAT ",\"blank\":%" G_GINT64_FORMAT
                 ",\"damaged\":%" G_GINT64_FORMAT ",\"seconds\":%.3f",
                 path, job->n_kept, job->n_tissue, job->n_blank, job->n_damaged, job->wall_s);
    }
}

static gpointer crew_work(gpointer user)
{
    crew *c = user;
    int n_threads = 1;
    for (job_tile *job; (job = take_job(c, &n_threads));) {
        job_tile_run(job, c->run, n_threads);
        report_job(job);
        g_mutex_lock(&c->run->lock);
        c->running--;
        c->store_failed |= job->store_failed;
        if (job->state == TILE_ALREADY)
            c->run->done_cells += job->n_cells;
        g_mutex_unlock(&c->run->lock);
    }
    return NULL;
}

static void work(tile_run *run, GPtrArray *order, int n_threads)
{
    crew c = {.run = run, .order = order, .n_threads = n_threads};
    int n = MIN(n_threads, (int)order->len);
    g_autofree GThread **threads = g_new0(GThread *, (size_t)n);
    for (int i = 1; i < n; i++)
        threads[i] = g_thread_try_new("slide", crew_work, &c, NULL); /* without it: fewer at once */
    crew_work(&c);
    for (int i = 1; i < n; i++)
        if (threads[i])
            g_thread_join(threads[i]);
}

static job_totals sum_up(GArray *jobs)
{
    job_totals t = {0};
    for (guint i = 0; i < jobs->len; i++) {
        const job_tile *job = &g_array_index(jobs, job_tile, i);
        t.n[job->state]++;
        t.n_masks[job->mask_kind] += job->has_mask;
        t.n_small_masks += job->has_mask && job->mask_factor > 1;
        t.kept += job->n_kept;
        t.copied += job->n_copied;
        t.tissue += job->n_tissue;
        t.blank += job->n_blank;
        t.damaged += job->n_damaged;
        t.gaps += job->gaps.n_regions;
        t.pixels += job->pixels;
        t.hash_s += job->hash_s;
        t.prepare_s += job->prepare_s;
        wsi_stages none = {{0}};
        wsi_stages_sum(&t.stages, &none, &job->report.stages);
    }
    return t;
}

static job_run_times times_of(const job_totals *t, double wall_s, int n_threads)
{
    job_run_times times = {.wall_s = wall_s,
                           .hash_s = t->hash_s,
                           .prepare_s = t->prepare_s,
                           .megapixels = (double)t->pixels * 1e-6,
                           .patches = (double)t->kept,
                           .damaged = (double)t->damaged,
                           .missing = (double)t->gaps,
                           .threads = n_threads};
    for (int i = 0; i < WSI_STAGES_N; i++)
        times.stage_s[i] = wsi_stage_seconds(&t->stages, (wsi_stage)i);
    return times;
}

/* Failing to log fails nothing else. */
static void store_times(const tile_run *run, const job_run_times *times)
{
    GError *error = NULL;
    if (run->run_id == 0 || job_run_times_store(run->store, run->run_id, times, &error))
        return;
    qs_warn("where the time went is not recorded: %s", error->message);
    g_error_free(error);
}

/* The store's failure, or the request to stop. */
static bool check_end(GArray *jobs, GError **error)
{
    for (guint i = 0; i < jobs->len; i++) {
        job_tile *job = &g_array_index(jobs, job_tile, i);
        if (job->store_failed) {
            g_propagate_error(error, g_steal_pointer(&job->error));
            return false;
        }
    }
    return qs_stop_check(error);
}

job_exit job_crew_run(GArray *jobs, tile_run *run, int n_threads, job_crew_planned planned,
                      job_totals *totals, GError **error)
{
    g_autoptr(GPtrArray) order = g_ptr_array_new();
    int64_t start = g_get_monotonic_time();
    if (job_crew_plan(jobs, run, order)) {
        if (planned)
            planned(run, order, n_threads);
        work(run, order, n_threads);
    }
    *totals = sum_up(jobs);
    totals->copies = run->config->codec == DB_CODEC_COPY;
    totals->times = times_of(totals, (double)(g_get_monotonic_time() - start) * 1e-6, n_threads);
    store_times(run, &totals->times);
    if (!check_end(jobs, error))
        return JOB_EXIT_FAILED;
    if (totals->n[TILE_FAILED] == 0)
        return JOB_EXIT_DONE;
    return totals->n[TILE_DONE] + totals->n[TILE_ALREADY] > 0 ? JOB_EXIT_PARTLY : JOB_EXIT_FAILED;
}
