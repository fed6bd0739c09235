/* See train_stain.h. */
#include "jobs/train/stain.h"

#include "base/error.h"
#include "jobs/colour_rules.h"

#include <string.h>

char *job_train_colour_text(const db_store_config *config, const char *stain_norm, GError **error)
{
    wsi_colour_rules stored, asked = {0};
    if (!wsi_colour_rules_parse(&stored, config->colour, error))
        return NULL;
    if (stain_norm && *stain_norm) {
        g_autofree char *text = job_colour_text(false, stain_norm, config, error);
        if (!text || !wsi_colour_rules_parse(&asked, text, error))
            return NULL;
    }
    if (stored.stain.method != WSI_STAIN_NONE && asked.stain.method != WSI_STAIN_NONE) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "--stain-norm %s: the store's patches are normalised already (%s); leave it "
                    "out, or tile without",
                    stain_norm, config->colour);
        return NULL;
    }
    if (asked.stain.method != WSI_STAIN_NONE)
        stored.stain = asked.stain;
    return wsi_colour_rules_text(&stored);
}

/* Of the row's "macenko …; reinhard …". */
static bool recall(const char *stains, wsi_stain_method method, wsi_stain *stain)
{
    g_auto(GStrv) parts = g_strsplit(stains ? stains : "", ";", -1);
    for (int i = 0; parts[i]; i++) {
        wsi_colour_rules rules;
        if (wsi_colour_rules_parse(&rules, parts[i], NULL) && rules.stain.method == method) {
            *stain = rules.stain;
            return true;
        }
    }
    return false;
}

/* Of a slide that is done: the patches that the numbers are of do not change any more. */
static bool remember(db_store *store, db_slide *slide, const wsi_stain *stain, GError **error)
{
    const wsi_colour_rules rules = {.stain = *stain};
    g_autofree char *text = wsi_colour_rules_text(&rules);
    char *all = slide->stains && *slide->stains ? g_strdup_printf("%s; %s", slide->stains, text)
                                                : g_strdup(text);
    g_free(slide->stains);
    slide->stains = all;
    return db_slide_update(store, slide, error);
}

static bool measure(db_store *store, const db_slide *slide, wsi_stain_method method,
                    wsi_stain *stain, GError **measured_why, GError **error)
{
    GArray *patches = db_patch_list(store, slide->id, true, error);
    if (!patches)
        return false;
    int px = db_store_get_config(store)->patch_px;
    g_autofree uint8_t *rgb = g_malloc((size_t)px * (size_t)px * 3);
    wsi_stain_sample sample = {0};
    guint n = MIN(patches->len, WSI_STAIN_WINDOWS);
    bool ok = true;
    for (guint k = 0; ok && k < n; k++) {
        const db_patch *p =
            &g_array_index(patches, db_patch, (guint)((guint64)k * patches->len / n));
        ok = qs_stop_check(error) && db_patch_read(store, p, rgb, NULL, error);
        if (ok)
            wsi_stain_sample_add(&sample, rgb, (size_t)px * 3, p->valid_w, p->valid_h);
    }
    if (ok)
        wsi_stain_estimate(method, sample.rgb, sample.n, stain, measured_why);
    wsi_stain_sample_clear(&sample);
    g_array_unref(patches);
    return ok;
}

static bool add_slide(GHashTable *table, db_store *store, bool writable, db_slide *slide,
                      const wsi_stain *reference, GError **error)
{
    wsi_stain stain;
    GError *why = NULL;
    if (!recall(slide->stains, reference->method, &stain)) {
        if (!measure(store, slide, reference->method, &stain, &why, error))
            return false;
        if (!why && writable && slide->state == DB_SLIDE_DONE &&
            !remember(store, slide, &stain, error))
            return false;
    }
    wsi_colour *colour = why ? NULL : wsi_colour_create(&stain, reference, &why);
    if (why) {
        qs_warn("%s: %s; its colours stay as they are", slide->path, why->message);
        g_error_free(why);
        return true;
    }
    g_hash_table_insert(table, g_memdup2(&slide->id, sizeof slide->id), colour);
    return true;
}

static void close_colour(gpointer colour)
{
    wsi_colour_close(colour);
}

GHashTable *job_train_stains(db_store *store, bool writable, const wsi_stain *reference,
                             const qs_progress *progress, GError **error)
{
    GArray *slides = db_slide_list(store, error);
    if (!slides)
        return NULL;
    GHashTable *table =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, close_colour);
    bool ok = true;
    for (guint i = 0; ok && i < slides->len; i++) {
        db_slide *slide = &g_array_index(slides, db_slide, i);
        qs_progress_update(progress, "stains", i, slides->len, NULL);
        if (slide->split == DB_SPLIT_TRAIN)
            ok = add_slide(table, store, writable, slide, reference, error);
    }
    g_array_unref(slides);
    if (!ok)
        g_clear_pointer(&table, g_hash_table_unref);
    return table;
}
