/* Many slides of `quadslide tile` on a few threads: plan, what it needs, work, summary. */
#ifndef QS_CLI_TILE_CREW_H
#define QS_CLI_TILE_CREW_H

#include "jobs/tile/job.h"

/* Opens every slide once: cells, memory, what cannot be opened. Fills run->n_cells and `order`
 * (borrowed jobs, largest first). False when stopped. */
bool job_crew_plan(GArray *jobs, tile_run *run, GPtrArray *order);
/* Bytes of memory and of temporary files that these jobs take at most on n_threads. */
void job_crew_needs(GPtrArray *order, int n_threads, int64_t *memory, int64_t *temp);

/* jobs: of job_tile, filled in down to job_tile_plan's part. Prints the plan before work starts and
 * the summary after it; returns the command's exit status. A stop request ends it after the
 * transactions at hand. */
int job_crew_run(GArray *jobs, tile_run *run, int n_threads);

#endif
