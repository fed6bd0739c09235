/* Models as safetensors files: the network's parameters and buffers under PyTorch's names.
 *
 * BatchNorm's num_batches_tracked is one number for the whole network here and one int64 scalar per
 * layer there; it is written wherever PyTorch has one, beside each running_var. */
#include "model/model_priv.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static const char running_var[] = ".running_var";
#define WEIGHT_MAX 1e12 /* of a weight, a mean or a variance; sound ones lie below a few thousand */

/* "….num_batches_tracked" of a layer's running_var; NULL for other parameters. Owned by the caller.
 */
static char *tracked_name(const kn_param *param)
{
    if (!g_str_has_suffix(param->name, running_var))
        return NULL;
    int layer = (int)(strlen(param->name) - (sizeof running_var - 1));
    return g_strdup_printf("%.*s.num_batches_tracked", layer, param->name);
}

static kn_array array_of(const kn_param *param)
{
    return param->kind == KN_PARAM ? KN_ARRAY_PARAMS : KN_ARRAY_BUFFERS;
}

/* ---- save ---------------------------------------------------------------------------------- */
static const char second_prefix[] = "second.";

/* Tensors of what output 0 needs, names and values kept by `owned`. */
static void add_tensors(const kn_weights *weights, const char *prefix, const int64_t *tracked,
                        GArray *tensors, GPtrArray *owned)
{
    const kn_net *net = kn_weights_net(weights);
    for (int i = 0; i < kn_net_n_params(net); i++) {
        const kn_param *param = kn_net_param(net, i);
        if (!kn_net_param_in_model(net, i))
            continue;
        char *full = g_strconcat(prefix, param->name, NULL);
        float *values = g_new(float, param->n);
        g_ptr_array_add(owned, full);
        g_ptr_array_add(owned, values);
        st_tensor t = {.name = full, .dtype = ST_F32, .n_dims = param->n_dims};
        memcpy(t.shape, param->shape, sizeof t.shape);
        kn_weights_get(weights, array_of(param), param->offset, param->n, values);
        t.data = values;
        g_array_append_val(tensors, t);
        g_autofree char *name = tracked_name(param);
        if (!name)
            continue;
        char *full_tracked = g_strconcat(prefix, name, NULL);
        g_ptr_array_add(owned, full_tracked);
        st_tensor scalar = {.name = full_tracked, .dtype = ST_I64, .data = tracked};
        g_array_append_val(tensors, scalar);
    }
}

bool model_save_pair(const char *path, const model_spec *spec, const kn_weights *weights,
                     const kn_weights *second, GError **error)
{
    int64_t tracked = kn_weights_batches_tracked(weights);
    int64_t tracked_second = second ? kn_weights_batches_tracked(second) : 0;
    g_autoptr(GArray) tensors = g_array_new(FALSE, TRUE, sizeof(st_tensor));
    g_autoptr(GPtrArray) owned = g_ptr_array_new_with_free_func(g_free);
    add_tensors(weights, "", &tracked, tensors, owned);
    if (second)
        add_tensors(second, second_prefix, &tracked_second, tensors, owned);
    g_autoptr(GHashTable) metadata = model_spec_to_metadata(spec);
    return st_write(path, &g_array_index(tensors, st_tensor, 0), tensors->len, metadata, error);
}

bool model_save(const char *path, const model_spec *spec, const kn_weights *weights, GError **error)
{
    return model_save_pair(path, spec, weights, NULL, error);
}

/* ---- load ---------------------------------------------------------------------------------- */
static bool mismatch(const st_file *file, const char *name, GError **error, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

static bool mismatch(const st_file *file, const char *name, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH, "%s: tensor '%s' %s", st_path(file), name,
                text);
    return false;
}

static const st_tensor *find_tensor(const st_file *file, const char *prefix, const char *name)
{
    g_autofree char *full = g_strconcat(prefix, name, NULL);
    return st_find(file, full);
}

static bool check_param(const st_file *file, const char *prefix, const kn_param *param, bool needed,
                        GError **error)
{
    const st_tensor *t = find_tensor(file, prefix, param->name);
    g_autofree char *name = g_strconcat(prefix, param->name, NULL);
    if (!t && !needed)
        return true;
    if (!t)
        return mismatch(file, name, error, "is missing: these are not weights of this network");
    g_autofree char *got = st_shape_text(t->shape, t->n_dims);
    g_autofree char *want = st_shape_text(param->shape, param->n_dims);
    if (!g_str_equal(got, want))
        return mismatch(file, name, error, "has shape %s where this network has %s", got, want);
    if (t->dtype != ST_F32 && t->dtype != ST_F64)
        return mismatch(file, name, error, "has dtype %s where F32 (or F64) is needed",
                        st_dtype_name(t->dtype));
    return true;
}

/* Every tensor that output 0 needs is there. known: gets the names of all of the network's. */
static bool check_names(const st_file *file, const char *prefix, const kn_net *net,
                        GHashTable *known, GError **error)
{
    for (int i = 0; i < kn_net_n_params(net); i++) {
        const kn_param *param = kn_net_param(net, i);
        g_autofree char *tracked = tracked_name(param);
        if (!check_param(file, prefix, param, kn_net_param_in_model(net, i), error))
            return false;
        g_hash_table_add(known, g_strconcat(prefix, param->name, NULL));
        if (tracked)
            g_hash_table_add(known, g_strconcat(prefix, tracked, NULL));
    }
    return true;
}

