/* See annot_raster_priv.h and annot_pixel_priv.h.
 *
 * Rings are cut into runs of 64 edges with bounding boxes. A run above, below or right of the
 * window is passed over, one left of it counts as one vertical edge, so a window of a slide-wide
 * outline of a million vertices costs its own edges and a look at each run.
 *
 * Everything about an edge is computed from the whole edge in view pixels, never from what a window
 * cut off, so that a pixel's value has the same bits whatever window asks for it. */
#include "wsi/annot/paint_priv.h"

#include "wsi/annot/index_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_EDGES = 64 };

typedef struct {
    wsi_box box;
    const wsi_point *p;  /* the ring's points */
    int64_t n, from, to; /* its length; edges */
} run;

struct wsi_annot_raster {
    wsi_paint *paints;
    guint *first_run; /* (n + 1) into runs */
    GArray *runs;
    wsi_box_index *index;
};

typedef struct {
    double x0, y0, x1, y1; /* y0 < y1 */
    guint paint;
} edge;

typedef struct {
    const wsi_annot_raster *raster;
    double downsample;
    int64_t x0, x1, y0, y1; /* the window, view pixels */
    GArray *edges;          /* of edge, by y0 */
    GArray *active;         /* of guint */
    GArray *pieces;         /* of wsi_piece, the row's, by px */
    wsi_pixel_state pixel;
    wsi_cover_fn fn;
    void *user;
} job;

/* ---- creation -------------------------------------------------------------------------------- */
static const wsi_point *at(const run *r, int64_t i)
{
    return &r->p[i < r->n ? i : i - r->n];
}

static void add_runs(wsi_annot_raster *raster, const wsi_annotations *set, const wsi_ring *ring)
{
    const wsi_point *p = &g_array_index(set->points, wsi_point, ring->first);
    for (int64_t from = 0; from < ring->n; from += RUN_EDGES) {
        run r = {{INFINITY, INFINITY, -INFINITY, -INFINITY},
                 p,
                 ring->n,
                 from,
                 MIN(from + RUN_EDGES, ring->n)};
        for (int64_t i = from; i <= r.to; i++) {
            const wsi_point *q = at(&r, i);
            r.box.x0 = MIN(r.box.x0, q->x);
            r.box.y0 = MIN(r.box.y0, q->y);
            r.box.x1 = MAX(r.box.x1, q->x);
            r.box.y1 = MAX(r.box.y1, q->y);
        }
        g_array_append_val(raster->runs, r);
    }
}

wsi_annot_raster *wsi_annot_raster_create(const wsi_annotations *set, const guint *shapes,
                                          const wsi_paint *paints, guint n)
{
    wsi_annot_raster *raster = g_new0(wsi_annot_raster, 1);
    raster->paints = g_memdup2(paints, n * sizeof *paints);
    raster->first_run = g_new(guint, n + 1);
    raster->runs = g_array_new(FALSE, FALSE, sizeof(run));
    g_autofree wsi_box *boxes = g_new(wsi_box, MAX(n, 1));
    for (guint i = 0; i < n; i++) {
        const wsi_shape *s = &g_array_index(set->shapes, wsi_shape, shapes[i]);
        boxes[i] = (wsi_box){s->x0, s->y0, s->x1, s->y1};
        raster->first_run[i] = raster->runs->len;
        for (int64_t r = 0; r < s->n_rings; r++)
            add_runs(raster, set, &g_array_index(set->rings, wsi_ring, s->first_ring + r));
    }
    raster->first_run[n] = raster->runs->len;
    raster->index = wsi_box_index_create(boxes, n);
    return raster;
}

void wsi_annot_raster_destroy(wsi_annot_raster *raster)
{
    if (!raster)
        return;
    wsi_box_index_destroy(raster->index);
    g_array_unref(raster->runs);
    g_free(raster->first_run);
    g_free(raster->paints);
    g_free(raster);
}

/* ---- edges of a window ----------------------------------------------------------------------- */
static void add_edge(job *j, guint paint, double xa, double ya, double xb, double yb)
{
    edge e = ya < yb ? (edge){xa, ya, xb, yb, paint} : (edge){xb, yb, xa, ya, paint};
    if (e.y0 < e.y1 && e.y1 > (double)j->y0 && e.y0 < (double)j->y1 && MIN(xa, xb) < (double)j->x1)
        g_array_append_val(j->edges, e);
}

