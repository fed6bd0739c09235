/* The methods that MetaSSL is compared with: one real step each, on the double-precision reference,
 * against PyTorch (tests/model/compare_check.py), and clear errors where they cannot work. That
 * they resume to the same bits and see no label that they may not is test_resume's. */
#include "base/error.h"
#include "base/rng.h"
#include "kernels/memory.h"
#include "model/safetensors.h"
#include "tests/train/fixture.h"
#include "train/mix.h"
#include "train/rank.h"
#include "train/streams.h"
#include "train/step.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

enum { PX = 16, N_ITEMS = 12, N_LABELLED = 5, SIDE = 32, HALF = 2, N = 2 * HALF };
enum { PIXELS = SIDE * SIDE, IT = 300, TOTAL = 600, TENSORS_MAX = 400 };

typedef struct {
    const char *method, *python;
    const char *const *options; /* name, value, … */
    const char *const *facts;   /* of the script: name, value, … */
} checked;

static const char *const uamt_options[] = {"teacher-noise", "0", NULL};
static const char *const uamt_facts[] = {"passes", "8", NULL};
static const char *const ccvc_options[] = {"ccvc-sup", "1.5",        "ccvc-con", "0.7", "ccvc-dis",
                                           "0.4",      "ccvc-theta", "0.5",      NULL};
static const char *const ccvc_facts[] = {"w_sup", "1.5", "w_con", "0.7", "w_dis", "0.4",
                                         "theta", "0.5", "omega", "2",   NULL};
static const char *const dcnet_options[] = {"dcnet-attention", "300", NULL};
static const char *const dcnet_facts[] = {
    "w_direct",           "0.3",    "w_decoupled",        "1000",    "w_attention", "300", "mu",
    "0.3333333333333333", "mu_low", "0.3333333333333333", "mu_high", "0.95",        NULL};
static const char *const sdcl_options[] = {"bcp-pretrain", "0",   "sdcl-mse", "0.6",
                                           "sdcl-kl",      "0.2", NULL};
static const char *const sdcl_facts[] = {"u", "0.5", "w_mse", "0.6", "w_kl", "0.2", NULL};
static const char *const ceud_facts[] = {"w_correct", "0.5", "w_agree", "0.15", NULL};
static const char *const none[] = {NULL};

static const checked methods[] = {
    {"UA-MT", "UAMT", uamt_options, uamt_facts}, {"URPC", "URPC", none, none},
    {"CCVC", "CCVC", ccvc_options, ccvc_facts},  {"DCNet", "DCNet", dcnet_options, dcnet_facts},
    {"SDCL", "SDCL", sdcl_options, sdcl_facts},  {"CEUD", "CEUD", none, ceud_facts},
};

/* ---- one step against PyTorch ---------------------------------------------------------------- */
static bool has_pytorch(void)
{
    int status = -1;
    g_autofree char *out = NULL, *err = NULL;
    return g_spawn_command_line_sync("/usr/bin/python3 -c \"import torch, numpy\"", &out, &err,
                                     &status, NULL) &&
           g_spawn_check_wait_status(status, NULL);
}

static bool agrees(const char *dir, const char *method, const char *plant)
{
    const char *root = g_getenv("QS_SOURCE_DIR");
    g_autofree char *script =
        g_build_filename(root ? root : ".", "tests", "model", "compare_check.py", NULL);
    const char *argv[] = {"/usr/bin/python3", "-B", script, method, dir, plant, NULL};
    g_autofree char *out = NULL, *err = NULL;
    int status = -1;
    g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                               &out, &err, &status, NULL));
    g_test_message("%s%s", out, err);
    return g_spawn_check_wait_status(status, NULL);
}

