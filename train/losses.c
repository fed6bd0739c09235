#include "train/losses.h"

#include "kernels/memory.h"
#include "train/schedule.h"
#include "train/thresholds.h"
#include "train/weights.h"

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
    int reference;         /* SSL_NONE where there is none; of an added term p itself */
    int compared;          /* added: what p is compared with; else SSL_NONE */
    bool updates_gamma;    /* the first term of its (reference, slot) */
    uint8_t *region;       /* (n of its half,h,w) */
    double *z_image;       /* (n of its half) */
    kn_quad_result result;
} prepared_term;

struct tr_losses {
    tr_learner *learner; /* borrowed */
    const tr_options *options;
    const ssl_plan *plan;
    int patch_px;
    reference references[2 * SSL_TERMS_MAX];
    int n_references;
    prepared_term terms[SSL_TERMS_MAX];
    kn_block arena;      /* the engine's: what its passes over pixels read and write */
    kn_block host_arena; /* the rest */
    size_t arena_used, host_used;
    /* Where the engine has memory of its own: the batch's planes there. */
    uint8_t *label, *truth, *exclude;
    uint8_t *held_truth; /* (n_unlabelled,h,w) of held-back images, 255 in all others */
    uint8_t *snap_label, *snap_y, *snap_ref, *snap_region; /* (n,h,w) */
};

/* ---- preparation ---------------------------------------------------------------------------- */

int tr_half_n(const ssl_plan *plan, ssl_half half)
{
    return (half & SSL_LABELLED ? plan->n_labelled : 0) +
           (half & SSL_UNLABELLED ? plan->n_unlabelled : 0);
}

static int find_reference(tr_losses *s, int forward, ssl_half half)
{
    for (int r = 0; r < s->n_references; r++)
        if (s->references[r].forward == forward && s->references[r].half == half)
            return r;
    reference *fresh = &s->references[s->n_references];
    *fresh = (reference){.forward = forward, .half = half};
    tr_thresholds_ask(s->options, &fresh->ref);
    return s->n_references++;
}

static kn_quad_config term_config(const tr_options *o, const ssl_term *term)
{
    bool labelled = ssl_term_half(term->kind) == SSL_LABELLED;
    bool half_sum = o->sup == TR_SUP_SSL4MIS;
    kn_quad_config config = {
        .labelled = labelled, .weights = {1, 1, 1, 1}, .ce_scale = 1, .dice_eps = o->dice_eps};
    if (labelled && !term->added) {
        config.dice = half_sum ? KN_DICE_SQUARE : KN_DICE_LINEAR;
        config.ce_scale = config.dice_scale = half_sum ? 0.5 : 1;
    }
    if (term->kind == SSL_LQH || term->kind == SSL_UQH) {
        config.z_scope = o->z_scope;
        config.norm = o->norm_mode;
        config.uc = o->uc;
        kn_region_weights(o->phi, o->phi_beta, labelled ? o->delta_l : o->delta_u, o->partition,
                          labelled && o->swap_labelled, config.weights);
    }
    return config;
}

/* A term's factor beside its weight over time. */
static double term_scale(const tr_options *o, const ssl_term *term)
{
    double of_kind = term->kind == SSL_UQH   ? o->uqh_scale
                     : term->kind == SSL_LQH ? o->lqh_scale
                                             : 1;
    return term->scale * of_kind;
}

static void prepare_terms(tr_losses *s)
{
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        prepared_term *ready = &s->terms[t];
        ssl_half half = ssl_term_half(term->kind);
        bool alone = term->kind == SSL_SUP || term->kind == SSL_MSE;
        ready->config = term_config(s->options, term);
        ready->reference =
            alone ? SSL_NONE : find_reference(s, term->added ? term->p : term->ref, half);
        ready->compared = term->added ? find_reference(s, term->ref, half) : SSL_NONE;
        ready->updates_gamma = term->gamma != SSL_NONE;
        for (int e = 0; e < t; e++)
            if (s->terms[e].reference == ready->reference && s->plan->terms[e].gamma == term->gamma)
                ready->updates_gamma = false;
    }
}

