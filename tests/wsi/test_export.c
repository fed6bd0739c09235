/* Masks out: raster → outlines → raster for hard masks, what is in the files, filters, and the
 * checks themselves, which must report every rule when a file breaks it. */
#include "tests/wsi/helpers.h"
#include "base/file.h"
#include "base/rng.h"
#include "wsi/annot/shapes.h"
#include "wsi/export/export.h"
#include "wsi/tiff/probe.h"
#include "wsi/export/trace.h"

#include <errno.h>

typedef struct {
    int64_t w, h;
    uint8_t *label;
} plane;

static bool read_plane(void *user, int64_t x, int64_t y, int w, int h, uint8_t *label,
                       size_t row_bytes, GError **error)
{
    const plane *p = user;
    (void)error;
    g_assert_true(x >= 0 && y >= 0 && x + w <= p->w && y + h <= p->h);
    for (int r = 0; r < h; r++)
        memcpy(label + (size_t)r * row_bytes, p->label + (y + r) * p->w + x, (size_t)w);
    return true;
}

static plane new_plane(int64_t w, int64_t h)
{
    return (plane){w, h, g_malloc0((size_t)(w * h))};
}

/* Blobs of some scale, from single pixels to large ones, so that there are holes in islands in
 * holes. */
static plane random_plane(uint64_t seed, int w, int h, int n_labels, int scale)
{
    plane p = new_plane(w, h);
    qs_rng rng;
    qs_rng_init(&rng, 77, seed);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            p.label[y * w + x] = scale > 1 && (x % scale || y % scale)
                                     ? p.label[(y - y % scale) * w + x - x % scale]
                                     : (uint8_t)qs_rng_below(&rng, (uint32_t)n_labels);
    for (int i = 0; scale > 1 && i < w * h / 40; i++)
        p.label[qs_rng_below(&rng, (uint32_t)(w * h))] =
            (uint8_t)qs_rng_below(&rng, (uint32_t)n_labels);
    return p;
}

/* "#" and digits are labels 1 and themselves. */
static plane drawn_plane(const char *const *rows, int h)
{
    plane p = new_plane((int64_t)strlen(rows[0]), h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < p.w; x++)
            p.label[y * p.w + x] = rows[y][x] == '#'             ? 1
                                   : g_ascii_isdigit(rows[y][x]) ? (uint8_t)(rows[y][x] - '0')
                                                                 : 0;
    return p;
}

static wsi_export_job job_of(plane *p, int n_classes)
{
    qs_classes classes;
    wsi_export_job job;
    wsi_labels labels = {p->w, p->h, read_plane, p};
    qs_classes_init_n(&classes, n_classes);
    wsi_export_job_init(&job, &labels, &classes);
    return job;
}

static char *export_as(const char *format, const wsi_export_job *job, const char *name,
                       wsi_export_report *report)
{
    char *path = temp_path(name);
    GError *error = NULL;
    *report = (wsi_export_report){0};
    g_assert_true(wsi_export_job_check(job, &error));
    g_assert_true(wsi_exporter_find(format)->write(job, path, NULL, report, &error));
    g_assert_no_error(error);
    return path;
}

/* Number of rules that the file breaks; `broken` of them must be the one that contains `rule`. */
static guint count_broken(const char *format, const wsi_export_job *job, const char *path,
                          const wsi_export_report *report, const char *rule)
{
    GError *error = NULL;
    GArray *findings = wsi_export_check(wsi_exporter_find(format), job, path, report, &error);
    g_assert_no_error(error);
    guint n = 0;
    bool seen = false;
    for (guint i = 0; i < findings->len; i++) {
        const wsi_export_finding *f = &g_array_index(findings, wsi_export_finding, i);
        n += !f->ok;
        seen |= !f->ok && rule && strstr(f->rule, rule);
        if (!f->ok && !rule)
            g_test_message("%s: broken: %s (%s)", path, f->rule, f->detail ? f->detail : "");
    }
    if (rule && !seen)
        g_error("%s: \"%s\" was not reported", path, rule);
    g_array_unref(findings);
    return n;
}

