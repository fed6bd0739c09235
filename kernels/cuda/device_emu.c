/* device.h without a GPU, for the tests, where it stands in for device.c: kernels run at once, in
 * the emulation. The device's memory may be touched by kernels and copies only: outside of them its
 * pages are shut, so host code that follows a device pointer faults here as it would with a GPU;
 * and it ends at a page that is always shut, so a kernel that runs past its array faults too. A
 * "graph" is played by running what was put on the stream each time, which the caller does itself
 * when kn_device_capture_end gives NULL without an error. */
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

struct kn_device {
    kn_device_info info;
    GHashTable *memory;  /* pointer handed out → pages */
    double clock, start; /* ms: one for each kernel and copy, so that tests know the time */
    char failed[256];
};

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
    return d;
}

void kn_device_close(kn_device *device)
{
    if (!device)
        return;
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
    bool known = !p || g_hash_table_remove(device->memory, p);
    g_assert(known);
}

bool kn_device_host_alloc(kn_device *device, void **p, size_t bytes, const char *what,
                          GError **error)
{
    (void)device;
    (void)what;
    (void)error;
    *p = bytes > 0 ? g_aligned_alloc0(1, bytes, 256) : NULL;
    return true;
}

void kn_device_host_free(kn_device *device, void *p)
{
    (void)device;
    g_aligned_free(p);
}

void kn_device_upload(kn_device *device, void *dst, const void *src, size_t bytes)
{
    kn_device_copy(device, dst, src, bytes);
}

void kn_device_copy(kn_device *device, void *dst, const void *src, size_t bytes)
{
    if (bytes == 0)
        return;
    kn_emu_open_memory(device);
    memmove(dst, src, bytes);
    device->clock += 1;
    shut(device);
}

void kn_device_clear(kn_device *device, void *dst, size_t bytes)
{
    if (bytes == 0)
        return;
    kn_emu_open_memory(device);
    memset(dst, 0, bytes);
    shut(device);
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
    device->start = device->clock;
}

double kn_device_timer_stop(kn_device *device)
{
    return device->clock - device->start;
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
