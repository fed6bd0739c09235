/* Drives the passes of the comparison methods' losses: units and folding as in kernels/loss/loss.c. */
#include "kernels/loss/compare_fold.h"
#include "kernels/loss/compare_pixel.h"
#include "kernels/loss/compare_priv.h"
#include "kernels/loss/loss_priv.h"

#include <math.h>
#include <string.h>

G_STATIC_ASSERT(QP_CLASSES_MAX == QS_CLASSES_MAX);

static const kn_compare_ops *ops_of(const kn_engine *engine, const kn_tensor *t)
{
    g_assert(t->ldc >= t->c && t->block == 0 && t->dtype == kn_engine_dtype(engine));
    return t->dtype == KN_F64 ? kn_ref_loss_ops.compare : kn_cpu_loss_ops()->compare;
}

static void assert_logits(const kn_tensor *z)
{
    g_assert(z->c >= 1 && z->c <= QS_CLASSES_MAX);
}

/* b NULL is fine. */
static void assert_same(const kn_tensor *a, const kn_tensor *b, bool same_channels)
{
    g_assert(!b || (a->dtype == b->dtype && a->n == b->n && a->h == b->h && a->w == b->w &&
                    b->ldc >= b->c && b->block == 0 && (!same_channels || a->c == b->c)));
}

/* The place of a pass in the CPU's table: what a device knows it by. */
static int place_of(kn_compare_pass *pass)
{
    kn_compare_pass *const *table = (kn_compare_pass *const *)kn_cpu_loss_ops()->compare;
    int which = 0;
    while (table[which] != pass)
        which++;
    return which;
}

/* sums[0..n_sums) = those of the pass over n images of image_px places. On the host. */
static void run(kn_engine *engine, kn_compare_pass *pass, const void *args, int n_images,
                int64_t image_px, int n_sums, double *sums)
{
    const kn_units u = kn_units_of(n_images, image_px);
    double parts[KN_ROUND][KN_COMPARE_SUMS];
    memset(sums, 0, sizeof *sums * (size_t)n_sums);
#pragma omp parallel num_threads(kn_engine_threads(engine))
    for (int64_t round = 0; round < u.n; round += KN_ROUND) {
        int here = (int)MIN(KN_ROUND, u.n - round);
#pragma omp for schedule(static)
        for (int i = 0; i < here; i++) {
            int n;
            int64_t first = kn_unit_first(&u, round + i, &n);
            memset(parts[i], 0, sizeof parts[i]);
            pass(args, first, n, parts[i]);
        }
#pragma omp single
        for (int i = 0; i < here; i++)
            for (int s = 0; s < n_sums; s++)
                sums[s] += parts[i][s];
    }
}

static void run_over(kn_engine *engine, kn_compare_pass *pass, const void *args, const kn_tensor *t,
                     int n_sums, double *sums)
{
    run(engine, pass, args, t->n, (int64_t)t->h * t->w, n_sums, sums);
}

/* NULL on the host. */
static const kn_device_compare *device_of(const kn_engine *engine)
{
    return kn_device_loss_of(engine) ? kn_device_loss_of(engine)->compare : NULL;
}

static void pass_on_device(kn_engine *engine, kn_compare_pass *pass, const void *args,
                           const kn_tensor *t, int n_sums, bool settle)
{
    device_of(engine)->pass(engine, place_of(pass), args, t->n, (int64_t)t->h * t->w, n_sums,
                            settle);
}

/* Counts, runs a pass whose scales wait for the count, adds its ends to their values. */
static void counted_on_device(kn_engine *engine, kn_compare_pass *pass, const void *args,
                              const uint8_t *exclude, const kn_tensor *t, int n_sums,
                              const kn_compare_end *ends, int n_ends)
{
    device_of(engine)->count(engine, exclude, kn_pixels(t));
    pass_on_device(engine, pass, args, t, n_sums, true);
    for (int e = 0; e < n_ends; e++)
        device_of(engine)->end(engine, t->n, n_sums, &ends[e]);
}

