#include "jobs/train/source.h"

#include "base/error.h"
#include "db/where.h"
#include "wsi/colour/colour.h"

#include <math.h>
#include <string.h>

static const char *const stat_names[6] = {"mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b"};

static bool read_patch(void *user, size_t item, uint8_t *rgb, uint8_t *label, GError **error)
{
    job_train_source *s = user;
    const db_patch *p = &g_array_index(s->patches, db_patch, item);
    if (!db_patch_read(s->store, p, rgb, label, error))
        return false;
    const wsi_colour *colour = s->colours ? g_hash_table_lookup(s->colours, &p->slide_id) : NULL;
    if (colour)
        wsi_colour_apply(colour, rgb, (size_t)s->source.patch_px * 3, p->valid_w, p->valid_h);
    return true;
}

/* A label whose pixels are all ignored (a slide reviewed in part) says nothing. */
static bool says_something(const db_patch *p)
{
    int64_t n = 0;
    for (int c = 0; c < QS_CLASSES_MAX; c++)
        n += p->class_px[c];
    return p->has_label && n > 0;
}

static bool add_slide(job_train_source *s, const db_slide *slide, const db_where *where,
                      GArray *items, GError **error)
{
    GArray *patches = db_patch_list(s->store, slide->id, true, error);
    if (!patches)
        return false;
    for (guint i = 0; i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        if (!db_where_holds(where, p)) {
            s->n_left_out++;
            continue;
        }
        tr_item item = {.slide_id = slide->id,
                        .labelled = slide->labelled && says_something(p),
                        .has_label = says_something(p),
                        .valid_w = p->valid_w,
                        .valid_h = p->valid_h};
        for (int c = 0; item.labelled && c < QS_CLASSES_MAX; c++)
            s->class_px[c] += p->class_px[c];
        g_array_append_val(items, item);
        g_array_append_vals(s->patches, p, 1);
    }
    g_array_unref(patches);
    return true;
}

static bool fail_empty(const job_train_source *s, const char *where, GError **error)
{
    const char *dir = db_store_get_dir(s->store);
    if (s->n_left_out > 0)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: none of its %" G_GINT64_FORMAT
                    " training patches fulfils --where \"%s\"; `tile --preview` and the store's "
                    "patches table show their numbers",
                    dir, s->n_left_out, where);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: has no patches of split train; `quadslide status` shows what it has", dir);
    return false;
}

bool job_train_source_open(job_train_source *s, db_store *store, const job_label_budget *budget,
                           const char *where_text, GError **error)
{
    *s = (job_train_source){.store = store,
                            .patches = g_array_new(FALSE, FALSE, sizeof(db_patch)),
                            .labelled_names = g_string_new(NULL)};
    db_where *where = NULL;
    if (where_text && *where_text && !(where = db_where_create(where_text, error)))
        return false;
    GArray *slides = db_slide_list(store, error);
    if (!slides) {
        db_where_destroy(where);
        return false;
    }
    GArray *items = g_array_new(FALSE, FALSE, sizeof(tr_item));
    bool ok = job_label_budget_apply(budget, slides, error);
    for (guint i = 0; ok && i < slides->len; i++) {
        const db_slide *slide = &g_array_index(slides, db_slide, i);
        if (slide->split != DB_SPLIT_TRAIN)
            continue;
        if (slide->state != DB_SLIDE_DONE)
            qs_warn("%s: is %s, not done; trained on with the patches that it has", slide->path,
                    db_slide_state_name(slide->state));
        s->n_train_slides++;
        s->n_labelled_slides += slide->labelled;
        if (slide->labelled)
            g_string_append_printf(s->labelled_names, "%s%s", s->labelled_names->len ? ";" : "",
                                   slide->name);
        ok = add_slide(s, slide, where, items, error);
    }
    g_array_unref(slides);
    db_where_destroy(where);
    s->source = (tr_source){.user = s,
                            .patch_px = db_store_get_config(store)->patch_px,
                            .n_items = items->len,
                            .read = read_patch};
    s->source.items = (const tr_item *)(void *)g_array_free(items, FALSE);
    if (ok && s->source.n_items == 0)
        return fail_empty(s, where_text, error);
    return ok;
}

bool job_train_source_check_classes(const job_train_source *s, GError **error)
{
    const qs_classes *classes = &db_store_get_config(s->store)->classes;
    int64_t n_labelled = 0;
    for (size_t i = 0; i < s->source.n_items; i++)
        n_labelled += s->source.items[i].labelled;
    for (int c = 1; n_labelled > 0 && c < classes->n; c++)
        if (s->class_px[c] == 0) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                        "%s: class %d (%s) has no pixel in the %" G_GINT64_FORMAT
                        " labelled patches of %" G_GINT64_FORMAT
                        " slides, so nothing would be learnt of it; look at the masks and at the "
                        "store's notes, or train all the same with --allow-empty-class",
                        db_store_get_dir(s->store), c, classes->items[c].name, n_labelled,
                        s->n_labelled_slides);
            return false;
        }
    return true;
}

void job_train_source_close(job_train_source *s)
{
    g_free((void *)(uintptr_t)s->source.items);
    if (s->patches)
        g_array_unref(s->patches);
    if (s->colours)
        g_hash_table_unref(s->colours);
    g_free(s->colours_key);
    if (s->labelled_names)
        g_string_free(s->labelled_names, TRUE);
    memset(s, 0, sizeof *s);
}

/* ---- colour statistics ------------------------------------------------------------------------
 */
typedef struct {
    uint64_t n, sum[3], squares[3];
} colour_sums;

typedef struct {
    job_train_source *s;
    const qs_progress *progress;
    gint next;   /* atomic: the next patch */
    GMutex lock; /* guards sums, error, done */
    colour_sums sums;
    GError *error;
    int64_t done;
} colour_job;

