/* quadslide synth: a cohort from nothing, so that the demo and the tests need no data. */
#include "cli/cli.h"
#include "wsi/synth/synth.h"

#include <string.h>

extern const cli_command cli_cmd_synth;

static char *opt_out, *opt_format;
static int opt_slides, opt_train = -1, opt_val = -1, opt_test = -1, opt_labelled = -1;
static int opt_sites;
static int opt_size, opt_width, opt_height, opt_threads, opt_quality = 85;
static double opt_mpp, opt_noise;
static gint64 opt_seed = 1;

static const GOptionEntry entries[] = {
    {"out", 'o', 0, G_OPTION_ARG_FILENAME, &opt_out, "Folder to write (made when absent)", "DIR"},
    {"slides", 'n', 0, G_OPTION_ARG_INT, &opt_slides,
     "Slides in all: a seventh for validation, two sevenths for test (14)", "N"},
    {"train", 0, 0, G_OPTION_ARG_INT, &opt_train, "Training slides, instead of --slides", "N"},
    {"val", 0, 0, G_OPTION_ARG_INT, &opt_val, "Validation slides, instead of --slides", "N"},
    {"test", 0, 0, G_OPTION_ARG_INT, &opt_test, "Test slides, instead of --slides", "N"},
    {"labelled", 0, 0, G_OPTION_ARG_INT, &opt_labelled, "Labelled training slides (a third)", "N"},
    {"sites", 0, 0, G_OPTION_ARG_INT, &opt_sites,
     "Laboratories with stains, scanners and patients of their own; labelled slides are of the first "
     "half of them (none)",
     "N"},
    {"size", 0, 0, G_OPTION_ARG_INT, &opt_size, "Pixels a side (3072)", "PX"},
    {"width", 0, 0, G_OPTION_ARG_INT, &opt_width, "Width in pixels, instead of --size", "PX"},
    {"height", 0, 0, G_OPTION_ARG_INT, &opt_height, "Height in pixels, instead of --size", "PX"},
    {"mpp", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp,
     "Micrometres per pixel (0.5; 0.475 for digestpath)", "UM"},
    {"seed", 's', 0, G_OPTION_ARG_INT64, &opt_seed, "Seed: the same seed gives the same bytes (1)",
     "N"},
    {"noise", 0, 0, G_OPTION_ARG_DOUBLE, &opt_noise,
     "Annotation noise, about its radius in units of 10 um (0)", "X"},
    {"format", 0, 0, G_OPTION_ARG_STRING, &opt_format, "tiff or digestpath (tiff)", "NAME"},
    {"quality", 0, 0, G_OPTION_ARG_INT, &opt_quality, "JPEG quality (85)", "Q"},
    {"threads", 't', 0, G_OPTION_ARG_INT, &opt_threads, "Threads (one per processor)", "N"},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "tiff: slides/, masks/ and cohort.csv; with --noise the masks are noisy annotations and truth/ "
    "holds the exact\n"
    "ones. Slides are pyramidal JPEG-tiled TIFF, masks pyramidal TIFF label maps: 0 background, 1 "
    "tumour.\n"
    "digestpath: big JPEGs with JPEG masks, laid out and named as DigestPath 2019 has them; make "
    "the "
    "manifest\n"
    "with `quadslide cohort digestpath DIR`.\n\n"
    "A stopped run goes on where it was. docs/synth.md shows the slides and says how hard they "
    "are.";

static bool set_counts(wsi_synth_options *o)
{
    int n = opt_slides > 0 ? opt_slides : 14;
    o->n_val = n / 7;
    o->n_test = n > 1 ? MAX(n * 2 / 7, 1) : 0;
    o->n_train = n - o->n_val - o->n_test;
    if (opt_train >= 0 || opt_val >= 0 || opt_test >= 0) {
        if (opt_slides > 0)
            return false;
        o->n_train = MAX(opt_train, 0);
        o->n_val = MAX(opt_val, 0);
        o->n_test = MAX(opt_test, 0);
    }
    o->n_labelled = opt_labelled >= 0 ? opt_labelled : (o->n_train + 2) / 3;
    return true;
}

static int run(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_synth, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (!opt_out || (rest && rest[0]))
        return cli_usage(opt_out ? "synth takes no arguments, only options"
                                 : "synth needs --out DIR");
    wsi_synth_options options;
    wsi_synth_options_init(&options);
    options.out_dir = opt_out;
    if (!set_counts(&options))
        return cli_usage("give --slides or --train, --val and --test, not both");
    bool digestpath = opt_format && !strcmp(opt_format, "digestpath");
    if (opt_format && !digestpath && strcmp(opt_format, "tiff"))
        return cli_usage("--format %s: tiff or digestpath", opt_format);
    options.format = digestpath ? WSI_SYNTH_DIGESTPATH : WSI_SYNTH_TIFF;
    options.mpp = opt_mpp != 0 ? opt_mpp : digestpath ? 0.475 : 0.5;
    options.w = opt_width ? opt_width : opt_size ? opt_size : options.w;
    options.h = opt_height ? opt_height : opt_size ? opt_size : options.h;
    options.seed = (uint64_t)opt_seed;
    options.noise = opt_noise;
    options.n_sites = opt_sites;
    options.jpeg_quality = opt_quality;
    options.n_threads = opt_threads;
    GError *error = NULL;
    bool ok = wsi_synth_run(&options, cli_progress(), &error);
    cli_progress_end();
    if (!ok)
        return cli_fail(error);
    int n = options.n_train + options.n_val + options.n_test;
    if (digestpath)
        cli_print(
            "%s: %d images with masks; next: quadslide cohort digestpath %s --out cohort.csv\n",
            opt_out, n, opt_out);
    else
        cli_print("%s/cohort.csv: %d slides (%d training, %d of them labelled; %d validation; %d "
                  "test)\n",
                  opt_out, n, options.n_train, options.n_labelled, options.n_val, options.n_test);
    return CLI_DONE;
}

const cli_command cli_cmd_synth = {
    .name = "synth",
    .arguments = "--out DIR …",
    .summary = "make a synthetic cohort: slides, masks, cohort.csv",
    .run = run,
};
