/* Flat master weights: one block, PyTorch's order and layout, single-pass SGD and EMA. */
#include "kernels/net/weights_priv.h"

#include "base/error.h"
#include "base/rng.h"

#include <math.h>

void kn_weights_touch(kn_weights *weights, bool params, bool buffers)
{
    if (params)
        weights->params_version = ++weights->engine->clock;
    if (buffers)
        weights->buffers_version = ++weights->engine->clock;
}

kn_weights *kn_weights_create(kn_engine *engine, const kn_net *net, kn_optimiser optimiser,
                              GError **error)
{
    static const size_t n_arrays[] = {1, 3, 4}; /* of the parameters' size */

    size_t size = kn_dtype_bytes(kn_engine_dtype(engine));
    size_t params = kn_round_up((size_t)kn_net_n_trained(net) * size, KN_ALIGN);
    size_t buffers = kn_round_up((size_t)kn_net_n_buffers(net) * size, KN_ALIGN);
    kn_weights *weights = g_new0(kn_weights, 1);
    weights->engine = engine;
    weights->net = net;
    if (!kn_engine_alloc(engine, &weights->block, n_arrays[optimiser] * params + buffers,
                         "the network's weights", error)) {
        g_free(weights);
        return NULL;
    }
    char *at = weights->block.data;
    weights->params = at;
    weights->buffers = at + params;
    if (optimiser != KN_OPTIMISER_NONE) {
        weights->grads = at + params + buffers;
        weights->momentum = at + 2 * params + buffers;
    }
    if (optimiser == KN_OPTIMISER_ADAM)
        weights->second = at + 3 * params + buffers;
    kn_weights_touch(weights, true, true);
    return weights;
}

void kn_weights_destroy(kn_weights *weights)
{
    if (!weights)
        return;
    kn_engine_free(weights->engine, &weights->block);
    g_free(weights);
}

const kn_net *kn_weights_net(const kn_weights *weights)
{
    return weights->net;
}

static void *array_of(const kn_weights *weights, kn_array array)
{
    switch (array) {
    case KN_ARRAY_PARAMS:
        return weights->params;
    case KN_ARRAY_BUFFERS:
        return weights->buffers;
    case KN_ARRAY_GRADS:
        return weights->grads;
    case KN_ARRAY_MOMENTUM:
        return weights->momentum;
    case KN_ARRAY_SECOND:
        return weights->second;
    }
    return NULL;
}

bool kn_weights_has(const kn_weights *weights, kn_array array)
{
    return array_of(weights, array) != NULL;
}

static int64_t array_length(const kn_weights *weights, kn_array array)
{
    return array == KN_ARRAY_BUFFERS ? kn_net_n_buffers(weights->net)
                                     : kn_net_n_trained(weights->net);
}

