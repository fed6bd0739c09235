#include "train/loss/learner.h"

#include "base/rng.h"
#include "train/data/streams.h"
#include "train/loss/thresholds.h"

#include <string.h>

/* The network of the plan's net k: that of an earlier one of the same shape, or a new one. */
static kn_net *net_of(const tr_learner *l, const model_spec *spec, int k, GError **error)
{
    const ssl_net *declared = &l->plan.nets[k];
    for (int e = 0; e < k; e++)
        if (declared->copy_of == e || (l->plan.nets[e].variant == declared->variant &&
                                       l->plan.nets[e].features == declared->features))
            return l->nets[e];
    kn_unet_spec net = spec->net;
    net.variant = declared->variant;
    net.features = declared->features;
    return kn_net_create_unet(&net, error);
}

bool tr_learner_init(tr_learner *l, kn_engine *engine, const tr_options *options,
                     const ssl_plan *plan, const model_spec *spec, GError **error)
{
    *l = (tr_learner){.engine = engine, .plan = *plan, .n_classes = spec->net.n_classes};
    tr_thresholds_init(l, options);
    kn_optimiser optimiser = options->optimiser == TR_ADAM ? KN_OPTIMISER_ADAM : KN_OPTIMISER_SGD;
    for (int k = 0; k < plan->n_nets; k++) {
        const ssl_net *declared = &plan->nets[k];
        l->nets[k] = net_of(l, spec, k, error);
        if (!l->nets[k])
            return false;
        kn_weights *w = l->weights[k] = kn_weights_create(
            engine, l->nets[k], declared->trained ? optimiser : KN_OPTIMISER_NONE, error);
        if (!w)
            return false;
        int from = declared->copy_of;
        kn_weights_draw(w, tr_options_init_of(options, plan, k),
                        qs_rng_stream_id(TR_STREAM_WEIGHTS, options->seed,
                                         (uint64_t)(from == SSL_NONE ? k : from)));
        bool given = options->init && (k == plan->model_net || from == plan->model_net);
        if (given && !model_load_weights(options->init, w, error)) {
            g_prefix_error(error, "--init: ");
            return false;
        }
    }
    return true;
}

void tr_learner_clear(tr_learner *l)
{
    for (int k = 0; k < SSL_NETS_MAX; k++) {
        if (l->weights[k])
            kn_weights_destroy(l->weights[k]);
        bool first = true;
        for (int e = 0; e < k; e++)
            first = first && l->nets[e] != l->nets[k];
        if (l->nets[k] && first)
            kn_net_destroy(l->nets[k]);
    }
    memset(l, 0, sizeof *l);
}
