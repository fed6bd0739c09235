/* Annotation files in: what each reader makes of every kind of shape, label maps, encodings,
 * hostile XML and JSON, every prefix and many mutations of every file, and the real files of
 * $QS_DATA. */
#include "tests/wsi/helpers.h"
#include "base/rng.h"
#include "wsi/annot/shapes.h"

#include <math.h>
#include <stdio.h>

/* Thousands of small files: removed and made again, which file systems do without waiting for the
 * disk. */
static void put_file(const char *path, const char *data, size_t n)
{
    g_remove(path);
    FILE *file = fopen(path, "wb");
    g_assert_nonnull(file);
    g_assert_cmpuint(fwrite(data, 1, n, file), ==, n);
    g_assert_cmpint(fclose(file), ==, 0);
}

static wsi_annotations *read_text(const char *name, const char *text, gssize n)
{
    g_autofree char *path = temp_path(name);
    GError *error = NULL;
    put_file(path, text, n < 0 ? strlen(text) : (size_t)n);
    wsi_annotations *set = wsi_annotations_read(path, &error);
    g_assert_no_error(error);
    g_assert_nonnull(set);
    return set;
}

static GError *read_error(const char *name, const char *text, gssize n)
{
    g_autofree char *path = temp_path(name);
    GError *error = NULL;
    put_file(path, text, n < 0 ? strlen(text) : (size_t)n);
    g_assert_null(wsi_annotations_read(path, &error));
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, name));
    return error;
}

static const wsi_shape *shape(const wsi_annotations *set, guint i)
{
    g_assert_cmpuint(i, <, set->shapes->len);
    return &g_array_index(set->shapes, wsi_shape, i);
}

static const wsi_ring *ring(const wsi_annotations *set, guint i, int64_t r)
{
    g_assert_cmpint(r, <, shape(set, i)->n_rings);
    return &g_array_index(set->rings, wsi_ring, shape(set, i)->first_ring + r);
}

static wsi_point point(const wsi_annotations *set, guint i, int64_t r, int64_t k)
{
    g_assert_cmpint(k, <, ring(set, i, r)->n);
    return g_array_index(set->points, wsi_point, ring(set, i, r)->first + k);
}

static double ring_area(const wsi_annotations *set, guint i, int64_t r)
{
    double twice = 0;
    int64_t n = ring(set, i, r)->n;
    for (int64_t k = 0; k < n; k++) {
        wsi_point a = point(set, i, r, k), b = point(set, i, r, (k + 1) % n);
        twice += a.x * b.y - b.x * a.y;
    }
    return fabs(twice) / 2;
}

/* ---- ASAP ------------------------------------------------------------------------------------ */
#define COORDINATE(k, x, y) "<Coordinate Order=\"" #k "\" X=\"" #x "\" Y=\"" #y "\"/>"
static const char asap_text[] =
    "<?xml version=\"1.0\"?>\n<!-- made by hand --><ASAP_Annotations><Annotations>"
    "<Annotation Name=\"A 0\" Type=\"Polygon\" PartOfGroup=\"Tumor &amp; co\" "
    "Color=\"#F4FA58\"><Coordinates>" COORDINATE(0, 1.5, 2) COORDINATE(1, 11.5, 2) COORDINATE(
        2, 11.5,
        8) "</Coordinates></Annotation>"
           "<Annotation Name=\"A 1\" Type=\"Rectangle\" PartOfGroup=\"None\" "
           "Color=\"#000000\"><Coordinates>" COORDINATE(2, 4, 3) COORDINATE(0, 0, 0)
               COORDINATE(3, 0, 3) COORDINATE(
                   1, 4,
                   0) "</Coordinates></Annotation>"
                      "<Annotation Name=\"A 2\" Type=\"Spline\" PartOfGroup=\"Lost\" "
                      "Color=\"blue\"><Coordinates>" COORDINATE(0, 0, 0) COORDINATE(1, 4, 0)
                          COORDINATE(2, 4, 3) COORDINATE(
                              3, 0,
                              3) "</Coordinates></Annotation>"
                                 "<Annotation Name=\"A 3\" Type=\"Dot\" "
                                 "PartOfGroup=\"None\"><Coordinates>" COORDINATE(
                                     0, 5,
                                     5) "</Coordinates></Annotation>"
                                        "<Annotation Name=\"A 4\" Type=\"PointSet\" "
                                        "PartOfGroup=\"None\"><Coordinates>" COORDINATE(0, 5, 5)
                                            COORDINATE(
                                                1, 6,
                                                5) "</Coordinates></Annotation>"
                                                   "<Annotation Name=\"A 5\" Type=\"Measurement\" "
                                                   "PartOfGroup=\"None\"><Coordinates>" COORDINATE(
                                                       0, 5, 5)
                                                       COORDINATE(
                                                           1, 6,
                                                           5) "</Coordinates></Annotation>"
                                                              "<Annotation Name=\"A 6\" "
                                                              "Type=\"Polygon\" "
                                                              "PartOfGroup=\"None\"><"
                                                              "Coordinates>" COORDINATE(0, 5, 5)
                                                                  COORDINATE(
                                                                      1, 6,
                                                                      5) "</Coordinates></"
                                                                         "Annotation>"
                                                                         "</"
                                                                         "Annotations><"
                                                                         "AnnotationGroups><Group "
                                                                         "Name=\"Tumor &amp; co\" "
                                                                         "PartOfGroup=\"None\" "
                                                                         "Color=\"#64FE2E\">"
                                                                         "<Attributes/></Group></"
                                                                         "AnnotationGroups></"
                                                                         "ASAP_Annotations>\n";

