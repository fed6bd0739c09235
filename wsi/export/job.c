/* The registry of exporters and what they share: reading through the class map, tracing with the
 * area filters, writing text, and comparing what was written with what was meant. */
#include "wsi/export/export_priv.h"

#include "base/error.h"
#include "base/file.h"
#include "wsi/annot/annot_priv.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { FLUSH_BYTES = 1 << 20 };

const wsi_exporter *const wsi_exporters[] = {&wsi_export_tiff, &wsi_export_ome, &wsi_export_geojson,
                                             &wsi_export_asap, &wsi_export_png, NULL};

const wsi_exporter *wsi_exporter_find(const char *name)
{
    for (const wsi_exporter *const *e = wsi_exporters; *e; e++)
        if (!strcmp((*e)->name, name))
            return *e;
    return NULL;
}

/* ---- jobs ------------------------------------------------------------------------------------ */
void wsi_export_job_init(wsi_export_job *job, const wsi_labels *labels, const qs_classes *classes)
{
    *job =
        (wsi_export_job){.labels = *labels, .classes = *classes, .factor = 1, .picture_px = 2048};
    for (int i = 0; i < classes->n; i++)
        job->map[i] = (uint8_t)i;
    job->canvas_w = labels->w;
    job->canvas_h = labels->h;
}

bool wsi_export_job_check(const wsi_export_job *job, GError **error)
{
    const wsi_labels *l = &job->labels;
    const int64_t side_max = G_MAXINT32 / 2;
    const char *fault = NULL;
    if (l->w < 1 || l->h < 1 || l->w > side_max || l->h > side_max)
        fault = "the mask has no size, or too large a one";
    else if (job->factor < 1 || job->factor > 65536)
        fault = "the factor from mask to slide is not in 1 to 65536";
    else if (job->prob && (job->prob->w != l->w || job->prob->h != l->h))
        fault = "probabilities and mask have different sizes";
    else if (!(job->min_area_um2 >= 0) || !(job->min_hole_um2 >= 0) ||
             !isfinite(job->min_area_um2) || !isfinite(job->min_hole_um2))
        fault = "areas are in um2, 0 or more";
    else if ((job->min_area_um2 > 0 || job->min_hole_um2 > 0) && !(job->mpp_l0 > 0))
        fault = "areas in um2 need a resolution, and neither the mask nor the slide states one; "
                "pass --mpp";
    else if (job->picture_px < 16 || job->picture_px > 16384)
        fault = "a picture has 16 to 16384 pixels on its longest side";
    if (fault)
        g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG, fault);
    return !fault;
}

bool wsi_export_read(const wsi_export_job *job, int64_t y, int n, uint8_t *rows, GError **error)
{
    return wsi_export_read_counted(job, y, n, rows, NULL, error);
}

bool wsi_export_read_counted(const wsi_export_job *job, int64_t y, int n, uint8_t *rows,
                             int64_t *n_ignored, GError **error)
{
    const wsi_labels *l = &job->labels;
    size_t w = (size_t)l->w;
    if (!l->read(l->user, 0, y, (int)l->w, n, rows, w, error))
        return false;
    int64_t ignored = 0;
    for (size_t i = 0; i < w * (size_t)n; i++) {
        ignored += rows[i] == QS_CLASS_IGNORE;
        rows[i] = job->map[rows[i]];
    }
    if (n_ignored && job->map[QS_CLASS_IGNORE] != QS_CLASS_IGNORE)
        *n_ignored += ignored;
    return true;
}

/* ---- tracing --------------------------------------------------------------------------------- */
typedef struct {
    const wsi_export_job *job;
    wsi_export_report *report;
    wsi_region_fn fn;
    void *user;
    double min_area_px, min_hole_px;
    GArray *points, *ring_n, *ring_area; /* of a region whose small holes are filled */
} filter;