/* ---- the tracer ------------------------------------------------------------------------------ */
typedef struct {
    int64_t n_regions, n_rings, area, n_vertices, ring_signed_errors;
    double prob_sum;
} trace_sums;

static bool sum_region(void *user, const wsi_region *region, GError **error)
{
    trace_sums *s = user;
    (void)error;
    s->n_regions++;
    s->n_rings += region->n_rings;
    s->area += region->area_px;
    s->prob_sum += region->prob_sum;
    const wsi_vertex *p = region->points;
    int64_t inner = 0;
    for (int r = 0; r < region->n_rings; p += region->ring_n[r], r++) {
        int64_t twice = 0, n = region->ring_n[r];
        for (int64_t i = 0; i < n; i++) {
            const wsi_vertex *a = &p[i], *b = &p[(i + 1) % n], *c = &p[(i + 2) % n];
            twice += (int64_t)a->x * b->y - (int64_t)b->x * a->y;
            g_assert_true((a->x == b->x) != (a->y == b->y)); /* along pixel edges, */
            g_assert_true((a->x == b->x) == (b->y == c->y)); /* with a vertex at turns only */
        }
        g_assert_cmpint(twice / 2, ==, r == 0 ? region->ring_area[0] : -region->ring_area[r]);
        inner += r ? region->ring_area[r] : 0;
        s->n_vertices += n;
    }
    g_assert_cmpint(region->area_px, ==, region->ring_area[0] - inner);
    return true;
}

/* Regions by flood fill, as another would count them. */
static int64_t flood_count(const plane *p)
{
    g_autofree uint8_t *seen = g_malloc0((size_t)(p->w * p->h));
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(int64_t));
    int64_t n = 0, size = p->w * p->h;
    for (int64_t i = 0; i < size; i++) {
        if (!p->label[i] || seen[i])
            continue;
        n++;
        seen[i] = 1;
        g_array_append_val(stack, i);
        while (stack->len) {
            int64_t at = g_array_index(stack, int64_t, stack->len - 1), x = at % p->w;
            g_array_set_size(stack, stack->len - 1);
            const int64_t next[4] = {x > 0 ? at - 1 : -1, x + 1 < p->w ? at + 1 : -1, at - p->w,
                                     at + p->w};
            for (int k = 0; k < 4; k++)
                if (next[k] >= 0 && next[k] < size && !seen[next[k]] &&
                    p->label[next[k]] == p->label[at]) {
                    seen[next[k]] = 1;
                    g_array_append_val(stack, next[k]);
                }
        }
    }
    return n;
}

static trace_sums trace_plane(const plane *p, const uint8_t *prob)
{
    trace_sums sums = {0};
    GError *error = NULL;
    wsi_tracer *tracer = wsi_tracer_create(p->w, sum_region, &sums);
    for (int64_t y = 0; y < p->h; y++)
        g_assert_true(
            wsi_tracer_row(tracer, p->label + y * p->w, prob ? prob + y * p->w : NULL, &error));
    g_assert_true(wsi_tracer_finish(tracer, &error));
    g_assert_cmpint(wsi_tracer_peak(tracer), <=, sums.n_vertices);
    wsi_tracer_destroy(tracer);
    return sums;
}

