/* Each case makes the same tensors on the engine under test and on the reference, in the layout
 * asked for, runs forward and backward, and compares everything that came out. */
#include "tests/kernels/ops_cases.h"

#include <math.h>
#include <string.h>

/* ---- convolution
 * ------------------------------------------------------------------------------------ */

typedef struct {
    double *y, *dx, *dw, *db;
} conv_result;

static void conv_result_free(conv_result *r)
{
    g_free(r->y);
    g_free(r->dx);
    g_free(r->dw);
    g_free(r->db);
}

static bool conv_on(kn_engine *engine, const kn_ops *ops, const conv_case *c, conv_edge edge,
                    int block, const double *x, const double *w, const double *b, const double *dy,
                    conv_result *out, GString *message)
{
    GError *error = NULL;
    kn_dtype src = edge == EDGE_SRC ? ops->dtype : engine->act;
    kn_dtype dst = edge == EDGE_DST ? ops->dtype : engine->act;
    kn_conv_spec spec = {.name = "case",
                         .n = c->n,
                         .h = c->h,
                         .w = c->w,
                         .ic = c->ic,
                         .oc = c->oc,
                         .k = c->k,
                         .bias = c->bias,
                         .train = !c->leaky,
                         .bwd_data = !c->leaky,
                         .leaky = c->leaky,
                         .src_block = edge == EDGE_SRC ? 0 : block,
                         .dst_block = edge == EDGE_DST ? 0 : block,
                         .src_type = src,
                         .dst_type = dst};
    int64_t n_w = (int64_t)c->oc * c->ic * c->k * c->k;
    kn_conv *conv = ops->conv_create(engine, &spec, &error);
    if (!conv) {
        g_string_append_printf(message, "%s; ", error->message);
        g_clear_error(&error);
        return false;
    }
    kn_conv_needs needs = ops->conv_needs(conv);
    size_t scratch_bytes = MAX(needs.fwd_bytes, MAX(needs.bwd_data_bytes, needs.bwd_weights_bytes));
    void *packed = memory_new(engine, needs.packed_bytes);
    void *scratch = memory_new(engine, scratch_bytes);
    void *wt = array_new(engine, w, n_w), *bt = array_new(engine, b, c->oc);
    /* Gradients accumulate: they start at the weights themselves. */
    void *dw = array_new(engine, w, n_w), *db = array_new(engine, b, c->oc);
    int src_block = spec.src_block, dst_block = spec.dst_block, n = c->n, h = c->h, w_px = c->w;
    test_tensor tx = test_tensor_typed(engine, src, n, h, w_px, c->ic, c->ic, 0, src_block, x);
    test_tensor ty = test_tensor_typed(engine, dst, n, h, w_px, c->oc, c->oc, 0, dst_block, NULL);
    test_tensor tdy = test_tensor_typed(engine, dst, n, h, w_px, c->oc, c->oc, 0, dst_block, dy);
    test_tensor tdx = test_tensor_typed(engine, src, n, h, w_px, c->ic, c->ic, 0, src_block, NULL);
    bool ok = ops->conv_pack(conv, wt, c->bias ? bt : NULL, packed, &error) &&
              ops->conv_fwd(conv, packed, &tx.t, &ty.t, scratch, &error) &&
              (c->leaky || (ops->conv_bwd_data(conv, packed, &tdy.t, &tdx.t, scratch, &error) &&
                            ops->conv_bwd_weights(conv, &tx.t, &tdy.t, dw, c->bias ? db : NULL,
                                                  scratch, &error)));
    if (!ok)
        g_string_append_printf(message, "%s; ", error->message);
    g_clear_error(&error);
    *out = (conv_result){test_tensor_read(&ty), test_tensor_read(&tdx), array_read(engine, dw, n_w),
                         array_read(engine, db, c->oc)};
    test_tensor *tensors[] = {&tx, &ty, &tdy, &tdx};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
    void *arrays[] = {wt, bt, dw, db, packed, scratch};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        memory_free(engine, arrays[i]);
    ops->conv_destroy(conv);
    return ok;
}

