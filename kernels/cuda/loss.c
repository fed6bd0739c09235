/* The losses on the GPU: what kernels/loss.c and kernels/compare.c ask of a device. Their arguments
 * become launch arguments, sums of each image come back and are folded on the host as the CPU's
 * are, so a loss has one place where it is finished. Each call that returns sums waits for the
 * stream. */
#include "kernels/cuda/loss.h"

#include "kernels/compare_priv.h"
#include "kernels/cuda/cuda_priv.h"

#include <string.h>

static kn_device *device_of(const kn_engine *engine)
{
    return kn_cuda_of(engine)->device;
}

/* Room for the sums of n_images; grown when a larger batch comes, so not in later steps. NULL parts
 * (with the error stuck to the device) when there is no memory. */
static kn_cu_sums room(kn_engine *engine, int n_images, int64_t image_px)
{
    kn_cuda *cuda = kn_cuda_of(engine);
    size_t parts = kn_round_up(kn_cu_loss_parts_bytes(n_images, image_px), 256);
    size_t sums = (size_t)n_images * KN_CU_LOSS_SUMS * sizeof(double);
    size_t scales = (size_t)n_images * sizeof(float), bytes = parts + sums + scales;
    GError *failed = NULL;
    if (bytes > cuda->loss.bytes || n_images > cuda->loss_images) {
        kn_engine_free(engine, &cuda->loss);
        g_free(cuda->loss_host);
        g_free(cuda->loss_of_image);
        cuda->loss_host = g_malloc(sums + scales);
        cuda->loss_of_image =
            g_malloc0((size_t)n_images * MAX(sizeof(kn_ref_sums), sizeof(kn_quad_sums)));
        cuda->loss_images = n_images;
        if (!kn_engine_alloc(engine, &cuda->loss, bytes, "the losses' sums", &failed)) {
            kn_device_fail(cuda->device, "losses", failed->message);
            g_error_free(failed);
        }
    }
    char *at = cuda->loss.data;
    return (kn_cu_sums){(double *)(void *)at, at ? (double *)(void *)(at + parts) : NULL};
}

/* The (images, n_sums) sums on the host. */
static const double *fetch(kn_engine *engine, kn_cu_sums out, int n_images, int n_sums)
{
    kn_cuda *cuda = kn_cuda_of(engine);
    kn_device_download(cuda->device, cuda->loss_host, out.sums,
                       (size_t)n_images * (size_t)n_sums * sizeof(double));
    return cuda->loss_host;
}

static void to_f32(const double *from, int n, float *to)
{
    for (int i = 0; i < n; i++)
        to[i] = (float)from[i];
}

static const kn_ref_sums *reference(kn_engine *engine, const kn_ref_args *args)
{
    const kn_tensor *z = args->z;
    kn_cu_sums out = room(engine, z->n, (int64_t)z->h * z->w);
    kn_cu_ref a = {.z = *z,
                   .confidence = args->confidence,
                   .exclude = args->exclude,
                   .y = args->y,
                   .conf = args->conf,
                   .with_prob = args->with_prob,
                   .above_tau = (float)args->above_tau};
    if (!out.parts)
        return NULL;
    kn_cu_loss_reference(device_of(engine), a, out);
    kn_ref_sums *of_image = kn_cuda_of(engine)->loss_of_image;
    const double *s = fetch(engine, out, z->n, 4 * z->c);
    for (int i = 0; i < z->n; i++, s += 4 * z->c)
        for (int c = 0; c < z->c; c++) {
            of_image[i].conf[c] = s[c];
            of_image[i].prob[c] = s[z->c + c];
            of_image[i].count[c] = (int64_t)s[2 * z->c + c];
            of_image[i].above[c] = (int64_t)s[3 * z->c + c];
        }
    return of_image;
}

static void unpack_quad(const double *s, int n_classes, kn_quad_sums *sums)
{
    enum { R = KN_N_REGIONS };
    for (int r = 0; r < R; r++) {
        sums->px[r] = (int64_t)s[r];
        sums->right[r] = (int64_t)s[R + r];
        sums->truth[r] = (int64_t)s[2 * R + r];
        sums->ce[r] = s[3 * R + r];
    }
    sums->uc_background_px = (int64_t)s[4 * R];
    sums->uc_background_ce = s[4 * R + 1];
    for (int c = 0; c < n_classes; c++) {
        sums->inter[c] = s[4 * R + 2 + c];
        sums->target[c] = s[4 * R + 2 + n_classes + c];
        sums->pred[c] = s[4 * R + 2 + 2 * n_classes + c];
    }
}

