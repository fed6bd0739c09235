/* Appends a slide's patches: blobs to its pack, rows to the index, in batches.
 *
 *   add → rows and encoded bytes gather in memory
 *   commit → 1. one large write past the committed end of the pack
 *            2. sync of the pack
 *            3. one transaction: the rows, and the pack's new committed size
 *
 * A kill or a power cut before 3 leaves bytes past the committed size, which the next writer, once
 * it holds the pack's lock, cuts off; after 3 everything that the rows point at is on disk. A new
 * pack's folder entry is synced before the first row, also when the file was found empty: whoever
 * made it may not have lived to do so.
 *
 * After an error a writer only refuses (what a failed sync left in the page cache is unknowable):
 * close it and open another, which starts from the last commit. */
#include "db/store_priv.h"

#include "base/file.h"

#include <string.h>

struct db_writer {
    db_store *store;
    int64_t slide_id;
    qs_file *pack;
    int64_t committed; /* bytes of the pack that rows may point at */
    int64_t next_cell; /* smallest cell that may be added */
    GArray *rows;      /* of db_patch, not yet committed */
    uint8_t *bytes;    /* their blobs, to lie at `committed` */
    size_t n_bytes, capacity;
    bool failed;
};

static bool sticky_ok(const db_writer *writer, GError **error)
{
    if (!writer->failed)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_IO,
                "%s: slide %" G_GINT64_FORMAT
                ": an earlier write failed; open the slide again, it goes on "
                "after the last committed cell",
                writer->store->dir, writer->slide_id);
    return false;
}

/* Committed size and next cell, read after the pack's lock is held: no other writer can move them.
 */
static bool read_place(db_writer *writer, GError **error)
{
    db_sql *sql = writer->store->sql;
    db_query q;
    db_sql_lock(sql);
    int row = -1;
    if (db_query_init(&q, sql,
                      "SELECT pack_bytes, (SELECT max(id) FROM patches WHERE id BETWEEN ?2 AND ?3)"
                      " FROM slides WHERE id = ?1",
                      error)) {
        db_bind_int(&q, writer->slide_id);
        db_bind_int(&q, db_patch_key(writer->slide_id, 0));
        db_bind_int(&q, db_patch_key(writer->slide_id + 1, 0) - 1);
        row = db_query_step(&q, error);
        if (row == 1) {
            writer->committed = db_read_int(&q);
            int64_t last = db_read_int(&q);
            writer->next_cell = last == 0 ? 0 : last - db_patch_key(writer->slide_id, 0) + 1;
            db_query_end(&q);
        }
    }
    db_sql_unlock(sql);
    if (row == 0)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "%s: there is no slide %" G_GINT64_FORMAT,
                    writer->store->dir, writer->slide_id);
    return row == 1;
}

static bool cut_pack(db_writer *writer, GError **error)
{
    int64_t size = qs_file_size(writer->pack, error);
    if (size < 0)
        return false;
    if (size < writer->committed) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: the pack of slide %" G_GINT64_FORMAT " has %" G_GINT64_FORMAT
                    " bytes, its patches need %" G_GINT64_FORMAT
                    ": the file was shortened or replaced; restore it or tile into a new store",
                    writer->store->dir, writer->slide_id, size, writer->committed);
        return false;
    }
    return size == writer->committed || qs_file_truncate(writer->pack, writer->committed, error);
}

db_writer *db_writer_open(db_store *store, int64_t slide_id, int64_t *next_cell, GError **error)
{
    if (!db_store_need_write(store, error))
        return NULL;
    db_writer *writer = g_new0(db_writer, 1);
    writer->store = store;
    writer->slide_id = slide_id;
    writer->rows = g_array_sized_new(FALSE, FALSE, sizeof(db_patch), DB_WRITER_BATCH);
    g_autofree char *path = db_pack_path(store->dir, slide_id);
    g_autofree char *packs = g_build_filename(store->dir, "packs", NULL);
    /* The slide is looked up first, so that a wrong id leaves no file behind, and again under the
     * lock. */
    if (!read_place(writer, error))
        goto fail;
    writer->pack = qs_file_open(path, QS_FILE_UPDATE, error);
    if (!writer->pack || !qs_file_lock(writer->pack, error) || !read_place(writer, error) ||
        !cut_pack(writer, error))
        goto fail;
    if (writer->committed == 0 && !qs_dir_sync(packs, error))
        goto fail;
    *next_cell = writer->next_cell;
    return writer;
fail:
    db_writer_close(writer);
    return NULL;
}

void db_writer_close(db_writer *writer)
{
    if (!writer)
        return;
    qs_file_close(writer->pack, NULL);
    g_array_unref(writer->rows);
    g_free(writer->bytes);
    g_free(writer);
}

