/* CCT: cross-consistency training (Ouali et al., CVPR 2020), as SSL4MIS has it.
 *
 * One encoder, a main decoder and three auxiliary ones on perturbed features (kernels/net/unet.c).
 * Plain: the mean of the four Lsup + λ(t)·⅓Σ mean((p_k - p_main)²), the main decoder without
 * gradient there. MetaSSL: ¼[lqh(main|mean of the auxiliary) + Σ lqh(aux_k|main)] + λ(t)·⅓Σ
 * uqh(aux_k|main). The model is encoder and main decoder, a plain U-Net. */
#include "train/plan/method.h"

enum { N_AUX = 3 };

static void add_consistency(const ssl_config *config, ssl_plan *plan, int f, int gamma, int k)
{
    ssl_add_term(plan, (ssl_term){.kind = config->uqh ? SSL_UQH : SSL_MSE,
                                  .p = f,
                                  .p_output = k,
                                  .ref = f,
                                  .ref_output = 0,
                                  .gamma = gamma,
                                  .weight = SSL_LAMBDA,
                                  .scale = 1.0 / N_AUX});
}

static void plan_cct(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int net =
        ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE, .variant = KN_UNET_AUX});
    int f = ssl_add_forward(plan, (ssl_forward){.net = net, .half = SSL_BOTH, .grad = true});
    ssl_term labelled = {.p = f, .scale = 1.0 / (N_AUX + 1)};
    int of_aux = SSL_NONE, of_main = SSL_NONE;
    if (config->lqh)
        labelled.ref = ssl_add_forward(plan, (ssl_forward){.net = SSL_NONE,
                                                           .half = SSL_LABELLED,
                                                           .from = {{f, 1}, {f, 2}, {f, 3}},
                                                           .n_from = N_AUX});
    ssl_add_labelled(plan, config, labelled, "aux-mean", &of_aux);
    labelled.ref = f;
    for (labelled.p_output = 1; labelled.p_output <= N_AUX; labelled.p_output++)
        ssl_add_labelled(plan, config, labelled, "main", &of_main);
    int gamma = config->uqh ? ssl_add_gamma(plan, "main", SSL_UNLABELLED) : SSL_NONE;
    for (int k = 1; k <= N_AUX; k++)
        add_consistency(config, plan, f, gamma, k);
    plan->model_net = net;
}

extern const ssl_method ssl_method_cct;
const ssl_method ssl_method_cct = {
    .name = "CCT",
    .paper = "Ouali et al., Semi-supervised semantic segmentation with cross-consistency training, "
             "CVPR 2020",
    .summary = "an encoder, and four decoders that agree on perturbed features; the model is the "
               "main one",
    .plan = plan_cct,
};
