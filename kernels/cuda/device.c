/* The CUDA runtime behind device.h. It is linked statically and finds the driver when the program
 * runs, so one binary starts on machines with and without a GPU. */
#include "kernels/cuda/device.h"

#include "base/error.h"

#include <cuda_runtime_api.h>
#include <string.h>

struct kn_device {
    int index;
    cudaStream_t stream;
    cudaEvent_t start, stop;
    kn_device_info info;
    cudaEvent_t marks[KN_MARKS]; /* made when they are first wanted */
    uint64_t marked;
    kn_program *program; /* owned */
    char failed[256];    /* the first error, "" none */
};

struct kn_graph {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t *nodes; /* of each op */
};

enum { SM_MIN = 80 };

void kn_device_fail(kn_device *device, const char *call, const char *message)
{
    if (!device->failed[0])
        g_snprintf(device->failed, sizeof device->failed, "%s: %s", call, message);
}

static bool ok(kn_device *device, const char *call, cudaError_t status)
{
    if (status == cudaSuccess)
        return true;
    kn_device_fail(device, call, cudaGetErrorString(status));
    return false;
}

static bool fail(GError **error, int code, const char *call, cudaError_t status)
{
    g_set_error(error, QS_ERROR, code, "CUDA: %s: %s", call, cudaGetErrorString(status));
    return false;
}

static bool read_info(kn_device *d, GError **error)
{
    struct cudaDeviceProp prop;
    cudaError_t status = cudaGetDeviceProperties(&prop, d->index);
    if (status != cudaSuccess)
        return fail(error, QS_ERROR_UNSUPPORTED, "cudaGetDeviceProperties", status);
    g_strlcpy(d->info.name, prop.name, sizeof d->info.name);
    d->info.sm = prop.major * 10 + prop.minor;
    d->info.n_multiprocessors = prop.multiProcessorCount;
    d->info.bytes = (int64_t)prop.totalGlobalMem;
    cudaRuntimeGetVersion(&d->info.runtime_version);
    cudaDriverGetVersion(&d->info.driver_version);
    d->info.bytes_free = kn_device_free_bytes(d);
    if (d->info.sm >= SM_MIN)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                "CUDA: %s is of compute capability %d.%d; 8.0 or newer is needed (bfloat16): use "
                "--device cpu",
                prop.name, prop.major, prop.minor);
    return false;
}

static bool make_stream(kn_device *d, GError **error)
{
    cudaError_t status = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
    if (status == cudaSuccess)
        status = cudaEventCreate(&d->start);
    if (status == cudaSuccess)
        status = cudaEventCreate(&d->stop);
    return status == cudaSuccess || fail(error, QS_ERROR_UNSUPPORTED, "cudaStreamCreate", status);
}

kn_device *kn_device_open(int index, GError **error)
{
    int n = 0;
    cudaError_t status = cudaGetDeviceCount(&n);
    if (status != cudaSuccess || n == 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_UNSUPPORTED,
                    "CUDA: no GPU can be used (%s); is the NVIDIA driver loaded? --device cpu "
                    "needs none",
                    status == cudaSuccess ? "none is visible" : cudaGetErrorString(status));
        return NULL;
    }
    if (index < 0 || index >= n) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "CUDA: GPU %d of %d: give 0 to %d", index, n,
                    n - 1);
        return NULL;
    }
    kn_device *d = g_new0(kn_device, 1);
    d->index = index;
    d->program = kn_program_create(d);
    status = cudaSetDevice(index);
    if ((status != cudaSuccess && !fail(error, QS_ERROR_UNSUPPORTED, "cudaSetDevice", status)) ||
        !read_info(d, error) || !make_stream(d, error)) {
        kn_device_close(d);
        return NULL;
    }
    return d;
}

