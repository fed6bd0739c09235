/* The annotation model: choosing a reader by content, and filling a set in a way that is safe
 * whatever the file says. Invariants of a finished set: 1. every point is finite and within ±2^40;
 * 2. an area's rings have at least three points and do not repeat the first; 3. every shape has a
 * ring; 4. texts are valid UTF-8 and never NULL. */
#include "wsi/annot/annot_priv.h"

#include "base/error.h"
#include "base/file.h"
#include "wsi/image/sniff.h"

#include <math.h>
#include <string.h>

enum { HEAD_BYTES = 65536, ELLIPSE_MIN = 16, ELLIPSE_MAX = 4096 };
static const double COORDINATE_MAX =
    1099511627776.0; /* 2^40: far above any slide, exact in doubles */
static const double ELLIPSE_ERROR_PX = 0.05;

const wsi_annot_reader *const wsi_annot_readers[] = {&wsi_annot_asap, &wsi_annot_aperio,
                                                     &wsi_annot_geojson, NULL};

/* ---- choosing a reader ----------------------------------------------------------------------- */
/* The file's first bytes as UTF-8, without byte-order mark, NUL-terminated; UTF-16 is narrowed. */
static char *read_head(const char *path, size_t *n, GError **error)
{
    wsi_file_type type;
    int64_t n_bytes;
    if (!wsi_sniff(path, &type, &n_bytes, error)) /* names directories and empty files */
        return NULL;
    qs_file *file = qs_file_open(path, QS_FILE_READ, error);
    if (!file)
        return NULL;
    size_t have = (size_t)MIN(n_bytes, HEAD_BYTES);
    char *head = g_malloc(have + 1);
    bool ok = qs_file_read_at(file, 0, head, have, error);
    qs_file_close(file, NULL);
    if (!ok) {
        g_free(head);
        return NULL;
    }
    const uint8_t *u = (const uint8_t *)head;
    bool utf16 = have >= 2 && ((u[0] == 0xff && u[1] == 0xfe) || (u[0] == 0xfe && u[1] == 0xff));
    size_t out = 0, from = utf16 ? 2 : have >= 3 && !memcmp(head, "\xef\xbb\xbf", 3) ? 3 : 0;
    for (size_t i = from; i < have; i++)
        if (head[i])
            head[out++] = head[i];
    head[out] = '\0';
    *n = out;
    return head;
}

static const wsi_annot_reader *find_reader(const char *head, size_t n)
{
    for (const wsi_annot_reader *const *r = wsi_annot_readers; *r; r++)
        if ((*r)->takes(head, n))
            return *r;
    return NULL;
}

bool wsi_annotations_sniff(const char *path)
{
    size_t n = 0;
    g_autofree char *head = read_head(path, &n, NULL);
    return head && find_reader(head, n);
}

static wsi_annotations *new_set(const char *path)
{
    wsi_annotations *set = g_new0(wsi_annotations, 1);
    set->path = g_strdup(path);
    set->shapes = g_array_new(FALSE, TRUE, sizeof(wsi_shape));
    set->rings = g_array_new(FALSE, TRUE, sizeof(wsi_ring));
    set->points = g_array_new(FALSE, FALSE, sizeof(wsi_point));
    set->text = g_string_chunk_new(1024);
    return set;
}

static wsi_annotations *read_set(const char *path, wsi_annotations *set, GError **error)
{
    size_t n = 0;
    g_autofree char *head = read_head(path, &n, error);
    const wsi_annot_reader *reader = head ? find_reader(head, n) : NULL;
    if (head && !reader)
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: is none of the annotation files read here (ASAP XML, Aperio XML, GeoJSON)",
                    path);
    if (reader)
        set->format = reader->name;
    if (reader && reader->read(path, set, error))
        return set;
    wsi_annotations_destroy(set);
    return NULL;
}

wsi_annotations *wsi_annotations_read(const char *path, GError **error)
{
    wsi_annotations *set = read_set(path, new_set(path), error);
    if (set)
        wsi_annot_count_crossings(set);
    return set;
}

