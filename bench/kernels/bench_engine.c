/* The engine's speed against its floor: the sum of the fastest convolution primitives of the
 * network's shapes, each timed alone in the same run. Two floors: of all primitives, our own
 * convolutions among them where they are the fastest (over_floor), and of oneDNN's alone
 * (over_onednn_floor), which our kernels do not lower.
 *
 *   bench_engine [--batch 24] [--size 256] [--threads 2] [--rounds 3] [--width 16] [--part all]
 *                [--conv both] [--only train|infer] [--clock wall|cpu]
 *
 * --conv: direct, auto, both of them, bf16, or all three; bf16 is left out of "all" where the
 * processor has none.
 *
 * One JSON line a measurement on stdout; every line carries the machine. In each round the floor
 * and the step are run in turn (A B A B), and the medians of the rounds are compared, so that a
 * busy machine slows both. --part step prints only "seconds" of training steps and inference, for a
 * script that runs another program in between. */
#include "kernels/net/net_priv.h"
#include "kernels/net/pass_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS_MAX = 64 };

typedef struct {
    int batch, size, threads, rounds, width;
    char *part;  /* "all", or one of floor, step, profile */
    char *conv;  /* "both", "all" or one of modes[] */
    char *clock; /* "wall", or "cpu": processor time, for one thread on a busy machine */
} settings;

typedef struct {
    double seconds[ROUNDS_MAX];
    int n;
} series;

static const struct {
    const char *name;
    kn_conv_mode conv;
    kn_precision precision;
} modes[] = {{"direct", KN_CONV_DIRECT, KN_PRECISION_F32},
             {"auto", KN_CONV_AUTO, KN_PRECISION_F32},
             {"bf16", KN_CONV_AUTO, KN_PRECISION_BF16}};
enum { BF16_MODE = 2, N_MODES };

static clockid_t bench_clock = CLOCK_MONOTONIC;

static double now(void)
{
    struct timespec t;
    clock_gettime(bench_clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add(series *s, double seconds)
{
    if (s->n < ROUNDS_MAX)
        s->seconds[s->n++] = seconds;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const series *s)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, s->seconds, (size_t)s->n * sizeof(double));
    qsort(sorted, (size_t)s->n, sizeof(double), compare);
    return s->n % 2 ? sorted[s->n / 2] : (sorted[s->n / 2 - 1] + sorted[s->n / 2]) / 2;
}

/* The median of a[i]/b[i], both of round i. */
static double ratio(const series *a, const series *b)
{
    series r = {.n = a->n};
    for (int i = 0; i < a->n; i++)
        r.seconds[i] = a->seconds[i] / b->seconds[i];
    return median(&r);
}

static void stop(GError *error)
{
    fprintf(stderr, "bench_engine: %s\n", error->message);
    exit(1);
}

/* ---- the floor
 * -------------------------------------------------------------------------------------- */

/* One convolution of the network with memory to run it on. */
typedef struct {
    kn_conv *conv;
    kn_tensor src, dst;
    void *packed, *scratch, *dweight, *dbias;
    bool train, bwd_data;
} alone;

typedef struct {
    kn_engine *engine;
    kn_block block; /* shared by all: they run one at a time */
    alone items[64];
    int n;
} floor_set;

static void floor_create(floor_set *f, kn_engine *engine, const kn_pass *pass)
{
    GError *error = NULL;
    const kn_ops *ops = kn_engine_ops(engine);
    size_t most = 0;
    *f = (floor_set){.engine = engine};
    for (int turn = 0; turn < 2; turn++) {
        f->n = 0;
        for (int i = 0; i < (int)pass->net->nodes->len; i++) {
            const kn_step *s = &pass->steps[i];
            if (!s->conv)
                continue;
            kn_conv_needs needs = ops->conv_needs(s->conv);
            alone *a = &f->items[f->n++];
            *a = (alone){
                .conv = s->conv, .train = pass->options.mode == KN_PASS_TRAIN, .bwd_data = s->dsrc};
            a->src = kn_pass_tensor(pass, pass->value_item, s->src);
            a->dst = kn_pass_tensor(pass, pass->value_item, s->dst);
            size_t sizes[6] = {
                (size_t)kn_pixels(&a->src) * (size_t)a->src.c * 4,
                (size_t)kn_pixels(&a->dst) * (size_t)a->dst.c * 4,
                needs.packed_bytes,
                MAX(needs.fwd_bytes, MAX(needs.bwd_data_bytes, needs.bwd_weights_bytes)),
                (size_t)a->src.c * (size_t)a->dst.c * 9 * 4,
                (size_t)a->dst.c * 4};
            size_t offset = 0;
            void **places[6] = {&a->src.data, &a->dst.data, &a->packed,
                                &a->scratch,  &a->dweight,  &a->dbias};
            for (int k = 0; k < 6; k++) {
                *places[k] = f->block.data ? (char *)f->block.data + offset : NULL;
                offset += kn_round_up(sizes[k], 4096);
            }
            most = MAX(most, offset);
        }
        if (turn == 0 && !kn_engine_alloc(engine, &f->block, most, "the floor", &error))
            stop(error);
    }
}

