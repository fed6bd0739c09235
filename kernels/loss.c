/* Drives the three passes of the loss over the pixels and finishes their sums.
 *
 *   images   |      0      |      1      | …
 *   units    | 0 | 1 | 2 | | 3 | 4 | 5 | | …    KN_LOSS_UNIT pixels, none crosses an image
 *   rounds   |<---- KN_ROUND units ---->|<-     their sums live on the stack, then fold in order
 *
 * Threads share the units of a round in any way; the fold that follows adds their sums in the order
 * of the pixels. So the bits depend on the shape alone. */
#include "kernels/loss_priv.h"

#include <string.h>

static const kn_loss_ops *ops_of(const kn_engine *engine, const kn_tensor *z)
{
    g_assert(z->c >= 1 && z->c <= QS_CLASSES_MAX && z->ldc >= z->c && z->block == 0);
    g_assert(z->dtype == kn_engine_dtype(engine));
    return z->dtype == KN_F64 ? &kn_ref_loss_ops : kn_cpu_loss_ops();
}

int64_t kn_count_kept(kn_engine *engine, const uint8_t *exclude, int64_t n)
{
    int64_t kept = 0; /* an integer: any order gives the same */
    if (!exclude)
        return n;
    if (kn_device_loss_of(engine))
        return kn_device_loss_of(engine)->count_kept(engine, exclude, n);
#pragma omp parallel for schedule(static) reduction(+ : kept) num_threads(kn_engine_threads(engine))
    for (int64_t i = 0; i < n; i++)
        kept += exclude[i] != QS_CLASS_IGNORE;
    return kept;
}

static void assert_same_shape(const kn_tensor *a, const kn_tensor *b)
{
    g_assert(a->dtype == b->dtype && a->n == b->n && a->h == b->h && a->w == b->w && a->c == b->c);
}

/* ---- pass 1 -------------------------------------------------------------------------------- */
static void add_ref_sums(kn_reference *to, const kn_ref_sums *s, int n_classes)
{
    for (int c = 0; c < n_classes; c++) {
        to->sum_conf[c] += s->conf[c];
        to->sum_prob[c] += s->prob[c];
        to->count[c] += s->count[c];
        to->above[c] += s->above[c];
    }
}

void kn_loss_reference(kn_engine *engine, const kn_tensor *z_ref, kn_confidence confidence,
                       const uint8_t *exclude, kn_reference *ref)
{
    const kn_loss_ops *ops = ops_of(engine, z_ref);
    const kn_ref_args args = {.z = z_ref,
                              .confidence = confidence,
                              .exclude = exclude,
                              .y = ref->y,
                              .conf = ref->conf,
                              .with_prob = ref->with_prob,
                              .above_tau = ref->above_tau};
    const kn_units u = kn_units_of(z_ref->n, (int64_t)z_ref->h * z_ref->w);
    kn_ref_sums parts[KN_ROUND];
    memset(ref->sum_conf, 0, sizeof ref->sum_conf);
    memset(ref->sum_prob, 0, sizeof ref->sum_prob);
    memset(ref->count, 0, sizeof ref->count);
    memset(ref->above, 0, sizeof ref->above);
    if (kn_device_loss_of(engine)) {
        const kn_ref_sums *of_image = kn_device_loss_of(engine)->reference(engine, &args);
        for (int i = 0; i < z_ref->n && of_image; i++)
            add_ref_sums(ref, &of_image[i], z_ref->c);
        return;
    }
#pragma omp parallel num_threads(kn_engine_threads(engine))
    for (int64_t round = 0; round < u.n; round += KN_ROUND) {
        int here = (int)MIN(KN_ROUND, u.n - round);
#pragma omp for schedule(static)
        for (int i = 0; i < here; i++) {
            int n;
            int64_t first = kn_unit_first(&u, round + i, &n);
            memset(&parts[i], 0, sizeof parts[i]);
            ops->reference(&args, first, n, &parts[i]);
        }
#pragma omp single
        for (int i = 0; i < here; i++)
            add_ref_sums(ref, &parts[i], z_ref->c);
    }
}

/* ---- pass 2 -------------------------------------------------------------------------------- */
/* Sums of the batch, and of the image that the fold is in. */
typedef struct {
    kn_quad_sums batch, image;
    double ce_of_images; /* Σ over images of their own mean CE */
} fold;