static bool patch_valid(const db_writer *writer, const db_patch *p, const db_blob *image,
                        const db_blob *label, GError **error)
{
    const char *wrong = NULL;
    if (p->cell < writer->next_cell || p->cell >= DB_CELLS_PER_SLIDE)
        wrong = "cells must be added in rising order";
    else if (p->kept != (image != NULL && image->n > 0))
        wrong = "a kept patch has an image, another has none";
    else if ((p->kept && p->has_label) != (label != NULL && label->n > 0))
        wrong = "a kept patch with a label has one, another has none";
    else if ((p->reason[0] == '\0') != p->kept || !memchr(p->reason, '\0', sizeof p->reason))
        wrong = "a patch that is not kept has a reason, a kept one has none";
    if (!wrong)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "%s: slide %" G_GINT64_FORMAT ", cell %" G_GINT64_FORMAT
                " (next is %" G_GINT64_FORMAT "): %s",
                writer->store->dir, writer->slide_id, p->cell, writer->next_cell, wrong);
    return false;
}

/* Appends a blob to the batch; sets where it will lie. */
static void append_blob(db_writer *writer, const db_blob *blob, int64_t *offset, int64_t *n,
                        uint64_t *sum)
{
    *offset = *n = 0;
    *sum = 0;
    if (!blob || blob->n == 0)
        return;
    if (writer->n_bytes + blob->n > writer->capacity) {
        writer->capacity = MAX(2 * writer->capacity, writer->n_bytes + blob->n + ((size_t)1 << 20));
        writer->bytes = g_realloc(writer->bytes, writer->capacity);
    }
    memcpy(writer->bytes + writer->n_bytes, blob->data, blob->n);
    *offset = writer->committed + (int64_t)writer->n_bytes;
    *n = (int64_t)blob->n;
    *sum = db_checksum(blob->data, blob->n);
    writer->n_bytes += blob->n;
}

bool db_writer_add(db_writer *writer, db_patch *patch, const db_blob *image, const db_blob *label,
                   GError **error)
{
    if (!sticky_ok(writer, error) || !patch_valid(writer, patch, image, label, error))
        return false;
    patch->slide_id = writer->slide_id;
    patch->id = db_patch_key(writer->slide_id, patch->cell);
    patch->format = !patch->kept    ? DB_FORMAT_NONE
                    : image->format ? image->format
                                    : db_format_of(&writer->store->config);
    append_blob(writer, image, &patch->offset, &patch->n_bytes, &patch->checksum);
    append_blob(writer, label, &patch->label_offset, &patch->label_n_bytes, &patch->label_checksum);
    g_array_append_val(writer->rows, *patch);
    writer->next_cell = patch->cell + 1;
    if (writer->rows->len < DB_WRITER_BATCH && writer->n_bytes < DB_WRITER_BATCH_BYTES)
        return true;
    return db_writer_commit(writer, error);
}

static bool move_committed(db_writer *writer, int64_t size, GError **error)
{
    db_query q;
    if (!db_query_init(
            &q, writer->store->sql,
            "UPDATE slides SET pack_bytes = ?,"
            " state = CASE state WHEN 'pending' THEN 'tiling' ELSE state END WHERE id = ?",
            error))
        return false;
    db_bind_int(&q, size);
    db_bind_int(&q, writer->slide_id);
    return db_query_run(&q, error);
}

static bool transact(db_writer *writer, const db_slide *done, GError **error)
{
    db_sql *sql = writer->store->sql;
    int64_t size = writer->committed + (int64_t)writer->n_bytes;
    db_sql_lock(sql);
    bool begun = db_sql_begin(sql, error), ok = begun;
    for (guint i = 0; ok && i < writer->rows->len; i++)
        ok = db_patch_insert(writer->store, &g_array_index(writer->rows, db_patch, i), error);
    ok = ok && move_committed(writer, size, error);
    ok = ok && (!done || db_slide_write(writer->store, done, DB_SLIDE_DONE, error));
    if (ok)
        ok = db_sql_commit(sql, error);
    else if (begun)
        db_sql_rollback(sql);
    db_sql_unlock(sql);
    return ok;
}

static bool commit(db_writer *writer, const db_slide *done, GError **error)
{
    if (!sticky_ok(writer, error))
        return false;
    if (writer->rows->len == 0 && !done)
        return true;
    bool ok = writer->n_bytes == 0 || (qs_file_write_at(writer->pack, writer->committed,
                                                        writer->bytes, writer->n_bytes, error) &&
                                       qs_file_sync(writer->pack, error));
    ok = ok && transact(writer, done, error);
    if (!ok) {
        writer->failed = true;
        return false;
    }
    writer->committed += (int64_t)writer->n_bytes;
    writer->n_bytes = 0;
    g_array_set_size(writer->rows, 0);
    return true;
}

bool db_writer_commit(db_writer *writer, GError **error)
{
    return commit(writer, NULL, error);
}

bool db_writer_finish(db_writer *writer, const db_slide *slide, GError **error)
{
    if (slide->id == writer->slide_id)
        return commit(writer, slide, error);
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "%s: the writer of slide %" G_GINT64_FORMAT " was given slide %" G_GINT64_FORMAT,
                writer->store->dir, writer->slide_id, slide->id);
    return false;
}
