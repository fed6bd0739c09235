/* GeoJSON as QuPath writes and reads it: a FeatureCollection, a bare list of Features, one Feature,
 * or a bare geometry. Members may come in any order and unknown ones are passed over, so the file
 * is read as a stream: one feature is in memory, beside the points that are kept.
 *
 * Geometry: Polygon and MultiPolygon are areas (each polygon of a MultiPolygon a shape of its own,
 * inner rings are holes), LineString and MultiLineString lines, Point and MultiPoint points,
 * GeometryCollection all of its members. "isEllipse": the ellipse in the box of the coordinates.
 * Class: properties.classification, which is {name, color | colorRGB}, {names, color}, or a string;
 * without one, properties.name. A cell's nucleusGeometry is not read. */
#include "wsi/annot/annot_priv.h"
#include "wsi/annot/json_priv.h"

#include "base/error.h"

#include <string.h>

enum { LEAF_MAX = 4 /* brackets around a number in a MultiPolygon */ };

/* A geometry before its type is known: positions, cut into rings, cut into polygons. */
typedef struct {
    char *type;
    GArray *points;                   /* of wsi_point */
    GArray *ring_ends, *polygon_ends; /* of guint: into points, into ring_ends */
    int leaf;                         /* brackets around a number; 0 none seen */
    bool ellipse;
} geometry;

typedef struct {
    char *type, *id, *name, *class_name;
    GPtrArray *geometries;
    bool has_object_type, has_colour, class_is_object;
    uint8_t rgb[3];
} feature;

typedef struct {
    wsi_json *json;
    wsi_annotations *set;
    GHashTable *ids;
} geo_state;

static void geometry_free(gpointer p)
{
    geometry *g = p;
    g_free(g->type);
    g_array_unref(g->points);
    g_array_unref(g->ring_ends);
    g_array_unref(g->polygon_ends);
    g_free(g);
}

static geometry *geometry_new(void)
{
    geometry *g = g_new0(geometry, 1);
    g->points = g_array_new(FALSE, FALSE, sizeof(wsi_point));
    g->ring_ends = g_array_new(FALSE, FALSE, sizeof(guint));
    g->polygon_ends = g_array_new(FALSE, FALSE, sizeof(guint));
    return g;
}

static void feature_clear(feature *f)
{
    g_free(f->type);
    g_free(f->id);
    g_free(f->name);
    g_free(f->class_name);
    g_ptr_array_unref(f->geometries);
}

/* ---- small values ---------------------------------------------------------------------------- */
/* The next value as a string; anything else is passed over and leaves *text as it is. */
static bool read_text(geo_state *s, char **text, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    if (t == WSI_JSON_STRING) {
        g_free(*text);
        *text = g_strdup(wsi_json_text(s->json));
    }
    return wsi_json_skip(s->json, t, error);
}

/* [r,g,b], or a signed 32-bit integer 0xAARRGGBB as older QuPaths have it. */
static bool read_colour(geo_state *s, feature *f, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    int n = 0;
    double v[3] = {0};
    if (t == WSI_JSON_NUMBER) {
        double number = wsi_json_number(s->json);
        bool fits = number >= G_MININT32 && number <= G_MAXUINT32;
        uint32_t packed = fits ? (uint32_t)(int64_t)number : 0;
        for (int c = 0; c < 3; c++)
            f->rgb[c] = (uint8_t)(packed >> (16 - 8 * c));
        f->has_colour = fits;
        return true;
    }
    if (t != WSI_JSON_ARRAY)
        return wsi_json_skip(s->json, t, error);
    while ((t = wsi_json_next(s->json, error)) != WSI_JSON_ARRAY_END) {
        if (t == WSI_JSON_NUMBER && n < 3)
            v[n++] = wsi_json_number(s->json);
        else if (!wsi_json_skip(s->json, t, error))
            return false;
    }
    for (int c = 0; c < 3; c++)
        f->rgb[c] = (uint8_t)CLAMP(v[c], 0, 255);
    f->has_colour = n == 3;
    return true;
}

/* ["Tumor","Positive"] is shown by QuPath as "Tumor: Positive". */
static bool read_names(geo_state *s, feature *f, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    if (t != WSI_JSON_ARRAY)
        return wsi_json_skip(s->json, t, error);
    g_autoptr(GString) all = g_string_new(NULL);
    while ((t = wsi_json_next(s->json, error)) != WSI_JSON_ARRAY_END) {
        if (t == WSI_JSON_STRING)
            g_string_append_printf(all, "%s%s", all->len ? ": " : "", wsi_json_text(s->json));
        else if (!wsi_json_skip(s->json, t, error))
            return false;
    }
    g_free(f->class_name);
    f->class_name = g_strdup(all->str);
    return true;
}

