/* The tables of an experiment as text and as CSV: the paper's Table II (methods × label budgets),
 * and one of the form of its Tables IV to VII for every ablation.
 *
 * A star is p < 0.05 of the paired two-sided t-test over slides, against the row that the table
 * says. Fewer than three seeds are called noise under every table that has them. */
#include "experiment/experiment.h"

#include "jobs/score/scores.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

enum { LABEL_W = 28, SEEDS_ENOUGH = 3, SHOWN_MAX = 8 };
static const double significant = 0.05;

static const char *test_name(char *text, size_t n, const char *key)
{
    g_snprintf(text, (gulong)n, "test_%s", key);
    return text;
}

static char *budget_text(int budget)
{
    return budget > 0 ? g_strdup_printf("%d", budget) : g_strdup("all");
}

double exp_row_mean(const experiment *e, const exp_table *table, const exp_row *row, guint budget,
                    const char *name)
{
    double sum = 0;
    guint n = 0;
    for (guint s = 0; s < table->seeds->len; s++) {
        double x = exp_measure(e->runs->pdata[row->runs[budget * table->seeds->len + s]], name);
        if (!isnan(x)) {
            sum += x;
            n++;
        }
    }
    return n > 0 ? sum / n : NAN;
}

/* The unit of a number, as the first run that has it says; NULL where none has. */
static const char *unit_of(const experiment *e, const char *name)
{
    for (guint i = 0; i < e->runs->len; i++) {
        const exp_run *run = e->runs->pdata[i];
        for (guint k = 0; run->measures && k < run->measures->len; k++) {
            const db_measure *m = &g_array_index(run->measures, db_measure, k);
            if (!strcmp(m->name, name))
                return m->unit ? m->unit : "";
        }
    }
    return NULL;
}

guint exp_shown_metrics(const experiment *e, exp_shown *shown, guint room)
{
    static const char *const keys[] = {"dsc", "jaccard", "hd95", "assd", NULL};
    size_t n_metrics;
    guint n = 0;
    const job_metric *metrics = job_metrics(&n_metrics);
    for (size_t k = 0; k < n_metrics && n < room; k++) {
        test_name(shown[n].name, sizeof shown[n].name, metrics[k].key);
        shown[n].label = metrics[k].label;
        shown[n].unit = unit_of(e, shown[n].name);
        if (shown[n].unit && g_strv_contains(keys, metrics[k].key))
            n++;
    }
    return n;
}

/* ---- text ----------------------------------------------------------------------------------- */

static void pad(GString *text, const char *cell, int width)
{
    int n = (int)g_utf8_strlen(cell, -1);
    g_string_append_printf(text, "  %s%*s", cell, MAX(0, width - n), "");
}

static void add_value(GString *text, const exp_cell *cell, int decimals)
{
    g_autofree char *value = cell->n_seeds == 0 ? g_strdup("-")
                             : isnan(cell->std)
                                 ? g_strdup_printf("%.*f", decimals, cell->mean)
                                 : g_strdup_printf("%.*f ± %.*f%s", decimals, cell->mean, decimals,
                                                   cell->std, cell->p < significant ? " *" : "");
    pad(text, value, 19);
}

static void add_comparison(GString *text, const exp_cell *cell)
{
    if (isnan(cell->diff)) {
        pad(text, "", 20);
        return;
    }
    g_autofree char *value = isnan(cell->p)
                                 ? g_strdup_printf("%+.4f", cell->diff)
                                 : g_strdup_printf("%+.4f  p = %.3g", cell->diff, cell->p);
    pad(text, value, 20);
}

static void add_seeds(GString *text, const exp_table *table, const exp_cell *cell)
{
    for (guint s = 0; s < table->seeds->len; s++) {
        double x = cell->by_seed[s];
        g_autofree char *value =
            isnan(x) ? g_strdup("-")
                     : g_strdup_printf("%.4f%s", x, cell->p_by_seed[s] < significant ? "*" : "");
        pad(text, value, 7);
    }
    if (!isnan(cell->seed_std))
        g_string_append_printf(text, "  ± %.4f", cell->seed_std);
}

static void add_row(GString *text, const experiment *e, const exp_table *table, guint r, guint b)
{
    const exp_row *row = &g_array_index(table->rows, exp_row, r);
    exp_shown shown[SHOWN_MAX];
    guint n = exp_shown_metrics(e, shown, SHOWN_MAX);
    exp_cell dsc;
    exp_cell_compute(e, table, r, b, "test_dsc", &dsc);
    pad(text, row->label, LABEL_W);
    double val = exp_row_mean(e, table, row, b, "val_dsc");
    g_autofree char *val_text = isnan(val) ? g_strdup("-") : g_strdup_printf("%.4f", val);
    pad(text, val_text, 7);
    for (guint k = 0; k < n; k++) {
        exp_cell cell;
        exp_cell_compute(e, table, r, b, shown[k].name, &cell);
        add_value(text, &cell, strcmp(shown[k].unit, "fraction") == 0 ? 4 : 2);
        exp_cell_clear(&cell);
    }
    add_comparison(text, &dsc);
    add_seeds(text, table, &dsc);
    exp_cell_clear(&dsc);
    g_strchomp(text->str);
    text->len = strlen(text->str);
    g_string_append_c(text, '\n');
}

