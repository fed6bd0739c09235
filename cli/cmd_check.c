/* quadslide check: is the store sound? */
#include "cli/cli.h"
#include "db/store.h"

#include <json-glib/json-glib.h>

extern const cli_command cli_cmd_check;

static gboolean opt_json;

static const GOptionEntry entries[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print the result as JSON", NULL},
    G_OPTION_ENTRY_NULL};

static const char description[] =
    "Reads all of the store and verifies: SQLite's own integrity and foreign keys; that every "
    "patch's\n"
    "bytes lie inside what was committed to its slide's pack, in cell order, without overlap; "
    "every\n"
    "checksum; that no cell is missing or there twice; that each pack is there, and belongs to a "
    "slide.\n"
    "Nothing is changed. A store that is being tiled can be checked; a killed tiling leaves a "
    "sound one.\n\n"
    "Each problem is one line that names the slide and the cell. A damaged patch fails when it is "
    "read;\n"
    "tile the slide into a new store to have it again.\n\n"
    "Exit status: 0 sound, 1 problems were found or the store cannot be opened, 2 wrong usage.";

static void print_json(const char *dir, const db_check_report *report)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    json_builder_begin_object(b);
    json_builder_set_member_name(b, "store");
    json_builder_add_string_value(b, dir);
    json_builder_set_member_name(b, "sound");
    json_builder_add_boolean_value(b, report->problems->len == 0);
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {{"slides", report->n_slides},
                  {"cells", report->n_patches},
                  {"blobs", report->n_blobs},
                  {"bytes", report->n_bytes}};
    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
        json_builder_set_member_name(b, counts[i].name);
        json_builder_add_int_value(b, counts[i].value);
    }
    json_builder_set_member_name(b, "problems");
    json_builder_begin_array(b);
    for (guint i = 0; i < report->problems->len; i++)
        json_builder_add_string_value(b, g_ptr_array_index(report->problems, i));
    json_builder_end_array(b);
    json_builder_end_object(b);
    g_autoptr(JsonNode) root = json_builder_get_root(b);
    g_autofree char *text = json_to_string(root, TRUE);
    cli_print("%s\n", text);
}

static void print_text(const char *dir, const db_check_report *report)
{
    for (guint i = 0; i < report->problems->len; i++)
        cli_print("%s\n", (const char *)g_ptr_array_index(report->problems, i));
    g_autofree char *bytes = qs_format_bytes(report->n_bytes);
    cli_print("%s: %" G_GINT64_FORMAT " slides, %" G_GINT64_FORMAT " cells, %" G_GINT64_FORMAT
              " blobs, %s: ",
              dir, report->n_slides, report->n_patches, report->n_blobs, bytes);
    if (report->problems->len == 0)
        cli_print("sound\n");
    else
        cli_print("%u problem%s\n", report->problems->len, report->problems->len == 1 ? "" : "s");
}

static int run_check(const char *dir)
{
    GError *error = NULL;
    db_store *store = db_store_open(dir, true, &error);
    if (!store)
        return cli_fail(error);
    db_check_report report;
    int status = CLI_DONE;
    if (!db_store_check(store, cli_progress(), &report, &error)) {
        status = cli_fail(error);
    } else {
        cli_progress_end();
        if (opt_json)
            print_json(dir, &report);
        else
            print_text(dir, &report);
        cli_log_json("checked", "\"problems\":%u", report.problems->len);
        status = report.problems->len == 0 ? CLI_DONE : CLI_FAILED;
    }
    db_check_report_clear(&report);
    db_store_close(store);
    return status;
}

static int run(int argc, char **argv)
{
    g_auto(GStrv) rest = NULL;
    int status = cli_parse(&cli_cmd_check, entries, description, &argc, &argv, &rest);
    if (status != CLI_DONE)
        return status < 0 ? CLI_DONE : status;
    if (g_strv_length(rest) != 1)
        return cli_usage("give one store");
    return run_check(rest[0]);
}

const cli_command cli_cmd_check = {
    .name = "check",
    .arguments = "STORE",
    .summary = "verify a store: every row, range and checksum",
    .run = run,
};
