#include "tests/kernels/beside_case.h"

#include <string.h>

/* Sizes of which tiles, groups of them and threads' parts of them are no divisors. */
const beside_case beside_cases[N_BESIDE_CASES] = {
    {2, 20, 24, 16, 16, {0.3, 0.2}, 40}, {1, 7, 33, 32, 16, {0.5, 0}, 40},
    {2, 9, 70, 16, 48, {0, 0.1}, 40},    {3, 5, 2, 16, 32, {0.05, 0}, 40},
    {2, 33, 5, 64, 32, {0, 0}, 40},      {5, 4, 4, 32, 32, {0.2, 0.2}, 40},
    {1, 65, 130, 16, 16, {0.1, 0}, 40},
};

char *beside_choices(void)
{
    static const char *const directions[] = {"fwd", "bwd_d", "bwd_w"};
    GString *choices = g_string_new(NULL);
    for (int i = 0; i < 3 * N_BESIDE_CASES; i++)
        g_string_append_printf(choices, "case:%s:%dx%d=own,", directions[i % 3],
                               beside_cases[i / 3].w, beside_cases[i / 3].h);
    return g_string_free(choices, FALSE);
}

/* Operands, NHWC. */
typedef struct {
    double *z1, *z2, *dy, *w, *gamma, *beta;
} operands;

/* What comes out, and the masks that were kept. */
enum { Z2, MEAN, INV_STD, DZ2, DW, DZ1, DGAMMA1, DBETA1, DGAMMA2, DBETA2, N_RESULTS };
static const char *const names[N_RESULTS] = {"z2",  "mean",    "inv_std", "dz2",     "dw",
                                             "dz1", "dgamma1", "dbeta1",  "dgamma2", "dbeta2"};
typedef struct {
    double *of[N_RESULTS];
    GBytes *mask;
} results;

static void results_clear(results *r)
{
    for (int i = 0; i < N_RESULTS; i++)
        g_free(r->of[i]);
    g_clear_pointer(&r->mask, g_bytes_unref);
}

/* A BatchNorm of its own arrays. */
enum {
    V_MEAN,
    V_STD,
    V_RUNNING_MEAN,
    V_RUNNING_VAR,
    V_DGAMMA,
    V_DBETA,
    V_GAMMA,
    V_BETA,
    N_VECTORS
};
typedef struct {
    kn_norm norm;
    void *vectors[N_VECTORS], *sums, *mask;
    size_t mask_bytes;
} own_norm;

static own_norm own_norm_new(kn_engine *engine, const kn_ops *ops, int64_t pixels, int channels,
                             double dropout, const operands *o)
{
    own_norm own = {.sums = memory_new(engine, 2 * (size_t)channels * sizeof(double))};
    void **v = own.vectors;
    for (int i = 0; i < N_VECTORS; i++)
        v[i] = array_new(engine, i == V_GAMMA ? o->gamma : o->beta, channels);
    if (dropout > 0 && ops->norm_mask_bytes)
        own.mask_bytes = ops->norm_mask_bytes(pixels, channels);
    own.mask = memory_new(engine, own.mask_bytes);
    own.norm = (kn_norm){.channels = channels,
                         .mean = v[V_MEAN],
                         .inv_std = v[V_STD],
                         .running_mean = v[V_RUNNING_MEAN],
                         .running_var = v[V_RUNNING_VAR],
                         .dgamma = v[V_DGAMMA],
                         .dbeta = v[V_DBETA],
                         .gamma = v[V_GAMMA],
                         .beta = v[V_BETA],
                         .slope = KN_LEAKY_SLOPE,
                         .dropout = dropout,
                         .stream = 77,
                         .layer = (uint64_t)channels,
                         .sums = own.sums,
                         .mask = own.mask_bytes ? own.mask : NULL};
    return own;
}

static void own_norm_free(kn_engine *engine, own_norm *own)
{
    for (int i = 0; i < N_VECTORS; i++)
        memory_free(engine, own->vectors[i]);
    memory_free(engine, own->sums);
    memory_free(engine, own->mask);
}

/* One side's tensors; a: the result of the BatchNorm before, y: of the one after. */
typedef struct {
    test_tensor z1, a, z2, given, y, dy, dz2, da;
} tensors;

/* Op by op. */
static void run_plain(kn_engine *engine, const kn_ops *ops, kn_conv *conv, void *packed,
                      void *scratch, void *dw, tensors *t, own_norm *before, own_norm *after,
                      results *out)
{
    int oc = after->norm.channels;
    ops->norm_stats(engine, &t->z1.t, &before->norm);
    ops->norm_apply(engine, &t->z1.t, &before->norm, &t->a.t);
    g_assert_true(ops->conv_fwd(conv, packed, &t->a.t, &t->z2.t, scratch, NULL));
    ops->norm_stats(engine, &t->z2.t, &after->norm);
    out->of[MEAN] = array_read(engine, after->norm.mean, oc);
    out->of[INV_STD] = array_read(engine, after->norm.inv_std, oc);
    ops->norm_stats(engine, &t->given.t, &after->norm);
    ops->norm_bwd(engine, &t->dy.t, &t->given.t, &after->norm, &t->dz2.t);
    g_assert_true(ops->conv_bwd_weights(conv, &t->a.t, &t->dz2.t, dw, NULL, scratch, NULL));
    g_assert_true(ops->conv_bwd_data(conv, packed, &t->dz2.t, &t->da.t, scratch, NULL));
    ops->norm_bwd(engine, &t->da.t, &t->z1.t, &before->norm, &t->da.t);
}

