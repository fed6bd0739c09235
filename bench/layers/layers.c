/* Runs the network and reads its layers' clocks. */
#include "bench/layers/layers.h"

#include "base/error.h"
#include "base/report.h"
#include "kernels/loss/loss.h"

#include <math.h>
#include <string.h>

enum { ROUNDS_MAX = 99 };

layers_options layers_opt;

const GOptionEntry layers_entries[] = {
    {"device", 0, 0, G_OPTION_ARG_STRING, &layers_opt.device,
     "cpu, or cuda where the program was built with it (cpu)", "NAME"},
    {"precision", 0, 0, G_OPTION_ARG_STRING, &layers_opt.precision,
     "f32, bf16, or auto: bf16 on cuda, else f32 (auto)", "TYPE"},
    {"conv", 0, 0, G_OPTION_ARG_STRING, &layers_opt.conv,
     "direct or auto: each convolution the fastest by timing (auto)", "HOW"},
    {"width", 'w', 0, G_OPTION_ARG_INT, &layers_opt.width, "Channels of the first level (16)", "N"},
    {"batch", 'b', 0, G_OPTION_ARG_INT, &layers_opt.batch, "Patches a step (24)", "N"},
    {"patch", 'p', 0, G_OPTION_ARG_INT, &layers_opt.patch, "Their side, a multiple of 16 (256)",
     "PX"},
    {"classes", 0, 0, G_OPTION_ARG_INT, &layers_opt.classes, "Classes (2)", "N"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &layers_opt.threads, "Threads of the CPU (all cores)",
     "N"},
    {"rounds", 'r', 0, G_OPTION_ARG_INT, &layers_opt.rounds, "Rounds, 1 to 99 (5)", "N"},
    {"only", 0, 0, G_OPTION_ARG_STRING, &layers_opt.only, "train or infer (both)", "WHAT"},
    {"peak", 0, 0, G_OPTION_ARG_DOUBLE, &layers_opt.peak_gflops,
     "The device's GFLOP/s, instead of measuring", "X"},
    {"bandwidth", 0, 0, G_OPTION_ARG_DOUBLE, &layers_opt.bandwidth_gbs,
     "Its memory's GB/s, instead of measuring", "X"},
    {"json", 0, 0, G_OPTION_ARG_NONE, &layers_opt.json, "One JSON object instead of tables", NULL},
    G_OPTION_ENTRY_NULL};

bool layers_check(layers_options *o, GError **error)
{
    const char *fault = NULL;
    kn_precision precision;
    o->device = o->device ? o->device : g_strdup("cpu");
    o->width = o->width ? o->width : 16;
    o->batch = o->batch ? o->batch : 24;
    o->patch = o->patch ? o->patch : 256;
    o->classes = o->classes ? o->classes : 2;
    o->rounds = o->rounds ? o->rounds : 5;
    if (o->precision && !kn_precision_parse(o->precision, &precision))
        fault = "--precision is auto, f32 or bf16";
    else if (o->conv && !g_str_equal(o->conv, "auto") && !g_str_equal(o->conv, "direct"))
        fault = "--conv is direct or auto";
    else if (o->only && !g_str_equal(o->only, "train") && !g_str_equal(o->only, "infer"))
        fault = "--only is train or infer";
    else if (o->width < 1 || o->width > 64)
        fault = "--width is 1 to 64";
    else if (o->batch < 1 || o->batch > 4096)
        fault = "--batch is 1 to 4096";
    else if (o->patch < 16 || o->patch > 8192 || o->patch % 16)
        fault = "--patch is a multiple of 16, at most 8192";
    else if (o->classes < 2 || o->classes > QS_CLASSES_MAX)
        fault = "--classes is 2 or more";
    else if (o->threads < 0 || o->threads > 1024)
        fault = "--threads is 1 to 1024";
    else if (o->rounds < 1 || o->rounds > ROUNDS_MAX)
        fault = "--rounds is 1 to 99";
    else if (!(o->peak_gflops >= 0) || !(o->bandwidth_gbs >= 0) || !isfinite(o->peak_gflops) ||
             !isfinite(o->bandwidth_gbs))
        fault = "--peak (GFLOP/s) and --bandwidth (GB/s) are above 0";
    if (fault)
        g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG, fault);
    return !fault;
}

/* ---- one step ------------------------------------------------------------------------------- */

