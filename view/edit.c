/* See edit.h. */
#include "view/edit.h"

#include "base/error.h"
#include "wsi/export/trace.h"

#include <math.h>
#include <string.h>

enum { GROW_PX = 512 };

/* A plane of bytes on a grid of the slide. */
typedef struct {
    double step;
    int64_t x, y; /* of its first pixel, in pixels */
    int w, h;
    uint8_t *in; /* (h,w) owned */
} plane;

void vw_area_init(vw_area *area)
{
    *area = (vw_area){.points = g_array_new(FALSE, FALSE, sizeof(vw_point)),
                      .ring_end = g_array_new(FALSE, FALSE, sizeof(guint))};
}

void vw_area_clear(vw_area *area)
{
    g_array_unref(area->points);
    g_array_unref(area->ring_end);
}

/* ---- painting -------------------------------------------------------------------------------- */
static const vw_point *point_at(const vw_area *area, guint i)
{
    return &g_array_index(area->points, vw_point, i);
}

static gint by_value(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Where the rings cross the line of pixel centres `at`, in pixels of the plane. */
static void find_crossings(const vw_area *area, const plane *p, double at, GArray *crossings)
{
    g_array_set_size(crossings, 0);
    for (guint r = 0, first = 0; r < area->ring_end->len; r++) {
        guint end = g_array_index(area->ring_end, guint, r);
        for (guint i = first; i < end; i++) {
            const vw_point *a = point_at(area, i), *b = point_at(area, i + 1 < end ? i + 1 : first);
            double ya = a->y / p->step, yb = b->y / p->step;
            if ((ya <= at) == (yb <= at))
                continue;
            double x = (a->x + (b->x - a->x) * (at - ya) / (yb - ya)) / p->step;
            g_array_append_val(crossings, x);
        }
        first = end;
    }
    g_array_sort(crossings, by_value);
}

static void paint_rings(const vw_area *area, plane *p, uint8_t value)
{
    g_autoptr(GArray) crossings = g_array_new(FALSE, FALSE, sizeof(double));
    for (int r = 0; r < p->h; r++) {
        find_crossings(area, p, (double)(p->y + r) + 0.5, crossings);
        for (guint i = 0; i + 1 < crossings->len; i += 2) {
            double from = g_array_index(crossings, double, i) - (double)p->x;
            double to = g_array_index(crossings, double, i + 1) - (double)p->x;
            int a = (int)CLAMP(ceil(from - 0.5), 0, p->w), b = (int)CLAMP(ceil(to - 0.5), 0, p->w);
            if (b > a)
                memset(p->in + (size_t)r * (size_t)p->w + a, value, (size_t)(b - a));
        }
    }
}

/* Squared distance of a place from the part a–b of a path. */
static double far2(double x, double y, const vw_point *a, const vw_point *b)
{
    double dx = b->x - a->x, dy = b->y - a->y, n = dx * dx + dy * dy;
    double t = n > 0 ? CLAMP(((x - a->x) * dx + (y - a->y) * dy) / n, 0, 1) : 0;
    double ex = x - a->x - t * dx, ey = y - a->y - t * dy;
    return ex * ex + ey * ey;
}

static void paint_path(const vw_area *area, plane *p, uint8_t value)
{
    double reach = area->radius;
    for (guint i = 0; i < area->points->len; i++) {
        const vw_point *a = point_at(area, i > 0 ? i - 1 : 0), *b = point_at(area, i);
        int x0 = (int)CLAMP(floor((MIN(a->x, b->x) - reach) / p->step) - (double)p->x, 0, p->w);
        int x1 = (int)CLAMP(ceil((MAX(a->x, b->x) + reach) / p->step) - (double)p->x, 0, p->w);
        int y0 = (int)CLAMP(floor((MIN(a->y, b->y) - reach) / p->step) - (double)p->y, 0, p->h);
        int y1 = (int)CLAMP(ceil((MAX(a->y, b->y) + reach) / p->step) - (double)p->y, 0, p->h);
        for (int y = y0; y < y1; y++)
            for (int x = x0; x < x1; x++)
                if (far2(((double)(p->x + x) + 0.5) * p->step, ((double)(p->y + y) + 0.5) * p->step,
                         a, b) <= reach * reach)
                    p->in[(size_t)y * (size_t)p->w + (size_t)x] = value;
    }
}

/* ---- tracing --------------------------------------------------------------------------------- */
typedef struct {
    JsonBuilder *b;
    const plane *p;
    int64_t w, h; /* the slide */
    int64_t n;    /* points so far */
} writer;

static bool write_region(void *user, const wsi_region *region, GError **error)
{
    writer *out = user;
    const wsi_vertex *v = region->points;
    json_builder_begin_array(out->b);
    for (int r = 0; r < region->n_rings; r++) {
        out->n += region->ring_n[r];
        json_builder_begin_array(out->b);
        for (int64_t i = 0; i < region->ring_n[r]; i++, v++) {
            json_builder_begin_array(out->b);
            json_builder_add_double_value(
                out->b, MIN((double)(out->p->x + v->x) * out->p->step, (double)out->w));
            json_builder_add_double_value(
                out->b, MIN((double)(out->p->y + v->y) * out->p->step, (double)out->h));
            json_builder_end_array(out->b);
        }
        json_builder_end_array(out->b);
    }
    json_builder_end_array(out->b);
    if (out->n <= VW_EDIT_POINTS)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_ARG, "the outline has more than %d points",
                VW_EDIT_POINTS);
    return false;
}

