/* quadslide experiment: every run that a key file asks for, and the tables that compare them. */
#include "cli/cli.h"
#include "experiment/experiment.h"
#include "base/file.h"

#include <math.h>
#include <string.h>

extern const cli_command cli_cmd_experiment, cli_cmd_tile, cli_cmd_predict, cli_cmd_eval;

static exp_overrides given;
static gboolean opt_dry_run, opt_tables, opt_commands;

static const GOptionEntry entries[] = {
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &given.out, "Folder of the results", "DIR"},
    {"cohort", 'c', 0, G_OPTION_ARG_FILENAME, &given.cohort, "The cohort, tiled when it is not yet",
     "FILE"},
    {"store", 's', 0, G_OPTION_ARG_FILENAME, &given.store, "The store (OUT/store)", "DIR"},
    {"jobs", 'j', 0, G_OPTION_ARG_INT, &given.jobs, "Runs at once; they share the threads (1)",
     "N"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &given.threads,
     "Threads of all runs together (all cores)", "N"},
    {"set", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.set,
     "Instead of what the file says, as train.iterations=500; may be repeated",
     "SECTION.KEY=VALUE"},
    {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &opt_dry_run,
     "List the runs, what is done and what is left; run nothing", NULL},
    {"tables", 0, 0, G_OPTION_ARG_NONE, &opt_tables,
     "Write the tables of what is done; run nothing", NULL},
    {"commands", 0, 0, G_OPTION_ARG_NONE, &opt_commands,
     "Print the trainings that are left, to be run elsewhere; run nothing", NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "FILE is a key file: [experiment] names data, methods, losses, label budgets and seeds; "
    "[tile], "
    "[train], [predict]\n"
    "and [eval] hold options of those commands; each [ablation NAME] is a table whose keys are its "
    "rows, sets of\n"
    "train options. Paths in it are relative to it. docs/experiments-howto.md explains every "
    "key.\n\n"
    "Runs that are in the store are never repeated; after a stop or a kill the same command goes "
    "on, the run at hand\n"
    "from its checkpoint. OUT has report.html, tables.txt, tables.csv, scores.csv (every score of "
    "every slide) and runs/.\n\n"
    "Exit status: 0 all runs done, 3 some failed, 1 all failed or stopped, 2 wrong usage or a "
    "mistake in FILE.";

/* What the runs' commands read as their --config, and a record of what was asked for. */
static bool write_settings(const experiment *e, GError **error)
{
    g_autofree char *path = g_build_filename(e->out, "experiment.ini", NULL);
    gsize n;
    g_autofree char *text = g_key_file_to_data(e->keys, &n, NULL);
    return qs_file_replace(path, text, n, error);
}

/* The options of the commands that the experiment runs. */
static bool check_section(const char *path, GKeyFile *keys, const char *name, GError **error)
{
    const cli_command *const commands[] = {&cli_cmd_tile, &cli_cmd_predict, &cli_cmd_eval};
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i]->name, name))
            return cli_config_check(path, keys, name, commands[i]->entries, error);
    return true;
}

/* Every budget of every run can be drawn: said before the first hour is spent. */
static bool check_budgets(const experiment *e, GError **error)
{
    for (guint i = 0; i < e->runs->len; i++) {
        const exp_run *run = e->runs->pdata[i];
        const job_label_budget budget = exp_budget(e, run);
        g_autoptr(GArray) slides = db_slide_list(e->store, error);
        if (!slides)
            return false;
        if (job_label_budget_apply(&budget, slides, error))
            continue;
        g_prefix_error(error, "%s: [experiment] budgets=%d: ", e->file, run->budget);
        return false;
    }
    return true;
}

static bool has_split(const experiment *e, GError **error)
{
    g_autoptr(GArray) slides = db_slide_list(e->store, error);
    guint n = 0, n_val = 0;
    for (guint i = 0; slides && i < slides->len; i++) {
        const db_slide *slide = &g_array_index(slides, db_slide, i);
        n += !strcmp(db_split_name(slide->split), e->test_split);
        n_val += slide->split == DB_SPLIT_VAL && (slide->mask_path || slide->truth_path);
    }
    if (slides && n == 0)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: [experiment] test=%s: no slide of %s is in that split", e->file,
                    e->test_split, e->store_dir);
    else if (slides && e->best && n_val == 0)
        g_set_error(error, QS_ERROR, QS_ERROR_ARG,
                    "%s: [experiment] model=best: no slide of %s is in split val with a mask, so "
                    "no model can be chosen; say model=last",
                    e->file, e->store_dir);
    return slides && n > 0 && (!e->best || n_val > 0);
}