void kn_device_close(kn_device *d)
{
    if (!d)
        return;
    kn_program_destroy(d->program);
    if (d->stream) {
        cudaStreamSynchronize(d->stream);
        cudaStreamDestroy(d->stream);
    }
    if (d->start)
        cudaEventDestroy(d->start);
    if (d->stop)
        cudaEventDestroy(d->stop);
    for (int i = 0; i < KN_MARKS; i++)
        if (d->marks[i])
            cudaEventDestroy(d->marks[i]);
    g_free(d);
}

const kn_device_info *kn_device_get_info(const kn_device *device)
{
    return &device->info;
}

int64_t kn_device_free_bytes(kn_device *device)
{
    size_t bytes_free = 0, total = 0;
    ok(device, "cudaMemGetInfo", cudaMemGetInfo(&bytes_free, &total));
    return (int64_t)bytes_free;
}

kn_program *kn_device_program(kn_device *device)
{
    return device->program;
}

void *kn_device_stream(kn_device *device)
{
    return device->stream;
}

void kn_device_launched(kn_device *device, const char *kernel)
{
    ok(device, kernel, cudaGetLastError());
}

/* ---- memory
 * -------------------------------------------------------------------------------------- */

bool kn_device_alloc(kn_device *device, void **p, size_t bytes, const char *what, GError **error)
{
    *p = NULL;
    if (bytes == 0)
        return true;
    cudaError_t status = cudaMalloc(p, bytes);
    if (status != cudaSuccess) {
        *p = NULL;
        cudaGetLastError(); /* not sticky: the caller may go on with less */
        double gib = 1024.0 * 1024.0 * 1024.0;
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY,
                    "%s needs %zu bytes (%.2f GiB) on the GPU and %.2f GiB are free (%s); use a "
                    "smaller batch or patch",
                    what, bytes, (double)bytes / gib, (double)kn_device_free_bytes(device) / gib,
                    cudaGetErrorString(status));
        return false;
    }
    kn_device_clear(device, *p, bytes);
    return true;
}

void kn_device_free(kn_device *device, void *p)
{
    if (!p)
        return;
    kn_device_wait(device);
    kn_program_forget(device->program);
    ok(device, "cudaFree", cudaFree(p));
}

bool kn_device_host_alloc(kn_device *device, void **p, size_t bytes, const char *what,
                          GError **error)
{
    *p = NULL;
    if (bytes == 0)
        return true;
    cudaError_t status = cudaHostAlloc(p, bytes, cudaHostAllocMapped);
    if (status != cudaSuccess) {
        *p = NULL;
        cudaGetLastError();
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY, "%s needs %zu bytes of pinned memory: %s",
                    what, bytes, cudaGetErrorString(status));
        return false;
    }
    memset(*p, 0, bytes);
    kn_program_add_pinned(device->program, *p, bytes);
    return true;
}

void kn_device_host_free(kn_device *device, void *p)
{
    if (!p)
        return;
    kn_device_wait(device);
    kn_program_forget(device->program);
    kn_program_remove_pinned(device->program, p);
    ok(device, "cudaFreeHost", cudaFreeHost(p));
}

void kn_device_do(kn_device *device, const kn_op *op)
{
    const kn_launch *l = &op->launch;
    switch (op->kind) {
    case KN_OP_KERNEL:
        ok(device, l->name,
           cudaLaunchKernel(l->kernel, (dim3){l->grid_x, l->grid_y, 1}, (dim3){l->block, 1, 1},
                            l->args, 0, device->stream));
        break;
    case KN_OP_UPLOAD:
        ok(device, "cudaMemcpyAsync to the GPU",
           cudaMemcpyAsync(op->dst, op->src, op->bytes, cudaMemcpyHostToDevice, device->stream));
        break;
    case KN_OP_COPY:
        ok(device, "cudaMemcpyAsync",
           cudaMemcpyAsync(op->dst, op->src, op->bytes, cudaMemcpyDeviceToDevice, device->stream));
        break;
    case KN_OP_FETCH:
        ok(device, "cudaMemcpyAsync from the GPU",
           cudaMemcpyAsync(op->dst, op->src, op->bytes, cudaMemcpyDeviceToHost, device->stream));
        break;
    case KN_OP_HOST:
        ok(device, "cudaLaunchHostFunc", cudaLaunchHostFunc(device->stream, op->host, op->dst));
        break;
    case KN_OP_CLEAR:
        ok(device, "cudaMemsetAsync", cudaMemsetAsync(op->dst, 0, op->bytes, device->stream));
        break;
    case KN_OP_CALL:
        op->call(device, op->src);
        break;
    }
}

