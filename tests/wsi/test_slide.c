/* Slides and views: pixels against OpenSlide itself, resampling against a sum in doubles,
 * resolution rules, odd names, transparency, damage that does not stick. */
#include "tests/wsi/helpers.h"
#include "tests/wsi/make_tiff.h"
#include "wsi/image/picture.h"
#include "wsi/slide/slide.h"

#include <openslide.h>

#include <math.h>
#include <stdlib.h>

static wsi_slide *open_ok(const char *path, double mpp)
{
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, mpp, &error);
    g_assert_no_error(error);
    return slide;
}

static wsi_slide *make_and_open(const char *name, const make_tiff_options *options, double mpp)
{
    g_autofree char *path = temp_path(name);
    make_tiff(path, options);
    return open_ok(path, mpp);
}

/* Is the level-0 place a whole pixel of a level? Elsewhere OpenSlide interpolates. */
static bool is_whole(const wsi_level *level, int64_t x, int64_t y)
{
    double lx = (double)x / level->downsample, ly = (double)y / level->downsample;
    return fabs(lx - round(lx)) < 1e-4 && fabs(ly - round(ly)) < 1e-4;
}

/* The regions of one slide, read by us and by OpenSlide, byte for byte. */
static void compare_by(const char *path, int n_regions, wsi_reader reader)
{
    GError *failure = NULL;
    wsi_slide *slide = wsi_slide_open_by(path, 0, reader, &failure);
    g_assert_no_error(failure);
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    g_assert_cmpstr(info->driver, ==, "openslide");
    openslide_t *peer = openslide_open(path);
    g_assert_nonnull(peer);
    GRand *rand = g_rand_new_with_seed(7);
    enum { SIDE = 300 };
    uint32_t *argb = g_new(uint32_t, SIDE * SIDE);
    uint8_t *rgb = g_malloc(SIDE * SIDE * 3);
    for (int i = 0; i < n_regions; i++) {
        int level = i % info->n_levels;
        int w = g_rand_int_range(rand, 1, SIDE + 1), h = g_rand_int_range(rand, 1, SIDE + 1);
        int64_t x = g_rand_int_range(rand, -40, (int)info->levels[0].w);
        int64_t y = g_rand_int_range(rand, -40, (int)info->levels[0].h);
        if (reader != WSI_READER_OPENSLIDE && !is_whole(&info->levels[level], x, y))
            x = y = 0;
        GError *error = NULL;
        g_assert_true(wsi_slide_read(slide, level, x, y, w, h, rgb, (size_t)w * 3, &error));
        g_assert_no_error(error);
        openslide_read_region(peer, argb, x, y, level, w, h);
        g_assert_null(openslide_get_error(peer));
        for (int64_t p = 0; p < (int64_t)w * h; p++)
            for (int k = 0; k < 3; k++) {
                unsigned a = argb[p] >> 24, c = argb[p] >> (16 - 8 * k) & 255;
                unsigned want = MIN(255, c + (info->background[k] * (255 - a) + 127) / 255);
                if (rgb[3 * p + k] != want)
                    g_error("%s level %d at %d,%d size %d x %d: pixel %d channel %d is %u, "
                            "OpenSlide says %u",
                            path, level, (int)x, (int)y, w, h, (int)p, k, rgb[3 * p + k], want);
            }
    }
    g_free(argb);
    g_free(rgb);
    g_rand_free(rand);
    openslide_close(peer);
    wsi_slide_close(slide);
}

static void compare_with_openslide(const char *path, int n_regions)
{
    compare_by(path, n_regions, WSI_READER_OPENSLIDE);
    compare_by(path, n_regions, WSI_READER_AUTO);
}

static void test_equals_openslide(void)
{
    make_tiff_options o = {.w = 700, .h = 530, .n_levels = 3, .mpp = 0.5, .pixel = make_noise};
    g_autofree char *lossless = temp_path("lossless.tif"), *jpeg = temp_path("jpeg.tif");
    make_tiff(lossless, &o);
    compare_with_openslide(lossless, 60);
    o.compression = COMPRESSION_JPEG;
    o.pixel = make_smooth;
    make_tiff(jpeg, &o);
    compare_with_openslide(jpeg, 60);
}

