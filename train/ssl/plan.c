/* Building and checking a method's declaration. */
#include "train/ssl/method.h"

#include "base/error.h"

int ssl_method_n_options(const ssl_method *method)
{
    int n = 0;
    while (method->options && method->options[n].name)
        n++;
    return n;
}

int ssl_add_net(ssl_plan *plan, ssl_net net)
{
    g_assert(plan->n_nets < SSL_NETS_MAX);
    plan->nets[plan->n_nets] = net;
    return plan->n_nets++;
}

int ssl_add_forward(ssl_plan *plan, ssl_forward forward)
{
    g_assert(plan->n_forwards < SSL_FORWARDS_MAX);
    plan->forwards[plan->n_forwards] = forward;
    return plan->n_forwards++;
}

int ssl_add_gamma(ssl_plan *plan, const char *role, ssl_half half)
{
    g_assert(plan->n_gammas < SSL_GAMMAS_MAX);
    plan->gammas[plan->n_gammas] = (ssl_gamma){.role = role, .half = half};
    return plan->n_gammas++;
}

void ssl_add_term(ssl_plan *plan, ssl_term term)
{
    g_assert(plan->n_terms < SSL_TERMS_MAX);
    plan->terms[plan->n_terms++] = term;
}

void ssl_add_ema(ssl_plan *plan, ssl_ema ema)
{
    g_assert(plan->n_emas < SSL_EMAS_MAX);
    plan->emas[plan->n_emas++] = ema;
}

void ssl_add_labelled_term(ssl_plan *plan, const ssl_config *config, int p, int ref,
                           const char *role, double scale)
{
    ssl_term term = {.kind = SSL_SUP,
                     .p = p,
                     .ref = SSL_NONE,
                     .gamma = SSL_NONE,
                     .weight = SSL_CONST,
                     .scale = scale};
    if (config->lqh && config->lqh_added) {
        ssl_add_term(plan, term);
        term.weight = SSL_LAMBDA;
        term.added = true;
    }
    if (config->lqh) {
        term.kind = SSL_LQH;
        term.ref = ref;
        term.gamma = ssl_add_gamma(plan, role, SSL_LABELLED);
    }
    ssl_add_term(plan, term);
}

ssl_half ssl_term_half(ssl_term_kind kind)
{
    return kind == SSL_SUP || kind == SSL_LQH ? SSL_LABELLED : SSL_UNLABELLED;
}

bool ssl_half_has(ssl_half seen, ssl_half wanted)
{
    return ((unsigned)seen & (unsigned)wanted) == (unsigned)wanted;
}

static bool in_range(int index, int n)
{
    return index >= 0 && index < n;
}

static const char *term_problem(const ssl_plan *plan, const ssl_term *term)
{
    ssl_half half = ssl_term_half(term->kind);
    if (!in_range(term->p, plan->n_forwards) || !plan->forwards[term->p].grad)
        return "its p is no forward with gradient";
    if (!ssl_half_has(plan->forwards[term->p].half, half))
        return "its p did not see the half that it looks at";
    if (half == SSL_LABELLED ? plan->n_labelled < 1 : plan->n_unlabelled < 1)
        return "the half that it looks at is empty";
    if (term->kind == SSL_SUP)
        return NULL;
    if (!in_range(term->ref, plan->n_forwards) || term->ref == term->p)
        return "its reference is no other forward";
    if (!ssl_half_has(plan->forwards[term->ref].half, half))
        return "its reference did not see the half that it looks at";
    bool quad = term->kind == SSL_LQH || term->kind == SSL_UQH;
    if (quad && (!in_range(term->gamma, plan->n_gammas) || plan->gammas[term->gamma].half != half))
        return "its thresholds are of no slot of that half";
    return NULL;
}

static const char *net_problem(const ssl_plan *plan)
{
    for (int i = 0; i < plan->n_nets; i++)
        if (plan->nets[i].copy_of != SSL_NONE && !in_range(plan->nets[i].copy_of, i))
            return "a network is a copy of one that does not come before it";
    for (int i = 0; i < plan->n_forwards; i++) {
        if (!in_range(plan->forwards[i].net, plan->n_nets))
            return "a forward is of no network";
        if (plan->forwards[i].grad && !plan->nets[plan->forwards[i].net].trained)
            return "a forward with gradient is of a network that is not trained";
    }
    for (int i = 0; i < plan->n_emas; i++)
        if (!in_range(plan->emas[i].teacher, plan->n_nets) ||
            !in_range(plan->emas[i].student, plan->n_nets))
            return "a moving average is of no network";
    return in_range(plan->model_net, plan->n_nets) ? NULL : "the model is no network";
}

bool ssl_plan_check(const ssl_plan *plan, GError **error)
{
    const char *problem = net_problem(plan);
    if (problem) {
        g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "the method's plan: %s", problem);
        return false;
    }
    for (int i = 0; i < plan->n_terms; i++) {
        problem = term_problem(plan, &plan->terms[i]);
        if (problem) {
            g_set_error(error, QS_ERROR, QS_ERROR_INTERNAL, "the method's plan, loss term %d: %s",
                        i, problem);
            return false;
        }
    }
    return true;
}
