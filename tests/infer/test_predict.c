/* The network on a view: against a forward pass made by hand, bits against batch, readers and
 * threads, padding, tissue, the files' grids, and every error. With PREDICT_CUDA the same on the
 * emulated GPU, in f32. */
#include "infer/predict/predict.h"

#include "base/error.h"
#include "base/rng.h"
#include "tests/infer/scratch.h"
#include "wsi/annot/mask.h"
#include "wsi/image/picture.h"
#ifdef PREDICT_CUDA
#include "kernels/cuda/cuda.h"
#endif

#include <math.h>
#include <string.h>

#ifdef PREDICT_CUDA
#define DEVICE "cuda"
#else
#define DEVICE "cpu"
#endif

enum { CLASSES = 3, WINDOW = 32 };

/* ---- a slide, a model, a place for rows
 * ---------------------------------------------------------- */
typedef struct {
    char *dir;
    wsi_slide *slide;
    wsi_view view;
} scene;

static void scene_init(scene *s, int w, int h, double mpp, double mpp_wanted)
{
    GError *error = NULL;
    s->dir = scratch_make();
    g_autofree char *path = g_build_filename(s->dir, "slide.png", NULL);
    g_autofree uint8_t *rgb = g_malloc((size_t)w * (size_t)h * 3);
    qs_rng rng;
    qs_rng_init(&rng, 7, 7);
    for (int i = 0; i < w * h; i++) {
        int shade = (int)qs_rng_below(&rng, 60) + 40 * ((i % w) / 24 % 3);
        rgb[3 * i] = (uint8_t)(90 + shade);
        rgb[3 * i + 1] = (uint8_t)(20 + shade);
        rgb[3 * i + 2] = (uint8_t)(70 + shade);
    }
    g_assert_true(wsi_picture_write_png(path, rgb, w, h, &error));
    s->slide = wsi_slide_open(path, mpp, &error);
    g_assert_no_error(error);
    wsi_view_init(&s->view, s->slide, mpp_wanted <= 0, mpp_wanted, &error);
    g_assert_no_error(error);
}

static void scene_clear(scene *s)
{
    wsi_slide_close(s->slide);
    scratch_remove(s->dir);
}

/* Weights of a fresh network, with a head strong enough to use every class. */
static kn_engine *make_model(model *m, const char *backend, int threads)
{
    GError *error = NULL;
    kn_engine_options options = {.backend = backend,
                                 .n_threads = threads,
                                 .conv = KN_CONV_DIRECT,
                                 .precision = KN_PRECISION_F32};
    kn_engine *engine = kn_engine_create(&options, &error);
    g_assert_no_error(error);
    *m = (model){
        .spec = {.mean = {.6, .4, .5}, .std = {.2, .2, .2}, .level0 = true, .patch_px = WINDOW}};
    kn_unet_spec_init(&m->spec.net, CLASSES, 16);
    qs_classes_init_n(&m->spec.classes, CLASSES);
    m->net = kn_net_create_unet(&m->spec.net, &error);
    g_assert_no_error(error);
    m->weights = kn_weights_create(engine, m->net, false, &error);
    g_assert_no_error(error);
    kn_weights_init(m->weights, 3);
    return engine;
}

static void free_model(model *m, kn_engine *engine)
{
    kn_weights_destroy(m->weights);
    kn_net_destroy(m->net);
    kn_engine_destroy(engine);
}

typedef struct {
    uint8_t *label;
    float *prob;
    int64_t w, h, seen;
} planes;

static bool take_rows(void *user, int64_t y, int n_rows, int64_t w, const uint8_t *label,
                      const float *prob, GError **error)
{
    (void)error;
    planes *p = user;
    g_assert_true(y == p->seen && w == p->w);
    memcpy(p->label + y * w, label, (size_t)(n_rows * w));
    memcpy(p->prob + y * w * CLASSES, prob, (size_t)(n_rows * w) * CLASSES * sizeof(float));
    p->seen += n_rows;
    return true;
}