bool run_conv_edge_case(const bench_pair *pair, const conv_case *c, conv_edge edge, fill_kind fill,
                        GString *message)
{
    int64_t pixels = (int64_t)c->n * c->h * c->w, n_w = (int64_t)c->oc * c->ic * c->k * c->k;
    g_autofree double *x = fill_new(pixels * c->ic, fill, pair->seed);
    g_autofree double *dy = fill_new(pixels * c->oc, fill, pair->seed + 1);
    g_autofree double *w = fill_new(n_w, FILL_RANDOM, pair->seed + 2);
    g_autofree double *b = fill_new(c->oc, FILL_RANDOM, pair->seed + 3);
    conv_result want = {0}, got = {0};
    bool ok =
        conv_on(pair->ref, kn_engine_ops(pair->ref), c, edge, 0, x, w, b, dy, &want, message) &&
        conv_on(pair->engine, pair->ops, c, edge, c->block, x, w, b, dy, &got, message);
    /* Outputs smaller than their terms carry the terms' rounding: the floor is the terms' size. */
    double size = fill == FILL_HUGE ? 1e15 : fill == FILL_OFFSET ? 1000 : 1;
    ok = ok && check_close("y", want.y, got.y, pixels * c->oc,
                           tolerance_act(c->coefficient, c->ic * c->k * c->k), size, message);
    if (ok && !c->leaky)
        ok = check_close("dx", want.dx, got.dx, pixels * c->ic,
                         tolerance_act(c->coefficient, c->oc * c->k * c->k), size, message) &&
             check_close("dw", want.dw, got.dw, n_w, tolerance(c->coefficient, (double)pixels),
                         size * size, message) &&
             check_close("db", want.db, got.db, c->oc, tolerance(c->coefficient, (double)pixels),
                         size, message);
    conv_result_free(&want);
    conv_result_free(&got);
    return ok;
}

bool run_conv_case(const bench_pair *pair, const conv_case *c, fill_kind fill, GString *message)
{
    return run_conv_edge_case(pair, c, EDGE_NONE, fill, message);
}

/* ---- BatchNorm + LeakyReLU + dropout
 * ------------------------------------------------------------------ */

enum { N_VECTORS = 8 };

typedef struct {
    double *y, *dx,
        *vectors[N_VECTORS]; /* mean inv_std running_mean running_var dgamma dbeta gamma beta */
    bool untouched;
} norm_result;

static void norm_result_free(norm_result *r)
{
    g_free(r->y);
    g_free(r->dx);
    for (int i = 0; i < N_VECTORS; i++)
        g_free(r->vectors[i]);
}

static void norm_on(kn_engine *engine, const kn_ops *ops, const norm_case *c, int block,
                    const double *x, const double *dy, const double *gamma, const double *beta,
                    norm_result *out)
{
    int blocked = block && c->whole % 16 == 0 ? block : 0;
    void *v[N_VECTORS], *bias = array_new(engine, beta, c->c);
    for (int i = 0; i < N_VECTORS; i++)
        v[i] = array_new(engine, i == 6 ? gamma : beta, c->c);
    kn_norm norm = {.channels = c->c,
                    .mean = v[0],
                    .inv_std = v[1],
                    .running_mean = v[2],
                    .running_var = v[3],
                    .dgamma = v[4],
                    .dbeta = v[5],
                    .gamma = v[6],
                    .beta = v[7],
                    .conv_bias = bias,
                    .slope = c->slope,
                    .dropout = c->dropout,
                    .stream = 77,
                    .layer = 3};
    test_tensor tx = test_tensor_new(engine, c->n, c->h, c->w, c->c, c->c, 0, block, x);
    test_tensor ty =
        test_tensor_new(engine, c->n, c->h, c->w, c->c, c->whole, c->first, blocked, NULL);
    test_tensor tdy =
        test_tensor_new(engine, c->n, c->h, c->w, c->c, c->whole, c->first, blocked, dy);
    test_tensor tdx = test_tensor_new(engine, c->n, c->h, c->w, c->c, c->c, 0, block, NULL);
    ops->norm_stats(engine, &tx.t, &norm);
    ops->norm_apply(engine, &tx.t, &norm, &ty.t);
    ops->norm_bwd(engine, &tdy.t, &tx.t, &norm, &tdx.t);
    out->y = test_tensor_read(&ty);
    out->dx = test_tensor_read(&tdx);
    out->untouched = test_tensor_rest_untouched(&ty) && test_tensor_rest_untouched(&tdy);
    /* In place where the tensors are dense: the same results. */
    if (c->whole == c->c && blocked == block) {
        ops->norm_bwd(engine, &tdy.t, &tx.t, &norm, &tdy.t);
        g_free(out->dx);
        out->dx = test_tensor_read(&tdy);
        ops->norm_apply(engine, &tx.t, &norm, &tx.t);
        g_free(out->y);
        out->y = test_tensor_read(&tx);
    }
    for (int i = 0; i < N_VECTORS; i++) {
        out->vectors[i] = array_read(engine, v[i], c->c);
        memory_free(engine, v[i]);
    }
    memory_free(engine, bias);
    test_tensor *tensors[] = {&tx, &ty, &tdy, &tdx};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
}

