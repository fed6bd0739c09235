/* Convolutions on the tensor cores: implicit GEMM by mma.sync m16n8k16, bf16 operands, f32 sums.
 *
 * Forward and data gradient. A block of four warps makes tiles of 8 × 16 outputs of NT·8 channels,
 * one after the other. A turn is KC = 16 input channels of a tile with its border, and all taps'
 * weights of them, in shared memory; a warp multiplies its two rows of 16 pixels (m) with every
 * n-tile, tap by tap, while the next turn is fetched:
 *
 *      pixels of a row × 16 channels   (A, from the tile shifted by the tap)
 *    · 16 channels × 8 outputs         (B, the tap's weights)
 *
 * With 16 input channels the weights stay. Forward can take the sums for
 * BatchNorm along: a block's results are in registers, so a pass over them in memory is spared.
 *
 * Weight gradient. M is output channels, N input channels, K the pixels: a block walks over tiles,
 * the next ones being fetched, its warps share 16 × WI weights and the tile's rows, keep all taps'
 * sums in registers, and write one partial a block, which sums.cu adds in order. Padding with zeros
 * makes any number of channels whole. */
#include "kernels/cuda/lang.cuh"

enum {
    THREADS = 128,
    WARPS = THREADS / 32,
    ROWS = 2, /* of a warp, forward */
#ifdef KN_EMULATE
    MULTIPROCESSORS = 2, /* so that a block of a small test has several tiles */
#else
    MULTIPROCESSORS = 132, /* that grids are made for: one number, one order of sums everywhere */
#endif
    WG_O = 16, /* output channels of a patch of weights */
    PARTIALS_BYTES = 64 << 20,
};

/* Blocks of a multiprocessor that a kernel's registers must leave room for. Those of sm_90 are
 * planned for (three of the weight gradient's); elsewhere ptxas needs some more for the same. */
#define FWD_AT_ONCE(nt) ((nt) == 8 ? 3 : (nt) == 4 ? 4 : 5)
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ != 900
#define FEWER 1
#else
#define FEWER 0
#endif

/* Eight channels c0 … c0+7 of one pixel as bf16; zeros past the tensor's channels. `wide`: 8
 * elements lie aligned. */
__device__ static inline kn_vec<kn_bf16, 8> load8(const kn_tensor &t, int64_t pixel, int c0,
                                                  bool inside, bool wide)
{
    kn_vec<kn_bf16, 8> out;
    for (int i = 0; i < 8; i++)
        out.v[i].bits = 0;
    if (!inside)
        return out;
    if (wide && c0 + 8 <= t.c)
        return *(const kn_vec<kn_bf16, 8> *)((const kn_bf16 *)t.data + pixel * t.ldc + c0);
    for (int i = 0; i < 8; i++)
        if (c0 + i < t.c)
            out.v[i] = t.dtype == KN_BF16
                           ? ((const kn_bf16 *)t.data)[pixel * t.ldc + c0 + i]
                           : kn_bf16_from_f32(((const float *)t.data)[pixel * t.ldc + c0 + i]);
    return out;
}

/* Two outputs side by side. `pair`: they may be stored as one. */
__device__ static inline void store2(const kn_tensor &t, int64_t at, float a, float b, bool second,
                                     bool pair)
{
    const float both[2] = {a, b};
    if (pair && second && t.dtype == KN_BF16) {
        kn_store_v<kn_bf16, 2>((kn_bf16 *)t.data + at, both);
    } else if (pair && second) {
        kn_store_v<float, 2>((float *)t.data + at, both);
    } else {
        for (int i = 0; i < (second ? 2 : 1); i++) {
            if (t.dtype == KN_BF16)
                kn_store((kn_bf16 *)t.data + at + i, both[i]);
            else
                kn_store((float *)t.data + at + i, both[i]);
        }
    }
}

