/* CCVC: conflict-based cross-view consistency (Wang et al., CVPR 2023).
 *
 * Two networks, the second with a mapping of its bottleneck, that are pushed to see differently and
 * to say the same: L = w1·½ΣLsup + w2·L_con + w3·L_dis.
 *   L_con   ½ΣCE(p_i, y_j) on unlabelled pixels, weight ω where the two differ and the other's
 *           confidence is above θ, else 1, over all pixels
 *   L_dis   mean over both halves of 1 + cos of the bottlenecks, each a constant for the other
 * The published settings vary: (1, 1, 1), θ = 0, ω = 2, the default here, or (5, 2, 1), θ = 0.9. θ
 * is compared with probabilities; the published code compares it with logits. The model is network
 * 1, a plain U-Net. */
#include "kernels/loss/compare.h"
#include "kernels/engine/memory.h"
#include "train/plan/method.h"

enum { W_SUP, W_CON, W_DIS, THETA, OMEGA };

static const ssl_option options[] = {
    {"ccvc-sup", 1, 0, 100, "weight of the supervised loss, the networks' mean"},
    {"ccvc-con", 1, 0, 100, "weight of the cross consistency"},
    {"ccvc-dis", 1, 0, 100, "weight of the discrepancy of features"},
    {"ccvc-theta", 0, 0, 1, "conflicts count more where the other is surer than this"},
    {"ccvc-omega", 2, 0, 100, "weight of such a conflict"},
    {NULL, 0, 0, 0, NULL},
};

/* y, regions, confidences, the reference's sums. */
static size_t scratch_bytes(int64_t pixels, int n_classes, size_t real_bytes)
{
    (void)n_classes;
    return 2 * kn_round_up((size_t)pixels, KN_ALIGN) +
           kn_round_up((size_t)pixels * real_bytes, KN_ALIGN) + sizeof(kn_ref_sums);
}

/* Operand 0 learns from operand 1. */
static void run_cross(const ssl_own *own)
{
    size_t px = kn_round_up((size_t)kn_pixels(own->z[0]), KN_ALIGN);
    uint8_t *region = (uint8_t *)own->scratch + px;
    kn_reference ref = {.y = own->scratch, .conf = (char *)own->scratch + 2 * px};
    size_t conf = (size_t)kn_pixels(own->z[0]) * kn_dtype_bytes(kn_engine_dtype(own->engine));
    kn_ref_sums *sums = (kn_ref_sums *)(void *)((char *)ref.conf + kn_round_up(conf, KN_ALIGN));
    kn_quad_config config = {
        .weights = {1, 1, own->values[OMEGA], 1}, .norm = KN_CE_PIXELS, .ce_scale = 1};
    for (int c = 0; c < QS_CLASSES_MAX; c++)
        config.gamma[c] = own->values[THETA];
    kn_loss_reference_at(own->engine, own->z[1], KN_CONF_MAX, own->exclude, &ref, sums);
    kn_loss_partition_at(own->engine, own->z[0], NULL, own->exclude, &ref, NULL, &config, region,
                         NULL, own->quad);
    if (own->dz[0])
        kn_loss_gradient_at(own->engine, own->z[0], NULL, &ref, region, NULL, &config, own->quad,
                            own->scale, true, own->dz[0]);
}

/* Features of a lower level: what is excluded at full size is not looked up. */
static void run_discrepancy(const ssl_own *own)
{
    kn_loss_cosine_at(own->engine, own->z[0], own->z[1], NULL, own->scale, true, own->dz[0],
                      own->dz[1], own->value);
}

static void add_view(const ssl_config *config, ssl_plan *plan, int own, int other)
{
    ssl_add_term(plan, (ssl_term){.kind = SSL_SUP,
                                  .p = own,
                                  .ref = SSL_NONE,
                                  .gamma = SSL_NONE,
                                  .weight = SSL_CONST,
                                  .scale = 0.5 * config->values[W_SUP]});
    ssl_add_term(plan, (ssl_term){.kind = SSL_OWN,
                                  .own = run_cross,
                                  .own_bytes = scratch_bytes,
                                  .on = SSL_UNLABELLED,
                                  .p = own,
                                  .operands = {{other, 0}},
                                  .n_operands = 1,
                                  .grads = 1,
                                  .gamma = SSL_NONE,
                                  .weight = SSL_CONST,
                                  .scale = 0.5 * config->values[W_CON]});
}

static void plan_ccvc(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int net1 = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE, .features = true});
    int net2 = ssl_add_net(plan, (ssl_net){.trained = true,
                                           .copy_of = SSL_NONE,
                                           .variant = KN_UNET_MAPPED,
                                           .features = true});
    int f1 = ssl_add_forward(plan, (ssl_forward){.net = net1, .half = SSL_BOTH, .grad = true});
    int f2 = ssl_add_forward(plan, (ssl_forward){.net = net2, .half = SSL_BOTH, .grad = true});
    add_view(config, plan, f1, f2);
    add_view(config, plan, f2, f1);
    ssl_add_term(plan, (ssl_term){.kind = SSL_OWN,
                                  .own = run_discrepancy,
                                  .on = SSL_BOTH,
                                  .p = f1,
                                  .p_output = 1,
                                  .operands = {{f2, 1}},
                                  .n_operands = 1,
                                  .grads = 3,
                                  .gamma = SSL_NONE,
                                  .weight = SSL_CONST,
                                  .scale = config->values[W_DIS]});
    plan->model_net = net1;
}

extern const ssl_method ssl_method_ccvc;
const ssl_method ssl_method_ccvc = {
    .name = "CCVC",
    .paper = "Wang et al., Conflict-based cross-view consistency for semi-supervised semantic "
             "segmentation, CVPR 2023",
    .summary = "two networks with features that differ and predictions that agree; the model is "
               "network 1",
    .options = options,
    .plain_only = true,
    .plan = plan_ccvc,
};
