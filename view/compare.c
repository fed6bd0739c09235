/* See compare.h. Both ways of reading are one: cells on a regular grid (the prediction's pixels, or
 * blocks of them) are summed into the output pixel that their centre lies in; an output pixel
 * without a centre takes the cell that it lies in. */
#include "view/compare.h"

#include "base/report.h"

#include <math.h>
#include <string.h>

enum { STRIP_PX = 1 << 20 }; /* pixels of each read at once */

uint8_t vw_cell_byte(int64_t found, int64_t false_, int64_t missed, int64_t n)
{
    if (n <= 0)
        return 0;
    return (uint8_t)((found * 3 + n - 1) / n | (false_ * 7 + n - 1) / n << 2 |
                     (missed * 7 + n - 1) / n << 5);
}

static void count(vw_cell *cell, uint8_t pred, uint8_t other)
{
    if (other == QS_CLASS_IGNORE || pred == QS_CLASS_IGNORE)
        return;
    cell->found = (uint16_t)(cell->found + (pred != 0 && pred == other));
    cell->false_ = (uint16_t)(cell->false_ + (pred != 0 && pred != other));
    cell->missed = (uint16_t)(cell->missed + (other != 0 && pred != other));
}

void vw_blocks_clear(vw_blocks *blocks)
{
    g_free(blocks->cells);
    *blocks = (vw_blocks){0};
}

bool vw_blocks_make(vw_blocks *blocks, vw_labels *pred, vw_labels *other, GError **error)
{
    *blocks = (vw_blocks){.w = (pred->w + VW_BLOCK_PX - 1) / VW_BLOCK_PX,
                          .h = (pred->h + VW_BLOCK_PX - 1) / VW_BLOCK_PX};
    blocks->cells = g_new0(vw_cell, (size_t)blocks->w * (size_t)blocks->h);
    size_t w = (size_t)pred->w;
    g_autofree uint8_t *a = g_malloc(w * VW_BLOCK_PX), *b = g_malloc(w * VW_BLOCK_PX);
    for (int64_t by = 0; by < blocks->h; by++) {
        int n = (int)MIN(VW_BLOCK_PX, pred->h - by * VW_BLOCK_PX);
        if (!qs_stop_check(error) ||
            !vw_labels_read(pred, pred->factor, 0, by * VW_BLOCK_PX, (int)w, n, a, w, error) ||
            !vw_labels_read(other, pred->factor, 0, by * VW_BLOCK_PX, (int)w, n, b, w, error)) {
            vw_blocks_clear(blocks);
            return false;
        }
        for (int r = 0; r < n; r++)
            for (size_t i = 0; i < w; i++)
                count(&blocks->cells[(size_t)by * (size_t)blocks->w + i / VW_BLOCK_PX],
                      a[(size_t)r * w + i], b[(size_t)r * w + i]);
    }
    return true;
}

/* The cells, of `size` level-0 pixels, that output pixel i is made of: from … to - 1. */
static void cells_of(double step, int64_t i, double size, int64_t n_cells, int64_t *from,
                     int64_t *to)
{
    double left = (double)i * step, right = left + step;
    *from = (int64_t)ceil(left / size - 0.5);
    *to = (int64_t)ceil(right / size - 0.5);
    if (*to <= *from) {
        *from = (int64_t)floor((left + right) / 2 / size);
        *to = *from + 1;
    }
    *from = CLAMP(*from, 0, n_cells - 1);
    *to = CLAMP(*to, *from + 1, n_cells);
}

static bool is_outside(double step, int64_t i, int64_t slide)
{
    return i < 0 || (double)i * step >= (double)slide;
}

/* Cells of a row of output pixels: sums and how many pixels of the prediction there are. */
typedef struct {
    int64_t found, false_, missed, n;
} sums;

