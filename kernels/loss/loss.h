/* MetaSSL's loss and its plain relatives, on logits. Three passes over the pixels and no more:
 *   1 kn_loss_reference   softmax, argmax, confidence of the reference; per-class sums (eq. 9)
 *   2 kn_loss_partition   regions, weights, Z, CE and Dice sums of the supervised prediction
 *   3 kn_loss_gradient    dlogits
 * Between 1 and 2 the host updates γ (kn_gamma_update, eq. 10).
 * Everything else is a special case: no reference and weights 1 → plain CE + Dice (E14); target =
 * reference argmax and weights 1 → CPS's cross pseudo supervision; weights 1 0 1 0 over all pixels
 * and γ = τ → FixMatch's masked CE; weights 1 1 ω 1 over all pixels → CCVC's consistency; each part
 * of a mixed image with the other one excluded → BCP (E13).
 *
 * Logits are of the engine's dtype, NHWC, at most QS_CLASSES_MAX channels, any ldc. Sums are taken
 * in double over pieces of fixed size, added in a fixed order: the same bits on any number of
 * threads. Nothing allocates. The caller keeps shapes right (asserted). */
#ifndef QS_KERNELS_LOSS_H
#define QS_KERNELS_LOSS_H

#include "base/classes.h"
#include "kernels/engine/engine.h"
#include "kernels/loss/quad.h"

/* φ(u) of eq. (6) and Table VI: linear max(0, 1-u/2), reciprocal 1/(1+u), cosine (1+cos u)/2,
 * gauss exp(-u^beta). */
double kn_phi_value(kn_phi phi, double beta, double u);
/* The four weights in order UC US DC DS: φ(0), φ(δ), φ(2δ), φ(3δ); labelled swaps DC and DS. The
 * bisections use φ(0) and φ(δ) only. */
void kn_region_weights(kn_phi phi, double beta, double delta, kn_partition partition, bool labelled,
                       double weights[KN_N_REGIONS]);
/* Where γ starts: the measure of (½, rest uniform), as ½ is for the largest probability. */
double kn_gamma_start(kn_confidence confidence, int n_classes);

/* Pass 1: memory planned by the caller, what is asked for, results. Sums leave excluded pixels out.
 */
typedef struct {
    uint8_t *y;                      /* (n,h,w) argmax, ties to the lowest class */
    void *conf;                      /* (n,h,w) engine dtype */
    bool with_prob;                  /* sum_prob is wanted (else 0) */
    double above_tau;                /* `above` is wanted, of confidences > this; 0: not */
    double sum_conf[QS_CLASSES_MAX]; /* by argmax */
    double sum_prob[QS_CLASSES_MAX]; /* of the class's probability, over all pixels */
    int64_t count[QS_CLASSES_MAX];   /* by argmax */
    int64_t above[QS_CLASSES_MAX];   /* by argmax */
} kn_reference;

/* Sums as kn_reference has them. */
typedef struct {
    double conf[QS_CLASSES_MAX], prob[QS_CLASSES_MAX];
    int64_t count[QS_CLASSES_MAX], above[QS_CLASSES_MAX];
} kn_ref_sums;

/* exclude: (n,h,w) u8, pixels with value 255 are excluded from the sums (y and conf are written for
 * them all the same); NULL: none. */
void kn_loss_reference(kn_engine *engine, const kn_tensor *z_ref, kn_confidence confidence,
                       const uint8_t *exclude, kn_reference *ref);
/* γ_c ← a·O_c + (1-a)·γ_c, capped at 1 (eqs. 9, 10), O_c the mean confidence of the pixels
 * predicted as c. A class never predicted keeps its γ; released: O_c = sum/(count+1) for every
 * class. */
void kn_gamma_update(double *gamma, int n_classes, const kn_reference *ref, double a,
                     kn_absent absent);
/* FlexMatch's class-wise thresholds on pixels (E16). share_c, the share of pixels that are class c
 * with a confidence above τ (ref->above, above_tau = τ), is averaged over batches: share ←
 * ema·share + (1-ema)·batch, from 0. With the warm-up of the published code, β_c = share_c /
 * max(max share, 1 - Σ share); γ_c = τ·β_c/(2-β_c). A class never confident has γ = 0. */
void kn_flexmatch_update(double *gamma, double *share, int n_classes, const kn_reference *ref,
                         double tau, double ema);
/* FreeMatch (E16): level ← m·level + (1-m)·mean confidence, p_model_c ← m·p_model_c + (1-m)·mean
 * probability (ref->with_prob), both from 1/C; γ_c = level·p_model_c/max p_model. A batch without
 * pixels changes nothing, in either. */
void kn_freematch_update(double *gamma, double *level, double *p_model, int n_classes,
                         const kn_reference *ref, double m);

/* Any of the three, as a device is told of it. */
typedef struct {
    kn_threshold threshold;
    double a; /* KN_THRESHOLD_ADAPTIVE */
    kn_absent absent;
    double tau, ema; /* FlexMatch; of FreeMatch m is `ema` */
} kn_gamma_rule;

typedef struct {
    bool labelled; /* target and comparison: `label`; else target ref.y, comparison argmax z */
    const uint8_t *compare; /* (n,h,w) compared with ref.y instead, NULL: as said above */
    double weights[KN_N_REGIONS];
    double gamma[QS_CLASSES_MAX];
    bool gamma_inclusive; /* a confidence of just γ is confident: FixMatch's >= */
    kn_z_scope z_scope;   /* KN_Z_IMAGE wants KN_CE_Z */
    kn_ce_norm norm;      /* of the CE part; Dice is a ratio and has its own */
    kn_uc uc;             /* with KN_CE_REGION_MEAN */
    kn_dice dice;         /* its sums run over the batch whatever z_scope */
    double dice_eps;      /* 1e-5 */
    double ce_scale;      /* factor of the CE part: 1; 0.5 for sup=ssl4mis */
    double dice_scale;    /* factor of the Dice part: 1 */
    /* Read where the engine computes, in the place of gamma and weights; NULL: those. For the
     * functions that end in _at. */
    const double *gamma_at, *weights_at;
} kn_quad_config;