static void test_tracer(void)
{
    static const char *const rows[] = {
        "#########.#", //
        "#.......#.#", //
        "#.#####.##.", //
        "#.#...#.#.#", //
        "#.#.#.#.#.#", //
        "#.#...#.#..", //
        "#.#####.###", //
        "#.......#.#", //
        "#########.#",
    };
    plane p = drawn_plane(rows, 9);
    trace_sums s = trace_plane(&p, NULL);
    g_assert_cmpint(s.n_regions, ==, flood_count(&p));
    g_assert_cmpint(s.n_rings, ==, s.n_regions + 2);
    g_free(p.label);
    for (uint64_t seed = 0; seed < 60; seed++) {
        int w = 1 + (int)(seed * 7 % 41), h = 1 + (int)(seed * 11 % 37);
        p = random_plane(seed, w, h, 2 + (int)(seed % 3), 1 + (int)(seed % 4) * 2);
        plane prob = random_plane(seed + 1000, w, h, 256, 1);
        int64_t n_foreground = 0;
        double prob_sum = 0;
        for (int i = 0; i < w * h; i++)
            if (p.label[i]) {
                n_foreground++;
                prob_sum += prob.label[i];
            }
        s = trace_plane(&p, prob.label);
        g_assert_cmpint(s.n_regions, ==, flood_count(&p));
        g_assert_cmpint(s.area, ==, n_foreground);
        g_assert_cmpfloat(s.prob_sum, ==, prob_sum);
        g_free(p.label);
        g_free(prob.label);
    }
}

/* Memory follows what is open, not what has passed. */
static void test_tracer_memory(void)
{
    enum { W = 200, ROWS = 20000 };
    uint8_t row[W];
    trace_sums sums = {0};
    wsi_tracer *tracer = wsi_tracer_create(W, sum_region, &sums);
    for (int y = 0; y < ROWS; y++) {
        for (int x = 0; x < W; x++)
            row[x] = x % 4 == 1 && y % 3 == 1;
        g_assert_true(wsi_tracer_row(tracer, row, NULL, NULL));
    }
    g_assert_true(wsi_tracer_finish(tracer, NULL));
    g_assert_cmpint(sums.n_vertices, ==, (int64_t)(W / 4) * ((ROWS + 1) / 3) * 4);
    g_assert_cmpint(wsi_tracer_peak(tracer), <=, W / 4 * 4);
    wsi_tracer_destroy(tracer);
}

/* ---- there and back -------------------------------------------------------------------------- */
static void there_and_back(const char *format, plane *p, int n_classes, int factor, int64_t origin)
{
    wsi_export_job job = job_of(p, n_classes);
    wsi_export_report report;
    job.factor = factor;
    job.mpp_l0 = 0.25;
    job.canvas_w = p->w * factor;
    job.canvas_h = p->h * factor;
    job.origin_x = origin;
    job.origin_y = 2 * origin;
    g_autofree char *path = export_as(format, &job, "back", &report);
    g_assert_cmpint(count_broken(format, &job, path, &report, NULL), ==, 0);
    g_assert_cmpint(report.n_regions, ==, flood_count(p));
    if (origin)
        return;
    /* Once more without the exporter's own check. */
    wsi_annot *annot = wsi_annot_open(path, p->w * factor, p->h * factor, &job.classes, NULL, NULL);
    g_autofree uint8_t *label = g_malloc((size_t)(p->w * p->h));
    wsi_view view = {.w = p->w, .h = p->h, .downsample = factor};
    g_assert_true(
        wsi_annot_read(annot, &view, 0, 0, (int)p->w, (int)p->h, label, (size_t)p->w, NULL));
    g_assert_cmpmem(label, (size_t)(p->w * p->h), p->label, (size_t)(p->w * p->h));
    wsi_annot_close(annot);
}

static void test_there_and_back(void)
{
    static const char *const rows[] = {
        "1111111111", //
        "1.......21", //
        "1.22222..1", //
        "1.2...2..1", //
        "1.2.1.2.11", //
        "1.2...2..1", //
        "1.22322..1", //
        "1........1", //
        "2.11111111",
    };
    plane p = drawn_plane(rows, 9);
    there_and_back("geojson", &p, 4, 1, 0);
    there_and_back("asap", &p, 4, 3, 0);
    g_free(p.label);
    for (uint64_t seed = 0; seed < 36; seed++) {
        int n = 2 + (int)(seed % 3);
        p = random_plane(seed, 1 + (int)(seed * 13 % 61), 1 + (int)(seed * 17 % 53), n,
                         1 + (int)(seed % 4) * 3);
        there_and_back(seed % 2 ? "geojson" : "asap", &p, n,
                       seed % 5 == 4 ? 16 : 1 + (int)(seed % 3), seed % 6 == 5 ? 1001 : 0);
        g_free(p.label);
    }
    p = new_plane(30, 20);
    there_and_back("geojson", &p, 2, 1, 0); /* nothing */
    there_and_back("asap", &p, 2, 1, 0);
    memset(p.label, 1, 600);
    there_and_back("geojson", &p, 2, 1, 0); /* everything */
    g_free(p.label);
}

