/* Frames of Huffman codes: libzstd reads back what was written, whatever the bytes; the codes are
 * complete and as short as they can be; both ways of writing give the same bytes. */
#include "base/philox.h"
#include "db/huffman.h"

#include <glib.h>
#include <math.h>
#include <string.h>
#include <zstd.h>

/* ---- bytes of every kind --------------------------------------------------------------------- */

enum { N_KINDS = 9 };

static uint32_t draw(uint64_t seed, size_t i)
{
    return qs_philox(seed, i, 17).v[0];
}

/* Bell-shaped around 0, as filtered pixels are; spread: about its deviation. */
static uint8_t bell(uint64_t seed, size_t i, int spread)
{
    int sum = 0;
    for (int k = 0; k < 6; k++)
        sum += (int)(draw(seed, 6 * i + (size_t)k) % (uint32_t)(2 * spread + 1)) - spread;
    return (uint8_t)(int8_t)(sum / 2);
}

static uint8_t value(int kind, uint64_t seed, size_t i, size_t n)
{
    uint32_t r = draw(seed, i);
    switch (kind) {
    case 0:
        return bell(seed, i, 3);
    case 1:
        return bell(seed, i, 20);
    case 2:
        return (uint8_t)(r % 3); /* few values: described plainly */
    case 3:
        return (uint8_t)__builtin_ctz(r | 1u << 31); /* halves: the limit of 11 bits */
    case 4:
        return i == n / 2 ? 128 : bell(seed, i, 2); /* one outlier, maybe not sampled */
    case 5:
        return (uint8_t)(r % 129); /* 129 equal lengths but one */
    case 6:
        return (uint8_t)(r % 16 ? 200 + r % 7 : r >> 8); /* all values, one peak */
    case 7:
        return (uint8_t)(i < n / 2 ? bell(seed, i, 1) : r); /* two halves that differ */
    default:
        return (uint8_t)r; /* nothing to be gained */
    }
}

static uint8_t *make(int kind, uint64_t seed, size_t n)
{
    uint8_t *bytes = g_malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = value(kind, seed, i, n);
    return bytes;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* Returns the frame's length. */
static size_t there_and_back(const uint8_t *src, size_t n, size_t part)
{
    size_t room = db_huffman_bound(n, part);
    uint8_t *frame = g_malloc(room), *plain = g_malloc(room), *back = g_malloc0(n);
    memset(frame, 0xAA, room);
    memset(plain, 0x55, room);
    size_t k = db_huffman_frame(src, n, part, frame);
    g_assert_cmpuint(db_huffman_frame_plain(src, n, part, plain), ==, k);
    if (k) {
        g_assert_cmpmem(frame, k, plain, k);
        g_assert_cmpuint(k, <=, ZSTD_compressBound(n));
        g_assert_cmpuint(ZSTD_getFrameContentSize(frame, k), ==, n);
        g_assert_cmpuint(ZSTD_decompress(back, n, frame, k), ==, n);
        g_assert_cmpmem(src, n, back, n);
    }
    g_free(frame);
    g_free(plain);
    g_free(back);
    return k;
}

static void test_frames(void)
{
    /* parts of one block and of several, blocks of every remainder, a last part that is shorter */
    static const size_t sizes[][2] = {{1024, 1024},     {1025, 1025},     {1027, 1027},
                                      {4099, 4099},     {3 * 4096, 4096}, {40000, 20000},
                                      {65536, 65536},   {196608, 65536},  {131072, 131072},
                                      {131073, 131073}, {300001, 300001}, {3 * 90000, 90000}};
    for (int kind = 0; kind < N_KINDS; kind++)
        for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++) {
            size_t n = sizes[s][0];
            uint8_t *src = make(kind, s, n);
            size_t k = there_and_back(src, n, sizes[s][1]);
            if (k == 0)
                g_error("kind %d, %zu bytes: left to libzstd", kind, n);
            if (kind <= 4 && kind != 1 && n >= 4096)
                g_assert_cmpuint(k, <, n * 3 / 4);
            g_free(src);
        }
}

static void test_lengths_of_streams(void)
{
    for (size_t n = 1024; n < 1024 + 520; n++) { /* every remainder of 4 × 64 and of 4 × 4, twice */
        uint8_t *src = make((int)(n % 2), n, n);
        g_assert_cmpuint(there_and_back(src, n, n), >, 0);
        g_free(src);
    }
}

