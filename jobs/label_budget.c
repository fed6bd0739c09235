/* See label_budget.h. The order is by a hash of seed and case name, so it depends neither on the
 * order of the cohort nor on cases that come later. */
#include "jobs/label_budget.h"

#include "base/error.h"
#include "base/rng.h"

#include <string.h>

enum { STREAM_LABEL_BUDGET = 0x6c62 }; /* "lb": no other stream of a run has this purpose */

typedef struct {
    char *name; /* borrowed */
    uint64_t rank;
} ranked_case;

job_label_budget job_label_budget_of(const tr_options *options)
{
    return (job_label_budget){.n_cases = options->labelled_cases,
                              .pool = options->label_pool,
                              .seed = options->label_seed >= 0 ? (uint64_t)options->label_seed
                                                               : options->seed};
}

/* A slide without a case is a case of its own. */
static char *case_of(const db_slide *slide)
{
    return slide->case_id && *slide->case_id ? slide->case_id : slide->path;
}

static bool in_pool(const job_label_budget *budget, const db_slide *slide)
{
    return slide->split == DB_SPLIT_TRAIN &&
           (budget->pool == TR_LABELS_MASKED ? slide->mask_path != NULL : slide->labelled);
}

static uint64_t rank_of(uint64_t seed, const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *p = name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    qs_rng rng;
    qs_rng_init(&rng, seed, qs_rng_stream_id(STREAM_LABEL_BUDGET, hash, 0));
    return qs_rng_u64(&rng);
}

static int by_rank(gconstpointer a, gconstpointer b)
{
    const ranked_case *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return strcmp(x->name, y->name);
}

static GArray *ranked_pool(const job_label_budget *budget, const GArray *slides)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GArray *cases = g_array_new(FALSE, FALSE, sizeof(ranked_case));
    for (guint i = 0; i < slides->len; i++) {
        const db_slide *slide = &g_array_index(slides, db_slide, i);
        ranked_case item = {.name = case_of(slide)};
        if (!in_pool(budget, slide) || !g_hash_table_add(seen, item.name))
            continue;
        item.rank = rank_of(budget->seed, item.name);
        g_array_append_val(cases, item);
    }
    g_array_sort(cases, by_rank);
    return cases;
}

bool job_label_budget_apply(const job_label_budget *budget, GArray *slides, GError **error)
{
    if (budget->n_cases == 0 && budget->pool == TR_LABELS_LABELLED)
        return true;
    g_autoptr(GArray) cases = ranked_pool(budget, slides);
    guint n = budget->n_cases == 0 ? cases->len : (guint)budget->n_cases;
    if (n > cases->len) {
        g_set_error(error, QS_ERROR, QS_ERROR_ARG, "--labelled-cases %u: only %u training cases %s",
                    n, cases->len,
                    budget->pool == TR_LABELS_MASKED
                        ? "have a mask"
                        : "are marked labelled (--label-pool masked takes every case with a mask)");
        return false;
    }
    g_autoptr(GHashTable) chosen = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < n; i++)
        g_hash_table_add(chosen, g_array_index(cases, ranked_case, i).name);
    for (guint i = 0; i < slides->len; i++) {
        db_slide *slide = &g_array_index(slides, db_slide, i);
        if (slide->split == DB_SPLIT_TRAIN)
            slide->labelled =
                in_pool(budget, slide) && g_hash_table_contains(chosen, case_of(slide));
    }
    return true;
}