static const kn_quad_sums *partition(kn_engine *engine, const kn_quad_args *args)
{
    const kn_tensor *z = args->z;
    const kn_quad_config *config = args->config;
    kn_cu_sums out = room(engine, z->n, (int64_t)z->h * z->w);
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
                    .dice = config->dice};
    int n_sums = 4 * KN_N_REGIONS + 2 + 3 * z->c;
    to_f32(config->weights, KN_N_REGIONS, a.weights);
    to_f32(config->gamma, z->c, a.gamma);
    if (!out.parts)
        return NULL;
    kn_cu_loss_partition(device_of(engine), a, out);
    kn_quad_sums *of_image = kn_cuda_of(engine)->loss_of_image;
    const double *s = fetch(engine, out, z->n, n_sums);
    memset(of_image, 0, (size_t)z->n * sizeof *of_image);
    for (int i = 0; i < z->n; i++)
        unpack_quad(s + (ptrdiff_t)i * n_sums, z->c, &of_image[i]);
    return of_image;
}

static void gradient(kn_engine *engine, const kn_grad_args *args, const double *z_image,
                     double divisor, double ce_scale)
{
    const kn_tensor *z = args->z;
    kn_cuda *cuda = kn_cuda_of(engine);
    kn_cu_sums out = room(engine, z->n, (int64_t)z->h * z->w);
    if (!out.parts)
        return;
    float *scales = (float *)cuda->loss_host;
    for (int i = 0; i < z->n; i++) {
        double by = z_image ? z_image[i] * z->n : divisor;
        scales[i] = by > 0 ? (float)(ce_scale / by) : 0.0f;
    }
    kn_device_upload(cuda->device, out.sums, scales, (size_t)z->n * sizeof(float));
    kn_cu_grad a = {.z = *z,
                    .dz = *args->dz,
                    .target = args->target,
                    .region = args->region,
                    .dice = args->dice,
                    .accumulate = args->accumulate,
                    .ce_uc_background = (float)args->ce_uc_background,
                    .ce_scale = (const float *)out.sums};
    for (int r = 0; r < KN_N_REGIONS; r++)
        a.weights[r] = (float)(args->weights[r] * args->dice_scale);
    to_f32(args->ce_weights, KN_N_REGIONS, a.ce_weights);
    to_f32(args->dice_a, z->c, a.dice_a);
    to_f32(args->dice_b, z->c, a.dice_b);
    kn_cu_loss_gradient(cuda->device, a);
}

static double mse(kn_engine *engine, const kn_mse_args *args)
{
    const kn_tensor *z = args->z;
    kn_cu_sums out = room(engine, z->n, (int64_t)z->h * z->w);
    kn_cu_mse a = {.z = *z,
                   .z_ref = *args->z_ref,
                   .exclude = args->exclude,
                   .grad_scale = (float)args->grad_scale,
                   .accumulate = args->accumulate};
    if (args->dz)
        a.dz = *args->dz;
    if (!out.parts)
        return 0;
    kn_cu_loss_mse(device_of(engine), a, out);
    const double *s = fetch(engine, out, z->n, 1);
    double sum = 0;
    for (int i = 0; i < z->n; i++)
        sum += s[i];
    return sum;
}

static int64_t count_kept(kn_engine *engine, const uint8_t *exclude, int64_t n)
{
    kn_cu_sums out = room(engine, 1, n);
    if (!out.parts)
        return 0;
    kn_cu_loss_count(device_of(engine), exclude, n, out);
    return (int64_t)fetch(engine, out, 1, 1)[0];
}

static void compare(kn_engine *engine, int which, const void *args, int n_images, int64_t image_px,
                    int n_sums, double *sums)
{
    kn_cu_sums out = room(engine, n_images, image_px);
    if (!out.parts)
        return;
    kn_cu_loss_compare(device_of(engine), which, args, n_images, image_px, n_sums, out);
    if (n_sums == 0)
        return;
    const double *s = fetch(engine, out, n_images, n_sums);
    for (int i = 0; i < n_images; i++)
        for (int k = 0; k < n_sums; k++)
            sums[k] += s[i * n_sums + k];
}

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

const kn_device_loss kn_cuda_loss = {
    .reference = reference,
    .partition = partition,
    .gradient = gradient,
    .mse = mse,
    .count_kept = count_kept,
    .compare = compare,
    .clear = clear,
    .softmax = softmax,
    .argmax = argmax,
};
