/* Shared by the exporters. */
#ifndef QS_WSI_EXPORT_PRIV_H
#define QS_WSI_EXPORT_PRIV_H

#include "wsi/export/export.h"
#include "wsi/export/trace.h"

extern const wsi_exporter wsi_export_tiff, wsi_export_ome, wsi_export_geojson, wsi_export_asap,
    wsi_export_png;

enum { WSI_EXPORT_ROWS = 256 }; /* rows read at once */

/* n rows from y, all columns, through the job's map. *n_ignored (NULL: not counted) grows by the ignored
 * pixels that the map makes background. */
bool wsi_export_read_counted(const wsi_export_job *job, int64_t y, int n, uint8_t *rows,
                             int64_t *n_ignored, GError **error);
/* n rows from y, all columns, through the job's map. */
bool wsi_export_read(const wsi_export_job *job, int64_t y, int n, uint8_t *rows, GError **error);
void wsi_export_find(GArray *findings, const char *rule, bool ok, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* Traces the job's labels and hands on what the filters keep. The region is complete: class, rings
 * in label pixels; holes that are filled are gone from it. */
bool wsi_export_trace(const wsi_export_job *job, wsi_region_fn fn, void *user,
                      const qs_progress *progress, wsi_export_report *report, GError **error);
/* Reads an annotation file back and counts pixels that differ from the job's labels. */
bool wsi_export_compare(const wsi_export_job *job, const char *path, int64_t *n_different,
                        GError **error);
/* Whether the outlines of a file, as its cracks, are those of the job's labels without what the
 * filters left out: in constant memory. */
bool wsi_export_find_cracks(const wsi_export_job *job, const wsi_export_report *report,
                            const wsi_cracks *file, GArray *findings, GError **error);
/* The findings that both outline formats share. */
void wsi_export_find_same(const wsi_export_job *job, const wsi_export_report *report,
                          int64_t n_different, GArray *findings);

/* ---- text out, in pieces, appearing under its name when whole ---------------------------------
 */
typedef struct wsi_text_out wsi_text_out;
wsi_text_out *wsi_text_out_open(const char *path, GError **error);
/* Append to this, then let it be written when it is long enough. */
GString *wsi_text_out_buffer(wsi_text_out *out);
bool wsi_text_out_flush(wsi_text_out *out, bool all, GError **error);
/* ok: write the rest, sync, rename; else remove. Frees. */
bool wsi_text_out_close(wsi_text_out *out, bool ok, GError **error);
void wsi_text_append_int(GString *text, int64_t value);
/* In quotes, escaped. */
void wsi_text_append_json(GString *text, const char *value);

#endif
