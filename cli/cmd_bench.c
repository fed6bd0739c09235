/* quadslide bench: where does a step's time go on this machine, and how far is each layer from what
 * the device could do? */
#include "bench/layers/layers.h"
#include "cli/cli.h"

extern const cli_command cli_cmd_bench;

static const char description[] =
    "Trains and runs the network on made-up patches and lists, for each layer and part (forward, "
    "gradient of the\n"
    "source, gradient of the weights), its time, the arithmetic and the traffic that it asks for, "
    "and its share of the\n"
    "roofline: the least time that the device's arithmetic and memory allow, over the time taken. "
    "The roofline is\n"
    "measured by short loops (registers alone; copies past the caches), or given by --peak and "
    "--bandwidth.\n"
    "FLOP are those of the direct sum, also where Winograd needs fewer, and what lies in a cache "
    "is "
    "faster than\n"
    "memory: a share may pass 100 %. The step's time is the median of rounds without a clock in "
    "each layer.\n"
    "docs/benchmarks.md explains the columns.\n\n"
    "Exit status: 0 done, 1 failed, 2 wrong usage.";

static int run(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    GError *error = NULL;
    layers_result result;
    int status = cli_parse(&cli_cmd_bench, layers_entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (rest[0])
        return cli_usage("bench takes no argument '%s'", rest[0]);
    if (!layers_check(&layers_opt, &error))
        return cli_fail(error);
    bool ok = layers_run(&layers_opt, &result, &error);
    g_autofree char *text = ok ? layers_report(&result) : NULL;
    if (ok)
        cli_print("%s", text);
    layers_clear(&result);
    return ok ? CLI_DONE : cli_fail(error);
}

const cli_command cli_cmd_bench = {
    .name = "bench",
    .arguments = "[--device cpu|cuda]",
    .summary = "time, bytes and FLOP of every layer, beside the device's roofline",
    .run = run,
    .computes = true,
    .entries = layers_entries,
};
