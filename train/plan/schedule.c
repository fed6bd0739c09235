#include "train/plan/schedule.h"

#include <math.h>

double tr_schedule_lr(const tr_options *options, int64_t it, int64_t total)
{
    double lr = kn_poly_lr(options->lr, options->lr_power, it, total);
    double rise = options->warmup * (double)total;
    return (double)(it + 1) < rise ? lr * (double)(it + 1) / rise : lr;
}

double tr_schedule_lambda(const tr_options *options, int64_t it, int64_t total)
{
    if (options->ramp == TR_RAMP_RELEASED)
        return kn_lambda_released(options->lambda_max, it);
    return kn_lambda_paper(options->lambda_max, (double)it, (double)total);
}

double tr_schedule_weight(const tr_options *options, const ssl_plan *plan, ssl_weight weight,
                          int64_t it, int64_t total)
{
    switch (weight) {
    case SSL_CONST:
        return 1;
    case SSL_LAMBDA:
        break;
    case SSL_LAMBDA_REST:
        return fmax(0, 1 - tr_schedule_lambda(options, it, total));
    case SSL_LAMBDA_LATE:
        if ((double)it < plan->late_share * (double)total)
            return 0;
        break;
    }
    return tr_schedule_lambda(options, it, total);
}

int64_t tr_schedule_fit(int64_t done, int64_t wanted, double elapsed_s, double limit_s,
                        double step_s, double val_s, int64_t val_every)
{
    double left = 0.98 * limit_s - elapsed_s - val_s; /* the last iterate is validated too */
    double each = step_s + (val_every > 0 ? val_s / (double)val_every : 0);
    double n = each > 0 ? floor(left / each) : INFINITY;
    if (n >= (double)(wanted - done))
        return wanted;
    return n < 1 ? MIN(done + 1, wanted) : done + (int64_t)n;
}