static void test_real_equals_openslide(void)
{
    static const char *const names[] = {
        "slides/CMU-1-Small-Region.svs", "slides/TCGA-CR-7395-01A-01-TS1.svs",
        "slides/test3-DAPI-2-387.ndpi", "slides/openslide-python-boxes.tiff"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = real_data(names[i]);
        if (!path)
            return;
        compare_with_openslide(path, 12);
    }
}

/* A lossless file must give its own pixels back: the oracle above shares a library with the driver.
 */
static void test_pixels_are_the_files(void)
{
    make_tiff_options o = {.w = 300, .h = 200, .pixel = make_noise};
    wsi_slide *slide = make_and_open("own.tif", &o, 0);
    uint8_t rgb[50 * 40 * 3], want[3];
    GError *error = NULL;
    g_assert_true(wsi_slide_read(slide, 0, 270, 180, 50, 40, rgb, 50 * 3, &error));
    for (int y = 0; y < 40; y++)
        for (int x = 0; x < 50; x++) {
            bool inside = 270 + x < 300 && 180 + y < 200;
            if (inside)
                make_noise(270 + x, 180 + y, want);
            else
                memset(want, 255, 3); /* background beyond the border */
            g_assert_cmpmem(rgb + (y * 50 + x) * 3, 3, want, 3);
        }
    wsi_slide_close(slide);
}

/* Levels smaller than their tiles: OpenSlide reads them wrong without an error, so they are left
 * out. */
static void test_small_levels(void)
{
    make_tiff_options o = {.w = 200, .h = 140, .n_levels = 3, .mpp = 0.5, .pixel = make_noise};
    wsi_slide *slide = make_and_open("small-levels.tif", &o, 0);
    g_assert_cmpint(wsi_slide_get_info(slide)->n_levels, ==, 2); /* 50 x 35 in tiles of 64 */
    wsi_slide_close(slide);
    o.compression = COMPRESSION_JPEG;
    slide = make_and_open("small-jpeg.tif", &o, 0);
    g_assert_cmpint(wsi_slide_get_info(slide)->n_levels, ==, 3);
    wsi_slide_close(slide);
    o = (make_tiff_options){.w = 200, .h = 40, .pixel = make_noise};
    slide = make_and_open("small-slide.tif", &o, 0);
    g_assert_cmpstr(wsi_slide_get_info(slide)->driver, ==, "image");
    uint8_t rgb[200 * 40 * 3], want[3];
    GError *error = NULL;
    g_assert_true(wsi_slide_read(slide, 0, 0, 0, 200, 40, rgb, 600, &error));
    for (int i = 0; i < 200 * 40; i++) {
        make_noise(i % 200, i / 200, want);
        g_assert_cmpmem(rgb + 3 * i, 3, want, 3);
    }
    wsi_slide_close(slide);
}

/* The area average of source pixels under view pixel (i,j), in doubles. */
static double average(make_pixel pixel, int w, int h, double scale, int64_t i, int64_t j, int k)
{
    double sum = 0, area = 0;
    double x0 = (double)i * scale, x1 = x0 + scale, y0 = (double)j * scale, y1 = y0 + scale;
    for (int64_t y = (int64_t)y0; (double)y < y1 && y < h; y++)
        for (int64_t x = (int64_t)x0; (double)x < x1 && x < w; x++) {
            double a = (MIN(x1, (double)x + 1) - MAX(x0, (double)x)) *
                       (MIN(y1, (double)y + 1) - MAX(y0, (double)y));
            uint8_t rgb[3];
            pixel(x, y, rgb);
            sum += a * rgb[k];
            area += a;
        }
    return sum / area;
}

