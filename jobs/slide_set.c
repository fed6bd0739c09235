/* See slide_set.h. */
#include "jobs/slide_set.h"

#include "base/error.h"
#include "wsi/cohort/cohort.h"

#include <string.h>

static void slide_clear(gpointer data)
{
    job_slide *slide = data;
    g_free(slide->name);
    g_free(slide->slide);
    g_free(slide->mask);
    g_free(slide->truth);
    g_free(slide->tissue);
    g_free(slide->case_id);
    g_free(slide->split);
}

static char *unique_name(const char *path, GHashTable *used)
{
    g_autofree char *base = g_path_get_basename(path);
    char *dot = strrchr(base, '.');
    if (dot && dot != base)
        *dot = 0;
    char *name = g_strdup(base);
    for (int i = 2; !g_hash_table_add(used, g_strdup(name)); i++) {
        g_free(name);
        name = g_strdup_printf("%s~%d", base, i);
    }
    return name;
}

static GArray *from_cohort(const char *path, const char *split, GError **error)
{
    wsi_split wanted = WSI_SPLIT_TEST;
    bool all = !strcmp(split, "all");
    if (!all && !wsi_split_parse(split, &wanted)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--split %s: give train, val, test or all",
                    split);
        return NULL;
    }
    wsi_cohort *cohort = wsi_cohort_read(path, error);
    if (!cohort)
        return NULL;
    g_autoptr(GHashTable) used = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GArray *set = g_array_new(FALSE, TRUE, sizeof(job_slide));
    g_array_set_clear_func(set, slide_clear);
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = &g_array_index(cohort->rows, wsi_cohort_row, i);
        g_autofree char *name = unique_name(row->slide, used);
        if (!all && row->split != wanted)
            continue;
        job_slide slide = {.name = g_steal_pointer(&name),
                           .slide = g_strdup(row->slide),
                           .mask = g_strdup(row->mask),
                           .truth = g_strdup(row->truth),
                           .tissue = g_strdup(row->tissue),
                           .case_id = g_strdup(row->case_id ? row->case_id : ""),
                           .split = g_strdup(wsi_split_name(row->split)),
                           .labelled = row->labelled,
                           .mpp = row->mpp};
        g_array_append_val(set, slide);
    }
    if (set->len == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: no slide is in split %s (of %u rows)", path,
                    split, cohort->rows->len);
        g_array_free(g_steal_pointer(&set), TRUE);
    }
    wsi_cohort_destroy(cohort);
    return set;
}

GArray *job_slide_set_read(const char *cohort, const char *split, char *const *slides,
                           GError **error)
{
    if (cohort)
        return from_cohort(cohort, split, error);
    g_autoptr(GHashTable) used = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GArray *set = g_array_new(FALSE, TRUE, sizeof(job_slide));
    g_array_set_clear_func(set, slide_clear);
    for (; slides && *slides; slides++) {
        job_slide slide = {.name = unique_name(*slides, used),
                           .slide = g_strdup(*slides),
                           .case_id = g_strdup(""),
                           .split = g_strdup("")};
        g_array_append_val(set, slide);
    }
    return set;
}

void job_slide_set_labels(GArray *set, const job_labels *labels)
{
    for (guint i = 0; i < set->len; i++)
        g_array_index(set, job_slide, i).labels = labels;
}

const char *job_slide_truth(const job_slide *slide, const char **from)
{
    *from = slide->truth ? "truth" : "mask";
    return slide->truth ? slide->truth : slide->mask;
}

static char *path_in(const char *dir, const job_slide *slide, const char *extension)
{
    g_autofree char *file = g_strconcat(slide->name, extension, NULL);
    return g_build_filename(dir, file, NULL);
}

char *job_mask_path(const char *dir, const job_slide *slide)
{
    return path_in(dir, slide, ".tif");
}

char *job_prob_path(const char *dir, const job_slide *slide)
{
    g_autofree char *prob = g_build_filename(dir, "prob", NULL);
    return path_in(prob, slide, ".tif");
}

char *job_mask_note_path(const char *dir, const job_slide *slide)
{
    return path_in(dir, slide, ".json");
}
