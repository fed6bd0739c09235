/* --weights auto: measured accuracies become the wanted weights, held-back patches stay out of the
 * supervised loss and other labels out of the weights, a stop changes nothing; with every method
 * that has regions of unlabelled pixels, and refused with the others. */
#include "base/error.h"
#include "base/report.h"
#include "base/rng.h"
#include "tests/train/fixture.h"
#include "train/data/sampler.h"
#include "train/loss/region_weights.h"

#include <math.h>
#include <string.h>

enum { PX = 16, N_ITEMS = 16, N_LABELLED = 6 };

/* ---- the estimate ---------------------------------------------------------------------------- */
static void learner_of(tr_learner *l, tr_options *o, int n_classes)
{
    tr_options_init(o);
    *l = (tr_learner){.n_classes = n_classes, .plan = {.n_gammas = 1}};
}

/* `steps` steps whose regions have so many pixels, each right with its rate. */
static void stream(tr_learner *l, const tr_options *o, const double rate[KN_N_REGIONS], int px,
                   int steps, uint64_t seed)
{
    qs_rng rng;
    qs_rng_init(&rng, seed, 6);
    for (int s = 0; s < steps; s++) {
        int64_t right[KN_N_REGIONS] = {0}, seen[KN_N_REGIONS];
        for (int r = 0; r < KN_N_REGIONS; r++) {
            seen[r] = px >> r; /* UC is large, DS small */
            for (int64_t i = 0; i < seen[r]; i++)
                right[r] += qs_rng_unit(&rng) < rate[r];
        }
        tr_weights_note(l, o, 0, right, seen);
    }
}

static void assert_weights(const tr_learner *l, const tr_options *o,
                           const double rate[KN_N_REGIONS], double tolerance)
{
    double w[KN_N_REGIONS], a[KN_N_REGIONS], n = l->n_classes, most = 0;
    tr_weights_now(l, o, 0, w, a);
    for (int r = 0; r < KN_N_REGIONS; r++)
        most = fmax(most, (n * rate[r] - 1) / (n - 1));
    for (int r = 0; r < KN_N_REGIONS; r++) {
        double wanted = fmax(0, (n * rate[r] - 1) / (n - 1)) / most;
        g_test_message("region %d: weight %.4f, wanted %.4f; accuracy %.4f, true %.4f", r, w[r],
                       wanted, a[r], rate[r]);
        g_assert_true(fabs(w[r] - wanted) <= tolerance && fabs(a[r] - rate[r]) <= tolerance);
    }
}

static void test_no_evidence(void)
{
    for (int n_classes = 2; n_classes <= 5; n_classes++)
        for (int partition = 0; partition <= KN_PARTITION_UNIFORM; partition++) {
            tr_learner l;
            tr_options o;
            double w[KN_N_REGIONS], fixed[KN_N_REGIONS];
            learner_of(&l, &o, n_classes);
            o.partition = (kn_partition)partition;
            kn_region_weights(o.phi, o.phi_beta, o.delta_u, o.partition, false, fixed);
            tr_weights_now(&l, &o, 0, w, NULL);
            for (int r = 0; r < KN_N_REGIONS; r++)
                g_assert_cmpfloat_with_epsilon(w[r], fixed[r], 1e-12);
        }
}

static void test_converges(void)
{
    static const double first[] = {0.97, 0.75, 0.6, 0.52}, later[] = {0.99, 0.7, 0.85, 0.4};
    for (int n_classes = 2; n_classes <= 4; n_classes++) {
        tr_learner l;
        tr_options o;
        learner_of(&l, &o, n_classes);
        o.weights_prior = 100;
        stream(&l, &o, first, 8192, 300, 1);
        assert_weights(&l, &o, first, 0.02);
        stream(&l, &o, later, 8192, 600, 2); /* the network has learnt: the old is forgotten */
        assert_weights(&l, &o, later, 0.02);
    }
}

/* A rare region moves slowly from φ: m pixels of it are half of its weight. */
static void test_prior(void)
{
    tr_learner l;
    tr_options o;
    double w[KN_N_REGIONS], fixed[KN_N_REGIONS], a[KN_N_REGIONS];
    learner_of(&l, &o, 2);
    kn_region_weights(o.phi, o.phi_beta, o.delta_u, o.partition, false, fixed);
    static const int64_t right[] = {4096, 0, 0, 4096}, seen[] = {4096, 0, 0, 4096};
    tr_weights_note(&l, &o, 0, right, seen);
    tr_weights_now(&l, &o, 0, w, a);
    g_assert_cmpfloat_with_epsilon(w[KN_REGION_UC], 1, 1e-12);
    g_assert_cmpfloat_with_epsilon(w[KN_REGION_US], fixed[KN_REGION_US], 1e-12);
    g_assert_cmpfloat_with_epsilon(w[KN_REGION_DC], fixed[KN_REGION_DC], 1e-12);
    g_assert_cmpfloat_with_epsilon(w[KN_REGION_DS], (fixed[KN_REGION_DS] + 1) / 2, 1e-12);
}

