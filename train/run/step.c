#include "train/run/step.h"

#include "base/error.h"
#include "base/rng.h"
#include "train/data/feed.h"
#include "train/data/mix.h"
#include "train/data/noise.h"
#include "train/plan/schedule.h"
#include "train/data/streams.h"

#include <math.h>
#include <string.h>

/* A step that was started and not collected. */
typedef struct {
    int64_t it;
    tr_step_result result; /* rate and λ; on the CPU all of it */
    uint64_t mark;         /* of its end */
} started;

/* A filtered prediction on its way through the host. */
typedef struct {
    ssl_filter filter;
    uint8_t *classes;
    int n, h, w, n_classes;
} filter_job;

struct tr_step {
    tr_learner *learner; /* borrowed */
    const tr_options *options;
    const ssl_plan *plan;
    int patch_px;
    kn_pass *passes[SSL_FORWARDS_MAX];    /* NULL: composed */
    kn_tensor composed[SSL_FORWARDS_MAX]; /* of composed and repeated forwards */
    tr_prediction of[SSL_FORWARDS_MAX];
    tr_image *images; /* of the largest forward */
    /* Of filtered forwards: the host's, and the same where the engine has memory of its own. */
    kn_block classes, classes_there;
    filter_job jobs[SSL_FORWARDS_MAX];
    tr_losses *losses;
    tr_feed *feed;                  /* borrowed; NULL: batches come ready */
    const tr_batch *batch;          /* of the last step, as the losses saw it */
    started steps[TR_LOSSES_AHEAD]; /* oldest first, in a ring */
    int first_step, n_steps;
};

/* ---- planning ------------------------------------------------------------------------------ */

/* Outputs of forward f that something looks at; output 0 always. */
static uint32_t wanted_outputs(const ssl_plan *plan, int f)
{
    uint32_t wanted = 1;
    for (int t = 0; t < plan->n_terms; t++) {
        const ssl_term *term = &plan->terms[t];
        if (term->p == f)
            wanted |= 1u << term->p_output;
        if (term->kind != SSL_OWN && term->kind != SSL_SUP && term->ref == f)
            wanted |= 1u << term->ref_output;
        for (int i = 0; i < term->n_operands; i++)
            if (term->operands[i].forward == f)
                wanted |= 1u << term->operands[i].output;
    }
    for (int g = 0; g < plan->n_forwards; g++)
        for (int i = 0; i < plan->forwards[g].n_from; i++)
            if (plan->forwards[g].from[i].forward == f)
                wanted |= 1u << plan->forwards[g].from[i].output;
    return wanted;
}

static kn_pass_options pass_options(const tr_options *options, const ssl_plan *plan, int f,
                                    int patch_px, bool fed)
{
    const ssl_forward *forward = &plan->forwards[f];
    return (kn_pass_options){
        .mode = forward->grad ? KN_PASS_TRAIN : KN_PASS_NOGRAD,
        .n = ssl_forward_n(plan, forward),
        .h = patch_px,
        .w = patch_px,
        .no_dropout = options->no_dropout,
        .input_there = fed,
        .outputs = wanted_outputs(plan, f),
    };
}

/* Does the forward's prediction lie in a tensor of its own? */
static bool is_composed(const ssl_forward *forward)
{
    return forward->net == SSL_NONE || forward->repeat > 1;
}

static int most_images(const ssl_plan *plan)
{
    int most = 1;
    for (int f = 0; f < plan->n_forwards; f++)
        most = MAX(most, ssl_forward_n(plan, &plan->forwards[f]));
    return most;
}

static bool any_filter(const ssl_plan *plan)
{
    bool any = false;
    for (int f = 0; f < plan->n_forwards; f++)
        any = any || plan->forwards[f].filter;
    return any;
}

int64_t tr_step_memory(const tr_learner *learner, const tr_options *options, int patch_px,
                       GError **error)
{
    const ssl_plan *plan = &learner->plan;
    int64_t px = (int64_t)patch_px * patch_px, bytes = tr_losses_memory(learner, options, patch_px);
    int64_t real = (int64_t)kn_dtype_bytes(kn_engine_dtype(learner->engine));
    int64_t scratch = 0;
    for (int f = 0; f < plan->n_forwards; f++) {
        const ssl_forward *forward = &plan->forwards[f];
        if (is_composed(forward))
            bytes += ssl_forward_n(plan, forward) * px * learner->n_classes * real;
        if (forward->net == SSL_NONE)
            continue;
        kn_pass_options po = pass_options(options, plan, f, patch_px, false);
        int64_t own, grown;
        if (!kn_pass_memory_parts(learner->engine, learner->nets[forward->net], &po, &own, &grown,
                                  error))
            return -1;
        bytes += own;
        scratch = MAX(scratch, grown);
    }
    return bytes + scratch + (any_filter(plan) ? most_images(plan) * px : 0);
}