/* Takes n bytes of the arena; while it is not allocated, only counts them. */
static void *take(tr_losses *s, size_t n)
{
    size_t at = s->arena_used;
    s->arena_used += kn_round_up(n, KN_ALIGN);
    return s->arena.data ? (char *)s->arena.data + at : NULL;
}

static void *take_host(tr_losses *s, size_t n)
{
    size_t at = s->host_used;
    s->host_used += kn_round_up(n, KN_ALIGN);
    return s->host_arena.data ? (char *)s->host_arena.data + at : NULL;
}

static void lay_out(tr_losses *s)
{
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px, n = (size_t)tr_half_n(s->plan, SSL_BOTH);
    size_t conf_bytes = kn_dtype_bytes(kn_engine_dtype(s->learner->engine));
    s->arena_used = s->host_used = 0;
    for (int r = 0; r < s->n_references; r++) {
        size_t n_half = (size_t)tr_half_n(s->plan, s->references[r].half);
        s->references[r].ref.y = take(s, n_half * px);
        s->references[r].ref.conf = take(s, n_half * px * conf_bytes);
    }
    for (int t = 0; t < s->plan->n_terms; t++) {
        size_t n_half = (size_t)tr_half_n(s->plan, ssl_term_half(s->plan->terms[t].kind));
        s->terms[t].region = take(s, n_half * px);
        s->terms[t].z_image = take_host(s, n_half * sizeof(double));
    }
    s->held_truth = take(s, (size_t)s->plan->n_unlabelled * px);
    if (kn_engine_is_device(s->learner->engine)) {
        s->label = take(s, (size_t)s->plan->n_labelled * px);
        s->truth = take(s, (size_t)s->plan->n_unlabelled * px);
        s->exclude = take(s, (size_t)s->plan->n_unlabelled * px);
    }
    s->snap_label = take_host(s, n * px);
    s->snap_y = take_host(s, n * px);
    s->snap_ref = take_host(s, n * px);
    s->snap_region = take_host(s, n * px);
}

static void losses_init(tr_losses *s, tr_learner *learner, const tr_options *options, int patch_px)
{
    *s = (tr_losses){
        .learner = learner, .options = options, .plan = &learner->plan, .patch_px = patch_px};
    prepare_terms(s);
    lay_out(s); /* counts */
}

int64_t tr_losses_memory(const tr_learner *learner, const tr_options *options, int patch_px)
{
    tr_learner copy = *learner;
    tr_losses s;
    losses_init(&s, &copy, options, patch_px);
    return (int64_t)(s.arena_used + s.host_used);
}

tr_losses *tr_losses_create(tr_learner *learner, const tr_options *options, int patch_px,
                            GError **error)
{
    tr_losses *s = g_new(tr_losses, 1);
    losses_init(s, learner, options, patch_px);
    if (!kn_engine_alloc(learner->engine, &s->arena, s->arena_used, "the loss's buffers", error) ||
        !kn_block_alloc(&s->host_arena, s->host_used, "the loss's buffers", error)) {
        tr_losses_destroy(s);
        return NULL;
    }
    lay_out(s);
    return s;
}

void tr_losses_destroy(tr_losses *s)
{
    if (!s)
        return;
    kn_engine_free(s->learner->engine, &s->arena);
    kn_block_free(&s->host_arena);
    g_free(s);
}

/* ---- running -----------------------------------------------------------------------------------
 */

/* Images of `half` within a forward that saw `seen`. */
static kn_tensor half_of(const ssl_plan *plan, const kn_tensor *t, ssl_half seen, ssl_half half)
{
    int first = half == SSL_UNLABELLED && (seen & SSL_LABELLED) ? plan->n_labelled : 0;
    return kn_tensor_images(t, first, tr_half_n(plan, half));
}

/* Softmax of every reference, then γ of every slot: partitions see the updated γ (A.6). */
static void run_references(tr_losses *s, const tr_batch *batch, const kn_tensor *const *logits)
{
    for (int r = 0; r < s->n_references; r++) {
        reference *at = &s->references[r];
        kn_tensor z =
            half_of(s->plan, logits[at->forward], s->plan->forwards[at->forward].half, at->half);
        kn_loss_reference(s->learner->engine, &z, s->options->confidence,
                          at->half == SSL_LABELLED ? batch->label : batch->exclude, &at->ref);
    }
    for (int t = 0; t < s->plan->n_terms; t++) {
        if (!s->terms[t].updates_gamma)
            continue;
        tr_thresholds_update(s->learner, s->options, s->plan->terms[t].gamma,
                             &s->references[s->terms[t].reference].ref);
    }
}

