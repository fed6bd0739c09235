/* See surface.h. The k-d tree is the array of points itself: a range's median, by the wider side of
 * its box, sits in its middle, smaller ones before it. Queries run in the tree's own order of the
 * other outline, so each is near the one before, and starts from the bound
 *     d(q) <= d(q') + |q - q'|,
 * which cuts most of the tree off at once. All comparisons are of squared integers, so distances
 * are exact up to the last square root. */
#include "infer/score/surface.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

enum { LEAF = 12 };

typedef struct {
    int32_t x, y;
} point;

struct inf_surface {
    int n_classes;
    int64_t w, h;
    int64_t n_rows;
    size_t n_points;
    uint8_t *above, *row;           /* (w) the last two rows; what is no class is 0 */
    GArray *points[QS_CLASSES_MAX]; /* of point */
};

inf_surface *inf_surface_create(int n_classes, int64_t w, int64_t h)
{
    inf_surface *s = g_new0(inf_surface, 1);
    *s = (inf_surface){.n_classes = n_classes, .w = w, .h = h};
    s->above = g_malloc0((gsize)w);
    s->row = g_malloc0((gsize)w);
    for (int c = 1; c < n_classes; c++)
        s->points[c] = g_array_new(FALSE, FALSE, sizeof(point));
    return s;
}

void inf_surface_destroy(inf_surface *s)
{
    if (!s)
        return;
    for (int c = 1; c < s->n_classes; c++)
        g_array_unref(s->points[c]);
    g_free(s->above);
    g_free(s->row);
    g_free(s);
}

/* Takes the surface pixels of s->row, whose number is y; below NULL: nothing. */
static void take_row(inf_surface *s, const uint8_t *below, int64_t y)
{
    for (int64_t x = 0; x < s->w; x++) {
        uint8_t c = s->row[x];
        if (c == 0)
            continue;
        bool inside = x > 0 && x + 1 < s->w && y > 0 && below && s->row[x - 1] == c &&
                      s->row[x + 1] == c && s->above[x] == c && below[x] == c;
        if (inside)
            continue;
        point p = {.x = (int32_t)x, .y = (int32_t)y};
        g_array_append_val(s->points[c], p);
        s->n_points++;
    }
}

bool inf_surface_add_row(inf_surface *s, const uint8_t *label, GError **error)
{
    g_autofree uint8_t *clean = NULL;
    for (int64_t x = 0; !clean && x < s->w; x++)
        if (label[x] >= s->n_classes)
            clean = g_memdup2(label, (gsize)s->w);
    for (int64_t x = 0; clean && x < s->w; x++)
        if (clean[x] >= s->n_classes)
            clean[x] = 0;
    const uint8_t *next = clean ? clean : label;
    if (s->n_rows > 0)
        take_row(s, next, s->n_rows - 1);
    uint8_t *spare = s->above;
    s->above = s->row;
    s->row = spare;
    memcpy(s->row, next, (size_t)s->w);
    if (++s->n_rows == s->h)
        take_row(s, NULL, s->h - 1);
    if (s->n_points <= INF_SURFACE_MAX)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MEMORY,
                "the outline has more than %d pixels by row %" G_GINT64_FORMAT
                " of %" G_GINT64_FORMAT "; score without distances (--no-distances)",
                INF_SURFACE_MAX, s->n_rows, s->h);
    return false;
}

size_t inf_surface_points(const inf_surface *s, int cls)
{
    return s->points[cls]->len;
}

int64_t inf_surface_memory(const inf_surface *a, const inf_surface *b)
{
    size_t most = 0;
    for (int c = 1; c < a->n_classes; c++)
        most = MAX(most, (size_t)a->points[c]->len + b->points[c]->len);
    return (int64_t)((a->n_points + b->n_points) * sizeof(point) +
                     /* distances, what qsort copies of them, the tree's sides */
                     most * (2 * sizeof(uint64_t) + sizeof(uint8_t)));
}

/* ---- the tree ------------------------------------------------------------------------------- */

typedef struct {
    point *p;
    uint8_t *by_y; /* (n) of a middle: split by y? */
    size_t n;
} tree;

static int32_t side_of(const point *p, bool by_y)
{
    return by_y ? p->y : p->x;
}

static void swap(point *a, point *b)
{
    point t = *a;
    *a = *b;
    *b = t;
}

/* Hoare's selection: afterwards p[k] is where sorting would put it, none before it is larger. */
static void select_middle(point *p, int64_t lo, int64_t hi, int64_t k, bool by_y)
{
    while (lo < hi) {
        int32_t pivot = side_of(&p[lo + (hi - lo) / 2], by_y);
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (side_of(&p[i], by_y) < pivot)
                i++;
            while (side_of(&p[j], by_y) > pivot)
                j--;
            if (i <= j)
                swap(&p[i++], &p[j--]);
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            return;
    }
}