static void planes_init(planes *p, const wsi_view *view)
{
    *p = (planes){.w = view->w, .h = view->h};
    p->label = g_malloc0((size_t)(p->w * p->h));
    p->prob = g_new0(float, (gsize)(p->w * p->h * CLASSES));
}

static void planes_clear(planes *p)
{
    g_free(p->label);
    g_free(p->prob);
}

static inf_options small_options(void)
{
    inf_options o;
    inf_options_init(&o);
    o.stride_px = 20;
    return o;
}

/* Predicts the scene with this model into new planes. */
static void predict_with(planes *p, const scene *s, kn_engine *engine, const model *m,
                         const inf_options *o, const wsi_tissue *tissue, inf_report *report)
{
    GError *error = NULL;
    inf_predictor *predictor = inf_predictor_create(engine, m, o, &error);
    g_assert_no_error(error);
    planes_init(p, &s->view);
    inf_predict(predictor, &s->view, tissue, false, take_rows, p, NULL, report, &error);
    g_assert_no_error(error);
    g_assert_cmpint(p->seen, ==, p->h);
    inf_predictor_destroy(predictor);
}

static void predict(planes *p, const scene *s, const char *backend, int threads,
                    const inf_options *o, const wsi_tissue *tissue, inf_report *report)
{
    model m;
    kn_engine *engine = make_model(&m, backend, threads);
    predict_with(p, s, engine, &m, o, tissue, report);
    free_model(&m, engine);
}

/* ---- tests
 * ---------------------------------------------------------------------------------------- */

/* One window over a plane of up to its size: softmax of one forward pass of the padded picture. */
static void check_single_window(int w, int h)
{
    scene s;
    planes got;
    GError *error = NULL;
    inf_options o = small_options();
    scene_init(&s, w, h, 0.5, 0);
    predict(&got, &s, DEVICE, 1, &o, NULL, NULL);

    model m;
    kn_engine *engine = make_model(&m, DEVICE, 1);
    kn_pass_options options = {.mode = KN_PASS_INFER, .n = INF_PASS_N, .h = WINDOW, .w = WINDOW};
    kn_pass *pass = kn_pass_create(engine, m.net, &options, &error);
    g_assert_no_error(error);
    uint8_t rgb[WINDOW * WINDOW * 3];
    memset(rgb, 255, sizeof rgb);
    g_assert_true(wsi_view_read(&s.view, 0, 0, w, h, rgb, WINDOW * 3, &error));
    const kn_tensor *in = kn_pass_input(pass);
    for (int k = 0; k < INF_PASS_N; k++)
        model_normalise(&m.spec, rgb, WINDOW * WINDOW, kn_f32(in) + k * WINDOW * WINDOW * 3);
    g_assert_true(kn_pass_forward(pass, m.weights, 0, &error));
    const kn_tensor *z = kn_pass_logits(pass);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            const float *logit = kn_f32(z) + (y * WINDOW + x) * z->ldc;
            double sum = 0;
            for (int c = 0; c < CLASSES; c++)
                sum += exp((double)logit[c]);
            for (int c = 0; c < CLASSES; c++) {
                double want = exp((double)logit[c]) / sum;
                g_assert_true(fabs((double)got.prob[(y * w + x) * CLASSES + c] - want) <= 1e-6);
            }
        }
    }
    kn_pass_destroy(pass);
    free_model(&m, engine);
    planes_clear(&got);
    scene_clear(&s);
}

static void test_single_window(void)
{
    check_single_window(WINDOW, WINDOW);
    check_single_window(19, 7);
    check_single_window(1, 1);
}

/* The same bits for any batch, number of readers and number of threads; and not for another stride.
 */
