#include "train/loss/losses_priv.h"

#include "train/data/feed.h"
#include "train/plan/schedule.h"
#include "train/loss/region_weights.h"

#include <math.h>
#include <string.h>

/* ---- preparation ---------------------------------------------------------------------------- */

static int find_reference(tr_losses *s, int t, int forward, int output)
{
    const ssl_term *term = &s->plan->terms[t];
    int first, n = ssl_term_images(s->plan, term, forward, &first);
    ssl_half on = ssl_term_on(term);
    for (int r = 0; r < s->n_references; r++) {
        reference *at = &s->references[r];
        if (at->forward != forward || at->output != output || at->on != on || at->first != first ||
            at->n != n)
            continue;
        at->stages = at->stages && term->stages ? at->stages | term->stages : 0;
        return r;
    }
    reference *fresh = &s->references[s->n_references];
    *fresh = (reference){forward, output, first, n, on, t, term->stages, {0}, NULL};
    tr_thresholds_ask(s->options, &fresh->ref);
    return s->n_references++;
}

/* Planes of the images of term t; SSL_NONE where they are not mixed. */
static int find_planes(tr_losses *s, const ssl_term *term)
{
    const ssl_forward *p = &s->plan->forwards[term->p];
    bool unmixed =
        p->mix == SSL_MIX_NONE || (p->mix == SSL_MIX_CUT && ssl_term_on(term) == SSL_LABELLED);
    if (unmixed)
        return SSL_NONE;
    for (int m = 0; m < s->n_mixes; m++) {
        const ssl_forward *other = &s->plan->forwards[s->mixes[m].forward];
        if (other->mix == p->mix && other->half == p->half)
            return m;
    }
    s->mixes[s->n_mixes] = (mixed){.forward = term->p};
    return s->n_mixes++;
}

