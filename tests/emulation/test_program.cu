/* Programs and graphs (kernels/cuda/program.h) on the emulated device: a graph does what it was
 * last told and nothing newer, so a value that a program forgot to renew would be seen here; a
 * program gives the same numbers with graphs and without, whatever changes between two rounds. */
#include "kernels/cuda/lang.cuh"

#include <glib.h>
#include <string.h>

extern "C" {
#include "kernels/cuda/device.h"
}

enum { N = 64 };

__global__ void add(float *x, float by)
{
    x[threadIdx.x] += by;
}

__global__ void scale(float *x, const float *y, double by, int from)
{
    if ((int)threadIdx.x >= from)
        x[threadIdx.x] = (float)((double)y[threadIdx.x] * by);
}

struct rig {
    kn_device *device;
    kn_program *program;
    float *x, *y; /* (N) on the device */
    float got[N];
};

static void rig_init(rig *r)
{
    void *p;
    r->device = kn_device_open(0, NULL);
    r->program = kn_device_program(r->device);
    kn_device_alloc(r->device, &p, sizeof r->got, "x", NULL);
    r->x = (float *)p;
    kn_device_alloc(r->device, &p, sizeof r->got, "y", NULL);
    r->y = (float *)p;
}

static void rig_clear(rig *r)
{
    kn_device_free(r->device, r->x);
    kn_device_free(r->device, r->y);
    kn_device_close(r->device);
}

static float first_of(rig *r, const float *at)
{
    kn_device_download(r->device, r->got, at, sizeof r->got);
    return r->got[0];
}

/* The graph itself: arguments of its making, until it is told others. */
static void test_graph(void)
{
    rig r;
    rig_init(&r);
    float by = 1;
    void *args[] = {&r.x, &by};
    const size_t bytes[] = {sizeof r.x, sizeof by};
    kn_op op = {};
    op.kind = KN_OP_KERNEL;
    op.launch = {"add", (void *)add, kn_emu_thread_of<float *, float>, 1, 1, N, 2, args, bytes};
    kn_graph *graph = kn_graph_create(r.device, &op, 1);
    g_assert_cmpfloat(first_of(&r, r.x), ==, 0);
    kn_graph_launch(r.device, graph);
    g_assert_cmpfloat(first_of(&r, r.x), ==, 1);
    by = 10;
    kn_graph_launch(r.device, graph);
    g_assert_cmpfloat(first_of(&r, r.x), ==, 2);
    kn_graph_update(r.device, graph, 0, &op);
    kn_graph_launch(r.device, graph);
    g_assert_cmpfloat(first_of(&r, r.x), ==, 12);
    kn_graph_destroy(graph);
    rig_clear(&r);
}

/* One round: everything in it changes with i. Sources are gone, or different, right after. */
static void round_of(rig *r, int i)
{
    float values[N];
    for (int k = 0; k < N; k++)
        values[k] = (float)(i + k);
    kn_device_upload(r->device, r->y, values, sizeof values);
    memset(values, 0xff, sizeof values);
    KN_LAUNCH(r->device, scale, 1, N, r->x, r->y, 1.0 + i, i % 3);
    KN_LAUNCH(r->device, add, 1, N, i % 2 ? r->x : r->y, 0.5f * (float)i);
    kn_device_clear(r->device, (i % 2 ? r->y : r->x) + N / 2, sizeof(float));
    kn_device_copy(r->device, r->x + N - 1, r->y + i, sizeof(float));
}

