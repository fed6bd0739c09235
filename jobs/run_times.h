/* Where the time of a tiling run went: stored with its run, shown at its end and by `status`, so
 * that "why is it slow today" can be asked of two runs of one store. */
#ifndef QS_JOBS_RUN_TIMES_H
#define QS_JOBS_RUN_TIMES_H

#include "db/store.h"
#include "wsi/stages.h"

typedef struct {
    double wall_s, hash_s, prepare_s; /* thread seconds but wall: hashing, tissue and mask */
    double megapixels;                /* read from slides as patches */
    double patches, damaged, missing; /* kept; regions of the ledger, of this run */
    double threads;
    double stage_s[WSI_STAGES_N]; /* thread seconds */
} job_run_times;

/* As metrics of the run, at step 0, in one transaction. */
bool job_run_times_store(db_store *store, int64_t run_id, const job_run_times *times,
                         GError **error);
/* *known is false when the run has none (older stores, other commands). */
bool job_run_times_load(db_store *store, int64_t run_id, job_run_times *times, bool *known,
                        GError **error);
/* "12.3 MP/s on 2 threads; decode 55 %, encode 30 %, …; most of it decode: …", owned. */
char *job_run_times_text(const job_run_times *times);

#endif
