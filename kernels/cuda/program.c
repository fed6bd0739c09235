#include "kernels/cuda/program.h"

#include "base/report.h"
#include "kernels/cuda/device.h"
#include "kernels/engine/memory.h"

#include <string.h>

enum {
    OPS_MAX = 8192,        /* of a piece: one that is longer is cut there */
    ARENA_BYTES = 4 << 20, /* of a piece's arguments */
    RING_BYTES =
        32 << 20,         /* of a program's uploads from pageable memory that wait for their turn */
    UPLOAD_MAX = 8 << 20, /* a larger one goes out at once */
    PIECES_MAX = 512,     /* shapes that are remembered */
    OPS_MIN = 3           /* fewer are no gain as a graph */
};

/* Ops and the bytes that they point to. */
typedef struct {
    kn_op *ops;
    int n;
    char *arena;
    size_t used;
} list;

/* A shape that was seen: the first time only that, then a graph with the arguments it has now. */
typedef struct {
    kn_graph *graph;
    list last;
    bool never; /* it cannot be recorded */
} piece;

typedef struct {
    const char *at;
    size_t bytes;
} range;

struct kn_program {
    kn_device *device; /* borrowed */
    bool open, poor;   /* no room for uploads: never opened */
    list kept;
    GHashTable *pieces; /* hash of the shape → piece, both owned */
    char *ring;         /* pinned, two halves; NULL until the first begin */
    size_t ring_used;   /* of the half of this program */
    int half;
    uint64_t ended[2]; /* marks of the programs that had the halves last */
    GArray *pinned;    /* of range */
};

/* ---- shapes -----------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
    return hash * 0xff51afd7ed558ccdu;
}

static uint64_t mix_bytes(uint64_t hash, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

static uint64_t shape_of(const list *l)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < l->n; i++) {
        const kn_op *op = &l->ops[i];
        hash = mix(hash, (uint64_t)op->kind);
        if (op->kind == KN_OP_KERNEL) {
            hash = mix(hash, (uint64_t)(uintptr_t)op->launch.kernel);
            hash = mix(hash, ((uint64_t)op->launch.grid_x << 32) | op->launch.grid_y);
            hash = mix(hash, op->launch.block);
        } else {
            hash = mix(hash, op->bytes);
        }
        if (op->kind == KN_OP_HOST)
            hash = mix(hash, (uint64_t)(uintptr_t)op->host);
        if (op->kind == KN_OP_CALL)
            hash = mix_bytes(mix(hash, (uint64_t)(uintptr_t)op->call), op->src, op->bytes);
    }
    return hash;
}

static bool same_shape(const list *a, const list *b)
{
    bool same = a->n == b->n;
    for (int i = 0; same && i < a->n; i++) {
        const kn_op *x = &a->ops[i], *y = &b->ops[i];
        same = x->kind == y->kind && x->launch.kernel == y->launch.kernel &&
               x->launch.grid_x == y->launch.grid_x && x->launch.grid_y == y->launch.grid_y &&
               x->launch.block == y->launch.block && x->call == y->call && x->host == y->host &&
               x->bytes == y->bytes &&
               (x->kind != KN_OP_CALL || memcmp(x->src, y->src, x->bytes) == 0);
    }
    return same;
}

/* ---- lists ------------------------------------------------------------------------------------
 */

static void *arena_copy(list *l, const void *src, size_t bytes)
{
    char *at = l->arena + l->used;
    memcpy(at, src, bytes);
    l->used += kn_round_up(bytes, 16);
    return at;
}

static size_t arena_need(const kn_op *op)
{
    size_t need = op->kind == KN_OP_CALL ? op->bytes + 16 : 0;
    if (op->kind != KN_OP_KERNEL)
        return need;
    need += (size_t)op->launch.n_args * sizeof(void *) + 16;
    for (int i = 0; i < op->launch.n_args; i++)
        need += op->launch.bytes[i] + 16;
    return need;
}

/* The op with all it points to. */
static void list_add(list *l, const kn_op *op)
{
    kn_op *kept = &l->ops[l->n++];
    *kept = *op;
    if (op->kind == KN_OP_CALL)
        kept->src = arena_copy(l, op->src, op->bytes);
    if (op->kind != KN_OP_KERNEL)
        return;
    void **args = arena_copy(l, op->launch.args, (size_t)op->launch.n_args * sizeof(void *));
    for (int i = 0; i < op->launch.n_args; i++)
        args[i] = arena_copy(l, op->launch.args[i], op->launch.bytes[i]);
    kept->launch.args = args;
}

