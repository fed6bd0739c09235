/* Counts the rings that cross themselves. They are filled even-odd whatever is found here; the
 * count tells a user that an outline may not mean what was drawn.
 *
 * Edges are taken in runs of 16 with bounding boxes; runs sorted by their upper end are compared
 * with those still open (a sweep), and only overlapping boxes have their edges compared. A ring
 * that doubles back on itself everywhere would still cost its length squared, so the work per file
 * is bounded, and what was not examined is counted too. */
#include "wsi/annot/annot_priv.h"

#include <math.h>
#include <stdlib.h>

/* Comparisons: an ordinary outline takes about 50 an edge (a run meets its two neighbours and
 * itself). */
enum { RUN_EDGES = 16, WORK_BASE = 20 * 1000 * 1000, WORK_PER_POINT = 300 };

typedef struct {
    double x0, y0, x1, y1;
    int64_t from, to; /* edges */
} run_box;

typedef struct {
    const wsi_point *p;
    int64_t n;
} ring_view;

static const wsi_point *at(const ring_view *ring, int64_t i)
{
    return &ring->p[i < ring->n ? i : i - ring->n];
}

static double side(const wsi_point *a, const wsi_point *b, const wsi_point *c)
{
    return (b->x - a->x) * (c->y - a->y) - (b->y - a->y) * (c->x - a->x);
}

/* Do edges i and j cross in a point inside both? Touching is no crossing. */
static bool edges_cross(const ring_view *ring, int64_t i, int64_t j)
{
    const wsi_point *a = at(ring, i), *b = at(ring, i + 1), *c = at(ring, j), *d = at(ring, j + 1);
    if (MAX(a->x, b->x) <= MIN(c->x, d->x) || MAX(c->x, d->x) <= MIN(a->x, b->x) ||
        MAX(a->y, b->y) <= MIN(c->y, d->y) || MAX(c->y, d->y) <= MIN(a->y, b->y))
        return false;
    double s1 = side(a, b, c), s2 = side(a, b, d), s3 = side(c, d, a), s4 = side(c, d, b);
    return ((s1 > 0 && s2 < 0) || (s1 < 0 && s2 > 0)) && ((s3 > 0 && s4 < 0) || (s3 < 0 && s4 > 0));
}

static int by_y(const void *a, const void *b)
{
    double x = ((const run_box *)a)->y0, y = ((const run_box *)b)->y0;
    return x < y ? -1 : x > y;
}

static GArray *make_runs(const ring_view *ring)
{
    GArray *runs = g_array_new(FALSE, FALSE, sizeof(run_box));
    for (int64_t from = 0; from < ring->n; from += RUN_EDGES) {
        run_box run = {INFINITY,  INFINITY, -INFINITY,
                       -INFINITY, from,     MIN(from + RUN_EDGES, ring->n)};
        for (int64_t i = from; i <= run.to; i++) {
            const wsi_point *p = at(ring, i);
            run.x0 = MIN(run.x0, p->x);
            run.y0 = MIN(run.y0, p->y);
            run.x1 = MAX(run.x1, p->x);
            run.y1 = MAX(run.y1, p->y);
        }
        g_array_append_val(runs, run);
    }
    g_array_sort(runs, by_y);
    return runs;
}

static bool runs_cross(const ring_view *ring, const run_box *a, const run_box *b, int64_t *work)
{
    for (int64_t i = a->from; i < a->to; i++)
        for (int64_t j = a == b ? i + 1 : b->from; j < b->to; j++)
            if (edges_cross(ring, i, j))
                return true;
    *work += (a->to - a->from) * (b->to - b->from);
    return false;
}

/* 1 it does, 0 it does not, -1 too much work. */
static int ring_crosses(const ring_view *ring, int64_t work_max, int64_t *work)
{
    g_autoptr(GArray) runs = make_runs(ring);
    g_autoptr(GArray) open = g_array_new(FALSE, FALSE, sizeof(guint));
    for (guint i = 0; i < runs->len; i++) {
        const run_box *a = &g_array_index(runs, run_box, i);
        g_array_append_val(open, i);
        for (guint k = 0; k < open->len;) {
            const run_box *b = &g_array_index(runs, run_box, g_array_index(open, guint, k));
            (*work)++;
            if (b->y1 < a->y0) {
                g_array_remove_index_fast(open, k);
                continue;
            }
            if (a->x0 <= b->x1 && b->x0 <= a->x1 && runs_cross(ring, a, b, work))
                return 1;
            k++;
        }
        if (*work > work_max)
            return -1;
    }
    return 0;
}

void wsi_annot_count_crossings(wsi_annotations *set)
{
    int64_t work = 0, work_max = WORK_BASE + (int64_t)WORK_PER_POINT * set->points->len;
    for (guint i = 0; i < set->shapes->len; i++) {
        const wsi_shape *shape = &g_array_index(set->shapes, wsi_shape, i);
        for (int64_t r = 0; shape->kind == WSI_SHAPE_AREA && r < shape->n_rings; r++) {
            const wsi_ring *range = &g_array_index(set->rings, wsi_ring, shape->first_ring + r);
            ring_view ring = {&g_array_index(set->points, wsi_point, range->first), range->n};
            int crosses = work > work_max ? -1 : ring_crosses(&ring, work_max, &work);
            set->facts.n_self_crossing += crosses > 0;
            set->facts.n_not_examined += crosses < 0;
        }
    }
}