/* Everything that a step works on. */
typedef struct {
    kn_engine *engine; /* borrowed */
    kn_pass *pass;
    kn_weights *weights, *teacher; /* teacher: of training */
    bool train;
    kn_block memory;         /* the three after this */
    uint8_t *label, *region; /* (n,h,w) */
    kn_quad_result *result;
    kn_quad_config config;
    double loss_seconds, optimiser_seconds; /* sums over clocked steps */
} bench;

/* The clock of a pass has no argument, so the engine that it waits for is here. */
static kn_engine *clocked;

static double now(void)
{
    return 1e-6 * (double)g_get_monotonic_time();
}

static double clock_waiting(void)
{
    kn_engine_check(clocked, NULL);
    return now();
}

/* Images lie where the engine computes, as those of training do. */
static bool fill_images(const bench *b, GError **error)
{
    const kn_tensor *in = kn_pass_input(b->pass);
    int64_t n = kn_pixels(in) * in->c;
    g_autofree float *images = g_new(float, (gsize)n);
    for (int64_t i = 0; i < n; i++)
        images[i] = (float)((i * 2654435761u >> 8) % 1000) / 500.0f - 1.0f;
    kn_engine_upload(b->engine, in->data, images, (size_t)n * sizeof *images);
    return kn_engine_check(b->engine, error);
}

/* Labels, room for regions and for the loss's numbers, where the losses work. */
static bool open_loss(bench *b, int64_t px, int n_classes, GError **error)
{
    size_t plane = (size_t)px, result_at = (2 * plane + 15) / 16 * 16;
    if (!kn_engine_alloc(b->engine, &b->memory, result_at + sizeof *b->result, "labels and regions",
                         error))
        return false;
    b->label = b->memory.data;
    b->region = b->label + plane;
    b->result = (kn_quad_result *)(void *)(b->label + result_at);
    g_autofree uint8_t *label = g_malloc(plane);
    for (int64_t i = 0; i < px; i++)
        label[i] = (uint8_t)(i / 64 % n_classes);
    kn_engine_upload(b->engine, b->label, label, plane);
    return kn_engine_check(b->engine, error);
}

static bool bench_open(bench *b, kn_engine *engine, const kn_net *net, const layers_options *o,
                       bool train, GError **error)
{
    kn_pass_options options = {.mode = train ? KN_PASS_TRAIN : KN_PASS_INFER,
                               .n = o->batch,
                               .h = o->patch,
                               .w = o->patch,
                               .input_there = true,
                               .keep_logits = !train}; /* as prediction does */
    int64_t px = (int64_t)o->batch * o->patch * o->patch;
    *b = (bench){.engine = engine, .train = train};
    b->weights =
        kn_weights_create(engine, net, train ? KN_OPTIMISER_SGD : KN_OPTIMISER_NONE, error);
    if (b->weights && train)
        b->teacher = kn_weights_create(engine, net, KN_OPTIMISER_NONE, error);
    if (!b->weights || (train && !b->teacher))
        return false;
    b->pass = kn_pass_create(engine, net, &options, error);
    if (!b->pass)
        return false;
    kn_weights_init(b->weights, 1);
    if (train) {
        kn_weights_copy(b->teacher, b->weights);
        if (!open_loss(b, px, o->classes, error))
            return false;
    }
    b->config = (kn_quad_config){.labelled = true,
                                 .weights = {1, 1, 1, 1},
                                 .dice_eps = 1e-5,
                                 .ce_scale = 1,
                                 .dice_scale = 1};
    return fill_images(b, error);
}

static void bench_close(bench *b)
{
    kn_pass_destroy(b->pass);
    kn_weights_destroy(b->teacher);
    kn_weights_destroy(b->weights);
    kn_engine_free(b->engine, &b->memory);
}

static bool infer_step(bench *b, GError **error)
{
    return kn_pass_forward(b->pass, b->weights, 0, error);
}

static bool train_step(bench *b, uint64_t stream, double (*clock)(void), GError **error)
{
    kn_weights_zero_grads(b->weights);
    if (!kn_pass_forward(b->pass, b->weights, stream, error))
        return false;
    double start = clock();
    const kn_tensor *z = kn_pass_logits(b->pass);
    kn_loss_partition_at(b->engine, z, b->label, NULL, NULL, NULL, &b->config, b->region, NULL,
                         b->result);
    kn_loss_gradient_at(b->engine, z, b->label, NULL, b->region, NULL, &b->config, b->result, 1,
                        false, kn_pass_dlogits(b->pass));
    b->loss_seconds += clock() - start;
    if (!kn_pass_backward(b->pass, b->weights, error))
        return false;
    start = clock();
    kn_sgd_ema_step(b->weights, b->teacher, 1e-3, 0.9, 1e-4, 0.99, false);
    b->optimiser_seconds += clock() - start;
    return true;
}

