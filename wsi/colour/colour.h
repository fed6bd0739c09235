/* What is done to a slide's colours between its file and a patch: the file's ICC profile to sRGB,
 * then its stains to those of a reference (stain.h). A view that has a wsi_colour gives out pixels
 * with both applied, so that training patches and prediction windows cannot differ.
 *
 * Rules are one text, which a store and a model keep, with the reference's numbers in it:
 *     icc; macenko 0.5626,0.7201,0.4062,0.2159,0.8012,0.5581,1.9705,1.0308
 * and the same form, with the slide's own numbers, says what was done to a slide. */
#ifndef QS_WSI_COLOUR_H
#define QS_WSI_COLOUR_H

#include "wsi/slide/slide.h"
#include "wsi/colour/stain.h"
#include "wsi/tissue/tissue.h"

typedef struct {
    bool icc;        /* the profile of the file, where there is one, to sRGB */
    wsi_stain stain; /* method NONE: stains stay */
} wsi_colour_rules;

/* "" is no rule. QS_ERROR_ARG says what cannot be read. */
bool wsi_colour_rules_parse(wsi_colour_rules *rules, const char *text, GError **error);
char *wsi_colour_rules_text(const wsi_colour_rules *rules); /* owned by the caller */

/* Which windows of a slide its stains are estimated from: those of the tiler's grid with enough
 * tissue, at most WSI_STAIN_WINDOWS of them, evenly spaced. */
typedef struct {
    int patch_px, stride_px;
    const wsi_tissue *tissue; /* NULL: every window */
    double tissue_min;
} wsi_colour_windows;

/* Changes colours of one slide. Immutable after creation, thread-safe. */
typedef struct wsi_colour wsi_colour;

/* The view must have no colour yet; it is read to estimate the stains, with the profile applied.
 * *colour is NULL when there is nothing to do. *done (owned by the caller) says what is done, as a
 * rules text with the slide's numbers; *remark (owned, may be NULL) what could not be done and why:
 * a file without a profile, a slide without two stains, whose colours then stay as they are. */
bool wsi_colour_open(const wsi_view *view, const wsi_colour_rules *rules,
                     const wsi_colour_windows *windows, wsi_colour **colour, char **done,
                     char **remark, GError **error);
/* From known numbers of the slide (same method as the rules'), and no profile. */
wsi_colour *wsi_colour_create(const wsi_stain *slide, const wsi_stain *reference, GError **error);
void wsi_colour_close(wsi_colour *colour); /* NULL accepted */
/* In place. */
void wsi_colour_apply(const wsi_colour *colour, uint8_t *rgb, size_t row_bytes, int w, int h);

/* The stains of a slide or image as a reference, at the resolution of the view. */
bool wsi_colour_measure(const wsi_view *view, wsi_stain_method method,
                        const wsi_colour_windows *windows, wsi_stain *stain, GError **error);

#endif
