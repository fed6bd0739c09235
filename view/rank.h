/* The work list: which slides need a look. A slide's score is the mean of its percentile ranks, of
 * what there is of it, in mean uncertainty over tissue, in disagreement of the predictions with the
 * first one (1 - DSC), and in distance of the predictions from the truth (1 - DSC). */
#ifndef QS_VIEW_RANK_H
#define QS_VIEW_RANK_H

#include "view/json.h"
#include "view/pool.h"

typedef struct {
    bool ready;
    char *error;                                /* why it could not be measured; owned */
    double dsc[VW_MODELS_MAX];                  /* all foreground classes together; NaN unknown */
    double uncertainty, disagreement, distance; /* NaN unknown; means over the models */
    double look;                                /* NaN while nothing is known */
} vw_rank_row;

/* Fills `look` of all rows, from those that are ready. */
void vw_rank(vw_rank_row *rows, guint n);
/* One slide. False with why, when the slide itself cannot be read; a prediction that is not there
 * leaves its numbers unknown. */
bool vw_rank_measure(vw_open *open, vw_rank_row *row, GError **error);

/* The list, measured by a thread of its own, one slide after another, from the first time that it
 * is asked for. Thread-safe. */
typedef struct vw_worklist vw_worklist;
vw_worklist *vw_worklist_create(const vw_shown *shown, vw_pool *pool); /* both borrowed */
void vw_worklist_destroy(vw_worklist *list);                           /* waits for its thread */
/* {done, of, rows: [{ready, error, dsc, uncertainty, disagreement, distance, look}]} */
GBytes *vw_worklist_describe(vw_worklist *list);

#endif
