/* Outlines drawn by people: ASAP XML, Aperio XML, QuPath GeoJSON in, label pixels out.
 *
 * wsi_annotations is the plain model: shapes with their class, each a list of rings in level-0
 * pixels. wsi_annot is the same seen as a label mask of a slide: what wsi_mask is for images. Fill
 * rules and what is done with odd files are in docs/annotations.md; in short:
 * - the inside of a shape is even-odd over its rings, so holes and self-crossing rings need no
 * care;
 * - rings are closed; what lies outside the canvas is cut off; both are counted;
 * - shapes are painted in the order of the file (or of the label map), later ones win;
 * - lines and points are kept and counted, and paint nothing;
 * - the areas are exact: of every pixel each class has the area in which it is on top. */
#ifndef QS_WSI_ANNOTATION_H
#define QS_WSI_ANNOTATION_H

#include "base/classes.h"
#include "wsi/annot/label_map.h"
#include "wsi/slide/slide.h"

typedef struct {
    double x, y; /* level-0 pixels, 0,0 is the upper left corner of the upper left pixel */
} wsi_point;

typedef enum { WSI_SHAPE_AREA, WSI_SHAPE_LINE, WSI_SHAPE_POINTS } wsi_shape_kind;

typedef struct {
    int64_t first,
        n; /* of the set's points; an area's ring is closed without repeating its start */
} wsi_ring;

typedef struct {
    wsi_shape_kind kind;
    bool erase; /* takes the shapes of its group away, wherever it stands (Aperio's NegativeROA) */
    bool has_colour;
    uint8_t rgb[3];
    const char *class_name, *name, *group; /* "" when there is none; live as long as the set */
    int64_t first_ring, n_rings;
    double x0, y0, x1, y1; /* bounding box */
} wsi_shape;

/* What was found and what was done about it. The last block serves the check of our own exports. */
typedef struct {
    int64_t n_features;                 /* annotations as the file counts them */
    int64_t n_areas, n_lines, n_points; /* shapes of each kind */
    int64_t n_empty;         /* features without geometry, rings of less than three points */
    int64_t n_ellipses;      /* drawn as polygons of the same area */
    int64_t n_splines;       /* taken as polygons through their points */
    int64_t n_open;          /* rings that had to be closed */
    int64_t n_self_crossing; /* rings that cross themselves: even-odd */
    int64_t n_not_examined;  /* rings too long to be examined for that */

    int64_t n_uuid, n_id_repeated, n_object_type, n_class_and_colour, n_group_undeclared;
} wsi_annot_facts;

typedef struct wsi_annotations {
    char *path;
    const char *format;              /* "ASAP XML" … */
    GArray *shapes, *rings, *points; /* of wsi_shape, wsi_ring, wsi_point */
    GStringChunk *text;
    wsi_annot_facts facts;
    /* (optional, GeoJSON alone) Takes the shapes of each feature, which are then dropped. */
    bool (*each)(void *user, const struct wsi_annotations *set, GError **error);
    void *each_user;
} wsi_annotations;

/* By content, never by name. QS_ERROR_UNSUPPORTED when no reader takes the file, QS_ERROR_FORMAT
 * with file and line when it is damaged. NULL on error. */
wsi_annotations *wsi_annotations_read(const char *path, GError **error);
void wsi_annotations_destroy(wsi_annotations *set); /* NULL accepted */
/* Does the file begin as one of the formats? False for what cannot be read. */
bool wsi_annotations_sniff(const char *path);

/* ---- as a label mask -------------------------------------------------------------------------
 * Thread-safe after opening. */
typedef struct wsi_annot wsi_annot;

typedef struct {
    char *path;
    const char *format;
    wsi_annot_facts facts;
    int64_t n_painted;        /* area shapes with a class, erasing ones among them */
    int64_t n_ignored_names;  /* shapes whose class the label map leaves out */
    int64_t n_cut, n_outside; /* shapes partly, wholly outside the canvas */
    int64_t n_laid;           /* of the painted those that add to a class and touch the canvas */
} wsi_annot_info;

/* slide_w/h in level-0 pixels. map NULL: every class name is that of a class of the table.
 * QS_ERROR_FORMAT with name and count when a class name is in neither. */
wsi_annot *wsi_annot_open(const char *path, int64_t slide_w, int64_t slide_h,
                          const qs_classes *classes, const wsi_label_map *map, GError **error);
void wsi_annot_close(wsi_annot *annot);
const wsi_annot_info *wsi_annot_get_info(const wsi_annot *annot);
/* Why no pixel gets a class, with counts and the way out; NULL where one may. Owned by the caller. */
char *wsi_annot_paints_nothing(const wsi_annot *annot);
/* What was found and done, one remark a line; NULL when there is nothing to say. Owned by the
 * caller. */
char *wsi_annot_remarks(const wsi_annot *annot);
/* Labels of view pixels: the class with the largest area in the pixel if that is at least half of
 * it, else background; QS_CLASS_IGNORE outside the view. The view's slide is not used. */
bool wsi_annot_read(wsi_annot *annot, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                    uint8_t *label, size_t row_bytes, GError **error);
/* area[256]: view pixels (not whole ones) of each class in the window, exact; what lies outside the
 * view is not counted, background is in area[0]. label may be NULL. */
bool wsi_annot_areas(wsi_annot *annot, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                     double *area, uint8_t *label, size_t row_bytes, GError **error);

#endif
