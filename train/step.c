#include "train/step.h"

#include "base/error.h"
#include "base/rng.h"
#include "kernels/memory.h"
#include "train/noise.h"
#include "train/schedule.h"
#include "train/streams.h"

#include <math.h>
#include <string.h>

/* A reference prediction: one half of one forward. Terms share it. */
typedef struct {
    int forward;
    ssl_half half;
    kn_reference ref;
} reference;

/* A loss term made ready: what does not change over the steps. */
typedef struct {
    kn_quad_config config; /* but for γ */
    int reference;         /* SSL_NONE where there is none */
    bool updates_gamma;    /* the first term of its (reference, slot) */
    uint8_t *region;       /* (n of its half,h,w) */
    double *z_image;       /* (n of its half) */
    kn_quad_result result;
    double loss;
} prepared_term;

struct tr_step {
    tr_learner *learner; /* borrowed */
    const tr_options *options;
    const ssl_plan *plan;
    int patch_px;
    kn_pass *passes[SSL_FORWARDS_MAX];
    reference references[SSL_TERMS_MAX];
    int n_references;
    prepared_term terms[SSL_TERMS_MAX];
    kn_block arena;        /* references, regions, snapshot */
    size_t arena_used;
    uint8_t *snap_label, *snap_y, *snap_ref, *snap_region; /* (n,h,w) */
};

/* Takes n bytes of the arena, or with data NULL only counts them. */
static void *take(tr_step *s, size_t n)
{
    size_t at = s->arena_used;
    s->arena_used += kn_round_up(n, KN_ALIGN);
    return s->arena.data ? (char *)s->arena.data + at : NULL;
}

static int half_n(const ssl_plan *plan, ssl_half half)
{
    return (half & SSL_LABELLED ? plan->n_labelled : 0) + (half & SSL_UNLABELLED ? plan->n_unlabelled : 0);
}

/* Images of `half` within a forward that saw `seen`. */
static kn_tensor half_of(const ssl_plan *plan, const kn_tensor *t, ssl_half seen, ssl_half half)
{
    int first = half == SSL_UNLABELLED && (seen & SSL_LABELLED) ? plan->n_labelled : 0;
    return kn_tensor_images(t, first, half_n(plan, half));
}

static int find_reference(tr_step *s, const ssl_term *term)
{
    ssl_half half = ssl_term_half(term->kind);
    for (int r = 0; r < s->n_references; r++)
        if (s->references[r].forward == term->ref && s->references[r].half == half)
            return r;
    s->references[s->n_references] = (reference){.forward = term->ref, .half = half};
    return s->n_references++;
}

static kn_quad_config term_config(const tr_options *o, ssl_term_kind kind)
{
    bool labelled = ssl_term_half(kind) == SSL_LABELLED, half_sum = o->sup == TR_SUP_SSL4MIS;
    kn_quad_config config = {.labelled = labelled, .weights = {1, 1, 1, 1}, .ce_scale = 1,
                             .dice_eps = o->dice_eps};
    if (labelled) {
        config.dice = half_sum ? KN_DICE_SQUARE : KN_DICE_LINEAR;
        config.ce_scale = config.dice_scale = half_sum ? 0.5 : 1;
    }
    if (kind == SSL_LQH || kind == SSL_UQH) {
        config.z_scope = o->z_scope;
        kn_region_weights(o->phi, o->phi_beta, labelled ? o->delta_l : o->delta_u, o->partition, labelled,
                          config.weights);
    }
    return config;
}

static void prepare_terms(tr_step *s)
{
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        prepared_term *ready = &s->terms[t];
        ready->config = term_config(s->options, term->kind);
        ready->reference = term->kind == SSL_SUP || term->kind == SSL_MSE ? SSL_NONE : find_reference(s, term);
        ready->updates_gamma = term->gamma != SSL_NONE && !s->options->gamma_fixed;
        for (int e = 0; e < t; e++)
            if (s->terms[e].reference == ready->reference && s->plan->terms[e].gamma == term->gamma)
                ready->updates_gamma = false;
    }
}