bool run_norm_case(const bench_pair *pair, const norm_case *c, fill_kind fill, GString *message)
{
    static const char *const names[N_VECTORS] = {"mean",   "inv_std", "running_mean", "running_var",
                                                 "dgamma", "dbeta",   "gamma",        "beta"};
    int64_t pixels = (int64_t)c->n * c->h * c->w;
    g_autofree double *x = fill_new(pixels * c->c, fill, pair->seed);
    g_autofree double *dy =
        fill_new(pixels * c->c, fill == FILL_HUGE ? FILL_HUGE : FILL_RANDOM, pair->seed + 1);
    g_autofree double *gamma = fill_new(c->c, FILL_RANDOM, pair->seed + 2);
    g_autofree double *beta = fill_new(c->c, FILL_RANDOM, pair->seed + 3);
    norm_result want = {0}, got = {0};
    norm_on(pair->ref, kn_engine_ops(pair->ref), c, 0, x, dy, gamma, beta, &want);
    norm_on(pair->engine, pair->ops, c, c->block, x, dy, gamma, beta, &got);
    /* x = 1000 ± 1 has lost three digits before BatchNorm sees it. A batch of one pixel has no
     * variance: 1/std is 1/sqrt(eps) and what rounding leaves is multiplied by it. */
    double lost = fill == FILL_OFFSET || pixels == 1 ? 1000 : 1;
    double tol = tolerance(16 * lost, 1), sums = tolerance(16 * lost, (double)pixels);
    double tol_y = tolerance_act(16 * lost, 1), tol_dx = tolerance_act(16 * lost, (double)pixels);
    bool ok = check_close("y", want.y, got.y, pixels * c->c, tol_y, 1, message);
    /* A mean near zero carries the rounding of its terms, ±1 here, over the root of their number.
     */
    double size = fill == FILL_HUGE ? 1e15 : 1;
    for (int i = 0; ok && i < 4; i++)
        ok = check_close(names[i], want.vectors[i], got.vectors[i], c->c, tol,
                         i % 2 == 0 ? 0.1 * size : 0, message);
    for (int i = 4; ok && i < 6; i++)
        ok = check_close(names[i], want.vectors[i], got.vectors[i], c->c, sums,
                         fill == FILL_HUGE ? 1e15 : 1, message);
    /* dx is a difference of terms of this size. */
    double terms = 1;
    for (int i = 0; i < c->c; i++)
        terms = MAX(terms, want.vectors[1][i] * (fill == FILL_HUGE ? 1e15 : 1));
    ok = ok && check_close("dx", want.dx, got.dx, pixels * c->c, tol_dx, terms, message);
    if (ok && !got.untouched) {
        g_string_append(message, "wrote outside its slice; ");
        ok = false;
    }
    norm_result_free(&want);
    norm_result_free(&got);
    return ok;
}

/* ---- pooling and upsampling: exact, or nearly
 * ----------------------------------------------------------- */

typedef struct {
    double *y, *dx, *copy;
    bool untouched;
} move_result;

static void move_result_free(move_result *r)
{
    g_free(r->y);
    g_free(r->dx);
    g_free(r->copy);
}

