/* The command-line core: key files become options, and the command line wins over them. */
#include "cli/cli_priv.h"

#include <glib/gstdio.h>
#include <string.h>

static char *write_config(const char *text)
{
    char *path = NULL;
    int fd = g_file_open_tmp("quadslide-XXXXXX.ini", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_true(g_close(fd, NULL));
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static int value;
static gboolean flag;
static char **list;
static const GOptionEntry entries[] = {{"patch", 0, 0, G_OPTION_ARG_INT, &value, "", "N"},
                                       {"level0", 0, 0, G_OPTION_ARG_NONE, &flag, "", NULL},
                                       {"slide", 0, 0, G_OPTION_ARG_STRING_ARRAY, &list, "", "S"},
                                       G_OPTION_ENTRY_NULL};

static char *merge(const char *config, int argc, const char *const *argv, GError **error)
{
    g_autofree char *path = write_config(config);
    char **args = g_strdupv((char **)(guintptr)argv);
    bool ok = cli_config_merge(path, "tile", entries, &argc, &args, error);
    char *joined = ok ? g_strjoinv(" ", args) : NULL;
    g_strfreev(args);
    g_remove(path);
    return joined;
}

static void test_merge(void)
{
    const char *argv[] = {"tile", "--patch=128", NULL};
    GError *error = NULL;
    g_autofree char *got =
        merge("[tile]\npatch=256\nlevel0=true\nslide=a b;c\n[train]\nlr=1\n", 2, argv, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(got, ==, "tile --patch=256 --level0 --slide=a b --slide=c --patch=128");
}

static void test_merge_false_flag(void)
{
    const char *argv[] = {"tile", NULL};
    g_autofree char *got = merge("[tile]\nlevel0=false\n", 1, argv, NULL);
    g_assert_cmpstr(got, ==, "tile");
}

static void expect_error(const char *config, const char *part)
{
    const char *argv[] = {"tile", NULL};
    g_autoptr(GError) error = NULL;
    g_autofree char *got = merge(config, 1, argv, &error);
    g_assert_null(got);
    g_assert_nonnull(error);
    if (!strstr(error->message, part))
        g_error("message \"%s\" lacks \"%s\"", error->message, part);
}

static void test_errors(void)
{
    expect_error("[tile]\npach=256\n", "[tile] pach: there is no such option");
    expect_error("[tile]\nlevel0=maybe\n", "write true or false");
    expect_error("patch=256\n", "quadslide-");
}

static void test_format(void)
{
    const struct {
        int64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},          {999, "999 B"},     {1000, "1.0 kB"},
                 {1234567, "1.2 MB"}, {999999, "1.0 MB"}, {5LL << 40, "5.5 TB"}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *text = cli_format_bytes(sizes[i].bytes);
        g_assert_cmpstr(text, ==, sizes[i].text);
    }
    g_autofree char *a = cli_format_seconds(59.4), *b = cli_format_seconds(200),
                    *c = cli_format_seconds(7260);
    g_assert_cmpstr(a, ==, "59 s");
    g_assert_cmpstr(b, ==, "3 min 20 s");
    g_assert_cmpstr(c, ==, "2 h 01 min");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/config/merge", test_merge);
    g_test_add_func("/cli/config/false-flag", test_merge_false_flag);
    g_test_add_func("/cli/config/errors", test_errors);
    g_test_add_func("/cli/format", test_format);
    return g_test_run();
}