static void lay_out(tr_step *s)
{
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n = (size_t)half_n(s->plan, SSL_BOTH), conf_bytes = kn_dtype_bytes(kn_engine_dtype(s->learner->engine));
    s->arena_used = 0;
    for (int r = 0; r < s->n_references; r++) {
        size_t n_half = (size_t)half_n(s->plan, s->references[r].half);
        s->references[r].ref.y = take(s, n_half * px);
        s->references[r].ref.conf = take(s, n_half * px * conf_bytes);
    }
    for (int t = 0; t < s->plan->n_terms; t++) {
        size_t n_half = (size_t)half_n(s->plan, ssl_term_half(s->plan->terms[t].kind));
        s->terms[t].region = take(s, n_half * px);
        s->terms[t].z_image = take(s, n_half * sizeof(double));
    }
    s->snap_label = take(s, n * px);
    s->snap_y = take(s, n * px);
    s->snap_ref = take(s, n * px);
    s->snap_region = take(s, n * px);
}

static void step_init(tr_step *s, tr_learner *learner, const tr_options *options, int patch_px)
{
    *s = (tr_step){.learner = learner, .options = options, .plan = &learner->plan, .patch_px = patch_px};
    prepare_terms(s);
    lay_out(s); /* counts */
}

static kn_pass_options pass_options(const tr_step *s, const ssl_forward *forward)
{
    return (kn_pass_options){
        .mode = forward->grad ? KN_PASS_TRAIN : KN_PASS_NOGRAD,
        .n = half_n(s->plan, forward->half),
        .h = s->patch_px,
        .w = s->patch_px,
        .no_dropout = s->options->no_dropout,
    };
}

int64_t tr_step_memory(const tr_learner *learner, const tr_options *options, int patch_px, GError **error)
{
    tr_learner copy = *learner;
    tr_step s;
    step_init(&s, &copy, options, patch_px);
    int64_t bytes = (int64_t)s.arena_used;
    for (int f = 0; f < s.plan->n_forwards; f++) {
        kn_pass_options po = pass_options(&s, &s.plan->forwards[f]);
        int64_t n = kn_pass_memory(learner->engine, learner->net, &po, error);
        if (n < 0)
            return -1;
        bytes += n;
    }
    return bytes;
}

tr_step *tr_step_create(tr_learner *learner, const tr_options *options, int patch_px, GError **error)
{
    tr_step *s = g_new(tr_step, 1);
    step_init(s, learner, options, patch_px);
    if (!kn_block_alloc(&s->arena, s->arena_used, "the loss's buffers", error))
        goto fail;
    lay_out(s);
    for (int f = 0; f < s->plan->n_forwards; f++) {
        kn_pass_options po = pass_options(s, &s->plan->forwards[f]);
        s->passes[f] = kn_pass_create(learner->engine, learner->net, &po, error);
        if (!s->passes[f])
            goto fail;
    }
    return s;
fail:
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
    kn_block_free(&s->arena);
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
        tr_input_fill(kn_pass_input(s->passes[f]), batch->input, first, forward->noise, seed, noise);
        if (!kn_pass_forward(s->passes[f], s->learner->weights[forward->net],
                             qs_rng_stream_id(seed, dropout, 0), error))
            return false;
    }
    return true;
}

static const uint8_t *excluded_pixels(const tr_batch *batch, ssl_half half)
{
    return half == SSL_LABELLED ? batch->label : batch->exclude;
}

