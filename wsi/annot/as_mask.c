/* Annotations as a label mask: names become classes, shapes are put in the order in which they are
 * painted, and coverage becomes a label or an area. */
#include "wsi/annot/annot_priv.h"
#include "wsi/annot/paint_priv.h"

#include "base/error.h"

#include <string.h>

/* A pixel half covered is inside; the rest is for the last bit of a sum. */
static const double LABEL_MIN = 0.5 - 1e-9;

struct wsi_annot {
    wsi_annot_info info;
    wsi_annotations *set;
    wsi_annot_raster *raster;
};

typedef struct {
    guint shape;
    int rank; /* of the label map, when it rules */
    wsi_paint paint;
} painted;

/* ---- opening --------------------------------------------------------------------------------- */
static gint by_height(gconstpointer a, gconstpointer b)
{
    const painted *p = a, *q = b;
    if (p->paint.erase != q->paint.erase)
        return p->paint.erase ? 1 : -1;
    if (p->rank != q->rank)
        return p->rank < q->rank ? -1 : 1;
    return p->shape < q->shape ? -1 : p->shape > q->shape;
}

static bool fail_unknown(const wsi_annotations *set, const wsi_label_map *map, const char *name,
                         GError **error)
{
    guint n_shapes = 0, n_names = 0;
    g_autoptr(GString) names = g_string_new(NULL);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < set->shapes->len; i++) {
        const wsi_shape *s = &g_array_index(set->shapes, wsi_shape, i);
        int rank;
        if (s->kind != WSI_SHAPE_AREA ||
            wsi_label_map_find(map, s->class_name, &rank) != WSI_LABEL_UNKNOWN)
            continue;
        n_shapes += !strcmp(s->class_name, name);
        if (g_hash_table_add(seen, (gpointer)(guintptr)s->class_name) && ++n_names <= 12)
            g_string_append_printf(names, "%s\"%s\"", names->len ? ", " : "", s->class_name);
    }
    g_set_error(
        error, QS_ERROR, QS_ERROR_FORMAT,
        "%s: the class \"%s\" of %u shapes is not in the label map (not there: %s%s); give each a "
        "class with --label-map, as in Tumor=1,Stroma=2,*=skip",
        set->path, name, n_shapes, names->str, n_names > 12 ? " …" : "");
    return false;
}

static bool paint_shapes(wsi_annot *annot, const wsi_label_map *map, GArray *pile, GError **error)
{
    const wsi_annotations *set = annot->set;
    g_autoptr(GHashTable) layers = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < set->shapes->len; i++) {
        const wsi_shape *s = &g_array_index(set->shapes, wsi_shape, i);
        if (s->kind != WSI_SHAPE_AREA)
            continue;
        int rank = 0, label = s->erase ? 0 : wsi_label_map_find(map, s->class_name, &rank);
        if (label == WSI_LABEL_UNKNOWN)
            return fail_unknown(set, map, s->class_name, error);
        if (label == WSI_LABEL_SKIP) {
            annot->info.n_ignored_names++;
            continue;
        }
        gpointer layer = g_hash_table_lookup(layers, s->group);
        if (!layer) {
            layer = GINT_TO_POINTER((int)g_hash_table_size(layers) + 1);
            g_hash_table_insert(layers, (gpointer)(guintptr)s->group, layer);
        }
        painted p = {i,
                     wsi_label_map_is_ordered(map) ? rank : 0,
                     {label == QS_CLASS_IGNORE ? WSI_COVER_IGNORE : label, GPOINTER_TO_INT(layer),
                      s->erase}};
        g_array_append_val(pile, p);
    }
    g_array_sort(pile, by_height);
    annot->info.n_painted = pile->len;
    return true;
}

static void count_outside(wsi_annot *annot, const GArray *pile, double w, double h)
{
    for (guint i = 0; i < pile->len; i++) {
        const wsi_shape *s =
            &g_array_index(annot->set->shapes, wsi_shape, g_array_index(pile, painted, i).shape);
        bool inside = s->x0 >= 0 && s->y0 >= 0 && s->x1 <= w && s->y1 <= h;
        bool outside = s->x1 <= 0 || s->y1 <= 0 || s->x0 >= w || s->y0 >= h;
        annot->info.n_outside += outside;
        annot->info.n_laid += !outside && !s->erase;
        annot->info.n_cut += !inside && !outside;
    }
}