static bool open_forward(tr_step *s, int f, GError **error)
{
    tr_learner *l = s->learner;
    const ssl_forward *forward = &s->plan->forwards[f];
    if (forward->net != SSL_NONE) {
        kn_pass_options po = pass_options(s->options, s->plan, f, s->patch_px, s->feed != NULL);
        s->passes[f] = kn_pass_create(l->engine, l->nets[forward->net], &po, error);
        if (!s->passes[f])
            return false;
        for (int o = 0; o < KN_OUTPUTS_MAX; o++) {
            s->of[f].z[o] = kn_pass_output(s->passes[f], o);
            s->of[f].dz[o] = forward->grad ? kn_pass_doutput(s->passes[f], o) : NULL;
        }
    }
    if (!is_composed(forward))
        return true;
    if (!kn_engine_tensor_create(l->engine, ssl_forward_n(s->plan, forward), s->patch_px,
                                 s->patch_px, l->n_classes, &s->composed[f], error))
        return false;
    s->of[f].z[0] = &s->composed[f];
    return true;
}

/* bf16 was asked for, and a loss that reads features keeps a network in f32: no surprise later. */
static void say_precision(const tr_step *s)
{
    int wide = 0, all = 0;
    for (int f = 0; f < s->plan->n_forwards; f++) {
        all += s->passes[f] != NULL;
        wide += s->passes[f] && kn_pass_activations(s->passes[f]) != KN_BF16;
    }
    if (s->options->precision == KN_PRECISION_BF16 && wide > 0)
        qs_warn(
            "precision bf16: %d of the %d forward passes of a step of %s compute in f32, because a "
            "loss reads their features",
            wide, all, s->options->method);
}

static bool open_filters(tr_step *s, GError **error)
{
    kn_engine *engine = s->learner->engine;
    size_t bytes = (size_t)most_images(s->plan) * (size_t)s->patch_px * (size_t)s->patch_px;
    if (!any_filter(s->plan))
        return true;
    return kn_engine_host_alloc(engine, &s->classes, bytes, "filtered predictions", error) &&
           (!kn_engine_is_device(engine) ||
            kn_engine_alloc(engine, &s->classes_there, bytes, "filtered predictions", error));
}

tr_step *tr_step_create(tr_learner *learner, const tr_options *options, int patch_px, tr_feed *feed,
                        GError **error)
{
    tr_step *s = g_new0(tr_step, 1);
    s->learner = learner;
    s->options = options;
    s->plan = &learner->plan;
    s->patch_px = patch_px;
    s->feed = feed;
    s->losses = tr_losses_create(learner, options, patch_px, error);
    s->images = g_new0(tr_image, (gsize)most_images(s->plan));
    bool ok = s->losses != NULL && open_filters(s, error);
    for (int f = 0; ok && f < s->plan->n_forwards; f++)
        ok = open_forward(s, f, error);
    if (ok) {
        say_precision(s);
        return s;
    }
    tr_step_destroy(s);
    return NULL;
}

void tr_step_destroy(tr_step *s)
{
    if (!s)
        return;
    for (int f = 0; f < SSL_FORWARDS_MAX; f++) {
        if (s->passes[f])
            kn_pass_destroy(s->passes[f]);
        kn_engine_tensor_destroy(s->learner->engine, &s->composed[f]);
    }
    tr_losses_destroy(s->losses);
    g_free(s->images);
    kn_engine_free(s->learner->engine, &s->classes_there);
    if (s->classes.data)
        kn_engine_host_free(s->learner->engine, &s->classes);
    g_free(s);
}

/* ---- forwards ------------------------------------------------------------------------------ */

static void fill_input(tr_step *s, int f, const tr_batch *batch, int64_t it, uint64_t stream)
{
    const ssl_forward *forward = &s->plan->forwards[f];
    if (s->feed) {
        tr_feed_input(s->feed, f, stream, kn_pass_input(s->passes[f]));
        return;
    }
    const float *all = forward->look == SSL_STRONG ? batch->strong : batch->input;
    size_t one = (size_t)s->patch_px * (size_t)s->patch_px * 3;
    for (int i = 0; i < ssl_forward_n(s->plan, forward); i++) {
        kn_view view = tr_view_of(s->plan, s->options, forward, s->patch_px, it, i);
        s->images[i] = (tr_image){all + (size_t)view.outer * one, all + (size_t)view.inner * one,
                                  view.box, view.hole, (uint64_t)view.outer};
    }
    tr_input_fill(kn_pass_input(s->passes[f]), s->images, forward->noise, s->options->seed, stream);
}

