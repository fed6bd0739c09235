#include "wsi/annot/pixel_priv.h"

#include <string.h>

/* Above this many edges in a pixel (a coarse view of a fine outline) the slabs are not cut at every
 * crossing, which costs the square, but evenly: exact along x, sampled along y. */
enum { EXACT_MAX = 96, EVEN_SLABS = 64 };

typedef struct {
    guint paint;
    double y;
} toggle;

typedef struct {
    double x;
    guint inside; /* index into state->inside */
} crossing;

typedef struct {
    guint paint;
    bool in;
} presence;

void wsi_pixel_state_init(wsi_pixel_state *state, const wsi_paint *paints)
{
    *state = (wsi_pixel_state){.paints = paints,
                               .toggles = g_array_new(FALSE, FALSE, sizeof(toggle)),
                               .heights = g_array_new(FALSE, FALSE, sizeof(double)),
                               .active = g_array_new(FALSE, FALSE, sizeof(crossing)),
                               .inside = g_array_new(FALSE, FALSE, sizeof(presence))};
}

void wsi_pixel_state_clear(wsi_pixel_state *state)
{
    g_array_unref(state->toggles);
    g_array_unref(state->heights);
    g_array_unref(state->active);
    g_array_unref(state->inside);
}

void wsi_pixel_row_begin(wsi_pixel_state *state, double row)
{
    g_array_set_size(state->toggles, 0);
    state->row = row;
    state->n_partial = 0;
}

/* Two equal toggles are none. */
static void flip(wsi_pixel_state *state, guint paint, double y)
{
    if (y >= state->row + 1)
        return;
    const toggle *t = (const toggle *)(void *)state->toggles->data;
    guint lo = 0, hi = state->toggles->len;
    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        if (t[mid].paint < paint || (t[mid].paint == paint && t[mid].y < y))
            lo = mid + 1;
        else
            hi = mid;
    }
    bool partial = y > state->row;
    if (lo < state->toggles->len && t[lo].paint == paint && t[lo].y == y) {
        g_array_remove_index(state->toggles, lo);
        state->n_partial -= partial;
    } else {
        toggle added = {paint, y};
        g_array_insert_val(state->toggles, lo, added);
        state->n_partial += partial;
    }
}

void wsi_pixel_pass(wsi_pixel_state *state, guint paint, double y0, double y1)
{
    flip(state, paint, y0);
    flip(state, paint, y1);
}

/* ---- what is on top -------------------------------------------------------------------------- */
static bool erased(const wsi_pixel_state *state, guint above, int layer)
{
    for (guint i = above; i < state->inside->len; i++) {
        const presence *p = &g_array_index(state->inside, presence, i);
        const wsi_paint *paint = &state->paints[p->paint];
        if (p->in && paint->erase && paint->layer == layer)
            return true;
    }
    return false;
}

/* `inside` is sorted by paint, and erasing shapes are painted above all others. */
static int top_slot(const wsi_pixel_state *state)
{
    for (guint i = state->inside->len; i-- > 0;) {
        const presence *p = &g_array_index(state->inside, presence, i);
        const wsi_paint *paint = &state->paints[p->paint];
        if (p->in && !paint->erase && !erased(state, i + 1, paint->layer))
            return paint->slot;
    }
    return 0;
}