static void note_ring(wsi_cracks *removed, uint8_t label, const wsi_vertex *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const wsi_vertex *a = &p[i], *b = &p[i + 1 < n ? i + 1 : 0];
        if (a->x == b->x)
            wsi_cracks_add_edge(removed, label, a->x, a->y, b->y);
    }
}

/* The region without its small holes, in the filter's arrays. */
static wsi_region fill_holes(filter *f, const wsi_region *region)
{
    const wsi_vertex *p = region->points;
    wsi_region kept = *region;
    g_array_set_size(f->points, 0);
    g_array_set_size(f->ring_n, 0);
    g_array_set_size(f->ring_area, 0);
    for (int r = 0; r < region->n_rings; p += region->ring_n[r], r++) {
        if (r > 0 && (double)region->ring_area[r] < f->min_hole_px) {
            kept.area_px += region->ring_area[r];
            f->report->n_filled++;
            f->report->filled_px += region->ring_area[r];
            note_ring(&f->report->removed, region->label, p, region->ring_n[r]);
            f->report->removed.area[region->label] -= region->ring_area[r];
            continue;
        }
        g_array_append_vals(f->points, p, (guint)region->ring_n[r]);
        g_array_append_val(f->ring_n, region->ring_n[r]);
        g_array_append_val(f->ring_area, region->ring_area[r]);
    }
    kept.n_rings = (int)f->ring_n->len;
    kept.points = (const wsi_vertex *)(void *)f->points->data;
    kept.ring_n = (const int64_t *)(void *)f->ring_n->data;
    kept.ring_area = (const int64_t *)(void *)f->ring_area->data;
    return kept;
}

static bool pass_region(void *user, const wsi_region *region, GError **error)
{
    filter *f = user;
    wsi_export_report *report = f->report;
    if ((double)region->area_px < f->min_area_px) {
        report->n_dropped++;
        report->dropped_px += region->area_px;
        report->removed.area[region->label] += region->area_px;
        const wsi_vertex *p = region->points;
        for (int r = 0; r < region->n_rings; p += region->ring_n[r], r++)
            note_ring(&report->removed, region->label, p, region->ring_n[r]);
        return true;
    }
    wsi_region kept = *region;
    if (region->n_rings > 1 && f->min_hole_px > 0)
        kept = fill_holes(f, region);
    if (f->job
            ->prob) /* the mean is over the pixels that were predicted so, not over filled holes */
        kept.prob_sum *= (double)kept.area_px / (double)region->area_px;
    report->n_regions++;
    report->n_holes += kept.n_rings - 1;
    report->class_px[kept.label] += kept.area_px;
    for (int r = 0; r < kept.n_rings; r++)
        report->n_vertices += kept.ring_n[r];
    return f->fn(f->user, &kept, error);
}

static bool trace_rows(const wsi_export_job *job, wsi_tracer *tracer, const qs_progress *progress,
                       int64_t *n_ignored, GError **error)
{
    const wsi_labels *l = &job->labels, *p = job->prob;
    size_t w = (size_t)l->w;
    g_autofree uint8_t *rows = g_malloc(w * WSI_EXPORT_ROWS);
    g_autofree uint8_t *prob = p ? g_malloc(w * WSI_EXPORT_ROWS) : NULL;
    for (int64_t y = 0; y < l->h; y += WSI_EXPORT_ROWS) {
        int n = (int)MIN(WSI_EXPORT_ROWS, l->h - y);
        if (!qs_stop_check(error) || !wsi_export_read_counted(job, y, n, rows, n_ignored, error) ||
            (p && !p->read(p->user, 0, y, (int)l->w, n, prob, w, error)))
            return false;
        for (int r = 0; r < n; r++)
            if (!wsi_tracer_row(tracer, rows + (size_t)r * w, p ? prob + (size_t)r * w : NULL,
                                error))
                return false;
        qs_progress_update(progress, "trace", y + n, l->h, NULL);
    }
    return wsi_tracer_finish(tracer, error);
}

