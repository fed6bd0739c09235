/* MetaSSL's loss and its plain relatives, on logits. Three passes over the pixels and no more:
 *   1 kn_loss_reference   softmax, argmax, confidence of the reference; per-class sums (eq. 9)
 *   2 kn_loss_partition   regions, weights, Z, CE and Dice sums of the supervised prediction
 *   3 kn_loss_gradient    dlogits
 * Between 1 and 2 the host updates γ (kn_gamma_update, eq. 10).
 * Everything else is a special case: no reference and weights 1 → plain CE + Dice (E14); target =
 * reference argmax and weights 1 → CPS's cross pseudo supervision. */
#ifndef QS_KERNELS_LOSS_H
#define QS_KERNELS_LOSS_H

#include "base/classes.h"
#include "kernels/engine.h"

enum { KN_REGION_UC, KN_REGION_US, KN_REGION_DC, KN_REGION_DS, KN_N_REGIONS, KN_REGION_EXCLUDED = 255 };

typedef enum { KN_CONF_MAX, KN_CONF_MAD, KN_CONF_VAR, KN_CONF_STD } kn_confidence;
typedef enum { KN_PHI_LINEAR, KN_PHI_RECIPROCAL, KN_PHI_COSINE, KN_PHI_GAUSS } kn_phi;
typedef enum { KN_PARTITION_QUAD, KN_PARTITION_CONF_BH, KN_PARTITION_CONS_BH, KN_PARTITION_UNIFORM } kn_partition;
typedef enum { KN_Z_BATCH, KN_Z_IMAGE } kn_z_scope;
typedef enum { KN_DICE_NONE, KN_DICE_LINEAR, KN_DICE_SQUARE } kn_dice;
typedef enum { KN_ABSENT_KEEP, KN_ABSENT_RELEASED } kn_absent; /* γ of a class never predicted */

/* φ(u) of A.2 and the four weights in order UC US DC DS; labelled swaps DC and DS. */
double kn_phi_value(kn_phi phi, double beta, double u);
void kn_region_weights(kn_phi phi, double beta, double delta, kn_partition partition, bool labelled,
                       double weights[KN_N_REGIONS]);

/* Pass 1 results. y and conf are (n,h,w), device memory planned by the caller. */
typedef struct {
    uint8_t *y;    /* argmax, ties to the lowest class */
    void *conf;    /* engine dtype */
    double sum_conf[QS_CLASSES_MAX];
    int64_t count[QS_CLASSES_MAX];
} kn_reference;

/* exclude: (n,h,w) u8, pixels with value 255 are excluded from the sums; NULL: none. */
void kn_loss_reference(kn_engine *engine, const kn_tensor *z_ref, kn_confidence confidence,
                       const uint8_t *exclude, kn_reference *ref);
/* γ_c ← a·O_c + (1-a)·γ_c, capped at 1 (eq. 9, 10). */
void kn_gamma_update(double *gamma, int n_classes, const kn_reference *ref, double a, kn_absent absent);

typedef struct {
    bool labelled;         /* target and comparison are `label`; else target = ref.y and comparison = argmax z */
    double weights[KN_N_REGIONS];
    double gamma[QS_CLASSES_MAX];
    kn_z_scope z_scope;
    kn_dice dice;
    double dice_eps;       /* 1e-5 */
    double ce_scale;       /* factor of the CE part: 1; 0.5 for sup=ssl4mis */
    double dice_scale;     /* factor of the Dice part: 1 */
} kn_quad_config;

typedef struct {
    double loss, ce, dice;              /* loss = ce_scale·ce + dice_scale·dice */
    double z;                           /* batch Σw */
    double dice_n[QS_CLASSES_MAX], dice_d[QS_CLASSES_MAX];
    int64_t region_px[KN_N_REGIONS];    /* pixel counts */
    double region_loss[KN_N_REGIONS];   /* Σ w·ce per region, unnormalised */
    int64_t region_right[KN_N_REGIONS]; /* pixels whose ref.y equals `truth`, when truth is given */
    int64_t truth_px[KN_N_REGIONS];
} kn_quad_result;

/* Pass 2. z (n,h,w,C) supervised logits. label (n,h,w) u8 or NULL (255 = excluded, also on unlabelled
 * streams when given as `exclude`). ref NULL: plain loss, every pixel in UC. truth: for region_right
 * only, NULL none. region (n,h,w) u8 is written (KN_REGION_EXCLUDED where excluded). z_image: n
 * doubles of scratch for KN_Z_IMAGE and per-image Σw. */
void kn_loss_partition(kn_engine *engine, const kn_tensor *z, const uint8_t *label, const uint8_t *exclude,
                       const kn_reference *ref, const uint8_t *truth, const kn_quad_config *config,
                       uint8_t *region, double *z_image, kn_quad_result *result);
/* Pass 3: dz += or = scale · d(loss)/dz with the sums of pass 2. accumulate false overwrites. */
void kn_loss_gradient(kn_engine *engine, const kn_tensor *z, const uint8_t *label, const kn_reference *ref,
                      const uint8_t *region, const double *z_image, const kn_quad_config *config,
                      const kn_quad_result *result, double scale, bool accumulate, const kn_tensor *dz);

/* Mean Teacher's consistency: mean over n·C·h·w of (softmax z - softmax z_ref)²; gradient to z only
 * (E17). Returns the loss; dz (NULL: none) as above. Pixels with exclude 255 do not count. */
double kn_loss_mse(kn_engine *engine, const kn_tensor *z, const kn_tensor *z_ref, const uint8_t *exclude,
                   double scale, bool accumulate, const kn_tensor *dz);

/* softmax of logits into host f32 (n,h,w,C): for prediction. */
void kn_softmax(kn_engine *engine, const kn_tensor *z, float *prob);

/* Schedules (E15). */
double kn_lambda_paper(double max, double t, double t_max);         /* max·exp(-5(1-t/T)²), t clamped to [0,T] */
double kn_lambda_released(double max, int64_t it);                  /* ramp over 200 blocks of 150 */
double kn_poly_lr(double lr0, double power, int64_t it, int64_t it_max); /* lr0(1-it/T)^power */
double kn_ema_alpha(double alpha_max, int64_t it);                  /* min(1-1/(it+1), alpha_max) */

#endif
