/* Drives the passes of the comparison methods' losses: units and folding as in kernels/loss.c. */
#include "kernels/compare_pixel.h"
#include "kernels/compare_priv.h"
#include "kernels/loss_priv.h"

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

/* sums[0..n_sums) = those of the pass over n images of image_px places. */
static void run(kn_engine *engine, kn_compare_pass *pass, const void *args, int n_images,
                int64_t image_px, int n_sums, double *sums)
{
    const kn_units u = kn_units_of(n_images, image_px);
    double parts[KN_ROUND][KN_COMPARE_SUMS];
    memset(sums, 0, sizeof *sums * (size_t)n_sums);
    if (kn_device_loss_of(engine)) {
        kn_device_loss_of(engine)->compare(engine, place_of(pass), args, n_images, image_px, n_sums,
                                           sums);
        return;
    }
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

/* factor / n, 0 for nothing. */
static double per(double factor, double n)
{
    return n > 0 ? factor / n : 0;
}

double kn_loss_kl(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                  const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz1,
                  const kn_tensor *dz2)
{
    assert_logits(z1);
    assert_same(z1, z2, true);
    assert_same(z1, dz1, true);
    assert_same(z1, dz2, true);
    double sum, n = (double)kn_count_kept(engine, exclude, kn_pixels(z1));
    const kn_kl_args args = {.z1 = z1,
                             .z2 = z2,
                             .dz1 = dz1,
                             .dz2 = dz2,
                             .exclude = exclude,
                             .grad_scale = per(scale, n),
                             .accumulate = accumulate};
    run_over(engine, ops_of(engine, z1)->kl, &args, z1, 1, &sum);
    return per(sum, n);
}

/* ---- UA-MT ----------------------------------------------------------------------------------- */
void kn_prob_add(kn_engine *engine, const kn_tensor *z, double factor, bool accumulate,
                 const kn_tensor *prob)
{
    assert_logits(z);
    assert_same(z, prob, true);
    const kn_prob_args args = {.z = z, .prob = prob, .factor = factor, .accumulate = accumulate};
    run_over(engine, ops_of(engine, z)->prob_add, &args, z, 0, &(double){0});
}

int64_t kn_uncertainty(kn_engine *engine, const kn_tensor *prob, const uint8_t *exclude,
                       double below, uint8_t *unsure, void *entropy)
{
    assert_logits(prob);
    double sure;
    const kn_uncertainty_args args = {
        .prob = prob, .exclude = exclude, .below = below, .unsure = unsure, .entropy = entropy};
    run_over(engine, ops_of(engine, prob)->uncertainty, &args, prob, 1, &sure);
    return (int64_t)sure;
}

/* ---- URPC ------------------------------------------------------------------------------------ */
/* The loss from its sums, and what the gradient pass needs. For head s, with n pixels, C classes, S
 * heads: M = Σqe/(nC), D = Σe/n + 1e-8, ℓ = M/D + Σv/n, and
 *   dℓ/dq = e/(nC·D)   dℓ/de = q/(nC·D) - M/(n·D²)   dℓ/dv = 1/n - e·dℓ/de */
static double finish_urpc(const double *sums, double n, int n_classes, double scale,
                          kn_urpc_args *args)
{
    double loss = 0, share = scale / args->n_scales;
    for (int s = 0; s < args->n_scales; s++) {
        double m = sums[3 * s] / (n * n_classes), d = sums[3 * s + 1] / n + 1e-8;
        loss += (m / d + sums[3 * s + 2] / n) / args->n_scales;
        args->q_factor[s] = share / (n * n_classes * d);
        args->e_factor[s] = share * m / (n * d * d);
    }
    args->v_factor = share / n;
    return loss;
}

double kn_loss_urpc(kn_engine *engine, const kn_tensor *const *z, int n_scales,
                    const uint8_t *exclude, double scale, bool accumulate,
                    const kn_tensor *const *dz)
{
    g_assert(n_scales >= 1 && n_scales <= KN_SCALES_MAX);
    assert_logits(z[0]);
    for (int s = 0; s < n_scales; s++) {
        assert_same(z[0], z[s], true);
        assert_same(z[0], dz[s], true);
    }
    const kn_compare_ops *ops = ops_of(engine, z[0]);
    double sums[KN_COMPARE_SUMS], loss = 0;
    double n = (double)kn_count_kept(engine, exclude, kn_pixels(z[0]));
    kn_urpc_args args = {
        .z = z, .dz = dz, .n_scales = n_scales, .exclude = exclude, .accumulate = accumulate};
    run_over(engine, ops->urpc_sums, &args, z[0], 3 * n_scales, sums);
    if (n > 0)
        loss = finish_urpc(sums, n, z[0]->c, scale, &args);
    bool wanted = false;
    for (int s = 0; s < n_scales; s++)
        wanted |= dz[s] != NULL;
    if (wanted)
        run_over(engine, ops->urpc_grad, &args, z[0], 0, sums);
    return loss;
}

/* ---- features -------------------------------------------------------------------------------- */
double kn_loss_cosine(kn_engine *engine, const kn_tensor *f1, const kn_tensor *f2,
                      const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *df1,
                      const kn_tensor *df2)
{
    assert_same(f1, f2, true);
    assert_same(f1, df1, true);
    assert_same(f1, df2, true);
    double sum, n = (double)kn_count_kept(engine, exclude, kn_pixels(f1));
    const kn_cosine_args args = {.f1 = f1,
                                 .f2 = f2,
                                 .df1 = df1,
                                 .df2 = df2,
                                 .exclude = exclude,
                                 .grad_scale = per(0.5 * scale, n),
                                 .accumulate = accumulate};
    run_over(engine, ops_of(engine, f1)->cosine, &args, f1, 1, &sum);
    return n > 0 ? 1 + sum / n : 0;
}

/* One image's share of the sum of squares. */
static double attention_image(kn_engine *engine, const kn_compare_ops *ops, kn_attention_args *args)
{
    double sums[3], loss;
    run_over(engine, ops->attention_sums, args, args->f, 3, sums);
    double norm = fmax(sqrt(sums[0]), 1e-12), norm_ref = fmax(sqrt(sums[1]), 1e-12);
    args->inv_norm = 1 / norm;
    args->inv_norm_ref = 1 / norm_ref;
    args->dot = 2 * (sums[0] / norm / norm - sums[2] / norm / norm_ref);
    if (isnan(sums[0]) || isnan(sums[1]))
        args->inv_norm = args->inv_norm_ref = NAN; /* fmax takes a NaN away */
    run_over(engine, ops->attention_grad, args, args->f, 1, &loss);
    return loss;
}

double kn_loss_attention(kn_engine *engine, const kn_tensor *f, const kn_tensor *f_ref,
                         double scale, bool accumulate, const kn_tensor *df)
{
    assert_same(f, f_ref, false);
    assert_same(f, df, true);
    const kn_compare_ops *ops = ops_of(engine, f);
    double sum = 0, n = (double)kn_pixels(f);
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
    return per(sum, n);
}

/* ---- DCNet's decoders ------------------------------------------------------------------------ */
kn_dcnet_loss kn_loss_dcnet(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                            const uint8_t *exclude, double threshold, double decoupled_scale,
                            double direct_scale, bool accumulate, const kn_tensor *dz1,
                            const kn_tensor *dz2)
{
    assert_logits(z1);
    assert_same(z1, z2, true);
    assert_same(z1, dz1, true);
    assert_same(z1, dz2, true);
    double sums[2], n = (double)kn_count_kept(engine, exclude, kn_pixels(z1));
    const kn_dcnet_args args = {.z1 = z1,
                                .z2 = z2,
                                .dz1 = dz1,
                                .dz2 = dz2,
                                .exclude = exclude,
                                .threshold = threshold,
                                .decoupled_scale = per(decoupled_scale, n * z1->c),
                                .direct_scale = per(direct_scale, n),
                                .accumulate = accumulate};
    run_over(engine, ops_of(engine, z1)->dcnet, &args, z1, 2, sums);
    return (kn_dcnet_loss){per(sums[0], n * z1->c), per(sums[1], n)};
}

/* ---- CEUD ------------------------------------------------------------------------------------ */
double kn_loss_rank(kn_engine *engine, const kn_tensor *z, const void *agreement,
                    const uint32_t *order, int64_t n_order, void *score, double scale,
                    bool accumulate, const kn_tensor *dz)
{
    assert_logits(z);
    assert_same(z, dz, true);
    g_assert(kn_pixels(z) <= UINT32_MAX && n_order <= kn_pixels(z));
    const kn_compare_ops *ops = ops_of(engine, z);
    double sum;
    const kn_rank_args args = {.z = z,
                               .dz = dz,
                               .agreement = agreement,
                               .order = order,
                               .n_order = n_order,
                               .score = score,
                               .grad_scale = per(scale, (double)n_order)};
    if (dz && !accumulate && kn_device_loss_of(engine))
        kn_device_loss_of(engine)->clear(engine, dz);
    else if (dz && !accumulate)
        for (int64_t i = 0; i < kn_pixels(dz); i++)
            memset((char *)dz->data + (size_t)(i * dz->ldc) * kn_dtype_bytes(dz->dtype), 0,
                   (size_t)dz->c * kn_dtype_bytes(dz->dtype));
    if (n_order == 0)
        return 0;
    run_over(engine, ops->score, &args, z, 0, &sum);
    run(engine, ops->rank, &args, 1, n_order, 1, &sum);
    return per(sum, (double)n_order);
}

/* ---- SDCL ------------------------------------------------------------------------------------ */
kn_sdcl_loss kn_loss_sdcl(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                          const uint8_t *y_other, const uint8_t *pseudo, const double weight[2],
                          const uint8_t *exclude, double mse_scale, double kl_scale,
                          bool accumulate, const kn_tensor *dz)
{
    assert_logits(z);
    assert_same(z, dz, true);
    const kn_compare_ops *ops = ops_of(engine, z);
    double sums[4];
    kn_sdcl_args args = {.z = z,
                         .dz = dz,
                         .label = label,
                         .y_other = y_other,
                         .pseudo = pseudo,
                         .exclude = exclude,
                         .weight = {weight[0], weight[1]},
                         .accumulate = accumulate};
    run_over(engine, ops->sdcl_sums, &args, z, 4, sums);
    args.mse_scale = per(mse_scale, sums[2]);
    args.kl_scale = per(kl_scale, sums[3]);
    kn_sdcl_loss loss = {per(sums[0], sums[2]), per(sums[1], sums[3])};
    if (dz)
        run_over(engine, ops->sdcl_grad, &args, z, 0, sums);
    return loss;
}
