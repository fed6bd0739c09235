/* ASAP's XML. ASAP has no holes: they are annotations of a group for background that are painted
 * later. All rings, outer ones and holes, are written by falling enclosed area (at equal area the
 * hole first), so whatever lies inside a ring comes behind it, and painting in the order of the
 * file gives the mask again, islands in holes included. Every group is declared: with one that is
 * not, ASAP loads nothing.
 *
 * The order makes it necessary to hold all outlines: 8 bytes a vertex. */
#include "wsi/export/export_priv.h"

#include "base/file.h"

#include "wsi/annot/annot_priv.h"

#include <string.h>

typedef struct {
    int64_t area, n, first; /* of the vertices */
    uint8_t label;          /* 0: a hole */
} ring_entry;

typedef struct {
    GArray *rings, *points;
} asap_writer;

static bool keep_region(void *user, const wsi_region *region, GError **error)
{
    asap_writer *w = user;
    (void)error;
    const wsi_vertex *p = region->points;
    for (int r = 0; r < region->n_rings; p += region->ring_n[r], r++) {
        ring_entry e = {region->ring_area[r], region->ring_n[r], w->points->len,
                        r ? 0 : region->label};
        g_array_append_val(w->rings, e);
        g_array_append_vals(w->points, p, (guint)e.n);
    }
    return true;
}

static gint by_falling_area(gconstpointer a, gconstpointer b)
{
    const ring_entry *p = a, *q = b;
    if (p->area != q->area)
        return p->area > q->area ? -1 : 1;
    if ((p->label == 0) != (q->label == 0))
        return p->label == 0 ? -1 : 1;
    return p->first < q->first ? -1 : p->first > q->first;
}

static void append_escaped(GString *text, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    g_autofree char *escaped = g_markup_escape_text(valid, -1);
    g_string_append(text, escaped);
}

static bool write_rings(const wsi_export_job *job, asap_writer *w, wsi_text_out *out,
                        GError **error)
{
    GString *text = wsi_text_out_buffer(out);
    for (guint i = 0; i < w->rings->len; i++) {
        const ring_entry *e = &g_array_index(w->rings, ring_entry, i);
        const qs_class *class = &job->classes.items[e->label];
        const wsi_vertex *p = &g_array_index(w->points, wsi_vertex, e->first);
        g_string_append_printf(
            text, "<Annotation Name=\"Annotation %u\" Type=\"Polygon\" PartOfGroup=\"", i);
        append_escaped(text, class->name);
        g_string_append_printf(text, "\" Color=\"#%02X%02X%02X\"><Coordinates>\n", class->rgb[0],
                               class->rgb[1], class->rgb[2]);
        for (int64_t k = 0; k < e->n; k++) {
            g_string_append(text, "<Coordinate Order=\"");
            wsi_text_append_int(text, k);
            g_string_append(text, "\" X=\"");
            wsi_text_append_int(text, (int64_t)p[k].x * job->factor - job->origin_x);
            g_string_append(text, "\" Y=\"");
            wsi_text_append_int(text, (int64_t)p[k].y * job->factor - job->origin_y);
            g_string_append(text, "\"/>\n");
        }
        g_string_append(text, "</Coordinates></Annotation>\n");
        if (!wsi_text_out_flush(out, false, error))
            return false;
    }
    return true;
}

static void write_groups(const wsi_export_job *job, GString *text)
{
    for (int i = 1; i <= job->classes.n;
         i++) { /* background last, as it is painted over the others */
        const qs_class *class = &job->classes.items[i % job->classes.n];
        g_string_append(text, "<Group Name=\"");
        append_escaped(text, class->name);
        g_string_append_printf(
            text, "\" PartOfGroup=\"None\" Color=\"#%02X%02X%02X\"><Attributes/></Group>\n",
            class->rgb[0], class->rgb[1], class->rgb[2]);
    }
}

static bool write_asap(const wsi_export_job *job, const char *path, const qs_progress *progress,
                       wsi_export_report *report, GError **error)
{
    asap_writer w = {g_array_new(FALSE, FALSE, sizeof(ring_entry)),
                     g_array_new(FALSE, FALSE, sizeof(wsi_vertex))};
    bool ok = wsi_export_trace(job, keep_region, &w, progress, report, error);
    wsi_text_out *out = ok ? wsi_text_out_open(path, error) : NULL;
    if (out) {
        GString *text = wsi_text_out_buffer(out);
        g_array_sort(w.rings, by_falling_area);
        g_string_append(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- " QS_FILE_MARK
                              " -->\n<ASAP_Annotations>\n<Annotations>\n");
        ok = write_rings(job, &w, out, error);
        g_string_append(text, "</Annotations>\n<AnnotationGroups>\n");
        write_groups(job, text);
        g_string_append(text, "</AnnotationGroups>\n</ASAP_Annotations>\n");
        ok = wsi_text_out_close(out, ok, error);
    }
    g_array_unref(w.rings);
    g_array_unref(w.points);
    return ok && out;
}

static bool check_asap(const wsi_export_job *job, const char *path, const wsi_export_report *report,
                       GArray *findings, GError **error)
{
    wsi_annotations *set = wsi_annotations_read(path, error);
    if (!set)
        return false;
    const wsi_annot_facts *f = &set->facts;
    int64_t n_different, n_holes = 0, n_late = 0;
    for (guint i = 0; i < set->shapes->len; i++) {
        bool hole = !strcmp(g_array_index(set->shapes, wsi_shape, i).class_name,
                            job->classes.items[0].name);
        n_holes += hole;
        n_late += hole && i > 0;
    }
    wsi_export_find(findings, "every outline and every hole is a Polygon annotation",
                    f->n_areas == report->n_regions + report->n_holes && f->n_empty == 0,
                    "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT, f->n_areas,
                    report->n_regions + report->n_holes);
    wsi_export_find(findings, "every PartOfGroup is declared (else ASAP loads nothing)",
                    f->n_group_undeclared == 0, "%" G_GINT64_FORMAT " are not",
                    f->n_group_undeclared);
    wsi_export_find(findings,
                    "holes are annotations of the background group, behind what they are cut from",
                    n_holes == report->n_holes && n_late == n_holes, "%" G_GINT64_FORMAT, n_holes);
    wsi_annotations_destroy(set);
    if (!wsi_export_compare(job, path, &n_different, error))
        return false;
    wsi_export_find_same(job, report, n_different, findings);
    return true;
}

const wsi_exporter wsi_export_asap = {"asap", ".xml", "ASAP XML", false, write_asap, check_asap};