static double weight_sum(const kn_quad_config *config, const kn_quad_sums *s)
{
    double z = 0;
    for (int r = 0; r < KN_N_REGIONS; r++)
        z += config->weights[r] * (double)s->px[r];
    return z;
}

static double ce_sum(const kn_quad_config *config, const kn_quad_sums *s)
{
    double ce = 0;
    for (int r = 0; r < KN_N_REGIONS; r++)
        ce += s->px[r] ? config->weights[r] * s->ce[r] : 0;
    return ce;
}

static void add_quad_sums(kn_quad_sums *to, const kn_quad_sums *s)
{
    for (int r = 0; r < KN_N_REGIONS; r++) {
        to->px[r] += s->px[r];
        to->right[r] += s->right[r];
        to->truth[r] += s->truth[r];
        to->ce[r] += s->ce[r];
    }
    to->uc_background_px += s->uc_background_px;
    to->uc_background_ce += s->uc_background_ce;
    for (int c = 0; c < QS_CLASSES_MAX; c++) {
        to->inter[c] += s->inter[c];
        to->target[c] += s->target[c];
        to->pred[c] += s->pred[c];
    }
}

static void fold_unit(fold *f, const kn_quad_sums *s, const kn_units *u, int64_t unit,
                      const kn_quad_config *config, double *z_image)
{
    add_quad_sums(&f->image, s);
    if (unit % u->per_image != u->per_image - 1)
        return;
    double z = weight_sum(config, &f->image);
    if (z_image)
        z_image[unit / u->per_image] = z;
    if (z > 0)
        f->ce_of_images += ce_sum(config, &f->image) / z;
    add_quad_sums(&f->batch, &f->image);
    memset(&f->image, 0, sizeof f->image);
}

/* Eq. (8). Without weight the loss is 0, not the 1 - ε/ε of the formula or its 0/0. */
static void finish_dice(const kn_quad_config *config, const kn_quad_sums *s, int n_classes,
                        kn_quad_result *result)
{
    double ratios = 0;
    for (int c = 0; c < n_classes; c++) {
        double n = 2.0 * s->inter[c] + config->dice_eps;
        double d = s->target[c] + s->pred[c] + config->dice_eps;
        result->dice_n[c] = n;
        result->dice_d[c] = d;
        ratios += d == 0 ? 1.0 : n / d; /* d = 0 needs ε = 0: the limit of ε/ε */
    }
    if (result->z > 0)
        result->dice = 1.0 - ratios / n_classes;
}

/* Factors of a pixel's CE and of its gradient: by region, and for UC's background. KN_CE_Z and
 * KN_CE_PIXELS divide by one number more: ce_divisor. */
static void ce_factors(const kn_quad_config *config, const int64_t px[KN_N_REGIONS],
                       int64_t uc_background, double factor[KN_N_REGIONS], double *of_background)
{
    bool means = config->norm == KN_CE_REGION_MEAN;
    for (int r = 0; r < KN_N_REGIONS; r++)
        factor[r] = config->weights[r] / (means ? (double)px[r] + 1 : 1);
    *of_background = factor[KN_REGION_UC];
    if (!means || config->uc == KN_UC_WHOLE)
        return;
    double w = config->weights[KN_REGION_UC];
    double mean_background = w / ((double)uc_background + 1);
    factor[KN_REGION_UC] = w / ((double)(px[KN_REGION_UC] - uc_background) + 1);
    *of_background = mean_background;
    if (config->uc == KN_UC_RELEASED) {
        factor[KN_REGION_UC] = 0;
        *of_background = 2 * mean_background;
    }
}

static double ce_divisor(const kn_quad_config *config, const kn_quad_result *result)
{
    double n = 0;
    for (int r = 0; r < KN_N_REGIONS; r++)
        n += (double)result->region_px[r];
    switch (config->norm) {
    case KN_CE_Z:
        return result->z;
    case KN_CE_PIXELS:
        return n;
    case KN_CE_REGION_MEAN:
        break;
    }
    return 1;
}