static void test_bits(void)
{
    scene s;
    planes first, other;
    scene_init(&s, 117, 95, 0.5, 0);
    inf_options o = small_options();
    predict(&first, &s, DEVICE, 1, &o, NULL, NULL);
    size_t n = (size_t)(first.w * first.h);
    const int settings[][3] = {{1, 1, 1}, {8, 1, 2}, {3, 2, 1}, {64, 3, 2}, {5, 4, 3}, {8, 1, 4}};
    for (size_t i = 0; i < G_N_ELEMENTS(settings); i++) {
        o.batch = settings[i][0];
        o.n_readers = settings[i][1];
        predict(&other, &s, DEVICE, settings[i][2], &o, NULL, NULL);
        g_assert_cmpmem(first.prob, n * CLASSES * sizeof(float), other.prob,
                        n * CLASSES * sizeof(float));
        g_assert_cmpmem(first.label, n, other.label, n);
        planes_clear(&other);
    }
    o.stride_px = 19;
    predict(&other, &s, DEVICE, 1, &o, NULL, NULL);
    g_assert_true(memcmp(first.prob, other.prob, n * CLASSES * sizeof(float)) != 0);
    planes_clear(&other);
    planes_clear(&first);
    scene_clear(&s);
}

/* A model of two networks, the second with CCVC's mapping: the mean of what each says alone; and a
 * file of it predicts the same bits. */
static void test_pair(void)
{
    GError *error = NULL;
    scene s;
    planes one, two, both, loaded;
    inf_options o = small_options();
    model m, other, from_file;
    scene_init(&s, 75, 50, 0.5, 0);
    kn_engine *engine = make_model(&m, DEVICE, 1);
    other = (model){.spec = m.spec};
    other.spec.net.variant = KN_UNET_MAPPED;
    other.net = kn_net_create_unet(&other.spec.net, &error);
    other.weights = kn_weights_create(engine, other.net, false, &error);
    g_assert_no_error(error);
    kn_weights_init(other.weights, 4);
    predict_with(&one, &s, engine, &m, &o, NULL, NULL);
    predict_with(&two, &s, engine, &other, &o, NULL, NULL);
    m.spec.pair = true;
    m.spec.second = other.spec.net;
    m.second_net = other.net;
    m.second_weights = other.weights;
    predict_with(&both, &s, engine, &m, &o, NULL, NULL);
    g_autofree char *path = g_build_filename(s.dir, "pair.safetensors", NULL);
    model_save_pair(path, &m.spec, m.weights, m.second_weights, &error);
    g_assert_no_error(error);
    model_load(&from_file, path, engine, false, &error);
    g_assert_no_error(error);
    predict_with(&loaded, &s, engine, &from_file, &o, NULL, NULL);
    double apart = 0;
    for (int64_t i = 0; i < both.w * both.h * CLASSES; i++) {
        double mean = ((double)one.prob[i] + (double)two.prob[i]) / 2;
        g_assert_true(fabs((double)both.prob[i] - mean) <= 1e-6);
        apart = fmax(apart, fabs((double)(one.prob[i] - two.prob[i])));
    }
    g_assert_cmpfloat(apart, >, 0.01);
    size_t n = (size_t)(both.w * both.h);
    g_assert_cmpmem(both.prob, n * CLASSES * sizeof(float), loaded.prob,
                    n * CLASSES * sizeof(float));
    g_assert_cmpmem(both.label, n, loaded.label, n);
    planes_clear(&one);
    planes_clear(&two);
    planes_clear(&both);
    planes_clear(&loaded);
    model_clear(&from_file);
    kn_weights_destroy(other.weights);
    kn_net_destroy(other.net);
    free_model(&m, engine);
    scene_clear(&s);
}

