/* OUT/report.html of an experiment: each table as numbers and as a plot, then the training of every
 * method: curves of all seeds, and of the first seed the sizes of the regions (the paper's Fig. 9),
 * how right the reference is in each (Fig. 10), and batches with their quadripartition (Figs. 8,
 * 11). */
#include "experiment/experiment.h"

#include "report/report.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

enum { PLOT_W = 1080, ROW_H = 34, NAME_W = 250, TOP = 8, BOTTOM = 34 };
static const double significant = 0.05;

static int colour_of(const experiment *e, const exp_table *table, guint r)
{
    const exp_row *row = &g_array_index(table->rows, exp_row, r);
    const exp_run *run = e->runs->pdata[row->runs[0]];
    if (table != e->tables->pdata[0])
        return (int)(r % REPORT_MODELS_MAX);
    return run->loss == TR_LOSS_METASSL ? 1 : 0;
}

/* ---- table ---------------------------------------------------------------------------------- */

static void add_value(GString *page, const exp_cell *cell, int decimals, bool big)
{
    if (cell->n_seeds == 0) {
        g_string_append(page, "<td>–</td>");
        return;
    }
    g_string_append_printf(page, "<td%s>%.*f", big ? " class=\"big\"" : "", decimals, cell->mean);
    if (cell->p < significant)
        g_string_append(page, "<sup>*</sup>");
    if (!isnan(cell->std))
        g_string_append_printf(page, " <small>± %.*f</small>", decimals, cell->std);
    g_string_append(page, "</td>");
}

static void add_difference(GString *page, const exp_cell *cell)
{
    if (isnan(cell->diff)) {
        g_string_append(page, "<td><small>–</small></td>");
        return;
    }
    g_string_append_printf(page, "<td>%+.3f", cell->diff);
    if (!isnan(cell->p))
        g_string_append_printf(page, " <small>p = %.2g</small>", cell->p);
    g_string_append(page, "</td>");
}

static void add_row(GString *page, const experiment *e, const exp_table *table, guint r, guint b,
                    const exp_shown *shown, guint n_shown)
{
    const exp_row *row = &g_array_index(table->rows, exp_row, r);
    g_string_append_printf(page,
                           "<tr><td><span class=\"chip\" style=\"background:var(--m%d)\"></span>",
                           colour_of(e, table, r));
    rep_text(page, row->label);
    double val = exp_row_mean(e, table, row, b, "val_dsc");
    g_string_append_printf(page, isnan(val) ? "</td><td>–</td>" : "</td><td>%.3f</td>", val);
    exp_cell dsc = {.diff = NAN, .p = NAN};
    for (guint k = 0; k < n_shown; k++) {
        exp_cell cell;
        exp_cell_compute(e, table, r, b, shown[k].name, &cell);
        add_value(page, &cell, strcmp(shown[k].unit, "fraction") == 0 ? 3 : 1, k == 0);
        if (k == 0)
            dsc = cell;
        exp_cell_clear(&cell);
    }
    add_difference(page, &dsc);
    g_string_append_printf(page, "<td>%u</td></tr>\n", dsc.n_seeds);
}

static void add_table(GString *page, const experiment *e, const exp_table *table, guint b)
{
    exp_shown shown[8];
    guint n = exp_shown_metrics(e, shown, G_N_ELEMENTS(shown));
    g_string_append(
        page,
        "<div class=\"wide\"><table><thead><tr><th scope=\"col\"></th><th scope=\"col\">val DSC</th>");
    for (guint k = 0; k < n; k++) {
        g_string_append(page, "<th scope=\"col\">");
        rep_text(page, shown[k].label);
        if (strcmp(shown[k].unit, "fraction") != 0)
            g_string_append_printf(page, ", %s", shown[k].unit);
        g_string_append(page, "</th>");
    }
    g_string_append_printf(
        page,
        "<th scope=\"col\">DSC against %s</th><th scope=\"col\">Seeds</th></tr></thead><tbody>\n",
        table == e->tables->pdata[0] ? "plain" : "the first");
    for (guint r = 0; r < table->rows->len; r++)
        add_row(page, e, table, r, b, shown, n);
    g_string_append(page, "</tbody></table></div>\n");
}

/* ---- plot ----------------------------------------------------------------------------------- */

static double plot_x(double value, double low)
{
    return NAME_W + (value - low) / (1 - low) * (PLOT_W - NAME_W - 20);
}

