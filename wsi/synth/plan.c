/* DigestPath's images differ in size, some are crops of the same scan, some names lack the case, a
 * sixth are negative: so must these, or the road from its folders would not be tested. */
#include "wsi/synth/plan_priv.h"

#include "base/file.h"
#include "wsi/cohort/cohort.h"
#include "wsi/cohort/digestpath.h"
#include "wsi/synth/math.h"
#include "wsi/synth/site_priv.h"

static void plan_clear(gpointer data)
{
    synth_plan *p = data;
    g_free(p->slide);
    g_free(p->mask);
    g_free(p->truth);
}

static synth_plan plan_tiff(const wsi_synth_options *o, uint32_t index)
{
    g_autofree char *name = g_strdup_printf("slide_%02u.tif", index + 1);
    synth_plan p = {.index = index, .w = o->w, .h = o->h, .tumour = true, .site = -1};
    p.slide = g_build_filename(o->out_dir, "slides", name, NULL);
    p.mask = g_build_filename(o->out_dir, "masks", name, NULL);
    if (o->noise > 0)
        p.truth = g_build_filename(o->out_dir, "truth", name, NULL);
    return p;
}

static synth_plan plan_digestpath(const wsi_synth_options *o, uint32_t index)
{
    uint32_t scan =
        index % 4 == 3 ? index - 1 : index; /* every fourth shares its neighbour's scan */
    uint64_t key = synth_hash(o->seed, 2, 0, 0);
    uint64_t h = synth_hash(key, 7, (int32_t)scan, 0), own = synth_hash(key, 8, (int32_t)index, 0);
    synth_plan p = {.index = index, .tumour = index % 6 != 5, .site = -1};
    if (o->n_sites > 0)
        p.site = (int)(scan % (uint32_t)o->n_sites);
    p.w = o->w - (int64_t)(own % 100) * o->w / 400;
    p.h = o->h - (int64_t)(own / 100 % 100) * o->h / 400;
    wsi_digestpath_name name = {.w = p.w, .h = p.h};
    name.x = (int64_t)(own >> 16 & 0x3FFF);
    name.y = (int64_t)(own >> 32 & 0x3FFF);
    /* 457 and the seconds of a day have no common divisor: no two scans share a stamp. */
    unsigned second = (8 * 3600 + scan * 457u) % 86400u;
    g_snprintf(name.stamp, sizeof name.stamp, "2018-%02u-%02u %02u_%02u_%02u",
               1 + (unsigned)(h % 12), 1 + (unsigned)(h / 12 % 28), second / 3600, second / 60 % 60,
               second % 60);
    if (h / 336 % 4 != 0)
        name.case_prefix = g_strdup_printf("18-%05u%c", 10000 + scan, (char)('A' + h / 1344 % 6));
    g_autofree char *file = wsi_digestpath_format(&name);
    g_free(name.case_prefix);
    p.slide = g_build_filename(o->out_dir, p.tumour ? "tissue-train-pos-v1" : "tissue-train-neg",
                               file, NULL);
    p.mask = wsi_digestpath_mask_of(p.slide);
    if (o->noise > 0) {
        g_autofree char *truth = wsi_digestpath_mask_of(file);
        p.truth = g_build_filename(o->out_dir, "truth", truth, NULL);
    }
    return p;
}

/* The site of slide i of a split whose first n_labelled have labels. */
static int site_of(const wsi_synth_options *o, int i, int n_labelled)
{
    return i % (i < n_labelled ? MAX(1, o->n_sites / 2) : o->n_sites);
}

static int site_in_cohort(const wsi_synth_options *o, int i)
{
    if (i < o->n_train)
        return site_of(o, i, o->n_labelled);
    i -= o->n_train;
    return site_of(o, i < o->n_val ? i : i - o->n_val, 0);
}

GArray *wsi_synth_plan_all(const wsi_synth_options *o)
{
    GArray *plans = g_array_new(FALSE, TRUE, sizeof(synth_plan));
    g_array_set_clear_func(plans, plan_clear);
    for (int i = 0; i < o->n_train + o->n_val + o->n_test; i++) {
        synth_plan p = o->format == WSI_SYNTH_TIFF ? plan_tiff(o, (uint32_t)i)
                                                   : plan_digestpath(o, (uint32_t)i);
        if (o->n_sites > 0 && o->format == WSI_SYNTH_TIFF)
            p.site = site_in_cohort(o, i);
        p.quality = p.site < 0 ? o->jpeg_quality : wsi_synth_site_quality(o->seed, p.site);
        g_array_append_val(plans, p);
    }
    return plans;
}

bool wsi_synth_plan_folders(const GArray *plans, GError **error)
{
    for (guint i = 0; i < plans->len; i++) {
        const synth_plan *p = &g_array_index(plans, synth_plan, i);
        const char *paths[] = {p->slide, p->mask, p->truth};
        for (int k = 0; k < 3; k++) {
            g_autofree char *dir = paths[k] ? g_path_get_dirname(paths[k]) : NULL;
            if (dir && !qs_dir_create(dir, error))
                return false;
        }
    }
    return true;
}

bool wsi_synth_plan_cohort(const wsi_synth_options *o, const GArray *plans, GError **error)
{
    wsi_cohort *cohort = wsi_cohort_new();
    for (int i = 0; i < (int)plans->len; i++) {
        const synth_plan *p = &g_array_index(plans, synth_plan, i);
        g_autofree char *case_id = p->site < 0
                                       ? g_strdup_printf("case_%02d", i + 1)
                                       : g_strdup_printf("site%d_case_%02d", p->site + 1, i + 1);
        bool train = i < o->n_train;
        wsi_cohort_row row = {.slide = p->slide,
                              .mask = p->mask,
                              .truth = p->truth,
                              .case_id = case_id,
                              .split = train                       ? WSI_SPLIT_TRAIN
                                       : i < o->n_train + o->n_val ? WSI_SPLIT_VAL
                                                                   : WSI_SPLIT_TEST,
                              .labelled = !train || i < o->n_labelled,
                              .mpp = o->mpp};
        wsi_cohort_add(cohort, &row);
    }
    g_autofree char *path = g_build_filename(o->out_dir, "cohort.csv", NULL);
    bool ok = wsi_cohort_write(cohort, path, error);
    wsi_cohort_destroy(cohort);
    return ok;
}