static bool run_network(tr_step *s, int f, const tr_batch *batch, int64_t it, GError **error)
{
    const ssl_forward *forward = &s->plan->forwards[f];
    uint64_t seed = s->options->seed;
    int repeat = MAX(forward->repeat, 1);
    for (int k = 0; k < repeat; k++) {
        uint64_t name = (uint64_t)f + ((uint64_t)k << 8);
        uint64_t noise = qs_rng_stream_id(TR_STREAM_NOISE, (uint64_t)it, name);
        uint64_t dropout = qs_rng_stream_id(TR_STREAM_DROPOUT, (uint64_t)it, name);
        /* The same images with other noise go where the last ones lie: a device must have them. */
        if (k > 0 && forward->noise > 0 && !s->feed && !kn_engine_check(s->learner->engine, error))
            return false;
        if (k == 0 || forward->noise > 0)
            fill_input(s, f, batch, it, noise);
        if (!kn_pass_forward(s->passes[f], s->learner->weights[forward->net],
                             qs_rng_stream_id(seed, dropout, 0), error))
            return false;
        if (repeat > 1)
            kn_engine_ops(s->learner->engine)
                ->mean_prob(s->learner->engine, kn_pass_logits(s->passes[f]), k, repeat,
                            &s->composed[f]);
    }
    return true;
}

/* Image `wanted` of the batch among those that forward f saw, unmixed; -1. */
static int find_image(const ssl_plan *plan, int f, int wanted)
{
    const ssl_forward *forward = &plan->forwards[f];
    int first = forward->half == SSL_UNLABELLED ? plan->n_labelled : 0;
    int i = wanted - first;
    return i >= 0 && i < ssl_forward_n(plan, forward) ? i : -1;
}

/* What the sources of a composed forward say of that image of the batch. One that none of them saw
 * is no pixel of any term: the declaration's terms look elsewhere, and anything may stand there. */
static kn_tensor source_image(const tr_step *s, const ssl_forward *forward, int image)
{
    for (int k = 0; k < forward->n_from; k++) {
        ssl_pred from = forward->from[k];
        int i = find_image(s->plan, from.forward, image);
        if (i >= 0)
            return kn_tensor_images(s->of[from.forward].z[from.output], i, 1);
    }
    ssl_pred any = forward->from[0];
    return kn_tensor_images(s->of[any.forward].z[any.output], 0, 1);
}

static void compose_mixed(tr_step *s, int f, int64_t it)
{
    const ssl_forward *forward = &s->plan->forwards[f];
    kn_engine *engine = s->learner->engine;
    for (int i = 0; i < ssl_forward_n(s->plan, forward); i++) {
        kn_view view = tr_view_of(s->plan, s->options, forward, s->patch_px, it, i);
        kn_tensor outer = source_image(s, forward, view.outer), inner = outer;
        kn_tensor dst = kn_tensor_images(&s->composed[f], i, 1);
        if (view.box.x1 > view.box.x0)
            inner = source_image(s, forward, view.inner);
        kn_engine_ops(engine)->paste(engine, &outer, &inner, view.box, &dst);
    }
}

static void compose(tr_step *s, int f, int64_t it)
{
    const ssl_forward *forward = &s->plan->forwards[f];
    kn_engine *engine = s->learner->engine;
    if (forward->mix != SSL_MIX_NONE &&
        s->plan->forwards[forward->from[0].forward].mix == SSL_MIX_NONE) {
        compose_mixed(s, f, it);
        return;
    }
    for (int k = 0; k < forward->n_from; k++) {
        ssl_pred from = forward->from[k];
        const ssl_forward *source = &s->plan->forwards[from.forward];
        bool skips = forward->half == SSL_UNLABELLED && (source->half & SSL_LABELLED);
        kn_tensor z =
            kn_tensor_images(s->of[from.forward].z[from.output], skips ? s->plan->n_labelled : 0,
                             ssl_forward_n(s->plan, forward));
        kn_engine_ops(engine)->mean_prob(engine, &z, k, forward->n_from, &s->composed[f]);
    }
}

static void run_filter(void *user)
{
    const filter_job *job = user;
    job->filter(job->classes, job->n, job->h, job->w, job->n_classes);
}

