/* device.h without a GPU, for the tests, where it stands in for device.c: kernels run at once, in
 * the emulation. The device's memory may be touched by kernels and copies only: outside of them its
 * pages are shut, so host code that follows a device pointer faults here as it would with a GPU;
 * and it ends at a page that is always shut, so a kernel that runs past its array faults too.
 *
 * The stream is as late as a GPU's can be: what is put on it waits, with its arguments of then,
 * until the host waits for it (or names a mark and awaits that). So a number that is read before it
 * was waited for is an old one, and pinned memory that is written too early spoils the copy. A
 * graph is a copy of its ops with the arguments that they had: played again, it does what it was
 * last told, not what its caller would do now. */
#include "kernels/cuda/device.h"

#include "base/error.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

/* One allocation: pages, with one more at the end. */
typedef struct {
    char *pages;
    size_t bytes; /* without the last page */
} pages;

/* One op, with its own arguments. */
typedef struct {
    kn_op op;
    void **args;
    void *data; /* of a call */
} node;

struct kn_device {
    kn_device_info info;
    GQueue late;                      /* of node, owned: put on the stream and not done */
    uint64_t put, done;               /* nodes, ever */
    uint64_t marks[KN_MARKS], marked; /* of a mark: how many had been put */
    GHashTable *memory;               /* pointer handed out → pages */
    double clock, start; /* ms: one for each kernel and copy, so that tests know the time */
    kn_program *program; /* owned */
    char failed[256];
};

struct kn_graph {
    node *nodes;
    int n;
};

static kn_emu_graphs graphs;

static void set_access(kn_device *device, int access)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, device->memory);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const pages *p = value;
        mprotect(p->pages, p->bytes, access);
    }
}

void kn_emu_open_memory(kn_device *device)
{
    set_access(device, PROT_READ | PROT_WRITE);
}

static void shut(kn_device *device)
{
    set_access(device, PROT_NONE);
}

static void free_pages(gpointer user)
{
    pages *p = user;
    munmap(p->pages, p->bytes + PAGE);
    g_free(p);
}

kn_device *kn_device_open(int index, GError **error)
{
    (void)index;
    (void)error;
    kn_device *d = g_new0(kn_device, 1);
    d->info = (kn_device_info){.name = "emulation",
                               .sm = 90,
                               .n_multiprocessors = 4,
                               .emulated = true,
                               .bytes = INT64_C(4) << 30};
    d->memory = g_hash_table_new_full(NULL, NULL, NULL, free_pages);
    d->program = kn_program_create(d);
    return d;
}

void kn_device_close(kn_device *device)
{
    if (!device)
        return;
    kn_device_wait(device);
    kn_program_destroy(device->program);
    g_hash_table_destroy(device->memory);
    g_free(device);
}

const kn_device_info *kn_device_get_info(const kn_device *device)
{
    return &device->info;
}

int64_t kn_device_free_bytes(kn_device *device)
{
    return device->info.bytes;
}

kn_program *kn_device_program(kn_device *device)
{
    return device->program;
}

void *kn_device_stream(kn_device *device)
{
    (void)device;
    return NULL;
}

void kn_device_launched(kn_device *device, const char *kernel)
{
    (void)kernel;
    device->clock += 1;
    shut(device);
}

void kn_emu_pass_time(kn_device *device, double ms)
{
    device->clock += ms;
}

bool kn_device_alloc(kn_device *device, void **p, size_t bytes, const char *what, GError **error)
{
    *p = NULL;
    if ((int64_t)bytes > device->info.bytes) {
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY,
                    "%s needs %zu bytes on the GPU; use a "
                    "smaller batch or patch",
                    what, bytes);
        return false;
    }
    if (bytes == 0)
        return true;
    size_t whole = (bytes + 255) / 256 * 256;
    pages *taken = g_new(pages, 1);
    taken->bytes = (whole + PAGE - 1) / PAGE * PAGE;
    taken->pages = mmap(NULL, taken->bytes + PAGE, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(taken->pages != MAP_FAILED);
    *p = taken->pages + taken->bytes - whole;
    g_hash_table_insert(device->memory, *p, taken);
    return true;
}

void kn_device_free(kn_device *device, void *p)
{
    kn_device_wait(device);
    if (p)
        kn_program_forget(device->program);
    bool known = !p || g_hash_table_remove(device->memory, p);
    g_assert(known);
}

bool kn_device_host_alloc(kn_device *device, void **p, size_t bytes, const char *what,
                          GError **error)
{
    (void)what;
    (void)error;
    *p = bytes > 0 ? g_aligned_alloc0(1, bytes, 256) : NULL;
    kn_program_add_pinned(device->program, *p, bytes);
    return true;
}

void kn_device_host_free(kn_device *device, void *p)
{
    kn_device_wait(device);
    kn_program_forget(device->program);
    kn_program_remove_pinned(device->program, p);
    g_aligned_free(p);
}

static void copy_now(kn_device *device, void *dst, const void *src, size_t bytes)
{
    kn_emu_open_memory(device);
    memmove(dst, src, bytes);
    device->clock += 1;
    shut(device);
}

