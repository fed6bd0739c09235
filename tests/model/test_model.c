/* Models: what is saved comes back to the same bits, with its specification; files that do not fit
 * are refused by name; a file without quadslide's metadata loads when names and shapes fit. */
#include "base/error.h"
#include "model/model.h"
#include "model/safetensors.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

static char *dir, *path;
static kn_engine *engine;

static model_spec spec_of_test(void)
{
    model_spec spec;
    model_spec_init(&spec, 3, 4);
    g_strlcpy(spec.classes.items[1].name, "tumour", sizeof spec.classes.items[1].name);
    for (int c = 0; c < 3; c++) {
        spec.mean[c] = 0.1 + c / 3.0;
        spec.std[c] = 0.2 + c / 7.0;
    }
    spec.mpp = 0.4997;
    spec.level0 = true;
    spec.patch_px = 192;
    spec.mpp_tolerance = 0.07;
    g_strlcpy(spec.colour, "icc; stain none", sizeof spec.colour);
    spec.net.dropout[2] = 0.125f;
    spec.iteration = 12345678901;
    g_strlcpy(spec.method, "MT", sizeof spec.method);
    g_strlcpy(spec.loss, "metassl", sizeof spec.loss);
    return spec;
}

/* A network with random weights; running statistics too, so that buffers are seen. */
static model create(const model_spec *spec)
{
    g_autoptr(GError) error = NULL;
    model m = {.spec = *spec};
    m.net = kn_net_create_unet(&spec->net, &error);
    g_assert_no_error(error);
    m.weights = kn_weights_create(engine, m.net, false, &error);
    g_assert_no_error(error);
    kn_weights_init(m.weights, 7);
    int64_t n = kn_net_n_buffers(m.net);
    g_autofree float *buffers = g_new(float, n);
    for (int64_t i = 0; i < n; i++)
        buffers[i] = (float)i / 16 + 0.25f;
    kn_weights_set(m.weights, KN_ARRAY_BUFFERS, 0, n, buffers);
    kn_weights_set_batches_tracked(m.weights, 77);
    return m;
}

static void assert_same_array(const kn_weights *a, const kn_weights *b, kn_array array, int64_t n)
{
    g_autofree float *x = g_new(float, n), *y = g_new(float, n);
    kn_weights_get(a, array, 0, n, x);
    kn_weights_get(b, array, 0, n, y);
    g_assert_true(memcmp(x, y, sizeof(float) * (size_t)n) == 0);
}

static void assert_same_weights(const kn_weights *a, const kn_weights *b)
{
    assert_same_array(a, b, KN_ARRAY_PARAMS, kn_net_n_trained(kn_weights_net(a)));
    assert_same_array(a, b, KN_ARRAY_BUFFERS, kn_net_n_buffers(kn_weights_net(a)));
    g_assert_cmpint(kn_weights_batches_tracked(a), ==, kn_weights_batches_tracked(b));
}

static void assert_same_spec(const model_spec *a, const model_spec *b)
{
    g_assert_true(memcmp(&a->net, &b->net, sizeof a->net) == 0);
    g_assert_true(qs_classes_equal(&a->classes, &b->classes));
    for (int c = 0; c < 3; c++)
        g_assert_true(a->mean[c] == b->mean[c] && a->std[c] == b->std[c]);
    g_assert_true(a->mpp == b->mpp && a->level0 == b->level0 && a->patch_px == b->patch_px);
    g_assert_true(a->mpp_tolerance == b->mpp_tolerance);
    g_assert_cmpstr(a->colour, ==, b->colour);
    g_assert_true(a->iteration == b->iteration);
    g_assert_cmpstr(a->method, ==, b->method);
    g_assert_cmpstr(a->loss, ==, b->loss);
}

static void test_round_trip(void)
{
    g_autoptr(GError) error = NULL;
    model_spec spec = spec_of_test(), again;
    model saved = create(&spec), loaded;
    g_assert_true(model_save(path, &spec, saved.weights, &error));
    g_assert_true(model_read_spec(path, &again, &error));
    assert_same_spec(&spec, &again);
    g_assert_true(model_load(&loaded, path, engine, true, &error));
    g_assert_no_error(error);
    assert_same_spec(&spec, &loaded.spec);
    assert_same_weights(saved.weights, loaded.weights);
    kn_weights_init(loaded.weights, 8);
    g_assert_true(model_load_weights(path, loaded.weights, &error));
    assert_same_weights(saved.weights, loaded.weights);
    model_clear(&loaded);
    model_clear(&saved);
}

/* A pair of networks, the second a plain one or one with a mapping; both come back, and so does
 * what they are. One of the two alone is no pair. */
