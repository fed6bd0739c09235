/* Label masks: the kinds, the sizes, the errors, and reading at any resolution. */
#include "tests/wsi/helpers.h"
#include "tests/wsi/make_tiff.h"
#include "wsi/annot/mask.h"
#include "wsi/image/picture.h"

typedef uint8_t (*label_at)(int64_t x, int64_t y);

static label_at painter; /* what paint() draws */

static void paint(int64_t x, int64_t y, uint8_t rgb[3])
{
    memset(rgb, painter(x, y), 3);
}

static char *make_mask(const char *name, int w, int h, label_at label)
{
    char *path = temp_path(name);
    make_tiff_options o = {.strips = true,
                           .w = w,
                           .h = h,
                           .n_samples = 1,
                           .compression = COMPRESSION_LZW,
                           .pixel = paint};
    painter = label;
    make_tiff(path, &o);
    return path;
}

static uint8_t four_classes(int64_t x, int64_t y)
{
    uint8_t rgb[3];
    make_noise(x / 7, y / 5, rgb);
    return rgb[0] % 5 == 4 ? QS_CLASS_IGNORE : rgb[0] % 5;
}

static uint8_t binary_255(int64_t x, int64_t y)
{
    return (x / 11 + y / 13) % 2 ? 255 : 0;
}
static uint8_t seven(int64_t x, int64_t y)
{
    return x == 17 && y < 3 ? 7 : 1;
}
static uint8_t all_background(int64_t x, int64_t y)
{
    return (uint8_t)(0 * (x + y));
}

static wsi_mask *open_ok(const char *path, int64_t slide_w, int64_t slide_h, int n_classes)
{
    qs_classes classes;
    qs_classes_init_n(&classes, n_classes);
    GError *error = NULL;
    wsi_mask *mask = wsi_mask_open(path, slide_w, slide_h, &classes, &error);
    g_assert_no_error(error);
    return mask;
}

static GError *open_error(const char *path, int64_t slide_w, int64_t slide_h, int n_classes)
{
    qs_classes classes;
    qs_classes_init_n(&classes, n_classes);
    GError *error = NULL;
    g_assert_null(wsi_mask_open(path, slide_w, slide_h, &classes, &error));
    g_assert_nonnull(strstr(error->message, path));
    return error;
}

static void check_native(wsi_mask *mask, label_at label, bool binary)
{
    const wsi_mask_info *info = wsi_mask_get_info(mask);
    GError *error = NULL;
    int w = (int)info->w - 6, h = (int)info->h - 4;
    uint8_t *got = g_malloc((size_t)w * (size_t)h);
    g_assert_true(wsi_mask_read_native(mask, 5, 3, w, h, got, (size_t)w, &error));
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int want = label(x + 5, y + 3);
            g_assert_cmpint(got[y * w + x], ==, binary ? want == 255 : want);
        }
    g_free(got);
    g_assert_false(wsi_mask_read_native(mask, 0, 0, (int)info->w + 1, 1, NULL, 0, &error));
    expect_error(error, QS_ERROR_ARG, "outside", NULL);
}

static void test_label_map(void)
{
    g_autofree char *path = make_mask("labels.tif", 333, 222, four_classes);
    wsi_mask *mask = open_ok(path, 333, 222, 4);
    const wsi_mask_info *info = wsi_mask_get_info(mask);
    g_assert_cmpint(info->kind, ==, WSI_MASK_LABELS);
    g_assert_cmpint(info->factor, ==, 1);
    int64_t counts[256] = {0};
    for (int i = 0; i < 333 * 222; i++)
        counts[four_classes(i % 333, i / 333)]++;
    g_assert_cmpmem(counts, sizeof counts, info->counts, sizeof info->counts);
    check_native(mask, four_classes, false);
    wsi_mask_close(mask);
}

static void test_binary_255(void)
{
    g_autofree char *path = make_mask("binary.tif", 300, 200, binary_255);
    wsi_mask *mask = open_ok(path, 300, 200, 2);
    g_assert_cmpint(wsi_mask_get_info(mask)->kind, ==, WSI_MASK_BINARY_255);
    check_native(mask, binary_255, true);
    wsi_mask_close(mask);
    g_autofree char *zeros = make_mask("zeros.tif", 30, 20, all_background);
    mask = open_ok(zeros, 30, 20, 2);
    g_assert_cmpint(wsi_mask_get_info(mask)->kind, ==, WSI_MASK_LABELS);
    wsi_mask_close(mask);
}