bool wsi_annotations_read_each(const char *path,
                               bool (*each)(void *user, const wsi_annotations *set, GError **error),
                               void *user, wsi_annot_facts *facts, GError **error)
{
    wsi_annotations *set = new_set(path);
    set->each = each;
    set->each_user = user;
    set = read_set(path, set, error);
    if (!set)
        return false;
    wsi_annot_count_crossings(set); /* of what was not handed over: nothing, for GeoJSON */
    *facts = set->facts;
    wsi_annotations_destroy(set);
    return true;
}

void wsi_annotations_destroy(wsi_annotations *set)
{
    if (!set)
        return;
    g_array_unref(set->shapes);
    g_array_unref(set->rings);
    g_array_unref(set->points);
    g_string_chunk_free(set->text);
    g_free(set->path);
    g_free(set);
}

/* ---- filling --------------------------------------------------------------------------------- */
static const char *keep_text(wsi_annotations *set, const char *text)
{
    if (!text || !*text)
        return "";
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    return g_string_chunk_insert_const(set->text, valid);
}

wsi_shape *wsi_annot_shape_begin(wsi_annotations *set, wsi_shape_kind kind, const char *class_name,
                                 const char *name, const char *group)
{
    wsi_shape shape = {.kind = kind,
                       .class_name = keep_text(set, class_name),
                       .name = keep_text(set, name),
                       .group = keep_text(set, group),
                       .first_ring = set->rings->len};
    g_array_append_val(set->shapes, shape);
    return &g_array_index(set->shapes, wsi_shape, set->shapes->len - 1);
}

void wsi_annot_shape_colour(wsi_shape *shape, int r, int g, int b)
{
    shape->has_colour = true;
    shape->rgb[0] = (uint8_t)r;
    shape->rgb[1] = (uint8_t)g;
    shape->rgb[2] = (uint8_t)b;
}

void wsi_annot_ring_begin(wsi_annotations *set)
{
    wsi_ring ring = {.first = set->points->len};
    g_array_append_val(set->rings, ring);
}

bool wsi_annot_point_add(wsi_annotations *set, double x, double y, GError **error)
{
    if (!(fabs(x) <= COORDINATE_MAX) || !(fabs(y) <= COORDINATE_MAX)) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: %g,%g cannot be the place of a pixel",
                    set->path, x, y);
        return false;
    }
    if (set->points->len >= G_MAXUINT / sizeof(wsi_point) / 2) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED, "%s: more than %u points", set->path,
                    set->points->len);
        return false;
    }
    wsi_point p = {x, y};
    g_array_append_val(set->points, p);
    g_array_index(set->rings, wsi_ring, set->rings->len - 1).n++;
    return true;
}

static bool same_point(const wsi_point *a, const wsi_point *b)
{
    return a->x == b->x && a->y == b->y;
}

static void shape_box(const wsi_annotations *set, wsi_shape *shape)
{
    shape->x0 = shape->y0 = INFINITY;
    shape->x1 = shape->y1 = -INFINITY;
    for (int64_t r = 0; r < shape->n_rings; r++) {
        const wsi_ring *ring = &g_array_index(set->rings, wsi_ring, shape->first_ring + r);
        const wsi_point *p = &g_array_index(set->points, wsi_point, ring->first);
        for (int64_t i = 0; i < ring->n; i++) {
            shape->x0 = MIN(shape->x0, p[i].x);
            shape->y0 = MIN(shape->y0, p[i].y);
            shape->x1 = MAX(shape->x1, p[i].x);
            shape->y1 = MAX(shape->y1, p[i].y);
        }
    }
}

