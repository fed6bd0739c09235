/* URPC: uncertainty rectified pyramid consistency (Luo et al., MICCAI 2021).
 *
 * One network with a head on each of the decoder's four levels, the lower three behind a
 * perturbation and repeated to full size (kernels/net/unet.c). L = mean of the four Lsup + λ(t)·the
 * heads' distance to their mean, weighed down where a head diverges from it (kn_loss_urpc), with
 * gradient through the mean. The model is the full-size head, a plain U-Net. */
#include "kernels/loss/compare.h"
#include "train/plan/method.h"

enum { N_HEADS = 4 };

static void run_consistency(const ssl_own *own)
{
    kn_loss_urpc_at(own->engine, own->z, N_HEADS, own->exclude, own->scale, true, own->dz,
                    own->value);
}

static void plan_urpc(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int net = ssl_add_net(
        plan, (ssl_net){.trained = true, .copy_of = SSL_NONE, .variant = KN_UNET_SCALES});
    int f = ssl_add_forward(plan, (ssl_forward){.net = net, .half = SSL_BOTH, .grad = true});
    for (int k = 0; k < N_HEADS; k++)
        ssl_add_term(plan, (ssl_term){.kind = SSL_SUP,
                                      .p = f,
                                      .p_output = k,
                                      .ref = SSL_NONE,
                                      .gamma = SSL_NONE,
                                      .weight = SSL_CONST,
                                      .scale = 1.0 / N_HEADS});
    ssl_add_term(plan, (ssl_term){.kind = SSL_OWN,
                                  .own = run_consistency,
                                  .on = SSL_UNLABELLED,
                                  .p = f,
                                  .operands = {{f, 1}, {f, 2}, {f, 3}},
                                  .n_operands = N_HEADS - 1,
                                  .grads = (1u << N_HEADS) - 1,
                                  .gamma = SSL_NONE,
                                  .weight = SSL_LAMBDA,
                                  .scale = 1});
    plan->model_net = net;
}

extern const ssl_method ssl_method_urpc;
const ssl_method ssl_method_urpc = {
    .name = "URPC",
    .paper =
        "Luo et al., Efficient semi-supervised gross target volume of nasopharyngeal carcinoma "
        "segmentation via uncertainty rectified pyramid consistency, MICCAI 2021",
    .summary = "heads on four levels of the decoder that agree; the model is the full-size one",
    .plain_only = true,
    .plan = plan_urpc,
};
