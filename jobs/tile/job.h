/* One slide of `quadslide tile`: file → tissue → cells → store. Run by one thread per slide in
 * flight; jobs share the store and the run. */
#ifndef QS_JOBS_TILE_JOB_H
#define QS_JOBS_TILE_JOB_H

#include "jobs/tile/guard.h"
#include "jobs/tile/ledger.h"
#include "db/store.h"
#include "wsi/tile/tile.h"

/* Of all slides alike. `done_cells` is atomic. */
typedef struct {
    db_store *store;
    const db_store_config *config;
    wsi_tile_options tile; /* n_threads is set per slide */
    wsi_tissue_options tissue;
    double mpp_override; /* 0: none */
    bool allow_empty_class; /* a slide may lose all annotated pixels of a class */
    wsi_reader reader;
    const char *preview_dir;     /* a picture of every slide goes there; NULL none */
    job_guard *guard;           /* of leaks; NULL none */
    int64_t run_id;              /* of the store's row; 0 none */
    const qs_progress *progress; /* of cells, over all slides */
    int64_t n_cells;             /* of all planned slides */
    gint64 done_cells;           /* guarded by lock */
    int64_t turn;                /* of the slide that may enter the store; guarded by lock */
    GCond turned;
    GMutex lock;
} tile_run;

typedef enum { TILE_TODO, TILE_DONE, TILE_ALREADY, TILE_FAILED, TILE_STOPPED } tile_state;

typedef struct {
    const char *path, *case_id;                       /* borrowed */
    const char *mask_path, *truth_path, *tissue_path; /* borrowed; may be NULL */
    db_split split;
    bool labelled;
    double mpp;   /* of the cohort row; 0 none */
    int64_t turn; /* its place in the order of work: slides enter the store in it */
    /* The store's row, when it has cells of this slide already: */
    bool known;
    char *known_mask, *known_mask_hash, *known_tissue, *known_tissue_hash;
    /* Filled by job_tile_plan: */
    int64_t n_cells, memory; /* memory of one thread, without what each further thread adds */
    int64_t memory_per_thread;
    int64_t temp_bytes; /* of temporary files */
    int64_t w_l0, h_l0;
    double mpp_l0, downsample; /* 0 unknown */
    /* Filled by job_tile_run: */
    tile_state state;
    GError *error;      /* why FAILED, or what stopped the store */
    bool store_failed;  /* the store, not the slide: no other slide can go on */
    int64_t resumed_at; /* cells that were in the store already */
    int64_t n_kept, n_copied, n_tissue, n_blank, n_damaged; /* of this run */
    tile_gaps gaps;
    bool has_mask;
    wsi_mask_kind mask_kind;
    int mask_factor;
    int64_t pixels; /* read from the slide as patches */
    double hash_s, prepare_s, wall_s;
    wsi_tile_report report;
} job_tile;

/* Opens the slide once, to know its cells and memory before work starts. A failure is kept in
 * job->error with state FAILED and is recorded by job_tile_run. */
void job_tile_plan(job_tile *job, const tile_run *run);
/* Opens an annotation file as job_tile_run will: QS_ERROR for what fails there, a warning for one
 * that paints nothing. Image masks are not read. */
bool job_tile_check_annotation(const job_tile *job, const tile_run *run, GError **error);
/* Everything for one slide. Sets state; a failed slide has a row that says why. */
void job_tile_run(job_tile *job, tile_run *run, int n_threads);
void job_tile_clear(job_tile *job);

#endif
