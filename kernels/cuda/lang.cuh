/* What every .cu file is written in: the subset of CUDA that nvcc compiles for a GPU and that a C++
 * compiler with -DKN_EMULATE compiles for the emulation of emu.hh. A kernel in this subset
 *   - is one-dimensional in its block (threadIdx.x) and one- or two-dimensional in its grid;
 *   - takes its shared memory from KN_SHARED at its top, meets at __syncthreads() with its whole
 *     block, and speaks within a warp through kn_shuffle_down, kn_sync_warp, kn_ldmatrix… and
 *     kn_mma_bf16 with the whole warp;
 *   - may have 16 bytes brought to shared memory beside its work: kn_fetch16 … kn_fetch_end, and a
 *     kn_fetch_wait and a barrier before anyone reads them;
 *   - uses no atomics, so its result has one order of additions and one only;
 *   - is started by KN_LAUNCH from a plain C function that launch.h declares.
 *
 * Shared memory is poisoned before each block under emulation, and threads and blocks run in
 * several orders, so a missing barrier or an index off by one gives a wrong or different answer. */
#ifndef QS_KERNELS_CUDA_LANG_H
#define QS_KERNELS_CUDA_LANG_H

#include "kernels/engine/bf16.h"
#include "kernels/cuda/index.h"
#include "kernels/cuda/launch.h"

#include <math.h>

#ifdef KN_EMULATE
#include KN_EMULATE

#define KN_UNROLL
#define KN_UNROLL_BY(n)
#define KN_NO_UNROLL
#else
#include <cuda_runtime.h>

#define KN_UNROLL _Pragma("unroll")
#define KN_PRAGMA(x) _Pragma(#x)
#define KN_UNROLL_BY(n) KN_PRAGMA(unroll(n))
#define KN_NO_UNROLL _Pragma("unroll 1") /* or addresses of every turn would fill the registers */

#define KN_SHARED(type, name, n) __shared__ __align__(16) type name[n]

template <class T> __device__ static inline T kn_shuffle_down(T value, int by)
{
    return __shfl_down_sync(0xffffffffu, value, (unsigned)by);
}

__device__ static inline void kn_sync_warp()
{
    __syncwarp();
}

/* Four 8×8 matrices of bf16 from shared memory; lane l gives the address of row l%8 of matrix l/8,
 * 16 bytes. r[i] of a lane: of matrix i row lane/4, columns lane%4·2 and the next; kn_ldmatrix_t:
 * of the transposed matrix. */
#define KN_LDMATRIX(name, trans)                                                                   \
    __device__ static inline void name(uint32_t r[4], const kn_bf16 *row)                          \
    {                                                                                              \
        uint32_t at = (uint32_t)__cvta_generic_to_shared(row);                                     \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" trans ".shared.b16 {%0,%1,%2,%3}, [%4];"      \
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                              \
                     : "r"(at)                                                                     \
                     : "memory");                                                                  \
    }
KN_LDMATRIX(kn_ldmatrix, "")
KN_LDMATRIX(kn_ldmatrix_t, ".trans")
#undef KN_LDMATRIX

/* 16 bytes on their way to shared memory, both addresses aligned; zeros unless `there`. */
__device__ static inline void kn_fetch16(void *to, const void *from, bool there)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes)
                 : "memory");
}
/* All that this thread has sent since the last end is a group, be it empty. */
__device__ static inline void kn_fetch_end()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* This thread's groups have arrived but for the last N. */
template <int N> __device__ static inline void kn_fetch_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* d (16×8 f32) += a (16×16 bf16, rows) · b (16×8 bf16, columns), spread over the warp's lanes as
 * PTX says for mma.sync.m16n8k16: emu.cc spells the layout out. */
__device__ static inline void kn_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

struct kn_grid_size {
    unsigned x, y;
    kn_grid_size(long long gx, long long gy = 1) : x((unsigned)gx), y((unsigned)gy) {}
};
#define KN_GRID(x, y) kn_grid_size((long long)(x), (long long)(y))

template <class T> struct kn_just {
    typedef T type;
};

/* Arguments as the kernel's parameters are, so that they can be kept as bytes: a program
 * (program.h) puts the launch on the stream later, or in a graph. */
template <class... P>
static void kn_launch_kernel(kn_device *device, const char *name, void (*kernel)(P...),
                             kn_grid_size grid, unsigned block, typename kn_just<P>::type... values)
{
    static const size_t bytes[] = {sizeof(P)...};
    void *args[] = {(void *)&values...};
    kn_launch launch = {name,  (void *)kernel,    nullptr, grid.x, grid.y,
                        block, (int)sizeof...(P), args,    bytes};
#ifdef KN_EMULATE
    launch.thread = kn_emu_thread_of<P...>;
#endif
    kn_device_launch(device, &launch);
}

