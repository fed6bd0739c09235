/* The own kernels as C functions: each puts its work on the device's stream and returns. Defined in
 * the .cu files; called by the backend's C. Arrays are of f32 in the GPU's memory unless said;
 * tensors are NHWC, f32 or bf16 (kn_tensor.dtype), slices where ops.h says so. What varies from
 * step to step is read where the kernel runs (…_at) when the pointer is not NULL, so that a
 * recorded graph can be played again. Nothing here allocates; shapes are the caller's to keep
 * right. */
#ifndef QS_KERNELS_CUDA_LAUNCH_H
#define QS_KERNELS_CUDA_LAUNCH_H

#include "kernels/engine/augment.h"
#include "kernels/engine/tensor.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kn_device kn_device;
/* One kernel with its arguments, for KN_LAUNCH. */
typedef struct {
    const char *name;
    void *kernel;                                          /* its address on the host */
    void (*thread)(const void *kernel, void *const *args); /* under emulation: one thread of it */
    unsigned grid_x, grid_y, block;
    int n_args;
    void **args;
    const size_t *bytes; /* of each argument; outlives the launch */
} kn_launch;
/* Three of device.h's functions. */
void kn_device_launch(kn_device *device, const kn_launch *launch);
void *kn_device_stream(kn_device *device);
void kn_device_launched(kn_device *device, const char *kernel);
#ifdef KN_EMULATE
/* Runs all blocks and threads now. */
void kn_emu_run(kn_device *device, const kn_launch *launch);
/* Graphs launched so far, nodes whose arguments were changed before that, and what was put on the
 * stream without a graph. */
typedef struct {
    int64_t launches, updates, alone;
} kn_emu_graphs;
kn_emu_graphs kn_emu_graphs_now(void);
/* 0 forward, 1 backward, 2 shuffled by seed: blocks, and threads of a block. */
void kn_emu_set_order(int mode, unsigned seed);
/* Does all that was put on the stream; for what runs there without having been put on it. */
void kn_emu_catch_up(kn_device *device);
/* Until the next kn_device_launched. */
void kn_emu_open_memory(kn_device *device);
/* The device's clock goes 1 ms a kernel or copy, and by this. */
void kn_emu_pass_time(kn_device *device, double ms);
#endif

/* ---- norm.cu: as kn_norm of ops.h
 * ---------------------------------------------------------------- */
typedef struct {
    int channels;
    const float *gamma, *beta;
    float *dgamma, *dbeta;
    float *running_mean, *running_var;
    const float *conv_bias;
    float *mean, *inv_std;
    float slope;
    uint32_t threshold; /* of dropout; 0: none */
    float scale;        /* of what is kept */
    uint64_t stream, layer;
    const uint64_t *stream_at; /* NULL: stream */
} kn_cu_norm;

/* Bytes of the partial sums that the reductions need, for any shape. */
size_t kn_cu_partials_bytes(int channels_max);
void kn_cu_norm_stats(kn_device *device, kn_tensor x, kn_cu_norm norm, double *partials);
void kn_cu_norm_apply(kn_device *device, kn_tensor x, kn_cu_norm norm, kn_tensor y);
void kn_cu_norm_bwd(kn_device *device, kn_tensor dy, kn_tensor x, kn_cu_norm norm, kn_tensor dx,
                    double *partials);

/* norm_stats from Σx and Σx² of each tile: partials (channels, tiles, 2). */
void kn_cu_norm_stats_of_tiles(kn_device *device, kn_cu_norm norm, int64_t pixels, int64_t tiles,
                               const double *partials);

/* ---- resample.cu
 * --------------------------------------------------------------------------------- */
/* copy.data NULL: none. */
void kn_cu_pool_fwd(kn_device *device, kn_tensor x, kn_tensor y, kn_tensor copy);
void kn_cu_pool_bwd(kn_device *device, kn_tensor x, kn_tensor dy, kn_tensor dx);
void kn_cu_upsample_fwd(kn_device *device, kn_tensor x, kn_tensor y);
void kn_cu_upsample_bwd(kn_device *device, kn_tensor dy, kn_tensor dx);

/* ---- arrays.cu
 * ----------------------------------------------------------------------------------- */
/* lr_at, alpha_at: NULL, or where the value is found. */
void kn_cu_sgd(kn_device *device, float *theta, const float *grad, float *momentum, int64_t n,
               float lr, const float *lr_at, float m, float wd);
