/* Grid, blending and the road of the windows, with readers and networks whose answer is known:
 * strips against the whole plane computed at once in double precision, bits against batch size,
 * readers and threads, pairs of networks, hostile logits, what is skipped, and every error. On the
 * CPU; with WINDOWS_CUDA on the emulated GPU, and there against the CPU to the bit. */
#include "infer/predict/stitch.h"
#include "infer/predict/windows.h"

#include "base/classes.h"
#include "base/error.h"
#ifdef WINDOWS_CUDA
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.h"
#endif

#include <math.h>
#include <string.h>

#ifdef WINDOWS_CUDA
#define DEVICE "cuda"
#else
#define DEVICE "cpu"
#endif

static kn_engine *engine; /* of the worlds made next */
static int classes = 3;   /* likewise */

static kn_engine *engine_new(const char *backend, int threads)
{
    GError *error = NULL;
    kn_engine_options options = {.backend = backend, .n_threads = threads};
    kn_engine *e = kn_engine_create(&options, &error);
    g_assert_no_error(error);
    return e;
}

/* The "slide": any pixel from its place. The "network": probabilities from the pixels of a window
 * and the place in the window, so that overlapping windows disagree and blending matters. */
static uint8_t pixel(int64_t x, int64_t y, int c)
{
    uint32_t v = (uint32_t)(x * 73856093 ^ y * 19349663 ^ c * 83492791);
    v ^= v >> 13;
    v *= 0x5bd1e995u;
    return (uint8_t)(v >> 24);
}

static void fake_prob(const uint8_t *rgb, int i, int j, int window, int n, float *p)
{
    float sum = 0;
    for (int c = 0; c < n; c++) {
        p[c] = 1 + rgb[c % 3] + (c % 3 == 0 ? (float)i : c % 3 == 1 ? 0.5f * j : (i * j) % window);
        sum += p[c];
    }
    for (int c = 0; c < n; c++)
        p[c] /= sum;
}

/* What the second of a pair says: the classes backwards, of the transposed place. */
static void second_prob(const uint8_t *rgb, int i, int j, int window, int n, float *p)
{
    float turned[QS_CLASSES_MAX];
    fake_prob(rgb, j, i, window, n, turned);
    for (int c = 0; c < n; c++)
        p[c] = turned[n - 1 - c];
}

typedef struct {
    inf_windows job;
    int64_t skip_left_of;       /* windows with x below it are not wanted */
    int64_t fail_read_at;       /* x of the window whose reading fails, -1 none */
    int fail_infer_at, n_infer; /* call of infer that fails */
    int max_n;
    int64_t rows_seen, stop_rows_at;
    bool bad_order, pair;
    int hostile; /* of the values of `hostile_logit`; 0: the fake network's */
    kn_tensor z[2];
    float *logits;  /* one network's, on the host */
    uint8_t *label; /* (h,w) */
    float *prob;    /* (h,w,classes) */
} world;

enum { HUGE_LOGITS = 1, NAN_LOGIT, INFINITE_LOGIT };

/* Differences of 2·10³⁸, subnormals, and equal ones. */
static float hostile_logit(int hostile, int i, int j, int c)
{
    static const float values[] = {1e38f, -1e38f, 0, 1e-40f, -1e-40f, 88.8f, -104};
    if (hostile == NAN_LOGIT && i == 7 && j == 5 && c == 1)
        return NAN;
    if (hostile == INFINITE_LOGIT && i == 7 && j == 5 && c == 1)
        return -INFINITY;
    return values[(i * 3 + j + c * (i % 5)) % 7];
}

static bool wanted(void *user, int64_t x, int64_t y)
{
    (void)y;
    return x >= ((world *)user)->skip_left_of;
}

static bool read_window(void *user, int64_t x, int64_t y, uint8_t *rgb, GError **error)
{
    world *w = user;
    if (x == w->fail_read_at) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_FORMAT, "tile is damaged");
        return false;
    }
    int px = w->job.window_px;
    for (int i = 0; i < px; i++)
        for (int j = 0; j < px; j++)
            for (int c = 0; c < 3; c++)
                rgb[((size_t)i * (size_t)px + (size_t)j) * 3 + (size_t)c] = pixel(x + j, y + i, c);
    return true;
}

/* Logits whose softmax is the known answer; NaN in the images that no window has: a short pass must
 * not add them. */
