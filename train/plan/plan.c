/* Building and checking a method's declaration. */
#include "train/plan/method.h"

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

void ssl_add_copy(ssl_plan *plan, ssl_copy copy)
{
    g_assert(plan->n_copies < SSL_COPIES_MAX);
    plan->copies[plan->n_copies++] = copy;
}

void ssl_add_labelled(ssl_plan *plan, const ssl_config *config, ssl_term labelled, const char *role,
                      int *gamma)
{
    ssl_term term = labelled;
    int ref = labelled.ref;
    term.kind = SSL_SUP;
    term.ref = term.gamma = SSL_NONE;
    term.weight = SSL_CONST;
    if (!config->lqh || config->lqh_added)
        ssl_add_term(plan, term);
    if (!config->lqh)
        return;
    if (*gamma == SSL_NONE)
        *gamma = ssl_add_gamma(plan, role, SSL_LABELLED);
    term.kind = SSL_LQH;
    term.ref = ref;
    term.gamma = *gamma;
    if (config->lqh_added) {
        term.weight = SSL_LAMBDA;
        term.added = true;
    }
    ssl_add_term(plan, term);
}

void ssl_add_labelled_term(ssl_plan *plan, const ssl_config *config, int p, int ref,
                           const char *role, double scale)
{
    int gamma = SSL_NONE;
    ssl_add_labelled(plan, config, (ssl_term){.p = p, .ref = ref, .scale = scale}, role, &gamma);
}

ssl_half ssl_term_half(ssl_term_kind kind)
{
    return kind == SSL_SUP || kind == SSL_LQH ? SSL_LABELLED : SSL_UNLABELLED;
}

ssl_half ssl_term_on(const ssl_term *term)
{
    return term->kind == SSL_OWN ? term->on : ssl_term_half(term->kind);
}

bool ssl_half_has(ssl_half seen, ssl_half wanted)
{
    return ((unsigned)seen & (unsigned)wanted) == (unsigned)wanted;
}

int ssl_half_n(const ssl_plan *plan, ssl_half half)
{
    return (half & SSL_LABELLED ? plan->n_labelled : 0) +
           (half & SSL_UNLABELLED ? plan->n_unlabelled : 0);
}

int ssl_forward_n(const ssl_plan *plan, const ssl_forward *forward)
{
    if (forward->mix == SSL_MIX_PAIRS)
        return plan->n_labelled / 2;
    return forward->mix == SSL_MIX_CROSS ? plan->n_labelled : ssl_half_n(plan, forward->half);
}

bool ssl_in_stage(unsigned stages, int stage)
{
    return stages == 0 || (stages >> stage) & 1u;
}

int ssl_stage(const ssl_plan *plan, int64_t it, int64_t total)
{
    return plan->stage_share != 0 && (double)it >= plan->stage_share * (double)total;
}

static bool mixes_pairs(ssl_mix mix)
{
    return mix == SSL_MIX_PAIRS || mix == SSL_MIX_CROSS;
}

int ssl_term_images(const ssl_plan *plan, const ssl_term *term, int f, int *first)
{
    const ssl_forward *forward = &plan->forwards[f];
    ssl_half on = ssl_term_on(term);
    int n = ssl_forward_n(plan, forward);
    *first = 0;
    if (mixes_pairs(forward->mix)) {
        *first = term->part == SSL_PART_SECOND ? n / 2 : 0;
        return term->part == SSL_PART_ALL ? n : n / 2;
    }
    if (on == SSL_UNLABELLED && (forward->half & SSL_LABELLED))
        *first = plan->n_labelled;
    return ssl_half_n(plan, on);
}

/* ---- checking ------------------------------------------------------------------------------ */

static bool in_range(int index, int n)
{
    return index >= 0 && index < n;
}

static int n_outputs(const ssl_plan *plan, int f)
{
    static const int by_variant[] = {1, 4, 4, 1, 2};
    const ssl_forward *forward = &plan->forwards[f];
    if (forward->net == SSL_NONE)
        return 1;
    const ssl_net *net = &plan->nets[forward->net];
    int features = !net->features                                                    ? 0
                   : net->variant == KN_UNET_DUAL                                    ? 8
                   : net->variant == KN_UNET_PLAIN || net->variant == KN_UNET_MAPPED ? 1
                                                                                     : 0;
    return by_variant[net->variant] + features;
}

/* Can this output be put beside the term's p? */
static const char *operand_problem(const ssl_plan *plan, const ssl_term *term, int f, int output)
{
    if (!in_range(f, plan->n_forwards))
        return "its reference is no other forward";
    if (!in_range(output, n_outputs(plan, f)))
        return "an output that it looks at does not exist";
    const ssl_forward *a = &plan->forwards[term->p], *b = &plan->forwards[f];
    bool moved =
        mixes_pairs(a->mix) || mixes_pairs(b->mix) || (ssl_term_on(term) & SSL_UNLABELLED) != 0;
    if (moved && a->mix != b->mix)
        return "its reference is of images that were mixed otherwise";
    if (!ssl_half_has(b->half, ssl_term_on(term)))
        return "its reference did not see the half that it looks at";
    return NULL;
}