static void finish_ce(const kn_quad_config *config, const fold *f, const kn_tensor *z,
                      kn_quad_result *result)
{
    const kn_quad_sums *s = &f->batch;
    double factor[KN_N_REGIONS], of_background, sum = 0;
    ce_factors(config, s->px, s->uc_background_px, factor, &of_background);
    for (int r = 0; r < KN_N_REGIONS; r++) {
        double background = r == KN_REGION_UC ? s->uc_background_ce : 0;
        if (s->px[r])
            result->region_loss[r] =
                factor[r] * (s->ce[r] - background) + of_background * background;
        sum += result->region_loss[r];
    }
    double divisor = ce_divisor(config, result);
    if (config->z_scope == KN_Z_IMAGE)
        result->ce = f->ce_of_images / z->n;
    else if (divisor > 0)
        result->ce = sum / divisor;
}

static void finish_quad(const kn_quad_config *config, const fold *f, const kn_tensor *z,
                        kn_quad_result *result)
{
    const kn_quad_sums *s = &f->batch;
    memset(result, 0, sizeof *result);
    for (int r = 0; r < KN_N_REGIONS; r++) {
        result->region_px[r] = s->px[r];
        result->region_right[r] = s->right[r];
        result->truth_px[r] = s->truth[r];
    }
    result->uc_background_px = s->uc_background_px;
    result->z = weight_sum(config, s);
    finish_ce(config, f, z, result);
    if (config->dice != KN_DICE_NONE)
        finish_dice(config, s, z->c, result);
    result->loss = config->ce_scale * result->ce + config->dice_scale * result->dice;
}

void kn_loss_partition(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                       const uint8_t *exclude, const kn_reference *ref, const uint8_t *truth,
                       const kn_quad_config *config, uint8_t *region, double *z_image,
                       kn_quad_result *result)
{
    g_assert(config->labelled ? label != NULL : ref != NULL);
    g_assert(config->z_scope == KN_Z_BATCH || (z_image && config->norm == KN_CE_Z));
    const kn_loss_ops *ops = ops_of(engine, z);
    const kn_quad_args args = {.z = z,
                               .label = config->labelled ? label : NULL,
                               .exclude = exclude,
                               .truth = ref ? truth : NULL,
                               .ref_y = ref ? ref->y : NULL,
                               .ref_conf = ref ? ref->conf : NULL,
                               .config = config,
                               .region = region};
    const kn_units u = kn_units_of(z->n, (int64_t)z->h * z->w);
    kn_quad_sums parts[KN_ROUND];
    fold total = {0};
    if (kn_device_loss_of(engine)) {
        const kn_units images = {.image_px = u.image_px, .per_image = 1, .n = z->n};
        const kn_quad_sums *of_image = kn_device_loss_of(engine)->partition(engine, &args);
        for (int i = 0; i < z->n && of_image; i++)
            fold_unit(&total, &of_image[i], &images, i, config, z_image);
        finish_quad(config, &total, z, result);
        return;
    }
#pragma omp parallel num_threads(kn_engine_threads(engine))
    for (int64_t round = 0; round < u.n; round += KN_ROUND) {
        int here = (int)MIN(KN_ROUND, u.n - round);
#pragma omp for schedule(static)
        for (int i = 0; i < here; i++) {
            int n;
            int64_t first = kn_unit_first(&u, round + i, &n);
            memset(&parts[i], 0, sizeof parts[i]);
            ops->partition(&args, first, n, &parts[i]);
        }
#pragma omp single
        for (int i = 0; i < here; i++)
            fold_unit(&total, &parts[i], &u, round + i, config, z_image);
    }
    finish_quad(config, &total, z, result);
}

/* ---- pass 3 -------------------------------------------------------------------------------- */
/* a and b of quad_pixel.h; all 0 (no gradient) for a class without weight. */
static void dice_constants(const kn_quad_config *config, const kn_quad_result *result,
                           int n_classes, kn_grad_args *args)
{
    for (int c = 0; c < n_classes; c++) {
        double n = result->dice_n[c], d = result->dice_d[c];
        if (config->dice == KN_DICE_NONE || !(result->z > 0) || d == 0)
            continue;
        args->dice_a[c] = -2.0 / (n_classes * d);
        args->dice_b[c] = n / (n_classes * d * d);
    }
}

