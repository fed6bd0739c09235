/* The folder of drafts: what the user drew, a GeoJSON a slide, and the cohort of the next round.
 *
 *   DIR/NAME.geojson   the outlines, as `export` writes them; QuPath reads them
 *   DIR/history/       the 20 versions before the present one of each
 *   DIR/cohort.csv, label-map.txt   for `tile --cohort … --label-map …`
 *
 * Nothing is ever lost: a version goes to the history before another takes its place, a file appears
 * whole or not at all, who does not know the present version (ETag) cannot replace it, and a file
 * that is not a draft of this slide is never written over. The folder is opened once and locked, and
 * nothing in it is followed that is a link. Thread-safe. */
#ifndef QS_VIEW_DRAFT_H
#define QS_VIEW_DRAFT_H

#include "view/request.h"
#include "view/shown.h"

typedef struct vw_drafts vw_drafts;

enum { VW_DRAFT_BYTES = 64 << 20, VW_DRAFT_VERSIONS = 20 };

/* Makes the folder when it is not there, and writes cohort.csv and label-map.txt. QS_ERROR_BUSY when
 * another process annotates there. shown is borrowed. */
vw_drafts *vw_drafts_open(const vw_shown *shown, const char *dir, GError **error);
void vw_drafts_close(vw_drafts *drafts); /* NULL accepted */
/* Every draft begins so: its canvas is part of it. Owned by the caller. */
char *vw_draft_head(int64_t w, int64_t h);
/* The draft of slide i, w × h pixels, with its ETag; an empty one where there is none. 409 with a
 * message when the file is not a draft of this slide. */
void vw_draft_get(vw_drafts *drafts, guint i, int64_t w, int64_t h, vw_answer *answer);
/* Replaces it. 200 with the new ETag; 412 when the version that the request names is not the present
 * one; 409 as above; 413, 422 for a body that is too large or no draft; 507 when it cannot be
 * written. What is already there word for word is 200, whatever version is named. */
void vw_draft_put(vw_drafts *drafts, guint i, int64_t w, int64_t h, const vw_request *request,
                  vw_answer *answer);

#endif