static void test_asap(void)
{
    wsi_annotations *set = read_text("asap.json" /* names do not matter */, asap_text, -1);
    g_assert_cmpstr(set->format, ==, "ASAP XML");
    const wsi_annot_facts *f = &set->facts;
    g_assert_cmpint(f->n_features, ==, 7);
    g_assert_cmpint(f->n_areas, ==, 3);
    g_assert_cmpint(f->n_points, ==, 2);
    g_assert_cmpint(f->n_lines, ==, 1);
    g_assert_cmpint(f->n_empty, ==, 1); /* the polygon of two points */
    g_assert_cmpint(f->n_splines, ==, 1);
    g_assert_cmpint(f->n_group_undeclared, ==, 1);
    g_assert_cmpstr(shape(set, 0)->class_name, ==, "Tumor & co");
    g_assert_cmpstr(shape(set, 0)->name, ==, "A 0");
    g_assert_true(shape(set, 0)->has_colour);
    g_assert_cmpint(shape(set, 0)->rgb[1], ==, 0xfa);
    g_assert_false(shape(set, 2)->has_colour);
    g_assert_cmpfloat(point(set, 0, 0, 0).x, ==, 1.5);
    g_assert_cmpfloat(ring_area(set, 0, 0), ==, 30);
    g_assert_cmpfloat(ring_area(set, 1, 0), ==, 12); /* in the order of Order, not of the file */
    g_assert_cmpfloat(shape(set, 0)->x1, ==, 11.5);
    wsi_annotations_destroy(set);
}

/* ---- Aperio ---------------------------------------------------------------------------------- */
#define VERTEX(x, y) "<Vertex X=\"" #x "\" Y=\"" #y "\"/>"
#define BOX_VERTICES VERTEX(0, 0) VERTEX(40, 0) VERTEX(40, 20) VERTEX(0, 20)
static const char aperio_text[] =
    "<Annotations MicronsPerPixel=\"0.25\">"
    "<Annotation Id=\"1\" Name=\"Tumor\" LineColor=\"65280\"><Regions>"
    "<Region Id=\"1\" Type=\"1\" NegativeROA=\"0\"><Vertices>" BOX_VERTICES "</Vertices></Region>"
    "<Region Id=\"2\" Type=\"2\" NegativeROA=\"1\"><Vertices>" VERTEX(10, 5) VERTEX(
        30,
        15) "</Vertices></Region>"
            "<Region Id=\"3\" Type=\"0\" NegativeROA=\"0\"><Vertices>" VERTEX(0, 0) VERTEX(9, 0)
                VERTEX(9, 9) VERTEX(4, 12) VERTEX(
                    0,
                    9) "</Vertices></Region>"
                       "<Region Id=\"4\" Type=\"0\" NegativeROA=\"0\"><Vertices>" VERTEX(0, 0)
                           VERTEX(9, 0) VERTEX(9, 9) VERTEX(4, 12) VERTEX(
                               0,
                               0) "</Vertices></Region></Regions></Annotation>"
                                  "<Annotation Id=\"7\" Name=\"\" LineColor=\"255\"><Regions>"
                                  "<Region Id=\"1\" Type=\"0\" "
                                  "Text=\"Necrosis\"><Vertices>" BOX_VERTICES "</Vertices></Region>"
                                  "<Region Id=\"2\" Type=\"4\" Text=\"\"><Vertices>" VERTEX(0, 0)
                                      VERTEX(
                                          5,
                                          5) "</Vertices></Region>"
                                             "<Region Id=\"3\" Type=\"3\" "
                                             "GeoShape=\"Rectangle\"><Vertices>" BOX_VERTICES
                                             "</Vertices></Region>"
                                             "<Region Id=\"4\" Type=\"0\" "
                                             "GeoShape=\"Points\"><Vertices>" VERTEX(0, 0) VERTEX(
                                                 5,
                                                 5) "</Vertices></Region>"
                                                    "<Region Id=\"5\" Type=\"9\" "
                                                    "GeoShape=\"Ellipse\"><Vertices>" VERTEX(20, 0)
                                                        VERTEX(40, 10) VERTEX(20, 20) VERTEX(
                                                            0,
                                                            10) "</Vertices></Region></Regions></"
                                                                "Annotation></Annotations>";

