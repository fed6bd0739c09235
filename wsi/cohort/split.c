/* Images into cases, cases into splits.
 *
 * The order of the cases is that of a hash of seed and name: it does not depend on the folder's
 * order nor on which other cases there are, so a cohort that grows keeps most of its splits, and
 * the labelled cases are a prefix of the training cases in that order, so 5 % labelled is a part of
 * 10 %. */
#include "wsi/cohort/cohort_priv.h"

#include "base/error.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

typedef struct {
    const char *name; /* borrowed from an image */
    uint64_t rank;    /* by seed and name */
    int n;            /* images */
    bool any_mask;
    wsi_split split;
    bool labelled;
} case_group;

static void image_clear(gpointer data)
{
    wsi_cohort_image *im = data;
    g_free(im->path);
    g_free(im->mask);
    g_free(im->case_id);
}

GArray *wsi_cohort_images_new(void)
{
    GArray *images = g_array_new(FALSE, TRUE, sizeof(wsi_cohort_image));
    g_array_set_clear_func(images, image_clear);
    return images;
}

void wsi_cohort_split_options_init(wsi_cohort_split_options *options)
{
    *options = (wsi_cohort_split_options){
        .val_share = 0.1, .test_share = 0.2, .labelled_share = 1, .seed = 1};
}

bool wsi_cohort_walk(const char *dir, wsi_cohort_file_fn fn, void *user, GError **error)
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
            if (!wsi_cohort_walk(path, fn, user, error))
                return false;
        } else if (!folder) {
            fn(user, path, name);
        }
    }
    return true;
}

static int by_path(gconstpointer a, gconstpointer b)
{
    return strcmp(((const wsi_cohort_image *)a)->path, ((const wsi_cohort_image *)b)->path);
}

static int by_rank(gconstpointer a, gconstpointer b)
{
    const case_group *p = a, *q = b;
    return p->rank < q->rank ? -1 : p->rank > q->rank ? 1 : strcmp(p->name, q->name);
}

/* FNV-1a of the name, well mixed with the seed. */
static uint64_t rank_of(const char *name, unsigned seed)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = name; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 0x100000001b3u;
    return qs_rng_stream_id(0x53504c4954 /* "SPLIT" */, seed, hash);
}

static GArray *group_cases(GArray *images, unsigned seed)
{
    g_autoptr(GHashTable) index = g_hash_table_new(g_str_hash, g_str_equal);
    GArray *cases = g_array_new(FALSE, TRUE, sizeof(case_group));
    for (guint i = 0; i < images->len; i++) {
        wsi_cohort_image *im = &g_array_index(images, wsi_cohort_image, i);
        gpointer at;
        if (!g_hash_table_lookup_extended(index, im->case_id, NULL, &at)) {
            case_group group = {.name = im->case_id, .rank = rank_of(im->case_id, seed)};
            at = GUINT_TO_POINTER(cases->len);
            g_array_append_val(cases, group);
            g_hash_table_insert(index, im->case_id, at);
        }
        case_group *group = &g_array_index(cases, case_group, GPOINTER_TO_UINT(at));
        group->n++;
        group->any_mask = group->any_mask || im->mask;
    }
    g_array_sort(cases, by_rank);
    return cases;
}

/* A case joins when that brings the count nearer to its target. */
static bool brings_nearer(int count, int n, double target)
{
    return fabs(count + n - target) < fabs(count - target);
}

static void split_cases(GArray *cases, int n_images, const wsi_cohort_split_options *options)
{
    double want_test = options->test_share * n_images, want_val = options->val_share * n_images;
    int n_test = 0, n_val = 0;
    for (guint i = 0; i < cases->len; i++) {
        case_group *group = &g_array_index(cases, case_group, i);
        if (brings_nearer(n_test, group->n, want_test)) {
            group->split = WSI_SPLIT_TEST;
            n_test += group->n;
        } else if (brings_nearer(n_val, group->n, want_val)) {
            group->split = WSI_SPLIT_VAL;
            n_val += group->n;
        } else {
            group->split = WSI_SPLIT_TRAIN;
        }
    }
}

/* False when more cases are asked for than have masks. */
static bool label_cases(GArray *cases, const wsi_cohort_split_options *options, GError **error)
{
    int n_train = 0, n_labelled = 0, n_cases = 0;
    for (guint i = 0; i < cases->len; i++) {
        const case_group *group = &g_array_index(cases, case_group, i);
        n_train += group->split == WSI_SPLIT_TRAIN ? group->n : 0;
    }
    double want = options->labelled_share * n_train;
    bool by_number = options->labelled_cases > 0, full = want <= 0 && !by_number;
    for (guint i = 0; i < cases->len; i++) {
        case_group *group = &g_array_index(cases, case_group, i);
        group->labelled = group->split != WSI_SPLIT_TRAIN;
        if (group->split != WSI_SPLIT_TRAIN || !group->any_mask || full)
            continue;
        full = by_number ? n_cases >= options->labelled_cases
                         : n_cases > 0 && !brings_nearer(n_labelled, group->n, want);
        if (full)
            continue;
        group->labelled = true;
        n_labelled += group->n;
        n_cases++;
    }
    if (!by_number || n_cases == options->labelled_cases)
        return true;
    g_set_error(
        error, QS_ERROR, QS_ERROR_ARG,
        "%d labelled cases are asked for, but only %d of the training split's have a mask; ask "
        "for fewer, or lower the shares of validation and test",
        options->labelled_cases, n_cases);
    return false;
}

static wsi_cohort *build(GArray *images, GArray *cases)
{
    g_autoptr(GHashTable) index = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < cases->len; i++) {
        case_group *group = &g_array_index(cases, case_group, i);
        g_hash_table_insert(index, (gpointer)(uintptr_t)group->name, group);
    }
    wsi_cohort *cohort = wsi_cohort_new();
    guint n_bare = 0;
    for (guint i = 0; i < images->len; i++) {
        wsi_cohort_image *im = &g_array_index(images, wsi_cohort_image, i);
        const case_group *group = g_hash_table_lookup(index, im->case_id);
        wsi_cohort_row row = {.slide = im->path,
                              .mask = im->mask,
                              .case_id = im->case_id,
                              .split = group->split,
                              .labelled = group->labelled && im->mask,
                              .mpp = im->mpp};
        n_bare += !im->mask;
        wsi_cohort_add(cohort, &row);
    }
    if (n_bare > 0)
        qs_warn("%u of %u images have no mask and are listed as not labelled", n_bare, images->len);
    return cohort;
}

bool wsi_cohort_check_options(const wsi_cohort_split_options *o, GError **error)
{
    bool ok = o->val_share >= 0 && o->test_share >= 0 && o->val_share + o->test_share < 1 &&
              o->labelled_share >= 0 && o->labelled_share <= 1 && o->labelled_cases >= 0;
    if (!ok)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "shares val %g, test %g, labelled %g: each from 0 to 1, and val + test below 1",
                    o->val_share, o->test_share, o->labelled_share);
    return ok;
}

wsi_cohort *wsi_cohort_assemble(GArray *images, const wsi_cohort_split_options *options,
                                GError **error)
{
    if (!wsi_cohort_check_options(options, error))
        return NULL;
    g_array_sort(images, by_path);
    g_autoptr(GArray) cases = group_cases(images, options->seed);
    split_cases(cases, (int)images->len, options);
    if (!label_cases(cases, options, error))
        return NULL;
    wsi_cohort *cohort = build(images, cases);
    if (!wsi_cohort_validate(cohort, error))
        g_clear_pointer(&cohort, wsi_cohort_destroy);
    return cohort;
}
