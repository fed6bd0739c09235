/* See tile_window_priv.h. Invariants, under `lock`:
 *   1. a tile is in `tiles` from the moment its filler began; `ready` says that its pixels are
 * there;
 *   2. a tile with users > 0 is not given up; its filler is a user, so are those who wait for it;
 *   3. `bytes` is the sum over tiles in `tiles` and spare buffers, at most max_bytes.
 * `by_age` is in the order of last use, oldest first. Buffers of tiles that were given up are used
 * again for tiles of the same size: in the steady state nothing is allocated. */
#include "wsi/lane/window.h"

struct wsi_window_tile {
    wsi_tile_key key;
    gint64 id; /* level and tile in one: the hash table's key */
    uint8_t *rgb;
    int users;
    bool ready, kept; /* kept: in the table */
    wsi_tile_outcome outcome;
    GError *failure; /* why FAILED; owned */
    GList age;       /* its link in by_age */
};

struct wsi_tile_window {
    GMutex lock;
    GCond filled;
    GHashTable *tiles; /* id → wsi_window_tile */
    GQueue by_age;
    size_t bytes, max_bytes;
};

wsi_tile_window *wsi_tile_window_create(size_t max_bytes)
{
    wsi_tile_window *window = g_new0(wsi_tile_window, 1);
    g_mutex_init(&window->lock);
    g_cond_init(&window->filled);
    g_queue_init(&window->by_age);
    window->tiles = g_hash_table_new(g_int64_hash, g_int64_equal);
    window->max_bytes = max_bytes;
    return window;
}

static void tile_free(wsi_window_tile *tile)
{
    g_clear_error(&tile->failure);
    g_free(tile->rgb);
    g_free(tile);
}

void wsi_tile_window_destroy(wsi_tile_window *window)
{
    if (!window)
        return;
    for (GList *at; (at = g_queue_peek_head_link(&window->by_age));) {
        g_queue_unlink(&window->by_age, at);
        tile_free(at->data);
    }
    g_hash_table_destroy(window->tiles);
    g_cond_clear(&window->filled);
    g_mutex_clear(&window->lock);
    g_free(window);
}

static void forget(wsi_tile_window *window, wsi_window_tile *tile)
{
    g_hash_table_remove(window->tiles, &tile->id);
    g_queue_unlink(&window->by_age, &tile->age);
    window->bytes -= tile->key.n_bytes;
    tile->kept = false;
}

/* Makes room for n_bytes; a buffer of just that size may come of it. False when what could be given
 * up does not suffice. */
static bool make_room(wsi_tile_window *window, const wsi_tile_key *key, const wsi_tile_rows *rows,
                      uint8_t **buffer)
{
    GList *at = g_queue_peek_head_link(&window->by_age);
    while (window->bytes + key->n_bytes > window->max_bytes && at) {
        wsi_window_tile *tile = at->data;
        at = at->next;
        bool needed = tile->key.level == key->level && tile->key.row >= rows->first_row &&
                      tile->key.row <= rows->last_row;
        if (tile->users > 0 || needed)
            continue;
        forget(window, tile);
        if (!*buffer && tile->key.n_bytes == key->n_bytes)
            *buffer = g_steal_pointer(&tile->rgb);
        tile_free(tile);
    }
    return window->bytes + key->n_bytes <= window->max_bytes;
}

/* A new tile whose filler is the caller, in the table when there is room for it. */
static wsi_window_tile *add_tile(wsi_tile_window *window, const wsi_tile_key *key, gint64 id,
                                 const wsi_tile_rows *rows)
{
    wsi_window_tile *tile = g_new0(wsi_window_tile, 1);
    tile->key = *key;
    tile->id = id;
    tile->users = 1;
    tile->age.data = tile;
    tile->kept = make_room(window, key, rows, &tile->rgb);
    if (tile->kept) {
        g_hash_table_insert(window->tiles, &tile->id, tile);
        g_queue_push_tail_link(&window->by_age, &tile->age);
        window->bytes += key->n_bytes;
    }
    return tile;
}

static void drop_user(wsi_window_tile *tile)
{
    if (--tile->users == 0 && !tile->kept)
        tile_free(tile);
}

/* Without the lock: fills a tile that the caller has just added. */
static void fill_tile(wsi_tile_window *window, wsi_window_tile *tile, wsi_tile_fill fill,
                      void *user)
{
    if (!tile->rgb)
        tile->rgb = g_malloc(tile->key.n_bytes);
    tile->outcome = fill(user, tile->key.level, tile->key.tile, tile->rgb, &tile->failure);
    g_mutex_lock(&window->lock);
    tile->ready = true;
    if (tile->kept && tile->outcome != WSI_TILE_PIXELS)
        forget(window, tile); /* nothing to keep */
    g_cond_broadcast(&window->filled);
    g_mutex_unlock(&window->lock);
}

wsi_window_tile *wsi_tile_window_take(wsi_tile_window *window, const wsi_tile_key *key,
                                      const wsi_tile_rows *rows, wsi_tile_fill fill, void *user,
                                      const uint8_t **rgb, wsi_tile_outcome *outcome,
                                      GError **error)
{
    gint64 id = (gint64)key->level << 48 | key->tile;
    g_mutex_lock(&window->lock);
    wsi_window_tile *tile = g_hash_table_lookup(window->tiles, &id);
    bool mine = !tile;
    if (mine) {
        tile = add_tile(window, key, id, rows);
    } else {
        tile->users++;
        g_queue_unlink(&window->by_age, &tile->age);
        g_queue_push_tail_link(&window->by_age, &tile->age);
        while (!tile->ready)
            g_cond_wait(&window->filled, &window->lock);
    }
    g_mutex_unlock(&window->lock);
    if (mine)
        fill_tile(window, tile, fill, user);
    *outcome = tile->outcome;
    if (tile->outcome == WSI_TILE_PIXELS) {
        *rgb = tile->rgb;
        return tile;
    }
    if (tile->outcome == WSI_TILE_FAILED)
        g_propagate_error(error, g_error_copy(tile->failure));
    wsi_tile_window_give_back(window, tile);
    return NULL;
}

void wsi_tile_window_give_back(wsi_tile_window *window, wsi_window_tile *tile)
{
    g_mutex_lock(&window->lock);
    drop_user(tile);
    g_mutex_unlock(&window->lock);
}
