/* See colour.h. */
#include "wsi/colour/colour.h"

#include "base/error.h"
#include "wsi/colour/icc.h"
#include "wsi/tile/tile.h"

#include <string.h>

struct wsi_colour {
    wsi_icc *icc;       /* NULL none */
    wsi_stain_map *map; /* NULL none */
};

/* ---- rules as text --------------------------------------------------------------------------- */
static bool fail(const char *text, const char *part, GError **error)
{
    g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                "colour rules \"%s\": \"%s\" is none; as in \"icc; macenko\" and 8 numbers, or "
                "\"reinhard\" and 6",
                text, part);
    return false;
}

/* "macenko 0.1,0.2,…" */
static bool parse_stain(const char *part, wsi_stain *stain)
{
    const char *space = strchr(part, ' ');
    g_autofree char *name = g_strndup(part, space ? (gsize)(space - part) : strlen(part));
    if (!space || !wsi_stain_parse(name, &stain->method) || stain->method == WSI_STAIN_NONE)
        return false;
    g_auto(GStrv) numbers = g_strsplit(space + 1, ",", -1);
    int n = wsi_stain_n_values(stain->method);
    if ((int)g_strv_length(numbers) != n)
        return false;
    for (int i = 0; i < n; i++) {
        char *end;
        stain->v[i] = g_ascii_strtod(numbers[i], &end);
        if (end == numbers[i] || *end || !(stain->v[i] > -1e6 && stain->v[i] < 1e6))
            return false;
    }
    return true;
}

bool wsi_colour_rules_parse(wsi_colour_rules *rules, const char *text, GError **error)
{
    *rules = (wsi_colour_rules){0};
    g_auto(GStrv) parts = g_strsplit(text, ";", -1);
    for (int i = 0; parts[i]; i++) {
        const char *part = g_strstrip(parts[i]);
        if (!*part)
            continue;
        if (!strcmp(part, "icc"))
            rules->icc = true;
        else if (!parse_stain(part, &rules->stain))
            return fail(text, part, error);
    }
    return true;
}

char *wsi_colour_rules_text(const wsi_colour_rules *rules)
{
    GString *text = g_string_new(rules->icc ? "icc" : "");
    for (int i = 0; i < wsi_stain_n_values(rules->stain.method); i++) {
        char number[G_ASCII_DTOSTR_BUF_SIZE];
        if (i == 0)
            g_string_append_printf(text, "%s%s ", text->len ? "; " : "",
                                   wsi_stain_name(rules->stain.method));
        g_ascii_formatd(number, sizeof number, "%.9g", rules->stain.v[i]);
        g_string_append_printf(text, "%s%s", i ? "," : "", number);
    }
    return g_string_free(text, FALSE);
}

/* ---- estimation ------------------------------------------------------------------------------ */
/* The cells of the grid with enough tissue. */
static GArray *candidates(const wsi_view *view, const wsi_colour_windows *w, const wsi_grid *grid)
{
    GArray *cells = g_array_new(FALSE, FALSE, sizeof(int64_t));
    double ds = view->downsample;
    for (int64_t cell = 0; cell < grid->n_cells; cell++) {
        int64_t x, y;
        int valid_w, valid_h;
        wsi_grid_cell(grid, view, w->patch_px, w->stride_px, cell, &x, &y, &valid_w, &valid_h);
        if (!w->tissue || wsi_tissue_fraction(w->tissue, (double)x * ds, (double)y * ds,
                                              valid_w * ds, valid_h * ds) >= w->tissue_min)
            g_array_append_val(cells, cell);
    }
    return cells;
}

/* Damaged windows are passed over: they meet the tiler's policy later. */
static bool sample_view(const wsi_view *view, const wsi_icc *icc, const wsi_colour_windows *w,
                        wsi_stain_sample *sample, GError **error)
{
    wsi_grid grid;
    if (!wsi_grid_init(&grid, view, w->patch_px, w->stride_px, error))
        return false;
    g_autoptr(GArray) cells = candidates(view, w, &grid);
    size_t row_bytes = (size_t)w->patch_px * 3;
    g_autofree uint8_t *rgb = g_malloc(row_bytes * (size_t)w->patch_px);
    guint n = MIN(cells->len, WSI_STAIN_WINDOWS);
    for (guint k = 0; k < n; k++) {
        int64_t cell = g_array_index(cells, int64_t, (guint)((guint64)k * cells->len / n)), x, y;
        int valid_w, valid_h;
        if (!qs_stop_check(error))
            return false;
        wsi_grid_cell(&grid, view, w->patch_px, w->stride_px, cell, &x, &y, &valid_w, &valid_h);
        if (!wsi_view_read(view, x, y, valid_w, valid_h, rgb, row_bytes, NULL))
            continue;
        if (icc)
            wsi_icc_apply(icc, rgb, row_bytes, valid_w, valid_h);
        wsi_stain_sample_add(sample, rgb, row_bytes, valid_w, valid_h);
    }
    return true;
}