char *wsi_annot_paints_nothing(const wsi_annot *annot)
{
    const wsi_annot_info *info = &annot->info;
    if (info->n_laid > 0)
        return NULL;
    if (info->n_outside > 0)
        return g_strdup_printf(
            "paints nothing: all of its %" G_GINT64_FORMAT
            " areas lie outside the slide (it is another slide's file, "
            "or its coordinates are not of level 0; where QuPath made it from a slide with bounds, as MIRAX has, "
            "--bounds-relative)",
            info->n_outside);
    GString *why = g_string_new("paints nothing: ");
    const struct {
        int64_t n;
        const char *what;
    } kinds[] = {{info->facts.n_points, "point sets"},
                 {info->facts.n_lines, "lines"},
                 {info->facts.n_empty, "empty outlines"},
                 {info->n_ignored_names, "shapes that the label map skips"},
                 {info->n_painted, "areas that take others away, with nothing under them"}};
    bool any = false;
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (kinds[i].n > 0) {
            g_string_append_printf(why, "%s%" G_GINT64_FORMAT " %s", any ? ", " : "it has ",
                                   kinds[i].n, kinds[i].what);
            any = true;
        }
    g_string_append(why, any ? " and no area with a class" : "it has no shape at all");
    g_string_append(why, "; all of the slide is background");
    return g_string_free(why, FALSE);
}

char *wsi_annot_remarks(const wsi_annot *annot)
{
    const wsi_annot_info *info = &annot->info;
    const struct {
        int64_t n;
        const char *what;
    } facts[] = {{info->facts.n_open, "open rings, closed"},
                 {info->facts.n_self_crossing, "rings that cross themselves, filled even-odd"},
                 {info->facts.n_not_examined, "rings too long to look for self-crossings"},
                 {info->facts.n_splines, "splines, taken as polygons through their points"},
                 {info->facts.n_lines, "lines, not painted"},
                 {info->facts.n_points, "point sets, not painted"},
                 {info->facts.n_empty, "empty outlines, dropped"},
                 {info->n_ignored_names, "shapes that the label map skips"},
                 {info->n_cut, "shapes cut off at the slide's border"},
                 {info->n_outside, "shapes wholly outside the slide"}};
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(facts); i++)
        if (facts[i].n)
            g_string_append_printf(text, "%s%" G_GINT64_FORMAT " %s", text->len ? "\n" : "",
                                   facts[i].n, facts[i].what);
    g_autofree char *nothing = wsi_annot_paints_nothing(annot);
    if (nothing)
        g_string_append_printf(text, "%s%s", text->len ? "\n" : "", nothing);
    return g_string_free(text, text->len == 0);
}

static void say_what_was_done(const wsi_annot *annot)
{
    const wsi_annot_info *info = &annot->info;
    g_autofree char *remarks = wsi_annot_remarks(annot);
    g_auto(GStrv) lines = g_strsplit(remarks ? remarks : "", "\n", -1);
    for (int i = 0; lines[i]; i++)
        qs_info("%s: %s", info->path, lines[i]);
    if (info->n_outside)
        qs_warn("%s: %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                " shapes lie wholly outside the slide; are they "
                "of this slide, and of its level 0?",
                info->path, info->n_outside, info->n_painted);
}

static void shift(wsi_annotations *set, double dx, double dy)
{
    for (guint i = 0; i < set->points->len; i++) {
        wsi_point *p = &g_array_index(set->points, wsi_point, i);
        p->x += dx;
        p->y += dy;
    }
    for (guint i = 0; i < set->shapes->len; i++) {
        wsi_shape *s = &g_array_index(set->shapes, wsi_shape, i);
        s->x0 += dx;
        s->x1 += dx;
        s->y0 += dy;
        s->y1 += dy;
    }
}

wsi_annot *wsi_annot_open(const char *path, int64_t slide_w, int64_t slide_h,
                          const qs_classes *classes, const wsi_label_map *map, GError **error)
{
    return wsi_annot_open_shifted(path, 0, 0, slide_w, slide_h, classes, map, error);
}

