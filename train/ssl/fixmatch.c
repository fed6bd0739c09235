/* FixMatch (Sohn et al., NeurIPS 2020) for segmentation, in UniMatch's form (Yang et al., CVPR
 * 2023).
 *
 * One network sees each image twice: the weak view, and the strong one (photometric changes and, on
 * the unlabelled half, CutMix). The weak prediction is moved with the boxes before anything is made
 * of it. Plain: L = Lsup(weak) + λ(t)·CE(strong, y~)·1[conf >= τ], divided by all valid pixels.
 * MetaSSL: ½[lqh(strong|weak) + lqh(weak|strong)] + λ(t)·uqh(strong|weak): the four weights in
 * place of τ; the strong view then covers the labelled half too. */
#include "train/plan/method.h"

enum { TAU };

static const ssl_option options[] = {
    {"fixmatch-tau", 0.95, 0, 1, "plain loss: least confidence of a pseudo-label"},
    {NULL, 0, 0, 0, NULL},
};

static void plan_fixmatch(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int net = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int weak = ssl_add_forward(plan, (ssl_forward){.net = net, .half = SSL_BOTH, .grad = true});
    int strong = ssl_add_forward(plan, (ssl_forward){
                                           .net = net,
                                           .half = config->lqh ? SSL_BOTH : SSL_UNLABELLED,
                                           .grad = true,
                                           .look = SSL_STRONG,
                                           .mix = SSL_MIX_CUT,
                                       });
    int moved = ssl_add_forward(plan, (ssl_forward){.net = SSL_NONE,
                                                    .half = SSL_UNLABELLED,
                                                    .mix = SSL_MIX_CUT,
                                                    .from = {{weak, 0}},
                                                    .n_from = 1});
    if (config->lqh)
        ssl_add_labelled_term(plan, config, strong, weak, "weak", 0.5);
    ssl_add_labelled_term(plan, config, weak, strong, "strong", config->lqh ? 0.5 : 1);
    ssl_term unlabelled = {.kind = SSL_PSEUDO,
                           .p = strong,
                           .ref = moved,
                           .weight = SSL_LAMBDA,
                           .scale = 1,
                           .gamma = SSL_NONE,
                           .tau = config->values[TAU]};
    if (config->uqh) {
        unlabelled.kind = SSL_UQH;
        unlabelled.gamma = ssl_add_gamma(plan, "weak", SSL_UNLABELLED);
    }
    ssl_add_term(plan, unlabelled);
    plan->model_net = net;
}

extern const ssl_method ssl_method_fixmatch;
const ssl_method ssl_method_fixmatch = {
    .name = "FixMatch",
    .paper = "Sohn et al., FixMatch, NeurIPS 2020; for segmentation Yang et al., CVPR 2023",
    .summary = "one network, the strong view learns from the weak view's prediction",
    .options = options,
    .plan = plan_fixmatch,
};
