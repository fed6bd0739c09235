/* See lost.h. The kept patches' edges cut the plane into a grid of boxes, each wholly covered or not
 * at all, whatever the stride is. Runs of boxes without a patch are read from the mask in pieces. */
#include "jobs/tile/lost.h"

#include "base/error.h"

#include <string.h>

enum { PIECE_W = 4096, PIECE_H = 64 };
static const double MUCH = 0.05;

typedef struct {
    int64_t x0, y0, x1, y1;
} box;

static gint by_value(gconstpointer a, gconstpointer b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorted, each once. */
static void tidy(GArray *cuts)
{
    g_array_sort(cuts, by_value);
    guint n = 0;
    for (guint i = 0; i < cuts->len; i++) {
        int64_t v = g_array_index(cuts, int64_t, i);
        if (n == 0 || g_array_index(cuts, int64_t, n - 1) != v)
            g_array_index(cuts, int64_t, n++) = v;
    }
    g_array_set_size(cuts, n);
}

static guint place(const GArray *cuts, int64_t value)
{
    guint at = 0;
    g_array_binary_search((GArray *)(uintptr_t)cuts, &value, by_value, &at);
    return at;
}

static GArray *cuts_of(const GArray *boxes, bool across, int64_t end)
{
    GArray *cuts = g_array_new(FALSE, FALSE, sizeof(int64_t));
    const int64_t zero = 0;
    g_array_append_val(cuts, zero);
    g_array_append_val(cuts, end);
    for (guint i = 0; i < boxes->len; i++) {
        const box *b = &g_array_index(boxes, box, i);
        const int64_t from = across ? b->x0 : b->y0, to = across ? b->x1 : b->y1;
        g_array_append_val(cuts, from);
        g_array_append_val(cuts, to);
    }
    tidy(cuts);
    return cuts;
}

static bool add_box(job_lost *lost, wsi_mask *mask, const wsi_view *view, const box *b,
                    uint8_t *label, GError **error)
{
    int64_t counts[256];
    for (int64_t y = b->y0; y < b->y1; y += PIECE_H)
        for (int64_t x = b->x0; x < b->x1; x += PIECE_W) {
            int w = (int)MIN(PIECE_W, b->x1 - x), h = (int)MIN(PIECE_H, b->y1 - y);
            if (!qs_stop_check(error) ||
                !wsi_mask_read_counts(mask, view, x, y, w, h, label, (size_t)w, counts, error))
                return false;
            for (int c = 0; c < QS_CLASSES_MAX; c++)
                lost->lost[c] += counts[c];
        }
    return true;
}

static bool add_uncovered(job_lost *lost, const GArray *boxes, wsi_mask *mask, const wsi_view *view,
                          GError **error)
{
    g_autoptr(GArray) xs = cuts_of(boxes, true, view->w);
    g_autoptr(GArray) ys = cuts_of(boxes, false, view->h);
    guint n_x = xs->len - 1, n_y = ys->len - 1;
    g_autofree uint8_t *covered = g_malloc0((gsize)MAX(n_x, 1) * MAX(n_y, 1));
    for (guint i = 0; i < boxes->len; i++) {
        const box *b = &g_array_index(boxes, box, i);
        guint from = place(xs, b->x0), to = place(xs, b->x1), end = place(ys, b->y1);
        for (guint y = place(ys, b->y0); y < end; y++)
            memset(covered + (size_t)y * n_x + from, 1, to - from);
    }
    g_autofree uint8_t *label = g_malloc((gsize)PIECE_W * PIECE_H);
    for (guint y = 0; y < n_y; y++)
        for (guint x = 0, end; x < n_x; x = end) {
            bool is = covered[(size_t)y * n_x + x];
            for (end = x + 1; end < n_x && covered[(size_t)y * n_x + end] == is;)
                end++;
            const box run = {g_array_index(xs, int64_t, x), g_array_index(ys, int64_t, y),
                             g_array_index(xs, int64_t, end), g_array_index(ys, int64_t, y + 1)};
            if (!is && !add_box(lost, mask, view, &run, label, error))
                return false;
        }
    return true;
}

bool job_lost_count(job_lost *lost, db_store *store, int64_t slide_id, const wsi_view *view,
                    const wsi_grid *grid, wsi_mask *mask, GError **error)
{
    const db_store_config *config = db_store_get_config(store);
    memset(lost, 0, sizeof *lost);
    GArray *patches = db_patch_list(store, slide_id, true, error);
    if (!patches)
        return false;
    g_autoptr(GArray) boxes = g_array_new(FALSE, FALSE, sizeof(box));
    for (guint i = 0; i < patches->len; i++) {
        const db_patch *p = &g_array_index(patches, db_patch, i);
        int64_t x, y;
        int w, h;
        wsi_grid_cell(grid, view, config->patch_px, config->stride_px, p->cell, &x, &y, &w, &h);
        const box b = {x, y, MIN(x + w, view->w), MIN(y + h, view->h)};
        g_array_append_val(boxes, b);
        for (int c = 0; c < config->classes.n; c++)
            lost->kept[c] += p->class_px[c];
    }
    g_array_unref(patches);
    return add_uncovered(lost, boxes, mask, view, error);
}

char *job_lost_text(const job_lost *lost, const qs_classes *classes)
{
    GString *text = g_string_new(NULL);
    for (int c = 1; c < classes->n; c++)
        if (lost->lost[c] > 0)
            g_string_append_printf(text,
                                   "%sclass %d (%s): %" G_GINT64_FORMAT
                                   " annotated pixels lie in no kept patch, %" G_GINT64_FORMAT
                                   " in kept ones",
                                   text->len ? "\n" : "", c, classes->items[c].name, lost->lost[c],
                                   lost->kept[c]);
    return g_string_free(text, text->len == 0);
}

int job_lost_whole_class(const job_lost *lost, const qs_classes *classes)
{
    for (int c = 1; c < classes->n; c++)
        if (lost->lost[c] > 0 && lost->kept[c] == 0)
            return c;
    return -1;
}

bool job_lost_is_much(const job_lost *lost, const qs_classes *classes)
{
    for (int c = 1; c < classes->n; c++)
        if ((double)lost->lost[c] > MUCH * (double)(lost->lost[c] + lost->kept[c]))
            return true;
    return false;
}
