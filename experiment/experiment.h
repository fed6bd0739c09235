/* An experiment: a key file that names data, methods, losses, label budgets, seeds and ablations,
 * and the runs that follow from it. Shared by the files of `quadslide experiment` only.
 *
 *   file ─ exp_load ─► tables of rows of runs ─ exp_find_done ─► what is left ─ exp_crew_run ─►
 *   rows and metrics in the store ─ exp_tables_… ─► text, CSV, page
 *
 * Two rows may share a run (the plain default is also a row of every ablation): a run is what it
 * trains, not where it is shown. */
#ifndef QS_EXPERIMENT_EXPERIMENT_H
#define QS_EXPERIMENT_EXPERIMENT_H

#include "base/report.h"
#include "jobs/label_budget.h"
#include "db/store.h"
#include "train/plan/options.h"

typedef enum { EXP_TODO, EXP_RUNNING, EXP_DONE, EXP_FAILED, EXP_STOPPED } exp_state;

/* One training with its evaluation. */
typedef struct {
    char *name; /* of the folder below OUT/runs, without the number that tells versions apart */
    char *dir;  /* NULL until a folder is found or made */
    const ssl_method *method;
    tr_loss loss;
    int budget; /* labelled cases; 0: all that the cohort marks */
    uint64_t seed;
    char *variant;    /* "phi.linear"; NULL: of the main table */
    GPtrArray *set;   /* of "name=value", in order: [train], then the variant; owned */
    char *train_text; /* name=value lines of all that decides the weights */
    int64_t iterations;
    double cost; /* of the whole training: passes of one patch, a backward pass counts two */

    exp_state state;
    int64_t iteration; /* steps done, as far as is known */
    char *stage;       /* "train", "predict test" … of a running one */
    char *problem;     /* of a failed one */
    GArray *measures;  /* of db_measure: of a done one */
} exp_run;

typedef struct {
    char *label; /* "MT + MetaSSL", "phi linear" */
    int base;    /* index of the row that it is tested against; -1: none */
    guint *runs; /* (budgets, seeds) of the table, indices of runs */
} exp_row;

typedef struct {
    char *name;      /* "methods", or of the ablation */
    GArray *budgets; /* of int, as asked for */
    GArray *seeds;   /* of uint64_t */
    GArray *rows;    /* of exp_row */
} exp_table;

typedef struct {
    char *file, *name;
    char *out, *store_dir;
    char *cohort; /* NULL: made from the store, OUT/cohort.csv */
    GKeyFile *keys;
    GPtrArray *tables; /* of exp_table */
    GPtrArray *runs;   /* of exp_run */
    bool noisy;        /* labelled training slides have a truth beside their annotation */
    bool best;         /* evaluates best.safetensors, else last.safetensors */
    char *test_split;
    char *eval_text; /* what decides the scores, given the weights */
    GArray *steps;   /* of int64_t: iterations whose pictures the page shows; empty: its choice */
    int jobs, threads;
    db_store *store;
} experiment;

/* What the command line may say instead of the file; NULL or 0: nothing. */
typedef struct {
    const char *out, *store, *cohort;
    char **set; /* "group.key=value" */
    int jobs, threads;
} exp_overrides;

/* ---- experiment_file.c ---- */
/* Are the keys of section `command` of key file `path` options of that command, with values of their
 * kind? QS_ERROR_ARG names file, section, key and value. */
typedef bool (*exp_section_check)(const char *path, GKeyFile *keys, const char *command,
                                  GError **error);
/* Reads and checks everything that can be known without the data. QS_ERROR_ARG with file, group,
 * key and value. `check` knows the options of tile, predict and eval; NULL: any key passes. */
experiment *exp_load(const char *file, const exp_overrides *overrides, exp_section_check check,
                     GError **error);
void exp_free(experiment *e);

/* ---- experiment_done.c: what the store and the folders know ---- */
/* Marks runs that are in the store with their measures, and those that have a folder. */
bool exp_find_done(experiment *e, GError **error);
/* The folder of a run that is to be trained: an old one of the same options, or a new one, with the
 * note that says so. */
