/* Manifests that an experiment makes from its store's rows: of everything, where only a store was
 * given, and of the slides whose labels a run learns from, where those are noisy annotations of a
 * known truth. Then a run is also scored on what it learnt from: a network that follows the noise
 * is nearer to the annotation than to the truth (the paper's Fig. 12). */
#include "experiment/experiment.h"

#include "wsi/cohort/cohort.h"

#include <string.h>

static void add_slide(wsi_cohort *cohort, const db_slide *s)
{
    g_autofree char *slide = g_canonicalize_filename(s->path, NULL);
    g_autofree char *mask = s->mask_path ? g_canonicalize_filename(s->mask_path, NULL) : NULL;
    g_autofree char *truth = s->truth_path ? g_canonicalize_filename(s->truth_path, NULL) : NULL;
    wsi_cohort_row row = {.slide = slide,
                          .mask = mask,
                          .truth = truth,
                          .case_id = s->case_id,
                          .labelled = s->labelled,
                          .mpp = g_strcmp0(s->mpp_origin, "override") == 0 ? s->mpp : 0};
    wsi_split_parse(db_split_name(s->split), &row.split);
    wsi_cohort_add(cohort, &row);
}

bool exp_write_cohort(experiment *e, GError **error)
{
    g_autoptr(GArray) slides = db_slide_list(e->store, error);
    if (!slides)
        return false;
    wsi_cohort *cohort = wsi_cohort_new();
    for (guint i = 0; i < slides->len; i++)
        add_slide(cohort, &g_array_index(slides, db_slide, i));
    e->cohort = g_build_filename(e->out, "cohort.csv", NULL);
    bool ok = wsi_cohort_write(cohort, e->cohort, error);
    wsi_cohort_destroy(cohort);
    return ok;
}

job_label_budget exp_budget(const experiment *e, const exp_run *run)
{
    g_autofree char *pool = g_key_file_get_string(e->keys, "experiment", "label-pool", NULL);
    bool masked = pool && !g_ascii_strcasecmp(g_strstrip(pool), "masked");
    return (job_label_budget){.n_cases = run->budget,
                              .pool = masked ? TR_LABELS_MASKED : TR_LABELS_LABELLED,
                              .seed = run->seed};
}

bool exp_write_labelled(const experiment *e, const exp_run *run, GError **error)
{
    const job_label_budget budget = exp_budget(e, run);
    g_autoptr(GArray) slides = db_slide_list(e->store, error);
    if (!slides || !job_label_budget_apply(&budget, slides, error))
        return false;
    wsi_cohort *cohort = wsi_cohort_new();
    for (guint i = 0; i < slides->len; i++) {
        const db_slide *slide = &g_array_index(slides, db_slide, i);
        if (slide->split == DB_SPLIT_TRAIN && slide->labelled)
            add_slide(cohort, slide);
    }
    g_autofree char *path = g_build_filename(run->dir, "labelled.csv", NULL);
    bool ok = wsi_cohort_write(cohort, path, error);
    wsi_cohort_destroy(cohort);
    return ok;
}

bool exp_find_noise(experiment *e, GError **error)
{
    g_autoptr(GArray) slides = db_slide_list(e->store, error);
    for (guint i = 0; slides && i < slides->len; i++) {
        const db_slide *s = &g_array_index(slides, db_slide, i);
        if (s->split == DB_SPLIT_TRAIN && s->labelled && s->truth_path && s->mask_path)
            e->noisy = true;
    }
    if (e->noisy) {
        char *text = g_strconcat(e->eval_text, "noise=1\n", NULL);
        g_free(e->eval_text);
        e->eval_text = text;
    }
    return slides != NULL;
}