static void make_logits(world *w, const uint8_t *const *rgb, int n, bool second)
{
    int px = w->job.window_px, nc = w->job.n_classes;
    float *z = w->logits;
    for (int k = 0; k < w->job.pass_n; k++)
        for (int i = 0; i < px; i++)
            for (int j = 0; j < px; j++, z += nc) {
                const uint8_t *pixel_at = rgb[MIN(k, n - 1)] + ((size_t)(i * px + j)) * 3;
                (second ? second_prob : fake_prob)(pixel_at, i, j, px, nc, z);
                for (int c = 0; c < nc; c++)
                    z[c] = k >= n           ? NAN
                           : w->hostile > 0 ? hostile_logit(w->hostile, i, j, c)
                                            : logf(z[c]);
            }
}

static void put_logits(const world *w, const kn_tensor *t)
{
    size_t n = (size_t)kn_pixels(t) * (size_t)t->c;
    if (t->dtype == KN_F32) {
        kn_engine_upload(w->job.engine, t->data, w->logits, n * sizeof(float));
        return;
    }
    for (size_t i = 0; i < n; i++)
        kn_f64(t)[i] = (double)w->logits[i];
}

static bool infer(void *user, const uint8_t *const *rgb, int n, inf_logits *logits, GError **error)
{
    world *w = user;
    w->max_n = MAX(w->max_n, n);
    if (++w->n_infer == w->fail_infer_at) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_INTERNAL, "network broke");
        return false;
    }
    make_logits(w, rgb, n, false);
    put_logits(w, &w->z[0]);
    if (w->pair) {
        make_logits(w, rgb, n, true);
        put_logits(w, &w->z[1]);
    }
    *logits = (inf_logits){&w->z[0], w->pair ? &w->z[1] : NULL};
    return true;
}

static bool take_rows(void *user, int64_t y, int n_rows, int64_t width, const uint8_t *label,
                      const float *prob, GError **error)
{
    world *w = user;
    if (w->stop_rows_at > 0 && y >= w->stop_rows_at) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_IO, "disk is full");
        return false;
    }
    w->bad_order = w->bad_order || y != w->rows_seen || width != w->job.w;
    memcpy(w->label + y * width, label, (size_t)(n_rows * width));
    g_assert_true(w->job.labels_only == (prob == NULL));
    if (prob)
        memcpy(w->prob + y * width * w->job.n_classes, prob,
               (size_t)(n_rows * width * w->job.n_classes) * sizeof(float));
    w->rows_seen = y + n_rows;
    return true;
}

static void world_init(world *w, int64_t width, int64_t height, int window, int stride,
                       inf_blend blend)
{
    *w = (world){.fail_read_at = -1};
    w->job = (inf_windows){.engine = engine,
                           .w = width,
                           .h = height,
                           .window_px = window,
                           .stride_px = stride,
                           .n_classes = classes,
                           .blend = blend,
                           .pass_n = 4,
                           .batch = 8,
                           .n_readers = 1,
                           .user = NULL,
                           .wanted = wanted,
                           .read = read_window,
                           .infer = infer,
                           .rows = take_rows};
    w->label = g_malloc0((size_t)(width * height));
    w->prob = g_new0(float, width *height *classes);
}

static void world_clear(world *w)
{
    g_free(w->label);
    g_free(w->prob);
}

static size_t prob_bytes(const world *w)
{
    return (size_t)(w->job.w * w->job.h * w->job.n_classes) * sizeof(float);
}

static bool world_run(world *w, inf_report *report, GError **error)
{
    int px = w->job.window_px, nc = w->job.n_classes;
    w->job.user = w;
    w->job.rows_user = w;
    w->logits = g_new(float, (gsize)w->job.pass_n *(gsize)(px * px * nc));
    for (int k = 0; k < (w->pair ? 2 : 1); k++)
        g_assert_true(
            kn_engine_tensor_create(w->job.engine, w->job.pass_n, px, px, nc, &w->z[k], NULL));
    bool ok = inf_windows_run(&w->job, NULL, report, error);
    for (int k = 0; k < 2; k++)
        kn_engine_tensor_destroy(w->job.engine, &w->z[k]);
    g_free(w->logits);
    return ok;
}

