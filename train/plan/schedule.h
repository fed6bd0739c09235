/* What changes over the iterations: the rate, the weights of loss terms, and how many iterations
 * there will be when the hours are limited. Pure functions. */
#ifndef QS_TRAIN_SCHEDULE_H
#define QS_TRAIN_SCHEDULE_H

#include "train/plan/options.h"

/* lr of step `it` (0-based) of `total`: lr·(1 - it/total)^power. */
double tr_schedule_lr(const tr_options *options, int64_t it, int64_t total);
/* λ of step `it`: lambda-max·exp(-5(1 - it/total)²), or the released ramp over 30,000 iterations.
 */
double tr_schedule_lambda(const tr_options *options, int64_t it, int64_t total);
/* Factor of a term at step `it`, without its scale. */
double tr_schedule_weight(const tr_options *options, const ssl_plan *plan, ssl_weight weight,
                          int64_t it, int64_t total);

/* How many iterations fit: with `done` steps done in elapsed_s, step_s each and a validation of
 * val_s every val_every steps (0: one, at the end), the largest total <= wanted that ends within 98
 * % of limit_s, but at least done + 1 (or wanted). */
int64_t tr_schedule_fit(int64_t done, int64_t wanted, double elapsed_s, double limit_s,
                        double step_s, double val_s, int64_t val_every);

#endif
