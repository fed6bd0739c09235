/* The command line: one file per command, a registry in main.c. Only here does the program print,
 * parse arguments or exit. Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but some slides
 * failed. */
#ifndef QS_CLI_CLI_H
#define QS_CLI_CLI_H

#include "base/error.h"
#include "base/report.h"
#include "base/text.h"
#include "jobs/exit.h"

enum {
    CLI_DONE = JOB_EXIT_DONE,
    CLI_FAILED = JOB_EXIT_FAILED,
    CLI_USAGE = JOB_EXIT_USAGE,
    CLI_PARTLY = JOB_EXIT_PARTLY
};

typedef struct {
    const char *name, *arguments,
        *summary; /* "tile", "--store S … | SLIDE…", "slides into patches" */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    bool computes;                     /* runs the engine: its team's waiting is set up first */
    const GOptionEntry *entries; /* its own options, for key files that hold them (optional) */
} cli_command;

/* Parses with GOption: prints help and errors itself. `entries` NULL-terminated; `summary` is the
 * text above the options, `description` below it. Also handles the options every command has:
 * --config FILE (key file, section = command, keys = options; the command line wins), --log-json
 * FILE, --quiet,
 * --verbose. On success the rest of the arguments is in *rest (NULL-terminated, owned). Returns
 * CLI_DONE to go on, -1 when help was printed (exit 0), CLI_USAGE. */
int cli_parse(const cli_command *command, const GOptionEntry *entries, const char *description,
              int *argc, char ***argv, char ***rest);

/* Checks section `section` of a key file that was read from `path` against a command's options:
 * names and kinds of values. QS_ERROR_ARG names file, section, key and value. */
bool cli_config_check(const char *path, GKeyFile *file, const char *section,
                      const GOptionEntry *entries, GError **error);

/* Prints "quadslide COMMAND: <message>" to stderr and returns CLI_FAILED (CLI_USAGE for
 * QS_ERROR_ARG). Frees error. */
int cli_fail(GError *error);
int cli_usage(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* A progress sink on stderr: a bar with ETA on a terminal, a line now and then otherwise. */
const qs_progress *cli_progress(void);
/* Ends a bar's line before other output. */
void cli_progress_end(void);
/* Results go to stdout. */
void cli_print(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* One JSON object per line to --log-json, when given: event name and printf'd JSON members without
 * braces. */
void cli_log_json(const char *event, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Help of --reader, which several commands have. */
#define CLI_READER_HELP                                                                            \
    "Pixels by: openslide, direct (its tiles themselves), auto (direct where equal)"

#endif
