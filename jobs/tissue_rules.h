/* Where tissue is, as the command line and a store say it: detection's parameters, or a mask of the
 * user's. One text for all of it (a store's tiling rules), written and read here. */
#ifndef QS_CLI_TISSUE_RULES_H
#define QS_CLI_TISSUE_RULES_H

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

/* The rows of a GOptionEntry table that fill `o`, a static job_tissue_options. */
/* clang-format off */
#define CLI_TISSUE_ENTRIES(o)                                                                      \
    {"otsu", 0, 0, G_OPTION_ARG_NONE, &(o).otsu,                                                   \
     "Saturation threshold by Otsu's method, per slide", NULL},                                    \
    {"saturation", 0, 0, G_OPTION_ARG_INT, &(o).rules.options.saturation,                          \
     "Tissue is above this saturation, of 255 (8)", "N"},                                          \
    {"tissue-picture", 0, 0, G_OPTION_ARG_INT, &(o).rules.options.max_px,                          \
     "Longest side of the picture in which tissue is looked for (2048)", "PX"},                    \
    {"tissue-median", 0, 0, G_OPTION_ARG_INT, &(o).rules.options.median_px,                        \
     "Median filter of tissue, in pixels of the picture (7)", "PX"},                               \
    {"tissue-closing", 0, 0, G_OPTION_ARG_INT, &(o).rules.options.closing_px,                      \
     "Gaps narrower than this are closed (4)", "PX"},                                              \
    {"tissue-area", 0, 0, G_OPTION_ARG_INT, &(o).rules.options.min_area_px,                        \
     "Smaller parts are no tissue (100)", "PX"},                                                   \
    {"tissue-hole", 0, 0, G_OPTION_ARG_INT, &(o).rules.options.hole_area_px,                       \
     "Smaller holes are tissue (16)", "PX"},                                                       \
    {"tissue-mask", 0, 0, G_OPTION_ARG_FILENAME, &(o).mask,                                        \
     "For one SLIDE: what is tissue, an image or an annotation file, instead of looking for it",   \
     "FILE"}
/* clang-format on */

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