static void test_worse_than_chance(void)
{
    static const double bad[] = {0.3, 0.3, 0.2, 0.1};
    tr_learner l;
    tr_options o;
    double w[KN_N_REGIONS], fixed[KN_N_REGIONS];
    learner_of(&l, &o, 2);
    o.weights_prior = 1;
    stream(&l, &o, bad, 8192, 300, 3);
    kn_region_weights(o.phi, o.phi_beta, o.delta_u, o.partition, false, fixed);
    tr_weights_now(&l, &o, 0, w, NULL);
    for (int r = 0; r < KN_N_REGIONS; r++)
        g_assert_true(w[r] == fixed[r]);
}

/* A bisection has two weights, from the counts of two regions each. */
static void test_partitions(void)
{
    static const double rate[] = {0.9, 0.7, 0.8, 0.6};
    tr_learner l;
    tr_options o;
    double w[KN_N_REGIONS];
    learner_of(&l, &o, 2);
    o.weights_prior = 1;
    stream(&l, &o, rate, 8192, 300, 4);
    o.partition = KN_PARTITION_CONF_BH;
    tr_weights_now(&l, &o, 0, w, NULL);
    g_assert_true(w[0] == w[2] && w[1] == w[3] && w[0] == 1 && w[1] < 0.6);
    o.partition = KN_PARTITION_CONS_BH;
    tr_weights_now(&l, &o, 0, w, NULL);
    g_assert_true(w[0] == w[1] && w[2] == w[3] && w[0] == 1 && w[2] < 1);
    o.partition = KN_PARTITION_UNIFORM;
    tr_weights_now(&l, &o, 0, w, NULL);
    g_assert_true(w[0] == 1 && w[1] == 1 && w[2] == 1 && w[3] == 1);
}

/* ---- what is held back ----------------------------------------------------------------------- */
static tr_sampler *sampler_of(const fixture_source *s, int n_held, double share)
{
    GError *error = NULL;
    ssl_plan plan = {.n_labelled = 2, .n_unlabelled = 3, .n_held = n_held, .held_share = share};
    tr_sampler *sampler = tr_sampler_create(&s->source, &plan, 1337, &error);
    g_assert_no_error(error);
    return sampler;
}

static void test_sampler(void)
{
    static const struct {
        double share;
        int labelled;
        size_t held;
    } cases[] = {{0.1, 20, 2}, {0.5, 20, 10}, {0, 20, 1}, {0.9, 2, 1}, {0.1, 1, 0}};
    for (size_t k = 0; k < G_N_ELEMENTS(cases); k++) {
        fixture_source s;
        fixture_source_init(&s, PX, 30, cases[k].labelled);
        tr_sampler *sampler = sampler_of(&s, 1, cases[k].share);
        bool as_label[30] = {false}, as_held[30] = {false};
        int n_held = tr_sampler_n_held(sampler);
        g_assert_cmpint(tr_sampler_n_held_back(sampler), ==, cases[k].held);
        g_assert_cmpint(tr_sampler_n_labelled(sampler) + cases[k].held, ==,
                        (size_t)cases[k].labelled);
        g_assert_cmpint(n_held, ==, cases[k].held > 0);
        for (int64_t i = 0; i < 60; i++) {
            uint32_t items[5];
            tr_sampler_batch(sampler, i, items);
            as_label[items[0]] = as_label[items[1]] = true;
            if (n_held)
                as_held[items[2]] = true;
            for (int j = 2 + n_held; j < 5; j++)
                g_assert_false(s.items[items[j]].labelled);
        }
        size_t held = 0;
        for (int i = 0; i < 30; i++) {
            g_assert_false(as_label[i] && as_held[i]);
            g_assert_true(s.items[i].labelled || !(as_label[i] || as_held[i]));
            held += as_held[i];
        }
        g_assert_cmpint(held, ==, cases[k].held);
        tr_sampler_destroy(sampler);
        fixture_source_clear(&s);
    }
}