static bool read_classification(geo_state *s, feature *f, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    if (t == WSI_JSON_STRING) {
        g_free(f->class_name);
        f->class_name = g_strdup(wsi_json_text(s->json));
        return true;
    }
    if (t != WSI_JSON_OBJECT)
        return wsi_json_skip(s->json, t, error);
    f->class_is_object = true;
    while ((t = wsi_json_next(s->json, error)) == WSI_JSON_KEY) {
        const char *key = wsi_json_text(s->json);
        bool ok = !strcmp(key, "name")    ? read_text(s, &f->class_name, error)
                  : !strcmp(key, "names") ? read_names(s, f, error)
                  : !strcmp(key, "color") || !strcmp(key, "colorRGB")
                      ? read_colour(s, f, error)
                      : wsi_json_skip(s->json, wsi_json_next(s->json, error), error);
        if (!ok)
            return false;
    }
    return t == WSI_JSON_OBJECT_END;
}

static bool read_properties(geo_state *s, feature *f, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    if (t != WSI_JSON_OBJECT)
        return wsi_json_skip(s->json, t, error);
    while ((t = wsi_json_next(s->json, error)) == WSI_JSON_KEY) {
        const char *key = wsi_json_text(s->json);
        bool ok;
        if (!strcmp(key, "name")) {
            ok = read_text(s, &f->name, error);
        } else if (!strcmp(key, "classification")) {
            ok = read_classification(s, f, error);
        } else if (!strcmp(key, "color") && !f->has_colour) {
            ok = read_colour(s, f, error);
        } else {
            f->has_object_type |= !strcmp(key, "objectType");
            ok = wsi_json_skip(s->json, wsi_json_next(s->json, error), error);
        }
        if (!ok)
            return false;
    }
    return t == WSI_JSON_OBJECT_END;
}

/* ---- geometry -------------------------------------------------------------------------------- */
static bool end_level(geo_state *s, geometry *g, int level, const double *v, int n_numbers,
                      GError **error)
{
    if (n_numbers > 0) { /* a position ends; z and more are left out */
        if (n_numbers < 2)
            return wsi_json_fail(s->json, error, "a position of one number");
        if (g->leaf && g->leaf != level)
            return wsi_json_fail(s->json, error, "coordinates nested %d and %d deep", g->leaf,
                                 level);
        g->leaf = level;
        wsi_point p = {v[0], v[1]};
        g_array_append_val(g->points, p);
        if (g->points->len >= G_MAXUINT / sizeof(wsi_point) / 2)
            return wsi_json_fail(s->json, error, "more than %u points in one geometry",
                                 g->points->len);
    } else if (g->leaf && level == g->leaf - 1) {
        g_array_append_val(g->ring_ends, g->points->len);
    } else if (g->leaf && level == g->leaf - 2) {
        g_array_append_val(g->polygon_ends, g->ring_ends->len);
    }
    return true;
}

static bool read_coordinates(geo_state *s, geometry *g, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    if (t != WSI_JSON_ARRAY)
        return wsi_json_skip(s->json, t, error);
    int level = 1, n_numbers = 0;
    double v[2] = {0};
    while (level > 0) {
        t = wsi_json_next(s->json, error);
        if (t == WSI_JSON_NUMBER) {
            if (n_numbers < 2)
                v[n_numbers] = wsi_json_number(s->json);
            n_numbers++;
        } else if (t == WSI_JSON_ARRAY && n_numbers == 0) {
            if (++level > LEAF_MAX)
                return wsi_json_fail(s->json, error, "coordinates nested more than %d deep",
                                     LEAF_MAX);
        } else if (t == WSI_JSON_ARRAY_END) {
            if (!end_level(s, g, level, v, n_numbers, error))
                return false;
            n_numbers = 0;
            level--;
        } else if (t == WSI_JSON_FAILED) {
            return false;
        } else {
            return wsi_json_fail(s->json, error, "coordinates hold something that is no number");
        }
    }
    return true;
}

static bool read_geometry(geo_state *s, wsi_json_token t, GPtrArray *geometries, GError **error);

static bool read_geometries(geo_state *s, GPtrArray *geometries, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    if (t != WSI_JSON_ARRAY)
        return wsi_json_skip(s->json, t, error);
    while ((t = wsi_json_next(s->json, error)) != WSI_JSON_ARRAY_END)
        if (!read_geometry(s, t, geometries, error))
            return false;
    return true;
}

/* One member of a geometry, its key just read (and gone with the next token). Nesting is bounded by
 * the JSON reader's. */