bool exp_claim_dir(const experiment *e, exp_run *run, GError **error);
/* A finished run into the store: its row, its numbers, the scores of each slide. */
bool exp_record(experiment *e, exp_run *run, GError **error);
/* Did the training of the folder come to its end? *iteration: how far it came. */
bool exp_is_trained(const exp_run *run, int64_t *iteration);
/* The first value of a measure of the whole run; NaN where there is none. */
double exp_measure(const exp_run *run, const char *name);

/* ---- experiment_cohort.c: manifests that are made from the store ---- */
/* OUT/cohort.csv of a store that came without one. */
bool exp_write_cohort(experiment *e, GError **error);
/* The training slides that a run learns the labels of, as RUN/labelled.csv. */
bool exp_write_labelled(const experiment *e, const exp_run *run, GError **error);
/* Sets `noisy`, and the eval text by it. */
bool exp_find_noise(experiment *e, GError **error);
/* The label budget of a run. */
job_label_budget exp_budget(const experiment *e, const exp_run *run);

/* ---- commands.c ---- */
/* Options of `train` for a run, but for store, folder and threads. Owned, strings too. */
GPtrArray *exp_train_arguments(const experiment *e, const exp_run *run);
/* The trainings that are left, one a line: the run's folder below OUT/runs and its options, with tabs
 * between. Makes the folders, with the note of what they are for. Owned. */
char *exp_commands(experiment *e, GError **error);

/* ---- experiment_crew.c: runs the trainings ---- */
/* Cuts every slide of the cohort into the store, by `quadslide tile`. */
bool exp_tile(experiment *e, GError **error);
/* Runs what is left, `jobs` at once. False on a stop request only; failed runs are marked and said.
 * `finished` is called after each, from one thread at a time; progress (NULL none) of iterations. */
bool exp_crew_run(experiment *e, void (*finished)(experiment *e), const qs_progress *progress,
                  GError **error);

/* ---- experiment_time.c ---- */
/* Seconds that a run still takes on its own, by what others took; NaN when nothing is known. */
double exp_seconds_left(const experiment *e, const exp_run *run);
/* Of everything, with `jobs` at once. */
double exp_seconds_all(const experiment *e);
/* The runs, what is done and what is left, a line each; owned. */
char *exp_plan_text(const experiment *e);

/* ---- experiment_score.c: one cell of a table ---- */
typedef struct {
    guint n_seeds, n_slides;
    double mean, std;  /* over slides, of each slide's mean over seeds */
    double seed_std;   /* over seeds, of the mean over slides; NaN for one seed */
    double diff, p;    /* against the base row, paired over slides; NaN without */
    double *by_seed;   /* (seeds of the table): mean over slides; NaN where not run */
    double *p_by_seed; /* of the base row's run of the same seed */
} exp_cell;
void exp_cell_compute(const experiment *e, const exp_table *table, guint row, guint budget,
                      const char *metric, exp_cell *cell);
void exp_cell_clear(exp_cell *cell);

/* ---- experiment_tables.c ---- */
/* OUT/tables.txt, tables.csv and scores.csv. */
bool exp_tables_write(const experiment *e, GError **error);
/* The text of tables.txt; owned. */
char *exp_tables_text(const experiment *e);
/* What the numbers are, in a few sentences. */
const char *exp_tables_note(const experiment *e);
/* Where labels are noisy: the four DSC that are compared. */
enum { EXP_N_NOISE = 4 };
typedef struct {
    const char *name, *label;
} exp_noise_column;
extern const exp_noise_column exp_noise_columns[EXP_N_NOISE];
/* Metrics that tables for people show, of those that were measured; the CSV has all. */
typedef struct {
    char name[64]; /* "test_dsc" */
    const char *label, *unit;
} exp_shown;
guint exp_shown_metrics(const experiment *e, exp_shown *shown, guint room);
/* Mean over the row's runs of a number of the whole run; NaN when no run has it. */
double exp_row_mean(const experiment *e, const exp_table *table, const exp_row *row, guint budget,
                    const char *name);

/* ---- experiment_page.c ---- */
/* OUT/report.html. */
bool exp_page_write(const experiment *e, GError **error);

#endif