/* With all that the convolution takes along; from_source: of the BatchNorm before it too. */
static void run_along(kn_engine *engine, const kn_ops *ops, kn_conv *conv, void *packed,
                      void *scratch, void *dw, tensors *t, own_norm *before, own_norm *after,
                      bool from_source, results *out)
{
    int oc = after->norm.channels;
    const kn_norm *made = from_source ? &before->norm : NULL;
    const kn_tensor *src = from_source ? &t->z1.t : &t->a.t;
    ops->norm_stats(engine, &t->z1.t, &before->norm);
    if (!from_source)
        ops->norm_apply(engine, &t->z1.t, &before->norm, &t->a.t);
    ops->conv_fwd_stats(conv, packed, src, &t->z2.t, scratch, &after->norm, made);
    out->of[MEAN] = array_read(engine, after->norm.mean, oc);
    out->of[INV_STD] = array_read(engine, after->norm.inv_std, oc);
    ops->norm_stats(engine, &t->given.t, &after->norm);
    ops->norm_apply(engine, &t->given.t, &after->norm, &t->y.t); /* its mask */
    ops->norm_bwd_sums(engine, &t->dy.t, &t->given.t, &after->norm);
    ops->conv_bwd_weights_apply(conv, src, &t->dy.t, &t->given.t, &after->norm, &t->dz2.t, dw,
                                scratch, made);
    ops->conv_bwd_data_sums(conv, packed, &t->dz2.t, &t->da.t, scratch, &before->norm, &t->z1.t);
    before->norm.is_dz = true;
    ops->norm_bwd_apply(engine, &t->da.t, &t->z1.t, &before->norm, &t->da.t);
}

typedef enum { PLAIN, FROM_RESULT, FROM_SOURCE } way;

static results run_side(kn_engine *engine, const beside_case *c, int block, const operands *o,
                        way how)
{
    const kn_ops *ops = kn_engine_ops(engine);
    int64_t pixels = (int64_t)c->n * c->h * c->w, n_w = (int64_t)c->oc * c->ic * 9;
    kn_conv_spec spec = {.name = "case",
                         .n = c->n,
                         .h = c->h,
                         .w = c->w,
                         .ic = c->ic,
                         .oc = c->oc,
                         .k = 3,
                         .train = true,
                         .bwd_data = true,
                         .src_block = block,
                         .dst_block = block,
                         .src_type = engine->act,
                         .dst_type = engine->act};
    GError *error = NULL;
    kn_conv *conv = ops->conv_create(engine, &spec, &error);
    g_assert_no_error(error);
    g_assert_true(how == PLAIN || ops->conv_takes(conv) == (KN_TAKES_STATS | KN_TAKES_SUMS |
                                                            KN_TAKES_APPLY | KN_TAKES_BEFORE));
    kn_conv_needs needs = ops->conv_needs(conv);
    void *packed = memory_new(engine, needs.packed_bytes);
    void *scratch = memory_new(
        engine, MAX(needs.fwd_bytes, MAX(needs.bwd_data_bytes, needs.bwd_weights_bytes)));
    void *weight = array_new(engine, o->w, n_w), *dw = array_new(engine, o->w, n_w);
    g_assert_true(ops->conv_pack(conv, weight, NULL, packed, NULL));
    own_norm before = own_norm_new(engine, ops, pixels, c->ic, c->dropout[0], o);
    own_norm after = own_norm_new(engine, ops, pixels, c->oc, c->dropout[1], o);
    const double *from[] = {o->z1, NULL, NULL, o->z2, NULL, o->dy, NULL, NULL};
    const int wide[] = {c->ic, c->ic, c->oc, c->oc, c->oc, c->oc, c->oc, c->ic};
    test_tensor made[G_N_ELEMENTS(from)];
    for (size_t i = 0; i < G_N_ELEMENTS(from); i++)
        made[i] = test_tensor_new(engine, c->n, c->h, c->w, wide[i], wide[i], 0, block, from[i]);
    tensors t = {made[0], made[1], made[2], made[3], made[4], made[5], made[6], made[7]};
    results out = {0};
    if (how == PLAIN)
        run_plain(engine, ops, conv, packed, scratch, dw, &t, &before, &after, &out);
    else
        run_along(engine, ops, conv, packed, scratch, dw, &t, &before, &after, how == FROM_SOURCE,
                  &out);
    out.of[Z2] = test_tensor_read(&t.z2);
    out.of[DZ2] = test_tensor_read(&t.dz2);
    out.of[DW] = array_read(engine, dw, n_w);
    out.of[DZ1] = test_tensor_read(&t.da);
    out.of[DGAMMA1] = array_read(engine, before.norm.dgamma, c->ic);
    out.of[DBETA1] = array_read(engine, before.norm.dbeta, c->ic);
    out.of[DGAMMA2] = array_read(engine, after.norm.dgamma, c->oc);
    out.of[DBETA2] = array_read(engine, after.norm.dbeta, c->oc);
    out.mask = g_bytes_new(before.mask, before.mask_bytes);
    for (size_t i = 0; i < G_N_ELEMENTS(from); i++)
        test_tensor_free(&made[i]);
    own_norm_free(engine, &before);
    own_norm_free(engine, &after);
    void *arrays[] = {packed, scratch, weight, dw};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        memory_free(engine, arrays[i]);
    ops->conv_destroy(conv);
    return out;
}

