/* Synthetic H&E-like cohorts: see docs/synth.md. Streamed row band by row band, a pure function
 * of (seed, slide, x, y) in integer and exactly rounded arithmetic, so the same seed gives the same
 * bytes on every machine. */
#ifndef QS_WSI_SYNTH_H
#define QS_WSI_SYNTH_H

#include "base/report.h"

/* Raised whenever the same options give other pixels. */
enum { WSI_SYNTH_VERSION = 1 };

typedef enum { WSI_SYNTH_TIFF, WSI_SYNTH_DIGESTPATH } wsi_synth_format;

typedef struct {
    const char *out_dir;
    int n_train, n_val, n_test; /* slides in each split */
    int n_labelled;             /* of the training slides */
    int64_t w, h;               /* pixels of level 0 */
    double mpp;                 /* 0.5 */
    uint64_t seed;
    double noise; /* 0: exact annotations; else strength of dilation/erosion/dropped
                     islands, about the radius in units of 10 µm */
    wsi_synth_format format;
    int n_threads;    /* 0: one per processor */
    int jpeg_quality; /* 85; with sites each has its own */
    /* 0: slides differ each by itself. Else so many laboratories with stains, scanners and patients
     * of their own: labelled slides are of the first half of them (one at least), all others of each
     * in turn. */
    int n_sites;
} wsi_synth_options;
void wsi_synth_options_init(wsi_synth_options *options);

/* WSI_SYNTH_TIFF: writes slides/, masks/ (noisy when noise > 0, truth/ beside them) and cohort.csv.
 * WSI_SYNTH_DIGESTPATH: tissue-train-pos-v1/ and tissue-train-neg/ with images and masks as that
 * data set has them (sizes up to w × h, some crops of one scan, no cohort.csv:
 * wsi_cohort_scan_digestpath makes it). Slides that are already there whole are kept, so a stopped
 * run goes on; slides made with other options are refused (QS_ERROR_MISMATCH). Memory: two bands of
 * 256 rows. */
bool wsi_synth_run(const wsi_synth_options *options, const qs_progress *progress, GError **error);

#endif