static void test_aperio(void)
{
    wsi_annotations *set = read_text("aperio.xml", aperio_text, -1);
    g_assert_cmpstr(set->format, ==, "Aperio XML");
    g_assert_cmpint(set->facts.n_areas, ==, 7);
    g_assert_cmpint(set->facts.n_lines, ==, 1);
    g_assert_cmpint(set->facts.n_points, ==, 1);
    g_assert_cmpint(set->facts.n_ellipses, ==, 2);
    g_assert_cmpint(set->facts.n_open, ==,
                    1); /* region 3; 4 is closed, boxes and ellipses need not be */
    g_assert_cmpstr(shape(set, 0)->class_name, ==, "Tumor");
    g_assert_cmpint(shape(set, 0)->rgb[1], ==, 255); /* 0x00ff00, and it is BGR */
    g_assert_cmpint(shape(set, 4)->rgb[0], ==, 255);
    g_assert_false(shape(set, 0)->erase);
    g_assert_true(shape(set, 1)->erase);
    g_assert_cmpstr(shape(set, 1)->group, ==, shape(set, 0)->group);
    g_assert_cmpstr(shape(set, 4)->class_name, ==, "Necrosis");
    g_assert_cmpstr(shape(set, 6)->class_name, ==, "Layer 7");
    g_assert_cmpint(shape(set, 6)->kind, ==, WSI_SHAPE_AREA); /* GeoShape over Type */
    g_assert_cmpfloat(fabs(ring_area(set, 1, 0) - G_PI * 10 * 5), <=, 1e-9);
    g_assert_cmpfloat(fabs(ring_area(set, 8, 0) - G_PI * 20 * 10), <=, 1e-9);
    g_assert_cmpint(ring(set, 3, 0)->n, ==, 4);
    wsi_annotations_destroy(set);
}

/* ---- GeoJSON --------------------------------------------------------------------------------- */
#define SQUARE(a, b)                                                                               \
    "[[" #a "," #a "],[" #b "," #a "],[" #b "," #b "],[" #a "," #b "],[" #a "," #a "]]"
static const char geojson_text[] =
    "{\"features\":["
    "{\"properties\":{\"objectType\":\"annotation\",\"classification\":{\"name\":\"Tumor\","
    "\"color\":[200,0,10]},"
    "\"measurements\":[{\"name\":\"x\",\"value\":1e3}],\"name\":\"T \\u00e9\\ud83d\\ude00\\n\"},"
    "\"geometry\":{\"coordinates\":[" SQUARE(0, 10) "," SQUARE(
        2,
        4) "],\"type\":\"Polygon\"},"
           "\"id\":\"6423a977-ffff-48db-affc-cd11632010f0\",\"type\":\"Feature\"},"
           "{\"type\":\"Feature\",\"id\":\"PathAnnotationObject\",\"geometry\":{\"type\":"
           "\"MultiPolygon\",\"coordinates\":[[" SQUARE(0, 4) "],[" SQUARE(10, 20) "," SQUARE(
               12,
               13) "]]},\"properties\":{\"classification\":\"Stroma\"}},"
                   "{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"isEllipse\":true,"
                   "\"coordinates\":["
                   "[[0,0],[40,0],[40,20],[0,20],[0,0]]]},\"nucleusGeometry\":{\"type\":\"Point\","
                   "\"coordinates\":[1,2]},"
                   "\"properties\":{\"classification\":{\"names\":[\"Tumor\",\"Positive\"],"
                   "\"colorRGB\":-3670016}}},"
                   "{\"type\":\"Feature\",\"geometry\":{\"type\":\"GeometryCollection\","
                   "\"geometries\":["
                   "{\"type\":\"Point\",\"coordinates\":[1,2]},{\"type\":\"LineString\","
                   "\"coordinates\":[[1,2],[3,4,5.5]]},"
                   "{\"type\":\"MultiPoint\",\"coordinates\":[[1,2],[3,4]]},"
                   "{\"type\":\"MultiLineString\",\"coordinates\":[[[1,2],[3,4]],[[1,2],[3,4]]]},"
                   "{\"type\":\"Polygon\",\"coordinates\":[[[0,0],[1,0],[1,1]]]}]},\"properties\":{"
                   "\"name\":\"UT\"}},"
                   "{\"type\":\"Feature\",\"geometry\":null,\"properties\":null},"
                   "{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[]}}"
                   "],\"type\":\"FeatureCollection\"}";

