/* The tiler against OpenSlide alone, on the same patches of the same slide:
 *
 *   bench_tile [--patch 256] [--stride PATCH] [--rounds 3] [--threads 1,2] SLIDE…
 *
 * read         openslide_read_region and nothing else, one handle, threads taking the next patch
 * null         wsi_tile_run through OpenSlide: read, RGB, quality numbers, in-order delivery
 * zstd         the same with the store's lossless codec
 * direct-null  } the same by the reader that the program chooses itself
 * direct-zstd  }
 * With --stride 192 these are a predictor's windows (it measures and encodes nothing: null).
 * In each round they run in turn, so that a busy machine slows all. CSV on stdout, one line a
 * measurement (wall and processor seconds), then one line a comparison with the median ratios of
 * the rounds, wall and processor time (1.25 is the goal's limit for zstd). */
#include "db/store.h"
#include "wsi/tile/tile.h"

#include <openslide.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS_MAX = 32, N_MODES = 5 };

static const char *const mode_names[N_MODES] = {"read", "null", "zstd", "direct-null",
                                                "direct-zstd"};

typedef struct {
    const char *path;
    wsi_slide *slide;
    wsi_view view;
    wsi_grid grid;
    int patch, stride, n_threads;
    openslide_t *handle;
    gint next;
    db_store_config config;
} bench;

