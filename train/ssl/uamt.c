/* UA-MT: uncertainty-aware mean teacher (Yu et al., MICCAI 2019).
 *
 * Mean Teacher whose consistency looks only where the teacher is sure. L = Lsup + λ(t)·Σ m·(p -
 * p~)² / (C·Σ m): p~ is one noisy pass of the teacher; p̄ the mean of T further ones, each with its
 * own noise and dropout; m = 1 where the entropy -Σ p̄·log(p̄ + 1e-6) is below H(t) = (¾ +
 * ¼·exp(-5(1-t/T)²))·ln C.
 *
 * Where this is not the published code: the passes are not run two at a time on a doubled batch,
 * and the largest entropy is ln C for any C, where theirs has ln 2. */
#include "kernels/loss/compare.h"
#include "kernels/engine/memory.h"
#include "train/plan/method.h"

enum { EMA, NOISE, PASSES, START_SHARE };

static const ssl_option options[] = {
    {"ema", 0.99, 0, 1, "weight of the teacher's old value"},
    {"teacher-noise", 0.1, 0, 10, "sigma of the noise on the teacher's input, cut at 2 sigma"},
    {"uamt-passes", 8, 2, 64, "teacher passes that say how sure it is"},
    {"uamt-start-share", 0, 0, 1, "share of the iterations without consistency"},
    {NULL, 0, 0, 0, NULL},
};

/* The mean probabilities, then the mask. */
static size_t scratch_bytes(int64_t pixels, int n_classes, size_t real_bytes)
{
    return kn_round_up((size_t)pixels * (size_t)n_classes * real_bytes, KN_ALIGN) + (size_t)pixels;
}

/* Operands: student, target, logarithm of the mean prediction. */
static void run_consistency(const ssl_own *own)
{
    kn_tensor prob = *own->z[2];
    size_t bytes = (size_t)kn_pixels(&prob) * (size_t)prob.c * kn_dtype_bytes(prob.dtype);
    uint8_t *unsure = (uint8_t *)own->scratch + kn_round_up(bytes, KN_ALIGN);
    double below = kn_uamt_threshold(prob.c, (double)own->it, (double)own->total);
    prob.ldc = prob.c;
    prob.data = own->scratch;
    kn_prob_add(own->engine, own->z[2], 1, false, &prob);
    kn_uncertainty_at(own->engine, &prob, own->exclude, below, unsure, NULL);
    kn_loss_mse_at(own->engine, own->z[0], own->z[1], unsure, own->scale, true, own->dz[0],
                   own->value);
}

static void plan_uamt(const ssl_config *config, ssl_plan *plan)
{
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int student = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int teacher = ssl_add_net(plan, (ssl_net){.trained = false, .copy_of = student});
    ssl_forward look = {.net = teacher, .half = SSL_UNLABELLED, .noise = config->values[NOISE]};
    int s = ssl_add_forward(plan, (ssl_forward){.net = student, .half = SSL_BOTH, .grad = true});
    int target = ssl_add_forward(plan, look);
    look.repeat = (int)config->values[PASSES];
    int mean = ssl_add_forward(plan, look);
    ssl_add_term(plan, (ssl_term){.kind = SSL_SUP,
                                  .p = s,
                                  .ref = SSL_NONE,
                                  .gamma = SSL_NONE,
                                  .weight = SSL_CONST,
                                  .scale = 1});
    ssl_add_term(plan, (ssl_term){.kind = SSL_OWN,
                                  .own = run_consistency,
                                  .own_bytes = scratch_bytes,
                                  .on = SSL_UNLABELLED,
                                  .p = s,
                                  .operands = {{target, 0}, {mean, 0}},
                                  .n_operands = 2,
                                  .grads = 1,
                                  .gamma = SSL_NONE,
                                  .weight = SSL_LAMBDA_LATE,
                                  .scale = 1});
    ssl_add_ema(plan,
                (ssl_ema){.teacher = teacher, .student = student, .alpha = config->values[EMA]});
    plan->late_share = config->values[START_SHARE];
    plan->model_net = student;
}

extern const ssl_method ssl_method_uamt;
const ssl_method ssl_method_uamt = {
    .name = "UA-MT",
    .paper =
        "Yu et al., Uncertainty-aware self-ensembling model for semi-supervised 3D left atrium "
        "segmentation, MICCAI 2019",
    .summary = "Mean Teacher, consistent where several passes of the teacher agree",
    .options = options,
    .plain_only = true,
    .plan = plan_uamt,
};
