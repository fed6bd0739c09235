/* See tile_ledger.h. */
#include "jobs/tile/ledger.h"

#include "wsi/slide/gaps.h"

bool job_ledger_add_gaps(db_store *store, int64_t slide_id, const wsi_slide *slide, int level,
                          tile_gaps *gaps, bool *store_failed, GError **error)
{
    static char background[] = "the file has no bytes for these tiles: the background is there";
    static char filled[] = "the file has no bytes for these tiles: filled from another level";
    *gaps = (tile_gaps){0};
    GArray *found = wsi_slide_gaps(slide, level, error);
    if (!found)
        return false;
    const wsi_level *base = &wsi_slide_get_info(slide)->levels[0];
    g_autofree db_damage *rows = g_new0(db_damage, found->len + 1);
    for (guint i = 0; i < found->len; i++) {
        const wsi_gap *gap = &g_array_index(found, wsi_gap, i);
        rows[i] = (db_damage){slide_id,
                              gap->x_l0,
                              gap->y_l0,
                              gap->w_l0,
                              gap->h_l0,
                              gap->filled ? DB_DAMAGE_FILLED : DB_DAMAGE_MISSING,
                              gap->filled ? filled : background};
        gaps->share += (double)gap->w_l0 * (double)gap->h_l0 / ((double)base->w * (double)base->h);
    }
    gaps->n_regions = found->len;
    g_array_unref(found);
    if (gaps->n_regions == 0 || db_damage_add_many(store, rows, (size_t)gaps->n_regions, error))
        return true;
    *store_failed = true;
    return false;
}
