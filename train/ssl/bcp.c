/* BCP: bidirectional copy-paste (Bai et al., CVPR 2023).
 *
 *   stage 0   the student alone, on labelled images pasted into labelled ones; each region its own
 *             supervised loss
 *   stage 1   x_U = labelled box in an unlabelled image, x_L = unlabelled box in a labelled one;
 * the teacher, an average of parameters and running statistics, labels the unlabelled images as
 * they were, and what it says moves with the boxes
 *
 * Plain, stage 1, for x_U and x_L each: Lsup(labelled region) + u·(CE + Dice)(unlabelled region,
 * teacher's argmax). MetaSSL: lqh over the labelled regions + u·uqh over the unlabelled ones, each
 * normalised over x_U and x_L together (golden example E13); stage 0 as in the plain method.
 *
 * Where this is not the published code: x_U and x_L are one batch (so BatchNorm sees both, in both
 * arms); stage 1 begins with the weights and momentum that stage 0 ended with, not with those that
 * validated best; the teacher's largest component per class is not taken by default, because tumour
 * grows in several islands (--bcp-component 1 takes it). The rate is constant, as published. */
#include "train/ssl/bcp.h"

#include "train/ssl/components.h"

enum { PRETRAIN, BOX, U_WEIGHT, RAMP, EMA, COMPONENT };

static const ssl_option options[] = {
    {"bcp-pretrain", 0.25, 0, 0.99, "share of the iterations on labelled images alone"},
    {"bcp-box", 2.0 / 3, 0.01, 0.99, "side of the pasted box, of the patch's"},
    {"bcp-u-weight", 0.5, 0, 100, "weight of the unlabelled region"},
    {"bcp-ramp", 0, 0, 1, "1: MetaSSL's unlabelled term has the weight lambda(t) instead"},
    {"bcp-ema", 0.99, 0, 1, "weight of the teacher's old value"},
    {"bcp-component", 0, 0, 1, "1: of the teacher's classes only the largest component each"},
    {NULL, 0, 0, 0, NULL},
};
static const char *const defaults[][2] = {{"lr-power", "0"}, {NULL, NULL}};

void ssl_bcp_pretraining(ssl_plan *plan, int student)
{
    int f = ssl_add_forward(plan, (ssl_forward){.net = student,
                                                .half = SSL_LABELLED,
                                                .grad = true,
                                                .mix = SSL_MIX_PAIRS,
                                                .stages = SSL_BCP_STAGE_0});
    ssl_term term = {.kind = SSL_SUP,
                     .p = f,
                     .ref = SSL_NONE,
                     .gamma = SSL_NONE,
                     .scale = 1,
                     .stages = SSL_BCP_STAGE_0};
    term.where = SSL_WHERE_OUTER;
    ssl_add_term(plan, term);
    term.where = SSL_WHERE_INNER;
    ssl_add_term(plan, term);
}

int ssl_bcp_reference(ssl_plan *plan, int teacher, ssl_filter filter, bool labelled)
{
    ssl_forward look = {
        .net = teacher, .half = SSL_UNLABELLED, .filter = filter, .stages = SSL_BCP_STAGE_1};
    ssl_forward moved = {
        .net = SSL_NONE, .half = SSL_BOTH, .mix = SSL_MIX_CROSS, .stages = SSL_BCP_STAGE_1};
    moved.from[moved.n_from++] = (ssl_pred){ssl_add_forward(plan, look), 0};
    look.half = SSL_LABELLED;
    look.filter = NULL;
    if (labelled)
        moved.from[moved.n_from++] = (ssl_pred){ssl_add_forward(plan, look), 0};
    return ssl_add_forward(plan, moved);
}

int ssl_bcp_mixed(ssl_plan *plan, int student)
{
    return ssl_add_forward(plan, (ssl_forward){.net = student,
                                               .half = SSL_BOTH,
                                               .grad = true,
                                               .mix = SSL_MIX_CROSS,
                                               .stages = SSL_BCP_STAGE_1});
}

void ssl_bcp_teacher(ssl_plan *plan, int teacher, int student, double alpha)
{
    ssl_add_copy(plan, (ssl_copy){.to = teacher, .from = student, .stage = 1});
    ssl_add_ema(plan, (ssl_ema){.teacher = teacher,
                                .student = student,
                                .alpha = alpha,
                                .with_buffers = true,
                                .constant = true,
                                .stages = SSL_BCP_STAGE_1});
}

void ssl_bcp_shape(const ssl_config *config, double box, double pretrain, ssl_plan *plan)
{
    int pairs = MAX(1, MIN(config->batch_labelled, config->batch_unlabelled) / 2);
    plan->n_labelled = plan->n_unlabelled = 2 * pairs;
    plan->mix_share = box;
    plan->stage_share = pretrain > 0 ? pretrain : -1;
}

static void add_unlabelled(const ssl_config *config, ssl_plan *plan, ssl_term term)
{
    bool ramp = config->uqh && config->values[RAMP] >= 0.5;
    term.kind = config->uqh ? SSL_UQH : SSL_HARD;
    term.weight = ramp ? SSL_LAMBDA : SSL_CONST;
    term.scale = ramp ? 1 : config->values[U_WEIGHT];
    term.gamma = config->uqh ? ssl_add_gamma(plan, "teacher", SSL_UNLABELLED) : SSL_NONE;
    term.part = config->uqh ? SSL_PART_ALL : SSL_PART_FIRST;
    ssl_add_term(plan, term);
    if (config->uqh)
        return;
    term.part = SSL_PART_SECOND;
    ssl_add_term(plan, term);
}

static void add_labelled(const ssl_config *config, ssl_plan *plan, ssl_term term)
{
    int gamma = SSL_NONE;
    term.part = config->lqh ? SSL_PART_ALL : SSL_PART_FIRST;
    ssl_add_labelled(plan, config, term, "teacher", &gamma);
    term.part = SSL_PART_SECOND;
    if (!config->lqh)
        ssl_add_labelled(plan, config, term, "teacher", &gamma);
}

static void plan_bcp(const ssl_config *config, ssl_plan *plan)
{
    ssl_filter filter = config->values[COMPONENT] >= 0.5 ? ssl_largest_components : NULL;
    ssl_bcp_shape(config, config->values[BOX], config->values[PRETRAIN], plan);
    int student = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int teacher = ssl_add_net(plan, (ssl_net){.trained = false, .copy_of = student});
    ssl_bcp_pretraining(plan, student);
    int ref = ssl_bcp_reference(plan, teacher, filter, config->lqh);
    int p = ssl_bcp_mixed(plan, student);
    ssl_term term = {.p = p, .ref = ref, .scale = 1, .stages = SSL_BCP_STAGE_1};
    add_labelled(config, plan, term);
    add_unlabelled(config, plan, term);
    ssl_bcp_teacher(plan, teacher, student, config->values[EMA]);
    plan->model_net = student;
}

extern const ssl_method ssl_method_bcp;
const ssl_method ssl_method_bcp = {
    .name = "BCP",
    .paper = "Bai et al., Bidirectional copy-paste for semi-supervised medical image segmentation, "
             "CVPR 2023",
    .summary =
        "labelled boxes in unlabelled images and the reverse, after pretraining with labelled "
        "ones; the teacher labels the rest",
    .options = options,
    .defaults = defaults,
    .plan = plan_bcp,
};
