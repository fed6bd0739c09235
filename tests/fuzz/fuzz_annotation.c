/* Any bytes as an annotation file: read, painted at two resolutions, closed. Every pixel's areas
 * must add up to the pixel. */
#include "tests/fuzz/fuzz.h"
#include "wsi/annot/shapes.h"

static void paint(const char *path)
{
    enum { SIDE = 40 };
    qs_classes classes;
    GError *error = NULL;
    uint8_t label[SIDE * SIDE];
    double area[256], sum = 0;
    qs_classes_init_binary(&classes, "a");
    wsi_label_map *map = wsi_label_map_create("*=1", &classes, NULL);
    wsi_annot *annot = wsi_annot_open(path, 4000, 4000, &classes, map, &error);
    if ((annot != NULL) == (error != NULL))
        abort();
    for (int k = 0; annot && k < 2; k++) {
        wsi_view view = {.w = SIDE, .h = SIDE, .downsample = k ? 100 : 1.5};
        if (!wsi_annot_areas(annot, &view, 0, 0, SIDE, SIDE, area, label, SIDE, NULL))
            abort();
        sum = 0;
        for (int i = 0; i < 256; i++)
            sum += area[i];
        if (!(sum >= SIDE * SIDE - 1e-3 && sum <= SIDE * SIDE + 1e-3))
            abort();
    }
    wsi_annot_close(annot);
    wsi_label_map_destroy(map);
    g_clear_error(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[FUZZ_PATH];
    int fd = fuzz_open(data, n, path);
    paint(path);
    fuzz_close(fd);
    return 0;
}