/* ---- what is in the file --------------------------------------------------------------------- */
static void test_geojson_content(void)
{
    static const char *const rows[] = {"####", "#..#", "####", "...."};
    plane p = drawn_plane(rows, 4), prob = new_plane(4, 4);
    memset(prob.label, 51, 16);
    wsi_labels prob_labels = {4, 4, read_plane, &prob};
    wsi_export_job job = job_of(&p, 2);
    wsi_export_report report;
    g_strlcpy(job.classes.items[1].name, "T \"1\"\\", sizeof job.classes.items[1].name);
    job.factor = 2;
    job.mpp_l0 = 0.5;
    job.prob = &prob_labels;
    job.canvas_w = job.canvas_h = 8;
    g_autofree char *path = export_as("geojson", &job, "content.geojson", &report);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_nonnull(
        strstr(text, "[[[0,6],[0,0],[8,0],[8,6],[0,6]],[[6,2],[2,2],[2,4],[6,4],[6,2]]]"));
    g_assert_nonnull(
        strstr(text, "\"classification\":{\"name\":\"T \\\"1\\\"\\\\\",\"color\":[200,0,0]}"));
    g_assert_nonnull(strstr(text, "\"measurements\":{\"area_um2\":10,\"mean_probability\":0.2}"));
    g_assert_cmpint(count_broken("geojson", &job, path, &report, NULL), ==, 0);
    g_assert_cmpint(report.n_holes, ==, 1);
    /* The same again: the same bytes, ids too. Another outline: another id. */
    g_autofree char *again = export_as("geojson", &job, "again.geojson", &report), *text2 = NULL,
                    *text3 = NULL;
    g_assert_true(g_file_get_contents(again, &text2, NULL, NULL));
    g_assert_cmpstr(text, ==, text2);
    p.label[15] = 1;
    g_autofree char *other = export_as("geojson", &job, "other.geojson", &report);
    g_assert_true(g_file_get_contents(other, &text3, NULL, NULL));
    char *id = strstr(text, "\"id\":\""), *id3 = strstr(text3, "\"id\":\"");
    g_assert_cmpint(id[20], ==, '5'); /* version 5 */
    g_assert_cmpint(strncmp(id, id3, 42), !=, 0);
    g_free(p.label);
    g_free(prob.label);
}

static void test_filters(void)
{
    static const char *const rows[] = {
        "#######.#", //
        "#.#...#..", //
        "#######.#", //
        ".......##",
    };
    plane p = drawn_plane(rows, 4);
    wsi_export_job job = job_of(&p, 2);
    wsi_export_report report;
    job.mpp_l0 = 2; /* 4 µm² a pixel */
    job.min_area_um2 = 8;
    job.min_hole_um2 = 8;
    g_autofree char *path = export_as("geojson", &job, "filtered.geojson", &report);
    g_assert_cmpint(report.n_regions, ==, 2);
    g_assert_cmpint(report.n_dropped, ==, 1);
    g_assert_cmpint(report.dropped_px, ==, 1);
    g_assert_cmpint(report.n_filled, ==, 1);
    g_assert_cmpint(report.filled_px, ==, 1);
    g_assert_cmpint(report.n_holes, ==, 1);
    g_assert_cmpint(report.class_px[1], ==, 21 - 4 + 1 + 3);
    g_assert_cmpint(count_broken("geojson", &job, path, &report, NULL), ==, 0);
    wsi_annot *annot = wsi_annot_open(path, 9, 4, &job.classes, NULL, NULL);
    wsi_view view = {.w = 9, .h = 4, .downsample = 1};
    double area[256];
    g_assert_true(wsi_annot_areas(annot, &view, 0, 0, 9, 4, area, NULL, 0, NULL));
    g_assert_cmpfloat(area[1], ==, 21);
    wsi_annot_close(annot);
    GError *error = NULL;
    job.mpp_l0 = 0;
    g_assert_false(wsi_export_job_check(&job, &error));
    expect_error(error, QS_ERROR_ARG, "--mpp", NULL);
    g_free(p.label);
}