/* The whole plane at once, in doubles, straight from the definition. */
static void whole(const world *w, double *prob)
{
    const inf_windows *j = &w->job;
    int px = j->window_px, nc = j->n_classes;
    g_autofree double *weight = g_new0(double, j->w * j->h);
    memset(prob, 0, (size_t)(j->w * j->h) * (size_t)nc * sizeof(double));
    for (int64_t y0 = 0; y0 == 0 || y0 - j->stride_px + px < j->h; y0 += j->stride_px) {
        for (int64_t x0 = 0; x0 == 0 || x0 - j->stride_px + px < j->w; x0 += j->stride_px) {
            int64_t wx = MAX(0, MIN(x0, j->w - px)), wy = MAX(0, MIN(y0, j->h - px));
            if (wx < w->skip_left_of)
                continue;
            for (int r = 0; r < px && wy + r < j->h; r++) {
                for (int c = 0; c < px && wx + c < j->w; c++) {
                    double s = px / 8.0, dr = r - (px - 1) / 2.0, dc = c - (px - 1) / 2.0;
                    double g =
                        j->blend == INF_BLEND_UNIFORM ? 1 : exp(-(dr * dr + dc * dc) / (2 * s * s));
                    uint8_t rgb[3];
                    float p[QS_CLASSES_MAX], q[QS_CLASSES_MAX];
                    int64_t at = (wy + r) * j->w + wx + c;
                    for (int k = 0; k < 3; k++)
                        rgb[k] = pixel(wx + c, wy + r, k);
                    fake_prob(rgb, r, c, px, nc, p);
                    second_prob(rgb, r, c, px, nc, q);
                    weight[at] += g;
                    for (int k = 0; k < nc; k++)
                        prob[at * nc + k] +=
                            g * (w->pair ? ((double)p[k] + (double)q[k]) / 2 : (double)p[k]);
                }
            }
        }
    }
    for (int64_t i = 0; i < j->w * j->h; i++)
        for (int k = 0; k < nc; k++)
            prob[i * nc + k] = weight[i] > 0 ? prob[i * nc + k] / weight[i] : (k == 0 ? 1.0 : 0.0);
}

/* Largest difference from the whole plane; NaN when any is. Labels must be an argmax. */
static double distance(const world *w)
{
    int64_t n = w->job.w * w->job.h, nc = w->job.n_classes;
    g_autofree double *want = g_new(double, (gsize)(n * nc));
    whole(w, want);
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double top = 0;
        for (int k = 0; k < nc; k++)
            top = MAX(top, want[i * nc + k]);
        if (!(w->label[i] < nc && want[i * nc + w->label[i]] >= top - 1e-5))
            return INFINITY;
        for (int k = 0; k < nc; k++) {
            double d = fabs((double)w->prob[i * nc + k] - want[i * nc + k]);
            if (isnan(d))
                return NAN;
            worst = MAX(worst, d);
        }
    }
    return worst;
}

static void test_axis(void)
{
    const struct {
        int64_t length;
        int window, stride;
        int64_t n, last;
    } cases[] = {
        {256, 256, 192, 1, 0},
        {100, 256, 192, 1, 0},
        {1, 16, 1, 1, 0},
        {257, 256, 192, 2, 1},
        {448, 256, 192, 2, 192},
        {449, 256, 192, 3, 193},
        {1000, 64, 64, 16, 936},
        {20, 16, 1, 5, 4},
        {3000000000, 256, 256, 11718750, 2999999744},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        int64_t n = inf_axis_n(cases[i].length, cases[i].window, cases[i].stride);
        g_assert_cmpint(n, ==, cases[i].n);
        g_assert_cmpint(inf_axis_at(cases[i].length, cases[i].window, cases[i].stride, 0), ==, 0);
        g_assert_cmpint(inf_axis_at(cases[i].length, cases[i].window, cases[i].stride, n - 1), ==,
                        cases[i].last);
    }
    /* Every pixel is covered, and no window starts where another does. */
    for (int64_t length = 1; length < 200; length++) {
        int64_t covered = 0, n = inf_axis_n(length, 32, 24);
        for (int64_t k = 0; k < n; k++) {
            int64_t at = inf_axis_at(length, 32, 24, k);
            g_assert_cmpint(at, <=, covered);
            g_assert_true(k == 0 || at > inf_axis_at(length, 32, 24, k - 1));
            covered = at + 32;
        }
        g_assert_cmpint(covered, >=, length);
    }
}

