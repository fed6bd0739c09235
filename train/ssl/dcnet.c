/* DCNet: decoupled consistency (Chen et al., MICCAI 2023).
 *
 * One encoder, a bilinear and a transposed-convolution decoder. A threshold μ from both decoders'
 * mean confidence, moving from its start to the batch's as training goes, parts every class of
 * every pixel into high and low (kn_loss_dcnet): L = Dice(1) + Dice(2) + w_direct·direct +
 * w_dc·λ(t)·decoupled + w_att·(1-λ(t))·attention direct: cross CE of the high ones; where both
 * decoders' mean confidence is 0.95 or more, of all. decoupled: elsewhere the surer decoder is the
 * target. attention: the encoder's four levels learn the second decoder's spatial attention. All on
 * both halves. The model is encoder and first decoder.
 *
 * μ starts at 1/C and is kept in [max(0.25, 1/C), 0.95]: below 1/C it would part nothing. With
 * --sup ssl4mis Dice has squared denominators, as published. */
#include "kernels/loss/compare.h"
#include "kernels/engine/memory.h"
#include "train/plan/method.h"

enum { W_DIRECT, W_DECOUPLED, W_ATTENTION };
enum { N_LEVELS = 4, OF_ENCODER = 2, OF_DECODER = OF_ENCODER + N_LEVELS };

static const double HIGH = 0.95, LOW = 0.25;

static const ssl_option options[] = {
    {"dcnet-direct", 0.3, 0, 1e4, "weight of the direct cross consistency"},
    {"dcnet-decoupled", 1000, 0, 1e6, "weight of the decoupled consistency, times lambda(t)"},
    {"dcnet-attention", 1000, 0, 1e6, "weight of the attention transfer, times 1 - lambda(t)"},
    {NULL, 0, 0, 0, NULL},
};

/* Classes, confidences, and the sums of both predictions. */
static size_t scratch_bytes(int64_t pixels, int n_classes, size_t real_bytes)
{
    (void)n_classes;
    return kn_round_up((size_t)pixels, KN_ALIGN) +
           kn_round_up((size_t)pixels * real_bytes, KN_ALIGN) + 2 * sizeof(kn_ref_sums);
}

/* What `memory` holds. */
static kn_dcnet_state *state_of(const ssl_own *own)
{
    return (kn_dcnet_state *)(void *)own->memory;
}

static void add_up_confidence(const ssl_own *own, const kn_tensor *z, int which, kn_ref_sums **sums)
{
    size_t px = kn_round_up((size_t)kn_pixels(z), KN_ALIGN);
    size_t conf = (size_t)kn_pixels(z) * kn_dtype_bytes(kn_engine_dtype(own->engine));
    const kn_reference ref = {.y = own->scratch, .conf = (char *)own->scratch + px};
    *sums = (kn_ref_sums *)(void *)((char *)ref.conf + kn_round_up(conf, KN_ALIGN)) + which;
    kn_loss_reference_at(own->engine, z, KN_CONF_MAX, own->exclude, &ref, *sums);
}

/* Comes first in a step and moves μ for the decoupled term too. */
static void run_direct(const ssl_own *own)
{
    static const double factor[2] = {0, 1};
    const kn_dcnet_rule rule = {
        .r = (double)(own->it + 1) / (double)own->total, .low = LOW, .high = HIGH};
    kn_ref_sums *sums[2];
    for (int i = 0; i < 2; i++)
        add_up_confidence(own, own->z[i], i, &sums[i]);
    kn_dcnet_move_at(own->engine, &rule, own->z[0]->c, sums[0], sums[1], state_of(own));
    kn_loss_dcnet_at(own->engine, own->z[0], own->z[1], own->exclude, &state_of(own)->direct, 0,
                     own->scale, true, own->dz[0], own->dz[1], factor, own->value);
}

static void run_decoupled(const ssl_own *own)
{
    static const double factor[2] = {1, 0};
    kn_loss_dcnet_at(own->engine, own->z[0], own->z[1], own->exclude, &state_of(own)->mu,
                     own->scale, 0, true, own->dz[0], own->dz[1], factor, own->value);
}

/* Operands: the encoder's levels, then the second decoder's. */
static void run_attention(const ssl_own *own)
{
    for (int level = 0; level < N_LEVELS; level++)
        kn_loss_attention_at(own->engine, own->z[level], own->z[N_LEVELS + level], own->scale, true,
                             own->dz[level], own->value);
}

/* Dice alone, of a decoder. */
static void add_dice(ssl_plan *plan, int f, int output)
{
    ssl_add_term(plan, (ssl_term){.kind = SSL_SUP,
                                  .p = f,
                                  .p_output = output,
                                  .ref = SSL_NONE,
                                  .gamma = SSL_NONE,
                                  .weight = SSL_CONST,
                                  .scale = 1,
                                  .dice_only = true});
}

static void add_between(const ssl_config *config, ssl_plan *plan, int f)
{
    ssl_term term = {.kind = SSL_OWN,
                     .own = run_direct,
                     .own_bytes = scratch_bytes,
                     .on = SSL_BOTH,
                     .p = f,
                     .operands = {{f, 1}},
                     .n_operands = 1,
                     .grads = 3,
                     .gamma = SSL_NONE,
                     .weight = SSL_CONST,
                     .scale = config->values[W_DIRECT]};
    ssl_add_term(plan, term);
    term.own = run_decoupled;
    term.own_bytes = NULL;
    term.weight = SSL_LAMBDA;
    term.scale = config->values[W_DECOUPLED];
    ssl_add_term(plan, term);
}

static void add_attention(const ssl_config *config, ssl_plan *plan, int f)
{
    ssl_term term = {.kind = SSL_OWN,
                     .own = run_attention,
                     .on = SSL_BOTH,
                     .p = f,
                     .p_output = OF_ENCODER,
                     .grads = (1u << N_LEVELS) - 1,
                     .gamma = SSL_NONE,
                     .weight = SSL_LAMBDA_REST,
                     .scale = config->values[W_ATTENTION]};
    for (int level = 1; level < N_LEVELS; level++)
        term.operands[term.n_operands++] = (ssl_pred){f, OF_ENCODER + level};
    for (int level = 0; level < N_LEVELS; level++)
        term.operands[term.n_operands++] = (ssl_pred){f, OF_DECODER + level};
    ssl_add_term(plan, term);
}

static void plan_dcnet(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int net = ssl_add_net(
        plan,
        (ssl_net){.trained = true, .copy_of = SSL_NONE, .variant = KN_UNET_DUAL, .features = true});
    int f = ssl_add_forward(plan, (ssl_forward){.net = net, .half = SSL_BOTH, .grad = true});
    add_dice(plan, f, 0);
    add_dice(plan, f, 1);
    add_between(config, plan, f);
    add_attention(config, plan, f);
    plan->model_net = net;
}

extern const ssl_method ssl_method_dcnet;
const ssl_method ssl_method_dcnet = {
    .name = "DCNet",
    .paper = "Chen et al., Decoupled consistency for semi-supervised medical image segmentation, "
             "MICCAI 2023",
    .summary =
        "two decoders that agree where both are sure and learn from the surer elsewhere; the "
        "model is the first",
    .options = options,
    .plain_only = true,
    .plan = plan_dcnet,
};
