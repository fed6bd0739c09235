/* device.h without a GPU: the host's memory, and kernels that the emulation runs at once. For the
 * tests, where it stands in for device.c. A "graph" is played by running what was put on the stream
 * each time, which the caller does itself when kn_device_capture_end gives NULL without an error. */
#include "kernels/cuda/device.h"

#include "base/error.h"

#include <string.h>

struct kn_device {
    kn_device_info info;
    gint64 start;
    char failed[256];
};

kn_device *kn_device_open(int index, GError **error)
{
    (void)index;
    (void)error;
    kn_device *d = g_new0(kn_device, 1);
    d->info = (kn_device_info){
        .name = "emulation", .sm = 90, .n_multiprocessors = 4, .bytes = INT64_C(4) << 30};
    return d;
}

void kn_device_close(kn_device *device)
{
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

void *kn_device_stream(kn_device *device)
{
    (void)device;
    return NULL;
}

void kn_device_launched(kn_device *device, const char *kernel)
{
    (void)device;
    (void)kernel;
}

bool kn_device_alloc(kn_device *device, void **p, size_t bytes, const char *what, GError **error)
{
    *p = NULL;
    if ((int64_t)bytes > device->info.bytes) {
        g_set_error(error, QS_ERROR, QS_ERROR_MEMORY, "%s needs %zu bytes on the GPU; use a "
                    "smaller batch or patch", what, bytes);
        return false;
    }
    *p = bytes > 0 ? g_aligned_alloc0(1, bytes, 256) : NULL;
    return true;
}

void kn_device_free(kn_device *device, void *p)
{
    (void)device;
    g_aligned_free(p);
}

bool kn_device_host_alloc(kn_device *device, void **p, size_t bytes, const char *what,
                          GError **error)
{
    return kn_device_alloc(device, p, bytes, what, error);
}

void kn_device_host_free(kn_device *device, void *p)
{
    kn_device_free(device, p);
}

void kn_device_upload(kn_device *device, void *dst, const void *src, size_t bytes)
{
    kn_device_copy(device, dst, src, bytes);
}

void kn_device_copy(kn_device *device, void *dst, const void *src, size_t bytes)
{
    (void)device;
    if (bytes > 0)
        memmove(dst, src, bytes);
}

void kn_device_clear(kn_device *device, void *dst, size_t bytes)
{
    (void)device;
    if (bytes > 0)
        memset(dst, 0, bytes);
}

void kn_device_download(kn_device *device, void *dst, const void *src, size_t bytes)
{
    kn_device_copy(device, dst, src, bytes);
}

void kn_device_wait(kn_device *device)
{
    (void)device;
}

void kn_device_fail(kn_device *device, const char *call, const char *message)
{
    if (!device->failed[0])
        g_snprintf(device->failed, sizeof device->failed, "%s: %s", call, message);
}

bool kn_device_check(kn_device *device, GError **error)
{
    if (!device->failed[0])
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "CUDA on %s: %s", device->info.name,
                device->failed);
    return false;
}

void kn_device_timer_start(kn_device *device)
{
    device->start = g_get_monotonic_time();
}

double kn_device_timer_stop(kn_device *device)
{
    return (double)(g_get_monotonic_time() - device->start) * 1e-3;
}

void kn_device_mark(kn_device *device, int slot)
{
    (void)device;
    (void)slot;
}

void kn_device_wait_mark(kn_device *device, int slot)
{
    (void)device;
    (void)slot;
}

void kn_device_capture_begin(kn_device *device)
{
    (void)device;
}

kn_graph *kn_device_capture_end(kn_device *device)
{
    (void)device;
    return NULL;
}

void kn_graph_launch(kn_device *device, kn_graph *graph)
{
    (void)device;
    (void)graph;
}

void kn_graph_destroy(kn_graph *graph)
{
    (void)graph;
}
