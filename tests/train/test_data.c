/* Sampler, augmentation, loader, noise, schedules and options: pure functions of what they say. */
#include "tests/train/fixture.h"

#include "base/error.h"
#include "train/data/augment.h"
#include "train/data/loader.h"
#include "train/data/noise.h"
#include "train/plan/schedule.h"

#include <math.h>
#include <string.h>

enum { PX = 16, N_ITEMS = 23, N_LABELLED = 7 };

static void plan_of(ssl_plan *plan, int n_labelled, int n_unlabelled, ssl_pool pool)
{
    *plan = (ssl_plan){.n_labelled = n_labelled, .n_unlabelled = n_unlabelled, .pool = pool};
}

/* ---- sampler ------------------------------------------------------------------------------------
 */

static void test_sampler_streams(void)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    ssl_plan plan;
    plan_of(&plan, 3, 4, SSL_POOL_LABELLED);
    tr_sampler *sampler = tr_sampler_create(&s.source, &plan, 11, NULL);
    uint32_t items[7];
    int seen[N_ITEMS] = {0};
    for (int i = 0; i < 4;
         i++) { /* 16 unlabelled items: four batches are one permutation of them */
        tr_sampler_batch(sampler, i, items);
        for (int j = 0; j < 3; j++)
            g_assert_cmpuint(items[j], <, N_LABELLED);
        for (int j = 3; j < 7; j++) {
            g_assert_cmpuint(items[j], >=, N_LABELLED);
            g_assert_cmpint(seen[items[j]]++, ==, 0);
        }
    }
    for (int epoch = 0; epoch < 20;
         epoch++) { /* 7 labelled, batches of 3: two batches an epoch, one item dropped */
        int times[N_LABELLED] = {0};
        for (int i = 0; i < 2; i++) {
            tr_sampler_batch(sampler, 2 * epoch + i, items);
            for (int j = 0; j < 3; j++)
                g_assert_cmpint(times[items[j]]++, ==, 0);
        }
    }
    tr_sampler_destroy(sampler);
    fixture_source_clear(&s);
}

/* Any order of asking gives the same batches; another seed gives others. */
static void test_sampler_pure(void)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    ssl_plan plan;
    plan_of(&plan, 3, 4, SSL_POOL_LABELLED);
    tr_sampler *a = tr_sampler_create(&s.source, &plan, 11, NULL),
               *b = tr_sampler_create(&s.source, &plan, 11, NULL);
    tr_sampler *other = tr_sampler_create(&s.source, &plan, 12, NULL);
    uint32_t forward[30][7], items[7];
    int n_different = 0;
    for (int i = 0; i < 30; i++)
        tr_sampler_batch(a, i, forward[i]);
    for (int i = 29; i >= 0; i--) {
        tr_sampler_batch(b, i, items);
        g_assert_cmpmem(items, sizeof items, forward[i], sizeof items);
        tr_sampler_batch(other, i, items);
        n_different += memcmp(items, forward[i], sizeof items) != 0;
    }
    g_assert_cmpint(n_different, >, 25);
    tr_sampler_destroy(a);
    tr_sampler_destroy(b);
    tr_sampler_destroy(other);
    fixture_source_clear(&s);
}

