/* What the browser test looks at, into a folder: a slide with a dark rectangle off every tile's
 * grid, a mask of the same rectangle at half the size, a truth that is a little different, and a
 * cohort. */
#include "base/error.h"
#include "wsi/tiff/pyramid.h"

#include <glib.h>
#include <glib/gstdio.h>

#include <stdio.h>

enum { W = 8190, H = 6142, X0 = 2914, Y0 = 1986, X1 = 5222, Y1 = 4074 };

static uint8_t slide_at(int64_t x, int64_t y)
{
    return x >= X0 && x < X1 && y >= Y0 && y < Y1 ? 20 : 235;
}

static uint8_t pred_at(int64_t x, int64_t y)
{
    return 2 * x >= X0 && 2 * x < X1 && 2 * y >= Y0 && 2 * y < Y1;
}

/* The truth is 400 pixels to the right: found, false and missed lie side by side. */
static uint8_t truth_at(int64_t x, int64_t y)
{
    return pred_at(x - 200, y);
}

static bool write_file(const char *dir, const char *name, int w, int h, int bands,
                       uint8_t (*at)(int64_t x, int64_t y), GError **error)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    wsi_tiffw_options options = {.profile = bands == 1 ? WSI_TIFFW_MASK : WSI_TIFFW_RGB_JPEG,
                                 .w = w,
                                 .h = h,
                                 .mpp = bands == 1 ? 0.5 : 0.25,
                                 .tile_px = 256,
                                 .min_level_px = 512,
                                 .jpeg_quality = 95,
                                 .max_label = 1};
    wsi_tiffw *writer = wsi_tiffw_open(path, &options, error);
    g_autofree uint8_t *row = g_malloc((size_t)(w * bands));
    bool ok = writer != NULL;
    for (int64_t y = 0; ok && y < h; y++) {
        for (int64_t i = 0; i < w * bands; i++)
            row[i] = at(i / bands, y);
        ok = wsi_tiffw_write_rows(writer, row, (size_t)(w * bands), 1, error);
    }
    if (ok)
        return wsi_tiffw_finish(writer, error);
    wsi_tiffw_abort(writer);
    return false;
}

int main(int argc, char **argv)
{
    static const char cohort[] = "slide,case,split,labelled,truth\nrect.tif,one,test,0,truth.tif\n"
                                 "bad.tif,two,test,0,\n";
    GError *error = NULL;
    if (argc != 2)
        return 2;
    g_autofree char *pred = g_build_filename(argv[1], "pred", NULL);
    g_autofree char *csv = g_build_filename(argv[1], "cohort.csv", NULL);
    g_autofree char *bad = g_build_filename(argv[1], "bad.tif", NULL);
    g_mkdir_with_parents(pred, 0700);
    bool ok = write_file(argv[1], "rect.tif", W, H, 3, slide_at, &error) &&
              write_file(pred, "rect.tif", W / 2, H / 2, 1, pred_at, &error) &&
              write_file(argv[1], "truth.tif", W / 2, H / 2, 1, truth_at, &error) &&
              g_file_set_contents(csv, cohort, -1, &error) &&
              g_file_set_contents(bad, "no slide", -1, &error);
    if (!ok)
        fprintf(stderr, "%s\n", error->message);
    g_clear_error(&error);
    return ok ? 0 : 1;
}
