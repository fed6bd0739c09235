/* Which slides a synthetic cohort has, what they are called and where they lie. */
#ifndef QS_WSI_SYNTH_PLAN_PRIV_H
#define QS_WSI_SYNTH_PLAN_PRIV_H

#include "wsi/synth/synth.h"

typedef struct {
    uint32_t index; /* the slide's number, part of its seed */
    int64_t w, h;
    bool tumour;
    int site;    /* -1: there are none */
    int quality; /* of its JPEG tiles */
    char *slide, *mask, *truth; /* paths, owned; truth NULL when annotations are exact */
} synth_plan;

/* Array of synth_plan with its clear function set, owned by the caller. */
GArray *wsi_synth_plan_all(const wsi_synth_options *options);
bool wsi_synth_plan_folders(const GArray *plans, GError **error);
/* cohort.csv in options->out_dir. */
bool wsi_synth_plan_cohort(const wsi_synth_options *options, const GArray *plans, GError **error);

#endif
