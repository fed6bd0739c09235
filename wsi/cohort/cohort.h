/* cohort.csv: the manifest of a set of slides. Header line, then
 * slide,mask,case,split,labelled,mpp[,truth][,tissue]; columns in any order, found by name; paths
 * relative to the file; mask, mpp, truth, tissue may be empty; RFC 4180 quoting; UTF-8 (a
 * byte-order mark is skipped). Errors carry file and line. A case or a slide in two splits is an
 * error that names both. */
#ifndef QS_WSI_COHORT_H
#define QS_WSI_COHORT_H

#include "base/report.h"

typedef enum { WSI_SPLIT_TRAIN, WSI_SPLIT_VAL, WSI_SPLIT_TEST } wsi_split;
const char *wsi_split_name(wsi_split split);
bool wsi_split_parse(const char *name, wsi_split *split);

typedef struct {
    char *slide, *mask, *truth; /* resolved paths; mask, truth NULL when empty */
    char *tissue; /* a mask of what is tissue, instead of detection; NULL when empty */
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

/* Reads without the guard, for who reports every leak instead of the first (cohort_check.c). */
wsi_cohort *wsi_cohort_read_unguarded(const char *path, GError **error);

/* ---- the whole check of a manifest (cohort_check.c) --------------------------------------------
 */
typedef enum {
    WSI_COHORT_CASE_LEAK,    /* a case in two splits */
    WSI_COHORT_SLIDE_TWICE,  /* a path listed twice */
    WSI_COHORT_CONTENT_LEAK, /* the same bytes in two splits */
    WSI_COHORT_MISSING,      /* a file that is named and is not there */
    WSI_COHORT_COPY,         /* the same bytes twice in one split: said, no error */
    WSI_COHORT_SAME_NAME,    /* base names that results will tell apart by ~2: said, no error */
    WSI_COHORT_N_FINDINGS,
} wsi_cohort_finding_kind;
const char *wsi_cohort_finding_name(wsi_cohort_finding_kind kind); /* "case-leak" … */
bool wsi_cohort_finding_is_error(wsi_cohort_finding_kind kind);
typedef struct {
    wsi_cohort_finding_kind kind;
    char *text; /* names both places; owned */
} wsi_cohort_finding;
/* Everything that is wrong with it, in the order of the rows: array of wsi_cohort_finding, owned.
 * With `content`, slides of equal size are read and compared by hash (others cannot be the same).
 * NULL when a slide cannot be read, or stopped. */
GArray *wsi_cohort_check(const wsi_cohort *cohort, bool content, const qs_progress *progress,
                         GError **error);

/* The file whose bytes tell a slide from others: itself, but for a MIRAX slide, whose .mrxs is a
 * preview, the Slidedat.ini with its id. Owned by the caller. */
char *wsi_cohort_content_file(const char *slide);

/* ---- cohorts from folders (cohort_scan.c, cohort_digestpath.c) ----------------------------------
 */
/* Splits by case. Cases are taken in an order that only the seed and their names decide: a new case
 * leaves the order of the others. Test first, then validation, then training; shares are of the
 * images, met as nearly as whole cases allow. Labelled: the first cases of the training split that
 * have masks, by share of its images or by number, so a smaller labelled set is part of every
 * larger one. */
typedef struct {
    double val_share, test_share;
    double labelled_share; /* of the training images */
    int labelled_cases;    /* > 0: so many training cases instead; 0 by share */
    unsigned seed;
    const char *case_rule;   /* NULL, "name", "folder", or a regular expression with one group */
    const char *mask_suffix; /* NULL: the usual ones (_mask, -mask, _seg …) */
} wsi_cohort_split_options;
/* val .1, test .2, every training case labelled, seed 1. */
void wsi_cohort_split_options_init(wsi_cohort_split_options *options);

/* DigestPath's layout: [<case>_]<stamp>-lv1-<x>-<y>-<w>-<h>.jpg beside <stem>_mask.jpg, in any
 * subfolder. Case = the prefix before the date where there is one, else the date stamp. A mask
 * whose name lacks the prefix, or has one that its image lacks, is found as well. */
wsi_cohort *wsi_cohort_scan_digestpath(const char *dir, const wsi_cohort_split_options *options,
                                       GError **error);
/* Pictures and slides below `images`, masks and annotation files below `masks` (the same folder
 * when NULL): paired by stem, with or without a mask suffix, in the same subfolder or anywhere when
 * that is unique, with a prefix that one of the two lacks; UTF-8 names in either normal form. */
wsi_cohort *wsi_cohort_scan_pairs(const char *images, const char *masks,
                                  const wsi_cohort_split_options *options, GError **error);
/* Whole slides alone (by OpenSlide's extensions) below `dir`; masks as above where there are any.
 */
wsi_cohort *wsi_cohort_scan_slides(const char *dir, const char *masks,
                                   const wsi_cohort_split_options *options, GError **error);

#endif