/* Answers with the outlines of the plane; class < 0: not said. */
static GBytes *answer(const plane *p, int class, int64_t w, int64_t h, GError **error)
{
    writer out = {.b = json_builder_new(), .p = p, .w = w, .h = h};
    json_builder_begin_object(out.b);
    if (class >= 0)
        vw_json_int(out.b, "class", class);
    vw_json_array(out.b, "shapes");
    wsi_tracer *tracer = wsi_tracer_create(p->w, write_region, &out);
    bool ok = true;
    for (int r = 0; ok && r < p->h; r++)
        ok = wsi_tracer_row(tracer, p->in + (size_t)r * (size_t)p->w, NULL, error);
    ok = ok && wsi_tracer_finish(tracer, error);
    wsi_tracer_destroy(tracer);
    if (!ok) {
        g_object_unref(out.b);
        return NULL;
    }
    json_builder_end_array(out.b);
    json_builder_end_object(out.b);
    return vw_json_bytes(out.b);
}

/* ---- requests -------------------------------------------------------------------------------- */
static bool fail_request(const char *what, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "no edit: %s", what);
    return false;
}

static bool take_ring(vw_area *area, JsonNode *node, GError **error)
{
    if (!node || !JSON_NODE_HOLDS_ARRAY(node))
        return fail_request("a ring is a list of points", error);
    JsonArray *ring = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(ring); i++) {
        JsonNode *at = json_array_get_element(ring, i);
        JsonArray *xy = JSON_NODE_HOLDS_ARRAY(at) ? json_node_get_array(at) : NULL;
        if (!xy || json_array_get_length(xy) != 2 ||
            !JSON_NODE_HOLDS_VALUE(json_array_get_element(xy, 0)) ||
            !JSON_NODE_HOLDS_VALUE(json_array_get_element(xy, 1)))
            return fail_request("a point is two numbers", error);
        vw_point p = {json_array_get_double_element(xy, 0), json_array_get_double_element(xy, 1)};
        if (!(fabs(p.x) < 1e9) || !(fabs(p.y) < 1e9))
            return fail_request("a point is far off", error);
        g_array_append_val(area->points, p);
        if (area->points->len > VW_EDIT_POINTS)
            return fail_request("there are too many points", error);
    }
    g_array_append_val(area->ring_end, area->points->len);
    return true;
}

static bool take_rings(vw_area *area, JsonNode *node, GError **error)
{
    if (!node || !JSON_NODE_HOLDS_ARRAY(node))
        return fail_request("a shape is a list of rings", error);
    JsonArray *rings = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(rings); i++)
        if (!take_ring(area, json_array_get_element(rings, i), error))
            return false;
    return true;
}

