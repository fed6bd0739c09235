/* A store's training patches as the trainer wants them, and their colour statistics. */
#ifndef QS_JOBS_TRAIN_SOURCE_H
#define QS_JOBS_TRAIN_SOURCE_H

#include "jobs/label_budget.h"
#include "train/data/source.h"

typedef struct {
    tr_source source;
    db_store *store; /* borrowed */
    GArray *patches; /* of db_patch: source.items[i] is patches[i] */
    int64_t n_train_slides, n_labelled_slides;
    GString *labelled_names; /* of the labelled slides, separated by ; */
    GHashTable *colours;     /* slide id → wsi_colour, job_train_stains; owned; NULL none */
    char *colours_key;       /* what they do, as a text; owned */
    int64_t class_px[QS_CLASSES_MAX]; /* labelled pixels of each class */
    int64_t n_left_out;      /* patches of which the condition does not hold */
} job_train_source;

/* Kept patches of the training slides of which the condition holds (db/where.h; NULL or "": all);
 * labelled are those that the budget chose. QS_ERROR_ARG when there are none, or too few labelled
 * cases. */
bool job_train_source_open(job_train_source *s, db_store *store, const job_label_budget *budget,
                           const char *where, GError **error);
/* False with QS_ERROR_ARG that names the first foreground class without a labelled pixel; true where
 * nothing is labelled. */
bool job_train_source_check_classes(const job_train_source *s, GError **error);
void job_train_source_close(job_train_source *s);

/* Mean and standard deviation of RGB/255 over the slide pixels of all training patches, labelled or
 * not. Integer sums, so the result does not depend on order or threads. Kept in the store as a run
 * of kind "normalise" under a key of the patches' checksums, and read back from there. */
bool job_train_normalisation(job_train_source *s, bool store_is_writable, double mean[3],
                             double std[3], const qs_progress *progress, GError **error);

#endif
