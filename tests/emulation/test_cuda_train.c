/* Training on the emulated GPU: a few steps beside the CPU's in f32, bf16 near them, the same bits
 * again whatever the order of threads and blocks, a run that is stopped and goes on, and one whose
 * state moves from the CPU to the GPU and back. */
#include "base/error.h"
#include "base/report.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.h"
#include "model/safetensors.h"
#include "tests/train/fixture.h"

#include <math.h>
#include <string.h>

enum { PX = 16, ITEMS = 6, LABELLED = 3, STEPS = 2 };

typedef struct {
    const char *method;
    tr_loss loss;
    bool apart; /* halves apart, an average that predicts, and thresholds that begin with a mean */
} recipe;

static const recipe recipes[] = {{.method = "MT", .loss = TR_LOSS_METASSL},
                                 {.method = "CPS", .loss = TR_LOSS_METASSL, .apart = true}};

static tr_options options_of(const recipe *r, const char *device, kn_precision precision,
                             const char *dir)
{
    tr_options o;
    fixture_options_init(&o, r->method, r->loss, dir);
    o.backend = device;
    o.precision = precision;
    o.batch_labelled = o.batch_unlabelled = 1;
    o.iterations = STEPS;
    o.log_every = 1;
    o.lr = 5e-4; /* so that rounding has no time to grow */
    o.bn = r->apart ? TR_BN_SPLIT : TR_BN_JOINT;
    o.eval_weights = r->apart ? TR_EVAL_EMA : TR_EVAL_LAST;
    o.gamma_start = r->apart ? TR_GAMMA_START_MEAN : TR_GAMMA_START_GAMMA0;
    return o;
}

/* Trains to the end, or until iteration `until` (0: the end). */
static void train(const tr_options *o, int64_t until)
{
    fixture_source s;
    fixture_source_init(&s, PX, ITEMS, LABELLED);
    fixture_train_until(o, &s, until);
    fixture_source_clear(&s);
}

static void assert_same(const char *dir_a, const char *dir_b)
{
    g_autofree char *a = g_build_filename(dir_a, "last.safetensors", NULL);
    g_autofree char *b = g_build_filename(dir_b, "last.safetensors", NULL);
    fixture_assert_same(a, b, "");
}

static st_file *open_state(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "state.safetensors", NULL);
    st_file *state = st_open(path, NULL);
    g_assert_nonnull(state);
    return state;
}

/* What moves from step to step and is no weight: thresholds, what their rules average, counts of
 * held-back pixels, a method's memory. */
static void assert_state_near(const char *dir_a, const char *dir_b, const char *moved)
{
    static const char *const names[] = {"gamma", "gamma_state", "held", "memory"};
    g_autoptr(st_file) a = open_state(dir_a);
    g_autoptr(st_file) b = open_state(dir_b);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const st_tensor *x = st_find(a, names[i]), *y = st_find(b, names[i]);
        double most = 0;
        g_assert_true(x && y && x->dtype == ST_F64 && st_elements(x) == st_elements(y));
        for (int64_t k = 0; k < st_elements(x); k++) {
            double u = ((const double *)x->data)[k], v = ((const double *)y->data)[k];
            most = fmax(most, fabs(u));
            g_assert_true(fabs(u - v) <= 1e-3 + 1e-2 * fabs(u)); /* counts: a pixel or two */
        }
        if (g_str_equal(names[i], moved))
            g_assert_cmpfloat(most, >, 0);
    }
}

typedef struct {
    const char *name, *method;
    tr_loss loss;
    kn_threshold threshold;
    tr_weights weights;
    const char *moved; /* of the state, so that it is not all zeros */
    int alike; /* steps after which weights are compared: DCNet's hard choices of pixels turn single
                  roundings of the first step into another pixel in the second */
} rule;

static const rule rules[] = {
    {"flexmatch", "MT", TR_LOSS_METASSL, KN_THRESHOLD_FLEXMATCH, TR_WEIGHTS_FIXED, "gamma_state",
     STEPS},
    {"freematch", "MT", TR_LOSS_METASSL, KN_THRESHOLD_FREEMATCH, TR_WEIGHTS_FIXED, "gamma_state",
     STEPS},
    {"weights-auto", "MT", TR_LOSS_METASSL, KN_THRESHOLD_ADAPTIVE, TR_WEIGHTS_AUTO, "held", STEPS},
    {"dcnet", "DCNet", TR_LOSS_PLAIN, KN_THRESHOLD_ADAPTIVE, TR_WEIGHTS_FIXED, "memory", 1},
};

