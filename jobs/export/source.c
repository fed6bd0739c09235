/* See job_export_source.h. */
#include "jobs/export/source.h"

#include "base/error.h"
#include "jobs/mask_note.h"
#include "wsi/image/sniff.h"
#include "wsi/tiff/probe.h"

#include <json-glib/json-glib.h>

#include <math.h>
#include <string.h>

/* ---- reading --------------------------------------------------------------------------------- */
static bool read_mask(void *user, int64_t x, int64_t y, int w, int h, uint8_t *label,
                      size_t row_bytes, GError **error)
{
    return wsi_mask_read_native(((job_export_source *)user)->mask, x, y, w, h, label, row_bytes,
                                error);
}

static bool read_annot(void *user, int64_t x, int64_t y, int w, int h, uint8_t *label,
                       size_t row_bytes, GError **error)
{
    job_export_source *s = user;
    wsi_view view = {.w = s->labels.w, .h = s->labels.h, .downsample = s->factor};
    return wsi_annot_read(s->annot, &view, x, y, w, h, label, row_bytes, error);
}

/* Whole rows from the top, as the tracer asks for them. */
static bool read_prob(void *user, int64_t x, int64_t y, int w, int h, uint8_t *label,
                      size_t row_bytes, GError **error)
{
    job_export_source *s = user;
    g_assert(x == 0 && w == s->prob.w && row_bytes == (size_t)w);
    return wsi_raster_read_rows(s->prob_raster, y, h, label, error);
}

/* ---- the note of a predicted mask ------------------------------------------------------------ */
typedef struct {
    bool has_classes;
    qs_classes classes;
    int factor;         /* 0 none */
    char *slide, *path; /* path: of the note; NULL without */
} note;

static void read_note(const char *path, note *n)
{
    const char *dot = strrchr(path, '.');
    g_autofree char *stem = g_strndup(path, dot ? (gsize)(dot - path) : strlen(path));
    g_autofree char *file = g_strconcat(stem, ".json", NULL);
    *n = (note){0};
    if (!g_file_test(file, G_FILE_TEST_IS_REGULAR))
        return;
    n->path = g_strdup(file);
    n->has_classes = job_mask_note_classes(file, &n->classes);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root =
        json_parser_load_from_file(parser, file, NULL) ? json_parser_get_root(parser) : NULL;
    if (!root || !JSON_NODE_HOLDS_OBJECT(root))
        return;
    JsonObject *object = json_node_get_object(root);
    gint64 factor = json_object_get_int_member_with_default(object, "factor", 0);
    n->factor = factor > 0 && factor <= 65536 ? (int)factor : 0;
    n->slide = g_strdup(json_object_get_string_member_with_default(object, "slide", NULL));
    qs_info("%s: classes, factor %d and slide are those of %s", path, n->factor, file);
}

/* --slide, or the note's when it is still there. */
static bool open_slide(job_export_source *s, const export_options *o, const note *n, GError **error)
{
    if (!o->slide && !(n->slide && g_file_test(n->slide, G_FILE_TEST_IS_REGULAR)))
        return true;
    if (o->slide && n->path && !job_mask_note_is_of(n->path, o->slide, error))
        return false;
    s->slide = wsi_slide_open(o->slide ? o->slide : n->slide, o->mpp, error);
    if (s->slide) {
        s->canvas_w = wsi_slide_get_info(s->slide)->levels[0].w;
        s->canvas_h = wsi_slide_get_info(s->slide)->levels[0].h;
        s->mpp_l0 = wsi_slide_get_info(s->slide)->mpp;
    }
    return s->slide != NULL;
}

/* ---- masks ----------------------------------------------------------------------------------- */
/* Without a table: as many classes as the mask has labels. */
static void classes_of_mask(job_export_source *s)
{
    const wsi_mask_info *info = wsi_mask_get_info(s->mask);
    int top = 1;
    for (int v = 2; v < QS_CLASSES_MAX && info->kind == WSI_MASK_LABELS; v++)
        if (info->counts[v])
            top = v;
    if (top == 1)
        qs_classes_init_binary(&s->classes, "foreground");
    else
        qs_classes_init_n(&s->classes, top + 1);
}

