/* Where tissue is, as the command line and a store say it: detection's parameters, or a mask of the
 * user's. One text for all of it (a store's tiling rules), written and read here. */
#ifndef QS_JOBS_TISSUE_RULES_H
#define QS_JOBS_TISSUE_RULES_H

#include "db/store.h"
#include "wsi/tissue/tissue.h"

typedef struct {
    bool none;       /* every cell counts as tissue */
    double at_least; /* share of a cell */
    wsi_tissue_options options;
    bool blank_rule;
} job_tissue_rules;

/* What `tile` and `predict` are asked on the command line. */
typedef struct {
    job_tissue_rules rules;
    gboolean none, otsu; /* as GOption writes them */
    char *mask;
} job_tissue_options;

void job_tissue_options_init(job_tissue_options *o); /* the defaults, before arguments are read */
/* After they are read: completes the rules. What is wrong with them, NULL nothing. */
const char *job_tissue_options_take(job_tissue_options *o);

void job_tissue_rules_init(job_tissue_rules *rules);        /* the defaults */
char *job_tissue_rules_text(const job_tissue_rules *rules); /* owned by the caller */
/* The rules of a store; the defaults where its text is another program's. */
void job_tissue_rules_of_store(job_tissue_rules *rules, const db_store_config *config);
/* By the mask when there is one (an image, or an annotation file of whatever class names, whose 0,0
 * is the slide's or that of its bounds), else by detection. */
wsi_tissue *job_tissue_open(wsi_slide *slide, const char *mask_path, bool bounds_relative,
                            const wsi_tissue_options *options, GError **error);

#endif
