/* Convolutions on the tensor cores, forward and data gradient: implicit GEMM by mma.sync m16n8k16,
 * bf16 operands, f32 sums.
 *
 * A block of four warps makes tiles of 8 × 16 outputs of NT·8 channels,
 * one after the other. A turn is KC = 16 input channels of a tile with its border, and all taps'
 * weights of them, in shared memory; a warp multiplies its two rows of 16 pixels (m) with every
 * n-tile, tap by tap, while the next turn is fetched:
 *
 *      pixels of a row × 16 channels   (A, from the tile shifted by the tap)
 *    · 16 channels × 8 outputs         (B, the tap's weights)
 *
 * With 16 input channels the weights stay. Forward can take the sums for
 * BatchNorm along: a block's results are in registers, so a pass over them in memory is spared.
 * Padding with zeros makes any number of channels whole. */
#include "kernels/cuda/mma_results.cuh"

/* Blocks of a multiprocessor that registers must leave room for. */
#define FWD_AT_ONCE(nt) ((nt) == 8 ? 3 : (nt) == 4 ? 4 : 5)

/* All taps' weights of a turn for BN outputs from o0. */
template <int TAPS, int BN>
__device__ static inline void bring_weights(kn_bf16 *to, const kn_bf16 *packed, int oc_padded,
                                            int o0, int kc)
{
    KN_NO_UNROLL
    for (int i = (int)threadIdx.x; i < TAPS * BN * 2; i += THREADS) {
        int row = i / 2, o = o0 + row % BN;
        bool there = o < oc_padded;
        kn_fetch16(to + kn_chunk_at(0, row, 0, i % 2, 2),
                   packed + kn_conv_packed_at(oc_padded, TAPS, there ? o : 0, kc, row / BN) +
                       i % 2 * 8,
                   there);
    }
}

/* A warp's rows of a tile, with all taps of a turn. */
template <int TAPS, int NT>
__device__ static inline void multiply(const kn_bf16 *xs, const kn_bf16 *ws, float acc[ROWS][NT][4])
{
    enum { R = TAPS == 9, IW = KN_CONV_TW + 2 * R, BN = NT * 8 };
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int output = (NT > 1 ? lane / 16 * 8 : 0) + lane % 8; /* of two n-tiles */
    ws += kn_chunk_at(0, output, 0, lane / 8 % 2, 2);
    KN_UNROLL_BY(NT > 4 ? 1 : 2 * R + 1) /* the rest as registers allow */
    for (int dx = 0; dx < 2 * R + 1; dx++) {
        const kn_bf16 *column = xs + kn_chunk_at(warp * ROWS, dx + lane % 16, IW, lane / 16, 2);
        uint32_t a[ROWS + 2 * R][4]; /* read once, but where registers are full of sums */
        KN_UNROLL
        for (int row = 0; row < ROWS + 2 * R && NT <= 4; row++)
            kn_ldmatrix(a[row], column + row * IW * KN_CONV_KC);
        KN_UNROLL
        for (int dy = 0; dy < 2 * R + 1; dy++) {
            int tap = dy * (2 * R + 1) + dx;
            KN_UNROLL
            for (int m = 0; m < ROWS && NT > 4; m++)
                kn_ldmatrix(a[m + dy], column + (m + dy) * IW * KN_CONV_KC);
            KN_UNROLL
            for (int nt = 0; nt < NT; nt += 2) {
                uint32_t b[4]; /* of two n-tiles */
                kn_ldmatrix(b, ws + (tap * BN + nt * 8) * KN_CONV_KC);
                KN_UNROLL
                for (int k = 0; k < 2 && nt + k < NT; k++)
                    KN_UNROLL
                for (int m = 0; m < ROWS; m++)
                    kn_mma_bf16(acc[m][nt + k], a[m + dy], b + 2 * k);
            }
        }
    }
}

/* Block x has the tiles from x·each on. STATS: partials get the sums of what is stored, for
 * BatchNorm; no bias then, nor LeakyReLU. whole: eights of dst's channels can be stored as one.
 * With NT = 8 more than KC input channels. */
