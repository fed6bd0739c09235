/* Tissue on made pictures, the morphology against definitions written out, and the quality numbers
 * against sums in doubles. */
#include "tests/wsi/helpers.h"
#include "tests/wsi/make_tiff.h"
#include "wsi/tissue/morph.h"
#include "wsi/tile/tile.h"
#include "wsi/tissue/tissue.h"

/* White glass with a pink disc of radius 300 at (500,400), in it a white hole of radius 60; pen,
 * black and dust beside it. */
static void scene(int64_t x, int64_t y, uint8_t rgb[3])
{
    static const uint8_t glass[3] = {243, 242, 244}, pink[3] = {205, 140, 185},
                         blue_pen[3] = {40, 70, 180};
    static const uint8_t black[3] = {3, 0, 1};
    double r = hypot((double)x - 500, (double)y - 400);
    const uint8_t *colour = r < 300 && r > 60 ? pink : glass;
    if (x >= 900 && x < 1000)
        colour = blue_pen;
    if (x >= 1050 && x < 1150)
        colour = black;
    if (x >= 1180 && x < 1183 && y % 200 < 3)
        colour = pink; /* dust */
    memcpy(rgb, colour, 3);
}

static wsi_tissue *find(const char *name, make_pixel pixel, const wsi_tissue_options *options)
{
    g_autofree char *path = temp_path(name);
    make_tiff_options o = {
        .tile = 256, .w = 1200, .h = 800, .n_levels = 2, .mpp = 0.5, .pixel = pixel};
    make_tiff(path, &o);
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    wsi_tissue *tissue = wsi_tissue_find(slide, options, &error);
    g_assert_no_error(error);
    wsi_slide_close(slide);
    return tissue;
}

static void check_scene(const wsi_tissue *t)
{
    double disc = G_PI * (300.0 * 300 - 60 * 60) / (1200.0 * 800);
    g_assert_cmpfloat_with_epsilon(t->share, disc, 0.01);
    g_assert_cmpfloat_with_epsilon(t->pen_share, 100 / 1200.0, 0.01);
    g_assert_cmpfloat_with_epsilon(t->dark_share, 100 / 1200.0, 0.01);
    g_assert_cmpfloat(wsi_tissue_fraction(t, 400, 600, 100, 50), ==, 1); /* in the ring */
    g_assert_cmpfloat(wsi_tissue_fraction(t, 480, 380, 40, 40), ==, 0);  /* in the hole */
    g_assert_cmpfloat(wsi_tissue_fraction(t, 900, 0, 300, 800), ==, 0);  /* pen, black, dust */
    g_assert_cmpfloat_with_epsilon(wsi_tissue_fraction(t, 0, 0, 1200, 800), t->share, 1e-9);
}

static void test_scene(void)
{
    wsi_tissue_options options;
    wsi_tissue_options_init(&options);
    wsi_tissue *t = find("scene.tif", scene, &options);
    check_scene(t);
    g_assert_cmpint(t->threshold, ==, 8);
    wsi_tissue_destroy(t);
    options.otsu = true;
    t = find("scene.tif", scene, &options);
    check_scene(t);
    wsi_tissue_destroy(t);
    options.otsu = false;
    options.max_px = 300; /* at low resolution the same places are tissue */
    t = find("scene.tif", scene, &options);
    g_assert_cmpint(MAX(t->w, t->h), <=, 300);
    g_assert_cmpfloat_with_epsilon(t->share, G_PI * (300.0 * 300 - 60 * 60) / (1200.0 * 800), 0.03);
    wsi_tissue_destroy(t);
}

static void glass_only(int64_t x, int64_t y, uint8_t rgb[3])
{
    memset(rgb, (int)(240 + (x + y) % 3), 3);
}

static void test_no_tissue(void)
{
    wsi_tissue_options options;
    wsi_tissue_options_init(&options);
    wsi_tissue *t = find("glass.tif", glass_only, &options);
    g_assert_cmpfloat(t->share, ==, 0);
    g_assert_cmpfloat(t->white_share, ==, 1);
    wsi_tissue_destroy(t);
}