/* Through the host, in the step's order: nobody waits but the device for the filter. */
static void apply_filter(tr_step *s, int f)
{
    kn_engine *engine = s->learner->engine;
    const kn_tensor *z = s->of[f].z[0];
    uint8_t *classes = s->classes.data, *there = s->classes_there.data;
    size_t bytes = (size_t)kn_pixels(z);
    s->jobs[f] = (filter_job){s->plan->forwards[f].filter, classes, z->n, z->h, z->w, z->c};
    if (!kn_engine_is_device(engine))
        there = classes;
    kn_argmax_at(engine, z, there);
    if (there != classes)
        kn_engine_fetch(engine, classes, there, bytes);
    kn_engine_on_host(engine, run_filter, &s->jobs[f]);
    if (there != classes)
        kn_engine_upload(engine, there, classes, bytes);
    kn_engine_ops(engine)->relabel(engine, z, there);
}

static bool run_forwards(tr_step *s, const tr_batch *batch, int64_t it, int stage, GError **error)
{
    for (int f = 0; f < s->plan->n_forwards; f++) {
        const ssl_forward *forward = &s->plan->forwards[f];
        if (!ssl_in_stage(forward->stages, stage))
            continue;
        if (forward->net == SSL_NONE)
            compose(s, f, it);
        else if (!run_network(s, f, batch, it, error))
            return false;
        if (forward->filter)
            apply_filter(s, f);
    }
    return true;
}

/* ---- learning ------------------------------------------------------------------------------ */

/* Copies of the stages that have begun since the last step. */
static void enter_stage(tr_step *s, int stage)
{
    tr_learner *l = s->learner;
    while (l->stage < stage) {
        l->stage++;
        for (int c = 0; c < s->plan->n_copies; c++) {
            const ssl_copy *copy = &s->plan->copies[c];
            if (copy->stage == l->stage)
                kn_weights_copy(l->weights[copy->to], l->weights[copy->from]);
        }
    }
}

/* Does a forward of this stage give network k gradients? */
static bool learns(const ssl_plan *plan, int k, int stage)
{
    bool any = false;
    for (int f = 0; f < plan->n_forwards; f++)
        any = any || (plan->forwards[f].grad && plan->forwards[f].net == k &&
                      ssl_in_stage(plan->forwards[f].stages, stage));
    return any;
}

static double alpha_of(const ssl_ema *ema, int64_t it)
{
    return ema->constant ? ema->alpha : kn_ema_alpha(ema->alpha, it);
}

/* The moving average that can be taken in the same pass as network k's SGD: of k, into a network
 * that does not learn, and no average before it has to do with either. -1: none. */
static int ema_beside(const tr_step *s, int k, int stage)
{
    const ssl_plan *plan = s->plan;
    for (int e = 0; e < plan->n_emas; e++) {
        const ssl_ema *ema = &plan->emas[e];
        if (!ssl_in_stage(ema->stages, stage))
            continue;
        if (ema->student == k && !learns(plan, ema->teacher, stage)) {
            for (int d = 0; d < e; d++)
                if (ssl_in_stage(plan->emas[d].stages, stage) &&
                    (plan->emas[d].student == ema->teacher ||
                     plan->emas[d].teacher == ema->teacher))
                    return -1;
            return e;
        }
        if (ema->student == k || ema->teacher == k)
            return -1;
    }
    return -1;
}

/* Gives the number of the moving average that was taken along, -1: none. */
static int optimise(tr_step *s, int k, int64_t it, int stage, double lr)
{
    const tr_options *o = s->options;
    kn_weights *const *weights = s->learner->weights;
    int e = o->optimiser == TR_ADAM ? -1 : ema_beside(s, k, stage);
    if (o->clip > 0)
        kn_weights_clip(weights[k], o->clip);
    if (o->optimiser == TR_ADAM) {
        kn_adam_step(weights[k], lr, o->weight_decay, it + 1);
    } else if (e < 0) {
        kn_sgd_step(weights[k], lr, o->momentum, o->weight_decay);
    } else {
        const ssl_ema *ema = &s->plan->emas[e];
        kn_sgd_ema_step(weights[k], weights[ema->teacher], lr, o->momentum, o->weight_decay,
                        alpha_of(ema, it), ema->with_buffers);
    }
    return e;
}

