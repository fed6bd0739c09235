/* One cell of a table: a method's scores over slides and seeds.
 *
 * Slides are the sample, seeds are repetitions: each slide's scores are first averaged over the
 * seeds, then mean, standard deviation and the paired t-test are taken over slides. Slides times
 * seeds would count every slide several times and find significance in copies. */
#include "experiment/experiment.h"

#include "infer/score/metric.h"

#include <math.h>
#include <string.h>

/* slide id → value, of one run; empty when it has not been run. */
static GHashTable *slide_values(const exp_run *run, const char *metric)
{
    GHashTable *values = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    for (guint i = 0; run->measures && i < run->measures->len; i++) {
        const db_measure *m = &g_array_index(run->measures, db_measure, i);
        if (m->slide_id != 0 && !strcmp(m->name, metric))
            g_hash_table_insert(values, g_memdup2(&m->slide_id, sizeof m->slide_id),
                                g_memdup2(&m->value, sizeof m->value));
    }
    return values;
}

static double table_mean(GHashTable *values)
{
    GHashTableIter iter;
    gpointer value;
    double sum = 0;
    g_hash_table_iter_init(&iter, values);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        sum += *(double *)value;
    guint n = g_hash_table_size(values);
    return n > 0 ? sum / n : NAN;
}

static int by_id(gconstpointer a, gconstpointer b)
{
    int64_t x = **(const int64_t *const *)a, y = **(const int64_t *const *)b;
    return (x > y) - (x < y);
}

/* Slides that every one of the tables has, in order of their ids; borrowed from the first. */
static GPtrArray *common_slides(GHashTable *const *tables, guint n)
{
    GPtrArray *ids = g_ptr_array_new();
    GHashTableIter iter;
    gpointer id;
    if (n == 0)
        return ids;
    g_hash_table_iter_init(&iter, tables[0]);
    while (g_hash_table_iter_next(&iter, &id, NULL)) {
        bool all = true;
        for (guint k = 1; k < n; k++)
            all = all && g_hash_table_contains(tables[k], id);
        if (all)
            g_ptr_array_add(ids, id);
    }
    g_ptr_array_sort(ids, by_id);
    return ids;
}

static double value_at(GHashTable *table, gpointer id)
{
    return *(double *)g_hash_table_lookup(table, id);
}

/* Means over `n` tables of each slide. */
static double *slide_means(GHashTable *const *tables, guint n, const GPtrArray *ids)
{
    double *means = g_new0(double, MAX(1, ids->len));
    for (guint i = 0; i < ids->len; i++) {
        for (guint k = 0; k < n; k++)
            means[i] += value_at(tables[k], ids->pdata[i]);
        means[i] /= n;
    }
    return means;
}

/* Against the base row: over the seeds and the slides that both have. */
static void compare(GHashTable *const *a, GHashTable *const *b, guint n, exp_cell *cell)
{
    GHashTable **both = g_new0(GHashTable *, 2 * n);
    guint n_both = 0;
    for (guint s = 0; s < n; s++) {
        g_autoptr(GPtrArray) shared = NULL;
        if (g_hash_table_size(a[s]) == 0 || g_hash_table_size(b[s]) == 0)
            continue;
        both[n_both++] = a[s];
        GHashTable *pair[2] = {a[s], b[s]};
        shared = common_slides(pair, 2);
        g_autofree double *x = slide_means(&pair[0], 1, shared);
        g_autofree double *y = slide_means(&pair[1], 1, shared);
        inf_ttest test;
        inf_ttest_paired(x, y, shared->len, &test);
        cell->p_by_seed[s] = test.p;
    }
    guint k = n_both;
    for (guint s = 0; s < n; s++)
        if (g_hash_table_size(a[s]) > 0 && g_hash_table_size(b[s]) > 0)
            both[k++] = b[s];
    if (n_both > 0) {
        g_autoptr(GPtrArray) ids = common_slides(both, 2 * n_both);
        g_autofree double *x = slide_means(both, n_both, ids);
        g_autofree double *y = slide_means(both + n_both, n_both, ids);
        inf_ttest test;
        inf_ttest_paired(x, y, ids->len, &test);
        cell->diff = test.mean_diff;
        cell->p = test.p;
    }
    g_free(both);
}

static GHashTable **row_tables(const experiment *e, const exp_table *table, guint row, guint budget,
                               const char *metric)
{
    guint n = table->seeds->len;
    const exp_row *r = &g_array_index(table->rows, exp_row, row);
    GHashTable **tables = g_new0(GHashTable *, n);
    for (guint s = 0; s < n; s++)
        tables[s] = slide_values(e->runs->pdata[r->runs[budget * n + s]], metric);
    return tables;
}

static void tables_free(GHashTable **tables, guint n)
{
    for (guint s = 0; s < n; s++)
        g_hash_table_destroy(tables[s]);
    g_free(tables);
}

void exp_cell_compute(const experiment *e, const exp_table *table, guint row, guint budget,
                      const char *metric, exp_cell *cell)
{
    guint n = table->seeds->len;
    int base = g_array_index(table->rows, exp_row, row).base;
    *cell = (exp_cell){.diff = NAN, .p = NAN};
    cell->by_seed = g_new(double, n);
    cell->p_by_seed = g_new(double, n);
    GHashTable **values = row_tables(e, table, row, budget, metric);
    g_autofree GHashTable **run = g_new0(GHashTable *, n);
    g_autofree double *means = g_new0(double, n);
    for (guint s = 0; s < n; s++) {
        cell->p_by_seed[s] = NAN;
        cell->by_seed[s] = table_mean(values[s]);
        if (isnan(cell->by_seed[s]))
            continue;
        means[cell->n_seeds] = cell->by_seed[s];
        run[cell->n_seeds++] = values[s];
    }
    g_autoptr(GPtrArray) ids = common_slides(run, cell->n_seeds);
    g_autofree double *slides = slide_means(run, MAX(1, cell->n_seeds), ids);
    cell->n_slides = ids->len;
    cell->mean = inf_mean(slides, ids->len);
    cell->std = inf_std(slides, ids->len);
    cell->seed_std = inf_std(means, cell->n_seeds);
    if (base >= 0) {
        GHashTable **others = row_tables(e, table, (guint)base, budget, metric);
        compare(values, others, n, cell);
        tables_free(others, n);
    }
    tables_free(values, n);
}

void exp_cell_clear(exp_cell *cell)
{
    g_free(cell->by_seed);
    g_free(cell->p_by_seed);
}
