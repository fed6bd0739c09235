/* --weights auto: the weights of the unlabelled regions from how often the reference is right in
 * each, measured while training on labelled patches that are held back. docs/weights-auto.md has
 * the reasoning; in short, for the γ slot g and region r of C classes
 *
 *   right, seen  pixels of held-back images in r, and those where the reference agrees with their
 *                label; the old counts are multiplied by --weights-memory before each step's are
 * added a_r          (right + m·a0_r) / (seen + m), m = --weights-prior pixels at the accuracy a0_r
 * for which the weight would be the fixed φ s_r          max(0, (C·a_r - 1)/(C - 1)): how much
 * better than chance w_r          s_r / max s
 *
 * A step uses the counts of the steps before it, so its weights are constants of its gradient. With
 * nothing held back (one labelled patch) they stay the fixed ones. */
#ifndef QS_TRAIN_WEIGHTS_H
#define QS_TRAIN_WEIGHTS_H

#include "train/loss/learner.h"

/* Images of the unlabelled half that shall come from held-back patches: one of twelve, at least
 * one; 0 without --weights auto. QS_ERROR_ARG where the plan has no unlabelled quadripartite term,
 * or no room. */
bool tr_weights_plan(const tr_options *options, ssl_plan *plan, GError **error);
/* What the held-back pixels of a step showed for the plan's slot. */
void tr_weights_note(tr_learner *learner, const tr_options *options, int slot,
                     const int64_t right[KN_N_REGIONS], const int64_t seen[KN_N_REGIONS]);
/* The weights that the slot's next step uses; accuracy (NULL: not wanted): a_r. */
void tr_weights_now(const tr_learner *learner, const tr_options *options, int slot,
                    double weights[KN_N_REGIONS], double accuracy[KN_N_REGIONS]);

#endif
