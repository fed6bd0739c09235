/* CEUD: confidence ranking regularised by consistency over training (Li, Hu and Chen, ICLR 2023).
 *
 * One network. Every so many iterations the whole training set is predicted (train/ssl/history.h); of
 * every pixel is kept how often its class came again (κ), on labelled patches also how often it was
 * right. L = Lsup + w_correct·R(right, labelled half) + w_agree·R(κ, both halves): R orders random
 * pairs of pixels so that the more consistent one has the larger confidence (kn_loss_rank), the
 * counters scaled to [0,1] over the batch. Until the second sweep all counters are equal and R is
 * 0.
 *
 * Where this is not the published code: a sweep comes after each pass over the patches of the
 * batch's larger half, not of the data loader's epoch; Lsup has Dice beside CE, as in all methods
 * here; the network is the U-Net and does not stay in inference mode after a sweep. */
#include "train/ssl/rank.h"
#include "train/plan/method.h"
#include "train/data/streams.h"

enum { W_CORRECT, W_AGREE, SWEEP_EVERY };

static const ssl_option options[] = {
    {"ceud-correct", 0.5, 0, 100, "weight of the ranking by correctness, labelled half"},
    {"ceud-agree", 0.15, 0, 100, "weight of the ranking by agreement, both halves"},
    {"ceud-sweep-every", 0, 0, 1e9,
     "iterations between sweeps; 0: a pass over the training patches"},
    {NULL, 0, 0, 0, NULL},
};
static const char *const defaults[][2] = {{"optimiser", "adam"}, {"lr", "0.0001"}, {NULL, NULL}};

static size_t scratch_bytes(int64_t pixels, int n_classes, size_t real_bytes)
{
    (void)n_classes;
    return tr_rank_bytes(pixels, real_bytes);
}

static void run_rank(const ssl_own *own, tr_history_counter counter)
{
    tr_rank rank;
    uint64_t stream = qs_rng_stream_id(TR_STREAM_RANK, (uint64_t)own->it, (uint64_t)counter);
    tr_rank_init(&rank, own->engine, own->scratch, own->staging, kn_pixels(own->z[0]));
    tr_rank_prepare(&rank, own->history, counter, own->batch, own->z[0]->n, own->seed, stream);
    tr_rank_loss(&rank, own->z[0], own->scale, true, own->dz[0], own->value);
}

static void run_correct(const ssl_own *own)
{
    run_rank(own, TR_HISTORY_CORRECTNESS);
}

static void run_agree(const ssl_own *own)
{
    run_rank(own, TR_HISTORY_AGREEMENT);
}

static void plan_ceud(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    plan->model_net = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int f = ssl_add_forward(plan,
                            (ssl_forward){.net = plan->model_net, .half = SSL_BOTH, .grad = true});
    ssl_term term = {.kind = SSL_SUP,
                     .p = f,
                     .ref = SSL_NONE,
                     .gamma = SSL_NONE,
                     .weight = SSL_CONST,
                     .scale = 1};
    ssl_add_term(plan, term);
    term.kind = SSL_OWN;
    term.own = run_correct;
    term.own_bytes = scratch_bytes;
    term.own_staged = true;
    term.grads = 1;
    term.on = SSL_LABELLED;
    term.scale = config->values[W_CORRECT];
    ssl_add_term(plan, term);
    term.own = run_agree;
    term.on = SSL_BOTH;
    term.scale = config->values[W_AGREE];
    ssl_add_term(plan, term);
    plan->history = true;
    plan->sweep_every = (int64_t)config->values[SWEEP_EVERY];
}

extern const ssl_method ssl_method_ceud;
const ssl_method ssl_method_ceud = {
    .name = "CEUD",
    .paper = "Li, Hu and Chen, Confidence estimation using unlabeled data, ICLR 2023",
    .summary = "supervised, its confidence ranked by how steady and how right every pixel has been",
    .options = options,
    .defaults = defaults,
    .plain_only = true,
    .plan = plan_ceud,
};
