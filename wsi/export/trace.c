/* Crack following by rows.
 *
 * Between a pixel of label v and a neighbour of another label lies a crack of v's boundary,
 * directed so that v is on its right. At a corner of four pixels,
 *
 *        a | b
 *       ---+---
 *        c | d
 *
 * each label comes in by one or two cracks and leaves by as many; turning right where that is
 * possible keeps diagonal neighbours apart (4-connected). Pieces of boundary above the current row
 * are chains of vertices whose two ends hang on cracks that go down into the row (slots down[x],
 * tail, and up[x], head) or along it (slots east, west). At a corner a chain is begun, prolonged,
 * or two ends are joined; a chain joined with itself is a ring.
 *
 * Chains of one region are known to belong together by union-find: joined chains, and the two
 * chains at the ends of each run of pixels. A region's outer ring closes after all its holes have
 * (its last row is below theirs), so it is given out then, and everything it held is free again.
 *
 * Invariants: 1. a slot holds the number of the chain whose end hangs there, and the chain knows
 * its two slots; 2. where a row equals the one above, nothing happens, and nothing is looked at. */
#include "wsi/export/trace.h"
#include "wsi/export/simple.h"

#include "base/error.h"

#include <string.h>

typedef struct {
    wsi_vertex at;
    guint next; /* in the chain, or in the free list */
} vertex_node;

typedef struct {
    guint first, last; /* vertices */
    guint region;
    guint *head_slot, *tail_slot;
    uint8_t label;
} chain;

typedef struct {
    guint parent;                   /* union-find */
    guint next_member, last_member; /* nodes of the same tree */
    guint first_hole, last_hole;    /* closed rings */
    double prob_sum;
} region_node;

typedef struct {
    guint first, next;
} hole_node;

/* Items by number from 1, with a free list through their first free ones. */
typedef struct {
    char *items;
    size_t size;
    guint n, capacity;
    GArray *free;
} pool;

struct wsi_tracer {
    wsi_region_fn fn;
    void *user;
    int64_t w, y;
    uint8_t *above, *below; /* (w + 2), 0 at both ends */
    guint *down, *up;       /* (w + 1) slots */
    guint east, west;       /* slots of the crack between this corner and the next */
    pool vertices, chains, regions, holes;
    GArray *points, *ring_n, *ring_area; /* of the region given out */
    wsi_simple *simple;
    GArray *ring; /* of wsi_vertex, one as it was followed */
    int64_t peak;
};

/* ---- pools ----------------------------------------------------------------------------------- */
static void pool_init(pool *p, size_t size)
{
    *p = (pool){.size = size, .n = 1, .free = g_array_new(FALSE, FALSE, sizeof(guint))};
}

static void pool_clear(pool *p)
{
    g_free(p->items);
    g_array_unref(p->free);
}

static guint pool_take(pool *p)
{
    guint i;
    if (p->free->len) {
        i = g_array_index(p->free, guint, p->free->len - 1);
        g_array_set_size(p->free, p->free->len - 1);
    } else {
        i = p->n++;
        if (i >= p->capacity) {
            p->capacity = MAX(1024u, p->capacity * 2);
            p->items = g_realloc_n(p->items, p->capacity, p->size);
        }
    }
    memset(p->items + i * p->size, 0, p->size);
    return i;
}

static void pool_give(pool *p, guint i)
{
    g_array_append_val(p->free, i);
}

static vertex_node *vertex_of(wsi_tracer *t, guint i)
{
    return (vertex_node *)(void *)t->vertices.items + i;
}

static chain *chain_of(wsi_tracer *t, guint i)
{
    return (chain *)(void *)t->chains.items + i;
}

static region_node *region_of(wsi_tracer *t, guint i)
{
    return (region_node *)(void *)t->regions.items + i;
}

static hole_node *hole_of(wsi_tracer *t, guint i)
{
    return (hole_node *)(void *)t->holes.items + i;
}

/* ---- regions --------------------------------------------------------------------------------- */
static guint find_root(wsi_tracer *t, guint i)
{
    while (region_of(t, i)->parent != i) {
        region_of(t, i)->parent = region_of(t, region_of(t, i)->parent)->parent;
        i = region_of(t, i)->parent;
    }
    return i;
}

static guint new_region(wsi_tracer *t)
{
    guint i = pool_take(&t->regions);
    region_of(t, i)->parent = region_of(t, i)->last_member = i;
    return i;
}

