/* What every command shares: option parsing, failure, output and the JSON log. */
#include "cli/cli_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *command_name = "";
static gboolean opt_quiet, opt_verbose;
static char *opt_log_json;
static FILE *json_log;
static GMutex json_lock;

static void on_log(void *user, qs_log_level level, const char *text)
{
    (void)user;
    if (level == QS_LOG_DEBUG && !opt_verbose)
        return;
    if (level == QS_LOG_INFO && opt_quiet)
        return;
    cli_progress_end();
    fprintf(stderr, "quadslide %s: %s%s\n", command_name,
            level == QS_LOG_WARNING ? "warning: " : "", text);
    g_autofree char *quoted = qs_json_escape(text);
    cli_log_json(level == QS_LOG_WARNING ? "warning" : "log", "\"text\":\"%s\"", quoted);
}

static void on_event(void *user, const char *event, const char *members)
{
    (void)user;
    cli_log_json(event, "%s", members);
}

/* --config is looked for before GOption runs, because it supplies arguments to it. */
static const char *find_config(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (g_str_has_prefix(argv[i], "--config="))
            return argv[i] + strlen("--config=");
        if (!strcmp(argv[i], "--config") && i + 1 < argc)
            return argv[i + 1];
    }
    return NULL;
}

static GOptionContext *make_context(const cli_command *command, const GOptionEntry *entries,
                                    const char *description, char **config)
{
    const GOptionEntry common[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, config,
         "Read options from section [command] of FILE", "FILE"},
        {"log-json", 0, 0, G_OPTION_ARG_FILENAME, &opt_log_json,
         "Append one JSON object a line to FILE", "FILE"},
        {"quiet", 'q', 0, G_OPTION_ARG_NONE, &opt_quiet,
         "No progress, no notes; warnings and results only", NULL},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &opt_verbose, "Say more", NULL},
        G_OPTION_ENTRY_NULL};
    GOptionContext *context = g_option_context_new(command->arguments);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, common, NULL);
    g_option_context_set_summary(context, command->summary);
    if (description)
        g_option_context_set_description(context, description);
    g_option_context_set_help_enabled(context, FALSE);
    return context;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            return true;
    return false;
}

int cli_parse(const cli_command *command, const GOptionEntry *entries, const char *description,
              int *argc, char ***argv, char ***rest)
{
    command_name = command->name;
    g_autofree char *program = g_strdup_printf("quadslide %s", command->name);
    g_set_prgname(program);
    qs_log_set_handler(on_log, NULL);
    qs_event_set_handler(on_event, NULL);
    g_autofree char *config = NULL;
    g_autoptr(GOptionContext) context = make_context(command, entries, description, &config);
    if (wants_help(*argc, *argv)) {
        g_autofree char *help = g_option_context_get_help(context, TRUE, NULL);
        fputs(help, stdout);
        return -1;
    }
    GError *error = NULL;
    const char *config_path = find_config(*argc, *argv);
    /* GOption edits the vector it parses; give it a copy of ours that it may keep. */
    g_auto(GStrv) args = g_new0(char *, (gsize)*argc + 1);
    int n_args = *argc;
    for (int i = 0; i < n_args; i++)
        args[i] = g_strdup((*argv)[i]);
    if (config_path &&
        !cli_config_merge(config_path, command->name, entries, &n_args, &args, &error)) {
        cli_fail(error);
        return CLI_USAGE;
    }
    if (!g_option_context_parse_strv(context, &args, &error)) {
        fprintf(stderr, "quadslide %s: %s; `quadslide %s --help` shows the options\n",
                command->name, error->message, command->name);
        g_error_free(error);
        return CLI_USAGE;
    }
    cli_progress_set_quiet(opt_quiet);
    if (opt_log_json && !cli_log_json_open(opt_log_json, &error)) {
        cli_fail(error);
        return CLI_USAGE;
    }
    guint n = g_strv_length(args), first = 1;
    if (n > 1 && !strcmp(args[1], "--"))
        first = 2;
    char **remaining = g_new0(char *, n - MIN(first, n) + 1);
    for (guint i = first; i < n; i++)
        remaining[i - first] = g_strdup(args[i]);
    *rest = remaining;
    return CLI_DONE;
}

int cli_fail(GError *error)
{
    cli_progress_end();
    int status = g_error_matches(error, QS_ERROR, QS_ERROR_ARG) ? CLI_USAGE : CLI_FAILED;
    fprintf(stderr, "quadslide %s: %s\n", command_name, error->message);
    g_autofree char *quoted = qs_json_escape(error->message);
    cli_log_json("error", "\"text\":\"%s\"", quoted);
    g_error_free(error);
    return status;
}

int cli_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "quadslide %s: ", command_name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; `quadslide %s --help` shows the options\n", command_name);
    va_end(args);
    return CLI_USAGE;
}

void cli_print(const char *format, ...)
{
    cli_progress_end();
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

bool cli_log_json_open(const char *path, GError **error)
{
    json_log = fopen(path, "a");
    if (!json_log)
        qs_set_error_errno(error, errno, "%s: cannot be opened for writing (--log-json)", path);
    return json_log != NULL;
}

void cli_log_json(const char *event, const char *format, ...)
{
    if (!json_log)
        return;
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *stamp = g_date_time_format_iso8601(now);
    va_list args;
    va_start(args, format);
    g_autofree char *members = g_strdup_vprintf(format, args);
    va_end(args);
    g_mutex_lock(&json_lock);
    fprintf(json_log, "{\"time\":\"%s\",\"command\":\"%s\",\"event\":\"%s\"%s%s}\n", stamp,
            command_name, event, *members ? "," : "", members);
    fflush(json_log);
    g_mutex_unlock(&json_lock);
}
