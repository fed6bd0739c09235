/* Many slides of `quadslide tile` on a few threads: plan, what it needs, work, summary. */
#ifndef QS_CLI_TILE_CREW_H
#define QS_CLI_TILE_CREW_H

#include "jobs/tile/job.h"

/* Opens every slide once: cells, memory, what cannot be opened. Fills run->n_cells and `order`
 * (borrowed jobs, largest first). False when stopped. */
bool tile_crew_plan(GArray *jobs, tile_run *run, GPtrArray *order);
/* Bytes of memory and of temporary files that these jobs take at most on n_threads. */
void tile_crew_needs(GPtrArray *order, int n_threads, int64_t *memory, int64_t *temp);

/* jobs: of tile_job, filled in down to tile_job_plan's part. Prints the plan before work starts and
 * the summary after it; returns the command's exit status. A stop request ends it after the
 * transactions at hand. */
int tile_crew_run(GArray *jobs, tile_run *run, int n_threads);

#endif
