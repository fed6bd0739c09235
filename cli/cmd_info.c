/* quadslide info: what a slide is, or what is in a store. */
#include "cli/cli.h"
#include "wsi/slide/slide.h"

#include <string.h>

extern const cli_command cli_cmd_info, cli_cmd_status;

static double opt_mpp_override;
static gboolean opt_verify;
static char *opt_reader;
static wsi_reader reader; /* of --reader */

static const GOptionEntry entries[] = {
    {"mpp-override", 0, 0, G_OPTION_ARG_DOUBLE, &opt_mpp_override,
     "µm per pixel, instead of the file's", "MPP"},
    {"reader", 0, 0, G_OPTION_ARG_STRING, &opt_reader, CLI_READER_HELP, "NAME"},
    {"verify", 0, 0, G_OPTION_ARG_NONE, &opt_verify,
     "Also decode all of level 0, and say what is damaged", NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "For each slide: format, the driver that opens it (openslide: OpenSlide; image: a plain image, "
    "decoded once),\n"
    "who reads its pixels and why (direct: its tiles without OpenSlide), sizes, levels, and the "
    "size of a pixel with where it is known from. A folder with a "
    "store is shown as\n"
    "`quadslide status` shows it.\n\n"
    "Exit status: 0 all could be read, 3 some could not, 1 none could, 2 wrong usage.";

enum { VERIFY_PX = 1024 };

static void print_levels(const wsi_slide_info *info)
{
    for (int i = 0; i < info->n_levels; i++) {
        const wsi_level *level = &info->levels[i];
        cli_print("  level %-6d %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT ", downsample %.6g", i,
                  level->w, level->h, level->downsample);
        if (info->mpp > 0)
            cli_print(", %.4g µm per pixel", info->mpp * level->downsample);
        cli_print("\n");
    }
}

static void print_info(const wsi_slide_info *info)
{
    const wsi_level *base = &info->levels[0];
    cli_print("%s\n  format       %s\n  driver       %s\n", info->path,
              info->vendor ? info->vendor : "unknown", info->driver);
    cli_print("  reader       %s%s%s%s\n", info->lane, info->lane_why ? " (" : "",
              info->lane_why ? info->lane_why : "", info->lane_why ? ")" : "");
    if (info->levels_why)
        cli_print("  levels       %s\n", info->levels_why);
    cli_print("  size         %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " pixels (%.1f MP)\n",
              base->w, base->h, (double)base->w * (double)base->h * 1e-6);
    if (info->mpp > 0)
        cli_print("  resolution   %.6g µm per pixel (%s)\n", info->mpp,
                  wsi_mpp_origin_name(info->mpp_origin));
    else
        cli_print("  resolution   unknown: give it with --mpp-override or the cohort's mpp column, "
                  "or use --level0\n");
    if (info->objective > 0)
        cli_print("  objective    %gx\n", info->objective);
    if (info->bounds_w != base->w || info->bounds_h != base->h || info->bounds_x || info->bounds_y)
        cli_print("  bounds       %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " at %" G_GINT64_FORMAT
                  ",%" G_GINT64_FORMAT "\n",
                  info->bounds_w, info->bounds_h, info->bounds_x, info->bounds_y);
    if (info->background[0] != 255 || info->background[1] != 255 || info->background[2] != 255)
        cli_print("  background   #%02x%02x%02x\n", info->background[0], info->background[1],
                  info->background[2]);
    print_levels(info);
}

/* Reads every block of level 0; returns how many could not be read. */
static int verify(wsi_slide *slide, GError **error)
{
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    const wsi_level *base = &info->levels[0];
    uint8_t *rgb = g_malloc((size_t)VERIFY_PX * VERIFY_PX * 3);
    int n_bad = 0;
    for (int64_t y = 0; y < base->h && qs_stop_check(error); y += VERIFY_PX) {
        qs_progress_update(cli_progress(), "verify", y, base->h, NULL);
        for (int64_t x = 0; x < base->w; x += VERIFY_PX) {
            GError *bad = NULL;
            if (wsi_slide_read(slide, 0, x, y, (int)MIN(VERIFY_PX, base->w - x),
                               (int)MIN(VERIFY_PX, base->h - y), rgb, VERIFY_PX * 3, &bad))
                continue;
            if (n_bad++ < 10)
                qs_warn("%s", bad->message);
            g_error_free(bad);
        }
    }
    g_free(rgb);
    cli_progress_end();
    return n_bad;
}

static bool show_slide(const char *path, GError **error)
{
    wsi_slide *slide = wsi_slide_open_by(path, opt_mpp_override, reader, error);
    if (!slide)
        return false;
    const wsi_slide_info *info = wsi_slide_get_info(slide);
    print_info(info);
    g_autofree char *quoted = qs_json_escape(path);
    cli_log_json("slide",
                 "\"path\":\"%s\",\"driver\":\"%s\",\"reader\":\"%s\",\"width\":%" G_GINT64_FORMAT
                 ",\"height\":%" G_GINT64_FORMAT ",\"levels\":%d,\"mpp\":%g",
                 quoted, info->driver, info->lane, info->levels[0].w, info->levels[0].h,
                 info->n_levels, info->mpp);
    GError *stopped = NULL;
    int n_bad = opt_verify ? verify(slide, &stopped) : 0;
    if (stopped)
        g_propagate_error(error, stopped);
    else if (n_bad)
        g_set_error(error, QS_ERROR, QS_ERROR_FORMAT, "%s: %d blocks of %d pixels cannot be read",
                    path, n_bad, VERIFY_PX);
    else if (opt_verify)
        cli_print("  verified     every pixel of level 0 can be read\n");
    wsi_slide_close(slide);
    return !stopped && n_bad == 0;
}

static bool is_store(const char *path)
{
    g_autofree char *index = g_build_filename(path, "index.db", NULL);
    return g_file_test(index, G_FILE_TEST_IS_REGULAR);
}

static int show(char *path)
{
    if (is_store(path)) {
        char name[] = "status", slides[] = "--slides", end[] = "--";
        char *args[] = {name, slides, end, path, NULL};
        return cli_cmd_status.run(4, args);
    }
    GError *error = NULL;
    if (show_slide(path, &error))
        return CLI_DONE;
    cli_fail(error);
    return CLI_FAILED;
}

static int run_info(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_info, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (!rest[0])
        return cli_usage("name slides or a store");
    if (opt_reader && !wsi_reader_parse(opt_reader, &reader))
        return cli_usage("--reader is auto, openslide or direct");
    int n_good = 0, n = 0;
    for (; rest[n] && !qs_stop_requested(); n++)
        n_good += show(rest[n]) == CLI_DONE;
    return n_good == n && !rest[n] ? CLI_DONE : n_good > 0 ? CLI_PARTLY : CLI_FAILED;
}

const cli_command cli_cmd_info = {
    .name = "info",
    .arguments = "SLIDE… | STORE",
    .summary = "what a slide or a store is",
    .run = run_info,
};
