#include "db/store_priv.h"

#include <string.h>

static bool count_slides(db_store *store, db_summary *sum, GError **error)
{
    GArray *slides = db_slide_list(store, error);
    if (!slides)
        return false;
    for (guint i = 0; i < slides->len; i++) {
        const db_slide *s = &g_array_index(slides, db_slide, i);
        db_split_summary *split = &sum->splits[s->split];
        split->n_slides++;
        split->n_state[s->state]++;
        split->n_labelled += s->labelled;
        split->n_damaged += s->n_damaged;
    }
    g_array_unref(slides);
    return true;
}

static bool count_patches(db_store *store, db_summary *sum, GError **error)
{
    db_query q;
    if (!db_query_init(
            &q, store->sql,
            "SELECT s.split, count(*), sum(kept), sum(kept AND has_label),"
            " sum(kept AND s.labelled), sum(n_bytes + label_n_bytes), sum(ignore_px),"
            " sum(px0), sum(px1), sum(px2), sum(px3), sum(px4), sum(px5), sum(px6), sum(px7),"
            " sum(px8), sum(px9), sum(px10), sum(px11), sum(px12), sum(px13), sum(px14),"
            " sum(px15) FROM patches p JOIN slides s ON s.id = p.slide_id GROUP BY s.split",
            error))
        return false;
    int row;
    while ((row = db_query_step(&q, error)) == 1) {
        db_split split;
        if (!db_split_parse(db_peek_text(&q), &split))
            continue;
        db_split_summary *s = &sum->splits[split];
        s->n_cells = db_read_int(&q);
        s->n_kept = db_read_int(&q);
        s->n_with_label = db_read_int(&q);
        s->n_labelled_patches = db_read_int(&q);
        s->n_bytes = db_read_int(&q);
        s->ignore_px = db_read_int(&q);
        for (int c = 0; c < QS_CLASSES_MAX; c++)
            s->class_px[c] = db_read_int(&q);
    }
    return row == 0;
}

bool db_store_summarise(db_store *store, db_summary *summary, GError **error)
{
    memset(summary, 0, sizeof *summary);
    db_sql_lock(store->sql);
    bool ok = count_slides(store, summary, error) && count_patches(store, summary, error);
    db_sql_unlock(store->sql);
    return ok;
}
