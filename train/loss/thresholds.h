/* The thresholds γ of a learner: where they start and how they follow their references (MetaSSL,
 * section III-D, and what Table V compares it with). One row of γ a slot of the plan; the state
 * that FlexMatch and FreeMatch average is kept beside it and checkpointed with it.
 *
 * The adaptive rule works on any measure of confidence; FlexMatch and FreeMatch are rules on
 * probabilities and want the largest one (tr_options_check). */
#ifndef QS_TRAIN_THRESHOLDS_H
#define QS_TRAIN_THRESHOLDS_H

#include "train/loss/learner.h"

/* Slots (merged where --gamma-scope says so) and their first γ. */
void tr_thresholds_init(tr_learner *learner, const tr_options *options);
/* Asks pass 1 for the sums that the rule needs. */
void tr_thresholds_ask(const tr_options *options, kn_reference *reference);
/* The rule of step `it` as the engine is told of it: kn_gamma_update_at. */
kn_gamma_rule tr_thresholds_rule(const tr_options *options, int64_t it);

#endif
