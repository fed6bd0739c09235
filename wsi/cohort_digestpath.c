/* DigestPath's folders into a cohort, split by case.
 *
 * The same case, and even the same scan, appears in several crops; a split by image would put
 * parts of one scan on both sides. So: case = the prefix before the date; where a name has none,
 * the case of another image with the same stamp; else the stamp. Everything is sorted by name
 * before the seeded shuffle, so the result does not depend on the order of the folder. */
#include "wsi/cohort.h"

#include "base/error.h"
#include "base/report.h"
#include "base/rng.h"
#include "wsi/digestpath_priv.h"

#include <math.h>
#include <string.h>

typedef struct {
    char *path, *mask, *case_id; /* mask NULL when there is none */
    char stamp[20];
    bool has_prefix;
} image;

typedef struct {
    char *name; /* borrowed from an image */
    int n;      /* images */
    bool any_mask;
    wsi_split split;
    bool labelled;
} case_group;

static void image_clear(gpointer data)
{
    image *im = data;
    g_free(im->path);
    g_free(im->mask);
    g_free(im->case_id);
}

/* ---- the folders ---- */

static int by_path(gconstpointer a, gconstpointer b)
{
    return strcmp(((const image *)a)->path, ((const image *)b)->path);
}

static void add_image(GArray *images, const char *path, const char *name, int *n_strange)
{
    if (!g_str_has_suffix(name, ".jpg") || g_str_has_suffix(name, "_mask.jpg"))
        return;
    wsi_digestpath_name parsed;
    if (!wsi_digestpath_parse(name, &parsed)) {
        if ((*n_strange)++ == 0)
            qs_warn("%s: not a DigestPath name ([<case>_]<YYYY-MM-DD "
                    "HH_MM_SS>-lv1-<x>-<y>-<w>-<h>.jpg); "
                    "left out",
                    path);
        return;
    }
    g_autofree char *mask = wsi_digestpath_mask_of(path);
    image im = {.path = g_strdup(path), .has_prefix = parsed.case_prefix != NULL};
    im.case_id = parsed.case_prefix ? parsed.case_prefix : g_strdup(parsed.stamp);
    g_strlcpy(im.stamp, parsed.stamp, sizeof im.stamp);
    if (g_file_test(mask, G_FILE_TEST_IS_REGULAR))
        im.mask = g_steal_pointer(&mask);
    g_array_append_val(images, im);
}

static bool scan_folder(const char *dir, GArray *images, int *n_strange, GError **error)
{
    GError *local = NULL;
    g_autoptr(GDir) handle = g_dir_open(dir, 0, &local);
    if (!handle) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "%s", local->message);
        g_error_free(local);
        return false;
    }
    const char *name;
    while ((name = g_dir_read_name(handle))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        bool folder = g_file_test(path, G_FILE_TEST_IS_DIR);
        if (folder && !g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
            if (!scan_folder(path, images, n_strange, error))
                return false;
        } else if (!folder) {
            add_image(images, path, name, n_strange);
        }
    }
    return true;
}

/* Names without a prefix take the case of another crop of the same scan. */
static void join_stamps(GArray *images)
{
    g_autoptr(GHashTable) of_stamp = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < images->len; i++) {
        image *im = &g_array_index(images, image, i);
        if (im->has_prefix && !g_hash_table_contains(of_stamp, im->stamp))
            g_hash_table_insert(of_stamp, im->stamp, im->case_id);
    }
    for (guint i = 0; i < images->len; i++) {
        image *im = &g_array_index(images, image, i);
        const char *known = im->has_prefix ? NULL : g_hash_table_lookup(of_stamp, im->stamp);
        if (known) {
            g_free(im->case_id);
            im->case_id = g_strdup(known);
        }
    }
}

/* ---- the split ---- */

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(((const case_group *)a)->name, ((const case_group *)b)->name);
}

static GArray *group_cases(GArray *images)
{
    g_autoptr(GHashTable) index = g_hash_table_new(g_str_hash, g_str_equal);
    GArray *cases = g_array_new(FALSE, TRUE, sizeof(case_group));
    for (guint i = 0; i < images->len; i++) {
        image *im = &g_array_index(images, image, i);
        gpointer at;
        if (!g_hash_table_lookup_extended(index, im->case_id, NULL, &at)) {
            case_group group = {.name = im->case_id};
            at = GUINT_TO_POINTER(cases->len);
            g_array_append_val(cases, group);
            g_hash_table_insert(index, im->case_id, at);
        }
        case_group *group = &g_array_index(cases, case_group, GPOINTER_TO_UINT(at));
        group->n++;
        group->any_mask = group->any_mask || im->mask;
    }
    g_array_sort(cases, by_name);
    return cases;
}

