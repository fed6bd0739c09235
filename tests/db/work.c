#include "tests/db/work.h"

#include "base/file.h"
#include "tests/db/disk.h"

#include <string.h>

int64_t work_pack(const work_promise *p)
{
    return p->created | p->slides << 1 | p->cells[0] << 4 | p->cells[1] << 12 | p->metrics << 20;
}

work_promise work_unpack(int64_t mark)
{
    int m = mark < 0 ? 0 : (int)mark;
    return (work_promise){m & 1, m >> 1 & 7, {m >> 4 & 255, m >> 12 & 255}, m >> 20};
}

static void promised(const work_promise *promise)
{
    disk_mark(work_pack(promise));
}

static bool put_slides(db_store *store, int64_t ids[2], work_promise *promise, GError **error)
{
    for (int i = 0; i < 2; i++) {
        db_slide slide;
        fix_slide(&slide, i ? "second" : "first", WORK_CELLS);
        bool ok = db_slide_put(store, &slide, error);
        ids[i] = slide.id;
        db_slide_clear(&slide);
        if (!ok)
            return false;
        promise->slides = MAX(promise->slides, i + 1);
        promised(promise);
    }
    return true;
}

/* Cells up to end, a commit every third, finished when they are all there. */
static bool write_cells(db_store *store, int64_t slide_id, int end, int *cells,
                        work_promise *promise, GError **error)
{
    int64_t next = 0;
    db_writer *writer = db_writer_open(store, slide_id, &next, error);
    bool ok = writer != NULL;
    for (int64_t cell = next; ok && cell < end; cell++) {
        ok = fix_add(store, writer, slide_id, cell, error) &&
             (cell % 3 != 2 || db_writer_commit(writer, error));
        if (ok && cell % 3 == 2) {
            *cells = MAX(*cells, (int)cell + 1);
            promised(promise);
        }
    }
    if (ok && end == WORK_CELLS) {
        db_slide slide;
        fix_slide(&slide, slide_id == 1 ? "first" : "second", WORK_CELLS);
        slide.id = slide_id;
        ok = db_writer_finish(writer, &slide, error);
        db_slide_clear(&slide);
    } else if (ok) {
        ok = db_writer_commit(writer, error);
    }
    if (ok) {
        *cells = MAX(*cells, end);
        promised(promise);
    }
    db_writer_close(writer);
    return ok;
}

static bool log_metrics(db_store *store, work_promise *promise, GError **error)
{
    db_run run = {
        .kind = g_strdup("train"), .name = g_strdup("life"), .state = g_strdup("running")};
    const char *names[] = {"loss", "dsc"}, *units[] = {"", ""};
    const double values[] = {0.5, 0.25};
    bool ok = db_run_begin(store, &run, error) &&
              db_metric_add_many(store, run.id, 1, names, values, units, 2, error);
    if (ok) {
        promise->metrics += 2;
        promised(promise);
    }
    ok = ok && db_run_end(store, run.id, "done", error);
    db_run_clear(&run);
    return ok;
}

/* Bytes past the committed end, as a killed writer leaves them. */
static bool leave_strays(const char *dir, int64_t slide_id, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/packs/%06d.pack", dir, (int)slide_id);
    qs_file *file = qs_file_open(path, QS_FILE_UPDATE, error);
    if (!file)
        return false;
    int64_t size = qs_file_size(file, error);
    bool ok = size >= 0 && qs_file_write_at(file, size, "stray bytes of a batch", 22, error);
    return qs_file_close(file, ok ? error : NULL) && ok;
}

bool work_run(const char *dir, work_promise *promise, GError **error)
{
    db_store_config config;
    fix_config(&config, DB_CODEC_ZSTD);
    db_store *store = db_store_create(dir, &config, error);
    db_store_config_clear(&config);
    if (!store)
        return false;
    promise->created = 1;
    promised(promise);
    int64_t ids[2];
    bool ok = put_slides(store, ids, promise, error) &&
              write_cells(store, ids[0], 5, &promise->cells[0], promise, error) &&
              write_cells(store, ids[1], 4, &promise->cells[1], promise, error) &&
              log_metrics(store, promise, error) && leave_strays(dir, ids[0], error);
    db_store_close(store);
    store = ok ? db_store_open(dir, false, error) : NULL;
    ok = store && write_cells(store, ids[0], WORK_CELLS, &promise->cells[0], promise, error) &&
         db_damage_add(store, ids[0], 1, 2, 3, 4, "unreadable", error) &&
         write_cells(store, ids[1], WORK_CELLS, &promise->cells[1], promise, error);
    db_store_close(store);
    return ok;
}

static char *verify_metrics(db_store *store, int promised_metrics)
{
    GArray *runs = db_run_list(store, NULL);
    int n = 0;
    for (guint i = 0; runs && i < runs->len; i++)
        n += (int)g_array_index(runs, db_run, i).n_metrics;
    g_clear_pointer(&runs, g_array_unref);
    return n >= promised_metrics
               ? NULL
               : g_strdup_printf("%d metrics are there, %d were committed", n, promised_metrics);
}

/* The slide goes on at the right cell, and what is added then is there too. */
static char *write_on(db_store *store, int64_t slide_id, int64_t found)
{
    GError *error = NULL;
    int64_t next = -1;
    db_writer *writer = db_writer_open(store, slide_id, &next, &error);
    char *wrong = NULL;
    if (writer && next != found)
        wrong = g_strdup_printf("resume at cell %d, but %d cells are there", (int)next, (int)found);
    else if (writer && next < WORK_CELLS && fix_add(store, writer, slide_id, next, &error) &&
             db_writer_commit(writer, &error))
        wrong = fix_verify(store, slide_id, next + 1, NULL);
    db_writer_close(writer);
    if (error) {
        g_free(wrong);
        wrong = g_strdup_printf("writing on: %s", error->message);
        g_error_free(error);
    }
    return wrong;
}

char *work_verify(const char *dir, const work_promise *promise)
{
    GError *error = NULL;
    db_store_config config;
    fix_config(&config, DB_CODEC_ZSTD);
    db_store *store = promise->created ? db_store_open(dir, false, &error)
                                       : db_store_create(dir, &config, &error);
    db_store_config_clear(&config);
    if (!store) {
        char *text = g_strdup_printf("the store does not open: %s", error->message);
        g_error_free(error);
        return text;
    }
    GArray *slides = db_slide_list(store, NULL);
    int n_slides = slides ? (int)slides->len : -1;
    g_clear_pointer(&slides, g_array_unref);
    char *wrong = n_slides >= promise->slides ? verify_metrics(store, promise->metrics)
                                              : g_strdup("a slide's row is lost");
    if (!wrong && n_slides == 0) {
        g_autofree char *check = fix_check(store);
        wrong = *check ? g_steal_pointer(&check) : NULL;
    }
    for (int i = 0; !wrong && i < n_slides; i++) {
        int64_t found = 0;
        wrong = fix_verify(store, i + 1, promise->cells[i], &found);
        if (!wrong)
            wrong = write_on(store, i + 1, found);
    }
    db_store_close(store);
    return wrong;
}