template <int TAPS, int NT, bool STATS>
__global__ void __launch_bounds__(THREADS, FWD_AT_ONCE(NT) - FEWER)
    mma_fwd(kn_cu_conv c, kn_tensor src, const kn_bf16 *packed, const float *bias, kn_tensor dst,
            int each, bool wide, bool pair, bool whole, double *partials)
{
    enum {
        R = TAPS == 9,
        IH = KN_CONV_TH + 2 * R,
        IW = KN_CONV_TW + 2 * R,
        BN = NT * 8,
        X = IH * IW * KN_CONV_KC,
        TURN = X + TAPS * BN * KN_CONV_KC,
        STAGED = WARPS * ROWS * KN_CONV_TW * (BN + 8),
        WIDE = NT > 4,               /* registers have no room for a block's sums, */
        IN_TURN = WIDE && TAPS == 9, /* nor shared memory for results beside the operands */
        OUT = IN_TURN ? 8 : STAGED
    };
    static_assert(!IN_TURN || STAGED * 2 + WARPS * BN * 16 <= TURN * 2, "results' room");
    KN_SHARED(kn_bf16, room, 2 * TURN);
    KN_SHARED(kn_bf16, out, OUT);
    const kn_conv_tiles tiles = kn_conv_tiles_of(c.n, c.h, c.w);
    int64_t tile = (int64_t)blockIdx.x * each;
    int here = (int)(tiles.tiles - tile < each ? tiles.tiles - tile : each);
    int o0 = (int)blockIdx.y * BN, oc_padded = (c.oc + 7) / 8 * 8;
    int turns = (c.ic + KN_CONV_KC - 1) / KN_CONV_KC, warp = (int)threadIdx.x / 32;
    tile_place at = {0, 0, 0, o0}, next = at;
    kn_conv_tile_at(&tiles, tile, &next.n, &next.y0, &next.x0);
    bring_tile<IH, IW, 2>(room, src, next.n, next.y0 - R, next.x0 - R, 0, wide);
    bring_weights<TAPS, BN>(room + X, packed, oc_padded, o0, 0);
    kn_fetch_end();
    float acc[ROWS][NT][4] = {};
    channel_sums sums[WIDE ? 1 : 2 * NT] = {};
    int pixels = 0;
    for (int i = 0, turn = 0, half = 0; i < here; half = !half) {
        kn_bf16 *xs = room + half * TURN, *other = room + !half * TURN;
        bool last = turn + 1 == turns; /* of this tile */
        kn_fetch_wait<0>();
        __syncthreads(); /* this turn has come, and the last one's room is free */
        at = next;
        if (last && i + 1 < here)
            kn_conv_tile_at(&tiles, tile + i + 1, &next.n, &next.y0, &next.x0);
        if (!last || i + 1 < here) {
            int kc = last ? 0 : (turn + 1) * KN_CONV_KC;
            bring_tile<IH, IW, 2>(other, src, next.n, next.y0 - R, next.x0 - R, kc, wide);
            if (turns > 1)
                bring_weights<TAPS, BN>(other + X, packed, oc_padded, o0, kc);
            kn_fetch_end();
        }
        if (at.y0 + warp * ROWS < c.h) /* a warp below the image has nothing to do */
            multiply<TAPS, NT>(xs, turns > 1 ? xs + X : room + X, acc);
        turn++;
        if (!last)
            continue;
        if (STATS && !WIDE) {
            pixels += pixels_of(c, at);
            KN_UNROLL
            for (int k = 0; k < 2 * NT; k++)
                add_channel<NT>(&sums[WIDE ? 0 : k], k, c, acc, at, i == 0);
        } else if (!STATS) {
            add_bias<NT>(c, bias, o0, acc);
        }
        if (IN_TURN)
            __syncthreads(); /* this turn's operands are done with */
        kn_bf16 *place = IN_TURN ? xs : out;
        const kn_bf16 *staged = whole || (STATS && WIDE) ? stage<NT>(place, acc) : place;
        if (whole)
            store_staged<NT>(c, dst, staged, at);
        else
            store_pairs<NT>(c, dst, pair, at, acc);
        if (STATS && WIDE) {
            double *warps = (double *)(place + STAGED);
            sum_staged(c, staged, at, warps);
            store_row<NT>(c, o0, warps, tile + i, tiles.tiles, partials);
        }
        KN_UNROLL
        for (int k = 0; k < ROWS * NT * 4; k++)
            acc[k / (NT * 4)][k / 4 % NT][k % 4] = 0;
        turn = 0;
        i++;
    }
    if (!STATS || WIDE)
        return;
    __syncthreads(); /* the last turn's operands are done with */
    KN_UNROLL
    for (int k = 0; k < 2 * NT; k++)
        put_channel<NT>(sums[WIDE ? 0 : k], k, pixels, (double *)room);
    store_row<NT>(c, o0, (const double *)room, blockIdx.x, gridDim.x, partials);
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

/* n-tiles of a block: all outputs up to 64; fewer where there are few tiles to go round, and where
 * the weights stay, over which 64 outputs would be staged. */
static int fwd_width(const kn_cu_conv &c)
{
    int64_t tiles = kn_conv_tiles_of(c.n, c.h, c.w).tiles;
    bool few = tiles * kn_div_up(c.oc, 64) < 2 * MULTIPROCESSORS;
    if (c.oc <= 8)
        return 1;
    if (c.oc <= 16)
        return 2;
    return c.oc <= 32 || few || c.ic <= KN_CONV_KC ? 4 : 8;
}

/* Tiles of a block, so that all blocks have as many and are there at once: five, four or three on a
 * multiprocessor, as shared memory has room. */
static int fwd_each(const kn_cu_conv &c)
{
    int width = fwd_width(c), at_once = FWD_AT_ONCE(width);
    int64_t work = kn_conv_tiles_of(c.n, c.h, c.w).tiles * kn_div_up(c.oc, width * 8);
    return (int)kn_div_up(work, at_once * MULTIPROCESSORS);
}

static int64_t fwd_blocks(const kn_cu_conv &c)
{
    return kn_div_up(kn_conv_tiles_of(c.n, c.h, c.w).tiles, fwd_each(c));
}

template <int TAPS, int NT, bool STATS>
static void start_fwd(kn_device *device, const kn_cu_conv &c, const kn_tensor &src,
                      const void *packed, const float *bias, const kn_tensor &dst, double *partials)
{
    bool pair = dst.ldc % 2 == 0 && (uintptr_t)dst.data % 8 == 0;
    KN_LAUNCH(device, (mma_fwd<TAPS, NT, STATS>), KN_GRID(fwd_blocks(c), kn_div_up(c.oc, NT * 8)),
              THREADS, c, src, (const kn_bf16 *)packed, bias, dst, fwd_each(c), wide_of(src), pair,
              wide_of(dst) && c.oc % 8 == 0, partials);
}

template <int TAPS, bool STATS>
static void start_fwd_by_width(kn_device *device, const kn_cu_conv &c, const kn_tensor &src,
                               const void *packed, const float *bias, const kn_tensor &dst,
                               double *partials)
{
    switch (fwd_width(c)) {
    case 1:
        start_fwd<TAPS, 1, STATS>(device, c, src, packed, bias, dst, partials);
        break;
    case 2:
        start_fwd<TAPS, 2, STATS>(device, c, src, packed, bias, dst, partials);
        break;
    case 4:
        start_fwd<TAPS, 4, STATS>(device, c, src, packed, bias, dst, partials);
        break;
    default:
        start_fwd<TAPS, 8, STATS>(device, c, src, packed, bias, dst, partials);
    }
}

void kn_cu_mma_fwd(kn_device *device, kn_cu_conv c, kn_tensor src, const void *packed,
                   const float *bias, kn_tensor dst)
{
    if (c.k == 3)
        start_fwd_by_width<9, false>(device, c, src, packed, bias, dst, nullptr);
    else
        start_fwd_by_width<1, false>(device, c, src, packed, bias, dst, nullptr);
}

/* Rows of the sums for BatchNorm: the blocks', or the tiles' where a block has no room for them. */
static int64_t stats_rows(const kn_cu_conv &c)
{
    return fwd_width(c) > 4 ? kn_conv_tiles_of(c.n, c.h, c.w).tiles : fwd_blocks(c);
}

size_t kn_cu_mma_stats_bytes(kn_cu_conv c)
{
    return (size_t)stats_rows(c) * (size_t)c.oc * 2 * sizeof(double);
}

void kn_cu_mma_fwd_stats(kn_device *device, kn_cu_conv c, kn_tensor src, const void *packed,
                         kn_tensor dst, kn_cu_norm norm, void *scratch)
{
    double *partials = (double *)scratch;
    start_fwd_by_width<9, true>(device, c, src, packed, nullptr, dst, partials);
    kn_cu_norm_stats_of_tiles(device, norm, (int64_t)c.n * c.h * c.w, stats_rows(c), partials);
}

void kn_cu_mma_bwd_data(kn_device *device, kn_cu_conv c, kn_tensor ddst, const void *packed,
                        kn_tensor dsrc)
{
    kn_cu_conv back = c;
    back.ic = c.oc;
    back.oc = c.ic;
    back.leaky = 0;
    kn_cu_mma_fwd(device, back, ddst, packed, NULL, dsrc);
}
