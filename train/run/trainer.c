/* The loop around the step, and the order in which a run is written down:
 *
 *   best.safetensors (when validation improved)  →  metrics.csv synced  →  state.safetensors
 *   →  last.safetensors
 *
 * The state is the truth. A best model that is newer than the state is made again, to the same
 * bits, by the resumed run; lines of metrics.csv past the state are cut off; a last model older
 * than the state is written again from it. The first state is written before step 0, with the
 * choice of convolution algorithms, so a run killed at any moment resumes with the same choice. */
#include "train/run/trainer.h"

#include "base/error.h"
#include "kernels/engine/memory.h"
#include "train/ssl/history.h"
#include "train/run/log.h"
#include "train/run/rundir.h"
#include "train/run/runinfo.h"
#include "train/plan/schedule.h"
#include "train/loss/region_weights.h"

#include <math.h>
#include <string.h>

/* --max-hours: steps that warm up, then steps whose time is taken. */
enum { WARM_STEPS = 2, TIMED_STEPS = 8 };

typedef struct {
    const tr_options *options;
    const tr_source *source;
    const tr_callbacks *callbacks;
    model_spec spec;
    model view; /* what callbacks see of the learner: borrows from it */
    tr_rundir dir;
    tr_identity identity;
    tr_progress progress;
    kn_engine *engine;
    tr_learner learner;
    tr_step *step;
    tr_feed *feed;    /* makes the batches on a device; NULL: the loader does */
    tr_gpu_data data; /* where patches lie: not TR_DATA_AUTO once memory was stated */
    kn_pass *sweep;   /* of the history's sweeps; NULL: none */
    tr_loader *loader;
    tr_state_writer *writer;
    tr_log *log;
    tr_run_facts facts;
    double elapsed_before_s;             /* of earlier sessions */
    int64_t start_us, status_us;         /* of this session, of the last status */
    int64_t session_steps, status_steps; /* of this session, of those before the last status */
    int64_t warm_us;                     /* when the warm-up steps were done */
    double val_s, val_total_s;           /* last validation, all of this session */
    bool prepared;
} run;

static int64_t now_us(const run *r)
{
    return r->callbacks->clock_us ? r->callbacks->clock_us(r->callbacks->user)
                                  : g_get_monotonic_time();
}

static double elapsed_s(const run *r)
{
    return r->elapsed_before_s + (double)(now_us(r) - r->start_us) / 1e6;
}

/* ---- opening ------------------------------------------------------------------------------- */

static bool make_spec(run *r, const model_spec *spec, GError **error)
{
    r->spec = *spec;
    kn_unet_spec_init(&r->spec.net, spec->classes.n, r->options->width);
    if (r->source->patch_px != spec->patch_px || spec->patch_px < 16 || spec->patch_px % 16 != 0) {
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "patches of %d pixels cannot be trained on: the network halves them four times, so the "
            "size must divide by 16; tile with --patch 256, say",
            r->source->patch_px);
        return false;
    }
    g_strlcpy(r->spec.method, r->options->method, sizeof r->spec.method);
    g_strlcpy(r->spec.loss, r->options->loss == TR_LOSS_METASSL ? "metassl" : "plain",
              sizeof r->spec.loss);
    return true;
}

/* A text that changes when the training patches do. */
static char *describe_data(const run *r)
{
    const tr_source *s = r->source;
    uint64_t hash = 14695981039346656037u; /* FNV-1a over what a batch depends on */
    size_t n_labelled = 0;
    for (size_t i = 0; i < s->n_items; i++) {
        const tr_item *item = &s->items[i];
        n_labelled += item->labelled;
        const uint64_t facts[] = {(uint64_t)item->slide_id, item->labelled, item->has_label,
                                  (uint64_t)item->valid_w, (uint64_t)item->valid_h};
        for (size_t k = 0; k < G_N_ELEMENTS(facts); k++)
            hash = (hash ^ facts[k]) * 1099511628211u;
    }
    g_autofree char *classes = qs_classes_to_text(&r->spec.classes);
    return g_strdup_printf("training patches=%zu (%zu labelled, key %016" G_GINT64_MODIFIER "x)\n"
                           "patch size=%d\nclasses=%s\nmean=%.9g %.9g %.9g\nstd=%.9g %.9g %.9g\n",
                           s->n_items, n_labelled, (guint64)hash, s->patch_px, classes,
                           r->spec.mean[0], r->spec.mean[1], r->spec.mean[2], r->spec.std[0],
                           r->spec.std[1], r->spec.std[2]);
}

