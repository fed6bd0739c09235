#include "jobs/train/validation.h"

#include "base/error.h"
#include "jobs/colour_rules.h"
#include "jobs/label_rules.h"
#include "jobs/tissue_rules.h"
#include "infer/score/metric.h"

#include <math.h>
#include <string.h>

static void val_slide_free(gpointer data)
{
    job_val_slide *s = data;
    wsi_colour_close(s->colour);
    wsi_tissue_destroy(s->tissue);
    wsi_mask_close(s->mask);
    wsi_slide_close(s->slide);
    g_free(s->path);
    g_free(s);
}

static bool open_slide(job_validation *v, const db_store_config *config, const db_slide *row,
                       const char *colour, GError **error)
{
    job_val_slide *s = g_new0(job_val_slide, 1);
    g_ptr_array_add(v->slides, s);
    s->path = g_strdup(row->path);
    s->slide = wsi_slide_open(row->path, g_strcmp0(row->mpp_origin, "override") == 0 ? row->mpp : 0,
                              error);
    const wsi_resolution resolution = {config->level0, config->mpp, config->mpp_tolerance};
    if (!s->slide || !wsi_view_init_at(&s->view, s->slide, &resolution, error))
        return false;
    job_tissue_rules rules;
    job_tissue_rules_of_store(&rules, config);
    if (!rules.none &&
        !(s->tissue = job_tissue_open(s->slide, row->tissue_path, config->bounds_relative,
                                      &rules.options, error)))
        return false;
    const wsi_colour_windows windows = {config->patch_px, config->patch_px, s->tissue,
                                        rules.at_least};
    if (!job_colour_open(&s->view, colour, &windows, &s->colour, NULL, NULL, error))
        return false;
    s->mask = job_mask_open_stored(row->truth_path ? row->truth_path : row->mask_path, s->slide,
                                   config, error);
    return s->mask != NULL;
}

bool job_validation_open(job_validation *v, db_store *store, int max_slides, const char *colour,
                         GError **error)
{
    const db_store_config *config = db_store_get_config(store);
    *v = (job_validation){.slides = g_ptr_array_new_with_free_func(val_slide_free),
                          .classes = &config->classes};
    GArray *rows = db_slide_list(store, error);
    if (!rows)
        return false;
    bool ok = true;
    for (guint i = 0; ok && max_slides >= 0 && i < rows->len; i++) {
        const db_slide *row = &g_array_index(rows, db_slide, i);
        bool truth = row->truth_path || row->mask_path;
        if (row->split != DB_SPLIT_VAL || row->state != DB_SLIDE_DONE || !truth ||
            (max_slides > 0 && (int)v->slides->len >= max_slides))
            continue;
        ok = open_slide(v, config, row, colour, error);
        if (!ok)
            g_prefix_error(error, "validation: ");
    }
    g_array_unref(rows);
    return ok;
}

void job_validation_close(job_validation *v)
{
    job_validation_release(v);
    if (v->slides)
        g_ptr_array_unref(v->slides);
    g_free(v->truth);
    memset(v, 0, sizeof *v);
}

bool job_validation_prepare(job_validation *v, const model *m, kn_engine *engine, int stride_px,
                            int64_t *bytes, GError **error)
{
    inf_options options;
    inf_options_init(&options);
    options.window_px = m->spec.patch_px;
    options.stride_px = stride_px > 0 ? stride_px : m->spec.patch_px;
    v->predictor = inf_predictor_create(engine, m, &options, error);
    if (!v->predictor)
        return false;
    for (guint i = 0; i < v->slides->len; i++) {
        const job_val_slide *s = v->slides->pdata[i];
        *bytes = MAX(*bytes, inf_predictor_memory(v->predictor, &s->view));
    }
    return true;
}

void job_validation_release(job_validation *v)
{
    if (v->predictor)
        inf_predictor_destroy(v->predictor);
    v->predictor = NULL;
}

typedef struct {
    job_validation *v;
    const job_val_slide *slide;
    inf_counts counts;
} comparison;

static bool compare_rows(void *user, int64_t y, int n_rows, int64_t w, const uint8_t *label,
                         const float *prob, GError **error)
{
    (void)prob;
    comparison *c = user;
    size_t n = (size_t)n_rows * (size_t)w;
    if (n > c->v->truth_capacity) {
        g_free(c->v->truth);
        c->v->truth = g_malloc(n);
        c->v->truth_capacity = n;
    }
    if (!wsi_mask_read(c->slide->mask, &c->slide->view, 0, y, (int)w, n_rows, c->v->truth,
                       (size_t)w, error))
        return false;
    inf_counts_add(&c->counts, label, c->v->truth, n);
    return true;
}

bool job_validation_run(job_validation *v, const qs_progress *progress, double *dsc, GError **error)
{
    double sum = 0;
    int64_t n_foreground = 0;
    for (guint i = 0; i < v->slides->len; i++) {
        job_val_slide *s = v->slides->pdata[i];
        comparison c = {.v = v, .slide = s};
        inf_counts_init(&c.counts, v->classes->n);
        qs_progress_update(progress, "validate", (int64_t)i, (int64_t)v->slides->len, NULL);
        if (!inf_predict(v->predictor, &s->view, s->tissue, true, compare_rows, &c, NULL, NULL,
                         error)) {
            g_prefix_error(error, "validation: %s: ", s->path);
            return false;
        }
        s->dsc = inf_dsc_foreground(&c.counts);
        sum += s->dsc;
        for (int k = 1; k < v->classes->n; k++)
            n_foreground += c.counts.tp[k] + c.counts.fn[k];
    }
    *dsc = n_foreground > 0 ? sum / (double)v->slides->len : NAN;
    return true;
}