static double run_once(const floor_set *f, const alone *a, int direction)
{
    GError *error = NULL;
    const kn_ops *ops = kn_engine_ops(f->engine);
    double start = now();
    bool ok = direction == 0
                  ? ops->conv_fwd(a->conv, a->packed, &a->src, &a->dst, a->scratch, &error)
              : direction == 1
                  ? ops->conv_bwd_data(a->conv, a->packed, &a->dst, &a->src, a->scratch, &error)
                  : ops->conv_bwd_weights(a->conv, &a->src, &a->dst, a->dweight, NULL, a->scratch,
                                          &error);
    if (!ok)
        stop(error);
    return now() - start;
}

/* Sum over the convolutions, each the faster of two runs. */
static double floor_seconds(const floor_set *f, bool verbose)
{
    double sum = 0;
    kn_engine_team(f->engine);
    for (int i = 0; i < f->n; i++)
        for (int d = 0; d < 3; d++) {
            const alone *a = &f->items[i];
            if ((d > 0 && !a->train) || (d == 1 && !a->bwd_data))
                continue;
            double first = run_once(f, a, d), second = run_once(f, a, d);
            sum += MIN(first, second);
            if (verbose)
                fprintf(stderr, "floor %d->%d %dx%d dir %d: %.2f ms  %.1f GFLOP/s  %s\n", a->src.c,
                        a->dst.c, a->src.w, a->src.h, d, 1e3 * MIN(first, second),
                        2e-9 * (double)kn_pixels(&a->src) * a->src.c * a->dst.c * 9 /
                            MIN(first, second),
                        kn_engine_ops(f->engine)->conv_describe(a->conv));
        }
    return sum;
}

/* ---- the step
 * ----------------------------------------------------------------------------------------- */

static void fill(kn_pass *pass)
{
    const kn_tensor *in = kn_pass_input(pass);
    for (int64_t i = 0; i < kn_pixels(in) * in->c; i++)
        kn_f32(in)[i] = (float)((i * 2654435761u >> 8) % 1000) / 500.0f - 1.0f;
}

static double train_step(kn_pass *pass, kn_weights *weights, uint64_t stream)
{
    GError *error = NULL;
    double start = now();
    kn_weights_zero_grads(weights);
    if (!kn_pass_forward(pass, weights, stream, &error))
        stop(error);
    const kn_tensor *z = kn_pass_logits(pass), *dz = kn_pass_dlogits(pass);
    float scale = 1.0f / (float)kn_pixels(z);
    for (int64_t i = 0; i < kn_pixels(z) * z->c; i++) /* as much traffic as a loss's last pass */
        kn_f32(dz)[i] = kn_f32(z)[i] * scale;
    if (!kn_pass_backward(pass, weights, &error))
        stop(error);
    kn_sgd_step(weights, 0.01, 0.9, 1e-4);
    return now() - start;
}

static double infer_step(kn_pass *pass, kn_weights *weights)
{
    GError *error = NULL;
    double start = now();
    if (!kn_pass_forward(pass, weights, 0, &error))
        stop(error);
    return now() - start;
}

static void print_line(const kn_engine *engine, const settings *s, const char *what,
                       const char *conv, double seconds, const char *extra)
{
    printf("{\"bench\":\"engine\",\"what\":\"%s\",\"conv\":\"%s\",\"batch\":%d,\"size\":%d,"
           "\"width\":%d,"
           "\"clock\":\"%s\",\"seconds\":%.5f,\"images_per_s\":%.3f%s,\"machine\":\"%s\"}\n",
           what, conv, s->batch, s->size, s->width, s->clock ? s->clock : "wall", seconds,
           s->batch / seconds, extra, kn_engine_describe(engine));
    fflush(stdout);
}

