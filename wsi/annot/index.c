#include "wsi/annot/index_priv.h"

#include <math.h>
#include <string.h>

enum { FANOUT = 16, LEVELS_MAX = 9 /* 16^9 boxes */ };

struct wsi_box_index {
    guint n;
    guint *order; /* boxes in tree order */
    int n_levels; /* 0: the boxes themselves in tree order, then their unions */
    wsi_box *level[LEVELS_MAX];
    guint count[LEVELS_MAX];
};

typedef struct {
    const wsi_box *boxes;
    bool by_x;
} sort_key;

static gint compare(gconstpointer a, gconstpointer b, gpointer user)
{
    const sort_key *key = user;
    const wsi_box *p = &key->boxes[*(const guint *)a], *q = &key->boxes[*(const guint *)b];
    double u = key->by_x ? p->x0 + p->x1 : p->y0 + p->y1,
           v = key->by_x ? q->x0 + q->x1 : q->y0 + q->y1;
    return u < v ? -1 : u > v;
}

static void sort_boxes(wsi_box_index *index, const wsi_box *boxes)
{
    sort_key key = {boxes, false};
    g_qsort_with_data(index->order, (gint)index->n, sizeof *index->order, compare, &key);
    guint per_strip = FANOUT * MAX(1u, (guint)sqrt((double)index->n / FANOUT));
    key.by_x = true;
    for (guint from = 0; from < index->n; from += per_strip)
        g_qsort_with_data(index->order + from, (gint)MIN(per_strip, index->n - from),
                          sizeof *index->order, compare, &key);
}

static wsi_box unite(const wsi_box *boxes, guint n)
{
    wsi_box all = boxes[0];
    for (guint i = 1; i < n; i++) {
        all.x0 = MIN(all.x0, boxes[i].x0);
        all.y0 = MIN(all.y0, boxes[i].y0);
        all.x1 = MAX(all.x1, boxes[i].x1);
        all.y1 = MAX(all.y1, boxes[i].y1);
    }
    return all;
}

wsi_box_index *wsi_box_index_create(const wsi_box *boxes, guint n)
{
    wsi_box_index *index = g_new0(wsi_box_index, 1);
    index->n = n;
    if (n == 0)
        return index;
    index->order = g_new(guint, n);
    for (guint i = 0; i < n; i++)
        index->order[i] = i;
    sort_boxes(index, boxes);
    index->level[0] = g_new(wsi_box, n);
    index->count[0] = n;
    for (guint i = 0; i < n; i++)
        index->level[0][i] = boxes[index->order[i]];
    int k = 0;
    for (; index->count[k] > 1 && k + 1 < LEVELS_MAX; k++) {
        guint below = index->count[k], above = (below + FANOUT - 1) / FANOUT;
        index->level[k + 1] = g_new(wsi_box, above);
        index->count[k + 1] = above;
        for (guint i = 0; i < above; i++)
            index->level[k + 1][i] =
                unite(index->level[k] + i * FANOUT, MIN(FANOUT, below - i * FANOUT));
    }
    index->n_levels = k + 1;
    return index;
}

void wsi_box_index_destroy(wsi_box_index *index)
{
    if (!index)
        return;
    for (int k = 0; k < index->n_levels; k++)
        g_free(index->level[k]);
    g_free(index->order);
    g_free(index);
}

static bool touch(const wsi_box *a, const wsi_box *b)
{
    return a->x0 <= b->x1 && b->x0 <= a->x1 && a->y0 <= b->y1 && b->y0 <= a->y1;
}

static void find_below(const wsi_box_index *index, int k, guint i, const wsi_box *window,
                       GArray *found)
{
    if (!touch(&index->level[k][i], window))
        return;
    if (k == 0) {
        g_array_append_val(found, index->order[i]);
        return;
    }
    guint end = MIN((i + 1) * FANOUT, index->count[k - 1]);
    for (guint child = i * FANOUT; child < end; child++)
        find_below(index, k - 1, child, window, found);
}

static gint by_number(gconstpointer a, gconstpointer b)
{
    guint x = *(const guint *)a, y = *(const guint *)b;
    return x < y ? -1 : x > y;
}

void wsi_box_index_find(const wsi_box_index *index, const wsi_box *window, GArray *found)
{
    if (index->n == 0)
        return;
    int top = index->n_levels - 1;
    for (guint i = 0; i < index->count[top]; i++)
        find_below(index, top, i, window, found);
    g_array_sort(found, by_number);
}