static void test_sampler_small_and_empty(void)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, 2);
    ssl_plan plan;
    plan_of(&plan, 5, 1, SSL_POOL_LABELLED); /* more than there are: they repeat, evenly */
    tr_sampler *sampler = tr_sampler_create(&s.source, &plan, 3, NULL);
    uint32_t items[6];
    int times[2] = {0};
    for (int i = 0; i < 4; i++) {
        tr_sampler_batch(sampler, i, items);
        for (int j = 0; j < 5; j++)
            times[items[j]]++;
    }
    g_assert_cmpint(times[0], ==, 10);
    g_assert_cmpint(times[1], ==, 10);
    tr_sampler_destroy(sampler);

    plan_of(&plan, 4, 0, SSL_POOL_ALL); /* FullSup: every row with a label */
    s.items[5].has_label = false;
    sampler = tr_sampler_create(&s.source, &plan, 3, NULL);
    g_assert_cmpuint(tr_sampler_n_labelled(sampler), ==, N_ITEMS - 1);
    for (int i = 0; i < 40; i++) {
        tr_sampler_batch(sampler, i, items);
        for (int j = 0; j < 4; j++)
            g_assert_cmpuint(items[j], !=, 5);
    }
    tr_sampler_destroy(sampler);

    GError *error = NULL;
    for (int i = 0; i < N_ITEMS; i++)
        s.items[i].labelled = false;
    plan_of(&plan, 1, 1, SSL_POOL_LABELLED);
    g_assert_null(tr_sampler_create(&s.source, &plan, 3, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    for (int i = 0; i < N_ITEMS; i++)
        s.items[i].labelled = true;
    g_assert_null(tr_sampler_create(&s.source, &plan, 3, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_assert_nonnull(strstr(error->message, "unlabelled"));
    g_clear_error(&error);
    fixture_source_clear(&s);
}

/* ---- augmentation
 * ---------------------------------------------------------------------------------- */

/* Image and label hold the number of each pixel, so both can be seen to move as tr_augment_origin
 * says, which is a bijection; and all eight symmetries come up. */
static void test_geometry(void)
{
    enum { SIZE = 7, N = SIZE * SIZE };
    uint8_t label[N], rgb[3 * N], moved_label[N], moved_rgb[3 * N];
    for (int i = 0; i < N; i++) {
        label[i] = (uint8_t)i;
        for (int c = 0; c < 3; c++)
            rgb[3 * i + c] = (uint8_t)(i + c);
    }
    GHashTable *maps = g_hash_table_new(g_direct_hash, g_direct_equal);
    for (int draw = 0; draw < 200; draw++) {
        qs_rng rng;
        qs_rng_init(&rng, 1, (uint64_t)draw);
        tr_augment a;
        tr_augment_draw(&a, &rng, 0.05, 0.1);
        tr_augment_geometry(&a, label, SIZE, 1, moved_label);
        tr_augment_geometry(&a, rgb, SIZE, 3, moved_rgb);
        int seen[N] = {0};
        for (int y = 0; y < SIZE; y++) {
            for (int x = 0; x < SIZE; x++) {
                int sx, sy, i = y * SIZE + x;
                tr_augment_origin(&a, SIZE, x, y, &sx, &sy);
                g_assert_cmpint(moved_label[i], ==, sy * SIZE + sx);
                for (int c = 0; c < 3; c++)
                    g_assert_cmpint(moved_rgb[3 * i + c], ==, moved_label[i] + c);
                seen[moved_label[i]]++;
            }
        }
        for (int i = 0; i < N; i++)
            g_assert_cmpint(seen[i], ==, 1);
        g_hash_table_add(maps, GINT_TO_POINTER(moved_label[0] * 256 + moved_label[1] + 1));
    }
    g_assert_cmpuint(g_hash_table_size(maps), ==, 8);
    g_hash_table_unref(maps);

    tr_augment turn;
    tr_augment_none(&turn);
    turn.quarter_turns = 1; /* clockwise: the top left corner comes from the bottom left */
    tr_augment_geometry(&turn, label, SIZE, 1, moved_label);
    g_assert_cmpint(moved_label[0], ==, (SIZE - 1) * SIZE);
    g_assert_cmpint(moved_label[SIZE - 1], ==, 0);
}

/* Four quarter turns, and each flip twice, are nothing. */
static void test_inverse(void)
{
    enum { SIZE = 5, N = SIZE * SIZE };
    uint8_t a[N], b[N];
    for (int kind = 0; kind < 3; kind++) {
        tr_augment step;
        tr_augment_none(&step);
        step.flip_x = kind == 0;
        step.flip_y = kind == 1;
        step.quarter_turns = kind == 2;
        for (int i = 0; i < N; i++)
            a[i] = (uint8_t)i;
        for (int times = kind == 2 ? 4 : 2; times > 0; times--) {
            tr_augment_geometry(&step, a, SIZE, 1, b);
            g_assert_true(memcmp(a, b, N) != 0);
            memcpy(a, b, N);
        }
        for (int i = 0; i < N; i++)
            g_assert_cmpint(a[i], ==, i);
    }
}

/* What one view of an image says, taken back to the image and on to another view, pixel by pixel:
 * every move against every other, exactly. */
static void test_between_views(void)
{
    enum { SIZE = 7, N = SIZE * SIZE };
    uint8_t image[3 * N], views[16][3 * N], back[3 * N], there[3 * N];
    tr_augment moves[16];
    for (int i = 0; i < 3 * N; i++)
        image[i] = (uint8_t)(i * 89 % 251);
    for (int k = 0; k < 16; k++) {
        tr_augment_none(&moves[k]);
        moves[k].flip_x = k & 1;
        moves[k].flip_y = k & 2;
        moves[k].quarter_turns = k >> 2;
        tr_augment_geometry(&moves[k], image, SIZE, 3, views[k]);
    }
    for (int k = 0; k < 16; k++) {
        memset(back, 0, sizeof back);
        for (int i = 0; i < N; i++) {
            int x, y;
            tr_augment_origin(&moves[k], SIZE, i % SIZE, i / SIZE, &x, &y);
            memcpy(back + (y * SIZE + x) * 3, views[k] + i * 3, 3);
        }
        g_assert_cmpmem(back, sizeof back, image, sizeof image);
        for (int other = 0; other < 16; other++) {
            tr_augment_geometry(&moves[other], back, SIZE, 3, there);
            g_assert_cmpmem(there, sizeof there, views[other], sizeof views[other]);
        }
    }
    int n_different = 0; /* the 16 are the 8 symmetries of a square, twice each */
    for (int k = 0; k < 16; k++) {
        bool seen = false;
        for (int other = 0; other < k; other++)
            seen = seen || memcmp(views[k], views[other], sizeof views[k]) == 0;
        n_different += !seen;
    }
    g_assert_cmpint(n_different, ==, 8);
}

static void test_colour(void)
{
    uint8_t original[3 * 256], rgb[3 * 256];
    for (int i = 0; i < 3 * 256; i++)
        original[i] = (uint8_t)(i * 37 % 256);
    tr_augment a;
    qs_rng rng;
    qs_rng_init(&rng, 1, 1);
    tr_augment_draw(&a, &rng, 0, 0);
    a.jitter = true; /* with nothing to jitter the whole way through the stains is the identity */
    memcpy(rgb, original, sizeof rgb);
    tr_augment_colour(&a, rgb, 256);
    g_assert_cmpmem(rgb, sizeof rgb, original, sizeof rgb);

    double largest = 0, sum = 0;
    for (int draw = 0; draw < 50; draw++) {
        qs_rng_init(&rng, 2, (uint64_t)draw);
        tr_augment_draw(&a, &rng, 0.05, 0.1);
        memcpy(rgb, original, sizeof rgb);
        tr_augment_colour(&a, rgb, 256);
        for (int i = 0; i < 3 * 256; i++) {
            double d = (double)rgb[i] - original[i];
            largest = MAX(largest, fabs(d));
            sum += d;
        }
    }
    g_assert_cmpfloat(largest, >, 10);                   /* it does something … */
    g_assert_cmpfloat(largest, <, 90);                   /* … lightly … */
    g_assert_cmpfloat(fabs(sum / (50 * 3 * 256)), <, 4); /* … and in both directions */

    tr_augment_none(&a); /* brightness alone: a factor on v + 1 */
    a.jitter = true;
    for (int c = 0; c < 3; c++)
        a.offset[c] = (float)-log(0.9);
    uint8_t grey[3] = {199, 99, 9};
    tr_augment_colour(&a, grey, 1);
    g_assert_cmpint(grey[0], ==, 179);
    g_assert_cmpint(grey[1], ==, 89);
    g_assert_cmpint(grey[2], ==, 8);
}

/* ---- loader
 * ------------------------------------------------------------------------------------------ */

static void loader_options(tr_options *o, int n_threads)
{
    tr_options_init(o);
    o->seed = 5;
    o->loader_threads = n_threads;
}

static void compare_batches(const tr_batch *a, const tr_batch *b)
{
    size_t px = (size_t)a->patch_px * (size_t)a->patch_px, n = (size_t)a->n,
           n_l = (size_t)a->n_labelled;
    g_assert_cmpint(a->index, ==, b->index);
    g_assert_cmpmem(a->items, n * 4, b->items, n * 4);
    g_assert_cmpmem(a->rgb, n * px * 3, b->rgb, n * px * 3);
    g_assert_cmpmem(a->input, n * px * 12, b->input, n * px * 12);
    g_assert_cmpmem(a->label, n_l * px, b->label, n_l * px);
    g_assert_cmpmem(a->truth, (n - n_l) * px, b->truth, (n - n_l) * px);
    g_assert_cmpmem(a->exclude, (n - n_l) * px, b->exclude, (n - n_l) * px);
}

/* One thread from the start and three threads from batch 5 give the same batch 5, 6, 7 … */
static void test_loader_pure(void)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    model_spec spec;
    fixture_spec_init(&spec, PX);
    ssl_plan plan;
    plan_of(&plan, 3, 4, SSL_POOL_LABELLED);
    tr_options one, three;
    loader_options(&one, 1);
    loader_options(&three, 3);
    tr_loader *a = tr_loader_create(&one, &plan, &s.source, &spec, 0, NULL);
    tr_loader *b = tr_loader_create(&three, &plan, &s.source, &spec, 5, NULL);
    for (int i = 0; i < 5; i++)
        g_assert_cmpint(tr_loader_next(a, NULL)->index, ==, i);
    for (int i = 5; i < 40; i++)
        compare_batches(tr_loader_next(a, NULL), tr_loader_next(b, NULL));
    tr_loader_destroy(a);
    tr_loader_destroy(b);
    fixture_source_clear(&s);
}

/* The pixels of a batch, its normalisation, and padding: excluded or 255, wherever it was turned
 * to. */
static void test_loader_content(void)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    for (int i = 0; i < N_ITEMS; i++) {
        s.items[i].valid_w = 10;
        s.items[i].valid_h = 13;
    }
    model_spec spec;
    fixture_spec_init(&spec, PX);
    ssl_plan plan;
    plan_of(&plan, 2, 2, SSL_POOL_LABELLED);
    tr_options o;
    loader_options(&o, 2);
    tr_loader *loader = tr_loader_create(&o, &plan, &s.source, &spec, 0, NULL);
    for (int i = 0; i < 6; i++) {
        const tr_batch *b = tr_loader_next(loader, NULL);
        for (int j = 0; j < 2; j++) {
            int n_padding = 0, n_excluded = 0;
            for (int p = 0; p < PX * PX; p++) {
                n_padding += b->label[j * PX * PX + p] == 255;
                n_excluded += b->exclude[j * PX * PX + p] == 255;
                g_assert_cmpint(b->exclude[j * PX * PX + p] == 255, ==,
                                b->truth[j * PX * PX + p] == 255);
            }
            g_assert_cmpint(n_padding, ==, PX * PX - 130);
            g_assert_cmpint(n_excluded, ==, PX * PX - 130);
        }
        for (int k = 0; k < 4 * PX * PX * 3; k++) {
            double wanted = (b->rgb[k] / 255.0 - spec.mean[k % 3]) / spec.std[k % 3];
            g_assert_cmpfloat_with_epsilon((double)b->input[k], wanted, 1e-5);
        }
    }
    tr_loader_destroy(loader);
    fixture_source_clear(&s);
}

/* Raw batches are the patches as they are stored, with the draws of the ready ones; a batch stays
 * as it is while the one after it is used, however fast the threads are. */
static void test_loader_raw(void)
{
    enum { EACH = 4, RGB = EACH * PX * PX * 3, LABEL = EACH * PX * PX };
    static uint8_t rgb[RGB], label[LABEL], patch[PX * PX * 3], of[PX * PX];
    GError *error = NULL;
    const kn_engine_options eo = {.backend = "cpu", .n_threads = 1};
    kn_engine *engine = kn_engine_create(&eo, &error);
    g_assert_no_error(error);
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    s.items[N_ITEMS - 1].has_label = false;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    ssl_plan plan;
    plan_of(&plan, 2, 2, SSL_POOL_LABELLED);
    tr_options o;
    loader_options(&o, 3);
    tr_loader *ready = tr_loader_create(&o, &plan, &s.source, &spec, 0, NULL);
    tr_loader *raw =
        tr_loader_create_form(&o, &plan, &s.source, &spec, TR_FORM_RAW, engine, 0, &error);
    g_assert_no_error(error);
    const tr_batch *before = NULL;
    for (int i = 0; i < 30; i++) {
        const tr_batch *a = tr_loader_next(ready, NULL), *b = tr_loader_next(raw, NULL);
        g_assert_cmpmem(a->items, EACH * 4, b->items, EACH * 4);
        g_assert_cmpmem(a->augment, EACH * sizeof(tr_augment), b->augment,
                        EACH * sizeof(tr_augment));
        for (int j = 0; j < EACH; j++) {
            bool ok = tr_loader_read(&s.source, b->items[j], patch, of, NULL);
            g_assert_true(ok);
            g_assert_cmpmem(b->patch_rgb + j * PX * PX * 3, PX * PX * 3, patch, PX * PX * 3);
            g_assert_cmpmem(b->patch_label + j * PX * PX, PX * PX, of, PX * PX);
        }
        g_usleep(500); /* for threads that take what is still in use */
        if (before) {
            g_assert_cmpmem(before->patch_rgb, RGB, rgb, RGB);
            g_assert_cmpmem(before->patch_label, LABEL, label, LABEL);
        }
        memcpy(rgb, b->patch_rgb, RGB);
        memcpy(label, b->patch_label, LABEL);
        before = b;
    }
    tr_loader_destroy(ready);
    tr_loader_destroy(raw);
    kn_engine_destroy(engine);
    fixture_source_clear(&s);
}

static void test_loader_error(void)
{
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    s.fail_item = 9;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    ssl_plan plan;
    plan_of(&plan, 2, 2, SSL_POOL_LABELLED);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        tr_options o;
        loader_options(&o, n_threads);
        tr_loader *loader = tr_loader_create(&o, &plan, &s.source, &spec, 0, NULL);
        GError *error = NULL;
        int n = 0;
        while (tr_loader_next(loader, &error))
            g_assert_cmpint(++n, <, 20);
        g_assert_error(error, QS_ERROR, QS_ERROR_IO);
        g_assert_nonnull(strstr(error->message, "training patch 9"));
        g_clear_error(&error);
        tr_loader_destroy(loader);
    }
    fixture_source_clear(&s);
}