/* h, w: of the pooled tensor. Source, its copy and its gradient are slices. */
static void pool_on(kn_engine *e, const kn_ops *ops, int n, int h, int w, int c, int block,
                    const double *x, const double *dy, move_result *out)
{
    int whole = 2 * c;
    test_tensor tx = test_tensor_new(e, n, 2 * h, 2 * w, c, whole, 0, block, x);
    test_tensor ty = test_tensor_new(e, n, h, w, c, c, 0, block, NULL);
    test_tensor tcopy = test_tensor_new(e, n, 2 * h, 2 * w, c, whole, c, block, NULL);
    test_tensor tdy = test_tensor_new(e, n, h, w, c, c, 0, block, dy);
    test_tensor tdx =
        test_tensor_new(e, n, 2 * h, 2 * w, c, whole, c, block, x); /* accumulates on x */
    ops->pool_fwd(e, &tx.t, &ty.t, &tcopy.t);
    ops->pool_bwd(e, &tx.t, &tdy.t, &tdx.t);
    *out = (move_result){test_tensor_read(&ty), test_tensor_read(&tdx), test_tensor_read(&tcopy),
                         test_tensor_rest_untouched(&tcopy) && test_tensor_rest_untouched(&tdx)};
    test_tensor *tensors[] = {&tx, &ty, &tcopy, &tdy, &tdx};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
}

bool run_pool_case(const bench_pair *pair, int n, int h, int w, int c, int block, fill_kind fill,
                   GString *message)
{
    int64_t small = (int64_t)n * h * w * c;
    g_autofree double *x = fill_new(4 * small, fill, pair->seed);
    g_autofree double *dy = fill_new(small, FILL_RANDOM, pair->seed + 1);
    for (int64_t i = 0; i < 4 * small; i += 3)
        x[i] = (double)(int)(x[i] * 2); /* ties */
    fill_round(x, 4 * small);
    move_result want = {0}, got = {0};
    pool_on(pair->ref, kn_engine_ops(pair->ref), n, h, w, c, 0, x, dy, &want);
    pool_on(pair->engine, pair->ops, n, h, w, c, block, x, dy, &got);
    bool ok = check_close("y", want.y, got.y, small, 0, 0, message) &&
              check_close("copy", want.copy, got.copy, 4 * small, 0, 0, message) &&
              check_close("dx", want.dx, got.dx, 4 * small, tolerance_act(1, 1), 1, message) &&
              got.untouched;
    move_result_free(&want);
    move_result_free(&got);
    return ok;
}

/* ---- BatchNorm with pooling
 * ----------------------------------------------------------------------------------- */

typedef struct {
    double *y, *pooled, *dx, *dgamma, *dbeta;
    bool untouched;
} norm_pool_result;

static void norm_pool_result_free(norm_pool_result *r)
{
    double *arrays[] = {r->y, r->pooled, r->dx, r->dgamma, r->dbeta};
    for (size_t i = 0; i < G_N_ELEMENTS(arrays); i++)
        g_free(arrays[i]);
}

typedef struct {
    const double *x, *dy, *dpooled, *gamma, *beta;
    const double *y; /* what the maxima are of; NULL: what the engine makes */
} norm_pool_values;

/* Both ways: in one sweep each where the backend has them, else op by op. dy, the gradient from
 * elsewhere, is added to. */