static void check_average(wsi_slide *slide, make_pixel pixel, int w, int h, double mpp)
{
    GError *error = NULL;
    wsi_view view;
    g_assert_true(wsi_view_init(&view, slide, false, mpp, &error));
    g_assert_no_error(error);
    g_assert_cmpfloat(view.level_scale, ==, view.downsample);
    g_assert_cmpint(view.w, ==, (int)(w / view.downsample));
    size_t row = (size_t)view.w * 3;
    uint8_t *rgb = g_malloc(row * (size_t)view.h);
    g_assert_true(wsi_view_read(&view, 0, 0, (int)view.w, (int)view.h, rgb, row, &error));
    for (int64_t j = 0; j < view.h; j++)
        for (int64_t i = 0; i < view.w; i++)
            for (int k = 0; k < 3; k++) {
                /* half a step of rounding, and weights rounded to 1/1024 at two edges a side */
                double want = average(pixel, w, h, view.level_scale, i, j, k),
                       tolerance = 0.5 + 255 * 4 * 0.5 / 1024;
                double got = rgb[(size_t)j * row + (size_t)i * 3 + (size_t)k];
                if (!(fabs(got - want) <= tolerance))
                    g_error("mpp %g, view pixel %d,%d channel %d: %g, the average is %g", mpp,
                            (int)i, (int)j, k, got, want);
            }
    g_free(rgb);
}

static void test_area_average(void)
{
    make_tiff_options o = {.w = 331, .h = 257, .mpp = 0.5, .pixel = make_noise};
    wsi_slide *slide = make_and_open("average.tif", &o, 0);
    static const double mpps[] = {0.52, 0.75, 1.0, 1.3, 3.7, 40, 100};
    for (size_t i = 0; i < G_N_ELEMENTS(mpps); i++)
        check_average(slide, make_noise, 331, 257, mpps[i]);
    wsi_slide_close(slide);
}

/* A pixel depends on its place alone: the same region read in parts is the same bytes. */
static void test_parts_equal_whole(void)
{
    make_tiff_options o = {.w = 900, .h = 700, .mpp = 0.5, .pixel = make_noise};
    wsi_slide *slide = make_and_open("parts.tif", &o, 0);
    GError *error = NULL;
    wsi_view view;
    g_assert_true(wsi_view_init(&view, slide, false, 0.83, &error));
    enum { W = 420, H = 330 };
    uint8_t *whole = g_malloc(W * H * 3), *part = g_malloc(W * H * 3);
    g_assert_true(wsi_view_read(&view, 50, 40, W, H, whole, W * 3, &error));
    for (int y = 0; y < H; y += 37)
        for (int x = 0; x < W; x += 53) {
            int w = MIN(53, W - x), h = MIN(37, H - y);
            g_assert_true(
                wsi_view_read(&view, 50 + x, 40 + y, w, h, part + (y * W + x) * 3, W * 3, &error));
        }
    g_assert_cmpmem(whole, W * H * 3, part, W * H * 3);
    g_free(whole);
    g_free(part);
    wsi_slide_close(slide);
}