/* Where a call that waits has its values, n of them, and the end of the wait: `own`, 0 before. */
static double *value_open(kn_engine *engine, double *own, int n)
{
    memset(own, 0, (size_t)n * sizeof *own);
    return kn_numbers_open(engine, own, (size_t)n * sizeof *own);
}

static double value_read(kn_engine *engine, double *own, const double *at, int n)
{
    kn_numbers_read(engine, own, at, (size_t)n * sizeof *own);
    return *own;
}

void kn_loss_kl_at(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                   const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz1,
                   const kn_tensor *dz2, double *value)
{
    assert_logits(z1);
    assert_same(z1, z2, true);
    assert_same(z1, dz1, true);
    assert_same(z1, dz2, true);
    double sum;
    kn_kl_args args = {.z1 = z1,
                       .z2 = z2,
                       .dz1 = dz1,
                       .dz2 = dz2,
                       .exclude = exclude,
                       .grad_scale = scale,
                       .accumulate = accumulate};
    if (device_of(engine)) {
        kn_compare_end end = {.n = -1, .by = {1}, .factor = {1}, .value = value};
        counted_on_device(engine, ops_of(engine, z1)->kl, &args, exclude, z1, 1, &end, 1);
        return;
    }
    double n = (double)kn_count_kept(engine, exclude, kn_pixels(z1));
    args.grad_scale = cf_per(scale, n);
    run_over(engine, ops_of(engine, z1)->kl, &args, z1, 1, &sum);
    *value += cf_per(sum, n);
}

double kn_loss_kl(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                  const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz1,
                  const kn_tensor *dz2)
{
    double own, *at = value_open(engine, &own, 1);
    if (at)
        kn_loss_kl_at(engine, z1, z2, exclude, scale, accumulate, dz1, dz2, at);
    return value_read(engine, &own, at, 1);
}

/* ---- UA-MT ----------------------------------------------------------------------------------- */
void kn_prob_add(kn_engine *engine, const kn_tensor *z, double factor, bool accumulate,
                 const kn_tensor *prob)
{
    assert_logits(z);
    assert_same(z, prob, true);
    const kn_prob_args args = {.z = z, .prob = prob, .factor = factor, .accumulate = accumulate};
    if (device_of(engine))
        pass_on_device(engine, ops_of(engine, z)->prob_add, &args, z, 0, false);
    else
        run_over(engine, ops_of(engine, z)->prob_add, &args, z, 0, &(double){0});
}

/* value NULL: the number of sure pixels is not wanted. */
static void run_uncertainty(kn_engine *engine, const kn_tensor *prob, const uint8_t *exclude,
                            double below, uint8_t *unsure, void *entropy, double *value)
{
    assert_logits(prob);
    double sure;
    const kn_uncertainty_args args = {
        .prob = prob, .exclude = exclude, .below = below, .unsure = unsure, .entropy = entropy};
    if (device_of(engine)) {
        const kn_compare_end end = {.n = 1, .by = {1}, .factor = {1}, .value = value};
        pass_on_device(engine, ops_of(engine, prob)->uncertainty, &args, prob, value != NULL,
                       false);
        if (value)
            device_of(engine)->end(engine, prob->n, 1, &end);
        return;
    }
    run_over(engine, ops_of(engine, prob)->uncertainty, &args, prob, 1, &sure);
    if (value)
        *value += sure;
}

void kn_uncertainty_at(kn_engine *engine, const kn_tensor *prob, const uint8_t *exclude,
                       double below, uint8_t *unsure, void *entropy)
{
    run_uncertainty(engine, prob, exclude, below, unsure, entropy, NULL);
}

int64_t kn_uncertainty(kn_engine *engine, const kn_tensor *prob, const uint8_t *exclude,
                       double below, uint8_t *unsure, void *entropy)
{
    double own, *at = value_open(engine, &own, 1);
    if (at)
        run_uncertainty(engine, prob, exclude, below, unsure, entropy, at);
    return (int64_t)value_read(engine, &own, at, 1);
}