static void test_reference_engine(void)
{
    scene s;
    planes cpu, ref;
    scene_init(&s, 50, 40, 0.5, 0);
    inf_options o = small_options();
    predict(&cpu, &s, DEVICE, 1, &o, NULL, NULL);
    predict(&ref, &s, "ref", 1, &o, NULL, NULL);
    for (int64_t i = 0; i < cpu.w * cpu.h * CLASSES; i++)
        g_assert_true(fabsf(cpu.prob[i] - ref.prob[i]) <= 1e-4f);
    planes_clear(&cpu);
    planes_clear(&ref);
    scene_clear(&s);
}

/* Only windows that touch tissue are run; what none covers is background. */
static void test_tissue(void)
{
    scene s;
    planes got;
    inf_report report;
    scene_init(&s, 160, 96, 0.5, 0);
    inf_options o = small_options();
    o.stride_px = WINDOW;
    uint8_t mask[10 * 6] = {0};
    mask[2 * 10 + 7] = 1; /* level-0 pixels (112…127, 32…47): window (96, 32) alone */
    wsi_tissue tissue = {.w = 10, .h = 6, .downsample_x = 16, .downsample_y = 16, .mask = mask};
    predict(&got, &s, DEVICE, 1, &o, &tissue, &report);
    g_assert_cmpint(report.n_windows, ==, 15);
    g_assert_cmpint(report.n_run, ==, 1);
    int64_t n_inside = 0;
    for (int64_t y = 0; y < 96; y++) {
        for (int64_t x = 0; x < 160; x++) {
            bool inside = x >= 96 && x < 128 && y >= 32 && y < 64;
            const float *p = got.prob + (y * 160 + x) * CLASSES;
            n_inside += inside && p[0] < 1;
            g_assert_true(inside ||
                          (got.label[y * 160 + x] == 0 && p[0] == 1 && p[1] == 0 && p[2] == 0));
        }
    }
    g_assert_cmpint(n_inside, ==, WINDOW * WINDOW);
    planes_clear(&got);
    scene_clear(&s);
}

static uint8_t *read_all(const char *path, int64_t w, int64_t h, const qs_classes *classes,
                         wsi_mask_info *info)
{
    GError *error = NULL;
    wsi_mask *mask = wsi_mask_open(path, w, h, classes, &error);
    g_assert_no_error(error);
    *info = *wsi_mask_get_info(mask);
    info->path = NULL;
    uint8_t *label = g_malloc((size_t)(info->w * info->h));
    g_assert_true(wsi_mask_read_native(mask, 0, 0, (int)info->w, (int)info->h, label,
                                       (size_t)info->w, &error));
    wsi_mask_close(mask);
    return label;
}

/* The mask is level 0 divided by the integer nearest to the downsample; each of its pixels is the
 * view pixel at its centre. */
static void check_grid(double mpp_wanted, int factor)
{
    enum { W = 131, H = 90 };
    scene s;
    planes want;
    GError *error = NULL;
    inf_options o = small_options();
    scene_init(&s, W, H, 0.5, mpp_wanted);
    predict(&want, &s, DEVICE, 1, &o, NULL, NULL);

    model m;
    kn_engine *engine = make_model(&m, DEVICE, 1);
    inf_predictor *predictor = inf_predictor_create(engine, &m, &o, &error);
    g_autofree char *mask = g_build_filename(s.dir, "mask.tif", NULL);
    g_autofree char *prob = g_build_filename(s.dir, "prob.tif", NULL);
    inf_predict_to_tiff(predictor, &s.view, NULL, mask, prob, NULL, NULL, &error);
    g_assert_no_error(error);
    inf_mask_grid grid;
    inf_mask_grid_init(&grid, &s.view);
    g_assert_cmpint(grid.factor, ==, factor);
    g_assert_true(fabs(grid.mpp - 0.5 * factor) <= 1e-12);

    wsi_mask_info info;
    g_autofree uint8_t *label = read_all(mask, W, H, &m.spec.classes, &info);
    g_assert_cmpint(info.factor, ==, factor);
    g_assert_cmpint(info.w, ==, W / factor);
    g_assert_cmpint(info.h, ==, H / factor);
    /* The probabilities, read through a table in which every value is a class but 255. */
    wsi_slide *grey = wsi_slide_open(prob, 1, &error);
    g_assert_no_error(error);
    g_autofree uint8_t *rgb = g_malloc((size_t)(info.w * info.h * 3));
    g_assert_true(
        wsi_slide_read(grey, 0, 0, 0, (int)info.w, (int)info.h, rgb, (size_t)info.w * 3, &error));
    for (int64_t y = 0; y < info.h; y++) {
        for (int64_t x = 0; x < info.w; x++) {
            int64_t vx = MIN((int64_t)((x + 0.5) * factor * 0.5 / s.view.mpp), want.w - 1);
            int64_t vy = MIN((int64_t)((y + 0.5) * factor * 0.5 / s.view.mpp), want.h - 1);
            double p = 255 * (1 - (double)want.prob[(vy * want.w + vx) * CLASSES]);
            g_assert_cmpint(label[y * info.w + x], ==, want.label[vy * want.w + vx]);
            g_assert_true(fabs(rgb[3 * (y * info.w + x)] - p) <= 0.501);
        }
    }
    wsi_slide_close(grey);
    inf_predictor_destroy(predictor);
    free_model(&m, engine);
    planes_clear(&want);
    scene_clear(&s);
}