void kn_weights_get(const kn_weights *weights, kn_array array, int64_t offset, int64_t n,
                    float *dst)
{
    const void *src = array_of(weights, array);
    g_return_if_fail(src && offset >= 0 && n >= 0 && offset + n <= array_length(weights, array));
    if (kn_engine_dtype(weights->engine) == KN_F32) {
        kn_engine_download(weights->engine, dst, (const float *)src + offset,
                           (size_t)n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = (float)((const double *)src)[offset + i];
}

void kn_weights_set(kn_weights *weights, kn_array array, int64_t offset, int64_t n,
                    const float *src)
{
    void *dst = array_of(weights, array);
    g_return_if_fail(dst && offset >= 0 && n >= 0 && offset + n <= array_length(weights, array));
    if (kn_engine_dtype(weights->engine) == KN_F32)
        kn_engine_upload(weights->engine, (float *)dst + offset, src, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n && kn_engine_dtype(weights->engine) == KN_F64; i++)
        ((double *)dst)[offset + i] = (double)src[i];
    kn_weights_touch(weights, array == KN_ARRAY_PARAMS, array == KN_ARRAY_BUFFERS);
}

/* A parameter's elements at the start. Only weights of convolutions have more than one dimension.
 */
static void draw_param(const kn_param *p, kn_init init, qs_rng *rng, float *x)
{
    bool one = g_str_has_suffix(p->name, p->kind == KN_PARAM ? ".weight" : ".running_var");
    double bound = p->fan_in > 0 ? 1.0 / sqrt((double)p->fan_in) : 0;
    double sigma = 0;
    if (init != KN_INIT_PYTORCH && p->n_dims > 1) {
        /* Both fans are PyTorch's: of a transposed convolution the first dimension is "out" too. */
        double fan_out = (double)p->fan_in * (double)p->shape[0] / (double)p->shape[1];
        sigma = sqrt(2.0 / ((double)p->fan_in + (init == KN_INIT_XAVIER ? fan_out : 0)));
    }
    for (int64_t j = 0; j < p->n; j++)
        x[j] = sigma > 0       ? (float)(sigma * qs_rng_normal(rng))
               : p->fan_in > 0 ? (float)qs_rng_range(rng, -bound, bound)
               : one           ? 1.0f
                               : 0.0f;
}

void kn_weights_init(kn_weights *weights, uint64_t seed)
{
    kn_weights_draw(weights, KN_INIT_PYTORCH, seed);
}

void kn_weights_draw(kn_weights *weights, kn_init init, uint64_t seed)
{
    const kn_net *net = weights->net;
    for (int i = 0; i < kn_net_n_params(net); i++) {
        const kn_param *p = kn_net_param(net, i);
        g_autofree float *x = g_new(float, p->n);
        qs_rng rng;
        qs_rng_init(&rng, seed, qs_rng_stream_id(0x696e6974, (uint64_t)i, 0));
        draw_param(p, init, &rng, x);
        kn_weights_set(weights, p->kind == KN_PARAM ? KN_ARRAY_PARAMS : KN_ARRAY_BUFFERS, p->offset,
                       p->n, x);
    }
    const kn_ops *ops = kn_engine_ops(weights->engine);
    if (weights->grads) {
        ops->zero(weights->engine, weights->grads, kn_net_n_trained(net));
        ops->zero(weights->engine, weights->momentum, kn_net_n_trained(net));
    }
    if (weights->second)
        ops->zero(weights->engine, weights->second, kn_net_n_trained(net));
    weights->batches_tracked = 0;
}

int64_t kn_weights_batches_tracked(const kn_weights *weights)
{
    return weights->batches_tracked;
}

void kn_weights_set_batches_tracked(kn_weights *weights, int64_t n)
{
    weights->batches_tracked = n;
}

void kn_weights_zero_grads(kn_weights *weights)
{
    g_return_if_fail(weights->grads);
    kn_engine_ops(weights->engine)
        ->zero(weights->engine, weights->grads, kn_net_n_trained(weights->net));
}

double kn_weights_clip(kn_weights *weights, double max)
{
    int64_t n = kn_net_n_trained(weights->net);
    bool wide = kn_engine_dtype(weights->engine) == KN_F64;
    g_return_val_if_fail(weights->grads && !kn_engine_is_device(weights->engine), NAN);
    float *narrow_at = weights->grads;
    double *wide_at = weights->grads, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double g = wide ? wide_at[i] : (double)narrow_at[i];
        sum += g * g;
    }
    double norm = sqrt(sum), scale = max / (norm + 1e-6);
    for (int64_t i = 0; i < n && scale < 1; i++) {
        if (wide)
            wide_at[i] *= scale;
        else
            narrow_at[i] = (float)((double)narrow_at[i] * scale);
    }
    return norm;
}

void kn_sgd_step(kn_weights *weights, double lr, double momentum, double weight_decay)
{
    g_return_if_fail(weights->grads);
    kn_engine_ops(weights->engine)
        ->sgd(weights->engine, weights->params, weights->grads, weights->momentum,
              kn_net_n_trained(weights->net), lr, momentum, weight_decay);
    kn_weights_touch(weights, true, false);
}

void kn_adam_step(kn_weights *weights, double lr, double weight_decay, int64_t t)
{
    g_return_if_fail(weights->second && t >= 1);
    kn_engine_ops(weights->engine)
        ->adam(weights->engine, weights->params, weights->grads, weights->momentum, weights->second,
               kn_net_n_trained(weights->net), lr, weight_decay, t);
    kn_weights_touch(weights, true, false);
}

void kn_weights_copy(kn_weights *to, const kn_weights *from)
{
    g_return_if_fail(to->engine == from->engine && to->net == from->net);
    const kn_ops *ops = kn_engine_ops(to->engine);
    int64_t n = kn_net_n_trained(to->net);
    ops->copy(to->engine, to->params, from->params, n);
    ops->copy(to->engine, to->buffers, from->buffers, kn_net_n_buffers(to->net));
    if (to->momentum && from->momentum)
        ops->copy(to->engine, to->momentum, from->momentum, n);
    if (to->second && from->second)
        ops->copy(to->engine, to->second, from->second, n);
    to->batches_tracked = from->batches_tracked;
    kn_weights_touch(to, true, true);
}

void kn_ema_update(kn_weights *teacher, const kn_weights *student, double alpha, bool with_buffers)
{
    const kn_ops *ops = kn_engine_ops(teacher->engine);
    ops->ema(teacher->engine, teacher->params, student->params, kn_net_n_trained(teacher->net),
             alpha);
    if (with_buffers)
        ops->ema(teacher->engine, teacher->buffers, student->buffers,
                 kn_net_n_buffers(teacher->net), alpha);
    kn_weights_touch(teacher, true, with_buffers);
}

void kn_sgd_ema_step(kn_weights *student, kn_weights *teacher, double lr, double momentum,
                     double weight_decay, double alpha, bool with_buffers)
{
    const kn_ops *ops = kn_engine_ops(student->engine);
    g_return_if_fail(student->grads && student != teacher);
    if (!ops->sgd_ema) {
        kn_sgd_step(student, lr, momentum, weight_decay);
        kn_ema_update(teacher, student, alpha, with_buffers);
        return;
    }
    ops->sgd_ema(student->engine, student->params, student->grads, student->momentum,
                 teacher->params, kn_net_n_trained(student->net), lr, momentum, weight_decay,
                 alpha);
    if (with_buffers)
        ops->ema(teacher->engine, teacher->buffers, student->buffers,
                 kn_net_n_buffers(teacher->net), alpha);
    kn_weights_touch(student, true, false);
    kn_weights_touch(teacher, true, with_buffers);
}
