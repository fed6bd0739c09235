/* Pixels in and out: codecs, checksums, many threads, more packs than file handles, no allocation.
 */
#include "tests/db/fixture.h"

#include "base/philox.h"
#include "db/filter.h"
#include "db/store_priv.h"

#include <math.h>
#include <stdio.h>

/* ---- counting allocations ------------------------------------------------------------------ */
/* glibc lets a program bring its own malloc; a sanitizer already has, so there nothing is counted.
 */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNT_ALLOCATIONS 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
static _Thread_local int n_allocations;
void *malloc(size_t n)
{
    n_allocations++;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
    n_allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    n_allocations++;
    return __libc_realloc(p, n);
}
#endif

/* ---- codecs ---------------------------------------------------------------------------------- */

enum { N_KINDS = 4 };
/* Tissue-like, noise, black, a ramp that wraps. */
static void make_image(int kind, int px, uint64_t seed, uint8_t *rgb)
{
    for (int i = 0; i < px * px * 3; i++) {
        uint32_t r = qs_philox(seed, (uint64_t)i, (uint64_t)kind).v[0];
        int x = i / 3 % px, y = i / 3 / px, c = i % 3;
        double wave = 30 * sin(0.05 * x + c) + 20 * sin(0.08 * y);
        rgb[i] = kind == 0   ? (uint8_t)(170 + (c == 1 ? -50 : 0) + wave + (int)(r & 7))
                 : kind == 1 ? (uint8_t)r
                 : kind == 2 ? 0
                             : (uint8_t)(i * 7 + y);
    }
}

static void test_lossless(void)
{
    static const int sizes[] = {1, 2, 7, 16, 33, 256, 300};
    db_store_config c;
    fix_config(&c, DB_CODEC_ZSTD);
    db_blob blob = {0};
    for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            int px = sizes[s];
            size_t n = 3 * (size_t)px * (size_t)px;
            GError *error = NULL;
            uint8_t *rgb = g_malloc(n), *back = g_malloc0(n);
            make_image(kind, px, 1, rgb);
            g_assert_true(db_encode_image(&c, rgb, px, &blob, &error));
            g_assert_cmpuint(blob.n, <=, db_format_bound(px));
            g_assert_true(
                db_format_decode_image(db_format_of(&c), blob.data, blob.n, px, back, &error));
            g_assert_cmpmem(rgb, n, back, n);
            db_filter_fwd(rgb, px, back);
            uint8_t *again = g_malloc(n);
            db_filter_bwd(back, px, again);
            g_assert_cmpmem(rgb, n, again, n);
            /* Rows of the plain format stay readable. */
            db_blob plain = {0};
            g_assert_true(db_encode_label(rgb, px, &plain, &error));
            g_assert_true(db_format_decode_label(plain.data, plain.n, px, again, &error));
            g_assert_cmpmem(rgb, (size_t)px * px, again, (size_t)px * px);
            db_blob_clear(&plain);
            g_free(rgb);
            g_free(back);
            g_free(again);
        }
    uint8_t *data = blob.data;
    size_t capacity = blob.capacity;
    uint8_t small[3] = {1, 2, 3};
    g_assert_true(db_encode_image(&c, small, 1, &blob, NULL)); /* memory is used again */
    g_assert_true(blob.data == data && blob.capacity == capacity);
    db_blob_clear(&blob);
    g_assert_null(blob.data);
    db_store_config_clear(&c);
}

static void test_jpeg(void)
{
    enum { PX = 256 };
    db_store_config c;
    fix_config(&c, DB_CODEC_JPEG);
    uint8_t *rgb = g_malloc(PX * PX * 3), *back = g_malloc(PX * PX * 3);
    make_image(0, PX, 2, rgb);
    size_t last = 0;
    for (int quality = 50; quality <= 95; quality += 15) {
        GError *error = NULL;
        db_blob blob = {0};
        c.jpeg_quality = quality;
        g_assert_true(db_encode_image(&c, rgb, PX, &blob, &error));
        g_assert_true(db_format_decode_image(DB_FORMAT_JPEG, blob.data, blob.n, PX, back, &error));
        double sum = 0;
        for (int i = 0; i < PX * PX * 3; i++)
            sum += (rgb[i] - back[i]) * (rgb[i] - back[i]);
        double psnr = 10 * log10(255.0 * 255.0 * PX * PX * 3 / sum);
        g_assert_true(psnr >= 33); /* noise of 3 bits */
        g_assert_cmpuint(blob.n, >, last);
        last = blob.n;
        db_blob_clear(&blob);
    }
    g_free(rgb);
    g_free(back);
    db_store_config_clear(&c);
}

