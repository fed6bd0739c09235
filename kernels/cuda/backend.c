/* The CUDA backend's table: ops.h's calls, handed to the kernels of launch.h. Parameters,
 * statistics, logits and their gradient are f32; the activations inside a pass are bf16 or f32
 * (engine->act). Calls return when the work is on the stream; errors stick to the device and come
 * out where the engine waits anyway (kn_engine_check). */
#include "kernels/cuda/cuda.h"

#include "base/error.h"
#include "base/report.h"
#include "kernels/cuda/cuda_priv.h"
#include "kernels/cuda/cudnn_plan.h"

#include <math.h>
#include <string.h>

static kn_device *device_of(const kn_engine *engine)
{
    return kn_cuda_of(engine)->device;
}

/* ---- ops
 * ----------------------------------------------------------------------------------------- */

kn_cu_norm kn_cuda_norm_of(const kn_norm *n)
{
    uint32_t threshold = n->dropout > 0 ? kn_dropout_threshold(n->dropout) : 0;
    return (kn_cu_norm){
        .channels = n->channels,
        .gamma = n->gamma,
        .beta = n->beta,
        .dgamma = n->dgamma,
        .dbeta = n->dbeta,
        .running_mean = n->running_mean,
        .running_var = n->running_var,
        .conv_bias = n->conv_bias,
        .mean = n->mean,
        .inv_std = n->inv_std,
        .slope = (float)n->slope,
        .threshold = threshold,
        .scale = (float)kn_dropout_scale(n->dropout),
        .stream = n->stream,
        .stream_at = n->stream_at,
        .layer = n->layer,
    };
}

static void norm_stats(kn_engine *engine, const kn_tensor *x, const kn_norm *norm)
{
    kn_cu_norm_stats(device_of(engine), *x, kn_cuda_norm_of(norm), kn_cuda_of(engine)->partials);
}

static void norm_apply(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                       const kn_tensor *y)
{
    kn_cu_norm_apply(device_of(engine), *x, kn_cuda_norm_of(norm), *y);
}

static void norm_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                     const kn_norm *norm, const kn_tensor *dx)
{
    kn_cu_norm_bwd(device_of(engine), *dy, *x, kn_cuda_norm_of(norm), *dx,
                   kn_cuda_of(engine)->partials);
}

static void pool_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y,
                     const kn_tensor *copy)
{
    kn_cu_pool_fwd(device_of(engine), *x, *y, copy ? *copy : (kn_tensor){.data = NULL});
}

static void pool_bwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy,
                     const kn_tensor *dx)
{
    kn_cu_pool_bwd(device_of(engine), *x, *dy, *dx);
}

static void upsample_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    kn_cu_upsample_fwd(device_of(engine), *x, *y);
}

static void upsample_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    kn_cu_upsample_bwd(device_of(engine), *dy, *dx);
}

static void sgd(kn_engine *engine, void *theta, const void *grad, void *momentum, int64_t n,
                double lr, double m, double wd)
{
    kn_cu_sgd(device_of(engine), theta, grad, momentum, n, (float)lr, NULL, (float)m, (float)wd);
}

static void ema(kn_engine *engine, void *teacher, const void *student, int64_t n, double alpha)
{
    kn_cu_ema(device_of(engine), teacher, student, n, (float)alpha, NULL);
}

static void sgd_ema(kn_engine *engine, void *theta, const void *grad, void *momentum, void *teacher,
                    int64_t n, double lr, double m, double wd, double alpha)
{
    kn_cu_sgd_ema(device_of(engine), theta, grad, momentum, teacher, n, (float)lr, (float)m,
                  (float)wd, (float)alpha);
}

static void zero(kn_engine *engine, void *x, int64_t n)
{
    kn_device_clear(device_of(engine), x, (size_t)n * sizeof(float));
}

static void fold(kn_engine *engine, int oc, int64_t per_oc, const kn_fold *from, void *weight,
                 void *bias)
{
    kn_cu_fold(device_of(engine), oc, per_oc, from->weight, from->bias, from->gamma, from->beta,
               from->running_mean, from->running_var, weight, bias);
}

static void adam(kn_engine *engine, void *theta, const void *grad, void *mean, void *square,
                 int64_t n, double lr, double wd, int64_t t)
{
    kn_cu_adam(device_of(engine), theta, grad, mean, square, n, (float)lr, (float)wd,
               (float)(1 / (1 - pow(KN_ADAM_BETA1, (double)t))),
               (float)(1 / (1 - pow(KN_ADAM_BETA2, (double)t))));
}

