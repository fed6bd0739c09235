/* Weight gradients of convolutions on the tensor cores: mma.sync m16n8k16, bf16 operands, f32 sums.
 *
 * M is output channels, N input channels, K the pixels: a block walks over tiles, the next ones
 * being fetched, its warps share 16 × WI weights and the tile's rows, keep all taps' sums in
 * registers, and write one partial a block, which sums.cu adds in order. A row of the source is
 * read once for the three taps that meet it. Padding with zeros makes any number of channels whole.
 */
#include "kernels/cuda/mma.cuh"

enum {
    WG_O = 16, /* output channels of a patch of weights */
    PARTIALS_BYTES = 64 << 20,
};

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
