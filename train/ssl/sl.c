/* SL: supervised learning on the labelled rows alone, the lower bound of every comparison.
 *
 * The whole batch (both halves' sizes) is drawn from labelled rows, so that a step sees as many
 * images as a semi-supervised method's; or, with whole-batch 0, the labelled half alone, so that it
 * sees as many labels. With MetaSSL the reference is a second dropout pass of the
 * same network on the same images. */
#include "train/ssl/supervised.h"

enum { WHOLE };

const ssl_option ssl_supervised_options[] = {
    {"whole-batch", 1, 0, 1,
     "1: labelled patches fill the unlabelled half too; 0: as many of them a step as other methods"},
    {NULL, 0, 0, 0, NULL},
};

void ssl_plan_supervised(const ssl_config *config, ssl_pool pool, ssl_plan *plan)
{
    bool whole = config->values[WHOLE] >= 0.5;
    plan->n_labelled = config->batch_labelled + (whole ? config->batch_unlabelled : 0);
    plan->pool = pool;
    int net = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int p = ssl_add_forward(plan, (ssl_forward){.net = net, .half = SSL_LABELLED, .grad = true});
    int ref = SSL_NONE;
    if (config->lqh)
        ref = ssl_add_forward(plan, (ssl_forward){.net = net, .half = SSL_LABELLED});
    ssl_add_labelled_term(plan, config, p, ref, "dropout", 1);
    plan->model_net = net;
}

static void plan_sl(const ssl_config *config, ssl_plan *plan)
{
    ssl_plan_supervised(config, SSL_POOL_LABELLED, plan);
}

extern const ssl_method ssl_method_sl;
const ssl_method ssl_method_sl = {
    .name = "SL",
    .summary = "supervised on the labelled slides alone",
    .options = ssl_supervised_options,
    .plan = plan_sl,
};