static void add_head(GString *text, const experiment *e)
{
    exp_shown shown[SHOWN_MAX];
    guint n = exp_shown_metrics(e, shown, SHOWN_MAX);
    pad(text, "", LABEL_W);
    pad(text, "val DSC", 7);
    for (guint k = 0; k < n; k++) {
        g_autofree char *head = strcmp(shown[k].unit, "fraction") == 0
                                    ? g_strdup(shown[k].label)
                                    : g_strdup_printf("%s (%s)", shown[k].label, shown[k].unit);
        pad(text, head, 19);
    }
    pad(text, "DSC against base", 20);
    pad(text, "DSC by seed", 11);
    g_string_append_c(text, '\n');
}

static guint slides_of(const experiment *e, const exp_table *table, guint b)
{
    guint n = 0;
    for (guint r = 0; r < table->rows->len; r++) {
        exp_cell cell;
        exp_cell_compute(e, table, r, b, "test_dsc", &cell);
        n = MAX(n, cell.n_slides);
        exp_cell_clear(&cell);
    }
    return n;
}

static void add_table(GString *text, const experiment *e, const exp_table *table)
{
    for (guint b = 0; b < table->budgets->len; b++) {
        g_autofree char *budget = budget_text(g_array_index(table->budgets, int, b));
        g_string_append_printf(text, "Table \"%s\", %s labelled cases, split %s: %u slides; seeds",
                               table->name, budget, e->test_split, slides_of(e, table, b));
        for (guint s = 0; s < table->seeds->len; s++)
            g_string_append_printf(text, " %" G_GUINT64_FORMAT,
                                   g_array_index(table->seeds, uint64_t, s));
        g_string_append_c(text, '\n');
        add_head(text, e);
        for (guint r = 0; r < table->rows->len; r++)
            add_row(text, e, table, r, b);
        g_string_append_c(text, '\n');
    }
}

/* DSC against the truth and against the noisy annotation, on new slides and on those learnt from.
 */
static void add_noise(GString *text, const experiment *e, const exp_table *table)
{
    for (guint b = 0; b < table->budgets->len; b++) {
        g_autofree char *budget = budget_text(g_array_index(table->budgets, int, b));
        g_string_append_printf(text,
                               "Noisy labels, %s labelled cases: DSC against the truth and against "
                               "the annotation\n",
                               budget);
        pad(text, "", LABEL_W);
        for (guint k = 0; k < EXP_N_NOISE; k++)
            pad(text, exp_noise_columns[k].label, 24);
        g_string_append_c(text, '\n');
        for (guint r = 0; r < table->rows->len; r++) {
            pad(text, g_array_index(table->rows, exp_row, r).label, LABEL_W);
            for (guint k = 0; k < EXP_N_NOISE; k++) {
                exp_cell cell;
                exp_cell_compute(e, table, r, b, exp_noise_columns[k].name, &cell);
                add_value(text, &cell, 4);
                g_string_append(text, "     ");
                exp_cell_clear(&cell);
            }
            g_string_append_c(text, '\n');
        }
        g_string_append_c(text, '\n');
    }
}

static const char *base_words(const exp_table *table, const experiment *e)
{
    return table == e->tables->pdata[0] ? "the same method with its own loss"
                                        : "the first row of the method";
}

const exp_noise_column exp_noise_columns[EXP_N_NOISE] = {
    {"test_dsc", "test, truth"},
    {"test_annotation_dsc", "test, annotation"},
    {"labelled_dsc", "learnt from, truth"},
    {"labelled_annotation_dsc", "learnt from, annotation"},
};

const char *exp_tables_note(const experiment *e)
{
#define NOTE                                                                                       \
    "Mean ± sample standard deviation over slides, of each slide's mean over seeds.\n* p < 0.05 " \
    "of the paired two-sided t-test over slides against the base.\nBy seed: mean over slides, ± " \
    "their deviation over seeds.\nval DSC: mean over the validation slides, "
    return e->best ? NOTE "by which the model of a run was chosen."
                   : NOTE "of the last iterate; nothing was chosen by it.";
#undef NOTE
}

