/* Many slides of `quadslide tile` on a few threads: plan, what it needs, work, summary. */
#ifndef QS_CLI_TILE_CREW_H
#define QS_CLI_TILE_CREW_H

#include "cli/tile_job.h"

/* jobs: of tile_job, filled in down to tile_job_plan's part. Prints the plan before work starts and
 * the summary after it; returns the command's exit status. A stop request ends it after the
 * transactions at hand. */
int tile_crew_run(GArray *jobs, tile_run *run, int n_threads);

#endif
