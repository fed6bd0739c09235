/* The direct lane: every layout of tiles against OpenSlide (level 0, exactly) and against libtiff's
 * own decoding (other levels, exactly), what it refuses, sparse and damaged tiles, many threads,
 * tiles as JPEGs that stand alone, and the window of decoded tiles by itself. */
#include "tests/wsi/helpers.h"
#include "wsi/lane/jpeg_priv.h"
#include "wsi/lane/lane.h"
#include "wsi/slide/slide.h"
#include "wsi/lane/window.h"

#include <openslide.h>
#include <tiffio.h>
#include <turbojpeg.h>

#include <math.h>
#include <stdlib.h>

/* ---- slides ---- */
typedef struct {
    const char *name, *mode; /* mode of TIFFOpen: "w" classic, "w8" big */
    int w, h, tile_w, tile_h, n_levels;
    double step; /* downsample from level to level, about */
    int compression, photometric, chroma_w, chroma_h;
    bool own_tables; /* in every tile, no JPEGTables */
    int sparse;      /* tile without bytes, on level sparse_level; 0: none */
    int sparse_level;
    const char *description, *software;
    int samples, planar, bits;
    bool strips;
} layout;

/* Zero means the usual. */
static layout complete(const layout *l)
{
    layout full = *l;
    const struct {
        int *member, usual;
    } defaults[] = {{&full.w, 700},
                    {&full.h, 530},
                    {&full.tile_w, 64},
                    {&full.tile_h, 64},
                    {&full.n_levels, 2},
                    {&full.compression, COMPRESSION_JPEG},
                    {&full.photometric, PHOTOMETRIC_YCBCR},
                    {&full.chroma_w, 2},
                    {&full.chroma_h, 2},
                    {&full.samples, 3},
                    {&full.planar, PLANARCONFIG_CONTIG},
                    {&full.bits, 8}};
    for (size_t i = 0; i < G_N_ELEMENTS(defaults); i++)
        if (*defaults[i].member == 0)
            *defaults[i].member = defaults[i].usual;
    full.mode = l->mode ? l->mode : "w";
    full.step = l->step > 0 ? l->step : 2;
    return full;
}

static uint8_t paint(int64_t x, int64_t y, int c, int level)
{
    double wave = 60 * sin((double)x * 0.11 + c) * cos((double)y * 0.07 * (level + 1));
    return (uint8_t)(128 + wave + (double)((x * 7 + y * 13 + c * 29) % 23));
}

static void write_tiles(TIFF *tiff, const layout *l, int level, int w, int h)
{
    int n = 0, n_planes = l->planar == PLANARCONFIG_CONTIG ? 1 : l->samples;
    int per = l->samples / n_planes, bytes = l->bits / 8;
    size_t size = (size_t)(l->tile_w * l->tile_h * per * bytes);
    uint8_t *buffer = g_malloc0(size);
    for (int plane = 0; plane < n_planes; plane++)
        for (int y0 = 0; y0 < h; y0 += l->tile_h)
            for (int x0 = 0; x0 < w; x0 += l->tile_w, n++) {
                if (l->sparse && n == l->sparse && level == l->sparse_level)
                    continue;
                for (size_t i = 0; i < size; i++) {
                    int64_t px = (int64_t)i / (per * bytes);
                    buffer[i] = paint(x0 + px % l->tile_w, y0 + px / l->tile_w,
                                      (int)(i % (size_t)(per * bytes)) + plane, level);
                }
                g_assert_cmpint(TIFFWriteEncodedTile(tiff, (uint32_t)n, buffer, (tmsize_t)size), >,
                                0);
            }
    g_free(buffer);
}

