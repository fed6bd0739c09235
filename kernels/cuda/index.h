/* Where each thread works: tiles, positions and counts, as integers. Valid as C17 and CUDA, so that
 * tests/kernels/test_cuda_index.c can prove on the CPU, over whole ranges of shapes, that every
 * output is written exactly once and that nothing outside is touched. */
#ifndef QS_KERNELS_CUDA_INDEX_H
#define QS_KERNELS_CUDA_INDEX_H

#include "base/philox.h" /* QS_DEVICE */

#include <stdint.h>

enum {
    KN_CU_BLOCK = 256, /* threads of most kernels */
#ifdef KN_EMULATE
    KN_CU_GRID_MAX = 3, /* so that blocks go round with the tests' small tensors */
#else
    KN_CU_GRID_MAX = 1024, /* blocks of a reduction: partial sums of a channel */
#endif
    KN_CU_TILE_ELEMS = 8192 /* about what one block of a BatchNorm pass works on at a time */
};

/* Element i of (oc,k,k,ic), taps = k·k, as an element of (oc,ic,k,k). */
QS_DEVICE int64_t kn_oihw_of_ohwi(int64_t i, int ic, int taps)
{
    int64_t pixel = i / ic; /* o·taps + tap */
    return (pixel / taps * ic + i % ic) * taps + pixel % taps;
}

QS_DEVICE int64_t kn_div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Blocks for n items, one thread an item, at most `most` blocks (threads then stride). */
QS_DEVICE int kn_grid(int64_t n, int block, int64_t most)
{
    int64_t blocks = kn_div_up(n, block);
    return (int)(blocks < 1 ? 1 : blocks > most ? most : blocks);
}

/* ---- BatchNorm passes: a block takes whole pixels, so many that they make whole mask chunks
 * ------ */

/* Pixels of a tile of `channels`: a multiple of 128/gcd(128, channels), about KN_CU_TILE_ELEMS
 * elements. A mask chunk (ops.h) is 128 elements, so no chunk crosses a tile. */
QS_DEVICE int kn_norm_tile(int channels)
{
    int unit = 128;
    while (unit > 1 && channels % (2 * 128 / unit) == 0)
        unit /= 2;
    int pixels = KN_CU_TILE_ELEMS / channels / unit * unit;
    return pixels < unit ? unit : pixels;
}

/* Elements of the largest tile; of one whose channels divide by v, v times fewer. */
enum { KN_CU_TILE_MAX = 128 * 1024 };

/* A block of a reduction: `lanes` groups of channels side by side, `rows` pixels at a time. */
typedef struct {
    int lanes, rows, groups; /* groups: grid.y, when the channels need more than one block */
} kn_norm_shape;

QS_DEVICE kn_norm_shape kn_norm_shape_of(int channels, int vec)
{
    kn_norm_shape s;
    int all = channels / vec;
    s.lanes = all < KN_CU_BLOCK ? all : KN_CU_BLOCK;
    s.rows = KN_CU_BLOCK / s.lanes;
    s.groups = (all + s.lanes - 1) / s.lanes;
    return s;
}

/* ---- bilinear ×2, align_corners
 * ------------------------------------------------------------------ */

/* Output o of 2·size lies at input o·(size-1)/(2·size-1): between i and i+1, t of the way. */
QS_DEVICE void kn_up_position(int o, int size, int *i, float *t)
{
    int at = o * (size - 1), by = 2 * size - 1;
    *i = at / by;
    *t = (float)(at % by) / (float)by;
}

/* Outputs that touch input i are among first … first + KN_UP_REACH - 1 (some outside 0 …
 * 2·size-1): those at less than 1 from i, and outputs are a little less than 1/2 apart. */
enum { KN_UP_REACH = 4 };
QS_DEVICE int kn_up_first(int i)
{
    return 2 * i - 1;
}