/* Without --weights auto a batch is what it was. */
static void test_sampler_unchanged(void)
{
    fixture_source s;
    fixture_source_init(&s, PX, 30, 1);
    tr_sampler *plain = sampler_of(&s, 0, 0), *none = sampler_of(&s, 1, 0.5);
    for (int64_t i = 0; i < 20; i++) {
        uint32_t a[5], b[5];
        tr_sampler_batch(plain, i, a);
        tr_sampler_batch(none, i, b);
        g_assert_true(memcmp(a, b, sizeof a) == 0);
    }
    tr_sampler_destroy(plain);
    tr_sampler_destroy(none);
    fixture_source_clear(&s);
}

/* ---- runs ------------------------------------------------------------------------------------ */
/* Labels turned round, of the held-back rows or of the labelled rows that are not. */
typedef struct {
    tr_source source; /* reads through the fixture's */
    fixture_source *inner;
    bool turn[N_ITEMS];
} turned;

static bool read_turned(void *user, size_t item, uint8_t *rgb, uint8_t *label, GError **error)
{
    turned *t = user;
    if (!t->inner->source.read(t->inner, item, rgb, label, error))
        return false;
    for (int i = 0; label && t->turn[item] && i < PX * PX; i++)
        label[i] = !label[i];
    return true;
}

static void options_of(tr_options *o, const char *method, const char *out)
{
    fixture_options_init(o, method, TR_LOSS_METASSL, out);
    o->weights = TR_WEIGHTS_AUTO;
    o->held_back = 0.4;
    o->weights_prior = 1;
    if (!strcmp(method, "BCP")) /* a first stage without unlabelled pixels comes before */
        g_assert_true(tr_options_set(o, "bcp-pretrain", "0.3", NULL));
}

static char *train(const char *dir, const char *name, const tr_options *options, const turned *t)
{
    GError *error = NULL;
    model_spec spec;
    tr_options o = *options;
    g_autofree char *run = g_build_filename(dir, name, NULL);
    o.out_dir = run;
    fixture_spec_init(&spec, PX);
    tr_run(&o, &t->source, &spec, NULL, &error);
    g_assert_no_error(error);
    return g_build_filename(run, "state.safetensors", NULL);
}

static void turned_init(turned *t, fixture_source *inner)
{
    *t = (turned){.source = inner->source, .inner = inner};
    t->source.user = t;
    t->source.read = read_turned;
}

/* Held-back labels: the first step, whose weights are φ's, must not know them; later ones do,
 * through the weights. Labels of unlabelled rows: no step may know them. */