bool wsi_colour_measure(const wsi_view *view, wsi_stain_method method,
                        const wsi_colour_windows *windows, wsi_stain *stain, GError **error)
{
    wsi_stain_sample sample = {0};
    bool ok = sample_view(view, NULL, windows, &sample, error) &&
              wsi_stain_estimate(method, sample.rgb, sample.n, stain, error);
    wsi_stain_sample_clear(&sample);
    if (!ok)
        g_prefix_error(error, "%s: ", wsi_slide_get_info(view->slide)->path);
    return ok;
}

/* ---- a slide's colour ------------------------------------------------------------------------ */
/* A slide that has no two stains (empty glass, another stain) keeps its colours, and that is said.
 */
static bool open_stain(wsi_colour *colour, const wsi_view *view, const wsi_stain *reference,
                       const wsi_colour_windows *windows, wsi_stain *slide, GString *remarks,
                       GError **error)
{
    wsi_stain_sample sample = {0};
    GError *why = NULL;
    bool ok = sample_view(view, colour->icc, windows, &sample, error);
    if (ok && wsi_stain_estimate(reference->method, sample.rgb, sample.n, slide, &why))
        colour->map = wsi_stain_map_create(slide, reference, &why);
    wsi_stain_sample_clear(&sample);
    if (why) {
        g_string_append_printf(remarks, "%s%s; its colours stay as they are",
                               remarks->len ? "\n" : "", why->message);
        *slide = (wsi_stain){0};
        g_error_free(why);
    }
    return ok;
}

bool wsi_colour_open(const wsi_view *view, const wsi_colour_rules *rules,
                     const wsi_colour_windows *windows, wsi_colour **colour, char **done,
                     char **remark, GError **error)
{
    g_assert(!view->colour);
    wsi_colour_rules slide = {0};
    GString *remarks = g_string_new(NULL);
    wsi_colour *c = g_new0(wsi_colour, 1);
    bool ok = !rules->icc || wsi_icc_open(wsi_slide_get_info(view->slide)->path, &c->icc, error);
    slide.icc = c->icc != NULL;
    if (ok && c->icc)
        g_string_append_printf(remarks, "ICC profile: %s", wsi_icc_name(c->icc));
    else if (ok && rules->icc)
        g_string_append(remarks, "the file has no ICC profile; its colours are taken for sRGB");
    if (ok && rules->stain.method != WSI_STAIN_NONE)
        ok = open_stain(c, view, &rules->stain, windows, &slide.stain, remarks, error);
    *done = ok ? wsi_colour_rules_text(&slide) : NULL;
    *remark = g_string_free(remarks, !ok || remarks->len == 0);
    if (!ok || (!c->icc && !c->map))
        g_clear_pointer(&c, wsi_colour_close);
    *colour = c;
    return ok;
}

wsi_colour *wsi_colour_create(const wsi_stain *slide, const wsi_stain *reference, GError **error)
{
    wsi_stain_map *map = wsi_stain_map_create(slide, reference, error);
    if (!map)
        return NULL;
    wsi_colour *colour = g_new0(wsi_colour, 1);
    colour->map = map;
    return colour;
}

void wsi_colour_close(wsi_colour *colour)
{
    if (!colour)
        return;
    wsi_icc_close(colour->icc);
    wsi_stain_map_destroy(colour->map);
    g_free(colour);
}

void wsi_colour_apply(const wsi_colour *colour, uint8_t *rgb, size_t row_bytes, int w, int h)
{
    if (colour->icc)
        wsi_icc_apply(colour->icc, rgb, row_bytes, w, h);
    if (colour->map)
        wsi_stain_map_apply(colour->map, rgb, row_bytes, w, h);
}