void kn_device_download(kn_device *device, void *dst, const void *src, size_t bytes)
{
    kn_program_cut(device->program);
    if (bytes > 0)
        ok(device, "cudaMemcpyAsync from the GPU",
           cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, device->stream));
    kn_device_wait(device);
}

void kn_device_wait(kn_device *device)
{
    kn_program_cut(device->program);
    ok(device, "cudaStreamSynchronize", cudaStreamSynchronize(device->stream));
    kn_program_waited(device->program);
}

uint64_t kn_device_mark(kn_device *device)
{
    cudaEvent_t *event = &device->marks[++device->marked % KN_MARKS];
    kn_program_cut(device->program);
    if (!*event)
        ok(device, "cudaEventCreate", cudaEventCreateWithFlags(event, cudaEventDisableTiming));
    if (*event)
        ok(device, "cudaEventRecord", cudaEventRecord(*event, device->stream));
    return device->marked;
}

void kn_device_await(kn_device *device, uint64_t mark)
{
    cudaEvent_t event = device->marks[mark % KN_MARKS];
    if (mark > 0 && event)
        ok(device, "cudaEventSynchronize", cudaEventSynchronize(event));
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

/* ---- time
 * ------------------------------------------------------------------------- */

void kn_device_timer_start(kn_device *device)
{
    kn_program_cut(device->program);
    ok(device, "cudaEventRecord", cudaEventRecord(device->start, device->stream));
}

double kn_device_timer_stop(kn_device *device)
{
    float ms = 0;
    kn_program_cut(device->program);
    ok(device, "cudaEventRecord", cudaEventRecord(device->stop, device->stream));
    ok(device, "cudaEventSynchronize", cudaEventSynchronize(device->stop));
    ok(device, "cudaEventElapsedTime", cudaEventElapsedTime(&ms, device->start, device->stop));
    return (double)ms;
}

/* ---- graphs
 * -------------------------------------------------------------------------------------- */

static struct cudaKernelNodeParams kernel_params(const kn_launch *l)
{
    return (struct cudaKernelNodeParams){.func = l->kernel,
                                         .gridDim = {l->grid_x, l->grid_y, 1},
                                         .blockDim = {l->block, 1, 1},
                                         .kernelParams = l->args};
}

static struct cudaMemsetParams clear_params(const kn_op *op)
{
    unsigned wide = op->bytes % 4 == 0 && (uintptr_t)op->dst % 4 == 0 ? 4 : 1;
    return (struct cudaMemsetParams){
        .dst = op->dst, .elementSize = wide, .width = op->bytes / wide, .height = 1};
}

static enum cudaMemcpyKind way_of(const kn_op *op)
{
    return op->kind == KN_OP_UPLOAD  ? cudaMemcpyHostToDevice
           : op->kind == KN_OP_FETCH ? cudaMemcpyDeviceToHost
                                     : cudaMemcpyDeviceToDevice;
}

/* What the library puts on the stream, as a graph within the graph. */
static cudaError_t add_call(kn_device *device, kn_graph *g, const kn_op *op,
                            const cudaGraphNode_t *after, size_t n_after, cudaGraphNode_t *node)
{
    cudaGraph_t inner = NULL;
    cudaError_t status = cudaStreamBeginCapture(device->stream, cudaStreamCaptureModeThreadLocal);
    if (status != cudaSuccess)
        return status;
    bool sound = !device->failed[0];
    op->call(device, op->src);
    status = cudaStreamEndCapture(device->stream, &inner);
    if (sound && device->failed[0]) { /* it does not like to be recorded: no failure yet */
        device->failed[0] = '\0';
        status = cudaErrorStreamCaptureUnsupported;
    }
    if (status == cudaSuccess)
        status = cudaGraphAddChildGraphNode(node, g->graph, after, n_after, inner);
    if (inner)
        cudaGraphDestroy(inner);
    return status;
}

static cudaError_t add_node(kn_device *device, kn_graph *g, const kn_op *op, int i)
{
    const cudaGraphNode_t *after = i > 0 ? &g->nodes[i - 1] : NULL;
    size_t n_after = i > 0;
    cudaGraphNode_t *node = &g->nodes[i];
    switch (op->kind) {
    case KN_OP_KERNEL: {
        struct cudaKernelNodeParams params = kernel_params(&op->launch);
        return cudaGraphAddKernelNode(node, g->graph, after, n_after, &params);
    }
    case KN_OP_CLEAR: {
        struct cudaMemsetParams params = clear_params(op);
        return cudaGraphAddMemsetNode(node, g->graph, after, n_after, &params);
    }
    case KN_OP_HOST: {
        struct cudaHostNodeParams params = {.fn = op->host, .userData = op->dst};
        return cudaGraphAddHostNode(node, g->graph, after, n_after, &params);
    }
    case KN_OP_UPLOAD:
    case KN_OP_COPY:
    case KN_OP_FETCH:
        return cudaGraphAddMemcpyNode1D(node, g->graph, after, n_after, op->dst, op->src, op->bytes,
                                        way_of(op));
    case KN_OP_CALL:
        break;
    }
    return add_call(device, g, op, after, n_after, node);
}

kn_graph *kn_graph_create(kn_device *device, const kn_op *ops, int n)
{
    kn_graph *g = g_new0(kn_graph, 1);
    g->nodes = g_new0(cudaGraphNode_t, (gsize)n);
    cudaError_t status = cudaGraphCreate(&g->graph, 0);
    for (int i = 0; i < n && status == cudaSuccess; i++)
        status = add_node(device, g, &ops[i], i);
    if (status == cudaSuccess)
        status = cudaGraphInstantiate(&g->exec, g->graph, 0);
    if (status == cudaSuccess)
        return g;
    cudaGetLastError(); /* not sticky: the ops can go one by one */
    kn_graph_destroy(g);
    return NULL;
}

void kn_graph_update(kn_device *device, kn_graph *g, int i, const kn_op *op)
{
    if (op->kind == KN_OP_KERNEL) {
        struct cudaKernelNodeParams params = kernel_params(&op->launch);
        ok(device, op->launch.name,
           cudaGraphExecKernelNodeSetParams(g->exec, g->nodes[i], &params));
    } else if (op->kind == KN_OP_CLEAR) {
        struct cudaMemsetParams params = clear_params(op);
        ok(device, "cudaGraphExecMemsetNodeSetParams",
           cudaGraphExecMemsetNodeSetParams(g->exec, g->nodes[i], &params));
    } else if (op->kind == KN_OP_HOST) {
        struct cudaHostNodeParams params = {.fn = op->host, .userData = op->dst};
        ok(device, "cudaGraphExecHostNodeSetParams",
           cudaGraphExecHostNodeSetParams(g->exec, g->nodes[i], &params));
    } else if (op->kind != KN_OP_CALL) {
        ok(device, "cudaGraphExecMemcpyNodeSetParams1D",
           cudaGraphExecMemcpyNodeSetParams1D(g->exec, g->nodes[i], op->dst, op->src, op->bytes,
                                              way_of(op)));
    }
}

void kn_graph_launch(kn_device *device, kn_graph *graph)
{
    ok(device, "cudaGraphLaunch", cudaGraphLaunch(graph->exec, device->stream));
}

void kn_graph_destroy(kn_graph *graph)
{
    if (!graph)
        return;
    if (graph->exec)
        cudaGraphExecDestroy(graph->exec);
    if (graph->graph)
        cudaGraphDestroy(graph->graph);
    g_free(graph->nodes);
    g_free(graph);
}
