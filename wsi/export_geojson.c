/* GeoJSON as QuPath reads it: objectType inside properties, classification with name and colour,
 * ids that are UUIDs, rings closed, holes as inner rings, coordinates in level-0 pixels. Written as
 * the regions close, so memory is bounded by the open ones.
 *
 * The id is a version-5 UUID (SHA-1, RFC 4122 section 4.3) of class and outline: the same region
 * has the same id on every machine, and QuPath sees a changed one as new. */
#include "wsi/export_priv.h"

#include "wsi/annot_priv.h"

#include <string.h>

typedef struct {
    const wsi_export_job *job;
    wsi_text_out *out;
    GString *rings;
    int64_t n;
} geo_writer;

static void append_rings(GString *text, const wsi_export_job *job, const wsi_region *region)
{
    const wsi_vertex *p = region->points;
    g_string_append_c(text, '[');
    for (int r = 0; r < region->n_rings; p += region->ring_n[r], r++) {
        g_string_append(text, r ? ",[" : "[");
        for (int64_t i = 0; i <= region->ring_n[r]; i++) { /* the first again at the end */
            const wsi_vertex *v = &p[i < region->ring_n[r] ? i : 0];
            g_string_append(text, i ? ",[" : "[");
            wsi_text_append_int(text, (int64_t)v->x * job->factor - job->origin_x);
            g_string_append_c(text, ',');
            wsi_text_append_int(text, (int64_t)v->y * job->factor - job->origin_y);
            g_string_append_c(text, ']');
        }
        g_string_append_c(text, ']');
    }
    g_string_append_c(text, ']');
}

