/* What tiling a JPEG slide must do at least, each step alone, on the slide's own tiles:
 *
 *   bench_lane [--threads N] SLIDE OUT_DIR
 *
 * decode    every tile of level 0 read raw and decoded to RGB
 * eighth    every tile read raw, made to stand alone, and decoded at 1/8 scale
 * quality   quality numbers of as many patches; quality8: of their pictures at 1/8 scale
 * zstd      as many patches encoded without loss; jpeg: as JPEG of quality 90
 * write-X   the bytes that codec X makes of them, written to OUT_DIR and synced every 512 patches
 * One JSON line a step: wall and processor seconds for all tiles with N threads. bench/tiling sets
 * the tiler's own time beside the sums. Patches are encoded and measured from a sample of the
 * slide's tiles, evenly spread, that lies in memory. */
#include "db/store.h"
#include "wsi/lane/jpeg_priv.h"
#include "wsi/lane/tiles.h"
#include "wsi/tile/tile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE = 48, THREADS_MAX = 64, SYNC_EVERY = 512 };

typedef struct bench bench;
typedef void (*step)(bench *b, int64_t i, void *state);

struct bench {
    const char *path;
    wsi_tiff_layout layout;
    const wsi_tiff_level *level;
    int64_t n_tiles;
    int px, n_threads;
    uint8_t *sample[SAMPLE], *sample8[SAMPLE];
    size_t zstd_bytes, jpeg_bytes; /* of the sample */
    db_store_config config;
    gint next;
    step run;
};

typedef struct {
    wsi_tiff_reader *tiff;
    wsi_jpeg_decoder *jpeg;
    uint8_t *rgb, *spliced;
    size_t spliced_capacity;
    db_blob blob;
} state;

static void fail(GError *error)
{
    fprintf(stderr, "bench_lane: %s\n", error->message);
    exit(1);
}

static void decode_into(bench *b, int64_t tile, state *s, int scale, uint8_t *rgb)
{
    GError *error = NULL;
    wsi_jpeg_bits bits = {
        .tables = b->level->tables, .n_tables = b->level->n_tables, .ycbcr = b->level->ycbcr};
    bits.data = wsi_tiff_reader_raw(s->tiff, b->level, tile, &bits.n, &error);
    if (!bits.data || !wsi_jpeg_decode(s->jpeg, &bits, b->px, b->px, scale, rgb,
                                       (size_t)(b->px / scale) * 3, &error))
        fail(error);
    if (scale == 1)
        return;
    if (s->spliced_capacity < wsi_jpeg_splice_bound(&bits)) {
        s->spliced_capacity = 2 * wsi_jpeg_splice_bound(&bits);
        s->spliced = g_realloc(s->spliced, s->spliced_capacity);
    }
    if (!wsi_jpeg_splice(&bits, s->spliced, &error))
        fail(error);
}

static void step_decode(bench *b, int64_t i, void *at)
{
    state *s = at;
    decode_into(b, i, s, 1, s->rgb);
}

static void step_eighth(bench *b, int64_t i, void *at)
{
    state *s = at;
    decode_into(b, i, s, 8, s->rgb);
}

static void step_quality(bench *b, int64_t i, void *at)
{
    (void)at;
    wsi_quality q;
    double mean[3];
    wsi_quality_measure(b->sample[i % SAMPLE], (size_t)b->px * 3, b->px, b->px, &q, mean);
}

static void step_quality8(bench *b, int64_t i, void *at)
{
    (void)at;
    wsi_quality q;
    double mean[3];
    int px = b->px / 8;
    wsi_quality_measure(b->sample8[i % SAMPLE], (size_t)px * 3, px, px, &q, mean);
}

static void step_encode(bench *b, int64_t i, void *at)
{
    GError *error = NULL;
    if (!db_encode_image(&b->config, b->sample[i % SAMPLE], b->px, &((state *)at)->blob, &error))
        fail(error);
}

static state *state_open(bench *b)
{
    GError *error = NULL;
    state *s = g_new0(state, 1);
    s->tiff = wsi_tiff_reader_open(b->path, &error);
    if (!s->tiff)
        fail(error);
    s->jpeg = wsi_jpeg_decoder_create();
    s->rgb = g_malloc((size_t)b->px * (size_t)b->px * 3);
    return s;
}

static void state_close(state *s)
{
    wsi_tiff_reader_close(s->tiff);
    wsi_jpeg_decoder_destroy(s->jpeg);
    g_free(s->rgb);
    g_free(s->spliced);
    db_blob_clear(&s->blob);
    g_free(s);
}

static gpointer work(gpointer user)
{
    bench *b = user;
    state *s = state_open(b);
    for (int64_t i; (i = g_atomic_int_add(&b->next, 1)) < b->n_tiles;)
        b->run(b, i, s);
    state_close(s);
    return NULL;
}

static double now(void)
{
    return (double)g_get_monotonic_time() * 1e-6;
}

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void say(const bench *b, const char *name, double wall, double busy)
{
    printf("{\"step\":\"%s\",\"threads\":%d,\"megapixels\":%.1f,\"wall\":%.4f,\"cpu\":%.4f}\n",
           name, b->n_threads, (double)b->n_tiles * b->px * b->px * 1e-6, wall, busy);
    fflush(stdout);
}