static bool read_geometry_member(geo_state *s, const char *key, geometry *g, GPtrArray *geometries,
                                 GError **error)
{
    if (!strcmp(key, "coordinates"))
        return read_coordinates(s, g, error);
    if (!strcmp(key, "type"))
        return read_text(s, &g->type, error);
    if (!strcmp(key, "geometries"))
        return read_geometries(s, geometries, error);
    bool about_ellipse = !strcmp(key, "isEllipse");
    wsi_json_token t = wsi_json_next(s->json, error);
    if (about_ellipse)
        g->ellipse = t == WSI_JSON_TRUE;
    return wsi_json_skip(s->json, t, error);
}

static bool read_geometry(geo_state *s, wsi_json_token t, GPtrArray *geometries, GError **error)
{
    if (t != WSI_JSON_OBJECT)
        return wsi_json_skip(s->json, t, error); /* null: a feature without a place */
    geometry *g = geometry_new();
    g_ptr_array_add(geometries, g);
    while ((t = wsi_json_next(s->json, error)) == WSI_JSON_KEY)
        if (!read_geometry_member(s, wsi_json_text(s->json), g, geometries, error))
            return false;
    return t == WSI_JSON_OBJECT_END;
}

/* ---- shapes ---------------------------------------------------------------------------------- */
static bool add_points(geo_state *s, const geometry *g, guint from, guint to, GError **error)
{
    wsi_annot_ring_begin(s->set);
    for (guint i = from; i < to; i++) {
        const wsi_point *p = &g_array_index(g->points, wsi_point, i);
        if (!wsi_annot_point_add(s->set, p->x, p->y, error))
            return false;
    }
    return true;
}

static bool add_shape(geo_state *s, const feature *f, const geometry *g, wsi_shape_kind kind,
                      guint ring_from, guint ring_to, GError **error)
{
    const char *class_name = f->class_name ? f->class_name : f->name;
    wsi_shape *shape = wsi_annot_shape_begin(s->set, kind, class_name, f->name, class_name);
    if (f->has_colour)
        wsi_annot_shape_colour(shape, f->rgb[0], f->rgb[1], f->rgb[2]);
    for (guint r = ring_from; r < ring_to; r++) {
        guint from = r ? g_array_index(g->ring_ends, guint, r - 1) : 0;
        if (!add_points(s, g, from, g_array_index(g->ring_ends, guint, r), error) ||
            (g->ellipse && kind == WSI_SHAPE_AREA && !wsi_annot_ring_to_ellipse(s->set, error)))
            return false;
    }
    wsi_annot_shape_end(s->set, !g->ellipse);
    return true;
}

/* What each type is, and how deep its positions are nested. */
static bool add_geometry(geo_state *s, const feature *f, geometry *g, GError **error)
{
    static const struct {
        const char *type;
        int leaf;
        wsi_shape_kind kind;
    } types[] = {{"Point", 1, WSI_SHAPE_POINTS},           {"MultiPoint", 2, WSI_SHAPE_POINTS},
                 {"LineString", 2, WSI_SHAPE_LINE},        {"MultiLineString", 3, WSI_SHAPE_LINE},
                 {"Polygon", 3, WSI_SHAPE_AREA},           {"MultiPolygon", 4, WSI_SHAPE_AREA},
                 {"GeometryCollection", 0, WSI_SHAPE_AREA}};
    size_t k = 0;
    while (k < G_N_ELEMENTS(types) && g_strcmp0(g->type, types[k].type))
        k++;
    if (k == G_N_ELEMENTS(types))
        return wsi_json_fail(s->json, error, "geometry type \"%.40s\" is none of GeoJSON's",
                             g->type ? g->type : "");
    if (g->leaf == 0) {
        s->set->facts.n_empty += types[k].leaf > 0;
        return true;
    }
    if (g->leaf != types[k].leaf)
        return wsi_json_fail(s->json, error, "coordinates of a %s are nested %d deep, not %d",
                             g->type, g->leaf, types[k].leaf);
    if (types[k].leaf == 1) {
        g_array_append_val(g->ring_ends, g->points->len);
        return add_shape(s, f, g, types[k].kind, 0, 1, error);
    }
    if (types[k].leaf < 4)
        return add_shape(s, f, g, types[k].kind, 0, g->ring_ends->len, error);
    for (guint i = 0, from = 0; i < g->polygon_ends->len; i++) {
        guint to = g_array_index(g->polygon_ends, guint, i);
        if (!add_shape(s, f, g, types[k].kind, from, to, error))
            return false;
        from = to;
    }
    return true;
}