char *exp_tables_text(const experiment *e)
{
    GString *text = g_string_new(NULL);
    guint n_done = 0;
    bool few = false;
    for (guint i = 0; i < e->runs->len; i++)
        n_done += ((exp_run *)e->runs->pdata[i])->state == EXP_DONE;
    g_string_append_printf(text, "%s: %u of %u runs done\n\n", e->name, n_done, e->runs->len);
    for (guint t = 0; t < e->tables->len; t++) {
        const exp_table *table = e->tables->pdata[t];
        if (table->rows->len == 0)
            continue;
        few = few || table->seeds->len < SEEDS_ENOUGH;
        add_table(text, e, table);
        g_string_append_printf(text, "  base: %s\n\n", base_words(table, e));
        if (e->noisy)
            add_noise(text, e, table);
    }
    g_string_append_printf(text, "%s\n", exp_tables_note(e));
    if (few)
        g_string_append_printf(text,
                               "With fewer than %d seeds a difference is noise, starred or not.\n",
                               SEEDS_ENOUGH);
    return g_string_free(text, FALSE);
}

/* ---- CSV ------------------------------------------------------------------------------------ */

/* A field of RFC 4180. */
static void add_field(GString *csv, const char *text)
{
    if (!strpbrk(text, ",\"\n\r")) {
        g_string_append(csv, text);
        return;
    }
    g_auto(GStrv) pieces = g_strsplit(text, "\"", -1);
    g_autofree char *doubled = g_strjoinv("\"\"", pieces);
    g_string_append_printf(csv, "\"%s\"", doubled);
}

static void add_number(GString *csv, double value)
{
    if (isnan(value))
        g_string_append_c(csv, ',');
    else
        g_string_append_printf(csv, ",%.9g", value);
}

static void add_csv_cell(GString *csv, const experiment *e, const exp_table *table, guint r,
                         guint b, const job_metric *metric)
{
    char name[64];
    exp_cell cell;
    const exp_row *row = &g_array_index(table->rows, exp_row, r);
    g_autofree char *budget = budget_text(g_array_index(table->budgets, int, b));
    exp_cell_compute(e, table, r, b, test_name(name, sizeof name, metric->key), &cell);
    const char *unit = unit_of(e, name);
    add_field(csv, table->name);
    g_string_append_c(csv, ',');
    add_field(csv, row->label);
    g_string_append_printf(csv, ",%s,%s,%s,%u,%u", budget, metric->key, unit ? unit : "",
                           cell.n_seeds, cell.n_slides);
    const double values[] = {cell.mean, cell.std, cell.seed_std,
                             cell.diff, cell.p,   exp_row_mean(e, table, row, b, "val_dsc")};
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        add_number(csv, values[i]);
    g_string_append_c(csv, '\n');
    exp_cell_clear(&cell);
}

static char *tables_csv(const experiment *e)
{
    size_t n;
    const job_metric *metrics = job_metrics(&n);
    GString *csv = g_string_new("table,row,labelled_cases,metric,unit,seeds,slides,mean,std,"
                                "std_over_seeds,difference,p,val_dsc\n");
    for (guint t = 0; t < e->tables->len; t++) {
        const exp_table *table = e->tables->pdata[t];
        for (guint b = 0; b < table->budgets->len; b++)
            for (guint r = 0; r < table->rows->len; r++)
                for (size_t k = 0; k < n; k++)
                    add_csv_cell(csv, e, table, r, b, &metrics[k]);
    }
    return g_string_free(csv, FALSE);
}

static const char *slide_name(const GArray *slides, int64_t id)
{
    for (guint i = 0; i < slides->len; i++)
        if (g_array_index(slides, db_slide, i).id == id)
            return g_array_index(slides, db_slide, i).name;
    return "";
}

/* One number a line: of every run, of every slide. */
static char *scores_csv(const experiment *e, const GArray *slides)
{
    GString *csv =
        g_string_new("run,method,loss,labelled_cases,seed,variant,slide,metric,value,unit\n");
    for (guint i = 0; i < e->runs->len; i++) {
        const exp_run *run = e->runs->pdata[i];
        g_autofree char *budget = budget_text(run->budget);
        for (guint k = 0; run->measures && k < run->measures->len; k++) {
            const db_measure *m = &g_array_index(run->measures, db_measure, k);
            g_string_append_printf(csv, "%s,%s,%s,%s,%" G_GUINT64_FORMAT ",%s,", run->name,
                                   run->method->name,
                                   run->loss == TR_LOSS_METASSL ? "metassl" : "plain", budget,
                                   run->seed, run->variant ? run->variant : "");
            add_field(csv, slide_name(slides, m->slide_id));
            g_string_append_printf(csv, ",%s,%.9g,%s\n", m->name, m->value, m->unit ? m->unit : "");
        }
    }
    return g_string_free(csv, FALSE);
}

static bool write_text(const experiment *e, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(e->out, name, NULL);
    return qs_file_replace(path, text, strlen(text), error);
}

bool exp_tables_write(const experiment *e, GError **error)
{
    g_autoptr(GArray) slides = db_slide_list(e->store, error);
    if (!slides)
        return false;
    g_autofree char *text = exp_tables_text(e);
    g_autofree char *tables = tables_csv(e);
    g_autofree char *scores = scores_csv(e, slides);
    return write_text(e, "tables.txt", text, error) && write_text(e, "tables.csv", tables, error) &&
           write_text(e, "scores.csv", scores, error);
}
