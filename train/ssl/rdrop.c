/* R-Drop (Liang et al., NeurIPS 2021): one network, two passes with other dropout.
 *
 * Plain: ½ΣLsup + λ(t)·½[KL(p1‖p2) + KL(p2‖p1)] over classes, mean over unlabelled pixels, gradient
 * to both. MetaSSL: ½[lqh(1|2) + lqh(2|1)] + λ(t)·[uqh(1|2) + uqh(2|1)]; both passes are of one
 * network, so they share their thresholds. The model is the network without dropout. */
#include "kernels/loss/compare.h"
#include "train/plan/method.h"

static void run_kl(const ssl_own *own)
{
    kn_loss_kl_at(own->engine, own->z[0], own->z[1], own->exclude, own->scale, true, own->dz[0],
                  own->dz[1], own->value);
}

static void add_unlabelled(const ssl_config *config, ssl_plan *plan, int f1, int f2)
{
    ssl_term term = {.p = f1, .ref = f2, .weight = SSL_LAMBDA, .scale = 1, .gamma = SSL_NONE};
    if (config->uqh) {
        term.kind = SSL_UQH;
        term.gamma = ssl_add_gamma(plan, "net", SSL_UNLABELLED);
        ssl_add_term(plan, term);
        term.p = f2;
        term.ref = f1;
    } else {
        term.kind = SSL_OWN;
        term.own = run_kl;
        term.on = SSL_UNLABELLED;
        term.operands[0] = (ssl_pred){f2, 0};
        term.n_operands = 1;
        term.grads = 3;
    }
    ssl_add_term(plan, term);
}

static void plan_rdrop(const ssl_config *config, ssl_plan *plan)
{
    const ssl_forward pass = {.half = SSL_BOTH, .grad = true};
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    plan->model_net = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int f1 = ssl_add_forward(plan, pass), f2 = ssl_add_forward(plan, pass), gamma = SSL_NONE;
    ssl_add_labelled(plan, config, (ssl_term){.p = f1, .ref = f2, .scale = 0.5}, "net", &gamma);
    ssl_add_labelled(plan, config, (ssl_term){.p = f2, .ref = f1, .scale = 0.5}, "net", &gamma);
    add_unlabelled(config, plan, f1, f2);
}

extern const ssl_method ssl_method_rdrop;
const ssl_method ssl_method_rdrop = {
    .name = "R-Drop",
    .paper = "Liang et al., R-Drop: regularized dropout for neural networks, NeurIPS 2021",
    .summary = "one network, two passes with other dropout that agree",
    .plan = plan_rdrop,
};
