/* The slides that are open: at most VW_POOL_SLIDES, and no more than max_bytes together unless one
 * alone needs more. Who asks for another waits until one is free to be closed. Thread-safe. */
#ifndef QS_VIEW_POOL_H
#define QS_VIEW_POOL_H

#include "view/open.h"

enum { VW_POOL_SLIDES = 8 };

typedef struct vw_pool vw_pool;

vw_pool *vw_pool_create(const vw_shown *shown, int64_t max_bytes); /* shown is borrowed */
void vw_pool_destroy(vw_pool *pool);                               /* nobody holds a slide */
/* Slide i, to be given back; NULL with the reason when it cannot be opened. */
vw_open *vw_pool_take(vw_pool *pool, guint i, GError **error);
void vw_pool_give(vw_pool *pool, vw_open *open);

#endif