/* Every parameter of network k under its PyTorch name. */
static void save_net(const tr_learner *l, int k, const char *dir, const char *kind)
{
    GError *error = NULL;
    const kn_net *net = kn_weights_net(l->weights[k]);
    g_autofree char *name = g_strdup_printf("%s%d.safetensors", kind, k);
    g_autofree char *path = g_build_filename(dir, name, NULL);
    st_tensor tensors[TENSORS_MAX];
    int n = kn_net_n_params(net);
    g_assert_cmpint(n, <=, TENSORS_MAX);
    for (int i = 0; i < n; i++) {
        const kn_param *p = kn_net_param(net, i);
        float *values = g_new(float, p->n);
        kn_weights_get(l->weights[k], p->kind == KN_PARAM ? KN_ARRAY_PARAMS : KN_ARRAY_BUFFERS,
                       p->offset, p->n, values);
        tensors[i] =
            (st_tensor){.name = p->name, .dtype = ST_F32, .n_dims = p->n_dims, .data = values};
        for (int d = 0; d < p->n_dims; d++)
            tensors[i].shape[d] = p->shape[d];
    }
    g_assert_true(st_write(path, tensors, (size_t)n, NULL, &error));
    for (int i = 0; i < n; i++)
        g_free((void *)(uintptr_t)tensors[i].data);
}

typedef struct {
    float input[N * PIXELS * 3];
    uint8_t rgb[N * PIXELS * 3], label[HALF * PIXELS], truth[HALF * PIXELS], exclude[HALF * PIXELS];
    uint32_t items[N];
    tr_augment augment[N];
} images;

static void images_init(images *im)
{
    qs_rng rng;
    memset(im, 0, sizeof *im);
    qs_rng_init(&rng, 8, 8);
    for (uint32_t i = 0; i < N; i++) {
        im->items[i] = i;
        tr_augment_draw(&im->augment[i], &rng, 0, 0);
    }
    for (int i = 0; i < N * PIXELS; i++) {
        int image = i / PIXELS, x = i % SIDE, y = i % PIXELS / SIDE;
        int class = (x / 9 + y / 11 + image) % 3;
        for (int c = 0; c < 3; c++)
            im->input[3 * i + c] = (float)(0.8 * (c == class) + 0.5 * qs_rng_normal(&rng));
        if (image < HALF)
            im->label[i] = qs_rng_below(&rng, 20) ? (uint8_t) class : 255;
    }
    memset(im->truth, 255, sizeof im->truth);
}

/* Adam counts its steps: one that is checked alone is the first. */
static int64_t it_of(const tr_options *o)
{
    return o->optimiser == TR_ADAM ? 0 : IT;
}

/* What CEUD's two terms rank by, and in which order. */
typedef struct {
    uint8_t correctness[HALF * PIXELS], agreement[N * PIXELS];
    int64_t order_labelled[HALF * PIXELS], order_all[N * PIXELS], n_labelled, n_all;
} ranking;

static ranking *ranking_of(const tr_learner *l, const tr_options *o, const images *im)
{
    ranking *r = g_new0(ranking, 1);
    const tr_batch batch = {.n = N,
                            .n_labelled = HALF,
                            .patch_px = SIDE,
                            .items = im->items,
                            .augment = im->augment,
                            .label = im->label,
                            .exclude = im->exclude};
    g_autofree char *memory = g_malloc(tr_rank_bytes(N * PIXELS, sizeof(double)) + KN_ALIGN);
    for (int all = 0; all < 2; all++) {
        tr_rank rank;
        tr_history_counter counter = all ? TR_HISTORY_AGREEMENT : TR_HISTORY_CORRECTNESS;
        int n = all ? N : HALF;
        tr_rank_init(&rank, l->engine, memory + KN_ALIGN - (uintptr_t)memory % KN_ALIGN,
                     n * PIXELS);
        tr_rank_prepare(&rank, l->history, counter, &batch, n, o->seed,
                        qs_rng_stream_id(TR_STREAM_RANK, (uint64_t)it_of(o), (uint64_t)counter));
        memcpy(all ? r->agreement : r->correctness, rank.count, (size_t)(n * PIXELS));
        for (int64_t q = 0; q < rank.n_order; q++)
            (all ? r->order_all : r->order_labelled)[q] = rank.order[q];
        *(all ? &r->n_all : &r->n_labelled) = rank.n_order;
    }
    return r;
}

