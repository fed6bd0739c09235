/* SDCL: students discrepancy-informed correction learning (Song and Wang, MICCAI 2024).
 *
 * BCP with two students and one teacher, the first student's average. Each student has BCP's losses
 * on the mixed images and, where the two students' argmaxes differ (the set D; x_U and x_L each
 * with its own),
 *   + w_mse·Σ_D w·mean_c (p - t)²/|D| + w_kl·Σ_{D, wrong} w·mean_c(-log p)/|D, wrong|
 * t the label where there is one (w = 1), else the teacher's argmax (w = u); the second term pushes
 * wrong pixels towards saying nothing. The model is the mean of both students' probabilities.
 *
 * The second student is a U-Net with other random weights; the published one is a ResNet-34's. The
 * loaders' reversed lists are not copied: a batch has one labelled and one unlabelled half. */
#include "kernels/loss/compare.h"
#include "kernels/engine/memory.h"
#include "train/ssl/bcp.h"

enum { PRETRAIN, BOX, U_WEIGHT, EMA, W_MSE, W_KL };

static const ssl_option options[] = {
    {"bcp-pretrain", 0.25, 0, 0.99, "share of the iterations on labelled images alone"},
    {"bcp-box", 2.0 / 3, 0.01, 0.99, "side of the pasted box, of the patch's"},
    {"bcp-u-weight", 0.5, 0, 100, "weight of the unlabelled region"},
    {"bcp-ema", 0.99, 0, 1, "weight of the teacher's old value"},
    {"sdcl-mse", 0.5, 0, 100, "weight of the correction where the students differ"},
    {"sdcl-kl", 0.05, 0, 100, "weight of unlearning where a student is wrong there"},
    {NULL, 0, 0, 0, NULL},
};
static const char *const defaults[][2] = {
    {"optimiser", "adam"}, {"lr", "0.001"}, {"lr-power", "0"}, {NULL, NULL}};

/* Labels, the other student's classes, which labels are the teacher's. */
static size_t scratch_bytes(int64_t pixels, int n_classes, size_t real_bytes)
{
    (void)n_classes;
    (void)real_bytes;
    return 3 * kn_round_up((size_t)pixels, KN_ALIGN);
}

/* Operands: the student, the other, the teacher. */
static void run_correction(const ssl_own *own)
{
    const double *v = own->values, weight[2] = {1, v[U_WEIGHT]}, factor[2] = {v[W_MSE], v[W_KL]};
    size_t n = (size_t)kn_pixels(own->z[0]), step = kn_round_up(n, KN_ALIGN);
    uint8_t *label = own->scratch, *other = label + step, *pseudo = other + step;
    kn_argmax_at(own->engine, own->z[1], other);
    kn_argmax_at(own->engine, own->z[2], label);
    kn_sdcl_labels_at(own->engine, own->label, own->exclude, (int64_t)n, label, pseudo);
    kn_loss_sdcl_at(own->engine, own->z[0], label, other, pseudo, weight, NULL,
                    v[W_MSE] * own->scale, v[W_KL] * own->scale, true, own->dz[0], factor,
                    own->value);
}

/* One student's losses on one kind of mixed images. */
static void add_part(const ssl_config *config, ssl_plan *plan, int p, int other, int ref,
                     ssl_part part)
{
    ssl_term term = {.p = p,
                     .ref = SSL_NONE,
                     .kind = SSL_SUP,
                     .gamma = SSL_NONE,
                     .scale = 1,
                     .part = part,
                     .stages = SSL_BCP_STAGE_1};
    ssl_add_term(plan, term);
    term.kind = SSL_HARD;
    term.ref = ref;
    term.scale = config->values[U_WEIGHT];
    ssl_add_term(plan, term);
    term.kind = SSL_OWN;
    term.ref = SSL_NONE;
    term.scale = 1;
    term.own = run_correction;
    term.own_bytes = scratch_bytes;
    term.on = SSL_BOTH;
    term.operands[0] = (ssl_pred){other, 0};
    term.operands[1] = (ssl_pred){ref, 0};
    term.n_operands = 2;
    term.grads = 1;
    ssl_add_term(plan, term);
}

static void plan_sdcl(const ssl_config *config, ssl_plan *plan)
{
    ssl_bcp_shape(config, config->values[BOX], config->values[PRETRAIN], plan);
    int student1 = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int teacher = ssl_add_net(plan, (ssl_net){.trained = false, .copy_of = student1});
    int student2 = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    ssl_bcp_pretraining(plan, student1);
    ssl_bcp_pretraining(plan, student2);
    int ref = ssl_bcp_reference(plan, teacher, NULL, false);
    int p1 = ssl_bcp_mixed(plan, student1), p2 = ssl_bcp_mixed(plan, student2);
    for (int part = SSL_PART_FIRST; part <= SSL_PART_SECOND; part++) {
        add_part(config, plan, p1, p2, ref, (ssl_part)part);
        add_part(config, plan, p2, p1, ref, (ssl_part)part);
    }
    ssl_bcp_teacher(plan, teacher, student1, config->values[EMA]);
    plan->model_net = student1;
    plan->model_pair = student2;
}

extern const ssl_method ssl_method_sdcl;
const ssl_method ssl_method_sdcl = {
    .name = "SDCL",
    .paper = "Song and Wang, SDCL: Students discrepancy-informed correction learning for "
             "semi-supervised medical image segmentation, MICCAI 2024",
    .summary = "BCP with two students, corrected where they differ; the model is the mean of both",
    .options = options,
    .defaults = defaults,
    .plain_only = true,
    .plan = plan_sdcl,
};
