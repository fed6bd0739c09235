/* What slides of one site have in common. */
#ifndef QS_WSI_SYNTH_SITE_PRIV_H
#define QS_WSI_SYNTH_SITE_PRIV_H

#include "wsi/synth/synth_priv.h"

/* JPEG quality of the site's scanner, 40 to 94. */
int wsi_synth_site_quality(uint64_t seed, int site);
/* Changes an initialised slide to one of that site (0, 1, …) of the cohort with that seed. */
void wsi_synth_site_apply(synth_slide *slide, uint64_t seed, int site);

#endif