/* What it is not for. */
static void test_left_to_libzstd(void)
{
    enum { N = 65536 };
    uint8_t *src = make(1, 1, N);
    g_assert_cmpuint(there_and_back(src, 1023, 1023), ==, 0);
    g_assert_cmpuint(there_and_back(src, 2000, 1000), ==, 0);
    g_assert_cmpuint(there_and_back(src, 2500, 2000), ==, 0); /* 500 are left */
    memset(src + N / 8, 7, N / 2);
    g_assert_cmpuint(there_and_back(src, N, N), ==, 0); /* half of one value */
    memset(src, 0, N);
    g_assert_cmpuint(there_and_back(src, N, N), ==, 0);
    g_free(src);
}

/* On noise it is not larger than what libzstd makes of it with the same kind of code. */
static void test_size(void)
{
    enum { N = 196608 };
    for (int spread = 2; spread <= 32; spread *= 2) {
        uint8_t *src = g_malloc(N), *other = g_malloc(ZSTD_compressBound(N));
        for (size_t i = 0; i < N; i++)
            src[i] = bell((uint64_t)spread, i, spread);
        size_t k = there_and_back(src, N, N / 3),
               z = ZSTD_compress(other, ZSTD_compressBound(N), src, N, 1);
        g_assert_cmpfloat((double)k, <, 1.01 * (double)z);
        g_free(src);
        g_free(other);
    }
}

/* ---- codes ----------------------------------------------------------------------------------- */

static double entropy(const uint32_t count[256])
{
    double total = 0, h = 0;
    for (int s = 0; s < 256; s++)
        total += count[s];
    for (int s = 0; s < 256; s++)
        h += count[s] ? count[s] / total * log2(total / count[s]) : 0;
    return h;
}

static double mean_bits(const uint32_t count[256], const uint8_t bits[256])
{
    double total = 0, sum = 0;
    for (int s = 0; s < 256; s++) {
        total += count[s];
        sum += (double)count[s] * bits[s];
    }
    return sum / total;
}

/* Complete, none too long, none for what does not occur, no rarer symbol with a shorter code. */
static void check_code(const uint32_t count[256])
{
    uint8_t bits[256];
    uint64_t table[256];
    db_code_lengths(count, bits);
    int used = 0;
    for (int s = 0; s < 256; s++) {
        g_assert_cmpint(bits[s] > 0, ==, count[s] > 0);
        g_assert_cmpint(bits[s], <=, DB_CODE_BITS);
        used += bits[s] ? 1 << (DB_CODE_BITS - bits[s]) : 0;
        for (int t = 0; t < s; t++)
            if (count[s] && count[t] > count[s])
                g_assert_cmpint(bits[t], <=, bits[s]);
    }
    g_assert_cmpint(used, ==, 1 << DB_CODE_BITS);
    g_assert_cmpfloat(mean_bits(count, bits), >=, entropy(count) - 1e-9);
    g_assert_cmpfloat(mean_bits(count, bits), <=, entropy(count) + 1);
    db_code_table(bits, table);
    for (int s = 0; s < 256; s++)
        for (int t = 0; t < s; t++) {
            if (!bits[s] || !bits[t])
                continue;
            int n = MIN(bits[s], bits[t]); /* neither begins with the other */
            g_assert_cmpuint(table[s] >> (64 - n), !=, table[t] >> (64 - n));
        }
}

static void test_codes(void)
{
    uint32_t count[256];
    for (int n = 2; n <= 256; n++)
        for (int kind = 0; kind < 3; kind++) {
            memset(count, 0, sizeof count);
            for (int k = 0; k < n; k++) {
                int s = (k * 77 + n) & 255; /* 77 is odd: each once */
                count[s] = kind == 0   ? 1
                           : kind == 1 ? 1 + draw((uint64_t)n, (size_t)k) % 60000
                                       : 1 + (60000u >> MIN(k, 16)); /* deeper than 11 */
            }
            check_code(count);
        }
}

/* 129 symbols of one length have no description: 128 weights fit plainly, and one value cannot be
 * coded by a table of several. */
static void test_no_description(void)
{
    uint8_t bits[256] = {0}, dst[160];
    memset(bits, 7, 128);
    g_assert_cmpuint(db_code_describe(bits, dst), ==, 1 + 64);
    memset(bits, 8, 256);
    g_assert_cmpuint(db_code_describe(bits, dst), ==, 0);
    memset(bits, 0, 128);
    memset(bits + 128, 7, 128);
    g_assert_cmpuint(db_code_describe(bits, dst), >, 0); /* zeros and sevens: a table of two */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/db/huffman/frames", test_frames);
    g_test_add_func("/db/huffman/streams", test_lengths_of_streams);
    g_test_add_func("/db/huffman/left", test_left_to_libzstd);
    g_test_add_func("/db/huffman/size", test_size);
    g_test_add_func("/db/huffman/codes", test_codes);
    g_test_add_func("/db/huffman/no-description", test_no_description);
    return g_test_run();
}
