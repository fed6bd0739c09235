#include "tests/model/steps_run.h"

#include "base/rng.h"

#include <math.h>
#include <string.h>

const char *const sr_method_names[SR_N_METHODS] = {"SL", "MT", "CPS"};

/* ---- batches -------------------------------------------------------------------------------- */
static void make_image(qs_rng *rng, float *x, uint8_t *label)
{
    static const double inside[3] = {0.4, -0.3, 0.2}, outside[3] = {-0.3, 0.2, 0.1};
    double cy = qs_rng_range(rng, 8, SR_H - 8), cx = qs_rng_range(rng, 8, SR_W - 8);
    double radius = qs_rng_range(rng, 5, 14);
    for (int i = 0; i < SR_PX; i++) {
        bool in = hypot(i / SR_W - cy, i % SR_W - cx) < radius;
        for (int c = 0; c < 3; c++)
            x[3 * i + c] = (float)((in ? inside[c] : outside[c]) + 0.6 * qs_rng_normal(rng));
        if (label)
            label[i] = qs_rng_below(rng, 50) ? in : 255;
    }
}

void sr_make_batches(float *x, uint8_t *label)
{
    qs_rng rng;
    qs_rng_init(&rng, 20, 1);
    for (int it = 0; it < SR_STEPS; it++)
        for (int n = 0; n < SR_N; n++)
            make_image(&rng, x + (int64_t)(it * SR_N + n) * SR_PX * 3,
                       n < SR_LABELLED ? label + (int64_t)(it * SR_LABELLED + n) * SR_PX : NULL);
}

/* ---- one network and what the loss needs of it ---------------------------------------------- */
typedef struct {
    kn_weights *weights;
    kn_pass *pass;
    double gamma[2][QS_CLASSES_MAX]; /* as reference: of labelled, of unlabelled pixels */
} learner;

typedef struct {
    kn_engine *engine;
    learner net[2];
    kn_reference ref;
    uint8_t *region;
    const uint8_t *label; /* of this step */
} run;

static kn_weights *copy_of(kn_engine *engine, const kn_weights *from, bool trainable,
                           GError **error)
{
    const kn_net *net = kn_weights_net(from);
    kn_weights *to = kn_weights_create(engine, net, trainable, error);
    if (!to)
        return NULL;
    static const kn_array arrays[] = {KN_ARRAY_PARAMS, KN_ARRAY_BUFFERS};
    for (int a = 0; a < 2; a++) {
        int64_t n = a ? kn_net_n_buffers(net) : kn_net_n_trained(net);
        g_autofree float *values = g_new(float, n);
        kn_weights_get(from, arrays[a], 0, n, values);
        kn_weights_set(to, arrays[a], 0, n, values);
    }
    return to;
}

static bool learner_open(learner *l, kn_engine *engine, const kn_weights *from, bool trains,
                         GError **error)
{
    kn_pass_options options = {.mode = trains ? KN_PASS_TRAIN : KN_PASS_NOGRAD,
                               .n = SR_N,
                               .h = SR_H,
                               .w = SR_W,
                               .no_dropout = true};
    for (int c = 0; c < QS_CLASSES_MAX; c++)
        l->gamma[0][c] = l->gamma[1][c] = SR_GAMMA0;
    return (l->weights = copy_of(engine, from, trains, error)) &&
           (l->pass = kn_pass_create(engine, kn_weights_net(from), &options, error));
}

static void set(const kn_tensor *t, int64_t pixel, int c, double value)
{
    if (t->dtype == KN_F64)
        kn_f64(t)[pixel * t->ldc + c] = value;
    else
        kn_f32(t)[pixel * t->ldc + c] = (float)value;
}

static bool learner_forward(learner *l, const float *x, int it, GError **error)
{
    const kn_tensor *in = kn_pass_input(l->pass);
    for (int64_t i = 0; i < kn_pixels(in); i++)
        for (int c = 0; c < 3; c++)
            set(in, i, c, (double)x[3 * i + c]);
    return kn_pass_forward(l->pass, l->weights, (uint64_t)it, error);
}

/* ---- losses ---------------------------------------------------------------------------------- */
static kn_tensor half(const kn_tensor *t, bool labelled)
{
    return labelled ? kn_tensor_images(t, 0, SR_LABELLED)
                    : kn_tensor_images(t, SR_LABELLED, SR_UNLABELLED);
}

