/* Big blocks come from mmap: aligned, zeroed, given back whole. Huge pages are asked for, since a
 * pass streams through gigabytes. Every page is touched here, by the team that will use it. */
#include "kernels/engine/memory.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static int64_t read_number(const char *path, const char *key)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return -1;
    const char *at = key ? strstr(text, key) : text;
    if (!at)
        return -1;
    at += key ? strlen(key) : 0;
    char *end = NULL;
    int64_t value = g_ascii_strtoll(at, &end, 10);
    return end == at ? -1 : value;
}

int64_t kn_memory_available(void)
{
    int64_t available = INT64_MAX;
    int64_t kib = read_number("/proc/meminfo", "MemAvailable:");
    if (kib >= 0)
        available = kib * 1024;
    int64_t limit = read_number("/sys/fs/cgroup/memory.max", NULL);
    int64_t used = read_number("/sys/fs/cgroup/memory.current", NULL);
    int64_t cache = read_number("/sys/fs/cgroup/memory.stat", "\nfile ");
    if (limit >= 0 && used >= 0) /* the group's page cache can be given back */
        available = MIN(available, MAX(limit - used + MAX(cache, 0), 0));
    return available;
}

bool kn_block_alloc(kn_block *block, size_t bytes, const char *what, GError **error)
{
    enum { PAGE = 4096 };
    *block = (kn_block){NULL, 0};
    if (bytes == 0)
        return true;
    int64_t available = kn_memory_available();
    void *data = MAP_FAILED;
    if (bytes <= (size_t)INT64_MAX && (int64_t)bytes <= available)
        data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_MEMORY,
            "%s needs %zu bytes (%.2f GiB) and %.2f GiB are free; use a smaller batch or patch",
            what, bytes, (double)bytes / (1 << 30), (double)available / (1 << 30));
        return false;
    }
    madvise(data, bytes, MADV_HUGEPAGE); /* a wish: without it everything works, a little slower */
    volatile char *page = data;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < bytes; i += PAGE)
        page[i] = 0;
    *block = (kn_block){data, bytes};
    return true;
}

void kn_block_free(kn_block *block)
{
    if (block->data)
        munmap(block->data, block->bytes);
    *block = (kn_block){NULL, 0};
}
