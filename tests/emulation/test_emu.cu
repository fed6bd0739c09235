/* The emulation proves itself: a right kernel gives the right answer in every order, and each kind
 * of mistake is found: a missing barrier, a barrier that part of a block skips, an exchange in half
 * a warp, a read past the end of an array, host code that follows a device pointer, bytes that are
 * read before their fetch is waited for, or waited for by nobody. */
#include "kernels/cuda/lang.cuh"

#include <glib.h>
#include <math.h>
#include <stdlib.h>

extern "C" {
#include "kernels/cuda/device.h"
}

enum { N = 64 };

/* out[i] = in[N-1-i], through shared memory. */
__global__ void reverse(float *out, const float *in)
{
    KN_SHARED(float, s, N);
    s[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = s[N - 1 - threadIdx.x];
}

__global__ void reverse_without_barrier(float *out, const float *in)
{
    KN_SHARED(float, s, N);
    s[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = s[N - 1 - threadIdx.x];
}

__global__ void half_a_barrier(float *out)
{
    if (threadIdx.x < 7)
        __syncthreads();
    out[threadIdx.x] = 1;
}

__global__ void half_a_warp(float *out)
{
    if (threadIdx.x < 7)
        out[threadIdx.x] = kn_shuffle_down(1.0f, 1);
}

__global__ void too_far(float *out, const float *in)
{
    out[threadIdx.x] = in[threadIdx.x + 1];
}

__global__ void warp_sum(float *out, const float *in)
{
    float v = in[KN_THREAD];
    for (int by = 16; by > 0; by /= 2)
        v += kn_shuffle_down(v, by);
    if (threadIdx.x % 32 == 0)
        out[KN_THREAD / 32] = v;
}

/* out = in by fetches of 16 bytes, four numbers a thread, in two groups; `early` leaves out the
 * wait for the second, `never` all waits. */
__global__ void fetch(float *out, const float *in, bool early, bool never)
{
    KN_SHARED(float, s, 2 * N);
    int t = (int)threadIdx.x;
    if (t < N / 4) {
        kn_fetch16(s + 4 * t, in + 4 * t, t != 1); /* zeros for thread 1 */
        kn_fetch_end();
        kn_fetch16(s + N + 4 * t, in + 4 * t, true);
        kn_fetch_end();
    }
    if (early)
        kn_fetch_wait<1>();
    else if (!never)
        kn_fetch_wait<0>();
    __syncthreads();
    out[t] = s[t] + s[N + t];
    if (early)
        kn_fetch_wait<0>();
}

/* Where the four matrices' elements land: out (2, 32 lanes, 4 registers, 2) for both ways. */
__global__ void matrices(float *out)
{
    KN_SHARED(kn_bf16, s, 4 * 64);
    int lane = (int)threadIdx.x;
    for (int k = lane; k < 4 * 64; k += 32)
        kn_store(s + k, (float)k);
    __syncthreads();
    for (int way = 0; way < 2; way++) {
        uint32_t r[4];
        if (way)
            kn_ldmatrix_t(r, s + lane * 8);
        else
            kn_ldmatrix(r, s + lane * 8);
        for (int i = 0; i < 8; i++)
            out[(way * 32 + lane) * 8 + i] =
                kn_bf16_to_f32(kn_bf16{(uint16_t)(r[i / 2] >> (16 * (i % 2)))});
    }
}

struct bench {
    kn_device *device;
    float *in, *out; /* (N) on the device; in = 0, 1, 2 … */
    float got[N];
};

static void bench_init(bench *b)
{
    float values[N];
    void *p;
    b->device = kn_device_open(0, NULL);
    for (int i = 0; i < N; i++)
        values[i] = (float)i;
    kn_device_alloc(b->device, &p, sizeof values, "in", NULL);
    b->in = (float *)p;
    kn_device_alloc(b->device, &p, sizeof values, "out", NULL);
    b->out = (float *)p;
    kn_device_upload(b->device, b->in, values, sizeof values);
}

static void bench_clear(bench *b)
{
    kn_device_free(b->device, b->in);
    kn_device_free(b->device, b->out);
    kn_device_close(b->device);
}

static bool reversed(bench *b)
{
    bool right = true;
    kn_device_download(b->device, b->got, b->out, sizeof b->got);
    for (int i = 0; i < N; i++)
        right = right && b->got[i] == (float)(N - 1 - i);
    return right;
}

static void test_orders(void)
{
    for (int order = 0; order < 3; order++) {
        bench b;
        bench_init(&b);
        kn_emu_set_order(order, 3);
        KN_LAUNCH(b.device, reverse, 1, N, b.out, b.in);
        g_assert_true(reversed(&b));
        KN_LAUNCH(b.device, warp_sum, 1, N, b.out, b.in);
        kn_device_download(b.device, b.got, b.out, sizeof b.got);
        g_assert_cmpfloat(b.got[0], ==, 31 * 32 / 2);
        g_assert_cmpfloat(b.got[1], ==, 63 * 64 / 2 - 31 * 32 / 2);
        bench_clear(&b);
    }
    kn_emu_set_order(0, 0);
}

static void test_missing_barrier(void)
{
    for (int order = 0; order < 3; order++) {
        bench b;
        bench_init(&b);
        kn_emu_set_order(order, 3);
        KN_LAUNCH(b.device, reverse_without_barrier, 1, N, b.out, b.in);
        g_assert_false(reversed(&b));
        bench_clear(&b);
    }
    kn_emu_set_order(0, 0);
}

static void test_fetch(void)
{
    for (int order = 0; order < 3; order++) {
        bench b;
        bench_init(&b);
        kn_emu_set_order(order, 3);
        KN_LAUNCH(b.device, fetch, 1, N, b.out, b.in, false, false);
        kn_device_download(b.device, b.got, b.out, sizeof b.got);
        for (int i = 0; i < N; i++)
            g_assert_cmpfloat(b.got[i], ==, i / 4 == 1 ? i : 2 * i);
        KN_LAUNCH(b.device, fetch, 1, N, b.out, b.in, true, false);
        kn_device_download(b.device, b.got, b.out, sizeof b.got);
        g_assert_true(isnan(b.got[0])); /* the second group was not there yet */
        bench_clear(&b);
    }
    kn_emu_set_order(0, 0);
}

static void test_matrices(void)
{
    enum { BOTH = 2 * 32 * 8 };
    bench b;
    void *out;
    float got[BOTH];
    bench_init(&b);
    kn_device_alloc(b.device, &out, sizeof got, "out", NULL);
    KN_LAUNCH(b.device, matrices, 1, 32, (float *)out);
    kn_device_download(b.device, got, out, sizeof got);
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 8;
             i++) { /* PTX ISA, ldmatrix: row lane/4, columns lane%4·2 and the next */
            int row = lane / 4, column = lane % 4 * 2 + i % 2, at = i / 2 * 64;
            g_assert_cmpfloat(got[lane * 8 + i], ==, at + row * 8 + column);
            g_assert_cmpfloat(got[(32 + lane) * 8 + i], ==, at + column * 8 + row);
        }
    kn_device_free(b.device, out);
    bench_clear(&b);
}

/* Each of these must end the program. */
static void test_mistake(gconstpointer which)
{
    int k = GPOINTER_TO_INT(which);
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, (GTestSubprocessFlags)0);
        g_test_trap_assert_failed();
        if (k < 2 || k == 4)
            g_test_trap_assert_stderr("*CUDA emulation*");
        return;
    }
    bench b;
    bench_init(&b);
    if (k == 0)
        KN_LAUNCH(b.device, half_a_barrier, 1, N, b.out);
    else if (k == 1)
        KN_LAUNCH(b.device, half_a_warp, 1, N, b.out);
    else if (k == 2)
        KN_LAUNCH(b.device, too_far, 1, N, b.out, b.in);
    else if (k == 3)
        b.got[0] = b.in[0] + 1;
    else
        KN_LAUNCH(b.device, fetch, 1, N, b.out, b.in, false, true);
    kn_device_wait(b.device);
    exit(b.got[0] == 12345 ? 1 : 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/emulation/orders", test_orders);
    g_test_add_func("/emulation/missing-barrier", test_missing_barrier);
    g_test_add_func("/emulation/fetch", test_fetch);
    g_test_add_func("/emulation/matrices", test_matrices);
    static const char *const names[] = {"half-a-barrier", "half-a-warp", "past-the-end",
                                        "host-reads-device", "fetch-nobody-waits-for"};
    for (int i = 0; i < 5; i++) {
        g_autofree char *path = g_strconcat("/emulation/", names[i], NULL);
        g_test_add_data_func(path, GINT_TO_POINTER(i), test_mistake);
    }
    return g_test_run();
}
