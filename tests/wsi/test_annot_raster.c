/* Exact areas: against closed forms, against brute-force sampling that knows nothing of the method,
 * against itself from other windows; and what labels come of them. */
#include "tests/wsi/helpers.h"
#include "base/rng.h"
#include "wsi/annot/shapes.h"

#include <math.h>

enum { SIDE = 24, SAMPLES = 48 };

typedef struct {
    GString *text;
    int n;
} drawing;

static drawing draw_begin(void)
{
    return (drawing){g_string_new("["), 0};
}

/* rings: n_rings rings of n[] points, x,y after each other. */
static void draw(drawing *d, const char *class_name, const double *xy, const int *n, int n_rings)
{
    g_string_append_printf(
        d->text,
        "%s{\"type\":\"Feature\",\"properties\":{\"classification\":\"%s\"},\"geometry\":{"
        "\"type\":\"Polygon\",\"coordinates\":[",
        d->n++ ? "," : "", class_name);
    for (int r = 0; r < n_rings; r++) {
        g_string_append(d->text, r ? ",[" : "[");
        for (int k = 0; k <= n[r]; k++)
            g_string_append_printf(d->text, "%s[%.17g,%.17g]", k ? "," : "", xy[2 * (k % n[r])],
                                   xy[2 * (k % n[r]) + 1]);
        g_string_append(d->text, "]");
        xy += 2 * n[r];
    }
    g_string_append(d->text, "]}}");
}

static wsi_annot *open_text(const char *name, const char *text, int n_classes, const char *map_text)
{
    g_autofree char *path = temp_path(name);
    qs_classes classes;
    GError *error = NULL;
    qs_classes_init_n(&classes, n_classes);
    write_file(path, text, strlen(text));
    wsi_label_map *map = wsi_label_map_create(map_text, &classes, &error);
    g_assert_no_error(error);
    wsi_annot *annot = wsi_annot_open(path, 1000, 1000, &classes, map, &error);
    g_assert_no_error(error);
    wsi_label_map_destroy(map);
    return annot;
}

static wsi_annot *draw_end(drawing *d, int n_classes, const char *map_text)
{
    g_string_append(d->text, "]");
    wsi_annot *annot = open_text("drawing.json", d->text->str, n_classes, map_text);
    g_string_free(d->text, TRUE);
    return annot;
}

static wsi_view view_of(int64_t w, int64_t h, double downsample)
{
    return (wsi_view){.w = w, .h = h, .downsample = downsample};
}

static void areas(wsi_annot *annot, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                  double *area, uint8_t *label)
{
    GError *error = NULL;
    g_assert_true(wsi_annot_areas(annot, view, x, y, w, h, area, label, (size_t)w, &error));
    g_assert_no_error(error);
}

#define assert_near(a, b, tol) g_assert_cmpfloat(fabs((a) - (b)), <=, (tol))

/* ---- closed forms ---------------------------------------------------------------------------- */
static void test_closed_forms(void)
{
    static const double triangle[] = {1.25, 2.5, 20.75, 4.125, 7.5, 19.9};
    static const double holed[] = {2.3, 2.3, 12.8, 2.3, 12.8, 12.8, 2.3, 12.8,
                                   5.1, 5.2, 5.1,  9.9, 8.7,  9.9,  8.7, 5.2};
    static const double eight[] = {2, 2, 10, 10, 10, 2, 2, 10}; /* two triangles of 16 */
    static const double star[] = {10, 1,  15, 18, 1,
                                  7,  19, 7,  5,  18}; /* even-odd: the pentagon is outside */
    const int three[] = {3}, four_four[] = {4, 4}, four[] = {4}, five[] = {5};
    double area[256];
    wsi_view view = view_of(SIDE, SIDE, 1);
    drawing d = draw_begin();
    draw(&d, "A", triangle, three, 1);
    wsi_annot *annot = draw_end(&d, 2, "A=1");
    areas(annot, &view, 0, 0, SIDE, SIDE, area, NULL);
    double twice = fabs((20.75 - 1.25) * (19.9 - 2.5) - (7.5 - 1.25) * (4.125 - 2.5));
    assert_near(area[1], twice / 2, 1e-11);
    assert_near(area[0] + area[1], SIDE * SIDE, 1e-10);
    wsi_annot_close(annot);
    d = draw_begin();
    draw(&d, "A", holed, four_four, 2);
    annot = draw_end(&d, 2, "A=1");
    areas(annot, &view, 0, 0, SIDE, SIDE, area, NULL);
    assert_near(area[1], 10.5 * 10.5 - 3.6 * 4.7, 1e-11);
    wsi_annot_close(annot);
    d = draw_begin();
    draw(&d, "A", eight, four, 1);
    annot = draw_end(&d, 2, "A=1");
    g_assert_cmpint(wsi_annot_get_info(annot)->facts.n_self_crossing, ==, 1);
    areas(annot, &view, 0, 0, SIDE, SIDE, area, NULL);
    assert_near(area[1], 32, 1e-11);
    areas(annot, &view, 5, 5, 2, 2, area, NULL); /* around the crossing at 6,6: half of it */
    assert_near(area[1], 2, 1e-11);
    wsi_annot_close(annot);
    d = draw_begin();
    draw(&d, "A", star, five, 1);
    annot = draw_end(&d, 2, "A=1");
    uint8_t label[SIDE * SIDE];
    areas(annot, &view, 0, 0, SIDE, SIDE, area, label);
    g_assert_cmpint(label[10 * SIDE + 10], ==, 0);
    g_assert_cmpint(label[4 * SIDE + 10], ==, 1);
    wsi_annot_close(annot);
}

