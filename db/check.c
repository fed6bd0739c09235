/* Verifies a store: everything that a kill, a bad disk or a wrong hand could have broken, found
 * before a training run stumbles over it. Damage is a line in the report; only what keeps the check
 * itself from going on (no memory, a stop request) is an error. One read transaction spans it, so a
 * store that is being written is checked as it was at the start. */
#include "db/store_priv.h"

#include "base/file.h"

#include <string.h>
#include <sys/stat.h>

enum { PROBLEMS_MAX = 1000 }; /* a lost disk has millions; the first thousand say what is wrong */

typedef struct {
    db_store *store;
    const qs_progress *progress;
    db_check_report *report;
    int64_t n_blobs_total;
} checker;

void db_check_report_clear(db_check_report *report)
{
    g_clear_pointer(&report->problems, g_ptr_array_unref);
}

G_GNUC_PRINTF(2, 3) static void problem(checker *c, const char *format, ...)
{
    if (c->report->problems->len > PROBLEMS_MAX)
        return;
    if (c->report->problems->len == PROBLEMS_MAX) {
        g_ptr_array_add(c->report->problems,
                        g_strdup("… and more; only the first 1000 are listed"));
        return;
    }
    va_list args;
    va_start(args, format);
    g_ptr_array_add(c->report->problems, g_strdup_vprintf(format, args));
    va_end(args);
}

/* A failed read of the index is damage like any other. */
static void problem_error(checker *c, GError **error)
{
    problem(c, "%s", (*error)->message);
    g_clear_error(error);
}

static void check_index(checker *c)
{
    GError *error = NULL;
    db_query q;
    int row = -1;
    if (db_query_init(&q, c->store->sql, "PRAGMA integrity_check(100)", &error))
        while ((row = db_query_step(&q, &error)) == 1) {
            const char *line = db_peek_text(&q);
            if (strcmp(line, "ok") != 0)
                problem(c, "index.db: %s", line);
        }
    if (row < 0)
        problem_error(c, &error);
    row = -1;
    if (db_query_init(&q, c->store->sql, "PRAGMA foreign_key_check", &error))
        while ((row = db_query_step(&q, &error)) == 1) {
            g_autofree char *table = db_read_text(&q);
            int64_t id = db_read_int(&q);
            problem(c, "index.db: row %" G_GINT64_FORMAT " of %s belongs to no %s", id, table,
                    db_peek_text(&q));
        }
    if (row < 0)
        problem_error(c, &error);
}

static void check_config(checker *c)
{
    GError *error = NULL;
    g_autofree char *n = db_sql_text(c->store->sql, "SELECT count(*) FROM store", &error);
    if (error)
        problem_error(c, &error);
    else if (g_strcmp0(n, "1") != 0)
        problem(c, "index.db: %s configurations where one belongs", n);
}

/* A row's own numbers; what they say of other rows is check_place's. */
static void check_row(checker *c, const db_slide *s, const db_patch *p)
{
    int px = c->store->config.patch_px;
    const char *wrong = NULL;
    int64_t n_class = p->ignore_px;
    bool foreign_class = false;
    for (int k = 0; k < QS_CLASSES_MAX; k++) {
        n_class += p->class_px[k];
        if (p->class_px[k] < 0 || (k >= c->store->config.classes.n && p->class_px[k] != 0))
            foreign_class = true;
    }
    if (foreign_class)
        wrong = "pixels of a class that the store does not have";
    else if (p->id != db_patch_key(s->id, p->cell) || p->slide_id != s->id)
        wrong = "its key is not that of its slide and cell";
    else if (s->n_cells >= 0 && p->cell >= s->n_cells)
        wrong = "the cell lies outside the slide's grid";
    else if (p->valid_w < 0 || p->valid_w > px || p->valid_h < 0 || p->valid_h > px)
        wrong = "the valid part is larger than a patch";
    else if (n_class > (int64_t)px * px || p->ignore_px < 0)
        wrong = "more class pixels than a patch has";
    else if (p->kept != (p->n_bytes > 0) || p->kept != (p->format != DB_FORMAT_NONE))
        wrong = p->kept ? "it is kept but has no image" : "it is not kept but has an image";
    else if ((p->kept && p->has_label) != (p->label_n_bytes > 0))
        wrong = p->has_label ? "it has a label but no label bytes" : "label bytes without a label";
    if (wrong)
        problem(c, "slide %s, cell %" G_GINT64_FORMAT ": %s", s->name, p->cell, wrong);
}

/* Blobs lie in the pack in cell order without overlap, inside the committed size. */
static bool check_place(checker *c, const db_slide *s, const db_patch *p, const char *what,
                        int64_t offset, int64_t n, int64_t pack_bytes, int64_t *end)
{
    if (n == 0)
        return false;
    if (offset < 0 || n < 0 || n > pack_bytes || offset > pack_bytes - n) {
        problem(c,
                "slide %s, cell %" G_GINT64_FORMAT ": %s at %" G_GINT64_FORMAT "+%" G_GINT64_FORMAT
                " lies outside the pack's %" G_GINT64_FORMAT " committed bytes",
                s->name, p->cell, what, offset, n, pack_bytes);
        return false;
    }
    if (offset < *end)
        problem(c,
                "slide %s, cell %" G_GINT64_FORMAT ": %s at %" G_GINT64_FORMAT
                " overlaps what ends at %" G_GINT64_FORMAT,
                s->name, p->cell, what, offset, *end);
    *end = MAX(*end, offset + n);
    return true;
}

