/* What learns: the networks of a plan with their weights, and the thresholds γ. This, the iteration
 * and the random streams' names are all that a step depends on. */
#ifndef QS_TRAIN_LEARNER_H
#define QS_TRAIN_LEARNER_H

#include "model/model.h"
#include "train/plan/options.h"

enum { TR_GAMMA_STATE = QS_CLASSES_MAX + 1 };

typedef struct {
    double right[KN_N_REGIONS], seen[KN_N_REGIONS];
} tr_region_counts;

typedef struct {
    kn_engine *engine; /* borrowed */
    ssl_plan plan;
    int n_classes;
    kn_net *nets[SSL_NETS_MAX];        /* networks of one shape share theirs; owned by the first */
    kn_weights *weights[SSL_NETS_MAX]; /* owned */
    int stage;                         /* that the last step was in */
    struct tr_history *history;        /* the trainer's; NULL: the plan wants none */
    double memory[SSL_MEMORY_MAX];     /* of terms of the method's own */
    int slot[SSL_GAMMAS_MAX]; /* of the plan's γ → row of gamma: --gamma-scope shared merges */
    double gamma[SSL_GAMMAS_MAX][QS_CLASSES_MAX];
    /* What FlexMatch (a share of each class) and FreeMatch (a probability of each class; last, the
     * level) average: train/loss/thresholds.h. */
    double gamma_state[SSL_GAMMAS_MAX][TR_GAMMA_STATE];
    tr_region_counts held[SSL_GAMMAS_MAX]; /* of held-back pixels: train/loss/region_weights.h */
} tr_learner;

/* Allocates and gives every network its first weights: random by (seed, network), copies where the
 * plan says so; --init replaces those of the model's network (and of its copies), the others keep
 * theirs, since CPS needs two networks that differ. */
bool tr_learner_init(tr_learner *learner, kn_engine *engine, const tr_options *options,
                     const ssl_plan *plan, const model_spec *spec, GError **error);
void tr_learner_clear(tr_learner *learner);

#endif
