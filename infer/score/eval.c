/* See eval.h. Strips are cut so that they hold whole pixels of both masks; each mask gives the rows
 * it has for the strip, and rows of the common grid are made by repetition. */
#include "infer/score/eval.h"

#include "base/error.h"
#include "wsi/annot/mask.h"

#include <string.h>

enum { STRIP_PX = 1 << 22 }; /* pixels of the common grid in a strip, about */

/* One mask on the common grid. */
typedef struct {
    wsi_mask *mask;
    bool borrowed; /* the mask is the caller's */
    const wsi_mask_info *info;
    int scale;       /* grid pixels per mask pixel */
    int64_t first;   /* mask row at the top of the buffer */
    int64_t n_rows;  /* rows in the buffer */
    uint8_t *native; /* (n_rows, info->w) */
    uint8_t *row;    /* (grid w): one row of the common grid */
    int64_t row_of;  /* mask row that `row` was made of; -1 none */
} side;

static int gcd(int a, int b)
{
    return b == 0 ? a : gcd(b, a % b);
}

char *inf_eval_grid_text(const inf_eval_grid *grid)
{
    return g_strdup_printf("compared at slide size / %d: prediction (/%d) ×%d, truth (/%d) ×%d",
                           grid->factor, grid->pred_factor, grid->pred_factor / grid->factor,
                           grid->truth_factor, grid->truth_factor / grid->factor);
}

static bool side_open(side *s, const char *path, int64_t slide_w, int64_t slide_h,
                      const qs_classes *classes, GError **error)
{
    s->row_of = -1;
    s->mask = wsi_mask_open(path, slide_w, slide_h, classes, error);
    if (s->mask)
        s->info = wsi_mask_get_info(s->mask);
    return s->mask != NULL;
}

static bool side_plan(side *s, const char *path, int64_t grid_w, int64_t strip_rows, GError **error)
{
    size_t n_rows = (size_t)(strip_rows / s->scale + 2);
    s->native = g_try_malloc(n_rows * (size_t)s->info->w);
    s->row = g_try_malloc((size_t)grid_w);
    if (s->native && s->row)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MEMORY, "%s: %zu bytes for a strip cannot be had", path,
                n_rows * (size_t)s->info->w);
    return false;
}

static void side_clear(side *s)
{
    if (!s->borrowed)
        wsi_mask_close(s->mask);
    g_free(s->native);
    g_free(s->row);
}

static int64_t mask_row(const side *s, int64_t y)
{
    return MIN(y / s->scale, s->info->h - 1);
}

/* Reads the mask rows that grid rows y … y+n-1 are made of. */
static bool side_read(side *s, int64_t y, int64_t n, GError **error)
{
    s->first = mask_row(s, y);
    s->n_rows = mask_row(s, y + n - 1) - s->first + 1;
    s->row_of = -1;
    return wsi_mask_read_native(s->mask, 0, s->first, (int)s->info->w, (int)s->n_rows, s->native,
                                (size_t)s->info->w, error);
}

static const uint8_t *side_row(side *s, int64_t y, int64_t grid_w)
{
    int64_t from = mask_row(s, y), w = s->info->w;
    if (from == s->row_of)
        return s->row;
    const uint8_t *src = s->native + (from - s->first) * w;
    int64_t x = 0;
    for (int64_t i = 0; i < w && x < grid_w; i++)
        for (int k = 0; k < s->scale && x < grid_w; k++)
            s->row[x++] = src[i];
    memset(s->row + x, src[w - 1], (size_t)(grid_w - x));
    s->row_of = from;
    return s->row;
}

void inf_eval_surfaces_clear(inf_eval_surfaces *surfaces)
{
    inf_surface_destroy(surfaces->pred);
    inf_surface_destroy(surfaces->truth);
    *surfaces = (inf_eval_surfaces){0};
}

