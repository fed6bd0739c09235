/* The loss's three passes against a training step: is all of MetaSSL's loss under 3 % of it?
 *   bench_loss [--threads N] [--rounds N] [--patch PX]
 * Batch 24 (12 labelled, 12 unlabelled), two classes, the network of width 16. A step is a student
 * forward and backward, SGD, and the teacher's forward; the loss is both streams through all three
 * passes, as Mean Teacher + MetaSSL needs it. After each step the comparison methods' losses on the
 * half that they look at, value and gradient (R-Drop's and DCNet's with two predictions, URPC's
 * with four). In turn in one run, medians; one CSV line each. One thread is measured in processor
 * time: on a busy machine a step is set aside more often than a pass of the loss. */
#include "base/rng.h"
#include "kernels/loss/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 24, LABELLED = 12, ROUNDS_MAX = 99 };

static int threads = 2, rounds = 5, patch = 256;

static const GOptionEntry entries[] = {
    {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "OpenMP threads", "N"},
    {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "measurements of each, up to 99", "N"},
    {"patch", 0, 0, G_OPTION_ARG_INT, &patch, "patch side in pixels", "PX"},
    G_OPTION_ENTRY_NULL};

typedef struct {
    kn_engine *engine;
    kn_net *net;
    kn_weights *student, *teacher;
    kn_pass *train, *nograd;
    kn_reference ref;
    uint8_t *region, *label;
    float *prob, *agreement; /* UA-MT's mean, and what CEUD ranks by */
    uint32_t *order;
} bench;

enum {
    PART_STEP,
    PART_REFERENCE,
    PART_PARTITION,
    PART_GRADIENT,
    N_METASSL,
    PART_KL = N_METASSL,
    PART_UNCERTAINTY,
    PART_URPC,
    PART_DCNET,
    PART_RANK,
    PART_SDCL,
    N_PARTS
};
static const char *const part_names[N_PARTS] = {
    "step",         "reference", "partition", "gradient",       "R-Drop's KL",
    "UA-MT's mask", "URPC",      "DCNet",     "CEUD's ranking", "SDCL"};
static double ms[N_PARTS][ROUNDS_MAX];

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * G_USEC_PER_SEC + t.tv_nsec / 1000;
}

static void die(GError *error)
{
    fprintf(stderr, "bench_loss: %s\n", error ? error->message : "unknown error");
    exit(1);
}

static void open_all(bench *b)
{
    GError *error = NULL;
    kn_engine_options options = {.backend = "cpu", .n_threads = threads, .conv = KN_CONV_AUTO};
    kn_unet_spec spec;
    kn_unet_spec_init(&spec, 2, 16);
    kn_pass_options train = {.mode = KN_PASS_TRAIN, .n = N, .h = patch, .w = patch};
    kn_pass_options nograd = {.mode = KN_PASS_NOGRAD, .n = N, .h = patch, .w = patch};
    if (!(b->engine = kn_engine_create(&options, &error)) ||
        !(b->net = kn_net_create_unet(&spec, &error)) ||
        !(b->student = kn_weights_create(b->engine, b->net, true, &error)) ||
        !(b->teacher = kn_weights_create(b->engine, b->net, false, &error)) ||
        !(b->train = kn_pass_create(b->engine, b->net, &train, &error)) ||
        !(b->nograd = kn_pass_create(b->engine, b->net, &nograd, &error)))
        die(error);
    size_t n_px = (size_t)N * (size_t)patch * (size_t)patch;
    kn_weights_init(b->student, 1);
    kn_weights_init(b->teacher, 2);
    for (size_t i = 0; i < 3 * n_px; i++) {
        float v = (float)sin((double)(i % 100003));
        kn_f32(kn_pass_input(b->train))[i] = v;
        kn_f32(kn_pass_input(b->nograd))[i] = -v;
    }
    b->ref.y = g_malloc(n_px);
    b->ref.conf = g_malloc(n_px * sizeof(float));
    b->region = g_malloc(n_px);
    b->label = g_malloc(n_px);
    b->prob = g_new(float, 2 * n_px);
    b->agreement = g_new(float, n_px);
    b->order = g_new(uint32_t, n_px);
    qs_rng rng;
    qs_rng_init(&rng, 1, 1);
    for (size_t i = 0; i < n_px; i++) {
        b->label[i] = (i / 1000) & 1;
        b->agreement[i] = (float)(i % 7) / 6;
        b->order[i] = (uint32_t)i;
    }
    qs_rng_shuffle_u32(&rng, b->order, n_px / 2);
}