static void note_regions(const kn_quad_result *q, tr_step_result *result, int half)
{
    for (int r = 0; r < KN_N_REGIONS; r++) {
        result->region_px[half][r] += q->region_px[r];
        result->region_loss[half][r] += q->region_loss[r];
        result->region_right[half][r] += q->region_right[r];
        result->truth_px[half][r] += q->truth_px[r];
    }
}

/* A term on labels or on a reference's argmax; dz NULL: no gradient. */
static double run_quad(tr_losses *s, int t, const tr_batch *batch, const kn_tensor *z,
                       double weight, const kn_tensor *dz, tr_step_result *result)
{
    kn_engine *engine = s->learner->engine;
    const ssl_term *term = &s->plan->terms[t];
    prepared_term *ready = &s->terms[t];
    bool labelled = ready->config.labelled;
    const kn_reference *ref =
        ready->reference == SSL_NONE ? NULL : &s->references[ready->reference].ref;
    const uint8_t *label = labelled ? batch->label : NULL;
    if (ready->compared != SSL_NONE)
        ready->config.compare = s->references[ready->compared].ref.y;
    const uint8_t *truth = labelled ? batch->label : batch->truth;
    bool weigh = s->options->weights == TR_WEIGHTS_AUTO && term->kind == SSL_UQH;
    if (term->gamma != SSL_NONE)
        memcpy(ready->config.gamma, s->learner->gamma[s->learner->slot[term->gamma]],
               sizeof ready->config.gamma);
    if (weigh) {
        tr_weights_now(s->learner, s->options, term->gamma, ready->config.weights, NULL);
        truth = s->held_truth; /* no other label may come near the weights */
    }
    kn_loss_partition(engine, z, label, labelled ? NULL : batch->exclude, ref, truth,
                      &ready->config, ready->region, ready->z_image, &ready->result);
    if (weigh)
        tr_weights_note(s->learner, s->options, term->gamma, ready->result.region_right,
                        ready->result.truth_px);
    if (dz)
        kn_loss_gradient(engine, z, label, ref, ready->region, ready->z_image, &ready->config,
                         &ready->result, weight, true, dz);
    if (term->gamma != SSL_NONE)
        note_regions(&ready->result, result, labelled ? 0 : 1);
    return ready->result.loss;
}

static void run_term(tr_losses *s, int t, const tr_batch *batch, const kn_tensor *const *logits,
                     const kn_tensor *const *dlogits, double weight, tr_step_result *result)
{
    const ssl_term *term = &s->plan->terms[t];
    ssl_half half = ssl_term_half(term->kind), seen = s->plan->forwards[term->p].half;
    kn_tensor z = half_of(s->plan, logits[term->p], seen, half);
    kn_tensor dz = half_of(s->plan, dlogits[term->p], seen, half);
    const kn_tensor *to = weight != 0 ? &dz : NULL;
    double loss;
    if (term->kind == SSL_MSE) {
        kn_tensor ref =
            half_of(s->plan, logits[term->ref], s->plan->forwards[term->ref].half, half);
        loss = kn_loss_mse(s->learner->engine, &z, &ref, batch->exclude, weight, true, to);
    } else {
        loss = run_quad(s, t, batch, &z, weight, to, result);
    }
    result->loss += weight * loss;
    if (half == SSL_LABELLED)
        result->sup += term_scale(s->options, term) * loss;
    else
        result->unsup += term_scale(s->options, term) * loss;
}

