/* quadslide status and quadslide check, as a user calls them: exit status, text, JSON. */
#include "tests/db/fixture.h"

#include "base/file.h"
#include "db/store_priv.h"

#include <json-glib/json-glib.h>

#include <sys/wait.h>

static int call(char **out, const char *command, const char *option, const char *store)
{
    const char *binaries = g_getenv("QS_BINARY_DIR");
    g_autofree char *program = g_build_filename(binaries ? binaries : ".", "quadslide", NULL);
    char *args[] = {program, g_strdup(command), g_strdup(option), g_strdup(store), NULL};
    GError *error = NULL;
    int status = 0;
    char *std_out = NULL, *std_err = NULL;
    g_spawn_sync(NULL, args, NULL, G_SPAWN_DEFAULT, NULL, NULL, &std_out, &std_err, &status,
                 &error);
    g_assert_no_error(error);
    g_assert_true(WIFEXITED(status));
    *out = g_strconcat(std_out, std_err, NULL);
    g_free(std_out);
    g_free(std_err);
    for (int i = 1; args[i]; i++)
        g_free(args[i]);
    return WEXITSTATUS(status);
}

static void expect(int status, const char *part, const char *command, const char *option,
                   const char *store)
{
    g_autofree char *out = NULL;
    int got = call(&out, command, option, store);
    if (got != status || !strstr(out, part))
        g_error("%s %s: status %d, wanted %d and \"%s\": %s", command, option, got, status, part,
                out);
}

static JsonObject *call_json(JsonParser *parser, int status, const char *command, const char *store)
{
    g_autofree char *out = NULL;
    GError *error = NULL;
    g_assert_cmpint(call(&out, command, "--json", store), ==, status);
    json_parser_load_from_data(parser, out, -1, &error);
    g_assert_no_error(error);
    return json_node_get_object(json_parser_get_root(parser));
}

static char *make_store(void)
{
    char *dir = fix_fast_dir();
    db_store *store = fix_create(dir, DB_CODEC_ZSTD);
    fix_fill(store, fix_put_slide(store, "first", 12), 0, 12, true);
    fix_put_slide(store, "second", 3);
    db_run run = {.kind = g_strdup("train"), .name = g_strdup("a run")};
    g_assert_true(db_run_begin(store, &run, NULL));
    db_run_clear(&run);
    db_store_close(store);
    return dir;
}

static void test_status(void)
{
    g_autofree char *dir = make_store();
    expect(0, "patches of 16 pixels, stride 16, at 0.5 µm per pixel, zstd", "status", "--quiet",
           dir);
    expect(0, "a run", "status", "--quiet", dir);
    expect(0, "second", "status", "--slides", dir);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *o = call_json(parser, 0, "status", dir);
    JsonObject *train =
        json_object_get_object_member(json_object_get_object_member(o, "splits"), "train");
    g_assert_cmpint(json_object_get_int_member(train, "slides"), ==, 2);
    g_assert_cmpint(json_object_get_int_member(train, "done"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(train, "patches"), ==, 9);
    g_assert_cmpint(json_array_get_length(json_object_get_array_member(o, "slides")), ==, 2);
    g_assert_cmpint(json_array_get_length(json_object_get_array_member(o, "runs")), ==, 1);
    fix_remove(dir);
}

static void test_check(void)
{
    g_autofree char *dir = make_store();
    expect(0, "2 slides, 12 cells, 15 blobs", "check", "--quiet", dir);
    expect(0, "sound", "check", "--quiet", dir);
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *o = call_json(parser, 0, "check", dir);
    g_assert_true(json_object_get_boolean_member(o, "sound"));
    GError *error = NULL;
    g_autofree char *path = db_pack_path(dir, 1);
    qs_file *file = qs_file_open(path, QS_FILE_UPDATE, &error);
    g_assert_true(qs_file_write_at(file, 20, "damage", 6, &error));
    qs_file_close(file, NULL);
    expect(1, "slide first, cell 0: image does not match its checksum", "check", "--quiet", dir);
    expect(1, "1 problem\n", "check", "--quiet", dir);
    o = call_json(parser, 1, "check", dir);
    g_assert_false(json_object_get_boolean_member(o, "sound"));
    g_assert_cmpint(json_array_get_length(json_object_get_array_member(o, "problems")), ==, 1);
    fix_remove(dir);
}

static void test_wrong_use(void)
{
    static const char *const commands[] = {"status", "check"};
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        expect(1, "no store there", commands[i], "--quiet", "/nonexistent");
        expect(2, "give one store", commands[i], "one", "two");
        expect(2, "--nonsense", commands[i], "--nonsense", "x");
        expect(0, "Exit status", commands[i], "--help", "x");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/db/commands/status", test_status);
    g_test_add_func("/db/commands/check", test_check);
    g_test_add_func("/db/commands/wrong-use", test_wrong_use);
    return g_test_run();
}