static void unite(wsi_tracer *t, guint i, guint j)
{
    i = find_root(t, i);
    j = find_root(t, j);
    if (i == j)
        return;
    region_node *a = region_of(t, i), *b = region_of(t, j);
    b->parent = i;
    region_of(t, a->last_member)->next_member = j;
    a->last_member = b->last_member;
    a->prob_sum += b->prob_sum;
    if (!a->first_hole)
        a->first_hole = b->first_hole;
    else
        hole_of(t, a->last_hole)->next = b->first_hole;
    if (b->first_hole)
        a->last_hole = b->last_hole;
}

/* ---- rings ----------------------------------------------------------------------------------- */
/* Twice the signed area of a ring is the sum of cross products; all terms are exact integers. */
static bool is_clockwise(wsi_tracer *t, guint first)
{
    int64_t twice = 0;
    for (guint i = first; i; i = vertex_of(t, i)->next) {
        guint next = vertex_of(t, i)->next ? vertex_of(t, i)->next : first;
        wsi_vertex a = vertex_of(t, i)->at, b = vertex_of(t, next)->at;
        twice += (int64_t)a.x * b.y - (int64_t)b.x * a.y;
    }
    return twice > 0;
}

/* Moves a ring into the arrays as rings that pass through no point twice. */
static void take_ring(wsi_tracer *t, guint first)
{
    g_array_set_size(t->ring, 0);
    for (guint i = first, next; i; i = next) {
        next = vertex_of(t, i)->next;
        g_array_append_val(t->ring, vertex_of(t, i)->at);
        pool_give(&t->vertices, i);
    }
    wsi_simple_split(t->simple, (const wsi_vertex *)(void *)t->ring->data, t->ring->len, t->points,
                     t->ring_n, t->ring_area);
}

/* Of an outer ring's parts one encloses the region, the others are pockets that it pinches off: that one
 * goes first, for which it is the last to be closed only by chance. */
static void outer_first(wsi_tracer *t)
{
    int64_t *n = (int64_t *)(void *)t->ring_n->data, *area = (int64_t *)(void *)t->ring_area->data;
    guint outer = 0;
    int64_t before = 0;
    while (area[outer] <= 0)
        before += n[outer++];
    if (outer == 0)
        return;
    wsi_vertex *p = (wsi_vertex *)(void *)t->points->data;
    size_t n_outer = (size_t)n[outer], bytes = n_outer * sizeof *p;
    g_autofree wsi_vertex *kept = g_memdup2(p + before, bytes);
    memmove(p + n_outer, p, (size_t)before * sizeof *p);
    memcpy(p, kept, bytes);
    int64_t outer_n = n[outer], outer_area = area[outer];
    memmove(n + 1, n, outer * sizeof *n);
    memmove(area + 1, area, outer * sizeof *area);
    n[0] = outer_n;
    area[0] = outer_area;
}

static bool give_out(wsi_tracer *t, guint root, guint outer, uint8_t label, GError **error)
{
    g_array_set_size(t->points, 0);
    g_array_set_size(t->ring_n, 0);
    g_array_set_size(t->ring_area, 0);
    take_ring(t, outer);
    outer_first(t);
    wsi_region region = {.label = label, .prob_sum = region_of(t, root)->prob_sum};
    for (guint i = region_of(t, root)->first_hole, next; i; i = next) {
        hole_node hole = *hole_of(t, i);
        next = hole.next;
        take_ring(t, hole.first);
        pool_give(&t->holes, i);
    }
    for (guint i = root, next; i; i = next) {
        next = region_of(t, i)->next_member;
        pool_give(&t->regions, i);
    }
    region.n_rings = (int)t->ring_n->len;
    int64_t *ring_area = (int64_t *)(void *)t->ring_area->data;
    for (int r = 0; r < region.n_rings; r++) {
        region.area_px += ring_area[r]; /* holes are negative */
        ring_area[r] = ABS(ring_area[r]);
    }
    region.ring_n = (const int64_t *)(void *)t->ring_n->data;
    region.ring_area = (const int64_t *)(void *)t->ring_area->data;
    region.points = (const wsi_vertex *)(void *)t->points->data;
    return t->fn(t->user, &region, error);
}

static bool close_ring(wsi_tracer *t, guint c, GError **error)
{
    chain closed = *chain_of(t, c);
    pool_give(&t->chains, c);
    guint root = find_root(t, closed.region);
    if (is_clockwise(t, closed.first))
        return give_out(t, root, closed.first, closed.label, error);
    guint i = pool_take(&t->holes);
    *hole_of(t, i) = (hole_node){.first = closed.first};
    region_node *region = region_of(t, root);
    if (region->first_hole)
        hole_of(t, region->last_hole)->next = i;
    else
        region->first_hole = i;
    region->last_hole = i;
    return true;
}

