/* Pixels to bytes and back. Images: zstd (lossless) or baseline JPEG, 4:4:4, since the
 * stain boundaries that a network learns from are colour edges and 4:2:0 halves their resolution;
 * or a JPEG tile of the slide as it is, whatever its sampling: nothing is lost that was there.
 * Labels: always zstd. One set of compressor contexts and buffers per thread, made at its first
 * call and freed when the thread ends, so a patch costs no allocation of ours. */
#include "db/store_priv.h"

#include "db/filter.h"
#include "db/huffman.h"

#include <turbojpeg.h>
#include <xxhash.h>
#define ZSTD_STATIC_LINKING_ONLY /* for ZSTD_c_literalCompressionMode */
#include <zstd.h>

#include <string.h>

/* Filtered pixels are noise with a peaked histogram: looking for matches in them costs most of the
 * time and gains little. huffman.c writes such frames itself; what it leaves (patches of which a good
 * part is of one colour) goes to libzstd at a very fast level, which skips nearly all of the search,
 * with Huffman coding, which such levels leave out by themselves. Processor time a pixel without
 * the filter, and ratio, on an Aperio slide and on a synthetic one with sensor noise, all by libzstd:
 *   level -100     1.8 ns  3.08      4.2 ns  2.05
 *   level -1000    1.8 ns  3.01      3.1 ns  2.07
 *   level -131072  2.7 ns  2.64      3.1 ns  2.07
 * Level 1 took 1.3 and 1.9 times level -100's time, filter included, for 5 to 9 % in ratio. Labels
 * are runs, which is what matching is for. */
enum { IMAGE_LEVEL = -1000, LABEL_LEVEL = 1 };

typedef struct {
    ZSTD_CCtx *zc;
    ZSTD_DCtx *zd;
    tjhandle jc, jd;
    uint8_t *planes, *scratch;
    size_t planes_capacity, scratch_capacity;
} thread_codec;

static void thread_codec_free(gpointer data)
{
    thread_codec *t = data;
    ZSTD_freeCCtx(t->zc);
    ZSTD_freeDCtx(t->zd);
    if (t->jc)
        tjDestroy(t->jc);
    if (t->jd)
        tjDestroy(t->jd);
    g_free(t->planes);
    g_free(t->scratch);
    g_free(t);
}

static GPrivate thread_codecs = G_PRIVATE_INIT(thread_codec_free);

static thread_codec *this_thread(void)
{
    thread_codec *t = g_private_get(&thread_codecs);
    if (!t) {
        t = g_new0(thread_codec, 1);
        g_private_set(&thread_codecs, t);
    }
    return t;
}

static uint8_t *reserve(uint8_t **data, size_t *capacity, size_t n)
{
    if (*capacity < n) {
        g_free(*data);
        *data = g_malloc(n);
        *capacity = n;
    }
    return *data;
}

uint8_t *db_thread_scratch(size_t n)
{
    thread_codec *t = this_thread();
    return reserve(&t->scratch, &t->scratch_capacity, n);
}

uint64_t db_checksum(const void *data, size_t n)
{
    return XXH3_64bits(data, n);
}

size_t db_format_bound(int size_px)
{
    size_t n = (size_t)size_px;
    size_t jpeg = tjBufSize(size_px, size_px, TJSAMP_444), zstd = ZSTD_compressBound(3 * n * n);
    return MAX(jpeg, zstd);
}

int db_format_of(const db_store_config *config)
{
    return config->codec == DB_CODEC_ZSTD ? DB_FORMAT_ZSTD_DELTA : DB_FORMAT_JPEG;
}

void db_blob_clear(db_blob *blob)
{
    g_free(blob->data);
    *blob = (db_blob){0};
}

static void set_level(ZSTD_CCtx *context, int level)
{
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
    /* Refused by a libzstd that does not know it: blobs are then larger, and as right. */
    ZSTD_CCtx_setParameter(context, ZSTD_c_literalCompressionMode, ZSTD_lcm_huffman);
}

static bool zstd_encode(const uint8_t *src, size_t n, int level, db_blob *blob, GError **error)
{
    thread_codec *t = this_thread();
    if (!t->zc)
        t->zc = ZSTD_createCCtx();
    reserve(&blob->data, &blob->capacity, ZSTD_compressBound(n));
    blob->n = 0;
    if (t->zc)
        set_level(t->zc, level);
    size_t k = t->zc ? ZSTD_compress2(t->zc, blob->data, blob->capacity, src, n) : 0;
    if (!t->zc || ZSTD_isError(k)) {
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "ZSTD_compress2: %s",
                    t->zc ? ZSTD_getErrorName(k) : "no context");
        return false;
    }
    blob->n = k;
    return true;
}

static bool zstd_decode(const uint8_t *data, size_t n, uint8_t *dst, size_t n_dst, GError **error)
{
    thread_codec *t = this_thread();
    if (!t->zd)
        t->zd = ZSTD_createDCtx();
    size_t k = t->zd ? ZSTD_decompressDCtx(t->zd, dst, n_dst, data, n) : 0;
    if (t->zd && !ZSTD_isError(k) && k == n_dst)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "zstd: %s (%zu bytes where %zu belong)",
                !t->zd            ? "no context"
                : ZSTD_isError(k) ? ZSTD_getErrorName(k)
                                  : "wrong size",
                ZSTD_isError(k) ? (size_t)0 : k, n_dst);
    return false;
}

