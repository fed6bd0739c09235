/* Label masks of a slide, from image files and from annotation files.
 *
 * Images: of the slide's level-0 size or that divided by an integer factor
 * (floor or ceil). JPEG: binarised at >= 128. Values only 0 and 255: binary where there are two
 * classes. Otherwise a label map whose values must be classes or 255 (ignore). Values are those that
 * the file stores (wsi/image/stored.h): channels must agree, several pages are refused; pyramidal TIFF
 * uses level 0.
 *
 * Annotations (ASAP XML, Aperio XML, GeoJSON, told by content): annotation.h has the rules. Their
 * own pixels are level-0 pixels, or squares of them (wsi_mask_set_factor). Thread-safe. */
#ifndef QS_WSI_MASK_H
#define QS_WSI_MASK_H

#include "base/classes.h"
#include "wsi/annot/label_map.h"
#include "wsi/slide/slide.h"

typedef enum {
    WSI_MASK_BINARY_JPEG,
    WSI_MASK_BINARY_255,
    WSI_MASK_LABELS,
    WSI_MASK_ANNOTATION,
    WSI_MASK_KINDS
} wsi_mask_kind;
typedef struct wsi_mask wsi_mask;

typedef struct {
    char *path;
    wsi_mask_kind kind;
    int64_t w, h;
    int factor;          /* slide size / mask size */
    int64_t counts[256]; /* pixels of each raw value (JPEG: after binarising, 0 and 1); 0 for
                            annotations */
} wsi_mask_info;

/* What 255 means in an image whose values are 0 and 255 alone. */
typedef enum {
    WSI_255_AUTO,   /* class 1 with two classes; with more it is refused */
    WSI_255_BINARY, /* class 1 */
    WSI_255_IGNORE, /* ignore, as in every label map */
} wsi_mask_255;

/* How files become labels. */
typedef struct {
    const wsi_label_map *labels; /* borrowed while opening; NULL: the names of the class table */
    double x_l0, y_l0;           /* where the file's 0,0 lies on the slide */
    wsi_mask_255 value_255;      /* images alone; labels and x_l0, y_l0 annotation files alone */
} wsi_mask_options;

/* slide_w/h in level-0 pixels. QS_ERROR_MISMATCH with both sizes when no integer factor fits;
 * QS_ERROR_FORMAT with value and count when a label is not in `classes`. */
wsi_mask *wsi_mask_open(const char *path, int64_t slide_w, int64_t slide_h,
                        const qs_classes *classes, GError **error);
/* options NULL: as wsi_mask_open. */
wsi_mask *wsi_mask_open_with(const char *path, int64_t slide_w, int64_t slide_h,
                             const qs_classes *classes, const wsi_mask_options *options,
                             GError **error);
/* What can be said without reading pixels or outlines: it is there, of a kind that is read, and, an image,
 * of a size that fits the slide's. */
bool wsi_mask_check_header(const char *path, int64_t slide_w, int64_t slide_h, GError **error);
void wsi_mask_close(wsi_mask *mask);
const wsi_mask_info *wsi_mask_get_info(const wsi_mask *mask);
/* Why no pixel gets a class; NULL where one may. *outside (may be
 * NULL): all areas lie outside the slide, so it is hardly this slide's file. Owned by the caller. */
char *wsi_mask_paints_nothing(const wsi_mask *mask, bool *outside);
/* What was found in the file and done about it, one remark a line; NULL when there is nothing to say. Owned by the caller. */
char *wsi_mask_remarks(const wsi_mask *mask);
/* Bytes that an annotation file of this size may take in memory, at most; for image masks what
 * ordinary ones take. 0 when there is no such file. */
int64_t wsi_mask_memory(const char *path);
/* Annotations: a native pixel is factor × factor level-0 pixels (1 after opening), the plane the
 * slide's size divided by it, rounded down. Images: no effect, their factor is their own. Not while
 * others read. */
void wsi_mask_set_factor(wsi_mask *mask, int factor);
/* Labels of view pixels; outside is QS_CLASS_IGNORE. Images: nearest neighbour at pixel centres.
 * Annotations: the class with the largest area in the pixel, if it is at least half of it. */
bool wsi_mask_read(wsi_mask *mask, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                   uint8_t *label, size_t row_bytes, GError **error);
/* The same, and the pixels of each class in the part of the window that lies in the view. Images:
 * the labels counted. Annotations: the exact areas, rounded so that they sum to that part. */
bool wsi_mask_read_counts(wsi_mask *mask, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                          uint8_t *label, size_t row_bytes, int64_t counts[256], GError **error);
/* Rows in the mask's own pixels, for evaluation. */
bool wsi_mask_read_native(wsi_mask *mask, int64_t x, int64_t y, int w, int h, uint8_t *label,
                          size_t row_bytes, GError **error);

#endif
