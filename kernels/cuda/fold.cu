/* The end of the losses on the GPU: what quad_fold.h and compare_fold.h make of the sums of images,
 * in double, so that the next pass and the next step find it in device memory and the host need not
 * wait. One block each: a thread adds one sum over the images, in their order; then the first
 * thread finishes. Compiled without contraction to multiply-adds (CMakeLists.txt): the bits are
 * the host's. */
#include "kernels/loss/compare_fold.h"
#include "kernels/cuda/loss.h"
#include "kernels/loss/quad_fold.h"

#include "kernels/cuda/lang.cuh"

enum { BLOCK = 128 };

/* Sum s over the images, in order. sums (images, n_sums). */
__device__ static inline double over_images(const double *sums, int n_images, int n_sums, int s)
{
    double sum = 0;
    for (int i = 0; i < n_images; i++)
        sum += sums[(int64_t)i * n_sums + s];
    return sum;
}

/* ---- pass 1, γ --------------------------------------------------------------------------------
 */

__global__ void fold_reference(const double *sums, int n_images, int n_classes, kn_ref_sums *to)
{
    int c = (int)threadIdx.x, n = 4 * n_classes;
    if (c >= n_classes)
        return;
    to->conf[c] = over_images(sums, n_images, n, c);
    to->prob[c] = over_images(sums, n_images, n, n_classes + c);
    to->count[c] = (int64_t)over_images(sums, n_images, n, 2 * n_classes + c);
    to->above[c] = (int64_t)over_images(sums, n_images, n, 3 * n_classes + c);
}

__global__ void fold_gamma(kn_gamma_rule rule, int n_classes, const kn_ref_sums *sums,
                           double *gamma, double *state)
{
    if (threadIdx.x == 0)
        qf_gamma(&rule, n_classes, sums, gamma, state);
}

/* ---- pass 2 -----------------------------------------------------------------------------------
 */

__device__ static inline void unpack_quad(const double *s, int n_classes, kn_quad_sums *sums)
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

/* Σw of an image, and its own mean CE. */
__device__ static inline double image_ce(const double *s, const double *weights, double *z)
{
    enum { R = KN_N_REGIONS };
    int64_t px[R];
    for (int r = 0; r < R; r++)
        px[r] = (int64_t)s[r];
    *z = qf_weight_sum(weights, px);
    return qf_image_ce(weights, px, s + 3 * R, *z);
}

__device__ static inline void take_weights(kn_quad_config &config)
{
    for (int r = 0; r < KN_N_REGIONS && config.weights_at; r++)
        config.weights[r] = config.weights_at[r];
}

__global__ void fold_quad(const double *sums, int n_images, int n_classes, kn_quad_config config,
                          double *z_image, kn_quad_result *to)
{
    KN_SHARED(double, batch, KN_CU_LOSS_SUMS);
    KN_SHARED(double, of_image, BLOCK);
    int t = (int)threadIdx.x, n_sums = 4 * KN_N_REGIONS + 2 + 3 * n_classes;
    double of_images = 0;
    take_weights(config);
    for (int s = t; s < n_sums; s += BLOCK)
        batch[s] = over_images(sums, n_images, n_sums, s);
    for (int base = 0; base < n_images && z_image; base += BLOCK) {
        int i = base + t;
        if (i < n_images)
            of_image[t] = image_ce(sums + (int64_t)i * n_sums, config.weights, &z_image[i]);
        __syncthreads();
        for (int k = 0; k < BLOCK && base + k < n_images && t == 0; k++)
            of_images += of_image[k];
        __syncthreads();
    }
    __syncthreads();
    if (t != 0)
        return;
    kn_quad_sums whole = {};
    kn_quad_result result = {};
    unpack_quad(batch, n_classes, &whole);
    qf_finish_quad(&config, &whole, of_images, n_images, n_classes, &result);
    *to = result;
}

/* ---- pass 3 -----------------------------------------------------------------------------------
 */

