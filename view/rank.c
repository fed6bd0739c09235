/* See rank.h. DSC comes from the blocks of compare.h, 2 TP / (2 TP + FP + FN) over all foreground
 * classes; of two empty masks it is 1. */
#include "view/rank.h"

#include "base/error.h"
#include "base/report.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NICER = 10, STRIP_ROWS = 32 };

/* ---- ranks ----------------------------------------------------------------------------------- */
typedef double (*number_of)(const vw_rank_row *row);
static double uncertainty(const vw_rank_row *row)
{
    return row->uncertainty;
}
static double disagreement(const vw_rank_row *row)
{
    return row->disagreement;
}
static double distance(const vw_rank_row *row)
{
    return row->distance;
}

/* The share of the other known numbers that are below, equal ones for half. */
static double percentile(const vw_rank_row *rows, guint n, guint i, number_of number)
{
    double mine = number(&rows[i]), below = 0;
    guint others = 0;
    for (guint k = 0; k < n; k++) {
        double other = number(&rows[k]);
        if (k == i || !rows[k].ready || !isfinite(other))
            continue;
        others++;
        below += other < mine ? 1 : other > mine ? 0 : 0.5;
    }
    return others ? below / others : 0.5;
}

void vw_rank(vw_rank_row *rows, guint n)
{
    static const number_of numbers[] = {uncertainty, disagreement, distance};
    for (guint i = 0; i < n; i++) {
        double sum = 0;
        int known = 0;
        for (size_t k = 0; rows[i].ready && k < G_N_ELEMENTS(numbers); k++) {
            if (!isfinite(numbers[k](&rows[i])))
                continue;
            sum += percentile(rows, n, i, numbers[k]);
            known++;
        }
        rows[i].look = known ? sum / known : NAN;
    }
}

/* ---- one slide ------------------------------------------------------------------------------- */
static double dsc_of(const vw_blocks *blocks)
{
    double found = 0, wrong = 0;
    for (int64_t i = 0; i < blocks->w * blocks->h; i++) {
        found += blocks->cells[i].found;
        wrong += blocks->cells[i].false_ + blocks->cells[i].missed;
    }
    return found + wrong > 0 ? 2 * found / (2 * found + wrong) : 1;
}

/* NaN where there is no such comparison. */
static double compared(vw_open *open, vw_plane plane, int model)
{
    vw_layer *layer =
        vw_open_has(open, plane, model) ? vw_open_layer(open, plane, model, NULL) : NULL;
    return layer ? dsc_of(&layer->blocks) : NAN;
}

static bool is_tissue(const wsi_tissue *t, double x_l0, double y_l0)
{
    int tx = CLAMP((int)(x_l0 / t->downsample_x), 0, t->w - 1);
    int ty = CLAMP((int)(y_l0 / t->downsample_y), 0, t->h - 1);
    return t->mask[(size_t)ty * (size_t)t->w + (size_t)tx] != 0;
}

/* Mean of 1 - |2p - 1| over the map's pixels on tissue, or of the file `unc` where it is there. */
static double mean_uncertainty(vw_open *open, int model)
{
    bool own = vw_open_has(open, VW_PLANE_UNC, model);
    vw_plane plane = own ? VW_PLANE_UNC : VW_PLANE_PROB;
    if (!vw_open_has(open, plane, model) || !vw_open_has(open, VW_PLANE_TISSUE, 0))
        return NAN;
    vw_layer *map = vw_open_layer(open, plane, model, NULL);
    vw_layer *tissue = map ? vw_open_layer(open, VW_PLANE_TISSUE, 0, NULL) : NULL;
    if (!tissue)
        return NAN;
    int64_t w, h, n = 0;
    int factor = wsi_grey_factor(map->map);
    double sum = 0;
    wsi_grey_size(map->map, &w, &h);
    g_autofree uint8_t *strip = g_malloc((size_t)w * STRIP_ROWS);
    for (int64_t y = 0; y < h; y += STRIP_ROWS) {
        int rows = (int)MIN(STRIP_ROWS, h - y);
        if (qs_stop_requested() ||
            !wsi_grey_read(map->map, 0, y, (int)w, rows, strip, (size_t)w, NULL))
            return NAN;
        for (int64_t i = 0; i < w * rows; i++) {
            if (!is_tissue(tissue->tissue, ((double)(i % w) + 0.5) * factor,
                           ((double)(y + i / w) + 0.5) * factor))
                continue;
            double p = strip[i] / 255.0;
            sum += own ? p : 1 - fabs(2 * p - 1);
            n++;
        }
    }
    return n ? sum / (double)n : NAN;
}