/* Rows × columns of pixels from (y0, x0) of image n, CH eights of channels from c0, to shared
 * memory: fetched if the tensor is `wide`, zeros outside. A thread goes on by so many whole pixels
 * that its eight stays, and knows where it is without dividing. */
template <int H, int W, int CH>
__device__ static inline void bring_tile(kn_bf16 *to, const kn_tensor &t, int n, int y0, int x0,
                                         int c0, bool wide)
{
    enum { PIXELS = THREADS / CH, DOWN = PIXELS / W, RIGHT = PIXELS % W };
    int c = (int)threadIdx.x % CH, at = (int)threadIdx.x / CH, row = at / W, column = at % W;
    int64_t corner = ((int64_t)n * t.h + y0) * t.w + x0;
    bool here = c0 + c * 8 < t.c;
    const kn_bf16 *from = (const kn_bf16 *)t.data + corner * t.ldc + c0 + c * 8;
    KN_NO_UNROLL
    for (; at < H * W; at += PIXELS) {
        kn_bf16 *place = to + kn_chunk_at(row, column, W, c, CH);
        bool inside =
            here && (unsigned)(y0 + row) < (unsigned)t.h && (unsigned)(x0 + column) < (unsigned)t.w;
        int offset = row * t.w + column;
        if (wide)
            kn_fetch16(place, inside ? from + (int64_t)offset * t.ldc : (kn_bf16 *)t.data, inside);
        else
            *(kn_vec<kn_bf16, 8> *)place = load8(t, corner + offset, c0 + c * 8, inside, false);
        row += DOWN;
        column += RIGHT;
        if (column >= W) {
            column -= W;
            row++;
        }
    }
}

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

/* What of a tile's results is inside the image. */
typedef struct {
    int n, y0, x0, o0;
} tile_place;

/* A thread's sums of its results in one channel and of their squares, each as dst holds it (bf16),
 * about its first one. A thread has 2·NT channels: lane%4·2 and the next of each n-tile. */
typedef struct {
    float pivot, sum, square;
} channel_sums;

__device__ static inline bool is_inside(const kn_cu_conv &c, const tile_place &at, int m, int half)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    return at.y0 + warp * ROWS + m < c.h && at.x0 + lane / 4 + half * 8 < c.w;
}

/* Pixels of a tile that this thread has and the image too. */
__device__ static inline int pixels_of(const kn_cu_conv &c, const tile_place &at)
{
    int n = 0;
    KN_UNROLL
    for (int m = 0; m < ROWS; m++)
        n += is_inside(c, at, m, 0) + is_inside(c, at, m, 1);
    return n;
}

/* Adds a tile's results in the thread's channel i. */
template <int NT>
__device__ static inline void add_channel(channel_sums *s, int i, const kn_cu_conv &c,
                                          const float acc[ROWS][NT][4], const tile_place &at,
                                          bool first)
{
    KN_UNROLL
    for (int k = 0; k < 2 * ROWS; k++) {
        float v = kn_bf16_to_f32(kn_bf16_from_f32(acc[k / 2][i / 2][k % 2 * 2 + i % 2]));
        if (first && k == 0)
            s->pivot = v;
        float d = is_inside(c, at, k / 2, k % 2) ? v - s->pivot : 0.0f;
        s->sum += d;
        s->square += d * d;
    }
}

/* A warp's sums in its threads' channel i, about 0 in f64, to `room` (warps, NT·8, 2). */
template <int NT>
__device__ static inline void put_channel(const channel_sums &s, int i, int pixels, double *room)
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    double pivot = (double)s.pivot, sum = (double)s.sum, n = (double)pixels;
    double square = (double)s.square + 2 * pivot * sum + n * pivot * pivot;
    sum += n * pivot;
    KN_UNROLL
    for (int by = 16; by >= 4; by /= 2) {
        sum += kn_shuffle_down(sum, by);
        square += kn_shuffle_down(square, by);
    }
    if (lane < 4) {
        double *to = room + (warp * NT * 8 + i / 2 * 8 + lane * 2 + i % 2) * 2;
        to[0] = sum;
        to[1] = square;
    }
}