/* The mask's own size and resolution (0 unknown), from its header. */
static bool size_of_mask(const char *path, int64_t *w, int64_t *h, double *mpp, GError **error)
{
    wsi_file_type type;
    int64_t n_bytes;
    wsi_tiff_facts facts = {0};
    if (!wsi_sniff(path, &type, &n_bytes, error) ||
        (type == WSI_FILE_TIFF && !wsi_tiff_probe(path, n_bytes, &facts, error)))
        return false;
    if (type != WSI_FILE_TIFF && type != WSI_FILE_PNG && type != WSI_FILE_JPEG) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "%s: is %s; a mask is a TIFF, PNG or JPEG, an annotation file ASAP XML, Aperio "
                    "XML or GeoJSON",
                    path, wsi_file_type_name(type));
        return false;
    }
    wsi_raster *raster = wsi_raster_open(path, type, error);
    if (!raster)
        return false;
    *w = wsi_raster_get_info(raster)->w;
    *h = wsi_raster_get_info(raster)->h;
    *mpp = facts.mpp_x >= 0.05 && facts.mpp_x < 1000 ? facts.mpp_x
                                                     : 0; /* screen resolutions are no µm */
    wsi_raster_close(raster);
    return true;
}

static bool open_mask(job_export_source *s, const export_options *o, const note *n, GError **error)
{
    int64_t w, h;
    double mpp;
    if (!size_of_mask(o->path, &w, &h, &mpp, error))
        return false;
    qs_classes table;
    qs_classes_init_n(&table, QS_CLASSES_MAX);
    if (o->classes && !qs_classes_from_text(&table, o->classes, error))
        return false;
    if (!o->classes && n->has_classes)
        table = n->classes;
    s->mask = wsi_mask_open(o->path, s->slide ? s->canvas_w : w, s->slide ? s->canvas_h : h, &table,
                            error);
    if (!s->mask)
        return false;
    s->factor = s->slide ? wsi_mask_get_info(s->mask)->factor : n->factor ? n->factor : 1;
    s->labels = (wsi_labels){w, h, read_mask, s};
    if (!s->slide) {
        s->canvas_w = w * s->factor;
        s->canvas_h = h * s->factor;
    }
    if (!(s->mpp_l0 > 0))
        s->mpp_l0 = mpp / s->factor;
    s->classes = table;
    if (!o->classes && !n->has_classes)
        classes_of_mask(s);
    return true;
}

/* ---- annotations ----------------------------------------------------------------------------- */
static const char unnamed[] = "unnamed"; /* shapes without a class */

static void append_entry(GString *map, const char *name, int k)
{
    g_string_append(map, map->len ? "," : "");
    for (const char *p = name; *p; p++) {
        if (strchr("\\,=*", *p))
            g_string_append_c(map, '\\');
        g_string_append_c(map, *p);
    }
    g_string_append_printf(map, "=%d", k);
}

/* A table of the names in the file, in the order in which they come, with their colours; and the
 * label map that goes with it. */
static bool classes_of_set(const wsi_annotations *set, qs_classes *classes, GString *map,
                           GError **error)
{
    qs_classes_init_n(classes, QS_CLASSES_MAX);
    classes->n = 1;
    append_entry(map, classes->items[0].name, 0);
    for (guint i = 0; i < set->shapes->len; i++) {
        const wsi_shape *shape = &g_array_index(set->shapes, wsi_shape, i);
        int k = 0;
        if (shape->kind != WSI_SHAPE_AREA || shape->erase)
            continue;
        const char *name = *shape->class_name ? shape->class_name : unnamed;
        while (k < classes->n && g_ascii_strcasecmp(classes->items[k].name, name))
            k++;
        if (k < classes->n)
            continue;
        bool fits = strlen(name) < sizeof classes->items[0].name;
        if (classes->n == QS_CLASSES_MAX || !fits) {
            g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                        "%s: its classes (here \"%s\") do not make a class table (at most %d, with "
                        "names of 1 to "
                        "31 bytes); pass --classes and --labels",
                        set->path, shape->class_name, QS_CLASSES_MAX);
            return false;
        }
        append_entry(map, shape->class_name, classes->n);
        qs_class *added = &classes->items[classes->n++];
        g_strlcpy(added->name, name, sizeof added->name);
        bool taken =
            false; /* two classes of one colour could not be told apart: a palette's instead */
        for (k = 1; k + 1 < classes->n; k++)
            taken |= !memcmp(classes->items[k].rgb, shape->rgb, 3);
        if (shape->has_colour && !taken)
            memcpy(added->rgb, shape->rgb, 3);
    }
    classes->n = MAX(classes->n, 2);
    return true;
}

/* With --labels alone: as many classes as the map gives out here, each called as the first shape of
 * it. */