static bool open_engine(run *r, GError **error)
{
    g_autofree char *choices = NULL;
    int threads = 0;
    if (r->dir.resumes) {
        choices = tr_state_read_choices(r->dir.state, &r->identity, &threads, error);
        if (!choices)
            return false;
    }
    kn_engine_options eo = {.backend = r->options->backend,
                            .n_threads = r->options->n_threads,
                            .conv = r->options->conv,
                            .conv_choices = choices && *choices ? choices : NULL,
                            .precision = r->options->precision};
    r->engine = kn_engine_create(&eo, error);
    if (!r->engine)
        return false;
    if (threads > 0 && threads != kn_engine_threads(r->engine))
        qs_warn("the run had %d threads and has %d now: it goes on, but not to the same bits",
                threads, kn_engine_threads(r->engine));
    r->facts.device = kn_engine_describe(r->engine);
    return true;
}

/* What callbacks and files see: the networks that predict. A file has no more of them than that. */
static void view_model(run *r, const ssl_plan *plan)
{
    int first = plan->model_average > 0 ? plan->model_average : plan->model_net;
    int second = plan->pair_average > 0 ? plan->pair_average : plan->model_pair;
    const tr_learner *l = &r->learner;
    bool mapped = plan->nets[first].variant == KN_UNET_MAPPED;
    r->spec.net.variant = mapped ? KN_UNET_MAPPED : KN_UNET_PLAIN;
    r->spec.pair = second > 0;
    r->spec.second = r->spec.net;
    mapped = plan->nets[second].variant == KN_UNET_MAPPED;
    r->spec.second.variant = mapped ? KN_UNET_MAPPED : KN_UNET_PLAIN;
    r->view = (model){.spec = r->spec, .net = l->nets[first], .weights = l->weights[first]};
    if (second > 0) {
        r->view.second_net = l->nets[second];
        r->view.second_weights = l->weights[second];
    }
}

static bool open_learner(run *r, GError **error)
{
    ssl_plan plan = {0};
    if (!tr_options_plan(r->options, &plan, error) || !tr_weights_plan(r->options, &plan, error) ||
        !tr_learner_init(&r->learner, r->engine, r->options, &plan, &r->spec, error))
        return false;
    if (plan.history && !(r->learner.history = tr_history_create(r->source, error)))
        return false;
    tr_progress_init(&r->progress, r->options->iterations);
    if (r->dir.resumes && !tr_state_read(r->dir.state, &r->learner, &r->progress, error))
        return false;
    r->spec.iteration = r->progress.iteration;
    view_model(r, &plan);
    return true;
}

static kn_pass_options sweep_options(const run *r)
{
    int px = r->source->patch_px;
    return (kn_pass_options){.mode = KN_PASS_INFER, .n = 4, .h = px, .w = px};
}

/* Of the sweeps' pass (the history itself is there already); -1 on error. */
static int64_t sweep_memory(run *r, GError **error)
{
    kn_pass_options po = sweep_options(r);
    if (!r->learner.history)
        return 0;
    return kn_pass_memory(r->engine, r->learner.nets[r->learner.plan.model_net], &po, error);
}

