/* What the engine's own files share: the engine, its backends and its memory.
 * Other rooms use engine.h; the loss kernels use kn_engine_ops() and kn_engine_team() from here. */
#ifndef QS_KERNELS_ENGINE_PRIV_H
#define QS_KERNELS_ENGINE_PRIV_H

#include "kernels/engine/engine.h"
#include "kernels/engine/memory.h"
#include "kernels/engine/ops.h"

/* Memory that is not the host's. Work is in order; only download and check wait. */
typedef struct {
    bool (*alloc)(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                  GError **error); /* zeroed */
    void (*free)(kn_engine *engine, kn_block *block);
    /* The host's, fast to copy from and to; its content may change only after a wait. */
    bool (*host_alloc)(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                       GError **error);
    void (*host_free)(kn_engine *engine, kn_block *block);
    void (*upload)(kn_engine *engine, void *dst, const void *src, size_t bytes);
    void (*download)(kn_engine *engine, void *dst, const void *src, size_t bytes);
    void (*fetch)(kn_engine *engine, void *dst, const void *src, size_t bytes);
    void (*on_host)(kn_engine *engine, void (*fn)(void *user), void *user);
    void (*clear)(kn_engine *engine, void *dst, size_t bytes);
    bool (*check)(kn_engine *engine, GError **error);
    bool (*peek)(kn_engine *engine, GError **error);
    void (*begin)(kn_engine *engine);
    void (*end)(kn_engine *engine);
    uint64_t (*mark)(kn_engine *engine);
    void (*await)(kn_engine *engine, uint64_t mark);
    int64_t (*bytes_free)(kn_engine *engine);
} kn_device_memory;

/* A backend opens its state on an engine whose options are already filled. */
typedef struct {
    const char *name;
    const kn_ops *ops;
    bool (*open)(kn_engine *engine, GError **error);
    void (*close)(kn_engine *engine);
    const kn_device_memory *memory; /* (optional) NULL: the engine computes in the host's memory */
    const struct kn_device_loss *loss; /* loss_priv.h; with memory */
} kn_backend;

/* For a backend that is not always there; once, before engines are made. */
void kn_engine_add_backend(const kn_backend *backend);

extern const kn_backend kn_backend_ref;
extern const kn_backend kn_backend_cpu;

struct kn_engine {
    const kn_backend *backend;
    kn_conv_mode conv_mode;
    kn_precision precision;
    kn_dtype act; /* of the activations inside a pass; the edges are of the engine's dtype */
    int n_threads;
    int block;           /* 16: passes lay activations out in blocks of 16 channels; 0: NHWC */
    char *description;   /* owned, written by the backend */
    void *state;         /* backend's own, owned */
    void *partials;      /* per-thread partial sums of reductions, owned: see kn_engine_partials */
    GHashTable *choices; /* "layer:direction:shape" -> algorithm name, both owned */
    kn_block scratch;    /* shared by the passes: nothing in it outlives one forward or backward */
    int64_t bytes;       /* held by the engine, its weights and its passes */
    uint64_t clock;      /* source of the version numbers of weights */
};

/* Widest tensor that the reductions take. */
enum { KN_CHANNELS_MAX = 1024 };

/* Makes the calling thread's OpenMP team the engine's. Call before a parallel region. */
void kn_engine_team(const kn_engine *engine);
/* n_threads rows of 4·KN_CHANNELS_MAX doubles. */
static inline double *kn_engine_partials(const kn_engine *engine, int thread)
{
    return (double *)engine->partials + (size_t)thread * 4 * KN_CHANNELS_MAX;
}
/* Grows the shared scratch to at least `bytes`; its content is lost. */
bool kn_engine_reserve_scratch(kn_engine *engine, size_t bytes, GError **error);

/* True when QS_DISABLE (a comma list) contains `what`. */
bool kn_disabled(const char *what);

#endif
