#include "train/rank.h"

#include "base/rng.h"
#include "kernels/compare.h"
#include "kernels/memory.h"

#include <string.h>

struct tr_rank {
    kn_engine *engine;
    size_t px; /* of a patch */
    kn_block block;
    uint32_t *order; /* (n,h,w) */
    int64_t n_order;
    void *agreement, *score; /* (n,h,w) engine dtype */
    uint8_t *count;          /* (n,h,w) */
};

static size_t lay_out(tr_rank *r, int n_images)
{
    size_t n = (size_t)n_images * r->px, real = kn_dtype_bytes(kn_engine_dtype(r->engine));
    const size_t bytes[] = {n * sizeof *r->order, n * real, n * real, n};
    char *at[G_N_ELEMENTS(bytes)] = {NULL};
    size_t used = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(bytes); i++) {
        at[i] = r->block.data ? (char *)r->block.data + used : NULL;
        used += kn_round_up(bytes[i], KN_ALIGN);
    }
    r->order = (uint32_t *)(void *)at[0];
    r->agreement = at[1];
    r->score = at[2];
    r->count = (uint8_t *)at[3];
    return used;
}

int64_t tr_rank_memory(const kn_engine *engine, int n_images, int patch_px)
{
    tr_rank r = {.engine = (kn_engine *)(uintptr_t)engine,
                 .px = (size_t)patch_px * (size_t)patch_px};
    return (int64_t)lay_out(&r, n_images);
}

tr_rank *tr_rank_create(kn_engine *engine, int n_images, int patch_px, GError **error)
{
    tr_rank *r = g_new0(tr_rank, 1);
    r->engine = engine;
    r->px = (size_t)patch_px * (size_t)patch_px;
    if (!kn_block_alloc(&r->block, lay_out(r, n_images), "the ranking's buffers", error)) {
        g_free(r);
        return NULL;
    }
    lay_out(r, n_images);
    return r;
}

void tr_rank_destroy(tr_rank *r)
{
    if (!r)
        return;
    kn_block_free(&r->block);
    g_free(r);
}

/* 255 where the pixels of image j of the batch do not count. */
static const uint8_t *excluded(const tr_rank *r, const tr_batch *batch, int j)
{
    return j < batch->n_labelled ? batch->label + (size_t)j * r->px
                                 : batch->exclude + (size_t)(j - batch->n_labelled) * r->px;
}

static void fill_agreement(tr_rank *r, uint8_t least, uint8_t most, size_t n)
{
    double scale = most > least ? 1.0 / (most - least) : 0;
    bool f64 = kn_engine_dtype(r->engine) == KN_F64;
    for (size_t i = 0; i < n; i++) { /* excluded pixels may leave [0,1]: nothing reads them */
        double k = scale * (r->count[i] - least);
        if (f64)
            ((double *)r->agreement)[i] = k;
        else
            ((float *)r->agreement)[i] = (float)k;
    }
}

void tr_rank_prepare(tr_rank *r, const tr_history *history, tr_history_counter counter,
                     const tr_batch *batch, tr_rank_images images, uint64_t seed, uint64_t stream)
{
    uint8_t least = 255, most = 0;
    r->n_order = 0;
    for (int i = 0; i < images.n; i++) {
        int j = images.first + i;
        uint8_t *count = r->count + (size_t)i * r->px;
        const uint8_t *out = excluded(r, batch, j);
        tr_history_read(history, counter, batch->items[j], &batch->augment[j], count);
        for (size_t p = 0; p < r->px; p++) {
            if (out[p] == QS_CLASS_IGNORE)
                continue;
            r->order[r->n_order++] = (uint32_t)((size_t)i * r->px + p);
            least = MIN(least, count[p]);
            most = MAX(most, count[p]);
        }
    }
    fill_agreement(r, least, most, (size_t)images.n * r->px);
    qs_rng rng;
    qs_rng_init(&rng, seed, stream);
    qs_rng_shuffle_u32(&rng, r->order, (size_t)r->n_order);
}

double tr_rank_loss(tr_rank *r, const kn_tensor *z, double scale, bool accumulate,
                    const kn_tensor *dz)
{
    return kn_loss_rank(r->engine, z, r->agreement, r->order, r->n_order, r->score, scale,
                        accumulate, dz);
}

const uint32_t *tr_rank_order(const tr_rank *r, int64_t *n)
{
    *n = r->n_order;
    return r->order;
}

const void *tr_rank_agreement(const tr_rank *r)
{
    return r->agreement;
}
