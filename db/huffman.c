/* A zstd frame of literals, nothing else (RFC 8878): what a filtered patch compresses to, written
 * faster than by a general compressor.
 *
 * Filtered pixels are noise around zero. Matches are not to be had; all the gain is in one code a
 * plane. libzstd counts every byte before it codes them, one stream after another; here the counts
 * come from every ninth run of 64 bytes (a value within the extremes that was not met there gets
 * the longest code), and two of a block's four streams are written at a time, so that one's
 * additions fill the other's waits. Any zstd reads it. */
#include "db/huffman.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

enum {
    BLOCK_BYTES = 128 << 10, /* a block's most */
    LEAST_BYTES = 1024,      /* under this libzstd */
    RUN = 64,                /* bytes counted at a time … */
    EVERY = 9,               /* … of so many runs; odd, or they would stand in columns */
    FRAME_HEADER = 9,
    BLOCK_HEADER = 3,
    LITERALS_HEADER = 5,
    JUMPS = 6,
    DESCRIPTION = 128,
    SLACK = 8 /* a store's bytes beyond what it adds */
};

static void put_le(uint8_t *at, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

/* ---- counting -------------------------------------------------------------------------------- */

/* As signed numbers. */
static void extremes(const uint8_t *src, size_t n, int *least, int *most)
{
    uint8_t lo = 255, hi = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t v = src[i] ^ 128;
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    *least = lo - 128;
    *most = hi - 128;
}

/* Sixteen equal bytes? */
static bool alike(const uint8_t *p)
{
    return memcmp(p, p + 1, 15) == 0;
}

/* Bytes of a sample of src, by value; all from the least of src to its most count at least once.
 * False where so many runs are of one value that matches pay: a quarter of them, which is where
 * libzstd's level -1000 began to win by more than 3 % on patches of H&E. */
static bool count_bytes(const uint8_t *src, size_t n, uint32_t count[256])
{
    uint32_t part[4][256] = {{0}}; /* four, since a byte often equals the one before it */
    size_t every = n >= EVERY * 4 * LEAST_BYTES ? EVERY : 1, n_runs = 0, n_alike = 0;
    for (size_t i = 0; i + RUN <= n; i += every * RUN) {
        n_runs++;
        n_alike += alike(src + i);
        for (size_t k = i; k < i + RUN; k += 4)
            for (size_t j = 0; j < 4; j++)
                part[j][src[k + j]]++;
    }
    int least, most;
    extremes(src, n, &least, &most);
    memset(count, 0, 256 * sizeof *count);
    for (int v = least; v <= most; v++) {
        uint8_t s = (uint8_t)v;
        count[s] = part[0][s] + part[1][s] + part[2][s] + part[3][s];
        count[s] += !count[s];
    }
    return 4 * n_alike < n_runs && least < most;
}

/* ---- streams --------------------------------------------------------------------------------- */

/* Written from its last byte to its first, as a reader begins at the end. Bits not stored yet are
 * the top ones of `bits`; the low 8 of `n` count them. */
typedef struct {
    const uint8_t *first, *from; /* of the source; what lies at and after `from` is done */
    uint8_t *at;
    uint64_t bits, n;
} stream;

static inline void add(stream *s, const uint64_t table[256])
{
    uint64_t e = table[*--s->from];
    s->bits = s->bits >> (e & 63) | e;
    s->n += e;
}

/* Stores whole bytes; fewer than 8 bits stay. s->n >= 1. */
static inline void store(stream *s)
{
    uint64_t n = s->n & 63, bits = s->bits >> (64 - n);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bits = __builtin_bswap64(bits);
#endif
    memcpy(s->at, &bits, sizeof bits);
    s->at += n >> 3;
    s->n = n & 7;
}

/* Four codes are 44 bits at most, with the 7 that may be left 51: the lengths that `add` leaves in
 * the low bits never meet them. */
static inline void add4(stream *s, const uint64_t table[256])
{
    add(s, table);
    add(s, table);
    add(s, table);
    add(s, table);
    store(s);
}

static size_t finish(stream *s, const uint64_t table[256], const uint8_t *begin)
{
    while (s->from > s->first) {
        add(s, table);
        store(s);
    }
    s->bits = s->bits >> 1 | 1ull << 63; /* the mark where reading begins */
    s->n++;
    store(s);
    return (size_t)(s->at - begin) + (s->n > 0);
}

/* ---- 64 codes at a time (AVX-512 VBMI) ---------------------------------------------------------
 */
/* Every byte's code and length from tables that registers hold; then two codes become one of up to
 * 22 bits, two of those one of up to 44, and 16 such go to memory one after the other. Within a
 * pair the byte of the higher address is written first, so it is the low part. The bits are those
 * of add4. */
#if defined(__x86_64__)
#include <immintrin.h>
#define WITH_VBMI __attribute__((target("avx512f,avx512bw,avx512vbmi,bmi2")))

static bool has_vbmi(void)
{
    return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("bmi2");
}

/* Of every byte value: the low 8 bits of its code, and the 3 high ones over the length. */
typedef struct {
    __m512i low[4], high[4];
} code_registers;

WITH_VBMI static void load_registers(const uint64_t table[256], code_registers *r)
{
    uint8_t low[256], high[256];
    for (int s = 0; s < 256; s++) {
        unsigned length = table[s] & 63, code = length ? (unsigned)(table[s] >> (64 - length)) : 0;
        low[s] = (uint8_t)code;
        high[s] = (uint8_t)(code >> 8 << 4 | length);
    }
    for (int i = 0; i < 4; i++) {
        r->low[i] = _mm512_loadu_si512(low + 64 * i);
        r->high[i] = _mm512_loadu_si512(high + 64 * i);
    }
}

WITH_VBMI static inline __m512i look_up(const __m512i table[4], __m512i v)
{
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v),
                                  _mm512_permutex2var_epi8(table[0], v, table[1]),
                                  _mm512_permutex2var_epi8(table[2], v, table[3]));
}