/* Nothing else is there (strict, as load_state_dict). */
static bool check_strict(const st_file *file, GHashTable *known, GError **error)
{
    for (size_t i = 0; i < st_n(file); i++)
        if (!g_hash_table_contains(known, st_get(file, i)->name))
            return mismatch(file, st_get(file, i)->name, error,
                            "is not of this network: the file holds another or a larger one");
    return true;
}

static void set_param(kn_weights *weights, const kn_param *param, const st_tensor *t)
{
    if (t->dtype == ST_F32) {
        kn_weights_set(weights, array_of(param), param->offset, param->n, t->data);
        return;
    }
    g_autofree float *values = g_new(float, param->n);
    for (int64_t i = 0; i < param->n; i++)
        values[i] = (float)((const double *)t->data)[i];
    kn_weights_set(weights, array_of(param), param->offset, param->n, values);
}

static void load_tensors(const st_file *file, const char *prefix, kn_weights *weights)
{
    const kn_net *net = kn_weights_net(weights);
    int64_t tracked = 0;
    for (int i = 0; i < kn_net_n_params(net); i++) {
        const kn_param *param = kn_net_param(net, i);
        const st_tensor *values = find_tensor(file, prefix, param->name);
        if (values)
            set_param(weights, param, values);
        g_autofree char *name = tracked_name(param);
        const st_tensor *t = name ? find_tensor(file, prefix, name) : NULL;
        if (t && t->dtype == ST_I64 && st_elements(t) == 1)
            tracked = MAX(tracked, *(const int64_t *)t->data);
    }
    kn_weights_set_batches_tracked(weights, tracked);
}

static double value_at(const st_tensor *t, int64_t i)
{
    return t->dtype == ST_F32 ? (double)((const float *)t->data)[i] : ((const double *)t->data)[i];
}

/* No training leaves such values: what holds them is damaged, and would predict something all the
 * same. NaN is left to who looks at the weights of a network. A variance of 0 (a channel without
 * life) is believed of a file whose checksum vouches for it. */
static bool check_values(const st_file *file, const char *prefix, const kn_net *net, bool vouched,
                         GError **error)
{
    for (int k = 0; k < kn_net_n_params(net); k++) {
        const kn_param *param = kn_net_param(net, k);
        const st_tensor *t = find_tensor(file, prefix, param->name);
        bool variance = g_str_has_suffix(param->name, running_var);
        for (int64_t i = 0; t && i < param->n; i++) {
            double v = value_at(t, i);
            if (fabs(v) > WEIGHT_MAX || (variance && v == 0 && !vouched))
                return mismatch(file, t->name, error,
                                "has the value %g at %" G_GINT64_FORMAT
                                ", which no training leaves: the file is damaged, take it from a copy",
                                v, i);
        }
    }
    return true;
}

static bool check_content(const st_file *file, const kn_net *net, const kn_net *second,
                          GError **error)
{
    bool vouched = false;
    return st_verify(file, &vouched, error) && check_values(file, "", net, vouched, error) &&
           (!second || check_values(file, second_prefix, second, vouched, error));
}

/* second NULL: a file of one network. */
static bool load_all(const st_file *file, kn_weights *weights, kn_weights *second, GError **error)
{
    g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!check_names(file, "", kn_weights_net(weights), known, error) ||
        (second && !check_names(file, second_prefix, kn_weights_net(second), known, error)) ||
        !check_strict(file, known, error) ||
        !check_content(file, kn_weights_net(weights), second ? kn_weights_net(second) : NULL,
                       error))
        return false;
    load_tensors(file, "", weights);
    if (second)
        load_tensors(file, second_prefix, second);
    return true;
}

bool model_read_spec(const char *path, model_spec *spec, GError **error)
{
    g_autoptr(st_file) file = st_open(path, error);
    return file && model_spec_from_file(file, spec, error);
}

static bool create_nets(model *m, kn_engine *engine, kn_optimiser optimiser, GError **error)
{
    m->net = kn_net_create_unet(&m->spec.net, error);
    m->weights = m->net ? kn_weights_create(engine, m->net, optimiser, error) : NULL;
    if (!m->weights || !m->spec.pair)
        return m->weights != NULL;
    m->second_net = kn_net_create_unet(&m->spec.second, error);
    m->second_weights =
        m->second_net ? kn_weights_create(engine, m->second_net, optimiser, error) : NULL;
    return m->second_weights != NULL;
}

bool model_load(model *m, const char *path, kn_engine *engine, bool trainable, GError **error)
{
    memset(m, 0, sizeof *m);
    g_autoptr(st_file) file = st_open(path, error);
    kn_optimiser optimiser = trainable ? KN_OPTIMISER_SGD : KN_OPTIMISER_NONE;
    if (file && model_spec_from_file(file, &m->spec, error) &&
        create_nets(m, engine, optimiser, error) &&
        load_all(file, m->weights, m->second_weights, error))
        return true;
    model_clear(m);
    return false;
}

bool model_load_weights(const char *path, kn_weights *weights, GError **error)
{
    g_autoptr(st_file) file = st_open(path, error);
    return file && load_all(file, weights, NULL, error);
}

void model_clear(model *m)
{
    kn_weights_destroy(m->weights);
    kn_net_destroy(m->net);
    kn_weights_destroy(m->second_weights);
    kn_net_destroy(m->second_net);
    memset(m, 0, sizeof *m);
}

void model_normalise(const model_spec *spec, const uint8_t *rgb, int64_t n_pixels, float *out)
{
    float of_byte[3][256]; /* exact: each value rounded once, from double */
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            of_byte[c][v] = (float)((v / 255.0 - spec->mean[c]) / spec->std[c]);
    for (int64_t i = 0; i < n_pixels; i++)
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = of_byte[c][rgb[3 * i + c]];
}