static void test_weights(void)
{
    float w[64];
    inf_blend_weights(INF_BLEND_UNIFORM, 64, w);
    for (int i = 0; i < 64; i++)
        g_assert_true(w[i] == 1.0f);
    inf_blend_weights(INF_BLEND_GAUSSIAN, 64, w);
    for (int i = 0; i < 64; i++) {
        g_assert_true(w[i] > 0 && w[i] <= 1 && w[i] == w[63 - i]);
        g_assert_true(i == 0 || i > 31 || w[i] > w[i - 1]);
    }
    double d = 31.5 / 8;
    g_assert_true(fabs((double)w[0] - exp(-0.5 * d * d)) <= 1e-9);
}

static void test_strips_equal_whole(void)
{
    const struct {
        int64_t w, h;
        int window, stride;
    } cases[] = {
        {100, 90, 32, 24}, {64, 64, 32, 32}, {33, 161, 32, 7}, {161, 33, 16, 16}, {32, 32, 32, 24},
        {5, 3, 16, 12},    {1, 1, 16, 16},   {7, 200, 16, 12}, {200, 7, 48, 13},
    };
    static const int n_classes[] = {2, 3, QS_CLASSES_MAX};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (int turn = 0; turn < 6; turn++) {
            world w;
            GError *error = NULL;
            inf_report report;
            classes = n_classes[turn % 3];
            world_init(&w, cases[i].w, cases[i].h, cases[i].window, cases[i].stride,
                       (inf_blend)(turn % 2));
            w.pair = turn >= 3;
            g_assert_true(world_run(&w, &report, &error));
            g_assert_no_error(error);
            g_assert_false(w.bad_order);
            g_assert_cmpint(w.rows_seen, ==, cases[i].h);
            g_assert_cmpint(report.n_run, ==, report.n_windows);
            double worst = distance(&w);
            g_test_message("%zu, turn %d: largest difference %g", i, turn, worst);
            g_assert_true(worst <= 2e-6);
            world_clear(&w);
        }
    }
    classes = 3;
}

/* The comparison above can fail: another blending, another stride, one wrong pixel. */
static void test_comparison_can_fail(void)
{
    world w;
    world_init(&w, 100, 90, 32, 24, INF_BLEND_GAUSSIAN);
    g_assert_true(world_run(&w, NULL, NULL));
    w.job.blend = INF_BLEND_UNIFORM;
    g_assert_false(distance(&w) <= 2e-6);
    w.job.blend = INF_BLEND_GAUSSIAN;
    w.job.stride_px = 23;
    g_assert_false(distance(&w) <= 2e-6);
    w.job.stride_px = 24;
    w.pair = true;
    g_assert_false(distance(&w) <= 2e-6);
    w.pair = false;
    g_assert_true(distance(&w) <= 2e-6);
    w.prob[1234] = NAN;
    g_assert_false(distance(&w) <= 2e-6);
    world_clear(&w);
}

static void test_bits_of_batch_and_readers(void)
{
    world first;
    world_init(&first, 150, 133, 32, 20, INF_BLEND_GAUSSIAN);
    g_assert_true(world_run(&first, NULL, NULL));
    const int settings[][3] = {{1, 1, 1}, {4, 3, 2}, {3, 8, 4}, {7, 64, 3}, {64, 1, 8}};
    for (size_t i = 0; i < G_N_ELEMENTS(settings); i++) {
        world w;
        world_init(&w, 150, 133, 32, 20, INF_BLEND_GAUSSIAN);
        w.job.pass_n = settings[i][0];
        w.job.batch = settings[i][1];
        w.job.n_readers = settings[i][2];
        g_assert_true(world_run(&w, NULL, NULL));
        g_assert_cmpint(w.max_n, <=, settings[i][0]);
        g_assert_cmpmem(w.prob, prob_bytes(&w), first.prob, prob_bytes(&first));
        g_assert_cmpmem(w.label, 150 * 133, first.label, 150 * 133);
        world_clear(&w);
    }
    world_clear(&first);
}

/* The labels of a run that brings labels alone are the same. */
static void test_labels_only(void)
{
    world first, w;
    world_init(&first, 77, 61, 32, 20, INF_BLEND_GAUSSIAN);
    world_init(&w, 77, 61, 32, 20, INF_BLEND_GAUSSIAN);
    w.job.labels_only = true;
    g_assert_true(world_run(&first, NULL, NULL));
    g_assert_true(world_run(&w, NULL, NULL));
    g_assert_cmpmem(w.label, 77 * 61, first.label, 77 * 61);
    g_assert_cmpint(inf_windows_memory(&w.job), <, inf_windows_memory(&first.job));
    world_clear(&w);
    world_clear(&first);
}