/* Numbers that a device moves from step to step, and the CPU's. */
static void train_by_rule(const rule *r, int steps, char *dirs[2])
{
    const recipe of = {.method = r->method, .loss = r->loss};
    for (int d = 0; d < 2; d++) {
        dirs[d] = fixture_dir();
        tr_options o = options_of(&of, d ? "cuda" : "cpu", KN_PRECISION_F32, dirs[d]);
        o.threshold = r->threshold;
        o.weights = r->weights;
        o.flexmatch_tau = 0.5;
        o.batch_unlabelled = r->weights == TR_WEIGHTS_AUTO ? 2 : 1;
        o.iterations = steps;
        train(&o, 0);
    }
}

static void test_rules(gconstpointer data)
{
    const rule *r = data;
    char *dirs[2], *alike[2];
    train_by_rule(r, STEPS, dirs);
    assert_state_near(dirs[0], dirs[1], r->moved);
    if (r->alike == STEPS)
        memcpy(alike, dirs, sizeof alike);
    else
        train_by_rule(r, r->alike, alike);
    double difference = fixture_difference(alike[0], alike[1]);
    g_test_message("after %d steps weights are %g apart", r->alike, difference);
    g_assert_true(difference <= 1e-3);
    for (int d = 0; d < 2; d++) {
        fixture_dir_remove(alike[d]);
        if (r->alike != STEPS)
            fixture_dir_remove(dirs[d]);
    }
}

static void test_beside_cpu(gconstpointer data)
{
    const recipe *r = data;
    char *cpu = fixture_dir(), *f32 = fixture_dir(), *bf16 = fixture_dir();
    tr_options on_cpu = options_of(r, "cpu", KN_PRECISION_F32, cpu);
    tr_options on_f32 = options_of(r, "cuda", KN_PRECISION_F32, f32);
    tr_options on_bf16 = options_of(r, "cuda", KN_PRECISION_BF16, bf16);
    train(&on_cpu, 0);
    train(&on_f32, 0);
    train(&on_bf16, 0);
    double of_f32 = fixture_difference(cpu, f32), of_bf16 = fixture_difference(cpu, bf16);
    g_test_message("after %d steps: f32 %.2g, bf16 %.2g from the CPU", STEPS, of_f32, of_bf16);
    g_assert_true(of_f32 <= 1e-3);
    assert_state_near(cpu, f32, "gamma");
    g_assert_true(of_bf16 > 0 && of_bf16 <= 0.2);
    fixture_dir_remove(cpu);
    fixture_dir_remove(f32);
    fixture_dir_remove(bf16);
}

/* The same bits again, with threads and blocks shuffled, in one go and in two. */
static void test_deterministic(void)
{
    char *whole = fixture_dir(), *again = fixture_dir();
    tr_options o = options_of(&recipes[0], "cuda", KN_PRECISION_BF16, whole);
    train(&o, 0);
    o.out_dir = again;
    kn_emu_set_order(2, 9);
    train(&o, 1);
    train(&o, 0);
    kn_emu_set_order(0, 0);
    assert_same(whole, again);
    fixture_dir_remove(again);
    fixture_dir_remove(whole);
}

/* GPU, then CPU: the state goes along, and the end is where the CPU alone ends. */
static void test_state_moves(void)
{
    char *cpu = fixture_dir(), *moved = fixture_dir();
    tr_options alone = options_of(&recipes[1], "cpu", KN_PRECISION_F32, cpu);
    tr_options o = options_of(&recipes[1], "cuda", KN_PRECISION_F32, moved);
    train(&alone, 0);
    train(&o, 1);
    o.backend = "cpu";
    train(&o, 0);
    g_assert_true(fixture_difference(cpu, moved) <= 1e-3);
    fixture_dir_remove(cpu);
    fixture_dir_remove(moved);
}

static tr_options ceud_options(const char *device, kn_precision precision, const char *dir)
{
    const recipe ceud = {.method = "CEUD", .loss = TR_LOSS_PLAIN};
    tr_options o = options_of(&ceud, device, precision, dir);
    o.iterations = 5;
    /* It ranks from the third step. Adam would make steps of the noise of biases before BatchNorm.
     */
    bool set = tr_options_set(&o, "ceud-sweep-every", "1", NULL) &&
               tr_options_set(&o, "optimiser", "sgd", NULL);
    g_assert_true(set);
    return o;
}

