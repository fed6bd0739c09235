#include "kernels/ref/ref_priv.h"

static const kn_ops OPS = {
    .name = "ref",
    .dtype = KN_F64,
    .folds_bias = false,
    .conv_create = ref_conv_create,
    .conv_destroy = ref_conv_destroy,
    .conv_needs = ref_conv_needs,
    .conv_describe = ref_conv_describe,
    .conv_pack = ref_conv_pack,
    .conv_fwd = ref_conv_fwd,
    .conv_bwd_data = ref_conv_bwd_data,
    .conv_bwd_weights = ref_conv_bwd_weights,
    .norm_stats = ref_norm_stats,
    .norm_apply = ref_norm_apply,
    .norm_bwd = ref_norm_bwd,
    .pool_fwd = ref_pool_fwd,
    .pool_bwd = ref_pool_bwd,
    .upsample_fwd = ref_upsample_fwd,
    .upsample_bwd = ref_upsample_bwd,
    .sgd = ref_sgd,
    .ema = ref_ema,
    .zero = ref_zero,
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

const kn_backend kn_backend_ref = {"ref", &OPS, ref_open, ref_close};
