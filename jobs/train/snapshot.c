#include "jobs/train/snapshot.h"

#include "base/file.h"
#include "wsi/image/picture.h"

#include <string.h>

enum { GAP = 4, N_ROWS_MAX = 5 };

/* UC, US, DC, DS: colours that differ in lightness too, for those who do not see red and green. */
static const uint8_t region_rgb[KN_N_REGIONS][3] = {
    {42, 112, 184}, {69, 145, 200}, {200, 50, 60}, {216, 112, 69}};
static const uint8_t grey[3] = {160, 160, 160}; /* ignored, excluded, unknown */

typedef struct {
    uint8_t *rgb;
    int w;
} canvas;

static void put(const canvas *c, int x, int y, const uint8_t *rgb)
{
    memcpy(c->rgb + ((size_t)y * (size_t)c->w + (size_t)x) * 3, rgb, 3);
}

static const uint8_t *class_colour(const qs_classes *classes, uint8_t value)
{
    return value < classes->n ? classes->items[value].rgb : grey;
}

static const uint8_t *region_colour(uint8_t value)
{
    return value < KN_N_REGIONS ? region_rgb[value] : grey;
}

/* One cell of the picture: image `i` in row `row`. */
static void draw_cell(const canvas *c, const tr_snapshot *s, const qs_classes *classes, int row,
                      int i, int x0, int y0)
{
    const uint8_t *planes[N_ROWS_MAX] = {NULL, s->label, s->y, s->y_ref, s->region};
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px, at = (size_t)i * px;
    for (int y = 0; y < s->patch_px; y++) {
        for (int x = 0; x < s->patch_px; x++, at++) {
            const uint8_t *rgb = row == 0   ? s->rgb + at * 3
                                 : row == 4 ? region_colour(planes[row][at])
                                            : class_colour(classes, planes[row][at]);
            put(c, x0 + x, y0 + y, rgb);
        }
    }
}

bool job_train_snapshot_write(const tr_snapshot *s, const qs_classes *classes, int max_images,
                              const char *dir, GError **error)
{
    int n_labelled = MIN(s->n_labelled, max_images),
        n_unlabelled = MIN(s->n - s->n_labelled, max_images);
    int n = n_labelled + n_unlabelled,
        n_rows = s->region  ? 5
                 : s->y_ref ? 4
                            : 3,
        cell = s->patch_px + GAP;
    int w = n * cell + GAP, h = n_rows * cell + GAP;
    size_t bytes = (size_t)w * (size_t)h * 3;
    g_autofree uint8_t *rgb = g_malloc(bytes);
    memset(rgb, 255, bytes);
    canvas c = {.rgb = rgb, .w = w};
    for (int row = 0; row < n_rows; row++) {
        for (int k = 0; k < n; k++) {
            int image = k < n_labelled ? k : s->n_labelled + k - n_labelled;
            draw_cell(&c, s, classes, row, image, GAP + k * cell, GAP + row * cell);
        }
    }
    g_autofree char *path = g_strdup_printf("%s/%08" G_GINT64_FORMAT ".png", dir, s->iteration);
    return qs_dir_create(dir, error) && wsi_picture_write_png(path, rgb, w, h, error);
}
