/* CEUD's memory of every training pixel: what a sweep counts, against predictions taken one by one;
 * a sweep that is stopped or cannot read leaves everything as it was. */
#include "base/error.h"
#include "base/report.h"
#include "base/rng.h"
#include "tests/train/fixture.h"
#include "kernels/engine/memory.h"
#include "train/ssl/rank.h"

#include <string.h>

enum { PX = 16, PIXELS = PX * PX, N_ITEMS = 7, N_LABELLED = 3, PASS_N = 3 };

typedef struct {
    fixture_source source;
    model_spec spec;
    kn_engine *engine;
    kn_net *net;
    kn_weights *weights;
    kn_pass *pass;
    tr_history *history;
} bench;

static void bench_init(bench *b)
{
    GError *error = NULL;
    kn_engine_options eo = {.backend = "cpu", .n_threads = 1, .conv = KN_CONV_DIRECT};
    kn_pass_options po = {.mode = KN_PASS_INFER, .n = PASS_N, .h = PX, .w = PX};
    fixture_source_init(&b->source, PX, N_ITEMS, N_LABELLED);
    fixture_spec_init(&b->spec, PX);
    kn_unet_spec_init(&b->spec.net, 2, 16);
    b->engine = kn_engine_create(&eo, &error);
    g_assert_no_error(error);
    b->net = kn_net_create_unet(&b->spec.net, &error);
    g_assert_no_error(error);
    b->weights = kn_weights_create(b->engine, b->net, KN_OPTIMISER_NONE, &error);
    g_assert_no_error(error);
    kn_weights_init(b->weights, 1);
    b->pass = kn_pass_create(b->engine, b->net, &po, &error);
    g_assert_no_error(error);
    b->history = tr_history_create(&b->source.source, &error);
    g_assert_no_error(error);
}

static void bench_clear(bench *b)
{
    tr_history_destroy(b->history);
    kn_pass_destroy(b->pass);
    kn_weights_destroy(b->weights);
    kn_net_destroy(b->net);
    kn_engine_destroy(b->engine);
    fixture_source_clear(&b->source);
}

/* One patch on its own: its prediction, and its label. */
static void predict(bench *b, size_t item, uint8_t y[PIXELS], uint8_t label[PIXELS])
{
    uint8_t rgb[3 * PIXELS], all[PASS_N * PIXELS];
    float input[3 * PIXELS];
    GError *error = NULL;
    const tr_source *s = &b->source.source;
    g_assert_true(s->read(s->user, item, rgb, label, &error));
    model_normalise(&b->spec, rgb, PIXELS, input);
    const kn_tensor *in = kn_pass_input(b->pass);
    for (int i = 0; i < PASS_N * PIXELS; i++)
        for (int c = 0; c < 3; c++)
            kn_f32(in)[i * in->ldc + c] = input[3 * (i % PIXELS) + c];
    g_assert_true(kn_pass_forward(b->pass, b->weights, 0, &error));
    kn_argmax(b->engine, kn_pass_logits(b->pass), all);
    memcpy(y, all, PIXELS);
}

static void sweep(bench *b)
{
    GError *error = NULL;
    tr_history_sweep(b->history, b->engine, b->pass, b->weights, &b->spec, &error);
    g_assert_no_error(error);
}

static void test_counts(void)
{
    bench b;
    tr_augment none;
    tr_augment_none(&none);
    bench_init(&b);
    static const uint64_t seeds[] = {1, 1, 2, 3, 3};
    static uint8_t last[N_ITEMS][PIXELS], agreed[N_ITEMS][PIXELS], correct[N_ITEMS][PIXELS];
    memset(agreed, 0, sizeof agreed);
    memset(correct, 0, sizeof correct);
    int changed = 0, right = 0;
    for (size_t s = 0; s < G_N_ELEMENTS(seeds); s++) {
        kn_weights_init(b.weights, seeds[s]);
        sweep(&b);
        g_assert_cmpint(tr_history_n_sweeps(b.history), ==, (int)s + 1);
        for (size_t item = 0; item < N_ITEMS; item++) {
            uint8_t y[PIXELS], label[PIXELS], got[PIXELS];
            predict(&b, item, y, label);
            for (int i = 0; i < PIXELS; i++) {
                agreed[item][i] += s > 0 && y[i] == last[item][i];
                correct[item][i] += item < N_LABELLED && y[i] == label[i];
                changed += s > 0 && y[i] != last[item][i];
                right += correct[item][i];
            }
            memcpy(last[item], y, PIXELS);
            tr_history_read(b.history, TR_HISTORY_AGREEMENT, item, &none, got);
            g_assert_true(memcmp(got, agreed[item], PIXELS) == 0);
            tr_history_read(b.history, TR_HISTORY_CORRECTNESS, item, &none, got);
            g_assert_true(memcmp(got, correct[item], PIXELS) == 0);
        }
    }
    g_assert_cmpint(changed, >, 0); /* else the test would not see a wrong counter */
    g_assert_cmpint(right, >, 0);
    bench_clear(&b);
}

static void test_geometry(void)
{
    bench b;
    bench_init(&b);
    for (uint64_t seed = 1; seed < 4; seed++) {
        kn_weights_init(b.weights, seed);
        sweep(&b);
    }
    uint8_t plain[PIXELS], moved[PIXELS];
    tr_augment none, a;
    qs_rng rng;
    tr_augment_none(&none);
    qs_rng_init(&rng, 1, 2);
    for (int k = 0; k < 8; k++) {
        tr_augment_draw(&a, &rng, 0, 0);
        tr_history_read(b.history, TR_HISTORY_AGREEMENT, 2, &none, plain);
        tr_history_read(b.history, TR_HISTORY_AGREEMENT, 2, &a, moved);
        for (int y = 0; y < PX; y++)
            for (int x = 0; x < PX; x++) {
                int from_x, from_y;
                tr_augment_origin(&a, PX, x, y, &from_x, &from_y);
                g_assert_cmpint(moved[y * PX + x], ==, plain[from_y * PX + from_x]);
            }
    }
    bench_clear(&b);
}

