/* Drives the three passes of the loss over the pixels and finishes their sums.
 *
 *   images   |      0      |      1      | …
 *   units    | 0 | 1 | 2 | | 3 | 4 | 5 | | …    KN_LOSS_UNIT pixels, none crosses an image
 *   rounds   |<---- KN_ROUND units ---->|<-     their sums live on the stack, then fold in order
 *
 * Threads share the units of a round in any way; the fold that follows adds their sums in the order
 * of the pixels. So the bits depend on the shape alone. */
#include "kernels/loss/loss_priv.h"
#include "kernels/loss/quad_fold.h"

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
static void add_ref_sums(kn_ref_sums *to, const kn_ref_sums *s, int n_classes)
{
    for (int c = 0; c < n_classes; c++) {
        to->conf[c] += s->conf[c];
        to->prob[c] += s->prob[c];
        to->count[c] += s->count[c];
        to->above[c] += s->above[c];
    }
}

void kn_loss_reference_at(kn_engine *engine, const kn_tensor *z_ref, kn_confidence confidence,
                          const uint8_t *exclude, const kn_reference *ref, kn_ref_sums *sums)
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
    if (kn_device_loss_of(engine)) {
        kn_device_loss_of(engine)->reference(engine, &args, sums);
        return;
    }
    memset(sums, 0, sizeof *sums);
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
            add_ref_sums(sums, &parts[i], z_ref->c);
    }
}

void kn_loss_reference(kn_engine *engine, const kn_tensor *z_ref, kn_confidence confidence,
                       const uint8_t *exclude, kn_reference *ref)
{
    kn_ref_sums found = {0}, *sums = kn_numbers_open(engine, &found, sizeof found);
    if (!sums)
        return;
    kn_loss_reference_at(engine, z_ref, confidence, exclude, ref, sums);
    kn_numbers_read(engine, &found, sums, sizeof found);
    memcpy(ref->sum_conf, found.conf, sizeof ref->sum_conf);
    memcpy(ref->sum_prob, found.prob, sizeof ref->sum_prob);
    memcpy(ref->count, found.count, sizeof ref->count);
    memcpy(ref->above, found.above, sizeof ref->above);
}

void kn_gamma_update_at(kn_engine *engine, const kn_gamma_rule *rule, int n_classes,
                        const kn_ref_sums *sums, double *gamma, double *state)
{
    if (kn_device_loss_of(engine))
        kn_device_loss_of(engine)->gamma(engine, rule, n_classes, sums, gamma, state);
    else
        qf_gamma(rule, n_classes, sums, gamma, state);
}

/* ---- pass 2 -------------------------------------------------------------------------------- */
/* Sums of the batch, and of the image that the fold is in. */
typedef struct {
    kn_quad_sums batch, image;
    double ce_of_images; /* Σ over images of their own mean CE */
} fold;

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
    double z = qf_weight_sum(config->weights, f->image.px);
    if (z_image)
        z_image[unit / u->per_image] = z;
    if (z > 0)
        f->ce_of_images += qf_image_ce(config->weights, f->image.px, f->image.ce, z);
    add_quad_sums(&f->batch, &f->image);
    memset(&f->image, 0, sizeof f->image);
}

/* config with what its _at pointers say, on the host. */
static const kn_quad_config *settled(const kn_quad_config *config, kn_quad_config *room)
{
    if (!config->gamma_at && !config->weights_at)
        return config;
    *room = *config;
    if (config->gamma_at)
        memcpy(room->gamma, config->gamma_at, sizeof room->gamma);
    if (config->weights_at)
        memcpy(room->weights, config->weights_at, sizeof room->weights);
    return room;
}

