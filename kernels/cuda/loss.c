/* The losses on the GPU: what kernels/loss/loss.c and kernels/loss/compare.c ask of a device. Their arguments
 * become launch arguments; sums are folded there (fold.cu), and the numbers that come of them stay
 * where the caller wants them. Nothing here waits but count_kept, and what brings predictions to
 * the host. */
#include "kernels/cuda/loss.h"

#include "kernels/cuda/cuda_priv.h"

#include <string.h>

static kn_device *device_of(const kn_engine *engine)
{
    return kn_cuda_of(engine)->device;
}

/* A block of the engine's, grown when more is asked of it, so not in later steps. NULL (with the
 * error stuck to the device) when there is no memory. */
static void *grow(kn_engine *engine, kn_block *block, size_t bytes)
{
    GError *failed = NULL;
    if (bytes <= block->bytes)
        return block->data;
    kn_engine_free(engine, block);
    if (!kn_engine_alloc(engine, block, bytes, "the losses' sums", &failed)) {
        kn_device_fail(device_of(engine), "losses", failed->message);
        g_error_free(failed);
    }
    return block->data;
}

static void *room(kn_engine *engine, size_t bytes)
{
    void *at = grow(engine, &kn_cuda_of(engine)->numbers, MAX(bytes, 4096));
    if (at)
        kn_device_clear(device_of(engine), at, bytes);
    return at;
}

/* Where a pass over n_images puts its sums. NULL parts: no memory. */
static kn_cu_sums sums_room(kn_engine *engine, int n_images, int64_t image_px)
{
    size_t parts = kn_cu_loss_parts_bytes(n_images, image_px), n = (size_t)n_images;
    size_t sums = n * KN_CU_LOSS_SUMS * sizeof(double);
    size_t kept = n * KN_COMPARE_SUMS * sizeof(double);
    kn_cuda *cuda = kn_cuda_of(engine);
    char *at = grow(engine, &cuda->loss, kn_round_up(parts, 256) + sums);
    void *next = grow(engine, &cuda->kept, kept);
    void *number = grow(engine, &cuda->count, sizeof(double));
    cuda->last = (kn_cu_sums){0};
    if (!at || !next || !number)
        return cuda->last;
    kn_cu_sums to = {.parts = (double *)(void *)at, .kept = next, .count = number};
    to.sums = (double *)(void *)(at + kn_round_up(parts, 256));
    cuda->last = to;
    return to;
}

static void to_f32(const double *from, int n, float *to)
{
    for (int i = 0; i < n; i++)
        to[i] = (float)from[i];
}

/* ---- kernels/loss/loss.c ---------------------------------------------------------------------------
 */

static void reference(kn_engine *engine, const kn_ref_args *args, kn_ref_sums *sums)
{
    const kn_tensor *z = args->z;
    kn_cu_sums out = sums_room(engine, z->n, (int64_t)z->h * z->w);
    kn_cu_ref a = {.z = *z,
                   .confidence = args->confidence,
                   .exclude = args->exclude,
                   .y = args->y,
                   .conf = args->conf,
                   .with_prob = args->with_prob,
                   .above_tau = (float)args->above_tau};
    if (!out.parts)
        return;
    kn_cu_loss_reference(device_of(engine), a, out);
    kn_cu_fold_reference(device_of(engine), out.sums, z->n, z->c, sums);
}

static void gamma_update(kn_engine *engine, const kn_gamma_rule *rule, int n_classes,
                         const kn_ref_sums *sums, double *gamma, double *state)
{
    if (rule->threshold != KN_THRESHOLD_FIXED)
        kn_cu_fold_gamma(device_of(engine), *rule, n_classes, sums, gamma, state);
}

static void partition(kn_engine *engine, const kn_quad_args *args, double *z_image,
                      kn_quad_result *result)
{
    const kn_tensor *z = args->z;
    const kn_quad_config *config = args->config;
    kn_cu_sums out = sums_room(engine, z->n, (int64_t)z->h * z->w);
    kn_cu_quad a = {.z = *z,
                    .label = args->label,
                    .exclude = args->exclude,
                    .truth = args->truth,
                    .ref_y = args->ref_y,
                    .compare = config->compare,
                    .ref_conf = args->ref_conf,
                    .region = args->region,
                    .labelled = config->labelled,
                    .gamma_inclusive = config->gamma_inclusive,
                    .uc = config->uc,
                    .dice = config->dice,
                    .weights_at = config->weights_at,
                    .gamma_at = config->gamma_at};
    to_f32(config->weights, KN_N_REGIONS, a.weights);
    to_f32(config->gamma, z->c, a.gamma);
    if (!out.parts)
        return;
    kn_cu_loss_partition(device_of(engine), a, out);
    kn_cu_fold_quad(device_of(engine), out.sums, z->n, z->c, *config, z_image, result);
}

static void gradient(kn_engine *engine, const kn_grad_args *args, const kn_quad_config *config,
                     const double *z_image, const kn_quad_result *result, double scale)
{
    const kn_tensor *z = args->z;
    kn_cu_sums out = sums_room(engine, z->n, (int64_t)z->h * z->w);
    if (!out.parts)
        return;
    kn_cu_factors *by = (kn_cu_factors *)(void *)out.sums;
    float *ce_scale = (float *)(by + 1);
    G_STATIC_ASSERT(sizeof(kn_cu_factors) + sizeof(float) <= KN_CU_LOSS_SUMS * sizeof(double));
    const kn_cu_grad a = {.z = *z,
                          .dz = *args->dz,
                          .target = args->target,
                          .region = args->region,
                          .dice = config->dice,
                          .accumulate = args->accumulate,
                          .by = by,
                          .ce_scale = ce_scale};
    kn_cu_fold_factors(device_of(engine), *config, z->n, z->c, z_image, result, scale, by,
                       ce_scale);
    kn_cu_loss_gradient(device_of(engine), a);
}