/* sgd, then ema of a teacher. */
void kn_cu_sgd_ema(kn_device *device, float *theta, const float *grad, float *momentum,
                   float *teacher, int64_t n, float lr, float m, float wd, float alpha);
void kn_cu_ema(kn_device *device, float *teacher, const float *student, int64_t n, float alpha,
               const float *alpha_at);
/* fold.h, weight (oc, per_oc). */
void kn_cu_fold(kn_device *device, int oc, int64_t per_oc, const float *weight, const float *bias,
                const float *gamma, const float *beta, const float *mean, const float *var,
                float *weight_out, float *bias_out);

/* Adam as ops.h; by_mean, by_square: 1/(1-b^t). */
void kn_cu_adam(kn_device *device, float *theta, const float *grad, float *mean, float *square,
                int64_t n, float lr, float wd, float by_mean, float by_square);

/* ---- features.cu: as ops.h
 * ----------------------------------------------------------------------- */
typedef struct {
    int kind; /* kn_perturb_kind */
    float lo, hi;
    uint32_t threshold; /* of dropout */
    float scale;
    uint64_t stream, layer;
    const uint64_t *stream_at; /* NULL: stream */
} kn_cu_perturb;
/* limits (n): room for KN_PERTURB_DROP. bwd's dx += ; x is looked at by KN_PERTURB_DROP alone. */
void kn_cu_perturb_fwd(kn_device *device, kn_tensor x, kn_cu_perturb how, kn_tensor y,
                       float *limits);
void kn_cu_perturb_bwd(kn_device *device, kn_tensor dy, kn_tensor x, kn_cu_perturb how,
                       kn_tensor dx, float *limits);
void kn_cu_repeat_fwd(kn_device *device, kn_tensor x, kn_tensor y);
void kn_cu_repeat_bwd(kn_device *device, kn_tensor dy, kn_tensor dx);
/* fine from coarse; back: coarse from fine. */
void kn_cu_spread(kn_device *device, kn_tensor coarse, kn_tensor fine, int back);
void kn_cu_transposed_pack(kn_device *device, int ic, int oc, const float *weight,
                           const float *bias, float *weight1, float *bias1);
void kn_cu_transposed_unpack(kn_device *device, int ic, int oc, const float *dweight1,
                             const float *dbias1, float *dweight, float *dbias);
void kn_cu_mean_prob(kn_device *device, kn_tensor z, int k, int n, kn_tensor acc);
void kn_cu_paste(kn_device *device, kn_tensor outer, kn_tensor inner, int x0, int y0, int x1,
                 int y1, kn_tensor dst);
void kn_cu_relabel(kn_device *device, kn_tensor z, const uint8_t *y);

/* ---- blend.cu: as kn_blend of ops.h, everything on the GPU; n <= KN_CU_BLEND_MAX
 * ------------------------- */
enum { KN_CU_BLEND_MAX = 32 };
typedef struct {
    int64_t w;
    int window, classes;
    float *acc;
    const float *weights;
    uint32_t *bad;
} kn_cu_blend;
typedef struct {
    int n;
    int64_t x[KN_CU_BLEND_MAX], y;
} kn_cu_places;
/* second.data NULL: none. z, second: the image of place 0 is their first. */
void kn_cu_blend_add(kn_device *device, kn_cu_blend blend, kn_tensor z, kn_tensor second,
                     kn_cu_places places, int n_rows);
/* prob NULL: not wanted. */
void kn_cu_blend_take(kn_device *device, kn_cu_blend blend, int slot, int n, uint8_t *label,
                      float *prob);

/* ---- conv.cu: f32 or bf16 tensors in any mixture, one thread an output, for any shape
 * -------------- */
typedef struct {
    int n, h, w, ic, oc, k;
    int leaky;
} kn_cu_conv;

/* weight (oc,ic,k,k) to (taps, ic, oc) and, for the data gradient, (taps, oc, ic) mirrored. */
void kn_cu_conv_pack(kn_device *device, kn_cu_conv c, const float *weight, const float *bias,
                     float *fwd, float *bwd, float *bias_out);
void kn_cu_conv_fwd(kn_device *device, kn_cu_conv c, kn_tensor src, const float *packed,
                    const float *bias, kn_tensor dst);