/* Other places to compute: the double-precision engine, more threads and, on the emulated GPU,
 * threads and blocks in other orders; f32 to the bit. */
static void check_engine(const world *want, kn_engine *other, double tolerance)
{
    kn_engine *usual = engine;
    world w;
    engine = other;
    world_init(&w, want->job.w, want->job.h, want->job.window_px, want->job.stride_px,
               want->job.blend);
    w.pair = want->pair;
    w.job.pass_n = want->job.pass_n;
    g_assert_true(world_run(&w, NULL, NULL));
    if (tolerance > 0) {
        g_assert_true(distance(&w) <= tolerance);
    } else {
        g_assert_cmpmem(w.prob, prob_bytes(&w), want->prob, prob_bytes(want));
        g_assert_cmpmem(w.label, (size_t)(w.job.w * w.job.h), want->label,
                        (size_t)(w.job.w * w.job.h));
    }
    world_clear(&w);
    engine = usual;
}

static void test_engines(void)
{
    kn_engine *ref = engine_new("ref", 1), *cpu1 = engine_new("cpu", 1),
              *cpu3 = engine_new("cpu", 3);
    for (int turn = 0; turn < 2; turn++) {
        world w;
        world_init(&w, 101, 83, 32, turn ? 9 : 20, INF_BLEND_GAUSSIAN);
        w.pair = turn == 1;
        w.job.pass_n = turn ? 40 : 4; /* more than one call takes */
        g_assert_true(world_run(&w, NULL, NULL));
        check_engine(&w, ref, 2e-7);
        check_engine(&w, cpu1, 0);
        check_engine(&w, cpu3, 0);
#ifdef WINDOWS_CUDA
        for (unsigned order = 1; order <= 2; order++) {
            kn_emu_set_order((int)order, 5);
            check_engine(&w, engine, 0);
        }
        kn_emu_set_order(0, 0);
#endif
        world_clear(&w);
    }
    kn_engine_destroy(cpu3);
    kn_engine_destroy(cpu1);
    kn_engine_destroy(ref);
}

/* Logits of any finite size give probabilities. */
static void test_hostile(void)
{
    world w;
    GError *error = NULL;
    world_init(&w, 61, 53, 16, 11, INF_BLEND_GAUSSIAN);
    w.hostile = HUGE_LOGITS;
    g_assert_true(world_run(&w, NULL, &error));
    g_assert_no_error(error);
    int seen[3] = {0};
    for (int64_t i = 0; i < 61 * 53; i++) {
        const float *p = w.prob + 3 * i;
        g_assert_true(p[0] >= 0 && p[1] >= 0 && p[2] >= 0);
        g_assert_true(fabsf(p[0] + p[1] + p[2] - 1) <= 1e-6f);
        g_assert_true(p[w.label[i]] >= p[0] && p[w.label[i]] >= p[1] && p[w.label[i]] >= p[2]);
        seen[w.label[i]]++;
    }
    g_assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
    world_clear(&w);
}

/* Windows that are not wanted are neither read nor run; what none covers is background. */
static void test_skipping(void)
{
    world w;
    GError *error = NULL;
    inf_report report;
    world_init(&w, 200, 150, 32, 32, INF_BLEND_GAUSSIAN);
    w.skip_left_of = 96;
    w.fail_read_at = 64; /* would fail if it were read */
    g_assert_true(world_run(&w, &report, &error));
    g_assert_no_error(error);
    g_assert_cmpint(report.n_windows, ==, 7 * 5);
    g_assert_cmpint(report.n_run, ==, 4 * 5);
    g_assert_true(distance(&w) <= 2e-6);
    for (int64_t y = 0; y < 150; y++)
        for (int64_t x = 0; x < 96; x++)
            g_assert_true(w.label[y * 200 + x] == 0 && w.prob[(y * 200 + x) * 3] == 1.0f);
    world_clear(&w);

    world_init(&w, 200, 150, 32, 32, INF_BLEND_GAUSSIAN);
    w.skip_left_of = 1000;
    g_assert_true(world_run(&w, &report, &error));
    g_assert_cmpint(report.n_run, ==, 0);
    g_assert_cmpint(w.rows_seen, ==, 150);
    g_assert_true(distance(&w) <= 0);
    world_clear(&w);
}

