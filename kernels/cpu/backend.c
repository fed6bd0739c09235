/* The CPU backend's table, and which of the compiled passes this machine runs. ONEDNN_MAX_CPU_ISA
 * holds oneDNN down and our passes with it; QS_DISABLE=x86-64-v4,x86-64-v3 only our passes. */
#include "kernels/cpu/cpu_priv.h"

#include "base/error.h"

#include <string.h>

static void cpu_sgd(kn_engine *engine, void *theta, const void *grad, void *momentum, int64_t n,
                    double lr, double m, double wd)
{
    kn_cpu_of(engine)->passes->sgd(theta, grad, momentum, n, (float)lr, (float)m, (float)wd);
}

static void cpu_ema(kn_engine *engine, void *teacher, const void *student, int64_t n, double alpha)
{
    kn_cpu_of(engine)->passes->ema(teacher, student, n, (float)alpha);
}

static void cpu_zero(kn_engine *engine, void *x, int64_t n)
{
    (void)engine;
    memset(x, 0, (size_t)n * sizeof(float));
}

/* A bit an element (dropout.inc). */
static size_t cpu_norm_mask_bytes(int64_t pixels, int channels)
{
    return channels % 16 ? 0 : (size_t)pixels * (size_t)channels / 8;
}

/* The passes that were compiled several times go through the engine's choice. */
static void cpu_norm_stats(kn_engine *engine, const kn_tensor *x, const kn_norm *norm)
{
    kn_cpu_passes(engine, x)->norm_stats(engine, x, norm);
}

static void cpu_norm_apply(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                           const kn_tensor *y)
{
    kn_cpu_passes(engine, x)->norm_apply(engine, x, norm, y);
}

static void cpu_norm_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                         const kn_norm *norm, const kn_tensor *dx)
{
    kn_cpu_passes(engine, x)->norm_bwd(engine, dy, x, norm, dx);
}

static void cpu_norm_bwd_sums(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                              const kn_norm *norm)
{
    kn_cpu_passes(engine, x)->norm_bwd_sums(engine, dy, x, norm);
}

static void cpu_norm_bwd_apply(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                               const kn_norm *norm, const kn_tensor *dx)
{
    kn_cpu_passes(engine, x)->norm_bwd_apply(engine, dy, x, norm, dx);
}

static void cpu_pool_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y,
                         const kn_tensor *copy)
{
    kn_cpu_passes(engine, x)->pool_fwd(engine, x, y, copy);
}

static void cpu_pool_bwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *dy,
                         const kn_tensor *dx)
{
    kn_cpu_passes(engine, x)->pool_bwd(engine, x, dy, dx);
}

static void cpu_norm_apply_pool(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                                const kn_tensor *y, const kn_tensor *pooled)
{
    kn_cpu_passes(engine, x)->norm_apply_pool(engine, x, norm, y, pooled);
}

static void cpu_pool_bwd_sums(kn_engine *engine, const kn_tensor *x, const kn_norm *norm,
                              const kn_tensor *dy, const kn_tensor *dx)
{
    kn_cpu_passes(engine, x)->pool_bwd_sums(engine, x, norm, dy, dx);
}

static void cpu_upsample_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    kn_cpu_passes(engine, x)->upsample_fwd(engine, x, y);
}

static void cpu_upsample_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    kn_cpu_passes(engine, dx)->upsample_bwd(engine, dy, dx);
}

static void cpu_perturb_fwd(kn_engine *engine, const kn_tensor *x, const kn_perturb *how,
                            const kn_tensor *y)
{
    kn_cpu_passes(engine, x)->perturb_fwd(engine, x, how, y);
}

static void cpu_perturb_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *x,
                            const kn_perturb *how, const kn_tensor *dx)
{
    kn_cpu_passes(engine, dx)->perturb_bwd(engine, dy, x, how, dx);
}

static void cpu_spread_fwd(kn_engine *engine, const kn_tensor *x, const kn_tensor *y)
{
    kn_cpu_passes(engine, x)->spread_fwd(engine, x, y);
}

static void cpu_spread_bwd(kn_engine *engine, const kn_tensor *dy, const kn_tensor *dx)
{
    kn_cpu_passes(engine, dx)->spread_bwd(engine, dy, dx);
}