static double lowest(const exp_table *table, const exp_cell *cells)
{
    double low = 1;
    for (guint r = 0; r < table->rows->len; r++)
        for (guint s = 0; s < table->seeds->len; s++)
            low = fmin(low, cells[r].by_seed[s]);
    return fmax(0, floor(low * 10 - 0.5) / 10);
}

static void add_dots(GString *page, const exp_table *table, const exp_cell *cell, int colour,
                     double y, double axis_low)
{
    double low = INFINITY, high = -INFINITY;
    for (guint s = 0; s < table->seeds->len; s++) {
        low = fmin(low, cell->by_seed[s]);
        high = fmax(high, cell->by_seed[s]);
    }
    if (high > low)
        g_string_append_printf(
            page, "<line class=\"base\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
            plot_x(low, axis_low), plot_x(high, axis_low), y, y);
    for (guint s = 0; s < table->seeds->len; s++)
        if (!isnan(cell->by_seed[s]))
            g_string_append_printf(page,
                                   "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"var(--m%d)\" "
                                   "fill-opacity=\".45\"><title>seed %" G_GUINT64_FORMAT
                                   ": %.3f</title></circle>",
                                   plot_x(cell->by_seed[s], axis_low), y, colour,
                                   g_array_index(table->seeds, uint64_t, s), cell->by_seed[s]);
    if (cell->n_seeds > 0)
        g_string_append_printf(page,
                               "<rect x=\"%.1f\" y=\"%.1f\" width=\"4\" height=\"20\" rx=\"2\" "
                               "fill=\"var(--m%d)\"><title>mean %.3f</title></rect>",
                               plot_x(cell->mean, axis_low) - 2, y - 10, colour, cell->mean);
}

static void add_plot(GString *page, const experiment *e, const exp_table *table, guint b)
{
    guint n = table->rows->len;
    g_autofree exp_cell *cells = g_new0(exp_cell, n);
    for (guint r = 0; r < n; r++)
        exp_cell_compute(e, table, r, b, "test_dsc", &cells[r]);
    double low = lowest(table, cells);
    int height = TOP + (int)n * ROW_H + BOTTOM;
    g_string_append_printf(
        page,
        "<div class=\"wide\" style=\"margin-top:22px\"><svg viewBox=\"0 0 %d %d\" "
        "style=\"min-width:560px\" role=\"img\" aria-label=\"DSC of every row and "
        "seed; the numbers are in the table above\">\n",
        PLOT_W, height);
    for (int t = 10; low < 1 && t >= (int)(low * 10 + 0.5); t--) {
        double x = plot_x(t / 10.0, low);
        g_string_append_printf(page,
                               "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                               "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.1f</text>\n",
                               x, x, TOP, height - BOTTOM, x, height - BOTTOM + 18, t / 10.0);
    }
    for (guint r = 0; r < n && low < 1; r++) {
        double y = TOP + ROW_H * (r + 0.5);
        g_string_append_printf(page, "<text class=\"name\" x=\"0\" y=\"%.1f\">", y + 4);
        rep_text(page, g_array_index(table->rows, exp_row, r).label);
        g_string_append(page, "</text>");
        add_dots(page, table, &cells[r], colour_of(e, table, r), y, low);
    }
    g_string_append(page, "</svg></div>\n");
    for (guint r = 0; r < n; r++)
        exp_cell_clear(&cells[r]);
}

/* A network that follows the noise is nearer to the annotation it learnt from than to the truth. */
static void add_noise(GString *page, const experiment *e, const exp_table *table, guint b)
{
    g_string_append(
        page, "<h3 style=\"margin-top:34px\">Noisy labels</h3><p class=\"note\">DSC "
              "against the truth, which no training saw, and against the noisy "
              "annotation: on the test slides and on the slides whose labels were "
              "learnt from.</p><div class=\"wide\"><table><thead><tr><th scope=\"col\"></th>");
    for (guint k = 0; k < EXP_N_NOISE; k++)
        g_string_append_printf(page, "<th scope=\"col\">%s</th>", exp_noise_columns[k].label);
    g_string_append(page, "</tr></thead><tbody>\n");
    for (guint r = 0; r < table->rows->len; r++) {
        g_string_append_printf(
            page, "<tr><td><span class=\"chip\" style=\"background:var(--m%d)\"></span>",
            colour_of(e, table, r));
        rep_text(page, g_array_index(table->rows, exp_row, r).label);
        g_string_append(page, "</td>");
        for (guint k = 0; k < EXP_N_NOISE; k++) {
            exp_cell cell;
            exp_cell_compute(e, table, r, b, exp_noise_columns[k].name, &cell);
            add_value(page, &cell, 3, false);
            exp_cell_clear(&cell);
        }
        g_string_append(page, "</tr>\n");
    }
    g_string_append(page, "</tbody></table></div>\n");
}