/* scratch (w): the prediction without the pixels that have no truth. */
static bool add_outlines(inf_eval_surfaces *surfaces, const uint8_t *pred, const uint8_t *truth,
                         uint8_t *scratch, int64_t w, GError **error)
{
    for (int64_t x = 0; x < w; x++)
        scratch[x] = truth[x] == QS_CLASS_IGNORE ? 0 : pred[x];
    return inf_surface_add_row(surfaces->pred, scratch, error) &&
           inf_surface_add_row(surfaces->truth, truth, error);
}

static bool compare(side *pred, side *truth, const inf_eval_grid *grid, int64_t strip_rows,
                    inf_counts *counts, inf_eval_surfaces *surfaces, GError **error)
{
    g_autofree uint8_t *scratch = g_malloc((gsize)grid->w);
    for (int64_t y = 0; y < grid->h; y += strip_rows) {
        int64_t n = MIN(strip_rows, grid->h - y);
        if (!qs_stop_check(error) || !side_read(pred, y, n, error) ||
            !side_read(truth, y, n, error))
            return false;
        for (int64_t i = 0; i < n; i++) {
            const uint8_t *p = side_row(pred, y + i, grid->w);
            const uint8_t *t = side_row(truth, y + i, grid->w);
            inf_counts_add(counts, p, t, (size_t)grid->w);
            if (surfaces && !add_outlines(surfaces, p, t, scratch, grid->w, error)) {
                g_prefix_error(error, "%s: ", pred->info->path);
                return false;
            }
        }
    }
    return true;
}

bool inf_eval_against(const char *pred_path, wsi_mask *truth_mask, int64_t slide_w, int64_t slide_h,
                      const qs_classes *classes, inf_counts *counts, inf_eval_grid *grid,
                      inf_eval_surfaces *surfaces, GError **error)
{
    side pred = {0}, truth = {.mask = truth_mask, .borrowed = true, .row_of = -1};
    bool ok = side_open(&pred, pred_path, slide_w, slide_h, classes, error);
    if (ok) {
        wsi_mask_set_factor(truth_mask, pred.info->factor);
        truth.info = wsi_mask_get_info(truth_mask);
        int g = gcd(pred.info->factor, truth.info->factor);
        pred.scale = pred.info->factor / g;
        truth.scale = truth.info->factor / g;
        *grid = (inf_eval_grid){
            .w = MAX(pred.info->w * pred.scale, truth.info->w * truth.scale),
            .h = MAX(pred.info->h * pred.scale, truth.info->h * truth.scale),
            .factor = g,
            .pred_factor = pred.info->factor,
            .truth_factor = truth.info->factor,
        };
        /* Ceil-sized masks may reach past the slide; the grid does not. */
        grid->w = MIN(grid->w, MAX(1, (slide_w + g - 1) / g));
        grid->h = MIN(grid->h, MAX(1, (slide_h + g - 1) / g));
        int64_t strip_rows = CLAMP(STRIP_PX / grid->w, 1, grid->h);
        inf_counts_init(counts, classes->n);
        if (surfaces) {
            surfaces->pred = inf_surface_create(classes->n, grid->w, grid->h);
            surfaces->truth = inf_surface_create(classes->n, grid->w, grid->h);
        }
        ok = side_plan(&pred, pred_path, grid->w, strip_rows, error) &&
             side_plan(&truth, truth.info->path, grid->w, strip_rows, error) &&
             compare(&pred, &truth, grid, strip_rows, counts, surfaces, error);
    }
    side_clear(&pred);
    side_clear(&truth);
    return ok;
}

bool inf_eval_masks(const char *pred_path, const char *truth_path, int64_t slide_w, int64_t slide_h,
                    const qs_classes *classes, inf_counts *counts, inf_eval_grid *grid,
                    GError **error)
{
    wsi_mask *truth = wsi_mask_open(truth_path, slide_w, slide_h, classes, error);
    bool ok = truth && inf_eval_against(pred_path, truth, slide_w, slide_h, classes, counts, grid,
                                        NULL, error);
    wsi_mask_close(truth);
    return ok;
}
