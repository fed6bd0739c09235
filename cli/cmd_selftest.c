/* quadslide selftest: does this build compute rightly on this machine's device? */
#include "cli/cli.h"
#include "tests/selftest/selftest.h"

extern const cli_command cli_cmd_selftest;

static char *opt_device;

static const GOptionEntry entries[] = {{"device", 0, 0, G_OPTION_ARG_STRING, &opt_device,
                                        "cpu, or cuda where the program was built with it (cpu)",
                                        "NAME"},
                                       G_OPTION_ENTRY_NULL};

static const char description[] =
    "Runs the tests' cases of every operation against a double-precision reference, golden "
    "examples of the\n"
    "loss, and ten training steps beside the CPU's, twice for the same bits; on cuda in f32 and "
    "bf16.\n"
    "Each is one line: what, passed or FAILED, how far off. Takes a minute on a CPU, seconds on a "
    "GPU.\n\n"
    "Exit status: 0 all passed, 1 something failed or the device cannot be used, 2 wrong usage.";

static void say(void *user, const char *line)
{
    (void)user;
    cli_print("%s\n", line);
}

static int run(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    GError *error = NULL;
    selftest_result result;
    int status = cli_parse(&cli_cmd_selftest, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (rest[0])
        return cli_usage("selftest takes no argument '%s'", rest[0]);
    if (!selftest_run(opt_device ? opt_device : "cpu", say, NULL, &result, &error))
        return cli_fail(error);
    cli_print("%d passed, %d failed\n", result.n_passed, result.n_failed);
    return result.n_failed > 0 ? CLI_FAILED : CLI_DONE;
}

const cli_command cli_cmd_selftest = {
    .name = "selftest",
    .arguments = "[--device cpu|cuda]",
    .summary = "is this build right on this machine's device?",
    .run = run,
    .computes = true,
    .entries = entries,
};