static void write_level(TIFF *tiff, const layout *l, int level)
{
    int w = (int)(l->w / pow(l->step, level)), h = (int)(l->h / pow(l->step, level));
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, w);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, h);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, l->bits);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, l->samples);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, l->planar);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, l->compression);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, l->photometric);
    if (level > 0)
        TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, FILETYPE_REDUCEDIMAGE);
    if (l->description && level == 0)
        TIFFSetField(tiff, TIFFTAG_IMAGEDESCRIPTION, l->description);
    if (l->software)
        TIFFSetField(tiff, TIFFTAG_SOFTWARE, l->software);
    if (l->photometric == PHOTOMETRIC_YCBCR)
        TIFFSetField(tiff, TIFFTAG_YCBCRSUBSAMPLING, l->chroma_w, l->chroma_h);
    if (l->strips) {
        TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 16);
    } else {
        TIFFSetField(tiff, TIFFTAG_TILEWIDTH, l->tile_w);
        TIFFSetField(tiff, TIFFTAG_TILELENGTH, l->tile_h);
    }
    if (l->compression == COMPRESSION_JPEG) {
        TIFFSetField(tiff, TIFFTAG_JPEGQUALITY, 85);
        if (l->photometric == PHOTOMETRIC_YCBCR)
            TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
        if (l->own_tables)
            TIFFSetField(tiff, TIFFTAG_JPEGTABLESMODE, 0);
    }
    if (l->strips) {
        uint8_t *row = g_malloc0((size_t)(w * l->samples));
        for (int y = 0; y < h; y++)
            TIFFWriteScanline(tiff, row, (uint32_t)y, 0);
        g_free(row);
    } else {
        write_tiles(tiff, l, level, w, h);
    }
    g_assert_true(TIFFWriteDirectory(tiff));
}

static char *make(const layout *l)
{
    layout full = complete(l);
    char *path = temp_path(l->name);
    TIFF *tiff = TIFFOpen(path, full.mode);
    g_assert_nonnull(tiff);
    for (int level = 0; level < full.n_levels; level++)
        write_level(tiff, &full, level);
    TIFFClose(tiff);
    return path;
}

static wsi_slide *open_by(const char *path, wsi_reader reader)
{
    GError *error = NULL;
    wsi_slide *slide = wsi_slide_open_by(path, 0, reader, &error);
    g_assert_no_error(error);
    return slide;
}

/* ---- equality ---- */
static void check_region(wsi_slide *slide, openslide_t *peer, int64_t x, int64_t y, int w, int h)
{
    g_autofree uint8_t *rgb = g_malloc((size_t)w * (size_t)h * 3);
    g_autofree uint32_t *argb = g_new(uint32_t, (size_t)w * (size_t)h);
    GError *error = NULL;
    g_assert_true(wsi_slide_read(slide, 0, x, y, w, h, rgb, (size_t)w * 3, &error));
    openslide_read_region(peer, argb, x, y, 0, w, h);
    g_assert_null(openslide_get_error(peer));
    for (int i = 0; i < w * h; i++) {
        uint32_t got = (uint32_t)rgb[3 * i] << 16 | (uint32_t)rgb[3 * i + 1] << 8 | rgb[3 * i + 2];
        uint32_t want = argb[i] >> 24 == 255 ? argb[i] & 0xffffff : 0xffffff;
        if (got != want)
            g_error("%s at %d,%d (%d x %d), pixel %d: %06x, OpenSlide says %06x",
                    wsi_slide_get_info(slide)->path, (int)x, (int)y, w, h, i, got, want);
    }
}

static void check_level0(wsi_slide *slide, const char *path)
{
    const wsi_level *base = &wsi_slide_get_info(slide)->levels[0];
    openslide_t *peer = openslide_open(path);
    g_assert_nonnull(peer);
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);
    check_region(slide, peer, 0, 0, (int)base->w, (int)base->h);
    for (int i = 0; i < 25; i++)
        check_region(slide, peer, g_rand_int_range(rand, -50, (int)base->w),
                     g_rand_int_range(rand, -50, (int)base->h), g_rand_int_range(rand, 1, 200),
                     g_rand_int_range(rand, 1, 200));
    openslide_close(peer);
}