static bool open_sweep(run *r, GError **error)
{
    kn_pass_options po = sweep_options(r);
    if (!r->learner.history)
        return true;
    r->sweep = kn_pass_create(r->engine, r->learner.nets[r->learner.plan.model_net], &po, error);
    return r->sweep != NULL;
}

/* Where the patches will lie. Resident leaves a tenth of what is free to what nobody plans
 * (libraries' workspaces, fragments). A history of the training pixels is kept on the host and
 * moved with the batch's labels, so there they must be. */
static bool choose_data(run *r, int64_t available, int64_t step, GError **error)
{
    static const char *const names[] = {
        [TR_DATA_RESIDENT] = "resident", [TR_DATA_RING] = "ring", [TR_DATA_HOST] = "host"};
    tr_gpu_data wanted = r->options->gpu_data;
    int64_t all = tr_feed_data_bytes(r->source);
    bool fits = step + all <= available - available / 10;
    bool device = tr_feed_can(r->engine), can = device && !r->learner.plan.history;
    r->data = !can                     ? TR_DATA_HOST
              : wanted != TR_DATA_AUTO ? wanted
              : fits                   ? TR_DATA_RESIDENT
                                       : TR_DATA_RING;
    if (device)
        r->facts.gpu_data = names[r->data];
    if (can || wanted == TR_DATA_AUTO || wanted == TR_DATA_HOST)
        return true;
    if (device)
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "--gpu-data %s: %s keeps a history of the patches on the host; leave it at auto",
            names[wanted], r->options->method);
    else
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "--gpu-data %s is for --device cuda; on %s leave it at auto", names[wanted],
                    r->options->backend);
    return false;
}

/* Bytes of the batch on the device, of the data set there, and of the loader on the host. */
typedef struct {
    int64_t feed, data, loader;
} data_memory;

static data_memory measure_data(const run *r)
{
    static const tr_form forms[] = {
        [TR_DATA_RESIDENT] = TR_FORM_DRAWS, [TR_DATA_RING] = TR_FORM_RAW};
    const ssl_plan *plan = &r->learner.plan;
    bool fed = r->data != TR_DATA_HOST;
    return (data_memory){
        .feed = fed ? tr_feed_memory(plan, r->source->patch_px) : 0,
        .data = r->data == TR_DATA_RESIDENT ? tr_feed_data_bytes(r->source) : 0,
        .loader = tr_loader_memory(r->options, plan, r->source->patch_px,
                                   fed ? forms[r->data] : TR_FORM_READY),
    };
}

static void say_memory(run *r, const data_memory *m, int64_t step, int64_t held, int64_t rest,
                       int64_t validation)
{
    r->facts.memory_bytes = held + step + rest + m->data + validation;
    qs_info("memory: %.2f GB (step %.2f, networks and engine %.2f, loader and checkpoint %.2f, "
            "validation %.2f)",
            (double)(r->facts.memory_bytes - m->data) / 1e9, (double)step / 1e9, (double)held / 1e9,
            (double)rest / 1e9, (double)validation / 1e9);
    if (r->data == TR_DATA_RESIDENT)
        qs_info("and %.2f GB on the GPU for all %zu patches, augmented there",
                (double)m->data / 1e9, r->source->n_items);
    else if (r->data == TR_DATA_RING)
        qs_info(
            "patches go to the GPU batch by batch (all of them: %.2f GB) and are augmented there",
            (double)tr_feed_data_bytes(r->source) / 1e9);
}