static void name_classes(const wsi_annotations *set, const wsi_label_map *map, qs_classes *classes)
{
    bool named[QS_CLASSES_MAX] = {true};
    int top = 1, rank;
    for (guint i = 0; i < set->shapes->len; i++) {
        const wsi_shape *shape = &g_array_index(set->shapes, wsi_shape, i);
        int k =
            shape->kind == WSI_SHAPE_AREA ? wsi_label_map_find(map, shape->class_name, &rank) : 0;
        if (k < 0 || k >= QS_CLASSES_MAX || named[k])
            continue;
        named[k] = true;
        top = MAX(top, k);
        if (*shape->class_name && strlen(shape->class_name) < sizeof classes->items[k].name)
            g_strlcpy(classes->items[k].name, shape->class_name, sizeof classes->items[k].name);
    }
    classes->n = top + 1;
}

static void canvas_of_set(const wsi_annotations *set, int64_t *w, int64_t *h)
{
    double x1 = 1, y1 = 1;
    for (guint i = 0; i < set->shapes->len; i++) {
        x1 = MAX(x1, g_array_index(set->shapes, wsi_shape, i).x1);
        y1 = MAX(y1, g_array_index(set->shapes, wsi_shape, i).y1);
    }
    *w = (int64_t)ceil(x1);
    *h = (int64_t)ceil(y1);
}

static bool open_annot(job_export_source *s, const export_options *o, GError **error)
{
    wsi_annotations *set = wsi_annotations_read(o->path, error);
    if (!set)
        return false;
    if (!s->slide)
        canvas_of_set(set, &s->canvas_w, &s->canvas_h);
    g_autoptr(GString) own_map = g_string_new(NULL);
    bool ok = true;
    if (o->classes)
        ok = qs_classes_from_text(&s->classes, o->classes, error);
    else if (o->labels)
        qs_classes_init_n(&s->classes, QS_CLASSES_MAX);
    else
        ok = classes_of_set(set, &s->classes, own_map, error);
    const char *text = o->labels ? o->labels : own_map->len ? own_map->str : NULL;
    wsi_label_map *map = ok ? wsi_label_map_create(text, &s->classes, error) : NULL;
    if (map && o->labels && !o->classes)
        name_classes(set, map, &s->classes);
    wsi_annotations_destroy(set);
    if (!map)
        return false;
    wsi_label_map_set_ordered(map, o->label_order);
    s->factor = MAX(o->factor, 1);
    s->annot = wsi_annot_open(o->path, s->canvas_w, s->canvas_h, &s->classes, map, error);
    s->labels = (wsi_labels){MAX(1, s->canvas_w / s->factor), MAX(1, s->canvas_h / s->factor),
                             read_annot, s};
    wsi_label_map_destroy(map);
    return s->annot != NULL;
}

/* ---- both ------------------------------------------------------------------------------------ */
static bool open_prob(job_export_source *s, const char *path, GError **error)
{
    wsi_file_type type;
    int64_t n_bytes;
    if (!wsi_sniff(path, &type, &n_bytes, error))
        return false;
    s->prob_raster = wsi_raster_open(path, type, error);
    if (!s->prob_raster)
        return false;
    const wsi_raster_info *info = wsi_raster_get_info(s->prob_raster);
    s->prob = (wsi_labels){info->w, info->h, read_prob, s};
    if (info->n_bands == 1 && info->w == s->labels.w && info->h == s->labels.h)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                "%s: %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
                " pixels in %d channels; probabilities have one "
                "channel and the mask's size, %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT,
                path, info->w, info->h, info->n_bands, s->labels.w, s->labels.h);
    return false;
}

bool job_export_source_open(job_export_source *s, const export_options *o, GError **error)
{
    *s = (job_export_source){0};
    bool is_annot = wsi_annotations_sniff(o->path);
    note n = {0};
    if (!is_annot)
        read_note(o->path, &n);
    bool ok = open_slide(s, o, &n, error);
    ok = ok && (is_annot ? open_annot(s, o, error) : open_mask(s, o, &n, error));
    ok = ok && (!o->prob || open_prob(s, o->prob, error));
    if (ok && o->mpp > 0)
        s->mpp_l0 = o->mpp;
    g_free(n.slide);
    g_free(n.path);
    if (!ok)
        job_export_source_close(s);
    return ok;
}

void job_export_source_close(job_export_source *s)
{
    wsi_mask_close(s->mask);
    wsi_annot_close(s->annot);
    wsi_raster_close(s->prob_raster);
    wsi_slide_close(s->slide);
    *s = (job_export_source){0};
}
