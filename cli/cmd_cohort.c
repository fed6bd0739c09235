/* quadslide cohort: manifests made from data sets, and the leak guard. */
#include "base/file.h"
#include "cli/cli.h"
#include "wsi/cohort.h"

#include <string.h>

extern const cli_command cli_cmd_cohort;

static char *opt_out;
static double opt_val = 0.1, opt_test = 0.2, opt_labelled = 1;
static int opt_seed = 1;
static gboolean opt_content;

static const GOptionEntry entries[] = {
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &opt_out, "The manifest to write (cohort.csv)", "FILE"},
    {"val-share", 0, 0, G_OPTION_ARG_DOUBLE, &opt_val, "Share of the images for validation (0.1)",
     "X"},
    {"test-share", 0, 0, G_OPTION_ARG_DOUBLE, &opt_test, "Share of the images for test (0.2)", "X"},
    {"labelled-share", 0, 0, G_OPTION_ARG_DOUBLE, &opt_labelled,
     "Share of the training images that count as labelled (1)", "X"},
    {"seed", 's', 0, G_OPTION_ARG_INT, &opt_seed, "Seed of the split (1)", "N"},
    {"content", 0, 0, G_OPTION_ARG_NONE, &opt_content,
     "check: read every slide and look for equal content under two names", NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "cohort digestpath DIR   finds [<case>_]<YYYY-MM-DD HH_MM_SS>-lv1-<x>-<y>-<w>-<h>.jpg with "
    "…_mask.jpg beside it\n"
    "                        below DIR and splits by case: the prefix before the date where there "
    "is one, else the\n"
    "                        date stamp. Shares are met as nearly as whole cases allow.\n"
    "cohort check FILE       reads a manifest as every command does (columns, values, a case or a "
    "slide in two\n"
    "                        splits) and looks for the files that it names.\n\n"
    "A manifest has the header slide,mask,case,split,labelled,mpp[,truth]; paths are relative to\n"
    "the file.";

static void print_counts(const char *path, const wsi_cohort *cohort)
{
    int n[3] = {0}, n_labelled[3] = {0};
    g_autoptr(GHashTable) cases = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        n[row->split]++;
        n_labelled[row->split] += row->labelled;
        g_hash_table_add(cases, row->case_id);
    }
    cli_print("%s: %u slides of %u cases: ", path, cohort->rows->len, g_hash_table_size(cases));
    for (int s = 0; s < 3; s++)
        cli_print("%s%d %s (%d labelled)", s ? ", " : "", n[s], wsi_split_name((wsi_split)s),
                  n_labelled[s]);
    cli_print("; no case and no slide in two splits\n");
}

static int run_digestpath(const char *dir)
{
    wsi_cohort_split_options options = {.val_share = opt_val,
                                        .test_share = opt_test,
                                        .labelled_share = opt_labelled,
                                        .seed = (unsigned)opt_seed};
    const char *out = opt_out ? opt_out : "cohort.csv";
    GError *error = NULL;
    wsi_cohort *cohort = wsi_cohort_scan_digestpath(dir, &options, &error);
    bool ok = cohort && wsi_cohort_write(cohort, out, &error);
    if (ok)
        print_counts(out, cohort);
    wsi_cohort_destroy(cohort);
    return ok ? CLI_DONE : cli_fail(error);
}

/* Files that are named and are not there. Returns how many. */
static int count_missing(const char *path, const wsi_cohort *cohort)
{
    int n_missing = 0;
    for (guint i = 0; i < cohort->rows->len; i++) {
        const wsi_cohort_row *row = wsi_cohort_get(cohort, i);
        const char *files[] = {row->slide, row->mask, row->truth};
        static const char *const columns[] = {"slide", "mask", "truth"};
        for (int k = 0; k < 3; k++) {
            if (!files[k] || g_file_test(files[k], G_FILE_TEST_EXISTS))
                continue;
            qs_warn("%s:%d: %s '%s' is not there", path, row->line, columns[k], files[k]);
            n_missing++;
        }
    }
    return n_missing;
}

/* The same bytes under two names. False when a slide cannot be read. */
static bool count_copies(const char *path, const wsi_cohort *cohort, int *n_copies, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < cohort->rows->len; i++) {
        wsi_cohort_row *row = &g_array_index(cohort->rows, wsi_cohort_row, i);
        qs_progress_update(cli_progress(), "hash", i, cohort->rows->len, row->slide);
        if (!qs_stop_check(error))
            return false;
        char *hash = qs_file_hash(row->slide, error);
        if (!hash)
            return false;
        const wsi_cohort_row *first = g_hash_table_lookup(seen, hash);
        if (!first) {
            g_hash_table_insert(seen, hash, row);
            continue;
        }
        g_free(hash);
        qs_warn("%s:%d: '%s' (%s) has the same content as '%s' (%s, line %d)", path, row->line,
                row->slide, wsi_split_name(row->split), first->slide, wsi_split_name(first->split),
                first->line);
        (*n_copies)++;
    }
    return true;
}

static int run_check(const char *path)
{
    GError *error = NULL;
    wsi_cohort *cohort = wsi_cohort_read(path, &error);
    if (!cohort)
        return cli_fail(error);
    int n_missing = count_missing(path, cohort), n_copies = 0;
    bool ok = n_missing > 0 || !opt_content || count_copies(path, cohort, &n_copies, &error);
    cli_progress_end();
    if (ok && n_missing > 0)
        g_set_error(&error, QS_ERROR, QS_ERROR_IO, "%s: %d files are missing", path, n_missing);
    else if (ok && n_copies > 0)
        g_set_error(&error, QS_ERROR, QS_ERROR_MISMATCH,
                    "%s: %d slides are there twice under other names; list every slide once", path,
                    n_copies);
    else if (ok)
        print_counts(path, cohort);
    wsi_cohort_destroy(cohort);
    return error ? cli_fail(error) : CLI_DONE;
}

static int run(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_cohort, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (!rest || g_strv_length(rest) != 2)
        return cli_usage("say `cohort digestpath DIR` or `cohort check FILE`");
    if (!strcmp(rest[0], "digestpath"))
        return run_digestpath(rest[1]);
    if (!strcmp(rest[0], "check"))
        return run_check(rest[1]);
    return cli_usage("cohort %s is not known; there are digestpath and check", rest[0]);
}

const cli_command cli_cmd_cohort = {
    .name = "cohort",
    .arguments = "digestpath DIR | check FILE",
    .summary = "write a manifest from a data set, or check one",
    .run = run,
};