/* ---- noise
 * -------------------------------------------------------------------------------------------- */

static void test_noise(void)
{
    enum { N = 3, SIDE = 32, LEN = N * SIDE * SIDE * 3 };
    g_autofree float *src = g_new0(float, LEN), *a = g_new0(float, LEN), *b = g_new0(float, LEN);
    for (int i = 0; i < LEN; i++)
        src[i] = (float)i * 1e-4f;
    tr_image images[N] = {{0}};
    for (int i = 0; i < N; i++)
        images[i] = (tr_image){.src = src + i * SIDE * SIDE * 3, .at = (uint64_t)i};
    kn_tensor t = {.dtype = KN_F32, .n = N, .h = SIDE, .w = SIDE, .c = 3, .ldc = 3, .data = a};
    tr_input_fill(&t, images, 0, 1, 2);
    g_assert_cmpmem(a, LEN * sizeof *a, src, LEN * sizeof *a);
    tr_input_fill(&t, images, 0.1, 1, 2);
    double sum = 0, squares = 0, largest = 0;
    for (int i = 0; i < LEN; i++) {
        double d = (double)a[i] - (double)src[i];
        sum += d;
        squares += d * d;
        largest = MAX(largest, fabs(d));
    }
    g_assert_cmpfloat(fabs(sum / LEN), <, 0.005);
    g_assert_cmpfloat(fabs(sqrt(squares / LEN) - 0.0959), <, 0.003); /* N(0,.1) cut at .2: .0959 */
    g_assert_cmpfloat(largest, <=, 0.20001);
    g_assert_cmpfloat(largest, >, 0.1999);
    t.n = 2; /* images 1 and 2 alone have the noise that they have among three; f64 too */
    t.data = b;
    tr_input_fill(&t, images + 1, 0.1, 1, 2);
    g_assert_cmpmem(b, LEN / 3 * 2 * sizeof *b, a + LEN / 3, LEN / 3 * 2 * sizeof *b);
    g_autofree double *wide = g_new0(double, LEN);
    t.dtype = KN_F64;
    t.data = wide;
    tr_input_fill(&t, images + 1, 0.1, 1, 2);
    for (int i = 0; i < LEN / 3 * 2; i++)
        g_assert_cmpfloat(wide[i], ==, (double)b[i]);
    /* A box of another image, and a hole. */
    t = (kn_tensor){.dtype = KN_F32, .n = 1, .h = SIDE, .w = SIDE, .c = 3, .ldc = 3, .data = b};
    images[0].inner = images[1].src;
    images[0].box = (kn_box){3, 5, 9, 20};
    images[0].hole = (kn_box){8, 19, 11, 21};
    tr_input_fill(&t, images, 0, 1, 2);
    for (int p = 0; p < SIDE * SIDE; p++) {
        int x = p % SIDE, y = p / SIDE;
        bool in = x >= 3 && x < 9 && y >= 5 && y < 20,
             blank = x >= 8 && x < 11 && y >= 19 && y < 21;
        for (int c = 0; c < 3; c++)
            g_assert_cmpfloat(b[3 * p + c], ==, blank ? 0 : images[in].src[3 * p + c]);
    }
}

