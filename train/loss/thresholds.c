#include "train/loss/thresholds.h"

#include <math.h>
#include <string.h>

static double first_gamma(const tr_options *o, int n_classes)
{
    switch (o->threshold) {
    case KN_THRESHOLD_FLEXMATCH:
        return 0;
    case KN_THRESHOLD_FREEMATCH:
        return 1.0 / n_classes;
    case KN_THRESHOLD_ADAPTIVE:
    case KN_THRESHOLD_FIXED:
        break;
    }
    return isnan(o->gamma0) ? kn_gamma_start(o->confidence, n_classes) : o->gamma0;
}

/* What is averaged: FlexMatch's shares from 0, FreeMatch's probabilities and level from 1/C. */
static double first_state(const tr_options *o, int n_classes)
{
    return o->threshold == KN_THRESHOLD_FREEMATCH ? 1.0 / n_classes : 0;
}

void tr_thresholds_init(tr_learner *l, const tr_options *options)
{
    for (int g = 0; g < l->plan.n_gammas; g++) {
        l->slot[g] = g;
        for (int e = 0; e < g && options->gamma_scope == TR_GAMMA_SHARED; e++) {
            if (!strcmp(l->plan.gammas[e].role, l->plan.gammas[g].role)) {
                l->slot[g] = e;
                break;
            }
        }
        for (int c = 0; c < QS_CLASSES_MAX; c++)
            l->gamma[g][c] = first_gamma(options, l->n_classes);
        for (int c = 0; c < TR_GAMMA_STATE; c++)
            l->gamma_state[g][c] = first_state(options, l->n_classes);
    }
}

void tr_thresholds_ask(const tr_options *options, kn_reference *reference)
{
    reference->with_prob = options->threshold == KN_THRESHOLD_FREEMATCH;
    reference->above_tau =
        options->threshold == KN_THRESHOLD_FLEXMATCH ? options->flexmatch_tau : 0;
}

/* With a start of 1/(it + 1) the average of the first batches is their plain mean and γ0 has no say,
 * as in a teacher's average (kn_ema_alpha). */
kn_gamma_rule tr_thresholds_rule(const tr_options *o, int64_t it)
{
    double start = o->gamma_start == TR_GAMMA_START_MEAN ? 1.0 / (double)(it + 1) : 0;
    return (kn_gamma_rule){
        .threshold = o->threshold,
        .a = MAX(o->gamma_a, start),
        .absent = o->gamma_absent,
        .tau = o->flexmatch_tau,
        .ema = o->threshold == KN_THRESHOLD_FREEMATCH ? o->freematch_ema : o->flexmatch_ema,
    };
}
