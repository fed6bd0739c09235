/* Label masks from image files: of the slide's level-0 size or that divided by an integer factor
 * (floor or ceil). JPEG: binarised at >= 128. Values only 0 and 255: binary, and that is said.
 * Otherwise a label map whose values must be classes or 255 (ignore). Alpha, RGB masks: converted
 * when all channels agree, refused by name otherwise. Read through libvips; pyramidal TIFF uses
 * level 0. Thread-safe. */
#ifndef QS_WSI_MASK_H
#define QS_WSI_MASK_H

#include "base/classes.h"
#include "wsi/slide.h"

typedef enum { WSI_MASK_BINARY_JPEG, WSI_MASK_BINARY_255, WSI_MASK_LABELS } wsi_mask_kind;
typedef struct wsi_mask wsi_mask;

typedef struct {
    char *path;
    wsi_mask_kind kind;
    int64_t w, h;
    int factor;          /* slide size / mask size */
    int64_t counts[256]; /* pixels of each raw value (JPEG: after binarising, 0 and 1) */
} wsi_mask_info;

/* slide_w/h in level-0 pixels. QS_ERROR_MISMATCH with both sizes when no integer factor fits;
 * QS_ERROR_FORMAT with value and count when a label is not in `classes`. */
wsi_mask *wsi_mask_open(const char *path, int64_t slide_w, int64_t slide_h,
                        const qs_classes *classes, GError **error);
void wsi_mask_close(wsi_mask *mask);
const wsi_mask_info *wsi_mask_get_info(const wsi_mask *mask);
/* Labels of view pixels, nearest neighbour at pixel centres; outside is QS_CLASS_IGNORE. */
bool wsi_mask_read(wsi_mask *mask, const wsi_view *view, int64_t x, int64_t y, int w, int h,
                   uint8_t *label, size_t row_bytes, GError **error);
/* Rows in the mask's own pixels, for evaluation. */
bool wsi_mask_read_native(wsi_mask *mask, int64_t x, int64_t y, int w, int h, uint8_t *label,
                          size_t row_bytes, GError **error);

#endif
