/* What a training step of each method costs, plain and with MetaSSL, relative to SL's; and what the
 * strong view takes of the loader's time.
 *
 *   bench_methods [--labelled 6] [--unlabelled 6] [--size 128] [--threads 1] [--rounds 3]
 *                 [--steps 2] [--conv auto] [--clock cpu|wall] [--only METHOD,…] [--part all]
 *                 [--device cpu|cuda] [--precision auto]
 *
 * One JSON line a method and loss. Every arm's steps are run between SL's (S A S A …, in each round
 * anew), all on one batch and one engine, and a ratio is the median over its pairs, so a busy
 * machine slows both; processor time (the default with one thread) disturbs it least. A step is all
 * of it: inputs, forwards, losses, backward, optimiser, averages. BCP and SDCL are in their second
 * stage, which is most of a run (their first costs about half of SL's step); CEUD is without its
 * sweep of the training set, one forward of each patch an epoch. Only SL's networks and the arm's
 * are in memory.
 *
 * On a GPU (wall time) a step ends when the GPU has done it, augmentation of the batch included;
 * batches of 12 + 12 patches of 256 are the shapes of bench/peers/pytorch_gpu.py, and CPS its
 * two-network step.
 *
 * The loader is run alone, one thread, on patches that lie in memory, with and without strong views
 * (A B A B): the share of the strong view is of augmentation and normalisation, where reading and
 * decoding cost nothing. */
#include "base/rng.h"
#include "kernels/cuda/cuda.h"
#include "train/ssl/history.h"
#include "train/run/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAIRS_MAX = 512, N_ITEMS = 64, TOTAL = 1000, IT = 600 };

static int n_labelled = 6, n_unlabelled = 6, size = 128, threads = 1, rounds = 3, steps = 2;
static char *conv, *clock_name, *only, *part, *device, *precision;
static char **wanted; /* of --only; NULL: all */

static const GOptionEntry entries[] = {
    {"labelled", 0, 0, G_OPTION_ARG_INT, &n_labelled, "labelled patches of a batch (6)", "N"},
    {"unlabelled", 0, 0, G_OPTION_ARG_INT, &n_unlabelled, "unlabelled patches (6)", "N"},
    {"size", 0, 0, G_OPTION_ARG_INT, &size, "patch side (128)", "PX"},
    {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "OpenMP threads (1)", "N"},
    {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "rounds over all methods (3)", "N"},
    {"steps", 0, 0, G_OPTION_ARG_INT, &steps, "measured steps of a method and round (2)", "N"},
    {"conv", 0, 0, G_OPTION_ARG_STRING, &conv, "auto or direct (auto)", "MODE"},
    {"clock", 0, 0, G_OPTION_ARG_STRING, &clock_name,
     "cpu: processor time; wall (cpu with one thread)", "CLOCK"},
    {"only", 0, 0, G_OPTION_ARG_STRING, &only, "these methods alone", "METHOD,…"},
    {"device", 0, 0, G_OPTION_ARG_STRING, &device, "cpu, or cuda where it is built in (cpu)",
     "NAME"},
    {"precision", 0, 0, G_OPTION_ARG_STRING, &precision, "auto, f32 or bf16 (auto)", "TYPE"},
    {"part", 0, 0, G_OPTION_ARG_STRING, &part, "steps, loader or all (all)", "PART"},
    G_OPTION_ENTRY_NULL};

static clockid_t bench_clock;