/* Pixel for pixel what libtiff makes of the directory's tiles. */
static void check_level(wsi_slide *slide, const char *path, int level, int dir)
{
    const wsi_level *shape = &wsi_slide_get_info(slide)->levels[level];
    TIFF *tiff = TIFFOpen(path, "r");
    g_assert_true(TIFFSetDirectory(tiff, (tdir_t)dir));
    uint32_t tw = 0, th = 0;
    uint16_t compression = 0;
    TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &tw);
    TIFFGetField(tiff, TIFFTAG_TILELENGTH, &th);
    TIFFGetField(tiff, TIFFTAG_COMPRESSION, &compression);
    if (compression == COMPRESSION_JPEG)
        TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    g_autofree uint8_t *tile = g_malloc((size_t)tw * th * 3), *rgb = g_malloc((size_t)tw * th * 3);
    for (int64_t y = 0; y < shape->h; y += th)
        for (int64_t x = 0; x < shape->w; x += tw) {
            int w = (int)MIN(tw, shape->w - x), h = (int)MIN(th, shape->h - y);
            uint32_t n = TIFFComputeTile(tiff, (uint32_t)x, (uint32_t)y, 0, 0);
            GError *error = NULL;
            g_assert_cmpint(TIFFReadEncodedTile(tiff, n, tile, (tmsize_t)(tw * th * 3)), >, 0);
            g_assert_true(wsi_slide_read(slide, level, llround((double)x * shape->downsample),
                                         llround((double)y * shape->downsample), w, h, rgb,
                                         (size_t)w * 3, &error));
            for (int row = 0; row < h; row++)
                if (memcmp(rgb + (size_t)(row * w) * 3, tile + (size_t)row * tw * 3, (size_t)w * 3))
                    g_error("%s level %d: tile at %d,%d, row %d differs from libtiff's", path,
                            level, (int)x, (int)y, row);
        }
    TIFFClose(tiff);
}

static const layout good[] = {
    {.name = "420.tif"},
    {.name = "422.tif", .chroma_h = 1},
    {.name = "444.tif", .chroma_w = 1, .chroma_h = 1},
    {.name = "rgb.tif", .photometric = PHOTOMETRIC_RGB},
    {.name = "own-tables.tif", .own_tables = true},
    {.name = "rgb-own-tables.tif", .own_tables = true, .photometric = PHOTOMETRIC_RGB},
    {.name = "odd-tiles.tif", .tile_w = 48, .tile_h = 112},
    {.name = "large-tiles.tif", .tile_w = 1024, .tile_h = 768, .n_levels = 1},
    {.name = "big.tif", .mode = "w8"},
    {.name = "thirds.tif", .step = 2.9, .n_levels = 3},
    {.name = "aperio.svs",
     .photometric = PHOTOMETRIC_RGB,
     .n_levels = 1,
     .description = "Aperio Image Library v11.2.1 \n700x530 |AppMag = 20|MPP = 0.4990"},
    {.name = "deflate.tif",
     .compression = COMPRESSION_ADOBE_DEFLATE,
     .photometric = PHOTOMETRIC_RGB},
    {.name = "lzw.tif", .compression = COMPRESSION_LZW, .photometric = PHOTOMETRIC_RGB},
    {.name = "plain.tif", .compression = COMPRESSION_NONE, .photometric = PHOTOMETRIC_RGB},
};

static void test_layouts(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *path = make(&good[i]);
        g_test_message("%s", path);
        wsi_slide *slide = open_by(path, WSI_READER_DIRECT);
        const wsi_slide_info *info = wsi_slide_get_info(slide);
        g_assert_cmpstr(info->lane, ==, "direct");
        g_assert_nonnull(strstr(info->lane_why, "equal to OpenSlide's"));
        check_level0(slide, path);
        g_assert_cmpint(info->n_levels, ==, complete(&good[i]).n_levels);
        for (int level = 0; level < info->n_levels; level++)
            check_level(slide, path, level, level);
        wsi_slide_close(slide);
        slide = open_by(path, WSI_READER_AUTO);
        g_assert_cmpstr(wsi_slide_get_info(slide)->lane, ==, "direct");
        wsi_slide_close(slide);
        slide = open_by(path, WSI_READER_OPENSLIDE);
        g_assert_cmpstr(wsi_slide_get_info(slide)->lane, ==, "openslide");
        check_level0(slide, path);
        wsi_slide_close(slide);
    }
}