static void build(const tree *t, size_t lo, size_t hi)
{
    while (hi - lo > LEAF) {
        int32_t min_x = G_MAXINT32, max_x = G_MININT32, min_y = G_MAXINT32, max_y = G_MININT32;
        for (size_t i = lo; i < hi; i++) {
            min_x = MIN(min_x, t->p[i].x);
            max_x = MAX(max_x, t->p[i].x);
            min_y = MIN(min_y, t->p[i].y);
            max_y = MAX(max_y, t->p[i].y);
        }
        bool by_y = (int64_t)max_y - min_y > (int64_t)max_x - min_x;
        size_t middle = lo + (hi - lo) / 2;
        select_middle(t->p, (int64_t)lo, (int64_t)hi - 1, (int64_t)middle, by_y);
        t->by_y[middle] = by_y;
        build(t, lo, middle);
        lo = middle + 1;
    }
}

static uint64_t squared(const point *a, const point *b)
{
    int64_t dx = (int64_t)a->x - b->x, dy = (int64_t)a->y - b->y;
    return (uint64_t)(dx * dx + dy * dy);
}

static void nearest(const tree *t, size_t lo, size_t hi, const point *q, uint64_t *best)
{
    while (hi - lo > LEAF) {
        size_t middle = lo + (hi - lo) / 2;
        const point *m = &t->p[middle];
        bool by_y = t->by_y[middle];
        int64_t off = (int64_t)side_of(q, by_y) - side_of(m, by_y);
        *best = MIN(*best, squared(q, m));
        bool before = off < 0;
        nearest(t, before ? lo : middle + 1, before ? middle : hi, q, best);
        if ((uint64_t)(off * off) >= *best)
            return;
        lo = before ? middle + 1 : lo;
        hi = before ? hi : middle;
    }
    for (size_t i = lo; i < hi; i++)
        *best = MIN(*best, squared(q, &t->p[i]));
}

/* Squared distances of every point of `from` to the nearest of `to`. */
static void directed(const tree *from, const tree *to, uint64_t *out)
{
    uint64_t last = UINT64_MAX;
    for (size_t i = 0; i < from->n; i++) {
        uint64_t best = UINT64_MAX;
        if (i > 0) {
            /* A little more than the bound, so that rounding cannot cut the nearest off. */
            double bound = sqrt((double)last) + sqrt((double)squared(&from->p[i], &from->p[i - 1]));
            best = (uint64_t)(bound * bound * (1 + 1e-9)) + 2;
        }
        nearest(to, 0, to->n, &from->p[i], &best);
        out[i] = last = best;
    }
}

/* ---- figures -------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double mean_root(const uint64_t *d, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += sqrt((double)d[i]);
    return sum / (double)n;
}

/* NumPy's default percentile of sorted squared distances. */
static double percentile(const uint64_t *d, size_t n, double share)
{
    double at = share * (double)(n - 1);
    size_t i = (size_t)at;
    double low = sqrt((double)d[i]), high = sqrt((double)d[MIN(i + 1, n - 1)]);
    return low + (at - (double)i) * (high - low);
}

static double share_within(const uint64_t *d, size_t n, double px)
{
    size_t within = 0;
    for (size_t i = 0; i < n; i++)
        within += sqrt((double)d[i]) <= px;
    return (double)within / (double)n;
}

static void figures(uint64_t *d, size_t na, size_t nb, double px_size, double tolerance,
                    inf_distances *out)
{
    double pa = share_within(d, na, tolerance / px_size);
    double pb = share_within(d + na, nb, tolerance / px_size);
    out->assd = (mean_root(d, na) + mean_root(d + na, nb)) / 2 * px_size;
    out->boundary_f1 = pa + pb > 0 ? 2 * pa * pb / (pa + pb) : 0;
    qsort(d, na, sizeof *d, by_size);
    qsort(d + na, nb, sizeof *d, by_size);
    size_t ia = (size_t)(0.95 * (double)na), ib = (size_t)(0.95 * (double)nb);
    out->hd95_pymic = sqrt((double)MAX(d[ia], d[na + ib])) * px_size;
    qsort(d, na + nb, sizeof *d, by_size);
    out->hd95 = percentile(d, na + nb, 0.95) * px_size;
}

bool inf_surface_compare(inf_surface *a, inf_surface *b, int cls, double px_size, double tolerance,
                         inf_distances *out, GError **error)
{
    size_t na = a->points[cls]->len, nb = b->points[cls]->len, n = na + nb;
    *out = (inf_distances){.boundary_f1 = 1};
    if (n == 0)
        return true;
    if (na == 0 || nb == 0) {
        double diagonal = sqrt((double)a->w * (double)a->w + (double)a->h * (double)a->h) * px_size;
        *out = (inf_distances){
            .hd95 = diagonal, .hd95_pymic = diagonal, .assd = diagonal, .one_empty = true};
        return true;
    }
    g_autofree uint64_t *d = g_try_new(uint64_t, n);
    g_autofree uint8_t *by_y = g_try_malloc0(n);
    if (!d || !by_y) {
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY,
                    "%zu bytes for the distances of %zu outline pixels cannot be had",
                    n * (sizeof *d + 1), n);
        return false;
    }
    tree ta = {.p = (point *)(void *)a->points[cls]->data, .by_y = by_y, .n = na};
    tree tb = {.p = (point *)(void *)b->points[cls]->data, .by_y = by_y + na, .n = nb};
    build(&ta, 0, na);
    build(&tb, 0, nb);
    directed(&ta, &tb, d);
    directed(&tb, &ta, d + na);
    figures(d, na, nb, px_size, tolerance, out);
    return true;
}
