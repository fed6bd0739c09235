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

/* These ask for a clean stop, with a checkpoint; the second one ends the program at once. HUP is a closed
 * terminal or laptop (nohup makes it ignored, and it stays so), USR1 and XCPU are batch systems' warnings. */
static void install_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    const int stops[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU};
    for (size_t i = 0; i < G_N_ELEMENTS(stops); i++) {
        struct sigaction before;
        if (sigaction(stops[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(stops[i], &action, NULL);
    }
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

/* Changes of a letter, one left out, one too many or two swapped that make a of b (optimal string
 * alignment). */
static int distance(const char *a, const char *b)
{
    enum { MAX_LETTERS = 24 };
    int d[MAX_LETTERS + 1][MAX_LETTERS + 1];
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n > MAX_LETTERS || m > MAX_LETTERS)
        return G_MAXINT;
    for (int i = 0; i <= n; i++)
        for (int j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int change = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = MIN(change, MIN(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[n][m];
}

/* NULL when no command is near. */
static const char *nearest_command(const char *word)
{
    const char *best = NULL;
    int least = 3;
    for (int i = 0; commands[i]; i++) {
        int d = distance(word, commands[i]->name);
        if (d < least) {
            least = d;
            best = commands[i]->name;
        }
    }
    return best;
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
        return cli_finish_output(CLI_DONE);
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V") || !strcmp(argv[1], "version")) {
        cli_print("quadslide %s\n", QS_VERSION);
        return cli_finish_output(CLI_DONE);
    }
#ifdef QS_HAVE_CUDA
    kn_cuda_register();
#endif
    for (int i = 0; commands[i]; i++) {
        if (!strcmp(commands[i]->name, argv[1])) {
            if (commands[i]->computes)
                calm_team(argv);
            install_signals();
            return cli_finish_output(commands[i]->run(argc - 1, argv + 1));
        }
    }
    const char *meant = nearest_command(argv[1]);
    fprintf(stderr, "quadslide: there is no command \"%s\"; %s%s%s`quadslide --help` lists them\n",
            argv[1], meant ? "did you mean `" : "", meant ? meant : "", meant ? "`? " : "");
    return CLI_USAGE;
}