static void test_grid_level0(void)
{
    check_grid(0, 1);
}
static void test_grid_half(void)
{
    check_grid(1.0, 2);
}
static void test_grid_third(void)
{
    check_grid(1.5, 3);
}
static void test_grid_finer(void)
{
    check_grid(0.7, 1);
}
static void test_grid_coarser(void)
{
    check_grid(0.9, 2);
}

static void refused(const model *m, kn_engine *engine, inf_options o, const char *text)
{
    GError *error = NULL;
    g_assert_null(inf_predictor_create(engine, m, &o, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_assert_nonnull(strstr(error->message, text));
    g_error_free(error);
}

static void test_options(void)
{
    model m;
    GError *error = NULL;
    kn_engine *engine = make_model(&m, DEVICE, 1);
    inf_options o;
    inf_options_init(&o);
    inf_predictor *p = inf_predictor_create(engine, &m, &o, &error);
    g_assert_no_error(error);
    g_assert_cmpint(inf_predictor_options(p)->window_px, ==, WINDOW);
    g_assert_cmpint(inf_predictor_options(p)->stride_px, ==, WINDOW * 3 / 4);
    inf_predictor_destroy(p);
    refused(&m, engine, (inf_options){.window_px = 40, .batch = 1, .n_readers = 1}, "window of 40");
    refused(&m, engine, (inf_options){.window_px = -16, .batch = 1, .n_readers = 1},
            "window of -16");
    refused(&m, engine, (inf_options){.window_px = 8192, .batch = 1, .n_readers = 1},
            "window of 8192");
    refused(&m, engine, (inf_options){.stride_px = 33, .batch = 1, .n_readers = 1}, "stride of 33");
    refused(&m, engine, (inf_options){.stride_px = -1, .batch = 1, .n_readers = 1}, "stride of -1");
    refused(&m, engine, (inf_options){.batch = 0, .n_readers = 1}, "batch 0");
    refused(&m, engine, (inf_options){.batch = 1, .n_readers = 0}, "reading threads 0");
    inf_blend blend = INF_BLEND_GAUSSIAN;
    g_assert_true(inf_blend_parse("Uniform", &blend) && blend == INF_BLEND_UNIFORM);
    g_assert_false(inf_blend_parse("hann", &blend));
    g_assert_cmpstr(inf_blend_name(INF_BLEND_GAUSSIAN), ==, "gaussian");
    free_model(&m, engine);
}

static void test_errors(void)
{
    scene s;
    model m;
    GError *error = NULL;
    inf_options o = small_options();
    scene_init(&s, 60, 50, 0.5, 0);
    kn_engine *engine = make_model(&m, DEVICE, 1);
    inf_predictor *p = inf_predictor_create(engine, &m, &o, &error);
    g_autofree char *nowhere = g_build_filename(s.dir, "no", "such", "mask.tif", NULL);
    g_autofree char *mask = g_build_filename(s.dir, "mask.tif", NULL);
    g_assert_false(inf_predict_to_tiff(p, &s.view, NULL, nowhere, NULL, NULL, NULL, &error));
    g_assert_nonnull(strstr(error->message, "mask.tif"));
    g_clear_error(&error);
    g_assert_false(inf_predict_to_tiff(p, &s.view, NULL, mask, nowhere, NULL, NULL, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_false(g_file_test(mask, G_FILE_TEST_EXISTS));

    qs_stop_request();
    g_assert_false(inf_predict_to_tiff(p, &s.view, NULL, mask, NULL, NULL, NULL, &error));
    qs_stop_clear();
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    g_assert_false(g_file_test(mask, G_FILE_TEST_EXISTS));

    float nan = NAN;
    kn_weights_set(m.weights, KN_ARRAY_PARAMS, 0, 1, &nan);
    g_assert_false(inf_predict_to_tiff(p, &s.view, NULL, mask, NULL, NULL, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_FORMAT);
    g_assert_nonnull(strstr(error->message, "not a number"));
    g_assert_nonnull(strstr(error->message, "slide.png"));
    g_clear_error(&error);
    g_assert_false(g_file_test(mask, G_FILE_TEST_EXISTS));
    inf_predictor_destroy(p);
    free_model(&m, engine);
    scene_clear(&s);
}

/* What is stated covers the parts that can be counted by hand, and grows with the width, not the
 * height. */
static void test_memory(void)
{
    model m;
    GError *error = NULL;
    kn_engine *engine = make_model(&m, DEVICE, 1);
    inf_options o = small_options();
    inf_predictor *p = inf_predictor_create(engine, &m, &o, &error);
    scene low, high;
    scene_init(&low, 200, 100, 0.5, 0);
    scene_init(&high, 200, 1000, 0.5, 0);
    int64_t a = inf_predictor_memory(p, &low.view), b = inf_predictor_memory(p, &high.view);
    int64_t parts = 200 * WINDOW * CLASSES * 4 + 2 * o.batch * WINDOW * WINDOW * 3 +
                    INF_PASS_N * WINDOW * WINDOW * (CLASSES + 3) * 4;
    g_assert_cmpint(a, >=, parts);
    g_assert_cmpint(b - a, <=, 4 * 10 * 46);
    scene_clear(&low);
    scene_clear(&high);
    inf_predictor_destroy(p);
    free_model(&m, engine);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* libtiff warns, through libvips, that a tile is wider than a small picture. */
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
#ifdef PREDICT_CUDA
    kn_cuda_register();
#endif
    g_test_add_func("/infer/predict/single-window", test_single_window);
    g_test_add_func("/infer/predict/pair", test_pair);
    g_test_add_func("/infer/predict/bits-of-batch-readers-threads", test_bits);
    g_test_add_func("/infer/predict/reference-engine", test_reference_engine);
    g_test_add_func("/infer/predict/tissue", test_tissue);
    g_test_add_func("/infer/predict/grid-level0", test_grid_level0);
    g_test_add_func("/infer/predict/grid-half", test_grid_half);
    g_test_add_func("/infer/predict/grid-third", test_grid_third);
    g_test_add_func("/infer/predict/grid-finer", test_grid_finer);
    g_test_add_func("/infer/predict/grid-coarser", test_grid_coarser);
    g_test_add_func("/infer/predict/options", test_options);
    g_test_add_func("/infer/predict/errors", test_errors);
    g_test_add_func("/infer/predict/memory", test_memory);
    return g_test_run();
}
