/* What the store costs: codecs, writing and reading patches, rows alone, and beside each the plain
 * disk doing the same bytes with the same syncs. One CSV line a measurement; A B A B …, medians.
 *
 *   bench_db [--dir D] [--patches N] [--rgb FILE]
 *
 * FILE: raw patches, n × 256 × 256 × 3 bytes, of real tissue; without it a tissue-like texture. */
#include "base/error.h"
#include "base/file.h"
#include "base/philox.h"
#include "db/store_priv.h"

#include <glib/gstdio.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PX = 256, PIXEL_BYTES = PX * PX * 3, N_IMAGES = 64, ROUNDS = 5 };

static uint8_t *images; /* N_IMAGES patches */
static int n_images = N_IMAGES;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void require(bool ok, GError *error)
{
    if (ok)
        return;
    fprintf(stderr, "bench_db: %s\n", error ? error->message : "failed");
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

static void line(const char *what, double value, const char *unit)
{
    printf("db,%s,%.6g,%s\n", what, value, unit);
}

/* Pink ground, darker spots, three bits of noise: about what 20x tissue compresses to. */
static void make_images(const char *file)
{
    images = g_malloc0((size_t)N_IMAGES * PIXEL_BYTES);
    if (file) {
        FILE *in = fopen(file, "rb");
        n_images = in ? (int)(fread(images, PIXEL_BYTES, N_IMAGES, in)) : 0;
        if (in)
            fclose(in);
        require(n_images > 0, NULL);
        return;
    }
    for (int n = 0; n < N_IMAGES; n++)
        for (int i = 0; i < PX * PX; i++) {
            int x = i % PX, y = i / PX;
            qs_philox4 r = qs_philox((uint64_t)n, (uint64_t)i, 0);
            double spot = sin(0.21 * x + n) * sin(0.19 * y) + 0.5 * sin(0.031 * (x + 2 * y));
            int dark = spot > 0.4 ? 90 : (int)(20 * spot);
            uint8_t *p = images + (size_t)n * PIXEL_BYTES + 3 * (size_t)i;
            int grain = (int)(r.v[0] & 7);
            p[0] = (uint8_t)(215 - dark + grain + (int)(r.v[1] & 3));
            p[1] = (uint8_t)(150 - dark + grain);
            p[2] = (uint8_t)(190 - dark / 2 + grain + (int)(r.v[2] & 3));
        }
}

static void bench_codec(const db_store_config *config, const char *name)
{
    double enc[ROUNDS], dec[ROUNDS];
    size_t bytes = 0;
    uint8_t *back = g_malloc(PIXEL_BYTES);
    GError *error = NULL;
    db_blob blob = {0};
    for (int r = 0; r < ROUNDS; r++) {
        enc[r] = dec[r] = 0;
        bytes = 0;
        for (int i = 0; i < n_images; i++) {
            double t0 = now();
            require(db_encode_image(config, images + (size_t)i * PIXEL_BYTES, PX, &blob, &error),
                    error);
            double t1 = now();
            require(
                db_format_decode_image(db_format_of(config), blob.data, blob.n, PX, back, &error),
                error);
            enc[r] += t1 - t0;
            dec[r] += now() - t1;
            bytes += blob.n;
        }
    }
    double mb = (double)n_images * PIXEL_BYTES / 1e6;
    g_autofree char *e = g_strdup_printf("encode %s", name),
                    *d = g_strdup_printf("decode %s", name), *q = g_strdup_printf("ratio %s", name);
    line(e, mb / median(enc), "MB/s of pixels");
    line(d, mb / median(dec), "MB/s of pixels");
    line(q, (double)n_images * PIXEL_BYTES / (double)bytes, "");
    db_blob_clear(&blob);
    g_free(back);
}

static void remove_store(const char *dir)
{
    static const char *const names[] = {"packs/000001.pack", "packs", "index.db", "index.db-wal",
                                        "index.db-shm"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(dir, names[i], NULL);
        g_remove(path);
    }
    g_rmdir(dir);
}

static db_store *make_store(const char *dir, const db_store_config *config)
{
    GError *error = NULL;
    remove_store(dir);
    db_store *store = db_store_create(dir, config, &error);
    require(store != NULL, error);
    db_slide slide = {.name = g_strdup("bench"), .path = g_strdup("/bench"), .n_cells = -1};
    require(db_slide_put(store, &slide, &error), error);
    db_slide_clear(&slide);
    return store;
}

/* Writes n cells; blob NULL: rows only. Returns seconds until all is committed. */
static double write_cells(db_store *store, const db_blob *blobs, int n)
{
    GError *error = NULL;
    int64_t next = 0;
    double t0 = now();
    db_writer *writer = db_writer_open(store, 1, &next, &error);
    require(writer != NULL, error);
    for (int cell = 0; cell < n; cell++) {
        db_patch patch = {.cell = cell, .kept = blobs != NULL, .valid_w = PX, .valid_h = PX};
        if (!blobs)
            g_strlcpy(patch.reason, "tissue", sizeof patch.reason);
        require(db_writer_add(writer, &patch, blobs ? &blobs[cell % n_images] : NULL, NULL, &error),
                error);
    }
    require(db_writer_commit(writer, &error), error);
    db_writer_close(writer);
    return now() - t0;
}

/* The same bytes in the same batches, each synced: what no store can beat. */
static double write_plain(const char *dir, const db_blob *blobs, int n)
{
    GError *error = NULL;
    g_autofree char *path = g_build_filename(dir, "packs", "000001.pack", NULL);
    uint8_t *batch = g_malloc(DB_WRITER_BATCH_BYTES + 2 * (size_t)PIXEL_BYTES);
    size_t fill = 0;
    int64_t at = 0;
    double t0 = now();
    qs_file *file = qs_file_open(path, QS_FILE_CREATE, &error);
    require(file != NULL, error);
    for (int cell = 0; cell < n; cell++) {
        memcpy(batch + fill, blobs[cell % n_images].data, blobs[cell % n_images].n);
        fill += blobs[cell % n_images].n;
        if ((cell + 1) % DB_WRITER_BATCH && fill < DB_WRITER_BATCH_BYTES && cell + 1 < n)
            continue;
        require(qs_file_write_at(file, at, batch, fill, &error) && qs_file_sync(file, &error),
                error);
        at += (int64_t)fill;
        fill = 0;
    }
    qs_file_close(file, NULL);
    g_free(batch);
    return now() - t0;
}

typedef struct {
    db_store *store;
    GArray *list;
    guint first, step;
} reader;

static gpointer read_some(gpointer data)
{
    reader *r = data;
    uint8_t *rgb = g_malloc(PIXEL_BYTES);
    for (guint i = r->first; i < r->list->len; i += r->step) {
        GError *error = NULL;
        require(db_patch_read(r->store, &g_array_index(r->list, db_patch, i), rgb, NULL, &error),
                error);
    }
    g_free(rgb);
    return NULL;
}

static double read_cells(db_store *store, GArray *list, int n_threads)
{
    GThread *threads[4];
    reader readers[4];
    double t0 = now();
    for (int i = 0; i < n_threads; i++) {
        readers[i] = (reader){store, list, (guint)i, (guint)n_threads};
        threads[i] = g_thread_new("reader", read_some, &readers[i]);
    }
    for (int i = 0; i < n_threads; i++)
        g_thread_join(threads[i]);
    return now() - t0;
}

static void bench_store(const char *dir, const db_store_config *config, int n)
{
    GError *error = NULL;
    db_blob *blobs = g_new0(db_blob, n_images);
    double bytes = 0, stored[ROUNDS], plain[ROUNDS], rows[ROUNDS], one[ROUNDS], two[ROUNDS],
           list_s[ROUNDS], check[ROUNDS], ratio[ROUNDS];
    for (int i = 0; i < n_images; i++)
        require(db_encode_image(config, images + (size_t)i * PIXEL_BYTES, PX, &blobs[i], &error),
                error);
    for (int i = 0; i < n; i++)
        bytes += (double)blobs[i % n_images].n;
    for (int r = 0; r < ROUNDS; r++) {
        db_store *store = make_store(dir, config);
        plain[r] = write_plain(dir, blobs, n);
        db_store_close(store);
        store = make_store(dir, config);
        rows[r] = write_cells(store, NULL, 10 * n);
        db_store_close(store);
        store = make_store(dir, config);
        stored[r] = write_cells(store, blobs, n);
        ratio[r] = plain[r] / stored[r];
        double t0 = now();
        GArray *list = db_patch_list(store, 0, true, &error);
        list_s[r] = now() - t0;
        one[r] = read_cells(store, list, 1);
        two[r] = read_cells(store, list, 2);
        g_array_unref(list);
        db_check_report report;
        t0 = now();
        require(db_store_check(store, NULL, &report, &error) && report.problems->len == 0, error);
        check[r] = now() - t0;
        db_check_report_clear(&report);
        db_store_close(store);
    }
    remove_store(dir);
    double s = median(stored), p = median(plain);
    line("write patches", n / s, "rows/s");
    line("write patches", bytes / 1e6 / s, "MB/s");
    line("plain file with the same syncs", bytes / 1e6 / p, "MB/s");
    line("write: store / plain file", median(ratio), "ratio");
    line("write rows without pixels", 10 * n / median(rows), "rows/s");
    line("list patches", n / median(list_s), "rows/s");
    line("read and decode, 1 thread", n / median(one), "patches/s");
    line("read and decode, 2 threads", n / median(two), "patches/s");
    line("check", bytes / 1e6 / median(check), "MB/s");
    for (int i = 0; i < n_images; i++)
        db_blob_clear(&blobs[i]);
    g_free(blobs);
}

int main(int argc, char **argv)
{
    const char *dir = "bench-store.tmp", *file = NULL;
    int n = 2000;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--dir"))
            dir = argv[i + 1];
        else if (!strcmp(argv[i], "--patches"))
            n = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--rgb"))
            file = argv[i + 1];
    }
    if (n < 1 || argc % 2 == 0) {
        fprintf(stderr, "usage: bench_db [--dir D] [--patches N] [--rgb FILE]\n");
        return 2;
    }
    make_images(file);
    db_store_config config = {.patch_px = PX, .stride_px = PX, .level0 = true, .jpeg_quality = 90};
    qs_classes_init_n(&config.classes, 2);
    printf("room,what,value,unit\n");
    bench_codec(&config, "zstd");
    config.codec = DB_CODEC_JPEG;
    bench_codec(&config, "jpeg q90");
    config.codec = DB_CODEC_ZSTD;
    bench_store(dir, &config, n);
    g_free(images);
    return 0;
}
