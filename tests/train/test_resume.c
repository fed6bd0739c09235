/* Training that is stopped, refused, moved aside and resumed: the bits of an uninterrupted run. */
#include "tests/train/fixture.h"

#include "base/error.h"
#include "model/safetensors.h"

#include <glib/gstdio.h>

#include <math.h>
#include <string.h>

enum { PX = 16, N_ITEMS = 14, N_LABELLED = 5 };

typedef struct {
    int stop_at;         /* ask to stop when this many statuses have come; 0 never */
    int stop_validation; /* this validation is stopped half way; 0 none */
    int n_status, n_snapshots, n_validations;
    tr_status last;
    double dsc_rises; /* dsc = this × iteration */
} watcher;

static void on_status(void *user, const tr_status *status)
{
    watcher *w = user;
    w->last = *status;
    if (++w->n_status == w->stop_at)
        qs_stop_request();
}

static bool on_validate(void *user, const model *m, kn_engine *engine, int64_t iteration,
                        double *dsc, GError **error)
{
    watcher *w = user;
    (void)engine;
    g_assert_cmpint(m->spec.iteration, ==, iteration);
    if (++w->n_validations == w->stop_validation) {
        qs_stop_request();
        return qs_stop_check(error);
    }
    *dsc = w->dsc_rises * (double)iteration;
    return true;
}

static void on_snapshot(void *user, const tr_snapshot *s)
{
    ((watcher *)user)->n_snapshots++;
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px, n_predicted = 0;
    for (size_t i = 0; i < (size_t)s->n * px; i++) {
        n_predicted += s->y[i] < s->n_classes;
        g_assert_true(s->y[i] < s->n_classes || s->y[i] == 255); /* covered in a mixed image */
        if (i >= (size_t)s->n_labelled * px)
            g_assert_cmpint(s->label[i], ==, 255); /* the loss never had it */
        if (s->region && s->region[i] != KN_REGION_EXCLUDED)
            g_assert_cmpint(s->region[i], <, KN_N_REGIONS);
    }
    g_assert_cmpint(n_predicted, >=, (size_t)s->n * px / 4);
}

static tr_callbacks watch(watcher *w)
{
    return (tr_callbacks){
        .user = w, .status = on_status, .validate = on_validate, .snapshot = on_snapshot};
}

static char *in(const char *dir, const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void assert_same_runs(const char *a, const char *b)
{
    g_autofree char *sa = in(a, "state.safetensors"), *sb = in(b, "state.safetensors");
    g_autofree char *la = in(a, "last.safetensors"), *lb = in(b, "last.safetensors");
    g_autofree char *ba = in(a, "best.safetensors"), *bb = in(b, "best.safetensors");
    const char *const parts[] = {".params", ".buffers", ".momentum", ".batches_tracked",
                                 "gamma",   "memory",   "held"};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++)
        if (strcmp(parts[i], ".momentum") != 0 || fixture_same(sa, sa, ".momentum"))
            fixture_assert_same(sa, sb, parts[i]);
    fixture_assert_same(la, lb, "");
    fixture_assert_same(ba, bb, "");
}

static GError *train_until_stopped(const tr_options *o, const fixture_source *s, watcher *w)
{
    GError *error = NULL;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    tr_callbacks callbacks = watch(w);
    bool ok = tr_run(o, &s->source, &spec, &callbacks, &error);
    qs_stop_clear();
    g_assert_cmpint(ok, ==, error == NULL);
    return error;
}

/* The lines of metrics.csv but for speeds, which no two runs share. */
static char *metrics_text(const char *dir)
{
    g_autofree char *path = in(dir, "metrics.csv"), *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    GString *kept = g_string_new(NULL);
    for (int i = 0; lines[i]; i++)
        if (!strstr(lines[i], "patches_per_s"))
            g_string_append_printf(kept, "%s\n", lines[i]);
    return g_string_free(kept, FALSE);
}

