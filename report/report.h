/* The pieces of the report page, each in its own file. Everything is appended to one GString. */
#ifndef QS_REPORT_REPORT_H
#define QS_REPORT_REPORT_H

#include "jobs/score/scores.h"

enum { REPORT_MODELS_MAX = 6 };

/* A NAME=PATH of the command line. Colour number `index` of the page's palette. */
typedef struct {
    char *name, *path; /* owned */
    int index;
    bool plain; /* of a training run: curves only, neither regions nor pictures */
} rep_named;

typedef struct {
    GArray *set;        /* of job_slide */
    GArray *pred;       /* of rep_named: folders of masks */
    GArray *run;        /* of rep_named: training runs */
    job_scores *scores; /* one for each pred */
    const char *cohort, *split, *title;
    int max_slides;
    const qs_progress *progress; /* of slides; NULL none */
} report;

/* &, <, >, " as entities. */
void rep_text(GString *page, const char *text);
/* src="data:…" of an encoded picture. */
void rep_data_uri(GString *page, const char *type, const uint8_t *bytes, size_t n);
/* The page's style sheet. */
void rep_style(GString *page);
/* The colour of model `index` as r, g, b, for pictures; the style sheet has it as --m0, --m1 … */
const uint8_t *rep_model_rgb(int index);

void rep_scores(GString *page, const report *r); /* table and dot plot */
bool rep_slides(GString *page, const report *r, GError **error);
bool rep_runs(GString *page, const report *r, GError **error); /* curves, regions, snapshots */
/* The same for any runs, of rep_named; steps (of int64_t; NULL: first, middle, last) choose the
 * pictures: the nearest that a run left. */
bool rep_charts(GString *page, const GArray *runs, const GArray *steps, GError **error);

/* ---- pages of training runs, rep_runs.c ----------------------------------------------------
 */
/* Everything down to the heading's line, and from the end of the text. */
void rep_open(GString *page, const char *title, const char *lede);
void rep_close(GString *page, const char *note);
/* Folders of runs, of experiments (their runs/) and stores (the runs that they know), as an array
 * of rep_named. QS_ERROR_FORMAT names what is none of these. */
GArray *rep_find_runs(char *const *paths, GError **error);
void rep_named_clear(gpointer data);
/* A table of what the runs are, then charts, method by method. */
bool rep_run_page(GString *page, const GArray *runs, GError **error);

/* ---- pictures of one slide --------------------------------------------------------------------
 */
typedef struct {
    int w, h;
    uint8_t *rgb;   /* (h,w,3) the slide */
    uint8_t *truth; /* (h,w) */
    double mpp;     /* of picture pixels; 0 unknown */
} rep_picture;

bool rep_picture_read(rep_picture *picture, const job_slide *slide, const qs_classes *classes,
                         GError **error);
void rep_picture_clear(rep_picture *picture);
/* The labels of a mask file on the picture's grid; owned by the caller. */
uint8_t *rep_picture_labels(const rep_picture *picture, const job_slide *slide,
                               const char *path, const qs_classes *classes, GError **error);
/* Labelled parts at full colour in an outline of `rgb`, the rest washed out. out (h,w,3). */
void rep_paint_labels(const rep_picture *picture, const uint8_t *label,
                         const qs_classes *classes, const uint8_t rgb[3], uint8_t *out);
/* Found, false and missed parts in colour over the grey slide. */
void rep_paint_errors(const rep_picture *picture, const uint8_t *label, uint8_t *out);

#endif
