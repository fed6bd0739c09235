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
    cudaEvent_t marks[KN_DEVICE_MARKS];
    bool marked[KN_DEVICE_MARKS];
    kn_device_info info;
    char failed[256]; /* the first error, "" none */
};

struct kn_graph {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
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
    for (int i = 0; i < KN_DEVICE_MARKS && status == cudaSuccess; i++)
        status = cudaEventCreateWithFlags(&d->marks[i], cudaEventDisableTiming);
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
    if (d->stream) {
        cudaStreamSynchronize(d->stream);
        cudaStreamDestroy(d->stream);
    }
    if (d->start)
        cudaEventDestroy(d->start);
    if (d->stop)
        cudaEventDestroy(d->stop);
    for (int i = 0; i < KN_DEVICE_MARKS; i++)
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
    ok(device, "cudaFree", cudaFree(p));
}

bool kn_device_host_alloc(kn_device *device, void **p, size_t bytes, const char *what,
                          GError **error)
{
    (void)device;
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
    return true;
}

void kn_device_host_free(kn_device *device, void *p)
{
    if (!p)
        return;
    kn_device_wait(device);
    ok(device, "cudaFreeHost", cudaFreeHost(p));
}

void kn_device_upload(kn_device *device, void *dst, const void *src, size_t bytes)
{
    if (bytes > 0)
        ok(device, "cudaMemcpyAsync to the GPU",
           cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, device->stream));
}

void kn_device_copy(kn_device *device, void *dst, const void *src, size_t bytes)
{
    if (bytes > 0)
        ok(device, "cudaMemcpyAsync",
           cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, device->stream));
}

void kn_device_clear(kn_device *device, void *dst, size_t bytes)
{
    if (bytes > 0)
        ok(device, "cudaMemsetAsync", cudaMemsetAsync(dst, 0, bytes, device->stream));
}

void kn_device_download(kn_device *device, void *dst, const void *src, size_t bytes)
{
    if (bytes > 0)
        ok(device, "cudaMemcpyAsync from the GPU",
           cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, device->stream));
    kn_device_wait(device);
}

void kn_device_wait(kn_device *device)
{
    ok(device, "cudaStreamSynchronize", cudaStreamSynchronize(device->stream));
}

bool kn_device_check(kn_device *device, GError **error)
{
    kn_device_wait(device);
    if (!device->failed[0])
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "CUDA on %s: %s", device->info.name,
                device->failed);
    return false;
}

/* ---- time, marks, graphs
 * ------------------------------------------------------------------------- */

void kn_device_timer_start(kn_device *device)
{
    ok(device, "cudaEventRecord", cudaEventRecord(device->start, device->stream));
}

double kn_device_timer_stop(kn_device *device)
{
    float ms = 0;
    ok(device, "cudaEventRecord", cudaEventRecord(device->stop, device->stream));
    ok(device, "cudaEventSynchronize", cudaEventSynchronize(device->stop));
    ok(device, "cudaEventElapsedTime", cudaEventElapsedTime(&ms, device->start, device->stop));
    return (double)ms;
}

void kn_device_mark(kn_device *device, int slot)
{
    device->marked[slot] =
        ok(device, "cudaEventRecord", cudaEventRecord(device->marks[slot], device->stream));
}

void kn_device_wait_mark(kn_device *device, int slot)
{
    if (device->marked[slot])
        ok(device, "cudaEventSynchronize", cudaEventSynchronize(device->marks[slot]));
}

void kn_device_capture_begin(kn_device *device)
{
    ok(device, "cudaStreamBeginCapture",
       cudaStreamBeginCapture(device->stream, cudaStreamCaptureModeThreadLocal));
}

kn_graph *kn_device_capture_end(kn_device *device)
{
    kn_graph *graph = g_new0(kn_graph, 1);
    bool good =
        ok(device, "cudaStreamEndCapture", cudaStreamEndCapture(device->stream, &graph->graph)) &&
        ok(device, "cudaGraphInstantiate", cudaGraphInstantiate(&graph->exec, graph->graph, 0));
    if (good)
        return graph;
    kn_graph_destroy(graph);
    return NULL;
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
    g_free(graph);
}