/* Adds scale · loss of one half of `of`'s logits to its dlogits; ref NULL: plain. */
static double add_loss(run *r, learner *of, learner *ref, bool labelled, double scale)
{
    kn_tensor z = half(kn_pass_logits(of->pass), labelled);
    kn_tensor dz = half(kn_pass_dlogits(of->pass), labelled);
    const uint8_t *label = labelled ? r->label : NULL;
    kn_quad_config config = {.labelled = labelled,
                             .dice = labelled ? KN_DICE_LINEAR : KN_DICE_NONE,
                             .dice_eps = 1e-5,
                             .ce_scale = 1,
                             .dice_scale = 1};
    kn_region_weights(KN_PHI_GAUSS, 3, labelled ? 0.3 : 0.6, KN_PARTITION_QUAD, labelled,
                      config.weights);
    if (ref) {
        kn_tensor zr = half(kn_pass_logits(ref->pass), labelled);
        double *gamma = ref->gamma[labelled ? 0 : 1];
        kn_loss_reference(r->engine, &zr, KN_CONF_MAX, label, &r->ref);
        kn_gamma_update(gamma, z.c, &r->ref, SR_GAMMA_A, KN_ABSENT_KEEP);
        memcpy(config.gamma, gamma, sizeof config.gamma);
    }
    kn_quad_result result;
    const kn_reference *reference = ref ? &r->ref : NULL;
    kn_loss_partition(r->engine, &z, label, NULL, reference, NULL, &config, r->region, NULL,
                      &result);
    kn_loss_gradient(r->engine, &z, label, reference, r->region, NULL, &config, &result, scale,
                     false, &dz);
    return scale * result.loss;
}

static void zero_half(learner *l, bool labelled)
{
    kn_tensor dz = half(kn_pass_dlogits(l->pass), labelled);
    for (int64_t i = 0; i < kn_pixels(&dz); i++)
        for (int c = 0; c < dz.c; c++)
            set(&dz, i, c, 0);
}

static double losses_of_step(run *r, sr_method method, double lambda)
{
    learner *a = &r->net[0], *b = &r->net[1];
    if (method == SR_SL) {
        zero_half(a, false);
        return add_loss(r, a, NULL, true, 1);
    }
    double loss = add_loss(r, a, b, true, 1) + add_loss(r, a, b, false, lambda);
    if (method == SR_CPS)
        loss += add_loss(r, b, a, true, 1) + add_loss(r, b, a, false, lambda);
    return loss;
}

/* ---- steps ----------------------------------------------------------------------------------- */
static bool step(run *r, sr_method method, int it, double lr, const float *x, double *loss,
                 GError **error)
{
    int n_nets = method == SR_SL ? 1 : 2, n_trained = method == SR_CPS ? 2 : 1;
    for (int i = 0; i < n_nets; i++)
        if (!learner_forward(&r->net[i], x, it, error))
            return false;
    *loss = losses_of_step(r, method, kn_lambda_paper(1, it + 1, SR_STEPS));
    for (int i = 0; i < n_trained; i++) {
        learner *l = &r->net[i];
        kn_weights_zero_grads(l->weights);
        if (!kn_pass_backward(l->pass, l->weights, error))
            return false;
        kn_sgd_step(l->weights, kn_poly_lr(lr, 0.9, it, (int64_t)SR_HORIZON), 0.9, 1e-4);
    }
    if (method == SR_MT)
        kn_ema_update(r->net[1].weights, r->net[0].weights, kn_ema_alpha(0.99, it), false);
    return true;
}

bool sr_run(kn_engine *engine, sr_method method, const kn_weights *first, const kn_weights *second,
            const float *x, const uint8_t *label, double lr, double losses[SR_STEPS],
            GError **error)
{
    run r = {.engine = engine};
    r.ref.y = g_malloc(SR_N * SR_PX);
    r.ref.conf = g_malloc(SR_N * SR_PX * sizeof(double));
    r.region = g_malloc(SR_N * SR_PX);
    bool ok = learner_open(&r.net[0], engine, first, true, error) &&
              learner_open(&r.net[1], engine, second, method == SR_CPS, error);
    for (int it = 0; ok && it < SR_STEPS; it++) {
        r.label = label + (int64_t)it * SR_LABELLED * SR_PX;
        ok = step(&r, method, it, lr, x + (int64_t)it * SR_N * SR_PX * 3, &losses[it], error);
    }
    for (int i = 0; i < 2; i++) {
        kn_pass_destroy(r.net[i].pass);
        kn_weights_destroy(r.net[i].weights);
    }
    g_free(r.ref.y);
    g_free(r.ref.conf);
    g_free(r.region);
    return ok;
}
