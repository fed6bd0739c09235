/* Big aligned blocks, taken from the system once and touched at once, so that a plan that does
 * not fit fails before the first step and a step never meets a page fault. */
#ifndef QS_KERNELS_MEMORY_H
#define QS_KERNELS_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KN_ALIGN = 64 };

typedef struct {
    void *data; /* zeroed when allocated, aligned to KN_ALIGN at least */
    size_t bytes;
} kn_block;

/* QS_ERROR_MEMORY names `what` and the bytes wanted and free; the block is then empty. */
bool kn_block_alloc(kn_block *block, size_t bytes, const char *what, GError **error);
void kn_block_free(kn_block *block);
/* Bytes that this process can still take: the smaller of the system's and its control group's. */
int64_t kn_memory_available(void);

static inline size_t kn_round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

#endif
