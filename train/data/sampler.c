#include "train/data/sampler.h"

#include "base/error.h"
#include "base/rng.h"
#include "train/data/streams.h"

#include <string.h>

typedef struct {
    uint64_t seed, purpose;
    uint32_t *pool, *order; /* items; one permutation of them */
    size_t n;
    int64_t order_epoch; /* whose permutation `order` is; -1 none */
    int batch;
    size_t epoch_n; /* items used of an epoch: n less its tail, n for endless streams */
} stream;

struct tr_sampler {
    stream labelled, unlabelled, held;
};

static void stream_init(stream *s, uint64_t seed, uint64_t purpose, int batch, size_t n_max)
{
    *s = (stream){.seed = seed, .purpose = purpose, .batch = batch, .order_epoch = -1};
    s->pool = g_new(uint32_t, n_max);
    s->order = g_new(uint32_t, n_max);
}

static uint32_t stream_at(stream *s, int64_t position)
{
    int64_t epoch = position / (int64_t)s->epoch_n;
    if (epoch != s->order_epoch) {
        qs_rng rng;
        qs_rng_init(&rng, s->seed, qs_rng_stream_id(s->purpose, (uint64_t)epoch, 0));
        memcpy(s->order, s->pool, s->n * sizeof *s->order);
        qs_rng_shuffle_u32(&rng, s->order, s->n);
        s->order_epoch = epoch;
    }
    return s->order[position % (int64_t)s->epoch_n];
}

static void stream_batch(stream *s, int64_t i, uint32_t *items)
{
    for (int j = 0; j < s->batch; j++)
        items[j] = stream_at(s, i * s->batch + j);
}

/* Moves a share of the labelled rows, drawn at random, to the held stream; the others keep their
 * order. A pool of one row has none to spare: the batch's room goes back to unlabelled rows. */
static void hold_back(tr_sampler *sampler, double share)
{
    stream *l = &sampler->labelled, *h = &sampler->held;
    if (h->batch == 0 || l->n < 2) {
        sampler->unlabelled.batch += h->batch;
        h->batch = 0;
        return;
    }
    qs_rng rng;
    qs_rng_init(&rng, l->seed, qs_rng_stream_id(TR_STREAM_HOLD_BACK, 0, 0));
    size_t wanted = (size_t)(share * (double)l->n + 0.5);
    size_t left = CLAMP(wanted, 1, l->n - 1), kept = 0;
    for (size_t i = 0; i < l->n; i++) { /* of the rows not looked at, `left` are to be taken */
        if (qs_rng_below(&rng, (uint32_t)(l->n - i)) < left) {
            h->pool[h->n++] = l->pool[i];
            left--;
        } else {
            l->pool[kept++] = l->pool[i];
        }
    }
    l->n = kept;
    h->epoch_n = h->n;
}

static void fill_pools(tr_sampler *sampler, const tr_source *source, ssl_pool pool, double share)
{
    stream *l = &sampler->labelled, *u = &sampler->unlabelled;
    for (size_t i = 0; i < source->n_items; i++) {
        const tr_item *item = &source->items[i];
        if (item->has_label && (item->labelled || pool == SSL_POOL_ALL))
            l->pool[l->n++] = (uint32_t)i;
        if (!item->labelled)
            u->pool[u->n++] = (uint32_t)i;
    }
    hold_back(sampler, share);
    size_t batch = (size_t)l->batch;
    l->epoch_n = l->n >= batch && batch > 0 ? l->n - l->n % batch : l->n;
    u->epoch_n = u->n;
}

tr_sampler *tr_sampler_create(const tr_source *source, const ssl_plan *plan, uint64_t seed,
                              GError **error)
{
    if (source->n_items == 0 || source->n_items > G_MAXUINT32) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "there are %zu training patches; tile slides of split train", source->n_items);
        return NULL;
    }
    tr_sampler *sampler = g_new0(tr_sampler, 1);
    stream_init(&sampler->labelled, seed, TR_STREAM_LABELLED, plan->n_labelled, source->n_items);
    stream_init(&sampler->unlabelled, seed, TR_STREAM_UNLABELLED, plan->n_unlabelled - plan->n_held,
                source->n_items);
    stream_init(&sampler->held, seed, TR_STREAM_HELD, plan->n_held, source->n_items);
    fill_pools(sampler, source, plan->pool, plan->held_share);
    const char *missing = NULL;
    if (plan->n_labelled > 0 && sampler->labelled.n == 0)
        missing = "no training patch has a label that the loss may see: mark slides with masks as "
                  "labelled "
                  "in the cohort";
    else if (plan->n_unlabelled > 0 && sampler->unlabelled.n == 0)
        missing = "the method wants unlabelled patches and there are none: use SL or FullSup, or "
                  "add slides "
                  "with labelled 0";
    if (missing) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG, missing);
        tr_sampler_destroy(sampler);
        return NULL;
    }
    return sampler;
}

void tr_sampler_destroy(tr_sampler *sampler)
{
    if (!sampler)
        return;
    g_free(sampler->labelled.pool);
    g_free(sampler->labelled.order);
    g_free(sampler->unlabelled.pool);
    g_free(sampler->unlabelled.order);
    g_free(sampler->held.pool);
    g_free(sampler->held.order);
    g_free(sampler);
}

void tr_sampler_batch(tr_sampler *sampler, int64_t i, uint32_t *items)
{
    stream_batch(&sampler->labelled, i, items);
    stream_batch(&sampler->held, i, items + sampler->labelled.batch);
    stream_batch(&sampler->unlabelled, i, items + sampler->labelled.batch + sampler->held.batch);
}

size_t tr_sampler_n_labelled(const tr_sampler *sampler)
{
    return sampler->labelled.n;
}

size_t tr_sampler_n_unlabelled(const tr_sampler *sampler)
{
    return sampler->unlabelled.n;
}

size_t tr_sampler_n_held_back(const tr_sampler *sampler)
{
    return sampler->held.n;
}

int tr_sampler_n_held(const tr_sampler *sampler)
{
    return sampler->held.batch;
}
