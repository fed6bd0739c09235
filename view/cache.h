/* Answers that were made, by address, up to a limit of bytes, the longest unused given up first.
 * Thread-safe. */
#ifndef QS_VIEW_CACHE_H
#define QS_VIEW_CACHE_H

#include <glib.h>

typedef struct vw_cache vw_cache;

vw_cache *vw_cache_create(size_t max_bytes);
void vw_cache_destroy(vw_cache *cache); /* NULL accepted */
/* NULL when it is not there; else a reference for the caller. */
GBytes *vw_cache_get(vw_cache *cache, const char *key);
/* Takes a reference of its own. What is larger than a quarter of the limit is not kept. */
void vw_cache_put(vw_cache *cache, const char *key, GBytes *bytes);
size_t vw_cache_bytes(vw_cache *cache);

#endif