static const kn_ops OPS = {
    .name = "cpu",
    .dtype = KN_F32,
    .folds_bias = true,
    .conv_create = kn_cpu_conv_create,
    .conv_destroy = kn_cpu_conv_destroy,
    .conv_needs = kn_cpu_conv_needs,
    .conv_describe = kn_cpu_conv_describe,
    .conv_pack = kn_cpu_conv_pack,
    .conv_fwd = kn_cpu_conv_fwd,
    .conv_bwd_data = kn_cpu_conv_bwd_data,
    .conv_bwd_weights = kn_cpu_conv_bwd_weights,
    .norm_mask_bytes = cpu_norm_mask_bytes,
    .norm_stats = cpu_norm_stats,
    .norm_apply = cpu_norm_apply,
    .norm_bwd = cpu_norm_bwd,
    .norm_bwd_sums = cpu_norm_bwd_sums,
    .norm_bwd_apply = cpu_norm_bwd_apply,
    .conv_takes = kn_cpu_conv_takes,
    .conv_fwd_stats = kn_cpu_conv_fwd_stats,
    .conv_bwd_data_sums = kn_cpu_conv_bwd_data_sums,
    .conv_bwd_weights_apply = kn_cpu_conv_bwd_weights_apply,
    .pool_fwd = cpu_pool_fwd,
    .pool_bwd = cpu_pool_bwd,
    .norm_apply_pool = cpu_norm_apply_pool,
    .pool_bwd_sums = cpu_pool_bwd_sums,
    .upsample_fwd = cpu_upsample_fwd,
    .upsample_bwd = cpu_upsample_bwd,
    .perturb_fwd = cpu_perturb_fwd,
    .perturb_bwd = cpu_perturb_bwd,
    .repeat_fwd = kn_cpu_repeat_fwd,
    .repeat_bwd = kn_cpu_repeat_bwd,
    .spread_fwd = cpu_spread_fwd,
    .spread_bwd = cpu_spread_bwd,
    .transposed_pack = kn_cpu_transposed_pack,
    .transposed_unpack = kn_cpu_transposed_unpack,
    .mean_prob = kn_cpu_mean_prob,
    .blend_add = kn_cpu_blend_add,
    .blend_take = kn_cpu_blend_take,
    .paste = kn_cpu_paste,
    .relabel = kn_cpu_relabel,
    .clear = kn_cpu_clear,
    .adam = kn_cpu_adam,
    .sgd = cpu_sgd,
    .ema = cpu_ema,
    .zero = cpu_zero,
    .copy = kn_cpu_copy,
    .peak = kn_cpu_peak,
};

static const kn_passes *choose_passes(void)
{
#ifdef __x86_64__
    /* oneDNN's own variable, so that one setting gives the whole program of a lesser machine. */
    const char *isa = g_getenv("ONEDNN_MAX_CPU_ISA");
    bool avx512 = !isa || g_str_has_prefix(isa, "AVX512") || g_ascii_strcasecmp(isa, "ALL") == 0 ||
                  g_ascii_strcasecmp(isa, "DEFAULT") == 0;
    bool avx2 = avx512 || g_str_has_prefix(isa, "AVX2");
    if (avx512 && __builtin_cpu_supports("x86-64-v4") && !kn_disabled("x86-64-v4"))
        return &kn_passes_v4;
    if (avx2 && __builtin_cpu_supports("x86-64-v3") && !kn_disabled("x86-64-v3"))
        return &kn_passes_v3;
#endif
    return &kn_passes_v1;
}

/* The passes for bf16; NULL where the processor, or what it may use of itself, lacks it. */
static const kn_passes *choose_bf16(void)
{
#ifdef __x86_64__
    if (kn_dnnl_has_bf16() && __builtin_cpu_supports("x86-64-v4") &&
        __builtin_cpu_supports("avx512bf16") && !kn_disabled("bf16"))
        return &kn_passes_bf16;
#endif
    return NULL;
}

static bool open_bf16(kn_engine *engine, GError **error)
{
    kn_cpu *cpu = engine->state;
    if (engine->precision != KN_PRECISION_BF16)
        return true;
    cpu->bf16 = choose_bf16();
    engine->act = KN_BF16;
    if (cpu->bf16)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "precision bf16: this processor has no instructions for it (AVX-512 BF16 is "
                "wanted), and without them f32 is faster; use precision f32");
    return false;
}

/* "AMD EPYC" of /proc/cpuinfo. Owned by the caller. */
static char *processor_name(void)
{
    g_autofree char *text = NULL;
    if (g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL)) {
        const char *line = strstr(text, "model name");
        const char *colon = line ? strchr(line, ':') : NULL;
        const char *end = colon ? strchr(colon, '\n') : NULL;
        if (end)
            return g_strstrip(g_strndup(colon + 1, (gsize)(end - colon - 1)));
    }
    return g_strdup("unnamed processor");
}

static bool cpu_open(kn_engine *engine, GError **error)
{
    kn_cpu *cpu = g_new0(kn_cpu, 1);
    engine->state = cpu;
    cpu->passes = choose_passes();
    cpu->dnnl = kn_dnnl_open(error);
    if (!cpu->dnnl || !open_bf16(engine, error))
        return false;
    /* With AVX-512 blocks of 16 channels are what Winograd takes, and the direct convolutions and
     * our passes are some percent faster on them than on NHWC; on lesser machines NHWC is. */
    engine->block = kn_dnnl_has_winograd() ? 16 : 0;
    g_autofree char *name = processor_name();
    engine->description =
        g_strdup_printf("cpu: %s, %d threads, %s, passes %s", name, engine->n_threads,
                        kn_dnnl_describe(cpu->dnnl), (cpu->bf16 ? cpu->bf16 : cpu->passes)->name);
    return true;
}

static void cpu_close(kn_engine *engine)
{
    kn_cpu *cpu = engine->state;
    if (cpu)
        kn_dnnl_close(cpu->dnnl);
    g_free(cpu);
}

const kn_backend kn_backend_cpu = {
    .name = "cpu", .ops = &OPS, .open = cpu_open, .close = cpu_close};
