/* Convolutions on the tensor cores: implicit GEMM by mma.sync m16n8k16, bf16 operands, f32 sums.
 *
 * Forward and data gradient. A block of four warps makes 8 × 16 outputs of NT·8 channels. Each turn
 * brings KC = 16 input channels of the tile with its border, and all taps' weights of them, into
 * shared memory; a warp then multiplies its two rows of 16 pixels (m) with every n-tile, tap by
 * tap:
 *
 *      pixels of a row × 16 channels   (A, from the tile shifted by the tap)
 *    · 16 channels × 8 outputs         (B, the tap's weights)
 *
 * Forward can take the sums for BatchNorm along: a tile's results are in registers, so a pass over
 * them in memory is spared.
 *
 * Weight gradient. M is 16 output channels, N 16 input channels, K the pixels: a block walks over
 * tiles, keeps all taps' sums in registers, adds its four warps and writes one partial a block,
 * which a second kernel adds in order (sums.cu). Padding with zeros makes any number of channels
 * whole. */
#include "kernels/cuda/lang.cuh"

enum {
    THREADS = 128,
    ROWS = 2, /* of a warp */
    /* weight gradient: halves from one channel's pixels to the next */
    DY_STRIDE = KN_CONV_TH * KN_CONV_TW + 8,
    WG_O = 16,
    WG_I = 16,
    BLOCKS_WANTED = 528, /* of the weight gradient's grid: four for each of 132 multiprocessors */
    PARTIALS_BYTES = 64 << 20,
};

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

__device__ static inline uint32_t word(const kn_bf16 *p)
{
    return *(const uint32_t *)p;
}

/* What of the tile's results is inside the image. */
typedef struct {
    int n, y0, x0, o0;
} tile_place;

/* Sums of the tile's results and of their squares, each as dst holds it (bf16), to partials (oc,
 * tiles, 2) for kn_cu_norm_stats_of_tiles. About the tile's first pixel in f32 (a thread's, then a
 * warp's, then the four warps' in order), and about 0 in f64 at the end. `room`: (9·NT·8) floats of
 * shared memory that all threads are done with. */
template <int NT>
__device__ static inline void tile_stats(const kn_cu_conv &c, const float acc[ROWS][NT][4],
                                         const tile_place &at, float *room, double *partials)
{
    enum { BN = NT * 8, WARPS = THREADS / 32 };
    float *pivot = room, *part = room + BN; /* part (warps, BN, 2) */
    int t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
    __syncthreads(); /* what was in the room is done with */
    if (warp == 0 && lane < 4)
        KN_UNROLL
    for (int i = 0; i < 2 * NT; i++) /* pixel (0, 0): row 0 of a fragment lies in lanes 0..3 */
        pivot[i / 2 * 8 + lane * 2 + i % 2] =
            kn_bf16_to_f32(kn_bf16_from_f32(acc[0][i / 2][i % 2]));
    __syncthreads();
    KN_UNROLL
    for (int i = 0; i < 2 * NT; i++) {
        int o = i / 2 * 8 + lane % 4 * 2 + i % 2;
        float sum = 0, square = 0, first = pivot[o];
        KN_UNROLL
        for (int m = 0; m < ROWS; m++)
            KN_UNROLL
        for (int r = i % 2; r < 4; r += 2) {
            int row, col;
            kn_mma_c_at(lane, r, &row, &col);
            float d = kn_bf16_to_f32(kn_bf16_from_f32(acc[m][i / 2][r])) - first;
            if (at.y0 + warp * ROWS + m < c.h && at.x0 + row < c.w) {
                sum += d;
                square += d * d;
            }
        }
        KN_UNROLL
        for (int by = 16; by >= 4; by /= 2) {
            sum += kn_shuffle_down(sum, by);
            square += kn_shuffle_down(square, by);
        }
        if (lane < 4) {
            part[(warp * BN + o) * 2] = sum;
            part[(warp * BN + o) * 2 + 1] = square;
        }
    }
    __syncthreads();
    if (t >= BN || at.o0 + t >= c.oc)
        return;
    double sum = 0, square = 0, first = (double)pivot[t];
    for (int w = 0; w < WARPS; w++) {
        sum += (double)part[(w * BN + t) * 2];
        square += (double)part[(w * BN + t) * 2 + 1];
    }
    int high = c.h - at.y0 < KN_CONV_TH ? c.h - at.y0 : KN_CONV_TH;
    int across = c.w - at.x0 < KN_CONV_TW ? c.w - at.x0 : KN_CONV_TW;
    double pixels = (double)(high * across);
    double *to = partials + ((int64_t)(at.o0 + t) * gridDim.x + blockIdx.x) * 2;
    to[0] = sum + pixels * first;
    to[1] = square + 2 * first * sum + pixels * first * first;
}

