/* A model's specification as safetensors metadata (strings), and back. Numbers are written so that
 * they come back to the same bits, in the C locale whatever the user's. */
#include "model/model_priv.h"

#include "base/error.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const double MPP_TOLERANCE = 0.02; /* of models from before it was written down, too */

void model_spec_init(model_spec *spec, int n_classes, int width)
{
    memset(spec, 0, sizeof *spec);
    kn_unet_spec_init(&spec->net, n_classes, width);
    if (n_classes == 2)
        qs_classes_init_binary(&spec->classes, "foreground");
    else
        qs_classes_init_n(&spec->classes, n_classes);
    for (int c = 0; c < 3; c++)
        spec->std[c] = 1;
    spec->patch_px = 256;
    spec->mpp_tolerance = MPP_TOLERANCE;
}

/* ---- out ----------------------------------------------------------------------------------- */
static void put(GHashTable *metadata, const char *key, const char *value)
{
    g_hash_table_insert(metadata, g_strdup(key), g_strdup(value));
}

static void put_int(GHashTable *metadata, const char *key, int64_t value)
{
    g_hash_table_insert(metadata, g_strdup(key), g_strdup_printf("%" G_GINT64_FORMAT, value));
}

static void put_numbers(GHashTable *metadata, const char *key, const double *v, int n)
{
    GString *text = g_string_new(NULL);
    for (int i = 0; i < n; i++) {
        char number[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_dtostr(number, sizeof number, v[i]);
        g_string_append_printf(text, "%s%s", i ? "," : "", number);
    }
    g_hash_table_insert(metadata, g_strdup(key), g_string_free(text, FALSE));
}

static const char *network_name(const kn_unet_spec *net)
{
    return net->variant == KN_UNET_MAPPED ? "unet-mapped" : "unet";
}

GHashTable *model_spec_to_metadata(const model_spec *spec)
{
    GHashTable *m = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autofree char *classes = qs_classes_to_text(&spec->classes);
    double dropout[5];
    for (int i = 0; i < 5; i++)
        dropout[i] = (double)spec->net.dropout[i];
    put(m, "format", "pt"); /* what Python's readers look for */
    put(m, MODEL_VERSION_KEY, QS_VERSION);
    put(m, "network", network_name(&spec->net));
    if (spec->pair) { /* the mean of two networks' probabilities; the second's tensors: "second.…"
                       */
        put(m, "second_network", network_name(&spec->second));
        put(m, "rule", "mean probability");
    }
    put_int(m, "in_channels", spec->net.in_channels);
    put_int(m, "n_classes", spec->net.n_classes);
    put_int(m, "width", spec->net.width);
    put_numbers(m, "dropout", dropout, 5);
    put(m, "classes", classes);
    put_numbers(m, "mean", spec->mean, 3);
    put_numbers(m, "std", spec->std, 3);
    put_int(m, "level0", spec->level0);
    put_numbers(m, "mpp", &spec->mpp, 1);
    put_numbers(m, "mpp_tolerance", &spec->mpp_tolerance, 1);
    put(m, "colour", spec->colour);
    put_int(m, "patch_px", spec->patch_px);
    put(m, "method", spec->method);
    put(m, "loss", spec->loss);
    put_int(m, "iteration", spec->iteration);
    return m;
}

/* ---- in ------------------------------------------------------------------------------------ */
static bool bad_value(const st_file *file, const char *key, const char *value, GError **error)
{
    if (value)
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "%s: metadata '%s' is \"%s\", which cannot be used", st_path(file), key, value);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: metadata '%s' is missing", st_path(file),
                    key);
    return false;
}

/* n finite numbers, comma-separated, each in [lo, hi]. */
static bool get_numbers(const st_file *file, const char *key, double *v, int n, double lo,
                        double hi, GError **error)
{
    const char *text = st_metadata(file, key), *at = text;
    for (int i = 0; i < n && at; i++) {
        char *end;
        v[i] = g_ascii_strtod(at, &end);
        bool ok = end != at && v[i] >= lo && v[i] <= hi && *end == (i < n - 1 ? ',' : '\0');
        at = ok ? end + 1 : NULL;
    }
    return at ? true : bad_value(file, key, text, error);
}

static bool get_int(const st_file *file, const char *key, int64_t lo, int64_t hi, int64_t *out,
                    GError **error)
{
    const char *text = st_metadata(file, key);
    gint64 value;
    if (!text || !g_ascii_string_to_signed(text, 10, lo, hi, &value, NULL))
        return bad_value(file, key, text, error);
    *out = value;
    return true;
}

static bool get_word(const st_file *file, const char *key, char *out, size_t size, GError **error)
{
    const char *text = st_metadata(file, key);
    if (!text || strlen(text) >= size)
        return bad_value(file, key, text, error);
    g_strlcpy(out, text, size);
    return true;
}

