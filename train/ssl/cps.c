/* CPS: cross pseudo supervision (Chen et al., CVPR 2021).
 *
 * Two networks with their own random weights, both on both halves; each learns from the other's
 * argmax on the unlabelled half. Plain: ΣLsup + λ(t)[CE(p1,y2) + CE(p2,y1)]. MetaSSL (golden
 * example E09): lqh(1|2) + lqh(2|1) + λ(t)[uqh(1|2) + uqh(2|1)], thresholds kept per network and
 * half.
 *
 * The model is network 1 alone, or with cps-mean 1 the mean of both networks' probabilities, at
 * twice the cost of prediction. Selecting the better of the two on the validation slides would
 * double what validation costs and let it select twice. */
#include "train/plan/method.h"

enum { MEAN };

static const ssl_option options[] = {
    {"cps-mean", 0, 0, 1, "1: the model is the mean of both networks, 0: network 1"},
    {NULL, 0, 0, 0, NULL},
};

static void add_cross_term(const ssl_config *config, ssl_plan *plan, int p, int ref,
                           const char *role)
{
    ssl_term term = {
        .kind = SSL_CPS, .p = p, .ref = ref, .weight = SSL_LAMBDA, .scale = 1, .gamma = SSL_NONE};
    if (config->uqh) {
        term.kind = SSL_UQH;
        term.gamma = ssl_add_gamma(plan, role, SSL_UNLABELLED);
    }
    ssl_add_term(plan, term);
}

static void plan_cps(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int net1 = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int net2 = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int f1 = ssl_add_forward(plan, (ssl_forward){.net = net1, .half = SSL_BOTH, .grad = true});
    int f2 = ssl_add_forward(plan, (ssl_forward){.net = net2, .half = SSL_BOTH, .grad = true});
    ssl_add_labelled_term(plan, config, f1, f2, "net2", 1);
    ssl_add_labelled_term(plan, config, f2, f1, "net1", 1);
    add_cross_term(config, plan, f1, f2, "net2");
    add_cross_term(config, plan, f2, f1, "net1");
    plan->model_net = net1;
    plan->model_pair = config->values[MEAN] >= 0.5 ? net2 : 0;
}

extern const ssl_method ssl_method_cps;
const ssl_method ssl_method_cps = {
    .name = "CPS",
    .paper = "Chen et al., Semi-supervised semantic segmentation with cross pseudo supervision, "
             "CVPR 2021",
    .summary = "two networks, each learning from the other's prediction; the model is network 1",
    .options = options,
    .plan = plan_cps,
};