/* The warps' sums, in order, to row `at` of partials (oc, rows, 2). */
template <int NT>
__device__ static inline void store_row(const kn_cu_conv &c, int o0, const double *room, int64_t at,
                                        int64_t rows, double *partials)
{
    int t = (int)threadIdx.x;
    __syncthreads(); /* all warps' sums are there */
    if (t >= NT * 8 || o0 + t >= c.oc)
        return;
    double sum = 0, square = 0;
    for (int w = 0; w < WARPS; w++) {
        sum += room[(w * NT * 8 + t) * 2];
        square += room[(w * NT * 8 + t) * 2 + 1];
    }
    double *to = partials + ((o0 + t) * rows + at) * 2;
    to[0] = sum;
    to[1] = square;
}

template <int NT>
__device__ static inline void add_bias(const kn_cu_conv &c, const float *bias, int o0,
                                       float acc[ROWS][NT][4])
{
    int lane = (int)threadIdx.x % 32;
    KN_UNROLL
    for (int nt = 0; nt < NT; nt++)
        KN_UNROLL
    for (int r = 0; r < 4; r++) {
        int o = o0 + nt * 8 + lane % 4 * 2 + r % 2;
        float b = bias && o < c.oc ? bias[o] : 0.0f;
        KN_UNROLL
        for (int m = 0; m < ROWS; m++) {
            float v = acc[m][nt][r] + b;
            acc[m][nt][r] = c.leaky && !(v > 0) ? 0.01f * v : v;
        }
    }
}

/* Straight from the fragments, two channels at a time. */
template <int NT>
__device__ static inline void store_pairs(const kn_cu_conv &c, const kn_tensor &dst, bool pair,
                                          const tile_place &at, const float acc[ROWS][NT][4])
{
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    KN_UNROLL
    for (int m = 0; m < ROWS; m++)
        KN_UNROLL
    for (int half = 0; half < 2; half++) {
        int y = at.y0 + warp * ROWS + m, x = at.x0 + lane / 4 + half * 8;
        int64_t pixel = ((int64_t)at.n * c.h + y) * c.w + x;
        if (y >= c.h || x >= c.w)
            continue;
        KN_UNROLL
        for (int nt = 0; nt < NT; nt++) {
            int o = at.o0 + nt * 8 + lane % 4 * 2;
            if (o < c.oc)
                store2(dst, pixel * dst.ldc + o, acc[m][nt][half * 2], acc[m][nt][half * 2 + 1],
                       o + 1 < c.oc, pair);
        }
    }
}

/* A warp's results as bf16 to its part of `room`, (warps, PIXELS, NT·8 + 8): the lanes of a
 * fragment meet 32 banks. Returns the part. */
template <int NT>
__device__ static inline kn_bf16 *stage(kn_bf16 *room, const float acc[ROWS][NT][4])
{
    enum { STRIDE = NT * 8 + 8, PIXELS = ROWS * KN_CONV_TW };
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    kn_bf16 *mine = room + warp * PIXELS * STRIDE;
    kn_sync_warp(); /* what was there has been read */
    KN_UNROLL
    for (int m = 0; m < ROWS; m++)
        KN_UNROLL
    for (int i = 0; i < 2 * NT; i++) { /* half a row of an n-tile */
        int pixel = m * KN_CONV_TW + lane / 4 + i % 2 * 8;
        kn_store_v<kn_bf16, 2>(mine + pixel * STRIDE + i / 2 * 8 + lane % 4 * 2,
                               &acc[m][i / 2][i % 2 * 2]);
    }
    kn_sync_warp();
    return mine;
}