/* The comparison methods', on half of the batch; gradients go where the step's were. */
static void compare_losses(bench *b, int round)
{
    static const double weight[2] = {1, 0.5};
    kn_tensor z = kn_tensor_images(kn_pass_logits(b->train), 0, LABELLED);
    kn_tensor zr = kn_tensor_images(kn_pass_logits(b->nograd), 0, LABELLED);
    kn_tensor dz = kn_tensor_images(kn_pass_dlogits(b->train), 0, LABELLED), prob = z;
    prob.data = b->prob;
    prob.ldc = 2;
    int64_t t[N_PARTS + 1], n_px = kn_pixels(&z);
    const kn_tensor *heads[4] = {&z, &zr, &z, &zr}, *grads[4] = {&dz, &dz, &dz, &dz};
    void *score = b->ref.conf;
    t[PART_KL] = now_us();
    kn_loss_kl(b->engine, &z, &zr, NULL, 1, true, &dz, &dz);
    t[PART_UNCERTAINTY] = now_us();
    for (int pass = 0; pass < 8; pass++)
        kn_prob_add(b->engine, &zr, 1.0 / 8, pass > 0, &prob);
    kn_uncertainty(b->engine, &prob, NULL, 0.5, b->region, NULL);
    t[PART_URPC] = now_us();
    kn_loss_urpc(b->engine, heads, 4, NULL, 1, true, grads);
    t[PART_DCNET] = now_us();
    kn_loss_dcnet(b->engine, &z, &zr, NULL, 0.6, 1, 1, true, &dz, &dz);
    t[PART_RANK] = now_us();
    kn_loss_rank(b->engine, &z, b->agreement, b->order, n_px, score, 1, true, &dz);
    t[PART_SDCL] = now_us();
    kn_loss_sdcl(b->engine, &z, b->label, b->ref.y, NULL, weight, NULL, 1, 1, true, &dz);
    t[N_PARTS] = now_us();
    for (int p = N_METASSL; p < N_PARTS; p++)
        ms[p][round] = (double)(t[p + 1] - t[p]) / 1000;
}

static void loss_of_half(bench *b, bool labelled, int round)
{
    int first = labelled ? 0 : LABELLED;
    kn_tensor z = kn_tensor_images(kn_pass_logits(b->train), first, LABELLED);
    kn_tensor zr = kn_tensor_images(kn_pass_logits(b->nograd), first, LABELLED);
    kn_tensor dz = kn_tensor_images(kn_pass_dlogits(b->train), first, LABELLED);
    kn_quad_config config = {.labelled = labelled,
                             .gamma = {0.6, 0.6},
                             .dice = labelled ? KN_DICE_LINEAR : KN_DICE_NONE,
                             .dice_eps = 1e-5,
                             .ce_scale = 1,
                             .dice_scale = 1};
    kn_quad_result result;
    const uint8_t *label = labelled ? b->label : NULL;
    kn_region_weights(KN_PHI_GAUSS, 3, labelled ? 0.3 : 0.6, KN_PARTITION_QUAD, labelled,
                      config.weights);
    int64_t t[4];
    t[0] = now_us();
    kn_loss_reference(b->engine, &zr, KN_CONF_MAX, label, &b->ref);
    t[1] = now_us();
    kn_loss_partition(b->engine, &z, label, NULL, &b->ref, NULL, &config, b->region, NULL, &result);
    t[2] = now_us();
    kn_loss_gradient(b->engine, &z, label, &b->ref, b->region, NULL, &config, &result, 1, false,
                     &dz);
    t[3] = now_us();
    for (int p = 0; p < 3; p++)
        ms[PART_REFERENCE + p][round] += (double)(t[p + 1] - t[p]) / 1000;
}

static void one_round(bench *b, int round)
{
    GError *error = NULL;
    for (int p = 0; p < N_PARTS; p++)
        ms[p][round] = 0;
    int64_t start = now_us();
    kn_weights_zero_grads(b->student);
    if (!kn_pass_forward(b->nograd, b->teacher, 1, &error) ||
        !kn_pass_forward(b->train, b->student, 2, &error))
        die(error);
    loss_of_half(b, true, round);
    loss_of_half(b, false, round);
    if (!kn_pass_backward(b->train, b->student, &error))
        die(error);
    kn_sgd_step(b->student, 0.01, 0.9, 1e-4);
    ms[PART_STEP][round] = (double)(now_us() - start) / 1000;
    compare_losses(b, round);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- time of the loss within a step");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        die(error);
    rounds = CLAMP(rounds, 1, ROUNDS_MAX);
    bench b = {0};
    open_all(&b);
    one_round(&b, 0); /* warm-up, measured over */
    for (int r = 0; r < rounds; r++)
        one_round(&b, r);
    double median[N_PARTS], loss = 0;
    for (int p = 0; p < N_PARTS; p++) {
        qsort(ms[p], (size_t)rounds, sizeof ms[p][0], by_value);
        median[p] = ms[p][rounds / 2];
        loss += p == PART_STEP || p >= N_METASSL ? 0 : median[p];
    }
    printf("what,ms,share_of_step,machine\n");
    for (int p = 0; p < N_PARTS; p++)
        printf("%s,%.3f,%.4f,\"%s\"\n", part_names[p], median[p], median[p] / median[PART_STEP],
               kn_engine_describe(b.engine));
    printf("loss,%.3f,%.4f,\"%s\"\n", loss, loss / median[PART_STEP], kn_engine_describe(b.engine));
    kn_pass_destroy(b.train);
    kn_pass_destroy(b.nograd);
    kn_weights_destroy(b.student);
    kn_weights_destroy(b.teacher);
    kn_net_destroy(b.net);
    kn_engine_destroy(b.engine);
    g_free(b.ref.y);
    g_free(b.ref.conf);
    g_free(b.region);
    g_free(b.label);
    g_free(b.prob);
    g_free(b.agreement);
    g_free(b.order);
    return 0;
}
