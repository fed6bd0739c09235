/* Many slides of `quadslide tile` on a few threads: plan, what it needs, work, summary. */
#ifndef QS_JOBS_TILE_CREW_H
#define QS_JOBS_TILE_CREW_H

#include "jobs/exit.h"
#include "jobs/run_times.h"
#include "jobs/tile/job.h"

/* Opens every slide once: cells, memory, what cannot be opened. Fills run->n_cells and `order`
 * (borrowed jobs, largest first). False when stopped. */
bool job_crew_plan(GArray *jobs, tile_run *run, GPtrArray *order);
/* Bytes of memory and of temporary files that these jobs take at most on n_threads. */
void job_crew_needs(GPtrArray *order, int n_threads, int64_t *memory, int64_t *temp);

/* What a run did, over all slides. */
typedef struct {
    int n[TILE_STOPPED + 1], n_masks[WSI_MASK_KINDS], n_small_masks;
    int64_t kept, copied, tissue, blank, damaged, gaps, pixels;
    bool copies; /* the codec does; copied says how often */
    double hash_s, prepare_s;
    wsi_stages stages;
    job_run_times times;
} job_totals;

/* Called once, when every slide has been looked at and before work starts. */
typedef void (*job_crew_planned)(const tile_run *run, GPtrArray *order, int n_threads);

/* jobs: of job_tile, filled in down to job_tile_plan's part. `planned` may be NULL. *totals is filled
 * whatever happens. With *error set (the store failed, or a stop was requested) the status is
 * JOB_EXIT_FAILED; failed slides keep their errors and are warned of. A stop request ends it after
 * the transactions at hand. */
job_exit job_crew_run(GArray *jobs, tile_run *run, int n_threads, job_crew_planned planned,
                      job_totals *totals, GError **error);

#endif
