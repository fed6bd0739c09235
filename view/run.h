/* A training as its folder tells it, read again and again while it goes on: run.json, and metrics.csv
 * from a byte on. Nothing is kept between calls, no lock is taken. Thread-safe. */
#ifndef QS_VIEW_RUN_H
#define QS_VIEW_RUN_H

#include "view/json.h"

#include <stdbool.h>

typedef enum {
    VW_RUN_RUNNING,
    VW_RUN_DONE,
    VW_RUN_STOPPED,
    VW_RUN_FAILED,
    VW_RUN_GONE
} vw_run_state;
const char *vw_run_state_name(vw_run_state state);

/* Running is who holds the folder's lock; else what run.json says last. */
vw_run_state vw_run_state_of(const char *dir);
/* Name, state, what run.json says, and the rows of metrics.csv from byte `from` (that of a line's
 * begin, else 0 is taken), whole lines only, at most 4 MiB at once:
 *   {name, state, iteration, iterations, elapsed_s, best_dsc, error, from, next, size, broken, rows,
 *    snapshots} */
GBytes *vw_run_describe(const char *name, const char *dir, gint64 from);
/* The picture of a batch that the run left at that iteration; NULL when there is none. */
GBytes *vw_run_snapshot(const char *dir, gint64 iteration);

#endif
