/* The pyramid writer against the table of what viewers need:
 * every tag through libtiff, every pixel of every level against a plain reduction, OpenSlide's view
 * of it, faults, atomic appearance. */
#include "base/file.h"
#include "tests/wsi/helpers.h"
#include "wsi/tiff/pyramid.h"

#include <openslide.h>
#include <tiffio.h>

#include <errno.h>
#include <malloc.h>
#include <stdint.h>

typedef struct {
    int64_t w, h;
    int samples;
    uint8_t *px;
} image;

/* Labels 0..3 in patches with noise, or smooth colours. */
static image make_image(const wsi_tiffw_options *o)
{
    image im = {o->w, o->h, o->profile == WSI_TIFFW_RGB_JPEG ? 3 : 1, NULL};
    im.px = g_malloc((gsize)(im.w * im.h * im.samples));
    for (int64_t y = 0; y < im.h; y++)
        for (int64_t x = 0; x < im.w; x++)
            for (int c = 0; c < im.samples; c++) {
                uint32_t noise = ((uint32_t)x * 2654435761u ^ (uint32_t)y * 2246822519u) >> 28;
                int64_t v = o->profile == WSI_TIFFW_MASK
                                ? (x / 37 + y / 23 + (noise == 0)) % 4
                                : (x / 3 + (c + 1) * y / 4 + noise / 4) % 256;
                im.px[(y * im.w + x) * im.samples + c] = (uint8_t)v;
            }
    return im;
}

/* The next level by definition, not by the writer's way. */
static image reduce(const image *in, const wsi_tiffw_options *o, int level)
{
    image out = {MAX(in->w / 2, 1), MAX(in->h / 2, 1), in->samples, NULL};
    out.px = g_malloc((gsize)(out.w * out.h * out.samples));
    for (int64_t y = 0; y < out.h; y++)
        for (int64_t x = 0; x < out.w; x++)
            for (int c = 0; c < in->samples; c++) {
                int64_t x1 = MIN(2 * x + 1, in->w - 1), y1 = MIN(2 * y + 1, in->h - 1);
                const uint8_t *p = in->px + c;
                int a = p[(2 * y * in->w + 2 * x) * in->samples],
                    b = p[(2 * y * in->w + x1) * in->samples];
                int d = p[(y1 * in->w + 2 * x) * in->samples],
                    e = p[(y1 * in->w + x1) * in->samples];
                int v = o->profile != WSI_TIFFW_MASK ? (a + b + d + e + 2) / 4 : level % 2 ? e : a;
                out.px[(y * out.w + x) * in->samples + c] = (uint8_t)v;
            }
    return out;
}

static wsi_tiffw_options defaults(wsi_tiffw_profile profile, int64_t w, int64_t h)
{
    bool rgb = profile == WSI_TIFFW_RGB_JPEG;
    return (wsi_tiffw_options){.profile = profile,
                               .w = w,
                               .h = h,
                               .mpp = 0.475,
                               .tile_px = rgb ? 64 : 128,
                               .min_level_px = 100,
                               .jpeg_quality = 90,
                               .max_label = 3,
                               .description = "a test"};
}

static bool write_image(const char *path, const wsi_tiffw_options *o, const image *im, int64_t step,
                        GError **error)
{
    wsi_tiffw *w = wsi_tiffw_open(path, o, error);
    if (!w)
        return false;
    size_t row = (size_t)(im->w * im->samples);
    for (int64_t y = 0; y < im->h; y += step)
        if (!wsi_tiffw_write_rows(w, im->px + (size_t)y * row, row, MIN(step, im->h - y), error)) {
            wsi_tiffw_abort(w);
            return false;
        }
    return wsi_tiffw_finish(w, error);
}

static uint32_t tag_u32(TIFF *tif, uint32_t tag)
{
    uint32_t value = 0;
    g_assert_cmpint(TIFFGetField(tif, tag, &value), ==, 1);
    return value;
}

static uint16_t tag_u16(TIFF *tif, uint32_t tag)
{
    uint16_t value = 0;
    g_assert_cmpint(TIFFGetField(tif, tag, &value), ==, 1);
    return value;
}