/* ---- images ---------------------------------------------------------------------------------- */
static void test_images(void)
{
    plane p = random_plane(3, 1300, 1111, 3, 9);
    wsi_export_job job = job_of(&p, 3);
    wsi_export_report report;
    job.factor = 4;
    job.mpp_l0 = 0.25;
    g_strlcpy(job.classes.items[2].name, "xml & <µ>", sizeof job.classes.items[2].name);
    g_autofree char *tiff = export_as("tiff", &job, "mask.tif", &report);
    g_assert_cmpint(count_broken("tiff", &job, tiff, &report, NULL), ==, 0);
    g_autofree char *ome = export_as("ome", &job, "mask.ome.tif", &report);
    g_assert_cmpint(count_broken("ome", &job, ome, &report, NULL), ==, 0);
    g_assert_cmpint(report.class_px[0] + report.class_px[1] + report.class_px[2], ==, p.w * p.h);
    wsi_slide *slide = wsi_slide_open(tiff, 0, NULL);
    g_assert_nonnull(slide);
    g_assert_cmpint(wsi_slide_get_info(slide)->n_levels, ==, 2);
    g_assert_cmpfloat(wsi_slide_get_info(slide)->mpp, >, 0.999);
    g_assert_cmpfloat(wsi_slide_get_info(slide)->mpp, <, 1.001);
    job.slide = slide;
    job.factor = 1;
    job.picture_px = 300;
    g_autofree char *png = export_as("png", &job, "mask.png", &report);
    g_assert_cmpint(count_broken("png", &job, png, &report, NULL), ==, 0);
    wsi_slide_close(slide);
    slide = wsi_slide_open(png, 0, NULL);
    g_assert_nonnull(slide);
    g_assert_cmpint(wsi_slide_get_info(slide)->levels[0].w, <=, 300);
    wsi_slide_close(slide);
    /* One changed pixel is found, in each kind. */
    p.label[700 * 1300 + 5] ^= 1;
    job.factor = 4;
    g_assert_cmpint(count_broken("tiff", &job, tiff, &report, "pixel for pixel"), ==, 1);
    g_assert_cmpint(count_broken("ome", &job, ome, &report, "pixel for pixel"), ==, 1);
    g_assert_cmpint(count_broken("tiff", &job, ome, &report, "a chain of at least two levels"), >=,
                    4);
    g_assert_cmpint(count_broken("ome", &job, tiff, &report, "BigTIFF"), >=, 4);
    job.mpp_l0 = 0.5;
    g_assert_cmpint(count_broken("tiff", &job, tiff, &report, "resolution per cm"), ==, 2);
    g_free(p.label);
}

/* ---- the check must be able to fail ---------------------------------------------------------- */
static void plant(const char *format, const wsi_export_job *job, const wsi_export_report *report,
                  const char *path, const char *from, const char *to, const char *rule)
{
    g_autofree char *text = NULL, *planted_path = temp_path("planted");
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    char *at = strstr(text, from);
    g_assert_nonnull(at);
    g_autofree char *before = g_strndup(text, (gsize)(at - text));
    g_autofree char *planted = g_strconcat(before, to, at + strlen(from), NULL);
    write_file(planted_path, planted, strlen(planted));
    g_assert_cmpint(count_broken(format, job, planted_path, report, rule), >=, 1);
}