static void norm_pool_on(kn_engine *e, const kn_ops *ops, const norm_case *c, int block,
                         const norm_pool_values *from, norm_pool_result *out)
{
    int h = 2 * c->h, w = 2 * c->w, blocked = block && c->whole % 16 == 0 ? block : 0;
    g_autofree double *zero = g_new0(double, 2 * c->c);
    void *v[6];
    for (int i = 0; i < 6; i++)
        v[i] = array_new(e, i == 4 ? from->gamma : i == 5 ? from->beta : zero, c->c);
    void *running = array_new(e, zero, 2 * c->c);
    g_autofree double *sums = g_new0(double, 2 * c->c);
    kn_norm norm = {.channels = c->c,
                    .mean = v[0],
                    .inv_std = v[1],
                    .dgamma = v[2],
                    .dbeta = v[3],
                    .gamma = v[4],
                    .beta = v[5],
                    .running_mean = running,
                    .running_var = running,
                    .slope = c->slope,
                    .sums = sums,
                    .is_dz = true};
    test_tensor tx = test_tensor_new(e, c->n, h, w, c->c, c->c, 0, block, from->x);
    test_tensor ty = test_tensor_new(e, c->n, h, w, c->c, c->whole, c->first, blocked, from->y);
    test_tensor tp = test_tensor_new(e, c->n, c->h, c->w, c->c, c->c, 0, block, NULL);
    test_tensor tdp = test_tensor_new(e, c->n, c->h, c->w, c->c, c->c, 0, block, from->dpooled);
    test_tensor tdy = test_tensor_new(e, c->n, h, w, c->c, c->whole, c->first, blocked, from->dy);
    test_tensor tdx = test_tensor_new(e, c->n, h, w, c->c, c->c, 0, block, NULL);
    ops->norm_stats(e, &tx.t, &norm);
    if (ops->pool_bwd_sums) {
        ops->norm_apply_pool(e, &tx.t, &norm, &ty.t, &tp.t);
        ops->pool_bwd_sums(e, &tx.t, &norm, &tdp.t, &tdy.t);
        ops->norm_bwd_apply(e, &tdy.t, &tx.t, &norm, &tdx.t);
    } else {
        ops->pool_fwd(e, &ty.t, &tp.t, NULL);
        ops->pool_bwd(e, &ty.t, &tdp.t, &tdy.t);
        ops->norm_apply(e, &tx.t, &norm, &ty.t);
        ops->norm_bwd(e, &tdy.t, &tx.t, &norm, &tdx.t);
    }
    *out = (norm_pool_result){test_tensor_read(&ty),
                              test_tensor_read(&tp),
                              test_tensor_read(&tdx),
                              array_read(e, v[2], c->c),
                              array_read(e, v[3], c->c),
                              test_tensor_rest_untouched(&ty) && test_tensor_rest_untouched(&tdy)};
    test_tensor *tensors[] = {&tx, &ty, &tp, &tdp, &tdy, &tdx};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
    for (int i = 0; i < 6; i++)
        memory_free(e, v[i]);
    memory_free(e, running);
}

bool run_norm_pool_case(const bench_pair *pair, const norm_case *c, fill_kind fill,
                        GString *message)
{
    int64_t small = (int64_t)c->n * c->h * c->w * c->c, large = 4 * small;
    double size = fill == FILL_HUGE ? 1e15 : 1, lost = fill == FILL_OFFSET ? 1000 : 1;
    g_autofree double *x = fill_new(large, fill, pair->seed);
    g_autofree double *dy = fill_new(large, FILL_RANDOM, pair->seed + 1);
    g_autofree double *dpooled = fill_new(small, FILL_RANDOM, pair->seed + 2);
    g_autofree double *gamma = fill_new(c->c, FILL_RANDOM, pair->seed + 3);
    g_autofree double *beta = fill_new(c->c, FILL_RANDOM, pair->seed + 4);
    for (int64_t i = 0; i + 1 < large; i += 3) /* ties */
        x[i] = x[i % 2 ? 0 : large - 1];
    fill_round(x, large);
    norm_pool_result want = {0}, got = {0};
    norm_pool_values from = {x, dy, dpooled, gamma, beta, NULL};
    norm_pool_on(pair->engine, pair->ops, c, c->block, &from, &got);
    /* Which of two is larger may be decided by the last bit of y: the reference takes the engine's
     * own y for that, and says what y should have been. */
    from.y = got.y;
    norm_pool_on(pair->ref, kn_engine_ops(pair->ref), c, 0, &from, &want);
    double tol = tolerance_act(16 * lost, 1), sums = tolerance_act(16 * lost, (double)large);
    double terms = 1;
    for (int i = 0; i < c->c; i++)
        terms = MAX(terms, fabs(gamma[i]));
    bool ok = check_close("y", want.y, got.y, large, tol, 1, message) &&
              check_close("pooled", want.pooled, got.pooled, small, 0, 0, message) &&
              check_close("dgamma", want.dgamma, got.dgamma, c->c, sums, size, message) &&
              check_close("dbeta", want.dbeta, got.dbeta, c->c, sums, size, message) &&
              /* dz is kept, so rounded, and dx once more */
              check_close("dx", want.dx, got.dx, large, 2 * sums, terms, message);
    if (ok && !got.untouched) {
        g_string_append(message, "wrote outside its slice; ");
        ok = false;
    }
    norm_pool_result_free(&want);
    norm_pool_result_free(&got);
    return ok;
}