static void test_view_levels(void)
{
    make_tiff_options o = {.w = 1024, .h = 512, .n_levels = 3, .mpp = 0.25, .pixel = make_smooth};
    wsi_slide *slide = make_and_open("levels.tif", &o, 0);
    GError *error = NULL;
    wsi_view view;
    static const struct {
        double mpp;
        int level;
        bool as_is;
    } cases[] = {{0.25, 0, true}, {0.2451, 0, true}, {0.3, 0, false},  {0.491, 1, true},
                 {0.5, 1, true},  {0.509, 1, true},  {0.52, 1, false}, {0.48, 0, false},
                 {1.0, 2, true},  {7, 2, false}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_true(wsi_view_init(&view, slide, false, cases[i].mpp, &error));
        if (view.level != cases[i].level || (view.level_scale == 1) != cases[i].as_is)
            g_error("mpp %g: level %d, scale %g", cases[i].mpp, view.level, view.level_scale);
    }
    g_assert_false(wsi_view_init(&view, slide, false, 0.2, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "0.2", "0.25", "--level0", NULL);
    g_assert_true(wsi_view_init_fit(&view, slide, 300, &error));
    g_assert_cmpint(MAX(view.w, view.h), <=, 300);
    g_assert_cmpint(view.w, ==, 300);
    wsi_slide_close(slide);
}

static void test_mpp_origins(void)
{
    make_tiff_options o = {.w = 128, .h = 128, .mpp = 0.4, .pixel = make_smooth};
    wsi_slide *slide = make_and_open("cm.tif", &o, 0);
    g_assert_cmpfloat_with_epsilon(wsi_slide_get_info(slide)->mpp, 0.4, 1e-6);
    g_assert_cmpint(wsi_slide_get_info(slide)->mpp_origin, ==, WSI_MPP_TIFF_TAGS);
    wsi_slide_close(slide);
    o.unit = RESUNIT_INCH;
    slide = make_and_open("inch.tif", &o, 0);
    g_assert_cmpfloat_with_epsilon(wsi_slide_get_info(slide)->mpp, 0.4, 1e-6);
    wsi_slide_close(slide);
    slide = make_and_open("override.tif", &o, 0.5);
    g_assert_cmpfloat(wsi_slide_get_info(slide)->mpp, ==, 0.5);
    g_assert_cmpint(wsi_slide_get_info(slide)->mpp_origin, ==, WSI_MPP_OVERRIDE);
    wsi_slide_close(slide);
    o.mpp = 353; /* 72 dpi: no slide's pixel */
    slide = make_and_open("dpi.tif", &o, 0);
    g_assert_cmpint(wsi_slide_get_info(slide)->mpp_origin, ==, WSI_MPP_UNKNOWN);
    GError *error = NULL;
    wsi_view view;
    g_assert_false(wsi_view_init(&view, slide, false, 0.5, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "unknown", "--mpp-override", "--level0",
                 NULL);
    g_assert_true(wsi_view_init(&view, slide, true, 0, &error));
    wsi_slide_close(slide);
}

static void test_tolerance(void)
{
    make_tiff_options o = {.w = 1024, .h = 512, .n_levels = 3, .mpp = 0.25, .pixel = make_smooth};
    wsi_slide *slide = make_and_open("tolerance.tif", &o, 0);
    GError *error = NULL;
    wsi_view view;
    static const struct {
        double mpp, tolerance;
        int level;
        bool as_is;
    } cases[] = {{0.5, 0, 1, true},       {0.505, 0, 1, false},  {0.505, 0.009, 1, false},
                 {0.505, 0.011, 1, true}, {0.56, 0.12, 1, true}, {0.45, 0.12, 1, true},
                 {0.45, 0.05, 0, false},  {0.23, 0.1, 0, true}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const wsi_resolution r = {false, cases[i].mpp, cases[i].tolerance};
        g_assert_true(wsi_view_init_at(&view, slide, &r, &error));
        if (view.level != cases[i].level || (view.level_scale == 1) != cases[i].as_is)
            g_error("mpp %g, tolerance %g: level %d, scale %g", r.mpp, r.tolerance, view.level,
                    view.level_scale);
    }
    const wsi_resolution finer = {false, 0.23, 0.05}, wrong = {false, 0.5, -1};
    g_assert_false(wsi_view_init_at(&view, slide, &finer, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "0.23", "not invented", NULL);
    g_assert_false(wsi_view_init_at(&view, slide, &wrong, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_ARG, "-1", NULL);
    wsi_slide_close(slide);
}

/* What a file says and no slide can have is refused with what it says; an override is used. */
static void test_mpp_refused(void)
{
    static const struct {
        const char *description; /* Aperio's, else TIFF tags */
        double x, y;
        const char *said; /* in the message */
    } cases[] = {
        {NULL, 0.25, 0.5, "0.25 x 0.5"},
        {NULL, 0.001, 0.001, "0.001 x 0.001"},
        {"Aperio Image Library v12\r\n128x128 [0,0 128x128] |AppMag = 20|MPP = 0", 0, 0, "0 x 0"},
        {"Aperio Image Library v12\r\n128x128 [0,0 128x128] |AppMag = 20|MPP = -0.5", 0, 0,
         "-0.5 x -0.5"},
        {"Aperio Image Library v12\r\n128x128 [0,0 128x128] |AppMag = 20|MPP = 1000", 0, 0,
         "1000 x 1000"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        make_tiff_options o = {.w = 128,
                               .h = 128,
                               .mpp = cases[i].x,
                               .mpp_y = cases[i].y,
                               .compression = COMPRESSION_JPEG,
                               .description = cases[i].description,
                               .pixel = make_smooth};
        wsi_slide *slide = make_and_open("refused.tif", &o, 0);
        const wsi_slide_info *info = wsi_slide_get_info(slide);
        if (cases[i].description)
            g_assert_cmpstr(info->vendor, ==, "aperio");
        g_assert_cmpint(info->mpp_origin, ==, WSI_MPP_UNKNOWN);
        g_assert_true(info->mpp_said);
        GError *error = NULL;
        wsi_view view;
        g_assert_false(wsi_view_init(&view, slide, false, 0.5, &error));
        expect_error(error, QS_ERROR_ARG, cases[i].said, "--mpp-override", "mpp column", NULL);
        wsi_slide_close(slide);
        slide = make_and_open("refused.tif", &o, 0.5);
        error = NULL;
        g_assert_true(wsi_view_init(&view, slide, false, 0.5, &error));
        g_assert_cmpint(wsi_slide_get_info(slide)->mpp_origin, ==, WSI_MPP_OVERRIDE);
        wsi_slide_close(slide);
    }
}

/* Plain images: any name, grey and alpha converted, the same pixels. */
static void test_images(void)
{
    static const char *const names[] = {"a[b].png",        "-dash.png",
                                        "with space.png",  "gr\xc3\xbc\xc3\x9f.png",
                                        "c:d[page=3].png", "wrong.svs"};
    enum { W = 90, H = 70 };
    uint8_t rgb[W * H * 3], back[W * H * 3];
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            make_noise(x, y, rgb + (y * W + x) * 3);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = temp_path(names[i]);
        GError *error = NULL;
        g_assert_true(wsi_picture_write_png(path, rgb, W, H, &error));
        wsi_slide *slide = open_ok(path, 0);
        g_assert_cmpstr(wsi_slide_get_info(slide)->driver, ==, "image");
        g_assert_true(wsi_slide_read(slide, 0, 0, 0, W, H, back, W * 3, &error));
        g_assert_cmpmem(back, sizeof back, rgb, sizeof rgb);
        wsi_slide_close(slide);
    }
}

static void test_grey_and_alpha_images(void)
{
    make_tiff_options o = {.strips = true, .w = 60, .h = 50, .n_samples = 1, .pixel = make_noise};
    wsi_slide *slide = make_and_open("grey.tif", &o, 0);
    uint8_t rgb[60 * 50 * 3], want[3];
    GError *error = NULL;
    g_assert_true(wsi_slide_read(slide, 0, 0, 0, 60, 50, rgb, 60 * 3, &error));
    for (int i = 0; i < 60 * 50; i++) {
        make_noise(i % 60, i / 60, want);
        for (int k = 0; k < 3; k++)
            g_assert_cmpint(rgb[3 * i + k], ==, want[0]);
    }
    wsi_slide_close(slide);
    o.n_samples = 4;
    slide = make_and_open("alpha.tif", &o, 0);
    g_assert_true(wsi_slide_read(slide, 0, -5, 0, 60, 50, rgb, 60 * 3, &error));
    make_noise(3, 9, want);
    g_assert_cmpmem(rgb + (9 * 60 + 8) * 3, 3, want, 3);
    memset(want, 255, 3);
    g_assert_cmpmem(rgb + 9 * 60 * 3, 3, want, 3);
    wsi_slide_close(slide);
}

/* An image above 64 MiB goes through the temporary file. */
static void test_large_image(void)
{
    enum { W = 6000, H = 4000 };
    make_tiff_options o = {
        .strips = true, .w = W, .h = H, .compression = COMPRESSION_NONE, .pixel = make_noise};
    wsi_slide *slide = make_and_open("large.tif", &o, 0);
    uint8_t rgb[7 * 5 * 3], want[3];
    GError *error = NULL;
    for (int i = 0; i < 200; i++) {
        int x = i * 7919 % (W - 7), y = i * 6133 % (H - 5);
        g_assert_true(wsi_slide_read(slide, 0, x, y, 7, 5, rgb, 7 * 3, &error));
        make_noise(x + 6, y + 4, want);
        g_assert_cmpmem(rgb + (4 * 7 + 6) * 3, 3, want, 3);
    }
    wsi_slide_close(slide);
}

/* One tile's bytes are overwritten: reads of it fail, before, between and after reads that succeed,
 * from several threads at once. */
typedef struct {
    wsi_slide *slide;
    int bad_x, bad_y, n_wrong;
} damage_reader;

static gpointer read_around_damage(gpointer user)
{
    damage_reader *d = user;
    uint8_t rgb[64 * 64 * 3], want[3];
    for (int round = 0; round < 12; round++)
        for (int y = 0; y < 256; y += 64)
            for (int x = 0; x < 256; x += 64) {
                GError *error = NULL;
                bool bad = x == d->bad_x && y == d->bad_y;
                bool ok = wsi_slide_read(d->slide, 0, x, y, 64, 64, rgb, 64 * 3, &error);
                make_noise(x + 63, y + 63, want);
                d->n_wrong += ok == bad || (ok && memcmp(rgb + (64 * 64 - 1) * 3, want, 3) != 0);
                d->n_wrong += bad && error && !strstr(error->message, "cannot be read");
                g_clear_error(&error);
            }
    return NULL;
}

static void test_damage_does_not_stick(void)
{
    make_tiff_options o = {.w = 256, .h = 256, .pixel = make_noise};
    g_autofree char *path = temp_path("damaged.tif");
    make_tiff(path, &o);
    TIFF *tiff = TIFFOpen(path, "r");
    uint64_t *offsets = NULL;
    TIFFGetField(tiff, TIFFTAG_TILEOFFSETS, &offsets);
    uint64_t at = offsets[6]; /* column 2, row 1 */
    TIFFClose(tiff);
    FILE *file = fopen(path, "r+b");
    fseek(file, (long)at, SEEK_SET);
    for (int i = 0; i < 64; i++)
        fputc(0xAA, file);
    fclose(file);
    wsi_slide *slide = open_ok(path, 0);
    damage_reader readers[3];
    GThread *threads[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = (damage_reader){slide, 128, 64, 0};
        threads[i] = g_thread_new("reader", read_around_damage, &readers[i]);
    }
    for (int i = 0; i < 3; i++) {
        g_thread_join(threads[i]);
        g_assert_cmpint(readers[i].n_wrong, ==, 0);
    }
    wsi_slide_close(slide);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK); /* libvips warns of what damaged files have */
    g_test_add_func("/slide/equals-openslide", test_equals_openslide);
    g_test_add_func("/slide/real-equals-openslide", test_real_equals_openslide);
    g_test_add_func("/slide/pixels-are-the-files", test_pixels_are_the_files);
    g_test_add_func("/slide/damage-does-not-stick", test_damage_does_not_stick);
    g_test_add_func("/slide/mpp-origins", test_mpp_origins);
    g_test_add_func("/slide/mpp-refused", test_mpp_refused);
    g_test_add_func("/view/tolerance", test_tolerance);
    g_test_add_func("/slide/small-levels", test_small_levels);
    g_test_add_func("/view/area-average", test_area_average);
    g_test_add_func("/view/parts-equal-whole", test_parts_equal_whole);
    g_test_add_func("/view/levels", test_view_levels);
    g_test_add_func("/image/names", test_images);
    g_test_add_func("/image/grey-and-alpha", test_grey_and_alpha_images);
    g_test_add_func("/image/large", test_large_image);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