void wsi_annot_shape_end(wsi_annotations *set, bool count_open)
{
    wsi_shape *shape = &g_array_index(set->shapes, wsi_shape, set->shapes->len - 1);
    bool area = shape->kind == WSI_SHAPE_AREA;
    guint kept = (guint)shape->first_ring;
    for (guint r = kept; r < set->rings->len; r++) {
        wsi_ring ring = g_array_index(set->rings, wsi_ring, r);
        const wsi_point *p = ring.n ? &g_array_index(set->points, wsi_point, ring.first) : NULL;
        int64_t n = ring.n;
        while (area && ring.n > 1 && same_point(&p[0], &p[ring.n - 1]))
            ring.n--;
        if (ring.n < (area ? 3 : 1)) {
            set->facts.n_empty++;
            continue;
        }
        set->facts.n_open += area && count_open && ring.n == n;
        g_array_index(set->rings, wsi_ring, kept++) = ring;
    }
    g_array_set_size(set->rings, kept);
    shape->n_rings = kept - shape->first_ring;
    if (shape->n_rings == 0) {
        g_array_set_size(set->shapes, set->shapes->len - 1);
        return;
    }
    shape_box(set, shape);
    set->facts.n_areas += area;
    set->facts.n_lines += shape->kind == WSI_SHAPE_LINE;
    set->facts.n_points += shape->kind == WSI_SHAPE_POINTS;
}

bool wsi_annot_ellipse_add(wsi_annotations *set, double x0, double y0, double x1, double y1,
                           GError **error)
{
    double cx = (x0 + x1) / 2, cy = (y0 + y1) / 2, a = fabs(x1 - x0) / 2, b = fabs(y1 - y0) / 2;
    double r = MAX(a, b),
           n_wanted = r > ELLIPSE_ERROR_PX ? G_PI / acos(1 - ELLIPSE_ERROR_PX / r) : 0;
    int n = (int)CLAMP(ceil(n_wanted), ELLIPSE_MIN, ELLIPSE_MAX);
    double grow =
        sqrt(G_PI / (n / 2.0 * sin(2 * G_PI / n))); /* the polygon's area to the ellipse's */
    for (int i = 0; i < n; i++) {
        double t = 2 * G_PI * i / n;
        if (!wsi_annot_point_add(set, cx + a * grow * cos(t), cy + b * grow * sin(t), error))
            return false;
    }
    set->facts.n_ellipses++;
    return true;
}

bool wsi_annot_ring_to_box(wsi_annotations *set, GError **error)
{
    wsi_ring *ring = &g_array_index(set->rings, wsi_ring, set->rings->len - 1);
    g_assert(ring->n == 2);
    const wsi_point *p = &g_array_index(set->points, wsi_point, ring->first);
    const wsi_point a = p[0], b = p[1];
    g_array_set_size(set->points, (guint)ring->first);
    ring->n = 0;
    return wsi_annot_point_add(set, a.x, a.y, error) && wsi_annot_point_add(set, b.x, a.y, error) &&
           wsi_annot_point_add(set, b.x, b.y, error) && wsi_annot_point_add(set, a.x, b.y, error);
}

bool wsi_annot_ring_to_ellipse(wsi_annotations *set, GError **error)
{
    wsi_ring *ring = &g_array_index(set->rings, wsi_ring, set->rings->len - 1);
    if (ring->n < 2)
        return true; /* dropped and counted when the shape ends */
    wsi_shape box = {.first_ring = set->rings->len - 1, .n_rings = 1};
    shape_box(set, &box);
    g_array_set_size(set->points, (guint)ring->first);
    ring->n = 0;
    return wsi_annot_ellipse_add(set, box.x0, box.y0, box.x1, box.y1, error);
}

bool wsi_annot_parse_colour(const char *text, uint8_t rgb[3])
{
    if (!text || text[0] != '#' || strlen(text) != 7)
        return false;
    for (int i = 1; i < 7; i++)
        if (!g_ascii_isxdigit(text[i]))
            return false;
    for (int c = 0; c < 3; c++)
        rgb[c] = (uint8_t)(16 * g_ascii_xdigit_value(text[1 + 2 * c]) +
                           g_ascii_xdigit_value(text[2 + 2 * c]));
    return true;
}
