/* The dry run of `tile`: what it would make and take, and which slides would fail, from headers
 * and the few tiles by which the reader is chosen. */
#ifndef QS_JOBS_TILE_PLAN_H
#define QS_JOBS_TILE_PLAN_H

#include "jobs/tile/job.h"

typedef struct {
    const char *store; /* where it would go, for the space there; NULL not said */
    double rate;       /* MP/s of the whole run, as the user states it; 0 measured or default */
    int n_threads;
} tile_plan_options;

/* What a run would make and take. Texts say where a figure is from: "measured …", "stated …". */
typedef struct {
    int64_t n_cells, memory, temp, n_failed, n_free; /* n_free: bytes at `store`; -1 not known */
    double megapixels, kept_share, bytes, rate, seconds;
    const char *kept_from, *bytes_from, *rate_from;
} job_estimate;

/* jobs as for job_crew_run; run->store NULL or open for reading: what was measured there is used.
 * False on a stop request only; a slide that would fail has its error in its job. */
bool job_plan_run(GArray *jobs, tile_run *run, const tile_plan_options *options, job_estimate *e,
                  GError **error);
/* The estimate and its slides as a JSON object; owned. */
char *job_plan_json(GArray *jobs, const job_estimate *e);

#endif
