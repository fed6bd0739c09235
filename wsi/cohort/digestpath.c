/* DigestPath's folders into a cohort.
 *
 * The same case, and even the same scan, appears in several crops; a split by image would put parts
 * of one scan on both sides. So: case = the prefix before the date; where a name has none, the case
 * of another image with the same stamp; else the stamp. Image and mask belong together by stamp and
 * rectangle: copies of the data set are about in which only one of the two has kept its prefix. */
#include "wsi/cohort/cohort_priv.h"

#include "base/error.h"
#include "wsi/cohort/digestpath.h"

#include <string.h>

/* A file of either kind, before images and masks are brought together. */
typedef struct {
    char *path, *place; /* place: stamp and rectangle, "2018-01-01 10_00_00-lv1-1-2-3-4" */
    char *prefix;       /* NULL none */
    char stamp[20];
    bool used;
} crop;

typedef struct {
    GArray *images, *masks; /* of crop */
    int n_strange;
    const char *dir;
} crops;

static void crop_clear(gpointer data)
{
    crop *c = data;
    g_free(c->path);
    g_free(c->place);
    g_free(c->prefix);
}

static void take_file(void *user, const char *path, const char *name)
{
    crops *all = user;
    if (!g_str_has_suffix(name, ".jpg"))
        return;
    bool mask = g_str_has_suffix(name, "_mask.jpg");
    size_t n = strlen(name) - strlen(mask ? "_mask.jpg" : ".jpg");
    g_autofree char *image_name = g_strdup_printf("%.*s.jpg", (int)n, name);
    wsi_digestpath_name parsed;
    if (!wsi_digestpath_parse(image_name, &parsed)) {
        if (!mask && all->n_strange++ == 0)
            qs_warn("%s: not a DigestPath name ([<case>_]<YYYY-MM-DD "
                    "HH_MM_SS>-lv1-<x>-<y>-<w>-<h>.jpg); left out",
                    path);
        return;
    }
    crop c = {.path = g_strdup(path), .prefix = parsed.case_prefix};
    size_t skip = parsed.case_prefix ? strlen(parsed.case_prefix) + 1 : 0;
    c.place = g_strndup(name + skip, n - skip);
    memcpy(c.stamp, parsed.stamp, sizeof c.stamp);
    g_array_append_val(mask ? all->masks : all->images, c);
}

/* The mask beside the image; else, of that place, the only one whose prefix does not contradict. */
static crop *find_mask(const crops *all, const crop *image)
{
    g_autofree char *beside = wsi_digestpath_mask_of(image->path);
    crop *found = NULL;
    int n = 0;
    for (guint i = 0; i < all->masks->len; i++) {
        crop *mask = &g_array_index(all->masks, crop, i);
        if (!strcmp(mask->path, beside))
            return mask;
        if (mask->used || strcmp(mask->place, image->place) ||
            (mask->prefix && image->prefix && strcmp(mask->prefix, image->prefix)))
            continue;
        found = mask;
        n++;
    }
    return n == 1 ? found : NULL;
}

/* Names without a prefix take that of their mask, or of another crop of the same scan. */
static GHashTable *cases_of_stamps(const crops *all)
{
    GHashTable *of_stamp = g_hash_table_new(g_str_hash, g_str_equal);
    GArray *const lists[] = {all->images, all->masks};
    for (int k = 0; k < 2; k++)
        for (guint i = 0; i < lists[k]->len; i++) {
            crop *c = &g_array_index(lists[k], crop, i);
            const char *known = c->prefix ? g_hash_table_lookup(of_stamp, c->stamp) : NULL;
            if (c->prefix && (!known || strcmp(c->prefix, known) < 0))
                g_hash_table_insert(of_stamp, c->stamp, c->prefix);
        }
    return of_stamp;
}

static GArray *pair(crops *all)
{
    GArray *images = wsi_cohort_images_new();
    g_autoptr(GHashTable) of_stamp = cases_of_stamps(all);
    for (guint i = 0; i < all->images->len; i++) {
        const crop *c = &g_array_index(all->images, crop, i);
        crop *mask = find_mask(all, c);
        const char *prefix = c->prefix ? c->prefix : mask ? mask->prefix : NULL;
        const char *known = prefix ? prefix : g_hash_table_lookup(of_stamp, c->stamp);
        wsi_cohort_image im = {.path = g_strdup(c->path),
                               .mask = mask ? g_strdup(mask->path) : NULL,
                               .case_id = g_strdup(known ? known : c->stamp),
                               .mpp = WSI_DIGESTPATH_MPP};
        if (mask)
            mask->used = true;
        g_array_append_val(images, im);
    }
    return images;
}

static wsi_cohort *assemble(crops *all, const wsi_cohort_split_options *options, GError **error)
{
    if (all->n_strange > 1)
        qs_warn("%s: %d files with other names were left out", all->dir, all->n_strange);
    if (all->images->len == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: no image named [<case>_]<YYYY-MM-DD HH_MM_SS>-lv1-<x>-<y>-<w>-<h>.jpg",
                    all->dir);
        return NULL;
    }
    g_autoptr(GArray) images = pair(all);
    return wsi_cohort_assemble(images, options, error);
}

wsi_cohort *wsi_cohort_scan_digestpath(const char *dir, const wsi_cohort_split_options *options,
                                       GError **error)
{
    if (!wsi_cohort_check_options(options, error))
        return NULL;
    crops all = {.images = g_array_new(FALSE, TRUE, sizeof(crop)),
                 .masks = g_array_new(FALSE, TRUE, sizeof(crop)),
                 .dir = dir};
    g_array_set_clear_func(all.images, crop_clear);
    g_array_set_clear_func(all.masks, crop_clear);
    wsi_cohort *cohort =
        wsi_cohort_walk(dir, take_file, &all, error) ? assemble(&all, options, error) : NULL;
    g_array_unref(all.images);
    g_array_unref(all.masks);
    return cohort;
}