/* For who wants one feature at a time: memory is then that of the largest. */
static bool hand_over(wsi_annotations *set, GError **error)
{
    wsi_annot_count_crossings(set);
    if (!set->each(set->each_user, set, error))
        return false;
    g_array_set_size(set->shapes, 0);
    g_array_set_size(set->rings, 0);
    g_array_set_size(set->points, 0);
    g_string_chunk_clear(set->text);
    return true;
}

static bool add_feature(geo_state *s, const feature *f, GError **error)
{
    wsi_annot_facts *facts = &s->set->facts;
    facts->n_features++;
    facts->n_object_type += f->has_object_type;
    facts->n_class_and_colour += f->class_name && f->class_is_object && f->has_colour;
    if (f->id && g_uuid_string_is_valid(f->id))
        facts->n_uuid++;
    if (f->id && !g_hash_table_add(s->ids, g_strdup(f->id)))
        facts->n_id_repeated++;
    facts->n_empty += f->geometries->len == 0;
    for (guint i = 0; i < f->geometries->len; i++)
        if (!add_geometry(s, f, g_ptr_array_index(f->geometries, i), error))
            return false;
    return !s->set->each || hand_over(s->set, error);
}

/* ---- documents ------------------------------------------------------------------------------- */
static bool read_features(geo_state *s, GError **error);

/* A collection, a feature or a geometry, its "{" just read: which one shows in its members. */
static bool read_object(geo_state *s, bool top, GError **error)
{
    feature f = {.geometries = g_ptr_array_new_with_free_func(geometry_free)};
    geometry *bare = geometry_new();
    bool is_collection = false, is_bare = false, ok = true;
    wsi_json_token t = WSI_JSON_FAILED;
    while (ok && (t = wsi_json_next(s->json, error)) == WSI_JSON_KEY) {
        g_autofree char *key = g_strdup(wsi_json_text(s->json));
        if (!strcmp(key, "features") && top) {
            is_collection = true;
            ok = read_features(s, error);
        } else if (!strcmp(key, "geometry")) {
            ok = read_geometry(s, wsi_json_next(s->json, error), f.geometries, error);
        } else if (!strcmp(key, "properties")) {
            ok = read_properties(s, &f, error);
        } else if (!strcmp(key, "id")) {
            ok = read_text(s, &f.id, error);
        } else {
            is_bare |= !strcmp(key, "coordinates") || !strcmp(key, "geometries");
            ok = read_geometry_member(s, key, bare, f.geometries, error);
        }
    }
    ok = ok && t == WSI_JSON_OBJECT_END;
    if (ok && is_bare) {
        g_ptr_array_add(f.geometries, g_steal_pointer(&bare));
    } else if (ok && !is_collection && g_strcmp0(bare->type, "Feature") != 0) {
        ok = wsi_json_fail(s->json, error,
                           "an object of type \"%.40s\" is neither a FeatureCollection, a "
                           "Feature nor a geometry",
                           bare->type ? bare->type : "");
    }
    ok = ok && (is_collection || add_feature(s, &f, error));
    feature_clear(&f);
    g_clear_pointer(&bare, geometry_free);
    return ok;
}

static bool read_list(geo_state *s, GError **error)
{
    wsi_json_token t;
    while ((t = wsi_json_next(s->json, error)) == WSI_JSON_OBJECT)
        if (!read_object(s, false, error))
            return false;
    if (t == WSI_JSON_ARRAY_END)
        return true;
    return t != WSI_JSON_FAILED &&
           wsi_json_fail(s->json, error, "a list of features holds something else");
}

static bool read_features(geo_state *s, GError **error)
{
    wsi_json_token t = wsi_json_next(s->json, error);
    if (t == WSI_JSON_ARRAY)
        return read_list(s, error);
    return t != WSI_JSON_FAILED && wsi_json_fail(s->json, error, "\"features\" is no list");
}

static bool read_geojson(const char *path, wsi_annotations *set, GError **error)
{
    geo_state s = {.json = wsi_json_open(path, error), .set = set};
    if (!s.json)
        return false;
    s.ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    wsi_json_token t = wsi_json_next(s.json, error);
    bool ok = t == WSI_JSON_OBJECT ? read_object(&s, true, error)
              : t == WSI_JSON_ARRAY
                  ? read_list(&s, error)
                  : t != WSI_JSON_FAILED && wsi_json_fail(s.json, error, "is no GeoJSON");
    ok = ok && wsi_json_next(s.json, error) == WSI_JSON_END;
    wsi_json_close(s.json);
    g_hash_table_unref(s.ids);
    return ok;
}

static bool takes(const char *head, size_t n)
{
    size_t i = strspn(head, " \t\r\n");
    return i < n && (head[i] == '{' || head[i] == '[');
}

const wsi_annot_reader wsi_annot_geojson = {"GeoJSON", takes, read_geojson};