/* JPEG: 127 is background and 128 foreground, though neither is 0 or 255. */
static void test_jpeg_threshold(void)
{
    enum { W = 64, H = 48 };
    uint8_t rgb[W * H * 3], *bytes, got[W * H];
    for (int i = 0; i < W * H; i++)
        memset(rgb + 3 * i, i % W < W / 2 ? 127 : 128, 3); /* exact at quality 100: flat blocks */
    size_t n;
    GError *error = NULL;
    g_autofree char *path = temp_path("mask.jpg");
    g_assert_true(wsi_picture_encode(rgb, W, H, 100, &bytes, &n, &error));
    write_file(path, bytes, n);
    g_free(bytes);
    wsi_mask *mask = open_ok(path, W, H, 2);
    g_assert_cmpint(wsi_mask_get_info(mask)->kind, ==, WSI_MASK_BINARY_JPEG);
    g_assert_cmpint(wsi_mask_get_info(mask)->counts[1], ==, W * H / 2);
    g_assert_true(wsi_mask_read_native(mask, 0, 0, W, H, got, W, &error));
    for (int i = 0; i < W * H; i++)
        g_assert_cmpint(got[i], ==, i % W >= W / 2);
    wsi_mask_close(mask);
}

static void test_sizes(void)
{
    g_autofree char *path = make_mask("size.tif", 101, 77, binary_255);
    static const struct {
        int64_t w, h;
        int factor; /* 0: refused */
    } cases[] = {{101, 77, 1},  {202, 154, 2}, {203, 155, 2},      {201, 153, 2},
                 {404, 308, 4}, {407, 311, 4}, {101, 78, 0},       {101, 154, 0},
                 {150, 115, 0}, {100, 77, 0},  {10100, 7700, 100}, {77, 101, 0}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        if (cases[i].factor == 0) {
            expect_error(open_error(path, cases[i].w, cases[i].h, 2), QS_ERROR_MISMATCH, "101 x 77",
                         "slide", NULL);
            continue;
        }
        wsi_mask *mask = open_ok(path, cases[i].w, cases[i].h, 2);
        g_assert_cmpint(wsi_mask_get_info(mask)->factor, ==, cases[i].factor);
        wsi_mask_close(mask);
    }
}

static void test_label_without_class(void)
{
    g_autofree char *path = make_mask("seven.tif", 50, 40, seven);
    expect_error(open_error(path, 50, 40, 2), QS_ERROR_FORMAT, "label 7 on 3 pixels", "--classes",
                 NULL);
    wsi_mask_close(open_ok(path, 50, 40, 8));
}

static void colour(int64_t x, int64_t y, uint8_t rgb[3])
{
    memset(rgb, 1, 3);
    if (x == 9 && y == 4)
        rgb[1] = 200;
}

static void test_wrong_files(void)
{
    g_autofree char *path = temp_path("coloured.tif"), *text = temp_path("mask.txt"),
                    *none = temp_path("none.png");
    make_tiff_options o = {.strips = true, .w = 50, .h = 40, .pixel = colour};
    make_tiff(path, &o);
    expect_error(open_error(path, 50, 40, 2), QS_ERROR_FORMAT, "coloured", "9,4", "1,200,1", NULL);
    o.bits = 16;
    o.n_samples = 1;
    make_tiff(path, &o);
    expect_error(open_error(path, 50, 40, 2), QS_ERROR_UNSUPPORTED, "16-bit", NULL);
    write_file(text, "no mask\n", 8);
    expect_error(open_error(text, 50, 40, 2), QS_ERROR_UNSUPPORTED, "text file", NULL);
    expect_error(open_error(none, 50, 40, 2), QS_ERROR_IO, "No such file", NULL);
    g_autofree char *whole = make_mask("whole.tif", 50, 40, four_classes);
    char *data;
    gsize n;
    g_assert_true(g_file_get_contents(whole, &data, &n, NULL));
    write_file(whole, data, n - 20);
    g_free(data);
    expect_error(open_error(whole, 50, 40, 4), QS_ERROR_FORMAT, "truncated", NULL);
}

/* Labels of view pixels: the mask pixel under each centre, ignore outside. */
static void check_view(wsi_mask *mask, const wsi_view *view, label_at label)
{
    const wsi_mask_info *info = wsi_mask_get_info(mask);
    enum { SIDE = 90 };
    uint8_t got[SIDE * SIDE];
    GError *error = NULL;
    g_assert_true(wsi_mask_read(mask, view, -10, 25, SIDE, SIDE, got, SIDE, &error));
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int64_t vx = x - 10, vy = y + 25;
            int want = QS_CLASS_IGNORE;
            if (vx >= 0 && vx < view->w && vy < view->h) {
                int64_t mx = (int64_t)(((double)vx + 0.5) * view->downsample / info->factor);
                int64_t my = (int64_t)(((double)vy + 0.5) * view->downsample / info->factor);
                want = label(MIN(mx, info->w - 1), MIN(my, info->h - 1));
            }
            g_assert_cmpint(got[y * SIDE + x], ==, want);
        }
}

