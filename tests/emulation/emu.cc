/* The emulation behind emu.hh.
 *
 * A block's threads are fibers. One fiber runs until it must wait (or ends), then the next one, in
 * the chosen order; rounds go on until all have ended. A round in which nobody could move is a
 * deadlock, which on a GPU would be a hang or worse, and stops the program. Fibers begin on their
 * own stack with makecontext and change by _setjmp/_longjmp, which make no system call. */
#undef _FORTIFY_SOURCE /* its longjmp refuses other stacks */
#include "tests/emulation/emu.hh"

#include "kernels/cuda/index.h"
#include "kernels/engine/bf16.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define BEFORE_SWITCH(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define AFTER_SWITCH(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define BEFORE_SWITCH(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define AFTER_SWITCH(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#endif

enum { STACK_BYTES = 256 << 10, SHARED_BYTES = 48 << 10, THREADS_MAX = 1024 };
enum { NEW, READY, AT_BARRIER, IN_EXCHANGE, ENDED };

struct kn_emu_warp {
    int lanes, arrived;
    unsigned done; /* exchanges completed */
    unsigned char slot[2][32 * KN_EMU_SLOT];
};

struct fiber {
    char *stack;
    jmp_buf at;
    kn_emu_thread *thread; /* that it runs */
    bool begun;
};

kn_emu_thread *kn_emu_now;

static int order_mode;
static unsigned order_seed;
alignas(64) static unsigned char shared_memory[SHARED_BYTES];
static std::vector<fiber> fibers;
static std::vector<int> free_fibers, fiber_of; /* fiber_of[thread], -1 none */
static std::vector<kn_emu_thread> threads;
static std::vector<kn_emu_warp> warps;
static std::vector<int> thread_order;
struct fetch {
    void *to;
    const void *from; /* NULL: zeros */
    unsigned group;
};
struct fetching {
    std::vector<fetch> under_way;
    unsigned groups; /* ended */
};
static std::vector<fetching> fetches; /* of each thread */
static jmp_buf scheduler_at;
static ucontext_t scheduler_context;
static fiber *current;
static const kn_launch *kernel; /* that runs */
static void *scheduler_fake;
static const void *scheduler_bottom;
static size_t scheduler_size;

[[noreturn]] static void die(const char *what, long long a, long long b)
{
    fprintf(stderr, "CUDA emulation: %s: %s (%lld, %lld), block %u,%u\n", kernel->name, what, a, b,
            kn_emu_now ? kn_emu_now->block.x : 0, kn_emu_now ? kn_emu_now->block.y : 0);
    abort();
}

extern "C" void kn_emu_set_order(int mode, unsigned seed)
{
    order_mode = mode;
    order_seed = seed;
}

/* ---- fibers
 * -------------------------------------------------------------------------------------- */

static void give_way()
{
    void *fake = nullptr;
    fiber *self = current;
    if (_setjmp(self->at) == 0) {
        BEFORE_SWITCH(&fake, scheduler_bottom, scheduler_size);
        _longjmp(scheduler_at, 1);
    }
    AFTER_SWITCH(fake, &scheduler_bottom, &scheduler_size);
}

static void fiber_main()
{
    AFTER_SWITCH(nullptr, &scheduler_bottom, &scheduler_size);
    for (;;) {
        kernel->thread(kernel->kernel, kernel->args);
        if (!fetches[kn_emu_now->thread.x].under_way.empty())
            die("a thread ends before what it fetches has come", kn_emu_now->thread.x, 0);
        kn_emu_now->state = ENDED;
        give_way();
    }
}

static void run_fiber(fiber *f)
{
    current = f;
    kn_emu_now = f->thread;
    if (_setjmp(scheduler_at) == 0) {
        BEFORE_SWITCH(&scheduler_fake, f->stack, STACK_BYTES);
        if (f->begun)
            _longjmp(f->at, 1);
        f->begun = true;
        ucontext_t context;
        getcontext(&context);
        context.uc_stack.ss_sp = f->stack;
        context.uc_stack.ss_size = STACK_BYTES;
        context.uc_link = nullptr;
        makecontext(&context, fiber_main, 0);
        swapcontext(&scheduler_context, &context);
    }
    AFTER_SWITCH(scheduler_fake, nullptr, nullptr);
}

static int take_fiber()
{
    if (free_fibers.empty()) {
        fiber f{};
        f.stack = (char *)mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (f.stack == MAP_FAILED)
            die("no memory for stacks", (long long)fibers.size(), 0);
        fibers.push_back(f);
        return (int)fibers.size() - 1;
    }
    int i = free_fibers.back();
    free_fibers.pop_back();
    return i;
}

/* ---- what kernels call
 * ----------------------------------------------------------------------------- */

void kn_emu_barrier(int line)
{
    kn_emu_now->line = line;
    kn_emu_now->state = AT_BARRIER;
    give_way();
}