static void test_who_sees_what(gconstpointer method)
{
    char *dir = fixture_dir();
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    turned straight, held, unlabelled;
    turned_init(&straight, &s);
    turned_init(&held, &s);
    turned_init(&unlabelled, &s);
    ssl_plan plan = {.n_labelled = 2, .n_unlabelled = 2, .n_held = 1, .held_share = 0.4};
    tr_sampler *sampler = tr_sampler_create(&s.source, &plan, 1337, NULL);
    for (int64_t i = 0; i < 20; i++) {
        uint32_t items[4];
        tr_sampler_batch(sampler, i, items);
        held.turn[items[2]] = true;
    }
    tr_sampler_destroy(sampler);
    for (int i = 0; i < N_ITEMS; i++)
        unlabelled.turn[i] = !s.items[i].labelled;
    tr_options o;
    options_of(&o, method, NULL);
    o.cutmix = 1; /* held-back pixels go where their box goes */
    if (!strcmp(method, "BCP"))
        g_assert_true(tr_options_set(&o, "bcp-pretrain", "0", NULL));
    o.iterations = 1;
    g_autofree char *a = train(dir, "one", &o, &straight), *b = train(dir, "one-held", &o, &held);
    fixture_assert_same(a, b, ".params");
    g_assert_false(fixture_same(a, b, "held"));
    o.iterations = 6;
    g_autofree char *c = train(dir, "six", &o, &straight), *d = train(dir, "six-held", &o, &held);
    g_assert_false(fixture_same(c, d, ".params"));
    g_autofree char *e = train(dir, "six-unlabelled", &o, &unlabelled);
    fixture_assert_same(c, e, ".params");
    fixture_assert_same(c, e, "held");
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

static void stop_at_four(void *user, const tr_status *status)
{
    double sum = 0;
    (void)user;
    for (int r = 0; r < KN_N_REGIONS; r++) {
        g_assert_true(status->region_weight[r] >= 0 && status->region_weight[r] <= 1);
        g_assert_true(status->held_accuracy[r] >= 0 && status->held_accuracy[r] <= 1);
        sum += status->region_weight[r];
    }
    g_assert_cmpfloat(sum, >=, 1);
    if (status->iteration == 4)
        qs_stop_request();
}

static void test_resume(gconstpointer method)
{
    GError *error = NULL;
    char *dir = fixture_dir();
    g_autofree char *parts = g_build_filename(dir, "parts", NULL);
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    turned t;
    turned_init(&t, &s);
    tr_options o;
    options_of(&o, method, parts);
    g_autofree char *a = train(dir, "whole", &o, &t);
    model_spec spec;
    fixture_spec_init(&spec, PX);
    tr_callbacks stopper = {.status = stop_at_four};
    g_assert_false(tr_run(&o, &t.source, &spec, &stopper, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    qs_stop_clear();
    g_autofree char *b = train(dir, "parts", &o, &t);
    fixture_assert_same(a, b, ".params");
    fixture_assert_same(a, b, "held");
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

static void assert_refused(const char *method, tr_loss loss, int n_unlabelled)
{
    GError *error = NULL;
    char *dir = fixture_dir();
    g_autofree char *run = g_build_filename(dir, "run", NULL);
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    options_of(&o, method, run);
    o.loss = loss;
    o.batch_unlabelled = n_unlabelled;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_ARG);
    g_assert_nonnull(strstr(error->message, "--weights auto"));
    g_error_free(error);
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

/* Has the method, with MetaSSL, regions of unlabelled pixels? */
static bool has_regions(const ssl_method *method)
{
    tr_options o;
    ssl_plan plan = {0};
    bool any = false;
    fixture_options_init(&o, method->name, TR_LOSS_METASSL, NULL);
    ssl_config config = tr_options_config(&o);
    method->plan(&config, &plan);
    for (int t = 0; t < plan.n_terms; t++)
        any = any || plan.terms[t].kind == SSL_UQH;
    return any;
}

/* Every method of which it cannot be, with either loss; and a half that is too small. */
static void test_refusals(void)
{
    for (int m = 0; ssl_methods[m]; m++) {
        assert_refused(ssl_methods[m]->name, TR_LOSS_PLAIN, 2);
        if (!has_regions(ssl_methods[m]) && !ssl_methods[m]->plain_only)
            assert_refused(ssl_methods[m]->name, TR_LOSS_METASSL, 2);
    }
    assert_refused("MT", TR_LOSS_METASSL, 1);
}

/* One labelled patch: nothing can be held back, the run goes on with φ's weights. */
static void test_nothing_to_hold_back(void)
{
    char *dir = fixture_dir();
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, 1);
    turned t;
    turned_init(&t, &s);
    tr_options o;
    options_of(&o, "MT", NULL);
    g_autofree char *a = train(dir, "auto", &o, &t);
    o.weights = TR_WEIGHTS_FIXED;
    g_autofree char *b = train(dir, "fixed", &o, &t);
    fixture_assert_same(a, b, ".buffers");
    fixture_assert_same(a, b, "gamma");
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/weights/no-evidence", test_no_evidence);
    g_test_add_func("/weights/converges", test_converges);
    g_test_add_func("/weights/prior", test_prior);
    g_test_add_func("/weights/worse-than-chance", test_worse_than_chance);
    g_test_add_func("/weights/partitions", test_partitions);
    g_test_add_func("/weights/sampler", test_sampler);
    g_test_add_func("/weights/sampler-unchanged", test_sampler_unchanged);
    int n_with = 0;
    for (int m = 0; ssl_methods[m]; m++) {
        const char *method = ssl_methods[m]->name;
        if (ssl_methods[m]->plain_only || !has_regions(ssl_methods[m]))
            continue;
        g_autofree char *sees = g_strdup_printf("/weights/who-sees-what/%s", method),
                        *resume = g_strdup_printf("/weights/resume/%s", method);
        g_test_add_data_func(sees, method, test_who_sees_what);
        g_test_add_data_func(resume, method, test_resume);
        n_with++;
    }
    g_assert_cmpint(n_with, ==, 6); /* MT, FixMatch, CCT, CPS, R-Drop, BCP */
    g_test_add_func("/weights/refusals", test_refusals);
    g_test_add_func("/weights/nothing-to-hold-back", test_nothing_to_hold_back);
    return g_test_run();
}