/* The user's mask: an image at an eighth of the size, and an outline of any class. */
static void left_half(int64_t x, int64_t y, uint8_t rgb[3])
{
    memset(rgb, x < 75 ? (y < 50 ? 2 : 1) : y < 10 ? 255 : 0, 3);
}

static void test_user_mask(void)
{
    g_autofree char *slide_path = temp_path("user.tif"), *image = temp_path("user-mask.tif"),
                    *outline = temp_path("user.geojson");
    make_tiff_options o = {.tile = 256, .w = 1200, .h = 800, .mpp = 0.5, .pixel = scene};
    make_tiff(slide_path, &o);
    make_tiff_options m = {
        .strips = true, .w = 150, .h = 100, .n_samples = 1, .compression = COMPRESSION_LZW};
    m.pixel = left_half;
    make_tiff(image, &m);
    static const char text[] = "[{\"type\":\"Feature\",\"geometry\":{\"type\":\"Polygon\","
                               "\"coordinates\":[[[0,0],[600,0],[600,800],[0,800]]]}}]";
    write_file(outline, text, sizeof text - 1);
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(slide_path, 0, &error);
    g_assert_no_error(error);
    qs_classes classes;
    qs_classes_init_n(&classes, 3);
    wsi_label_map *any = wsi_label_map_create("*=1", &classes, &error);
    wsi_tissue_options options;
    wsi_tissue_options_init(&options);
    for (int k = 0; k < 2; k++) {
        const wsi_mask_options mask_options = {.labels = any};
        wsi_mask *mask =
            wsi_mask_open_with(k ? outline : image, 1200, 800, &classes, &mask_options, &error);
        g_assert_no_error(error);
        wsi_tissue *t = wsi_tissue_from_mask(slide, mask, &options, &error);
        g_assert_no_error(error);
        g_assert_cmpint(t->threshold, ==, -1);
        g_assert_cmpfloat_with_epsilon(t->share, 0.5, 1e-6);
        g_assert_cmpfloat(wsi_tissue_fraction(t, 0, 0, 600, 800), ==, 1); /* glass too */
        g_assert_cmpfloat(wsi_tissue_fraction(t, 600, 0, 600, 800), ==, 0);
        wsi_tissue_destroy(t);
        wsi_mask_close(mask);
    }
    wsi_label_map_destroy(any);
    wsi_slide_close(slide);
}

static void test_fraction(void)
{
    uint8_t mask[] = {1, 0, 1, 1};
    wsi_tissue t = {.w = 2, .h = 2, .downsample_x = 10, .downsample_y = 20, .mask = mask};
    g_assert_cmpfloat(wsi_tissue_fraction(&t, 0, 0, 20, 40), ==, 0.75);
    g_assert_cmpfloat(wsi_tissue_fraction(&t, 10, 0, 10, 20), ==, 0);
    g_assert_cmpfloat_with_epsilon(wsi_tissue_fraction(&t, 5, 0, 10, 20), 0.5, 1e-12);
    g_assert_cmpfloat_with_epsilon(wsi_tissue_fraction(&t, 12, 15, 4, 10), 0.5, 1e-12);
    g_assert_cmpfloat(wsi_tissue_fraction(&t, 0, 0, 200, 400), ==,
                      0.75); /* clipped to the picture */
    g_assert_cmpfloat(wsi_tissue_fraction(&t, 20, 0, 5, 5), ==, 0);
}

/* Every pixel of a window, by definition. */
static uint8_t by_definition(const uint8_t *mask, int w, int h, int x, int y, int before, int after,
                             int what)
{
    int n = 0, on = 0;
    for (int j = y - before; j <= y + after; j++)
        for (int i = x - before; i <= x + after; i++)
            if (i >= 0 && j >= 0 && i < w && j < h) {
                n++;
                on += mask[j * w + i];
            }
    return what == 0 ? 2 * on > n : what == 1 ? on > 0 : on == n;
}