static bool get_variant(const st_file *file, const char *key, kn_unet_variant *variant,
                        GError **error)
{
    const char *name = st_metadata(file, key);
    if (!name || (!g_str_equal(name, "unet") && !g_str_equal(name, "unet-mapped")))
        return bad_value(file, key, name, error);
    *variant = g_str_equal(name, "unet") ? KN_UNET_PLAIN : KN_UNET_MAPPED;
    return true;
}

/* The second network of a pair: as the first but for its variant. */
static bool get_second(const st_file *file, model_spec *spec, GError **error)
{
    spec->pair = st_metadata(file, "second_network") != NULL;
    spec->second = spec->net;
    return !spec->pair || get_variant(file, "second_network", &spec->second.variant, error);
}

static bool get_network(const st_file *file, kn_unet_spec *net, GError **error)
{
    int64_t in_channels, n_classes, width;
    double dropout[5];
    kn_unet_variant variant;
    if (!get_variant(file, "network", &variant, error))
        return false;
    if (!get_int(file, "in_channels", 3, 3, &in_channels, error) ||
        !get_int(file, "n_classes", 2, QS_CLASSES_MAX, &n_classes, error) ||
        !get_int(file, "width", 1, 64, &width, error) ||
        !get_numbers(file, "dropout", dropout, 5, 0, 0.99, error))
        return false;
    kn_unet_spec_init(net, (int)n_classes, (int)width);
    net->variant = variant;
    net->in_channels = (int)in_channels;
    for (int i = 0; i < 5; i++)
        net->dropout[i] = (float)dropout[i];
    return true;
}

static bool get_classes(const st_file *file, int n_classes, qs_classes *classes, GError **error)
{
    const char *text = st_metadata(file, "classes");
    if (!text)
        return bad_value(file, "classes", NULL, error);
    if (!qs_classes_from_text(classes, text, error)) {
        g_prefix_error(error, "%s: ", st_path(file));
        return false;
    }
    return classes->n == n_classes ? true : bad_value(file, "classes", text, error);
}

static bool spec_from_metadata(const st_file *file, model_spec *spec, GError **error)
{
    int64_t level0, patch_px;
    if (!get_network(file, &spec->net, error) || !get_second(file, spec, error) ||
        !get_classes(file, spec->net.n_classes, &spec->classes, error) ||
        !get_numbers(file, "mean", spec->mean, 3, -10, 10, error) ||
        !get_numbers(file, "std", spec->std, 3, 1e-6, 1e6, error) ||
        !get_int(file, "level0", 0, 1, &level0, error) ||
        !get_numbers(file, "mpp", &spec->mpp, 1, 0, 1e6, error) ||
        !get_int(file, "patch_px", 16, 65536, &patch_px, error) ||
        !get_word(file, "method", spec->method, sizeof spec->method, error) ||
        !get_word(file, "loss", spec->loss, sizeof spec->loss, error) ||
        !get_int(file, "iteration", 0, G_MAXINT64, &spec->iteration, error))
        return false;
    spec->level0 = level0 != 0;
    spec->patch_px = (int)patch_px;
    spec->mpp_tolerance = MPP_TOLERANCE;
    return (!st_metadata(file, "mpp_tolerance") ||
            get_numbers(file, "mpp_tolerance", &spec->mpp_tolerance, 1, 0, 0.999, error)) &&
           (!st_metadata(file, "colour") ||
            get_word(file, "colour", spec->colour, sizeof spec->colour, error));
}

/* PyTorch's file: width and channels from the first convolution, classes from the last. */
static bool spec_from_shapes(const st_file *file, model_spec *spec, GError **error)
{
    static const char first_name[] = "encoder.in_conv.conv_conv.0.weight";
    static const char last_name[] = "decoder.out_conv.weight";
    const st_tensor *first = st_find(file, first_name), *last = st_find(file, last_name);
    if (!first || !last || first->n_dims != 4 || last->n_dims != 4) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_MISMATCH,
            "%s: not a U-Net that quadslide knows: it has neither quadslide's metadata nor the "
            "convolutions '%s' and '%s'",
            st_path(file), first_name, last_name);
        return false;
    }
    if (first->shape[1] != 3) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: its network takes %" G_GINT64_FORMAT
                    " channels; quadslide's images are RGB",
                    st_path(file), first->shape[1]);
        return false;
    }
    if (first->shape[0] < 1 || first->shape[0] > 64 || last->shape[0] < 2 ||
        last->shape[0] > QS_CLASSES_MAX) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: a U-Net of width %" G_GINT64_FORMAT " with %" G_GINT64_FORMAT
                    " classes; 1 to 64 and 2 to %d are possible",
                    st_path(file), first->shape[0], last->shape[0], QS_CLASSES_MAX);
        return false;
    }
    model_spec_init(spec, (int)last->shape[0], (int)first->shape[0]);
    return true;
}

bool model_spec_from_file(const st_file *file, model_spec *spec, GError **error)
{
    memset(spec, 0, sizeof *spec);
    return st_metadata(file, MODEL_VERSION_KEY) ? spec_from_metadata(file, spec, error)
                                                : spec_from_shapes(file, spec, error);
}
