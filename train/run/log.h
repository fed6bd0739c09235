/* What a run writes down as it goes: metrics.csv, and the means between two status lines.
 *
 * metrics.csv has one number a line: iteration,name,value,unit. It belongs to a state up to the
 * byte that the state names; a resumed run cuts the rest off, so no line is there twice. */
#ifndef QS_TRAIN_LOG_H
#define QS_TRAIN_LOG_H

#include "train/run/state.h"
#include "train/run/step.h"

typedef struct tr_log tr_log;

/* Opens the file, cut to n_bytes (0: new, with a header line). */
tr_log *tr_log_open(const char *path, int64_t n_bytes, GError **error);
/* NULL accepted. */
void tr_log_close(tr_log *log);
/* Appends lines, to be on disk after tr_log_sync. */
bool tr_log_add(tr_log *log, int64_t iteration, const char *const *names, const double *values,
                const char *const *units, size_t n, GError **error);
bool tr_log_sync(tr_log *log, GError **error);
int64_t tr_log_bytes(const tr_log *log);

void tr_window_add(tr_window *window, const tr_step_result *step);
/* Fills losses, regions and thresholds of the status; means over the window. */
void tr_window_status(const tr_window *window, const tr_learner *learner, tr_status *status);

/* Fills the weights of regions, where they are measured. */
void tr_weights_status(const tr_learner *learner, const tr_options *options, tr_status *status);

/* A status as rows: names, values, units of what is known (not NaN). Room for TR_METRICS_MAX. */
enum { TR_METRICS_MAX = 64 };
typedef struct {
    char text[TR_METRICS_MAX][32];
    const char *names[TR_METRICS_MAX], *units[TR_METRICS_MAX];
    double values[TR_METRICS_MAX];
    size_t n;
} tr_metrics;
void tr_metrics_from_status(tr_metrics *metrics, const tr_status *status);
void tr_metrics_add(tr_metrics *metrics, const char *name, double value, const char *unit);

#endif
