/* What the convolutions on the tensor cores share: tiles of 8 × 16 pixels brought to shared memory,
 * and what grids and registers are planned for. Four warps a block. */
#ifndef QS_KERNELS_CUDA_MMA_H
#define QS_KERNELS_CUDA_MMA_H

#include "kernels/cuda/lang.cuh"

enum {
    THREADS = 128,
    WARPS = THREADS / 32,
#ifdef KN_EMULATE
    MULTIPROCESSORS = 2, /* so that a block of a small test has several tiles */
#else
    MULTIPROCESSORS = 132, /* that grids are made for: one number, one order of sums everywhere */
#endif
};

/* Registers are planned for sm_90; elsewhere ptxas needs some more, so a block fewer has room on a
 * multiprocessor. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ != 900
#define FEWER 1
#else
#define FEWER 0
#endif

/* Can eights of a pixel's channels be moved as one? */
static inline bool wide_of(const kn_tensor &t)
{
    return t.dtype == KN_BF16 && kn_is_wide(t);
}

/* Eight channels c0 … c0+7 of one pixel as bf16, one by one; zeros past the tensor's channels. */
__device__ static inline kn_vec<kn_bf16, 8> load8(const kn_tensor &t, int64_t pixel, int c0,
                                                  bool inside)
{
    kn_vec<kn_bf16, 8> out;
    for (int i = 0; i < 8; i++)
        out.v[i].bits = 0;
    for (int i = 0; i < 8 && inside; i++)
        if (c0 + i < t.c)
            out.v[i] = t.dtype == KN_BF16
                           ? ((const kn_bf16 *)t.data)[pixel * t.ldc + c0 + i]
                           : kn_bf16_from_f32(((const float *)t.data)[pixel * t.ldc + c0 + i]);
    return out;
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
            *(kn_vec<kn_bf16, 8> *)place = load8(t, corner + offset, c0 + c * 8, inside);
        row += DOWN;
        column += RIGHT;
        if (column >= W) {
            column -= W;
            row++;
        }
    }
}

#endif
