#include "train/step.h"

#include "base/error.h"
#include "base/rng.h"
#include "train/noise.h"
#include "train/schedule.h"
#include "train/streams.h"

#include <math.h>
#include <string.h>

struct tr_step {
    tr_learner *learner; /* borrowed */
    const tr_options *options;
    const ssl_plan *plan;
    kn_pass *passes[SSL_FORWARDS_MAX];
    const kn_tensor *logits[SSL_FORWARDS_MAX], *dlogits[SSL_FORWARDS_MAX];
    tr_losses *losses;
};

static kn_pass_options pass_options(const tr_options *options, const ssl_plan *plan, int f,
                                    int patch_px)
{
    const ssl_forward *forward = &plan->forwards[f];
    return (kn_pass_options){
        .mode = forward->grad ? KN_PASS_TRAIN : KN_PASS_NOGRAD,
        .n = tr_half_n(plan, forward->half),
        .h = patch_px,
        .w = patch_px,
        .no_dropout = options->no_dropout,
    };
}

int64_t tr_step_memory(const tr_learner *learner, const tr_options *options, int patch_px,
                       GError **error)
{
    int64_t bytes = tr_losses_memory(learner, options, patch_px);
    for (int f = 0; f < learner->plan.n_forwards; f++) {
        kn_pass_options po = pass_options(options, &learner->plan, f, patch_px);
        int64_t n = kn_pass_memory(learner->engine, learner->net, &po, error);
        if (n < 0)
            return -1;
        bytes += n;
    }
    return bytes;
}

tr_step *tr_step_create(tr_learner *learner, const tr_options *options, int patch_px,
                        GError **error)
{
    tr_step *s = g_new0(tr_step, 1);
    s->learner = learner;
    s->options = options;
    s->plan = &learner->plan;
    s->losses = tr_losses_create(learner, options, patch_px, error);
    bool ok = s->losses != NULL;
    for (int f = 0; ok && f < s->plan->n_forwards; f++) {
        kn_pass_options po = pass_options(options, s->plan, f, patch_px);
        s->passes[f] = kn_pass_create(learner->engine, learner->net, &po, error);
        ok = s->passes[f] != NULL;
        s->logits[f] = ok ? kn_pass_logits(s->passes[f]) : NULL;
        s->dlogits[f] = ok && s->plan->forwards[f].grad ? kn_pass_dlogits(s->passes[f]) : NULL;
    }
    if (ok)
        return s;
    tr_step_destroy(s);
    return NULL;
}

void tr_step_destroy(tr_step *s)
{
    if (!s)
        return;
    for (int f = 0; f < SSL_FORWARDS_MAX; f++)
        if (s->passes[f])
            kn_pass_destroy(s->passes[f]);
    tr_losses_destroy(s->losses);
    g_free(s);
}

static bool run_forwards(tr_step *s, const tr_batch *batch, int64_t it, GError **error)
{
    uint64_t seed = s->options->seed;
    for (int f = 0; f < s->plan->n_forwards; f++) {
        const ssl_forward *forward = &s->plan->forwards[f];
        uint64_t noise = qs_rng_stream_id(TR_STREAM_NOISE, (uint64_t)it, (uint64_t)f);
        uint64_t dropout = qs_rng_stream_id(TR_STREAM_DROPOUT, (uint64_t)it, (uint64_t)f);
        int first = forward->half == SSL_UNLABELLED ? s->plan->n_labelled : 0;
        tr_input_fill(kn_pass_input(s->passes[f]), batch->input, first, forward->noise, seed,
                      noise);
        if (!kn_pass_forward(s->passes[f], s->learner->weights[forward->net],
                             qs_rng_stream_id(seed, dropout, 0), error))
            return false;
    }
    return true;
}

/* Backward, optimiser, moving averages. */
static bool learn(tr_step *s, int64_t it, double lr, GError **error)
{
    tr_learner *l = s->learner;
    for (int k = 0; k < s->plan->n_nets; k++)
        if (s->plan->nets[k].trained)
            kn_weights_zero_grads(l->weights[k]);
    for (int f = 0; f < s->plan->n_forwards; f++)
        if (s->plan->forwards[f].grad &&
            !kn_pass_backward(s->passes[f], l->weights[s->plan->forwards[f].net], error))
            return false;
    for (int k = 0; k < s->plan->n_nets; k++)
        if (s->plan->nets[k].trained)
            kn_sgd_step(l->weights[k], lr, s->options->momentum, s->options->weight_decay);
    for (int e = 0; e < s->plan->n_emas; e++) {
        const ssl_ema *ema = &s->plan->emas[e];
        kn_ema_update(l->weights[ema->teacher], l->weights[ema->student],
                      kn_ema_alpha(ema->alpha, it), ema->with_buffers);
    }
    return true;
}

bool tr_step_run(tr_step *s, const tr_batch *batch, int64_t it, int64_t total,
                 tr_step_result *result, GError **error)
{
    memset(result, 0, sizeof *result);
    result->lr = tr_schedule_lr(s->options, it, total);
    result->lambda = tr_schedule_lambda(s->options, it, total);
    if (!run_forwards(s, batch, it, error))
        return false;
    tr_losses_run(s->losses, batch, s->logits, s->dlogits, it, total, result);
    if (!kn_engine_check(s->learner->engine, error))
        return false;
    if (!isfinite(result->loss)) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "step %" G_GINT64_FORMAT
                    ": the loss is %g (supervised %g, unsupervised %g, lr %g)",
                    it, result->loss, result->sup, result->unsup, result->lr);
        return false;
    }
    return learn(s, it, result->lr, error);
}

void tr_step_snapshot(tr_step *s, const tr_batch *batch, int64_t it, tr_snapshot *snapshot)
{
    tr_losses_snapshot(s->losses, batch, s->logits, it, snapshot);
}