static void check_fails(world *w, int code, const char *text)
{
    GError *error = NULL;
    g_assert_false(world_run(w, NULL, &error));
    g_assert_error(error, QS_ERROR, code);
    if (!strstr(error->message, text)) {
        g_test_message("\"%s\" lacks \"%s\"", error->message, text);
        g_test_fail();
    }
    g_error_free(error);
    world_clear(w);
}

static void test_errors(void)
{
    world w;
    for (int readers = 1; readers <= 4; readers += 3) {
        world_init(&w, 200, 150, 32, 32, INF_BLEND_GAUSSIAN);
        w.job.n_readers = readers;
        w.fail_read_at = 64;
        check_fails(&w, QS_ERROR_FORMAT, "window at (64, 0): tile is damaged");
    }
    world_init(&w, 200, 150, 32, 32, INF_BLEND_GAUSSIAN);
    w.fail_infer_at = 3;
    check_fails(&w, QS_ERROR_INTERNAL, "network broke");
    world_init(&w, 200, 150, 32, 32, INF_BLEND_GAUSSIAN);
    w.stop_rows_at = 64;
    check_fails(&w, QS_ERROR_IO, "disk is full");
    world_init(&w, 200, 150, 32, 32, INF_BLEND_GAUSSIAN);
    w.stop_rows_at = 128; /* above the last window row: fails when the rest is handed out */
    w.job.stride_px = 1;
    check_fails(&w, QS_ERROR_IO, "disk is full");
    world_init(&w, 32, 32, 32, 1, INF_BLEND_GAUSSIAN);
    w.job.w = w.job.h = 80000; /* more than 2^32 windows */
    check_fails(&w, QS_ERROR_UNSUPPORTED, "--stride (now 1)");
    world_init(&w, 32, 32, 32, 32, INF_BLEND_GAUSSIAN);
    qs_stop_request();
    check_fails(&w, QS_ERROR_STOPPED, "stopped");
    qs_stop_clear();
    for (int hostile = NAN_LOGIT; hostile <= INFINITE_LOGIT; hostile++) {
        world_init(&w, 100, 40, 32, 32, INF_BLEND_GAUSSIAN);
        w.hostile = hostile;
        check_fails(&w, QS_ERROR_FORMAT, "not a number");
        g_assert_cmpint(w.rows_seen, ==, 0);
    }
}

/* The stated memory does not depend on the height but for the list of windows. */
static void test_memory(void)
{
    world w;
    world_init(&w, 1000, 100, 64, 48, INF_BLEND_GAUSSIAN);
    int64_t low = inf_windows_memory(&w.job),
            rows = inf_axis_n(1000000, 64, 48) - inf_axis_n(100, 64, 48);
    w.job.h = 1000000;
    int64_t high = inf_windows_memory(&w.job);
    g_assert_cmpint(high - low, ==, rows * inf_axis_n(1000, 64, 48) * 4);
    g_assert_cmpint(low, >=,
                    64 * 1000 * classes * 4 + 16 * 64 * 64 * 3 + 64 * 1000 * (classes * 4 + 1));
    world_clear(&w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#ifdef WINDOWS_CUDA
    kn_cuda_register();
#endif
    engine = engine_new(DEVICE, 2);
    g_test_add_func("/infer/windows/axis", test_axis);
    g_test_add_func("/infer/windows/weights", test_weights);
    g_test_add_func("/infer/windows/strips-equal-whole", test_strips_equal_whole);
    g_test_add_func("/infer/windows/comparison-can-fail", test_comparison_can_fail);
    g_test_add_func("/infer/windows/bits-of-batch-and-readers", test_bits_of_batch_and_readers);
    g_test_add_func("/infer/windows/labels-only", test_labels_only);
    g_test_add_func("/infer/windows/engines", test_engines);
    g_test_add_func("/infer/windows/hostile", test_hostile);
    g_test_add_func("/infer/windows/skipping", test_skipping);
    g_test_add_func("/infer/windows/errors", test_errors);
    g_test_add_func("/infer/windows/memory", test_memory);
    int status = g_test_run();
    kn_engine_destroy(engine);
    return status;
}
