/* A step as graphs on the emulated GPU: with graphs and without (QS_DISABLE=graph), to the same
 * bits over steps whose rate, λ, EMA share, random streams, boxes and thresholds all change; a
 * change of stage; a stop in the middle; a loss that is not finite. The emulated graph replays its
 * own copy of every argument (device_emu.c), so what a program forgot to renew gives other bits
 * here. Methods whose steps are made of the same parts as another's are left to `test_cuda_graph -m
 * slow`, which takes every method that the GPU has. */
#include "base/error.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.h"
#include "tests/train/fixture.h"

#include <string.h>

enum { PX = 16, ITEMS = 6, LABELLED = 3 };

typedef struct {
    const char *method;
    tr_loss loss;
    int batch, steps;
    bool slow; /* of `-m slow` only */
} recipe;

static const recipe recipes[] = {
    {"SL", TR_LOSS_PLAIN, 1, 3, false},      {"MT", TR_LOSS_METASSL, 1, 3, false},
    {"CPS", TR_LOSS_METASSL, 1, 3, false},   {"BCP", TR_LOSS_PLAIN, 2, 6, false},
    {"UA-MT", TR_LOSS_PLAIN, 1, 3, true},    {"FullSup", TR_LOSS_PLAIN, 1, 3, true},
    {"FixMatch", TR_LOSS_PLAIN, 1, 3, true}, {"R-Drop", TR_LOSS_METASSL, 1, 3, true},
    {"CCT", TR_LOSS_PLAIN, 1, 3, true},      {"URPC", TR_LOSS_PLAIN, 1, 3, true},
    {"CCVC", TR_LOSS_PLAIN, 1, 3, true},     {"DCNet", TR_LOSS_PLAIN, 1, 3, true},
};

static tr_options options_of(const recipe *r, const char *dir)
{
    tr_options o;
    fixture_options_init(&o, r->method, r->loss, dir);
    o.backend = "cuda";
    o.precision = KN_PRECISION_BF16;
    o.batch_labelled = o.batch_unlabelled = r->batch;
    o.iterations = r->steps;
    o.log_every = 1;
    return o;
}

/* Trains to the end, or until iteration `until` (0: the end); graphs launched on the way. */
static int64_t train(const tr_options *o, int64_t until, bool with_graphs)
{
    fixture_source s;
    int64_t before = kn_emu_graphs_now().launches;
    fixture_source_init(&s, PX, ITEMS, LABELLED);
    if (!with_graphs)
        g_setenv("QS_DISABLE", "graph", TRUE);
    fixture_train_until(o, &s, until);
    g_unsetenv("QS_DISABLE");
    fixture_source_clear(&s);
    return kn_emu_graphs_now().launches - before;
}

static void assert_same(const char *dir_a, const char *dir_b)
{
    static const char *const files[] = {"last.safetensors", "state.safetensors"};
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *a = g_build_filename(dir_a, files[i], NULL);
        g_autofree char *b = g_build_filename(dir_b, files[i], NULL);
        fixture_assert_same(a, b, i ? "params" : "");
    }
}

static void test_same_bits(gconstpointer data)
{
    const recipe *r = data;
    char *plain = fixture_dir(), *graphs = fixture_dir();
    tr_options o = options_of(r, plain);
    g_assert_cmpint(train(&o, 0, false), ==, 0);
    o.out_dir = graphs;
    int64_t launched = train(&o, 0, true);
    g_test_message("%d steps by %d launches of graphs", r->steps, (int)launched);
    g_assert_cmpint(launched, >=, r->steps - 1);
    assert_same(plain, graphs);
    fixture_dir_remove(plain);
    fixture_dir_remove(graphs);
}

/* Stopped and gone on with, shuffled: the bits of one go without graphs. */
static void test_resumed(void)
{
    char *whole = fixture_dir(), *parts = fixture_dir();
    const recipe *r = &recipes[0];
    tr_options o = options_of(r, whole);
    train(&o, 0, false);
    o.out_dir = parts;
    kn_emu_set_order(2, 5);
    train(&o, 1, true);
    g_assert_cmpint(train(&o, 0, true), >, 0);
    kn_emu_set_order(0, 0);
    assert_same(whole, parts);
    fixture_dir_remove(whole);
    fixture_dir_remove(parts);
}

/* The step whose loss is not finite is the one that says so, with graphs as without. */
static void test_not_finite(void)
{
    g_autofree char *said[2] = {NULL, NULL};
    for (int with = 0; with < 2; with++) {
        char *dir = fixture_dir();
        fixture_source s;
        g_autoptr(GError) error = NULL;
        const recipe sl = {"SL", TR_LOSS_PLAIN, 1, 100, false};
        tr_options o = options_of(&sl, dir);
        o.lr = 1e9;
        o.weight_decay = 1;
        o.momentum = 0;
        fixture_source_init(&s, PX, ITEMS, LABELLED);
        if (!with)
            g_setenv("QS_DISABLE", "graph", TRUE);
        g_assert_false(fixture_run_until(&o, &s, 0, &error));
        g_unsetenv("QS_DISABLE");
        g_assert_error(error, QS_ERROR, QS_ERROR_FORMAT);
        said[with] = g_strdup(strstr(error->message, "step "));
        g_assert_nonnull(said[with]);
        fixture_source_clear(&s);
        fixture_dir_remove(dir);
    }
    g_test_message("%s", said[1]);
    g_assert_cmpstr(said[0], ==, said[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kn_cuda_register();
    for (size_t i = 0; i < G_N_ELEMENTS(recipes); i++) {
        if (recipes[i].slow && !g_test_slow())
            continue;
        g_autofree char *path = g_strdup_printf("/cuda-graph/%s", recipes[i].method);
        g_test_add_data_func(path, &recipes[i], test_same_bits);
    }
    g_test_add_func("/cuda-graph/resumed", test_resumed);
    g_test_add_func("/cuda-graph/not-finite", test_not_finite);
    return g_test_run();
}