/* Says what the run will take, and refuses what does not fit, before anything big is allocated. */
static bool state_memory(run *r, GError **error)
{
    int64_t validation = 0;
    if (r->callbacks->prepare) {
        if (!r->callbacks->prepare(r->callbacks->user, &r->view, r->engine, &validation, error))
            return false;
        r->prepared = true;
    }
    int64_t held = kn_engine_bytes(r->engine);
    int64_t step = tr_step_memory(&r->learner, r->options, r->source->patch_px, error);
    int64_t sweep = sweep_memory(r, error);
    bool device = kn_engine_is_device(r->engine);
    int64_t available = kn_engine_memory_available(r->engine);
    if (step < 0 || sweep < 0 ||
        !choose_data(r, available, step + tr_feed_memory(&r->learner.plan, r->source->patch_px),
                     error))
        return false;
    data_memory m = measure_data(r);
    int64_t rest = m.loader + tr_state_memory(&r->learner) + sweep;
    step += m.feed;
    int64_t wanted = device ? step + m.data : step + rest;
    say_memory(r, &m, step, held, rest, validation);
    if (device && rest > kn_memory_available()) {
        available = kn_memory_available();
        wanted = rest;
    }
    if (available <= 0 || wanted <= available)
        return true;
    g_set_error(error, QS_ERROR, QS_ERROR_MEMORY,
                "training wants %.2f GB more and %.2f GB are free: lower --batch-labelled and "
                "--batch-unlabelled, %s",
                (double)wanted / 1e9, (double)available / 1e9,
                device && step <= available ? "or leave --gpu-data at auto"
                                            : "or tile with smaller patches");
    return false;
}

/* Feed, loader and step. */
static bool open_step(run *r, GError **error)
{
    const ssl_plan *plan = &r->learner.plan;
    tr_form form = TR_FORM_READY;
    if (r->data != TR_DATA_HOST) {
        r->feed = tr_feed_create(r->engine, r->options, plan, r->source, &r->spec,
                                 r->data == TR_DATA_RESIDENT, error);
        if (!r->feed || !tr_feed_load(r->feed, r->callbacks->loading, r->callbacks->user, error))
            return false;
        form = tr_feed_form(r->feed);
    }
    r->loader = tr_loader_create_form(r->options, plan, r->source, &r->spec, form, r->engine,
                                      r->progress.iteration, error);
    r->step = r->loader
                  ? tr_step_create(&r->learner, r->options, r->source->patch_px, r->feed, error)
                  : NULL;
    return r->step != NULL;
}

static bool run_open(run *r, const model_spec *spec, GError **error)
{
    if (!tr_options_check(r->options, error) || !make_spec(r, spec, error))
        return false;
    if (!tr_rundir_open(&r->dir, r->options->out_dir, r->options->fresh, error))
        return false;
    r->identity =
        (tr_identity){.options = tr_options_to_text(r->options, true), .data = describe_data(r)};
    if (!open_engine(r, error) || !open_learner(r, error) || !state_memory(r, error))
        return false;
    if (!open_step(r, error))
        return false;
    if (!open_sweep(r, error))
        return false;
    r->writer = tr_state_writer_create(&r->learner);
    r->facts.n_labelled = tr_sampler_n_labelled(tr_loader_sampler(r->loader));
    r->facts.n_unlabelled = tr_sampler_n_unlabelled(tr_loader_sampler(r->loader));
    r->facts.n_held_back = tr_sampler_n_held_back(tr_loader_sampler(r->loader));
    if (r->options->weights == TR_WEIGHTS_AUTO && r->facts.n_held_back == 0)
        qs_warn("--weights auto: there is one labelled patch and it cannot be held back; the "
                "weights stay those of --phi");
    r->log = tr_log_open(r->dir.metrics, r->dir.resumes ? r->progress.csv_bytes : 0, error);
    return r->log != NULL;
}

static void run_close(run *r)
{
    if (r->feed && r->engine)
        kn_engine_check(r->engine, NULL); /* the loader's patches may still be on their way */
    tr_loader_destroy(r->loader);
    tr_log_close(r->log);
    tr_state_writer_destroy(r->writer);
    tr_step_destroy(r->step);
    tr_feed_destroy(r->feed);
    if (r->sweep)
        kn_pass_destroy(r->sweep);
    tr_history_destroy(r->learner.history);
    if (r->prepared && r->callbacks->release)
        r->callbacks->release(r->callbacks->user);
    tr_learner_clear(&r->learner);
    if (r->engine)
        kn_engine_destroy(r->engine);
    tr_identity_clear(&r->identity);
    tr_rundir_close(&r->dir);
}

