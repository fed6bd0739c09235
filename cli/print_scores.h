/* What eval and report say of scored slides. */
#ifndef QS_CLI_PRINT_SCORES_H
#define QS_CLI_PRINT_SCORES_H

#include "jobs/score/scores.h"

/* Says why each slide that could not be scored was not; once, the errors are used up. */
void cli_print_unscored(job_scores *scores);

#endif