/* Softmax of every reference, then γ of every slot: partitions see the updated γ (A.6). */
static void run_references(tr_step *s, const tr_batch *batch)
{
    for (int r = 0; r < s->n_references; r++) {
        reference *at = &s->references[r];
        kn_tensor z = half_of(s->plan, kn_pass_logits(s->passes[at->forward]),
                              s->plan->forwards[at->forward].half, at->half);
        kn_loss_reference(s->learner->engine, &z, s->options->confidence, excluded_pixels(batch, at->half),
                          &at->ref);
    }
    for (int t = 0; t < s->plan->n_terms; t++) {
        if (!s->terms[t].updates_gamma)
            continue;
        double *gamma = s->learner->gamma[s->learner->slot[s->plan->terms[t].gamma]];
        kn_gamma_update(gamma, s->learner->n_classes, &s->references[s->terms[t].reference].ref,
                        s->options->gamma_a, s->options->gamma_absent);
    }
}

static void note_regions(const prepared_term *ready, tr_step_result *result, int half)
{
    const kn_quad_result *q = &ready->result;
    for (int r = 0; r < KN_N_REGIONS; r++) {
        result->region_px[half][r] += q->region_px[r];
        result->region_loss[half][r] += q->region_loss[r];
        result->region_right[half][r] += q->region_right[r];
        result->truth_px[half][r] += q->truth_px[r];
    }
}

/* Loss of a term, and with weight its gradient, added to p's. */
static double run_term(tr_step *s, int t, const tr_batch *batch, double weight, tr_step_result *result)
{
    kn_engine *engine = s->learner->engine;
    const ssl_term *term = &s->plan->terms[t];
    prepared_term *ready = &s->terms[t];
    ssl_half half = ssl_term_half(term->kind), seen = s->plan->forwards[term->p].half;
    kn_tensor z = half_of(s->plan, kn_pass_logits(s->passes[term->p]), seen, half);
    kn_tensor dz = half_of(s->plan, kn_pass_dlogits(s->passes[term->p]), seen, half);
    if (term->kind == SSL_MSE) {
        kn_tensor ref = half_of(s->plan, kn_pass_logits(s->passes[term->ref]), s->plan->forwards[term->ref].half, half);
        return kn_loss_mse(engine, &z, &ref, batch->exclude, weight, true, weight != 0 ? &dz : NULL);
    }
    bool labelled = half == SSL_LABELLED;
    const kn_reference *ref = ready->reference == SSL_NONE ? NULL : &s->references[ready->reference].ref;
    const uint8_t *label = labelled ? batch->label : NULL;
    const uint8_t *exclude = labelled ? NULL : batch->exclude;
    if (term->gamma != SSL_NONE)
        memcpy(ready->config.gamma, s->learner->gamma[s->learner->slot[term->gamma]], sizeof ready->config.gamma);
    kn_loss_partition(engine, &z, label, exclude, ref, labelled ? batch->label : batch->truth, &ready->config,
                      ready->region, ready->z_image, &ready->result);
    if (weight != 0)
        kn_loss_gradient(engine, &z, label, ref, ready->region, ready->z_image, &ready->config,
                         &ready->result, weight, true, &dz);
    if (term->gamma != SSL_NONE)
        note_regions(ready, result, labelled ? 0 : 1);
    return ready->result.loss;
}

static void clear_gradients(tr_step *s)
{
    for (int k = 0; k < s->plan->n_nets; k++)
        if (s->plan->nets[k].trained)
            kn_weights_zero_grads(s->learner->weights[k]);
    for (int f = 0; f < s->plan->n_forwards; f++) {
        if (!s->plan->forwards[f].grad)
            continue;
        const kn_tensor *dz = kn_pass_dlogits(s->passes[f]);
        memset(dz->data, 0, (size_t)kn_pixels(dz) * (size_t)dz->ldc * kn_dtype_bytes(dz->dtype));
    }
}

static void run_losses(tr_step *s, const tr_batch *batch, int64_t it, int64_t total, tr_step_result *result)
{
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        double weight = term->scale * tr_schedule_weight(s->options, s->plan, term->weight, it, total);
        double loss = run_term(s, t, batch, weight, result);
        result->loss += weight * loss;
        if (ssl_term_half(term->kind) == SSL_LABELLED)
            result->sup += term->scale * loss;
        else
            result->unsup += term->scale * loss;
    }
}