static void check_pair(kn_unet_variant variant)
{
    g_autoptr(GError) error = NULL;
    model_spec spec = spec_of_test(), other, again;
    spec.pair = true;
    spec.second = spec.net;
    spec.second.variant = variant;
    other = spec;
    other.net = spec.second;
    model first = create(&spec), second = create(&other), loaded;
    kn_weights_init(second.weights, 11);
    g_assert_true(model_save_pair(path, &spec, first.weights, second.weights, &error));
    g_assert_no_error(error);
    g_assert_true(model_read_spec(path, &again, &error));
    g_assert_true(again.pair && again.second.variant == variant);
    g_assert_true(model_load(&loaded, path, engine, false, &error));
    g_assert_no_error(error);
    g_assert_true(loaded.spec.pair);
    assert_same_spec(&spec, &loaded.spec);
    g_assert_true(memcmp(&spec.second, &loaded.spec.second, sizeof spec.second) == 0);
    assert_same_weights(first.weights, loaded.weights);
    assert_same_weights(second.weights, loaded.second_weights);
    model_clear(&loaded);

    g_assert_true(model_save(path, &spec, first.weights, NULL)); /* says a pair, has one */
    g_assert_false(model_load(&loaded, path, engine, false, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_MISMATCH);
    g_assert_nonnull(
        strstr(error->message, "'second.encoder.in_conv.conv_conv.0.weight' is missing"));
    model_clear(&first);
    model_clear(&second);
}

static void test_pair(void)
{
    check_pair(KN_UNET_PLAIN);
    check_pair(KN_UNET_MAPPED);
}

/* Saves a test model, then writes it again without metadata and with each tensor as `change` wants
 * it. */
typedef bool (*change_tensor)(st_tensor *tensor); /* false: leave it out */

static void rewrite(change_tensor change, const st_tensor *extra)
{
    model_spec spec = spec_of_test();
    model m = create(&spec);
    g_assert_true(model_save(path, &spec, m.weights, NULL));
    model_clear(&m);
    g_autoptr(st_file) file = st_open(path, NULL);
    g_autoptr(GArray) tensors = g_array_new(FALSE, FALSE, sizeof(st_tensor));
    for (size_t i = 0; i < st_n(file); i++) {
        st_tensor t = *st_get(file, i);
        if (!change || change(&t))
            g_array_append_val(tensors, t);
    }
    if (extra)
        g_array_append_vals(tensors, extra, 1);
    g_assert_true(st_write(path, &g_array_index(tensors, st_tensor, 0), tensors->len, NULL, NULL));
}

static void test_pytorch_file(void)
{
    g_autoptr(GError) error = NULL;
    model_spec spec = spec_of_test();
    model want = create(&spec), got;
    rewrite(NULL, NULL);
    g_assert_true(model_load(&got, path, engine, false, &error));
    g_assert_no_error(error);
    assert_same_weights(want.weights, got.weights);
    g_assert_cmpint(got.spec.net.width, ==, 4);
    g_assert_cmpint(got.spec.classes.n, ==, 3);
    g_assert_true(got.spec.std[0] == 1 && got.spec.mean[0] == 0 && got.spec.mpp == 0);
    model_clear(&want);
    model_clear(&got);
}

static bool without_tracked(st_tensor *t)
{
    return !g_str_has_suffix(t->name, "num_batches_tracked");
}

static bool without_bias(st_tensor *t)
{
    return !g_str_equal(t->name, "encoder.down2.maxpool_conv.1.conv_conv.5.bias");
}

static bool flat(st_tensor *t)
{
    if (g_str_equal(t->name, "decoder.up1.conv1x1.weight")) {
        t->n_dims = 1;
        t->shape[0] = t->shape[0] * t->shape[1];
    }
    return true;
}

static bool integers(st_tensor *t)
{
    if (g_str_equal(t->name, "decoder.out_conv.bias")) {
        t->dtype = ST_U8;
        t->data = "abc";
    }
    return true;
}

static bool grey(st_tensor *t)
{
    if (g_str_equal(t->name, "encoder.in_conv.conv_conv.0.weight"))
        t->shape[1] = 1;
    return true;
}

static bool nothing(st_tensor *t)
{
    return g_str_equal(t->name, "decoder.out_conv.bias");
}

static void assert_refused(change_tensor change, const st_tensor *extra, int code, const char *says)
{
    g_autoptr(GError) error = NULL;
    model m;
    rewrite(change, extra);
    g_assert_false(model_load(&m, path, engine, false, &error));
    g_assert_error(error, QS_ERROR, code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, says));
    g_assert_true(g_str_has_prefix(error->message, path));
    g_assert_null(m.net);
}