static void test_planted(void)
{
    static const char *const rows[] = {"####.", "#..#.", "####.", "....#"};
    plane p = drawn_plane(rows, 4);
    wsi_export_job job = job_of(&p, 2);
    wsi_export_report report;
    g_autofree char *geo = export_as("geojson", &job, "good.geojson", &report);
    plant("geojson", &job, &report, geo, "\"objectType\"", "\"objecttype\"", "objectType");
    plant("geojson", &job, &report, geo, "\"color\":[200,0,0]", "\"colour\":[200,0,0]",
          "classification");
    plant("geojson", &job, &report, geo, "\"id\":\"", "\"id\":\"x", "UUID");
    plant("geojson", &job, &report, geo, "[[0,3],", "[", "closed");
    plant("geojson", &job, &report, geo, "[4,3]", "[4,300]", "within the slide");
    plant("geojson", &job, &report, geo, "[[0,3],[0,0],", "[[0,3],[0,1],", "pixel for pixel");
    plant("geojson", &job, &report, geo, "\"Polygon\",\"coordinates\":[[[0,3]",
          "\"MultiLineString\",\"coordinates\":[[[0,3]", "is a Polygon");
    g_autofree char *asap = export_as("asap", &job, "good.xml", &report);
    plant("asap", &job, &report, asap, "<Group Name=\"class 1\"", "<Group Name=\"class 2\"",
          "declared");
    plant("asap", &job, &report, asap, "PartOfGroup=\"background\"", "PartOfGroup=\"class 1\"",
          "background group");
    plant("asap", &job, &report, asap, "X=\"1\"", "X=\"2\"", "pixel for pixel");
    plant("asap", &job, &report, asap, "Type=\"Polygon\"", "Type=\"PointSet\"",
          "Polygon annotation");
    g_free(p.label);
}

/* ---- faults ---------------------------------------------------------------------------------- */
static int fail_after;
static qs_io_kind failed_kind;

static int fail_io(void *user, qs_io_kind kind, const char *path, const char *path2, int64_t offset,
                   const void *data, size_t n)
{
    (void)user, (void)path, (void)path2, (void)offset, (void)data, (void)n;
    failed_kind = fail_after == 0 ? kind : failed_kind;
    return fail_after-- == 0 ? ENOSPC : 0;
}

/* Each file operation fails in its turn: an error every time, the old file stays, and no part is
 * left. */
static void test_full_disk(void)
{
    plane p = random_plane(5, 600, 530, 2, 7);
    wsi_export_job job = job_of(&p, 2);
    wsi_export_report report = {0};
    for (const wsi_exporter *const *e = wsi_exporters; *e; e++) {
        g_autofree char *path = temp_path("full"), *part = temp_path("full.part");
        int n_failed = 0;
        for (int k = 0; k < 400; k++) {
            GError *error = NULL;
            write_file(path, "old", 3);
            fail_after = k;
            qs_io_set_hook(fail_io, NULL);
            bool ok = (*e)->write(&job, path, NULL, &report, &error);
            qs_io_set_hook(NULL, NULL);
            if (ok) {
                g_assert_no_error(error);
                break;
            }
            g_assert_nonnull(error);
            g_assert_nonnull(strstr(error->message, temp_dir));
            g_clear_error(&error);
            if (failed_kind != QS_IO_DIRSYNC) { /* behind the rename it is the new file */
                g_autofree char *text = NULL;
                g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
                g_assert_cmpstr(text, ==, "old");
            }
            n_failed++;
            g_assert_false(g_file_test(part, G_FILE_TEST_EXISTS));
            k += k > 12 ? 23 : 0;
        }
        g_assert_cmpint(n_failed, >=, 3);
        g_remove(path);
    }
    g_free(p.label);
}

