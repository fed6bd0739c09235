/* loss.cu (passes over pixels) and fold.cu (the end of their sums) as C functions. What
 * loss_priv.h's arguments say, by value and with the GPU's pointers; weights, thresholds and scales
 * as f32. */
#ifndef QS_KERNELS_CUDA_LOSS_H
#define QS_KERNELS_CUDA_LOSS_H

#include "kernels/loss/compare_priv.h"
#include "kernels/cuda/launch.h"
#include "kernels/loss/loss_priv.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KN_CU_LOSS_PX = 1024,                                       /* pixels of a block */
    KN_CU_LOSS_SUMS = 4 * KN_N_REGIONS + 2 + 3 * QS_CLASSES_MAX /* the most that a pass sums */
};

/* Where sums go, on the GPU: parts is kn_cu_loss_parts_bytes, sums (images, n_sums); kept (images,
 * KN_COMPARE_SUMS) or one row: sums that a later pass settles its scales by; count: one number. */
typedef struct {
    double *parts, *sums, *kept, *count;
} kn_cu_sums;

size_t kn_cu_loss_parts_bytes(int n_images, int64_t image_px);

typedef struct {
    kn_tensor z;
    kn_confidence confidence;
    const uint8_t *exclude;
    uint8_t *y;
    float *conf;
    int with_prob;
    float above_tau;
} kn_cu_ref;
/* Sums (4, C): conf, prob, count, above. */
void kn_cu_loss_reference(kn_device *device, kn_cu_ref a, kn_cu_sums out);

typedef struct {
    kn_tensor z;
    const uint8_t *label, *exclude, *truth, *ref_y, *compare;
    const float *ref_conf;
    uint8_t *region;
    int labelled, gamma_inclusive;
    kn_uc uc;
    kn_dice dice;
    float weights[KN_N_REGIONS], gamma[QS_CLASSES_MAX];
    const double *weights_at, *gamma_at; /* on the GPU, in their place; or NULL */
} kn_cu_quad;
/* Sums: px, right, truth, ce (4 each); UC's background px, ce; inter, target, pred (C each). */
void kn_cu_loss_partition(kn_device *device, kn_cu_quad a, kn_cu_sums out);

/* The factors of a gradient, on the GPU. */
typedef struct {
    float weights[KN_N_REGIONS]; /* in the Dice part, scale multiplied in */
    float ce_weights[KN_N_REGIONS], ce_uc_background;
    float dice_a[QS_CLASSES_MAX], dice_b[QS_CLASSES_MAX];
} kn_cu_factors;

typedef struct {
    kn_tensor z, dz;
    const uint8_t *target, *region;
    kn_dice dice;
    int accumulate;
    const kn_cu_factors *by;
    const float *ce_scale; /* (images) */
} kn_cu_grad;
void kn_cu_loss_gradient(kn_device *device, kn_cu_grad a);

typedef struct {
    kn_tensor z, z_ref, dz; /* dz.data NULL: no gradient */
    const uint8_t *exclude;
    double scale;
    const double *count; /* pixels that count */
    int accumulate;
} kn_cu_mse;
void kn_cu_loss_mse(kn_device *device, kn_cu_mse a, kn_cu_sums out);

/* out.count: those of n whose exclude is not 255. */
void kn_cu_loss_count(kn_device *device, const uint8_t *exclude, int64_t n, kn_cu_sums out);
/* which: place in kn_compare_ops; args as compare_priv.h, its tensors' structs on the host. settle:
 * scales are divided by out.count and out.kept. */
void kn_cu_loss_compare(kn_device *device, int which, const void *args, int n_images,
                        int64_t image_px, int n_sums, int settle, kn_cu_sums out);
void kn_cu_sdcl_labels(kn_device *device, const uint8_t *known, const uint8_t *exclude, int64_t n,
                       uint8_t *label, uint8_t *pseudo);

/* fold.cu: one block each. */
void kn_cu_fold_reference(kn_device *device, const double *sums, int n_images, int n_classes,
                          kn_ref_sums *to);
void kn_cu_fold_gamma(kn_device *device, kn_gamma_rule rule, int n_classes, const kn_ref_sums *sums,
                      double *gamma, double *state);
void kn_cu_fold_quad(kn_device *device, const double *sums, int n_images, int n_classes,
                     kn_quad_config config, double *z_image, kn_quad_result *to);
void kn_cu_fold_factors(kn_device *device, kn_quad_config config, int n_images, int n_classes,
                        const double *z_image, const kn_quad_result *result, double scale,
                        kn_cu_factors *to, float *ce_scale);
void kn_cu_fold_end(kn_device *device, kn_compare_end end, int n_images, int n_sums,
                    kn_cu_sums from);
/* kept: the sums of the batch, or each image's. */
void kn_cu_fold_keep(kn_device *device, int n_images, int n_sums, bool whole, kn_cu_sums from);
void kn_cu_fold_dcnet(kn_device *device, kn_dcnet_rule rule, int n_classes, const kn_ref_sums *s1,
                      const kn_ref_sums *s2, kn_dcnet_state *state);
/* The channels of dz, not those past C, to 0. */
void kn_cu_clear(kn_device *device, kn_tensor dz);
/* prob (n,h,w,C) dense and y (n,h,w) on the GPU. */
void kn_cu_softmax(kn_device *device, kn_tensor z, float *prob);
void kn_cu_argmax(kn_device *device, kn_tensor z, uint8_t *y);

#ifdef __cplusplus
}
#endif

#endif
