/* CUDA's words on the CPU, for the tests: a grid runs block by block on one thread; the threads of
 * a block are fibers that give way at barriers and warp exchanges only, so whatever a kernel gets
 * wrong is wrong every time. kn_emu_set_order says in which order blocks and threads run.
 *
 * What stops a test with a message: a barrier that part of a block never reaches, two different
 * barriers met at once, a warp exchange without the whole warp, too much shared memory, a block or
 * grid that no GPU takes. Shared memory is filled with NaN before each block. C++17. */
#ifndef QS_KERNELS_CUDA_EMU_H
#define QS_KERNELS_CUDA_EMU_H

#include "kernels/cuda/launch.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <utility>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct kn_emu_index {
    unsigned x, y, z;
};
struct kn_emu_warp;
struct kn_emu_thread {
    kn_emu_index thread, block, block_dim, grid_dim;
    kn_emu_warp *warp;
    int lane;
    unsigned phase;     /* warp exchanges done */
    size_t shared_used; /* what its KN_SHARED lines took */
    int line;           /* of the barrier it waits at */
    unsigned barriers;  /* passed */
    int state;          /* emu.cc's */
};
/* The thread that runs now. */
extern kn_emu_thread *kn_emu_now;

#define threadIdx (kn_emu_now->thread)
#define blockIdx (kn_emu_now->block)
#define blockDim (kn_emu_now->block_dim)
#define gridDim (kn_emu_now->grid_dim)

void kn_emu_barrier(int line);
#define __syncthreads() kn_emu_barrier(__LINE__)

/* Every thread names the same arrays in the same order at its kernel's top: the same addresses. */
void *kn_emu_shared(size_t bytes);
#define KN_SHARED(type, name, n) type *const name = (type *)kn_emu_shared(sizeof(type) * (n))

/* Gives `mine` to the warp and returns everyone's, 32 slots of `bytes`, when all have given. */
enum { KN_EMU_SLOT = 64 };
const unsigned char *kn_emu_exchange(const void *mine, size_t bytes);

template <class T> static inline T kn_shuffle_down(T value, int by)
{
    const unsigned char *all = kn_emu_exchange(&value, sizeof value);
    int from = kn_emu_now->lane + by;
    T out = value;
    if (from < 32)
        memcpy(&out, all + (size_t)from * KN_EMU_SLOT, sizeof out);
    return out;
}

static inline void kn_sync_warp()
{
    kn_emu_exchange("", 1);
}

void kn_emu_ldmatrix(uint32_t r[4], const void *row, bool transposed);
#define kn_ldmatrix(r, row) kn_emu_ldmatrix(r, row, false)
#define kn_ldmatrix_t(r, row) kn_emu_ldmatrix(r, row, true)

/* Arrive when they are waited for, not before. */
void kn_fetch16(void *to, const void *from, bool there);
void kn_fetch_end();
void kn_emu_fetch_wait(unsigned pending);
template <int N> static inline void kn_fetch_wait()
{
    kn_emu_fetch_wait(N);
}

void kn_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]);

/* One thread of a kernel with parameters P. */
template <class... P, size_t... I>
static void kn_emu_call(void (*kernel)(P...), void *const *args, std::index_sequence<I...>)
{
    kernel(*(const P *)args[I]...);
}
template <class... P> static void kn_emu_thread_of(const void *kernel, void *const *args)
{
    kn_emu_call((void (*)(P...))kernel, args, std::index_sequence_for<P...>{});
}

#endif