/* An Aperio region with a negative one, which takes from its own layer alone. */
static void test_negative(void)
{
#define BOX(a, b)                                                                                  \
    "<Vertices><Vertex X=\"" #a "\" Y=\"" #a "\"/><Vertex X=\"" #b "\" Y=\"" #a                    \
    "\"/><Vertex X=\"" #b "\" Y=\"" #b "\"/><Vertex X=\"" #a "\" Y=\"" #b                          \
    "\"/></Vertices></Region>"
    static const char text[] =
        "<Annotations><Annotation Id=\"1\" Name=\"Under\"><Regions><Region Type=\"1\">" BOX(
            0, 20) "</Regions></Annotation>"
                   "<Annotation Id=\"2\" Name=\"Over\"><Regions><Region Type=\"1\" "
                   "NegativeROA=\"1\">" BOX(5.5, 8) "<Region Type=\"1\">" BOX(
                       4, 10) "</Regions></Annotation></Annotations>";
    double area[256];
    wsi_view view = view_of(SIDE, SIDE, 1);
    wsi_annot *annot = open_text("negative.xml", text, 3, "Under=1,Over=2");
    areas(annot, &view, 0, 0, SIDE, SIDE, area, NULL);
    assert_near(area[2], 36 - 6.25, 1e-11);
    assert_near(area[1], 400 - 36 + 6.25, 1e-11);
    wsi_annot_close(annot);
}

static void square(drawing *d, const char *name, double x0, double y0, double x1, double y1)
{
    const double xy[] = {x0, y0, x1, y0, x1, y1, x0, y1};
    const int four[] = {4};
    draw(d, name, xy, four, 1);
}

static void test_order(void)
{
    double area[256];
    wsi_view view = view_of(SIDE, SIDE, 1);
    for (int ordered = 0; ordered < 2; ordered++) {
        drawing d = draw_begin();
        square(&d, "B", 0, 0, 10, 10);
        square(&d, "A", 5, 5, 15, 15);
        square(&d, "Not", 0, 0, 2.5, 2);
        g_string_append(d.text, "]");
        g_autofree char *path = temp_path("order.json");
        write_file(path, d.text->str, d.text->len);
        g_string_free(d.text, TRUE);
        qs_classes classes;
        qs_classes_init_n(&classes, 3);
        wsi_label_map *map = wsi_label_map_create("A=1,B=2,Not=ignore", &classes, NULL);
        wsi_label_map_set_ordered(map, ordered);
        wsi_annot *annot = wsi_annot_open(path, SIDE, SIDE, &classes, map, NULL);
        areas(annot, &view, 0, 0, SIDE, SIDE, area, NULL);
        assert_near(area[1], ordered ? 75 : 100, 1e-11);
        assert_near(area[2], (ordered ? 100 : 75) - 5, 1e-11);
        assert_near(area[QS_CLASS_IGNORE], 5, 1e-11);
        wsi_annot_close(annot);
        wsi_label_map_destroy(map);
    }
}