static void test_resume(gconstpointer data)
{
    int number = GPOINTER_TO_INT(data);
    tr_loss loss = number % 2 ? TR_LOSS_METASSL : TR_LOSS_PLAIN;
    char *dir = fixture_dir();
    g_autofree char *whole = in(dir, "whole"), *parts = in(dir, "parts");
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, ssl_methods[number / 2]->name, loss, whole);
    o.n_threads = number == 5 ? 2 : 1; /* MT with MetaSSL: a team too */
    watcher w = {.dsc_rises = .1};
    tr_callbacks callbacks = watch(&w);
    fixture_train(&o, &s, &callbacks);
    g_assert_cmpint(w.n_validations, ==, 3); /* at 3, 6, 8 */
    g_assert_cmpint(w.n_snapshots, ==, 3);
    g_assert_cmpfloat_with_epsilon(w.last.best_dsc, .8, 1e-12);
    g_assert_true(isfinite(w.last.loss));
    bool meta = loss == TR_LOSS_METASSL;
    g_assert_cmpint(isfinite(w.last.region_share[0]), ==, meta);

    /* Stopped at iteration 2, at 6 (the second status of the second session) and, between two
     * status lines, while validating at 3. */
    o.out_dir = parts;
    watcher first = {.stop_at = 1, .dsc_rises = .1}, second = {.stop_at = 2, .dsc_rises = .1},
            third = {.dsc_rises = .1};
    watcher interrupted = {.stop_validation = 1, .dsc_rises = .1};
    GError *error = train_until_stopped(&o, &s, &first);
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    error = train_until_stopped(&o, &s, &interrupted);
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    error = train_until_stopped(&o, &s, &second);
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    g_assert_cmpint(second.last.iteration, ==, 6);
    error = train_until_stopped(&o, &s, &third);
    g_assert_no_error(error);
    assert_same_runs(whole, parts);
    g_autofree char *a = metrics_text(whole), *b = metrics_text(parts);
    g_assert_cmpstr(a, ==, b);

    /* A finished run is left as it is. */
    watcher again = {.dsc_rises = .5};
    error = train_until_stopped(&o, &s, &again);
    g_assert_no_error(error);
    g_assert_cmpint(again.n_validations + again.n_status, ==, 0);
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

/* Labels of unlabelled rows must not matter to any bit of the weights; FullSup is the one that sees
 * them. */
static void test_corrupt_labels(gconstpointer data)
{
    int number = GPOINTER_TO_INT(data);
    char *dir = fixture_dir();
    g_autofree char *clean = in(dir, "clean"), *corrupt = in(dir, "corrupt");
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, ssl_methods[number / 2]->name,
                         number % 2 ? TR_LOSS_METASSL : TR_LOSS_PLAIN, clean);
    o.iterations = 4;
    fixture_train(&o, &s, NULL);
    o.out_dir = corrupt;
    s.corrupt = true;
    fixture_train(&o, &s, NULL);
    g_autofree char *a = in(clean, "state.safetensors"), *b = in(corrupt, "state.safetensors");
    bool fullsup = !strcmp(ssl_methods[number / 2]->name, "FullSup");
    g_assert_cmpint(fixture_same(a, b, ".params"), ==, !fullsup);
    if (!fullsup) {
        fixture_assert_same(a, b, ".buffers");
        fixture_assert_same(a, b, "gamma");
    }
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

static void test_refusals(void)
{
    char *dir = fixture_dir();
    g_autofree char *run = in(dir, "run");
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, "MT", TR_LOSS_METASSL, run);
    watcher w = {.stop_at = 1};
    GError *error = train_until_stopped(&o, &s, &w);
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);

    o.lr = 0.02;
    error = train_until_stopped(&o, &s, &w);
    g_assert_error(error, QS_ERROR, QS_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "lr is \"0.02\", was \"0.01\""));
    g_clear_error(&error);
    o.lr = 0.01;
    o.method_values[0] = 0.5;
    error = train_until_stopped(&o, &s, &w);
    g_assert_error(error, QS_ERROR, QS_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "ema is \"0.5\", was \"0.99\""));
    g_clear_error(&error);
    o.method_values[0] = 0.99;
    s.items[1].labelled = false; /* other data */
    error = train_until_stopped(&o, &s, &w);
    g_assert_error(error, QS_ERROR, QS_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "training patches"));
    g_clear_error(&error);
    s.items[1].labelled = true;

    /* What does not decide the weights may change. */
    o.log_every = 1;
    o.save_every = 1;
    watcher rest = {.dsc_rises = 1};
    error = train_until_stopped(&o, &s, &rest);
    g_assert_no_error(error);
    g_assert_cmpint(rest.last.iteration, ==, o.iterations);
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

