/* Between kernels/loss/compare.c (which cuts the batch into runs of pixels and adds up their sums) and
 * the backends: like kernels/loss/loss_priv.h, with one shape of function for all passes. A pass works
 * on pixels [first, first+n), a run that never crosses an image, and adds to its sums. */
#ifndef QS_KERNELS_COMPARE_PRIV_H
#define QS_KERNELS_COMPARE_PRIV_H

#include "kernels/loss/compare.h"

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
    double q[KN_SCALES_MAX], e[KN_SCALES_MAX], v;
} kn_urpc_factors;

typedef struct {
    const kn_tensor *const *z;
    const kn_tensor *const *dz;
    int n_scales;
    const uint8_t *exclude;
    kn_urpc_factors by;
    double scale; /* that a device makes `by` of */
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
    const double *threshold_at; /* on a device, in the place of threshold */
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

/* ---- on a device ---------------------------------------------------------------------------
 * Arguments come with scales that are not yet divided by what is counted or summed; the passes
 * divide where they run, by what `before` points to: kernels/loss/compare_fold.h. */

/* What is made of a pass's sums. */
typedef enum {
    KN_END_MEANS, /* sums 0 and 1 over n·by[0] and n·by[1] */
    KN_END_COSINE,
    KN_END_URPC,
    KN_END_SDCL,
} kn_end;

typedef struct {
    kn_end kind;
    int n_scales, n_classes; /* URPC */
    double n;                /* pixels when the host knows them; below 0: the count */
    double by[2];
    double factor[2]; /* 0: that part is not wanted */
    double *value;    /* += , on the device */
} kn_compare_end;

typedef struct kn_device_compare {
    /* The pixels that count, of n; kept for what follows, until the next count. */
    void (*count)(kn_engine *engine, const uint8_t *exclude, int64_t n);
    /* which: place in kn_compare_ops. settle: the scales are divided by the count and by the sums
     * that `keep` has kept. */
    void (*pass)(kn_engine *engine, int which, const void *args, int n_images, int64_t image_px,
                 int n_sums, bool settle);
    /* The last pass's sums, of each image or (whole) of the batch, for one that settles. */
    void (*keep)(kn_engine *engine, int n_images, int n_sums, bool whole);
    void (*end)(kn_engine *engine, int n_images, int n_sums, const kn_compare_end *end);
    void (*dcnet_move)(kn_engine *engine, const kn_dcnet_rule *rule, int n_classes,
                       const kn_ref_sums *s1, const kn_ref_sums *s2, kn_dcnet_state *state);
    /* SDCL's labels: compare.h. */
    void (*sdcl_labels)(kn_engine *engine, const uint8_t *known, const uint8_t *exclude, int64_t n,
                        uint8_t *label, uint8_t *pseudo);
} kn_device_compare;

#endif