static bool jpeg_encode(const uint8_t *rgb, int size_px, int quality, db_blob *blob, GError **error)
{
    thread_codec *t = this_thread();
    if (!t->jc)
        t->jc = tjInitCompress();
    reserve(&blob->data, &blob->capacity, tjBufSize(size_px, size_px, TJSAMP_444));
    blob->n = 0;
    unsigned long n = blob->capacity;
    unsigned char *out = blob->data;
    if (!t->jc || tjCompress2(t->jc, rgb, size_px, 0, size_px, TJPF_RGB, &out, &n, TJSAMP_444,
                              quality, TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT) != 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "tjCompress2: %s", tjGetErrorStr2(t->jc));
        return false;
    }
    blob->n = n;
    return true;
}

static bool jpeg_decode(const uint8_t *data, size_t n, int size_px, uint8_t *rgb, GError **error)
{
    thread_codec *t = this_thread();
    if (!t->jd)
        t->jd = tjInitDecompress();
    int w = 0, h = 0, sub = 0, space = 0;
    if (!t->jd || tjDecompressHeader3(t->jd, data, (unsigned long)n, &w, &h, &sub, &space) != 0 ||
        w != size_px || h != size_px) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "JPEG patch of %d×%d where %d×%d belong: %s",
                    w, h, size_px, size_px, tjGetErrorStr2(t->jd));
        return false;
    }
    if (tjDecompress2(t->jd, data, (unsigned long)n, rgb, size_px, 0, size_px, TJPF_RGB,
                      TJFLAG_ACCURATEDCT) == 0)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "JPEG patch: %s", tjGetErrorStr2(t->jd));
    return false;
}

bool db_encode_image(const db_store_config *config, const uint8_t *rgb, int size_px, db_blob *blob,
                     GError **error)
{
    size_t n = 3 * (size_t)size_px * (size_t)size_px;
    blob->format = db_format_of(config);
    switch (blob->format) {
    case DB_FORMAT_JPEG:
        return jpeg_encode(rgb, size_px, config->jpeg_quality, blob, error);
    case DB_FORMAT_ZSTD_DELTA: {
        thread_codec *t = this_thread();
        uint8_t *planes = reserve(&t->planes, &t->planes_capacity, n);
        db_filter_fwd(rgb, size_px, planes);
        reserve(&blob->data, &blob->capacity, db_huffman_bound(n, n / 3));
        blob->n = db_huffman_frame(planes, n, n / 3, blob->data);
        return blob->n > 0 || zstd_encode(planes, n, IMAGE_LEVEL, blob, error);
    }
    default:
        return zstd_encode(rgb, n, LABEL_LEVEL, blob, error);
    }
}

void db_copy_jpeg(const uint8_t *jpeg, size_t n, int size_px, db_blob *blob, bool *taken)
{
    thread_codec *t = this_thread();
    if (!t->jd)
        t->jd = tjInitDecompress();
    int w = 0, h = 0, sub = 0, space = 0;
    *taken = t->jd && n <= db_format_bound(size_px) &&
             tjDecompressHeader3(t->jd, jpeg, (unsigned long)n, &w, &h, &sub, &space) == 0 &&
             w == size_px && h == size_px && sub >= 0;
    if (!*taken)
        return;
    memcpy(reserve(&blob->data, &blob->capacity, n), jpeg, n);
    blob->n = n;
    blob->format = DB_FORMAT_JPEG_COPY;
}

bool db_encode_label(const uint8_t *label, int size_px, db_blob *blob, GError **error)
{
    return zstd_encode(label, (size_t)size_px * (size_t)size_px, LABEL_LEVEL, blob, error);
}

bool db_format_decode_image(int format, const uint8_t *data, size_t n, int size_px, uint8_t *rgb,
                            GError **error)
{
    size_t n_rgb = 3 * (size_t)size_px * (size_t)size_px;
    thread_codec *t = this_thread();
    switch (format) {
    case DB_FORMAT_ZSTD:
        return zstd_decode(data, n, rgb, n_rgb, error);
    case DB_FORMAT_ZSTD_DELTA: {
        uint8_t *planes = reserve(&t->planes, &t->planes_capacity, n_rgb);
        if (!zstd_decode(data, n, planes, n_rgb, error))
            return false;
        db_filter_bwd(planes, size_px, rgb);
        return true;
    }
    case DB_FORMAT_JPEG:
    case DB_FORMAT_JPEG_COPY:
        return jpeg_decode(data, n, size_px, rgb, error);
    default:
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "image format %d: this program knows 1 to 4; use the newer program", format);
        return false;
    }
}

bool db_format_decode_label(const uint8_t *data, size_t n, int size_px, uint8_t *label,
                            GError **error)
{
    return zstd_decode(data, n, label, (size_t)size_px * (size_t)size_px, error);
}
