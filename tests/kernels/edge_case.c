#include "tests/kernels/edge_case.h"

enum { IMAGE_CHANNELS = 3 };

/* What both sides get, NHWC. */
typedef struct {
    const double *image, *x, *dy, *weight, *gamma, *beta, *zero;
} edge_values;

/* A BatchNorm of its own arrays. */
enum { MEAN, INV_STD, GAMMA, BETA, DGAMMA, DBETA, RUNNING_MEAN, RUNNING_VAR, N_VECTORS };
typedef struct {
    kn_norm norm;
    void *vectors[N_VECTORS], *mask;
    double *sums;
} edge_norm;

static edge_norm edge_norm_new(kn_engine *e, const kn_ops *ops, const norm_case *c,
                               const edge_values *from)
{
    edge_norm n = {.sums = g_new0(double, 2 * c->c)};
    void **v = n.vectors;
    for (int i = 0; i < N_VECTORS; i++)
        v[i] = array_new(e, i == GAMMA ? from->gamma : i == BETA ? from->beta : from->zero, c->c);
    if (ops->norm_mask_bytes)
        n.mask = memory_new(e, ops->norm_mask_bytes((int64_t)c->n * c->h * c->w, c->c));
    n.norm = (kn_norm){.channels = c->c,
                       .mean = v[MEAN],
                       .inv_std = v[INV_STD],
                       .gamma = v[GAMMA],
                       .beta = v[BETA],
                       .dgamma = v[DGAMMA],
                       .dbeta = v[DBETA],
                       .running_mean = v[RUNNING_MEAN],
                       .running_var = v[RUNNING_VAR],
                       .slope = c->slope,
                       .dropout = c->dropout,
                       .stream = 7,
                       .layer = 2,
                       .mask = n.mask,
                       .sums = n.sums};
    return n;
}

static void edge_norm_free(kn_engine *e, edge_norm *n)
{
    for (int i = 0; i < N_VECTORS; i++)
        memory_free(e, n->vectors[i]);
    memory_free(e, n->mask);
    g_free(n->sums);
}

/* The convolution of one end; NULL, and a message, where it takes no BatchNorm along and should. */
static kn_conv *edge_conv(kn_engine *e, const kn_ops *ops, kn_conv_spec spec, unsigned takes,
                          bool *along, GString *message)
{
    GError *error = NULL;
    spec.name = "case";
    spec.k = 3;
    spec.train = true;
    kn_conv *conv = ops->conv_create(e, &spec, &error);
    g_assert_no_error(error);
    *along = ops->conv_takes && (ops->conv_takes(conv) & takes);
    if (!*along && e->block == 16)
        g_string_append(message, "takes no BatchNorm along; ");
    return conv;
}

/* dw, owned by the caller. */
static double *stem_on(kn_engine *e, const kn_ops *ops, const norm_case *c, int block,
                       const edge_values *from, GString *message)
{
    bool along;
    kn_conv_spec spec = {.n = c->n,
                         .h = c->h,
                         .w = c->w,
                         .ic = IMAGE_CHANNELS,
                         .oc = c->c,
                         .src_type = ops->dtype,
                         .dst_type = e->act};
    kn_conv *conv = edge_conv(e, ops, spec, KN_TAKES_APPLY, &along, message);
    edge_norm norm = edge_norm_new(e, ops, c, from);
    test_tensor image = test_tensor_typed(e, ops->dtype, c->n, c->h, c->w, IMAGE_CHANNELS,
                                          IMAGE_CHANNELS, 0, 0, from->image);
    test_tensor x = test_tensor_new(e, c->n, c->h, c->w, c->c, c->c, 0, 0, from->x);
    test_tensor dy =
        test_tensor_new(e, c->n, c->h, c->w, c->c, c->whole, c->first, block, from->dy);
    test_tensor y = test_tensor_new(e, c->n, c->h, c->w, c->c, c->c, 0, 0, NULL);
    void *dw = array_new(e, from->zero, 9 * IMAGE_CHANNELS * c->c);
    void *scratch = memory_new(e, ops->conv_needs(conv).bwd_weights_bytes);
    norm.norm.is_dz = c->slope == 1 && c->dropout <= 0;
    ops->norm_stats(e, &x.t, &norm.norm);
    ops->norm_apply(e, &x.t, &norm.norm, &y.t); /* makes the mask */
    if (along) {
        kn_tensor nowhere = y.t;
        nowhere.data = NULL;
        ops->norm_bwd_sums(e, &dy.t, &x.t, &norm.norm);
        ops->conv_bwd_weights_apply(conv, &image.t, &dy.t, &x.t, &norm.norm, &nowhere, dw, scratch,
                                    NULL);
    } else {
        ops->norm_bwd(e, &dy.t, &x.t, &norm.norm, &y.t);
        g_assert_true(ops->conv_bwd_weights(conv, &image.t, &y.t, dw, NULL, scratch, NULL));
    }
    double *result = array_read(e, dw, 9 * IMAGE_CHANNELS * c->c);
    test_tensor *tensors[] = {&image, &x, &dy, &y};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
    memory_free(e, dw);
    memory_free(e, scratch);
    edge_norm_free(e, &norm);
    ops->conv_destroy(conv);
    return result;
}

