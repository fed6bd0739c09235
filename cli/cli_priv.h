/* Shared by the files of the command-line core only. */
#ifndef QS_CLI_CLI_PRIV_H
#define QS_CLI_CLI_PRIV_H

#include "cli/cli.h"

/* Inserts the options of section `command` of the key file `path` before the user's own, so that
 * the latter win. *argv, an owned NULL-terminated vector, is replaced by another; on error it
 * stays. A key that is no option of the command, and a section that is no command, are reported by
 * GOption and here by name. */
bool cli_config_merge(const char *path, const char *command, const GOptionEntry *entries, int *argc,
                      char ***argv, GError **error);

void cli_progress_set_quiet(bool quiet);
bool cli_log_json_open(const char *path, GError **error);

#endif