static void append_uuid(GString *text, const char *class_name, const GString *rings)
{
    /* A random version-4 UUID, drawn once: the namespace of this program's regions. */
    static const guint8 namespace[16] = {0x6d, 0x1f, 0x3a, 0x52, 0x8c, 0x07, 0x4e, 0x2b,
                                         0x9a, 0x61, 0xd5, 0x33, 0x0e, 0x7c, 0xb8, 0x94};
    guint8 digest[20];
    gsize n = sizeof digest;
    g_autoptr(GChecksum) sha1 = g_checksum_new(G_CHECKSUM_SHA1);
    g_checksum_update(sha1, namespace, sizeof namespace);
    g_checksum_update(sha1, (const guchar *)class_name, (gssize)strlen(class_name) + 1);
    g_checksum_update(sha1, (const guchar *)rings->str, (gssize)rings->len);
    g_checksum_get_digest(sha1, digest, &n);
    digest[6] = (digest[6] & 0x0f) | 0x50;
    digest[8] = (digest[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++)
        g_string_append_printf(text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                               digest[i]);
}

static void append_number(GString *text, double value)
{
    char digits[G_ASCII_DTOSTR_BUF_SIZE];
    g_string_append(text, g_ascii_formatd(digits, sizeof digits, "%.6g", value));
}

static void append_measurements(GString *text, const wsi_export_job *job, const wsi_region *region)
{
    double mpp = job->mpp_l0 * job->factor;
    g_string_append(text, mpp > 0 ? "{\"area_um2\":" : "{\"area_px\":");
    if (mpp > 0)
        append_number(text, (double)region->area_px * mpp * mpp);
    else
        wsi_text_append_int(text, region->area_px * job->factor * job->factor);
    if (job->prob) {
        g_string_append(text, ",\"mean_probability\":");
        append_number(text, region->prob_sum / (double)region->area_px / 255);
    }
    g_string_append_c(text, '}');
}

static bool write_region(void *user, const wsi_region *region, GError **error)
{
    geo_writer *w = user;
    GString *text = wsi_text_out_buffer(w->out);
    const qs_class *class = &w->job->classes.items[region->label];
    g_string_truncate(w->rings, 0);
    append_rings(w->rings, w->job, region);
    g_string_append(text, w->n++ ? ",\n{\"type\":\"Feature\",\"id\":\""
                                 : "\n{\"type\":\"Feature\",\"id\":\"");
    append_uuid(text, class->name, w->rings);
    g_string_append(text, "\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":");
    g_string_append_len(text, w->rings->str, (gssize)w->rings->len);
    g_string_append(text, "},\"properties\":{\"objectType\":\"annotation\",\"name\":");
    g_autofree char *name = g_strdup_printf("%s %" G_GINT64_FORMAT, class->name, w->n);
    wsi_text_append_json(text, name);
    g_string_append(text, ",\"classification\":{\"name\":");
    wsi_text_append_json(text, class->name);
    g_string_append_printf(text, ",\"color\":[%d,%d,%d]},\"isLocked\":false,\"measurements\":",
                           class->rgb[0], class->rgb[1], class->rgb[2]);
    append_measurements(text, w->job, region);
    g_string_append(text, "}}");
    return wsi_text_out_flush(w->out, false, error);
}

static bool write_geojson(const wsi_export_job *job, const char *path, const qs_progress *progress,
                          wsi_export_report *report, GError **error)
{
    geo_writer w = {.job = job, .out = wsi_text_out_open(path, error)};
    if (!w.out)
        return false;
    w.rings = g_string_new(NULL);
    g_string_append(wsi_text_out_buffer(w.out), "{\"type\":\"FeatureCollection\",\"features\":[");
    bool ok = wsi_export_trace(job, write_region, &w, progress, report, error);
    g_string_append(wsi_text_out_buffer(w.out), "\n]}\n");
    g_string_free(w.rings, TRUE);
    return wsi_text_out_close(w.out, ok, error);
}

/* Where the coordinates lie; a mask of ceil(slide / factor) pixels may reach one of its pixels
 * further. */
static bool inside_canvas(const wsi_export_job *job, const wsi_annotations *set, int64_t *n_outside)
{
    double x0 = -(double)job->origin_x,
           y0 = -(double)job->origin_y; /* a bounds-relative file may start below 0 */
    double x1 = MAX((double)job->canvas_w, (double)(job->labels.w * job->factor - job->origin_x));
    double y1 = MAX((double)job->canvas_h, (double)(job->labels.h * job->factor - job->origin_y));
    *n_outside = 0;
    for (guint i = 0; i < set->shapes->len; i++) {
        const wsi_shape *s = &g_array_index(set->shapes, wsi_shape, i);
        *n_outside += s->x0 < x0 || s->y0 < y0 || s->x1 > x1 || s->y1 > y1;
    }
    return *n_outside == 0;
}

static bool check_geojson(const wsi_export_job *job, const char *path,
                          const wsi_export_report *report, GArray *findings, GError **error)
{
    wsi_annotations *set = wsi_annotations_read(path, error);
    if (!set)
        return false;
    const wsi_annot_facts *f = &set->facts;
    int64_t n = f->n_features, n_outside, n_different;
    wsi_export_find(findings, "a FeatureCollection with every region as a feature",
                    n == report->n_regions, "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT, n,
                    report->n_regions);
    wsi_export_find(findings, "every geometry is a Polygon with its holes as inner rings",
                    f->n_areas == n && f->n_empty == 0 &&
                        set->rings->len == report->n_regions + report->n_holes,
                    "%u rings", set->rings->len);
    wsi_export_find(findings, "every ring is closed and crosses itself nowhere",
                    f->n_open == 0 && f->n_self_crossing == 0,
                    "%" G_GINT64_FORMAT " open, %" G_GINT64_FORMAT " crossing, %" G_GINT64_FORMAT
                    " too long to look",
                    f->n_open, f->n_self_crossing, f->n_not_examined);
    wsi_export_find(findings, "every id is a UUID, and no two are the same (QuPath)",
                    f->n_uuid == n && f->n_id_repeated == 0,
                    "%" G_GINT64_FORMAT " UUIDs, %" G_GINT64_FORMAT " repeated", f->n_uuid,
                    f->n_id_repeated);
    wsi_export_find(findings, "objectType is inside properties (QuPath)", f->n_object_type == n,
                    "%s", "");
    wsi_export_find(findings, "classification has name and colour (QuPath)",
                    f->n_class_and_colour == n, "%s", "");
    bool inside = inside_canvas(job, set, &n_outside);
    wsi_export_find(findings, "coordinates are level-0 pixels within the slide", inside,
                    "%" G_GINT64_FORMAT " outside", n_outside);
    wsi_annotations_destroy(set);
    if (!wsi_export_compare(job, path, &n_different, error))
        return false;
    wsi_export_find_same(job, report, n_different, findings);
    return true;
}

const wsi_exporter wsi_export_geojson = {"geojson", ".geojson", "QuPath GeoJSON", write_geojson,
                                         check_geojson};