static void list_copy(list *to, const list *from)
{
    *to = (list){.ops = g_new(kn_op, (gsize)from->n), .arena = g_malloc(MAX(from->used, 1))};
    for (int i = 0; i < from->n; i++)
        list_add(to, &from->ops[i]);
}

static void list_clear(list *l)
{
    g_free(l->ops);
    g_free(l->arena);
    *l = (list){0};
}

/* ---- pieces -----------------------------------------------------------------------------------
 */

static void piece_free(gpointer user)
{
    piece *p = user;
    kn_graph_destroy(p->graph);
    list_clear(&p->last);
    g_free(p);
}

/* Takes over the arguments of `now`; false when they were the same already. */
static bool renew(kn_op *last, const kn_op *now)
{
    bool differs = last->dst != now->dst;
    if (last->kind != KN_OP_CALL)
        differs = differs || last->src != now->src;
    for (int i = 0; now->kind == KN_OP_KERNEL && i < now->launch.n_args; i++) {
        size_t bytes = now->launch.bytes[i];
        if (memcmp(last->launch.args[i], now->launch.args[i], bytes) == 0)
            continue;
        memcpy(last->launch.args[i], now->launch.args[i], bytes);
        differs = true;
    }
    last->dst = now->dst;
    if (last->kind != KN_OP_CALL)
        last->src = now->src;
    return differs;
}

static void do_one_by_one(kn_program *p)
{
    for (int i = 0; i < p->kept.n; i++)
        kn_device_do(p->device, &p->kept.ops[i]);
}

static void record(kn_program *p, piece *at)
{
    at->graph = kn_graph_create(p->device, p->kept.ops, p->kept.n);
    at->never = !at->graph;
    if (at->never)
        qs_debug("a piece of %d operations cannot be a CUDA graph: they go one by one", p->kept.n);
    else
        list_copy(&at->last, &p->kept);
}

static void do_piece(kn_program *p)
{
    gint64 key = (gint64)shape_of(&p->kept);
    piece *at = p->kept.n >= OPS_MIN ? g_hash_table_lookup(p->pieces, &key) : NULL;
    if (at && !at->graph && !at->never)
        record(p, at);
    if (at && at->graph && same_shape(&at->last, &p->kept)) {
        for (int i = 0; i < p->kept.n; i++)
            if (renew(&at->last.ops[i], &p->kept.ops[i]))
                kn_graph_update(p->device, at->graph, i, &at->last.ops[i]);
        kn_graph_launch(p->device, at->graph);
        return;
    }
    do_one_by_one(p);
    if (!at && p->kept.n >= OPS_MIN && g_hash_table_size(p->pieces) < PIECES_MAX)
        g_hash_table_insert(p->pieces, g_memdup2(&key, sizeof key), g_new0(piece, 1));
}

void kn_program_cut(kn_program *p)
{
    if (p->kept.n == 0)
        return;
    do_piece(p);
    p->kept.n = 0;
    p->kept.used = 0;
}

/* ---- the program ------------------------------------------------------------------------------
 */

kn_program *kn_program_create(kn_device *device)
{
    kn_program *p = g_new0(kn_program, 1);
    p->device = device;
    p->pieces = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, piece_free);
    p->pinned = g_array_new(FALSE, FALSE, sizeof(range));
    return p;
}

void kn_program_destroy(kn_program *p)
{
    if (!p)
        return;
    kn_program_end(p);
    if (p->ring)
        kn_device_host_free(p->device, p->ring);
    g_hash_table_destroy(p->pieces);
    g_array_free(p->pinned, TRUE);
    list_clear(&p->kept);
    g_free(p);
}

void kn_program_begin(kn_program *p)
{
    g_autoptr(GError) failed = NULL;
    void *ring = p->ring;
    if (p->poor || p->open)
        return;
    if (!ring && !kn_device_host_alloc(p->device, &ring, 2 * RING_BYTES, "uploads", &failed)) {
        qs_warn("%s: without CUDA graphs", failed->message);
        p->poor = true;
        return;
    }
    if (!p->ring) {
        p->ring = ring;
        p->kept = (list){.ops = g_new(kn_op, OPS_MAX), .arena = g_malloc(ARENA_BYTES)};
    }
    p->half = !p->half;
    p->ring_used = 0;
    kn_device_await(p->device, p->ended[p->half]);
    p->open = true;
}