static void copy(kn_engine *engine, void *to, const void *from, int64_t n)
{
    kn_device_copy(device_of(engine), to, from, (size_t)n * sizeof(float));
}

static void clear_tensor(kn_engine *engine, const kn_tensor *t)
{
    kn_device_clear(device_of(engine), t->data,
                    (size_t)kn_pixels(t) * (size_t)t->ldc * kn_dtype_bytes(t->dtype));
}

/* ---- features and predictions ---------------------------------------------------------------- */

static kn_cu_perturb perturb_of(const kn_perturb *how)
{
    bool drops = how->kind == KN_PERTURB_DROPOUT;
    return (kn_cu_perturb){
        .kind = (int)how->kind,
        .lo = (float)how->lo,
        .hi = (float)how->hi,
        .threshold = drops ? kn_dropout_threshold(how->lo) : 0,
        .scale = drops ? (float)kn_dropout_scale(how->lo) : 1,
        .stream = how->stream,
        .layer = how->layer,
    };
}

/* A limit an image: the partial sums' place, which has room for any batch (pass.c: 65,536). */
static float *limits_of(kn_engine *engine)
{
    return (float *)kn_cuda_of(engine)->partials;
}

static void perturb_fwd(kn_engine *engine, const kn_tensor *x, const kn_perturb *how,
                        const kn_tensor *y)
{
    kn_cu_perturb_fwd(device_of(engine), *x, perturb_of(how), *y, limits_of(engine));
}

static void perturb_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                        const kn_perturb *how, const kn_tensor *dx)
{
    kn_cu_perturb_bwd(device_of(engine), *dy, x ? *x : *dy, perturb_of(how), *dx,
                      limits_of(engine));
}

static void repeat_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    kn_cu_repeat_fwd(device_of(engine), *x, *y);
}

static void repeat_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    kn_cu_repeat_bwd(device_of(engine), *dy, *dx);
}

static void spread_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    kn_cu_spread(device_of(engine), *x, *y, 0);
}

static void spread_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    kn_cu_spread(device_of(engine), *dx, *dy, 1);
}

static void transposed_pack(kn_engine *engine, int ic, int oc, const void *weight, const void *bias,
                            void *weight1, void *bias1)
{
    kn_cu_transposed_pack(device_of(engine), ic, oc, weight, bias, weight1, bias1);
}

static void transposed_unpack(kn_engine *engine, int ic, int oc, const void *dweight1,
                              const void *dbias1, void *dweight, void *dbias)
{
    kn_cu_transposed_unpack(device_of(engine), ic, oc, dweight1, dbias1, dweight, dbias);
}

static void mean_prob(kn_engine *engine, const kn_tensor *z, int k, int n, const kn_tensor *acc)
{
    kn_cu_mean_prob(device_of(engine), *z, k, n, *acc);
}

static void paste(kn_engine *engine, const kn_tensor *outer, const kn_tensor *inner, kn_box box,
                  const kn_tensor *dst)
{
    kn_cu_paste(device_of(engine), *outer, *inner, box.x0, box.y0, box.x1, box.y1, *dst);
}

static void relabel(kn_engine *engine, const kn_tensor *z, const uint8_t *y)
{
    kn_cu_relabel(device_of(engine), *z, y);
}

/* ---- blending -------------------------------------------------------------------------------- */

static kn_cu_blend blend_of(const kn_blend *b)
{
    return (kn_cu_blend){b->w, b->window, b->classes, b->acc, b->weights, b->bad};
}

static void blend_add(kn_engine *engine, const kn_blend *blend, const kn_tensor *z,
                      const kn_tensor *second, int first, int n, const int64_t *x, int64_t y,
                      int n_rows)
{
    G_STATIC_ASSERT((int)KN_BLEND_MAX == (int)KN_CU_BLEND_MAX);
    kn_cu_places places;
    memset(&places, 0, sizeof places); /* compared as bytes (program.h) */
    places.n = n;
    places.y = y;
    for (int k = 0; k < n; k++)
        places.x[k] = x[k];
    kn_cu_blend_add(device_of(engine), blend_of(blend), kn_tensor_images(z, first, n),
                    second ? kn_tensor_images(second, first, n) : (kn_tensor){.data = NULL}, places,
                    n_rows);
}

static void blend_take(kn_engine *engine, const kn_blend *blend, int slot, int n, uint8_t *label,
                       float *prob)
{
    kn_cu_blend_take(device_of(engine), blend_of(blend), slot, n, label, prob);
}