/* A step's seconds, until the device is done with it; negative on error. Without a clock in every
 * layer it goes out as training's and prediction's do, as CUDA graphs. */
static double timed_step(bench *b, uint64_t stream, double (*clock)(void), GError **error)
{
    double start = now();
    if (clock == now)
        kn_engine_begin(b->engine);
    bool ok = b->train ? train_step(b, stream, clock, error) : infer_step(b, error);
    kn_engine_end(b->engine);
    return ok && kn_engine_check(b->engine, error) ? now() - start : -1;
}

/* ---- rounds --------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Sums of the clocked rounds. */
typedef struct {
    double seconds[KN_N_PARTS];
} layer_sums;

/* One step without a clock and one with, which is added to `sums`. */
static bool run_round(bench *b, int round, layer_sums *sums, double *packing, double *plain,
                      double *with_clock, GError **error)
{
    double loss = b->loss_seconds, optimiser = b->optimiser_seconds;
    kn_pass_set_clock(b->pass, NULL);
    *plain = timed_step(b, 2 * (uint64_t)round + 1, now, error);
    if (*plain < 0)
        return false;
    b->loss_seconds = loss; /* the clocked step's alone */
    b->optimiser_seconds = optimiser;
    kn_pass_set_clock(b->pass, clock_waiting);
    *with_clock = timed_step(b, 2 * (uint64_t)round + 2, clock_waiting, error);
    if (*with_clock < 0)
        return false;
    for (int i = 0; i < kn_pass_n_layers(b->pass); i++)
        for (int p = 0; p < KN_N_PARTS; p++)
            sums[i].seconds[p] += kn_pass_layer(b->pass, i).seconds[p];
    *packing += kn_pass_packing_seconds(b->pass);
    return true;
}

static void add_row(layers_mode *mode, const kn_peak *peak, const kn_layer *l, const char *part,
                    double flop, double bytes, double seconds)
{
    layers_row row = {.name = g_strdup(l->name),
                      .op = g_strdup(l->op),
                      .how = g_strdup(l->how),
                      .part = part,
                      .ic = l->ic,
                      .oc = l->oc,
                      .h = l->h,
                      .w = l->w,
                      .flop = flop,
                      .bytes = bytes,
                      .seconds = seconds,
                      .roof_seconds = kn_peak_seconds(peak, flop, bytes)};
    g_array_append_val(mode->rows, row);
}

/* "mma" of "fwd=mma bwd_w=plain": what was chosen for a part. Owned by the caller. */
static char *choice_of(const char *how, const char *part)
{
    g_auto(GStrv) words = g_strsplit(how, " ", -1);
    for (int i = 0; words[i]; i++)
        if (g_str_has_prefix(words[i], part) && words[i][strlen(part)] == '=')
            return g_strdup(words[i] + strlen(part) + 1);
    return g_strdup("");
}

static void add_layers(layers_mode *mode, const bench *b, const kn_peak *peak,
                       const layer_sums *sums, int rounds)
{
    for (int i = 0; i < kn_pass_n_layers(b->pass); i++) {
        kn_layer l = kn_pass_layer(b->pass, i);
        const char *how = l.how;
        for (int p = 0; p < KN_N_PARTS; p++) {
            if (l.flop[p] <= 0 && l.bytes[p] <= 0)
                continue;
            g_autofree char *chosen = choice_of(how, kn_part_names[p]);
            l.how = chosen;
            add_row(mode, peak, &l, kn_part_names[p], l.flop[p], l.bytes[p],
                    sums[i].seconds[p] / rounds);
        }
    }
}

/* What a step does beside its layers. Inference packs its weights once, which is no step's. Bytes
 * of the loss: logits twice and their gradient, labels twice, regions; of SGD and the moving
 * average: five and three arrays. */