static void mse(kn_engine *engine, const kn_mse_args *args, double *value)
{
    const kn_tensor *z = args->z;
    kn_cu_sums out = sums_room(engine, z->n, (int64_t)z->h * z->w);
    kn_cu_mse a = {.z = *z,
                   .z_ref = *args->z_ref,
                   .exclude = args->exclude,
                   .scale = args->grad_scale,
                   .count = out.count,
                   .accumulate = args->accumulate};
    const kn_compare_end end = {.n = -1, .by = {z->c}, .factor = {1}, .value = value};
    if (args->dz)
        a.dz = *args->dz;
    if (!out.parts)
        return;
    kn_cu_loss_count(device_of(engine), args->exclude, kn_pixels(z), out);
    kn_cu_loss_mse(device_of(engine), a, out);
    kn_cu_fold_end(device_of(engine), end, z->n, 1, out);
}

static int64_t count_kept(kn_engine *engine, const uint8_t *exclude, int64_t n)
{
    kn_cu_sums out = sums_room(engine, 1, n);
    double kept = 0;
    if (!out.parts)
        return 0;
    kn_cu_loss_count(device_of(engine), exclude, n, out);
    kn_device_download(device_of(engine), &kept, out.count, sizeof kept);
    return (int64_t)kept;
}

/* ---- kernels/loss/compare.c ------------------------------------------------------------------------
 */

static void count(kn_engine *engine, const uint8_t *exclude, int64_t n)
{
    kn_cu_sums out = sums_room(engine, 1, n);
    if (out.parts)
        kn_cu_loss_count(device_of(engine), exclude, n, out);
}

static void pass(kn_engine *engine, int which, const void *args, int n_images, int64_t image_px,
                 int n_sums, bool settle)
{
    kn_cu_sums out = sums_room(engine, n_images, image_px);
    if (out.parts)
        kn_cu_loss_compare(device_of(engine), which, args, n_images, image_px, n_sums, settle, out);
}

/* Where the last pass has put its sums. */
static kn_cu_sums last_sums(kn_engine *engine)
{
    return kn_cuda_of(engine)->last;
}

static void keep(kn_engine *engine, int n_images, int n_sums, bool whole)
{
    if (last_sums(engine).parts)
        kn_cu_fold_keep(device_of(engine), n_images, n_sums, whole, last_sums(engine));
}

static void end_value(kn_engine *engine, int n_images, int n_sums, const kn_compare_end *end)
{
    if (last_sums(engine).parts)
        kn_cu_fold_end(device_of(engine), *end, n_images, n_sums, last_sums(engine));
}

static void dcnet_move(kn_engine *engine, const kn_dcnet_rule *rule, int n_classes,
                       const kn_ref_sums *s1, const kn_ref_sums *s2, kn_dcnet_state *state)
{
    kn_cu_fold_dcnet(device_of(engine), *rule, n_classes, s1, s2, state);
}

static void sdcl_labels(kn_engine *engine, const uint8_t *known, const uint8_t *exclude, int64_t n,
                        uint8_t *label, uint8_t *pseudo)
{
    kn_cu_sdcl_labels(device_of(engine), known, exclude, n, label, pseudo);
}

static const kn_device_compare COMPARE = {
    .count = count,
    .pass = pass,
    .keep = keep,
    .end = end_value,
    .dcnet_move = dcnet_move,
    .sdcl_labels = sdcl_labels,
};

/* ---- predictions ------------------------------------------------------------------------------
 */

static void clear(kn_engine *engine, const kn_tensor *dz)
{
    kn_cu_clear(device_of(engine), *dz);
}

/* Through a buffer on the GPU, for the host. */
static void to_host(kn_engine *engine, const kn_tensor *z, void *dst, size_t bytes, bool prob)
{
    void *on_device = NULL;
    GError *failed = NULL;
    kn_device *device = device_of(engine);
    if (!kn_device_alloc(device, &on_device, bytes, "predictions", &failed)) {
        kn_device_fail(device, "predictions", failed->message);
        g_error_free(failed);
        return;
    }
    if (prob)
        kn_cu_softmax(device, *z, on_device);
    else
        kn_cu_argmax(device, *z, on_device);
    kn_device_download(device, dst, on_device, bytes);
    kn_device_free(device, on_device);
}

static void softmax(kn_engine *engine, const kn_tensor *z, float *prob)
{
    to_host(engine, z, prob, (size_t)kn_pixels(z) * (size_t)z->c * sizeof(float), true);
}

static void argmax(kn_engine *engine, const kn_tensor *z, uint8_t *y)
{
    to_host(engine, z, y, (size_t)kn_pixels(z), false);
}

static void argmax_at(kn_engine *engine, const kn_tensor *z, uint8_t *y)
{
    kn_cu_argmax(device_of(engine), *z, y);
}

const kn_device_loss kn_cuda_loss = {
    .room = room,
    .reference = reference,
    .gamma = gamma_update,
    .partition = partition,
    .gradient = gradient,
    .mse = mse,
    .count_kept = count_kept,
    .compare = &COMPARE,
    .clear = clear,
    .softmax = softmax,
    .argmax = argmax,
    .argmax_at = argmax_at,
};