/* ---- images ---------------------------------------------------------------------------------- */

static void images_weak(kn_engine *engine, const kn_images *images)
{
    kn_cu_weak(device_of(engine), *images);
}

static void images_strong(kn_engine *engine, const kn_images *images)
{
    kn_cu_strong(device_of(engine), *images);
}

static void images_input(kn_engine *engine, const kn_images *images, const uint8_t *rgb,
                         const kn_view *views, double sigma, uint64_t seed, uint64_t stream,
                         const kn_tensor *dst)
{
    kn_cu_input(device_of(engine), *images, rgb, views, (float)sigma, seed, stream, *dst);
}

static void images_mixed(kn_engine *engine, const kn_images *images, const kn_view *views, int n,
                         const kn_planes *planes)
{
    kn_cu_mixed_planes(device_of(engine), *images, views, n, *planes);
}

static void images_whole(kn_engine *engine, const kn_images *images, uint8_t *both, uint8_t *held)
{
    kn_cu_whole_planes(device_of(engine), *images, both, held);
}

static const kn_ops OPS = {
    .name = "cuda",
    .dtype = KN_F32,
    .folds_bias = true,
    .conv_create = kn_cuda_conv_create,
    .conv_destroy = kn_cuda_conv_destroy,
    .conv_needs = kn_cuda_conv_needs,
    .conv_describe = kn_cuda_conv_describe,
    .conv_pack = kn_cuda_conv_pack,
    .conv_pack_all = kn_cuda_conv_pack_all,
    .conv_fwd = kn_cuda_conv_fwd,
    .conv_bwd_data = kn_cuda_conv_bwd_data,
    .conv_bwd_weights = kn_cuda_conv_bwd_weights,
    .conv_takes = kn_cuda_conv_takes,
    .conv_fwd_stats = kn_cuda_conv_fwd_stats,
    .norm_stats = norm_stats,
    .norm_apply = norm_apply,
    .norm_bwd = norm_bwd,
    .pool_fwd = pool_fwd,
    .pool_bwd = pool_bwd,
    .upsample_fwd = upsample_fwd,
    .upsample_bwd = upsample_bwd,
    .sgd = sgd,
    .ema = ema,
    .sgd_ema = sgd_ema,
    .zero = zero,
    .copy = copy,
    .adam = adam,
    .clear = clear_tensor,
    .perturb_fwd = perturb_fwd,
    .perturb_bwd = perturb_bwd,
    .repeat_fwd = repeat_fwd,
    .repeat_bwd = repeat_bwd,
    .spread_fwd = spread_fwd,
    .spread_bwd = spread_bwd,
    .transposed_pack = transposed_pack,
    .transposed_unpack = transposed_unpack,
    .mean_prob = mean_prob,
    .paste = paste,
    .relabel = relabel,
    .blend_add = blend_add,
    .blend_take = blend_take,
    .fold = fold,
    .images_weak = images_weak,
    .images_strong = images_strong,
    .images_input = images_input,
    .images_mixed = images_mixed,
    .images_whole = images_whole,
    .peak = kn_cuda_peak,
};

/* ---- memory
 * -------------------------------------------------------------------------------------- */

static bool alloc(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                  GError **error)
{
    *block = (kn_block){NULL, 0};
    if (!kn_device_alloc(device_of(engine), &block->data, bytes, what, error))
        return false;
    block->bytes = bytes;
    return true;
}

static void release(kn_engine *engine, kn_block *block)
{
    kn_device_free(device_of(engine), block->data);
    *block = (kn_block){NULL, 0};
}

static bool host_alloc(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                       GError **error)
{
    *block = (kn_block){NULL, 0};
    if (!kn_device_host_alloc(device_of(engine), &block->data, bytes, what, error))
        return false;
    block->bytes = bytes;
    return true;
}

static void host_free(kn_engine *engine, kn_block *block)
{
    kn_device_host_free(device_of(engine), block->data);
    *block = (kn_block){NULL, 0};
}

static void upload(kn_engine *engine, void *dst, const void *src, size_t bytes)
{
    kn_device_upload(device_of(engine), dst, src, bytes);
}

static void download(kn_engine *engine, void *dst, const void *src, size_t bytes)
{
    kn_device_download(device_of(engine), dst, src, bytes);
}

static void fetch(kn_engine *engine, void *dst, const void *src, size_t bytes)
{
    kn_device_fetch(device_of(engine), dst, src, bytes);
}

static void on_host(kn_engine *engine, void (*fn)(void *user), void *user)
{
    kn_device_host(device_of(engine), fn, user);
}