static void upsample_on(kn_engine *e, const kn_ops *ops, int n, int h, int w, int c, int block,
                        const double *x, const double *dy, move_result *out)
{
    int whole = 2 * c;
    test_tensor tx = test_tensor_new(e, n, h, w, c, c, 0, block, x);
    test_tensor ty = test_tensor_new(e, n, 2 * h, 2 * w, c, whole, c, block, NULL);
    test_tensor tdy = test_tensor_new(e, n, 2 * h, 2 * w, c, whole, c, block, dy);
    test_tensor tdx = test_tensor_new(e, n, h, w, c, c, 0, block, NULL);
    ops->upsample_fwd(e, &tx.t, &ty.t);
    ops->upsample_bwd(e, &tdy.t, &tdx.t);
    *out = (move_result){test_tensor_read(&ty), test_tensor_read(&tdx), NULL,
                         test_tensor_rest_untouched(&ty)};
    test_tensor *tensors[] = {&tx, &ty, &tdy, &tdx};
    for (size_t i = 0; i < G_N_ELEMENTS(tensors); i++)
        test_tensor_free(tensors[i]);
}

bool run_upsample_case(const bench_pair *pair, int n, int h, int w, int c, int block,
                       fill_kind fill, GString *message)
{
    int64_t small = (int64_t)n * h * w * c;
    g_autofree double *x = fill_new(small, fill, pair->seed);
    g_autofree double *dy = fill_new(4 * small, fill, pair->seed + 1);
    move_result want = {0}, got = {0};
    upsample_on(pair->ref, kn_engine_ops(pair->ref), n, h, w, c, 0, x, dy, &want);
    upsample_on(pair->engine, pair->ops, n, h, w, c, block, x, dy, &got);
    bool ok = check_close("y", want.y, got.y, 4 * small, tolerance_act(4, 4), 1, message) &&
              check_close("dx", want.dx, got.dx, small, tolerance_act(4, 16), 1, message) &&
              got.untouched;
    move_result_free(&want);
    move_result_free(&got);
    return ok;
}

/* ---- SGD, EMA, zero
 * ---------------------------------------------------------------------------------------- */

bool run_array_case(const bench_pair *pair, int64_t n, GString *message)
{
    kn_engine *engines[2] = {pair->ref, pair->engine};
    const kn_ops *ops[2] = {kn_engine_ops(pair->ref), pair->ops};
    double *theta[2], *momentum[2], *teacher[2], *zero[2];
    g_autofree double *a = fill_new(n, FILL_RANDOM, pair->seed),
                      *b = fill_new(n, FILL_RANDOM, pair->seed + 1);
    for (int i = 0; i < 2; i++) {
        void *w = array_new(engines[i], a, n), *g = array_new(engines[i], b, n);
        void *v = array_new(engines[i], b, n), *t = array_new(engines[i], b, n);
        ops[i]->sgd(engines[i], w, g, v, n, 0.05, 0.9, 1e-2);
        ops[i]->ema(engines[i], t, w, n, 0.9);
        theta[i] = array_read(engines[i], w, n);
        momentum[i] = array_read(engines[i], v, n);
        teacher[i] = array_read(engines[i], t, n);
        ops[i]->zero(engines[i], v, n);
        zero[i] = array_read(engines[i], v, n);
        void *arrays[] = {w, g, v, t};
        for (size_t k = 0; k < G_N_ELEMENTS(arrays); k++)
            memory_free(engines[i], arrays[k]);
    }
    bool ok = check_close("theta", theta[0], theta[1], n, tolerance(2, 1), 1, message) &&
              check_close("momentum", momentum[0], momentum[1], n, tolerance(2, 1), 1, message) &&
              check_close("teacher", teacher[0], teacher[1], n, tolerance(2, 1), 1, message) &&
              check_close("zero", zero[0], zero[1], n, 0, 0, message);
    for (int i = 0; i < 2; i++) {
        g_free(theta[i]);
        g_free(momentum[i]);
        g_free(teacher[i]);
        g_free(zero[i]);
    }
    return ok;
}
