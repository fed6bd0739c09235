/* How long an experiment takes, by the runs that are done: seconds a pass of one patch, of the same
 * method where it ran, else of any. */
#include "experiment/experiment.h"

#include "base/text.h"

#include <math.h>

/* Seconds and cost of the done runs; method NULL: of all. */
static double seconds_per_cost(const experiment *e, const ssl_method *method, const tr_loss *loss)
{
    double seconds = 0, cost = 0;
    for (guint i = 0; i < e->runs->len; i++) {
        const exp_run *run = e->runs->pdata[i];
        double took = exp_measure(run, "train_s");
        if (run->state != EXP_DONE || isnan(took) || (method && run->method != method) ||
            (loss && run->loss != *loss))
            continue;
        seconds += took;
        cost += run->cost;
    }
    return cost > 0 ? seconds / cost : NAN;
}

double exp_seconds_left(const experiment *e, const exp_run *run)
{
    if (run->state == EXP_DONE)
        return 0;
    double rate = seconds_per_cost(e, run->method, &run->loss);
    if (isnan(rate))
        rate = seconds_per_cost(e, run->method, NULL);
    if (isnan(rate))
        rate = seconds_per_cost(e, NULL, NULL);
    double share = (double)run->iteration / (double)run->iterations;
    return rate * run->cost * (1 - MIN(share, 1));
}

double exp_seconds_all(const experiment *e)
{
    double sum = 0;
    for (guint i = 0; i < e->runs->len; i++)
        sum += exp_seconds_left(e, e->runs->pdata[i]);
    return sum / e->jobs;
}

static const char *state_word(const exp_run *run)
{
    return run->state == EXP_DONE ? "done" : run->iteration > 0 ? "begun" : "to do";
}

char *exp_plan_text(const experiment *e)
{
    GString *text = g_string_new(NULL);
    guint n_done = 0;
    for (guint i = 0; i < e->runs->len; i++) {
        const exp_run *run = e->runs->pdata[i];
        double left = exp_seconds_left(e, run);
        g_autofree char *time = isnan(left) ? g_strdup("-") : qs_format_seconds(left);
        n_done += run->state == EXP_DONE;
        g_string_append_printf(text, "%-44s  %-6s  %7" G_GINT64_FORMAT " of %7" G_GINT64_FORMAT " iterations  %s\n",
                  run->name, state_word(run), run->iteration, run->iterations, time);
    }
    double all = exp_seconds_all(e);
    g_autofree char *time =
        isnan(all) ? g_strdup("not known before the first run has ended") : qs_format_seconds(all);
    g_string_append_printf(text, "%u runs, %u done; training time left with %d at once: %s\n", e->runs->len, n_done,
              e->jobs, time);
    return g_string_free(text, FALSE);
}
