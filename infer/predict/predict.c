/* A view and a network wired to the windows' road (windows.h): what to run, how to read it, what
 * the networks say of it. */
#include "infer/predict/predict.h"

#include "base/error.h"
#include "infer/predict/predict_priv.h"
#include "infer/predict/windows.h"

#include <string.h>

struct inf_predictor {
    kn_engine *engine; /* borrowed */
    const model *m;    /* borrowed */
    inf_options options;
    kn_pass *pass, *second; /* second: of a pair, else NULL */
    int pass_n;             /* windows of a pass */
    int64_t pass_bytes;
    float *staging; /* one normalised window, for engines that do not compute in f32 */
};

/* One prediction under way. */
typedef struct {
    inf_predictor *predictor;
    const wsi_view *view;
    const wsi_tissue *tissue;
} job;

static const char *const blend_names[] = {"gaussian", "uniform"};

const char *inf_blend_name(inf_blend blend)
{
    return blend_names[blend];
}

bool inf_blend_parse(const char *name, inf_blend *blend)
{
    for (size_t i = 0; i < G_N_ELEMENTS(blend_names); i++) {
        if (!g_ascii_strcasecmp(name, blend_names[i])) {
            *blend = (inf_blend)i;
            return true;
        }
    }
    return false;
}

void inf_options_init(inf_options *options)
{
    *options = (inf_options){.blend = INF_BLEND_GAUSSIAN, .batch = 8, .n_readers = 1};
}

static bool fill_options(inf_options *o, const model_spec *spec, GError **error)
{
    if (o->window_px == 0)
        o->window_px = spec->patch_px > 0 ? spec->patch_px : 256;
    if (o->window_px < 16 || o->window_px > 4096 || o->window_px % 16 != 0) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "window of %d pixels: the network takes multiples of 16 from 16 to 4096",
                    o->window_px);
        return false;
    }
    if (o->stride_px == 0)
        o->stride_px = o->window_px * 3 / 4;
    if (o->stride_px < 1 || o->stride_px > o->window_px) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "stride of %d pixels: give 1 to %d (the window), so that nothing is skipped",
                    o->stride_px, o->window_px);
        return false;
    }
    if (o->batch < 1 || o->batch > 1024 || o->n_readers < 1 || o->n_readers > 256) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "batch %d, reading threads %d: give 1 to 1024 and 1 to 256", o->batch,
                    o->n_readers);
        return false;
    }
    return true;
}

inf_predictor *inf_predictor_create(kn_engine *engine, const model *m, const inf_options *options,
                                    GError **error)
{
    inf_options filled = *options;
    if (!fill_options(&filled, &m->spec, error))
        return NULL;
    int pass_n = kn_engine_is_device(engine) ? INF_PASS_DEVICE_N : INF_PASS_N;
    kn_pass_options pass = {.mode = KN_PASS_INFER,
                            .n = pass_n,
                            .h = filled.window_px,
                            .w = filled.window_px,
                            .keep_logits = true};
    int64_t pass_bytes = kn_pass_memory(engine, m->net, &pass, error), second_bytes = 0;
    if (pass_bytes >= 0 && m->second_net)
        second_bytes = kn_pass_memory(engine, m->second_net, &pass, error);
    if (pass_bytes < 0 || second_bytes < 0)
        return NULL;
    pass_bytes += second_bytes;
    inf_predictor *p = g_new0(inf_predictor, 1);
    *p = (inf_predictor){
        .engine = engine, .m = m, .options = filled, .pass_n = pass_n, .pass_bytes = pass_bytes};
    p->staging = g_new(float, 3 * (size_t)filled.window_px * (size_t)filled.window_px);
    p->pass = kn_pass_create(engine, m->net, &pass, error);
    if (p->pass && m->second_net)
        p->second = kn_pass_create(engine, m->second_net, &pass, error);
    if (!p->pass || (m->second_net && !p->second)) {
        inf_predictor_destroy(p);
        return NULL;
    }
    return p;
}

void inf_predictor_destroy(inf_predictor *p)
{
    if (!p)
        return;
    kn_pass_destroy(p->pass);
    kn_pass_destroy(p->second);
    g_free(p->staging);
    g_free(p);
}

const inf_options *inf_predictor_options(const inf_predictor *p)
{
    return &p->options;
}