static void test_rounds(void)
{
    enum { ROUNDS = 8 };
    float want[ROUNDS][2][N];
    for (int with = 0; with < 2; with++) {
        rig r;
        rig_init(&r);
        kn_emu_graphs before = kn_emu_graphs_now();
        for (int i = 0; i < ROUNDS; i++) {
            float got[2][N];
            if (with)
                kn_program_begin(r.program);
            round_of(&r, i);
            if (with && i % 2)
                kn_program_end(r.program);
            kn_device_download(r.device, got[0], r.x, sizeof got[0]);
            kn_device_download(r.device, got[1], r.y, sizeof got[1]);
            kn_program_end(r.program);
            if (with)
                g_assert_cmpmem(want[i], sizeof got, got, sizeof got);
            else
                memcpy(want[i], got, sizeof got);
            g_assert_true(i == 0 || memcmp(want[i], want[i - 1], sizeof got) != 0);
        }
        kn_emu_graphs now = kn_emu_graphs_now();
        g_assert_cmpint(now.launches - before.launches, ==, with ? ROUNDS - 1 : 0);
        if (with)
            g_assert_cmpint(now.updates - before.updates, >=, 3 * (ROUNDS - 2));
        rig_clear(&r);
    }
}

/* Another shape is another piece; small ones are none. */
static void test_shapes(void)
{
    rig r;
    rig_init(&r);
    kn_emu_graphs before = kn_emu_graphs_now();
    float want = 0;
    for (int i = 0; i < 6; i++) {
        kn_program_begin(r.program);
        for (int k = 0; k < 3 + i % 2; k++, want += 1)
            KN_LAUNCH(r.device, add, 1, N, r.x, 1.0f);
        kn_program_end(r.program);
        kn_program_begin(r.program);
        KN_LAUNCH(r.device, add, 1, N, r.x, 1.0f);
        kn_program_end(r.program);
        want += 1;
        g_assert_cmpfloat(first_of(&r, r.x), ==, want);
    }
    g_assert_cmpint(kn_emu_graphs_now().launches - before.launches, ==, 4);
    rig_clear(&r);
}

/* What a graph may name is freed: the piece is seen anew, and a graph again when it comes back. */
static void test_freed(void)
{
    rig r;
    rig_init(&r);
    kn_emu_graphs before = kn_emu_graphs_now();
    void *other, *pinned;
    kn_device_alloc(r.device, &other, 64, "other", NULL);
    kn_device_host_alloc(r.device, &pinned, 64, "pinned", NULL);
    static const int launches[] = {0, 1, 2, 2, 3, 4, 4, 5}; /* after each round */
    for (int i = 0; i < 8; i++) {
        if (i == 3)
            kn_device_free(r.device, other);
        if (i == 6)
            kn_device_host_free(r.device, pinned);
        kn_program_begin(r.program);
        for (int k = 0; k < 3; k++)
            KN_LAUNCH(r.device, add, 1, N, r.x, 1.0f);
        kn_program_end(r.program);
        g_assert_cmpfloat(first_of(&r, r.x), ==, 3 * (i + 1));
        g_assert_cmpint(kn_emu_graphs_now().launches - before.launches, ==, launches[i]);
    }
    rig_clear(&r);
}

/* Nothing is done before it must be, and a wait does it. */
static void test_kept(void)
{
    rig r;
    rig_init(&r);
    kn_program_begin(r.program);
    kn_device_timer_start(r.device);
    KN_LAUNCH(r.device, add, 1, N, r.x, 1.0f);
    KN_LAUNCH(r.device, add, 1, N, r.x, 2.0f);
    g_assert_cmpfloat(kn_device_timer_stop(r.device), ==, 2);
    g_assert_cmpfloat(first_of(&r, r.x), ==, 3);
    kn_program_end(r.program);
    rig_clear(&r);
}

struct note {
    const float *from;
    float seen;
};

static void write_down(void *user)
{
    note *n = (note *)user;
    n->seen = n->from[0];
}

/* Numbers that nobody waits for: old until the mark is awaited, then those of their time; the
 * host's turn comes between what was before and what is after; programs overtake nothing. */