/* dsrc = ddst convolved with the mirrored weights; `packed` is kn_cu_conv_pack's bwd. */
void kn_cu_conv_bwd_data(kn_device *device, kn_cu_conv c, kn_tensor ddst, const float *packed,
                         kn_tensor dsrc);
size_t kn_cu_conv_bwd_weights_bytes(kn_cu_conv c);
/* dweight += ; dbias += or NULL. */
void kn_cu_conv_bwd_weights(kn_device *device, kn_cu_conv c, kn_tensor src, kn_tensor ddst,
                            float *dweight, float *dbias, void *scratch);

/* ---- conv_mma.cu, conv_wgrad.cu, pack.cu: tensor cores, operands rounded to bf16, sums in f32
 * ------------------------------ */
/* fwd, bwd (NULL: not wanted): kn_conv_packed_n() elements each; ohwi (NULL: not wanted): bf16
 * weights (oc,k,k,ic) for cuDNN; bias_out (oc): bias (which it may be), or 0 where that is NULL. n
 * <= KN_CU_PACK_MAX convolutions in one launch. */
enum { KN_CU_PACK_MAX = 32 };
typedef struct {
    const float *weight, *bias;
    void *fwd, *bwd, *ohwi;
    float *bias_out;
    int64_t first; /* element of the launch; filled by it */
    int oc, ic, taps;
} kn_cu_pack_item;
typedef struct {
    kn_cu_pack_item items[KN_CU_PACK_MAX];
    int n;
} kn_cu_pack;
void kn_cu_mma_pack(kn_device *device, kn_cu_pack pack);
void kn_cu_mma_fwd(kn_device *device, kn_cu_conv c, kn_tensor src, const void *packed,
                   const float *bias, kn_tensor dst);
/* The same of a 3×3 convolution into bf16, without bias or LeakyReLU, and then norm_stats of dst as
 * it is stored; scratch: kn_cu_mma_stats_bytes. */
size_t kn_cu_mma_stats_bytes(kn_cu_conv c);
void kn_cu_mma_fwd_stats(kn_device *device, kn_cu_conv c, kn_tensor src, const void *packed,
                         kn_tensor dst, kn_cu_norm norm, void *scratch);
void kn_cu_mma_bwd_data(kn_device *device, kn_cu_conv c, kn_tensor ddst, const void *packed,
                        kn_tensor dsrc);
size_t kn_cu_mma_bwd_weights_bytes(kn_cu_conv c);
void kn_cu_mma_bwd_weights(kn_device *device, kn_cu_conv c, kn_tensor src, kn_tensor ddst,
                           float *dweight, float *dbias, void *scratch);

/* ---- sums.cu
 * ------------------------------------------------------------------------------------- */
/* dweight (n/taps, taps) += partials (splits, taps, n/taps), in one order. */
void kn_cu_add_splits(kn_device *device, float *dweight, int64_t n, int taps, int splits,
                      const float *partials);
/* dbias (c) += the sums of ddst over all pixels. */
size_t kn_cu_bias_grad_bytes(int oc);
void kn_cu_bias_grad(kn_device *device, kn_tensor ddst, float *dbias, void *scratch);

/* ---- pack.cu: bf16 gradients (oc,k,k,ic); dweight += */
void kn_cu_ohwi_add(kn_device *device, kn_cu_conv c, const void *dw, float *dweight);

/* ---- augment.cu: as ops.h */
void kn_cu_weak(kn_device *device, kn_images images);
void kn_cu_strong(kn_device *device, kn_images images);
void kn_cu_input(kn_device *device, kn_images images, const uint8_t *rgb, const kn_view *views,
                 float sigma, uint64_t seed, uint64_t stream, kn_tensor dst);
void kn_cu_mixed_planes(kn_device *device, kn_images images, const kn_view *views, int n,
                        kn_planes to);
void kn_cu_whole_planes(kn_device *device, kn_images images, uint8_t *both, uint8_t *held);

/* ---- peak.cu: blocks of 256 threads, each with 8 chains of so many turns; the FLOP of the call.
 * out: kn_cu_peak_bytes(blocks); each becomes 16·turns (tensor cores) or turns. */
double kn_cu_peak(kn_device *device, float *out, int blocks, int turns, int tensor_cores);
size_t kn_cu_peak_bytes(int blocks);

#ifdef __cplusplus
}
#endif

#endif
