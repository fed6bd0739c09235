/* The words of the quadripartition (MetaSSL, section III): regions and the choices of its loss.
 * Valid as C17 and as CUDA; kernels/loss/loss.h is the interface, kernels/loss/quad_pixel.h the arithmetic.
 */
#ifndef QS_KERNELS_QUAD_H
#define QS_KERNELS_QUAD_H

/* Unanimous/discrepant × confident/suspicious, eqs. (1)-(4). */
enum {
    KN_REGION_UC,
    KN_REGION_US,
    KN_REGION_DC,
    KN_REGION_DS,
    KN_N_REGIONS,
    KN_REGION_EXCLUDED = 255
};

typedef enum { KN_CONF_MAX, KN_CONF_MAD, KN_CONF_VAR, KN_CONF_STD } kn_confidence;
typedef enum { KN_PHI_LINEAR, KN_PHI_RECIPROCAL, KN_PHI_COSINE, KN_PHI_GAUSS } kn_phi;
typedef enum {
    KN_PARTITION_QUAD,
    KN_PARTITION_CONF_BH, /* two weights, by confidence alone */
    KN_PARTITION_CONS_BH, /* two weights, by consistency alone */
    KN_PARTITION_UNIFORM, /* all weights φ(0) */
} kn_partition;
typedef enum { KN_Z_BATCH, KN_Z_IMAGE } kn_z_scope;
/* What the CE part is divided by. */
typedef enum {
    KN_CE_Z,           /* Σw, eqs. (5) and (7) */
    KN_CE_REGION_MEAN, /* each region on its own, as in the released code: Σ_r w_r·ΣCE_r/(n_r+1)
                        */
    KN_CE_PIXELS,      /* the number of pixels, whatever their weights: FixMatch, CCVC */
} kn_ce_norm;
/* KN_CE_REGION_MEAN: is UC one region, or background (class 0) and foreground, each with its
 * mean? KN_UC_RELEASED is what the released 2-D code does: its foreground mask selects the
 * background, so that confident unanimous foreground has no loss and background counts twice. */
typedef enum { KN_UC_WHOLE, KN_UC_SPLIT, KN_UC_RELEASED } kn_uc;
/* How γ follows the reference. */
typedef enum {
    KN_THRESHOLD_ADAPTIVE,  /* eqs. (9), (10): kn_gamma_update */
    KN_THRESHOLD_FIXED,     /* stays where it starts */
    KN_THRESHOLD_FLEXMATCH, /* kn_flexmatch_update */
    KN_THRESHOLD_FREEMATCH, /* kn_freematch_update */
} kn_threshold;
typedef enum { KN_DICE_NONE, KN_DICE_LINEAR, KN_DICE_SQUARE } kn_dice;
typedef enum { KN_ABSENT_KEEP, KN_ABSENT_RELEASED } kn_absent; /* γ of a class never predicted */

#endif