static void check_resolution(TIFF *tif, double mpp, int level)
{
    float x = 0, y = 0;
    double want = 10000 / (mpp * (double)(1 << level));
    g_assert_cmpint(TIFFGetField(tif, TIFFTAG_XRESOLUTION, &x), ==, 1);
    g_assert_cmpint(TIFFGetField(tif, TIFFTAG_YRESOLUTION, &y), ==, 1);
    g_assert_cmpfloat_with_epsilon(x, want, want * 1e-6);
    g_assert_cmpfloat_with_epsilon(y, want, want * 1e-6);
    g_assert_cmpuint(tag_u16(tif, TIFFTAG_RESOLUTIONUNIT), ==, RESUNIT_CENTIMETER);
}

static void check_tags(TIFF *tif, const wsi_tiffw_options *o, const image *im, int level)
{
    bool rgb = o->profile == WSI_TIFFW_RGB_JPEG;
    void *none = NULL;
    uint16_t n_none = 0;
    g_assert_cmpuint(tag_u32(tif, TIFFTAG_SUBFILETYPE), ==, level > 0 ? FILETYPE_REDUCEDIMAGE : 0);
    g_assert_cmpuint(tag_u32(tif, TIFFTAG_IMAGEWIDTH), ==, (uint32_t)im->w);
    g_assert_cmpuint(tag_u32(tif, TIFFTAG_IMAGELENGTH), ==, (uint32_t)im->h);
    g_assert_cmpint(TIFFIsTiled(tif), ==, 1);
    g_assert_cmpuint(tag_u32(tif, TIFFTAG_TILEWIDTH), ==, (uint32_t)o->tile_px);
    g_assert_cmpuint(tag_u32(tif, TIFFTAG_TILELENGTH), ==, (uint32_t)o->tile_px);
    g_assert_cmpuint(tag_u16(tif, TIFFTAG_BITSPERSAMPLE), ==, 8);
    g_assert_cmpuint(tag_u16(tif, TIFFTAG_SAMPLESPERPIXEL), ==, rgb ? 3 : 1);
    g_assert_cmpuint(tag_u16(tif, TIFFTAG_PLANARCONFIG), ==, PLANARCONFIG_CONTIG);
    g_assert_cmpuint(tag_u16(tif, TIFFTAG_COMPRESSION), ==,
                     rgb ? COMPRESSION_JPEG : COMPRESSION_LZW);
    g_assert_cmpuint(tag_u16(tif, TIFFTAG_PHOTOMETRIC), ==,
                     rgb ? PHOTOMETRIC_YCBCR : PHOTOMETRIC_MINISBLACK);
    g_assert_cmpint(TIFFGetField(tif, TIFFTAG_SUBIFD, &n_none, &none), ==, 0);
    g_assert_cmpint(TIFFGetField(tif, TIFFTAG_DATETIME, &none), ==, 0);
    check_resolution(tif, o->mpp, level);
    if (!rgb) {
        double least = -1, largest = -1;
        g_assert_cmpint(TIFFGetField(tif, TIFFTAG_SMINSAMPLEVALUE, &least), ==, 1);
        g_assert_cmpint(TIFFGetField(tif, TIFFTAG_SMAXSAMPLEVALUE, &largest), ==, 1);
        g_assert_true(least == 0);
        g_assert_true(largest == (o->profile == WSI_TIFFW_MASK ? o->max_label : 255));
    }
    char *text = NULL;
    g_assert_cmpint(TIFFGetField(tif, TIFFTAG_IMAGEDESCRIPTION, &text), ==, level == 0 ? 1 : 0);
    if (level == 0)
        g_assert_cmpstr(text, ==, o->description);
}