static void test_windows(void)
{
    enum { W = 47, H = 33 };
    uint8_t source[W * H], once[W * H], want[W * H], got[W * H], rgb[3];
    for (int size = 1; size <= 8; size++) {
        for (int i = 0; i < W * H; i++) {
            make_noise(i, size, rgb);
            source[i] = rgb[0] < 110;
        }
        memcpy(got, source, sizeof got);
        wsi_morph_majority(got, W, H, size);
        for (int i = 0; i < W * H; i++)
            want[i] = by_definition(source, W, H, i % W, i / W, size / 2, (size - 1) / 2, 0);
        g_assert_cmpmem(got, sizeof got, want, sizeof want);
        memcpy(got, source, sizeof got);
        wsi_morph_close(got, W, H, size);
        for (int i = 0; i < W * H; i++)
            once[i] = by_definition(source, W, H, i % W, i / W, size / 2, (size - 1) / 2, 1);
        for (int i = 0; i < W * H; i++) {
            want[i] = by_definition(once, W, H, i % W, i / W, (size - 1) / 2, size / 2, 2);
            g_assert_cmpint(want[i], >=, source[i]); /* closing takes nothing away */
        }
        g_assert_cmpmem(got, sizeof got, want, sizeof want);
    }
}

static void test_small_parts(void)
{
    static const char picture[] = "1.......1111"
                                  ".1......1..1"
                                  "....11..1..1"
                                  "....11..1111"
                                  "............";
    uint8_t mask[60];
    for (int i = 0; i < 60; i++)
        mask[i] = picture[i] == '1';
    wsi_morph_drop_small(mask, 12, 5, 1, 3); /* the two that touch at a corner are one part of 2 */
    g_assert_cmpint(mask[0] + mask[13], ==, 0);
    g_assert_cmpint(mask[28], ==, 1);
    wsi_morph_drop_small(mask, 12, 5, 0, 4); /* the hole has 4 pixels: it stays */
    g_assert_cmpint(mask[12 + 9], ==, 0);
    wsi_morph_drop_small(mask, 12, 5, 0, 5);
    g_assert_cmpint(mask[12 + 9], ==, 1);
    g_assert_cmpint(mask[0], ==, 0); /* the outside is no hole */
    memset(mask, 1, 25);
    mask[6] = mask[12] = 0; /* two holes of 1 that touch at a corner are two */
    wsi_morph_drop_small(mask, 5, 5, 0, 2);
    g_assert_cmpint(mask[6] + mask[12], ==, 2);
}

/* ---- quality ---- */
static double luma(const uint8_t *p)
{
    return (77 * p[0] + 150 * p[1] + 29 * p[2] + 128) / 256;
}

static void check_quality(const uint8_t *rgb, int row_px, int w, int h)
{
    wsi_quality q;
    double mean[3], sum[3] = {0}, saturation = 0, white = 0, dark = 0, lap = 0, lap2 = 0, n = w * h,
                    inner = 0;
    wsi_quality_measure(rgb, (size_t)row_px * 3, w, h, &q, mean);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const uint8_t *p = rgb + (y * row_px + x) * 3;
            int hi = MAX(p[0], MAX(p[1], p[2])), lo = MIN(p[0], MIN(p[1], p[2]));
            saturation += hi ? (double)(hi - lo) / hi : 0;
            white += lo >= 220;
            dark += hi <= 45;
            for (int k = 0; k < 3; k++)
                sum[k] += p[k];
            if (x == 0 || y == 0 || x == w - 1 || y == h - 1)
                continue;
            double v = 4 * luma(p) - luma(p - 3) - luma(p + 3) - luma(p - row_px * 3) -
                       luma(p + row_px * 3);
            lap += v;
            lap2 += v * v;
            inner++;
        }
    double blur = inner > 0 ? lap2 / inner - lap / inner * (lap / inner) : 0;
    for (int k = 0; k < 3; k++)
        g_assert_cmpfloat_with_epsilon(mean[k], sum[k] / n, 1e-9);
    g_assert_cmpfloat_with_epsilon(q.saturation, saturation / n,
                                   1.0 / 4096 + 1e-6); /* cut to 1/4096 */
    g_assert_cmpfloat_with_epsilon(q.white, white / n, 1e-6);
    g_assert_cmpfloat_with_epsilon(q.dark, dark / n, 1e-6);
    g_assert_cmpfloat_with_epsilon(q.blur, blur, 1e-6 * blur + 1e-6);
}

