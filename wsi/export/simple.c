/* See simple.h. One walk: points lie on a stack, and a table knows which of them are on it. A
 * point met again closes a loop, which is taken off the stack and given out; the point stays. */
#include "wsi/export/simple.h"

#include <string.h>

/* Of pixel edges the shortest ring that touches itself has eight corners. */
enum { TOUCHING_MIN = 8 };

struct wsi_simple {
    GArray *stack;  /* of wsi_vertex */
    guint64 *slots; /* place on the stack + 1 of the point that hangs there; 0 none */
    guint64 n_slots;
};

wsi_simple *wsi_simple_create(void)
{
    wsi_simple *s = g_new0(wsi_simple, 1);
    s->stack = g_array_new(FALSE, FALSE, sizeof(wsi_vertex));
    return s;
}

void wsi_simple_destroy(wsi_simple *s)
{
    if (!s)
        return;
    g_array_unref(s->stack);
    g_free(s->slots);
    g_free(s);
}

static void make_room(wsi_simple *s, int64_t n)
{
    guint64 wanted = 16;
    while (wanted < 2 * (guint64)n)
        wanted *= 2;
    if (wanted > s->n_slots) {
        g_free(s->slots);
        s->slots = g_new(guint64, wanted);
        s->n_slots = wanted;
    }
    memset(s->slots, 0, wanted * sizeof *s->slots);
}

static const wsi_vertex *on_stack(const wsi_simple *s, guint64 place)
{
    return &g_array_index(s->stack, wsi_vertex, place);
}

/* The slot of a point, or the free one where it would hang. A place at or beyond the stack's
 * end, or one that another point has taken since, is of a loop that was given out: the slot is
 * passed over, never reused, so that chains stay whole; there are at least as many slots as
 * points twice. */
static guint64 find(const wsi_simple *s, wsi_vertex v)
{
    guint64 mask = s->n_slots - 1;
    guint64 at = ((guint64)(guint32)v.x * G_GUINT64_CONSTANT(0x9E3779B97F4A7C15) ^
                  (guint64)(guint32)v.y * G_GUINT64_CONSTANT(0xC2B2AE3D27D4EB4F));
    at ^= at >> 29;
    for (;; at++) {
        guint64 place = s->slots[at & mask];
        if (place == 0)
            return at & mask;
        if (place <= s->stack->len) {
            const wsi_vertex *p = on_stack(s, place - 1);
            if (p->x == v.x && p->y == v.y)
                return at & mask;
        }
    }
}

static void give_out(const wsi_vertex *p, int64_t n, GArray *points, GArray *ring_n,
                     GArray *ring_area)
{
    int64_t twice = 0;
    for (int64_t i = 0; i < n; i++) {
        const wsi_vertex *a = &p[i], *b = &p[i + 1 < n ? i + 1 : 0];
        twice += (int64_t)a->x * b->y - (int64_t)b->x * a->y;
    }
    int64_t area = twice / 2;
    g_array_append_vals(points, p, (guint)n);
    g_array_append_val(ring_n, n);
    g_array_append_val(ring_area, area);
}

int wsi_simple_split(wsi_simple *s, const wsi_vertex *ring, int64_t n, GArray *points,
                     GArray *ring_n, GArray *ring_area)
{
    if (n < TOUCHING_MIN) {
        give_out(ring, n, points, ring_n, ring_area);
        return 1;
    }
    int n_parts = 1;
    make_room(s, n);
    g_array_set_size(s->stack, 0);
    for (int64_t i = 0; i < n; i++) {
        guint64 slot = find(s, ring[i]), place = s->slots[slot];
        if (place == 0) {
            g_array_append_val(s->stack, ring[i]);
            s->slots[slot] = s->stack->len;
            continue;
        }
        give_out(on_stack(s, place - 1), (int64_t)(s->stack->len - (place - 1)), points, ring_n,
                 ring_area);
        g_array_set_size(s->stack, (guint)place);
        n_parts++;
    }
    give_out(on_stack(s, 0), s->stack->len, points, ring_n, ring_area);
    return n_parts;
}