/* 32 codes (16 bits each) and lengths → 8 of four codes each. */
WITH_VBMI static inline __m512i join(__m512i code, __m512i length)
{
    __m512i pair =
        _mm512_or_si512(_mm512_srli_epi32(code, 16),
                        _mm512_sllv_epi32(_mm512_and_si512(code, _mm512_set1_epi32(0xffff)),
                                          _mm512_srli_epi32(length, 16)));
    __m512i bits = _mm512_madd_epi16(length, _mm512_set1_epi16(1));
    return _mm512_or_si512(_mm512_srli_epi64(pair, 32),
                           _mm512_sllv_epi64(_mm512_and_si512(pair, _mm512_set1_epi64(0xffffffff)),
                                             _mm512_srli_epi64(bits, 32)));
}

/* What 64 bytes come to: by lanes of 16 bytes, of each lane first the codes of bytes 0 to 7, then
 * of 8 to 15; and the lengths of four codes each, in order. */
typedef struct {
    uint64_t codes[2][8];
    uint32_t length[16];
} joined;

WITH_VBMI static inline void join64(const code_registers *r, const uint8_t *p, joined *out)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i v = _mm512_loadu_si512(p), low = look_up(r->low, v), both = look_up(r->high, v);
    __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble),
            length = _mm512_and_si512(both, nibble), zero = _mm512_setzero_si512();
    _mm512_storeu_si512(out->codes[0],
                        join(_mm512_unpacklo_epi8(low, high), _mm512_unpacklo_epi8(length, zero)));
    _mm512_storeu_si512(out->codes[1],
                        join(_mm512_unpackhi_epi8(low, high), _mm512_unpackhi_epi8(length, zero)));
    _mm512_storeu_si512(
        out->length,
        _mm512_madd_epi16(_mm512_maddubs_epi16(length, _mm512_set1_epi8(1)), _mm512_set1_epi16(1)));
}

/* As many whole 64 bytes of a stream as there are. A batch is joined before any of it is stored:
 * what a register of 64 bytes left in memory cannot be read in parts at once. */
WITH_VBMI static void add64s(stream *s, const uint64_t table[256])
{
    enum { BATCH = 8 };
    joined j[BATCH];
    code_registers r;
    load_registers(table, &r);
    uint64_t bits = 0, n = 0; /* not stored yet: the low n of bits, n < 8 */
    uint8_t *at = s->at;
    for (;;) {
        size_t m = MIN((size_t)(s->from - s->first) / 64, BATCH);
        for (size_t k = 0; k < m; k++)
            join64(&r, s->from - 64 * (k + 1), &j[k]);
        for (size_t k = 0; k < m; k++)
            for (int i = 15; i >= 0; i--) {
                bits |= j[k].codes[i >> 1 & 1][(i >> 2) * 2 + (i & 1)] << n;
                n += j[k].length[i];
                memcpy(at, &bits, sizeof bits);
                at += n >> 3;
                bits >>= n & 56;
                n &= 7;
            }
        s->from -= 64 * m;
        if (m < BATCH)
            break;
    }
    s->at = at;
    s->bits = n ? bits << (64 - n) : 0;
    s->n = n;
}
#else
static bool has_vbmi(void)
{
    return false;
}

static void add64s(stream *s, const uint64_t table[256])
{
    (void)s;
    (void)table;
}
#endif

