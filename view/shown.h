/* What the viewer was started with: slides, predictions, a store. Filled once, by the command, and
 * read-only from then on: nothing else on the disk can be asked for. */
#ifndef QS_VIEW_SHOWN_H
#define QS_VIEW_SHOWN_H

#include "base/classes.h"
#include "db/store.h"
#include "wsi/annot/mask.h"
#include "wsi/tissue/tissue.h"

typedef struct {
    char *name, *path;            /* unique name; the slide's file */
    char *case_id, *split;        /* "" when there is none */
    char *annot, *truth, *tissue; /* files, or NULL */
    bool labelled;
    double mpp; /* override; 0 none */
} vw_slide;

/* A folder of predicted masks, or of a training. */
typedef struct {
    char *name, *dir;
} vw_model;

enum { VW_MODELS_MAX = 6 };

typedef struct {
    GArray *slides; /* of vw_slide */
    GArray *models; /* of vw_model */
    qs_classes classes;
    GArray *runs;    /* of vw_model: trainings, their folders as dir */
    db_store *store; /* borrowed; NULL: no patch grid */
    int n_threads;   /* readers at once */
    /* How masks and tissue are opened, by the rules of the command line or of the store. Called by
     * any thread. */
    void *user;
    wsi_mask *(*open_mask)(void *user, const char *path, const wsi_slide *slide, GError **error);
    wsi_tissue *(*open_tissue)(void *user, const char *path, wsi_slide *slide, GError **error);
} vw_shown;

void vw_shown_init(vw_shown *shown);
void vw_shown_clear(vw_shown *shown);
const vw_slide *vw_shown_slide(const vw_shown *shown, guint i); /* NULL beyond the last */
const vw_model *vw_shown_model(const vw_shown *shown, guint i); /* NULL beyond the last */
const vw_model *vw_shown_run(const vw_shown *shown, guint i);   /* NULL beyond the last */
/* Files of a prediction of a slide, owned by the caller; they need not be there. */
char *vw_shown_mask_path(const vw_model *model, const vw_slide *slide); /* DIR/NAME.tif */
char *vw_shown_map_path(const vw_model *model, const char *map,
                        const vw_slide *slide); /* DIR/MAP/NAME.tif */

#endif