void *kn_emu_shared(size_t bytes)
{
    size_t at = kn_emu_now->shared_used;
    kn_emu_now->shared_used += (bytes + 63) / 64 * 64;
    if (kn_emu_now->shared_used > SHARED_BYTES)
        die("more than 48 KiB of shared memory", (long long)kn_emu_now->shared_used, 0);
    return shared_memory + at;
}

/* Puts `mine` into the warp's slots; the last lane to come runs `all_here` on them, if there is
 * one, before the others go on. */
static unsigned char *exchange(const void *mine, size_t bytes, void (*all_here)(unsigned char *))
{
    kn_emu_warp *w = kn_emu_now->warp;
    if (bytes > KN_EMU_SLOT || w->lanes != 32)
        die("an exchange in a warp that is not whole", (long long)bytes, w->lanes);
    unsigned char *slots = w->slot[kn_emu_now->phase & 1];
    memcpy(slots + (size_t)kn_emu_now->lane * KN_EMU_SLOT, mine, bytes);
    kn_emu_now->phase++;
    if (++w->arrived == w->lanes) {
        if (all_here)
            all_here(slots);
        w->arrived = 0;
        w->done++;
    } else {
        kn_emu_now->state = IN_EXCHANGE;
        while (w->done != kn_emu_now->phase)
            give_way();
    }
    return slots;
}

const unsigned char *kn_emu_exchange(const void *mine, size_t bytes)
{
    return exchange(mine, bytes, nullptr);
}

void kn_fetch16(void *to, const void *from, bool there)
{
    if ((uintptr_t)to % 16 || (there && (uintptr_t)from % 16))
        die("a fetch of 16 bytes from or to an address that is not aligned", 0, 0);
    fetching &f = fetches[kn_emu_now->thread.x];
    f.under_way.push_back(fetch{to, there ? from : nullptr, f.groups});
}

void kn_fetch_end()
{
    fetches[kn_emu_now->thread.x].groups++;
}

void kn_emu_fetch_wait(unsigned pending)
{
    fetching &all = fetches[kn_emu_now->thread.x];
    std::vector<fetch> left;
    for (const fetch &f : all.under_way)
        if (f.group + pending >= all.groups)
            left.push_back(f);
        else if (f.from)
            memcpy(f.to, f.from, 16);
        else
            memset(f.to, 0, 16);
    all.under_way.swap(left);
}

/* A slot: the lane's row, then its four words; what the rows hold now, whoever reads it later. */
enum { WORDS_AT = 16 };

static void read_matrices(unsigned char *slots, bool transposed)
{
    uint16_t m[4][8][8];
    for (int lane = 0; lane < 32; lane++) {
        const void *row;
        memcpy(&row, slots + (size_t)lane * KN_EMU_SLOT, sizeof row);
        if ((uintptr_t)row % 16)
            die("ldmatrix of an address that is not aligned", lane, 0);
        memcpy(m[lane / 8][lane % 8], row, 16);
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            int at = lane / 4, two = lane % 4 * 2;
            uint32_t low = transposed ? m[i][two][at] : m[i][at][two];
            uint32_t high = transposed ? m[i][two + 1][at] : m[i][at][two + 1],
                     word = low | high << 16;
            memcpy(slots + (size_t)lane * KN_EMU_SLOT + WORDS_AT + 4 * i, &word, 4);
        }
}

static void read_straight(unsigned char *slots)
{
    read_matrices(slots, false);
}
static void read_transposed(unsigned char *slots)
{
    read_matrices(slots, true);
}

void kn_emu_ldmatrix(uint32_t r[4], const void *row, bool transposed)
{
    const unsigned char *all =
        exchange(&row, sizeof row, transposed ? read_transposed : read_straight);
    memcpy(r, all + (size_t)kn_emu_now->lane * KN_EMU_SLOT + WORDS_AT, 16);
}

/* A slot: 4 + 2 words of the lane's a and b, then its 4 products as f32. */
enum { RESULT_AT = 6 * 4 };

static void multiply(unsigned char *slots)
{
    float am[16][16], bm[16][8], cm[16][8] = {};
    int row, col;
    for (int lane = 0; lane < 32; lane++) {
        uint32_t of[6];
        memcpy(of, slots + (size_t)lane * KN_EMU_SLOT, sizeof of);
        for (int r = 0; r < 4; r++) {
            kn_mma_a_at(lane, r, &row, &col);
            am[row][col] = kn_bf16_to_f32(kn_bf16{(uint16_t)of[r]});
            am[row][col + 1] = kn_bf16_to_f32(kn_bf16{(uint16_t)(of[r] >> 16)});
        }
        for (int r = 0; r < 2; r++) {
            kn_mma_b_at(lane, r, &row, &col);
            bm[row][col] = kn_bf16_to_f32(kn_bf16{(uint16_t)of[4 + r]});
            bm[row + 1][col] = kn_bf16_to_f32(kn_bf16{(uint16_t)(of[4 + r] >> 16)});
        }
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++)
                cm[i][j] += am[i][k] * bm[k][j];
    for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < 4; r++) {
            kn_mma_c_at(lane, r, &row, &col);
            memcpy(slots + (size_t)lane * KN_EMU_SLOT + RESULT_AT + 4 * (size_t)r, &cm[row][col],
                   4);
        }
}

