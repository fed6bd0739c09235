/* How an experiment's key file is read: private to experiment_file.c (the file),
 * experiment_values.c (its values) and experiment_runs.c (the runs that follow from them).
 *
 * Every mistake is said as "FILE: [SECTION] KEY=VALUE: way out". */
#ifndef QS_EXPERIMENT_READ_H
#define QS_EXPERIMENT_READ_H

#include "experiment/experiment.h"

/* A method with one loss: an item of `methods`, "MT" or "SL/plain". */
typedef struct {
    const ssl_method *method;
    tr_loss loss;
} exp_arm;

/* Everything while a file is read. */
typedef struct {
    experiment *e;
    const char *group;   /* that messages name */
    GHashTable *by_text; /* train_text → index of its run + 1 */
} exp_reader;

extern const char exp_main_group[];
/* Options of `train` that are the command's and not the trainer's. NULL-terminated. */
extern const char *const exp_command_options[];

/* ---- values of r->group ----------------------------------------------------------------- */
bool exp_fail(const exp_reader *r, const char *group, const char *key, const char *value,
              GError **error, const char *way_out);
bool exp_known(const char *const *names, const char *name);
/* Stripped; NULL when the key is not there. */
char *exp_get(const exp_reader *r, const char *key);
/* The items of a list, stripped, empty ones left out; NULL when the key is not there. */
GStrv exp_get_list(const exp_reader *r, const char *key);
bool exp_get_count(const exp_reader *r, const char *key, int override, int *value, GError **error);
/* Paths of the file are relative to its folder, those of the command line to where it was typed. */
char *exp_get_path(const exp_reader *r, const char *key, const char *override);
bool exp_get_budgets(const exp_reader *r, GArray *budgets, GError **error); /* of int; 0: all */
bool exp_get_seeds(const exp_reader *r, GArray *seeds, GError **error);     /* of uint64_t */
bool exp_get_steps(const exp_reader *r, GArray *steps, GError **error);     /* of int64_t */
/* methods × losses, of exp_arm; an item METHOD/LOSS has that loss only. NULL on error. */
GArray *exp_get_arms(const exp_reader *r, const char *default_losses, GError **error);
const char *exp_loss_name(tr_loss loss);

/* ---- runs ------------------------------------------------------------------------------- */
void exp_run_free(gpointer run);
/* The options of [train] as "name=value". NULL on error. */
GPtrArray *exp_train_section(exp_reader *r, GError **error);
/* "name=value; name=value; flag" of a row of an ablation. NULL on error. */
GPtrArray *exp_variant_options(const exp_reader *r, const char *key, GError **error);
char *exp_arm_label(const exp_arm *a);
/* A row of `table`, with a run for each of its budgets and seeds; runs of the same training are
 * shared with other rows. Takes `label`. `options` go after the `section`'s; NULL: none. */
bool exp_add_row(exp_reader *r, exp_table *table, const exp_arm *a, char *label, int base,
                 const char *variant, const GPtrArray *section, const GPtrArray *options,
                 GError **error);

#endif
