/* See cache.h. Invariants, under `lock`: every entry is in `entries` and in `by_age` (oldest
 * first), and `bytes` is the sum of their sizes, at most max_bytes. */
#include "view/cache.h"

enum { ENTRY_BYTES = 256 }; /* key, links, allocator, generously */

typedef struct {
    char *key;
    GBytes *bytes;
    size_t n;
    GList age;
} entry;

struct vw_cache {
    GMutex lock;
    GHashTable *entries;
    GQueue by_age;
    size_t bytes, max_bytes;
};

vw_cache *vw_cache_create(size_t max_bytes)
{
    vw_cache *cache = g_new0(vw_cache, 1);
    g_mutex_init(&cache->lock);
    g_queue_init(&cache->by_age);
    cache->entries = g_hash_table_new(g_str_hash, g_str_equal);
    cache->max_bytes = max_bytes;
    return cache;
}

static void drop(vw_cache *cache, entry *e)
{
    g_hash_table_remove(cache->entries, e->key);
    g_queue_unlink(&cache->by_age, &e->age);
    cache->bytes -= e->n;
    g_bytes_unref(e->bytes);
    g_free(e->key);
    g_free(e);
}

void vw_cache_destroy(vw_cache *cache)
{
    if (!cache)
        return;
    while (cache->by_age.head)
        drop(cache, cache->by_age.head->data);
    g_hash_table_destroy(cache->entries);
    g_mutex_clear(&cache->lock);
    g_free(cache);
}

GBytes *vw_cache_get(vw_cache *cache, const char *key)
{
    g_mutex_lock(&cache->lock);
    entry *e = g_hash_table_lookup(cache->entries, key);
    GBytes *bytes = e ? g_bytes_ref(e->bytes) : NULL;
    if (e) {
        g_queue_unlink(&cache->by_age, &e->age);
        g_queue_push_tail_link(&cache->by_age, &e->age);
    }
    g_mutex_unlock(&cache->lock);
    return bytes;
}

void vw_cache_put(vw_cache *cache, const char *key, GBytes *bytes)
{
    size_t n = g_bytes_get_size(bytes) + ENTRY_BYTES;
    if (n > cache->max_bytes / 4)
        return;
    g_mutex_lock(&cache->lock);
    entry *old = g_hash_table_lookup(cache->entries, key);
    if (old)
        drop(cache, old);
    while (cache->bytes + n > cache->max_bytes)
        drop(cache, cache->by_age.head->data);
    entry *e = g_new0(entry, 1);
    *e = (entry){.key = g_strdup(key), .bytes = g_bytes_ref(bytes), .n = n};
    e->age.data = e;
    g_hash_table_insert(cache->entries, e->key, e);
    g_queue_push_tail_link(&cache->by_age, &e->age);
    cache->bytes += n;
    g_mutex_unlock(&cache->lock);
}

size_t vw_cache_bytes(vw_cache *cache)
{
    g_mutex_lock(&cache->lock);
    size_t bytes = cache->bytes;
    g_mutex_unlock(&cache->lock);
    return bytes;
}