/* Exact for LZW; within what JPEG at this quality may do, on average, for RGB. */
static void check_pixels(TIFF *tif, const wsi_tiffw_options *o, const image *im)
{
    if (o->profile == WSI_TIFFW_RGB_JPEG)
        TIFFSetField(tif, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    size_t side = (size_t)o->tile_px, s = (size_t)im->samples;
    uint8_t *tile = g_malloc(side * side * s);
    double off = 0;
    for (int64_t y = 0; y < im->h; y += o->tile_px)
        for (int64_t x = 0; x < im->w; x += o->tile_px) {
            g_assert_cmpint(TIFFReadTile(tif, tile, (uint32_t)x, (uint32_t)y, 0, 0), >, 0);
            for (int64_t j = y; j < MIN(y + o->tile_px, im->h); j++)
                for (int64_t i = x; i < MIN(x + o->tile_px, im->w); i++)
                    for (size_t c = 0; c < s; c++) {
                        int got = tile[((size_t)(j - y) * side + (size_t)(i - x)) * s + c];
                        int want = im->px[(size_t)(j * im->w + i) * s + c];
                        off += ABS(got - want);
                    }
        }
    double mean = off / (double)(im->w * im->h * im->samples);
    g_assert_true(mean <= (o->profile == WSI_TIFFW_RGB_JPEG ? 12 : 0));
    g_free(tile);
}

static void check_openslide(const char *path, const wsi_tiffw_options *o, int n_levels)
{
    openslide_t *slide = openslide_open(path);
    g_assert_nonnull(slide);
    g_assert_null(openslide_get_error(slide));
    g_assert_cmpstr(openslide_get_property_value(slide, OPENSLIDE_PROPERTY_NAME_VENDOR), ==,
                    "generic-tiff");
    g_assert_cmpint(openslide_get_level_count(slide), ==, n_levels);
    int64_t w, h;
    openslide_get_level0_dimensions(slide, &w, &h);
    g_assert_cmpint(w, ==, o->w);
    g_assert_cmpint(h, ==, o->h);
    uint32_t *px = g_new(uint32_t, 64 * 64);
    for (int k = 0; k < n_levels; k++)
        openslide_read_region(slide, px, 0, 0, k, 64, 64);
    g_assert_null(openslide_get_error(slide));
    g_free(px);
    openslide_close(slide);
}

static void check_file(const char *path, const wsi_tiffw_options *o, image im)
{
    TIFF *tif = TIFFOpen(path, "r");
    g_assert_nonnull(tif);
    int n_dirs = TIFFNumberOfDirectories(tif), level = 0;
    for (;; level++) {
        g_assert_cmpint(TIFFSetDirectory(tif, (tdir_t)level), ==, 1);
        check_tags(tif, o, &im, level);
        check_pixels(tif, o, &im);
        if (MAX(im.w, im.h) <= o->min_level_px && level >= 1)
            break;
        image next = reduce(&im, o, level + 1);
        g_free(im.px);
        im = next;
    }
    g_assert_cmpint(n_dirs, ==, level + 1);
    g_free(im.px);
    TIFFClose(tif);
    check_openslide(path, o, n_dirs);
}

static void test_profiles(void)
{
    static const int64_t sizes[][2] = {{1, 1},   {2, 1},    {1, 301},   {301, 1},   {33, 7},
                                       {64, 64}, {129, 65}, {700, 513}, {1001, 777}};
    for (int p = WSI_TIFFW_MASK; p <= WSI_TIFFW_RGB_JPEG; p++)
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            GError *error = NULL;
            wsi_tiffw_options o = defaults((wsi_tiffw_profile)p, sizes[i][0], sizes[i][1]);
            g_autofree char *path = temp_path("p.tif");
            image im = make_image(&o);
            g_test_message("profile %d, %d x %d", p, (int)o.w, (int)o.h);
            g_assert_true(write_image(path, &o, &im, 16, &error));
            g_assert_no_error(error);
            check_file(path, &o, im);
        }
}

/* The defaults of the program: 512 tiles, levels to 1024. */
static void test_slide_sized(void)
{
    GError *error = NULL;
    wsi_tiffw_options o = defaults(WSI_TIFFW_MASK, 4203, 2101);
    o.tile_px = 512;
    o.min_level_px = 1024;
    g_autofree char *path = temp_path("big.tif");
    image im = make_image(&o);
    g_assert_true(write_image(path, &o, &im, 100, &error));
    g_assert_no_error(error);
    check_openslide(path, &o, 4); /* 4203, 2101, 1050, 525 */
    check_file(path, &o, im);
}

static void test_no_resolution(void)
{
    GError *error = NULL;
    wsi_tiffw_options o = defaults(WSI_TIFFW_GREY, 90, 80);
    o.mpp = 0;
    o.description = NULL;
    g_autofree char *path = temp_path("n.tif");
    image im = make_image(&o);
    g_assert_true(write_image(path, &o, &im, 7, &error));
    TIFF *tif = TIFFOpen(path, "r");
    float x;
    char *text;
    g_assert_cmpint(TIFFGetField(tif, TIFFTAG_XRESOLUTION, &x), ==, 0);
    g_assert_cmpint(TIFFGetField(tif, TIFFTAG_IMAGEDESCRIPTION, &text), ==, 0);
    TIFFClose(tif);
    g_free(im.px);
}

