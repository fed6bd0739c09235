/* Colour rules of the command line, and their use on slides and on stored patches. */
#ifndef QS_JOBS_COLOUR_RULES_H
#define QS_JOBS_COLOUR_RULES_H

#include "db/store.h"
#include "wsi/colour/colour.h"

/* --icc and --stain-norm METHOD[:REFERENCE] as a rules text, owned by the caller ("" for neither).
 * REFERENCE is an image or slide, measured at the config's resolution where its own is known, or
 * the numbers themselves. QS_ERROR_ARG names the option. */
char *job_colour_text(bool icc, const char *stain_norm, const db_store_config *config,
                      GError **error);
/* Gives the view the colour that the rules ask for: *colour is the caller's to close, after the
 * view. NULL or "" rules: nothing. *done, *remark (each may be NULL) as of wsi_colour_open; what
 * could not be done is also warned of. */
bool job_colour_open(wsi_view *view, const char *rules, const wsi_colour_windows *windows,
                     wsi_colour **colour, char **done, char **remark, GError **error);

#endif