/* Shares of a byte array of the state that are equal in both, and not 0. */
static void compare_bytes(const char *dir_a, const char *dir_b, const char *name, double *equal,
                          double *counted)
{
    g_autoptr(st_file) a = open_state(dir_a);
    g_autoptr(st_file) b = open_state(dir_b);
    const st_tensor *x = st_find(a, name), *y = st_find(b, name);
    g_assert_true(x && y && x->dtype == ST_U8 && st_elements(x) == st_elements(y));
    int64_t n = st_elements(x), same = 0, there = 0;
    for (int64_t i = 0; i < n; i++) {
        same += ((const uint8_t *)x->data)[i] == ((const uint8_t *)y->data)[i];
        there += ((const uint8_t *)y->data)[i] > 0;
    }
    *equal = (double)same / (double)n;
    *counted = (double)there / (double)n;
}

/* CEUD: the history is swept and kept by the host, the ranking computed on the device. Beside the
 * CPU's, and stopped and resumed to the same bits. */
static void test_history(void)
{
    char *cpu = fixture_dir(), *gpu = fixture_dir(), *whole = fixture_dir(), *cut = fixture_dir();
    tr_options on_cpu = ceud_options("cpu", KN_PRECISION_F32, cpu);
    tr_options on_gpu = ceud_options("cuda", KN_PRECISION_F32, gpu);
    train(&on_cpu, 0);
    train(&on_gpu, 0);
    tr_options unranked = ceud_options("cpu", KN_PRECISION_F32, whole);
    bool set = tr_options_set(&unranked, "ceud-correct", "0", NULL) &&
               tr_options_set(&unranked, "ceud-agree", "0", NULL);
    g_assert_true(set);
    train(&unranked, 0);
    double equal, counted, apart = fixture_difference(cpu, gpu);
    double effect = fixture_difference(cpu, whole);
    fixture_dir_remove(whole);
    whole = fixture_dir();
    compare_bytes(cpu, gpu, "history.agreed", &equal, &counted);
    g_test_message("weights differ by %.2g, without ranking by %.2g; %.1f %% of the history is "
                   "the same",
                   apart, effect, 100 * equal);
    g_assert_true(apart <= 5e-3 && apart <= 0.1 * effect);
    g_assert_true(equal >= 0.99 && counted > 0.5);
    tr_options o = ceud_options("cuda", KN_PRECISION_BF16, whole);
    train(&o, 0);
    o.out_dir = cut;
    kn_emu_set_order(2, 5);
    train(&o, 3);
    train(&o, 0);
    kn_emu_set_order(0, 0);
    assert_same(whole, cut);
    fixture_dir_remove(cpu);
    fixture_dir_remove(gpu);
    fixture_dir_remove(whole);
    fixture_dir_remove(cut);
}

/* Such a history is on the host, so the patches cannot lie on the GPU alone. */
static void test_history_refused(void)
{
    fixture_source s;
    model_spec spec;
    g_autoptr(GError) error = NULL;
    char *dir = fixture_dir();
    tr_options o = ceud_options("cuda", KN_PRECISION_BF16, dir);
    o.gpu_data = TR_DATA_RESIDENT;
    fixture_source_init(&s, PX, ITEMS, LABELLED);
    fixture_spec_init(&spec, PX);
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_assert_nonnull(strstr(error->message, "--gpu-data resident: CEUD keeps a history"));
    g_autofree char *written = g_build_filename(dir, "last.safetensors", NULL);
    g_assert_false(g_file_test(written, G_FILE_TEST_EXISTS));
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

/* Wherever the patches lie, and whoever augments: the same bits, shuffled too. */
static void test_data(gconstpointer data)
{
    const recipe *r = data;
    static const tr_gpu_data places[] = {TR_DATA_HOST, TR_DATA_RING, TR_DATA_RESIDENT};
    char *dirs[3];
    for (int i = 0; i < 3; i++) {
        dirs[i] = fixture_dir();
        tr_options o = options_of(r, "cuda", KN_PRECISION_BF16, dirs[i]);
        o.gpu_data = places[i];
        o.batch_labelled = o.batch_unlabelled = 2;
        o.loader_threads = 1 + i;
        o.weights = r->loss == TR_LOSS_METASSL ? TR_WEIGHTS_AUTO : TR_WEIGHTS_FIXED;
        o.cutmix = 1;
        o.strong.cutout_p = o.strong.noise_p = o.strong.blur_p = 0.7;
        bool noisy = strcmp(r->method, "MT") || tr_options_set(&o, "metassl-noise", "0.1", NULL);
        g_assert_true(noisy);
        kn_emu_set_order(i, 3);
        train(&o, i == 1 ? 1 : 0); /* the ring stops on its way, and goes on */
        if (i == 1)
            train(&o, 0);
    }
    kn_emu_set_order(0, 0);
    assert_same(dirs[0], dirs[1]);
    assert_same(dirs[0], dirs[2]);
    for (int i = 0; i < 3; i++)
        fixture_dir_remove(dirs[i]);
}

static char *read_info(const char *dir)
{
    char *text = NULL;
    g_autofree char *path = g_build_filename(dir, "run.json", NULL);
    bool ok = g_file_get_contents(path, &text, NULL, NULL);
    g_assert_true(ok);
    return text;
}

/* Five million patches are more than the emulated GPU has memory for: auto takes the ring, resident
 * is refused before anything is made. */
static void test_too_many(void)
{
    fixture_source s;
    model_spec spec;
    g_autoptr(GError) error = NULL;
    char *dir = fixture_dir(), *refused = fixture_dir();
    const recipe sl = {.method = "SL", .loss = TR_LOSS_PLAIN};
    tr_options o = options_of(&sl, "cuda", KN_PRECISION_BF16, dir);
    o.iterations = 1;
    fixture_source_init(&s, PX, 5000000, LABELLED);
    fixture_spec_init(&spec, PX);
    fixture_train(&o, &s, NULL);
    g_autofree char *info = read_info(dir);
    g_assert_nonnull(strstr(info, "\"gpu_data\" : \"ring\""));
    o.gpu_data = TR_DATA_RESIDENT;
    o.out_dir = refused;
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_MEMORY);
    g_assert_nonnull(strstr(error->message, "leave --gpu-data at auto"));
    fixture_source_clear(&s);
    fixture_dir_remove(refused);
    fixture_dir_remove(dir);
}