/* ---- writing down -----------------------------------------------------------------------------
 */

static void say_way_out(const run *r, GError **error)
{
    if (g_error_matches(*error, QS_ERROR, QS_ERROR_FORMAT))
        g_prefix_error(
            error, "%s keeps its last checkpoint; lower --lr or look at the data: ", r->dir.dir);
}

static bool save_model(run *r, const char *path, GError **error)
{
    r->view.spec.iteration = r->progress.iteration;
    return model_save_pair(path, &r->view.spec, r->view.weights, r->view.second_weights, error);
}

/* What started steps found, to the window, but for the newest `left`. A loss that is not finite
 * shows here: before any state, model or line is written of its step or a later one. */
static bool collect_steps(run *r, int left, GError **error)
{
    tr_step_result result;
    while (tr_step_n_started(r->step) > left) {
        if (!tr_step_collect(r->step, &result, error)) {
            say_way_out(r, error);
            return false;
        }
        tr_window_add(&r->progress.window, &result);
    }
    return true;
}

static bool checkpoint(run *r, GError **error)
{
    if (!collect_steps(r, 0, error) || !kn_engine_check(r->engine, error) ||
        !tr_log_sync(r->log, error))
        return false;
    r->progress.csv_bytes = tr_log_bytes(r->log);
    r->progress.elapsed_s = elapsed_s(r);
    return tr_state_write(r->writer, r->dir.state, &r->learner, &r->progress, &r->identity,
                          error) &&
           save_model(r, r->dir.last, error);
}

static bool write_info(run *r, const char *state, GError **error)
{
    r->facts.state = state;
    return tr_runinfo_write(r->dir.info, r->options, &r->spec, &r->progress, &r->facts, error);
}

static bool add_metrics(run *r, const tr_metrics *m, GError **error)
{
    int64_t it = r->progress.iteration;
    if (!tr_log_add(r->log, it, m->names, m->values, m->units, m->n, error))
        return false;
    return !r->callbacks->metrics || r->callbacks->metrics(r->callbacks->user, it, m->names,
                                                           m->values, m->units, m->n, error);
}

/* After a kill between state and last model: the model of the state is written again. */
static bool mend_last_model(run *r, GError **error)
{
    model_spec spec;
    if (model_read_spec(r->dir.last, &spec, NULL) && spec.iteration == r->progress.iteration)
        return true;
    return save_model(r, r->dir.last, error);
}

/* ---- hours --------------------------------------------------------------------------------------
 */

static double step_seconds(const run *r)
{
    double steps = (double)(r->session_steps - WARM_STEPS);
    return steps > 0 ? ((double)(now_us(r) - r->warm_us) / 1e6 - r->val_total_s) / steps : NAN;
}

/* The first plan once some steps have been timed; later ones, at validations, only when the old one
 * would not end in time (validation takes time that the first could not know). */
static void plan_hours(run *r, bool validated)
{
    if (r->session_steps == WARM_STEPS)
        r->warm_us = now_us(r);
    bool first = !r->progress.planned && r->session_steps >= WARM_STEPS + TIMED_STEPS;
    bool again = r->progress.planned && validated && r->session_steps > WARM_STEPS;
    if (r->options->max_hours <= 0 || !(first || again))
        return;
    double limit = r->options->max_hours * 3600;
    int64_t fit = tr_schedule_fit(r->progress.iteration, r->progress.iterations, elapsed_s(r),
                                  limit, step_seconds(r), r->val_s,
                                  r->callbacks->validate ? r->options->val_every : 0);
    r->progress.planned = true;
    if (fit < r->progress.iterations) {
        qs_info("--max-hours %g: %" G_GINT64_FORMAT
                " iterations are planned (%.3g s a step, %.3g s a validation)",
                r->options->max_hours, fit, step_seconds(r), r->val_s);
        r->progress.iterations = fit;
    }
}

