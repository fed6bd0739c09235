/* What the tests of this room share: a temporary folder, expected errors, real data. */
#ifndef QS_TESTS_WSI_HELPERS_H
#define QS_TESTS_WSI_HELPERS_H

#include "base/error.h"

#include <glib.h>
#include <glib/gstdio.h>

#include <string.h>

static char *temp_dir;

static inline char *temp_path(const char *name)
{
    if (!temp_dir)
        temp_dir = g_dir_make_tmp("quadslide-test-XXXXXX", NULL);
    g_assert_nonnull(temp_dir);
    return g_build_filename(temp_dir, name, NULL);
}

static inline void temp_clean(void)
{
    if (!temp_dir)
        return;
    GDir *dir = g_dir_open(temp_dir, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        char *path = g_build_filename(temp_dir, name, NULL);
        if (g_remove(path) != 0)
            g_rmdir(path);
        g_free(path);
    }
    if (dir)
        g_dir_close(dir);
    g_rmdir(temp_dir);
    g_clear_pointer(&temp_dir, g_free);
}

/* The error has this code and its message every one of the words (NULL-terminated). Frees it. */
static inline void expect_error(GError *error, int code, ...)
{
    g_assert_error(error, QS_ERROR, code);
    va_list words;
    va_start(words, code);
    for (const char *word; (word = va_arg(words, const char *));)
        if (!strstr(error->message, word))
            g_error("\"%s\" is not in: %s", word, error->message);
    va_end(words);
    g_error_free(error);
}

static inline void write_file(const char *path, const void *data, size_t n)
{
    g_assert_true(g_file_set_contents(path, data, (gssize)n, NULL));
}

/* $QS_DATA/name, or NULL after marking the test as skipped. */
static inline char *real_data(const char *name)
{
    const char *root = g_getenv("QS_DATA");
    char *path = g_build_filename(root ? root : "../shared/data", name, NULL);
    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return path;
    g_free(path);
    g_test_skip("no real data: set QS_DATA");
    return NULL;
}

#endif
