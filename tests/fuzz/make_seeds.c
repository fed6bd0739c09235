/* Seeds of the fuzz targets that are not text: one small file a layout, each a few hundred bytes to
 * a few thousand. make_seeds DIR writes DIR/slide and DIR/blob. */
#include "db/store_priv.h"
#include "tests/wsi/make_tiff.h"
#include "wsi/image/picture.h"

#include <glib/gstdio.h>

static void fail(const char *what)
{
    g_printerr("make_seeds: %s\n", what);
    exit(1);
}

static char *in(const char *dir, const char *folder, const char *name)
{
    g_autofree char *sub = g_build_filename(dir, folder, NULL);
    if (g_mkdir_with_parents(sub, 0777) != 0)
        fail(sub);
    return g_build_filename(sub, name, NULL);
}

static void put(const char *path, const void *data, size_t n)
{
    if (!g_file_set_contents(path, data, (gssize)n, NULL))
        fail(path);
}

static void tiffs(const char *dir)
{
    static const struct {
        const char *name;
        make_tiff_options o;
    } seeds[] = {
        {"jpeg-pyramid.tif",
         {.w = 64, .h = 48, .tile = 16, .n_levels = 2, .compression = COMPRESSION_JPEG}},
        {"deflate.tif", {.w = 40, .h = 40, .tile = 16, .mpp = 0.5}},
        {"lzw-inch.tif",
         {.w = 40,
          .h = 20,
          .tile = 16,
          .compression = COMPRESSION_LZW,
          .mpp = 0.5,
          .unit = RESUNIT_INCH}},
        {"plain.tif", {.w = 33, .h = 17, .tile = 16, .compression = COMPRESSION_NONE}},
        {"strips.tif", {.w = 40, .h = 40, .strips = true}},
        {"strips-packbits.tif",
         {.w = 40, .h = 40, .strips = true, .compression = COMPRESSION_PACKBITS}},
        {"grey.tif", {.w = 40, .h = 40, .tile = 16, .n_samples = 1}},
        {"alpha.tif", {.w = 40, .h = 40, .strips = true, .n_samples = 4}},
        {"16-bit.tif", {.w = 20, .h = 20, .tile = 16, .bits = 16}},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(seeds); i++) {
        make_tiff_options o = seeds[i].o;
        g_autofree char *path = in(dir, "slide", seeds[i].name);
        o.pixel = make_smooth;
        make_tiff(path, &o);
    }
}

static void pictures(const char *dir)
{
    enum { W = 40, H = 30 };
    static uint8_t rgb[W * H * 3];
    for (int i = 0; i < W * H; i++)
        make_smooth(i % W, i / W, rgb + 3 * i);
    for (int quality = 0; quality <= 80; quality += 80) {
        g_autofree char *path = in(dir, "slide", quality ? "picture.jpg" : "picture.png");
        uint8_t *bytes;
        size_t n;
        if (!wsi_picture_encode(rgb, W, H, quality, &bytes, &n, NULL))
            fail(path);
        put(path, bytes, n);
        g_free(bytes);
    }
}

/* The target's first byte: the format, and which of its sides. */
static void blob(const char *dir, const char *name, int format, int side_at, const uint8_t *data,
                 size_t n)
{
    g_autofree char *path = in(dir, "blob", name);
    g_autofree uint8_t *bytes = g_malloc(n + 1);
    bytes[0] = (uint8_t)(format | side_at << 3);
    memcpy(bytes + 1, data, n);
    put(path, bytes, n + 1);
}

static void blobs(const char *dir)
{
    enum { SIDE = 16, SIDE_AT = 1 };
    static uint8_t rgb[SIDE * SIDE * 3], label[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) {
        make_smooth(i % SIDE, i / SIDE, rgb + 3 * i);
        label[i] = (uint8_t)(i % SIDE > 7);
    }
    db_store_config zstd = {.patch_px = SIDE, .codec = DB_CODEC_ZSTD};
    db_store_config jpeg = {.patch_px = SIDE, .codec = DB_CODEC_JPEG, .jpeg_quality = 80};
    db_blob out = {0};
    if (!db_encode_image(&zstd, rgb, SIDE, &out, NULL))
        fail("zstd");
    blob(dir, "zstd", db_format_of(&zstd), SIDE_AT, out.data, out.n);
    if (!db_encode_image(&jpeg, rgb, SIDE, &out, NULL))
        fail("jpeg");
    blob(dir, "jpeg", db_format_of(&jpeg), SIDE_AT, out.data, out.n);
    if (!db_encode_label(label, SIDE, &out, NULL))
        fail("label");
    blob(dir, "label", DB_FORMAT_ZSTD, SIDE_AT, out.data, out.n);
    db_blob_clear(&out);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        fail("usage: make_seeds DIR");
    tiffs(argv[1]);
    pictures(argv[1]);
    blobs(argv[1]);
    return 0;
}