static void test_job_errors(void)
{
    plane p = new_plane(10, 10), small = new_plane(5, 5);
    wsi_labels prob = {5, 5, read_plane, &small};
    wsi_export_job good = job_of(&p, 2), job;
    GError *error = NULL;
    g_assert_true(wsi_export_job_check(&good, NULL));
    struct {
        size_t offset;
        int value;
        const char *word;
    } cases[] = {{G_STRUCT_OFFSET(wsi_export_job, factor), 0, "factor"},
                 {G_STRUCT_OFFSET(wsi_export_job, picture_px), 1, "picture"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        job = good;
        memcpy((char *)&job + cases[i].offset, &cases[i].value, sizeof(int));
        g_assert_false(wsi_export_job_check(&job, &error));
        expect_error(g_steal_pointer(&error), QS_ERROR_ARG, cases[i].word, NULL);
    }
    job = good;
    job.prob = &prob;
    g_assert_false(wsi_export_job_check(&job, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "different sizes", NULL);
    job = good;
    job.min_area_um2 = -1;
    g_assert_false(wsi_export_job_check(&job, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "0 or more", NULL);
    job = good;
    job.labels.w = 0;
    g_assert_false(wsi_export_job_check(&job, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "no size", NULL);
    g_assert_null(wsi_exporter_find("svg"));
    g_free(p.label);
    g_free(small.label);
}

/* Rows and edges of the same mask are equal sets; a pixel of another label, one more, one moved, or
 * an outline that is there twice is not. */
static void test_cracks(void)
{
    enum { W = 13, H = 9 };
    uint8_t label[H][W];
    for (uint32_t seed = 1; seed < 60; seed++) {
        g_autoptr(GRand) random = g_rand_new_with_seed(seed);
        wsi_cracks rows = {0}, edges = {0}, other = {0};
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                label[y][x] = (uint8_t)(g_rand_int_range(random, 0, 5) % 3);
        for (int y = 0; y < H; y++) {
            wsi_cracks_add_row(&rows, label[y], W, y);
            for (int x = 0; x < W; x++) { /* every pixel as its own square: inner edges once more */
                int left = x ? label[y][x - 1] : 0, right = x + 1 < W ? label[y][x + 1] : 0;
                if (label[y][x] && left != label[y][x])
                    wsi_cracks_add_edge(&edges, label[y][x], x, y, y + 1);
                if (label[y][x] && right != label[y][x])
                    wsi_cracks_add_edge(&edges, label[y][x], x + 1, y + 1, y);
                edges.area[label[y][x]] += label[y][x] > 0;
            }
        }
        g_assert_true(wsi_cracks_equal(&rows, &edges));
        int y = g_rand_int_range(random, 0, H), x = g_rand_int_range(random, 0, W);
        label[y][x] = (uint8_t)((label[y][x] + 1) % 3);
        for (int i = 0; i < H; i++)
            wsi_cracks_add_row(&other, label[i], W, i);
        g_assert_false(wsi_cracks_equal(&rows, &other));
        wsi_cracks none = wsi_cracks_less(&rows, &edges), twice = rows;
        g_assert_true(none.n == 0 && none.sum[0] == 0 && none.sum[1] == 0);
        wsi_cracks_add_edge(&twice, 1, 3, 2, 4);
        wsi_cracks_add_edge(&twice, 1, 3, 4, 2);
        g_assert_false(wsi_cracks_equal(&rows, &twice));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wsi/export/tracer", test_tracer);
    g_test_add_func("/wsi/export/tracer-memory", test_tracer_memory);
    g_test_add_func("/wsi/export/there-and-back", test_there_and_back);
    g_test_add_func("/wsi/export/cracks", test_cracks);
    g_test_add_func("/wsi/export/geojson-content", test_geojson_content);
    g_test_add_func("/wsi/export/filters", test_filters);
    g_test_add_func("/wsi/export/images", test_images);
    g_test_add_func("/wsi/export/planted", test_planted);
    g_test_add_func("/wsi/export/full-disk", test_full_disk);
    g_test_add_func("/wsi/export/job-errors", test_job_errors);
    int status = g_test_run();
    temp_clean();
    return status;
}