static void test_real(void)
{
    g_autofree char *path = real_data("slides/CMU-1-Small-Region.svs");
    if (!path)
        return;
    wsi_slide *slide = open_by(path, WSI_READER_DIRECT);
    check_level0(slide, path);
    wsi_slide_close(slide);
    g_autofree char *jp2k = real_data("slides/TCGA-CR-7395-01A-01-TS1.svs");
    slide = open_by(jp2k, WSI_READER_AUTO);
    g_assert_cmpstr(wsi_slide_get_info(slide)->lane, ==, "openslide");
    g_assert_nonnull(strstr(wsi_slide_get_info(slide)->lane_why, "JPEG 2000"));
    wsi_slide_close(slide);
}

/* ---- what the lane leaves to others ---- */
static void test_refused(void)
{
    static const struct {
        layout l;
        const char *why;
    } cases[] = {
        {{.name = "grey.tif", .photometric = PHOTOMETRIC_MINISBLACK, .samples = 1},
         "not three 8-bit samples"},
        {{.name = "planes.tif",
          .compression = COMPRESSION_LZW,
          .photometric = PHOTOMETRIC_RGB,
          .planar = PLANARCONFIG_SEPARATE},
         "separate planes"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = make(&cases[i].l);
        wsi_slide *slide = open_by(path, WSI_READER_AUTO);
        g_assert_cmpstr(wsi_slide_get_info(slide)->lane, ==, "openslide");
        g_assert_nonnull(strstr(wsi_slide_get_info(slide)->lane_why, cases[i].why));
        wsi_slide_close(slide);
        GError *error = NULL;
        g_assert_null(wsi_slide_open_by(path, 0, WSI_READER_DIRECT, &error));
        expect_error(error, QS_ERROR_UNSUPPORTED, path, cases[i].why, "--reader", NULL);
    }
    /* Strips are no slide: the image driver has them, whatever is asked for. */
    layout l = {.name = "strips.tif",
                .compression = COMPRESSION_LZW,
                .photometric = PHOTOMETRIC_RGB,
                .strips = true,
                .n_levels = 1};
    g_autofree char *path = make(&l);
    wsi_slide *slide = open_by(path, WSI_READER_DIRECT);
    g_assert_cmpstr(wsi_slide_get_info(slide)->lane, ==, "image");
    wsi_slide_close(slide);
}

/* A peer that tells the truth, or, with `lie`, moves one pixel of the last tile by one. */
static int lie;
static bool peer_read(wsi_slide *slide, int level, int64_t x_l0, int64_t y_l0, int w_lv, int h_lv,
                      uint8_t *rgb, size_t row_bytes, GError **error)
{
    if (!wsi_slide_read(slide, level, x_l0, y_l0, w_lv, h_lv, rgb, row_bytes, error))
        return false;
    if (lie && x_l0 + w_lv == 700 && y_l0 + h_lv == 530)
        rgb[(size_t)(h_lv / 2) * row_bytes + (size_t)(w_lv / 2) * 3] ^= 1;
    return true;
}

static void test_disagreement_is_found(void)
{
    layout l = {.name = "peer.tif", .n_levels = 1};
    g_autofree char *path = make(&l), *why = NULL, *why_not = NULL;
    wsi_slide *slide = open_by(path, WSI_READER_OPENSLIDE);
    wsi_lane *lane = wsi_lane_open(slide, peer_read, &why);
    g_assert_nonnull(lane);
    g_assert_nonnull(strstr(why, "6 tiles of 1 levels are equal"));
    wsi_lane_close(lane);
    lie = 1;
    g_assert_null(wsi_lane_open(slide, peer_read, &why_not));
    g_assert_nonnull(strstr(why_not, "tile 10,8 of level 0 differs from OpenSlide's by up to 1"));
    lie = 0;
    wsi_slide_close(slide);
}

/* Sparse tiles: whatever OpenSlide shows there. */
static void test_sparse(void)
{
    static const layout cases[] = {
        {.name = "sparse.tif", .sparse = 13},
        {.name = "sparse-rgb.tif", .sparse = 13, .photometric = PHOTOMETRIC_RGB},
        {.name = "sparse.svs",
         .sparse = 7,
         .photometric = PHOTOMETRIC_RGB,
         .n_levels = 1,
         .description = "Aperio Image Library v11.2.1 \n700x530 |AppMag = 20|MPP = 0.4990"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = make(&cases[i]);
        wsi_slide *ours = open_by(path, WSI_READER_DIRECT);
        wsi_slide *theirs = open_by(path, WSI_READER_OPENSLIDE);
        for (int64_t y = 0; y < 530; y += 50)
            for (int64_t x = 0; x < 700; x += 50) {
                uint8_t a[60 * 60 * 3], b[60 * 60 * 3];
                GError *fault_a = NULL, *fault_b = NULL;
                bool ok_a = wsi_slide_read(ours, 0, x, y, 60, 60, a, 180, &fault_a);
                bool ok_b = wsi_slide_read(theirs, 0, x, y, 60, 60, b, 180, &fault_b);
                g_assert_cmpint(ok_a, ==, ok_b); /* an error of OpenSlide's is ours too */
                if (ok_a)
                    g_assert_cmpmem(a, sizeof a, b, sizeof b);
                g_clear_error(&fault_a);
                g_clear_error(&fault_b);
            }
        wsi_slide_close(ours);
        wsi_slide_close(theirs);
    }
}

/* Philips pads its levels to whole tiles and says so only in its XML: 704 x 576 stored, the second
 * level 352 x 288 of a stored 384 x 320. Its sparse tiles are empty. */
#define PHILIPS_LEVEL(spacing)                                                                     \
    "<DataObject ObjectType=\"PixelDataRepresentation\"><Attribute Name=\"DICOM_PIXEL_SPACING\" "  \
    "Group=\"0x0028\" Element=\"0x0030\" PMSVR=\"IDoubleArray\">&quot;" spacing                    \
    "&quot; &quot;" spacing "&quot;</Attribute></DataObject>"
static const char philips_xml[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\" ?><DataObject ObjectType=\"DPUfsImport\">"
    "<Attribute Name=\"PIM_DP_SCANNED_IMAGES\"><Array><DataObject ObjectType=\"DPScannedImage\">"
    "<Attribute Name=\"PIM_DP_IMAGE_TYPE\">WSI</Attribute>"
    "<Attribute Name=\"PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE\"><Array>" PHILIPS_LEVEL("0.00025")
        PHILIPS_LEVEL("0.0005") "</Array></Attribute></DataObject></Array></Attribute>"
                                "</DataObject>";

static void test_philips(void)
{
    layout l = {.name = "philips.tiff",
                .w = 704,
                .h = 576,
                .step = 704 / 384.0,
                .sparse = 13,
                .software = "Philips DP v1.0",
                .description = philips_xml};
    g_autofree char *path = make(&l);
    wsi_slide *slide = open_by(path, WSI_READER_DIRECT);
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    g_assert_cmpstr(info->vendor, ==, "philips");
    g_assert_cmpint(info->n_levels, ==, 2);
    g_assert_cmpint(info->levels[1].w, ==, 352);
    check_level0(slide, path);
    check_level(slide, path, 1, 1);
    wsi_slide_close(slide);
}

/* ---- damage ---- */
/* Overwrites the middle of a tile's bytes; `end` cuts them short with zeros instead. */
static void damage(const char *path, int index, bool end)
{
    TIFF *tiff = TIFFOpen(path, "r");
    uint64_t at = TIFFGetStrileOffset(tiff, (uint32_t)index);
    uint64_t n = TIFFGetStrileByteCount(tiff, (uint32_t)index);
    TIFFClose(tiff);
    FILE *file = fopen(path, "r+b");
    fseek(file, (long)(at + n / 2), SEEK_SET);
    for (uint64_t i = n / 2; i < (end ? n : n / 2 + 40); i++)
        fputc(end ? 0 : 0xff, file);
    fclose(file);
}

static void test_corrupt_tile(void)
{
    for (int kind = 0; kind < 2; kind++) {
        layout l = {.name = kind ? "zeros.tif" : "ffs.tif", .tile_w = 128, .tile_h = 128};
        g_autofree char *path = make(&l);
        damage(path, 8, kind); /* column 2 of row 1 of 6 x 5 */
        wsi_slide *slide = open_by(path, WSI_READER_AUTO);
        g_assert_cmpstr(wsi_slide_get_info(slide)->lane, ==,
                        "direct"); /* one bad tile is no reason */
        g_autofree uint8_t *rgb = g_malloc(128 * 128 * 3);
        GError *error = NULL;
        g_assert_false(wsi_slide_read(slide, 0, 256, 128, 128, 128, rgb, 384, &error));
        expect_error(error, QS_ERROR_FORMAT, path, "level 0", "256,128", "tile 2,1", "JPEG", NULL);
        for (int again = 0; again < 2; again++) { /* and harms no other tile, before or after */
            error = NULL;
            g_assert_true(wsi_slide_read(slide, 0, 384, 128, 128, 128, rgb, 384, &error));
            g_assert_no_error(error);
        }
        /* tiles as they are: found there too */
        wsi_view view;
        wsi_tile_copy copy = {0};
        g_assert_true(wsi_view_init(&view, slide, true, 0, NULL));
        error = NULL;
        g_assert_cmpint(wsi_view_copy(&view, 256, 128, 128, 128, &copy, &error), ==,
                        WSI_COPY_DAMAGED);
        expect_error(error, QS_ERROR_FORMAT, path, "tile 2,1", NULL);
        wsi_tile_copy_clear(&copy);
        wsi_slide_close(slide);
    }
}

static void test_truncated(void)
{
    layout l = {.name = "short.tif", .n_levels = 1};
    g_autofree char *path = make(&l), *text = NULL;
    gsize n = 0;
    g_assert_true(g_file_get_contents(path, &text, &n, NULL));
    /* libtiff writes the directory last: cut away, or an offset made to point past the end */
    write_file(path, text, n / 2);
    GError *error = NULL;
    g_assert_null(wsi_slide_open_by(path, 0, WSI_READER_DIRECT, &error));
    expect_error(error, QS_ERROR_FORMAT, path, "truncated", NULL);
}

/* ---- threads ---- */
typedef struct {
    wsi_slide *slide;
    const uint8_t *whole;
    int seed, n_wrong;
} walker;

static gpointer walk(gpointer user)
{
    walker *me = user;
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)me->seed);
    uint8_t rgb[90 * 90 * 3];
    for (int i = 0; i < 400; i++) {
        int x = g_rand_int_range(rand, 0, 610), y = g_rand_int_range(rand, 0, 440);
        me->n_wrong += !wsi_slide_read(me->slide, 0, x, y, 90, 90, rgb, 270, NULL);
        for (int row = 0; row < 90; row++)
            me->n_wrong += memcmp(rgb + row * 270,
                                  me->whole + ((size_t)(y + row) * 700 + (size_t)x) * 3, 270) != 0;
    }
    return NULL;
}

static void test_threads(void)
{
    layout l = {.name = "threads.tif"};
    g_autofree char *path = make(&l);
    wsi_slide *slide = open_by(path, WSI_READER_DIRECT);
    g_autofree uint8_t *whole = g_malloc(700 * 530 * 3);
    g_assert_true(wsi_slide_read(slide, 0, 0, 0, 700, 530, whole, 2100, NULL));
    walker walkers[4];
    GThread *threads[4];
    for (int i = 0; i < 4; i++) {
        walkers[i] = (walker){slide, whole, i, 0};
        threads[i] = g_thread_new("walk", walk, &walkers[i]);
    }
    for (int i = 0; i < 4; i++) {
        g_thread_join(threads[i]);
        g_assert_cmpint(walkers[i].n_wrong, ==, 0);
    }
    wsi_slide_close(slide);
}

/* ---- tiles as they are ---- */
/* Every whole tile as a JPEG, decoded by turbojpeg without any help, is what the slide shows. */
static void check_copies(const layout *kind, bool usable)
{
    layout full = complete(kind), *l = &full;
    g_autofree char *path = make(l);
    wsi_slide *slide = open_by(path, WSI_READER_DIRECT);
    wsi_view view;
    wsi_tile_copy copy = {0};
    tjhandle peer = tjInitDecompress();
    GError *error = NULL;
    size_t n = (size_t)l->tile_w * (size_t)l->tile_h * 3, pitch = (size_t)l->tile_w * 3;
    g_autofree uint8_t *want = g_malloc(n), *got = g_malloc(n);
    g_assert_true(wsi_view_init(&view, slide, true, 0, &error));
    int n_copied = 0;
    for (int y = 0; y < l->h; y += l->tile_h)
        for (int x = 0; x < l->w; x += l->tile_w) {
            bool whole = x + l->tile_w <= l->w && y + l->tile_h <= l->h;
            wsi_copy_outcome outcome =
                wsi_view_copy(&view, x, y, l->tile_w, l->tile_h, &copy, &error);
            g_assert_no_error(error);
            g_assert_cmpint(outcome, ==, whole && usable ? WSI_COPY_DONE : WSI_COPY_NOT_A_TILE);
            if (outcome != WSI_COPY_DONE)
                continue;
            n_copied++;
            g_assert_true(
                wsi_slide_read(slide, 0, x, y, l->tile_w, l->tile_h, want, pitch, &error));
            g_assert_cmpint(tjDecompress2(peer, copy.jpeg, (unsigned long)copy.n, got, l->tile_w, 0,
                                          l->tile_h, TJPF_RGB, TJFLAG_ACCURATEDCT),
                            ==, 0);
            g_assert_cmpmem(got, n, want, n);
            g_assert_cmpint(copy.eighth_w, ==, (l->tile_w + 7) / 8);
            int64_t a = 0, b = 0; /* the small picture has the large one's brightness */
            for (size_t i = 0; i < n; i++)
                a += want[i];
            for (int i = 0; i < copy.eighth_w * copy.eighth_h * 3; i++)
                b += copy.eighth[i];
            g_assert_cmpfloat(
                fabs((double)a / (double)n - (double)b / (copy.eighth_w * copy.eighth_h * 3)), <,
                2);
        }
    g_assert_cmpint(n_copied, ==, usable ? (l->w / l->tile_w) * (l->h / l->tile_h) : 0);
    /* off the grid, or of another size, it is no tile */
    g_assert_cmpint(wsi_view_copy(&view, 1, 0, l->tile_w, l->tile_h, &copy, &error), ==,
                    WSI_COPY_NOT_A_TILE);
    g_assert_cmpint(wsi_view_copy(&view, 0, 0, 2 * l->tile_w, l->tile_h, &copy, &error), ==,
                    WSI_COPY_NOT_A_TILE);
    /* nor with its colours changed: the bytes would not be what the view shows */
    char some_colour = 0;
    view.colour = (void *)&some_colour;
    g_assert_cmpint(wsi_view_copy(&view, 0, 0, l->tile_w, l->tile_h, &copy, &error), ==,
                    WSI_COPY_NOT_A_TILE);
    wsi_tile_copy_clear(&copy);
    tjDestroy(peer);
    wsi_slide_close(slide);
}

static void test_copies(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        check_copies(&good[i], complete(&good[i]).compression == COMPRESSION_JPEG);
}

/* Streams whose headers lead nowhere. */
static void test_splice_refuses(void)
{
    static const uint8_t no_scan[] = {0xff, 0xd8, 0xff, 0xd9},
                         runs_out[] = {0xff, 0xd8, 0xff, 0xdb, 0x40, 0, 1, 2},
                         none[] = {1, 2, 3, 4};
    const wsi_jpeg_bits cases[] = {{no_scan, NULL, sizeof no_scan, 0, true},
                                   {runs_out, NULL, sizeof runs_out, 0, true},
                                   {none, NULL, sizeof none, 0, true},
                                   {none, NULL, 1, 0, true}};
    wsi_jpeg_decoder *decoder = wsi_jpeg_decoder_create();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree uint8_t *out = g_malloc(wsi_jpeg_splice_bound(&cases[i]));
        uint8_t rgb[64 * 3];
        GError *error = NULL;
        g_assert_cmpuint(wsi_jpeg_splice(&cases[i], out, &error), ==, 0);
        expect_error(g_steal_pointer(&error), QS_ERROR_FORMAT, "JPEG", NULL);
        g_assert_false(wsi_jpeg_decode(decoder, &cases[i], 8, 8, 1, rgb, 24, &error));
        expect_error(error, QS_ERROR_FORMAT, "JPEG", NULL);
    }
    wsi_jpeg_decoder_destroy(decoder);
}