static void test_what_does_not_fit(void)
{
    static const float zero = 0;
    const st_tensor extra = {"aux_decoder.out_conv.bias", ST_F32, 1, {1}, &zero};
    assert_refused(without_bias, NULL, QS_ERROR_MISMATCH,
                   "'encoder.down2.maxpool_conv.1.conv_conv.5.bias' is missing");
    assert_refused(
        flat, NULL, QS_ERROR_MISMATCH,
        "'decoder.up1.conv1x1.weight' has shape [2048] where this network has [32, 64, 1, 1]");
    assert_refused(integers, NULL, QS_ERROR_MISMATCH, "has dtype U8 where F32");
    assert_refused(grey, NULL, QS_ERROR_UNSUPPORTED, "takes 1 channels");
    assert_refused(nothing, NULL, QS_ERROR_MISMATCH, "not a U-Net that quadslide knows");
    assert_refused(NULL, &extra, QS_ERROR_MISMATCH,
                   "'aux_decoder.out_conv.bias' is not of this network");
    g_autoptr(GError) error = NULL;
    model m;
    rewrite(without_tracked, NULL); /* PyTorch before 1.0 had none: fine */
    g_assert_true(model_load(&m, path, engine, false, &error));
    model_clear(&m);
}

static void test_init_of_another_shape(void)
{
    g_autoptr(GError) error = NULL;
    model_spec spec = spec_of_test(), wide;
    model_spec_init(&wide, 3, 5);
    model a = create(&spec), b = create(&wide);
    g_assert_true(model_save(path, &spec, a.weights, NULL));
    g_assert_false(model_load_weights(path, b.weights, &error));
    g_assert_error(error, QS_ERROR, QS_ERROR_MISMATCH);
    g_assert_nonnull(
        strstr(error->message, "has shape [4, 3, 3, 3] where this network has [5, 3, 3, 3]"));
    model_clear(&a);
    model_clear(&b);
}

/* Our own metadata, one value spoilt at a time. */
static void test_spoilt_metadata(void)
{
    static const struct {
        const char *key, *value, *says;
    } cases[] = {
        {"network", "vit", "metadata 'network' is \"vit\""},
        {"n_classes", "1", "'n_classes' is \"1\""},
        {"n_classes", "2", "'classes' is \"background"},
        {"width", "x", "'width' is \"x\""},
        {"classes", "background:#000000,a:#zz0000", "is no colour"},
        {"mean", "0.5,0.5", "'mean'"},
        {"mean", "0.5,0.5,nan", "'mean'"},
        {"std", "1,1,0", "'std' is \"1,1,0\""},
        {"mpp", NULL, "'mpp' is missing"},
        {"patch_px", "0", "'patch_px'"},
        {"method", "a method whose name is too long", "'method'"},
        {"iteration", "-1", "'iteration'"},
    };
    static const char *const keys[] = {"quadslide_version",
                                       "network",
                                       "in_channels",
                                       "n_classes",
                                       "width",
                                       "dropout",
                                       "classes",
                                       "mean",
                                       "std",
                                       "level0",
                                       "mpp",
                                       "patch_px",
                                       "method",
                                       "loss",
                                       "iteration"};
    model_spec spec = spec_of_test();
    model m = create(&spec);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(model_save(path, &spec, m.weights, NULL));
        g_autoptr(st_file) file = st_open(path, NULL);
        g_autoptr(GHashTable) metadata =
            g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        for (size_t k = 0; k < G_N_ELEMENTS(keys); k++)
            g_hash_table_insert(metadata, g_strdup(keys[k]), g_strdup(st_metadata(file, keys[k])));
        if (cases[i].value)
            g_hash_table_insert(metadata, g_strdup(cases[i].key), g_strdup(cases[i].value));
        else
            g_hash_table_remove(metadata, cases[i].key);
        g_assert_true(st_write(path, st_get(file, 0), st_n(file), metadata, NULL));
        model_spec got;
        g_assert_false(model_read_spec(path, &got, &error));
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, cases[i].says));
    }
    model_clear(&m);
}

static void test_normalise(void)
{
    model_spec spec = spec_of_test();
    uint8_t rgb[3 * 256];
    float out[3 * 256];
    for (int i = 0; i < 3 * 256; i++)
        rgb[i] = (uint8_t)(i * 37);
    model_normalise(&spec, rgb, 256, out);
    for (int i = 0; i < 3 * 256; i++)
        g_assert_true(out[i] == (float)((rgb[i] / 255.0 - spec.mean[i % 3]) / spec.std[i % 3]));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    kn_engine_options options = {.backend = "cpu", .n_threads = 1};
    engine = kn_engine_create(&options, NULL);
    g_assert_nonnull(engine);
    dir = g_dir_make_tmp("qs-model-XXXXXX", NULL);
    path = g_build_filename(dir, "model.safetensors", NULL);
    g_test_add_func("/model/round-trip", test_round_trip);
    g_test_add_func("/model/pair", test_pair);
    g_test_add_func("/model/pytorch-file", test_pytorch_file);
    g_test_add_func("/model/what-does-not-fit", test_what_does_not_fit);
    g_test_add_func("/model/init-of-another-shape", test_init_of_another_shape);
    g_test_add_func("/model/spoilt-metadata", test_spoilt_metadata);
    g_test_add_func("/model/normalise", test_normalise);
    int status = g_test_run();
    g_unlink(path);
    g_rmdir(dir);
    g_free(path);
    g_free(dir);
    kn_engine_destroy(engine);
    return status;
}