static void test_views(void)
{
    g_autofree char *slide_path = temp_path("slide.tif");
    make_tiff_options o = {.w = 402, .h = 302, .mpp = 0.5, .pixel = make_smooth};
    make_tiff(slide_path, &o);
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(slide_path, 0, &error);
    g_assert_no_error(error);
    for (int factor = 1; factor <= 4; factor *= 2) {
        g_autofree char *path = make_mask("view.tif", 402 / factor, 302 / factor, four_classes);
        wsi_mask *mask = open_ok(path, 402, 302, 4);
        static const double mpps[] = {0.5, 0.9, 1.0, 2.3};
        for (size_t i = 0; i < G_N_ELEMENTS(mpps); i++) {
            wsi_view view;
            g_assert_true(wsi_view_init(&view, slide, false, mpps[i], &error));
            check_view(mask, &view, four_classes);
        }
        wsi_mask_close(mask);
    }
    wsi_slide_close(slide);
}

/* Noise and long runs both survive the coding. */
static uint8_t noisy(int64_t x, int64_t y)
{
    uint8_t rgb[3];
    make_noise(x, y, rgb);
    return y % 2 ? rgb[1] % 4 : 2;
}

static void test_coding(void)
{
    g_autofree char *path = make_mask("noisy.tif", 20000, 9, noisy);
    wsi_mask *mask = open_ok(path, 20000, 9, 4);
    check_native(mask, noisy, false);
    wsi_mask_close(mask);
}

/* An annotation file is a mask too: counts are exact areas, rounded to the window's pixels. */
static void test_annotation(void)
{
    static const char text[] =
        "[{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[[[1.25,0],[9,0]"
        ","
        "[9,4.5],[1.25,4.5]]]},\"properties\":{\"classification\":\"one\"}}]";
    g_autofree char *path = temp_path("mask.geojson");
    write_file(path, text, sizeof text - 1);
    qs_classes classes;
    qs_classes_init_binary(&classes, "one");
    GError *error = NULL;
    wsi_mask *mask = wsi_mask_open(path, 20, 10, &classes, &error);
    g_assert_no_error(error);
    g_assert_cmpint(wsi_mask_get_info(mask)->kind, ==, WSI_MASK_ANNOTATION);
    g_assert_cmpint(wsi_mask_memory(path), >, (int64_t)sizeof text);
    wsi_view view = {.w = 20, .h = 10, .downsample = 1};
    uint8_t label[20 * 10];
    int64_t counts[256];
    /* 7.75 x 4.5 = 34.875 of a window that reaches two rows and columns out of the view */
    g_assert_true(wsi_mask_read_counts(mask, &view, -2, -2, 20, 10, label, 20, counts, &error));
    g_assert_cmpint(counts[1], ==, 35);
    g_assert_cmpint(counts[0], ==, 18 * 8 - 35);
    g_assert_cmpint(label[0], ==, QS_CLASS_IGNORE);
    g_assert_cmpint(label[2 * 20 + 2], ==, 0); /* a quarter of it outside: background at x 0 */
    g_assert_cmpint(label[2 * 20 + 3], ==, 1); /* three quarters */
    g_assert_cmpint(label[6 * 20 + 5], ==, 1); /* exactly half */
    g_assert_cmpint(label[7 * 20 + 5], ==, 0);
    wsi_mask_set_factor(mask, 3);
    g_assert_cmpint(wsi_mask_get_info(mask)->w, ==, 6);
    g_assert_true(wsi_mask_read_native(mask, 0, 0, 6, 3, label, 6, &error));
    static const uint8_t thirds[] = {1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    g_assert_cmpmem(label, sizeof thirds, thirds, sizeof thirds);
    wsi_mask_close(mask);
    /* moved by the corner of a slide's bounds */
    wsi_mask_options moved = {.x_l0 = 4, .y_l0 = 2};
    mask = wsi_mask_open_with(path, 20, 10, &classes, &moved, &error);
    g_assert_no_error(error);
    g_assert_true(wsi_mask_read(mask, &view, 0, 0, 20, 10, label, 20, &error));
    g_assert_cmpint(label[1 * 20 + 7], ==, 0);
    g_assert_cmpint(label[2 * 20 + 7], ==, 1);
    g_assert_cmpint(label[2 * 20 + 4], ==, 0);
    wsi_mask_close(mask);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK); /* libvips warns of what damaged files have */
    g_test_add_func("/mask/label-map", test_label_map);
    g_test_add_func("/mask/annotation", test_annotation);
    g_test_add_func("/mask/binary-255", test_binary_255);
    g_test_add_func("/mask/jpeg-threshold", test_jpeg_threshold);
    g_test_add_func("/mask/sizes", test_sizes);
    g_test_add_func("/mask/label-without-class", test_label_without_class);
    g_test_add_func("/mask/wrong-files", test_wrong_files);
    g_test_add_func("/mask/views", test_views);
    g_test_add_func("/mask/coding", test_coding);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
