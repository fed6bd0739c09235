/* See tile_preview.h. The slide in small, washed where nothing was kept, in the colour of the
 * reason:
 *
 *      name, size, resolution
 *      what the patches are
 *      ┌──────────────┐
 *      │   picture    │
 *      └──────────────┘
 *      ▪ kept 554 of 648 (85 %)   ▪ too little tissue 94   …   ▪ tumour …        scale bar
 *
 * Colours are those of Okabe and Ito (2008), which people with any colour vision tell apart. */
#include "jobs/tile/preview.h"

#include "base/file.h"
#include "jobs/outputs.h"
#include "wsi/image/canvas.h"
#include "wsi/image/picture.h"

#include <math.h>
#include <string.h>

enum {
    PICTURE_PX = 1600,
    BLOCK_PX = 256, /* read at once */
    SMALL_PX = 32,  /* what one damaged tile takes out of the picture at least */
    MARGIN = 16,
    TITLE_PX = 26,
    TEXT_PX = 20,
    SWATCH_PX = 16,
    MIN_W = 900, /* so that the legend has room below a narrow slide */
    QUALITY = 90,
    SCALE_W_MIN = 240, /* narrower pictures get no scale bar */
    GRID_PX_MIN = 7,   /* cells smaller than this get no lines */
};

static const cli_ink paper = {{255, 255, 255}}, text_ink = {{33, 37, 41}},
                     kept_ink = {{0, 128, 96}}, tissue_ink = {{110, 120, 135}},
                     blank_ink = {{86, 180, 233}}, damaged_ink = {{213, 94, 0}},
                     missing_ink = {{40, 40, 40}}, border_ink = {{204, 51, 153}};

/* Why a cell is as it is, in the order in which they are drawn. */
typedef enum { CELL_NONE, CELL_TISSUE, CELL_BLANK, CELL_DAMAGED, CELL_KEPT, CELL_REASONS } reason;

typedef struct {
    const tile_preview *p;
    wsi_view view;
    int w, h, top; /* of the picture; its first row on the canvas */
    wsi_canvas canvas;
    GArray *cells; /* of db_patch */
    int64_t n[CELL_REASONS];
    bool has_label[QS_CLASSES_MAX];
} drawing;

static reason reason_of(const db_patch *cell)
{
    if (cell->kept)
        return CELL_KEPT;
    return !strcmp(cell->reason, "damaged") ? CELL_DAMAGED
           : !strcmp(cell->reason, "blank") ? CELL_BLANK
                                            : CELL_TISSUE;
}

/* ---- the picture ----------------------------------------------------------------------------- */
/* What cannot be read is quartered down to SMALL_PX, so that one damaged tile spoils little more
 * than itself. rgb has room for the block. */
static void read_block(drawing *d, int x, int y, int w, int h, uint8_t *rgb)
{
    if (wsi_view_read(&d->view, x, y, w, h, rgb, (size_t)w * 3, NULL)) {
        wsi_canvas_copy(&d->canvas, MARGIN + x, d->top + y, rgb, w, h);
    } else if (MAX(w, h) <= SMALL_PX) {
        wsi_canvas_hatch(&d->canvas, MARGIN + x, d->top + y, w, h, damaged_ink);
    } else {
        int w0 = MAX(1, w / 2), h0 = MAX(1, h / 2);
        for (int k = 0; k < 4; k++) {
            int dx = k % 2 ? w0 : 0, dy = k / 2 ? h0 : 0;
            int part_w = k % 2 ? w - w0 : w0, part_h = k / 2 ? h - h0 : h0;
            if (part_w > 0 && part_h > 0)
                read_block(d, x + dx, y + dy, part_w, part_h, rgb);
        }
    }
}

static void read_slide(drawing *d)
{
    g_autofree uint8_t *rgb = g_malloc(BLOCK_PX * BLOCK_PX * 3);
    for (int y = 0; y < d->h; y += BLOCK_PX)
        for (int x = 0; x < d->w; x += BLOCK_PX)
            read_block(d, x, y, MIN(BLOCK_PX, d->w - x), MIN(BLOCK_PX, d->h - y), rgb);
}

/* Where a level-0 coordinate lies in the picture. */
static int place(const drawing *d, int64_t l0, int side)
{
    return CLAMP((int)lround((double)l0 / d->view.downsample), 0, side);
}