static void report(const kn_engine *engine, const settings *s, const char *what, const char *conv,
                   const series *step, const series *floors, const series *onednn)
{
    g_autofree char *extra =
        floors->n ? g_strdup_printf(",\"over_floor\":%.4f,\"over_onednn_floor\":%.4f",
                                    ratio(step, floors), ratio(step, onednn))
                  : g_strdup("");
    if (floors->n) {
        g_autofree char *name = g_strconcat(what, "_floor", NULL);
        g_autofree char *other = g_strconcat(what, "_onednn_floor", NULL);
        print_line(engine, s, name, conv, median(floors), "");
        print_line(engine, s, other, conv, median(onednn), "");
    }
    print_line(engine, s, what, conv, median(step), extra);
}

/* One line a layer and part, beside the same convolution alone. */
static void print_layers(const kn_pass *pass, int steps)
{
    double sum = 0;
    for (int i = 0; i < kn_pass_n_layers(pass); i++) {
        kn_layer l = kn_pass_layer(pass, i);
        for (int p = 0; p < KN_N_PARTS; p++) {
            double seconds = l.seconds[p] / steps;
            sum += seconds;
            if (seconds > 0)
                fprintf(stderr, "step %s %d->%d %dx%d %s: %.2f ms  %.1f GFLOP/s  %.1f GB/s\n", l.op,
                        l.ic, l.oc, l.w, l.h, kn_part_names[p], 1e3 * seconds,
                        1e-9 * l.flop[p] / seconds, 1e-9 * l.bytes[p] / seconds);
        }
    }
    fprintf(stderr, "step: nodes %.2f ms, packing %.2f ms\n", 1e3 * sum,
            1e3 * kn_pass_packing_seconds(pass) / steps);
}

/* The same network's convolutions by oneDNN alone. */
typedef struct {
    kn_engine *engine;
    kn_pass *pass;
    floor_set floors;
} onednn_side;

static void onednn_create(onednn_side *o, const kn_engine_options *options, const kn_net *net,
                          const kn_pass_options *pass_options)
{
    GError *error = NULL;
    g_autofree char *before = g_strdup(g_getenv("QS_DISABLE"));
    g_autofree char *without =
        before ? g_strconcat(before, ",own-conv", NULL) : g_strdup("own-conv");
    g_setenv("QS_DISABLE", without, TRUE);
    o->engine = kn_engine_create(options, &error);
    o->pass = o->engine ? kn_pass_create(o->engine, net, pass_options, &error) : NULL;
    if (!o->pass)
        stop(error);
    if (before)
        g_setenv("QS_DISABLE", before, TRUE);
    else
        g_unsetenv("QS_DISABLE");
    floor_create(&o->floors, o->engine, o->pass);
}

static void onednn_destroy(onednn_side *o)
{
    if (!o->engine)
        return;
    kn_engine_free(o->engine, &o->floors.block);
    kn_pass_destroy(o->pass);
    kn_engine_destroy(o->engine);
}

static kn_engine_options mode_options(const settings *s, int mode)
{
    return (kn_engine_options){.backend = "cpu",
                               .n_threads = s->threads,
                               .conv = modes[mode].conv,
                               .precision = modes[mode].precision};
}

static bool mode_is_there(const settings *s, int mode)
{
    kn_engine_options options = mode_options(s, mode);
    kn_engine *engine = kn_engine_create(&options, NULL);
    kn_engine_destroy(engine);
    return engine;
}