/* A warp's staged results to dst, 16 bytes at a time. */
template <int NT>
__device__ static inline void store_staged(const kn_cu_conv &c, const kn_tensor &dst,
                                           const kn_bf16 *mine, const tile_place &at)
{
    enum { STRIDE = NT * 8 + 8 };
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    KN_UNROLL
    for (int k = 0; k < NT; k++) { /* PIXELS·NT eights, 32 at a time */
        int i = lane + k * 32, pixel = i / NT, o = i % NT * 8;
        int y = at.y0 + warp * ROWS + pixel / KN_CONV_TW, x = at.x0 + pixel % KN_CONV_TW;
        if (y < c.h && x < c.w && at.o0 + o < c.oc)
            *(kn_vec<kn_bf16, 8> *)((kn_bf16 *)dst.data +
                                    (((int64_t)at.n * c.h + y) * c.w + x) * dst.ldc + at.o0 + o) =
                *(const kn_vec<kn_bf16, 8> *)(mine + pixel * STRIDE + o);
    }
}

/* A warp's sums of 64 staged channels, a lane two of them, about 0 in f64, to `room` (warps, 64,
 * 2).
 */
__device__ static inline void sum_staged(const kn_cu_conv &c, const kn_bf16 *mine,
                                         const tile_place &at, double *room)
{
    enum { STRIDE = 64 + 8, PIXELS = ROWS * KN_CONV_TW };
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, n = 0;
    float pivot[2], sum[2] = {}, square[2] = {};
    kn_load_v<kn_bf16, 2>(mine + lane * 2, pivot);
    for (int pixel = 0; pixel < PIXELS; pixel++) {
        bool inside =
            at.y0 + warp * ROWS + pixel / KN_CONV_TW < c.h && at.x0 + pixel % KN_CONV_TW < c.w;
        float v[2];
        kn_load_v<kn_bf16, 2>(mine + pixel * STRIDE + lane * 2, v);
        n += inside;
        KN_UNROLL
        for (int i = 0; i < 2; i++) {
            float d = inside ? v[i] - pivot[i] : 0.0f;
            sum[i] += d;
            square[i] += d * d;
        }
    }
    KN_UNROLL
    for (int i = 0; i < 2; i++) {
        double p = (double)pivot[i], s = (double)sum[i],
               *to = room + (warp * 64 + lane * 2 + i) * 2;
        to[0] = s + n * p;
        to[1] = (double)square[i] + 2 * p * s + n * p * p;
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

/* Element i of an item: of fwd, then bwd, then ohwi, then the bias. */
QS_DEVICE int64_t fwd_elements(const kn_cu_pack_item &c)
{
    return kn_conv_packed_n((c.oc + 7) / 8 * 8, c.taps, c.ic);
}
QS_DEVICE int64_t bwd_elements(const kn_cu_pack_item &c)
{
    return c.bwd ? kn_conv_packed_n((c.ic + 7) / 8 * 8, c.taps, c.oc) : 0;
}
QS_DEVICE int64_t ohwi_elements(const kn_cu_pack_item &c)
{
    return c.ohwi ? (int64_t)c.oc * c.ic * c.taps : 0;
}

/* What lies at element `at` of fwd, or of bwd: there outputs are the convolution's inputs and the
 * taps are mirrored. */
__device__ static inline float packed_weight(const kn_cu_pack_item &c, uint32_t at, bool back)
{
    uint32_t padded = (uint32_t)((back ? c.ic : c.oc) + 7) / 8 * 8, row = at / KN_CONV_KC;
    uint32_t turn_tap = row / padded, turn = turn_tap / (uint32_t)c.taps;
    int out = (int)(row - turn_tap * padded), tap = (int)turn_tap - (int)turn * c.taps;
    int in = (int)(turn * KN_CONV_KC + at % KN_CONV_KC);
    int o = back ? in : out, ic = back ? out : in;
    int from = back ? c.taps - 1 - tap : tap;
    return o < c.oc && ic < c.ic ? c.weight[(o * c.ic + ic) * c.taps + from] : 0.0f;
}

/* One thread an element of all items, which lie one after the other: n of them. */
__global__ void mma_pack(kn_cu_pack pack, int64_t n)
{
    for (int64_t i = KN_THREAD; i < n; i += KN_THREADS) {
        int low = 0, high = pack.n - 1;
        while (low < high) {
            int middle = (low + high + 1) / 2;
            if (pack.items[middle].first <= i)
                low = middle;
            else
                high = middle - 1;
        }
        const kn_cu_pack_item &c = pack.items[low];
        int64_t at = i - c.first, n_fwd = fwd_elements(c), n_bwd = bwd_elements(c);
        int64_t n_ohwi = ohwi_elements(c);
        if (at < n_fwd)
            kn_store((kn_bf16 *)c.fwd + at, packed_weight(c, (uint32_t)at, false));
        else if ((at -= n_fwd) < n_bwd)
            kn_store((kn_bf16 *)c.bwd + at, packed_weight(c, (uint32_t)at, true));
        else if ((at -= n_bwd) < n_ohwi)
            kn_store((kn_bf16 *)c.ohwi + at, c.weight[kn_oihw_of_ohwi(at, c.ic, c.taps)]);
        else
            c.bias_out[at - n_ohwi] = c.bias ? c.bias[at - n_ohwi] : 0.0f;
    }
}

/* A tile of the result's gradient and, with its border, of the source. */
template <int TAPS, int WI>
__device__ static inline void bring_pair(kn_bf16 *to, const kn_tensor &src, const kn_tensor &ddst,
                                         const kn_conv_tiles &tiles, int64_t tile, int o0, int i0,
                                         bool wide_src, bool wide_ddst)
{
    enum { R = TAPS == 9, H = KN_CONV_TH, W = KN_CONV_TW };
    int n, y0, x0;
    kn_conv_tile_at(&tiles, tile, &n, &y0, &x0);
    bring_tile<H, W, WG_O / 8>(to, ddst, n, y0, x0, o0, wide_ddst);
    bring_tile<H + 2 * R, W + 2 * R, WI / 8>(to + H * W * WG_O, src, n, y0 - R, x0 - R, i0,
                                             wide_src);
}

/* grid.x splits the tiles, grid.y = output patches · input patches of WG_O × WI weights. Warps
 * share a patch's 16 × 16 parts and the tile's rows. partials (grid.x, taps, oc, ic). */
template <int TAPS, int WI, bool WIDE>
__global__ void __launch_bounds__(THREADS, WIDE ? 3 - FEWER : 2)
    mma_bwd_weights(kn_cu_conv c, kn_tensor src, kn_tensor ddst, float *partials, bool wide_src,
                    bool wide_ddst)
{
    enum {
        R = TAPS == 9,
        IH = KN_CONV_TH + 2 * R,
        IW = KN_CONV_TW + 2 * R,
        DY = KN_CONV_TH * KN_CONV_TW * WG_O,
        TURN = DY + IH * IW * WI,
        TURNS = WI == 16 ? 4 : 3, /* in shared memory, all but one under way */
        PARTS = WI / 16,
        SHARES = WARPS / PARTS, /* of the rows, OWN each */
        OWN = KN_CONV_TH / SHARES,
        N_ACC = TAPS * 2 * 4
    };
    KN_SHARED(kn_bf16, room, TURNS * TURN);
    static_assert(PARTS * N_ACC * 32 * 4 <= TURNS * TURN * 2, "sums' room");
    const kn_conv_tiles tiles = kn_conv_tiles_of(c.n, c.h, c.w);
    int t = (int)threadIdx.x, lane = t % 32, part = t / 32 % PARTS, share = t / 32 / PARTS;
    int i_patches = (c.ic + WI - 1) / WI, step = (int)gridDim.x, n_tiles = (int)tiles.tiles;
    int o0 = (int)blockIdx.y / i_patches * WG_O, i0 = (int)blockIdx.y % i_patches * WI;
    float acc[TAPS][2][4] = {};
    for (int k = 0, tile = (int)blockIdx.x; k < TURNS - 1; k++, tile += step) {
        if (tile < n_tiles)
            bring_pair<TAPS, WI>(room + k * TURN, src, ddst, tiles, tile, o0, i0, WIDE || wide_src,
                                 WIDE || wide_ddst);
        kn_fetch_end();
    }
    for (int tile = (int)blockIdx.x, turn = 0; tile < n_tiles; tile += step) {
        int coming = tile + (TURNS - 1) * step, free = turn == 0 ? TURNS - 1 : turn - 1;
        kn_fetch_wait<TURNS - 2>();
        __syncthreads(); /* this tile has come, and the last one's room is free */
        if (coming < n_tiles)
            bring_pair<TAPS, WI>(room + free * TURN, src, ddst, tiles, coming, o0, i0,
                                 WIDE || wide_src, WIDE || wide_ddst);
        kn_fetch_end();
        int column = lane / 16 * 8 + lane % 8, first = share * OWN;
        int dys = turn * TURN + kn_chunk_at(first, column, KN_CONV_TW, lane / 8 % 2, WG_O / 8);
        int xs[2 * R + 1];
        KN_UNROLL
        for (int dx = 0; dx < 2 * R + 1; dx++)
            xs[dx] = turn * TURN + DY +
                     kn_chunk_at(first, dx + lane % 16, IW, part * 2 + lane / 16, WI / 8);
        uint32_t a[2 * R + 1][4]; /* of the gradient's last rows; those outside are zeros */
        KN_UNROLL
        for (int row = 0; row < OWN + 2 * R; row++) {
            if (row < OWN)
                kn_ldmatrix_t(a[row % (2 * R + 1)], room + dys + row * KN_CONV_TW * WG_O);
            KN_UNROLL
            for (int dx = 0; dx < 2 * R + 1; dx++) {
                uint32_t b[4];
                kn_ldmatrix_t(b, room + xs[dx] + row * IW * WI);
                KN_UNROLL
                for (int dy = 0; dy < 2 * R + 1; dy++) {
                    int of = row - dy, tap = dy * (2 * R + 1) + dx;
                    if (of < 0 || of >= OWN)
                        continue;
                    kn_mma_bf16(acc[tap][0], a[of % (2 * R + 1)], b);
                    kn_mma_bf16(acc[tap][1], a[of % (2 * R + 1)], b + 2);
                }
            }
        }
        turn = turn + 1 == TURNS ? 0 : turn + 1;
    }
    /* the shares after the first hand their sums to it, one after the other */
    float *sums = (float *)room + part * N_ACC * 32;
    for (int w = 1; w < SHARES; w++) {
        __syncthreads();
        if (share == w)
            KN_UNROLL
        for (int i = 0; i < N_ACC; i++)
            sums[i * 32 + lane] = acc[i / 8][i / 4 % 2][i % 4];
        __syncthreads();
        if (share == 0)
            KN_UNROLL
        for (int i = 0; i < N_ACC; i++)
            acc[i / 8][i / 4 % 2][i % 4] += sums[i * 32 + lane];
    }
    if (share != 0)
        return;
    KN_UNROLL
    for (int i = 0; i < N_ACC; i += 2) { /* two input channels side by side */
        int row, col;
        kn_mma_c_at(lane, i % 4, &row, &col);
        int o = o0 + row, ic = i0 + part * 16 + i / 4 % 2 * 8 + col;
        float *to = partials + (((int64_t)blockIdx.x * TAPS + i / 8) * c.oc + o) * c.ic + ic;
        const float *two = &acc[i / 8][i / 4 % 2][i % 4];
        if (o < c.oc && ic + 1 < c.ic && c.ic % 2 == 0)
            kn_store_v<float, 2>(to, two);
        else
            for (int k = 0; k < 2; k++)
                if (o < c.oc && ic + k < c.ic)
                    to[k] = two[k];
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static bool wide_of(const kn_tensor &t)
{
    return t.dtype == KN_BF16 && t.c % 8 == 0 && t.ldc % 8 == 0 && (uintptr_t)t.data % 16 == 0;
}

void kn_cu_mma_pack(kn_device *device, kn_cu_pack pack)
{
    int64_t n = 0;
    for (int k = 0; k < pack.n; k++) {
        kn_cu_pack_item *c = &pack.items[k];
        c->first = n;
        n += fwd_elements(*c) + bwd_elements(*c) + ohwi_elements(*c) + c->oc;
    }
    KN_LAUNCH(device, mma_pack, kn_grid(n, KN_CU_BLOCK, 1 << 20), KN_CU_BLOCK, pack, n);
}

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

/* Input channels of a patch of weights. */
static int wgrad_width(const kn_cu_conv &c)
{
    return c.ic >= 32 ? 32 : 16;
}

static int wgrad_patches(const kn_cu_conv &c)
{
    return (int)(kn_div_up(c.oc, WG_O) * kn_div_up(c.ic, wgrad_width(c)));
}

/* As many as are there at once, three on a multiprocessor, and no more. */
static int splits_of(const kn_cu_conv &c)
{
    int64_t bytes = (int64_t)c.oc * c.ic * c.k * c.k * (int64_t)sizeof(float);
    int64_t most = PARTIALS_BYTES / bytes, wanted = 3 * MULTIPROCESSORS / wgrad_patches(c);
    most = most < wanted ? most : wanted;
    return kn_grid(kn_conv_tiles_of(c.n, c.h, c.w).tiles, 1, most < 1 ? 1 : most);
}

static size_t weight_partials_bytes(const kn_cu_conv &c)
{
    size_t n = (size_t)c.oc * (size_t)c.ic * (size_t)c.k * (size_t)c.k;
    return ((size_t)splits_of(c) * n * sizeof(float) + 255) / 256 * 256;
}

size_t kn_cu_mma_bwd_weights_bytes(kn_cu_conv c)
{
    return weight_partials_bytes(c) + kn_cu_bias_grad_bytes(c.oc);
}

template <int TAPS, int WI>
static void start_wgrad(kn_device *device, const kn_cu_conv &c, const kn_tensor &src,
                        const kn_tensor &ddst, float *partials)
{
    kn_grid_size grid = KN_GRID(splits_of(c), wgrad_patches(c));
    bool s = wide_of(src), d = wide_of(ddst);
    if (s && d)
        KN_LAUNCH(device, (mma_bwd_weights<TAPS, WI, true>), grid, THREADS, c, src, ddst, partials,
                  s, d);
    else
        KN_LAUNCH(device, (mma_bwd_weights<TAPS, WI, false>), grid, THREADS, c, src, ddst, partials,
                  s, d);
}

void kn_cu_mma_bwd_weights(kn_device *device, kn_cu_conv c, kn_tensor src, kn_tensor ddst,
                           float *dweight, float *dbias, void *scratch)
{
    int splits = splits_of(c);
    int64_t n = (int64_t)c.oc * c.ic * c.k * c.k;
    float *partials = (float *)scratch;
    bool wider = wgrad_width(c) == 32;
    if (c.k == 3 && wider)
        start_wgrad<9, 32>(device, c, src, ddst, partials);
    else if (c.k == 3)
        start_wgrad<9, 16>(device, c, src, ddst, partials);
    else if (wider)
        start_wgrad<1, 32>(device, c, src, ddst, partials);
    else
        start_wgrad<1, 16>(device, c, src, ddst, partials);
    kn_cu_add_splits(device, dweight, n, c.k * c.k, splits, partials);
    if (dbias)
        kn_cu_bias_grad(device, ddst, dbias, (char *)scratch + weight_partials_bytes(c));
}
