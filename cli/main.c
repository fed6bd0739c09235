/* quadslide: the registry of commands and the way into them. */
#include "cli/cli.h"
#include "kernels/cuda/cuda.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern const cli_command cli_cmd_info, cli_cmd_synth, cli_cmd_cohort, cli_cmd_tile, cli_cmd_status,
    cli_cmd_check, cli_cmd_train, cli_cmd_predict, cli_cmd_eval, cli_cmd_report, cli_cmd_view,
    cli_cmd_export, cli_cmd_experiment, cli_cmd_plan, cli_cmd_selftest, cli_cmd_bench;

/* One line a command, in the order in which a newcomer would use them. */
static const cli_command *const commands[] = {
    &cli_cmd_info,
    &cli_cmd_synth,
    &cli_cmd_cohort,
    &cli_cmd_plan,
    &cli_cmd_tile,
    &cli_cmd_status,
    &cli_cmd_check,
    &cli_cmd_train,
    &cli_cmd_predict,
    &cli_cmd_eval,
    &cli_cmd_experiment,
    &cli_cmd_report,
    &cli_cmd_view,
    &cli_cmd_export,
    &cli_cmd_selftest,
    &cli_cmd_bench,
    NULL,
};

static void on_stop_signal(int number)
{
    (void)number;
    qs_stop_request();
}

/* SIGINT and SIGTERM ask for a clean stop; the second one ends the program at once. */
static void install_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of the write, which says the file */
}

/* Waiting threads of the engine's OpenMP team sleep instead of spinning: where other programs run,
 * two spinning threads trained at a fifth of the speed (2.5 against 14 patches/s). libgomp reads
 * the environment before main, so the program starts itself once more; who sets the policy keeps
 * it. */
static void calm_team(char **argv)
{
    if (g_getenv("OMP_WAIT_POLICY") || g_getenv("GOMP_SPINCOUNT"))
        return;
    g_setenv("OMP_WAIT_POLICY", "passive", TRUE);
    execv("/proc/self/exe", argv);
}

static void print_help(FILE *to)
{
    fprintf(to,
            "quadslide %s: from whole slides and a few outlines to slide masks (MetaSSL)\n\n"
            "Usage: quadslide COMMAND [OPTION…]\n\nCommands:\n",
            QS_VERSION);
    for (int i = 0; commands[i]; i++)
        fprintf(to, "  %-10s  %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "\n`quadslide COMMAND --help` explains each. Every command takes --config FILE (an "
                "INI file:\n"
                "sections named as the commands, keys as the options; the command line wins),\n"
                "--log-json FILE, --quiet and --verbose.\n"
                "Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but some slides failed.\n");
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    setlocale(LC_NUMERIC, "C"); /* numbers in files and options are the same everywhere */
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return CLI_DONE;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("quadslide %s\n", QS_VERSION);
        return CLI_DONE;
    }
#ifdef QS_HAVE_CUDA
    kn_cuda_register();
#endif
    for (int i = 0; commands[i]; i++) {
        if (!strcmp(commands[i]->name, argv[1])) {
            if (commands[i]->computes)
                calm_team(argv);
            install_signals();
            return commands[i]->run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "quadslide: there is no command \"%s\"; `quadslide --help` lists them\n",
            argv[1]);
    return CLI_USAGE;
}