static void node_clear(node *n)
{
    for (int i = 0; n->args && i < n->op.launch.n_args; i++)
        g_free(n->args[i]);
    g_free(n->args);
    g_free(n->data);
}

static void node_set(node *n, const kn_op *op)
{
    *n = (node){.op = *op};
    if (op->kind == KN_OP_CALL)
        n->op.src = n->data = g_memdup2(op->src, op->bytes);
    if (op->kind != KN_OP_KERNEL)
        return;
    n->args = g_new(void *, (gsize)op->launch.n_args);
    for (int i = 0; i < op->launch.n_args; i++)
        n->args[i] = g_memdup2(op->launch.args[i], op->launch.bytes[i]);
    n->op.launch.args = n->args;
}

static void do_now(kn_device *device, const kn_op *op)
{
    switch (op->kind) {
    case KN_OP_KERNEL:
        kn_emu_run(device, &op->launch);
        break;
    case KN_OP_UPLOAD:
    case KN_OP_COPY:
    case KN_OP_FETCH:
        copy_now(device, op->dst, op->src, op->bytes);
        break;
    case KN_OP_CLEAR:
        kn_emu_open_memory(device);
        memset(op->dst, 0, op->bytes);
        shut(device);
        break;
    case KN_OP_HOST:
        op->host(op->dst);
        break;
    case KN_OP_CALL:
        op->call(device, op->src);
        break;
    }
}

/* Does what was put first, until so many are done. */
static void catch_up(kn_device *device, uint64_t until)
{
    while (device->done < until) {
        node *n = g_queue_pop_head(&device->late);
        device->done++;
        do_now(device, &n->op);
        node_clear(n);
        g_free(n);
    }
}

void kn_emu_catch_up(kn_device *device)
{
    catch_up(device, device->put);
}

static void put_late(kn_device *device, const kn_op *op)
{
    if (op->kind == KN_OP_CALL) { /* it looks at the clock */
        catch_up(device, device->put);
        do_now(device, op);
        return;
    }
    node *n = g_new(node, 1);
    node_set(n, op);
    device->put++;
    g_queue_push_tail(&device->late, n);
    bool pageable = op->kind == KN_OP_UPLOAD && !kn_program_is_pinned(device->program, op->src);
    if (pageable) /* the runtime copies it before it returns */
        catch_up(device, device->put);
}

void kn_device_download(kn_device *device, void *dst, const void *src, size_t bytes)
{
    kn_device_wait(device);
    if (bytes > 0)
        copy_now(device, dst, src, bytes);
}

void kn_device_wait(kn_device *device)
{
    kn_program_cut(device->program);
    catch_up(device, device->put);
    kn_program_waited(device->program);
}

uint64_t kn_device_mark(kn_device *device)
{
    kn_program_cut(device->program);
    device->marks[++device->marked % KN_MARKS] = device->put;
    return device->marked;
}

void kn_device_await(kn_device *device, uint64_t mark)
{
    g_assert(mark <= device->marked);
    if (mark > 0)
        catch_up(device, device->marks[mark % KN_MARKS]);
}

void kn_device_fail(kn_device *device, const char *call, const char *message)
{
    if (!device->failed[0])
        g_snprintf(device->failed, sizeof device->failed, "%s: %s", call, message);
}

bool kn_device_check(kn_device *device, GError **error)
{
    kn_device_wait(device);
    return kn_device_peek(device, error);
}

bool kn_device_peek(kn_device *device, GError **error)
{
    if (!device->failed[0])
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "CUDA on %s: %s", device->info.name,
                device->failed);
    return false;
}

void kn_device_timer_start(kn_device *device)
{
    kn_program_cut(device->program);
    catch_up(device, device->put);
    device->start = device->clock;
}

double kn_device_timer_stop(kn_device *device)
{
    kn_program_cut(device->program);
    catch_up(device, device->put);
    return device->clock - device->start;
}

void kn_device_do(kn_device *device, const kn_op *op)
{
    graphs.alone++;
    put_late(device, op);
}

/* ---- graphs
 * -------------------------------------------------------------------------------------- */

kn_emu_graphs kn_emu_graphs_now(void)
{
    return graphs;
}

kn_graph *kn_graph_create(kn_device *device, const kn_op *ops, int n)
{
    (void)device;
    kn_graph *graph = g_new(kn_graph, 1);
    *graph = (kn_graph){g_new(node, (gsize)n), n};
    for (int i = 0; i < n; i++)
        node_set(&graph->nodes[i], &ops[i]);
    return graph;
}

void kn_graph_update(kn_device *device, kn_graph *graph, int i, const kn_op *op)
{
    (void)device;
    node_clear(&graph->nodes[i]);
    node_set(&graph->nodes[i], op);
    graphs.updates++;
}

void kn_graph_launch(kn_device *device, kn_graph *graph)
{
    for (int i = 0; i < graph->n; i++)
        put_late(device, &graph->nodes[i].op);
    graphs.launches++;
}

void kn_graph_destroy(kn_graph *graph)
{
    if (!graph)
        return;
    for (int i = 0; i < graph->n; i++)
        node_clear(&graph->nodes[i]);
    g_free(graph->nodes);
    g_free(graph);
}
