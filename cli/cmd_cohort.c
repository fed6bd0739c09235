/* quadslide cohort: manifests made from data sets, and the leak guard. */
#include "cli/cli.h"
#include "base/error.h"
#include "base/file.h"
#include "wsi/cohort/cohort.h"

#include <glib/gstdio.h>

#include <string.h>

extern const cli_command cli_cmd_cohort;

static char *opt_out, *opt_masks, *opt_suffix, *opt_case;
static double opt_val = 0.1, opt_test = 0.2, opt_labelled = -1;
static int opt_seed = 1, opt_labelled_cases;
static gboolean opt_no_content;

static const GOptionEntry entries[] = {
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &opt_out, "The manifest to write (cohort.csv)", "FILE"},
    {"masks", 'm', 0, G_OPTION_ARG_FILENAME, &opt_masks,
     "pairs, slides: where the masks are (beside the images)", "DIR"},
    {"mask-suffix", 0, 0, G_OPTION_ARG_STRING, &opt_suffix,
     "pairs, slides: what a mask's stem has more than its image's (_mask, _seg, _label …)", "TEXT"},
    {"case", 0, 0, G_OPTION_ARG_STRING, &opt_case,
     "pairs, slides: the case is the name (of a TCGA barcode the patient), the folder, or the "
     "group "
     "of a regular expression in the name (name)",
     "name|folder|REGEX"},
    {"val-share", 0, 0, G_OPTION_ARG_DOUBLE, &opt_val, "Share of the images for validation (0.1)",
     "X"},
    {"test-share", 0, 0, G_OPTION_ARG_DOUBLE, &opt_test, "Share of the images for test (0.2)", "X"},
    {"labelled-share", 0, 0, G_OPTION_ARG_DOUBLE, &opt_labelled,
     "Share of the training images that count as labelled (1)", "X"},
    {"labelled-cases", 0, 0, G_OPTION_ARG_INT, &opt_labelled_cases,
     "So many training cases count as labelled, instead of a share", "N"},
    {"seed", 's', 0, G_OPTION_ARG_INT, &opt_seed, "Seed of the split (1)", "N"},
    {"no-content", 0, 0, G_OPTION_ARG_NONE, &opt_no_content,
     "Do not look for equal content under two names", NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "cohort digestpath DIR   finds [<case>_]<YYYY-MM-DD HH_MM_SS>-lv1-<x>-<y>-<w>-<h>.jpg with "
    "their …_mask.jpg\n"
    "                        below DIR. The case is the prefix before the date where there is one, "
    "else the date stamp.\n"
    "cohort pairs DIR        finds pictures and slides below DIR and their masks or annotation "
    "files "
    "(--masks):\n"
    "                        the same stem, with a mask suffix or without, or a prefix that one of "
    "the "
    "two lacks.\n"
    "cohort slides DIR       finds whole slides below DIR, and masks where there are any.\n"
    "cohort check FILE       reads a manifest and reports every leak (a case, a slide or a content "
    "in "
    "two splits),\n"
    "                        missing files, copies, and base names that occur twice.\n\n"
    "Splits go by case: a case is wholly in one. The same seed gives the same split; a case that "
    "is "
    "added moves few\n"
    "others, and 5 % labelled is a part of 10 %. Shares are met as nearly as whole cases allow. "
    "Slides "
    "of equal size\n"
    "are compared by content: a copy in two splits is an error.\n\n"
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

/* Everything that is wrong, a line each. Returns how many are errors; -1 with *error. */
static int report_findings(const wsi_cohort *cohort, GError **error)
{
    g_autoptr(GArray) findings = wsi_cohort_check(cohort, !opt_no_content, cli_progress(), error);
    int n_errors = 0;
    cli_progress_end();
    if (!findings)
        return -1;
    for (guint i = 0; i < findings->len; i++) {
        const wsi_cohort_finding *f = &g_array_index(findings, wsi_cohort_finding, i);
        g_autofree char *text = qs_json_escape(f->text);
        qs_warn("%s: %s", wsi_cohort_finding_name(f->kind), f->text);
        cli_log_json("finding", "\"kind\":\"%s\",\"text\":\"%s\"", wsi_cohort_finding_name(f->kind),
                     text);
        n_errors += wsi_cohort_finding_is_error(f->kind);
    }
    return n_errors;
}

static bool no_faults(const char *path, const wsi_cohort *cohort, GError **error)
{
    int n = report_findings(cohort, error);
    if (n > 0)
        g_set_error(error, QS_ERROR, QS_ERROR_MISMATCH,
                    n == 1 ? "%s: %d fault, named above" : "%s: %d faults, named above", path, n);
    return n == 0;
}

static int run_check(const char *path)
{
    GError *error = NULL;
    wsi_cohort *cohort = wsi_cohort_read_unguarded(path, &error);
    bool ok = cohort && no_faults(path, cohort, &error);
    if (ok)
        print_counts(path, cohort);
    wsi_cohort_destroy(cohort);
    return ok ? CLI_DONE : cli_fail(error);
}

/* A manifest that is there and says something else may have been worked on by hand: it stays. */
static bool write_manifest(const wsi_cohort *cohort, const char *out, GError **error)
{
    g_autofree char *part = qs_file_part_name(out), *there = NULL, *made = NULL;
    gsize n_there = 0, n_made = 0;
    if (!wsi_cohort_write(cohort, part, error))
        return false;
    bool exists = g_file_get_contents(out, &there, &n_there, NULL);
    bool same = exists && g_file_get_contents(part, &made, &n_made, NULL) && n_made == n_there &&
                !memcmp(made, there, n_made);
    if (!g_file_test(out, G_FILE_TEST_EXISTS))
        return qs_file_rename(part, out, error);
    g_unlink(part);
    if (!same)
        g_set_error(
            error, QS_ERROR, QS_ERROR_ARG,
            "%s: is there already and says something else; it is not replaced: remove it, or name another "
            "file with --out",
            out);
    return same;
}

static int run_scan(const char *layout, const char *dir)
{
    wsi_cohort_split_options options;
    wsi_cohort_split_options_init(&options);
    options.val_share = opt_val;
    options.test_share = opt_test;
    options.labelled_share = opt_labelled < 0 ? 1 : opt_labelled;
    options.labelled_cases = opt_labelled_cases;
    options.seed = (unsigned)opt_seed;
    options.case_rule = opt_case;
    options.mask_suffix = opt_suffix;
    const char *out = opt_out ? opt_out : "cohort.csv";
    GError *error = NULL;
    wsi_cohort *cohort =
        !strcmp(layout, "digestpath") ? wsi_cohort_scan_digestpath(dir, &options, &error)
        : !strcmp(layout, "pairs")    ? wsi_cohort_scan_pairs(dir, opt_masks, &options, &error)
                                      : wsi_cohort_scan_slides(dir, opt_masks, &options, &error);
    bool ok = cohort && no_faults(dir, cohort, &error) && write_manifest(cohort, out, &error);
    if (ok)
        print_counts(out, cohort);
    wsi_cohort_destroy(cohort);
    return ok ? CLI_DONE : cli_fail(error);
}

static const char *find_fault(const char *layout)
{
    bool scans = strcmp(layout, "check") != 0;
    if (opt_labelled_cases && opt_labelled >= 0)
        return "--labelled-share and --labelled-cases: give one of them";
    if (opt_labelled_cases < 0 || opt_labelled > 1 || (opt_labelled < 0 && opt_labelled != -1))
        return "--labelled-share is 0 to 1, --labelled-cases 1 or more";
    if ((opt_masks || opt_suffix || opt_case) && (!scans || !strcmp(layout, "digestpath")))
        return "--masks, --mask-suffix and --case are for pairs and slides";
    return NULL;
}

static int run(int argc, char **argv)
{
    static const char *const layouts[] = {"digestpath", "pairs", "slides", "check", NULL};
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_cohort, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (!rest || g_strv_length(rest) != 2)
        return cli_usage("say `cohort digestpath|pairs|slides DIR` or `cohort check FILE`");
    if (!g_strv_contains(layouts, rest[0]))
        return cli_usage("cohort %s is not known; there are digestpath, pairs, slides and check",
                         rest[0]);
    const char *fault = find_fault(rest[0]);
    if (fault)
        return cli_usage("%s", fault);
    return !strcmp(rest[0], "check") ? run_check(rest[1]) : run_scan(rest[0], rest[1]);
}

const cli_command cli_cmd_cohort = {
    .name = "cohort",
    .arguments = "digestpath|pairs|slides DIR | check FILE",
    .summary = "write a manifest from a data set, or check one",
    .run = run,
};
