/* Choosing between our own tensor core convolution and cuDNN's plans, layer by layer, when a pass
 * is created: cuDNN's heuristics say what there is, all are run in turn on the layer's own shape,
 * and the fastest whose result is our own kernel's is taken (choose.h). The choice goes into the
 * engine's table under the layer's name, so that a resumed run computes the same bits.
 *
 * Only bf16 on both sides with channels in eights is asked for: the first convolution and the head
 * meet f32, where cuDNN might round its operands to TF32. A weight gradient leaves cuDNN as bf16
 * and is added to the master's f32; our own is f32 throughout. */
#include "kernels/cuda/plans.h"

#include "base/report.h"
#include "kernels/engine/bf16.h"
#include "kernels/cuda/choose.h"
#include "kernels/cuda/index.h"

#include <string.h>

enum {
    WORKSPACE_MOST = 64 << 20,
    RUNS = 3,          /* timed as one */
    OUT_MAX = 1 << 22, /* elements of a result that are compared */
};

static const char *const direction_names[] = {"fwd", "bwd_d", "bwd_w"};

/* What differs by rounding: bf16's last place, and f32 sums taken in another order, which leave
 * absolute errors. A slope of LeakyReLU that was ignored is off by 1e-2 of the typical value. */
static const double AGREE_REL = 1.0 / 128, AGREE_ABS = 2e-3, AGREE_ABS_WEIGHTS = 1e-2;

/* One direction with memory to try it on. */
typedef struct {
    kn_engine *engine;
    const kn_conv_spec *spec;
    kn_cu_conv shape;
    kn_cudnn_direction direction;
    kn_cudnn_plan *plans[KN_CANDIDATES_MAX]; /* candidate i; [0] NULL: our own */
    kn_block memory;
    kn_tensor x, y;                         /* source and result, or its gradient */
    float *weight, *bias, *dweight;         /* f32, the master's layout */
    char *own, *own_bwd, *ohwi, *workspace; /* packed both ways; scratch of any candidate */
    float *want;                            /* host: what our own gives, once made */
} trial;

static kn_device *device_of(const trial *t)
{
    return kn_cuda_of(t->engine)->device;
}

static int64_t n_weights(const trial *t)
{
    return (int64_t)t->spec->oc * t->spec->ic * t->spec->k * t->spec->k;
}

/* Places in one block; called twice, first without memory to learn its size. */
static size_t lay_out(trial *t)
{
    const kn_conv_spec *s = t->spec;
    int64_t px = (int64_t)s->n * s->h * s->w;
    int taps = s->k * s->k;
    size_t workspace = kn_cu_mma_bwd_weights_bytes(t->shape), weights = (size_t)n_weights(t);
    for (int i = 1; i < KN_CANDIDATES_MAX; i++)
        if (t->plans[i])
            workspace = MAX(workspace, kn_cudnn_plan_workspace(t->plans[i]));
    struct {
        void *place;
        size_t bytes;
    } parts[] = {{&t->x.data, (size_t)px * (size_t)s->ic * 2},
                 {&t->y.data, (size_t)px * (size_t)s->oc * 2},
                 {&t->weight, weights * sizeof(float)},
                 {&t->dweight, weights * sizeof(float)},
                 {&t->bias, (size_t)s->oc * sizeof(float)},
                 {&t->own, (size_t)kn_conv_packed_n((s->oc + 7) / 8 * 8, taps, s->ic) * 2},
                 {&t->own_bwd, (size_t)kn_conv_packed_n((s->ic + 7) / 8 * 8, taps, s->oc) * 2},
                 {&t->ohwi, weights * 2},
                 {&t->workspace, workspace}};
    size_t offset = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        char *p = t->memory.data ? (char *)t->memory.data + offset : NULL;
        memcpy(parts[i].place, &p, sizeof p);
        offset += kn_round_up(parts[i].bytes, 256);
    }
    return offset;
}

/* Values around 0, of which no two neighbours are alike. */
static void fill(const trial *t, void *dst, int64_t n, bool bf16, unsigned seed)
{
    size_t bytes = (size_t)n * (bf16 ? 2 : 4);
    g_autofree char *host = g_malloc(bytes);
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = ((uint32_t)i + seed) * 2654435761u;
        float f = (float)(u >> 8) / (1 << 23) - 1.0f;
        kn_bf16 rounded = kn_bf16_from_f32(f);
        if (bf16)
            memcpy(host + 2 * i, &rounded, 2);
        else
            memcpy(host + 4 * i, &f, 4);
    }
    kn_device_upload(device_of(t), dst, host, bytes);
    kn_device_wait(device_of(t));
}