static void test_geojson(void)
{
    wsi_annotations *set = read_text("q.geojson", geojson_text, -1);
    const wsi_annot_facts *f = &set->facts;
    g_assert_cmpstr(set->format, ==, "GeoJSON");
    g_assert_cmpint(f->n_features, ==, 6);
    g_assert_cmpint(f->n_areas, ==, 5);
    g_assert_cmpint(f->n_lines, ==, 2);
    g_assert_cmpint(f->n_points, ==, 2);
    g_assert_cmpint(f->n_empty, ==, 2);
    g_assert_cmpint(f->n_open, ==, 1);
    g_assert_cmpint(f->n_uuid, ==, 1);
    g_assert_cmpint(f->n_object_type, ==, 1);
    g_assert_cmpint(f->n_class_and_colour, ==, 2);
    g_assert_cmpstr(shape(set, 0)->class_name, ==, "Tumor");
    g_assert_cmpstr(shape(set, 0)->name, ==, "T é😀\n");
    g_assert_cmpint(shape(set, 0)->n_rings, ==, 2);
    g_assert_cmpfloat(ring_area(set, 0, 0), ==, 100);
    g_assert_cmpfloat(ring_area(set, 0, 1), ==, 4);
    g_assert_cmpint(ring(set, 0, 0)->n, ==, 4);
    g_assert_cmpstr(shape(set, 1)->class_name, ==, "Stroma");
    g_assert_cmpfloat(ring_area(set, 1, 0), ==, 16);
    g_assert_cmpint(shape(set, 2)->n_rings, ==, 2);
    g_assert_cmpstr(shape(set, 3)->class_name, ==, "Tumor: Positive");
    g_assert_cmpint(shape(set, 3)->rgb[0], ==, 200); /* -3670016 is 0xffc80000 */
    g_assert_cmpint(shape(set, 3)->rgb[1], ==, 0);
    g_assert_cmpfloat(fabs(ring_area(set, 3, 0) - G_PI * 20 * 10), <=, 1e-9);
    g_assert_cmpstr(shape(set, 4)->class_name, ==, "UT");
    wsi_annotations_destroy(set);
    set = read_text("list.json",
                    "\xef\xbb\xbf [ {\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\","
                    "\"coordinates\":[" SQUARE(0, 3) "]}} ] ",
                    -1);
    g_assert_cmpint(set->facts.n_areas, ==, 1);
    wsi_annotations_destroy(set);
    set = read_text("bare.json",
                    "{\"type\":\"Polygon\",\"coordinates\":[" SQUARE(-1.5e1, 3.25) "]}", -1);
    g_assert_cmpfloat(ring_area(set, 0, 0), ==, 18.25 * 18.25);
    wsi_annotations_destroy(set);
    /* A key does not outlive the value behind it (found by fuzzing). */
    g_autofree char *long_text = g_strnfill(5000, 'x');
    g_autofree char *long_member =
        g_strdup_printf("{\"other\":\"%s\",\"type\":\"Polygon\",\"isEllipse\":\"%s\","
                        "\"coordinates\":[" SQUARE(0, 2) "]}",
                        long_text, long_text);
    set = read_text("long.json", long_member, -1);
    g_assert_cmpfloat(ring_area(set, 0, 0), ==, 4);
    wsi_annotations_destroy(set);
    set = read_text("none.json", "{\"type\":\"FeatureCollection\",\"features\":[]}", -1);
    g_assert_cmpuint(set->shapes->len, ==, 0);
    wsi_annotations_destroy(set);
}

/* The quick way of reading numbers gives the bits of strtod. */
static void test_numbers(void)
{
    qs_rng rng;
    qs_rng_init(&rng, 11, 0);
    for (int i = 0; i < 3000; i++) {
        g_autofree char *digits = i % 3 == 0 ? g_strdup_printf("%.*f", (int)qs_rng_below(&rng, 12),
                                                               qs_rng_range(&rng, -1e5, 1e5))
                                  : i % 3 == 1
                                      ? g_strdup_printf("%.17g", qs_rng_range(&rng, -1e9, 1e9))
                                      : g_strdup_printf("%.3e", qs_rng_range(&rng, -1e9, 1e9));
        g_autofree char *text =
            g_strdup_printf("{\"type\":\"Point\",\"coordinates\":[%s,-0.5]}", digits);
        wsi_annotations *set = read_text("n.json", text, -1);
        g_assert_cmpfloat(point(set, 0, 0, 0).x, ==, g_ascii_strtod(digits, NULL));
        wsi_annotations_destroy(set);
    }
}

static void test_self_crossing(void)
{
    static const char text[] =
        "[{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[[[0,0],[9,9],["
        "9,0],[0,9],[0,0]]]}},"
        "{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[" SQUARE(
            0, 5) "]}}]";
    wsi_annotations *set = read_text("eight.json", text, -1);
    g_assert_cmpint(set->facts.n_self_crossing, ==, 1);
    wsi_annotations_destroy(set);
    /* A long ring with one crossing far from its start, and the same without. */
    for (int crossed = 0; crossed < 2; crossed++) {
        g_autoptr(GString) long_ring = g_string_new("{\"type\":\"Polygon\",\"coordinates\":[[");
        for (int i = 0; i < 5000; i++)
            g_string_append_printf(long_ring, "[%d,%d],", i, i % 2);
        for (int i = 5000; i-- > 0;)
            g_string_append_printf(long_ring, "[%d,%g],", i, crossed && i == 3001 ? 0.5 : 10.0);
        g_string_append(long_ring, "[0,0]]]}");
        set = read_text("long.json", long_ring->str, -1);
        g_assert_cmpint(set->facts.n_self_crossing, ==, crossed);
        g_assert_cmpint(set->facts.n_not_examined, ==, 0);
        wsi_annotations_destroy(set);
    }
}

