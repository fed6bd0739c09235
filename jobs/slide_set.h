/* Which slides a command works on, and what their masks are called.
 *
 * A mask is named as its slide without the extension. Slides of one base name in a cohort (or on a command
 * line) are told apart by what they are, never by the order of rows: NAME~CASE where their cases differ, else
 * NAME~ and eight digits of the content's hash. So `predict`, `eval` and `report` agree on the names
 * whichever split or order they look at. */
#ifndef QS_JOBS_SLIDE_SET_H
#define QS_JOBS_SLIDE_SET_H

#include "jobs/label_rules.h"

#include <glib.h>
#include <stdbool.h>

typedef struct {
    char *name;            /* unique, safe as a file name */
    char *slide;           /* path */
    char *mask, *truth;    /* paths or NULL */
    char *tissue;          /* of a tissue mask of the user's, or NULL */
    char *case_id, *split; /* "" for slides of the command line */
    bool labelled;
    double mpp;               /* of the cohort; 0 none */
    const job_labels *labels; /* borrowed: how a truth of annotations is read; NULL by names */
} job_slide;

/* Of a cohort's split ("train", "val", "test" or "all"), or of the command line when cohort is
 * NULL. Array of job_slide with its clear function set. An empty split is an error. */
GArray *job_slide_set_read(const char *cohort, const char *split, char *const *slides,
                           GError **error);

/* labels must outlive the set. */
void job_slide_set_labels(GArray *set, const job_labels *labels);

/* What a prediction is compared with: the truth column where there is one, else the mask; NULL
 * when neither is given. *from is "truth" or "mask". */
const char *job_slide_truth(const job_slide *slide, const char **from);

char *job_mask_path(const char *dir, const job_slide *slide);      /* DIR/NAME.tif, owned */
char *job_prob_path(const char *dir, const job_slide *slide);      /* DIR/prob/NAME.tif */
char *job_mask_note_path(const char *dir, const job_slide *slide); /* DIR/NAME.json */

#endif
