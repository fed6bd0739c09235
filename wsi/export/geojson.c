/* GeoJSON as QuPath reads it: objectType inside properties, classification with name and colour,
 * ids that are UUIDs, rings closed, holes as inner rings, coordinates in level-0 pixels. Written as
 * the regions close, so memory is bounded by the open ones.
 *
 * The id is a version-5 UUID (SHA-1, RFC 4122 section 4.3) of class and outline: the same region
 * has the same id on every machine, and QuPath sees a changed one as new. */
#include "wsi/export/export_priv.h"

#include "base/file.h"

#include "base/report.h"
#include "wsi/annot/annot_priv.h"

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
    g_string_append(wsi_text_out_buffer(w.out),
                    "{\"type\":\"FeatureCollection\",\"program\":\"" QS_FILE_MARK
                    "\",\"features\":[");
    bool ok = wsi_export_trace(job, write_region, &w, progress, report, error);
    g_string_append(wsi_text_out_buffer(w.out), "\n]}\n");
    g_string_free(w.rings, TRUE);
    return wsi_text_out_close(w.out, ok, error);
}

/* ---- reading back, a feature at a time ---------------------------------------------------------
 */
typedef struct {
    const wsi_export_job *job;
    double x0, y0, x1, y1; /* where coordinates may lie */
    wsi_cracks cracks;
    int64_t n_rings, n_outside;
    int64_t n_odd; /* edges off the pixel grid, or aslant; shapes of no class */
} geo_check;

/* Where the coordinates may lie; a mask of ceil(slide / factor) pixels may reach one of its pixels
 * further, a bounds-relative file may start below 0. */
static void set_canvas(geo_check *c)
{
    const wsi_export_job *job = c->job;
    c->x0 = -(double)job->origin_x;
    c->y0 = -(double)job->origin_y;
    c->x1 = MAX((double)job->canvas_w, (double)(job->labels.w * job->factor - job->origin_x));
    c->y1 = MAX((double)job->canvas_h, (double)(job->labels.h * job->factor - job->origin_y));
}

/* A coordinate of the file in label pixels; false when it is not on their grid. */
static bool to_grid(double coordinate, int64_t origin, int factor, int64_t *at)
{
    double v = (coordinate + (double)origin) / factor;
    *at = (int64_t)v;
    return (double)*at == v;
}

static int64_t check_ring(geo_check *c, const wsi_annotations *set, const wsi_ring *ring,
                          uint8_t label)
{
    const wsi_export_job *job = c->job;
    int64_t twice_area = 0, x = 0, y = 0, next_x = 0, next_y = 0;
    const wsi_point *p = &g_array_index(set->points, wsi_point, ring->first);
    bool ok = to_grid(p[0].x, job->origin_x, job->factor, &x) &&
              to_grid(p[0].y, job->origin_y, job->factor, &y);
    for (int64_t i = 1; ok && i <= ring->n; i++, x = next_x, y = next_y) {
        const wsi_point *q = &p[i < ring->n ? i : 0];
        ok = to_grid(q->x, job->origin_x, job->factor, &next_x) &&
             to_grid(q->y, job->origin_y, job->factor, &next_y) && (next_x == x || next_y == y);
        if (ok && next_x == x)
            wsi_cracks_add_edge(&c->cracks, label, x, y, next_y);
        twice_area += x * next_y - next_x * y;
    }
    c->n_odd += !ok;
    return ABS(twice_area) / 2;
}

static int class_of(const wsi_export_job *job, const char *name)
{
    for (int k = 1; k < job->classes.n; k++)
        if (!strcmp(job->classes.items[k].name, name))
            return k;
    return 0;
}

static bool check_feature(void *user, const wsi_annotations *set, GError **error)
{
    geo_check *c = user;
    for (guint i = 0; i < set->shapes->len; i++) {
        const wsi_shape *s = &g_array_index(set->shapes, wsi_shape, i);
        int label = class_of(c->job, s->class_name);
        c->n_outside += s->x0 < c->x0 || s->y0 < c->y0 || s->x1 > c->x1 || s->y1 > c->y1;
        c->n_odd += label == 0 || s->kind != WSI_SHAPE_AREA;
        for (int64_t r = 0; s->kind == WSI_SHAPE_AREA && r < s->n_rings; r++) {
            int64_t px = check_ring(c, set, &g_array_index(set->rings, wsi_ring, s->first_ring + r),
                                    (uint8_t)label);
            c->cracks.area[label] += r == 0 ? px : -px;
        }
    }
    c->n_rings += set->rings->len;
    return qs_stop_check(error);
}

static void find_shape(const wsi_annot_facts *f, const geo_check *c,
                       const wsi_export_report *report, GArray *findings)
{
    int64_t n = f->n_features;
    wsi_export_find(findings, "a FeatureCollection with every region as a feature",
                    n == report->n_regions, "%" G_GINT64_FORMAT " of %" G_GINT64_FORMAT, n,
                    report->n_regions);
    wsi_export_find(findings, "every geometry is a Polygon with its holes as inner rings",
                    f->n_areas == n && f->n_empty == 0 &&
                        c->n_rings == report->n_regions + report->n_holes,
                    "%" G_GINT64_FORMAT " rings", c->n_rings);
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
    wsi_export_find(findings, "coordinates are level-0 pixels within the slide", c->n_outside == 0,
                    "%" G_GINT64_FORMAT " outside", c->n_outside);
    wsi_export_find(findings, "outlines run along the mask's pixel edges", c->n_odd == 0,
                    "%" G_GINT64_FORMAT " do not", c->n_odd);
}

static bool check_geojson(const wsi_export_job *job, const char *path,
                          const wsi_export_report *report, GArray *findings, GError **error)
{
    wsi_annot_facts facts;
    g_autofree geo_check *c = g_new0(geo_check, 1);
    c->job = job;
    set_canvas(c);
    if (!wsi_annotations_read_each(path, check_feature, c, &facts, error))
        return false;
    find_shape(&facts, c, report, findings);
    return wsi_export_find_cracks(job, report, &c->cracks, findings, error);
}

const wsi_exporter wsi_export_geojson = {"geojson", ".geojson",    "QuPath GeoJSON",
                                         false,     write_geojson, check_geojson};