static void test_labels(void)
{
    uint8_t label[6 * 4];
    double area[256];
    wsi_view view = view_of(4, 3, 2);
    drawing d = draw_begin();
    square(&d, "A", -5, -5, 3, 2);   /* pixel 0 whole, pixel 1 half */
    square(&d, "B", 4, 2, 5, 4);     /* half of pixel 2,1 */
    square(&d, "A", 5, 2, 5.9, 4);   /* 45 % of it */
    square(&d, "Not", 6, 4, 8, 5.5); /* most of pixel 3,2 */
    square(&d, "A", 0, 4, 0.99, 6);  /* not half of pixel 0,2 */
    wsi_annot *annot = draw_end(&d, 3, "A=1,B=2,Not=ignore");
    areas(annot, &view, -1, 0, 6, 4, area, label);
    static const uint8_t expected[] = {255, 1, 1, 0, 0,   255, 255, 0,   0,   2,   0,   255,
                                       255, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255};
    g_assert_cmpmem(label, sizeof label, expected, sizeof expected);
    assert_near(area[1], 1.5 + 0.45 + 0.495, 1e-11);
    assert_near(area[2], 0.5, 1e-11);
    assert_near(area[QS_CLASS_IGNORE], 0.75, 1e-11);
    assert_near(area[0] + area[1] + area[2] + area[QS_CLASS_IGNORE], 12,
                1e-11); /* outside is not counted */
    GError *error = NULL;
    g_assert_false(wsi_annot_read(annot, &view, 0, 0, 0, 4, label, 6, &error));
    expect_error(error, QS_ERROR_ARG, "drawing.json", "0 x 4", NULL);
    wsi_annot_close(annot);
}

/* ---- against sampling ------------------------------------------------------------------------ */
typedef struct {
    int n, class_id;
    double xy[2 * 12];
} polygon;

static bool inside(const polygon *p, double x, double y)
{
    bool in = false;
    for (int i = 0, j = p->n - 1; i < p->n; j = i++) {
        double xi = p->xy[2 * i], yi = p->xy[2 * i + 1], xj = p->xy[2 * j], yj = p->xy[2 * j + 1];
        if ((yi > y) != (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi)
            in = !in;
    }
    return in;
}

static void random_polygons(qs_rng *rng, polygon *p, int n)
{
    for (int i = 0; i < n; i++) {
        p[i].n = 3 + (int)qs_rng_below(rng, 10);
        p[i].class_id = (int)qs_rng_below(rng, 4); /* background too */
        bool grid = qs_rng_below(rng, 3) == 0;     /* corners on the grid, edges along it */
        for (int k = 0; k < 2 * p[i].n; k++) {
            double v = qs_rng_range(rng, -4, SIDE + 4);
            p[i].xy[k] = grid ? floor(v) : v;
        }
    }
}

static int64_t n_worse(wsi_annot *annot, const polygon *p, int n, double downsample, double *worst)
{
    int side = (int)(SIDE / downsample);
    wsi_view view = view_of(side, side, downsample);
    int64_t n_bad = 0;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            double area[256], sampled[4] = {0};
            areas(annot, &view, x, y, 1, 1, area, NULL);
            for (int s = 0; s < SAMPLES * SAMPLES; s++) {
                double sx = (x + (s % SAMPLES + 0.5) / SAMPLES) * downsample;
                double sy = (y + (s / SAMPLES + 0.5) / SAMPLES) * downsample;
                int top = 0;
                for (int i = 0; i < n; i++)
                    top = inside(&p[i], sx, sy) ? p[i].class_id : top;
                sampled[top] += 1.0 / (SAMPLES * SAMPLES);
            }
            for (int k = 0; k < 4; k++) {
                *worst = MAX(*worst, fabs(area[k] - sampled[k]));
                n_bad += !(fabs(area[k] - sampled[k]) <= 0.04);
            }
        }
    return n_bad;
}

static void test_sampling(void)
{
    qs_rng rng;
    polygon p[5];
    double worst = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        qs_rng_init(&rng, 42, seed);
        random_polygons(&rng, p, 5);
        drawing d = draw_begin();
        for (int i = 0; i < 5; i++) {
            static const char *const names[] = {"O", "A", "B", "C"};
            draw(&d, names[p[i].class_id], p[i].xy, &p[i].n, 1);
        }
        wsi_annot *annot = draw_end(&d, 4, "O=0,A=1,B=2,C=3");
        g_assert_cmpint(n_worse(annot, p, 5, seed % 2 ? 1 : 2.5, &worst), ==, 0);
        wsi_annot_close(annot);
    }
    g_test_message("largest difference to %d samples a pixel: %.4f", SAMPLES * SAMPLES, worst);
    g_assert_cmpfloat(worst, >,
                      0); /* sampling is not exact: equality would mean that nothing was compared */
}