static void add_run(job *j, guint paint, const run *r)
{
    double s = j->downsample, left = (double)j->x0 * s, right = (double)j->x1 * s;
    if (r->box.y1 <= (double)j->y0 * s || r->box.y0 >= (double)j->y1 * s || r->box.x0 >= right)
        return;
    if (r->box.x1 <= left) { /* only its ends matter for what lies right of it */
        double x = r->box.x1 / s;
        add_edge(j, paint, x, at(r, r->from)->y / s, x, at(r, r->to)->y / s);
        return;
    }
    for (int64_t i = r->from; i < r->to; i++)
        add_edge(j, paint, at(r, i)->x / s, at(r, i)->y / s, at(r, i + 1)->x / s,
                 at(r, i + 1)->y / s);
}

static int by_top(const void *a, const void *b)
{
    double x = ((const edge *)a)->y0, y = ((const edge *)b)->y0;
    return x < y ? -1 : x > y;
}

static void collect_edges(job *j)
{
    const wsi_annot_raster *raster = j->raster;
    double s = j->downsample;
    wsi_box window = {(double)j->x0 * s, (double)j->y0 * s, (double)j->x1 * s, (double)j->y1 * s};
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(guint));
    wsi_box_index_find(raster->index, &window, found);
    for (guint i = 0; i < found->len; i++) {
        guint paint = g_array_index(found, guint, i);
        for (guint r = raster->first_run[paint]; r < raster->first_run[paint + 1]; r++)
            add_run(j, paint, &g_array_index(raster->runs, run, r));
    }
    if (j->edges->len)
        qsort(j->edges->data, j->edges->len, sizeof(edge), by_top);
}

/* ---- pieces of a row ------------------------------------------------------------------------- */
/* A piece between two columns; left of the window it is passed at once, right of it it does not
 * matter. */
static void add_piece(job *j, guint paint, int64_t px, double xa, double ya, double xb, double yb)
{
    if (!(ya < yb) || px >= j->x1)
        return;
    if (px < j->x0) {
        wsi_pixel_pass(&j->pixel, paint, ya, yb);
        return;
    }
    wsi_piece piece = {px, xa, ya, xb, yb, paint};
    g_array_append_val(j->pieces, piece);
}

/* Walks the columns of an edge within the row, from (xa,ya) down to (xb,yb). Columns beyond the
 * window's sides are taken in one step. */
static void walk(job *j, guint paint, double xa, double ya, double xb, double yb)
{
    double slope = xa == xb ? 0 : (yb - ya) / (xb - xa), y = ya, x = xa;
    double left = (double)j->x0, right = (double)j->x1;
    if (xa <= xb) {
        double px = floor(xa);
        while (px < right) {
            double next = px < left ? left : px + 1;
            bool last = next >= xb;
            double y_next = last ? yb : CLAMP(ya + (next - xa) * slope, y, yb);
            add_piece(j, paint, (int64_t)px, x, y, last ? xb : next, y_next);
            if (last)
                return;
            x = px = next;
            y = y_next;
        }
        return;
    }
    double px = ceil(xa) - 1;
    for (;;) {
        double next = px >= right ? right : px;
        bool last = next <= xb || px < left;
        double y_next = last ? yb : CLAMP(ya + (next - xa) * slope, y, yb);
        add_piece(j, paint, (int64_t)px, x, y, last ? xb : next, y_next);
        if (last)
            return;
        x = next;
        px = next - 1;
        y = y_next;
    }
}

static double x_of(const edge *e, double y)
{
    if (y <= e->y0)
        return e->x0;
    if (y >= e->y1)
        return e->x1;
    double x = e->x0 + (y - e->y0) * ((e->x1 - e->x0) / (e->y1 - e->y0));
    return e->x0 < e->x1 ? CLAMP(x, e->x0, e->x1) : CLAMP(x, e->x1, e->x0);
}