/* STATS: partials get the sums of what is stored, for BatchNorm; no bias then, nor LeakyReLU. */
template <int TAPS, int NT, bool STATS>
__global__ void __launch_bounds__(THREADS)
    mma_fwd(kn_cu_conv c, kn_tensor src, const kn_bf16 *packed, const float *bias, kn_tensor dst,
            bool wide, bool pair, double *partials)
{
    enum { R = TAPS == 9, IH = KN_CONV_TH + 2 * R, IW = KN_CONV_TW + 2 * R, BN = NT * 8 };
    KN_SHARED(kn_bf16, xs, IH * IW * KN_CONV_STRIDE);
    KN_SHARED(kn_bf16, ws, TAPS * BN * KN_CONV_STRIDE);
    const kn_conv_tiles tiles = kn_conv_tiles_of(c.n, c.h, c.w);
    int n, y0, x0, t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
    kn_conv_tile_at(&tiles, blockIdx.x, &n, &y0, &x0);
    int o0 = (int)blockIdx.y * BN, oc_padded = (c.oc + 7) / 8 * 8;
    float acc[ROWS][NT][4] = {};
    for (int kc = 0; kc < c.ic; kc += KN_CONV_KC) {
        __syncthreads(); /* the last turn's operands are done with */
        for (int i = t; i < IH * IW * 2; i += THREADS) {
            int at = i / 2, half = i % 2 * 8, y = y0 + at / IW - R, x = x0 + at % IW - R;
            bool inside = y >= 0 && y < c.h && x >= 0 && x < c.w;
            *(kn_vec<kn_bf16, 8> *)(xs + at * KN_CONV_STRIDE + half) =
                load8(src, ((int64_t)n * c.h + y) * c.w + x, kc + half, inside, wide);
        }
        for (int i = t; i < TAPS * BN * 2; i += THREADS) {
            int row = i / 2, half = i % 2 * 8, o = o0 + row % BN;
            kn_vec<kn_bf16, 8> w;
            for (int k = 0; k < 8; k++)
                w.v[k].bits = 0;
            if (o < oc_padded)
                w = *(const kn_vec<kn_bf16, 8> *)(packed +
                                                  kn_conv_packed_at(oc_padded, TAPS, o, kc,
                                                                    row / BN) +
                                                  half);
            *(kn_vec<kn_bf16, 8> *)(ws + row * KN_CONV_STRIDE + half) = w;
        }
        __syncthreads();
        /* a warp below the image has nothing to do, but for the barriers */
        for (int tap = 0; tap < TAPS && y0 + warp * ROWS < c.h; tap++) {
            int dy = R ? tap / 3 : 0, dx = R ? tap % 3 : 0, row, col;
            uint32_t a[ROWS][4];
            for (int m = 0; m < ROWS; m++)
                for (int r = 0; r < 4; r++) {
                    kn_mma_a_at(lane, r, &row, &col);
                    int at = (warp * ROWS + m + dy) * IW + row + dx;
                    a[m][r] = word(xs + at * KN_CONV_STRIDE + col);
                }
            KN_UNROLL
            for (int nt = 0; nt < NT; nt++) {
                uint32_t b[2];
                for (int r = 0; r < 2; r++) {
                    kn_mma_b_at(lane, r, &row, &col);
                    b[r] = word(ws + (tap * BN + nt * 8 + col) * KN_CONV_STRIDE + row);
                }
                for (int m = 0; m < ROWS; m++)
                    kn_mma_bf16(acc[m][nt], a[m], b);
            }
        }
    }
    KN_UNROLL
    for (int m = 0; m < ROWS; m++)
        KN_UNROLL
    for (int nt = 0; nt < NT; nt++)
        KN_UNROLL
    for (int r = 0; r < 4; r += 2) {
        int row, col;
        kn_mma_c_at(lane, r, &row, &col);
        int y = y0 + warp * ROWS + m, x = x0 + row, o = o0 + nt * 8 + col;
        if (y >= c.h || x >= c.w || o >= c.oc)
            continue;
        float v[2] = {acc[m][nt][r], acc[m][nt][r + 1]};
        for (int i = 0; i < 2; i++) {
            if (bias && o + i < c.oc)
                v[i] += bias[o + i];
            if (c.leaky && !(v[i] > 0))
                v[i] *= 0.01f;
        }
        store2(dst, (((int64_t)n * c.h + y) * c.w + x) * dst.ldc + o, v[0], v[1], o + 1 < c.oc,
               pair);
    }
    if (STATS)
        tile_stats<NT>(c, acc, tile_place{n, y0, x0, o0}, (float *)xs, partials);
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

/* Two bf16 of neighbouring pixels, which may lie at an odd place. */
__device__ static inline uint32_t two(const kn_bf16 *p)
{
    return (uint32_t)p[0].bits | (uint32_t)p[1].bits << 16;
}

/* Writes the 8 channels of load8 to 8 rows of `stride`. */
__device__ static inline void scatter8(kn_bf16 *to, int stride, const kn_vec<kn_bf16, 8> &v)
{
    for (int i = 0; i < 8; i++)
        to[i * stride] = v.v[i];
}

/* grid.x splits the tiles, grid.y = output tiles · input tiles. partials (grid.x, oc, ic, taps). */
template <int TAPS>
__global__ void __launch_bounds__(THREADS)
    mma_bwd_weights(kn_cu_conv c, kn_tensor src, kn_tensor ddst, float *partials, bool wide_src,
                    bool wide_ddst)
{
    enum {
        R = TAPS == 9,
        IH = KN_CONV_TH + 2 * R,
        IW = KN_CONV_TW + 2 * R,
        X_STRIDE = IH * IW + 4,
        N_ACC = TAPS * 2 * 4
    };
    KN_SHARED(kn_bf16, dys, WG_O * DY_STRIDE);
    KN_SHARED(kn_bf16, xs, WG_I * X_STRIDE);
    KN_SHARED(float, sums, N_ACC * 32);
    const kn_conv_tiles tiles = kn_conv_tiles_of(c.n, c.h, c.w);
    int t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
    int i_tiles = (c.ic + WG_I - 1) / WG_I;
    int o0 = (int)blockIdx.y / i_tiles * WG_O, i0 = (int)blockIdx.y % i_tiles * WG_I;
    float acc[TAPS][2][4] = {};
    for (int64_t tile = blockIdx.x; tile < tiles.tiles; tile += gridDim.x) {
        int n, y0, x0;
        kn_conv_tile_at(&tiles, tile, &n, &y0, &x0);
        __syncthreads(); /* the last tile is done with */
        for (int i = t; i < KN_CONV_TH * KN_CONV_TW * 2; i += THREADS) {
            int at = i / 2, half = i % 2 * 8, y = y0 + at / KN_CONV_TW, x = x0 + at % KN_CONV_TW;
            scatter8(dys + half * DY_STRIDE + at, DY_STRIDE,
                     load8(ddst, ((int64_t)n * c.h + y) * c.w + x, o0 + half, y < c.h && x < c.w,
                           wide_ddst));
        }
        for (int i = t; i < IH * IW * 2; i += THREADS) {
            int at = i / 2, half = i % 2 * 8, y = y0 + at / IW - R, x = x0 + at % IW - R;
            bool inside = y >= 0 && y < c.h && x >= 0 && x < c.w;
            scatter8(xs + half * X_STRIDE + at, X_STRIDE,
                     load8(src, ((int64_t)n * c.h + y) * c.w + x, i0 + half, inside, wide_src));
        }
        __syncthreads();
        for (int m = 0; m < ROWS && y0 + warp * ROWS + m < c.h; m++) {
            int ty = warp * ROWS + m, row, col;
            uint32_t a[4];
            for (int r = 0; r < 4; r++) {
                kn_mma_a_at(lane, r, &row, &col);
                a[r] = word(dys + row * DY_STRIDE + ty * KN_CONV_TW + col);
            }
            KN_UNROLL
            for (int tap = 0; tap < TAPS; tap++) {
                int at = (ty + (R ? tap / 3 : 0)) * IW + (R ? tap % 3 : 0);
                KN_UNROLL
                for (int nt = 0; nt < 2; nt++) {
                    uint32_t b[2];
                    for (int r = 0; r < 2; r++) {
                        kn_mma_b_at(lane, r, &row, &col);
                        b[r] = two(xs + (nt * 8 + col) * X_STRIDE + at + row);
                    }
                    kn_mma_bf16(acc[tap][nt], a, b);
                }
            }
        }
    }
    /* warps 1, 2, 3 hand their sums to warp 0, one after the other */
    for (int w = 1; w < THREADS / 32; w++) {
        __syncthreads();
        if (warp == w)
            KN_UNROLL
        for (int i = 0; i < N_ACC; i++)
            sums[i * 32 + lane] = acc[i / 8][i / 4 % 2][i % 4];
        __syncthreads();
        if (warp == 0)
            KN_UNROLL
        for (int i = 0; i < N_ACC; i++)
            acc[i / 8][i / 4 % 2][i % 4] += sums[i * 32 + lane];
    }
    if (warp != 0)
        return;
    KN_UNROLL
    for (int i = 0; i < N_ACC; i++) {
        int row, col;
        kn_mma_c_at(lane, i % 4, &row, &col);
        int o = o0 + row, ic = i0 + i / 4 % 2 * 8 + col;
        if (o < c.oc && ic < c.ic)
            partials[(((int64_t)blockIdx.x * c.oc + o) * c.ic + ic) * TAPS + i / 8] =
                acc[i / 8][i / 4 % 2][i % 4];
    }
}

/* ---- from C
 * -------------------------------------------------------------------------------------- */

static bool wide_of(const kn_tensor &t)
{
    return t.dtype == KN_BF16 && t.ldc % 8 == 0 && (uintptr_t)t.data % 16 == 0;
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

template <int TAPS, int NT, bool STATS>
static void start_fwd(kn_device *device, const kn_cu_conv &c, const kn_tensor &src,
                      const void *packed, const float *bias, const kn_tensor &dst, double *partials)
{
    int64_t tiles = kn_conv_tiles_of(c.n, c.h, c.w).tiles;
    bool wide = wide_of(src), pair = dst.ldc % 2 == 0 && (uintptr_t)dst.data % 8 == 0;
    KN_LAUNCH(device, (mma_fwd<TAPS, NT, STATS>), KN_GRID(tiles, kn_div_up(c.oc, NT * 8)), THREADS,
              c, src, (const kn_bf16 *)packed, bias, dst, wide, pair, partials);
}

template <int TAPS, bool STATS>
static void start_fwd_by_width(kn_device *device, const kn_cu_conv &c, const kn_tensor &src,
                               const void *packed, const float *bias, const kn_tensor &dst,
                               double *partials)
{
    if (c.oc <= 8)
        start_fwd<TAPS, 1, STATS>(device, c, src, packed, bias, dst, partials);
    else if (c.oc <= 16)
        start_fwd<TAPS, 2, STATS>(device, c, src, packed, bias, dst, partials);
    else if (c.oc <= 32)
        start_fwd<TAPS, 4, STATS>(device, c, src, packed, bias, dst, partials);
    else
        start_fwd<TAPS, 8, STATS>(device, c, src, packed, bias, dst, partials);
}

void kn_cu_mma_fwd(kn_device *device, kn_cu_conv c, kn_tensor src, const void *packed,
                   const float *bias, kn_tensor dst)
{
    if (c.k == 3)
        start_fwd_by_width<9, false>(device, c, src, packed, bias, dst, nullptr);
    else
        start_fwd_by_width<1, false>(device, c, src, packed, bias, dst, nullptr);
}

size_t kn_cu_mma_stats_bytes(kn_cu_conv c)
{
    return (size_t)kn_conv_tiles_of(c.n, c.h, c.w).tiles * (size_t)c.oc * 2 * sizeof(double);
}

void kn_cu_mma_fwd_stats(kn_device *device, kn_cu_conv c, kn_tensor src, const void *packed,
                         kn_tensor dst, kn_cu_norm norm, void *scratch)
{
    double *partials = (double *)scratch;
    start_fwd_by_width<9, true>(device, c, src, packed, nullptr, dst, partials);
    kn_cu_norm_stats_of_tiles(device, norm, (int64_t)c.n * c.h * c.w,
                              kn_conv_tiles_of(c.n, c.h, c.w).tiles, partials);
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

static int wgrad_tiles(const kn_cu_conv &c)
{
    return (int)(kn_div_up(c.oc, WG_O) * kn_div_up(c.ic, WG_I));
}

static int splits_of(const kn_cu_conv &c)
{
    int64_t bytes = (int64_t)c.oc * c.ic * c.k * c.k * (int64_t)sizeof(float);
    int64_t most = PARTIALS_BYTES / bytes, wanted = kn_div_up(BLOCKS_WANTED, wgrad_tiles(c));
    most = most < 1 ? 1 : most < wanted ? most : wanted;
    return kn_grid(kn_conv_tiles_of(c.n, c.h, c.w).tiles, 1, most);
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

void kn_cu_mma_bwd_weights(kn_device *device, kn_cu_conv c, kn_tensor src, kn_tensor ddst,
                           float *dweight, float *dbias, void *scratch)
{
    int splits = splits_of(c);
    int64_t n = (int64_t)c.oc * c.ic * c.k * c.k;
    float *partials = (float *)scratch;
    if (c.k == 3)
        KN_LAUNCH(device, (mma_bwd_weights<9>), KN_GRID(splits, wgrad_tiles(c)), THREADS, c, src,
                  ddst, partials, wide_of(src), wide_of(ddst));
    else
        KN_LAUNCH(device, (mma_bwd_weights<1>), KN_GRID(splits, wgrad_tiles(c)), THREADS, c, src,
                  ddst, partials, wide_of(src), wide_of(ddst));
    kn_cu_add_splits(device, dweight, n, splits, partials);
    if (dbias)
        kn_cu_bias_grad(device, ddst, dbias, (char *)scratch + weight_partials_bytes(c));
}