static void bench_mode(const settings *s, const kn_net *net, int mode, kn_pass_mode pass_mode)
{
    GError *error = NULL;
    kn_engine_options options = mode_options(s, mode);
    kn_engine *engine = kn_engine_create(&options, &error);
    if (!engine)
        stop(error);
    kn_pass_options pass_options = {.mode = pass_mode, .n = s->batch, .h = s->size, .w = s->size};
    kn_weights *weights = kn_weights_create(engine, net, true, &error);
    kn_pass *pass = weights ? kn_pass_create(engine, net, &pass_options, &error) : NULL;
    if (!pass)
        stop(error);
    kn_weights_init(weights, 1);
    fill(pass);
    bool train = pass_mode == KN_PASS_TRAIN, with_floor = !g_str_equal(s->part, "step");
    floor_set floors = {0};
    onednn_side onednn = {0};
    if (with_floor) {
        floor_create(&floors, engine, pass);
        onednn_create(&onednn, &options, net, &pass_options);
    }
    series step = {0}, alone_series = {0}, onednn_series = {0};
    bool profile = g_str_equal(s->part, "profile");
    for (int i = -1; i < s->rounds; i++) {
        if (with_floor) {
            double seconds = floor_seconds(&floors, i == 0 && profile);
            double other = floor_seconds(&onednn.floors, false);
            if (i >= 0) {
                add(&alone_series, seconds);
                add(&onednn_series, other);
            }
        }
        if (profile && i == 0) /* the first step warms up */
            kn_pass_set_clock(pass, now);
        double seconds = INFINITY;
        for (int k = 0; k < 2; k++) { /* as the floor's: the faster of two */
            double took = train ? train_step(pass, weights, (uint64_t)(2 * i + k) + 7)
                                : infer_step(pass, weights);
            seconds = MIN(seconds, took);
        }
        if (i >= 0)
            add(&step, seconds);
    }
    if (profile)
        print_layers(pass, 2 * s->rounds);
    report(engine, s, train ? "train" : "infer", modes[mode].name, &step, &alone_series,
           &onednn_series);
    onednn_destroy(&onednn);
    kn_engine_free(engine, &floors.block);
    kn_pass_destroy(pass);
    kn_weights_destroy(weights);
    kn_engine_destroy(engine);
}

int main(int argc, char **argv)
{
    settings s = {.batch = 24, .size = 256, .threads = 2, .rounds = 3, .width = 16};
    g_autofree char *only = NULL;
    GOptionEntry entries[] = {
        {"batch", 0, 0, G_OPTION_ARG_INT, &s.batch, "images a step", "N"},
        {"size", 0, 0, G_OPTION_ARG_INT, &s.size, "height and width", "N"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &s.threads, "threads", "N"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &s.rounds, "rounds", "N"},
        {"width", 0, 0, G_OPTION_ARG_INT, &s.width, "channels of the first level", "N"},
        {"part", 0, 0, G_OPTION_ARG_STRING, &s.part, "all, step (no floor) or profile", "PART"},
        {"conv", 0, 0, G_OPTION_ARG_STRING, &s.conv, "both, all, direct, auto or bf16", "MODE"},
        {"clock", 0, 0, G_OPTION_ARG_STRING, &s.clock, "wall, or cpu (for one thread)", "CLOCK"},
        {"only", 0, 0, G_OPTION_ARG_STRING, &only, "train or infer", "WHAT"},
        {NULL, 0, 0, 0, NULL, NULL, NULL}};
    GError *error = NULL;
    GOptionContext *context = g_option_context_new("- the engine against its floor");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        stop(error);
    g_option_context_free(context);
    s.part = s.part ? s.part : g_strdup("all");
    s.conv = s.conv ? s.conv : g_strdup("both");
    bool cpu = s.clock && g_str_equal(s.clock, "cpu");
    bench_clock = cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    s.rounds = CLAMP(s.rounds, 1, ROUNDS_MAX);
    kn_unet_spec spec;
    kn_unet_spec_init(&spec, 2, s.width);
    kn_net *net = kn_net_create_unet(&spec, &error);
    if (!net)
        stop(error);
    for (int mode = 0; mode < N_MODES; mode++) {
        bool all = g_str_equal(s.conv, "all"), both = g_str_equal(s.conv, "both");
        if (!all && !(both && mode != BF16_MODE) && !g_str_equal(s.conv, modes[mode].name))
            continue;
        if (all && !mode_is_there(&s, mode))
            continue;
        if (!only || g_str_equal(only, "train"))
            bench_mode(&s, net, mode, KN_PASS_TRAIN);
        if (!only || g_str_equal(only, "infer"))
            bench_mode(&s, net, mode, KN_PASS_INFER);
    }
    kn_net_destroy(net);
    g_free(s.part);
    g_free(s.conv);
    g_free(s.clock);
    return 0;
}