/* ---- schedules
 * ------------------------------------------------------------------------------------------ */

static void test_schedules(void)
{
    tr_options o;
    tr_options_init(&o);
    ssl_plan plan = {.late_share = 0.1};
    g_assert_cmpfloat_with_epsilon(tr_schedule_lambda(&o, 0, 600), 0.1 * exp(-5), 1e-15);
    g_assert_cmpfloat_with_epsilon(tr_schedule_lambda(&o, 300, 600), 0.028650479686019, 1e-12);
    g_assert_cmpfloat_with_epsilon(tr_schedule_lr(&o, 15000, 30000), 0.01 * pow(.5, .9), 1e-15);
    g_assert_cmpfloat(tr_schedule_weight(&o, &plan, SSL_CONST, 5, 600), ==, 1);
    g_assert_cmpfloat(tr_schedule_weight(&o, &plan, SSL_LAMBDA_LATE, 59, 600), ==, 0);
    g_assert_cmpfloat(tr_schedule_weight(&o, &plan, SSL_LAMBDA_LATE, 60, 600), ==,
                      tr_schedule_lambda(&o, 60, 600));
    o.ramp = TR_RAMP_RELEASED;
    g_assert_cmpfloat_with_epsilon(tr_schedule_lambda(&o, 15000, 600), 0.028650479686019, 1e-12);
}