/* ---- chains ---------------------------------------------------------------------------------- */
static guint new_vertex(wsi_tracer *t, int64_t x)
{
    guint i = pool_take(&t->vertices);
    vertex_of(t, i)->at = (wsi_vertex){(int32_t)x, (int32_t)t->y};
    return i;
}

static void hang_tail(wsi_tracer *t, guint c, guint *slot)
{
    *slot = c;
    chain_of(t, c)->tail_slot = slot;
}

static void hang_head(wsi_tracer *t, guint c, guint *slot)
{
    *slot = c;
    chain_of(t, c)->head_slot = slot;
}

static void append(wsi_tracer *t, guint c, int64_t x)
{
    guint i = new_vertex(t, x);
    vertex_of(t, chain_of(t, c)->last)->next = i;
    chain_of(t, c)->last = i;
}

static void prepend(wsi_tracer *t, guint c, int64_t x)
{
    guint i = new_vertex(t, x);
    vertex_of(t, i)->next = chain_of(t, c)->first;
    chain_of(t, c)->first = i;
}

static void begin(wsi_tracer *t, int64_t x, uint8_t label, guint *head_slot, guint *tail_slot)
{
    guint c = pool_take(&t->chains), i = new_vertex(t, x);
    *chain_of(t, c) = (chain){.first = i, .last = i, .region = new_region(t), .label = label};
    hang_head(t, c, head_slot);
    hang_tail(t, c, tail_slot);
}

/* The tail of chain c meets the head of chain d with a turn at x. */
static bool join(wsi_tracer *t, guint c, guint d, int64_t x, GError **error)
{
    append(t, c, x);
    if (c == d)
        return close_ring(t, c, error);
    chain *a = chain_of(t, c), *b = chain_of(t, d);
    vertex_of(t, a->last)->next = b->first;
    a->last = b->last;
    hang_tail(t, c, b->tail_slot);
    unite(t, a->region, b->region);
    pool_give(&t->chains, d);
    return true;
}

/* ---- corners --------------------------------------------------------------------------------- */
/* The corner between columns x-1 and x, above the row `below`. Directions are of travel. */
static bool corner(wsi_tracer *t, int64_t x, GError **error)
{
    uint8_t a = t->above[x], b = t->above[x + 1], c = t->below[x], d = t->below[x + 1];
    guint east = t->east, west = t->west, down = t->down[x], up = t->up[x];
    guint *to_east = &t->east, *to_west = &t->west, *to_down = &t->down[x], *to_up = &t->up[x];
    t->east = t->west = t->down[x] = t->up[x] = 0;
    bool ok = true;
    if (c && a != c) { /* coming from the west, c on the right */
        if (d != c) {
            append(t, east, x);
            hang_tail(t, east, to_down);
        } else if (b != c) {
            hang_tail(t, east, to_east);
        } else {
            ok = join(t, east, up, x, error);
        }
    }
    if (ok && a && b != a) { /* from the north */
        if (c != a) {
            ok = join(t, down, west, x, error);
        } else if (d != a) {
            hang_tail(t, down, to_down);
        } else {
            append(t, down, x);
            hang_tail(t, down, to_east);
        }
    }
    if (ok && b && d != b) { /* from the east: the head of a chain will be at the next corner */
        if (a != b) {
            prepend(t, up, x);
            hang_head(t, up, to_west);
        } else if (c != b) {
            hang_head(t, west, to_west);
        } else {
            begin(t, x, b, to_west, to_down);
        }
    }
    if (ok && d && c != d) { /* from the south */
        if (b != d) {
            begin(t, x, d, to_up, to_east);
        } else if (a != d) {
            hang_head(t, up, to_up);
        } else {
            prepend(t, west, x);
            hang_head(t, west, to_up);
        }
    }
    return ok;
}

static int64_t next_difference(const uint8_t *a, const uint8_t *b, int64_t x, int64_t end)
{
    for (uint64_t u, v; x + 8 <= end; x += 8) {
        memcpy(&u, a + x, 8);
        memcpy(&v, b + x, 8);
        if (u != v)
            break;
    }
    while (x < end && a[x] == b[x])
        x++;
    return x;
}

