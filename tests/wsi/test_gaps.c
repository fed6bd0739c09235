/* Tiles without bytes: found from the directories, joined, at level-0 places. */
#include "tests/wsi/helpers.h"
#include "wsi/slide/gaps.h"

#include <tiffio.h>

enum { TILE = 64, N_X = 5, N_Y = 4, W = N_X * TILE - 20, H = N_Y * TILE - 10 };

/* '#' is written, '.' is not. */
static void write_sparse(const char *path, const char *const *rows, int n_levels, bool aperio)
{
    TIFF *tiff = TIFFOpen(path, "w");
    static uint8_t grey[TILE * TILE * 3];
    memset(grey, 128, sizeof grey);
    for (int level = 0; level < n_levels; level++) {
        TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, W >> level);
        TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, H >> level);
        TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, 8);
        TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, 3);
        TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
        TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
        TIFFSetField(tiff, TIFFTAG_COMPRESSION, COMPRESSION_LZW);
        TIFFSetField(tiff, TIFFTAG_TILEWIDTH, TILE);
        TIFFSetField(tiff, TIFFTAG_TILELENGTH, TILE);
        if (aperio) {
            TIFFSetField(tiff, TIFFTAG_IMAGEDESCRIPTION, "Aperio Image Library v1\r\n|MPP = 0.5");
            TIFFSetField(tiff, TIFFTAG_IMAGEDEPTH, 1);
        } else if (level)
            TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, FILETYPE_REDUCEDIMAGE);
        int n_x = ((W >> level) + TILE - 1) / TILE, n_y = ((H >> level) + TILE - 1) / TILE;
        for (int y = 0; y < n_y; y++)
            for (int x = 0; x < n_x; x++)
                if (rows[y][x] == '#')
                    TIFFWriteTile(tiff, grey, (uint32_t)(x * TILE), (uint32_t)(y * TILE), 0, 0);
        TIFFWriteDirectory(tiff);
    }
    TIFFClose(tiff);
}

static wsi_slide *open_slide(const char *path)
{
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open(path, 0, &error);
    g_assert_no_error(error);
    return slide;
}

static void expect_gap(const GArray *gaps, guint i, int64_t x, int64_t y, int64_t w, int64_t h)
{
    const wsi_gap *g = &g_array_index(gaps, wsi_gap, i);
    if (g->x_l0 != x || g->y_l0 != y || g->w_l0 != w || g->h_l0 != h || g->filled)
        g_error("gap %u is %d,%d %d x %d", i, (int)g->x_l0, (int)g->y_l0, (int)g->w_l0,
                (int)g->h_l0);
}

static void test_sparse(void)
{
    static const char *const rows[] = {"#..##", "#..##", "###.#", ".##.."};
    g_autofree char *path = temp_path("sparse.tif");
    GError *error = NULL;
    write_sparse(path, rows, 2, false);
    wsi_slide *slide = open_slide(path);
    GArray *gaps = wsi_slide_gaps(slide, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(gaps->len, ==, 4);
    expect_gap(gaps, 0, TILE, 0, 2 * TILE, 2 * TILE);
    expect_gap(gaps, 1, 3 * TILE, 2 * TILE, TILE, TILE); /* the run below is wider */
    expect_gap(gaps, 2, 0, 3 * TILE, TILE, H - 3 * TILE);
    expect_gap(gaps, 3, 3 * TILE, 3 * TILE, W - 3 * TILE, H - 3 * TILE);
    g_array_unref(gaps);
    gaps = wsi_slide_gaps(slide, 1, &error); /* "#.." over "#.." */
    g_assert_no_error(error);
    g_assert_cmpuint(gaps->len, ==, 1);
    expect_gap(gaps, 0, 2 * TILE, 0, W - 2 * TILE, H);
    g_array_unref(gaps);
    wsi_slide_close(slide);
}

/* Aperio's own reader takes what a lower level lacks from the one above it; level 0 has nothing
 * above. */
static void test_filled(void)
{
    static const char *const rows[] = {"##.##", "#####", "#####", "#####"};
    g_autofree char *path = temp_path("aperio.svs");
    GError *error = NULL;
    write_sparse(path, rows, 2, true);
    wsi_slide *slide = open_slide(path);
    g_assert_cmpstr(wsi_slide_get_info(slide)->vendor, ==, "aperio");
    GArray *gaps = wsi_slide_gaps(slide, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(gaps->len, ==, 1);
    expect_gap(gaps, 0, 2 * TILE, 0, TILE, TILE);
    g_array_unref(gaps);
    gaps = wsi_slide_gaps(slide, 1, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(gaps->len, ==, 1);
    g_assert_true(g_array_index(gaps, wsi_gap, 0).filled);
    g_array_unref(gaps);
    wsi_slide_close(slide);
}

static void test_whole(void)
{
    static const char *const rows[] = {"#####", "#####", "#####", "#####"};
    g_autofree char *path = temp_path("whole.tif");
    GError *error = NULL;
    write_sparse(path, rows, 2, false);
    wsi_slide *slide = open_slide(path);
    for (int level = 0; level < 2; level++) {
        GArray *gaps = wsi_slide_gaps(slide, level, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(gaps->len, ==, 0);
        g_array_unref(gaps);
    }
    wsi_slide_close(slide);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gaps/sparse", test_sparse);
    g_test_add_func("/gaps/filled", test_filled);
    g_test_add_func("/gaps/whole", test_whole);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