/* ---- URPC ------------------------------------------------------------------------------------ */
void kn_loss_urpc_at(kn_engine *engine, const kn_tensor *const *z, int n_scales,
                     const uint8_t *exclude, double scale, bool accumulate,
                     const kn_tensor *const *dz, double *value)
{
    g_assert(n_scales >= 1 && n_scales <= KN_SCALES_MAX);
    assert_logits(z[0]);
    bool wanted = false;
    for (int s = 0; s < n_scales; s++) {
        assert_same(z[0], z[s], true);
        assert_same(z[0], dz[s], true);
        wanted |= dz[s] != NULL;
    }
    const kn_compare_ops *ops = ops_of(engine, z[0]);
    const kn_device_compare *device = device_of(engine);
    double sums[KN_COMPARE_SUMS];
    kn_urpc_args args = {.z = z,
                         .dz = dz,
                         .n_scales = n_scales,
                         .exclude = exclude,
                         .scale = scale,
                         .accumulate = accumulate};
    if (device) {
        const kn_compare_end end = {.kind = KN_END_URPC,
                                    .n_scales = n_scales,
                                    .n_classes = z[0]->c,
                                    .n = -1,
                                    .factor = {1},
                                    .value = value};
        device->count(engine, exclude, kn_pixels(z[0]));
        pass_on_device(engine, ops->urpc_sums, &args, z[0], 3 * n_scales, false);
        device->end(engine, z[0]->n, 3 * n_scales, &end);
        device->keep(engine, z[0]->n, 3 * n_scales, true);
        if (wanted)
            pass_on_device(engine, ops->urpc_grad, &args, z[0], 0, true);
        return;
    }
    double n = (double)kn_count_kept(engine, exclude, kn_pixels(z[0]));
    run_over(engine, ops->urpc_sums, &args, z[0], 3 * n_scales, sums);
    *value += cf_urpc(sums, n, n_scales, z[0]->c, scale, &args.by);
    if (wanted)
        run_over(engine, ops->urpc_grad, &args, z[0], 0, sums);
}

double kn_loss_urpc(kn_engine *engine, const kn_tensor *const *z, int n_scales,
                    const uint8_t *exclude, double scale, bool accumulate,
                    const kn_tensor *const *dz)
{
    double own, *at = value_open(engine, &own, 1);
    if (at)
        kn_loss_urpc_at(engine, z, n_scales, exclude, scale, accumulate, dz, at);
    return value_read(engine, &own, at, 1);
}

/* ---- features -------------------------------------------------------------------------------- */
void kn_loss_cosine_at(kn_engine *engine, const kn_tensor *f1, const kn_tensor *f2,
                       const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *df1,
                       const kn_tensor *df2, double *value)
{
    assert_same(f1, f2, true);
    assert_same(f1, df1, true);
    assert_same(f1, df2, true);
    double sum;
    kn_cosine_args args = {.f1 = f1,
                           .f2 = f2,
                           .df1 = df1,
                           .df2 = df2,
                           .exclude = exclude,
                           .grad_scale = 0.5 * scale,
                           .accumulate = accumulate};
    if (device_of(engine)) {
        const kn_compare_end end = {.kind = KN_END_COSINE, .n = -1, .factor = {1}, .value = value};
        counted_on_device(engine, ops_of(engine, f1)->cosine, &args, exclude, f1, 1, &end, 1);
        return;
    }
    double n = (double)kn_count_kept(engine, exclude, kn_pixels(f1));
    args.grad_scale = cf_per(0.5 * scale, n);
    run_over(engine, ops_of(engine, f1)->cosine, &args, f1, 1, &sum);
    *value += cf_cosine(sum, n);
}

double kn_loss_cosine(kn_engine *engine, const kn_tensor *f1, const kn_tensor *f2,
                      const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *df1,
                      const kn_tensor *df2)
{
    double own, *at = value_open(engine, &own, 1);
    if (at)
        kn_loss_cosine_at(engine, f1, f2, exclude, scale, accumulate, df1, df2, at);
    return value_read(engine, &own, at, 1);
}

