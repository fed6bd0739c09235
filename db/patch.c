#include "db/store_priv.h"

#include <stdio.h>
#include <string.h>

/* The columns in the order of db_patch_insert and read_patch. */
#define PATCH_COLUMNS                                                                              \
    "id, slide_id, cell, x_l0, y_l0, w_l0, h_l0, valid_w, valid_h, level, mpp, kept, reason, "     \
    "tissue,"                                                                                      \
    " white, dark, saturation, blur, pen, has_label, ignore_px, px0, px1, px2, px3, px4, px5, "    \
    "px6,"                                                                                         \
    " px7, px8, px9, px10, px11, px12, px13, px14, px15, format, offset, n_bytes, checksum,"       \
    " label_offset, label_n_bytes, label_checksum"

G_STATIC_ASSERT(QS_CLASSES_MAX == 16); /* px0 … px15 */

bool db_patch_insert(db_store *store, const db_patch *p, GError **error)
{
    db_query q;
    if (!db_query_init(
            &q, store->sql,
            "INSERT INTO patches (" PATCH_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
            " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
            " ?, ?, ?, ?)",
            error))
        return false;
    const int64_t place[] = {p->id,   p->slide_id, p->cell,    p->x_l0,    p->y_l0,
                             p->w_l0, p->h_l0,     p->valid_w, p->valid_h, p->level};
    for (size_t i = 0; i < G_N_ELEMENTS(place); i++)
        db_bind_int(&q, place[i]);
    db_bind_double(&q, p->mpp);
    db_bind_int(&q, p->kept);
    db_bind_text(&q, p->reason);
    const float quality[] = {p->tissue, p->white, p->dark, p->saturation, p->blur, p->pen};
    for (size_t i = 0; i < G_N_ELEMENTS(quality); i++)
        db_bind_double(&q, (double)quality[i]);
    db_bind_int(&q, p->has_label);
    db_bind_int(&q, p->ignore_px);
    for (int i = 0; i < QS_CLASSES_MAX; i++)
        db_bind_int(&q, p->class_px[i]);
    db_bind_int(&q, p->format);
    db_bind_int(&q, p->offset);
    db_bind_int(&q, p->n_bytes);
    db_bind_int(&q, (int64_t)p->checksum);
    db_bind_int(&q, p->label_offset);
    db_bind_int(&q, p->label_n_bytes);
    db_bind_int(&q, (int64_t)p->label_checksum);
    return db_query_run(&q, error);
}

static void read_patch(db_query *q, db_patch *p)
{
    memset(p, 0, sizeof *p);
    int64_t *const place[] = {&p->id,   &p->slide_id, &p->cell, &p->x_l0,
                              &p->y_l0, &p->w_l0,     &p->h_l0};
    for (size_t i = 0; i < G_N_ELEMENTS(place); i++)
        *place[i] = db_read_int(q);
    p->valid_w = (int32_t)db_read_int(q);
    p->valid_h = (int32_t)db_read_int(q);
    p->level = (int32_t)db_read_int(q);
    p->mpp = db_read_double(q);
    p->kept = db_read_int(q) != 0;
    g_strlcpy(p->reason, db_peek_text(q), sizeof p->reason);
    float *const quality[] = {&p->tissue, &p->white, &p->dark, &p->saturation, &p->blur, &p->pen};
    for (size_t i = 0; i < G_N_ELEMENTS(quality); i++)
        *quality[i] = (float)db_read_double(q);
    p->has_label = db_read_int(q) != 0;
    p->ignore_px = db_read_int(q);
    for (int i = 0; i < QS_CLASSES_MAX; i++)
        p->class_px[i] = db_read_int(q);
    p->format = (int32_t)db_read_int(q);
    p->offset = db_read_int(q);
    p->n_bytes = db_read_int(q);
    p->checksum = (uint64_t)db_read_int(q);
    p->label_offset = db_read_int(q);
    p->label_n_bytes = db_read_int(q);
    p->label_checksum = (uint64_t)db_read_int(q);
}

GArray *db_patch_list(db_store *store, int64_t slide_id, bool kept_only, GError **error)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(db_patch));
    db_query q;
    db_sql_lock(store->sql);
    int row = -1;
    if (db_query_init(&q, store->sql,
                      "SELECT " PATCH_COLUMNS " FROM patches"
                      " WHERE id BETWEEN ? AND ? AND kept >= ? ORDER BY id",
                      error)) {
        db_bind_int(&q, slide_id ? db_patch_key(slide_id, 0) : 0);
        db_bind_int(&q, slide_id ? db_patch_key(slide_id + 1, 0) - 1 : INT64_MAX);
        db_bind_int(&q, kept_only);
        while ((row = db_query_step(&q, error)) == 1) {
            db_patch patch;
            read_patch(&q, &patch);
            g_array_append_val(list, patch);
        }
    }
    db_sql_unlock(store->sql);
    if (row == 0)
        return list;
    g_array_unref(list);
    return NULL;
}

/* Reads one blob into the thread's scratch and verifies it; NULL on error. */
static const uint8_t *read_blob(db_store *store, const db_patch *p, bool label, size_t bound,
                                GError **error)
{
    int64_t offset = label ? p->label_offset : p->offset, n = label ? p->label_n_bytes : p->n_bytes;
    uint64_t expected = label ? p->label_checksum : p->checksum;
    if (offset < 0 || n <= 0 || (uint64_t)n > bound) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: slide %" G_GINT64_FORMAT " cell %" G_GINT64_FORMAT
                    ": %s of %" G_GINT64_FORMAT " bytes at %" G_GINT64_FORMAT " is impossible",
                    store->dir, p->slide_id, p->cell, label ? "a label" : "an image", n, offset);
        return NULL;
    }
    uint8_t *data = db_thread_scratch(bound);
    if (!db_packs_read(store->packs, p->slide_id, offset, data, (size_t)n, error))
        return NULL;
    if (db_checksum(data, (size_t)n) == expected)
        return data;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "%s: slide %" G_GINT64_FORMAT " cell %" G_GINT64_FORMAT
                ": the %s's bytes do not match "
                "their checksum; the pack is damaged (quadslide check lists what is)",
                store->dir, p->slide_id, p->cell, label ? "label" : "image");
    return NULL;
}

bool db_patch_read(db_store *store, const db_patch *patch, uint8_t *rgb, uint8_t *label,
                   GError **error)
{
    int px = store->config.patch_px;
    size_t bound = db_format_bound(px);
    if (!patch->kept) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: slide %" G_GINT64_FORMAT " cell %" G_GINT64_FORMAT
                    " was not kept (%s), it has no "
                    "pixels",
                    store->dir, patch->slide_id, patch->cell, patch->reason);
        return false;
    }
    if (rgb) {
        const uint8_t *data = read_blob(store, patch, false, bound, error);
        if (!data ||
            !db_format_decode_image(patch->format, data, (size_t)patch->n_bytes, px, rgb, error)) {
            g_prefix_error(error, "%s: ", store->dir);
            return false;
        }
    }
    if (label && !patch->has_label) {
        memset(label, QS_CLASS_IGNORE, (size_t)px * (size_t)px);
    } else if (label) {
        const uint8_t *data = read_blob(store, patch, true, bound, error);
        if (!data || !db_format_decode_label(data, (size_t)patch->label_n_bytes, px, label, error))
            return false;
    }
    return true;
}
