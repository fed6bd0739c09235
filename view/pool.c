/* See pool.h. Invariants, under `lock`:
 *   1. a slot with users > 0 is not closed; who opens a slide is its user already;
 *   2. `n_open` slots have a slide or are being opened, of `bytes` together;
 *   3. a slot that is being opened is `busy`, and others who want it wait.
 *
 *      closed ──take──► busy ──► open, users ──give──► open, idle ──room()──► closed
 *                        └─ cannot be opened ─► closed */
#include "view/pool.h"

typedef struct {
    vw_open *open;
    int users;
    bool busy;
    int64_t last_use;
} slot;

struct vw_pool {
    const vw_shown *shown;
    GMutex lock;
    GCond changed;
    slot *slots;
    guint n;
    int n_open;
    int64_t bytes, max_bytes, clock;
};

vw_pool *vw_pool_create(const vw_shown *shown, int64_t max_bytes)
{
    vw_pool *pool = g_new0(vw_pool, 1);
    pool->shown = shown;
    pool->n = shown->slides->len;
    pool->slots = g_new0(slot, pool->n + 1);
    pool->max_bytes = max_bytes;
    g_mutex_init(&pool->lock);
    g_cond_init(&pool->changed);
    return pool;
}

void vw_pool_destroy(vw_pool *pool)
{
    if (!pool)
        return;
    for (guint i = 0; i < pool->n; i++)
        vw_open_close(pool->slots[i].open);
    g_free(pool->slots);
    g_cond_clear(&pool->changed);
    g_mutex_clear(&pool->lock);
    g_free(pool);
}

/* Closes the longest unused slide; false when all are in use. Closing is quick: under the lock. */
static bool close_one(vw_pool *pool)
{
    slot *oldest = NULL;
    for (guint i = 0; i < pool->n; i++) {
        slot *s = &pool->slots[i];
        if (s->open && s->users == 0 && (!oldest || s->last_use < oldest->last_use))
            oldest = s;
    }
    if (!oldest)
        return false;
    pool->bytes -= oldest->open->memory;
    pool->n_open--;
    vw_open_close(oldest->open);
    oldest->open = NULL;
    return true;
}

vw_open *vw_pool_take(vw_pool *pool, guint i, GError **error)
{
    slot *s = &pool->slots[i];
    g_mutex_lock(&pool->lock);
    while (s->busy || (!s->open && pool->n_open >= VW_POOL_SLIDES && !close_one(pool)))
        g_cond_wait(&pool->changed, &pool->lock);
    if (!s->open) {
        s->busy = true;
        pool->n_open++;
        g_mutex_unlock(&pool->lock);
        vw_open *open = vw_open_slide(pool->shown, i, error);
        g_mutex_lock(&pool->lock);
        s->busy = false;
        s->open = open;
        if (open)
            pool->bytes += open->memory;
        else
            pool->n_open--;
        g_cond_broadcast(&pool->changed);
    }
    vw_open *open = s->open;
    if (open) {
        s->users++;
        s->last_use = ++pool->clock;
        while (pool->bytes > pool->max_bytes && close_one(pool))
            continue;
    }
    g_mutex_unlock(&pool->lock);
    return open;
}

void vw_pool_give(vw_pool *pool, vw_open *open)
{
    g_mutex_lock(&pool->lock);
    for (guint i = 0; i < pool->n; i++)
        if (pool->slots[i].open == open)
            pool->slots[i].users--;
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
}