/* What output o takes of input i; 0 when it does not touch it or is outside. As kn_up_position has
 * it, without its division of integers. */
QS_DEVICE float kn_up_weight(int o, int i, int size)
{
    int by = 2 * size - 1, off = o * (size - 1) - i * by; /* from i, in 1/by */
    if (o < 0 || o >= 2 * size || off >= by || off <= -by)
        return 0;
    return off >= 0 ? 1 - (float)off / (float)by : (float)(off + by) / (float)by;
}

/* ---- convolution by tiles of 8 × 16 outputs
 * ------------------------------------------------------ */
enum {
    KN_CONV_TH = 8,
    KN_CONV_TW = 16,
    KN_CONV_KC = 16 /* input channels of one turn */
};

/* Half at which eight channels of a pixel, the c-th of `chunks` eights (2 or 4), lie in shared
 * memory: pixels close together, row by row, a pixel's eights changed about by its column so that
 * those of eight pixels side by side, which ldmatrix reads at once, meet all 32 banks. From row to
 * row the distance is the same, and from column to column of eight. */
QS_DEVICE int kn_chunk_at(int y, int x, int width, int c, int chunks)
{
    int by = x >> (chunks == 2 ? 2 : 1) & (chunks - 1);
    return ((y * width + x) * chunks + (c ^ by)) * 8;
}

typedef struct {
    int tiles_y, tiles_x;
    int64_t tiles; /* of the batch */
} kn_conv_tiles;

QS_DEVICE kn_conv_tiles kn_conv_tiles_of(int n, int h, int w)
{
    kn_conv_tiles t;
    t.tiles_y = (h + KN_CONV_TH - 1) / KN_CONV_TH;
    t.tiles_x = (w + KN_CONV_TW - 1) / KN_CONV_TW;
    t.tiles = (int64_t)n * t.tiles_y * t.tiles_x;
    return t;
}

/* A batch has fewer than 2^31 tiles: wide divisions take a GPU hundreds of instructions. */
QS_DEVICE void kn_conv_tile_at(const kn_conv_tiles *t, int64_t tile, int *n, int *y, int *x)
{
    unsigned at = (unsigned)tile, across = (unsigned)t->tiles_x, down = (unsigned)t->tiles_y;
    *x = (int)(at % across) * KN_CONV_TW;
    *y = (int)(at / across % down) * KN_CONV_TH;
    *n = (int)(at / across / down);
}

/* Fragments of mma.m16n8k16 (PTX ISA, "Matrix Fragments"): where register r of a lane lies.
 * A: four registers of two neighbouring columns; B: two of two neighbouring rows; C: four single.
 */
QS_DEVICE void kn_mma_a_at(int lane, int r, int *row, int *col)
{
    *row = lane / 4 + (r & 1) * 8;
    *col = lane % 4 * 2 + (r >> 1) * 8;
}
QS_DEVICE void kn_mma_b_at(int lane, int r, int *row, int *col)
{
    *row = lane % 4 * 2 + r * 8;
    *col = lane / 4;
}
QS_DEVICE void kn_mma_c_at(int lane, int r, int *row, int *col)
{
    *row = lane / 4 + (r >> 1) * 8;
    *col = lane % 4 * 2 + (r & 1);
}

/* Weight (o, c, tap) of the packed copy: turns of KC input channels, then taps, then outputs padded
 * to 8, then the channels of the turn; zeros where padded. */
QS_DEVICE int64_t kn_conv_packed_at(int oc_padded, int taps, int o, int c, int tap)
{
    return (((int64_t)(c / KN_CONV_KC) * taps + tap) * oc_padded + o) * KN_CONV_KC + c % KN_CONV_KC;
}
QS_DEVICE int64_t kn_conv_packed_n(int oc_padded, int taps, int ic)
{
    return (int64_t)((ic + KN_CONV_KC - 1) / KN_CONV_KC) * taps * oc_padded * KN_CONV_KC;
}

#endif
