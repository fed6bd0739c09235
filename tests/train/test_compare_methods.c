/* One real step of a method, on the double-precision reference, against PyTorch: of those that
 * MetaSSL is compared with (tests/model/compare_check.py), and of those that it is added to, plain
 * and with it, dropout and perturbations included (backbone_check.py); and clear errors where the
 * compared ones cannot work. That all resume to the same bits and see no label that they may not is
 * test_resume's. */
#include "base/error.h"
#include "base/rng.h"
#include "kernels/engine/memory.h"
#include "model/safetensors.h"
#include "tests/train/fixture.h"
#include "train/data/mix.h"
#include "train/ssl/rank.h"
#include "train/data/streams.h"
#include "train/run/step.h"

#include <glib/gstdio.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PX = 16, N_ITEMS = 12, N_LABELLED = 5, SIDE = 32, HALF = 2, N = 2 * HALF };
enum { PIXELS = SIDE * SIDE, IT = 300, TOTAL = 600, TENSORS_MAX = 400 };

typedef struct {
    const char *method, *python;
    const char *const *options; /* name, value, … */
    const char *const *facts;   /* of the script: name, value, … */
    tr_loss loss;
    bool draws; /* backbone_check.py: dropout, perturbations and excluded pixels are there */
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

/* Thresholds among the confidences of a network that has learnt nothing, and a quick average. */
#define GAMMA "gamma0", "0.43", "gamma-a", "0.2"
static const char *const gamma_options[] = {GAMMA, NULL};
static const char *const mt_options[] = {"teacher-noise", "0", NULL};
static const char *const fixmatch_options[] = {
    GAMMA, "fixmatch-tau", "0.43", "cutmix", "1", "cutout-share", "1", "cutout", "0.3", NULL};
static const char *const fixmatch_facts[] = {"tau", "0.43", NULL};
static const char *const bcp_options[] = {GAMMA, "bcp-pretrain", "0", "bcp-u-weight", "0.7", NULL};
static const char *const bcp_facts[] = {"u", "0.7", NULL};
static const char *const filter_options[] = {"bcp-pretrain", "0", "bcp-component", "1", NULL};
static const char *const filter_facts[] = {"u", "0.5", "filter", "1", NULL};
static const char *const pretrain_options[] = {"bcp-pretrain", "0.9", NULL};

enum { N_COMPARED = 6 };

static const checked methods[] = {
    {"UA-MT", "UAMT", uamt_options, uamt_facts, TR_LOSS_PLAIN, false},
    {"URPC", "URPC", none, none, TR_LOSS_PLAIN, false},
    {"CCVC", "CCVC", ccvc_options, ccvc_facts, TR_LOSS_PLAIN, false},
    {"DCNet", "DCNet", dcnet_options, dcnet_facts, TR_LOSS_PLAIN, false},
    {"SDCL", "SDCL", sdcl_options, sdcl_facts, TR_LOSS_PLAIN, false},
    {"CEUD", "CEUD", none, ceud_facts, TR_LOSS_PLAIN, false},
    {"SL", "SL", none, none, TR_LOSS_PLAIN, true},
    {"SL", "SL-metassl", gamma_options, none, TR_LOSS_METASSL, true},
    {"MT", "MT", mt_options, none, TR_LOSS_PLAIN, true},
    {"MT", "MT-metassl", gamma_options, none, TR_LOSS_METASSL, true},
    {"CPS", "CPS", none, none, TR_LOSS_PLAIN, true},
    {"CPS", "CPS-metassl", gamma_options, none, TR_LOSS_METASSL, true},
    {"FixMatch", "FixMatch", fixmatch_options, fixmatch_facts, TR_LOSS_PLAIN, true},
    {"FixMatch", "FixMatch-metassl", fixmatch_options, none, TR_LOSS_METASSL, true},
    {"CCT", "CCT", none, none, TR_LOSS_PLAIN, true},
    {"CCT", "CCT-metassl", gamma_options, none, TR_LOSS_METASSL, true},
    {"R-Drop", "RDrop", none, none, TR_LOSS_PLAIN, true},
    {"R-Drop", "RDrop-metassl", gamma_options, none, TR_LOSS_METASSL, true},
    {"BCP", "BCP-pretraining", pretrain_options, none, TR_LOSS_PLAIN, true},
    {"BCP", "BCP", bcp_options, bcp_facts, TR_LOSS_PLAIN, true},
    {"BCP", "BCP-filtered", filter_options, filter_facts, TR_LOSS_PLAIN, true},
    {"BCP", "BCP-metassl", bcp_options, bcp_facts, TR_LOSS_METASSL, true},
};

/* ---- one step against PyTorch ---------------------------------------------------------------- */
static bool has_pytorch(void)
{
    static int found = -1;
    if (found < 0) {
        int status = -1;
        g_autofree char *out = NULL, *err = NULL;
        found = g_spawn_command_line_sync("/usr/bin/python3 -c \"import torch, numpy\"", &out, &err,
                                          &status, NULL) &&
                g_spawn_check_wait_status(status, NULL);
    }
    return found;
}

/* The two scripts, each started once and asked step by step: importing torch is most of its time.
 */
typedef struct {
    FILE *to, *from;
} peer;

static peer *peer_of(const checked *m)
{
    static peer peers[2];
    peer *p = &peers[m->draws];
    if (p->to)
        return p;
    GError *error = NULL;
    int in = -1, out = -1;
    const char *root = g_getenv("QS_SOURCE_DIR");
    g_autofree char *script =
        g_build_filename(root ? root : ".", "tests", "model",
                         m->draws ? "backbone_check.py" : "compare_check.py", NULL);
    const char *argv[] = {"/usr/bin/python3", "-B", script, NULL};
    g_spawn_async_with_pipes(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                             NULL, &in, &out, NULL, &error);
    g_assert_no_error(error);
    *p = (peer){fdopen(in, "w"), fdopen(out, "r")};
    return p;
}

/* Does the step agree, and does the script see a wrong formula? */
static bool agrees(const char *dir, const checked *m)
{
    peer *p = peer_of(m);
    char line[1024];
    bool ok = false, answered = false;
    g_assert_cmpint(fprintf(p->to, "%s %s\n", m->python, dir), >, 0);
    g_assert_cmpint(fflush(p->to), ==, 0);
    while (!answered && fgets(line, sizeof line, p->from)) {
        g_test_message("%s", g_strchomp(line));
        ok = g_str_equal(line, "agrees");
        answered = ok || g_str_equal(line, "differs");
    }
    return ok;
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
    float input[N * PIXELS * 3], strong[N * PIXELS * 3];
    uint8_t rgb[N * PIXELS * 3], label[N * PIXELS], truth[HALF * PIXELS], exclude[HALF * PIXELS];
    uint32_t items[N];
    tr_augment augment[N];
} images;

static void images_init(images *im, int n_labelled, bool excludes)
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
        if (image < n_labelled)
            im->label[i] = qs_rng_below(&rng, 20) ? (uint8_t) class : 255;
        else if (excludes && x < 5 * (image - HALF + 1)) /* other columns of each image */
            im->exclude[i - HALF * PIXELS] = 255;
    }
    for (int i = 0; i < N * PIXELS * 3; i++)
        im->strong[i] = (float)(0.9 * (double)im->input[i] + 0.1 + 0.1 * qs_rng_normal(&rng));
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
        tr_rank_init(&rank, l->engine, memory + KN_ALIGN - (uintptr_t)memory % KN_ALIGN, NULL,
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

/* What the step drew: the dropout stream of each forward, boxes and holes of the unlabelled images.
 */
typedef struct {
    char names[SSL_FORWARDS_MAX][12];
    uint64_t stream[SSL_FORWARDS_MAX];
    int64_t boxes[HALF][4], holes[HALF][4];
} draws;

static size_t add_draws(draws *d, st_tensor *t, const images *im, const tr_learner *l,
                        const tr_options *o)
{
    const ssl_forward cut = {.half = SSL_UNLABELLED, .mix = SSL_MIX_CUT};
    size_t n = 0;
    for (int f = 0; f < l->plan.n_forwards; f++) {
        uint64_t of_step = qs_rng_stream_id(TR_STREAM_DROPOUT, (uint64_t)it_of(o), (uint64_t)f);
        d->stream[f] = qs_rng_stream_id(o->seed, of_step, 0);
        g_snprintf(d->names[f], sizeof d->names[f], "stream%d", f);
        t[n++] = (st_tensor){d->names[f], ST_U64, 1, {1}, &d->stream[f]};
    }
    memset(d->boxes, 0, sizeof d->boxes);
    memset(d->holes, 0, sizeof d->holes);
    for (int i = 0; i < l->plan.n_unlabelled; i++) {
        kn_view view = tr_view_of(&l->plan, o, &cut, SIDE, it_of(o), i);
        memcpy(d->boxes[i], (int64_t[]){view.box.x0, view.box.y0, view.box.x1, view.box.y1},
               sizeof d->boxes[i]);
        memcpy(d->holes[i], (int64_t[]){view.hole.x0, view.hole.y0, view.hole.x1, view.hole.y1},
               sizeof d->holes[i]);
    }
    t[n++] = (st_tensor){"boxes", ST_I64, 2, {HALF, 4}, d->boxes};
    t[n++] = (st_tensor){"holes", ST_I64, 2, {HALF, 4}, d->holes};
    t[n++] = (st_tensor){"strong", ST_F32, 4, {N, SIDE, SIDE, 3}, im->strong};
    t[n++] = (st_tensor){"exclude", ST_U8, 3, {HALF, SIDE, SIDE}, im->exclude};
    return n;
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
                  {"gamma0", o->gamma0},
                  {"gamma_a", o->gamma_a},
                  {"x0", box.x0},
                  {"y0", box.y0},
                  {"x1", box.x1},
                  {"y1", box.y1}};
    t[n++] = (st_tensor){"x", ST_F32, 4, {N, SIDE, SIDE, 3}, im->input};
    t[n++] = (st_tensor){"label", ST_U8, 3, {l->plan.n_labelled, SIDE, SIDE}, im->label};
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
    draws drawn;
    if (m->draws)
        n += add_draws(&drawn, t + n, im, l, o);
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
    fixture_options_init(&o, m->method, m->loss, dir);
    set_options(&o, m->options);
    o.no_dropout = !m->draws;
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
    tr_step *step = tr_step_create(&learner, &o, SIDE, NULL, &error);
    g_assert_no_error(error);
    images *im = g_new(images, 1);
    images_init(im, plan.n_labelled, m->draws);
    tr_batch batch = {.index = it_of(&o),
                      .n = N,
                      .n_labelled = plan.n_labelled,
                      .patch_px = SIDE,
                      .items = im->items,
                      .augment = im->augment,
                      .rgb = im->rgb,
                      .input = im->input,
                      .strong = im->strong,
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
    g_assert_true(agrees(dir, m));
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
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_autofree char *step = g_strdup_printf("/compared/step/%s", methods[i].python),
                        *refusals = g_strdup_printf("/compared/refusals/%s", methods[i].python);
        g_test_add_data_func(step, &methods[i], test_step);
        if (i < N_COMPARED)
            g_test_add_data_func(refusals, &methods[i], test_refusals);
    }
    return g_test_run();
}