static void test_fetch(void)
{
    rig r;
    void *p = NULL;
    rig_init(&r);
    kn_device_host_alloc(r.device, &p, 2 * sizeof(float), "numbers", NULL);
    float *pinned = (float *)p;
    note notes[2] = {{&pinned[0], -1}, {&pinned[1], -1}};
    uint64_t marks[2] = {0, 0};
    for (int i = 0; i < 8; i++) {
        int k = i % 2;
        kn_device_await(r.device, marks[k]);
        if (i > 1) {
            g_assert_cmpfloat(pinned[k], ==, (float)i - 1);
            g_assert_cmpfloat(notes[k].seen, ==, (float)i - 1);
        }
        notes[k].seen = -1;
        kn_program_begin(r.program);
        KN_LAUNCH(r.device, add, 1, N, r.x, 1.0f);
        kn_device_fetch(r.device, &pinned[k], r.x, sizeof(float));
        kn_device_host(r.device, write_down, &notes[k]);
        kn_program_end(r.program);
        marks[k] = kn_device_mark(r.device);
        g_assert_cmpfloat(pinned[k], ==, i > 1 ? (float)i - 1 : 0);
        g_assert_cmpfloat(notes[k].seen, ==, -1);
    }
    kn_device_wait(r.device);
    g_assert_cmpfloat(notes[1].seen, ==, 8);
    g_assert_cmpint(kn_emu_graphs_now().launches, >, 0);
    kn_device_host_free(r.device, p);
    rig_clear(&r);
}

/* Uploads of more than the program's room, from memory that changes, and from pinned memory. */
static void test_uploads(void)
{
    enum { BIG = 6 << 20, TIMES = 9 };
    rig r;
    rig_init(&r);
    void *at = NULL, *pinned = NULL;
    g_autofree uint8_t *values = (uint8_t *)g_malloc(2 * BIG), *got = (uint8_t *)g_malloc(2 * BIG);
    kn_device_alloc(r.device, &at, 2 * BIG, "much", NULL);
    kn_device_host_alloc(r.device, &pinned, 256, "pinned", NULL);
    kn_program_begin(r.program);
    for (int i = 0; i < TIMES; i++) {
        memset(values, i + 1, BIG);
        kn_device_upload(r.device, (uint8_t *)at + (i % 2) * BIG, values, BIG);
    }
    memset(values, 0, BIG);
    kn_device_download(r.device, got, at, 2 * BIG);
    g_assert_cmpint(got[0], ==, TIMES);
    g_assert_cmpint(got[BIG - 1], ==, TIMES);
    g_assert_cmpint(got[BIG], ==, TIMES - 1);
    memset(values, 77, 2 * BIG); /* too large to be kept: in its place all the same */
    kn_device_clear(r.device, at, 2 * BIG);
    kn_device_upload(r.device, at, values, 2 * BIG);
    kn_device_download(r.device, got, at, 2 * BIG);
    g_assert_cmpint(got[2 * BIG - 1], ==, 77);
    memset(pinned, 5, 256);
    kn_device_upload(r.device, at, pinned, 256);
    kn_device_download(r.device, got, at, 256);
    g_assert_cmpint(got[255], ==, 5);
    kn_program_end(r.program);
    kn_device_host_free(r.device, pinned);
    kn_device_free(r.device, at);
    rig_clear(&r);
}

static int calls;

static void call(kn_device *device, const void *data)
{
    calls += *(const int *)data;
    kn_device_launched(device, "call");
}

/* What a library does is in its place, and another argument is another shape. */
static void test_calls(void)
{
    rig r;
    rig_init(&r);
    calls = 0;
    for (int i = 0; i < 6; i++) {
        int by = i < 3 ? 1 : 10;
        kn_program_begin(r.program);
        KN_LAUNCH(r.device, add, 1, N, r.x, 1.0f);
        kn_device_call(r.device, call, &by, sizeof by);
        by = 1000;
        KN_LAUNCH(r.device, add, 1, N, r.x, 1.0f);
        kn_program_end(r.program);
    }
    g_assert_cmpint(calls, ==, 33);
    g_assert_cmpfloat(first_of(&r, r.x), ==, 12);
    rig_clear(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/program/fetch", test_fetch);
    g_test_add_func("/program/graph", test_graph);
    g_test_add_func("/program/rounds", test_rounds);
    g_test_add_func("/program/shapes", test_shapes);
    g_test_add_func("/program/freed", test_freed);
    g_test_add_func("/program/kept", test_kept);
    g_test_add_func("/program/uploads", test_uploads);
    g_test_add_func("/program/calls", test_calls);
    return g_test_run();
}