static kn_quad_config term_config(const tr_options *o, const ssl_term *term)
{
    bool labelled = ssl_term_half(term->kind) == SSL_LABELLED || term->kind == SSL_HARD;
    bool half_sum = o->sup == TR_SUP_SSL4MIS;
    kn_quad_config config = {
        .labelled = labelled, .weights = {1, 1, 1, 1}, .ce_scale = 1, .dice_eps = o->dice_eps};
    if (labelled && !term->added) {
        config.dice = half_sum ? KN_DICE_SQUARE : KN_DICE_LINEAR;
        config.ce_scale = config.dice_scale = half_sum ? 0.5 : 1;
    }
    if (term->dice_only) {
        config.ce_scale = 0;
        config.dice_scale = 1;
    }
    if (term->kind ==
        SSL_PSEUDO) { /* confident pixels over all; at least τ is more than just below */
        config.weights[KN_REGION_US] = config.weights[KN_REGION_DS] = 0;
        config.norm = KN_CE_PIXELS;
        for (int c = 0; c < QS_CLASSES_MAX; c++)
            config.gamma[c] = nextafter(term->tau, 0);
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

static void prepare_term(tr_losses *s, int t)
{
    const ssl_term *term = &s->plan->terms[t];
    prepared_term *ready = &s->terms[t];
    bool alone = term->kind == SSL_SUP || term->kind == SSL_MSE || term->kind == SSL_OWN;
    ready->config = term_config(s->options, term);
    ready->n = ssl_term_images(s->plan, term, term->p, &ready->first);
    ready->mixed = find_planes(s, term);
    ready->reference = ready->compared = SSL_NONE;
    if (!alone && term->added)
        ready->reference = find_reference(s, t, term->p, term->p_output);
    else if (!alone)
        ready->reference = find_reference(s, t, term->ref, term->ref_output);
    if (term->added)
        ready->compared = find_reference(s, t, term->ref, term->ref_output);
    ready->updates_gamma = term->gamma != SSL_NONE;
    for (int e = 0; e < t; e++)
        if (s->terms[e].reference == ready->reference && s->plan->terms[e].gamma == term->gamma)
            ready->updates_gamma = false;
}

static void prepare_terms(tr_losses *s)
{
    for (int t = 0; t < s->plan->n_terms; t++)
        prepare_term(s, t);
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

static void lay_out_term(tr_losses *s, int t, size_t px, size_t real)
{
    const ssl_term *term = &s->plan->terms[t];
    prepared_term *ready = &s->terms[t];
    size_t n = (size_t)ready->n;
    ready->region = take(s, n * px);
    ready->z_image = take(s, n * sizeof(double));
    if (term->kind == SSL_OWN && term->own_bytes)
        ready->scratch = take(s, term->own_bytes((int64_t)(n * px), s->learner->n_classes, real));
    if (term->own_staged && kn_engine_is_device(s->learner->engine))
        ready->staging =
            take_host(s, term->own_bytes((int64_t)(n * px), s->learner->n_classes, real));
}

enum { N_PLANES = 6 };

static void list_planes(kn_planes *p, uint8_t **all[N_PLANES])
{
    all[0] = &p->label;
    all[1] = &p->exclude;
    all[2] = &p->truth;
    all[3] = &p->held;
    all[4] = &p->outer;
    all[5] = &p->inner;
}

/* Made on the host, used where the engine computes. */
static void lay_out_planes(tr_losses *s, mixed *m, size_t bytes)
{
    uint8_t **there[N_PLANES], **host[N_PLANES];
    m->bytes = bytes;
    list_planes(&m->planes, there);
    list_planes(&m->host, host);
    for (int i = 0; i < N_PLANES; i++) {
        *there[i] = take(s, bytes);
        *host[i] = take_host(s, bytes);
    }
}

static void lay_out(tr_losses *s)
{
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n = (size_t)ssl_half_n(s->plan, SSL_BOTH);
    size_t real = kn_dtype_bytes(kn_engine_dtype(s->learner->engine));
    bool looks_at_both = false;
    s->arena_used = s->host_used = 0;
    for (int r = 0; r < s->n_references; r++) {
        s->references[r].ref.y = take(s, (size_t)s->references[r].n * px);
        s->references[r].ref.conf = take(s, (size_t)s->references[r].n * px * real);
        s->references[r].sums = take(s, sizeof(kn_ref_sums));
    }
    s->there = take(s, sizeof(numbers));
    s->weights = take(s, sizeof(double[SSL_GAMMAS_MAX][KN_N_REGIONS]));
    s->host_weights = take_host(s, sizeof(double[SSL_GAMMAS_MAX][KN_N_REGIONS]));
    for (int i = 0; i < TR_LOSSES_AHEAD; i++) {
        numbers *fetched = take_host(s, sizeof(numbers));
        s->records[i] = (run_record){
            .losses = s, .found = kn_engine_is_device(s->learner->engine) ? fetched : s->there};
    }
    for (int t = 0; t < s->plan->n_terms; t++) {
        lay_out_term(s, t, px, real);
        looks_at_both = looks_at_both || s->plan->terms[t].kind == SSL_OWN;
    }
    for (int m = 0; m < s->n_mixes; m++) {
        const ssl_forward *forward = &s->plan->forwards[s->mixes[m].forward];
        lay_out_planes(s, &s->mixes[m], (size_t)ssl_forward_n(s->plan, forward) * px);
    }
    s->both = looks_at_both ? take(s, n * px) : NULL;
    s->host_both = looks_at_both ? take_host(s, n * px) : NULL;
    s->held_truth = take(s, (size_t)s->plan->n_unlabelled * px);
    s->host_held = take_host(s, (size_t)s->plan->n_unlabelled * px);
    if (kn_engine_is_device(s->learner->engine)) {
        s->label = take(s, (size_t)s->plan->n_labelled * px);
        s->truth = take(s, (size_t)s->plan->n_unlabelled * px);
        s->exclude = take(s, (size_t)s->plan->n_unlabelled * px);
    }
    s->snap_label = take_host(s, n * px);
    s->snap_y = take_host(s, n * px);
    s->snap_ref = take_host(s, n * px);
    s->snap_region = take_host(s, n * px);
    s->snap_mixed = take_host(s, n * px);
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

/* What the learner has, where the engine computes. */
static void send_state(tr_losses *s)
{
    kn_engine *engine = s->learner->engine;
    numbers *now = s->records[0].found;
    for (int g = 0; s->options->weights == TR_WEIGHTS_AUTO && g < s->plan->n_gammas; g++)
        tr_weights_now(s->learner, s->options, g, s->host_weights + g * KN_N_REGIONS, NULL);
    if (!kn_engine_is_device(engine))
        return;
    memcpy(now->memory, s->learner->memory, sizeof now->memory);
    memcpy(now->gamma, s->learner->gamma, sizeof now->gamma);
    memcpy(now->gamma_state, s->learner->gamma_state, sizeof now->gamma_state);
    kn_engine_upload(engine, s->there, now, sizeof *now);
    kn_engine_await(engine, kn_engine_mark(engine));
}

tr_losses *tr_losses_create(tr_learner *learner, const tr_options *options, int patch_px,
                            GError **error)
{
    tr_losses *s = g_new(tr_losses, 1);
    losses_init(s, learner, options, patch_px);
    if (!kn_engine_alloc(learner->engine, &s->arena, s->arena_used, "the loss's buffers", error) ||
        !kn_engine_host_alloc(learner->engine, &s->host_arena, s->host_used, "the loss's buffers",
                              error)) {
        tr_losses_destroy(s);
        return NULL;
    }
    lay_out(s);
    send_state(s);
    return s;
}

void tr_losses_destroy(tr_losses *s)
{
    if (!s)
        return;
    kn_engine_free(s->learner->engine, &s->arena);
    if (s->host_arena.data)
        kn_engine_host_free(s->learner->engine, &s->host_arena);
    g_free(s);
}

/* ---- running -----------------------------------------------------------------------------------
 */

/* What a term may see of its images' pixels. */
typedef struct {
    const uint8_t *label;   /* of terms on labelled pixels, else NULL */
    const uint8_t *exclude; /* NULL: nothing but what label excludes */
    const uint8_t *truth;   /* for region accuracy */
    const uint8_t *held;
} sight;

static sight sight_of(const tr_losses *s, const tr_batch *batch, int t)
{
    const ssl_term *term = &s->plan->terms[t];
    const prepared_term *ready = &s->terms[t];
    ssl_half on = ssl_term_on(term);
    if (ready->mixed == SSL_NONE) {
        if (on == SSL_BOTH)
            return (sight){.exclude = s->both};
        if (on == SSL_LABELLED)
            return (sight){.label = batch->label,
                           .exclude = term->kind == SSL_OWN ? s->both : NULL,
                           .truth = batch->label};
        return (sight){NULL, batch->exclude, batch->truth, s->held_truth};
    }
    const kn_planes *p = &s->mixes[ready->mixed].planes;
    size_t at = (size_t)ready->first * (size_t)s->patch_px * (size_t)s->patch_px;
    sight seen = {.truth = p->truth + at, .held = p->held + at};
    if (on & SSL_LABELLED)
        seen.label = p->label + at;
    if (on & SSL_UNLABELLED)
        seen.exclude = p->exclude + at;
    if (term->where != SSL_WHERE_ALL)
        seen.exclude = (term->where == SSL_WHERE_OUTER ? p->outer : p->inner) + at;
    return seen;
}

static kn_tensor images_of(const tr_losses *s, const ssl_term *term, const kn_tensor *t, int f)
{
    int first, n = ssl_term_images(s->plan, term, f, &first);
    return kn_tensor_images(t, first, n);
}

/* The planes of one way of mixing, made and sent to the engine. */
static void fill_mixed(tr_losses *s, mixed *m, const tr_batch *batch, int64_t it)
{
    const ssl_forward *forward = &s->plan->forwards[m->forward];
    uint8_t **there[N_PLANES], **host[N_PLANES];
    for (int i = 0; i < ssl_forward_n(s->plan, forward); i++) {
        kn_view view = tr_view_of(s->plan, s->options, forward, s->patch_px, it, i);
        tr_planes_fill(&m->host, batch, s->host_held, &view, i);
    }
    list_planes(&m->planes, there);
    list_planes(&m->host, host);
    for (int i = 0; i < N_PLANES; i++)
        kn_engine_upload(s->learner->engine, *there[i], *host[i], m->bytes);
}

/* As fill_planes, of a batch that the engine's device has. */
static void fill_planes_there(tr_losses *s, tr_feed *feed)
{
    bool held = s->options->weights == TR_WEIGHTS_AUTO;
    if (held || s->both)
        tr_feed_whole(feed, s->both, held ? s->held_truth : NULL);
    for (int m = 0; m < s->n_mixes; m++)
        tr_feed_mixed(feed, s->mixes[m].forward, &s->mixes[m].planes);
}

/* What held-back patches, mixed images and terms on both halves need of the batch, which is the
 * host's. */
static void fill_planes(tr_losses *s, const tr_batch *batch, int64_t it)
{
    kn_engine *engine = s->learner->engine;
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n_l = (size_t)s->plan->n_labelled * px, n_u = (size_t)s->plan->n_unlabelled * px;
    if (batch->feed) {
        fill_planes_there(s, batch->feed);
        return;
    }
    memset(s->host_held, QS_CLASS_IGNORE, n_u);
    memcpy(s->host_held, batch->truth, (size_t)batch->n_held * px);
    if (s->options->weights == TR_WEIGHTS_AUTO)
        kn_engine_upload(engine, s->held_truth, s->host_held, n_u);
    for (int m = 0; m < s->n_mixes; m++)
        fill_mixed(s, &s->mixes[m], batch, it);
    if (!s->both)
        return;
    for (size_t i = 0; i < n_l; i++)
        s->host_both[i] = batch->label[i] == QS_CLASS_IGNORE ? QS_CLASS_IGNORE : 0;
    memcpy(s->host_both + n_l, batch->exclude, n_u);
    kn_engine_upload(engine, s->both, s->host_both, n_l + n_u);
}

/* γ of a slot, and what its rule averages, where the engine computes. */
static double *gamma_of(tr_losses *s, int slot)
{
    int row = s->learner->slot[slot];
    return kn_engine_is_device(s->learner->engine) ? s->there->gamma[row] : s->learner->gamma[row];
}

static double *gamma_state_of(tr_losses *s, int slot)
{
    int row = s->learner->slot[slot];
    return kn_engine_is_device(s->learner->engine) ? s->there->gamma_state[row]
                                                   : s->learner->gamma_state[row];
}

/* Softmax of every reference, then γ of every slot: partitions see the updated γ (A.6). */
static void run_references(tr_losses *s, const tr_batch *batch, const tr_prediction *of, int stage)
{
    const kn_gamma_rule rule = tr_thresholds_rule(s->options, s->it);
    for (int r = 0; r < s->n_references; r++) {
        reference *at = &s->references[r];
        if (!ssl_in_stage(at->stages, stage))
            continue;
        kn_tensor z = kn_tensor_images(of[at->forward].z[at->output], at->first, at->n);
        sight seen = sight_of(s, batch, at->term);
        kn_loss_reference_at(s->learner->engine, &z, s->options->confidence,
                             at->on == SSL_LABELLED ? seen.label : seen.exclude, &at->ref,
                             at->sums);
    }
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        if (s->terms[t].updates_gamma && ssl_in_stage(term->stages, stage))
            kn_gamma_update_at(s->learner->engine, &rule, s->learner->n_classes,
                               s->references[s->terms[t].reference].sums, gamma_of(s, term->gamma),
                               gamma_state_of(s, term->gamma));
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

/* Does the term weigh its regions by what held-back pixels say? */
static bool is_weighed(const tr_losses *s, const ssl_term *term)
{
    return s->options->weights == TR_WEIGHTS_AUTO && term->kind == SSL_UQH;
}

/* The weights of the counts so far; a device has them of the last step's end_held. */
static void begin_held(tr_losses *s)
{
    if (s->options->weights != TR_WEIGHTS_AUTO)
        return;
    for (int g = 0; !kn_engine_is_device(s->learner->engine) && g < s->plan->n_gammas; g++)
        tr_weights_now(s->learner, s->options, g, s->host_weights + g * KN_N_REGIONS, NULL);
    kn_engine_upload(s->learner->engine, s->weights, s->host_weights,
                     sizeof(double[SSL_GAMMAS_MAX][KN_N_REGIONS]));
}

static void note_held(held_step *held, const kn_quad_result *q)
{
    held->used = true;
    for (int r = 0; r < KN_N_REGIONS; r++) {
        held->right[r] += q->region_right[r];
        held->seen[r] += q->truth_px[r];
    }
}

/* What a run has counted, and the weights of the next. Between the engine's passes: the learner's
 * counts and host_weights are this function's until somebody waits. */
static void end_held(void *user)
{
    const run_record *run = user;
    tr_losses *s = run->losses;
    held_step held[SSL_GAMMAS_MAX] = {{{0}, {0}, false}};
    for (int t = 0; t < s->plan->n_terms; t++)
        if (run->ran[t] && is_weighed(s, &s->plan->terms[t]))
            note_held(&held[s->plan->terms[t].gamma], &run->found->quad[t]);
    for (int g = 0; g < s->plan->n_gammas; g++)
        if (held[g].used)
            tr_weights_note(s->learner, s->options, g, held[g].right, held[g].seen);
    for (int g = 0; g < s->plan->n_gammas; g++)
        tr_weights_now(s->learner, s->options, g, s->host_weights + g * KN_N_REGIONS, NULL);
}

/* A term on labels or on a reference's argmax; dz NULL: no gradient. */
static void run_quad(tr_losses *s, int t, const tr_batch *batch, const kn_tensor *z, double weight,
                     const kn_tensor *dz)
{
    kn_engine *engine = s->learner->engine;
    const ssl_term *term = &s->plan->terms[t];
    prepared_term *ready = &s->terms[t];
    sight seen = sight_of(s, batch, t);
    const kn_reference *ref =
        ready->reference == SSL_NONE ? NULL : &s->references[ready->reference].ref;
    const uint8_t *label = seen.label, *truth = seen.truth;
    if (term->kind == SSL_HARD) {
        label = ref->y;
        ref = NULL;
        truth = NULL;
    }
    if (ready->compared != SSL_NONE)
        ready->config.compare = s->references[ready->compared].ref.y;
    if (term->gamma != SSL_NONE)
        ready->config.gamma_at = gamma_of(s, term->gamma);
    if (is_weighed(s, term)) {
        ready->config.weights_at = s->weights + term->gamma * KN_N_REGIONS;
        truth = seen.held; /* no other label may come near the weights */
    }
    kn_quad_result *result = &s->there->quad[t];
    kn_loss_partition_at(engine, z, label, seen.exclude, ref, truth, &ready->config, ready->region,
                         ready->z_image, result);
    if (dz)
        kn_loss_gradient_at(engine, z, label, ref, ready->region, ready->z_image, &ready->config,
                            result, weight, true, dz);
}

static void run_own(tr_losses *s, int t, const tr_batch *batch, const tr_prediction *of,
                    double weight, int64_t it, int64_t total)
{
    const ssl_term *term = &s->plan->terms[t];
    sight seen = sight_of(s, batch, t);
    kn_tensor z[SSL_OPERANDS_MAX], dz[SSL_OPERANDS_MAX];
    ssl_own own = {.engine = s->learner->engine,
                   .n = term->n_operands + 1,
                   .label = seen.label,
                   .exclude = seen.exclude,
                   .scale = weight,
                   .it = it,
                   .total = total,
                   .values = s->options->method_values,
                   .value = &s->there->value[t],
                   .quad = &s->there->quad[t],
                   .memory = kn_engine_is_device(s->learner->engine) ? s->there->memory
                                                                     : s->learner->memory,
                   .scratch = s->terms[t].scratch,
                   .staging = s->terms[t].staging,
                   .batch = s->host_batch,
                   .history = s->learner->history,
                   .seed = s->options->seed};
    for (int i = 0; i < own.n; i++) {
        ssl_pred at = {term->p, term->p_output};
        if (i > 0)
            at = term->operands[i - 1];
        z[i] = images_of(s, term, of[at.forward].z[at.output], at.forward);
        own.z[i] = &z[i];
        if (!((term->grads >> i) & 1u) || weight == 0)
            continue;
        dz[i] = images_of(s, term, of[at.forward].dz[at.output], at.forward);
        own.dz[i] = &dz[i];
    }
    term->own(&own);
}

static void run_term(tr_losses *s, int t, const tr_batch *batch, const tr_prediction *of,
                     double weight, int64_t it, int64_t total)
{
    const ssl_term *term = &s->plan->terms[t];
    if (term->kind == SSL_OWN) {
        run_own(s, t, batch, of, weight, it, total);
        return;
    }
    kn_tensor z = images_of(s, term, of[term->p].z[term->p_output], term->p);
    kn_tensor dz = images_of(s, term, of[term->p].dz[term->p_output], term->p);
    const kn_tensor *to = weight != 0 ? &dz : NULL;
    if (term->kind == SSL_MSE) {
        kn_tensor ref = images_of(s, term, of[term->ref].z[term->ref_output], term->ref);
        sight seen = sight_of(s, batch, t);
        kn_loss_mse_at(s->learner->engine, &z, &ref, seen.exclude, weight, true, to,
                       &s->there->value[t]);
    } else {
        run_quad(s, t, batch, &z, weight, to);
    }
}

/* The batch with its planes where the engine computes. */
static tr_batch on_engine(tr_losses *s, const tr_batch *batch)
{
    kn_engine *engine = s->learner->engine;
    size_t px = (size_t)s->patch_px * (size_t)s->patch_px;
    size_t n_l = (size_t)s->plan->n_labelled * px, n_u = (size_t)s->plan->n_unlabelled * px;
    tr_batch there = *batch;
    if (!kn_engine_is_device(engine) || batch->feed)
        return there;
    kn_engine_upload(engine, s->label, batch->label, n_l);
    kn_engine_upload(engine, s->truth, batch->truth, n_u);
    kn_engine_upload(engine, s->exclude, batch->exclude, n_u);
    there.label = s->label;
    there.truth = s->truth;
    there.exclude = s->exclude;
    return there;
}

/* Terms accumulate; images without a term stay 0. */
static void clear_gradients(tr_losses *s, const tr_prediction *of)
{
    for (int f = 0; f < s->plan->n_forwards; f++)
        for (int o = 0; o < KN_OUTPUTS_MAX; o++)
            if (s->plan->forwards[f].grad && of[f].dz[o])
                kn_engine_clear(s->learner->engine, of[f].dz[o]);
}

/* The numbers on their way to the record, and what is made of them before the next run. */
static void send_numbers(tr_losses *s, run_record *run)
{
    kn_engine *engine = s->learner->engine;
    if (kn_engine_is_device(engine))
        kn_engine_fetch(engine, run->found, s->there, sizeof *s->there);
    if (s->options->weights == TR_WEIGHTS_AUTO)
        kn_engine_on_host(engine, end_held, run);
}

void tr_losses_start(tr_losses *s, const tr_batch *host_batch, const tr_prediction *of, int64_t it,
                     int64_t total)
{
    static const double zeros[SSL_TERMS_MAX];
    g_assert(s->n_records < TR_LOSSES_AHEAD);
    const tr_batch there = on_engine(s, host_batch), *batch = &there;
    run_record *run = &s->records[(s->first_record + s->n_records++) % TR_LOSSES_AHEAD];
    int stage = ssl_stage(s->plan, it, total);
    s->it = it;
    s->stage = stage;
    s->host_batch = host_batch;
    fill_planes(s, host_batch, it);
    run_references(s, batch, of, stage);
    clear_gradients(s, of);
    begin_held(s);
    kn_engine_upload(s->learner->engine, s->there->value, zeros, sizeof zeros);
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        double weight = term_scale(s->options, term) *
                        tr_schedule_weight(s->options, s->plan, term->weight, it, total);
        run->ran[t] = ssl_in_stage(term->stages, stage);
        run->weight[t] = weight;
        if (run->ran[t])
            run_term(s, t, batch, of, weight, it, total);
    }
    send_numbers(s, run);
}

static double loss_of(const ssl_term *term, const numbers *found, int t)
{
    if (term->kind == SSL_OWN)
        return found->value[t] + found->quad[t].loss;
    return term->kind == SSL_MSE ? found->value[t] : found->quad[t].loss;
}

/* Where a device has moved γ and the method's memory to. */
static void take_state(tr_losses *s, const numbers *found)
{
    if (!kn_engine_is_device(s->learner->engine))
        return;
    memcpy(s->learner->memory, found->memory, sizeof found->memory);
    memcpy(s->learner->gamma, found->gamma, sizeof found->gamma);
    memcpy(s->learner->gamma_state, found->gamma_state, sizeof found->gamma_state);
}

void tr_losses_collect(tr_losses *s, tr_step_result *result)
{
    g_assert(s->n_records > 0);
    const run_record *run = &s->records[s->first_record];
    s->first_record = (s->first_record + 1) % TR_LOSSES_AHEAD;
    s->n_records--;
    for (int t = 0; t < s->plan->n_terms; t++) {
        const ssl_term *term = &s->plan->terms[t];
        if (!run->ran[t])
            continue;
        double loss = loss_of(term, run->found, t);
        if (term->gamma != SSL_NONE)
            note_regions(&run->found->quad[t], result, ssl_term_on(term) == SSL_LABELLED ? 0 : 1);
        result->loss += run->weight[t] * loss;
        if (ssl_term_on(term) == SSL_LABELLED)
            result->sup += term_scale(s->options, term) * loss;
        else
            result->unsup += term_scale(s->options, term) * loss;
    }
    take_state(s, run->found);
}

void tr_losses_run(tr_losses *s, const tr_batch *batch, const tr_prediction *of, int64_t it,
                   int64_t total, tr_step_result *result)
{
    tr_losses_start(s, batch, of, it, total);
    kn_engine_await(s->learner->engine, kn_engine_mark(s->learner->engine));
    tr_losses_collect(s, result);
}