static guint find_inside(wsi_pixel_state *state, guint paint)
{
    guint lo = 0, hi = state->inside->len;
    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        if (g_array_index(state->inside, presence, mid).paint < paint)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void add_inside(wsi_pixel_state *state, guint paint)
{
    guint i = find_inside(state, paint);
    if (i < state->inside->len && g_array_index(state->inside, presence, i).paint == paint)
        return;
    presence p = {paint, false};
    g_array_insert_val(state->inside, i, p);
}

static void list_inside(wsi_pixel_state *state, const wsi_piece *pieces, guint n)
{
    g_array_set_size(state->inside, 0);
    for (guint i = 0; i < state->toggles->len; i++)
        add_inside(state, g_array_index(state->toggles, toggle, i).paint);
    for (guint i = 0; i < n; i++)
        add_inside(state, pieces[i].paint);
}

/* The state on the pixel's left side at height y. */
static void left_at(wsi_pixel_state *state, double y)
{
    for (guint i = 0; i < state->inside->len; i++)
        g_array_index(state->inside, presence, i).in = false;
    for (guint i = 0, at = 0; i < state->toggles->len; i++) {
        const toggle *t = &g_array_index(state->toggles, toggle, i);
        while (g_array_index(state->inside, presence, at).paint != t->paint)
            at++; /* both are sorted by paint */
        if (t->y <= y)
            g_array_index(state->inside, presence, at).in ^= true;
    }
}

/* ---- slabs ----------------------------------------------------------------------------------- */
static double x_at(const wsi_piece *p, double y)
{
    if (y <= p->y0)
        return p->x0;
    if (y >= p->y1)
        return p->x1;
    return p->x0 + (y - p->y0) * (p->x1 - p->x0) / (p->y1 - p->y0);
}

static void add_crossings(wsi_pixel_state *state, const wsi_piece *pieces, guint n)
{
    for (guint i = 0; i < n; i++)
        for (guint j = i + 1; j < n; j++) {
            double y0 = MAX(pieces[i].y0, pieces[j].y0), y1 = MIN(pieces[i].y1, pieces[j].y1);
            if (!(y0 < y1))
                continue;
            double d0 = x_at(&pieces[i], y0) - x_at(&pieces[j], y0);
            double d1 = x_at(&pieces[i], y1) - x_at(&pieces[j], y1);
            if ((d0 < 0 && d1 > 0) || (d0 > 0 && d1 < 0)) {
                double y = y0 + (y1 - y0) * (d0 / (d0 - d1));
                g_array_append_val(state->heights, y);
            }
        }
}

static gint by_height(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void cut_slabs(wsi_pixel_state *state, const wsi_piece *pieces, guint n)
{
    g_array_set_size(state->heights, 0);
    if (n > EXACT_MAX) {
        for (int i = 0; i <= EVEN_SLABS; i++) {
            double y = state->row + (double)i / EVEN_SLABS;
            g_array_append_val(state->heights, y);
        }
        return;
    }
    double bottom = state->row + 1;
    g_array_append_val(state->heights, state->row);
    g_array_append_val(state->heights, bottom);
    for (guint i = 0; i < state->toggles->len; i++)
        g_array_append_val(state->heights, g_array_index(state->toggles, toggle, i).y);
    for (guint i = 0; i < n; i++) {
        g_array_append_val(state->heights, pieces[i].y0);
        g_array_append_val(state->heights, pieces[i].y1);
    }
    add_crossings(state, pieces, n);
    g_array_sort(state->heights, by_height);
}

static void cover_slab(wsi_pixel_state *state, int64_t px, const wsi_piece *pieces, guint n,
                       double y0, double y1, double *cover)
{
    double y = (y0 + y1) / 2, left = (double)px;
    left_at(state, y);
    g_array_set_size(state->active, 0);
    for (guint i = 0; i < n; i++) {
        if (!(pieces[i].y0 <= y && y < pieces[i].y1))
            continue;
        crossing c = {x_at(&pieces[i], y), find_inside(state, pieces[i].paint)};
        guint at = state->active->len;
        while (at > 0 && g_array_index(state->active, crossing, at - 1).x > c.x)
            at--;
        g_array_insert_val(state->active, at, c);
    }
    for (guint i = 0; i < state->active->len; i++) {
        const crossing *c = &g_array_index(state->active, crossing, i);
        double x = CLAMP(c->x, left, (double)px + 1);
        if (x > left)
            cover[top_slot(state)] += (x - left) * (y1 - y0);
        left = x;
        g_array_index(state->inside, presence, c->inside).in ^= true;
    }
    cover[top_slot(state)] += ((double)px + 1 - left) * (y1 - y0);
}

void wsi_pixel_cover(wsi_pixel_state *state, int64_t px, const wsi_piece *pieces, guint n,
                     double *cover)
{
    memset(cover, 0, WSI_COVER_SLOTS * sizeof *cover);
    if (n == 0 && state->toggles->len == 0) {
        cover[0] = 1;
        return;
    }
    list_inside(state, pieces, n);
    cut_slabs(state, pieces, n);
    const double *h = (const double *)(void *)state->heights->data;
    for (guint i = 0; i + 1 < state->heights->len; i++)
        if (h[i] < h[i + 1])
            cover_slab(state, px, pieces, n, h[i], h[i + 1], cover);
}