static void clear(kn_engine *engine, void *dst, size_t bytes)
{
    kn_device_clear(device_of(engine), dst, bytes);
}

static bool check(kn_engine *engine, GError **error)
{
    return kn_device_check(device_of(engine), error);
}

static bool peek(kn_engine *engine, GError **error)
{
    return kn_device_peek(device_of(engine), error);
}

static void begin(kn_engine *engine)
{
    if (kn_cuda_of(engine)->graphs)
        kn_program_begin(kn_device_program(device_of(engine)));
}

static void end(kn_engine *engine)
{
    kn_program_end(kn_device_program(device_of(engine)));
}

static uint64_t mark(kn_engine *engine)
{
    return kn_device_mark(device_of(engine));
}

static void await(kn_engine *engine, uint64_t at)
{
    kn_device_await(device_of(engine), at);
}

static int64_t bytes_free(kn_engine *engine)
{
    return kn_device_free_bytes(device_of(engine));
}

static const kn_device_memory MEMORY = {
    .alloc = alloc,
    .free = release,
    .host_alloc = host_alloc,
    .host_free = host_free,
    .upload = upload,
    .download = download,
    .fetch = fetch,
    .on_host = on_host,
    .clear = clear,
    .check = check,
    .peek = peek,
    .begin = begin,
    .end = end,
    .mark = mark,
    .await = await,
    .bytes_free = bytes_free,
};

/* ---- opening
 * ------------------------------------------------------------------------------------- */

static void cuda_close(kn_engine *engine)
{
    kn_cuda *cuda = engine->state;
    if (cuda && cuda->device) {
        kn_engine_free(engine, &cuda->loss);
        kn_engine_free(engine, &cuda->kept);
        kn_engine_free(engine, &cuda->count);
        kn_engine_free(engine, &cuda->numbers);
        kn_cudnn_close(cuda->cudnn);
        kn_device_free(cuda->device, cuda->partials);
        kn_device_close(cuda->device);
    }
    g_free(cuda);
    engine->state = NULL;
}

/* cuDNN for bf16 where convolutions are chosen by timing: direct is the reference mode, f32 is for
 * checking. Its absence is said and harmless. */
static char *open_cudnn(kn_engine *engine)
{
    kn_cuda *cuda = kn_cuda_of(engine);
    g_autoptr(GError) error = NULL;
    if (engine->act != KN_BF16 || engine->conv_mode != KN_CONV_AUTO || kn_disabled("cudnn"))
        return g_strdup("own convolutions");
    cuda->cudnn = kn_cudnn_open(cuda->device, &error);
    if (!cuda->cudnn) {
        qs_debug("%s", error->message);
        return g_strdup("own convolutions, no cuDNN");
    }
    int version = kn_cudnn_version(cuda->cudnn);
    return g_strdup_printf("cuDNN %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

static bool cuda_open(kn_engine *engine, GError **error)
{
    kn_cuda *cuda = g_new0(kn_cuda, 1);
    void *partials = NULL;
    engine->state = cuda;
    cuda->device = kn_device_open(0, error);
    if (!cuda->device ||
        !kn_device_alloc(cuda->device, &partials, kn_cu_partials_bytes(KN_CHANNELS_MAX),
                         "the engine's partial sums", error))
        return false;
    cuda->partials = partials;
    cuda->graphs = !kn_disabled("graph");
    engine->bytes += (int64_t)kn_cu_partials_bytes(KN_CHANNELS_MAX);
    engine->act = engine->precision == KN_PRECISION_F32 ? KN_F32 : KN_BF16;
    const kn_device_info *info = kn_device_get_info(cuda->device);
    g_autofree char *convolutions = open_cudnn(engine);
    engine->description =
        g_strdup_printf("cuda: %s, sm_%d, %.1f GiB, CUDA %d.%d, %s, %s%s", info->name, info->sm,
                        (double)info->bytes / (1 << 30), info->runtime_version / 1000,
                        info->runtime_version % 1000 / 10, engine->act == KN_BF16 ? "bf16" : "f32",
                        convolutions, cuda->graphs ? "" : ", no graphs");
    return true;
}

static const kn_backend kn_backend_cuda = {
    .name = "cuda",
    .ops = &OPS,
    .open = cuda_open,
    .close = cuda_close,
    .memory = &MEMORY,
    .loss = &kn_cuda_loss,
};

void kn_cuda_register(void)
{
    kn_engine_add_backend(&kn_backend_cuda);
}