static bool same_files(const char *a, const char *b)
{
    g_autofree char *x = NULL, *y = NULL;
    gsize n, m;
    g_assert_true(g_file_get_contents(a, &x, &n, NULL));
    g_assert_true(g_file_get_contents(b, &y, &m, NULL));
    return n == m && !memcmp(x, y, n);
}

/* The same rows give the same bytes, however they come in. */
static void test_deterministic(void)
{
    for (int p = WSI_TIFFW_MASK; p <= WSI_TIFFW_RGB_JPEG; p++) {
        GError *error = NULL;
        wsi_tiffw_options o = defaults((wsi_tiffw_profile)p, 333, 271);
        g_autofree char *a = temp_path("a.tif"), *b = temp_path("b.tif");
        image im = make_image(&o);
        g_assert_true(write_image(a, &o, &im, 1, &error));
        g_assert_true(write_image(b, &o, &im, 101, &error));
        g_assert_true(same_files(a, b));
        im.px[5000] ^= 64;
        g_assert_true(write_image(b, &o, &im, 101, &error));
        g_assert_false(same_files(a, b));
        g_free(im.px);
    }
}

static uint16_t file_version(const char *path)
{
    g_autofree char *data = NULL;
    g_assert_true(g_file_get_contents(path, &data, NULL, NULL));
    return (uint16_t)data[2];
}

static void test_bigtiff(void)
{
    GError *error = NULL;
    wsi_tiffw_options o = defaults(WSI_TIFFW_MASK, 500, 400);
    g_autofree char *path = temp_path("bt.tif");
    image im = make_image(&o);
    g_assert_true(write_image(path, &o, &im, 64, &error));
    g_assert_cmpuint(file_version(path), ==, 42);
    o.classic_bytes_max = 1000;
    g_assert_true(write_image(path, &o, &im, 64, &error));
    g_assert_cmpuint(file_version(path), ==, 43);
    check_file(path, &o, im);
}

static guint files_in_temp_dir(void)
{
    GDir *dir = g_dir_open(temp_dir, 0, NULL);
    guint n = 0;
    while (g_dir_read_name(dir))
        n++;
    g_dir_close(dir);
    return n;
}

static void test_atomic(void)
{
    GError *error = NULL;
    wsi_tiffw_options o = defaults(WSI_TIFFW_MASK, 200, 200);
    g_autofree char *path = temp_path("at.tif");
    write_file(path, "old", 3);
    guint n_before = files_in_temp_dir();
    image im = make_image(&o);
    wsi_tiffw *w = wsi_tiffw_open(path, &o, &error);
    g_assert_true(wsi_tiffw_write_rows(w, im.px, 200, 199, &error));
    wsi_tiffw_abort(w);
    g_assert_cmpuint(files_in_temp_dir(), ==, n_before);

    w = wsi_tiffw_open(path, &o, &error);
    g_assert_true(wsi_tiffw_write_rows(w, im.px, 200, 199, &error));
    g_assert_false(wsi_tiffw_finish(w, &error)); /* a row is missing */
    expect_error(g_steal_pointer(&error), QS_ERROR_INTERNAL, "at.tif", "199 of 200", NULL);

    w = wsi_tiffw_open(path, &o, &error);
    g_assert_true(wsi_tiffw_write_rows(w, im.px, 200, 200, &error));
    g_assert_false(wsi_tiffw_write_rows(w, im.px, 200, 1, &error));
    expect_error(g_steal_pointer(&error), QS_ERROR_INTERNAL, "more rows", NULL);
    g_assert_false(wsi_tiffw_write_rows(w, im.px, 200, 0, &error)); /* and it stays failed */
    g_clear_error(&error);
    wsi_tiffw_abort(w);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "old");
    g_assert_cmpuint(files_in_temp_dir(), ==, n_before);
    g_free(im.px);
}

static int ops_left;

static int fail_later(void *user, qs_io_kind kind, const char *path, const char *path2,
                      int64_t offset, const void *data, size_t n)
{
    (void)user, (void)kind, (void)path, (void)path2, (void)offset, (void)data, (void)n;
    return ops_left-- == 0 ? ENOSPC : 0;
}