/* ---- the window ---- */
typedef struct {
    int n_fills;
} fill_count;

static wsi_tile_outcome fill_number(void *user, int level, int64_t tile, uint8_t *rgb,
                                    GError **error)
{
    ((fill_count *)user)->n_fills++;
    if (tile == 99) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "tile 99 of level %d", level);
        return WSI_TILE_FAILED;
    }
    if (tile == 98)
        return WSI_TILE_SPARSE;
    memset(rgb, (int)tile + level, 100);
    return WSI_TILE_PIXELS;
}

static void look(wsi_tile_window *window, fill_count *count, int level, int64_t tile, int64_t row,
                 int n_fills)
{
    wsi_tile_key key = {level, tile, row, 100};
    wsi_tile_rows rows = {row, row};
    const uint8_t *rgb;
    wsi_tile_outcome outcome;
    GError *error = NULL;
    wsi_window_tile *held =
        wsi_tile_window_take(window, &key, &rows, fill_number, count, &rgb, &outcome, &error);
    g_assert_no_error(error);
    g_assert_cmpint(outcome, ==, WSI_TILE_PIXELS);
    g_assert_cmpint(rgb[0], ==, tile + level);
    g_assert_cmpint(rgb[99], ==, tile + level);
    g_assert_cmpint(count->n_fills, ==, n_fills);
    wsi_tile_window_give_back(window, held);
}

