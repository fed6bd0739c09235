/* A view and a network wired to the windows' road (windows.h): what to run, how to read it, how to
 * turn logits into probabilities. */
#include "infer/predict.h"

#include "base/error.h"
#include "infer/predict_priv.h"
#include "infer/windows.h"

#include <math.h>
#include <string.h>

struct inf_predictor {
    kn_engine *engine; /* borrowed */
    const model *m;    /* borrowed */
    inf_options options;
    kn_pass *pass, *second; /* second: of a pair, else NULL */
    int64_t pass_bytes;
    float *pair_prob; /* one window of the second network's */
    float *staging;   /* one normalised window, for engines that do not compute in f32 */
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
    kn_pass_options pass = {
        .mode = KN_PASS_INFER, .n = INF_PASS_N, .h = filled.window_px, .w = filled.window_px};
    int64_t pass_bytes = kn_pass_memory(engine, m->net, &pass, error), second_bytes = 0;
    if (pass_bytes >= 0 && m->second_net)
        second_bytes = kn_pass_memory(engine, m->second_net, &pass, error);
    if (pass_bytes < 0 || second_bytes < 0)
        return NULL;
    pass_bytes += second_bytes;
    inf_predictor *p = g_new0(inf_predictor, 1);
    *p = (inf_predictor){.engine = engine, .m = m, .options = filled, .pass_bytes = pass_bytes};
    p->staging = g_new(float, 3 * (size_t)filled.window_px * (size_t)filled.window_px);
    p->pass = kn_pass_create(engine, m->net, &pass, error);
    if (p->pass && m->second_net) {
        size_t n_px = (size_t)filled.window_px * (size_t)filled.window_px;
        p->pair_prob = g_new(float, n_px *(size_t)m->spec.net.n_classes);
        p->second = kn_pass_create(engine, m->second_net, &pass, error);
    }
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
    g_free(p->pair_prob);
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

/* prob[i] = softmax of n logits, through differences from the largest. */
static void softmax(const float *z, int n, float *prob)
{
    float top = z[0], sum = 0;
    for (int c = 1; c < n; c++)
        top = MAX(top, z[c]);
    for (int c = 0; c < n; c++) {
        prob[c] = expf(z[c] - top);
        sum += prob[c];
    }
    for (int c = 0; c < n; c++)
        prob[c] /= sum;
}

/* Logits of image k to probabilities (window,window,n_classes). False when one is not finite. */
static bool get_output(const kn_pass *pass, int k, float *prob)
{
    const kn_tensor *out = kn_pass_logits(pass);
    int64_t n_px = (int64_t)out->h * out->w, first = k * n_px;
    int nc = out->c;
    bool finite = true;
    float z[QS_CLASSES_MAX];
    for (int64_t i = 0; i < n_px; i++) {
        size_t at = (size_t)(first + i) * (size_t)out->ldc;
        for (int c = 0; c < nc; c++) {
            z[c] = out->dtype == KN_F32 ? kn_f32(out)[at + (size_t)c]
                                        : (float)kn_f64(out)[at + (size_t)c];
            finite = finite && isfinite(z[c]);
        }
        softmax(z, nc, prob + i * nc);
    }
    return finite;
}

static bool run_pass(inf_predictor *p, kn_pass *pass, kn_weights *weights,
                     const uint8_t *const *rgb, int n, GError **error)
{
    /* A short pass repeats its last window: no lane computes on leftovers. */
    for (int k = 0; k < INF_PASS_N; k++)
        put_input(p, pass, k, rgb[MIN(k, n - 1)]);
    return kn_pass_forward(pass, weights, 0, error);
}

/* prob becomes the mean of itself and the second network's. */
static bool add_second(inf_predictor *p, int k, float *prob, size_t n_prob)
{
    bool finite = get_output(p->second, k, p->pair_prob);
    for (size_t i = 0; i < n_prob; i++)
        prob[i] = 0.5f * (prob[i] + p->pair_prob[i]);
    return finite;
}

static bool infer(void *user, const uint8_t *const *rgb, int n, float *prob, GError **error)
{
    inf_predictor *p = ((job *)user)->predictor;
    size_t n_px = (size_t)p->options.window_px * (size_t)p->options.window_px;
    size_t n_prob = n_px * (size_t)p->m->spec.net.n_classes;
    if (!run_pass(p, p->pass, p->m->weights, rgb, n, error))
        return false;
    bool finite = true;
    for (int k = 0; k < n; k++)
        finite = get_output(p->pass, k, prob + (size_t)k * n_prob) && finite;
    if (p->second && !run_pass(p, p->second, p->m->second_weights, rgb, n, error))
        return false;
    for (int k = 0; p->second && k < n; k++)
        finite = add_second(p, k, prob + (size_t)k * n_prob, n_prob) && finite;
    if (finite)
        return true;
    g_set_error_literal(
        error, QS_ERROR, QS_ERROR_FORMAT,
        "the network's output is not a number; the model file holds damaged weights "
        "or its training diverged");
    return false;
}

static inf_windows windows_of(inf_predictor *p, const wsi_view *view)
{
    return (inf_windows){
        .w = view->w,
        .h = view->h,
        .window_px = p->options.window_px,
        .stride_px = p->options.stride_px,
        .n_classes = p->m->spec.net.n_classes,
        .blend = p->options.blend,
        .pass_n = INF_PASS_N,
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

bool inf_predict(inf_predictor *p, const wsi_view *view, const wsi_tissue *tissue, inf_rows rows,
                 void *user, const qs_progress *progress, inf_report *report, GError **error)
{
    job j = {.predictor = p, .view = view, .tissue = tissue};
    inf_windows windows = windows_of(p, view);
    windows.user = &j;
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