static bool trial_open(trial *t)
{
    const kn_conv_spec *s = t->spec;
    t->x = (kn_tensor){.dtype = KN_BF16, .n = s->n, .h = s->h, .w = s->w, .c = s->ic, .ldc = s->ic};
    t->y = (kn_tensor){.dtype = KN_BF16, .n = s->n, .h = s->h, .w = s->w, .c = s->oc, .ldc = s->oc};
    if (!kn_engine_alloc(t->engine, &t->memory, lay_out(t), "trying convolutions", NULL))
        return false;
    lay_out(t);
    fill(t, t->x.data, kn_pixels(&t->x) * s->ic, true, 1);
    fill(t, t->y.data, kn_pixels(&t->y) * s->oc, true, 2);
    fill(t, t->weight, n_weights(t), false, 3);
    fill(t, t->bias, s->oc, false, 4);
    kn_cu_pack pack = {.n = 1};
    pack.items[0] = (kn_cu_pack_item){.weight = t->weight,
                                      .bias = t->bias,
                                      .fwd = t->own,
                                      .bwd = t->own_bwd,
                                      .ohwi = t->ohwi,
                                      .bias_out = t->bias,
                                      .oc = s->oc,
                                      .ic = s->ic,
                                      .taps = s->k * s->k};
    kn_cu_mma_pack(device_of(t), pack);
    return true;
}

static void trial_close(trial *t)
{
    kn_engine_free(t->engine, &t->memory);
    g_free(t->want);
}

static bool run_own(const trial *t)
{
    const float *bias = t->spec->bias ? t->bias : NULL;
    if (t->direction == KN_CUDNN_FWD)
        kn_cu_mma_fwd(device_of(t), t->shape, t->x, t->own, bias, t->y);
    else if (t->direction == KN_CUDNN_BWD_DATA)
        kn_cu_mma_bwd_data(device_of(t), t->shape, t->y, t->own_bwd, t->x);
    else
        kn_cu_mma_bwd_weights(device_of(t), t->shape, t->x, t->y, t->dweight, NULL, t->workspace);
    return true;
}

static bool run_candidate(const trial *t, int i)
{
    kn_cudnn *cudnn = kn_cuda_of(t->engine)->cudnn;
    const float *bias = t->spec->bias ? t->bias : NULL;
    if (!t->plans[i])
        return run_own(t);
    if (t->direction == KN_CUDNN_FWD)
        return kn_cudnn_run(cudnn, t->plans[i], t->x.data, t->ohwi, bias, t->y.data, t->workspace,
                            NULL);
    if (t->direction == KN_CUDNN_BWD_DATA)
        return kn_cudnn_run(cudnn, t->plans[i], t->y.data, t->ohwi, NULL, t->x.data, t->workspace,
                            NULL);
    if (!kn_cudnn_run(cudnn, t->plans[i], t->x.data, t->y.data, NULL, t->ohwi, t->workspace, NULL))
        return false;
    kn_cu_ohwi_add(device_of(t), t->shape, t->ohwi, t->dweight);
    return true;
}

static double time_candidate(void *user, int i)
{
    const trial *t = user;
    kn_device_timer_start(device_of(t));
    for (int r = 0; r < RUNS; r++)
        if (!run_candidate(t, i))
            return -1;
    return kn_device_timer_stop(device_of(t));
}

/* What candidate i gives on fresh operands, as f32 on the host, at most OUT_MAX values. */
static float *result_of(const trial *t, int i, int64_t *n)
{
    bool weights = t->direction == KN_CUDNN_BWD_WEIGHTS;
    const kn_tensor *out = t->direction == KN_CUDNN_FWD ? &t->y : &t->x;
    *n = MIN(weights ? n_weights(t) : kn_pixels(out) * out->c, OUT_MAX);
    float *f = g_new(float, (gsize)*n);
    kn_device_clear(device_of(t), t->dweight, (size_t)n_weights(t) * sizeof(float));
    if (!weights) /* what a plan leaves unwritten must not pass for a result */
        kn_device_clear(device_of(t), out->data, (size_t)(kn_pixels(out) * out->c) * 2);
    if (!run_candidate(t, i)) {
        g_free(f);
        return NULL;
    }
    if (weights) {
        kn_device_download(device_of(t), f, t->dweight, (size_t)*n * sizeof(float));
        return f;
    }
    g_autofree kn_bf16 *half = g_new(kn_bf16, (gsize)*n);
    kn_device_download(device_of(t), half, out->data, (size_t)*n * sizeof *half);
    for (int64_t k = 0; k < *n; k++)
        f[k] = kn_bf16_to_f32(half[k]);
    return f;
}

