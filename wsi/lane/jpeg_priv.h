/* JPEG tiles of a TIFF: abbreviated streams whose tables lie in the JPEGTables tag and whose colour
 * space is the Photometric tag's and not the stream's own guess.
 *
 * Decoding is libjpeg-turbo's accurate one with smooth chroma upsampling, as OpenSlide's is: pixels
 * are the same. What libjpeg only warns of but has destroyed pixels for (a broken Huffman code, an
 * early end) is an error here: such a tile must not pass as a picture. */
#ifndef QS_WSI_JPEG_TILE_PRIV_H
#define QS_WSI_JPEG_TILE_PRIV_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One tile's bytes. tables may be NULL. */
typedef struct {
    const uint8_t *data, *tables;
    size_t n, n_tables;
    bool ycbcr; /* else the components are RGB as they are */
} wsi_jpeg_bits;

typedef struct wsi_jpeg_decoder wsi_jpeg_decoder; /* one thread at a time; memory kept */
wsi_jpeg_decoder *wsi_jpeg_decoder_create(void);
void wsi_jpeg_decoder_destroy(wsi_jpeg_decoder *decoder); /* NULL accepted */

/* rgb: h/scale rows of w/scale pixels (rounded up), row_bytes apart; scale 1, 2, 4 or 8. Errors:
 * QS_ERROR_FORMAT, another size than w × h among them; rgb is undefined then. */
bool wsi_jpeg_decode(wsi_jpeg_decoder *decoder, const wsi_jpeg_bits *bits, int w, int h, int scale,
                     uint8_t *rgb, size_t row_bytes, GError **error);

/* Most bytes that the spliced stream can take. */
size_t wsi_jpeg_splice_bound(const wsi_jpeg_bits *bits);
/* A JPEG that stands alone: the tables put in, an Adobe marker that names the colour space, other
 * application data and comments left out; no coefficient is touched. Returns its bytes, 0 with
 * QS_ERROR_FORMAT when the stream's headers cannot be followed. */
size_t wsi_jpeg_splice(const wsi_jpeg_bits *bits, uint8_t *dst, GError **error);

#endif