static void test_quality(void)
{
    enum { SIDE = 1100 };
    uint8_t *rgb = g_malloc(SIDE * SIDE * 3);
    for (int i = 0; i < SIDE * SIDE; i++) {
        make_noise(i % SIDE, i / SIDE, rgb + 3 * i);
        if (i % 7 == 0)
            memset(rgb + 3 * i, i % 2 ? 250 : 10, 3);
    }
    static const int sizes[][2] = {{1, 1},     {1, 9},   {9, 1},   {2, 2},   {3, 3},    {33, 7},
                                   {256, 256}, {511, 5}, {512, 6}, {513, 7}, {1100, 40}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        check_quality(rgb, SIDE, sizes[i][0], sizes[i][1]);
    memset(rgb, 0, SIDE * SIDE * 3);
    check_quality(rgb, SIDE, 70, 70);
    memset(rgb, 255, SIDE * SIDE * 3);
    check_quality(rgb, SIDE, 70, 70);
    wsi_quality q;
    for (int i = 0; i < 64 * 64; i++)
        scene(i % 64 < 16 ? 950 : 0, 0, rgb + 3 * i);
    wsi_quality_measure(rgb, 64 * 3, 64, 64, &q, NULL);
    g_assert_cmpfloat(q.pen, ==, 0.25f);
    g_free(rgb);
}

/* Every triple of values on and beside the colour rules' bounds, many at a time and one at a time.
 */
static void test_quality_bounds(void)
{
    static const uint8_t v[] = {0,   1,   14,  15,  16,  20,  21,  30,  45,  46,  50,
                                51,  59,  60,  69,  70,  71,  80,  100, 149, 150, 151,
                                199, 200, 201, 219, 220, 221, 239, 240, 254, 255};
    enum { N = G_N_ELEMENTS(v) };
    uint8_t rgb[3 * N * N];
    for (int r = 0; r < N; r++) {
        double white = 0, dark = 0, pen = 0, saturation = 0;
        for (int i = 0; i < N * N; i++) {
            uint8_t *p = rgb + 3 * i;
            p[0] = v[r], p[1] = v[i / N], p[2] = v[i % N];
            int red = p[0], green = p[1], blue = p[2];
            pen += (green - red > 20 && green - blue > 10) ||
                   (blue - red > 50 && green - red >= 15) || (red > 150 && green < 60 && blue < 70);
            wsi_quality one;
            wsi_quality_measure(p, 3, 1, 1, &one, NULL);
            white += (double)one.white;
            dark += (double)one.dark;
            saturation += (double)one.saturation;
        }
        check_quality(rgb, N, N, N);
        wsi_quality all;
        wsi_quality_measure(rgb, 3 * N, N, N, &all, NULL);
        g_assert_cmpfloat_with_epsilon(all.pen, pen / (N * N), 1e-6);
        g_assert_cmpfloat_with_epsilon(all.white, white / (N * N), 1e-6);
        g_assert_cmpfloat_with_epsilon(all.dark, dark / (N * N), 1e-6);
        g_assert_cmpfloat_with_epsilon(all.saturation, saturation / (N * N), 1e-6);
    }
}

static void test_wrong_options(void)
{
    wsi_tissue_options options;
    wsi_tissue_options_init(&options);
    options.saturation = 300;
    GError *error = NULL;
    g_assert_null(wsi_tissue_find(NULL, &options, &error));
    expect_error(error, QS_ERROR_ARG, "300", NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tissue/scene", test_scene);
    g_test_add_func("/tissue/none", test_no_tissue);
    g_test_add_func("/tissue/user-mask", test_user_mask);
    g_test_add_func("/tissue/fraction", test_fraction);
    g_test_add_func("/tissue/wrong-options", test_wrong_options);
    g_test_add_func("/morph/windows", test_windows);
    g_test_add_func("/morph/small-parts", test_small_parts);
    g_test_add_func("/quality/numbers", test_quality);
    g_test_add_func("/quality/bounds", test_quality_bounds);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
