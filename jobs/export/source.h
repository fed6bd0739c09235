/* What `export` reads: a mask image or an annotation file as a plane of labels, with everything
 * that slide, note (NAME.json beside a predicted mask) and options say about it. */
#ifndef QS_JOBS_EXPORT_SOURCE_H
#define QS_JOBS_EXPORT_SOURCE_H

#include "wsi/annot/shapes.h"
#include "wsi/export/export.h"
#include "wsi/annot/mask.h"
#include "wsi/image/raster.h"

typedef struct {
    const char *path, *slide, *prob, *classes,
        *labels;      /* files and texts as given; NULL when not */
    bool label_order; /* paint by the label map's order */
    int factor;       /* annotations: level-0 pixels per label pixel; 0 is 1 */
    double mpp;       /* of level 0; 0 none */
} export_options;

typedef struct {
    wsi_slide *slide; /* NULL none */
    wsi_mask *mask;   /* one of these two */
    wsi_annot *annot;
    wsi_raster *prob_raster; /* NULL none */
    wsi_labels labels, prob;
    qs_classes classes;
    int factor;
    double mpp_l0;
    int64_t canvas_w, canvas_h;
} job_export_source;

bool job_export_source_open(job_export_source *source, const export_options *options, GError **error);
void job_export_source_close(job_export_source *source); /* a zeroed one is accepted */

#endif