/* A history as after some sweeps: counters of any kind (what a sweep counts is test_history's). */
static tr_history *counted(const fixture_source *s)
{
    GError *error = NULL;
    tr_history *h = tr_history_create(&s->source, &error);
    g_assert_no_error(error);
    qs_rng rng;
    qs_rng_init(&rng, 5, 5);
    const char *name;
    int64_t bytes;
    uint8_t *data;
    for (int i = 0; (data = tr_history_array(h, i, &name, &bytes)); i++)
        for (int64_t k = 0; k < bytes; k++)
            data[k] = (uint8_t)(2 + qs_rng_below(&rng, 6));
    return h;
}

static void write_facts(const checked *m, const char *dir, const images *im, const tr_learner *l,
                        const tr_step_result *r, const tr_options *o)
{
    GError *error = NULL;
    const ssl_forward crossed = {.half = SSL_BOTH, .mix = SSL_MIX_CROSS};
    kn_box box = tr_view_of(&l->plan, o, &crossed, SIDE, it_of(o), 0).box;
    double values[48];
    uint8_t trained[SSL_NETS_MAX];
    size_t n = 0, n_values = 0;
    st_tensor t[48];
    const struct {
        const char *name;
        double value;
    } common[] = {{"loss", r->loss},
                  {"lambda", r->lambda},
                  {"it", (double)it_of(o)},
                  {"total", TOTAL},
                  {"lr", r->lr},
                  {"weight_decay", o->weight_decay},
                  {"adam", o->optimiser == TR_ADAM},
                  {"x0", box.x0},
                  {"y0", box.y0},
                  {"x1", box.x1},
                  {"y1", box.y1}};
    t[n++] = (st_tensor){"x", ST_F32, 4, {N, SIDE, SIDE, 3}, im->input};
    t[n++] = (st_tensor){"label", ST_U8, 3, {HALF, SIDE, SIDE}, im->label};
    for (int k = 0; k < l->plan.n_nets; k++)
        trained[k] = l->plan.nets[k].trained;
    t[n++] = (st_tensor){"trained", ST_U8, 1, {l->plan.n_nets}, trained};
    for (size_t i = 0; i < G_N_ELEMENTS(common); i++, n_values++) {
        values[n_values] = common[i].value;
        t[n++] = (st_tensor){common[i].name, ST_F64, 1, {1}, &values[n_values]};
    }
    for (const char *const *f = m->facts; f[0]; f += 2, n_values++) {
        values[n_values] = g_ascii_strtod(f[1], NULL);
        t[n++] = (st_tensor){f[0], ST_F64, 1, {1}, &values[n_values]};
    }
    ranking *ranks = l->history ? ranking_of(l, o, im) : NULL;
    if (ranks) {
        t[n++] = (st_tensor){"correctness", ST_U8, 1, {HALF * PIXELS}, ranks->correctness};
        t[n++] = (st_tensor){"agreement", ST_U8, 1, {N * PIXELS}, ranks->agreement};
        t[n++] =
            (st_tensor){"order_labelled", ST_I64, 1, {ranks->n_labelled}, ranks->order_labelled};
        t[n++] = (st_tensor){"order_all", ST_I64, 1, {ranks->n_all}, ranks->order_all};
    }
    g_autofree char *path = g_build_filename(dir, "step.safetensors", NULL);
    g_assert_true(st_write(path, t, n, NULL, &error));
    g_free(ranks);
}

static void set_options(tr_options *o, const char *const *settings)
{
    GError *error = NULL;
    for (; settings[0]; settings += 2) {
        tr_options_set(o, settings[0], settings[1], &error);
        g_assert_no_error(error);
    }
}