/* What was asked for. */
typedef struct {
    bool subtract;
    double step;
    GArray *shapes; /* of vw_area */
    vw_area area;
} request;

static void clear_area(gpointer area)
{
    vw_area_clear(area);
}

static bool take_request(request *r, JsonNode *root, GError **error)
{
    JsonObject *o = root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    if (!o)
        return fail_request("an object is wanted", error);
    const char *op = json_object_get_string_member_with_default(o, "op", "");
    r->subtract = !strcmp(op, "subtract");
    r->step = json_object_get_double_member_with_default(o, "step", 0);
    r->area.radius = json_object_get_double_member_with_default(o, "radius", 0);
    if (!r->subtract && strcmp(op, "add") != 0)
        return fail_request("op is add or subtract", error);
    if (!(r->step >= 1.0 / 64 && r->step <= 1e6))
        return fail_request("step is 1/64 to 1,000,000 pixels", error);
    JsonNode *shapes = json_object_get_member(o, "shapes");
    if (!shapes || !JSON_NODE_HOLDS_ARRAY(shapes))
        return fail_request("shapes is a list", error);
    JsonArray *list = json_node_get_array(shapes);
    for (guint i = 0; i < json_array_get_length(list); i++) {
        vw_area shape;
        vw_area_init(&shape);
        g_array_append_val(r->shapes, shape);
        if (!take_rings(&g_array_index(r->shapes, vw_area, i), json_array_get_element(list, i),
                        error))
            return false;
    }
    if (!json_object_has_member(o, "path"))
        return take_rings(&r->area, json_object_get_member(o, "area"), error);
    if (!(r->area.radius > 0 && r->area.radius < 1e6))
        return fail_request("radius is above 0", error);
    return take_ring(&r->area, json_object_get_member(o, "path"), error);
}

static void widen(const vw_area *area, double box[4])
{
    for (guint i = 0; i < area->points->len; i++) {
        const vw_point *p = point_at(area, i);
        box[0] = MIN(box[0], p->x - area->radius);
        box[1] = MIN(box[1], p->y - area->radius);
        box[2] = MAX(box[2], p->x + area->radius);
        box[3] = MAX(box[3], p->y + area->radius);
    }
}

/* The plane that holds all of it, cut off at the slide. */
static bool plan_plane(const request *r, plane *p, int64_t w, int64_t h, GError **error)
{
    double box[4] = {INFINITY, INFINITY, -INFINITY, -INFINITY};
    for (guint i = 0; i < r->shapes->len; i++)
        widen(&g_array_index(r->shapes, vw_area, i), box);
    widen(&r->area, box);
    p->step = r->step;
    double x0 = floor(MAX(0, box[0]) / r->step), y0 = floor(MAX(0, box[1]) / r->step);
    double x1 = ceil(MIN((double)w, box[2]) / r->step), y1 = ceil(MIN((double)h, box[3]) / r->step);
    double across = x1 > x0 ? x1 - x0 : 1, down = y1 > y0 ? y1 - y0 : 1;
    if (!(across * down <= VW_EDIT_PX)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "the edit covers %.0f x %.0f pixels of the screen, more than %d million: zoom "
                    "out, or draw a smaller part",
                    across, down, VW_EDIT_PX >> 20);
        return false;
    }
    p->x = isfinite(x0) ? (int64_t)x0 : 0;
    p->y = isfinite(y0) ? (int64_t)y0 : 0;
    p->w = (int)across;
    p->h = (int)down;
    p->in = g_malloc0((size_t)p->w * (size_t)p->h);
    return true;
}

static GBytes *combine(const request *r, int64_t w, int64_t h, GError **error)
{
    plane p = {0};
    if (!plan_plane(r, &p, w, h, error))
        return NULL;
    for (guint i = 0; i < r->shapes->len; i++)
        paint_rings(&g_array_index(r->shapes, vw_area, i), &p, 1);
    if (r->area.radius > 0)
        paint_path(&r->area, &p, !r->subtract);
    else
        paint_rings(&r->area, &p, !r->subtract);
    GBytes *bytes = answer(&p, -1, w, h, error);
    g_free(p.in);
    return bytes;
}