/* Lengths of the results; sums of so many terms; what the terms are worth, where the results are
 * less. */
static bool check_results(const beside_case *c, fill_kind fill, const results *want,
                          const results *got, GString *message)
{
    int64_t pixels = (int64_t)c->n * c->h * c->w;
    double k = c->coefficient, size = fill == FILL_HUGE ? 1e15 : 1;
    /* Between two ops the engine keeps what the reference does not round. */
    double kept = tolerance_act(0, 1);
    double act_out = tolerance_act(k, 9.0 * c->ic) + kept;
    double act_in = tolerance_act(k, (double)pixels) + kept;
    const struct {
        int64_t n;
        double tolerance, floor;
    } of[N_RESULTS] = {
        [Z2] = {pixels * c->oc, act_out, 1},
        [MEAN] = {c->oc, act_out, 1},
        [INV_STD] = {c->oc, act_in + act_out, 0},
        [DZ2] = {pixels * c->oc, act_in, size},
        [DW] = {(int64_t)c->oc * c->ic * 9, act_in, size},
        [DZ1] = {pixels * c->ic, act_in + act_out, size},
        [DGAMMA1] = {c->ic, act_in + act_out, size},
        [DBETA1] = {c->ic, act_in + act_out, size},
        [DGAMMA2] = {c->oc, act_in, size},
        [DBETA2] = {c->oc, act_in, size},
    };
    bool ok = true;
    for (int i = 0; i < N_RESULTS; i++)
        ok = check_close(names[i], want->of[i], got->of[i], of[i].n, of[i].tolerance, of[i].floor,
                         message) &&
             ok;
    return ok;
}

static bool same_bits(const beside_case *c, const results *a, const results *b, GString *message)
{
    int64_t pixels = (int64_t)c->n * c->h * c->w;
    const int64_t n[N_RESULTS] = {
        pixels * c->oc, c->oc, c->oc, pixels * c->oc, (int64_t)c->oc * c->ic * 9,
        pixels * c->ic, c->ic, c->ic, c->oc,          c->oc};
    for (int i = 0; i < N_RESULTS; i++)
        if (memcmp(a->of[i], b->of[i], (size_t)n[i] * sizeof(double)) != 0)
            g_string_append_printf(message, "%s of the source and of the result differ; ",
                                   names[i]);
    if (!g_bytes_equal(a->mask, b->mask))
        g_string_append(message, "the masks differ; ");
    return message->len == 0;
}

bool run_beside_case(const bench_pair *pair, const beside_case *c, fill_kind fill, GString *message)
{
    int64_t pixels = (int64_t)c->n * c->h * c->w;
    int most = MAX(c->ic, c->oc);
    fill_kind gradient = fill == FILL_HUGE ? FILL_HUGE : FILL_RANDOM;
    operands o = {fill_new(pixels * c->ic, fill, pair->seed),
                  fill_new(pixels * c->oc, fill, pair->seed + 1),
                  fill_new(pixels * c->oc, gradient, pair->seed + 2),
                  fill_new((int64_t)c->oc * c->ic * 9, FILL_RANDOM, pair->seed + 3),
                  fill_new(most, FILL_RANDOM, pair->seed + 4),
                  fill_new(most, FILL_RANDOM, pair->seed + 5)};
    results want = run_side(pair->ref, c, 0, &o, PLAIN);
    results of_result = run_side(pair->engine, c, 16, &o, FROM_RESULT);
    results of_source = run_side(pair->engine, c, 16, &o, FROM_SOURCE);
    bool ok = check_results(c, fill, &want, &of_source, message) &&
              same_bits(c, &of_result, &of_source, message);
    results_clear(&want);
    results_clear(&of_result);
    results_clear(&of_source);
    double *const arrays[] = {o.z1, o.z2, o.dy, o.w, o.gamma, o.beta};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        g_free(arrays[i]);
    return ok;
}