/* kernel: a name, in parentheses when it has template arguments. grid: KN_GRID(x,y) or a number. */
#define KN_LAUNCH(device, kernel, grid, block, ...)                                                \
    kn_launch_kernel(device, #kernel, kernel, grid, (unsigned)(block), __VA_ARGS__)

/* V elements that are moved by one instruction: address and count divide by V. */
template <class T, int V> struct alignas(sizeof(T) * V) kn_vec {
    T v[V];
};

__device__ static inline float kn_load(const float *p)
{
    return *p;
}
__device__ static inline float kn_load(const kn_bf16 *p)
{
    return kn_bf16_to_f32(*p);
}
__device__ static inline void kn_store(float *p, float x)
{
    *p = x;
}
__device__ static inline void kn_store(kn_bf16 *p, float x)
{
    *p = kn_bf16_from_f32(x);
}

/* Element i of a tensor of either type. */
__device__ static inline float kn_load_any(const kn_tensor &t, int64_t i)
{
    return t.dtype == KN_BF16 ? kn_load((const kn_bf16 *)t.data + i)
                              : kn_load((const float *)t.data + i);
}
__device__ static inline void kn_store_any(const kn_tensor &t, int64_t i, float x)
{
    if (t.dtype == KN_BF16)
        kn_store((kn_bf16 *)t.data + i, x);
    else
        kn_store((float *)t.data + i, x);
}

/* V elements as they lie in memory, in as few registers. */
template <class T, int V> struct kn_raw : kn_vec<T, V> {
};
template <> struct alignas(16) kn_raw<kn_bf16, 8> {
    uint32_t two[4];
};

template <class T, int V>
__device__ static inline void kn_widen(const kn_raw<T, V> &x, float out[V])
{
    KN_UNROLL
    for (int i = 0; i < V; i++)
        out[i] = kn_load(&x.v[i]);
}
__device__ static inline void kn_widen(const kn_raw<kn_bf16, 8> &x, float out[8])
{
    KN_UNROLL
    for (int i = 0; i < 8; i++)
        out[i] = kn_bf16_to_f32(kn_bf16{(uint16_t)(x.two[i / 2] >> (16 * (i % 2)))});
}

/* Two bf16 in one word, as kn_bf16_from_f32 rounds them. */
__device__ static inline uint32_t kn_two_bf16(float low, float high)
{
#if defined(__CUDA_ARCH__)
    uint32_t two;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(high), "f"(low));
    return two;
#else
    return (uint32_t)kn_bf16_from_f32(low).bits | (uint32_t)kn_bf16_from_f32(high).bits << 16;
#endif
}

template <class T, int V>
__device__ static inline void kn_narrow(const float in[V], kn_raw<T, V> *x)
{
    KN_UNROLL
    for (int i = 0; i < V; i++)
        kn_store(&x->v[i], in[i]);
}
__device__ static inline void kn_narrow(const float in[8], kn_raw<kn_bf16, 8> *x)
{
    KN_UNROLL
    for (int i = 0; i < 4; i++)
        x->two[i] = kn_two_bf16(in[2 * i], in[2 * i + 1]);
}

template <class T, int V> __device__ static inline void kn_load_v(const T *p, float out[V])
{
    kn_widen(*(const kn_raw<T, V> *)p, out);
}
template <class T, int V> __device__ static inline void kn_store_v(T *p, const float in[V])
{
    kn_raw<T, V> x;
    kn_narrow(in, &x);
    *(kn_raw<T, V> *)p = x;
}

/* Elements that 16 bytes hold, and whether so many of every pixel can be moved as one. */
static inline int kn_vec_of(const kn_tensor &t)
{
    return t.dtype == KN_BF16 ? 8 : 4;
}
static inline bool kn_moves_by(const kn_tensor &t, int v)
{
    return t.c % v == 0 && t.ldc % v == 0 && (uintptr_t)t.data % 16 == 0;
}
static inline bool kn_is_wide(const kn_tensor &t)
{
    return kn_moves_by(t, kn_vec_of(t));
}

/* Runs body with T and V: f32 or bf16; 16 bytes, where `wide`, or one element at a time. */
#define KN_BY_TYPE(type, wide, body)                                                               \
    do {                                                                                           \
        if ((type) == KN_BF16 && (wide)) {                                                         \
            typedef kn_bf16 T;                                                                     \
            enum { V = 8 };                                                                        \
            body;                                                                                  \
        } else if ((type) == KN_BF16) {                                                            \
            typedef kn_bf16 T;                                                                     \
            enum { V = 1 };                                                                        \
            body;                                                                                  \
        } else if (wide) {                                                                         \
            typedef float T;                                                                       \
            enum { V = 4 };                                                                        \
            body;                                                                                  \
        } else {                                                                                   \
            typedef float T;                                                                       \
            enum { V = 1 };                                                                        \
            body;                                                                                  \
        }                                                                                          \
    } while (0)

/* This thread's number in the grid's first dimension, and how many there are. */
#define KN_THREAD ((int64_t)blockIdx.x * blockDim.x + threadIdx.x)
#define KN_THREADS ((int64_t)gridDim.x * blockDim.x)

#endif
