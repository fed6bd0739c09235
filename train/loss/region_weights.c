#include "train/loss/region_weights.h"

#include "base/error.h"

#include <math.h>

enum { ONE_OF = 12 };

bool tr_weights_plan(const tr_options *o, ssl_plan *plan, GError **error)
{
    bool quad = false;
    plan->n_held = 0;
    if (o->weights != TR_WEIGHTS_AUTO)
        return true;
    for (int t = 0; t < plan->n_terms; t++)
        quad |= plan->terms[t].kind == SSL_UQH;
    if (!quad || plan->n_unlabelled < 2) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "--weights auto weighs the regions of unlabelled pixels: it wants --loss metassl, "
            "a method with an unlabelled half (%s has %d images of it) and 2 of them or more",
            o->method, plan->n_unlabelled);
        return false;
    }
    plan->n_held = MAX(1, plan->n_unlabelled / ONE_OF);
    plan->held_share = o->held_back;
    return true;
}

/* Which of its regions a partition tells apart: those of one group share their counts. */
static int group_of(kn_partition partition, int region)
{
    switch (partition) {
    case KN_PARTITION_CONF_BH:
        return region & 1;
    case KN_PARTITION_CONS_BH:
        return region >> 1;
    case KN_PARTITION_UNIFORM:
        return 0;
    case KN_PARTITION_QUAD:
        break;
    }
    return region;
}

void tr_weights_note(tr_learner *l, const tr_options *o, int slot,
                     const int64_t right[KN_N_REGIONS], const int64_t seen[KN_N_REGIONS])
{
    tr_region_counts *counts = &l->held[l->slot[slot]];
    for (int r = 0; r < KN_N_REGIONS; r++) {
        counts->right[r] = o->weights_memory * counts->right[r] + (double)right[r];
        counts->seen[r] = o->weights_memory * counts->seen[r] + (double)seen[r];
    }
}

void tr_weights_now(const tr_learner *l, const tr_options *o, int slot,
                    double weights[KN_N_REGIONS], double accuracy[KN_N_REGIONS])
{
    const tr_region_counts *counts = &l->held[l->slot[slot]];
    double right[KN_N_REGIONS] = {0}, seen[KN_N_REGIONS] = {0}, skill[KN_N_REGIONS], most = 0;
    double n = l->n_classes, fixed[KN_N_REGIONS];
    kn_region_weights(o->phi, o->phi_beta, o->delta_u, o->partition, false, fixed);
    for (int r = 0; r < KN_N_REGIONS; r++) {
        right[group_of(o->partition, r)] += counts->right[r];
        seen[group_of(o->partition, r)] += counts->seen[r];
    }
    for (int r = 0; r < KN_N_REGIONS; r++) {
        int g = group_of(o->partition, r);
        double prior = (1 + (n - 1) * fixed[r]) / n; /* the accuracy whose skill is `fixed` */
        double a = (right[g] + o->weights_prior * prior) / (seen[g] + o->weights_prior);
        skill[r] = fmax(0, (n * a - 1) / (n - 1));
        most = fmax(most, skill[r]);
        if (accuracy)
            accuracy[r] = a;
    }
    for (int r = 0; r < KN_N_REGIONS; r++) /* worse than chance everywhere: as if not measured */
        weights[r] = most > 0 ? skill[r] / most : fixed[r];
}
