/* Between the annotation readers and the model: the reader's table, and how a set is filled. */
#ifndef QS_WSI_ANNOT_PRIV_H
#define QS_WSI_ANNOT_PRIV_H

#include "wsi/annot/shapes.h"

typedef struct {
    const char *name;
    /* Does a file that begins with these bytes (UTF-8 after any byte-order mark, n of them) look
     * like mine? */
    bool (*takes)(const char *head, size_t n);
    bool (*read)(const char *path, wsi_annotations *set, GError **error);
} wsi_annot_reader;

extern const wsi_annot_reader wsi_annot_asap, wsi_annot_aperio, wsi_annot_geojson;
extern const wsi_annot_reader *const wsi_annot_readers[]; /* NULL-terminated */

/* ---- filling a set: shape, ring, points …, ring, points …, end ------------------------------- */
/* Texts may be NULL. The shape belongs to the set and is valid until the next begin. */
wsi_shape *wsi_annot_shape_begin(wsi_annotations *set, wsi_shape_kind kind, const char *class_name,
                                 const char *name, const char *group);
void wsi_annot_shape_colour(wsi_shape *shape, int r, int g, int b);
void wsi_annot_ring_begin(wsi_annotations *set);
/* False with QS_ERROR_FORMAT for what cannot be a pixel: not finite, or beyond ±2^40. */
bool wsi_annot_point_add(wsi_annotations *set, double x, double y, GError **error);
/* Closes the shape: a repeated last point is taken off, rings of less than three points are dropped
 * and counted, as is the shape when nothing is left. count_open: count rings whose last point is
 * not their first (formats that close their rings themselves). */
void wsi_annot_shape_end(wsi_annotations *set, bool count_open);
/* A closed ring through the ellipse in a box, of exactly its area, at most 0.05 pixels from it. */
bool wsi_annot_ellipse_add(wsi_annotations *set, double x0, double y0, double x1, double y1,
                           GError **error);
/* Replaces the ring being filled, two opposite corners, by the rectangle between them. */
bool wsi_annot_ring_to_box(wsi_annotations *set, GError **error);
/* Replaces the ring being filled by the ellipse in its bounding box. */
bool wsi_annot_ring_to_ellipse(wsi_annotations *set, GError **error);
/* "#rrggbb" */
bool wsi_annot_parse_colour(const char *text, uint8_t rgb[3]);
/* Rings of the set that cross themselves, into its facts. */
void wsi_annot_count_crossings(wsi_annotations *set);

/* A GeoJSON a feature at a time: `each` sees a set of one feature's shapes. Memory is that of the
 * largest feature and 16 bytes a feature for its id. */
bool wsi_annotations_read_each(const char *path,
                               bool (*each)(void *user, const wsi_annotations *set, GError **error),
                               void *user, wsi_annot_facts *facts, GError **error);

/* wsi_annot_open for a file whose 0,0 is at dx,dy of level 0. */
wsi_annot *wsi_annot_open_shifted(const char *path, double dx, double dy, int64_t slide_w,
                                  int64_t slide_h, const qs_classes *classes,
                                  const wsi_label_map *map, GError **error);

#endif