/* state (h,w): the reason of the cell on top; CELL_NONE where no cell was looked at. */
static uint8_t *cell_states(const drawing *d)
{
    uint8_t *state = g_malloc0((size_t)d->w * (size_t)d->h);
    for (int turn = CELL_TISSUE; turn < CELL_REASONS; turn++)
        for (guint i = 0; i < d->cells->len; i++) {
            const db_patch *c = &g_array_index(d->cells, db_patch, i);
            if (reason_of(c) != (reason)turn)
                continue;
            int x0 = place(d, c->x_l0, d->w), x1 = place(d, c->x_l0 + c->w_l0, d->w);
            for (int y = place(d, c->y_l0, d->h); y < place(d, c->y_l0 + c->h_l0, d->h); y++)
                memset(state + (size_t)y * (size_t)d->w + x0, turn, (size_t)(x1 - x0));
        }
    return state;
}

static void wash(drawing *d, const uint8_t *state)
{
    for (int y = 0; y < d->h; y++)
        for (int x = 0; x < d->w; x++) {
            int cx = MARGIN + x, cy = d->top + y;
            switch ((reason)state[(size_t)y * (size_t)d->w + (size_t)x]) {
            case CELL_TISSUE:
                wsi_canvas_blend(&d->canvas, cx, cy, tissue_ink, 0.42);
                break;
            case CELL_BLANK:
                wsi_canvas_blend(&d->canvas, cx, cy, blank_ink, 0.5);
                break;
            case CELL_DAMAGED:
                wsi_canvas_blend(&d->canvas, cx, cy, damaged_ink, (x + y) % 8 < 3 ? 0.9 : 0.45);
                break;
            case CELL_NONE:
                wsi_canvas_blend(&d->canvas, cx, cy, missing_ink, (x + y) % 8 < 2 ? 0.8 : 0.3);
                break;
            case CELL_KEPT:
            default:
                break;
            }
        }
}

/* Pixels where `inside` changes to the right or below, two pixels thick. */
static void outline(drawing *d, const uint8_t *plane, int value, cli_ink ink, double opacity)
{
    for (int y = 0; y < d->h; y++)
        for (int x = 0; x < d->w; x++) {
            bool here = plane[(size_t)y * (size_t)d->w + (size_t)x] == value;
            bool right = x + 1 < d->w && plane[(size_t)y * (size_t)d->w + (size_t)x + 1] == value;
            bool below = y + 1 < d->h && plane[((size_t)y + 1) * (size_t)d->w + (size_t)x] == value;
            if ((x + 1 < d->w && here != right) || (y + 1 < d->h && here != below))
                wsi_canvas_fill(&d->canvas, MARGIN + x, d->top + y, 2, 2, ink, opacity);
        }
}

static void kept_grid(drawing *d)
{
    for (guint i = 0; i < d->cells->len; i++) {
        const db_patch *c = &g_array_index(d->cells, db_patch, i);
        int x = place(d, c->x_l0, d->w), y = place(d, c->y_l0, d->h);
        int w = place(d, c->x_l0 + c->w_l0, d->w) - x, h = place(d, c->y_l0 + c->h_l0, d->h) - y;
        if (c->kept && MIN(w, h) >= GRID_PX_MIN)
            wsi_canvas_frame(&d->canvas, MARGIN + x, d->top + y, w, h, 1, kept_ink, 0.55);
    }
}

static void tissue_border(drawing *d)
{
    const wsi_tissue *t = d->p->tissue;
    g_autofree uint8_t *plane = g_malloc((size_t)d->w * (size_t)d->h);
    for (int y = 0; y < d->h; y++)
        for (int x = 0; x < d->w; x++) {
            int tx = MIN(t->w - 1, x * t->w / d->w), ty = MIN(t->h - 1, y * t->h / d->h);
            plane[(size_t)y * (size_t)d->w + (size_t)x] =
                t->mask[(size_t)ty * (size_t)t->w + (size_t)tx];
        }
    outline(d, plane, 1, border_ink, 0.9);
}

static bool class_outlines(drawing *d, GError **error)
{
    const qs_classes *classes = &db_store_get_config(d->p->store)->classes;
    g_autofree uint8_t *label = g_malloc((size_t)d->w * (size_t)d->h);
    if (!wsi_mask_read(d->p->mask, &d->view, 0, 0, d->w, d->h, label, (size_t)d->w, error))
        return false;
    for (int c = 1; c < classes->n; c++) {
        d->has_label[c] = memchr(label, c, (size_t)d->w * (size_t)d->h) != NULL;
        cli_ink ink;
        memcpy(ink.rgb, classes->items[c].rgb, 3);
        if (d->has_label[c])
            outline(d, label, c, ink, 1);
    }
    return true;
}

