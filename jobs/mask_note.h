/* The note beside each predicted mask: how it was made, so that the same command can skip it and a
 * reader can know. JSON, written after the mask; a mask without one counts as not made. */
#ifndef QS_JOBS_MASK_NOTE_H
#define QS_JOBS_MASK_NOTE_H

#include "infer/predict/predict.h"
#include "jobs/slide_set.h"

typedef struct {
    const char *key;         /* everything that decides the mask's bytes, as one text */
    const char *slide;       /* path */
    const char *mask, *prob; /* paths; prob NULL when not written */
    const char *model;       /* path */
    const char *colour;      /* what was done to the slide's colours; NULL or "" nothing */
    const qs_classes *classes;
    inf_mask_grid grid;
    const inf_options *options;
    inf_report report;
    double seconds;
} job_mask_note;

bool job_mask_note_write(const char *path, const job_mask_note *note, GError **error);
/* Is the mask there, of the size that its note recorded, made with this key? Also prob, unless
 * NULL. */
bool job_mask_note_matches(const char *path, const char *key, const char *mask, const char *prob);
/* Is the mask beside this note the slide's? Path, size and time say so, else the content's hash. True also
 * where there is no note (another program's mask). QS_ERROR_MISMATCH names both slides. */
bool job_mask_note_is_of(const char *path, const char *slide, GError **error);
/* The same for a slide whose mask in `dir` has no note: a folder that also holds NAME~… has masks of several
 * slides of that name, and whose NAME.tif is nobody can say. */
bool job_mask_is_of(const char *dir, const job_slide *slide, GError **error);
/* The class table of a predicted mask: false when the note is absent or has none. */
bool job_mask_note_classes(const char *path, qs_classes *classes);

#endif