void kn_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    float of[4];
    const unsigned char *all = exchange(mine, sizeof mine, multiply);
    memcpy(of, all + (size_t)kn_emu_now->lane * KN_EMU_SLOT + RESULT_AT, sizeof of);
    for (int r = 0; r < 4; r++)
        d[r] += of[r];
}

/* ---- blocks and grids
 * ------------------------------------------------------------------------------ */

static unsigned next_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* 0 … n-1 forward, backward or shuffled. */
static void make_order(std::vector<int> *order, int n, unsigned salt)
{
    order->resize((size_t)n);
    for (int i = 0; i < n; i++)
        (*order)[(size_t)i] = order_mode == 1 ? n - 1 - i : i;
    unsigned state = order_seed * 2654435761u + salt;
    for (int i = n - 1; i > 0 && order_mode == 2; i--)
        std::swap((*order)[(size_t)i], (*order)[next_random(&state) % (unsigned)(i + 1)]);
}

/* All at the same barrier: on. Returns whether anyone may move. */
static bool release_barrier()
{
    int waiting = 0, line = 0;
    for (kn_emu_thread &t : threads) {
        if (t.state != AT_BARRIER)
            continue;
        if (waiting++ && t.line != line)
            die("two barriers at once, of lines", line, t.line);
        line = t.line;
    }
    if (waiting != (int)threads.size())
        return false;
    for (kn_emu_thread &t : threads) {
        t.state = READY;
        t.barriers++;
    }
    return true;
}

static bool may_run(const kn_emu_thread &t)
{
    return t.state == NEW || t.state == READY ||
           (t.state == IN_EXCHANGE && t.warp->done == t.phase);
}

static void run_block()
{
    size_t ended = 0;
    while (ended < threads.size()) {
        bool moved = false;
        for (int i : thread_order) {
            kn_emu_thread &t = threads[(size_t)i];
            if (!may_run(t))
                continue;
            if (t.state == NEW)
                fiber_of[(size_t)i] = take_fiber();
            t.state = READY;
            fiber *f = &fibers[(size_t)fiber_of[(size_t)i]];
            f->thread = &t;
            run_fiber(f);
            moved = true;
            if (t.state == ENDED) {
                free_fibers.push_back(fiber_of[(size_t)i]);
                ended++;
            }
        }
        if (!release_barrier() && !moved)
            die("a barrier or an exchange that part of the block never reaches", (long long)ended,
                (long long)threads.size());
    }
}

static void start_block(kn_emu_index grid, unsigned block, unsigned bx, unsigned by)
{
    memset(shared_memory, 0xff, sizeof shared_memory);
    for (kn_emu_warp &w : warps)
        w.arrived = 0, w.done = 0;
    for (unsigned i = 0; i < block; i++) {
        kn_emu_thread &t = threads[i];
        t = kn_emu_thread{};
        t.thread = {i, 0, 0};
        t.block = {bx, by, 0};
        t.block_dim = {block, 1, 1};
        t.grid_dim = grid;
        t.warp = &warps[i / 32];
        t.lane = (int)(i % 32);
        t.state = NEW;
    }
}

void kn_emu_run(kn_device *device, const kn_launch *launch)
{
    const unsigned block = launch->block;
    const kn_emu_index grid = {launch->grid_x, launch->grid_y, 1};
    kernel = launch;
    kn_emu_now = nullptr;
    if (block < 1 || block > THREADS_MAX || grid.x < 1 || grid.x > 0x7fffffffu || grid.y < 1 ||
        grid.y > 65535)
        die("a launch that no GPU takes: block, grid.x", block, grid.x);
    threads.resize(block);
    fiber_of.assign(block, -1);
    fibers.reserve(THREADS_MAX); /* its elements must not move */
    fetches.resize(THREADS_MAX);
    warps.resize((block + 31) / 32);
    for (size_t w = 0; w < warps.size(); w++)
        warps[w].lanes = (int)(block - w * 32 < 32 ? block - w * 32 : 32);
    make_order(&thread_order, (int)block, 1);
    std::vector<int> blocks;
    kn_emu_open_memory(device);
    make_order(&blocks, (int)(grid.x * grid.y), 2);
    for (int b : blocks) {
        start_block(grid, block, (unsigned)b % grid.x, (unsigned)b / grid.x);
        run_block();
    }
    kn_emu_now = nullptr;
    kn_device_launched(device, launch->name);
}