/* ---- the same pixel, whatever window asks ---------------------------------------------------- */
static void test_windows(void)
{
    qs_rng rng;
    polygon p[5];
    drawing d = draw_begin();
    qs_rng_init(&rng, 7, 1);
    random_polygons(&rng, p, 5);
    for (int i = 0; i < 5; i++)
        draw(&d, "A", p[i].xy, &p[i].n, 1);
    GString *ring =
        g_string_new(NULL); /* and a ring of many edges, so that runs left of a window matter */
    for (int i = 0; i < 500; i++)
        g_string_append_printf(ring, "[%.10g,%.10g],", 12 + (9 + i % 2) * cos(i * G_PI / 250),
                               12 + (9 + i % 2) * sin(i * G_PI / 250));
    g_string_append_printf(
        d.text,
        ",{\"type\":\"Feature\",\"properties\":{\"classification\":\"B\"},\"geometry\":{\"type\":"
        "\"Polygon\",\"coordinates\":[[%s[22,12]]]}}",
        ring->str);
    g_string_free(ring, TRUE);
    wsi_annot *annot = draw_end(&d, 3, "A=1,B=2");
    const double downsamples[] = {1, 0.37, 3.3};
    for (int k = 0; k < 3; k++) {
        int side = (int)(SIDE / downsamples[k]);
        wsi_view view = view_of(side, side, downsamples[k]);
        g_autofree uint8_t *whole = g_malloc((size_t)side * (size_t)side);
        double area[256], sum[256] = {0}, part[256];
        areas(annot, &view, 0, 0, side, side, area, whole);
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) {
                uint8_t label;
                areas(annot, &view, x, y, 1, 1, part, &label);
                g_assert_cmpint(label, ==, whole[y * side + x]);
                for (int c = 0; c < 256; c++)
                    sum[c] += part[c];
            }
        for (int c = 0; c < 256; c++)
            assert_near(sum[c], area[c], 1e-9 * (1 + area[c]));
    }
    wsi_annot_close(annot);
}

/* A pixel with hundreds of edges is sampled along y; the sum must still be close, and quick. */
static void test_crowded_pixel(void)
{
    GString *ring = g_string_new("{\"type\":\"Polygon\",\"coordinates\":[[[0,0]");
    for (int i = 0; i < 400; i++) /* 400 teeth of half a unit's base, height 0.5 … */
        g_string_append_printf(ring, ",[%.10g,0.5],[%.10g,0]", (i + 0.5) / 400, (i + 1) / 400.0);
    g_string_append(ring, "]]}");
    g_autofree char *text = g_strdup(ring->str);
    g_string_free(ring, TRUE);
    wsi_annot *annot = open_text("teeth.json", text, 2, "=1");
    wsi_view view = view_of(1, 1, 1);
    double area[256];
    areas(annot, &view, 0, 0, 1, 1, area, NULL);
    assert_near(area[1], 0.25, 0.01);
    wsi_annot_close(annot);
}

typedef struct {
    wsi_annot *annot;
    uint8_t *expected;
} reader;

static gpointer read_often(gpointer user)
{
    reader *r = user;
    wsi_view view = view_of(SIDE, SIDE, 1);
    uint8_t label[SIDE * SIDE];
    for (int i = 0; i < 20; i++) {
        areas(r->annot, &view, 0, 0, SIDE, SIDE, NULL, label);
        if (memcmp(label, r->expected, sizeof label))
            return GINT_TO_POINTER(1);
    }
    return NULL;
}

static void test_threads(void)
{
    qs_rng rng;
    polygon p[5];
    uint8_t label[SIDE * SIDE];
    wsi_view view = view_of(SIDE, SIDE, 1);
    drawing d = draw_begin();
    qs_rng_init(&rng, 9, 1);
    random_polygons(&rng, p, 5);
    for (int i = 0; i < 5; i++)
        draw(&d, i % 2 ? "A" : "B", p[i].xy, &p[i].n, 1);
    reader r = {draw_end(&d, 3, "A=1,B=2"), label};
    areas(r.annot, &view, 0, 0, SIDE, SIDE, NULL, label);
    GThread *threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = g_thread_new("reader", read_often, &r);
    for (int i = 0; i < 4; i++)
        g_assert_null(g_thread_join(threads[i]));
    wsi_annot_close(r.annot);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wsi/annot-raster/closed-forms", test_closed_forms);
    g_test_add_func("/wsi/annot-raster/negative", test_negative);
    g_test_add_func("/wsi/annot-raster/order", test_order);
    g_test_add_func("/wsi/annot-raster/labels", test_labels);
    g_test_add_func("/wsi/annot-raster/sampling", test_sampling);
    g_test_add_func("/wsi/annot-raster/windows", test_windows);
    g_test_add_func("/wsi/annot-raster/crowded-pixel", test_crowded_pixel);
    g_test_add_func("/wsi/annot-raster/threads", test_threads);
    int status = g_test_run();
    temp_clean();
    return status;
}