static void test_step(gconstpointer data)
{
    const checked *m = data;
    GError *error = NULL;
    if (!has_pytorch()) {
        g_test_skip("python3 with torch is not there");
        return;
    }
    char *dir = fixture_dir();
    tr_options o;
    fixture_options_init(&o, m->method, TR_LOSS_PLAIN, dir);
    set_options(&o, m->options);
    o.no_dropout = true;
    o.backend = "ref";
    o.lambda_max = 0.5;
    kn_engine_options eo = {.backend = "ref", .n_threads = 2, .conv = KN_CONV_DIRECT};
    kn_engine *engine = kn_engine_create(&eo, &error);
    g_assert_no_error(error);
    model_spec spec;
    model_spec_init(&spec, 3, 4);
    ssl_plan plan = {0};
    ssl_config config = tr_options_config(&o);
    ssl_method_find(m->method, NULL)->plan(&config, &plan);
    g_assert_true(ssl_plan_check(&plan, &error));
    tr_learner learner;
    g_assert_true(tr_learner_init(&learner, engine, &o, &plan, &spec, &error));
    g_assert_no_error(error);
    fixture_source source;
    fixture_source_init(&source, SIDE, N, N);
    if (plan.history)
        learner.history = counted(&source);
    tr_step *step = tr_step_create(&learner, &o, SIDE, &error);
    g_assert_no_error(error);
    images *im = g_new(images, 1);
    images_init(im);
    tr_batch batch = {.index = it_of(&o),
                      .n = N,
                      .n_labelled = HALF,
                      .patch_px = SIDE,
                      .items = im->items,
                      .augment = im->augment,
                      .rgb = im->rgb,
                      .input = im->input,
                      .label = im->label,
                      .truth = im->truth,
                      .exclude = im->exclude};
    for (int k = 0; k < plan.n_nets; k++)
        save_net(&learner, k, dir, "net");
    tr_step_result result;
    g_assert_true(tr_step_run(step, &batch, it_of(&o), TOTAL, &result, &error));
    for (int k = 0; k < plan.n_nets; k++)
        save_net(&learner, k, dir, "after");
    write_facts(m, dir, im, &learner, &result, &o);
    g_assert_true(agrees(dir, m->python, NULL));
    g_autofree char *plant = g_ascii_strdown(m->python, -1);
    g_assert_false(agrees(dir, m->python, plant)); /* a wrong formula must be seen */
    tr_step_destroy(step);
    tr_history_destroy(learner.history);
    fixture_source_clear(&source);
    tr_learner_clear(&learner);
    kn_engine_destroy(engine);
    g_free(im);
    fixture_dir_remove(dir);
}

/* ---- errors ---------------------------------------------------------------------------------- */
/* The run ends with this error. */
static void assert_fails(const tr_options *o, const fixture_source *s, const char *part)
{
    GError *error = NULL;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    g_assert_false(tr_run(o, &s->source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    if (!strstr(error->message, part))
        g_test_message("\"%s\" lacks \"%s\"", error->message, part);
    g_assert_nonnull(strstr(error->message, part));
    g_error_free(error);
}

static void test_refusals(gconstpointer data)
{
    const checked *m = data;
    char *dir = fixture_dir();
    g_autofree char *run = g_build_filename(dir, "run", NULL);
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, m->method, TR_LOSS_METASSL, run);
    assert_fails(&o, &s, "--loss plain");
    o.loss = TR_LOSS_PLAIN;
    fixture_source_clear(&s);
    fixture_source_init(&s, PX, N_LABELLED, N_LABELLED); /* nothing unlabelled */
    assert_fails(&o, &s, "unlabelled");
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const struct {
        const char *name;
        GTestDataFunc run;
    } tests[] = {{"step", test_step}, {"refusals", test_refusals}};
    for (size_t t = 0; t < G_N_ELEMENTS(tests); t++)
        for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
            g_autofree char *name =
                g_strdup_printf("/compared/%s/%s", tests[t].name, methods[i].python);
            g_test_add_data_func(name, &methods[i], tests[t].run);
        }
    return g_test_run();
}