/* Backward, optimiser, moving averages. */
static bool learn(tr_step *s, int64_t it, const tr_step_result *result, GError **error)
{
    tr_learner *l = s->learner;
    for (int f = 0; f < s->plan->n_forwards; f++)
        if (s->plan->forwards[f].grad &&
            !kn_pass_backward(s->passes[f], l->weights[s->plan->forwards[f].net], error))
            return false;
    for (int k = 0; k < s->plan->n_nets; k++)
        if (s->plan->nets[k].trained)
            kn_sgd_step(l->weights[k], result->lr, s->options->momentum, s->options->weight_decay);
    for (int e = 0; e < s->plan->n_emas; e++) {
        const ssl_ema *ema = &s->plan->emas[e];
        kn_ema_update(l->weights[ema->teacher], l->weights[ema->student], kn_ema_alpha(ema->alpha, it),
                      ema->with_buffers);
    }
    return true;
}

bool tr_step_run(tr_step *s, const tr_batch *batch, int64_t it, int64_t total, tr_step_result *result,
                 GError **error)
{
    memset(result, 0, sizeof *result);
    result->lr = tr_schedule_lr(s->options, it, total);
    result->lambda = tr_schedule_lambda(s->options, it, total);
    if (!run_forwards(s, batch, it, error))
        return false;
    run_references(s, batch);
    clear_gradients(s);
    run_losses(s, batch, it, total, result);
    if (!isfinite(result->loss)) {
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                    "step %" G_GINT64_FORMAT ": the loss is %g (supervised %g, unsupervised %g, lr %g)", it,
                    result->loss, result->sup, result->unsup, result->lr);
        return false;
    }
    return learn(s, it, result, error);
}

void tr_step_snapshot(tr_step *s, const tr_batch *batch, int64_t it, tr_snapshot *snap)
{
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n_l = (size_t)batch->n_labelled * px, n_u = (size_t)(batch->n - batch->n_labelled) * px;
    *snap = (tr_snapshot){.iteration = it, .n = batch->n, .n_labelled = batch->n_labelled,
                          .patch_px = s->patch_px, .n_classes = s->learner->n_classes, .rgb = batch->rgb,
                          .label = s->snap_label, .y = s->snap_y};
    memcpy(s->snap_label, batch->label, n_l);
    memset(s->snap_label + n_l, QS_CLASS_IGNORE, n_u);
    memset(s->snap_ref, QS_CLASS_IGNORE, n_l + n_u);
    memset(s->snap_region, KN_REGION_EXCLUDED, n_l + n_u);
    int shown = SSL_NONE; /* the model's forward with gradient */
    for (int f = s->plan->n_forwards - 1; f >= 0; f--)
        if (s->plan->forwards[f].grad && s->plan->forwards[f].net == s->plan->model_net)
            shown = f;
    bool from_first = (s->plan->forwards[shown].half & SSL_LABELLED) != 0;
    memset(s->snap_y, QS_CLASS_IGNORE, n_l + n_u);
    kn_argmax(s->learner->engine, kn_pass_logits(s->passes[shown]), s->snap_y + (from_first ? 0 : n_l));
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        if (term->p != shown || s->terms[t].reference == SSL_NONE)
            continue;
        bool labelled = ssl_term_half(term->kind) == SSL_LABELLED;
        size_t at = labelled ? 0 : n_l, n = labelled ? n_l : n_u;
        memcpy(s->snap_ref + at, s->references[s->terms[t].reference].ref.y, n);
        snap->y_ref = s->snap_ref;
        if (term->gamma != SSL_NONE) {
            memcpy(s->snap_region + at, s->terms[t].region, n);
            snap->region = s->snap_region;
        }
    }
}