static void test_window(void)
{
    wsi_tile_window *window = wsi_tile_window_create(350); /* three tiles */
    fill_count count = {0};
    look(window, &count, 0, 0, 0, 1);
    look(window, &count, 0, 1, 0, 2);
    look(window, &count, 0, 0, 0, 2); /* kept */
    look(window, &count, 0, 2, 0, 3);
    look(window, &count, 0, 3, 0, 4); /* its own row fills the window: not kept */
    look(window, &count, 0, 3, 0, 5);
    look(window, &count, 0, 0, 0, 5);
    look(window, &count, 0, 10, 1, 6); /* another row: the longest unused, tile 1, goes */
    look(window, &count, 0, 0, 0, 6);
    look(window, &count, 0, 2, 0, 6);
    look(window, &count, 0, 1, 0, 7); /* and comes again for tile 10 */
    look(window, &count, 1, 0, 0, 8); /* another level is another tile */
    wsi_tile_key bad = {0, 99, 9, 100}, sparse = {0, 98, 9, 100};
    wsi_tile_rows rows = {9, 9};
    const uint8_t *rgb;
    wsi_tile_outcome outcome;
    GError *error = NULL;
    g_assert_null(
        wsi_tile_window_take(window, &bad, &rows, fill_number, &count, &rgb, &outcome, &error));
    g_assert_cmpint(outcome, ==, WSI_TILE_FAILED);
    expect_error(g_steal_pointer(&error), QS_ERROR_FORMAT, "tile 99 of level 0", NULL);
    g_assert_null(
        wsi_tile_window_take(window, &sparse, &rows, fill_number, &count, &rgb, &outcome, &error));
    g_assert_cmpint(outcome, ==, WSI_TILE_SPARSE);
    g_assert_no_error(error);
    wsi_tile_window_destroy(window);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TIFFSetWarningHandler(NULL);
    g_test_add_func("/lane/layouts", test_layouts);
    g_test_add_func("/lane/real", test_real);
    g_test_add_func("/lane/refused", test_refused);
    g_test_add_func("/lane/disagreement", test_disagreement_is_found);
    g_test_add_func("/lane/sparse", test_sparse);
    g_test_add_func("/lane/philips", test_philips);
    g_test_add_func("/lane/corrupt-tile", test_corrupt_tile);
    g_test_add_func("/lane/truncated", test_truncated);
    g_test_add_func("/lane/threads", test_threads);
    g_test_add_func("/lane/copies", test_copies);
    g_test_add_func("/lane/splice-refuses", test_splice_refuses);
    g_test_add_func("/lane/window", test_window);
    int rc = g_test_run();
    temp_clean();
    return rc;
}