static void check_blob(checker *c, const db_slide *s, const db_patch *p, const char *what,
                       int64_t offset, int64_t n, uint64_t sum)
{
    GError *error = NULL;
    uint8_t *data = db_thread_scratch((size_t)n);
    if (!db_packs_read(c->store->packs, s->id, offset, data, (size_t)n, &error)) {
        g_prefix_error(&error, "slide %s, cell %" G_GINT64_FORMAT ": %s: ", s->name, p->cell, what);
        problem_error(c, &error);
    } else if (db_checksum(data, (size_t)n) != sum) {
        problem(c, "slide %s, cell %" G_GINT64_FORMAT ": %s does not match its checksum", s->name,
                p->cell, what);
    }
    c->report->n_blobs++;
    c->report->n_bytes += n;
    qs_progress_update(c->progress, "check", c->report->n_blobs, c->n_blobs_total, s->name);
}

static int64_t committed_size(checker *c, const db_slide *s, GError **error)
{
    db_query q;
    if (!db_query_init(&q, c->store->sql, "SELECT pack_bytes FROM slides WHERE id = ?", error))
        return -1;
    db_bind_int(&q, s->id);
    if (db_query_step(&q, error) != 1)
        return -1;
    int64_t size = db_read_int(&q);
    db_query_end(&q);
    return size;
}

/* True when the pack is there and long enough to be read. */
static bool check_pack(checker *c, const db_slide *s, int64_t pack_bytes)
{
    if (pack_bytes == 0)
        return true;
    g_autofree char *path = db_pack_path(c->store->dir, s->id);
    struct stat st;
    if (stat(path, &st) != 0) {
        problem(c, "slide %s: its pack %s is missing", s->name, path);
        return false;
    }
    if (st.st_size < pack_bytes)
        problem(c,
                "slide %s: its pack %s has %" G_GINT64_FORMAT " bytes of %" G_GINT64_FORMAT
                " committed ones",
                s->name, path, (int64_t)st.st_size, pack_bytes);
    return true;
}

static void check_cells(checker *c, const db_slide *s, const GArray *patches)
{
    int64_t n = patches->len;
    for (guint i = 0; i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        if (p->cell != (int64_t)i) {
            problem(c, "slide %s: cell %u has no row, though cell %" G_GINT64_FORMAT " has one",
                    s->name, i, p->cell);
            return;
        }
    }
    if (s->state == DB_SLIDE_DONE && s->n_cells >= 0 && n != s->n_cells)
        problem(c,
                "slide %s: done, but %" G_GINT64_FORMAT " of its %" G_GINT64_FORMAT
                " cells have rows",
                s->name, n, s->n_cells);
}

static bool check_slide(checker *c, const db_slide *s, GError **error)
{
    GError *damage = NULL;
    int64_t pack_bytes = committed_size(c, s, &damage), end = 0;
    GArray *patches = pack_bytes >= 0 ? db_patch_list(c->store, s->id, false, &damage) : NULL;
    if (!patches) {
        if (damage)
            problem_error(c, &damage);
        return true;
    }
    check_cells(c, s, patches);
    bool readable = check_pack(c, s, pack_bytes), ok = true;
    for (guint i = 0; ok && i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        c->report->n_patches++;
        check_row(c, s, p);
        if (check_place(c, s, p, "image", p->offset, p->n_bytes, pack_bytes, &end) && readable)
            check_blob(c, s, p, "image", p->offset, p->n_bytes, p->checksum);
        if (check_place(c, s, p, "label", p->label_offset, p->label_n_bytes, pack_bytes, &end) &&
            readable)
            check_blob(c, s, p, "label", p->label_offset, p->label_n_bytes, p->label_checksum);
        ok = qs_stop_check(error);
    }
    g_array_unref(patches);
    return ok;
}

/* A pack that no slide owns is a sign of a foreign or restored index. */
static void check_strays(checker *c, const GArray *slides)
{
    g_autofree char *packs = g_build_filename(c->store->dir, "packs", NULL);
    GError *error = NULL;
    GDir *dir = g_dir_open(packs, 0, &error);
    if (!dir) {
        problem_error(c, &error);
        return;
    }
    GHashTable *known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < slides->len; i++) {
        g_autofree char *path = db_pack_path(c->store->dir, g_array_index(slides, db_slide, i).id);
        g_hash_table_add(known, g_path_get_basename(path));
    }
    const char *name;
    while ((name = g_dir_read_name(dir)))
        if (!g_hash_table_contains(known, name))
            problem(c, "packs/%s belongs to no slide", name);
    g_hash_table_destroy(known);
    g_dir_close(dir);
}

static bool check_all(checker *c, GError **error)
{
    check_index(c);
    check_config(c);
    GError *damage = NULL;
    g_autofree char *n = db_sql_text(
        c->store->sql, "SELECT sum((n_bytes > 0) + (label_n_bytes > 0)) FROM patches", &damage);
    c->n_blobs_total = n ? g_ascii_strtoll(n, NULL, 10) : 0;
    g_clear_error(&damage); /* the lists below meet the same damage and report it */
    GArray *slides = db_slide_list(c->store, &damage);
    if (!slides) {
        problem_error(c, &damage);
        return true;
    }
    bool ok = true;
    for (guint i = 0; ok && i < slides->len; i++) {
        c->report->n_slides++;
        ok = check_slide(c, &g_array_index(slides, db_slide, i), error);
    }
    if (ok)
        check_strays(c, slides);
    g_array_unref(slides);
    return ok;
}

bool db_store_check(db_store *store, const qs_progress *progress, db_check_report *report,
                    GError **error)
{
    *report = (db_check_report){.problems = g_ptr_array_new_with_free_func(g_free)};
    checker c = {.store = store, .progress = progress, .report = report};
    db_sql_lock(store->sql);
    bool ok = db_sql_exec(store->sql, "BEGIN", error) && check_all(&c, error);
    db_sql_rollback(store->sql);
    db_sql_unlock(store->sql);
    return ok;
}