/* ---- label maps ------------------------------------------------------------------------------ */
static void test_label_map(void)
{
    qs_classes classes;
    GError *error = NULL;
    int rank;
    g_assert_true(qs_classes_from_text(&classes, "background,tumour,Stroma", NULL));
    wsi_label_map *map = wsi_label_map_create(
        " Tumor = 1,stroma=STROMA,Pen\\,ink\\==ignore,=2,None=background,*=skip", &classes, &error);
    g_assert_no_error(error);
    g_assert_cmpint(wsi_label_map_find(map, "TUMOR", &rank), ==, 1);
    g_assert_cmpint(rank, ==, 0);
    g_assert_cmpint(wsi_label_map_find(map, "Stroma", &rank), ==, 2);
    g_assert_cmpint(wsi_label_map_find(map, "pen,ink=", &rank), ==, QS_CLASS_IGNORE);
    g_assert_cmpint(wsi_label_map_find(map, "", &rank), ==, 2);
    g_assert_cmpint(wsi_label_map_find(map, "none", &rank), ==, 0);
    g_assert_cmpint(wsi_label_map_find(map, "anything", &rank), ==, WSI_LABEL_SKIP);
    wsi_label_map_destroy(map);
    map = wsi_label_map_create(NULL, &classes, NULL);
    g_assert_cmpint(wsi_label_map_find(map, "TUMOUR", &rank), ==, 1);
    g_assert_cmpint(wsi_label_map_find(map, "Tumor", &rank), ==, WSI_LABEL_UNKNOWN);
    wsi_label_map_destroy(map);
    const char *bad[][2] = {{"Tumor=3", "\"3\" is no class"},
                            {"Tumor=x", "\"x\" is no class"},
                            {"Tumor", "has no \"=\""},
                            {"A=1,a=2", "second time"},
                            {"", "no entry"},
                            {"A=-1", "no class"}};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        error = NULL;
        g_assert_null(wsi_label_map_create(bad[i][0], &classes, &error));
        expect_error(error, QS_ERROR_ARG, bad[i][1], NULL);
    }
}

static void test_unknown_label(void)
{
    g_autofree char *path = temp_path("unknown.xml");
    put_file(path, asap_text, strlen(asap_text));
    qs_classes classes;
    GError *error = NULL;
    qs_classes_init_binary(&classes, "tumour & co");
    g_assert_null(wsi_annot_open(path, 100, 100, &classes, NULL, &error));
    expect_error(error, QS_ERROR_FORMAT, "unknown.xml", "\"Tumor & co\" of 1 shapes",
                 "\"None\", \"Lost\"", NULL);
    wsi_label_map *map = wsi_label_map_create("Tumor & co=1,*=skip", &classes, NULL);
    error = NULL;
    wsi_annot *annot = wsi_annot_open(path, 10, 100, &classes, map, &error);
    g_assert_no_error(error);
    const wsi_annot_info *info = wsi_annot_get_info(annot);
    g_assert_cmpint(info->n_painted, ==, 1);
    g_assert_cmpint(info->n_ignored_names, ==, 2);
    g_assert_cmpint(info->n_cut, ==, 1);
    g_assert_cmpint(info->n_outside, ==, 0);
    wsi_annot_close(annot);
    annot = wsi_annot_open(path, 1, 1, &classes, map, &error);
    g_assert_cmpint(wsi_annot_get_info(annot)->n_outside, ==, 1);
    wsi_annot_close(annot);
    wsi_label_map_destroy(map);
}

