/* How annotation files become labels, as the command line and a store say it. */
#ifndef QS_JOBS_LABEL_RULES_H
#define QS_JOBS_LABEL_RULES_H

#include "db/store.h"
#include "wsi/annot/mask.h"

typedef struct {
    char *map;              /* owned; a label map's text, NULL: the names of the class table */
    bool map_order;         /* painted by the map's order instead of the file's */
    bool bounds_relative;   /* the file's 0,0 is the corner of openslide.bounds-* */
    wsi_mask_255 value_255; /* what 255 means in images of 0 and 255 */
} job_labels;

/* The values of --label-map (a text, or a file of NAME=CLASS lines in which # begins a comment) and
 * --label-order (file or map; NULL: file), checked against the classes (NULL: not yet known, not
 * checked). Clears *labels on error. */
bool job_labels_init(job_labels *labels, const char *map, const char *order, bool bounds_relative,
                     const qs_classes *classes, GError **error);
void job_labels_clear(job_labels *labels);
/* Opens a mask image or an annotation file. labels NULL: those of a zeroed struct. */
wsi_mask *job_mask_open(const char *path, const wsi_slide *slide, const qs_classes *classes,
                        const job_labels *labels, GError **error);

/* The same by the rules of a store. */
wsi_mask *job_mask_open_stored(const char *path, const wsi_slide *slide,
                               const db_store_config *config, GError **error);

/* --binary-255 and --ignore-255; QS_ERROR_ARG for both. */
bool job_labels_set_255(job_labels *labels, bool binary, bool ignore, GError **error);

#endif