/* Whatever the bytes, an error and no crash. */
static void test_garbage(void)
{
    uint8_t bytes[600], rgb[16 * 16 * 3];
    for (int round = 0; round < 2000; round++) {
        GError *error = NULL;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)qs_philox((uint64_t)round, i, 3).v[0];
        db_store_config c;
        fix_config(&c, round % 2 ? DB_CODEC_JPEG : DB_CODEC_ZSTD);
        db_blob blob = {0};
        make_image(0, 16, (uint64_t)round, rgb);
        g_assert_true(db_encode_image(&c, rgb, 16, &blob, NULL));
        int format = db_format_of(&c);
        size_t n = MIN(sizeof bytes, blob.n);
        if (round % 3) { /* a true head, a false tail */
            size_t keep = blob.n / 2;
            memcpy(bytes, blob.data, MIN(keep, sizeof bytes));
            n = MIN(sizeof bytes, keep);
        }
        bool ok = db_format_decode_image(format, bytes, n, 16, rgb, &error);
        /* JPEG fills what is missing with grey and warns, which counts as an error here. */
        g_assert_false(ok);
        fix_assert_fails(error, QS_ERROR_FORMAT, format == DB_FORMAT_JPEG ? "JPEG" : "zstd");
        g_assert_false(db_format_decode_image(77, bytes, n, 16, rgb, &error));
        fix_assert_fails(error, QS_ERROR_UNSUPPORTED, "format 77");
        db_blob_clear(&blob);
        db_store_config_clear(&c);
    }
}

/* ---- reading -----------------------------------------------------------------------------------
 */

static void flip_byte(const char *dir, int64_t slide_id, int64_t offset)
{
    g_autofree char *path = db_pack_path(dir, slide_id);
    FILE *file = fopen(path, "r+b");
    g_assert_nonnull(file);
    fseek(file, (long)offset, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, (long)offset, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
}

static void test_read(void)
{
    g_autofree char *dir = fix_dir();
    GError *error = NULL;
    uint8_t rgb[FIX_PX * FIX_PX * 3], label[FIX_PX * FIX_PX], want[FIX_PX * FIX_PX * 3];
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    int64_t id = fix_put_slide(store, "s", 8);
    fix_fill(store, id, 0, 8, true);
    GArray *list = db_patch_list(store, id, false, &error);
    db_patch p = g_array_index(list, db_patch, 2); /* kept, without a label */
    memset(label, 1, sizeof label);
    g_assert_true(db_patch_read(store, &p, rgb, label, &error));
    for (size_t i = 0; i < sizeof label; i++)
        g_assert_cmpint(label[i], ==, QS_CLASS_IGNORE);
    p = g_array_index(list, db_patch, 1);
    g_assert_true(db_patch_read(store, &p, NULL, label, &error)); /* either alone */
    fix_label(id, 1, FIX_PX, want);
    g_assert_cmpmem(label, sizeof label, want, sizeof label);
    g_assert_true(db_patch_read(store, &p, rgb, NULL, &error));
    fix_rgb(id, 1, FIX_PX, want);
    g_assert_cmpmem(rgb, sizeof rgb, want, sizeof rgb);
    flip_byte(dir, id, p.offset + p.n_bytes - 1);
    g_assert_false(db_patch_read(store, &p, rgb, NULL, &error));
    fix_assert_fails(error, QS_ERROR_FORMAT, "checksum");
    g_assert_true(db_patch_read(store, &p, NULL, label, &error)); /* the label is whole */
    flip_byte(dir, id, p.label_offset);
    g_assert_false(db_patch_read(store, &p, NULL, label, &error));
    fix_assert_fails(error, QS_ERROR_FORMAT, "label");
    p.n_bytes = 1 << 30;
    g_assert_false(db_patch_read(store, &p, rgb, NULL, &error));
    fix_assert_fails(error, QS_ERROR_FORMAT, "impossible");
    p = g_array_index(list, db_patch, 0);
    p.offset = 1 << 20;
    g_assert_false(db_patch_read(store, &p, rgb, NULL, &error));
    fix_assert_fails(error, QS_ERROR_FORMAT, "missing");
    p = g_array_index(list, db_patch, 3);
    g_assert_false(db_patch_read(store, &p, rgb, NULL, &error));
    fix_assert_fails(error, QS_ERROR_ARG, "not kept (tissue)");
    p = g_array_index(list, db_patch, 0);
    p.slide_id = 77;
    g_assert_false(db_patch_read(store, &p, rgb, NULL, &error));
    fix_assert_fails(error, QS_ERROR_IO, "000077.pack");
    g_array_unref(list);
    db_store_close(store);
    fix_remove(dir);
}

typedef struct {
    db_store *store;
    GArray *list;
    int first, n_wrong, n_allocated;
} reader;

static gpointer read_all(gpointer data)
{
    reader *r = data;
    uint8_t rgb[FIX_PX * FIX_PX * 3], label[FIX_PX * FIX_PX], want[FIX_PX * FIX_PX * 3];
    guint n = r->list->len;
    for (guint i = 0; i < 2 * n; i++) {
        const db_patch *p = &g_array_index(r->list, db_patch, ((guint)r->first + i * 7) % n);
#ifdef COUNT_ALLOCATIONS
        int before = n_allocations;
#endif
        bool ok = db_patch_read(r->store, p, rgb, label, NULL);
#ifdef COUNT_ALLOCATIONS
        if (i > 0)
            r->n_allocated += n_allocations - before;
#endif
        fix_rgb(p->slide_id, p->cell, FIX_PX, want);
        r->n_wrong += !ok || memcmp(rgb, want, sizeof rgb) != 0;
    }
    return NULL;
}

/* 300 slides are more than the packs that are kept open, and several share a slot; four threads
 * read them in different orders. No allocation after a thread's first patch, which has a label. */
static void test_threads(void)
{
    g_autofree char *dir = fix_fast_dir();
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    enum { N_SLIDES = 300, N_THREADS = 4 };
    for (int i = 0; i < N_SLIDES; i++) {
        g_autofree char *name = g_strdup_printf("s%d", i);
        fix_fill(store, fix_put_slide(store, name, 2), 0, 2, false);
    }
    GArray *list = db_patch_list(store, 0, true, NULL);
    g_assert_cmpuint(list->len, ==, 2 * N_SLIDES);
    reader readers[N_THREADS];
    GThread *threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        readers[i] = (reader){store, list, i * 150, 0, 0};
        threads[i] = g_thread_new("reader", read_all, &readers[i]);
    }
    for (int i = 0; i < N_THREADS; i++) {
        g_thread_join(threads[i]);
        g_assert_cmpint(readers[i].n_wrong, ==, 0);
        g_assert_cmpint(readers[i].n_allocated, ==, 0);
    }
#ifdef COUNT_ALLOCATIONS
    int before = n_allocations; /* the counter counts */
    g_free(g_strdup("x"));
    g_assert_cmpint(n_allocations, >, before);
#else
    g_test_message("allocations are not counted under a sanitizer");
#endif
    g_array_unref(list);
    db_store_close(store);
    fix_remove(dir);
}

