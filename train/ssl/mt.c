/* MT: Mean Teacher (Tarvainen and Valpola, NeurIPS 2017).
 *
 * The student sees both halves in one pass, the teacher, the student's moving average, the
 * unlabelled half with noise on its input. Plain: L = Lsup + λ(t)·mean((p - p~)²), the second term
 * switched on after the first mt-start-share of the iterations. MetaSSL: L = lqh(s|t) +
 * λ(t)·uqh(s|t), for which the teacher sees the labelled half too, without noise by default as in
 * the released code.
 *
 * The average is over parameters only: the teacher stays in training mode, normalises with its own
 * batch, has dropout, and keeps its own running statistics. It starts as the student (the first
 * update, with weight 0 on the old value, would make it so one step later). */
#include "train/plan/method.h"

enum { EMA, NOISE, META_NOISE, START_SHARE };

static const ssl_option options[] = {
    {"ema", 0.99, 0, 1, "weight of the teacher's old value"},
    {"teacher-noise", 0.1, 0, 10,
     "plain loss: sigma of the noise on the teacher's input, cut at 2 sigma"},
    {"metassl-noise", 0, 0, 10, "MetaSSL: the same on both halves of the teacher's input"},
    {"mt-start-share", 1.0 / 30, 0, 1, "plain loss: share of the iterations without consistency"},
    {NULL, 0, 0, 0, NULL},
};

static void plan_mt(const ssl_config *config, ssl_plan *plan)
{
    bool meta = config->lqh || config->uqh;
    plan->n_labelled = config->batch_labelled;
    plan->n_unlabelled = config->batch_unlabelled;
    int student = ssl_add_net(plan, (ssl_net){.trained = true, .copy_of = SSL_NONE});
    int teacher = ssl_add_net(plan, (ssl_net){.trained = false, .copy_of = student});
    int s = ssl_add_forward(plan, (ssl_forward){.net = student, .half = SSL_BOTH, .grad = true});
    int t = ssl_add_forward(plan, (ssl_forward){
                                      .net = teacher,
                                      .half = config->lqh ? SSL_BOTH : SSL_UNLABELLED,
                                      .noise = config->values[meta ? META_NOISE : NOISE],
                                  });
    ssl_add_labelled_term(plan, config, s, t, "teacher", 1);
    if (config->uqh)
        ssl_add_term(plan, (ssl_term){.kind = SSL_UQH,
                                      .p = s,
                                      .ref = t,
                                      .weight = SSL_LAMBDA,
                                      .scale = 1,
                                      .gamma = ssl_add_gamma(plan, "teacher", SSL_UNLABELLED)});
    else
        ssl_add_term(plan, (ssl_term){.kind = SSL_MSE,
                                      .p = s,
                                      .ref = t,
                                      .weight = SSL_LAMBDA_LATE,
                                      .scale = 1,
                                      .gamma = SSL_NONE});
    ssl_add_ema(plan,
                (ssl_ema){.teacher = teacher, .student = student, .alpha = config->values[EMA]});
    plan->late_share = config->values[START_SHARE];
    plan->model_net = student;
}

extern const ssl_method ssl_method_mt;
const ssl_method ssl_method_mt = {
    .name = "MT",
    .paper = "Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017",
    .summary = "a student and its moving average, consistent on unlabelled pixels",
    .options = options,
    .plan = plan_mt,
};