void kn_loss_partition_at(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                          const uint8_t *exclude, const kn_reference *ref, const uint8_t *truth,
                          const kn_quad_config *given, uint8_t *region, double *z_image,
                          kn_quad_result *result)
{
    const bool there = kn_device_loss_of(engine) != NULL;
    kn_quad_config room;
    const kn_quad_config *config = there ? given : settled(given, &room);
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
    if (there) {
        kn_device_loss_of(engine)->partition(engine, &args, z_image, result);
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
    memset(result, 0, sizeof *result);
    qf_finish_quad(config, &total.batch, total.ce_of_images, z->n, z->c, result);
}

void kn_loss_partition(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                       const uint8_t *exclude, const kn_reference *ref, const uint8_t *truth,
                       const kn_quad_config *config, uint8_t *region, double *z_image,
                       kn_quad_result *result)
{
    size_t images = z_image ? (size_t)z->n * sizeof *z_image : 0;
    kn_quad_result *at = kn_numbers_open(engine, result, sizeof *result + images);
    double *z_at = at == result ? z_image : z_image ? (double *)(at + 1) : NULL;
    if (!at) {
        memset(result, 0, sizeof *result);
        return;
    }
    kn_loss_partition_at(engine, z, label, exclude, ref, truth, config, region, z_at, at);
    kn_numbers_read(engine, result, at, sizeof *result);
    if (z_image)
        kn_numbers_read(engine, z_image, z_at, images);
}

/* ---- pass 3 -------------------------------------------------------------------------------- */
void kn_loss_gradient_at(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                         const kn_reference *ref, const uint8_t *region, const double *z_image,
                         const kn_quad_config *given, const kn_quad_result *result, double scale,
                         bool accumulate, const kn_tensor *dz)
{
    const bool there = kn_device_loss_of(engine) != NULL;
    kn_quad_config room;
    const kn_quad_config *config = there ? given : settled(given, &room);
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
    const double *images = config->z_scope == KN_Z_IMAGE ? z_image : NULL;
    if (there) {
        kn_device_loss_of(engine)->gradient(engine, &args, config, images, result, scale);
        return;
    }
    memcpy(args.weights, config->weights, sizeof args.weights);
    qf_ce_factors(config, result->region_px, result->uc_background_px, args.ce_weights,
                  &args.ce_uc_background);
    for (int c = 0; c < z->c; c++)
        qf_dice_constants(config, result, z->c, c, &args.dice_a[c], &args.dice_b[c]);
    double divisor = qf_ce_divisor(config, result);
    const kn_units u = kn_units_of(z->n, (int64_t)z->h * z->w);
#pragma omp parallel for schedule(static) num_threads(kn_engine_threads(engine))
    for (int64_t i = 0; i < u.n; i++) {
        int n;
        int64_t first = kn_unit_first(&u, i, &n);
        int image = (int)(i / u.per_image);
        ops->gradient(&args, first, n,
                      qf_image_scale(images, image, z->n, divisor, scale * config->ce_scale));
    }
}

void kn_loss_gradient(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                      const kn_reference *ref, const uint8_t *region, const double *z_image,
                      const kn_quad_config *config, const kn_quad_result *result, double scale,
                      bool accumulate, const kn_tensor *dz)
{
    const kn_device_loss *device = kn_device_loss_of(engine);
    size_t images = z_image ? (size_t)z->n * sizeof *z_image : 0;
    if (device) {
        kn_quad_result *at = device->room(engine, sizeof *at + images);
        if (!at)
            return;
        kn_engine_upload(engine, at, result, sizeof *at);
        if (z_image)
            kn_engine_upload(engine, at + 1, z_image, images);
        result = at;
        z_image = z_image ? (const double *)(at + 1) : NULL;
    }
    kn_loss_gradient_at(engine, z, label, ref, region, z_image, config, result, scale, accumulate,
                        dz);
}

/* ---- Mean Teacher, softmax, argmax --------------------------------------------------------- */
void kn_loss_mse_at(kn_engine *engine, const kn_tensor *z, const kn_tensor *z_ref,
                    const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz,
                    double *value)
{
    const kn_loss_ops *ops = ops_of(engine, z);
    assert_same_shape(z, z_ref);
    if (dz)
        assert_same_shape(z, dz);
    kn_mse_args args = {.z = z,
                        .z_ref = z_ref,
                        .dz = dz,
                        .exclude = exclude,
                        .grad_scale = scale,
                        .accumulate = accumulate};
    if (kn_device_loss_of(engine)) {
        kn_device_loss_of(engine)->mse(engine, &args, value);
        return;
    }
    double n_terms = (double)kn_count_kept(engine, exclude, kn_pixels(z)) * z->c;
    args.grad_scale = n_terms > 0 ? scale * 2.0 / n_terms : 0.0;
    const kn_units u = kn_units_of(z->n, (int64_t)z->h * z->w);
    double parts[KN_ROUND], sum = 0;
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
    *value += n_terms > 0 ? sum / n_terms : 0.0;
}

double kn_loss_mse(kn_engine *engine, const kn_tensor *z, const kn_tensor *z_ref,
                   const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz)
{
    double value = 0, *at = kn_numbers_open(engine, &value, sizeof value);
    if (!at)
        return 0;
    kn_loss_mse_at(engine, z, z_ref, exclude, scale, accumulate, dz, at);
    kn_numbers_read(engine, &value, at, sizeof value);
    return value;
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

void kn_argmax_at(kn_engine *engine, const kn_tensor *z, uint8_t *y)
{
    if (kn_device_loss_of(engine))
        kn_device_loss_of(engine)->argmax_at(engine, z, y);
    else
        kn_argmax(engine, z, y);
}