static void add_tables(GString *page, const experiment *e)
{
    for (guint t = 0; t < e->tables->len; t++) {
        const exp_table *table = e->tables->pdata[t];
        for (guint b = 0; b < table->budgets->len && table->rows->len > 0; b++) {
            int budget = g_array_index(table->budgets, int, b);
            g_string_append(page, "<section><h2>");
            rep_text(page, t == 0 ? "Methods" : table->name);
            g_string_append_printf(page,
                                   "</h2>\n<p class=\"note\">%s%.0d labelled cases; scores on "
                                   "the slides of split %s.</p>\n",
                                   budget > 0 ? "" : "All", budget, e->test_split);
            add_table(page, e, table, b);
            add_plot(page, e, table, b);
            if (e->noisy)
                add_noise(page, e, table, b);
            g_string_append(page, "</section>\n");
        }
    }
}

/* ---- training ------------------------------------------------------------------------------- */

static bool has_log(const exp_run *run)
{
    g_autofree char *path = run->dir ? g_build_filename(run->dir, "metrics.csv", NULL) : NULL;
    return path && g_file_test(path, G_FILE_TEST_EXISTS);
}

/* The runs of a row: all seeds' curves, the first one's regions. */
static void add_row_runs(GArray *runs, const experiment *e, const exp_table *table, guint r,
                         bool details)
{
    const exp_row *row = &g_array_index(table->rows, exp_row, r);
    bool first = true;
    for (guint s = 0; s < table->seeds->len; s++) {
        const exp_run *run = e->runs->pdata[row->runs[s]];
        if (!has_log(run))
            continue;
        rep_named item = {.name = g_strdup(row->label),
                          .path = g_strdup(run->dir),
                          .index = colour_of(e, table, r),
                          .plain = !first || !details};
        g_array_append_val(runs, item);
        first = false;
    }
}

static const ssl_method *method_of(const experiment *e, const exp_table *table, guint r)
{
    const exp_row *row = &g_array_index(table->rows, exp_row, r);
    return ((exp_run *)e->runs->pdata[row->runs[0]])->method;
}

/* The rows of one method from row r on, when r is its first. */
static bool add_method(GString *page, const experiment *e, const exp_table *table, guint r,
                       bool main, GError **error)
{
    for (guint k = 0; k < r; k++)
        if (method_of(e, table, k) == method_of(e, table, r))
            return true;
    g_autoptr(GArray) runs = g_array_new(FALSE, TRUE, sizeof(rep_named));
    g_array_set_clear_func(runs, rep_named_clear);
    for (guint k = r; k < table->rows->len; k++)
        if (method_of(e, table, k) == method_of(e, table, r))
            add_row_runs(runs, e, table, k, main);
    if (runs->len == 0)
        return true;
    g_string_append(page, "<section><h2>Training, ");
    rep_text(page, method_of(e, table, r)->name);
    if (!main) {
        g_string_append(page, ", ");
        rep_text(page, table->name);
    }
    g_string_append(page, "</h2>\n");
    bool ok = rep_charts(page, runs, e->steps, error);
    g_string_append(page, "</section>\n");
    return ok;
}

bool exp_page_write(const experiment *e, GError **error)
{
    g_autoptr(GString) page = g_string_new(NULL);
    guint n_done = 0;
    for (guint i = 0; i < e->runs->len; i++)
        n_done += ((exp_run *)e->runs->pdata[i])->state == EXP_DONE;
    g_autofree char *lede = g_strdup_printf("%u of %u runs done.", n_done, e->runs->len);
    rep_open(page, e->name, lede);
    add_tables(page, e);
    bool ok = true;
    for (guint t = 0; ok && t < e->tables->len; t++) {
        const exp_table *table = e->tables->pdata[t];
        for (guint r = 0; ok && r < table->rows->len; r++)
            ok = add_method(page, e, table, r, t == 0, error);
    }
    rep_close(page, exp_tables_note(e));
    g_autofree char *path = g_build_filename(e->out, "report.html", NULL);
    return ok && qs_file_replace(path, page->str, page->len, error);
}