/* ---- writing from threads -------------------------------------------------------------------- */

enum { CELLS = 40, WRITERS = 4 };

typedef struct {
    db_store *store;
    int64_t slide_id;
    char *wrong; /* owned */
} writer_thread;

static gpointer write_slide(gpointer data)
{
    writer_thread *w = data;
    GError *error = NULL;
    int64_t next = 0;
    db_writer *writer = db_writer_open(w->store, w->slide_id, &next, &error);
    for (int64_t cell = 0; writer && !error && cell < CELLS; cell++)
        if (fix_add(w->store, writer, w->slide_id, cell, &error) && cell % 5 == 4)
            db_writer_commit(writer, &error);
    db_writer_close(writer);
    if (error)
        w->wrong = g_strdup(error->message);
    g_clear_error(&error);
    return NULL;
}

/* Slides written at once by threads of one store, while another thread reads and logs. */
static void test_writer_threads(void)
{
    g_autofree char *dir = fix_fast_dir();
    GError *error = NULL;
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    writer_thread w[WRITERS];
    GThread *threads[WRITERS];
    db_run run = {.kind = g_strdup("tile")};
    g_assert_true(db_run_begin(store, &run, &error));
    for (int i = 0; i < WRITERS; i++) {
        g_autofree char *name = g_strdup_printf("w%d", i);
        w[i] = (writer_thread){store, fix_put_slide(store, name, CELLS), NULL};
    }
    for (int i = 0; i < WRITERS; i++)
        threads[i] = g_thread_new("writer", write_slide, &w[i]);
    for (int i = 0; i < 20; i++) {
        g_assert_true(db_metric_add(store, run.id, i, "cells", i, "", 0, &error));
        GArray *list = db_patch_list(store, 0, true, &error);
        uint8_t rgb[FIX_PX * FIX_PX * 3], want[FIX_PX * FIX_PX * 3];
        if (list->len > 0) {
            const db_patch *p = &g_array_index(list, db_patch, list->len - 1);
            g_assert_true(db_patch_read(store, p, rgb, NULL, &error));
            fix_rgb(p->slide_id, p->cell, FIX_PX, want);
            g_assert_cmpmem(rgb, sizeof rgb, want, sizeof want);
        }
        g_array_unref(list);
    }
    for (int i = 0; i < WRITERS; i++) {
        g_thread_join(threads[i]);
        g_assert_cmpstr(w[i].wrong, ==, NULL);
        g_autofree char *wrong = fix_verify(store, w[i].slide_id, CELLS, NULL);
        g_assert_cmpstr(wrong, ==, NULL);
    }
    db_run_clear(&run);
    db_store_close(store);
    fix_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/db/codec/lossless", test_lossless);
    g_test_add_func("/db/codec/jpeg", test_jpeg);
    g_test_add_func("/db/codec/garbage", test_garbage);
    g_test_add_func("/db/read/patch", test_read);
    g_test_add_func("/db/read/threads", test_threads);
    g_test_add_func("/db/write/threads", test_writer_threads);
    return g_test_run();
}
