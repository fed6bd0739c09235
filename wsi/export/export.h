/* A plane of labels out, in the formats that viewers read; each file is read back after writing and
 * held to the rules of its readers. One format is one const struct in the registry (job.c).
 * Files appear whole or not at all. The rules and where they come from: docs/annotations.md. */
#ifndef QS_WSI_EXPORT_H
#define QS_WSI_EXPORT_H

#include "base/classes.h"
#include "wsi/export/cracks.h"
#include "wsi/slide/slide.h"

/* A plane of w × h labels, read by rectangles that lie inside it, top to bottom, some more than
 * once. */
typedef struct {
    int64_t w, h;
    bool (*read)(void *user, int64_t x, int64_t y, int w, int h, uint8_t *label, size_t row_bytes,
                 GError **error);
    void *user;
} wsi_labels;

typedef struct {
    wsi_labels labels;
    const wsi_labels *prob; /* probability × 255 on the same grid, or NULL */
    uint8_t map[256];       /* label → class as exported; 0 leaves it out */
    qs_classes classes;     /* by exported class; name and colour */
    int factor;             /* level-0 pixels per label pixel */
    double mpp_l0;          /* µm per level-0 pixel; 0 unknown */
    int64_t origin_x,
        origin_y; /* level-0 place that gets coordinate 0,0 (bounds-relative output) */
    int64_t canvas_w, canvas_h;        /* level-0 size of what the coordinates refer to */
    double min_area_um2, min_hole_um2; /* regions, holes below it are left out, filled; 0 none */
    wsi_slide *slide;                  /* for the overlay picture; NULL none */
    int picture_px;                    /* longest side of the picture: 2048 */
    const char *title;                 /* what the picture in the file is called; NULL none */
} wsi_export_job;

typedef struct {
    int64_t n_regions, n_holes, n_vertices;
    int64_t n_dropped, dropped_px; /* regions below the smallest area */
    int64_t n_filled, filled_px;   /* holes */
    int64_t peak_vertices;         /* held at once */
    int64_t class_px[256];         /* of what was written, by value */
    int64_t ignore_px;  /* ignored pixels that the format cannot hold: background in the file */
    wsi_cracks removed; /* of what the filters left out */
} wsi_export_report;

typedef struct {
    const char *rule; /* static */
    bool ok;
    char *detail; /* what was found, owned; NULL nothing to say */
} wsi_export_finding;

typedef struct {
    const char *name, *extension, *what; /* "geojson", ".geojson", "QuPath GeoJSON" */
    bool keeps_ignore; /* 255 stays 255; else ignored pixels become background, and that is said */
    bool (*write)(const wsi_export_job *job, const char *path, const qs_progress *progress,
                  wsi_export_report *report, GError **error);
    /* Adds findings. False only when the check itself could not be made. */
    bool (*check)(const wsi_export_job *job, const char *path, const wsi_export_report *report,
                  GArray *findings, GError **error);
} wsi_exporter;

extern const wsi_exporter *const wsi_exporters[];        /* NULL-terminated */
const wsi_exporter *wsi_exporter_find(const char *name); /* NULL when there is none */

/* Maps every class to itself, ignore to nothing: an exporter that keeps it gets
 * map[QS_CLASS_IGNORE] = QS_CLASS_IGNORE. */
void wsi_export_job_init(wsi_export_job *job, const wsi_labels *labels, const qs_classes *classes);
/* QS_ERROR_ARG for sizes, factors and filters that cannot be (an area filter without a resolution).
 */
bool wsi_export_job_check(const wsi_export_job *job, GError **error);
/* All findings of a file, for exporter->check. Array of wsi_export_finding, owned. */
GArray *wsi_export_check(const wsi_exporter *exporter, const wsi_export_job *job, const char *path,
                         const wsi_export_report *report, GError **error);

#endif
