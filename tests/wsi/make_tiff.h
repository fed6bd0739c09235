/* Little TIFF files for the tests, written with libtiff alone, so that what is tested is not what
 * made them. A picture is a function of x and y. */
#ifndef QS_TESTS_MAKE_TIFF_H
#define QS_TESTS_MAKE_TIFF_H

#include <glib.h>
#include <tiffio.h>

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef void (*make_pixel)(int64_t x, int64_t y, uint8_t rgb[3]);

/* Zero means the usual: tiles of 64, one level, deflate, 8 bits, RGB, centimetres. */
typedef struct {
    int w, h, tile, n_levels;
    bool strips;     /* instead of tiles */
    int compression; /* COMPRESSION_… */
    int bits, n_samples;
    double mpp;   /* 0: no tags */
    double mpp_y; /* 0: as mpp */
    int unit;     /* RESUNIT_…, of mpp's tags */
    make_pixel pixel;
    const char *description, *software;               /* of the first directory; NULL: no tag */
    bool (*left_out)(int64_t tile_x, int64_t tile_y); /* tiles of level 0 that are not written */
    const void *icc;                                  /* of the first directory */
    size_t icc_bytes;
} make_tiff_options;

/* Differs at every pixel and in every channel, wraps nowhere in a small picture. */
static inline void make_noise(int64_t x, int64_t y, uint8_t rgb[3])
{
    uint32_t v = (uint32_t)x * 2654435761u ^ (uint32_t)y * 2246822519u;
    v ^= v >> 15;
    v *= 2246822519u;
    v ^= v >> 13;
    rgb[0] = (uint8_t)v;
    rgb[1] = (uint8_t)(v >> 8);
    rgb[2] = (uint8_t)(v >> 16);
}

static inline void make_smooth(int64_t x, int64_t y, uint8_t rgb[3])
{
    rgb[0] = (uint8_t)(128 + 100 * sin((double)x * 0.02) * cos((double)y * 0.015));
    rgb[1] = (uint8_t)(x * 255 / (x + y + 1));
    rgb[2] = (uint8_t)((x + 2 * y) / 8 % 256);
}

static inline void make_directory(TIFF *tiff, const make_tiff_options *o, int level)
{
    int w = o->w >> level, h = o->h >> level, step = 1 << level;
    int block = o->tile ? o->tile : w, rows = o->tile ? o->tile : 16;
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, w);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, h);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, o->bits);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, o->n_samples);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, o->compression);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC,
                 o->n_samples == 1                    ? PHOTOMETRIC_MINISBLACK
                 : o->compression == COMPRESSION_JPEG ? PHOTOMETRIC_YCBCR
                                                      : PHOTOMETRIC_RGB);
    if (o->compression == COMPRESSION_JPEG)
        TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    if (o->n_samples == 4)
        TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, (uint16_t[]){EXTRASAMPLE_UNASSALPHA});
    if (level > 0)
        TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, FILETYPE_REDUCEDIMAGE);
    if (o->mpp > 0) {
        double unit_um = o->unit == RESUNIT_INCH ? 25400 : 10000;
        TIFFSetField(tiff, TIFFTAG_RESOLUTIONUNIT, o->unit);
        TIFFSetField(tiff, TIFFTAG_XRESOLUTION, unit_um / (o->mpp * step));
        TIFFSetField(tiff, TIFFTAG_YRESOLUTION,
                     unit_um / ((o->mpp_y > 0 ? o->mpp_y : o->mpp) * step));
    }
    if (level == 0 && o->description)
        TIFFSetField(tiff, TIFFTAG_IMAGEDESCRIPTION, o->description);
    if (level == 0 && o->software)
        TIFFSetField(tiff, TIFFTAG_SOFTWARE, o->software);
    if (level == 0 && o->icc)
        TIFFSetField(tiff, TIFFTAG_ICCPROFILE, (uint32_t)o->icc_bytes, o->icc);
    if (o->tile) {
        TIFFSetField(tiff, TIFFTAG_TILEWIDTH, o->tile);
        TIFFSetField(tiff, TIFFTAG_TILELENGTH, o->tile);
    } else {
        TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, rows);
    }
    size_t sample = (size_t)o->bits / 8, pixel_bytes = sample * (size_t)o->n_samples;
    uint8_t *buffer = g_malloc0((size_t)block * (size_t)rows * pixel_bytes);
    for (int y0 = 0; y0 < h; y0 += rows)
        for (int x0 = 0; x0 < w; x0 += block) {
            if (level == 0 && o->left_out && o->left_out(x0 / block, y0 / rows))
                continue;
            for (int y = 0; y < rows; y++)
                for (int x = 0; x < block; x++) {
                    uint8_t rgb[3] = {0};
                    int64_t sx = MIN(x0 + x, w - 1), sy = MIN(y0 + y, h - 1);
                    o->pixel(sx * step, sy * step, rgb);
                    for (int k = 0; k < o->n_samples; k++)
                        memset(buffer + ((size_t)y * (size_t)block + (size_t)x) * pixel_bytes +
                                   (size_t)k * sample,
                               k < 3 ? rgb[k] : 255, sample);
                }
            if (o->tile)
                TIFFWriteTile(tiff, buffer, (uint32_t)x0, (uint32_t)y0, 0, 0);
            else
                for (int y = 0; y < rows && y0 + y < h; y++)
                    TIFFWriteScanline(tiff, buffer + (size_t)y * (size_t)block * pixel_bytes,
                                      (uint32_t)(y0 + y), 0);
        }
    g_free(buffer);
    TIFFWriteDirectory(tiff);
}

static inline void make_tiff(const char *path, const make_tiff_options *o)
{
    make_tiff_options full = *o;
    full.tile = o->strips ? 0 : o->tile ? o->tile : 64;
    full.n_levels = o->n_levels ? o->n_levels : 1;
    full.compression = o->compression ? o->compression : COMPRESSION_ADOBE_DEFLATE;
    full.bits = o->bits ? o->bits : 8;
    full.n_samples = o->n_samples ? o->n_samples : 3;
    full.unit = o->unit ? o->unit : RESUNIT_CENTIMETER;
    TIFF *tiff = TIFFOpen(path, "w");
    g_assert_nonnull(tiff);
    for (int level = 0; level < full.n_levels; level++)
        make_directory(tiff, &full, level);
    TIFFClose(tiff);
}

#endif
