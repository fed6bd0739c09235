/* The table of scores, and every slide's DSC as a row of dots, one a model, joined by a line whose
 * length is the difference that the paired test looks at. */
#include "report/report.h"

#include <math.h>

enum { PLOT_W = 1080, ROW_H = 30, NAME_W = 250, TOP = 8, BOTTOM = 34 };

static void add_mean(GString *page, const job_scores *s, job_metric_id metric, bool big)
{
    g_autofree double *x = job_scores_column(s, metric, 0);
    double std = inf_std(x, s->n_ok);
    g_string_append_printf(page, "<td%s>%.3f", big ? " class=\"big\"" : "", inf_mean(x, s->n_ok));
    if (!isnan(std))
        g_string_append_printf(page, " <small>± %.3f</small>", std);
    g_string_append(page, "</td>");
}

static void add_difference(GString *page, const report *r, guint m)
{
    if (m == 0) {
        g_string_append(page, "<td><small>—</small></td>");
        return;
    }
    job_comparison test;
    job_scores_compare(&r->scores[m], &r->scores[0], JOB_DSC, &test);
    g_string_append_printf(page, "<td>%+.3f", test.t.mean_diff);
    if (!isnan(test.t.p))
        g_string_append_printf(page, " <small>p = %.2g</small>", test.t.p);
    g_string_append(page, "</td>");
}

static void add_table(GString *page, const report *r)
{
    g_string_append(
        page,
        "<div class=\"wide\"><table><thead><tr><th scope=\"col\">Model</th><th scope=\"col\">DSC, mean ± std</th>"
        "<th scope=\"col\">Jaccard, mean ± std</th><th scope=\"col\">DSC, pooled</th>");
    if (r->pred->len > 1)
        g_string_append(page, "<th scope=\"col\">DSC against the first</th>");
    g_string_append(page, "<th scope=\"col\">Slides</th></tr></thead><tbody>\n");
    for (guint m = 0; m < r->pred->len; m++) {
        const rep_named *pred = &g_array_index(r->pred, rep_named, m);
        const job_scores *s = &r->scores[m];
        g_string_append_printf(
            page, "<tr><td><span class=\"chip\" style=\"background:var(--m%d)\"></span>",
            pred->index);
        rep_text(page, pred->name);
        g_string_append(page, "</td>");
        if (s->n_ok == 0) {
            g_string_append(page, "<td colspan=\"5\">no slide could be scored</td></tr>\n");
            continue;
        }
        add_mean(page, s, JOB_DSC, true);
        add_mean(page, s, JOB_JACCARD, false);
        g_string_append_printf(page, "<td>%.3f</td>", inf_dsc_foreground(&s->pooled));
        if (r->pred->len > 1)
            add_difference(page, r, m);
        g_string_append_printf(page, "<td>%u</td></tr>\n", s->n_ok);
    }
    g_string_append(page, "</tbody></table></div>\n");
}

/* The axis begins at a tenth below the lowest score: positions are compared, not lengths. */
static double lowest_tick(const report *r)
{
    double low = 1;
    for (guint m = 0; m < r->pred->len; m++)
        for (guint i = 0; i < r->set->len; i++)
            if (r->scores[m].items[i].ok)
                low = MIN(low, r->scores[m].items[i].dsc);
    return MAX(0, floor(low * 10 - 0.5) / 10);
}

static double plot_x(double dsc, double low)
{
    return NAME_W + (dsc - low) / (1 - low) * (PLOT_W - NAME_W - 20);
}

static void add_dots(GString *page, const report *r, guint i, double y, double axis_low)
{
    double low = INFINITY, high = -INFINITY;
    for (guint m = 0; m < r->pred->len; m++) {
        if (!r->scores[m].items[i].ok)
            continue;
        low = MIN(low, r->scores[m].items[i].dsc);
        high = MAX(high, r->scores[m].items[i].dsc);
    }
    if (high > low)
        g_string_append_printf(
            page, "<line class=\"base\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
            plot_x(low, axis_low), plot_x(high, axis_low), y, y);
    for (guint m = 0; m < r->pred->len; m++) {
        const job_score *score = &r->scores[m].items[i];
        if (!score->ok)
            continue;
        const rep_named *pred = &g_array_index(r->pred, rep_named, m);
        g_string_append_printf(
            page, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"7\" fill=\"var(--m%d)\"><title>",
            plot_x(score->dsc, axis_low), y, pred->index);
        rep_text(page, pred->name);
        g_string_append_printf(page, ": %.3f</title></circle>", score->dsc);
    }
}

static void add_dot_plot(GString *page, const report *r)
{
    guint n = r->set->len;
    int height = TOP + (int)n * ROW_H + BOTTOM;
    double axis_low = lowest_tick(r);
    g_string_append_printf(
        page,
        "<div class=\"wide\"><svg viewBox=\"0 0 %d %d\" style=\"min-width:560px\" role=\"img\" "
        "aria-label=\"DSC of every slide and model; the numbers are with the slides below\">\n",
        PLOT_W, height);
    int step = axis_low < 0.35 ? 2 : 1; /* tenths */
    for (int t = 10; t >= (int)(axis_low * 10 + 0.5); t -= step) {
        double x = plot_x(t / 10.0, axis_low);
        g_string_append_printf(page,
                               "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                               "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.1f</text>\n",
                               x, x, TOP, height - BOTTOM, x, height - BOTTOM + 18, t / 10.0);
    }
    for (guint i = 0; i < n; i++) {
        double y = TOP + ROW_H * (i + 0.5);
        g_autofree char *name = g_utf8_make_valid(g_array_index(r->set, job_slide, i).name, -1);
        if (g_utf8_strlen(name, -1) > 34) {
            char *end = g_utf8_offset_to_pointer(name, 32);
            *end = 0;
            char *cut = g_strconcat(name, "…", NULL);
            g_free(name);
            name = cut;
        }
        g_string_append_printf(page, "<text class=\"name\" x=\"0\" y=\"%.1f\">", y + 4);
        rep_text(page, name);
        g_string_append(page, "</text>");
        add_dots(page, r, i, y, axis_low);
        g_string_append_c(page, '\n');
    }
    g_string_append(page, "</svg></div>\n");
}

void rep_scores(GString *page, const report *r)
{
    g_string_append(
        page, "<section aria-label=\"Scores\"><h2>Scores</h2>\n<p class=\"note\">Dice similarity "
              "(DSC) and Jaccard "
              "index of the foreground, on each whole slide. Standard deviations are over slides");
    if (r->pred->len > 1)
        g_string_append(page, "; p is of the paired two-sided t-test over slides");
    g_string_append(page, ".</p>\n");
    add_table(page, r);
    g_string_append(page, "<p class=\"note\" style=\"margin:30px 0 8px\">DSC of every slide</p>\n");
    add_dot_plot(page, r);
    g_string_append(page, "</section>\n");
}
