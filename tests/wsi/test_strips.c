/* Baseline JPEG images read in strips: the same pixels as a whole decoding by libvips, in any
 * order, by many threads, in a window smaller than the picture, and what happens when the order is
 * wrong. */
#include "tests/wsi/helpers.h"
#include "wsi/image/jpeg_strips.h"
#include "wsi/image/picture.h"
#include "wsi/image/raster.h"
#include "wsi/slide/slide.h"

#include <math.h>

enum { W = 500, H = 1300 };

static uint8_t *whole; /* (H,W,3), by libvips */

static char *make_jpeg(const char *name)
{
    g_autofree uint8_t *rgb = g_malloc(W * H * 3);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int k = 0; k < 3; k++)
                rgb[((size_t)y * W + (size_t)x) * 3 + (size_t)k] =
                    (uint8_t)(128 + 90 * sin(x * 0.05 * (k + 1)) * cos(y * 0.031) + (x + y) % 17);
    char *path = temp_path(name);
    uint8_t *bytes;
    size_t n;
    GError *error = NULL;
    g_assert_true(wsi_picture_encode(rgb, W, H, 88, &bytes, &n, &error));
    write_file(path, bytes, n);
    g_free(bytes);
    g_free(whole);
    whole = g_malloc(W * H * 3);
    wsi_raster *raster = wsi_raster_open(path, WSI_FILE_JPEG, &error);
    g_assert_no_error(error);
    g_assert_true(wsi_raster_read_rows(raster, 0, H, whole, &error));
    wsi_raster_close(raster);
    return path;
}

static bool same(const uint8_t *rgb, int64_t x, int64_t y, int w, int h)
{
    for (int row = 0; row < h; row++)
        if (memcmp(rgb + (size_t)(row * w) * 3, whole + ((size_t)(y + row) * W + (size_t)x) * 3,
                   (size_t)w * 3) != 0)
            return false;
    return true;
}

/* Patch rows from the top, a window of three of them, twice over: two passes, no more. */
static void test_in_order(void)
{
    g_autofree char *path = make_jpeg("order.jpg");
    GError *error = NULL;
    wsi_jpeg_strips *strips = wsi_jpeg_strips_open(path, W, H, (size_t)W * 3 * 200, &error);
    g_assert_no_error(error);
    uint8_t rgb[64 * 64 * 3];
    for (int pass = 0; pass < 6; pass++) /* six passes are below what is called a wrong order */
        for (int64_t y = 0; y + 64 <= H; y += 48)
            for (int64_t x = 0; x + 64 <= W; x += 64) {
                g_assert_cmpint(wsi_jpeg_strips_read(strips, x, y, 64, 64, rgb, 192, &error), ==,
                                WSI_STRIPS_READ);
                g_assert_true(same(rgb, x, y, 64, 64));
            }
    wsi_jpeg_strips_close(strips);
}

/* Down and up again for ever: said, and nothing is read. */
static void test_out_of_order(void)
{
    g_autofree char *path = make_jpeg("zigzag.jpg");
    GError *error = NULL;
    wsi_jpeg_strips *strips = wsi_jpeg_strips_open(path, W, H, (size_t)W * 3 * 100, &error);
    uint8_t rgb[16 * 16 * 3];
    wsi_strips_outcome outcome = WSI_STRIPS_READ;
    int n = 0;
    for (; n < 40 && outcome == WSI_STRIPS_READ; n++) {
        int64_t y = n % 2 ? 0 : H - 16;
        outcome = wsi_jpeg_strips_read(strips, 3, y, 16, 16, rgb, 48, &error);
        if (outcome == WSI_STRIPS_READ)
            g_assert_true(same(rgb, 3, y, 16, 16));
    }
    g_assert_cmpint(outcome, ==, WSI_STRIPS_OUT_OF_ORDER);
    g_assert_cmpint(n, >, 10);
    g_assert_no_error(error);
    wsi_jpeg_strips_give_up(strips);
    g_assert_cmpint(wsi_jpeg_strips_read(strips, 0, 0, 16, 16, rgb, 48, &error), ==,
                    WSI_STRIPS_OUT_OF_ORDER);
    wsi_jpeg_strips_close(strips);
}

/* As a slide, in no order, by several threads: always the picture. */
static gpointer jump(gpointer user)
{
    wsi_slide *slide = user;
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    uint8_t rgb[40 * 40 * 3];
    int n_wrong = 0;
    for (int i = 0; i < 200; i++) {
        int x = g_rand_int_range(rand, 0, W - 40), y = g_rand_int_range(rand, 0, H - 40);
        n_wrong +=
            !wsi_slide_read(slide, 0, x, y, 40, 40, rgb, 120, NULL) || !same(rgb, x, y, 40, 40);
    }
    return GINT_TO_POINTER(n_wrong);
}

static void test_as_slide(void)
{
    g_autofree char *path = make_jpeg("a slide.jpg");
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(wsi_slide_get_info(slide)->lane_why, ==, "decoded in strips");
    g_assert_cmpint(wsi_slide_temp_bytes(slide), ==, 0);
    GThread *threads[3];
    for (int i = 0; i < 3; i++)
        threads[i] = g_thread_new("jump", jump, slide);
    for (int i = 0; i < 3; i++)
        g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(threads[i])), ==, 0);
    uint8_t rgb[60 * 60 * 3]; /* over the border: white */
    g_assert_true(wsi_slide_read(slide, 0, W - 20, H - 20, 60, 60, rgb, 180, &error));
    g_assert_cmpint(rgb[59 * 180], ==, 255);
    g_assert_cmpint(rgb[20 * 3], ==, 255);
    g_assert_cmpmem(rgb, 60, whole + ((size_t)(H - 20) * W + W - 20) * 3, 60);
    wsi_slide_close(slide);
}

/* A file replaced by a smaller picture while it is open. */
static void test_changed(void)
{
    g_autofree char *path = make_jpeg("changed.jpg");
    GError *error = NULL;
    wsi_jpeg_strips *strips = wsi_jpeg_strips_open(path, W + 1, H, 1 << 20, &error);
    uint8_t rgb[16 * 16 * 3];
    g_assert_cmpint(wsi_jpeg_strips_read(strips, 0, 0, 16, 16, rgb, 48, &error), ==,
                    WSI_STRIPS_DAMAGED);
    expect_error(error, QS_ERROR_FORMAT, path, "changed while it was open", NULL);
    wsi_jpeg_strips_close(strips);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/strips/in-order", test_in_order);
    g_test_add_func("/strips/out-of-order", test_out_of_order);
    g_test_add_func("/strips/as-slide", test_as_slide);
    g_test_add_func("/strips/changed", test_changed);
    int rc = g_test_run();
    g_free(whole);
    temp_clean();
    return rc;
}
