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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/config/merge", test_merge);
    g_test_add_func("/cli/config/false-flag", test_merge_false_flag);
    g_test_add_func("/cli/config/errors", test_errors);
    return g_test_run();
}
