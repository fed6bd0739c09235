/* Annotated pixels of a slide that no kept patch holds: they are not trained on, and a class that
 * loses all of them would train as background. */
#ifndef QS_JOBS_TILE_LOST_H
#define QS_JOBS_TILE_LOST_H

#include "db/store.h"
#include "wsi/annot/mask.h"
#include "wsi/tile/tile.h"

typedef struct {
    int64_t lost[QS_CLASSES_MAX]; /* view pixels of each class in no kept patch */
    int64_t kept[QS_CLASSES_MAX]; /* in kept patches, twice where two overlap */
} job_lost;

/* What is committed of the slide is looked at; pixels under a kept patch count once. Reads the mask
 * only where no patch was kept. */
bool job_lost_count(job_lost *lost, db_store *store, int64_t slide_id, const wsi_view *view,
                    const wsi_grid *grid, wsi_mask *mask, GError **error);
/* A line for each class of which something is lost; NULL when nothing is. Owned by the caller. */
char *job_lost_text(const job_lost *lost, const qs_classes *classes);
/* The first class that has lost pixels and no kept one; -1 none. */
int job_lost_whole_class(const job_lost *lost, const qs_classes *classes);
/* Is more of a class lost than borders explain: 5 % of it? */
bool job_lost_is_much(const job_lost *lost, const qs_classes *classes);

#endif