static void test_fit(void)
{
    /* 100 s limit, 98 usable; 1 s steps; nothing else. */
    g_assert_cmpint(tr_schedule_fit(10, 1000, 10, 100, 1, 0, 0), ==, 98);
    g_assert_cmpint(tr_schedule_fit(10, 50, 10, 100, 1, 0, 0), ==, 50);
    /* 4 s validations each 2 steps and one at the end: 84 s left, 3 s a step. */
    g_assert_cmpint(tr_schedule_fit(10, 1000, 10, 100, 1, 4, 2), ==, 38);
    g_assert_cmpint(tr_schedule_fit(10, 1000, 99, 100, 1, 0, 0), ==, 11); /* too late: one more */
    g_assert_cmpint(tr_schedule_fit(50, 50, 99, 100, 1, 0, 0), ==, 50);
}

/* ---- options
 * ---------------------------------------------------------------------------------------------- */

/* Every option can be set from its own text, and setting it otherwise is seen as a difference. */
static void test_options(void)
{
    size_t n;
    const tr_option *table = tr_option_table(&n);
    for (size_t i = 0; i < n; i++) {
        tr_options a, b;
        tr_options_init(&a);
        b = a;
        g_autofree char *text = tr_option_text(&table[i], &a);
        GError *error = NULL;
        g_assert_true(tr_options_set(&b, table[i].name, text, &error));
        g_autofree char *before = tr_options_to_text(&a, true),
                        *same = tr_options_to_text(&b, true);
        g_assert_cmpstr(before, ==, same);
        const char *other = table[i].kind == TR_BOOL ? "true"
                            : table[i].kind == TR_ENUM
                                ? table[i].values[!strcmp(text, table[i].values[0])]
                            : table[i].kind == TR_STRING ? "other"
                            : table[i].kind == TR_DOUBLE ? "0.0625"
                                                         : "3";
        g_assert_true(tr_options_set(&b, table[i].name, other, &error));
        g_autofree char *after = tr_options_to_text(&b, true),
                        *difference = tr_options_difference(before, after);
        g_assert_cmpint(difference != NULL, ==, table[i].matters);
        if (difference)
            g_assert_true(g_str_has_prefix(difference, table[i].name));
        if (table[i].kind == TR_STRING)
            continue;
        g_assert_false(tr_options_set(&b, table[i].name, "nonsense", &error));
        g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
        g_assert_nonnull(strstr(error->message, table[i].name));
        g_clear_error(&error);
    }
}