/* All arrays and the number of sweeps as one text. */
static char *digest(const bench *b)
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    const char *name;
    int64_t bytes;
    uint8_t *data;
    for (int i = 0; (data = tr_history_array(b->history, i, &name, &bytes)); i++)
        g_checksum_update(sum, data, (gssize)bytes);
    char *text =
        g_strdup_printf("%s %d", g_checksum_get_string(sum), (int)tr_history_n_sweeps(b->history));
    g_checksum_free(sum);
    return text;
}

static void test_left_alone(void)
{
    bench b;
    GError *error = NULL;
    bench_init(&b);
    sweep(&b);
    g_autofree char *before = digest(&b);
    kn_weights_init(b.weights, 9);
    b.source.fail_item = N_ITEMS - 1;
    g_assert_false(tr_history_sweep(b.history, b.engine, b.pass, b.weights, &b.spec, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_IO);
    g_assert_nonnull(strstr(error->message, "training patch 6"));
    g_clear_error(&error);
    b.source.fail_item = -1;
    qs_stop_request();
    g_assert_false(tr_history_sweep(b.history, b.engine, b.pass, b.weights, &b.spec, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    qs_stop_clear();
    g_autofree char *after = digest(&b);
    g_assert_cmpstr(before, ==, after);
    sweep(&b);
    g_autofree char *swept = digest(&b);
    g_assert_cmpstr(before, !=, swept);
    bench_clear(&b);
}

/* The order is every pixel that counts, once; counters are scaled over those alone. */
static void test_rank(void)
{
    enum { LABELLED = 2, N = 4 };
    bench b;
    bench_init(&b);
    for (uint64_t seed = 1; seed < 6; seed++) {
        kn_weights_init(b.weights, seed / 2);
        sweep(&b);
    }
    uint32_t items[N] = {0, 2, 5, 6};
    tr_augment augment[N];
    uint8_t label[LABELLED * PIXELS] = {0}, exclude[(N - LABELLED) * PIXELS] = {0};
    qs_rng rng;
    qs_rng_init(&rng, 4, 4);
    for (int j = 0; j < N; j++)
        tr_augment_draw(&augment[j], &rng, 0, 0);
    for (int i = 0; i < PIXELS; i++) {
        label[i] = i % 5 ? 1 : 255;
        exclude[PIXELS + i] = i < PIXELS / 2 ? 255 : 0;
    }
    tr_batch batch = {.n = N,
                      .n_labelled = LABELLED,
                      .patch_px = PX,
                      .items = items,
                      .augment = augment,
                      .label = label,
                      .exclude = exclude};
    g_autofree char *memory = g_malloc(tr_rank_bytes(N * PIXELS, sizeof(float)) + KN_ALIGN);
    tr_rank ranking, *rank = &ranking;
    tr_rank_init(rank, b.engine, memory + KN_ALIGN - (uintptr_t)memory % KN_ALIGN, NULL,
                 N * PIXELS);
    for (int all = 0; all < 2; all++) {
        int n = all ? N : LABELLED;
        tr_history_counter counter = all ? TR_HISTORY_AGREEMENT : TR_HISTORY_CORRECTNESS;
        tr_rank_prepare(rank, b.history, counter, &batch, n, 7, 8);
        int64_t n_order = rank->n_order;
        const uint32_t *order = rank->order;
        const float *agreement = rank->agreement;
        uint8_t count[N * PIXELS], seen[N * PIXELS] = {0}, least = 255, most = 0;
        for (int j = 0; j < n; j++)
            tr_history_read(b.history, counter, items[j], &augment[j], count + j * PIXELS);
        int64_t kept = 0, moved = 0;
        for (int i = 0; i < n * PIXELS; i++) {
            bool out =
                i < LABELLED * PIXELS ? label[i] == 255 : exclude[i - LABELLED * PIXELS] == 255;
            kept += !out;
            least = out ? least : MIN(least, count[i]);
            most = out ? most : MAX(most, count[i]);
        }
        g_assert_cmpint(most, >, least);
        g_assert_cmpint(n_order, ==, kept);
        for (int64_t q = 0; q < n_order; q++) {
            uint32_t i = order[q];
            g_assert_cmpint(seen[i]++, ==, 0);
            g_assert_true(i < LABELLED * PIXELS ? label[i] != 255
                                                : exclude[i - LABELLED * PIXELS] != 255);
            g_assert_cmpfloat_with_epsilon(
                agreement[i], (float)(count[i] - least) / (float)(most - least), 1e-6f);
            moved += q > 0 && i < order[q - 1];
        }
        g_assert_cmpint(moved, >, n_order / 4); /* it is shuffled */
        g_autofree uint32_t *first = g_memdup2(order, (gsize)n_order * sizeof *order);
        tr_rank_prepare(rank, b.history, counter, &batch, n, 7, 8);
        g_assert_true(memcmp(first, order, (size_t)n_order * sizeof *order) == 0);
        tr_rank_prepare(rank, b.history, counter, &batch, n, 7, 9);
        g_assert_false(memcmp(first, order, (size_t)n_order * sizeof *order) == 0);
    }
    bench_clear(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/history/counts", test_counts);
    g_test_add_func("/history/geometry", test_geometry);
    g_test_add_func("/history/left-alone", test_left_alone);
    g_test_add_func("/history/rank", test_rank);
    return g_test_run();
}