/* Backward, optimiser, moving averages. */
static bool learn(tr_step *s, int64_t it, int stage, double lr, GError **error)
{
    tr_learner *l = s->learner;
    for (int k = 0; k < s->plan->n_nets; k++)
        if (learns(s->plan, k, stage))
            kn_weights_zero_grads(l->weights[k]);
    for (int f = 0; f < s->plan->n_forwards; f++) {
        const ssl_forward *forward = &s->plan->forwards[f];
        if (forward->grad && ssl_in_stage(forward->stages, stage) &&
            !kn_pass_backward(s->passes[f], l->weights[forward->net], error))
            return false;
    }
    bool taken[SSL_EMAS_MAX] = {false};
    for (int k = 0; k < s->plan->n_nets; k++) {
        int e = learns(s->plan, k, stage) ? optimise(s, k, it, stage, lr) : -1;
        if (e >= 0)
            taken[e] = true;
    }
    for (int e = 0; e < s->plan->n_emas; e++) {
        const ssl_ema *ema = &s->plan->emas[e];
        if (ssl_in_stage(ema->stages, stage) && !taken[e])
            kn_ema_update(l->weights[ema->teacher], l->weights[ema->student], alpha_of(ema, it),
                          ema->with_buffers);
    }
    return true;
}

static bool is_finite(const started *step, GError **error)
{
    const tr_step_result *r = &step->result;
    if (isfinite(r->loss))
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_FORMAT,
                "step %" G_GINT64_FORMAT ": the loss is %g (supervised %g, unsupervised %g, lr %g)",
                step->it, r->loss, r->sup, r->unsup, r->lr);
    return false;
}

/* On the CPU the losses are known before anything is learnt from them. */
static bool run_step(tr_step *s, const tr_batch *batch, int64_t it, int64_t total, started *step,
                     GError **error)
{
    kn_engine *engine = s->learner->engine;
    *step = (started){.it = it,
                      .result = {.lr = tr_schedule_lr(s->options, it, total),
                                 .lambda = tr_schedule_lambda(s->options, it, total)}};
    int stage = ssl_stage(s->plan, it, total);
    enter_stage(s, stage);
    if (!run_forwards(s, batch, it, stage, error))
        return false;
    tr_losses_start(s->losses, batch, s->of, it, total);
    if (!kn_engine_is_device(engine)) {
        tr_losses_collect(s->losses, &step->result);
        if (!is_finite(step, error))
            return false;
    }
    return kn_engine_peek(engine, error) && learn(s, it, stage, step->result.lr, error);
}

/* Images that the host makes go where the last step's lie: the device must have them. */
static void await_last_step(tr_step *s)
{
    int last = (s->first_step + s->n_steps - 1) % TR_LOSSES_AHEAD;
    if (s->n_steps > 0)
        kn_engine_await(s->learner->engine, s->steps[last].mark);
}

bool tr_step_start(tr_step *s, const tr_batch *batch, int64_t it, int64_t total, GError **error)
{
    kn_engine *engine = s->learner->engine;
    g_assert(s->n_steps < TR_LOSSES_AHEAD);
    started *step = &s->steps[(s->first_step + s->n_steps) % TR_LOSSES_AHEAD];
    if (!s->feed)
        await_last_step(s);
    kn_engine_begin(engine);
    s->batch = s->feed ? tr_feed_batch(s->feed, batch, it) : batch;
    bool ok = run_step(s, s->batch, it, total, step, error);
    kn_engine_end(engine);
    if (s->feed)
        tr_feed_end(s->feed);
    step->mark = kn_engine_mark(engine);
    s->n_steps += ok;
    return ok;
}

int tr_step_n_started(const tr_step *s)
{
    return s->n_steps;
}

bool tr_step_collect(tr_step *s, tr_step_result *result, GError **error)
{
    kn_engine *engine = s->learner->engine;
    g_assert(s->n_steps > 0);
    started *step = &s->steps[s->first_step];
    s->first_step = (s->first_step + 1) % TR_LOSSES_AHEAD;
    s->n_steps--;
    kn_engine_await(engine, step->mark);
    if (!kn_engine_peek(engine, error))
        return false;
    if (kn_engine_is_device(engine))
        tr_losses_collect(s->losses, &step->result);
    *result = step->result;
    return is_finite(step, error);
}

bool tr_step_run(tr_step *s, const tr_batch *batch, int64_t it, int64_t total,
                 tr_step_result *result, GError **error)
{
    return tr_step_start(s, batch, it, total, error) && tr_step_collect(s, result, error);
}

void tr_step_snapshot(tr_step *s, int64_t it, tr_snapshot *snapshot)
{
    tr_losses_snapshot(s->losses, s->batch, s->of, it, snapshot);
}