static void test_method_options(void)
{
    tr_options o;
    tr_options_init(&o);
    GError *error = NULL;
    g_assert_true(tr_options_set_method(&o, "mt", &error)); /* any case */
    g_assert_cmpstr(o.method, ==, "MT");
    g_assert_true(tr_options_set(&o, "ema", "0.9", &error));
    g_assert_cmpfloat(o.method_values[0], ==, 0.9);
    g_assert_false(tr_options_set(&o, "ema", "1.5", &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    g_assert_false(tr_options_set(&o, "no-such", "1", &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    g_assert_true(tr_options_set_method(&o, "SL", &error));
    g_assert_false(tr_options_set(&o, "ema", "0.9", &error)); /* not SL's */
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_clear_error(&error);
    g_assert_false(tr_options_set_method(&o, "XYZ", &error));
    g_assert_nonnull(strstr(error->message, "SL, FullSup, MT, FixMatch, CCT, CPS, R-Drop, BCP"));
    g_clear_error(&error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/data/sampler/streams", test_sampler_streams);
    g_test_add_func("/data/sampler/pure", test_sampler_pure);
    g_test_add_func("/data/sampler/small-and-empty", test_sampler_small_and_empty);
    g_test_add_func("/data/augment/geometry", test_geometry);
    g_test_add_func("/data/augment/inverse", test_inverse);
    g_test_add_func("/data/augment/between-views", test_between_views);
    g_test_add_func("/data/augment/colour", test_colour);
    g_test_add_func("/data/loader/pure", test_loader_pure);
    g_test_add_func("/data/loader/content", test_loader_content);
    g_test_add_func("/data/loader/raw", test_loader_raw);
    g_test_add_func("/data/loader/error", test_loader_error);
    g_test_add_func("/data/noise", test_noise);
    g_test_add_func("/data/schedules", test_schedules);
    g_test_add_func("/data/fit", test_fit);
    g_test_add_func("/data/options", test_options);
    g_test_add_func("/data/method-options", test_method_options);
    return g_test_run();
}
