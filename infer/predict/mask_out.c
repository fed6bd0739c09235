/* Rows of the view to rows of the mask file, straight into the TIFF writer.
 *
 * The mask's grid is level 0 divided by an integer f, the one nearest to the view's downsample ds,
 * so that viewers put it on the slide by scaling alone. Mask pixel (i, j) takes the view pixel that
 * its centre lies in: floor((i + ½)·f/ds), geometry in doubles of level 0. For ds = f that is the
 * identity; for ds = 4.000152 it shifts by one pixel every few thousand; for ds = 1.9 it repeats or
 * drops pixels, which is right for labels. */
#include "infer/predict/predict_priv.h"

#include "base/error.h"
#include "wsi/tiff/pyramid.h"

#include <math.h>

enum { SMALLEST_LEVEL_PX = 1024 };

typedef struct {
    const wsi_view *view;
    inf_mask_grid grid;
    int n_classes;
    wsi_tiffw *mask, *prob; /* prob NULL when not wanted */
    int64_t next;           /* mask row to write next */
    uint8_t *row;           /* (grid.w) */
} sink;

void inf_mask_grid_init(inf_mask_grid *grid, const wsi_view *view)
{
    const wsi_slide_info *info = wsi_slide_get_info(view->slide);
    grid->factor = MAX(1, (int)floor(view->downsample + 0.5));
    grid->w = MAX(1, info->levels[0].w / grid->factor);
    grid->h = MAX(1, info->levels[0].h / grid->factor);
    grid->mpp = info->mpp * grid->factor;
}

int64_t inf_mask_rows_memory(const wsi_view *view)
{
    inf_mask_grid grid;
    inf_mask_grid_init(&grid, view);
    return grid.w;
}

static int64_t view_pixel(const sink *s, int64_t i, int64_t length)
{
    double at = ((double)i + 0.5) * s->grid.factor / s->view->downsample;
    return MIN((int64_t)at, length - 1);
}

static bool put_rows(void *user, int64_t y, int n_rows, int64_t w, const uint8_t *label,
                     const float *prob, GError **error)
{
    sink *s = user;
    for (; s->next < s->grid.h; s->next++) {
        int64_t from = view_pixel(s, s->next, s->view->h);
        if (from >= y + n_rows)
            break;
        const uint8_t *src = label + (from - y) * w;
        for (int64_t i = 0; i < s->grid.w; i++)
            s->row[i] = src[view_pixel(s, i, w)];
        if (!wsi_tiffw_write_rows(s->mask, s->row, (size_t)s->grid.w, 1, error))
            return false;
        if (!s->prob)
            continue;
        const float *p = prob + (from - y) * w * s->n_classes;
        for (int64_t i = 0; i < s->grid.w; i++) {
            float background = p[view_pixel(s, i, w) * s->n_classes];
            s->row[i] = (uint8_t)lrintf(255.0f * CLAMP(1.0f - background, 0.0f, 1.0f));
        }
        if (!wsi_tiffw_write_rows(s->prob, s->row, (size_t)s->grid.w, 1, error))
            return false;
    }
    return true;
}

/* Plain text: no reader of the profile chokes on it, and a person can see what it is. */
static char *describe(const sink *s, const model *m, const inf_options *o, const char *what)
{
    g_autofree char *classes = qs_classes_to_text(&m->spec.classes);
    return g_strdup_printf(
        "quadslide %s; slide size / %d; classes %s; model %s, loss %s, iteration "
        "%" G_GINT64_FORMAT "; window %d, stride %d, %s blending",
        what, s->grid.factor, classes, m->spec.method, m->spec.loss, m->spec.iteration,
        o->window_px, o->stride_px, inf_blend_name(o->blend));
}

static wsi_tiffw *open_writer(const sink *s, const inf_predictor *p, const char *path,
                              wsi_tiffw_profile profile, GError **error)
{
    const model *m = inf_predictor_model(p);
    bool is_mask = profile == WSI_TIFFW_MASK;
    g_autofree char *text = describe(s, m, inf_predictor_options(p),
                                     is_mask ? "label mask" : "foreground probability x 255");
    wsi_tiffw_options options = {
        .profile = profile,
        .w = s->grid.w,
        .h = s->grid.h,
        .mpp = s->grid.mpp,
        .tile_px = wsi_tiffw_fit_tile(s->grid.w, s->grid.h, SMALLEST_LEVEL_PX, 512),
        .min_level_px = SMALLEST_LEVEL_PX,
        .max_label = s->n_classes - 1,
        .description = text,
    };
    return wsi_tiffw_open(path, &options, error);
}

bool inf_predict_to_tiff(inf_predictor *p, const wsi_view *view, const wsi_tissue *tissue,
                         const char *mask_path, const char *prob_path, const qs_progress *progress,
                         inf_report *report, GError **error)
{
    sink s = {.view = view, .n_classes = inf_predictor_model(p)->spec.net.n_classes};
    inf_mask_grid_init(&s.grid, view);
    s.row = g_malloc((size_t)s.grid.w);
    bool ok = false;
    s.mask = open_writer(&s, p, mask_path, WSI_TIFFW_MASK, error);
    if (!s.mask)
        goto out;
    if (prob_path) {
        s.prob = open_writer(&s, p, prob_path, WSI_TIFFW_GREY, error);
        if (!s.prob)
            goto out;
    }
    if (!inf_predict(p, view, tissue, !s.prob, put_rows, &s, progress, report, error))
        goto out;
    /* The probabilities first: a mask that is there says that all of the slide is. */
    ok = !s.prob || wsi_tiffw_finish(g_steal_pointer(&s.prob), error);
    ok = ok && wsi_tiffw_finish(g_steal_pointer(&s.mask), error);
out:
    wsi_tiffw_abort(s.mask);
    wsi_tiffw_abort(s.prob);
    g_free(s.row);
    return ok;
}