static void add_blocks(const vw_labels *pred, const vw_blocks *blocks, const int64_t rows[2],
                       const int64_t columns[2], sums *s)
{
    for (int64_t by = rows[0]; by < rows[1]; by++)
        for (int64_t bx = columns[0]; bx < columns[1]; bx++) {
            const vw_cell *c = &blocks->cells[by * blocks->w + bx];
            s->found += c->found;
            s->false_ += c->false_;
            s->missed += c->missed;
            s->n += MIN(VW_BLOCK_PX, pred->w - bx * VW_BLOCK_PX) *
                    MIN(VW_BLOCK_PX, pred->h - by * VW_BLOCK_PX);
        }
}

/* Rows of pixels of both, read ahead. */
typedef struct {
    vw_labels *from_pred, *from_other;
    int64_t x, y, n_rows, capacity; /* first column and row; rows held, room for */
    size_t w;
    uint8_t *pred, *other;
} strip;

static bool strip_hold(strip *p, const int64_t rows[2], int64_t last, GError **error)
{
    if (rows[0] >= p->y && rows[1] <= p->y + p->n_rows)
        return true;
    double size = p->from_pred->factor;
    p->y = rows[0];
    p->n_rows = MIN(p->capacity, last - rows[0]);
    int w = (int)p->w, n = (int)p->n_rows;
    return vw_labels_read(p->from_pred, size, p->x, p->y, w, n, p->pred, p->w, error) &&
           vw_labels_read(p->from_other, size, p->x, p->y, w, n, p->other, p->w, error);
}

static void add_pixels(const strip *p, const int64_t rows[2], const int64_t columns[2], sums *s)
{
    for (int64_t r = rows[0] - p->y; r < rows[1] - p->y; r++)
        for (int64_t i = columns[0]; i < columns[1]; i++) {
            vw_cell c = {0};
            size_t at = (size_t)r * p->w + (size_t)(i - p->x);
            count(&c, p->pred[at], p->other[at]);
            s->found += c.found;
            s->false_ += c.false_;
            s->missed += c.missed;
            s->n++;
        }
}

bool vw_compare_read(vw_labels *pred, vw_labels *other, const vw_blocks *blocks, double step,
                     int64_t x, int64_t y, int w, int h, uint8_t *dst, size_t row_bytes,
                     GError **error)
{
    bool direct = step <= (double)VW_COMPARE_DIRECT * pred->factor;
    g_assert(direct || blocks);
    double size = direct ? pred->factor : (double)pred->factor * VW_BLOCK_PX;
    int64_t n_x = direct ? pred->w : blocks->w, n_y = direct ? pred->h : blocks->h;
    g_autofree int64_t *columns = g_new(int64_t, 2 * (size_t)w);
    int64_t rows[2], last[2];
    for (int i = 0; i < w; i++)
        cells_of(step, x + i, size, n_x, &columns[2 * i], &columns[2 * i + 1]);
    cells_of(step, y + h - 1, size, n_y, &last[0], &last[1]);
    strip p = {.from_pred = pred, .from_other = other, .x = columns[0]};
    p.w = (size_t)(columns[2 * w - 1] - p.x);
    p.capacity = MAX(VW_COMPARE_DIRECT + 2, STRIP_PX / (int64_t)p.w);
    size_t n = direct ? p.w * (size_t)MIN(p.capacity, n_y) : 0;
    g_autofree uint8_t *both = g_malloc(2 * n + 1);
    p.pred = both;
    p.other = both + n;
    for (int r = 0; r < h; r++) {
        uint8_t *out = dst + (size_t)r * row_bytes;
        memset(out, 255, (size_t)w);
        if (is_outside(step, y + r, pred->slide_h))
            continue;
        cells_of(step, y + r, size, n_y, &rows[0], &rows[1]);
        if (direct && !strip_hold(&p, rows, last[1], error))
            return false;
        for (int i = 0; i < w; i++) {
            sums s = {0};
            if (is_outside(step, x + i, pred->slide_w))
                continue;
            if (direct)
                add_pixels(&p, rows, &columns[2 * i], &s);
            else
                add_blocks(pred, blocks, rows, &columns[2 * i], &s);
            out[i] = vw_cell_byte(s.found, s.false_, s.missed, s.n);
        }
    }
    return true;
}
