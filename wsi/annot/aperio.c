/* Aperio ImageScope's XML, and Indica Labs HALO's .annotations, which is built alike:
 *   <Annotations MicronsPerPixel><Annotation Id Name LineColor>
 *     <Regions><Region Id Type NegativeROA Text><Vertices><Vertex X Y/>…
 * An Annotation is a layer; its Name is the class. A layer without one gives the region's Text, and
 * without that "Layer <Id>", as ImageScope shows it. NegativeROA="1" takes the region away from its
 * layer. LineColor is 0xBBGGRR in decimal.
 *
 * HALO calls a vertex V and says its types in words: Polygon, Rectangle, Ellipse, Ruler, Pin…
 *
 * Region Type: 0 free hand, 1 rectangle, 2 ellipse, 3 arrow, 4 ruler, 5 counter. Other programs
 * number their own types and say what is meant in GeoShape, which is believed where it is there. An
 * ellipse is given by corners of its box or by the ends of its axes, which have the same box; Type
 * 2 with more than four vertices is a polygon that was drawn already. A rectangle may be given by two
 * opposite corners. */
#include "wsi/annot/annot_priv.h"
#include "wsi/annot/xml_priv.h"

#include "base/error.h"

#include <string.h>

enum {
    TYPE_RECTANGLE = 1,
    TYPE_ELLIPSE = 2,
    TYPE_ARROW = 3,
    TYPE_RULER = 4,
    TYPE_COUNTER = 5,
    ELLIPSE_VERTICES_MAX = 4
};

typedef struct {
    wsi_annotations *set;
    char *layer_name, *layer_id;
    bool in_layer, in_region, ellipse, rectangle, has_colour;
    int rgb[3];
} aperio_state;

static bool is_true(const char *text)
{
    return text && (!strcmp(text, "1") || !g_ascii_strcasecmp(text, "true"));
}

static void start_layer(aperio_state *s, const char *const *attributes)
{
    const char *name = wsi_xml_attribute(attributes, "Name"),
               *id = wsi_xml_attribute(attributes, "Id");
    const char *colour = wsi_xml_attribute(attributes, "LineColor");
    gint64 value;
    g_free(s->layer_name);
    g_free(s->layer_id);
    s->layer_name = g_strstrip(g_strdup(name ? name : ""));
    s->layer_id = g_strdup(id ? id : "?");
    s->has_colour = colour && g_ascii_string_to_signed(colour, 10, 0, 0xffffff, &value, NULL);
    for (int c = 0; s->has_colour && c < 3; c++)
        s->rgb[c] = (int)(value >> 8 * c & 255);
    s->in_layer = true;
}

/* Sets ellipse and rectangle when the region is one if it has few enough vertices. */
static wsi_shape_kind kind_of(aperio_state *s, const char *const *attributes)
{
    static const struct {
        const char *name;
        wsi_shape_kind kind;
    } shapes[] = {{"Points", WSI_SHAPE_POINTS}, {"Point", WSI_SHAPE_POINTS},
                  {"Line", WSI_SHAPE_LINE},     {"Polyline", WSI_SHAPE_LINE},
                  {"Arrow", WSI_SHAPE_LINE},    {"Ruler", WSI_SHAPE_LINE},
                  {"Pin", WSI_SHAPE_POINTS},    {"Pen", WSI_SHAPE_LINE}};
    const char *geo = wsi_xml_attribute(attributes, "GeoShape"),
               *text = wsi_xml_attribute(attributes, "Type");
    guint64 type = 0;
    if (!geo && text && g_ascii_isalpha(*text))
        geo = text; /* HALO */
    s->ellipse = geo && !g_ascii_strcasecmp(geo, "Ellipse");
    s->rectangle = geo && !g_ascii_strcasecmp(geo, "Rectangle");
    for (size_t i = 0; geo && i < G_N_ELEMENTS(shapes); i++)
        if (!g_ascii_strcasecmp(geo, shapes[i].name))
            return shapes[i].kind;
    if ((geo && *geo) || !text || !g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT, &type, NULL))
        return WSI_SHAPE_AREA;
    s->ellipse = type == TYPE_ELLIPSE;
    s->rectangle = type == TYPE_RECTANGLE;
    if (type == TYPE_ARROW || type == TYPE_RULER)
        return WSI_SHAPE_LINE;
    return type == TYPE_COUNTER ? WSI_SHAPE_POINTS : WSI_SHAPE_AREA;
}

static bool start_region(aperio_state *s, const char *const *attributes, GError **error)
{
    if (s->in_region || !s->in_layer) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "a Region %s",
                    s->in_region ? "inside a Region" : "outside an Annotation");
        return false;
    }
    const char *text = wsi_xml_attribute(attributes, "Text");
    g_autofree char *numbered = g_strdup_printf("Layer %s", s->layer_id);
    const char *class_name = *s->layer_name ? s->layer_name : text && *text ? text : numbered;
    wsi_shape_kind kind = kind_of(s, attributes);
    wsi_shape *shape = wsi_annot_shape_begin(s->set, kind, class_name, text, s->layer_id);
    shape->erase = kind == WSI_SHAPE_AREA && is_true(wsi_xml_attribute(attributes, "NegativeROA"));
    if (s->has_colour)
        wsi_annot_shape_colour(shape, s->rgb[0], s->rgb[1], s->rgb[2]);
    wsi_annot_ring_begin(s->set);
    s->set->facts.n_features++;
    s->in_region = true;
    return true;
}

static bool on_start(void *user, const char *element, const char *const *attributes, GError **error)
{
    aperio_state *s = user;
    double x, y;
    if (!strcmp(element, "Annotation"))
        start_layer(s, attributes);
    else if (!strcmp(element, "Region"))
        return start_region(s, attributes, error);
    else if ((!strcmp(element, "Vertex") || !strcmp(element, "V")) && s->in_region)
        return wsi_xml_number(attributes, "X", &x, error) &&
               wsi_xml_number(attributes, "Y", &y, error) &&
               wsi_annot_point_add(s->set, x, y, error);
    return true;
}

static bool on_end(void *user, const char *element, GError **error)
{
    aperio_state *s = user;
    if (!strcmp(element, "Annotation"))
        s->in_layer = false;
    if (strcmp(element, "Region") || !s->in_region)
        return true;
    s->in_region = false;
    const wsi_ring *ring = &g_array_index(s->set->rings, wsi_ring, s->set->rings->len - 1);
    bool ellipse = s->ellipse && ring->n <= ELLIPSE_VERTICES_MAX;
    if (ellipse && !wsi_annot_ring_to_ellipse(s->set, error))
        return false;
    if (s->rectangle && ring->n == 2 && !wsi_annot_ring_to_box(s->set, error))
        return false;
    /* Rectangles and ellipses are closed by what they are. */
    wsi_annot_shape_end(s->set, !ellipse && ring->n > ELLIPSE_VERTICES_MAX);
    return true;
}

static bool read_aperio(const char *path, wsi_annotations *set, GError **error)
{
    aperio_state s = {.set = set};
    wsi_xml_handler handler = {on_start, on_end, &s};
    bool ok = wsi_xml_parse(path, &handler, error);
    g_free(s.layer_name);
    g_free(s.layer_id);
    return ok;
}

static bool takes(const char *head, size_t n)
{
    return wsi_xml_root_is(head, n, "Annotations");
}

const wsi_annot_reader wsi_annot_aperio = {"Aperio XML", takes, read_aperio};