/* ---- words ----------------------------------------------------------------------------------- */
static bool head(drawing *d, GError **error)
{
    const wsi_slide_info *info = wsi_slide_get_info(d->p->slide);
    const db_store_config *config = db_store_get_config(d->p->store);
    const db_slide *row = d->p->row;
    g_autofree char *mpp = info->mpp > 0 ? g_strdup_printf("%.4g µm per pixel", info->mpp)
                                         : g_strdup("resolution unknown");
    g_autofree char *title =
        g_strdup_printf("%s   %" G_GINT64_FORMAT " × %" G_GINT64_FORMAT " pixels, %s", row->name,
                        info->levels[0].w, info->levels[0].h, mpp);
    g_autofree char *at =
        config->level0 ? g_strdup("level 0") : g_strdup_printf("%.4g µm per pixel", config->mpp);
    g_autofree char *below =
        g_strdup_printf("patches of %d pixels at %s, stride %d%s%s", config->patch_px, at,
                        config->stride_px, row->state == DB_SLIDE_DONE ? "" : "; not finished: ",
                        row->state == DB_SLIDE_DONE ? "" : db_slide_state_name(row->state));
    int room = d->canvas.w - 2 * MARGIN;
    return wsi_canvas_text(&d->canvas, MARGIN, MARGIN, TITLE_PX, room, title, text_ink, error) >=
               0 &&
           wsi_canvas_text(&d->canvas, MARGIN, MARGIN + TITLE_PX + 4, TEXT_PX, room, below,
                           text_ink, error) >= 0;
}

/* A legend that goes on in the next line when a line is full. */
typedef struct {
    drawing *d;
    int x, y;
} legend;

static bool entry(legend *l, cli_ink ink, double opacity, bool line, const char *text,
                  GError **error)
{
    wsi_canvas probe = {0};
    int w = wsi_canvas_text(&probe, 0, 0, TEXT_PX, G_MAXINT, text, text_ink, error);
    if (w < 0)
        return false;
    if (l->x > MARGIN && l->x + SWATCH_PX + 8 + w > l->d->canvas.w - MARGIN) {
        l->x = MARGIN;
        l->y += TEXT_PX + 8;
    }
    if (line)
        wsi_canvas_fill(&l->d->canvas, l->x, l->y + SWATCH_PX / 2 - 1, SWATCH_PX, 4, ink, opacity);
    else
        wsi_canvas_fill(&l->d->canvas, l->x, l->y + 1, SWATCH_PX, SWATCH_PX, ink, opacity);
    if (!line)
        wsi_canvas_frame(&l->d->canvas, l->x, l->y + 1, SWATCH_PX, SWATCH_PX, 1, ink, 1);
    int room = l->d->canvas.w - MARGIN - l->x - SWATCH_PX - 8;
    if (wsi_canvas_text(&l->d->canvas, l->x + SWATCH_PX + 8, l->y, TEXT_PX, room, text, text_ink,
                        error) < 0)
        return false;
    l->x += SWATCH_PX + 8 + w + 28;
    return true;
}

static bool count_entry(legend *l, reason why, cli_ink ink, double opacity, const char *what,
                        GError **error)
{
    if (l->d->n[why] == 0)
        return true;
    g_autofree char *text = g_strdup_printf("%s: %" G_GINT64_FORMAT, what, l->d->n[why]);
    return entry(l, ink, opacity, false, text, error);
}

static bool reasons_legend(legend *l, GError **error)
{
    const drawing *d = l->d;
    int64_t all = MAX((int64_t)d->cells->len, d->p->row->n_cells), missing = all - d->cells->len;
    g_autofree char *kept = g_strdup_printf(
        "kept: %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT " (%.1f %%)", d->n[CELL_KEPT], all,
        all ? 100.0 * (double)d->n[CELL_KEPT] / (double)all : 0.0);
    g_autofree char *little = g_strdup_printf("less than %g %% tissue", 100 * d->p->tissue_min);
    if (!entry(l, kept_ink, 0.15, false, kept, error) ||
        !count_entry(l, CELL_TISSUE, tissue_ink, 0.55, little, error) ||
        !count_entry(l, CELL_BLANK, blank_ink, 0.6, "blank (mean 200 to 255)", error) ||
        !count_entry(l, CELL_DAMAGED, damaged_ink, 0.8, "cannot be read", error))
        return false;
    g_autofree char *rest = g_strdup_printf("not looked at yet: %" G_GINT64_FORMAT, missing);
    return missing <= 0 || entry(l, missing_ink, 0.5, false, rest, error);
}

