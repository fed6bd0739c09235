/* What a recipe changes of a method's declaration: forwards over both halves become two, and what
 * predicts becomes a moving average. */
#include "train/plan/method.h"

#include "base/error.h"

/* ---- halves apart -------------------------------------------------------------------------- */

/* Where a forward went: the same index twice where it was not parted. */
typedef struct {
    int labelled, unlabelled;
} parts;

static bool is_parted(const ssl_forward *forward)
{
    return forward->net != SSL_NONE && forward->half == SSL_BOTH;
}

static bool mixes_halves(const ssl_plan *plan)
{
    bool any = false;
    for (int f = 0; f < plan->n_forwards; f++)
        any = any || plan->forwards[f].mix == SSL_MIX_CROSS;
    return any;
}

static int part_for(const parts *to, int forward, ssl_half half)
{
    if (forward == SSL_NONE)
        return SSL_NONE;
    return half == SSL_UNLABELLED ? to[forward].unlabelled : to[forward].labelled;
}

/* Appends the parts of every forward to `plan`, which has none yet. */
static void part_forwards(const ssl_plan *was, ssl_plan *plan, parts *to)
{
    for (int f = 0; f < was->n_forwards; f++) {
        ssl_forward forward = was->forwards[f];
        for (int k = 0; k < forward.n_from; k++)
            forward.from[k].forward = part_for(to, forward.from[k].forward, forward.half);
        if (is_parted(&forward)) {
            forward.half = SSL_LABELLED;
            to[f].labelled = ssl_add_forward(plan, forward);
            forward.half = SSL_UNLABELLED;
            to[f].unlabelled = ssl_add_forward(plan, forward);
        } else {
            to[f].labelled = to[f].unlabelled = ssl_add_forward(plan, forward);
        }
    }
}

/* Do terms learn from this forward? */
static bool is_learnt_from(const ssl_plan *plan, int f)
{
    for (int t = 0; t < plan->n_terms; t++) {
        const ssl_term *term = &plan->terms[t];
        if (term->p == f)
            return true;
        for (int i = 0; i < term->n_operands; i++)
            if (term->operands[i].forward == f && (term->grads >> (i + 1)) & 1u)
                return true;
    }
    return false;
}

static const char *split_problem(const ssl_plan *plan)
{
    int n = plan->n_forwards;
    for (int f = 0; f < plan->n_forwards; f++) {
        const ssl_forward *forward = &plan->forwards[f];
        n += is_parted(forward);
        if (forward->net == SSL_NONE && forward->half == SSL_BOTH)
            return "it puts predictions of both halves together";
    }
    for (int t = 0; t < plan->n_terms; t++)
        if (ssl_term_on(&plan->terms[t]) == SSL_BOTH)
            return "one of its losses compares the halves";
    return n > SSL_FORWARDS_MAX ? "its step has too many forwards" : NULL;
}

bool ssl_plan_split(ssl_plan *plan, GError **error)
{
    const char *problem =
        mixes_halves(plan) ? "its images are made of both halves" : split_problem(plan);
    if (problem) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "--bn split: the method's halves cannot be parted, %s; use --bn joint",
                    problem);
        return false;
    }
    if (plan->n_labelled == 0 || plan->n_unlabelled == 0)
        return true;
    parts to[SSL_FORWARDS_MAX];
    const ssl_plan was = *plan;
    plan->n_forwards = 0;
    part_forwards(&was, plan, to);
    for (int t = 0; t < plan->n_terms; t++) {
        ssl_term *term = &plan->terms[t];
        ssl_half half = ssl_term_on(term);
        term->p = part_for(to, term->p, half);
        if (term->kind != SSL_SUP && term->kind != SSL_OWN)
            term->ref = part_for(to, term->ref, half);
        for (int i = 0; i < term->n_operands; i++)
            term->operands[i].forward = part_for(to, term->operands[i].forward, half);
    }
    for (int f = 0; f < plan->n_forwards; f++)
        plan->forwards[f].grad = plan->forwards[f].grad && is_learnt_from(plan, f);
    return true;
}

/* ---- what predicts ------------------------------------------------------------------------- */

static int add_average(ssl_plan *plan, int of, double alpha)
{
    ssl_net net = plan->nets[of];
    net.trained = false;
    net.copy_of = of;
    int average = ssl_add_net(plan, net);
    ssl_add_ema(plan,
                (ssl_ema){.teacher = average, .student = of, .alpha = alpha, .with_buffers = true});
    return average;
}

bool ssl_plan_average(ssl_plan *plan, double alpha, GError **error)
{
    int n = plan->model_pair > 0 ? 2 : 1;
    if (plan->n_nets + n > SSL_NETS_MAX || plan->n_emas + n > SSL_EMAS_MAX) {
        g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG,
                            "--eval-weights ema: the method has too many networks already");
        return false;
    }
    plan->model_average = add_average(plan, plan->model_net, alpha);
    if (plan->model_pair > 0)
        plan->pair_average = add_average(plan, plan->model_pair, alpha);
    return true;
}

bool ssl_plan_teacher(ssl_plan *plan, GError **error)
{
    for (int e = 0; e < plan->n_emas && plan->model_pair == 0; e++) {
        if (plan->emas[e].student == plan->model_net) {
            plan->model_average = plan->emas[e].teacher;
            return true;
        }
    }
    g_set_error_literal(error, QS_ERROR, QS_ERROR_ARG,
                        "--eval-weights teacher: the method has no teacher of its model; use ema, "
                        "which averages any method's, or last");
    return false;
}
