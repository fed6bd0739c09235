/* The losses of the methods that MetaSSL is compared with, on logits and features: R-Drop, UA-MT,
 * URPC, CCVC, CEUD, DCNet, SDCL. What can be said as CE, Dice or squared distance with weights is
 * said with kernels/loss/loss.h (FixMatch, CCVC's consistency, CCT, BCP); here is the rest.
 *
 * Common to all
 *  1. Tensors are of the engine's dtype, NHWC, any ldc; at most QS_CLASSES_MAX classes. Shapes are
 *     the caller's to keep right (asserted). Nothing allocates.
 *  2. exclude is (n,h,w) u8, 255 excludes the pixel from values, counts and gradients; NULL: none.
 *  3. A mean is over the pixels that count; where none does, value and gradient are 0.
 *  4. Gradients are scale·d(loss)/d…, added to dz where accumulate is set, else written (0 at
 *     excluded pixels). A dz of NULL is not wanted. Channels past C are left alone.
 *  5. The bits depend on the shapes alone, not on the number of threads.
 * Formulas: kernels/loss/compare_pixel.h. Sections C.7, C.9 and golden group E17 of the specification.
 */
#ifndef QS_KERNELS_COMPARE_H
#define QS_KERNELS_COMPARE_H

#include "kernels/loss/loss.h"

/* R-Drop: ½[KL(p1‖p2) + KL(p2‖p1)] over classes, mean over pixels; gradient to both. */
double kn_loss_kl(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                  const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz1,
                  const kn_tensor *dz2);

/* prob (n,h,w,C) += or = factor·softmax(z): means over several passes. */
void kn_prob_add(kn_engine *engine, const kn_tensor *z, double factor, bool accumulate,
                 const kn_tensor *prob);
/* UA-MT: the entropy -Σ p·log(p + 1e-6) of prob. unsure (n,h,w) becomes 0 where it is below
 * `below`, else 255, and 255 where excluded: an `exclude` for kn_loss_mse. entropy (n,h,w) engine
 * dtype or NULL. Returns the number of sure pixels. */
int64_t kn_uncertainty(kn_engine *engine, const kn_tensor *prob, const uint8_t *exclude,
                       double below, uint8_t *unsure, void *entropy);
/* H of UA-MT: (0.75 + 0.25·exp(-5(1-t/T)²))·ln C (E15). */
double kn_uamt_threshold(int n_classes, double t, double t_max);

enum { KN_SCALES_MAX = 4 };
/* URPC over predictions of n_scales heads at one size: p̄ their mean (with gradient), V_s =
 * KL(p̄‖p_s); mean over s of mean((p̄-p_s)²·e^{-V_s}) / (mean(e^{-V_s}) + 1e-8) + mean V_s. dz[s] may
 * be NULL. */
double kn_loss_urpc(kn_engine *engine, const kn_tensor *const *z, int n_scales,
                    const uint8_t *exclude, double scale, bool accumulate,
                    const kn_tensor *const *dz);

/* CCVC's discrepancy of features f1, f2 (n,h,w,C any): mean of 1 + cos over channels, the product
 * of the norms at least 1e-6. Each is a constant in half of it: the gradients are half of the
 * whole. */
double kn_loss_cosine(kn_engine *engine, const kn_tensor *f1, const kn_tensor *f2,
                      const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *df1,
                      const kn_tensor *df2);

/* DCNet's attention transfer: A(f) = the mean of f² over channels, over all pixels of an image made
 * a vector of length 1; mean over images and pixels of (A(f) - A(f_ref))². Channels may differ. */
double kn_loss_attention(kn_engine *engine, const kn_tensor *f, const kn_tensor *f_ref,
                         double scale, bool accumulate, const kn_tensor *df);

/* DCNet's two terms between decoders. `threshold`: a class of a pixel is high where both
 * probabilities are above it. decoupled: outside that, the larger probability is the target of the
 * other, squared distance of softmaxes sharpened at T = ½, mean over pixels and classes. direct:
 * CE of the high logits (others 0) to the argmax of the other's high probabilities, both ways. */
typedef struct {
    double decoupled, direct;
} kn_dcnet_loss;
kn_dcnet_loss kn_loss_dcnet(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                            const uint8_t *exclude, double threshold, double decoupled_scale,
                            double direct_scale, bool accumulate, const kn_tensor *dz1,
                            const kn_tensor *dz2);
/* μ ← clip(min_i[(1-r)·μ + r·mean_i], low, high). */
double kn_dcnet_threshold(double mu, double r, double mean1, double mean2, double low, double high);

