/* The dry run of `tile`: what it would make and take, and which slides would fail, from headers
 * and the few tiles by which the reader is chosen. */
#ifndef QS_CLI_TILE_PLAN_H
#define QS_CLI_TILE_PLAN_H

#include "jobs/tile/job.h"

typedef struct {
    const char *store; /* where it would go, for the space there; NULL not said */
    double rate;       /* MP/s of the whole run, as the user states it; 0 measured or default */
    bool json;
    int n_threads;
} tile_plan_options;

/* jobs as for job_crew_run; run->store NULL or open for reading: what was measured there is used.
 * Prints; returns the exit status that `tile` would begin with. */
int job_plan_run(GArray *jobs, tile_run *run, const tile_plan_options *options);

#endif