/* A case joins when that brings the count nearer to its target. */
static bool brings_nearer(int count, int n, double target)
{
    return fabs(count + n - target) < fabs(count - target);
}

static void split_cases(GArray *cases, const guint32 *order, int n_images,
                        const wsi_cohort_split_options *options)
{
    double want_test = options->test_share * n_images, want_val = options->val_share * n_images;
    int n_test = 0, n_val = 0, n_train = 0, n_labelled = 0;
    for (guint i = 0; i < cases->len; i++) {
        case_group *group = &g_array_index(cases, case_group, order[i]);
        if (brings_nearer(n_test, group->n, want_test)) {
            group->split = WSI_SPLIT_TEST;
            n_test += group->n;
        } else if (brings_nearer(n_val, group->n, want_val)) {
            group->split = WSI_SPLIT_VAL;
            n_val += group->n;
        } else {
            group->split = WSI_SPLIT_TRAIN;
            n_train += group->n;
        }
    }
    double want_labelled = options->labelled_share * n_train;
    for (guint i = 0; i < cases->len; i++) {
        case_group *group = &g_array_index(cases, case_group, order[i]);
        group->labelled = group->split != WSI_SPLIT_TRAIN;
        if (group->split != WSI_SPLIT_TRAIN || !group->any_mask)
            continue;
        bool first = n_labelled == 0 && options->labelled_share > 0;
        if (first || brings_nearer(n_labelled, group->n, want_labelled)) {
            group->labelled = true;
            n_labelled += group->n;
        }
    }
}

static wsi_cohort *build(GArray *images, GArray *cases)
{
    g_autoptr(GHashTable) index = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < cases->len; i++) {
        case_group *group = &g_array_index(cases, case_group, i);
        g_hash_table_insert(index, group->name, group);
    }
    wsi_cohort *cohort = wsi_cohort_new();
    int n_bare = 0;
    for (guint i = 0; i < images->len; i++) {
        image *im = &g_array_index(images, image, i);
        const case_group *group = g_hash_table_lookup(index, im->case_id);
        wsi_cohort_row row = {.slide = im->path,
                              .mask = im->mask,
                              .case_id = im->case_id,
                              .split = group->split,
                              .labelled = group->labelled && im->mask,
                              .mpp = WSI_DIGESTPATH_MPP};
        n_bare += !im->mask;
        wsi_cohort_add(cohort, &row);
    }
    if (n_bare > 0)
        qs_warn("%d of %u images have no mask beside them and are listed as not labelled", n_bare,
                images->len);
    return cohort;
}

static bool check_split_options(const wsi_cohort_split_options *o, GError **error)
{
    bool ok = o->val_share >= 0 && o->test_share >= 0 && o->val_share + o->test_share < 1 &&
              o->labelled_share >= 0 && o->labelled_share <= 1;
    if (!ok)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "shares val %g, test %g, labelled %g: each from 0 to 1, and val + test below 1",
                    o->val_share, o->test_share, o->labelled_share);
    return ok;
}

wsi_cohort *wsi_cohort_scan_digestpath(const char *dir, const wsi_cohort_split_options *options,
                                       GError **error)
{
    if (!check_split_options(options, error))
        return NULL;
    g_autoptr(GArray) images = g_array_new(FALSE, TRUE, sizeof(image));
    g_array_set_clear_func(images, image_clear);
    int n_strange = 0;
    if (!scan_folder(dir, images, &n_strange, error))
        return NULL;
    if (n_strange > 1)
        qs_warn("%s: %d files with other names were left out", dir, n_strange);
    if (images->len == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: no image named [<case>_]<YYYY-MM-DD HH_MM_SS>-lv1-<x>-<y>-<w>-<h>.jpg",
                    dir);
        return NULL;
    }
    g_array_sort(images, by_path);
    join_stamps(images);
    g_autoptr(GArray) cases = group_cases(images);
    g_autofree guint32 *order = g_new(guint32, cases->len);
    for (guint i = 0; i < cases->len; i++)
        order[i] = i;
    qs_rng rng;
    qs_rng_init(&rng, options->seed, qs_rng_stream_id(0x53504c4954 /* "SPLIT" */, 0, 0));
    qs_rng_shuffle_u32(&rng, order, cases->len);
    split_cases(cases, order, (int)images->len, options);
    wsi_cohort *cohort = build(images, cases);
    if (wsi_cohort_validate(cohort, error))
        return cohort;
    wsi_cohort_destroy(cohort);
    return NULL;
}