bool wsi_export_trace(const wsi_export_job *job, wsi_region_fn fn, void *user,
                      const qs_progress *progress, wsi_export_report *report, GError **error)
{
    double mpp = job->mpp_l0 * job->factor, px_um2 = mpp > 0 ? mpp * mpp : 1;
    filter f = {.job = job,
                .report = report,
                .fn = fn,
                .user = user,
                .min_area_px = job->min_area_um2 / px_um2,
                .min_hole_px = job->min_hole_um2 / px_um2,
                .points = g_array_new(FALSE, FALSE, sizeof(wsi_vertex)),
                .ring_n = g_array_new(FALSE, FALSE, sizeof(int64_t)),
                .ring_area = g_array_new(FALSE, FALSE, sizeof(int64_t))};
    wsi_tracer *tracer = wsi_tracer_create(job->labels.w, pass_region, &f);
    bool ok = trace_rows(job, tracer, progress, &report->ignore_px, error);
    report->peak_vertices = wsi_tracer_peak(tracer);
    wsi_tracer_destroy(tracer);
    g_array_unref(f.points);
    g_array_unref(f.ring_n);
    g_array_unref(f.ring_area);
    return ok;
}

/* ---- checking -------------------------------------------------------------------------------- */
void wsi_export_find(GArray *findings, const char *rule, bool ok, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    wsi_export_finding finding = {rule, ok, *format ? g_strdup_vprintf(format, args) : NULL};
    va_end(args);
    g_array_append_val(findings, finding);
}

static void clear_finding(gpointer p)
{
    g_free(((wsi_export_finding *)p)->detail);
}

GArray *wsi_export_check(const wsi_exporter *exporter, const wsi_export_job *job, const char *path,
                         const wsi_export_report *report, GError **error)
{
    GArray *findings = g_array_new(FALSE, FALSE, sizeof(wsi_export_finding));
    g_array_set_clear_func(findings, clear_finding);
    if (!exporter->check(job, path, report, findings, error))
        g_clear_pointer(&findings, g_array_unref);
    return findings;
}

static bool compare_rows(const wsi_export_job *job, wsi_annot *annot, int64_t *n_different,
                         GError **error)
{
    size_t w = (size_t)job->labels.w;
    wsi_view view = {.w = job->labels.w, .h = job->labels.h, .downsample = job->factor};
    g_autofree uint8_t *meant = g_malloc(w * WSI_EXPORT_ROWS),
                       *read = g_malloc(w * WSI_EXPORT_ROWS);
    for (int64_t y = 0; y < view.h; y += WSI_EXPORT_ROWS) {
        int n = (int)MIN(WSI_EXPORT_ROWS, view.h - y);
        if (!qs_stop_check(error) || !wsi_export_read(job, y, n, meant, error) ||
            !wsi_annot_read(annot, &view, 0, y, (int)w, n, read, w, error))
            return false;
        if (memcmp(meant, read, w * (size_t)n) != 0)
            for (size_t i = 0; i < w * (size_t)n; i++)
                *n_different += meant[i] != read[i];
    }
    return true;
}

bool wsi_export_compare(const wsi_export_job *job, const char *path, int64_t *n_different,
                        GError **error)
{
    *n_different = 0;
    wsi_annot *annot = wsi_annot_open_shifted(
        path, (double)job->origin_x, (double)job->origin_y, job->labels.w * job->factor,
        job->labels.h * job->factor, &job->classes, NULL, error);
    bool ok = annot && compare_rows(job, annot, n_different, error);
    wsi_annot_close(annot);
    return ok;
}