void kn_program_end(kn_program *p)
{
    kn_program_cut(p);
    if (p->open)
        p->ended[p->half] = kn_device_mark(p->device);
    p->open = false;
}

bool kn_program_is_open(const kn_program *p)
{
    return p->open;
}

void kn_program_forget(kn_program *p)
{
    g_hash_table_remove_all(p->pieces);
}

void kn_program_waited(kn_program *p)
{
    p->ring_used = 0;
}

bool kn_program_is_pinned(const kn_program *p, const void *at)
{
    bool is = false;
    for (guint i = 0; i < p->pinned->len && !is; i++) {
        const range *r = &g_array_index(p->pinned, range, i);
        is = (const char *)at >= r->at && (const char *)at < r->at + r->bytes;
    }
    return is;
}

/* The source of an upload, where it stays until the stream comes to it; NULL: it is too large. */
static const void *steady(kn_program *p, const void *src, size_t bytes)
{
    if (kn_program_is_pinned(p, src))
        return src;
    if (bytes > UPLOAD_MAX)
        return NULL;
    if (p->ring_used + bytes > RING_BYTES)
        kn_device_wait(p->device);
    char *at = p->ring + (p->half ? RING_BYTES : 0) + p->ring_used;
    memcpy(at, src, bytes);
    p->ring_used += kn_round_up(bytes, 256);
    return at;
}

void kn_program_put(kn_program *p, const kn_op *op)
{
    kn_op kept = *op;
    if (p->open && op->kind == KN_OP_UPLOAD)
        kept.src = steady(p, op->src, op->bytes);
    if (!p->open || (op->kind == KN_OP_UPLOAD && !kept.src)) {
        kn_program_cut(p);
        kn_device_do(p->device, op);
        return;
    }
    if (p->kept.n == OPS_MAX || p->kept.used + arena_need(op) > ARENA_BYTES)
        kn_program_cut(p);
    list_add(&p->kept, &kept);
}

void kn_program_add_pinned(kn_program *p, const void *at, size_t bytes)
{
    range r = {at, bytes};
    g_array_append_val(p->pinned, r);
}

void kn_program_remove_pinned(kn_program *p, const void *at)
{
    for (guint i = 0; i < p->pinned->len; i++)
        if (g_array_index(p->pinned, range, i).at == at) {
            g_array_remove_index_fast(p->pinned, i);
            return;
        }
}

/* ---- device.h's ops ---------------------------------------------------------------------------
 */

void kn_device_launch(kn_device *device, const kn_launch *launch)
{
    kn_program_put(kn_device_program(device), &(kn_op){.kind = KN_OP_KERNEL, .launch = *launch});
}

static void move(kn_device *device, kn_op_kind kind, void *dst, const void *src, size_t bytes)
{
    kn_op op = {.kind = kind, .dst = dst, .src = src, .bytes = bytes};
    if (bytes > 0)
        kn_program_put(kn_device_program(device), &op);
}

void kn_device_upload(kn_device *device, void *dst, const void *src, size_t bytes)
{
    move(device, KN_OP_UPLOAD, dst, src, bytes);
}

void kn_device_copy(kn_device *device, void *dst, const void *src, size_t bytes)
{
    move(device, KN_OP_COPY, dst, src, bytes);
}

void kn_device_fetch(kn_device *device, void *dst, const void *src, size_t bytes)
{
    move(device, KN_OP_FETCH, dst, src, bytes);
}

void kn_device_host(kn_device *device, kn_host_fn *fn, void *user)
{
    kn_op op = {.kind = KN_OP_HOST, .host = fn, .dst = user};
    kn_program_put(kn_device_program(device), &op);
}

void kn_device_clear(kn_device *device, void *dst, size_t bytes)
{
    move(device, KN_OP_CLEAR, dst, NULL, bytes);
}

void kn_device_call(kn_device *device, kn_call *call, const void *data, size_t bytes)
{
    kn_op op = {.kind = KN_OP_CALL, .call = call, .src = data, .bytes = bytes};
    kn_program_put(kn_device_program(device), &op);
}
