/* See run_times.h. */
#include "jobs/run_times.h"


/* What the largest share says about a run. */
static const char *const advice[WSI_STAGES_N] = {
    [WSI_STAGE_READ] = "the slides' disk or network sets the pace",
    [WSI_STAGE_DECODE] = "decoding sets the pace: more threads, or a level that is nearer to --mpp",
    [WSI_STAGE_RESAMPLE] = "the wanted mpp is far from the slide's levels",
    [WSI_STAGE_MEASURE] = "",
    [WSI_STAGE_LABEL] = "masks set the pace: annotation files with very many outlines",
    [WSI_STAGE_ENCODE] = "the store's codec sets the pace: see --codec",
    [WSI_STAGE_WRITE] = "the store's disk sets the pace",
};

typedef struct {
    const char *name, *unit;
    double *value;
} item;

enum { ITEMS_MAX = WSI_STAGES_N + 8 };

static int list(job_run_times *t, item *items, char names[][32])
{
    const item fixed[] = {{"wall", "s", &t->wall_s},
                          {"hash", "thread s", &t->hash_s},
                          {"prepare", "thread s", &t->prepare_s},
                          {"megapixels", "MP", &t->megapixels},
                          {"patches", "1", &t->patches},
                          {"damaged", "1", &t->damaged},
                          {"missing", "1", &t->missing},
                          {"threads", "1", &t->threads}};
    int n = 0;
    for (; n < (int)G_N_ELEMENTS(fixed); n++) {
        g_snprintf(names[n], 32, "tile.%s", fixed[n].name);
        items[n] = (item){names[n], fixed[n].unit, fixed[n].value};
    }
    for (int i = 0; i < WSI_STAGES_N; i++, n++) {
        g_snprintf(names[n], 32, "tile.stage.%s", wsi_stage_name((wsi_stage)i));
        items[n] = (item){names[n], "thread s", &t->stage_s[i]};
    }
    return n;
}

bool job_run_times_store(db_store *store, int64_t run_id, const job_run_times *times,
                         GError **error)
{
    job_run_times copy = *times;
    item items[ITEMS_MAX];
    char texts[ITEMS_MAX][32];
    const char *names[ITEMS_MAX], *units[ITEMS_MAX];
    double values[ITEMS_MAX];
    int n = list(&copy, items, texts);
    for (int i = 0; i < n; i++) {
        names[i] = items[i].name;
        units[i] = items[i].unit;
        values[i] = *items[i].value;
    }
    return db_metric_add_many(store, run_id, 0, names, values, units, (size_t)n, error);
}

bool job_run_times_load(db_store *store, int64_t run_id, job_run_times *times, bool *known,
                        GError **error)
{
    item items[ITEMS_MAX];
    char texts[ITEMS_MAX][32];
    *times = (job_run_times){0};
    *known = false;
    int n = list(times, items, texts);
    for (int i = 0; i < n; i++) {
        GArray *rows = db_metric_list(store, run_id, items[i].name, error);
        if (!rows)
            return false;
        if (rows->len > 0) {
            *items[i].value = g_array_index(rows, db_metric, rows->len - 1).value;
            *known = true;
        }
        g_array_unref(rows);
    }
    return true;
}

char *job_run_times_text(const job_run_times *t)
{
    if (!(t->megapixels > 0))
        return g_strdup("no pixel was read");
    GString *text = g_string_new(NULL);
    double sum = t->hash_s + t->prepare_s;
    int top = 0;
    for (int i = 0; i < WSI_STAGES_N; i++) {
        sum += t->stage_s[i];
        top = t->stage_s[i] > t->stage_s[top] ? i : top;
    }
    if (t->wall_s > 0)
        g_string_append_printf(text, "%.1f MP/s on %.0f thread%s", t->megapixels / t->wall_s,
                               t->threads, t->threads > 1 ? "s" : "");
    if (!(sum > 0))
        return g_string_free(text, FALSE);
    g_string_append(text, "; of the threads' time");
    const char *join = " ";
    struct {
        const char *name;
        double s;
    } rest[] = {{"hash", t->hash_s}, {"opening, tissue and mask", t->prepare_s}};
    for (int i = 0; i < WSI_STAGES_N; i++, join = ", ")
        g_string_append_printf(text, "%s%s %.0f %%", join, wsi_stage_name((wsi_stage)i),
                               100 * t->stage_s[i] / sum);
    for (size_t i = 0; i < G_N_ELEMENTS(rest); i++)
        g_string_append_printf(text, ", %s %.0f %%", rest[i].name, 100 * rest[i].s / sum);
    if (t->prepare_s > 0.4 * sum)
        g_string_append(text, "; opening, tissue and masks set the pace");
    else if (t->stage_s[top] > 0.4 * sum && *advice[top])
        g_string_append_printf(text, "; %s", advice[top]);
    return g_string_free(text, FALSE);
}
