/* Between kernels/loss/loss.c (which drives the passes over pixels and finishes their sums) and the
 * backends (which do a run of pixels each).
 *
 * A backend is a table of functions that work on pixels [first, first+n) of the batch, a run that
 * never crosses an image, and add to the sums they are given. loss.c cuts the batch into runs of
 * KN_LOSS_UNIT pixels, the same whatever the number of threads, and adds up the runs' sums in
 * order, so a backend needs to know nothing of threads. */
#ifndef QS_KERNELS_LOSS_PRIV_H
#define QS_KERNELS_LOSS_PRIV_H

#include "kernels/engine/engine_priv.h"
#include "kernels/loss/loss.h"

enum { KN_LOSS_UNIT = 8192, KN_ROUND = 64 };

/* The batch cut into units of KN_LOSS_UNIT pixels, none of which crosses an image. */
typedef struct {
    int64_t image_px, per_image, n;
} kn_units;

static inline kn_units kn_units_of(int n_images, int64_t image_px)
{
    int64_t per_image = (image_px + KN_LOSS_UNIT - 1) / KN_LOSS_UNIT;
    return (kn_units){image_px, per_image, per_image * n_images};
}

/* First pixel of a unit in the batch; *n of them. */
static inline int64_t kn_unit_first(const kn_units *u, int64_t unit, int *n)
{
    int64_t in_image = unit % u->per_image * KN_LOSS_UNIT;
    int64_t left = u->image_px - in_image;
    *n = left < KN_LOSS_UNIT ? (int)left : (int)KN_LOSS_UNIT;
    return unit / u->per_image * u->image_px + in_image;
}

/* Of n pixels those whose exclude is not 255; all when it is NULL. */
int64_t kn_count_kept(kn_engine *engine, const uint8_t *exclude, int64_t n);

typedef struct {
    const kn_tensor *z;
    kn_confidence confidence;
    const uint8_t *exclude; /* or NULL */
    uint8_t *y;
    void *conf;
    bool with_prob;
    double above_tau; /* 0: nothing is counted */
} kn_ref_args;

/* Weights are constant in a region, so Σw and Σw·ce need only counts and plain sums of each. */
typedef struct {
    int64_t px[KN_N_REGIONS], right[KN_N_REGIONS], truth[KN_N_REGIONS];
    double ce[KN_N_REGIONS];
    int64_t uc_background_px; /* target 0 in UC; both only where config->uc asks for it */
    double uc_background_ce;
    double inter[QS_CLASSES_MAX];  /* Σ w·t·p */
    double target[QS_CLASSES_MAX]; /* Σ w·t */
    double pred[QS_CLASSES_MAX];   /* Σ w·p, or Σ w·p² for the squared form */
} kn_quad_sums;

typedef struct {
    const kn_tensor *z;
    const uint8_t *label, *exclude, *truth; /* or NULL */
    const uint8_t *ref_y;                   /* or NULL */
    const void *ref_conf;
    const kn_quad_config *config;
    uint8_t *region;
} kn_quad_args;

/* The factors of one run's gradient, everything multiplied in. */
typedef struct {
    const kn_tensor *z, *dz;
    const uint8_t *target; /* label or ref.y */
    const uint8_t *region;
    kn_dice dice;
    bool accumulate;
    double weights[KN_N_REGIONS];    /* in the Dice part */
    double ce_weights[KN_N_REGIONS]; /* in the CE part */
    double ce_uc_background;         /* in the CE part, of UC's pixels with target 0 */
    double dice_scale;               /* of the weights in the Dice part */
    double dice_a[QS_CLASSES_MAX], dice_b[QS_CLASSES_MAX]; /* see quad_pixel.h */
} kn_grad_args;

typedef struct {
    const kn_tensor *z, *z_ref, *dz; /* dz may be NULL */
    const uint8_t *exclude;          /* or NULL */
    double grad_scale;               /* scale·2/(C·counted pixels) */
    bool accumulate;
} kn_mse_args;

typedef struct {
    const char *name;
    void (*reference)(const kn_ref_args *args, int64_t first, int n, kn_ref_sums *sums);
    void (*partition)(const kn_quad_args *args, int64_t first, int n, kn_quad_sums *sums);
    /* ce_scale: factor of w in the CE part, scale/Z of this run's image */
    void (*gradient)(const kn_grad_args *args, int64_t first, int n, double ce_scale);
    void (*mse)(const kn_mse_args *args, int64_t first, int n, double *sum);
    void (*softmax)(const kn_tensor *z, int64_t first, int n, float *prob);
    void (*argmax)(const kn_tensor *z, int64_t first, int n, uint8_t *y);
    const struct kn_compare_ops *compare; /* kernels/loss/compare_priv.h */
} kn_loss_ops;

/* A device does a whole batch at once. Pointers of the arguments are the device's, all but config
 * (its gamma_at, weights_at and compare are); so are those of numbers: nothing waits but what says
 * so. Sums have the image's pixels in one order, then the images in theirs. */
typedef struct kn_device_loss {
    /* Room for the numbers of a call that waits for them; borrowed until the next. NULL when the
     * device has failed. */
    void *(*room)(kn_engine *engine, size_t bytes);
    void (*reference)(kn_engine *engine, const kn_ref_args *args, kn_ref_sums *sums);
    void (*gamma)(kn_engine *engine, const kn_gamma_rule *rule, int n_classes,
                  const kn_ref_sums *sums, double *gamma, double *state);
    void (*partition)(kn_engine *engine, const kn_quad_args *args, double *z_image,
                      kn_quad_result *result);
    /* args as far as they need no sums: z, dz, target, region, accumulate */
    void (*gradient)(kn_engine *engine, const kn_grad_args *args, const kn_quad_config *config,
                     const double *z_image, const kn_quad_result *result, double scale);
    /* args->grad_scale: the scale alone */
    void (*mse)(kn_engine *engine, const kn_mse_args *args, double *value);
    /* Waits. */
    int64_t (*count_kept)(kn_engine *engine, const uint8_t *exclude, int64_t n);
    const struct kn_device_compare *compare;               /* compare_priv.h */
    void (*clear)(kn_engine *engine, const kn_tensor *dz); /* its channels, not those past C */
    void (*softmax)(kn_engine *engine, const kn_tensor *z,
                    float *prob);                                      /* prob: the host's; waits */
    void (*argmax)(kn_engine *engine, const kn_tensor *z, uint8_t *y); /* y: the host's; waits */
    void (*argmax_at)(kn_engine *engine, const kn_tensor *z, uint8_t *y);
} kn_device_loss;

static inline const kn_device_loss *kn_device_loss_of(const kn_engine *engine)
{
    return engine->backend->loss;
}

/* Where a call that waits has its numbers: a device's room, or `own` on the host; NULL when the
 * device has failed. And the end of the wait. */
static inline void *kn_numbers_open(kn_engine *engine, void *own, size_t bytes)
{
    return kn_device_loss_of(engine) ? kn_device_loss_of(engine)->room(engine, bytes) : own;
}

static inline void kn_numbers_read(kn_engine *engine, void *own, const void *at, size_t bytes)
{
    if (at && at != own)
        kn_engine_download(engine, own, at, bytes);
}

extern const kn_loss_ops kn_ref_loss_ops;
/* The CPU passes for this machine, chosen once. */
const kn_loss_ops *kn_cpu_loss_ops(void);
/* The i-th table that runs on this machine, plainest first; NULL past the last. For tests: all of
 * them give the same bits. */
const kn_loss_ops *kn_cpu_loss_ops_at(int i);

#endif
