/* Every method with either loss where data are not what it would like: more classes, a class that
 * no label has, fewer labelled patches than the batch wants, an odd batch, nothing unlabelled,
 * nothing labelled; all but the first without validation. Each run works, and its model is one, or
 * ends with an error that says what to do. */
#include "base/error.h"
#include "tests/train/fixture.h"

#include <math.h>
#include <string.h>

enum { PX = 16, N_ITEMS = 10, N_STEPS = 2 };

/* ---- labels of several classes --------------------------------------------------------------- */
typedef struct {
    fixture_source inner;
    tr_source source; /* reads through inner */
    int n_classes;
    int absent; /* a class that no label has; 0: all are there */
} classed;

/* Stripes of every class, coloured by class, under the fixture's noise. */
static bool read_classed(void *user, size_t item, uint8_t *rgb, uint8_t *label, GError **error)
{
    classed *s = user;
    if (!s->inner.source.read(&s->inner, item, rgb, label, error))
        return false;
    for (int i = 0; i < PX * PX; i++) {
        int class = (i % PX / 3 + i / PX / 5 + (int)item) % s->n_classes;
        class = class > 0 && class == s->absent ? 0 : class;
        rgb[3 * i + class % 3] = (uint8_t)(rgb[3 * i + class % 3] / 2);
        if (label)
            label[i] = (uint8_t) class;
    }
    return true;
}

/* ---- conditions ------------------------------------------------------------------------------ */
typedef struct {
    const char *name;
    int n_classes, absent;
    int n_items, n_labelled, batch_labelled, batch_unlabelled;
    bool validates;
} condition;

static const condition conditions[] = {
    {"three-classes", 3, 0, N_ITEMS, 4, 2, 2, true},
    {"four-classes-one-absent", 4, 2, N_ITEMS, 4, 2, 2, false},
    {"one-labelled-patch-odd-batch", 2, 0, N_ITEMS, 1, 3, 1, false},
    {"nothing-unlabelled", 2, 0, 4, 4, 2, 2, false},
    {"nothing-labelled", 2, 0, N_ITEMS, 0, 2, 2, false},
};

typedef struct {
    int n_classes, n_validations;
    tr_status last;
} watcher;

static void on_status(void *user, const tr_status *status)
{
    watcher *w = user;
    w->last = *status;
    g_assert_true(isfinite(status->loss) && isfinite(status->loss_sup) && status->loss_sup > 0);
    g_assert_cmpint(status->n_classes, ==, w->n_classes);
}

static bool on_validate(void *user, const model *m, kn_engine *engine, int64_t iteration,
                        double *dsc, GError **error)
{
    (void)engine, (void)iteration, (void)error;
    watcher *w = user;
    w->n_validations++;
    g_assert_cmpint(m->spec.classes.n, ==, w->n_classes);
    *dsc = 0.5;
    return true;
}

static void classed_init(classed *s, const condition *c)
{
    *s = (classed){.n_classes = c->n_classes, .absent = c->absent};
    fixture_source_init(&s->inner, PX, c->n_items, c->n_labelled);
    s->source = s->inner.source;
    s->source.user = s;
    s->source.read = read_classed;
}

/* NULL where it worked. */
static GError *train(const condition *c, const tr_options *o, watcher *w)
{
    GError *error = NULL;
    classed s;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    qs_classes_init_n(&spec.classes, c->n_classes);
    classed_init(&s, c);
    tr_callbacks callbacks = {
        .user = w, .status = on_status, .validate = c->validates ? on_validate : NULL};
    bool ok = tr_run(o, &s.source, &spec, &callbacks, &error);
    g_assert_cmpint(ok, ==, error == NULL);
    fixture_source_clear(&s.inner);
    return error;
}

/* Trained weights, all of them finite, of as many classes as there are. */
static void assert_model(const char *dir, const char *name, int n_classes)
{
    GError *error = NULL;
    model m;
    g_autofree char *path = g_build_filename(dir, name, NULL);
    kn_engine_options options = {.backend = "cpu", .n_threads = 1, .conv = KN_CONV_DIRECT};
    kn_engine *engine = kn_engine_create(&options, &error);
    g_assert_no_error(error);
    g_assert_true(model_load(&m, path, engine, false, &error));
    g_assert_no_error(error);
    g_assert_cmpint(m.spec.net.n_classes, ==, n_classes);
    g_assert_cmpint(m.spec.iteration, ==, N_STEPS);
    for (int k = 0; k < (m.second_weights ? 2 : 1); k++) {
        const kn_weights *of = k ? m.second_weights : m.weights;
        int64_t n = kn_net_n_trained(kn_weights_net(of));
        g_autofree float *values = g_new(float, n);
        kn_weights_get(of, KN_ARRAY_PARAMS, 0, n, values);
        for (int64_t i = 0; i < n; i++)
            g_assert_true(isfinite(values[i]));
    }
    model_clear(&m);
    kn_engine_destroy(engine);
}

static bool exists(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* What the method says where it cannot work; NULL: it can. */
static const char *refusal(const condition *c, const char *method)
{
    bool supervised = !strcmp(method, "SL") || !strcmp(method, "FullSup");
    if (c->n_labelled == c->n_items && !supervised)
        return "use SL or FullSup";
    if (c->n_labelled == 0 && strcmp(method, "FullSup") != 0) /* which sees every label */
        return "mark slides with masks as labelled";
    return NULL;
}

static void check(const condition *c, const char *method, tr_loss loss)
{
    char *dir = fixture_dir();
    g_autofree char *run = g_build_filename(dir, "run", NULL);
    const char *refused = refusal(c, method);
    watcher w = {.n_classes = c->n_classes};
    tr_options o;
    fixture_options_init(&o, method, loss, run);
    o.batch_labelled = c->batch_labelled;
    o.batch_unlabelled = c->batch_unlabelled;
    o.iterations = N_STEPS;
    o.log_every = 1;
    g_autoptr(GError) error = train(c, &o, &w);
    if (error)
        g_test_message("%s, %s: %s", c->name, method, error->message);
    if (refused) {
        g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
        g_assert_nonnull(strstr(error->message, refused));
    } else {
        g_assert_no_error(error);
        g_assert_cmpint(w.last.iteration, ==, N_STEPS);
        g_assert_cmpint(w.n_validations, ==, c->validates ? 1 : 0);
        assert_model(run, "last.safetensors", c->n_classes);
        g_assert_cmpint(exists(run, "best.safetensors"), ==, c->validates);
    }
    fixture_dir_remove(dir);
}

static void test_condition(gconstpointer data)
{
    for (int m = 0; ssl_methods[m]; m++)
        for (int loss = 0; loss < (ssl_methods[m]->plain_only ? 1 : 2); loss++)
            check(data, ssl_methods[m]->name, loss ? TR_LOSS_METASSL : TR_LOSS_PLAIN);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(conditions); i++) {
        g_autofree char *name = g_strdup_printf("/conditions/%s", conditions[i].name);
        g_test_add_data_func(name, &conditions[i], test_condition);
    }
    return g_test_run();
}