/* The batch with its planes where the engine computes. */
static tr_batch on_engine(tr_losses *s, const tr_batch *batch)
{
    kn_engine *engine = s->learner->engine;
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n_l = (size_t)s->plan->n_labelled * px, n_u = (size_t)s->plan->n_unlabelled * px;
    tr_batch there = *batch;
    if (!kn_engine_is_device(engine))
        return there;
    kn_engine_upload(engine, s->label, batch->label, n_l);
    kn_engine_upload(engine, s->truth, batch->truth, n_u);
    kn_engine_upload(engine, s->exclude, batch->exclude, n_u);
    there.label = s->label;
    there.truth = s->truth;
    there.exclude = s->exclude;
    return there;
}

/* The truths of the held-back images, 255 for all others. */
static void hold_truth(tr_losses *s, const tr_batch *batch)
{
    kn_engine *engine = s->learner->engine;
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n_u = (size_t)s->plan->n_unlabelled * px, n_held = (size_t)batch->n_held * px;
    if (s->options->weights != TR_WEIGHTS_AUTO)
        return;
    memset(s->snap_label, QS_CLASS_IGNORE, n_u);
    memcpy(s->snap_label, batch->truth, n_held);
    kn_engine_upload(engine, s->held_truth, s->snap_label, n_u);
}

void tr_losses_run(tr_losses *s, const tr_batch *host_batch, const kn_tensor *const *logits,
                   const kn_tensor *const *dlogits, int64_t it, int64_t total,
                   tr_step_result *result)
{
    const tr_batch there = on_engine(s, host_batch), *batch = &there;
    hold_truth(s, host_batch);
    run_references(s, batch, logits);
    for (int f = 0; f < s->plan->n_forwards;
         f++) { /* terms accumulate; a half without a term stays 0 */
        if (s->plan->forwards[f].grad)
            kn_engine_clear(s->learner->engine, dlogits[f]);
    }
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        double weight = term_scale(s->options, term) *
                        tr_schedule_weight(s->options, s->plan, term->weight, it, total);
        run_term(s, t, batch, logits, dlogits, weight, result);
    }
}

/* ---- pictures
 * ------------------------------------------------------------------------------------ */

/* The first forward with gradient of the network that is the model. */
static int model_forward(const ssl_plan *plan)
{
    for (int f = 0; f < plan->n_forwards; f++)
        if (plan->forwards[f].grad && plan->forwards[f].net == plan->model_net)
            return f;
    g_assert_not_reached();
}

void tr_losses_snapshot(tr_losses *s, const tr_batch *batch, const kn_tensor *const *logits,
                        int64_t it, tr_snapshot *snap)
{
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n_l = (size_t)batch->n_labelled * px, n_u = (size_t)(batch->n - batch->n_labelled) * px;
    *snap = (tr_snapshot){.iteration = it,
                          .n = batch->n,
                          .n_labelled = batch->n_labelled,
                          .patch_px = s->patch_px,
                          .n_classes = s->learner->n_classes,
                          .rgb = batch->rgb,
                          .label = s->snap_label,
                          .y = s->snap_y};
    memcpy(s->snap_label, batch->label, n_l);
    memset(s->snap_label + n_l, QS_CLASS_IGNORE, n_u);
    memset(s->snap_y, QS_CLASS_IGNORE, n_l + n_u);
    memset(s->snap_ref, QS_CLASS_IGNORE, n_l + n_u);
    memset(s->snap_region, KN_REGION_EXCLUDED, n_l + n_u);
    int shown = model_forward(s->plan);
    bool from_first = (s->plan->forwards[shown].half & SSL_LABELLED) != 0;
    kn_argmax(s->learner->engine, logits[shown], s->snap_y + (from_first ? 0 : n_l));
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        if (term->p != shown || s->terms[t].reference == SSL_NONE)
            continue;
        bool labelled = ssl_term_half(term->kind) == SSL_LABELLED;
        size_t at = labelled ? 0 : n_l, n = labelled ? n_l : n_u;
        int seen = term->added ? s->terms[t].compared : s->terms[t].reference;
        kn_engine_download(s->learner->engine, s->snap_ref + at, s->references[seen].ref.y, n);
        snap->y_ref = s->snap_ref;
        if (term->gamma != SSL_NONE) {
            kn_engine_download(s->learner->engine, s->snap_region + at, s->terms[t].region, n);
            snap->region = s->snap_region;
        }
    }
}
