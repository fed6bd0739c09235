/* ASAP's XML, as its XmlRepository writes it:
 *   <ASAP_Annotations><Annotations>
 *     <Annotation Name Type PartOfGroup Color><Coordinates><Coordinate Order X Y/>…
 *   <AnnotationGroups><Group Name PartOfGroup Color>…
 * The class is PartOfGroup ("None" when there is none). Polygon, Rectangle and Spline are areas, a
 * spline through its points in straight lines; Measurement is a line; Dot and PointSet are points.
 * Points come in the order of their Order numbers. */
#include "wsi/annot/annot_priv.h"
#include "wsi/annot/xml_priv.h"

#include "base/error.h"

#include <string.h>

typedef struct {
    double order, x, y;
} ordered_point;

typedef struct {
    wsi_annotations *set;
    bool in_annotation;
    bool sorted; /* the points came in order */
    GArray *points;
    GHashTable *groups; /* declared names */
} asap_state;

static wsi_shape_kind kind_of(const char *type)
{
    static const struct {
        const char *type;
        wsi_shape_kind kind;
    } kinds[] = {{"Polygon", WSI_SHAPE_AREA}, {"Rectangle", WSI_SHAPE_AREA},
                 {"Spline", WSI_SHAPE_AREA},  {"Measurement", WSI_SHAPE_LINE},
                 {"Dot", WSI_SHAPE_POINTS},   {"PointSet", WSI_SHAPE_POINTS}};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (!strcmp(type, kinds[i].type))
            return kinds[i].kind;
    return WSI_SHAPE_AREA; /* a newer ASAP's kind of area: better drawn than lost */
}

static bool start_annotation(asap_state *s, const char *const *attributes, GError **error)
{
    if (s->in_annotation) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_FORMAT, "an Annotation inside an Annotation");
        return false;
    }
    const char *type = wsi_xml_attribute(attributes, "Type"),
               *group = wsi_xml_attribute(attributes, "PartOfGroup");
    const char *colour = wsi_xml_attribute(attributes, "Color");
    wsi_annotations *set = s->set;
    wsi_shape *shape = wsi_annot_shape_begin(set, kind_of(type ? type : "Polygon"),
                                             group && *group ? group : "None",
                                             wsi_xml_attribute(attributes, "Name"), group);
    if (wsi_annot_parse_colour(colour, shape->rgb))
        shape->has_colour = true;
    set->facts.n_splines += type && !strcmp(type, "Spline");
    set->facts.n_features++;
    g_array_set_size(s->points, 0);
    s->in_annotation = s->sorted = true;
    return true;
}

static bool on_start(void *user, const char *element, const char *const *attributes, GError **error)
{
    asap_state *s = user;
    if (!strcmp(element, "Annotation"))
        return start_annotation(s, attributes, error);
    if (!strcmp(element, "Group")) {
        const char *name = wsi_xml_attribute(attributes, "Name");
        g_hash_table_add(s->groups, g_strdup(name ? name : ""));
        return true;
    }
    if (strcmp(element, "Coordinate") || !s->in_annotation)
        return true;
    ordered_point p = {.order = s->points->len};
    if (!wsi_xml_number(attributes, "X", &p.x, error) ||
        !wsi_xml_number(attributes, "Y", &p.y, error))
        return false;
    if (wsi_xml_attribute(attributes, "Order") &&
        !wsi_xml_number(attributes, "Order", &p.order, error))
        return false;
    if (s->points->len)
        s->sorted &= p.order >= g_array_index(s->points, ordered_point, s->points->len - 1).order;
    g_array_append_val(s->points, p);
    return true;
}

static gint by_order(gconstpointer a, gconstpointer b)
{
    double x = ((const ordered_point *)a)->order, y = ((const ordered_point *)b)->order;
    return x < y ? -1 : x > y;
}

static bool on_end(void *user, const char *element, GError **error)
{
    asap_state *s = user;
    if (strcmp(element, "Annotation") || !s->in_annotation)
        return true;
    if (!s->sorted)
        g_array_sort(s->points, by_order);
    wsi_annot_ring_begin(s->set);
    for (guint i = 0; i < s->points->len; i++) {
        const ordered_point *p = &g_array_index(s->points, ordered_point, i);
        if (!wsi_annot_point_add(s->set, p->x, p->y, error))
            return false;
    }
    wsi_annot_shape_end(s->set, false); /* ASAP never repeats the first point */
    s->in_annotation = false;
    return true;
}

/* A group that is not declared makes ASAP load nothing at all. */
static void count_undeclared(asap_state *s)
{
    for (guint i = 0; i < s->set->shapes->len; i++) {
        const char *group = g_array_index(s->set->shapes, wsi_shape, i).group;
        s->set->facts.n_group_undeclared +=
            strcmp(group, "None") != 0 && !g_hash_table_contains(s->groups, group);
    }
}

static bool read_asap(const char *path, wsi_annotations *set, GError **error)
{
    asap_state s = {.set = set,
                    .points = g_array_new(FALSE, FALSE, sizeof(ordered_point)),
                    .groups = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    wsi_xml_handler handler = {on_start, on_end, &s};
    bool ok = wsi_xml_parse(path, &handler, error);
    if (ok)
        count_undeclared(&s);
    g_array_unref(s.points);
    g_hash_table_unref(s.groups);
    return ok;
}

static bool takes(const char *head, size_t n)
{
    return wsi_xml_root_is(head, n, "ASAP_Annotations");
}

const wsi_annot_reader wsi_annot_asap = {"ASAP XML", takes, read_asap};