static bool wanted(void *user, int64_t x, int64_t y)
{
    const job *j = user;
    double ds = j->view->downsample;
    double w = (double)MIN(j->predictor->options.window_px, j->view->w - x);
    double h = (double)MIN(j->predictor->options.window_px, j->view->h - y);
    return !j->tissue ||
           wsi_tissue_fraction(j->tissue, (double)x * ds, (double)y * ds, w * ds, h * ds) > 0;
}

static bool read_window(void *user, int64_t x, int64_t y, uint8_t *rgb, GError **error)
{
    const job *j = user;
    int px = j->predictor->options.window_px;
    int w = (int)MIN(px, j->view->w - x), h = (int)MIN(px, j->view->h - y);
    if (w < px || h < px)
        memset(rgb, 255, (size_t)px * (size_t)px * 3);
    return wsi_view_read(j->view, x, y, w, h, rgb, (size_t)px * 3, error);
}

/* Normalises one window into image k of the pass. */
static void put_input(inf_predictor *p, kn_pass *pass, int k, const uint8_t *rgb)
{
    const kn_tensor *in = kn_pass_input(pass);
    int64_t n_px = (int64_t)in->h * in->w;
    g_assert(in->c == 3 && in->ldc == 3);
    if (in->dtype == KN_F32) {
        model_normalise(&p->m->spec, rgb, n_px, kn_f32(in) + (size_t)k * (size_t)n_px * 3);
        return;
    }
    g_assert(in->dtype == KN_F64);
    model_normalise(&p->m->spec, rgb, n_px, p->staging);
    double *dst = kn_f64(in) + (size_t)k * (size_t)n_px * 3;
    for (int64_t i = 0; i < n_px * 3; i++)
        dst[i] = (double)p->staging[i];
}

static bool run_pass(inf_predictor *p, kn_pass *pass, kn_weights *weights,
                     const uint8_t *const *rgb, int n, GError **error)
{
    /* A short pass repeats its last window: no lane computes on leftovers. */
    for (int k = 0; k < p->pass_n; k++)
        put_input(p, pass, k, rgb[MIN(k, n - 1)]);
    return kn_pass_forward(pass, weights, 0, error);
}

static bool infer(void *user, const uint8_t *const *rgb, int n, inf_logits *logits, GError **error)
{
    inf_predictor *p = ((job *)user)->predictor;
    /* the last pass may still be reading its images */
    if (!kn_engine_check(p->engine, error) || !run_pass(p, p->pass, p->m->weights, rgb, n, error) ||
        (p->second && !run_pass(p, p->second, p->m->second_weights, rgb, n, error)))
        return false;
    logits->z = kn_pass_logits(p->pass);
    logits->second = p->second ? kn_pass_logits(p->second) : NULL;
    return true;
}

static inf_windows windows_of(inf_predictor *p, const wsi_view *view)
{
    return (inf_windows){
        .engine = p->engine,
        .w = view->w,
        .h = view->h,
        .window_px = p->options.window_px,
        .stride_px = p->options.stride_px,
        .n_classes = p->m->spec.net.n_classes,
        .blend = p->options.blend,
        .pass_n = p->pass_n,
        .batch = p->options.batch,
        .n_readers = p->options.n_readers,
        .wanted = wanted,
        .read = read_window,
        .infer = infer,
    };
}

int64_t inf_predictor_memory(const inf_predictor *p, const wsi_view *view)
{
    inf_predictor copy = *p;
    inf_windows windows = windows_of(&copy, view);
    return p->pass_bytes + inf_windows_memory(&windows) + inf_mask_rows_memory(view);
}

bool inf_predict(inf_predictor *p, const wsi_view *view, const wsi_tissue *tissue, bool labels_only,
                 inf_rows rows, void *user, const qs_progress *progress, inf_report *report,
                 GError **error)
{
    job j = {.predictor = p, .view = view, .tissue = tissue};
    inf_windows windows = windows_of(p, view);
    windows.user = &j;
    windows.labels_only = labels_only;
    windows.rows = rows;
    windows.rows_user = user;
    if (!inf_windows_run(&windows, progress, report, error)) {
        g_prefix_error(error, "%s: ", wsi_slide_get_info(view->slide)->path);
        return false;
    }
    return true;
}

const model *inf_predictor_model(const inf_predictor *p)
{
    return p->m;
}