/* ---- validation, status
 * ----------------------------------------------------------------------------- */

static bool is_due(int64_t it, int64_t every, int64_t total)
{
    return it == total || (every > 0 && it % every == 0);
}

/* Validates when this iteration is one to validate at and has not been; batch NULL: no snapshot.
 * *improved is set when the state should be saved. */
static bool validate_if_due(run *r, const tr_batch *batch, bool *improved, GError **error)
{
    tr_progress *p = &r->progress;
    if (!r->callbacks->validate || p->iteration == 0 || p->val_iteration == p->iteration ||
        !is_due(p->iteration, r->options->val_every, p->iterations))
        return true;
    if (batch && r->callbacks->snapshot) {
        tr_snapshot snapshot;
        tr_step_snapshot(r->step, p->iteration, &snapshot);
        r->callbacks->snapshot(r->callbacks->user, &snapshot);
    }
    double dsc = NAN;
    int64_t start = now_us(r);
    r->view.spec.iteration = p->iteration;
    if (!r->callbacks->validate(r->callbacks->user, &r->view, r->engine, p->iteration, &dsc, error))
        return false;
    r->val_s = (double)(now_us(r) - start) / 1e6;
    r->val_total_s += r->val_s;
    p->val_iteration = p->iteration;
    p->val_dsc = dsc;
    if (!isnan(dsc) && !(dsc <= p->best_dsc)) {
        p->best_dsc = dsc;
        p->best_iteration = p->iteration;
        *improved = true;
        if (!save_model(r, r->dir.best, error))
            return false;
    }
    plan_hours(r, true);
    tr_metrics m = {.n = 0};
    tr_metrics_add(&m, "val_dsc", p->val_dsc, "fraction");
    tr_metrics_add(&m, "best_dsc", p->best_dsc, "fraction");
    return add_metrics(r, &m, error);
}

/* The window is empty once it has been reported. */
static bool report_if_due(run *r, GError **error)
{
    const tr_progress *p = &r->progress;
    if (p->window.n_steps == 0 || !is_due(p->iteration, r->options->log_every, p->iterations))
        return true;
    int64_t now = now_us(r);
    tr_status status = {.iteration = p->iteration,
                        .iterations = p->iterations,
                        .val_dsc = p->val_dsc,
                        .best_dsc = p->best_dsc};
    tr_window_status(&r->progress.window, &r->learner, &status);
    tr_weights_status(&r->learner, r->options, &status);
    double seconds = (double)(now - r->status_us) / 1e6,
           steps = (double)(r->session_steps - r->status_steps);
    double per_step = steps > 0 && seconds > 0 ? seconds / steps : NAN;
    status.patches_per_s =
        (double)(r->learner.plan.n_labelled + r->learner.plan.n_unlabelled) / per_step;
    status.eta_s = per_step * (double)(p->iterations - p->iteration);
    r->status_us = now;
    r->status_steps = r->session_steps;
    memset(&r->progress.window, 0, sizeof r->progress.window);
    if (r->callbacks->status)
        r->callbacks->status(r->callbacks->user, &status);
    tr_metrics m;
    tr_metrics_from_status(&m, &status);
    return add_metrics(r, &m, error);
}

/* ---- the loop
 * ------------------------------------------------------------------------------------ */

/* A stop while validating leaves the iteration to be validated by the resumed run. */
static bool stopped(run *r, GError **error)
{
    if (!checkpoint(r, error))
        return false;
    g_set_error(error, QS_ERROR, QS_ERROR_STOPPED,
                "stopped at iteration %" G_GINT64_FORMAT " of %" G_GINT64_FORMAT
                "; %s is saved, the same command goes on",
                r->progress.iteration, r->progress.iterations, r->dir.dir);
    return false;
}