/* A patch that cannot be read, and a stop, while the data set is brought to the GPU; a GPU's option
 * without one. */
static void test_loading(void)
{
    fixture_source s;
    model_spec spec;
    char *dir = fixture_dir();
    GError *error = NULL;
    const recipe sl = {.method = "SL", .loss = TR_LOSS_PLAIN};
    tr_options o = options_of(&sl, "cuda", KN_PRECISION_BF16, dir);
    o.iterations = 1;
    fixture_source_init(&s, PX, ITEMS, LABELLED);
    fixture_spec_init(&spec, PX);
    s.fail_item = 4; /* no batch of SL's has it */
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_IO);
    g_assert_nonnull(strstr(error->message, "training patch 4"));
    g_clear_error(&error);
    s.fail_item = -1;
    qs_stop_request();
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    qs_stop_clear();
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    o.backend = "cpu";
    o.precision = KN_PRECISION_F32;
    o.gpu_data = TR_DATA_RING;
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_assert_nonnull(strstr(error->message, "--gpu-data ring is for --device cuda"));
    g_clear_error(&error);
    o = options_of(&sl, "cuda", KN_PRECISION_BF16, dir);
    o.iterations = 1;
    fixture_train(&o, &s, NULL); /* nothing is in the way of the same command */
    g_autofree char *info = read_info(dir);
    g_assert_nonnull(strstr(info, "\"gpu_data\" : \"resident\""));
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

/* Held-back patches, noise on inputs; strong views and CutMix; with -m slow squares, and terms on
 * both halves. */
static const recipe of_data[] = {{.method = "MT", .loss = TR_LOSS_METASSL},
                                 {.method = "FixMatch", .loss = TR_LOSS_PLAIN},
                                 {.method = "BCP", .loss = TR_LOSS_PLAIN},
                                 {.method = "R-Drop", .loss = TR_LOSS_PLAIN}};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kn_cuda_register();
    for (size_t i = 0; i < G_N_ELEMENTS(recipes); i++) {
        g_autofree char *path =
            g_strdup_printf("/cuda-train/%s-%s", recipes[i].method,
                            recipes[i].loss == TR_LOSS_METASSL ? "metassl" : "plain");
        g_test_add_data_func(path, &recipes[i], test_beside_cpu);
    }
    for (size_t i = 0; i < (g_test_slow() ? G_N_ELEMENTS(of_data) : 2); i++) {
        g_autofree char *path = g_strdup_printf("/cuda-train/data/%s", of_data[i].method);
        g_test_add_data_func(path, &of_data[i], test_data);
    }
    g_test_add_func("/cuda-train/data/too-many", test_too_many);
    g_test_add_func("/cuda-train/data/loading", test_loading);
    for (size_t i = 0; i < G_N_ELEMENTS(rules); i++) {
        g_autofree char *path = g_strdup_printf("/cuda-train/%s", rules[i].name);
        g_test_add_data_func(path, &rules[i], test_rules);
    }
    g_test_add_func("/cuda-train/deterministic", test_deterministic);
    g_test_add_func("/cuda-train/history", test_history);
    g_test_add_func("/cuda-train/history/refused", test_history_refused);
    g_test_add_func("/cuda-train/state-moves", test_state_moves);
    return g_test_run();
}
