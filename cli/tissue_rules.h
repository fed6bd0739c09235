/* Where tissue is, as the command line and a store say it: detection's parameters, or a mask of the
 * user's. One text for all of it (a store's tiling rules), written and read here. */
#ifndef QS_CLI_TISSUE_RULES_H
#define QS_CLI_TISSUE_RULES_H

#include "db/store.h"
#include "wsi/tissue.h"

typedef struct {
    bool none;       /* every cell counts as tissue */
    double at_least; /* share of a cell */
    wsi_tissue_options options;
    bool blank_rule;
} cli_tissue_rules;

void cli_tissue_rules_init(cli_tissue_rules *rules);        /* the defaults */
char *cli_tissue_rules_text(const cli_tissue_rules *rules); /* owned by the caller */
/* The rules of a store; the defaults where its text is another program's. */
void cli_tissue_rules_of_store(cli_tissue_rules *rules, const db_store_config *config);
/* By the mask when there is one (an image, or an annotation file of whatever class names, whose 0,0
 * is the slide's or that of its bounds), else by detection. */
wsi_tissue *cli_tissue_open(wsi_slide *slide, const char *mask_path, bool bounds_relative,
                            const wsi_tissue_options *options, GError **error);

#endif