/* Brings the history to where it is at this iteration. */
static bool sweep_if_due(run *r, GError **error)
{
    tr_learner *l = &r->learner;
    const ssl_plan *plan = &l->plan;
    if (!l->history)
        return true;
    int64_t pass = (int64_t)r->source->n_items / (plan->n_labelled + plan->n_unlabelled);
    int64_t every = plan->sweep_every > 0 ? plan->sweep_every : MAX(1, pass);
    while (tr_history_n_sweeps(l->history) < r->progress.iteration / every)
        if (!tr_history_sweep(l->history, r->engine, r->sweep, l->weights[plan->model_net],
                              &r->spec, error))
            return false;
    return true;
}

/* Does what follows this iteration need what its steps found? */
static bool wants_numbers(const run *r)
{
    const tr_progress *p = &r->progress;
    const tr_options *o = r->options;
    return is_due(p->iteration, o->log_every, p->iterations) ||
           is_due(p->iteration, o->save_every, p->iterations) ||
           is_due(p->iteration, o->val_every, p->iterations) || qs_stop_requested();
}

static bool one_iteration(run *r, GError **error)
{
    tr_progress *p = &r->progress;
    GError *swept = NULL;
    if (!sweep_if_due(r, &swept)) {
        bool stop = g_error_matches(swept, QS_ERROR, QS_ERROR_STOPPED);
        if (!stop) {
            g_propagate_error(error, swept);
            return false;
        }
        g_error_free(swept);
        return stopped(r, error);
    }
    const tr_batch *batch = tr_loader_next(r->loader, error);
    if (!batch)
        return false;
    if (!tr_step_start(r->step, batch, p->iteration, p->iterations, error)) {
        say_way_out(r, error);
        return false;
    }
    p->iteration++;
    r->session_steps++;
    plan_hours(r, false);
    bool save = is_due(p->iteration, r->options->save_every, p->iterations);
    if (!collect_steps(r, wants_numbers(r) ? 0 : TR_LOSSES_AHEAD - 1, error))
        return false;
    GError *failed = NULL;
    if (!validate_if_due(r, batch, &save, &failed)) {
        bool stop = g_error_matches(failed, QS_ERROR, QS_ERROR_STOPPED);
        if (!stop) {
            g_propagate_error(error, failed);
            return false;
        }
        g_error_free(failed);
        return stopped(r, error);
    }
    if (!report_if_due(r, error))
        return false;
    if (qs_stop_requested() && p->iteration < p->iterations)
        return stopped(r, error);
    return !save || checkpoint(r, error);
}

static bool run_loop(run *r, GError **error)
{
    r->start_us = r->status_us = now_us(r);
    r->elapsed_before_s = r->progress.elapsed_s;
    bool save = false;
    if (!(r->dir.resumes ? mend_last_model(r, error) : checkpoint(r, error)))
        return false;
    if (!write_info(r, "running", error) || !validate_if_due(r, NULL, &save, error) ||
        !report_if_due(r, error) || (save && !checkpoint(r, error)))
        return false;
    while (r->progress.iteration < r->progress.iterations)
        if (!one_iteration(r, error))
            return false;
    return true;
}

bool tr_run(const tr_options *options, const tr_source *source, const model_spec *spec,
            const tr_callbacks *callbacks, GError **error)
{
    static const tr_callbacks none;
    run r = {.options = options, .source = source, .callbacks = callbacks ? callbacks : &none};
    GError *failed = NULL;
    bool ok = run_open(&r, spec, &failed) && run_loop(&r, &failed);
    if (r.log) {
        bool stop = g_error_matches(failed, QS_ERROR, QS_ERROR_STOPPED);
        bool told = write_info(&r, ok ? "done" : stop ? "stopped" : "failed", ok ? &failed : NULL);
        ok = ok && told;
    }
    run_close(&r);
    if (!ok)
        g_propagate_error(error, failed);
    return ok;
}
