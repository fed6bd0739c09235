/* The trainer: owns networks, optimiser, data, schedules, validation and training state; runs the
 * step that an SSL method declares (train/ssl/method.h). */
#ifndef QS_TRAIN_TRAINER_H
#define QS_TRAIN_TRAINER_H

#include "kernels/loss.h"
#include "model/model.h"
#include "train/source.h"

typedef enum { TR_LOSS_PLAIN, TR_LOSS_METASSL } tr_loss;
typedef enum { TR_SUP_PAPER, TR_SUP_SSL4MIS } tr_sup;

/* Every constant, with the recommended default (tr_options_init). Names as on the command line. */
typedef struct {
    const char *method; /* "SL", "FullSup", "MT", "CPS" (any case) */
    tr_loss loss;
    const char *out_dir;
    /* network and engine */
    int width;                /* 16 */
    int n_threads;
    kn_conv_mode conv;
    const char *init;         /* safetensors or NULL */
    /* data */
    int batch_labelled, batch_unlabelled; /* 12, 12 */
    int loader_threads;                   /* 1 */
    bool augment;                         /* true: flips, quarter turns, jitter */
    double jitter_stain, jitter_brightness; /* 0.05, 0.1 */
    /* schedule */
    int64_t iterations;       /* 30000 */
    double lr, lr_power, momentum, weight_decay; /* .01 .9 .9 1e-4 */
    double lambda_max;        /* .1 */
    double max_hours;         /* 0: no limit */
    uint64_t seed;            /* 1337 */
    /* MetaSSL, A.11 */
    kn_phi phi;
    double phi_beta, delta_u, delta_l, gamma0, gamma_a;
    kn_confidence confidence;
    kn_partition partition;
    kn_z_scope z_scope;
    bool gamma_fixed;         /* threshold fixed: γ stays gamma0 */
    tr_sup sup;
    double dice_eps;
    /* MT */
    double ema;               /* .99 */
    double teacher_noise;     /* .1, clipped at 2x */
    double mt_start_share;    /* 1/30 of T without consistency */
    bool no_dropout;          /* tests */
    /* cadence */
    int64_t val_every;        /* 200 */
    int64_t save_every;       /* 500 */
    int64_t log_every;        /* 10 */
    bool fresh;
} tr_options;
void tr_options_init(tr_options *options);

/* What a validation or a finished run hands out. */
typedef struct {
    int64_t iteration, iterations;
    double loss, loss_sup, loss_unsup, lr, lambda;
    double region_share[KN_N_REGIONS];       /* of unlabelled pixels since the last log */
    double region_accuracy[KN_N_REGIONS];    /* NaN when unknown */
    double gamma_unl[QS_CLASSES_MAX], gamma_lab[QS_CLASSES_MAX];
    double patches_per_s, eta_s;
    double val_dsc, best_dsc;                /* NaN until known */
} tr_status;

/* One batch as the loss saw it, for pictures. All borrowed for the call. */
typedef struct {
    int64_t iteration;
    int n, n_labelled, patch_px, n_classes;
    const uint8_t *rgb;      /* (n,h,w,3), augmented */
    const uint8_t *label;    /* (n,h,w), 255 where there is none */
    const uint8_t *y;        /* argmax of the supervised prediction */
    const uint8_t *y_ref;    /* argmax of the reference; NULL for plain losses */
    const uint8_t *region;   /* NULL for plain losses */
} tr_snapshot;

typedef struct {
    void *user;
    /* Validates the current weights; returns foreground DSC. NULL: no validation. */
    bool (*validate)(void *user, const model *m, kn_engine *engine, double *dsc, GError **error);
    void (*status)(void *user, const tr_status *status);           /* every log_every */
    bool (*metrics)(void *user, int64_t step, const char *const *names, const double *values,
                    const char *const *units, size_t n, GError **error);
    void (*snapshot)(void *user, const tr_snapshot *snapshot);     /* at each validation */
} tr_callbacks;

/* Trains, resuming from out_dir when there is a state of the same options (QS_ERROR_MISMATCH names the
 * first option that differs). Writes out_dir/{last,best}.safetensors, state.safetensors,
 * metrics.csv, run.json. QS_ERROR_STOPPED after a stop request, state saved. spec: classes, mean, std, mpp,
 * patch_px filled by the caller; the rest by the trainer. */
bool tr_run(const tr_options *options, const tr_source *source, const model_spec *spec,
            const tr_callbacks *callbacks, GError **error);

#endif