static bool corners_of_row(wsi_tracer *t, GError **error)
{
    int64_t done = -1; /* last corner */
    for (int64_t x = 0;; x++) {
        x = next_difference(t->above + 1, t->below + 1, x, t->w);
        if (x == t->w)
            return true;
        if (done < x && !corner(t, x, error))
            return false;
        if (!corner(t, x + 1, error))
            return false;
        done = x + 1;
    }
}

/* First column at or behind x whose label is not v. */
static int64_t run_end(const uint8_t *row, int64_t x, int64_t end, uint8_t v)
{
    uint64_t all = v * UINT64_C(0x0101010101010101);
    for (uint64_t u; x + 8 <= end; x += 8) {
        memcpy(&u, row + x, 8);
        if (u != all)
            break;
    }
    while (x < end && row[x] == v)
        x++;
    return x;
}

static void runs_of_row(wsi_tracer *t, const uint8_t *prob)
{
    const uint8_t *row = t->below + 1;
    for (int64_t x = 0, end; x < t->w; x = end) {
        end = run_end(row, x, t->w, row[x]);
        if (!row[x])
            continue;
        guint region = chain_of(t, t->up[x])->region;
        unite(t, region, chain_of(t, t->down[end])->region);
        uint64_t sum = 0;
        for (int64_t i = x; prob && i < end; i++)
            sum += prob[i];
        region_of(t, find_root(t, region))->prob_sum += (double)sum;
    }
}

/* ---- the public side ------------------------------------------------------------------------- */
wsi_tracer *wsi_tracer_create(int64_t w, wsi_region_fn fn, void *user)
{
    g_assert(w > 0 && w < G_MAXINT32);
    wsi_tracer *t = g_new0(wsi_tracer, 1);
    t->fn = fn;
    t->user = user;
    t->w = w;
    t->above = g_malloc0((size_t)w + 2);
    t->below = g_malloc0((size_t)w + 2);
    t->down = g_new0(guint, (size_t)w + 1);
    t->up = g_new0(guint, (size_t)w + 1);
    pool_init(&t->vertices, sizeof(vertex_node));
    pool_init(&t->chains, sizeof(chain));
    pool_init(&t->regions, sizeof(region_node));
    pool_init(&t->holes, sizeof(hole_node));
    t->simple = wsi_simple_create();
    t->ring = g_array_new(FALSE, FALSE, sizeof(wsi_vertex));
    t->points = g_array_new(FALSE, FALSE, sizeof(wsi_vertex));
    t->ring_n = g_array_new(FALSE, FALSE, sizeof(int64_t));
    t->ring_area = g_array_new(FALSE, FALSE, sizeof(int64_t));
    return t;
}

static bool next_row(wsi_tracer *t, const uint8_t *prob, GError **error)
{
    bool changed = memcmp(t->above, t->below, (size_t)t->w + 2) != 0;
    if (changed && !corners_of_row(t, error))
        return false;
    if (changed || prob)
        runs_of_row(t, prob);
    t->peak = MAX(t->peak, (int64_t)t->vertices.n - 1 - (int64_t)t->vertices.free->len);
    uint8_t *row = t->above;
    t->above = t->below;
    t->below = row;
    t->y++;
    return true;
}

bool wsi_tracer_row(wsi_tracer *t, const uint8_t *label, const uint8_t *prob, GError **error)
{
    if (t->y >= G_MAXINT32 - 1 || t->vertices.n > G_MAXUINT / 2) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "row %" G_GINT64_FORMAT ": outlines of more than %u open vertices or %d rows",
                    t->y, G_MAXUINT / 2, G_MAXINT32);
        return false;
    }
    memcpy(t->below + 1, label, (size_t)t->w);
    return next_row(t, prob, error);
}

bool wsi_tracer_finish(wsi_tracer *t, GError **error)
{
    memset(t->below, 0, (size_t)t->w + 2);
    return next_row(t, NULL, error);
}

void wsi_tracer_destroy(wsi_tracer *t)
{
    if (!t)
        return;
    g_free(t->above);
    g_free(t->below);
    g_free(t->down);
    g_free(t->up);
    pool_clear(&t->vertices);
    pool_clear(&t->chains);
    pool_clear(&t->regions);
    pool_clear(&t->holes);
    wsi_simple_destroy(t->simple);
    g_array_unref(t->ring);
    g_array_unref(t->points);
    g_array_unref(t->ring_n);
    g_array_unref(t->ring_area);
    g_free(t);
}

int64_t wsi_tracer_peak(const wsi_tracer *t)
{
    return t->peak;
}