GBytes *vw_edit(const char *json, gssize n, int64_t w, int64_t h, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    request r = {.shapes = g_array_new(FALSE, FALSE, sizeof(vw_area))};
    GBytes *bytes = NULL;
    g_array_set_clear_func(r.shapes, clear_area);
    vw_area_init(&r.area);
    if (!json || !json_parser_load_from_data(parser, json, n, NULL))
        fail_request("it cannot be read as JSON", error);
    else if (take_request(&r, json_parser_get_root(parser), error))
        bytes = combine(&r, w, h, error);
    vw_area_clear(&r.area);
    g_array_unref(r.shapes);
    return bytes;
}

/* ---- accept ---------------------------------------------------------------------------------- */
/* Marks the region of the place with 1, all else with 0; true when it touches the plane's border
 * where the mask goes on. */
static bool flood(plane *p, int at_x, int at_y, uint8_t class, const vw_labels *labels)
{
    enum { MARK = 254 };
    g_autoptr(GArray) todo = g_array_new(FALSE, FALSE, sizeof(int));
    bool touches = false;
    int start = at_y * p->w + at_x, n = p->w * p->h;
    p->in[start] = MARK;
    g_array_append_val(todo, start);
    while (todo->len) {
        int i = g_array_index(todo, int, todo->len - 1), x = i % p->w, y = i / p->w;
        const int near[4] = {x > 0 ? i - 1 : -1, x + 1 < p->w ? i + 1 : -1, i - p->w,
                             i + p->w < n ? i + p->w : -1};
        g_array_set_size(todo, todo->len - 1);
        touches |= (x == 0 && p->x > 0) || (y == 0 && p->y > 0) ||
                   (x + 1 == p->w && p->x + p->w < labels->w) ||
                   (y + 1 == p->h && p->y + p->h < labels->h);
        for (int k = 0; k < 4; k++)
            if (near[k] >= 0 && p->in[near[k]] == class) {
                p->in[near[k]] = MARK;
                g_array_append_val(todo, near[k]);
            }
    }
    for (int i = 0; i < n; i++)
        p->in[i] = p->in[i] == MARK;
    return touches;
}

GBytes *vw_accept(vw_labels *labels, int64_t x_l0, int64_t y_l0, GError **error)
{
    int64_t x = MIN(x_l0 / labels->factor, labels->w - 1);
    int64_t y = MIN(y_l0 / labels->factor, labels->h - 1);
    for (int64_t reach = GROW_PX;; reach *= 2) {
        int64_t x0 = MAX(0, x - reach), y0 = MAX(0, y - reach);
        int64_t w = MIN(labels->w, x + reach) - x0, h = MIN(labels->h, y + reach) - y0;
        if (w * h > VW_EDIT_PX) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                        "the region under the pointer reaches over more than %d million pixels of "
                        "the prediction",
                        VW_EDIT_PX >> 20);
            return NULL;
        }
        plane p = {.step = labels->factor, .x = x0, .y = y0, .w = (int)w, .h = (int)h};
        p.in = g_malloc((size_t)(w * h));
        bool ok = vw_labels_read(labels, labels->factor, x0, y0, p.w, p.h, p.in, (size_t)w, error);
        uint8_t class = ok ? p.in[(y - y0) * w + (x - x0)] : 0;
        if (ok && (class == 0 || class == QS_CLASS_IGNORE)) {
            ok = false;
            g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                        "nothing is predicted at %" G_GINT64_FORMAT ",%" G_GINT64_FORMAT, x_l0,
                        y_l0);
        }
        bool more = ok && flood(&p, (int)(x - x0), (int)(y - y0), class, labels);
        GBytes *bytes =
            ok && !more ? answer(&p, class, labels->slide_w, labels->slide_h, error) : NULL;
        g_free(p.in);
        if (!more)
            return bytes;
    }
}