/* One image's share of the sum of squares. */
static double attention_image(kn_engine *engine, const kn_compare_ops *ops, kn_attention_args *args)
{
    double sums[3], loss;
    run_over(engine, ops->attention_sums, args, args->f, 3, sums);
    cf_attention(sums, args);
    run_over(engine, ops->attention_grad, args, args->f, 1, &loss);
    return loss;
}

/* All images at once: each pixel's pass finds its image's sums by itself. */
static void attention_on_device(kn_engine *engine, const kn_tensor *f, const kn_tensor *f_ref,
                                double scale, bool accumulate, const kn_tensor *df, double *value)
{
    const kn_compare_ops *ops = ops_of(engine, f);
    double n = (double)kn_pixels(f);
    const kn_attention_args args = {
        .f = f, .f_ref = f_ref, .df = df, .grad_scale = scale / n, .accumulate = accumulate};
    const kn_compare_end end = {.n = n, .by = {1}, .factor = {1}, .value = value};
    pass_on_device(engine, ops->attention_sums, &args, f, 3, false);
    device_of(engine)->keep(engine, f->n, 3, false);
    pass_on_device(engine, ops->attention_grad, &args, f, 1, true);
    device_of(engine)->end(engine, f->n, 1, &end);
}

void kn_loss_attention_at(kn_engine *engine, const kn_tensor *f, const kn_tensor *f_ref,
                          double scale, bool accumulate, const kn_tensor *df, double *value)
{
    assert_same(f, f_ref, false);
    assert_same(f, df, true);
    const kn_compare_ops *ops = ops_of(engine, f);
    double sum = 0, n = (double)kn_pixels(f);
    if (device_of(engine)) {
        attention_on_device(engine, f, f_ref, scale, accumulate, df, value);
        return;
    }
    for (int i = 0; i < f->n; i++) {
        kn_tensor own = kn_tensor_images(f, i, 1), ref = kn_tensor_images(f_ref, i, 1), grad;
        if (df)
            grad = kn_tensor_images(df, i, 1);
        kn_attention_args args = {.f = &own,
                                  .f_ref = &ref,
                                  .df = df ? &grad : NULL,
                                  .grad_scale = scale / n,
                                  .accumulate = accumulate};
        sum += attention_image(engine, ops, &args);
    }
    *value += cf_per(sum, n);
}

double kn_loss_attention(kn_engine *engine, const kn_tensor *f, const kn_tensor *f_ref,
                         double scale, bool accumulate, const kn_tensor *df)
{
    double own, *at = value_open(engine, &own, 1);
    if (at)
        kn_loss_attention_at(engine, f, f_ref, scale, accumulate, df, at);
    return value_read(engine, &own, at, 1);
}

/* ---- DCNet's decoders ------------------------------------------------------------------------ */

static void run_dcnet(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                      const uint8_t *exclude, const double *threshold, double decoupled_scale,
                      double direct_scale, bool accumulate, const kn_tensor *dz1,
                      const kn_tensor *dz2, const kn_compare_end ends[], int n_ends)
{
    kn_compare_pass *pass = ops_of(engine, z1)->dcnet;
    double sums[KN_COMPARE_SUMS];
    kn_dcnet_args args = {.z1 = z1,
                          .z2 = z2,
                          .dz1 = dz1,
                          .dz2 = dz2,
                          .exclude = exclude,
                          .threshold_at = threshold,
                          .decoupled_scale = decoupled_scale,
                          .direct_scale = direct_scale,
                          .accumulate = accumulate};
    assert_logits(z1);
    assert_same(z1, z2, true);
    assert_same(z1, dz1, true);
    assert_same(z1, dz2, true);
    if (device_of(engine)) {
        counted_on_device(engine, pass, &args, exclude, z1, 2, ends, n_ends);
        return;
    }
    double n = (double)kn_count_kept(engine, exclude, kn_pixels(z1));
    args.threshold = *threshold;
    args.decoupled_scale = cf_per(decoupled_scale, n * z1->c);
    args.direct_scale = cf_per(direct_scale, n);
    run_over(engine, pass, &args, z1, 2, sums);
    for (int e = 0; e < n_ends; e++)
        *ends[e].value += cf_value(&ends[e], sums, n);
}

