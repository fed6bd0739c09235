#include "train/ssl/rank.h"

#include "base/rng.h"
#include "kernels/loss/compare.h"
#include "kernels/engine/memory.h"

#include <string.h>

/* Hands out the parts of `memory`, NULL: none; returns their bytes. */
static size_t lay_out(tr_rank *r, void *memory, size_t n, size_t real)
{
    const size_t bytes[] = {n * sizeof *r->order, n * real, n * real, n};
    char *at[G_N_ELEMENTS(bytes)] = {NULL};
    size_t used = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(bytes); i++) {
        at[i] = memory ? (char *)memory + used : NULL;
        used += kn_round_up(bytes[i], KN_ALIGN);
    }
    r->order = (uint32_t *)(void *)at[0];
    r->agreement = at[1];
    r->score = at[2];
    r->count = (uint8_t *)at[3];
    return used;
}

size_t tr_rank_bytes(int64_t pixels, size_t real_bytes)
{
    tr_rank r;
    return lay_out(&r, NULL, (size_t)pixels, real_bytes);
}

void tr_rank_init(tr_rank *r, kn_engine *engine, void *memory, void *staging, int64_t pixels)
{
    size_t real = kn_dtype_bytes(kn_engine_dtype(engine));
    tr_rank host = {0};
    *r = (tr_rank){.engine = engine};
    lay_out(&host, staging ? staging : memory, (size_t)pixels, real);
    lay_out(r, memory, (size_t)pixels, real);
    r->host_order = host.order;
    r->host_agreement = host.agreement;
    r->count = host.count;
}

/* 255 where the pixels of image j of the batch do not count. */
static const uint8_t *excluded(const tr_batch *batch, size_t px, int j)
{
    return j < batch->n_labelled ? batch->label + (size_t)j * px
                                 : batch->exclude + (size_t)(j - batch->n_labelled) * px;
}

static void fill_agreement(tr_rank *r, uint8_t least, uint8_t most, size_t n)
{
    double scale = most > least ? 1.0 / (most - least) : 0;
    bool f64 = kn_engine_dtype(r->engine) == KN_F64;
    for (size_t i = 0; i < n; i++) { /* excluded pixels may leave [0,1]: nothing reads them */
        double k = scale * (r->count[i] - least);
        if (f64)
            ((double *)r->host_agreement)[i] = k;
        else
            ((float *)r->host_agreement)[i] = (float)k;
    }
}

/* The whole of both, however many pixels count, so that every step's copies have one shape. */
static void bring(tr_rank *r, size_t n)
{
    if (r->host_order == r->order)
        return;
    kn_engine_upload(r->engine, r->order, r->host_order, n * sizeof *r->order);
    kn_engine_upload(r->engine, r->agreement, r->host_agreement,
                     n * kn_dtype_bytes(kn_engine_dtype(r->engine)));
}

void tr_rank_prepare(tr_rank *r, const tr_history *history, tr_history_counter counter,
                     const tr_batch *batch, int n, uint64_t seed, uint64_t stream)
{
    size_t px = (size_t)batch->patch_px * (size_t)batch->patch_px;
    uint8_t least = 255, most = 0;
    r->n_order = 0;
    for (int j = 0; j < n; j++) {
        uint8_t *count = r->count + (size_t)j * px;
        const uint8_t *out = excluded(batch, px, j);
        tr_history_read(history, counter, batch->items[j], &batch->augment[j], count);
        for (size_t p = 0; p < px; p++) {
            if (out[p] == QS_CLASS_IGNORE)
                continue;
            r->host_order[r->n_order++] = (uint32_t)((size_t)j * px + p);
            least = MIN(least, count[p]);
            most = MAX(most, count[p]);
        }
    }
    fill_agreement(r, least, most, (size_t)n * px);
    qs_rng rng;
    qs_rng_init(&rng, seed, stream);
    qs_rng_shuffle_u32(&rng, r->host_order, (size_t)r->n_order);
    bring(r, (size_t)n * px);
}

void tr_rank_loss(tr_rank *r, const kn_tensor *z, double scale, bool accumulate,
                  const kn_tensor *dz, double *value)
{
    kn_loss_rank_at(r->engine, z, r->agreement, r->order, r->n_order, r->score, scale, accumulate,
                    dz, value);
}
