/* The memory plan of a pass: every tensor with its name, bytes and lifetime is listed first; then
 * one offset each is found so that tensors alive at the same time never overlap. Times are steps of
 * the pass: forward node i of N is i, its backward is 2N-1-i, -1 is before. Private items keep
 * their content from forward to backward; shared ones live inside one forward or one backward, in
 * scratch that all passes of the engine share. */
#ifndef QS_KERNELS_PLAN_H
#define QS_KERNELS_PLAN_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *name; /* borrowed */
    size_t bytes;
    int first, last; /* steps, both included */
    bool shared;
    size_t offset; /* in its arena, after kn_plan_layout */
} kn_plan_item;

typedef struct {
    GArray *items; /* kn_plan_item */
    size_t private_bytes, shared_bytes;
} kn_plan;

void kn_plan_init(kn_plan *plan);
void kn_plan_clear(kn_plan *plan);
/* Returns the item's index. 0 bytes are allowed. */
int kn_plan_add(kn_plan *plan, const char *name, size_t bytes, int first, int last, bool shared);
/* Lengthens an item's life so that it covers `step`. */
void kn_plan_touch(kn_plan *plan, int item, int step);
/* Finds offsets: largest first, each into the lowest gap that its lifetime leaves free. */
void kn_plan_layout(kn_plan *plan);

static inline kn_plan_item *kn_plan_at(const kn_plan *plan, int item)
{
    return &g_array_index(plan->items, kn_plan_item, item);
}

#endif
