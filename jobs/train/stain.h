/* Stain normalisation at training time: each slide's stains from its stored patches. */
#ifndef QS_JOBS_TRAIN_STAIN_H
#define QS_JOBS_TRAIN_STAIN_H

#include "db/store.h"
#include "wsi/colour/colour.h"

/* The colour rules of a model that is trained on this store with --stain-norm (NULL or "": none):
 * the store's, and the stains of the option. Owned by the caller. QS_ERROR_ARG when both ask for
 * stains, for the patches' are changed already. */
char *job_train_colour_text(const db_store_config *config, const char *stain_norm, GError **error);

/* What is to be done to the patches of each training slide: int64_t slide id → wsi_colour, both
 * owned by the table; a slide that is not in it keeps its colours. Stains are measured on at most
 * WSI_STAIN_WINDOWS kept patches of a slide, evenly spaced, once: they are kept in the slide's row
 * (column stains) when the store can be written. NULL on error. */
GHashTable *job_train_stains(db_store *store, bool writable, const wsi_stain *reference,
                             const qs_progress *progress, GError **error);

#endif