void kn_loss_gradient(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                      const kn_reference *ref, const uint8_t *region, const double *z_image,
                      const kn_quad_config *config, const kn_quad_result *result, double scale,
                      bool accumulate, const kn_tensor *dz)
{
    const kn_loss_ops *ops = ops_of(engine, z);
    assert_same_shape(z, dz);
    g_assert(config->labelled ? label != NULL : ref != NULL);
    g_assert(z_image || config->z_scope == KN_Z_BATCH);
    kn_grad_args args = {.z = z,
                         .dz = dz,
                         .target = config->labelled ? label : ref->y,
                         .region = region,
                         .dice = config->dice,
                         .accumulate = accumulate,
                         .dice_scale = scale * config->dice_scale};
    memcpy(args.weights, config->weights, sizeof args.weights);
    ce_factors(config, result->region_px, result->uc_background_px, args.ce_weights,
               &args.ce_uc_background);
    dice_constants(config, result, z->c, &args);
    double divisor = ce_divisor(config, result);
    if (kn_device_loss_of(engine)) {
        const double *sums = config->z_scope == KN_Z_IMAGE ? z_image : NULL;
        kn_device_loss_of(engine)->gradient(engine, &args, sums, divisor, scale * config->ce_scale);
        return;
    }
    const kn_units u = kn_units_of(z->n, (int64_t)z->h * z->w);
#pragma omp parallel for schedule(static) num_threads(kn_engine_threads(engine))
    for (int64_t i = 0; i < u.n; i++) {
        int n;
        int64_t first = kn_unit_first(&u, i, &n);
        bool by_image = config->z_scope == KN_Z_IMAGE;
        double by = by_image ? z_image[i / u.per_image] * z->n : divisor;
        ops->gradient(&args, first, n, by > 0 ? scale * config->ce_scale / by : 0.0);
    }
}

/* ---- Mean Teacher, softmax, argmax --------------------------------------------------------- */
double kn_loss_mse(kn_engine *engine, const kn_tensor *z, const kn_tensor *z_ref,
                   const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz)
{
    const kn_loss_ops *ops = ops_of(engine, z);
    assert_same_shape(z, z_ref);
    if (dz)
        assert_same_shape(z, dz);
    double n_terms = (double)kn_count_kept(engine, exclude, kn_pixels(z)) * z->c;
    const kn_mse_args args = {.z = z,
                              .z_ref = z_ref,
                              .dz = dz,
                              .exclude = exclude,
                              .grad_scale = n_terms > 0 ? scale * 2.0 / n_terms : 0.0,
                              .accumulate = accumulate};
    const kn_units u = kn_units_of(z->n, (int64_t)z->h * z->w);
    double parts[KN_ROUND], sum = 0;
    if (kn_device_loss_of(engine)) {
        sum = kn_device_loss_of(engine)->mse(engine, &args);
        return n_terms > 0 ? sum / n_terms : 0.0;
    }
#pragma omp parallel num_threads(kn_engine_threads(engine))
    for (int64_t round = 0; round < u.n; round += KN_ROUND) {
        int here = (int)MIN(KN_ROUND, u.n - round);
#pragma omp for schedule(static)
        for (int i = 0; i < here; i++) {
            int n;
            int64_t first = kn_unit_first(&u, round + i, &n);
            parts[i] = 0;
            ops->mse(&args, first, n, &parts[i]);
        }
#pragma omp single
        for (int i = 0; i < here; i++)
            sum += parts[i];
    }
    return n_terms > 0 ? sum / n_terms : 0.0;
}

void kn_softmax(kn_engine *engine, const kn_tensor *z, float *prob)
{
    const kn_loss_ops *ops = ops_of(engine, z);
    if (kn_device_loss_of(engine)) {
        kn_device_loss_of(engine)->softmax(engine, z, prob);
        return;
    }
    const kn_units u = kn_units_of(z->n, (int64_t)z->h * z->w);
#pragma omp parallel for schedule(static) num_threads(kn_engine_threads(engine))
    for (int64_t i = 0; i < u.n; i++) {
        int n;
        int64_t first = kn_unit_first(&u, i, &n);
        ops->softmax(z, first, n, prob + first * z->c);
    }
}

void kn_argmax(kn_engine *engine, const kn_tensor *z, uint8_t *y)
{
    const kn_loss_ops *ops = ops_of(engine, z);
    if (kn_device_loss_of(engine)) {
        kn_device_loss_of(engine)->argmax(engine, z, y);
        return;
    }
    const kn_units u = kn_units_of(z->n, (int64_t)z->h * z->w);
#pragma omp parallel for schedule(static) num_threads(kn_engine_threads(engine))
    for (int64_t i = 0; i < u.n; i++) {
        int n;
        int64_t first = kn_unit_first(&u, i, &n);
        ops->argmax(z, first, n, y + first);
    }
}
