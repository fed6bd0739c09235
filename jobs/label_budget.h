/* A label budget: which training cases may be learnt from, when fewer are wanted than are labelled.
 *
 * Cases, not slides, so that no patient is half labelled. The cases of the pool are put into an
 * order that depends on the seed and their names alone, and the first `n_cases` are taken: every
 * method of a seed has the same ones, and a larger budget contains the smaller. */
#ifndef QS_JOBS_LABEL_BUDGET_H
#define QS_JOBS_LABEL_BUDGET_H

#include "db/store.h"
#include "train/plan/options.h"

typedef struct {
    int n_cases; /* 0: no budget, what the store marks as labelled */
    tr_label_pool pool;
    uint64_t seed;
} job_label_budget;

job_label_budget job_label_budget_of(const tr_options *options);
/* Sets `labelled` of the training slides (of db_slide) to what the budget chose; slides of other
 * splits stay as they are. QS_ERROR_ARG when the pool has fewer cases. */
bool job_label_budget_apply(const job_label_budget *budget, GArray *slides, GError **error);

#endif