static int by_column(const void *a, const void *b)
{
    const wsi_piece *p = a, *q = b;
    if (p->px != q->px)
        return p->px < q->px ? -1 : 1;
    /* One order for equal columns, whatever window the edges were collected for. */
    if (p->paint != q->paint)
        return p->paint < q->paint ? -1 : 1;
    if (p->y0 != q->y0)
        return p->y0 < q->y0 ? -1 : 1;
    if (p->x0 != q->x0)
        return p->x0 < q->x0 ? -1 : 1;
    return p->y1 < q->y1 ? -1 : p->y1 > q->y1;
}

static void row_pieces(job *j, int64_t y, guint *next_edge)
{
    double top = (double)y, bottom = top + 1;
    for (; *next_edge < j->edges->len; (*next_edge)++) {
        if (g_array_index(j->edges, edge, *next_edge).y0 >= bottom)
            break;
        g_array_append_val(j->active, *next_edge);
    }
    wsi_pixel_row_begin(&j->pixel, top);
    g_array_set_size(j->pieces, 0);
    guint kept = 0;
    for (guint i = 0; i < j->active->len; i++) {
        guint number = g_array_index(j->active, guint, i);
        const edge *e = &g_array_index(j->edges, edge, number);
        if (e->y1 > top) {
            double ya = MAX(e->y0, top), yb = MIN(e->y1, bottom);
            walk(j, e->paint, x_of(e, ya), ya, x_of(e, yb), yb);
        }
        if (e->y1 > bottom)
            g_array_index(j->active, guint, kept++) = number;
    }
    g_array_set_size(j->active, kept);
    if (j->pieces->len > 1)
        qsort(j->pieces->data, j->pieces->len, sizeof(wsi_piece), by_column);
}

/* ---- a row ----------------------------------------------------------------------------------- */
/* Pixels x … end-1 have no edges in them: all alike. */
static void emit_run(job *j, int64_t x, int64_t y, int64_t end)
{
    double cover[WSI_COVER_SLOTS];
    if (end <= x)
        return;
    wsi_pixel_cover(&j->pixel, x, NULL, 0, cover);
    j->fn(j->user, x, y, end - x, cover);
}

static void raster_row(job *j, int64_t y)
{
    const wsi_piece *p = (const wsi_piece *)(void *)j->pieces->data;
    guint n = j->pieces->len;
    int64_t x = j->x0;
    for (guint from = 0, to; from < n; from = to) {
        int64_t px = p[from].px;
        bool only_on_side = true; /* edges along the pixel's left side are simply passed */
        for (to = from; to < n && p[to].px == px; to++)
            only_on_side &= p[to].x0 == (double)px && p[to].x1 == (double)px;
        emit_run(j, x, y, px);
        x = px;
        if (!only_on_side) {
            double cover[WSI_COVER_SLOTS];
            wsi_pixel_cover(&j->pixel, px, p + from, to - from, cover);
            j->fn(j->user, px, y, 1, cover);
            x = px + 1;
        }
        for (guint i = from; i < to; i++)
            wsi_pixel_pass(&j->pixel, p[i].paint, p[i].y0, p[i].y1);
    }
    emit_run(j, x, y, j->x1);
}

void wsi_annot_raster_run(const wsi_annot_raster *raster, double downsample, int64_t x, int64_t y,
                          int w, int h, wsi_cover_fn fn, void *user)
{
    job j = {.raster = raster,
             .downsample = downsample,
             .x0 = x,
             .x1 = x + w,
             .y0 = y,
             .y1 = y + h,
             .edges = g_array_new(FALSE, FALSE, sizeof(edge)),
             .active = g_array_new(FALSE, FALSE, sizeof(guint)),
             .pieces = g_array_new(FALSE, FALSE, sizeof(wsi_piece)),
             .fn = fn,
             .user = user};
    wsi_pixel_state_init(&j.pixel, raster->paints);
    collect_edges(&j);
    guint next_edge = 0;
    for (int64_t row = y; row < y + h; row++) {
        row_pieces(&j, row, &next_edge);
        raster_row(&j, row);
    }
    wsi_pixel_state_clear(&j.pixel);
    g_array_unref(j.edges);
    g_array_unref(j.active);
    g_array_unref(j.pieces);
}