/* CEUD's ranking. order (n_order) lists pixels; the one at q is paired with the one at q-1 (0 with
 * the last): mean of max(0, -sign(k'-k)(s'-s) + |k'-k|), s the largest probability, k the agreement
 * (n,h,w) of engine dtype in [0,1]. score (n,h,w) engine dtype is written (a buffer). No pixel
 * comes twice in order; those not in it have no gradient. */
double kn_loss_rank(kn_engine *engine, const kn_tensor *z, const void *agreement,
                    const uint32_t *order, int64_t n_order, void *score, double scale,
                    bool accumulate, const kn_tensor *dz);

/* SDCL's corrections of z where its argmax differs from y_other (n,h,w), the other student's: the
 * set D. mse: Σ_D w·mean_c(p - onehot)²/|D|. kl: Σ_{D, argmax ≠ label} w·mean_c(-log p)/|same set|.
 * label (n,h,w), values >= C exclude; pseudo (n,h,w) u8 picks w: weight[pseudo != 0], NULL
 * weight[0]. */
typedef struct {
    double mse, kl;
} kn_sdcl_loss;
kn_sdcl_loss kn_loss_sdcl(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                          const uint8_t *y_other, const uint8_t *pseudo, const double weight[2],
                          const uint8_t *exclude, double mse_scale, double kl_scale,
                          bool accumulate, const kn_tensor *dz);

/* ---- numbers that stay ----------------------------------------------------------------------
 * As in kernels/loss/loss.h: the loss is added to *value, where the engine computes; nobody waits. */
void kn_loss_kl_at(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                   const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *dz1,
                   const kn_tensor *dz2, double *value);
void kn_uncertainty_at(kn_engine *engine, const kn_tensor *prob, const uint8_t *exclude,
                       double below, uint8_t *unsure, void *entropy);
void kn_loss_urpc_at(kn_engine *engine, const kn_tensor *const *z, int n_scales,
                     const uint8_t *exclude, double scale, bool accumulate,
                     const kn_tensor *const *dz, double *value);
void kn_loss_cosine_at(kn_engine *engine, const kn_tensor *f1, const kn_tensor *f2,
                       const uint8_t *exclude, double scale, bool accumulate, const kn_tensor *df1,
                       const kn_tensor *df2, double *value);
void kn_loss_attention_at(kn_engine *engine, const kn_tensor *f, const kn_tensor *f_ref,
                          double scale, bool accumulate, const kn_tensor *df, double *value);
/* factor: of decoupled and of direct, 0 leaves one out. threshold: the engine's. */
void kn_loss_dcnet_at(kn_engine *engine, const kn_tensor *z1, const kn_tensor *z2,
                      const uint8_t *exclude, const double *threshold, double decoupled_scale,
                      double direct_scale, bool accumulate, const kn_tensor *dz1,
                      const kn_tensor *dz2, const double factor[2], double *value);
/* order and agreement: the engine's. */
void kn_loss_rank_at(kn_engine *engine, const kn_tensor *z, const void *agreement,
                     const uint32_t *order, int64_t n_order, void *score, double scale,
                     bool accumulate, const kn_tensor *dz, double *value);
/* factor: of mse and of kl. */
void kn_loss_sdcl_at(kn_engine *engine, const kn_tensor *z, const uint8_t *label,
                     const uint8_t *y_other, const uint8_t *pseudo, const double weight[2],
                     const uint8_t *exclude, double mse_scale, double kl_scale, bool accumulate,
                     const kn_tensor *dz, const double factor[2], double *value);
/* SDCL's labels on mixed images: known (n) where it is not 255, else 255 where exclude is, else
 * what `label` has, the teacher's class. pseudo (n): 1 where known is 255. */
void kn_sdcl_labels_at(kn_engine *engine, const uint8_t *known, const uint8_t *exclude, int64_t n,
                       uint8_t *label, uint8_t *pseudo);

/* DCNet's threshold as a step moves it, from two predictions' sums. */
typedef struct {
    double r, low, high; /* kn_dcnet_threshold */
} kn_dcnet_rule;
typedef struct {
    double mu;       /* 0: not yet */
    double all_sure; /* 1: both mean confidences are `high` or more */
    double direct;   /* of the direct term: mu, or -1 where all are sure */
} kn_dcnet_state;
void kn_dcnet_move_at(kn_engine *engine, const kn_dcnet_rule *rule, int n_classes,
                      const kn_ref_sums *s1, const kn_ref_sums *s2, kn_dcnet_state *state);

#endif
