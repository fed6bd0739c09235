/* The picture that `tile --preview` writes of a slide: what was kept, and why the rest was not. */
#ifndef QS_JOBS_TILE_PREVIEW_H
#define QS_JOBS_TILE_PREVIEW_H

#include "db/store.h"
#include "wsi/annot/mask.h"
#include "wsi/tissue/tissue.h"

typedef struct {
    db_store *store; /* the cells are read from there */
    const db_slide *row;
    wsi_slide *slide;
    const wsi_tissue *tissue; /* its border is drawn; NULL: none was looked for */
    wsi_mask *mask;           /* its classes are outlined; NULL none */
    double tissue_min;
} tile_preview;

/* DIR/NAME.jpg. Cells are drawn over each other in the order too little tissue, blank, damaged,
 * kept. */
bool job_preview_write(const tile_preview *p, const char *dir, GError **error);

#endif