bool run_stem_case(const bench_pair *pair, const norm_case *c, fill_kind fill, GString *message)
{
    int64_t pixels = (int64_t)c->n * c->h * c->w;
    double size = fill == FILL_HUGE ? 1e15 : 1;
    g_autofree double *image = fill_new(IMAGE_CHANNELS * pixels, fill, pair->seed);
    g_autofree double *x = fill_new(pixels * c->c, fill, pair->seed + 1);
    g_autofree double *dy = fill_new(pixels * c->c, FILL_RANDOM, pair->seed + 2);
    g_autofree double *gamma = fill_new(c->c, FILL_RANDOM, pair->seed + 3);
    g_autofree double *beta = fill_new(c->c, FILL_RANDOM, pair->seed + 4);
    g_autofree double *zero = g_new0(double, 9 * IMAGE_CHANNELS * c->c);
    edge_values from = {image, x, dy, NULL, gamma, beta, zero};
    g_autofree double *want = stem_on(pair->ref, kn_engine_ops(pair->ref), c, 0, &from, message);
    g_autofree double *got = stem_on(pair->engine, pair->ops, c, c->block, &from, message);
    return message->len == 0 && check_close("dw", want, got, 9 * IMAGE_CHANNELS * c->c,
                                            tolerance(16, (double)pixels), size, message);
}

typedef struct {
    double *da, *dx, *dgamma, *dbeta; /* da: alone, without BatchNorm */
} head_result;

static void head_result_free(head_result *r)
{
    g_free(r->da);
    g_free(r->dx);
    g_free(r->dgamma);
    g_free(r->dbeta);
}

static void head_on(kn_engine *e, const kn_ops *ops, const norm_case *c, int classes, int block,
                    const edge_values *from, head_result *out, GString *message)
{
    bool along;
    kn_conv_spec spec = {.n = c->n,
                         .h = c->h,
                         .w = c->w,
                         .ic = c->c,
                         .oc = classes,
                         .bias = true,
                         .bwd_data = true,
                         .src_type = e->act,
                         .dst_type = ops->dtype};
    kn_conv *conv = edge_conv(e, ops, spec, KN_TAKES_SUMS, &along, message);
    kn_conv_needs needs = ops->conv_needs(conv);
    void *packed = memory_new(e, needs.packed_bytes),
         *scratch = memory_new(e, needs.bwd_data_bytes);
    void *weight = array_new(e, from->weight, (int64_t)9 * c->c * classes);
    edge_norm norm = edge_norm_new(e, ops, c, from);
    test_tensor x = test_tensor_new(e, c->n, c->h, c->w, c->c, c->c, 0, block, from->x);
    test_tensor da = test_tensor_new(e, c->n, c->h, c->w, c->c, c->c, 0, 0, NULL);
    test_tensor dx = test_tensor_new(e, c->n, c->h, c->w, c->c, c->c, 0, 0, NULL);
    test_tensor dy =
        test_tensor_typed(e, ops->dtype, c->n, c->h, c->w, classes, classes, 0, 0, from->dy);
    g_assert_true(ops->conv_pack(conv, weight, NULL, packed, NULL));
    ops->norm_stats(e, &x.t, &norm.norm);
    ops->norm_apply(e, &x.t, &norm.norm, &dx.t); /* makes the mask */
    g_assert_true(ops->conv_bwd_data(conv, packed, &dy.t, &da.t, scratch, NULL));
    if (along) {
        ops->conv_bwd_data_sums(conv, packed, &dy.t, &dx.t, scratch, &norm.norm, &x.t);
        norm.norm.is_dz = true;
        ops->norm_bwd_apply(e, &dx.t, &x.t, &norm.norm, &dx.t);
    } else {
        ops->norm_bwd(e, &da.t, &x.t, &norm.norm, &dx.t);
    }
    *out =
        (head_result){test_tensor_read(&da), test_tensor_read(&dx),
                      array_read(e, norm.norm.dgamma, c->c), array_read(e, norm.norm.dbeta, c->c)};
    test_tensor *tensors[] = {&x, &da, &dx, &dy};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
    void *arrays[] = {packed, scratch, weight};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        memory_free(e, arrays[i]);
    edge_norm_free(e, &norm);
    ops->conv_destroy(conv);
}

bool run_head_case(const bench_pair *pair, const norm_case *c, int classes, fill_kind fill,
                   GString *message)
{
    int64_t pixels = (int64_t)c->n * c->h * c->w, n = pixels * c->c;
    fill_kind gradient = fill == FILL_HUGE ? FILL_HUGE : FILL_RANDOM;
    double size = fill == FILL_HUGE ? 1e15 : 1;
    g_autofree double *x = fill_new(n, fill, pair->seed);
    g_autofree double *dy = fill_new(pixels * classes, gradient, pair->seed + 1);
    g_autofree double *weight = fill_new((int64_t)9 * c->c * classes, FILL_RANDOM, pair->seed + 2);
    g_autofree double *gamma = fill_new(c->c, FILL_RANDOM, pair->seed + 3);
    g_autofree double *beta = fill_new(c->c, FILL_RANDOM, pair->seed + 4);
    g_autofree double *zero = g_new0(double, c->c);
    edge_values from = {NULL, x, dy, weight, gamma, beta, zero};
    head_result want = {0}, got = {0};
    head_on(pair->ref, kn_engine_ops(pair->ref), c, classes, 0, &from, &want, message);
    head_on(pair->engine, pair->ops, c, classes, c->block, &from, &got, message);
    /* In bf16 dz is kept between the two halves, so rounded once more: as large as the sums' terms.
     */
    double sums = 2 * tolerance_act(16, (double)pixels);
    bool ok = message->len == 0 &&
              check_close("da", want.da, got.da, n, tolerance_act(4, 9.0 * classes), 0, message) &&
              check_close("dgamma", want.dgamma, got.dgamma, c->c, sums, size, message) &&
              check_close("dbeta", want.dbeta, got.dbeta, c->c, sums, size, message) &&
              check_close("dx", want.dx, got.dx, n, sums, size, message);
    head_result_free(&want);
    head_result_free(&got);
    return ok;
}
