/* What the engine's own files share: the engine, its backends and its memory.
 * Other rooms use engine.h; the loss kernels use kn_engine_ops() and kn_engine_team() from here. */
#ifndef QS_KERNELS_ENGINE_PRIV_H
#define QS_KERNELS_ENGINE_PRIV_H

#include "kernels/engine.h"
#include "kernels/memory.h"
#include "kernels/ops.h"

/* A backend opens its state on an engine whose options are already filled. */
typedef struct {
    const char *name;
    const kn_ops *ops;
    bool (*open)(kn_engine *engine, GError **error);
    void (*close)(kn_engine *engine);
} kn_backend;

extern const kn_backend kn_backend_ref;
extern const kn_backend kn_backend_cpu;

struct kn_engine {
    const kn_backend *backend;
    kn_conv_mode conv_mode;
    int n_threads;
    int block;           /* 16: passes lay activations out in blocks of 16 channels; 0: NHWC */
    char *description;   /* owned, written by the backend */
    void *state;         /* backend's own, owned */
    void *partials;      /* per-thread partial sums of reductions, owned: see kn_engine_partials */
    GHashTable *choices; /* "layer:direction:WxH" -> algorithm name, both owned */
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
/* A block charged to the engine's account; QS_ERROR_MEMORY with the bytes when it cannot be had. */
bool kn_engine_alloc(kn_engine *engine, kn_block *block, size_t bytes, const char *what,
                     GError **error);
void kn_engine_free(kn_engine *engine, kn_block *block);
/* Grows the shared scratch to at least `bytes`; its content is lost. */
bool kn_engine_reserve_scratch(kn_engine *engine, size_t bytes, GError **error);

/* True when QS_DISABLE (a comma list) contains `what`. */
bool kn_disabled(const char *what);

#endif