static const char *own_problem(const ssl_plan *plan, const ssl_term *term)
{
    if (!term->own || term->n_operands > SSL_OPERANDS_MAX - 1)
        return "it is of the method's own and has no function, or too many operands";
    for (int i = 0; i < term->n_operands; i++) {
        const char *problem =
            operand_problem(plan, term, term->operands[i].forward, term->operands[i].output);
        if (problem)
            return problem;
        if ((term->grads >> (i + 1)) & 1u && !plan->forwards[term->operands[i].forward].grad)
            return "an operand wants a gradient that its forward does not have";
    }
    return NULL;
}

static const char *term_problem(const ssl_plan *plan, const ssl_term *term)
{
    ssl_half half = ssl_term_on(term);
    if (!in_range(term->p, plan->n_forwards) || !plan->forwards[term->p].grad)
        return "its p is no forward with gradient";
    if (!in_range(term->p_output, n_outputs(plan, term->p)))
        return "an output that it looks at does not exist";
    if (!ssl_half_has(plan->forwards[term->p].half, half))
        return "its p did not see the half that it looks at";
    if (half & SSL_LABELLED && plan->n_labelled < 1)
        return "the half that it looks at is empty";
    if (half & SSL_UNLABELLED && plan->n_unlabelled < 1)
        return "the half that it looks at is empty";
    if (term->kind == SSL_OWN)
        return own_problem(plan, term);
    if (term->kind == SSL_SUP)
        return NULL;
    if (term->ref == term->p && term->ref_output == term->p_output)
        return "its reference is no other forward";
    const char *problem = operand_problem(plan, term, term->ref, term->ref_output);
    if (problem)
        return problem;
    bool quad = term->kind == SSL_LQH || term->kind == SSL_UQH;
    if (quad && (!in_range(term->gamma, plan->n_gammas) || plan->gammas[term->gamma].half != half))
        return "its thresholds are of no slot of that half";
    return NULL;
}

static const char *composed_problem(const ssl_plan *plan, int i)
{
    const ssl_forward *forward = &plan->forwards[i];
    if (forward->grad || forward->n_from < 1)
        return "a composed prediction has a gradient, or no sources";
    for (int k = 0; k < forward->n_from; k++) {
        ssl_pred from = forward->from[k];
        if (!in_range(from.forward, i) || !in_range(from.output, n_outputs(plan, from.forward)))
            return "a composed prediction has a source that does not come before it";
        const ssl_forward *source = &plan->forwards[from.forward];
        if (source->mix != SSL_MIX_NONE && source->mix != forward->mix)
            return "a composed prediction has a source of images that were mixed otherwise";
        if (forward->mix == SSL_MIX_NONE && !ssl_half_has(source->half, forward->half))
            return "a mean has a source that did not see its images";
    }
    return NULL;
}

static const char *forward_problem(const ssl_plan *plan, int i)
{
    const ssl_forward *forward = &plan->forwards[i];
    if (forward->net == SSL_NONE)
        return composed_problem(plan, i);
    if (!in_range(forward->net, plan->n_nets))
        return "a forward is of no network";
    if (forward->grad && !plan->nets[forward->net].trained)
        return "a forward with gradient is of a network that is not trained";
    if (forward->grad && (forward->repeat > 1 || forward->filter))
        return "a forward that is repeated or filtered has a gradient";
    if (mixes_pairs(forward->mix) && (plan->n_labelled < 2 || plan->n_labelled % 2))
        return "images in pairs need an even number of labelled ones";
    if (forward->mix == SSL_MIX_CROSS && plan->n_unlabelled != plan->n_labelled)
        return "images crossed need as many unlabelled as labelled ones";
    return NULL;
}

static const char *net_problem(const ssl_plan *plan)
{
    for (int i = 0; i < plan->n_nets; i++)
        if (plan->nets[i].copy_of != SSL_NONE && !in_range(plan->nets[i].copy_of, i))
            return "a network is a copy of one that does not come before it";
    for (int i = 0; i < plan->n_forwards; i++) {
        const char *problem = forward_problem(plan, i);
        if (problem)
            return problem;
    }
    for (int i = 0; i < plan->n_emas; i++)
        if (!in_range(plan->emas[i].teacher, plan->n_nets) ||
            !in_range(plan->emas[i].student, plan->n_nets))
            return "a moving average is of no network";
    for (int i = 0; i < plan->n_copies; i++)
        if (!in_range(plan->copies[i].to, plan->n_nets) ||
            !in_range(plan->copies[i].from, plan->n_nets))
            return "a copy is of no network";
    return in_range(plan->model_net, plan->n_nets) && in_range(plan->model_pair, plan->n_nets) &&
                   in_range(plan->model_average, plan->n_nets) &&
                   in_range(plan->pair_average, plan->n_nets)
               ? NULL
               : "the model is no network";
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
