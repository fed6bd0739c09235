#include "kernels/ref/ref_priv.h"

static const kn_ops OPS = {
    .name = "ref",
    .dtype = KN_F64,
    .folds_bias = false,
    .conv_create = kn_ref_conv_create,
    .conv_destroy = kn_ref_conv_destroy,
    .conv_needs = kn_ref_conv_needs,
    .conv_describe = kn_ref_conv_describe,
    .conv_pack = kn_ref_conv_pack,
    .conv_fwd = kn_ref_conv_fwd,
    .conv_bwd_data = kn_ref_conv_bwd_data,
    .conv_bwd_weights = kn_ref_conv_bwd_weights,
    .norm_stats = kn_ref_norm_stats,
    .norm_apply = kn_ref_norm_apply,
    .norm_bwd = kn_ref_norm_bwd,
    .pool_fwd = kn_ref_pool_fwd,
    .pool_bwd = kn_ref_pool_bwd,
    .upsample_fwd = kn_ref_upsample_fwd,
    .upsample_bwd = kn_ref_upsample_bwd,
    .perturb_fwd = kn_ref_perturb_fwd,
    .perturb_bwd = kn_ref_perturb_bwd,
    .repeat_fwd = kn_ref_repeat_fwd,
    .repeat_bwd = kn_ref_repeat_bwd,
    .spread_fwd = kn_ref_spread_fwd,
    .spread_bwd = kn_ref_spread_bwd,
    .transposed_pack = kn_ref_transposed_pack,
    .transposed_unpack = kn_ref_transposed_unpack,
    .mean_prob = kn_ref_mean_prob,
    .blend_add = kn_ref_blend_add,
    .blend_take = kn_ref_blend_take,
    .paste = kn_ref_paste,
    .relabel = kn_ref_relabel,
    .clear = kn_ref_clear,
    .adam = kn_ref_adam,
    .sgd = kn_ref_sgd,
    .ema = kn_ref_ema,
    .zero = kn_ref_zero,
    .copy = kn_ref_copy,
};

static bool ref_open(kn_engine *engine, GError **error)
{
    (void)error;
    engine->description = g_strdup("ref: naive, double precision, 1 thread");
    return true;
}

static void ref_close(kn_engine *engine)
{
    (void)engine;
}

const kn_backend kn_backend_ref = {
    .name = "ref", .ops = &OPS, .open = ref_open, .close = ref_close};
