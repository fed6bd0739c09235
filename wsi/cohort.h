/* cohort.csv: the manifest of a set of slides. Header line, then
 * slide,mask,case,split,labelled,mpp[,truth]; columns in any order, found by name; paths relative
 * to the file; mask, mpp, truth may be empty; RFC 4180 quoting; UTF-8 (a byte-order mark is
 * skipped). Errors carry file and line. A case or a slide in two splits is an error that names
 * both. */
#ifndef QS_WSI_COHORT_H
#define QS_WSI_COHORT_H

#include <glib.h>
#include <stdbool.h>

typedef enum { WSI_SPLIT_TRAIN, WSI_SPLIT_VAL, WSI_SPLIT_TEST } wsi_split;
const char *wsi_split_name(wsi_split split);
bool wsi_split_parse(const char *name, wsi_split *split);

typedef struct {
    char *slide, *mask, *truth; /* resolved paths; mask, truth NULL when empty */
    char *case_id;
    wsi_split split;
    bool labelled;
    double mpp; /* 0: none given */
    int line;
} wsi_cohort_row;

typedef struct {
    char *path;
    GArray *rows; /* of wsi_cohort_row */
} wsi_cohort;

wsi_cohort *wsi_cohort_read(const char *path, GError **error);
wsi_cohort *wsi_cohort_new(void);
void wsi_cohort_add(wsi_cohort *cohort, const wsi_cohort_row *row); /* copies strings */
/* Writes atomically; paths made relative to the file's folder where they lie below it. */
bool wsi_cohort_write(const wsi_cohort *cohort, const char *path, GError **error);
void wsi_cohort_destroy(wsi_cohort *cohort);                             /* NULL accepted */
const wsi_cohort_row *wsi_cohort_get(const wsi_cohort *cohort, guint i); /* i < rows->len */
/* The leak guard, which read and write also pass: QS_ERROR_MISMATCH naming both places when a slide
 * is listed twice or a case is in two splits. */
bool wsi_cohort_validate(const wsi_cohort *cohort, GError **error);

/* DigestPath's layout: [<case>_]<stamp>-lv1-<x>-<y>-<w>-<h>.jpg beside <stem>_mask.jpg, in any
 * subfolder. Case = the prefix before the date where there is one, else the date stamp. Splits by
 * case, seeded: val_share and test_share of the images (nearest by whole cases); labelled_share of
 * the training cases' images. */
typedef struct {
    double val_share, test_share, labelled_share;
    unsigned seed;
} wsi_cohort_split_options;
wsi_cohort *wsi_cohort_scan_digestpath(const char *dir, const wsi_cohort_split_options *options,
                                       GError **error);

#endif
