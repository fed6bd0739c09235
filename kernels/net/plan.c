#include "kernels/net/plan.h"

#include "kernels/engine/memory.h"

#include <stdlib.h>

void kn_plan_init(kn_plan *plan)
{
    *plan = (kn_plan){.items = g_array_new(FALSE, TRUE, sizeof(kn_plan_item))};
}

void kn_plan_clear(kn_plan *plan)
{
    if (plan->items)
        g_array_free(plan->items, TRUE);
    *plan = (kn_plan){0};
}

int kn_plan_add(kn_plan *plan, const char *name, size_t bytes, int first, int last, bool shared)
{
    kn_plan_item item = {name, kn_round_up(bytes, KN_ALIGN), first, last, shared, 0};
    g_array_append_val(plan->items, item);
    return (int)plan->items->len - 1;
}

void kn_plan_touch(kn_plan *plan, int item, int step)
{
    kn_plan_item *it = kn_plan_at(plan, item);
    it->first = MIN(it->first, step);
    it->last = MAX(it->last, step);
}

static int by_size(const void *a, const void *b)
{
    const kn_plan_item *x = *(kn_plan_item *const *)a, *y = *(kn_plan_item *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y;
}

static bool overlap_in_time(const kn_plan_item *a, const kn_plan_item *b)
{
    return a->shared == b->shared && a->first <= b->last && b->first <= a->last;
}

/* The lowest offset at which `it` meets none of the `n` placed items alive with it. */
static size_t lowest_gap(const kn_plan_item *it, kn_plan_item *const *placed, int n)
{
    size_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < n; i++) {
            const kn_plan_item *p = placed[i];
            if (overlap_in_time(it, p) && at < p->offset + p->bytes && p->offset < at + it->bytes) {
                at = p->offset + p->bytes;
                moved = true;
            }
        }
    }
    return at;
}

void kn_plan_layout(kn_plan *plan)
{
    int n = (int)plan->items->len;
    g_autofree kn_plan_item **order = g_new(kn_plan_item *, (gsize)MAX(n, 1));
    for (int i = 0; i < n; i++)
        order[i] = kn_plan_at(plan, i);
    qsort(order, (size_t)n, sizeof *order, by_size);
    plan->private_bytes = plan->shared_bytes = 0;
    for (int i = 0; i < n; i++) {
        order[i]->offset = lowest_gap(order[i], order, i);
        size_t *total = order[i]->shared ? &plan->shared_bytes : &plan->private_bytes;
        *total = MAX(*total, order[i]->offset + order[i]->bytes);
    }
}
