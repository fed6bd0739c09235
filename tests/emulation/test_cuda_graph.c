/* A step as one graph on the emulated GPU: with graphs and without (QS_DISABLE=graph), to the same
 * bits over steps whose rate, λ, EMA share, random streams, boxes and thresholds all change; a
 * change of stage; a stop in the middle; numbers that are looked at late; a loss that is not
 * finite. The emulated graph replays its own copy of every argument, and the emulated stream does
 * nothing before it is waited for (device_emu.c), so what a program forgot to renew, and what the
 * host reads or overwrites too early, gives other bits here. Methods whose steps are made of the
 * same parts as another's are left to `test_cuda_graph -m slow`, which takes every method that the
 * GPU has. */
#include "base/error.h"
#include "base/report.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/launch.h"
#include "tests/train/fixture.h"

#include <math.h>
#include <string.h>

enum { PX = 16, ITEMS = 6, LABELLED = 3, STEPS_MAX = 16 };

typedef struct {
    const char *method;
    tr_loss loss;
    int batch, steps;
    bool slow; /* of `-m slow` only */
} recipe;

static const recipe recipes[] = {
    {"SL", TR_LOSS_PLAIN, 1, 3, false},      {"MT", TR_LOSS_METASSL, 1, 4, false},
    {"CPS", TR_LOSS_METASSL, 1, 3, false},   {"BCP", TR_LOSS_PLAIN, 2, 6, false},
    {"UA-MT", TR_LOSS_PLAIN, 1, 3, true},    {"FullSup", TR_LOSS_PLAIN, 1, 3, true},
    {"FixMatch", TR_LOSS_PLAIN, 1, 3, true}, {"R-Drop", TR_LOSS_METASSL, 1, 3, true},
    {"CCT", TR_LOSS_PLAIN, 1, 3, true},      {"URPC", TR_LOSS_PLAIN, 1, 3, true},
    {"CCVC", TR_LOSS_PLAIN, 1, 3, true},     {"DCNet", TR_LOSS_PLAIN, 1, 3, true},
    {"SDCL", TR_LOSS_PLAIN, 2, 6, true},     {"CEUD", TR_LOSS_PLAIN, 1, 4, true},
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
    bool set = !g_str_equal(r->method, "CEUD") || /* a sweep is no part of a step */
               tr_options_set(&o, "ceud-sweep-every", "100", NULL);
    g_assert_true(set);
    return o;
}

/* What a status tells, and what the device had done by then. */
typedef struct {
    kn_emu_graphs seen[STEPS_MAX];
    double loss[STEPS_MAX];
    int n;
    int64_t until; /* stops there; 0: nowhere */
} witness;

static void look(void *user, const tr_status *status)
{
    witness *w = user;
    g_assert_cmpint(w->n, <, STEPS_MAX);
    w->seen[w->n] = kn_emu_graphs_now();
    w->loss[w->n++] = status->loss;
    if (w->until > 0 && status->iteration >= w->until)
        qs_stop_request();
}

/* Trains to the end, or until iteration `until` (0: the end). */
static witness train(const tr_options *o, int64_t until, bool with_graphs)
{
    fixture_source s;
    model_spec spec;
    GError *error = NULL;
    witness w = {.until = until};
    const tr_callbacks callbacks = {.user = &w, .status = look};
    fixture_source_init(&s, PX, ITEMS, LABELLED);
    fixture_spec_init(&spec, PX);
    if (!with_graphs)
        g_setenv("QS_DISABLE", "graph", TRUE);
    bool ok = tr_run(o, &s.source, &spec, &callbacks, &error);
    g_unsetenv("QS_DISABLE");
    qs_stop_clear();
    if (until > 0)
        g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    else
        g_assert_no_error(error);
    g_assert_true(ok == (until == 0));
    g_clear_error(&error);
    fixture_source_clear(&s);
    return w;
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

/* A step that was seen before is one graph and nothing beside it. */
static void assert_one_graph(const witness *w)
{
    const kn_emu_graphs *now = &w->seen[w->n - 1], *before = now - 1;
    g_assert_cmpint(w->n, >, 1);
    g_test_message("the last step: %d graphs, %d operations alone",
                   (int)(now->launches - before->launches), (int)(now->alone - before->alone));
    g_assert_cmpint(now->launches - before->launches, ==, 1);
    g_assert_cmpint(now->alone - before->alone, ==, 0);
}

static void test_same_bits(gconstpointer data)
{
    const recipe *r = data;
    char *plain = fixture_dir(), *graphs = fixture_dir();
    tr_options o = options_of(r, plain);
    witness without = train(&o, 0, false);
    g_assert_cmpint(without.seen[without.n - 1].launches, ==, without.seen[0].launches);
    o.out_dir = graphs;
    witness with = train(&o, 0, true);
    assert_one_graph(&with);
    for (int i = 0; i < with.n; i++)
        g_assert_true(with.loss[i] == without.loss[i]);
    assert_same(plain, graphs);
    fixture_dir_remove(plain);
    fixture_dir_remove(graphs);
}

/* Stopped and gone on with, shuffled: the bits of one go without graphs. */
static void test_resumed(void)
{
    char *whole = fixture_dir(), *parts = fixture_dir();
    const recipe *r = &recipes[1];
    tr_options o = options_of(r, whole);
    train(&o, 0, false);
    o.out_dir = parts;
    kn_emu_set_order(2, 5);
    train(&o, 1, true);
    witness rest = train(&o, 0, true);
    kn_emu_set_order(0, 0);
    g_assert_cmpint(rest.n, ==, r->steps - 1);
    assert_same(whole, parts);
    fixture_dir_remove(whole);
    fixture_dir_remove(parts);
}

/* Numbers that are looked at once, at the end, are those of a look at every step: all steps are
 * counted, thresholds reach the state, and weights learn the same. */
static void test_late(void)
{
    char *each = fixture_dir(), *once = fixture_dir();
    const recipe *r = &recipes[1];
    tr_options o = options_of(r, each);
    witness all = train(&o, 0, true);
    o.out_dir = once;
    o.log_every = r->steps;
    witness last = train(&o, 0, true);
    double mean = 0;
    for (int i = 0; i < all.n; i++)
        mean += all.loss[i] / all.n;
    g_assert_cmpint(all.n, ==, r->steps);
    g_assert_cmpint(last.n, ==, 1);
    g_test_message("mean loss %.9g, %.9g", mean, last.loss[0]);
    g_assert_true(fabs(mean - last.loss[0]) <= 1e-12 * mean);
    assert_same(each, once);
    fixture_dir_remove(each);
    fixture_dir_remove(once);
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
    g_test_add_func("/cuda-graph/late", test_late);
    g_test_add_func("/cuda-graph/not-finite", test_not_finite);
    return g_test_run();
}