static void test_fresh(void)
{
    char *dir = fixture_dir();
    g_autofree char *run = in(dir, "run"), *old1 = in(dir, "run.old-1"),
                    *old2 = in(dir, "run.old-2");
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, "SL", TR_LOSS_PLAIN, run);
    o.iterations = 2;
    o.fresh = true; /* harmless where nothing is there */
    fixture_train(&o, &s, NULL);
    g_autofree char *state = in(run, "state.safetensors"), *kept = in(old1, "state.safetensors");
    g_autofree char *before = NULL, *after = NULL;
    gsize n_before, n_after;
    g_assert_true(g_file_get_contents(state, &before, &n_before, NULL));
    o.iterations = 3;
    o.seed = 7;
    fixture_train(&o, &s, NULL);
    g_assert_true(g_file_get_contents(kept, &after, &n_after, NULL));
    g_assert_cmpmem(before, n_before, after, n_after);
    fixture_train(&o, &s, NULL);
    g_assert_true(g_file_test(old2, G_FILE_TEST_IS_DIR));

    /* Models without a state are nobody's to overwrite. */
    o.fresh = false;
    g_assert_cmpint(g_remove(state), ==, 0);
    model_spec spec;
    fixture_spec_init(&spec, PX);
    GError *error = NULL;
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_MISMATCH);
    g_assert_nonnull(strstr(error->message, "--fresh"));
    g_clear_error(&error);
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

/* A loss that is not finite ends the run; what was saved stays and is finite. */
static void test_not_finite(void)
{
    char *dir = fixture_dir();
    g_autofree char *run = in(dir, "run"), *state = in(run, "state.safetensors");
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, "SL", TR_LOSS_PLAIN, run);
    o.iterations = 200;
    o.lr = 1e3;
    o.weight_decay = 1; /* |1 - lr·wd| > 1: the weights explode */
    o.momentum = 0;
    o.save_every = 2;
    model_spec spec;
    fixture_spec_init(&spec, PX);
    GError *error = NULL;
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_FORMAT);
    g_test_message("%s", error->message);
    g_clear_error(&error);
    st_file *file = st_open(state, &error);
    g_assert_no_error(error);
    const st_tensor *t = st_find(file, "net0.params");
    g_assert_nonnull(t);
    for (int64_t i = 0; i < t->shape[0]; i++)
        g_assert_true(isfinite(((const float *)t->data)[i]));
    st_close(file);
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

