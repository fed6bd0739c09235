/* What losses.c makes ready and runs, and pictures.c shows of the last run. */
#ifndef QS_TRAIN_LOSSES_PRIV_H
#define QS_TRAIN_LOSSES_PRIV_H

#include "kernels/engine/memory.h"
#include "train/loss/losses.h"
#include "train/loss/thresholds.h"

/* What a run leaves where the engine computes: later passes read it, and it is fetched for the log
 * and the state. γ and the memory of the method's own terms are the learner's own on the host. */
typedef struct {
    double value[SSL_TERMS_MAX]; /* of terms that are not quadripartite */
    kn_quad_result quad[SSL_TERMS_MAX];
    double memory[SSL_MEMORY_MAX];
    double gamma[SSL_GAMMAS_MAX][QS_CLASSES_MAX];
    double gamma_state[SSL_GAMMAS_MAX][TR_GAMMA_STATE];
} numbers;

/* A run whose numbers have not been looked at. */
typedef struct {
    struct tr_losses *losses;
    numbers *found; /* pinned; on the host where the run has left them */
    bool ran[SSL_TERMS_MAX];
    double weight[SSL_TERMS_MAX];
} run_record;

/* A reference prediction: some images of one output. Terms share it. */
typedef struct {
    int forward, output, first, n;
    ssl_half on;
    int term;        /* the first that uses it: says what its pixels are */
    unsigned stages; /* of all that use it */
    kn_reference ref;
    kn_ref_sums *sums; /* there */
} reference;

/* Label planes of one way of mixing. */
typedef struct {
    int forward;            /* the first that is mixed so */
    kn_planes planes, host; /* where the engine computes, and as they are made */
    size_t bytes;           /* of one */
} mixed;

/* A loss term made ready: what does not change over the steps. */
typedef struct {
    kn_quad_config config; /* but for γ */
    int reference;         /* SSL_NONE where there is none; of an added term p itself */
    int compared;          /* added: what p is compared with; else SSL_NONE */
    bool updates_gamma;    /* the first term of its (reference, slot) */
    int first, n;          /* images of p's forward that it is about */
    int mixed;             /* planes of those images; SSL_NONE: the batch's own */
    uint8_t *region;       /* (n,h,w) */
    double *z_image;       /* (n), there */
    void *scratch;         /* of SSL_OWN */
    void *staging;         /* to fill it on the host */
} prepared_term;

/* What a step counts for a slot: several terms may share one, and none of them sees what another
 * has found. */
typedef struct {
    int64_t right[KN_N_REGIONS], seen[KN_N_REGIONS];
    bool used;
} held_step;

struct tr_losses {
    tr_learner *learner; /* borrowed */
    const tr_options *options;
    const ssl_plan *plan;
    int patch_px;
    reference references[2 * SSL_TERMS_MAX];
    int n_references;
    prepared_term terms[SSL_TERMS_MAX];
    mixed mixes[SSL_FORWARDS_MAX];
    int n_mixes;
    kn_block arena;             /* the engine's: what its passes over pixels read and write */
    const tr_batch *host_batch; /* of the step being made */
    kn_block host_arena;        /* pinned: what the host makes, reads and shows */
    size_t arena_used, host_used;
    /* Where the engine has memory of its own: the batch's planes there. */
    uint8_t *label, *truth, *exclude;
    /* (n,h,w): 255 where neither half says anything; NULL: no term looks at both */
    uint8_t *both, *host_both;
    uint8_t *held_truth, *host_held;     /* (n_unlabelled,h,w) of held-back images, 255 in others */
    numbers *there;                      /* in the engine's memory */
    double *weights;                     /* there: --weights auto, KN_N_REGIONS of each slot */
    double *host_weights;                /* pinned */
    run_record records[TR_LOSSES_AHEAD]; /* oldest first, in a ring */
    int first_record, n_records;
    uint8_t *snap_label, *snap_y, *snap_ref, *snap_region, *snap_mixed; /* (n,h,w) */
    int64_t it; /* of the last run, and its stage */
    int stage;
};

#endif
