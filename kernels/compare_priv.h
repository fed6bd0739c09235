/* Between kernels/compare.c (which cuts the batch into runs of pixels and adds up their sums) and
 * the backends: like kernels/loss_priv.h, with one shape of function for all passes. A pass works
 * on pixels [first, first+n), a run that never crosses an image, and adds to its sums. */
#ifndef QS_KERNELS_COMPARE_PRIV_H
#define QS_KERNELS_COMPARE_PRIV_H

#include "kernels/compare.h"

enum { KN_COMPARE_SUMS = 3 * KN_SCALES_MAX };

typedef void kn_compare_pass(const void *args, int64_t first, int n, double *sums);

/* Sums: the loss. */
typedef struct {
    const kn_tensor *z1, *z2, *dz1, *dz2; /* dz may be NULL */
    const uint8_t *exclude;
    double grad_scale;
    bool accumulate;
} kn_kl_args;

typedef struct {
    const kn_tensor *z, *prob;
    double factor;
    bool accumulate;
} kn_prob_args;

/* Sums: sure pixels. */
typedef struct {
    const kn_tensor *prob;
    const uint8_t *exclude;
    double below;
    uint8_t *unsure;
    void *entropy; /* or NULL */
} kn_uncertainty_args;

/* urpc_sums: Σ q·e, Σ e, Σ v of each head, e = e^{-v}. urpc_grad: per head the derivatives
 * α = e·q_factor and β = v_factor - e·(q·q_factor - e_factor). */
typedef struct {
    const kn_tensor *const *z;
    const kn_tensor *const *dz;
    int n_scales;
    const uint8_t *exclude;
    double q_factor[KN_SCALES_MAX], e_factor[KN_SCALES_MAX], v_factor;
    bool accumulate;
} kn_urpc_args;

/* Sums: Σ cos. */
typedef struct {
    const kn_tensor *f1, *f2, *df1, *df2; /* df may be NULL */
    const uint8_t *exclude;
    double grad_scale; /* of cos, for each of the two */
    bool accumulate;
} kn_cosine_args;

/* attention_sums: Σ a², Σ a_ref², Σ a·a_ref. attention_grad: Σ (a/N - a_ref/N_ref)². One image. */
typedef struct {
    const kn_tensor *f, *f_ref, *df; /* df may be NULL */
    double inv_norm, inv_norm_ref;
    double grad_scale; /* of a pixel's squared distance */
    double dot;        /* <2(Â - Â_ref), Â> */
    bool accumulate;
} kn_attention_args;

/* Sums: decoupled, direct. */
typedef struct {
    const kn_tensor *z1, *z2, *dz1, *dz2; /* dz may be NULL */
    const uint8_t *exclude;
    double threshold, decoupled_scale, direct_scale;
    bool accumulate;
} kn_dcnet_args;

/* rank: runs of places in order, not of pixels; sums: the loss. */
typedef struct {
    const kn_tensor *z, *dz; /* dz may be NULL */
    const void *agreement;
    const uint32_t *order;
    int64_t n_order;
    void *score;
    double grad_scale;
} kn_rank_args;

/* sdcl_sums: Σ w·mse, Σ w·kl, |D|, |D and wrong|. */
typedef struct {
    const kn_tensor *z, *dz;
    const uint8_t *label, *y_other, *pseudo, *exclude;
    double weight[2];
    double mse_scale, kl_scale; /* divided by the sizes of the sets */
    bool accumulate;
} kn_sdcl_args;

typedef struct kn_compare_ops {
    kn_compare_pass *kl, *prob_add, *uncertainty;
    kn_compare_pass *urpc_sums, *urpc_grad;
    kn_compare_pass *cosine, *attention_sums, *attention_grad;
    kn_compare_pass *dcnet;
    kn_compare_pass *score, *rank; /* score: writes kn_rank_args.score, sums nothing */
    kn_compare_pass *sdcl_sums, *sdcl_grad;
} kn_compare_ops;

#endif