/* ---- encodings and hostile files ------------------------------------------------------------- */
static void test_encodings(void)
{
    g_autofree char *utf8 = g_strconcat("\xef\xbb\xbf", asap_text, NULL);
    wsi_annotations *set = read_text("bom.xml", utf8, -1);
    g_assert_cmpint(set->facts.n_areas, ==, 3);
    wsi_annotations_destroy(set);
    set = read_text(
        "latin.xml",
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><!DOCTYPE ASAP_Annotations [ <!ELEMENT x "
        "ANY> "
        "<!ENTITY who \"M\xfcller\"> ]><ASAP_Annotations><Annotations><Annotation Name=\"&who;\" "
        "Type=\"Polygon\" PartOfGroup=\"Dr\xfcse\"><Coordinates>" COORDINATE(0, 0, 0) COORDINATE(
            1, 4, 0) "<Coordinate Order=\"2\" X=\"4,5\" "
                     "Y=\"3\"/></Coordinates></Annotation></Annotations></ASAP_Annotations>",
        -1);
    g_assert_cmpfloat(point(set, 0, 0, 2).x, ==, 4.5); /* a decimal comma */
    g_assert_cmpstr(shape(set, 0)->class_name, ==, "Drüse");
    g_assert_cmpstr(shape(set, 0)->name, ==, "Müller");
    wsi_annotations_destroy(set);
    gsize n = 0;
    g_autofree char *utf16 = g_convert(aperio_text, -1, "UTF-16", "UTF-8", NULL, &n, NULL);
    set = read_text("utf16.xml", utf16, (gssize)n);
    g_assert_cmpint(set->facts.n_areas, ==, 7);
    wsi_annotations_destroy(set);
    set = read_text("latin.json",
                    "{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[1,2]},"
                    "\"properties\":{\"name\":\"Dr\xfcse\"}}",
                    -1);
    g_assert_cmpstr(shape(set, 0)->name, ==, "Drüse");
    wsi_annotations_destroy(set);
}

static void test_bombs(void)
{
    /* A billion laughs in content and in an attribute; quadratic blowup; elements out of entities.
     */
    g_autoptr(GString) bomb =
        g_string_new("<?xml version=\"1.0\"?><!DOCTYPE Annotations [<!ENTITY a0 \"0000000000\">");
    for (int i = 1; i < 12; i++) {
        g_string_append_printf(bomb, "<!ENTITY a%d \"", i);
        for (int k = 0; k < 10; k++)
            g_string_append_printf(bomb, "&a%d;", i - 1);
        g_string_append(bomb, "\">");
    }
    g_autofree char *in_attribute =
        g_strconcat(bomb->str, "]><Annotations><Annotation Name=\"&a11;\"/></Annotations>", NULL);
    expect_error(read_error("bomb1.xml", in_attribute, -1), QS_ERROR_FORMAT, "damaged XML", NULL);
    g_autofree char *in_content =
        g_strconcat(bomb->str, "]><Annotations>&a11;</Annotations>", NULL);
    gint64 start = g_get_monotonic_time();
    g_autofree char *path = temp_path("bomb2.xml");
    put_file(path, in_content, strlen(in_content));
    wsi_annotations_destroy(
        wsi_annotations_read(path, NULL)); /* refused or passed over: not expanded */
    g_assert_cmpint(g_get_monotonic_time() - start, <=, 20 * G_USEC_PER_SEC);
    g_autoptr(GString) multiply =
        g_string_new("<!DOCTYPE Annotations [<!ENTITY v \"<Vertex X='1' Y='1'/><Vertex X='1' "
                     "Y='2'/><Vertex X='2' Y='1'/>\">"
                     "<!ENTITY w \"&v;&v;&v;&v;&v;&v;&v;&v;&v;&v;\">]><Annotations><Annotation "
                     "Name=\"a\"><Regions><Region><Vertices>");
    for (int i = 0; i < 100; i++)
        g_string_append(multiply, "&w;");
    g_string_append(multiply, "</Vertices></Region></Regions></Annotation></Annotations>");
    g_autofree char *path3 = temp_path("bomb3.xml");
    put_file(path3, multiply->str, multiply->len);
    wsi_annotations *set = wsi_annotations_read(path3, NULL);
    if (set)
        g_assert_cmpuint(set->points->len, <=, multiply->len / 4);
    wsi_annotations_destroy(set);
}

static void test_nothing_is_fetched(void)
{
    g_autofree char *secret = temp_path("secret.txt");
    put_file(secret, "TELLTALE", 8);
    g_autofree char *uri = g_filename_to_uri(secret, NULL, NULL);
    g_autofree char *in_attribute =
        g_strdup_printf("<!DOCTYPE Annotations [<!ENTITY s SYSTEM "
                        "\"%s\">]><Annotations><Annotation Name=\"&s;\"/></Annotations>",
                        uri);
    expect_error(read_error("xxe.xml", in_attribute, -1), QS_ERROR_FORMAT, "damaged XML", NULL);
    /* A DTD on a server, parameter entities: passed over, quickly. */
    g_autofree char *with_dtd =
        g_strdup_printf("<!DOCTYPE Annotations SYSTEM \"http://192.0.2.1/never.dtd\" [<!ENTITY %% "
                        "p SYSTEM \"%s\"> %%p;]>"
                        "<Annotations><Annotation Id=\"1\" Name=\"a\"><Regions><Region Id=\"1\" "
                        "Type=\"0\"><Vertices>" BOX_VERTICES
                        "</Vertices></Region></Regions></Annotation></Annotations>",
                        uri);
    wsi_annotations *set = read_text("dtd.xml", with_dtd, -1);
    g_assert_cmpint(set->facts.n_areas, ==, 1);
    wsi_annotations_destroy(set);
}

static void test_errors(void)
{
    static const struct {
        const char *name, *text, *words[2];
        int code;
    } cases[] = {
        {"empty.xml", "", {"empty", NULL}, QS_ERROR_FORMAT},
        {"other.xml", "<svg/>", {"none of the annotation files", NULL}, QS_ERROR_UNSUPPORTED},
        {"text.txt", "hello", {"none of the annotation files", NULL}, QS_ERROR_UNSUPPORTED},
        {"cut.xml", "<Annotations><Annotation", {"damaged XML", NULL}, QS_ERROR_FORMAT},
        {"nox.xml",
         "<Annotations><Annotation><Regions><Region>\n<Vertex "
         "Y=\"1\"/></Region></Regions></Annotation></Annotations>",
         {"nox.xml:2", "no X"},
         QS_ERROR_FORMAT},
        {"nan.xml",
         "<Annotations><Annotation><Region><Vertex X=\"abc\" "
         "Y=\"1\"/></Region></Annotation></Annotations>",
         {"\"abc\"", "is no number"},
         QS_ERROR_FORMAT},
        {"inf.xml",
         "<Annotations><Annotation><Region><Vertex X=\"inf\" "
         "Y=\"1\"/></Region></Annotation></Annotations>",
         {"cannot be the place of a pixel", NULL},
         QS_ERROR_FORMAT},
        {"nested.xml",
         "<Annotations><Annotation><Region><Region/></Region></Annotation></Annotations>",
         {"Region inside a Region", NULL},
         QS_ERROR_FORMAT},
        {"stray.xml",
         "<Annotations><Region/></Annotations>",
         {"outside an Annotation", NULL},
         QS_ERROR_FORMAT},
        {"twice.xml",
         "<ASAP_Annotations><Annotation><Annotation/></Annotation></ASAP_Annotations>",
         {"inside an Annotation", NULL},
         QS_ERROR_FORMAT},
        {"cut.json", "{\"type\":\"Feature\",", {"cut short", NULL}, QS_ERROR_FORMAT},
        {"type.json", "{\"type\":\"Topology\"}", {"\"Topology\"", NULL}, QS_ERROR_FORMAT},
        {"object.json", "{}", {"neither a FeatureCollection", NULL}, QS_ERROR_FORMAT},
        {"geo.json",
         "{\"type\":\"Circle\",\"coordinates\":[1,2]}",
         {"\"Circle\"", NULL},
         QS_ERROR_FORMAT},
        {"deep.json",
         "{\"type\":\"Polygon\",\"coordinates\":[[1,2],[3,4]]}",
         {"nested 2 deep, not 3", NULL},
         QS_ERROR_FORMAT},
        {"mixed.json",
         "{\"type\":\"Polygon\",\"coordinates\":[[1,2],[[3,4]]]}",
         {"nested 2 and 3", NULL},
         QS_ERROR_FORMAT},
        {"toodeep.json",
         "{\"type\":\"Polygon\",\"coordinates\":[[[[[1,2]]]]]}",
         {"more than 4 deep", NULL},
         QS_ERROR_FORMAT},
        {"one.json",
         "{\"type\":\"Point\",\"coordinates\":[1]}",
         {"one number", NULL},
         QS_ERROR_FORMAT},
        {"word.json",
         "{\"type\":\"Point\",\"coordinates\":[1,\"2\"]}",
         {"no number", NULL},
         QS_ERROR_FORMAT},
        {"num.json",
         "{\"type\":\"Point\",\"coordinates\":[01,2]}",
         {"\"01\" is no number", NULL},
         QS_ERROR_FORMAT},
        {"huge.json",
         "{\"type\":\"Point\",\"coordinates\":[1e999,2]}",
         {"too large", NULL},
         QS_ERROR_FORMAT},
        {"far.json",
         "{\"type\":\"Point\",\"coordinates\":[1e300,2]}",
         {"cannot be the place", NULL},
         QS_ERROR_FORMAT},
        {"list.json", "[1]", {"holds something else", NULL}, QS_ERROR_FORMAT},
        {"tail.json", "[]\n]", {"tail.json:2", "behind the end"}, QS_ERROR_FORMAT},
        {"comma.json",
         "[{\"type\":\"Feature\",}]",
         {"where a name should be", NULL},
         QS_ERROR_FORMAT},
        {"nul.json", "{\"type\":nul}", {"\"nul\" is no JSON", NULL}, QS_ERROR_FORMAT},
        {"esc.json", "{\"t\\q\":1}", {"behind a backslash", NULL}, QS_ERROR_FORMAT},
        {"ctl.json", "{\"t\n\":1}", {"in a string", NULL}, QS_ERROR_FORMAT},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        expect_error(read_error(cases[i].name, cases[i].text, -1), cases[i].code, cases[i].words[0],
                     cases[i].words[1], NULL);
    g_autofree char *brackets = g_strnfill(100000, '[');
    g_autofree char *deep = g_strconcat("{\"other\":", brackets, NULL);
    expect_error(read_error("brackets.json", deep, -1), QS_ERROR_FORMAT, "nested more than 256",
                 NULL);
    GError *error = NULL;
    g_autofree char *missing = temp_path("not there.xml");
    g_assert_null(wsi_annotations_read(missing, &error));
    expect_error(error, QS_ERROR_IO, "not there.xml", NULL);
    error = NULL;
    g_autofree char *here = temp_path("");
    g_assert_null(wsi_annotations_read(here, &error));
    expect_error(error, QS_ERROR_FORMAT, "directory", NULL);
}

/* ---- every prefix, many mutations ------------------------------------------------------------ */
/* What is read may be right or refused, but never half: a set's invariants hold. */
static void check_set(const wsi_annotations *set)
{
    for (guint i = 0; i < set->shapes->len; i++) {
        g_assert_cmpint(shape(set, i)->n_rings, >, 0);
        for (int64_t r = 0; r < shape(set, i)->n_rings; r++) {
            g_assert_cmpint(ring(set, i, r)->n, >=, shape(set, i)->kind == WSI_SHAPE_AREA ? 3 : 1);
            g_assert_true(ring(set, i, r)->first + ring(set, i, r)->n <= (int64_t)set->points->len);
        }
    }
    for (guint i = 0; i < set->points->len; i++) {
        const wsi_point *p = &g_array_index(set->points, wsi_point, i);
        g_assert_true(isfinite(p->x) && isfinite(p->y));
    }
}

static bool survives(const char *path, const char *text, size_t n)
{
    GError *error = NULL;
    put_file(path, text, n);
    wsi_annotations *set = wsi_annotations_read(path, &error);
    g_assert_true((set != NULL) == (error == NULL));
    if (set)
        check_set(set);
    wsi_annotations_destroy(set);
    g_clear_error(&error);
    return set != NULL;
}

/* A cut XML or JSON document is never whole, so no prefix may be taken for one. */
static void cut_and_mutate(const char *text, size_t n, size_t n_cuts, int n_mutations)
{
    g_autofree char *path = temp_path("cut");
    size_t end = n, step = MAX(1, n / n_cuts);
    while (end > 0 && g_ascii_isspace(text[end - 1]))
        end--;
    for (size_t k = 0; k < end; k += step)
        g_assert_false(survives(path, text, k));
    g_assert_true(survives(path, text, n));
    qs_rng rng;
    qs_rng_init(&rng, 5, n);
    g_autofree char *copy = g_memdup2(text, n);
    for (int i = 0; i < n_mutations; i++) {
        memcpy(copy, text, n);
        for (uint32_t k = 1 + qs_rng_below(&rng, 4); k > 0; k--) {
            static const char interesting[] = "<>\"&[]{},:0-e\\/ \0\xff";
            uint32_t at = qs_rng_below(&rng, (uint32_t)n);
            copy[at] = interesting[qs_rng_below(&rng, sizeof interesting - 1)];
        }
        survives(path, copy, n);
    }
}

static void test_prefixes(void)
{
    cut_and_mutate(asap_text, strlen(asap_text), 1000, 400);
    cut_and_mutate(aperio_text, strlen(aperio_text), 1000, 400);
    cut_and_mutate(geojson_text, strlen(geojson_text), 1000, 400);
}

/* ---- real files ------------------------------------------------------------------------------ */
static const struct {
    const char *name, *format, *class_name;
    int n_areas, n_lines, n_points, n_rings;
} real_files[] = {
    {"asap-dot.xml", "ASAP XML", "None", 0, 0, 1, 1},
    {"asap-pointset.xml", "ASAP XML", "None", 0, 0, 1, 1},
    {"asap-polygon.xml", "ASAP XML", "None", 1, 0, 0, 1},
    {"dlup-asap-example.xml", "ASAP XML", "healthy glands", 1, 0, 0, 1},
    {"dlup-qupath05.geojson", "GeoJSON", "UT", 3, 0, 0, 3},
    {"histoqc-TCGA-EJ-5518-01Z-00-DX1.xml", "Aperio XML", "Layer 1", 4, 0, 0, 4},
    {"histoqc-geojson_example.json", "GeoJSON", "Tumor", 0, 0, 0, 0},
    {"histoqc-holed.geojson", "GeoJSON", "", 1, 0, 0, 0},
    {"qupath-brush.json", "GeoJSON", NULL, 1, 0, 0, 1},
    {"qupath-ellipse.json", "GeoJSON", NULL, 1, 0, 0, 1},
    {"qupath-line.json", "GeoJSON", NULL, 0, 1, 0, 1},
    {"qupath-multipoint.json", "GeoJSON", NULL, 0, 0, 1, 1},
    {"qupath-point.json", "GeoJSON", NULL, 0, 0, 1, 1},
    {"qupath-polygon.json", "GeoJSON", NULL, 1, 0, 0, 1},
    {"qupath-polyline.json", "GeoJSON", NULL, 0, 1, 0, 1},
    {"qupath-rectangle.json", "GeoJSON", NULL, 1, 0, 0, 1},
    {"qupath-wand.json", "GeoJSON", NULL, 1, 0, 0, 1},
    {"wsitools-e39a8d60.xml", "Aperio XML", "offset", 7, 0, 1, 8},
};

static void test_real_files(void)
{
    g_autofree char *dir = real_data("annotations");
    if (!dir)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(real_files); i++) {
        g_autofree char *path = g_build_filename(dir, real_files[i].name, NULL);
        GError *error = NULL;
        wsi_annotations *set = wsi_annotations_read(path, &error);
        g_assert_no_error(error);
        check_set(set);
        const wsi_annot_facts *f = &set->facts;
        g_test_message("%s: %s, %d areas, %d lines, %d points, %u rings, %d open, %d crossing",
                       real_files[i].name, set->format, (int)f->n_areas, (int)f->n_lines,
                       (int)f->n_points, set->rings->len, (int)f->n_open, (int)f->n_self_crossing);
        g_assert_cmpstr(set->format, ==, real_files[i].format);
        if (real_files[i].class_name)
            g_assert_cmpstr(shape(set, 0)->class_name, ==, real_files[i].class_name);
        if (real_files[i].n_rings) {
            g_assert_cmpint(f->n_areas, ==, real_files[i].n_areas);
            g_assert_cmpint(f->n_lines, ==, real_files[i].n_lines);
            g_assert_cmpint(f->n_points, ==, real_files[i].n_points);
            g_assert_cmpuint(set->rings->len, ==, (guint)real_files[i].n_rings);
        }
        wsi_annotations_destroy(set);
        g_autofree char *text = NULL;
        gsize n = 0;
        g_assert_true(g_file_get_contents(path, &text, &n, NULL));
        cut_and_mutate(text, n, n < 8192 ? 400 : 60, n < 8192 ? 60 : 15);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wsi/annotation/asap", test_asap);
    g_test_add_func("/wsi/annotation/aperio", test_aperio);
    g_test_add_func("/wsi/annotation/geojson", test_geojson);
    g_test_add_func("/wsi/annotation/numbers", test_numbers);
    g_test_add_func("/wsi/annotation/self-crossing", test_self_crossing);
    g_test_add_func("/wsi/annotation/label-map", test_label_map);
    g_test_add_func("/wsi/annotation/unknown-label", test_unknown_label);
    g_test_add_func("/wsi/annotation/encodings", test_encodings);
    g_test_add_func("/wsi/annotation/bombs", test_bombs);
    g_test_add_func("/wsi/annotation/nothing-is-fetched", test_nothing_is_fetched);
    g_test_add_func("/wsi/annotation/errors", test_errors);
    g_test_add_func("/wsi/annotation/prefixes", test_prefixes);
    g_test_add_func("/wsi/annotation/real-files", test_real_files);
    int status = g_test_run();
    temp_clean();
    return status;
}