static double now(void)
{
    struct timespec t;
    clock_gettime(bench_clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void require(bool ok, GError *const *error)
{
    if (ok)
        return;
    fprintf(stderr, "bench_methods: %s\n", *error ? (*error)->message : "unknown error");
    exit(1);
}

typedef struct {
    double x[PAIRS_MAX];
    int n;
} series;

static void add(series *s, double x)
{
    if (s->n < PAIRS_MAX)
        s->x[s->n++] = x;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Quantile q of 0, ½ and 1. */
static double quantile(const series *s, double q)
{
    double sorted[PAIRS_MAX];
    memcpy(sorted, s->x, (size_t)s->n * sizeof *sorted);
    qsort(sorted, (size_t)s->n, sizeof *sorted, by_value);
    double at = q * (s->n - 1);
    int low = (int)at, high = low + (at > low);
    return s->n ? (sorted[low] + sorted[high]) / 2 : 0;
}

/* ---- data ------------------------------------------------------------------------------------ */
typedef struct {
    tr_source source;
    tr_item items[N_ITEMS];
    uint8_t *rgb, *label; /* of N_ITEMS patches */
} patches;

static bool read_patch(void *user, size_t item, uint8_t *rgb, uint8_t *label, GError **error)
{
    const patches *p = user;
    size_t n = (size_t)size * (size_t)size;
    (void)error;
    memcpy(rgb, p->rgb + item * n * 3, n * 3);
    if (label)
        memcpy(label, p->label + item * n, n);
    return true;
}

/* Darker spots on a pale ground, noisy; the spots are class 1. */
static void patches_init(patches *p)
{
    size_t n = (size_t)size * (size_t)size;
    qs_rng rng;
    qs_rng_init(&rng, 1, 2);
    p->rgb = g_malloc(N_ITEMS * n * 3);
    p->label = g_malloc(N_ITEMS * n);
    for (size_t i = 0; i < N_ITEMS * n; i++) {
        int x = (int)(i % (size_t)size), y = (int)(i / (size_t)size % (size_t)size);
        int k = (int)(i / n);
        p->label[i] = (x + 7 * k) / 24 % 3 == 0 && (y + 11 * k) / 32 % 2 == 0;
        uint32_t noise = qs_rng_u32(&rng);
        for (int c = 0; c < 3; c++)
            p->rgb[3 * i + (size_t)c] =
                (uint8_t)((p->label[i] ? 120 : 190) - 30 * (c == 1) + (noise >> (8 * c) & 31));
    }
    for (int i = 0; i < N_ITEMS; i++)
        p->items[i] = (tr_item){.slide_id = i / 8, .labelled = i < N_ITEMS / 2, .has_label = true};
    p->source = (tr_source){
        .user = p, .patch_px = size, .n_items = N_ITEMS, .items = p->items, .read = read_patch};
}

/* ---- one method, ready to step --------------------------------------------------------------- */
typedef struct {
    tr_options options;
    tr_learner learner;
    tr_loader *loader;
    tr_feed *feed; /* a GPU makes its batches; NULL: the loader */
    tr_step *step;
    const tr_batch *batch; /* its first: the same for all of as many images */
} arm;

static void plan_of(const ssl_method *method, tr_loss loss, tr_options *o, ssl_plan *plan)
{
    GError *error = NULL;
    tr_options_init(o);
    require(tr_options_set_method(o, method->name, &error), &error);
    o->loss = loss;
    o->batch_labelled = n_labelled;
    o->batch_unlabelled = n_unlabelled;
    o->iterations = TOTAL;
    *plan = (ssl_plan){0};
    ssl_config config = tr_options_config(o);
    method->plan(&config, plan);
    require(ssl_plan_check(plan, &error), &error);
}

static void spec_init(model_spec *spec)
{
    model_spec_init(spec, 2, 16);
    spec->patch_px = size;
    for (int c = 0; c < 3; c++) {
        spec->mean[c] = 0.6;
        spec->std[c] = 0.2;
    }
}

static void arm_open(arm *a, kn_engine *engine, const patches *data, const ssl_method *method,
                     tr_loss loss)
{
    GError *error = NULL;
    ssl_plan plan;
    model_spec spec;
    *a = (arm){0};
    spec_init(&spec);
    plan_of(method, loss, &a->options, &plan);
    require(tr_learner_init(&a->learner, engine, &a->options, &plan, &spec, &error), &error);
    if (plan.history)
        a->learner.history = tr_history_create(&data->source, &error);
    require(!plan.history || a->learner.history, &error);
    if (tr_feed_can(engine)) {
        a->feed = tr_feed_create(engine, &a->options, &a->learner.plan, &data->source, &spec, true,
                                 &error);
        require(a->feed, &error);
        require(tr_feed_load(a->feed, NULL, NULL, &error), &error);
    }
    a->loader =
        tr_loader_create_form(&a->options, &a->learner.plan, &data->source, &spec,
                              a->feed ? tr_feed_form(a->feed) : TR_FORM_READY, engine, IT, &error);
    require(a->loader, &error);
    a->batch = tr_loader_next(a->loader, &error);
    require(a->batch, &error);
    a->step = tr_step_create(&a->learner, &a->options, size, a->feed, &error);
    require(a->step, &error);
}

static void arm_close(arm *a)
{
    tr_step_destroy(a->step);
    tr_feed_destroy(a->feed);
    tr_loader_destroy(a->loader);
    tr_history_destroy(a->learner.history);
    tr_learner_clear(&a->learner);
}

/* Seconds of a step on the arm's batch. */
static double one_step(arm *a)
{
    GError *error = NULL;
    tr_step_result result;
    double start = now();
    require(tr_step_run(a->step, a->batch, IT, TOTAL, &result, &error), &error);
    require(kn_engine_check(a->learner.engine, &error), &error);
    return now() - start;
}

/* ---- steps ----------------------------------------------------------------------------------- */
enum { ARMS_MAX = 64 };

typedef struct {
    const ssl_method *method;
    tr_loss loss;
    series over_sl, seconds;
} cost;

static void measure(cost *c, arm *sl, kn_engine *engine, const patches *data)
{
    arm a;
    arm_open(&a, engine, data, c->method, c->loss);
    one_step(&a); /* first touch of its memory */
    for (int k = 0; k < steps; k++) {
        double of_sl = one_step(sl), of_arm = one_step(&a);
        add(&c->over_sl, of_arm / of_sl);
        add(&c->seconds, of_arm);
    }
    arm_close(&a);
}

static bool is_wanted(const ssl_method *method)
{
    bool found = !wanted;
    for (char **name = wanted; name && *name; name++)
        found = found || ssl_method_find(*name, NULL) == method;
    return found;
}

static int list_arms(cost *costs)
{
    int n = 0;
    for (int m = 0; ssl_methods[m]; m++)
        for (int loss = 0; loss < (ssl_methods[m]->plain_only ? 1 : 2) && n < ARMS_MAX; loss++)
            if (is_wanted(ssl_methods[m]))
                costs[n++] = (cost){.method = ssl_methods[m],
                                    .loss = loss ? TR_LOSS_METASSL : TR_LOSS_PLAIN};
    return n;
}

static void bench_steps(kn_engine *engine, const patches *data)
{
    static cost costs[ARMS_MAX];
    int n = list_arms(costs);
    arm sl;
    arm_open(&sl, engine, data, ssl_method_find("SL", NULL), TR_LOSS_PLAIN);
    one_step(&sl);
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < n; i++)
            measure(&costs[i], &sl, engine, data);
    arm_close(&sl);
    for (int i = 0; i < n; i++) {
        const cost *c = &costs[i];
        double plain =
            i > 0 && costs[i - 1].method == c->method ? quantile(&costs[i - 1].over_sl, 0.5) : 0;
        printf("{\"bench\":\"method\",\"method\":\"%s\",\"loss\":\"%s\",\"over_sl\":%.3f,"
               "\"least\":%.3f,\"most\":%.3f,\"pairs\":%d,\"seconds\":%.6f,"
               "\"batch\":%d,\"size\":%d,\"over_plain\":%.3f,\"machine\":\"%s\"}\n",
               c->method->name, c->loss == TR_LOSS_METASSL ? "metassl" : "plain",
               quantile(&c->over_sl, 0.5), quantile(&c->over_sl, 0), quantile(&c->over_sl, 1),
               c->over_sl.n, quantile(&c->seconds, 0.5), n_labelled + n_unlabelled, size,
               plain > 0 ? quantile(&c->over_sl, 0.5) / plain : 1, kn_engine_describe(engine));
    }
}

/* ---- the loader ------------------------------------------------------------------------------ */
/* Processor seconds of n batches by one thread, with what it has read ahead. */
static double load(const patches *data, const tr_options *o, const ssl_plan *plan, int n)
{
    GError *error = NULL;
    model_spec spec;
    spec_init(&spec);
    double start = now();
    tr_loader *loader = tr_loader_create(o, plan, &data->source, &spec, 0, &error);
    require(loader, &error);
    for (int i = 0; i < n; i++)
        require(tr_loader_next(loader, &error), &error);
    tr_loader_destroy(loader);
    return now() - start;
}

static void bench_loader(const patches *data)
{
    enum { BATCHES = 20 };
    series share = {.n = 0}, weak_ms = {.n = 0};
    tr_options o;
    ssl_plan strong, weak;
    plan_of(ssl_method_find("FixMatch", NULL), TR_LOSS_METASSL, &o, &strong);
    weak = strong;
    for (int f = 0; f < weak.n_forwards; f++)
        weak.forwards[f].look = SSL_WEAK;
    bench_clock = CLOCK_PROCESS_CPUTIME_ID; /* it is another thread that works */
    load(data, &o, &strong, 2);
    for (int r = 0; r < MAX(5, rounds); r++) {
        double of_weak = load(data, &o, &weak, BATCHES);
        double of_strong = load(data, &o, &strong, BATCHES);
        add(&share, 1 - of_weak / of_strong);
        add(&weak_ms, 1e3 * of_weak / BATCHES);
    }
    printf("{\"bench\":\"loader\",\"strong_share\":%.3f,\"least\":%.3f,\"most\":%.3f,"
           "\"weak_ms_a_batch\":%.2f}\n",
           quantile(&share, 0.5), quantile(&share, 0), quantile(&share, 1),
           quantile(&weak_ms, 0.5));
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- what a step of each method costs");
    g_option_context_add_main_entries(context, entries, NULL);
    require(g_option_context_parse(context, &argc, &argv, &error), &error);
    wanted = only ? g_strsplit(only, ",", -1) : NULL;
    for (char **name = wanted; name && *name; name++)
        require(ssl_method_find(*name, &error), &error);
    bool gpu = device && strcmp(device, "cpu") != 0;
    bool cpu = clock_name ? !strcmp(clock_name, "cpu") : threads == 1 && !gpu;
    bench_clock = cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    bool direct = conv && !strcmp(conv, "direct");
    kn_engine_options options = {.backend = device ? device : "cpu",
                                 .n_threads = threads,
                                 .conv = direct ? KN_CONV_DIRECT : KN_CONV_AUTO};
    if (precision && !kn_precision_parse(precision, &options.precision)) {
        fprintf(stderr, "bench_methods: --precision %s: give auto, f32 or bf16\n", precision);
        return 2;
    }
#ifdef QS_HAVE_CUDA
    kn_cuda_register();
#endif
    kn_engine *engine = kn_engine_create(&options, &error);
    require(engine, &error);
    static patches data;
    patches_init(&data);
    if (!part || strcmp(part, "loader") != 0)
        bench_steps(engine, &data);
    if (!part || strcmp(part, "steps") != 0)
        bench_loader(&data);
    kn_engine_destroy(engine);
    g_strfreev(wanted);
    g_free(data.rgb);
    g_free(data.label);
    return 0;
}