static bool right_candidate(void *user, int i)
{
    trial *t = user;
    int64_t n;
    if (!t->want)
        t->want = result_of(t, 0, &n);
    g_autofree float *got = result_of(t, i, &n);
    bool weights = t->direction == KN_CUDNN_BWD_WEIGHTS;
    bool right =
        got && kn_agrees(got, t->want, n, AGREE_REL, weights ? AGREE_ABS_WEIGHTS : AGREE_ABS);
    if (!right)
        qs_debug("%s: cuDNN's plan %s for %s does not give our kernel's result: not used",
                 t->spec->name, kn_cudnn_plan_name(t->plans[i]), direction_names[t->direction]);
    return right;
}

/* ---- the choice ----------------------------------------------------------------------------- */

static bool suits(const kn_engine *engine, const kn_conv_spec *s)
{
    return kn_cuda_of(engine)->cudnn && engine->act == KN_BF16 && s->src_type == KN_BF16 &&
           s->dst_type == KN_BF16 && s->ic % 8 == 0 && s->oc % 8 == 0 && (s->bias || !s->leaky);
}

static void warn_gone(const kn_conv_spec *s, const char *name)
{
    qs_warn(
        "%s: the run had cuDNN's plan %s, which is not to be had here: chosen again, so last bits "
        "may differ",
        s->name, name);
}

/* Of an earlier run. */
static bool try_known(trial *t, const kn_cudnn_shape *shape, const char *known)
{
    const char *name = known && g_str_has_prefix(known, "cudnn:") ? known + strlen("cudnn:") : NULL;
    if (!name)
        return false;
    t->plans[1] = kn_cudnn_plan_named(kn_cuda_of(t->engine)->cudnn, shape, t->direction, name);
    if (t->plans[1] && trial_open(t) && right_candidate(t, 1)) {
        trial_close(t);
        return true;
    }
    trial_close(t);
    kn_cudnn_plan_destroy(t->plans[1]);
    t->plans[1] = NULL;
    t->want = NULL;
    warn_gone(t->spec, name);
    return false;
}

/* Among what cuDNN offers; the index of the one that is kept, 0 our own. */
static int try_all(trial *t, const kn_cudnn_shape *shape)
{
    int n = kn_cudnn_plans(kn_cuda_of(t->engine)->cudnn, shape, t->direction, WORKSPACE_MOST,
                           t->plans + 1, KN_CANDIDATES_MAX - 1);
    kn_choice choice = {.n = n + 1, .user = t, .time = time_candidate, .right = right_candidate};
    int best = n > 0 && trial_open(t) ? kn_choose(&choice) : 0;
    trial_close(t);
    for (int i = 1; i <= n; i++)
        if (i != best)
            kn_cudnn_plan_destroy(t->plans[i]);
    return best;
}

kn_cudnn_plan *kn_cuda_plan_for(kn_engine *engine, const kn_conv_spec *spec, kn_cu_conv shape,
                                kn_cudnn_direction direction)
{
    bool forward = direction == KN_CUDNN_FWD;
    kn_cudnn_shape asked = {.n = spec->n,
                            .h = spec->h,
                            .w = spec->w,
                            .ic = spec->ic,
                            .oc = spec->oc,
                            .k = spec->k,
                            .io = KN_BF16,
                            .epilogue = forward && spec->bias,
                            .leaky = forward && spec->leaky};
    trial t = {.engine = engine, .spec = spec, .shape = shape, .direction = direction};
    /* Passes of one engine differ in their images and, for prediction, in a folded BatchNorm. */
    g_autofree char *key =
        g_strdup_printf("%s:%s:%dx%dx%d%s", spec->name, direction_names[direction], spec->n,
                        spec->h, spec->w, asked.leaky ? ":leaky" : "");
    const char *known = g_hash_table_lookup(engine->choices, key);
    if (!suits(engine, spec) || (known && g_str_equal(known, "mma"))) {
        if (known && g_str_has_prefix(known, "cudnn:"))
            warn_gone(spec, known + strlen("cudnn:"));
        return NULL;
    }
    if (try_known(&t, &asked, known))
        return t.plans[1];
    int best = try_all(&t, &asked);
    char *name =
        best ? g_strconcat("cudnn:", kn_cudnn_plan_name(t.plans[best]), NULL) : g_strdup("mma");
    g_hash_table_insert(engine->choices, g_steal_pointer(&key), name);
    return best ? t.plans[best] : NULL;
}
