#include "train/learner.h"

#include "base/rng.h"
#include "train/streams.h"
#include "train/thresholds.h"

#include <string.h>

bool tr_learner_init(tr_learner *l, kn_engine *engine, const tr_options *options,
                     const ssl_plan *plan, const model_spec *spec, GError **error)
{
    *l = (tr_learner){.engine = engine, .plan = *plan, .n_classes = spec->net.n_classes};
    tr_thresholds_init(l, options);
    l->net = kn_net_create_unet(&spec->net, error);
    if (!l->net)
        return false;
    for (int k = 0; k < plan->n_nets; k++) {
        const ssl_net *declared = &plan->nets[k];
        kn_weights *w = l->weights[k] = kn_weights_create(engine, l->net, declared->trained, error);
        if (!w)
            return false;
        int from = declared->copy_of;
        kn_weights_init(w, qs_rng_stream_id(TR_STREAM_WEIGHTS, options->seed,
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
    for (int k = 0; k < SSL_NETS_MAX; k++)
        if (l->weights[k])
            kn_weights_destroy(l->weights[k]);
    if (l->net)
        kn_net_destroy(l->net);
    memset(l, 0, sizeof *l);
}