static void test_read_error(void)
{
    char *dir = fixture_dir();
    g_autofree char *run = in(dir, "run");
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    s.fail_item = 2;
    tr_options o;
    fixture_options_init(&o, "SL", TR_LOSS_PLAIN, run);
    model_spec spec;
    fixture_spec_init(&spec, PX);
    GError *error = NULL;
    g_assert_false(tr_run(&o, &s.source, &spec, NULL, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_IO);
    g_assert_nonnull(strstr(error->message, "training patch 2"));
    g_clear_error(&error);
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

/* A clock that a step moves by 10 s and a validation by 100 s. */
static int64_t fake_now;
static int64_t fake_clock(void *user)
{
    (void)user;
    return fake_now;
}

static bool slow_validate(void *user, const model *m, kn_engine *engine, int64_t iteration,
                          double *dsc, GError **error)
{
    fake_now += 100 * G_USEC_PER_SEC;
    return on_validate(user, m, engine, iteration, dsc, error);
}

static bool slow_metrics(void *user, int64_t iteration, const char *const *names,
                         const double *values, const char *const *units, size_t n, GError **error)
{
    (void)user, (void)iteration, (void)values, (void)units, (void)error;
    if (n > 0 && !strcmp(names[0], "loss")) /* one status a step */
        fake_now += 10 * G_USEC_PER_SEC;
    return true;
}

static void test_max_hours(void)
{
    char *dir = fixture_dir();
    g_autofree char *run = in(dir, "run");
    fixture_source s;
    fixture_source_init(&s, 16, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, "SL", TR_LOSS_PLAIN, run);
    o.iterations = 1000;
    o.log_every = 1;
    o.val_every = 20;
    o.max_hours = 900.0 / 3600; /* 900 s: 10 a step, 100 a validation */
    watcher w = {.stop_at = 40, .dsc_rises = .01};
    tr_callbacks callbacks = watch(&w);
    callbacks.clock_us = fake_clock;
    callbacks.validate = slow_validate;
    callbacks.metrics = slow_metrics;
    model_spec spec;
    fixture_spec_init(&spec, 16);
    GError *error = NULL;
    g_assert_false(tr_run(&o, &s.source, &spec, &callbacks, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    g_clear_error(&error);
    qs_stop_clear();
    int64_t planned = w.last.iterations;
    g_assert_cmpint(planned, <, 65); /* 882 s less the last validation's 100, 15 s a step */
    g_assert_cmpint(planned, >, 45);
    w.stop_at = 0;
    bool ok = tr_run(&o, &s.source, &spec, &callbacks, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    g_assert_cmpint(w.last.iterations, ==, planned); /* kept by the resumed run */
    g_assert_cmpint(w.last.iteration, ==, planned);
    g_assert_cmpint(fake_now / G_USEC_PER_SEC, <=, 900);
    g_assert_cmpint(fake_now / G_USEC_PER_SEC, >, 700);
    g_assert_cmpfloat(w.last.lr, <, 0.001); /* the schedule came to its end */
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

static void test_sees_differences(void)
{
    char *dir = fixture_dir();
    g_autofree char *a = in(dir, "a"), *b = in(dir, "b");
    fixture_source s;
    fixture_source_init(&s, PX, N_ITEMS, N_LABELLED);
    tr_options o;
    fixture_options_init(&o, "MT", TR_LOSS_METASSL, a);
    o.iterations = 2;
    fixture_train(&o, &s, NULL);
    o.out_dir = b;
    o.seed++;
    fixture_train(&o, &s, NULL);
    g_autofree char *sa = in(a, "state.safetensors"), *sb = in(b, "state.safetensors");
    g_assert_false(fixture_same(sa, sb, ".params"));
    g_assert_false(fixture_same(sa, sb, "gamma"));
    fixture_source_clear(&s);
    fixture_dir_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int i = 0; ssl_methods[i / 2]; i++) { /* every method, with either loss */
        const char *loss = i % 2 ? "metassl" : "plain";
        if (i % 2 && ssl_methods[i / 2]->plain_only)
            continue;
        g_autofree char *resume =
            g_strdup_printf("/train/resume/%s/%s", ssl_methods[i / 2]->name, loss);
        g_autofree char *corrupt =
            g_strdup_printf("/train/corrupt-labels/%s/%s", ssl_methods[i / 2]->name, loss);
        g_test_add_data_func(resume, GINT_TO_POINTER(i), test_resume);
        g_test_add_data_func(corrupt, GINT_TO_POINTER(i), test_corrupt_labels);
    }
    g_test_add_func("/train/refusals", test_refusals);
    g_test_add_func("/train/fresh", test_fresh);
    g_test_add_func("/train/not-finite", test_not_finite);
    g_test_add_func("/train/read-error", test_read_error);
    g_test_add_func("/train/max-hours", test_max_hours);
    g_test_add_func("/train/sees-differences", test_sees_differences);
    return g_test_run();
}