/* A full disk at each operation in turn: an error that says so, the old file kept, nothing left. */
static void test_full_disk(void)
{
    wsi_tiffw_options o = defaults(WSI_TIFFW_MASK, 300, 200);
    g_autofree char *path = temp_path("full.tif");
    write_file(path, "old", 3);
    guint n_before = files_in_temp_dir();
    image im = make_image(&o);
    int n_failed = 0;
    for (int k = 0;; k++) {
        GError *error = NULL;
        ops_left = k;
        qs_io_set_hook(fail_later, NULL);
        bool ok = write_image(path, &o, &im, 50, &error);
        qs_io_set_hook(NULL, NULL);
        if (ops_left >= 0) { /* fewer operations than k: it was never asked to fail */
            g_assert_true(ok);
            g_assert_no_error(error);
            break;
        }
        g_assert_false(ok);
        n_failed++;
        g_assert_nonnull(error);
        expect_error(error, QS_ERROR_IO, g_strerror(ENOSPC), NULL);
        g_autofree char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        /* Once renamed the new file is whole; only the folder's sync failed. */
        g_assert_true(!strcmp(text, "old") || !memcmp(text, "II*", 4));
        if (memcmp(text, "II*", 4) == 0)
            write_file(path, "old", 3);
        g_assert_cmpuint(files_in_temp_dir(), ==, n_before);
    }
    g_assert_cmpint(n_failed, >, 12);
    g_free(im.px);
}

static void expect_refused(wsi_tiffw_options o, const char *word)
{
    GError *error = NULL;
    g_autofree char *path = temp_path("no.tif");
    g_assert_null(wsi_tiffw_open(path, &o, &error));
    expect_error(error, QS_ERROR_ARG, "no.tif", word, NULL);
}

static void test_refused(void)
{
    wsi_tiffw_options o = defaults(WSI_TIFFW_MASK, 100, 100), bad;
    bad = o, bad.w = 0;
    expect_refused(bad, "0 x 100");
    bad = o, bad.h = (int64_t)1 << 40;
    expect_refused(bad, "1099511627776");
    bad = o, bad.tile_px = 100;
    expect_refused(bad, "multiple of 16");
    bad = o, bad.max_label = 256;
    expect_refused(bad, "256");
    bad = o, bad.description = "<?xml version=1?>";
    expect_refused(bad, "xml");
    bad = o, bad.description = "a DICOM copy";
    expect_refused(bad, "DICOM");
    bad = defaults(WSI_TIFFW_RGB_JPEG, 10, 10), bad.jpeg_quality = 0;
    expect_refused(bad, "quality 0");
    GError *error = NULL;
    g_assert_null(wsi_tiffw_open("/nowhere/at/all/x.tif", &o, &error));
    expect_error(error, QS_ERROR_IO, "/nowhere/at/all/x.tif", NULL);
}

#ifndef __SANITIZE_ADDRESS__ /* whose allocator keeps no such count */
/* What is allocated after many rows is what was allocated after few. */
static void test_memory(void)
{
    GError *error = NULL;
    wsi_tiffw_options o = defaults(WSI_TIFFW_GREY, 256, 60000);
    o.min_level_px = 5000; /* five levels: all have their encoder before row 5000 */
    g_autofree char *path = temp_path("long.tif");
    g_autofree uint8_t *rows = g_malloc(256 * 1000);
    for (size_t i = 0; i < 256 * 1000; i++)
        rows[i] = (uint8_t)(i * 2654435761u >> 24);
    wsi_tiffw *w = wsi_tiffw_open(path, &o, &error);
    size_t early = 0;
    for (int y = 0; y < 60000; y += 1000) {
        g_assert_true(wsi_tiffw_write_rows(w, rows, 256, 1000, &error));
        if (y == 5000)
            early = mallinfo2().uordblks + mallinfo2().hblkhd;
    }
    size_t late = mallinfo2().uordblks + mallinfo2().hblkhd;
    g_assert_cmpuint(late, <=, early + (1 << 18));
    g_assert_true(wsi_tiffw_finish(w, &error));
}
#endif

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *first = temp_path("");
    g_test_add_func("/tiffw/profiles", test_profiles);
    g_test_add_func("/tiffw/slide-sized", test_slide_sized);
    g_test_add_func("/tiffw/no-resolution", test_no_resolution);
    g_test_add_func("/tiffw/deterministic", test_deterministic);
    g_test_add_func("/tiffw/bigtiff", test_bigtiff);
    g_test_add_func("/tiffw/atomic", test_atomic);
    g_test_add_func("/tiffw/full-disk", test_full_disk);
    g_test_add_func("/tiffw/refused", test_refused);
#ifndef __SANITIZE_ADDRESS__
    g_test_add_func("/tiffw/memory", test_memory);
#endif
    int status = g_test_run();
    temp_clean();
    return status;
}
