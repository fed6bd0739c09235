/* What tile and plan say. */
#ifndef QS_CLI_PRINT_TILE_H
#define QS_CLI_PRINT_TILE_H

#include "jobs/tile/crew.h"
#include "jobs/tile/plan.h"

/* What a run is about to do: a job_crew_planned. */
void cli_print_tile_plan(const tile_run *run, GPtrArray *order, int n_threads);
/* What it did, on stdout and in the JSON log. */
void cli_print_tile_totals(const job_totals *t);
/* What it would do. */
void cli_print_estimate(GArray *jobs, const job_estimate *e, int n_threads);

#endif
