/* The road of the windows: readers fetch, the calling thread computes and stitches.
 *
 *   reader threads                    calling thread
 *   ┌─────────────┐   ring of slots   ┌──────────────────────────┐
 *   │ read window │ ────────────────► │ infer n windows → stitch │ ──► rows, from the top
 *   └─────────────┘   (2 batches)     └──────────────────────────┘
 *
 * Logits stay where the engine computes and are blended there; finished rows alone come back.
 *
 * Knows neither slides nor networks: `read` and `infer` are the caller's, so tests drive it with
 * functions whose answer is known. Windows are taken in grid order whatever the readers do, and
 * `infer` always sees windows in that order, so the result depends on neither. */
#ifndef QS_INFER_WINDOWS_H
#define QS_INFER_WINDOWS_H

#include "infer/predict/predict.h"

/* What a network, or a pair of them, says of some windows: image k is window k (there may be more
 * images than windows), (n,window,window,classes) of the engine's dtype in its memory. */
typedef struct {
    const kn_tensor *z, *second; /* second: of a pair, else NULL */
} inf_logits;

typedef struct {
    kn_engine *engine; /* that blends; borrowed */
    int64_t w, h;      /* the plane */
    int window_px, stride_px;
    int n_classes;
    inf_blend blend;
    int pass_n;    /* windows that `infer` gets at most */
    int batch;     /* windows that are read ahead: two batches of this size */
    int n_readers; /* >= 1 */
    void *user;
    /* Is the window at (x, y) to be run? NULL: all are. Calling thread, before the reading. */
    bool (*wanted)(void *user, int64_t x, int64_t y);
    /* rgb (window,window,3). On reader threads, several at once. */
    bool (*read)(void *user, int64_t x, int64_t y, uint8_t *rgb, GError **error);
    /* rgb: n <= pass_n windows; *logits are there until the next call. On the calling thread. */
    bool (*infer)(void *user, const uint8_t *const *rgb, int n, inf_logits *logits, GError **error);
    bool labels_only; /* rows are not given probabilities */
    inf_rows rows;
    void *rows_user;
} inf_windows;

/* Bytes that inf_windows_run takes at most, the caller's functions apart. */
int64_t inf_windows_memory(const inf_windows *job);
/* Stops between groups on qs_stop_requested. The first error, in window order, is the one reported;
 * a reader's is prefixed with the place of its window. */
bool inf_windows_run(const inf_windows *job, const qs_progress *progress, inf_report *report,
                     GError **error);

#endif