static void time_step(bench *b, const char *name, step run)
{
    GThread *threads[THREADS_MAX];
    b->run = run;
    b->next = 0;
    double wall = now(), busy = cpu();
    for (int i = 0; i < b->n_threads; i++)
        threads[i] = g_thread_new("step", work, b);
    for (int i = 0; i < b->n_threads; i++)
        g_thread_join(threads[i]);
    say(b, name, now() - wall, cpu() - busy);
}

/* The bytes of all patches at the sample's mean size, as the store would put them down. */
static void time_write(bench *b, const char *name, const char *dir, size_t patch_bytes)
{
    g_autofree char *path = g_build_filename(dir, "bench_lane.bytes", NULL);
    g_autofree uint8_t *bytes = g_malloc0(patch_bytes * SYNC_EVERY);
    for (size_t i = 0; i < patch_bytes * SYNC_EVERY; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    double wall = now(), busy = cpu();
    for (int64_t i = 0; fd >= 0 && i < b->n_tiles; i += SYNC_EVERY) {
        size_t n = patch_bytes * (size_t)MIN(SYNC_EVERY, b->n_tiles - i);
        if (write(fd, bytes, n) != (ssize_t)n || fdatasync(fd) != 0) {
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0) {
        fprintf(stderr, "bench_lane: %s cannot be written\n", path);
        exit(1);
    }
    close(fd);
    say(b, name, now() - wall, cpu() - busy);
    unlink(path);
}

static void take_sample(bench *b)
{
    state *s = state_open(b);
    size_t n = (size_t)b->px * (size_t)b->px * 3;
    for (int k = 0; k < SAMPLE; k++) {
        b->sample[k] = g_malloc(n);
        b->sample8[k] = g_malloc(n / 64);
        decode_into(b, k * b->n_tiles / SAMPLE, s, 1, b->sample[k]);
        decode_into(b, k * b->n_tiles / SAMPLE, s, 8, b->sample8[k]);
    }
    for (int codec = 0; codec < 2; codec++) {
        b->config.codec = codec ? DB_CODEC_JPEG : DB_CODEC_ZSTD;
        for (int k = 0; k < SAMPLE; k++) {
            step_encode(b, k, s);
            *(codec ? &b->jpeg_bytes : &b->zstd_bytes) += s->blob.n;
        }
    }
    state_close(s);
}

static void run(bench *b, const char *dir)
{
    take_sample(b);
    time_step(b, "decode", step_decode);
    time_step(b, "eighth", step_eighth);
    time_step(b, "quality", step_quality);
    time_step(b, "quality8", step_quality8);
    b->config.codec = DB_CODEC_ZSTD;
    time_step(b, "zstd", step_encode);
    b->config.codec = DB_CODEC_JPEG;
    time_step(b, "jpeg", step_encode);
    time_write(b, "write-zstd", dir, b->zstd_bytes / SAMPLE);
    time_write(b, "write-jpeg", dir, b->jpeg_bytes / SAMPLE);
    int64_t raw = 0;
    state *s = state_open(b);
    for (int k = 0; k < SAMPLE; k++) {
        size_t n = 0;
        wsi_tiff_reader_raw(s->tiff, b->level, k * b->n_tiles / SAMPLE, &n, NULL);
        raw += (int64_t)n;
    }
    state_close(s);
    time_write(b, "write-copy", dir, (size_t)raw / SAMPLE);
}

int main(int argc, char **argv)
{
    int n_threads = 1;
    const GOptionEntry entries[] = {
        {"threads", 0, 0, G_OPTION_ARG_INT, &n_threads, "Threads (1)", "N"}, G_OPTION_ENTRY_NULL};
    GError *error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("SLIDE OUT_DIR");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        fail(error);
    if (argc != 3) {
        fprintf(stderr, "bench_lane: name a JPEG-tiled slide and a folder for the written bytes\n");
        return 2;
    }
    bench b = {.path = argv[1], .n_threads = CLAMP(n_threads, 1, THREADS_MAX)};
    if (!wsi_tiff_layout_read(&b.layout, b.path, &error))
        fail(error);
    b.level = b.layout.levels->len ? &g_array_index(b.layout.levels, wsi_tiff_level, 0) : NULL;
    if (!b.level || b.level->unfit || !b.level->jpeg || b.level->tile_w != b.level->tile_h ||
        b.level->tile_w % 8) {
        fprintf(stderr, "bench_lane: %s: its first level has no square JPEG tiles\n", b.path);
        return 1;
    }
    b.px = b.level->tile_w;
    b.n_tiles = b.level->n_x * b.level->n_y;
    b.config = (db_store_config){.patch_px = b.px, .jpeg_quality = 90};
    run(&b, argv[2]);
    for (int k = 0; k < SAMPLE; k++) {
        g_free(b.sample[k]);
        g_free(b.sample8[k]);
    }
    wsi_tiff_layout_clear(&b.layout);
    return 0;
}
