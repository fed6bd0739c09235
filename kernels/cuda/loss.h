/* loss.cu as C functions. What loss_priv.h's arguments say, by value and with the GPU's pointers;
 * weights, thresholds and scales as f32. */
#ifndef QS_KERNELS_CUDA_LOSS_H
#define QS_KERNELS_CUDA_LOSS_H

#include "kernels/cuda/launch.h"
#include "kernels/loss_priv.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KN_CU_LOSS_PX = 1024,                                       /* pixels of a block */
    KN_CU_LOSS_SUMS = 4 * KN_N_REGIONS + 2 + 3 * QS_CLASSES_MAX /* the most that a pass sums */
};

/* Where sums go, on the GPU: parts is kn_cu_loss_parts_bytes, sums (images, n_sums). */
typedef struct {
    double *parts, *sums;
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
} kn_cu_quad;
/* Sums: px, right, truth, ce (4 each); UC's background px, ce; inter, target, pred (C each). */
void kn_cu_loss_partition(kn_device *device, kn_cu_quad a, kn_cu_sums out);

typedef struct {
    kn_tensor z, dz;
    const uint8_t *target, *region;
    kn_dice dice;
    int accumulate;
    float weights[KN_N_REGIONS]; /* in the Dice part, scale multiplied in */
    float ce_weights[KN_N_REGIONS], ce_uc_background;
    float dice_a[QS_CLASSES_MAX], dice_b[QS_CLASSES_MAX];
    const float *ce_scale; /* (images) on the GPU */
} kn_cu_grad;
void kn_cu_loss_gradient(kn_device *device, kn_cu_grad a);

typedef struct {
    kn_tensor z, z_ref, dz; /* dz.data NULL: no gradient */
    const uint8_t *exclude;
    float grad_scale;
    int accumulate;
} kn_cu_mse;
void kn_cu_loss_mse(kn_device *device, kn_cu_mse a, kn_cu_sums out);

/* Sum: those of n whose exclude is not 255. */
void kn_cu_loss_count(kn_device *device, const uint8_t *exclude, int64_t n, kn_cu_sums out);
/* which: place in kn_compare_ops; args as compare_priv.h, its tensors' structs on the host. */
void kn_cu_loss_compare(kn_device *device, int which, const void *args, int n_images,
                        int64_t image_px, int n_sums, kn_cu_sums out);
/* The channels of dz, not those past C, to 0. */
void kn_cu_clear(kn_device *device, kn_tensor dz);
/* prob (n,h,w,C) dense and y (n,h,w) on the GPU. */
void kn_cu_softmax(kn_device *device, kn_tensor z, float *prob);
void kn_cu_argmax(kn_device *device, kn_tensor z, uint8_t *y);

#ifdef __cplusplus
}
#endif

#endif
