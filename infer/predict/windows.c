/* See windows.h. One lock guards the ring: which window is read next, which slots are ready, how
 * far the consumer is. Slot k belongs to window i with i % n_slots == k, from the reader's claim of
 * i until the consumer has passed i. */
#include "infer/predict/windows.h"

#include "base/error.h"
#include "infer/predict/stitch.h"

typedef struct {
    uint8_t *rgb;
    GError *failure; /* why it could not be read; owned */
    bool ready;
} slot;

typedef struct {
    const inf_windows *job;
    int64_t n_x;  /* windows in a row of the grid */
    GArray *list; /* of uint32_t: grid numbers of the windows to run, ascending */
    size_t window_bytes;
    uint8_t *pixels; /* (n_slots, window, window, 3) */
    slot *slots;
    int n_slots;
    GMutex lock; /* guards all that follows, and the slots' failure and ready */
    GCond slot_ready, slot_free;
    int64_t next;     /* first window that no reader has claimed */
    int64_t consumed; /* windows whose slots are free again */
    bool stop;
    double read_s; /* summed over readers */
} ring;

static int n_slots_of(const inf_windows *job)
{
    return 2 * MAX(job->batch, job->pass_n);
}

static size_t window_bytes_of(const inf_windows *job)
{
    return (size_t)job->window_px * (size_t)job->window_px * 3;
}

static inf_stitch_spec stitch_of(const inf_windows *job)
{
    return (inf_stitch_spec){.engine = job->engine,
                             .w = job->w,
                             .h = job->h,
                             .window_px = job->window_px,
                             .n_classes = job->n_classes,
                             .blend = job->blend,
                             .with_prob = !job->labels_only,
                             .rows = job->rows,
                             .user = job->rows_user};
}

static int64_t n_windows_of(const inf_windows *job)
{
    return inf_axis_n(job->w, job->window_px, job->stride_px) *
           inf_axis_n(job->h, job->window_px, job->stride_px);
}

int64_t inf_windows_memory(const inf_windows *job)
{
    inf_stitch_spec stitch = stitch_of(job);
    return inf_stitch_memory(&stitch) +
           n_slots_of(job) * (int64_t)(window_bytes_of(job) + sizeof(slot)) +
           n_windows_of(job) * (int64_t)sizeof(uint32_t);
}

static void place(const ring *r, int64_t i, int64_t *x, int64_t *y)
{
    const inf_windows *job = r->job;
    int64_t cell = g_array_index(r->list, uint32_t, i);
    *x = inf_axis_at(job->w, job->window_px, job->stride_px, cell % r->n_x);
    *y = inf_axis_at(job->h, job->window_px, job->stride_px, cell / r->n_x);
}

/* Lists the wanted windows. Their grid numbers must fit in 32 bits: 4·10⁹ windows of stride 1. */
static bool list_windows(ring *r, inf_report *report, GError **error)
{
    const inf_windows *job = r->job;
    int64_t n = n_windows_of(job);
    if (n > UINT32_MAX) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%" G_GINT64_FORMAT " windows; raise --stride (now %d) to have fewer than 2^32",
                    n, job->stride_px);
        return false;
    }
    r->n_x = inf_axis_n(job->w, job->window_px, job->stride_px);
    r->list = g_array_sized_new(FALSE, FALSE, sizeof(uint32_t), (guint)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t x = inf_axis_at(job->w, job->window_px, job->stride_px, i % r->n_x);
        int64_t y = inf_axis_at(job->h, job->window_px, job->stride_px, i / r->n_x);
        uint32_t cell = (uint32_t)i;
        if (!job->wanted || job->wanted(job->user, x, y))
            g_array_append_val(r->list, cell);
    }
    report->n_windows = n;
    report->n_run = (int64_t)r->list->len;
    return true;
}

static gpointer reader_main(gpointer data)
{
    ring *r = data;
    g_mutex_lock(&r->lock);
    for (;;) {
        while (!r->stop && r->next < r->list->len && r->next >= r->consumed + r->n_slots)
            g_cond_wait(&r->slot_free, &r->lock);
        if (r->stop || r->next >= r->list->len)
            break;
        int64_t i = r->next++, x, y;
        slot *s = &r->slots[i % r->n_slots];
        g_mutex_unlock(&r->lock);
        place(r, i, &x, &y);
        int64_t start = g_get_monotonic_time();
        GError *failure = NULL;
        if (!r->job->read(r->job->user, x, y, s->rgb, &failure))
            g_prefix_error(&failure, "window at (%" G_GINT64_FORMAT ", %" G_GINT64_FORMAT "): ", x,
                           y);
        double seconds = (double)(g_get_monotonic_time() - start) * 1e-6;
        g_mutex_lock(&r->lock);
        s->failure = failure;
        s->ready = true;
        r->read_s += seconds;
        g_cond_broadcast(&r->slot_ready);
    }
    g_mutex_unlock(&r->lock);
    return NULL;
}