bool wsi_export_find_cracks(const wsi_export_job *job, const wsi_export_report *report,
                            const wsi_cracks *file, GArray *findings, GError **error)
{
    size_t w = (size_t)job->labels.w;
    g_autofree uint8_t *rows = g_malloc(w * WSI_EXPORT_ROWS);
    wsi_cracks mask = {0};
    for (int64_t y = 0; y < job->labels.h; y += WSI_EXPORT_ROWS) {
        int n = (int)MIN(WSI_EXPORT_ROWS, job->labels.h - y);
        if (!qs_stop_check(error) || !wsi_export_read(job, y, n, rows, error))
            return false;
        for (int r = 0; r < n; r++)
            wsi_cracks_add_row(&mask, rows + (size_t)r * w, (int64_t)w, y + r);
    }
    wsi_cracks left = wsi_cracks_less(&mask, &report->removed);
    bool filtered = report->n_dropped + report->n_filled > 0;
    wsi_export_find(findings,
                    filtered
                        ? "the outlines enclose the mask's pixels but for what was filtered alone"
                        : "the outlines enclose the mask's pixels, pixel for pixel",
                    wsi_cracks_equal(file, &left),
                    "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " pixel edges", file->n, left.n);
    return true;
}

void wsi_export_find_same(const wsi_export_job *job, const wsi_export_report *report,
                          int64_t n_different, GArray *findings)
{
    int64_t allowed = report->dropped_px + report->filled_px;
    (void)job;
    if (report->n_dropped + report->n_filled == 0)
        wsi_export_find(findings, "drawn again, the outlines give the mask, pixel for pixel",
                        n_different == 0, "%" G_GINT64_FORMAT " pixels differ", n_different);
    else
        wsi_export_find(findings,
                        "drawn again, the outlines differ from the mask by what was filtered alone",
                        n_different <= allowed,
                        "%" G_GINT64_FORMAT " pixels differ, %" G_GINT64_FORMAT " were filtered",
                        n_different, allowed);
}

/* ---- text ------------------------------------------------------------------------------------ */
struct wsi_text_out {
    char *path, *part;
    qs_file *file;
    GString *buffer;
    int64_t offset;
};

wsi_text_out *wsi_text_out_open(const char *path, GError **error)
{
    g_autofree char *part = qs_file_part_name(path);
    qs_file *file = qs_file_open(part, QS_FILE_NEW, error);
    if (!file)
        return NULL;
    wsi_text_out *out = g_new0(wsi_text_out, 1);
    out->path = g_strdup(path);
    out->part = g_steal_pointer(&part);
    out->file = file;
    out->buffer = g_string_sized_new(2 * FLUSH_BYTES);
    return out;
}

GString *wsi_text_out_buffer(wsi_text_out *out)
{
    return out->buffer;
}

bool wsi_text_out_flush(wsi_text_out *out, bool all, GError **error)
{
    if (out->buffer->len == 0 || (!all && out->buffer->len < FLUSH_BYTES))
        return true;
    if (!qs_file_write_at(out->file, out->offset, out->buffer->str, out->buffer->len, error))
        return false;
    out->offset += (int64_t)out->buffer->len;
    g_string_truncate(out->buffer, 0);
    return true;
}

bool wsi_text_out_close(wsi_text_out *out, bool ok, GError **error)
{
    ok = ok && wsi_text_out_flush(out, true, error) && qs_file_sync(out->file, error);
    ok = qs_file_close(out->file, ok ? error : NULL) && ok;
    ok = ok && qs_file_rename(out->part, out->path, error);
    if (!ok)
        unlink(out->part);
    g_string_free(out->buffer, TRUE);
    g_free(out->path);
    g_free(out->part);
    g_free(out);
    return ok;
}

void wsi_text_append_int(GString *text, int64_t value)
{
    char digits[24];
    int at = (int)sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        digits[--at] = '-';
    g_string_append_len(text, digits + at, (gssize)((int)sizeof digits - at));
}

void wsi_text_append_json(GString *text, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    g_string_append_c(text, '"');
    for (const char *p = valid; *p; p++) {
        if (*p == '"' || *p == '\\')
            g_string_append_c(text, '\\');
        if ((unsigned char)*p < 32)
            g_string_append_printf(text, "\\u%04x", (unsigned)*p);
        else
            g_string_append_c(text, *p);
    }
    g_string_append_c(text, '"');
}