static double now(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

static double cpu(void)
{
    return (double)clock() / CLOCKS_PER_SEC; /* of all threads */
}

static void fail(GError *error)
{
    fprintf(stderr, "bench_tile: %s\n", error->message);
    exit(1);
}

static gpointer read_alone(gpointer user)
{
    bench *b = user;
    uint32_t *argb = g_new(uint32_t, (size_t)b->patch * (size_t)b->patch);
    for (int64_t cell; (cell = g_atomic_int_add(&b->next, 1)) < b->grid.n_cells;) {
        int64_t x, y;
        int w, h;
        wsi_grid_cell(&b->grid, &b->view, b->patch, b->stride, cell, &x, &y, &w, &h);
        openslide_read_region(b->handle, argb, x, y, 0, w, h);
    }
    g_free(argb);
    return NULL;
}

static double run_read(bench *b)
{
    b->handle = openslide_open(b->path); /* a fresh cache, as the tiler has */
    b->next = 0;
    double start = now();
    GThread *threads[64];
    for (int i = 0; i < b->n_threads; i++)
        threads[i] = g_thread_new("read", read_alone, b);
    for (int i = 0; i < b->n_threads; i++)
        g_thread_join(threads[i]);
    double seconds = now() - start;
    openslide_close(b->handle);
    return seconds;
}

static bool encode_null(void *user, const uint8_t *rgb, const uint8_t *label, void **work,
                        GError **error)
{
    (void)user, (void)rgb, (void)label, (void)error;
    *work = NULL;
    return true;
}

static bool encode_zstd(void *user, const uint8_t *rgb, const uint8_t *label, void **work,
                        GError **error)
{
    (void)label;
    bench *b = user;
    static _Thread_local db_blob blob; /* what the program does with a list of parcels */
    *work = NULL;
    return db_encode_image(&b->config, rgb, b->patch, &blob, error);
}

static bool add(void *user, const wsi_cell *cell, GError **error)
{
    (void)user, (void)cell, (void)error;
    return true;
}

static void free_work(void *user, void *work)
{
    (void)user, (void)work;
}

static double run_tile(bench *b, bool zstd, wsi_reader reader)
{
    GError *error = NULL;
    wsi_slide_close(b->slide);
    b->slide = wsi_slide_open_by(b->path, 0, reader, &error);
    if (!b->slide || !wsi_view_init(&b->view, b->slide, true, 0, &error))
        fail(error);
    wsi_tile_options options;
    wsi_tile_options_init(&options);
    options.patch_px = b->patch;
    options.stride_px = b->stride;
    options.no_tissue = true;
    options.n_threads = b->n_threads;
    wsi_sink sink = {
        .user = b, .encode = zstd ? encode_zstd : encode_null, .add = add, .free_work = free_work};
    wsi_tile_report report;
    double start = now();
    if (!wsi_tile_run(&b->view, NULL, NULL, &options, 0, &sink, NULL, &report, &error))
        fail(error);
    return now() - start;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_slide(bench *b, int n_rounds)
{
    GError *error = NULL;
    b->slide = wsi_slide_open(b->path, 0, &error);
    if (!b->slide || !wsi_view_init(&b->view, b->slide, true, 0, &error) ||
        !wsi_grid_init(&b->grid, &b->view, b->patch, b->stride, &error))
        fail(error);
    double seconds[N_MODES][ROUNDS_MAX], busy[N_MODES][ROUNDS_MAX],
        pixels = (double)b->grid.n_cells * b->patch * b->patch;
    g_autofree char *name = g_path_get_basename(b->path);
    run_read(b); /* the file into the page cache */
    for (int r = 0; r < n_rounds; r++)
        for (int mode = 0; mode < N_MODES; mode++) {
            double from = cpu();
            double s = mode == 0 ? run_read(b)
                                 : run_tile(b, mode % 2 == 0,
                                            mode < 3 ? WSI_READER_OPENSLIDE : WSI_READER_AUTO);
            seconds[mode][r] = s;
            busy[mode][r] = cpu() - from;
            printf("tile,%s,%s,%d,%d,%d,%.4f,%.4f,%.1f,%.0f\n", name, mode_names[mode], b->patch,
                   b->n_threads, r, s, busy[mode][r], pixels * 1e-6 / s,
                   (double)b->grid.n_cells / s);
            fflush(stdout);
        }
    for (int mode = 1; mode < N_MODES; mode++) {
        double wall[ROUNDS_MAX], processor[ROUNDS_MAX];
        for (int r = 0; r < n_rounds; r++) {
            wall[r] = seconds[mode][r] / seconds[0][r];
            processor[r] = busy[mode][r] / busy[0][r];
        }
        qsort(wall, (size_t)n_rounds, sizeof *wall, compare);
        qsort(processor, (size_t)n_rounds, sizeof *processor, compare);
        printf("tile-ratio,%s,%s/read,%d,%d,,%.3f,%.3f,,\n", name, mode_names[mode], b->patch,
               b->n_threads, wall[n_rounds / 2], processor[n_rounds / 2]);
    }
    wsi_slide_close(b->slide);
}

int main(int argc, char **argv)
{
    int patch = 256, stride = 0, rounds = 3;
    char *threads_text = NULL;
    const GOptionEntry entries[] = {
        {"patch", 0, 0, G_OPTION_ARG_INT, &patch, "Patch side (256)", "PX"},
        {"stride", 0, 0, G_OPTION_ARG_INT, &stride, "Pixels from patch to patch (the patch)", "PX"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "Rounds (3)", "N"},
        {"threads", 0, 0, G_OPTION_ARG_STRING, &threads_text, "Thread counts (1,2)", "N,N"},
        G_OPTION_ENTRY_NULL};
    GError *error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("SLIDE…");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        fail(error);
    if (argc < 2) {
        fprintf(stderr, "bench_tile: name a slide that OpenSlide reads\n");
        return 2;
    }
    g_auto(GStrv) counts = g_strsplit(threads_text ? threads_text : "1,2", ",", -1);
    printf("bench,slide,mode,patch,threads,round,seconds,processor seconds,MP/s,patches/s\n");
    for (int i = 1; i < argc; i++)
        for (int k = 0; counts[k]; k++) {
            bench b = {.path = argv[i], .patch = CLAMP(patch, 8, 4096)};
            b.stride = stride > 0 ? CLAMP(stride, 1, b.patch) : b.patch;
            b.n_threads = CLAMP(atoi(counts[k]), 1, 64);
            b.config = (db_store_config){.patch_px = b.patch, .codec = DB_CODEC_ZSTD};
            run_slide(&b, CLAMP(rounds, 1, ROUNDS_MAX));
        }
    return 0;
}