static kn_compare_end dcnet_end(const kn_tensor *z, double decoupled, double direct, double *value)
{
    return (kn_compare_end){
        .n = -1, .by = {z->c, 1}, .factor = {decoupled, direct}, .value = value};
}

void kn_loss_dcnet_at(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                      const uint8_t *exclude, const double *threshold, double decoupled_scale,
                      double direct_scale, bool accumulate, const kn_tensor *dz1,
                      const kn_tensor *dz2, const double factor[2], double *value)
{
    const kn_compare_end end = dcnet_end(z1, factor[0], factor[1], value);
    run_dcnet(engine, z1, z2, exclude, threshold, decoupled_scale, direct_scale, accumulate, dz1,
              dz2, &end, 1);
}

kn_dcnet_loss kn_loss_dcnet(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                            const uint8_t *exclude, double threshold, double decoupled_scale,
                            double direct_scale, bool accumulate, const kn_tensor *dz1,
                            const kn_tensor *dz2)
{
    double own[3], *at = value_open(engine, own, 3);
    if (!at)
        return (kn_dcnet_loss){0, 0};
    const kn_compare_end ends[] = {dcnet_end(z1, 1, 0, &at[0]), dcnet_end(z1, 0, 1, &at[1])};
    kn_engine_upload(engine, &at[2], &threshold, sizeof threshold);
    run_dcnet(engine, z1, z2, exclude, &at[2], decoupled_scale, direct_scale, accumulate, dz1, dz2,
              ends, 2);
    value_read(engine, own, at, 3);
    return (kn_dcnet_loss){own[0], own[1]};
}

void kn_dcnet_move_at(kn_engine *engine, const kn_dcnet_rule *rule, int n_classes,
                      const kn_ref_sums *s1, const kn_ref_sums *s2, kn_dcnet_state *state)
{
    if (device_of(engine))
        device_of(engine)->dcnet_move(engine, rule, n_classes, s1, s2, state);
    else
        cf_dcnet_move(rule, n_classes, s1, s2, state);
}

/* ---- CEUD ------------------------------------------------------------------------------------ */
static void clear_gradient(kn_engine *engine, const kn_tensor *dz)
{
    if (device_of(engine)) {
        kn_device_loss_of(engine)->clear(engine, dz);
        return;
    }
    for (int64_t i = 0; i < kn_pixels(dz); i++)
        memset((char *)dz->data + (size_t)(i * dz->ldc) * kn_dtype_bytes(dz->dtype), 0,
               (size_t)dz->c * kn_dtype_bytes(dz->dtype));
}

void kn_loss_rank_at(kn_engine *engine, const kn_tensor *z, const void *agreement,
                     const uint32_t *order, int64_t n_order, void *score, double scale,
                     bool accumulate, const kn_tensor *dz, double *value)
{
    assert_logits(z);
    assert_same(z, dz, true);
    g_assert(kn_pixels(z) <= UINT32_MAX && n_order <= kn_pixels(z));
    const kn_compare_ops *ops = ops_of(engine, z);
    const kn_device_compare *device = device_of(engine);
    double sum;
    const kn_rank_args args = {.z = z,
                               .dz = dz,
                               .agreement = agreement,
                               .order = order,
                               .n_order = n_order,
                               .score = score,
                               .grad_scale = cf_per(scale, (double)n_order)};
    if (dz && !accumulate)
        clear_gradient(engine, dz);
    if (n_order == 0)
        return;
    if (device) {
        const kn_compare_end end = {.n = (double)n_order, .by = {1}, .factor = {1}, .value = value};
        pass_on_device(engine, ops->score, &args, z, 0, false);
        device->pass(engine, place_of(ops->rank), &args, 1, n_order, 1, false);
        device->end(engine, 1, 1, &end);
        return;
    }
    run_over(engine, ops->score, &args, z, 0, &sum);
    run(engine, ops->rank, &args, 1, n_order, 1, &sum);
    *value += cf_per(sum, (double)n_order);
}