static bool lines_legend(legend *l, GError **error)
{
    const drawing *d = l->d;
    const wsi_tissue *t = d->p->tissue;
    const qs_classes *classes = &db_store_get_config(d->p->store)->classes;
    if (t) {
        g_autofree char *text =
            t->threshold < 0 ? g_strdup_printf("tissue by the given mask: %.1f %%", 100 * t->share)
                             : g_strdup_printf("tissue, saturation above %d: %.1f %%", t->threshold,
                                               100 * t->share);
        if (!entry(l, border_ink, 0.9, true, text, error))
            return false;
    }
    for (int c = 1; c < classes->n; c++) {
        cli_ink ink;
        memcpy(ink.rgb, classes->items[c].rgb, 3);
        if (d->has_label[c] && !entry(l, ink, 1, true, classes->items[c].name, error))
            return false;
    }
    return true;
}

/* 1, 2 or 5 × 10^k µm, at most a fifth of the picture. */
static bool scale_bar(drawing *d, GError **error)
{
    if (!(d->view.mpp > 0) || d->w < SCALE_W_MIN)
        return true;
    double most = d->w * d->view.mpp / 5, length = pow(10, floor(log10(most)));
    length *= length * 5 <= most ? 5 : length * 2 <= most ? 2 : 1;
    int px = (int)lround(length / d->view.mpp), x = MARGIN + d->w - px - 12, y = d->top + d->h - 14;
    g_autofree char *text =
        length >= 1000 ? g_strdup_printf("%g mm", length / 1000) : g_strdup_printf("%g µm", length);
    wsi_canvas_fill(&d->canvas, x - 6, y - TEXT_PX - 4, px + 12, TEXT_PX + 14, paper, 0.75);
    wsi_canvas_fill(&d->canvas, x, y, px, 4, text_ink, 1);
    return wsi_canvas_text(&d->canvas, x, y - TEXT_PX, TEXT_PX, px + 6, text, text_ink, error) >= 0;
}

/* ---- all of it ------------------------------------------------------------------------------- */
static bool draw(drawing *d, GError **error)
{
    for (guint i = 0; i < d->cells->len; i++)
        d->n[reason_of(&g_array_index(d->cells, db_patch, i))]++;
    read_slide(d);
    g_autofree uint8_t *state = cell_states(d);
    wash(d, state);
    kept_grid(d);
    outline(d, state, CELL_KEPT, kept_ink, 0.9);
    if (d->p->tissue)
        tissue_border(d);
    if (d->p->mask && !class_outlines(d, error))
        return false;
    wsi_canvas_frame(&d->canvas, MARGIN - 1, d->top - 1, d->w + 2, d->h + 2, 1, text_ink, 0.5);
    legend l = {d, MARGIN, d->top + d->h + 12};
    if (!head(d, error) || !scale_bar(d, error) || !reasons_legend(&l, error))
        return false;
    l.x = MARGIN;
    l.y += TEXT_PX + 8;
    if (!lines_legend(&l, error))
        return false;
    d->canvas.h = MIN(d->canvas.h, l.y + TEXT_PX + MARGIN); /* what the legend left over */
    return true;
}

static bool write_file(const drawing *d, const char *dir, GError **error)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    g_autofree char *name = g_strconcat(d->p->row->name, ".jpg", NULL);
    g_autofree char *path = g_build_filename(dir, name, NULL);
    if (!job_output_check(path, NULL, d->p->row->path, d->p->row->mask_path, error))
        return false;
    bool ok =
        wsi_picture_encode(d->canvas.rgb, d->canvas.w, d->canvas.h, QUALITY, &bytes, &n, error) &&
        qs_file_replace(path, bytes, n, error);
    g_free(bytes);
    return ok;
}

bool job_preview_write(const tile_preview *p, const char *dir, GError **error)
{
    drawing d = {.p = p, .top = 2 * MARGIN + TITLE_PX + 4 + TEXT_PX};
    if (!wsi_view_init_fit(&d.view, p->slide, PICTURE_PX, error))
        return false;
    d.w = (int)d.view.w;
    d.h = (int)d.view.h;
    d.cells = db_patch_list(p->store, p->row->id, false, error);
    if (!d.cells)
        return false;
    int lines = 4 + db_store_get_config(p->store)->classes.n;
    wsi_canvas_init(&d.canvas, MAX(MIN_W, d.w + 2 * MARGIN),
                    d.top + d.h + MARGIN + lines * (TEXT_PX + 8), paper);
    bool ok = draw(&d, error) && write_file(&d, dir, error);
    wsi_canvas_clear(&d.canvas);
    g_array_unref(d.cells);
    return ok;
}
