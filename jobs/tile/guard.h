/* The leak guard of a store: no case and no file content in two splits, whatever commands brought
 * the slides there. Thread-safe after creation. */
#ifndef QS_JOBS_TILE_GUARD_H
#define QS_JOBS_TILE_GUARD_H

#include "db/store.h"

typedef struct job_guard job_guard;

/* One slide that is to be tiled; texts borrowed while the guard lives. */
typedef struct {
    const char *path, *case_id;
    db_split split;
} job_guard_slide;

/* Knows the store's slides that are not among `slides` (those get their new splits).
 * QS_ERROR_MISMATCH names both slides when a case of one is in another split there. store NULL: an
 * empty one. */
job_guard *job_guard_create(db_store *store, const job_guard_slide *slides, size_t n,
                              GError **error);
/* A slide's content, as it is met. QS_ERROR_MISMATCH names both when another file with it is in
 * another split; the same split is a warning. hash NULL passes. */
bool job_guard_content(job_guard *guard, const job_guard_slide *slide, const char *hash,
                        GError **error);
void job_guard_destroy(job_guard *guard); /* NULL accepted */

#endif