wsi_annot *wsi_annot_open_shifted(const char *path, double dx, double dy, int64_t slide_w,
                                  int64_t slide_h, const qs_classes *classes,
                                  const wsi_label_map *map, GError **error)
{
    wsi_annot *annot = g_new0(wsi_annot, 1);
    wsi_label_map *own_map = map ? NULL : wsi_label_map_create(NULL, classes, NULL);
    g_autoptr(GArray) pile = g_array_new(FALSE, FALSE, sizeof(painted));
    annot->info.path = g_strdup(path);
    annot->set = wsi_annotations_read(path, error);
    if (annot->set && (dx != 0 || dy != 0))
        shift(annot->set, dx, dy);
    bool ok = annot->set && paint_shapes(annot, map ? map : own_map, pile, error);
    if (ok) {
        g_autofree guint *shapes = g_new(guint, MAX(pile->len, 1));
        g_autofree wsi_paint *paints = g_new(wsi_paint, MAX(pile->len, 1));
        for (guint i = 0; i < pile->len; i++) {
            shapes[i] = g_array_index(pile, painted, i).shape;
            paints[i] = g_array_index(pile, painted, i).paint;
        }
        annot->raster = wsi_annot_raster_create(annot->set, shapes, paints, pile->len);
        annot->info.format = annot->set->format;
        annot->info.facts = annot->set->facts;
        count_outside(annot, pile, (double)slide_w, (double)slide_h);
        say_what_was_done(annot);
    }
    wsi_label_map_destroy(own_map);
    if (!ok)
        g_clear_pointer(&annot, wsi_annot_close);
    return annot;
}

void wsi_annot_close(wsi_annot *annot)
{
    if (!annot)
        return;
    wsi_annot_raster_destroy(annot->raster);
    wsi_annotations_destroy(annot->set);
    g_free(annot->info.path);
    g_free(annot);
}

const wsi_annot_info *wsi_annot_get_info(const wsi_annot *annot)
{
    return &annot->info;
}

/* ---- reading --------------------------------------------------------------------------------- */
typedef struct {
    int64_t x, y;
    uint8_t *label; /* may be NULL */
    size_t row_bytes;
    double *area; /* may be NULL */
} target;

static uint8_t label_of(const double *cover)
{
    int best = 1;
    for (int s = 2; s < WSI_COVER_SLOTS; s++)
        if (cover[s] > cover[best])
            best = s;
    if (cover[best] < LABEL_MIN)
        return 0;
    return best == WSI_COVER_IGNORE ? QS_CLASS_IGNORE : (uint8_t)best;
}

static void put_cover(void *user, int64_t x, int64_t y, int64_t n, const double *cover)
{
    const target *t = user;
    if (t->label)
        memset(t->label + (size_t)(y - t->y) * t->row_bytes + (x - t->x), label_of(cover),
               (size_t)n);
    for (int s = 0; t->area && s < WSI_COVER_SLOTS; s++)
        t->area[s == WSI_COVER_IGNORE ? QS_CLASS_IGNORE : s] += cover[s] * (double)n;
}

bool wsi_annot_areas(wsi_annot *annot, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                     double *area, uint8_t *label, size_t row_bytes, GError **error)
{
    if (w < 1 || h < 1 || !(view->downsample > 0)) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: a window of %d x %d pixels at downsample %g", annot->info.path, w, h,
                    view->downsample);
        return false;
    }
    int64_t x0 = CLAMP(x, 0, view->w), x1 = CLAMP(x + w, 0, view->w);
    int64_t y0 = CLAMP(y, 0, view->h), y1 = CLAMP(y + h, 0, view->h);
    if (area)
        memset(area, 0, 256 * sizeof *area);
    if (label && (x1 - x0 < w || y1 - y0 < h))
        for (int r = 0; r < h; r++)
            memset(label + (size_t)r * row_bytes, QS_CLASS_IGNORE, (size_t)w);
    target t = {x, y, label, row_bytes, area};
    if (x1 > x0 && y1 > y0)
        wsi_annot_raster_run(annot->raster, view->downsample, x0, y0, (int)(x1 - x0),
                             (int)(y1 - y0), put_cover, &t);
    return true;
}

bool wsi_annot_read(wsi_annot *annot, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                    uint8_t *label, size_t row_bytes, GError **error)
{
    return wsi_annot_areas(annot, view, x, y, w, h, NULL, label, row_bytes, error);
}