/* Waits for windows first … first+n-1 and gives their pixels. */
static bool take(ring *r, int64_t first, int n, const uint8_t **rgb, GError **error)
{
    bool ok = true;
    g_mutex_lock(&r->lock);
    for (int k = 0; ok && k < n; k++) {
        slot *s = &r->slots[(first + k) % r->n_slots];
        while (!s->ready)
            g_cond_wait(&r->slot_ready, &r->lock);
        rgb[k] = s->rgb;
        if (s->failure) {
            g_propagate_error(error, g_steal_pointer(&s->failure));
            ok = false;
        }
    }
    g_mutex_unlock(&r->lock);
    return ok;
}

static void release(ring *r, int64_t first, int n)
{
    g_mutex_lock(&r->lock);
    for (int k = 0; k < n; k++)
        r->slots[(first + k) % r->n_slots].ready = false;
    r->consumed = first + n;
    g_cond_broadcast(&r->slot_free);
    g_mutex_unlock(&r->lock);
}

/* Hands n windows to the stitcher, those of one row of the grid at a time. */
static bool blend(const ring *r, inf_stitch *stitch, const inf_logits *logits, int64_t first, int n,
                  int64_t *x, GError **error)
{
    for (int k = 0; k < n;) {
        int64_t y, row;
        int m = 0;
        place(r, first + k, &x[0], &y);
        do {
            m++;
            row = y;
            if (k + m < n)
                place(r, first + k + m, &x[m], &row);
        } while (k + m < n && row == y);
        if (!inf_stitch_add(stitch, logits, k, m, x, y, error))
            return false;
        k += m;
    }
    return true;
}

/* The calling thread's part: groups of pass_n windows, in order. What a group asks of a device goes
 * out as one piece of work (kn_engine_begin). */
static bool consume(ring *r, inf_stitch *stitch, const qs_progress *progress, inf_report *report,
                    GError **error)
{
    const inf_windows *job = r->job;
    g_autofree const uint8_t **rgb = g_new0(const uint8_t *, job->pass_n);
    g_autofree int64_t *x = g_new0(int64_t, job->pass_n);
    bool ok = true;
    for (int64_t first = 0; ok && first < r->list->len; first += job->pass_n) {
        int n = (int)MIN(job->pass_n, r->list->len - first);
        inf_logits logits = {NULL, NULL};
        if (!qs_stop_check(error) || !take(r, first, n, rgb, error))
            return false;
        int64_t start = g_get_monotonic_time();
        kn_engine_begin(job->engine);
        ok = job->infer(job->user, rgb, n, &logits, error);
        int64_t middle = g_get_monotonic_time();
        release(r, first, n);
        ok = ok && blend(r, stitch, &logits, first, n, x, error);
        kn_engine_end(job->engine);
        report->net_s += (double)(middle - start) * 1e-6;
        report->blend_s += (double)(g_get_monotonic_time() - middle) * 1e-6;
        qs_progress_update(progress, "predict", first + n, r->list->len, NULL);
    }
    return ok && inf_stitch_finish(stitch, error);
}

static bool ring_init(ring *r, const inf_windows *job, inf_report *report, GError **error)
{
    *r = (ring){.job = job, .n_slots = n_slots_of(job), .window_bytes = window_bytes_of(job)};
    g_mutex_init(&r->lock);
    g_cond_init(&r->slot_ready);
    g_cond_init(&r->slot_free);
    r->slots = g_new0(slot, r->n_slots);
    r->pixels = g_try_malloc((size_t)r->n_slots * r->window_bytes);
    if (!r->pixels) {
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY,
                    "%zu bytes for %d windows cannot be had; lower --batch (now %d)",
                    (size_t)r->n_slots * r->window_bytes, r->n_slots, job->batch);
        return false;
    }
    for (int k = 0; k < r->n_slots; k++)
        r->slots[k].rgb = r->pixels + (size_t)k * r->window_bytes;
    return list_windows(r, report, error);
}

static void ring_clear(ring *r)
{
    for (int k = 0; k < r->n_slots; k++)
        g_clear_error(&r->slots[k].failure);
    g_free(r->slots);
    g_free(r->pixels);
    if (r->list)
        g_array_free(r->list, TRUE);
    g_mutex_clear(&r->lock);
    g_cond_clear(&r->slot_ready);
    g_cond_clear(&r->slot_free);
}

bool inf_windows_run(const inf_windows *job, const qs_progress *progress, inf_report *report,
                     GError **error)
{
    inf_report none;
    report = report ? report : &none;
    *report = (inf_report){0};
    ring r;
    bool ok = false;
    inf_stitch_spec spec = stitch_of(job);
    inf_stitch *stitch = NULL;
    int n_readers = MAX(1, job->n_readers);
    g_autofree GThread **readers = g_new0(GThread *, n_readers);
    if (!ring_init(&r, job, report, error))
        goto out;
    stitch = inf_stitch_create(&spec, error);
    if (!stitch)
        goto out;
    for (int i = 0; i < n_readers; i++)
        readers[i] = g_thread_new("reader", reader_main, &r);
    ok = consume(&r, stitch, progress, report, error);
    g_mutex_lock(&r.lock);
    r.stop = true;
    g_cond_broadcast(&r.slot_free);
    g_mutex_unlock(&r.lock);
    for (int i = 0; i < n_readers; i++)
        g_thread_join(readers[i]);
    report->read_s = r.read_s;
out:
    inf_stitch_destroy(stitch);
    ring_clear(&r);
    return ok;
}
