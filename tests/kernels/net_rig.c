#include "tests/kernels/net_rig.h"

rig rig_of(kn_engine *engine, kn_net *net, kn_pass_options options)
{
    GError *error = NULL;
    rig r = {.engine = engine, .net = net, .n_outputs = kn_net_n_outputs(net)};
    r.weights = kn_weights_create(engine, net, KN_OPTIMISER_SGD, &error);
    g_assert_no_error(error);
    kn_weights_init(r.weights, 3);
    r.pass = kn_pass_create(engine, net, &options, &error);
    g_assert_no_error(error);
    return r;
}

void rig_free(rig *r)
{
    kn_pass_destroy(r->pass);
    kn_weights_destroy(r->weights);
    kn_net_destroy(r->net);
    kn_engine_destroy(r->engine);
}

void put_all(const kn_tensor *t, const double *x)
{
    for (int64_t i = 0; i < kn_pixels(t) * t->c; i++) {
        if (t->dtype == KN_F64)
            kn_f64(t)[i] = x[i];
        else
            kn_f32(t)[i] = (float)x[i];
    }
}

double *get_all(const kn_tensor *t)
{
    double *x = g_new(double, kn_pixels(t) * t->c);
    for (int64_t i = 0; i < kn_pixels(t) * t->c; i++)
        x[i] = t->dtype == KN_F64 ? kn_f64(t)[i] : (double)kn_f32(t)[i];
    return x;
}