/* Two streams side by side, a (n) to dst_a and b (m) to dst_b; wide: add64s may be called. */
static void write_two(const uint8_t *a, size_t n, uint8_t *dst_a, const uint8_t *b, size_t m,
                      uint8_t *dst_b, const uint64_t table[256], bool wide, size_t size[2])
{
    stream x = {.first = a, .from = a + n, .at = dst_a},
           y = {.first = b, .from = b + m, .at = dst_b};
    if (wide) {
        add64s(&x, table);
        add64s(&y, table);
    }
    for (size_t k = MIN((size_t)(x.from - a), (size_t)(y.from - b)) / 4; k > 0; k--) {
        add4(&x, table);
        add4(&y, table);
    }
    size[0] = finish(&x, table, dst_a);
    size[1] = finish(&y, table, dst_b);
}

static size_t stream_room(size_t n)
{
    return (n * DB_CODE_BITS + 7) / 8 + 1 + SLACK;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Literals (3.1.1.3.1) with four streams; at `dst` room for block_room(n). 0: no gain. */
static size_t compress(const uint8_t *src, size_t n, const uint8_t bits[256], bool wide,
                       uint8_t *dst)
{
    uint64_t table[256];
    uint8_t *at = dst + LITERALS_HEADER;
    size_t k = db_code_describe(bits, at);
    if (k == 0)
        return 0;
    db_code_table(bits, table);
    uint8_t *jumps = at + k, *streams = jumps + JUMPS;
    size_t quarter = (n + 3) / 4, rest = n - 3 * quarter, room = stream_room(quarter), size[4];
    for (int i = 0; i < 4; i += 2) {
        size_t q = (size_t)i * quarter;
        write_two(src + q, quarter, streams + (size_t)i * room, src + q + quarter,
                  i ? rest : quarter, streams + ((size_t)i + 1) * room, table, wide, size + i);
    }
    uint8_t *end = streams + size[0];
    for (size_t i = 1; i < 4; i++) {
        put_le(jumps + 2 * (i - 1), size[i - 1], 2);
        memmove(end, streams + i * room, size[i]);
        end += size[i];
    }
    size_t coded = (size_t)(end - at);
    if (LITERALS_HEADER + coded + 1 >= n)
        return 0;
    put_le(dst, 2u | 3u << 2 | (uint64_t)n << 4 | (uint64_t)coded << 22, LITERALS_HEADER);
    *end++ = 0; /* no sequences */
    return (size_t)(end - dst);
}

static size_t block_room(size_t n)
{
    return BLOCK_HEADER + LITERALS_HEADER + DESCRIPTION + JUMPS + 4 * stream_room((n + 3) / 4) + 1;
}

static uint8_t *put_block(const uint8_t *src, size_t n, const uint8_t bits[256], bool wide,
                          bool last, uint8_t *dst)
{
    enum { RAW = 0, COMPRESSED = 2 };
    size_t k = compress(src, n, bits, wide, dst + BLOCK_HEADER);
    int type = k ? COMPRESSED : RAW;
    if (!k) {
        memcpy(dst + BLOCK_HEADER, src, n);
        k = n;
    }
    put_le(dst, (uint64_t)last | (uint64_t)type << 1 | (uint64_t)k << 3, BLOCK_HEADER);
    return dst + BLOCK_HEADER + k;
}

/* Single segment, its size in four bytes, no checksum: the store has its own. */
static uint8_t *put_frame_header(size_t n, uint8_t *dst)
{
    put_le(dst, 0xFD2FB528, 4);
    dst[4] = 2 << 6 | 1 << 5;
    put_le(dst + 5, n, 4);
    return dst + FRAME_HEADER;
}

/* Parts are cut into equal blocks where they are larger than one. */
static size_t block_bytes(size_t part)
{
    size_t n_blocks = (part + BLOCK_BYTES - 1) / BLOCK_BYTES;
    return (part + n_blocks - 1) / n_blocks;
}

size_t db_huffman_bound(size_t n, size_t part)
{
    return FRAME_HEADER + n + n / 256 + 64 + block_room(block_bytes(part));
}

static size_t put_frame(const uint8_t *src, size_t n, size_t part, bool wide, uint8_t *dst)
{
    size_t step = block_bytes(part);
    if (n < LEAST_BYTES || step < LEAST_BYTES || n > UINT32_MAX)
        return 0;
    uint8_t *at = put_frame_header(n, dst);
    for (size_t i = 0; i < n;) {
        size_t k = MIN(step, MIN(part - i % part, n - i));
        uint32_t count[256];
        uint8_t bits[256];
        if (k < LEAST_BYTES || !count_bytes(src + i, k, count))
            return 0;
        db_code_lengths(count, bits);
        at = put_block(src + i, k, bits, wide, i + k == n, at);
        i += k;
    }
    return (size_t)(at - dst);
}

size_t db_huffman_frame(const uint8_t *src, size_t n, size_t part, uint8_t *dst)
{
    return put_frame(src, n, part, has_vbmi(), dst);
}

size_t db_huffman_frame_plain(const uint8_t *src, size_t n, size_t part, uint8_t *dst)
{
    return put_frame(src, n, part, false, dst);
}
