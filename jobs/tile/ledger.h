/* What a slide's file does not have, into the store's ledger. */
#ifndef QS_JOBS_TILE_LEDGER_H
#define QS_JOBS_TILE_LEDGER_H

#include "db/store.h"
#include "wsi/slide/slide.h"

typedef struct {
    int64_t n_regions; /* joined neighbours */
    double share;      /* of the slide's area */
} tile_gaps;

/* Tiles of `level` without bytes. False with *store_failed when the store cannot take them. */
bool job_ledger_add_gaps(db_store *store, int64_t slide_id, const wsi_slide *slide, int level,
                          tile_gaps *gaps, bool *store_failed, GError **error);

#endif
