/* The trainer: owns networks, optimiser, data, schedules, validation and training state; runs the
 * step that an SSL method declares (train/plan/method.h).
 *
 * A run is a folder:
 *   state.safetensors   everything that a resumed run needs: the truth, replaced by atomic rename
 *   last.safetensors    the model of that state (written after it; made again at a resume if older)
 *   best.safetensors    the model with the best validation DSC (written before the state that says
 * so) metrics.csv         iteration,name,value,unit; cut back to the state at a resume run.json
 * options, device, versions, data: for people A kill at any moment leaves a state that resumes to
 * the same bits as an uninterrupted run. */
#ifndef QS_TRAIN_TRAINER_H
#define QS_TRAIN_TRAINER_H

#include "model/model.h"
#include "train/plan/options.h"
#include "train/data/source.h"

/* What a validation or a finished run hands out. NaN where unknown. */
typedef struct {
    int64_t iteration, iterations;     /* steps done, of the schedule */
    double loss, loss_sup, loss_unsup; /* means since the last status; loss_unsup without λ */
    double lr, lambda;
    /* Of unlabelled pixels since the last status (of labelled ones where the method has no others).
     */
    double region_share[KN_N_REGIONS];
    double region_loss_share[KN_N_REGIONS];
    double region_accuracy[KN_N_REGIONS]; /* of the reference, where a truth is known */
    /* --weights auto, of the first unlabelled slot: the weights, and the accuracies that they are
     * made from; NaN else. */
    double region_weight[KN_N_REGIONS], held_accuracy[KN_N_REGIONS];
    double gamma_unl[QS_CLASSES_MAX],
        gamma_lab[QS_CLASSES_MAX]; /* of the first slot of that half */
    int n_classes;
    double patches_per_s, eta_s;
    double val_dsc, best_dsc;
} tr_status;

/* One batch as the loss saw it, for pictures. All borrowed for the call. */
typedef struct {
    int64_t iteration;
    int n, n_labelled, patch_px, n_classes;
    const uint8_t *rgb;   /* (n,h,w,3), augmented */
    const uint8_t *label; /* (n,h,w), 255 where the loss had none */
    const uint8_t *y;     /* (n,h,w) argmax of the supervised prediction */
    const uint8_t *
        y_ref; /* (n,h,w) argmax of the reference, 255 where there is none; NULL: no term has one */
    const uint8_t *region; /* (n,h,w) KN_REGION_…; NULL for plain losses */
} tr_snapshot;

/* All optional. */
typedef struct {
    void *user;
    /* Before step 0: plan what validation needs on this engine. Adds its bytes. */
    bool (*prepare)(void *user, const model *m, kn_engine *engine, int64_t *bytes, GError **error);
    /* So many of the training patches are on the GPU, before the first step. */
    void (*loading)(void *user, size_t done, size_t total);
    /* Validates the current weights; returns the mean foreground DSC. NULL: no validation. */
    bool (*validate)(void *user, const model *m, kn_engine *engine, int64_t iteration, double *dsc,
                     GError **error);
    /* After the last use of the engine. */
    void (*release)(void *user);
    void (*status)(void *user, const tr_status *status); /* every log_every */
    bool (*metrics)(void *user, int64_t iteration, const char *const *names, const double *values,
                    const char *const *units, size_t n, GError **error);
    void (*snapshot)(void *user, const tr_snapshot *snapshot); /* at each validation */
    /* Microseconds of a steady clock; NULL: the machine's. */
    int64_t (*clock_us)(void *user);
} tr_callbacks;

/* Trains, resuming from out_dir when there is a state of the same options (QS_ERROR_MISMATCH names
 * the first option that differs, with both values). QS_ERROR_STOPPED after a stop request, state
 * saved. spec: classes, mean, std, mpp, level0, patch_px filled by the caller; the rest by the
 * trainer. */
bool tr_run(const tr_options *options, const tr_source *source, const model_spec *spec,
            const tr_callbacks *callbacks, GError **error);

#endif