static bool open_store(experiment *e, bool tile, GError **error)
{
    if (tile && e->cohort && !exp_tile(e, error)) {
        g_prefix_error(error, "%s: ", e->cohort);
        return false;
    }
    e->store = db_store_open(e->store_dir, false, error);
    if (!e->store)
        return false;
    return (e->cohort || exp_write_cohort(e, error)) && has_split(e, error) &&
           check_budgets(e, error) && exp_find_noise(e, error) && exp_find_done(e, error);
}

/* Nothing is made: neither folder nor store nor patches. */
static int dry_run(experiment *e)
{
    GError *error = NULL;
    if (g_file_test(e->store_dir, G_FILE_TEST_IS_DIR)) {
        e->store = db_store_open(e->store_dir, true, &error);
        if (!e->store || !has_split(e, &error) || !check_budgets(e, &error) ||
            !exp_find_noise(e, &error) || !exp_find_done(e, &error))
            return cli_fail(error);
    } else {
        cli_print("%s is not there yet: the cohort is tiled first\n", e->store_dir);
    }
    g_autofree char *text = exp_plan_text(e);
    cli_print("%s", text);
    return CLI_DONE;
}

static void tables_after_run(experiment *e)
{
    GError *error = NULL;
    if (exp_tables_write(e, &error))
        return;
    qs_warn("%s", error->message);
    g_error_free(error);
}

static int finish(experiment *e)
{
    guint n_done = 0, n_failed = 0;
    GError *error = NULL;
    if (!exp_tables_write(e, &error) || !exp_page_write(e, &error))
        return cli_fail(error);
    g_autofree char *text = exp_tables_text(e);
    cli_print("%s", text);
    for (guint i = 0; i < e->runs->len; i++) {
        const exp_run *run = e->runs->pdata[i];
        n_done += run->state == EXP_DONE;
        n_failed += run->state == EXP_FAILED;
        if (run->state == EXP_FAILED)
            cli_print("failed: %s: %s\n", run->name, run->problem);
    }
    if (!qs_stop_check(&error))
        return cli_fail(error);
    return n_failed == 0 ? CLI_DONE : n_done > 0 ? CLI_PARTLY : CLI_FAILED;
}

static int print_commands(experiment *e)
{
    GError *error = NULL;
    g_autofree char *text = exp_commands(e, &error);
    if (!text)
        return cli_fail(error);
    cli_print("%s", text);
    return CLI_DONE;
}

static int execute(experiment *e)
{
    GError *error = NULL;
    g_autofree char *lock_path = g_build_filename(e->out, "lock", NULL);
    qs_file *lock = NULL;
    int status = CLI_FAILED;
    bool ok = qs_dir_create(e->out, &error) &&
              (lock = qs_file_open(lock_path, QS_FILE_UPDATE, &error)) != NULL &&
              qs_file_lock(lock, &error) && write_settings(e, &error) &&
              open_store(e, !opt_tables, &error);
    if (ok && !opt_tables && !opt_commands) {
        exp_crew_run(e, tables_after_run, cli_progress(), &error);
        g_clear_error(&error); /* a stop: finish says it */
    }
    status = !ok ? cli_fail(error) : opt_commands ? print_commands(e) : finish(e);
    qs_file_close(lock, NULL);
    return status;
}

static int run_experiment(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_experiment, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status == -1 ? CLI_DONE : status;
    if (!rest[0] || rest[1])
        return cli_usage("give one key file");
    if (given.jobs < 0 || given.threads < 0)
        return cli_usage("--jobs and --threads are 1 or more");
    GError *error = NULL;
    experiment *e = exp_load(rest[0], &given, check_section, &error);
    if (!e)
        return cli_fail(error);
    status = opt_dry_run ? dry_run(e) : execute(e);
    exp_free(e);
    return status;
}

const cli_command cli_cmd_experiment = {
    .name = "experiment",
    .arguments = "FILE [--jobs N] [--dry-run]",
    .summary = "methods × losses × label budgets × seeds: runs, resumes, compares",
    .run = run_experiment,
};
