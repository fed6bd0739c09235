/* Options that several commands have: rows and help texts of their GOptionEntry tables. */
#ifndef QS_CLI_OPTIONS_H
#define QS_CLI_OPTIONS_H

#include "jobs/tissue_rules.h"

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

/* Help texts of the options, the same in every command. */
#define CLI_LABEL_MAP_HELP                                                                         \
    "Annotation files: names to classes, e.g. \"Tumor=tumour,Necrosis=ignore,*=skip\", or a file " \
    "of such lines (the names of the classes)"
#define CLI_LABEL_ORDER_HELP                                                                       \
    "Annotation files: later shapes lie over earlier ones in the order of the file, or of the "    \
    "label map (file)"
#define CLI_BINARY_255_HELP                                                                        \
    "Mask images of 0 and 255 alone: 255 is class 1 (with two classes it is; with more, say which)"
#define CLI_IGNORE_255_HELP "Mask images of 0 and 255 alone: 255 is ignore"
#define CLI_BOUNDS_HELP                                                                            \
    "Annotation files: their 0,0 is the corner of the slide's bounds, as QuPath has it for MIRAX"

#define CLI_STAIN_HELP                                                                             \
    "Stain normalisation: macenko or reinhard, to the usual reference, to that of an image or "    \
    "slide (macenko:FILE), or to given numbers"

#endif
