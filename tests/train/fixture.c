#include "tests/train/fixture.h"

#include "base/error.h"
#include "base/rng.h"
#include "model/safetensors.h"

#include <glib/gstdio.h>

#include <math.h>
#include <string.h>

/* A disc of another colour on a striped ground; label 1 in the disc. */
static bool read_item(void *user, size_t item, uint8_t *rgb, uint8_t *label, GError **error)
{
    const fixture_source *s = user;
    int size = s->source.patch_px;
    if ((int)item == s->fail_item) {
        g_set_error(error, QS_ERROR, QS_ERROR_IO, "item %zu cannot be read", item);
        return false;
    }
    qs_rng rng;
    qs_rng_init(&rng, 5, item);
    int cx = (int)qs_rng_below(&rng, (uint32_t)size), cy = (int)qs_rng_below(&rng, (uint32_t)size);
    int r = size / 4 + (int)qs_rng_below(&rng, (uint32_t)size / 4);
    for (int y = 0; y < size; y++) {
        for (int x = 0; x < size; x++, rgb += 3) {
            bool in = (x - cx) * (x - cx) + (y - cy) * (y - cy) < r * r;
            int noise = (int)qs_rng_below(&rng, 40), stripe = (x + y) % 8 < 4 ? 30 : 0;
            rgb[0] = (uint8_t)(in ? 150 + noise : 180 + stripe / 2 + noise / 2);
            rgb[1] = (uint8_t)(in ? 80 + stripe : 120 + noise + stripe);
            rgb[2] = (uint8_t)(140 + noise);
            if (label)
                *label++ = s->corrupt && !s->items[item].labelled
                               ? (uint8_t)((x * 7 + y) % 3 == 2 ? 255 : !in)
                               : in;
        }
    }
    return true;
}

void fixture_source_init(fixture_source *s, int px, int n, int n_labelled)
{
    *s = (fixture_source){.fail_item = -1};
    s->items = g_new0(tr_item, (gsize)n);
    for (int i = 0; i < n; i++)
        s->items[i] = (tr_item){.slide_id = i / 4, .labelled = i < n_labelled, .has_label = true};
    s->source = (tr_source){
        .user = s, .patch_px = px, .n_items = (size_t)n, .items = s->items, .read = read_item};
}

void fixture_source_clear(fixture_source *s)
{
    g_free(s->items);
}

void fixture_spec_init(model_spec *spec, int px)
{
    *spec = (model_spec){.mean = {.7, .5, .6}, .std = {.2, .2, .2}, .level0 = true, .patch_px = px};
    qs_classes_init_binary(&spec->classes, "disc");
}

void fixture_options_init(tr_options *o, const char *method, tr_loss loss, const char *out_dir)
{
    tr_options_init(o);
    g_assert_true(tr_options_set_method(o, method, NULL));
    o->loss = loss;
    o->out_dir = out_dir;
    o->conv = KN_CONV_DIRECT;
    o->n_threads = 1; /* waiting for a team costs more than these sizes */
    o->batch_labelled = o->batch_unlabelled = 2;
    o->iterations = 8;
    o->lambda_max = 1;
    o->val_every = 3;
    o->save_every = 3;
    o->log_every = 2;
}

char *fixture_dir(void)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("qs-train-XXXXXX", &error);
    g_assert_no_error(error);
    return dir;
}

static void remove_tree(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        remove_tree(below);
    }
    if (dir)
        g_dir_close(dir);
    g_remove(path);
}

void fixture_dir_remove(char *dir)
{
    remove_tree(dir);
    g_free(dir);
}

void fixture_train(const tr_options *options, const fixture_source *s,
                   const tr_callbacks *callbacks)
{
    GError *error = NULL;
    model_spec spec;
    fixture_spec_init(&spec, s->source.patch_px);
    bool ok = tr_run(options, &s->source, &spec, callbacks, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
}

static void stop_at_status(void *user, const tr_status *status)
{
    if (status->iteration >= *(const int64_t *)user)
        qs_stop_request();
}

bool fixture_run_until(const tr_options *options, const fixture_source *s, int64_t until,
                       GError **error)
{
    model_spec spec;
    tr_callbacks callbacks = {.user = &until, .status = until > 0 ? stop_at_status : NULL};
    fixture_spec_init(&spec, s->source.patch_px);
    bool ok = tr_run(options, &s->source, &spec, &callbacks, error);
    qs_stop_clear();
    return ok;
}

void fixture_train_until(const tr_options *options, const fixture_source *s, int64_t until)
{
    g_autoptr(GError) error = NULL;
    bool ok = fixture_run_until(options, s, until, &error);
    if (until > 0)
        g_assert_error(error, QS_ERROR, QS_ERROR_STOPPED);
    else
        g_assert_no_error(error);
    g_assert_true(ok == (until == 0));
}

static size_t tensor_bytes(const st_tensor *t)
{
    size_t n = t->dtype == ST_F32 ? 4 : t->dtype == ST_U8 ? 1 : 8;
    for (int d = 0; d < t->n_dims; d++)
        n *= (size_t)t->shape[d];
    return n;
}

static char *first_difference(const char *path_a, const char *path_b, const char *suffix)
{
    GError *error = NULL;
    char *found = NULL;
    st_file *a = st_open(path_a, &error);
    g_assert_no_error(error);
    st_file *b = st_open(path_b, &error);
    g_assert_no_error(error);
    size_t n_compared = 0;
    for (size_t i = 0; i < st_n(a) && !found; i++) {
        const st_tensor *x = st_get(a, i), *y = st_find(b, x->name);
        if (!g_str_has_suffix(x->name, suffix))
            continue;
        n_compared++;
        if (!y || tensor_bytes(x) != tensor_bytes(y) ||
            memcmp(x->data, y->data, tensor_bytes(x)) != 0)
            found = g_strdup(x->name);
    }
    if (!found && (n_compared == 0 || st_n(a) != st_n(b)))
        found = g_strdup("(number of tensors)");
    st_close(a);
    st_close(b);
    return found;
}

bool fixture_same(const char *path_a, const char *path_b, const char *suffix)
{
    g_autofree char *name = first_difference(path_a, path_b, suffix);
    return !name;
}

void fixture_assert_same(const char *path_a, const char *path_b, const char *suffix)
{
    g_autofree char *name = first_difference(path_a, path_b, suffix);
    if (name)
        g_test_message("%s and %s differ first in %s", path_a, path_b, name);
    g_assert_null(name);
}

double fixture_difference(const char *dir_a, const char *dir_b)
{
    g_autofree char *pa = g_build_filename(dir_a, "last.safetensors", NULL);
    g_autofree char *pb = g_build_filename(dir_b, "last.safetensors", NULL);
    g_autoptr(st_file) a = st_open(pa, NULL);
    g_autoptr(st_file) b = st_open(pb, NULL);
    double worst = 0;
    g_assert_true(a && b && st_n(a) == st_n(b) && st_n(a) > 0);
    for (size_t i = 0; i < st_n(a); i++) {
        const st_tensor *x = st_get(a, i), *y = st_find(b, x->name);
        double most = 0, apart = 0;
        if (x->dtype != ST_F32)
            continue;
        for (int64_t k = 0; k < st_elements(x); k++) {
            double u = (double)((const float *)x->data)[k], v = (double)((const float *)y->data)[k];
            most = fmax(most, fabs(u));
            apart = fabs(u - v) <= apart ? apart : fabs(u - v); /* a NaN stays */
        }
        worst = apart / fmax(most, 1e-3) <= worst ? worst : apart / fmax(most, 1e-3);
    }
    return worst;
}