double kn_loss_rank(kn_engine *engine, const kn_tensor *z, const void *agreement,
                    const uint32_t *order, int64_t n_order, void *score, double scale,
                    bool accumulate, const kn_tensor *dz)
{
    double own, *at = value_open(engine, &own, 1);
    if (at)
        kn_loss_rank_at(engine, z, agreement, order, n_order, score, scale, accumulate, dz, at);
    return value_read(engine, &own, at, 1);
}

/* ---- SDCL ------------------------------------------------------------------------------------ */

static void run_sdcl(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                     const uint8_t *y_other, const uint8_t *pseudo, const double weight[2],
                     const uint8_t *exclude, double mse_scale, double kl_scale, bool accumulate,
                     const kn_tensor *dz, const kn_compare_end ends[], int n_ends)
{
    const kn_compare_ops *ops = ops_of(engine, z);
    const kn_device_compare *device = device_of(engine);
    double sums[KN_COMPARE_SUMS];
    kn_sdcl_args args = {.z = z,
                         .dz = dz,
                         .label = label,
                         .y_other = y_other,
                         .pseudo = pseudo,
                         .exclude = exclude,
                         .weight = {weight[0], weight[1]},
                         .mse_scale = mse_scale,
                         .kl_scale = kl_scale,
                         .accumulate = accumulate};
    assert_logits(z);
    assert_same(z, dz, true);
    if (device) {
        pass_on_device(engine, ops->sdcl_sums, &args, z, 4, false);
        for (int e = 0; e < n_ends; e++)
            device->end(engine, z->n, 4, &ends[e]);
        device->keep(engine, z->n, 4, true);
        if (dz)
            pass_on_device(engine, ops->sdcl_grad, &args, z, 0, true);
        return;
    }
    run_over(engine, ops->sdcl_sums, &args, z, 4, sums);
    args.mse_scale = cf_per(mse_scale, sums[2]);
    args.kl_scale = cf_per(kl_scale, sums[3]);
    for (int e = 0; e < n_ends; e++)
        *ends[e].value += cf_value(&ends[e], sums, 0);
    if (dz)
        run_over(engine, ops->sdcl_grad, &args, z, 0, sums);
}

static kn_compare_end sdcl_end(double mse, double kl, double *value)
{
    return (kn_compare_end){.kind = KN_END_SDCL, .factor = {mse, kl}, .value = value};
}

void kn_loss_sdcl_at(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                     const uint8_t *y_other, const uint8_t *pseudo, const double weight[2],
                     const uint8_t *exclude, double mse_scale, double kl_scale, bool accumulate,
                     const kn_tensor *dz, const double factor[2], double *value)
{
    const kn_compare_end end = sdcl_end(factor[0], factor[1], value);
    run_sdcl(engine, z, label, y_other, pseudo, weight, exclude, mse_scale, kl_scale, accumulate,
             dz, &end, 1);
}

kn_sdcl_loss kn_loss_sdcl(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                          const uint8_t *y_other, const uint8_t *pseudo, const double weight[2],
                          const uint8_t *exclude, double mse_scale, double kl_scale,
                          bool accumulate, const kn_tensor *dz)
{
    double own[2], *at = value_open(engine, own, 2);
    if (!at)
        return (kn_sdcl_loss){0, 0};
    const kn_compare_end ends[] = {sdcl_end(1, 0, &at[0]), sdcl_end(0, 1, &at[1])};
    run_sdcl(engine, z, label, y_other, pseudo, weight, exclude, mse_scale, kl_scale, accumulate,
             dz, ends, 2);
    value_read(engine, own, at, 2);
    return (kn_sdcl_loss){own[0], own[1]};
}

void kn_sdcl_labels_at(kn_engine *engine, const uint8_t *known, const uint8_t *exclude, int64_t n,
                       uint8_t *label, uint8_t *pseudo)
{
    if (device_of(engine)) {
        device_of(engine)->sdcl_labels(engine, known, exclude, n, label, pseudo);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        cf_sdcl_label(known[i], exclude[i], &label[i], &pseudo[i]);
}