static void add_known(double value, double *sum, int *n)
{
    if (isfinite(value)) {
        *sum += value;
        ++*n;
    }
}

bool vw_rank_measure(vw_open *open, vw_rank_row *row, GError **error)
{
    double far = 0, unsure = 0, apart = 0;
    int n_far = 0, n_unsure = 0, n_apart = 0;
    for (int m = 0; m < VW_MODELS_MAX; m++) {
        if (!qs_stop_check(error))
            return false;
        row->dsc[m] = compared(open, VW_PLANE_ERROR, m);
        add_known(1 - row->dsc[m], &far, &n_far);
        add_known(1 - compared(open, VW_PLANE_DIFF, m), &apart, &n_apart);
        add_known(mean_uncertainty(open, m), &unsure, &n_unsure);
    }
    row->distance = n_far ? far / n_far : NAN;
    row->disagreement = n_apart ? apart / n_apart : NAN;
    row->uncertainty = n_unsure ? unsure / n_unsure : NAN;
    return true;
}

/* ---- the list -------------------------------------------------------------------------------- */
struct vw_worklist {
    const vw_shown *shown;
    vw_pool *pool;
    GMutex lock; /* guards rows, n_done, thread */
    vw_rank_row *rows;
    guint n, n_done;
    GThread *thread;
    gint stopping; /* atomic */
};

static gpointer measure_all(gpointer user)
{
    vw_worklist *list = user;
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICER); /* who looks at a slide goes first */
    for (guint i = 0; i < list->n && !g_atomic_int_get(&list->stopping); i++) {
        vw_rank_row row = {.look = NAN};
        GError *error = NULL;
        vw_open *open = vw_pool_take(list->pool, i, &error);
        row.ready = open && vw_rank_measure(open, &row, &error);
        if (open)
            vw_pool_give(list->pool, open);
        if (error)
            row.error = g_strdup(error->message);
        g_clear_error(&error);
        g_mutex_lock(&list->lock);
        list->rows[i] = row;
        list->n_done = i + 1;
        vw_rank(list->rows, list->n);
        g_mutex_unlock(&list->lock);
    }
    return NULL;
}

vw_worklist *vw_worklist_create(const vw_shown *shown, vw_pool *pool)
{
    vw_worklist *list = g_new0(vw_worklist, 1);
    list->shown = shown;
    list->pool = pool;
    list->n = shown->slides->len;
    list->rows = g_new0(vw_rank_row, list->n + 1);
    g_mutex_init(&list->lock);
    return list;
}

void vw_worklist_destroy(vw_worklist *list)
{
    if (!list)
        return;
    g_atomic_int_set(&list->stopping, 1);
    if (list->thread)
        g_thread_join(list->thread);
    for (guint i = 0; i < list->n; i++)
        g_free(list->rows[i].error);
    g_free(list->rows);
    g_mutex_clear(&list->lock);
    g_free(list);
}

static void add_row(JsonBuilder *b, const vw_shown *shown, const vw_rank_row *row)
{
    json_builder_begin_object(b);
    vw_json_bool(b, "ready", row->ready);
    vw_json_string(b, "error", row->error);
    vw_json_array(b, "dsc");
    for (guint m = 0; m < shown->models->len; m++)
        if (row->ready && isfinite(row->dsc[m]))
            json_builder_add_double_value(b, row->dsc[m]);
        else
            json_builder_add_null_value(b);
    json_builder_end_array(b);
    vw_json_double(b, "uncertainty", row->ready ? row->uncertainty : NAN);
    vw_json_double(b, "disagreement", row->ready ? row->disagreement : NAN);
    vw_json_double(b, "distance", row->ready ? row->distance : NAN);
    vw_json_double(b, "look", row->ready ? row->look : NAN);
    json_builder_end_object(b);
}

GBytes *vw_worklist_describe(vw_worklist *list)
{
    JsonBuilder *b = json_builder_new();
    json_builder_begin_object(b);
    g_mutex_lock(&list->lock);
    if (!list->thread)
        list->thread = g_thread_new("worklist", measure_all, list);
    vw_json_int(b, "done", list->n_done);
    vw_json_int(b, "of", list->n);
    vw_json_array(b, "rows");
    for (guint i = 0; i < list->n; i++)
        add_row(b, list->shown, &list->rows[i]);
    json_builder_end_array(b);
    g_mutex_unlock(&list->lock);
    json_builder_end_object(b);
    return vw_json_bytes(b);
}