typedef struct {
    double loss, ce, dice; /* loss = ce_scale·ce + dice_scale·dice; all 0 when Z is 0 */
    double z;              /* batch Σw */
    double dice_n[QS_CLASSES_MAX], dice_d[QS_CLASSES_MAX];
    int64_t region_px[KN_N_REGIONS];    /* pixel counts */
    int64_t uc_background_px;           /* of UC's, those with target 0; 0 with KN_UC_WHOLE */
    double region_loss[KN_N_REGIONS];   /* parts of the CE, up to a factor common to them */
    int64_t region_right[KN_N_REGIONS]; /* pixels whose ref.y equals `truth`, when both are given */
    int64_t truth_px[KN_N_REGIONS];     /* pixels that have a truth */
} kn_quad_result;

/* Pass 2. z (n,h,w,C) supervised logits. label (n,h,w) u8, needed and looked at only when labelled;
 * a value >= C (255 by convention) excludes the pixel. exclude (n,h,w) u8: 255 excludes; NULL none.
 * ref NULL (labelled only): plain loss, every pixel in UC. truth: for region_right only, values >=
 * C do not count, NULL none. region (n,h,w) u8 is written (KN_REGION_EXCLUDED where excluded).
 * z_image: n doubles, Σw of each image is written; NULL is fine with KN_Z_BATCH. KN_Z_IMAGE's loss
 * is the mean over the n images of their own CE, an image without weight counting as 0. */
void kn_loss_partition(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                       const uint8_t *exclude, const kn_reference *ref, const uint8_t *truth,
                       const kn_quad_config *config, uint8_t *region, double *z_image,
                       kn_quad_result *result);
/* Pass 3: dz += or = scale · d(loss)/dz with the sums of pass 2; Z, w, γ and the argmaxes are
 * constants. 0 at excluded pixels. accumulate false overwrites; channels of dz past C are
 * left alone. */
void kn_loss_gradient(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                      const kn_reference *ref, const uint8_t *region, const double *z_image,
                      const kn_quad_config *config, const kn_quad_result *result, double scale,
                      bool accumulate, const kn_tensor *dz);

/* Mean Teacher's consistency: mean over n·C·h·w of (softmax z - softmax z_ref)²; gradient to z only
 * (E17). Returns the loss; dz (NULL: none) as above. Pixels with exclude 255 do not count. */
double kn_loss_mse(kn_engine *engine, const kn_tensor *z, const kn_tensor *z_ref,
                   const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz);

/* ---- numbers that stay ----------------------------------------------------------------------
 * The same, with every number that one pass finds and another reads where the engine computes
 * (kn_engine_alloc): nobody waits, and a whole step can be on its way before its first loss is
 * known. Pointers to numbers are the engine's; on the CPU that is any memory, and the bits are
 * those of the functions above. On a device so they are too, given the same sums. */
/* ref->y, conf, with_prob and above_tau; its sums are left alone. */
void kn_loss_reference_at(kn_engine *engine, const kn_tensor *z_ref, kn_confidence confidence,
                          const uint8_t *exclude, const kn_reference *ref, kn_ref_sums *sums);
/* gamma (QS_CLASSES_MAX), state (QS_CLASSES_MAX + 1): share or p_model, then level. */
void kn_gamma_update_at(kn_engine *engine, const kn_gamma_rule *rule, int n_classes,
                        const kn_ref_sums *sums, double *gamma, double *state);
void kn_loss_partition_at(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                          const uint8_t *exclude, const kn_reference *ref, const uint8_t *truth,
                          const kn_quad_config *config, uint8_t *region, double *z_image,
                          kn_quad_result *result);
void kn_loss_gradient_at(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                         const kn_reference *ref, const uint8_t *region, const double *z_image,
                         const kn_quad_config *config, const kn_quad_result *result, double scale,
                         bool accumulate, const kn_tensor *dz);
/* *value += the loss. */
void kn_loss_mse_at(kn_engine *engine, const kn_tensor *z, const kn_tensor *z_ref,
                    const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz,
                    double *value);

/* softmax of logits into host f32 (n,h,w,C), dense: for prediction. */
void kn_softmax(kn_engine *engine, const kn_tensor *z, float *prob);
/* argmax of logits (n,h,w), ties to the lowest class: for pictures. */
void kn_argmax(kn_engine *engine, const kn_tensor *z, uint8_t *y);
/* The same where the engine computes; waits for nothing. */
void kn_argmax_at(kn_engine *engine, const kn_tensor *z, uint8_t *y);

/* Schedules (E15). */
/* max·exp(-5(1-t/T)²), t clamped to [0,T]. */
double kn_lambda_paper(double max, double t, double t_max);
/* The same ramp over 200 blocks of 150 iterations. */
double kn_lambda_released(double max, int64_t it);
/* lr0·(1-it/T)^power, 0 from T on. */
double kn_poly_lr(double lr0, double power, int64_t it, int64_t it_max);
/* min(1-1/(it+1), alpha_max). */
double kn_ema_alpha(double alpha_max, int64_t it);

#endif
