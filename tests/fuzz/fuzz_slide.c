/* Any bytes as a slide: sniffed, probed, opened by whichever driver takes them, a corner, the
 * middle and the place past the end read from every level, through a view as well. A file is
 * refused with one error, or opens and gives pixels or one error a read; nothing else may happen.
 */
#include "tests/fuzz/fuzz.h"
#include "wsi/slide/slide.h"

enum { SIDE = 48, PIXELS_MAX = 1 << 22 };

static void expect_one(bool ok, GError **error)
{
    if (ok == (*error != NULL))
        abort();
    g_clear_error(error);
}

static void read_levels(wsi_slide *slide)
{
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    static uint8_t rgb[SIDE * SIDE * 3];
    GError *error = NULL;
    for (int level = 0; level < info->n_levels; level++) {
        const int64_t xs[] = {0, info->levels[0].w / 2, info->levels[0].w - 1, -7};
        const int64_t ys[] = {0, info->levels[0].h / 2, info->levels[0].h + 5, -3};
        for (int i = 0; i < 4; i++)
            expect_one(
                wsi_slide_read(slide, level, xs[i], ys[i], SIDE, SIDE, rgb, SIDE * 3, &error),
                &error);
    }
    wsi_view view;
    bool ok = wsi_view_init_fit(&view, slide, SIDE, &error);
    expect_one(ok, &error);
    if (ok)
        expect_one(wsi_view_read(&view, 0, 0, (int)view.w, (int)view.h, rgb, SIDE * 3, &error),
                   &error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[FUZZ_PATH];
    GError *error = NULL;
    int fd = fuzz_open(data, n, path);
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    expect_one(slide != NULL, &error);
    /* A plain image is decoded whole at its first read: large ones take time and find nothing more.
     */
    if (slide) {
        const wsi_level *base = &wsi_slide_get_info(slide)->levels[0];
        if (base->w < 1 || base->h < 1)
            abort();
        if (base->w <= PIXELS_MAX / base->h)
            read_levels(slide);
    }
    wsi_slide_close(slide);
    fuzz_close(fd);
    return 0;
}