static void add_pixels(colour_sums *sums, const uint8_t *rgb, int size, const tr_item *item)
{
    for (int y = 0; y < item->valid_h; y++) {
        const uint8_t *p = rgb + (size_t)y * (size_t)size * 3;
        for (int x = 0; x < item->valid_w * 3; x++) {
            sums->sum[x % 3] += p[x];
            sums->squares[x % 3] += (uint64_t)p[x] * p[x];
        }
    }
    sums->n += (uint64_t)item->valid_w * (uint64_t)item->valid_h;
}

static gpointer colour_worker(gpointer user)
{
    colour_job *job = user;
    const tr_source *source = &job->s->source;
    g_autofree uint8_t *rgb = g_malloc((gsize)source->patch_px * (gsize)source->patch_px * 3);
    colour_sums sums = {0};
    GError *error = NULL;
    while (!error) {
        size_t i = (size_t)g_atomic_int_add(&job->next, 1);
        if (i >= source->n_items || !qs_stop_check(&error))
            break;
        if (source->read(source->user, i, rgb, NULL, &error))
            add_pixels(&sums, rgb, source->patch_px, &source->items[i]);
        g_mutex_lock(&job->lock);
        job->done++;
        qs_progress_update(job->progress, "colours", job->done, (int64_t)source->n_items, NULL);
        g_mutex_unlock(&job->lock);
    }
    g_mutex_lock(&job->lock);
    job->sums.n += sums.n;
    for (int c = 0; c < 3; c++) {
        job->sums.sum[c] += sums.sum[c];
        job->sums.squares[c] += sums.squares[c];
    }
    if (error && !job->error)
        job->error = g_steal_pointer(&error);
    g_clear_error(&error);
    g_mutex_unlock(&job->lock);
    return NULL;
}

static bool measure(job_train_source *s, double stats[6], const qs_progress *progress,
                    GError **error)
{
    colour_job job = {.s = s, .progress = progress};
    g_mutex_init(&job.lock);
    GThread *threads[8];
    int n = CLAMP((int)g_get_num_processors(), 1, (int)G_N_ELEMENTS(threads));
    for (int i = 0; i < n; i++)
        threads[i] = g_thread_new("colours", colour_worker, &job);
    for (int i = 0; i < n; i++)
        g_thread_join(threads[i]);
    g_mutex_clear(&job.lock);
    if (job.error) {
        g_propagate_error(error, job.error);
        return false;
    }
    for (int c = 0; c < 3; c++) {
        double mean = (double)job.sums.sum[c] / (double)job.sums.n / 255;
        double square = (double)job.sums.squares[c] / (double)job.sums.n / (255.0 * 255.0);
        stats[c] = mean;
        stats[3 + c] =
            sqrt(MAX(square - mean * mean, 1e-6)); /* a slide of one colour: no division by 0 */
    }
    return true;
}

/* A text that changes when a training patch does. */
static char *patches_key(const job_train_source *s)
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    for (guint i = 0; i < s->patches->len; i++) {
        const db_patch *p = &g_array_index(s->patches, db_patch, i);
        const uint64_t facts[] = {p->checksum, (uint64_t)p->valid_w, (uint64_t)p->valid_h};
        g_checksum_update(sum, (const guchar *)facts, sizeof facts);
    }
    const char *changed = s->colours_key ? s->colours_key : "";
    char *key = g_strdup_printf("{\"patches\":%u,\"sha256\":\"%s\"%s%s%s}", s->patches->len,
                                g_checksum_get_string(sum), *changed ? ",\"stains\":\"" : "",
                                changed, *changed ? "\"" : "");
    g_checksum_free(sum);
    return key;
}

static bool recall(db_store *store, const char *key, double stats[6])
{
    GArray *runs = db_run_list(store, NULL);
    bool found = false;
    for (guint i = 0; runs && !found && i < runs->len; i++) {
        const db_run *run = &g_array_index(runs, db_run, i);
        if (g_strcmp0(run->kind, "normalise") != 0 || g_strcmp0(run->config, key) != 0 ||
            g_strcmp0(run->state, "done") != 0)
            continue;
        found = true;
        for (int k = 0; found && k < 6; k++) {
            GArray *rows = db_metric_list(store, run->id, stat_names[k], NULL);
            found = rows && rows->len == 1;
            if (found)
                stats[k] = g_array_index(rows, db_metric, 0).value;
            if (rows)
                g_array_unref(rows);
        }
    }
    if (runs)
        g_array_unref(runs);
    return found;
}

static bool remember(db_store *store, char *key, const double stats[6], GError **error)
{
    char kind[] = "normalise", name[] = "training patches", version[] = "quadslide " QS_VERSION;
    char device[] = "", state[] = "running";
    static const char *const units[6] = {"", "", "", "", "", ""};
    db_run run = {.kind = kind,
                  .name = name,
                  .config = key,
                  .version = version,
                  .device = device,
                  .state = state};
    return db_run_begin(store, &run, error) &&
           db_metric_add_many(store, run.id, 0, stat_names, stats, units, 6, error) &&
           db_run_end(store, run.id, "done", error);
}

bool job_train_normalisation(job_train_source *s, bool store_is_writable, double mean[3],
                             double std[3], const qs_progress *progress, GError **error)
{
    g_autofree char *key = patches_key(s);
    double stats[6];
    if (!recall(s->store, key, stats)) {
        if (!measure(s, stats, progress, error))
            return false;
        if (store_is_writable && !remember(s->store, key, stats, error))
            return false;
    }
    memcpy(mean, stats, 3 * sizeof *mean);
    memcpy(std, stats + 3, 3 * sizeof *std);
    return true;
}
