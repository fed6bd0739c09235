/* See slide_set.h. */
#include "jobs/slide_set.h"

#include "base/error.h"
#include "base/file.h"
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

static char *stem_of(const char *path)
{
    char *base = g_path_get_basename(path);
    char *dot = strrchr(base, '.');
    if (dot && dot != base)
        *dot = 0;
    return base;
}

/* A case as part of a file's name. */
static char *safe(const char *text)
{
    char *name = g_strdup(text);
    for (char *p = name; *p; p++)
        if (*p == '/' || (unsigned char)*p < ' ')
            *p = '_';
    return name;
}

/* Do the slides of this stem have a case each, all different? */
static bool cases_differ(const GArray *all, const char *stem)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < all->len; i++) {
        const job_slide *s = &g_array_index(all, job_slide, i);
        if (!strcmp(s->name, stem) && (!*s->case_id || !g_hash_table_add(seen, safe(s->case_id))))
            return false;
    }
    return true;
}

/* The row's own name: its stem where no other row has it. The same slide twice has one name. */
static bool tell_apart(const GArray *all, const job_slide *slide, char **name, GError **error)
{
    guint n_same = 0;
    for (guint i = 0; i < all->len; i++)
        n_same += !strcmp(g_array_index(all, job_slide, i).name, slide->name);
    if (n_same == 1) {
        *name = g_strdup(slide->name);
        return true;
    }
    if (cases_differ(all, slide->name)) {
        g_autofree char *by_case = safe(slide->case_id);
        *name = g_strdup_printf("%s~%s", slide->name, by_case);
        return true;
    }
    g_autofree char *hash = qs_file_hash(slide->slide, error);
    *name = hash ? g_strdup_printf("%s~%.8s", slide->name, hash) : NULL;
    return hash != NULL;
}

/* Names of all rows, which have their stems so far. False when a slide that needs one cannot be read. */
static bool name_all(GArray *all, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < all->len; i++) {
        char *name = NULL;
        if (!tell_apart(all, &g_array_index(all, job_slide, i), &name, error))
            return false;
        g_ptr_array_add(names, name);
    }
    for (guint i = 0; i < all->len; i++) {
        job_slide *s = &g_array_index(all, job_slide, i);
        g_free(s->name);
        s->name = g_strdup(g_ptr_array_index(names, i));
    }
    return true;
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
    GArray *set = g_array_new(FALSE, TRUE, sizeof(job_slide));
    g_array_set_clear_func(set, slide_clear);
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = &g_array_index(cohort->rows, wsi_cohort_row, i);
        job_slide slide = {.name = stem_of(row->slide),
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
    bool named = name_all(set, error);
    for (guint i = set->len; named && !all && i-- > 0;)
        if (strcmp(g_array_index(set, job_slide, i).split, split) != 0)
            g_array_remove_index(set, i);
    if (!named) {
        g_array_free(g_steal_pointer(&set), TRUE);
    } else if (set->len == 0) {
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
    GArray *set = g_array_new(FALSE, TRUE, sizeof(job_slide));
    g_array_set_clear_func(set, slide_clear);
    for (; slides && *slides; slides++) {
        job_slide slide = {.name = stem_of(*slides),
                           .slide = g_strdup(*slides),
                           .case_id = g_strdup(""),
                           .split = g_strdup("")};
        g_array_append_val(set, slide);
    }
    if (!name_all(set, error))
        g_array_free(g_steal_pointer(&set), TRUE);
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