static void add_rest(layers_mode *mode, const bench *b, const kn_net *net, const kn_peak *peak,
                     double packing, int rounds)
{
    const kn_tensor *in = kn_pass_input(b->pass), *z = kn_pass_logits(b->pass);
    double px = (double)kn_pixels(in), n = (double)kn_net_n_trained(net);
    kn_layer images = {.name = "packing and images", .op = "", .how = "", .h = in->h, .w = in->w};
    kn_layer loss = images, optimiser = images;
    add_row(mode, peak, &images, "", 0, b->train ? 8 * n : 0, packing / rounds);
    if (!b->train)
        return;
    loss.name = "loss (CE + Dice)";
    loss.ic = loss.oc = z->c;
    optimiser.name = "SGD and moving average";
    add_row(mode, peak, &loss, "", 0, px * (12.0 * z->c + 4), b->loss_seconds / rounds);
    add_row(mode, peak, &optimiser, "", 0, 8 * 4 * n, b->optimiser_seconds / rounds);
}

static bool run_mode(const layers_options *o, kn_engine *engine, const kn_net *net, bool train,
                     const kn_peak *peak, layers_mode *mode, GError **error)
{
    bench b;
    double plain[ROUNDS_MAX], with_clock[ROUNDS_MAX], packing = 0;
    *mode = (layers_mode){.train = train, .rows = g_array_new(FALSE, TRUE, sizeof(layers_row))};
    bool ok = bench_open(&b, engine, net, o, train, error);
    g_autofree layer_sums *sums = ok ? g_new0(layer_sums, (gsize)kn_pass_n_layers(b.pass)) : NULL;
    clocked = engine;
    ok = ok && timed_step(&b, 0, now, error) >= 0; /* warms up */
    b.loss_seconds = b.optimiser_seconds = 0;
    for (int r = 0; ok && r < o->rounds; r++) {
        ok = run_round(&b, r, sums, &packing, &plain[r], &with_clock[r], error) &&
             qs_stop_check(error);
    }
    if (ok) {
        mode->seconds = median(plain, o->rounds);
        mode->clocked_seconds = median(with_clock, o->rounds);
        add_layers(mode, &b, peak, sums, o->rounds);
        add_rest(mode, &b, net, peak, packing, o->rounds);
    }
    bench_close(&b);
    return ok;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static bool find_peak(const layers_options *o, kn_engine *engine, layers_result *r, GError **error)
{
    r->peak_measured = !(o->peak_gflops > 0);
    r->bandwidth_measured = !(o->bandwidth_gbs > 0);
    if ((r->peak_measured || r->bandwidth_measured) && !kn_engine_peak(engine, &r->peak, error)) {
        g_prefix_error(error, "the roofline: ");
        return false;
    }
    if (!r->peak_measured)
        r->peak.flop_s = 1e9 * o->peak_gflops;
    if (!r->bandwidth_measured)
        r->peak.byte_s = 1e9 * o->bandwidth_gbs;
    return true;
}

bool layers_run(const layers_options *o, layers_result *result, GError **error)
{
    kn_engine_options options = {.backend = o->device, .n_threads = o->threads};
    kn_unet_spec spec;
    *result = (layers_result){.options = *o};
    if (o->precision)
        kn_precision_parse(o->precision, &options.precision);
    options.conv = o->conv && g_str_equal(o->conv, "direct") ? KN_CONV_DIRECT : KN_CONV_AUTO;
    kn_unet_spec_init(&spec, o->classes, o->width);
    kn_engine *engine = kn_engine_create(&options, error);
    kn_net *net = engine ? kn_net_create_unet(&spec, error) : NULL;
    bool ok = net && find_peak(o, engine, result, error);
    for (int i = 0; ok && i < 2; i++) {
        bool train = i == 0;
        if (o->only && g_str_equal(o->only, "train") != train)
            continue;
        ok = run_mode(o, engine, net, train, &result->peak, &result->modes[result->n_modes++],
                      error);
    }
    result->device = engine ? g_strdup(kn_engine_describe(engine)) : NULL;
    kn_net_destroy(net);
    kn_engine_destroy(engine);
    return ok;
}

void layers_clear(layers_result *result)
{
    for (int m = 0; m < result->n_modes; m++) {
        for (guint i = 0; i < result->modes[m].rows->len; i++) {
            layers_row *row = &g_array_index(result->modes[m].rows, layers_row, i);
            g_free(row->name);
            g_free(row->op);
            g_free(row->how);
        }
        g_array_free(result->modes[m].rows, TRUE);
    }
    g_free(result->device);
    *result = (layers_result){0};
}