__global__ void fold_factors(kn_quad_config config, int n_images, int n_classes,
                             const double *z_image, const kn_quad_result *result, double scale,
                             kn_cu_factors *to, float *of_image)
{
    int t = (int)threadIdx.x;
    double divisor = qf_ce_divisor(&config, result), by = scale * config.ce_scale;
    take_weights(config);
    for (int i = t; i < n_images; i += BLOCK)
        of_image[i] = (float)qf_image_scale(z_image, i, n_images, divisor, by);
    for (int c = t; c < n_classes; c += BLOCK) {
        double a, b;
        qf_dice_constants(&config, result, n_classes, c, &a, &b);
        to->dice_a[c] = (float)a;
        to->dice_b[c] = (float)b;
    }
    if (t != 0)
        return;
    double factor[KN_N_REGIONS], of_background;
    qf_ce_factors(&config, result->region_px, result->uc_background_px, factor, &of_background);
    to->ce_uc_background = (float)of_background;
    for (int r = 0; r < KN_N_REGIONS; r++) {
        to->ce_weights[r] = (float)factor[r];
        to->weights[r] = (float)(config.weights[r] * (scale * config.dice_scale));
    }
}

/* ---- the comparison methods -------------------------------------------------------------------
 */

__global__ void fold_end(kn_compare_end end, int n_images, int n_sums, const double *sums,
                         const double *count)
{
    KN_SHARED(double, batch, KN_COMPARE_SUMS);
    int t = (int)threadIdx.x;
    if (t < n_sums)
        batch[t] = over_images(sums, n_images, n_sums, t);
    __syncthreads();
    if (t == 0)
        *end.value += cf_value(&end, batch, end.n < 0 ? *count : end.n);
}

/* The batch's sums (one row), or those of each block's image. */
__global__ void fold_keep(int n_images, int n_sums, const double *sums, double *kept)
{
    int t = (int)threadIdx.x;
    int64_t i = blockIdx.x;
    if (t < n_sums)
        kept[i * KN_COMPARE_SUMS + t] = over_images(sums + i * n_sums, n_images, n_sums, t);
}

__global__ void fold_dcnet(kn_dcnet_rule rule, int n_classes, const kn_ref_sums *s1,
                           const kn_ref_sums *s2, kn_dcnet_state *state)
{
    if (threadIdx.x == 0)
        cf_dcnet_move(&rule, n_classes, s1, s2, state);
}

/* ---- from C -----------------------------------------------------------------------------------
 */

void kn_cu_fold_reference(kn_device *device, const double *sums, int n_images, int n_classes,
                          kn_ref_sums *to)
{
    KN_LAUNCH(device, fold_reference, 1, 32, sums, n_images, n_classes, to);
}

void kn_cu_fold_gamma(kn_device *device, kn_gamma_rule rule, int n_classes, const kn_ref_sums *sums,
                      double *gamma, double *state)
{
    KN_LAUNCH(device, fold_gamma, 1, 32, rule, n_classes, sums, gamma, state);
}

void kn_cu_fold_quad(kn_device *device, const double *sums, int n_images, int n_classes,
                     kn_quad_config config, double *z_image, kn_quad_result *to)
{
    KN_LAUNCH(device, fold_quad, 1, BLOCK, sums, n_images, n_classes, config, z_image, to);
}

void kn_cu_fold_factors(kn_device *device, kn_quad_config config, int n_images, int n_classes,
                        const double *z_image, const kn_quad_result *result, double scale,
                        kn_cu_factors *to, float *ce_scale)
{
    KN_LAUNCH(device, fold_factors, 1, BLOCK, config, n_images, n_classes, z_image, result, scale,
              to, ce_scale);
}

void kn_cu_fold_end(kn_device *device, kn_compare_end end, int n_images, int n_sums,
                    kn_cu_sums from)
{
    KN_LAUNCH(device, fold_end, 1, 32, end, n_images, n_sums, from.sums, from.count);
}

void kn_cu_fold_keep(kn_device *device, int n_images, int n_sums, bool whole, kn_cu_sums from)
{
    KN_LAUNCH(device, fold_keep, whole ? 1 : n_images, 32, whole ? n_images : 1, n_sums, from.sums,
              from.kept);
}

void kn_cu_fold_dcnet(kn_device *device, kn_dcnet_rule rule, int n_classes, const kn_ref_sums *s1,
                      const kn_ref_sums *s2, kn_dcnet_state *state)
{
    KN_LAUNCH(device, fold_dcnet, 1, 32, rule, n_classes, s1, s2, state);
}
