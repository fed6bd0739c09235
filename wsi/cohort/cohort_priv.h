/* Shared by the files that make and check cohorts. */
#ifndef QS_WSI_COHORT_PRIV_H
#define QS_WSI_COHORT_PRIV_H

#include "wsi/cohort/cohort.h"

/* "cohort.csv:7" for a row of a file, "row 7" for one made in memory; owned by the caller. */
char *wsi_cohort_place(const wsi_cohort *cohort, guint i);
/* The guard, a row at a time: `slides` (canonical path, owned, → row) and `cases` (borrowed id →
 * row) hold the rows before. On false *kind says which rule is broken. */
bool wsi_cohort_check_row(const wsi_cohort *cohort, guint i, GHashTable *slides, GHashTable *cases,
                          wsi_cohort_finding_kind *kind, GError **error);

/* ---- what a scan found -------------------------------------------------------------------------
 */
typedef struct {
    char *path, *mask, *case_id; /* owned; mask NULL when there is none */
    double mpp;                  /* 0 none */
} wsi_cohort_image;
GArray *wsi_cohort_images_new(void); /* of wsi_cohort_image, cleared with the array */

/* Every regular file below `dir`, in any order; folders are followed, links to folders are not.
 * `name` is without the folder. */
typedef void (*wsi_cohort_file_fn)(void *user, const char *path, const char *name);
bool wsi_cohort_walk(const char *dir, wsi_cohort_file_fn fn, void *user, GError **error);

/* QS_ERROR_ARG for shares that cannot be. */
bool wsi_cohort_check_options(const wsi_cohort_split_options *options, GError **error);
/* Images (at least one, any order; sorted here) into a guarded cohort: cases, splits, labelled. */
wsi_cohort *wsi_cohort_assemble(GArray *images, const wsi_cohort_split_options *options,
                                GError **error);

#endif
